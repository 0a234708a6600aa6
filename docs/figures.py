"""Draw the book's figures, each from what minirnn computes.

python docs/figures.py
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from drawing import BLUE, INK, ORANGE, PAPER, SOFT, panels, save, styled
from matplotlib.figure import Figure

HERE = Path(__file__).resolve().parent / "book/figures"
ARROW = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, "mutation_scale": 9}


def unrolled() -> Figure:
    """Chapter 1: copies of a cell, the state that goes through them, and the gradient that comes back."""
    figure, (axis,) = panels(1, 7, 2.1)
    axis.set(xlim=(-1.5, 9.7), ylim=(-1.25, 1.75))
    axis.axis("off")
    for t in range(4):
        centre = 2.4 * t + 0.5
        axis.add_patch(_box(centre))
        axis.text(centre, 0.25, "step", ha="center", va="center")
        _arrow(axis, (centre, -0.75), (centre, -0.25), INK)
        axis.text(centre, -1.05, f"x[{t}]", ha="center", va="center")
    for t in range(5):
        left = 2.4 * t - 1.4
        _arrow(axis, (left, 0.45), (left + 1.4, 0.45), BLUE)
        _arrow(axis, (left + 1.4, 0.05), (left, 0.05), ORANGE)
        axis.text(left + 0.7, 0.68, f"h[{t}]", color=BLUE, ha="center", va="center")
        axis.text(left + 0.7, -0.2, f"dh[{t}]", color=ORANGE, ha="center", va="center")
    axis.text(4.1, 1.45, "the same W, U and b in every step: their gradients add up", ha="center", color=SOFT)
    return figure


def _box(centre: float) -> Any:
    from matplotlib.patches import FancyBboxPatch

    return FancyBboxPatch((centre - 0.42, -0.17), 0.84, 0.84, "round,pad=0.08", fc=PAPER, ec=INK, lw=1)


def _arrow(axis: Any, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    axis.annotate("", end, start, arrowprops=ARROW | {"color": colour, "lw": 1.2})


def tanh() -> Figure:
    """Chapter 2: tanh and its derivative."""
    figure, (axis,) = panels(1, 5, 2.3)
    a = np.linspace(-4, 4, 161)
    axis.plot(a, np.tanh(a), color=BLUE)
    axis.plot(a, 1 - np.tanh(a) ** 2, color=ORANGE)
    axis.text(2.2, 0.78, "h' = tanh(a)", color=BLUE)
    axis.text(-0.9, 0.62, "1 - h'²", color=ORANGE, ha="right")
    axis.axhline(0, color=SOFT, lw=0.6)
    axis.set(xlabel="a", xlim=(-4, 4), yticks=[-1, 0, 1])
    return figure


FIGURES: dict[str, Callable[[], Figure]] = {"unrolled": unrolled, "tanh": tanh}


def draw(folder: Path) -> list[Path]:
    """Draw all figures into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, make in FIGURES.items():
        with styled():
            save(make(), folder / f"{name}.svg")
        drawn.append(folder / f"{name}.svg")
    return drawn


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)

"""Draw the book's figures, each from what minirnn computes.

python docs/figures.py
"""

import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from drawing import BLUE, GREEN, INK, ORANGE, PAPER, SOFT, panels, save, styled
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, Rectangle

from minirnn import GRU, LSTM, RNN
from minirnn.explain import Walk, trace

HERE = Path(__file__).resolve().parent / "book/figures"
EXACT: dict[str, Any] = {"backend": "numpy", "dtype": "float64"}


def unrolled() -> Figure:
    """Chapter 1: copies of a cell, the state that goes through them, and the gradient that comes back."""
    figure, (axis,) = panels(1, 7, 2.1)
    axis.set(xlim=(-1.5, 9.7), ylim=(-1.25, 1.75))
    axis.axis("off")
    for t in range(4):
        centre = 2.4 * t + 0.5
        axis.add_patch(FancyBboxPatch((centre - 0.42, -0.17), 0.84, 0.84, "round,pad=0.08", fc=PAPER, ec=INK, lw=1))
        axis.text(centre, 0.25, "step", ha="center", va="center")
        arrow(axis, (centre, -0.75), (centre, -0.25), INK)
        axis.text(centre, -1.05, f"x[{t}]", ha="center", va="center")
    for t in range(5):
        left = 2.4 * t - 1.4
        arrow(axis, (left, 0.45), (left + 1.4, 0.45), BLUE)
        arrow(axis, (left + 1.4, 0.05), (left, 0.05), ORANGE)
        axis.text(left + 0.7, 0.68, f"h[{t}]", color=BLUE, ha="center", va="center")
        axis.text(left + 0.7, -0.2, f"dh[{t}]", color=ORANGE, ha="center", va="center")
    axis.text(4.1, 1.45, "the same W, U and b in every step: their gradients add up", ha="center", color=SOFT)
    return figure


def arrow(axis: Any, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    """A straight arrow between two points of the data."""
    style = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, "mutation_scale": 9, "color": colour, "lw": 1.2}
    axis.annotate("", end, start, arrowprops=style)


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


def spectrum() -> Figure:
    """Chapter 3: eigenvalues of U, the gradient's norm over steps back, and singular values of the product."""
    figure, (plane, norms, values) = panels(3, 8, 2.7)
    H, T = 64, 40
    for gain, colour, above in ((0.5, BLUE, 1e3), (1.0, GREEN, 0.01), (2.0, ORANGE, 100)):
        layer = RNN(4, H).init(seed=0, **EXACT)
        U = np.random.default_rng(1).normal(0, gain / H**0.5, (H, H))
        layer.named_weights()["0.U"] = U
        found = np.linalg.eigvals(U)
        plane.plot(found.real, found.imag, ".", ms=3, color=colour)
        walk = back(layer, T, H)
        norms.semilogy(np.arange(T + 1), [*walk.norms[::-1, 0], np.linalg.norm(walk["dh"][0, 0])], color=colour)
        product = np.linalg.multi_dot(list(walk["jacobian"][: T - 21 : -1, 0]))
        values.semilogy(np.arange(1, H + 1), np.linalg.svd(product, compute_uv=False), color=colour)
        norms.text(T, walk.norms[0, 0] * above, f"g = {gain}", color=colour, ha="right")
    plane.add_patch(Circle((0, 0), 1, fill=False, ec=INK, lw=0.8))
    plane.set(title="eigenvalues of U", aspect="equal", xticks=[-2, 0, 2], yticks=[-2, 0, 2])
    norms.set(title="norm of dh", xlabel="steps back", xlim=(0, T), ylim=(1e-13, 1e6))
    values.set(title="singular values of 20 steps", xlabel="the largest first", ylim=(1e-22, 1e6), xticks=[1, 32, 64])
    return figure


def back(layer: Any, T: int, H: int) -> Walk:
    """The walk of a layer, through T random steps, from a gradient of norm 1 of its last h alone."""
    x, one = np.random.default_rng(2).normal(size=(T, 1, 4)), np.full((1, 1, H), H**-0.5)
    return trace(layer, x, dstate=(one, None) if isinstance(layer, LSTM) else one)["0"]


def cliff() -> Figure:
    """Chapter 4: the loss of one unit after 50 steps, and where a step from its cliff leads."""
    figure, (axis,) = panels(1, 7, 2.6)
    u = np.sort(np.append(np.linspace(-7.6, 2.6, 600), np.linspace(1.28, 1.3, 200)))
    axis.plot(u, loss_of(u).real, color=INK, lw=1.2)
    at = 1.2914
    slope = float((loss_of(np.array([at + 1e-30j])).imag / 1e-30)[0])
    for step, colour, words in ((-0.02 * slope, ORANGE, "a step by the gradient"), (-0.02, GREEN, "a clipped one")):
        there = loss_of(np.array([at + step])).real[0]
        arrow(axis, (at, loss_of(np.array([at])).real[0]), (at + step, there), colour)
        axis.plot([at + step], [there], "o", ms=3, color=colour)
        axis.text(at + step + (0.2 if step < -1 else 0.12), there + (-1.0 if step < -1 else -0.05), words, color=colour)
    axis.set(xlabel="u", ylabel="loss", xlim=(-7.6, 2.6), ylim=(-0.1, 2.4))
    return figure


def loss_of(u: Any) -> Any:
    """(h - (-0.5))² after 50 steps of h' = tanh(u h - 0.1) from 0.5."""
    h = 0.5 + 0 * u
    for _ in range(50):
        h = np.tanh(u * h - 0.1)
    return (h + 0.5) ** 2


def decay(kind: Any, name: str, biases: tuple[float, ...], title: str) -> Figure:
    """The gradient's norm over steps back in a gated layer, for several biases of one gate, beside the vanilla one."""
    figure, (axis,) = panels(1, 5.6, 2.6)
    H, T = 64, 100
    layers: list[tuple[Any, str, str]] = [(RNN(4, H).init(seed=0, **EXACT), INK, "vanilla")]
    for bias, colour in zip(biases, (BLUE, GREEN, ORANGE), strict=True):
        layer = kind(4, H).init(seed=0, **EXACT)
        layer.named_weights()[f"0.{name}"] += bias
        layers.append((layer, colour, f"{name} + {bias:g}"))
    for layer, colour, label in layers:
        walk = back(layer, T, H)
        axis.semilogy(np.arange(T), walk.norms[::-1, 0], color=colour, label=label)
    axis.set(title=title, xlabel="steps back", ylabel="norm of dh", xlim=(0, T - 1), ylim=(1e-12, 1e2))
    axis.legend(loc="lower left")
    return figure


def gru() -> Figure:
    """Chapter 5."""
    return decay(GRU, "b_z", (0, 2, 4), "the GRU, by its update gate's bias")


def lstm() -> Figure:
    """Chapter 6."""
    return decay(LSTM, "b_f", (0, 1, 3), "the LSTM, by its forget gate's bias")


def sight() -> Figure:
    """Chapter 7: which inputs an output depends on, and how much."""
    figure, axes = panels(4, 8, 2.4)
    T, x = 10, np.random.default_rng(0).normal(size=(10, 1, 3))
    one, two, both = GRU(3, 8), GRU(3, 8, num_layers=2), GRU(3, 8, bidirectional=True)
    titles = {"forward": one, "two layers": two, "both directions": both, "both, of length 7": both}
    for axis, (title, layer) in zip(axes, titles.items(), strict=True):
        y, _, backward = layer.init(seed=0, **EXACT).forward(x, lengths=[7] if "7" in title else None)
        felt = np.empty((T, T))
        for t in range(T):
            dy = np.zeros_like(y)
            dy[t] = 1
            dx, _ = backward(dy, keep=True)
            felt[t] = np.linalg.norm(np.asarray(dx), axis=(1, 2))
        for t in range(T):
            for s in np.flatnonzero(felt[t]):
                amount = 0.1 + 0.9 * (felt[t, s] / felt.max()) ** 0.4
                axis.add_patch(Rectangle((s - 0.5, t - 0.5), 1, 1, fc=BLUE, lw=0, alpha=round(amount, 2)))
        axis.set(title=title, xlim=(-0.5, T - 0.5), ylim=(T - 0.5, -0.5), aspect="equal", xlabel="x[s]")
        axis.set(xticks=[0, T - 1], yticks=[0, T - 1])
    axes[0].set_ylabel("y[t]")
    return figure


def truncation() -> Figure:
    """Chapter 8: how right a truncated gradient is, and what is kept for the backward pass."""
    figure, (right, memory) = panels(2, 7.6, 2.6)
    windows = (1, 2, 4, 8, 16, 32, 64, 128)
    remembering = LSTM(4, 32).init(seed=0, **EXACT)
    remembering.named_weights()["0.b_f"] += 2
    vanilla = RNN(4, 32).init(seed=0, **EXACT)
    for layer, colour, label in ((vanilla, BLUE, "vanilla"), (remembering, ORANGE, "LSTM, b_f + 2")):
        exact, *cut = (truncated(layer, window) for window in (256, *windows))
        cosines = [g @ exact / np.linalg.norm(g) / np.linalg.norm(exact) for g in cut]
        right.semilogx(windows, cosines, "o-", ms=3, color=colour, label=label)
    right.set(title="cosine of truncated and exact gradient", xlabel="steps that errors go back", ylim=(0, 1.03))
    right.set_xticks(windows, [str(window) for window in windows])
    right.minorticks_off()
    right.legend(loc="lower right")
    lengths = (100, 200, 400, 800, 1600)
    for every, colour, words in ((None, INK, "every step is kept"), ("sqrt", GREEN, 'checkpoint_every="sqrt"')):
        held = [memory_of(T, every) / 1e6 for T in lengths]
        memory.loglog(lengths, held, "o-", ms=3, color=colour, label=words)
    memory.set(title="memory of both passes, MB", xlabel="steps")
    memory.set_xticks(lengths, [str(T) for T in lengths])
    memory.set_yticks([0.1, 1, 10], ["0.1", "1", "10"])
    memory.minorticks_off()
    memory.legend(loc="upper left")
    return figure


def truncated(layer: Any, window: int) -> Any:
    """The gradient of 256 steps in which errors go back no further than to their window's first step."""
    x, dy = (np.random.default_rng(seed).normal(size=(256, 4, n)) for seed, n in ((0, 4), (1, 32)))
    layer.zero_grads()
    state = None
    for t in range(0, 256, window):
        _, state, backward = layer.forward(x[t : t + window], state)
        backward(dy[t : t + window])
    return layer.grads.copy()


def memory_of(T: int, every: Any) -> float:
    """Bytes that both passes through T steps hold at most, beside x, y, and their gradients."""
    layer, x, dy = LSTM(8, 32).init(seed=0, **EXACT), np.zeros((T, 2, 8)), np.ones((T, 2, 32))
    layer.forward(x[:2], checkpoint_every=every)  # what is imported and kept once
    tracemalloc.start()
    _, _, backward = layer.forward(x, checkpoint_every=every)
    backward(dy)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return float(peak - dy.nbytes - x.nbytes)


FIGURES: dict[str, Callable[[], Figure]] = {
    figure.__name__: figure for figure in (unrolled, tanh, spectrum, cliff, gru, lstm, sight, truncation)
}


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

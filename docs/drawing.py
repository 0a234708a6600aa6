"""How the book's figures look: small SVG files with text as text, in the reader's colours, light or dark."""

import io
import re
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from minirnn.training.plots import SVG

PAPER, INK, SOFT = "#ffffff", "#1f2329", "#868e98"
BLUE, ORANGE, GREEN = "#0a67c4", "#c2560a", "#19804a"
COLOURS = {  # the variable that stands for each, and what it is on a dark page
    PAPER: ("paper", "#131416"),
    INK: ("ink", "#e4e7ea"),
    SOFT: ("soft", "#7f8791"),
    BLUE: ("blue", "#66aaff"),
    ORANGE: ("orange", "#ff9a52"),
    GREEN: ("green", "#58cf8e"),
}
STYLE: Any = SVG | {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "xtick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.color": SOFT,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.5,
    "mathtext.default": "regular",
}


def panels(count: int, width: float, height: float, **options: Any) -> tuple[Figure, list[Any]]:
    """A figure of some panels in a row, sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(1, count, squeeze=False, **options)[0])


def save(figure: Figure, path: Path) -> None:
    """Write a figure; its colours become variables, which the reader's preference for light or dark sets."""
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = re.sub(
        r"^<\?xml.*?(?=<svg)", "", out.getvalue(), flags=re.DOTALL
    )  # and a document type that names an address
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    for colour, (name, _) in COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    svg = re.sub(r"font(-family)?: ([^;\"]*?)'[^;\"]*sans-serif[^;\"]*", r"font\1: \2sans-serif", svg)
    light = ";".join(f"--{name}:{colour}" for colour, (name, _) in COLOURS.items())
    dark = ";".join(f"--{name}:{other}" for name, other in COLOURS.values())
    rules = f"svg{{{light}}} @media (prefers-color-scheme:dark){{svg{{{dark}}}}}"
    svg = re.sub(r"(<svg[^>]*>)", rf"\1\n <style>{rules}</style>", svg, count=1)
    path.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n", encoding="utf-8")


def styled() -> Any:
    """The context in which figures are drawn."""
    return rc_context(STYLE)

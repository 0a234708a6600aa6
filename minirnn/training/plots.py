"""Plots of the records of runs, several in one (extra ``plot``: matplotlib)."""

import json
import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np

from minirnn.core.files import Json, atomic_write
from minirnn.training.metrics import METRICS, RUN, read_lines

KINDS = (".png", ".svg", ".pdf")
DPI = 120
# of an SVG file: text stays text, in the reader's own font, and the same figure makes the same file
SVG: Any = {"svg.fonttype": "none", "svg.hashsalt": "minirnn"}
PANELS = {  # what is drawn of each run, and the axis' name
    "loss": "loss, nats a character",
    "perplexity": "perplexity",
    "norm": "gradient norm, thin: unclipped",
    "lr": "learning rate",
    "tokens_per_second": "characters a second",
}


class Picture:
    """A picture; in a notebook it shows itself.  ``figure`` is matplotlib's."""

    def __init__(self, figure: Any) -> None:
        self.figure = figure

    def save(self, out: str | os.PathLike[str]) -> None:
        """Write it, whole or not at all; the same figure makes the same bytes."""
        path = check_picture(out)
        with atomic_write(path) as file:
            self._draw(file, path.suffix[1:])

    def _draw(self, file: IO[bytes], kind: str) -> None:
        from matplotlib import rc_context

        with rc_context(SVG):
            self.figure.savefig(file, format=kind, dpi=DPI, metadata={"Date": None} if kind == "svg" else {})

    def __repr__(self) -> str:
        width, height = self.figure.get_size_inches() * DPI
        return f"<{type(self).__name__}: {width:.0f} by {height:.0f}>"

    def _repr_png_(self) -> bytes:
        file = BytesIO()
        self._draw(file, "png")
        return file.getvalue()


def plot_runs(
    folders: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str] | None = None, *, by: str = "step"
) -> Picture:
    """Draw the records in ``folders``, directories of ``minirnn train --checkpoint``, as one picture.

    It is returned, and written to ``out`` if that is given.

    ``by`` is ``"step"`` or ``"seconds"``.  Training is a line, validation has a dot for each evaluation; a gradient's
    norm is thin before clipping and thick after.
    """
    if out is not None:
        check_picture(out)
    if by not in ("step", "seconds"):
        raise ValueError(f"by must be step or seconds; got {by!r}")
    runs = {label: read_lines(folder / METRICS) for label, folder in _labelled([Path(f) for f in folders]).items()}
    for label, lines in runs.items():
        if not any("loss" in line for line in lines):
            raise ValueError(f"the record of {label} must have a step at least; it has none yet")
    Figure = figure_class()
    figure = Figure(figsize=(9, 2.2 * len(PANELS)), layout="constrained")
    axes = dict(zip(PANELS, figure.subplots(len(PANELS), sharex=True), strict=True))
    for k, (label, lines) in enumerate(runs.items()):
        _draw(axes, label, lines, by, f"C{k}")
    for name, axis in axes.items():
        axis.set_ylabel(PANELS[name], fontsize=8)
        axis.grid(visible=True, alpha=0.3)
        if name in ("perplexity", "norm"):
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter("{x:g}")
            axis.yaxis.set_minor_formatter("{x:g}")
    axes["loss"].legend(fontsize=8)
    axes["tokens_per_second"].set_xlabel("seconds of training" if by == "seconds" else "step")
    return finished(figure, out)


def _draw(axes: dict[str, Any], label: str, lines: list[Json], by: str, color: str) -> None:
    """One run in all panels."""
    seconds = {line["step"]: line["seconds"] for line in lines if "seconds" in line}
    steps = [line for line in lines if line.get("loss") is not None]
    drawn = (by, "loss", "grad_norm", "clipped_norm", "lr", "tokens_per_second")
    of = {name: np.array([line[name] for line in steps], float) for name in drawn}  # NaN, not drawn, for None
    with np.errstate(over="ignore"):
        perplexity = np.exp(of["loss"])
    axes["loss"].plot(of[by], of["loss"], color=color, lw=1, label=label)
    axes["perplexity"].plot(of[by], perplexity, color=color, lw=0.8, alpha=0.5)
    axes["norm"].plot(of[by], of["grad_norm"], color=color, lw=0.5, alpha=0.5)
    axes["norm"].plot(of[by], of["clipped_norm"], color=color, lw=1.2)
    for name in ("lr", "tokens_per_second"):
        axes[name].plot(of[by], of[name], color=color, lw=1)
    known = [line for line in lines if line.get("validation_perplexity") is not None]
    known = known if by == "step" else [line for line in known if line["step"] in seconds]
    at = [line["step"] if by == "step" else seconds[line["step"]] for line in known]
    axes["perplexity"].plot(at, [line["validation_perplexity"] for line in known], "o-", color=color, ms=3, lw=1)


def _labelled(folders: list[Path]) -> dict[str, Path]:
    """Each run's directory under the name that the picture has for it, after a check that it holds a record."""
    if not folders:
        raise ValueError("a picture takes at least one run; got none")
    by_label: dict[str, Path] = {}
    for folder in folders:
        if not (folder / METRICS).is_file() or not (folder / RUN).is_file():
            raise FileNotFoundError(f"{folder} must be the directory of a run, with {METRICS} and {RUN}; it is not")
        options = json.loads((folder / RUN).read_text(encoding="utf-8")).get("options", {})
        label = f"{folder} ({options.get('cell', '?')} {options.get('hidden_size', '?')})"
        if label in by_label:
            raise ValueError(f"each run is drawn once; {folder} is there twice")
        by_label[label] = folder
    return by_label


def check_picture(out: str | os.PathLike[str]) -> Path:
    """The path, if its name is that of a picture."""
    out = Path(out)
    if out.suffix not in KINDS:
        raise ValueError(f"the picture's name must end in {', '.join(KINDS)}; got {os.fspath(out)!r}")
    return out


def figure_class() -> Any:
    """matplotlib's figure, which needs no screen."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"pictures need matplotlib: pip install 'minirnn[plot]' ({error})") from error
    return Figure


def finished(figure: Any, out: str | os.PathLike[str] | None) -> Picture:
    """A picture of the figure, written to ``out`` if that is given."""
    picture = Picture(figure)
    if out is not None:
        picture.save(out)
    return picture

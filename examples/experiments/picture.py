"""The picture: what each network had learnt by when (extra ``plot``: matplotlib)."""

from pathlib import Path
from typing import Any

from learning import Run

from minirnn.cli.shared import check_writable
from minirnn.training.plots import SVG, figure_class

KINDS = (".svg", ".png", ".pdf")
COLOURS = {"rnn": "#c2560a", "gru": "#0a67c4", "lstm": "#19804a"}
NAMES = {"rnn": "vanilla RNN", "gru": "GRU", "lstm": "LSTM"}
STYLE: Any = SVG | {
    "font.family": "sans-serif",
    "font.size": 8,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def check(path: Path) -> None:
    """Find out before the work whether the picture could be drawn."""
    if path.suffix not in KINDS:
        raise ValueError(f"the picture's name must end in {', '.join(KINDS)}; got {str(path)!r}")
    check_writable(path, what="--picture")
    figure_class()


def draw(found: list[tuple[Any, list[Run]]], path: Path) -> None:
    """One panel an experiment, one line a run, and the baseline."""
    Figure = figure_class()
    from matplotlib import rc_context
    from matplotlib.ticker import LogLocator, NullLocator

    with rc_context(STYLE):
        figure = Figure(figsize=(3.3 * len(found), 2.7), layout="constrained")
        for axis, (experiment, runs) in zip(figure.subplots(1, len(found), squeeze=False)[0], found, strict=True):
            named = set[str]()
            for run in runs:
                label = None if run.cell in named else NAMES[run.cell]
                axis.plot(run.seen, run.scores, color=COLOURS[run.cell], lw=1, alpha=0.8, label=label)
                named.add(run.cell)
            if experiment.baseline is not None:
                axis.axhline(experiment.baseline, color="black", lw=0.8, ls=":", label="no memory")
            axis.set(title=experiment.title, xlabel=experiment.unit, ylabel=experiment.measure, yscale="log")
            axis.xaxis.set_major_formatter("{x:,.0f}")
            axis.locator_params("x", nbins=4)
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter("{x:g}")
            axis.yaxis.set_minor_locator(NullLocator())
        lines, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(lines, labels, loc="outside lower center", ncols=len(lines))
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, dpi=150, metadata=metadata)

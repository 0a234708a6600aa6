"""The plot: for each case, how many times as long as minirnn the fastest of the other libraries takes."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.peers import F4, OURS
from benchmarks.results import Ratio, Results, Row

FASTER, SLOWER = "#2a7f62", "#b5523b"


def compared(rows: Sequence[Row]) -> list[tuple[str, Ratio]]:
    """Label and ratio of each case, in float32 and in whatever else was timed."""
    ratios = [(row, numbers, row.fastest_in(numbers)) for row in rows for numbers in OURS]
    return [(f"{row.label}{f' {name}' * (name != F4)}", ratio) for row, name, ratio in ratios if ratio is not None]


def draw(results: Results, path: Path) -> bool:
    """Write the plot to ``path``, in the format of its suffix; False, and no file, where there is no ratio to show.

    Bars are medians over the rounds, whiskers reach from the least to the greatest; right of 1 minirnn is faster.  A
    star marks cases that other processes disturbed.
    """
    panels = {key: shown for key, rows in results.groups().items() if (shown := compared(rows))}
    if not panels:
        return False
    mpl.use("Agg")
    kinds = list(dict.fromkeys(kind for kind, _ in panels))
    threads = sorted({count for _, count in panels})
    longest = [max(len(rows) for (kind, _), rows in panels.items() if kind == k) for k in kinds]
    figure = Figure(figsize=(7.5 * len(threads), sum(0.28 * n + 1.1 for n in longest)), layout="constrained")
    axes = figure.subplots(len(kinds), len(threads), squeeze=False, height_ratios=[n + 2 for n in longest])
    for i, kind in enumerate(kinds):
        for j, count in enumerate(threads):
            axis, rows = axes[i][j], panels.get((kind, count), [])
            axis.set_title(f"{kind}, {count} thread{'s' * (count > 1)}", loc="left", fontsize=10)
            for place, (_, ratio) in enumerate(rows):
                color = FASTER if ratio.median >= 1 else SLOWER
                spread = [[ratio.median - ratio.low], [ratio.high - ratio.median]]
                axis.barh(place, ratio.median, color=color, height=0.7)
                axis.errorbar(ratio.median, place, xerr=spread, color="black", linewidth=1, capsize=2)
                axis.annotate(f" {ratio.median:.2f} {ratio.peer}", (ratio.high, place), va="center", fontsize=7)
            axis.set_yticks(range(len(rows)), [label for label, _ in rows], fontsize=8)
            axis.set_xlim(0, 1.3 * max([1.0, *(ratio.high for _, ratio in rows)]))
            axis.set_ylim(max(longest[i], 2) - 0.4, -0.6)
            axis.axvline(1, color="black", linewidth=1)
            axis.spines[["top", "right"]].set_visible(False)
    subjects = sorted(
        {name for row in results.rows for numbers in OURS if (name := row.subject_in(numbers)) is not None}
    )
    figure.supxlabel(f"time of the fastest other library / time of {' or '.join(subjects)}", fontsize=10)
    figure.savefig(path, dpi=150)
    return True

"""``python -m benchmarks.cells``: every cell beside the LSTM, training and inference, as a table in Markdown.

Cells take turns within a round, so that a slow moment of the machine meets all of them; a number is the median of
``--rounds``.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import click
import numpy as np

from minirnn import GRU, LSTM, RNN, Recurrent, set_num_threads
from minirnn.more_cells import NAMED

SHAPES = {"batch": (35, 32, 256, 256), "one row": (100, 1, 64, 64)}  # T, B, D, H
CELLS: dict[str, Callable[[int, int], Recurrent]] = {
    "LSTM": LSTM,
    "LSTM, projected to half": lambda D, H: LSTM(D, H, proj_size=H // 2),
    "LSTM, zoneout": partial(LSTM, zoneout=0.1),
    "GRU, reset after": GRU,
    "GRU, reset before": partial(GRU, reset="before"),
    "RNN": RNN,
    **{name: partial(Recurrent, cell) for name, cell in NAMED.items()},
}


def trained(network: Any, x: Any) -> None:
    """One forward and backward pass."""
    y, _, backward = network.forward(x)
    backward(y)


def timed(function: Callable[[], object], least: float = 0.02) -> float:
    """Seconds of one call, of as many as take ``least`` seconds."""
    calls, begun = 0, time.perf_counter()
    while (passed := time.perf_counter() - begun) < least:
        function()
        calls += 1
    return passed / calls


@click.command()
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True)
def main(threads: int, rounds: int) -> None:
    """Print µs a step, and how many times as fast as the LSTM."""
    set_num_threads(threads)
    rng = np.random.default_rng(0)
    columns: dict[str, dict[str, float]] = {}
    for what, (T, B, D, H) in SHAPES.items():
        x = rng.normal(size=(T, B, D)).astype("float32")
        networks = {name: make(D, H).init(0) for name, make in CELLS.items()}
        for word, run in (("training", trained), ("inference", lambda network, x: network(x))):
            calls = {name: partial(run, network, x) for name, network in networks.items()}
            for call in calls.values():
                call()
            samples = [{name: timed(call) for name, call in calls.items()} for _ in range(rounds)]
            seconds = {name: statistics.median(sample[name] for sample in samples) for name in CELLS}
            columns[f"{word}, {what}"] = {name: 1e6 * s / T for name, s in seconds.items()}
    click.echo("| cell | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns))
    for name in CELLS:
        cells = (f"{c[name]:.1f} ({c['LSTM'] / c[name]:.2f}×)" for c in columns.values())
        click.echo(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()

"""Ranks of MPI beside threads: ``python -m benchmarks.scale``, with the extra ``mpi``; what more of them would do.

One process with N threads, and N ranks with one thread each, train the network of ``minirnn train`` in turns, each in
processes of their own; ratios are taken within a round.  Then the sum over all gradients is timed by itself.  Of what
was measured, and with the links of ``LINKS``, ``predict`` says what 8 to 1,024 ranks would come to: see docs/scale.md.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from math import ceil, log2
from pathlib import Path
from statistics import median
from typing import Any

import click
from rich.console import Console
from rich.table import Table

T = 35  # steps of a window, as in ``minirnn train``
RANKS = (8, 64, 256, 1024)
WHOLE = 1024  # rows of a batch that is split between them all
WARM = 5  # steps before anything is timed


@dataclass(frozen=True)
class Link:
    """How machines are connected: seconds until the first byte of a message is there, bytes a second after it."""

    name: str
    latency: float
    bandwidth: float


LINKS = (Link("1 Gbit/s", 50e-6, 1.25e8), Link("10 Gbit/s", 20e-6, 1.25e9), Link("100 Gbit/s", 2e-6, 1.25e10))


@dataclass(frozen=True)
class Cost:
    """What one rank's part of a step takes: ``fixed`` seconds, ``row`` seconds a row; and the gradient's ``nbytes``."""

    fixed: float
    row: float
    nbytes: int

    def compute(self, rows: float) -> float:
        """Seconds for so many rows."""
        return self.fixed + rows * self.row


def summing(ranks: int, nbytes: int, link: Link) -> float:
    """Seconds to sum ``nbytes`` over all ranks, each on a machine of its own.

    By scattering the sums and gathering them (Rabenseifner's algorithm; Thakur, Rabenseifner and Gropp 2005), every
    rank sends 2 (P - 1) / P of the bytes, in 2 log2 P messages.
    """
    return 2 * ceil(log2(ranks)) * link.latency + 2 * (ranks - 1) / ranks * nbytes / link.bandwidth


def predict(ranks: int, rows: float, alone: float, cost: Cost, link: Link) -> tuple[float, float]:
    """What ``ranks`` with so many rows each do in a second, of what as many do that need not wait, with ``alone`` rows
    each: as it is, and at best if the sum were taken while the pass backward, two thirds of computing, is under way.
    """
    compute, told = cost.compute(rows), summing(ranks, cost.nbytes, link)
    hidden, rate = min(told, 2 / 3 * compute), alone / cost.compute(alone)
    return rows / (compute + told) / rate, rows / (compute + told - hidden) / rate


# ---------------------------------------------------------------------- a contestant's process


def contestant(hidden_size: int, batch_size: int, steps: int) -> None:
    """Train, and have rank 0 print what it took."""
    import minirnn
    from minirnn import Adam
    from minirnn.core.backend import get_backend
    from minirnn.language.model import LanguageModel
    from minirnn.language.text import Text, pydoc_topics
    from minirnn.training.loop import train
    from minirnn.training.ranks import world

    ranks, text = world(), Text.from_string(pydoc_topics())
    ranks.settle(get_backend("numba"))
    lm = LanguageModel.build(text.vocab, hidden_size=hidden_size, embedding_size=64).init(backend="numba")
    sizes = {"batch_size": batch_size, "num_steps": T, "steps": steps + WARM}
    begun = 0.0
    for step in train(lm, text, Adam(lm.network, 6e-3, clip=1.0), ranks=ranks, **sizes):
        begun = time.perf_counter() if step.step == WARM else begun
    took = time.perf_counter() - begun
    sums = []
    for _ in range(30):
        ranks.gather(None)  # so that no rank waits for another within what is timed
        start = time.perf_counter()
        ranks.add_up(lm.network.bound, 0.0)
        sums.append(time.perf_counter() - start)
    if ranks.rank == 0:
        found = {
            "tokens_per_second": steps * batch_size * T / took,
            "seconds_per_step": took / steps,
            "seconds_per_sum": median(sums),
            "nbytes": lm.network.grads.nbytes,
            "ranks": ranks.size,
            "threads": minirnn.get_num_threads(),
        }
        print(json.dumps(found), flush=True)


def run(ranks: int, threads: int, hidden_size: int, batch_size: int, steps: int) -> dict[str, Any]:
    """A contestant's record, after a process of its own, or ``ranks`` of mpiexec's, with so many threads."""
    beside = Path(sys.executable).with_name("mpiexec")
    mpiexec = str(beside) if beside.exists() else shutil.which("mpiexec")
    if ranks > 1 and mpiexec is None:
        raise FileNotFoundError("ranks need mpiexec, which is not installed: pip install 'minirnn[mpi]'")
    started = [str(mpiexec), "-n", str(ranks)] if ranks > 1 else []
    program = f"from benchmarks.scale import contestant; contestant({hidden_size}, {batch_size}, {steps})"
    done = subprocess.run(  # noqa: S603 - this Python, and the mpiexec beside it
        [*started, sys.executable, "-c", program],
        env=os.environ | {"MINIRNN_NUM_THREADS": str(threads)},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{ranks} ranks with {threads} threads failed: {done.stderr.strip()[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# ---------------------------------------------------------------------- what is said


def measured(ranks: int, rounds: int, hidden_size: int, batch_size: int, steps: int) -> tuple[dict[str, Any], Cost]:
    """The medians of some rounds, and what a rank's part of a step costs with one thread."""
    sizes = hidden_size, batch_size, steps
    for count in (1, ranks):  # compiles what is not yet
        run(count, ranks // count, hidden_size, batch_size, 1)
    threads, split, whole, part = [], [], [], []
    for _ in range(rounds):
        threads.append(run(1, ranks, *sizes))
        split.append(run(ranks, 1, *sizes))
        whole.append(run(1, 1, *sizes))
        part.append(run(1, 1, hidden_size, batch_size // ranks, steps))

    def middle(runs: list[dict[str, Any]], what: str) -> float:
        return float(median(one[what] for one in runs))

    ratios = [b["tokens_per_second"] / a["tokens_per_second"] for a, b in zip(threads, split, strict=True)]
    long, short = (middle(runs, "seconds_per_step") for runs in (whole, part))
    row = (long - short) / (batch_size - batch_size // ranks)
    found = {
        "tokens_per_second_of_threads": middle(threads, "tokens_per_second"),
        "tokens_per_second_of_ranks": middle(split, "tokens_per_second"),
        "ratio": median(ratios),
        "ratios": ratios,
        "seconds_per_sum": middle(split, "seconds_per_sum"),
    }
    return found, Cost(long - batch_size * row, row, int(middle(split, "nbytes")))


def table(cost: Cost, rows: int, whole: int | None = None) -> Table:
    """What more ranks would do, by link: each with so many rows, or with its part of a ``whole`` batch."""
    title = f"{whole:,} rows in all" if whole else f"{rows} rows a rank"
    made = Table("ranks", *(link.name for link in LINKS), title=f"{title}; in brackets, with overlap at best")
    for ranks in RANKS:
        found = (predict(ranks, whole / ranks if whole else rows, rows, cost, link) for link in LINKS)
        made.add_row(f"{ranks:,}", *(f"{plain:.0%} ({overlapped:.0%})" for plain, overlapped in found))
    return made


@click.command()
@click.option("--ranks", type=click.IntRange(2), default=2, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True)
@click.option("--steps", type=click.IntRange(1), default=100, show_default=True, help="That are timed, a contestant.")
@click.option("--hidden-size", type=click.IntRange(1), default=256, show_default=True)
@click.option("--batch-size", type=click.IntRange(2), default=32, show_default=True)
@click.option("--json", "path", type=click.Path(path_type=Path), help="Write what was measured to this file.")
def main(ranks: int, rounds: int, steps: int, hidden_size: int, batch_size: int, path: Path | None) -> None:
    """One process with several threads beside as many ranks with one thread each."""
    console = Console(highlight=False)
    found, cost = measured(ranks, rounds, hidden_size, batch_size, steps)
    console.print(
        f"GRU {hidden_size}, {batch_size} rows of {T} steps, float32, medians of {rounds} rounds\n"
        f"one process, {ranks} threads: {found['tokens_per_second_of_threads']:,.0f} tokens/s\n"
        f"{ranks} ranks, 1 thread each: {found['tokens_per_second_of_ranks']:,.0f} tokens/s, "
        f"{found['ratio']:.3f} of that (from {min(found['ratios']):.3f} to {max(found['ratios']):.3f})\n"
        f"the sum of {cost.nbytes / 1e6:.2f} MB: {found['seconds_per_sum'] * 1e3:.2f} ms; "
        f"a rank's step: {cost.fixed * 1e3:.2f} ms + {cost.row * 1e3:.3f} ms a row"
    )
    console.print("of so many times what one rank does:")
    for whole in (None, WHOLE):
        console.print(table(cost, batch_size, whole))
    if path:
        path.write_text(json.dumps(found | asdict(cost), indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

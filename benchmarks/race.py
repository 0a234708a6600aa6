"""Taking turns: everyone agrees first, then each is timed once a round, in an order that moves on by one."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from benchmarks.agreement import bound, compare
from benchmarks.cases import Case
from benchmarks.channel import Contestant, FailedError
from benchmarks.inputs import Arrays
from benchmarks.peers import NARROW, UnsupportedError, instruction
from benchmarks.results import Row, Standing


@dataclass(frozen=True)
class Pace:
    """How long and how often to measure."""

    rounds: int = 7
    sample: float = 0.035  # seconds that a contestant's calls in one round shall take together
    pause: float = 0.03  # seconds between two contestants: idle threads spin for a while before they sleep


def race(
    case: Case,
    threads: int,
    contestants: Sequence[Contestant],
    reference: Arrays,
    pace: Pace,
    meters: Mapping[str, Callable[[], float]] | None = None,
) -> Row:
    """Compare everyone's results with ``reference``, then time those that agree.

    ``meters`` measure the machine's peak, in operations a second, of instructions by what they multiply.  Those that
    limit someone here take their turns before each round and after the last.
    """
    row = Row(case, threads, bound(case), {})
    runners: list[Contestant] = []
    for contestant in contestants:
        standing = row.standings[contestant.name] = admit(
            contestant, case, reference, bound(case, contestant.name), pace
        )
        if standing.status == "timed":
            runners.append(contestant)
    limits = {instruction(runner.name) for runner in runners}
    needed = {name: meter for name, meter in (meters or {}).items() if name in limits}
    for number in range(pace.rounds if runners else 0):
        measure_peaks(row, needed, pace)
        first = number % len(runners)
        for runner in runners[first:] + runners[:first]:
            standing = row.standings[runner.name]
            if standing.status != "timed":  # it failed in an earlier round
                continue
            time.sleep(pace.pause)
            try:
                standing.samples.append(runner.sample(standing.repeats))
            except FailedError as error:
                row.standings[runner.name] = Standing("failed", str(error), standing.error, standing.where)
    if runners:
        measure_peaks(row, needed, pace)
    return row


def admit(contestant: Contestant, case: Case, reference: Arrays, limit: float, pace: Pace) -> Standing:
    """Prepare ``case`` and compare; the standing is ``timed``, without samples yet, where the two agree."""
    try:
        contestant.prepare(case)
        outputs = contestant.check()
        error, where = compare(outputs, reference, contestant.name)
        if not error <= limit:
            reason = f"{where} is off by {error:.1e}, bound {limit:.1e}"
            return Standing("wrong", reason, error, where, limit)
        if contestant.name in NARROW and compare(outputs, reference)[0] <= bound(case):
            raise UnsupportedError("rounds nothing here: its results are those of float32")
        return Standing("timed", "", error, where, limit, contestant.calibrate(pace.sample))
    except UnsupportedError as unsupported:
        return Standing("unsupported", str(unsupported))
    except FailedError as failed:
        return Standing("failed", str(failed))


def measure_peaks(row: Row, meters: Mapping[str, Callable[[], float]], pace: Pace) -> None:
    """One sample of each peak, if it can be had."""
    for name, meter in meters.items():
        time.sleep(pace.pause)
        with suppress(FailedError):  # a share that is not known spoils no time
            row.peaks.setdefault(name, []).append(meter())

"""Case after case: starting the contestants' processes, racing them, weighing them, ending them."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.cases import Case
from benchmarks.channel import AbsentError, FailedError, Remote
from benchmarks.machine import available, others
from benchmarks.peers import METERS, REFERENCE, TORCH, instruction, takes_part
from benchmarks.race import Pace, race
from benchmarks.results import Results, Row


@dataclass(frozen=True)
class Plan:
    """What to run, and whether to weigh in training how much a process grows."""

    cases: Sequence[Case]
    contestants: Sequence[str]
    threads: Sequence[int]
    pace: Pace
    weighed: bool = True

    @property
    def started(self) -> list[str]:
        """The contestants that take part in some case, and the meters of what limits them."""
        there = [name for name in self.contestants if any(takes_part(name, case) for case in self.cases)]
        return there + [METERS[limit] for limit in METERS if limit in map(instruction, there)]


def run(plan: Plan, results: Results, progress: Callable[[str], None]) -> None:
    """Add a row to ``results`` for each number of threads and case.

    ``progress`` is called before each with what is next.  Where the run is interrupted, the rows so far are there.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        missing: dict[str, str] = {}
        with present([REFERENCE], len(available()), folder, missing) as references:
            if missing:
                raise AbsentError(f"minirnn's plain equations cannot be built: {missing[REFERENCE]}")
            (reference,) = references
            for threads in plan.threads:
                with present(plan.started, threads, folder, results.absent) as remotes:
                    results.info |= {remote.name: remote.info for remote in remotes}
                    for case in plan.cases:
                        progress(f"{case.name}, {threads} thread{'s' * (threads > 1)}")
                        results.rows.append(one_row(plan, case, threads, remotes, reference))
                        if plan.weighed and case.kind == "training" and threads == max(plan.threads):
                            weigh(results.rows[-1], folder)


def one_row(plan: Plan, case: Case, threads: int, remotes: Sequence[Remote], reference: Remote) -> Row:
    """Race everyone who is there; those meters that are there are among ``remotes``."""
    reference.prepare(case)
    arrays = reference.check()
    there = {remote.name: remote for remote in remotes}
    runners = [remote for name, remote in there.items() if name in plan.contestants and takes_part(name, case)]
    meters = {limit: there[name] for limit, name in METERS.items() if name in there}
    with others(remote.process.pid for remote in remotes) as disturbance:
        row = race(case, threads, runners, arrays, plan.pace, peaks_of(meters, case, plan.pace))
    row.others = disturbance.cores
    if case.kind == "long":
        row.left = {r.name: bytes_left for r in runners if r.name in row.timed and (bytes_left := r.left()) is not None}
    return row


def peaks_of(meters: Mapping[str, Remote], case: Case, pace: Pace) -> dict[str, Callable[[], float]]:
    """What measures the machine's peaks, in operations a second; without those that fail."""
    found: dict[str, Callable[[], float]] = {}
    for name, meter in meters.items():
        with suppress(FailedError):
            meter.prepare(case)
            found[name] = partial(peak_of, meter, meter.calibrate(pace.sample))
    return found


def peak_of(meter: Remote, repeats: int) -> float:
    """Operations a second."""
    return float(meter.info["operations"]) / meter.sample(repeats)


def weigh(row: Row, folder: Path) -> None:
    """Ask fresh processes of the subject and of torch how much they grow; of those that were timed."""
    for name in dict.fromkeys([row.subject, TORCH]):
        if name is not None and name in row.timed:
            with present([name], row.threads, folder, {}) as remotes:
                for remote in remotes:
                    try:
                        row.memory[name] = remote.memory(row.case)
                    except FailedError:
                        row.memory[name] = None


@contextmanager
def present(names: Sequence[str], threads: int, folder: Path, absent: dict[str, str]) -> Iterator[list[Remote]]:
    """Those of the contestants that can be built; ``absent`` gets the others' reasons.  They start side by side."""
    started: list[Remote] = []
    try:
        for name in names:
            started.append(Remote(name, threads, folder))  # noqa: PERF401 - those that have started must be closed
        there = []
        for remote in started:
            try:
                remote.greet()
                there.append(remote)
            except AbsentError as error:
                absent[remote.name] = str(error)
        yield there
    finally:
        for remote in started:
            remote.close()

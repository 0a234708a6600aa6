"""Spoilt model files by the thousand: ``python tests/support/hostile.py [--format NAME ...] [--count N] [--seed S]``.

Small valid files of every format (``corpora.py``) are spoilt (``mutations.py``), and some files are made to cost more
than they are worth (``structures.py``, ``onnx_structures.py``).  Each is loaded in a process that is watched
(``hostile_worker.py``) and killed if it hangs.  A load must end in a model that can be used or in ModelFileError,
within three seconds of processor time (more where a core is slow), take no more memory than 64 MB and four times what
the file declares, and do nothing but read.

Prints a line for each format.  A file that breaks a rule is kept, with what makes it again, and the exit status is 1.
"""

import argparse
import io
import json
import os
import select
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Self

from corpora import FORMATS, Format
from mutations import mutated

SECONDS = 3.0  # of processor time: five times what the slowest file takes, as cores may be shared
WORK = 1 / 16  # seconds that ``_work`` takes where a core is not shared
HANGS = 20.0  # of the clock: other programs may have the processor
STARTS = 300.0
MEMORY, FACTOR = 64 * 2**20, 4
WARM = 40  # spoilt files that a process is warmed up with: messages, modules and paths of code that come late


@dataclass
class Tally:
    """What became of the files of one format; ``growth`` is None where memory could not be measured."""

    files: int = 0
    loaded: int = 0
    refused: int = 0
    slowest: float = 0.0
    growth: int | None = None
    failures: list[str] = field(default_factory=list)


class Worker:
    """A process that loads files, started again when it has died."""

    def __init__(self, loader: str, warm: Sequence[str] = (), hangs: float = HANGS) -> None:
        self.loader, self.warm, self.hangs = loader, list(warm), hangs
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process, if there is one."""
        if self.process:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def load(self, path: str) -> tuple[str, str, float, int | None]:
        """Outcome, words about it, seconds, and growth of memory where that can be measured."""
        if self.process is None:
            self._start()
        answer = self._ask(path, self.hangs)
        if answer is None:
            assert self.process
            try:
                words = f"the process died, status {self.process.wait(1)}"
            except subprocess.TimeoutExpired:
                words = f"no answer in {self.hangs} s"
            self.stop()
            return "failed", words, 0.0, None
        outcome, words, seconds, growth = json.loads(answer)
        return outcome, words, seconds, growth

    def _start(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("hostile_worker.py")), self.loader]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        if self._ask(self.warm, STARTS) is None:
            self.process.kill()
            raise RuntimeError(f"the loading process did not start: {self.process.communicate()[1].decode()[-2000:]}")

    def _ask(self, question: object, seconds: float) -> bytes | None:
        """The line that the process answers, or None if it has died or takes too long."""
        assert self.process
        assert self.process.stdin
        assert self.process.stdout
        try:
            self.process.stdin.write(json.dumps(question).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return None
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            return None
        return self.process.stdout.readline() or None


def declared(data: bytes) -> int:
    """The bytes that a file says it holds, uncompressed; of one that is spoilt beyond reading, those it has."""
    if not data.startswith(b"PK"):
        return len(data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return max(len(data), sum(info.file_size for info in archive.infolist()))
    except Exception:  # noqa: BLE001 - zipfile raises many things for a zip that is none
        return len(data)


def slowness() -> float:
    """How many times longer than elsewhere this machine takes now: its cores may be shared."""
    times = []
    for _ in range(5):
        began = time.process_time()
        _work()
        times.append(time.process_time() - began)
    return min(times) / WORK


def _work() -> int:
    table, total = {}, 0
    for k in range(300_000):
        table[k & 1023] = str(k)
        total += len(table)
    return total


def verdict(outcome: str, words: str, seconds: float, growth: int | None, size: int) -> str:
    """What is wrong with how a load ended, or nothing."""
    if outcome == "failed":
        return words
    if "Unable to allocate" in words:  # a refusal in words, but of the system's
        return f"asked for memory that there is not: {words}"
    wrong = []  # all of it: on a slow machine a file that takes too much memory takes too long as well
    if seconds > SECONDS and seconds > SECONDS * slowness():
        wrong.append(f"took {seconds:.2f} s of processor time")
    if growth is not None and growth > MEMORY + FACTOR * size:
        wrong.append(f"took {growth:,} bytes of memory for {size:,} declared")
    return "; ".join(wrong)


def spoilt(
    files: list[bytes],
    name: str,
    seed: int,
    index: int,
    structure: Callable[[Random], bytes] | None = None,
    every: int = 4,
) -> bytes:
    """The file of that number, always the same one for a corpus; some have a drawn structure, where there is."""
    rng = Random(f"{seed} {name} {index}")  # noqa: S311 - no secret
    if structure and index % every == every - 1:
        return structure(rng)
    return mutated(rng.choice(files), rng, files)


def run(name: str, form: Format, count: int, seed: int, keep: Path, *, first: int = 0, hangs: float = HANGS) -> Tally:
    """Load ``count`` spoilt files of one format; those that break a rule are written to ``keep``."""
    files, tally = form.files(), Tally()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "spoilt")
        warm = [Path(folder) / f"warm{k}" for k in range(len(files) + WARM)]
        for k, place in enumerate(warm):
            place.write_bytes(files[k] if k < len(files) else spoilt(files, f"warm {name}", seed, k))
        with Worker(form.loader, [str(place) for place in warm], hangs) as worker:
            for place in warm[: len(files)]:  # what is not spoilt loads
                outcome, words, *_ = worker.load(str(place))
                if outcome != "loaded":
                    tally.failures.append(f"{name}: a valid file does not load: {words}")
            for index in range(first, first + count):
                data = spoilt(files, name, seed, index, form.structure, form.every)
                Path(path).write_bytes(data)
                outcome, words, seconds, growth = worker.load(path)
                tally.files += 1
                tally.loaded += outcome == "loaded"
                tally.refused += outcome == "refused"
                tally.slowest = max(tally.slowest, seconds)
                tally.growth = growth if tally.growth is None else max(tally.growth, growth or 0)
                problem = verdict(outcome, words, seconds, growth, declared(data))
                if problem:
                    keep.mkdir(parents=True, exist_ok=True)
                    kept = keep / f"{name.replace(' ', '-')}-{seed}-{index}"
                    kept.write_bytes(data)
                    again = f"--format '{name}' --seed {seed} --first {index} --count 1"
                    tally.failures.append(f"{name}: {problem}\n    {kept}\n    python tests/support/hostile.py {again}")
    return tally


def table(tallies: dict[str, Tally]) -> str:
    """A line for each format."""
    rows: list[tuple[str, ...]] = [("format", "files", "loaded", "refused", "failed", "slowest", "largest growth")]
    for name, tally in tallies.items():
        growth = "not measured" if tally.growth is None else f"{tally.growth / 2**20:.1f} MB"
        numbers = (tally.files, tally.loaded, tally.refused, len(tally.failures))
        rows.append((name, *(f"{n:,}" for n in numbers), f"{tally.slowest:.3f} s", growth))
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return "\n".join("  ".join(f"{cell:>{w}}" for cell, w in zip(row, widths, strict=True)) for row in rows)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--format", nargs="+", choices=FORMATS, default=list(FORMATS), help="formats, or all")
    parser.add_argument("--count", type=int, default=10_000, help="spoilt files of each format")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first file, to make one again")
    parser.add_argument("--keep", type=Path, default=Path("hostile-failures"), help="where files that fail are kept")
    chosen = parser.parse_args(arguments)
    tallies = {
        name: run(name, FORMATS[name], chosen.count, chosen.seed, chosen.keep, first=chosen.first)
        for name in chosen.format
    }
    failures = [failure for tally in tallies.values() for failure in tally.failures]
    print("\n".join([*failures, table(tallies)]))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

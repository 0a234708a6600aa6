"""What a run came to: samples, who disagreed, ratios, and their means."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from math import isfinite
from statistics import geometric_mean, median
from typing import Any, Literal, NamedTuple

from benchmarks.cases import Case
from benchmarks.peers import F4, OURS, OWN, SUBJECT, TORCH, arithmetic, instruction

QUIET = 0.1  # cores: what others may use before it is pointed out

Status = Literal["timed", "wrong", "failed", "unsupported"]


@dataclass
class Standing:
    """One contestant in one case.

    ``error`` is its largest relative error, found in the array ``where``, and ``bound`` what it may be; ``samples`` are
    seconds a call, one for each round, each the mean of ``repeats`` calls.  ``reason`` says why there are none.
    """

    status: Status
    reason: str = ""
    error: float | None = None
    where: str = ""
    bound: float = 0.0
    repeats: int = 0
    samples: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Seconds a call."""
        return median(self.samples)


class Ratio(NamedTuple):
    """A contestant's time over the subject's, round by round: above 1 the subject is faster."""

    peer: str
    low: float
    median: float
    high: float


class NarrowMeans(NamedTuple):
    """Geometric means over cases: of the fastest peer, and of minirnn in float32, over minirnn in fewer bits."""

    kind: str
    threads: int
    arithmetic: str
    fastest: float | None
    gain: float | None
    cases: int


@dataclass
class Row:
    """One case with one number of threads.

    ``peaks`` has samples of the machine's peaks in operations a second, by what is multiplied, ``memory`` the growth in
    MiB of those that were asked, ``left`` the bytes that a long sequence's forward leaves for its backward,
    ``others`` is the mean number of cores that processes outside the benchmark kept busy meanwhile.
    """

    case: Case
    threads: int
    bound: float
    standings: dict[str, Standing]
    peaks: dict[str, list[float]] = field(default_factory=dict)
    memory: dict[str, float | None] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)
    others: float | None = None

    @property
    def label(self) -> str:
        """The case among others of its kind, with a star where others disturbed it."""
        return f"{self.case.label}{' *' * self.disturbed}"

    @property
    def timed(self) -> dict[str, Standing]:
        return {name: s for name, s in self.standings.items() if s.status == "timed"}

    @property
    def agreed(self) -> bool:
        return not any(s.status in ("wrong", "failed") for s in self.standings.values())

    @property
    def disturbed(self) -> bool:
        """Whether others had a share of the processor that may be seen in the times."""
        return self.others is not None and self.others > QUIET

    @property
    def subject(self) -> str | None:
        """Whose ratios are reported: minirnn, or its plain equations where minirnn takes no part."""
        return self.subject_in(F4)

    @property
    def fastest(self) -> Ratio | None:
        """Against the fastest, by its median, of the other libraries in float32."""
        return self.fastest_in(F4)

    @property
    def gain(self) -> dict[str, Ratio]:
        """minirnn in float32 over its forms with fewer bits, by what they multiply."""
        found = {numbers: self.between(SUBJECT, name) for numbers, (name, *_) in OURS.items() if numbers != F4}
        return {numbers: ratio for numbers, ratio in found.items() if ratio is not None}

    def subject_in(self, numbers: str) -> str | None:
        """Our contestant among those that multiply such numbers."""
        return next((name for name in OURS[numbers] if name in self.timed), None)

    def fastest_in(self, numbers: str) -> Ratio | None:
        """The fastest, by its median, of the other libraries that multiply such numbers, over ours that does."""
        others = {name: s.median for name, s in self.timed.items() if name not in OWN and arithmetic(name) == numbers}
        subject = self.subject_in(numbers)
        return self.between(min(others, key=others.__getitem__), subject) if others and subject else None

    def share(self, name: str | None) -> float | None:
        """The share of its instruction's peak that a contestant's matrix products alone come to."""
        if name is None or name not in self.timed or not (samples := self.peaks.get(instruction(name))):
            return None
        return self.case.flops / self.timed[name].median / max(samples)

    def against(self, peer: str) -> Ratio | None:
        """``peer`` over the subject, paired by rounds; None where one of them was not timed."""
        return None if self.subject is None else self.between(peer, self.subject)

    def between(self, peer: str, other: str) -> Ratio | None:
        """``peer`` over ``other``, paired by rounds; None where one of them was not timed."""
        if peer not in self.timed or other not in self.timed:
            return None
        pairs = zip(self.timed[peer].samples, self.timed[other].samples, strict=True)
        ratios = [theirs / ours for theirs, ours in pairs]
        return Ratio(peer, min(ratios), median(ratios), max(ratios))


@dataclass
class Results:
    """A whole run.  ``info`` is what each contestant says of itself, ``absent`` why one is not there."""

    date: str
    machine: dict[str, Any]
    options: dict[str, Any]
    info: dict[str, dict[str, Any]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    @property
    def agreed(self) -> bool:
        """Whether everyone who took part computed the right thing."""
        return all(row.agreed for row in self.rows)

    def groups(self) -> dict[tuple[str, int], list[Row]]:
        """The rows by kind and number of threads."""
        found: dict[tuple[str, int], list[Row]] = {}
        for row in self.rows:
            found.setdefault((row.case.kind, row.threads), []).append(row)
        return dict(sorted(found.items(), key=lambda item: item[0][1]))

    def as_json(self) -> dict[str, Any]:
        """Everything, in values that JSON has."""
        return {
            "date": self.date,
            "machine": self.machine,
            "options": self.options,
            "info": self.info,
            "absent": self.absent,
            "agreed": self.agreed,
            "rows": [row_as_json(row) for row in self.rows],
            "geometric_means": [
                {"kind": kind, "threads": threads, "cases": len(rows)}
                | {"fastest": mean(row.fastest for row in rows), "torch": mean(row.against(TORCH) for row in rows)}
                for (kind, threads), rows in self.groups().items()
            ],
            "narrow_means": [means._asdict() for means in self.narrow_means()],
        }

    def narrow_means(self) -> list[NarrowMeans]:
        """Of every kind, number of threads and arithmetic in fewer bits that was timed."""
        found = []
        for (kind, threads), rows in self.groups().items():
            for numbers in OURS:
                timed = [row for row in rows if numbers != F4 and row.subject_in(numbers)]
                fastest = mean(row.fastest_in(numbers) for row in timed)
                gain = mean(row.gain.get(numbers) for row in timed)
                if fastest is not None or gain is not None:
                    found.append(NarrowMeans(kind, threads, numbers, fastest, gain, len(timed)))
        return found


def mean(ratios: Iterable[Ratio | None]) -> float | None:
    """The geometric mean of the medians of those that there are."""
    known = [ratio.median for ratio in ratios if ratio is not None]
    return geometric_mean(known) if known else None


def ratio_as_json(ratio: Ratio | None) -> dict[str, Any] | None:
    """A ratio by the names of its fields."""
    return None if ratio is None else ratio._asdict()


def row_as_json(row: Row) -> dict[str, Any]:
    """A row with what follows from it."""
    return {
        "name": row.case.name,
        "case": asdict(row.case),
        "flops": row.case.flops,
        "threads": row.threads,
        "bound": row.bound,
        "subject": row.subject,
        "fastest": ratio_as_json(row.fastest),
        "torch": ratio_as_json(row.against(TORCH)),
        "peaks": row.peaks,
        "peak_fraction": row.share(row.subject),
        "narrow": {
            numbers: {"fastest": ratio_as_json(row.fastest_in(numbers)), "gain": ratio_as_json(row.gain.get(numbers))}
            for numbers in OURS
            if numbers != F4 and row.subject_in(numbers)
        },
        "memory": row.memory,
        "left": row.left,
        "others": row.others,
        "contestants": {
            name: asdict(s)
            | {
                "error": s.error if s.error is not None and isfinite(s.error) else None,
                "median": s.median if s.samples else None,
                "share": row.share(name),
            }
            for name, s in row.standings.items()
        },
    }

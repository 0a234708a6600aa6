"""A program that adds up a row's units, cut where a sum must be complete before anything can go on.

Each phase goes over the units of a row once.  It adds up what later phases need of whole rows, and stores results as
soon as no later phase needs what lies in their places.  A later phase loads what was stored, and computes the rest
again.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from minirnn.kernels.facts import REDUCTIONS, Operation, Place, Program

Results: TypeAlias = tuple[tuple[Place, int | None], ...]


class Phase(NamedTuple):
    """What is done of a row before its units are gone over, and then for each; operations by their places."""

    rows: tuple[int, ...]  # operations on one number a row, those sums among them that the phase before added up
    row_results: Results
    units: tuple[int, ...]
    loads: Mapping[int, Place]  # those of ``units`` that an earlier phase stored, and where
    results: Results
    sums: tuple[int, ...]  # what this phase adds up


def of_rows(operations: Sequence[Operation]) -> list[bool]:
    """Of each operation, whether its result is one number a row."""
    rows = list[bool]()
    for name, operands in operations:
        if name in ("load", "number"):
            rows.append(name == "load" and operands[0].array[0] == "s")
        else:
            rows.append(name in REDUCTIONS or all(rows[k] for k in operands if operations[k].name != "number"))
    return rows


def phases_of(program: Program) -> list[Phase]:
    """The phases of a program: one where it adds up nothing."""
    return _Cut(program).phases


class _Cut:
    """The work of cutting a program."""

    def __init__(self, program: Program) -> None:
        self.operations = program.operations
        self.rows = of_rows(self.operations)
        self.levels = list[int]()  # how many phases must have ended before each operation can be done
        for name, operands in self.operations:
            inner = () if name in ("load", "number") else operands
            self.levels.append(max((self.levels[k] for k in inner), default=0) + (name in REDUCTIONS))
        self.stored: dict[int, Place] = {}  # operations whose results lie in memory, and where
        self.waiting = tuple(one for one in program.results if one[0].array[0] != "s")
        self.row_results = tuple(one for one in program.results if one[0].array[0] == "s")
        self.phases = [self._phase(level) for level in range(max(self.levels, default=0) + 1)]

    def _phase(self, level: int) -> Phase:
        at = [k for k, one in enumerate(self.levels) if one == level]
        sums = [k for k, one in enumerate(self.levels) if one == level + 1 and self._adds(k)]
        results = self._storable(level)
        self.waiting = tuple(one for one in self.waiting if one not in results)
        wanted = [*self._added(sums), *(end for _, end in results if end is not None)]
        units = [k for k in self._needed(wanted, self.stored) if not self.rows[k]]
        phase = Phase(
            rows=tuple(k for k in at if self.rows[k]),
            row_results=tuple(one for one in self.row_results if one[1] in at),
            units=tuple(units),
            loads={k: self.stored[k] for k in units if k in self.stored},
            results=results,
            sums=tuple(sums),
        )
        self.stored |= {end: place for place, end in results if end is not None}
        return phase

    def _adds(self, k: int) -> bool:
        return self.operations[k].name in REDUCTIONS

    def _added(self, sums: Iterable[int]) -> list[int]:
        """What sums are of."""
        return [self.operations[k].operands[0] for k in sums]

    def _needed(self, wanted: Iterable[int], stored: Mapping[int, Place]) -> list[int]:
        """The operations that lead to those wanted, and these: up to what is stored, and to numbers of rows."""
        needed, waiting = set[int](), list(wanted)
        while waiting:
            k = waiting.pop()
            if k not in needed:
                needed.add(k)
                ends = k in stored or self.rows[k] or self.operations[k].name in ("load", "number")
                waiting += () if ends else self.operations[k].operands
        return sorted(needed)

    def _storable(self, level: int) -> Results:
        """The results that this phase can store: no later one loads what lies in their places."""
        if level == max(self.levels, default=0):
            return self.waiting
        some = tuple(one for one in self.waiting if one[1] is not None and self.levels[one[1]] <= level)
        later = self._added(k for k, one in enumerate(self.levels) if one > level + 1 and self._adds(k))
        while True:
            there = self.stored | {end: place for place, end in some if end is not None}
            ends = [end for place, end in self.waiting if end is not None and (place, end) not in some]
            needed = [self.operations[k] for k in self._needed(later + ends, there) if k not in there]
            read = {one.operands[0]._replace(before=False) for one in needed if one.name == "load"}
            clear = tuple(one for one in some if one[0]._replace(before=False) not in read)
            if clear == some:
                return some
            some = clear

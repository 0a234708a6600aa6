"""Traced operations as assignments that a reader can follow: what is used once stands where it is used.

A value is nested tuples: ("load", place), ("number", x), ("name", n), ("where", comparison, a, b), or a function's name
and its operands.  Names begin with ``t``, of what a row has one of with ``r``.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

from minirnn.kernels.facts import COMPARISONS, REDUCTIONS, Place, Program
from minirnn.kernels.phases import Phase, phases_of

Value: TypeAlias = tuple[Any, ...]
CALLS = ("tanh", "exp", "sqrt", "log", "log1p", "expm1", "sin", "cos")  # functions of one number


class Sum(NamedTuple):
    """What a phase adds up over the units of a row: its name, the reduction, and of what."""

    name: str
    kind: str
    value: Value


class Part(NamedTuple):
    """One phase: numbers of the row, then for each unit names, sums and what is stored."""

    row_names: tuple[tuple[str, Value], ...]
    row_stores: tuple[tuple[Place, Value], ...]
    names: tuple[tuple[str, Value], ...]
    sums: tuple[Sum, ...]
    stores: tuple[tuple[Place, Value], ...]

    @property
    def loops(self) -> bool:
        """Whether units are gone over."""
        return bool(self.sums or self.stores)


class Equations:
    """A program: ``parts`` phase by phase, for languages with loops; ``whole`` for those with arrays.

    ``names`` are those of operations whose results have one, by their places in the program.
    """

    def __init__(self, program: Program, names: Mapping[int, str] | None = None) -> None:
        self.program, self.chosen = program, dict(names or {})

    @cached_property
    def calls(self) -> set[str]:
        """The functions of one number that are used."""
        return {one.name for one in self.program.operations if one.name in CALLS}

    @cached_property
    def places(self) -> set[Place]:
        """What is loaded."""
        return {one.operands[0] for one in self.program.operations if one.name == "load"}

    @cached_property
    def parts(self) -> list[Part]:
        """Phase by phase."""
        return [self._part(phase) for phase in phases_of(self.program)]

    def _part(self, phase: Phase) -> Part:
        operations, zero = self.program.operations, ("number", 0.0)
        of_row = [k for k in phase.rows if operations[k].name not in ("number", *COMPARISONS)]
        added = [operations[k].operands[0] for k in phase.sums]
        writer = _Writer(self, phase.units, added + [end for _, end in phase.results if end is not None], phase.loads)
        several = len(phase.results) > 1  # then all is loaded before anything is stored
        sums = [Sum(f"a{k}", operations[k].name, writer.value(one)) for k, one in zip(phase.sums, added, strict=True)]
        stores: list[tuple[Place, Value]] = []
        for place, end in phase.results:
            value = zero if end is None else writer.named(end, stored=True) if several else writer.value(end)
            stores.append((place, value))
        return Part(
            row_names=tuple((f"r{k}", self._of_row(k)) for k in of_row),
            row_stores=tuple((place, zero if k is None else ("name", f"r{k}")) for place, k in phase.row_results),
            names=tuple(writer.names),
            sums=tuple(sums),
            stores=tuple(stores),
        )

    def _of_row(self, k: int) -> Value:
        """One operation on numbers of a row."""
        name, operands = self.program.operations[k]
        if name == "load":
            return ("load", operands[0])
        if name in REDUCTIONS:
            return (name, ("name", f"a{k}"))
        if name == "divide" and self._row(operands[1]) == ("number", 1.0):  # as a mean of one part is
            return self._row(operands[0])
        return (name, *(self._row(one) for one in operands))

    def _row(self, k: int) -> Value:
        name, operands = self.program.operations[k]
        if name == "number":
            return ("number", operands[0])
        if name in COMPARISONS:
            return (name, *(self._row(one) for one in operands))
        return ("name", f"r{k}")

    @cached_property
    def whole(self) -> tuple[list[tuple[str, Value]], list[tuple[Place, Value]]]:
        """Names and stores of whole arrays."""
        ends = [end for _, end in self.program.results if end is not None]
        writer = _Writer(self, range(len(self.program.operations)), ends, {}, arrays=True)
        stores = [(place, ("number", 0.0) if end is None else writer.value(end)) for place, end in self.program.results]
        return writer.names, stores


class _Writer:
    """Values of some operations of a program, names where one is used more than once."""

    def __init__(
        self,
        equations: Equations,
        units: Iterable[int],
        wanted: list[int],
        loads: Mapping[int, Place],
        *,
        arrays: bool = False,
    ) -> None:
        self.operations, self.loads, self.arrays = equations.program.operations, loads, arrays
        self.chosen = equations.chosen if arrays else {}
        self.names: list[tuple[str, Value]] = []
        self.known: dict[int, Value] = {}
        units = set(units)
        uses = Counter(wanted)
        for k in units - set(loads):
            name, operands = self.operations[k]
            if name not in ("load", "number"):
                uses.update(operands)
        within = {k for k in units if self.operations[k].name in COMPARISONS}
        self.shared = {
            k
            for k in units - within
            if self.operations[k].name != "number" and (uses[k] > 1 or (k in self.chosen and uses[k]))
        }
        self.units = units
        for k in sorted(units):  # in the order of the cell's own lines
            if k in self.shared:
                self.value(k)

    def value(self, k: int) -> Value:
        """The value of operation k: a name where it has one."""
        if k in self.known:
            return self.known[k]
        name, operands = self.operations[k]
        value: Value
        if k in self.loads:
            value = ("load", self.loads[k])
        elif name in ("load", "number"):
            value = (name, operands[0])
        elif k not in self.units:  # a number of the row
            value = ("name", f"r{k}")
        elif name == "where" and not self.arrays:  # both are computed: a loop without branches is one over vectors
            value = (name, self.value(operands[0]), *(self.named(one) for one in operands[1:]))
        else:
            value = (name, *(self.value(one) for one in operands))
            if name == "divide" and value[2] == ("number", 1.0):  # as a mean of one part is
                value = value[1]
        if k in self.shared and (self.arrays is False or name != "load"):
            value = self._keep(k, value)
        self.known[k] = value
        return value

    def named(self, k: int, *, stored: bool = False) -> Value:
        """The value of operation k, by a name if it is computed, or where other things are ``stored`` before."""
        value = self.value(k)
        if value[0] not in ("name", "number", *(() if stored else ("load",))):
            value = self.known[k] = self._keep(k, value)
        return value

    def _keep(self, k: int, value: Value) -> Value:
        name = self.chosen.get(k, f"t{k}")
        self.names.append((name, value))
        return ("name", name)

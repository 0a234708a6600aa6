"""Operations that were done to symbols, each written down once: how a cell is traced (``tracing.py``)."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.symbolic import Symbolic, SymbolicError, Value, folded
from minirnn.kernels.facts import COMPARISONS, REDUCTIONS, Operation, Place, Program
from minirnn.kernels.phases import of_rows

KNOWN = frozenset(  # functions that kernels compute
    {
        *("add", "subtract", "multiply", "divide", "negative", "tanh", "exp", "sqrt", "maximum", "minimum", "where"),
        *COMPARISONS,
    }
)
ROOT = 0.5  # the power that is a square root


@dataclass(frozen=True, slots=True)
class Node:
    """An entry: the place of an operation, and the row and the unit that it is about.

    A number has neither, a row's sum no unit; a per-unit weight is of any row.
    """

    graph: "Graph"
    operation: int
    row: int | None
    unit: int | None

    def __bool__(self) -> bool:
        raise SymbolicError("branches on a value, with if, and, or or not: np.where does not")


class Graph:
    """Operations that were done to entries, each once: an ``Algebra`` of ``core.symbolic``; rows have ``units``.

    ``functions`` are those of NumPy's that may be used.
    """

    def __init__(self, units: int, functions: AbstractSet[str] = KNOWN) -> None:
        self.units, self.functions = units, functions
        self.operations: list[Operation] = []
        self.places: dict[Operation, int] = {}

    def place(self, name: str, *operands: Any) -> int:
        """Where an operation stands."""
        one = Operation(name, operands)
        if one not in self.places:
            self.places[one] = len(self.operations)
            self.operations.append(one)
        return self.places[one]

    def load(self, place: Place, shape: tuple[int, ...]) -> Symbolic:
        """What lies at a place: rows and units of ``shape``, or units alone."""
        entries = np.empty(shape, object)
        for index in np.ndindex(shape):
            row = index[0] if len(shape) == 2 else None
            entries[index] = Node(self, self.place("load", place), row, None if place.array[0] == "s" else index[-1])
        return Symbolic(entries, self)

    def of_rows(self, place: int) -> bool:
        """Whether an operation's result is one number a row."""
        return of_rows(self.operations)[place]

    def operation(self, value: Value) -> int:
        """The operation that an array is the result of; SymbolicError where rows or units are not alike."""
        entries = Symbolic.of(value, self).entries
        nodes: list[Node] = list(entries.flat)
        for index, one in zip(np.ndindex(entries.shape), nodes, strict=True):
            alone = len(index) == 2 and one.row in (None, index[0]) and one.unit in (None, index[1])
            if one.operation != nodes[0].operation or not alone:
                raise SymbolicError("does not treat every row and unit alike and alone")
        return nodes[0].operation

    def program(self, results: Sequence[tuple[Place, int | None]], there: Mapping[int, Place]) -> Program:
        """The operations that the results need, renumbered; what is ``there`` already is loaded."""
        needed, waiting = set[int](), [end for _, end in results if end is not None]
        while waiting:
            place = waiting.pop()
            if place not in needed:
                needed.add(place)
                waiting += self._operands(place, there)
        order: list[int] = []  # that of the cell's own lines, and what these read just before
        for place in sorted(needed):
            if inner := self._operands(place, there):
                order += [k for k in dict.fromkeys(inner) if k not in order] + [place]
        order += sorted(needed - set(order))
        now = {place: k for k, place in enumerate(order)}
        operations = []
        for place in order:
            one, inner = self.operations[place], self._operands(place, there)
            if place in there:
                one = Operation("load", (there[place],))
            operations.append(one._replace(operands=tuple(now[k] for k in inner)) if inner else one)
        return Program(tuple(operations), tuple((place, None if end is None else now[end]) for place, end in results))

    def _operands(self, place: int, there: Mapping[int, Place]) -> tuple[int, ...]:
        """The places of an operation's operands; none of what is loaded or a number."""
        one = self.operations[place]
        return () if place in there or one.name in ("load", "number") else one.operands

    def lift(self, x: Value, /) -> Node:
        """A number as an entry."""
        if isinstance(x, Node):
            return x
        if not isinstance(x, Real):
            raise SymbolicError(f"computes with {type(x).__name__}, which is no real number")
        if not np.isfinite(float(x)):
            raise SymbolicError(f"computes with {x}")
        return Node(self, self.place("number", float(x)), None, None)

    def apply(self, name: str, /, *operands: Node) -> Node:
        """NumPy's function ``name`` of entries."""
        rows, units = {a.row for a in operands} - {None}, {a.unit for a in operands} - {None}
        if len(rows) > 1 or len(units) > 1:
            raise SymbolicError(f"computes with several {'units' if len(units) > 1 else 'rows'} at once")
        where = max(rows, default=None), max(units, default=None)  # type: ignore[type-var]  # None was taken out
        values = [self._number(a) for a in operands]
        if name == "add" and 0.0 in values:
            return operands[1 - values.index(0.0)]
        if None not in values and name != "where":
            with np.errstate(all="ignore"):
                return self.lift(getattr(np, name)(*values))
        return Node(self, self._place(name, operands, values), *where)

    def reduce(self, name: str, entries: Sequence[Node]) -> Node:
        """The sum, mean, maximum or minimum of a row's entries: all units of one operation, or of several."""
        if name not in REDUCTIONS or len(entries) == 1:
            return self._folded(name, entries)
        if len({one.row for one in entries}) > 1:
            raise SymbolicError("computes with several rows at once")
        blocks = [entries[k : k + self.units] for k in range(0, len(entries), self.units)]
        if any([one.unit for one in block] != list(range(self.units)) for block in blocks):
            raise SymbolicError("takes a sum or mean of something else than all units of a row")
        if any(len({one.operation for one in block}) > 1 for block in blocks):
            raise SymbolicError("does not treat every row and unit alike and alone")
        parts = [Node(self, self.place(name, block[0].operation), block[0].row, None) for block in blocks]
        return self._folded(name, parts)

    def _folded(self, name: str, entries: Sequence[Node]) -> Node:
        whole: Node = folded(self, name, entries)
        return whole

    def _number(self, a: Node) -> float | None:
        one = self.operations[a.operation]
        return one.operands[0] if one.name == "number" else None

    def _place(self, name: str, operands: Sequence[Node], values: Sequence[float | None]) -> int:
        """Where the operation stands, said by functions that kernels have."""
        a = [one.operation for one in operands]
        if name == "positive":
            return a[0]
        if name == "square" or (name in ("power", "float_power") and values[1] == 2):
            return self.place("multiply", a[0], a[0])
        if name in ("power", "float_power") and values[1] == ROOT:
            return self.place("sqrt", a[0])
        if name == "reciprocal":
            return self.place("divide", self.place("number", 1.0), a[0])
        if name in ("absolute", "fabs"):
            zero = self.place("number", 0.0)
            return self.place("where", self.place("less", a[0], zero), self.place("negative", a[0]), a[0])
        if name in ("maximum", "minimum"):
            if values[0] is None is values[1]:
                raise SymbolicError(f"takes the {name} of two values")
            if values[0] is not None:  # the number last
                a.reverse()
        compared = [self.operations[k].name in COMPARISONS for k in a]
        if compared != [name == "where", *compared[1:]] or any(compared[1:]):
            raise SymbolicError("uses a comparison elsewhere than in np.where, or np.where without one")
        if name not in self.functions:
            raise SymbolicError(f"uses np.{name}, which kernels do not have")
        return self.place(name, *a)


def run(program: Program, memory: dict[Place, Array]) -> None:
    """Do a program on arrays by NumPy, which says what its operations mean: what it stores takes its place."""
    values: list[Value] = []
    for name, operands in program.operations:
        if name == "number":
            values.append(operands[0])
        elif name == "load":
            values.append(memory[operands[0]])
        elif name in REDUCTIONS:
            values.append(getattr(np, name)(values[operands[0]], -1, keepdims=True))
        else:
            values.append(getattr(np, name)(*(values[k] for k in operands)))
    memory.update({place: np.asarray(0.0 if end is None else values[end]) for place, end in program.results})

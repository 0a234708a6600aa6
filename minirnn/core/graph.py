"""Operations that were done to symbols, each written down once: how a cell is traced (``tracing.py``)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.symbolic import Symbolic, SymbolicError, Value
from minirnn.kernels.facts import COMPARISONS, Operation, Program

LEAVES = ("gate", "apart", "state", "unit", "zone", "saved", "dstate")
KNOWN = {  # functions that kernels compute
    *("add", "subtract", "multiply", "divide", "negative", "tanh", "exp", "sqrt", "maximum", "minimum", "where"),
    *COMPARISONS,
}


@dataclass(frozen=True, slots=True)
class Node:
    """An entry: the place of an operation, and the row and the unit that it is about; None for any."""

    graph: "Graph"
    operation: int
    row: int | None
    unit: int | None

    def __bool__(self) -> bool:
        raise SymbolicError("branches on a value, with if, and, or or not: np.where does not")


class Graph:
    """Operations that were done to entries, each once: an ``Algebra`` of ``core.symbolic``."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.places: dict[Operation, int] = {}

    def place(self, name: str, *operands: Any) -> int:
        """Where an operation stands."""
        one = Operation(name, operands)
        if one not in self.places:
            self.places[one] = len(self.operations)
            self.operations.append(one)
        return self.places[one]

    def array(self, name: str, which: int, shape: tuple[int, ...]) -> Symbolic:
        """Inputs: rows and units of ``shape``, or units alone."""
        entries = np.empty(shape, object)
        for index in np.ndindex(shape):
            row = index[0] if len(shape) == 2 else None
            entries[index] = Node(self, self.place(name, which), row, index[-1])
        return Symbolic(entries, self)

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
        if name not in KNOWN:
            raise SymbolicError(f"uses np.{name}, which kernels do not have")
        return self.place(name, *a)


class Traced(NamedTuple):
    """One run of a function: where its results go, as entries."""

    graph: Graph
    results: list[tuple[str, int, Value]]

    def program(self) -> Program:
        """The operations that the results need, renumbered; SymbolicError where rows or units are not alike."""
        ends = [(kind, k, None if value is None else self._end(value)) for kind, k, value in self.results]
        needed, waiting = set[int](), [end for _, _, end in ends if end is not None]
        while waiting:
            place = waiting.pop()
            if place not in needed:
                needed.add(place)
                waiting += self._operands(place)
        order: list[int] = []  # that of the cell's own lines, and what these read just before
        for place in sorted(needed):
            if inner := self._operands(place):
                order += [k for k in dict.fromkeys(inner) if k not in order] + [place]
        order += sorted(needed - set(order))
        now = {place: k for k, place in enumerate(order)}
        operations = []
        for place in order:
            one, inner = self.graph.operations[place], self._operands(place)
            operations.append(one._replace(operands=tuple(now[k] for k in inner)) if inner else one)
        return Program(tuple(operations), tuple((kind, k, None if end is None else now[end]) for kind, k, end in ends))

    def _operands(self, place: int) -> tuple[int, ...]:
        """The places of an operation's operands; none of an input or a number."""
        one = self.graph.operations[place]
        return () if one.name in LEAVES or one.name == "number" else one.operands

    def _end(self, value: Value) -> int:
        entries = Symbolic.of(value, self.graph).entries
        nodes: list[Node] = list(entries.flat)
        for index, one in zip(np.ndindex(entries.shape), nodes, strict=True):
            if one.operation != nodes[0].operation or (one.row, one.unit) != index:
                raise SymbolicError("does not treat every row and unit alike and alone")
        return nodes[0].operation


def run(program: Program, inputs: Mapping[str, Sequence[Array] | Array]) -> dict[tuple[str, int], Array | None]:
    """What a program computes of arrays, by NumPy: the meaning of its operations."""
    values: list[Value] = []
    for name, operands in program.operations:
        if name == "number":
            values.append(operands[0])
        elif name in LEAVES:
            values.append(inputs[name][operands[0]])
        else:
            values.append(getattr(np, name)(*(values[k] for k in operands)))
    return {(kind, k): None if end is None else values[end] for kind, k, end in program.results}

"""A cell's ``step`` and ``unstep``, run once on symbols: the operations of one unit, from which kernels are made.

A cell of the protocol treats rows and units alike and apart from each other.  So two rows of two units are enough to
see what it does: every operation is written down (``Graph``), equal ones once, and what reads two rows or two units at
a time, or branches on a value, is refused.  What was written down is then held against the cell itself, on drawn
numbers and another shape: a cell that is not what it seemed to be runs by its plain equations.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.protocol import (
    Arrays,
    Stage,
    matrix_of,
    name_of,
    recurrent_bias_of,
    stages_of,
    trains,
    units_of,
)
from minirnn.core.symbolic import Symbolic, SymbolicError, Value
from minirnn.kernels.facts import CUDA, CellFacts, Operation, Program, Saved

SIDE = 2  # rows and units
SHAPE = 3, 5  # rows and units of numbers that a program is held against its cell with
DRAWN = 2  # times
MOST_KNOWN = 64  # cells whose facts are kept
LEAVES = ("gate", "apart", "state", "unit", "saved", "dstate")
COMPARISONS = ("less", "less_equal", "greater", "greater_equal")
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
        if not isinstance(x, (bool, int, float, np.number)) or isinstance(x, (complex, np.complexfloating)):
            raise SymbolicError(f"computes with {type(x).__name__}, which is no real number")
        if not np.isfinite(x):
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


def traced(cell: Any) -> CellFacts:
    """A cell of one stage as kernels see it; SymbolicError, whose words go on from "it", for any other."""
    if not trains(cell):
        raise SymbolicError("is for inference only, of which there are too many kinds to compile each")
    (stage, *more), states = stages_of(cell), len(cell.state)
    if more or matrix_of(stage) or hasattr(cell, "output_size"):
        raise SymbolicError("has a second product within a step, or states of several widths")
    gates, units, bias = len(stage.gates), units_of(stage), recurrent_bias_of(stage)
    if bias and bias != stage.gates[-1:]:
        raise SymbolicError("has a recurrent bias elsewhere than in its last gate")
    graph = Graph()
    p = [graph.array("gate", k, (SIDE, SIDE)) for k in range(gates)]
    q = [Symbolic.of(np.zeros((SIDE, SIDE)), graph) for _ in range(gates)]  # what is p here, is p + q
    if bias:
        q[-1] = graph.array("apart", 0, (SIDE, SIDE))
    before = [graph.array("state", k, (SIDE, SIDE)) for k in range(states)]
    w = [graph.array("unit", k, (SIDE,)) for k in range(len(units))]
    after, saved = stage.step(_joined(p), _joined(q), tuple(before), *w)  # type: ignore[arg-type]  # arrays, to a cell
    step = Traced(graph, [*_numbered("state", after), *_numbered("saved", saved)]).program()
    if len(after) != states or len(saved) != len(getattr(stage, "saves", ())):
        raise SymbolicError("returns more or fewer arrays than it names")
    facts = _placed(cell, stage, step, _same(graph, after, saved, before, q[-1] if bias else None))
    facts = facts._replace(unstep=_traced_unstep(stage, states, apart=bool(bias)))
    for seed in range(DRAWN):
        _compare(stage, facts, seed)
    return facts.keyed()


def _traced_unstep(stage: Stage, states: int, *, apart: bool) -> Program:
    graph, gates = Graph(), len(stage.gates)
    saved = [graph.array("saved", k, (SIDE, SIDE)) for k in range(len(stage.saves))]
    dstate = [graph.array("dstate", k, (SIDE, SIDE)) for k in range(states)]
    w = [graph.array("unit", k, (SIDE,)) for k in range(len(units_of(stage)))]
    dp, dq, dbefore, *dw = stage.unstep(tuple(dstate), tuple(saved), *w)  # type: ignore[arg-type]  # arrays, to a cell
    dps, dqs = (_split(Symbolic.of(d, graph), gates) for d in (dp, dq))
    results = [*_numbered("dp", dps), *_numbered("dstate", dbefore), *_numbered("dunit", dw)]
    program = Traced(graph, [*results, *(("dq", k, value) for k, value in enumerate(dqs))]).program()
    ends = {(kind, k): end for kind, k, end in program.results}
    if any(ends["dp", k] != ends["dq", k] for k in range(gates - apart)):
        raise SymbolicError("sends another gradient to p than to q of a gate that has their sum alone")
    kept = [one for one in program.results if one[0] != "dq" or (apart and one[1] == gates - 1)]
    return program._replace(results=tuple(kept))


def _numbered(kind: str, values: Sequence[Value]) -> list[tuple[str, int, Value]]:
    return [(kind, k, value) for k, value in enumerate(values)]


def _joined(parts: list[Symbolic]) -> Value:
    entries: Value = parts
    return np.concatenate(entries, axis=-1)


def _split(a: Value, n: int) -> list[Value]:
    return np.split(a, n, axis=-1)


def _same(
    graph: Graph, after: Arrays, saved: Arrays, before: Sequence[Symbolic], apart: Symbolic | None
) -> list[tuple[str, int, bool] | None]:
    """For each entry of ``saved`` the state or the q that it is, which need no place of their own."""
    known = {Symbolic.of(a, graph).entries.flat[0]: ("c", k, False) for k, a in enumerate(after)}
    known |= {a.entries.flat[0]: ("c", k, True) for k, a in enumerate(before)}
    if apart is not None:
        known[apart.entries.flat[0]] = "u", 0, False
    return [known.get(Symbolic.of(a, graph).entries.flat[0]) for a in saved]


def _placed(cell: Any, stage: Stage, step: Program, same: list[tuple[str, int, bool] | None]) -> CellFacts:
    """Where what is saved lies: in the place of a gate's argument while there is one, then in an array of its own."""
    states, bias = len(cell.state), recurrent_bias_of(stage)
    others = ["c", *(f"c{k}" for k in range(2, states))][: states - 1]
    saved: dict[str, Saved] = {}
    ends = [end for kind, _, end in step.results if kind == "saved"]
    at: dict[int | None, Saved] = {}  # by the operation that is saved: one that is saved twice lies in one place
    own, used = list[str](), 0
    for name, known, end in zip(getattr(stage, "saves", ()), same, ends, strict=True):
        if known:
            array, k, before = known
            saved[name] = Saved("u") if array == "u" else Saved("y" if k == 0 else others[k - 1], 0, before)
        elif end in at:
            saved[name] = at[end]
        elif used < len(stage.gates):
            saved[name] = at[end] = Saved("gates", used)
            used += 1
        else:
            own.append(f"m{len(own) + 1}" if own else "m")
            saved[name] = at[end] = Saved(own[-1])
    beside = (*(["u"] if bias else []), *others, *own)
    name = name_of(cell)
    return CellFacts(
        name=name,
        gates=len(stage.gates),
        saved=saved,
        beside=beside,
        states=states,
        units=units_of(stage),
        in_place=len(stage.gates) == 1 and not beside and not used,
        bias=f"b{bias[0]}" if bias else "",
        on_cuda=name in CUDA and cell.__module__ == "minirnn.cells",
        step=step,
        unstep=Program((), ()),
        key="",
    )


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


def _scattered(seed: int, *shape: int) -> Array:
    """Numbers of both signs, up to 2 in size; NumPy's generator would take longer to import than all the rest."""
    k = np.arange(1.0, 1.0 + math.prod(shape))
    numbers: Array = 2 * np.sin(k * k + 7 * seed + shape[0])
    return numbers.reshape(shape)


def _compare(stage: Stage, facts: CellFacts, seed: int) -> None:
    """Hold the programs against the cell; SymbolicError where they differ."""
    B, H = SHAPE
    p, q = _scattered(seed, 2, B, facts.gates * H)
    states = _scattered(seed + 1, facts.states, B, H)
    w = _scattered(seed + 2, len(facts.units), H)
    with np.errstate(all="ignore"):
        after, saved = stage.step(p, q, tuple(states), *w)
        sums = np.split(p + q, facts.gates, axis=-1)
        if facts.bias:
            sums[-1] = np.split(p, facts.gates, axis=-1)[-1]
        apart = [np.split(q, facts.gates, axis=-1)[-1]]
        found = run(facts.step, {"gate": sums, "apart": apart, "state": states, "unit": w})
        pairs = [(found["state", k], a) for k, a in enumerate(after)]
        pairs += [(found["saved", k], a) for k, a in enumerate(saved)]
        dstate = _scattered(seed + 3, facts.states, B, H)
        dp, dq, dbefore, *dw = stage.unstep(tuple(dstate), tuple(saved), *w)
        found = run(facts.unstep, {"saved": saved, "dstate": dstate, "unit": w})
        pairs += [(found["dp", k], d) for k, d in enumerate(np.split(dp, facts.gates, axis=-1))]
        pairs += [(found.get(("dq", k), found["dp", k]), d) for k, d in enumerate(np.split(dq, facts.gates, axis=-1))]
        pairs += [(found["dstate", k], d) for k, d in enumerate(dbefore)]
        pairs += [(found["dunit", k], d) for k, d in enumerate(dw)]
    for a, b in pairs:
        if (a is None) != (b is None) or (a is not None and not np.allclose(a, b, 1e-9, 1e-12, equal_nan=True)):
            raise SymbolicError("computes more than its operations on one row and unit show")


def facts_of(cell: Any) -> CellFacts | None:
    """A cell as kernels see it, or None for one that they cannot run: that runs by its plain equations."""
    stages = stages_of(cell)
    key = cell, *(getattr(stage, name, None) for stage in stages for name in ("step", "unstep"))
    try:
        hash(key)
    except TypeError:
        return _facts_of(cell)
    if key not in _KNOWN:
        if len(_KNOWN) >= MOST_KNOWN:
            _KNOWN.clear()
        _KNOWN[key] = _facts_of(cell)
    return _KNOWN[key]


def _facts_of(cell: Any) -> CellFacts | None:
    try:
        return traced(cell)
    except Exception:  # noqa: BLE001 - a cell's own code raises what it will of symbols; it runs as it is
        return None


_KNOWN: dict[Any, CellFacts | None] = {}

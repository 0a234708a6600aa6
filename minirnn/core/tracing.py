"""A cell's ``step`` and ``unstep``, run once on symbols: the operations of one unit, from which kernels are made.

A cell of the protocol treats rows and units alike and apart from each other.  So two rows of two units are enough to
see what it does: every operation is written down (``Graph``), equal ones once, and what reads two rows or two units at
a time, or branches on a value, is refused.  Stages follow one another on one graph, which so sees what of one is read
by the next, and gives it a place to lie in meanwhile.

What was written down is then held against the cell itself, on drawn numbers and another shape: a cell that is not what
it seemed to be runs by its plain equations.
"""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import Any, TypeAlias

import numpy as np

from minirnn.core.drawn import agrees
from minirnn.core.graph import KNOWN, Graph
from minirnn.core.protocol import matrix_of, multiplies, name_of, recurrent_bias_of, stages_of, trains, units_of
from minirnn.core.symbolic import Symbolic, SymbolicError, Value
from minirnn.core.zones import Zones
from minirnn.kernels.facts import REDUCTIONS, CellFacts, Place, Program, StageFacts, named, state_place

SIDE = 2  # rows and units
MOST_KNOWN = 64  # cells whose facts are remembered
Results: TypeAlias = Sequence[tuple[Place, int | None]]  # where the end of which operation goes
AS_WIDE_AS_H = ("y", "dh")  # places; of a stage with a matrix "dq" too


def traced(
    cell: Any, zones: Sequence[bool] = (), *, inference: bool = False, functions: AbstractSet[str] = KNOWN
) -> CellFacts:
    """A cell as kernels see it; SymbolicError, whose words go on from "it", for one that they cannot run.

    With ``zones`` it is the cell's step with zoneout, in training or in ``inference``.  A cell without a transpose is
    traced for inference in any case.  ``functions`` are those of NumPy's that it may use.
    """
    first, *more = stages_of(cell)
    zoneout = Zones(tuple(zones) or (False,) * len(cell.state), inference=inference or not trains(cell))
    *middle, last = more or [first]
    if any(map(matrix_of, middle)):
        raise SymbolicError("has a matrix of its own in another stage than the last")
    if hasattr(cell, "output_size") and (middle or not matrix_of(last)):
        raise SymbolicError("has an output_size, and not a second stage that is the product with a matrix of its own")
    if not more and recurrent_bias_of(first) == first.gates[-1:]:
        return Tracing(cell, zoneout, apart=1, functions=functions).facts()
    most_apart = len(first.gates) if not more and multiplies(first) else 0
    try:
        return Tracing(cell, zoneout, apart=0, functions=functions).facts()
    except SymbolicError as error:
        for apart in range(1, most_apart + 1):
            with suppress(SymbolicError):
                return Tracing(cell, zoneout, apart=apart, functions=functions).facts()
        raise error from None


class Tracing:
    """One run of a cell on symbols, with q of its last gates ``apart`` and only the sum p + q of the others.

    Biases of products are per-unit weights that are added to q, but for one of the last gate alone: with that, the
    product begins.
    """

    def __init__(self, cell: Any, zoneout: Zones, *, apart: int, functions: AbstractSet[str] = KNOWN) -> None:
        self.cell, self.zoneout, self.apart, self.functions = cell, zoneout, apart, functions
        self.stages, self.states = stages_of(cell), len(cell.state)
        biases = recurrent_bias_of(self.stages[0])
        self.bias = f"b{biases[0]}" if apart == 1 and biases == self.stages[0].gates[-1:] else ""
        self.wide = SIDE + hasattr(cell, "output_size")  # units of h
        self.first = [sum(len(stage.gates) for stage in self.stages[:k]) for k in range(len(self.stages))]
        self.gates = self.first[-1] + len(self.stages[-1].gates)
        self.biases = [() if self.bias else recurrent_bias_of(stage) for stage in self.stages]
        weights = [
            (*(f"b{gate}" for gate in gates), *units_of(stage))
            for stage, gates in zip(self.stages, self.biases, strict=True)
        ]
        self.units = tuple(name for names in weights for name in names)
        self.starts = [sum(map(len, weights[:k])) for k in range(len(weights))]  # of each stage's among them
        self.flows = self.extra = self.rows = 0  # arrays that were needed so far: "f", "m" and "s"

    def facts(self) -> CellFacts:
        """What was seen, held against the cell."""
        steps, operands, saved = self._forward()
        inference = self.zoneout.inference
        backward = [(Program(), Program(), Place("f")) for _ in steps] if inference else self._backward(saved)
        stages = tuple(
            StageFacts(
                first=first,
                gates=len(stage.gates),
                product=multiplies(stage),
                matrix=matrix_of(stage),
                operand=operand,
                back=back,
                saved=tuple(places),
                step=step,
                unstep=unstep,
                narrow_step=narrow_step,
                narrow_unstep=narrow_unstep,
                weights=weights,
                biases=biases,
            )
            for stage, first, operand, places, (step, narrow_step), (
                unstep,
                narrow_unstep,
                back,
            ), weights, biases in zip(
                *(self.stages, self.first, operands, saved, steps, backward, self.starts, self.biases), strict=True
            )
        )
        name = name_of(self.cell)
        counts = {
            "u": self.apart,
            "c": self.states - 1,
            "a": len(stages) - 1,
            "m": self.extra,
            "s": self.rows,
            "z": len(self.zoneout.zoned),
        }
        beside = tuple(named(kind, k) for kind, count in counts.items() for k in range(count))
        saved_places = {
            name: place
            for stage, places in zip(self.stages, saved, strict=True)
            for name, place in zip(stage.saves if places else (), places, strict=True)
        }
        facts = CellFacts(
            name=name,
            gates=self.gates,
            saved=saved_places,
            beside=beside,
            states=self.states,
            units=self.units,
            flows=self.flows,
            in_place=self.gates == 1 and not beside and all(one.array != "gates" for one in saved_places.values()),
            apart=self.apart,
            bias=self.bias,
            inference=inference,
            whole_rows=any(map(adds_up, (program for one in stages for program in (one.step, one.unstep)))),
            stages=stages,
        )
        if not agrees(facts, self.stages, self.zoneout, wider=self.wide - SIDE):
            raise SymbolicError("computes more than its operations on one row and unit show")
        return facts.keyed()

    def _load(self, graph: Graph, place: Place) -> Value:
        """Symbols for what lies at a place."""
        if place.array == "w" or place.array[0] == "s":
            return graph.load(place, (SIDE,) if place.array == "w" else (SIDE, 1))
        narrow = place.array in AS_WIDE_AS_H or (place.array == "z" and self.zoneout.states[0])
        return graph.load(place, (SIDE, self.wide if narrow else SIDE))

    def _units(self, graph: Graph, k: int) -> list[Value]:
        """The per-unit weights of stage k, without biases."""
        start = self.starts[k] + len(self.biases[k])
        return [self._load(graph, Place("w", start + i)) for i in range(len(units_of(self.stages[k])))]

    def _zones(self, graph: Graph) -> list[Value]:
        return [self._load(graph, Place(named("z", k))) for k in range(len(self.zoneout.zoned))]

    def _arguments(self, graph: Graph, k: int) -> tuple[Value, Value]:
        """p and q of stage k: what is p here is p + q, but where q is apart."""
        stage, first = self.stages[k], self.first[k]
        if matrix_of(stage):
            return np.zeros((SIDE, 0)), self._load(graph, Place("y"))
        p: list[Value] = [self._load(graph, Place("gates", first + i)) for i in range(len(stage.gates))]
        q: list[Value] = [Symbolic.of(np.zeros((SIDE, SIDE)), graph) for _ in p]
        for i in range(self.apart):
            q[len(q) - self.apart + i] = self._load(graph, Place("u", i))
        for i, gate in enumerate(self.biases[k]):
            at = stage.gates.index(gate)
            q[at] = q[at] + self._load(graph, Place("w", self.starts[k] + i))
        joined = np.concatenate(q, axis=-1) if multiplies(stage) else np.zeros((SIDE, 0))
        return np.concatenate(p, axis=-1), joined

    def _forward(self) -> tuple[list[tuple[Program, Program]], list[Place], list[list[Place]]]:
        """Each stage's programs, what its product reads, and where it saves what."""
        graph, zoneout = Graph(SIDE, self.functions), self.zoneout
        before = tuple(self._load(graph, state_place(k, before=True)) for k in range(self.states))
        zones, flow = self._zones(graph), tuple[Value, ...](before)
        flows, saves = [], []
        for k, stage in enumerate(self.stages):
            flow, saved = stage.step(*self._arguments(graph, k), flow, *self._units(graph, k))
            saved = () if zoneout.inference else saved  # nothing is for a backward pass
            if not zoneout.inference and len(saved) != len(stage.saves):
                raise SymbolicError("returns more or fewer arrays than it names")
            flows.append(flow)
            saves.append([graph.operation(a) for a in saved])
        if len(flow) != self.states:
            raise SymbolicError("returns more or fewer arrays than it names")
        flows[-1] = zoneout.after(before, flow, zones)
        ends = [[graph.operation(a) for a in flow] for flow in flows]
        return self._placed(graph, ends, saves)

    def _placed(
        self, graph: Graph, ends: list[list[int]], saves: list[list[int]]
    ) -> tuple[list[tuple[Program, Program]], list[Place], list[list[Place]]]:
        """A place for everything that outlives a stage: what is known already needs none of its own.

        ``ends[k]`` are the operations that stage k returns, ``saves[k]`` those that it saves.
        """
        old, new = ([state_place(k, before=before) for k in range(self.states)] for before in (True, False))
        before = [graph.place("load", place) for place in old]
        there = dict(zip(before, old, strict=True))
        for k in range(self.apart):
            there[graph.place("load", Place("u", k))] = Place("u", k)
        programs, operands, used = [], [old[0]], 0
        for k, saved in enumerate(saves):
            earlier, results, last = dict(there), list[tuple[Place, int]](), k == len(saves) - 1
            if not last:  # what the next product reads lies in an array of its own
                operands.append(Place(named("a", k)))
                results.append((operands[-1], ends[k][0]))
                there.setdefault(ends[k][0], operands[-1])
            for place, end, leaf in zip(new, ends[-1], before, strict=True):
                replaced = all(leaf not in one for one in ends[k:])  # nothing reads the state before any more
                if place not in there.values() and (last or (end in ends[k] and replaced)):
                    results.append((place, end))
                    there.setdefault(end, place)
            for end in dict.fromkeys([*saved, *([] if last else ends[k][1:])]):
                if end in there:
                    continue
                if graph.of_rows(end):
                    there[end], self.rows = Place(named("s", self.rows)), self.rows + 1
                elif end in saved and used < self.first[k] + len(self.stages[k].gates):
                    there[end], used = Place("gates", used), used + 1
                else:
                    there[end], self.extra = Place(named("m", self.extra)), self.extra + 1
                results.append((there[end], end))
            programs.append(self._by_width(results, lambda some: graph.program(some, earlier)))  # noqa: B023 - called at once
        return programs, operands, [[there[end] for end in saved] for saved in saves]

    def _by_width(self, results: Results, program: Callable[[Results], Program]) -> tuple[Program, Program]:
        """The programs of what is H wide, and of what is as wide as h."""
        if self.wide == SIDE:
            return program(results), Program()
        narrow = [one for one in results if one[0].array in (*AS_WIDE_AS_H, "dq")]
        return program([one for one in results if one not in narrow]), program(narrow)

    def _backward(self, places: list[list[Place]]) -> list[tuple[Program, Program, Place]]:
        """Each stage's programs, and where the gradient of what its product read is to be completed."""
        graph, zoneout = Graph(SIDE, self.functions), self.zoneout
        incoming = tuple(self._load(graph, Place("dc", k - 1) if k else Place("dh")) for k in range(self.states))
        zones = self._zones(graph)
        flow, programs = zoneout.passed_on(incoming, zones), []
        for k, stage in reversed(list(enumerate(self.stages))):
            saved = tuple(self._load(graph, place) for place in places[k])
            dp, dq, direct, *dw = stage.unstep(flow, saved, *self._units(graph, k))
            results, dqs = self._products(graph, k, dp, dq)
            ends = [dqs[stage.gates.index(gate)] for gate in self.biases[k]] + [graph.operation(d) for d in dw]
            results += [(Place("dw", self.starts[k] + i), end) for i, end in enumerate(ends)]
            if k:
                flow, back, onward = self._onward(graph, direct)
                results += onward
            else:
                direct, back = zoneout.sent_back(incoming, direct, zones), Place("dh")
                for i, d in enumerate(direct):
                    results.append((Place("dc", i - 1) if i else back, None if d is None else graph.operation(d)))
            programs.append((*self._by_width(results, lambda some: graph.program(some, {})), back))
        return programs[::-1]

    def _products(self, graph: Graph, k: int, dp: Value, dq: Value) -> tuple[list[tuple[Place, int | None]], list[int]]:
        """Where the gradients of p and q go, one place for both where they are the same; and those of q."""
        if matrix_of(self.stages[k]):
            return [(Place("dq"), graph.operation(dq))], []
        gates, first = len(self.stages[k].gates), self.first[k]
        dq = dq if multiplies(self.stages[k]) else dp
        dps, dqs = ([graph.operation(d) for d in np.split(Symbolic.of(a, graph), gates, axis=-1)] for a in (dp, dq))
        if dps[: gates - self.apart] != dqs[: gates - self.apart]:
            raise SymbolicError("sends another gradient to p than to q of a gate that has their sum alone")
        places: list[tuple[Place, int | None]] = [(Place("dp", first + i), end) for i, end in enumerate(dps)]
        places += [(Place("dq", i), dqs[gates - self.apart + i]) for i in range(self.apart)]
        return places, dqs

    def _onward(self, graph: Graph, direct: Value) -> tuple[Value, Place, list[tuple[Place, int | None]]]:
        """What the stage before is given, where its first lies, and what is to be put there."""
        flow, results = [], list[tuple[Place, int | None]]()
        for i, d in enumerate(direct):
            end = None if d is None else graph.operation(d)
            if i and end is not None and graph.operations[end].name == "load":
                flow.append(d)  # it stays where it is
                continue
            place, self.flows = Place("f", self.flows), self.flows + 1
            results.append((place, end))
            flow.append(self._load(graph, place))
        return tuple(flow), results[0][0], results


def adds_up(program: Program) -> bool:
    """Whether a program has sums over a row's units."""
    return any(one.name in REDUCTIONS for one in program.operations)


def facts_of(cell: Any, zones: tuple[bool, ...] = (), *, inference: bool = False) -> CellFacts | None:
    """A cell as kernels see it, or None for one that they cannot run: that runs by its plain equations."""
    stages = stages_of(cell)
    key = cell, zones, inference, *(getattr(stage, name, None) for stage in stages for name in ("step", "unstep"))
    try:
        hash(key)
    except TypeError:
        return _facts_of(cell, zones, inference=inference)
    if key not in _KNOWN:
        if len(_KNOWN) >= MOST_KNOWN:
            _KNOWN.clear()
        _KNOWN[key] = _facts_of(cell, zones, inference=inference)
    return _KNOWN[key]


def _facts_of(cell: Any, zones: tuple[bool, ...], *, inference: bool) -> CellFacts | None:
    try:
        return traced(cell, zones, inference=inference)
    except Exception:  # noqa: BLE001 - a cell's own code raises what it will of symbols; it runs as it is
        return None


_KNOWN: dict[Any, CellFacts | None] = {}

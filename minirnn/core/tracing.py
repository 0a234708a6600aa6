"""A cell's ``step`` and ``unstep``, run once on symbols: the operations of one unit, from which kernels are made.

A cell of the protocol treats rows and units alike and apart from each other.  So two rows of two units are enough to
see what it does: every operation is written down (``Graph``), equal ones once, and what reads two rows or two units at
a time, or branches on a value, is refused.  What was written down is then held against the cell itself, on drawn
numbers and another shape: a cell that is not what it seemed to be runs by its plain equations.
"""

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.graph import Graph, Traced, run
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
from minirnn.kernels.facts import CUDA, CellFacts, Program, Saved

SIDE = 2  # rows and units
HALF = 0.5  # above it a zone is 1
SHAPE = 3, 5  # rows and units of numbers that a program is held against its cell with
DRAWN = 2  # times
MOST_KNOWN = 64  # cells whose facts are remembered


class Zoned:
    """A stage with zoneout (``recurrent/zoneout.py``): ``zones`` say which states have it, ``shares`` how much stays.

    A share above 0 is what inference mixes in; in training (``shares`` None) zones are arrays of 1 and 0.
    """

    def __init__(self, stage: Stage, zones: Sequence[bool], shares: Sequence[float] | None = None) -> None:
        self.stage, self.zones, self.shares = stage, zones, shares

    def step(self, p: Value, q: Value, state: Value, units: Sequence[Value], zones: Sequence[Value]) -> Value:
        """``step`` of the stage, and what stays of each state."""
        after, saved = self.stage.step(p, q, state, *units)
        if self.shares is not None:
            mixed = zip(self.shares, state, after, strict=True)
            return tuple(share * old + (1 - share) * new if share else new for share, old, new in mixed), saved
        drawn = iter(zones)
        states = zip(self.zones, state, after, strict=True)
        return tuple(np.where(next(drawn) > HALF, old, new) if zone else new for zone, old, new in states), saved

    def unstep(self, dstate: Value, saved: Value, units: Sequence[Value], zones: Sequence[Value]) -> Value:
        """Its transpose, in training."""
        drawn = iter(zones)
        masks = [next(drawn) > HALF if zone else None for zone in self.zones]
        new = tuple(d if mask is None else np.where(mask, 0.0, d) for mask, d in zip(masks, dstate, strict=True))
        dp, dq, direct, *dunits = self.stage.unstep(new, saved, *units)
        back = []
        for mask, d, sent in zip(masks, dstate, direct, strict=True):
            stayed = None if mask is None else np.where(mask, d, 0.0)
            back.append(sent if stayed is None else stayed if sent is None else sent + stayed)
        return dp, dq, tuple(back), *dunits


def traced(cell: Any, zones: Sequence[bool] = (), shares: Sequence[float] | None = None) -> CellFacts:
    """A cell of one stage as kernels see it; SymbolicError, whose words go on from "it", for any other.

    With ``zones`` it is the cell's step in training with zoneout, with ``shares`` that in inference.
    """
    if not trains(cell):
        raise SymbolicError("is for inference only, of which there are too many kinds to compile each")
    (stage, *more), states = stages_of(cell), len(cell.state)
    if more or matrix_of(stage) or hasattr(cell, "output_size"):
        raise SymbolicError("has a second product within a step, or states of several widths")
    bias = recurrent_bias_of(stage)
    several = len(stage.gates) > 1  # kernels keep the last gate's q apart, beside those of others
    if bias and (bias != stage.gates[-1:] or not several):
        raise SymbolicError("has a recurrent bias elsewhere than in the last of several gates")
    zoned = Zoned(stage, tuple(zones) or (False,) * states, shares)
    if bias:
        return _traced(cell, zoned, apart=True)
    try:
        return _traced(cell, zoned, apart=False)
    except SymbolicError as error:
        with suppress(SymbolicError):
            if several:
                return _traced(cell, zoned, apart=True)
        raise error from None


def _traced(cell: Any, zoned: Zoned, *, apart: bool) -> CellFacts:
    """``traced``, with q of the last gate as an input of its own, or the sum p + q of every gate."""
    stage, states, shares = zoned.stage, len(cell.state), zoned.shares
    gates, units = len(stage.gates), units_of(stage)
    graph = Graph()
    p = [graph.array("gate", k, (SIDE, SIDE)) for k in range(gates)]
    q = [Symbolic.of(np.zeros((SIDE, SIDE)), graph) for _ in range(gates)]  # what is p here, is p + q
    if apart:
        q[-1] = graph.array("apart", 0, (SIDE, SIDE))
    before = [graph.array("state", k, (SIDE, SIDE)) for k in range(states)]
    w = [graph.array("unit", k, (SIDE,)) for k in range(len(units))]
    drawn = [graph.array("zone", k, (SIDE, SIDE)) for k in range(sum(zoned.zones))]
    after, saved = zoned.step(_joined(p), _joined(q), tuple(before), w, drawn)
    if shares is not None:
        saved = ()  # nothing is for a backward pass
    step = Traced(graph, [*_numbered("state", after), *_numbered("saved", saved)]).program()
    if len(after) != states or (shares is None and len(saved) != len(stage.saves)):
        raise SymbolicError("returns more or fewer arrays than it names")
    facts = _placed(cell, stage, step, _same(graph, after, saved, before, q[-1] if apart else None), sum(zoned.zones))
    if shares is None:
        facts = facts._replace(unstep=_traced_unstep(zoned, states, apart=apart))
    for seed in range(DRAWN):
        _compare(zoned, facts, seed)
    return facts.keyed()


def _traced_unstep(zoned: Zoned, states: int, *, apart: bool) -> Program:
    stage = zoned.stage
    graph, gates = Graph(), len(stage.gates)
    saved = [graph.array("saved", k, (SIDE, SIDE)) for k in range(len(stage.saves))]
    dstate = [graph.array("dstate", k, (SIDE, SIDE)) for k in range(states)]
    w = [graph.array("unit", k, (SIDE,)) for k in range(len(units_of(stage)))]
    drawn = [graph.array("zone", k, (SIDE, SIDE)) for k in range(sum(zoned.zones))]
    dp, dq, dbefore, *dw = zoned.unstep(tuple(dstate), tuple(saved), w, drawn)
    dps, dqs = (_split(Symbolic.of(d, graph), gates) for d in (dp, dq))
    results = [*_numbered("dp", dps), *_numbered("dstate", dbefore), *_numbered("dunit", dw)]
    program = Traced(graph, [*results, *(("dq", k, value) for k, value in enumerate(dqs))]).program()
    ends = {(kind, k): end for kind, k, end in program.results}
    if any(ends["dp", k] != ends["dq", k] for k in range(gates - apart)):
        raise SymbolicError("sends another gradient to p than to q of a gate that has their sum alone")
    needed = [one for one in program.results if one[0] != "dq" or (apart and one[1] == gates - 1)]
    return program._replace(results=tuple(needed))


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


def _names(kind: str, count: int) -> list[str]:
    """Of so many arrays: c, c2, c3 ..."""
    return [f"{kind}{k}" if k > 1 else kind for k in range(1, count + 1)]


def _placed(cell: Any, stage: Stage, step: Program, same: list[tuple[str, int, bool] | None], zones: int) -> CellFacts:
    """Where what is saved lies: in the place of a gate's argument while there is one, then in an array of its own."""
    states, bias, apart = len(cell.state), recurrent_bias_of(stage), any(one.name == "apart" for one in step.operations)
    others, drawn = _names("c", states - 1), _names("z", zones)
    saved: dict[str, Saved] = {}
    ends = [end for kind, _, end in step.results if kind == "saved"]
    at: dict[int | None, Saved] = {}  # by the operation that is saved: one that is saved twice lies in one place
    own, used = _names("m", len(stage.saves)), 0
    for name, known, end in zip(stage.saves[: len(same)], same, ends, strict=True):
        if known:
            array, k, before = known
            saved[name] = Saved("u") if array == "u" else Saved("y" if k == 0 else others[k - 1], 0, before)
        elif end in at:
            saved[name] = at[end]
        elif used < len(stage.gates):
            saved[name] = at[end] = Saved("gates", used)
            used += 1
        else:
            saved[name] = at[end] = Saved(own[len(at) - used])
    beside = (*(["u"] if apart else []), *others, *own[: len(at) - used], *drawn)
    name = name_of(cell)
    return CellFacts(
        name=name,
        gates=len(stage.gates),
        saved=saved,
        beside=beside,
        states=states,
        units=units_of(stage),
        in_place=len(stage.gates) == 1 and not beside and not used,
        apart=apart,
        bias=f"b{bias[0]}" if bias else "",
        on_cuda=name in CUDA and cell.__module__ == "minirnn.cells",
        step=step,
        unstep=Program((), ()),
        key="",
    )


def _scattered(seed: int, *shape: int) -> Array:
    """Numbers of both signs, up to 2 in size; NumPy's generator would take longer to import than all the rest."""
    k = np.arange(1.0, 1.0 + math.prod(shape))
    numbers: Array = 2 * np.sin(k * k + 7 * seed + shape[0])
    return numbers.reshape(shape)


def _compare(zoned: Zoned, facts: CellFacts, seed: int) -> None:
    """Hold the programs against the cell; SymbolicError where they differ."""
    B, H = SHAPE
    zones = (_scattered(seed + 4, sum(zoned.zones), B, H) > 0).astype(float)
    p, q = _scattered(seed, 2, B, facts.gates * H)
    states = _scattered(seed + 1, facts.states, B, H)
    w = _scattered(seed + 2, len(facts.units), H)
    with np.errstate(all="ignore"):
        after, saved = zoned.step(p, q, tuple(states), list(w), list(zones))
        sums = np.split(p + q, facts.gates, axis=-1)
        if facts.apart:
            sums[-1] = np.split(p, facts.gates, axis=-1)[-1]
        apart = [np.split(q, facts.gates, axis=-1)[-1]]
        computed = run(facts.step, {"gate": sums, "apart": apart, "state": states, "unit": w, "zone": zones})
        pairs = [(computed["state", k], a) for k, a in enumerate(after)]
        pairs += [(computed["saved", k], a) for k, a in enumerate(saved[: len(facts.saved)])]
        if facts.unstep.results:
            dstate = _scattered(seed + 3, facts.states, B, H)
            dp, dq, dbefore, *dw = zoned.unstep(tuple(dstate), tuple(saved), list(w), list(zones))
            computed = run(facts.unstep, {"saved": saved, "dstate": dstate, "unit": w, "zone": zones})
            pairs += [(computed["dp", k], d) for k, d in enumerate(np.split(dp, facts.gates, axis=-1))]
            for k, d in enumerate(np.split(dq, facts.gates, axis=-1)):
                pairs.append((computed.get(("dq", k), computed["dp", k]), d))
            pairs += [(computed["dstate", k], d) for k, d in enumerate(dbefore)]
            pairs += [(computed["dunit", k], d) for k, d in enumerate(dw)]
    for a, b in pairs:
        if (a is None) != (b is None) or (a is not None and not np.allclose(a, b, 1e-9, 1e-12, equal_nan=True)):
            raise SymbolicError("computes more than its operations on one row and unit show")


def facts_of(cell: Any, zones: tuple[bool, ...] = (), shares: tuple[float, ...] | None = None) -> CellFacts | None:
    """A cell as kernels see it, or None for one that they cannot run: that runs by its plain equations."""
    stages = stages_of(cell)
    key = cell, zones, shares, *(getattr(stage, name, None) for stage in stages for name in ("step", "unstep"))
    try:
        hash(key)
    except TypeError:
        return _facts_of(cell, zones, shares)
    if key not in _KNOWN:
        if len(_KNOWN) >= MOST_KNOWN:
            _KNOWN.clear()
        _KNOWN[key] = _facts_of(cell, zones, shares)
    return _KNOWN[key]


def _facts_of(cell: Any, zones: tuple[bool, ...], shares: tuple[float, ...] | None) -> CellFacts | None:
    try:
        return traced(cell, zones, shares)
    except Exception:  # noqa: BLE001 - a cell's own code raises what it will of symbols; it runs as it is
        return None


_KNOWN: dict[Any, CellFacts | None] = {}

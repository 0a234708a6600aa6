"""The quantities that formulas of an ``unstep`` may use: its variables, what ``step`` computes, and forms of these."""

from collections.abc import Callable, Iterator
from itertools import permutations

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.protocol import units_of
from minirnn.testing.changes import FORMS, Quantity
from minirnn.testing.expressions import Expressions
from minirnn.testing.point import STEP, Point
from minirnn.testing.recording import Overrides, Value
from minirnn.testing.records import Records, Target


def expressions_of(records: Records, values: list[Value], target: Target, overrides: Overrides) -> Expressions:
    """The quantities that formulas before the target may use."""
    tape, carries = records.unstep, records.moved(*list(records.unstep.leaves.values())[: records.n])
    names = {node: tape.nodes[node].label for node in tape.leaves.values()}
    sources: list[tuple[str, Array]] = []
    local: list[tuple[str, Value]] = []
    final = {b.name: b.node for b in tape.bindings if b.node >= 0}
    for b in tape.bindings:
        if b.node < 0 or b.node >= target.node:
            continue
        judged = b.node in overrides or b.node in tape.leaves.values() or records.truth_of(b.name) is not None
        if b.node in tape.leaves.values() or (judged and final[b.name] == b.node):
            names[b.node] = b.name
        value = np.asarray(values[b.node])
        if b.node not in carries and value.dtype.kind == "f":
            names[b.node] = b.name
            local.append((b.name, value))
        elif b.node in carries and value.shape == records.douts[0].shape and b.node in names:
            sources.append((b.name, value))
    sources = [*dict(sources).items()] or [("what comes back", records.douts[0])]
    itself = [truth for truth in (target.by_name, target.by_use) if truth is not None]
    sources += _gradients(records, sources, itself)
    if any(node.label in ("sum", "mean", "add.reduce", "var") for node in records.step.nodes):
        sources += _means(records, sources, values)
    return Expressions(
        tape=tape,
        values=values,
        names=names,
        quantities=quantities(records, local),
        sources=sources,
        gates=records.point.stage.gates,
        pairs=_pairs(records.point),
        tolerance=records.tolerance,
        carries=carries,
    )


def _gradients(records: Records, sources: list[tuple[str, Array]], itself: list[Array]) -> list[tuple[str, Array]]:
    """True gradients that are not among the local variables yet."""
    have = [*(a for _, a in sources), *itself]
    others: list[tuple[str, Array]] = []
    for name, true in records.truths.items():
        if true.shape == have[0].shape and not any(records.equal(true, a) for a in have):
            others.append((f"d{name}", true))
            have.append(true)
    return others


def _means(records: Records, sources: list[tuple[str, Array]], values: list[Value]) -> list[tuple[str, Array]]:
    """Means over the units of gradients, and of gradients times what was saved."""
    means = []
    leaves = list(records.unstep.leaves.values())[records.n : records.n + len(records.saved)]
    saved = [(records.unstep.nodes[node].label, np.asarray(values[node])) for node in leaves]
    for name, e in sources[:8]:
        means.append((f"mean({name})", np.broadcast_to(e.mean(-1, keepdims=True), e.shape)))
        means += [
            (f"mean({name} {other})", np.broadcast_to((e * a).mean(-1, keepdims=True), e.shape))
            for other, a in saved
            if a.shape == e.shape
        ]
    return means


def _pairs(point: Point) -> set[tuple[str, str]]:
    """Names of one quantity before the step and after it."""
    pairs = set(point.pairs)
    for state in point.before:
        pairs |= {(state, f"{state}{mark}") for mark in ("'", "1", "_new", "_next")}
        pairs.add((f"tanh({state})", "m"))
    return pairs


def quantities(records: Records, local: list[tuple[str, Value]]) -> list[Quantity]:
    """Everything a factor may be, simple things first, each once."""
    shape = records.douts[0].shape

    def whole(a: Value) -> Array | None:
        a = np.asarray(a, float)
        if a.ndim == 2 and a.shape[0] == records.rows:
            a = np.tile(a, (records.n, 1))
        return np.broadcast_to(a, shape) if a.shape in (shape, shape[1:], (shape[0], 1)) else None

    named: list[tuple[str, Value, float]] = [(name, a, 0.0) for name, a in local]
    names = dict(zip(records.point.stage.saves, records.saved, strict=True))
    named += [(name, a, 0.0) for name, a in names.items()]
    named += [(name, w, 0.0) for name, w in zip(units_of(records.point.stage), records.point.units, strict=True)]
    for state, a in zip(records.point.before, records.point.flow, strict=True):
        named += [(state, a[: records.rows], 0.1), (f"tanh({state})", np.tanh(a[: records.rows]), 0.9)]
    for state, a in zip(records.point.after, records.point.out, strict=True):
        named += [(f"{state}'", a[: records.rows], 0.8), (f"tanh({state}')", np.tanh(a[: records.rows]), 0.9)]
    for name, w in zip(units_of(records.point.stage), records.point.units, strict=True):
        named.append((f"σ({name})", 0.5 * np.tanh(0.5 * w) + 0.5, 0.2))
    named += [(b.name, b.value, 0.2) for b in records.step.bindings if b.node >= 0]
    every: list[Quantity] = []
    seen: set[tuple[float, ...]] = set()

    def learn(words: str, value: Array, of: str, form: str, cost: float) -> None:
        key = tuple(float(f"{a:.8e}") for a in value.ravel()[:4]) if np.isfinite(value).all() else ()
        if key and key not in seen:
            every.append(Quantity(words, value, of, form, cost))
            seen.add(key)

    learn("1", np.ones(shape), "1", "{}", 0.6)
    bases = []
    for name, a, cost in named:
        value = whole(a)
        if value is not None and np.asarray(a).dtype.kind == "f":
            before = len(every)
            learn(name, value, name, "{}", cost)
            bases += every[before:]
    for form, (make, cost) in FORMS.items():
        for base in bases:
            learn(form.format(base.words), make(base.value), base.of, form, base.cost + cost)
    for base in bases:
        with np.errstate(all="ignore"):
            learn(f"1 / {base.words}", 1 / base.value, base.of, "1 / {}", base.cost + 1.8)
    simple = [base for base in bases if base.cost < 0.5]
    for one, other in permutations(simple, 2):
        cost = 1.0 + one.cost + other.cost
        learn(f"({one.words} - {other.words})", one.value - other.value, one.of, "-", cost)
    for words, value in _partials(records, whole):
        learn(words, value, words, "{}", 1.5)
    return every


def _partials(records: Records, whole: Callable[[Value], Array | None]) -> Iterator[tuple[str, Array]]:
    """The derivative of each operation of ``step`` by each of its operands, where units do not mix."""
    tape = records.step
    names = {b.node: b.name for b in tape.bindings if b.node >= 0}
    for node, name in names.items():
        for other, by in names.items():
            if other >= node or np.shape(tape.nodes[node].value) != np.shape(tape.nodes[other].value):
                continue
            stop = {k: tape.nodes[k].value for k in names if other < k < node}
            base = np.asarray(tape.nodes[other].value)
            if base.dtype.kind != "f" or not records.point.exact:
                continue
            with np.errstate(all="ignore"):
                moved = np.asarray(tape.run(stop | {other: base + 1j * STEP})[node])
            if np.iscomplexobj(moved) and np.abs(moved.imag).max() > 0:
                value = whole(moved.imag / STEP)
                if value is not None:
                    yield f"the derivative of {name} by {by}", value

"""Where a cell's transpose is wrong, and by what pattern.

``check_gradients`` says that a gradient is wrong; this says which line to look at.  It needs no layer and no time: a
cell's ``unstep`` must be the transposed Jacobian of its ``step``, row by row, and that Jacobian is known exactly, by
complex steps through ``step`` alone.  So each gate's dp and dq, each state's direct path and each per-unit weight is
held against its derivative, and where they differ, the difference against what is usually to blame::

    sign                      the derivative, negated
    two gates swapped         the derivative of another gate, or with the other gate's value in it
    previous step             with the state before the step where the state after it belongs, or the other way round
    factor                    the derivative times a number, or with a factor left out, added or mistaken
    missing term              the derivative without one of the terms of its sum, or with one too many

What reaches a gate from one state after the step is looked at apart from what comes from another: ``dh'`` may be
handled rightly and ``dc'`` not.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from minirnn.backend import Array
from minirnn.protocol import matrix_of, name_of, stages_of, units_of, widths_of

ROWS, UNITS, STEP, DELTA = 48, 3, 1e-30, 1e-6
EXACT, ROUGH = 1e-9, 1e-5  # of the largest entry: what counts as equal, by complex steps and by differences
FORMS: dict[str, Callable[[Any], Any]] = {  # what stands in a derivative beside a quantity s
    "{}": lambda s: s,
    "(1 - {})": lambda s: 1 - s,
    "(1 - {}²)": lambda s: 1 - s * s,
    "{0} (1 - {0})": lambda s: s * (1 - s),
}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: at which ``gate`` (or state, or per-unit weight), in which gradients, by what pattern.

    ``words`` is the sentence for a reader; ``error`` the largest difference, ``gradient`` and ``derivative`` there.
    """

    gate: str
    where: tuple[str, ...]
    pattern: str
    words: str
    error: float
    gradient: float
    derivative: float

    def __str__(self) -> str:
        return (
            f"{', '.join(self.where)}: {self.words} ({self.pattern}; for example {self.gradient:+.4g} "
            f"where the derivative is {self.derivative:+.4g})"
        )


def diagnose(cell: Any, *, seed: int = 0) -> list[Finding]:
    """What is wrong with the transpose of ``cell``; an empty list where nothing is.

    TypeError where ``cell`` has no ``unstep``.
    """
    found: list[Finding] = []
    rng, widths = np.random.default_rng(seed), widths_of(cell, UNITS)
    flow = tuple(rng.normal(0, 0.8, (ROWS, n)) for n in widths)
    for stage in stages_of(cell):
        if not hasattr(stage, "unstep"):
            raise TypeError(f"{name_of(stage)} has no unstep: there is no gradient to look at")
        p = rng.normal(0, 0.8, (ROWS, len(stage.gates) * UNITS))
        q = rng.normal(0, 0.8, (ROWS, widths[0] if matrix_of(stage) else p.shape[1]))
        units = [rng.normal(0, 0.8, UNITS) for _ in units_of(stage)]
        point = _Point(stage, cell.state, p, q, flow, units)
        point.all = list(point.items(rng))
        found += _grouped([finding for item in point.all for finding in _findings(item, point)], point)
        flow, _ = stage.step(p, q, flow, *units)
    return found


@dataclass(frozen=True)
class _Item:
    """One gradient: what ``unstep`` says and what is true, (k, ROWS, H), for each state after the step alone."""

    gate: str
    name: str  # "dp of n"
    said: Array
    true: Array


class _Point:
    """A stage, and numbers where its Jacobian is taken."""

    def __init__(self, stage: Any, states: tuple[str, ...], p: Array, q: Array, flow: Any, units: list[Array]) -> None:
        self.stage, self.p, self.q, self.flow, self.units = stage, p, q, flow, units
        self.out, self.saved = stage.step(p, q, flow, *units)
        self.before: list[str] = [states[k] if k < len(states) else f"input {k}" for k in range(len(flow))]
        self.after: list[str] = [states[k] if k < len(states) else f"output {k}" for k in range(len(self.out))]
        self.exact = self._takes_complex()
        self.tolerance = EXACT if self.exact else ROUGH
        self.known: dict[str, Array] = {}  # what formulas are made of, by name
        for name, value in zip(stage.saves, self.saved, strict=True):
            self._learn(name, value)
        for name, w in zip(units_of(stage), units, strict=True):
            self._learn(name, np.broadcast_to(w, (ROWS, UNITS)))
        self.pairs: set[tuple[str, str]] = set()  # what stands for one quantity before the step and after it
        for name, old, new in ((n, a, b) for n, a, m, b in self._states() if n == m):
            for form, make in (("{}", lambda s: s), ("tanh({})", np.tanh)):
                self.pairs.add(
                    (self._learn(form.format(name), make(old)), self._learn(form.format(f"{name}'"), make(new)))
                )
        self.all: list[_Item] = []

    def _states(self) -> Iterator[tuple[str, Array, str, Array]]:
        for name, a in zip(self.before, self.flow, strict=True):
            for other, b in zip(self.after, self.out, strict=True):
                yield name, a, other, b

    def _learn(self, name: str, value: Array) -> str:
        """Take note of a quantity; the name under which it is known already, if it is."""
        if np.shape(value) != (ROWS, UNITS):
            return name
        for known, a in self.known.items():
            if np.allclose(a, value, rtol=1e-12, atol=1e-12):
                return known
        self.known[name] = value
        return name

    def others(self, item: "_Item", k: int) -> Iterator[tuple[str, Array]]:
        """The true gradients of everything but this gate, for the k-th state after the step."""
        for other in self.all:
            if other.gate != item.gate and other.true[k].shape == item.true[k].shape:
                yield other.name, other.true[k]

    def _takes_complex(self) -> bool:
        try:
            out, _ = self.stage.step(self.p + 0j, self.q, self.flow, *self.units)
        except TypeError:
            return False
        return all(np.iscomplexobj(a) or not self.p.size for a in out[:1])

    def items(self, rng: Any) -> Iterator[_Item]:
        """Every gradient that ``unstep`` returns."""
        H, douts = UNITS, [rng.normal(size=np.shape(a)) for a in self.out]
        alone = [tuple(d if k == i else 0 * d for k, d in enumerate(douts)) for i in range(len(douts))]
        said = [self.stage.unstep(d, self.saved, *self.units) for d in alone]
        self.douts = douts

        def gradient(pick: Any, shape: tuple[int, ...]) -> Array:
            found = [pick(one) for one in said]
            return np.stack([np.zeros(shape) if a is None else np.broadcast_to(a, shape) for a in found])

        for place, (name, a) in enumerate((("dp", self.p), ("dq", self.q))):
            if not a.size:
                continue
            g = gradient(lambda one, place=place: one[place], a.shape)
            true = self._derivative(alone, place, a)
            gates = self.stage.gates or ("h",)
            width = a.shape[1] // len(gates)
            for k, gate in enumerate(gates):
                part = slice(k * width, (k + 1) * width)
                yield _Item(gate, f"{name} of {gate}", g[:, :, part], true[:, :, part])
        for k, name in enumerate(self.before):
            shape = self.flow[k].shape
            g = gradient(lambda one, k=k: one[2][k], shape)
            yield _Item(name, f"d{name}, the direct path", g, self._derivative(alone, 2 + k, self.flow[k]))
        for k, name in enumerate(units_of(self.stage)):
            g = gradient(lambda one, k=k: one[3 + k], (ROWS, H))
            wide = np.broadcast_to(self.units[k], (ROWS, H))
            yield _Item(name, f"d{name}", g, self._derivative(alone, 2 + len(self.flow) + k, wide))

    def _derivative(self, alone: Any, place: int, a: Array) -> Array:
        """Σ dout · ∂out/∂a for each of the cotangents, all rows at once, column by column."""
        found = np.zeros((len(alone), *a.shape))
        for j in range(a.shape[1]):
            moved = np.zeros(a.shape, complex if self.exact else float)
            moved[:, j] = 1j * STEP if self.exact else DELTA
            ahead = self._out(place, a + moved)
            change = [b.imag / STEP for b in ahead] if self.exact else []
            if not self.exact:
                back = self._out(place, a - moved)
                change = [(x - y) / (2 * DELTA) for x, y in zip(ahead, back, strict=True)]
            for i, d in enumerate(alone):
                found[i, :, j] = sum((c * e).sum(1) for c, e in zip(change, d, strict=True))
        return found

    def _out(self, place: int, a: Array) -> Any:
        """The outputs with the ``place``-th argument replaced."""
        inputs = [self.p, self.q, *self.flow, *self.units]
        inputs[place] = a
        n = len(self.flow)
        out, _ = self.stage.step(inputs[0], inputs[1], tuple(inputs[2 : 2 + n]), *inputs[2 + n :])
        return out


def _findings(item: _Item, point: _Point) -> Iterator[Finding]:
    """What is wrong with one gradient, for each state after the step that it is wrong about."""
    for k, (g, d) in enumerate(zip(item.said, item.true, strict=True)):
        if _equal(g, d, point.tolerance):
            continue
        at = np.unravel_index(np.argmax(np.where(np.isfinite(g), np.abs(g - d), np.inf)), g.shape)
        pattern, words = _pattern(g, d, item, k, point)
        through = f", in what d{point.after[k]}' sends" if len(point.out) > 1 else ""
        yield Finding(
            gate=item.gate,
            where=(item.name,),
            pattern=pattern,
            words=words + through,
            error=float(np.abs(g - d)[at]),
            gradient=float(g[at]),
            derivative=float(d[at]),
        )


def _pattern(g: Array, d: Array, item: _Item, k: int, point: _Point) -> tuple[str, str]:
    """The pattern by which g differs from d, and a sentence about it."""
    near = point.tolerance
    if not np.isfinite(g).all():
        return "unknown", "it is not finite"
    if _equal(g, -d, near):
        return "sign", "the sign is wrong"
    for other, e in point.others(item, k):
        if other.startswith(item.name[:3]) and _equal(g, e, near) and np.abs(e).max() > 0:
            return "two gates swapped", f"it is the gradient of {other}"
    if not np.abs(g).max():
        return "missing term", "nothing is sent back here, and something must be"
    scale = float((g * d).sum() / max((d * d).sum(), 1e-300))
    if scale and _equal(g, scale * d, near):
        return "factor", f"it is {scale:.4g} times too large"
    quotients = sorted(_quotients(g, d, point), key=lambda found: found[0] == "factor")
    if quotients and quotients[0][0] != "factor":
        return quotients[0]
    terms = _terms(item, k, point)
    for (old, new), (words, term) in product(point.pairs, terms):
        if {old, new} <= point.known.keys() and _equal(d - g, term * (point.known[old] - point.known[new]), near):
            return "previous step", f"in {words}: {new} stands where {old} belongs"
        if {old, new} <= point.known.keys() and _equal(d - g, term * (point.known[new] - point.known[old]), near):
            return "previous step", f"in {words}: {old} stands where {new} belongs"
    return quotients[0] if quotients else _sum_pattern(g, d, terms, near)


def _quotients(g: Array, d: Array, point: _Point) -> Iterator[tuple[str, str]]:
    """Ways in which g is d with one factor for another."""
    parts = [("", "", np.ones_like(g)), *_parts(point, g.shape)]
    for (name, word, a), (meant, wanted, b) in product(parts, parts):
        if word == wanted or not _equal(g * b, d * a, point.tolerance):
            continue
        form, other = (w.replace(n, "{}") if n else "" for w, n in ((word, name), (wanted, meant)))
        if form == other and ((name, meant) in point.pairs or (meant, name) in point.pairs):
            yield "previous step", f"{word} stands where {wanted} belongs"
        elif form == other and {name, meant} <= set(point.stage.gates):
            yield "two gates swapped", f"{word} stands where {wanted} belongs"
        elif not wanted:
            yield "factor", f"{word} is one factor too many"
        elif not word:
            yield "factor", f"the factor {wanted} is missing"
        else:
            yield "factor", f"{word} stands where {wanted} belongs"


def _terms(item: _Item, k: int, point: _Point) -> list[tuple[str, Array]]:
    """Terms that the sum may have: what comes back, or another gradient, times none, one or two factors."""
    shape = item.true[k].shape
    sources = [(f"d{point.after[k]}'", point.douts[k])] if point.douts[k].shape == shape else []
    sources += [(name.split(",")[0].replace(" of ", "_"), e) for name, e in point.others(item, k) if np.abs(e).max()]
    plain = [("", np.ones(shape)), *((name, a) for name, a in point.known.items() if a.shape == shape)]
    factors = [("", np.ones(shape)), *((word, a) for _, word, a in _parts(point, shape))]
    return [
        (" ".join(filter(None, (source, word, name))), e * a * b)
        for (name, b), (word, a), (source, e) in product(plain, factors, sources)
        if not name or name != word
    ]


def _sum_pattern(g: Array, d: Array, terms: list[tuple[str, Array]], near: float) -> tuple[str, str]:
    """The pattern where g is a sum of which one term is wrong."""
    rest = d - g
    for words, term in terms:
        size = float((rest * term).sum() / max((term * term).sum(), 1e-300))
        if not _equal(rest, size * term, near):
            continue
        if abs(size - 1) < 1e-6:
            return "missing term", f"the term {words} is missing"
        if abs(size + 1) < 1e-6:
            return "missing term", f"the term -{words} is missing, or {words} is one too many"
        if abs(abs(size) - 2) < 1e-6:
            return "sign", f"the sign of the term {words} is wrong"
        return "factor", f"the term {words} is off by a factor"
    return "unknown", "it differs, by none of the usual patterns"


def _parts(point: _Point, shape: tuple[int, ...]) -> list[tuple[str, str, Array]]:
    """Factors that a derivative may have: the quantity's name, the factor in words, its values."""
    found = []
    for name, a in point.known.items():
        if a.shape == shape:
            found += [(name, form.format(name), make(a)) for form, make in FORMS.items()]
    return found


def _equal(a: Array, b: Array, tolerance: float) -> bool:
    return bool(np.abs(a - b).max(initial=0.0) <= tolerance * max(1.0, float(np.abs(b).max(initial=0.0))))


def _grouped(findings: list[Finding], point: _Point) -> list[Finding]:
    """Findings that have one cause as one: about dp and dq, about all states after, about all that follows from it."""
    found = _merged(findings, lambda one: (one.gate, one.pattern, one.words))
    if len(point.after) > 1:
        found = _through_all(found, point)
    together: dict[tuple[str, str], list[Finding]] = {}
    for one in found:
        together.setdefault((one.pattern, one.words), []).append(one)
    result = []
    for (pattern, words), same in together.items():
        cause = "" if pattern == "two gates swapped" or len(same) == 1 else _cause(words, {f.gate for f in same}, point)
        if cause:
            (whole,) = _merged(same, lambda _: None)
            result.append(replace(whole, gate=cause))
        else:
            result += same
    return result


def _merged(findings: list[Finding], key: Callable[[Finding], Any]) -> list[Finding]:
    """Those of one key as one, in the order of their first."""
    merged: dict[Any, Finding] = {}
    for one in findings:
        old = merged.get(key(one))
        merged[key(one)] = one if old is None else replace(old, where=tuple(dict.fromkeys((*old.where, *one.where))))
    return list(merged.values())


def _through_all(findings: list[Finding], point: _Point) -> list[Finding]:
    """What is wrong alike in all that reaches a gradient, without saying it for each state."""

    def plain(one: Finding) -> str:
        return one.words.partition(", in what d")[0]

    result = []
    for one in findings:
        alike = [f for f in findings if (f.gate, f.pattern, plain(f)) == (one.gate, one.pattern, plain(one))]
        reach = sum(
            any(np.abs(i.true[k]).max() > 0 for i in point.all if i.gate == one.gate) for k in range(len(point.after))
        )
        result.append(replace(one, words=plain(one)) if len(alike) == reach > 1 else one)
    return _merged(result, lambda one: (one.gate, one.pattern, one.words))


def _cause(words: str, gates: set[str], point: _Point) -> str:
    """Where to look for what is wrong alike in several gates: a gate that is named, or the state they all hang from."""
    named: list[str] = [gate for gate in point.stage.gates if gate in gates and re.search(rf"\b{gate}\b", words)]
    if len(named) == 1:
        return named[0]
    for k, state in enumerate(point.after):
        if gates == {item.gate for item in point.all if np.abs(item.true[k]).max() > 0}:
            return state
    return ""

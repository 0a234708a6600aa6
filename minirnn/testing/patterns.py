"""By what pattern a gradient differs from the derivative: a pattern, and a sentence for a reader."""

from collections.abc import Iterator
from itertools import permutations, product

import numpy as np

from minirnn.core.backend import Array
from minirnn.testing.point import FORMS, Item, Point, equal


def pattern_of(g: Array, d: Array, item: Item, k: int, point: Point) -> tuple[str, str]:
    """The pattern by which g, said of ``item`` for the k-th state after the step, differs from d, and a sentence."""
    near = point.tolerance
    if not np.isfinite(g).all():
        return "unknown", "it is not finite"
    if not item.grows:
        return "factor", "it does not grow with the gradient from the next step, which is missing as a factor"
    if equal(g, -d, near):
        return "sign", "the sign is wrong"
    for other, e in point.others(item, k):
        if other.startswith(item.name[:3]) and equal(g, e, near) and np.abs(e).max() > 0:
            return "two gates swapped", f"it is the gradient of {other}"
    if not np.abs(g).max():
        return "missing term", "the gradient is missing here"
    scale = float((g * d).sum() / max((d * d).sum(), 1e-300))
    if scale and equal(g, scale * d, near):
        return "factor", f"it is {scale:.4g} times too large"
    quotients = sorted(_quotients(g, d, point), key=lambda pair: pair[0] == "factor")
    if quotients and quotients[0][0] != "factor":
        return quotients[0]
    terms = _Terms(item, k, d.shape, point)
    for old, new in point.pairs:
        if {old, new} <= point.known.keys():
            step = point.known[old] - point.known[new]
            for words in terms.that_are(d - g, step):
                return "previous step", f"in {words}: {new} stands where {old} belongs"
            for words in terms.that_are(g - d, step):
                return "previous step", f"in {words}: {old} stands where {new} belongs"
    return quotients[0] if quotients else _sum_pattern(d - g, item, terms, point)


def _quotients(g: Array, d: Array, point: Point) -> Iterator[tuple[str, str]]:
    """Ways in which g is d with one factor for another."""
    parts = [("", "", np.ones_like(g)), *_parts(point, g.shape)]
    for (name, word, a), (meant, wanted, b) in product(parts, parts):
        if word == wanted or not equal(g * b, d * a, point.tolerance):
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


class _Terms:
    """The terms that a sum may have: what comes back, or another gradient, times none, one or two factors."""

    def __init__(self, item: Item, k: int, shape: tuple[int, ...], point: Point) -> None:
        ones = np.ones(shape)
        sources = [(f"d{point.after[k]}'", point.douts[k])] if point.douts[k].shape == shape else []
        for j, state in enumerate(point.after):
            if j != k and item.name != f"d{state}'":
                sources += [(f"d{state}'", true) for true in point.through(k, j)[1][:1] if true.shape == shape]
        sources += [
            (name.split(",")[0].replace(" of ", "_"), e) for name, e in point.others(item, k) if np.abs(e).max()
        ]
        plain = [("", ones), *((name, a) for name, a in point.known.items() if a.shape == shape)]
        factors = [("", ones), *((word, a) for _, word, a in _parts(point, shape))]
        self.words, values = [], []
        for (name, b), (word, a), (source, e) in product(plain, factors, sources):
            if not name or name != word:
                self.words.append(" ".join(filter(None, (source, word, name))))
                values.append(e * a * b)
        self.values = np.array(values).reshape(len(values), *shape)
        self.largest = np.abs(self.values).max((1, 2), initial=0.0)
        self.tolerance = point.tolerance

    def that_are(self, rest: Array, factor: Array) -> list[str]:
        """The terms that make ``rest`` when they are multiplied by ``factor``."""
        few = self.values[:, :2] * factor[:2]  # only what is right in two rows is compared whole
        off = np.abs(few - rest[:2]).max((1, 2), initial=0.0)
        likely = np.flatnonzero(off <= self._limits(self.largest * np.abs(factor).max(initial=0.0)))
        return [self.words[i] for i in likely[self._equal(rest, self.values[likely] * factor)]]

    def sizes(self, rest: Array) -> list[tuple[str, float]]:
        """The terms of which ``rest`` is a multiple, and how many times."""
        norms = np.maximum((self.values**2).sum((1, 2)), 1e-300)
        size = (self.values * rest).sum((1, 2)) / norms
        alike = self._equal(rest, size[:, None, None] * self.values)
        return [(self.words[i], float(size[i])) for i in np.flatnonzero(alike)]

    def _equal(self, rest: Array, values: Array) -> Array:
        off, largest = (np.abs(a).max((1, 2), initial=0.0) for a in (values - rest, values))
        alike: Array = off <= self._limits(largest)
        return alike

    def _limits(self, largest: Array) -> Array:
        limits: Array = self.tolerance * np.maximum(1.0, largest)
        return limits


def _sum_pattern(rest: Array, item: Item, terms: _Terms, point: Point) -> tuple[str, str]:
    """The pattern where what was said is a sum of which one term is wrong, and lacks ``rest``."""
    patterns: list[tuple[str, str]] = []
    for words, size in terms.sizes(rest):
        if abs(size - 1) < 1e-6:
            return "missing term", f"the term {words} is missing"
        if abs(size + 1) < 1e-6:
            patterns.append(("missing term", f"the term -{words} is missing, or {words} is one too many"))
        elif abs(abs(size) - 2) < 1e-6:
            patterns.append(("sign", f"the sign of the term {words} is wrong"))
        else:
            patterns.append(("factor", f"the term {words} is off by a factor"))
    inside = list(_inside_a_term(rest, item, terms, point))
    return next(iter([*inside, *patterns]), ("unknown", "it differs, by none of the usual patterns"))


def _inside_a_term(rest: Array, item: Item, terms: _Terms, point: Point) -> Iterator[tuple[str, str]]:
    """Ways in which a term of a sum has one gate for another, or a factor too few."""
    known = [(name, a) for name, a in point.known.items() if a.shape == rest.shape and name != item.gate]
    gates = [(name, a) for name, a in known if name in point.stage.gates]
    for (name, a), (other, b) in permutations(gates, 2):
        for words in terms.that_are(rest, a - b):
            yield "two gates swapped", f"in {words} {name}: {other} stands where {name} belongs"
    for name, a in known:
        for words in terms.that_are(rest, a - 1):
            yield "factor", f"in the term {words} {name} the factor {name} is missing"


def _parts(point: Point, shape: tuple[int, ...]) -> list[tuple[str, str, Array]]:
    """Factors that a derivative may have: the quantity's name, the factor in words, its values."""
    parts = []
    for name, a in point.known.items():
        if a.shape == shape:
            parts += [(name, form.format(name), make(a)) for form, make in FORMS.items()]
    return parts

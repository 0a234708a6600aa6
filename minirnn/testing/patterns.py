"""By what pattern a gradient differs from the derivative: a pattern, and a sentence for a reader."""

from collections.abc import Iterator
from itertools import product

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
    return quotients[0] if quotients else ("unknown", "it differs, by none of the usual patterns")


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


def _parts(point: Point, shape: tuple[int, ...]) -> list[tuple[str, str, Array]]:
    """Factors that a derivative may have: the quantity's name, the factor in words, its values."""
    parts = []
    for name, a in point.known.items():
        if a.shape == shape:
            parts += [(name, form.format(name), make(a)) for form, make in FORMS.items()]
    return parts

"""Edits that put in what a value lacks, where it is known what it must be: a product that is the rest or quotient."""

import ast
import re
from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement
from typing import Any, NamedTuple

import numpy as np

from minirnn.testing.functions.blame import NEAR, Suspect
from minirnn.testing.functions.faults import FACTOR, TERM
from minirnn.testing.functions.leaves import Array
from minirnn.testing.functions.places import Edit, is_gradient, parsed

FORMS = ("{}", "(1 - {})", "(1 - {} ** 2)", "{0} * (1 - {0})", "np.tanh({})", "(1 - np.tanh({}) ** 2)")
MOST = 16  # operands of which products are made
UNPACKED = 0.1  # by which an edit of one of several values of a line is less likely
LEAST = 4  # entries that must be known


class Part(NamedTuple):
    """A factor in words, and its numbers where the value must be known."""

    words: str
    numbers: Array
    of: str = ""


def lacking(suspect: Suspect, operands: Sequence[str]) -> Iterator[Edit]:
    """Edits with which a value is what it must be: a term or factor more, or one for another."""
    if suspect.needed is None or suspect.space is None or suspect.certain is None or suspect.certain.sum() < LEAST:
        return
    said = suspect.computes(suspect.space)
    if said is None:
        return
    known = [(text, value) for text in operands if isinstance(value := _value(text, suspect.space), np.ndarray)]
    value, certain = _value(ast.unparse(suspect.value.node), suspect.space), suspect.certain
    if not isinstance(value, np.ndarray):
        return
    shape = value.shape
    needed, said = suspect.needed[certain], said[certain]
    yield from _edits(suspect, needed, said, [(t, v[certain]) for t, v in _alike(known, shape)])
    if 0 < len(shape) < 3 and certain.all():
        rest = (needed - said).reshape(shape)
        for text, value in _products(known, shape):
            if _near(value, rest):
                yield _edit(suspect, 1.5, TERM, f"the term {text} is missing", "+", text)


def _edits(suspect: Suspect, needed: Array, said: Array, known: Sequence[tuple[str, Array]]) -> Iterator[Edit]:
    parts = [Part("", np.ones_like(said))]
    parts += [Part(form.format(text), _of(form, value), text) for text, value in known for form in FORMS]
    pairs = list(combinations_with_replacement(range(len(parts)), 2))
    numbers = np.array([part.numbers for part in parts])
    one, other = (np.array(k) for k in zip(*pairs, strict=True))
    products = numbers[one] * numbers[other]
    rest = needed - said
    several = [("", np.ones_like(rest)), *((text, value) for text, value in known if is_gradient(text))]
    for text, value in several:
        for sign, wanted in (("+", rest), ("-", -rest)):
            for k in _matches(products, value, wanted):
                words = " * ".join(filter(None, (text, parts[one[k]].words, parts[other[k]].words))) or "1"
                yield _edit(suspect, 1.6, TERM, f"the term {sign.strip('+')}{words} is missing", sign, words)
    for k in _matches(products, said, needed):
        words = " * ".join(filter(None, (parts[one[k]].words, parts[other[k]].words))) or "1"
        yield _edit(suspect, 1.6, FACTOR, f"the factor {words} is missing", "*", words)
    here = ast.unparse(suspect.value.node)
    for k, part in enumerate(parts[1:], 1):
        if not re.search(rf"(?<![\w.]){re.escape(part.of)}(?!\w)", here):
            continue
        for j in _matches(numbers, said, needed * part.numbers):
            if j not in (0, k):
                words = f"{parts[j].words} belongs where {part.words} stands"
                yield _edit(suspect, 1.9, FACTOR, words, "*", f"({parts[j].words}) / ({part.words})")


def _edit(suspect: Suspect, cost: float, pattern: str, words: str, sign: str, text: str) -> Edit:
    value = suspect.value
    new: Any = parsed(f"a {sign} {text}")
    new.left = value.node
    if sign == "*":  # a product of three is taken from the left
        new = ast.BinOp(value.node, ast.Mult(), parsed(f"({text})"))
    line = value.node.lineno
    if value.at is not None:
        several = getattr(value.parent, value.field)
        new = [*several[: value.at], new, *several[value.at + 1 :]]
        cost += UNPACKED
    return Edit(cost, pattern, words, line, ((value.parent, value.field, new),))


def _value(text: str, space: dict[str, Any]) -> Any:
    try:
        return eval(text, space)  # noqa: S307 - a part of the user's own function
    except Exception:  # noqa: BLE001 - it may not be there yet
        return None


def _alike(known: Sequence[tuple[str, Array]], shape: tuple[int, ...]) -> Iterator[tuple[str, Array]]:
    """Arrays of a shape, or of its last axes, as one row of numbers."""
    same = [(text, value) for text, value in known if value.dtype.kind == "f" and _fits(value.shape, shape)]
    yield from ((text, np.broadcast_to(value, shape).ravel()) for text, value in same[:MOST])


def _fits(one: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    return len(one) > 0 and one == shape[len(shape) - len(one) :]


def _of(form: str, value: Array) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray(eval(form.format("a"), {"a": value, "np": np}), dtype=float)  # noqa: S307 - our own forms


def _products(known: Sequence[tuple[str, Array]], shape: tuple[int, ...]) -> Iterator[tuple[str, Array]]:
    """Products of a shape, of a gradient and a matrix: of matrices, or of a vector and one."""
    turned = [(text, a, is_gradient(text)) for text, a in known if a.ndim in (1, 2)]
    turned += [(f"{text}.T", a.T, gradient) for text, a, gradient in turned if a.ndim == 2]
    for left, a, first in turned:
        for right, b, second in turned:
            product = max(a.ndim, b.ndim) == 2 and a.shape[-1] == b.shape[0] and a.shape[:-1] + b.shape[1:] == shape
            if product and (first or second):
                yield f"{left} @ {right}", a @ b


def _near(one: Array, other: Array) -> bool:
    return bool((np.abs(one - other) <= NEAR * max(1e-9, float(np.abs(other).max(initial=0.0)))).all())


def _matches(rows: Array, times: Array, wanted: Array) -> Sequence[int]:
    """The rows that are what is wanted, times some numbers: looked for by the largest of them first."""
    at = int(np.abs(wanted).argmax())
    size = abs(wanted[at])
    if not size or not np.isfinite(size):
        return []
    likely = np.flatnonzero(np.abs(rows[:, at] * times[at] - wanted[at]) <= NEAR * size)
    return [int(k) for k in likely if _near(rows[k] * times, wanted)]

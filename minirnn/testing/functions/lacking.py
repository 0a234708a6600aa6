"""Edits that put in what a value lacks, where it is known what it must be: a product that is the rest or quotient."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from minirnn.testing.functions.blame import Suspect
from minirnn.testing.functions.explaining import Known, Lack, alike, lacks, near
from minirnn.testing.functions.faults import FACTOR, TERM
from minirnn.testing.functions.leaves import Array
from minirnn.testing.functions.places import Edit, is_gradient, parsed, text_of

UNPACKED = 0.1  # by which an edit of one of several values of a line is less likely
USED = 0.1  # by which an edit is likelier that uses a quantity of the line
LEAST = 4  # entries that must be known


def lacking(suspect: Suspect, operands: Sequence[str]) -> Iterator[Edit]:
    """Edits with which a value is what it must be: a term or factor more, or one for another."""
    needed, certain, space = suspect.needed, suspect.certain, suspect.space
    if needed is None or space is None or certain is None or certain.sum() < LEAST:
        return
    here = text_of(suspect.value.node)
    said, value = suspect.computes(space), _value(here, space)
    if said is None or not isinstance(value, np.ndarray):
        return
    known = [(text, a) for text in operands if isinstance(a := _value(text, space), np.ndarray)]
    certainly = [(text, a[certain]) for text, a in alike(known, value.shape)]

    def stands(text: str, where: str = here) -> bool:
        return re.search(rf"(?<![\w.]){re.escape(text)}(?!\w)", where) is not None

    for lack in lacks(said[certain], needed[certain], certainly, stands):
        used = any(stands(text) and stands(text, lack.text) for text, _ in certainly)
        yield _edit(suspect, lack, lack.cost - USED * used)
    if 0 < value.ndim < 3 and certain.all():
        rest = (needed - said).reshape(value.shape)
        products = (text for text, product in _products(known, value.shape) if near(product, rest))
        yield from (_edit(suspect, lack, lack.cost) for lack in (Lack("+", text) for text in products))


def _edit(suspect: Suspect, lack: Lack, cost: float) -> Edit:
    value, line = suspect.value, suspect.value.node.lineno
    if lack.sign == "*":  # it comes last
        line = value.node.end_lineno or line
    new: Any = parsed(f"a {lack.sign} ({lack.text})" if lack.sign == "*" else f"a {lack.sign} {lack.text}")
    if lack.of:
        new = parsed(f"a * (({lack.text}) / ({lack.of}))")
    new.left = value.node
    if value.at is not None:
        several = getattr(value.parent, value.field)
        new, cost = [*several[: value.at], new, *several[value.at + 1 :]], cost + UNPACKED
    pattern = FACTOR if lack.sign == "*" else TERM
    return Edit(cost, pattern, lack.words, line, ((value.parent, value.field, new),))


def _value(text: str, space: dict[str, Any]) -> Any:
    try:
        return eval(text, space)  # noqa: S307 - a part of the user's own function
    except Exception:  # noqa: BLE001 - it may not be there yet
        return None


def _products(known: Known, shape: tuple[int, ...]) -> Iterator[tuple[str, Array]]:
    """Products of a shape, of a gradient and a matrix: of matrices, or of a vector and one."""
    turned = [(text, a, is_gradient(text)) for text, a in known if a.ndim in (1, 2)]
    turned += [(f"{text}.T", a.T, gradient) for text, a, gradient in turned if a.ndim == 2]
    for left, a, first in turned:
        for right, b, second in turned:
            product = max(a.ndim, b.ndim) == 2 and a.shape[-1] == b.shape[0] and a.shape[:-1] + b.shape[1:] == shape
            if product and (first or second):
                yield f"{left} @ {right}", a @ b

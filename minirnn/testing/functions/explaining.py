"""By which factor or term one array becomes another: products of at most two factors, made of quantities in forms."""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np

from minirnn.testing.functions.leaves import Array
from minirnn.testing.functions.places import is_gradient

FUNCTIONS = (
    "{} ** 2",
    "2 * {}",
    "np.sqrt({})",
    "np.exp({})",
    "np.sin({})",
    "np.cos({})",
    "({} > 0)",
    "1 / (1 + np.exp(-{}))",
)
FORMS = ("{}", "(1 - {})", "(1 - {} ** 2)", "{0} * (1 - {0})", "np.tanh({})", "(1 - np.tanh({}) ** 2)")
NEAR = 1e-6  # of the largest entry
MOST = 16  # quantities of which products are made
Known = Sequence[tuple[str, Array]]  # quantities in words, and their numbers


class Lack(NamedTuple):
    """What makes an array what it must be: ``+``, ``-`` or ``*`` and a text; ``of`` is what stands in its place."""

    sign: str
    text: str
    of: str = ""

    @property
    def words(self) -> str:
        """A sentence for a reader."""
        if self.of:
            return f"{self.text} belongs where {self.of} stands"
        kind = "factor" if self.sign == "*" else "term"
        return f"the {kind} {self.sign.strip('+*')}{self.text} is missing"

    @property
    def cost(self) -> float:
        """How far-fetched it is."""
        return 1.9 if self.of else 1.5 + 0.05 * self.text.count(" * ")


def lacks(
    said: Array, needed: Array, known: Known, stands: Callable[[str], bool], functions: Sequence[str] = ()
) -> Iterator[Lack]:
    """What makes ``said`` what is ``needed``, all in one row; ``stands`` says which quantities are used there.

    ``functions`` are forms in which quantities may stand beside ``FORMS``.
    """
    forms = [(form.format(text), _of(form, value), text) for text, value in known for form in (*FORMS, *functions)]
    words, numbers = ["", *(text for text, _, _ in forms)], np.array([np.ones_like(said), *(a for _, a, _ in forms)])
    pairs = list(combinations_with_replacement(range(len(words)), 2))
    one, other = (np.array(k) for k in zip(*pairs, strict=True))
    products = numbers[one] * numbers[other]

    def text(k: int, first: str = "") -> str:
        return " * ".join(filter(None, (first, words[one[k]], words[other[k]]))) or "1"

    yield from (Lack("*", text(k)) for k in _matches(products, said, needed))
    for name, value in [("", np.ones_like(said)), *(pair for pair in known if is_gradient(pair[0]))]:
        for sign, rest in (("+", needed - said), ("-", said - needed)):
            yield from (Lack(sign, text(k, name)) for k in _matches(products, value, rest))
    for k, (form, value, of) in enumerate(forms, 1):
        several = _matches(numbers, said, needed * value) if stands(of) else ()
        yield from (Lack("*", words[j], form) for j in several if j not in (0, k))


def alike(known: Known, shape: tuple[int, ...]) -> list[tuple[str, Array]]:
    """Arrays of floats of a shape, or of its last axes, as one row of numbers."""
    same = [(text, a) for text, a in known if a.dtype.kind == "f" and 0 < a.ndim and a.shape == shape[-a.ndim :]]
    return [(text, np.broadcast_to(a, shape).ravel()) for text, a in same[:MOST]]


def near(one: Array, other: Array) -> bool:
    """Whether two arrays are the same but for rounding."""
    return bool((np.abs(one - other) <= NEAR * max(1e-9, float(np.abs(other).max(initial=0.0)))).all())


def _of(form: str, value: Array) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray(eval(form.format("a"), {"a": value, "np": np}), dtype=float)  # noqa: S307 - our own forms


def _matches(rows: Array, times: Array, wanted: Array) -> Sequence[int]:
    """The rows that are what is wanted, times some numbers: looked for by the largest of them first."""
    at = int(np.abs(wanted).argmax())
    size = abs(wanted[at])
    if not size or not np.isfinite(size):
        return []
    likely = np.flatnonzero(np.abs(rows[:, at] * times[at] - wanted[at]) <= NEAR * size)
    return [int(k) for k in likely if near(rows[k] * times, wanted)]

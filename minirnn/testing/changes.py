"""The faults that a line may have, and the parts of its formula: named quantities, and changes with a cost."""

from collections.abc import Callable
from dataclasses import dataclass

from minirnn.core.backend import Array

SIGN, SWAPPED, EARLIER, FACTOR, TERM, SUM, UNKNOWN = (
    "sign",
    "two gates swapped",
    "previous step",
    "factor",
    "missing term",
    "sum over rows",
    "unknown",
)
FORMS: dict[str, tuple[Callable[[Array], Array], float]] = {
    "{}": (lambda s: s, 0.0),
    "(1 - {})": (lambda s: 1 - s, 0.2),
    "{0} (1 - {0})": (lambda s: s * (1 - s), 0.4),
    "(1 - {}²)": (lambda s: 1 - s * s, 0.4),
    "{}²": (lambda s: s * s, 0.8),
    "(1 + {})": (lambda s: 1 + s, 2.0),
    "-{}": (lambda s: -s, 1.0),
}


@dataclass(frozen=True)
class Quantity:
    """A part of a formula: its words, values, the quantity that it is made of, and how simple it is."""

    words: str
    value: Array
    of: str
    form: str
    cost: float


@dataclass(frozen=True)
class Change:
    """One fault: the pattern, a sentence, the line, and how far-fetched it is."""

    cost: float
    pattern: str
    words: str
    line: int

"""The forms of a graph's values in a chain of layers: parts that they went through, states, lengths, constants.

A value's axes are named by letters: T steps, B rows, F features, and of what a recurrent node gives, d directions and
H units; R is all rows of all steps, one below the other, r the same with the batch first; more in ``around_rules.py``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.files import ModelFileError
from minirnn.core.layer import Layer
from minirnn.formats.onnx.running.recurrences import RecurrentNode
from minirnn.formats.onnx.structure import Node

MOST_PARTS = 256  # of a chain: more than anyone stacks
MOST_ROWS = 2 * MOST_PARTS  # of final states in one value
MOST_LOOKED_AT = 1 << 17  # entries of a constant; every node may look at the same one


# ---------------------------------------------------------------------- parts of a chain


class Lookup(NamedTuple):
    """Rows of W (n, d) by index."""

    W: Array


class Encoding(NamedTuple):
    """One-hot vectors of ``depth`` entries."""

    depth: int


class Affine(NamedTuple):
    """x (alpha W) + beta b: scaled when a layer's weights are made, not for every node that is looked at."""

    W: Array
    b: Array | None
    alpha: float = 1.0
    beta: float = 1.0


@dataclass(frozen=True, eq=False)
class Unit:
    """A recurrent node with its weights; ``starts`` has a form for each initial state, ``lens`` the lengths' input."""

    node: Node
    about: RecurrentNode
    W: Array
    R: Array
    B: Array | None
    P: Array | None
    starts: "tuple[Form, ...]"
    lens: str | None


class Held(NamedTuple):
    """A layer with weights, which ``make`` makes by name; ``dtypes`` are those of the file's arrays."""

    layer: Layer
    make: Callable[[str], Array]
    dtypes: frozenset[str]


Part: TypeAlias = Lookup | Encoding | Affine | Unit | Held | Layer  # a layer without weights is its own part


def width_of(parts: tuple[Part, ...]) -> int | None:
    """How many features come out of some parts; None where they do not say."""
    for part in reversed(parts):
        if isinstance(part, Unit):
            return int(part.R.shape[2]) * len(part.about.directions)
        if isinstance(part, (Affine, Lookup)):
            return int(part.W.shape[1])
        if isinstance(part, Encoding):
            return part.depth
        layer = part.layer if isinstance(part, Held) else part
        if layer.output_size:
            return layer.output_size
    return None


# ---------------------------------------------------------------------- what a value is


class ChainValue(NamedTuple):
    """The value that goes through the chain, after ``parts``."""

    parts: tuple[Part, ...]
    axes: str

    def then(self, part: Part, axes: str = "") -> "ChainValue | Other":
        """After one part more, with other ``axes`` unless they stay."""
        if len(self.parts) == MOST_PARTS:
            return Other(f"a chain of layers has at most {MOST_PARTS} of them; the graph has more")
        return ChainValue((*self.parts, part), axes or self.axes)


class FinalRow(NamedTuple):
    """One direction of a unit, and the chain as far as it."""

    unit: Unit
    direction: int
    parts: tuple[Part, ...]


class FinalStates(NamedTuple):
    """Final states of ``kind`` 0, h, or 1, c."""

    kind: int
    rows: tuple[FinalRow, ...]
    axes: str


class InitialState(NamedTuple):
    """Rows of an input that holds initial states.  ``axes`` are the input's, by number, "n" for a new one.

    ``shape`` is the input's, as declared.  With ``cut``, an axis by number, only those from ``start`` to ``stop``.
    """

    name: str
    axes: str
    shape: tuple[int | str | None, ...]
    cut: str = ""
    start: int = 0
    stop: int | None = None


class Spread(NamedTuple):
    """A constant (d, 1, H), for every row alike."""

    value: Array


class Zeros(NamedTuple):
    """Zeros, of whatever shape."""


class Lengths(NamedTuple):
    """An input of lengths."""

    name: str


class Past(NamedTuple):
    """True where a step is past its row's length."""


class Empty(NamedTuple):
    """True where a row has no steps."""


class Other(NamedTuple):
    """Anything else; why it is, where it came of something that was followed."""

    why: str = ""


Form: TypeAlias = Any  # one of these, an array for a constant, or None for an input that is left out


def all_are(form: Form, value: float) -> bool:
    """Whether a constant has this value everywhere; of one that is too large to be looked at, False."""
    return isinstance(form, np.ndarray) and form.size <= MOST_LOOKED_AT and bool((form == value).all())


class NoLayerError(ModelFileError):
    """A graph, sound in itself, that no chain of layers computes."""

"""A cell as kernels see it: the operations of one unit, what they save for the backward pass, and where.

``minirnn.core.tracing`` traces them by running a cell's ``step`` and ``unstep``.  The passes of ``minirnn.recurrent``
and the kernels read nothing else, so that none of them knows a cell by its name.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

REDUCTIONS = ("sum", "mean", "max", "min")  # of a row's units
BINARY = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}  # by NumPy's names
COMPARISONS = {"less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">="}  # by NumPy's names
LIMITS = {"maximum": "<", "minimum": ">"}  # of a value and a number, which takes its place where this holds


class Place(NamedTuple):
    """Where a quantity of one step lies, an array by its name and which of its parts.

    Forward: "gates", the arguments p + q, replaced by what is saved; "u", the q of gates where it is kept apart; "y",
    the first state, and "c", "c2" ..., the others; "a", "a2" ..., what the products of later stages read; "m", "m2"
    ..., whatever else is saved, and of that "s", "s2" ..., one number a row; "w", the per-unit weights; "z", "z2" ...,
    zones: 1 where a state stays as it was, else 0, in inference how much of it stays.  Backward also the gradients:
    "dh" of the first state, "dc" of the others, "f" of what goes from stage to stage, "dp" of the gates' arguments,
    "dq" of a product that belongs to no gate, or is kept apart, "dw".
    """

    array: str
    k: int = 0  # which gate, per-unit weight or gradient
    before: bool = False  # the entry of the step before: a state as ``step`` read it


def named(kind: str, k: int) -> str:
    """The name of the k-th array beside the gates of a kind: c, c2, c3 ..."""
    return f"{kind}{k + 1}" if k else kind


def state_place(k: int, *, before: bool) -> Place:
    """Where the k-th state lies."""
    return Place(named("c", k - 1) if k else "y", 0, before)


class Operation(NamedTuple):
    """One operation: NumPy's name of a function and the places of its operands in the list of them.

    ``number`` has a value in place of operands, ``load`` a ``Place``; ``REDUCTIONS`` are of all units of a row.
    """

    name: str
    operands: tuple[Any, ...]


class Program(NamedTuple):
    """Operations in an order in which they can be done, and for each result its place and its operation; None is 0."""

    operations: tuple[Operation, ...] = ()
    results: tuple[tuple[Place, int | None], ...] = ()


class StageFacts(NamedTuple):
    """What stands between two products of a cell: one of its stages.

    A stage with a ``matrix`` of its own writes its product to "y", where it takes it from; any other adds it to its
    gates' arguments.  ``narrow`` programs are of arrays that are as wide as h, where that is another width.
    """

    first: int  # of its gates among those of the cell
    gates: int
    product: bool  # whether it has one
    matrix: str  # the name of its own weight, or ""
    operand: Place  # what its product reads
    back: Place  # the gradient of that, without the product's part
    saved: tuple[Place, ...]
    step: Program
    unstep: Program = Program()
    narrow_step: Program = Program()
    narrow_unstep: Program = Program()
    weights: int = 0  # the first of its per-unit weights among those of the cell: biases, then the others
    biases: tuple[str, ...] = ()  # the gates whose products have these biases


class CellFacts(NamedTuple):
    """One cell as its kernels see it; all arrays are (T, B, H), but h and its zones as wide as h, and "s" (T, B)."""

    name: str  # of the cell
    gates: int
    saved: Mapping[str, Place]  # by the names that the cell gives them, in the order of its ``saved``
    beside: tuple[str, ...]  # arrays beside the gates: "u" ..., "c" ..., "a" ..., "m" ..., "s" ... and "z" ...
    states: int
    units: tuple[str, ...]  # names of the per-unit weights; biases of products are among them, but for ``bias``
    flows: int  # gradients that go from stage to stage: as many arrays "f"
    in_place: bool  # the gate is y: nothing else is saved
    apart: int  # of so many gates, the last, the product with U is kept apart from p: then dQ is not dP
    bias: str  # the weight that is added to that product, if it is one gate's, or ""
    inference: bool  # nothing is saved, and zones are one row for all steps
    whole_rows: bool  # units of a row are added up, so that nobody can treat some of them alone
    stages: tuple[StageFacts, ...]
    key: str = ""  # the name of its kernels: the cell's, and a digest of what they compute

    def arrays(self, kind: str) -> list[str]:
        """The arrays beside the gates that are of one kind, "u", "c", "a", "m", "s" or "z", in their order."""
        return [name for name in self.beside if name.startswith(kind)]

    @property
    def product(self) -> bool:
        """Whether there is a product of the state, with U."""
        return self.stages[0].product

    @property
    def matrix(self) -> str:
        """The weight that the last stage multiplies with in place of columns of U, or ""."""
        return self.stages[-1].matrix

    def keyed(self) -> "CellFacts":
        """The same, with its key."""
        from hashlib import sha256  # here: importing it takes milliseconds

        computed = repr(self._replace(name="", key=""))
        return self._replace(key=f"{self.name}-{sha256(computed.encode()).hexdigest()[:12]}")

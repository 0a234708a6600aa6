"""A cell as kernels see it: the operations of one unit, what they save for the backward pass, and where.

``minirnn.core.tracing`` traces them by running a cell's ``step`` and ``unstep``.  The passes of ``minirnn.recurrent``
and the kernels read nothing else, so that none of them knows a cell by its name.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

COMPARISONS = {"less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">="}  # by NumPy's names
CUDA = ("TanhCell", "ReluCell", "GRUCell", "LSTMCell")  # the cells of minirnn.cells that have kernels in CUDA C++


class Operation(NamedTuple):
    """One operation: NumPy's name of a function and the places of its operands, or where a number comes from.

    ``number`` has a value in place of operands; ``gate``, ``apart``, ``state``, ``unit``, ``zone``, ``saved`` and
    ``dstate`` have an index: a gate's p + q (of the last one, where its q is kept apart, p alone), that q, and the rest
    in their order.  A zone is 1 where the state of that number stays as it was, else 0.
    """

    name: str
    operands: tuple[Any, ...]


class Program(NamedTuple):
    """Operations in an order in which they can be done, and the results among them.

    A result is where it goes ("state", "saved", "dp", "dq", "dstate", "dunit"), which of these it is, and the place of
    the operation, or None for 0.
    """

    operations: tuple[Operation, ...]
    results: tuple[tuple[str, int, int | None], ...]


class Saved(NamedTuple):
    """Where a quantity that a cell's ``step`` saves lies after a forward pass by kernels."""

    array: str  # "gates", "y", or one of ``CellFacts.beside``
    gate: int = 0  # which of the gates
    before: bool = False  # the entry of the step before: a state as ``step`` read it


class CellFacts(NamedTuple):
    """One cell as its kernels see it; all arrays are (T, B, H)."""

    name: str  # of the cell, and in CUDA C++ of its struct
    gates: int
    saved: Mapping[str, Saved]  # by the names that the cell gives them, in the order of its ``saved``
    beside: tuple[str, ...]  # arrays beside the gates: "u", "c", "c2" ..., "m", "m2" ..., and "z", "z2" ..., the zones
    states: int
    units: tuple[str, ...]  # names of the per-unit weights
    in_place: bool  # the gate is y: nothing else is saved
    apart: bool  # the last gate's product with U is kept apart from its p: then dQ is not dP
    bias: str  # the weight that is added to that product, or ""
    on_cuda: bool
    step: Program
    unstep: Program
    key: str  # the name of its kernels: the cell's, and a digest of what they compute

    def arrays(self, kind: str) -> list[str]:
        """The arrays beside the gates that are of one kind, "u", "c", "m" or "z", in their order."""
        return [name for name in self.beside if name.startswith(kind)]

    def keyed(self) -> "CellFacts":
        """The same, with its key."""
        from hashlib import sha256  # here: importing it takes milliseconds

        computed = repr(self._replace(name="", on_cuda=False, key=""))
        return self._replace(key=f"{self.name}-{sha256(computed.encode()).hexdigest()[:12]}")

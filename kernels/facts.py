"""What the kernels do for each cell that has some: what they save for the backward pass, and where.

The passes of ``minirnn.recurrent`` read this table, so that none of them knows a cell by its name.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Saved(NamedTuple):
    """Where a quantity that a cell's ``step`` saves lies after a forward pass by kernels."""

    array: str  # "gates", "y", or one of ``CellFacts.beside``
    gate: int = 0  # which of the gates
    before: bool = False  # the entry of the step before: a state as ``step`` read it


class CellFacts(NamedTuple):
    """One cell as its kernels see it; all arrays are (T, B, H)."""

    name: str  # of the cell, and in C++ of its struct
    saved: Mapping[str, Saved]  # by the names of ``cells.py``, in the order of the cell's ``saves``
    beside: tuple[str, ...] = ()  # arrays saved beside the gates, by the names they have as kernel arguments
    states: int = 1
    in_place: bool = False  # the gate is y: nothing else is saved
    bias: str = ""  # the weight added to the last gate's product with U, which is kept apart: then dQ is not dP


_FACTS = (
    CellFacts("TanhCell", {"h1": Saved("y")}, in_place=True),
    CellFacts("ReluCell", {"a": Saved("gates")}),
    CellFacts(
        "GRUCell",
        {
            "r": Saved("gates", 0),
            "z": Saved("gates", 1),
            "n": Saved("gates", 2),
            "u": Saved("u"),
            "h": Saved("y", before=True),
        },
        beside=("u",),
        bias="bn",
    ),
    CellFacts(
        "LSTMCell",
        {
            "i": Saved("gates", 0),
            "f": Saved("gates", 1),
            "g": Saved("gates", 2),
            "o": Saved("gates", 3),
            "c": Saved("c", before=True),
            "m": Saved("m"),
        },
        beside=("c", "m"),
        states=2,
    ),
)
CELLS = {facts.name: facts for facts in _FACTS}  # by the names of minirnn.cells


def facts_of(cell: object) -> CellFacts | None:
    """What the kernels do for this cell; None for one that has no kernels, be it of the same name."""
    facts = CELLS.get(getattr(cell, "__name__", ""))
    return facts if facts and cell.__module__ == "minirnn.cells" else None

"""In what precision a cell computes, whatever the dtype of its arguments."""

from typing import Any, TypeAlias

import numpy as np

from minirnn.core.protocol import Arrays, matrix_of, stages_of, units_of, widths_of
from minirnn.testing.differences import EPS
from minirnn.testing.recording import record

SIZE = 3
AnyCell: TypeAlias = Any  # follows ``protocol.Cell``: a class with static methods, or an instance


def precision_of(cell: AnyCell) -> float:
    """The coarsest rounding of floating-point numbers in ``step``: 2.2e-16 where all of it is in double precision."""
    widths = widths_of(cell, SIZE)
    flow: Arrays = tuple(np.full((2, n), 0.5) for n in widths)
    coarsest = EPS
    for stage in stages_of(cell):
        p = np.full((2, len(stage.gates) * SIZE), 0.5)
        q = np.full((2, widths[0]), 0.5) if matrix_of(stage) else p
        units = [np.full(SIZE, 0.5) for _ in units_of(stage)]
        try:
            tape = record(stage.step, (p, q, flow, *units), ["input"] * 99)
            flow, _ = stage.step(p, q, flow, *units)
        except Exception:  # noqa: BLE001 - what a reader's code does with an array of another class is not known
            break
        kinds = {node.value.dtype for node in tape.nodes if isinstance(node.value, (np.ndarray, np.number))}
        coarsest = max([coarsest, *(float(np.finfo(kind).eps) for kind in kinds if kind.kind == "f")])
    return coarsest

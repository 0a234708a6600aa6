"""A recurrent layer from its definition, one row and one step at a time: what the proof compares the scan with.

Nothing here is shared with ``scan.py`` or the passes but the cell's own ``step``::

    for every row, in the order in which the direction reads its valid steps:
        p = x W + b;   q = a U + bias, stage by stage;   s = where(zone, s, step's)
"""

from collections.abc import Sequence

import numpy as np

from minirnn.core.protocol import matrix_of, multiplies, recurrent_bias_of, stages_of, units_of
from minirnn.core.symbolic import Value
from minirnn.testing.precision import AnyCell

Zones = tuple[
    Value, ...
]  # for each state where it is carried over, (T, width) in the order of the steps taken; or None


class Unrolled:
    """One direction: ``weights`` by name, ``U`` what the state is multiplied with, which weight dropout has changed."""

    def __init__(self, cell: AnyCell, weights: dict[str, Value], U: Value, *, reverse: bool) -> None:
        self.cell, self.weights, self.U, self.reverse = cell, weights, U, reverse

    def row(
        self, x: Value, state: tuple[Value, ...], zones: Zones, share: Sequence[float] | None
    ) -> tuple[list[Value], tuple[Value, ...]]:
        """The h after each step of one row, ``x`` (length, D), in the order of x, and the final state; each (1, width).

        In training ``zones`` say where a state is carried over; in inference ``share`` is how much of it is.
        """
        y: list[Value] = [None] * len(x)
        for k, t in enumerate(reversed(range(len(x))) if self.reverse else range(len(x))):
            new = self.step(x[t : t + 1], state)
            if share is not None:
                new = tuple(a * s + (1 - a) * n for a, s, n in zip(share, state, new, strict=True))
            state = tuple(
                n if zone is None else np.where(zone[k][None], s, n)
                for zone, s, n in zip(zones, state, new, strict=True)
            )
            y[t] = state[0]
        return y, state

    def step(self, x: Value, state: tuple[Value, ...]) -> tuple[Value, ...]:
        """One step of one row."""
        start, flow, p = 0, state, x @ self.weights["W"] + self.weights["b"]
        H = p.shape[1] // sum(len(stage.gates) for stage in stages_of(self.cell))
        for stage in stages_of(self.cell):
            stop = start + H * len(stage.gates)
            q = p[:, :0]
            if multiplies(stage):
                q = flow[0] @ (self.weights[matrix_of(stage)] if matrix_of(stage) else self.U[:, start:stop])
            for k, gate in enumerate(stage.gates):
                if gate in recurrent_bias_of(stage):
                    q[:, k * H : (k + 1) * H] = q[:, k * H : (k + 1) * H] + self.weights[f"b{gate}"]
            units = (self.weights[name] for name in units_of(stage))
            flow, _ = stage.step(p[:, start:stop], q, flow, *units)
            start = stop
        return flow

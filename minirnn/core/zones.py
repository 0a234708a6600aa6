"""Zoneout as a cell's kernels do it: part of what is traced, around the cell's own equations.

``recurrent/zoneout.py`` derives it, and ``scan.py`` carries states over by the same two lines.
"""

from collections.abc import Sequence

import numpy as np

from minirnn.core.symbolic import Value

HALF = 0.5  # above it a zone is 1


class Zones:
    """Zoneout (``recurrent/zoneout.py``) around a cell's step: ``states`` says which have it.

    In training zones are arrays of 1 and 0, in ``inference`` how much of each state is mixed in.
    """

    def __init__(self, states: Sequence[bool], *, inference: bool) -> None:
        self.states, self.inference = tuple(states), inference

    @property
    def zoned(self) -> list[int]:
        """The states that have zones."""
        return [k for k, zoned in enumerate(self.states) if zoned]

    def masks(self, zones: Sequence[Value]) -> list[Value]:
        """Where each state stays as it was, None for one that never does."""
        drawn = iter(zones)
        return [next(drawn) > HALF if zoned else None for zoned in self.states]

    def after(self, old: Value, new: Value, zones: Sequence[Value]) -> Value:
        """The states after a step that made ``new`` of ``old``."""
        if self.inference:
            shares = iter(zones)
            each = zip([next(shares) if zoned else None for zoned in self.states], old, new, strict=True)
            return tuple(b if share is None else share * a + (1 - share) * b for share, a, b in each)
        masked = zip(self.masks(zones), old, new, strict=True)
        return tuple(b if mask is None else np.where(mask, a, b) for mask, a, b in masked)

    def passed_on(self, dstate: Value, zones: Sequence[Value]) -> Value:
        """What of the gradients goes to the cell's transpose."""
        masked = zip(self.masks(zones), dstate, strict=True)
        return tuple(d if mask is None else np.where(mask, 0.0, d) for mask, d in masked)

    def sent_back(self, dstate: Value, direct: Value, zones: Sequence[Value]) -> Value:
        """What came back from it, and what went past it."""
        back = []
        for mask, d, sent in zip(self.masks(zones), dstate, direct, strict=True):
            stayed = None if mask is None else np.where(mask, d, 0.0)
            back.append(sent if stayed is None else stayed if sent is None else sent + stayed)
        return tuple(back)

"""Clipping on a device, without waiting for it.

The gradients' norm stays where it is, and with it the decision whether a step is taken: where the norm is not finite
the step is skipped there.  Someone on the host learns of it when a number is read for display.
"""

from collections.abc import Sequence

import numpy as np

from minirnn.core.backend import Array, Backend


class NonFiniteGradientError(ArithmeticError):
    """A gradient is infinite or not a number; the message names the weight, or on a device the step.  The step has
    changed nothing."""

    step: int | None = None  # the step's number, from 1, where it is known only later


class Norm:
    """The norm that a step's gradients had before clipping, still on the device.

    ``float(norm)`` waits for it.  It raises NonFiniteGradientError where this step or one before it was skipped, and
    tells of each such stretch once.
    """

    def __init__(self, norm: Array, first: Array) -> None:
        self._norm, self._first = norm, first

    def __float__(self) -> float:
        first = int(self._first)
        if first:
            self._first[...] = 0
            error = NonFiniteGradientError(
                f"the gradients of step {first} are not finite: it was skipped, and changed nothing; "
                "a smaller lr or clip may help"
            )
            error.step = first
            raise error
        return float(self._norm)

    def __format__(self, spec: str) -> str:
        return format(float(self), spec)


def decide(backend: Backend, parts: Sequence[Array], clip: float, step: int, first: Array) -> tuple[Array, Array]:
    """(norm, scale), float64: the norm of all ``parts`` as one vector, and what clips it to ``clip`` (0: nothing does).

    ``scale`` is -1 where the norm is not finite; then ``first`` (int64) becomes ``step``, unless it is above 0 already.
    Squares are added in float64.
    """
    fused = backend.fused("decide")
    if fused:
        decided: tuple[Array, Array] = fused(parts, clip, step, first)
        return decided
    xp = backend.xp
    total = xp.zeros((), "float64")
    with np.errstate(all="ignore"):
        for g in parts:
            total += xp.square(g.astype("float64")).sum()
        norm = xp.sqrt(total)
        finite = xp.isfinite(norm)
        scale = xp.where(finite, xp.minimum(1.0, clip / norm) if clip else 1.0, -1.0)
    first[...] = xp.where(finite | (first > 0), first, step)
    return norm, scale

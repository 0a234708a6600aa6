"""Central differences with an estimate of their own error, for functions that complex numbers do not pass through.

A central difference of step h is off by O(h²) for a smooth f, and by the rounding of f over h.  Two of them give
Richardson's (4 D(h/2) - D(h)) / 3, off by O(h⁴).  Here h is halved twenty times, and where four neighbours on the way
agree best is taken; by how much they disagree is the estimated error.  A kink within h makes them disagree, so smaller
steps win; at a kink itself the two one-sided differences stay apart however small h is, and there is no derivative.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minirnn.core.arrays import Array

FIRST, HALVINGS, COARSE = 2.0**-4, 20, 9  # the largest step, and how many: the smallest is 1.2e-7
EPS, SINGLE, HALF = (float(np.finfo(kind).eps) for kind in (np.float64, np.float32, np.float16))
SAFETY = 50.0  # an estimate is trusted to be within so many times its estimated error


@dataclass(frozen=True)
class Estimate:
    """Derivatives and their estimated errors; infinite where there is no derivative."""

    value: Array
    error: Array


def differentiate(f: Callable[[float], Array], precision: float = EPS) -> Estimate:
    """The derivative of ``f``, an array of any shape, at 0, for steps from 1/16 down.

    ``precision`` is the relative rounding within f.  In single precision, f is a staircase: larger steps alone count.
    """
    with np.errstate(all="ignore"):
        steps = FIRST * 0.5 ** np.arange(HALVINGS if precision == EPS else COARSE)
        middle = np.asarray(f(0.0), float)
        ahead = np.array([f(h) for h in steps], float)
        behind = np.array([f(-h) for h in steps], float)
        wide = steps.reshape(-1, *(1 for _ in middle.shape))
        central = (ahead - behind) / (2 * wide)
        eps = _precision(f, middle, ahead) if precision == EPS else precision
        size = np.maximum(np.abs(ahead), np.abs(behind))
        noise = np.quantile(np.abs(np.diff(central[-8:], axis=0)) * wide[-8:-1], 0.75, axis=0)  # of steps too small
        size = size if eps == EPS else np.maximum(size, np.median(size))
        rounding = 4 * (eps * size + noise) / wide
        finer = (4 * central[1:] - central[:-1]) / 3
        apart = np.abs(np.diff(finer, axis=0))
        error = np.maximum(np.maximum(apart[:-2], apart[1:-1]), apart[2:]) + rounding[2:-2]
        error[~np.isfinite(error)] = np.inf
        best = error.argmin(0)[None]
        value = np.take_along_axis(finer[1:-2], best, 0)[0]
        least = np.take_along_axis(error, best, 0)[0]
        gap = np.abs((ahead - middle) / wide - (middle - behind) / wide)  # of a smooth f, O(h)
        near, far = (np.take_along_axis(gap, best + n, 0)[0] for n in (3, 0))
        grain = np.take_along_axis(rounding, best + 3, 0)[0]
        kink = (near > 0.5 * far) & (near > 1e-4 * np.abs(value) + 50 * grain + 10 * least) & (near > 1e-9)
        lost = kink | ~np.isfinite(value)
        return Estimate(np.where(lost, 0.0, value), np.where(lost, np.inf, least))


def _precision(f: Callable[[float], Array], middle: Array, ahead: Array) -> float:
    """The relative rounding of f: double precision, or single or half where most of f stays as it is for tiny steps."""
    moves = ahead[3] != middle
    for step, eps in ((1e-4, HALF), (1e-11, SINGLE)):
        still = moves & (np.asarray(f(step), float) == middle)
        if 2 * still.sum() > moves.sum():
            return eps
    return EPS

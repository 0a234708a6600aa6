"""Derivatives of a function along a direction, by complex step where it is one, else by differences.

A complex step is exact to rounding, but not every function lets complex numbers pass: ``abs``, a cast to float or a
buffer of floats do not.  So it is believed only where a difference with an estimated error agrees with it.  Differences
say how far they may be off, and where they cannot tell (at a kink) that they cannot.
"""

import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple, TypeAlias

import numpy as np

from minirnn.testing.differences import EPS, SAFETY, differentiate
from minirnn.testing.functions.leaves import Array

WITHIN = ContextVar("WITHIN", default=False)  # whether random numbers are the same already
STEP, FINE = 1e-30, 2.0**-30
ROUGHLY = 1e-5  # of a derivative: how near a difference must come to a complex step beside its own error
NO_COMPLEX = (  # how functions refuse complex numbers; torch raises RuntimeError
    *(TypeError, ValueError, AttributeError, RuntimeError),
    np.exceptions.ComplexWarning,
)
Along: TypeAlias = Callable[[complex], Array]  # outputs as one vector, of the function moved so far along a direction


class Slope(NamedTuple):
    """The derivative of every output, and how far it may be off; infinite where there is none."""

    value: Array
    error: Array


def by_complex_step(along: Along) -> Array | None:
    """The derivative at 0; None where complex numbers do not pass."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("error", np.exceptions.ComplexWarning)
            moved = along(1j * STEP)
    except NO_COMPLEX:
        return None
    value = moved.imag / STEP if np.iscomplexobj(moved) else np.zeros(moved.shape)
    return value if np.isfinite(value).all() else None


def by_differences(along: Along) -> Slope:
    """The derivative at 0 with its estimated error, by differences that are halved (Richardson)."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        estimate = differentiate(along)
        error = SAFETY * estimate.error
        return Slope(estimate.value, np.where(_aliased(along, estimate.value, error), np.inf, error))


def _aliased(along: Along, value: Array, error: Array) -> Array:
    """Where much smaller steps say something else: f turns within the steps that were taken.

    Two of these must agree, or they tell of rounding alone; so they do where f stays as it is.
    """
    size = EPS * np.abs(np.asarray(along(0.0), float))
    one, other = ((np.asarray(along(h), float) - np.asarray(along(-h), float)) / (2 * h) for h in (FINE, 2 * FINE))
    rounding = 16 * size / FINE
    far = np.abs(one - value) > error + 2 * rounding + 1e-3 * np.abs(one)
    aliased: Array = far & (one != 0) & (np.abs(one - other) <= rounding + 1e-3 * np.abs(one))
    return aliased


def agree(exact: Array, near: Slope) -> bool | None:
    """Whether a complex step and differences agree; None where differences cannot tell."""
    judged = np.isfinite(near.error)
    if not judged.any():
        return None
    size = max(float(np.abs(near.value[judged]).max()), 1e-8)
    return bool((np.abs(exact - near.value)[judged] <= near.error[judged] + ROUGHLY * size).all())


@contextmanager
def frozen() -> Iterator[None]:
    """Inside, NumPy's and Python's own random numbers are the same every time; afterwards as if nothing had been.

    Within another one the numbers begin again, and are put back with that one's: that takes a tenth of the time.
    """
    state = None if WITHIN.get() else (np.random.get_state(), random.getstate())  # noqa: NPY002 - others draw from it
    token = WITHIN.set(True)
    np.random.seed(0)  # noqa: NPY002
    random.seed(0)
    try:
        yield
    finally:
        WITHIN.reset(token)
        if state is not None:
            np.random.set_state(state[0])  # noqa: NPY002
            random.setstate(state[1])

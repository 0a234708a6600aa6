"""Checks of the numbers that optimisers and clipping take."""

from numbers import Real


def at_least_0(what: str, value: float) -> float:
    """A finite number of at least 0, else ValueError."""
    if not isinstance(value, Real) or not 0 <= value < float("inf"):
        raise ValueError(f"{what} must be a number of at least 0; got {value!r}")
    return float(value)


def above_0(what: str, value: float) -> float:
    """A finite number above 0, else ValueError."""
    if not isinstance(value, Real) or not 0 < value < float("inf"):
        raise ValueError(f"{what} must be a number above 0; got {value!r}")
    return float(value)


def below_1(what: str, value: float) -> float:
    """A number from 0 up to, not including, 1, else ValueError."""
    if not isinstance(value, Real) or not 0 <= value < 1:
        raise ValueError(f"{what} must be a number from 0 up to, not including, 1; got {value!r}")
    return float(value)

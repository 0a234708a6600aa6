"""Sequences of several lengths in one array."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from minirnn.core.backend import Array, on_host


def pad(sequences: Sequence[Any], value: Any = 0) -> tuple[Array, Array]:
    """Put sequences side by side: a list of B arrays (length, ...) -> x (T, B, ...) and lengths (B,), T the longest.

    The sequences have one shape but for the length, and x the dtype that holds them all; ``value`` fills the rest, and
    no layer that gets ``lengths`` looks at it.
    """
    arrays = [np.asarray(s) for s in sequences]
    if not arrays:
        raise ValueError("pad expects at least one sequence; got none")
    first = arrays[0]
    for k, a in enumerate(arrays):
        if a.ndim == 0 or a.shape[1:] != first.shape[1:]:
            raise ValueError(
                f"pad expects sequences alike but for the length; got {first.shape}, and {a.shape} in place {k}"
            )
    lengths = np.array([len(a) for a in arrays])
    dtype = np.result_type(*(a.dtype for a in arrays if a.size)) if any(a.size for a in arrays) else first.dtype
    with np.errstate(invalid="ignore"):  # NaN to an integer, which is found to differ
        fits = np.ndim(value) == 0 and (dtype.kind not in "iub" or np.asarray(value).astype(dtype) == value)
    if not fits:
        raise ValueError(f"value must be one number that fits the sequences' dtype, {dtype}; got {value!r}")
    x = np.full((int(lengths.max()), len(arrays), *first.shape[1:]), value, dtype)
    for b, a in enumerate(arrays):
        x[: len(a), b] = a
    return x, lengths


def length_mask(lengths: Any, num_steps: int) -> Array:
    """(T, B) booleans, True where t < lengths[b]: the mask of a loss over rows of several lengths."""
    mask: Array = np.arange(num_steps)[:, None] < check_lengths(lengths, num_steps, np.size(lengths))
    return mask


def ends(lengths: Array, T: int, xp: ModuleType = np) -> tuple[Array, Array]:
    """(T, B): where t >= lengths[b], and the step that a reverse direction reads at t."""
    t = xp.arange(T)[:, None]
    past = t >= lengths
    return past, xp.where(past, t, lengths - 1 - t)


def check_lengths(lengths: Any, T: int, B: int) -> Array:
    """``lengths`` as an integer array (B,) with 0 <= lengths <= T."""
    if not on_host(lengths):
        raise TypeError("lengths must be on the host, where they are checked; got an array on a device")
    array = np.asarray(lengths)
    if array.size == 0 and B == 0:
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu" or array.shape != (B,):
        raise ValueError(f"lengths must be {B} integers, one a row; got {array.dtype} of shape {array.shape}")
    if array.size and (array.min() < 0 or array.max() > T):
        wrong = int(array.min() if array.min() < 0 else array.max())
        raise ValueError(f"lengths must be from 0 to {T}, the number of steps; got {wrong}")
    return array.astype(np.int64)

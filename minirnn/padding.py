"""Sequences of several lengths in one array."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from minirnn.backend import Array


def pad(sequences: Sequence[Any], value: Any = 0) -> tuple[Array, Array]:
    """Put sequences side by side: a list of B arrays (length, ...) -> x (T, B, ...) and lengths (B,), T the longest.

    The sequences have one dtype and one shape but for the length; ``value`` fills the rest, and no layer that is given
    ``lengths`` looks at it.
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
    if dtype.kind in "iu" and value != int(np.nan_to_num(value)):
        raise ValueError(f"value must fit the sequences' dtype, {dtype}; got {value!r}")
    x = np.full((int(lengths.max()), len(arrays), *first.shape[1:]), value, dtype)
    for b, a in enumerate(arrays):
        x[: len(a), b] = a
    return x, lengths


def length_mask(lengths: Any, num_steps: int) -> Array:
    """(T, B) booleans, True where t < lengths[b]: the mask of a loss over rows of several lengths."""
    mask: Array = np.arange(num_steps)[:, None] < np.asarray(lengths)
    return mask

"""bfloat16: the upper half of a float32, which keeps its range and 8 of the 24 bits of its mantissa.

NumPy has no such dtype.  Numbers are float32 whose lower half is 0, or, stored, uint16 with the upper half.
"""

from typing import Any

import numpy as np

from minirnn.core.backend import Array, Dtype


def rounded(a: Array) -> Array:
    """``a``, float32, rounded to the nearest bfloat16, ties to even, as float32; NaN stays NaN."""
    return widened(stored(a))


def stored(a: Array) -> Array:
    """``a``, float32, rounded to bfloat16, as uint16."""
    bits: Array = np.ascontiguousarray(a).view(np.uint32).reshape(a.shape)
    nearest = (bits + (bits >> 16 & 1) + 0x7FFF) >> 16
    quiet = bits >> 16 | 0x40  # or a NaN whose upper half has no mantissa would become infinity
    out: Array = np.where(np.isnan(a), quiet, nearest).astype(np.uint16)
    return out


def widened(bits: Array) -> Array:
    """Numbers stored as uint16, in float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


class RoundedMatrix:
    """A weight in products of numbers rounded to bfloat16: ``a @ M`` rounds a and M, and adds in float32.

    It stands where the array would: ``M[indices]``, rows picked as by one-hot vectors, ``M[:, from:to]``, ``M.T``.  Its
    numbers are rounded when they are first needed.
    """

    __array_ufunc__ = None  # ndarray @ this is this one's business

    def __init__(self, values: Array, numbers: Array | None = None) -> None:
        self.values, self.numbers = values, numbers

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def dtype(self) -> Dtype:
        return self.values.dtype

    @property
    def T(self) -> "RoundedMatrix":
        """The transpose, of the same numbers in memory."""
        return RoundedMatrix(self.values.T, self.rounded.T)

    @property
    def rounded(self) -> Array:
        """Its numbers, rounded."""
        if self.numbers is None:
            self.numbers = rounded(self.values)
        return self.numbers

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, tuple):  # [:, from:to]
            return RoundedMatrix(self.values[index])
        return rounded(self.values[index])

    def __rmatmul__(self, a: Array) -> Array:
        product: Array = rounded(a) @ self.rounded
        return product

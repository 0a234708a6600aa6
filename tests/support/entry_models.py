"""What entries of several numbers say, in NumPy: pairs of bfloat16 and fours of int8, multiplied and added, to the bit.

A fused multiply-add of float32 is exact in float64 but for its sum.  That is rounded to odd, from where float64 has so
many more bits that rounding to float32 gives the number next to the exact one.
"""

import numpy as np

from minirnn.core.backend import Array

INT32, LARGEST = 2**31 - 1, 127


def fused(a: Array, b: Array, c: Array) -> Array:
    """a · b + c of float32 arrays, rounded once."""
    with np.errstate(invalid="ignore", over="ignore"):
        exact, addend = a.astype(np.float64) * b.astype(np.float64), c.astype(np.float64)
        total = exact + addend
        other = total - exact
        error = (exact - (total - other)) + (addend - other)
        even = (total.view(np.uint64) & 1) == 0
        moved = np.nextafter(total, np.where(error > 0, np.inf, -np.inf))
        out: Array = np.where(np.isfinite(total) & (error != 0) & even, moved, total).astype(np.float32)
    return out


def chain(start: Array, a: Array, b: Array, order: tuple[int, ...] = (0,)) -> Array:
    """start + a @ b, in float32, one fused multiply-add after the other: of ``len(order)`` neighbours in this order."""
    depth = len(order)
    rest = -a.shape[1] % depth
    a, b = np.pad(a, ((0, 0), (0, rest))), np.pad(b, ((0, rest), (0, 0)))
    total = np.broadcast_to(start, (len(a), b.shape[1])).astype(np.float32)
    for k in range(0, a.shape[1], depth):
        for place in order:
            total = fused(a[:, k + place, None], b[None, k + place], total)
    return total


def nearest(a: Array) -> Array:
    """Numbers rounded to bfloat16, finite and not below 2**-126."""
    mantissa, exponent = np.frexp(a.astype(np.float64))
    rounded: Array = np.ldexp(np.rint(mantissa * 256) / 256, exponent).astype(np.float32)
    return rounded


def pairs(start: Array | float, a: Array, b: Array) -> Array:
    """start + a @ b of numbers rounded to bfloat16, two by two, the second of a pair first."""
    return chain(np.asarray(start, np.float32), nearest(a), nearest(b), (1, 0))


def row_integers(a: Array) -> tuple[Array, Array]:
    """Rows as integers, and their factors (rows, 1): the largest number is 127, or what keeps sums within int32."""
    limit = np.float32(min(LARGEST, INT32 // (LARGEST * a.shape[1])))
    most = np.abs(a).max(axis=1, keepdims=True)
    up = np.divide(limit, most, out=np.zeros_like(most), where=most > 1e-30)
    return np.rint(a * up).astype(np.int64), most / limit


def column_integers(b: Array) -> tuple[Array, Array]:
    """Columns as integers, and their scales."""
    scale = np.abs(b).max(axis=0) / np.float32(LARGEST)
    q = np.rint(np.divide(b, scale, out=np.zeros_like(b), where=scale > 0))
    return np.clip(q, -LARGEST, LARGEST).astype(np.int64), scale


def fours(start: Array | float, a: Array, b: Array) -> Array:
    """start + a @ b of rows and columns rounded to int8: a sum of integers, added once, in the units of both."""
    (rows, factors), (columns, scales) = row_integers(a), column_integers(b)
    sums = rows @ columns
    assert np.abs(sums).max(initial=0) <= INT32
    return fused(sums.astype(np.float32), scales * factors, np.broadcast_to(np.asarray(start, np.float32), sums.shape))

"""Products through a copy of some rows at a time: rows that share their places in a cache, and rows to be rounded."""

from minirnn.kernels.cpu.bfloat16 import in_bfloat16
from minirnn.kernels.cpu.compiling import inline, shared
from minirnn.kernels.cpu.memory import at, lanes
from minirnn.kernels.cpu.packing import panel_width
from minirnn.kernels.cpu.rows import copy_row_as
from minirnn.kernels.cpu.tiles import product
from minirnn.kernels.cpu.vectors import VECTOR_BYTES

PAGE = 4096  # bytes; rows so far apart, or a multiple of it, share their places in the first cache
COPIED = 64  # rows that are copied at once


@inline
def uncrowded(a, lda, b, line, apart, k, n, start, stride, c, ldc, m, spare, share, last_first):
    """``product``, through a copy of ``a`` where its rows would all meet in a few sets of the first cache.

    Where b is of bfloat16 always through a copy, since that is rounded.
    """
    if in_bfloat16(b) or not (share == 0 or m < 4 or lda % (lanes(a) * (PAGE // VECTOR_BYTES))):
        product_of_copy(a, lda, b, line, apart, k, n, start, stride, c, ldc, m, spare)
    else:
        product(a, lda, b, line, apart, k, n, start, stride, c, ldc, m, last_first)


@shared("a", "start", "c", "spare", panels=("b",), calls=[product])
def product_of_copy(a, lda, b, line, apart, k, n, start, stride, c, ldc, m, spare):
    """``product``, some rows of ``a`` at a time, which are first copied to ``spare``, and rounded as b is."""
    spread = k + panel_width(a)
    for i in range(0, m, COPIED):
        rows = min(COPIED, m - i)
        for r in range(rows):
            copy_row_as(b, at(a, (i + r) * lda), at(spare, r * spread), k)
        product(spare, spread, b, line, apart, k, n, at(start, i * stride), stride, at(c, i * ldc), ldc, rows, 0)


@inline
def product_rounding(a, lda, b, line, apart, k, n, start, stride, c, ldc, m, spare, last_first):
    """``product``; where b is of bfloat16 of a copy of ``a`` that is rounded, for which ``spare`` has room."""
    if in_bfloat16(b):
        product_of_copy(a, lda, b, line, apart, k, n, start, stride, c, ldc, m, spare)
    else:
        product(a, lda, b, line, apart, k, n, start, stride, c, ldc, m, last_first)

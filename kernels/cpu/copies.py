"""Products through a copy of some rows at a time: rows that share their places in a cache, and narrow entries."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from minirnn.kernels.cpu.bfloat16 import neighbours_paired, whole
from minirnn.kernels.cpu.compiling import INNER, inline, shared
from minirnn.kernels.cpu.entries import (
    DEPTHS,
    INT32,
    LARGEST,
    OFFSET,
    SMALLEST,
    as_left,
    copied_left,
    kind_of,
    recast,
)
from minirnn.kernels.cpu.memory import at, lanes, load, load_vector, put, store_vector
from minirnn.kernels.cpu.packing import lines_of, panel_width, store_entries
from minirnn.kernels.cpu.passes import Dtype
from minirnn.kernels.cpu.tiles import product
from minirnn.kernels.cpu.vectors import VECTOR_BYTES, called, highest, larger, total, vector_type

PAGE = 4096  # bytes; rows so far apart, or a multiple of it, share their places in the first cache
COPIED = 64  # rows that are copied at once


@intrinsic
def store_row(typingctx, source, count, target, j):
    """A vector of numbers of a row, or its first ``count`` and zeros, as neighbours in entries of ``target``.

    ``source`` and ``j`` are where they begin; ``j`` is counted in numbers.
    """
    kind, all_lanes = kind_of(target), isinstance(count, types.NoneType)

    def codegen(context, builder, sig, args):
        source, count, target, j = args
        value = load_vector(
            builder, builder.gep(source, [j]), vector_type(sig.args[0].dtype), None if all_lanes else count
        )
        if kind == "full":
            store_vector(builder, value, builder.gep(target, [j]), None if all_lanes else count)
        else:
            place = builder.gep(target, [builder.udiv(j, ir.Constant(j.type, DEPTHS[kind]))])
            store_entries(builder, neighbours_paired(builder, value), place)
        return context.get_dummy_value()

    return types.void(source, count if all_lanes else types.intp, target, types.intp), codegen


@intrinsic
def store_quads(typingctx, value, target, j):
    """Write a vector of numbers between -127 and 127 to entries of a row, from its number ``j`` on."""

    def codegen(context, builder, sig, args):
        value, target, j = args
        none = whole(value.type, 0.0)  # of NaN there is no integer, not even any one
        finite = builder.select(builder.fcmp_ordered("ord", value, value), value, none)
        nearest = called(builder, f"llvm.rint.v{value.type.count}f32", [finite], value.type)
        integers = builder.fptosi(nearest, ir.VectorType(ir.IntType(32), value.type.count))
        moved = builder.add(integers, whole(integers.type, OFFSET))
        quads = builder.trunc(moved, ir.VectorType(ir.IntType(8), value.type.count))
        place = builder.gep(target, [builder.udiv(j, ir.Constant(j.type, DEPTHS["int8"]))])
        builder.store(quads, builder.bitcast(place, quads.type.as_pointer())).align = 4
        return context.get_dummy_value()

    return types.void(value, target, types.intp), codegen


def spare(size: int, row: int, dtype: Dtype) -> int:
    """Entries that each thread needs for copies of rows of ``size`` entries, ``row`` entries apart; 0 where none.

    Of rows with entries of their own there is always a copy, as of those that are 0 apart.
    """
    return COPIED * (size + 2 * VECTOR_BYTES // dtype.itemsize) if row * dtype.itemsize % PAGE == 0 else 0


def copy_row_as_entries(source, target, n):
    """target = source, a row of n numbers, in entries; of bfloat16 and int8 there is room for a vector more."""
    raise NotImplementedError  # there is one for each kind


def _numbers(source, target, n):
    """As they are, or two by two."""
    width = lanes(source)
    whole = n // width * width
    for j in range(0, whole, width):
        store_row(source, None, target, j)
    if whole < n:
        store_row(source, n - whole, target, whole)


def _quads(source, target, n):
    """As uint8 in fours, and behind them the row's factor.

    The largest becomes 127, or as much less as keeps n products with int8 within int32.  A row that holds NaN or
    infinity has the factor NaN: a diverged model must show it.
    """
    width = lanes(source)
    whole = n // width * width
    best = load(source, 0, min(n, width))
    best = larger(best, 0.0 - best)
    check = 0.0 * best
    for j in range(0, whole, width):
        v = load(source, j, None)
        best = larger(best, larger(v, 0.0 - v))
        check = check + 0.0 * v
    if whole < n:
        v = load(source, whole, n - whole)
        best = larger(best, larger(v, 0.0 - v))
        check = check + 0.0 * v
    limit = min(LARGEST, INT32 // (LARGEST * n))
    most = highest(best)
    up = limit / most if most > SMALLEST else 0.0 * most
    for j in range(0, whole, width):
        store_quads(load(source, j, None) * up, target, j)
    if whole < n:
        store_quads(load(source, whole, n - whole) * up, target, whole)
    put(most / limit + total(check), recast(at(target, lines_of(target, n)), source), 0)


@overload(copy_row_as_entries, jit_options=INNER | {"forceinline": True})
def _(source, target, n):
    return _quads if kind_of(target) == "int8" else _numbers


@inline
def uncrowded(a, lda, b, line, apart, k, n, start, stride, c, ldc, m, spare, share, last_first):
    """``product``, through a copy of ``a`` where its rows would all meet in a few sets of the first cache.

    Always where it has entries of its own.
    """
    if copied_left(b) or not (share == 0 or m < 4 or lda % (lanes(a) * (PAGE // VECTOR_BYTES))):
        product_of_copy(a, lda, b, line, apart, k, 0, n, start, stride, c, ldc, m, spare, last_first)
    else:
        product(as_left(a, b), lda, b, line, apart, k, n, start, stride, c, ldc, m, last_first)


@shared("a", "start", "c", "spare", panels=("b",), calls=[product])
def product_of_copy(a, lda, b, line, apart, k, cut, n, start, stride, c, ldc, m, spare, last_first):
    """``product``, some rows of ``a`` at a time, which are first copied to ``spare``, in entries as b has them.

    ``a`` is (m, k), of numbers; no entry has some from before ``cut`` and some from after it.
    """
    lines_before = lines_of(b, cut)
    lines, rows_of_a = lines_before + lines_of(b, k - cut), as_left(spare, b)
    spread = lines + panel_width(a)
    for i in range(0, m, COPIED):
        rows = min(COPIED, m - i)
        for r in range(rows):
            source, target = at(a, (i + r) * lda), at(rows_of_a, r * spread)
            if cut:
                copy_row_as_entries(source, target, cut)
            copy_row_as_entries(at(source, cut), at(target, lines_before), k - cut)
        first, out = at(start, i * stride), at(c, i * ldc)
        product(rows_of_a, spread, b, line, apart, lines, n, first, stride, out, ldc, rows, last_first)


@inline
def product_as_stored(a, lda, b, line, apart, k, cut, n, start, stride, c, ldc, m, spare, last_first):
    """``product``; of a copy of ``a``, for which ``spare`` has room, where that has entries of its own."""
    if copied_left(b):
        product_of_copy(a, lda, b, line, apart, k, cut, n, start, stride, c, ldc, m, spare, last_first)
    else:
        product(as_left(a, b), lda, b, line, apart, k, n, start, stride, c, ldc, m, last_first)

"""Matrices laid out for the tiles: in panels two vectors wide.

A packed (k, n) matrix is panel after panel, each a contiguous block of lines of 2 · lanes entries (``entries.py``), the
last one filled up with zeros: what a tile reads next always lies next to what it read before.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from minirnn.kernels.cpu.bfloat16 import neighbours_paired, paired
from minirnn.kernels.cpu.compiling import inline, shared
from minirnn.kernels.cpu.entries import DEPTHS, depth, ends, kind_of
from minirnn.kernels.cpu.memory import at, get, lanes, load, load_vector, store
from minirnn.kernels.cpu.multiplying import row_vector
from minirnn.kernels.cpu.vectors import Vector, scalar_type, vector_type


def stacked(builder, kind, load, place, row, left):
    """A vector of entries whose numbers lie in neighbouring rows, ``row`` entries apart, of which there are ``left``.

    ``load(place)`` is a vector from one row.  Rows that there are not count as zeros.
    """
    value = load(place)
    if kind == "full":
        return value
    there = builder.icmp_signed(">", left, ir.Constant(left.type, 1))
    below = load(builder.gep(place, [builder.select(there, row, ir.Constant(row.type, 0))]))
    return paired(builder, value, builder.select(there, below, ir.Constant(below.type, None)))


def store_entries(builder, value, place):
    """Write a vector of entries to memory that need not be aligned; of numbers as ``store_vector`` does."""
    builder.store(value, builder.bitcast(place, value.type.as_pointer())).align = 4


@intrinsic
def pack_vector(typingctx, source, row, left, count, target):
    """Write a vector of entries to ``target``: of the ``left`` rows from ``source`` on, the first ``count`` columns.

    None for ``count``: as many as there are lanes.  What stands for others is 0.
    """
    kind, all_lanes = kind_of(target), isinstance(count, types.NoneType)

    def codegen(context, builder, sig, args):
        source, row, left, count, target = args
        vec, some = vector_type(Vector(sig.args[0].dtype).dtype), None if all_lanes else count
        value = stacked(builder, kind, lambda place: load_vector(builder, place, vec, some), source, row, left)
        store_entries(builder, value, target)
        return context.get_dummy_value()

    return types.void(source, types.intp, types.intp, count if all_lanes else types.intp, target), codegen


def make_pack_some(count):
    """``pack_vector`` for so many columns, not as many as there are lanes."""

    @intrinsic
    def pack_some(typingctx, source, row, left, target):
        kind = kind_of(target)

        def codegen(context, builder, sig, args):
            source, row, left, target = args
            vec = ir.VectorType(scalar_type(sig.args[0].dtype), count)
            value = stacked(builder, kind, lambda place: load_vector(builder, place, vec), source, row, left)
            store_entries(builder, value, target)
            return context.get_dummy_value()

        return types.void(source, types.intp, types.intp, target), codegen

    return pack_some


def load_neighbours(builder, place, vec, count, kind):
    """A vector of entries whose numbers are neighbours in a row: of all, or of the first ``count`` numbers of it."""
    value = load_vector(builder, place, vec, count)
    if kind == "full":
        return value
    width = vec.count
    if count is not None:
        rest = builder.sub(count, ir.Constant(count.type, width))
        there = builder.icmp_signed(">", rest, ir.Constant(count.type, 0))
        count = builder.select(there, rest, ir.Constant(count.type, 0))
    after = load_vector(builder, builder.gep(place, [ir.Constant(ir.IntType(64), width)]), vec, count)
    halves = [neighbours_paired(builder, half) for half in (value, after)]
    order = ir.Constant(ir.VectorType(ir.IntType(32), width), list(range(width)))
    return builder.shuffle_vector(*halves, order)


@inline
def panel_width(pointer):
    """Columns of one panel."""
    return 2 * lanes(pointer)


@inline
def lines_of(pointer, k):
    """Lines of a packed matrix with k rows."""
    deep = depth(pointer)
    return (k + deep - 1) // deep


@inline
def panel_size(packed, k):
    """Entries of one panel of a matrix with k rows."""
    return (lines_of(packed, k) + ends(packed)) * panel_width(packed)


@inline
def packed_size(packed, k, n):
    """Entries of a packed (k, n) matrix."""
    width = panel_width(packed)
    return (n + width - 1) // width * panel_size(packed, k)


@shared("b", panels=("packed",))
def pack(b, ldb, k, n, packed, first, step):
    """Lay out b (k, n), rows ``ldb`` apart, in panels: those numbered first, first + step ..., one thread's."""
    width, deep, lines = panel_width(b), depth(packed), lines_of(packed, k)
    half, whole = width // 2, n // width
    for i in range(lines):  # line by line: neighbours in memory are read one after the other
        source, target, rows = at(b, i * deep * ldb), at(packed, i * width), k - i * deep
        for p in range(first, whole, step):
            here, there = at(source, p * width), at(target, p * lines * width)
            pack_vector(here, ldb, rows, None, there)
            pack_vector(at(here, half), ldb, rows, None, at(there, half))
    if whole * width < n and (whole - first) % step == 0:
        columns = n - whole * width
        left = min(columns, half)
        for i in range(lines):
            here, there = at(b, i * deep * ldb + whole * width), at(packed, (whole * lines + i) * width)
            pack_vector(here, ldb, k - i * deep, left, there)
            pack_vector(at(here, half), ldb, k - i * deep, columns - left, at(there, half))


@inline
def pick(packed, k, index, left, n, start, target):
    """target = start + n columns, from ``left`` on, half a panel's first, of row ``index`` of k of a packed matrix."""
    width, size, deep = panel_width(packed), panel_size(packed, k), depth(packed)
    half, line, end = width // 2, index // deep * width, lines_of(packed, k) * width
    for j in range(0, n, half):
        panel = at(packed, (left + j) // width * size)
        side = (left + j) % width
        value = row_vector(panel, line + side, index % deep, end + side, get(start, 0))
        if j + half <= n:
            store(load(start, j, None) + value, target, j, None)
        else:
            store(load(start, j, n - j) + value, target, j, n - j)


@intrinsic
def transpose(typingctx, b, ldb, rows, columns, out, ldo):
    """Write the transpose of a block of b to ``out``: as many rows as a vector has lanes, as many columns of entries.

    Rows of b are ldb apart, lines of ``out`` ldo.  Only the first ``rows`` rows and ``columns`` columns of the block
    are read, what stands for the others is 0, and of ``out`` only the lines of ``columns`` are written; None for both:
    the whole block.

    In registers: for s = 1, 2, 4 ... the halves of pairs of rows s apart that lie off the diagonal change places.
    """
    kind, i, whole = kind_of(out), types.intp, isinstance(rows, types.NoneType)

    def codegen(context, builder, sig, args):
        b, ldb, rows, columns, out, ldo = args
        vec, i64 = vector_type(Vector(sig.args[0].dtype).dtype), ir.IntType(64)
        width = vec.count

        def number(n):
            return ir.Constant(i64, n)

        def row(base, ld, k):
            return builder.gep(base, [builder.mul(ld, number(k))])

        def present(k):
            return builder.select(builder.icmp_signed("<", number(k), rows), columns, number(0))

        block = [
            load_neighbours(builder, row(b, ldb, k), vec, None if whole else present(k), kind) for k in range(width)
        ]
        s = 1
        while s < width:
            # lane l of two rows side by side; the second row's lanes are numbered from ``width`` on
            upper = [lane if not lane & s else width + lane - s for lane in range(width)]
            lower = [lane + s if not lane & s else width + lane for lane in range(width)]
            masks = [ir.Constant(ir.VectorType(ir.IntType(32), width), lanes) for lanes in (upper, lower)]
            for k in range(width):
                if not k & s:
                    pair = block[k], block[k + s]
                    block[k], block[k + s] = (builder.shuffle_vector(*pair, mask) for mask in masks)
            s *= 2
        for k, value in enumerate(block):
            place = row(out, ldo, k)
            if whole:
                store_entries(builder, value, place)
                continue
            with builder.if_then(builder.icmp_signed("<", number(k * DEPTHS[kind]), columns)):
                store_entries(builder, value, place)
        return context.get_dummy_value()

    count = rows if whole else i
    return types.void(b, i, count, count, out, i), codegen


@shared("b", panels=("packed",))
def pack_transposed(b, ldb, k, n, packed, lines, first, step):
    """Lay out bᵀ (k, n), where b is (n, k) with rows ``ldb`` apart, in panels that are ``lines`` lines each."""
    width, half, deep = panel_width(b), lanes(b), depth(packed)
    block = half * deep
    for p in range(first, (n + width - 1) // width, step):
        for side in range(0, width, half):
            row = p * width + side
            source, target, rows = at(b, row * ldb), at(packed, p * lines * width + side), min(half, max(0, n - row))
            whole = k // block * block if rows == half else 0
            for i in range(0, whole, block):
                transpose(at(source, i), ldb, None, None, at(target, i // deep * width), width)
            for i in range(whole, k, block):
                transpose(at(source, i), ldb, rows, min(block, k - i), at(target, i // deep * width), width)

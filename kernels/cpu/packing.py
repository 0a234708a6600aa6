"""Matrices laid out for the tiles: in panels two vectors wide.

A packed (k, n) matrix is panel after panel, each a contiguous (k, 2 · lanes) block, the last one filled up with zeros:
what a tile reads next always lies next to what it read before.  Where ``packed`` is a pointer to bfloat16 the numbers
are rounded (``bfloat16.py``), and there are as many.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from minirnn.kernels.cpu.bfloat16 import store_packed, store_stored
from minirnn.kernels.cpu.compiling import inline, shared
from minirnn.kernels.cpu.memory import at, lanes, load, load_vector
from minirnn.kernels.cpu.vectors import Vector, vector_type


@inline
def panel_width(pointer):
    """Columns of one panel."""
    return 2 * lanes(pointer)


@inline
def packed_size(pointer, k, n):
    """Entries of a packed (k, n) matrix."""
    width = panel_width(pointer)
    return (n + width - 1) // width * width * k


@shared("b", panels=("packed",))
def pack(b, ldb, k, n, packed, first, step):
    """Lay out b (k, n), rows ``ldb`` apart, in panels: those numbered first, first + step ..., one thread's."""
    width = panel_width(b)
    half = width // 2
    for p in range(first, (n + width - 1) // width, step):
        source, target = at(b, p * width), at(packed, p * k * width)
        columns = n - p * width
        if columns >= width:
            for i in range(k):
                store_packed(load(source, i * ldb, None), target, i * width)
                store_packed(load(source, i * ldb + half, None), target, i * width + half)
        else:
            for i in range(k):
                left = min(columns, half)
                store_packed(load(source, i * ldb, left), target, i * width)
                store_packed(load(source, i * ldb + half, columns - left), target, i * width + half)


@intrinsic
def transpose(typingctx, b, ldb, rows, columns, out, ldo):
    """Write the transpose of a square block of b, a vector wide, to ``out``; rows are ldb and ldo apart.

    Only the first ``rows`` rows and ``columns`` columns of the block are read, what stands for the others is 0, and of
    ``out`` only ``columns`` rows are written; None for both: the whole block.

    In registers: for s = 1, 2, 4 ... the halves of pairs of rows s apart that lie off the diagonal change places.
    """
    kind, i, whole = Vector(b.dtype), types.intp, isinstance(rows, types.NoneType)

    def codegen(context, builder, sig, args):
        b, ldb, rows, columns, out, ldo = args
        vec = vector_type(kind.dtype)
        width, i64 = vec.count, ir.IntType(64)

        def number(n):
            return ir.Constant(i64, n)

        def row(base, ld, k):
            return builder.gep(base, [builder.mul(ld, number(k))])

        def present(k, n, count):
            return builder.select(builder.icmp_signed("<", number(k), n), count, number(0))

        block = [
            load_vector(builder, row(b, ldb, k), vec, None if whole else present(k, rows, columns))
            for k in range(width)
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
            written = None if whole else present(k, columns, number(width))
            store_stored(builder, value, row(out, ldo, k), sig.args[4], written)
        return context.get_dummy_value()

    count = rows if whole else i
    return types.void(b, i, count, count, out, i), codegen


@shared("b", panels=("packed",))
def pack_transposed(b, ldb, k, n, packed, depth, first, step):
    """Lay out bᵀ (k, n), where b is (n, k) with rows ``ldb`` apart, in panels that are ``depth`` lines each."""
    width, half = panel_width(b), lanes(b)
    for p in range(first, (n + width - 1) // width, step):
        for side in range(0, width, half):
            line = p * width + side
            source, target, rows = at(b, line * ldb), at(packed, p * depth * width + side), min(half, max(0, n - line))
            whole = k // half * half if rows == half else 0
            for i in range(0, whole, half):
                transpose(at(source, i), ldb, None, None, at(target, i * width), width)
            for i in range(whole, k, half):
                transpose(at(source, i), ldb, rows, min(half, k - i), at(target, i * width), width)

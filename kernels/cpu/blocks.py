"""Products of few rows with a matrix that is stored in blocks, in all of its bits or in fewer.

A block is 32 columns of a (K, N) matrix, line after line, the last block filled up with zeros (made by
``minirnn.inference.blocks``), so that a product with few rows, which is as fast as memory is, reads on and on:

    full   (blocks, K, 32) in the dtype of the result
    f16    (blocks, K, 32) of float16; widened in a register, as it is used
    bf16   (blocks, K, 32) of bfloat16; the same, and rows of the left-hand matrix are rounded to it
    int8   (blocks, K / 2, 32, 2) of int8: neighbours in k lie side by side, as one instruction multiplies and adds them

With int8, rows of the left-hand matrix are int16 (``narrow_row``).  Products of pairs are summed in int32, which they
cannot leave, since the largest int16 that is used depends on K; each column has a scale, each row a factor.
"""

from typing import NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from minirnn.kernels.cpu.bfloat16 import bfloat16_at, bits_at, widened
from minirnn.kernels.cpu.compiling import inline, inline_as, kernel, named, shared
from minirnn.kernels.cpu.memory import at, bytes_at, get, lanes, load, load_vector, numbers, put, reader, store_vector
from minirnn.kernels.cpu.rows import begin, copy_row_as
from minirnn.kernels.cpu.vectors import (
    AARCH64,
    CONTRACT,
    FEATURES,
    VECTOR_BYTES,
    constant,
    highest,
    larger,
    scalar_type,
    splat,
    total,
    vector_type,
)

KINDS = ("full", "f16", "bf16", "int8")
COLUMNS = 32  # of a block
# the tiles for so many rows, by how many blocks: as many sums as registers can hold, and no fewer than hide an addition
SHAPES = {64: {4: 2, 2: 4, 1: 4}, 32: {2: 1, 1: 2}, 16: {1: 1}}[VECTOR_BYTES]
TALLEST, WIDEST = max(SHAPES), max(SHAPES.values())
INT16, INT32, SMALLEST = 32767, 2**31 - 1, 1e-30
X86_PAIRS = {64: "llvm.x86.avx512.pmaddw.d.512", 32: "llvm.x86.avx2.pmadd.wd", 16: "llvm.x86.sse2.pmadd.wd"}
HAS_PAIRS = not AARCH64 and (VECTOR_BYTES < 64 or "avx512bw" in FEATURES)


def _load(builder, place, element, count):
    """``count`` neighbouring numbers from an address that need not be aligned."""
    vec = ir.VectorType(element, count)
    value = builder.load(builder.inttoptr(place, ir.PointerType(vec)), typ=vec)
    value.align = 1
    return value


def _widen(builder, halves, vec):
    """float16 to float32; without an instruction for it by its bits, which does for every finite number."""
    if AARCH64 or "f16c" in FEATURES:
        return builder.fpext(halves, vec)
    i32 = ir.VectorType(ir.IntType(32), vec.count)
    bits = builder.zext(builder.bitcast(halves, ir.VectorType(ir.IntType(16), vec.count)), i32)
    sign = builder.shl(builder.and_(bits, constant(i32, 0x8000)), constant(i32, 16))
    rest = builder.shl(builder.and_(bits, constant(i32, 0x7FFF)), constant(i32, 13))
    size = builder.fmul(builder.bitcast(rest, vec), constant(vec, 2.0**112))
    return builder.bitcast(builder.or_(builder.bitcast(size, i32), sign), vec)


def _pairs(builder, a, b):
    """a[2 n] b[2 n] + a[2 n + 1] b[2 n + 1] of int16 vectors, as int32."""
    count = a.type.count // 2
    wide = ir.VectorType(ir.IntType(32), count)
    if HAS_PAIRS:
        kind = ir.FunctionType(wide, [a.type, a.type])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, X86_PAIRS[VECTOR_BYTES]), [a, b])
    halves = []
    for odd in (0, 1):
        mask = ir.Constant(ir.VectorType(ir.IntType(32), count), list(range(odd, 2 * count, 2)))
        halves.append([builder.sext(builder.shuffle_vector(v, v, mask), wide) for v in (a, b)])
    return builder.add(*(builder.mul(x, y) for x, y in halves))


def make_tile(kind, rows, blocks):
    """The tile for so many rows and blocks.

    ``tile(a, lda, b, apart, k, start, stride, c, ldc, scale, factors)``: c[m, :] = start[m, :] + Σₖ a[m, k] b[k, :],
    of int8 that sum times scale[:] times factors[m].  ``b`` is an address, blocks of it are ``apart`` bytes apart and
    ``k`` lines long; rows of ``a``, ``start`` and ``c`` are lda, stride and ldc entries apart.
    """

    @intrinsic
    def tile(typingctx, a, lda, b, apart, k, start, stride, c, ldc, scale, factors):
        dtype, i = c.dtype, types.intp

        def codegen(context, builder, sig, args):
            a, lda, b, apart, k_end, start, stride, c, ldc, scale, factors = args
            vec, i64 = vector_type(dtype), ir.IntType(64)
            sums_of = ir.VectorType(ir.IntType(32), vec.count) if kind == "int8" else vec
            vectors = COLUMNS // vec.count  # of a line
            step = {"full": dtype.bitwidth // 8, "f16": 2, "bf16": 2, "int8": 2}[kind]  # bytes of a column of a line
            fma = f"llvm.fmuladd.v{vec.count}f{dtype.bitwidth}"
            fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vec, [vec] * 3), fma)

            def number(n):
                return ir.Constant(i64, n)

            def row(base, ld, m, n=0):
                return builder.gep(base, [builder.add(builder.mul(ld, number(m)), number(n))])

            starts = [builder.add(b, builder.mul(apart, number(p))) for p in range(blocks)]
            a_rows = [row(a, lda, m) for m in range(rows)]
            width = blocks * vectors
            grid = [(m, n) for m in range(rows) for n in range(width)]
            if kind == "int8":
                initial = [constant(sums_of, 0) for _ in grid]
            else:
                initial = [load_vector(builder, row(start, stride, m, n * vec.count), vec) for m, n in grid]

            def line(k, n):
                """The n-th vector of line k."""
                shift = builder.add(builder.mul(k, number(COLUMNS * step)), number(n % vectors * vec.count * step))
                place = builder.add(starts[n // vectors], shift)
                if kind == "int8":
                    pairs = _load(builder, place, ir.IntType(8), 2 * vec.count)
                    return builder.sext(pairs, ir.VectorType(ir.IntType(16), 2 * vec.count))
                if kind == "f16":
                    return _widen(builder, _load(builder, place, ir.HalfType(), vec.count), vec)
                if kind == "bf16":
                    return widened(builder, _load(builder, place, ir.IntType(16), vec.count), vec)
                return _load(builder, place, scalar_type(dtype), vec.count)

            def left(m, k):
                """A number of a's, or a pair of int16, in every lane."""
                place = builder.gep(a_rows[m], [builder.mul(k, number(2)) if kind == "int8" else k])
                if kind != "int8":
                    return splat(builder, builder.load(place, typ=scalar_type(dtype)), vec)
                pair = builder.load(builder.bitcast(place, ir.PointerType(ir.IntType(32))), typ=ir.IntType(32))
                pair.align = 2
                return builder.bitcast(splat(builder, pair, sums_of), ir.VectorType(ir.IntType(16), 2 * vec.count))

            def body(k, sums):
                bs, out = [line(k, n) for n in range(width)], []
                for m in range(rows):
                    x = left(m, k)
                    if kind == "int8":
                        out += [builder.add(sums[m * width + n], _pairs(builder, x, bs[n])) for n in range(width)]
                    else:
                        out += [
                            builder.call(fma, [x, bs[n], sums[m * width + n]], fastmath=CONTRACT) for n in range(width)
                        ]
                return out

            def finished(place, sums):
                """What is written: of int8, the sum in the columns' and the row's units, and what it starts from."""
                if kind != "int8":
                    return sums
                m, n = place
                factor = splat(builder, builder.load(row(factors, number(1), m), typ=vec.element), vec)
                each = load_vector(builder, row(scale, number(0), 0, n * vec.count), vec)
                product = builder.fmul(builder.sitofp(sums, vec), builder.fmul(each, factor))
                return builder.fadd(load_vector(builder, row(start, stride, m, n * vec.count), vec), product)

            before, loop, done = builder.block, builder.append_basic_block("k"), builder.append_basic_block("done")
            builder.cbranch(builder.icmp_signed("<", number(0), k_end), loop, done)
            builder.position_at_end(loop)
            k = builder.phi(i64)
            phis = [builder.phi(sums_of) for _ in grid]
            new = body(k, phis)
            k_next = builder.add(k, number(1))
            for phi, first, after in zip([k, *phis], [number(0), *initial], [k_next, *new], strict=True):
                phi.add_incoming(first, before)
                phi.add_incoming(after, builder.block)
            inside = builder.block
            builder.cbranch(builder.icmp_signed("<", k_next, k_end), loop, done)
            builder.position_at_end(done)
            sums = [builder.phi(sums_of) for _ in grid]
            for phi, old, value in zip(sums, initial, new, strict=True):
                phi.add_incoming(old, before)
                phi.add_incoming(value, inside)
            for (m, n), result in zip(grid, map(finished, grid, sums), strict=True):
                store_vector(builder, result, row(c, ldc, m, n * vec.count))
            return context.get_dummy_value()

        return types.void(a, i, i, i, i, start, i, c, i, scale, factors), codegen

    return tile


def make_product(kind):
    """``product(a, lda, b, apart, k, first, last, start, stride, c, ldc, scale, factors, m)``: blocks of a product.

    c (m, N) = start + a (m, K) @ b, the blocks from ``first`` to ``last``; arguments as for a tile.
    """
    tiles = {(rows, blocks): make_tile(kind, rows, blocks) for rows, wide in SHAPES.items() for blocks in {1, wide}}

    def choose(rows):
        """The tiles for so many rows; where none is so tall, those that will not be called."""
        return tiles[rows, SHAPES[rows]] if rows in SHAPES else tiles[1, 1], tiles.get((rows, 1), tiles[1, 1])

    (wide_four, four), (wide_two, two), (wide_one, one) = choose(4), choose(2), choose(1)
    many_four, many_two, many_one = SHAPES.get(4, 1), SHAPES.get(2, 1), SHAPES[1]

    def product(a, lda, b, apart, k, first, last, start, stride, c, ldc, scale, factors, m):
        for group in range(first, last, WIDEST):
            end, i = min(last, group + WIDEST), 0
            while i < m:
                rows = 4 if TALLEST >= 4 and m - i >= 4 else 2 if TALLEST >= 2 and m - i >= 2 else 1
                ai, fi, p = at(a, i * lda), at(factors, i), group
                while p < end:
                    place, n = b + p * apart, p * COLUMNS
                    s, ci, sc = at(start, i * stride + n), at(c, i * ldc + n), at(scale, n)
                    if rows == 4:
                        if p + many_four <= end:
                            wide_four(ai, lda, place, apart, k, s, stride, ci, ldc, sc, fi)
                            p += many_four
                        else:
                            four(ai, lda, place, apart, k, s, stride, ci, ldc, sc, fi)
                            p += 1
                    elif rows == 2:
                        if p + many_two <= end:
                            wide_two(ai, lda, place, apart, k, s, stride, ci, ldc, sc, fi)
                            p += many_two
                        else:
                            two(ai, lda, place, apart, k, s, stride, ci, ldc, sc, fi)
                            p += 1
                    elif p + many_one <= end:
                        wide_one(ai, lda, place, apart, k, s, stride, ci, ldc, sc, fi)
                        p += many_one
                    else:
                        one(ai, lda, place, apart, k, s, stride, ci, ldc, sc, fi)
                        p += 1
                i += rows

    pointers, shorts = ("start", "c", "scale", "factors"), ("a",) if kind == "int8" else ()
    return shared(*pointers, *(() if shorts else ("a",)), shorts=shorts)(named(product, f"blocked-product-{kind}"))


@intrinsic
def shorts(typingctx, address):
    """Pointer to int16 numbers, from an address."""

    def codegen(context, builder, sig, args):
        return builder.inttoptr(args[0], context.get_value_type(sig.return_type))

    return types.CPointer(types.int16)(types.intp), codegen


@intrinsic
def half(typingctx, address, i, like):
    """The i-th float16 from an address on, finite, in the dtype of ``like``."""

    def codegen(context, builder, sig, args):
        address, i, _ = args
        place = builder.gep(builder.inttoptr(address, ir.PointerType(ir.IntType(16))), [i])
        halves = builder.insert_element(
            ir.Constant(ir.VectorType(ir.HalfType(), 1), ir.Undefined),
            builder.bitcast(builder.load(place, typ=ir.IntType(16)), ir.HalfType()),
            ir.Constant(ir.IntType(32), 0),
        )
        wide = _widen(builder, halves, ir.VectorType(ir.FloatType(), 1))
        value = builder.extract_element(wide, ir.Constant(ir.IntType(32), 0))
        return value if like.bitwidth == 32 else builder.fpext(value, ir.DoubleType())

    return like(types.intp, types.intp, like), codegen


@intrinsic
def store_rounded(typingctx, value, pointer, i):
    """Write a vector to ``pointer[i:]``, each number as the nearest int16; all are within its range."""

    def codegen(context, builder, sig, args):
        value, pointer, i = args
        vec = value.type
        name = f"llvm.rint.v{vec.count}f{sig.args[0].dtype.bitwidth}"
        rounded = builder.call(
            cgutils.get_or_insert_function(builder.module, ir.FunctionType(vec, [vec]), name), [value]
        )
        whole = builder.fptosi(rounded, ir.VectorType(ir.IntType(32), vec.count))
        short = builder.trunc(whole, ir.VectorType(ir.IntType(16), vec.count))
        place = builder.bitcast(builder.gep(pointer, [i]), ir.PointerType(short.type))
        builder.store(short, place).align = 2
        return context.get_dummy_value()

    return types.void(value, pointer, types.intp), codegen


@inline
def narrow_row(a, n, out):
    """Write a row of ``n`` numbers as int16 to ``out``, and zeros up to a whole vector; returns the factor.

    The largest becomes 32,767, or as much less as keeps n products with int8 within int32.  A row that holds NaN or
    infinity has the factor NaN: a diverged model must show it.
    """
    width = lanes(a)
    whole = n // width * width
    best = load(a, 0, min(n, width))
    best = larger(best, 0.0 - best)
    check = 0.0 * best
    for j in range(0, n, width):
        v = load(a, j, min(width, n - j))
        best = larger(best, larger(v, 0.0 - v))
        check = check + 0.0 * v
    limit = min(INT16, INT32 // (127 * n))
    most = highest(best)
    up = limit / most if most > SMALLEST else 0.0 * most
    for j in range(0, whole, width):
        store_rounded(load(a, j, None) * up, out, j)
    if whole < n:
        store_rounded(load(a, whole, n - whole) * up, out, whole)
    return most / limit + total(check)


def narrow_bytes(rows: int, K: int) -> int:
    """Bytes that a thread needs for so many rows of K numbers: as int16, and their factors; or rounded, as float32."""
    return -(-rows // 16) * 128 + rows * (-(-K // 64) * 256)


def make_stored(kind):
    """``stored(address, i, like)``: the i-th number from an address on, in the dtype of ``like``; not of int8."""
    if kind == "f16":
        return half
    if kind == "bf16":
        return bfloat16_at

    @inline_as(f"stored-{kind}")
    def stored(address, i, like):
        return get(numbers(address, like), i)

    return stored


def make_parts(kind):
    """The two products with a matrix of one kind: ``times`` for rows of numbers, ``pick`` for a one-hot row.

    The third is the shared function that ``times`` calls.
    """
    product, stored, narrow, rounds = make_product(kind), make_stored(kind), kind == "int8", kind == "bf16"

    @inline_as(f"times-{kind}")
    def times(like, a, k, matrix, apart, scale, first, last, start, stride, c, ldc, rows, work):
        """c = start + a (rows, k) @ matrix, blocks from first to last; ``work`` has room for ``a`` as it is stored."""
        if narrow:
            factors, row = numbers(work, like), (k + 63) // 64 * 64
            whole = shorts(work + (rows + 15) // 16 * 16 * 8)
            for r in range(rows):
                put(narrow_row(at(a, r * k), k, at(whole, r * row)), factors, r)
            product(whole, row, matrix, apart, (k + 1) // 2, first, last, start, stride, c, ldc, scale, factors, rows)
        elif rounds:
            copy = numbers(work, like)
            for r in range(rows):
                copy_row_as(bits_at(work, like), at(a, r * k), at(copy, r * k), k)
            product(copy, k, matrix, apart, k, first, last, start, stride, c, ldc, start, start, rows)
        else:
            product(a, k, matrix, apart, k, first, last, start, stride, c, ldc, start, start, rows)

    @inline_as(f"pick-{kind}")
    def pick(index, like, matrix, apart, scale, first, last, start, c):
        """c = start + row ``index`` of the matrix, blocks from first to last."""
        for p in range(first, last):
            place = matrix + p * apart
            for n in range(COLUMNS):
                j = p * COLUMNS + n
                if narrow:
                    value = get(bytes_at(place), (index // 2 * COLUMNS + n) * 2 + index % 2) * get(scale, j)
                else:
                    value = stored(place, index * COLUMNS + n, like)
                put(get(start, j) + value, c, j)

    return times, pick, product


PARTS = {kind: make_parts(kind) for kind in KINDS}


class Matrix(NamedTuple):
    """A product with a matrix in blocks: sizes, and addresses."""

    rows: int
    K: int
    first: int  # block, and
    last: int
    a: int  # (rows, K)
    blocks: int
    apart: int  # bytes from one block to the next
    scale: int  # (N), of int8
    zeros: int  # (N)
    y: int  # (rows, N) to fill, from the first block on; N is 32 · (last - first)
    work: int  # ``share`` bytes for each thread
    share: int


read = reader(Matrix)
ROWS = 64  # of ``a`` that are taken at once


def make_kernel(kind):
    """The kernel that fills y with a @ matrix."""
    times, _, product = PARTS[kind]

    @kernel(f"blocked-{kind}", calls=[product])
    def multiply(like, arguments, part, parts, sync):
        a = read(arguments)
        low, high = begin(a.last - a.first, part, parts), begin(a.last - a.first, part + 1, parts)
        N, start, matrix = (a.last - a.first) * COLUMNS, numbers(a.zeros, like), a.blocks + a.first * a.apart
        scale = at(numbers(a.scale, like), a.first * COLUMNS)
        for r in range(0, a.rows, ROWS):
            x, y = at(numbers(a.a, like), r * a.K), at(numbers(a.y, like), r * N)
            rows, work = min(ROWS, a.rows - r), a.work + part * a.share
            times(like, x, a.K, matrix, a.apart, scale, low, high, start, 0, y, N, rows, work)

    return multiply


MULTIPLY = {kind: make_kernel(kind) for kind in KINDS}

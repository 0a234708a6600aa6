"""Matrix products on register tiles, with the right-hand matrix packed once.

A tile keeps ``rows`` x ``2 · panels`` vectors of the result in registers and runs over k: per k it loads 2 vectors of
b a panel, and one number of a row, spread over a vector (Goto and van de Geijn 2008, "Anatomy of high-performance
matrix multiplication").  A panel is two vectors wide; a scan over time packs its weights (``packing.py``) once and not
at every step, as a call of BLAS at every step must.

Every entry of a result is one chain of fused multiply-adds over k, from its initial value on, in the same order
whatever tile it falls into.  So a row of the result depends on that row of ``a`` alone, to the bit, and any split of
the rows or columns between threads gives the same numbers.
"""

from functools import partial

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from minirnn.kernels.cpu.compiling import inline, shared
from minirnn.kernels.cpu.entries import copied_left, depth, kind_of, recast
from minirnn.kernels.cpu.memory import at, fetch, get, load_vector, put, store_vector
from minirnn.kernels.cpu.multiplying import begin_sums, end_sums, load_left, load_right, multiply_add
from minirnn.kernels.cpu.packing import lines_of, make_pack_some, pack, panel_width
from minirnn.kernels.cpu.vectors import REGISTERS, Vector, scalar_type, vector_type

UNROLL = 4  # steps of k in one round of a tile's loop
HIGH = 8 if REGISTERS == 32 else 6  # rows of the largest tile: it keeps 2 · HIGH sums
MIDDLE, WIDE = (2, 4) if REGISTERS == 32 else (1, 2)  # panels of the tiles for three or four rows, and for fewer


def make_tile(rows, panels, vectors=2):
    """The tile for so many rows and panels; with one vector, for the first ``count`` columns of half a panel.

    ``tile(a, row, step, b, line, panel, k, start, stride, c, ldc, count)``: c[m, :] = start[m, :] + Σₖ a[m, k] b[k, :],
    where a[m, k] is ``a[m · row + k · step]`` (step None: 1), panel p of b begins at ``b[p · panel]`` and each of its
    ``k`` lines ``line`` entries after the one before; rows of ``start`` are ``stride`` apart (0: one row for all),
    those of ``c`` ``ldc``.  What an entry of a and b is, their types say (``entries.py``).
    """

    @intrinsic
    def tile(typingctx, a, row, step, b, line, panel, k, start, stride, c, ldc, count):
        kind, entries, i = Vector(c.dtype), kind_of(b), types.intp
        unit = isinstance(step, types.NoneType)  # a's numbers of one row are neighbours

        def codegen(context, builder, sig, args):
            a, row, step, b, line, panel, k_end, start, stride, c, ldc, count = args
            vec, i64 = vector_type(kind.dtype), ir.IntType(64)

            def number(n):
                return ir.Constant(i64, n)

            def at(p, n):
                return builder.gep(p, [n])

            def place(base, ld, m, n):
                return at(base, builder.add(builder.mul(ld, number(m)), number(n * vec.count)))

            a_rows = [at(a, builder.mul(row, number(m))) for m in range(rows)]
            width = panels * vectors
            columns = [(builder.mul(panel, number(p)), v) for p in range(panels) for v in range(vectors)]
            grid = [(m, n) for m in range(rows) for n in range(width)]
            count = None if vectors == 2 else count

            def beginning(m, n):
                return load_vector(builder, place(start, stride, m, n), vec, count)

            def behind(n, further):
                """The place of the n-th vector in the line behind b, or one further on."""
                shift, v = columns[n]
                there = builder.mul(builder.add(k_end, number(further)), line)
                return at(b, builder.add(builder.add(there, shift), number(v * vec.count)))

            initial = [begin_sums(builder, partial(beginning, m, n), partial(behind, n), entries) for m, n in grid]

            def step_of_k(k, sums):
                line_k = builder.mul(k, line)
                bs = [
                    load_right(builder, at(at(b, builder.add(line_k, shift)), number(v * vec.count)), vec, entries)
                    for shift, v in columns
                ]
                k_a = k if unit else builder.mul(k, step)
                out = []
                for m in range(rows):
                    x = load_left(builder, at(a_rows[m], k_a), vec, entries)
                    out += [multiply_add(builder, x, bs[n], sums[m * width + n], entries) for n in range(width)]
                return out

            def loop(first, last, stride, sums):
                """k = first, first + stride ... < last; the sums are carried in registers."""
                before, body, done = builder.block, builder.append_basic_block("k"), builder.append_basic_block("done")
                builder.cbranch(builder.icmp_signed("<", first, last), body, done)
                builder.position_at_end(body)
                k = builder.phi(i64)
                phis = [builder.phi(value.type) for value in sums]
                k.add_incoming(first, before)
                for phi, value in zip(phis, sums, strict=True):
                    phi.add_incoming(value, before)
                new = list(phis)
                for u in range(stride):
                    if u:
                        builder.asm(ir.FunctionType(ir.VoidType(), []), "", "~{memory}", [], side_effect=True)
                    new = step_of_k(builder.add(k, number(u)), new)
                k_next = builder.add(k, number(stride))
                k.add_incoming(k_next, builder.block)
                for phi, value in zip(phis, new, strict=True):
                    phi.add_incoming(value, builder.block)
                inside = builder.block
                builder.cbranch(builder.icmp_signed("<", k_next, last), body, done)
                builder.position_at_end(done)
                results = []
                for old, value in zip(sums, new, strict=True):
                    phi = builder.phi(value.type)
                    phi.add_incoming(old, before)
                    phi.add_incoming(value, inside)
                    results.append(phi)
                return results

            whole = builder.and_(k_end, number(-UNROLL))
            sums = loop(number(0), whole, UNROLL, initial)
            sums = loop(whole, k_end, 1, sums)
            for (m, n), total in zip(grid, sums, strict=True):
                first, end, factor = partial(beginning, m, n), partial(behind, n), at(a_rows[m], k_end)
                value = end_sums(builder, total, first, end, factor, entries)
                store_vector(builder, value, place(c, ldc, m, n), count)
            return context.get_dummy_value()

        step = step if unit else i
        return types.void(a, i, step, b, i, i, i, start, i, c, i, i), codegen

    return tile


high, four, three, two, one = (make_tile(rows, 1) for rows in (HIGH, 4, 3, 2, 1))
narrow_high, narrow_four, narrow_three, narrow_two, narrow_one = (make_tile(rows, 1, 1) for rows in (HIGH, 4, 3, 2, 1))
wide_four, wide_three, wide_two, wide_one = (
    make_tile(rows, panels) for rows, panels in ((4, MIDDLE), (3, MIDDLE), (2, WIDE), (1, WIDE))
)
pair_of_one = make_tile(1, 2)


pack_high, pack_one = make_pack_some(HIGH), make_pack_some(1)


@intrinsic
def room(typingctx, pointer):
    """Memory for one tile's results, on the stack."""

    def codegen(context, builder, sig, args):
        size = HIGH * 2 * Vector(pointer.dtype).lanes
        return cgutils.alloca_once(builder, scalar_type(pointer.dtype), size=size)

    return pointer(pointer), codegen


@inline
def height(m):
    """Rows of the next tile when ``m`` are left."""
    if m >= HIGH:
        return HIGH
    if m >= 7 or m == 4:
        return 4
    return 3 if m >= 5 or m == 3 else m  # 5 = 3 + 2, 6 = 3 + 3


@inline
def one_tile(rows, a, lda, b, line, k, start, stride, c, ldc):
    """``rows`` of one panel."""
    if rows == HIGH:
        high(a, lda, None, b, line, 0, k, start, stride, c, ldc, 0)
    elif rows == 4:
        four(a, lda, None, b, line, 0, k, start, stride, c, ldc, 0)
    elif rows == 3:
        three(a, lda, None, b, line, 0, k, start, stride, c, ldc, 0)
    elif rows == 2:
        two(a, lda, None, b, line, 0, k, start, stride, c, ldc, 0)
    else:
        one(a, lda, None, b, line, 0, k, start, stride, c, ldc, 0)


@inline
def narrow_tile(rows, a, lda, b, line, k, start, stride, c, ldc, count):
    """``rows`` of the first ``count`` columns of half a panel."""
    if rows == HIGH:
        narrow_high(a, lda, None, b, line, 0, k, start, stride, c, ldc, count)
    elif rows == 4:
        narrow_four(a, lda, None, b, line, 0, k, start, stride, c, ldc, count)
    elif rows == 3:
        narrow_three(a, lda, None, b, line, 0, k, start, stride, c, ldc, count)
    elif rows == 2:
        narrow_two(a, lda, None, b, line, 0, k, start, stride, c, ldc, count)
    else:
        narrow_one(a, lda, None, b, line, 0, k, start, stride, c, ldc, count)


@shared("start", "c", panels=("b",), left=("a",))
def product(a, lda, b, line, apart, k, n, start, stride, c, ldc, m, last_first):
    """c (m, n) = start + a (m, k) @ b (k, n); rows of ``a``, ``start`` and ``c`` are lda, stride and ldc apart.

    Panel p of ``b`` begins at ``b[p · apart]``, each of its k lines ``line`` entries after the one before.  Packed,
    that is k · panel_width and panel_width; a plain matrix whose columns are whole panels is read with panel_width
    and n.  With ``last_first`` the last panels come first: the step before read them last, and a cache still has them.
    """
    width = panel_width(c)
    whole, p = n // width, 0
    if m <= 4:  # tiles of few rows take several panels at once, to have sums enough under way
        many = WIDE if m <= 2 else MIDDLE
        p = whole // WIDE * WIDE if m <= 2 else whole // MIDDLE * MIDDLE  # constants: no division
        for i in range(0, p, many):
            place = p - many - i if last_first else i
            bp, sp, cp = at(b, place * apart), at(start, place * width), at(c, place * width)
            if m == 1:
                wide_one(a, lda, None, bp, line, apart, k, sp, stride, cp, ldc, 0)
            elif m == 2:
                wide_two(a, lda, None, bp, line, apart, k, sp, stride, cp, ldc, 0)
            elif m == 3:
                wide_three(a, lda, None, bp, line, apart, k, sp, stride, cp, ldc, 0)
            elif m == 4:
                wide_four(a, lda, None, bp, line, apart, k, sp, stride, cp, ldc, 0)
        while m == 1 and p + 2 <= whole:
            bp, sp, cp = at(b, p * apart), at(start, p * width), at(c, p * width)
            pair_of_one(a, lda, None, bp, line, apart, k, sp, stride, cp, ldc, 0)
            p += 2
    for j in range(p, whole):
        q = whole - 1 - (j - p) if last_first else j
        bp, i = at(b, q * apart), 0
        while i < m:
            rows = height(m - i)
            s, r = at(start, i * stride + q * width), at(c, i * ldc + q * width)
            one_tile(rows, at(a, i * lda), lda, bp, line, k, s, stride, r, ldc)
            i += rows
    done = whole * width
    while done < n:  # the last panel, half by half
        bp, i, count = at(b, whole * apart + done - whole * width), 0, min(n - done, width // 2)
        while i < m:
            rows = height(m - i)
            s, r = at(start, i * stride + done), at(c, i * ldc + done)
            narrow_tile(rows, at(a, i * lda), lda, bp, line, k, s, stride, r, ldc, count)
            i += rows
        done += count


NEAR = 40  # panels: rows so far apart, and no farther, are as good as packed
BLOCK = 256  # lines between two visits to the same sums: a panel of so many lines stays in the first cache


@inline
def move(rows, columns, source, lds, target, ldt):
    """Copy a (rows, columns) block."""
    for i in range(rows):
        for j in range(columns):
            put(get(source, i * lds + j), target, i * ldt + j)


@inline
def add_tile(rows, columns, a, b, line, k, c, ldc, tile):
    """c (rows, columns) += a (k, rows)ᵀ @ b (k, columns), for at most a panel of each.

    ``a`` is packed, b's rows are ``line`` apart; where c is smaller than any tile, ``tile`` has room for a whole one.
    """
    width = panel_width(c)
    i = 0
    while i < rows:
        some, ai, ci = min(rows - i, HIGH if rows == HIGH else 4), at(a, i), at(c, i * ldc)
        apart = some < 4 or width // 2 < columns < width
        out, ldo = (tile, width) if apart else (ci, ldc)
        if apart:
            move(some, columns, ci, ldc, out, ldo)
        if apart or columns == width:
            if some > 4:
                high(ai, 1, HIGH, b, line, 0, k, out, ldo, out, ldo, 0)
            else:
                four(ai, 1, HIGH, b, line, 0, k, out, ldo, out, ldo, 0)
        elif some > 4:
            narrow_high(ai, 1, HIGH, b, line, 0, k, out, ldo, out, ldo, columns)
        else:
            narrow_four(ai, 1, HIGH, b, line, 0, k, out, ldo, out, ldo, columns)
        if apart:
            move(some, columns, out, ldo, ci, ldc)
        i += some


@shared("a", "b", "c", panels=("work",), calls=[pack])
def add_transposed_product(a, lda, m, b, ldb, first, last, k, c, ldc, work):
    """c[:, first:last] += aᵀ @ b[:, first:last] for a (k, m) and b (k, n): a weight's gradient, columns of one thread.

    A tile walks through k and would jump a row at each step, so ``a`` is packed to ``work``, block by block of k: in
    panels of ``HIGH`` columns, ``HIGH`` entries for each line, with a line of b's between two of them, so that they do
    not share their places in a cache.  Behind them is room for one panel of b: it is packed, too, where its rows are
    far apart, its columns no whole panel, or its entries narrow.
    """
    width, deep = panel_width(a), depth(work)
    panels, apart = (m + HIGH - 1) // HIGH, HIGH * BLOCK + width
    packed_a, panel_b, tile = work, at(work, panels * apart), room(a)
    for k0 in range(0, k, BLOCK * deep):
        rows = min(BLOCK * deep, k - k0)
        lines = lines_of(work, rows)
        for i in range(lines):
            source, left = at(a, (k0 + i * deep) * lda), rows - i * deep
            for q in range(m // HIGH):
                pack_high(at(source, q * HIGH), lda, left, at(packed_a, q * apart + i * HIGH))
            for j in range(m // HIGH * HIGH, m):
                pack_one(at(source, j), lda, left, at(packed_a, m // HIGH * apart + i * HIGH + j % HIGH))
        for p in range(first, last, width):
            columns, here = min(width, last - p), at(b, k0 * ldb + p)
            panel, line = recast(here, work), ldb
            if copied_left(work) or columns < width or ldb > NEAR * width:
                pack(here, ldb, rows, columns, panel_b, 0, 1)
                panel, line = panel_b, width
            for q in range(panels):
                some, cq = min(HIGH, m - q * HIGH), at(c, q * HIGH * ldc + p)
                for r in range(HIGH, min(2 * HIGH, m - q * HIGH)):  # the next tile's, while this one computes
                    fetch(cq, r * ldc)
                    fetch(cq, r * ldc + width // 2)
                add_tile(some, columns, at(packed_a, q * apart), panel, line, lines, cq, ldc, tile)

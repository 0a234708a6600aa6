"""The twins of ``minirnn.scan`` and of the products around it: one layer in one direction, forward and backward.

Threads run the same kernel, each with its number ``part`` of ``parts``, and meet at barriers (|).

    forward    pack W and U |
               for each chunk of steps:
                   P = X W + b, into G: rows of all the chunk's steps; where every h is known, G += h U too |
                   for each step, this thread's rows: else G += h U, then the cell's equations in place |

    backward   pack Wᵀ and Uᵀ |
               for each chunk of steps, the last first:
                   for each step in reverse, this thread's rows: the transposed equations, dh += dQ Uᵀ
                 | dX = dP Wᵀ, rows of all the chunk's steps; dW, dU, db, this thread's columns |

A thread takes its rows of the batch through a chunk's steps by itself.  Where there are fewer rows than threads, it
takes some of the units instead, of the products before too, and all threads meet after every step instead.

Each number is one chain of operations in an order that does not depend on ``parts``: the same bits for any number of
threads.  ``reverse`` reads the steps of x last to first.  Rows that have ended (``lengths``) keep their state, and
their gradient passes straight through.
"""

from minirnn.kernels.cpu.compiling import Kernel, entry, inline, inline_as, kernel, long, shared
from minirnn.kernels.cpu.emitting import step_of, unstep_of
from minirnn.kernels.cpu.memory import address, at, get, integers, lanes, numbers, reader
from minirnn.kernels.cpu.packing import pack, pack_transposed, packed_size, panel_width
from minirnn.kernels.cpu.passes import BackwardArguments, PassArguments
from minirnn.kernels.cpu.rows import add_row, begin, clear_row, columns_of, copy_row, sum_rows
from minirnn.kernels.cpu.team import barrier, lead
from minirnn.kernels.cpu.tiles import WIDE, add_transposed_product, product
from minirnn.kernels.cpu.vectors import VECTOR_BYTES
from minirnn.kernels.facts import CellFacts

PAGE = 4096  # bytes; rows so far apart, or a multiple of it, share their places in the first cache
COPIED = 64  # rows that are copied at once
PASS_BYTES = 8 * len(PassArguments._fields)
read_pass, read_back = reader(PassArguments), reader(BackwardArguments)
X, Y, G, H0, C0, REST, LAST, C, LAST_FIRST = (
    PassArguments._fields.index(name) for name in ("x", "y", "G", "h0", "c0", "rest", "last", "c", "last_first")
)


@inline
def ended(lengths, row, t):
    """Whether a row's length is at most t; 0 is the address of no lengths."""
    return lengths != 0 and t >= get(integers(lengths), row)


@inline
def shares(pointer, B, H, part, parts):
    """A thread's share of every step: its first row and how many, from and to which unit, and whether by units.

    Threads take rows of the batch, so that none has to wait for another.  If there are fewer rows than threads, they
    take units, and meet after every step.
    """
    width = panel_width(pointer)
    if B >= parts or H % width or H < width * parts:
        first = begin(B, part, parts)
        return first, begin(B, part + 1, parts) - first, 0, H, False
    panels = H // width
    return 0, B, begin(panels, part, parts) * width, begin(panels, part + 1, parts) * width, True


@inline
def uncrowded(a, lda, b, line, apart, k, n, start, stride, c, ldc, m, spare, share, last_first):
    """``product``, through a copy of ``a`` where its rows would all meet in a few sets of the first cache."""
    if share == 0 or m < 4 or lda % (lanes(a) * (PAGE // VECTOR_BYTES)):
        product(a, lda, b, line, apart, k, n, start, stride, c, ldc, m, last_first)
    else:
        product_of_copy(a, lda, b, line, apart, k, n, start, stride, c, ldc, m, spare)


@shared("a", "b", "start", "c", "spare", calls=[product])
def product_of_copy(a, lda, b, line, apart, k, n, start, stride, c, ldc, m, spare):
    """``product``, some rows of ``a`` at a time, which are first copied to ``spare``."""
    spread = k + panel_width(a)
    for i in range(0, m, COPIED):
        rows = min(COPIED, m - i)
        for r in range(rows):
            copy_row(at(a, (i + r) * lda), at(spare, r * spread), k)
        product(spare, spread, b, line, apart, k, n, at(start, i * stride), stride, at(c, i * ldc), ldc, rows, 0)


@long
def single(x, D, W, h, H, U, N, joint, b, v, g, stride, u, rows, left, right, by_units, last_first):
    """The products of a pass of one step, with weights as they are: every block of W's columns, and then the same of U.

    With ``last_first`` the last block comes first: it is what the pass before read last, and a cache still has.
    """
    width = panel_width(x)
    most = WIDE * width
    groups = N // H if by_units else 1 if joint == N else 2
    for i in range(groups):
        group = groups - 1 - i if last_first else i
        begins, columns = group * (H if by_units else joint) + left, right - left if by_units or group else joint
        blocks = (columns + most - 1) // most
        for k in range(blocks):
            shift = (blocks - 1 - k if last_first else k) * most
            j, n = begins + shift, min(most, columns - shift)
            out = at(g, j)
            product(x, D, at(W, j), N, width, D, n, at(b, j), 0, out, stride, rows, 0)
            if j < joint:
                product(h, H, at(U, j), N, width, H, n, out, stride, out, stride, rows, 0)
            else:
                product(h, H, at(U, j), N, width, H, n, at(v, j - joint), 0, at(u, j - joint), H, rows, 0)


@long
def recur(h, ldh, terms, g, stride, u, rows, last_first, matrix, units, spare, share):
    """g += h U for some rows, and for some ``units`` alone if those are a thread's; what is kept apart goes to u."""
    U, V, v, line, apart, H, joint, N = matrix
    left, right, by_units = units
    width = panel_width(h)
    for shift in range(left, joint, H if by_units else joint):
        count = right - left if by_units else joint
        block, panel = at(g, shift), at(U, shift // width * apart)
        uncrowded(
            h, ldh, panel, line, apart, terms, count, block, stride, block, stride, rows, spare, share, last_first
        )
    if joint < N:
        bias, panel = at(v, left), at(V, left // width * apart)
        uncrowded(
            h, ldh, panel, line, apart, terms, right - left, bias, 0, at(u, left), H, rows, spare, share, last_first
        )


def make_run(facts):
    """A cell's ``step`` for its units from ``left`` up to ``right``, a vector at a time."""
    step = step_of(facts)

    @inline_as(f"steps-{facts.key}")
    def run(G, u, h, c, h1, c1, m, w, z, H, left, right, line_c, line, line_w):
        width = lanes(G)
        whole = left + (right - left) // width * width
        for j in range(left, whole, width):
            step(G, u, h, c, h1, c1, m, w, z, H, j, None, line_c, line, line_w)
        if whole < right:
            step(G, u, h, c, h1, c1, m, w, z, H, whole, right - whole, line_c, line, line_w)

    return run


def make_forward(facts):
    """The forward kernel of a cell."""
    run, gates, apart, others = make_run(facts), facts.gates, facts.apart, facts.states - 1

    @kernel(f"forward-{facts.key}", calls=[pack, product, product_of_copy])
    def forward(like, arguments, part, parts, sync):
        a = read_pass(arguments)
        T, B, D, H, Y, stride = a.T, a.B, a.D, a.H, a.Y, a.stride
        N, phase = gates * H, 0
        x, W, U, G = numbers(a.x, like), numbers(a.W, like), numbers(a.U, like), numbers(a.G, like)
        b, v, y = numbers(a.b, like), numbers(a.v, like), numbers(a.y, like)
        width = panel_width(x)
        joint = N - H if apart else N
        # weights that are used only a few times are read as they are, if their columns are whole panels
        panels = joint % width == 0 and (H % width == 0 or not apart)
        packed_W, line_W, next_W = numbers(a.work, like), width, D * width
        packed_U, line_U, next_U = at(packed_W, 0 if a.indices else packed_size(x, D, N)), width, H * width
        packed_V, V = at(packed_U, packed_size(x, H, joint)), at(U, joint)
        own = at(packed_V, (packed_size(x, H, H) if apart else 0) + part * a.share)
        few = panels and T * B <= 8  # rows
        alone = few and T == 1 and a.indices == 0
        if few:
            packed_W, line_W, next_W = W, N, width
        elif not a.indices:
            pack(W, N, D, N, packed_W, part, parts)
        if panels and T <= 4:
            packed_U, line_U, next_U, packed_V = U, N, width, V
        else:
            pack(U, N, H, joint, packed_U, part, parts)
            if apart:
                pack(V, N, H, H, packed_V, part, parts)
        first, rows, left, right, by_units = shares(x, B, H, part, parts)
        matrix, units = (packed_U, packed_V, v, line_U, next_U, H, joint, N), (left, right, by_units)
        phase = barrier(sync, phase, parts)
        for t0 in range(0, T, a.chunk):
            if t0 and not by_units:
                phase = barrier(sync, phase, parts)
            many = min(a.chunk, T - t0)
            low, high = begin(many * B, part, parts), begin(many * B, part + 1, parts)
            if by_units:
                low, high = 0, many * B
            start = (T - t0 - many if a.reverse else t0) * B  # the chunk's first row in x
            target = at(G, ((start if a.slots == T else 0) + low) * stride)
            # one product for all gates, or one a gate for a thread's units of it
            for shift in range(left, 0 if alone else N, H if by_units else N):
                count = right - left if by_units else N
                here, bias, out = at(x, (start + low) * D), at(b, shift), at(target, shift)
                if a.indices:
                    for k in range(high - low):
                        place = get(integers(a.indices), start + low + k) * N + shift
                        sum_rows(bias, at(W, place), at(out, k * stride), count)
                else:
                    panel = at(packed_W, shift // width * next_W)
                    uncrowded(
                        here, D, panel, line_W, next_W, D, count, bias, 0, out, stride, high - low, own, a.share, 0
                    )
            if a.known and not alone:
                # of these rows the first step's, which follow h0, end or begin at ``edge``
                edge = min(high, max(low, 0 if t0 else (many - 1) * B if a.reverse else B))
                for after in range(2):
                    from_, to = (edge, high) if after else (low, edge)
                    begins = t0 == 0 and bool(after) == (a.reverse != 0)
                    before = start + from_ + (B if a.reverse else -B)
                    shift = from_ - ((many - 1) * B if a.reverse else 0)
                    h, ldh = (at(numbers(a.h0, like), shift * H), H) if begins else (at(y, before * Y), Y)
                    g, u = at(target, (from_ - low) * stride), at(numbers(a.u, like), (start + from_) * H)
                    terms = 0 if begins and a.rest else H
                    recur(h, ldh, terms, g, stride, u, to - from_, 0, matrix, units, own, a.share)
            if not by_units:
                phase = barrier(sync, phase, parts)
            if rows == 0:
                continue
            for t in range(t0, t0 + many):
                now = T - 1 - t if a.reverse else t
                before = now + 1 if a.reverse else now - 1
                slot, save, old = (now, now, before) if a.slots == T else (now - start // B, 0, 0)
                terms = H if t or not a.rest else 0
                h, ldh = (at(y, (before * B + first) * Y), Y) if t else (at(numbers(a.h0, like), first * H), H)
                c = at(numbers(a.c, like), (old * B + first) * H) if t else at(numbers(a.c0, like), first * H)
                line, line_c = a.slots * B * H, (a.slots if t else 1) * B * H
                g, u = at(G, (slot * B + first) * stride), at(numbers(a.u, like), (save * B + first) * H)
                if alone:
                    here = at(x, first * D)
                    single(here, D, W, h, H, U, N, joint, b, v, g, stride, u, rows, left, right, by_units, a.last_first)
                elif not a.known:
                    recur(h, ldh, terms, g, stride, u, rows, t & 1, matrix, units, own, a.share)
                h1 = at(y, (now * B + first) * Y)
                c1 = at(numbers(a.c, like), (save * B + first) * H)
                m, z = at(numbers(a.m, like), (save * B + first) * H), at(numbers(a.z, like), (save * B + first) * H)
                for r in range(rows):
                    gr, hr, cr = at(g, r * stride), at(h, r * ldh), at(c, r * H)
                    h1r, c1r = at(h1, r * Y), at(c1, r * H)
                    if not ended(a.lengths, first + r, t):
                        ur, mr, zr, w = at(u, r * H), at(m, r * H), at(z, r * H), numbers(a.w, like)
                        run(gr, ur, hr, cr, h1r, c1r, mr, w, zr, H, left, right, line_c, line, a.line_w)
                    else:
                        copy_row(at(hr, left), at(h1r, left), right - left)
                        for k in range(others):
                            copy_row(at(cr, k * line_c + left), at(c1r, k * line + left), right - left)
                if by_units:
                    phase = barrier(sync, phase, parts)
        if a.last:
            end = at(y, (0 if a.reverse else (T - 1) * B) * Y)
            for r in range(first, first + rows):
                copy_row(at(end, r * Y), at(numbers(a.last, like), r * H), H)

    return forward


def make_backward(facts):
    """The backward kernel of a cell."""
    unstep, gates, apart, units = unstep_of(facts), facts.gates, facts.apart, len(facts.units)

    @kernel(f"backward-{facts.key}", calls=[pack_transposed, product, add_transposed_product])
    def backward(like, arguments, part, parts, sync):
        a, d = read_pass(arguments), read_back(arguments + PASS_BYTES)
        T, B, D, H, Y, stride = a.T, a.B, a.D, a.H, a.Y, a.stride
        N, phase = gates * H, 0
        x, W, U, G = numbers(a.x, like), numbers(a.W, like), numbers(a.U, like), numbers(a.G, like)
        y, dy, dP, wide = numbers(a.y, like), numbers(d.dy, like), numbers(d.dP, like), d.wide
        dh, dc = numbers(d.dh, like), numbers(d.dc, like)
        dW, dU, db = numbers(d.dW, like), numbers(d.dU, like), numbers(d.db, like)
        width = panel_width(x)
        packed_U = numbers(d.work, like)
        packed_W = at(packed_U, packed_size(x, N, H))
        own = at(packed_W, packed_size(x, N, D) * (d.dx != 0) + part * d.share)
        pack_transposed(U, N, N, H, packed_U, N, part, parts)
        if d.dx and apart:
            pack_transposed(at(W, N - H), N, H, D, packed_W, N, part, parts)
            pack_transposed(W, N, N - H, D, at(packed_W, H * width), N, part, parts)
        elif d.dx:
            pack_transposed(W, N, N, D, packed_W, N, part, parts)
        phase = barrier(sync, phase, parts)
        first, rows, left, right, by_units = shares(x, B, H, part, parts)
        q = H if apart else 0  # where dQ begins in dP
        low_U, high_U = columns_of(x, N, part, parts)
        for t0 in range((T - 1) // d.chunk * d.chunk, -1, -d.chunk):
            many = min(d.chunk, T - t0)
            start = T - t0 - many if a.reverse else t0  # the chunk's first step in x
            for t in range(t0 + many - 1 if rows else -1, t0 - 1, -1):
                now = T - 1 - t if a.reverse else t
                before = now + 1 if a.reverse else now - 1
                h, ldh = (at(y, (before * B + first) * Y), Y) if t else (at(numbers(a.h0, like), first * H), H)
                c = at(numbers(a.c, like), (before * B + first) * H) if t else at(numbers(a.c0, like), first * H)
                line, line_c, w = T * B * H, (T if t else 1) * B * H, numbers(a.w, like)
                g, h1, here = at(G, (now * B + first) * stride), at(y, (now * B + first) * Y), (now * B + first) * H
                u, m, c1 = at(numbers(a.u, like), here), at(numbers(a.m, like), here), at(numbers(a.c, like), here)
                z = at(numbers(a.z, like), here)
                above = at(dy, (now * B + first) * d.Z if d.dy_steps else first * H)
                dp, below = at(dP, ((now - start) * B + first) * wide), at(dh, first * H)
                for r in range(rows):
                    dpr, dhr, dyr = at(dp, r * wide), at(below, r * H), at(above, r * d.Z)
                    if ended(a.lengths, first + r, t):
                        add_row(at(dyr, left), at(dhr, left), right - left)
                        for k in range(0, N + q + units * H, H):
                            clear_row(at(dpr, k + left), right - left)
                    else:
                        gr, hr, h1r, cr = at(g, r * stride), at(h, r * ldh), at(h1, r * Y), at(c, r * H)
                        ur, mr, c1r, zr = at(u, r * H), at(m, r * H), at(c1, r * H), at(z, r * H)
                        dcr = at(dc, (first + r) * H)
                        lines = line_c, line, a.line_w, B * H
                        run(gr, ur, hr, h1r, cr, c1r, mr, w, zr, dyr, dhr, dcr, dpr, H, left, right, lines)
                if by_units:
                    phase = barrier(sync, phase, parts)
                panel, block = at(packed_U, left // width * N * width), at(below, left)
                product(at(dp, q), wide, panel, width, N * width, N, right - left, block, H, block, H, rows, t & 1)
            phase = barrier(sync, phase, parts)
            count = many * B
            if d.dx:
                low, high = begin(count, part, parts), begin(count, part + 1, parts)
                clear_row(own, D)
                dx = at(numbers(d.dx, like), (start * B + low) * D)
                product(at(dP, low * wide), wide, packed_W, width, N * width, N, D, own, 0, dx, D, high - low, 0)
            if apart:
                add_columns(x, a, start * B, count, dP, wide, 0, N - H, H, dW, db, N, own, part, parts)
                add_columns(x, a, start * B, count, dP, wide, H, 0, N - H, dW, db, N, own, part, parts)
                low, high = begin(H, part, parts), begin(H, part + 1, parts)
                for k in range(count if d.dv else 0):
                    add_row(at(dP, k * wide + N + low), at(numbers(d.dv, like), low), high - low)
            else:
                add_columns(x, a, start * B, count, dP, wide, 0, 0, N, dW, db, N, own, part, parts)
            low, high = begin(H, part, parts), begin(H, part + 1, parts)
            for unit in range(units):
                target = at(numbers(d.dw, like), unit * a.line_w + low)
                for k in range(count):
                    add_row(at(dP, k * wide + N + q + unit * H + low), target, high - low)
            # dU += Σ h[t-1]ᵀ dQ[t]; before the first step stands h0
            edge = B if t0 == 0 else 0
            if edge and not a.rest:
                slot = many - 1 if a.reverse else 0
                dQ = at(dP, slot * B * wide + q)
                add_transposed_product(numbers(a.h0, like), H, H, dQ, wide, low_U, high_U, B, dU, N, own)
            dQ = at(dP, q if a.reverse else edge * wide + q)
            h = at(y, (start * B + B if a.reverse else start * B + edge - B) * Y)
            add_transposed_product(h, Y, H, dQ, wide, low_U, high_U, count - edge, dU, N, own)
            phase = barrier(sync, phase, parts)

    @inline_as(f"unsteps-{facts.key}")
    def run(G, u, h, h1, c, c1, m, w, z, dy, dh, dc, dP, H, left, right, lines):
        line_c, line, line_w, line_d = lines
        width = lanes(G)
        whole = left + (right - left) // width * width
        for j in range(left, whole, width):
            unstep(G, u, h, h1, c, c1, m, w, z, dy, dh, dc, dP, H, j, None, line_c, line, line_w, line_d)
        if whole < right:
            unstep(G, u, h, h1, c, c1, m, w, z, dy, dh, dc, dP, H, whole, right - whole, line_c, line, line_w, line_d)

    return backward


@inline
def add_columns(x, a, row, count, dP, wide, source, target, n, dW, db, N, work, part, parts):
    """dW and db from ``n`` columns of dP, which begin at ``source``, to those from ``target`` on: this thread's.

    ``count`` rows, of which the first is x's number ``row``.
    """
    low, high = columns_of(x, n, part, parts)
    for k in range(count):
        here = at(dP, k * wide + source + low)
        add_row(here, at(db, target + low), high - low)
        if a.indices:
            add_row(here, at(dW, get(integers(a.indices), row + k) * N + target + low), high - low)
    if a.indices == 0:
        D = a.D
        add_transposed_product(at(x, row * D), D, D, at(dP, source), wide, low, high, count, at(dW, target), N, work)


FORWARD: dict[str, Kernel] = {}  # by ``CellFacts.key``, once they were asked for
BACKWARD: dict[str, Kernel] = {}


def forward_of(facts: CellFacts) -> Kernel:
    """The forward kernel of a cell."""
    if facts.key not in FORWARD:
        FORWARD.setdefault(facts.key, make_forward(facts))  # of two threads one makes the kernel that all use
    return FORWARD[facts.key]


def backward_of(facts: CellFacts) -> Kernel:
    """The backward kernel of a cell."""
    if facts.key not in BACKWARD:
        BACKWARD.setdefault(facts.key, make_backward(facts))
    return BACKWARD[facts.key]


@entry("short")
def short(x, h0, c0, rest, y, side, h, c, k, in_place, block, box, function, most, patience):
    """A forward kernel on arrays, for inference: the direction of a layer whose states are the ``k``-th.

    ``block`` is a ``PassArguments`` (int64) without the addresses of the arrays; ``rest`` says that h0 is 0; the
    direction's columns of y begin ``side`` bytes on.  ``box`` and what follows are for ``lead``.
    """
    block[LAST_FIRST], block[REST] = 1 - block[LAST_FIRST], rest
    block[X], block[Y] = address(x), address(y) + side
    block[H0], block[C0], block[LAST], block[C] = address(h0[k]), address(c0[k]), address(h[k]), address(c[k])
    if in_place:
        block[G] = block[Y]
    lead(box, function, address(block), most, patience)

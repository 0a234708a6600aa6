"""The twin of ``minirnn.scan`` and of the products before it: one layer in one direction, forward.

Threads run the same kernel, each with its number ``part`` of ``parts``, and meet at barriers (|).

    pack W and U |
    for each chunk of steps:
        P = X W + b, into G: rows of all the chunk's steps; where every h is known, G += h U too |
        for each step, this thread's rows: else G += h U, then the cell's equations in place; a cell of several
            stages goes on with the next one's product and equations |

A thread takes its rows of the batch through a chunk's steps by itself.  Where there are fewer rows than threads, it
takes some of the units instead, of the products before too, and all threads meet after every step and stage instead.

Each number is one chain of operations in an order that does not depend on ``parts``: the same bits for any number of
threads.  ``reverse`` reads the steps of x last to first.  Rows that have ended (``lengths``) keep their state.
"""

from minirnn.kernels.cpu.compiling import entry, inline, kernel, long
from minirnn.kernels.cpu.copies import product_of_copy, uncrowded
from minirnn.kernels.cpu.emitting import Lines, Row
from minirnn.kernels.cpu.entries import ENDS, ENTRIES, PACKED, as_left, entries_at, pointer_like, recast
from minirnn.kernels.cpu.memory import address, at, get, integers, numbers, reader
from minirnn.kernels.cpu.packing import pack, panel_size, panel_width, pick
from minirnn.kernels.cpu.passes import PassArguments
from minirnn.kernels.cpu.rows import begin, copy_row, sum_rows_as
from minirnn.kernels.cpu.stages import Strides, call_rows, read_cell, share_of, stage_of
from minirnn.kernels.cpu.team import barrier, lead
from minirnn.kernels.cpu.tiles import WIDE, product

read_pass = reader(PassArguments)
X, Y, G, H0, C0, REST, LAST, C, LAST_FIRST = (
    PassArguments._fields.index(name) for name in ("x", "y", "G", "h0", "c0", "rest", "last", "c", "last_first")
)


@long
def single(x, D, W, h, R, U, N, joint, b, v, g, stride, u, H, share, last_first):
    """The products of a pass of one step, with weights as they are: every block of W's columns, and then the same of U.

    With ``last_first`` the last block comes first: it is what the pass before read last, and a cache still has.
    """
    width, left, rows = panel_width(x), share.left, share.rows
    most = WIDE * width
    groups = N // H if share.by_units else 1 if joint == N else 2
    for i in range(groups):
        group = groups - 1 - i if last_first else i
        begins = group * (H if share.by_units else joint) + left
        columns = share.right - left if share.by_units else N - joint if group else joint
        blocks = (columns + most - 1) // most
        for k in range(blocks):
            shift = (blocks - 1 - k if last_first else k) * most
            j, n = begins + shift, min(most, columns - shift)
            out = at(g, j)
            product(as_left(x, W), D, at(W, j), N, width, D, n, at(b, j), 0, out, stride, rows, 0)
            if j < joint:
                product(as_left(h, U), R, at(U, j), N, width, R, n, out, stride, out, stride, rows, 0)
            else:
                bias, apart = at(v, j - joint), at(u, j - joint)
                product(as_left(h, U), R, at(U, j), N, width, R, n, bias, 0, apart, N - joint, rows, 0)


@long
def recur(h, ldh, terms, g, stride, u, rows, last_first, matrix, share, spare, room):
    """g += h U for some rows, and for a thread's units alone if it has some; what is kept apart goes to u."""
    U, V, v, line, apart, H, joint, N = matrix
    left, width, each, some = share.left, panel_width(h), H if share.by_units else N, share.right - share.left
    for shift in range(left, joint, each):
        block, panel, count = at(g, shift), at(U, shift // width * apart), some if share.by_units else joint
        uncrowded(h, ldh, panel, line, apart, terms, count, block, stride, block, stride, rows, spare, room, last_first)
    for shift in range(left, N - joint, each):
        bias, panel, out = at(v, shift), at(V, shift // width * apart), at(u, shift)
        count = some if share.by_units else N - joint
        uncrowded(h, ldh, panel, line, apart, terms, count, bias, 0, out, N - joint, rows, spare, room, last_first)


@inline
def panels_at(base, offsets, k, packed):
    """Where packed weights lie: k = 0 is W, then come blocks of U's columns, each multiplied with at once, the matrix.

    ``offsets`` is the address of their distances from ``base``, in bytes.
    """
    return pointer_like(base + get(integers(offsets), k), packed)


@inline
def follow(phase, cell, row, strides, lines, share, lengths, t, weights, spare, sync):
    """The stages of a step after the first: a product and equations each."""
    U, M, v, N, R, packed, base, offsets, whole = weights
    memory, room, parts = spare
    H, width, stages = lines.H, panel_width(row.a), read_cell(cell).stages
    for k in range(1, stages):
        stage = stage_of(cell, k)
        a, first, gates = at(row.a, (k - 1) * lines.saved), stage.first, stage.gates
        if share.by_units:
            phase = barrier(sync, phase, parts)
        panels, line, apart = panels_at(base, offsets, 1 + k, packed), width, panel_size(packed, H)
        if stage.own:
            left, count = share.left_h, share.right_h - share.left_h
            if whole:
                panels, line, apart = recast(M, packed), R, width
            bias, out, panel = at(v, left), at(row.h1, left), at(panels, left // width * apart)
            uncrowded(a, H, panel, line, apart, H, count, bias, 0, out, strides.h1, share.rows, memory, room, t & 1)
        else:
            if whole:
                panels, line, apart = recast(at(U, first * H), packed), N, width
            matrix = panels, panels, v, line, apart, H, gates * H, gates * H
            g = at(row.G, first * H)
            recur(a, H, H, g, strides.G, g, share.rows, t & 1, matrix, share, memory, room)
        call_rows(stage.routine, (row, strides, lines, share, lengths, t))
    return phase


@inline
def block_of(cell, k):
    """The columns of U that are packed together: their first gate, and how many; those that are apart are alone."""
    sizes, stage = read_cell(cell), stage_of(cell, 0 if read_cell(cell).apart else k)
    if sizes.apart:
        joint = sizes.gates - sizes.apart
        return (joint if k else 0), (sizes.apart if k else joint)
    return stage.first, stage.gates


def make_forward(kind, *, stored):
    """The forward kernel whose packed weights have entries of a kind; they are packed for a pass, or ``stored`` so."""
    entries, plain, begins_apart = entries_at(kind), kind == "full", kind in ENDS

    @kernel("forward-stored" if stored else "forward", calls=[pack, product, product_of_copy], kind=kind)
    def forward(like, arguments, part, parts, sync):
        a = read_pass(arguments)
        T, B, D, H, R, Y, stride = a.T, a.B, a.D, a.H, a.R, a.Y, a.stride
        cell, first_stage = read_cell(a.cell), stage_of(a.cell, 0)
        gates, apart, staged, multiplies = cell.gates, cell.apart, cell.stages > 1, first_stage.product
        own = stage_of(a.cell, cell.stages - 1).own
        N, phase = gates * H, 0
        x, W, U, G = numbers(a.x, like), numbers(a.W, like), numbers(a.U, like), numbers(a.G, like)
        b, v, y, M = numbers(a.b, like), numbers(a.v, like), numbers(a.y, like), numbers(a.matrix, like)
        width = panel_width(x)
        columns = first_stage.gates * H if multiplies else 0  # that h is multiplied with
        joint = columns - apart * H
        # weights that are used only a few times are read as they are, if their columns are whole panels; others never
        panels = joint % width == 0 and (H % width == 0 or not (apart or staged)) and (R % width == 0 or not own)
        panels, integer = panels and plain, a.indices != 0
        packed_W, line_W = entries(a.base + get(integers(a.offsets), 0), like), width
        packed_U, line_U = panels_at(a.base, a.offsets, 1, packed_W), width
        packed_V, V = panels_at(a.base, a.offsets, 2 if apart else 1, packed_W), at(U, joint)
        next_W, next_U = panel_size(packed_W, D), panel_size(packed_W, R)
        own_work = at(numbers(a.own, like), part * a.share)
        few, whole = panels and T * B <= 8, (panels and T <= 4) or not multiplies  # rows; steps
        alone = few and T == 1 and not integer and not staged and multiplies
        if few:
            packed_W, line_W, next_W = recast(W, packed_W), N, width
        elif not (integer or stored):
            pack(W, N, D, N, packed_W, part, parts)
        if whole:
            packed_U, line_U, next_U, packed_V = recast(U, packed_W), N, width, recast(V, packed_W)
        elif not stored:
            for k in range(2 if apart else cell.stages - own):
                block, count = block_of(a.cell, k)
                pack(at(U, block * H), N, R, count * H, panels_at(a.base, a.offsets, 1 + k, packed_W), part, parts)
            if own:
                pack(M, R, H, R, panels_at(a.base, a.offsets, cell.stages, packed_W), part, parts)
        share = share_of(x, B, H, R, part, parts, cell.whole_rows)
        matrix = packed_U, packed_V, v, line_U, next_U, H, joint, columns
        weights, spare = (U, M, v, N, R, packed_W, a.base, a.offsets, whole), (own_work, a.share, parts)
        first, left, by_units = share.first, share.left, share.by_units
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
                count = share.right - left if by_units else N
                here, bias, out = at(x, (start + low) * D), at(b, shift), at(target, shift)
                if integer:
                    for k in range(high - low):
                        index = get(integers(a.indices), start + low + k)
                        if stored:
                            pick(packed_W, D, index, shift, count, bias, at(out, k * stride))
                        else:
                            sum_rows_as(packed_W, bias, at(W, index * N + shift), at(out, k * stride), count)
                else:
                    panel = at(packed_W, shift // width * next_W)
                    uncrowded(
                        here, D, panel, line_W, next_W, D, count, bias, 0, out, stride, high - low, own_work, a.share, 0
                    )
            if multiplies and a.known and not alone:
                # of these rows the first step's, which follow h0, end or begin at ``edge``
                edge = min(high, max(low, 0 if t0 else (many - 1) * B if a.reverse else B))
                for after in range(2):
                    from_, to = (edge, high) if after else (low, edge)
                    begins = t0 == 0 and bool(after) == (a.reverse != 0)
                    before = start + from_ + (B if a.reverse else -B)
                    shift = from_ - ((many - 1) * B if a.reverse else 0)
                    h, ldh = (at(numbers(a.h0, like), shift * R), R) if begins else (at(y, before * Y), Y)
                    g, u = at(target, (from_ - low) * stride), at(numbers(a.u, like), (start + from_) * apart * H)
                    terms = 0 if begins and a.rest and not begins_apart else R
                    recur(h, ldh, terms, g, stride, u, to - from_, 0, matrix, share, own_work, a.share)
            if not by_units:
                phase = barrier(sync, phase, parts)
            if share.rows == 0:
                continue
            for t in range(t0, t0 + many):
                now = T - 1 - t if a.reverse else t
                before = now + 1 if a.reverse else now - 1
                slot, save, old = (now, now, before) if a.slots == T else (now - start // B, 0, 0)
                terms = R if t or not a.rest or begins_apart else 0
                h, ldh = (at(y, (before * B + first) * Y), Y) if t else (at(numbers(a.h0, like), first * R), R)
                c = at(numbers(a.c, like), (old * B + first) * H) if t else at(numbers(a.c0, like), first * H)
                g, u = at(G, (slot * B + first) * stride), at(numbers(a.u, like), (save * B + first) * apart * H)
                if alone:
                    here = at(x, first * D)
                    own_W, own_U = recast(W, packed_W), recast(U, packed_W)
                    single(here, D, own_W, h, R, own_U, N, joint, b, v, g, stride, u, H, share, a.last_first)
                elif multiplies and not a.known:
                    recur(h, ldh, terms, g, stride, u, share.rows, t & 1, matrix, share, own_work, a.share)
                here, each = (save * B + first) * H, a.slots * B * H
                row = Row(
                    g,
                    u,
                    h,
                    at(y, (now * B + first) * Y),
                    c,
                    at(numbers(a.c, like), here),
                    at(numbers(a.a, like), here),
                    at(numbers(a.m, like), here),
                    at(numbers(a.s, like), save * B + first),
                    at(numbers(a.z, like), (save * B + first) * a.row_z),
                    numbers(a.w, like),
                )
                lines = Lines(H, (a.slots if t else 1) * B * H, each, each, a.slots * B, a.line_z, a.line_w, 0)
                strides = Strides(H, stride, apart * H, ldh, Y, a.row_z)
                call_rows(first_stage.routine, (row, strides, lines, share, a.lengths, t))
                phase = follow(phase, a.cell, row, strides, lines, share, a.lengths, t, weights, spare, sync)
                if by_units and multiplies:
                    phase = barrier(sync, phase, parts)
        if a.last:
            end = at(y, (0 if a.reverse else (T - 1) * B) * Y)
            for r in range(first, first + share.rows):
                copy_row(at(end, r * Y), at(numbers(a.last, like), r * R), R)

    return forward


# by the kind of entries, and whether weights are stored in them
FORWARD = {(kind, False): make_forward(kind, stored=False) for kind in PACKED}
FORWARD |= {(kind, True): make_forward(kind, stored=True) for kind in ENTRIES}


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

"""The twin of ``minirnn.scan`` and of the products around it: one layer in one direction, backward.

    pack Wᵀ and Uᵀ |
    for each chunk of steps, the last first:
        for each step in reverse, this thread's rows: the transposed equations, dh += dQ Uᵀ; a cell of several stages
            does so for each, the last first
      | dX = dP Wᵀ, rows of all the chunk's steps; dW, dU, db, this thread's columns |

Threads share rows or units as in ``forward.py``, and a number's operations have one order for any number of threads.
The gradient of a row that has ended passes straight through.
"""

from minirnn.kernels.cpu.compiling import inline, kernel
from minirnn.kernels.cpu.copies import product_as_stored, product_of_copy
from minirnn.kernels.cpu.emitting import Back, Lines, Row
from minirnn.kernels.cpu.entries import PACKED, depth, entries_at, recast
from minirnn.kernels.cpu.forward import read_pass
from minirnn.kernels.cpu.memory import at, get, integers, numbers, reader
from minirnn.kernels.cpu.packing import lines_of, pack_transposed, packed_size, panel_width
from minirnn.kernels.cpu.passes import BackwardArguments, PassArguments
from minirnn.kernels.cpu.rows import add_row, begin, clear_row, columns_of, sum_rows_as
from minirnn.kernels.cpu.stages import Strides, call_rows_back, read_cell, share_of, stage_of
from minirnn.kernels.cpu.team import barrier
from minirnn.kernels.cpu.tiles import add_transposed_product, product

PASS_BYTES = 8 * len(PassArguments._fields)
read_back = reader(BackwardArguments)


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
            out = at(dW, get(integers(a.indices), row + k) * N + target + low)
            sum_rows_as(work, out, here, out, high - low)  # one-hot vectors, multiplied as others are
    if a.indices == 0:
        D = a.D
        add_transposed_product(at(x, row * D), D, D, at(dP, source), wide, low, high, count, at(dW, target), N, work)


@inline
def before_stage(packed, k, stage, n):
    """Entries from the first stage's panels to a later one's, with ``k`` lines between them in U's transpose.

    Of several numbers in an entry, each stage before it may have left some of one empty.
    """
    return packed_size(packed, k + stage * depth(packed), n)


@inline
def precede(phase, cell, row, back, strides, strides_back, lines, share, lengths, t, R, rooms, sync, parts):
    """The stages of a step from the last down to the first: the transposed equations, and the product of each."""
    sizes, H, width, wide, (packed, spare) = read_cell(cell), lines.H, panel_width(row.G), strides_back[1], rooms
    for k in range(sizes.stages - 1, -1, -1):
        stage = stage_of(cell, k)
        call_rows_back(stage.routine, (row, back, strides, strides_back, lines, share, lengths, t))
        if stage.product:
            if share.by_units:
                phase = barrier(sync, phase, parts)
            first, terms = stage.first, R if stage.own else stage.gates * H
            # where dQ begins in dP, gates
            q = sizes.apart + (sizes.gates + sizes.units if stage.own else first)
            if k:
                left, right, out, stride = share.left, share.right, at(back.f, stage.flow * lines.d), H
            else:
                left, right, out, stride = share.left_h, share.right_h, back.dh, R
            panels, apart = at(packed, before_stage(packed, first * H, k, R)), lines_of(packed, terms) * width
            panel, block = at(panels, left // width * apart), at(out, left)
            dQ, count, rows = at(back.dP, q * H), right - left, share.rows
            product_as_stored(
                dQ, wide, panel, width, apart, terms, 0, count, block, stride, block, stride, rows, spare, t & 1
            )
    return phase


def make_backward(kind):
    """The backward kernel whose packed weights have entries of a kind."""
    panels_at = entries_at(kind)
    calls = [pack_transposed, product, product_of_copy, add_transposed_product]

    @kernel("backward", calls=calls, kind=kind)
    def backward(like, arguments, part, parts, sync):
        a, d = read_pass(arguments), read_back(arguments + PASS_BYTES)
        T, B, D, H, R, Y, stride = a.T, a.B, a.D, a.H, a.R, a.Y, a.stride
        cell, own = read_cell(d.cell), stage_of(d.cell, read_cell(d.cell).stages - 1).own
        gates, apart, units, multiplies = cell.gates, cell.apart, cell.units, stage_of(d.cell, 0).product
        N, phase, blocks = gates * H, 0, cell.stages - own  # of columns of U
        x, W, U, G = numbers(a.x, like), numbers(a.W, like), numbers(a.U, like), numbers(a.G, like)
        y, dy, dP, wide = numbers(a.y, like), numbers(d.dy, like), numbers(d.dP, like), d.wide
        dh, dc, f = numbers(d.dh, like), numbers(d.dc, like), numbers(d.f, like)
        dW, dU, db, w = numbers(d.dW, like), numbers(d.dU, like), numbers(d.db, like), numbers(a.w, like)
        width = panel_width(x)
        packed = panels_at(d.work, like)
        packed_M = at(packed, before_stage(packed, N, blocks, R) if multiplies else 0)
        packed_W = at(packed_M, packed_size(packed, R, H) if own else 0)
        q = apart * H  # where dQ begins in dP
        lines_W = lines_of(packed, q) + lines_of(packed, N - q)
        size_W = packed_size(packed, lines_W * depth(packed), D)
        own_work = at(recast(at(packed_W, size_W * (d.dx != 0)), x), part * d.share)
        own_panels = recast(own_work, packed)
        if multiplies:
            for k in range(blocks):
                stage = stage_of(d.cell, k)
                first, count = stage.first * H, stage.gates * H
                target = at(packed, before_stage(packed, first, k, R))
                pack_transposed(at(U, first), N, count, R, target, lines_of(packed, count), part, parts)
        if own:
            pack_transposed(numbers(a.matrix, like), R, R, H, packed_M, lines_of(packed, R), part, parts)
        if d.dx and apart:
            pack_transposed(at(W, N - q), N, q, D, packed_W, lines_W, part, parts)
            pack_transposed(W, N, N - q, D, at(packed_W, lines_of(packed, q) * width), lines_W, part, parts)
        elif d.dx:
            pack_transposed(W, N, N, D, packed_W, lines_W, part, parts)
        phase = barrier(sync, phase, parts)
        share = share_of(x, B, H, R, part, parts, cell.whole_rows)
        first = share.first
        for t0 in range((T - 1) // d.chunk * d.chunk, -1, -d.chunk):
            many = min(d.chunk, T - t0)
            start = T - t0 - many if a.reverse else t0  # the chunk's first step in x
            for t in range(t0 + many - 1 if share.rows else -1, t0 - 1, -1):
                now = T - 1 - t if a.reverse else t
                before = now + 1 if a.reverse else now - 1
                here, old, here_z = (now * B + first) * H, (before * B + first) * H, (now * B + first) * a.row_z
                h, ldh = (at(y, (before * B + first) * Y), Y) if t else (at(numbers(a.h0, like), first * R), R)
                row = Row(
                    at(G, (now * B + first) * stride),
                    at(numbers(a.u, like), here * apart),
                    h,
                    at(y, (now * B + first) * Y),
                    at(numbers(a.c, like), old) if t else at(numbers(a.c0, like), first * H),
                    at(numbers(a.c, like), here),
                    at(numbers(a.a, like), here),
                    at(numbers(a.m, like), here),
                    at(numbers(a.s, like), now * B + first),
                    at(numbers(a.z, like), here_z),
                    w,
                )
                back = Back(
                    at(dy, (now * B + first) * d.Z if d.dy_steps else first * R),
                    at(dh, first * R),
                    at(dc, first * H),
                    at(f, first * H),
                    at(dP, ((now - start) * B + first) * wide),
                )
                each = T * B * H
                lines = Lines(H, each if t else B * H, each, each, T * B, a.line_z, a.line_w, B * H)
                strides, strides_back = Strides(H, stride, apart * H, ldh, Y, a.row_z), (d.Z, wide, R)
                rooms = packed, own_work
                phase = precede(
                    phase, d.cell, row, back, strides, strides_back, lines, share, a.lengths, t, R, rooms, sync, parts
                )
            phase = barrier(sync, phase, parts)
            count = many * B
            if d.dx:
                low, high = begin(count, part, parts), begin(count, part + 1, parts)
                clear_row(own_work, D)
                dx = at(numbers(d.dx, like), (start * B + low) * D)
                rows, next_W, spare = high - low, lines_W * width, at(own_work, D)
                own_dP = at(dP, low * wide)
                product_as_stored(own_dP, wide, packed_W, width, next_W, N, q, D, own_work, 0, dx, D, rows, spare, 0)
            if apart:
                add_columns(x, a, start * B, count, dP, wide, 0, N - q, q, dW, db, N, own_panels, part, parts)
                add_columns(x, a, start * B, count, dP, wide, q, 0, N - q, dW, db, N, own_panels, part, parts)
                low, high = begin(H, part, parts), begin(H, part + 1, parts)
                for k in range(count if d.dv else 0):
                    add_row(at(dP, k * wide + N + low), at(numbers(d.dv, like), low), high - low)
            else:
                add_columns(x, a, start * B, count, dP, wide, 0, 0, N, dW, db, N, own_panels, part, parts)
            low, high = begin(H, part, parts), begin(H, part + 1, parts)
            for unit in range(units):
                target = at(numbers(d.dw, like), unit * a.line_w + low)
                for k in range(count):
                    add_row(at(dP, k * wide + N + q + unit * H + low), target, high - low)
            if multiplies:  # dU += Σ h[t-1]ᵀ dQ[t]; before the first step stands h0
                edge = B if t0 == 0 else 0
                joint = stage_of(d.cell, 0).gates * H
                low, high = columns_of(x, joint, part, parts)
                if edge and not a.rest:
                    slot = many - 1 if a.reverse else 0
                    dQ = at(dP, slot * B * wide + q)
                    add_transposed_product(numbers(a.h0, like), R, R, dQ, wide, low, high, B, dU, N, own_panels)
                dQ = at(dP, q if a.reverse else edge * wide + q)
                h = at(y, (start * B + B if a.reverse else start * B + edge - B) * Y)
                add_transposed_product(h, Y, R, dQ, wide, low, high, count - edge, dU, N, own_panels)
            for k in range(1, blocks):  # what later stages multiply with their columns of U
                stage = stage_of(d.cell, k)
                operand, column = at(numbers(a.a, like), ((k - 1) * T + start) * B * H), stage.first * H
                low, high = columns_of(x, stage.gates * H, part, parts)
                dQ, target = at(dP, column), at(dU, column)
                add_transposed_product(operand, H, H, dQ, wide, low, high, count, target, N, own_panels)
            if own:
                low, high = columns_of(x, R, part, parts)
                operand, dQ = at(numbers(a.a, like), ((blocks - 1) * T + start) * B * H), at(dP, N + units * H)
                target = numbers(d.dmatrix, like)
                add_transposed_product(operand, H, H, dQ, wide, low, high, count, target, R, own_panels)
            phase = barrier(sync, phase, parts)

    return backward


BACKWARD = {kind: make_backward(kind) for kind in PACKED}

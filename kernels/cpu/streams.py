"""One step of a network in a single call: the twins of ``forward.py`` for little input that comes bit by bit.

A stream's weights are a snapshot, packed when it was made, in all of their bits or in fewer (``entries.py``), and all
memory that a step works in is there before the step.  So a step is the products, the cell, and nothing else; the
network's layers follow one another without a return to Python.

Threads share the columns of the products, meet, and share the units, or rows where a cell needs whole ones.
"""

from minirnn.kernels.cpu.compiling import entry, inline, kernel
from minirnn.kernels.cpu.copies import product_as_stored, product_of_copy
from minirnn.kernels.cpu.emitting import Lines, Row
from minirnn.kernels.cpu.entries import DEPTHS, depth, entries_at
from minirnn.kernels.cpu.memory import address, at, get, integers, numbers, put, reader
from minirnn.kernels.cpu.multiplying import number_at
from minirnn.kernels.cpu.packing import lines_of, panel_size, panel_width, pick
from minirnn.kernels.cpu.passes import StepArguments
from minirnn.kernels.cpu.rows import add_row, begin, copy_row
from minirnn.kernels.cpu.stages import Share, Strides, call_rows, moved, read_cell, stage_of
from minirnn.kernels.cpu.team import barrier, lead
from minirnn.kernels.cpu.tiles import product

read = reader(StepArguments)
FUNCTION, THREADS, X, INDICES, Y, H0, H1 = (
    StepArguments._fields.index(name) for name in ("function", "threads", "x", "indices", "y", "h", "h1")
)


@inline
def share_of_step(B, H, R, part, parts, whole_rows):
    """A thread's share of a step: some units of all rows, or all of some rows."""
    if whole_rows:
        first = begin(B, part, parts)
        return Share(first, begin(B, part + 1, parts) - first, 0, H, 0, R, 0)
    left, right = begin(H, part, parts), begin(H, part + 1, parts)
    return Share(0, B, left, right, begin(R, part, parts), begin(R, part + 1, parts), 1)


@inline
def times(a, k, panels, first, last, start, stride, c, ldc, rows, work):
    """c = start + a (rows, k) @ the packed matrix, panels from first to last; ``work`` has room for a's rows."""
    width, size = panel_width(a), panel_size(panels, k)
    left, n = first * width, (last - first) * width
    b, begin, out = at(panels, first * size), at(start, left), at(c, left)
    product_as_stored(a, k, b, width, size, k, 0, n, begin, stride, out, ldc, rows, work, 0)


def make_recurrent(kind):
    """The kernel of one layer in one direction."""
    panels_at = entries_at(kind)

    @kernel("stream", calls=[product, product_of_copy], kind=kind)
    def recurrent(like, arguments, part, parts, sync):
        a = read(arguments)
        B, H, R, cell = a.B, a.H, a.R, read_cell(a.cell)
        gates, apart, added = cell.gates, cell.apart, cell.apart > 0 or cell.stages > 1
        W, P, b = panels_at(a.W, like), numbers(a.P, like), numbers(a.b, like)
        width = panel_width(P)
        blocks = (gates * H + width - 1) // width
        N = blocks * width
        first, last, work = begin(blocks, part, parts), begin(blocks, part + 1, parts), numbers(a.own, like)
        work = at(work, part * a.share)
        if a.indices:
            left = first * width
            for r in range(B):
                pick(
                    W, a.D, get(integers(a.indices), r), left, (last - first) * width, at(b, left), at(P, r * N + left)
                )
        else:
            times(numbers(a.x, like), a.D, W, first, last, b, 0, P, N, B, work)
        h, h1, c = numbers(a.h, like), numbers(a.h1, like), numbers(a.c, like)
        v, Q = numbers(a.v, like), numbers(a.Q, like)
        share = share_of_step(B, H, R, part, parts, cell.whole_rows)
        # u lies where its q is
        start = Row(
            P,
            at(Q, (gates - apart) * H),
            h,
            h1,
            c,
            c,
            numbers(a.a, like),
            numbers(a.m, like),
            numbers(a.s, like),
            numbers(a.z, like),
            numbers(a.w, like),
        )
        strides, lines = Strides(H, N, N, R, R, 0), Lines(H, B * H, B * H, B * H, B, a.line_z, H, 0)
        own_row, left, count, phase = moved(start, strides, share.first), share.left, share.right - share.left, 0
        left_h, count_h = share.left_h, share.right_h - share.left_h
        for k in range(cell.stages):
            stage = stage_of(a.cell, k)
            blocks = ((R if stage.own else stage.gates * H) + width - 1) // width
            low, high, wide = begin(blocks, part, parts), begin(blocks, part + 1, parts), blocks * width
            if k:
                phase = barrier(sync, phase, parts)
                U = panels_at(get(integers(a.later), k - 1), like)
                times(at(start.a, (k - 1) * lines.saved), H, U, low, high, v, 0, Q, wide, B, work)
            elif stage.product:
                bias, line, out = (v, 0, Q) if added else (P, wide, P)
                times(h, R, panels_at(a.U, like), low, high, bias, line, out, wide, B, work)
            phase = barrier(sync, phase, parts)
            for r in range(share.first, share.first + share.rows):
                q = at(Q, r * wide)
                if stage.own:
                    copy_row(at(q, left_h), at(h1, r * R + left_h), count_h)
                elif added and stage.product:
                    for i in range(stage.gates - apart):
                        add_row(at(q, i * H + left), at(P, r * N + (stage.first + i) * H + left), count)
            call_rows(stage.routine, (own_row, strides, lines, share, 0, 0))
        if a.y:
            y, left = numbers(a.y, like), share.left_h
            for r in range(share.first, share.first + share.rows):
                copy_row(at(h1, r * R + left), at(y, r * R + left), share.right_h - left)

    return recurrent


def make_linear(kind):
    """The kernel of a Linear, y = x W + b, and of an Embedding, whose rows are the columns of a transposed matrix."""
    panels_at = entries_at(kind)

    @kernel("stream-linear", calls=[product, product_of_copy], kind=kind)
    def linear(like, arguments, part, parts, sync):
        a = read(arguments)
        P, y = numbers(a.P, like), numbers(a.y, like)
        width = panel_width(P)
        blocks = (a.H + width - 1) // width
        N, work = blocks * width, at(numbers(a.own, like), part * a.share)
        first, last = begin(blocks, part, parts), begin(blocks, part + 1, parts)
        times(numbers(a.x, like), a.D, panels_at(a.W, like), first, last, numbers(a.b, like), 0, P, N, a.B, work)
        left = first * width
        for r in range(a.B):
            copy_row(at(P, r * N + left), at(y, r * a.H + left), min(a.H, last * width) - left)

    @kernel("stream-embedding", kind=kind)
    def embedding(like, arguments, part, parts, sync):
        a = read(arguments)
        W, y = panels_at(a.W, like), numbers(a.y, like)
        width, size, deep, end = panel_width(y), panel_size(W, a.H), depth(W), lines_of(W, a.H)
        for r in range(begin(a.B, part, parts), begin(a.B, part + 1, parts)):
            index = get(integers(a.indices), r)
            panel, column = at(W, index // width * size), index % width
            for k in range(a.H):
                value = number_at(panel, k // deep * width + column, k % deep, end * width + column, like)
                put(value, y, r * a.H + k)

    return linear, embedding


RECURRENT = {kind: make_recurrent(kind) for kind in DEPTHS}
LINEAR, EMBEDDING = (dict(zip(DEPTHS, row, strict=True)) for row in zip(*map(make_linear, DEPTHS), strict=True))


@entry("stream")
def stream(x, integer, out, links, box, most, patience):
    """One step of all layers: ``links`` (layers, fields) are ``StepArguments``; the first reads x, the last fills out.

    ``integer`` says that x holds indices.  Where a layer's h and its next h lie is exchanged afterwards.
    """
    links[0, INDICES if integer else X] = address(x)
    links[len(links) - 1, Y] = address(out)
    for k in range(len(links)):
        threads = min(most, links[k, THREADS])
        lead(box, links[k, FUNCTION], address(links) + k * links.strides[0], threads, patience)
        links[k, H0], links[k, H1] = links[k, H1], links[k, H0]

"""One step of a network in a single call: the twins of ``scans.py`` for little input that comes bit by bit.

A stream's weights are a snapshot, laid out in blocks when it was made, in all of their bits or in fewer
(``blocks.py``), and all memory that a step works in is there before the step.  So a step is the products, the cell, and
nothing else; the network's layers follow one another without a return to Python.

Threads share the columns of the products, meet, and share the units.
"""

from minirnn.kernels.cpu.blocks import COLUMNS, KINDS, PARTS, half
from minirnn.kernels.cpu.compiling import Kernel, entry, kernel
from minirnn.kernels.cpu.memory import address, at, bytes_at, get, integers, numbers, put, reader
from minirnn.kernels.cpu.passes import StepArguments
from minirnn.kernels.cpu.rows import add_row, begin, copy_row
from minirnn.kernels.cpu.scans import make_run
from minirnn.kernels.cpu.team import barrier, lead
from minirnn.kernels.facts import CellFacts

read = reader(StepArguments)
FUNCTION, THREADS, X, INDICES, Y, H0, H1 = (
    StepArguments._fields.index(name) for name in ("function", "threads", "x", "indices", "y", "h", "h1")
)


def make_recurrent(facts, kind):
    """The kernel of one layer in one direction."""
    run, gates, apart = make_run(facts), facts.gates, facts.apart
    times, pick, product = PARTS[kind]

    @kernel(f"stream-{facts.key}-{kind}", calls=[product])
    def recurrent(like, arguments, part, parts, sync):
        a = read(arguments)
        B, H = a.B, a.H
        blocks = (gates * H + COLUMNS - 1) // COLUMNS
        N, joint = blocks * COLUMNS, (gates - 1) * H
        first, last = begin(blocks, part, parts), begin(blocks, part + 1, parts)
        P, Q, b, v = numbers(a.P, like), numbers(a.Q, like), numbers(a.b, like), numbers(a.v, like)
        h, h1 = numbers(a.h, like), numbers(a.h1, like)
        scale_W, scale_U = numbers(a.scale_W, like), numbers(a.scale_U, like)
        work = a.narrow + part * a.share
        if a.indices:
            for r in range(B):
                pick(get(integers(a.indices), r), like, a.W, a.apart_W, scale_W, first, last, b, at(P, r * N))
        else:
            times(like, numbers(a.x, like), a.D, a.W, a.apart_W, scale_W, first, last, b, 0, P, N, B, work)
        if apart:
            times(like, h, H, a.U, a.apart_U, scale_U, first, last, v, 0, Q, N, B, work)
        else:
            times(like, h, H, a.U, a.apart_U, scale_U, first, last, P, N, P, N, B, work)
        barrier(sync, 0, parts)
        left, right = begin(H, part, parts), begin(H, part + 1, parts)
        c, m, w, y = numbers(a.c, like), numbers(a.m, like), numbers(a.w, like), numbers(a.y, like)
        for r in range(B):
            g, q, cr = at(P, r * N), at(Q, r * N), at(c, r * H)
            if apart:
                for k in range(0, joint, H):
                    add_row(at(q, k + left), at(g, k + left), right - left)
            hr, h1r, mr = at(h, r * H), at(h1, r * H), at(m, r * H)
            # inference has no zones: w stands for them
            run(g, at(q, joint), hr, cr, h1r, cr, mr, w, w, H, left, right, B * H, B * H, H)
            if a.y:
                copy_row(at(h1, r * H + left), at(y, r * H + left), right - left)

    return recurrent


def make_linear(kind):
    """The kernel of a Linear, y = x W + b, and of an Embedding, whose rows are the columns of a transposed matrix."""
    times, _, product = PARTS[kind]
    narrow, halves = kind == "int8", kind == "f16"

    @kernel(f"stream-linear-{kind}", calls=[product])
    def linear(like, arguments, part, parts, sync):
        a = read(arguments)
        blocks = (a.H + COLUMNS - 1) // COLUMNS
        N = blocks * COLUMNS
        first, last = begin(blocks, part, parts), begin(blocks, part + 1, parts)
        P, scale, y = numbers(a.P, like), numbers(a.scale_W, like), numbers(a.y, like)
        work = a.narrow + part * a.share
        times(like, numbers(a.x, like), a.D, a.W, a.apart_W, scale, first, last, numbers(a.b, like), 0, P, N, a.B, work)
        left = first * COLUMNS
        for r in range(a.B):
            copy_row(at(P, r * N + left), at(y, r * a.H + left), min(a.H, last * COLUMNS) - left)

    @kernel(f"stream-embedding-{kind}")
    def embedding(like, arguments, part, parts, sync):
        a = read(arguments)
        y = numbers(a.y, like)
        for r in range(begin(a.B, part, parts), begin(a.B, part + 1, parts)):
            index = get(integers(a.indices), r)
            place, column = a.W + index // COLUMNS * a.apart_W, index % COLUMNS
            for k in range(a.H):
                if narrow:
                    value = get(bytes_at(place), (k // 2 * COLUMNS + column) * 2 + k % 2)
                    value = value * get(numbers(a.scale_W, like), index)
                elif halves:
                    value = half(place, k * COLUMNS + column, like)
                else:
                    value = get(numbers(place, like), k * COLUMNS + column)
                put(value, y, r * a.H + k)

    return linear, embedding


RECURRENT: dict[tuple[str, str], Kernel] = {}  # by ``CellFacts.key`` and kind, once they were asked for
LINEAR, EMBEDDING = (dict(zip(KINDS, row, strict=True)) for row in zip(*map(make_linear, KINDS), strict=True))


def recurrent_of(facts: CellFacts, kind: str) -> Kernel:
    """The kernel of one layer of a cell, with weights of one kind."""
    if (facts.key, kind) not in RECURRENT:
        RECURRENT.setdefault((facts.key, kind), make_recurrent(facts, kind))
    return RECURRENT[facts.key, kind]


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

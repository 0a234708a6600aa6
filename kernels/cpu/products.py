"""The twin of ``minirnn.Linear``: y = x W + b and its transpose, on the tiles of the recurrent layers."""

from typing import NamedTuple

from minirnn.kernels.cpu.compiling import inline, kernel
from minirnn.kernels.cpu.copies import product_as_stored, product_of_copy
from minirnn.kernels.cpu.entries import DEPTHS, PACKED, entries_at, recast
from minirnn.kernels.cpu.memory import at, numbers, reader
from minirnn.kernels.cpu.packing import lines_of, pack, pack_transposed, packed_size, panel_size, panel_width
from minirnn.kernels.cpu.rows import add_row, begin, clear_row, columns_of
from minirnn.kernels.cpu.team import barrier
from minirnn.kernels.cpu.tiles import add_transposed_product, product


class Product(NamedTuple):
    """Sizes, and addresses of C-contiguous arrays (0: there is none)."""

    rows: int
    K: int
    N: int
    transposed: int  # W is stored as its transpose, (N, K): the weight of an Embedding
    x: int  # (rows, K)
    W: int  # (K, N)
    b: int  # (N)
    y: int  # (rows, N) to fill; in the backward pass, its gradient
    dx: int  # (rows, K) to fill
    dW: int  # as W, to be added to
    db: int
    work: int  # for packed weights, then ``share`` entries for each thread
    share: int


read = reader(Product)


def make_linear(kind):
    """The kernels of y = x W + b and of its transpose whose packed weights have entries of a kind."""
    panels_at, plain = entries_at(kind), kind == "full"

    @kernel("linear-forward", calls=[pack, pack_transposed, product, product_of_copy], kind=kind)
    def forward(like, arguments, part, parts, sync):
        """y = x W + b."""
        a = read(arguments)
        x, W, y, packed = numbers(a.x, like), numbers(a.W, like), numbers(a.y, like), panels_at(a.work, like)
        K, N, width = a.K, a.N, panel_width(x)
        lines, own = lines_of(packed, K), at(recast(at(packed, packed_size(packed, K, N)), x), part * a.share)
        line, apart = width, lines * width
        if plain and a.rows <= 4 and N % width == 0 and not a.transposed:  # too few rows to be worth packing
            packed, line, apart = recast(W, packed), N, width
        elif a.transposed:
            pack_transposed(W, K, K, N, packed, lines, part, parts)
        else:
            pack(W, N, K, N, packed, part, parts)
        barrier(sync, 0, parts)
        low, high = begin(a.rows, part, parts), begin(a.rows, part + 1, parts)
        start = numbers(a.b, like)
        if a.b == 0:
            start = own
            clear_row(start, N)
        source, target, rows = at(x, low * K), at(y, low * N), high - low
        product_as_stored(source, K, packed, line, apart, K, 0, N, start, 0, target, N, rows, at(own, N), 0)

    calls = [pack, pack_transposed, product, product_of_copy, add_transposed_product]

    @kernel("linear-backward", calls=calls, kind=kind)
    def backward(like, arguments, part, parts, sync):
        """dx = dy Wᵀ;  dW += xᵀ dy;  db += Σ dy."""
        a = read(arguments)
        x, W, dy, packed = numbers(a.x, like), numbers(a.W, like), numbers(a.y, like), panels_at(a.work, like)
        dx, dW, db = numbers(a.dx, like), numbers(a.dW, like), numbers(a.db, like)
        K, N, width = a.K, a.N, panel_width(x)
        lines, own = lines_of(packed, N), at(recast(at(packed, packed_size(packed, N, K)), x), part * a.share)
        if a.transposed:
            pack(W, K, N, K, packed, part, parts)
        else:
            pack_transposed(W, N, N, K, packed, lines, part, parts)
        barrier(sync, 0, parts)
        low, high = begin(a.rows, part, parts), begin(a.rows, part + 1, parts)
        clear_row(own, K)
        source, target, rows, apart = at(dy, low * N), at(dx, low * K), high - low, lines * width
        product_as_stored(source, N, packed, width, apart, N, 0, K, own, 0, target, K, rows, at(own, K), 0)
        panels = recast(own, packed)
        if a.transposed:
            add_share(dy, N, x, K, a.rows, dW, panels, part, parts)
        else:
            add_share(x, K, dy, N, a.rows, dW, panels, part, parts)
        if a.db:
            low, high = columns_of(x, N, part, parts)
            for r in range(a.rows):
                add_row(at(dy, r * N + low), at(db, low), high - low)

    return forward, backward


@inline
def add_share(a, m, b, n, k, c, work, part, parts):
    """c (m, n) += aᵀ b, this thread's columns; its rows, where there are fewer panels of columns than threads."""
    if n > (parts - 1) * panel_width(a):
        low, high = columns_of(a, n, part, parts)
        add_transposed_product(a, m, m, b, n, low, high, k, c, n, work)
    else:
        low, high = begin(m, part, parts), begin(m, part + 1, parts)
        add_transposed_product(at(a, low), m, high - low, b, n, 0, n, k, at(c, low * n), n, work)


class StoredProduct(NamedTuple):
    """A product with a matrix that is stored in panels: sizes, and addresses of C-contiguous arrays."""

    rows: int
    K: int
    panels: int
    x: int  # (rows, K)
    W: int  # the first of the panels
    zeros: int  # as many as y has columns
    y: int  # (rows, panels · width) to fill
    own: int  # for each thread ``share`` entries alone
    share: int


read_stored = reader(StoredProduct)


def make_stored(kind):
    """The kernel of y = x W with entries of a kind."""
    panels_at = entries_at(kind)

    @kernel("stored-product", calls=[product, product_of_copy], kind=kind)
    def multiply(like, arguments, part, parts, sync):
        """Threads share the rows, or the panels where there are fewer rows."""
        a = read_stored(arguments)
        x, y, own = numbers(a.x, like), numbers(a.y, like), at(numbers(a.own, like), part * a.share)
        K, W, width, zeros = a.K, panels_at(a.W, like), panel_width(x), numbers(a.zeros, like)
        N, size = a.panels * width, panel_size(W, K)
        low, high, first, last = 0, a.rows, begin(a.panels, part, parts), begin(a.panels, part + 1, parts)
        if a.rows >= parts:
            low, high, first, last = begin(a.rows, part, parts), begin(a.rows, part + 1, parts), 0, a.panels
        source, target, b, n = (
            at(x, low * K),
            at(y, low * N + first * width),
            at(W, first * size),
            (last - first) * width,
        )
        product_as_stored(source, K, b, width, size, K, 0, n, zeros, 0, target, N, high - low, own, 0)

    return multiply


STORED = {kind: make_stored(kind) for kind in DEPTHS}
FORWARD, BACKWARD = (dict(zip(PACKED, row, strict=True)) for row in zip(*map(make_linear, PACKED), strict=True))

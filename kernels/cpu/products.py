"""The twin of ``minirnn.Linear``: y = x W + b and its transpose, on the tiles of the recurrent layers."""

from typing import NamedTuple

from minirnn.kernels.cpu.compiling import inline, kernel
from minirnn.kernels.cpu.memory import at, numbers, reader
from minirnn.kernels.cpu.packing import pack, pack_transposed, packed_size, panel_width
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


@kernel("linear-forward", calls=[pack, pack_transposed, product])
def forward(like, arguments, part, parts, sync):
    """y = x W + b."""
    a = read(arguments)
    x, W, y, packed = numbers(a.x, like), numbers(a.W, like), numbers(a.y, like), numbers(a.work, like)
    K, N, width = a.K, a.N, panel_width(x)
    line, apart = width, K * width
    if a.rows <= 4 and N % width == 0 and not a.transposed:  # too few rows to be worth packing
        packed, line, apart = W, N, width
    elif a.transposed:
        pack_transposed(W, K, K, N, packed, K, part, parts)
    else:
        pack(W, N, K, N, packed, part, parts)
    barrier(sync, 0, parts)
    low, high = begin(a.rows, part, parts), begin(a.rows, part + 1, parts)
    start = numbers(a.b, like)
    if a.b == 0:
        start = at(numbers(a.work, like), packed_size(x, K, N) + part * a.share)
        clear_row(start, N)
    product(at(x, low * K), K, packed, line, apart, K, N, start, 0, at(y, low * N), N, high - low, 0)


@kernel("linear-backward", calls=[pack, pack_transposed, product, add_transposed_product])
def backward(like, arguments, part, parts, sync):
    """dx = dy Wᵀ;  dW += xᵀ dy;  db += Σ dy."""
    a = read(arguments)
    x, W, dy, packed = numbers(a.x, like), numbers(a.W, like), numbers(a.y, like), numbers(a.work, like)
    dx, dW, db = numbers(a.dx, like), numbers(a.dW, like), numbers(a.db, like)
    K, N, width = a.K, a.N, panel_width(x)
    own = at(packed, packed_size(x, N, K) + part * a.share)
    if a.transposed:
        pack(W, K, N, K, packed, part, parts)
    else:
        pack_transposed(W, N, N, K, packed, N, part, parts)
    barrier(sync, 0, parts)
    low, high = begin(a.rows, part, parts), begin(a.rows, part + 1, parts)
    clear_row(own, K)
    product(at(dy, low * N), N, packed, width, N * width, N, K, own, 0, at(dx, low * K), K, high - low, 0)
    if a.transposed:
        add_share(dy, N, x, K, a.rows, dW, own, part, parts)
    else:
        add_share(x, K, dy, N, a.rows, dW, own, part, parts)
    if a.db:
        low, high = columns_of(x, N, part, parts)
        for r in range(a.rows):
            add_row(at(dy, r * N + low), at(db, low), high - low)


@inline
def add_share(a, m, b, n, k, c, work, part, parts):
    """c (m, n) += aᵀ b, this thread's columns; its rows, where there are fewer panels of columns than threads."""
    if n > (parts - 1) * panel_width(a):
        low, high = columns_of(a, n, part, parts)
        add_transposed_product(a, m, m, b, n, low, high, k, c, n, work)
    else:
        low, high = begin(m, part, parts), begin(m, part + 1, parts)
        add_transposed_product(at(a, low), m, high - low, b, n, 0, n, k, at(c, low * n), n, work)

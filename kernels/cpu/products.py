"""The twin of ``minirnn.Linear``: y = x W + b and its transpose, on the tiles of the recurrent layers."""

from typing import NamedTuple

from minirnn.kernels.cpu.bfloat16 import BF16, bits_at, recast
from minirnn.kernels.cpu.compiling import inline, kernel
from minirnn.kernels.cpu.copies import product_of_copy, product_rounding
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


def make_linear(*, bf16):
    """The kernels of y = x W + b and of its transpose; a ``bf16`` pair multiplies numbers rounded to bfloat16."""
    panels_at, ending = bits_at if bf16 else numbers, BF16 * bf16

    @kernel(f"linear-forward{ending}", calls=[pack, pack_transposed, product, product_of_copy], bf16=bf16)
    def forward(like, arguments, part, parts, sync):
        """y = x W + b."""
        a = read(arguments)
        x, W, y, packed = numbers(a.x, like), numbers(a.W, like), numbers(a.y, like), panels_at(a.work, like)
        K, N, width = a.K, a.N, panel_width(x)
        line, apart, own = width, K * width, at(recast(at(packed, packed_size(x, K, N)), x), part * a.share)
        if not bf16 and a.rows <= 4 and N % width == 0 and not a.transposed:  # too few rows to be worth packing
            packed, line, apart = recast(W, packed), N, width
        elif a.transposed:
            pack_transposed(W, K, K, N, packed, K, part, parts)
        else:
            pack(W, N, K, N, packed, part, parts)
        barrier(sync, 0, parts)
        low, high = begin(a.rows, part, parts), begin(a.rows, part + 1, parts)
        start = numbers(a.b, like)
        if a.b == 0:
            start = own
            clear_row(start, N)
        source, target, rows = at(x, low * K), at(y, low * N), high - low
        product_rounding(source, K, packed, line, apart, K, N, start, 0, target, N, rows, at(own, N), 0)

    calls = [pack, pack_transposed, product, product_of_copy, add_transposed_product]

    @kernel(f"linear-backward{ending}", calls=calls, bf16=bf16)
    def backward(like, arguments, part, parts, sync):
        """dx = dy Wᵀ;  dW += xᵀ dy;  db += Σ dy."""
        a = read(arguments)
        x, W, dy, packed = numbers(a.x, like), numbers(a.W, like), numbers(a.y, like), panels_at(a.work, like)
        dx, dW, db = numbers(a.dx, like), numbers(a.dW, like), numbers(a.db, like)
        K, N, width = a.K, a.N, panel_width(x)
        own = at(recast(at(packed, packed_size(x, N, K)), x), part * a.share)
        if a.transposed:
            pack(W, K, N, K, packed, part, parts)
        else:
            pack_transposed(W, N, N, K, packed, N, part, parts)
        barrier(sync, 0, parts)
        low, high = begin(a.rows, part, parts), begin(a.rows, part + 1, parts)
        clear_row(own, K)
        source, target, rows, apart = at(dy, low * N), at(dx, low * K), high - low, N * width
        product_rounding(source, N, packed, width, apart, N, K, own, 0, target, K, rows, at(own, K), 0)
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


forward, backward = make_linear(bf16=False)
bf16_forward, bf16_backward = make_linear(bf16=True)

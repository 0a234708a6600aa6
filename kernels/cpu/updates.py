"""The twins of what optimisers do to the flat vectors: one pass over each, in fixed blocks.

A step's kernel leaves zeros in the gradients it has used.
"""

from math import sqrt
from typing import NamedTuple

from minirnn.kernels.cpu.compiling import inline, kernel
from minirnn.kernels.cpu.memory import at, get, integers, lanes, load, numbers, put, reader, real, store, zero
from minirnn.kernels.cpu.rows import add_row, begin
from minirnn.kernels.cpu.team import barrier
from minirnn.kernels.cpu.vectors import square_root, total

BLOCK = 4096  # entries whose squares are added up in the vectors' own dtype; blocks are added in float64
LEAST, MOST = 1e-20, 1e30  # sums of squares between which no square can have left the range of its dtype


class Squares(NamedTuple):
    """Sizes and addresses, as in what follows."""

    n: int
    g: int  # (n)
    sums: int  # (blocks + 1) float64 to fill: of each block, then of all


class Clipped(NamedTuple):
    """As above; real numbers are the bits of a float64."""

    n: int
    w: int  # (n)
    g: int
    sums: int
    rate: int
    clip: int


class Update(NamedTuple):
    """Real numbers are the bits of a float64; v and what follows are Adam's."""

    n: int
    w: int  # (n), as g, m and v
    g: int
    rate: int
    m: int = 0
    v: int = 0
    scale: int = 0
    decay: int = 0
    shrink: int = 0
    beta1: int = 0
    beta2: int = 0
    correction: int = 0
    eps: int = 0


class AddedRows(NamedTuple):
    """Rows to add, and where."""

    count: int
    N: int
    out: int  # (V, N)
    index: int  # (count) int64
    rows: int  # (count, N)


read_squares, read_clipped, read_update, read_rows = map(reader, (Squares, Clipped, Update, AddedRows))


@inline
def sum_of_squares(g, n, sums, part, parts, sync):
    """Σ g², in float64, from the sums of blocks, which are left in ``sums``; every thread gets the same bits."""
    blocks = (n + BLOCK - 1) // BLOCK
    for k in range(begin(blocks, part, parts), begin(blocks, part + 1, parts)):
        block, size = at(g, k * BLOCK), min(BLOCK, n - k * BLOCK)
        whole = size // lanes(block) * lanes(block)
        summed = load(block, 0, 0)  # no lanes: zeros
        for j in range(0, whole, lanes(block)):
            x = load(block, j, None)
            summed = summed + x * x
        if whole < size:
            x = load(block, whole, size - whole)
            summed = summed + x * x
        put(total(summed), sums, k)
    barrier(sync, 0, parts)
    squared = 0.0
    for k in range(blocks):
        squared += get(sums, k)
    return squared


@kernel("squares")
def squares(like, arguments, part, parts, sync):
    """The sums of squares of every block of ``g``, and of all blocks, to ``sums``."""
    a = read_squares(arguments)
    sums = numbers(a.sums, 1.0)
    squared = sum_of_squares(numbers(a.g, like), a.n, sums, part, parts, sync)
    if part == 0:
        put(squared, sums, (a.n + BLOCK - 1) // BLOCK)


@kernel("clipped-descend")
def clipped_descend(like, arguments, part, parts, sync):
    """w -= rate · scale · g;  g = 0, where ``scale`` limits g's norm to ``clip`` (0: to nothing).

    The sums of squares are left in ``sums`` as by ``squares``; where their total is out of range, nothing else is done.
    """
    a = read_clipped(arguments)
    w, g, sums, n = numbers(a.w, like), numbers(a.g, like), numbers(a.sums, 1.0), a.n
    squared = sum_of_squares(g, n, sums, part, parts, sync)
    if part == 0:
        put(squared, sums, (n + BLOCK - 1) // BLOCK)
    if LEAST < squared < MOST:
        norm, clip, rate = sqrt(squared), real(a.clip, 1.0), real(a.rate, 1.0)
        if 0 < clip < norm:
            rate = rate * (clip / norm)
        width, zeros = lanes(w), load(g, 0, 0)
        low, high = begin(n // width, part, parts) * width, begin(n // width, part + 1, parts) * width
        for j in range(low, high, width):
            store(load(w, j, None) - rate * load(g, j, None), w, j, None)
            store(zeros, g, j, None)
        left = n % width
        if left and part == parts - 1:
            j = n - left
            store(load(w, j, left) - rate * load(g, j, left), w, j, left)
            store(zeros, g, j, left)


@kernel("descend")
def descend(like, arguments, part, parts, sync):
    """w -= rate · g;  g = 0."""
    a = read_update(arguments)
    w, g, n, rate = numbers(a.w, like), numbers(a.g, like), a.n, real(a.rate, like)
    width, zeros = lanes(w), load(g, 0, 0)
    low, high = begin(n // width, part, parts) * width, begin(n // width, part + 1, parts) * width
    for j in range(low, high, width):
        store(load(w, j, None) - rate * load(g, j, None), w, j, None)
        store(zeros, g, j, None)
    for j in range(n // width * width, n if part == parts - 1 else 0):
        put(get(w, j) - rate * get(g, j), w, j)
        put(zero(g), g, j)


@kernel("add-rows")
def add_rows(like, arguments, part, parts, sync):
    """out[index[k]] += rows[k] for k = 0, 1 ... count - 1; a thread takes columns."""
    a = read_rows(arguments)
    low, high = begin(a.N, part, parts), begin(a.N, part + 1, parts)
    for k in range(a.count):
        target = get(integers(a.index), k) * a.N + low
        add_row(at(numbers(a.rows, like), k * a.N + low), at(numbers(a.out, like), target), high - low)


@kernel("adam")
def adam(like, arguments, part, parts, sync):
    """Adam's step, and g = 0; gradients scaled by ``scale``: see ``minirnn.optim.optimisers.Adam``.

    ``decay`` times w is added to the gradient, w is multiplied by ``shrink``;
    ``rate`` is lr / (1 - β1ᵗ), ``correction`` 1 / (1 - β2ᵗ).
    """
    a = read_update(arguments)
    w, g, m, v, n = numbers(a.w, like), numbers(a.g, like), numbers(a.m, like), numbers(a.v, like), a.n
    scale, decay, shrink, rate = real(a.scale, like), real(a.decay, like), real(a.shrink, like), real(a.rate, like)
    beta1, beta2, eps = real(a.beta1, like), real(a.beta2, like), real(a.eps, like)
    correction, width, zeros = real(a.correction, like), lanes(w), load(g, 0, 0)
    low, high = begin(n // width, part, parts) * width, begin(n // width, part + 1, parts) * width
    for j in range(low, high, width):
        gradient = load(g, j, None) * scale + load(w, j, None) * decay
        first = load(m, j, None) * beta1 + (1.0 - beta1) * gradient
        second = load(v, j, None) * beta2 + (1.0 - beta2) * gradient * gradient
        store(first, m, j, None)
        store(second, v, j, None)
        store(zeros, g, j, None)
        store(load(w, j, None) * shrink - rate * first / (square_root(second * correction) + eps), w, j, None)
    for j in range(n // width * width, n if part == parts - 1 else 0):
        gradient = get(g, j) * scale + get(w, j) * decay
        first = get(m, j) * beta1 + (1.0 - beta1) * gradient
        second = get(v, j) * beta2 + (1.0 - beta2) * gradient * gradient
        put(first, m, j)
        put(second, v, j)
        put(zero(g), g, j)
        put(get(w, j) * shrink - rate * first / (sqrt(second * correction) + eps), w, j)

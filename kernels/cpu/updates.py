"""The twins of what optimisers do to the flat vectors: one pass over each, in fixed blocks."""

from math import sqrt

from minirnn.kernels.cpu.compiling import kernel
from minirnn.kernels.cpu.rows import add_row, begin
from minirnn.kernels.cpu.vectors import at, get, integers, lanes, load, numbers, put, square_root, store, total

BLOCK = 4096  # entries whose squares are added up in the vectors' own dtype; blocks are added in float64


@kernel("squares")
def squares(like, n, g, sums, part, parts):
    """The sum of squares of every block of ``g`` (n), to ``sums``, float64."""
    blocks = (n + BLOCK - 1) // BLOCK
    for k in range(begin(blocks, part, parts), begin(blocks, part + 1, parts)):
        block, size = at(numbers(g, like), k * BLOCK), min(BLOCK, n - k * BLOCK)
        whole = size // lanes(block) * lanes(block)
        summed = load(block, 0, 0)  # no lanes: zeros
        for j in range(0, whole, lanes(block)):
            a = load(block, j, None)
            summed = summed + a * a
        if whole < size:
            a = load(block, whole, size - whole)
            summed = summed + a * a
        sums[k] = total(summed)


@kernel("descend")
def descend(like, n, w, g, rate, part, parts):
    """w -= rate · g."""
    w_, g_ = numbers(w, like), numbers(g, like)
    width = lanes(w_)
    low, high = begin(n // width, part, parts) * width, begin(n // width, part + 1, parts) * width
    for j in range(low, high, width):
        store(load(w_, j, None) - rate * load(g_, j, None), w_, j, None)
    for j in range(n // width * width, n if part == parts - 1 else 0):
        put(get(w_, j) - rate * get(g_, j), w_, j)


@kernel("add-rows")
def add_rows(like, count, N, out, index, rows, part, parts):
    """out[index[k]] += rows[k] for k = 0, 1 ... count - 1; a thread takes columns."""
    low, high = begin(N, part, parts), begin(N, part + 1, parts)
    for k in range(count):
        target = get(integers(index), k) * N + low
        add_row(at(numbers(rows, like), k * N + low), at(numbers(out, like), target), high - low)


@kernel("adam")
def adam(like, n, w, g, m, v, scale, decay, shrink, beta1, beta2, rate, correction, eps, part, parts):
    """Adam's step, gradients scaled by ``scale``: see ``minirnn.optim.Adam``.

    ``decay`` times w is added to the gradient, w is multiplied by ``shrink``;
    ``rate`` is lr / (1 - β1ᵗ), ``correction`` 1 / (1 - β2ᵗ).
    """
    w_, g_, m_, v_ = numbers(w, like), numbers(g, like), numbers(m, like), numbers(v, like)
    width = lanes(w_)
    low, high = begin(n // width, part, parts) * width, begin(n // width, part + 1, parts) * width
    for j in range(low, high, width):
        gradient = load(g_, j, None) * scale + load(w_, j, None) * decay
        first = load(m_, j, None) * beta1 + (1.0 - beta1) * gradient
        second = load(v_, j, None) * beta2 + (1.0 - beta2) * gradient * gradient
        store(first, m_, j, None)
        store(second, v_, j, None)
        store(load(w_, j, None) * shrink - rate * first / (square_root(second * correction) + eps), w_, j, None)
    for j in range(n // width * width, n if part == parts - 1 else 0):
        gradient = get(g_, j) * scale + get(w_, j) * decay
        first = get(m_, j) * beta1 + (1.0 - beta1) * gradient
        second = get(v_, j) * beta2 + (1.0 - beta2) * gradient * gradient
        put(first, m_, j)
        put(second, v_, j)
        put(get(w_, j) * shrink - rate * first / (sqrt(second * correction) + eps), w_, j)

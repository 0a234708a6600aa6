"""What the rest of minirnn calls: kernels on arrays, addresses and sizes, and how many threads each gets."""

from math import prod

import numpy as np

from minirnn.kernels.cpu import losses, products, updates
from minirnn.kernels.cpu.leases import LEASES
from minirnn.kernels.cpu.passes import Pass
from minirnn.kernels.cpu.scans import BACKWARD, CELLS, FORWARD, SHORT
from minirnn.kernels.cpu.threads import POOL
from minirnn.kernels.cpu.tiles import BLOCK, HIGH
from minirnn.kernels.cpu.vectors import VECTOR_BYTES

ALONE = 2e7  # floating-point operations below which waking another thread costs more than it brings

SYNC = Pass._fields.index("sync")
LIKE = {np.dtype("f4"): np.float32(0), np.dtype("f8"): np.float64(0)}


def address(a):
    """Where an array's first entry lies in memory."""
    return a.__array_interface__["data"][0]


def panel_width(dtype):
    """Columns of a panel of packed weights."""
    return 2 * VECTOR_BYTES // dtype.itemsize


def packed(k, n, dtype):
    """Entries of a packed (k, n) matrix."""
    width = panel_width(dtype)
    return -(-n // width) * width * k


def share(size, dtype):
    """Entries that each thread needs for itself in a pass backward through weights of ``size`` rows."""
    return BLOCK * (size + HIGH + panel_width(dtype)) + size


def threads(work):
    """Threads for so many floating-point operations."""
    return POOL.size if work > ALONE else 1


def together(task, told, work):
    """Run a task of so many operations on as many threads as it is worth, with a counter for their barrier."""
    count = threads(work)
    if count == 1:
        task(0, 1)
        return
    counter = np.zeros(1, np.int64)
    told[SYNC] = address(counter)
    POOL.run(task, count)


def has(cell):
    """Whether there are kernels for a cell of this name."""
    return cell in CELLS


def forward(cell, dtype, a, work):
    """One pass forward, on a ``Pass``; ``work`` is its number of floating-point operations."""
    kernel, like, told = FORWARD[cell], LIKE[dtype], np.array(a)
    together(lambda part, parts: kernel(like, told, part, parts), told, work)


def short(cell):
    """The kernel behind a short call; see ``scans.make_short``."""
    return SHORT[cell]


def backward(cell, dtype, a, d, work):
    """One pass backward, on a ``Pass`` and a ``Back``."""
    kernel, like, told, more = BACKWARD[cell], LIKE[dtype], np.array(a), np.array(d)
    together(lambda part, parts: kernel(like, told, more, part, parts), told, work)


def _product(x, W, b, y, dx, dW, db, backward):
    """Run one of the kernels of ``products`` on 2D x and y; W and dW may be the transpose of C-contiguous arrays."""
    K, N, dtype = *W.shape, x.dtype
    turned = not W.flags.c_contiguous
    size = share(max(K, N), dtype)
    count = threads(2 * len(x) * K * N)
    room = (packed(N, K, dtype) if backward else packed(K, N, dtype)) + count * size
    work, sync = LEASES.empty((room,), dtype), np.zeros(1, np.int64)
    a = products.Product(
        rows=len(x),
        K=K,
        N=N,
        turned=int(turned),
        x=address(x),
        W=address(W),
        b=0 if b is None else address(b),
        y=address(y),
        dx=0 if dx is None else address(dx),
        dW=0 if dW is None else address(dW),
        db=0 if db is None else address(db),
        work=address(work),
        share=size,
        sync=address(sync),
    )
    kernel, like = products.backward if backward else products.forward, LIKE[dtype]
    POOL.run(lambda part, parts: kernel(like, a, part, parts), count)


def linear(x, W, b):
    """x W + b over the last axis."""
    rows = np.ascontiguousarray(x.reshape(-1, x.shape[-1]))
    y = LEASES.empty((*x.shape[:-1], W.shape[1]), x.dtype)
    _product(rows, W, b, y, None, None, None, backward=False)
    return y


def linear_backward(x, W, dy, dW, db):
    """dy Wᵀ; adds xᵀ dy and the sum of dy to dW and db."""
    rows, drows = (np.ascontiguousarray(a.reshape(-1, a.shape[-1])) for a in (x, dy))
    dx = LEASES.empty(x.shape, x.dtype)
    _product(rows, W, None, drows, dx, dW, db, backward=True)
    return dx


def cross_entropy(logits, targets, scale):
    """(losses, dlogits) of each row of logits (rows, V); dlogits are multiplied by ``scale``."""
    rows, V = logits.shape
    dlogits, each = LEASES.empty((rows, V), logits.dtype), np.empty(rows, logits.dtype)
    a = losses.Rows(
        rows=rows, V=V, logits=address(logits), targets=address(targets), losses=address(each), dlogits=address(dlogits)
    )
    like, by = LIKE[logits.dtype], logits.dtype.type(scale)
    POOL.run(lambda part, parts: losses.cross_entropy(like, a, by, part, parts), threads(50 * prod(logits.shape)))
    return each, dlogits


def norm(g):
    """√Σ g² of a contiguous vector, or None where the squares leave the range of its dtype."""
    sums = np.empty(-(-g.size // updates.BLOCK))
    like, n, at = LIKE[g.dtype], g.size, address(g)
    POOL.run(lambda part, parts: updates.squares(like, n, at, sums, part, parts), threads(10 * n))
    found = float(np.sum(sums)) ** 0.5
    return found if 1e-10 < found < 1e15 else None


def descend(w, g, rate):
    """w -= rate · g."""
    like, n, places, by = LIKE[w.dtype], w.size, (address(w), address(g)), w.dtype.type(rate)
    POOL.run(lambda part, parts: updates.descend(like, n, *places, by, part, parts), threads(10 * n))


def add_rows(out, index, rows):
    """out[index[k]] += rows[k] for every k, in that order."""
    index, rows = np.ascontiguousarray(index, np.int64), np.ascontiguousarray(rows)
    like, places = LIKE[out.dtype], (address(out), address(index), address(rows))
    POOL.run(lambda part, parts: updates.add_rows(like, *rows.shape, *places, part, parts), threads(10 * rows.size))


def adam(w, g, m, v, *numbers):
    """Adam's step: see ``updates.adam`` for the numbers."""
    like, n, places = LIKE[w.dtype], w.size, tuple(address(a) for a in (w, g, m, v))
    values = tuple(w.dtype.type(number) for number in numbers)
    POOL.run(lambda part, parts: updates.adam(like, n, *places, *values, part, parts), threads(20 * n))

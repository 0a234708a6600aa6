"""What the rest of minirnn calls: kernels on arrays, addresses and sizes, and how many threads each gets."""

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from minirnn.kernels.cpu import losses, products, updates
from minirnn.kernels.cpu.compiling import cache_folder
from minirnn.kernels.cpu.leases import LEASES
from minirnn.kernels.cpu.passes import Back, Pass
from minirnn.kernels.cpu.scans import BACKWARD, COPIED, FORWARD, PAGE, SHORT
from minirnn.kernels.cpu.threads import POOL
from minirnn.kernels.cpu.tiles import BLOCK, HIGH
from minirnn.kernels.cpu.vectors import REGISTERS, VECTOR_BYTES

Array: TypeAlias = NDArray[Any]
Dtype: TypeAlias = np.dtype[Any]

BETWEEN = 1 / 60  # of ALONE: work of a step below which threads had better not meet after it
ALONE = 3e7  # floating-point operations below which waking another thread costs more than it brings

STOPPED = -(1 << 62)  # a counter that no arrivals bring back above 0
SYNC = Pass._fields.index("sync")
LIKE = {np.dtype("f4"): np.float32(0), np.dtype("f8"): np.float64(0)}


def describe() -> dict[str, Any]:
    """What kernels are compiled for, and where they are kept."""
    return {
        "vectors": f"{8 * VECTOR_BYTES} bits, {REGISTERS} of them",
        "kernel threads": POOL.size,
        "kernels in": str(cache_folder()),
    }


def address(a: Array) -> int:
    """Where an array's first entry lies in memory."""
    place: int = a.__array_interface__["data"][0]
    return place


def panel_width(dtype: Dtype) -> int:
    """Columns of a panel of packed weights."""
    return 2 * VECTOR_BYTES // dtype.itemsize


def packed(k: int, n: int, dtype: Dtype) -> int:
    """Entries of a packed (k, n) matrix."""
    width = panel_width(dtype)
    return -(-n // width) * width * k


def share(size: int, dtype: Dtype) -> int:
    """Entries that each thread needs for itself in a pass backward through weights of ``size`` rows."""
    return BLOCK * (size + HIGH + panel_width(dtype)) + size


def spare(size: int, row: int, dtype: Dtype) -> int:
    """Entries that each thread needs for copies of rows of ``size`` entries, ``row`` entries apart; 0 where none."""
    return COPIED * (size + panel_width(dtype)) if row * dtype.itemsize % PAGE == 0 else 0


def padded(row: int, dtype: Dtype) -> int:
    """``row`` entries, or some more, from one row to the next, so that rows do not share their places in a cache."""
    return row + panel_width(dtype) if row * dtype.itemsize % PAGE == 0 else row


def threads(work: float) -> int:
    """Threads for so many floating-point operations."""
    return POOL.size if work > ALONE else 1


def threads_over_time(work: float, rows: int, step: float) -> int:
    """The same for a pass over time, of which each step is ``step`` operations on so many rows.

    With fewer rows than threads these meet after every step, which takes some microseconds.
    """
    count = threads(work)
    return 1 if rows < count and step < ALONE * BETWEEN else count


def together(task: Callable[[int, int], None], count: int, told: Array | None = None) -> None:
    """Run a task on ``count`` threads; ``told`` gets the address of the counter for their barrier."""
    if count == 1:
        task(0, 1)
        return
    counter = np.zeros(1, np.int64)
    if told is not None:
        told[SYNC] = address(counter)
    POOL.run(task, count, partial(counter.fill, STOPPED))


def forward(cell: str, dtype: Dtype, a: Pass, count: int) -> None:
    """One pass forward by ``count`` threads, which ``a.work`` has room for."""
    kernel, like, told = FORWARD[cell], LIKE[dtype], np.array(a)
    together(lambda part, parts: kernel(like, told, part, parts), count, told)


def short(cell: str) -> Any:
    """The kernel behind a short call; see ``scans.make_short``."""
    return SHORT[cell]


def alone(work: float, rows: int, step: float) -> bool:
    """Whether a pass over time is done by one thread."""
    return threads_over_time(work, rows, step) == 1


def backward(cell: str, dtype: Dtype, a: Pass, d: Back, count: int) -> None:
    """One pass backward by ``count`` threads, which ``d.work`` has room for."""
    kernel, like, told, more = BACKWARD[cell], LIKE[dtype], np.array(a), np.array(d)
    together(lambda part, parts: kernel(like, told, more, part, parts), count, told)


def _product(
    x: Array,
    W: Array,
    y: Array,
    *,
    b: Array | None = None,
    dx: Array | None = None,
    dW: Array | None = None,
    db: Array | None = None,
) -> None:
    """Run one of the kernels of ``products`` on 2D x and y; W and dW may be the transpose of C-contiguous arrays."""
    K, N, dtype = *W.shape, x.dtype
    turned, backward = not W.flags.c_contiguous, dx is not None
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
    POOL.run(lambda part, parts: kernel(like, a, part, parts), count, partial(sync.fill, STOPPED))


def linear(x: Array, W: Array, b: Array | None) -> Array:
    """x W + b over the last axis."""
    rows = np.ascontiguousarray(x.reshape(-1, x.shape[-1]))
    y: Array = LEASES.empty((*x.shape[:-1], W.shape[1]), x.dtype)
    _product(rows, W, y, b=b)
    return y


def linear_backward(x: Array, W: Array, dy: Array, dW: Array, db: Array | None) -> Array:
    """dy Wᵀ; adds xᵀ dy and the sum of dy to dW and db."""
    rows, drows = (np.ascontiguousarray(a.reshape(-1, a.shape[-1])) for a in (x, dy))
    dx: Array = LEASES.empty(x.shape, x.dtype)
    _product(rows, W, drows, dx=dx, dW=dW, db=db)
    return dx


def cross_entropy(logits: Array, targets: Array, scale: float) -> tuple[Array, Array]:
    """(losses, dlogits) of each row of logits (rows, V); dlogits are multiplied by ``scale``."""
    rows, V = logits.shape
    dlogits, each = LEASES.empty((rows, V), logits.dtype), np.empty(rows, logits.dtype)
    a = losses.Rows(
        rows=rows, V=V, logits=address(logits), targets=address(targets), losses=address(each), dlogits=address(dlogits)
    )
    like, by = LIKE[logits.dtype], logits.dtype.type(scale)
    POOL.run(lambda part, parts: losses.cross_entropy(like, a, by, part, parts), threads(50 * prod(logits.shape)))
    return each, dlogits


def norm(g: Array) -> float | None:
    """√Σ g² of a contiguous vector, or None where the squares leave the range of its dtype."""
    sums = np.empty(-(-g.size // updates.BLOCK))
    like, n, at = LIKE[g.dtype], g.size, address(g)
    POOL.run(lambda part, parts: updates.squares(like, n, at, sums, part, parts), threads(10 * n))
    found = float(np.sum(sums)) ** 0.5
    return found if 1e-10 < found < 1e15 else None


def descend(w: Array, g: Array, rate: float) -> None:
    """w -= rate · g."""
    like, n, places, by = LIKE[w.dtype], w.size, (address(w), address(g)), w.dtype.type(rate)
    POOL.run(lambda part, parts: updates.descend(like, n, *places, by, part, parts), threads(10 * n))


def add_rows(out: Array, index: Array, rows: Array) -> None:
    """out[index[k]] += rows[k] for every k, in that order."""
    index, rows = np.ascontiguousarray(index, np.int64), np.ascontiguousarray(rows)
    like, places = LIKE[out.dtype], (address(out), address(index), address(rows))
    POOL.run(lambda part, parts: updates.add_rows(like, *rows.shape, *places, part, parts), threads(10 * rows.size))


def adam(w: Array, g: Array, m: Array, v: Array, *numbers: float) -> None:
    """Adam's step: see ``updates.adam`` for the numbers."""
    like, n, places = LIKE[w.dtype], w.size, tuple(address(a) for a in (w, g, m, v))
    values = tuple(w.dtype.type(number) for number in numbers)
    POOL.run(lambda part, parts: updates.adam(like, n, *places, *values, part, parts), threads(20 * n))

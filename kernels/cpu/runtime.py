"""The kernels as the rest of minirnn calls them: on arrays, and the sizes of the memory that they work in."""

import struct
from array import array
from typing import Any

import numpy as np

from minirnn.kernels.cpu import losses, noise, products, updates
from minirnn.kernels.cpu.backward import BACKWARD
from minirnn.kernels.cpu.bfloat16 import HAS_BFLOAT16
from minirnn.kernels.cpu.cache import cache_folder
from minirnn.kernels.cpu.copies import PAGE
from minirnn.kernels.cpu.copies import spare as spare
from minirnn.kernels.cpu.dispatch import TOGETHER as TOGETHER
from minirnn.kernels.cpu.dispatch import leave as leave
from minirnn.kernels.cpu.dispatch import run, threads
from minirnn.kernels.cpu.dispatch import take as take
from minirnn.kernels.cpu.dispatch import threads_over_time as threads_over_time
from minirnn.kernels.cpu.entries import DEPTHS as DEPTHS
from minirnn.kernels.cpu.forward import FORWARD as FORWARD
from minirnn.kernels.cpu.forward import short as short
from minirnn.kernels.cpu.leases import LEASES
from minirnn.kernels.cpu.multiplying import HAS_QUADS
from minirnn.kernels.cpu.passes import Array, BackwardArguments, Dtype, PassArguments, address
from minirnn.kernels.cpu.stages import cell_of as cell_of
from minirnn.kernels.cpu.stages import make_rows_back
from minirnn.kernels.cpu.threads import get_num_threads
from minirnn.kernels.cpu.tiles import BLOCK, HIGH
from minirnn.kernels.cpu.vectors import REGISTERS, VECTOR_BYTES
from minirnn.kernels.facts import CellFacts

# where a pass's arguments, the backward pass's behind the forward pass's, say of which cell it is
CELL = PassArguments._fields.index("cell")
BACK_CELL = len(PassArguments._fields) + BackwardArguments._fields.index("cell")
_INTEGER, _REAL = struct.Struct("q"), struct.Struct("d")


def describe() -> dict[str, Any]:
    """The target that kernels are compiled for, and where they are stored."""
    return {
        "vectors": f"{8 * VECTOR_BYTES} bits, {REGISTERS} of them",
        "kernel threads": get_num_threads(),
        "bfloat16 products": "two at a time (vdpbf16ps)" if HAS_BFLOAT16 else "widened to float32 in registers",
        "int8 products": "four at a time (vpdpbusd)" if HAS_QUADS else "widened to int16 in registers",
        "kernels in": str(cache_folder()),
    }


def bits(number: float) -> int:
    """A float64 as an int64 of the same bits."""
    integer: int = _INTEGER.unpack(_REAL.pack(number))[0]
    return integer


def panel_width(dtype: Dtype) -> int:
    """Columns of a panel of packed weights."""
    return 2 * VECTOR_BYTES // dtype.itemsize


def packed(k: int, n: int, dtype: Dtype, kind: str = "full") -> int:
    """Entries of a packed (k, n) matrix, each as large as a number of the dtype."""
    width = panel_width(dtype)
    return -(-n // width) * width * -(-k // DEPTHS[kind])


def share(rows: int, dtype: Dtype, *, columns: int = 0, kind: str = "full") -> int:
    """Entries that each thread needs for itself in a backward pass through weights of so many rows and columns."""
    width = panel_width(dtype)
    panels = -(-rows // HIGH) * (HIGH * BLOCK + width) + BLOCK * width  # see ``tiles.add_transposed_product``
    # a row of zeros, and copies of gradients in narrow entries
    return panels if kind == "full" else max(panels, rows + spare(max(rows, columns), 0, dtype))


def padded(row: int, dtype: Dtype) -> int:
    """``row`` entries, or some more, from one row to the next, so that rows do not share their places in a cache."""
    return row + panel_width(dtype) if row * dtype.itemsize % PAGE == 0 else row


def forward(
    facts: CellFacts,
    dtype: Dtype,
    arguments: "array[int]",
    most: int,
    work: float,
    kind: str = "full",
    *,
    stored: bool = False,
) -> None:
    """A forward pass of ``work`` operations, with ``PassArguments``, by ``most`` threads that fit in its memory.

    ``kind`` is that of the entries that are multiplied (``entries.py``); weights may be ``stored`` in them.
    """
    arguments[CELL] = cell_of(facts, dtype)
    run(FORWARD[kind, stored], dtype, arguments, work, most)


def backward(
    facts: CellFacts, dtype: Dtype, arguments: "array[int]", most: int, work: float, kind: str = "full"
) -> None:
    """A backward pass of ``work`` operations, with ``PassArguments`` and ``BackwardArguments``, by ``most`` threads."""
    arguments[BACK_CELL] = cell_of(facts, dtype, make_rows_back)
    run(BACKWARD[kind], dtype, arguments, work, most)


def masked(shape: tuple[int, int, int], key: int, first_step: int, first_row: int, limit: int) -> Array:
    """Where a hash is at least ``limit``: see ``noise.mask``."""
    out: Array = np.empty(shape, bool)
    noise.mask(out, np.uint64(key), first_step, first_row, np.uint64(limit))
    return out


def _product(
    x: Array,
    W: Array,
    y: Array,
    *,
    b: Array | None = None,
    dx: Array | None = None,
    dW: Array | None = None,
    db: Array | None = None,
    kind: str,
) -> None:
    """Run one of the kernels of ``products`` on 2D x and y; W and dW may be the transpose of C-contiguous arrays."""
    K, N, dtype, backward = *W.shape, x.dtype, dx is not None
    size, work = share(max(K, N), dtype, kind=kind), 2.0 * (1 + backward) * len(x) * K * N
    count, (rows, columns) = threads(work), (N, K) if backward else (K, N)
    space = LEASES.room(packed(rows, columns, dtype, kind) + count * size, dtype)
    a = products.Product(
        rows=len(x),
        K=K,
        N=N,
        transposed=int(not W.flags.c_contiguous),
        x=address(x),
        W=address(W),
        b=0 if b is None else address(b),
        y=address(y),
        dx=0 if dx is None else address(dx),
        dW=0 if dW is None else address(dW),
        db=0 if db is None else address(db),
        work=space.start,
        share=size,
    )
    kernels = products.BACKWARD if backward else products.FORWARD
    run(kernels[kind], dtype, a, work, count)


def linear(x: Array, W: Array, b: Array | None, kind: str = "full") -> Array:
    """x W + b over the last axis, multiplied in entries of a kind."""
    rows = np.ascontiguousarray(x.reshape(-1, x.shape[-1]))
    y: Array = LEASES.empty((*x.shape[:-1], W.shape[1]), x.dtype)
    _product(rows, W, y, b=b, kind=kind)
    return y


def linear_backward(x: Array, W: Array, dy: Array, dW: Array, db: Array | None, kind: str = "full") -> Array:
    """dy Wᵀ; adds xᵀ dy and the sum of dy to dW and db."""
    rows, drows = (np.ascontiguousarray(a.reshape(-1, a.shape[-1])) for a in (x, dy))
    dx: Array = LEASES.empty(x.shape, x.dtype)
    _product(rows, W, drows, dx=dx, dW=dW, db=db, kind=kind)
    return dx


def blocked_product(a: Array, matrix: Any, first: int, last: int) -> Array:
    """a @ matrix, a ``BlockedMatrix``: its blocks, which are panels, from ``first`` to ``last``."""
    a = np.ascontiguousarray(a, matrix.dtype)
    (rows, K), dtype = a.shape, a.dtype
    N = (last - first) * panel_width(dtype)
    work, size = 2.0 * a.size * N, spare(K, 0, dtype)
    y: Array = LEASES.empty((rows, N), dtype)
    zeros, count = np.zeros(N, dtype), threads(work)
    own = LEASES.room(count * size, dtype)
    arguments = products.StoredProduct(
        rows=rows,
        K=K,
        panels=last - first,
        x=address(a),
        W=address(matrix.blocks) + first * matrix.blocks.strides[0],
        zeros=address(zeros),
        y=address(y),
        own=own.start,
        share=size,
    )
    run(products.STORED[matrix.kind], dtype, arguments, work, count)
    return y


def stream_kernels() -> Any:
    """The module that runs streams, which most programs do not need."""
    from minirnn.kernels.cpu import stepping

    return stepping


def cross_entropy(logits: Array, targets: Array, scale: float) -> tuple[Array, Array]:
    """(losses, dlogits) of each row of logits (rows, V); dlogits are multiplied by ``scale``."""
    (rows, V), dtype = logits.shape, logits.dtype
    dlogits, each = LEASES.empty((rows, V), dtype), np.empty(rows, dtype)
    a = losses.Rows(
        rows=rows,
        V=V,
        logits=address(logits),
        targets=address(targets),
        losses=address(each),
        dlogits=address(dlogits),
        scale=bits(scale),
    )
    run(losses.cross_entropy, dtype, a, 50 * rows * V)
    return each, dlogits


def norm(g: Array) -> float | None:
    """√Σ g² of a contiguous vector, or None where the squares leave the range of its dtype."""
    sums = np.empty(-(-g.size // updates.BLOCK) + 1)
    run(updates.squares, g.dtype, updates.Squares(g.size, address(g), address(sums)), 10 * g.size)
    return _root(float(sums[-1]))


def _root(squares: float) -> float | None:
    return squares**0.5 if updates.LEAST < squares < updates.MOST else None


def clipped_descend(w: Array, g: Array, rate: float, clip: float) -> float | None:
    """Clip and descend at once; returns the norm before, or None where it is out of range and nothing was done."""
    sums = np.empty(-(-g.size // updates.BLOCK) + 1)
    arguments = updates.Clipped(g.size, address(w), address(g), address(sums), bits(rate), bits(clip))
    run(updates.clipped_descend, g.dtype, arguments, 20 * g.size)
    return _root(float(sums[-1]))


def descend(w: Array, g: Array, rate: float, scale: float = 1.0) -> None:
    """w -= rate · scale · g;  g = 0."""
    run(updates.descend, w.dtype, updates.Update(w.size, address(w), address(g), bits(rate * scale)), 10 * w.size)


def add_rows(out: Array, index: Array, rows: Array) -> None:
    """out[index[k]] += rows[k] for every k, in that order."""
    index, rows = np.ascontiguousarray(index, np.int64), np.ascontiguousarray(rows)
    places = (address(a) for a in (out, index, rows))
    run(updates.add_rows, out.dtype, updates.AddedRows(*rows.shape, *places), 10 * rows.size)


def adam(w: Array, g: Array, m: Array, v: Array, **numbers: float) -> None:
    """Adam's step, and g = 0: see ``updates.adam`` for the numbers."""
    places = {name: address(a) for name, a in (("w", w), ("g", g), ("m", m), ("v", v))}
    values = {name: bits(number) for name, number in numbers.items()}
    run(updates.adam, w.dtype, updates.Update(n=w.size, **places, **values), 20 * w.size)

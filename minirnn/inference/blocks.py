"""Matrices in blocks of columns, in all of their bits or in fewer: what streams and quantised models multiply with.

    full   the weights as they are
    f16    float16: half the bytes; each weight is rounded once, to 11 bits
    bf16   bfloat16: half the bytes; each weight is rounded once, to 8 bits, and so is what it is multiplied with
    int8   q · scale with q from -127 to 127 and one scale a column, the largest weight of the column over 127; a row
           that it is multiplied with becomes such integers too, with one factor

A block is the panel of the kernels (``kernels/cpu/packing.py``): some columns, line after line, so that a product reads
memory straight on.  A line has one row of the matrix, of bf16 two, of int8 four; of int8 two more lines are the scales
and what sums begin with (``kernels/cpu/entries.py``).
"""

from math import prod
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

from minirnn.core import bfloat16
from minirnn.core.backend import NUMPY, Array, Backend, Dtype

COLUMNS = 32  # of a block where no kernel says how many
KINDS = ("full", "f16", "bf16", "int8")
DEPTHS = {"full": 1, "f16": 1, "bf16": 2, "int8": 4}  # rows of the matrix in a line
LARGEST, OFFSET, INT32 = 127, 128, 2**31 - 1  # of int8; what is added to one on the left; the largest sum
SMALLEST = np.float32(2.0**-100)  # a row with no larger number is one of zeros
CHUNK = 8  # blocks that are widened at once where there is no kernel


class BlockedMatrix:
    """A (K, N) matrix that stands where a weight's array would: ``a @ M``, ``M[indices]``, ``M[:, from:to]``, ``M.T``.

    ``blocks`` is (N / width, lines, width, depth), of bfloat16 as uint16.  With ``transposed`` it stands for the
    transpose, (N, K).  It cannot be written.  ``backend`` multiplies with it.
    """

    __array_ufunc__ = None  # ndarray @ this is this one's business

    def __init__(
        self,
        blocks: Array,
        shape: tuple[int, int],
        dtype: Dtype,
        *,
        backend: Backend = NUMPY,
        transposed: bool = False,
        columns: slice | None = None,
    ) -> None:
        self.blocks, self.size, self.dtype = blocks, shape, dtype
        self.backend, self.transposed = backend, transposed
        self.columns = columns or slice(0, shape[1])

    @classmethod
    def of(cls, matrix: Array, kind: str, *, transposed: bool = False, backend: Backend = NUMPY) -> Self:
        """``matrix`` in blocks; with ``transposed`` its transpose is stored, so that int8 has one scale a row."""
        stored = matrix.T if transposed else matrix
        values, scale = quantized(stored) if kind == "int8" else (stored, None)
        if kind == "f16":
            values = values.astype(np.float16)
        elif kind == "bf16":
            values = bfloat16.stored(values)
        return cls._laid_out(values, scale, kind, matrix.dtype, transposed=transposed, backend=backend)

    @classmethod
    def stored(cls, values: Array, scale: Array | None, *, transposed: bool = False, backend: Backend = NUMPY) -> Self:
        """A quantised matrix made again from its ``values()`` and ``scale``."""
        kind = {np.dtype(np.int8): "int8", np.dtype(np.uint16): "bf16"}.get(values.dtype, "f16")
        stored = values.T if transposed else values
        return cls._laid_out(stored, scale, kind, np.dtype(np.float32), transposed=transposed, backend=backend)

    @classmethod
    def _laid_out(
        cls, values: Array, scale: Array | None, kind: str, dtype: Dtype, *, transposed: bool, backend: Backend
    ) -> Self:
        panel_width = backend.fused("panel_width")
        blocks = in_blocks(values, scale, kind, panel_width(dtype) if panel_width else COLUMNS)
        return cls(blocks, (values.shape[0], values.shape[1]), dtype, transposed=transposed, backend=backend)

    @property
    def kind(self) -> str:
        kinds = {np.dtype(np.int8): "int8", np.dtype(np.uint16): "bf16"}
        if self.blocks.dtype in kinds:
            return kinds[self.blocks.dtype]
        return "f16" if self.blocks.dtype == np.float16 and self.dtype != np.float16 else "full"

    @property
    def shape(self) -> tuple[int, int]:
        K, N = self.size[0], self.columns.stop - self.columns.start
        return (N, K) if self.transposed else (K, N)

    @property
    def scale(self) -> Array | None:
        """(N) scales of int8's columns, else None."""
        if self.kind != "int8":
            return None
        ends: Array = self.blocks[:, -2].view(np.float32)[..., 0]
        return ends.reshape(-1)[: self.size[1]]

    @property
    def operations(self) -> float:
        """Multiplications of a row with all of it, as many at a time for one as a line has rows."""
        return prod(self.size) / DEPTHS[self.kind]

    @property
    def nbytes(self) -> int:
        """Bytes stored."""
        return self.blocks.nbytes

    @property
    def T(self) -> Self:
        """The transpose, of the same numbers in memory."""
        return self._alike(transposed=not self.transposed)

    @property
    def whole(self) -> bool:
        """Whether all columns count, not those from somewhere to somewhere."""
        return self.columns == slice(0, self.size[1])

    @property
    def width(self) -> int:
        """Columns of a block."""
        width: int = self.blocks.shape[2]
        return width

    def copied(self) -> Self:
        """The columns that count in blocks of their own."""
        scale = self._scale(self.columns)
        values = self._lines(self.blocks)[:, self.columns]
        return self._laid_out(values, scale, self.kind, self.dtype, transposed=self.transposed, backend=self.backend)

    def apart(self) -> Self:
        """The columns that count, in blocks that have no others before them: these, or copies."""
        return self if self.columns.start % self.width == 0 else self.copied()

    @property
    def address(self) -> int:
        """Where the block of the first column that counts lies in memory."""
        place: int = self.blocks.ctypes.data + self.columns.start // self.width * self.blocks.strides[0]
        return place

    def on(self, backend: Backend) -> Self:
        """The same matrix for another backend."""
        if backend == self.backend:
            return self
        return self.stored(self.values(), self.scale, transposed=self.transposed, backend=backend)

    def values(self) -> Array:
        """The stored numbers in their own order, (K, N) or (N, K): of int8 without their scales."""
        stored = self._lines(self.blocks)[:, self.columns]
        return stored.T if self.transposed else stored

    def _lines(self, blocks: Array) -> Array:
        """The numbers in some of the blocks, (K, width times as many), zeros past the last column."""
        K = self.size[0]
        rows = blocks.transpose(0, 1, 3, 2).reshape(len(blocks), -1, self.width)[:, :K]
        return rows.transpose(1, 0, 2).reshape(K, -1)

    def dense(self) -> Array:
        """All of it as an array of ``dtype``."""
        wide = self._wide(self.values())
        scale = self._scale(self.columns)
        if scale is None:
            return wide
        return wide * (scale[:, None] if self.transposed else scale)

    def _scale(self, columns: Any) -> Array | None:
        """Of some columns."""
        scale = self.scale
        return None if scale is None else scale[columns]

    def _wide(self, values: Array) -> Array:
        """Stored numbers in ``dtype``."""
        return bfloat16.widened(values) if self.kind == "bf16" else values.astype(self.dtype)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, tuple):  # [:, from:to]
            _, columns = index
            start, stop, _ = columns.indices(self.shape[1])
            first = self.columns.start
            return self._alike(columns=slice(first + start, first + stop))
        return self._rows(index)

    def _rows(self, index: Array) -> Array:
        """``dense()[index]``, of which only those rows are widened."""
        K, depth = self.size[0], self.blocks.shape[3]
        if self.transposed:
            columns = self.blocks[index // self.width, :, index % self.width]
            rows = self._wide(columns.reshape(*index.shape, -1)[..., :K])
            scale = self._scale(index)
            return rows if scale is None else rows * scale[..., None]
        rows = self.blocks[:, index // depth, :, index % depth]  # (*index, blocks, width): NumPy puts picked axes first
        rows = self._wide(rows.reshape(*index.shape, -1)[..., self.columns])
        scale = self._scale(self.columns)
        return rows if scale is None else rows * scale

    def __rmatmul__(self, a: Array) -> Array:
        """a @ M for ``a`` (rows, K)."""
        if self.transposed:
            raise ValueError("rows cannot be multiplied with a transposed BlockedMatrix; multiply with dense()")
        first, last = self.columns.start // self.width, -(-self.columns.stop // self.width)
        product = self.backend.fused("blocked_product")
        out = product(a, self, first, last) if product else self._product(a, first, last)
        shift = self.columns.start - first * self.width
        columns: Array = out[:, shift : shift + self.columns.stop - self.columns.start]
        return columns

    def _product(self, a: Array, first: int, last: int) -> Array:
        """The same for whole blocks, by NumPy."""
        out = np.empty((len(a), (last - first) * self.width), np.result_type(a, self.dtype))
        factors: Array | None = None
        if self.kind == "bf16":
            a = bfloat16.rounded(a)
        elif self.kind == "int8":
            a, factors = quantized_rows(a)
        for p in range(first, last, CHUNK):  # never the whole matrix in all of its bits
            wide = self._wide(self._lines(self.blocks[p : min(last, p + CHUNK)]))
            columns = slice((p - first) * self.width, (p - first) * self.width + wide.shape[1])
            if factors is None:
                np.matmul(a, wide, out=out[:, columns])
                continue
            sums = (a @ wide.astype(np.float64)).astype(np.float32)  # of integers: exact
            scale = self.blocks[p : min(last, p + CHUNK), -2].view(np.float32).reshape(-1)
            out[:, columns] = sums * (scale * factors)
        return out

    def _alike(self, **changes: Any) -> Self:
        options: dict[str, Any] = {"backend": self.backend, "transposed": self.transposed, "columns": self.columns}
        return type(self)(self.blocks, self.size, self.dtype, **options | changes)

    def __repr__(self) -> str:
        return f"BlockedMatrix({self.shape}, {self.kind}, {self.nbytes:,} bytes)"


def quantized(matrix: Array) -> tuple[Array, Array]:
    """int8 q and one scale a column, with q · scale the matrix to half a scale; a column of zeros has scale 0."""
    scale = np.abs(matrix).max(axis=0) / matrix.dtype.type(127)
    q = np.round(np.divide(matrix, scale, out=np.zeros_like(matrix), where=scale > 0))
    return np.clip(q, -127, 127).astype(np.int8), scale


def quantized_rows(a: Array) -> tuple[Array, Array]:
    """Each row of ``a`` (rows, K), float32, as integers, and (rows, 1) factors, NaN where a row is not finite.

    The largest number of a row becomes 127, or as much less as keeps K products with int8 within int32.
    """
    limit = np.float32(min(LARGEST, INT32 // (LARGEST * max(1, a.shape[1]))))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        most = np.abs(a).max(axis=1, keepdims=True)
        up = np.where(most > SMALLEST, limit / most, np.float32(0))
        factors = np.where(np.isfinite(a).all(axis=1, keepdims=True), most / limit, np.float32(np.nan))
        return np.rint(a * up).astype(np.float64), factors


def in_blocks(matrix: Array, scale: Array | None, kind: str, width: int) -> Array:
    """(K, N) as (N / width, lines, width, depth), filled up with zeros; on a cache line."""
    (K, N), depth = matrix.shape, DEPTHS[kind]
    blocks, lines, ends = -(-N // width), -(-K // depth), 0 if scale is None else 2
    whole = np.zeros((lines * depth, blocks * width), matrix.dtype)
    whole[:K, :N] = matrix
    out = aligned((blocks, lines + ends, width, depth), matrix.dtype)
    out[:, :lines] = whole.reshape(lines, depth, blocks, width).transpose(2, 0, 3, 1)
    if scale is not None:
        scales = np.zeros(blocks * width, np.float32)
        scales[:N] = scale
        out[:, lines].view(np.float32)[..., 0] = scales.reshape(blocks, width)
        sums = -OFFSET * whole.sum(axis=0, dtype=np.int64)
        out[:, lines + 1].view(np.int32)[..., 0] = sums.astype(np.int32).reshape(blocks, width)  # modulo 2**32
    return out


def aligned(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """An array of zeros that begins on a cache line."""
    return NUMPY.zeros(prod(shape), np.dtype(dtype)).reshape(shape)

"""Matrices in blocks of 32 columns, in all of their bits or in fewer: what streams and quantised models multiply with.

    full   the weights as they are
    f16    float16: half the bytes; each weight is rounded once, to 11 bits
    bf16   bfloat16: half the bytes; each weight is rounded once, to 8 bits, and so is what it is multiplied with
    int8   q · scale with q from -127 to 127 and one scale a column, the largest weight of the column over 127

A block is 32 columns, line after line, so that a product with few rows reads memory straight on; of int8, two
neighbouring lines are one, number by number, as processors multiply them (``kernels/cpu/blocks.py``).
"""

from collections.abc import Callable
from math import prod
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from minirnn.core import bfloat16
from minirnn.core.backend import NUMPY, Array, Dtype

COLUMNS = 32
KINDS = ("full", "f16", "bf16", "int8")
Product: TypeAlias = "Callable[[Array, BlockedMatrix, int, int], Array] | None"  # a kernel for a @ M[first:last]
CHUNK = 8  # blocks that are widened at once where there is no kernel


class BlockedMatrix:
    """A (K, N) matrix that stands where a weight's array would: ``a @ M``, ``M[indices]``, ``M[:, from:to]``, ``M.T``.

    ``blocks`` is (N / 32, K, 32), of bfloat16 as uint16, of int8 (N / 32, K / 2, 32, 2), both rounded up; ``scale`` is
    (N) of int8, else None.  With ``transposed`` it stands for the transpose, (N, K).  It cannot be written.
    """

    __array_ufunc__ = None  # ndarray @ this is this one's business

    def __init__(
        self,
        blocks: Array,
        scale: Array | None,
        shape: tuple[int, int],
        dtype: Dtype,
        *,
        product: Product = None,
        transposed: bool = False,
        columns: slice | None = None,
    ) -> None:
        self.blocks, self.scale, self.size, self.dtype = blocks, scale, shape, dtype
        self.product, self.transposed = product, transposed
        self.columns = columns or slice(0, shape[1])

    @classmethod
    def of(cls, matrix: Array, kind: str, *, transposed: bool = False, product: Product = None) -> Self:
        """``matrix`` in blocks; with ``transposed`` its transpose is stored, so that int8 has one scale a row.

        ``product`` is the kernel for ``a @ M``, or None.
        """
        stored = matrix.T if transposed else matrix
        values, scale = quantized(stored) if kind == "int8" else (stored, None)
        if kind == "f16":
            values = values.astype(np.float16)
        elif kind == "bf16":
            values = bfloat16.stored(values)
        return cls(in_blocks(values), scale, stored.shape, matrix.dtype, transposed=transposed, product=product)

    @classmethod
    def stored(cls, values: Array, scale: Array | None, *, transposed: bool = False, product: Product = None) -> Self:
        """A quantised matrix made again from its ``values()`` and ``scale``."""
        stored = values.T if transposed else values
        return cls(in_blocks(stored), scale, stored.shape, np.dtype(np.float32), transposed=transposed, product=product)

    @property
    def kind(self) -> str:
        if self.blocks.ndim == 4:
            return "int8"
        if self.blocks.dtype == np.uint16:
            return "bf16"
        return "f16" if self.blocks.dtype == np.float16 and self.dtype != np.float16 else "full"

    @property
    def shape(self) -> tuple[int, int]:
        K, N = self.size[0], self.columns.stop - self.columns.start
        return (N, K) if self.transposed else (K, N)

    @property
    def nbytes(self) -> int:
        """Bytes stored."""
        return self.blocks.nbytes + (0 if self.scale is None else self.scale.nbytes)

    @property
    def T(self) -> Self:
        """The transpose, of the same numbers in memory."""
        return self._alike(transposed=not self.transposed)

    @property
    def whole(self) -> bool:
        """Whether all columns count, not those from somewhere to somewhere."""
        return self.columns == slice(0, self.size[1])

    def copied(self) -> Self:
        """The columns that count in blocks of their own."""
        scale = None if self.scale is None else self.scale[self.columns]
        stored = in_blocks(self._lines(self.blocks)[:, self.columns])
        shape = self.size[0], self.columns.stop - self.columns.start
        return type(self)(stored, scale, shape, self.dtype, product=self.product, transposed=self.transposed)

    def multiplied_by(self, product: Product) -> Self:
        """The same matrix with another kernel, or none."""
        return self._alike(product=product)

    def values(self) -> Array:
        """The stored numbers in their own order, (K, N) or (N, K): of int8 without their scales."""
        stored = self._lines(self.blocks)[:, self.columns]
        return stored.T if self.transposed else stored

    def _lines(self, blocks: Array) -> Array:
        """The numbers in some of the blocks, (K, 32 times as many), zeros past the last column."""
        K = self.size[0]
        lines = blocks if blocks.ndim == 3 else blocks.transpose(0, 1, 3, 2)
        return lines.reshape(len(lines), -1, COLUMNS)[:, :K].transpose(1, 0, 2).reshape(K, -1)

    def dense(self) -> Array:
        """All of it as an array of ``dtype``."""
        wide = self._wide(self.values())
        if self.scale is None:
            return wide
        scale = self.scale[self.columns]
        return wide * (scale[:, None] if self.transposed else scale)

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
        K = self.size[0]
        if self.transposed:
            rows = self._wide(self.blocks[index // COLUMNS, :, index % COLUMNS].reshape(*index.shape, -1)[..., :K])
            return rows if self.scale is None else rows * self.scale[index][..., None]
        if self.blocks.ndim == 4:
            rows = self.blocks[:, index // 2, :, index % 2]  # (*index, blocks, 32): NumPy puts the picked axes first
        else:
            rows = np.moveaxis(self.blocks[:, index], 0, -2)
        rows = self._wide(rows.reshape(*index.shape, -1)[..., self.columns])
        return rows if self.scale is None else rows * self.scale[self.columns]

    def __rmatmul__(self, a: Array) -> Array:
        """a @ M for ``a`` (rows, K)."""
        if self.transposed:
            raise ValueError("rows cannot be multiplied with a transposed BlockedMatrix; multiply with dense()")
        first, last = self.columns.start // COLUMNS, -(-self.columns.stop // COLUMNS)
        if self.product:
            out = self.product(a, self, first, last)
        else:
            out = np.empty((len(a), (last - first) * COLUMNS), np.result_type(a, self.dtype))
            a = bfloat16.rounded(a) if self.kind == "bf16" else a
            for p in range(first, last, CHUNK):  # never the whole matrix in all of its bits
                wide = self._wide(self._lines(self.blocks[p : min(last, p + CHUNK)]))
                if self.scale is not None:
                    scale = self.scale[p * COLUMNS :][: wide.shape[1]]
                    wide[:, : len(scale)] *= scale
                start = (p - first) * COLUMNS
                np.matmul(a, wide, out=out[:, start : start + wide.shape[1]])
        shift = self.columns.start - first * COLUMNS
        columns: Array = out[:, shift : shift + self.columns.stop - self.columns.start]
        return columns

    def _alike(self, **changes: Any) -> Self:
        options = {"product": self.product, "transposed": self.transposed, "columns": self.columns} | changes
        return type(self)(self.blocks, self.scale, self.size, self.dtype, **options)

    def __repr__(self) -> str:
        return f"BlockedMatrix({self.shape}, {self.kind}, {self.nbytes:,} bytes)"


def quantized(matrix: Array) -> tuple[Array, Array]:
    """int8 q and one scale a column, with q · scale the matrix to half a scale; a column of zeros has scale 0."""
    scale = np.abs(matrix).max(axis=0) / matrix.dtype.type(127)
    q = np.round(np.divide(matrix, scale, out=np.zeros_like(matrix), where=scale > 0))
    return np.clip(q, -127, 127).astype(np.int8), scale


def in_blocks(matrix: Array) -> Array:
    """(K, N) as (N / 32, K, 32), int8 as (N / 32, K / 2, 32, 2), filled up with zeros; on a cache line."""
    K, N = matrix.shape
    blocks, pair = -(-N // COLUMNS), 2 if matrix.dtype == np.int8 else 1
    lines = -(-K // pair)
    whole = np.zeros((lines * pair, blocks * COLUMNS), matrix.dtype)
    whole[:K, :N] = matrix
    ordered = whole.reshape(lines, pair, blocks, COLUMNS).transpose(2, 0, 3, 1)
    out = aligned((blocks, lines, COLUMNS, pair), matrix.dtype)
    out[...] = ordered
    return out if pair == 2 else out[..., 0]


def aligned(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """An array of zeros that begins on a cache line."""
    return NUMPY.zeros(prod(shape), np.dtype(dtype)).reshape(shape)

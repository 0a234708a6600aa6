"""Operators that pick numbers by index, and those that make indices: orders, counts, steps in reverse."""

import math
from collections.abc import Sequence

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.files import ModelFileError
from minirnn.formats.onnx.running.meter import Meter
from minirnn.formats.onnx.running.operands import axis_of, of_kind, one_dtype, scalar
from minirnn.formats.onnx.running.perform import Operands, Operation
from minirnn.formats.onnx.structure import LARGEST_DIM, Node


def check_range(index: Array, size: int) -> None:
    """Raise ModelFileError where an index is outside an axis."""
    if of_kind(index, "iu").size and not -size <= index.min() <= index.max() < size:
        raise ModelFileError(
            f"indices must be from {-size} to {size - 1}; they are from {index.min()} to {index.max()}"
        )


def gather(node: Node) -> Operation:
    """Slices of an axis by index: rows of an embedding, one step, one size of a shape."""
    axis = node.attribute("axis", int, 0)

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        x, index = operands
        k = axis_of(axis, x.ndim)
        meter.claim(index.shape, 8, ns=10, copies=2)
        meter.claim((*x.shape[:k], *index.shape, *x.shape[k + 1 :]), x.itemsize)
        check_range(index, x.shape[k])
        return (np.take(x, index, axis=k),)

    return run


def gather_elements(node: Node) -> Operation:
    """y[i, j] = x[index[i, j], j], and so for other axes."""
    axis = node.attribute("axis", int, 0)

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        x, index = operands
        k = axis_of(axis, x.ndim)
        if index.ndim != x.ndim or any(
            n > m for i, (n, m) in enumerate(zip(index.shape, x.shape, strict=True)) if i != k
        ):
            raise ModelFileError(f"indices for x of shape {x.shape} are expected; got shape {index.shape}")
        meter.claim(index.shape, x.itemsize + 16, ns=10 + 2 * x.ndim)
        check_range(index, x.shape[k])
        x = x[tuple(slice(None) if i == k else slice(n) for i, n in enumerate(index.shape))]
        return (np.take_along_axis(x, index.astype(np.int64), axis=k),)

    return run


def one_hot(node: Node) -> Operation:
    """A new axis of ``depth`` entries: one value at each index, another elsewhere; indices may count from its end."""
    axis = node.attribute("axis", int, -1)

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        index, depth, values = of_kind(operands[0], "iuf"), int(scalar(operands[1])), operands[2]
        if depth < 1 or values.shape != (2,):
            raise ModelFileError(
                f"a depth of at least 1 and values [off, on] are expected; got {depth}, {values.shape}"
            )
        k = axis_of(axis, index.ndim + 1)
        meter.claim((depth,), 8)
        meter.claim(index.shape, 8, copies=3)
        meter.claim((*index.shape, depth), values.itemsize + 3, ns=6)
        index = np.expand_dims(index.astype(np.int64), k)
        symbols = np.expand_dims(np.arange(depth), [i for i in range(index.ndim) if i != k])
        return (np.where((index == symbols) | (index + depth == symbols), values[1], values[0]),)

    return run


def gather_nd(node: Node) -> Operation:
    """y[i] = x[index[i]], an index of several numbers; the first ``batch_dims`` axes are common to both."""
    shared = node.attribute("batch_dims", int, 0) if node.opset >= 12 else 0

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        x, index = operands[0], of_kind(operands[1], "iu")
        depth = index.shape[-1] if index.ndim else 0
        if not 0 <= shared < min(x.ndim, index.ndim) or not 1 <= depth <= x.ndim - shared:
            raise ModelFileError(f"indices for x of shape {x.shape} are expected; got shape {index.shape}")
        if x.shape[:shared] != index.shape[:shared]:
            raise ModelFileError(f"the first {shared} axes must be equal; got {x.shape} and {index.shape}")
        meter.claim((*index.shape[:-1], *x.shape[shared + depth :]), x.itemsize, ns=20)
        meter.claim(index.shape, 8, ns=10, copies=3)
        for k in range(depth):
            check_range(index[..., k], x.shape[shared + k])
        rows = np.indices((*x.shape[:shared], *[1] * (index.ndim - 1 - shared)), sparse=True)[:shared]
        return (x[(*rows, *np.moveaxis(index, -1, 0))],)

    return run


# ---------------------------------------------------------------------- indices made


def range_(meter: Meter, operands: Operands) -> Sequence[Array]:
    """From a number on, before another one, by steps of a third."""
    one_dtype(*operands)
    start, limit, delta = (scalar(of_kind(a, "if")) for a in operands)
    if not delta or not all(np.isfinite([float(v) for v in (start, limit, delta)])):
        raise ModelFileError(f"finite numbers, and steps that are not 0, are expected; got {start}, {limit}, {delta}")
    count = max(0, math.ceil((float(limit) - float(start)) / float(delta)))
    if count > LARGEST_DIM:
        raise ModelFileError(f"at most {LARGEST_DIM:,} numbers are expected; there are {count:,}")
    meter.claim((count,), 8, ns=8, copies=4)
    return ((start + np.arange(count) * delta).astype(operands[0].dtype),)


def cum_sum(node: Node) -> Operation:
    """Sums of all entries up to each; ``exclusive``: before each, ``reverse``: from the end."""
    exclusive, back = node.flag("exclusive"), node.flag("reverse")

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        x, k = of_kind(operands[0], "iuf"), axis_of(int(scalar(of_kind(operands[1], "iu"))), operands[0].ndim)
        meter.claim(x.shape, x.itemsize, ns=8, copies=3)
        x = np.flip(x, k) if back else x
        sums = np.cumsum(x, axis=k, dtype=x.dtype)
        sums = sums - x if exclusive else sums
        return (np.flip(sums, k) if back else sums,)

    return run


def top_k(node: Node) -> Operation:
    """The k largest entries of an axis, or smallest, and where they stand; of equal ones the first come first."""
    axis = node.attribute("axis", int, -1)
    fixed = node.needed("k", int) if node.opset < 10 else None
    largest = node.flag("largest", default=1) if node.opset >= 11 else True
    if node.opset >= 11:
        node.flag("sorted", default=1)  # in whatever order they may come otherwise, this is one

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        x = of_kind(operands[0], "iuf")
        count, k = int(scalar(operands[1])) if fixed is None else fixed, axis_of(axis, x.ndim)
        if not 0 <= count <= x.shape[k]:
            raise ModelFileError(f"a number from 0 to {x.shape[k]} is expected; got {count}")
        meter.claim(x.shape, 4 * x.itemsize + 48, ns=300)
        order = np.argsort(np.flip(x, k) if largest else x, axis=k, kind="stable")
        if largest:  # what is last there, and among equal ones came first here
            order = x.shape[k] - 1 - np.flip(order, k)
        order = order[(*[slice(None)] * k, slice(count))].copy()
        return np.take_along_axis(x, order, axis=k), order

    return run


def reverse_sequence(node: Node) -> Operation:
    """The first entries of each row in reverse, as many as a list says."""
    rows, time = node.attribute("batch_axis", int, 1), node.attribute("time_axis", int, 0)
    if {rows, time} != {0, 1}:
        raise ModelFileError(f"batch_axis and time_axis must be 0 and 1, or 1 and 0; got {rows} and {time}")

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        x, lens = operands
        if x.ndim < 2:
            raise ModelFileError(f"steps and rows are expected; got shape {x.shape}")
        check_lengths(lens, x.shape[rows], x.shape[time])
        meter.claim(x.shape, x.itemsize + 32, ns=20)
        return (np.swapaxes(reversed_steps(np.swapaxes(x, 0, time), lens), 0, time),)

    return run


def check_lengths(lens: Array, rows: int, steps: int) -> None:
    """Raise ModelFileError unless each of so many rows has a length, and none is above ``steps``."""
    if lens.dtype.kind not in "iu" or lens.shape != (rows,):
        raise ModelFileError(f"sequence_lens must be {rows} integers; got {lens.dtype} of shape {lens.shape}")
    if lens.size and not 0 <= lens.min() <= lens.max() <= steps:
        raise ModelFileError(f"sequence_lens must be from 0 to {steps}; they are from {lens.min()} to {lens.max()}")


def reversed_steps(a: Array, lens: Array | None) -> Array:
    """``a`` (T, B, ...) with each row's steps in reverse, within its length."""
    if lens is None:
        return np.ascontiguousarray(a[::-1])
    T = len(a)
    t, ends = np.arange(T)[:, None], lens.astype(np.int64)[None]
    index = np.where(t < ends, ends - 1 - t, t)
    return np.take_along_axis(a, index.reshape(*index.shape, *[1] * (a.ndim - 2)), axis=0)

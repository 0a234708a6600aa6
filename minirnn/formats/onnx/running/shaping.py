"""Operators that move numbers: shapes, pieces, and constants."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.files import ModelFileError
from minirnn.formats.onnx.running.meter import Meter
from minirnn.formats.onnx.running.operands import axis_of, check_count, listed, one_dtype, optional, scalar, whole
from minirnn.formats.onnx.running.perform import Operands, Operation
from minirnn.formats.onnx.structure import MOST_AXES, Node, check_shape

# ---------------------------------------------------------------------- shapes


def reshaped(meter: Meter, x: Array, shape: list[int]) -> Array:
    """``x`` in another shape; where its numbers are not in order it is copied."""
    if not x.flags.c_contiguous or not x.size:  # of an empty array the other sizes may be any
        meter.claim(shape, x.itemsize, ns=8)
    return x.reshape(shape)


def transpose(node: Node) -> Operation:
    """Axes in another order, by default in reverse."""
    perm = node.values("perm", int)
    check_count(len(perm or ()), MOST_AXES)

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        (x,) = operands
        if perm is not None and sorted(perm) != list(range(x.ndim)):
            raise ModelFileError(f"perm must have each axis of {x.shape} once; got {perm}")
        return (x.transpose(perm),)

    return run


def squeeze(node: Node) -> Operation:
    """Without the axes of size 1 that are named, or all of them."""
    axes = listed(node, "axes", 13)

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        x, chosen = operands[0], axes(operands)
        if chosen is None:
            return (reshaped(meter, x, [n for n in x.shape if n != 1]),)
        gone = {axis_of(k, x.ndim) for k in chosen}
        if any(x.shape[k] != 1 for k in gone):
            raise ModelFileError(f"axes {sorted(gone)} must be of size 1; the shape is {x.shape}")
        return (reshaped(meter, x, [n for k, n in enumerate(x.shape) if k not in gone]),)

    return run


def unsqueeze(node: Node) -> Operation:
    """With axes of size 1 that have those places in the result."""
    axes = listed(node, "axes", 13)

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        x, chosen = operands[0], axes(operands)
        if chosen is None:
            raise ModelFileError("axes must be given; they are missing")
        ndim = x.ndim + len(chosen)
        new = {axis_of(k, ndim) for k in chosen}
        if len(new) < len(chosen):
            raise ModelFileError(f"axes must be different ones; got {chosen}")
        old = iter(x.shape)
        shape = [1 if k in new else next(old) for k in range(ndim)]
        check_shape("the result", tuple(shape))
        return (reshaped(meter, x, shape),)

    return run


def reshape(node: Node) -> Operation:
    """The same numbers in another shape: 0 keeps an axis unless allowzero is set, -1 takes what is left."""
    zeros = node.flag("allowzero") if node.opset >= 14 else False

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        x, asked = operands[0], whole(operands[1])
        if any(n < -1 for n in asked) or asked.count(-1) > 1 or (zeros and -1 in asked and 0 in asked):
            raise ModelFileError(f"a shape of sizes, and at most one -1, is expected; got {asked}")
        if not zeros and any(n == 0 and k >= x.ndim for k, n in enumerate(asked)):
            raise ModelFileError(f"a 0 must stand for an axis of {x.shape}; got {asked}")
        shape = [x.shape[k] if n == 0 and not zeros else n for k, n in enumerate(asked)]
        known = math.prod(n for n in shape if n != -1)
        shape = [x.size // max(1, known) if n == -1 else n for n in shape]
        check_shape("the result", tuple(shape))
        if math.prod(shape) != x.size:
            raise ModelFileError(f"a shape for the {x.size:,} numbers of {x.shape} is expected; got {asked}")
        return (reshaped(meter, x, shape),)

    return run


def flatten(node: Node) -> Operation:
    """Two axes: those before ``axis``, and the others."""
    axis = node.attribute("axis", int, 1)

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        (x,) = operands
        k = axis if axis == x.ndim else axis_of(axis, max(1, x.ndim))
        return (reshaped(meter, x, [math.prod(x.shape[:k]), math.prod(x.shape[k:])]),)

    return run


def concat(node: Node) -> Operation:
    """Arrays one after another along an axis."""
    axis = node.needed("axis", int)

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        one_dtype(*operands)
        first = operands[0].shape
        k = axis_of(axis, len(first))
        if any(
            x.ndim != len(first) or (*x.shape[:k], *x.shape[k + 1 :]) != (*first[:k], *first[k + 1 :]) for x in operands
        ):
            shapes = ", ".join(str(x.shape) for x in operands)
            raise ModelFileError(f"shapes must be equal but for axis {k}; got {shapes:.200}")
        meter.claim((*first[:k], sum(x.shape[k] for x in operands), *first[k + 1 :]), operands[0].itemsize)
        return (np.concatenate(operands, axis=k),)

    return run


def slice_(node: Node) -> Operation:
    """Stretches of some axes; what is to be cut is given by attributes before opset 10."""
    names = ("starts", "ends", "axes", "steps")
    parts = [listed(node, name, 10, place) for place, name in enumerate(names[: 3 if node.opset < 10 else 4], start=1)]

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        x, (starts, ends, axes, *more) = operands[0], [part(operands) for part in parts]
        if starts is None or ends is None:
            raise ModelFileError("starts and ends must be given; they are missing")
        axes = list(range(len(starts))) if axes is None else axes
        steps = more[0] if more and more[0] is not None else [1] * len(starts)
        if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
            raise ModelFileError("starts, ends, axes and steps must be equally long, and no step 0; they are not")
        cut = [slice(None)] * x.ndim
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
            cut[axis_of(axis, x.ndim)] = slice(start, end, step)
        return (x[tuple(cut)],)

    return run


def tile(meter: Meter, operands: Operands) -> Sequence[Array]:
    """Repeated along every axis."""
    x, times = operands[0], whole(operands[1])
    if len(times) != x.ndim or min(times, default=1) < 0:
        raise ModelFileError(f"a number of times for each axis of {x.shape} is expected; got {times}")
    shape = tuple(n * m for n, m in zip(x.shape, times, strict=True))
    check_shape("the result", shape)
    meter.claim(shape, x.itemsize, ns=8, copies=2)
    return (np.tile(x, times),)


PADDINGS = ("constant", "reflect", "edge", "wrap")  # by ONNX' names, which are NumPy's


def pad(node: Node) -> Operation:
    """More at the ends of some axes, a number or what is there already; less where the count is below 0."""
    mode = node.attribute("mode", str, "constant")
    if mode not in PADDINGS or (mode == "wrap" and node.opset < 19):
        raise ModelFileError(f"mode must be one of {', '.join(PADDINGS)}; got {mode!r:.40}")
    pads = listed(node, "pads", 11, most=2 * MOST_AXES)
    fixed = node.attribute("value", float, 0.0) if node.opset < 11 else None

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        x, counts = operands[0], pads(operands)
        value = fixed if fixed is not None else 0 if optional(operands, 2) is None else scalar(operands[2])
        chosen = None if optional(operands, 3) is None else whole(operands[3])
        axes = list(range(x.ndim)) if chosen is None else [axis_of(k, x.ndim) for k in chosen]
        if counts is None or len(counts) != 2 * len(axes) or len(set(axes)) < len(axes):
            raise ModelFileError(f"pads must be two numbers for each axis; got {counts!s:.60} for {len(axes)} axes")
        widths, cut = [(0, 0)] * x.ndim, [slice(None)] * x.ndim
        for k, before, after in zip(axes, counts, counts[len(axes) :], strict=False):
            cut[k] = slice(max(0, -before), x.shape[k] - max(0, -after) if after < 0 else None)
            widths[k] = max(0, before), max(0, after)
        x = x[tuple(cut)]
        shape = tuple(n + before + after for n, (before, after) in zip(x.shape, widths, strict=True))
        check_shape("the result", shape)
        meter.claim(shape, x.itemsize, ns=20, copies=3)
        if mode == "constant":
            return (np.pad(x, widths, constant_values=np.asarray(value, x.dtype)),)
        if any(sum(width) and not n for n, width in zip(x.shape, widths, strict=True)):
            raise ModelFileError(f"an axis of size 0 has nothing to be padded with; the shape is {x.shape}")
        return (np.pad(x, widths, mode=mode),)

    return run


def split(node: Node) -> Operation:
    """Pieces of an axis: of the sizes given, or equal ones, of which the last may be smaller from opset 18 on."""
    axis, count = node.attribute("axis", int, 0), len(node.outputs)
    sizes = listed(node, "split", 13, most=count)
    if node.opset >= 18:
        number = node.attribute("num_outputs", int)
        if number not in (None, count):
            raise ModelFileError(f"num_outputs must be the number of outputs, {count}; got {number}")

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        x, asked = operands[0], sizes(operands)
        k = axis_of(axis, x.ndim)
        n = x.shape[k]
        if asked is None:
            each = -(-n // count)
            asked = [max(0, min(each, n - each * i)) for i in range(count)]
            if node.opset < 18 and n % count:
                raise ModelFileError(f"an axis of {n} must be split into {count} equal parts; it cannot be")
        if len(asked) != count or sum(asked) != n or min(asked) < 0:
            raise ModelFileError(f"{count} sizes that add up to {n} are expected; got {asked}")
        return np.split(x, np.cumsum(asked)[:-1], axis=k)

    return run


def identity(meter: Meter, operands: Operands) -> Sequence[Array]:
    """The same."""
    return (operands[0],)


def constant(node: Node) -> Operation:
    """A value from the file."""
    kinds: dict[str, tuple[type, Any]] = {
        "value": (np.ndarray, None),
        "value_float": (float, np.float32),
        "value_int": (int, np.int64),
        "value_floats": (list, np.float32),
        "value_ints": (list, np.int64),
    }
    stored = [name for name in kinds if name in node.attributes]
    if len(stored) != 1:
        raise ModelFileError(f"one of {', '.join(kinds)} must be given; got {', '.join(stored) or 'none'}")
    kind, dtype = kinds[stored[0]]
    if kind is list:
        node.values(stored[0], float if dtype is np.float32 else int)
    array = np.asarray(node.needed(stored[0], kind), dtype)
    return lambda *_: (array,)


def constant_of_shape(node: Node) -> Operation:
    """One number in every place, by default a float32 0."""
    value = scalar(node.attribute("value", np.ndarray, np.zeros(1, np.float32)))

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        shape = tuple(whole(operands[0]))
        check_shape("the result", shape)
        meter.claim(shape, value.itemsize)
        return (np.full(shape, value),)

    return run


def shape_of(node: Node) -> Operation:
    """The sizes of the axes, of some from opset 15 on."""
    start, end = (node.attribute("start", int, 0), node.attribute("end", int)) if node.opset >= 15 else (0, None)
    return lambda _, operands: (np.array(operands[0].shape[start:end], np.int64),)


def size_of(meter: Meter, operands: Operands) -> Sequence[Array]:
    """How many numbers there are."""
    return (np.array(operands[0].size, np.int64),)


def expand(meter: Meter, operands: Operands) -> Sequence[Array]:
    """Broadcast to, and with, a shape."""
    x, asked = operands[0], tuple(whole(operands[1]))
    check_shape("the result", asked)
    shape = np.broadcast_shapes(x.shape, asked)
    meter.claim(shape, x.itemsize)
    return (np.broadcast_to(x, shape).copy(),)

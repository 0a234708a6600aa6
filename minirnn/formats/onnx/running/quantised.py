"""Operators on numbers of 8 and 16 bits: to them, from them, products of them, and an LSTM whose weights they are."""

from collections.abc import Sequence

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.files import ModelFileError
from minirnn.formats.onnx.running.computing import product
from minirnn.formats.onnx.running.meter import Meter
from minirnn.formats.onnx.running.operands import axis_of, of_kind, one_dtype, optional
from minirnn.formats.onnx.running.perform import Operands, Operation
from minirnn.formats.onnx.running.recurrences import recurrence
from minirnn.formats.onnx.structure import Node, dtype_of

NARROW = ("int8", "uint8", "int16", "uint16")


def along(values: Array, x: Array, axis: int, block: int) -> Array:
    """A scale or a zero point in a shape that goes with x: one for all, or one for each place of an axis or block."""
    if values.size == 1 and values.ndim <= 1:
        return values.reshape(())
    k = axis_of(axis, x.ndim)
    if block:
        if values.ndim != x.ndim or any(
            -(-n // block) != m if i == k else n != m
            for i, (n, m) in enumerate(zip(x.shape, values.shape, strict=True))
        ):
            raise ModelFileError(f"a scale of blocks of {block} must go with {x.shape}; it has {values.shape}")
        whole: Array = np.repeat(values, block, axis=k)[tuple(slice(n) for n in x.shape)]
        return whole
    if values.ndim != 1 or values.size != x.shape[k]:
        raise ModelFileError(f"a scale must be one number, or {x.shape[k]} along axis {k}; it has {values.shape}")
    return values.reshape([-1 if i == k else 1 for i in range(x.ndim)])


def _axis_and_block(node: Node) -> tuple[int, int]:
    block = node.attribute("block_size", int, 0) if node.opset >= 21 else 0
    if block < 0:
        raise ModelFileError(f"block_size must not be below 0; got {block}")
    return (node.attribute("axis", int, 1) if node.opset >= 13 else 1), block


def dequantize(node: Node) -> Operation:
    """(x - zero point) scale, in the scale's dtype."""
    axis, block = _axis_and_block(node)
    if node.opset >= 23 and node.attribute("output_dtype", int, 0):
        raise ModelFileError("output_dtype must be that of the scale; it is given")

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        x, scale = of_kind(operands[0], "iu"), of_kind(operands[1], "f")
        zero = optional(operands, 2)
        meter.claim(x.shape, scale.itemsize, ns=12, copies=5)
        y = x.astype(scale.dtype)
        if zero is not None:
            one_dtype(x, zero)
            y = y - along(zero, x, axis, block).astype(scale.dtype)
        return (y * along(scale, x, axis, block),)

    return run


def quantize(node: Node) -> Operation:
    """x / scale + zero point, rounded to even, as far as the dtype of the zero point goes."""
    axis, block = _axis_and_block(node)
    code = node.attribute("output_dtype", int, 0) if node.opset >= 21 else 0
    asked = dtype_of(code) if code else None
    node.attribute("saturate", int)  # of types of 8 bits that are floats alone
    if node.opset >= 23 and node.attribute("precision", int, 0):
        raise ModelFileError("precision must be that of x; it is given")

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        x, scale, zero = operands[0], of_kind(operands[1], "f"), optional(operands, 2)
        dtype = np.dtype("uint8") if zero is None and asked is None else asked if zero is None else zero.dtype
        if dtype is None or dtype.name not in NARROW or asked not in (None, dtype):
            raise ModelFileError(f"numbers become {', '.join(NARROW)}; got {dtype}")
        meter.claim(x.shape, 8, ns=20, copies=4)
        y = np.rint(x.astype(scale.dtype, copy=False) / along(scale, x, axis, block))
        y = y + (0 if zero is None else along(zero, x, axis, block).astype(y.dtype))
        return (narrowed(y, dtype),)

    return run


def narrowed(y: Array, dtype: np.dtype[np.generic]) -> Array:
    """Whole numbers as integers: those that are out of range as the nearest."""
    ends = np.iinfo(dtype)  # type: ignore[type-var]  # an integer
    out: Array = np.clip(np.nan_to_num(y), ends.min, ends.max).astype(dtype)
    return out


def quantize_dynamically(meter: Meter, operands: Operands) -> Sequence[Array]:
    """x as uint8, from its least number to its greatest, 0 among them; the scale; the zero point."""
    x = of_kind(operands[0], "f")
    meter.claim(x.shape, 8, ns=30, copies=4)
    low, high = min(x.min(initial=0), x.dtype.type(0)), max(x.max(initial=0), x.dtype.type(0))
    scale = (high - low) / x.dtype.type(255) if high > low else x.dtype.type(1)
    zero = narrowed(np.rint(-low / scale), np.dtype("uint8"))
    y = narrowed(np.rint(x / scale) + zero.astype(x.dtype), np.dtype("uint8"))
    return y, np.asarray(scale, x.dtype), zero


def matmul_integer(meter: Meter, operands: Operands) -> Sequence[Array]:
    """(a - zero point) (b - zero point), as int32."""
    a, b = (of_kind(x, "iu") for x in operands[:2])
    meter.claim((a.size + b.size,), 8, copies=2)
    wide = []
    for x, zero, axis in ((a, optional(operands, 2), -2), (b, optional(operands, 3), -1)):
        if x.ndim < 2:
            raise ModelFileError(f"operands must have at least two axes; got {x.shape}")
        if zero is not None:
            one_dtype(x, zero)
        wide.append(x.astype(np.float64) - (0 if zero is None else along(zero, x, axis, 0).astype(np.float64)))
    y = product(meter, *wide)  # exact: no sum of products of 16 bits reaches 2^53
    meter.claim(y.shape, 8, copies=2)
    return (y.astype(np.int64).astype(np.int32),)


# ---------------------------------------------------------------------- onnxruntime's LSTM of 8 bits

WEIGHTS = ((1, 8, 9), (2, 10, 11))  # of each matrix: its place, those of its scale and its zero point


def quantized_lstm(node: Node) -> Operation:
    """DynamicQuantizeLSTM of the domain com.microsoft: an LSTM whose matrices are 8 bits, (n, D, 4H) and (n, H, 4H).

    They are widened when the node is first run.  onnxruntime rounds x and h to 8 bits too, at every product; here they
    are as they are, which is nearer to the network that was quantised.
    """
    known = node.constants
    if node.declared < 11 or not all(node.inputs[k] for k in (8, 10)):
        raise ModelFileError("scales of W and R must be given; they are missing")
    plain = Node("LSTM", node.name, node.inputs[:8], node.outputs, max(node.opset, 7), node.backend, node.attributes)
    plain.unread = node.unread
    plain.constants = [None if k in (1, 2) else known[k] if k < len(known) else None for k in range(8)]
    lstm = recurrence(plain)
    wide: list[Array] = []

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        rest = list(operands) + [None] * (12 - len(operands))
        fixed = all(k < len(known) and known[k] is not None for places in WEIGHTS for k in places[:2])
        if not wide or not fixed:
            wide[:] = [widened(meter, *(rest[k] for k in places)) for places in WEIGHTS]
        return lstm(meter, [rest[0], *wide, *rest[3:8]])

    return run


def widened(meter: Meter, W: Array, scale: Array, zero: Array | None) -> Array:
    """A matrix (n, D, 4H) of 8 bits as floats (n, 4H, D): scale and zero point are (n) or (n, 4H)."""
    of_kind(W, "iu"), of_kind(scale, "f")
    if W.ndim != 3:
        raise ModelFileError(f"W and R must have three axes; got {W.shape}")
    parts = []
    for name, values in (("scale", scale), ("zero point", zero)):
        if values is not None and values.shape not in ((1,), (W.shape[0],), (W.shape[0], W.shape[2])):
            raise ModelFileError(f"a {name} must go with {W.shape}; it has shape {values.shape}")
        shape = (-1, 1, 1) if values is None or values.ndim == 1 else (W.shape[0], 1, W.shape[2])
        parts.append(None if values is None else values.reshape(shape).astype(scale.dtype))
    meter.claim(W.shape, scale.itemsize, ns=12, copies=4)
    y = W.astype(scale.dtype)
    y = y if parts[1] is None else y - parts[1]
    return np.ascontiguousarray((y * parts[0]).swapaxes(1, 2))

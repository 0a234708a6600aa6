"""Operators over windows of the last axis and over features: convolution and pooling of one dimension, and norms.

x is (B, D, T), features second, as the standard has it.  Of two and three dimensions there is nothing here.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.files import ModelFileError
from minirnn.formats.onnx.running.meter import PRODUCTS, Meter, extent
from minirnn.formats.onnx.running.operands import axis_of, of_kind, one_dtype, optional
from minirnn.formats.onnx.running.perform import Operands, Operation
from minirnn.formats.onnx.structure import LARGEST_DIM, Node

MOST_TAPS = 1 << 12  # steps of a window, each of which is a product or a comparison of its own


class Window(NamedTuple):
    """How windows lie on T steps: ``size`` steps, ``dilation`` apart, every ``stride``; padding left and right.

    ``same`` is SAME_UPPER or SAME_LOWER, where the padding follows from T; size 0 is that of the kernel.
    """

    size: int
    stride: int
    dilation: int
    left: int
    right: int
    same: str = ""

    @classmethod
    def of(cls, node: Node) -> "Window":
        """As a node's attributes have it."""
        (size,), (stride,), (dilation,) = (
            _sizes(node, name, [default]) for name, default in (("kernel_shape", 0), ("strides", 1), ("dilations", 1))
        )
        left, right = _sizes(node, "pads", [0, 0])
        word = node.attribute("auto_pad", str, "NOTSET")
        if word not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
            raise ModelFileError(f"auto_pad must be NOTSET, VALID or SAME_...; got {word!r:.40}")
        if min(stride, dilation) < 1 or min(left, right, size) < 0 or size > MOST_TAPS:
            raise ModelFileError(f"a window must have from 1 to {MOST_TAPS} steps, a stride above 0 and no pad below 0")
        if word != "NOTSET" and (left or right):
            raise ModelFileError("pads and auto_pad must not both be given")
        return cls(size, stride, dilation, left, right, word if word.startswith("SAME") else "")

    def sides(self, T: int) -> tuple[int, int]:
        """Padding of T steps, left and right."""
        if not self.same:
            return self.left, self.right
        pad = max(0, (-(-T // self.stride) - 1) * self.stride + self.reach + 1 - T)
        small, large = pad // 2, pad - pad // 2
        return (small, large) if self.same == "SAME_UPPER" else (large, small)

    @property
    def reach(self) -> int:
        """From a window's first step to its last."""
        return self.dilation * (self.size - 1)

    def over(self, x: Array, meter: Meter, fill: float) -> list[Array]:
        """Of each of a window's steps, those of all windows: views of x padded with ``fill``."""
        left, right = self.sides(x.shape[2])
        T = (x.shape[2] + left + right - self.reach - 1) // self.stride + 1
        if T < 1:
            raise ModelFileError(f"x must have the steps of one window at least; it has {x.shape[2]}")
        shape = (*x.shape[:2], x.shape[2] + left + right)
        meter.claim(shape, x.itemsize)
        padded = np.full(shape, fill, x.dtype)
        padded[:, :, left : left + x.shape[2]] = x
        starts = [self.dilation * k for k in range(self.size)]
        return [padded[:, :, start : start + self.stride * (T - 1) + 1 : self.stride] for start in starts]


def _sizes(node: Node, name: str, default: list[int]) -> list[int]:
    """A list of sizes, as long as its default."""
    values: list[int] = node.values(name, int) or default
    if len(values) != len(default) or any(abs(n) > LARGEST_DIM for n in values):
        raise ModelFileError(f"{name} must have {len(default)} sizes, of one dimension; it has {values!s:.60}")
    return values


def three_axes(x: Array) -> Array:
    """``x``, floats with three axes."""
    if of_kind(x, "f").ndim != 3:
        raise ModelFileError(f"x must have three axes, (B, D, T); it has shape {x.shape}")
    return x


def conv(node: Node) -> Operation:
    """Convolution: x (B, D, T), W (M, D / groups, K), and perhaps b (M)."""
    window, groups = Window.of(node), node.attribute("group", int, 1)

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        x, W, b = three_axes(operands[0]), three_axes(operands[1]), optional(operands, 2)
        one_dtype(x, W, b)
        M, width, K = W.shape
        sound = groups > 0 and M and M % groups == 0 and width * groups == x.shape[1] and 0 < K <= MOST_TAPS
        if not sound or window.size not in (0, K) or (b is not None and b.shape != (M,)):
            raise ModelFileError(f"W must be (M, {x.shape[1]} / groups, K) with b (M); got {W.shape}, {groups} groups")
        taps = window._replace(size=K).over(x, meter, 0)
        shape = (len(x), M, taps[0].shape[2])
        meter.claim((extent(shape) + extent((len(x), width, shape[2])),), x.itemsize, copies=3)
        meter.walk((*shape, width * K), ns=1 / PRODUCTS)
        meter.spend(1000 * groups * K)
        y = np.zeros(shape, x.dtype)
        for g in range(groups):
            rows, block = slice(g * M // groups, (g + 1) * M // groups), slice(g * width, (g + 1) * width)
            for k, tap in enumerate(taps):
                y[:, rows] += W[rows, :, k] @ tap[:, block]
        return (y if b is None else y + b[:, None],)

    return run


def pool(node: Node) -> Operation:
    """MaxPool and AveragePool."""
    window, largest = Window.of(node), node.op == "MaxPool"
    counts = not largest and node.flag("count_include_pad")
    if node.flag("ceil_mode") or (largest and node.flag("storage_order")):
        raise ModelFileError("ceil_mode and storage_order must be 0")
    if window.size < 1:
        raise ModelFileError("kernel_shape must be given; it is missing")

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        x = three_axes(operands[0])
        meter.spend(2000 * window.size)
        taps = window.over(x, meter, -np.inf if largest else 0)
        meter.claim(taps[0].shape, x.itemsize, ns=4 * window.size, copies=3)
        y = taps[0].copy()
        for tap in taps[1:]:
            y = np.maximum(y, tap) if largest else y + tap
        if largest:
            return (y,)
        ones = window.over(np.ones((1, 1, x.shape[2]), x.dtype), meter, float(counts))
        return (y / sum(ones[1:], ones[0]),)

    return run


def pool_all(f: Callable[..., Any]) -> Callable[[Node], Operation]:
    """GlobalMaxPool and GlobalAveragePool: ``f`` over all axes behind the second."""

    def prepare(node: Node) -> Operation:
        def run(meter: Meter, operands: Operands) -> Sequence[Array]:
            x = of_kind(operands[0], "f")
            if x.ndim < 3:
                raise ModelFileError(f"x must have three axes or more; it has shape {x.shape}")
            meter.walk(x.shape, ns=10)
            meter.claim(x.shape[:2], x.itemsize, copies=2)
            return (f(x, axis=tuple(range(2, x.ndim)), keepdims=True),)

        return run

    return prepare


def layer_norm(node: Node) -> Operation:
    """(x - mean) / √(variance + ε) g + b over the axes from ``axis`` on; then the mean, and 1 / √(variance + ε)."""
    axis, epsilon = node.attribute("axis", int, -1), node.attribute("epsilon", float, 1e-5)
    node.attribute("stash_type", int)

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        x, g, b = of_kind(operands[0], "f"), operands[1], optional(operands, 2)
        one_dtype(x, g, b)
        over = tuple(range(axis_of(axis, x.ndim), x.ndim))
        if any(a is not None and np.broadcast_shapes(x.shape, a.shape) != x.shape for a in (g, b)):
            raise ModelFileError(f"scale and bias must broadcast to {x.shape}; they have {g.shape}")
        meter.claim(x.shape, x.itemsize, ns=30, copies=5)
        mean = x.mean(axis=over, keepdims=True)
        centred = x - mean
        scale = 1 / np.sqrt((centred * centred).mean(axis=over, keepdims=True) + x.dtype.type(epsilon))
        y = centred * scale * g
        return (y if b is None else y + b, mean, scale)[: len(node.outputs)]

    return run


def batch_norm(node: Node) -> Operation:
    """(x - mean) / √(variance + ε) g + b, feature by feature, with the statistics that are given."""
    epsilon = node.attribute("epsilon", float, 1e-5)
    node.attribute("momentum", float)
    node.attribute("spatial", int)
    if node.flag("training_mode") or len(node.outputs) > 1:
        raise ModelFileError("training_mode must be 0: a graph is run for inference")

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        x, *rest = (of_kind(a, "f") for a in operands)
        one_dtype(x, *rest)
        if x.ndim < 2 or any(a.shape != x.shape[1:2] for a in rest):
            raise ModelFileError(f"x (B, D, ...) needs four inputs (D); got {[a.shape for a in rest]} for {x.shape}")
        g, b, mean, variance = (a.reshape(-1, *[1] * (x.ndim - 2)) for a in rest)
        meter.claim(x.shape, x.itemsize, ns=20, copies=4)
        return ((x - mean) / np.sqrt(variance + x.dtype.type(epsilon)) * g + b,)

    return run


def prelu(meter: Meter, operands: Operands) -> Sequence[Array]:
    """x where it is above 0, else slope x."""
    x, slope = (of_kind(a, "f") for a in operands)
    one_dtype(x, slope)
    if np.broadcast_shapes(x.shape, slope.shape) != x.shape:
        raise ModelFileError(f"the slope must have a shape that broadcasts to {x.shape}; it has {slope.shape}")
    meter.claim(x.shape, x.itemsize, ns=12, copies=3)
    return (np.where(x > 0, x, slope * x),)

"""Rules for convolution, pooling, norms and Flatten: nodes that have features second, (B, F, T), or last.

``o`` is an axis of size 1 where T was; X is all steps side by side, those of the first first, and Y the same with all
steps of the first feature first.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.layer import Layer
from minirnn.formats.onnx.recognising.forms import ChainValue, Form, Held, width_of
from minirnn.formats.onnx.recognising.move_rules import fixed
from minirnn.formats.onnx.running.operands import optional
from minirnn.formats.onnx.running.windows import Window
from minirnn.formats.onnx.structure import Node
from minirnn.layers.convolution import Conv1d
from minirnn.layers.feedforward import PReLU
from minirnn.layers.normalisation import BatchNorm1d, LayerNorm
from minirnn.layers.pooling import AvgPool1d, Flatten, GlobalAvgPool1d, GlobalMaxPool1d, MaxPool1d
from minirnn.layers.windows import Padding


def held(x: ChainValue, layer: Layer, arrays: dict[str, Array], make: Callable[[str], Array] | None = None) -> Form:
    """The chain after a layer with these weights, of a file's arrays; ``make`` makes them of those, by name."""
    return x.then(Held(layer, make or arrays.__getitem__, frozenset(str(a.dtype) for a in arrays.values())))


def flattened(x: ChainValue, W: Array) -> tuple[ChainValue | None, Array]:
    """x (B, X) or (B, Y) as what Flatten gives, and the matrix W that it is multiplied with, in its order of lines."""
    if x.axes not in ("BX", "BY"):
        return x, W
    D = width_of(x.parts)
    if W.ndim != 2 or not D or W.shape[0] % D or not W.size:
        return None, W
    T = W.shape[0] // D
    if x.axes == "BY":
        W = W.reshape(D, T, -1).swapaxes(0, 1).reshape(T * D, -1)
    y = x.then(Flatten(T, D), "BF")
    return (y, W) if isinstance(y, ChainValue) else (None, W)


def flat_axes(axes: str) -> str:
    """The letters of a value whose axes after the first become one; "" where there are none for it."""
    return {"BTF": "BX", "BFT": "BY", "BFo": "BF", "BoF": "BF", "BF": "BF"}.get(axes, "")


def _padding(window: Window, *, causal: bool = False) -> Padding:
    """A window's padding as a layer has it; ValueError where it depends on the number of steps."""
    if window.same and window.stride > 1 and window.reach:
        raise ValueError(f"{window.same} with a stride: where windows begin depends on the number of steps")
    left, right = window.sides(1) if window.same else (window.left, window.right)
    if causal and left == window.reach > 0 == right:
        return "causal"
    same = window.stride == 1 and left == window.reach // 2 and left + right == window.reach
    return "same" if same and window.reach else (left, right)


def _conv(node: Node, inputs: list[Form]) -> Form:
    x, W, b = inputs[0], inputs[1], optional(inputs, 2)
    if not isinstance(x, ChainValue) or x.axes != "BFT" or not isinstance(W, np.ndarray) or W.ndim != 3:
        return None
    if not (b is None or isinstance(b, np.ndarray)):
        return None
    window, groups = Window.of(node)._replace(size=W.shape[2]), node.attributes.get("group", 1)
    layer = Conv1d(
        *(W.shape[1] * groups, W.shape[0], window.size, window.stride),
        padding=_padding(window, causal=True),
        dilation=window.dilation,
        groups=groups,
        bias=b is not None,
    )

    def weight(name: str) -> Array:
        """torch's (out, in / groups, K), and a layer's (K · in / groups, out)."""
        return W.transpose(2, 1, 0).reshape(-1, W.shape[0]) if name == "W" else np.asarray(b)

    return held(x, layer, {"W": W} if b is None else {"W": W, "b": b}, weight)


def _pool(node: Node, inputs: list[Form]) -> Form:
    x, window = inputs[0], Window.of(node)
    if not isinstance(x, ChainValue) or x.axes != "BFT" or window.dilation != 1:
        return None
    padding = _padding(window)
    if node.op == "MaxPool":
        return x.then(MaxPool1d(window.size, window.stride, padding))
    counts = bool(node.attributes.get("count_include_pad", 0)) or padding == (0, 0)
    return x.then(AvgPool1d(window.size, window.stride, padding, count_padding=counts))


def _pool_all(node: Node, inputs: list[Form]) -> Form:
    x = inputs[0]
    layer = GlobalMaxPool1d() if node.op == "GlobalMaxPool" else GlobalAvgPool1d()
    return x.then(layer, "BFo") if isinstance(x, ChainValue) and x.axes == "BFT" else None


def _reduced(node: Node, inputs: list[Form]) -> Form:
    """The mean, or the largest, over the axis of time."""
    x, axes = inputs[0], fixed(node, inputs, "axes")
    if not isinstance(x, ChainValue) or x.axes not in ("TBF", "BTF", "BFT") or axes is None or len(axes) != 1:
        return None
    if x.axes[axes[0] % 3] != "T":
        return None
    left = x.axes.replace("T", "o" if node.attributes.get("keepdims", 1) else "")
    return x.then(GlobalMaxPool1d() if node.op == "ReduceMax" else GlobalAvgPool1d(), left)


def _layer_norm(node: Node, inputs: list[Form]) -> Form:
    x, g, b = inputs[0], inputs[1], optional(inputs, 2)
    axis = node.attributes.get("axis", -1)
    if not isinstance(x, ChainValue) or not x.axes.endswith("F") or axis not in (-1, len(x.axes) - 1):
        return None
    if not isinstance(g, np.ndarray) or g.ndim != 1 or not (b is None or (isinstance(b, np.ndarray) and b.ndim == 1)):
        return None
    layer = LayerNorm(g.size, node.attributes.get("epsilon", 1e-5), bias=b is not None)
    return held(x, layer, {"g": g} if b is None else {"g": g, "b": b})


def _batch_norm(node: Node, inputs: list[Form]) -> Form:
    x, *arrays = inputs
    if not isinstance(x, ChainValue) or x.axes[1:2] != "F" or not all(isinstance(a, np.ndarray) for a in arrays):
        return None
    if any((a < 0).any() for a in arrays[3:]):
        return None
    layer = BatchNorm1d(arrays[0].size, node.attributes.get("epsilon", 1e-5))
    return held(x, layer, dict(zip(("g", "b", "mean", "var"), arrays, strict=True)))


def _prelu(node: Node, inputs: list[Form]) -> Form:
    x, slope = inputs
    if not isinstance(x, ChainValue) or "F" not in x.axes or not isinstance(slope, np.ndarray):
        return None
    behind = len(x.axes) - x.axes.index("F")  # the place of F from the end
    if slope.size > 1 and (slope.ndim < behind or slope.shape[-behind] != slope.size):
        return None
    return held(x, PReLU(slope.size), {"a": slope}, lambda _: slope.reshape(-1))


def _flatten(node: Node, inputs: list[Form]) -> Form:
    x: Any = inputs[0]
    axes = flat_axes(x.axes) if isinstance(x, ChainValue) and node.attributes.get("axis", 1) == 1 else ""
    return x._replace(axes=axes) if axes else None


AROUND: dict[str, Callable[[Node, list[Form]], Form]] = {
    "Conv": _conv,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "GlobalMaxPool": _pool_all,
    "GlobalAveragePool": _pool_all,
    "ReduceMean": _reduced,
    "ReduceMax": _reduced,
    "LayerNormalization": _layer_norm,
    "BatchNormalization": _batch_norm,
    "PRelu": _prelu,
    "Flatten": _flatten,
}

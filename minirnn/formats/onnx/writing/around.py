"""Convolution, pooling, norms and Flatten in operators of ONNX, which has features second: (B, F, T)."""

from typing import Any

import numpy as np

from minirnn.core.layer import Layer
from minirnn.core.module import brief
from minirnn.formats.onnx.writing.emitter import Emitter
from minirnn.formats.onnx.writing.steps import Steps
from minirnn.formats.onnx.writing.weights import laid_out, weight
from minirnn.layers.convolution import Conv1d
from minirnn.layers.feedforward import PReLU
from minirnn.layers.normalisation import BatchNorm1d, LayerNorm
from minirnn.layers.pooling import AvgPool1d, Flatten, GlobalAvgPool1d, GlobalMaxPool1d, MaxPool1d

NORM_OPSET = 17  # the first with LayerNormalization
OVER_TIME = (Conv1d, MaxPool1d, AvgPool1d, GlobalMaxPool1d, GlobalAvgPool1d, Flatten)


def around(e: Emitter, layer: Layer, x: str, steps: Steps, *, timed: bool) -> tuple[str, Steps] | None:
    """The layer over x, (T, B, F), or (B, F) where that is not ``timed``; None for a layer of another kind.

    ValueError for what mixes steps of rows that have lengths, or of which a mask has some skipped.
    """
    if isinstance(layer, OVER_TIME) and (steps.lengths or steps.skip):
        raise ValueError(f"{brief(layer)} cannot be written as ONNX with lengths or after a mask: it mixes steps")
    if isinstance(layer, LayerNorm):
        return layer_norm(e, layer, x), steps
    if isinstance(layer, BatchNorm1d):
        return batch_norm(e, layer, x, timed=timed), steps
    if isinstance(layer, PReLU):
        return e("PRelu", x, weight(e, layer, "a")), steps
    if isinstance(layer, (GlobalMaxPool1d, GlobalAvgPool1d)):
        return e("ReduceMax" if isinstance(layer, GlobalMaxPool1d) else "ReduceMean", x, axes=[0], keepdims=0), steps
    if isinstance(layer, Flatten):
        return e("Flatten", e("Transpose", x, perm=[1, 0, 2]), axis=1), steps
    if not isinstance(layer, (Conv1d, MaxPool1d, AvgPool1d)):
        return None
    about: dict[str, Any] = {"kernel_shape": [layer.kernel_size], "strides": [layer.stride]}
    about["pads"] = [layer.left, layer.right]
    second = e("Transpose", x, perm=[1, 2, 0])
    if isinstance(layer, Conv1d):
        y = convolution(e, layer, second, about)
    elif isinstance(layer, MaxPool1d):
        y = e("MaxPool", second, **about)
    else:
        y = e("AveragePool", second, count_include_pad=int(layer.count_padding), **about)
    y = e("Transpose", y, perm=[2, 0, 1])
    return y, Steps(e, y, None) if layer.changes_steps else steps


def convolution(e: Emitter, layer: Conv1d, x: str, about: dict[str, Any]) -> str:
    """Conv, whose W is (out, in / groups, K)."""
    if layer.bound.quantized == "int8":
        raise ValueError(f"{brief(layer)} cannot be written as ONNX in int8: quantise to f16, or write the original")
    K, out = layer.kernel_size, layer.out_channels
    W = laid_out(e, "W", lambda fetch: fetch(layer, "W").reshape(K, -1, out).transpose(2, 1, 0))
    inputs = [x, W, *([weight(e, layer, "b")] if layer.bias else [])]
    return e("Conv", *inputs, dilations=[layer.dilation], group=layer.groups, **about)


def layer_norm(e: Emitter, layer: LayerNorm, x: str) -> str:
    """LayerNormalization, which has a gain in any case."""
    gain = weight(e, layer, "g") if layer.gain else e.weight("g", np.ones(layer.num_features, e.dtype))
    inputs = [x, gain, *([weight(e, layer, "b")] if layer.bias else [])]
    return e("LayerNormalization", *inputs, axis=-1, epsilon=layer.eps)


def batch_norm(e: Emitter, layer: BatchNorm1d, x: str, *, timed: bool) -> str:
    """BatchNormalization, for which features are moved to the second place."""
    weights = [weight(e, layer, name) for name in ("g", "b", "mean", "var")]
    x = e("Transpose", x, perm=[0, 2, 1]) if timed else x
    y = e("BatchNormalization", x, *weights, epsilon=layer.eps)
    return e("Transpose", y, perm=[0, 2, 1]) if timed else y

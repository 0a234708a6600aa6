"""Rules for nodes that do what a layer does: products, functions, recurrences."""

from collections.abc import Callable

import numpy as np

from minirnn.formats.onnx.recognising.around_rules import AROUND, flattened
from minirnn.formats.onnx.recognising.forms import (
    Affine,
    ChainValue,
    Encoding,
    FinalRow,
    FinalStates,
    Form,
    InitialState,
    Lengths,
    Other,
    Spread,
    Unit,
    Zeros,
    all_are,
)
from minirnn.formats.onnx.running.computing import function_of
from minirnn.formats.onnx.running.operands import optional
from minirnn.formats.onnx.running.recurrences import RecurrentNode
from minirnn.formats.onnx.structure import FUNCTIONS, Node
from minirnn.layers.activations import Function
from minirnn.layers.feedforward import Activation, Dropout


def _dropout(node: Node, inputs: list[Form]) -> Form:
    form, ratio = inputs[0], node.attributes.get("ratio", 0.5)
    if isinstance(optional(inputs, 1), np.ndarray) and inputs[1].size == 1:
        ratio = float(inputs[1].reshape(()))
    if isinstance(form, ChainValue) and 0 < ratio < 1:
        return [form.then(Dropout(float(ratio))), Other()]
    return [form, Other()]


def _one_hot(node: Node, inputs: list[Form]) -> Form:
    index, depth, values = inputs
    plain = isinstance(index, ChainValue) and not index.parts and index.axes in ("TB", "BT")
    if not plain or node.attributes.get("axis", -1) not in (-1, 2):
        return None
    if not all(isinstance(form, np.ndarray) for form in (depth, values)) or (depth.size, values.size) != (1, 2):
        return None
    if values.dtype.kind != "f" or list(values.reshape(-1)) != [0, 1]:
        return None
    return ChainValue((Encoding(int(depth.reshape(-1)[0])),), f"{index.axes}F")


def _matmul(node: Node, inputs: list[Form]) -> Form:
    x, W = inputs
    if not isinstance(x, ChainValue) or not isinstance(W, np.ndarray) or W.ndim != 2:
        return None
    x, W = flattened(x, W)
    return x.then(Affine(W, None)) if x is not None and x.axes.endswith("F") else None


def _add(node: Node, inputs: list[Form]) -> Form:
    x, b = inputs if isinstance(inputs[0], ChainValue) else inputs[::-1]
    last = x.parts[-1] if isinstance(x, ChainValue) and x.parts else None
    if not isinstance(last, Affine) or last.b is not None or not isinstance(b, np.ndarray):
        return None
    if b.size != last.W.shape[1] or b.shape[-1:] != (b.size,) or b.ndim > len(x.axes):
        return None
    return ChainValue((*x.parts[:-1], last._replace(b=b.reshape(-1))), x.axes)


def _gemm(node: Node, inputs: list[Form]) -> Form:
    x, W, c = inputs[0], inputs[1], optional(inputs, 2)
    about = node.attributes
    if not isinstance(x, ChainValue) or len(x.axes) != 2 or x.axes[1] not in "FXY" or about.get("transA", 0):
        return None
    if not isinstance(W, np.ndarray) or not (c is None or isinstance(c, np.ndarray)):
        return None
    W, b, beta = W.T if about.get("transB", 0) else W, None, 1.0
    if c is not None:
        if c.size not in (1, W.shape[1]) or (c.ndim == 2 and c.shape[0] != 1):
            return None
        b, beta = np.broadcast_to(c.reshape(-1), W.shape[1:]), about.get("beta", 1.0)
    x, W = flattened(x, W)
    return None if x is None else x.then(Affine(W, b, about.get("alpha", 1.0), beta))


def _function(node: Node, inputs: list[Form]) -> Form:
    return _applied(inputs[0], function_of(node))


def _over_features(node: Node, inputs: list[Form]) -> Form:
    form, axis = inputs[0], node.attributes.get("axis", 1 if node.opset < 13 else -1)
    last = isinstance(form, ChainValue) and form.axes[-1] == "F" and axis in (-1, len(form.axes) - 1)
    return _applied(form, function_of(node)) if last else None


def _clip(node: Node, inputs: list[Form]) -> Form:
    bounds = [node.attributes.get("min"), node.attributes.get("max")]
    if len(inputs) > 1:
        ends = (inputs[1], optional(inputs, 2))
        bounds = [float(b.reshape(())) if isinstance(b, np.ndarray) and b.size == 1 else None for b in ends]
    return _applied(inputs[0], Function("relu6")) if bounds == [0, 6] else None


def _gelu(node: Node, inputs: list[Form]) -> Form:
    exact = node.attributes.get("approximate", "none") == "none"
    return _applied(inputs[0], Function("gelu" if exact else "gelu_tanh"))


def _selu(node: Node, inputs: list[Form]) -> Form:
    plain = all(abs(node.attributes.get(w, v) - v) < 1e-6 for w, v in (("alpha", 1.6732632), ("gamma", 1.0507010)))
    return _applied(inputs[0], Function("selu")) if plain else None


def _applied(form: Form, function: Function) -> Form:
    if isinstance(form, ChainValue) and (form.axes[-1] == "F" or form.axes in ("BFT", "BX", "BY")):
        return form.then(Activation(function.name, function.alpha, function.beta))
    return None


def _recurrence(node: Node, inputs: list[Form]) -> Form:
    about = RecurrentNode.of(node)
    X, W, R, B, lens, h0, c0, P = (*inputs, *[None] * 8)[:8]
    if not isinstance(X, ChainValue) or X.axes != ("BTF" if about.batch_first else "TBF"):
        return None
    if any(a is not None and not isinstance(a, np.ndarray) for a in (W, R, B, P)):
        return None
    if lens is not None and not isinstance(lens, Lengths):
        return None
    starts = []
    for form in (h0, c0) if node.op == "LSTM" else (h0,):
        known = Zeros() if all_are(form, 0) else form
        if not (known is None or isinstance(known, (InitialState, Spread, Zeros))):
            return None
        if isinstance(known, InitialState) and len(known.axes) != 3:
            return None
        starts.append(known)
    unit = Unit(node, about, W, R, B, P, tuple(starts), lens and lens.name)
    y = X.then(unit, "BTdH" if about.batch_first else "TdBH")
    if isinstance(y, Other):
        return [y] * len(node.outputs)
    rows = tuple(FinalRow(unit, k, y.parts) for k in range(len(about.directions)))
    return [y, *(FinalStates(kind, rows, "BdH" if about.batch_first else "dBH") for kind in range(len(starts)))]


LAYERS: dict[str, Callable[[Node, list[Form]], Form]] = {
    **AROUND,
    **dict.fromkeys(FUNCTIONS, _function),
    **dict.fromkeys(("RNN", "GRU", "LSTM"), _recurrence),
    "Softmax": _over_features,
    "LogSoftmax": _over_features,
    "Clip": _clip,
    "Gelu": _gelu,
    "Selu": _selu,
    "Dropout": _dropout,
    "OneHot": _one_hot,
    "MatMul": _matmul,
    "Add": _add,
    "Gemm": _gemm,
}

"""Operator sets 1 to 6, where they differ from those after them.

What changed is how operands are broadcast, which came in with set 7, and what was an attribute then.  Operators that
are not listed here are refused below set 7.
"""

from collections.abc import Callable, Sequence

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.files import ModelFileError
from minirnn.formats.onnx.running.meter import Meter
from minirnn.formats.onnx.running.operands import axis_of
from minirnn.formats.onnx.running.perform import Operands, Operation
from minirnn.formats.onnx.structure import BFLOAT16, DTYPES, FLOAT16, Node, short

BROADCASTING = ("Add", "Sub", "Mul", "Div", "Pow", "Equal", "Less", "Greater", "And", "Or")
SINCE = {  # by operator: the first set in which it reads as here
    **dict.fromkeys(("RNN", "GRU", "LSTM", *BROADCASTING), 1),
    **dict.fromkeys(("Relu", "Tanh", "Sigmoid", "LeakyRelu", "Elu", "HardSigmoid", "Softplus", "Softsign"), 1),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Exp", "Log", "Sqrt", "Neg", "Abs", "Not", "Max", "Min", "Clip"), 1),
    **dict.fromkeys(("MatMul", "Gemm", "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "Cast", "Dropout"), 1),
    **dict.fromkeys(("Conv", "MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool", "BatchNormalization"), 1),
    **dict.fromkeys(("Transpose", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Concat", "Slice", "Gather"), 1),
    **dict.fromkeys(("Identity", "Constant", "Shape", "Size", "Floor", "Ceil", "Reciprocal"), 1),
    **dict.fromkeys(("Sum", "Mean", "ArgMax", "ArgMin", "ReduceProd"), 1),
    **dict.fromkeys(("If", "Loop"), 1),
    **dict.fromkeys(("Split", "Pad"), 2),
    "Selu": 6,
}
BY_NAME = {word.upper(): code for code, word in DTYPES.items()}  # element types, in words before set 6
BY_NAME |= {"FLOAT": 1, "FLOAT16": FLOAT16, "DOUBLE": 11, "BFLOAT16": BFLOAT16}
OBSOLETE = {  # attributes that say nothing of what is computed in inference
    **dict.fromkeys(("RNN", "GRU", "LSTM"), "output_sequence"),
    **dict.fromkeys(("Dropout", "BatchNormalization"), "is_test"),
    "Gemm": "broadcast",
}


def least_inputs(op: str, opset: int, least: int) -> int:
    """How many inputs an operator must have: Reshape's shape was an attribute before set 5."""
    return 1 if op == "Reshape" and opset < 5 else least


def earlier(node: Node, prepare: Callable[[Node], Operation]) -> Operation:
    """The node prepared under the rules of its set, below 7, by the function that later sets are ``prepare``d by."""
    if node.opset < 6:
        node.attribute("consumed_inputs", list)
    if node.op in OBSOLETE:
        node.attribute(OBSOLETE[node.op], int)
    if node.op in BROADCASTING:
        return broadcasting(node, prepare(node))
    if node.op == "Concat" and node.opset < 4:
        node.attributes.setdefault("axis", 1)
    if node.op == "Cast" and node.opset < 6:
        word = node.attributes.get("to")
        if isinstance(word, str):
            if word not in BY_NAME:
                raise ModelFileError(f"to must name an element type; got {short(word)}")
            node.attributes["to"] = BY_NAME[word]
    if node.op == "Reshape" and node.opset < 5:
        shape = node.values("shape", int)
        if shape is None:
            raise ModelFileError("shape must be given; it is missing")
        run = prepare(node)
        return lambda meter, operands: run(meter, [operands[0], np.array(shape, np.int64)])
    return prepare(node)


def broadcasting(node: Node, run: Operation) -> Operation:
    """Two operands of one shape; with ``broadcast``, the second goes along the axes of the first from ``axis`` on.

    Without an ``axis`` it goes along the last ones.
    """
    spreads, axis = node.flag("broadcast"), node.attribute("axis", int)

    def aligned(a: Array, b: Array) -> Array:
        if not spreads:
            if a.shape != b.shape:
                raise ModelFileError(f"operands must have one shape; they have {a.shape} and {b.shape}")
            return b
        k = a.ndim - b.ndim if axis is None or b.ndim == 0 else axis_of(axis, a.ndim)
        after = a.ndim - k - b.ndim
        if k < 0 or after < 0 or any(m not in (1, n) for n, m in zip(a.shape[k:], b.shape, strict=False)):
            raise ModelFileError(f"{b.shape} must go along {a.shape} from axis {k} on; it does not")
        return b.reshape(b.shape + (1,) * after)

    def aligned_run(meter: Meter, operands: Operands) -> Sequence[Array]:
        a, b = operands
        return run(meter, [a, aligned(a, b)])

    return aligned_run

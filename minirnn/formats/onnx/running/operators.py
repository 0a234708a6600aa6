"""The operators that a graph may have, by name, and nodes prepared with them.

A ``prepare`` reads the attributes, under the rules of the node's operator set (7 and later; ``earlier.py`` has those
before), and returns the function that is run.  Before a result is made that can be larger than what it is made from,
the meter is asked.  The standard has no conversions between element types but ``Cast``: operands of one node have one
dtype.  The nodes of graphs within nodes are prepared in the same way.
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.files import ModelFileError
from minirnn.formats.onnx.running import computing, indexing, quantised, shaping, subgraphs, windows
from minirnn.formats.onnx.running.earlier import SINCE, earlier
from minirnn.formats.onnx.running.meter import Meter, TooMuchError
from minirnn.formats.onnx.running.perform import Operation, PreparedNode, perform
from minirnn.formats.onnx.running.program import Program
from minirnn.formats.onnx.running.recurrences import recurrence
from minirnn.formats.onnx.structure import FUNCTIONS, Node, short
from minirnn.layers.activations import erf

MANY = 1 << 16
AHEAD = 100_000_000  # nanoseconds that may pass with what is done when a file is read
AnyProgram = TypeVar("AnyProgram", bound=Program)


class OperatorRule(NamedTuple):
    """How a node of this kind is prepared, how many inputs and outputs it may have, and since which operator set."""

    prepare: Callable[[Node], Operation]
    least: int
    most: int
    outputs: int = 1
    since: int = 7


def plain(run: Operation, least: int, most: int, since: int = 7, outputs: int = 1) -> OperatorRule:
    """The rule of an operator without attributes."""
    return OperatorRule(lambda _: run, least, most, outputs, since)


BEYOND = {"DynamicQuantizeLSTM": "com.microsoft"}  # operators that are not the standard's, by their domain
OPERATORS: dict[str, OperatorRule] = {
    "RNN": OperatorRule(recurrence, 3, 6, outputs=2),
    "GRU": OperatorRule(recurrence, 3, 6, outputs=2),
    "LSTM": OperatorRule(recurrence, 3, 8, outputs=3),
    **{name: OperatorRule(computing.function, 1, 1) for name in FUNCTIONS},
    "Softmax": OperatorRule(computing.over_axis, 1, 1),
    "LogSoftmax": OperatorRule(computing.over_axis, 1, 1),
    "ThresholdedRelu": OperatorRule(computing.function, 1, 1, since=10),
    "Mish": OperatorRule(computing.function, 1, 1, since=18),
    "HardSwish": OperatorRule(computing.function, 1, 1, since=14),
    "Gelu": OperatorRule(computing.gelu, 1, 1, since=20),
    "Selu": OperatorRule(computing.selu, 1, 1),
    "Clip": OperatorRule(computing.clip, 1, 3),
    "Neg": plain(computing.unary(np.negative, "if"), 1, 1),
    "Sqrt": plain(computing.unary(np.sqrt), 1, 1),
    "Add": plain(computing.binary(np.add), 2, 2),
    "Sub": plain(computing.binary(np.subtract), 2, 2),
    "Mul": plain(computing.binary(np.multiply), 2, 2),
    "Div": plain(computing.binary(computing.divide, copies=5), 2, 2),
    "Max": plain(computing.among(np.maximum), 1, MANY),
    "Min": plain(computing.among(np.minimum), 1, MANY),
    "Sum": plain(computing.among(np.add), 1, MANY),
    "Mean": plain(computing.mean_of_all, 1, MANY),
    "Mod": OperatorRule(computing.modulo, 2, 2, since=10),
    "Floor": plain(computing.unary(np.floor), 1, 1),
    "Ceil": plain(computing.unary(np.ceil), 1, 1),
    "Sign": plain(computing.unary(np.sign, "iuf"), 1, 1, since=9),
    "Reciprocal": plain(computing.unary(np.reciprocal), 1, 1),
    "Abs": plain(computing.unary(np.abs, "iuf"), 1, 1),
    "Log": plain(computing.unary(np.log), 1, 1),
    "Erf": plain(computing.unary(erf, ns=250, copies=14), 1, 1, since=9),
    "Equal": plain(computing.binary(np.equal, "iufb"), 2, 2),
    "Less": plain(computing.binary(np.less), 2, 2),
    "LessOrEqual": plain(computing.binary(np.less_equal), 2, 2, since=12),
    "Greater": plain(computing.binary(np.greater), 2, 2),
    "GreaterOrEqual": plain(computing.binary(np.greater_equal), 2, 2, since=12),
    "And": plain(computing.binary(np.logical_and, "b"), 2, 2),
    "Or": plain(computing.binary(np.logical_or, "b"), 2, 2),
    "Not": plain(computing.unary(np.logical_not, "b"), 1, 1),
    "Where": plain(computing.where, 3, 3, since=9),
    "Cast": OperatorRule(computing.cast, 1, 1),
    "Dropout": OperatorRule(computing.dropout, 1, 3, outputs=2),
    "Pow": plain(computing.power, 2, 2),
    "MatMul": plain(computing.matmul, 2, 2),
    "Gemm": OperatorRule(computing.gemm, 2, 3),
    "ReduceMean": OperatorRule(computing.reduction(computing.mean, 18, "f"), 1, 2),
    "ReduceSum": OperatorRule(computing.reduction(computing.summed, 13, "iuf"), 1, 2),
    "ReduceMax": OperatorRule(computing.reduction(computing.largest, 18, "iufb"), 1, 2),
    "ReduceMin": OperatorRule(computing.reduction(computing.smallest, 18, "iufb"), 1, 2),
    "ReduceProd": OperatorRule(computing.reduction(computing.multiplied, 18, "iuf"), 1, 2),
    "ArgMax": OperatorRule(computing.place_of(np.argmax), 1, 1),
    "ArgMin": OperatorRule(computing.place_of(np.argmin), 1, 1),
    "Conv": OperatorRule(windows.conv, 2, 3),
    "MaxPool": OperatorRule(windows.pool, 1, 1),
    "AveragePool": OperatorRule(windows.pool, 1, 1),
    "GlobalMaxPool": OperatorRule(windows.pool_all(computing.largest), 1, 1),
    "GlobalAveragePool": OperatorRule(windows.pool_all(computing.mean), 1, 1),
    "LayerNormalization": OperatorRule(windows.layer_norm, 2, 3, outputs=3, since=17),
    "BatchNormalization": OperatorRule(windows.batch_norm, 5, 5, outputs=5),
    "PRelu": plain(windows.prelu, 2, 2),
    "QuantizeLinear": OperatorRule(quantised.quantize, 2, 3, since=10),
    "DequantizeLinear": OperatorRule(quantised.dequantize, 2, 3, since=10),
    "DynamicQuantizeLinear": plain(quantised.quantize_dynamically, 1, 1, since=11, outputs=3),
    "MatMulInteger": plain(quantised.matmul_integer, 2, 4, since=10),
    "DynamicQuantizeLSTM": OperatorRule(quantised.quantized_lstm, 3, 12, outputs=3),
    "Transpose": OperatorRule(shaping.transpose, 1, 1),
    "Squeeze": OperatorRule(shaping.squeeze, 1, 2),
    "Unsqueeze": OperatorRule(shaping.unsqueeze, 1, 2),
    "Reshape": OperatorRule(shaping.reshape, 2, 2),
    "Flatten": OperatorRule(shaping.flatten, 1, 1),
    "Concat": OperatorRule(shaping.concat, 1, MANY),
    "Slice": OperatorRule(shaping.slice_, 1, 5),
    "Split": OperatorRule(shaping.split, 1, 2, outputs=MANY),
    "Pad": OperatorRule(shaping.pad, 1, 4),
    "Identity": plain(shaping.identity, 1, 1),
    "Constant": OperatorRule(shaping.constant, 0, 0),
    "ConstantOfShape": OperatorRule(shaping.constant_of_shape, 1, 1, since=9),
    "Shape": OperatorRule(shaping.shape_of, 1, 1),
    "Size": plain(shaping.size_of, 1, 1),
    "Expand": plain(shaping.expand, 2, 2, since=8),
    "Tile": plain(shaping.tile, 2, 2),
    "Gather": OperatorRule(indexing.gather, 2, 2),
    "GatherElements": OperatorRule(indexing.gather_elements, 2, 2, since=11),
    "GatherND": OperatorRule(indexing.gather_nd, 2, 2, since=11),
    "OneHot": OperatorRule(indexing.one_hot, 3, 3, since=9),
    "Range": plain(indexing.range_, 3, 3, since=11),
    "CumSum": OperatorRule(indexing.cum_sum, 2, 2, since=11),
    "TopK": OperatorRule(indexing.top_k, 1, 2, outputs=2),
    "ReverseSequence": OperatorRule(indexing.reverse_sequence, 2, 2, since=10),
    "Scan": OperatorRule(lambda node: subgraphs.scan(node, within), 1, MANY, outputs=MANY, since=9),
    "If": OperatorRule(lambda node: subgraphs.if_(node, within), 1, 1, outputs=MANY),
    "Loop": OperatorRule(lambda node: subgraphs.loop(node, within), 2, MANY, outputs=MANY),
}


def operation(node: Node) -> Operation:
    """What a node does, under the rules of its operator set."""
    prepare = OPERATORS[node.op].prepare
    return prepare(node) if node.opset >= 7 or node.op in BEYOND else earlier(node, prepare)


def since(op: str) -> int:
    """The first operator set in which an operator is run."""
    return SINCE.get(op, OPERATORS[op].since)


class Prepared(NamedTuple):
    """Nodes that are left to run, and the constants that they or the outputs use; ``nodes`` are all, in order."""

    steps: tuple[PreparedNode, ...]
    constants: dict[str, Array]
    nodes: tuple[Node, ...]


def within(
    nodes: Iterable[Node], constants: dict[str, Array], outputs: set[str]
) -> tuple[tuple[PreparedNode, ...], dict[str, Array]]:
    """The nodes of a graph within a node, and the constants that they use."""
    steps, constants, _ = prepared(list(nodes), constants, outputs)
    return steps, constants


def prepared(nodes: Sequence[Node], constants: dict[str, Array], outputs: set[str], *, room: int = 0) -> Prepared:
    """The nodes that are left to run.

    A node that reads constants alone is run here, once, where what comes out has ``room``; 0: none is.  An If whose
    condition is known is replaced by the nodes of its branch.
    """
    constants, meter = dict(constants), Meter(room, AHEAD)
    readers = Counter(name for node in nodes for name in set(node.inputs))
    taken = {name for node in nodes for name in (*node.inputs, *node.outputs)} | set(constants) | outputs
    left: list[PreparedNode] = []
    every: list[Node] = []
    waiting = list(reversed(nodes))
    while waiting:
        node = waiting.pop()
        node.constants = [constants.get(name) for name in node.inputs]
        try:
            condition = node.constants[0] if node.op == "If" else None
            step = None
            if condition is None:
                step = PreparedNode(node, operation(node), ())
            else:
                branch, own = subgraphs.folded(node, condition, taken)
        except ModelFileError as error:
            raise ModelFileError(f"{node}: {error!s:.500}") from None
        except ValueError as error:
            raise ModelFileError(f"{node}: {' '.join(str(error).split()):.300}") from None
        if node.unread:
            raise ModelFileError(f"{node} must have no attribute {short(min(node.unread))} in opset {node.opset}")
        if step is None:
            constants |= own
            readers.update(name for inner in branch for name in set(inner.inputs))
            waiting += reversed(branch)
            continue
        every.append(node)
        if not room or any(name and name not in constants for name in node.inputs):
            left.append(step)
            continue
        try:
            with np.errstate(all="ignore"):
                perform(step, constants, meter)
        except TooMuchError:
            left.append(step)
            continue
        node.constants = [None] * len(node.inputs)
        for name in filter(None, node.outputs):
            constants[name].flags.writeable = False
        for name in set(filter(None, node.inputs)):
            readers[name] -= 1
            if not readers[name] and name not in outputs:
                meter.release(constants.pop(name))
    needed = {name for step in left for name in step.node.inputs} | outputs
    made, used, steps = {name for step in left for name in step.node.outputs if name}, set(outputs), []
    for step in reversed(left):
        ended = made.intersection((*step.node.inputs, *step.node.outputs)) - used
        used |= ended
        steps.append(step._replace(ended=tuple(ended)))
    return Prepared(tuple(reversed(steps)), {name: a for name, a in constants.items() if name in needed}, tuple(every))


def placed(program: AnyProgram, backend: str) -> AnyProgram:
    """The same with its recurrent nodes on another backend, none of whose layers is made yet."""
    steps = []
    for step in program.steps:
        node = copy.copy(step.node)
        node.backend = backend
        steps.append(step._replace(node=node, run=operation(node)))
    moved = copy.copy(program)
    moved.steps = tuple(steps)
    return moved

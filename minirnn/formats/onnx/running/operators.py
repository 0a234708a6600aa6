"""The operators that a graph may have, by name, and nodes prepared with them.

A ``prepare`` reads the attributes, under the rules of the node's operator set (7 and later), and returns the function
that is run.  Before a result is made that can be larger than what it is made from, the meter is asked.  The standard
has no conversions between element types but ``Cast``: operands of one node have one dtype.  ``Scan`` is here, since
the nodes of the graph within it are prepared in the same way.
"""

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.files import ModelFileError
from minirnn.formats.onnx.running import computing, indexing, shaping
from minirnn.formats.onnx.running.meter import Meter, TooMuchError
from minirnn.formats.onnx.running.operands import axis_of
from minirnn.formats.onnx.running.perform import Operands, Operation, PreparedNode, around, perform
from minirnn.formats.onnx.running.program import Program
from minirnn.formats.onnx.running.recurrences import recurrence
from minirnn.formats.onnx.structure import FUNCTIONS, Body, Node, short
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


def plain(run: Operation, least: int, most: int, since: int = 7) -> OperatorRule:
    """The rule of an operator without attributes."""
    return OperatorRule(lambda _: run, least, most, since=since)


def scan(node: Node) -> Operation:
    """States, then sequences, into final states, then sequences (onnx.ai, Scan, opset 9 and later).

    The graph within takes the states and one step of each sequence, and gives the next states and a step of each
    sequence that comes out.  All sequences have one length, T; which axis that is, and whether they run from its end to
    its beginning, are attributes.
    """
    body: Body = node.needed("body", Body)
    sequences = node.needed("num_scan_inputs", int)
    states, stacked = node.declared - sequences, len(node.outputs) - (node.declared - sequences)
    if sequences < 1 or states < 0 or stacked < 0:
        raise ModelFileError(
            f"there must be from 1 to {node.declared} sequences, and an output for each state; "
            f"num_scan_inputs is {sequences}, and there are {len(node.outputs)} outputs"
        )
    if (len(body.inputs), len(body.outputs)) != (node.declared, len(node.outputs)):
        raise ModelFileError(
            f"the graph within must have {node.declared} inputs and {len(node.outputs)} outputs, as the node; "
            f"it has {len(body.inputs)} and {len(body.outputs)}"
        )
    axes_in, axes_out = (
        per_sequence(node, f"scan_{word}_axes", n) for word, n in (("input", sequences), ("output", stacked))
    )
    back_in, back_out = (
        [bool(way) for way in per_sequence(node, f"scan_{word}_directions", n)]
        for word, n in (("input", sequences), ("output", stacked))
    )
    outer = {name: a for name, a in zip(node.inputs, node.constants, strict=True) if a is not None}
    nodes = [copy.copy(inner) for inner in body.nodes]
    for inner in nodes:
        inner.backend, inner.unread = node.backend, set(inner.attributes)
    known = {name: outer[name] for name in body.captured if name in outer} | body.constants
    steps, _ = prepared(nodes, known, set(body.outputs))

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        flow = list(operands[:states])
        read = [
            (np.moveaxis(a, axis_of(axis, a.ndim), 0), back)
            for a, axis, back in zip(operands[states : node.declared], axes_in, back_in, strict=True)
        ]
        lengths = {len(a) for a, _ in read}
        T = lengths.pop()
        if lengths or not T:
            raise ModelFileError(f"sequences must have one length, above 0; they have {sorted({T, *lengths})}")
        meter.spend(T * around(body))
        fixed = dict(zip(body.captured, operands[node.declared :], strict=True)) | body.constants
        made: list[Array] = []
        for t in range(T):
            now = [np.asarray(a[-1 - t if back else t]) for a, back in read]
            values = fixed | dict(zip(body.inputs, [*flow, *now], strict=True))
            before = set(values)
            for step in steps:
                perform(step, values, meter)
            after = [values[name] for name in body.outputs]
            for k, (old, new) in enumerate(zip(flow, after, strict=False)):
                if (old.shape, old.dtype) != (new.shape, new.dtype):
                    raise ModelFileError(
                        f"state {k} must stay of shape {old.shape} {old.dtype}; it becomes {new.shape} {new.dtype}"
                    )
            flow = after[:states]
            if not t:
                for a in after[states:]:
                    meter.claim((T, *a.shape), a.itemsize)
                    made.append(np.empty((T, *a.shape), a.dtype))
                    meter.hold(made[-1])
            for a, whole, back in zip(after[states:], made, back_out, strict=True):
                if (a.shape, a.dtype) != (whole.shape[1:], whole.dtype):
                    raise ModelFileError(
                        f"every step must give shape {whole.shape[1:]} {whole.dtype}; one gives {a.shape}"
                    )
                whole[-1 - t if back else t] = a
            for name in values.keys() - before:
                meter.release(values[name])
        for whole in made:
            meter.release(whole)  # and perform holds what is returned
        return [*flow, *(np.moveaxis(a, 0, axis_of(axis, a.ndim)) for a, axis in zip(made, axes_out, strict=True))]

    return run


def per_sequence(node: Node, name: str, count: int) -> list[int]:
    """An attribute that has a number for each sequence, by default 0."""
    numbers: list[int] = node.values(name, int) or [0] * count
    if len(numbers) != count:
        raise ModelFileError(f"{name} must have {count} numbers; it has {len(numbers)}")
    return numbers


OPERATORS: dict[str, OperatorRule] = {
    "RNN": OperatorRule(recurrence, 3, 6, outputs=2),
    "GRU": OperatorRule(recurrence, 3, 6, outputs=2),
    "LSTM": OperatorRule(recurrence, 3, 8, outputs=3),
    **{name: OperatorRule(computing.function, 1, 1) for name in FUNCTIONS},
    "Softmax": OperatorRule(computing.over_axis, 1, 1),
    "LogSoftmax": OperatorRule(computing.over_axis, 1, 1),
    "ThresholdedRelu": OperatorRule(computing.function, 1, 1, since=10),
    "Mish": OperatorRule(computing.function, 1, 1, since=18),
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
    "MatMul": plain(computing.matmul, 2, 2),
    "Gemm": OperatorRule(computing.gemm, 2, 3),
    "ReduceMean": OperatorRule(computing.reduction(computing.mean, 18, "f"), 1, 2),
    "ReduceSum": OperatorRule(computing.reduction(computing.summed, 13, "iuf"), 1, 2),
    "ReduceMax": OperatorRule(computing.reduction(computing.largest, 18, "iufb"), 1, 2),
    "ReduceMin": OperatorRule(computing.reduction(computing.smallest, 18, "iufb"), 1, 2),
    "Transpose": OperatorRule(shaping.transpose, 1, 1),
    "Squeeze": OperatorRule(shaping.squeeze, 1, 2),
    "Unsqueeze": OperatorRule(shaping.unsqueeze, 1, 2),
    "Reshape": OperatorRule(shaping.reshape, 2, 2),
    "Flatten": OperatorRule(shaping.flatten, 1, 1),
    "Concat": OperatorRule(shaping.concat, 1, MANY),
    "Slice": OperatorRule(shaping.slice_, 1, 5),
    "Split": OperatorRule(shaping.split, 1, 2, outputs=MANY),
    "Identity": plain(shaping.identity, 1, 1),
    "Constant": OperatorRule(shaping.constant, 0, 0),
    "ConstantOfShape": OperatorRule(shaping.constant_of_shape, 1, 1, since=9),
    "Shape": OperatorRule(shaping.shape_of, 1, 1),
    "Size": plain(shaping.size_of, 1, 1),
    "Expand": plain(shaping.expand, 2, 2, since=8),
    "Gather": OperatorRule(indexing.gather, 2, 2),
    "GatherElements": OperatorRule(indexing.gather_elements, 2, 2, since=11),
    "GatherND": OperatorRule(indexing.gather_nd, 2, 2, since=11),
    "OneHot": OperatorRule(indexing.one_hot, 3, 3, since=9),
    "Range": plain(indexing.range_, 3, 3, since=11),
    "CumSum": OperatorRule(indexing.cum_sum, 2, 2, since=11),
    "TopK": OperatorRule(indexing.top_k, 1, 2, outputs=2),
    "ReverseSequence": OperatorRule(indexing.reverse_sequence, 2, 2, since=10),
    "Scan": OperatorRule(scan, 1, MANY, outputs=MANY, since=9),
}


def prepared(
    nodes: Sequence[Node], constants: dict[str, Array], outputs: set[str], *, room: int = 0
) -> tuple[tuple[PreparedNode, ...], dict[str, Array]]:
    """The nodes that are left to run, and the constants that they or the outputs use.

    A node that reads constants alone is run here, once, where what comes out has ``room``; 0: none is.
    """
    constants, meter = dict(constants), Meter(room, AHEAD)
    readers = Counter(name for node in nodes for name in set(node.inputs))
    left: list[PreparedNode] = []
    for node in nodes:
        node.constants = [constants.get(name) for name in node.inputs]
        try:
            step = PreparedNode(node, OPERATORS[node.op].prepare(node), ())
        except ModelFileError as error:
            raise ModelFileError(f"{node}: {error!s:.500}") from None
        except ValueError as error:
            raise ModelFileError(f"{node}: {' '.join(str(error).split()):.300}") from None
        if node.unread:
            raise ModelFileError(f"{node} must have no attribute {short(min(node.unread))} in opset {node.opset}")
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
    return tuple(reversed(steps)), {name: a for name, a in constants.items() if name in needed}


def placed(program: AnyProgram, backend: str) -> AnyProgram:
    """The same with its recurrent nodes on another backend, none of whose layers is made yet."""
    steps = []
    for step in program.steps:
        node = copy.copy(step.node)
        node.backend = backend
        steps.append(step._replace(node=node, run=OPERATORS[node.op].prepare(node)))
    moved = copy.copy(program)
    moved.steps = tuple(steps)
    return moved

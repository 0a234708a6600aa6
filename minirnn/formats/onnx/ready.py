"""Nodes made ready to run, in order, and what is computed once, when a file is read."""

import copy
from collections import Counter
from collections.abc import Sequence

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.files import ModelFileError
from minirnn.formats.onnx.graph import Graph, Node, Step, perform
from minirnn.formats.onnx.meter import Meter, TooMuchError
from minirnn.formats.onnx.nodes import OPERATORS
from minirnn.formats.onnx.tensors import short

AHEAD = 100_000_000  # nanoseconds that may pass with what is done when a file is read


def made_ready(
    nodes: Sequence[Node], constants: dict[str, Array], kept: set[str], *, room: int = 0
) -> tuple[tuple[Step, ...], dict[str, Array]]:
    """The nodes that are left to run, and the constants that they or the outputs use.

    A node that reads constants alone is run here, once, where what comes out has ``room``; 0: none is.
    """
    constants, meter = dict(constants), Meter(room, AHEAD)
    readers = Counter(name for node in nodes for name in set(node.inputs))
    left: list[Step] = []
    for node in nodes:
        node.constants = [constants.get(name) for name in node.inputs]
        try:
            step = Step(node, OPERATORS[node.op].prepare(node), ())
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
            if not readers[name] and name not in kept:
                meter.release(constants.pop(name))
    needed = {name for step in left for name in step.node.inputs} | kept
    made, used, steps = {name for step in left for name in step.node.outputs if name}, set(kept), []
    for step in reversed(left):
        ended = made.intersection((*step.node.inputs, *step.node.outputs)) - used
        used |= ended
        steps.append(step._replace(ended=tuple(ended)))
    return tuple(reversed(steps)), {name: a for name, a in constants.items() if name in needed}


def placed(graph: Graph, backend: str) -> Graph:
    """The graph with its recurrent nodes on another backend, none of whose layers is made yet."""
    steps = []
    for step in graph.steps:
        node = copy.copy(step.node)
        node.backend = backend
        steps.append(step._replace(node=node, run=OPERATORS[node.op].prepare(node)))
    return Graph(
        graph.inputs, graph.outputs, graph.nodes, graph.constants, tuple(steps), graph.where, graph.about, graph.size
    )

"""Nodes made ready to run, in order, and what is computed once, when a file is read."""

import copy
from collections.abc import Sequence

import numpy as np

from minirnn.backend import Array
from minirnn.formats.files import ModelFileError
from minirnn.formats.onnx.graph import Graph, Meter, Node, Step, TooMuchError, perform
from minirnn.formats.onnx.nodes import OPERATORS
from minirnn.formats.onnx.tensors import short

AHEAD = 1 << 27  # operations that are done when a file is read


def made_ready(
    nodes: Sequence[Node], constants: dict[str, Array], kept: set[str], *, work: int = AHEAD
) -> tuple[tuple[Step, ...], dict[str, Array]]:
    """The nodes that are left to run, and the constants that they or the outputs use.

    A node that reads constants alone is run here, once, unless it takes more than is left of so many operations.
    """
    constants = dict(constants)
    meter = Meter(sum(a.nbytes for a in constants.values()), 0)
    meter.work = work
    left: list[Step] = []
    for node in nodes:
        node.constants = [constants.get(name) for name in node.inputs]
        try:
            step = Step(node, OPERATORS[node.op].prepare(node), ())
        except ModelFileError as error:
            raise ModelFileError(f"{node}: {error}") from None
        except ValueError as error:
            raise ModelFileError(f"{node}: {' '.join(str(error).split()):.300}") from None
        if node.unread:
            raise ModelFileError(f"{node} must have no attribute {short(min(node.unread))} in opset {node.opset}")
        if not work or any(name and name not in constants for name in node.inputs):
            left.append(step)
            continue
        try:
            with np.errstate(all="ignore"):
                perform(step, constants, meter)
        except TooMuchError:
            left.append(step)
            continue
        for name in filter(None, node.outputs):
            constants[name].flags.writeable = False
    needed = {name for step in left for name in step.node.inputs} | kept
    made, used, steps = {name for step in left for name in step.node.outputs if name}, set(kept), []
    for step in reversed(left):
        ended = made.intersection((*step.node.inputs, *step.node.outputs)) - used
        used |= ended
        steps.append(step._replace(ended=tuple(ended)))
    return tuple(reversed(steps)), {name: a for name, a in constants.items() if name in needed}


def placed(graph: Graph, backend: str) -> Graph:
    """The graph with its recurrent nodes on another backend."""
    steps = []
    for step in graph.steps:
        node = copy.copy(step.node)
        node.backend = backend
        steps.append(step._replace(node=node, run=OPERATORS[node.op].prepare(node)))
    return Graph(graph.inputs, graph.outputs, graph.nodes, graph.constants, tuple(steps), graph.where)

"""One node of a graph, run: what it reads and makes, what that costs, and errors that name the node."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.files import ModelFileError
from minirnn.formats.onnx.running.meter import CALL, NAME, STEP, Meter
from minirnn.formats.onnx.structure import Body, Node

Operands: TypeAlias = Sequence[Any]  # arrays; None for an input that is left out
Operation: TypeAlias = "Callable[[Meter, Operands], Sequence[Array]]"


class PreparedNode(NamedTuple):
    """A prepared node: the function, and the names whose last use this is."""

    node: Node
    run: Operation
    ended: tuple[str, ...]


def perform(step: PreparedNode, values: dict[str, Array], meter: Meter) -> None:
    """Run one node: its results join ``values``, and what nothing needs after it leaves."""
    node = step.node
    operands = [values[name] if name else None for name in node.inputs]
    try:
        meter.spend(cost_of(node))
        results = step.run(meter, operands)
        for name, result in zip(node.outputs, results, strict=False):  # those at the end may be left out
            if name:
                values[name] = np.asarray(result)
                meter.hold(values[name], operands)
    except ModelFileError as error:
        raise type(error)(f"{node}: {error!s:.500}") from None
    except (ValueError, TypeError, IndexError, OverflowError, MemoryError) as error:
        raise ModelFileError(f"{node} cannot be run: {' '.join(str(error).split()):.300}") from None
    for name in step.ended:
        meter.release(values.pop(name))


def cost_of(node: Node) -> int:
    """The time around a node, whatever it computes."""
    return CALL + NAME * (len(node.inputs) + len(node.outputs))


def step_of(node: Node) -> int:
    """The time around one step, where a node is a recurrence."""
    bodies = [value for value in node.attributes.values() if isinstance(value, Body)]
    if bodies:
        return sum(around(body) + sum(cost_of(inner) + step_of(inner) for inner in body.nodes) for body in bodies)
    return 2 * STEP if node.op in ("RNN", "GRU", "LSTM") else 0


def around(body: Body) -> int:
    """The time for one step of a Scan, beside its nodes': all of its values are handed on, by name."""
    return CALL + NAME * sum(map(len, (body.inputs, body.outputs, body.captured, body.constants)))

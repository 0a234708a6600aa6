"""The operator Scan: a graph that is run once for each step of a sequence, with states that it hands on."""

import copy
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.files import ModelFileError
from minirnn.formats.onnx.running.meter import Meter
from minirnn.formats.onnx.running.operands import axis_of
from minirnn.formats.onnx.running.perform import Operands, Operation, PreparedNode, around, perform
from minirnn.formats.onnx.structure import Body, Node

Preparation: TypeAlias = "Callable[[list[Node], dict[str, Array], set[str]], tuple[tuple[PreparedNode, ...], object]]"


def scan(node: Node, prepared: Preparation) -> Operation:
    """States, then sequences, into final states, then sequences (onnx.ai, Scan, opset 9 and later).

    The graph within takes the states and one step of each sequence, and gives the next states and a step of each
    sequence that comes out.  All sequences have one length, T; which axis that is, and whether they run from its end to
    its beginning, are attributes.  ``prepared`` is what prepares the nodes of the graph within.
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
        listed(node, f"scan_{word}_axes", n) for word, n in (("input", sequences), ("output", stacked))
    )
    back_in, back_out = (
        [bool(way) for way in listed(node, f"scan_{word}_directions", n)]
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


def listed(node: Node, name: str, count: int) -> list[int]:
    """An attribute that has a number for each sequence, by default 0."""
    numbers: list[int] = node.values(name, int) or [0] * count
    if len(numbers) != count:
        raise ModelFileError(f"{name} must have {count} numbers; it has {len(numbers)}")
    return numbers

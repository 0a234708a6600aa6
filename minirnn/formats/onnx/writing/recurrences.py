"""Recurrent layers: depth, direction and states around one operator, or one Scan, for each layer."""

from typing import Any

import numpy as np

from minirnn.cells import LSTMCell, ProjectedLSTMCell
from minirnn.core.module import brief
from minirnn.core.protocol import name_of
from minirnn.formats.models import as_variant
from minirnn.formats.onnx.writing import operators, scans
from minirnn.formats.onnx.writing.emitter import Emitter
from minirnn.formats.onnx.writing.operators import RecurrentOperator
from minirnn.formats.onnx.writing.steps import Steps
from minirnn.recurrent.direction import Direction
from minirnn.recurrent.networks import Recurrent
from minirnn.recurrent.variants import GRUVariant, LSTMVariant, RNNVariant


def options_of(layer: Recurrent) -> RNNVariant | GRUVariant | LSTMVariant:
    """The layer's cell as a variant, whatever it is; ValueError for a cell of one's own."""
    # of an LSTM with a projection the layer's weights tell
    cell = as_variant(LSTMCell if isinstance(layer.cell, ProjectedLSTMCell) else layer.cell)
    if isinstance(cell, (RNNVariant, GRUVariant, LSTMVariant)):
        return cell
    raise ValueError(f"{brief(layer)} cannot be written as ONNX, which has no words for the cell {name_of(layer.cell)}")


def write(
    e: Emitter, layer: Recurrent, x: str, steps: Steps, initial: list[str] | None, *, backwards: bool = False
) -> tuple[str, list[str]]:
    """The layer over x (T, B, D) or indices (T, B); y (T, B, H · directions) and the final states.

    ``initial`` are the initial states, each (num_layers · directions, B, H); None: zeros, or those that it learnt.
    With ``backwards``, a layer of one direction runs from the last step to the first.
    """
    cell, n = options_of(layer), layer.num_directions
    operator = None if e.double else operators.operator_of(cell)
    states = _parts(e, initial, layer.num_layers)
    finals: list[list[str]] = []
    for k in range(layer.num_layers):
        here = layer.directions[k * n : (k + 1) * n]
        with e.within(f"{layer.prefix}{k}."):
            state = [part[k] for part in states] if states else _learnt(e, here, steps)
            if operator and "P" not in here[0].specs() and not layer.zoneout:
                x, final = _by_operator(e, operator, here, x, state, steps, backwards=backwards)
            else:
                x, final = _by_scan(e, cell, here, x, state, steps, backwards=backwards)
        finals.append(final)
    with e.within(layer.prefix):
        return x, [parts[0] if len(parts) == 1 else e("Concat", *parts, axis=0) for parts in zip(*finals, strict=True)]


def _parts(e: Emitter, initial: list[str] | None, count: int) -> list[list[str]]:
    """For each state its part of every layer, (directions, B, H)."""
    if count == 1:
        return [[name] for name in initial or []]
    return [e.many("Split", [name], count, axis=0) for name in initial or []]


def _learnt(e: Emitter, directions: list[Direction], steps: Steps) -> list[str] | None:
    """The initial states that the layer learnt, for every row; None where they are zeros."""
    first = directions[0]
    if not first.trainable_state:
        return None
    states = []
    for name in first.cell.state:
        values = np.stack([d.bound.backend.host(d.weight(f"{name}0")) for d in directions])[:, None]
        shape = e("Concat", e.integers(len(directions)), steps.rows, e.integers(values.shape[-1]), axis=0)
        states.append(e("Expand", e.weight(f"{name}0", values), shape))
    return states


def _by_operator(
    e: Emitter,
    operator: RecurrentOperator,
    directions: list[Direction],
    x: str,
    state: list[str] | None,
    steps: Steps,
    *,
    backwards: bool,
) -> tuple[str, list[str]]:
    if x in e.indices:
        x = e("OneHot", x, e.constant(directions[0].input_size, np.int64), e.constant([0, 1], e.dtype), axis=-1)
    Y, finals = operators.run(e, operator, directions, x, state, steps.lengths, backwards=backwards)
    if steps.lengths:  # of a row without steps onnxruntime says nothing, or what was in memory
        before = state or [e.number(0)] * len(finals)
        finals = [e("Where", steps.empty, old, new) for old, new in zip(before, finals, strict=True)]
    if len(directions) == 1:
        return e("Squeeze", Y, e.integers(1)), finals
    y = e("Transpose", Y, perm=[0, 2, 1, 3])
    return e("Reshape", y, e.integers(0, 0, 2 * directions[0].hidden_size)), finals


def _by_scan(
    e: Emitter,
    cell: Any,
    directions: list[Direction],
    x: str,
    state: list[str] | None,
    steps: Steps,
    *,
    backwards: bool,
) -> tuple[str, list[str]]:
    outputs, finals = [], []
    for k, direction in enumerate(directions):
        if state:
            initial = [e("Gather", name, e.constant(k, np.int64), axis=0) for name in state]
        else:
            initial = [_zeros(e, width, steps) for width in direction.widths]
        y, final = scans.run(e, cell, direction, x, initial, steps, reverse=direction.reverse or backwards)
        outputs.append(y)
        finals.append([e("Unsqueeze", name, e.integers(0)) for name in final])
    if len(directions) == 1:
        return outputs[0], finals[0]
    return e("Concat", *outputs, axis=-1), [e("Concat", *pair, axis=0) for pair in zip(*finals, strict=True)]


def _zeros(e: Emitter, width: int, steps: Steps) -> str:
    """(B, width)."""
    return e("Expand", e.number(0), e("Concat", steps.rows, e.integers(width), axis=0))

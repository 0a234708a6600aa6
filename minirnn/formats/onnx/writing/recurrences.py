"""Recurrent layers: depth, direction and states around one operator, or one Scan, for each layer."""

from dataclasses import dataclass
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


@dataclass
class RecurrentWriter:
    """The nodes of one layer.  With ``backwards``, a layer of one direction runs from the last step to the first."""

    e: Emitter
    layer: Recurrent
    steps: Steps
    backwards: bool

    def write(self, x: str, initial: list[str] | None) -> tuple[str, list[str]]:
        """The layer over x (T, B, D) or indices (T, B); y (T, B, H · directions) and the final states.

        ``initial`` are the initial states, each (num_layers · directions, B, H); None: zeros, or those that it learnt.
        """
        e, layer, cell = self.e, self.layer, options_of(self.layer)
        depth, n = layer.num_layers, layer.num_directions
        operator = None if e.double else operators.operator_of(cell)
        parts = [[name] if depth == 1 else e.many("Split", [name], depth, axis=0) for name in initial or ()]
        finals: list[list[str]] = []
        for k in range(depth):
            here = layer.directions[k * n : (k + 1) * n]
            with e.within(f"{layer.prefix}{k}."):
                state = [part[k] for part in parts] or self.learnt(here)
                if operator and "P" not in here[0].specs() and not layer.zoneout:
                    x, final = self.by_operator(operator, here, x, state)
                else:
                    x, final = self.by_scan(cell, here, x, state)
            finals.append(final)
        with e.within(layer.prefix):
            return x, [one[0] if len(one) == 1 else e("Concat", *one, axis=0) for one in zip(*finals, strict=True)]

    def learnt(self, directions: list[Direction]) -> list[str]:
        """The initial states that the layer learnt, for every row; none where they are zeros."""
        e, states = self.e, []
        for name in self.layer.cell.state if self.layer.trainable_state else ():
            values = np.stack([d.bound.backend.host(d.weight(f"{name}0")) for d in directions])[:, None]
            shape = e("Concat", e.integers(len(directions)), self.steps.rows, e.integers(values.shape[-1]), axis=0)
            states.append(e("Expand", e.weight(f"{name}0", values), shape))
        return states

    def by_operator(
        self, operator: RecurrentOperator, directions: list[Direction], x: str, state: list[str]
    ) -> tuple[str, list[str]]:
        """All directions in one node."""
        e, steps = self.e, self.steps
        if x in e.indices:
            x = e("OneHot", x, e.constant(directions[0].input_size, np.int64), e.constant([0, 1], e.dtype), axis=-1)
        Y, finals = operators.run(e, operator, directions, x, state, steps.lengths, backwards=self.backwards)
        if steps.lengths:  # of a row without steps onnxruntime says nothing, or what was in memory
            before = state or [e.number(0)] * len(finals)
            finals = [e("Where", steps.empty, old, new) for old, new in zip(before, finals, strict=True)]
        if len(directions) == 1:
            return e("Squeeze", Y, e.integers(1)), finals
        y = e("Transpose", Y, perm=[0, 2, 1, 3])
        return e("Reshape", y, e.integers(0, 0, 2 * directions[0].hidden_size)), finals

    def by_scan(self, cell: Any, directions: list[Direction], x: str, state: list[str]) -> tuple[str, list[str]]:
        """A Scan for each direction."""
        e, steps = self.e, self.steps
        outputs, finals = [], []
        for k, direction in enumerate(directions):
            if state:
                initial = [e("Gather", name, e.constant(k, np.int64), axis=0) for name in state]
            else:
                zero, rows = e.number(0), steps.rows
                initial = [e("Expand", zero, e("Concat", rows, e.integers(n), axis=0)) for n in direction.widths]
            y, final = scans.run(e, cell, direction, x, initial, steps, reverse=direction.reverse or self.backwards)
            outputs.append(y)
            finals.append([e("Unsqueeze", name, e.integers(0)) for name in final])
        if len(directions) == 1:
            return outputs[0], finals[0]
        return e("Concat", *outputs, axis=-1), [e("Concat", *pair, axis=0) for pair in zip(*finals, strict=True)]

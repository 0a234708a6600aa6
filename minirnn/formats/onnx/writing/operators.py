"""Cells as ONNX's operators RNN, GRU and LSTM: one node for a layer, both directions of it.

The operators differ from minirnn's layers in the order of gates, LSTM i o f c for i f g o, GRU z r h for r z n; in
weights that stand the other way, ``W (directions, G·H, D)`` and ``R (directions, G·H, H)``; and in two biases where
there is one, ``B (directions, 2·G·H)``, of which the second is 0 but for the GRU's ``bn``.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from minirnn.cells import join, split
from minirnn.core.backend import Array
from minirnn.formats.onnx.structure import ACTIVATIONS
from minirnn.formats.onnx.writing.emitter import Emitter
from minirnn.formats.onnx.writing.weights import laid_out
from minirnn.layers.activations import Function
from minirnn.recurrent.direction import Direction
from minirnn.recurrent.variants import GRUVariant, LSTMVariant, RNNVariant

NAMES = {ours: name for name, ours in ACTIVATIONS.items()}
NAMES["linear"] = "Affine"  # of slope 1 through 0: the operators have no name for it


@dataclass(frozen=True)
class RecurrentOperator:
    """Which operator a cell is, where minirnn's gates stand in its order, and its functions and attributes."""

    kind: str
    gates: str  # minirnn's letters, in the operator's order
    functions: tuple[Function, ...]
    defaults: tuple[str, ...]  # the functions that the operator has unasked
    attributes: dict[str, Any]
    units: tuple[str, ...] = ()  # the peepholes' names, in the operator's order


def operator_of(cell: Any) -> RecurrentOperator | None:
    """The operator for a cell of ``minirnn.recurrent.variants``, or None where a function of it has no name in ONNX.

    None for an LSTM's ``clip`` too: onnxruntime does not clip what goes into the third function, as the standard says.
    """
    if isinstance(cell, LSTMVariant) and cell.clip is not None:
        return None
    operator = _operator(cell)
    return operator if all(function.name in NAMES for function in operator.functions) else None


def _operator(cell: Any) -> RecurrentOperator:
    clip = {} if cell.clip is None else {"clip": float(cell.clip)}
    if isinstance(cell, RNNVariant):
        return RecurrentOperator("RNN", "h", (cell.activation,), ("tanh",), clip)
    if isinstance(cell, GRUVariant):
        after = {"linear_before_reset": 1} if cell.reset == "after" else {}
        return RecurrentOperator("GRU", "zrn", (cell.gate, cell.candidate), ("sigmoid", "tanh"), after | clip)
    assert isinstance(cell, LSTMVariant)
    coupled = {"input_forget": 1} if cell.coupled else {}
    return RecurrentOperator(
        "LSTM",
        "iofg",
        (cell.gate, cell.candidate, cell.output),
        ("sigmoid", "tanh", "tanh"),
        coupled | clip,
        ("p_i", "p_o", "p_f") if cell.peepholes else (),
    )


def run(
    e: Emitter,
    operator: RecurrentOperator,
    directions: list[Direction],
    x: str,
    state: list[str],
    lengths: str | None,
    *,
    backwards: bool,
) -> tuple[str, list[str]]:
    """A node over x (T, B, D), with initial states (directions, B, H) or zeros: Y (T, directions, B, H), final states.

    Past a row's length Y is 0 and a final state the last valid one.  ``backwards``: one direction, last step to first.
    """
    inputs = [
        x,
        laid_out(e, "W", lambda fetch: np.stack([_ordered(fetch(d, "W"), d, operator).T for d in directions])),
        laid_out(e, "R", lambda fetch: np.stack([_ordered(fetch(d, "U"), d, operator).T for d in directions])),
        e.weight("B", np.stack([_biases(d, operator) for d in directions])),
        lengths or "",
        *(state or [""] * (1 + (operator.kind == "LSTM"))),
    ]
    if operator.units:
        inputs.append(e.weight("P", np.stack([_peepholes(d, operator) for d in directions])))
    while not inputs[-1]:
        inputs.pop()
    Y, *finals = e.many(
        operator.kind,
        inputs,
        2 + (operator.kind == "LSTM"),
        hidden_size=directions[0].hidden_size,
        direction="bidirectional" if len(directions) > 1 else "reverse" if backwards else "forward",
        **_activations(operator, len(directions)),
        **operator.attributes,
    )
    return Y, finals


def _ordered(columns: Array, direction: Direction, operator: RecurrentOperator) -> Array:
    """(..., G·H) with the gates in the operator's order, 0 for one that the cell does not have."""
    gates = dict(zip(direction.gates, split(columns, len(direction.gates)), strict=True))
    return join(*(gates.get(gate, np.zeros_like(columns[..., : direction.hidden_size])) for gate in operator.gates))


def _biases(direction: Direction, operator: RecurrentOperator) -> Array:
    host = direction.bound.backend.host
    b = _ordered(host(direction.weight("b")), direction, operator)
    recurrent = np.zeros_like(b)
    if "bn" in direction.specs():  # the GRU's, within the product that it resets: the last gate's part
        recurrent[-direction.hidden_size :] = host(direction.weight("bn"))
    return join(b, recurrent)


def _peepholes(direction: Direction, operator: RecurrentOperator) -> Array:
    """(3·H), 0 for the forget gate that a coupled cell does not have."""
    host, none = direction.bound.backend.host, np.zeros(direction.hidden_size, direction.bound.dtype)
    return join(*(host(direction.weight(name)) if name in direction.specs() else none for name in operator.units))


def _activations(operator: RecurrentOperator, directions: int) -> dict[str, Any]:
    """The attributes that name the functions, once a direction; none where they are the operator's own.

    Constants stand in one list each, in the order of the functions that have any.
    """
    functions = operator.functions
    if tuple(f.name for f in functions) == operator.defaults:
        return {}
    full = [Function("affine", 1.0, 0.0) if f.name == "linear" else f for f in functions] * directions
    constants = {
        "activation_alpha": [f.alpha for f in full if f.alpha is not None],
        "activation_beta": [f.beta for f in full if f.beta is not None],
    }
    return {"activations": [NAMES[f.name] for f in full]} | {k: v for k, v in constants.items() if v}

"""A layer as the oracle takes it: the name of its equations, its weights and states as nested lists."""

from typing import Any

import numpy as np

from minirnn.core.backend import Array
from minirnn.recurrent.networks import Recurrent

NAMES = {
    "TanhCell": "rnn_tanh",
    "ReluCell": "rnn_relu",
    "GRUCell": "gru_after",
    "GRUBeforeCell": "gru_before",
    "LSTMCell": "lstm",
    "ProjectedLSTMCell": "lstm_proj",
    "PeepholeLSTMCell": "lstm_peephole",
    "CoupledLSTMCell": "lstm_coupled",
    "IndRNNCell": "indrnn",
    "MinGRUCell": "min_gru",
    "MinLSTMCell": "min_lstm",
    "SRUCell": "sru",
    "LayerNormLSTMCell": "lstm_norm",
    "LayerNormGRUCell": "gru_norm",
}


def weights_of(layer: Recurrent) -> list[list[dict[str, Any]]]:
    """The layer's weights as the oracle takes them: by depth, by direction, nested lists."""
    return [
        [
            {name: w.tolist() for name, w in direction.named_weights().items() if not name.endswith("0")}
            for direction in layer.directions[k : k + layer.num_directions]
        ]
        for k in range(0, len(layer.directions), layer.num_directions)
    ]


def initial(layer: Recurrent, state: Any, B: int) -> tuple[Any, ...]:
    """The initial state as nested lists: the given one, or the layer's own."""
    if state is not None:
        return tuple(a.tolist() for a in parts(state))
    own = [
        [[direction.named_weights().get(f"{name}0", np.zeros(width)).tolist()] * B for direction in layer.directions]
        for name, (*_, width) in zip(layer.cell.state, layer.state_shapes(B), strict=True)
    ]
    return tuple(own)


def parts(state: Any) -> tuple[Array, ...]:
    return state if isinstance(state, tuple) else (state,)


def close(actual: Array, expected: Any) -> None:
    expected = np.array(expected, float).reshape(actual.shape)
    np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-12)

"""The deep-learning specialisation's networks: columns (n_x, m), sequences (n_x, m, T_x), weights in a dict."""

from typing import Any

import numpy as np

from minirnn.testing.courses import formulas
from minirnn.testing.courses.exercises import Exercise

Arguments = tuple[Any, ...]
COURSE = "deep-learning specialisation"
RNN_NAMES = ("dWax", "dWaa", "dba")
LSTM_NAMES = tuple(f"d{kind}{gate}" for gate in "fico" for kind in "Wb")


def _rnn_weights(rng: np.random.Generator, n_x: int, n_a: int) -> dict[str, Any]:
    shapes = {"Waa": (n_a, n_a), "Wax": (n_a, n_x), "Wya": (2, n_a), "ba": (n_a, 1), "by": (2, 1)}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def _lstm_weights(rng: np.random.Generator, n_x: int, n_a: int) -> dict[str, Any]:
    weights: dict[str, Any] = {}
    for gate in "fico":
        weights["W" + gate] = rng.normal(size=(n_a, n_a + n_x))
        weights["b" + gate] = rng.normal(size=(n_a, 1))
    return weights | {"Wy": rng.normal(size=(2, n_a)), "by": rng.normal(size=(2, 1))}


def _rnn_cell(rng: np.random.Generator, m: int, n_x: int, n_a: int) -> Arguments:
    return rng.normal(size=(n_x, m)), rng.normal(size=(n_a, m)), _rnn_weights(rng, n_x, n_a)


def _rnn(rng: np.random.Generator, m: int, T_x: int, n_x: int, n_a: int) -> Arguments:
    return rng.normal(size=(n_x, m, T_x)), rng.normal(size=(n_a, m)), _rnn_weights(rng, n_x, n_a)


def _lstm_cell(rng: np.random.Generator, m: int, n_x: int, n_a: int) -> Arguments:
    states = rng.normal(size=(n_a, m)), rng.normal(size=(n_a, m))
    return rng.normal(size=(n_x, m)), *states, _lstm_weights(rng, n_x, n_a)


def _lstm(rng: np.random.Generator, m: int, T_x: int, n_x: int, n_a: int) -> Arguments:
    return rng.normal(size=(n_x, m, T_x)), rng.normal(size=(n_a, m)), _lstm_weights(rng, n_x, n_a)


EXERCISES = (
    Exercise(
        COURSE,
        "rnn_cell_forward",
        "rnn_cell_backward",
        ("m", "n_x", "n_a"),
        (4, 3, 5),
        _rnn_cell,
        formulas.rnn_cell,
        ("a_next", "yt_pred"),
        names=("dxt", "da_prev", *RNN_NAMES),
    ),
    Exercise(
        COURSE,
        "rnn_forward",
        "rnn_backward",
        ("m", "T_x", "n_x", "n_a"),
        (2, 4, 3, 5),
        _rnn,
        formulas.rnn_cells,
        ("a", "y_pred"),
        step="rnn_cell_forward",
        names=("dx", "da0", *RNN_NAMES),
    ),
    Exercise(
        COURSE,
        "lstm_cell_forward",
        "lstm_cell_backward",
        ("m", "n_x", "n_a"),
        (4, 3, 2),
        _lstm_cell,
        formulas.lstm_cell,
        ("a_next", "c_next", "yt_pred"),
        names=("dxt", "da_prev", "dc_prev", *LSTM_NAMES),
    ),
    Exercise(
        COURSE,
        "lstm_forward",
        "lstm_backward",
        ("m", "T_x", "n_x", "n_a"),
        (2, 4, 3, 2),
        _lstm,
        formulas.lstm_cells,
        ("a", "y", "c"),
        step="lstm_cell_forward",
        names=("dx", "da0", *LSTM_NAMES),
    ),
)

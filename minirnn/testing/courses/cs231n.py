"""CS231n, ``rnn_layers``: rows (N, D), sequences (N, T, D), weights (D, H), gates i f o g."""

from typing import Any

import numpy as np

from minirnn.testing.courses import formulas
from minirnn.testing.courses.exercises import Exercise

Arguments = tuple[Any, ...]
COURSE = "CS231n"


def _rnn_step(rng: np.random.Generator, N: int, D: int, H: int) -> Arguments:
    return tuple(rng.normal(size=shape) for shape in ((N, D), (N, H), (D, H), (H, H), (H,)))


def _rnn(rng: np.random.Generator, N: int, T: int, D: int, H: int) -> Arguments:
    return tuple(rng.normal(size=shape) for shape in ((N, T, D), (N, H), (D, H), (H, H), (H,)))


def _lstm_step(rng: np.random.Generator, N: int, D: int, H: int) -> Arguments:
    return tuple(rng.normal(size=shape) for shape in ((N, D), (N, H), (N, H), (D, 4 * H), (H, 4 * H), (4 * H,)))


def _lstm(rng: np.random.Generator, N: int, T: int, D: int, H: int) -> Arguments:
    return tuple(rng.normal(size=shape) for shape in ((N, T, D), (N, H), (D, 4 * H), (H, 4 * H), (4 * H,)))


def _embedding(rng: np.random.Generator, N: int, T: int, V: int, D: int) -> Arguments:
    return rng.integers(0, V, (N, T)), rng.normal(size=(V, D))


def _affine(rng: np.random.Generator, N: int, T: int, D: int, M: int) -> Arguments:
    return tuple(rng.normal(size=shape) for shape in ((N, T, D), (D, M), (M,)))


def _softmax_loss(rng: np.random.Generator, N: int, T: int, V: int) -> Arguments:
    mask = rng.random((N, T)) < 0.7
    mask.flat[0] = True
    return rng.normal(size=(N, T, V)), rng.integers(0, V, (N, T)), mask


EXERCISES = (
    Exercise(
        COURSE,
        "word_embedding_forward",
        "word_embedding_backward",
        ("N", "T", "V", "D"),
        (2, 5, 4, 3),
        _embedding,
        formulas.embedding,
        ("out",),
    ),
    Exercise(
        COURSE,
        "temporal_affine_forward",
        "temporal_affine_backward",
        ("N", "T", "D", "M"),
        (2, 3, 4, 5),
        _affine,
        formulas.affine,
        ("out",),
    ),
    Exercise(
        COURSE,
        "temporal_softmax_loss",
        "temporal_softmax_loss",
        ("N", "T", "V"),
        (3, 4, 5),
        _softmax_loss,
        formulas.softmax_loss,
        ("loss",),
        form="loss",
    ),
    Exercise(
        COURSE,
        "rnn_step_forward",
        "rnn_step_backward",
        ("N", "D", "H"),
        (3, 4, 5),
        _rnn_step,
        formulas.rnn_step,
        ("next_h",),
    ),
    Exercise(
        COURSE,
        "rnn_forward",
        "rnn_backward",
        ("N", "T", "D", "H"),
        (2, 4, 3, 5),
        _rnn,
        formulas.rnn,
        ("h",),
        step="rnn_step_forward",
    ),
    Exercise(
        COURSE,
        "lstm_step_forward",
        "lstm_step_backward",
        ("N", "D", "H"),
        (3, 4, 2),
        _lstm_step,
        formulas.lstm_step,
        ("next_h", "next_c"),
    ),
    Exercise(
        COURSE,
        "lstm_forward",
        "lstm_backward",
        ("N", "T", "D", "H"),
        (2, 4, 3, 2),
        _lstm,
        formulas.lstm,
        ("h",),
        step="lstm_step_forward",
    ),
)

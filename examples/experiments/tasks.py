"""Two tasks that take a long memory: sequences drawn anew for every batch, and what a network without one can reach.

Adding (Hochreiter and Schmidhuber 1997, here with numbers from 0 to 1 and the marks in different halves): at every
step a number and a mark; two numbers are marked, and the answer after the last step is their sum.

Copying (Hochreiter and Schmidhuber 1997; in this form Arjovsky, Shah and Bengio 2016, arXiv 1511.06464): ten symbols,
then blanks, then a sign upon which the ten are to be said again, in their order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import log, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minirnn import GRU, LSTM, RNN, Last, Layer, Linear, Recurrent, cross_entropy, mse

CELLS: dict[str, Callable[[int, int], Recurrent]] = {"rnn": RNN, "gru": GRU, "lstm": LSTM}
SYMBOLS, REMEMBERED = 8, 10  # what may have to be copied, and how many of them
BLANK, SIGN = SYMBOLS, SYMBOLS + 1
Drawn = tuple[NDArray[Any], NDArray[Any]]


def adding(rng: np.random.Generator, length: int, rows: int) -> Drawn:
    """x (length, rows, 2), a number and a mark; and the sums (rows, 1) of the two numbers that are marked in each row.

    One mark is in the first half, one in the second.
    """
    if length < 2:
        raise ValueError(f"adding takes a length of at least 2, for two marks; got {length}")
    x = np.zeros((length, rows, 2), "float32")
    x[:, :, 0] = rng.random((length, rows))
    first, second = rng.integers(0, length // 2, rows), rng.integers(length // 2, length, rows)
    row = np.arange(rows)
    x[first, row, 1] = x[second, row, 1] = 1
    return x, (x[first, row, 0] + x[second, row, 0])[:, None]


def copying(rng: np.random.Generator, length: int, rows: int) -> Drawn:
    """Integers x and targets, both (length + 20, rows), with ``length`` steps between the last symbol and its copy.

    x      ten symbols, length - 1 blanks, the sign, ten blanks
    target  length + 10 blanks, the ten symbols
    """
    if length < 1:
        raise ValueError(f"copying takes a length of at least 1, for the sign; got {length}")
    x = np.full((length + 2 * REMEMBERED, rows), BLANK)
    target = x.copy()
    x[:REMEMBERED] = target[-REMEMBERED:] = rng.integers(0, SYMBOLS, (REMEMBERED, rows))
    x[-REMEMBERED - 1] = SIGN
    return x, target


def guessing_1(length: int) -> float:
    """The RMSE of always answering 1, the mean: each number has a variance of 1/12, whatever the length."""
    return sqrt(2 / 12)


def guessing_symbols(length: int) -> float:
    """Nats a step where blanks are known and each of the ten symbols may be any of the eight."""
    return REMEMBERED * log(SYMBOLS) / (length + 2 * REMEMBERED)


@dataclass(frozen=True)
class Task:
    """One of the two: its data, its network's other layers and its loss, and how it is trained.

    ``score`` makes of a mean loss what is reported, ``measure``; ``baseline`` is the score without a memory, for a
    length.  ``published`` are others' scores at length 100.
    """

    name: str
    draw: Callable[[np.random.Generator, int, int], Drawn]
    inputs: int
    head: Callable[[int], tuple[Layer, ...]]
    loss: Callable[[Any, Any], tuple[Any, Any]]
    measure: str
    score: Callable[[float], float]
    baseline: Callable[[int], float]
    hidden: int
    lr: float
    sequences: int
    published: dict[str, str]


TASKS = {
    "adding": Task(
        name="adding",
        draw=adding,
        inputs=2,
        head=lambda hidden: (Last(), Linear(hidden, 1)),
        loss=mse,
        measure="RMSE",
        score=sqrt,
        baseline=guessing_1,
        hidden=64,
        lr=0.02,
        sequences=16_000,
        # "LSTM Time Capsule", huggingface.co/ARotting/lstm-time-capsule, trained on 16,000 sequences
        published={"rnn": "0.3855", "gru": "0.0129", "lstm": "0.0105"},
    ),
    "copying": Task(
        name="copying",
        draw=copying,
        inputs=SYMBOLS + 2,
        head=lambda hidden: (Linear(hidden, SYMBOLS + 1),),
        loss=cross_entropy,
        measure="nats a step",
        score=float,
        baseline=guessing_symbols,
        hidden=96,
        lr=0.01,
        sequences=128_000,
        published={},
    ),
}

"""The training loop: an iterator over steps, so that whoever runs it decides what to show and when to stop."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from minirnn.lm import LanguageModel
from minirnn.optim import Optimizer
from minirnn.text import Text


@dataclass(frozen=True)
class Step:
    """One training step: its number (from 1) and epoch (from 0), the loss in nats a character, the gradients' norm
    before clipping, the characters it counted, and the seconds since training began."""

    step: int
    epoch: int
    loss: float
    norm: float
    tokens: int
    seconds: float


def steps_per_epoch(text: Text, batch_size: int, num_steps: int) -> int:
    """The fewest batches that one epoch has, whatever its offset; at least 1."""
    windows = max(0, len(text) - 1 - num_steps) // (batch_size * num_steps)
    return max(1, windows)


def train(
    lm: LanguageModel,
    text: Text,
    optimizer: Optimizer,
    *,
    batch_size: int = 32,
    num_steps: int = 35,
    sampling: str = "sequential",
    epochs: int | None = None,
    steps: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
) -> Iterator[Step]:
    """Train until the first limit given is reached; yields after each step, when all weights are consistent.

    Sequential sampling carries the state from batch to batch within an epoch, truncating backpropagation between them;
    random sampling starts each window from the initial state.  Each epoch cuts the text at another offset.
    """
    if epochs is None and steps is None and seconds is None:
        raise ValueError("train takes a limit: epochs, steps or seconds; got none")
    return _train(lm, text, optimizer, batch_size, num_steps, sampling, epochs, steps, seconds, seed)


def _train(
    lm: LanguageModel,
    text: Text,
    optimizer: Optimizer,
    batch_size: int,
    num_steps: int,
    sampling: str,
    epochs: int | None,
    steps: int | None,
    seconds: float | None,
    seed: int,
) -> Iterator[Step]:
    begun, done = time.perf_counter(), 0
    seeds = np.random.SeedSequence(seed)
    masks = np.random.default_rng(seeds.spawn(1)[0])
    for epoch in count():
        if epoch == epochs:
            return
        state: Any = None
        epoch_seed = int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
        for x, y in text.batches(batch_size, num_steps, sampling=sampling, seed=epoch_seed):
            if done == steps or (seconds is not None and time.perf_counter() - begun >= seconds):
                return
            loss, state, backward = lm.forward(x, y, state if sampling == "sequential" else None, rng=masks)
            backward()
            norm = optimizer.step()
            done += 1
            yield Step(done, epoch, float(loss), norm, x.size, time.perf_counter() - begun)

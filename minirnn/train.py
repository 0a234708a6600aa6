"""The training loop: an iterator over steps, so that whoever runs it decides what to show and when to stop."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from numbers import Integral
from typing import Any

import numpy as np

from minirnn.lm import LanguageModel
from minirnn.optim import Optimizer
from minirnn.text import Text


@dataclass(frozen=True)
class Step:
    """One training step: its number (from 1) and epoch (from 0), the loss in nats a character, the gradients' norm
    before clipping, the characters it read, and the seconds since training began.

    On a GPU ``loss`` and ``norm`` are still there: ``float(...)`` waits for one, so read them when you show them.
    """

    step: int
    epoch: int
    loss: Any
    norm: Any
    tokens: int
    seconds: float


def epoch_seed(seed: int, epoch: int) -> int:
    """The seed of one epoch's batches."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


def count_steps(text: Text, batch_size: int, num_steps: int, epochs: int, seed: int = 0) -> int:
    """How many steps ``train`` takes for so many epochs."""
    return sum(text.num_batches(batch_size, num_steps, seed=epoch_seed(seed, epoch)) for epoch in range(epochs))


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
    random sampling starts each window from the initial state.  Each epoch cuts the text at another offset.  Raises
    NonFiniteGradientError at the first step whose gradient is not finite, before that step changes anything.  On a GPU
    such a step is skipped, and the error comes when a norm is read, at the latest when training ends.
    """
    if epochs is None and steps is None and seconds is None:
        raise ValueError("train takes a limit: epochs, steps or seconds; got none")
    for name, limit in (("epochs", epochs), ("steps", steps)):
        if limit is not None and (not isinstance(limit, Integral) or limit < 0):
            raise ValueError(f"{name} must be an integer of at least 0; got {limit!r}")
    if seconds is not None and not seconds >= 0:
        raise ValueError(f"seconds must be at least 0; got {seconds!r}")
    if text.vocab != lm.vocab:
        raise ValueError("the text must be in the model's vocabulary: Text.from_string(..., vocab=lm.vocab)")
    if optimizer.model is not lm.network:
        raise ValueError("the optimizer must be that of the model trained: its model is another one")
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
    norm: Any = 0.0  # read in the end: on a GPU that tells of a step that was skipped
    on_device = lm.network.bound.backend.on_device
    masks = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
    for epoch in count():
        if epoch == epochs:
            float(norm)
            return
        state: Any = None
        for x, y in text.batches(batch_size, num_steps, sampling=sampling, seed=epoch_seed(seed, epoch)):
            if done == steps or (seconds is not None and time.perf_counter() - begun >= seconds):
                float(norm)
                return
            with np.errstate(over="ignore", invalid="ignore"):  # a diverging run ends in step's error, which says more
                loss, state, backward = lm.forward(x, y, state if sampling == "sequential" else None, rng=masks)
                backward()
                norm = optimizer.step()
            done += 1
            yield Step(done, epoch, loss if on_device else float(loss), norm, x.size, time.perf_counter() - begun)

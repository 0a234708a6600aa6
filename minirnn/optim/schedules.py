"""Schedules: functions from the number of optimiser steps taken to a learning rate."""

from collections.abc import Callable
from math import cos, pi


def constant(lr: float) -> Callable[[int], float]:
    """``lr``, always."""
    return lambda _: lr


def step_decay(lr: float, every: int, factor: float = 0.1) -> Callable[[int], float]:
    """``lr`` times ``factor`` once for each ``every`` steps taken."""
    if every < 1:
        raise ValueError(f"every must be at least 1 step; got {every}")
    return lambda step: lr * factor ** (step // every)


def cosine(lr: float, steps: int, *, warmup: int = 0, floor: float = 0.0) -> Callable[[int], float]:
    """From near 0 up to ``lr`` in ``warmup`` steps, straight; then down to ``floor`` at ``steps`` along half a cosine.

    (Loshchilov and Hutter 2017, arXiv 1608.03983, equation 5, one period.)  After ``steps``: ``floor``.
    """
    if not 0 <= warmup < steps:
        raise ValueError(f"warmup must be from 0 to below steps = {steps}; got {warmup}")

    def at(step: int) -> float:
        if step < warmup:
            return lr * (step + 1) / warmup
        done = min(1.0, (step - warmup) / (steps - warmup))
        return floor + (lr - floor) * (1 + cos(pi * done)) / 2

    return at

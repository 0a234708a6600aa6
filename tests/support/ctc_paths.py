"""Connectionist temporal classification by its definition: all paths, one by one, and cases to try it on."""

import itertools
import math
from collections import defaultdict
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Labelling: TypeAlias = tuple[int, ...]


def collapsed(path: Labelling, blank: int) -> Labelling:
    """A path without its repeats, then without its blanks."""
    return tuple(k for k, _ in itertools.groupby(path) if k != blank)


def labellings(logits: Array, blank: int) -> dict[Labelling, float]:
    """The probability of every labelling of (T, C): all paths, one number at a time."""
    steps = []
    for row in logits.tolist():
        weights = [math.exp(v - max(row)) for v in row]
        steps.append([w / math.fsum(weights) for w in weights])
    found: dict[Labelling, list[float]] = defaultdict(list)
    for path in itertools.product(range(logits.shape[1]), repeat=len(steps)):
        found[collapsed(path, blank)].append(math.prod(y[k] for y, k in zip(steps, path, strict=True)))
    return {labels: math.fsum(each) for labels, each in found.items()}


def needed(target: list[int]) -> int:
    """How many steps a target needs at least."""
    return len(target) + sum(a == b for a, b in itertools.pairwise(target))


def drawn(
    rng: np.random.Generator, T: int, B: int, C: int, blank: int, scale: float = 1.0
) -> tuple[Array, list[list[int]], Array]:
    """Logits (T, B, C), targets that fit, empty ones and repeats among them, and lengths."""
    lengths = rng.integers(0, T + 1, B)
    labels = [k for k in range(C) if k != blank]
    targets = []
    for length in lengths:
        target = rng.choice(labels, rng.integers(0, length + 1)).tolist() if labels else []
        while needed(target) > length:
            target.pop()
        targets.append(target)
    return rng.normal(0, scale, (T, B, C)), targets, lengths

"""Arrays by words for their axes: ``"B D"`` and ``"D H"`` share a length; ``"B T < V"`` are integers below V."""

from collections.abc import Mapping

import numpy as np

from minirnn.testing.functions.leaves import Array

LENGTHS = (
    3,
    4,
    2,
    5,
    6,
    7,
)  # of axes in the order in which their names come: all different, so that none stands for another


def axes_of(words: Mapping[str, str]) -> list[str]:
    """The names of all axes, each once, in their order."""
    return list(dict.fromkeys(axis for word in words.values() for axis in word.replace("<", " ").split()))


def drawn_arrays(words: Mapping[str, str], lengths: Mapping[str, int], rng: np.random.Generator) -> dict[str, Array]:
    """The arrays: standard normal numbers, or integers from 0 up to the axis after ``<``."""
    made: dict[str, Array] = {}
    for name, word in words.items():
        axes, _, below = word.partition("<")
        shape = tuple(lengths[axis] for axis in axes.split())
        made[name] = rng.integers(0, lengths[below.strip()], shape) if below else rng.normal(size=shape)
    return made


def check_words(words: Mapping[str, str]) -> None:
    """ValueError where an array is described by anything but names of axes, and at most one bound."""
    for name, word in words.items():
        if (
            not isinstance(word, str)
            or word.count("<") > 1
            or (word.count("<") and len(word.split("<")[1].split()) != 1)
        ):
            raise ValueError(
                f'{name} must be described by its axes, as in "B D", or "B < V" for integers; got {word!r}'
            )

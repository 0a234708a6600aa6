"""What an exercise is: two functions by name, the arguments that they get, and what the forward pass must compute."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from types import ModuleType
from typing import Any, Literal

import numpy as np

from minirnn.testing.functions.leaves import Array, Path, leaves_of, with_arrays

ZEROED = 6  # arrays that are 0 in turn, so that a mistake shows without another
LARGEST = 3  # of a size, where the smallest input that shows a fault is looked for


@dataclass(frozen=True)
class Exercise:
    """A forward pass, and the backward pass that belongs to it.

    ``draw(rng, *sizes)`` gives arguments, ``formula(*arguments)`` what the course's forward pass computes of them,
    named by ``outputs``.  ``step`` names the forward pass of the step that a sequence is made of.  In the form
    ``"loss"`` the gradient is what the forward pass returns last.
    """

    course: str
    forward: str
    backward: str
    sizes: tuple[str, ...]
    usual: tuple[int, ...]
    draw: Callable[..., tuple[Any, ...]]
    formula: Callable[..., tuple[Any, ...]]
    outputs: tuple[str, ...]
    step: str = ""
    form: Literal["cache", "loss"] = "cache"
    names: tuple[str, ...] = field(default=(), repr=False)  # of gradients in a dict, none for a tuple

    def arguments(self, sizes: Sequence[int], point: int = 0) -> tuple[Any, ...]:
        """Arguments of these sizes, the same every time; from the third point on one array is 0."""
        arguments = self.draw(np.random.default_rng([point if point < 2 else 0, *sizes]), *sizes)
        return arguments if point < 2 else zeroed(arguments, point - 2)

    @property
    def points(self) -> int:
        """How many points there are: two, and those where one of the first arrays is 0."""
        return 2 + min(ZEROED, len([*leaves_of(self.arguments(self.usual), "")]))

    @property
    def count(self) -> int:
        """How many arguments the forward pass takes."""
        return len(self.arguments(self.usual))


def copied(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Arguments that may be written to."""
    return tuple(with_arrays(arguments, lambda _: None))


def zeroed(arguments: tuple[Any, ...], k: int) -> tuple[Any, ...]:
    """Arguments with zeros for the array in place k."""
    leaf = [*leaves_of(arguments, "")][k]
    new: dict[Path, Array] = {leaf.path: np.zeros_like(leaf.array)}
    return tuple(with_arrays(arguments, new.get))


def ascending(number: int) -> list[tuple[int, ...]]:
    """Sizes from all 1 upwards."""
    return sorted(product(range(1, LARGEST + 1), repeat=number), key=lambda sizes: (sum(sizes), sizes))


def shapes(names: Sequence[str], arguments: Sequence[Any]) -> str:
    """Arguments by their shapes: ``x (1, 2), prev_h (1, 1)``."""
    words = []
    for name, value in zip(names, arguments, strict=True):
        if isinstance(value, np.ndarray):
            words.append(f"{name} {value.shape}")
        else:
            words += [
                f"{str(leaf.path[-1]) if leaf.path else name} {leaf.array.shape}" for leaf in leaves_of(value, "")
            ]
    return ", ".join(words)


def function_in(module: ModuleType, name: str, count: int) -> Callable[..., Any] | None:
    """The function of that name, if it can be called with so many arguments."""
    function = getattr(module, name, None)
    if not inspect.isfunction(function):
        return None
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return None
    return function

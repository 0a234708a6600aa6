"""A right step in the place of a wrong one, so that a sequence can be judged by itself.

A sequence calls its step by name.  Here the forward pass of the step notes what it was called with, and the backward
pass is computed from that, by the derivatives of a formula.  The cache is opaque: a sequence that looks into it cannot
be judged so, and raises.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

from minirnn.testing.courses.exercises import Exercise
from minirnn.testing.functions.leaves import Array, leaves_of, with_arrays

STEP = 1e-30


class Noted:
    """The cache of a step that stands in: what the step was called with."""

    def __init__(self, arguments: tuple[Any, ...], formula: Callable[..., tuple[Any, ...]]) -> None:
        self.arguments, self.formula = arguments, formula
        self._rows: list[tuple[Any, list[Array]]] = []

    def __deepcopy__(self, _memo: Any) -> "Noted":
        return self  # nothing in it changes

    def rows(self) -> list[tuple[Any, list[Array]]]:
        """For every argument the derivatives of each output, by complex steps: (entries, *shape of the output)."""
        if not self._rows:
            leaves = [(k, leaf) for k, one in enumerate(self.arguments) for leaf in leaves_of(one, "")]
            for k, leaf in leaves:
                slopes: list[list[Array]] = []
                for at in range(leaf.array.size):
                    moved = leaf.array.astype(complex)
                    moved.flat[at] += 1j * STEP
                    arguments = list(self.arguments)
                    new = {leaf.path: moved}
                    arguments[k] = with_arrays(arguments[k], new.get)
                    slopes.append([np.imag(y) / STEP for y in self.formula(*arguments)])
                self._rows.append((leaf, [np.stack(of_one) for of_one in zip(*slopes, strict=True)]))
        return self._rows

    def pull(self, dys: tuple[Any, ...]) -> list[tuple[str, Array]]:
        """The gradient of every argument, with the last part of its path."""
        gradients = []
        for leaf, slopes in self.rows():
            entries = sum(np.tensordot(slope, dy, np.ndim(dy)) for dy, slope in zip(dys, slopes, strict=False))
            name = str(leaf.path[-1]) if leaf.path else ""
            gradients.append((name, np.array(entries, dtype=float).reshape(leaf.array.shape)))
        return gradients


@contextmanager
def standing_in(module: ModuleType, step: Exercise, *, cache: Any = Noted) -> Iterator[None]:
    """Inside, the step's two functions in ``module`` are right ones."""

    def forward(*arguments: Any) -> tuple[Any, ...]:
        copies = tuple(with_arrays(value, lambda _: None) for value in arguments)
        return (*step.formula(*arguments), cache(copies, step.formula))

    def backward(*given: Any) -> Any:
        *dys, noted = given
        gradients = noted.pull(tuple(dys))
        if not step.names:
            return tuple(g for _, g in gradients)
        plain = iter(step.names)
        return {f"d{name}" if name else next(plain): g for name, g in gradients}

    before = {name: getattr(module, name) for name in (step.forward, step.backward) if hasattr(module, name)}
    setattr(module, step.forward, forward)
    setattr(module, step.backward, backward)
    try:
        yield
    finally:
        for name in (step.forward, step.backward):
            if name in before:
                setattr(module, name, before[name])
            else:
                delattr(module, name)


def calls(function: Any, name: str) -> bool:
    """Whether a function's code, or that of a function in it, mentions a name."""
    code = getattr(function, "__code__", None)
    pending = [code] if code is not None else []
    while pending:
        one = pending.pop()
        if name in one.co_names:
            return True
        pending += [part for part in one.co_consts if hasattr(part, "co_names")]
    return False

"""A backward pass at one point, where what its gradients must be is known: cheap to ask again."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from minirnn.testing.courses.exercises import Exercise
from minirnn.testing.courses.mending import Compared
from minirnn.testing.functions.calls import names_of
from minirnn.testing.functions.derivatives import by_complex_step
from minirnn.testing.functions.leaves import Array, leaves_of, with_arrays

STEP = 1e-5  # of a difference


class Probe:
    """An exercise at one of its points; the forward pass must not raise there.

    Derivatives are complex steps, or plain differences where complex numbers do not pass: good for finding a line.
    """

    def __init__(
        self,
        exercise: Exercise,
        forward: Callable[..., Any],
        backward: Callable[..., Any],
        sizes: tuple[int, ...],
        point: int,
    ) -> None:
        self.exercise, self.forward = exercise, forward
        self.arguments = exercise.arguments(sizes, point)
        rng = np.random.default_rng([99, point])
        *outputs, self.cache = forward(*self._with({}))
        self.loss = exercise.form == "loss"
        self.takes = 1 if self.loss else backward.__code__.co_argcount - 1
        self.outputs = outputs[: self.takes]
        self.dys = [np.ones(np.shape(y)) if self.loss else rng.normal(size=np.shape(y)) for y in self.outputs]
        self.leaves = [
            ((k, *leaf.path), f"d{leaf.path[-1] if leaf.path else name}", leaf.array)
            for k, (name, value) in enumerate(zip(names_of(forward, 9), self.arguments, strict=False))
            for leaf in leaves_of(value, "")
        ]
        self.rights = {name: self._gradient(path, array) for path, name, array in self.leaves}

    def _with(self, values: dict[Any, Array]) -> tuple[Any, ...]:
        return tuple(with_arrays(self.arguments, values.get))  # whose paths begin with the argument's number

    def _gradient(self, path: Any, array: Array) -> Array:
        """The derivative by every entry of an argument."""
        found, dy = np.zeros(array.size), np.concatenate([dy.ravel() for dy in self.dys])
        exact = True
        for k in range(array.size):
            way = np.zeros(array.size)
            way[k] = 1
            along = self._along(path, array, way.reshape(array.shape))
            slope = by_complex_step(along) if exact else None
            exact = slope is not None
            found[k] = (slope if slope is not None else (along(STEP) - along(-STEP)) / (2 * STEP)) @ dy
        return found.reshape(array.shape)

    def _along(self, path: Any, array: Array, way: Array) -> Callable[[complex], Array]:
        def along(h: complex) -> Array:
            outputs = self.forward(*self._with({path: array + h * way}))[: self.takes]
            return np.concatenate([np.ravel(y) for y in outputs])

        return along

    def said(self, backward: Callable[..., Any]) -> dict[str, Any]:
        """The gradients by name."""
        if self.loss:
            loss, returned = backward(*self._with({}))
            if loss != self.outputs[0]:
                return {}
            return {self.leaves[0][1]: returned}
        returned = backward(*(dy.copy() for dy in self.dys), copy.deepcopy(self.cache))
        if isinstance(returned, dict):
            return dict(returned)
        parts = returned if isinstance(returned, (tuple, list)) else (returned,)
        return dict(zip((name for _, name, _ in self.leaves), parts, strict=False))

    def compared(self, backward: Callable[..., Any]) -> list[Compared]:
        """The gradients beside what they must be; those that the course does not ask for only where they are there."""
        said, asked = self.said(backward), self.exercise.names
        names = [name for _, name, _ in self.leaves if name in said or name in asked or not (asked or self.loss)]
        return [Compared(name, said.get(name), self.rights[name]) for name in names] if said else []

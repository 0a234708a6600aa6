"""A backward pass at one point, where what its gradients must say along a direction is known: cheap to ask again."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minirnn.testing.courses.exercises import Exercise
from minirnn.testing.functions.calls import names_of
from minirnn.testing.functions.derivatives import by_complex_step, by_differences
from minirnn.testing.functions.leaves import Array, leaves_of, numbers_in, with_arrays

NEAR = 1e-6


class Probe:
    """An exercise at arguments drawn by ``seed``; the forward pass must not raise there."""

    def __init__(
        self,
        exercise: Exercise,
        forward: Callable[..., Any],
        backward: Callable[..., Any],
        sizes: tuple[int, ...],
        seed: int,
    ) -> None:
        self.exercise, self.forward = exercise, forward
        self.arguments = exercise.arguments(sizes, seed)
        rng = np.random.default_rng([99, seed])
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
        self.ways = {name: rng.normal(size=array.shape) for _, name, array in self.leaves}
        self.slopes = {name: self._slope(path, array, self.ways[name]) for path, name, array in self.leaves}

    def _with(self, values: dict[Any, Array]) -> tuple[Any, ...]:
        return tuple(with_arrays(self.arguments, values.get))  # whose paths begin with the argument's number

    def _slope(self, path: Any, array: Array, way: Array) -> float:
        def along(h: complex) -> Array:
            outputs = self.forward(*self._with({path: array + h * way}))[: self.takes]
            return np.concatenate([np.ravel(y) for y in outputs])

        exact = by_complex_step(along)
        slope = by_differences(along).value if exact is None else exact
        return float(np.concatenate([dy.ravel() for dy in self.dys]) @ slope)

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

    def wrong(self, gradients: dict[str, Any]) -> Iterator[str]:
        """The names of the gradients that do not say what they must."""
        for _, name, array in self.leaves:
            if name not in gradients:
                if name in self.exercise.names or not (self.exercise.names or self.loss):
                    yield name
                continue
            g = numbers_in(gradients[name])
            if g is None or g.shape != array.shape:
                yield name
                continue
            terms = g * self.ways[name]
            scale = float(np.abs(terms).sum()) + abs(self.slopes[name])
            if not abs(float(terms.sum()) - self.slopes[name]) <= NEAR * max(scale, 1e-9):
                yield name

    def right(self, backward: Callable[..., Any]) -> bool:
        """Whether all gradients are right here."""
        gradients = self.said(backward)
        return bool(gradients) and next(self.wrong(gradients), None) is None

"""A model where its gradients are checked, and the values and derivatives that one evaluation gives there."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from minirnn.core.backend import Array
from minirnn.core.backward import Backward
from minirnn.core.layer import Layer
from minirnn.core.run import State
from minirnn.core.tree import arrays_in, rebuilt
from minirnn.testing.differences import EPS, Estimate, differentiate
from minirnn.testing.precision import precision_of

STEP = 1e-30  # of the complex step: no subtraction, so as small as the products of it allow
NO_COMPLEX = (TypeError, ValueError, AttributeError, ArithmeticError)  # what a step raises that takes real numbers only
DELTA = float(np.finfo(float).eps) ** (1 / 3)  # of central differences: balances truncation and rounding
NEARBY = 1e-3  # how far a point is moved, to leave a kink behind

Scalar: TypeAlias = Any  # a value of f: a float, or in a complex step a complex number
Gradients = list[dict[str, Array]]  # for each scalar f, the gradient of each array
Direction = Mapping[str, Array]  # how far each array is moved


@dataclass(frozen=True)
class Setting:
    """A model where its gradients are checked: everything that one evaluation of f depends on."""

    model: Layer
    call: int  # number of the pass, so that every evaluation has the same dropout masks
    x: Array
    state: State
    lengths: ArrayLike | None
    cotangents: dict[str, tuple[Array | None, State]]  # for each scalar f: ⟨dy, y⟩ + ⟨dstate, final state⟩

    def run(self) -> tuple[Array, State, Backward]:
        self.model.bound.calls = self.call
        return self.model.forward(self.x, self.state, lengths=self.lengths)

    def scalars(self) -> list[Scalar]:
        y, final, _ = self.run()
        return self.of(y, final)

    def of(self, y: Array, final: State) -> list[Scalar]:
        """Each scalar f, of what a forward pass returns."""
        return [paired(dy, y) + paired_states(dstate, final) for dy, dstate in self.cotangents.values()]

    def point(self) -> dict[str, Array]:
        """The arrays that derivatives are taken with respect to, by name; all of them writable in place."""
        arrays: dict[str, Array] = dict(self.model.named_weights())
        if self.x.dtype.kind not in "iu":
            arrays["x"] = self.x
        return arrays | dict(leaves(self.state, "state"))

    def gradients(self, backward: Backward) -> Gradients:
        """The gradient of every array of ``point``, for each scalar."""
        every = []
        for dy, dfinal in self.cotangents.values():
            self.model.zero_grads()
            dx, dstate = backward(dy, dfinal, keep=True)
            gradients = {name: g.copy() for name, g in self.model.named_grads().items()}
            gradients |= {} if dx is None else {"x": dx}
            every.append(gradients | dict(leaves(dstate, "state")))
        return every

    def nearby(self, rng: np.random.Generator) -> "Setting":
        """The same setting with all its arrays a little moved: what a kink does at one point, it does not do here."""
        near = self.to("float64")
        for array in near.point().values():
            array[...] += rng.normal(0, NEARBY, array.shape)
        return near

    def direction(self, rng: np.random.Generator) -> Direction:
        """A random direction for all arrays at once, with entries of size 0.5 to 1, so that each of them counts."""
        shapes = {name: array.shape for name, array in self.point().items()}
        return {name: rng.uniform(0.5, 1, shape) * rng.choice([-1.0, 1.0], shape) for name, shape in shapes.items()}

    def to(self, dtype: str) -> "Setting":
        """The same setting in another dtype, with arrays of its own."""
        x = self.x.copy() if self.x.dtype.kind in "iu" else self.x.astype(dtype)
        return replace(
            self, model=in_dtype(self.model, dtype), x=x, state=rebuilt(self.state, lambda a: a.astype(dtype))
        )


def in_dtype(model: Layer, dtype: str) -> Layer:
    """A copy in another dtype; complex numbers go through the plain equations, which all backends are twins of."""
    return model.to(backend="numpy" if dtype == "complex128" else None, dtype=dtype)


def moved(outputs: Callable[[], list[Scalar]], array: Array, k: int, by: complex) -> Array:
    """All outputs with ``by`` added to entry k of ``array``, which is put back as it was."""
    index = np.unravel_index(k, array.shape)
    before = array[index]
    try:
        array[index] = before + by
        return np.array(outputs())
    finally:
        array[index] = before


def along(setting: Setting, direction: Direction, by: complex) -> Array:
    """All scalars with ``by`` times the direction added to every array of it, which are put back as they were."""
    arrays = setting.point()
    before = {name: arrays[name].copy() for name in direction}
    try:
        for name, way in direction.items():
            arrays[name] += by * way
        return np.array(setting.scalars())
    finally:
        for name, array in before.items():
            arrays[name][...] = array


def slopes(gradients: Gradients, direction: Direction) -> Array:
    """The derivative of each scalar along a direction, by the gradients."""
    return np.array([sum((one[name] * way).sum() for name, way in direction.items()) for one in gradients])


def complex_slopes(setting: Setting, direction: Direction) -> Array | None:
    """The derivative of each scalar along a direction by complex step; None where complex numbers are refused."""
    try:
        with without_warnings():
            imaginary: Array = along(setting.to("complex128"), direction, 1j * STEP).imag
    except NO_COMPLEX:
        return None
    return imaginary / STEP


def central_slopes(setting: Setting, direction: Direction) -> Array:
    """The derivative of each scalar along a direction by a central difference."""
    twin, delta = setting.to("float64"), DELTA / length(direction)
    with without_warnings():
        difference: Array = (along(twin, direction, delta) - along(twin, direction, -delta)) / (2 * delta)
    return difference


def estimated_slopes(setting: Setting, direction: Direction) -> Estimate:
    """The derivative of each scalar along a direction by differences, with its estimated error."""
    twin, unit = setting.to("float64"), 1 / length(direction)
    estimate = differentiate(lambda h: along(twin, direction, h * unit), coarsest(setting.model))
    return Estimate(estimate.value / unit, estimate.error / unit)


def length(direction: Direction) -> float:
    """The Euclidean length of a direction, at least 1."""
    return max(1.0, float(np.sqrt(sum((way**2).sum() for way in direction.values()))))


@contextmanager
def without_warnings() -> Iterator[None]:
    """No warnings of numbers that overflow, nor of complex ones that are made real."""
    with warnings.catch_warnings(action="ignore", category=np.exceptions.ComplexWarning), np.errstate(all="ignore"):
        yield


def complex_step(outputs: Callable[[], list[Scalar]], array: Array, k: int) -> Array:
    """The derivative by entry k of ``array``, of a model in complex128."""
    imaginary: Array = moved(outputs, array, k, 1j * STEP).imag
    return imaginary / STEP


def central(outputs: Callable[[], list[Scalar]], array: Array, k: int) -> Array:
    """The central difference by entry k of ``array``."""
    delta = DELTA * max(1.0, abs(array[np.unravel_index(k, array.shape)]))
    difference: Array = (moved(outputs, array, k, delta) - moved(outputs, array, k, -delta)) / (2 * delta)
    return difference


def estimated(setting: Setting, array: Array, k: int) -> Estimate:
    """The derivative by entry k of ``array`` by differences, with its estimated error."""
    return differentiate(lambda h: moved(setting.scalars, array, k, h), coarsest(setting.model))


def coarsest(model: Layer) -> float:
    """The coarsest rounding in the cells of a model, whatever its dtype."""
    return max((precision_of(layer.cell) for layer in model.walk() if hasattr(layer, "cell")), default=EPS)


def initial_states(model: Layer, final: State, state: State, rng: np.random.Generator) -> list[State]:
    """The initial states to check from: that of the caller, or a random one, and none where they are trainable."""
    if state is not None:
        return [state]
    starts: list[State] = [rebuilt(final, lambda a: rng.normal(0, 0.5, a.shape))]
    if any(slot.spec.role == "state" for slot in model.bound.slots.values()):
        starts.append(None)
    return starts


def leaves(state: State, path: str) -> Iterator[tuple[str, Array]]:
    """The arrays of a state with their places: ``state[1][0]``."""
    if isinstance(state, (tuple, list)):
        for k, part in enumerate(state):
            yield from leaves(part, f"{path}[{k}]")
    elif state is not None:
        yield path, state


def paired(a: Array | None, b: Array | None) -> Scalar:
    """⟨a, b⟩ = Σ a b, without conjugation; 0 where a cotangent is absent."""
    return 0.0 if a is None or b is None else (a * b).sum()


def paired_states(a: State, b: State) -> Scalar:
    """⟨a, b⟩ over all arrays of two states."""
    if a is None:
        return 0.0
    return sum((paired(p, q) for p, q in zip(arrays_in(a), arrays_in(b), strict=True)), start=0.0)

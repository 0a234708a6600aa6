"""The adjoint identity: a whole backward pass compared with the derivative along one line."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from minirnn.core.backend import Array
from minirnn.core.layer import Layer
from minirnn.core.run import State
from minirnn.core.tree import arrays_in, rebuilt
from minirnn.testing.differences import SAFETY, differentiate
from minirnn.testing.report import GradientError
from minirnn.testing.setting import (
    DELTA,
    NO_COMPLEX,
    STEP,
    coarsest,
    in_dtype,
    initial_states,
    paired,
    paired_states,
)

DELTAS = (DELTA, DELTA / 2**5, DELTA / 2**10)  # a norm of numbers that are nearly equal bends within the first
ROUGHLY = 1e-4  # of the largest derivative: how near a plain difference must come
AGREES = 1e-3  # of |u| |J v|: what error differences may have to be able to judge
EXPECTED = 1e-10  # what a right gradient comes to by complex step, at most; beyond that, differences are asked too


def check_adjoint(
    model: Layer,
    x: ArrayLike,
    state: State = None,
    *,
    lengths: ArrayLike | None = None,
    seed: int = 0,
    tolerance: float = 1e-10,
) -> float:
    """⟨u, J v⟩ = ⟨Jᵀ u, v⟩ for random u and v: the whole backward pass in one number, at any size.

    J is the derivative of (y, final state) with respect to (weights, x, initial state); J v is one complex step along
    v, Jᵀ u the backward pass.  ``state`` None draws one, as in ``check_gradients``, and goes without one too where
    initial states are trainable.  Returns the difference relative to |J v| |u|; raises GradientError if it exceeds
    ``tolerance``.
    """
    rng, x = np.random.default_rng(seed), np.asarray(x)
    worst = 0.0
    _, final = model.to(dtype="float64")(x, lengths=lengths)
    for start in initial_states(model, final, state, rng):
        line = _Line.drawn(model, x, start, lengths, rng)
        off, left = line.off_by_complex_step()
        if not off <= min(tolerance, EXPECTED):
            off, left = line.off_by_differences()
        if not off <= tolerance:
            right = line.right
            raise GradientError(f"<u, J v> = {left:.15e} and <J' u, v> = {right:.15e} differ by {off:.1e} of |u| |J v|")
        worst = max(worst, off)
    return float(worst)


@dataclass(frozen=True)
class _Line:
    """A model, a direction v in which all its arrays move at once, cotangents u, and ⟨Jᵀ u, v⟩."""

    model: Layer
    call: int
    x: Array
    start: State
    lengths: ArrayLike | None
    weights: dict[str, Array]  # v, of each weight
    dx: Array | None  # and of x
    dstart: State  # and of the initial state
    u: list[Array]
    right: float

    @classmethod
    def drawn(
        cls, model: Layer, x: Array, start: State, lengths: ArrayLike | None, rng: np.random.Generator
    ) -> "_Line":
        call, real = model.bound.calls, model.to(dtype="float64")
        y, final, backward = real.forward(x, start, lengths=lengths)
        u, ustate = rng.normal(size=y.shape), rebuilt(final, lambda a: rng.normal(size=a.shape))
        dx, dstate = backward(u, ustate)
        weights = {name: rng.normal(size=weight.shape) for name, weight in real.named_weights().items()}
        v = None if dx is None else rng.normal(size=x.shape)
        directions = rebuilt(start, lambda a: rng.normal(size=a.shape))
        right = sum(paired(weights[name], gradient) for name, gradient in real.named_grads().items())
        right += (0.0 if v is None else paired(v, dx)) + paired_states(directions, dstate)
        us = [u, *arrays_in(ustate)]
        return cls(real, call, x, start, lengths, weights, v, directions, us, float(right))

    def outputs(self, twin: Layer, h: complex) -> Array:
        """All outputs, as one vector, of ``twin``, a copy of the model, moved by h v."""
        for name, weight in twin.named_weights().items():
            weight[...] += h * self.weights[name]
        twin.bound.calls = self.call
        moved = self.x if self.dx is None else self.x + h * self.dx
        start = _zip_map(lambda a, v: a + h * v, self.start, self.dstart)
        y, final, _ = twin.forward(moved, start, lengths=self.lengths)
        return np.concatenate([y.ravel(), *(a.ravel() for a in arrays_in(final))])

    def off(self, Jv: Array) -> tuple[float, float]:
        """How far ⟨u, J v⟩ is from ⟨Jᵀ u, v⟩, of |u| |J v|, and itself."""
        u = np.concatenate([a.ravel() for a in self.u])
        left, size = float((u * Jv).sum()), float(np.sqrt((u * u).sum() * (Jv * Jv).sum()))
        return abs(left - self.right) / size if size else abs(left - self.right), left

    def off_by_complex_step(self) -> tuple[float, float]:
        try:
            with warnings.catch_warnings(action="ignore", category=np.exceptions.ComplexWarning):
                Jv = self.outputs(in_dtype(self.model, "complex128"), 1j * STEP).imag / STEP
        except NO_COMPLEX:
            return np.inf, np.nan
        for delta in DELTAS:
            ahead, behind = (self.outputs(self.model.to(), h) for h in (delta, -delta))
            if np.abs((ahead - behind) / (2 * delta) - Jv).max(initial=0.0) <= ROUGHLY * np.abs(Jv).max(initial=1e-3):
                return self.off(Jv)
        return np.inf, np.nan  # it may be the complex step that is wrong

    def off_by_differences(self) -> tuple[float, float]:
        """The same by differences, beyond their estimated error: 0 where they cannot tell."""
        estimate = differentiate(lambda h: self.outputs(self.model.to(), h), coarsest(self.model))
        u = np.concatenate([np.abs(a).ravel() for a in self.u])
        error, size = float((u * estimate.error).sum()), float(np.sqrt((u * u).sum() * (estimate.value**2).sum()))
        if not error < AGREES * size:
            return 0.0, self.right
        new, left = self.off(estimate.value)
        beyond = new - SAFETY * error / size
        return (0.0 if beyond <= 0 else new), left


def _zip_map(f: Callable[[Array, Array], Array], a: State, b: State) -> State:
    if isinstance(a, (tuple, list)):
        return tuple(_zip_map(f, p, q) for p, q in zip(a, b, strict=True))
    return None if a is None else f(a, b)

"""Gradients compared with derivatives that do not depend on the code that computes them.

Complex step: for f holomorphic and real on the real axis, f(θ + iεv) = f(θ) + iε ∂f/∂θ·v - O(ε²), so

    ∂f/∂θ·v = Im f(θ + iεv) / ε        exact to rounding at ε = 1e-30, since nothing is subtracted

(Squire and Trapp 1998).  Central differences, (f(θ + δv) - f(θ - δv)) / 2δ, lose half the digits and need nothing of
the code but its values.  The scalar f is ⟨dy, y⟩ + ⟨dstate, final state⟩ with random cotangents, so that every output
counts; y and the final state are also taken alone, since two wrong halves may cancel.

A random direction v moves all arrays at once: one forward pass then holds every entry of the gradient g, by ⟨g, v⟩,
against the derivative along v.  A wrong entry shows, unless the others' errors happen to make up for it exactly.  Only
where the two disagree are entries taken one by one, to say which.

Not every real function is holomorphic: ``abs``, ``var`` and ``.real`` are not.  So a gradient that the complex
step contradicts is looked at by differences with an estimated error (``minirnn.testing.differences``).  Where
those contradict the complex step, they are believed instead of it.  A kink closer than the difference's step misleads
it, so what only differences contradict has to be contradicted a little further on too.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from minirnn.core.backend import Array
from minirnn.core.layer import Layer
from minirnn.core.protocol import stages_of
from minirnn.core.run import State
from minirnn.core.tree import arrays_in, rebuilt
from minirnn.testing.differences import SAFETY
from minirnn.testing.report import GradientError, NotFiniteError, Report, Row, row_of
from minirnn.testing.setting import (
    NO_COMPLEX,
    STEP,
    Direction,
    Gradients,
    Setting,
    central,
    central_slopes,
    complex_slopes,
    complex_step,
    estimated,
    estimated_slopes,
    in_dtype,
    initial_states,
    slopes,
    without_warnings,
)

EXAMINED = 8  # entries, of those that the complex step contradicts, that differences are asked about first
REFINED = 24  # entries of an array whose difference is taken again with an estimated error, at most
SAMPLED = 4  # entries that are tried of an array that is not suspect, where others are
ROUGHLY = 1e-5  # of the derivative along a direction: how near a plain difference must come to the complex step
FAR = 0.05  # of it: from here on, no error of a difference explains it
AGREES = 1e-6  # of the largest derivative: how near the complex step must come to differences beside their own error
ROUNDING = 1e-13  # of the largest derivative: what is left where differences are at their best
LEAST = 0.5  # the smallest entry of a direction: how much of an entry's error shows
MOST = 2  # of three points nearby: how many decide

Picked = dict[str, Array]  # which entries of each array are tried, as flat indices


def check_gradients(
    model: Layer,
    x: ArrayLike,
    state: State = None,
    *,
    lengths: ArrayLike | None = None,
    seed: int = 0,
    methods: tuple[str, ...] = ("complex step", "difference"),
    entries: int | Literal["all"] | None = None,
    tolerance: float = 1e-10,
    difference_tolerance: float = 1e-6,
    raises: bool = True,
) -> Report:
    """Check the gradients of every weight, ``x`` and the initial state of ``model``; returns the report.

    The model is copied, to float64 and complex128; dropout masks are the same in every evaluation.  ``state`` None
    draws a random initial state; if the model has trainable initial states, it is checked without one as well.

    By default all entries of all arrays are moved at once, along one random direction: a few forward passes, whatever
    the size.  If the derivative along it is not what the gradients say, entries are tried one by one, a forward pass
    or two each: all entries of each array that is suspect, and a few of each other one.  ``entries="all"`` tries all
    entries one by one in any case, and a number that many of each array, chosen at random.

    Where differences show that the complex step is no derivative of this model, its rows are replaced by theirs;
    entries at a kink, where there is no derivative, are left out.  Raises GradientError with the report if a gradient
    is wrong, unless ``raises`` is False, and ValueError where values are not finite.
    """
    tolerances = {"complex step": tolerance, "difference": difference_tolerance}
    if not methods or not set(methods) <= tolerances.keys():
        raise ValueError(f"methods must be of {', '.join(tolerances)}; got {methods!r}")
    if not (entries is None or entries == "all" or (isinstance(entries, int) and entries > 0)):
        raise ValueError(f'entries must be None, "all" or a positive number; got {entries!r}')
    real, rng, call = model.to(dtype="float64"), np.random.default_rng(seed), model.bound.calls
    x = np.array(x)
    x = x if x.dtype.kind in "iu" else x.astype(np.float64)
    with without_warnings():
        y, final, _ = real.forward(x, lengths=lengths)
    dy, dfinal = rng.normal(size=y.shape), rebuilt(final, lambda a: rng.normal(size=a.shape))
    cotangents: dict[str, tuple[Array | None, State]] = {"y": (dy, None)}
    if list(arrays_in(final)):
        cotangents |= {"y + state": (dy, dfinal), "state": (None, dfinal)}
    rows: list[Row] = []
    holomorphic = True
    for start in initial_states(model, final, state, rng):
        initial = rebuilt(start, lambda a: np.array(a, np.float64))
        check = _Check(Setting(real, call, x, initial, lengths, cotangents), rng, tolerances)
        rows += check.rows(methods, entries)
        holomorphic &= check.holomorphic
    report = Report(tuple(rows), holomorphic)
    if raises and not report.ok:
        raise GradientError(f"a gradient differs from the derivative\n{report}")
    return report


class _Check:
    """The check of a model at one point."""

    def __init__(self, setting: Setting, rng: np.random.Generator, tolerances: dict[str, float]) -> None:
        self.setting, self.rng, self.tolerances = setting, rng, tolerances
        with without_warnings():
            y, final, backward = setting.run()
            if not np.isfinite(setting.of(y, final)).all():
                raise NotFiniteError("values are not finite: y or the final state overflows, and has no derivative")
            self.gradients: Gradients = setting.gradients(backward)
        self.direction = setting.direction(rng)
        self.exact = complex_slopes(setting, self.direction)
        self.near = central_slopes(setting, self.direction)
        said = slopes(self.gradients, self.direction)
        if not any(np.isfinite(a).all() for a in (said, self.near, self.near if self.exact is None else self.exact)):
            raise NotFiniteError("values are not finite: the derivatives overflow")
        self.holomorphic = self.exact is not None and _agree(setting, self.direction, self.exact, self.near)
        self.holomorphic = self.holomorphic or self._holomorphic_nearby()
        self.moved: tuple[Setting, Gradients] | None = None

    def _holomorphic_nearby(self) -> bool:
        """Whether differences agree with the complex step at most points nearby: at this one, there is a kink then."""
        if self.exact is None:
            return False
        votes = [0, 0]  # against, and for
        while max(votes) < MOST:
            moved = self.setting.nearby(self.rng)
            exact = complex_slopes(moved, self.direction)
            agree = exact is not None and _agree(moved, self.direction, exact, central_slopes(moved, self.direction))
            votes[agree] += 1
        return votes[1] == MOST

    def rows(self, methods: tuple[str, ...], entries: int | Literal["all"] | None) -> list[Row]:
        """The rows of all arrays by these methods, or by differences where the complex step is no derivative."""
        if not self.holomorphic:
            methods = ("difference",)
        if entries is None:
            slopes_by = {"complex step": self.exact, "difference": self.near}
            said = slopes(self.gradients, self.direction)
            off = {method: np.abs(said - slopes_by[method]) for method in methods}
            if all((off[method] <= LEAST * self.tolerances[method]).all() for method in methods):
                return [row for method in methods for row in self._along(method, off[method])]
        picked = self._picked(entries, methods)
        exact = self._by_complex_step(picked) if "complex step" in methods else []
        if exact is None:
            self.holomorphic = False
        if exact is None or "difference" in methods:
            return (exact or []) + self._by_differences(picked)
        return exact

    def _along(self, method: str, off: Array) -> list[Row]:
        """The rows of all arrays, moved at once."""
        rows = []
        for name, array in self.setting.point().items():
            for i, through in enumerate(self.setting.cotangents):
                scale = float(np.abs(self.gradients[i][name]).max(initial=0.0))
                rows.append(
                    Row(name, array.shape, through, method, float(off[i]), scale, self.tolerances[method], worst=())
                )
        return rows

    def _picked(self, entries: int | Literal["all"] | None, methods: tuple[str, ...]) -> Picked:
        """Which entries to try: of None, all of the arrays that are wrong along their part of the direction."""
        picked = {}
        for name, array in self.setting.point().items():
            number = array.size if entries == "all" else entries
            if number is None:
                part = {name: self.direction[name]}
                said, wrong = slopes(self.gradients, part), False
                for method in methods:
                    slope = (complex_slopes if method == "complex step" else central_slopes)(self.setting, part)
                    wrong |= slope is None or not (np.abs(said - slope) <= LEAST * self.tolerances[method]).all()
                number = array.size if wrong else SAMPLED
            few = number < array.size
            picked[name] = np.sort(self.rng.choice(array.size, number, replace=False)) if few else np.arange(array.size)
        return picked

    def _by_complex_step(self, picked: Picked) -> list[Row] | None:
        """The rows of every array by complex step; None where differences show that it is not the derivative here."""
        twin, tolerance = self.setting.to("complex128"), self.tolerances["complex step"]
        derivatives: dict[str, Array] = {}
        try:
            with without_warnings():
                for name, array in twin.point().items():
                    values = [complex_step(twin.scalars, array, int(k)) for k in picked[name]]
                    derivatives[name] = np.array(values).reshape(-1, len(self.gradients))
        except NO_COMPLEX:
            return None
        rows, doubtful = [], []
        for name, d in derivatives.items():
            for i, (through, gradients) in enumerate(zip(self.setting.cotangents, self.gradients, strict=True)):
                g = gradients[name].ravel()[picked[name]]
                off, size = np.abs(g - d[:, i]), np.abs(d[:, i]).max(initial=0.0)
                shape = gradients[name].shape
                numbers = {"picked": picked[name], "g": g, "d": d[:, i], "off": off}
                rows.append(row_of(name, shape, through, "complex step", **numbers, tolerance=tolerance))
                bound = tolerance * max(1.0, size)
                doubtful += [(float(off[k]), name, int(k), i) for k in np.flatnonzero(~(off <= bound))]
        return rows if self._holds(picked, derivatives, doubtful) else None

    def _holds(
        self, picked: Picked, derivatives: dict[str, Array], doubtful: list[tuple[float, str, int, int]]
    ) -> bool:
        """Whether differences agree with the complex step at the entries where that contradicts a gradient."""
        if not doubtful:
            return True
        twin, decided = self.setting.to("float64"), False
        seen: set[tuple[str, int]] = set()
        arrays = twin.point()
        for _, name, k, i in sorted(doubtful, key=lambda one: -np.nan_to_num(one[0], nan=np.inf)):
            if (name, k) in seen or len(seen) == EXAMINED:
                continue
            seen.add((name, k))
            estimate = estimated(twin, arrays[name], int(picked[name][k]))
            d, value, error = derivatives[name][k], estimate.value, SAFETY * estimate.error
            size = max(1.0, np.abs(derivatives[name]).max(), np.abs(value).max())
            off = np.abs(d - value) - error
            said = abs(self.gradients[i][name].ravel()[picked[name][k]] - value[i]) - error[i]
            if not (off <= AGREES * size).all() or (said <= ROUNDING * size < off[i]):
                return False
            decided |= not said <= (ROUNDING if off[i] <= ROUNDING * size else AGREES) * size
        return decided

    def _by_differences(self, picked: Picked) -> list[Row]:
        """The rows of every array by central differences; with an estimated error where a plain one contradicts."""
        twin, tolerance, rows = self.setting.to("float64"), self.tolerances["difference"], []
        for name, array in twin.point().items():
            indices = picked[name]
            with np.errstate(all="ignore"):
                d = np.array([central(twin.scalars, array, int(k)) for k in indices]).reshape(-1, len(self.gradients))
            g = np.array([one[name].ravel()[indices] for one in self.gradients]).T.reshape(d.shape)
            off = np.abs(g - d)
            bound = tolerance * np.maximum(1.0, np.abs(d).max(0, initial=0.0))
            for n, k in enumerate(np.flatnonzero(~(off <= bound).all(1))):
                if n == REFINED:  # of the others nothing is known, and no more than that is claimed
                    off[k:][~(off[k:] <= bound)] = 0.0
                    break
                d[k], off[k] = _refined(twin, array, int(indices[k]), g[k])
            for k in np.argsort(-off.max(1, initial=0.0)):
                if (off[k] <= bound).all() or self._wrong_nearby(name, int(indices[k]), bound):
                    break
                d[k], off[k] = 0.0, 0.0
            for i, through in enumerate(self.setting.cotangents):
                numbers = {"picked": indices, "g": g[:, i], "d": d[:, i], "off": off[:, i]}
                rows.append(row_of(name, array.shape, through, "difference", **numbers, tolerance=tolerance))
        return rows

    def _wrong_nearby(self, name: str, k: int, bound: Array) -> bool:
        """Whether a gradient that a difference contradicts is contradicted away from here too, where no kink is."""
        if not all(np.isfinite(one[name]).all() for one in self.gradients):
            return True
        if self.moved is None:
            moved = self.setting.nearby(self.rng)
            with without_warnings():
                _, _, backward = moved.run()
                self.moved = moved, moved.gradients(backward)
        moved, gradients = self.moved
        g = np.array([one[name].ravel()[k] for one in gradients])
        _, off = _refined(moved, moved.point()[name], k, g)
        return not (off <= bound).all()


def _agree(setting: Setting, direction: Direction, exact: Array, near: Array) -> bool:
    """Whether the derivative along a direction is the same by complex step and by differences."""
    size = np.maximum(1e-3, np.abs(exact).max())
    off = np.abs(exact - near)
    if (off <= ROUGHLY * size).all() or not (off <= FAR * size).all():
        return bool((off <= ROUGHLY * size).all())
    estimate = estimated_slopes(setting, direction)
    error = SAFETY * estimate.error
    return bool((np.isfinite(error) & (np.abs(exact - estimate.value) <= error + AGREES * size)).all())


def _refined(setting: Setting, array: Array, k: int, g: Array) -> tuple[Array, Array]:
    """A derivative with an estimated error, and how far beyond that the gradient is; 0 where it cannot be judged."""
    estimate = estimated(setting, array, k)
    judged = np.isfinite(estimate.error)
    beyond = np.abs(g - estimate.value) - SAFETY * estimate.error
    beyond = np.where(beyond <= 0, 0.0, beyond)
    return (
        np.where(judged, estimate.value, 0.0),
        np.where(judged & np.isfinite(estimate.value), beyond, 0.0),
    )


def hessian_vector_product(
    model: Layer,
    x: ArrayLike,
    vector: Array,
    loss: Callable[[Array], tuple[float, Array]],
    state: State = None,
    *,
    lengths: ArrayLike | None = None,
) -> Array:
    """H v for the Hessian H of ``loss(y)`` with respect to the weights: one complex step through ``backward``.

    ``loss`` maps y to the loss and its gradient, as in ``lambda y: cross_entropy(y, targets)``, and must accept complex
    y; ``vector`` is flat, laid out as ``model.weights``, and so is the result, float64.  With g(θ) the gradient,
    H v = Im g(θ + iεv) / ε, exact to rounding.
    """
    twin = in_dtype(model, "complex128")
    if np.shape(vector) != twin.weights.shape:
        raise ValueError(f"vector must have the shape of model.weights, {twin.weights.shape}; got {np.shape(vector)}")
    twin.bound.calls = model.bound.calls
    twin.weights += 1j * STEP * np.asarray(vector, np.float64)
    y, _, backward = twin.forward(x, state, lengths=lengths)
    _, dy = loss(y)
    backward(dy)
    product: Array = twin.grads.imag / STEP
    return product


def kink_distance(model: Layer, x: ArrayLike, state: State = None, *, lengths: ArrayLike | None = None) -> float:
    """The smallest distance from a kink (relu's, at 0) in one pass; a difference across one is not a derivative."""
    kinks = {
        f"{layer.prefix}{name}"
        for layer in model.walk()
        for stage in stages_of(getattr(layer, "cell", layer))
        for name in getattr(stage, "kinks", ())
    }
    if not kinks:
        return float("inf")
    call = model.bound.calls
    _, _, backward = model.forward(x, state, lengths=lengths)
    model.bound.calls = call
    return min(
        (float(np.abs(a).min()) for name, a in backward.saved.items() if name in kinks and a.size), default=np.inf
    )

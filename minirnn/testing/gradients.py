"""Gradients held against derivatives that do not depend on the code that computes them.

Complex step: for f holomorphic and real on the real axis, f(θ + iεv) = f(θ) + iε ∂f/∂θ·v - O(ε²), so

    ∂f/∂θ·v = Im f(θ + iεv) / ε        exact to rounding at ε = 1e-30, since nothing is subtracted

(Squire and Trapp 1998).  Central differences, (f(θ + δv) - f(θ - δv)) / 2δ, lose half the digits and need nothing of
the code but its values.  The scalar f is ⟨dy, y⟩ + ⟨dstate, final state⟩ with random cotangents, so that every output
counts; y and the final state are also taken alone, since two wrong halves may cancel.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minirnn.backend import Array
from minirnn.base import Backward, Layer, State
from minirnn.protocol import stages_of
from minirnn.states import arrays_in, rebuilt

STEP = 1e-30  # of the complex step: no subtraction, so as small as the products of it allow
WORST = 3  # arrays, and entries of each, that a failing report spells out
DELTA = float(np.finfo(float).eps) ** (1 / 3)  # of central differences: balances truncation and rounding


class GradientError(AssertionError):
    """A gradient differs from the derivative; the message is the report."""


@dataclass(frozen=True)
class Row:
    """One array's gradient against one method: the largest error, the largest |derivative|, and the worst entries."""

    name: str
    shape: tuple[int, ...]
    cotangents: str  # which outputs f depends on: "y", "state" or "y + state"
    method: str  # "complex step" or "difference"
    error: float
    scale: float
    tolerance: float
    worst: tuple[tuple[tuple[int, ...], float, float], ...]  # index, gradient, derivative

    @property
    def ok(self) -> bool:
        """|g - derivative| <= tolerance · max(1, |derivative|), by largest entries; NaN is not."""
        return self.error <= self.tolerance * max(1.0, self.scale)


@dataclass(frozen=True)
class Report:
    """All rows of a check.  ``str(report)`` is a table, followed by the worst entries of each row that failed."""

    rows: tuple[Row, ...]

    @property
    def ok(self) -> bool:
        """True if every gradient agrees."""
        return all(row.ok for row in self.rows)

    def error(self, method: str) -> float:
        """The largest error by ``method``, each relative to max(1, |derivative|)."""
        return max((row.error / max(1.0, row.scale) for row in self.rows if row.method == method), default=0.0)

    def __str__(self) -> str:
        head = ("gradient of", "shape", "through", "method", "largest error", "largest derivative", "")
        table = [head]
        for r in self.rows:
            verdict = "" if r.ok else "WRONG"
            table.append((r.name, str(r.shape), r.cotangents, r.method, f"{r.error:.1e}", f"{r.scale:.1e}", verdict))
        widths = [max(len(line[k]) for line in table) for k in range(len(head))]
        lines = ["  ".join(word.ljust(w) for word, w in zip(line, widths, strict=True)).rstrip() for line in table]
        wrong = sorted((r for r in self.rows if not r.ok), key=lambda r: -r.error / max(1.0, r.scale))
        for r in wrong[:WORST]:
            lines.append(f"{r.name} through {r.cotangents} by {r.method}, worst entries (allowed {r.tolerance:.0e}):")
            lines += [f"  {list(index)}: gradient {g:+.6e}, derivative {d:+.6e}" for index, g, d in r.worst]
        return "\n".join(lines)


def check_gradients(
    model: Layer,
    x: Any,
    state: State = None,
    *,
    lengths: Any = None,
    seed: int = 0,
    methods: tuple[str, ...] = ("complex step", "difference"),
    entries: int | None = None,
    tolerance: float = 1e-10,
    difference_tolerance: float = 1e-6,
    raises: bool = True,
) -> Report:
    """Check every weight, ``x`` and the initial state of ``model``, entry by entry; returns the report.

    The model is copied, to float64 and complex128; dropout masks are the same in every evaluation.  ``state`` None
    draws a random initial state; if the model has trainable initial states, it is checked without one as well.
    ``entries`` limits how many entries of each array are tried (chosen at random); None tries all, one pass forward
    each, so the model should be small.  Raises GradientError with the report if a gradient is wrong, unless ``raises``
    is False.
    """
    wanted = {"complex step": tolerance, "difference": difference_tolerance}
    if not methods or not set(methods) <= wanted.keys():
        raise ValueError(f"methods must be of {', '.join(wanted)}; got {methods!r}")
    real, rng, call = model.to(dtype="float64"), np.random.default_rng(seed), model.bound.calls
    x = np.array(x)
    x = x if x.dtype.kind in "iu" else x.astype(np.float64)
    y, final, _ = real.forward(x, lengths=lengths)
    dy, dfinal = rng.normal(size=y.shape), rebuilt(final, lambda a: rng.normal(size=a.shape))
    cotangents: dict[str, tuple[Array | None, State]] = {"y": (dy, None)}
    if list(arrays_in(final)):
        cotangents |= {"y + state": (dy, dfinal), "state": (None, dfinal)}
    rows: list[Row] = []
    for start in _starts(model, x, state, lengths, rng):
        given = rebuilt(start, lambda a: np.array(a, np.float64))
        setting = _Setting(real, call, x, given, lengths, cotangents)
        rows += _check(setting, entries, rng, {method: wanted[method] for method in methods})
    report = Report(tuple(rows))
    if raises and not report.ok:
        raise GradientError(f"a gradient differs from the derivative\n{report}")
    return report


@dataclass(frozen=True)
class _Setting:
    """A model where its gradients are checked: everything that one evaluation of f depends on."""

    model: Layer
    call: int  # number of the pass, so that every evaluation has the same dropout masks
    x: Array
    state: State
    lengths: Any
    cotangents: dict[str, tuple[Array | None, State]]  # for each scalar f: ⟨dy, y⟩ + ⟨dstate, final state⟩

    def run(self) -> tuple[Array, State, Backward]:
        self.model.bound.calls = self.call
        return self.model.forward(self.x, self.state, lengths=self.lengths)

    def scalars(self) -> list[Any]:
        y, final, _ = self.run()
        return [_pair(dy, y) + _pair_states(dstate, final) for dy, dstate in self.cotangents.values()]

    def point(self) -> dict[str, Array]:
        """The arrays that derivatives are taken with respect to, by name; all of them writable in place."""
        arrays: dict[str, Array] = dict(self.model.named_weights())
        if self.x.dtype.kind not in "iu":
            arrays["x"] = self.x
        return arrays | dict(_leaves(self.state, "state"))

    def gradients(self) -> list[dict[str, Array]]:
        """The pass backward's word for every array of ``point``, for each scalar."""
        _, _, backward = self.run()
        found = []
        for dy, dfinal in self.cotangents.values():
            self.model.zero_grads()
            dx, dstate = backward(dy, dfinal, keep=True)
            gradients = {name: g.copy() for name, g in self.model.named_grads().items()}
            gradients |= {} if dx is None else {"x": dx}
            found.append(gradients | dict(_leaves(dstate, "state")))
        return found

    def to(self, dtype: str) -> "_Setting":
        """The same setting in another dtype, with arrays of its own."""
        x = self.x.copy() if self.x.dtype.kind in "iu" else self.x.astype(dtype)
        return replace(self, model=_in(self.model, dtype), x=x, state=rebuilt(self.state, lambda a: a.astype(dtype)))


def _in(model: Layer, dtype: str) -> Layer:
    """A copy in another dtype; complex numbers go through the plain equations, which all backends are twins of."""
    return model.to(backend="numpy" if dtype == "complex128" else None, dtype=dtype)


def _check(
    setting: _Setting, entries: int | None, rng: np.random.Generator, methods: dict[str, float]
) -> Iterator[Row]:
    gradients = setting.gradients()
    for method, tolerance in methods.items():
        twin = setting.to("complex128" if method == "complex step" else "float64")
        for name, array in twin.point().items():
            picked = np.arange(array.size)
            if entries is not None and entries < array.size:
                picked = np.sort(rng.choice(array.size, entries, replace=False))
            derivatives = np.array([_derivative(twin.scalars, array, int(k), method) for k in picked])
            for i, through in enumerate(setting.cotangents):
                d = derivatives[:, i] if picked.size else np.zeros(0)
                g = gradients[i][name].ravel()[picked]
                off = np.abs(g - d)
                scale = float(np.abs(d).max(initial=0.0))
                bound = tolerance * max(1.0, scale)
                order = [k for k in np.argsort(-np.nan_to_num(off, nan=np.inf))[:WORST] if not off[k] <= bound]
                index = [tuple(int(n) for n in np.unravel_index(picked[k], array.shape)) for k in order]
                yield Row(
                    name=name,
                    shape=array.shape,
                    cotangents=through,
                    method=method,
                    error=float(off.max(initial=0.0)),
                    scale=scale,
                    tolerance=tolerance,
                    worst=tuple((at, float(g[k]), float(d[k])) for at, k in zip(index, order, strict=True)),
                )


def _derivative(outputs: Callable[[], list[Any]], array: Array, k: int, method: str) -> list[float]:
    """Derivatives of all outputs with respect to entry k of ``array``, which is put back as it was."""
    index = np.unravel_index(k, array.shape)
    before = array[index]
    try:
        if method == "complex step":
            array[index] = before + 1j * STEP
            return [v.imag / STEP for v in outputs()]
        delta = DELTA * max(1.0, abs(before))
        array[index] = before + delta
        above = outputs()
        array[index] = before - delta
        below = outputs()
        return [(a - b) / (2 * delta) for a, b in zip(above, below, strict=True)]
    finally:
        array[index] = before


def check_adjoint(
    model: Layer, x: Any, state: State = None, *, lengths: Any = None, seed: int = 0, tolerance: float = 1e-10
) -> float:
    """⟨u, J v⟩ = ⟨Jᵀ u, v⟩ for random u and v: the whole pass backward in one number, at any size.

    J is the derivative of (y, final state) with respect to (weights, x, initial state); J v is one complex step along
    v, Jᵀ u the pass backward.  ``state`` None draws one, as in ``check_gradients``, and goes without one too where
    initial states are trainable.  Returns the difference relative to |J v| |u|; raises GradientError if it exceeds
    ``tolerance``.
    """
    rng, x = np.random.default_rng(seed), np.asarray(x)
    worst = 0.0
    for start in _starts(model, x, state, lengths, rng):
        left, right, size = _adjoint(model, x, start, lengths, rng)
        off = abs(left - right) / size if size else abs(left - right)
        if not off <= tolerance:
            raise GradientError(f"<u, J v> = {left:.15e} and <J' u, v> = {right:.15e} differ by {off:.1e} of |u| |J v|")
        worst = max(worst, off)
    return float(worst)


def _adjoint(
    model: Layer, x: Array, start: State, lengths: Any, rng: np.random.Generator
) -> tuple[float, float, float]:
    """⟨u, J v⟩, ⟨Jᵀ u, v⟩ and |u| |J v|."""
    call = model.bound.calls
    real = model.to(dtype="float64")
    y, final, backward = real.forward(x, start, lengths=lengths)
    u, ustate = rng.normal(size=y.shape), rebuilt(final, lambda a: rng.normal(size=a.shape))
    dx, dstate = backward(u, ustate)

    twin, right = _in(real, "complex128"), 0.0
    for name, weight in twin.named_weights().items():
        v = rng.normal(size=weight.shape)
        right += _pair(v, real.named_grads()[name])
        weight[...] += 1j * STEP * v
    moved = x
    if dx is not None:
        v = rng.normal(size=x.shape)
        right += _pair(v, dx)
        moved = x + 1j * STEP * v
    directions = rebuilt(start, lambda a: rng.normal(size=a.shape))
    right += _pair_states(directions, dstate)
    twin.bound.calls = call
    y, final, _ = twin.forward(moved, _zip_map(lambda a, v: a + 1j * STEP * v, start, directions), lengths=lengths)
    Jv = [y.imag / STEP, *(a.imag / STEP for a in arrays_in(final))]
    us = [u, *arrays_in(ustate)]
    left = sum(_pair(a, b) for a, b in zip(us, Jv, strict=True))
    size = (sum(_pair(a, a) for a in us) * sum(_pair(a, a) for a in Jv)) ** 0.5
    return left, right, size


def _starts(model: Layer, x: Array, state: State, lengths: Any, rng: np.random.Generator) -> list[State]:
    """The initial states to check from: the given one, or a random one, and none where they are trainable."""
    if state is not None:
        return [state]
    _, final = model.to(dtype="float64")(x, lengths=lengths)
    starts: list[State] = [rebuilt(final, lambda a: rng.normal(0, 0.5, a.shape))]
    if any(slot.spec.role == "state" for slot in model.bound.slots.values()):
        starts.append(None)
    return starts


def hessian_vector_product(
    model: Layer,
    x: Any,
    vector: Array,
    loss: Callable[[Array], tuple[Any, Array]],
    state: State = None,
    *,
    lengths: Any = None,
) -> Array:
    """H v for the Hessian H of ``loss(y)`` with respect to the weights: one complex step through ``backward``.

    ``loss`` maps y to the loss and its gradient, as in ``lambda y: cross_entropy(y, targets)``, and must accept complex
    y; ``vector`` is flat, laid out as ``model.weights``, and so is the result, float64.  With g(θ) the gradient,
    H v = Im g(θ + iεv) / ε, exact to rounding.
    """
    twin = _in(model, "complex128")
    if np.shape(vector) != twin.weights.shape:
        raise ValueError(f"vector must have the shape of model.weights, {twin.weights.shape}; got {np.shape(vector)}")
    twin.bound.calls = model.bound.calls
    twin.weights += 1j * STEP * np.asarray(vector, np.float64)
    y, _, backward = twin.forward(x, state, lengths=lengths)
    _, dy = loss(y)
    backward(dy)
    product: Array = twin.grads.imag / STEP
    return product


def kink_distance(model: Layer, x: Any, state: State = None, *, lengths: Any = None) -> float:
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


# ---------------------------------------------------------------------- states of any structure


def _leaves(state: State, path: str) -> Iterator[tuple[str, Array]]:
    """The arrays of a state with their places: ``state[1][0]``."""
    if isinstance(state, (tuple, list)):
        for k, part in enumerate(state):
            yield from _leaves(part, f"{path}[{k}]")
    elif state is not None:
        yield path, state


def _zip_map(f: Callable[[Array, Array], Any], a: State, b: State) -> State:
    if isinstance(a, (tuple, list)):
        return tuple(_zip_map(f, p, q) for p, q in zip(a, b, strict=True))
    return None if a is None else f(a, b)


def _pair(a: Any, b: Any) -> Any:
    """⟨a, b⟩ = Σ a b, without conjugation; 0 where a cotangent is absent."""
    return 0.0 if a is None else (a * b).sum()


def _pair_states(a: State, b: State) -> Any:
    if a is None:
        return 0.0
    return sum((_pair(p, q) for p, q in zip(arrays_in(a), arrays_in(b), strict=True)), start=0.0)

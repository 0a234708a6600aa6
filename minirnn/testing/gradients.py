"""Gradients held against derivatives that do not depend on the code that computes them.

Complex step: for f holomorphic and real on the real axis, f(θ + iεv) = f(θ) + iε ∂f/∂θ·v - O(ε²), so

    ∂f/∂θ·v = Im f(θ + iεv) / ε        exact to rounding at ε = 1e-30, since nothing is subtracted

(Squire and Trapp 1998).  Central differences, (f(θ + δv) - f(θ - δv)) / 2δ, lose half the digits and need nothing of
the code but its values.  The scalar f is ⟨dy, y⟩ + ⟨dstate, final state⟩ with random cotangents, so that every output
counts; y and the final state are also taken alone, since two wrong halves may cancel.

Not every real function is holomorphic: ``abs``, ``var`` and ``.real`` are not.  So a gradient that the complex
step contradicts is looked at by differences with an estimated error (``minirnn.testing.differences``).  Where
those contradict the complex step, they are believed instead of it.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minirnn.backend import Array
from minirnn.base import Backward, Layer, State
from minirnn.protocol import stages_of
from minirnn.states import arrays_in, rebuilt
from minirnn.testing.differences import EPS, SAFETY, Estimate, differentiate
from minirnn.testing.precision import precision_of

STEP = 1e-30  # of the complex step: no subtraction, so as small as the products of it allow
WORST = 3  # arrays, and entries of each, that a failing report spells out
EXAMINED = 8  # entries, of those that the complex step contradicts, that differences are asked about first
REFINED = 24  # entries of an array whose difference is taken again with an estimated error, at most
ROUGHLY = 1e-4  # of the largest derivative: how near a plain difference must come
AGREES = 1e-6  # of the largest derivative: how near the complex step must come to differences beside their own error
NO_COMPLEX = (TypeError, ValueError, AttributeError, ArithmeticError)  # what a step raises that takes real numbers only
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
    """All rows of a check.  ``str(report)`` is a table, followed by the worst entries of each row that failed.

    ``holomorphic`` is False where differences contradicted the complex step, and were believed instead of it.
    """

    rows: tuple[Row, ...]
    holomorphic: bool = True

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
    each, so the model should be small.  Where differences show that the complex step is no derivative of this model,
    its rows are replaced by theirs; entries at a kink, where there is no derivative, are left out.  Raises
    GradientError with the report if a gradient is wrong, unless ``raises`` is False.
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
    holomorphic = True
    for start in initial_states(model, x, state, lengths, rng):
        initial = rebuilt(start, lambda a: np.array(a, np.float64))
        setting = _Setting(real, call, x, initial, lengths, cotangents)
        gradients = setting.gradients()
        picked = {name: _picked(array, entries, rng) for name, array in setting.point().items()}
        exact = _by_complex_step(setting, gradients, picked, tolerance) if "complex step" in methods else []
        if exact is None:
            holomorphic = False
        rows += exact or []
        if exact is None or "difference" in methods:
            rows += _by_differences(setting, gradients, picked, difference_tolerance)
    report = Report(tuple(rows), holomorphic)
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
        return [paired(dy, y) + paired_states(dstate, final) for dy, dstate in self.cotangents.values()]

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
        return replace(
            self, model=in_dtype(self.model, dtype), x=x, state=rebuilt(self.state, lambda a: a.astype(dtype))
        )


def in_dtype(model: Layer, dtype: str) -> Layer:
    """A copy in another dtype; complex numbers go through the plain equations, which all backends are twins of."""
    return model.to(backend="numpy" if dtype == "complex128" else None, dtype=dtype)


Picked = dict[str, Array]  # which entries of each array are tried, as flat indices
Gradients = list[dict[str, Array]]  # for each scalar f, the gradient of each array


def _picked(array: Array, entries: int | None, rng: np.random.Generator) -> Array:
    if entries is None or entries >= array.size:
        return np.arange(array.size)
    return np.sort(rng.choice(array.size, entries, replace=False))


def _by_complex_step(setting: _Setting, gradients: Gradients, picked: Picked, tolerance: float) -> list[Row] | None:
    """The rows of every array by complex step; None where differences show that it is not the derivative here."""
    twin = setting.to("complex128")
    derivatives: dict[str, Array] = {}
    try:
        with warnings.catch_warnings(action="ignore", category=np.exceptions.ComplexWarning), np.errstate(all="ignore"):
            for name, array in twin.point().items():
                values = [_complex_step(twin.scalars, array, int(k)) for k in picked[name]]
                derivatives[name] = np.array(values).reshape(-1, len(gradients))
    except NO_COMPLEX:
        return None
    rows, doubtful = [], []
    for name, d in derivatives.items():
        for i, (through, found) in enumerate(zip(setting.cotangents, gradients, strict=True)):
            g = found[name].ravel()[picked[name]]
            off, size = np.abs(g - d[:, i]), np.abs(d[:, i]).max(initial=0.0)
            row = _row(name, found[name].shape, through, "complex step", picked[name], g, d[:, i], off, tolerance)
            rows.append(row)
            bound = tolerance * max(1.0, size)
            doubtful += [(float(off[k]), name, int(k), i) for k in np.flatnonzero(~(off <= bound))]
    doubtful += _contradicted(setting, picked, derivatives)  # a gradient may be wrong just as the complex step is
    return rows if _holds(setting, gradients, picked, derivatives, doubtful) else None


def _contradicted(
    setting: _Setting, picked: Picked, derivatives: dict[str, Array]
) -> list[tuple[float, str, int, int]]:
    """One entry of each array, where a plain difference is far from the complex step there."""
    twin, found = setting.to("float64"), []
    for name, array in twin.point().items():
        if picked[name].size:
            k = int(np.abs(derivatives[name]).sum(1).argmax())
            with np.errstate(all="ignore"):
                off = np.abs(_central(twin.scalars, array, int(picked[name][k])) - derivatives[name][k])
            if not off.max() <= ROUGHLY * max(1e-3, np.abs(derivatives[name]).max()):
                found.append((float(off.max()), name, k, int(off.argmax())))
    return found


def _holds(
    setting: _Setting,
    gradients: Gradients,
    picked: Picked,
    derivatives: dict[str, Array],
    doubtful: list[tuple[float, str, int, int]],
) -> bool:
    """Whether differences agree with the complex step at the entries where that contradicts a gradient."""
    if not doubtful:
        return True
    twin, decided = setting.to("float64"), False
    seen: set[tuple[str, int]] = set()
    arrays = twin.point()
    for _, name, k, i in sorted(doubtful, key=lambda one: -np.nan_to_num(one[0], nan=np.inf)):
        if (name, k) in seen or len(seen) == EXAMINED:
            continue
        seen.add((name, k))
        estimate = _estimated(twin, arrays[name], int(picked[name][k]))
        d, value, error = derivatives[name][k], estimate.value, SAFETY * estimate.error
        size = AGREES * max(1.0, np.abs(derivatives[name]).max(), np.abs(value).max())
        if not (np.abs(d - value) <= error + size).all():
            return False
        decided |= not abs(gradients[i][name].ravel()[picked[name][k]] - value[i]) <= error[i] + size
    return decided


def _by_differences(setting: _Setting, gradients: Gradients, picked: Picked, tolerance: float) -> Iterator[Row]:
    """The rows of every array by central differences; with an estimated error where a plain one contradicts."""
    twin = setting.to("float64")
    for name, array in twin.point().items():
        indices = picked[name]
        with np.errstate(all="ignore"):
            d = np.array([_central(twin.scalars, array, int(k)) for k in indices]).reshape(-1, len(gradients))
        g = np.array([found[name].ravel()[indices] for found in gradients]).T.reshape(d.shape)
        off = np.abs(g - d)
        bound = tolerance * np.maximum(1.0, np.abs(d).max(0, initial=0.0))
        for n, k in enumerate(np.flatnonzero(~(off <= bound).all(1))):
            if n == REFINED:  # of the others nothing is known, and no more than that is claimed
                off[k:][~(off[k:] <= bound)] = 0.0
                break
            estimate = _estimated(twin, array, int(indices[k]))
            judged = np.isfinite(estimate.error)
            d[k] = np.where(judged, estimate.value, 0.0)
            beyond = np.abs(g[k] - estimate.value) - SAFETY * estimate.error
            off[k] = np.where(judged & np.isfinite(estimate.value), np.where(beyond <= 0, 0.0, beyond), 0.0)
        for i, through in enumerate(setting.cotangents):
            yield _row(name, array.shape, through, "difference", indices, g[:, i], d[:, i], off[:, i], tolerance)


def _row(
    name: str,
    shape: tuple[int, ...],
    through: str,
    method: str,
    picked: Array,
    g: Array,
    d: Array,
    off: Array,
    tolerance: float,
) -> Row:
    scale = float(np.abs(d).max(initial=0.0))
    bound = tolerance * max(1.0, scale)
    order = [k for k in np.argsort(-np.nan_to_num(off, nan=np.inf))[:WORST] if not off[k] <= bound]
    index = [tuple(int(n) for n in np.unravel_index(picked[k], shape)) for k in order]
    return Row(
        name=name,
        shape=shape,
        cotangents=through,
        method=method,
        error=float(off.max(initial=0.0)),
        scale=scale,
        tolerance=tolerance,
        worst=tuple((at, float(g[k]), float(d[k])) for at, k in zip(index, order, strict=True)),
    )


def _moved(outputs: Callable[[], list[Any]], array: Array, k: int, by: Any) -> Array:
    """All outputs with ``by`` added to entry k of ``array``, which is put back as it was."""
    index = np.unravel_index(k, array.shape)
    before = array[index]
    try:
        array[index] = before + by
        return np.array(outputs())
    finally:
        array[index] = before


def _complex_step(outputs: Callable[[], list[Any]], array: Array, k: int) -> Array:
    imaginary: Array = _moved(outputs, array, k, 1j * STEP).imag
    return imaginary / STEP


def _central(outputs: Callable[[], list[Any]], array: Array, k: int) -> Array:
    delta = DELTA * max(1.0, abs(array[np.unravel_index(k, array.shape)]))
    difference: Array = (_moved(outputs, array, k, delta) - _moved(outputs, array, k, -delta)) / (2 * delta)
    return difference


def _estimated(setting: _Setting, array: Array, k: int) -> Estimate:
    return differentiate(lambda h: _moved(setting.scalars, array, k, h), coarsest(setting.model))


def coarsest(model: Layer) -> float:
    """The coarsest rounding in the cells of a model, whatever its dtype."""
    return max((precision_of(layer.cell) for layer in model.walk() if hasattr(layer, "cell")), default=EPS)


def initial_states(model: Layer, x: Array, state: State, lengths: Any, rng: np.random.Generator) -> list[State]:
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


def paired(a: Any, b: Any) -> Any:
    """⟨a, b⟩ = Σ a b, without conjugation; 0 where a cotangent is absent."""
    return 0.0 if a is None else (a * b).sum()


def paired_states(a: State, b: State) -> Any:
    """⟨a, b⟩ over all arrays of two states."""
    if a is None:
        return 0.0
    return sum((paired(p, q) for p, q in zip(arrays_in(a), arrays_in(b), strict=True)), start=0.0)

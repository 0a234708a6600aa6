"""A function at one point: the gradients of its backward pass beside derivatives, and how near they must come."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from minirnn.testing.functions.calls import Function, Result, Values
from minirnn.testing.functions.derivatives import ROUGHLY, Slope, agree, by_complex_step, by_differences
from minirnn.testing.functions.leaves import Array, Leaf, Path, inner, numbers_in
from minirnn.testing.functions.matching import gradients_of
from minirnn.testing.report import NotFiniteError

EPS = float(np.finfo(float).eps)
DIRECTIONS = 2  # along which each array is moved
ENTRIES = 1500  # of an array that are tried one by one where it is wrong
BY_DIFFERENCES = 150  # the same where each takes forty calls of the function
SAFETY = 50.0  # a change by rounding is believed to be within so many times what was seen
LEAST = 1e-11  # of the sum of all terms: rounding that was not seen
LOOKED_AT = 6  # entries of a wrong gradient that differences are asked about
NEARBY = 1e-3  # how far away, relative to an entry, a point without this one's kinks is looked for


class Compared(NamedTuple):
    """A gradient g beside the derivative d, entry by entry; ``allowed`` is by how much they may differ."""

    leaf: Leaf
    g: Array
    d: Array
    allowed: Array
    jacobian: Array | None  # (outputs, entries), where all entries were tried

    @property
    def holds(self) -> bool:
        """Whether they differ by no more than they may."""
        return self.g.shape == self.d.shape and bool((np.abs(self.g - self.d) <= self.allowed).all())


class Check:
    """The check of a function at one point; ``tolerant`` has no gradients where the backward pass raises."""

    def __init__(
        self,
        function: Function,
        rng: np.random.Generator,
        wrt: Sequence[str] | None,
        values: Values | None = None,
        *,
        tolerant: bool = False,
    ) -> None:
        self.function, self.rng, self.wrt = function, rng, wrt
        self.values: Values = {leaf.path: leaf.array for leaf in function.leaves} | (values or {})
        self.result = function.run(self.values)
        again = function.run(self.values)
        if not all(np.isfinite(leaf.array).all() for leaf in self.result.leaves):
            raise NotFiniteError("f must be finite here: its outputs overflow, or are no numbers")
        if not np.array_equal(self.result.vector, again.vector):
            raise ValueError("f must return the same for the same arguments; two calls differ")
        if not self.result.leaves:
            raise ValueError("f must return floats; got none")
        scalar = function.form == "loss"
        self.dys = [
            np.ones_like(leaf.array) if scalar else rng.normal(size=leaf.array.shape) for leaf in self.result.leaves
        ]
        self.tolerant = tolerant
        self.gradients: dict[Path, Any] = {}
        try:
            self.gradients = self.pulled(self.result, self.dys)
        except Exception:
            if not tolerant:
                raise
        self.remarks: list[str] = []
        self.exact: bool | None = True if function.formula else None  # whether complex steps are derivatives
        self._other: Check | None = None
        self._known: dict[Path, Slope] = {}

    def pulled(self, result: Result, dys: Sequence[Array], function: Function | None = None) -> dict[Path, Any]:
        """The gradients by their paths, of this function or of ``function`` in its place."""
        function = function or self.function
        returned = function.pull(result, [dy.copy() for dy in dys])
        return gradients_of(function, returned, result.rest, self.wrt)

    @property
    def judged(self) -> list[Leaf]:
        """The leaves that a gradient was returned for."""
        return [leaf for leaf in self.function.leaves if leaf.path in self.gradients]

    # ------------------------------------------------------------------ another backward pass

    def said_by(self, make: Callable[[Any], Any]) -> dict[Path, Any]:
        """The gradients here by an edited backward pass: ``make`` gives it for the original."""
        function, result = self.function.with_backward(self.values, self.result, make)
        if not np.array_equal(result.vector, self.result.vector):
            return {}
        return self.pulled(result, self.dys, function)

    def elsewhere(self) -> "Check | None":
        """A check of the same function at another point, with other gradients of the outputs; None where it fails."""
        if self._other is None:
            rng = np.random.default_rng(6)
            near = {path: a * (1 + 0.2 * rng.random(a.shape)) for path, a in self.values.items()}
            try:
                self._other = Check(self.function, rng, self.wrt, near, tolerant=self.tolerant)
            except (ValueError, ArithmeticError):
                return None
            self._other.exact = self.exact
        return self._other

    def known(self, path: Path, v: Array) -> tuple[float, float]:
        """``paired`` along the direction v of one array, which is the same every time."""
        if path not in self._known:
            self._known[path] = self.slope({path: v}, sure=False)
        return self.paired(self._known[path])

    def gradient(self, leaf: Leaf) -> Array:
        """The derivative by every entry of an array."""
        d = np.zeros(leaf.array.size)
        for k in range(d.size):
            v = np.zeros(d.size)
            v[k] = 1.0
            d[k], _ = self.paired(self.slope({leaf.path: v.reshape(leaf.array.shape)}, sure=False))
        return d.reshape(leaf.array.shape)

    # ------------------------------------------------------------------ derivatives

    def moved(self, way: Values, h: complex) -> Array:
        """All outputs of f, its arguments moved by h along ``way``."""
        values = self.values | {path: self.values[path] + h * v for path, v in way.items()}
        return self.function.vector(values)

    def slope(self, way: Values, *, sure: bool = True) -> Slope:
        """The derivative of all outputs along ``way``; ``sure`` asks whether a complex step is one, the first time."""
        exact = by_complex_step(partial(self.moved, way)) if self.exact is not False else None
        if exact is None or exact.shape != self.result.vector.shape:
            self.exact = False
        elif self.exact is None:
            near = by_differences(partial(self.moved, way))
            agreed = agree(exact, near)
            if agreed is not None or sure:
                self.exact = bool(agreed)
        if self.exact is not False and exact is not None:
            return Slope(exact, np.zeros(exact.shape))
        return by_differences(partial(self.moved, way))

    def paired(self, slope: Slope) -> tuple[float, float]:
        """⟨dy, J v⟩, and how far off it may be."""
        dy = np.concatenate([dy.ravel() for dy in self.dys])
        error = np.abs(dy[: len(slope.error)]) @ slope.error if np.isfinite(slope.error).all() else np.inf
        return float(dy @ slope.value), float(error)

    def said(self, leaf: Leaf, v: Array) -> tuple[float, float]:
        """⟨g, v⟩, and the sum of its terms' sizes; NaN for a gradient of another shape."""
        g = numbers_in(self.gradients[leaf.path])
        if g is None or g.shape != leaf.array.shape:
            return np.nan, 0.0
        return float(inner(g, v)), float(np.abs(g * v).sum())

    def compared(self, leaf: Leaf) -> Compared:
        """One array's gradient held against derivatives: along directions, and where they differ entry by entry."""
        g = numbers_in(self.gradients[leaf.path])
        if g is None:
            g = np.full(leaf.array.shape, np.nan)
        right = g.shape == leaf.array.shape
        for _ in range(DIRECTIONS if right else 0):
            v = self.rng.normal(size=leaf.array.shape)
            slope = self.slope({leaf.path: v})
            d, error = self.paired(slope)
            said, size = self.said(leaf, v)
            allowed = error + self._rounding({leaf.path: v}, abs(said - d), size, slope)
            right &= bool(abs(said - d) <= allowed)
        if right:
            return Compared(leaf, g, g, np.zeros(g.shape), None)
        return self._entries(leaf, g)

    def _rounding(self, way: Values, off: float, size: float, slope: Slope) -> float:
        """How far ⟨g, v⟩ and ⟨dy, J v⟩ may be apart by rounding alone."""
        least = LEAST * (size + float(sum(np.abs(dy).sum() for dy in self.dys) * np.abs(slope.value).max(initial=0.0)))
        if off <= least:
            return least
        nudged = self._nudged()
        nearby = nudged.slope_as(self, way)
        seen = abs(self.paired(nearby)[0] - self.paired(slope)[0])
        for path, v in way.items():
            g = numbers_in(nudged.gradients.get(path))
            mine = numbers_in(self.gradients[path])
            if g is not None and mine is not None and g.shape == mine.shape == v.shape:
                seen += abs(float(inner(g - mine, v)))
        return least + (SAFETY * seen if np.isfinite(seen) else 0.0)

    def slope_as(self, other: "Check", way: Values) -> Slope:
        """The derivative here, by the method that ``other`` uses."""
        self.exact = other.exact
        return self.slope(way)

    def _nudged(self) -> "Check":
        """The same check where every argument is a rounding error away."""
        if not hasattr(self, "_nudge"):
            rng = np.random.default_rng(1)
            near = {path: a * (1 + 4 * EPS * rng.choice([-1.0, 1.0], size=a.shape)) for path, a in self.values.items()}
            self._nudge = Check(self.function, np.random.default_rng(0), self.wrt, near)
            self._nudge.dys = self.dys
            self._nudge.gradients = self._nudge.pulled(self._nudge.result, self.dys)
        return self._nudge

    def _entries(self, leaf: Leaf, g: Array) -> Compared:
        """The gradient of one array, each entry held against its derivative."""
        shape, size = leaf.array.shape, leaf.array.size
        most = ENTRIES if self.exact else BY_DIFFERENCES
        picked = np.arange(size) if size <= most else np.sort(self.rng.choice(size, most, replace=False))
        dy = np.concatenate([one.ravel() for one in self.dys])
        d, allowed = np.zeros(size), np.full(size, np.inf)
        columns = np.zeros((len(dy), size)) if size <= most and len(dy) * size <= 4e6 else None
        for k in picked:
            v = np.zeros(size)
            v[k] = 1.0
            slope = self.slope({leaf.path: v.reshape(shape)})
            d[k], error = self.paired(slope)
            terms = float((np.abs(dy) * np.abs(slope.value)).sum())
            allowed[k] = error + 4 * LEAST * (terms + np.abs(dy).max(initial=0.0))
            if columns is not None:
                columns[:, k] = slope.value
        if size > most and g.shape == shape:  # of the others nothing is known, and no more than that is claimed
            rest = np.setdiff1d(np.arange(size), picked)
            d[rest] = g.ravel()[rest]
        if g.shape == shape:
            near = self._nudged().gradients.get(leaf.path)
            other = numbers_in(near)
            if other is not None and other.shape == shape:
                change = np.abs(np.nan_to_num(other - g)).ravel()
                allowed = allowed + SAFETY * change
            scale = float(np.abs(d[picked]).max(initial=0.0))
            allowed = allowed + LEAST * scale
        return Compared(leaf, g, d.reshape(shape), allowed.reshape(shape), columns)

    # ------------------------------------------------------------------ kinks

    def away_from_kinks(self, wrong: list[Compared]) -> list[Compared]:
        """What is wrong at a point nearby too: where a gradient differs at this point alone, there is a kink."""
        rng = np.random.default_rng(2)
        near = {
            path: a * (1 + NEARBY * rng.normal(size=a.shape)) + NEARBY * (a == 0) * rng.normal(size=a.shape)
            for path, a in self.values.items()
        }
        try:
            there = Check(self.function, np.random.default_rng(3), self.wrt, near)
        except (ValueError, ArithmeticError):
            return wrong
        there.exact = self.exact
        left = []
        for one in wrong:
            if one.leaf.path in there.gradients and there.compared(one.leaf).holds and self._is_kink(one):
                self.remarks.append(f"{one.leaf.name}: at a kink, where there is no derivative; right beside it")
            else:
                left.append(one)
        return left

    def sees_derivatives(self, wrong: list[Compared]) -> bool:
        """Whether complex steps and differences agree along a direction of all that is wrong: there is no kink then."""
        if self.exact is False or self.function.formula is not None:
            return self.exact is not False
        way = {one.leaf.path: self.rng.normal(size=one.leaf.array.shape) for one in wrong}
        exact = by_complex_step(partial(self.moved, way))
        if exact is None or exact.shape != self.result.vector.shape:
            return False
        near = by_differences(partial(self.moved, way))
        sure = near.error.max(initial=0.0) <= ROUGHLY * max(float(np.abs(near.value).max(initial=0.0)), 1e-8)
        return bool(sure) and agree(exact, near) is True

    def contradicted(self, one: Compared) -> bool:
        """Whether differences contradict a gradient too, where it is furthest from its derivative.

        They do not where the complex step is no derivative in some small part of f, nor where rounding hides it.
        """
        if self.exact is False or one.g.shape != one.d.shape or not np.isfinite(one.g).all():
            return True
        if any(off > error for off, error in self._differences(one)):
            return True
        self.remarks.append(f"{one.leaf.name}: differs from the complex step by less than differences can tell")
        return False

    def _is_kink(self, one: Compared) -> bool:
        """Whether differences find no derivative, or that of the gradient, at the entries that differ most."""
        if one.g.shape != one.d.shape or not np.isfinite(one.g).all():
            return False
        return not any(off > error for off, error in self._differences(one))

    def _differences(self, one: Compared) -> Iterator[tuple[float, float]]:
        """By how much a gradient is off by differences, and how far these may be, at the entries that differ most."""
        off = (np.abs(one.g - one.d) - one.allowed).ravel()
        dy = np.concatenate([dy.ravel() for dy in self.dys])
        for k in np.argsort(-off)[:LOOKED_AT]:
            if off[k] > 0:
                v = np.zeros(off.size)
                v[k] = 1.0
                slope = by_differences(partial(self.moved, {one.leaf.path: v.reshape(one.d.shape)}))
                error = float(np.abs(dy) @ slope.error) if np.isfinite(slope.error).all() else np.inf
                yield float(abs(dy @ slope.value - one.g.ravel()[k])), error + LEAST * float(np.abs(dy).sum())

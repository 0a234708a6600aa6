"""Layers that read several values of a ``LayerGraph``: sums, products, values side by side, scores of steps.

A value has steps, (T, B, features), or none, (B, features).  One without steps stands for the same at every step.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple, TypeAlias

from minirnn.core.backend import Array
from minirnn.core.layer import Layer
from minirnn.core.run import Result, Run, State

Pulls: TypeAlias = Callable[[Array | None], "tuple[Array | None, ...]"]  # dy -> the gradient of each value read


class Kind(NamedTuple):
    """What is known of a value before any pass.

    ``features`` None is a number that is not known; ``timed`` says whether it has steps, ``masked`` whether some are
    marked to be skipped, ``indices`` whether it is integers (T, B).
    """

    features: int | None
    timed: bool = True
    masked: bool = False
    indices: bool = False


class Sizes(NamedTuple):
    """How many steps and features a value has; None where that is not known, or there are no steps."""

    steps: int | None
    features: int | None


class Joined(NamedTuple):
    """What a ``Joining`` makes of several values: ``run`` says which steps of y count."""

    y: Array
    pull: Pulls
    run: Run


class Joining(Layer):
    """The base of layers that read from ``least`` to ``most`` values; they stand in a ``LayerGraph``.

    One of your own overrides ``kind``, ``join`` and ``sizes``.
    """

    least: int = 2
    most: int | None = None  # None: any number
    timeless = True

    def kind(self, kinds: Sequence[Kind]) -> Kind:
        """What y is, of values of these kinds; ValueError, which continues a sentence, where they do not fit."""
        raise NotImplementedError(f"{type(self).__name__} does not define kind")

    def join(self, xs: Sequence[Array], runs: Sequence[Run]) -> Joined:
        """The layer's own pass, of values that were checked, each with its own lengths and mask."""
        raise NotImplementedError(f"{type(self).__name__} does not define join")

    def sizes(self, sizes: Sequence[Sizes]) -> Sizes:
        """How many steps and features y has, of values of so many; ValueError where they do not fit."""
        raise NotImplementedError(f"{type(self).__name__} does not define sizes")

    def apply(self, x: Array, state: State, run: Run) -> Result:
        raise ValueError(f"{self.describe()} reads several values: it is called in a LayerGraph")


def common_size(what: str, counts: Sequence[int | None]) -> int | None:
    """The one size of values that are combined entry by entry, 1 standing for as many; ValueError where they differ."""
    known = {n for n in counts if n is not None}
    if len(known - {1}) > 1:
        raise ValueError(f"expects values of one number of {what}, or of 1; got {', '.join(map(str, sorted(known)))}")
    if None in counts and not known - {1}:
        return None
    return max(known, default=None)


def common_steps(sizes: Sequence[Sizes]) -> int | None:
    """The number of steps of values that are combined step by step, those without steps left out."""
    return common_size("steps", [one.steps for one in sizes if one.steps is not None])


def common_run(what: str, xs: Sequence[Array], runs: Sequence[Run]) -> Run:
    """The run of values that are combined step by step: all that have several steps must count the same ones.

    Where one of them has no mask, the whole has none, as in Keras.
    """
    timed = [(x, run) for x, run in zip(xs, runs, strict=True) if x.ndim > 2]
    longest = max((len(x) for x, _ in timed), default=0)
    own = [run for x, run in timed if len(x) == longest]
    if not own:
        return runs[0]
    first = own[0]
    if any(run.skip is None for run in own):
        first = first._replace(skip=None)
    for run in own:
        for mine, other in ((first.past, run.past), (first.skip, run.skip if first.skip is not None else None)):
            if mine is other:
                continue
            if mine is None or other is None or bool((mine != other).any()):
                raise ValueError(f"{what} joins values of which the same steps count; their lengths or masks differ")
    return first


def summed_to(d: Array, shape: tuple[int, ...]) -> Array:
    """The transpose of broadcasting to d's shape: the sum over what was repeated."""
    d = d.sum(axis=tuple(range(d.ndim - len(shape))))
    over = tuple(k for k, n in enumerate(shape) if n == 1 != d.shape[k])
    out: Array = d.sum(axis=over, keepdims=True) if over else d
    return out


WAYS = ("sum", "difference", "product", "mean", "max", "min")


class Combine(Joining):
    """Values combined entry by entry: a residual sum, a gate's product.

        y = x₁ + x₂ + ...                     sum
        y = x₁ - x₂                           difference
        y = x₁ x₂ ...                         product
        y = (x₁ + x₂ + ...) / n               mean
        y = the largest, the smallest         max, min

    Transposed: dxₖ is dy, for a difference's second -dy, dy times the other factors, dy / n, or dy where xₖ is the
    first that is the largest or smallest, else 0.  All have one number of features, or 1, which stands for as many; a
    value without steps, or of one step, stands for the same at every step.
    """

    arguments = ("how",)

    def __init__(self, how: str = "sum") -> None:
        if how not in WAYS:
            raise ValueError(f"how must be one of {', '.join(WAYS)}; got {how!r:.60}")
        self.how, self.most = how, 2 if how == "difference" else None

    def kind(self, kinds: Sequence[Kind]) -> Kind:
        masked = all(kind.masked for kind in kinds if kind.timed)
        timed = any(kind.timed for kind in kinds)
        return Kind(common_size("features", [kind.features for kind in kinds]), timed, timed and masked)

    def sizes(self, sizes: Sequence[Sizes]) -> Sizes:
        return Sizes(common_steps(sizes), common_size("features", [one.features for one in sizes]))

    def join(self, xs: Sequence[Array], runs: Sequence[Run]) -> Joined:
        run, how, n = common_run(self.describe(), xs, runs), self.how, len(xs)
        xp = run.parameters.backend.xp
        chosen: Array | None = None
        if how in ("max", "min"):
            stacked = xp.stack(xp.broadcast_arrays(*xs))
            chosen = stacked.real.argmax(axis=0) if how == "max" else stacked.real.argmin(axis=0)
            y = xp.take_along_axis(stacked, chosen[None], axis=0)[0]
        elif how == "product":
            y = prod(xs[1:], start=xs[0])
        elif how == "difference":
            y = xs[0] - xs[1]
        else:
            y = sum(xs[1:], start=xs[0])
            y = y / y.dtype.type(n) if how == "mean" else y

        def part(dy: Array, k: int) -> Array:
            if chosen is not None:
                return xp.where(chosen == k, dy, dy.dtype.type(0))  # type: ignore[no-any-return]  # an array
            if how == "product":
                return prod((x for i, x in enumerate(xs) if i != k), start=dy)
            return dy / dy.dtype.type(n) if how == "mean" else -dy if how == "difference" and k else dy

        def pull(dy: Array | None) -> tuple[Array | None, ...]:
            return (None,) * n if dy is None else tuple(summed_to(part(dy, k), x.shape) for k, x in enumerate(xs))

        return Joined(y, pull, run)


class Concatenate(Joining):
    """Values side by side on the features, or one after another with ``over_steps=True``.

    Transposed: each gets its own piece of dy; of one that stands for the same at every step, the sum over steps.
    One after another they have neither lengths nor masks.
    """

    arguments = ("over_steps",)

    def __init__(self, *, over_steps: bool = False) -> None:
        self.over_steps = bool(over_steps)

    @property
    def changes_steps(self) -> bool:
        return self.over_steps

    @property
    def takes_lengths(self) -> bool:
        return not self.over_steps

    @property
    def skips(self) -> bool:
        return not self.over_steps

    def kind(self, kinds: Sequence[Kind]) -> Kind:
        timed = any(kind.timed for kind in kinds)
        if self.over_steps:
            if not all(kind.timed for kind in kinds):
                raise ValueError("expects values with steps; one has none")
            return Kind(self.sizes([Sizes(None, kind.features) for kind in kinds]).features)
        features = self.sizes([Sizes(None, kind.features) for kind in kinds]).features
        return Kind(features, timed, timed and all(kind.masked for kind in kinds if kind.timed))

    def sizes(self, sizes: Sequence[Sizes]) -> Sizes:
        counts, widths = [one.steps for one in sizes], [one.features for one in sizes]
        if self.over_steps:
            width = common_size("features", widths)
            if 1 in widths and width != 1:
                raise ValueError(f"expects values of one number of features; got {', '.join(map(str, widths))}")
            return Sizes(None if None in counts else sum(T or 0 for T in counts), width)
        return Sizes(common_steps(sizes), None if None in widths else sum(D or 0 for D in widths))

    def join(self, xs: Sequence[Array], runs: Sequence[Run]) -> Joined:
        xp = runs[0].parameters.backend.xp
        if self.over_steps:
            ends = [0]
            for x in xs:
                ends.append(ends[-1] + len(x))

            def cut(dy: Array | None) -> tuple[Array | None, ...]:
                if dy is None:
                    return (None,) * len(xs)
                return tuple(dy[a:b] for a, b in pairwise(ends))

            return Joined(xp.concatenate(xs, axis=0), cut, runs[0])
        run = common_run(self.describe(), xs, runs)
        whole = max((x.shape[:-1] for x in xs), key=lambda shape: (len(shape), prod(shape)))
        y = xp.concatenate([xp.broadcast_to(x, (*whole, x.shape[-1])) for x in xs], axis=-1)
        places = [0]
        for x in xs:
            places.append(places[-1] + x.shape[-1])

        def pull(dy: Array | None) -> tuple[Array | None, ...]:
            if dy is None:
                return (None,) * len(xs)
            pieces = zip(xs, pairwise(places), strict=True)
            return tuple(summed_to(dy[..., a:b], x.shape) for x, (a, b) in pieces)

        return Joined(y, pull, run)


AXES = ("features", "steps")
SMALLEST_NORM = 1e-7  # Keras 3's epsilon: a smaller norm counts as this one


def unit(xp: Any, x: Array, axis: int) -> tuple[Array, Callable[[Array], Array]]:
    """x divided by its L2 norm along ``axis``, in the equations of ``Dot``, and the way back: dn -> dx."""
    squares = (x * x).sum(axis=axis, keepdims=True)
    small = squares.real <= SMALLEST_NORM**2
    one = squares.dtype.type(1)
    r = xp.where(small, one / squares.dtype.type(SMALLEST_NORM), one / xp.sqrt(xp.where(small, one, squares)))  # (1)
    n = x * r  # (2)

    def to_dx(dn: Array) -> Array:
        along = (dn * n).sum(axis=axis, keepdims=True)
        dx: Array = r * (dn - n * xp.where(small, along.dtype.type(0), along))  # (2) (1)
        return dx

    return n, to_dx


class WholeSequence(Joining):
    """The base of layers whose y has other steps than what they read; lengths and masks are refused."""

    least, most = 1, 1

    @property
    def reads_ahead(self) -> bool:
        return True

    @property
    def changes_steps(self) -> bool:
        return True

    @property
    def takes_lengths(self) -> bool:
        return False

    @property
    def skips(self) -> bool:
        return False


class Dot(WholeSequence):
    """Scores of steps by each other, and sums that they weigh: a sum over one axis of two values.

        y[t, b, s] = Σ x[t, b, d] z[s, b, d]  over features and features
        y[d, b, e] = Σ x[t, b, d] z[t, b, e]  over steps and steps
        y[t, b, e] = Σ x[t, b, s] z[s, b, e]  over features and steps
        y[d, b, s] = Σ x[t, b, d] z[s, b, t]  over steps and features
        y[b, 1]    = Σ x[b, d] z[b, d]        of values without steps

    Transposed, dx is the same sum of dy and z over the axis that z gave to y, and dz of dy and x.  ``first`` and
    ``second`` are "features" or "steps"; what is left of x become the steps of y, what is left of z its features.
    Lengths and masks are refused.

    With ``normalize=True`` y is of cosines: each value is divided by its L2 norm along its own axis of the sum.

        r = min(1 / √(Σ x²), 1 / ε)           (1)  Σ over the axis of the sum, ε = 1e-7
        n = x r                               (2)  stands above for x; z likewise

    Transposed, from the last to the first; where the norm is above ε, dr/dx = -r³ x, else 0:

        dr = Σ dn x                           (2)
        dx = dn r - r³ x dr                   (2) (1)
           = r (dn - n Σ dn n)                r x is n
        dx = r dn                             (1)  where the norm is at most ε

    So a vector of zeros stays one, and its gradient is dn / ε.  ε is that of Keras 3.
    """

    least, most = 2, 2
    arguments = ("first", "second", "normalize")

    def __init__(self, first: str = "features", second: str = "features", *, normalize: bool = False) -> None:
        for name, axis in (("first", first), ("second", second)):
            if axis not in AXES:
                raise ValueError(f"{name} must be one of {', '.join(AXES)}; got {axis!r:.60}")
        self.first, self.second, self.normalize = first, second, bool(normalize)

    def kind(self, kinds: Sequence[Kind]) -> Kind:
        x, z = kinds
        if x.timed is not z.timed:
            raise ValueError("expects two values with steps, or two without; got one of each")
        if (self.first, self.second) == ("features", "features"):
            self.sizes([Sizes(None, kind.features) for kind in kinds])
        if not x.timed:
            if "steps" in (self.first, self.second):
                raise ValueError("sums over steps; the values have none")
            return Kind(1, timed=False)
        return Kind(z.features if self.second == "steps" else None)

    def sizes(self, sizes: Sequence[Sizes]) -> Sizes:
        x, z = sizes
        if x.steps is None and z.steps is None and "steps" not in (self.first, self.second):
            common = {x.features, z.features} - {None}
            rest: Sizes = Sizes(None, 1)
        else:
            common = {x[self.first == "features"], z[self.second == "features"]} - {None}
            rest = Sizes(x[self.first != "features"], z[self.second != "features"])
        if len(common) > 1:
            raise ValueError(f"sums over as many {self.first} as {self.second}; got {', '.join(map(str, common))}")
        return rest

    def join(self, xs: Sequence[Array], runs: Sequence[Run]) -> Joined:
        (x, z), xp = xs, runs[0].parameters.backend.xp
        if not self.normalize:
            return self._summed(x, z, runs[0])
        n, to_dx = unit(xp, x, -1 if self.first == "features" else 0)
        m, to_dz = unit(xp, z, -1 if self.second == "features" else 0)
        y, pull, run = self._summed(n, m, runs[0])

        def normalized(dy: Array | None) -> tuple[Array | None, ...]:
            dn, dm = pull(dy)
            return None if dn is None else to_dx(dn), None if dm is None else to_dz(dm)

        return Joined(y, normalized, run)

    def _summed(self, x: Array, z: Array, run: Run) -> Joined:
        """The sums of x and z as they are."""
        xp = run.parameters.backend.xp
        if x.ndim == 2:
            y = (x * z).sum(axis=-1, keepdims=True)
            return Joined(y, lambda dy: (None, None) if dy is None else (dy * z, dy * x), run)
        # both as batches of matrices, (B, rows, summed) and (B, summed, columns)
        a = x.transpose(1, 0, 2) if self.first == "features" else x.transpose(1, 2, 0)
        b = z.transpose(1, 2, 0) if self.second == "features" else z.transpose(1, 0, 2)

        def pull(dy: Array | None) -> tuple[Array | None, ...]:
            if dy is None:
                return None, None
            d = dy.transpose(1, 0, 2)
            da, db = xp.matmul(d, b.transpose(0, 2, 1)), xp.matmul(a.transpose(0, 2, 1), d)
            dx = da.transpose(1, 0, 2) if self.first == "features" else da.transpose(2, 0, 1)
            dz = db.transpose(2, 0, 1) if self.second == "features" else db.transpose(1, 0, 2)
            return dx, dz

        return Joined(xp.matmul(a, b).transpose(1, 0, 2), pull, run)

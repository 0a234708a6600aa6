"""How a gradient differs from the derivative: the usual mistakes, tried one after another.

The whole gradient is looked at first (its shape, its sign, a factor), then what part of the outputs it lacks, then
products with quantities that are at hand: arguments, outputs, what is cached.  The first that explains every entry is
said; simpler mistakes come first.
"""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations, permutations
from typing import Any, NamedTuple

import numpy as np

from minirnn.testing.functions.calls import Function, Result, Values
from minirnn.testing.functions.comparing import Compared
from minirnn.testing.functions.explaining import FUNCTIONS, alike, lacks
from minirnn.testing.functions.leaves import Array, leaves_of, numbers_in

SIGN, FACTOR, TRANSPOSED, TERM, UNSUMMED, MEAN, OVERWRITTEN, EARLIER, STALE, CHANGED, SWAPPED, AXIS, SHAPE, UNKNOWN = (
    "sign",
    "factor",
    "transposed",
    "missing term",
    "broadcast gradient not summed",
    "mean for the sum",
    "= for +=",
    "previous step",
    "stale cache",
    "changed in place",
    "swapped",
    "wrong axis",
    "shape",
    "unknown",
)
NEAR = 1e-6  # of the largest entry: how near an explanation must come to a gradient
ENTRIES = 200  # that are looked at where an explanation is looked for
SLICES = 40  # of an output along one axis that are told apart


@dataclass(frozen=True)
class Fault:
    """What is wrong with the gradient of ``argument``: a pattern, a sentence, and the entry that is furthest off.

    ``line`` is the number of the line that is wrong, in its file, 0 where that is not known; ``source`` is its text.
    """

    argument: str
    pattern: str
    words: str
    index: tuple[int, ...] = ()
    gradient: float = np.nan
    derivative: float = np.nan
    line: int = 0
    source: str = ""

    def __str__(self) -> str:
        place = f"\n    line {self.line}: {self.source}" if self.line else ""
        where = f" at {list(self.index)}" if self.index else ""
        numbers = f"; {self.gradient:+.4g} where the derivative is {self.derivative:+.4g}"
        example = f"{numbers}{where}" if np.isfinite(self.derivative) else ""
        return f"{self.argument}: {self.words} ({self.pattern}{example}){place}"


@dataclass
class Scene:
    """A function at one point, with gradients dy of its outputs."""

    function: Function
    result: Result
    dys: Sequence[Array]
    values: Values
    quantities: list["Quantity"] = field(default_factory=list)

    def __post_init__(self) -> None:
        named = [(leaf.name, self.values[leaf.path]) for leaf in self.function.leaves]
        named += [(leaf.name, leaf.array) for leaf in self.result.leaves]
        if self.function.form == "cache":
            named += [(leaf.name, leaf.array.real) for leaf in leaves_of(self.result.rest, "cache")]
        if self.function.form == "closure" and inspect.isfunction(self.result.rest):
            for name, value in inspect.getclosurevars(self.result.rest).nonlocals.items():
                named += [(leaf.name, leaf.array.real) for leaf in leaves_of(value, name)]
        seen: list[Array] = []
        for name, array in named:
            if not any(array.shape == other.shape and np.array_equal(array, other) for other in seen):
                seen.append(array)
                self.quantities.append(Quantity(name, array))

    @property
    def sizes(self) -> dict[int, str]:
        """Numbers that a mean may divide by: lengths of axes and their products, with words for them."""
        sizes: dict[int, str] = {}
        arrays = [(q.words, q.array) for q in self.quantities]
        for name, array in arrays:
            for axis, n in enumerate(array.shape):
                sizes.setdefault(n, f"the length of axis {axis} of {name}")
        for name, array in arrays:
            sizes.setdefault(array.size, f"the size of {name}")
            if array.ndim > 2:
                sizes.setdefault(array.shape[0] * array.shape[1], f"the first two axes of {name}")
                sizes.setdefault(array.size // array.shape[1], f"all axes of {name} but the second")
        for ambiguous in (0, 1, 2):  # twice as large is a factor
            sizes.pop(ambiguous, None)
        return sizes


class Quantity(NamedTuple):
    """An array that an explanation may use, in words."""

    words: str
    array: Array


Explanation = tuple[str, str]  # a pattern and a sentence


def faults_of(one: Compared, raw: Any, scene: Scene, *, quick: bool = False) -> Fault:
    """What is wrong with a gradient ``raw``; ``quick`` looks at the whole gradient only."""
    leaf, d = one.leaf, one.d
    g = numbers_in(raw)
    if g is None:
        return Fault(leaf.name, TERM, "no gradient was returned")
    if g.shape != d.shape:
        pattern, words = _of_another_shape(g, d)
        return Fault(leaf.name, pattern, words)
    off = np.nan_to_num(np.abs(g - d) - one.allowed, nan=np.inf)
    index = tuple(int(k) for k in np.unravel_index(int(off.argmax()), d.shape)) if d.size else ()
    pattern, words = _explained(g, one, scene, quick=quick)
    return Fault(leaf.name, pattern, words, index, float(g[index]), float(d[index]))


def _explained(g: Array, one: Compared, scene: Scene, *, quick: bool) -> Explanation:
    d = one.d
    if not np.isfinite(g).all():
        return UNKNOWN, "it is not finite"
    if not np.abs(g).max():
        return TERM, "the gradient is missing: it is 0"
    if not np.abs(d).max():
        return TERM, "the derivative is 0: what is returned is one term too many"
    said = _as_a_whole(g, d, scene)
    if said is None and not quick:
        said = _by_outputs(g, one.jacobian, scene) or _by_quantities(g, d, scene)
    return said or (UNKNOWN, "it differs, by none of the usual patterns")


def equal(a: Array, b: Array, scale: float | None = None) -> bool:
    """Whether two arrays are the same but for rounding."""
    if a.shape != b.shape:
        return False
    size = max(float(np.abs(b).max(initial=0.0)), float(np.abs(a).max(initial=0.0))) if scale is None else scale
    return bool((np.abs(a - b) <= NEAR * max(size, 1e-300)).all())


# ---------------------------------------------------------------------- shapes


def _of_another_shape(g: Array, d: Array) -> Explanation:
    shapes = f"it has shape {g.shape}, its argument {d.shape}"
    if not np.isfinite(g).all():
        return SHAPE, shapes
    for axes in permutations(range(g.ndim)) if 1 < g.ndim < 5 else ():
        if g.transpose(axes).shape == d.shape and equal(g.transpose(axes), d):
            return TRANSPOSED, f"{shapes}: it is the transposed gradient"
    for summed, axes_of in _sums(g, d.shape):
        if equal(summed, d):
            return (
                UNSUMMED,
                f"{shapes}: it has to be summed over {_axes(axes_of)}, along which the argument is broadcast",
            )
    if g.ndim > d.ndim or (g.size > d.size and g.ndim == d.ndim):
        return UNSUMMED, f"{shapes}: what the argument is broadcast along has to be summed over"
    if g.size == d.size and equal(g.reshape(d.shape), d):
        return SHAPE, f"{shapes}: only its shape is wrong"
    if 1 < g.ndim == d.ndim and g.shape == d.shape[::-1]:
        return TRANSPOSED, f"{shapes}: the factors of its product are the wrong way round"
    return SHAPE, shapes


def _sums(g: Array, shape: tuple[int, ...]) -> Iterator[tuple[Array, tuple[int, ...]]]:
    """Sums of g over axes, as far as they have ``shape``."""
    for count in range(1, g.ndim + 1):
        for axes in combinations(range(g.ndim), count):
            for keep in (False, True):
                summed = g.sum(axis=axes, keepdims=keep)
                if summed.shape == shape:
                    yield summed, axes


def _axes(axes: Sequence[int]) -> str:
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {', '.join(map(str, axes))}"


# ---------------------------------------------------------------------- the whole


def _as_a_whole(g: Array, d: Array, scene: Scene) -> Explanation | None:
    """The derivative negated, transposed, or times a number."""
    if equal(g, -d):
        return SIGN, "the sign is wrong"
    for axes in permutations(range(d.ndim)) if 1 < d.ndim < 5 else ():
        if d.transpose(axes).shape == d.shape and axes != tuple(range(d.ndim)) and equal(g, d.transpose(axes)):
            return TRANSPOSED, "it is the transposed gradient"
    number = float((g * d).sum() / (d * d).sum())
    if number and equal(g, number * d):
        return _of_number(number, scene)
    return None


def _of_number(number: float, scene: Scene) -> Explanation:
    if number < 0:
        _, words = _of_number(-number, scene)
        return SIGN, f"the sign is wrong, and {words}"
    for size, words in scene.sizes.items():
        if abs(number * size - 1) < NEAR:
            return MEAN, f"it is divided by {size}, {words}: the gradient of the mean, not of the sum"
        if abs(number / size - 1) < NEAR:
            return MEAN, f"it is {size} times too large, {words}: the gradient of the sum, not of the mean"
    return FACTOR, f"it is {number:.6g} times as large"


# ---------------------------------------------------------------------- parts of the outputs


def _by_outputs(g: Array, jacobian: Array | None, scene: Scene) -> Explanation | None:
    """g as what comes through parts of the outputs, some of them left out or with another sign."""
    if jacobian is None:
        return None
    parts: list[tuple[str, Array]] = []
    start = 0
    outputs = []
    for out, dy in zip(scene.result.leaves, scene.dys, strict=True):
        rows = jacobian[start : start + dy.size].reshape(*dy.shape, -1)
        outputs.append((out.name, dy, rows))
        parts.append((out.name, np.tensordot(dy, rows, dy.ndim)))
        start += dy.size
    if len(parts) > 1:
        said = _coefficients(g.ravel(), parts)
        if said:
            return said
    for name, dy, rows in outputs:
        others = sum((part for other, part in parts if other != name), np.zeros(g.size))
        for axis in range(dy.ndim):
            if not 1 < dy.shape[axis] <= SLICES:
                continue
            moved, of = np.moveaxis(dy, axis, 0), np.moveaxis(rows, axis, 0)
            slices = [
                (f"{name}[{', '.join([':'] * axis + [str(k)])}]", np.tensordot(moved[k], of[k], dy.ndim - 1))
                for k in range(dy.shape[axis])
            ]
            said = _coefficients(g.ravel() - others, slices)
            if said:
                return said
    return None


def _coefficients(g: Array, parts: Sequence[tuple[str, Array]]) -> Explanation | None:
    """g as a sum of the parts times numbers of which most are 1."""
    A = np.array([part for _, part in parts]).T
    if A.shape[0] <= A.shape[1] or np.linalg.matrix_rank(A) < A.shape[1]:
        return None
    c, *_ = np.linalg.lstsq(A, g, rcond=None)
    if not equal(A @ c, g) or np.abs(c - 1).max() < 1e-6:
        return None
    lost = [name for (name, _), one in zip(parts, c, strict=True) if abs(one) < 1e-6]
    turned = [name for (name, _), one in zip(parts, c, strict=True) if abs(one + 1) < 1e-6]
    other = [
        (name, one) for (name, _), one in zip(parts, c, strict=True) if min(abs(one), abs(one + 1), abs(one - 1)) > 1e-6
    ]
    if lost and not other and not turned:
        return TERM, f"what comes through {_listed(lost)} is missing"
    if turned and not other and not lost:
        return SIGN, f"the sign of what comes through {_listed(turned)} is wrong"
    if len(other) == 1 and not lost and not turned:
        return FACTOR, f"what comes through {other[0][0]} is {other[0][1]:.6g} times as large"
    return None


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) < 4 else f"{names[0]} to {names[-1]}"


# ---------------------------------------------------------------------- factors and terms that are at hand


def _by_quantities(g: Array, d: Array, scene: Scene) -> Explanation | None:
    """The derivative with a factor or a term left out, or one factor for another."""
    known = [(f"d{leaf.name}", dy) for leaf, dy in zip(scene.result.leaves, scene.dys, strict=True)]
    known += [(q.words, q.array) for q in scene.quantities]
    differ = np.flatnonzero(g != d)  # of a large array only a part of the derivative is known
    some = np.random.default_rng(0).permutation(differ)[:ENTRIES]
    known = [(name, a[some]) for name, a in alike(known, d.shape)]
    several = lacks(g.ravel()[some], d.ravel()[some], known, lambda _: True, FUNCTIONS)
    lack = min(several, key=lambda one: one.cost, default=None)
    return None if lack is None else (FACTOR if lack.sign == "*" else TERM, lack.words)

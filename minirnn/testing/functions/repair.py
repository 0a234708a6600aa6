"""Which line of a backward pass is wrong: what it must say is known from derivatives, so ``mending`` can find it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minirnn.testing.functions.blame import Answer, Make
from minirnn.testing.functions.calls import Function
from minirnn.testing.functions.comparing import Check
from minirnn.testing.functions.leaves import Array, Leaf, Path, numbers_in
from minirnn.testing.functions.mending import SECONDS, Mend, mend
from minirnn.testing.functions.source import attributes_of

LARGEST = 2048  # entries of an array: an edit may make a product of any two
ZEROED = 6  # arrays that are 0 in turn, so that a mistake shows without another
FEW = 400  # entries of all arrays together, where one is 0


class Repair(NamedTuple):
    """A line that is wrong, and the paths of the gradients that are right without the mistake in it."""

    mend: Mend
    paths: frozenset[Path]


def repairs(check: Check, wrong: dict[Path, Array], seconds: float = SECONDS) -> list[Repair]:
    """The lines that are wrong; ``wrong`` has the derivatives of the gradients that are."""
    if max(a.size for a in (*check.values.values(), *check.dys)) > LARGEST:
        return []
    points = _Points(check, wrong)
    extra = attributes_of(check.result.rest) if check.function.form == "object" else []
    found = mend(_backward_of(check), points, points.number, extra, seconds)
    paths = {leaf.name: leaf.path for leaf in check.function.leaves}
    return [Repair(one, frozenset(paths[name] for name in one.names) or frozenset(wrong)) for one in found]


def repairs_of_error(function: Function, wrt: Sequence[str] | None = None) -> list[Mend]:
    """The lines that are wrong in a backward pass that raises, or returns what cannot be gradients."""
    check = Check(function, np.random.default_rng(0), wrt, tolerant=True)
    return [one.mend for one in repairs(check, {})]


class _Points:
    """A backward pass at several points: the first entry by entry, another along directions, others with a 0."""

    def __init__(self, check: Check, wrong: dict[Path, Array]) -> None:
        self.check = check
        known = {leaf.path: numbers_in(check.gradients[leaf.path]) for leaf in check.judged}
        self.rights = {0: {path: g for path, g in known.items() if g is not None} | wrong}
        self.checks: dict[int, Check | None] = {0: check}
        leaves = check.function.leaves
        few = len(leaves) > 1 and sum(leaf.array.size for leaf in leaves) <= FEW
        self.number = 2 + (min(ZEROED, len(leaves)) if few and check.exact is not False else 0)

    def __call__(self, at: int, make: Make | None) -> Sequence[Answer]:
        if at not in self.checks:
            self.checks[at] = self.check.elsewhere() if at == 1 else self._with_zeros(at - 2)
        check = self.checks[at]
        if check is None:
            return []
        said = check.gradients if make is None else check.said_by(make)
        leaves = [leaf for leaf in check.function.leaves if leaf.path in said or leaf.path in self.rights[0]]
        if at == 1:
            return [_along(check, leaf, said.get(leaf.path)) for leaf in leaves]
        return [Answer(leaf.name, said.get(leaf.path), self._right(at, check, leaf)) for leaf in leaves]

    def _with_zeros(self, k: int) -> Check | None:
        values = dict(self.check.values)
        path = self.check.function.leaves[k].path
        values[path] = np.zeros_like(values[path])
        try:
            return Check(self.check.function, np.random.default_rng(k), self.check.wrt, values, tolerant=True)
        except (ValueError, ArithmeticError):
            return None

    def _right(self, at: int, check: Check, leaf: Leaf) -> Array:
        rights = self.rights.setdefault(at, {})
        if leaf.path not in rights:
            rights[leaf.path] = check.gradient(leaf)
        return rights[leaf.path]


def _along(check: Check, leaf: Leaf, gradient: Any) -> Answer:
    """A gradient along one direction."""
    v = np.random.default_rng(7).normal(size=leaf.array.shape)
    d, error = check.known(leaf.path, v)
    g = numbers_in(gradient)
    said = float((g * v).sum()) if g is not None and g.shape == v.shape else np.nan
    size = float(np.abs(g * v).sum()) if g is not None and g.shape == v.shape else 0.0
    holds = abs(said - d) <= error + 1e-7 * (size + abs(d))
    return Answer(leaf.name, np.array([d if holds else np.inf]), np.array([d]))


def _backward_of(check: Check) -> Any:
    """The function whose source has the derivation."""
    function = check.function
    if function.form == "closure":
        return check.result.rest
    if function.form == "object":
        return type(function.f).backward
    return function.f if function.form == "loss" else function.backward

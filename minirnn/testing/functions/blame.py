"""Which values of a function are to blame: those of which another one would make its results right.

The value that a statement computes is changed, entry by entry, and the results are looked at.  Of most values of a
backward pass they are linear, so that a linear system says by how much the value is off: a value for which it has no
solution is not to blame, nor is the line that computes it.  Where a function has two mistakes, the solution is the one
that makes most results right and none wrong.  It is also what the line must compute, and an edit of the line can be
tried by itself.
"""

import ast
import copy
import time
import types
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from minirnn.testing.functions.leaves import Array, numbers_in
from minirnn.testing.functions.places import statements_of
from minirnn.testing.functions.source import Code, compiled, rebuilt, surroundings

NEAR = 1e-6  # relative to the largest number of an array
CLOSE = 1e-4  # the same of a value that is needed: it is as well known as results that are not linear allow
STEP = 1e-3  # by which an entry is changed: far more than rounding, and what is linear does not mind
MOST = 300  # entries of a value, over all times that its statement is run
HALVES = 3  # of a step of Newton's method that goes too far
ROUNDS = 8  # of Newton's method, where the results are not linear
SOLUTIONS = 12  # of weighted least squares, that find most equations that agree
SECONDS = 1.0  # of processor time for one function
SHARE = 0.25  # of it for one value
WHOLE = (int, np.integer)
TIMES = 4  # as large as it was may be a size
TAP, HERE = "_tap", "_here"


class Answer(NamedTuple):
    """What a function says of ``name`` beside what it must say."""

    name: str
    said: Any
    right: Array


Make: TypeAlias = Callable[[Any], Callable[..., Any]]  # an edited function of the original
Run: TypeAlias = Callable[[Make], Sequence[Answer]]


class Value(NamedTuple):
    """An expression whose value a statement uses, and where it stands."""

    statement: ast.stmt
    parent: Any
    field: str
    at: int | None

    @property
    def node(self) -> ast.expr:
        """The expression as it is now."""
        here = getattr(self.parent, self.field)
        node: ast.expr = here if self.at is None else here[self.at]
        return node

    def put(self, node: ast.expr) -> None:
        """Replace the expression."""
        if self.at is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.at] = node


class Suspect(NamedTuple):
    """A value that may be to blame: how many results it could make right, None where that is not known.

    ``needed`` are the numbers of the value that is wanted the first time, as far as they are ``certain``, and ``space``
    what its expression sees then.
    """

    value: Value
    mends: int | None
    entries: int = 0
    needed: Array | None = None
    certain: Array | None = None
    space: dict[str, Any] | None = None
    whole: int | None = None  # the value, where it is a whole number: a size, which must stay one

    def computes(self, space: dict[str, Any]) -> Array | None:
        """The numbers that the expression gives as it is now, None where it fails or gives others in number."""
        value = self._evaluated(space)
        numbers = numbers_of(float(value) if isinstance(value, WHOLE) else value)
        return numbers if self.needed is not None and numbers.shape == self.needed.shape else None

    def _evaluated(self, space: dict[str, Any]) -> Any:
        try:
            return eval(compile(ast.Expression(self.value.node), "<an edit>", "eval"), space)  # noqa: S307 - the user's
        except Exception:  # noqa: BLE001 - an edit may do anything
            return None

    def is_met(self) -> bool:
        """Whether the expression as it is now gives what is needed, or may do so."""
        if self.whole is not None and self.space is not None:
            size = self._evaluated(self.space)
            return isinstance(size, WHOLE) and bool(abs(int(size)) <= TIMES * (abs(self.whole) + 1))
        if self.needed is None or self.certain is None or self.space is None:
            return True
        said = self.computes(self.space)
        if said is None:
            return False
        off = np.abs(said - self.needed)[self.certain]
        return bool((off <= CLOSE * max(1e-9, float(np.abs(self.needed).max(initial=0.0)))).all())


def values_in(tree: ast.Module) -> list[Value]:
    """The values that the statements of a function use: what is assigned, added or returned."""
    values: list[Value] = []
    for place in statements_of(tree):
        node = place.node
        if not isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return)) or node.value is None:
            continue
        if isinstance(node.value, (ast.Tuple, ast.List)) and node.value.elts:
            values += [Value(node, node.value, "elts", k) for k in range(len(node.value.elts))]
        elif isinstance(node.value, ast.Dict):
            values += [Value(node, node.value, "values", k) for k in range(len(node.value.values))]
        else:
            values.append(Value(node, node, "value", None))
    return [one for one in values if not isinstance(one.node, (ast.Starred, ast.Constant))]


def suspects_of(code: Code, original: Any, run: Run, seconds: float = SECONDS) -> list[Suspect]:
    """All values of a function, as it is now, and what each could make right."""
    deadline = time.process_time() + min(seconds, SECONDS)
    trial = _Trial(code, original, run)
    suspects = [trial.unknown(k) for k in range(len(trial.values))]
    for k in sorted(range(len(suspects)), key=trial.size) if trial.runs else ():  # the cheapest first
        now = time.process_time()
        if now > deadline:
            break
        suspects[k] = trial.suspect(k, trial.values[k], min(deadline, now + SHARE * SECONDS))
    return suspects


def numbers_of(value: Any) -> Array:
    """The floats in a nested value, one after another."""
    return np.concatenate([np.zeros(0), *_floats(value)])


def _floats(value: Any) -> Sequence[Array]:
    if isinstance(value, (float, np.floating)) or (isinstance(value, np.ndarray) and value.dtype.kind == "f"):
        return [np.ravel(value).astype(float)]
    if isinstance(value, (tuple, list)):
        return [one for part in value for one in _floats(part)]
    if isinstance(value, dict):
        return [one for part in value.values() for one in _floats(part)]
    return []


def _moved(value: Any, by: Array, start: int) -> tuple[Any, int]:
    """A nested value with numbers added to its floats: those from ``start`` on; and where these end."""
    if isinstance(value, (float, np.floating)) or (isinstance(value, np.ndarray) and value.dtype.kind == "f"):
        size = int(np.size(value))
        return value + by[start : start + size].reshape(np.shape(value)), start + size
    if isinstance(value, (tuple, list)):
        parts = []
        for part in value:
            one, start = _moved(part, by, start)
            parts.append(one)
        return (type(value)(parts) if type(value) in (tuple, list) else value), start
    if isinstance(value, dict):
        changed = {}
        for key, part in value.items():
            changed[key], start = _moved(part, by, start)
        return changed, start
    return value, start


class _Tap:
    """What every value goes through: it is noted the first time, and changed where that is asked for."""

    def __init__(self) -> None:
        self.sizes: dict[int, list[int]] = {}
        self.first: dict[int, tuple[Any, dict[str, Any]]] = {}
        self.noting, self.where, self.by, self.start = True, -1, np.zeros(0), 0

    def __call__(self, k: int, value: Any, here: dict[str, Any]) -> Any:
        if self.noting:
            self.sizes.setdefault(k, []).append(numbers_of(value).size)
            if k not in self.first:
                self.first[k] = _kept(value), {name: _kept(one) for name, one in here.items()}
        if k != self.where:
            return value
        new, self.start = _moved(value, self.by, self.start)
        return new


def _kept(value: Any) -> Any:
    """A copy of what may be changed later."""
    return copy.deepcopy(value) if isinstance(value, (np.ndarray, list, dict, tuple)) else value


class _Trial:
    """A function whose values go through a tap."""

    def __init__(self, code: Code, original: Any, run: Run) -> None:
        self.values, self.tap, self.original, self.run = values_in(code.tree), _Tap(), original, run
        for k, value in enumerate(self.values):
            node = value.node
            here = ast.Call(ast.Name(HERE, ast.Load()), [], [])
            call = ast.Call(ast.Name(TAP, ast.Load()), [ast.Constant(k), node, here], [])
            value.put(ast.fix_missing_locations(ast.copy_location(call, node)))
        try:
            self.program: types.CodeType = compiled(code)
        finally:
            for value in self.values:
                tapped = value.node
                assert isinstance(tapped, ast.Call)
                value.put(tapped.args[1])
        said, right = self._said()
        self.tap.noting = False
        self.runs = said is not None and right is not None and np.isfinite(said).all()
        if said is not None and right is not None:
            self.base, self.right = said, right
            scale = np.where(np.isfinite(self.scale), self.scale, 1.0)
            self.limit = NEAR * np.maximum(scale, 1e-9)
            self.known = np.isfinite(right)
            self.wrong = self.known & ~(np.abs(said - right) <= self.limit)

    def _said(self) -> tuple[Array | None, Array | None]:
        """All results, one after another, and what they must be: no number where another shape is wanted."""
        self.tap.start = 0
        try:
            compared = self.run(lambda original: rebuilt(self.program, original, {TAP: self.tap, HERE: locals}))
        except Exception:  # noqa: BLE001 - a changed value may do anything
            return None, None
        said, right, scale, names = [np.zeros(0)], [np.zeros(0)], [np.zeros(0)], [np.zeros(0)]
        for k, one in enumerate(compared):
            numbers = numbers_in(one.said)
            if numbers is not None:
                alike = numbers.shape == one.right.shape
                names.append(np.full(numbers.size, k))
                said.append(numbers.ravel())
                right.append(one.right.ravel() if alike else np.full(numbers.size, np.nan))
                scale.append(np.full(numbers.size, float(np.abs(one.right).max(initial=0.0)) if alike else 1.0))
        self.scale, self.names = np.concatenate(scale), np.concatenate(names)
        return (np.concatenate(said), np.concatenate(right)) if compared else (None, None)

    def _with(self, k: int, by: Array) -> Array | None:
        self.tap.where, self.tap.by = k, by
        said, _ = self._said()
        self.tap.where = -1
        return said if said is not None and said.shape == self.base.shape else None

    def size(self, k: int) -> int:
        """How many entries a value has, over all times."""
        return sum(self.tap.sizes.get(k, []))

    def unknown(self, k: int) -> Suspect:
        """A value of which it is not known what it could make right."""
        first, space = self.tap.first.get(k, (None, {}))
        if isinstance(first, WHOLE) and not isinstance(first, bool):
            return Suspect(self.values[k], None, space=surroundings(self.original) | space, whole=int(first))
        return Suspect(self.values[k], None)

    def suspect(self, k: int, value: Value, deadline: float) -> Suspect:
        """What a value could make right."""
        n = self.size(k)
        if not n:  # it is not reached, or no floats
            return self.unknown(k)
        same = self._with(k, np.zeros(n)) if n <= MOST else None
        if same is None or not np.array_equal(same, self.base):
            return Suspect(value, None)
        delta = np.zeros(n)
        now = self.base
        for _ in range(ROUNDS):
            A = self._slopes(k, delta, now)
            if A is None or time.process_time() > deadline:
                return Suspect(value, None)
            if not A[~self.known].any() and not A[self.wrong].any():
                return Suspect(value, None if delta.any() else 0)
            if A[~self.known].any():  # it reaches what has another shape than it must
                spoils = A[self.known & ~self.wrong].any()
                return Suspect(value, None if spoils else int(A[~self.known].any(axis=1).sum()), n)
            step, good = self._solved(A, self.right - now)
            after = self._with(k, delta + step)
            for _ in range(HALVES):
                if after is not None and self._off(after, good) <= 0.7 * self._off(now, good):
                    break
                step = step / 2
                after = self._with(k, delta + step)
            if after is None:
                return Suspect(value, None)
            delta, now = delta + step, after
            right = np.abs(now - self.right) <= self.limit
            if (right | ~good).all():
                break
        else:
            return Suspect(value, None)  # not linear: nothing is known
        if (~right & ~self.wrong & self.known).any() or not (right & self.wrong).any():
            return Suspect(value, 0)
        noted, space = self.tap.first[k]
        first = numbers_of(noted)
        rows = A[right & A.any(axis=1)]
        _, sizes, ways = np.linalg.svd(rows, full_matrices=True)
        rank = int((sizes > 1e-8 * sizes.max(initial=0.0)).sum())
        certain = (np.abs(ways[rank:]) < NEAR).all(axis=0)[: first.size]
        around = surroundings(self.original) | space
        return Suspect(value, int((right & self.wrong).sum()), n, first + delta[: first.size], certain, around)

    def _off(self, said: Array, good: Array) -> float:
        return float(np.abs(said - self.right)[good].sum())

    def _slopes(self, k: int, at: Array, now: Array) -> Array | None:
        columns = np.zeros((now.size, at.size))
        for j in range(at.size):
            by = at.copy()
            by[j] += STEP
            said = self._with(k, by)
            if said is None or not np.isfinite(said).all():
                return None
            columns[:, j] = (said - now) / STEP
        columns[np.abs(columns) < 1e-9] = 0.0
        return columns

    def _solved(self, A: Array, r: Array) -> tuple[Array, Array]:
        """A change that makes most results right and keeps what is right, and which results it makes so.

        Where there are two mistakes, it is often the one that makes all of one result right.
        """
        touched = np.flatnonzero(A.any(axis=1) & self.known)
        A, r, limit, held = A[touched], r[touched], self.limit[touched], ~self.wrong[touched]
        names = self.names[touched]
        several = [np.ones(r.size, dtype=bool), *(held | (names == name) for name in np.unique(names[~held]))]
        best, most = np.zeros(A.shape[1]), -1
        for rows in several:
            delta = _fitted(A[rows], r[rows], limit[rows], held[rows])
            right = np.abs(A @ delta - r) <= limit
            count = int((right & ~held).sum()) if right[held].all() else 0
            if count > most:
                best, most = delta, count
            if right.all():
                break
        good = np.zeros(self.known.size, dtype=bool)
        good[touched[np.abs(A @ best - r) <= limit]] = True
        return best, good


def _fitted(A: Array, r: Array, limit: Array, held: Array) -> Array:
    """The solution of most of the equations ``A x = r``: least squares, of which those count less that do not fit."""
    scale = np.where(held, 100.0, 1.0) / np.maximum(limit / NEAR, 1e-9)
    weights = scale.copy()
    delta: Array = np.zeros(A.shape[1])
    for _ in range(SOLUTIONS):
        delta = np.linalg.lstsq(A * weights[:, None], r * weights, rcond=1e-10)[0]
        off = np.abs(A @ delta - r)
        if (off <= limit).all():
            break
        weights = scale / np.sqrt(np.maximum(off * scale, 1e-8))
    return delta

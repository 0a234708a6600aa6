"""Which line of a function is wrong, where its values are known: small edits of its source, until one gives them.

The edits are those of ``functions.edits``, and some that a forward pass needs: names that are swapped, a function for
another, an axis for another.
"""

import ast
import copy
import time
import types
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, combinations
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from minirnn.testing.courses.borrowed import borrowed
from minirnn.testing.courses.more_edits import Swap, more
from minirnn.testing.functions.edits import Edit, edits_of
from minirnn.testing.functions.faults import EARLIER, FACTOR, SWAPPED
from minirnn.testing.functions.leaves import Array, numbers_in
from minirnn.testing.functions.repair import Code, code_of, operands_of, rebuilt

MOST = 2  # mistakes in one function
FUNCTIONS = ("np.tanh", "np.exp", "np.concatenate", "np.hstack", "np.vstack", "np.stack", "np.sin", "np.cos")


OPERANDS = 14  # that an edit of functions.edits may use: there are many of each
NAMES = 48  # that one of more_edits may use
SECONDS = 3.4  # of processor time, for one function
NEAR = 1e-6  # relative to the largest number of an array


class Compared(NamedTuple):
    """What a function says of ``name`` beside what it must say."""

    name: str
    said: Any
    right: Array


# what a function, or an edited one in its place, says at a point; points from the third on have an argument that is 0
Point: TypeAlias = Callable[[int, Callable[..., Any] | None], Sequence[Compared]]
Wrong: TypeAlias = frozenset[tuple[str, int]]


class Mend(NamedTuple):
    """The line of the file that is wrong, its text, the pattern of the mistake, and a sentence."""

    line: int
    source: str
    pattern: str
    words: str
    function: Callable[..., Any]  # without the mistake
    names: frozenset[str]  # of which entries are right then, and were not
    whole: bool  # whether all is right then


def mend(function: Any, point: Point, points: int = 2, extra: Sequence[str] = ()) -> list[Mend]:
    """The likeliest edits of ``function`` with which it is right at all points: two for two mistakes.

    The first of two makes some entries right and spoils none.  There is none where none is found in time.
    """
    code = code_of(function)
    if code is None:
        return []
    search = _Search(code, getattr(function, "__func__", function), point, points, extra)
    found: list[Mend] = []
    while len(found) < MOST:
        best = search.best()
        if best is None:
            break
        edit, names = best
        edit.apply()
        line = code.first + edit.line - 1
        source = code.lines[edit.line - 1].strip()
        left = search.wrong(0) or search.wrong(1)
        found.append(Mend(line, source, edit.pattern, edit.words, search.rebuilt(), names, not left))
        if not left:
            break
    return found


class _Search:
    """The search for edits of one function."""

    def __init__(
        self, code: Code, original: types.FunctionType, point: Point, points: int, extra: Sequence[str]
    ) -> None:
        self.code, self.original, self.point, self.extra = code, original, point, extra
        self.points = points
        self.deadline = time.process_time() + SECONDS

    def rebuilt(self) -> Callable[..., Any]:
        """The function as its tree is now."""
        return rebuilt(self.code, self.original)

    def wrong(self, at: int, function: Callable[..., Any] | None = None) -> Wrong | None:
        """The entries that are wrong at a point, by the tree as it is now; None where it raises."""
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                compared = self.point(at, function or self.rebuilt())
                return frozenset((one.name, k) for one in compared for k in _unequal(one)) if compared else None
        except Exception:  # noqa: BLE001 - an edit may do anything but mend
            return None

    def best(self) -> tuple[Edit | Swap, frozenset[str]] | None:
        """The edit that mends all, or that mends most of what is wrong, and what it mends."""
        before = [self.wrong(at) for at in range(self.points)]
        best: tuple[int, Edit | Swap, frozenset[str]] | None = None
        groups = list(_groups(self.code.tree, self.extra))
        for at in (0, *range(2, self.points)):
            if at and (best is not None or not before[at]):
                continue
            for edit in chain.from_iterable(groups):
                if time.process_time() > self.deadline:
                    break
                undo = edit.apply()
                try:
                    mended = self._mended(at, before)
                finally:
                    undo()
                if mended is None:
                    continue
                left, names = mended
                if not left:
                    return edit, names
                if best is None or left < best[0]:
                    best = left, edit, names
        return None if best is None else best[1:]

    def _mended(self, at: int, before: list[Wrong | None]) -> tuple[int, frozenset[str]] | None:
        """How many entries are wrong still by the tree as it is now, and whose are mended; None where it mends none."""
        try:
            function = self.rebuilt()
        except Exception:  # noqa: BLE001 - an edit may be no program
            return None
        old, new = before[at], self.wrong(at, function)
        if new is None or (new and (old is None or not new < old)):
            return None
        others = [k for k in ((0, 1) if at else (1,)) if k < len(before)]
        left = [new, *(self.wrong(k, function) for k in others)]
        for now, then in zip(left[1:], (before[k] for k in others), strict=True):
            if now is None or (then is not None and not now <= then):
                return None
        changed = (old or frozenset()) - new
        names = {name for name, _ in changed} - {name for name, _ in new} or {name for name, _ in changed}
        return sum(len(one or ()) for one in left), frozenset(names)


def _unequal(one: Compared) -> Iterable[int]:
    """Which entries are not what they must be."""
    said = numbers_in(one.said)
    if said is None or said.shape != one.right.shape:
        return range(max(1, one.right.size))
    off = np.nan_to_num(np.abs(said - one.right), nan=np.inf).ravel()
    return np.flatnonzero(off > NEAR * max(float(np.abs(one.right).max(initial=0.0)), 1e-9)).tolist()


def _groups(tree: ast.Module, extra: Sequence[str]) -> Iterator[list[Edit | Swap]]:
    """Edits, those first that are few."""
    operands = list(dict.fromkeys([*operands_of(tree), *extra]))
    few: list[Edit | Swap] = [*_plain(tree, []), *_swaps(tree), *more(tree, operands[:NAMES]), *borrowed(tree)]
    yield sorted(few, key=_cost)
    yield sorted(_plain(tree, operands[:OPERANDS]), key=_cost)


def _plain(tree: ast.Module, operands: list[str]) -> list[Edit]:
    return [edit for edit in edits_of(tree, operands) if not edit.free]


def _cost(edit: Edit | Swap) -> float:
    return edit.cost


def _swaps(tree: ast.Module) -> Iterator[Swap]:
    """Two names in one another's place, a function for another, a number in brackets for another."""
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, (ast.Tuple, ast.List)) and 1 < len(node.elts) < 9:
            for i, j in combinations(range(len(node.elts)), 2):
                order = list(node.elts)
                order[i], order[j] = order[j], order[i]
                words = f"{ast.unparse(node.elts[i])} and {ast.unparse(node.elts[j])} are swapped"
                yield Swap(0.8, SWAPPED, words, line, ((node, "elts", order),))
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            for other in sorted({*called, *FUNCTIONS} - {name}):
                if other.partition(".")[0] in name or "." not in other or other in FUNCTIONS:
                    new = ast.parse(other, mode="eval").body
                    yield Swap(0.9, FACTOR, f"{other} belongs where {name} stands", line, ((node, "func", new),))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "range":
            for text in (f"reversed({ast.unparse(node)})", f"list({ast.unparse(node)})[::-1]"):
                new = copy.copy(node)
                new.args = [ast.parse(text, mode="eval").body]
                new.func = ast.Name("list", ast.Load())
                words = "the steps must be taken in the other order"
                yield Swap(1.0, EARLIER, words, line, ((node, "args", new.args), (node, "func", new.func)))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "reversed":
            yield Swap(
                1.0,
                EARLIER,
                "the steps must be taken in the other order",
                line,
                ((node, "func", ast.Name("list", ast.Load())),),
            )
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            yield from _indices(node, line)
        if isinstance(node, ast.keyword) and node.arg == "axis":
            for axis in (0, 1, 2, -1):
                yield Swap(
                    1.1,
                    "wrong axis",
                    f"axis {axis} is needed",
                    getattr(node.value, "lineno", line),
                    ((node, "value", ast.Constant(axis)),),
                )
    yield from _in_one_expression(tree)
    yield from _targets(tree)


def _indices(node: ast.Subscript, line: int) -> Iterator[Swap]:
    """Another slice of the gates, an index in another place."""
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    for i, j in combinations(range(len(parts)), 2):
        order = list(parts)
        order[i], order[j] = order[j], order[i]
        new = ast.Tuple(order, ast.Load())
        yield Swap(1.0, "wrong axis", f"{ast.unparse(node.value)}[{ast.unparse(new)}]", line, ((node, "slice", new),))
    if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
        return
    if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, int):
        for k in range(-1, 4):
            if k != node.slice.value:
                yield Swap(1.2, EARLIER, f"[{k}] is needed", line, ((node, "slice", ast.Constant(k)),))


def _in_one_expression(tree: ast.Module) -> Iterator[Swap]:
    """Two names in one another's place within a statement."""
    for statement in ast.walk(tree):
        if not isinstance(statement, (ast.Assign, ast.AugAssign, ast.Return)) or statement.value is None:
            continue
        names = [node for node in ast.walk(statement.value) if isinstance(node, (ast.Name, ast.Constant))]
        names = [node for node in names if not (isinstance(node, ast.Name) and node.id in ("np", "self"))]
        for one, other in combinations(names[:14], 2):
            if isinstance(one, ast.Name) and isinstance(other, ast.Name) and one.id != other.id:
                words = f"{one.id} and {other.id} are swapped"
                yield Swap(0.85, SWAPPED, words, one.lineno, ((one, "id", other.id), (other, "id", one.id)))
            elif isinstance(one, ast.Constant) and isinstance(other, ast.Constant) and one.value != other.value:
                words = f"{one.value!r} and {other.value!r} are swapped"
                yield Swap(0.85, SWAPPED, words, one.lineno, ((one, "value", other.value), (other, "value", one.value)))


def _targets(tree: ast.Module) -> Iterator[Swap]:
    """Two lines whose right-hand sides are swapped."""
    lines = [node for node in ast.walk(tree) if isinstance(node, ast.Assign) and not isinstance(node.value, ast.Name)]
    for one, other in combinations(lines[:24], 2):
        words = f"{ast.unparse(one.targets[0])} and {ast.unparse(other.targets[0])} are swapped"
        yield Swap(1.5, SWAPPED, words, one.lineno, ((one, "targets", other.targets), (other, "targets", one.targets)))

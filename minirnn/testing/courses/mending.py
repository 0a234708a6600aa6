"""Which line of a function is wrong, where its values are known: small edits of its source, until one gives them.

The edits are those of ``functions.edits``, and some that a forward pass needs: names that are swapped, a function for
another, an axis for another.
"""

import ast
import copy
import time
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from minirnn.testing.courses.more_edits import Swap, more
from minirnn.testing.functions.edits import Edit, edits_of
from minirnn.testing.functions.faults import EARLIER, FACTOR, SWAPPED
from minirnn.testing.functions.repair import Code, code_of, operands_of, rebuilt

FUNCTIONS = ("np.tanh", "np.exp", "np.concatenate", "np.hstack", "np.vstack", "np.stack", "np.sin", "np.cos")


OPERANDS = 14  # that an edit of functions.edits may use: there are many of each
NAMES = 48  # that one of more_edits may use


class Mend(NamedTuple):
    """The line of the file that is wrong, its text, the pattern of the mistake, and a sentence."""

    line: int
    source: str
    pattern: str
    words: str
    function: Callable[..., Any]  # without the mistake


def mend(
    function: Any, right: Callable[[Callable[..., Any]], bool], seconds: float, extra: Sequence[str] = ()
) -> Mend | None:
    """The likeliest edit of ``function`` with which it is ``right``; None where none is, or the time is up."""
    code = code_of(function)
    if code is None:
        return None
    original = getattr(function, "__func__", function)
    deadline = time.process_time() + seconds
    for edits in _groups(code.tree, extra):
        for edit in sorted(edits, key=_cost):
            if time.process_time() > deadline:
                return None
            undo = edit.apply()
            try:
                if _is_right(code, original, right):
                    source = code.lines[edit.line - 1].strip()
                    return Mend(code.first + edit.line - 1, source, edit.pattern, edit.words, rebuilt(code, original))
            finally:
                undo()
    return None


def _groups(tree: ast.Module, extra: Sequence[str]) -> Iterator[list[Edit | Swap]]:
    """Edits, those first that are few; the others are made only where none of these mends."""
    operands = list(dict.fromkeys([*operands_of(tree), *extra]))
    yield [*_plain(tree, []), *_swaps(tree), *more(tree, operands[:NAMES])]
    yield [*_plain(tree, operands[:OPERANDS])]


def _plain(tree: ast.Module, operands: list[str]) -> list[Edit]:
    return [edit for edit in edits_of(tree, operands) if not edit.free]


def _cost(edit: Edit | Swap) -> float:
    return edit.cost


def _is_right(code: Code, original: types.FunctionType, right: Callable[[Callable[..., Any]], bool]) -> bool:
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return right(rebuilt(code, original))
    except Exception:  # noqa: BLE001 - an edit may do anything but mend
        return False


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

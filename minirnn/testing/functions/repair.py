"""Which line of a backward pass is wrong: small edits of its source, until one makes the gradients right.

That a gradient is wrong is known by now, and what it should be.  So an edit costs one call of the backward pass to try.
What makes a wrong gradient right, and spoils none that is right, here and at another point, is what an author would do.
"""

import ast
import inspect
import textwrap
import time
import types
import warnings
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from minirnn.testing.functions.calls import Function, Result
from minirnn.testing.functions.comparing import Check
from minirnn.testing.functions.edits import FREE, NUMBER, Edit, edits_of
from minirnn.testing.functions.leaves import Array, Path, numbers_in

SECONDS = 3.0  # of processor time, for one function
NEAR = 1e-7
LARGEST = 2048  # entries of an array
MOST = 24  # quantities that an edit may use
LONGEST = 400  # lines of a function that is looked into


class Repair(NamedTuple):
    """An edit that makes the gradients of ``paths`` right: its line in the file, and the text of that line."""

    edit: Edit
    paths: frozenset[Path]
    line: int
    source: str


class Code(NamedTuple):
    """The source of a backward pass: its tree, and the first line in its file."""

    tree: ast.Module
    first: int
    lines: list[str]
    number: float = 0.0  # of an edit that has one to be found


def code_of(function: Any) -> Code | None:
    """The source of a function or method, or None where Python does not have it."""
    function = inspect.unwrap(getattr(function, "__func__", function))
    if not isinstance(function, types.FunctionType):
        return None
    try:
        lines, first = inspect.getsourcelines(function)
    except (OSError, TypeError):
        return None
    if len(lines) > LONGEST:
        return None
    try:
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except SyntaxError:  # a lambda within a longer expression
        return None
    if not isinstance(tree.body[0], ast.FunctionDef):
        return None
    tree.body[0].decorator_list = []
    return Code(tree, first, lines)


def operands_of(tree: ast.Module) -> list[str]:
    """Names, attributes of self and entries that a function uses, those that hold numbers as far as is seen."""
    operands: dict[str, None] = {}
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    for name in (one.arg for one in definition.args.args):
        if name not in ("self", "cache"):
            operands.setdefault(name)
    for node in chain.from_iterable(map(ast.walk, definition.body)):
        if (
            isinstance(node, ast.Name)
            and id(node) not in called
            and node.id not in ("np", "numpy", "self", "range", "len")
        ):
            operands.setdefault(node.id)
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "self"
            and id(node) not in called
        ) or (isinstance(node, ast.Subscript) and isinstance(node.slice, (ast.Constant, ast.Name))):
            operands.setdefault(ast.unparse(node))
    containers = set(_containers(definition))  # a list within itself is a thing without an end
    return [text for text in operands if text.partition("[")[0] not in containers]


def _containers(definition: ast.FunctionDef) -> Iterator[str]:
    """The names of a function that are made lists, dicts or sets somewhere in it."""
    kinds = (ast.List, ast.ListComp, ast.Dict, ast.DictComp, ast.Set, ast.SetComp, ast.GeneratorExp)
    for node in ast.walk(definition):
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            targets, values = [target], [node.value]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                targets, values = target.elts, node.value.elts
            for one, value in zip(targets, values, strict=False):
                made = isinstance(value, ast.Call) and ast.unparse(value.func) in ("list", "dict", "set")
                if made or isinstance(value, kinds):
                    yield ast.unparse(one)


def attributes_of(one: Any) -> list[str]:
    """Attributes of an object that are arrays, as its methods write them."""
    return [f"self.{name}" for name, value in vars(one).items() if isinstance(value, np.ndarray)]


def rebuilt(code: Code, original: types.FunctionType) -> Callable[..., Any]:
    """The function that an edited tree says, with the globals, defaults and enclosed variables of the original."""
    space = dict(original.__globals__)
    for name, cell in zip(original.__code__.co_freevars, original.__closure__ or (), strict=True):
        space[name] = cell.cell_contents
    space[FREE] = code.number
    exec(compile(code.tree, "<an edit>", "exec"), space)  # noqa: S102 - the user's own function, but for one node
    definition = code.tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    new: types.FunctionType = space[definition.name]
    new.__defaults__, new.__kwdefaults__ = original.__defaults__, original.__kwdefaults__
    return new


def repairs(check: Check, wrong: dict[Path, Array]) -> list[Repair]:
    """Edits that mend the gradients of which ``wrong`` has the derivatives, one for each line that is wrong."""
    deadline, found, left = time.process_time() + SECONDS, list[Repair](), dict(wrong)
    code = code_of(_backward_of(check.function, check.result))
    if code is None or any(isinstance(node, ast.While) for node in ast.walk(code.tree)):
        return []  # an edited one might never end
    if max(a.size for a in (*check.values.values(), *check.dys)) > LARGEST:
        return []  # an edit may make a product of any two
    while left and len(found) < 3:
        best = _best(check, code, left, deadline)
        if best is None:
            break
        edit, mended = best
        edit.apply()
        line = code.first + edit.line - 1
        found.append(Repair(edit, frozenset(mended), line, code.lines[edit.line - 1].strip() if edit.line else ""))
        left = {path: d for path, d in left.items() if path not in mended}
    return found


def _best(check: Check, code: Code, wrong: dict[Path, Array], deadline: float) -> tuple[Edit, list[Path]] | None:
    """The edit that mends most, the likeliest of these."""
    best: tuple[Edit, list[Path]] | None = None
    said = {leaf.path: numbers_in(check.gradients[leaf.path]) for leaf in check.judged if leaf.path not in wrong}
    right = {path: g for path, g in said.items() if g is not None}
    attributes = attributes_of(check.result.rest) if check.function.form == "object" else []
    operands = list(dict.fromkeys([*operands_of(code.tree), *attributes]))[:MOST]
    for edit in edits_of(code.tree, operands):
        if time.process_time() > deadline:
            break
        if best is not None and edit.cost > best[0].cost + 1.5:
            break
        undo = edit.apply()
        try:
            number = _number(check, code, wrong) if edit.free else 0.0
            if number is None:
                continue
            mended = _mended(check, code._replace(number=number), wrong, right)
            more = len(mended) > (0 if best is None else len(best[1]))
            if more and _holds_elsewhere(check, code._replace(number=number), mended):
                best = edit._replace(words=edit.words.replace(NUMBER, f"{number:.6g}")), mended
        finally:
            undo()
        if best is not None and len(best[1]) == len(wrong):
            break
    return best


def _number(check: Check, code: Code, wrong: dict[Path, Array]) -> float | None:
    """The number with which an edit mends a wrong gradient, which depends on it as a straight line does."""
    with_0, with_1 = (_said(check, code._replace(number=number)) for number in (0.0, 1.0))
    for path, d in wrong.items():
        a, b = (numbers_in((said or {}).get(path)) for said in (with_0, with_1))
        if a is None or b is None or a.shape != d.shape or b.shape != d.shape:
            continue
        slope = b - a
        size = float((slope * slope).sum())
        number = float(((d - a) * slope).sum()) / size if size else 0.0
        if number and abs(number - 1) > NEAR and _near(a + number * slope, d):
            return number
    return None


def _mended(check: Check, code: Code, wrong: dict[Path, Array], right: dict[Path, Array]) -> list[Path]:
    """Which wrong gradients are right by the edited code; none where it spoils others."""
    said = _said(check, code) or {}
    mended = [path for path, d in wrong.items() if _near(said.get(path), d)]
    return mended if mended and all(_near(said.get(path), g) for path, g in right.items()) else []


def _said(check: Check, code: Code) -> dict[Path, Any] | None:
    """The gradients that an edited backward pass returns; None where it fails."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return check.said_by(lambda original: rebuilt(code, original))
    except Exception:  # noqa: BLE001 - an edit may do anything but mend
        return None


def _holds_elsewhere(check: Check, code: Code, paths: list[Path]) -> bool:
    """Whether the edit mends the gradients at another point too, with other gradients of the outputs."""
    other = check.elsewhere()
    if other is None:
        return True
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            other.gradients = other.said_by(lambda original: rebuilt(code, original))
            return all(other.holds(path) for path in paths)
    except Exception:  # noqa: BLE001 - as above
        return False


def _near(value: Any, d: Array) -> bool:
    g = numbers_in(value)
    if g is None or g.shape != d.shape:
        return False
    return bool((np.abs(g - d) <= NEAR * max(float(np.abs(d).max(initial=0.0)), 1e-300)).all())


def _backward_of(function: Function, result: Result) -> Any:
    """The function whose source has the derivation."""
    if function.form == "closure":
        return result.rest
    if function.form == "object":
        return type(function.f).backward
    return function.f if function.form == "loss" else function.backward

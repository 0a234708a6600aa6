"""The source of a function: its tree, and the function that an edited tree says."""

import ast
import inspect
import textwrap
import types
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from minirnn.testing.functions.leaves import unshared

LONGEST = 400  # lines of a function that is looked into
PATIENCE = 20_000  # turns of all loops of an edited function, which might never end
TURN = "_another_turn"  # what counts them


class Code(NamedTuple):
    """The source of a function: its tree, and the first line in its file."""

    tree: ast.Module
    first: int
    lines: list[str]


def code_of(function: Any) -> Code | None:
    """The source of a function or method, or None where Python does not have it."""
    function = plain(function)
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
    for node in ast.walk(tree):
        if isinstance(node, (ast.While, ast.For)):
            turn = ast.Expr(ast.Call(ast.Name(TURN, ast.Load()), [], []))
            node.body.insert(0, ast.fix_missing_locations(ast.copy_location(turn, node)))
    return Code(tree, first, lines)


def plain(function: Any) -> Any:
    """The function of a method, without decorators."""
    return inspect.unwrap(getattr(function, "__func__", function))


def attributes_of(one: Any) -> list[str]:
    """Attributes of an object that are arrays, as its methods write them; gradients come last."""
    names = [name for name, value in vars(one).items() if isinstance(value, np.ndarray)]
    return [f"self.{name}" for name in sorted(names, key=lambda name: name[:1] == "d")]


def compiled(code: Code) -> types.CodeType:
    """An edited tree, compiled."""
    return compile(code.tree, "<an edit>", "exec")


def rebuilt(program: types.CodeType, original: Any, more: Mapping[str, Any]) -> Callable[..., Any]:
    """The function that a program defines, with the globals, defaults and enclosed variables of ``original``."""
    original = plain(original)
    space = {**surroundings(original), **more}
    before = set(space)
    exec(program, space)  # noqa: S102 - the user's own function, but for an edit
    name = original.__name__
    new = space[name if name in space else next(iter(set(space) - before - {"__builtins__"}))]
    assert isinstance(new, types.FunctionType)
    new.__defaults__, new.__kwdefaults__ = original.__defaults__, original.__kwdefaults__
    return new


def surroundings(original: types.FunctionType) -> dict[str, Any]:
    """What a function sees: its globals, and the variables that enclose it."""
    space = dict(original.__globals__)
    for name, cell in zip(original.__code__.co_freevars, original.__closure__ or (), strict=True):
        space[name] = unshared(cell.cell_contents)  # an edit may write to it
    turns = count()

    def another_turn() -> None:
        if next(turns) > PATIENCE:
            raise RecursionError("it does not end")

    space[TURN] = another_turn
    return space

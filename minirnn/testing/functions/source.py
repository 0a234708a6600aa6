"""The source of a function: its tree, what stands in it, and the function that an edited tree says."""

import ast
import inspect
import textwrap
import types
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, count
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
        elif id(node) not in called and _is_operand(node):
            operands.setdefault(ast.unparse(node))
    containers = set(_containers(definition))  # a list within itself is a thing without an end
    return [text for text in operands if text.partition("[")[0] not in containers]


def _is_operand(node: ast.AST) -> bool:
    """Whether a node is an attribute of self, an entry, or a call of a method without arguments."""
    if isinstance(node, ast.Attribute):
        return isinstance(node.value, ast.Name) and node.value.id == "self"
    if isinstance(node, ast.Call):
        return not node.args and not node.keywords and ast.unparse(node.func).startswith("self.")
    return isinstance(node, ast.Subscript) and isinstance(node.slice, (ast.Constant, ast.Name))


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

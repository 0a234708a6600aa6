"""A function made again from its source, with some of its expressions replaced."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import TypeAlias

import numpy as np

from minirnn.testing.recording import Function, Recorded, Value

COPY = "__copy__"
Fill: TypeAlias = Callable[[str, int], Value]  # the value of a variable that is not filled in, by its name and line


def definition_of(function: Function) -> ast.FunctionDef | None:
    """The syntax tree of a function, with the line numbers of its file; None without its source."""
    plain = getattr(function, "__func__", function)
    if not isinstance(plain, FunctionType):
        return None
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(plain)))
    except (OSError, TypeError, SyntaxError):
        return None
    ast.increment_lineno(tree, plain.__code__.co_firstlineno - 1)
    definition = tree.body[0]
    if not isinstance(definition, ast.FunctionDef):
        return None
    definition.decorator_list = []
    return definition


def compiled(definition: ast.FunctionDef, function: Function, extra: dict[str, object]) -> Function:
    """The function of ``definition``, in the place of ``function``: with its globals, and ``extra`` beside them."""
    plain = getattr(function, "__func__", function)
    names = dict(plain.__globals__) | extra
    names |= {
        name: cell.cell_contents for name, cell in zip(plain.__code__.co_freevars, plain.__closure__ or (), strict=True)
    }
    tree = ast.fix_missing_locations(ast.Module([definition], []))
    code = compile(tree, plain.__code__.co_filename, "exec")
    exec(code, names)  # noqa: S102 - the reader's own function, run as it was written
    new = names[plain.__name__]
    return MethodType(new, function.__self__) if isinstance(function, MethodType) else new


class _Copies(ast.NodeTransformer):
    """A copy in the place of every variable that is assigned to another: ``da = dh`` is a line of its own then."""

    def __init__(self, changed: set[str]) -> None:
        self.changed = changed

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        (target, *others) = node.targets
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            if len(target.elts) == len(node.value.elts):
                pairs = zip(target.elts, node.value.elts, strict=True)
                node.value.elts = [self._copied(t, v) for t, v in pairs]
        elif not others:
            node.value = self._copied(target, node.value)
        return node

    def _copied(self, target: ast.expr, value: ast.expr) -> ast.expr:
        if not (isinstance(target, ast.Name) and isinstance(value, ast.Name)) or target.id in self.changed:
            return value
        call = ast.Call(ast.Name(COPY, ast.Load()), [value], [])
        return ast.copy_location(call, value)


def copying(definition: ast.FunctionDef) -> ast.FunctionDef:
    """The same function, in which two variables are never one array; those changed in place are left as they are."""
    changed: set[str] = set()
    for node in ast.walk(definition):
        if isinstance(node, ast.AugAssign) or (isinstance(node, ast.keyword) and node.arg == "out"):
            place = node.target if isinstance(node, ast.AugAssign) else node.value
            changed |= {name.id for name in ast.walk(place) if isinstance(name, ast.Name)}
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            changed |= {name.id for name in ast.walk(node.value) if isinstance(name, ast.Name)}
    new: ast.FunctionDef = _Copies(changed).visit(definition)
    return new


def copy(value: Value) -> Value:
    """A recorded array as another node of its record; anything else as it is."""
    return +value if isinstance(value, Recorded) and value.dtype.kind == "f" else value


def with_copies(function: Function, arguments: Value) -> Function:
    """``function`` in which two variables are never one array, if it then returns the same for ``arguments``."""
    definition = definition_of(function)
    if definition is None:
        return function
    try:
        new: Function = compiled(copying(definition), function, {COPY: copy})
        same = _same(new(*_fresh(arguments)), function(*_fresh(arguments)))
    except Exception:  # noqa: BLE001 - the reader's function is recorded as it is, and raises there what it raises
        return function
    return new if same else function


def _fresh(value: Value) -> Value:
    return tuple(map(_fresh, value)) if isinstance(value, tuple) else np.array(value)


def _same(a: Value, b: Value) -> bool:
    if isinstance(a, (tuple, list)):
        return isinstance(b, (tuple, list)) and len(a) == len(b) and all(map(_same, a, b))
    return a is b or (a is not None and b is not None and bool(np.array_equal(a, b, equal_nan=True)))

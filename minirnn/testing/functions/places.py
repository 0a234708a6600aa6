"""The statements and expressions of a function, and what an edit puts in their place."""

import ast
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

REDUCED = ("sum", "mean", "max")
QUANTITIES = (ast.Name, ast.Attribute, ast.Subscript)
NAME = re.compile(r"[A-Za-z_][A-Za-z_.]*|'[^']*'")
MODULES = ("np", "numpy", "xp")

Replacement: TypeAlias = tuple[float, str, str, ast.AST]  # the cost, the pattern, words, what is put there


class Edit(NamedTuple):
    """An edit: how far-fetched it is, the pattern it mends, in words, its line, and what is put where."""

    cost: float
    pattern: str
    words: str
    line: int
    nodes: tuple[tuple[Any, str, Any], ...]  # a node, its field, and what is put there
    free: bool = False  # there is a number in it that is still to be found

    def apply(self) -> Callable[[], None]:
        """Put the new parts in; what is returned puts the old ones back."""
        before = [(node, name, getattr(node, name)) for node, name, _ in self.nodes]
        for node, name, value in self.nodes:
            setattr(node, name, value)
            for part in value if isinstance(value, list) else [value]:
                for new in ast.walk(part) if isinstance(part, ast.AST) else ():
                    if isinstance(new, (ast.expr, ast.stmt, ast.keyword)) and not hasattr(new, "col_offset"):
                        new.lineno = new.end_lineno = max(1, self.line)
                        new.col_offset = new.end_col_offset = 0

        def undo() -> None:
            for node, name, value in reversed(before):
                setattr(node, name, value)

        return undo


class Place(NamedTuple):
    """A node, its field in its parent, and the place in it if that is a list."""

    node: ast.AST
    parent: ast.AST
    field: str
    at: int | None
    inside: bool  # what stands between brackets

    def change(self, new: ast.AST) -> tuple[ast.AST, str, Any]:
        """What puts ``new`` in the place of the node."""
        if self.at is None:
            return self.parent, self.field, new
        several = getattr(self.parent, self.field)
        return self.parent, self.field, [*several[: self.at], new, *several[self.at + 1 :]]

    @property
    def is_whole(self) -> bool:
        """Whether the node is all that is assigned or returned, or an element of a tuple, list or dict."""
        if isinstance(self.node, (ast.Tuple, ast.List, ast.Dict, ast.Slice, ast.Starred)) or self.inside:
            return False
        if isinstance(self.parent, (ast.Assign, ast.AugAssign, ast.Return)):
            return self.field == "value"
        return isinstance(self.parent, (ast.Tuple, ast.List, ast.Dict)) and not isinstance(self.node, ast.Constant)

    @property
    def is_argument(self) -> bool:
        """Whether the node is what a function or a method is called with, or an array of which a sum is taken."""
        if isinstance(self.parent, ast.Attribute):
            return self.parent.attr in REDUCED and text_of(self.node) not in MODULES
        return isinstance(self.parent, ast.Call) and self.field == "args"

    @property
    def is_axis(self) -> bool:
        """Whether the node is the axis that a call is told."""
        if isinstance(self.parent, ast.keyword):
            return self.parent.arg == "axis"
        function = self.parent.func if isinstance(self.parent, ast.Call) and self.field == "args" else None
        return isinstance(function, ast.Attribute) and function.attr in REDUCED and _is_int(self.node)


def statements_of(tree: ast.Module) -> list[Place]:
    """Every statement of a function, in the order of its lines."""
    found: list[Place] = []

    def visit(parent: ast.AST) -> None:
        for name, value in ast.iter_fields(parent):
            for k, one in enumerate(value) if isinstance(value, list) else ():
                if isinstance(one, ast.stmt):
                    found.append(Place(one, parent, name, k, inside=False))
                if isinstance(one, (ast.stmt, ast.ExceptHandler)):
                    visit(one)

    visit(tree.body[0])
    return found


def places_in(statement: Place) -> list[Place]:
    """A statement and the expressions in it, but not the statements within it."""
    places = [statement]

    def visit(parent: ast.AST, *, index: bool) -> None:
        for name, value in ast.iter_fields(parent):
            if isinstance(parent, ast.FunctionDef):
                continue
            inside = index or (isinstance(parent, ast.Subscript) and name == "slice")
            for k, one in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(one, ast.expr):
                    places.append(Place(one, parent, name, k, inside))
                if isinstance(one, ast.AST) and not isinstance(one, ast.stmt):
                    visit(one, index=inside)

    visit(statement.node, index=False)
    return places


def nodes_in(statement: Place) -> Iterator[ast.AST]:
    """The nodes of a statement, but not those of statements within it."""
    pending: list[ast.AST] = [statement.node]
    while pending:
        node = pending.pop(0)
        yield node
        pending += [one for one in ast.iter_child_nodes(node) if not isinstance(one, ast.stmt)]


def _is_int(node: ast.AST) -> bool:
    node = node.operand if isinstance(node, ast.UnaryOp) else node
    return isinstance(node, ast.Constant) and isinstance(node.value, int)


def text_of(node: ast.AST) -> str:
    """A node as a line of Python."""
    return ast.unparse(node)


def form_of(statement: ast.AST) -> str:
    """A statement without its names and numbers, as far as it is one line."""
    if not isinstance(statement, (ast.Assign, ast.AugAssign)):
        return ""
    return NAME.sub("_", f"{type(statement).__name__} {text_of(statement.value)}")


def index_of(node: ast.Subscript) -> str:
    """What stands in the brackets."""
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    return ", ".join(map(text_of, parts))


def parsed(text: str) -> ast.expr:
    """An expression."""
    return ast.parse(text, mode="eval").body


def transposed(node: ast.expr) -> ast.expr:
    """``x.T`` of x, and x of ``x.T``."""
    if isinstance(node, ast.Attribute) and node.attr == "T":
        return node.value
    return ast.Attribute(node, "T", ast.Load())


def is_gradient(name: str) -> bool:
    """Whether a name is one that gradients have."""
    return name.removeprefix("self.").startswith(("d", "grad"))

"""Edits of a function's source beside those of ``functions.edits``: products and terms in calls, squares."""

import ast
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from minirnn.testing.functions.faults import EARLIER, FACTOR, SWAPPED, TERM, TRANSPOSED

PRODUCTS = ("dot", "matmul", "outer")


class Swap(NamedTuple):
    """An edit of several nodes at once."""

    cost: float
    pattern: str
    words: str
    line: int
    nodes: tuple[tuple[Any, str, Any], ...]  # a node, its field, and what is put there

    def apply(self) -> Callable[[], None]:
        """Put the new parts in; what is returned puts the old ones back."""
        before = [(node, name, getattr(node, name)) for node, name, _ in self.nodes]
        for node, name, value in self.nodes:
            setattr(node, name, value)
            for part in value if isinstance(value, list) else [value]:
                for new in ast.walk(part) if isinstance(part, ast.AST) else ():
                    if isinstance(new, (ast.expr, ast.stmt)) and not hasattr(new, "lineno"):
                        new.lineno = new.end_lineno = max(1, self.line)
                        new.col_offset = new.end_col_offset = 0

        def undo() -> None:
            for node, name, value in before:
                setattr(node, name, value)

        return undo


def more(tree: ast.Module, operands: Sequence[str]) -> Iterator[Swap]:
    """Transposed factors of ``dot``, their order, squares, and terms and factors within calls and lines."""
    names = [name for name in operands if name.isidentifier() or name.startswith(("self.", "parameters["))]
    yield from _renamed(tree, names)
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute) and node.func.attr in PRODUCTS:
                yield from _product(node, line)
            for k, part in enumerate(node.args):
                if isinstance(part, (ast.BinOp, ast.Name, ast.Call, ast.Subscript)):
                    for words, pattern, cost, new in _extended(part, names):
                        args = [*node.args[:k], new, *node.args[k + 1 :]]
                        yield Swap(cost, pattern, words, line, ((node, "args", args),))
        if isinstance(node, ast.Subscript):
            yield from _blocks(node, line)
            yield from _steps(tree, node, line)
        if isinstance(node, (ast.BinOp, ast.Assign)):
            yield from _wrapped(tree, node, names, line)
        if isinstance(node, ast.BinOp):
            for side in ("left", "right"):
                part = getattr(node, side)
                if isinstance(part, (ast.Name, ast.Attribute)) and not isinstance(node.op, (ast.Pow, ast.MatMult)):
                    squared = ast.BinOp(part, ast.Pow(), ast.Constant(2))
                    words = f"{ast.unparse(part)} must be squared"
                    yield Swap(0.9, FACTOR, words, line, ((node, side, squared),))
        if isinstance(node, (ast.Assign, ast.AugAssign)):
            for name in names:
                times = ast.BinOp(node.value, ast.Mult(), _parsed(name))
                yield Swap(1.1, FACTOR, f"the factor {name} is missing", line, ((node, "value", times),))
                plus = ast.BinOp(node.value, ast.Add(), _parsed(name))
                yield Swap(1.2, TERM, f"the term {name} is missing", line, ((node, "value", plus),))
                factor = _parsed(f"{name}[:, None]")
                new_value = ast.BinOp(node.value, ast.Mult(), factor)
                words = f"the factor {ast.unparse(factor)} is missing"
                yield Swap(1.9, FACTOR, words, line, ((node, "value", new_value),))


def _renamed(tree: ast.Module, names: Sequence[str]) -> Iterator[Swap]:
    """A name for another, wherever one is read."""
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            if isinstance(parent, ast.Call) and field == "func":
                continue
            for k, node in enumerate(value) if isinstance(value, list) else [(-1, value)]:
                if not isinstance(node, (ast.Name, ast.Attribute)) or not isinstance(node.ctx, ast.Load):
                    continue
                text = ast.unparse(node)
                for other in names if text in names else ():
                    if other != text:
                        new: Any = _parsed(other)
                        if k >= 0:
                            new = [*value[:k], new, *value[k + 1 :]]
                        words = f"{other} belongs where {text} stands"
                        yield Swap(1.25 + 0.01 * (k >= 0), FACTOR, words, node.lineno, ((parent, field, new),))


def _blocks(node: ast.Subscript, line: int) -> Iterator[Swap]:
    """Another block of columns: that of another gate."""
    text = ast.unparse(node.slice)
    size = next((one.id for one in ast.walk(node.slice) if isinstance(one, ast.Name)), "")
    if ":" not in text or not size:
        return
    lead = ":, " if text.replace(" ", "").strip("()").startswith(":,") else ""
    for k in range(4):
        new = _parsed(f"a[{lead}{k} * {size}:{k + 1} * {size}]")
        assert isinstance(new, ast.Subscript)
        words = f"block {k} belongs where [{text}] stands"
        yield Swap(0.9, SWAPPED, words, line, ((node, "slice", new.slice),))


def _steps(tree: ast.Module, node: ast.Subscript, line: int) -> Iterator[Swap]:
    """The step of a loop in place of another index."""
    loops = {one.target.id for one in ast.walk(tree) if isinstance(one, ast.For) and isinstance(one.target, ast.Name)}
    whole = isinstance(node.slice, ast.Tuple)
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    for k, part in enumerate(parts):
        if not isinstance(part, ast.Slice):
            for name in sorted(loops - {ast.unparse(part)}):
                places = [*parts[:k], ast.Name(name, ast.Load()), *parts[k + 1 :]]
                index: ast.expr = ast.Tuple(places, ast.Load()) if whole else places[0]
                words = f"{name} belongs where {ast.unparse(part)} stands"
                yield Swap(0.9, EARLIER, words, line, ((node, "slice", index),))


def _wrapped(tree: ast.Module, node: ast.BinOp | ast.Assign, names: Sequence[str], line: int) -> Iterator[Swap]:
    """A function of an operand, or an operand times another, in place of the operand."""
    functions = {ast.unparse(one.func) for one in ast.walk(tree) if isinstance(one, ast.Call)} & {"sigmoid", "softmax"}
    for side in ("left", "right") if isinstance(node, ast.BinOp) else ("value",):
        part = getattr(node, side)
        if not isinstance(part, (ast.Name, ast.Attribute)):
            continue
        for function in ("np.tanh", *sorted(functions)):
            words = f"{function} of {ast.unparse(part)} is needed"
            yield Swap(1.0, FACTOR, words, line, ((node, side, _parsed(f"{function}({ast.unparse(part)})")),))
        for name in names if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub, ast.Mult)) else ():
            new = ast.BinOp(part, ast.Mult(), _parsed(name))
            yield Swap(1.5, FACTOR, f"the factor {name} is missing", line, ((node, side, new),))


def _product(node: ast.Call, line: int) -> Iterator[Swap]:
    """Factors transposed, one for the other."""
    function = node.func
    assert isinstance(function, ast.Attribute)
    plain = isinstance(function.value, ast.Name) and function.value.id in ("np", "numpy")
    factors = list(node.args) if plain else [function.value, *node.args]
    if len(factors) != 2:
        return
    one, other = factors
    for left, right in (
        (one, _turned(other)),
        (_turned(one), other),
        (_turned(other), _turned(one)),
        (other, one),
        (other, _turned(one)),
        (_turned(other), one),
    ):
        if plain:
            change: tuple[Any, str, Any] = (node, "args", [left, right])
            nodes: tuple[tuple[Any, str, Any], ...] = (change,)
        else:
            nodes = ((node, "args", [right]), (node, "func", ast.Attribute(left, function.attr, ast.Load())))
        words = f"{ast.unparse(left)} times {ast.unparse(right)} is needed"
        yield Swap(0.7, TRANSPOSED, words, line, nodes)


def _extended(part: ast.expr, names: Sequence[str]) -> Iterator[tuple[str, str, float, ast.expr]]:
    """An argument of a call with one more term or factor."""
    for name in names:
        if name != ast.unparse(part):
            yield f"the term {name} is missing", TERM, 0.8, ast.BinOp(part, ast.Add(), _parsed(name))
            yield f"the factor {name} is missing", FACTOR, 1.7, ast.BinOp(_parsed(name), ast.Mult(), part)


def _turned(node: ast.expr) -> ast.expr:
    if isinstance(node, ast.Attribute) and node.attr == "T":
        return node.value
    return ast.Attribute(node, "T", ast.Load())


def _parsed(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body

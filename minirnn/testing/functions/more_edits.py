"""Edits of a function's source beside those of ``functions.edits``: products and terms in calls, squares."""

import ast
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from minirnn.testing.functions.edits import REDUCED
from minirnn.testing.functions.faults import EARLIER, FACTOR, SWAPPED, TERM, TRANSPOSED
from minirnn.testing.functions.places import Edit, Place, is_gradient, nodes_in, parsed, places_in, transposed

PRODUCTS = ("dot", "matmul", "outer")
PARTS = (ast.BinOp, ast.Name, ast.Call, ast.Subscript)
BUILT_IN = {"range", "len", "reversed", "list", "enumerate", "zip", "dict", "tuple", "sorted", "set"}


def more(statement: Place, operands: Sequence[str], loops: Sequence[str], called: AbstractSet[str]) -> Iterator[Edit]:
    """Transposed factors of ``dot``, their order, squares, and terms and factors within calls and lines.

    ``called`` are the functions that the whole function calls.
    """
    names = [name for name in operands if name.isidentifier() or name.startswith("self.") or "['" in name]
    yield from _throughout(statement, names)
    yield from _carried(statement.node, names)
    for node in nodes_in(statement):
        yield from _renamed(node, names)
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute) and node.func.attr in PRODUCTS:
                yield from _product(node, line)
            for k, part in enumerate(node.args):
                if isinstance(part, PARTS):
                    for words, pattern, cost, new in _extended(part, names):
                        args = [*node.args[:k], new, *node.args[k + 1 :]]
                        yield Edit(cost, pattern, words, line, ((node, "args", args),))
            of = node.func.value if isinstance(node.func, ast.Attribute) and node.func.attr in REDUCED else None
            if isinstance(of, PARTS) and ast.unparse(of) not in ("np", "numpy"):
                for words, pattern, cost, new in _extended(of, names):
                    yield Edit(cost, pattern, words, line, ((node.func, "value", new),))
        if isinstance(node, ast.Subscript):
            yield from _blocks(node, line)
            yield from _steps(loops, node, line)
            yield from _before(statement, node, operands)
        if isinstance(node, (ast.BinOp, ast.Assign)):
            yield from _wrapped(called, node, names, line)
        if isinstance(node, ast.BinOp):
            for side in ("left", "right"):
                part = getattr(node, side)
                if isinstance(part, (ast.Name, ast.Attribute)) and not isinstance(node.op, (ast.Pow, ast.MatMult)):
                    squared = ast.BinOp(part, ast.Pow(), ast.Constant(2))
                    words = f"{ast.unparse(part)} must be squared"
                    yield Edit(0.9, FACTOR, words, line, ((node, side, squared),))
        if isinstance(node, (ast.Assign, ast.AugAssign)):
            for name in names:
                times = ast.BinOp(node.value, ast.Mult(), parsed(name))
                yield Edit(1.1, FACTOR, f"the factor {name} is missing", line, ((node, "value", times),))
                plus = ast.BinOp(node.value, ast.Add(), parsed(name))
                yield Edit(1.2, TERM, f"the term {name} is missing", line, ((node, "value", plus),))
                factor = parsed(f"{name}[:, None]")
                new_value = ast.BinOp(node.value, ast.Mult(), factor)
                words = f"the factor {ast.unparse(factor)} is missing"
                yield Edit(1.9, FACTOR, words, line, ((node, "value", new_value),))


def _renamed(parent: ast.AST, names: Sequence[str]) -> Iterator[Edit]:
    """A name for another, wherever one is read."""
    for field, value in ast.iter_fields(parent):
        if isinstance(parent, ast.Call) and field == "func":
            continue
        for k, node in enumerate(value) if isinstance(value, list) else [(-1, value)]:
            if not isinstance(node, (ast.Name, ast.Attribute)) or not isinstance(node.ctx, ast.Load):
                continue
            text = ast.unparse(node)
            for other in names if text in names else ():
                if other != text:
                    new: Any = parsed(other)
                    if k >= 0:
                        new = [*value[:k], new, *value[k + 1 :]]
                    words = f"{other} belongs where {text} stands"
                    yield Edit(1.25 + 0.01 * (k >= 0), FACTOR, words, node.lineno, ((parent, field, new),))


def _throughout(statement: Place, names: Sequence[str]) -> Iterator[Edit]:
    """A name for another, in all places where a statement reads it."""
    read: dict[str, list[ast.Name]] = {}
    for node in nodes_in(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names:
            read.setdefault(node.id, []).append(node)
    for name, nodes in read.items():
        for other in names if len(nodes) > 1 else ():
            if other != name and other.isidentifier():
                words = f"{other} belongs where {name} stands"
                yield Edit(1.3, FACTOR, words, nodes[0].lineno, tuple((node, "id", other) for node in nodes))


def _carried(loop: ast.AST, names: Sequence[str]) -> Iterator[Edit]:
    """A line that is missing at the end of a loop: a factor of a gradient that the next turn begins with."""
    if not isinstance(loop, ast.For):
        return
    stored = {one.id for one in ast.walk(loop) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
    for name in sorted(one for one in stored if is_gradient(one)):
        for other in names:
            if other != name:
                text = f"{name} = {name} * {other}"
                body = [*loop.body, *ast.parse(text).body]
                line = (loop.end_lineno or loop.lineno) + 1
                yield Edit(2.3, FACTOR, f"a line is missing: {text}", line, ((loop, "body", body),))


def _before(statement: Place, node: ast.Subscript, operands: Sequence[str]) -> Iterator[Edit]:
    """An array at the step before, and another one at the first step."""
    if not isinstance(node.ctx, ast.Load) or isinstance(node.slice, (ast.Slice, ast.Tuple, ast.Constant)):
        return
    value, index = ast.unparse(node.value), ast.unparse(node.slice).removesuffix(" - 1")
    for first in (name for name in operands if name[-1:] == "0" or "init" in name or "prev" in name):
        words = f"{value} of the step before belongs there, at the first step {first}"
        new = parsed(f"({value}[{index} - 1] if {index} else {first})")
        for place in (one for one in places_in(statement) if one.node is node):
            yield Edit(1.1, EARLIER, words, node.lineno, (place.change(new),))


def _blocks(node: ast.Subscript, line: int) -> Iterator[Edit]:
    """Another block of columns: that of another gate."""
    text = ast.unparse(node.slice)
    size = next((one.id for one in ast.walk(node.slice) if isinstance(one, ast.Name)), "")
    if ":" not in text or not size:
        return
    lead = ":, " if text.replace(" ", "").strip("()").startswith(":,") else ""
    for k in range(4):
        new = parsed(f"a[{lead}{k} * {size}:{k + 1} * {size}]")
        assert isinstance(new, ast.Subscript)
        words = f"block {k} belongs where [{text}] stands"
        yield Edit(0.9, SWAPPED, words, line, ((node, "slice", new.slice),))


def _steps(loops: Sequence[str], node: ast.Subscript, line: int) -> Iterator[Edit]:
    """The step of a loop in place of another index."""
    whole = isinstance(node.slice, ast.Tuple)
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    for k, part in enumerate(parts):
        if not isinstance(part, ast.Slice):
            for name in (one for one in loops if one != ast.unparse(part)):
                places = [*parts[:k], ast.Name(name, ast.Load()), *parts[k + 1 :]]
                index: ast.expr = ast.Tuple(places, ast.Load()) if whole else places[0]
                words = f"{name} belongs where {ast.unparse(part)} stands"
                yield Edit(0.9, EARLIER, words, line, ((node, "slice", index),))


def _wrapped(called: AbstractSet[str], node: ast.BinOp | ast.Assign, names: Sequence[str], line: int) -> Iterator[Edit]:
    """A function of an operand, or an operand times another, in place of the operand."""
    functions = {name for name in called if "." not in name} - BUILT_IN
    for side in ("left", "right") if isinstance(node, ast.BinOp) else ("value",):
        part = getattr(node, side)
        if not isinstance(part, (ast.Name, ast.Attribute, ast.Subscript)):
            continue
        for function in ("np.tanh", *sorted(functions)):
            words = f"{function} of {ast.unparse(part)} is needed"
            yield Edit(1.0, FACTOR, words, line, ((node, side, parsed(f"{function}({ast.unparse(part)})")),))
        for name in names if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub, ast.Mult)) else ():
            new = ast.BinOp(part, ast.Mult(), parsed(name))
            yield Edit(1.5, FACTOR, f"the factor {name} is missing", line, ((node, side, new),))


def _product(node: ast.Call, line: int) -> Iterator[Edit]:
    """Factors transposed, one for the other."""
    function = node.func
    assert isinstance(function, ast.Attribute)
    plain = isinstance(function.value, ast.Name) and function.value.id in ("np", "numpy")
    factors = list(node.args) if plain else [function.value, *node.args]
    if len(factors) != 2:
        return
    one, other = factors
    for left, right in (
        (one, transposed(other)),
        (transposed(one), other),
        (transposed(other), transposed(one)),
        (other, one),
        (other, transposed(one)),
        (transposed(other), one),
    ):
        if plain:
            change: tuple[Any, str, Any] = (node, "args", [left, right])
            nodes: tuple[tuple[Any, str, Any], ...] = (change,)
        else:
            nodes = ((node, "args", [right]), (node, "func", ast.Attribute(left, function.attr, ast.Load())))
        words = f"{ast.unparse(left)} times {ast.unparse(right)} is needed"
        yield Edit(0.7, TRANSPOSED, words, line, nodes)


def _extended(part: ast.expr, names: Sequence[str]) -> Iterator[tuple[str, str, float, ast.expr]]:
    """An argument of a call with one more term or factor."""
    for name in names:
        if name != ast.unparse(part):
            yield f"the term {name} is missing", TERM, 1.21, ast.BinOp(part, ast.Add(), parsed(name))
            yield f"the factor {name} is missing", FACTOR, 1.7, ast.BinOp(parsed(name), ast.Mult(), part)

"""Small edits of a function's source: what an author would change to mend a usual mistake.

Each edit replaces one node of the syntax tree, knows its line, and the pattern of the mistake that it would mend.  They
come from the likeliest to the most far-fetched.
"""

import ast
import copy
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from minirnn.testing.functions.faults import (
    AXIS,
    EARLIER,
    FACTOR,
    MEAN,
    OVERWRITTEN,
    SHAPE,
    SIGN,
    SWAPPED,
    TERM,
    TRANSPOSED,
    UNSUMMED,
)
from minirnn.testing.functions.parts import loops_in, parts_of_formulas

Node: TypeAlias = ast.AST
FORMS = ("{}", "(1 - {})", "(1 - {} ** 2)", "{0} * (1 - {0})", "(1 - {0}) * {0}", "{} ** 2", "1 / {}", "2 * {}")
SUMS = (
    "sum(axis=0)",
    "sum(axis=-1)",
    "sum()",
    "sum(axis=1)",
    "sum(axis=(0, 1))",
    "sum(axis=-1, keepdims=True)",
    "sum(axis=0, keepdims=True)",
)
AXES = (0, 1, -1, 2)
REDUCED = ("sum", "mean", "max")
NUMBERS = (1, 2, 0.5, 0, -1, 3)


FREE = "_number_to_be_found"
NUMBER = "<number>"  # and in the words


class Edit(NamedTuple):
    """One replacement: how far-fetched it is, the pattern it mends, in words, the line, and the tree afterwards."""

    cost: float
    pattern: str
    words: str
    line: int
    place: "Place"
    new: ast.AST
    free: bool = False  # ``FREE`` is in it, a number that is still to be found

    def apply(self) -> Callable[[], None]:
        """Put the new node where the old one is; what is returned puts that back."""
        for node in ast.walk(self.new):
            if isinstance(node, (ast.expr, ast.stmt, ast.keyword)):
                node.lineno = node.end_lineno = max(1, self.line)
                node.col_offset = node.end_col_offset = 0
        self.place.put(self.new)
        return lambda: self.place.put(self.place.node)


class Place(NamedTuple):
    """A node, its field in its parent, and the place in it if that is a list."""

    node: Node
    parent: Node
    field: str
    at: int | None
    inside: bool  # what stands between brackets

    def put(self, new: Node) -> None:
        """Replace what stands here."""
        if self.at is None:
            setattr(self.parent, self.field, new)
        else:
            getattr(self.parent, self.field)[self.at] = new


def edits_of(tree: ast.Module, operands: Sequence[str]) -> list[Edit]:
    """All edits of a function, the likeliest first; ``operands`` are expressions that its lines may use."""
    found: list[Edit] = []
    loops = loops_in(tree)
    for place in places_of(tree):
        try:
            several = [*replacements(place, operands), *parts_of_formulas(place.node, operands, loops)]
        except (SyntaxError, IndexError):  # no plain formula: an index within an index, a sum of nothing
            continue
        for cost, pattern, words, new in several:
            line = getattr(place.node, "lineno", 0)
            if place.inside and pattern in (SIGN, TERM, FACTOR):
                index = f"another index belongs there: {_text(new)} where {_text(place.node)} stands"
                found.append(Edit(cost, EARLIER, index, line, place, new))
            else:
                found.append(Edit(cost, pattern, words, line, place, new))
    found += _with_numbers(tree, operands)
    return sorted(found, key=lambda edit: edit.cost)


def _with_numbers(tree: ast.Module, operands: Sequence[str]) -> Iterator[Edit]:
    """Edits with a number that is still to be found: a factor of a part, the factor of a term that is missing."""
    free = ast.Name(FREE, ast.Load())
    gradients = [name for name in operands if _is_gradient(name)]
    for place in places_of(tree):
        node, parent = place.node, place.parent
        if place.inside or not isinstance(node, ast.expr) or isinstance(node, (ast.Tuple, ast.Dict, ast.Constant)):
            continue
        line = getattr(node, "lineno", 0)
        if isinstance(parent, ast.BinOp) and not isinstance(parent.op, ast.Pow):
            words = f"{_text(node)} must be {NUMBER} times as large"
            yield Edit(3.4, FACTOR, words, line, place, ast.BinOp(free, ast.Mult(), node), free=True)
        if isinstance(parent, (ast.Assign, ast.AugAssign, ast.Return)) and place.field == "value":
            for one in gradients:
                yield _term(place, free, one, line, 3.6)
                for other in operands:
                    if other != one:
                        yield _term(place, free, f"{one} * {other}", line, 3.8)


def _term(place: Place, free: ast.expr, text: str, line: int, cost: float) -> Edit:
    term = ast.BinOp(free, ast.Mult(), _parsed(text))
    assert isinstance(place.node, ast.expr)
    new = ast.BinOp(place.node, ast.Add(), term)
    return Edit(cost, TERM, f"the term {NUMBER} {text} is missing", line, place, new, free=True)


def _is_gradient(name: str) -> bool:
    return name.removeprefix("self.").startswith(("d", "grad"))


def places_of(tree: ast.Module) -> list[Place]:
    """Every statement and expression of a function's body, with where it stands."""
    places: list[Place] = []

    def visit(parent: Node, *, index: bool) -> None:
        for name, value in ast.iter_fields(parent):
            if isinstance(parent, ast.FunctionDef) and name != "body":
                continue
            inside = index or (isinstance(parent, ast.Subscript) and name == "slice")
            for k, one in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(one, (ast.expr, ast.stmt)):
                    places.append(Place(one, parent, name, k, inside))
                if isinstance(one, ast.AST):
                    visit(one, index=inside)

    visit(tree.body[0], index=False)
    return places


Replacement = tuple[float, str, str, Node]


def replacements(place: Place, operands: Sequence[str]) -> Iterator[Replacement]:
    """Everything that may stand where a node does."""
    node = place.node
    if isinstance(node, ast.stmt):
        yield from _of_statement(node)
        if isinstance(node, (ast.Assign, ast.AugAssign, ast.Return)):
            return
        return
    if not isinstance(node, ast.expr) or not isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
        return
    if not _is_an_axis(node, place.parent):  # which is no value: another one is an edit of the call
        yield from _of_operator(node)
    yield from _of_call(node)
    yield from _of_subscript(node)
    yield from _of_number(node, place)
    yield from _of_name(node, place, operands)
    whole = isinstance(place.parent, (ast.Assign, ast.AugAssign, ast.Return)) or (
        isinstance(place.parent, (ast.Tuple, ast.Dict)) and not isinstance(node, ast.Constant)
    )
    if whole and not isinstance(node, (ast.Tuple, ast.Dict, ast.Slice, ast.Starred)):
        yield from _of_whole(node, operands)
    elif isinstance(place.parent, ast.BinOp):
        yield from _of_operand(node, operands)


# ---------------------------------------------------------------------- statements


def _of_statement(node: ast.stmt) -> Iterator[Replacement]:
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target = node.targets[0]
        if isinstance(target, (ast.Subscript, ast.Name, ast.Attribute)) and not isinstance(node.value, ast.Constant):
            plus = ast.AugAssign(copy.deepcopy(target), ast.Add(), node.value)
            yield 1.0, OVERWRITTEN, f"{_text(target)} must be added to: += in place of =", plus
    if isinstance(node, ast.AugAssign):
        if isinstance(node.op, (ast.Add, ast.Sub)):
            other = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
            yield 0.5, SIGN, "the sign is wrong", ast.AugAssign(node.target, other, node.value)
        plain = ast.Assign([copy.deepcopy(node.target)], node.value, lineno=node.lineno)
        yield 1.5, TERM, f"{_text(node.target)} must be assigned, not added to", plain
        if (
            isinstance(node.target, ast.Subscript)
            and isinstance(node.op, ast.Add)
            and ":" not in _text(node.target.slice)
        ):
            at = _parsed(f"np.add.at({_text(node.target.value)}, {_text(node.target.slice)}, {_text(node.value)})")
            yield 0.9, OVERWRITTEN, "an index that repeats is added to once: np.add.at adds every time", ast.Expr(at)
    if (
        isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Subscript)
        and ":" not in _text(node.targets[0].slice)
    ):
        target = node.targets[0]
        at = _parsed(f"np.add.at({_text(target.value)}, {_text(target.slice)}, {_text(node.value)})")
        yield 1.1, OVERWRITTEN, "an index that repeats must be added every time: np.add.at", ast.Expr(at)
    if isinstance(node, (ast.Assign, ast.AugAssign, ast.Expr, ast.Return)):
        yield from _without_slices(node)
    if isinstance(node, (ast.Assign, ast.AugAssign)) and not isinstance(node.value, ast.Tuple):
        yield 3.5 - 2.5 * isinstance(node.value, ast.Constant), TERM, "this line is one too many", ast.Pass()
    if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple) and len(node.value.elts) < 8:
        parts = node.value.elts
        for i in range(len(parts)):
            for j in range(i):
                order = list(parts)
                order[i], order[j] = order[j], order[i]
                words = f"{_text(parts[j])} and {_text(parts[i])} are returned in the wrong order"
                yield 0.8, SWAPPED, words, ast.Return(ast.Tuple(order, ast.Load()))


class _Without(ast.NodeTransformer):
    """A statement without one slice, wherever it stands."""

    def __init__(self, text: str) -> None:
        self.text = text

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        self.generic_visit(node)
        return node.value if _text(node.slice) == self.text else node


def _without_slices(node: ast.stmt) -> Iterator[Replacement]:
    """The statement on all of its arrays, where the same part of several is taken."""
    slices = [_text(one.slice) for one in ast.walk(node) if isinstance(one, ast.Subscript) and ":" in _text(one.slice)]
    for text in sorted({one for one in slices if slices.count(one) > 1}):
        whole = _Without(text).visit(copy.deepcopy(node))
        yield 0.9, TERM, f"only [{text}] is used, and all is needed", whole


# ---------------------------------------------------------------------- expressions


def _of_operator(node: Node) -> Iterator[Replacement]:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield 0.5, SIGN, "the sign is wrong", node.operand
    if isinstance(node, ast.BinOp):
        left, right = _text(node.left), _text(node.right)
        if isinstance(node.op, (ast.Add, ast.Sub)):
            other = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
            yield 0.5, SIGN, f"the sign of {right} is wrong", ast.BinOp(node.left, other, node.right)
            yield 1.2, TERM, f"the term {right} is one too many", node.left
            yield 1.3, TERM, f"the term {left} is one too many", node.right
        if isinstance(node.op, ast.Mult):
            yield 0.9, FACTOR, f"the factor {right} is one too many", node.left
            yield 0.9, FACTOR, f"the factor {left} is one too many", node.right
            yield 1.4, FACTOR, f"{right} must divide", ast.BinOp(node.left, ast.Div(), node.right)
        if isinstance(node.op, ast.Div):
            size = _is_size(node.right)
            pattern = MEAN if size else FACTOR
            yield 0.7, pattern, f"it must not be divided by {right}", node.left
            yield 1.4, FACTOR, f"{right} must multiply", ast.BinOp(node.left, ast.Mult(), node.right)
        if isinstance(node.op, ast.MatMult):
            swapped = ast.BinOp(_transposed(node.right), ast.MatMult(), _transposed(node.left))
            yield 0.8, TRANSPOSED, f"the transposed product is needed: {_text(swapped)}", swapped
            turned = ast.BinOp(node.right, ast.MatMult(), node.left)
            yield 1.5, TRANSPOSED, f"the product is the wrong way round: {_text(turned)}", turned
    if isinstance(node, ast.Attribute) and node.attr == "T":
        yield 0.6, TRANSPOSED, f"{_text(node.value)} must not be transposed", node.value
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        others: dict[type, ast.cmpop] = {ast.Gt: ast.Lt(), ast.Lt: ast.Gt(), ast.GtE: ast.Lt(), ast.LtE: ast.Gt()}
        other_op = others.get(type(node.ops[0]))
        if other_op is not None:
            yield (
                0.9,
                FACTOR,
                "the comparison is the wrong way round",
                ast.Compare(node.left, [other_op], node.comparators),
            )


def _is_an_axis(node: ast.expr, parent: Node) -> bool:
    """Whether a negative number is the axis that a call is told."""
    told = isinstance(parent, ast.keyword) and parent.arg == "axis"
    summed = isinstance(parent, ast.Call) and isinstance(parent.func, ast.Attribute) and parent.func.attr in REDUCED
    return isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant) and (told or summed)


def _of_call(node: Node) -> Iterator[Replacement]:
    if not isinstance(node, ast.Call):
        return
    function = node.func
    if isinstance(function, ast.Attribute) and function.attr in ("sum", "mean"):
        other = "sum" if function.attr == "mean" else "mean"
        new = ast.Call(ast.Attribute(function.value, other, ast.Load()), node.args, node.keywords)
        yield 0.4, MEAN, f"{other} in place of {function.attr}", new
        method = not (isinstance(function.value, ast.Name) and function.value.id in ("np", "numpy", "xp"))
        yield 1.6, SHAPE, f"{function.attr} must not be taken", function.value if method else node.args[0]
        for axis in AXES:
            keywords = [k for k in node.keywords if k.arg != "axis"]
            new = ast.Call(
                function,
                node.args[:0] if method else node.args[:1],
                [*keywords, ast.keyword("axis", ast.Constant(axis))],
            )
            yield 0.9, AXIS, f"the {function.attr} must be over axis {axis}", new
        if any(k.arg == "axis" for k in node.keywords):
            new = ast.Call(function, node.args, [k for k in node.keywords if k.arg != "axis"])
            yield 1.2, AXIS, f"the {function.attr} must be over all axes", new
    if any(k.arg == "keepdims" for k in node.keywords):
        new = ast.Call(function, node.args, [k for k in node.keywords if k.arg != "keepdims"])
        yield 1.0, SHAPE, "without keepdims", new
    elif isinstance(function, ast.Attribute) and function.attr in ("sum", "mean", "max"):
        new = ast.Call(function, node.args, [*node.keywords, ast.keyword("keepdims", ast.Constant(value=True))])
        yield 1.1, SHAPE, "with keepdims=True", new
    if isinstance(function, ast.Name) and function.id == "range":
        args = node.args
        if len(args) >= 2:
            yield 0.9, TERM, "the first steps are left out", ast.Call(function, [args[1], *args[2:]], [])
            more = ast.BinOp(args[0], ast.Sub(), ast.Constant(1))
            yield 1.0, TERM, "a step is left out at the start", ast.Call(function, [more, *args[1:]], [])
        for k, arg in enumerate(args):
            if isinstance(arg, ast.BinOp) and isinstance(arg.op, (ast.Sub, ast.Add)):
                new_args = [*args[:k], arg.left, *args[k + 1 :]]
                yield 0.9, TERM, "a step is left out", ast.Call(function, new_args, [])


def _of_subscript(node: Node) -> Iterator[Replacement]:
    if not isinstance(node, ast.Subscript):
        return
    where = node.slice
    if isinstance(where, ast.Slice) or (
        isinstance(where, ast.Tuple) and any(isinstance(e, ast.Slice) for e in where.elts)
    ):
        yield 1.0, TERM, f"all of {_text(node.value)} is needed", node.value
        if isinstance(where, ast.Slice):
            text = _text(where)
            for one, other in (("1:", ":-1"), (":-1", "1:")):
                if text == one:
                    yield 0.9, EARLIER, f"[{other}] in place of [{one}]", _parsed(f"{_text(node.value)}[{other}]")
        return
    value, index = _text(node.value), _text(where)
    if not isinstance(where, ast.Constant) or isinstance(where.value, int):
        for text in (f"{index} - 1", f"{index} + 1"):
            yield 1.0, EARLIER, f"{value}[{text}] in place of {value}[{index}]", _parsed(f"{value}[{text}]")
    if isinstance(where, ast.BinOp) and isinstance(where.op, (ast.Add, ast.Sub)):
        yield (
            0.9,
            EARLIER,
            f"{value}[{_text(where.left)}] in place of {value}[{index}]",
            _parsed(f"{value}[{_text(where.left)}]"),
        )
    if isinstance(where, ast.Constant) and isinstance(where.value, int):
        yield 1.1, TERM, f"all of {value}, summed, in place of {value}[{index}]", _parsed(f"{value}.sum(axis=0)")


def _of_number(node: Node, place: Place) -> Iterator[Replacement]:
    if not isinstance(node, ast.Constant) or not isinstance(node.value, (int, float)) or isinstance(node.value, bool):
        return
    if isinstance(place.parent, (ast.Subscript, ast.keyword, ast.Slice)):
        return
    power = isinstance(place.parent, ast.BinOp) and isinstance(place.parent.op, ast.Pow)
    for number in (*NUMBERS, *((1 - node.value,) if isinstance(node.value, float) else ())):
        if number != node.value:
            yield 1.2 + 0.3 * power, FACTOR, f"{number} in place of {node.value}", ast.Constant(number)


def _of_name(node: Node, place: Place, operands: Sequence[str]) -> Iterator[Replacement]:
    """Another operand for this one."""
    if not isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)) or (
        isinstance(place.parent, (ast.Call, ast.Attribute)) and place.field == "func"
    ):
        return
    text = _text(node)
    if isinstance(place.parent, (ast.Attribute, ast.Subscript)) and place.field == "value" and text not in operands:
        return
    if text in ("np", "numpy", "self"):
        return
    if isinstance(node, ast.Subscript) and not isinstance(node.slice, (ast.Slice, ast.Tuple, ast.Constant)):
        value, index = _text(node.value), _text(node.slice)
        index = index.removesuffix(" - 1")
        for first in (name for name in operands if name[-1:] == "0" or "init" in name or "prev" in name):
            words = f"{value} of the step before belongs there, at the first step {first}"
            yield 1.1, EARLIER, words, _parsed(f"({value}[{index} - 1] if {index} else {first})")
    for other in operands:
        if other != text:
            pattern = EARLIER if related(text, other) else FACTOR
            cost = 1.0 if pattern == EARLIER else 1.3
            yield cost, pattern, f"{other} belongs where {text} stands", _parsed(other)


def related(one: str, other: str) -> bool:
    """Whether two names are of one thing at two times: h and h1, h_prev and h_next, self.h and self.h1."""
    return _stem(one) == _stem(other) != ""


def _stem(name: str) -> str:
    last = name.replace("self.", "").split("[")[0].strip(".").lower()
    for mark in (
        "_prev",
        "prev_",
        "prev",
        "_next",
        "next_",
        "next",
        "_new",
        "_old",
        "_before",
        "_after",
        "_t",
        "s_",
        "_0",
    ):
        last = last.replace(mark, "")
    last = last.rstrip("01_'s")
    return {"before": "h", "last": "h", "": "h"}.get(last, last)


def _of_operand(node: ast.expr, operands: Sequence[str]) -> Iterator[Replacement]:
    """What may be done to one operand of a product or sum."""
    if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)):
        if not (isinstance(node, ast.Attribute) and node.attr == "T"):
            yield 0.7, TRANSPOSED, f"{_text(node)} must be transposed", _transposed(node)
        yield 1.9, SIGN, f"the sign of {_text(node)} is wrong", ast.UnaryOp(ast.USub(), node)
    for operand in operands:
        if isinstance(node, (ast.BinOp, ast.Name)) and operand != _text(node):
            yield 1.8, TERM, f"the term -{operand} is missing", ast.BinOp(node, ast.Sub(), _parsed(operand))
            yield 1.8, TERM, f"the term {operand} is missing", ast.BinOp(node, ast.Add(), _parsed(operand))
        for k, form in enumerate(FORMS[:4]):
            factor = _parsed(form.format(operand))
            yield 2.2 + 0.2 * k, FACTOR, f"the factor {_text(factor)} is missing", ast.BinOp(node, ast.Mult(), factor)
            if k and isinstance(node, ast.BinOp):
                yield 2.6 + 0.2 * k, FACTOR, f"{_text(factor)} belongs where {_text(node)} stands", factor


def _of_whole(node: ast.expr, operands: Sequence[str]) -> Iterator[Replacement]:
    """What may be done to the right-hand side of a line."""
    called = isinstance(node, ast.Call) and not _text(node.func).startswith(("np.", "numpy."))
    yield 0.6 + 0.2 * called, SIGN, "the sign is wrong", ast.UnaryOp(ast.USub(), node)
    yield 0.9, TRANSPOSED, "it must be transposed", _transposed(node)
    yield 1.6, TRANSPOSED, "its order must be reversed", _parsed(f"({_text(node)})[::-1]")
    for k, text in enumerate(SUMS):
        yield 0.8 + 0.02 * k, UNSUMMED, f"it has to be summed: .{text}", _parsed(f"({_text(node)}).{text}")
    for number, word in ((2, "2"), (0.5, "1/2")):
        yield 1.4, FACTOR, f"the factor {word} is missing", ast.BinOp(node, ast.Mult(), ast.Constant(number))
    for operand in operands:
        for size in (f"len({operand})", f"{operand}.size"):
            yield 1.5, MEAN, f"it must be divided by {size}", ast.BinOp(node, ast.Div(), _parsed(size))
            yield 1.7, MEAN, f"it must be multiplied by {size}", ast.BinOp(node, ast.Mult(), _parsed(size))
        for k, form in enumerate(FORMS):
            factor = _parsed(form.format(operand))
            words = f"the factor {_text(factor)} is missing"
            yield 1.5 + 0.15 * k, FACTOR, words, ast.BinOp(node, ast.Mult(), factor)
        yield 1.7, TERM, f"the term {operand} is missing", ast.BinOp(node, ast.Add(), _parsed(operand))
        yield 1.9, TERM, f"the term -{operand} is missing", ast.BinOp(node, ast.Sub(), _parsed(operand))
    gradients = [name for name in operands if _is_gradient(name)]
    for one in gradients:
        for other in operands:
            if other != one:
                term = _parsed(f"{one} * {other}")
                yield 3.0, TERM, f"the term {_text(term)} is missing", ast.BinOp(node, ast.Add(), term)
                yield 3.2, TERM, f"the term -{_text(term)} is missing", ast.BinOp(node, ast.Sub(), term)


def _is_size(node: Node) -> bool:
    """Whether an expression counts something: ``len(x)``, ``x.shape[0]``, ``x.size``, ``N``."""
    text = _text(node)
    return any(mark in text for mark in ("len(", ".shape", ".size")) or text in (
        "N",
        "n",
        "B",
        "T",
        "m",
        "batch",
        "batch_size",
    )


def _transposed(node: ast.expr) -> ast.expr:
    if isinstance(node, ast.Attribute) and node.attr == "T":
        return node.value
    return ast.Attribute(node, "T", ast.Load())


def _text(node: Node) -> str:
    return ast.unparse(node)


def _parsed(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body

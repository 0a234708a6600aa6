"""Small edits of a function's source: what an author would change to mend a usual mistake.

Each edit replaces one node of the syntax tree, knows its line, and the pattern of the mistake that it would mend.  They
come from the likeliest to the most far-fetched.
"""

import ast
import copy
from collections.abc import Iterator, Sequence

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
from minirnn.testing.functions.parts import parts_of_formulas
from minirnn.testing.functions.places import Edit, Place, is_gradient, parsed, places_in, text_of, transposed

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


Replacement = tuple[float, str, str, ast.AST]


def edits_of(statement: Place, operands: Sequence[str], loops: Sequence[str]) -> Iterator[Edit]:
    """Edits of one statement; ``operands`` are expressions that it may use, ``loops`` what loops count with."""
    places = places_in(statement)
    for place in places:
        try:
            several = [*replacements(place, operands), *parts_of_formulas(place.node, operands, loops)]
        except (SyntaxError, IndexError):  # no plain formula: an index within an index, a sum of nothing
            continue
        for cost, pattern, words, new in several:
            line = getattr(place.node, "lineno", 0)
            if place.inside and pattern in (SIGN, TERM, FACTOR):
                index = f"another index belongs there: {text_of(new)} where {text_of(place.node)} stands"
                yield Edit(cost, EARLIER, index, line, (place.change(new),))
            else:
                yield Edit(cost, pattern, words, line, (place.change(new),))
    yield from _with_numbers(places, operands)


def _with_numbers(places: Sequence[Place], operands: Sequence[str]) -> Iterator[Edit]:
    """Edits with a number that is still to be found: a factor of a part, the factor of a term that is missing."""
    free = ast.Name(FREE, ast.Load())
    gradients = [name for name in operands if is_gradient(name)]
    for place in places:
        node, parent = place.node, place.parent
        if place.inside or not isinstance(node, ast.expr) or isinstance(node, (ast.Tuple, ast.Dict, ast.Constant)):
            continue
        line = getattr(node, "lineno", 0)
        if isinstance(parent, ast.BinOp) and not isinstance(parent.op, ast.Pow):
            words = f"{text_of(node)} must be {NUMBER} times as large"
            new = ast.BinOp(free, ast.Mult(), node)
            yield Edit(3.4, FACTOR, words, line, (place.change(new),), free=True)
        if isinstance(parent, (ast.Assign, ast.AugAssign, ast.Return)) and place.field == "value":
            for one in operands:
                yield _term(place, free, one, line, 3.6 if one in gradients else 3.7)
            for one in gradients:
                for other in operands:
                    if other != one:
                        yield _term(place, free, f"{one} * {other}", line, 3.8)


def _term(place: Place, free: ast.expr, text: str, line: int, cost: float) -> Edit:
    term = ast.BinOp(free, ast.Mult(), parsed(text))
    assert isinstance(place.node, ast.expr)
    new = ast.BinOp(place.node, ast.Add(), term)
    return Edit(cost, TERM, f"the term {NUMBER} {text} is missing", line, (place.change(new),), free=True)


def replacements(place: Place, operands: Sequence[str]) -> Iterator[Replacement]:
    """Everything that may stand where a node does."""
    node = place.node
    if isinstance(node, ast.stmt):
        yield from _of_statement(node)
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
    elif isinstance(place.parent, (ast.BinOp, ast.List)):
        yield from _of_operand(node, operands)


# ---------------------------------------------------------------------- statements


def _of_statement(node: ast.stmt) -> Iterator[Replacement]:
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target = node.targets[0]
        if isinstance(target, (ast.Subscript, ast.Name, ast.Attribute)) and not isinstance(node.value, ast.Constant):
            plus = ast.AugAssign(copy.deepcopy(target), ast.Add(), node.value)
            yield 1.0, OVERWRITTEN, f"{text_of(target)} must be added to: += in place of =", plus
            times = ast.AugAssign(copy.deepcopy(target), ast.Mult(), node.value)
            yield 1.1, OVERWRITTEN, f"{text_of(target)} must be multiplied: *= in place of =", times
    if isinstance(node, ast.AugAssign):
        if isinstance(node.op, (ast.Add, ast.Sub)):
            other = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
            yield 0.5, SIGN, "the sign is wrong", ast.AugAssign(node.target, other, node.value)
        plain = ast.Assign([copy.deepcopy(node.target)], node.value)
        yield 1.5, TERM, f"{text_of(node.target)} must be assigned, not added to", plain
        if (
            isinstance(node.target, ast.Subscript)
            and isinstance(node.op, ast.Add)
            and ":" not in text_of(node.target.slice)
        ):
            at = parsed(f"np.add.at({text_of(node.target.value)}, {text_of(node.target.slice)}, {text_of(node.value)})")
            yield 0.9, OVERWRITTEN, "an index that repeats is added to once: np.add.at adds every time", ast.Expr(at)
    if (
        isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Subscript)
        and ":" not in text_of(node.targets[0].slice)
    ):
        target = node.targets[0]
        at = parsed(f"np.add.at({text_of(target.value)}, {text_of(target.slice)}, {text_of(node.value)})")
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
                words = f"{text_of(parts[j])} and {text_of(parts[i])} are returned in the wrong order"
                yield 0.8, SWAPPED, words, ast.Return(ast.Tuple(order, ast.Load()))


class _Without(ast.NodeTransformer):
    """A statement without one slice, wherever it stands."""

    def __init__(self, text: str) -> None:
        self.text = text

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        self.generic_visit(node)
        return node.value if text_of(node.slice) == self.text else node


def _without_slices(node: ast.stmt) -> Iterator[Replacement]:
    """The statement on all of its arrays, where the same part of several is taken."""
    slices = [
        text_of(one.slice) for one in ast.walk(node) if isinstance(one, ast.Subscript) and ":" in text_of(one.slice)
    ]
    for text in sorted({one for one in slices if slices.count(one) > 1}):
        whole = _Without(text).visit(copy.deepcopy(node))
        yield 0.9, TERM, f"only [{text}] is used, and all is needed", whole


# ---------------------------------------------------------------------- expressions


def _of_operator(node: ast.AST) -> Iterator[Replacement]:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield 0.5, SIGN, "the sign is wrong", node.operand
    if isinstance(node, ast.BinOp):
        left, right = text_of(node.left), text_of(node.right)
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
            swapped = ast.BinOp(transposed(node.right), ast.MatMult(), transposed(node.left))
            yield 0.8, TRANSPOSED, f"the transposed product is needed: {text_of(swapped)}", swapped
            turned = ast.BinOp(node.right, ast.MatMult(), node.left)
            yield 1.5, TRANSPOSED, f"the product is the wrong way round: {text_of(turned)}", turned
    if isinstance(node, ast.Attribute) and node.attr == "T":
        yield 0.6, TRANSPOSED, f"{text_of(node.value)} must not be transposed", node.value
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


def _is_an_axis(node: ast.expr, parent: ast.AST) -> bool:
    """Whether a negative number is the axis that a call is told."""
    told = isinstance(parent, ast.keyword) and parent.arg == "axis"
    summed = isinstance(parent, ast.Call) and isinstance(parent.func, ast.Attribute) and parent.func.attr in REDUCED
    return isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant) and (told or summed)


def _of_call(node: ast.AST) -> Iterator[Replacement]:
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


def _of_subscript(node: ast.AST) -> Iterator[Replacement]:
    if not isinstance(node, ast.Subscript):
        return
    where = node.slice
    if isinstance(where, ast.Slice) or (
        isinstance(where, ast.Tuple) and any(isinstance(e, ast.Slice) for e in where.elts)
    ):
        yield 1.0, TERM, f"all of {text_of(node.value)} is needed", node.value
        if isinstance(where, ast.Slice):
            text = text_of(where)
            for one, other in (("1:", ":-1"), (":-1", "1:")):
                if text == one:
                    yield 0.9, EARLIER, f"[{other}] in place of [{one}]", parsed(f"{text_of(node.value)}[{other}]")
        return
    value, index = text_of(node.value), text_of(where)
    if not isinstance(where, ast.Constant) or isinstance(where.value, int):
        for text in (f"{index} - 1", f"{index} + 1"):
            yield 1.0, EARLIER, f"{value}[{text}] in place of {value}[{index}]", parsed(f"{value}[{text}]")
    if isinstance(where, ast.BinOp) and isinstance(where.op, (ast.Add, ast.Sub)):
        yield (
            0.9,
            EARLIER,
            f"{value}[{text_of(where.left)}] in place of {value}[{index}]",
            parsed(f"{value}[{text_of(where.left)}]"),
        )
    if isinstance(where, ast.Constant) and isinstance(where.value, int):
        yield 1.1, TERM, f"all of {value}, summed, in place of {value}[{index}]", parsed(f"{value}.sum(axis=0)")


def _of_number(node: ast.AST, place: Place) -> Iterator[Replacement]:
    if not isinstance(node, ast.Constant) or not isinstance(node.value, (int, float)) or isinstance(node.value, bool):
        return
    if isinstance(place.parent, (ast.Subscript, ast.keyword, ast.Slice)):
        return
    power = isinstance(place.parent, ast.BinOp) and isinstance(place.parent.op, ast.Pow)
    for number in (*NUMBERS, *((1 - node.value,) if isinstance(node.value, float) else ())):
        if number != node.value:
            yield 1.2 + 0.3 * power, FACTOR, f"{number} in place of {node.value}", ast.Constant(number)


def _of_name(node: ast.AST, place: Place, operands: Sequence[str]) -> Iterator[Replacement]:
    """Another operand for this one."""
    if not isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)) or (
        isinstance(place.parent, (ast.Call, ast.Attribute)) and place.field == "func"
    ):
        return
    text = text_of(node)
    if isinstance(place.parent, (ast.Attribute, ast.Subscript)) and place.field == "value" and text not in operands:
        return
    if text in ("np", "numpy", "self"):
        return
    for other in operands:
        if other != text:
            pattern = EARLIER if related(text, other) else FACTOR
            cost = 1.0 if pattern == EARLIER else 1.3
            yield cost, pattern, f"{other} belongs where {text} stands", parsed(other)


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
            yield 0.7, TRANSPOSED, f"{text_of(node)} must be transposed", transposed(node)
        yield 1.9, SIGN, f"the sign of {text_of(node)} is wrong", ast.UnaryOp(ast.USub(), node)
    for operand in operands:
        if isinstance(node, (ast.BinOp, ast.Name, ast.Call)) and operand != text_of(node):
            yield 1.8, TERM, f"the term -{operand} is missing", ast.BinOp(node, ast.Sub(), parsed(operand))
            yield 1.8, TERM, f"the term {operand} is missing", ast.BinOp(node, ast.Add(), parsed(operand))
        for k, form in enumerate(FORMS[:4]):
            factor = parsed(form.format(operand))
            yield 2.2 + 0.2 * k, FACTOR, f"the factor {text_of(factor)} is missing", ast.BinOp(node, ast.Mult(), factor)
            if k and isinstance(node, (ast.BinOp, ast.Call)):
                yield 2.6 + 0.2 * k, FACTOR, f"{text_of(factor)} belongs where {text_of(node)} stands", factor


def _of_whole(node: ast.expr, operands: Sequence[str]) -> Iterator[Replacement]:
    """What may be done to the right-hand side of a line."""
    called = isinstance(node, ast.Call) and not text_of(node.func).startswith(("np.", "numpy."))
    yield 0.6 + 0.2 * called, SIGN, "the sign is wrong", ast.UnaryOp(ast.USub(), node)
    yield 0.9, TRANSPOSED, "it must be transposed", transposed(node)
    yield 1.6, TRANSPOSED, "its order must be reversed", parsed(f"({text_of(node)})[::-1]")
    for k, text in enumerate(SUMS):
        yield 0.8 + 0.02 * k, UNSUMMED, f"it has to be summed: .{text}", parsed(f"({text_of(node)}).{text}")
    for number, word in ((2, "2"), (0.5, "1/2")):
        yield 1.4, FACTOR, f"the factor {word} is missing", ast.BinOp(node, ast.Mult(), ast.Constant(number))
    for operand in operands:
        named = (operand,) if _is_size(parsed(operand)) else ()
        for size in (*named, f"len({operand})", f"{operand}.size"):
            yield 1.5, MEAN, f"it must be divided by {size}", ast.BinOp(node, ast.Div(), parsed(size))
            yield 1.7, MEAN, f"it must be multiplied by {size}", ast.BinOp(node, ast.Mult(), parsed(size))
        for k, form in enumerate(FORMS):
            factor = parsed(form.format(operand))
            words = f"the factor {text_of(factor)} is missing"
            yield 1.5 + 0.15 * k, FACTOR, words, ast.BinOp(node, ast.Mult(), factor)
        yield 1.7, TERM, f"the term {operand} is missing", ast.BinOp(node, ast.Add(), parsed(operand))
        yield 1.9, TERM, f"the term -{operand} is missing", ast.BinOp(node, ast.Sub(), parsed(operand))
    gradients = [name for name in operands if is_gradient(name)]
    for one in gradients:
        for other in operands:
            if other != one:
                term = parsed(f"{one} * {other}")
                yield 3.0, TERM, f"the term {text_of(term)} is missing", ast.BinOp(node, ast.Add(), term)
                yield 3.2, TERM, f"the term -{text_of(term)} is missing", ast.BinOp(node, ast.Sub(), term)
                rest = parsed(f"{one} * (1 - {other})")
                yield 3.3, TERM, f"the term {text_of(rest)} is missing", ast.BinOp(node, ast.Add(), rest)


def _is_size(node: ast.AST) -> bool:
    """Whether an expression counts something: ``len(x)``, ``x.shape[0]``, ``x.size``, ``N``."""
    text = text_of(node)
    return any(mark in text for mark in ("len(", ".shape", ".size")) or text in (
        "N",
        "n",
        "B",
        "T",
        "m",
        "batch",
        "batch_size",
    )

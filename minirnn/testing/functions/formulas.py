"""Edits of formulas: a sign, a term, a factor, a number, a function, one quantity for another."""

import ast
from collections.abc import Iterator, Sequence

from minirnn.testing.functions.faults import EARLIER, FACTOR, MEAN, SIGN, SWAPPED, TERM
from minirnn.testing.functions.places import QUANTITIES, Place, Replacement, is_gradient, parsed, text_of
from minirnn.testing.functions.vocabulary import FEW, Vocabulary

FORMS = ("(1 - {})", "(1 - {} ** 2)", "{0} * (1 - {0})", "1 / {}")  # of a quantity, as a factor
VALUES = (*QUANTITIES, ast.BinOp, ast.Call)
NUMBERS = (1, 2, 0.5, 0, -1, 3)
OVER = ("-1", "0")  # the axes over which softmax and norms are taken
FUNCTIONS = ("np.tanh", "np.exp", "np.log")
BUILT_IN = ("range", "len", "reversed", "list", "enumerate", "zip", "dict", "tuple", "sorted", "set", "print")
SIZES = ("N", "n", "B", "T", "m", "batch", "batch_size")
MARKS = [
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
]  # of a name: at which time
Replacements = Iterator[Replacement]


def likely(place: Place, known: Vocabulary) -> Replacements:
    """What an author would put where an expression stands, with names as they are."""
    node = place.node
    if isinstance(node, ast.BinOp):
        yield from _of_operator(node)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and not place.is_axis:
        yield 0.5, SIGN, "the sign is wrong", node.operand
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
        yield from _of_number(node.value, place)
    if isinstance(node, QUANTITIES):
        yield from _of_quantity(node, place, known)
    if isinstance(node, VALUES) and not place.inside and (place.is_whole or place.is_argument):
        yield from _in_functions(node, known)
    if place.is_whole and isinstance(node, ast.expr):
        yield from _of_whole(node, place)
    if isinstance(node, VALUES) and not place.inside:
        yield from _extended(node, place, known)


def far(place: Place, known: Vocabulary) -> Replacements:
    """What is more far-fetched: operands in many forms, means, what a softmax or a norm takes off."""
    node, operands = place.node, known.operands[:FEW]
    if not isinstance(node, ast.expr) or place.inside:
        return
    if isinstance(node, ast.Name) and is_gradient(node.id):
        yield from _less_its_part(node.id, operands)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        yield from _of_one_by_one(node)
    operand = isinstance(place.parent, ast.BinOp) and isinstance(node, VALUES)
    for text in operands if place.is_whole or operand else ():
        farther = 0.7 * operand
        for k, form in enumerate(FORMS, 1):
            factor = parsed(form.format(text))
            words = f"the factor {text_of(factor)} is missing"
            yield 1.5 + 0.15 * k + farther, FACTOR, words, ast.BinOp(node, ast.Mult(), factor)
            if operand and not isinstance(node, QUANTITIES):
                yield 2.6 + 0.2 * k, FACTOR, f"{text_of(factor)} belongs where {text_of(node)} stands", factor
        if operand and text != text_of(node):
            yield 1.8, TERM, f"the term -{text} is missing", ast.BinOp(node, ast.Sub(), parsed(text))
            yield 1.8, TERM, f"the term {text} is missing", ast.BinOp(node, ast.Add(), parsed(text))
        for size in () if operand else (*([text] if is_size(text) else ()), f"len({text})", f"{text}.size"):
            yield 1.5, MEAN, f"it must be divided by {size}", ast.BinOp(node, ast.Div(), parsed(size))


def is_size(text: str) -> bool:
    """Whether an expression counts something: ``len(x)``, ``x.shape[0]``, ``x.size``, ``N``."""
    return text in SIZES or any(mark in text for mark in ("len(", ".shape", ".size"))


# ---------------------------------------------------------------------- what is there


def _of_operator(node: ast.BinOp) -> Replacements:
    left, right = text_of(node.left), text_of(node.right)
    if isinstance(node.op, (ast.Add, ast.Sub)):
        other = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
        yield 0.5, SIGN, f"the sign of {right} is wrong", ast.BinOp(node.left, other, node.right)
        yield 1.2, TERM, f"the term {right} is one too many", node.left
        yield 1.3, TERM, f"the term {left} is one too many", node.right
    if isinstance(node.op, ast.Add) and all(_is_product(term) for term in (node.left, node.right)):
        one, two = node.left, node.right
        assert isinstance(one, ast.BinOp)
        assert isinstance(two, ast.BinOp)
        new = ast.BinOp(_times(two.left, one.right), ast.Add(), _times(one.left, two.right))
        yield 0.9, SWAPPED, f"{text_of(one.left)} and {text_of(two.left)} are swapped", new
    if isinstance(node.op, ast.Mult):
        yield 0.9, FACTOR, f"the factor {right} is one too many", node.left
        yield 0.9, FACTOR, f"the factor {left} is one too many", node.right
        yield 1.4, FACTOR, f"{right} must divide", ast.BinOp(node.left, ast.Div(), node.right)
    if isinstance(node.op, ast.Div):
        pattern = MEAN if is_size(right) else FACTOR
        yield 0.7, pattern, f"it must not be divided by {right}", node.left
        yield 1.4, FACTOR, f"{right} must multiply", ast.BinOp(node.left, ast.Mult(), node.right)
    if isinstance(node.op, ast.Pow) and isinstance(node.left, ast.BinOp) and isinstance(node.left.op, ast.Sub):
        inner = parsed(f"{text_of(node.left.left)} - {text_of(node.left.right)} ** {right}")
        yield 1.1, FACTOR, f"{text_of(inner)} belongs where {text_of(node)} stands", inner


def _is_product(node: ast.expr) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult)


def _times(one: ast.expr, other: ast.expr) -> ast.expr:
    return ast.BinOp(one, ast.Mult(), other)


def _of_number(value: float, place: Place) -> Replacements:
    if isinstance(place.parent, (ast.Subscript, ast.keyword, ast.Slice)):
        return
    power = isinstance(place.parent, ast.BinOp) and isinstance(place.parent.op, ast.Pow)
    more = (value + 1, value - 1) if isinstance(value, int) else (1 - value,)
    for number in dict.fromkeys((*NUMBERS, *more)):
        if number != value:
            yield 1.2 + 0.3 * power, FACTOR, f"{number} in place of {value}", ast.Constant(number)


def _of_quantity(node: ast.expr, place: Place, known: Vocabulary) -> Replacements:
    """Another quantity, or the square of this one."""
    text, parent = text_of(node), place.parent
    called = isinstance(parent, ast.Call) and place.field == "func"
    of_another = isinstance(parent, (ast.Attribute, ast.Subscript)) and place.field == "value"
    stored = not isinstance(getattr(node, "ctx", None), ast.Load)
    if stored and isinstance(parent, ast.Tuple) and isinstance(node, ast.Name):
        for other in known.names:
            if other != text and other.isidentifier():
                yield 1.3, FACTOR, f"{other} belongs where {text} stands", ast.Name(other, ast.Store())
    if called or stored or text in ("np", "numpy", "self") or (of_another and text not in known.operands):
        return
    for other in known.names if text in known.names else known.operands[:FEW]:
        if other != text:
            cost, pattern = (1.0, EARLIER) if related(text, other) else (1.25, FACTOR)
            yield cost + 0.01 * place.is_argument, pattern, f"{other} belongs where {text} stands", parsed(other)
    if isinstance(parent, ast.BinOp) and isinstance(parent.op, ast.Mult):
        rest = ast.BinOp(ast.Constant(1), ast.Sub(), node)
        yield 1.2, FACTOR, f"(1 - {text}) belongs where {text} stands", rest
    if isinstance(parent, ast.BinOp) and not isinstance(parent.op, (ast.Pow, ast.MatMult)):
        yield 0.9, FACTOR, f"{text} must be squared", ast.BinOp(node, ast.Pow(), ast.Constant(2))
    if isinstance(parent, ast.BinOp) and not isinstance(parent.op, ast.MatMult):
        yield from _in_functions(node, known)


def _in_functions(node: ast.expr, known: Vocabulary) -> Replacements:
    own = [name for name in known.called if "." not in name and name not in BUILT_IN]
    for function in (*own, *FUNCTIONS):
        cost = 1.6 if function in ("np.exp", "np.log") else 1.0
        yield cost, FACTOR, f"{function} of {text_of(node)} is needed", parsed(f"{function}({text_of(node)})")


def _of_whole(node: ast.expr, place: Place) -> Replacements:
    """What may be done to all that is assigned or returned."""
    called = isinstance(node, ast.Call) and not text_of(node.func).startswith(("np.", "numpy."))
    yield 0.6 + 0.2 * called, SIGN, "the sign is wrong", ast.UnaryOp(ast.USub(), node)
    for number, word in ((2, "2"), (0.5, "1/2")):
        yield 1.4, FACTOR, f"the factor {word} is missing", ast.BinOp(node, ast.Mult(), ast.Constant(number))
    if isinstance(place.parent, ast.Assign) and isinstance(place.parent.targets[0], ast.Subscript):
        for number in (0, 1):
            yield 1.2, FACTOR, f"{number} belongs there", ast.Constant(number)


# ---------------------------------------------------------------------- what is missing


def _extended(node: ast.expr, place: Place, known: Vocabulary) -> Replacements:
    """The same with one more term or factor."""
    text = text_of(node)
    operand = isinstance(place.parent, ast.BinOp) and isinstance(place.parent.op, (ast.Add, ast.Sub, ast.Mult))
    factor, term = (1.1, 1.2) if place.is_whole else (1.7, 1.21) if place.is_argument else (1.05, 0.0)
    if not (place.is_whole or place.is_argument or (operand and isinstance(node, QUANTITIES))):
        return
    if not operand:
        yield 2.0, SIGN, f"the sign of {text} is wrong", ast.UnaryOp(ast.USub(), node)
    for name in known.names:
        of = parsed(name)
        product = ast.BinOp(of, ast.Mult(), node) if place.is_argument else ast.BinOp(node, ast.Mult(), of)
        yield factor, FACTOR, f"the factor {name} is missing", product
        if term and name != text:
            yield term, TERM, f"the term {name} is missing", ast.BinOp(node, ast.Add(), of)
            yield 1.8, TERM, f"the term -{name} is missing", ast.BinOp(node, ast.Sub(), of)
        if place.is_whole:
            column = parsed(f"{name}[:, None]")
            yield 1.9, FACTOR, f"the factor {text_of(column)} is missing", ast.BinOp(node, ast.Mult(), column)
    for entry in known.entries if term and entry_like(place) else ():
        yield 2.0, FACTOR, f"the factor {entry} is missing", ast.BinOp(parsed(entry), ast.Mult(), node)
        yield 2.0, FACTOR, f"the divisor {entry} is missing", ast.BinOp(node, ast.Div(), parsed(entry))
        yield 2.1, TERM, f"the term {entry} is missing", ast.BinOp(node, ast.Add(), parsed(entry))


def entry_like(place: Place) -> bool:
    """Whether entries may be missing: in what is put into an array, or what a function is called with."""
    parent = place.parent
    target = parent.target if isinstance(parent, ast.AugAssign) else getattr(parent, "targets", [None])[0]
    return place.is_argument or isinstance(target, ast.Subscript)


def _less_its_part(name: str, operands: Sequence[str]) -> Replacements:
    """A gradient less its mean, or less its part along a softmax's or a norm's output."""
    for axis in OVER:
        over = f"{axis}, keepdims=True"
        takes = [f"{name}.mean({over})"]
        for one in operands:
            if one.removeprefix("self.").isidentifier() and one != name:
                takes += [f"({name} * {one}).sum({over})", f"{one} * ({name} * {one}).mean({over})"]
        for part in takes:
            yield 2.6, TERM, f"the term -{part} is missing", parsed(f"{name} - {part}")


def _of_one_by_one(node: ast.BinOp) -> Replacements:
    """``p * (1 - p) * dp``, as if a softmax were taken entry by entry."""
    factors, left = [node.right], node.left
    while isinstance(left, ast.BinOp) and isinstance(left.op, ast.Mult):
        factors.append(left.right)
        left = left.left
    words = [text_of(one) for one in (left, *reversed(factors))]
    for p in words:
        if f"1 - {p}" in words and len(words) > 2:
            rest = list(words)
            rest.remove(p)
            rest.remove(f"1 - {p}")
            dp = " * ".join(f"({one})" for one in rest)
            for axis in OVER:
                new = f"{p} * ({dp} - ({p} * {dp}).sum({axis}, keepdims=True))"
                yield 1.7, TERM, f"every output of a softmax depends on every input: {new}", parsed(new)


def related(one: str, other: str) -> bool:
    """Whether two names are of one thing at two times: h and h1, h_prev and h_next, self.h and self.h1."""
    return _stem(one) == _stem(other) != ""


def _stem(name: str) -> str:
    last = name.replace("self.", "").split("[")[0].strip(".").lower()
    for mark in MARKS:
        last = last.replace(mark, "")
    last = last.rstrip("01_'s")
    return {"before": "h", "last": "h", "": "h"}.get(last, last)

"""Edits of what is done to arrays: products and their transposes, sums and their axes, indices."""

import ast
from collections.abc import Iterator, Sequence
from itertools import combinations

from minirnn.testing.functions.faults import AXIS, EARLIER, MEAN, SHAPE, SWAPPED, TERM, TRANSPOSED, UNSUMMED
from minirnn.testing.functions.places import MODULES, REDUCED, Place, Replacement, parsed, text_of, transposed
from minirnn.testing.functions.vocabulary import Vocabulary

PRODUCTS = ("dot", "matmul", "outer")
SUMS = ("axis=0", "axis=-1", "", "axis=1", "axis=(0, 1)", "axis=-1, keepdims=True", "axis=0, keepdims=True")
AXES = (0, 1, -1, 2)
KEEP = ast.keyword("keepdims", ast.Constant(value=True))
Replacements = Iterator[Replacement]


def of_arrays(place: Place, known: Vocabulary) -> Replacements:
    """What may stand in the place of an expression of arrays."""
    node = place.node
    yield from _transposes(place)
    if isinstance(node, ast.Call):
        yield from _reductions(node)
        if isinstance(node.func, ast.Attribute) and node.func.attr in PRODUCTS:
            yield from _products(node, node.func)
    if place.is_whole:
        for k, text in enumerate(SUMS):
            new = parsed(f"({text_of(node)}).sum({text})")
            yield 0.8 + 0.02 * k, UNSUMMED, f"it has to be summed: .sum({text})", new
    if place.is_argument and isinstance(node, ast.Name):
        yield 0.95, EARLIER, f"the order of {node.id} must be reversed", parsed(f"{node.id}[::-1]")
    if isinstance(node, ast.Subscript):
        yield from _indices(node, known)
        if isinstance(node.ctx, ast.Load):
            yield from _wholes(node)
            yield from _at_the_first_step(node, known)
        if ":" in text_of(node.slice):
            yield from _blocks(node)


# ---------------------------------------------------------------------- products


def _transposes(place: Place) -> Replacements:
    node = place.node
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        swapped = ast.BinOp(transposed(node.right), ast.MatMult(), transposed(node.left))
        yield 0.8, TRANSPOSED, f"the transposed product is needed: {text_of(swapped)}", swapped
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mult, ast.MatMult)):
        yield from _in_another_order(node, node.left, node.right)
    if isinstance(node, ast.Attribute) and node.attr == "T":
        yield 0.6, TRANSPOSED, f"{text_of(node.value)} must not be transposed", node.value
    elif place.is_whole and isinstance(node, ast.expr):
        yield 0.9, TRANSPOSED, "it must be transposed", transposed(node)
    elif isinstance(place.parent, ast.BinOp) and isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)):
        yield 0.7, TRANSPOSED, f"{text_of(node)} must be transposed", transposed(node)


def _in_another_order(node: ast.BinOp, left: ast.expr, right: ast.expr) -> Replacements:
    """``(r * h) @ W`` for ``r * (h @ W)``, and the other way round."""
    if isinstance(node.op, ast.Mult) and isinstance(right, ast.BinOp) and isinstance(right.op, ast.MatMult):
        new = ast.BinOp(ast.BinOp(left, ast.Mult(), right.left), ast.MatMult(), right.right)
    elif isinstance(node.op, ast.MatMult) and isinstance(left, ast.BinOp) and isinstance(left.op, ast.Mult):
        new = ast.BinOp(left.left, ast.Mult(), ast.BinOp(left.right, ast.MatMult(), right))
    else:
        return
    yield 1.0, SWAPPED, f"the products are taken in the wrong order: {text_of(new)}", new


def _products(node: ast.Call, function: ast.Attribute) -> Replacements:
    """Factors of ``dot`` transposed, one for the other."""
    plain = text_of(function.value) in MODULES
    factors = list(node.args) if plain else [function.value, *node.args]
    if len(factors) != 2:
        return
    one, other = factors
    first, second = transposed(one), transposed(other)
    for left, right in ((one, second), (first, other), (second, first), (other, one), (other, first), (second, one)):
        new = (
            ast.Call(function, [left, right], [])
            if plain
            else ast.Call(ast.Attribute(left, function.attr, ast.Load()), [right], [])
        )
        yield 0.7, TRANSPOSED, f"{text_of(left)} times {text_of(right)} is needed", new


# ---------------------------------------------------------------------- sums


def _reductions(node: ast.Call) -> Replacements:
    """A sum for a mean, over another axis, with or without keepdims; none."""
    function = node.func
    if not isinstance(function, ast.Attribute) or function.attr not in REDUCED:
        return
    name, method = function.attr, text_of(function.value) not in MODULES
    if not method and not node.args:
        return
    array = [] if method else node.args[:1]
    others = [one for one in node.keywords if one.arg != "axis"]
    kept = [one for one in node.keywords if one.arg != "keepdims"]
    if name in ("sum", "mean"):
        other = "sum" if name == "mean" else "mean"
        new = ast.Call(ast.Attribute(function.value, other, ast.Load()), node.args, node.keywords)
        yield 0.4, MEAN, f"{other} in place of {name}", new
        yield 1.6, SHAPE, f"{name} must not be taken", function.value if method else node.args[0]
    for axis in AXES:
        new = ast.Call(function, array, [*others, ast.keyword("axis", ast.Constant(axis))])
        yield 0.9, AXIS, f"the {name} must be over axis {axis}", new
        new = ast.Call(function, array, [ast.keyword("axis", ast.Constant(axis)), KEEP])
        yield 1.2, AXIS, f"the {name} must be over axis {axis}, with keepdims=True", new
    if len(node.args) > len(array) or len(others) < len(node.keywords):
        yield 1.2, AXIS, f"the {name} must be over all axes", ast.Call(function, array, others)
    if len(kept) < len(node.keywords):
        yield 1.0, SHAPE, "without keepdims", ast.Call(function, node.args, kept)
    else:
        yield 1.1, SHAPE, "with keepdims=True", ast.Call(function, node.args, [*kept, KEEP])


# ---------------------------------------------------------------------- indices


def _parts(node: ast.Subscript) -> list[ast.expr]:
    return node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]


def _with_parts(node: ast.Subscript, parts: Sequence[ast.expr]) -> ast.Subscript:
    """The same array at other places."""
    index = parts[0] if len(parts) == 1 else ast.Tuple([*parts], ast.Load())
    return ast.Subscript(node.value, index, node.ctx)


def _indices(node: ast.Subscript, known: Vocabulary) -> Replacements:
    """An index one or two further, that of a loop, an entry of another array; two of them exchanged."""
    parts = _parts(node)
    for i, j in combinations(range(len(parts)), 2):
        order = list(parts)
        order[i], order[j] = order[j], order[i]
        new = _with_parts(node, order)
        yield 1.0, AXIS, f"{text_of(new)} is needed", new
    for k, part in enumerate(parts):
        if isinstance(part, (ast.Slice, ast.Tuple)) or (isinstance(part, ast.Constant) and isinstance(part.value, str)):
            continue
        for cost, index in _other_indices(part, known, several=len(parts) > 1):
            new = _with_parts(node, [*parts[:k], index, *parts[k + 1 :]])
            yield cost, EARLIER, f"[{text_of(index)}] belongs where [{text_of(part)}] stands", new
    text = text_of(node.slice)
    for entry in known.entries if isinstance(node.slice, ast.Name) else ():
        if entry.endswith(f"[{text}]"):
            shorter = parsed(f"{text_of(node.value)}[{text}, :{entry}]")
            yield 1.8, EARLIER, f"only the first {entry} belong there", shorter


def _other_indices(part: ast.expr, known: Vocabulary, *, several: bool) -> Iterator[tuple[float, ast.expr]]:
    used = {one.id for one in ast.walk(part) if isinstance(one, ast.Name)}
    if isinstance(part, ast.BinOp) and isinstance(part.op, (ast.Add, ast.Sub)):
        yield 0.9, part.left
    for name in known.loops:
        if text_of(part) != name:
            yield 0.9, ast.Name(name, ast.Load())
        if name not in used and not isinstance(part, ast.Constant):
            yield 1.6, ast.BinOp(part, ast.Add(), ast.Name(name, ast.Load()))
    if text_of(part).removeprefix("-").isdigit():
        yield 1.4, ast.Slice(parsed(f"{text_of(part)} - 1"), None)
    if isinstance(part, ast.Constant):
        yield from ((1.2, ast.Constant(k)) for k in range(-1, 4) if k != part.value)
        return
    for step, cost in ((1, 1.0), (-1, 1.0), (2, 1.1), (-2, 1.1)):
        yield cost, ast.BinOp(part, ast.Add() if step > 0 else ast.Sub(), ast.Constant(abs(step)))
    for entry in known.entries if several and not isinstance(part, ast.Name) else ():
        if entry != text_of(part):
            yield 1.7, parsed(entry)


def _wholes(node: ast.Subscript) -> Replacements:
    """All of an array, or the rest of it, where a part is taken."""
    value, text = text_of(node.value), text_of(node.slice)
    if any(isinstance(part, ast.Slice) for part in _parts(node)):
        yield 1.0, TERM, f"all of {value} is needed", node.value
        for one, other in (("1:", ":-1"), (":-1", "1:")):
            if text == one:
                yield 0.9, EARLIER, f"[{other}] in place of [{one}]", parsed(f"{value}[{other}]")
    elif isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, int):
        yield 1.1, TERM, f"all of {value}, summed, in place of {value}[{text}]", parsed(f"{value}.sum(axis=0)")


def _at_the_first_step(node: ast.Subscript, known: Vocabulary) -> Replacements:
    """An array at the step before, and another one at the first step."""
    if isinstance(node.slice, (ast.Slice, ast.Tuple, ast.Constant)):
        return
    value, index = text_of(node.value), text_of(node.slice).removesuffix(" - 1")
    for first in (name for name in known.operands if name[-1:] == "0" or "init" in name or "prev" in name):
        words = f"{value} of the step before belongs there, at the first step {first}"
        yield 1.1, EARLIER, words, parsed(f"({value}[{index} - 1] if {index} else {first})")


def _blocks(node: ast.Subscript) -> Replacements:
    """Another block of columns: that of another gate."""
    size = next((one.id for one in ast.walk(node.slice) if isinstance(one, ast.Name)), "")
    text = text_of(node.slice)
    lead = ":, " if text.replace(" ", "").strip("()").startswith(":,") else ""
    for k in range(4) if size else ():
        new = parsed(f"{text_of(node.value)}[{lead}{k} * {size}:{k + 1} * {size}]")
        assert isinstance(new, ast.Subscript)
        new.ctx = node.ctx
        yield 0.9, SWAPPED, f"block {k} belongs where [{text}] stands", new

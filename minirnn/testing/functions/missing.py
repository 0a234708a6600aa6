"""Edits that put a missing statement in: one like another, what a loop hands on, what is stored or taken off.

Their line is the one before which the statement belongs.
"""

import ast
import copy
import re
from collections.abc import Iterator, Sequence
from itertools import product

from minirnn.testing.functions.faults import TERM
from minirnn.testing.functions.places import Edit, Place, index_of, is_gradient, statements_of, text_of
from minirnn.testing.functions.vocabulary import Vocabulary, assigned

FIELDS = 6  # of a tuple that a loop may use
ALLOCATED = (ast.Call, ast.Constant, ast.Name)  # what a loop's names may be before it
MOST = 300  # statements that are tried in one loop


def missing(tree: ast.Module, known: Vocabulary) -> Iterator[Edit]:
    """Statements that may be missing after another one."""
    indices = _indices(tree)
    for place in statements_of(tree):
        node = place.node
        if not isinstance(node, (ast.Assign, ast.AugAssign)) or place.at is None:
            continue
        block = getattr(place.parent, place.field)
        target = node.target if isinstance(node, ast.AugAssign) else node.targets[0]
        texts = [(1.6, text) for text in (_shifted(node, 1), _shifted(node, -1)) if text]
        if isinstance(node, ast.Assign) and isinstance(target, ast.Name):
            texts += [(1.3, f"{target.id}[{index}] -= 1") for index in indices]
        if isinstance(target, ast.Subscript):
            texts += [(1.5, f"{other} = {name}") for other in _rest_of(target) for name in known.names]
            if isinstance(place.parent, ast.For):
                texts += [(1.7, text) for text in _products(target, block, place.at, known)]
        for cost, text in texts:
            yield _after(block, place.at, place, text, cost)
    yield from _like_others(tree, known)


def _like_others(tree: ast.Module, known: Vocabulary) -> Iterator[Edit]:
    """A line that adds to a list, or to an attribute that no line adds to, as others do: with one name for another."""
    lines = [(one, base) for one in statements_of(tree) if one.at is not None and (base := _added_to(one.node))]
    added = {base for _, base in lines}
    without = [one for one in known.operands if one.startswith("self.d") and one not in added]
    for (place, base), (other, its) in product(lines, lines):
        texts = list(_with_other_names(other.node, known.names)) if base == its or without else []
        if isinstance(place.node, ast.AugAssign):  # beside the line that uses the same gradient
            own = {name for name in _names(place.node) if is_gradient(name)}
            texts = [text.replace(its, one, 1) for one in without for text in texts if own & _names(ast.parse(text))]
        assert place.at is not None
        for text in texts if isinstance(place.node, ast.AugAssign) or base == its else ():
            yield _after(getattr(place.parent, place.field), place.at, place, text, 1.6)


def _added_to(node: ast.AST) -> str:
    """The list that a statement appends to, or the attribute that it adds to; "" of others."""
    if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Attribute):
        return text_of(node.target)
    function = node.value.func if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) else None
    return text_of(function.value) if isinstance(function, ast.Attribute) and function.attr == "append" else ""


def _with_other_names(statement: ast.AST, names: Sequence[str]) -> Iterator[str]:
    """A statement as it is, and with one of its names replaced by another."""
    text = text_of(statement)
    yield text
    for one in sorted(_names(statement) & set(names)):
        for other in names:
            if other != one and is_gradient(other) == is_gradient(one):
                yield re.sub(rf"(?<![\w.]){one}(?!\w)", other, text)


def _rest_of(target: ast.Subscript) -> Iterator[str]:
    """The other part of an array of which one is filled: ``a[n:]`` of ``a[:n]``."""
    parts = target.slice.elts if isinstance(target.slice, ast.Tuple) else [target.slice]
    for k, part in enumerate(parts):
        if isinstance(part, ast.Slice) and (part.lower is None) != (part.upper is None):
            rest = ast.Slice(part.upper, part.lower)
            yield f"{text_of(target.value)}[{', '.join(map(text_of, [*parts[:k], rest, *parts[k + 1 :]]))}]"


def _products(target: ast.Subscript, block: list[ast.stmt], at: int, known: Vocabulary) -> Iterator[str]:
    """What was put into an array in a block, times an entry, after the last line that does."""
    stored: dict[str, int] = {}
    for k, statement in enumerate(block):
        for one in ast.walk(statement):
            if isinstance(one, ast.Subscript) and isinstance(one.ctx, ast.Store):
                stored |= {text_of(one): k} if text_of(one.value) == text_of(target.value) else {}
    if max(stored.values()) == at:
        yield from (f"{text} *= {entry}" for text in stored for entry in known.entries if entry != text)


def _after(block: list[ast.stmt], at: int, of: Place | ast.AST, text: str, cost: float, pattern: str = TERM) -> Edit:
    """A statement after the one in place ``at`` of a block, which is a field of ``of``'s parent or of a loop."""
    parent, field = (of.parent, of.field) if isinstance(of, Place) else (of, "body")
    line = (block[at].end_lineno or block[at].lineno) + 1
    body = [*block[: at + 1], *ast.parse(text).body, *block[at + 1 :]]
    return Edit(cost, pattern, f"a line is missing before this one: {text}", line, ((parent, field, body),))


def _shifted(statement: ast.stmt, more: int) -> str:
    """A statement with the numbers in the last place of brackets one more or less; "" where there are none."""
    new = copy.deepcopy(statement)
    changed = False
    for node in ast.walk(new):
        if isinstance(node, ast.Subscript):
            last = node.slice.elts[-1] if isinstance(node.slice, ast.Tuple) else node.slice
            for one in (last, getattr(last, "right", None), getattr(last, "operand", None)):
                if isinstance(one, ast.Constant) and isinstance(one.value, int):
                    one.value += more
                    changed = True
    return text_of(new) if changed else ""


def _indices(tree: ast.AST) -> list[str]:
    """What stands in brackets and is more than a name, a number or a slice: where one entry of each row is taken."""
    found = [one for one in ast.walk(tree) if isinstance(one, ast.Subscript)]
    several = [index_of(one) for one in found if isinstance(one.slice, (ast.Tuple, ast.Subscript))]
    return list(dict.fromkeys(text for text in several if ":" not in text))


# ---------------------------------------------------------------------- loops


def in_loops(tree: ast.Module, known: Sequence[str], *, updated: bool) -> Iterator[Edit]:
    """Statements that may be missing in loops; ``known`` are operands of the function.

    ``updated`` are those of names that a loop adds to: = in place of += is likelier, and tried first.
    """
    for place in statements_of(tree):
        if isinstance(place.node, (ast.For, ast.While)):
            yield from _in_a_loop(place.node, tree, known, updated=updated)


def _in_a_loop(loop: ast.For | ast.While, tree: ast.AST, known: Sequence[str], *, updated: bool) -> Iterator[Edit]:
    """What a loop computes and does not hand on to its next turn, add up or store."""
    stored = _stored(loop)
    fresh = [name for name, updated in stored.items() if not updated]
    fields = list(_fields(loop, known))
    text = text_of(loop)
    unused = [name for name in fresh if _loads(loop, name) == 0] + [one for one in fields if one not in text]
    brackets = [one for one in ast.walk(loop) if isinstance(one, ast.Subscript)]
    written = [text_of(one) for one in brackets if isinstance(one.ctx, ast.Store)]
    indices = {index_of(one) for one in brackets if any(isinstance(part, ast.Name) for part in ast.walk(one.slice))}
    edits: list[Edit] = []
    for name in (one for one in _made_before(loop, tree) if (one in stored) == updated):
        if stored.get(name, True) and _reads(loop, name):  # it is the same in every turn, but for what is added to it
            several = [*unused, *(one for one in [*fresh, *fields, *written] if one not in unused and one != name)]
            cost = 1.0 + 0.7 * updated
            edits += [_at(loop, f"{name} = {one}", one, cost + 0.1 * (one not in unused)) for one in several]
        if not updated and not any(one.startswith(f"{name}[") for one in written):
            edits += [_at(loop, f"{name} += {one}", one, 1.0) for one in unused]
            edits += [_at(loop, f"{name}[{index}] = {one}", one, 1.0) for one in unused for index in sorted(indices)]
    yield from edits[:MOST]


def _at(loop: ast.For | ast.While, text: str, operand: str, cost: float) -> Edit:
    """A statement where a loop has another of its form, or at its end; not before its operand is there."""
    base = operand.partition("[")[0]
    made = [k for k, one in enumerate(loop.body) if base in _stored(one)]
    form = text.partition("=")[0].strip().isidentifier() and "[" in operand
    alike = [
        k
        for k, one in enumerate(loop.body)
        if form
        and isinstance(one, ast.Assign)
        and isinstance(one.targets[0], ast.Name)
        and isinstance(one.value, ast.Subscript)
        and text_of(one.value.value) == base
    ]
    at = alike[-1] if alike else made[-1] if made and form else len(loop.body) - 1
    return _after(loop.body, at, loop, text, cost)


def _stored(tree: ast.AST) -> dict[str, bool]:
    """The names that are assigned, and whether each is only added to or made of itself."""
    found: dict[str, bool] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            found.setdefault(node.target.id, True)
        elif isinstance(node, (ast.Assign, ast.For)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            value = node.value if isinstance(node, ast.Assign) else node.iter
            read = {one.id for one in ast.walk(value) if isinstance(one, ast.Name)}
            for target in targets:
                for one in ast.walk(target):
                    if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
                        found[one.id] = found.get(one.id, True) and one.id in read and not isinstance(value, ast.Call)
    return found


def _made_before(loop: ast.AST, tree: ast.AST) -> list[str]:
    """The names that are made outside of a loop, by themselves."""
    inside = {id(one) for one in ast.walk(loop)}
    pairs = [pair for node in ast.walk(tree) if id(node) not in inside for pair in assigned(node)]
    made = [one.id for one, value in pairs if isinstance(one, ast.Name) and isinstance(value, ALLOCATED)]
    return list(dict.fromkeys(made))


def _fields(loop: ast.AST, known: Sequence[str]) -> Iterator[str]:
    """Entries of what a call returns in a loop: of a tuple by numbers, of a dict by its names."""
    for node in ast.walk(loop):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            named = [one for one in known if one.startswith(f"{name}['")]
            yield from named
            if not named and f"{name}[" in text_of(loop):
                yield from (f"{name}[{k}]" for k in range(FIELDS))


def _loads(tree: ast.AST, name: str) -> int:
    """How often a name is read."""
    return sum(isinstance(one, ast.Name) and one.id == name and isinstance(one.ctx, ast.Load) for one in ast.walk(tree))


def _reads(loop: ast.AST, name: str) -> int:
    """How often a name is read by itself, but for what is added to it."""
    count = _loads(loop, name)
    for node in ast.walk(loop):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            count -= node.value.id == name
        if isinstance(node, ast.Assign) and text_of(node.targets[0]) == name:
            count -= _loads(node.value, name)
    return count


# ---------------------------------------------------------------------- in place of an edit


def instead(edit: Edit, tree: ast.Module) -> Edit | None:
    """A line that is missing, in place of a term or factor in one: where other lines add or multiply so already."""
    node, field, new = edit.nodes[0]
    old = getattr(new, "left", None)
    of_several = edit.pattern == TERM and isinstance(old, ast.BinOp) and isinstance(old.op, ast.Add)
    if len(edit.nodes) > 1 or edit.free or of_several:
        return None
    built = _where_it_is_built(edit, tree)
    place = next((one for one in statements_of(tree) if one.node is node), None)
    if built is not None or place is None or place.at is None:
        return built
    if not isinstance(node, (ast.Assign, ast.AugAssign)) or field != "value":
        return None
    if not isinstance(new, ast.BinOp) or new.left is not node.value or not isinstance(new.op, (ast.Add, ast.Mult)):
        return None
    target, adds = node.target if isinstance(node, ast.AugAssign) else node.targets[0], isinstance(new.op, ast.Add)
    base, block = text_of(target).partition("[")[0], getattr(place.parent, place.field)
    last = place.at
    for k, one in enumerate(block[place.at + 1 :], place.at + 1):
        more = _more(one, base, type(new.op))
        derivative = not adds and "1 - " in text_of(new.right) and text_of(target) not in text_of(one)
        summed = adds and (k == last + 1 or (more is not None and _is_product(more) and _is_product(new.right)))
        if more is not None and (derivative or summed):
            last = k
    copied = adds and isinstance(new.left, ast.Call) and text_of(new.left.func).endswith("copy")
    if last == place.at and not copied:  # a copy is made for what is added to it in another line
        return None
    text = f"{text_of(target)} {'+' if adds else '*'}= {text_of(new.right)}"
    return _after(block, last, place, text, edit.cost, edit.pattern)


def _where_it_is_built(edit: Edit, tree: ast.Module) -> Edit | None:
    """A term as a line of its own, beside the line that uses the same gradient, where other lines add so already."""
    node, field, new = edit.nodes[0]
    several, before = (new, getattr(node, field)) if isinstance(new, list) else ([new], [getattr(node, field)])
    one, old = next(((a, b) for a, b in zip(several, before, strict=False) if a is not b), (None, None))
    if (
        not isinstance(one, ast.BinOp)
        or not isinstance(one.op, ast.Add)
        or one.left is not old
        or not _is_product(one.right)
    ):
        return None
    base = text_of(node.target if isinstance(node, ast.AugAssign) else one.left)
    added = [one for one in statements_of(tree) if isinstance(one.node, ast.AugAssign) and one.at is not None]
    if not any(_more(one.node, base, ast.Add) for one in added if isinstance(one.node, ast.stmt)):
        return None
    gradients = {part.id for part in ast.walk(one.right) if isinstance(part, ast.Name) and is_gradient(part.id)}
    beside = [
        one for one in added if gradients & {part.id for part in ast.walk(one.node) if isinstance(part, ast.Name)}
    ]
    if not beside:
        return None
    last = beside[-1]
    assert last.at is not None
    text = f"{base} += {text_of(one.right)}"
    return _after(getattr(last.parent, last.field), last.at, last, text, edit.cost, edit.pattern)


def _names(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


def _more(statement: ast.stmt, base: str, op: type[ast.operator]) -> ast.expr | None:
    """What a statement adds to a variable, or to a part of it, or multiplies it by."""
    if isinstance(statement, ast.AugAssign) and isinstance(statement.op, op):
        return statement.value if text_of(statement.target).partition("[")[0] == base else None
    value = statement.value if isinstance(statement, ast.Assign) else None
    if isinstance(statement, ast.Assign) and isinstance(value, ast.BinOp) and isinstance(value.op, op):
        return value.right if text_of(statement.targets[0]) == base == text_of(value.left) else None
    return None


def _is_product(node: ast.expr) -> bool:
    """Whether an expression is a product of matrices."""
    return "@" in (text := text_of(node)) or "dot(" in text or "matmul(" in text

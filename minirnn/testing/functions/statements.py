"""Edits of statements as a whole: what is added in place of assigned, where a loop begins, conditions, lost slices."""

import ast
import copy
from collections.abc import Iterator

from minirnn.testing.functions.faults import EARLIER, OVERWRITTEN, SIGN, TERM
from minirnn.testing.functions.places import Place, Replacement, parsed, text_of
from minirnn.testing.functions.vocabulary import Vocabulary

COMPARISONS = (ast.Eq, ast.NotEq, ast.Gt, ast.GtE, ast.Lt, ast.LtE)


def of_statements(place: Place, known: Vocabulary) -> Iterator[Replacement]:
    """What may stand where a statement, a condition or a loop's range does."""
    node = place.node
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        yield from _of_assignment(node, node.targets[0])
    if isinstance(node, ast.AugAssign):
        yield from _of_addition(node)
    if isinstance(node, (ast.Assign, ast.AugAssign)) and not isinstance(node.value, ast.Tuple):
        yield 3.5 - 2.5 * isinstance(node.value, ast.Constant), TERM, "this line is one too many", ast.Pass()
    if isinstance(node, (ast.Assign, ast.AugAssign, ast.Expr, ast.Return)):
        yield from _without_slices(node)
    if isinstance(node, ast.Call) and text_of(node.func) == "range":
        yield from _of_range(node, known)
    if isinstance(node, ast.expr) and isinstance(place.parent, (ast.If, ast.While, ast.IfExp, ast.BoolOp)):
        yield from _of_condition(node)


def _of_assignment(node: ast.Assign, target: ast.expr) -> Iterator[Replacement]:
    if isinstance(target, (ast.Subscript, ast.Name, ast.Attribute)) and not isinstance(node.value, ast.Constant):
        plus = ast.AugAssign(copy.deepcopy(target), ast.Add(), node.value)
        yield 1.0, OVERWRITTEN, f"{text_of(target)} must be added to: += in place of =", plus
    if isinstance(target, ast.Subscript) and ":" not in text_of(target.slice):
        words = "an index that repeats must be added every time: np.add.at"
        yield 1.1, OVERWRITTEN, words, _added_at(target, node.value)


def _of_addition(node: ast.AugAssign) -> Iterator[Replacement]:
    if isinstance(node.op, (ast.Add, ast.Sub)):
        other = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
        yield 0.5, SIGN, "the sign is wrong", ast.AugAssign(node.target, other, node.value)
    plain = ast.Assign([copy.deepcopy(node.target)], node.value)
    yield 1.5, TERM, f"{text_of(node.target)} must be assigned, not added to", plain
    if isinstance(node.target, ast.Subscript) and ":" not in text_of(node.target.slice):
        words = "an index that repeats is added to once: np.add.at adds every time"
        yield 0.9, OVERWRITTEN, words, _added_at(node.target, node.value)


def _added_at(target: ast.Subscript, value: ast.expr) -> ast.stmt:
    return ast.Expr(parsed(f"np.add.at({text_of(target.value)}, {text_of(target.slice)}, {text_of(value)})"))


class _Without(ast.NodeTransformer):
    """A statement without one slice, wherever it stands."""

    def __init__(self, text: str) -> None:
        self.text = text

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        self.generic_visit(node)
        return node.value if text_of(node.slice) == self.text else node


def _without_slices(node: ast.stmt) -> Iterator[Replacement]:
    """The statement on all of its arrays, where the same part of several is taken."""
    slices = [text_of(one.slice) for one in ast.walk(node) if isinstance(one, ast.Subscript)]
    for text in sorted({one for one in slices if ":" in one and slices.count(one) > 1}):
        whole = _Without(text).visit(copy.deepcopy(node))
        yield 0.9, TERM, f"only [{text}] is used, and all is needed", whole


def _of_range(node: ast.Call, known: Vocabulary) -> Iterator[Replacement]:
    function, args = node.func, node.args
    if len(args) >= 2:
        yield 0.9, TERM, "the first steps are left out", ast.Call(function, [args[1], *args[2:]], [])
    for k, arg in enumerate(args):
        if isinstance(arg, ast.BinOp) and isinstance(arg.op, (ast.Sub, ast.Add)):
            new = [*args[:k], arg.left, *args[k + 1 :]]
            yield 0.9, TERM, "a step is left out", ast.Call(function, new, [])
    for entry in known.entries:
        new = [*args[:-1], parsed(entry)] if len(args) < 3 else [args[0], parsed(entry), args[2]]
        yield 1.6, EARLIER, f"there are {entry} steps", ast.Call(function, new, [])


def _of_condition(node: ast.expr) -> Iterator[Replacement]:
    """A condition the other way round, or another comparison."""
    negated: ast.expr = ast.UnaryOp(ast.Not(), node)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        negated = node.operand
    yield 0.7, SIGN, f"it must be: if {text_of(negated)}", negated
    for op in COMPARISONS if isinstance(node, ast.Compare) and len(node.ops) == 1 else ():
        assert isinstance(node, ast.Compare)
        if op is not type(node.ops[0]):
            new = ast.Compare(node.left, [op()], node.comparators)
            yield 0.9, SIGN, f"it must be: if {text_of(new)}", new

"""Edits with what stands elsewhere in a function: entries as factors, an index moved, a condition turned round."""

import ast
from collections.abc import Iterator, Sequence

from minirnn.testing.functions.faults import EARLIER, FACTOR, SIGN, TERM
from minirnn.testing.functions.places import Edit, Place, index_of, nodes_in, parsed

MOST = 40  # entries that are tried as factors
WRAPS = ("np.log", "np.exp", "np.tanh")


def borrowed(statement: Place, entries: Sequence[str]) -> Iterator[Edit]:
    """Edits of a statement; ``entries`` are those that the whole function names."""
    for node in nodes_in(statement):
        if isinstance(node, ast.If):
            yield from _tests(node)
        if isinstance(node, ast.Call):
            for k, part in enumerate(node.args):
                for words, cost, new in _other(part):
                    args = [*node.args[:k], new, *node.args[k + 1 :]]
                    yield Edit(cost, FACTOR, words, part.lineno, ((node, "args", args),))
        if isinstance(node, ast.BinOp):
            for side in ("left", "right"):
                part = getattr(node, side)
                for words, cost, new in _other(part):
                    yield Edit(cost, FACTOR, words, part.lineno, ((node, side, new),))
        if isinstance(node, ast.Subscript):
            yield from _indices(node, entries)
        if isinstance(node, (ast.Assign, ast.AugAssign)):
            yield from _values(node, entries)


def _tests(node: ast.If) -> Iterator[Edit]:
    """A condition the other way round, or another comparison."""
    line = node.test.lineno
    negated: ast.expr = ast.UnaryOp(ast.Not(), node.test)
    if isinstance(node.test, ast.UnaryOp) and isinstance(node.test.op, ast.Not):
        negated = node.test.operand
    yield Edit(0.7, SIGN, f"it must be: if {ast.unparse(negated)}", line, ((node, "test", negated),))
    if isinstance(node.test, ast.Compare) and len(node.test.ops) == 1:
        for op in (ast.Eq(), ast.NotEq(), ast.Gt(), ast.GtE(), ast.Lt(), ast.LtE()):
            if type(op) is not type(node.test.ops[0]):
                new = ast.Compare(node.test.left, [op], node.test.comparators)
                yield Edit(0.9, SIGN, f"it must be: if {ast.unparse(new)}", line, ((node, "test", new),))


def _other(part: ast.expr) -> Iterator[tuple[str, float, ast.expr]]:
    """A function of a part."""
    if isinstance(part, (ast.Name, ast.Attribute, ast.Subscript)):
        for function in WRAPS:
            yield f"{function} of {ast.unparse(part)} is needed", 1.6, parsed(f"{function}({ast.unparse(part)})")


def _indices(node: ast.Subscript, entries: Sequence[str]) -> Iterator[Edit]:
    """An index one or two further; another index; the first so many of a row, where all were taken."""
    if not isinstance(node.ctx, ast.Load):
        return
    text, line = ast.unparse(node.slice), node.lineno
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    for k, part in enumerate(parts):
        if isinstance(part, (ast.Slice, ast.Tuple)) or (isinstance(part, ast.Constant) and len(parts) == 1):
            continue
        for step in (1, -1, 2, -2):
            moved = ast.BinOp(part, ast.Add(), ast.Constant(step))
            index: ast.expr = ast.Tuple([*parts[:k], moved, *parts[k + 1 :]], ast.Load()) if len(parts) > 1 else moved
            words = f"[{ast.unparse(part)}{step:+d}] belongs where [{ast.unparse(part)}] stands"
            yield Edit(1.1, EARLIER, words, line, ((node, "slice", index),))
        for entry in entries:
            if len(parts) > 1 and entry != ast.unparse(part) and not isinstance(part, ast.Name):
                places = ast.Tuple([*parts[:k], parsed(entry), *parts[k + 1 :]], ast.Load())
                yield Edit(1.7, EARLIER, f"{entry} belongs in the brackets", line, ((node, "slice", places),))
    if len(parts) == 1 and isinstance(node.slice, ast.Name):
        for entry in entries:
            if entry.endswith(f"[{text}]"):
                shorter = parsed(f"a[{text}, :{entry}]")
                assert isinstance(shorter, ast.Subscript)
                words = f"only the first {entry} belong there"
                yield Edit(1.8, EARLIER, words, line, ((node, "slice", shorter.slice),))


def _values(node: ast.Assign | ast.AugAssign, entries: Sequence[str]) -> Iterator[Edit]:
    """The right-hand side times or over an entry, with one more, or a number."""
    value, line = node.value, node.lineno
    if isinstance(value, (ast.Tuple, ast.List, ast.Dict)):
        return
    target = node.target if isinstance(node, ast.AugAssign) else node.targets[0]
    if not isinstance(value, ast.Constant) and isinstance(target, ast.Subscript):
        for number in (0, 1):
            words = f"{number} belongs there"
            yield Edit(1.2, FACTOR, words, line, ((node, "value", ast.Constant(number)),))
    if not isinstance(target, ast.Subscript):
        return
    for entry in entries:
        if entry == ast.unparse(target):
            continue
        for sign, pattern, word in ((ast.Mult(), FACTOR, "factor"), (ast.Div(), FACTOR, "divisor")):
            new = ast.BinOp(value, sign, parsed(entry))
            yield Edit(1.9, pattern, f"the {word} {entry} is missing", line, ((node, "value", new),))
        plus = ast.BinOp(value, ast.Add(), parsed(entry))
        yield Edit(2.0, TERM, f"the term {entry} is missing", line, ((node, "value", plus),))
        yield Edit(2.1, FACTOR, f"{entry} belongs there", line, ((node, "value", parsed(entry)),))


def entries_of(tree: ast.Module) -> list[str]:
    """Entries of arrays: those that a function names, and its arrays at places where others are taken."""
    entries: dict[str, None] = {}
    arrays: dict[str, None] = {}
    indices: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and not isinstance(node.slice, ast.Slice):
            index = index_of(node)
            if ":" not in index and not isinstance(node.slice, ast.Constant):
                entries[ast.unparse(node)] = None
                indices[index] = None
            arrays[ast.unparse(node.value)] = None
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self":
            arrays[ast.unparse(node)] = None
    for index in indices:
        for array in arrays:
            entries.setdefault(f"{array}[{index}]")
    return [*entries][:MOST]

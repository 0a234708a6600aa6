"""Edits that put in a part of a formula: what a softmax or a norm takes off, a loop's index, an einsum's letters."""

import ast
from collections.abc import Iterator, Sequence

from minirnn.testing.functions.faults import EARLIER, FACTOR, TERM, TRANSPOSED

OVER = ("-1", "0")  # the axes over which softmax and norms are taken

Replacement = tuple[float, str, str, ast.AST]


def loops_in(tree: ast.AST) -> list[str]:
    """The names that loops count with."""
    targets = (node.target for node in ast.walk(tree) if isinstance(node, ast.For))
    return sorted({target.id for target in targets if isinstance(target, ast.Name)})


def parts_of_formulas(node: ast.AST, operands: Sequence[str], loops: Sequence[str]) -> Iterator[Replacement]:
    """What may stand where ``node`` does."""
    if isinstance(node, ast.Name) and node.id.startswith(("d", "grad")):
        yield from _less_its_part(node.id, operands)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        yield from _of_one_by_one(node)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and ast.unparse(node.left) in ("1", "1.0"):
        square = f"1 - ({ast.unparse(node.right)}) ** 2"
        yield 1.1, FACTOR, f"{square} belongs there: a tanh has it, a sigmoid the other", _parsed(square)
    if isinstance(node, ast.Subscript) and isinstance(node.slice, (ast.Name, ast.BinOp)):
        used = {one.id for one in ast.walk(node.slice) if isinstance(one, ast.Name)}
        for name in loops:
            if name not in used:
                new = f"{ast.unparse(node.value)}[{ast.unparse(node.slice)} + {name}]"
                yield 1.6, EARLIER, f"another index belongs there: {new}", _parsed(new)
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and "->" in node.value:
        yield from _letters(node.value)


def _less_its_part(name: str, operands: Sequence[str]) -> Iterator[Replacement]:
    """A gradient less its mean, or less its part along a softmax's or a norm's output."""
    for axis in OVER:
        over = f"{axis}, keepdims=True"
        takes = [f"{name}.mean({over})"]
        for one in operands:
            if one.removeprefix("self.").isidentifier() and one != name:
                takes += [f"({name} * {one}).sum({over})", f"{one} * ({name} * {one}).mean({over})"]
        for part in takes:
            yield 2.6, TERM, f"the term -{part} is missing", _parsed(f"{name} - {part}")


def _of_one_by_one(node: ast.BinOp) -> Iterator[Replacement]:
    """``p * (1 - p) * dp``, as if a softmax were taken entry by entry."""
    factors, left = [node.right], node.left
    while isinstance(left, ast.BinOp) and isinstance(left.op, ast.Mult):
        factors.append(left.right)
        left = left.left
    words = [ast.unparse(one) for one in (left, *reversed(factors))]
    for p in words:
        if f"1 - {p}" in words and len(words) > 2:
            rest = list(words)
            rest.remove(p)
            rest.remove(f"1 - {p}")
            dp = " * ".join(f"({one})" for one in rest)
            for axis in OVER:
                new = f"{p} * ({dp} - ({p} * {dp}).sum({axis}, keepdims=True))"
                yield 1.7, TERM, f"every output of a softmax depends on every input: {new}", _parsed(new)


def _letters(subscripts: str) -> Iterator[Replacement]:
    """An einsum's subscripts with two neighbours in one operand exchanged."""
    for k in range(len(subscripts) - 1):
        if subscripts[k].isalpha() and subscripts[k + 1].isalpha():
            new = f"{subscripts[:k]}{subscripts[k + 1]}{subscripts[k]}{subscripts[k + 2 :]}"
            yield 0.9, TRANSPOSED, f"the subscripts must be {new!r}", ast.Constant(new)


def _parsed(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body

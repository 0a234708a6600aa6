"""An ``unstep`` of which some lines are still ``...``: which they are, and whether the others are right.

The function is run with the true gradient in the place of each ``...``, so that every line that is filled in can be
looked at as if the rest were right.
"""

import ast
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from minirnn.core.protocol import Array, Arrays, Stage, matrix_of, recurrent_bias_of, units_of
from minirnn.testing.recording import Function, Value
from minirnn.testing.rewriting import COPY, Fill, compiled, copy, copying, definition_of

HOLE = "__hole__"


@dataclass(frozen=True)
class Hole:
    """A variable that is not filled in, and its line."""

    name: str
    line: int


class _Holes(ast.NodeTransformer):
    """Calls of ``HOLE`` in the place of every ``...`` that is a value."""

    def __init__(self) -> None:
        self.holes: list[Hole] = []

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        node.value = self.visit(node.value)  # an index may be ...
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        target = node.targets[0]
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            values = zip(target.elts, node.value.elts, strict=False)
            node.value.elts = [self._filled(v, ast.unparse(t)) for t, v in values]
        else:
            node.value = self._filled(node.value, ast.unparse(target))
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        return node  # a body that is ... is no value

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return self._filled(node, "what it returns")

    def _filled(self, value: ast.expr, name: str) -> ast.expr:
        if not (isinstance(value, ast.Constant) and value.value is ...):
            return self.generic_visit(value) if not isinstance(value, ast.Constant) else value  # type: ignore[return-value]
        self.holes.append(Hole(name, value.lineno))
        call = ast.Call(ast.Name(HOLE, ast.Load()), [ast.Constant(name), ast.Constant(value.lineno)], [])
        return ast.copy_location(call, value)


def holes_in(function: Function | None) -> tuple[list[Hole], Callable[[Fill], Function]]:
    """The ``...`` of a function, and what makes the function with another value for each; none without its source."""
    if function is None:
        return [], _nothing
    definition = definition_of(function)
    if definition is None:
        return [], lambda _: function
    transformer = _Holes()
    definition.body = [transformer.visit(line) for line in definition.body]

    def made(value: Fill) -> Function:
        return compiled(copying(definition), function, {HOLE: value, COPY: copy})

    return transformer.holes, made


def _nothing(_: Fill) -> Function:
    raise TypeError("there is no unstep")


def without_unstep(stage: Stage) -> Stage:
    """A stage with the same ``step``, and an ``unstep`` that sends nothing back."""

    def nothing(dstate: Arrays, saved: Arrays, *units: Array) -> tuple[Value, ...]:
        rows, width = len(dstate[0]), max(np.shape(d)[1] for d in dstate)
        zero = np.zeros((rows, len(stage.gates) * width))
        dq = np.zeros(np.shape(dstate[0])) if matrix_of(stage) else zero
        return None if matrix_of(stage) else zero, dq, (None,) * 9, *(np.zeros((rows, width)) for _ in units)

    return SimpleNamespace(
        gates=stage.gates,
        saves=stage.saves,
        units=units_of(stage),
        matrix=matrix_of(stage),
        recurrent_bias=recurrent_bias_of(stage),
        step=stage.step,
        unstep=nothing,
    )

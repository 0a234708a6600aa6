"""CMU 11-785's cells: classes with ``forward(x, h_prev_t)`` and ``backward``, gradients in attributes ``dW...``.

A GRU cell takes one vector x (D,) and h (H,).  An RNNCell takes rows; its backward pass gets the states too, and its
weights' gradients are the mean over the rows.
"""

import inspect
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from minirnn.testing.courses import formulas
from minirnn.testing.courses.exercises import ascending
from minirnn.testing.courses.findings import (
    RETURNS,
    SLOW,
    UNFILLED,
    Finding,
    Result,
    in_order,
    of_error,
    of_fault,
    with_lines,
)
from minirnn.testing.courses.limits import LIMIT, TimeUpError, quiet, seconds
from minirnn.testing.courses.outputs import SEARCH, Sizes, Task, first, hopeless, judge_outputs
from minirnn.testing.functions.blame import Answer
from minirnn.testing.functions.calls import Function
from minirnn.testing.functions.calls import Result as Ran
from minirnn.testing.functions.checking import FunctionReport, report_of
from minirnn.testing.functions.derivatives import frozen
from minirnn.testing.functions.leaves import Array
from minirnn.testing.functions.parameters import zeroed
from minirnn.testing.functions.repair import repairs_of_error

COURSE = "CMU 11-785"
STREAM = 785
POINTS = 4  # where gradients are compared: two, one where x is 0, one where h is


class Kind(NamedTuple):
    """A kind of cell: the attributes by which it is known, its sizes, what it computes, what backward takes."""

    weights: tuple[str, ...]
    sizes: str
    usual: tuple[int, ...]
    formula: Callable[[Any, Array, Array], tuple[Array, ...]]
    takes: int
    mean: bool  # whether the weights' gradients are means over the rows


KINDS = (
    Kind(tuple(f"W{g}{s}" for g in "rzn" for s in "xh"), "DH", (3, 4), formulas.gru_of, 1, mean=False),
    Kind(("W_ih", "W_hh"), "NDH", (3, 4, 5), formulas.rnn_of, 4, mean=True),
)


class Called(Function):
    """A cell whose backward pass is called as the course calls it."""

    kind: Kind

    def pull_from(self, result: Ran, dy: Any) -> Any:
        """The gradients of x and h; those of the weights are left in the cell, as sums over the rows."""
        zeroed(result.rest, self.parameters)
        with frozen():
            returned = self._backward(result.rest, dy, result.outputs, result.arguments)
        if self.kind.mean:
            for one in self.parameters:
                gradient = one.gradient_in(result.rest)
                if isinstance(gradient, np.ndarray):
                    setattr(result.rest, str(one.gradient[-1]), gradient * len(result.arguments[0]))
        if not isinstance(returned, tuple) or len(returned) != 2:
            return returned
        return tuple(_flat(g, x) for g, x in zip(returned, result.arguments, strict=True))

    def _backward(self, cell: Any, delta: Array, y: Array, arguments: tuple[Any, ...]) -> Any:
        more = (y, *arguments) if self.kind.takes == 4 else ()
        return cell.backward(delta, *more)

    def _trial_of_object(self, one: Any) -> None:
        arguments = tuple(np.array(value) for value in self.args)
        with frozen(), suppress(Exception):  # a student's code may raise: its gradients have places before
            y = one.forward(*arguments)
            self._backward(one, np.ones_like(y), y, arguments)


def _flat(g: Any, x: Array) -> Any:
    """A gradient (1, D) of a vector (D,) as the vector that it is."""
    return g.reshape(x.shape) if isinstance(g, np.ndarray) and g.shape == (1, *x.shape) else g


def graded(module: ModuleType, file: str, progress: Callable[[str], None]) -> list[Result]:
    """The results of all such cells that a module defines."""
    results: list[Result] = []
    for name, value in list(vars(module).items()):
        if not isinstance(value, type) or value.__module__ != module.__name__:
            continue
        kind = _kind(value)
        if kind is not None:
            progress(name)
            results += _Cell(name, value, kind, file).results()
    return results


def _kind(cell: Any) -> Kind | None:
    """What kind of cell a class is, by its methods and the attributes of an object."""
    if not callable(getattr(cell, "forward", None)) or not callable(getattr(cell, "backward", None)):
        return None
    try:
        inspect.signature(cell).bind(2, 3)
        inspect.signature(cell.forward).bind(*range(3))
        one = cell(2, 3)
    except Exception:  # noqa: BLE001 - then it is no cell of this course
        return None
    return next((kind for kind in KINDS if all(hasattr(one, name) for name in kind.weights)), None)


class _Cell:
    """One class that was handed in."""

    def __init__(self, name: str, cell: Any, kind: Kind, file: str) -> None:
        self.name, self.cell, self.kind, self.file = name, cell, kind, file
        self.right = False  # whether forward computes what the course says

    def drawn(self, sizes: Sizes, point: int = 0) -> tuple[Any, Array, Array]:
        """A cell with random weights, x and h, the last of which are 0 at the third and fourth point."""
        *rows, D, H = sizes
        rng = np.random.default_rng([STREAM, point if point < 2 else 0, *sizes])
        with frozen():
            one = self.cell(D, H)
        for name, value in list(vars(one).items()):
            if isinstance(value, np.ndarray) and value.dtype.kind == "f" and f"d{name}" in vars(one):
                setattr(one, name, rng.normal(size=value.shape))
        return one, (point != 2) * rng.normal(size=(*rows, D)), (point != 3) * rng.normal(size=(*rows, H))

    def results(self) -> list[Result]:
        """The results of forward and of backward."""
        ahead = self._forward()
        self.right = ahead.ok
        name = f"{self.name}.backward"
        if hopeless(ahead):
            return [ahead, Result(name, COURSE, "not judged", blamed=ahead.function)]
        return [ahead, self._backward(name)]

    # ------------------------------------------------------------------ forward

    def _forward(self) -> Result:
        name = f"{self.name}.forward"

        def call(function: Callable[..., Any], sizes: Sizes, point: int) -> Any:
            one, x, h = self.drawn(sizes, point)
            return function(one, x.copy(), h.copy())

        def answers(y: Any, sizes: Sizes, point: int) -> Sequence[Answer]:
            (right,) = self.kind.formula(*self.drawn(sizes, point))
            return [Answer("h_t", y, right)]

        usual = self.kind.usual
        extra = [f"self.{name}" for name in vars(self.drawn(usual)[0]) if name[:1] in "Wb"]
        words, every = self._words, ascending(len(self.kind.sizes))
        task = Task(name, COURSE, self.file, self.cell.forward, call, answers, usual, every, words, POINTS, extra)
        return judge_outputs(task)[0]

    # ------------------------------------------------------------------ backward

    def _function(self, sizes: Sizes) -> Function:
        kind: type[Called] = type("Kinded", (Called,), {"kind": self.kind})
        one, x, h = self.drawn(sizes)
        return kind(one, None, (x, h), form="object", formula=self.kind.formula if self.right else None)

    def _report(self, sizes: Sizes, *, fast: bool = False) -> FunctionReport:
        return report_of(self._function(sizes), fast=fast)

    def _passes(self, sizes: Sizes) -> bool:
        try:
            return self._report(sizes, fast=True).ok
        except Exception:  # noqa: BLE001 - a student's code may raise anything
            return False

    def _backward(self, name: str) -> Result:
        findings: list[Finding] = []
        smallest, usual = "", self.kind.usual
        try:
            with quiet(), seconds(LIMIT):
                findings = self._wrong(name)
                if not findings:
                    return Result(name, COURSE, "right")
                if findings[0].pattern == UNFILLED:
                    return Result(name, COURSE, "wrong", tuple(findings))
                every = ascending(len(self.kind.sizes))
                smallest = self._words(first(every, lambda at: not self._passes(at), SEARCH) or usual)
        except TimeUpError:
            findings = findings or [Finding(name, SLOW, f"it takes more than {LIMIT:g} s")]
        return Result(name, COURSE, "wrong", tuple(findings), smallest)

    def _wrong(self, name: str) -> list[Finding]:
        one, x, h = self.drawn(self.kind.usual)
        try:
            y = one.forward(x, h)
            more = (y, x, h) if self.kind.takes == 4 else ()
            returned = one.backward(np.ones_like(y), *more)
            if returned is None or returned is NotImplemented:
                return [Finding(name, UNFILLED, "nothing is computed yet: it returns None")]
            if not isinstance(returned, tuple) or len(returned) != 2:
                return [Finding(name, RETURNS, "it must return the gradients of x and of h_prev_t")]
            report = self._report(self.kind.usual)
        except Exception as error:  # noqa: BLE001 - a student's code may raise anything
            return with_lines(of_error(error, self.file, name), repairs_of_error(self._function(self.kind.usual)))
        findings = in_order([of_fault(fault) for fault in report.faults])
        lacking = [w for w in self.kind.weights if f"d{w}" not in {f"d{row.name.lstrip('.')}" for row in report.rows}]
        return findings + [Finding(f"d{w}", "missing term", "it is not computed") for w in lacking]

    def _words(self, sizes: Sizes) -> str:
        *rows, D, H = sizes
        said = ", ".join(f"{name} {n}" for name, n in zip(self.kind.sizes, sizes, strict=True))
        return f"{said}: x {(*rows, D)}, h_prev_t {(*rows, H)}"

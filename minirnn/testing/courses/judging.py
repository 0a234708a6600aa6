"""One exercise: its forward pass held against the formula, its backward pass against derivatives of that."""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from minirnn.testing.courses.exercises import Exercise, ascending, copied, shapes
from minirnn.testing.courses.findings import (
    RETURNS,
    SLOW,
    UNFILLED,
    Finding,
    Result,
    empty,
    in_order,
    of_error,
    of_fault,
    with_lines,
)
from minirnn.testing.courses.limits import LIMIT, TimeUpError, quiet, seconds
from minirnn.testing.courses.outputs import CONFIRM, SEARCH, Task, first, judge_outputs
from minirnn.testing.functions.blame import Answer
from minirnn.testing.functions.calls import Function, names_of
from minirnn.testing.functions.checking import FunctionReport, report_of
from minirnn.testing.functions.faults import UNKNOWN
from minirnn.testing.functions.repair import repairs_of_error


class Pair(NamedTuple):
    """A student's forward and backward pass, and the file that they are in."""

    forward: Callable[..., Any]
    backward: Callable[..., Any] | None
    file: str
    formula: bool = False  # whether the forward pass computes what the course says


# ---------------------------------------------------------------------- the forward pass


def judge_forward(exercise: Exercise, pair: Pair) -> tuple[Result, Callable[..., Any] | None]:
    """Whether the forward pass computes what the course says, for any sizes; where it was mended, what it is then."""

    def call(function: Callable[..., Any], sizes: tuple[int, ...], point: int) -> Any:
        return function(*copied(exercise.arguments(sizes, point)))

    def answers(returned: Any, sizes: tuple[int, ...], point: int) -> Sequence[Answer] | Finding:
        return compared(exercise, returned, exercise.arguments(sizes, point))

    name, words, every = exercise.forward, partial(_words, exercise, pair), ascending(len(exercise.sizes))
    whose, points = (name, exercise.course, pair.file), exercise.points
    return judge_outputs(Task(*whose, pair.forward, call, answers, exercise.usual, every, words, points))


def compared(exercise: Exercise, returned: Any, arguments: tuple[Any, ...]) -> Sequence[Answer] | Finding:
    """What was returned beside what must be."""
    right = exercise.formula(*arguments)
    count, name = len(right) + 1, exercise.forward
    if isinstance(returned, tuple) and (not returned or returned[0] is None):
        return Finding(name, UNFILLED, "nothing is computed yet: it returns None")
    last = "the cache" if exercise.form == "cache" else "the gradient"
    if not isinstance(returned, tuple) or len(returned) != count:
        came = f"{len(returned)} values" if isinstance(returned, tuple) else type(returned).__name__
        return Finding(name, RETURNS, f"it must return {', '.join(exercise.outputs)} and {last}; it returns {came}")
    return [
        Answer(what, y, np.asarray(expected))
        for what, y, expected in zip(exercise.outputs, returned, right, strict=False)
    ]


# ---------------------------------------------------------------------- the backward pass


def judge_backward(exercise: Exercise, pair: Pair) -> Result:
    """Whether the backward pass returns derivatives of the student's own forward pass."""
    name, course = exercise.backward, exercise.course
    findings: list[Finding] = []
    smallest = ""
    try:
        with quiet(), seconds(LIMIT):
            sizes: tuple[int, ...] = exercise.usual
            unfilled = _unfilled(exercise, pair, exercise.arguments(sizes))
            if unfilled is not None:
                return Result(name, course, "wrong", (unfilled,))

            def fails(at: tuple[int, ...]) -> bool:
                return not passes(exercise, pair, at)

            smaller = first(ascending(len(exercise.sizes)), fails, SEARCH if fails(sizes) else CONFIRM)
            smallest = _words(exercise, pair, smaller or sizes)
            sizes = sizes if fails(sizes) else smaller or sizes
            if fails(sizes):  # what is said if the time is up before it is known which gradient it is
                findings = [Finding(name, UNKNOWN, "a gradient is not the derivative")]
            findings, notes = wrong_gradients(exercise, pair, sizes)
            if not findings:
                return Result(name, course, "right", notes=tuple(notes))
    except TimeUpError:
        findings = findings or [Finding(name, SLOW, f"it takes more than {LIMIT:g} s")]
    return Result(name, course, "wrong", tuple(findings), smallest)


def wrong_gradients(exercise: Exercise, pair: Pair, sizes: tuple[int, ...]) -> tuple[list[Finding], list[str]]:
    """What is wrong with the gradients at these sizes, and remarks."""
    arguments = exercise.arguments(sizes)
    try:
        report = _report(exercise, pair, arguments)
    except Exception as error:  # noqa: BLE001 - a student's code may raise anything
        finding = of_error(error, pair.file, exercise.backward)
        if "Noted" in finding.words:  # a right step stands in, into whose cache it looks
            return [finding], []
        return with_lines(finding, repairs_of_error(_function(exercise, pair, arguments))), []
    findings = [of_fault(fault) for fault in report.faults]
    if not findings and not report.ok:
        findings = [Finding(row.name, "unknown", "it is not the derivative") for row in report.rows if not row.ok]
    missing = [remark for remark in report.remarks if "no gradient was returned" in remark]
    findings += [Finding(f"d{_last(remark)}", "missing term", "no gradient was returned") for remark in missing]
    return in_order(findings), [remark for remark in report.remarks if remark not in missing]


def _last(remark: str) -> str:
    name = remark.partition(":")[0]
    return name.rpartition("[")[2].strip("']") if "['" in name else name


def _unfilled(exercise: Exercise, pair: Pair, arguments: tuple[Any, ...]) -> Finding | None:
    """That the backward pass returns None; None where it returns something, or raises."""
    try:
        *outputs, cache = pair.forward(*copied(arguments))
        if exercise.form == "loss":
            returned = cache
        else:
            assert pair.backward is not None
            takes = len(inspect.signature(pair.backward).parameters) - 1  # all but the cache
            returned = pair.backward(*(np.ones_like(y) for y in outputs[:takes]), cache)
    except Exception:  # noqa: BLE001 - the check says what
        return None
    if not empty(returned):
        return None
    lacking = ""
    if isinstance(returned, dict):
        lacking = f" in {', '.join(str(key) for key, value in returned.items() if value is None)}"
    elif isinstance(returned, tuple):
        lacking = f" in place {', '.join(str(k) for k, value in enumerate(returned) if value is None)}"
    return Finding(exercise.backward, UNFILLED, f"not everything is computed yet: it returns None{lacking}")


def _function(exercise: Exercise, pair: Pair, arguments: tuple[Any, ...]) -> Function:
    loss, formula = exercise.form == "loss", exercise.formula if pair.formula else None
    return Function(pair.forward, None if loss else pair.backward, arguments, form=exercise.form, formula=formula)


def _report(exercise: Exercise, pair: Pair, arguments: tuple[Any, ...], *, fast: bool = False) -> FunctionReport:
    wrt = ["x"] if exercise.form == "loss" and "x" in names_of(pair.forward, 3) else None
    return report_of(_function(exercise, pair, arguments), wrt=wrt, fast=fast)


def passes(exercise: Exercise, pair: Pair, sizes: tuple[int, ...]) -> bool:
    """Whether all gradients agree at these sizes, along one direction."""
    try:
        arguments = exercise.arguments(sizes)
        return _report(exercise, pair, arguments, fast=True).ok
    except Exception:  # noqa: BLE001 - a student's code may raise anything
        return False


# ---------------------------------------------------------------------- the smallest input


def _words(exercise: Exercise, pair: Pair, sizes: tuple[int, ...]) -> str:
    """Sizes in words: ``N 1, D 2, H 1: x (1, 2), ...``."""
    arguments = exercise.arguments(sizes)
    names = names_of(pair.forward, len(arguments))
    said = ", ".join(f"{name} {n}" for name, n in zip(exercise.sizes, sizes, strict=True))
    return f"{said}: {shapes(names, arguments)}"

"""One exercise: its forward pass held against the formula, its backward pass against derivatives of that."""

import contextlib
import inspect
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from minirnn.testing.courses.exercises import Exercise, ascending, shapes
from minirnn.testing.courses.findings import (
    RETURNS,
    SLOW,
    UNFILLED,
    VALUE,
    Finding,
    Result,
    empty,
    of_error,
    of_fault,
)
from minirnn.testing.courses.limits import TimeUpError, seconds
from minirnn.testing.courses.mending import Mend, mend
from minirnn.testing.courses.probing import Probe
from minirnn.testing.functions.calls import names_of
from minirnn.testing.functions.checking import FunctionReport, check
from minirnn.testing.functions.faults import SHAPE, UNKNOWN
from minirnn.testing.functions.leaves import with_arrays

LIMIT = 5.0  # seconds of processor time for one function, diagnosis included
SEARCH = 0.5  # of these for the smallest input
CONFIRM = 0.2  # and for one that shows what the usual sizes do not
MENDING = 3.0  # and for the line
TOLERANCE = 1e-8  # relative to the largest number: what students compute is float64


class Pair(NamedTuple):
    """A student's forward and backward pass, and the file that they are in."""

    forward: Callable[..., Any]
    backward: Callable[..., Any] | None
    file: str


def copied(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Arguments that may be written to."""
    return tuple(with_arrays(value, lambda _: None) for value in arguments)


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, overflow and a student's warnings say nothing."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


# ---------------------------------------------------------------------- the forward pass


def judge_forward(exercise: Exercise, pair: Pair) -> tuple[Result, Callable[..., Any] | None]:
    """Whether the forward pass computes what the course says, for any sizes; where it was mended, what it is then."""
    name, course = exercise.forward, exercise.course
    findings, smallest, sizes = [], "", exercise.usual
    mended = None
    try:
        with quiet(), seconds(LIMIT):
            fails = lambda at: difference(exercise, pair, at) is not None  # noqa: E731
            finding = difference(exercise, pair, exercise.usual)
            if finding is None:
                sizes = _first(exercise, fails, CONFIRM) or ()
                finding = difference(exercise, pair, sizes) if sizes else None
            if finding is None:
                return Result(name, course, "right"), None
            findings = [finding]
            smallest = _words(exercise, pair, _first(exercise, fails) or sizes)
            if finding.pattern != UNFILLED:
                mended = _mended_forward(exercise, pair, sizes)
            if mended is not None:
                words = f"{finding.words}: {mended.words}"
                findings = [Finding(finding.what, mended.pattern, words, mended.line, mended.source)]
    except TimeUpError:
        findings = findings or [Finding(name, SLOW, f"it takes more than {LIMIT:g} s")]
    return Result(name, course, "wrong", tuple(findings), smallest), mended.function if mended else None


def difference(
    exercise: Exercise, pair: Pair, sizes: tuple[int, ...], forward: Callable[..., Any] | None = None, seed: int = 0
) -> Finding | None:
    """How the outputs differ from the formula's at these sizes; None where they do not."""
    arguments = exercise.arguments(sizes, seed)
    try:
        returned = (forward or pair.forward)(*copied(arguments))
    except Exception as error:  # noqa: BLE001 - a student's code may raise anything
        return of_error(error, pair.file, exercise.forward)
    return compared(exercise, returned, arguments)


def compared(exercise: Exercise, returned: Any, arguments: tuple[Any, ...]) -> Finding | None:
    """How what was returned differs from what must be."""
    right = exercise.formula(*arguments)
    count, name = len(right) + 1, exercise.forward
    if returned is None or (isinstance(returned, tuple) and (not returned or returned[0] is None)):
        return Finding(name, UNFILLED, "nothing is computed yet: it returns None")
    last = "the cache" if exercise.form == "cache" else "the gradient"
    if not isinstance(returned, tuple) or len(returned) != count:
        came = f"{len(returned)} values" if isinstance(returned, tuple) else type(returned).__name__
        return Finding(name, RETURNS, f"it must return {', '.join(exercise.outputs)} and {last}; it returns {came}")
    for what, y, expected in zip(exercise.outputs, returned, right, strict=False):
        finding = unequal(what, y, np.asarray(expected))
        if finding is not None:
            return finding
    return None


def unequal(what: str, y: Any, expected: Any, of: str = "course's") -> Finding | None:
    """How an output differs from what it must be."""
    try:
        array = np.asarray(y, dtype=float)
    except (TypeError, ValueError):
        return Finding(what, RETURNS, f"it must be an array; it is {type(y).__name__}")
    if array.shape != expected.shape:
        return Finding(what, SHAPE, f"it must have shape {expected.shape}; it has {array.shape}")
    off = np.nan_to_num(np.abs(array - expected), nan=np.inf)
    if off.size and off.max() > TOLERANCE * max(1.0, float(np.abs(expected).max())):
        at = tuple(int(k) for k in np.unravel_index(int(off.argmax()), off.shape))
        where = f" at {list(at)}" if at else ""
        return Finding(what, VALUE, f"it is {array[at]:+.4g} where the {of} is {expected[at]:+.4g}{where}")
    return None


def _mended_forward(exercise: Exercise, pair: Pair, sizes: tuple[int, ...]) -> Mend | None:
    """The edit that mends the forward pass, here and at another point."""

    def right(forward: Callable[..., Any]) -> bool:
        return all(difference(exercise, pair, sizes, forward, seed) is None for seed in (0, 1))

    return mend(pair.forward, right, MENDING)


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
                return not _passes(exercise, pair, at)

            smaller = _first(exercise, fails, SEARCH if fails(sizes) else CONFIRM)
            smallest = _words(exercise, pair, smaller or sizes)
            sizes = sizes if fails(sizes) else smaller or sizes
            if fails(sizes):
                # what is said if the time is up before it is known which gradient it is
                findings = [Finding(name, UNKNOWN, "a gradient is not the derivative")]
                findings = _mended_backward(exercise, pair, sizes)
            notes: list[str] = []
            if not any(finding.line for finding in findings):
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
        return [of_error(error, pair.file, exercise.backward)], []
    findings = [of_fault(fault) for fault in report.faults]
    if not findings and not report.ok:
        findings = [Finding(row.name, "unknown", "it is not the derivative") for row in report.rows if not row.ok]
    missing = [remark for remark in report.remarks if "no gradient was returned" in remark]
    findings += [Finding(f"d{_last(remark)}", "missing term", "no gradient was returned") for remark in missing]
    return findings, [remark for remark in report.remarks if remark not in missing]


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


def _report(
    exercise: Exercise,
    pair: Pair,
    arguments: tuple[Any, ...],
    *,
    fast: bool = False,
    backward: Callable[..., Any] | None = None,
) -> FunctionReport:
    if exercise.form == "loss":
        f = backward or pair.forward
        return check(f, None, *arguments, form="loss", wrt=["x"] if _has_x(f) else None, fast=fast, raises=False)
    return check(pair.forward, backward or pair.backward, *arguments, form="cache", fast=fast, raises=False)


def _has_x(f: Callable[..., Any]) -> bool:
    return "x" in names_of(f, 3)


def _passes(exercise: Exercise, pair: Pair, sizes: tuple[int, ...]) -> bool:
    """Whether all gradients agree at these sizes, along one direction."""
    try:
        arguments = exercise.arguments(sizes)
        return _report(exercise, pair, arguments, fast=True).ok
    except Exception:  # noqa: BLE001 - a student's code may raise anything
        return False


def _mended_backward(exercise: Exercise, pair: Pair, sizes: tuple[int, ...]) -> list[Finding]:
    """The gradients that are wrong, with the line that mends all of them; none where there is no such line."""
    backward = pair.forward if exercise.form == "loss" else pair.backward
    assert backward is not None
    try:
        probes = [Probe(exercise, pair.forward, backward, sizes, seed) for seed in (0, 1)]
    except Exception:  # noqa: BLE001 - a student's code may raise anything
        return []
    mended = mend(backward, lambda edited: all(probe.right(edited) for probe in probes), MENDING)
    if mended is None:
        with contextlib.suppress(Exception):
            wrong = [*probes[0].wrong(probes[0].said(backward))]
            return [Finding(name, UNKNOWN, "it is not the derivative") for name in wrong]
        return []
    right = probes[0].said(mended.function)
    try:
        said = probes[0].said(backward)
    except Exception as error:  # noqa: BLE001 - as above
        words = f"{of_error(error, pair.file, exercise.backward).words}: {mended.words}"
        return [Finding(exercise.backward, mended.pattern, words, mended.line, mended.source)]
    findings = []
    for name in probes[0].wrong(said):
        differs = unequal(name, said.get(name), np.asarray(right[name]), "derivative") if name in right else None
        words = f"{mended.words}; {differs.words}" if differs else mended.words
        findings.append(Finding(name, mended.pattern, words, mended.line, mended.source))
    return findings


# ---------------------------------------------------------------------- the smallest input


def _first(
    exercise: Exercise, fails: Callable[[tuple[int, ...]], bool], limit: float = SEARCH
) -> tuple[int, ...] | None:
    """The first sizes, from all 1 upwards, at which something fails; None where none was found in time."""
    deadline = time.process_time() + limit
    for sizes in ascending(len(exercise.sizes)):
        if time.process_time() > deadline:
            return None
        if fails(sizes):
            return sizes
    return None


def _words(exercise: Exercise, pair: Pair, sizes: tuple[int, ...]) -> str:
    """Sizes in words: ``N 1, D 2, H 1: x (1, 2), ...``."""
    arguments = exercise.arguments(sizes)
    names = names_of(pair.forward, len(arguments))
    said = ", ".join(f"{name} {n}" for name, n in zip(exercise.sizes, sizes, strict=True))
    return f"{said}: {shapes(names, arguments)}"

"""A function of which the course fixes what it returns: whether it does, the smallest input that shows it, the line."""

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from minirnn.testing.courses.findings import (
    RAISES,
    RETURNS,
    SLOW,
    UNFILLED,
    VALUE,
    Finding,
    Result,
    of_error,
    with_lines,
)
from minirnn.testing.courses.limits import LIMIT, TimeUpError, quiet, seconds
from minirnn.testing.functions.blame import Answer, Make
from minirnn.testing.functions.faults import SHAPE
from minirnn.testing.functions.leaves import Array
from minirnn.testing.functions.mending import Mend, mend

SEARCH = 0.3  # seconds for the smallest input
CONFIRM = 0.08  # and for one that shows what the usual sizes do not
TOLERANCE = 1e-8  # relative to the largest number: what students compute is float64
Sizes: TypeAlias = tuple[int, ...]


class Task(NamedTuple):
    """A function to be judged.

    ``call`` calls it, or an edited one, at sizes and a point; ``answers`` holds what it returns against what it must
    return there, or says why that cannot be compared.  ``extra`` are operands that an edit of its source may use.
    """

    name: str
    course: str
    file: str
    function: Callable[..., Any]
    call: Callable[[Callable[..., Any], Sizes, int], Any]
    answers: Callable[[Any, Sizes, int], Sequence[Answer] | Finding]
    usual: Sizes
    ascending: Sequence[Sizes]
    words: Callable[[Sizes], str]
    points: int = 2
    extra: Sequence[str] = ()
    tolerance: float = TOLERANCE

    def compare(self, sizes: Sizes, point: int, make: Make | None = None) -> Sequence[Answer] | Finding:
        """What the function, or one that is made of it, says, beside what it must; or why that cannot be compared."""
        try:
            returned = self.call(self.function if make is None else make(self.function), sizes, point)
        except Exception as error:  # noqa: BLE001 - a student's code may raise anything
            return of_error(error, self.file, self.name)
        if returned is None or returned is NotImplemented:
            return Finding(self.name, UNFILLED, "nothing is computed yet: it returns None")
        return self.answers(returned, sizes, point)

    def difference(self, sizes: Sizes) -> Finding | None:
        """How the function differs from the course's at these sizes; None where it does not."""
        compared = self.compare(sizes, 0)
        if isinstance(compared, Finding):
            return compared
        found = (unequal(*one, tolerance=self.tolerance) for one in compared)
        return next((finding for finding in found if finding is not None), None)


def judge_outputs(task: Task) -> tuple[Result, Callable[..., Any] | None]:
    """What came of a function; where it is wrong and was mended, what it is then."""
    findings: list[Finding] = []
    smallest, mended, sizes = "", list[Mend](), task.usual
    fails = lambda at: task.difference(at) is not None  # noqa: E731
    try:
        with quiet(), seconds(LIMIT):
            finding = task.difference(sizes)
            if finding is None:
                sizes = first(task.ascending, fails, CONFIRM) or ()
                finding = task.difference(sizes) if sizes else None
            if finding is None:
                return Result(task.name, task.course, "right"), None
            findings = [finding]
            smallest = task.words(first(task.ascending, fails, SEARCH) or sizes)
            if finding.pattern != UNFILLED:
                mended = mend(task.function, partial(_values, task, sizes), task.points, task.extra)
            if mended:
                findings = with_lines(finding, mended)
    except TimeUpError:
        findings = findings or [Finding(task.name, SLOW, f"it takes more than {LIMIT:g} s")]
    function = mended[-1].make(task.function) if mended and mended[-1].whole else None
    return Result(task.name, task.course, "wrong", tuple(findings), smallest), function


def _values(task: Task, sizes: Sizes, point: int, make: Make | None) -> Sequence[Answer]:
    compared = task.compare(sizes, point, make)
    return () if isinstance(compared, Finding) else compared


def first(ascending: Iterable[Sizes], fails: Callable[[Sizes], bool], limit: float) -> Sizes | None:
    """The first sizes at which something fails; None where none was found in time."""
    deadline = time.process_time() + limit
    for sizes in ascending:
        if time.process_time() > deadline:
            return None
        if fails(sizes):
            return sizes
    return None


def unequal(
    what: str, y: Any, expected: Array, of: str = "course's", *, tolerance: float = TOLERANCE
) -> Finding | None:
    """How an output differs from what it must be."""
    try:
        array: Array = np.asarray(y, dtype=float)
    except (TypeError, ValueError):
        return Finding(what, RETURNS, f"it must be an array; it is {type(y).__name__}")
    if array.shape != expected.shape:
        return Finding(what, SHAPE, f"it must have shape {expected.shape}; it has {array.shape}")
    off = np.nan_to_num(np.abs(array - expected), nan=np.inf)
    if off.size and off.max() > tolerance * max(1.0, float(np.abs(expected).max())):
        at = tuple(int(k) for k in np.unravel_index(int(off.argmax()), off.shape))
        where = f" at {list(at)}" if at else ""
        return Finding(what, VALUE, f"it is {array[at]:+.4g} where the {of} is {expected[at]:+.4g}{where}")
    return None


def hopeless(result: Result) -> bool:
    """Whether a forward pass is not filled in, or raises: its backward pass cannot be judged."""
    return any(finding.pattern in (UNFILLED, RAISES) for finding in result.findings)

"""What is wrong with a function that was handed in, in words and with its line; and what came of each function."""

import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from minirnn.testing.functions.faults import Fault
from minirnn.testing.functions.mending import Mend

RAISES, UNFILLED, VALUE, RETURNS, SLOW = "raises", "not filled in", "value", "what is returned", "time"
Status = Literal["right", "wrong", "missing", "not judged"]


@dataclass(frozen=True)
class Finding:
    """What is wrong with ``what``, a gradient or an output: the pattern, a sentence, and the line with its text."""

    what: str
    pattern: str
    words: str
    line: int = 0
    source: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.words} ({self.pattern})"


@dataclass(frozen=True)
class Result:
    """What came of one function: ``findings`` where it is wrong, ``smallest`` the first input that shows it.

    ``blamed`` is the function in which the first error lies, where it is another one.  One that is right with a right
    step in its place is right.
    """

    function: str
    course: str
    status: Status
    findings: tuple[Finding, ...] = ()
    smallest: str = ""
    blamed: str = ""
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the function is right."""
        return self.status == "right"

    @property
    def lines(self) -> list[str]:
        """What is said of the function below its name."""
        said, last = list[str](), ("", 0)
        for finding in self.findings:
            if finding.line and (finding.source, finding.line) != last:
                said.append(f"line {finding.line}: {finding.source}")
                last = finding.source, finding.line
            said.append(str(finding))
        if self.smallest:
            said.append(f"the smallest input: {self.smallest}")
        if self.blamed:
            said.append(self._blame())
        return [*said, *self.notes]

    def _blame(self) -> str:
        if self.status == "not judged":
            return f"the first error lies in {self.blamed}"
        verdict = "this is right" if self.ok else "this is wrong still"
        return f"the first error lies in {self.blamed}: with a right one in its place, {verdict}"


@dataclass(frozen=True, repr=False)
class Grade:
    """The results of all functions in a file, in the order in which they build on one another."""

    file: str
    results: tuple[Result, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether every function is right."""
        return all(result.ok for result in self.results)

    @property
    def words(self) -> str:
        """How many functions are right."""
        return f"{sum(result.ok for result in self.results)} of {len(self.results)} right"

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.file}, {self.words}>"

    def _repr_html_(self) -> str:
        """A table of the functions, for a notebook."""
        from minirnn.core.display import table  # what is imported for a notebook only

        rows = [(one.function, one.status, "\n".join(one.lines)) for one in self.results]
        return table(("function", "verdict", "why"), rows, caption=f"{self.file}: {self.words}")


def of_fault(fault: Fault) -> Finding:
    """A fault of a gradient, which is named as the course does: ``dWaa`` for ``parameters['Waa']``."""
    words = fault.words
    if np.isfinite(fault.derivative):
        at = f" at {list(fault.index)}" if fault.index else ""
        words += f"; it is {fault.gradient:+.4g} where the derivative is {fault.derivative:+.4g}{at}"
    name = fault.argument.rpartition("[")[2].strip("']") if "['" in fault.argument else fault.argument.lstrip(".")
    return Finding(f"d{name}", fault.pattern, words, fault.line, fault.source)


def with_lines(finding: Finding, mended: Sequence[Mend]) -> list[Finding]:
    """A finding once for each line that mends it, or as it is where none does."""
    several = [Finding(finding.what, m.pattern, f"{finding.words}: {m.words}", m.line, m.source) for m in mended]
    return in_order(several) or [finding]


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """Findings by their lines, those without one last."""
    return sorted(findings, key=lambda finding: finding.line or np.inf)


def of_error(error: BaseException, file: str, what: str) -> Finding:
    """An exception of a function, at the last line of the student's file that it went through."""
    words = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    if not lines:
        return Finding(what, RETURNS, str(error))
    return Finding(what, RAISES, f"it raises {words}", lines[-1].lineno or 0, (lines[-1].line or "").strip())


def empty(returned: Any) -> bool:
    """Whether nothing was computed: None, or a tuple or dict of which something is None."""
    if isinstance(returned, dict):
        return not returned or any(value is None for value in returned.values())
    if isinstance(returned, tuple):
        return not returned or any(value is None for value in returned)
    return returned is None or returned is NotImplemented or returned is ...

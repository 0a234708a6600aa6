"""Cells in minirnn's own protocol: what ``minirnn check FILE.py:CELL`` does with each."""

from collections.abc import Callable
from types import ModuleType

from minirnn.testing.courses.findings import Finding, Result, Status
from minirnn.testing.courses.limits import TimeUpError, seconds
from minirnn.testing.own import examine

COURSE = "minirnn"
EXAMPLES = 20  # layers that are tried
LIMIT = 20.0  # seconds for a cell, of which layers of all kinds are tried


def graded(module: ModuleType, file: str, progress: Callable[[str], None]) -> list[Result]:
    """The results of all cells that a module defines."""
    cells = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and value.__module__ == module.__name__
        and hasattr(value, "state")
        and (hasattr(value, "step") or hasattr(value, "stages"))
    ]
    results = []
    for cell in cells:
        progress(cell.__name__)
        results.append(_result(cell))
    return results


def _result(cell: type) -> Result:
    try:
        with seconds(LIMIT):
            verdict = examine(cell, examples=EXAMPLES)
    except (TypeError, ValueError) as error:
        return Result(cell.__name__, COURSE, "wrong", (Finding(cell.__name__, "protocol", str(error)),))
    except TimeUpError:
        finding = Finding(cell.__name__, "time", f"it takes more than {LIMIT:g} s")
        return Result(cell.__name__, COURSE, "wrong", (finding,))
    findings = tuple(Finding(one.gate, one.pattern, one.words, one.line, one.source) for one in verdict.findings)
    status: Status = "right" if verdict.ok else "wrong"
    return Result(cell.__name__, COURSE, status, findings, verdict.smallest, notes=tuple(verdict.notes))

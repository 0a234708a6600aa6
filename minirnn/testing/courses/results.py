"""Results in words, as JSON, and as the file that Gradescope's autograder reads."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from minirnn.testing.courses.findings import Grade, Result

POINTS = 1.0  # of a function


def lines_of(result: Result) -> list[str]:
    """What is said of one function below its name."""
    lines, last = [], ("", 0)
    for finding in result.findings:
        if finding.line and (finding.source, finding.line) != last:
            lines.append(f"line {finding.line}: {finding.source}")
            last = finding.source, finding.line
        lines.append(str(finding))
    if result.smallest:
        lines.append(f"the smallest input: {result.smallest}")
    if result.blamed:
        lines.append(_blame(result))
    return [*lines, *result.notes]


def _blame(result: Result) -> str:
    if result.status == "not judged":
        return f"the first error lies in {result.blamed}"
    if result.ok:
        return f"the first error lies in {result.blamed}: with a right one in its place, this is right"
    return f"the first error lies in {result.blamed}: with a right one in its place, this is wrong still"


def record(grade: Grade) -> dict[str, Any]:
    """A grade for JSON."""
    return {
        "file": grade.file,
        "ok": grade.ok,
        "right": sum(result.ok for result in grade.results),
        "of": len(grade.results),
        "functions": [asdict(result) | {"ok": result.ok} for result in grade.results],
    }


def for_gradescope(grade: Grade) -> dict[str, Any]:
    """A grade as Gradescope's ``results.json``: one test for each function, of a point."""
    tests = [
        {
            "name": f"{result.course}: {result.function}",
            "score": POINTS * result.ok,
            "max_score": POINTS,
            "status": "passed" if result.ok else "failed",
            "output": "\n".join([result.status, *lines_of(result)]),
        }
        for result in grade.results
    ]
    return {"score": POINTS * sum(result.ok for result in grade.results), "tests": tests}


def ungraded(why: str) -> dict[str, Any]:
    """``results.json`` of a file that cannot be graded."""
    return {"score": 0.0, "output": why, "tests": []}


def write(results: dict[str, Any], file: Path) -> None:
    """Write ``results.json``."""
    file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")

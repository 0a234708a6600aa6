"""Results in words, as JSON, and as the file that Gradescope's autograder reads."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from minirnn.testing.courses.findings import Grade

POINTS = 1.0  # of a function


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
            "output": "\n".join([result.status, *result.lines]),
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

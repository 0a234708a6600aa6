"""The exercises: each can be solved, its solution is proven, and what is not filled in is told of."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from minirnn.cli import main
from minirnn.testing.diagnosis import diagnose
from minirnn.testing.own import cell_from, examine

EXERCISES = Path(__file__).resolve().parent.parent / "examples/exercises"
FILES = sorted(path.name for path in EXERCISES.glob("[0-9]*.py"))
every_exercise = pytest.mark.parametrize("file", FILES)


def invoke(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def cell_of(file: str) -> str:
    """The cell's name, as the file's own command has it."""
    found = re.search(rf"minirnn check examples/exercises/{file}:(\w+)", (EXERCISES / file).read_text(encoding="utf-8"))
    assert found
    return found[1]


def given(path: Path, cell: str) -> str:
    """All of a file but its docstring and its unstep."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name == cell:
            node.body = [part for part in node.body if getattr(part, "name", "") != "unstep"]
    return ast.unparse(ast.Module(tree.body[1:], []))


def test_there_are_six_and_the_text_has_them_all() -> None:
    text = (EXERCISES / "README.md").read_text(encoding="utf-8")
    assert len(FILES) == 6
    assert re.findall(r"\[`(\w+)`\]\((\w+\.py)\)", text) == [(cell_of(file), file) for file in FILES]


@every_exercise
def test_a_solution_is_proven(file: str) -> None:
    cell = cell_from(f"{EXERCISES / 'solutions' / file}:{cell_of(file)}")
    assert diagnose(cell) == []
    assert examine(cell, examples=5).ok
    assert given(EXERCISES / file, cell_of(file)) == given(EXERCISES / "solutions" / file, cell_of(file))


@every_exercise
def test_what_is_not_filled_in_is_told_of(file: str) -> None:
    source = (EXERCISES / file).read_text(encoding="utf-8")
    assert " = ...  # (" in source
    assert "Hint: " in source
    result = invoke("check", f"{EXERCISES / file}:{cell_of(file)}")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.output
    assert f"cell {cell_of(file)} does not run" in result.stderr

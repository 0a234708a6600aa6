"""The exercises: each can be solved, its solution is proven, and what is not filled in is told of."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from minirnn.cli.app import main
from minirnn.testing.diagnosis import diagnose
from minirnn.testing.own import cell_from, examine

EXERCISES = Path(__file__).resolve().parents[2] / "examples/exercises"
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
    assert result.exit_code == 1, result.output
    for number, line in enumerate(source.splitlines(), 1):
        name, dots, _ = line.strip().partition(" = ...  # (")
        if dots:
            assert f"  line {number}: unstep: {name} is not filled in yet\n      {name} = ...\n" in result.stdout


@every_exercise
def test_the_lines_that_are_filled_in_are_looked_at_one_by_one(file: str, tmp_path: Path) -> None:
    """The first blank is filled in rightly, then with the wrong sign; the others are still blank."""
    source = (EXERCISES / file).read_text(encoding="utf-8").splitlines()
    solved = (EXERCISES / "solutions" / file).read_text(encoding="utf-8").splitlines()
    blanks = [number for number, line in enumerate(source) if " = ...  # " in line]
    if len(blanks) == 1:
        return  # then nothing is left blank
    name = source[blanks[0]].split()[0]
    (answer,) = (line for line in solved if line.strip().startswith(f"{name} = "))
    path = tmp_path / file
    path.write_text("\n".join([*source[: blanks[0]], answer, *source[blanks[0] + 1 :]]), encoding="utf-8")
    out = invoke("check", f"{path}:{cell_of(file)}").stdout
    assert f"right already: {name}\n" in out
    assert out.count("is not filled in yet") == len(blanks) - 1
    wrong = answer.partition("#")[0].replace(" = ", " = -(").rstrip() + ")"
    path.write_text("\n".join([*source[: blanks[0]], wrong, *source[blanks[0] + 1 :]]), encoding="utf-8")
    out = invoke("check", f"{path}:{cell_of(file)}").stdout
    assert "right already" not in out
    assert re.search(rf"at \w+, line {blanks[0] + 1}: .*the sign is wrong \(sign\)", out), out

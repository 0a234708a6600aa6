"""The notebooks as text: each can be opened as one, says where it runs, and is looked at; the book runs them."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs/notebooks"
NOTEBOOKS = sorted(FOLDER.glob("[0-9]*.md"))
HEADER = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# """
CELL = re.compile(r"^```\{code-cell\} python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_opens_as_one(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith(HEADER)
    cells = CELL.findall(text)
    assert len(cells) == text.count("```{code-cell}") >= 3
    trees = [ast.parse(cell) for cell in cells]
    repository = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
    place = repository.removeprefix("https://github.com/")
    assert f"https://mybinder.org/v2/gh/{place}/main?urlpath=lab/tree/docs/notebooks/{path.name})" in text
    assert "](index.md)" in text
    assert any(isinstance(node, ast.Assert) for tree in trees for node in ast.walk(tree)) or "assert_allclose" in text


def test_all_notebooks_are_listed_and_looked_at() -> None:
    index = (FOLDER / "index.md").read_text(encoding="utf-8")
    looked_at = (ROOT / "docs/look_at_notebooks.py").read_text(encoding="utf-8")
    assert [path.name for path in NOTEBOOKS] == re.findall(r"^\d\. \[.*?\]\((.*?)\)", index, re.MULTILINE)
    for path in NOTEBOOKS:
        assert f'"{path.stem}": {{' in looked_at


def test_binder_installs_what_the_page_names() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    (line,) = (ROOT / ".binder/requirements.txt").read_text(encoding="utf-8").split()
    named = re.fullmatch(r"\.\[(.*)\]", line)
    assert named
    assert {"notebooks", *named[1].split(",")} <= set(extras)

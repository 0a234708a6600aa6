"""Maps in docstrings are right: a room that lists its files lists all of them, and a file that is named exists."""

import ast
import re
from pathlib import Path

import pytest
from places import ROOT

PACKAGES = [ROOT / "minirnn", ROOT / "kernels"]
SOURCES = {".py", ".cu", ".cuh"}
FILES = [
    path
    for package in PACKAGES
    for path in sorted(package.rglob("*.py"))
    if ROOT / "minirnn/kernels" not in path.parents
]
LINE = re.compile(r"^ +(\w+\.(?:py|cuh?)) {2,}\S", re.MULTILINE)  # of a map
NAMED = re.compile(r"``([\w/]+\.(?:py|cuh?))``")
MAPPED = ("minirnn/core", "minirnn/layers", "minirnn/recurrent", "kernels/cpu", "kernels/cuda")


def mapped(folder: Path) -> list[str]:
    """The files that a room's docstring lists."""
    return LINE.findall(ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8")), clean=False) or "")


def test_a_map_names_every_file_of_its_room() -> None:
    for path in FILES:
        names = mapped(path.parent) if path.name == "__init__.py" else []
        if names:
            there = [p.name for p in path.parent.iterdir() if p.suffix in SOURCES and p.name != "__init__.py"]
            assert sorted(names) == sorted(there), path.relative_to(ROOT)


@pytest.mark.parametrize("room", MAPPED)
def test_these_rooms_have_a_map(room: str) -> None:
    assert mapped(ROOT / room)


def test_a_file_that_is_named_exists() -> None:
    """As seen from the file that names it, from the package, or from the repository."""
    for path in FILES:
        for name in NAMED.findall(path.read_text("utf-8")):
            places = [folder / name for folder in (path.parent, ROOT / "minirnn", ROOT)]
            assert any(place.exists() for place in places), f"{path.relative_to(ROOT)} names {name}"

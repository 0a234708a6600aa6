"""Imports go one way between the rooms of the package, and in no circle.  Imports inside functions count too."""

import ast
import shutil
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# from the bottom up: a room may import itself and whatever stands on an earlier line
FLOORS = [
    {"kernels", "formats.containers", "core.files"},  # core.files has the error for a bad file
    {"core"},
    {"cells", "scan"},
    {"more_cells"},
    {"layers"},
    {"recurrent"},
    {"optim", "inference", "language"},
    {"formats"},
    {"", "_moved"},  # what ``import minirnn`` offers
    {"training"},
    {"testing"},
    {"explain.engine"},
    {"explain"},
    {"cli"},
    {"__main__"},
]
# ``model.stream()`` and ``model.quantize()`` are methods of every layer: one line each reaches upwards
ALLOWED = {
    ("core.layer", "stream", "inference.streams"),
    ("core.module", "quantize", "inference.quantize"),
}


def modules(root: Path) -> dict[str, Path]:
    """Every module of the package by its name, without ``minirnn.``; the package itself is ""."""
    files = {}
    for top, start in (("minirnn", ()), ("kernels", ("kernels",))):
        for path in (root / top).rglob("*.py"):
            parts = (*start, *path.relative_to(root / top).with_suffix("").parts)
            if top == "kernels" or parts[0] != "kernels":  # minirnn/kernels is a link to kernels
                files[".".join(parts).removesuffix("__init__").rstrip(".")] = path
    return files


def imported(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """The modules of the package that this one imports, wherever in its text; what ``ALLOWED`` names is left out."""
    targets = set()

    def visit(node: ast.AST, function: str) -> None:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            function = node.name
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for whole in names:
            if whole.partition(".")[0] == "minirnn":
                parts = whole.split(".")[1:]
                while ".".join(parts) not in known:  # a name within a module
                    parts.pop()
                target = ".".join(parts)
                if (name, function, target) not in ALLOWED:
                    targets.add(target)
        for child in ast.iter_child_nodes(node):
            visit(child, function)

    visit(ast.parse(path.read_text(encoding="utf-8")), "")
    return targets - {name}


def floor(name: str) -> int:
    """How high a module stands: by its longest prefix that names a room."""
    rooms = {room: k for k, names in enumerate(FLOORS) for room in names}
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        if ".".join(parts[:end]) in rooms:
            return rooms[".".join(parts[:end])]
    raise AssertionError(f"{name} is in no room: add it to FLOORS")


def faults(root: Path) -> list[str]:
    """Imports that go upwards, and a circle if there is one."""
    known = modules(root)
    edges = {name: imported(name, path, known) for name, path in known.items()}
    upwards = [f"{name} imports {target}" for name in edges for target in edges[name] if floor(target) > floor(name)]
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        upwards.append(f"a circle: {' -> '.join(error.args[1])}")
    return sorted(upwards)


def test_imports_go_one_way_and_in_no_circle() -> None:
    assert faults(ROOT) == []


@pytest.mark.parametrize(
    ("file", "line", "expected"),
    [
        ("core/edge.py", "from minirnn.layers import Linear\n", "core.edge imports layers"),
        ("core/edge.py", "def f():\n    import minirnn.cli.app\n", "core.edge imports cli.app"),
        ("cells.py", "def stream():\n    from minirnn.inference import streams\n", "cells imports inference.streams"),
        ("language/text.py", "from minirnn.language import model\n", "a circle: "),
        ("language/text.py", "def f():\n    from minirnn.language.model import LanguageModel\n", "a circle: "),
    ],
)
def test_a_planted_import_is_found(file: str, line: str, expected: str, tmp_path: Path) -> None:
    for top in ("minirnn", "kernels"):
        shutil.copytree(ROOT / top, tmp_path / top, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    path = tmp_path / "minirnn" / file
    path.write_text(path.read_text(encoding="utf-8") + "\n" + line, encoding="utf-8")
    assert any(fault.startswith(expected) for fault in faults(tmp_path))

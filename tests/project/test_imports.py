"""Imports go one way between the rooms of the package, and in no circle.  Imports inside functions count too."""

import ast
from collections.abc import Iterator
from functools import cache
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


@cache
def statements(text: str) -> tuple[tuple[str, str], ...]:
    """Every name of minirnn's that a module imports, wherever in its text, with the function around it or ""."""

    def visit(node: ast.AST, function: str) -> Iterator[tuple[str, str]]:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            function = node.name
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{ast.unparse(node)} is a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from ((function, whole) for whole in names if whole.partition(".")[0] == "minirnn")
        for child in ast.iter_child_nodes(node):
            yield from visit(child, function)

    return tuple(visit(ast.parse(text), ""))


def imported(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """The modules of the package that this one imports; what ``ALLOWED`` names is left out."""
    targets = set()
    for function, whole in statements(path.read_text(encoding="utf-8")):
        parts = whole.split(".")[1:]
        while ".".join(parts) not in known:  # a name within a module
            parts.pop()
        if (name, function, ".".join(parts)) not in ALLOWED:
            targets.add(".".join(parts))
    return targets - {name}


def floor(name: str) -> int:
    """How high a module stands: by its longest prefix that names a room."""
    rooms = {room: k for k, names in enumerate(FLOORS) for room in names}
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        if ".".join(parts[:end]) in rooms:
            return rooms[".".join(parts[:end])]
    raise AssertionError(f"{name} is in no room: add it to FLOORS")


def faults(known: dict[str, Path]) -> list[str]:
    """Imports that go upwards, and a circle if there is one."""
    edges = {name: imported(name, path, known) for name, path in known.items()}
    upwards = [f"{name} imports {target}" for name in edges for target in edges[name] if floor(target) > floor(name)]
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        upwards.append(f"a circle: {' -> '.join(error.args[1])}")
    return sorted(upwards)


def test_imports_go_one_way_and_in_no_circle() -> None:
    assert faults(modules(ROOT)) == []


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
    known = modules(ROOT)
    name = file.removesuffix(".py").replace("/", ".")
    text, known[name] = known[name].read_text(encoding="utf-8"), tmp_path / "planted.py"
    known[name].write_text(f"{text}\n{line}", encoding="utf-8")
    assert any(fault.startswith(expected) for fault in faults(known))

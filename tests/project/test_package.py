"""What is installed, what an import costs, and that README and docs are true; docs/check_commands.py runs them."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import minirnn

ROOT = Path(__file__).resolve().parents[2]
LAZY = ("numba", "cupy", "click", "rich", "safetensors", "hypothesis", "matplotlib", "torch")


def python(code: str, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def blocks(path: Path, language: str) -> list[str]:
    """The fenced code blocks of a Markdown file."""
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_public_names_import_nothing_heavy() -> None:
    loaded = python("import sys; from minirnn import *; print(' '.join(sys.modules))").split()
    assert "minirnn.recurrent.networks" in loaded
    assert not {name for name in loaded if name.partition(".")[0] in LAZY}
    assert "numpy.random" not in loaded  # a third of the time that the rest takes, until something is drawn
    assert "minirnn.kernels.cpu.runtime" not in loaded  # nor what needs Numba


@pytest.mark.parametrize(
    ("name", "path", "package", "words"),
    [
        ("to_torch", [], "torch", "needs torch"),
        ("to_onnx", [], "onnx", "[onnx]"),
        ("to_keras", ["model.keras"], "h5py", "[keras]"),
    ],
)
def test_what_needs_another_framework_says_so_when_it_is_called(
    name: str, path: list[str], package: str, words: str
) -> None:
    code = f"""
import sys
sys.modules[{package!r}] = None
import minirnn
try:
    minirnn.{name}(minirnn.GRU(2, 3).init(), *{path!r})
except ImportError as error:
    print(error)
"""
    assert words in python(code)


def test_the_version_is_stated_once_and_repeated_rightly() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == minirnn.__version__
    assert f"## {minirnn.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\nversion: {minirnn.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_the_linters_before_a_commit_are_those_of_ci() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = [one for one in project["optional-dependencies"]["dev"] if one.startswith("ruff==")]
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert re.findall(r"ruff==[\d.]+", hooks) == pinned * 2


def test_every_public_name_is_there_and_documented() -> None:
    for name in minirnn.__all__:
        assert getattr(minirnn, name).__doc__, name
    assert minirnn.__all__ == sorted(minirnn.__all__, key=lambda n: (not n.isupper(), not n[0].isupper(), n))


def test_every_module_ships_in_a_declared_package() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    folders = {str(p.parent.relative_to(ROOT)).replace("/", ".") for p in (ROOT / "minirnn").rglob("*.py")}
    kernels = {str(p.parent.relative_to(ROOT)).replace("/", ".") for p in (ROOT / "kernels").rglob("*.py")}
    assert folders | {f"minirnn.{k}" for k in kernels} == set(declared)


def test_readme_shows_the_quickstart() -> None:
    (block,) = blocks(ROOT / "README.md", "python")
    source = (ROOT / "examples/quickstart.py").read_text(encoding="utf-8").splitlines()
    for line in block.replace('Text.read("README.md")', "Text.read(sys.argv[1:])").splitlines():
        assert line in source, line


@pytest.mark.parametrize("path", sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]), ids=lambda p: p.name)
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    targets = [t for t in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in t]
    for target in targets:
        assert (path.parent / target).exists(), target


def test_the_commands_that_are_shown_exist() -> None:
    from click.testing import CliRunner

    from minirnn.cli.app import main

    text = "\n".join(
        block
        for name in ("README.md", *(f"docs/{name}.md" for name in ("guide", "explain", "exercises", "deploy", "scale")))
        for block in blocks(ROOT / name, "sh")
    )
    words = re.findall(r"minirnn (\w+)((?: +(?:\"[^\"]*\"|[^&\s]+))*)", text)
    shown = {"train", "generate", "fill", "check", "grade", "inspect", "convert", "plot", "explain"}
    assert {command for command, _ in words} == shown
    for command, arguments in words:
        known = CliRunner().invoke(main, [command, "--help"]).output
        for option in re.findall(r"--[\w-]+", arguments):
            assert option in known, f"minirnn {command} {option}"


def test_the_wheel_of_a_checkout_has_kernels_inside(tmp_path: Path) -> None:
    """In an editable install and a checkout alike, minirnn.kernels is the folder kernels/."""
    assert python("import minirnn.kernels as k; print(k.__doc__)").startswith("Fast twins")
    assert (ROOT / "minirnn" / "kernels").resolve() == ROOT / "kernels"

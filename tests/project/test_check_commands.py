"""What the docs show is run where their reader is, and not where the tests are."""

import sys
import venv
from dataclasses import replace
from pathlib import Path

import check_commands
import pytest

FENCED = "```{}\n{}\n```\n".format


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> check_commands.Environments:
    """Environments of which ``base`` holds nothing but Python, and ``tests`` is the one that runs this."""
    folder = tmp_path_factory.mktemp("environments")
    venv.create(folder / "base", with_pip=False)
    return check_commands.Environments(folder, folder / "none.whl", {"tests": Path(sys.prefix)})


def fault_of(text: str, folder: Path, environments: check_commands.Environments, environment: str = "base") -> str:
    """What ends a page's run."""
    page = folder / "page.md"
    page.write_text(text, encoding="utf-8")
    steps = check_commands.read(page).steps
    moved = [replace(step, environment=environment) for step in steps]
    return check_commands.run_page("page.md", moved, environments, report=lambda *_, **__: None)


@pytest.mark.parametrize("package", ["pytest", "hypothesis"])
@pytest.mark.parametrize(
    "planted",
    [
        FENCED("sh", 'python -c "import {0}"'),
        FENCED("sh", '.venv/bin/python -c "import {0}"'),
        FENCED("python", "import json\n\nimport {0}"),
    ],
)
def test_a_line_that_only_the_tests_environment_can_run_is_found(
    planted: str, package: str, tmp_path: Path, environments: check_commands.Environments
) -> None:
    text = "# A page\n\n" + planted.replace("{0}", package)
    assert fault_of(text, tmp_path, environments, "tests") == ""
    fault = fault_of(text, tmp_path, environments)
    assert fault.startswith("page.md:4: in the environment base")
    assert f"No module named '{package}'" in fault


def test_neither_scripts_nor_modules_of_the_tests_environment_are_on_a_path(
    tmp_path: Path, environments: check_commands.Environments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.prefix) / "bin"), prepend=":")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "only_for_tests.py").touch()
    absent = f'case ":$PATH:" in *":{sys.prefix}/bin:"*) exit 1 ;; esac'
    assert fault_of(FENCED("sh", absent), tmp_path, environments) == ""
    assert (
        fault_of(FENCED("sh", 'test "$(command -v python)" = "$VIRTUAL_ENV/bin/python"'), tmp_path, environments) == ""
    )
    assert "only_for_tests" in fault_of(FENCED("python", "import only_for_tests"), tmp_path, environments)


def test_blocks_share_names_and_a_directory(tmp_path: Path, environments: check_commands.Environments) -> None:
    text = (
        FENCED("python", "x = 3\nopen('x.txt', 'w').write('3')")
        + FENCED("sh", "test -f README.md && grep 3 \\\n    x.txt\n# a remark\ntrue | cat && mkdir new")
        + FENCED("python", "from pathlib import Path\nassert x == 3 and Path('new').is_dir()")
    )
    assert fault_of(text, tmp_path, environments) == ""
    fault = fault_of(text + FENCED("python", "y = 1\nassert x == 4"), tmp_path, environments)
    assert fault.startswith("page.md:16: ")
    assert "assert x == 4" in fault.partition("Traceback")[2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (FENCED("sh", "false | cat"), "ended in 1, not in 0"),
        (FENCED("sh", "exit 3"), "ended in 3"),
        (FENCED("python", "import warnings\nwarnings.warn('old')"), "UserWarning: old"),
        (FENCED("python", "import os\nos._exit(7)"), "Python ended in 7"),
        ("<!-- check\nexit 2: `true`: why\n-->\n" + FENCED("sh", "true"), "ended in 0, not in 2"),
        ("<!-- check\nexit 1: `pytest`: why\n-->\n" + FENCED("sh", "python -m pytest"), "No module named pytest"),
    ],
)
def test_what_does_not_run_is_a_fault(
    text: str, words: str, tmp_path: Path, environments: check_commands.Environments
) -> None:
    assert words in fault_of(text, tmp_path, environments)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (FENCED("bash", "true"), "page.md:1: a block must be sh, python"),
        (FENCED("", "true"), "page.md:1: a block must be sh, python"),
        ("Do\n\n    minirnn train\n", "page.md:3: code must be fenced"),
        ("<!-- check\nnot: `docker`: needs it\n-->\n" + FENCED("sh", "true"), "page.md:2: no line of the next block"),
        (FENCED("sh", "true") + "<!-- check\nnot: `true`: why\n-->\n", "no block of sh follows"),
        ("<!-- check\nnot: `true`\n-->\n" + FENCED("sh", "true"), "is no declaration"),
        ("<!-- check\nas: `true`: why\n-->\n" + FENCED("sh", "true"), "is no declaration"),
    ],
)
def test_what_could_not_be_run_is_refused(text: str, words: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    with pytest.raises(check_commands.DocumentationError, match=words.replace("(", r"\(")):
        check_commands.read(page)


def test_the_environment_is_what_the_page_installs(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    start = 'python3 -m venv .venv && .venv/bin/pip install --quiet ".[fast,mpi]" && .venv/bin/minirnn train'
    declared = "<!-- check\nalso in: base\nnot: `docker`: needs it\nas: `train` -> `train --steps 2`: long\n-->\n"
    after = "<!-- check\nin: plot\nbefore: first\n-->\n" + FENCED("sh", "second\npip install .  # here")
    page.write_text(
        FENCED("sh", "minirnn") + declared + FENCED("sh", f"{start}\ndocker run") + after + FENCED("python", "1")
    )
    read = check_commands.read(page)
    assert [(step.code.strip(), step.environment) for step in read.steps] == [
        ("minirnn", "base"),
        (".venv/bin/minirnn train --steps 2", "fast,mpi"),
        ("first", "plot"),
        ("second", "plot"),
        ("1", "base"),
    ]
    assert read.also == ["base"]
    shorter, left_out = read.notes
    assert shorter.startswith("page.md:10: run as ")
    assert shorter.endswith("train --steps 2', long")
    assert left_out == "page.md:11: not run, needs it: docker run"


def test_an_environment_that_nobody_can_make_is_refused(environments: check_commands.Environments) -> None:
    with pytest.raises(check_commands.DocumentationError, match="no extra slow"):
        environments.requirement("fast,slow")
    assert environments.requirement("fast,mpi").endswith("none.whl[fast,mpi]")
    assert environments.requirement("torch").startswith("torch==")


def test_every_page_of_the_repository_can_be_read() -> None:
    pages = {check_commands.shown(path): check_commands.read(path) for path in check_commands.pages_of_the_repository()}
    assert {"README.md", "docs/deploy.md", "docs/book/2_vanilla.md", "examples/exercises/README.md"} <= set(pages)
    assert sum(len(page.steps) for page in pages.values()) > 60
    environments = {step.environment for page in pages.values() for step in page.steps}
    assert {"base", "fast", "plot", "onnx", "keras", "torch"} <= environments
    assert not any(set(name.split(",")) & {"test", "dev", "oracles"} for name in environments)

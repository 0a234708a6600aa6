"""Tests of the tests: faults are planted in a copy of the package, one by one, and each must be caught.

``tests/support/faults`` holds them.  Each names the test that must fail on it, and only that one is run.
"""

import compileall
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import FAULTS
from faults.fault import Fault
from forking import Forks
from places import ROOT, TESTS
from tiers import marked_but

SECONDS = 900.0  # after which a test is killed that a fault has made endless
# one of every kind; the others are marked
SHOWN = (
    "gru: sign of dz",
    "lstm: i and f swapped, consistently",
    "gradient not carried past a length",
    "weight dropout: not rescaled",
    "unchanged: x not compared",
    "init: draws over what was trained",
    "quantize: rounded down",
    "convert: written in the file's own format",
    "kernel norm: the last number left out",
)


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as started:
        yield started


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package that Python has compiled."""
    package = copied(ROOT / "minirnn", tmp_path_factory.mktemp("compiled"))
    compileall.compile_dir(package, quiet=2)
    return package


def copied(package: Path, folder: Path) -> Path:
    return Path(shutil.copytree(package, folder / "minirnn"))


def plant(fault: Fault, package: Path) -> None:
    path = package / fault.file
    source = path.read_text(encoding="utf-8")
    for old, new in fault.changes:
        assert source.count(old) == 1, f"{fault.file} has {source.count(old)} places like {old!r}"
        source = source.replace(old, new)
    path.write_text(source, encoding="utf-8")
    for stale in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
        stale.unlink()


def run(forks: Forks, folder: Path, tests: list[str], *, kernels: bool = False) -> tuple[int, str]:
    """Pytest's exit status and output for these tests of the package in ``folder``, until one fails."""
    environment = {"HYPOTHESIS_PROFILE": "mutants", "MINIRNN_BACKEND": "numba" if kernels else "numpy"}
    if kernels:
        environment["MINIRNN_CACHE_DIR"] = str(folder / "cache")
    options = ["-x", "-q", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:xdist"]
    options += ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT)]
    return forks.run(folder, [*options, *(str(TESTS / test) for test in tests)], SECONDS, **environment)


def test_every_fault_has_its_place_and_its_test() -> None:
    """Those too that do not run today: code moves."""
    for name, fault in FAULTS.items():
        source = (ROOT / "minirnn" / fault.file).read_text(encoding="utf-8")
        for old, new in fault.changes:
            assert source.count(old) == 1, f"{name}: {fault.file} has {source.count(old)} places like {old!r}"
            source = source.replace(old, new)
        file, _, test = fault.killed_by.partition("::")
        tests = (TESTS / file).read_text(encoding="utf-8")
        assert not test or f"def {test.partition('[')[0]}(" in tests, f"{name}: there is no {fault.killed_by}"


def test_it_is_the_copy_that_is_tested(forks: Forks, compiled: Path, tmp_path: Path) -> None:
    """The same tests pass on an unchanged copy, and all fail on one that cannot be imported."""
    tests = sorted({FAULTS[name].killed_by for name in SHOWN if not kernel(FAULTS[name])})
    package = copied(compiled, tmp_path)
    status, output = run(forks, tmp_path, tests)
    assert status == 0, output[-3000:]
    (package / "cells.py").write_text("raise RuntimeError('the copy is imported')", encoding="utf-8")
    status, output = run(forks, tmp_path, tests)
    assert status != 0
    assert "the copy is imported" in output


@pytest.mark.mutants
def test_what_must_catch_a_fault_passes_without_it(forks: Forks, compiled: Path, tmp_path: Path) -> None:
    copied(compiled, tmp_path)
    status, output = run(forks, tmp_path, sorted({fault.killed_by for fault in FAULTS.values()}))
    assert status == 0, output[-3000:]


def kernel(fault: Fault) -> bool:
    return fault.file.startswith("kernels/cpu/")


@pytest.mark.parametrize("name", marked_but(SHOWN, FAULTS, "mutants"))
def test_a_planted_fault_is_caught(name: str, forks: Forks, compiled: Path, tmp_path: Path) -> None:
    fault = FAULTS[name]
    plant(fault, copied(compiled, tmp_path))
    status, output = run(forks, tmp_path, [fault.killed_by], kernels=kernel(fault))
    said = f"{name}: not caught by {fault.killed_by}, exit {status}\n{output[-3000:]}"
    assert status == 1, said
    assert re.search(r"^\d+ failed", output.splitlines()[-1]), said

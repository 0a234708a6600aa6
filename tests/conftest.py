"""Hypothesis profiles: ``dev`` draws anew each time, ``ci`` the same examples on every machine.  ``mutants`` is for
planted faults.

Tiers: without ``-m``, tests that carry a marker of ``TIERS`` are left out, unless they are named one by one, and the
last lines say how many of each there are and which command runs them.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from places import ROOT, TESTS

for folder in ("docs", "docs/_ext", "docs/_live", "examples", "examples/experiments"):  # tested, and no packages
    sys.path.append(str(ROOT / folder))

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]  # a gradient check is a few hundred passes forward
settings.register_profile("dev", max_examples=25, deadline=None, suppress_health_check=QUIET)
settings.register_profile("ci", max_examples=25, deadline=None, suppress_health_check=QUIET, derandomize=True)
settings.register_profile(  # the first failing example will do
    "mutants", max_examples=15, deadline=None, suppress_health_check=QUIET, derandomize=True, phases=[Phase.generate]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))

TIERS = {".ci/run": ("slow", "process", "fuzz", "extras", "browser"), "tests/full": ("mutants", "long")}
LEFT_OUT = pytest.StashKey[Counter[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[LEFT_OUT] = Counter()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background jobs begin so, and children inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Before all tests run in several processes, kernels are compiled, each once."""
    config = session.config
    count = getattr(config.option, "numprocesses", None)
    whole = any(Path(config.rootpath, argument) == TESTS for argument in config.args)
    if not count or not whole or hasattr(config, "workerinput") or not find_spec("numba"):
        return
    command = [sys.executable, str(TESTS / "support/warming.py")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    warming = [subprocess.Popen([*command, str(k), str(count)], env=environment) for k in range(count)]
    for process in warming:
        process.wait()


def marker_of(item: pytest.Item) -> str | None:
    """The marker that an item is left out for; of several, the last tier's."""
    markers = [name for names in TIERS.values() for name in names if item.get_closest_marker(name)]
    return markers[-1] if markers else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")
    if config.option.markexpr or any("::" in argument for argument in config.args):
        return
    left_out = [item for item in items if marker_of(item)]
    config.stash[LEFT_OUT].update(str(marker_of(item)) for item in left_out)
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if not marker_of(item)]


def pytest_sessionfinish(session: pytest.Session) -> None:
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:  # this is one of several processes
        left_out: Counter[str] = session.config.stash[LEFT_OUT]
        output["left out"] = dict(left_out)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Each process leaves out the same."""
    left_out: Counter[str] = node.config.stash[LEFT_OUT]
    left_out |= Counter(node.workeroutput.get("left out", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    left_out = config.stash[LEFT_OUT]
    for command, names in TIERS.items():
        counts = ", ".join(f"{left_out[name]} {name}" for name in names if left_out[name])
        if counts:
            terminalreporter.write_line(f"left out: {counts}; {command} runs them")


def real_cupy() -> ModuleType:
    """CuPy with a device; the test is skipped where there is none."""
    cupy: Any = pytest.importorskip("cupy", reason="CuPy is not installed: pip install 'minirnn[cuda13]'")
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        pytest.skip(f"no CUDA device: {error}")
    if not count:
        pytest.skip("no CUDA device")
    found: ModuleType = cupy
    return found


def stand_in() -> ModuleType:
    """``strict_cupy``, which needs no device, but a compiler."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed, which compiles CUDA sources to run on a CPU")
    import strict_cupy

    return strict_cupy


@pytest.fixture(scope="module", params=["strict", pytest.param("cupy", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """What the backends cupy and cuda compute with: a stand-in for CuPy, and CuPy itself where there is a GPU."""
    from minirnn.core.backend import CUDA, CUPY

    library = stand_in() if request.param == "strict" else real_cupy()
    before = {name: sys.modules.pop(name, None) for name in ("cupy", "minirnn.kernels.cuda.updates")}
    kept = [dict(backend.__dict__) for backend in (CUPY, CUDA)]
    for backend in (CUPY, CUDA):
        backend.__dict__.pop("xp", None)
    sys.modules["cupy"] = library
    yield library
    for name, module in before.items():
        sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module
    for backend, values in zip((CUPY, CUDA), kept, strict=True):
        backend.__dict__.clear()
        backend.__dict__.update(values)

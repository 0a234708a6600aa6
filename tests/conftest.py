"""Hypothesis profiles: ``dev`` draws anew each time, ``ci`` draws the same examples, more of them, on every machine;
``mutants`` is for planted faults.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from places import ROOT

for folder in ("docs", "docs/_ext", "examples/experiments"):  # tested, and no packages
    sys.path.append(str(ROOT / folder))

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]  # a gradient check is a few hundred passes forward
settings.register_profile("dev", max_examples=25, deadline=None, suppress_health_check=QUIET)
settings.register_profile("ci", max_examples=50, deadline=None, suppress_health_check=QUIET, derandomize=True)
settings.register_profile(  # the first failing example will do
    "mutants", max_examples=15, deadline=None, suppress_health_check=QUIET, derandomize=True, phases=[Phase.generate]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


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

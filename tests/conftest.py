"""Hypothesis profiles: ``dev`` draws anew each time, ``ci`` draws the same examples, more of them, on every machine;
``mutants`` is for planted faults.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
from hypothesis import HealthCheck, Phase, settings

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]  # a gradient check is a few hundred passes forward
settings.register_profile("dev", max_examples=25, deadline=None, suppress_health_check=QUIET)
settings.register_profile("ci", max_examples=50, deadline=None, suppress_health_check=QUIET, derandomize=True)
settings.register_profile(  # the first failing example will do
    "mutants", max_examples=15, deadline=None, suppress_health_check=QUIET, derandomize=True, phases=[Phase.generate]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


@pytest.fixture(scope="module")
def device() -> Iterator[ModuleType]:
    """The backends cupy and cuda over ``strict_cupy`` in the place of CuPy: there need not be a GPU."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed, which compiles CUDA sources to run on a CPU")
    import strict_cupy

    from minirnn.backend import CUDA, CUPY

    before = {name: sys.modules.pop(name, None) for name in ("cupy", "minirnn.kernels.cuda.updates")}
    kept = [dict(backend.__dict__) for backend in (CUPY, CUDA)]
    for backend in (CUPY, CUDA):
        backend.__dict__.pop("xp", None)
    sys.modules["cupy"] = strict_cupy
    yield strict_cupy
    for name, module in before.items():
        sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module
    for backend, values in zip((CUPY, CUDA), kept, strict=True):
        backend.__dict__.clear()
        backend.__dict__.update(values)

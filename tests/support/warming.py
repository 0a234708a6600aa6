"""``python tests/support/warming.py K N``: compiles every N-th kernel from the K-th on, in float32 and float64.

What several processes of tests would compile once each is compiled once.
"""

import sys
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import numpy as np

from minirnn.cells import GRUCell, LSTMCell, ProjectedLSTMCell, ReluCell, TanhCell
from minirnn.core.tracing import facts_of

CELLS = (TanhCell, ReluCell, GRUCell, LSTMCell, ProjectedLSTMCell(1))
NARROW = ("-f16", "-bf16", "-int8")  # numbers in fewer bits, of float32 models alone


def kernels() -> dict[str, Any]:
    """Every kernel of the CPU by its name, and the routines of the cells that most tests run."""
    package, places = import_module("minirnn.kernels.cpu"), list[Any]()
    compiling, stages = (import_module(f"minirnn.kernels.cpu.{name}") for name in ("compiling", "stages"))
    for module in iter_modules(package.__path__):
        places += vars(import_module(f"minirnn.kernels.cpu.{module.name}")).values()
    for cell in CELLS:
        facts = facts_of(cell)
        assert facts is not None
        for make in (stages.make_rows, stages.make_rows_back):
            places += (stages.routine_of(facts, k, make) for k in range(len(facts.stages)))
    for place in list(places):
        places += place.values() if isinstance(place, dict) else ()
    return {one.name: one for one in places if isinstance(one, compiling.Addressed)}


def main(first: int, step: int) -> None:
    named = kernels()
    for name in sorted(named)[first::step]:
        for dtype in ("float32",) if name.endswith(NARROW) else ("float32", "float64"):
            named[name][np.dtype(dtype)]


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

"""The whole evidence for a cell that a reader wrote: what ``minirnn check FILE.py:CELL`` runs."""

import importlib.util
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from minirnn.protocol import name_of, trains
from minirnn.recurrent import Recurrent
from minirnn.testing.diagnosis import Finding, diagnose
from minirnn.testing.gradients import Report, check_adjoint, check_gradients

ADJOINT = 1e-10


@dataclass
class Verdict:
    """What was found of a cell: ``findings`` about its transpose, and the evidence over time.

    ``report`` holds its gradients in a small layer against derivatives, ``adjoint`` is the largest difference of the
    adjoint identity, ``smallest`` the smallest layer and input that Hypothesis found to fail, ``""`` where none does.
    """

    name: str
    findings: list[Finding] = field(default_factory=list)
    report: Report | None = None
    adjoint: float = 0.0
    smallest: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong by any of it."""
        gradients = (self.report is None or self.report.ok) and self.adjoint <= ADJOINT
        return gradients and not self.findings and not self.smallest


def cell_from(place: str) -> Any:
    """The cell that ``"path/to/file.py:Name"`` names; the file, which is the caller's own, is run.

    ValueError, in one sentence, for a place that names none.
    """
    path, _, name = place.rpartition(":")
    if not path or not name.isidentifier():
        raise ValueError(f"a cell is named as path/to/file.py:Name; got {place!r}")
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file at {path}")
    spec = importlib.util.spec_from_file_location(f"minirnn_cell_{Path(path).stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} must be a Python file, with a name that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{path} does not run: {type(error).__name__}: {error}") from error
    if not hasattr(module, name):
        cells = [key for key, value in vars(module).items() if hasattr(value, "step") or hasattr(value, "stages")]
        raise ValueError(f"{path} has no {name}; it has {', '.join(cells) or 'no cells'}")
    return getattr(module, name)


def examine(cell: Any, *, seed: int = 0, examples: int = 50) -> Verdict:
    """All evidence for ``cell``; TypeError where it does not follow the protocol, or has no transpose.

    Hypothesis draws ``examples`` layers of it, of any depth, direction, lengths and states.
    """
    layer = Recurrent(cell, 2, 3).init(seed, dtype="float64")  # which holds it against the protocol
    if not trains(cell):
        raise TypeError(f"{name_of(cell)} has no unstep: there is no gradient to check")
    verdict = Verdict(name_of(cell), diagnose(cell, seed=seed))
    x = np.random.default_rng(seed).normal(size=(4, 2, 2))
    methods = ("complex step", "difference") if _holomorphic(layer, x) else ("difference",)
    verdict.report = check_gradients(layer, x, methods=methods, raises=False)
    if methods[0] == "complex step":
        verdict.adjoint = check_adjoint(layer, x, tolerance=float("inf"))
    verdict.smallest = smallest_failure(cell, methods[0], examples)
    return verdict


def smallest_failure(cell: Any, method: str, examples: int = 50) -> str:
    """The smallest case that Hypothesis finds in which a gradient of ``cell`` is wrong, in words; ``""`` for none."""
    from hypothesis import HealthCheck, find, settings
    from hypothesis.errors import NoSuchExample

    from minirnn.testing.strategies import Case, cases

    quiet = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )

    def report_of(case: Case) -> Report:
        return check_gradients(case.model, case.x, case.state, lengths=case.lengths, methods=(method,), raises=False)

    try:
        case = find(cases([cell], largest=3, num_layers=2), lambda c: not report_of(c).ok, settings=quiet)
    except NoSuchExample:
        return ""
    worst = max((row for row in report_of(case).rows if not row.ok), key=lambda row: row.error)
    at, gradient, derivative = worst.worst[0]
    T, B = case.x.shape[:2]
    lengths = "" if case.lengths is None else f", lengths {case.lengths.tolist()}"
    return (
        f"{' '.join(case.model.describe().split())} on {T} step{'s' * (T > 1)} of {B} row{'s' * (B > 1)}{lengths}: "
        f"the gradient of {worst.name}{list(at)} is {gradient:+.6g}, the derivative {derivative:+.6g}"
    )


def _holomorphic(layer: Recurrent, x: Any) -> bool:
    """Whether the cell takes complex numbers and keeps them."""
    twin = layer.to(backend="numpy", dtype="complex128")
    try:
        y, _ = twin(x + 1e-30j)
    except (TypeError, ValueError):
        return False
    return bool(np.abs(y.imag).max() > 0)

"""All checks of a cell that a reader wrote: what ``minirnn check FILE.py:CELL`` runs."""

import importlib.util
import linecache
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from types import ModuleType

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.protocol import name_of, trains
from minirnn.recurrent.networks import Recurrent
from minirnn.testing.adjoint import check_adjoint
from minirnn.testing.diagnosis import UNFILLED, Finding, diagnose, points_of, unfilled
from minirnn.testing.gradients import check_gradients
from minirnn.testing.holomorphy import broken_by
from minirnn.testing.point import Point
from minirnn.testing.precision import AnyCell
from minirnn.testing.report import NotFiniteError, Report

ADJOINT = 1e-10
Progress = Callable[[str, int, int], None]


def silent(_doing: str, _done: int, _of: int) -> None:
    """Progress that nobody sees."""


@dataclass(repr=False)
class Verdict:
    """The result of checking a cell: ``findings`` about its transpose, and the evidence over time.

    ``report`` holds its gradients in a small layer against derivatives, ``adjoint`` is the largest difference of the
    adjoint identity, ``smallest`` the smallest layer and input that were found to fail, ``""`` where none does, and
    ``notes`` what is to be known about the evidence.  Of an ``unstep`` with lines that are ``...``, ``right`` has the
    variables that are right already.
    """

    name: str
    findings: list[Finding] = field(default_factory=list)
    report: Report | None = None
    adjoint: float = 0.0
    smallest: str = ""
    notes: list[str] = field(default_factory=list)
    right: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong by any of it."""
        gradients = (self.report is None or self.report.ok) and self.adjoint <= ADJOINT
        return gradients and not self.findings and not self.smallest

    def __repr__(self) -> str:
        wrong = f"{len(self.findings)} findings" if self.findings else "wrong over time"
        return f"<{type(self).__name__}: {self.name}, {'right' if self.ok else wrong}>"

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.sentence}"]
        for one in self.findings:
            lines.append(f"  {one.place}: {one.words if one.pattern == UNFILLED else one}")
            lines += [f"      {one.source}"] * bool(one.source)
        return "\n".join([*lines, *(f"  {line}" for line in self.remarks)])

    def _repr_html_(self) -> str:
        """The verdict, and a table of what is wrong, for a notebook."""
        from minirnn.core.display import lines, table  # what is imported for a notebook only

        said = f"{self.name}: {self.sentence}"
        if not self.findings:
            return lines([said, *self.remarks])
        rows = [(one.place, one.source, one.words if one.pattern == UNFILLED else str(one)) for one in self.findings]
        return table(("where", "line", "what is wrong"), rows, caption=said, below=self.remarks)

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        if self.ok:
            return "unstep is the transpose of step, and every gradient over time is the derivative"
        if any(one.pattern == UNFILLED for one in self.findings):
            return "some lines are not filled in yet"
        return "its gradients are not the derivatives of what it computes"

    @property
    def remarks(self) -> list[str]:
        """What is said below: how exact a right cell is; what of a wrong one is right, and where it fails; notes."""
        if self.ok:
            methods = dict.fromkeys(row.method for row in self.report.rows) if self.report else {}
            errors = (f"by {method} {self.report.error(method):.1e}" for method in methods if self.report)
            return [
                f"largest error {', '.join(errors)}",
                *self.notes,
                "whether step is the formula you intended must be checked against another implementation",
            ]
        right = [f"right already: {', '.join(self.right)}"] * bool(self.right)
        smallest = [f"the smallest case found: {self.smallest}"] * bool(self.smallest)
        return [*right, *self.notes, *smallest]


def cell_from(place: str) -> AnyCell:
    """The cell that ``"path/to/file.py:Name"`` names; the file, which is the caller's own, is run.

    ValueError, in one sentence, for a place that names none.
    """
    path, _, name = place.rpartition(":")
    if not path or not name.isidentifier():
        raise ValueError(f"a cell is named as path/to/file.py:Name; got {place!r}")
    module = module_from(path)
    if not hasattr(module, name):
        cells = [key for key, value in vars(module).items() if hasattr(value, "step") or hasattr(value, "stages")]
        raise ValueError(f"{path} has no {name}; it has {', '.join(cells) or 'no cells'}")
    return getattr(module, name)


def module_from(path: str) -> ModuleType:
    """The module that a file is; it is run, and a second call runs it again.

    FileNotFoundError or ValueError, in one sentence, where there is none or it does not run.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file at {path}")
    linecache.checkcache(path)
    spec = importlib.util.spec_from_file_location(f"minirnn_cell_{Path(path).stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} must be a Python file, with a name that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{path} does not run: {type(error).__name__}: {error}") from error
    return module


def examine(cell: AnyCell, *, seed: int = 0, examples: int = 50, progress: Progress = silent) -> Verdict:
    """All evidence for ``cell``; TypeError where it does not follow the protocol, or has no transpose.

    ``examples`` is how many layers of it are tried, of any depth, direction, lengths and states; ``progress`` is called
    with what is being done, and how far it is.
    """
    with np.errstate(all="ignore"):  # a cell may overflow: that is reported in words
        return _examined(cell, seed, examples, progress)


def _examined(cell: AnyCell, seed: int, examples: int, progress: Progress) -> Verdict:
    progress("one step", 0, 1)
    verdict = Verdict(name_of(cell))
    verdict.findings, verdict.right = unfilled(cell, seed=seed)
    if verdict.findings:
        return verdict
    layer = Recurrent(cell, 2, 3).init(seed, dtype="float64", backend="numpy")  # which holds it against the protocol
    if not trains(cell):
        raise TypeError(f"{name_of(cell)} has no unstep: there is no gradient to check")
    verdict.findings = diagnose(cell, seed=seed)
    points = points_of(cell, seed)
    verdict.notes = [note for point in points for note in _notes(point)]
    progress("over time", 0, 1)
    x = np.random.default_rng(seed).normal(size=(4, 2, 2))
    for num_steps in range(len(x), 0, -1):
        try:
            verdict.report = check_gradients(layer, x[:num_steps], raises=False)
        except NotFiniteError:
            continue
        verdict.adjoint = check_adjoint(layer, x[:num_steps], tolerance=float("inf"))
        break
    verdict.smallest, notes = _searched(cell, examples, seed, progress)
    verdict.notes += notes
    return verdict


def _notes(point: Point) -> list[str]:
    """Remarks on the evidence for one stage."""
    name = name_of(point.stage)
    if not point.judged:
        return [f"{name}.step changes too abruptly for differences: its gradient alone is not judged"]
    if point.exact:
        return []
    places = broken_by(point)
    where = "".join(f"\n    {place}" for place in places)
    basis = f"{name}.step is not complex-differentiable, so derivatives are differences, with an estimated error"
    return [f"{basis}:{where}" if where else basis]


def smallest_failure(cell: AnyCell, *, examples: int = 50, seed: int = 0, progress: Progress = silent) -> str:
    """The first of ``examples`` cases, from small to large, in which a gradient is wrong, in words; ``""`` for none."""
    failure, _ = _searched(cell, examples, seed, progress)
    return failure


def _searched(cell: AnyCell, examples: int, seed: int, progress: Progress) -> tuple[str, list[str]]:
    """The smallest failure, and notes about the cases that say nothing about the gradient."""
    overflown, alone = 0, ""
    for k, case in enumerate(_cases(cell, examples, seed)):
        progress("layers", k, examples)
        if alone and case.layer.hidden_size == 1:
            continue
        try:
            report = case.report(seed)
            if not np.isfinite([row.error for row in report.rows]).all() and case.lengths is not None:
                replace(case, lengths=None).report(seed)  # steps beyond a row's length, which are run too, may overflow
        except NotFiniteError:
            overflown += 1
            continue
        if report.ok:
            continue
        worst = max((row for row in report.rows if not row.ok), key=lambda row: (not np.isfinite(row.error), row.error))
        at, gradient, derivative = worst.worst[0]
        T, B = case.x.shape[:2]
        lengths = "" if case.lengths is None else f", lengths {case.lengths.tolist()}"
        words = (
            f"{' '.join(case.layer.describe().split())} on {T} step{'s' * (T > 1)} of {B} row{'s' * (B > 1)}{lengths}: "
            f"the gradient of {worst.name}{list(at)} is {gradient:+.6g}, the derivative {derivative:+.6g}"
        )
        if case.layer.hidden_size > 1 or np.isfinite(gradient):
            return words, []
        alone = alone or words  # of one unit, a variance is 0: that it divides by it says nothing about more units
    notes = [f"with one unit only, the gradient is not a number: {alone}"] if alone else []
    if overflown:
        notes.append(f"values are not finite in {overflown} of {examples} layers, which are not judged")
    return "", notes


@dataclass(frozen=True)
class _Case:
    layer: Recurrent
    x: Array
    lengths: Array | None

    def report(self, seed: int) -> Report:
        """The check of this case, by complex step if that is a derivative."""
        return check_gradients(
            self.layer, self.x, lengths=self.lengths, methods=("complex step",), seed=seed, raises=False
        )


def _cases(cell: AnyCell, number: int, seed: int) -> Iterator[_Case]:
    """Layers and input, the smallest first: sizes, then depth, directions, lengths and trainable states."""
    sizes = product((1, 2, 3), (1, 2), (1, 2), (1, 2, 3))  # steps, rows, inputs, units
    options = list(product((1, 2), (False, True), (False, True), (False, True)))
    every = [(size, option) for size in sizes for option in options]
    every.sort(key=lambda one: sum(one[0]) + 2 * sum(one[1]))
    few = number // 3  # all of the smallest, and some of the others
    rest = np.linspace(few, len(every) - 1, max(number - few, 0)).astype(int)
    rng = np.random.default_rng(seed)
    for k in [*range(min(few, number)), *rest]:
        (T, B, D, H), (depth, bidirectional, with_lengths, trainable) = every[k]
        layer = Recurrent(cell, D, H, depth, bidirectional=bidirectional, trainable_state=trainable)
        layer.init(int(rng.integers(2**32)), dtype="float64", backend="numpy")
        x = rng.normal(size=(T, B, D)) * rng.choice([1.0, 3.0])
        yield _Case(layer, x, rng.integers(0, T + 1, B) if with_lengths else None)

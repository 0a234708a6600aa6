"""What students write: a right cell is never called wrong, over functions of every kind.

MINIRNN_STUDENTS=all checks every cell there is, which takes minutes, and not only a few.
"""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from students import FUNCTIONS, right_cells

from minirnn import Recurrent
from minirnn.testing import GradientError, check_adjoint, check_gradients
from minirnn.testing.own import cell_from, examine

ALL = os.environ.get("MINIRNN_STUDENTS") == "all"
RIGHT = dict(right_cells(10_000 if ALL else 10))
SOFTSIGN = "softsign vanilla"
X = np.random.default_rng(3).normal(size=(3, 2, 2))


def cell_of(source: str, tmp_path: Path) -> str:
    path = tmp_path / "student.py"
    path.write_text(source, encoding="utf-8")
    return f"{path}:Cell"


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_cell_is_not_called_wrong(name: str, tmp_path: Path) -> None:
    verdict = examine(cell_from(cell_of(RIGHT[name], tmp_path)), examples=6)
    assert verdict.ok, (verdict.findings, verdict.adjoint, verdict.smallest, str(verdict.report))


def test_there_are_three_hundred_right_cells_or_nearly() -> None:
    assert len(list(right_cells(10_000))) > 6 * len(FUNCTIONS) > 200


@pytest.mark.parametrize(
    ("value", "derivative", "place"),
    [
        ("a / (1 + np.abs(a))", "1 / (1 + np.abs(a)) ** 2", "np.abs in line"),
        ("np.tanh(a.real)", "1 - np.tanh(a) ** 2", ".real in line"),
        ("np.logaddexp(0, a)", "sigmoid(a)", "np.logaddexp in line"),
        ("np.tanh(a.astype(float))", "1 - np.tanh(a) ** 2", ".astype in line"),
    ],
)
def test_what_complex_numbers_do_not_pass_is_proven_by_differences_and_named(
    value: str, derivative: str, place: str, tmp_path: Path
) -> None:
    source = dict(right_cells(10_000))[SOFTSIGN]
    source = source.replace("return a / (1 + np.abs(a))", f"return {value}")
    source = source.replace("return 1 / (1 + np.abs(a)) ** 2", f"return {derivative}")
    verdict = examine(cell_from(cell_of(source, tmp_path)), examples=3)
    assert verdict.ok
    (note,) = verdict.notes
    assert "not complex-differentiable" in note
    assert f"{place} {source[: source.index(f'return {value}')].count(chr(10)) + 1}: return {value}" in note


def test_a_wrong_gradient_of_such_a_step_is_wrong(tmp_path: Path) -> None:
    source = dict(right_cells(10_000))[SOFTSIGN].replace("/ (1 + np.abs(a)) ** 2", "/ (1 + np.abs(a))")
    cell = cell_from(cell_of(source, tmp_path))
    verdict = examine(cell, examples=3)
    assert verdict.findings
    assert verdict.smallest
    layer = Recurrent(cell, 2, 3).init(0, dtype="float64")
    with pytest.raises(GradientError, match="WRONG"):
        check_gradients(layer, X)
    with pytest.raises(GradientError, match="differ by"):
        check_adjoint(layer, X)


def test_a_right_gradient_of_such_a_step_is_right_over_time(tmp_path: Path) -> None:
    layer = Recurrent(cell_from(cell_of(dict(right_cells(10_000))[SOFTSIGN], tmp_path)), 2, 3).init(0, dtype="float64")
    report = check_gradients(layer, X, methods=("complex step",))
    assert not report.holomorphic
    assert {row.method for row in report.rows} == {"difference"}
    assert check_adjoint(layer, X) < 1e-10


def test_the_check_runs_without_hypothesis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hypothesis", None)  # import hypothesis fails
    assert examine(cell_from(f"{Path(__file__).parents[1]}/examples/own_cell.py:PeepholeLSTM"), examples=3).ok

"""What students write: a right cell is never called wrong, and a wrong one is told of at its line, by its pattern.

All cells and faults that there are take minutes: most of them are marked.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
from students import FUNCTIONS, Fault, doubles_in, planted_in, right_cells
from tiers import marked_but

from minirnn import Recurrent
from minirnn.testing import GradientError, check_adjoint, check_gradients
from minirnn.testing.diagnosis import diagnose
from minirnn.testing.own import cell_from, examine

RIGHT = dict(right_cells(10_000))
SOFTSIGN = "softsign vanilla"
X = np.random.default_rng(3).normal(size=(3, 2, 2))


def cell_of(source: str, tmp_path: Path) -> str:
    path = tmp_path / "student.py"
    path.write_text(source, encoding="utf-8")
    return f"{path}:Cell"


@pytest.mark.parametrize("name", marked_but(dict(right_cells(6)), RIGHT, "long"))
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
    layer = Recurrent(cell, 2, 3).init(0, dtype="float64", backend="numpy")
    with pytest.raises(GradientError, match="WRONG"):
        check_gradients(layer, X)
    with pytest.raises(GradientError, match="differ by"):
        check_adjoint(layer, X)


def test_a_right_gradient_of_such_a_step_is_right_over_time(tmp_path: Path) -> None:
    layer = Recurrent(cell_from(cell_of(dict(right_cells(10_000))[SOFTSIGN], tmp_path)), 2, 3)
    layer.init(0, dtype="float64", backend="numpy")
    report = check_gradients(layer, X, methods=("complex step",))
    assert not report.holomorphic
    assert {row.method for row in report.rows} == {"difference"}
    assert check_adjoint(layer, X) < 1e-10


def test_the_check_runs_without_hypothesis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hypothesis", None)  # import hypothesis fails
    assert examine(cell_from(f"{Path(__file__).parents[2]}/examples/own_cell.py:PeepholeLSTM"), examples=3).ok


# ---------------------------------------------------------------------- faults

ROOT = Path(__file__).resolve().parents[2]
SOLUTIONS = ROOT / "examples/exercises/solutions"
PLACES = [
    (SOLUTIONS / "1_elman.py", "Elman"),
    (SOLUTIONS / "2_leaky.py", "Leaky"),
    (SOLUTIONS / "3_minimal_gated.py", "MinimalGated"),
    (SOLUTIONS / "4_first_lstm.py", "FirstLSTM"),
    (SOLUTIONS / "5_coupled.py", "Coupled"),
    (ROOT / "examples/own_cell.py", "PeepholeLSTM"),
    (ROOT / "minirnn/cells.py", "GRUCell"),
]
PLANTED = [fault for path, cell in PLACES for fault in planted_in(path.read_text(encoding="utf-8"), cell)]
DOUBLES = [list(doubles_in(path.read_text(encoding="utf-8"), cell, 40)) for path, cell in PLACES]


UNTOLD = {
    "GRUCell GRUCell: dn = -(dh1 * (1 - z)), and da_r = -(dr * r * (1 - r))": "two signs; one undoes the other",
    "PeepholeLSTM PeepholeLSTM: da_i = i * (1 - i), and dc = dc1 * f + da_i + da_f * w_f": (
        "da_i without di leaves nothing by which to tell a lost w_i from a lost term"
    ),
}


def name_of(fault: Fault) -> str:
    return f"{fault.cell} {fault.name}"


@pytest.mark.parametrize("fault", marked_but(PLANTED[::29], PLANTED, "long", name_of))
def test_a_fault_is_told_of_at_its_line_and_by_its_pattern(fault: Fault, tmp_path: Path) -> None:
    path = tmp_path / "student.py"
    path.write_text(fault.source, encoding="utf-8")
    first, *_ = diagnose(cell_from(f"{path}:{fault.cell}"))
    assert first.line == fault.lines[0]
    assert first.pattern in fault.patterns[0]


@pytest.mark.parametrize(
    "fault",
    marked_but(
        [one for faults in DOUBLES for one in faults[:1]],
        [one for faults in DOUBLES for one in faults],
        "long",
        name_of,
    ),
)
def test_two_faults_are_told_of_at_their_lines_and_by_their_patterns(
    fault: Fault, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if name_of(fault) in UNTOLD:
        request.applymarker(pytest.mark.xfail(reason=UNTOLD[name_of(fault)]))
    path = tmp_path / "student.py"
    path.write_text(fault.source, encoding="utf-8")
    found = diagnose(cell_from(f"{path}:{fault.cell}"))
    for line, patterns in zip(fault.lines, fault.patterns, strict=True):
        assert any(one.line == line and one.pattern in patterns for one in found), found


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("1_elman.py:Elman", "(None,)", "(dh1,)", [(35, "direct path")]),
        ("2_leaky.py:Leaky", "(dh,), dw", "(None,), dw", [(41, "missing term")]),
        ("2_leaky.py:Leaky", "(dh,), dw", "(dh,), dw.sum(0)", [(41, "sum over rows")]),
        ("2_leaky.py:Leaky", "dh = dh1 * s", "dh1 *= s\n        dh = dh1", [(39, "changed in place")]),
        ("4_first_lstm.py:FirstLSTM", "(None, dc)", "(dc, None)", [(45, "order")]),
        ("4_first_lstm.py:FirstLSTM", "dh1, dc1 = dstate", "dc1, dh1 = dstate", [(37, "order")]),
        ("4_first_lstm.py:FirstLSTM", "da_i, da_g, da_o]", "da_i, da_o, da_g]", [(44, "two gates swapped")]),
        (  # a cause, and what does not follow from it
            "4_first_lstm.py:FirstLSTM",
            "m * m)  # the next step's, and (3)\n        da_i = dc1 * g",
            "m)  # the next step's, and (3)\n        da_i = -dc1 * g",
            [(40, "factor"), (41, "sign")],
        ),
        (  # a variable that is another one, where a factor is missing
            "5_coupled.py:Coupled",
            "dc1 * (1 - f) * (1 - g * g)  # (4) (2)\n        dc = dc1 * f + da_f * w",
            "-dc1 * (1 - f) * (1 - g * g)\n        dc = dc1",
            [(45, "sign"), (46, "factor")],
        ),
        ("4_first_lstm.py:FirstLSTM", "dc1 = dc1 + dh1 * o * (1 - m * m)", "dc1 = dc1", [(40, "missing term")]),
        ("2_leaky.py:Leaky", "dw = ", "dw = -", [(40, "sign")]),
        ("5_coupled.py:Coupled", "(None, dc), dw", "(None, dw), dc", [(49, "order")]),
        ("6_normed.py:Normed", "x * (dx * x).mean(axis=-1, keepdims=True)", "x * dx * x", [(49, "sum over rows")]),
    ],
)
def test_each_kind_of_mistake(file: str, old: str, new: str, expected: list[tuple[int, str]], tmp_path: Path) -> None:
    name, _, cell = file.partition(":")
    source = (SOLUTIONS / name).read_text(encoding="utf-8")
    assert old in source
    path = tmp_path / name
    begin = source.index("def unstep")
    path.write_text(source[:begin] + source[begin:].replace(old, new), encoding="utf-8")
    found = [(finding.line, finding.pattern) for finding in diagnose(cell_from(f"{path}:{cell}"))]
    assert found[: len(expected)] == expected

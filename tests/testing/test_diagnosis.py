"""Faults planted in a reader's cell: each is told of at the right gate, and by the right pattern."""

import inspect
import json
import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from tiers import marked_but

import minirnn.cells
from minirnn.cells import GRUBeforeCell, GRUCell, LSTMCell, ProjectedLSTMCell, ReluCell, TanhCell
from minirnn.cli.app import main
from minirnn.recurrent.variants import GRUVariant
from minirnn.testing.diagnosis import diagnose
from minirnn.testing.own import smallest_failure

PEEPHOLE = Path(__file__).resolve().parents[2] / "examples/own_cell.py"
Peephole = runpy.run_path(str(PEEPHOLE), run_name="example")["PeepholeLSTM"]

FAULTS = [  # the cell, what stands in its unstep, what is planted, at which gate, and the pattern
    (GRUCell, "dz = dh1 * (h - n)", "dz = dh1 * (n - h)", "z", "sign"),
    (LSTMCell, "da_g = dg * (1 - g * g)", "da_g = -dg * (1 - g * g)", "g", "sign"),
    (Peephole, "+ da_i * w_i + da_f * w_f", "- da_i * w_i + da_f * w_f", "c", "sign"),
    (TanhCell, "(1 - h1 * h1)", "(h1 * h1 - 1)", "h", "sign"),
    (LSTMCell, "dc1 = dc1 + dm * (1 - m * m)", "dc1 = dm * (1 - m * m)", "c", "missing term"),
    (Peephole, "dc1 * f + da_i * w_i + da_f * w_f", "dc1 * f + da_i * w_i", "c", "missing term"),
    (GRUCell, "(dh,)  # (1)", "(None,)  # (1)", "h", "missing term"),
    (GRUCell, "dz = dh1 * (h - n)", "dz = dh1 * h", "z", "missing term"),
    (GRUCell, "du = da_n * r", "du = da_n", "n", "factor"),
    (LSTMCell, "da_f = df * f * (1 - f)", "da_f = df * f", "f", "factor"),
    (TanhCell, "(1 - h1 * h1)", "(1 - h1 * h1) * 0.5", "h", "factor"),
    (GRUCell, "da_n = dn * (1 - n * n)", "da_n = dn * n * (1 - n)", "n", "factor"),
    (LSTMCell, "join(da_i, da_f, da_g, da_o)", "join(da_f, da_i, da_g, da_o)", "i", "two gates swapped"),
    (
        GRUCell,
        "join(da_r, da_z, da_n), join(da_r, da_z, du)",
        "join(da_z, da_r, da_n), join(da_z, da_r, du)",
        "r",
        "two gates swapped",
    ),
    (LSTMCell, "da_i = di * i * (1 - i)", "da_i = di * f * (1 - f)", "i", "two gates swapped"),
    (LSTMCell, "do = dh1 * m", "do = dh1 * np.tanh(c)", "o", "previous step"),
    (Peephole, "da_f * c, da_o * c1", "da_f * c, da_o * c", "w_o", "previous step"),
    (Peephole, "da_f = dc1 * c * f", "da_f = dc1 * c1 * f", "f", "previous step"),
    (LSTMCell, "dm * (1 - m * m)", "dm * (1 - np.tanh(c) ** 2)", "c", "previous step"),
    (GRUCell, "dz = dh1 * (h - n)", "dz = dh1 * ((1 - z) * n + z * h - n)", "z", "previous step"),
    # in dc', from which i, f, g and c all hang
    (Peephole, " + da_o * w_o  #", "  #", "c", "missing term"),
    (Peephole, "+ dh1 * o +", "+ dh1 * i +", "c", "two gates swapped"),
    (Peephole, "+ da_o * w_o  #", "+ da_o  #", "c", "factor"),
    (Peephole, "dc = dc1 * f +", "dc = dc1 * g +", "c", "two gates swapped"),
    # what comes back is not a factor of it
    (LSTMCell, "dg = dc1 * i", "dg = i", "g", "factor"),
    (GRUCell, "dz = dh1 * (h - n)", "dz = h - n", "z", "factor"),
]


LONG = [fault for fault in FAULTS if fault[0] is Peephole and fault[3] == "c"][1:]  # one of five


def planted(cell: Any, old: str, new: str) -> Any:
    """``cell`` with a fault in its unstep."""
    source = PEEPHOLE.read_text(encoding="utf-8") if cell is Peephole else inspect.getsource(minirnn.cells)
    begin = source.index("def unstep", source.index(f"class {cell.__name__}"))
    end = (source + "\nclass ").index("\nclass ", begin)
    body = source[begin:end]
    assert body.count(old) == 1, f"{body.count(old)} places like {old!r}"
    names: dict[str, Any] = {"__name__": "planted"}
    exec(source[:begin] + body.replace(old, new) + source[end:], names)  # noqa: S102 - our own source
    return names[cell.__name__]


@pytest.mark.parametrize(
    "cell", [TanhCell, ReluCell, GRUCell, GRUBeforeCell, LSTMCell, ProjectedLSTMCell(2), Peephole], ids=repr
)
def test_nothing_is_wrong_with_a_right_cell(cell: Any) -> None:
    for seed in range(3):
        assert diagnose(cell, seed=seed) == []


@pytest.mark.parametrize(
    "fault",
    marked_but(
        [fault for fault in FAULTS if fault not in LONG],
        FAULTS,
        "slow",
        lambda fault: f"{fault[0].__name__}: {fault[2]}",
    ),
)
def test_a_fault_is_told_of_at_its_gate_and_by_its_pattern(fault: Any) -> None:
    cell, old, new, gate, pattern = fault
    wrong = planted(cell, old, new)
    for seed in range(2):
        first, *_ = diagnose(wrong, seed=seed)
        assert (first.gate, first.pattern) == (gate, pattern), first
        assert abs(first.gradient - first.derivative) == pytest.approx(first.error)
        assert first.error > 1e-6


def test_the_words_say_what_to_do() -> None:
    expected = {
        "du = da_n": "the factor r is missing",
        "dc1 * f + da_i * w_i": "the term da_f w_f is missing",
        "da_i = di * f * (1 - f)": "f (1 - f) stands where i (1 - i) belongs",
        "da_f * c, da_o * c": "c stands where c1 belongs",
        "(1 - h1 * h1) * 0.5": "it is 0.5 times too large",
    }
    found = {new: diagnose(planted(cell, old, new))[0].words for cell, old, new, _, _ in FAULTS if new in expected}
    assert found == expected


class Kinked:
    """A step that complex numbers do not pass through: its Jacobian is taken by differences."""

    state, gates, saves = ("h",), ("h",), ("a",)

    @staticmethod
    def step(p: Any, q: Any, state: Any) -> Any:
        a = p + q
        if np.iscomplexobj(a):
            raise TypeError("real numbers only")
        return (np.maximum(a, 0.1 * a),), (a,)

    @staticmethod
    def unstep(dstate: Any, saved: Any) -> Any:
        da = dstate[0] * np.where(saved[0] > 0, 1, 0.1)
        return da, da, (None,)


class Rough(Kinked):
    @staticmethod
    def unstep(dstate: Any, saved: Any) -> Any:
        da = -dstate[0] * np.where(saved[0] > 0, 1, 0.1)
        return da, da, (None,)


def test_a_step_without_complex_numbers_is_differentiated_by_differences() -> None:
    assert diagnose(Kinked) == []
    (found,) = diagnose(Rough)
    assert found.pattern == "sign"


def test_a_cell_without_a_transpose_is_refused() -> None:
    with pytest.raises(TypeError, match="has no unstep"):
        diagnose(GRUVariant())


# ---------------------------------------------------------------------- the command


def invoke(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A reader's file: one cell that is right, and one that forgets a sign."""
    path = tmp_path / "mine.py"
    path.write_text(
        inspect.getsource(minirnn.cells) + "\n\nclass Mine(GRUCell):\n    pass\n\n\n"
        "class Wrong(TanhCell):\n    @staticmethod\n    def unstep(dstate, saved):\n"
        "        (h1,) = saved\n        da = dstate[0] * (h1 * h1 - 1)\n        return da, da, (None,)\n",
        encoding="utf-8",
    )
    return path


def test_a_right_cell_is_proven(file: Path) -> None:
    result = invoke("check", f"{file}:Mine")
    assert result.exit_code == 0, result.output
    assert "Mine: unstep is the transpose of step" in result.stdout
    assert "must be checked against another implementation" in result.stdout


def test_a_wrong_cell_is_told_of_with_the_smallest_case(file: Path) -> None:
    result = invoke("check", f"{file}:Wrong")
    assert result.exit_code == 1
    assert re.search(r"at h, line \d+: dp of h, dq of h: the sign is wrong \(sign; for example", result.stdout)
    assert "\n      da = dstate[0] * (h1 * h1 - 1)\n" in result.stdout
    assert "the smallest case found: Recurrent(Wrong, 1, 1) on 1 step of 1 row: the gradient of" in result.stdout
    record = json.loads(invoke("check", f"{file}:Wrong", "--json").stdout)
    assert (record["ok"], record["findings"][0]["gate"]) == (False, "h")


def test_no_smallest_case_of_a_right_cell() -> None:
    assert smallest_failure(TanhCell, examples=5) == ""


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("{}", "a cell is named as path/to/file.py:Name"),
        ("{}:Other", "has no Other; it has TanhCell, ReluCell"),
        ("{}x:Mine", "no file at"),
        ("{}:np", "must name its states"),
        ("{}:3", "a cell is named as"),
    ],
)
def test_what_is_no_cell_is_one_sentence(place: str, words: str, file: Path) -> None:
    result = invoke("check", place.format(file))
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.output
    assert words in result.stderr


def test_a_file_that_does_not_run_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("import nothing_of_the_kind\n", encoding="utf-8")
    result = invoke("check", f"{path}:Mine")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "does not run: ModuleNotFoundError" in result.stderr

"""What students of courses hand in: a right solution is right, and a mistake is found, in its function and at its line.

All mistakes that there are take minutes: most of them are marked.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from course_faults import MISTAKES, Mistake
from course_work import RIGHT
from tiers import marked_but

from minirnn.cli.app import main
from minirnn.testing.courses.exercises import Exercise
from minirnn.testing.courses.findings import Grade
from minirnn.testing.courses.findings import Result as Judged
from minirnn.testing.courses.grading import EXERCISES, grade

QUICK = [MISTAKES[k] for k in range(0, len(MISTAKES), len(MISTAKES) // 12)][:12]
SOME = [one for k, one in enumerate(MISTAKES) if k % 6 == 1 or one in QUICK]
OTHERS = [one for one in MISTAKES if one not in SOME]


def graded(source: str, tmp_path: Path) -> Grade:
    path = tmp_path / "work.py"
    path.write_text(source, encoding="utf-8")
    return grade(path)


def wrong_in(whole: Grade) -> list[str]:
    return [result.function for result in whole.results if not result.ok]


def result_of(whole: Grade, function: str) -> Judged:
    return next(result for result in whole.results if result.function == function)


def invoke(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments])


def needed_for(function: str) -> list[Exercise]:
    """The exercises with a function, and the steps that their sequences call."""
    own = [one for one in EXERCISES if function in (one.forward, one.backward)]
    return [one for one in EXERCISES if one in own or one.forward in {sequence.step for sequence in own}]


@pytest.mark.parametrize("work", RIGHT)
def test_right_work_is_right(work: str, tmp_path: Path) -> None:
    whole = graded(RIGHT[work], tmp_path)
    assert whole.ok, [result for result in whole.results if not result.ok]


@pytest.mark.parametrize(
    "mistake",
    [*marked_but(QUICK, SOME, "slow", lambda one: one.name), *marked_but([], OTHERS, "long", lambda one: one.name)],
)
def test_a_mistake_is_found_in_its_function(mistake: Mistake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minirnn.testing.courses.grading.EXERCISES", needed_for(mistake.function))
    monkeypatch.setattr("minirnn.testing.functions.mending.code_of", lambda _: None)  # the line is another test's
    assert wrong_in(graded(mistake.applied(), tmp_path))[:1] == [mistake.function]


@pytest.mark.parametrize(
    "mistakes", [pytest.param(MISTAKES, marks=pytest.mark.long), pytest.param(MISTAKES[3::29], marks=pytest.mark.slow)]
)
def test_most_mistakes_are_found_at_their_line(
    mistakes: list[Mistake], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = 0
    for mistake in mistakes:
        monkeypatch.setattr("minirnn.testing.courses.grading.EXERCISES", needed_for(mistake.function))
        result = result_of(graded(mistake.applied(), tmp_path), mistake.function)
        found += mistake.line in {finding.line for finding in result.findings}
    assert found >= 0.7 * len(mistakes)


def test_each_mistake_is_another() -> None:
    assert len({one.name for one in MISTAKES}) == len(MISTAKES) >= 200


DOUBLE = [
    # a wrong step and a wrong sequence that calls it: both are named
    (
        "specialisation",
        ("rnn_cell_backward", "(1 - a_next ** 2)", "(1 - a_next)"),
        ("rnn_backward", "da[:, :, t] + da_prevt", "da[:, :, t]"),
    ),
]


@pytest.mark.parametrize(("work", "one", "other"), DOUBLE, ids=[f"{one[1][0]} and {one[2][0]}" for one in DOUBLE])
def test_two_mistakes_are_found(
    work: str, one: tuple[str, str, str], other: tuple[str, str, str], tmp_path: Path
) -> None:
    mistakes = [Mistake(work, *one), Mistake(work, *other)]
    source = mistakes[1].applied(mistakes[0].applied())
    whole = graded(source, tmp_path)
    for mistake in mistakes:
        assert mistake.line in {finding.line for finding in result_of(whole, mistake.function).findings}
    assert {mistake.function for mistake in mistakes} <= set(wrong_in(whole))


IN_ONE = [
    ("cs231n", "rnn_step_backward", ("(1 - next_h ** 2)", "(1 - next_h)"), ("x.T.dot(da)", "da.T.dot(x)")),
    ("cs231n", "lstm_step_backward", ("df = dc * prev_c", "df = dc * i"), ("dc * f", "dc")),
    ("cs231n", "rnn_backward", ("dh[:, t, :] + dprev", "dh[:, t, :]"), ("db += db_t", "db = db_t")),
]


@pytest.mark.parametrize("double", marked_but(IN_ONE[:1], IN_ONE, "slow", lambda double: double[1]))
def test_of_two_mistakes_in_one_function_the_first_line_is_found(
    double: tuple[str, str, tuple[str, str], tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, function, one, other = double
    monkeypatch.setattr("minirnn.testing.courses.grading.EXERCISES", needed_for(function))
    mistakes = [Mistake(work, function, *one), Mistake(work, function, *other)]
    whole = graded(mistakes[1].applied(mistakes[0].applied()), tmp_path)
    assert wrong_in(whole)[0] == function
    lines = {finding.line for finding in result_of(whole, function).findings}
    assert min(mistake.line for mistake in mistakes) in lines


def test_where_a_step_is_wrong_the_sequence_is_told_so(tmp_path: Path) -> None:
    source = Mistake("cs231n", "rnn_step_backward", "(1 - next_h ** 2)", "(1 - next_h)").applied()
    whole = graded(source, tmp_path)
    assert wrong_in(whole)[0] == "rnn_step_backward"
    result = result_of(whole, "rnn_backward")  # it looks into the step's cache: no other step can stand in
    assert (result.status, result.blamed) == ("not judged", "rnn_step_backward")
    source = Mistake("specialisation", "rnn_cell_backward", "(1 - a_next ** 2)", "(1 - a_next)").applied()
    whole = graded(source, tmp_path)
    assert wrong_in(whole) == ["rnn_cell_backward"]
    result = result_of(whole, "rnn_backward")
    assert (result.ok, result.blamed) == (True, "rnn_cell_backward")


def test_the_smallest_input_is_the_smallest(tmp_path: Path) -> None:
    source = Mistake("cs231n", "rnn_step_backward", "da.dot(Wh.T)", "da.dot(Wh)").applied()
    result = result_of(graded(source, tmp_path), "rnn_step_backward")
    assert result.smallest.startswith("N 1, D 1, H 2: x (1, 1), prev_h (1, 2), Wx (1, 2)")
    assert [finding.what for finding in result.findings] == ["dprev_h"]
    assert result.findings[0].pattern == "transposed"


def test_what_is_missing_or_not_filled_in_is_told(tmp_path: Path) -> None:
    whole = graded(
        "def rnn_step_forward(x, prev_h, Wx, Wh, b):\n    return None, None\n\n"
        "def rnn_step_backward(dnext_h, cache):\n    pass\n\n"
        "def word_embedding_forward(x, W):\n    return W[x], (x, W)\n",
        tmp_path,
    )
    assert [(r.function, r.status) for r in whole.results] == [
        ("word_embedding_forward", "right"),
        ("word_embedding_backward", "missing"),
        ("rnn_step_forward", "wrong"),
        ("rnn_step_backward", "not judged"),
    ]
    assert result_of(whole, "rnn_step_forward").findings[0].pattern == "not filled in"


def test_what_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minirnn.testing.courses.outputs.LIMIT", 0.2)
    source = "def word_embedding_forward(x, W):\n    while True:\n        pass\n"
    whole = graded(source, tmp_path)
    assert result_of(whole, "word_embedding_forward").findings[0].pattern == "time"


# ---------------------------------------------------------------------- the command


def test_the_command_says_what_is_wrong_and_writes_results(tmp_path: Path) -> None:
    path, results = tmp_path / "work.py", tmp_path / "results.json"
    mistake = Mistake("own", "Leaky", "(0.5 * dh1,)", "(dh1,)")
    path.write_text(RIGHT["own"], encoding="utf-8")
    assert invoke("grade", path).exit_code == 0
    path.write_text("print('hello')\n" + mistake.applied(), encoding="utf-8")
    said = invoke("grade", path)
    assert said.exit_code == 1
    assert f"line {mistake.line + 1}: return da, da, (dh1,)" in said.output
    assert said.output.endswith("0 of 1 right\n")
    said = invoke("grade", path, "--json", "--results", results)
    assert said.exit_code == 1
    record = json.loads(said.output)
    assert (record["ok"], record["right"], record["of"]) == (False, 0, 1)
    assert record["functions"][0]["findings"][0]["line"] == mistake.line + 1
    written = json.loads(results.read_text(encoding="utf-8"))
    assert written["score"] == 0
    (test,) = written["tests"]
    assert test.keys() == {"name", "score", "max_score", "output", "status"}
    assert (test["name"], test["max_score"], test["status"]) == ("minirnn: Leaky", 1, "failed")


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("x = 1\n", "it has none"),
        ("import nothing_of_that_name\n", "does not run: ModuleNotFoundError"),
        ("raise SystemExit(0)\n", "does not run: SystemExit"),
        (None, "no file at"),
    ],
)
def test_a_file_that_cannot_be_graded(source: str | None, why: str, tmp_path: Path) -> None:
    path, results = tmp_path / "work.py", tmp_path / "results.json"
    if source is not None:
        path.write_text(source, encoding="utf-8")
    said = invoke("grade", path, "--results", results)
    assert said.exit_code == 2
    assert why in said.output
    written = json.loads(results.read_text(encoding="utf-8"))
    assert (written["score"], written["tests"]) == (0, [])
    assert why in written["output"]


def test_the_example_has_one_mistake() -> None:
    path = Path(__file__).resolve().parents[2] / "examples/courses/rnn_layers_with_a_mistake.py"
    whole = grade(path)
    assert wrong_in(whole) == ["rnn_step_backward"]
    (finding,) = result_of(whole, "rnn_step_backward").findings
    assert finding.what == "dWh"
    assert "next_h.T @ da" in finding.source

"""The experiments: their data are what the tasks say, their baselines are reached by who guesses, short runs learn."""

import re
import runpy
import sys
from collections.abc import Callable
from dataclasses import replace
from math import log, sqrt
from pathlib import Path
from typing import Any

import learning
import numpy as np
import picture
import pytest
from click.testing import CliRunner
from learning import Memory, Run, build, curve, open_gates
from tasks import BLANK, SIGN, TASKS, adding, copying

from minirnn import cross_entropy

FOLDER = Path(learning.__file__).parent
ADDING, COPYING = TASKS["adding"], TASKS["copying"]


def ignore(done: float, score: float) -> None:
    """A report that nobody reads."""


def quietly(experiment: Any, cell: str, seed: int) -> Run:
    run: Run = experiment.run(cell, seed, ignore)
    return run


# ---------------------------------------------------------------------- the data


@pytest.mark.parametrize("length", [2, 3, 10, 101])
def test_the_sum_is_that_of_the_two_numbers_that_are_marked(length: int) -> None:
    x, sums = adding(np.random.default_rng(0), length, 50)
    assert (x.shape, sums.shape) == ((length, 50, 2), (50, 1))
    assert x.dtype == sums.dtype == np.float32
    for row in range(50):
        first, second = np.flatnonzero(x[:, row, 1])
        assert first < length // 2 <= second
        assert x[first, row, 1] == x[second, row, 1] == 1
        assert sums[row, 0] == x[first, row, 0] + x[second, row, 0]
    assert ((x[:, :, 0] >= 0) & (x[:, :, 0] < 1)).all()


def test_marks_come_to_every_place() -> None:
    x, _ = adding(np.random.default_rng(0), 6, 500)
    np.testing.assert_allclose(x[:, :, 1].mean(1), 1 / 3, atol=0.1)


@pytest.mark.parametrize("length", [1, 2, 30])
def test_the_copy_is_the_ten_symbols_after_the_sign(length: int) -> None:
    x, target = copying(np.random.default_rng(0), length, 40)
    assert x.shape == target.shape == (length + 20, 40)
    for row in range(40):
        symbols = x[:10, row].tolist()
        assert x[10:, row].tolist() == [BLANK] * (length - 1) + [SIGN] + [BLANK] * 10
        assert target[:, row].tolist() == [BLANK] * (length + 10) + symbols
    assert set(x[:10].ravel().tolist()) == set(range(8))


@pytest.mark.parametrize("draw", [adding, copying])
def test_every_batch_is_new_and_a_seed_draws_it_again(draw: Callable[..., Any]) -> None:
    rng, again = np.random.default_rng(3), np.random.default_rng(3)
    first, second = draw(rng, 10, 5), draw(rng, 10, 5)
    for a, b, c in zip(first, second, draw(again, 10, 5), strict=True):
        assert (a != b).any()
        np.testing.assert_array_equal(a, c)


# ---------------------------------------------------------------------- the baselines


def test_who_always_answers_1_is_wrong_by_the_baseline() -> None:
    _, sums = adding(np.random.default_rng(0), 4, 200_000)
    wrong = sqrt(float(((sums.astype("float64") - 1) ** 2).mean()))
    assert wrong == pytest.approx(ADDING.baseline(100), rel=3e-3)
    assert ADDING.baseline(100) == pytest.approx(0.408, abs=5e-4)


@pytest.mark.parametrize("length", [1, 100])
def test_who_knows_when_but_not_what_pays_the_baseline(length: int) -> None:
    x, target = copying(np.random.default_rng(0), length, 7)
    logits = np.full((*x.shape, 9), -100.0)
    logits[: length + 10, :, BLANK] = 0
    logits[length + 10 :, :, :8] = 0
    assert float(cross_entropy(logits, target)[0]) == pytest.approx(COPYING.baseline(length), rel=1e-9)
    assert COPYING.baseline(100) == pytest.approx(0.173, abs=5e-4)
    remembered = np.where(np.arange(9) == target[..., None], 0.0, -100.0)
    assert float(cross_entropy(remembered, target)[0]) < 1e-9


# ---------------------------------------------------------------------- learning


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_gates_learn_to_add_at_toy_length(cell: str) -> None:
    run = quietly(Memory(ADDING, length=10, hidden=16, sequences=6_400), cell, 1)
    assert run.final < 0.1  # guessing: 0.408
    assert run.seen[-1] == 6_400
    assert len(run.seen) == len(run.scores)
    assert run.scores[0] > 3 * run.scores[-1]


def test_gates_learn_to_copy_at_toy_length() -> None:
    run = quietly(Memory(COPYING, length=5, hidden=32, sequences=16_000), "gru", 1)
    assert run.final < 0.92 * COPYING.baseline(5)


def test_a_seed_gives_the_same_numbers_and_another_seed_others() -> None:
    toy = Memory(ADDING, length=6, hidden=4, sequences=480)
    one, same, other = (quietly(toy, "lstm", seed) for seed in (1, 1, 2))
    assert replace(one, seconds=0) == replace(same, seconds=0)
    assert one.final != other.final
    assert quietly(replace(toy, lr=0.001), "lstm", 1).scores != one.scores


def test_the_gradient_reaches_the_first_step_through_gates_alone() -> None:
    for cell in ("rnn", "gru", "lstm"):
        reach = quietly(Memory(ADDING, length=50, sequences=1_600), cell, 0).reach
        assert reach is not None
        assert reach < 1e-3 if cell == "rnn" else 1e-2 < reach < 100


def test_reach_is_a_derivative_over_a_derivative() -> None:
    """Of a mean over one row, by central differences; integers have no derivative."""
    model, rng = build(ADDING, "gru", 4, 0, "numpy"), np.random.default_rng(7)
    one = replace(ADDING, draw=lambda rng, length, _: adding(rng, length, 1))
    found, exact = learning.reach(model, one, 5, rng), model.to(dtype="float64")
    x, target = adding(np.random.default_rng(7), 5, 1)
    x, e = x.astype("float64"), 1e-6

    def slope(t: int, k: int) -> float:
        ends = []
        for sign in (1, -1):
            moved = x.copy()
            moved[t, 0, k] += sign * e
            ends.append(float(ADDING.loss(exact(moved)[0], target)[0]))
        return (ends[0] - ends[1]) / (2 * e)

    first, last = (np.hypot(slope(t, 0), slope(t, 1)) for t in (0, 4))
    assert found == pytest.approx(first / last, rel=1e-5)
    assert learning.reach(build(COPYING, "gru", 4, 0), COPYING, 5, rng) is None


def test_the_score_may_be_for_another_length(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = set()

    def noting(rng: np.random.Generator, length: int, rows: int) -> Any:
        lengths.add((length, rows))
        return adding(rng, length, rows)

    toy = Memory(replace(ADDING, draw=noting), length=6, hidden=4, sequences=160, tested=12)
    quietly(toy, "gru", 0)
    assert {(6, learning.BATCH), (12, 200)} <= lengths
    assert (toy.title, toy.published("gru")) == ("adding, T = 6, tested at 12", "-")


@pytest.mark.parametrize("steps", [1, 2, 100])
def test_gates_begin_open_for_up_to_as_many_steps_as_there_are(steps: int) -> None:
    lstm, gru = (build(ADDING, cell, 64, 0) for cell in ("lstm", "gru"))
    for model, cell, name in ((lstm, "lstm", "0.0.b_f"), (gru, "gru", "0.0.b_z")):
        open_gates(model, cell, steps, 0)
        keep = model.named_weights()[name]
        assert 0 <= keep.min() < log(10)
        assert 0.9 * log(max(steps - 1, 2)) < keep.max() <= log(max(steps - 1, 2))
    biases = lstm.named_weights(gates=True)
    assert (biases["0.0.b_i"] == -biases["0.0.b_f"]).all()
    assert not biases["0.0.b_c"].any()
    assert not biases["0.0.b_o"].any()


def test_gates_left_plain_learn_otherwise() -> None:
    toy = Memory(ADDING, length=6, hidden=4, sequences=160)
    for cell in ("rnn", "gru", "lstm"):
        plain, opened = (quietly(replace(toy, plain_gates=plain), cell, 0).final for plain in (True, False))
        assert (plain == opened) is (cell == "rnn")


@pytest.mark.parametrize("steps", [1, 7, 80, 1001])
def test_a_curve_is_the_losses_in_stretches(steps: int) -> None:
    losses = np.random.default_rng(0).random(steps).tolist()
    told: list[tuple[float, float]] = []
    seen, scores = curve(losses, steps, sqrt, lambda *report: told.append(report))
    assert len(seen) == min(steps, learning.POINTS)
    assert seen[-1] == steps
    assert told[-1] == (1, scores[-1])
    total = sum(score**2 * n for score, n in zip(scores, np.diff([0, *seen]), strict=True))
    assert total == pytest.approx(sum(losses))


# ---------------------------------------------------------------------- the command line

COMMAND = runpy.run_path(str(FOLDER))


def invoke(*arguments: Any) -> str:
    result = CliRunner().invoke(COMMAND["main"], [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def rows(out: str) -> list[list[str]]:
    return [
        [word.strip() for word in line.split("|")[1:-1]]
        for line in out.splitlines()
        if re.match(r"\| (rnn|gru|lstm)", line)
    ]


def test_all_is_a_row_for_each_network_and_seed() -> None:
    out = invoke("--length", 4, "--sequences", 32, "--hidden-size", 4, "--seed", 3, "--seed", 5)
    assert "adding, T = 4: RMSE; without a memory 0.4082" in out
    assert "copying, T = 4: nats a step; without a memory 0.8664" in out
    expected = [[cell, seed] for cell in ("rnn", "gru", "lstm") for seed in ("3", "5")] * 2
    assert [row[:2] for row in rows(out)] == expected
    assert all(float(row[2]) > 0 and row[4] == "32" for row in rows(out))


def test_published_figures_stand_beside_ours_at_their_length() -> None:
    out = invoke("adding", "--sequences", 16, "--hidden-size", 2)
    assert [row[3] for row in rows(out)] == ["0.3855", "0.0129", "0.0105"]


def test_characters_are_the_chapters(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("pack my box with five dozen liquor jugs\n" * 300, encoding="utf-8")
    ((cell, seed, perplexity, published, epochs, *_),) = rows(
        invoke("characters", "--text", text, "--epochs", 2, "--cell", "gru")
    )
    assert (cell, seed, published, epochs) == ("gru", "0", "1.1, 1.0", "2")
    assert 1 < float(perplexity) < 28


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["walking"], "'walking' is not one of 'adding', 'copying', 'characters'"),
        (["adding", "--cell", "tree"], "'tree' is not one of 'rnn', 'gru', 'lstm'"),
        (["copying", "adding", "--length", "1"], "adding takes a length of at least 2, for two marks; got 1"),
        (["copying", "--tested", "0"], "0 is not in the range"),
        (["adding", "--sequences", "3"], "3 is not in the range"),
        (["adding", "--lr", "nan"], "lr must be a finite number above 0; got nan"),
        (["characters"], "characters needs --text FILE, a text to learn"),
        (["adding", "characters", "--text", "no/such.txt"], "no/such.txt"),
        (["--picture", "out.gif"], "the picture's name must end in .svg, .png, .pdf; got 'out.gif'"),
        (["--picture", "no/such.svg"], "--picture must be in a directory that exists;"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["experiments", *arguments])
    with pytest.raises(SystemExit) as caught:
        COMMAND["run_main"]()
    assert caught.value.code == 2
    out, sentence = capsys.readouterr()
    assert out == ""  # it comes before the work
    assert sentence.startswith("experiments: ")
    assert words in sentence
    assert sentence.count("\n") == 1


def test_a_picture_without_matplotlib_says_so_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'minirnn\[plot\]'"):
        picture.check(Path("out.svg"))


@pytest.mark.extras
def test_the_picture_has_every_network_and_the_baseline(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'minirnn[plot]'")
    out = tmp_path / "out.svg"
    toy = ("--length", 4, "--sequences", 320, "--hidden-size", 4, "--seed", 0, "--seed", 1)
    assert f"saved {out}" in invoke("adding", "copying", *toy, "--picture", out)
    drawn = out.read_text(encoding="utf-8")
    for words in (
        "vanilla RNN",
        "GRU",
        "LSTM",
        "no memory",
        "adding, T = 4",
        "copying, T = 4",
        "RMSE",
        "sequences",
    ):
        assert f">{words}<" in drawn, words
    lines = [path for path in re.findall(r'd="(M[^"]+)"', drawn) if path.count("L") == 19]  # 20 points, one a step
    assert len(lines) == 2 * 3 * 2
    assert len(drawn) < 100_000

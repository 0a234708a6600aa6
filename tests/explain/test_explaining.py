"""``minirnn explain`` in the terminal: what it prints is what the trace says."""

import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from rich.table import Table

import minirnn
from minirnn.cli.app import main
from minirnn.explain import equations_of
from minirnn.explain.engine.scene import CELLS, Scene
from minirnn.explain.terminal import MOST, numbers, step_table
from minirnn.language.model import LanguageModel
from minirnn.language.text import Vocabulary

SERVING = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored in what a shell runs in the background
from minirnn.cli.app import main
main(["explain", "hello", "--serve"])
"""


def explain(*arguments: Any) -> Result:
    return CliRunner(env={"COLUMNS": "160"}).invoke(main, ["explain", *map(str, arguments)])


@pytest.mark.parametrize("cell", CELLS)
def test_each_line_of_the_derivation_with_its_number_and_what_it_computed(cell: str) -> None:
    result = explain("hello world", "--cell", cell, "--hidden-size", 4, "--step", 3)
    assert result.exit_code == 0, result.stderr
    walk = Scene("hello world", cell=cell, hidden_size=4).trace().walk
    lines = [line.strip() for line in result.stdout.splitlines() if line.strip()]
    place = 0
    for equation in equations_of(walk.cell):
        ((name, value), *_) = walk.line(equation).items()
        called = re.sub("1$", "'", name)
        start = f"({equation.numbers[0]})  {equation.text} "
        place = next(k for k in range(place + 1, len(lines)) if lines[k].startswith(start))  # in this order
        shown = lines[place].removeprefix(start).split()
        assert shown == [called, *numbers(value[3, 0]).split()]
    assert re.search(r"step 3: reads 'l', should say 'o', says '.'", result.stdout)


@pytest.mark.parametrize("text", ["ab", "abc", "hello world"])
def test_the_step_that_is_shown_unasked_has_a_gradient_from_the_step_after(text: str) -> None:
    result = explain(text)
    step = int(re.findall(r"^step (\d+): reads", result.stdout, re.MULTILINE)[0])
    came = next(line for line in result.stdout.splitlines() if "dh' = dh + dy" in line)
    walk = Scene(text).trace().walk
    wanted = walk["dh"][step + 1, 0] if step + 1 < len(text) - 1 else np.zeros(8)
    assert wanted.any() == (len(text) > 2)  # where there is one step, none is after it
    assert came.split("dh ")[-1].split() == numbers(wanted).split()


def test_a_line_for_every_step() -> None:
    result = explain("hello world", "--cell", "lstm", "--num-steps", 6, "--clip", 0.1)
    take = Scene("hello world", cell="lstm", num_steps=6, clip=0.1).trace()
    assert f"loss {take.loss:.4f} nats, gradient norm {take.norm:.4g}, 0.1 after clipping at 0.1" in result.stdout
    for t in range(6):
        (line,) = [line for line in result.stdout.splitlines() if line.startswith(f"{t}  ")]
        assert line.startswith(f"{t}  {'hello world'[t]!r}  {take.losses[t]:.3f}  ")
        assert f"{take.walk.norms[t, 0]:.3e}" in line
        assert f"{take.walk.singular_values[t, 0, 0]:.3g}" in line
    assert "not clipped" in explain("hello", "--no-clip").stdout


def test_a_saved_model_is_looked_into(tmp_path: Path) -> None:
    lm = LanguageModel.build(Vocabulary.of("hello world"), cell="lstm", hidden_size=5, num_layers=2).init(3)
    minirnn.save(lm, tmp_path / "m.safetensors")
    result = explain("hello", "--model", tmp_path / "m.safetensors", "--layer", "0.1", "--step", 0)
    assert result.exit_code == 0, result.stderr
    walk = Scene.of_model(lm, "hello", layer="0.1").trace().walk
    assert "lstm 5, layer 0.1, over 4 steps" in result.stdout
    assert numbers(walk["c1"][0, 0]) in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("h",), "a scene's text needs at least 2 characters"),
        (("hello", "--step", 4), "--step must be from 0 to 3, for 4 steps; got 4"),
        (("hello", "--unit", 8), "--unit must be from 0 to 7, the units of h'; got 8"),
        (("hello", "--scale", "nan"), "scale must be a number from -100 to 100"),
        (("hello", "--layer", "7"), "layer must be one of 0.0; got '7'"),
        (("hello", "--model", "none.safetensors"), "none.safetensors"),
        (("hello", "--colours", "x.png"), "pip install|--colours takes a unit"),
        (
            ("hello", "--model", "m", "--cell", "gru"),
            "--model has a cell, a size and weights of its own; got --cell too",
        ),
        (("hello", "--port", 80), "--port is that of --serve, which is not given"),
        (("x" * 200, "--serve"), "a page draws at most 64 steps; this text has 199"),
        (("hello", "--flow", "x.txt"), "the picture's name must end in .png, .svg, .pdf; got 'x.txt'"),
    ],
)
def test_what_cannot_be_shown_is_said_in_one_sentence(arguments: Any, words: str) -> None:
    result = explain(*arguments)
    assert result.exit_code == 2
    assert re.search(words, result.stderr)
    assert result.stderr.count("\n") == 1


def test_nothing_is_written_where_an_option_is_wrong(tmp_path: Path) -> None:
    result = explain("hello", "--html", tmp_path / "hello.html", "--unit", 8)
    assert result.exit_code == 2
    assert not (tmp_path / "hello.html").exists()


def test_long_rows_are_cut_and_say_how_long_they_are() -> None:
    row = np.arange(1.0, MOST + 3)
    assert numbers(row[:2]) == "+1.0000 +2.0000"
    assert numbers(row) == f"{numbers(row[:MOST])} … {MOST + 2} in all, ‖·‖ = {np.linalg.norm(row):.4g}"
    assert numbers(np.array([0.0, 2e-7, -3e-5])) == "+0.0000 +2e-07 -3e-05"


def test_a_row_for_each_name_of_an_equation() -> None:
    take = Scene("hello", hidden_size=3).trace()
    table = step_table(take, 2, 100)
    assert isinstance(table, Table)
    names, shown = (list(table.columns[k].cells) for k in (2, 3))
    assert names.index("dp_z") + 1 == names.index("dq_z")
    assert shown[names.index("log ŷ")] == numbers(-take.losses[2:3])
    assert shown[names.index("dU")] == f"so far of norm {np.linalg.norm(take.walk.sums('U')[2]):.4g}"


def test_a_page_is_written_and_served_until_it_is_interrupted(tmp_path: Path) -> None:
    result = explain("hello", "--html", tmp_path / "hello.html", "--cell", "rnn")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"wrote {tmp_path / 'hello.html'}\n"
    assert "<!doctype html>" in (tmp_path / "hello.html").read_text(encoding="utf-8")[:20].lower()
    with subprocess.Popen(
        [sys.executable, "-c", SERVING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        try:
            address = process.stdout.readline().split()[0]
            assert address.startswith("http://127.0.0.1:")
            with urllib.request.urlopen(f"{address}story?cell=lstm", timeout=20) as answer:  # noqa: S310 - our own
                assert "lstm" in json.dumps(json.load(answer))
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
            assert process.stderr.read() == ""
        finally:
            process.kill()

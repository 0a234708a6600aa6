"""``minirnn plot``: the record of each run, drawn."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from minirnn.cli.app import main
from minirnn.training.plots import PANELS, plot_runs

pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'minirnn[plot]'")

pytestmark = pytest.mark.extras


def invoke(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Two short runs."""
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog. " * 60, encoding="utf-8")
    small = ["--hidden-size", 8, "--embedding-size", 4, "--batch-size", 4, "--num-steps", 10, "--steps", 30]
    kept = ["--every", 10, "--log-every", 2, "--out", tmp_path / "m.safetensors"]
    for cell in ("rnn", "gru"):
        result = invoke("train", text, *small, *kept, "--cell", cell, "--clip", 0.2, "--checkpoint", tmp_path / cell)
        assert result.exit_code == 0, result.stderr
    return [tmp_path / "rnn", tmp_path / "gru"]


@pytest.mark.parametrize("by", ["step", "seconds"])
def test_several_runs_in_one_picture(by: str, runs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "runs.svg"
    result = invoke("plot", *runs, "--out", out, "--by", by)
    assert result.exit_code == 0, result.stderr
    drawn = out.read_text(encoding="utf-8")
    for name, folder in (("rnn", runs[0]), ("gru", runs[1])):
        assert f">{folder} ({name} 8)</text>" in drawn
    for words in [*PANELS.values(), "seconds of training" if by == "seconds" else "step"]:
        assert f">{words}</text>" in drawn, words
    lines = [path for path in re.findall(r'd="(M[^"]+)"', drawn) if path.count("L") >= 10]
    assert len(lines) >= 2 * 6  # of each run: loss, perplexity, two norms, rate, speed


def test_a_picture_in_pixels(runs: list[Path], tmp_path: Path) -> None:
    picture = plot_runs(runs[:1], tmp_path / "run.png")
    for pixels in ((tmp_path / "run.png").read_bytes(), picture._repr_png_()):
        assert pixels.startswith(b"\x89PNG")
    assert repr(picture) == "<Picture: 1080 by 1320>"


def test_a_run_that_diverged_is_drawn_as_far_as_it_goes(runs: list[Path], tmp_path: Path) -> None:
    with (runs[0] / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 31, "loss": None, "grad_norm": None}) + "\n")
        file.write(json.dumps({"step": 32, "epoch": 0, "loss": 900.0, "grad_norm": None, "clipped_norm": None}
                              | {"lr": 1.0, "tokens_per_second": None, "seconds": 1.0}) + "\n")  # fmt: skip
    plot_runs(runs, tmp_path / "runs.png")


def test_what_cannot_be_drawn_is_one_sentence(runs: list[Path], tmp_path: Path) -> None:
    for arguments, words in (
        ((runs[0], "--out", tmp_path / "x.txt"), "must end in .png, .svg, .pdf"),
        ((tmp_path, "--out", tmp_path / "x.png"), "must be the directory of a run, with metrics.jsonl and run.json"),
        ((runs[0], runs[0], "--out", tmp_path / "x.png"), "is there twice"),
    ):
        result = invoke("plot", *arguments)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.stderr
        assert words in result.stderr
    (runs[0] / "metrics.jsonl").write_text("")
    assert "must have a step at least" in invoke("plot", runs[0], "--out", tmp_path / "x.png").stderr
    assert not list(tmp_path.glob("x.*"))

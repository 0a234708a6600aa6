"""Each example runs as it stands."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PROSE = "The light of the lamp fell upon the garden, and nobody spoke.\nIt was, he said; and yet it was not!\n"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A text of our own that has every letter."""
    path = tmp_path / "text.txt"
    path.write_text((PROSE + "pack my box with five dozen liquor jugs\n") * 110, encoding="utf-8")
    return path


def run(name: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments], capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_quickstart(text: Path) -> None:
    out = run("quickstart.py", str(text))
    loss = float(out.split()[1])
    assert loss < 3.4  # below the uniform guess over its symbols
    assert "The " in out


@pytest.mark.slow
def test_modern_rnn_trains_five_networks(text: Path) -> None:
    out = run("modern_rnn.py", str(text), "--epochs", "2")
    assert "10,000 characters, 28 symbols, 2 epochs" in out
    rows = [line.split("|") for line in out.splitlines() if line.startswith("|")][2:]
    assert [row[1].strip() for row in rows] == ["RNN", "GRU", "LSTM", "LSTM, 2 layers", "LSTM, bidirectional"]
    assert all(1 < float(row[2]) < 28 for row in rows)  # below a uniform guess after two epochs


def test_modern_rnn_prepares_the_text_as_the_chapter_does(tmp_path: Path) -> None:
    module = runpy.run_path(str(EXAMPLES / "modern_rnn.py"))
    path = tmp_path / "text.txt"
    path.write_text("  The Time-Machine, 1898!\n\nI saw\n", encoding="utf-8")
    assert str(module["prepare"](path)) == "the time machinei saw"


def test_own_layer_is_checked_trained_streamed_and_stored() -> None:
    out = run("own_layer.py")
    first, last = (float(word) for word in out.split()[1:4:2])
    assert last < 0.3 * first
    rows = {line.split()[0]: line.endswith("WRONG") for line in out.splitlines() if " complex step " in line[:60]}
    assert rows == {"g": False, "x": True}  # the fault is in what x gets


def test_own_cell_is_proven_and_its_fault_is_found() -> None:
    out = run("own_cell.py")
    proven, _, forgotten = out.partition("and with one term of the derivation forgotten")
    assert "0.w_o" in proven
    assert "WRONG" not in proven
    assert "WRONG" in forgotten
    assert "worst entries" in forgotten

"""Each example runs as it stands."""

import json
import os
import runpy
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minirnn
from minirnn.lm import LanguageModel
from minirnn.text import Text

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
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


def test_own_cell_is_proven_and_its_fault_is_found() -> None:
    out = run("own_cell.py")
    proven, _, forgotten = out.partition("and with one term of the derivation forgotten")
    assert "0.w_o" in proven
    assert "WRONG" not in proven
    assert "WRONG" in forgotten
    assert "worst entries" in forgotten


@contextmanager
def serving(*command: str) -> Iterator[Callable[[Any], Any]]:
    """A server, and what asks it."""
    with subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        address = process.stdout.readline().strip()

        def ask(question: Any) -> Any:
            data = question if isinstance(question, bytes) else json.dumps(question).encode()
            try:
                with urllib.request.urlopen(address, data, timeout=30) as answer:  # noqa: S310 - our own server
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                return json.load(error)

        try:
            yield ask
        finally:
            process.kill()


def test_a_server_answers_step_by_step(tmp_path: Path) -> None:
    model, x = minirnn.Sequential(minirnn.LSTM(2, 4), minirnn.Linear(4, 3)).init(0), [[0.1, 0.2], [0.3, 0.4]]
    minirnn.save(model, tmp_path / "model.safetensors")
    with serving(sys.executable, str(EXAMPLES / "container/serve.py"), str(tmp_path / "model.safetensors")) as ask:
        y, _ = model(np.array(x, np.float32)[:, None])
        np.testing.assert_allclose(ask({"x": x})["y"], y[:, 0], rtol=0, atol=1e-6)
        assert "(1, 2)" in ask({"x": [[0.1]]})["error"]


def test_a_server_of_text_answers_and_says_what_it_cannot(tmp_path: Path) -> None:
    lm = LanguageModel.build(Text.from_string(PROSE).vocab, hidden_size=4, embedding_size=3).init(0)
    minirnn.save(lm, tmp_path / "lm.safetensors")
    with serving(sys.executable, str(EXAMPLES / "container/serve.py"), str(tmp_path / "lm.safetensors")) as ask:
        asked = {"prefix": "The ", "length": 9, "temperature": 0.0}
        assert ask(asked)["text"] == "".join(lm.generate("The ", 9, temperature=0.0))
        for question, words in {
            b'{"prefix": ': "Expecting",
            b"[1]": "JSON object",
            b'{"prefix": 3}': "from 1 to 1000",
            b'{"prefix": "The ", "length": 10000}': "from 1 to 1000",
            b'{"prefix": "The ", "temperature": "hot"}': "temperature",
            b"{}": "at least one character",
            b"": "bytes",
        }.items():
            assert words in ask(question)["error"], question

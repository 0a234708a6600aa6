"""Large texts: the memory that they take, and their perplexity estimated from a sample with its standard error."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

import minirnn
from minirnn import GRU, Embedding, LanguageModel, Linear, Text, cross_entropy
from minirnn.cli import terminal
from minirnn.cli.app import main
from minirnn.language import evaluation
from minirnn.language.evaluation import evaluate
from minirnn.language.text import TextError, Vocabulary

DTYPES = [np.uint8, np.uint16, np.uint32, np.uint64, np.int8, np.int16, np.int32, np.int64]


def invoke(*arguments: Any) -> Any:
    return CliRunner().invoke(main, [str(a) for a in arguments])


# ---------------------------------------------------------------------- indices


@pytest.mark.parametrize(("symbols", "dtype"), [(254, "uint8"), (255, "uint16"), (65534, "uint16"), (65535, "uint32")])
def test_indices_take_the_smallest_dtype_that_has_the_masks_too(symbols: int, dtype: str) -> None:
    written = "".join(chr(k) for k in range(0x10000, 0x10000 + symbols))
    text = Text.from_string(written)
    assert text.indices.dtype == Text.from_string(written, text.vocab).indices.dtype == dtype
    assert text.indices.tolist() == list(range(1, symbols + 1))
    assert np.iinfo(dtype).max >= len(text.vocab)
    assert str(text) == written
    x, y = next(text.batches(2, 3))
    assert x.dtype == y.dtype == text.vocab.encode("a").dtype == np.int64


@pytest.mark.parametrize("task", ["next", "fill"])
def test_a_model_of_256_inputs_masks_and_learns(task: str) -> None:
    text = Text.from_string("".join(chr(k) for k in range(0x4E00, 0x4E00 + 254)) * 2)
    lm = LanguageModel.build(text.vocab, task=task, hidden_size=2).init(backend="numpy")
    x = text.indices[:60].reshape(30, 2)
    loss, _, _ = lm.forward(x, x, rng=np.random.default_rng(0))
    wide, _, _ = lm.forward(x.astype(np.int64), x.astype(np.int64), rng=np.random.default_rng(0))
    assert float(loss) == float(wide)
    assert lm.perplexity(text) > 1


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_every_consumer_of_indices_takes_every_dtype(backend: str) -> None:
    x = np.arange(12).reshape(6, 2) % 5
    for network in (GRU(5, 3), minirnn.Sequential(Embedding(5, 2), GRU(2, 3), Linear(3, 5))):
        network.init(0, backend=backend, dtype="float64")
        results = []
        for dtype in DTYPES:
            network.zero_grads()
            y, _, backward = network.forward(x.astype(dtype))
            dy = cross_entropy(y, (x % y.shape[-1]).astype(dtype))[1]
            backward(dy)
            stream = network.stream(batch_size=2)
            steps = np.array([stream(row) for row in x.astype(dtype)])
            np.testing.assert_allclose(steps, y, rtol=0, atol=1e-12)
            results.append((y.tobytes(), dy.tobytes(), network.grads.tobytes()))
        assert len(set(results)) == 1


# ---------------------------------------------------------------------- files in pieces


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 1000])
@pytest.mark.parametrize("written", ["\ufeffone\r\ntwo\rthree\n\r\r\n\r", "天\r\n地🙂\ufeff", "\r", "a\r"])
def test_a_file_that_is_read_in_pieces_is_the_same_text(
    piece: int, written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minirnn.language.text.PIECE", piece)
    (tmp_path / "t").write_bytes(written.encode())
    wanted = written.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    text = Text.read(tmp_path / "t")
    assert str(text) == wanted
    assert text.vocab == Vocabulary.of(wanted)
    two = Text.read([tmp_path / "t", tmp_path / "t"])
    assert str(two) == f"{wanted}\n\n{wanted}"
    known = Vocabulary.of("天o\n")
    inside = Text.read(tmp_path / "t", known)
    assert inside.vocab is known
    assert np.array_equal(inside.indices, known.encode(wanted))
    assert text.digest() == Text.from_string(wanted).digest()


@pytest.mark.parametrize("piece", [1, 2, 4, 1000])
def test_a_byte_that_is_not_utf8_is_named_by_its_place_in_the_file(
    piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minirnn.language.text.PIECE", piece)
    for content, words in (
        (b"\xef\xbb\xbfabc\xff", r"byte 6 \(0xff\)"),
        ("abc天".encode()[:-1], r"byte 3 \(0xe5\)"),
        ("天地".encode() + b"\xe5a", r"byte 6 \(0xe5\)"),
    ):
        (tmp_path / "t").write_bytes(content)
        with pytest.raises(TextError, match=f"must be UTF-8 text; {words}"):
            Text.read(tmp_path / "t")
    (tmp_path / "t").write_bytes(b"\xef\xbb\xbf")
    with pytest.raises(TextError, match="must hold text; it is empty"):
        Text.read(tmp_path / "t")


def test_a_digest_is_that_of_all_indices_and_symbols(monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    text = Text.from_string("hello 天")
    symbols = "".join(text.vocab.symbols).encode("utf-32-le")
    wanted = hashlib.blake2b(np.array(text.indices, "<u4").tobytes() + symbols, digest_size=16).hexdigest()
    for piece in (1, 3, 100):
        monkeypatch.setattr("minirnn.language.text.PIECE", piece)
        assert text.digest() == wanted


MEMORY = """
import resource, sys
from minirnn.cli.language import load_lm
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
from minirnn.language.text import Text
text = Text.read(sys.argv[1])
learn, held_out = text.split(0.1)
learn.digest(), next(learn.batches(32, 35)), next(learn.batches(32, 35, sampling="random", seed=0))
print(len(text), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize("symbols", ["the quick brown fox\n", "天地玄黃宇宙洪荒🙂\n"])
def test_a_large_text_takes_little_more_than_its_indices(symbols: str, tmp_path: Path) -> None:
    path, size = tmp_path / "large.txt", 20_000_000
    path.write_text(symbols * (size // len(symbols.encode())), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, check=True, timeout=120
    )
    length, megabytes = map(int, done.stdout.split())
    assert megabytes < 2 * length / 2**20 + 50  # of one byte, while they are joined; and the starts of windows


# ---------------------------------------------------------------------- a sample


@pytest.fixture(scope="module")
def uneven() -> Text:
    """A text of two kinds of pages, which come in random order: what a page is like says nothing of the next."""
    rng = np.random.default_rng(0)
    pages = [rng.choice(list("ab") if rng.random() < 0.5 else list("abcdefgh"), 100) for _ in range(4000)]
    return Text.from_string("".join(np.concatenate(pages)))


def guessing(text: Text, task: str = "next") -> LanguageModel:
    """A model that has opinions."""
    lm = LanguageModel.build(text.vocab, task=task, hidden_size=3).init(2, backend="numpy")
    lm.network.weights *= 3
    return lm


@pytest.mark.parametrize("task", ["next", "fill"])
def test_a_sample_estimates_within_its_standard_error(task: str, uneven: Text, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over 12 texts: how far off an estimate is, in standard errors, is about as a normal variable would be."""
    monkeypatch.setattr(evaluation, "PIECE", 256)
    lm, off = guessing(uneven, task), []
    for k in range(12):
        text = Text(uneven.vocab, uneven.indices[k * 32_000 : (k + 1) * 32_000])
        whole, some = evaluate(lm, text), evaluate(lm, text, most=8000)
        assert whole.standard_error == whole.margin == 0
        assert whole.perplexity == lm.perplexity(text)
        assert 0 < some.standard_error < 0.2
        assert some.margin == pytest.approx(some.perplexity * some.standard_error)
        assert some.characters == 31 * 256 if task == "next" else 0.1 < some.characters / (31 * 256) < 0.2
        assert some == evaluate(lm, text, most=8000)  # always the same one
        off.append((some.loss - whole.loss) / some.standard_error)
    assert 0.3 < math.sqrt(np.mean(np.square(off))) < 1.7
    assert max(map(abs, off)) < 4


def test_a_sample_counts_what_comes_after_its_warm_up_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: each piece is read one character at a time, and what comes before it not counted."""
    monkeypatch.setattr(evaluation, "PIECE", 20)
    monkeypatch.setattr(evaluation, "WINDOW", 7)
    text = Text.from_string("".join(np.random.default_rng(3).choice(list("abcd"), 500)))
    lm = guessing(text)
    found = evaluate(lm, text, most=100, batch_size=2)
    cuts = np.linspace(0, 499, 6).astype(int)
    rng = np.random.default_rng(1)
    begins = cuts[:-1] + rng.integers(0, np.diff(cuts) - 20 + 1)
    assert all(low <= begin and begin + 20 <= high for begin, low, high in zip(begins, cuts, cuts[1:], strict=False))
    losses = []
    for begin in begins:
        first = max(0, begin - 7)
        logits, _ = lm.network(text.indices[first : begin + 20, None])
        y = text.indices[begin + 1 : begin + 21]
        losses.append(float(cross_entropy(logits[begin - first :, 0], y)[0]))
    assert found.characters == 100
    assert found.loss == pytest.approx(np.mean(losses), rel=1e-6)
    share = 100 / 499
    assert found.standard_error == pytest.approx(math.sqrt((1 - share) * np.var(losses, ddof=1) / 5), rel=1e-4)


def test_a_short_text_is_read_whole_and_progress_is_told(uneven: Text) -> None:
    text, told = Text(uneven.vocab, uneven.indices[:20_000]), list[float]()
    lm = guessing(text)
    whole = lm.evaluate(text, most=19_999, progress=told.append)
    assert (whole.loss, whole.characters) == (lm.evaluate(text).loss, 19_999)
    assert told == sorted(told)
    assert told[-1] == 1
    assert len(told) == 3  # 625 steps in windows of 256
    assert lm.evaluate(text, most=19_998).standard_error > 0
    with pytest.raises(ValueError, match="a sample has at least two pieces, 4096 characters; got 100"):
        lm.evaluate(text, most=100)


def test_the_command_line_estimates_unless_all_is_asked_for(
    uneven: Text, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out, run = tmp_path / "text.txt", tmp_path / "m.safetensors", tmp_path / "run"
    path.write_text(str(uneven)[:100_000], encoding="utf-8")
    for module in ("cli.terminal", "language.evaluation"):
        monkeypatch.setattr(f"minirnn.{module}.SAMPLE", 8192)
    small = ["--hidden-size", 4, "--steps", 3, "--backend", "numpy", "--held-out", 0.5, "--out", out]
    plain = invoke("train", path, *small, "--checkpoint", run, "--every", 2)
    assert plain.exit_code == 0, plain.output
    said = plain.stdout.replace("\n", " ")
    assert "(standard error), estimated on 8,192 of 50,000 characters held out; --evaluate-all reads all" in said
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line.get("standard_error")] == [2, 3]
    result = json.loads(invoke("train", path, *small, "--evaluate-all", "--json").stdout)
    assert result["standard_error"] == 0
    lm = minirnn.load(out)
    held_out = Text.read(path, lm.vocab).split(0.5)[1]
    assert result["validation_perplexity"] == pytest.approx(lm.perplexity(held_out))
    some = json.loads(invoke("evaluate", path, "--model", out, "--json").stdout)
    whole = json.loads(invoke("evaluate", path, "--model", out, "--all", "--json").stdout)
    assert (some["evaluated"], whole["evaluated"]) == (8192, 99_999)
    assert 0 < abs(some["perplexity"] - whole["perplexity"]) < 4 * some["standard_error"]
    assert "estimated on 8,192 of 100,000 characters, 0 unknown" in invoke("evaluate", path, "--model", out).stdout
    assert "8,192 of" not in invoke("evaluate", path, "--model", out, "--all").stdout


def test_a_terminal_shows_how_far_an_evaluation_is(
    uneven: Text, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "console", Console(stderr=True, force_terminal=True, width=100))
    text = Text(uneven.vocab, uneven.indices[:20_000])
    terminal.evaluated(guessing(text), text, whole=True)
    shown = capsys.readouterr()
    assert "evaluating" in shown.err
    assert "%" in shown.err
    assert not shown.out
    with terminal.bars() as outer, terminal.bars() as inner:
        assert inner is outer  # one below the other: rich shows one set at a time


def test_a_model_that_diverged_has_no_perplexity_and_warns_of_nothing() -> None:
    text = Text.from_string("abcd" * 20)
    lm = LanguageModel.build(text.vocab, hidden_size=3, cell="rnn").init(backend="numpy")
    lm.network.weights[...] = 3e38 * (-1.0) ** np.arange(lm.network.weights.size)
    assert not math.isfinite(lm.perplexity(text))

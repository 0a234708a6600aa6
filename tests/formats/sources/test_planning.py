"""What cannot become a file of source is refused before anything is written; what is written stays harmless."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import minirnn
from minirnn import GRU, LSTM, Embedding, Last, Layer, Linear, Masking, Sequential
from minirnn.cells import TanhCell
from minirnn.cli.app import main
from minirnn.core.run import Result
from minirnn.formats import sources
from minirnn.formats.sources.planning import planned
from minirnn.formats.sources.words import harmless, stem_of
from minirnn.inference.blocks import BlockedMatrix
from minirnn.layers import BatchNorm1d, Conv1d, Dropout
from minirnn.layers.graph import LayerGraph
from minirnn.layers.joining import Combine
from minirnn.layers.wiring import Call, Entry
from minirnn.recurrent.networks import Recurrent


class Branching(TanhCell):
    """A cell that symbols cannot follow."""

    @staticmethod
    def step(p: Any, q: Any, state: Any) -> Any:
        a = p + q
        h1 = np.tanh(a) if a[0, 0] > 0 else -np.tanh(a)
        return (h1,), (h1,)


class Doubled(Layer):
    """A layer of a reader's own that sees steps beside each other."""

    def apply(self, x: Any, state: Any, run: Any) -> Any:
        raise NotImplementedError


class Negated(Linear):
    """A kind that is made of minirnn's own, and does something else."""

    def apply(self, x: Any, state: Any, run: Any) -> Any:
        return super().apply(-x, state, run)


class Middle(Layer):
    """A layer that symbols see one step of, and that looks at all."""

    timeless = True

    def apply(self, x: Any, state: Any, run: Any) -> Any:
        return Result(x if len(x) == 2 else x - x[:1], None, lambda *_: (None, None), {})


def graph(layers: dict[str, Layer], *calls: tuple[str, str, list[str]]) -> Layer:
    """Calls of layers, each the name of its value, the layer and what it reads; the last value is y."""
    return LayerGraph([Entry("x", 3)], layers, [Call(*call) for call in calls], [calls[-1][0]])


def largest() -> Layer:
    return graph({"a": Linear(3, 3), "b": Combine("max")}, ("a", "a", ["x"]), ("b", "b", ["x", "a"]))


def unlike() -> Layer:
    return graph({"a": Last(), "b": Combine()}, ("a", "a", ["x"]), ("b", "b", ["x", "a"]))


def twice() -> Layer:
    return graph({"a": Linear(3, 3)}, ("b", "a", ["x"]), ("c", "a", ["b"]))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: Sequential(Masking(), GRU(3, 4)), "skips no steps"),
        (lambda: Sequential(Embedding(5, 3, mask=0), GRU(3, 4)), "skips no steps"),
        (lambda: Recurrent(Branching, 3, 4), "its cell Branching branches on a value"),
        (lambda: Sequential(GRU(3, 4), Doubled()), "it is no layer of minirnn that has a form there"),
        (lambda: Sequential(GRU(3, 4), Negated(4, 4)), "it is no layer of minirnn that has a form there"),
        (largest, r"Combine\(how='max'\) cannot be written as source: it "),
        (unlike, "alike in steps and features"),
        (twice, "a layer that is called twice, a"),
        (lambda: Sequential(GRU(3, 4), Middle()), "computes more than its operations on one row show"),
    ],
)
def test_what_cannot_be_carried_is_refused_before_a_file_is_written(model: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        sources.save(model().init(0, backend="numpy"), tmp_path / "a.c")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_another_dtype_and_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"computes in float32; this model is float64: convert with --dtype float32"):
        sources.save(GRU(3, 4).init(0, backend="numpy", dtype="float64"), tmp_path / "a.c")
    with pytest.raises(ValueError, match=r"a source file ends in \.c"):
        sources.save(GRU(3, 4).init(0, backend="numpy"), tmp_path / "a.rs")
    model = GRU(3, 4).init(0, backend="numpy")
    model.weights[...] = np.nan
    with pytest.raises(ValueError, match="weight layer_whole_0_b is not finite: a diverged model is not saved"):
        sources.save(model, tmp_path / "a.c")
    assert list(tmp_path.iterdir()) == []


def test_steps_are_for_whole_sequences_alone(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="this one takes any number, step by step"):
        sources.save(GRU(3, 4).init(0, backend="numpy"), tmp_path / "a.c", steps=9)
    model = Sequential(Conv1d(3, 4, 5)).init(0, backend="numpy")
    with pytest.raises(ValueError, match="needs at least 5 steps; got 3"):
        sources.save(model, tmp_path / "a.c", steps=3)
    assert list(tmp_path.iterdir()) == []
    sources.save(model, tmp_path / "a.c", steps=9)
    assert "#define A_STEPS 9 " in (tmp_path / "a.h").read_text()


def test_a_header_replaces_no_other_file(tmp_path: Path) -> None:
    model, path, header = LSTM(3, 4).init(0, backend="numpy"), tmp_path / "a.c", tmp_path / "a.h"
    header.write_text("int a;\n")
    with pytest.raises(OSError, match="is another file already"):
        sources.save(model, path)
    assert (header.read_text(), path.exists()) == ("int a;\n", False)
    header.unlink()
    sources.save(model, path)
    sources.save(model, path)


def test_convert_writes_c_and_says_what_is_lost(tmp_path: Path) -> None:
    source, target = tmp_path / "a.safetensors", tmp_path / "b.c"
    minirnn.save(Sequential(GRU(3, 4), Dropout(0.2), BatchNorm1d(4), Linear(4, 2)).init(0, backend="numpy"), source)
    result = CliRunner().invoke(main, ["convert", str(source), str(target), "--quantize", "int8"])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[1:] == [
        f"{target}: c, {target.stat().st_size:,} bytes, weights int8",
        "lost: Dropout(p=0.2) (layer 1)",
    ]
    top = target.read_text().partition("*/")[0]
    assert "of a.safetensors, whose SHA-256 is " in top
    assert re.search(r"\b[0-9a-f]{64}\b", top)
    assert "GRU(3, 4)" in top
    result = CliRunner().invoke(main, ["convert", str(source), str(tmp_path / "c.pt"), "--steps", "4"])
    assert "--steps is for files of c" in result.stderr


@pytest.mark.parametrize(
    "words", ["*/ int x; /*", "??/\n", 'a"b', "\\", "</script>", "\u2028", "-->", "`${1}`", '"""', "'''"]
)
def test_words_in_comments_end_nothing(words: str) -> None:
    safe = harmless(f"a {words} b")
    assert re.fullmatch(r"[0-9A-Za-z _.,:;()\[\]{}=+/'#%@|~^-]*", safe)
    assert not any(end in safe for end in ("*/", "//", "??", '"', "\\", "<", ">", "`", "$"))


@pytest.mark.parametrize(
    ("name", "stem"),
    [("model.c", "model"), ("My Net-2.c", "my_net_2"), ("1.c", "model_1"), ("int.c", "model_int"), ("é.c", "model")],
)
def test_symbols_begin_with_the_files_name(name: str, stem: str) -> None:
    assert stem_of(Path(name)) == stem


def test_matrices_in_bfloat16_are_widened() -> None:
    small = GRU(5, 7).init(0, backend="numpy").quantize("bf16")
    weights = [w.dense() if isinstance(w, BlockedMatrix) else w for w in small.named_weights().values()]
    stored = [weight.values for weight in planned(small).weights]
    numbers, wanted = (np.sort(np.concatenate([a.reshape(-1) for a in arrays])) for arrays in (stored, weights))
    assert numbers.dtype == np.float32
    np.testing.assert_array_equal(numbers, wanted)

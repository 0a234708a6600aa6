"""Model files: what is written comes back bit for bit, whole or not at all, and what could not is not written."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpora import FORMATS
from hypothesis import given
from hypothesis import strategies as st
from model_files import MODELS, Array, an_input, assert_same, every_model, ready, tied
from safetensors.numpy import load as read_tensors
from tiers import marked_but

from minirnn import GRU, LSTM, RNN, Bidirectional, Embedding, Last, Layer, Linear, Recurrent, Sequential, load, save
from minirnn.cells import LSTMCell
from minirnn.language.model import LanguageModel
from minirnn.language.text import UNKNOWN, Vocabulary
from minirnn.layers.activations import Function
from minirnn.more_cells import NAMED
from minirnn.recurrent.variants import GRUVariant, LSTMVariant, RNNVariant


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that Hypothesis's examples may share."""
    return tmp_path_factory.mktemp("folder")


# ---------------------------------------------------------------------- there and back


@every_model
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_model_comes_back_bit_for_bit(make: Callable[[], Layer], dtype: str, tmp_path: Path) -> None:
    model = ready(make(), dtype)
    names = list(model.named_weights())
    model.freeze(*names[::2])
    save(model, tmp_path / "m.safetensors")
    assert_same(model, load(tmp_path / "m.safetensors"))


@st.composite
def variants(draw: st.DrawFn) -> RNNVariant | GRUVariant | LSTMVariant:
    """Cells with every option."""
    constant = st.floats(0.01, 2)
    one = st.sampled_from(["tanh", "sigmoid", "softsign"]).map(Function) | st.builds(  # others make a state run away
        Function, st.sampled_from(["hard_sigmoid", "scaled_tanh"]), constant, constant
    )
    f, g, h, clip = draw(one), draw(one), draw(one), draw(st.none() | st.floats(0.1, 3))
    kind = draw(st.sampled_from(["rnn", "gru", "lstm"]))
    if kind == "rnn":
        return RNNVariant(f, clip)
    if kind == "gru":
        return GRUVariant(f, g, draw(st.sampled_from(["after", "before"])), clip)
    return LSTMVariant(f, g, h, clip, draw(st.booleans()), draw(st.booleans()))


@st.composite
def networks(draw: st.DrawFn) -> Layer:
    """Small networks of every kind of layer."""
    size, dropout = st.integers(1, 3), draw(st.sampled_from([0.0, 0.5]))
    kind, D, H, depth = draw(st.sampled_from([RNN, GRU, LSTM, None])), draw(size), draw(size), draw(size)
    options: dict[str, Any] = {"dropout": dropout, "trainable_state": draw(st.booleans())}
    options["bidirectional"] = draw(st.booleans())
    if kind is RNN:
        options["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
    if kind is GRU:
        options["reset"] = draw(st.sampled_from(["after", "before"]))
    recurrent: Layer = kind(D, H, depth, **options) if kind else Recurrent(draw(variants()), D, H, depth, **options)
    middle = Bidirectional(recurrent) if draw(st.booleans()) else recurrent
    layers: list[Layer] = [Embedding(draw(size), D)] if draw(st.booleans()) else []
    layers.append(middle)
    layers += [Last()] if draw(st.booleans()) else []
    layers += [Linear(middle.output_size or 0, draw(size), bias=draw(st.booleans()))] if draw(st.booleans()) else []
    return layers[0] if len(layers) == 1 else Sequential(*layers)


@given(networks(), st.sampled_from(["float32", "float64"]), st.integers(0, 2**64 - 1), st.data())
def test_any_network_comes_back_bit_for_bit(
    folder: Path, model: Layer, dtype: str, seed: int, data: st.DataObject
) -> None:
    ready(model, dtype, seed)
    model.freeze(*data.draw(st.lists(st.sampled_from(list(model.named_weights())), max_size=3)))
    save(model, folder / "m.safetensors")
    assert_same(model, load(folder / "m.safetensors"))


@pytest.mark.parametrize("name", marked_but(["MinGRUCell"], NAMED, "slow"))
def test_cells_beyond_the_chapters_are_named_in_files(name: str, tmp_path: Path) -> None:
    model = Sequential(Recurrent(NAMED[name], 3, 4, 2, bidirectional=True), Linear(8, 2)).init(1)
    save(model, tmp_path / "m.safetensors")
    assert_same(model, load(tmp_path / "m.safetensors"))
    narrow = model.quantize("int8")
    save(narrow, tmp_path / "m.safetensors")
    x = np.ones((2, 1, 3), "float32")
    np.testing.assert_array_equal(load(tmp_path / "m.safetensors")(x)[0], narrow(x)[0])


def test_a_cell_of_another_name_is_refused(tmp_path: Path) -> None:
    own = type("MinGRUCell", (NAMED["MinGRUCell"],), {})  # whose equations nobody knows
    with pytest.raises(ValueError, match=r"its cell is not one of PeepholeLSTMCell, .*, LSTMVariant"):
        save(Recurrent(own, 2, 3).init(), tmp_path / "m.safetensors")


def test_tied_weights_come_back_tied_and_stored_once(tmp_path: Path) -> None:
    model = tied().init()
    save(model, tmp_path / "m.safetensors")
    loaded = load(tmp_path / "m.safetensors")
    assert isinstance(loaded, Sequential)
    assert isinstance(loaded[2], Linear)
    assert loaded[2].tie is loaded[0]
    assert "2.W" not in read_tensors((tmp_path / "m.safetensors").read_bytes())


@pytest.mark.parametrize("task", ["next", "fill"])
def test_a_language_model_comes_back_with_its_vocabulary_and_task(task: str, tmp_path: Path) -> None:
    vocab = Vocabulary([UNKNOWN, "天", "\n", '"', "\\", "\x00", "\x7f", "é", "🙂", "\ud800", "a"])  # not sorted
    lm = LanguageModel.build(vocab, task=task, hidden_size=3, num_layers=2, dropout=0.1, embedding_size=2).init(3)
    save(lm, tmp_path / "m.safetensors")
    loaded = load(tmp_path / "m.safetensors")
    assert isinstance(loaded, LanguageModel)
    assert loaded.vocab.symbols == vocab.symbols
    assert loaded.task == task
    assert_same(lm.network, loaded.network)
    if task == "next":
        assert list(loaded.generate("天a", 20, seed=0)) == list(lm.generate("天a", 20, seed=0))
    else:
        assert loaded.fill("天__a") == lm.fill("天__a")


def test_a_loaded_model_can_be_trained_and_saved_again(tmp_path: Path) -> None:
    first, second = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
    save(ready(tied()), first)
    loaded = load(first)
    assert isinstance(loaded, Layer)
    save(loaded, second)
    assert first.read_bytes() == second.read_bytes()
    y, _, backward = loaded.forward(an_input(loaded))
    backward(np.ones_like(y))
    assert loaded.grads.any()


def test_a_quantised_model_with_options_comes_back(tmp_path: Path) -> None:
    for make in (MODELS[name] for name in ("options of a GRU", "options of an LSTM", "other functions in reverse")):
        for kind in ("int8", "f16", "bf16"):
            model = ready(make()).quantize(kind)
            save(model, tmp_path / "m.safetensors")
            loaded, x = load(tmp_path / "m.safetensors"), an_input(model)
            assert loaded.describe() == model.describe()
            assert loaded.bound.quantized == kind
            assert loaded(x)[0].tobytes() == model(x)[0].tobytes()


def test_what_keras_trained_is_saved_like_any_other_model(tmp_path: Path) -> None:
    described = ""
    for k, data in enumerate(FORMATS["keras zip"].files() + FORMATS["keras h5"].files()):
        (tmp_path / "keras").write_bytes(data)
        model = load(tmp_path / "keras")
        save(model, tmp_path / f"{k}.safetensors")
        assert_same(model, load(tmp_path / f"{k}.safetensors"))
        described += model.describe()
    assert all(word in described for word in ("LSTMVariant(", "mask=0", "merge="))


def test_weights_are_converted_when_another_dtype_is_asked_for(tmp_path: Path) -> None:
    model = ready(MODELS["sequential"](), "float64")
    save(model, tmp_path / "m.safetensors")
    for dtype in ("float32", "float64", "complex128"):
        loaded = load(tmp_path / "m.safetensors", dtype=dtype)
        assert isinstance(loaded, Layer)
        assert loaded.weights.dtype == dtype
        for name, w in model.named_weights().items():
            assert np.array_equal(loaded.named_weights()[name], w.astype(dtype)), name
    with pytest.raises(ValueError, match=r"dtype on backend \w+ must be one of .*; got 'float16'"):
        load(tmp_path / "m.safetensors", dtype="float16")
    with pytest.raises(ValueError, match=r"backend must be one of .*; got 'abacus'"):
        load(tmp_path / "m.safetensors", backend="abacus")


def test_a_weight_that_the_dtype_asked_for_cannot_hold_does_not_become_infinite(tmp_path: Path) -> None:
    model = Linear(2, 2).init(dtype="float64")
    model.weights[0] = 1e300
    save(model, tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match="W"):
        load(tmp_path / "m.safetensors", dtype="float32")


# ---------------------------------------------------------------------- refused before anything is written


class Leaky:
    """A cell of one's own."""

    state = ("h",)
    gates = ("h",)
    saves = ()

    @staticmethod
    def step(p: Array, q: Array, state: tuple[Array, ...]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        return (0.5 * state[0] + p + q,), ()

    @staticmethod
    def unstep(dstate: tuple[Array, ...], saved: tuple[Array, ...]) -> tuple[Any, ...]:
        return dstate[0], dstate[0], (0.5 * dstate[0],)


class OwnLinear(Linear):
    """A layer of one's own."""


class OwnVariant(RNNVariant):
    """A cell with options of one's own."""


def impostor() -> Layer:
    """A layer of one's own under a known name."""
    return type("GRU", (GRU,), {})(2, 2)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("make", "dtype", "words"),
    [
        (
            lambda: Recurrent(Leaky, 2, 2),
            "float32",
            r"cannot describe Recurrent\(Leaky, 2, 2\): its cell is not one of",
        ),
        (
            lambda: Recurrent(LSTMCell, 2, 2),
            "float32",
            "RNNVariant, GRUVariant, LSTMVariant, and not in an RNN, GRU or",
        ),
        (
            lambda: Recurrent(OwnVariant(), 2, 2),
            "float32",
            r"cannot describe Recurrent\(OwnVariant\(\), 2, 2\): its cell",
        ),
        (lambda: Sequential(GRU(2, 2), OwnLinear(2, 2)), "float32", r"cannot describe OwnLinear\(2, 2\)"),
        (lambda: Sequential(impostor()), "float32", r"cannot describe GRU\(2, 2\)"),
        (lambda: Linear(2, 2), "complex128", "float32 or float64 weights; got complex128"),
    ],
)
def test_what_the_format_has_no_words_for_is_refused_and_nothing_written(
    make: Callable[[], Layer], dtype: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=words):
        save(make().init(dtype=dtype), tmp_path / "m.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_diverged_model_is_not_saved_over_a_good_one(bad: float, tmp_path: Path) -> None:
    path, model = tmp_path / "m.safetensors", ready(tied())
    save(model, path)
    before = path.read_bytes()
    model.named_weights()["1.0.U"][2, 1] = bad
    with pytest.raises(ValueError, match=r"weight 1\.0\.U is not finite"):
        save(model, path)
    assert path.read_bytes() == before


def test_a_model_without_weights_yet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="has no weights yet: call init"):
        save(tied(), tmp_path / "m.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part", [1, 2])
def test_part_of_a_model_is_either_refused_or_comes_back(part: int, tmp_path: Path) -> None:
    model = tied().init().freeze("1.0.b")
    try:
        save(model[part], tmp_path / "m.safetensors")
    except (ValueError, RuntimeError):
        assert list(tmp_path.iterdir()) == []
        return
    loaded = load(tmp_path / "m.safetensors")
    assert isinstance(loaded, Layer)
    assert list(loaded.named_weights()) == list(model[part].named_weights())


def test_a_tie_to_an_embedding_outside_the_model_is_refused() -> None:
    model = Sequential(GRU(2, 2), Linear(2, 5, tie=Embedding(5, 2)))
    with pytest.raises(ValueError, match=r"needs Embedding\(5, 2\) to be part of the same model"):
        model.init()


# ---------------------------------------------------------------------- whole or not at all


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_write_that_fails_leaves_everything_as_it_was(
    exists: bool, failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.safetensors"
    if exists:
        save(ready(tied(), seed=1), path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(*_: Any) -> None:
        assert len(list(tmp_path.iterdir())) == len(before) + 1  # beside the old file, not over it
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*((os, "fsync", full) if failing == "fsync" else (Path, "replace", full)))
    with pytest.raises(OSError, match="No space left"):
        save(ready(tied(), seed=2), path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_an_interrupt_while_writing_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(ready(tied()), tmp_path / "m.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_saving_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "模型.safetensors"
    for seed in (1, 2):
        save(ready(tied(), seed=seed), str(path))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert_same(ready(tied(), seed=2), load(str(path)))


def test_a_folder_that_is_not_there_is_named_without_the_temporary_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        save(ready(tied()), tmp_path / "nowhere" / "m.safetensors")
    assert "nowhere" in str(caught.value)
    assert ".part" not in str(caught.value)

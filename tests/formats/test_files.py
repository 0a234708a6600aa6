"""Model files: what is written comes back bit for bit; what was not written by ``save`` is refused in one line."""

import errno
import json
import os
import pickle
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias
from unittest import mock

import numpy as np
import pytest
from corpora import FORMATS
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load as read_tensors
from safetensors.numpy import save as write_tensors
from tiers import marked_but

from minirnn import (
    GRU,
    LSTM,
    RNN,
    Activation,
    AvgPool1d,
    BatchNorm1d,
    Bidirectional,
    Conv1d,
    Dropout,
    Embedding,
    Flatten,
    GlobalAvgPool1d,
    GlobalMaxPool1d,
    Last,
    Layer,
    LayerNorm,
    Linear,
    Masking,
    MaxPool1d,
    ModelFileError,
    PReLU,
    Recurrent,
    Reverse,
    Sequential,
    load,
    save,
)
from minirnn.cells import LSTMCell
from minirnn.language.model import LanguageModel
from minirnn.language.text import UNKNOWN, Vocabulary
from minirnn.layers.activations import Function
from minirnn.more_cells import NAMED
from minirnn.recurrent.variants import GRUVariant, LSTMVariant, RNNVariant

Array: TypeAlias = NDArray[Any]


def tied(**options: Any) -> Sequential:
    embedding = Embedding(5, 4)
    return Sequential(embedding, RNN(4, 4, nonlinearity="relu"), Linear(4, 5, tie=embedding, **options))


MODELS: dict[str, Callable[[], Layer]] = {
    "sequential": lambda: Sequential(Embedding(5, 3), GRU(3, 4, 2, dropout=0.3), Dropout(0.2), Linear(4, 5)),
    "bidirectional": lambda: Sequential(Bidirectional(LSTM(3, 2), GRU(3, 2)), Linear(4, 2, bias=False)),
    "tied": tied,
    "tied without bias": lambda: tied(bias=False),
    "trainable state": lambda: GRU(3, 4, 2, reset="before", bidirectional=True, trainable_state=True),
    "projected": lambda: Sequential(LSTM(3, 5, 2, bidirectional=True, trainable_state=True, proj_size=2), Linear(4, 3)),
    "last": lambda: Sequential(LSTM(3, 2, bidirectional=True), Last(bidirectional=True), Linear(4, 1)),
    "merged": lambda: Sequential(
        Masking(0.5), Bidirectional(LSTM(3, 2), merge="mul"), Activation("elu", 0.5), Reverse()
    ),
    "masked": lambda: Sequential(Embedding(5, 3, mask=2), RNN(3, 2)),
    "nested": lambda: Sequential(Sequential(RNN(3, 2), Dropout(0.5)), Bidirectional(Sequential(Linear(2, 3)))),
    "weights dropped": lambda: Sequential(GRU(3, 4, 2, weight_dropout=0.3), LSTM(4, 2, weight_dropout=0.5)),
    "zoned": lambda: Sequential(GRU(3, 4, 2, zoneout=0.3), LSTM(4, 2, zoneout=(0.05, 0.5)), RNN(2, 2, zoneout=[0.1])),
    "no weights": lambda: Sequential(Dropout(0.5), Last()),
    "locked": lambda: Sequential(Embedding(5, 3), Dropout(0.2, locked=True), GRU(3, 4, 2, dropout=0.3, locked=True)),
}
HARD = Function("hard_sigmoid", 1 / 6, 0.5)
MODELS |= {
    "around": lambda: Sequential(
        *(Conv1d(3, 6, 2, padding=(1, 0), groups=3, bias=False), PReLU(6, start=0.5), LayerNorm(6, 0.1, gain=False)),
        *(GRU(6, 2), AvgPool1d(2, 1, count_padding=False), Conv1d(2, 2, 2, padding="causal"), GlobalMaxPool1d()),
    ),
    "flattened": lambda: Sequential(MaxPool1d(2), GRU(3, 2), BatchNorm1d(2, 0.2), Flatten(2, 2), Linear(4, 1)),
    "averaged": lambda: Sequential(Activation("hard_swish"), MaxPool1d(3, 1, "same"), GlobalAvgPool1d()),
    "another function": lambda: Recurrent(RNNVariant(Function("leaky_relu", 0.1)), 3, 2, 2, trainable_state=True),
    "options of a GRU": lambda: Recurrent(GRUVariant(HARD, Function("softmax"), "before", 0.7), 3, 2),
    "options of an LSTM": lambda: Sequential(
        Embedding(5, 3),
        Recurrent(LSTMVariant(HARD, Function("mish"), Function("elu"), 1 / 3, True, True), 3, 2, bidirectional=True),
    ),
    "other functions in reverse": lambda: Bidirectional(
        Recurrent(LSTMVariant(peepholes=True), 3, 2), Recurrent(LSTMVariant(HARD), 3, 2), "sum"
    ),
}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS.keys())


def ready(model: Layer, dtype: str = "float32", seed: int = 5) -> Layer:
    """``model`` with every weight drawn, those that start at 0 too."""
    model.init(seed, dtype=dtype, overwrite=True)
    rng = np.random.default_rng(seed)
    for name, w in model.named_weights().items():
        w[...] = rng.random(w.shape) if name.endswith("var") else rng.normal(size=w.shape)
    return model


def an_input(model: Layer) -> Array:
    rng = np.random.default_rng(0)
    if model.floats:
        return rng.normal(size=(4, 2, model.input_size or 3)).astype(model.bound.dtype)
    return rng.integers(0, model.input_size or 1, (4, 2))


def assert_same(model: Layer, loaded: Any) -> None:
    assert type(loaded) is type(model)
    assert loaded.describe().split() == model.describe().split()
    assert loaded.bound.dtype == model.bound.dtype
    assert loaded.bound.seed == model.bound.seed
    assert loaded.bound.frozen == model.bound.frozen
    weights = loaded.named_weights()
    assert list(weights) == list(model.named_weights())
    for name, w in model.named_weights().items():
        assert weights[name].tobytes() == w.tobytes(), name
    x = an_input(model)
    assert loaded(x)[0].tobytes() == model(x)[0].tobytes()
    if not model.bound.inference_only:  # with dropout, whose masks come from the seed
        assert loaded.forward(x)[0].tobytes() == model.forward(x)[0].tobytes()


def header_of(data: bytes) -> tuple[dict[str, Any], bytes]:
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def with_header(header: Any, rest: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + rest


def doctored(data: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
    """A model file whose description went through ``change``, in place, or for another, or for a JSON text."""
    header, rest = header_of(data)
    about = json.loads(header["__metadata__"]["minirnn"])
    changed = change(about)
    text = changed if isinstance(changed, str) else json.dumps(about if changed is None else changed)
    header["__metadata__"]["minirnn"] = text
    return with_header(header, rest)


def refusal(path: Path, data: bytes) -> str:
    """What load says about ``data``: one line that begins with the path."""
    path.write_bytes(data)
    with pytest.raises(ModelFileError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert len(message) - len(str(path)) < 1000
    return message[len(str(path)) :]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a sound file."""
    path = tmp_path_factory.mktemp("whole") / "m.safetensors"
    save(ready(MODELS["sequential"]()).freeze("1.1"), path)
    return path.read_bytes()


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


# ---------------------------------------------------------------------- files that are not models


def test_every_truncation_is_refused(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    lengths = {*range(0, len(whole), 11), *range(20), *range(len(whole) - 20, len(whole))}
    for length in lengths:
        words = refusal(path, whole[:length])
        assert length < 9 or "is not a whole safetensors file" in words  # what is shorter is no safetensors file yet
    assert "is not a whole safetensors file" in refusal(path, whole + b"\0")
    path.write_bytes(whole)
    load(path)


def foreign() -> Iterator[tuple[str, bytes, str]]:
    rng = np.random.default_rng(0)
    ones = {"weight": np.ones((2, 2), np.float32)}
    unknown = "must be a model file of minirnn, torch, Keras or ONNX; it"
    yield "empty", b"", f"{unknown} is empty"
    yield "random", rng.bytes(5000), f"{unknown} begins with"
    yield "text", b"just some text, longer than eight bytes", f"{unknown} is text"
    yield "pickle", pickle.dumps(ones), "is a pickle that torch.save did not write"
    yield "huge header", struct.pack("<Q", 2**63) + b"{}", "not a whole safetensors file"
    yield "no tensors", struct.pack("<Q", 2) + b"{}", "has no tensors"
    yield "no JSON", write_tensors(ones, metadata={"minirnn": "{"}), "must be JSON"
    yield "deep JSON", write_tensors(ones, metadata={"minirnn": "[" * 10**5}), "must be JSON"
    yield "long number", write_tensors(ones, metadata={"minirnn": "1" * 10**5}), "must be JSON"
    for text in ("[]", "1", "null", '"version"', "{}", '{"version": 2}', '{"version": "1"}', '{"version": [1]}'):
        yield text, write_tensors(ones, metadata={"minirnn": text}), "must be of format version 1; it is of"


FOREIGN = {name: (data, words) for name, data, words in foreign()}


@pytest.mark.parametrize(("data", "words"), FOREIGN.values(), ids=FOREIGN.keys())
def test_files_of_other_kinds_are_refused(data: bytes, words: str, tmp_path: Path) -> None:
    assert words in refusal(tmp_path / "other.safetensors", data)


def test_a_zip_archive_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        archive.writestr("weights", b"1" * 100)
    assert "is a zip archive of other files: 'weights'" in refusal(
        tmp_path / "m.zip", (tmp_path / "m.zip").read_bytes()
    )


def test_a_path_where_no_file_is_gives_file_not_found(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.safetensors", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"no model file at {path}"):
            load(path)


def test_a_file_that_cannot_be_read_is_refused(whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    denied = mock.Mock(side_effect=PermissionError(errno.EACCES, "Permission denied"))
    monkeypatch.setattr("safetensors.safe_open", denied)
    assert "cannot be read: [Errno 13] Permission denied" in refusal(tmp_path / "m.safetensors", whole)


# ---------------------------------------------------------------------- weights that do not fit the description


def altered(whole: bytes, change: Callable[[dict[str, Array]], Any]) -> bytes:
    """The file with other tensors and the same description."""
    header, _ = header_of(whole)
    tensors = dict(read_tensors(whole))
    change(tensors)
    return write_tensors(tensors, metadata=header["__metadata__"])


def set_entry(name: str, value: float) -> Callable[[dict[str, Array]], None]:
    def change(tensors: dict[str, Array]) -> None:
        tensors[name] = tensors[name].copy()
        tensors[name].flat[-1] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_entry("1.0.U", np.nan), "weight 1.0.U must be finite; it holds NaN or infinity"),
        (set_entry("3.b", -np.inf), "weight 3.b must be finite"),
        (lambda t: t.pop("1.1.W"), "weight 1.1.W must have shape (4, 12); it is missing"),
        (lambda t: t.update({"1.2.W": t["1.1.W"]}), "weight 1.2.W must not be there; it has (4, 12)"),
        (lambda t: t.update({"3.W": t["3.W"].T.copy()}), "weight 3.W must have shape (4, 5); it has (5, 4)"),
        (lambda t: t.update({"3.b": t["3.b"][None]}), "weight 3.b must have shape (5,); it has (1, 5)"),
        (lambda t: t.update({n: w.astype("float16") for n, w in t.items()}), "weight 0.W must be float32; got F16"),
        (lambda t: t.update({n: w.astype("int64") for n, w in t.items()}), "weight 0.W must be float32; got I64"),
        (lambda t: t.update({"3.b": t["3.b"].astype("float64")}), "weight 3.b must be float32; got F64"),
        (lambda t: t.clear(), "more layers are described than there are weights stored"),
    ],
)
def test_a_weight_that_does_not_fit_is_named(
    change: Callable[[dict[str, Array]], Any], words: str, whole: bytes, tmp_path: Path
) -> None:
    assert words in refusal(tmp_path / "m.safetensors", altered(whole, change))


# ---------------------------------------------------------------------- descriptions that describe nothing


def at(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    """A change of one entry of the description."""

    def change(about: Any) -> None:
        for key in path[:-1]:
            about = about[key]
        about[path[-1]] = to

    return change


def nested(depth: int, inner: Any) -> Any:
    for _ in range(depth):
        inner = {"kind": "Sequential", "layers": [inner]}
    return inner


def network(description: Any) -> Callable[[dict[str, Any]], Any]:
    """Another network, of which nothing is frozen."""
    return lambda about: about | {"network": description, "frozen": []}


GRU_3_4 = {"kind": "GRU", "input_size": 3, "hidden_size": 4}
ABSURD: dict[str, Callable[[dict[str, Any]], Any]] = {
    "10**9 layers": at("network", "layers", 1, "num_layers", to=10**9),
    "no layers": at("network", "layers", 1, "num_layers", to=0),
    "-1 layers": at("network", "layers", 1, "num_layers", to=-1),
    "more layers than weights": at("network", "layers", 1, "num_layers", to=13),
    "half a layer": at("network", "layers", 1, "num_layers", to=1.5),
    "infinitely many layers": at("network", "layers", 1, "num_layers", to=float("inf")),
    "hidden size 10**12": at("network", "layers", 1, "hidden_size", to=10**12),
    "hidden size of 4300 digits": at("network", "layers", 1, "hidden_size", to=9 * 10**4299),
    "hidden size whose multiple has 4301": network(GRU_3_4 | {"hidden_size": 9 * 10**4299}),
    "negative size": at("network", "layers", 1, "hidden_size", to=-4),
    "embedding of 10**12": at("network", "layers", 0, "num_embeddings", to=10**12),
    "linear of 10**15": at("network", "layers", 3, "out_features", to=10**15),
    "string for a number": at("network", "layers", 1, "hidden_size", to="4"),
    "string for layers": at("network", "layers", 1, "num_layers", to="2"),
    "true for a number": at("network", "layers", 1, "num_layers", to=True),
    "null for a number": at("network", "layers", 0, "embedding_dim", to=None),
    "list for a number": at("network", "layers", 0, "embedding_dim", to=[3]),
    "NaN for a probability": at("network", "layers", 2, "p", to=float("nan")),
    "certain dropout": at("network", "layers", 2, "p", to=1),
    "weight dropout in words": at("network", "layers", 1, "weight_dropout", to="0.5"),
    "certain zoneout": at("network", "layers", 1, "zoneout", to=[1.0]),
    "zoneout of too many states": at("network", "layers", 1, "zoneout", to=[0.1, 0.1]),
    "zoneout of many states": at("network", "layers", 1, "zoneout", to=[0.1] * 10**4),
    "zoneout of lists": at("network", "layers", 1, "zoneout", to=[[0.1]]),
    "zoneout in words": at("network", "layers", 1, "zoneout", to="0"),
    "zoneout that is null": at("network", "layers", 1, "zoneout", to=None),
    "certain weight dropout": at("network", "layers", 1, "weight_dropout", to=1.0),
    "dropout that is locked by a number": at("network", "layers", 2, "locked", to=1),
    "unknown option": at("network", "layers", 1, "attention", to=8),
    "unknown reset": at("network", "layers", 1, "reset", to="during"),
    "list for a reset": at("network", "layers", 1, "reset", to=["after"]),
    "unknown kind": at("network", "layers", 1, "kind", to="Transformer"),
    "kind of a base class": at("network", "layers", 1, "kind", to="Recurrent"),
    "kind that is a function": at("network", "layers", 1, "kind", to="__import__"),
    "kind that is a list": at("network", "layers", 1, "kind", to=["GRU"]),
    "tie to nowhere": at("network", "layers", 3, "tie", to="7."),
    "tie to a layer that is no embedding": at("network", "layers", 3, "tie", to="1."),
    "tie to itself": at("network", "layers", 3, "tie", to="3."),
    "tie to an embedding of another size": at("network", "layers", 3, "tie", to="0."),
    "tie to a list": at("network", "layers", 3, "tie", to=["0."]),
    "layers that are a number": at("network", "layers", to=4),
    "layers that are a string": at("network", "layers", to="GRU"),
    "layers that are null": at("network", "layers", to=[None]),
    "layers that are none": at("network", "layers", to=[]),
    "network that is null": at("network", to=None),
    "network that is a string": at("network", to="GRU"),
    "network that is a list": at("network", to=[1, 2]),
    "no network": lambda about: {k: v for k, v in about.items() if k != "network"},
    "half a Bidirectional": network({"kind": "Bidirectional", "forward": GRU_3_4}),
    "no seed": lambda about: {k: v for k, v in about.items() if k != "seed"},
    "negative seed": at("seed", to=-1),
    "seed of 65 bits": at("seed", to=2**64),
    "seed with a fraction": at("seed", to=1.5),
    "long seed": at("seed", to="9" * 4000),
    "frozen that is null": at("frozen", to=None),
    "frozen that is a number": at("frozen", to=1),
    "frozen list of lists": at("frozen", to=[["0.W"]]),
    "frozen names nothing": at("frozen", to=["0.W", "9.W"]),
    "vocabulary of another size": lambda about: about | {"vocabulary": f"{UNKNOWN}ab", "task": "next"},
    "vocabulary that is a number": at("vocabulary", to=5),
    "vocabulary without the unknown symbol": at("vocabulary", to="abcde"),
    "vocabulary with a symbol twice": at("vocabulary", to=f"{UNKNOWN}abca"),
    "vocabulary that is empty": at("vocabulary", to=""),
    "vocabulary that is null": at("vocabulary", to=None),
    "vocabulary without a task": at("vocabulary", to=f"{UNKNOWN}abcd"),
    "unknown task": lambda about: about | {"vocabulary": f"{UNKNOWN}abcd", "task": "translate"},
    "task that is a list": lambda about: about | {"vocabulary": f"{UNKNOWN}abcd", "task": ["next"]},
    "nested 300 deep": network(nested(300, GRU_3_4)),
    "nested 5000 deep": lambda _: (
        '{"version": 1, "seed": 0, "frozen": [], "network": '
        + '{"kind": "Sequential", "layers": [' * 5000
        + json.dumps(GRU_3_4)
        + "]}" * 5001
    ),
    "layers within layers that do not fit": network({"kind": "Sequential", "layers": [GRU_3_4, nested(2, GRU_3_4)]}),
    "more layers than weights, a few at a time": network(
        {"kind": "Sequential", "layers": [GRU_3_4 | {"input_size": 4, "num_layers": 11}] * 1000}
    ),
}


@pytest.mark.parametrize("change", ABSURD.values(), ids=ABSURD.keys())
def test_an_absurd_description_is_refused_at_once_and_allocates_nothing(
    change: Callable[[dict[str, Any]], Any], whole: bytes, tmp_path: Path
) -> None:
    data, began = doctored(whole, change), time.perf_counter()
    tracemalloc.start()
    try:
        refusal(tmp_path / "m.safetensors", data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000
    assert time.perf_counter() - began < 10


NO_CELLS: dict[str, tuple[tuple[Any, ...], Any, str]] = {
    "null": ((), None, "TypeError"),
    "a name": ((), "LSTMVariant", "ValueError"),
    "of an unknown kind": (("kind",), "LSTMCell", "a cell's kind must be one of PeepholeLSTMCell"),
    "of a kind that is a list": (("kind",), ["LSTMVariant"], "TypeError"),
    "of a kind with other options": (("kind",), "GRUVariant", "unexpected keyword argument 'output'"),
    "with an option too many": (("step",), "__import__", "unexpected keyword argument 'step'"),
    "of an unknown function": (("gate", "name"), "__import__", "a function's name must be one of"),
    "of a function that is a name": (("gate",), "tanh", "must be a mapping"),
    "of a function that is null": (("output",), None, "must be a mapping"),
    "of a function without a name": (("gate",), {"alpha": 1.0}, "missing 1 required positional argument: 'name'"),
    "of a function named by a list": (("gate", "name"), ["elu"], "a function's name must be one of"),
    "of a function with a constant of another": (("gate",), {"name": "tanh", "alpha": 1.0}, "tanh has no alpha"),
    "of a function with an infinite constant": (("gate", "alpha"), float("inf"), "alpha must be a finite number"),
    "of a function with a constant of 4300 digits": (("gate", "alpha"), 9 * 10**4299, "OverflowError"),
    "of a function with a text for a constant": (("gate", "alpha"), "1", "alpha must be a finite number"),
    "of a function with an option": (("gate", "gamma"), 1.0, "unexpected keyword argument 'gamma'"),
    "clipped at 0": (("clip",), 0.0, "clip must be a number above 0"),
    "clipped at NaN": (("clip",), float("nan"), "clip must be a number above 0"),
    "clipped at true": (("clip",), True, "clip must be a number above 0"),
    "clipped at a number of 4300 digits": (("clip",), 9 * 10**4299, "OverflowError"),
    "coupled by a number": (("coupled",), 1, "coupled must be True or False; got 1"),
    "with peepholes by a text": (("peepholes",), "", "peepholes must be True or False; got ''"),
    "with peepholes that are not stored": (("peepholes",), True, "weight 0.p_f must have shape (4,); it is missing"),
    "without a gate that is stored": (("coupled",), True, "weight 0.U must have shape (4, 12); it has (4, 16)"),
}


@pytest.mark.parametrize(("path", "value", "words"), NO_CELLS.values(), ids=NO_CELLS.keys())
def test_a_cell_that_describes_none_is_refused(path: tuple[Any, ...], value: Any, words: str, tmp_path: Path) -> None:
    elu = Function("elu")
    save(ready(Recurrent(LSTMVariant(elu, elu, elu, 1.0), 3, 4)), tmp_path / "m.safetensors")
    data = doctored((tmp_path / "m.safetensors").read_bytes(), at("network", "cell", *path, to=value))
    assert words in refusal(tmp_path / "m.safetensors", data)


def test_a_cell_that_is_missing_or_in_a_layer_that_takes_none_is_refused(whole: bytes, tmp_path: Path) -> None:
    without = {"kind": "Recurrent", "input_size": 3, "hidden_size": 4}
    assert "KeyError: 'cell'" in refusal(tmp_path / "m.safetensors", doctored(whole, network(without)))
    within = GRU_3_4 | {"cell": RNNVariant().config() | {"kind": "RNNVariant"}}
    words = refusal(tmp_path / "m.safetensors", doctored(whole, network(within)))
    assert "unexpected keyword argument 'cell'" in words


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a JSON value."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 0, 1, 2, -1, 5, 2**64, 1e308, 0.5, "", "0.", "GRU", UNKNOWN, [], {}, [1], ["0.W"], [[]], "\ud800"]
) | st.recursive(st.integers() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=3))


@given(st.data(), ODD)
@settings(max_examples=300)
def test_any_change_to_the_description_gives_a_model_or_a_refusal(
    whole: bytes, folder: Path, data: st.DataObject, value: Any
) -> None:
    header, _ = header_of(whole)
    about = json.loads(header["__metadata__"]["minirnn"]) | {"vocabulary": f"{UNKNOWN}abcd", "task": "next"}
    path = data.draw(st.sampled_from(list(places(about))))
    at(*path, to=value)(about)
    load_or_refuse(folder / "changed.safetensors", doctored(whole, lambda _: about))


@given(st.data())
@settings(max_examples=300)
def test_any_flipped_bytes_give_a_model_or_a_refusal(whole: bytes, folder: Path, data: st.DataObject) -> None:
    length = struct.unpack("<Q", whole[:8])[0]
    flips = data.draw(
        st.lists(
            st.tuples(st.integers(0, 8 + length) | st.integers(0, len(whole) - 1), st.integers(0, 255)),
            min_size=1,
            max_size=3,
        )
    )
    changed = bytearray(whole)
    for place, byte in flips:
        changed[place] = byte
    load_or_refuse(folder / "flipped.safetensors", bytes(changed))


def load_or_refuse(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    refused, loaded = "", None
    try:
        loaded = load(path)
    except ModelFileError as error:
        refused = str(error)
    if loaded is None:
        assert refused.startswith(str(path))
        assert "\n" not in refused
    else:
        network = loaded.network if isinstance(loaded, LanguageModel) else loaded
        assert np.isfinite(network.weights).all()
        save(loaded, path)  # a model like any other

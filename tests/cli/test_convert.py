"""``minirnn convert`` and ``minirnn inspect``: any format in, any format out, the same numbers, and plain words."""

import collections
import importlib
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch_objects
from click.testing import CliRunner, Result
from mutations import zipped
from safetensors.numpy import save_file

import minirnn
from minirnn import GRU, LSTM, RNN, Activation, Dropout, Embedding, Last, Layer, Linear, Sequential
from minirnn.cli.app import main
from minirnn.cli.models import SAVERS, SUFFIXES
from minirnn.formats import torch as torch_files
from minirnn.language.model import LanguageModel
from minirnn.language.text import Text

NEEDS = {"keras": "h5py", "onnx": "onnx"}  # what writing a format takes
INDICES = np.random.default_rng(0).integers(0, 7, (5, 2))


def invoke(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def refused(*arguments: Any) -> str:
    """The one sentence with which a command ends."""
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


def model() -> Layer:
    return Sequential(Embedding(7, 5), LSTM(5, 6, bidirectional=True), GRU(12, 4), Linear(4, 3)).init(0)


@pytest.fixture
def native(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    minirnn.save(model(), path)
    return path


def marks_of(form: str) -> list[pytest.MarkDecorator]:
    return [pytest.mark.extras] if form in NEEDS else []


def needed(form: str) -> None:
    if form in NEEDS:
        pytest.importorskip(NEEDS[form], reason=f"{NEEDS[form]} is not installed: pip install 'minirnn[{form}]'")


@pytest.mark.parametrize(
    ("suffix", "form"), [pytest.param(suffix, form, marks=marks_of(form)) for suffix, form in SUFFIXES.items()]
)
def test_the_suffix_says_the_format_and_the_numbers_stay(native: Path, suffix: str, form: str) -> None:
    needed(form)
    there, back = native.with_name(f"there{suffix}"), native.with_name("back.safetensors")
    result = invoke("convert", native, there)
    assert result.exit_code == 0, result.stderr
    first, second = result.stdout.splitlines()
    assert first.startswith(f"{native}: native, Sequential(")
    assert first.endswith(f" {minirnn.load(native).bound.count:,} parameters, float32")
    assert second == f"{there}: {form}, {there.stat().st_size:,} bytes"
    assert minirnn.formats.opening.format_of(there) == form
    assert invoke("convert", there, back).exit_code == 0
    wanted, _ = minirnn.load(native)(INDICES)
    for path in (there, back):
        np.testing.assert_allclose(minirnn.load(path)(INDICES)[0], wanted, rtol=0, atol=1e-6)


def test_to_says_what_a_suffix_does_not(native: Path) -> None:
    out = native.with_name("model.weights")
    assert "OUT must end in .safetensors, .pt" in refused("convert", native, out)
    assert "must end in .pt, .pth, .safetensors" in refused("convert", native, out, "--to", "torch")
    assert not out.exists()
    assert invoke("convert", native, out, "--to", "native").exit_code == 0
    assert minirnn.load(out).describe() == model().describe()
    out = native.with_name("torch.safetensors")
    assert invoke("convert", native, out, "--to", "torch").exit_code == 0
    assert sorted(torch_files.contents(out)) == sorted(torch_files.arrays_of(model()))


def test_a_smaller_model_and_another_dtype(native: Path) -> None:
    small, wide = native.with_name("small.safetensors"), native.with_name("wide.safetensors")
    result = invoke("convert", native, small, "--quantize", "int8")
    assert result.stdout.splitlines()[1].endswith(" bytes, weights int8")
    assert minirnn.load(small).bound.quantized == "int8"
    assert small.stat().st_size < native.stat().st_size
    assert invoke("convert", native, wide, "--dtype", "float64").exit_code == 0
    assert minirnn.load(wide).bound.dtype == np.float64
    assert "quantised" in refused("convert", small, native.with_name("small.pt"))
    assert "float32" in refused("convert", small, native.with_name("x.safetensors"), "--dtype", "float64")


def test_what_a_file_does_not_say(tmp_path: Path) -> None:
    state = torch_files.arrays_of(Sequential(Embedding(7, 5), RNN(5, 6), Linear(6, 3)).init(0))
    path, out = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    torch_files.save(Sequential(Embedding(7, 5), RNN(5, 6), Linear(6, 3)).init(0), path)
    assert invoke("convert", path, out, "--nonlinearity", "relu").exit_code == 0
    assert minirnn.load(out)[1].nonlinearity == "relu"
    assert invoke("convert", path, out, "--prefix", "1").exit_code == 0
    assert type(minirnn.load(out)) is RNN
    assert invoke("convert", path, out, "--module", "1", "--module", "2").exit_code == 0
    assert len(minirnn.load(out)) == 2
    named = tmp_path / "named.pt"
    assert invoke("convert", path, named, "--name", "emb", "--name", "rnn", "--name", "fc").exit_code == 0
    assert {name.split(".")[0] for name in torch_files.contents(named)} == {"emb", "rnn", "fc"}
    assert len(torch_files.contents(named)) == len(state)
    assert "--config is for files of keras; " in refused("convert", path, out, "--config", "x.json")
    assert "--name is for files of torch; " in refused("convert", path, out, "--name", "emb")
    assert "--lengths is for files of onnx; " in refused("convert", path, out, "--lengths")


@pytest.mark.extras
def test_a_graph_with_states(native: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install 'minirnn[onnx]'")
    out = native.with_name("model.onnx")
    assert invoke("convert", native, out, "--states", "--lengths").exit_code == 0
    names = [value.name for value in onnx.load(out).graph.input]
    assert names == ["x", "lengths", "1.h_0", "1.c_0", "2.h_0"]


def test_a_vocabulary_is_kept_or_missed_aloud(tmp_path: Path) -> None:
    lm = LanguageModel.build(Text.from_string("abcabc").vocab, hidden_size=4, embedding_size=3).init(0)
    path = tmp_path / "lm.safetensors"
    minirnn.save(lm, path)
    assert invoke("convert", path, tmp_path / "small.safetensors", "--quantize", "f16").exit_code == 0
    assert isinstance(minirnn.load(tmp_path / "small.safetensors"), LanguageModel)
    result = invoke("convert", path, tmp_path / "lm.pt")
    assert f"torch's format has no place for the vocabulary: keep {path} for it" in result.stderr


def test_what_cannot_be_converted_is_refused_and_nothing_is_written(native: Path) -> None:
    out, before = native.with_name("out.pt"), set(native.parent.iterdir())
    assert "must not be a file that is read" in refused("convert", native, native)
    assert "no model file at" in refused("convert", native.with_name("absent"), out)
    assert "it is a directory" in refused("convert", native.parent, out)
    assert "does not" in refused("convert", native, native.parent / "no" / "out.pt")
    text = native.with_name("text.txt")
    text.write_text("To be")
    assert "must be a model file of minirnn, torch, Keras or ONNX" in refused("convert", text, out)
    text.unlink()
    minirnn.save(GRU(2, 3, trainable_state=True).init(0), text)
    assert "trainable" in refused("convert", text, out)
    text.unlink()
    assert set(native.parent.iterdir()) == before


# ---------------------------------------------------------------------- inspect


def test_inspect_says_what_is_there(native: Path) -> None:
    lines = invoke("inspect", native).stdout.splitlines()
    assert lines[0] == f"{native}: native, a network, {native.stat().st_size:,} bytes"
    assert "  (1): LSTM(5, 6, bidirectional=True)" in lines
    assert "  1.0.reverse.U  (6, 24)   float32" in lines
    assert lines[-1] == f"{minirnn.load(native).bound.count:,} parameters, float32"


def torch_file(path: Path) -> None:
    torch_files.save(model(), path)


def small_file(path: Path) -> None:
    minirnn.save(model().quantize("int8"), path)


def saved_as(form: str) -> Callable[[Path], None]:
    return lambda path: importlib.import_module(SAVERS[form]).save(model(), path)


@pytest.mark.parametrize(
    ("form", "suffix", "write"),
    [
        ("native", ".safetensors", saved_as("native")),
        ("native", ".safetensors", small_file),
        ("torch", ".safetensors", torch_file),
        ("torch", ".pt", torch_file),
        pytest.param("keras", ".keras", saved_as("keras"), marks=pytest.mark.extras),
        pytest.param("keras", ".h5", saved_as("keras"), marks=pytest.mark.extras),
        pytest.param("onnx", ".onnx", saved_as("onnx"), marks=pytest.mark.extras),
    ],
)
def test_inspect_of_every_format(form: str, suffix: str, write: Callable[[Path], None], tmp_path: Path) -> None:
    needed(form)
    path = tmp_path / f"model{suffix}"
    write(path)
    record = json.loads(invoke("inspect", path, "--json").stdout)
    loaded = minirnn.load(path)
    assert (record["file"], record["format"], record["bytes"]) == (str(path), form, path.stat().st_size)
    assert (record["holds"], record["description"]) == ("layers", loaded.describe())
    shapes = {weight["name"]: tuple(weight["shape"]) for weight in record["weights"]}
    assert shapes == {name: w.shape for name, w in loaded.named_weights().items()}
    assert record["parameters"] == loaded.bound.count
    assert record["dtype"] == ("int8, float32" if write is small_file else "float32")


def test_inspect_of_a_language_model(tmp_path: Path) -> None:
    path = tmp_path / "lm.safetensors"
    lm = LanguageModel.build(Text.from_string("abcabc").vocab, hidden_size=4, embedding_size=3).init(0)
    minirnn.save(lm, path)
    record = json.loads(invoke("inspect", path, "--json").stdout)
    assert (record["holds"], record["task"], record["symbols"]) == ("language model", "next", 4)
    assert "symbols: 4" in invoke("inspect", path).stdout.splitlines()


def test_inspect_of_arrays_that_are_no_network(tmp_path: Path) -> None:
    path = tmp_path / "conv.safetensors"
    save_file({"conv.weight": np.zeros((2, 3, 3), "f4"), "conv.steps": np.zeros(1, "i8")}, path)
    record = json.loads(invoke("inspect", path, "--json").stdout)
    assert (record["holds"], record["parameters"], record["dtype"]) == ("arrays", 19, "int64, float32")
    assert "'conv'" in record["why"]
    assert "  conv.weight  (2, 3, 3)  float32" in invoke("inspect", path).stdout.splitlines()


def test_inspect_of_numbers_that_numpy_lacks(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    path = tmp_path / "half.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    assert "  a  (2,)  bfloat16" in invoke("inspect", path).stdout.splitlines()


def test_inspect_of_a_file_that_is_none(tmp_path: Path) -> None:
    assert "no model file at" in refused("inspect", tmp_path / "absent")
    path = tmp_path / "text"
    path.write_text("To be")
    assert "must be a model file of minirnn, torch, Keras or ONNX" in refused("inspect", path)
    path.write_bytes(b"PK\x03\x04 and no more")
    assert "zip" in refused("inspect", path)


# ---------------------------------------------------------------------- what is lost


def noisy() -> Layer:
    layers = [Embedding(7, 5), GRU(5, 4, 2, dropout=0.2, weight_dropout=0.1), Dropout(0.3), Last(), Linear(4, 3)]
    return Sequential(*layers, Activation("relu")).init(0, backend="numpy")


LOST = {
    ".safetensors": [],
    ".pt": [
        "GRU's dropout=0.2 (layer 1)",
        "GRU's weight_dropout=0.1 (layer 1)",
        "Dropout(p=0.3) (layer 2)",
        "Last() (layer 3)",
        "Activation('relu') (layer 5)",
    ],
    ".onnx": ["GRU's dropout=0.2 (layer 1)", "GRU's weight_dropout=0.1 (layer 1)", "Dropout(p=0.3) (layer 2)"],
    ".keras": ["GRU's weight_dropout=0.1 (layer 1)"],
}


@pytest.mark.parametrize("suffix", [pytest.param(suffix, marks=marks_of(SUFFIXES[suffix])) for suffix in LOST])
def test_what_a_format_has_no_place_for_is_listed_and_with_strict_an_error(suffix: str, tmp_path: Path) -> None:
    needed(SUFFIXES[suffix])
    minirnn.save(noisy(), tmp_path / "a.safetensors")
    target = tmp_path / f"b{suffix}"
    if LOST[suffix]:
        sentence = refused("convert", tmp_path / "a.safetensors", target, "--strict")
        assert sentence == (
            f"minirnn: {target} would be without {', '.join(LOST[suffix])}: with --strict nothing is written\n"
        )
        assert not target.exists()
    result = invoke("convert", tmp_path / "a.safetensors", target, *([] if LOST[suffix] else ["--strict"]))
    assert result.exit_code == 0
    assert [line for line in result.stdout.splitlines() if line.startswith("lost: ")] == [
        f"lost: {words}" for words in LOST[suffix]
    ]


def test_biases_that_are_merged_are_listed(tmp_path: Path) -> None:
    """torch has two of each; a GRU's candidate keeps both, and one that is 0 is no loss."""
    models = {"lstm": LSTM(3, 4).init(0, backend="numpy"), "gru": GRU(4, 4).init(1, backend="numpy")}
    state = {f"{path}.{name}": a for path, one in models.items() for name, a in torch_files.arrays_of(one).items()}
    state["lstm.bias_ih_l0"] += 1
    state["gru.bias_ih_l0"] += 1
    state["gru.bias_hh_l0"][8:] = 2
    save_file(state, tmp_path / "a.safetensors")
    modules = ["--module", "lstm", "--module", "gru"]
    for target in ("b.safetensors", "b.pt"):
        result = invoke("convert", tmp_path / "a.safetensors", tmp_path / target, *modules, "--strict")
        assert (result.exit_code, "lost" in result.stdout) == (0, False)
    state["lstm.bias_hh_l0"] += 0.5
    save_file(state, tmp_path / "a.safetensors")
    result = invoke("convert", tmp_path / "a.safetensors", tmp_path / "c.safetensors", *modules)
    assert result.stdout.splitlines()[2:] == ["lost: the two biases of 'lstm', of which the sum is kept"]
    assert "the two biases of 'lstm'" in refused(
        "convert", tmp_path / "a.safetensors", tmp_path / "d.safetensors", *modules, "--strict"
    )
    assert not (tmp_path / "d.safetensors").exists()
    result = invoke("convert", tmp_path / "a.safetensors", tmp_path / "d.safetensors", "--prefix", "gru", "--strict")
    assert result.exit_code == 0


def test_with_strict_nothing_is_assumed(tmp_path: Path) -> None:
    state = {
        f"fc{k}.{name}": np.zeros(shape, "f4") for k in (1, 2) for name, shape in (("weight", (3, 3)), ("bias", 3))
    }
    save_file(state, tmp_path / "a.safetensors")
    words = refused("convert", tmp_path / "a.safetensors", tmp_path / "b.safetensors", "--strict")
    assert "nothing stands between 'fc1' and 'fc2'" in words
    assert words.endswith(". With --strict nothing is written\n")
    assert not (tmp_path / "b.safetensors").exists()
    named = ["--module", "fc1", "--module", "relu", "--module", "fc2"]
    assert invoke("convert", tmp_path / "a.safetensors", tmp_path / "b.safetensors", *named, "--strict").exit_code == 0


# ---------------------------------------------------------------------- files that are not opened


UNOPENED: dict[str, tuple[bytes, list[str], str]] = {
    "a pickle": (
        pickle.dumps({"a": collections.Counter("ab")}, 4),
        ["  names 'collections.Counter', which is not called"],
        "is a pickle that torch.save did not write",
    ),
    "an older pickle": (
        pickle.dumps({"a": collections.Counter("ab")}, 2),
        ["  names 'collections.Counter', which is not called"],
        "safetensors.numpy.save_file({name: array, ...}, path)",
    ),
    "objects of torch's": (
        torch_objects.in_zip({"model": torch_objects.Made("mine Model", {})}),
        ["  'a/data.pkl'  34 bytes", "  names 'mine.Model', which is not called"],
        "torch.save(model.state_dict(), path)",
    ),
    "a zip of other files": (zipped([("b.txt", b"abc")]), ["  'b.txt'  3 bytes"], "a zip archive of other files"),
    "many files": (
        zipped([(f"{k}.txt", b"abc") for k in range(30)]),
        [*(f"  '{k}.txt'  3 bytes" for k in range(20)), "  and 10 more entries"],
        "a zip archive of other files",
    ),
    "text": (b"one\ntwo\nthree\nfour\n", ["  one", "  two", "  three"], "it is text, which begins with"),
    "other bytes": (b"\x00\x01" * 20, [f"  begins with{' 00 01' * 8}"], "it begins with"),
    "a pickle that is cut off": (pickle.dumps(collections.Counter("ab"), 2)[:-9], [
        "  names 'collections.Counter', which is not called"], "is a pickle that torch.save did not write"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNOPENED)
def test_of_a_file_that_is_not_opened_what_is_in_it_is_printed(name: str, tmp_path: Path) -> None:
    data, lines, advice = UNOPENED[name]
    path = tmp_path / "model.pt"
    path.write_bytes(data)
    result = invoke("inspect", path)
    assert result.exit_code == 2
    assert result.stdout.splitlines() == [f"{path}: not opened, {len(data):,} bytes", *lines]
    assert advice in result.stderr
    assert result.stderr.count("\n") == 1
    record = json.loads(invoke("inspect", path, "--json").stdout)
    assert record["inside"][1:] == lines
    assert advice in record["why"]

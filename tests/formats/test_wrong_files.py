"""What ``save`` did not write is refused, in one line, before anything is made of it."""

import errno
import json
import pickle
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_files import MODELS, Array, doctored, header_of, ready, refusal
from safetensors.numpy import load as read_tensors
from safetensors.numpy import save as write_tensors

from minirnn import ModelFileError, Recurrent, load, save
from minirnn.language.model import LanguageModel
from minirnn.language.text import UNKNOWN
from minirnn.layers.activations import Function
from minirnn.recurrent.variants import LSTMVariant, RNNVariant


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

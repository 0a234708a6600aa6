"""Keras' files where there is no Keras: those that it saved, and models in its words, read as its files are."""

import json
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras_networks import input_for, networks, ready
from keras_stored import stored
from mutations import unzipped, zipped
from numpy.typing import NDArray

from minirnn import (
    GRU,
    LSTM,
    Bidirectional,
    Embedding,
    Last,
    Layer,
    Linear,
    ModelFileError,
    ModelFileWarning,
    Recurrent,
    Sequential,
    load,
)
from minirnn.cells import TanhCell
from minirnn.formats.keras import configuration, save
from minirnn.formats.keras.assuming import assumed
from minirnn.formats.keras.describing import described
from minirnn.formats.keras.graph import numbered
from minirnn.formats.keras.reading import Contents, network
from minirnn.formats.keras.stores import Need, StoreByName
from minirnn.language.model import LanguageModel
from minirnn.language.text import UNKNOWN, Vocabulary
from minirnn.layers import AvgPool1d, Conv1d, Flatten, GlobalMaxPool1d, MaxPool1d
from minirnn.layers.activations import Function
from minirnn.layers.feedforward import Activation, Masking, Reverse
from minirnn.recurrent.variants import GRUVariant, LSTMVariant, RNNVariant

Array: TypeAlias = NDArray[Any]

STORED = stored()


def opened(name: str, folder: Path) -> Layer:
    """The model in a stored file."""
    one = STORED[name]
    path = folder / f"model{one.ending}"
    path.write_bytes(one.file)
    model = load(path) if one.config is None else load(path, config=one.config)
    assert isinstance(model, Layer)
    return model


CHAINS = [name for name in STORED if "graph" not in name]  # which Keras' files are written of


@pytest.mark.parametrize("name", STORED)
def test_a_file_of_keras_gives_its_numbers(name: str, tmp_path: Path) -> None:
    one, model = STORED[name], opened(name, tmp_path)
    y, _ = model(one.x.swapaxes(0, 1))
    y = y.swapaxes(0, 1) if one.y.ndim == 3 else y
    assert (y.shape, y.dtype) == (one.y.shape, one.y.dtype)
    np.testing.assert_allclose(y, one.y, rtol=0, atol=2e-6 * max(1, np.abs(one.y).max()))


def reading(name: str, *places: list[Any]) -> dict[str, Any]:
    """A call of a layer on these tensors, in a Functional model's configuration."""
    tensors = [{"class_name": "__keras_tensor__", "config": {"keras_history": place}} for place in places]
    return {name: [{"args": [tensors], "kwargs": {}}]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (reading("subtract", ["lstm", 0, 0]), "must not read its own output; it does, on some way"),
        ({"subtract": []}, "Subtract 'subtract': must be an input of the model, or be called; it is neither"),
        ({"subtract": 7}, "Subtract 'subtract': must have a list of calls; got 7"),
        ({"subtract": [7]}, "Subtract 'subtract': must be called on the outputs of other layers; got 7"),
        ({"gru": []}, "Subtract 'subtract': must be on a way from an input to an output; it is on none"),
        (reading("subtract", ["nothing", 0, 0]), "another one's output; 'nothing' is not there"),
        (reading("subtract", ["functional", 5, 0]), "is called 2 times; call 5 of it is read"),
        (reading("subtract", ["functional", 0, 9]), "has 2 outputs; output 9 of it is read"),
        (reading("subtract", ["functional", 0, 0]), "call 'subtract', .*: reads 2 values; it is called on 1"),
        (reading("concatenate", ["additive_attention", 0, 1]), "output 1 of a layer is read, and it has one output"),
        (reading("dot", *[["softmax_1", 0, 0], ["maximum", 0, 0]] * 2), "Dot 'dot': axes must be one or two numbers"),
    ],
)
def test_calls_that_do_not_fit_are_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    entries = dict(unzipped(STORED["Keras 3, a graph in .keras"].file))
    about = json.loads(entries["config.json"])
    layers = {layer["name"]: layer for layer in about["config"]["layers"]}
    for name, calls in changes.items():
        layers[name]["inbound_nodes"] = calls
    path = tmp_path / "model.keras"
    path.write_bytes(zipped([*(entries | {"config.json": json.dumps(about).encode()}).items()]))
    with pytest.raises(ModelFileError, match=words):
        load(path)


def test_a_dot_that_is_normalized_is_read_as_one(tmp_path: Path) -> None:
    entries = dict(unzipped(STORED["Keras 3, a graph in .keras"].file))
    about = json.loads(entries["config.json"])
    (dot,) = (layer["config"] for layer in about["config"]["layers"] if layer["class_name"] == "Dot")
    path = tmp_path / "model.keras"

    def written(normalize: Any) -> Path:
        dot["normalize"] = normalize
        path.write_bytes(zipped([*(entries | {"config.json": json.dumps(about).encode()}).items()]))
        return path

    assert "Dot(first='steps', second='steps')\n" in load(written(normalize=False)).describe()
    assert "Dot(first='steps', second='steps', normalize=True)\n" in load(written(normalize=True)).describe()
    written(normalize=1)
    with pytest.raises(ModelFileError, match="Dot 'dot': normalize must be true or false; got 1"):
        load(path)


# ---------------------------------------------------------------------- weights alone


def weights_alone(path: Path, instead: bytes = b"dropout") -> Path:
    """Two GRUs and a Dense as Keras 2 saves weights, with another layer instead of a Masking, of a name as long."""
    path.write_bytes(STORED["Keras 2, weights in .h5"].file.replace(b"masking", instead))
    return path


def test_weights_alone_open_as_a_chain_and_what_was_assumed_is_said(tmp_path: Path) -> None:
    path = weights_alone(tmp_path / "model.h5")
    with pytest.warns(ModelFileWarning, match=r"weights alone\. Assumed: \(1\) its layers compute one after") as caught:
        model = load(path)
    assert caught[0].filename == __file__
    warning = caught[0].message
    assert isinstance(warning, ModelFileWarning)
    assert warning.details[1:] == (
        "a Dense has no activation",
        "recurrent layers have Keras' default activations",
        "each of them gives all steps, not the last alone",
        "no step is masked",
    )
    config = json.loads(warning.advice.split("config=")[-1])
    same = load(path, config=config)
    assert model.describe() == same.describe()
    theirs = json.loads(json.dumps(STORED["Keras 2, weights in .h5"].config))
    kinds = {"GRU", "Dense"}
    wanted = load(
        path,
        config={
            "class_name": "Sequential",
            "config": [x for x in theirs["config"]["layers"] if x["class_name"] in kinds],
        },
    )
    x = np.random.default_rng(0).normal(size=(4, 3, 2))
    for other in (model, same):
        np.testing.assert_array_equal(other(x)[0][-1], wanted(x)[0])  # which gives the last step alone


@pytest.mark.parametrize("name", [b"masking", b"flatten", b"my_atts", b"input_1"])
def test_a_layer_without_weights_may_do_anything(name: bytes, tmp_path: Path) -> None:
    path = weights_alone(tmp_path / "model.h5", name)
    words = rf"pass config=, .*; no chain is assumed, since layer '{name.decode()}' may do anything: it has no weights"
    with pytest.raises(ModelFileError, match=words):
        load(path)


def test_of_places_the_order_is_not_told(tmp_path: Path) -> None:
    path = tmp_path / "model.weights.h5"
    path.write_bytes(STORED["Keras 3, .weights.h5"].file)
    with pytest.raises(ModelFileError, match=r"pass config=, .* since the file does not tell their order"):
        load(path)


class Listed(StoreByName):
    """Layers of a file that there is not: their arrays' names and shapes."""

    def __init__(self, **layers: Sequence[tuple[str, tuple[int, ...]]]) -> None:
        self.layers = layers

    def shapes(self) -> dict[str, list[tuple[str, tuple[int, ...]]]]:
        return {name: list(arrays) for name, arrays in self.layers.items()}


def test_what_a_layer_is_follows_from_its_arrays() -> None:
    ways = [
        (f"b/{way}_lstm/{name}:0", shape)
        for way in ("forward", "backward")
        for name, shape in (("kernel", (4, 12)), ("recurrent_kernel", (3, 12)), ("bias", (12,)))
    ]
    chain = assumed(
        Listed(
            embedding=[("embedding/embeddings:0", (9, 4))],
            b=ways,
            spatial_dropout1d_3=[],
            gru=[("gru/kernel:0", (6, 6)), ("gru/recurrent_kernel:0", (2, 6)), ("gru/bias:0", (2, 6))],
            rnn=[("rnn/kernel:0", (2, 2)), ("rnn/recurrent_kernel:0", (2, 2))],
            dense=[("dense/kernel:0", (2, 5))],
        )
    )
    steps = {"return_sequences": True}
    assert chain.config["config"] == [
        {"class_name": "Embedding", "config": {"input_dim": 9, "output_dim": 4}},
        {"class_name": "Bidirectional", "config": {"layer": {"class_name": "LSTM", "config": {"units": 3} | steps}}},
        {"class_name": "GRU", "config": {"units": 2, "reset_after": True} | steps},
        {"class_name": "SimpleRNN", "config": {"units": 2, "use_bias": False} | steps},
        {"class_name": "Dense", "config": {"units": 5, "use_bias": False}},
    ]
    for arrays in (
        [("kernel:0", (3, 2, 4)), ("bias:0", (4,))],
        [("kernel:0", (3, 4)), ("recurrent_kernel:0", (0, 4))],
        [("kernel:0", (3, 4)), ("recurrent_kernel:0", (2, 5))],
        [("gamma:0", (3,)), ("beta:0", (3,))],
        [*ways, *ways],
    ):
        with pytest.raises(ValueError, match="'a' is none of Embedding, Dense and recurrent layers: it has"):
            assumed(Listed(a=arrays))
    with pytest.raises(ValueError, match="there are none"):
        assumed(Listed(input_1=[]))


def test_sizes_are_held_against_the_file_before_memory_is_taken(tmp_path: Path) -> None:
    one, path = STORED["Keras 2, weights in .h5"], tmp_path / "model.h5"
    here = struct.pack("<2Q", 2, 9)  # the shape of the first kernel, whose rows only the file can know
    assert here in one.file
    for rows, words in (
        (2**40, "a dataset of 39,582,418,599,936 bytes is more than a file of 20,944 can hold"),
        (575, "the weights must be no more than the file holds, 20,944 bytes"),
        (400, "a dataset must lie within the file's 20,944 bytes; it has 14,400 from 8,216"),
    ):
        path.write_bytes(one.file.replace(here, struct.pack("<2Q", rows, 9)))
        with pytest.raises(ModelFileError, match=words):
            load(path, config=one.config)
    path.write_bytes(one.file.replace(here, struct.pack("<2Q", 2, 8)))
    with pytest.raises(ModelFileError, match=r"GRU 'gru': must have weights of shape \(2, 9\); kernel:0 has \(2, 8\)"):
        load(path, config=one.config)
    path.write_bytes(one.file[:-1])
    with pytest.raises(ModelFileError, match=r"must begin at its first byte and be whole: 20,944 bytes"):
        load(path, config=one.config)


def test_every_weight_belongs_to_a_layer(tmp_path: Path) -> None:
    entries = dict(unzipped(STORED["Keras 3, .keras"].file))
    about = json.loads(entries["config.json"])
    about["config"]["layers"].pop()
    path = tmp_path / "model.keras"
    path.write_bytes(zipped(list((entries | {"config.json": json.dumps(about).encode()}).items())))
    with pytest.raises(ModelFileError, match=r"must belong to a layer; /layers/dense/vars/[01] does not"):
        load(path)


def test_a_group_within_itself_ends(tmp_path: Path) -> None:
    one, path = STORED["Keras 2, weights in .h5"], tmp_path / "model.h5"
    tree = one.file.index(b"TREE")
    child = tree + 24 + 8  # behind the head of the first node, and its first key
    path.write_bytes(
        one.file[: tree + 5] + b"\x01" + one.file[tree + 6 : child] + struct.pack("<Q", tree) + one.file[child + 8 :]
    )
    with pytest.raises(ModelFileError, match="B-tree"):
        load(path, config=one.config)


# ---------------------------------------------------------------------- what is written, read again without a file


class Held:
    """An array as the reader takes those of a file."""

    def __init__(self, name: str, array: Array) -> None:
        self.name, self.array, self.shape, self.dtype = name, array, array.shape, array.dtype
        self.stored = self.nbytes = array.nbytes

    def claim(self) -> None:
        """It is in memory already."""

    def read(self) -> Array:
        return self.array.copy()


class Memory:
    """A store of what ``described`` says, by the places of Keras 3."""

    def __init__(self, model: Layer, version: int) -> None:
        layers = described(model, version)
        places = numbered([layer.kind for layer in layers])
        self.held = {
            f"layers/{place}/{part.place}".removesuffix("/"): [Held(n, a) for n, a in part.arrays.items()]
            for layer, place in zip(layers, places, strict=True)
            for part in layer.parts
        }

    def find(self, needs: list[Need]) -> list[list[Held]]:
        found = [self.held.pop(f"{need.node.path}/{need.part}".removesuffix("/")) for need in needs]
        assert [len(arrays) for arrays in found] == [need.arrays for need in needs]
        assert not self.held  # every weight belongs to a layer
        return found


def again(model: Layer, version: int = 3) -> Layer:
    """A model in Keras' words, as the reader understands them."""
    store: Any = Memory(model, version)
    config = json.loads(json.dumps(configuration(model, version=version)))
    return network(config, Contents(list, 2**40, store, config, None), Path("memory"), "auto", model.bound.dtype)


def assert_same(model: Layer, other: Layer, x: Array) -> None:
    """The same numbers, though perhaps of layers that are grouped otherwise."""
    y, found = model(x)[0], other(x)[0]
    assert (y.shape, y.dtype) == (found.shape, found.dtype)
    np.testing.assert_allclose(found, y, rtol=0, atol=1e-6 * max(1, np.abs(y).max(initial=0)))


@pytest.mark.parametrize("version", [2, 3])
@given(st.data(), st.integers(0, 2**32 - 1), st.sampled_from(["float32", "float64"]))
def test_a_model_in_the_words_of_keras_is_the_same_model(
    version: int, data: st.DataObject, seed: int, dtype: str
) -> None:
    model, rng = ready(data.draw(networks(version)), seed, dtype), np.random.default_rng(seed)
    assert_same(model, again(model, version), input_for(model, rng))


@pytest.mark.parametrize("name", CHAINS)
def test_what_keras_saved_in_its_words_again(name: str, tmp_path: Path) -> None:
    model, version = opened(name, tmp_path), 2 if "Keras 2" in name else 3
    assert again(model, version).describe() == model.describe()
    assert_same(model, again(model, version), STORED[name].x.swapaxes(0, 1))


def words_of(model: Layer) -> list[dict[str, Any]]:
    """What is written of each layer."""
    return [layer["config"] for layer in configuration(model)["config"]["layers"]]


def test_frozen_layers_do_not_train_and_biases_that_there_are_not_are_left_out() -> None:
    model = ready(Sequential(GRU(3, 2, 2, bidirectional=True), LSTM(4, 3), Linear(3, 2)))
    biases = [name for name in model.named_weights() if name.startswith("1.") and name.endswith(".b")]
    for name in biases:
        model.named_weights()[name] = 0
    model.freeze("0.1", "0.1.reverse", "2", *biases)
    one, two, lstm, dense = words_of(model)[1:]
    assert [layer["trainable"] for layer in (one, two, lstm, dense)] == [True, False, True, False]
    assert (one["layer"]["config"]["use_bias"], lstm["use_bias"]) == (True, False)
    assert again(model).bound.frozen == {
        *(f"1.0.{way}{name}" for way in ("", "reverse.") for name in ("W", "U", "b", "bn")), "2.0.b", "3.W", "3.b",
    }  # fmt: skip


def test_a_tied_matrix_is_written_twice() -> None:
    embedding = Embedding(5, 3)
    model = ready(Sequential(embedding, GRU(3, 3), Linear(3, 5, tie=embedding)))
    found = again(model).named_weights()
    np.testing.assert_array_equal(found["2.W"], found["0.W"].T)
    assert words_of(model)[0]["batch_shape"] == [None, None]


def test_a_language_model_is_its_network() -> None:
    lm = LanguageModel.build(Vocabulary([UNKNOWN, "a", "b"]), hidden_size=4, cell="lstm").init(0)
    assert configuration(lm) == configuration(lm.network)
    assert words_of(lm.network)[0]["batch_shape"] == [None, None, 3]  # the one-hot vectors


# ---------------------------------------------------------------------- layers around a recurrence


def by_hand(layers: list[tuple[str, dict[str, Any]]], arrays: dict[str, list[Array]]) -> Any:
    """A Sequential written by hand, with arrays by place."""
    config = {
        "class_name": "Sequential",
        "keras_version": "3.0.0",
        "config": {"layers": [{"class_name": kind, "config": {"name": kind, **own}} for kind, own in layers]},
    }
    store: Any = SimpleNamespace(find=lambda needs: [[Held("a", a) for a in arrays[n.node.path]] for n in needs])
    return network(config, Contents(list, 2**40, store, config, None), Path("memory"), "numpy", "float64")


def test_a_convolution_has_its_function_and_its_order() -> None:
    rng = np.random.default_rng(0)
    kernel, x = rng.normal(size=(2, 3, 4)), rng.normal(size=(5, 1, 3))
    own = {"filters": 4, "kernel_size": [2], "use_bias": False, "activation": "relu", "padding": "causal"}
    model = by_hand([("Conv1D", own)], {"layers/conv1d": [kernel]})
    before = np.concatenate([np.zeros((1, 3)), x[:-1, 0]])
    expected = np.maximum(before @ kernel[0] + x[:, 0] @ kernel[1], 0)
    np.testing.assert_allclose(model(x)[0][:, 0], expected, rtol=1e-13)
    assert_same(model, again(model), x)


def test_a_norm_that_says_nothing_has_keras_defaults() -> None:
    layers: list[tuple[str, dict[str, Any]]] = [("LayerNormalization", {}), ("AveragePooling1D", {"padding": "same"})]
    layers[1][1].update(pool_size=3, strides=1)
    model = by_hand(layers, {"layers/layer_normalization": [np.ones(2), np.zeros(2)]})
    norm, pool = (line.split(": ")[1] for line in model.describe().splitlines()[1:3])
    assert norm == "LayerNorm(2, eps=0.001)"
    assert pool == "AvgPool1d(3, stride=1, padding='same', count_padding=False)"


def test_a_mask_before_pooling_is_refused() -> None:
    with pytest.raises(ValueError, match=r"MaxPooling1D .*: under a mask is not supported"):
        by_hand([("Masking", {}), ("MaxPooling1D", {})], {})


# ---------------------------------------------------------------------- what Keras has no words for

STRAIGHT = Function("linear")
REFUSED: dict[str, tuple[Any, str]] = {
    "a trained state": (lambda: GRU(2, 3, trainable_state=True), r"GRU\(2, 3, trainable_state=True\): it has no train"),
    "a cell of one's own": (lambda: Recurrent(Own(), 2, 3), r"Recurrent\(.*: its cell is none of SimpleRNN, GRU and"),
    "peepholes": (lambda: Recurrent(LSTMVariant(peepholes=True), 2, 3), "peepholes=True.*: its cell is none of"),
    "coupled gates": (lambda: Recurrent(LSTMVariant(coupled=True), 2, 3), "coupled=True.*: its cell is none of"),
    "two functions": (lambda: Recurrent(LSTMVariant(output=STRAIGHT), 2, 3), "output=Function.*: its cell is none"),
    "a clip": (lambda: Recurrent(RNNVariant(clip=2.0), 2, 3), "clip=2.0.*: no cell of its clips"),
    "Keras 2's hard sigmoid": (
        lambda: Recurrent(GRUVariant(gate=Function("hard_sigmoid")), 2, 3),
        r"Recurrent\(GRUVariant\(.*\): hard_sigmoid is clip\(a / 6 \+ 0.5, 0, 1\) in Keras 3; this is Keras 2's",
    ),
    "a function": (lambda: Activation("scaled_tanh", 2.0), r"it has no Function\('scaled_tanh', alpha=2.0\)"),
    "a threshold below 0": (lambda: Activation("thresholded_relu", -1.0), "it has no Function"),
    "another index": (lambda: Embedding(5, 2, mask=3), r"Embedding\(5, 2, mask=3\): of all indices only 0"),
    "two masks": (lambda: Sequential(Embedding(5, 2, mask=0), Masking()), r"Masking\(\): a second mask"),
    "Reverse before two directions": (
        lambda: Sequential(Reverse(), LSTM(2, 3, bidirectional=True)), r"Reverse\(\): it must stand before"
    ),
    "Reverse at the end": (lambda: Sequential(LSTM(2, 3), Reverse()), r"Reverse\(\): it must stand before a rec"),
    "a mask turned around": (
        lambda: Sequential(Masking(), Reverse(), LSTM(2, 3, 2)), r"LSTM\(2, 3, num_layers=2\): after a layer that goes"
    ),
    "Last of a Linear": (lambda: Sequential(GRU(2, 3), Linear(3, 2), Last()), r"Last\(\): it must follow a recurrent"),
    "Last of one direction": (
        lambda: Sequential(GRU(2, 3), Last(bidirectional=True)), r"it must be Last\(bidirectional=False\)"
    ),
    "Last of two directions": (
        lambda: Sequential(GRU(2, 3, bidirectional=True), Last()), r"after GRU\(.*\) it must be Last\(bidirec"
    ),
    "Last of two layers": (
        lambda: Sequential(Bidirectional(GRU(2, 3)), Last()), r"Last\(\): after Bidirectional\(.*\) it must stand in"
    ),
    "Last of a sum": (
        lambda: Sequential(Bidirectional(GRU(2, 3), merge="sum"), Last(bidirectional=True)), "it must stand in both"
    ),
    "directions of directions": (
        lambda: Bidirectional(GRU(2, 3, bidirectional=True)), r"Bidirectional\(.*\): each part must be recurrent layers"
    ),
    "a direction without recurrence": (lambda: Bidirectional(Linear(2, 3)), "each part must be recurrent layers"),
    "very deep directions": (lambda: Bidirectional(GRU(1, 1, 101)), r"Bidirectional\(.*: a direction may have 100"),
    "padding": (lambda: Conv1d(2, 3, 3, padding=1), r"Conv1d\(.*\): its padding is 'valid', 'same' or 'causal'"),
    "a mean of padding": (lambda: AvgPool1d(3, 1, "same"), r"AvgPool1d\(.*\): its means do not count padding"),
    "flattened after a stride": (
        lambda: Sequential(MaxPool1d(2), GRU(3, 2), Flatten(2, 2)), r"Flatten\(2, 2\): how many steps x has must follow"
    ),
    "the largest under a mask": (
        lambda: Sequential(Masking(), GRU(3, 2), GlobalMaxPool1d()), r"GlobalMaxPool1d\(\): it forgets a mask"
    ),
    "zoneout": (lambda: LSTM(2, 3, zoneout=0.1), r"LSTM\(2, 3, zoneout=0.1\): its zoneout goes on in inference"),
    "dropout within": (lambda: Bidirectional(GRU(2, 3, 2, dropout=0.1)), "there is no dropout between the cells"),
    "a layer of one's own": (lambda: Sequential(Mine(), GRU(2, 3)), r"Mine\(\): its kind is not one of minirnn's own"),
    "very many layers": (lambda: Sequential(*(Activation("relu") for _ in range(1000))), "may have 1000 layers"),
}  # fmt: skip


class Own(TanhCell):
    """Not known to Keras, though it would compute the same."""


class Mine(Layer):
    def apply(self, x: Array, state: Any, run: Any) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize("name", REFUSED)
def test_what_keras_has_no_words_for_is_named(name: str) -> None:
    make, words = REFUSED[name]
    with pytest.raises(ValueError, match=words) as caught:
        configuration(ready(make()))
    assert "\n" not in str(caught.value)


def test_a_model_that_is_no_whole_one_in_full_numbers_is_refused() -> None:
    gru = GRU(2, 3)
    model = ready(Sequential(gru, Linear(3, 2)))
    for wrong, words in (
        (model.quantize("int8"), "a model quantised to int8: save the original"),
        (model.to(dtype="complex128", backend="numpy"), "float32 or float64; got complex128"),
        (gru, "whole model"),
    ):
        with pytest.raises(ValueError, match=words):
            configuration(wrong)
    with pytest.raises(TypeError, match="made of layers or a LanguageModel; got dict"):
        configuration({})  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="no weights yet"):
        configuration(GRU(2, 3))
    with pytest.raises(ValueError, match="version must be that of Keras, 2 or 3; got 1"):
        configuration(model, version=1)
    with pytest.raises(ValueError, match=r"hard_sigmoid is clip\(0.2 a \+ 0.5, 0, 1\) in Keras 2; this is Keras 3's"):
        configuration(ready(Activation("hard_sigmoid", 1 / 6)), version=2)
    with pytest.raises(ValueError, match=r"Activation\('log_softmax'\): it has no Function\('log_softmax'\)"):
        configuration(ready(Activation("log_softmax")), version=2)


def test_a_diverged_model_is_not_saved(tmp_path: Path) -> None:
    model = ready(Sequential(Linear(3, 2), Linear(2, 2)))
    model.named_weights()["1.b"][0] = np.nan
    with pytest.raises(ValueError, match="bias of dense_1 is not finite: a diverged model is not saved"):
        save(model, tmp_path / "model.keras")
    assert not list(tmp_path.iterdir())


def test_a_name_says_how_it_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in .keras, .weights.h5, .h5, .hdf5; got '.*model.pt'"):
        save(ready(GRU(2, 3)), tmp_path / "model.pt")


def test_without_h5py_an_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    path = tmp_path / "model.keras"
    path.write_bytes(b"as it was")
    with pytest.raises(ImportError, match=r"pip install 'minirnn\[keras\]'"):
        save(ready(GRU(2, 3)), path)
    assert path.read_bytes() == b"as it was"

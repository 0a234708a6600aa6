"""Graphs that other packages wrote and computed, stored: what minirnn reads and computes where none is installed."""

import base64
import json
import zlib
from pathlib import Path
from typing import Any, TypeAlias

import corpora
import numpy as np
import pytest
from numpy.typing import NDArray
from onnx_bytes import model, node, port, tensor

import minirnn
from minirnn import Layer, Recurrent
from minirnn.formats.onnx import Graph, read
from minirnn.formats.onnx.running.operators import OPERATORS
from minirnn.language.model import LanguageModel

Array: TypeAlias = NDArray[Any]
STORED = json.loads(Path(corpora.__file__).with_name("onnx_files.json").read_text(encoding="utf-8"))
every_file = pytest.mark.parametrize("name", STORED)


def file_of(name: str) -> bytes:
    return zlib.decompress(base64.b64decode(STORED[name]["file"]))


def arrays(name: str, which: str) -> dict[str, Array]:
    def one(about: dict[str, Any]) -> Array:
        data = zlib.decompress(base64.b64decode(about["data"]))
        return np.frombuffer(data, about["dtype"]).reshape(about["shape"])

    return {one_port: one(about) for one_port, about in STORED[name][which].items()}


def assert_close(found: Array, expected: Array) -> None:
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    if found.dtype.kind == "f":
        exact = ~np.isfinite(expected)
        np.testing.assert_array_equal(found[exact], expected[exact])
        error = np.abs(np.where(exact, 0, found) - np.where(exact, 0, expected)).max(initial=0)
        assert error <= 1e-5 * max(1, np.abs(expected[~exact]).max(initial=0))
    else:
        np.testing.assert_array_equal(found, expected)


@every_file
@pytest.mark.parametrize("backend", ["auto", "numpy"])
def test_a_graph_computes_what_it_did_elsewhere(name: str, backend: str) -> None:
    graph, expected = read(file_of(name), backend=backend), arrays(name, "outputs")
    found = graph.run(arrays(name, "inputs"))
    assert list(found) == list(expected)
    for name_, array in expected.items():
        assert_close(found[name_], array)


def test_the_graphs_have_every_operator_and_come_from_everywhere() -> None:
    assert {node.op for name in STORED for node in read(file_of(name)).nodes} == OPERATORS.keys()
    for source, count in {"standard": 70, "node": 15, "chain": 10, "torch": 5, "minirnn": 7}.items():
        assert sum(name.startswith(source) for name in STORED) >= count


CHAINS = {
    "chain 2": "Sequential( (0): Embedding(6, 6) (1): Reverse() (2): Recurrent(LSTMVariant(peepholes=True), 6, 3) "
    "(3): Reverse() (4): Reverse() (5): Recurrent(LSTMVariant(peepholes=True), 3, 3) (6): Reverse() "
    "(7): Linear(3, 2) (8): Activation('elu', alpha=0.30000001192092896) )",
    "chain 8": "Sequential( (0): Embedding(6, 2) (1): LSTM(2, 2, num_layers=3) (2): Last() (3): Activation('relu') "
    "(4): Activation('log_softmax') )",
    "torch, lstm, deep, both ways": "LSTM(5, 6, num_layers=2, bidirectional=True)",
    "torch, classifier": "Sequential( (0): Embedding(7, 5) (1): LSTM(5, 6) (2): Last() (3): Linear(6, 3) "
    "(4): Activation('log_softmax') )",
    "torch, gru, state": "GRU(5, 6, bidirectional=True)",
    "minirnn, int8": "Sequential( (0): Embedding(6, 4) (1): LSTM(4, 3, bidirectional=True) (2): Linear(6, 2) )",
}


@pytest.mark.parametrize(("name", "layers"), CHAINS.items())
def test_a_chain_becomes_layers_that_compute_the_same(name: str, layers: str, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(file_of(name))
    layer, inputs, expected = minirnn.load(tmp_path / "m.onnx"), arrays(name, "inputs"), arrays(name, "outputs")
    assert isinstance(layer, Layer)
    assert " ".join(layer.describe().split()) == layers
    lengths, state = inputs.get("lens"), inputs.get("state_0")
    y, final = layer(inputs["x"], state, lengths=lengths)
    wanted, *ends = expected.values()
    if lengths is not None and wanted.ndim == 3:
        wanted = np.where((np.arange(len(wanted))[:, None] >= lengths)[:, :, None], 0, wanted)
    assert_close(y, wanted)
    if isinstance(layer, Recurrent):
        for found, end in zip(final if isinstance(final, tuple) else (final,), ends, strict=True):
            assert_close(found, end)


def test_a_language_model_is_one_again(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(file_of("minirnn, a language model"))
    lm = minirnn.load(tmp_path / "m.onnx")
    assert isinstance(lm, LanguageModel)
    assert lm.vocab.symbols[1:] == ("a", "天")
    x, y = (arrays("minirnn, a language model", which) for which in ("inputs", "outputs"))
    assert_close(lm.network(x["x"])[0], y["y"])


def test_what_is_no_chain_stays_a_graph(tmp_path: Path) -> None:
    for name in ("torch, tagger, batch first", "types, raw", "old", "node, GRU 0", "node, LSTM 0"):
        (tmp_path / "m.onnx").write_bytes(file_of(name))
        assert isinstance(minirnn.load(tmp_path / "m.onnx"), Graph)


def test_a_graph_that_looks_like_a_chain_and_computes_something_else_stays_a_graph(tmp_path: Path) -> None:
    """It seems to put two directions side by side, and exchanges steps and rows: numbers tell."""
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=shape).astype(np.float32) for shape in ((2, 12, 3), (2, 12, 4))]
    nodes = [
        node("GRU", "x W R", "Y", direction="bidirectional", hidden_size=4),
        node("Transpose", "Y", "turned", perm=[0, 2, 1, 3]),
        node("Reshape", "turned shape", "y"),
    ]
    for shape, kind in (([3, 5, 8], Graph), ([5, 3, 8], Layer)):
        tensors = [*(tensor(name, w) for name, w in zip("WR", weights, strict=True)), tensor("shape", np.array(shape))]
        data = model(nodes, [port("x", [5, 3, 3])], [port("y", None)], tensors)
        (tmp_path / "m.onnx").write_bytes(data)
        assert isinstance(minirnn.load(tmp_path / "m.onnx"), kind)

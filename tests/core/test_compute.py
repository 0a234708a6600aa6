"""``compute="bfloat16"``: who takes it, who refuses it, and where it is kept."""

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load as read_tensors
from safetensors.numpy import save as write_tensors

from minirnn import GRU, LSTM, Embedding, Linear, ModelFileError, Sequential, load, save
from minirnn.core.backend import BACKENDS, get_compute
from minirnn.core.bfloat16 import rounded
from minirnn.formats.lost import lost
from minirnn.language.model import LanguageModel
from minirnn.language.text import Text


def model() -> Any:
    return Sequential(Embedding(20, 8), GRU(8, 16), Linear(16, 20)).init(0, compute="bfloat16")


X = np.random.default_rng(0).integers(0, 20, (4, 3))


@pytest.mark.slow
def test_it_is_shown_and_goes_with_copies() -> None:
    network = model()
    assert "float32, products in bfloat16, backend" in repr(network)
    assert network.init(1).bound.compute is None  # as with dtype, None is the default
    network = network.init(0, compute="bfloat16")
    y, part = network(X)[0], network.layers[1].to()
    assert part.bound.compute == "bfloat16"
    for other in (network.to(), copy.deepcopy(network), pickle.loads(pickle.dumps(network))):  # noqa: S301 - ours
        assert other.bound.compute == "bfloat16"
        np.testing.assert_array_equal(other(X)[0], y)
    assert network.to(compute="float32").bound.compute is None
    assert network.to(dtype="float64").bound.compute is None
    assert not np.array_equal(network.to(compute="float32")(X)[0], y)
    np.testing.assert_array_equal(network.to(compute="float32").to(compute="bfloat16")(X)[0], y)


def test_weights_states_and_gradients_are_float32() -> None:
    network = model()
    assert not np.array_equal(rounded(network.weights), network.weights)
    y, state, backward = network.forward(X)
    backward(np.ones_like(y))
    assert {a.dtype.name for a in (y, state[1], network.weights, network.grads)} == {"float32"}
    assert not np.array_equal(rounded(network.grads), network.grads)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dtype": "float64"}, "compute='bfloat16' is for models in float32; got float64"),
        ({"dtype": "complex128", "backend": "numpy"}, "is for models in float32; got complex128"),
    ],
)
def test_other_dtypes_refuse_it(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        GRU(2, 3).init(compute="bfloat16", **options)
    with pytest.raises(ValueError, match=words):
        GRU(2, 3).init(dtype="float32").to(compute="bfloat16", **options)


def test_other_products_and_backends_are_refused() -> None:
    with pytest.raises(ValueError, match="compute must be bfloat16 or the model's dtype, float32; got 'int8'"):
        GRU(2, 3).init(compute="int8")
    with pytest.raises(ValueError, match="compute must be bfloat16 or the model's dtype, float64; got 'float32'"):
        GRU(2, 3).init(dtype="float64", compute="float32")
    for name in ("cupy", "cuda"):
        with pytest.raises(ValueError, match=f"runs on backend numpy or numba; got {name}, which has"):
            get_compute(BACKENDS[name], np.dtype("float32"), "bfloat16")


def test_layers_are_joined_where_their_products_are_alike() -> None:
    one, other = GRU(4, 5).init(0, compute="bfloat16"), Linear(5, 2).init(0)
    with pytest.raises(ValueError, match="float32, products in bfloat16 on backend"):
        Sequential(one, other)
    joined = Sequential(one, other.to(compute="bfloat16"))
    assert joined.bound.compute == "bfloat16"
    assert Sequential(one, Linear(5, 2)).init(1).bound.compute == "bfloat16"
    with pytest.raises(ValueError, match="has products of its own"):
        one.quantize("int8").to(compute="bfloat16")


def test_a_model_file_keeps_it(tmp_path: Path) -> None:
    network, path = model(), tmp_path / "model"
    save(network, path)
    loaded = load(path)
    assert loaded.bound.compute == "bfloat16"
    np.testing.assert_array_equal(loaded(X)[0], network(X)[0])
    assert load(path, dtype="float64").bound.compute is None
    save(network.to(compute="float32"), path)
    assert load(path).bound.compute is None
    assert b"compute" not in path.read_bytes()
    assert lost(network, "native") == []
    for form in ("torch", "keras", "onnx"):
        assert any("products in bfloat16" in words for words in lost(network, form))


@pytest.mark.parametrize("change", [{"compute": "int4"}, {"compute": None}, {"compute": 1}, {"dtype": "float64"}])
def test_a_file_with_other_products_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "model"
    save(model(), path)
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    about = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["minirnn"]) | change
    path.write_bytes(write_tensors(read_tensors(content), metadata={"minirnn": json.dumps(about)}))
    with pytest.raises(ModelFileError, match=r"compute must be bfloat16, of a float32 model"):
        load(path)


@pytest.mark.slow
def test_a_language_model_has_it_too() -> None:
    text = Text.from_string("a language model has it too. " * 20)
    lm = LanguageModel.build(text.vocab, cell="lstm", hidden_size=16).init(0, compute="bfloat16")
    assert lm.network.bound.compute == "bfloat16"
    assert len("".join(lm.generate("a l", 10, seed=0))) == 10
    assert LSTM(2, 3).init(0, compute="float32").bound.compute is None

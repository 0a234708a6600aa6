"""Networks of every kind for files of minirnn's own, and what spoils such a file."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

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
)
from minirnn.layers.activations import Function
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

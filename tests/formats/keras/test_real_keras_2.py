"""Trained models as their authors published them, which Keras 2 saved: asmscan-bilstm and reactionrnn.

``pip install --no-deps asmscan-bilstm==1.0.0 reactionrnn==0.1``: six networks that look for amyloid motifs in proteins,
whole in ``.h5``, and one that reads letters and tells five reactions, weights alone.  Their files are read where they
were installed, their code is not run.
"""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from minirnn import Sequential, load
from minirnn.formats.containers.hdf5 import Dataset, File

pytestmark = [
    pytest.mark.extras,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:keras"),
]

Array: TypeAlias = NDArray[Any]

LETTERS, STEPS = 26, 40  # of proteins, in windows
SIGNS, LONGEST = 401, 140  # of text
CONFIG = {  # what the package's code says of its model; the last function divides by a sum, and is not read
    "class_name": "Sequential",
    "config": [
        {"class_name": "Embedding", "config": {"input_dim": SIGNS, "output_dim": 100}},
        {"class_name": "GRU", "config": {"units": 256}},
        {"class_name": "Dense", "config": {"units": 5, "activation": "relu"}},
    ],
}


@pytest.fixture(scope="module")
def keras() -> Any:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    pytest.importorskip("torch", reason="Keras computes with torch here, which is not installed")
    return keras


def installed(package: str, name: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"{name} is not installed: pip install --no-deps {name}")
    return Path(spec.origin).parent


def padded(letters: int, steps: int, rows: int = 9) -> Array:
    """Sequences of different lengths with zeros behind them, the batch first."""
    rng = np.random.default_rng(0)
    x = rng.integers(1, letters, (rows, steps))
    x[np.arange(steps) >= rng.integers(1, steps + 1, rows)[:, None]] = 0
    return x


def compared(path: Path, theirs: Any, x: Array, **about: Any) -> None:
    """The scores before the last function are those of Keras, in float64 as far as it computes in that."""
    theirs.load_weights(str(path))
    expected = theirs(x, training=False).detach().numpy()
    model = load(path, dtype="float64", **about)
    y, _ = Sequential(*model.layers[:-1])(x, batch_first=True)
    assert np.ptp(expected) > 1  # a model that has learnt something
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("number", range(1, 7))
def test_asmscan(number: int, keras: Any) -> None:
    folder = installed("asmscan", "asmscan-bilstm") / "bilstm" / "resources" / "model" / "cvms"
    L = keras.layers
    layers = [
        L.Embedding(LETTERS, 8, dtype="float64"),
        L.Bidirectional(L.LSTM(8, return_sequences=True, dtype="float64"), dtype="float64"),
        L.LSTM(4, dtype="float64"),
        L.Dense(1, dtype="float64"),
    ]
    theirs = keras.Sequential([L.Input((STEPS,)), *layers])
    compared(folder / f"bass-model{number}.h5", theirs, padded(LETTERS, STEPS))


def test_reactionrnn() -> None:
    """By loops from Keras 2's documentation: gates z r h, of which z and r are clip(0.2 a + 0.5, 0, 1)."""
    path = installed("reactionrnn", "reactionrnn") / "reactionrnn_weights.hdf5"
    x, expected = padded(SIGNS, LONGEST), np.zeros((9, 256))
    with File(path) as file:

        def array(name: str) -> Array:
            stored = file[name]
            assert isinstance(stored, Dataset)
            return stored.read().astype(np.float64)

        embedded = array("embedding/embedding/embeddings")[x]
        kernel, inner, bias = (array(f"rnn/rnn/{name}") for name in ("kernel", "recurrent_kernel", "bias"))
        matrix, shift = array("output/output/kernel"), array("output/output/bias")
    z, r, h = (slice(k * 256, (k + 1) * 256) for k in range(3))
    for t in range(LONGEST):
        a, b = embedded[:, t] @ kernel + bias, expected @ inner[:, :512]
        update, reset = (np.clip(0.2 * (a[:, gate] + b[:, gate]) + 0.5, 0, 1) for gate in (z, r))
        new = np.tanh(a[:, h] + (reset * expected) @ inner[:, h])
        expected = update * expected + (1 - update) * new
    y, _ = load(path, config=CONFIG, dtype="float64")(x, batch_first=True)
    scores = np.maximum(expected @ matrix + shift, 0)
    assert np.ptp(scores) > 1  # a model that has learnt something
    np.testing.assert_allclose(y, scores, rtol=0, atol=1e-10 * np.abs(scores).max())

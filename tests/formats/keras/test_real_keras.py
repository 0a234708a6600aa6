"""A trained model as its authors published it: the encoder of chars2vec, two LSTMs that Keras 2.2.0 saved.

``pip install --no-deps chars2vec``: its files are read where they were installed, its code is not run.
"""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from minirnn import ModelFileWarning, load
from minirnn.formats.containers.hdf5 import Dataset, File
from minirnn.formats.keras import save

pytestmark = pytest.mark.extras

Array: TypeAlias = NDArray[Any]

LETTERS = 59  # that its models know, in one-hot vectors
SIZES = [50, 100, 150, 200, 300]


@pytest.fixture(scope="module")
def models() -> Path:
    spec = find_spec("chars2vec")
    if spec is None or spec.origin is None:
        pytest.skip("chars2vec is not installed: pip install --no-deps chars2vec")
    return Path(spec.origin).parent / "trained_models"


def config(size: int, **more: Any) -> dict[str, Any]:
    """What the package's code says of its model, which its files do not."""
    lstms = [{"units": size, "return_sequences": True, **more}, {"units": size, **more}]
    return {"class_name": "Sequential", "config": [{"class_name": "LSTM", "config": c} for c in lstms]}


def words(T: int = 12, B: int = 7) -> Array:
    """Words as the package encodes them, padded with zeros before their beginning: (T, B, LETTERS)."""
    rng = np.random.default_rng(0)
    x = np.zeros((T, B, LETTERS), np.float32)
    for b in range(B):
        for t in range(rng.integers(0, T), T):
            x[t, b, rng.integers(LETTERS)] = 1
    return x


def lstm(x: Array, kernel: Array, recurrent: Array, bias: Array) -> Array:
    """Keras 2.2.0's documentation in loops, float64: gates i f c o, of which i, f, o are clip(0.2 a + 0.5, 0, 1)."""
    T, B, _ = x.shape
    H = len(recurrent)
    y, h, c = np.zeros((T, B, H)), np.zeros((B, H)), np.zeros((B, H))
    for t in range(T):
        a = x[t] @ kernel + h @ recurrent + bias
        i, f, o = (np.clip(0.2 * a[:, k * H : (k + 1) * H] + 0.5, 0, 1) for k in (0, 1, 3))
        c = f * c + i * np.tanh(a[:, 2 * H : 3 * H])
        h = o * np.tanh(c)
        y[t] = h
    return y


@pytest.mark.parametrize("size", SIZES)
def test_chars2vec_by_loops_from_the_documentation(models: Path, size: int) -> None:
    path = models / f"eng_{size}" / "weights.h5"
    x = words()
    expected: Array = x.astype(np.float64)
    with File(path) as file:
        for layer in file.attrs["layer_names"][1:]:  # the first is the input
            arrays = [file[f"{layer}/{layer}/{name}:0"] for name in ("kernel", "recurrent_kernel", "bias")]
            expected = lstm(expected, *(a.read().astype(np.float64) for a in arrays if isinstance(a, Dataset)))
    y, _ = load(path, config=config(size))(x)
    np.testing.assert_allclose(y, expected[-1], rtol=0, atol=2e-6 * max(1, np.abs(expected[-1]).max()))


@pytest.mark.parametrize("size", SIZES)
def test_chars2vec_by_keras(models: Path, size: int) -> None:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    pytest.importorskip("torch", reason="Keras computes with torch here, which is not installed")

    def gate(a: Any) -> Any:
        return keras.ops.clip(0.2 * a + 0.5, 0, 1)  # hard_sigmoid, which is another function in Keras 3

    lstms = [keras.layers.LSTM(size, recurrent_activation=gate, return_sequences=whole) for whole in (True, False)]
    theirs = keras.Sequential([keras.layers.Input((None, LETTERS)), *lstms])
    path = models / f"eng_{size}" / "weights.h5"
    theirs.load_weights(str(path))
    x = words()
    y, _ = load(path, config=config(size))(x)
    expected = theirs(x.swapaxes(0, 1), training=False).detach().numpy()
    np.testing.assert_allclose(y, expected, rtol=0, atol=2e-6 * max(1, np.abs(expected).max()))


def test_chars2vec_goes_back_to_keras_2(models: Path, tmp_path: Path) -> None:
    pytest.importorskip("h5py", reason="h5py is not installed: pip install 'minirnn[keras]'")
    model = load(models / "eng_50" / "weights.h5", config=config(50))
    with pytest.raises(ValueError, match=r"hard_sigmoid is .* in Keras 3; this is Keras 2's"):
        save(model, tmp_path / "model.h5")
    save(model, tmp_path / "model.h5", version=2)
    again, x = load(tmp_path / "model.h5"), words()
    assert again.describe() == model.describe()
    np.testing.assert_array_equal(again(x)[0], model(x)[0])


def test_gates_that_are_not_said_are_those_of_the_keras_that_wrote_the_file(models: Path) -> None:
    path = models / "eng_50" / "weights.h5"
    x = words()
    y, unsaid = (load(path, config=config(50, **more))(x)[0] for more in ({"recurrent_activation": "hard_sigmoid"}, {}))
    np.testing.assert_array_equal(y, unsaid)
    other, _ = load(path, config=config(50, recurrent_activation="sigmoid"))(x)
    assert np.abs(other - y).max() > 0.01


def test_weights_alone_are_taken_for_a_chain_that_gives_every_step(models: Path) -> None:
    path, x = models / "eng_50" / "weights.h5", words()
    with pytest.warns(ModelFileWarning, match="each of them gives all steps, not the last alone"):
        model = load(path)
    np.testing.assert_array_equal(model(x)[0][-1], load(path, config=config(50))(x)[0])

"""Files written for Keras 3: Keras itself opens them and computes the same numbers, and so does minirnn."""

import json
import os
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import minirnn
from minirnn import GRU, LSTM, Embedding, Last, Layer, Linear, Sequential, load
from minirnn.formats.keras import configuration, save

Array: TypeAlias = NDArray[Any]

os.environ.setdefault("KERAS_BACKEND", "torch")
keras: Any = pytest.importorskip("keras", reason="Keras is not installed, which what is written is for")
pytest.importorskip("torch", reason="Keras computes with torch here, which is not installed")
h5py: Any = pytest.importorskip("h5py", reason="h5py is not installed: pip install 'minirnn[keras]'")

from keras_models import FORMATS, Models, computed  # noqa: E402 - once it is known that there is a Keras
from keras_networks import input_for, networks, ready  # noqa: E402

models = Models(keras, 3)
TOLERANCE = 2e-6  # of max(1, max |y|)
pytestmark = [
    pytest.mark.extras,
    # Keras' own
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:keras"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keras")


def exchanged(model: Layer, path: Path) -> tuple[Any, Layer]:
    """A model written to ``path``, as Keras opens it and as minirnn does."""
    save(model, path)
    if not path.name.endswith(".weights.h5"):
        return keras.models.load_model(path), load(path)
    theirs = keras.models.model_from_json(json.dumps(configuration(model)))
    theirs.load_weights(path)
    return theirs, load(path, config=configuration(model))


def turned(a: Array, *, over_time: bool) -> Array:
    """The batch first for what has time first, and the other way round."""
    return a.swapaxes(0, 1) if over_time else a


def assert_close(found: Array, expected: Array, tolerance: float) -> None:
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * max(1, np.abs(expected).max(initial=0)))


@given(networks(), st.integers(0, 2**32 - 1), st.sampled_from(FORMATS))
def test_keras_computes_what_the_model_does(folder: Path, model: Layer, seed: int, ending: str) -> None:
    keras.utils.clear_session(free_memory=False)
    model, rng = ready(model, seed), np.random.default_rng(seed)
    x = input_for(model, rng)
    y, _ = model(x)
    theirs, ours = exchanged(model, folder / f"model{ending}")
    found = computed(theirs, turned(x, over_time=not model.timeless))
    assert_close(turned(found, over_time=y.ndim == 3), y, TOLERANCE)
    again, _ = ours(x)
    assert_close(again, y, 1e-6)
    kept, read = (sorted(w.tobytes() for w in one.named_weights().values() if w.any()) for one in (model, ours))
    tied = [layer.tie for layer in model.walk() if isinstance(layer, Linear) and layer.tie]
    assert kept == read or tied


@given(st.data(), st.sampled_from(FORMATS), st.sampled_from(FORMATS))
def test_there_and_back(folder: Path, data: st.DataObject, ending: str, other: str) -> None:
    """A model of Keras', read from its file, written, and opened by Keras again."""
    keras.utils.clear_session(free_memory=False)
    original, x = models.model(data.draw)
    path, config = models.saved(original, folder, ending)
    ours = load(path) if config is None else load(path, config=config)
    theirs, _ = exchanged(ours, folder / f"again{other}")
    if ours.timeless:  # the file says nothing of time
        y, *shape = computed(original, x), *x.shape[:-1], -1
        found = computed(theirs, x.reshape(-1, x.shape[-1])).reshape(shape)
    else:
        y, found = computed(original, x), computed(theirs, x)
    assert_close(found, y, TOLERANCE)
    assert theirs.count_params() == original.count_params()


@pytest.mark.parametrize("ending", FORMATS)
def test_by_one_call(tmp_path: Path, ending: str) -> None:
    model = ready(Sequential(Embedding(5, 3), LSTM(3, 4), Last(), Linear(4, 2)))
    about = minirnn.to_keras(model, tmp_path / f"model{ending}")
    assert about == configuration(model) == minirnn.to_keras(model)
    save(model, tmp_path / f"again{ending}")
    assert (tmp_path / f"again{ending}").read_bytes() == (tmp_path / f"model{ending}").read_bytes()
    old = minirnn.to_keras(model, tmp_path / f"old{ending}", version=2)
    assert old["keras_version"].startswith("2.")


@pytest.mark.parametrize("ending", FORMATS)
def test_double_precision(tmp_path: Path, ending: str) -> None:
    model = ready(Sequential(GRU(3, 4, 2, bidirectional=True), Last(bidirectional=True), Linear(8, 2)), 0, "float64")
    x = input_for(model, np.random.default_rng(0))
    theirs, ours = exchanged(model, tmp_path / f"model{ending}")
    # Keras itself multiplies matrices in float32, whatever they are in
    assert_close(computed(theirs, x.swapaxes(0, 1)), model(x)[0], TOLERANCE)
    np.testing.assert_array_equal(theirs.get_weights()[-2], model.named_weights()["2.W"])
    assert_close(ours(x)[0], model(x)[0], 0)


@pytest.mark.parametrize("ending", FORMATS)
def test_what_is_frozen_does_not_train_in_keras(tmp_path: Path, ending: str) -> None:
    model = ready(Sequential(Embedding(5, 3), LSTM(3, 4, 2), Linear(4, 5))).freeze("0", "1.1")
    theirs, ours = exchanged(model, tmp_path / f"model{ending}")
    assert [layer.trainable for layer in theirs.layers] == [False, True, False, True]
    assert ours.bound.frozen == {"0.W", "2.0.W", "2.0.U", "2.0.b"}


@pytest.mark.parametrize("ending", [*FORMATS, ".hdf5"])
def test_a_file_is_the_same_bytes_and_replaced_whole_or_not_at_all(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, path = ready(GRU(3, 4)), tmp_path / f"model{ending}"
    save(model, path)
    data = path.read_bytes()
    save(model, str(path))
    assert path.read_bytes() == data

    def full(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        save(ready(GRU(3, 5)), path)
    assert path.read_bytes() == data
    assert list(tmp_path.iterdir()) == [path]

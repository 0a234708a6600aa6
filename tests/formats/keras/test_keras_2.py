"""Keras 2, where it lives on: ``pip install tf_keras tensorflow-cpu`` in an environment of its own, without torch.

The rest of the tests knows Keras 2 by the files of it that are stored in ``keras_files.json``.
"""

import json
import os
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from minirnn import Layer, load
from minirnn.formats.keras import configuration, save

Array: TypeAlias = NDArray[Any]

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
keras: Any = pytest.importorskip("tf_keras", reason="Keras 2 is not installed: pip install tf_keras tensorflow-cpu")

from keras_models import FORMATS, Models, check, computed  # noqa: E402 - once it is known that there is a Keras
from keras_networks import input_for, networks, ready  # noqa: E402

models = Models(keras, 2)
pytestmark = [
    pytest.mark.extras,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning"),
]  # its own


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keras")


@given(st.data(), st.sampled_from([*FORMATS, ".h5 alone"]))
def test_a_model_of_any_layers_gives_the_same_numbers(folder: Path, data: st.DataObject, ending: str) -> None:
    keras.backend.clear_session()
    model, x = models.model(data.draw)
    if ending == ".h5 alone":
        model.save_weights(str(folder / "alone.h5"))
        check(model, x, folder / "alone.h5", model.to_json())
    else:
        check(model, x, *models.saved(model, folder, ending))


def compare(model: Layer, x: Array, path: Path) -> None:
    """Raise unless Keras 2 computes from ``path``, where the model is written, what the model does."""
    save(model, path, version=2)
    if path.name.endswith(".weights.h5"):
        theirs = keras.models.model_from_json(json.dumps(configuration(model, version=2)))
        theirs.load_weights(str(path))
        ours = load(path, config=configuration(model, version=2))
    else:
        theirs, ours = keras.models.load_model(str(path)), load(path)
    y, _ = model(x)
    found = computed(theirs, x if model.timeless else x.swapaxes(0, 1))
    found = found.swapaxes(0, 1) if y.ndim == 3 else found
    assert found.shape == y.shape
    np.testing.assert_allclose(found, y, rtol=0, atol=2e-6 * max(1, np.abs(y).max(initial=0)))
    np.testing.assert_allclose(ours(x)[0], y, rtol=0, atol=1e-6 * max(1, np.abs(y).max(initial=0)))


@given(networks(version=2), st.integers(0, 2**32 - 1), st.sampled_from(FORMATS))
def test_keras_computes_what_the_model_does(folder: Path, model: Layer, seed: int, ending: str) -> None:
    keras.backend.clear_session()
    model, rng = ready(model, seed), np.random.default_rng(seed)
    compare(model, input_for(model, rng), folder / f"model{ending}")

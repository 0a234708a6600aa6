"""Files of Keras 3: what minirnn loads computes what Keras does, for layers, wrappers and forms in every combination."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

os.environ.setdefault("KERAS_BACKEND", "torch")
keras: Any = pytest.importorskip("keras", reason="Keras is not installed, which what is loaded is held against")
pytest.importorskip("torch", reason="Keras computes with torch here, which is not installed")

from keras_models import FORMATS, Models, check  # noqa: E402 - once it is known that there is a Keras

models = Models(keras, 3)
pytestmark = [  # Keras' own
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:keras"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keras")


@given(st.data(), st.sampled_from(FORMATS))
def test_a_model_of_any_layers_gives_the_same_numbers(folder: Path, data: st.DataObject, ending: str) -> None:
    keras.utils.clear_session()
    model, x = models.model(data.draw)
    check(model, x, *models.saved(model, folder, ending))

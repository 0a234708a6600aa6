"""Pickles of a Keras model: the file within is opened, and nothing of the pickle runs."""

import os
import pickle
import struct
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from keras_stored import stored
from numpy.typing import NDArray
from pickled import arguments, called

from minirnn import ModelFileError, load
from minirnn.formats.containers import packed
from minirnn.formats.keras import contents

Array: TypeAlias = NDArray[Any]

STORED = stored()
INNER = STORED["Keras 3, .keras"]


KERAS_2 = called("keras.saving.pickle_utils", "deserialize_model_from_bytecode", INNER.file)
KERAS_3 = (
    b"\x80\x04cbuiltins\ngetattr\nckeras.src.models.sequential\nSequential\n\x8c\x0f_unpickle_model\x86R"
    b"c_io\nBytesIO\n)\x81" + arguments(INNER.file) + b"K\x00N\x87b\x85R."
)
WITHIN = b"\x80\x04}\x8c\x05model" + KERAS_2[2:-1] + b"s."


@pytest.mark.parametrize("data", [KERAS_2, KERAS_3, WITHIN], ids=["Keras 2", "Keras 3", "in a dictionary"])
def test_the_model_within_gives_its_numbers(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(data)
    y, _ = load(path)(INNER.x.swapaxes(0, 1))
    np.testing.assert_allclose(y, INNER.y, rtol=0, atol=2e-6 * max(1, np.abs(INNER.y).max()))
    inner = tmp_path / "model.keras"
    inner.write_bytes(INNER.file)
    assert contents(path) == contents(inner)


def test_an_h5_file_within(tmp_path: Path) -> None:
    one, path = STORED["Keras 2, .h5"], tmp_path / "model.pkl"
    path.write_bytes(b"\x80\x04" + arguments(one.file)[1:-1] + b".")  # its bytes, and nothing that is called
    y, _ = load(path, batch_first=True)(one.x)
    np.testing.assert_allclose(y, one.y, rtol=0, atol=2e-6 * max(1, np.abs(one.y).max()))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (called("keras.saving", "load", INNER.file, INNER.file[:-1]), "must hold one model of Keras; it holds 2"),
        (KERAS_2[:-100], "must hold one model of Keras; it holds 0"),
        (called("keras.saving", "load", INNER.file[:5000]), "not a whole zip file"),
        (called("os", "system", INNER.file[:40]), "a pickle that torch.save did not write"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"keras PK\x03\x04", "it holds 0"),
    ],
)
def test_what_is_no_such_pickle_is_refused(data: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match=words):
        load(path)


def test_a_pickle_is_cut_off_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    for end in (*range(0, 200, 7), len(KERAS_2) // 2, len(KERAS_2) - 4):
        path.write_bytes(KERAS_2[:end])
        with pytest.raises(ModelFileError):
            load(path)


def test_bounds_are_checked_before_a_pickle_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(KERAS_2)
    monkeypatch.setattr("minirnn.formats.keras.reading.LARGEST_PICKLE", len(KERAS_2) - 1)
    with pytest.raises(ModelFileError, match=f"may have {len(KERAS_2) - 1:,} bytes; it has {len(KERAS_2):,}"):
        load(path)


def test_instructions_are_counted() -> None:
    many = b"\x80\x04" + b"N0" * packed.MOST_INSTRUCTIONS
    assert packed.files_in(many + KERAS_2[2:]) == []
    assert packed.files_in(b"\x80\x04" + b"N0" * 9 + KERAS_2[2:]) == [INNER.file]


@pytest.mark.extras
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning:keras")
def test_what_keras_pickles(tmp_path: Path) -> None:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras: Any = pytest.importorskip("keras", reason="Keras is not installed")
    pytest.importorskip("torch", reason="Keras computes with torch here, which is not installed")
    L = keras.layers
    model = keras.Sequential([L.Input((None, 3)), L.LSTM(4, return_sequences=True), L.GRU(5), L.Dense(2)])
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(model))
    x = np.random.default_rng(0).normal(size=(2, 6, 3)).astype(np.float32)
    y, _ = load(path)(x.swapaxes(0, 1))
    np.testing.assert_allclose(y, model(x).detach().numpy(), rtol=0, atol=2e-6)

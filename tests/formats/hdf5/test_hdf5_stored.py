"""A few files that h5py wrote, stored: bounds that hold, and Windows' names, where it is not installed."""

import base64
import io
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mutations import zipped

from minirnn import ModelFileError, load
from minirnn.formats.containers.hdf5 import Dataset, File

STORED = json.loads(Path(__file__).with_name("hdf5_files.json").read_text(encoding="utf-8"))


def file_of(name: str) -> bytes:
    return zlib.decompress(base64.b64decode(STORED[name]))


def read(data: bytes, packed: int | None = None) -> Any:
    with File(io.BytesIO(data), "it", packed) as file:
        dataset = file["a"]
        assert isinstance(dataset, Dataset)
        return dataset.read()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a chunk larger than its dataset", "chunks must be no larger than their dataset"),
        ("an array that was never written", "arrays must be written"),
    ],
)
def test_what_is_declared_is_held_against_the_file(name: str, words: str) -> None:
    with pytest.raises(ModelFileError, match=words):
        read(file_of(name))


def test_what_stands_in_a_zip_expands_to_what_the_zip_is_worth() -> None:
    data = file_of("zeros, compressed")
    assert not read(data).any()
    with pytest.raises(ModelFileError, match="must not expand to more than 100 times"):
        read(data, packed=len(data) // 10)


@pytest.mark.parametrize("join", ["slashes", "backslashes"])
def test_groups_are_the_same_whatever_joins_their_names(join: str, tmp_path: Path) -> None:
    layers = [
        {"class_name": "LSTM", "config": {"units": 4, "name": "l", "batch_input_shape": [None, 5, 3]}},
        {"class_name": "Dense", "config": {"units": 2, "name": "d"}},
    ]
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": layers}}
    weights = file_of(f"groups joined with {join}")
    entries = [("config.json", json.dumps(config).encode()), ("model.weights.h5", weights)]
    (tmp_path / "m.keras").write_bytes(zipped(entries))
    model = load(tmp_path / "m.keras", backend="numpy")
    np.testing.assert_array_equal(model.named_weights()["0.0.W"], np.arange(48).reshape(3, 16))
    np.testing.assert_array_equal(model.named_weights()["2.b"], [0, 1])

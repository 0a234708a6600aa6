"""What a file of HDF5 may cost, and Keras' files from Windows: h5py writes them."""

import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structures
from mutations import zipped

from minirnn import ModelFileError, load
from minirnn.formats.containers.hdf5 import Dataset, File, source

h5py: Any = pytest.importorskip("h5py", reason="h5py is not installed, which writes the files")

pytestmark = pytest.mark.extras


def made(fill: Callable[[Any], Any]) -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w") as h:
        fill(h)
    return file.getvalue()


def array(data: bytes, packed: int | None = None) -> Any:
    with File(io.BytesIO(data), "it", packed) as file:
        dataset = file["a"]
        assert isinstance(dataset, Dataset)
        return dataset.read()


def fault(data: bytes, packed: int | None = None) -> str:
    with pytest.raises(ModelFileError) as caught:
        array(data, packed)
    return str(caught.value)


def test_chunks_may_be_larger_than_their_dataset_by_as_much_as_h5py_makes_them() -> None:
    rows = np.arange(32, dtype="f4").reshape(4, 8)
    growing = made(lambda h: h.create_dataset("a", data=rows, chunks=True, maxshape=(None, None), compression="gzip"))
    np.testing.assert_array_equal(array(growing), rows)
    own = made(lambda h: h.create_dataset("a", data=rows, chunks=(2**15, 8), maxshape=(None, 8), compression="gzip"))
    np.testing.assert_array_equal(array(own), rows)
    large = made(lambda h: h.create_dataset("a", data=rows, chunks=(2**16, 8), maxshape=(None, 8), compression="gzip"))
    assert fault(large) == "it: chunks must be no larger than their dataset, (4, 8); they are (65536, 8)"


def test_many_chunks_that_are_larger_than_their_dataset_together_are_refused() -> None:
    how = {"chunks": (2**15, 1), "maxshape": (None, 400), "compression": "gzip"}
    assert "no larger than their dataset" in fault(made(lambda h: h.create_dataset("a", (2, 400), "f4", **how)))


def test_what_was_never_written_is_made_up_to_the_size_of_the_file() -> None:
    size = source.SLACK // 4
    ways: list[dict[str, Any]] = [{}, {"chunks": (1024,)}, {"chunks": (1024,), "compression": "gzip"}]
    for how in ways:
        assert not array(made(partial(empty, size, how))).any()
        assert "arrays must be written" in fault(made(partial(empty, 4 * size, how)))


def empty(size: int, how: dict[str, Any], h: Any) -> None:
    """An array that is declared, of which nothing is written, beside one that is."""
    h["b"] = np.zeros(2**14, "u1")
    h.create_dataset("a", (size,), "f4", **how)


def test_several_arrays_that_were_never_written_are_counted_together() -> None:
    data = made(lambda h: [h.create_dataset(f"{k}", (200_000,), "f4", chunks=(1024,)) for k in range(3)])
    with File(io.BytesIO(data), "it") as file, pytest.raises(ModelFileError, match="arrays must be written"):
        [dataset.read() for dataset in map(file.get, file) if isinstance(dataset, Dataset)]


def test_chunks_expand_to_a_hundred_times_the_file_and_in_a_zip_to_that_of_the_zip() -> None:
    how = {"chunks": (2**16,), "compression": "gzip"}
    zeros = made(lambda h: h.create_dataset("a", data=np.zeros(5 * 2**16, "f4"), **how))
    assert array(zeros).nbytes == 5 * 2**18 < 100 * len(zeros) + source.SLACK
    assert "must not expand to more than 100 times" in fault(zeros, packed=len(zeros) // 10)
    larger = made(lambda h: h.create_dataset("a", data=np.zeros(2**22, "f4"), chunks=(2**19,), compression="gzip"))
    assert "must not expand to more than 100 times" in fault(larger)


def test_an_array_is_counted_once_however_often_it_is_read() -> None:
    data = made(lambda h: h.create_dataset("a", (200_000,), "f4", chunks=(1024,)))
    with File(io.BytesIO(data), "it") as file:
        dataset = file["a"]
        assert isinstance(dataset, Dataset)
        for _ in range(5):
            assert not dataset.read().any()


# ---------------------------------------------------------------------- Keras' files from Windows


@pytest.mark.parametrize("root", ["layers", "_layer_checkpoint_dependencies"])
def test_groups_joined_with_backslashes_are_the_same_groups(root: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "lstm|cell": [rng.normal(size=shape).astype("f4") for shape in ((3, 16), (4, 16), (16,))],
        "dense": [rng.normal(size=shape).astype("f4") for shape in ((4, 2), (2,))],
    }
    layers = [
        {"class_name": "LSTM", "config": {"units": 4, "name": "l", "batch_input_shape": [None, 5, 3]}},
        {"class_name": "Dense", "config": {"units": 2, "name": "d"}},
    ]
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": layers}}
    models = []
    for name, join in (("slashes", "/"), ("backslashes", "\\")):

        def fill(h: Any, join: str = join) -> None:
            for place, values in arrays.items():
                for k, value in enumerate(values):
                    h[f"{join.join([root, *place.split('|')])}/vars/{k}"] = value

        weights = made(fill)
        (tmp_path / f"{name}.weights.h5").write_bytes(weights)
        entries = [("config.json", json.dumps(config).encode()), ("model.weights.h5", weights)]
        (tmp_path / f"{name}.keras").write_bytes(zipped(entries))
        models += [
            load(tmp_path / f"{name}.keras", backend="numpy"),
            load(tmp_path / f"{name}.weights.h5", backend="numpy", config=config),
        ]
    for model in models:
        np.testing.assert_array_equal(model.weights, models[0].weights)
    np.testing.assert_array_equal(models[0].named_weights()["0.0.W"], arrays["lstm|cell"][0])


def test_an_array_of_no_layer_is_refused_under_a_backslash_too(tmp_path: Path) -> None:
    config = {"class_name": "Sequential", "config": [structures.dense("dense", 2, 2)]}
    weights = made(lambda h: [h.create_dataset(f"layers\\{n}/vars/0", data=np.eye(2)) for n in ("dense", "other")])
    entries = [("config.json", json.dumps(config).encode()), ("model.weights.h5", weights)]
    (tmp_path / "m").write_bytes(zipped(entries))
    with pytest.raises(ModelFileError, match="must belong to a layer"):
        load(tmp_path / "m", backend="numpy")

"""Modules and state dicts that ``pickle.dump`` wrote, without ``torch.save``: their storages are files within."""

import pickle
import struct
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray
from pickled import dictionary, storage, tensor, text

from minirnn import LSTM, ModelFileError, load
from minirnn.formats import torch as torch_files
from minirnn.formats.torch import legacy, plain

Array: TypeAlias = NDArray[Any]


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_a_state_dict_gives_its_numbers(tmp_path: Path) -> None:
    model = LSTM(3, 4, num_layers=2).init(seed=0)
    arrays = torch_files.arrays_of(model)
    path = written(tmp_path / "a.pkl", dictionary({n: tensor(storage(a), a.shape) for n, a in arrays.items()}))
    for name, array in torch_files.read(path).items():
        np.testing.assert_array_equal(array, arrays[name])
    x = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)
    np.testing.assert_array_equal(load(path)(x)[0], load(path)(x)[0])
    np.testing.assert_allclose(load(path)(x)[0], model(x)[0], rtol=0, atol=1e-6)


def test_a_storage_that_is_referred_to_again_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its bytes are put into the memo, and any number of tensors made of them: they are views of the same numbers."""
    numbers, calls, parse = np.arange(16, dtype=np.float32), list[str](), legacy.storage_in

    def counted(data: bytes, where: str) -> Any:
        calls.append(where)
        return parse(data, where)

    monkeypatch.setattr(legacy, "storage_in", counted)
    first = storage(numbers).removesuffix(b"\x85R") + b"q\x00\x85R"
    again = b"ctorch.storage\n_load_from_bytes\nh\x00\x85R"
    tensors = {"weight": tensor(first, (4, 4)), "0.weight": tensor(again, (4, 4))}
    found = torch_files.read(written(tmp_path / "a.pkl", dictionary(tensors)))
    assert len(calls) == 1
    np.testing.assert_array_equal(found["0.weight"], found["weight"])


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (storage(np.zeros(15)), "of sizes .4, 4. from 0 on does not fit 15 numbers"),
        (storage(np.zeros(16), count=17), "must have 17 numbers where they lie"),
        (storage(np.zeros(16)).replace(struct.pack("<q", 16), struct.pack("<q", 2**60)), "does not lie in the file"),
        (b"ctorch.storage\n_load_from_bytes\n" + text("x") + b"\x85R", "a storage must be made of bytes"),
        (b"ctorch.storage\n_load_from_bytes\nC\x03zzz\x85R", "storage 0: instruction b'z' of a pickle"),
        (storage(np.zeros(16), kind=b"ComplexFloat"), "must hold one storage of numbers that are read"),
        (text("x") + b"Q", "a persistent id stands where none belongs"),
    ],
)
def test_what_is_no_storage_is_refused(stored: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=words):
        load(written(tmp_path / "a.pkl", dictionary({"weight": tensor(stored, (4, 4))})))


def test_sizes_are_checked_before_a_pickle_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.pkl", dictionary({"weight": tensor(storage(np.zeros(16)), (4, 4))}))
    monkeypatch.setattr(plain, "LARGEST_PICKLE", 200)
    with pytest.raises(ModelFileError, match="a pickle of a model may have 200 bytes"):
        load(path)


@pytest.mark.extras
def test_a_module_that_pickle_wrote(tmp_path: Path) -> None:
    torch: Any = pytest.importorskip("torch", reason="torch is not installed")
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Embedding(7, 3), torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)
    )
    for content in (module, {"model_state_dict": module.state_dict()}):
        path = written(tmp_path / "a.pkl", pickle.dumps(content))
        x = np.arange(6).reshape(3, 2) % 7
        modules = None if content is module else ["0", "1", "relu", "3"]
        y, _ = load(path, modules=modules)(x)
        np.testing.assert_allclose(y, module(torch.from_numpy(x)).detach().numpy(), rtol=0, atol=1e-6)

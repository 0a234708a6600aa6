"""What torch pickled in Python 2 and before version 0.4: dictionaries of pairs, Parameters and sizes as objects."""

from pathlib import Path

import numpy as np
import pytest
from pickled import dictionary, storage, tensor, text

from minirnn import ModelFileError
from minirnn.formats import torch as torch_files

MATRIX = np.arange(12, dtype=np.float32).reshape(3, 4)
STORED = tensor(storage(MATRIX), (3, 4))
PAIRS = b"ccollections\nOrderedDict\n]("


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def pair(name: str, value: bytes) -> bytes:
    return b"](" + text(name) + value + b"e"


def test_a_dictionary_may_be_made_of_pairs(tmp_path: Path) -> None:
    data = b"\x80\x02" + PAIRS + pair("a.weight", STORED) + pair("b", b"N") + b"e\x85R."
    found = torch_files.read(written(tmp_path / "a.pkl", data))
    assert list(found) == ["a.weight"]
    np.testing.assert_array_equal(found["a.weight"], MATRIX)


def test_a_parameter_may_be_an_object_with_a_state(tmp_path: Path) -> None:
    parameter = b"ctorch.nn.parameter\nParameter\n" + STORED + b"\x85R(\x88N" + PAIRS + b"e\x85Rtb"
    found = torch_files.read(written(tmp_path / "a.pkl", dictionary({"a.weight": parameter})))
    np.testing.assert_array_equal(found["a.weight"], MATRIX)


def test_a_size_may_be_an_object(tmp_path: Path) -> None:
    size = b"ctorch\nSize\n((K\x04K\x04tt\x81"
    found = torch_files.read(written(tmp_path / "a.pkl", dictionary({"size": size, "a.weight": STORED})))
    assert list(found) == ["a.weight"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x80\x02ccollections\nOrderedDict\n}\x85R.", "must be made of nothing or of a list"),
        (b"\x80\x02ccollections\nOrderedDict\n]]\x86R.", "must be made of nothing or of a list"),
        (b"\x80\x02" + PAIRS + b"Ne\x85R.", "must be made of pairs"),
        (b"\x80\x02" + PAIRS + b"](NNNee\x85R.", "must be made of pairs"),
        (b"\x80\x02" + PAIRS + b"](NNee\x85R.", "a name, each there once"),
        (b"\x80\x02" + PAIRS + pair("a", b"N") * 2 + b"e\x85R.", "a name, each there once"),
        (b"\x80\x02ctorch\nSize\n\x81.", "takes what is not there"),
        (b"\x80\x02ctorch\nSize\n(N}b.", "takes what is not there|sets the state of"),
    ],
)
def test_others_are_refused(data: bytes, words: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.pkl", data + b"ctorch\n")  # what follows the pickle is no part of it
    with pytest.raises(ModelFileError, match=words):
        torch_files.read(path)

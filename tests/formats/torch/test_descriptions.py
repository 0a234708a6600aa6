"""``load(path, layers=...)``: what a file computes, in one string or by a function of its arrays."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch_objects import in_zip, state_of, tagger

from minirnn import Activation, Dropout, Last, Layer, ModelFileError, Sequential, load
from minirnn.formats import torch as torch_files
from minirnn.formats.torch import StateDict

MODULES = ["emb", "lstm", "last", "head.0", "relu", "head.2"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "a.pt").write_bytes(in_zip(state_of(tagger())))
    return tmp_path / "a.pt"


def test_a_string_is_a_list_of_modules(path: Path) -> None:
    x = np.array([[0, 3], [4, 1], [2, 2]])
    expected = load(path, modules=MODULES, backend="numpy")(x)[0]
    for layers in (", ".join(MODULES), "emb,lstm,last,head.0,relu,head.2"):
        np.testing.assert_array_equal(load(path, layers=layers, backend="numpy")(x)[0], expected)


def test_a_function_makes_the_model_of_the_arrays(path: Path) -> None:
    def made(arrays: StateDict) -> Layer:
        body = torch_files.from_state_dict(arrays, modules=["emb", "lstm"], backend="numpy")
        head = torch_files.from_state_dict(arrays, prefix="head", modules=["0", "relu", "2"], backend="numpy")
        assert isinstance(body, Sequential)
        assert isinstance(head, Sequential)
        return Sequential(*body.layers, Last(), Dropout(0.5), *head.layers, Activation("log_softmax"))

    x = np.array([[0, 3], [4, 1], [2, 2]])
    model = load(path, layers=made, backend="numpy")
    expected = load(path, modules=[*MODULES, "log_softmax"], backend="numpy")
    np.testing.assert_array_equal(model(x)[0], expected(x)[0])
    double = load(path, layers=made, backend="numpy", dtype="float64")
    assert double.bound.dtype == np.float64
    np.testing.assert_allclose(double(x)[0], expected(x)[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("about", "error", "words"),
    [
        (
            {"layers": ["emb", "lstm"]},
            ValueError,
            "layers must be a string of modules, 'lstm, relu, fc', or a function",
        ),
        ({"layers": "emb", "modules": ["emb"]}, ValueError, "and stand without modules; got 'emb'"),
        ({"layers": "emb, nothing"}, ModelFileError, "has no module 'nothing'"),
        ({"layers": ""}, ModelFileError, "has no module ''"),
        (
            {"layers": lambda _: None},
            TypeError,
            "must be a function that returns a layer with its weights; it returned",
        ),
        ({"layers": lambda _: Last()}, TypeError, "a layer with its weights; it returned Last()"),
        ({"layers": lambda _: None, "prefix": "head"}, ValueError, "prefix cannot be given beside a function"),
    ],
)
def test_a_description_that_makes_no_sense_is_refused(
    about: dict[str, Any], error: type[Exception], words: str, path: Path
) -> None:
    with pytest.raises(error, match=re.escape(words)):
        load(path, **about)

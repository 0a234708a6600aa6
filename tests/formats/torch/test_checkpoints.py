"""Checkpoints as trainers write them: a model under a name of theirs, and much beside it."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch_checkpoints import CHECKPOINTS, LIGHTNING, under
from torch_objects import Array, before_1_6, drawn, in_zip

from minirnn import GRU, Layer, ModelFileError, ModelFileWarning, load
from minirnn.formats import torch as torch_files

ALL = CHECKPOINTS | LIGHTNING
MODULES = ["emb", "lstm", "head.0", "relu", "head.2"]


def model_of(path: Path, **about: Any) -> tuple[Layer, tuple[str, ...]]:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        model = load(path, backend="numpy", **about)
    return model, tuple(detail for one in seen for detail in one.message.details)  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def expected() -> Layer:
    return torch_files.from_state_dict(under(""), modules=MODULES, backend="numpy")


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("write", [in_zip, before_1_6], ids=["zip", "before 1.6"])
def test_a_model_is_found_under_the_name_of_a_trainer(name: str, write: Any, expected: Layer, tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    path.write_bytes(write(ALL[name]))
    model, assumed = model_of(path, modules=MODULES)  # by its own names
    assert assumed == ()
    np.testing.assert_array_equal(model.weights, expected.weights)
    full = next(iter(torch_files.read(path))).removesuffix("emb.weight")
    named = [f"{full}{entry}" if entry != "relu" else entry for entry in MODULES]
    np.testing.assert_array_equal(load(path, modules=named, backend="numpy").weights, expected.weights)
    whole, assumed = model_of(path)
    np.testing.assert_array_equal(whole.weights, expected.weights)
    assert [words.startswith("nothing stands between") for words in assumed] == [True]  # the gap between 0 and 2
    np.testing.assert_array_equal(
        load(path, prefix="lstm", backend="numpy").weights, load(path, prefix=f"{full}lstm", backend="numpy").weights
    )
    linear, _ = model_of(path, kinds={"emb": "Linear"}, modules=["emb"])
    assert type(linear).__name__ == "Linear"


@pytest.mark.parametrize(
    "beside",
    [{"n_averaged": drawn(())}, {"criterion.weight": drawn((3,)), "accuracy.total": drawn(())}],
    ids=["a counter", "a loss"],
)
def test_little_beside_a_model_is_left_out_and_said(beside: dict[str, Array], expected: Layer, tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(in_zip(under("module.") | beside))
    model, assumed = model_of(tmp_path / "a.pt")
    np.testing.assert_array_equal(model.weights, expected.weights)
    assert assumed[0] == f"what is under 'module' is the model, without {', '.join(map(repr, beside))} beside it"
    for modules in (MODULES, ["module.emb", "module.lstm", "module.head.0", "relu", "module.head.2"]):
        _, assumed = model_of(tmp_path / "a.pt", modules=modules)
        assert assumed == ()


def test_a_matrix_beside_a_model_is_not_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(in_zip(under("module.", other=drawn((2, 2)))))
    with pytest.raises(ModelFileError, match="not all of them are layers of minirnn"):
        load(tmp_path / "a.pt")
    load(tmp_path / "a.pt", prefix="module.lstm", backend="numpy")
    with pytest.raises(ModelFileError, match="no tensors under 'lstm'"):
        load(tmp_path / "a.pt", prefix="lstm", backend="numpy")


def test_a_name_of_a_users_own_is_no_trainers(tmp_path: Path) -> None:
    model = GRU(3, 4).init(0, backend="numpy")
    state = {f"body.{name}": a for name, a in torch_files.arrays_of(model).items()}
    (tmp_path / "a.pt").write_bytes(in_zip(state | {"scale": drawn((3,))}))
    with pytest.raises(ModelFileError, match="not all of them are layers of minirnn"):
        load(tmp_path / "a.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("error", ModelFileWarning)
        assert type(load(tmp_path / "a.pt", prefix="body", backend="numpy")) is GRU

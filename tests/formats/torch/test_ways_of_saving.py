"""The ways in which people save torch's models, each of drawn networks: opened without torch, to torch's numbers."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minirnn import Layer, ModelFileWarning, load

torch: Any = pytest.importorskip(
    "torch", reason="the extra 'oracles' (torch) is not installed: its files are not compared with it"
)
from torch_networks import Drawn, drawn  # noqa: E402 - needs torch

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")

NETWORKS = 60
SHOWN = 12  # of them in .ci/run
seeds = pytest.mark.parametrize(
    "seed", [pytest.param(k, marks=pytest.mark.extras if k < SHOWN else pytest.mark.long) for k in range(NETWORKS)]
)


def assert_computes(model: Layer, one: Drawn, *, batch_first: bool | None = None) -> None:
    """The model gives what torch gives, called as the module is, or told what its axes are."""
    x = one.x.numpy()
    y, _ = model(x) if batch_first is None else model(x, batch_first=batch_first)
    expected = one.expected()
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, rtol=0, atol=3e-6 * max(1.0, float(np.abs(expected).max())))


@seeds
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
def test_a_whole_module(seed: int, *, zipped: bool, tmp_path: Path) -> None:
    one = drawn(seed, named=True)
    path = tmp_path / "a.pt"
    torch.save(one.net, path, _use_new_zipfile_serialization=zipped)
    model = load(path, modules=one.modules, backend="numpy")  # silently: warnings are errors here
    assert model.batch_first == one.batch_first
    assert_computes(model, one)
    with warnings.catch_warnings():
        warnings.simplefilter("error" if one.plain else "ignore", ModelFileWarning)
        whole = load(path, backend="numpy")
    recurrent = next(layer for layer in whole.walk() if getattr(layer, "num_layers", 0))
    assert recurrent.dropout == one.net.rnn.dropout
    if one.plain:
        assert_computes(whole, one)


@seeds
def test_a_state_dict_before_1_6(seed: int, tmp_path: Path) -> None:
    one = drawn(seed, named=True)
    path = tmp_path / "a.pt"
    torch.save(one.net.state_dict(), path, _use_new_zipfile_serialization=False, pickle_protocol=2 + seed % 4)
    model = load(path, modules=one.modules, nonlinearity=one.nonlinearity, backend="numpy")
    assert_computes(model, one, batch_first=one.batch_first)


@seeds
def test_a_checkpoint_of_a_trainer(seed: int, tmp_path: Path) -> None:
    one = drawn(seed, named=True)
    optimizer = torch.optim.Adam(one.net.parameters())
    one.net(one.x).sum().backward()
    optimizer.step()
    wrapped = torch.nn.DataParallel(one.net) if seed % 2 else torch.nn.ModuleDict({"model": one.net})
    state, beside = wrapped.state_dict(), {"optimizer_states": [optimizer.state_dict()], "epoch": 3}
    content = [state, {"model_state_dict": state} | beside, {"state_dict": state} | beside, {"model": state} | beside]
    path = tmp_path / "a.ckpt"
    torch.save(content[seed // 2 % 4], path, _use_new_zipfile_serialization=bool(seed % 3))
    model = load(path, modules=one.modules, nonlinearity=one.nonlinearity, backend="numpy")
    assert_computes(model, one, batch_first=one.batch_first)


def written(one: Drawn, way: str, path: Path) -> Path:
    """The network as a program, in one of three ways."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # says torch of TorchScript
        if way == "traced":
            torch.jit.save(torch.jit.trace(one.net, one.x), path)
        elif way == "scripted":
            torch.jit.save(torch.jit.script(one.net), path)
        else:
            torch.export.save(torch.export.export(one.net, (one.x,)), path)
    return path


@seeds
@pytest.mark.parametrize("way", ["traced", "scripted", "exported"])
def test_a_program(way: str, seed: int, tmp_path: Path) -> None:
    """Its code says what computes after what: nothing has to be told, and nothing is assumed."""
    one = drawn(seed)
    model = load(written(one, way, tmp_path / "a.pt2"), backend="numpy")  # silently: warnings are errors here
    assert model.batch_first == one.batch_first
    assert_computes(model, one)

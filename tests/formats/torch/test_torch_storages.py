"""How torch lays out what it saves, and what people do with its files."""

import argparse
import functools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch_modules import ENDINGS, assert_computes, drawn, every_ending, torch, write

from minirnn import ModelFileError, ModelFileWarning
from minirnn.formats import torch as torch_files

pytestmark = [
    pytest.mark.extras,
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
]  # says torch


def test_a_checkpoint_holds_its_state_dict_under_some_name(tmp_path: Path) -> None:
    net = drawn(torch.nn.GRU(3, 4))
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.zeros(2, 1, 3))[0].sum().backward()
    optimizer.step()
    state = net.state_dict()
    checkpoint = {
        "epoch": 3,
        "optimizer": optimizer.state_dict(),
        "config": {
            "lr": 1e-3,
            "sizes": (3, 4),
            "device": torch.device("cuda", 0),
            "dtype": torch.float32,
            "tags": {"a"},
        },
        "vocabulary": {"天": 0, "b": 1},
        "shape": torch.Size([3, 4]),
        "bytes": b"\x00\xff",
        "seed": 2**63,
        "loss": torch.tensor(0.25),
        "rng": torch.get_rng_state(),
    }
    for name in ("state_dict", "model_state_dict", "model"):
        path = write(checkpoint | {name: state, "ema": state}, tmp_path / "a.pt")
        with pytest.warns(ModelFileWarning, match="these tensors are meant, not those of 'ema'"):
            assert_computes(torch_files.load(path), net)
        assert_computes(torch_files.load(path, part=name), net)
        assert torch_files.read(path).part == name
        assert torch_files.read(path, part="ema").keys() == state.keys()
        with pytest.raises(ModelFileError, match="has no part 'state'"):
            torch_files.load(path, part="state")
    path = write({"a": {"deep": state}, "n": 3}, tmp_path / "a.pt")
    assert torch_files.read(path).part == "a.deep"
    path = write({"generator": state, "critic": state}, tmp_path / "a.pt")
    with pytest.raises(ModelFileError, match=r"it holds 'generator', 'critic': name one, part="):
        torch_files.load(path)
    with pytest.raises(ModelFileError, match="it holds no tensors by name"):
        torch_files.load(write([1, 2], tmp_path / "a.pt"))
    with pytest.raises(ModelFileError, match="part 'model_state_dict': its modules are no chain"):
        torch_files.load(write({"model_state_dict": torch.nn.Conv2d(2, 2, 1).state_dict()}, tmp_path / "a.pt"))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_is_beside_the_tensors_is_skipped(protocol: int, tmp_path: Path) -> None:
    """As torch itself lays it out: a parameter of odd kinds, a whole module, arguments of a program."""
    net = drawn(torch.nn.GRU(3, 4))
    checkpoint = {
        "args": argparse.Namespace(lr=1e-3, out=tmp_path, device=torch.device("cpu"), best=torch.tensor(0.5)),
        "model_state_dict": net.state_dict(),
        "net": torch.nn.Linear(2, 2),
        "scaler": functools.partial(torch.nn.functional.relu, inplace=True),
        "complex": torch.ones(2, dtype=torch.complex64),
        "sparse": torch.eye(3).to_sparse(),
        "unsigned": torch.ones(2, dtype=torch.uint16),
        "mean": np.float64(0.5),
        "array": np.arange(3),
        torch.float32: "a key that is no string",
    }
    torch.save(checkpoint, tmp_path / "a.pt", pickle_protocol=protocol)
    with pytest.warns(ModelFileWarning, match="these tensors are meant, not those of 'net'"):
        assert_computes(torch_files.load(tmp_path / "a.pt"), net)
    assert_computes(torch_files.load(tmp_path / "a.pt", part="model_state_dict"), net)
    assert_computes(torch_files.load(tmp_path / "a.pt", part="net"), checkpoint["net"])
    state = dict(net.state_dict())
    state["bias_hh_l0"] = state["bias_hh_l0"].to_sparse()
    torch.save(state, tmp_path / "a.pt", pickle_protocol=protocol)
    with pytest.raises(
        ModelFileError, match=r"bias_hh_l0 of '' must be a tensor; it is an object of class 'torch\._uti"
    ):
        torch_files.load(tmp_path / "a.pt")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_of_pickle(protocol: int, tmp_path: Path) -> None:
    state = drawn(torch.nn.GRU(3, 4)).state_dict() | {"extra": torch.nn.Parameter(torch.ones(2))}
    torch.save(
        {"state_dict": state, "bytes": b"abc", "set": {1}, "long": "x" * 300},
        tmp_path / "a.pt",
        pickle_protocol=protocol,
    )
    arrays = torch_files.read(tmp_path / "a.pt")
    assert arrays.keys() == state.keys()
    assert all((arrays[name] == tensor.detach().numpy()).all() for name, tensor in state.items())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@every_ending
def test_half_precision_becomes_float32(dtype: str, ending: str, tmp_path: Path) -> None:
    net = drawn(torch.nn.GRU(3, 4, bidirectional=True)).to(getattr(torch, dtype))
    path = write(net.state_dict(), tmp_path / f"a{ending}")
    layer = torch_files.load(path)
    assert layer.bound.dtype == np.float32
    assert_computes(layer, net.float())
    assert torch_files.read(path)["weight_ih_l0"].dtype == (np.float16 if dtype == "float16" else np.float32)


def test_all_dtypes_are_read_and_only_floats_become_weights(tmp_path: Path) -> None:
    names = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
    state = {name: torch.tensor([[0, 1], [1, 0]]).to(getattr(torch, name)) for name in names}
    state["scalar"], state["empty"] = torch.tensor(5), torch.zeros(0, 3)
    for ending in ENDINGS:
        arrays = torch_files.read(write(state, tmp_path / f"a{ending}"))
        assert arrays.keys() == state.keys()
        for name, tensor in state.items():
            wanted = tensor.float() if name == "bfloat16" else tensor
            assert arrays[name].dtype == wanted.numpy().dtype
            assert (arrays[name] == wanted.numpy()).all()
            assert arrays[name].shape == tuple(tensor.shape)
        path = write({"weight": torch.ones(2, 3, dtype=torch.int8)}, tmp_path / f"a{ending}")
        with pytest.raises(ModelFileError, match=r"'weight' of '' must be of floating point; it is I8"):
            torch_files.load(path)


def test_views_shared_storages_and_layouts_of_every_kind(tmp_path: Path) -> None:
    flat = torch.randn(100)
    state = {
        "transposed": flat[:12].view(3, 4).T,
        "strided": flat[10:50:3],
        "offset": flat[90:],
        "again": flat[90:],
        "permuted": flat[:24].view(2, 3, 4).permute(2, 0, 1),
        "diagonal": flat[:16].view(4, 4).diagonal(),
        "channels last": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "scalar": flat[7],
    }
    arrays = torch_files.read(write(state, tmp_path / "a.pt"))
    for name, tensor in state.items():
        assert (arrays[name] == tensor.numpy()).all(), name


def test_a_state_dict_of_parameters_is_read(tmp_path: Path) -> None:
    net = drawn(torch.nn.GRU(3, 4))
    layer = torch_files.load(write(dict(net.named_parameters()), tmp_path / "a.pt"))
    assert_computes(layer, net)


def repacked(path: Path, change: Callable[[str, bytes], bytes | None], **options: Any) -> Path:
    """The zip file with every entry gone through ``change``, which leaves out those it gives None for."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: change(name, archive.read(name)) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in entries.items():
            if content is not None:
                archive.writestr(name, content)
    return path


def test_numbers_written_big_endian(tmp_path: Path) -> None:
    net = drawn(torch.nn.GRU(3, 4))
    path = write(net.state_dict(), tmp_path / "a.pt")

    def swapped(name: str, content: bytes) -> bytes:
        if name.endswith("/byteorder"):
            return b"big"
        return np.frombuffer(content, "<f4").astype(">f4").tobytes() if "/data/" in name else content

    repacked(path, swapped)
    assert_computes(torch_files.load(path), net)
    repacked(path, lambda name, content: b"middle" if name.endswith("/byteorder") else content)
    with pytest.raises(ModelFileError, match="byteorder must be little or big"):
        torch_files.load(path)


def test_a_file_of_older_torch_has_no_byteorder_and_one_repacked_is_deflated(tmp_path: Path) -> None:
    net = drawn(torch.nn.GRU(3, 4))
    path = write(net.state_dict(), tmp_path / "a.pt")
    repacked(path, lambda name, content: content if "data" in name else None, compression=zipfile.ZIP_DEFLATED)
    assert_computes(torch_files.load(path), net)


def test_a_file_without_checksums_is_read(tmp_path: Path) -> None:
    net = drawn(torch.nn.GRU(3, 4))
    torch.serialization.set_crc32_options(False)
    try:
        path = write(net.state_dict(), tmp_path / "a.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert_computes(torch_files.load(path), net)


def test_what_is_no_model_of_torch_is_told_what_to_do(tmp_path: Path) -> None:
    torch.save(argparse.Namespace(model=None), tmp_path / "a.pt")
    with pytest.raises(
        ModelFileError, match=r"an object of class 'argparse.Namespace'\. .*torch.save\(model.state_dict"
    ):
        torch_files.load(tmp_path / "a.pt")
    with pytest.raises(ModelFileError, match="cannot be read"):
        torch_files.load(tmp_path / "none.pt")


def test_a_recurrent_module_that_is_not_whole_is_named(tmp_path: Path) -> None:
    state = torch.nn.LSTM(3, 4, 2, bidirectional=True).state_dict()
    path = tmp_path / "a.pt"

    def refused(change: Callable[[dict[str, Any]], Any]) -> str:
        changed = dict(state)
        change(changed)
        with pytest.raises(ModelFileError) as caught:
            torch_files.load(write(changed, path))
        return str(caught.value)

    assert "bias_hh_l1 of '', an nn.LSTM, must have shape (16,); it is missing" in refused(
        lambda s: s.pop("bias_hh_l1")
    )
    assert "weight_hh_l1 of '', an nn.LSTM, must have shape (16, 4); it has (16, 5)" in refused(
        lambda s: s.update(weight_hh_l1=torch.ones(16, 5))
    )
    assert "weight_hr_l1 of '', an nn.LSTM, must not be there; it has (4, 4)" in refused(
        lambda s: s.update(weight_hr_l1=torch.ones(4, 4))
    )
    assert "unknown" in refused(lambda s: s.update(weight_hh_l0_g=torch.ones(1)))
    assert "weight 0.W must be finite" in refused(lambda s: s.update(weight_ih_l0=torch.full((16, 3), torch.nan)))


@every_ending
def test_a_projection_that_is_not_one_is_named(ending: str, tmp_path: Path) -> None:
    state = torch.nn.LSTM(3, 4, 2, bidirectional=True, proj_size=2).state_dict()
    path = tmp_path / f"a{ending}"

    def refused(**change: Any) -> str:
        changed = {name: tensor for name, tensor in (state | change).items() if tensor is not None}
        with pytest.raises(ModelFileError) as caught:
            torch_files.load(write(changed, path))
        return str(caught.value)

    assert "weight_hr_l1_reverse of '', an nn.LSTM, must have shape (2, 4); it is missing" in refused(
        weight_hr_l1_reverse=None
    )
    assert "weight_hr_l1 of '', an nn.LSTM, must have shape (2, 4); it has (4, 2)" in refused(
        weight_hr_l1=torch.ones(4, 2)
    )
    assert "weight_ih_l1 of '', an nn.LSTM, must have shape (16, 4); it has (16, 8)" in refused(
        weight_ih_l1=torch.ones(16, 8)
    )
    assert "unknown" in refused(weight_hr_l0=torch.ones(2, 5))  # 16 rows are no multiple of 5
    wider = {name: torch.ones(16, 6) for name in state if name.startswith("weight_hh")}
    wider |= {name: torch.ones(6, 4) for name in state if name.startswith("weight_hr")}
    assert "unknown" in refused(**wider)
    gru = {f"{name}_l0": torch.ones(*shape) for name, shape in (("weight_ih", (9, 2)), ("weight_hh", (9, 2)))}
    with pytest.raises(ModelFileError, match="unknown"):
        torch_files.load(write(gru | {"weight_hr_l0": torch.ones(2, 3)}, path))


def test_arguments_that_make_no_sense_are_refused_first(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nonlinearity must be tanh or relu; got 'sigmoid'"):
        torch_files.load(tmp_path / "none.pt", nonlinearity="sigmoid")
    for modules in ("gru", (), ("a", "a")):
        with pytest.raises(ValueError, match="modules must be the paths of different modules"):
            torch_files.load(tmp_path / "none.pt", modules=modules)

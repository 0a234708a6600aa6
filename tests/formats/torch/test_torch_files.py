"""Modules of torch's, read without torch and held against it: the same numbers out."""

from collections import OrderedDict
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch_modules import (
    ENDINGS,
    KINDS,
    B,
    Net,
    an_input,
    assert_computes,
    drawn,
    every_ending,
    of_torch,
    off,
    recurrent,
    torch,
    width_of,
    write,
)

from minirnn import Embedding, Linear, ModelFileError, ModelFileWarning, Sequential
from minirnn.formats import torch as torch_files

pytestmark = [
    pytest.mark.extras,
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
]  # says torch


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that Hypothesis's examples may share."""
    return tmp_path_factory.mktemp("torch")


@given(recurrent(), st.sampled_from(ENDINGS), st.sampled_from(["float32", "float64"]), st.integers(0, 2**32))
def test_any_recurrent_module_computes_the_same_here(
    folder: Path, made: tuple[Any, str], ending: str, dtype: str, seed: int
) -> None:
    module, nonlinearity = made
    drawn(module, dtype, seed)
    layer = torch_files.load(write(module.state_dict(), folder / f"a{ending}"), nonlinearity=nonlinearity)
    assert type(layer).__name__ == type(module).__name__
    assert layer.bound.dtype.name == dtype
    assert layer.output_size == width_of(module)
    assert_computes(layer, module)


@given(st.data(), st.sampled_from(ENDINGS), st.sampled_from(["float32", "float64"]), st.integers(0, 2**32))
def test_any_chain_of_modules_computes_the_same_here(
    folder: Path, data: st.DataObject, ending: str, dtype: str, seed: int
) -> None:
    size = st.integers(1, 4)
    D, modules = data.draw(size), {}
    if data.draw(st.booleans(), "embedding"):
        modules["z_embedding"] = torch.nn.Embedding(data.draw(size), D)
    module, nonlinearity = data.draw(recurrent(D))
    modules["rnn"] = module
    width = width_of(module)
    if data.draw(st.booleans(), "linear"):
        modules["fc"] = torch.nn.Linear(width, data.draw(size), bias=data.draw(st.booleans()))
    net = drawn(Net(**modules), dtype, seed)
    path = write(net.state_dict(), folder / f"a{ending}")
    layer = torch_files.load(path, nonlinearity=nonlinearity, modules=list(modules))
    assert_computes(layer, net)
    assert len(layer) == len(modules) if isinstance(layer, Sequential) else len(modules) == 1
    if ending != ".safetensors":  # whose order is that of the definition
        joins = module.bidirectional and "fc" in modules  # final states, perhaps
        with pytest.warns(ModelFileWarning, match="both directions of 'rnn'") if joins else nullcontext():
            assert_computes(torch_files.load(path, nonlinearity=nonlinearity), net)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@every_ending
def test_a_cell_is_a_layer_of_one_step(kind: str, ending: str, *, bias: bool, tmp_path: Path) -> None:
    cell = drawn(getattr(torch.nn, f"{kind}Cell")(3, 5, bias=bias))
    layer = torch_files.load(write(cell.state_dict(), tmp_path / f"a{ending}"))
    x, state = an_input(layer), torch.zeros(B, 5)
    state = (state, state) if kind == "LSTM" else state
    with torch.no_grad():
        for row in torch.tensor(x):
            state = cell(row, state)
    assert off(layer(x)[0][-1], (state[0] if kind == "LSTM" else state).numpy()) < 1


@every_ending
def test_modules_alone(ending: str, tmp_path: Path) -> None:
    embedding, linear = drawn(torch.nn.Embedding(7, 3)), drawn(torch.nn.Linear(4, 3))
    layer = torch_files.load(write(embedding.state_dict(), tmp_path / f"e{ending}"))
    assert isinstance(layer, Embedding)
    assert_computes(layer, embedding)
    layer = torch_files.load(write(linear.state_dict(), tmp_path / f"l{ending}"))
    assert isinstance(layer, Linear)
    assert_computes(layer, linear)


@every_ending
def test_kinds_says_that_a_matrix_is_a_linear_layer(ending: str, tmp_path: Path) -> None:
    net = drawn(Net(enter=torch.nn.Linear(3, 3, bias=False), gru=torch.nn.GRU(3, 2)))
    path = write(net.state_dict(), tmp_path / f"a{ending}")
    taken = torch_files.load(path)
    assert isinstance(taken, Sequential)
    assert isinstance(taken[0], Embedding)
    with pytest.warns(ModelFileWarning, match="nothing stands between 'enter' and 'gru'"):
        assert_computes(torch_files.load(path, kinds={"enter": "Linear"}), net)
    assert_computes(torch_files.load(path, kinds={"enter": "Linear"}, modules=["enter", "gru"]), net)
    with pytest.raises(ModelFileError, match=r"'gru' GRU 3 -> 2 is no 'Linear'"):
        torch_files.load(path, kinds={"gru": "Linear"})


def test_a_matrix_that_only_fits_as_a_linear_layer_is_one(tmp_path: Path) -> None:
    net = drawn(Net(enter=torch.nn.Linear(5, 3, bias=False), gru=torch.nn.GRU(3, 2)))
    layer = torch_files.load(write(net.state_dict(), tmp_path / "a.pt"), modules=["enter", "gru"])
    assert_computes(layer, net)


def test_the_one_order_in_which_widths_fit_is_found(tmp_path: Path) -> None:
    net = drawn(
        Net(
            words=torch.nn.Embedding(9, 3),
            second=torch.nn.GRU(3, 4, bidirectional=True),
            first=torch.nn.LSTM(8, 5),
            decoder=torch.nn.Linear(5, 2),
        )
    )
    layer = torch_files.load(write(net.state_dict(), tmp_path / "a.safetensors"))
    assert_computes(layer, net)
    odd = OrderedDict(reversed(net.state_dict().items()))  # a file whose own order does not fit
    with pytest.warns(ModelFileWarning, match="in the only order in which their widths fit, which is not that of the"):
        assert_computes(torch_files.load(write(odd, tmp_path / "a.pt")), net)


def test_where_widths_fit_in_two_orders_the_user_is_asked(tmp_path: Path) -> None:
    net = drawn(Net(b=torch.nn.GRU(3, 3), a=torch.nn.LSTM(3, 3)))
    path = write(net.state_dict(), tmp_path / "a.safetensors")
    with pytest.raises(ModelFileError, match=r"in more than one order.*modules=.*'a' LSTM 3 -> 3; 'b' GRU 3 -> 3"):
        torch_files.load(path)
    assert_computes(torch_files.load(path, modules=("b", "a")), net)
    with pytest.warns(ModelFileWarning, match="'b' computes before 'a', as the file lists them; widths allow either"):
        assert_computes(torch_files.load(write(net.state_dict(), tmp_path / "a.pt")), net)


@pytest.mark.parametrize("prefix", ["", "body."])
def test_an_nn_sequential_goes_by_its_numbers(prefix: str, tmp_path: Path) -> None:
    modules = [torch.nn.Linear(3, 3), torch.nn.Tanh(), *(torch.nn.Linear(3, 3) for _ in range(10))]
    net = drawn(torch.nn.Sequential(*modules))
    state = {prefix + name: tensor for name, tensor in net.state_dict().items()}
    with pytest.warns(ModelFileWarning, match=r"though '(body\.)?1' is missing there"):
        layer = torch_files.load(write(state, tmp_path / "a.safetensors"))
    assert isinstance(layer, Sequential)
    got = [child.weight("b") for child in layer.layers]
    assert all((a == m.bias.detach().numpy()).all() for a, m in zip(got, [modules[0], *modules[2:]], strict=True))


@every_ending
def test_part_of_a_file_is_taken_by_name(ending: str, tmp_path: Path) -> None:
    net = drawn(
        Net(
            embedding=torch.nn.Embedding(6, 3),
            lstm=torch.nn.LSTM(3, 4),
            norm=torch.nn.Conv2d(4, 4, 1),
            fc=torch.nn.Linear(4, 2),
        )
    )
    path = write(net.state_dict(), tmp_path / f"a{ending}")
    with pytest.raises(ModelFileError) as caught:
        torch_files.load(path)
    for words in ("'lstm' LSTM 3 -> 4", "'norm' unknown, with", "'embedding' Embedding 6 -> 3", "modules="):
        assert words in str(caught.value)
    assert_computes(torch_files.load(path, prefix="lstm"), net.lstm)
    assert_computes(torch_files.load(path, prefix="lstm."), net.lstm)
    assert_computes(torch_files.load(path, modules=["lstm"]), net.lstm)
    whole = torch_files.load(path, modules=("embedding", "lstm", "fc"))
    x = an_input(whole)
    assert off(whole(x)[0], of_torch(Net(a=net.embedding, b=net.lstm, c=net.fc), x)) < 1
    with pytest.raises(
        ModelFileError, match=r"do not fit one after another. There are 'lstm' LSTM 3 -> 4; 'embedding'"
    ):
        torch_files.load(path, modules=("lstm", "embedding"))
    with pytest.raises(
        ModelFileError, match=r"no module 'gru'; it has 'embedding', 'fc', 'lstm', 'norm'|'embedding', 'lstm'"
    ):
        torch_files.load(path, modules=("gru",))
    with pytest.raises(ModelFileError, match="no tensors under 'gru'"):
        torch_files.load(path, prefix="gru")


def test_arrays_in_memory_and_tensors_in_memory(tmp_path: Path) -> None:
    net = drawn(Net(emb=torch.nn.Embedding(6, 3), gru=torch.nn.GRU(3, 4)))
    assert_computes(torch_files.from_state_dict(net.state_dict()), net)
    for ending in ENDINGS:
        arrays = torch_files.read(write(net.state_dict(), tmp_path / f"a{ending}"))
        assert list(arrays) == (list if arrays.ordered else sorted)(net.state_dict())
        for name, tensor in net.state_dict().items():
            assert arrays[name].tobytes() == tensor.numpy().tobytes()
        assert_computes(torch_files.from_state_dict(arrays), net)

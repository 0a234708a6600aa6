"""Files of torch's, read and written without torch, held against torch: the same numbers in, the same numbers out."""

import argparse
import functools
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import minirnn
from minirnn import (
    GRU,
    LSTM,
    RNN,
    Bidirectional,
    Dropout,
    Embedding,
    Last,
    Layer,
    Linear,
    ModelFileError,
    ModelFileWarning,
    Recurrent,
    Reverse,
    Sequential,
)
from minirnn.cells import LSTMCell
from minirnn.formats import torch as torch_files
from minirnn.language.model import LanguageModel
from minirnn.language.text import UNKNOWN, Vocabulary

torch: Any = pytest.importorskip(
    "torch", reason="the extra 'oracles' (torch) is not installed: its files are not compared with it"
)
from safetensors.torch import load_file, save_file  # noqa: E402 - needs torch

torch.set_num_threads(1)
pytestmark = [
    pytest.mark.extras,
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
]  # says torch

Array: TypeAlias = NDArray[Any]
T, B = 4, 2
KINDS = ["RNN", "GRU", "LSTM"]
ENDINGS = [".pt", ".pth", ".safetensors"]
every_ending = pytest.mark.parametrize("ending", ENDINGS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that Hypothesis's examples may share."""
    return tmp_path_factory.mktemp("torch")


# ---------------------------------------------------------------------- networks of torch's


class Net(torch.nn.Module):  # type: ignore[misc]  # torch is Any here
    """Modules one after another, as attributes by name."""

    def __init__(self, **modules: Any) -> None:
        super().__init__()
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x: Any) -> Any:
        for module in self.children():
            x = module(x)
            x = x[0] if isinstance(x, tuple) else x
        return x


def drawn(module: Any, dtype: str = "float32", seed: int = 0) -> Any:
    """The module with every parameter drawn, so that none can take another's place unseen."""
    module = module.to(getattr(torch, dtype)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.6 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return module


def write(state: Any, path: Path) -> Path:
    save_file(dict(state), path) if path.suffix == ".safetensors" else torch.save(state, path)
    return path


def an_input(layer: Layer) -> Array:
    rng = np.random.default_rng(1)
    if layer.floats:
        return rng.normal(size=(T, B, layer.input_size or 0)).astype(layer.bound.dtype)
    return rng.integers(0, layer.input_size or 0, (T, B))


def of_torch(module: Any, x: Array) -> Array:
    with torch.no_grad():
        y = module(torch.tensor(x))
    found: Array = (y[0] if isinstance(y, tuple) else y).numpy()
    return found


def off(a: Array, b: Array) -> float:
    """How far apart two outputs are, as a part of the tolerance of their dtype."""
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    tolerance = 2e-6 if a.dtype == np.float32 else 1e-13
    return float(np.abs(a - b).max() / max(1.0, np.abs(b).max()) / tolerance)


def assert_computes(layer: Layer, module: Any) -> None:
    x = an_input(layer)
    assert off(layer(x)[0], of_torch(module, x)) < 1


@st.composite
def recurrent(draw: st.DrawFn, input_size: int | None = None) -> tuple[Any, str]:
    """A recurrent module of torch's, and its nonlinearity."""
    kind, size = draw(st.sampled_from(KINDS)), st.integers(1, 4)
    options: dict[str, Any] = {
        "num_layers": draw(st.integers(1, 3)),
        "bidirectional": draw(st.booleans()),
        "bias": draw(st.booleans()),
    }
    nonlinearity = draw(st.sampled_from(["tanh", "relu"]))
    H = draw(size)
    if kind == "RNN":
        options["nonlinearity"] = nonlinearity
    elif kind == "LSTM":
        options["proj_size"] = draw(st.integers(0, H - 1))
    return getattr(torch.nn, kind)(input_size or draw(size), H, **options), nonlinearity


def width_of(module: Any) -> int:
    """Features that a recurrent module puts out."""
    width: int = (module.proj_size or module.hidden_size) * (2 if module.bidirectional else 1)
    return width


# ---------------------------------------------------------------------- from torch


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


# ---------------------------------------------------------------------- to torch


@st.composite
def models(draw: st.DrawFn) -> tuple[Layer, Callable[[], Any], bool]:
    """A model of ours, the torch module whose weights it can give, and whether its recurrent part has biases."""
    size, kind = st.integers(1, 4), draw(st.sampled_from(KINDS))
    D, H, depth, both = draw(size), draw(size), draw(st.integers(1, 3)), draw(st.booleans())
    options: dict[str, Any] = {"bidirectional": both}
    if kind == "RNN":
        options["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
    elif kind == "LSTM":
        options["proj_size"] = draw(st.integers(0, H - 1))
    n, out, bias, biases = draw(size), draw(size), draw(st.booleans()), draw(st.booleans())
    makers: dict[str, Any] = {"RNN": RNN, "GRU": GRU, "LSTM": LSTM}
    one = makers[kind](D, H, depth, **options)
    width = one.output_size

    def module() -> Any:
        return getattr(torch.nn, kind)(D, H, depth, bias=biases, **options)

    if draw(st.booleans()):
        return one, module, biases
    model = Sequential(Embedding(n, D), one, Dropout(0.5), Linear(width, out, bias=bias))

    def whole() -> Any:
        linear = torch.nn.Linear(width, out, bias=bias)
        return torch.nn.Sequential(torch.nn.Embedding(n, D), module(), torch.nn.Dropout(), linear)

    return model, whole, biases


def ready(model: Layer, dtype: str = "float32", seed: int = 0) -> Layer:
    model.init(dtype=dtype, overwrite=True)
    rng = np.random.default_rng(seed)
    for w in model.named_weights().values():
        w[...] = rng.normal(0, 0.6, w.shape)
    return model


@contextmanager
def saying_what_is_lost(model: Layer) -> Iterator[None]:
    """Writing torch's names warns where the model has what a state dict has no place for, and only there."""
    plain = any(isinstance(layer, (Dropout, Last)) for layer in model.walk())
    lost = plain or any(getattr(layer, "nonlinearity", "tanh") == "relu" for layer in model.walk())
    with pytest.warns(ModelFileWarning, match="weights and nothing else: without") if lost else nullcontext():
        yield


@given(models(), st.sampled_from(ENDINGS), st.sampled_from(["float32", "float64"]), st.integers(0, 2**32))
def test_any_model_goes_to_torch_and_comes_back(
    folder: Path, made: tuple[Layer, Callable[[], Any], bool], ending: str, dtype: str, seed: int
) -> None:
    model, module, biases = made
    ready(model, dtype, seed)
    recurrent = next(layer for layer in model.walk() if isinstance(layer, Recurrent))
    for name, w in recurrent.named_weights().items():
        if not biases and name.rpartition(".")[2] in ("b", "bn"):
            w[...] = 0
            recurrent.freeze(name)
    path = folder / f"b{ending}"
    with saying_what_is_lost(model):
        torch_files.save(model, path)
    state = load_file(path) if ending == ".safetensors" else torch.load(path, weights_only=True)
    theirs = module().to(getattr(torch, dtype)).eval()
    theirs.load_state_dict(state, strict=True)
    net = Net(**dict(theirs.named_children())) if isinstance(theirs, torch.nn.Sequential) else theirs
    assert_computes(model, net)
    modules = ["0", "1", "3"] if isinstance(model, Sequential) else None  # between which nothing but Dropout is missing
    back = torch_files.load(path, nonlinearity=getattr(recurrent, "nonlinearity", "tanh"), modules=modules)
    assert len(back.bound.frozen) == len(model.bound.frozen)
    for (name, w), other in zip(model.named_weights().items(), back.named_weights().values(), strict=True):
        assert other.tobytes() == w.tobytes(), name  # under other names where Dropout is not there
    fresh = module().to(getattr(torch, dtype)).eval()
    with saying_what_is_lost(model):
        fresh.load_state_dict(torch_files.to_torch(model), strict=True)
    for name, tensor in theirs.state_dict().items():
        assert fresh.state_dict()[name].equal(tensor), name


def test_names_are_those_of_a_modules_attributes(tmp_path: Path) -> None:
    class Tagger(Net):
        def __init__(self) -> None:
            super().__init__(embedding=torch.nn.Embedding(6, 3), gru=torch.nn.GRU(3, 4), fc=torch.nn.Linear(4, 2))

    model = ready(Sequential(Embedding(6, 3), GRU(3, 4), Linear(4, 2)))
    for ending in ENDINGS:
        torch_files.save(model, tmp_path / f"a{ending}", names=("embedding", "gru", "fc"))
        net = Tagger()
        state = load_file(tmp_path / "a.safetensors") if ending == ".safetensors" else torch.load(tmp_path / "a.pt")
        net.load_state_dict(state, strict=True)
        assert_computes(model, net)
    net = Tagger()
    net.load_state_dict(torch_files.to_torch(model, names=("embedding", "gru", "fc")), strict=True)
    assert_computes(model, net)
    for names in (("embedding", "gru"), ("a", "a", "b"), ("a", "b", "c", "d"), "abc", ("a", "", "c")):
        with pytest.raises(ValueError, match="names must be 3 different names"):
            torch_files.arrays_of(model, names=names)


def test_one_layer_can_have_a_name_too() -> None:
    assert list(torch_files.arrays_of(ready(Linear(2, 3)), names=("fc",))) == ["fc.weight", "fc.bias"]
    assert list(torch_files.arrays_of(ready(Linear(2, 3)))) == ["weight", "bias"]


def test_a_bidirectional_of_two_like_layers_is_one_module(tmp_path: Path) -> None:
    model = ready(Bidirectional(LSTM(3, 4)))
    module = torch.nn.LSTM(3, 4, bidirectional=True)
    module.load_state_dict(torch_files.to_torch(model), strict=True)
    assert_computes(model, module)


@pytest.mark.parametrize("proj_size", [0, 2])
@pytest.mark.parametrize("kind", KINDS)
@every_ending
def test_a_module_without_biases_comes_back_without(kind: str, ending: str, proj_size: int, tmp_path: Path) -> None:
    options = {"proj_size": proj_size} if kind == "LSTM" else {}
    module = drawn(getattr(torch.nn, kind)(3, 4, 2, bias=False, bidirectional=True, **options))
    layer = torch_files.load(write(module.state_dict(), tmp_path / f"a{ending}"))
    arrays = torch_files.arrays_of(layer)
    assert list(arrays) == list(module.state_dict())  # in the same order
    for name, tensor in module.state_dict().items():
        assert arrays[name].tobytes() == tensor.numpy().tobytes(), name
    bias = next(name for name in layer.named_weights() if name.endswith("b"))
    assert layer.bound.frozen >= {bias}
    layer.named_weights()[bias] = 1  # now it is one with biases
    assert len(torch_files.arrays_of(layer)) == len(arrays) + 2 * len(layer.children())


def test_the_grus_bias_inside_the_reset_product_stays_there() -> None:
    model = ready(GRU(3, 4))
    arrays = torch_files.arrays_of(model)
    assert not arrays["bias_hh_l0"][:8].any()
    assert (arrays["bias_hh_l0"][8:] == model.named_weights()["0.bn"]).all()


def test_tied_weights_stay_tied(tmp_path: Path) -> None:
    embedding = Embedding(6, 4)
    model = ready(Sequential(embedding, GRU(4, 4), Linear(4, 6, tie=embedding)))
    torch_files.save(model, tmp_path / "a.pt")
    assert len([n for n in zipfile.ZipFile(tmp_path / "a.pt").namelist() if "/data/" in n]) == 6  # stored once
    state = torch.load(tmp_path / "a.pt", weights_only=True)
    assert state["0.weight"].data_ptr() == state["2.weight"].data_ptr()
    back = torch_files.load(tmp_path / "a.pt")
    for other in (back, torch_files.from_state_dict(state), torch_files.from_state_dict(torch_files.arrays_of(model))):
        assert isinstance(other, Sequential)
        assert isinstance(other[2], Linear)
        assert other[2].tie is other[0]
        x = an_input(model)
        assert other(x)[0].tobytes() == model(x)[0].tobytes()
    net = Net(e=torch.nn.Embedding(6, 4), g=torch.nn.GRU(4, 4), d=torch.nn.Linear(4, 6))
    net.d.weight = net.e.weight
    net.load_state_dict(torch_files.to_torch(model, names=("e", "g", "d")), strict=True)
    assert_computes(model, net)


def test_a_language_models_network_is_written(tmp_path: Path) -> None:
    lm = LanguageModel.build(Vocabulary([UNKNOWN, "a", "b"]), hidden_size=4, embedding_size=3).init(3)
    torch_files.save(lm, tmp_path / "a.pt")
    assert torch.load(tmp_path / "a.pt").keys() == torch_files.arrays_of(lm.network).keys()


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (GRU(3, 4, reset="before"), r"GRU\(3, 4, reset='before'\)"),
        (LSTM(3, 4, trainable_state=True), r"LSTM\(3, 4, trainable_state=True\)"),
        (Bidirectional(LSTM(3, 4), GRU(3, 4)), r"Bidirectional\( forward: LSTM"),
        (Bidirectional(LSTM(3, 4, 2)), r"Bidirectional\("),
        (Bidirectional(LSTM(3, 4), merge="sum"), r"Bidirectional\( forward: LSTM.*merge='sum'"),
        (Bidirectional(LSTM(3, 4, proj_size=2), LSTM(3, 5, proj_size=2)), r"Bidirectional\("),
        (Reverse(), r"Reverse\("),
        (Bidirectional(Sequential(LSTM(3, 4), Linear(4, 4))), r"Bidirectional\("),
        (Bidirectional(GRU(3, 4, reset="before")), r"Bidirectional\("),
        (Sequential(Linear(3, 3), GRU(3, 4, reset="before")), r"GRU\(3, 4, reset='before'\)"),
        (Recurrent(type("Own", (LSTMCell,), {}), 3, 4), r"Recurrent\(Own, 3, 4\)"),
        (LSTM(3, 4, zoneout=0.1), r"LSTM\(3, 4, zoneout=0.1\): its zoneout goes on in inference"),
        (Bidirectional(GRU(3, 4, zoneout=0.1)), r"Bidirectional\(.*: its zoneout goes on in inference"),
    ],
)
def test_what_torch_has_no_module_for_is_named_before_anything_is_written(
    model: Layer, words: str, tmp_path: Path
) -> None:
    model.init()
    for write_ in (lambda: torch_files.save(model, tmp_path / "a.pt"), lambda: torch_files.to_torch(model)):
        with pytest.raises(ValueError, match=f"torch has no module like {words}"):
            write_()
    assert not list(tmp_path.iterdir())


def test_weights_that_no_file_should_have_are_refused(tmp_path: Path) -> None:
    model = GRU(3, 4).init()
    with pytest.raises(ValueError, match="torch's modules have floating-point weights; got complex128"):
        torch_files.arrays_of(GRU(3, 4).init(backend="numpy", dtype="complex128"))
    with pytest.raises(TypeError, match="got dict"):
        torch_files.arrays_of({})  # type: ignore[arg-type]  # what is tested
    with pytest.raises(ValueError, match="part of a larger one"):
        torch_files.arrays_of(Sequential(GRU(3, 4)).init()[0])
    with pytest.raises(ValueError, match=r"must end in .pt, .pth, .safetensors; got 'model'"):
        torch_files.save(model, "model")
    model.named_weights()["0.W"][0, 0] = np.nan
    for ending in ENDINGS:
        with pytest.raises(ValueError, match=r"weight weight_ih_l0 is not finite"):
            torch_files.save(model, tmp_path / f"a{ending}")
    assert not list(tmp_path.iterdir())


def test_last_and_dropout_are_nothing_to_torch() -> None:
    model = ready(Sequential(LSTM(3, 2), Last(), Dropout(0.5), Linear(2, 1)))
    with saying_what_is_lost(model):
        assert [*torch_files.arrays_of(model)][-2:] == ["3.weight", "3.bias"]


@every_ending
def test_the_same_weights_give_the_same_bytes(ending: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        torch_files.save(ready(GRU(3, 4, 2)), tmp_path / f"{name}{ending}")
    assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()


def test_storages_lie_on_cache_lines_and_can_be_mapped(tmp_path: Path) -> None:
    model = ready(Sequential(Embedding(5, 3), GRU(3, 4), Linear(4, 5)))
    torch_files.save(model, tmp_path / "a.pt")
    data = (tmp_path / "a.pt").read_bytes()
    for name, a in torch_files.arrays_of(model).items():
        assert data.find(a.tobytes()) % 64 == 0, name
    state = torch.load(tmp_path / "a.pt", mmap=True, weights_only=True)
    assert all((state[name].numpy() == a).all() for name, a in torch_files.arrays_of(model).items())
    assert zipfile.ZipFile(tmp_path / "a.pt").testzip() is None


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch_files.save(ready(GRU(3, 4)), tmp_path / "a.pt")
    before = (tmp_path / "a.pt").read_bytes()

    def full(*_: Any, **__: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(OSError, match="no space left"):
        torch_files.save(ready(GRU(3, 5)), tmp_path / "a.pt")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.pt", before)]


def test_without_torch_to_torch_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"to_torch needs torch.*minirnn.formats.torch.save\(model, 'a.pt'\)"):
        torch_files.to_torch(GRU(3, 4).init())


def test_the_public_name_gives_what_torch_loads_strictly() -> None:
    lstm: dict[str, Any] = {"num_layers": 2, "bidirectional": True, "proj_size": 2}
    model = ready(Sequential(Embedding(6, 3), LSTM(3, 5, **lstm), Linear(4, 6)))
    net = Net(e=torch.nn.Embedding(6, 3), r=torch.nn.LSTM(3, 5, **lstm), d=torch.nn.Linear(4, 6))
    net.load_state_dict(minirnn.to_torch(model, names=("e", "r", "d")), strict=True)
    assert_computes(model, net)
    torch.nn.Sequential(*net.children()).load_state_dict(minirnn.to_torch(model), strict=True)
    model.weights[...] = 0  # tensors are copies
    assert all(tensor.any() for name, tensor in net.state_dict().items() if "bias_hh" not in name)


def test_reading_and_writing_import_no_torch(tmp_path: Path) -> None:
    write(drawn(torch.nn.GRU(3, 4)).state_dict(), tmp_path / "a.pt")
    program = (
        "import sys; from minirnn.formats import torch\n"
        "torch.save(torch.load('a.pt'), 'b.pt'); torch.read('b.pt')\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, env={"PYTHONPATH": str(Path.cwd())})


# ---------------------------------------------------------------------- files as they come


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

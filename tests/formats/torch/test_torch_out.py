"""What is written for torch, without torch, and held against it: the same numbers out, and back again."""

import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch_modules import (
    ENDINGS,
    KINDS,
    Net,
    an_input,
    assert_computes,
    drawn,
    every_ending,
    load_file,
    ready,
    torch,
    write,
)

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
    ModelFileWarning,
    Recurrent,
    Reverse,
    Sequential,
)
from minirnn.cells import LSTMCell
from minirnn.formats import torch as torch_files
from minirnn.language.model import LanguageModel
from minirnn.language.text import UNKNOWN, Vocabulary

pytestmark = [
    pytest.mark.extras,
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
]  # says torch


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that Hypothesis's examples may share."""
    return tmp_path_factory.mktemp("torch")


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

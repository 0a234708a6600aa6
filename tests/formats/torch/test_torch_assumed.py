"""What a state dict leaves open: where ``load`` warns, what settles it, and where it stays silent.

The values are torch's own, stored by ``make_torch_cases.py``.
"""

import json
import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from pickled import checkpoint_of
from safetensors.numpy import save_file

import minirnn
from minirnn import (
    GRU,
    LSTM,
    RNN,
    Activation,
    Dropout,
    Embedding,
    Last,
    Layer,
    Linear,
    ModelFileError,
    ModelFileWarning,
    Sequential,
    load,
)
from minirnn.cli.app import main
from minirnn.formats import torch as torch_files
from minirnn.formats.torch import writing as torch_write

Array: TypeAlias = NDArray[Any]

CASES = json.loads(Path(__file__).with_name("torch_cases.json").read_text())["cases"]
ENDINGS = [".pt", ".safetensors"]


def write(state: dict[str, Array], path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        with path.open("wb") as file:
            torch_write.write(state, file)
    return path


def stored(case: dict[str, Any]) -> dict[str, Array]:
    return {
        name: np.array(entry["values"], np.float32).reshape(entry["shape"]) for name, entry in case["state"].items()
    }


def state_of(**layers: Layer) -> dict[str, Array]:
    """The state dict of a module with these attributes; two underscores stand for a dot in a name."""
    rng = np.random.default_rng(0)
    state = {}
    for name, layer in layers.items():
        layer.init(0, backend="numpy")
        path = name.replace("__", ".")
        for key, a in torch_files.arrays_of(layer).items():
            state[f"{path}.{key}"] = rng.normal(size=a.shape).astype(np.float32)
    return state


def assumed(state: dict[str, Array], path: Path, **about: Any) -> str:
    """What is said when this is loaded; "" for nothing."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        load(write(state, path), backend="numpy", **about)
    assert len(seen) <= 1
    return str(seen[0].message) if seen else ""


# ---------------------------------------------------------------------- torch's values


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", CASES)
def test_what_is_said_of_a_file_makes_it_compute_what_torch_computes(name: str, ending: str, tmp_path: Path) -> None:
    case = CASES[name]
    path = write(stored(case), tmp_path / f"a{ending}")
    x = np.array(case["x"])
    model = load(path, backend="numpy", **case["about"])  # silently: warnings are errors here
    y, _ = model(x if x.dtype.kind == "i" else x.astype(np.float32))
    np.testing.assert_allclose(y, np.array(case["y"], np.float32), rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", CASES)
def test_unless_it_is_said_it_is_assumed_aloud_or_refused(name: str, tmp_path: Path) -> None:
    """Without the arguments that the case needs, no wrong number comes without a word."""
    case = CASES[name]
    path = write(stored(case), tmp_path / "a.pt")
    x = np.array(case["x"])
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        y, _ = load(path, backend="numpy")(x if x.dtype.kind == "i" else x.astype(np.float32))
    wanted = np.array(case["y"], np.float32)
    assert y.shape != wanted.shape or np.abs(y - wanted).max() > 1e-3
    assert [type(one.message) for one in seen] == [ModelFileWarning]


# ---------------------------------------------------------------------- when there is a warning


def test_the_warning_names_the_line_the_assumptions_and_a_way_out(tmp_path: Path) -> None:
    path = write(state_of(lstm=LSTM(3, 4), head__1=Linear(4, 5), head__4=Linear(5, 2)), tmp_path / "a.pt")
    with pytest.warns(ModelFileWarning) as seen:
        load(path, backend="numpy")
    assert len(seen) == 1
    assert seen[0].filename == __file__
    warning = seen[0].message
    assert isinstance(warning, ModelFileWarning)
    assert warning.details == (
        "nothing stands before 'head.1', though 'head.0' is missing there",
        "nothing stands between 'head.1' and 'head.4', though 'head.2' to 'head.3' are missing there",
    )
    assert str(warning).startswith(f"{path}: the file does not say all that its model computes. Assumed: (1) nothing")
    assert str(warning).endswith("for example modules=['lstm', 'relu', 'head.1', 'relu', 'head.4']")
    with pytest.warns(ModelFileWarning) as seen:
        torch_files.load(path, backend="numpy")
    assert seen[0].filename == __file__
    with pytest.warns(ModelFileWarning) as seen:
        torch_files.from_state_dict(torch_files.read(path), backend="numpy")
    assert seen[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelFileWarning)
        load(path, backend="numpy")


SILENT: dict[str, dict[str, Layer]] = {
    "a language model": {"encoder": Embedding(9, 3), "rnn": LSTM(3, 4), "decoder": Linear(4, 9)},
    "of equal widths": {"encoder": Embedding(4, 4), "rnn": LSTM(4, 4), "decoder": Linear(4, 4)},
    "one module": {"lstm": LSTM(3, 4, 2, bidirectional=True)},
    "a recurrent module and a Linear": {"gru": GRU(3, 4), "fc": Linear(4, 1)},
    "a recurrent module and a head": {"rnn": RNN(3, 4), "head__0": Linear(4, 1)},
    "an encoder that is recurrent": {"encoder": GRU(3, 4), "decoder": Linear(4, 1)},
    "numbers in names": {"lstm1": LSTM(3, 3), "lstm2": LSTM(3, 3), "fc": Linear(3, 1)},
    "an nn.Sequential": {"0": GRU(3, 3), "1": LSTM(3, 3), "2": Linear(3, 2)},
    "blocks": {"block1__rnn": GRU(3, 3), "block2__rnn": GRU(3, 3), "block10__rnn": GRU(3, 3)},
    "directions that go on": {"a": GRU(3, 4, bidirectional=True), "b": GRU(8, 2)},
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", SILENT)
def test_usual_networks_are_loaded_silently(name: str, ending: str, tmp_path: Path) -> None:
    if (name, ending) == ("of equal widths", ".safetensors"):
        with pytest.raises(ModelFileError, match="in more than one order"):
            load(write(state_of(**SILENT[name]), tmp_path / f"a{ending}"))
    else:
        assert assumed(state_of(**SILENT[name]), tmp_path / f"a{ending}") == ""


LOUD: dict[str, tuple[dict[str, Layer], str, str]] = {  # modules, what is assumed, the example
    "a gap": (
        {"lstm": LSTM(3, 4), "head__0": Linear(4, 4), "head__2": Linear(4, 1)},
        "nothing stands between 'head.0' and 'head.2', though 'head.1' is missing there",
        "modules=['lstm', 'head.0', 'relu', 'head.2']",
    ),
    "a gap before": (
        {"lstm": LSTM(3, 4), "head__1": Linear(4, 4)},
        "nothing stands before 'head.1', though 'head.0' is missing there",
        "modules=['lstm', 'relu', 'head.1']",
    ),
    "a gap deep inside": (
        {"net__rnn": GRU(3, 4), "net__out__1__0__fc": Linear(4, 4), "net__out__1__3__fc": Linear(4, 2)},
        "between 'net.out.1.0' and 'net.out.1.3.fc', though 'net.out.1.1' to 'net.out.1.2' are missing",
        "modules=['net.rnn', 'relu', 'net.out.1.0.fc', 'relu', 'net.out.1.3.fc']",
    ),
    "two Linears": (
        {"lstm": LSTM(3, 4), "fc1": Linear(4, 5), "fc2": Linear(5, 1)},
        "nothing stands between 'fc1' and 'fc2', where an activation is usual",
        "modules=['lstm', 'fc1', 'relu', 'fc2']",
    ),
    "a Linear before": (
        {"enter": Linear(3, 4), "lstm": LSTM(4, 5), "fc": Linear(5, 1)},
        "nothing stands between 'enter' and 'lstm', where an activation is usual",
        "modules=['enter', 'relu', 'lstm', 'fc']",
    ),
    "two networks": (
        {"net__encoder__a": GRU(3, 4), "net__decoder__a": GRU(4, 5), "net__decoder__b": Linear(5, 2)},
        "each computing on what the one before it gives (prefix='net.decoder' takes one alone)",
        "",
    ),
    "two recurrent modules": (
        {"encoder_rnn": GRU(3, 4), "decoder_rnn": GRU(4, 5)},
        "'encoder_rnn' and 'decoder_rnn' are parts of one network, each computing on what the one before it gives",
        "modules=['encoder_rnn', 'decoder_rnn']",
    ),
    "rivals": (
        {"actor__rnn": LSTM(3, 4), "actor__out": Linear(4, 6), "critic": Linear(6, 1)},
        "'actor' and 'critic' are parts of one network",
        "",
    ),
    "parts of any names": (
        {"left__rnn": LSTM(3, 4), "right__rnn": LSTM(4, 4), "fc": Linear(4, 1)},
        "'left' and 'right' are parts of one network",
        "",
    ),
    "an order of the file": (
        {"b": GRU(3, 3), "a": LSTM(3, 3)},
        "'b' computes before 'a', as the file lists them; widths allow either",
        "modules=['b', 'a']",
    ),
    "an order of the widths": (
        {"fc": Linear(4, 2), "rnn": GRU(3, 4)},
        "the modules compute in the only order in which their widths fit, which is not that of the file",
        "modules=['rnn', 'fc']",
    ),
    "both directions": (
        {"emb": Embedding(9, 3), "rnn": GRU(3, 4, bidirectional=True), "fc": Linear(8, 2)},
        "'fc' reads both directions of 'rnn' at the same step, not their final states",
        "modules=['emb', 'rnn', 'final', 'fc']",
    ),
}


@pytest.mark.parametrize("name", LOUD)
def test_what_is_assumed_is_said(name: str, tmp_path: Path) -> None:
    layers, words, example = LOUD[name]
    said = assumed(state_of(**layers), tmp_path / "a.pt")
    assert words in said
    assert example in said
    named = [path.replace("__", ".") for path in layers]
    order = ["rnn", "fc"] if name == "an order of the widths" else named
    assert assumed(state_of(**layers), tmp_path / "a.pt", modules=order) == ""  # it is stated now


def test_one_part_of_two_is_loaded_silently(tmp_path: Path) -> None:
    layers = LOUD["two networks"][0]
    assert assumed(state_of(**layers), tmp_path / "a.pt", prefix="net.decoder.") == ""
    assert assumed(state_of(**layers), tmp_path / "a.pt", prefix="net.encoder") == ""
    assert "(prefix='decoder' takes" in assumed(state_of(**layers), tmp_path / "a.pt", prefix="net")


def test_numbers_say_the_order_where_widths_do_not(tmp_path: Path) -> None:
    """safetensors files list names by the alphabet, 10 before 2."""
    rng = np.random.default_rng(0)
    state = {f"rnn{k}.{key}": a for k in (1, 2, 10) for key, a in torch_files.arrays_of(GRU(3, 3).init(k)).items()}
    state |= {f"head.{k}.weight": rng.normal(size=(3, 3)).astype("f4") for k in (0, 1)}
    state |= {f"head.{k}.bias": np.full(3, k, "f4") for k in (0, 1)}
    path = write(state, tmp_path / "a.safetensors")
    with pytest.raises(ModelFileError, match="in more than one order"):  # the head may be before or after
        load(path)
    layers = load(path, modules=["rnn1", "rnn2", "rnn10", "head.0", "head.1"], backend="numpy")
    only = write({name: a for name, a in state.items() if name.startswith("rnn")}, tmp_path / "b.safetensors")
    found = load(only, backend="numpy")
    for layer, other in zip(found.layers, layers.layers, strict=False):
        np.testing.assert_array_equal(layer.weight("0.W"), other.weight("0.W"))


def test_many_assumptions_are_said_in_few_words(tmp_path: Path) -> None:
    words = assumed(state_of(**{f"fc{k}": Linear(2, 2) for k in range(150)}), tmp_path / "a.pt")
    assert "; and 141 more" in words
    assert len(words) < 2000


def test_several_state_dicts_in_a_file_are_told_apart(tmp_path: Path) -> None:
    model = GRU(3, 4).init(0, backend="numpy")
    path = tmp_path / "a.pt"
    path.write_bytes(checkpoint_of({"model": model, "ema": model.to()}))
    with pytest.warns(
        ModelFileWarning, match=r"these tensors are meant, not those of 'ema'.*part= names those"
    ) as seen:
        load(path, backend="numpy")
    assert len(seen) == 1
    assert type(load(path, part="model", backend="numpy")) is GRU
    assert type(load(path, part="ema", backend="numpy")) is GRU


# ---------------------------------------------------------------------- modules=


def test_between_modules_stand_layers_by_name_or_themselves(tmp_path: Path) -> None:
    path = write(state_of(rnn=GRU(3, 4, bidirectional=True), fc=Linear(8, 2)), tmp_path / "a.pt")
    middle = Dropout(0.3)
    model = load(path, modules=["relu", "rnn", middle, "final", "relu", Activation("elu", 0.5), "fc", "relu"])
    assert [type(layer) for layer in model.layers] == [
        Activation, GRU, Dropout, Last, Activation, Activation, Linear, Activation,
    ]  # fmt: skip
    assert model[3].bidirectional
    assert model[5].describe() == "Activation('elu', alpha=0.5)"
    assert model[2] is not middle
    assert model[2].p == 0.3
    load(path, modules=["rnn", middle, "fc"])  # the same object again
    minirnn.save(model, tmp_path / "a.safetensors")
    again = load(tmp_path / "a.safetensors")  # minirnn's own file says all: nothing is assumed
    assert again.describe() == model.describe()


def test_a_module_with_the_name_of_an_activation_comes_first(tmp_path: Path) -> None:
    path = write(state_of(rnn=GRU(3, 4), relu=Linear(4, 2), last=Linear(2, 3)), tmp_path / "a.pt")
    model = load(path, modules=["rnn", "relu", "tanh", "last"])
    assert [type(layer) for layer in model.layers] == [GRU, Linear, Activation, Linear]


@pytest.mark.parametrize(
    ("modules", "words"),
    [
        (["relu"], "modules must name modules of"),
        (["rnn", "Relu", "fc"], "no module 'Relu'; it has 'rnn', 'fc'; between modules may stand 'last', 'final', an"),
        (["rnn", "fc", "rnn"], "modules must be the paths of different modules"),
        (["rnn", "fc", "final"], "'final' must follow a recurrent module"),
        (["final", "rnn"], "'final' must follow a recurrent module"),
        (["rnn", Linear(4, 4), "fc"], "a layer of minirnn without weights; got Linear(4, 4)"),
        (["rnn", Sequential(Dropout()), "fc"], "a layer of minirnn without weights; got Sequential"),
        (["rnn", 3], "modules must be the paths of different modules"),
        (["fc", "relu", "rnn"], "they do not fit one after another"),
    ],
)
def test_modules_that_make_no_sense_are_refused(modules: list[Any], words: str, tmp_path: Path) -> None:
    path = write(state_of(rnn=GRU(3, 4), fc=Linear(4, 2)), tmp_path / "a.pt")
    with pytest.raises(ValueError, match=re.escape(words)):
        load(path, modules=modules)


def test_steps_reduced_to_one_are_not_read_as_many(tmp_path: Path) -> None:
    path = write(state_of(a=GRU(3, 4), b=GRU(4, 4)), tmp_path / "a.pt")
    with pytest.raises(ValueError, match="needs steps, and a layer before it has reduced them to one"):
        load(path, modules=["a", "last", "b"])


# ---------------------------------------------------------------------- what is written


def network() -> Sequential:
    return Sequential(
        Embedding(5, 3), GRU(3, 4, 2, dropout=0.2), Dropout(0.1), Last(), Linear(4, 4), Activation("relu"), Linear(4, 2)
    ).init(0, backend="numpy")


LOST = ("GRU's dropout=0.2 (layer 1)", "Dropout(p=0.1) (layer 2)", "Last() (layer 3)", "Activation('relu') (layer 5)")


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_a_state_dict_has_no_place_for_is_said(ending: str, tmp_path: Path) -> None:
    with pytest.warns(
        ModelFileWarning, match="a state dict has weights and nothing else: without GRU's dropout"
    ) as seen:
        torch_files.save(network(), tmp_path / f"a{ending}")
    assert len(seen) == 1
    assert seen[0].filename == __file__
    assert isinstance(seen[0].message, ModelFileWarning)
    assert seen[0].message.details == LOST
    with pytest.warns(ModelFileWarning, match="relu"):
        torch_files.arrays_of(RNN(3, 4, nonlinearity="relu").init(0, backend="numpy"))
    with pytest.warns(ModelFileWarning, match=r"mask=0"):
        torch_files.arrays_of(Embedding(3, 4, mask=0).init(0, backend="numpy"))
    torch_files.arrays_of(Sequential(Embedding(5, 3), RNN(3, 4), Linear(4, 2)).init(0, backend="numpy"))


def invoke(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def options(modules: Iterable[str]) -> list[str]:
    return [word for name in modules for word in ("--module", name)]


def test_convert_says_what_was_assumed_and_what_is_lost(tmp_path: Path) -> None:
    case = CASES["a gap in an nn.Sequential"]
    path, out = write(stored(case), tmp_path / "a.pt"), tmp_path / "b.safetensors"
    result = invoke("convert", path, out)
    assert result.exit_code == 0
    assert result.stderr.startswith(f"minirnn: {path}: the file does not say all that its model computes. Assumed: (1)")
    assert result.stderr.count("\n") == 1
    result = invoke("convert", path, out, *options(case["about"]["modules"]))
    assert (result.exit_code, result.stderr) == (0, "")
    np.testing.assert_allclose(load(out)(np.array(case["x"], "f4"))[0], case["y"], rtol=0, atol=2e-6)
    result = invoke("convert", out, tmp_path / "c.pt")
    assert result.exit_code == 0
    assert result.stderr.count("\n") == 1
    assert "a state dict has weights and nothing else: without Activation('relu') (layer 2)" in result.stderr


def test_inspect_says_what_was_assumed_and_what_no_file_says(tmp_path: Path) -> None:
    case = CASES["a gap in an nn.Sequential"]
    path = write(stored(case), tmp_path / "a.pt")
    gap = "nothing stands between 'head.0' and 'head.3', though 'head.1' to 'head.2' are missing there"
    result = invoke("inspect", path)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert f"assumed: {gap}" in lines
    assert any(line.startswith("modules= (--module) settles it") for line in lines)
    assert any(line.startswith("the file does not say: whether a Linear reads every step") for line in lines)
    record = json.loads(invoke("inspect", path, "--json").stdout)
    assert record["assumed"] == [gap]
    assert record["settled_by"].endswith("modules=['lstm', 'head.0', 'relu', 'head.3']")
    assert len(record["unsaid"]) == 1
    record = json.loads(invoke("inspect", path, "--json", *options(["lstm", "last", "head.0", "head.3"])).stdout)
    assert (record["assumed"], record["unsaid"], record.get("settled_by")) == ([], [], None)
    write(state_of(rnn=RNN(3, 4)), path)
    assert json.loads(invoke("inspect", path, "--json").stdout)["unsaid"] == [
        "whether an nn.RNN has tanh or relu: nonlinearity= says it"
    ]
    minirnn.save(network(), path)
    record = json.loads(invoke("inspect", path, "--json").stdout)
    assert (record["assumed"], record["unsaid"]) == ([], [])  # minirnn's own file states everything

"""Whole modules of torch's, pickled: what is read of them, what is assumed, and that nothing of them runs."""

import builtins
import os
import pickle
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from assumed import said, written
from mutations import unzipped, zipped
from torch_objects import (
    EMBEDDING,
    LINEAR,
    RECURRENT,
    RELU,
    SEQUENTIAL,
    Array,
    Call,
    Made,
    Pickled,
    Raw,
    before_1_6,
    drawn,
    in_zip,
    linear,
    lstm,
    module,
    named,
    scalar,
    state_of,
    tagger,
)

from minirnn import LSTM, Activation, Linear, ModelFileError, ModelFileWarning, Sequential, load
from minirnn.formats import torch as torch_files

WRITERS = {"zip": in_zip, "before 1.6": before_1_6}
both = pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
Write = Callable[[Any], bytes]


ONLY_ORDER = "the modules compute in the only order in which their widths fit, which is not that of the file"


@both
def test_classes_hyperparameters_and_functions_are_read(write: Write, tmp_path: Path) -> None:
    path = written(write(tagger(batch_first=True, dropout=0.25)), tmp_path)
    model, assumed = said(path)
    assert assumed == ()
    assert isinstance(model, Sequential)
    assert [type(layer).__name__ for layer in model.layers] == ["Embedding", "LSTM", "Linear", "Activation", "Linear"]
    assert isinstance(model[1], LSTM)
    assert (model[1].dropout, model.batch_first) == (0.25, True)
    state = state_of(tagger())
    assert {name: a.tobytes() for name, a in torch_files.read(path).items()} == {
        name: a.tobytes() for name, a in state.items()
    }
    alike = torch_files.from_state_dict(state, modules=["emb", "lstm", "head.0", "relu", "head.2"], backend="numpy")
    np.testing.assert_array_equal(model.weights, alike.weights)
    x = np.array([[0, 3, 4], [1, 1, 2]])
    np.testing.assert_array_equal(model(x)[0], alike(x, batch_first=True)[0])
    np.testing.assert_array_equal(load(path, batch_first=False, backend="numpy")(x.T)[0], alike(x.T)[0])
    assert type(load(path, prefix="lstm", backend="numpy")) is LSTM
    assert load(path, prefix="lstm", backend="numpy").batch_first
    named_layers = load(path, modules=["emb", "lstm", "last", "head.0", "head.1", "tanh", "head.2"], backend="numpy")
    assert [layer.function.name for layer in named_layers.walk() if isinstance(layer, Activation)] == ["relu", "tanh"]


@pytest.mark.parametrize(
    ("modules", "words"),
    [
        (
            {"lstm": lstm(3, 4), "fc1": linear(4, 4), "act": module(RELU, {}, {}), "fc2": linear(4, 2)},
            ["'act' (relu) computes in the place where its class lists it"],
        ),
        (
            {"lstm": lstm(3, 4), "fc1": linear(4, 4), "fc2": linear(4, 2)},
            ["nothing stands between 'fc1' and 'fc2', where an activation is usual"],
        ),
        (
            {"fc": linear(4, 2), "act": module(RELU, {}, {}), "lstm": lstm(3, 4)},
            [
                f"{ONLY_ORDER}, and without 'act', whose places are not known",
                "'act' (relu) computes in the place where its class lists it",
            ],
        ),
        (
            {"lstm": lstm(3, 4), "pool": module("a Pool", {}, {}), "fc": linear(4, 2)},
            ["'pool', a Pool without weights, is left out"],
        ),
        (
            {"lstm": lstm(3, 4), "fc": module("mine Dense", {"weight": drawn((2, 4))}, {})},
            ["'fc', a Dense of another's, is what the shapes of its weights suggest"],
        ),
        (
            {"lstm": lstm(3, 4), "out": module("torch.nn.modules.activation Softmax", {}, {}, dim=1)},
            ["'out' is over the features, though it has dim=1", "'out' (softmax) computes in the place where"],
        ),
        (
            {"a": lstm(3, 3, batch_first=True), "b": lstm(3, 4), "fc": linear(4, 2)},
            ["time comes first in all modules, though some of them have batch_first=True"],
        ),
        ({"lstm": lstm(3, 4), "loss": module("torch.nn.modules.loss NLLLoss", {}, {}), "fc": linear(4, 2)}, []),
        ({"lstm": lstm(3, 4), "drop": module("torch.nn.modules.dropout Dropout2d", {}, {}), "fc": linear(4, 2)}, []),
        ({"net": module(SEQUENTIAL, {}, {"0": linear(3, 4), "1": linear(4, 2)})}, []),
    ],
)  # fmt: skip
def test_what_a_class_does_not_say_is_said(modules: dict[str, Any], words: list[str], tmp_path: Path) -> None:
    _, assumed = said(written(in_zip(module("__main__ Net", {}, modules)), tmp_path))
    assert len(assumed) == len(words)
    for one, beginning in zip(assumed, words, strict=True):
        assert one.startswith(beginning)


def test_a_module_within_a_checkpoint_and_within_dataparallel(tmp_path: Path) -> None:
    wrapped = module("torch.nn.parallel.data_parallel DataParallel", {}, {"module": tagger()})
    path = written(in_zip({"epoch": 3, "model": wrapped, "args": Made("argparse Namespace", {"lr": 0.1})}), tmp_path)
    model, assumed = said(path)
    assert (len(model.layers), assumed) == (5, ())  # type: ignore[attr-defined]
    np.testing.assert_array_equal(load(path, part="model", backend="numpy").weights, model.weights)
    load(path, modules=["emb", "lstm", "head.0", "head.1", "head.2"], backend="numpy")
    path = written(in_zip({"generator": tagger(), "critic": linear(4, 2)}), tmp_path)
    with pytest.raises(ModelFileError, match="it holds 'generator', 'critic': name one, part="):
        load(path)
    assert type(load(path, part="critic", backend="numpy")) is Linear
    path = written(in_zip({"state_dict": state_of(linear(4, 2)), "model": tagger()}), tmp_path)
    model, assumed = said(path)
    assert type(model) is Linear
    assert assumed == ("these tensors are meant, not those of 'model'",)


def test_modules_that_are_one_are_tied(tmp_path: Path) -> None:
    weight = drawn((5, 4))
    parts = {"emb": module(EMBEDDING, {"weight": weight}, {}), "lstm": lstm(4, 4)}
    parts["out"] = module(LINEAR, {"weight": weight, "bias": drawn((5,))}, {})
    model, assumed = said(written(in_zip(module("__main__ Net", {}, parts)), tmp_path))
    assert assumed == ()
    assert model.layers[2].tie is model.layers[0]  # type: ignore[attr-defined]


REFUSED: dict[str, tuple[Any, str]] = {
    "sizes that are not those of the weights": (
        module("__main__ Net", {}, {"lstm": lstm(3, 4, hidden_size=5)}),
        "'lstm' has hidden_size=5, and weights of hidden_size=4",
    ),
    "directions that are not those of the weights": (
        tagger(bidirectional=True),
        "'lstm' has bidirectional=True, and weights of bidirectional=False",
    ),
    "another kind than that of the weights": (
        module("__main__ N", {}, {"a": module(f"{RECURRENT} GRU", lstm(3, 4).attributes["_parameters"], {})}),
        "'a' has kind='GRU', and weights of kind='LSTM'",
    ),
    "a flag that is a number": (tagger(batch_first=1), "'lstm' (LSTM): batch_first must be true or false; it is an"),
    "a size that is a string": (tagger(num_layers="1"), "'lstm' (LSTM): num_layers must be an integer; it is a str"),
    "dropout that is none": (tagger(dropout=[]), "'lstm' (LSTM): dropout must be a number; it is a list"),
    "dropout of more than all": (tagger(dropout=1.5), "'lstm' (LSTM): dropout must be from 0 to 1; it is 1.5"),
    "a nonlinearity that there is not": (
        module(f"{RECURRENT} RNN", {"weight_ih_l0": drawn((4, 3))}, {}, nonlinearity="sin"),
        "nonlinearity must be tanh or relu; it is 'sin'",
    ),
    "a slope that is no number": (
        module(SEQUENTIAL, {}, {"0": linear(3, 4), "1": module(
            "torch.nn.modules.activation LeakyReLU", {}, {}, negative_slope="x")}),
        "'1' (LeakyReLU): alpha must be a finite number; got 'x'",
    ),
    "a class of torch's that only looks like a Linear": (
        module("torch.nn.modules.sparse EmbeddingBag", {"weight": drawn((5, 3))}, {}),
        "'' unknown, with 'weight' (5, 3)",
    ),
    "a weight that is no tensor": (
        module(LINEAR, {"weight": drawn((2, 3)), "bias": []}, {}),
        "bias of '' must be a tensor; it is a list",
    ),
    "no weights": (
        module("__main__ Net", {}, {"act": module(RELU, {}, {})}),
        "must hold a model with weights; it holds '__main__.Net', which has none",
    ),
}  # fmt: skip


@both
@pytest.mark.parametrize("name", REFUSED)
def test_a_module_that_is_not_sound_is_named(name: str, write: Write, tmp_path: Path) -> None:
    content, words = REFUSED[name]
    with pytest.raises(ModelFileError) as caught:
        load(written(write(content), tmp_path))
    assert words in str(caught.value)


# ---------------------------------------------------------------------- nothing runs


def planted(command: str) -> dict[str, Any]:
    """Modules that would run ``command`` or do what nobody asked for, each in another way."""
    harmless = linear(3, 2)
    return {
        "os.system in the place of a module": Call("os system", command),
        "os.system in the place of a weight": module(LINEAR, {"weight": Call("os system", command)}, {}),
        "a module made by a function": module("__main__ Net", {}, {"fc": Call("subprocess Popen", [command])}),
        "a __reduce__ with a builtin": Call("builtins eval", f"__import__('os').system({command!r})"),
        "a __reduce__ with exec, and a state": Call("builtins exec", command, state=harmless.attributes),
        "a getattr of a class": Call("builtins getattr", Raw(named("os system")), "__call__"),
        "a class with a __setstate__": Made("test_whole_modules Loaded", harmless.attributes),
        "a class with a descriptor": Made("test_whole_modules Described", (None, harmless.attributes)),
        "a class that is called when it is made": Call("test_whole_modules Loaded", state=harmless.attributes),
        "attributes of a builtin type": Made("builtins dict", {"__class__": Raw(named("os system"))}),
        "attributes of a class itself": Raw(named("builtins type") + b"}" + scalar("mro") + b"Nsb"),
        "a dictionary that is a class of another's": module(
            LINEAR, {"weight": Made("test_whole_modules Entries", {"a": drawn((2, 3))})}, {}
        ),
        "a hook": Made(LINEAR, harmless.attributes | {"_forward_hooks": {0: Call("os system", command)}}),
        "a nonlinearity that is a call": tagger(mode=Call("os system", command)),
        "a persistent id that is a call": Raw(named("os system") + scalar(command) + b"\x85RQ"),
    }  # fmt: skip


class Loaded:
    """Says so when anything of it is used."""

    ran: bool = False

    def __init__(self, *_: Any) -> None:
        Loaded.ran = True

    def __setstate__(self, _: Any) -> None:
        Loaded.ran = True


class Attribute:
    def __set__(self, _: Any, __: Any) -> None:
        Loaded.ran = True


class Described:
    training = _parameters = _modules = Attribute()


class Entries(dict[str, Array]):
    def __setitem__(self, *_: Any) -> None:
        Loaded.ran = True


PLANTED = list(planted(""))


@both
@pytest.mark.parametrize("name", PLANTED)
def test_nothing_of_a_module_runs(name: str, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Loaded, "ran", False)
    path = written(write(planted("echo > ran")[name]), tmp_path)

    def opened() -> None:
        with warnings.catch_warnings(), suppress(ModelFileError):
            warnings.simplefilter("ignore", ModelFileWarning)
            load(path, backend="numpy")

    opened()  # Python imports what it needs for that, by ``exec``
    for word in ("eval", "exec"):
        monkeypatch.setattr(builtins, word, lambda *_: pytest.fail("it was called"))
    monkeypatch.setattr(os, "system", lambda *_: pytest.fail("it was called"))
    monkeypatch.setattr(pickle, "Unpickler", lambda *_: pytest.fail("it was used"))
    opened()
    assert not Loaded.ran
    assert [one.name for one in tmp_path.iterdir()] == ["model.pt"]


@pytest.mark.parametrize("name", ["os.system in the place of a module", "a class with a __setstate__",
                                  "a class with a descriptor", "a __reduce__ with a builtin"])  # fmt: skip
def test_the_same_pickles_would_run_elsewhere(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is planted does run where Python's own machine reads it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Loaded, "ran", False)
    monkeypatch.setitem(sys.modules, "test_whole_modules", sys.modules[__name__])
    value = planted("echo > ran")[name]
    if isinstance(value, Made):  # without weights, which need a storage
        value.attributes = (None, {"training": True}) if isinstance(value.attributes, tuple) else {"training": True}
    pickle.loads(Pickled(value).code)  # noqa: S301 - our own
    assert Loaded.ran or (tmp_path / "ran").exists()


def test_objects_of_one_class_have_attributes_of_their_own(tmp_path: Path) -> None:
    """As in torch's pickles, where a class is named once."""
    two = module("__main__ Net", {}, {"a": lstm(3, 4, dropout=0.1), "b": lstm(4, 4, dropout=0.2)})
    path, name = written(in_zip(two), tmp_path), named(f"{RECURRENT} LSTM")
    code = Pickled(two).code
    first, second = code.find(name), code.rfind(name)
    once = code[:first] + name + b"q\x01" + code[first + len(name) : second] + b"h\x01" + code[second + len(name) :]
    entries = [(entry, once if entry.endswith("data.pkl") else data) for entry, data in unzipped(path.read_bytes())]
    model, _ = said(written(zipped(entries), tmp_path))
    assert [layer.dropout for layer in model.layers] == [0.1, 0.2]  # type: ignore[attr-defined]


def test_what_follows_what_in_sequentials_within_each_other_is_said(tmp_path: Path) -> None:
    inner = module(SEQUENTIAL, {}, {"0": linear(3, 4), "1": linear(4, 4)})
    outer = module(SEQUENTIAL, {}, {"0": inner, "1": linear(4, 3), "2": module("a Net", {}, {"fc": linear(3, 2)})})
    _, assumed = said(written(in_zip(module("__main__ Net", {}, {"net": outer})), tmp_path))
    assert assumed == ("nothing stands between 'net.1' and 'net.2.fc', where an activation is usual",)


# ---------------------------------------------------------------------- the format before 1.6


def changed(change: Callable[[bytes], bytes], tmp_path: Path) -> str:
    data = before_1_6({"weight": drawn((2, 3)), "bias": drawn((2,))})
    with pytest.raises(ModelFileError) as caught:
        load(written(change(data), tmp_path))
    return str(caught.value)


def test_storages_of_the_older_format_are_where_they_are_said_to_be(tmp_path: Path) -> None:
    """Eight bytes with a number of entries stand before each storage, the last two in the file."""
    assert "does not lie in the file" in changed(lambda data: data[:-1], tmp_path)
    assert "does not lie in the file" in changed(lambda data: data[:-40], tmp_path)
    six, two, many = ((n).to_bytes(8, "little") for n in (6, 2, 2**62))
    assert "must have 2 numbers where they lie" in changed(
        lambda data: data.replace(two, (1).to_bytes(8, "little")), tmp_path
    )
    assert "does not lie in the file" in changed(lambda data: data.replace(six, many), tmp_path)
    assert "does not lie in the file" in changed(lambda data: data.replace(six, b"\xff" * 8), tmp_path)
    keys = b"](" + scalar("0") + scalar("1") + b"e."
    assert "must belong to a tensor, and be there once" in changed(
        lambda data: data.replace(keys, b"](" + scalar("0") + scalar("0") + b"e."), tmp_path
    )
    assert "must belong to a tensor" in changed(
        lambda data: data.replace(keys, b"](" + scalar("0") + scalar("2") + b"e."), tmp_path
    )
    assert "must have 2 numbers where they lie" in changed(
        lambda data: data.replace(keys, b"](" + scalar("0") + b"e."), tmp_path
    )
    assert "the keys of storages must be a list" in changed(lambda data: data.replace(keys, b"N."), tmp_path)
    version = scalar(1001)
    assert "the version of the format must be 1001; it is 1002" in changed(
        lambda data: data.replace(version + b".", scalar(1002) + b"."), tmp_path
    )
    assert "the pickle ends too early" in changed(lambda data: data[:100], tmp_path)


def test_a_storage_that_is_part_of_another_is_refused(tmp_path: Path) -> None:
    words = changed(lambda data: data.replace(b"NtQ", b"K\x01tQ", 1), tmp_path)
    assert "a storage must have a key, a number of entries, and be no part of another" in words


def test_a_part_of_the_older_format_is_taken_by_name(tmp_path: Path) -> None:
    path = written(before_1_6({"epoch": 1, "a": state_of(linear(3, 2)), "b": state_of(linear(3, 4))}), tmp_path)
    assert load(path, part="b", backend="numpy").out_features == 4
    with pytest.raises(ModelFileError, match="it holds 'a', 'b': name one, part="):
        load(path)

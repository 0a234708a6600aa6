"""What a file may cost: its sizes are counted before memory is taken, and what is too large to load is not saved."""

import json
import pickle
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structures
from corpora import ready, written
from mutations import unzipped, zipped

from minirnn import Dropout, Last, Layer, Linear, ModelFileError, Sequential, load, save
from minirnn.formats import native, opening
from minirnn.formats import torch as torch_files
from minirnn.formats.containers import pickle as pickles
from minirnn.formats.containers.pickle import KnownFunction
from minirnn.layers.feedforward import Reverse


def refusal(data: bytes, path: Path) -> str:
    path.write_bytes(data)
    with pytest.raises(ModelFileError) as caught:
        load(path, backend="numpy")
    assert len(str(caught.value)) < 600
    return str(caught.value)


# ---------------------------------------------------------------------- minirnn's own files


def nested(depth: int) -> Layer:
    network: Layer = Linear(2, 3)
    for _ in range(depth):
        network = Sequential(network)
    return network


def test_what_is_as_deep_as_a_file_may_describe_is_saved_loaded_and_used(tmp_path: Path) -> None:
    model = nested(native.DEEPEST).init(0, backend="numpy")
    save(model, tmp_path / "m")
    again = load(tmp_path / "m", backend="numpy")
    x = np.ones((2, 1, 2), np.float32)
    np.testing.assert_array_equal(again(x)[0], model(x)[0])
    again.forward(x)[2](np.ones((2, 1, 3), np.float32))
    assert repr(again) == repr(model)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nested(native.DEEPEST + 1), "layers within layers 32 deep"),
        (
            lambda: Sequential(Linear(2, 2), *(Reverse() for _ in range(native.MOST_LAYERS))),
            "may describe 10,000 layers",
        ),
    ],
)
def test_what_would_not_load_is_not_saved(make: Callable[[], Layer], words: str, tmp_path: Path) -> None:
    model = make().init(0, backend="numpy")
    (tmp_path / "m").write_bytes(b"what was there")
    with pytest.raises(ValueError, match=words):
        save(model, tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == b"what was there"


@pytest.mark.parametrize(
    ("name", "words"), [("LARGEST_HEADER", "described in 100 bytes"), ("MOST_TENSORS", "100 weights")]
)
def test_a_header_that_would_not_load_is_not_saved(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ready(Sequential(*(Linear(1, 1) for _ in range(51))))
    monkeypatch.setattr(native, name, 100)
    with pytest.raises(ValueError, match=words):
        save(model, tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_many_layers_are_joined_and_loaded_in_time_that_grows_with_their_number(tmp_path: Path) -> None:
    began = time.process_time()
    model = Sequential(Linear(2, 2), *(Reverse() for _ in range(30_000)))  # compared pair by pair: 20 s
    assert time.process_time() - began < 4
    with pytest.raises(ValueError, match="in two places"):
        Sequential(*model.layers, model.layers[7])


def test_a_counter_at_its_end_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(
        structures.described(
            {"kind": "Sequential", "layers": [structures.LINEAR, {"kind": "Dropout", "p": 0.5}]},
            structures.linear("0."),
            calls=2**64 - 1,
            seed=2**64 - 1,
        )
    )
    model = load(tmp_path / "m", backend="numpy")
    model.forward(np.ones((2, 1, 2), np.float32))
    save(model, tmp_path / "m")
    assert load(tmp_path / "m", backend="numpy").bound.calls == 0


@pytest.mark.parametrize(
    ("network", "about", "words"),
    [
        (structures.LINEAR, {"seed": True}, "seed must be an integer"),
        (structures.LINEAR, {"calls": False}, "calls must be an integer"),
        (structures.LINEAR | {"in_features": True}, {}, "in_features must not be true or false"),
        (structures.LINEAR | {"bias": 1}, {}, "bias must be true or false"),
        ({"kind": "Dropout", "p": False}, {}, "p must not be true or false"),
        (json.loads("[" * 33 + "]" * 33), {}, "the description of the network is not valid"),
    ],
)
def test_a_flag_is_no_number_and_a_number_no_flag(network: Any, about: Any, words: str, tmp_path: Path) -> None:
    data = structures.described(network, structures.linear(""), **about)
    assert words in refusal(data, tmp_path / "m")


def test_a_long_name_is_not_shown_whole(tmp_path: Path) -> None:
    data = structures.described(structures.LINEAR, structures.linear("") | {"a" * 10**6: (1,) * 60})
    assert "must not be there" in refusal(data, tmp_path / "m")


@pytest.mark.parametrize("about", [b"", b'"__metadata__":{"minirnn":"{}"},'])
def test_a_safetensors_header_is_measured_before_it_is_parsed(about: bytes, tmp_path: Path) -> None:
    entry = b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    many = b",".join(entry % k for k in range(opening.MOST_TENSORS + 1))
    assert "may have 32,768 tensors" in refusal(structures.headed(b"{" + about + many + b"}"), tmp_path / "m")
    long = structures.headed(b"{" + about + b" " * opening.LARGEST_HEADER + b"}")
    assert "may have 4,194,304 bytes" in refusal(long, tmp_path / "m")
    assert "is not a whole" in refusal(struct.pack("<Q", 2**40) + b"{}", tmp_path / "m")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_values_in_json_are_counted_before_they_are_made(encoding: str) -> None:
    with pytest.raises(ValueError, match="it must have at most 262,144 values; it has about 400,00"):
        opening.parsed(f"[{'[],' * 200_000}[]]".encode(encoding), "it")
    with pytest.raises(ValueError, match="it must have at most 2,097,152 bytes"):
        opening.parsed(f'"{"a" * 2**21}"', "it")
    assert opening.parsed('{"a": [1, "[,"]}'.encode(encoding), "it") == {"a": [1, "[,"]}


# ---------------------------------------------------------------------- pickles


def unpickled(program: bytes) -> Any:
    encode = KnownFunction(lambda arguments: arguments[0].encode())
    table = {"_codecs.encode": encode, "builtins.set": KnownFunction(lambda _: set())}
    return pickles.read(b"\x80\x02" + program + b".", "it", table, lambda key: key)


def test_what_a_pickle_makes_is_counted_in_bytes() -> None:
    string, times = structures.text("a" * 2**20) + b"q\x00\x85q\x01c_codecs\nencode\nq\x02](", 40
    assert len(unpickled(string + b"h\x02h\x01R" * times + b"e")) == times
    with pytest.raises(ModelFileError, match=r"^it: the pickle makes more than 50,331,648 bytes of objects$"):
        unpickled(string + b"h\x02h\x01R" * 60 + b"e")
    with pytest.raises(ModelFileError, match="bytes of objects"):  # a hundred bytes an entry
        unpickled(b"N" + b"".join(b"r" + struct.pack("<I", k) for k in range(520_000)))


def test_entries_with_other_keys_than_strings_and_small_integers_are_skipped() -> None:
    keys: list[Any] = ["a", 1, -5, None, 0.5, b"b", (1, "a"), True, 2**61 - 1, "b"]
    made = unpickled(pickle.dumps(dict.fromkeys(keys, 7), protocol=2)[2:-1])
    assert list(made.items()) == [("a", 7), (1, 7), (-5, 7), ("b", 7)]


def test_a_checkpoint_with_any_keys_and_sets_beside_its_weights_loads(tmp_path: Path) -> None:
    model = ready(Linear(2, 3))
    torch_files.save(model, tmp_path / "m.pt")
    entries = dict(unzipped((tmp_path / "m.pt").read_bytes()))
    state = entries["archive/data.pkl"].removeprefix(b"\x80\x02").removesuffix(b".")
    beside = pickle.dumps({(1, 2): {3, 4}, None: frozenset("ab"), 0.5: "x"}, protocol=2)[2:-1]
    whole = b"\x80\x02}(" + structures.text("other") + beside + structures.text("state_dict") + state + b"u."
    (tmp_path / "m.pt").write_bytes(zipped(list((entries | {"archive/data.pkl": whole}).items())))
    np.testing.assert_array_equal(load(tmp_path / "m.pt", backend="numpy").weights, model.weights)


def test_what_is_written_is_worth_what_it_takes(tmp_path: Path) -> None:
    """Bounds that no real model meets: one of 8 million weights in 200 layers."""
    model = ready(Sequential(*(Linear(200, 200) for _ in range(200)), Last(), Dropout(0.1)))
    (tmp_path / "m").write_bytes(written(save, model))
    np.testing.assert_array_equal(load(tmp_path / "m", backend="numpy").weights, model.weights)

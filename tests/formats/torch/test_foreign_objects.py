"""Checkpoints that hold objects of any class beside their tensors: those are skipped, and nothing of them runs."""

import argparse
import collections
import datetime as dt
import decimal
import enum
import fractions
import functools
import pathlib
import pickle
import re
import struct
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pytest
from mutations import zipped
from pickled import text

from minirnn import GRU, ModelFileError, load
from minirnn.formats import torch as torch_files
from minirnn.formats.torch import writing as torch_write


class Colour(enum.Enum):
    RED = 1
    NESTED = "a"


class Flags(enum.Flag):
    A = enum.auto()
    B = enum.auto()


class Plain:
    def __init__(self) -> None:
        self.size = 3
        self.inner: dict[str, Any] = {"deep": [1, 2, {"deeper": Colour.RED}]}


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self) -> None:
        self.a, self.b = 1, "two"


class Named(NamedTuple):
    name: str
    width: int


class Chosen:
    """Takes arguments by name when it is made anew."""

    def __new__(cls, *, width: int = 1) -> Self:
        made = super().__new__(cls)
        made.width = width
        return made

    width: int

    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, int]]:
        return (), {"width": self.width}


@dataclass
class Options:
    rate: float = 0.1
    layers: tuple[int, ...] = (1, 2)


class Entries(dict[str, Any]):
    """A dictionary with attributes, as configurations are."""


class Values(list[Any]):
    pass


class Members(set[Any]):
    pass


def in_a_circle() -> Any:
    one = Plain()
    one.inner = {"itself": one, "held": (one, [one])}
    return one


def a_tuple_in_itself() -> Any:
    one: list[Any] = []
    one.append((one,))
    return one[0]


def entries() -> Any:
    made = Entries(lr=0.1, path=pathlib.PurePosixPath("/a"))
    made.frozen = True  # type: ignore[attr-defined]  # what pickle keeps apart from the entries
    return made


OBJECTS: dict[str, Any] = {
    "a namespace": argparse.Namespace(lr=0.1, path=pathlib.PurePosixPath("/a"), other=argparse.Namespace(sizes=[1, 2])),
    "a path": pathlib.PurePosixPath("/a/b"),
    "a Windows path": pathlib.PureWindowsPath("C:/a"),
    "a scalar of NumPy": np.float64(0.25),
    "an integer of NumPy": np.int64(3),
    "an array of NumPy": np.arange(6.0).reshape(2, 3),
    "a dtype of NumPy": np.dtype("f4"),
    "a record array": np.zeros(2, [("a", "f4"), ("b", "i8")]),
    "a random generator": np.random.default_rng(0),
    "a member of an enum": Colour.RED,
    "a flag": Flags.A | Flags.B,
    "a date": dt.date(2024, 2, 29),
    "a time with a zone": dt.datetime(2024, 2, 29, 1, 2, 3, 4, dt.timezone(dt.timedelta(hours=2))),
    "a span of time": dt.timedelta(days=3),
    "a decimal": decimal.Decimal("0.1"),
    "a fraction": fractions.Fraction(1, 3),
    "a uuid": uuid.UUID(int=7),
    "a complex number": 1 + 2j,
    "a range": range(3),
    "a slice": slice(1, 2),
    "an ellipsis": ...,
    "a pattern": re.compile("a+"),
    "a class": Plain,
    "a function": np.tanh,
    "a function with arguments": functools.partial(sorted, reverse=True),
    "an error": ValueError("no", 3),
    "a frozen set": frozenset({1, "a"}),
    "a bytearray": bytearray(b"ab"),
    "a long integer": 3**2000,
    "an object": Plain(),
    "an object with slots": Slotted(),
    "an object made by name": Chosen(width=3),
    "a dataclass": Options(),
    "a named tuple": Named("a", 3),
    "a dictionary of one's own": entries(),
    "a list of one's own": Values([1, Plain()]),
    "a set of one's own": Members({1, 2}),
    "a dictionary with a default": collections.defaultdict(list, {"a": [1]}),
    "a counter": collections.Counter("abca"),
    "a deque": collections.deque([1, Plain()], maxlen=3),
    "a chain of dictionaries": collections.ChainMap({"a": 1}),
    "an object in a circle": in_a_circle(),
    "a tuple in itself": a_tuple_in_itself(),
    "keys that are members": {Colour.RED: 1, (Colour.NESTED, 2): {"a": 3}, np.int64(3): None},
    "a set of members": {Colour.RED, "a"},
    "a frozen set of members": frozenset({Colour.RED, 3}),
}  # fmt: skip


@pytest.fixture(scope="module")
def model() -> GRU:
    return GRU(3, 4).init(0, backend="numpy")


def checkpoint(model: GRU, beside: bytes) -> bytes:
    """A file with the model's state dict, and ``beside``, a pickle of one dictionary, around it."""
    arrays = torch_files.arrays_of(model)
    places = {id(a): k for k, a in enumerate(arrays.values())}
    state = torch_write._pickled(arrays, places).removeprefix(b"\x80\x02").removesuffix(b".")
    storages = [(f"a/data/{k}", a.tobytes()) for k, a in enumerate(arrays.values())]
    return zipped([("a/data.pkl", beside.removesuffix(b".") + text("state_dict") + state + b"s."), *storages])


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", OBJECTS)
def test_an_object_beside_the_tensors_is_skipped(name: str, protocol: int, model: GRU, tmp_path: Path) -> None:
    beside = pickle.dumps({"epoch": 3, "object": OBJECTS[name], "list": [OBJECTS[name], 1], "last": (4,)}, protocol)
    (tmp_path / "a.pt").write_bytes(checkpoint(model, beside))
    found = load(tmp_path / "a.pt", backend="numpy")
    assert type(found) is GRU
    np.testing.assert_array_equal(found.weights, model.weights)


class Attack:
    def __reduce__(self) -> Any:
        return pathlib.Path.touch, (pathlib.Path("touched"),)


class State(Attack):
    def __reduce__(self) -> Any:
        return Plain, (), {"a": 1}, iter([1]), iter([("a", 1)]), exec


@pytest.mark.parametrize("one", [Attack(), Plain(), [Attack()], {"a": (Attack(), State)}])
def test_nothing_of_an_object_runs(one: Any, model: GRU, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pt").write_bytes(checkpoint(model, pickle.dumps({"object": one}, 2)))
    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(Plain, "__init__", lambda _: pytest.fail("it was made"))
    load(tmp_path / "a.pt", backend="numpy")
    assert sorted(tmp_path.iterdir()) == before


GLOBAL = b"cargparse\nNamespace\n"


def held(pickled: bytes) -> bytes:
    return zipped([("a/data.pkl", b"\x80\x02" + pickled + b"."), ("a/data/0", bytes(16))])


def tensor(storage: bytes = b"ctorch\nFloatStorage\n") -> bytes:
    key = b"(" + text("storage") + storage + text("0") + text("cpu") + b"K\x04tQ"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + key + b"K\x00K\x02K\x02\x86K\x02K\x01\x86\x89}tR"


REFUSED = {
    "an object as the key of a tensor": (b"}" + GLOBAL + tensor() + b"s", "the key of a tensor must be a string"),
    "a tuple with one as the key of a tensor": (
        b"}" + GLOBAL + b"\x85" + tensor() + b"s",
        "the key of a tensor must be a string",
    ),
    "a tensor in an object": (
        b"}" + text("model") + GLOBAL + b")\x81}" + text("weight") + tensor() + b"sbs",
        "holds no tensors by name, but 'model' of class 'argparse.Namespace'",
    ),
    "an object alone": (GLOBAL + b")R", "an object of class 'argparse.Namespace'. Of objects that are no modules"),
    "complex numbers": (
        b"}" + text("weight") + tensor(b"ctorch\nComplexFloatStorage\n") + b"s",
        "holds no tensors by name, but 'weight' of class 'torch.ComplexFloatStorage'",
    ),
    "a bias of another kind": (
        b"}(" + text("fc.weight") + tensor() + text("fc.bias") + b"ctorch._utils\n_rebuild_sparse_tensor\n(K\x00tRu",
        "bias of 'fc' must be a tensor; it is an object of class 'torch._utils._rebuild_sparse_tensor'",
    ),
    "a bias that is a list": (
        b"}(" + text("fc.weight") + tensor() + text("fc.bias") + b"]u",
        "bias of 'fc' must be a tensor; it is a list",
    ),
    "an object made of a dictionary": (b"}q\x00h\x00)\x81", "makes an object of a dict"),
    "an object of a known class": (b"ccollections\nOrderedDict\n)}\x92", "makes an object of a KnownFunction"),
    "a name that is no string": (b"K\x01K\x02\x93", "the name of a global must be a string"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_skipped_is_named(name: str, tmp_path: Path) -> None:
    pickled, words = REFUSED[name]
    (tmp_path / "a.pt").write_bytes(held(pickled))
    with pytest.raises(ModelFileError) as caught:
        load(tmp_path / "a.pt")
    assert words in str(caught.value)


def test_a_long_name_is_not_joined_and_shown_in_part(tmp_path: Path) -> None:
    """Two strings that are there already name as many classes as a pickle has room for."""
    long = b"X" + struct.pack("<I", 2**20) + b"a" * 2**20 + b"q\x00"
    (tmp_path / "a.pt").write_bytes(held(long + b"0]" + b"(" + b"h\x00h\x00\x93" * 100_000 + b"e0h\x00h\x00\x93"))
    with pytest.raises(ModelFileError, match=r"an object of class 'a{60}\.a{60}'") as caught:
        load(tmp_path / "a.pt")
    assert len(str(caught.value)) < 500

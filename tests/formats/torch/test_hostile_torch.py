"""Files made to hurt who opens them, one trick each: in the zip that a ``.pt`` is, in its pickle, in its tensors."""

import json
import select
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from random import Random

import hostile
import pytest
from corpora import FORMATS
from mutations import listed, zipped
from structures import KINDS

from minirnn import ModelFileError, load

if not hasattr(select, "poll"):
    pytest.skip("pipes cannot be waited for on this system", allow_module_level=True)

LOADERS = {"load": "minirnn:load", "read": "torch_stored:read_arrays"}


# ---------------------------------------------------------------------- zips


EMPTY = zipped([("a/data.pkl", b"\x80\x02}.")])


def crowded() -> bytes:
    """As many entries as a list of allowed length holds, each where it is said to be."""
    return zipped([("archive/data.pkl", b"\x80\x02}."), *((f"archive/data/{k}", b"") for k in range(19_000))])


def deflated(size: int) -> bytes:
    return zipped([("archive/data.pkl", b"\x80\x02}."), ("archive/data/0", bytes(size))], zipfile.ZIP_DEFLATED)


def lying(said: int, size: int) -> bytes:
    """An entry that inflates to ``size`` bytes where ``said`` are declared, in both headers."""
    data, wanted = bytearray(deflated(size)), struct.pack("<I", size)
    at = data.find(wanted)
    while at >= 0:
        data[at : at + 4] = struct.pack("<I", said)
        at = data.find(wanted, at + 4)
    return bytes(data)


def within(data: bytes) -> bytes:
    """A zip whose comment is full of what might be the end of a zip."""
    return data[:-2] + struct.pack("<H", 65_532) + b"PK\x05\x06" * 16_383


# ---------------------------------------------------------------------- pickles


def text(words: str) -> bytes:
    data = words.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def integer(n: int) -> bytes:
    data = n.to_bytes(n.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def storage(key: bytes, count: bytes) -> bytes:
    return b"(" + text("storage") + b"ctorch\nFloatStorage\n" + key + text("cpu") + count + b"tQ"


def tensor(key: str, count: int, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> bytes:
    sizes, steps = (b"(" + b"".join(map(integer, numbers)) + b"t" for numbers in (shape, strides))
    held = storage(text(key), integer(count))
    hooks = b"\x89ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + held + integer(offset) + sizes + steps + hooks + b"tR"


def state(tensors: dict[str, bytes]) -> bytes:
    return b"\x80\x02}(" + b"".join(text(name) + made for name, made in tensors.items()) + b"u."


def saved(pickled: bytes, *storages: bytes) -> bytes:
    """A ``.pt`` of this pickle and these storages."""
    return zipped([("a/data.pkl", pickled), *((f"a/data/{k}", content) for k, content in enumerate(storages))])


def nest(made: bytes, deep: int = 40) -> bytes:
    """Something in a tuple of it twice, that twice, ...: a tree of 2**deep leaves in a few bytes, by reference."""
    return made + b"".join(b"q%ch%c\x86" % (k, k) for k in range(deep))


def modules(count: int, D: int, name: Callable[[int], str] = str) -> dict[str, tuple[int, ...]]:
    return {f"{name(k)}.weight": (D, D) for k in range(count)}


def lettered(k: int) -> str:
    """A name without a number, which would say in which order modules compute."""
    return f"m{chr(97 + k // 26)}{chr(97 + k % 26)}"


def headed(tensors: Mapping[str, tuple[int, ...]]) -> bytes:
    """A safetensors file of float32 tensors of these shapes."""
    header, at = {}, 0
    for name, shape in tensors.items():
        size = 4
        for n in shape:
            size *= n
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    words = json.dumps(header).encode()
    return struct.pack("<Q", len(words)) + words + bytes(at)


def alternating(size: int) -> bytes:
    """Tensors of one number, by turns in two storages that are large."""
    made = {f"{k}.weight": tensor(str(k % 2), size // 4, (1, 1), (1, 1), k) for k in range(190)}
    return saved(state(made), bytes(size), bytes(size))


def deep_lstm(layers: int, size: int) -> bytes:
    """An LSTM of one unit and many layers, whose tensors lie by turns in two storages that are large."""
    names = [("weight_ih", (4, 1)), ("weight_hh", (4, 1)), ("bias_ih", (4,)), ("bias_hh", (4,))]
    made, k = {}, 0
    for layer in range(layers):
        for name, shape in names:
            made[f"{name}_l{layer}"] = tensor(str(k % 2), size // 4, shape, (1, 1)[: len(shape)])
            k += 1
    return saved(state(made), bytes(size), bytes(size))


HUGE = 2**40

BOUNDED = ("modules_in_a_circle",)
ALIKE = ("each_module_twice_in_the_next", "attributes_that_all_modules_share")

ATTACKS: dict[str, tuple[Callable[[], bytes], str]] = {  # the file, and a word of the refusal; "": it may load
    "a list of entries that goes on": (lambda: listed(EMPTY, 150_000), "may have 4,194,304 bytes"),
    "a list of entries with long comments": (
        lambda: listed(EMPTY, 300, comment=65_000),
        "may have 4,194,304 bytes",
    ),
    "entries of one name": (lambda: listed(EMPTY, 19_999), "two entries have one name"),
    "entries that share their bytes": (lambda: listed(EMPTY, 19_999, renamed=True), "over another"),
    "many entries": (crowded, "no tensors by name"),
    "an entry of zeros, deflated": (lambda: deflated(2**26), "bytes are declared in a file"),
    "an entry that inflates to more than it says": (lambda: lying(1000, 2**24 + 1), "hold"),
    "a comment of ends": (lambda: within(EMPTY), "is not a whole zip file"),
    "a storage named by a tree": (lambda: saved(b"\x80\x02" + storage(nest(b"N"), b"K\x01") + b"."), "storage"),
    "a storage counted by a tree": (
        lambda: saved(b"\x80\x02" + storage(text("0"), nest(b"N")) + b".", b"abcd"),
        "storage",
    ),
    "bytes that are a tree": (
        lambda: saved(b"\x80\x02c_codecs\nencode\n" + nest(b"N") + text("latin1") + b"\x86R."),
        "bytes",
    ),
    "a device that is a tree": (lambda: saved(b"\x80\x02ctorch\ndevice\n" + nest(b"N") + b"\x85R."), "device"),
    "a key that is a tree": (lambda: saved(b"\x80\x02}" + nest(b"K\x01") + b"Ns."), "no tensors by name"),
    "keys that have one hash": (
        lambda: saved(
            b"\x80\x02}(" + b"".join(integer(k * sys.hash_info.modulus) + b"N" for k in range(100_000)) + b"u."
        ),
        "no tensors by name",
    ),
    "a set of trees": (lambda: saved(b"\x80\x02cbuiltins\nset\n]" + nest(b"K\x01") + b"a\x85R."), "no tensors by name"),
    "a tree of dictionaries": (
        lambda: saved(
            b"\x80\x02}" + b"".join(b"q%c}(X\x01\0\0\0ah%cX\x01\0\0\0bh%cu" % (k, k, k) for k in range(40)) + b"."
        ),
        "no tensors by name",
    ),
    "an integer of 255 bytes": (
        lambda: saved(state({"weight": tensor("0", 2**2000, (1, 1), (1, 1))}), bytes(4)),
        "storage",
    ),
    "a tensor of no numbers and of many": (
        lambda: saved(state({"weight": tensor("0", 1, (0, HUGE, HUGE, HUGE), (1,) * 4)}), bytes(4)),
        "sizes",
    ),
    "a tensor of no numbers and of many, in safetensors": (
        lambda: headed({"weight": (0, HUGE, HUGE, HUGE)}),
        "too large",
    ),
    "a tensor that repeats a number": (
        lambda: saved(state({"weight": tensor("0", 1, (2**20, 2**19), (0, 0))}), bytes(4)),
        "does not fit",
    ),
    "tensors that are all one": (
        lambda: saved(state({f"{k}": tensor("0", 2**18, (2**18,), (1,)) for k in range(5000)}), bytes(2**20)),
        "its tensors overlap",
    ),
    "modules that fit in every order": (
        lambda: headed(modules(190, 4, lettered)),
        "in more than one order",
    ),
    "numbered modules that fit in one order": (lambda: headed(modules(190, 4, lambda k: f"m{k:03}")), ""),
    "numbered modules in groups": (
        lambda: headed(modules(190, 4, lambda k: f"m{chr(97 + k % 20)}{k // 20}")),
        "in more than one order",
    ),
    "modules that nearly fit": (
        lambda: headed({f"{lettered(k)}.weight": (4, 4) for k in range(190)} | {"z.weight": (5, 6)}),
        "they",
    ),
    "more modules than a chain has": (lambda: headed(modules(20_000, 1, lambda k: f"m{k}")), "more than 200"),
    "names of a million steps": (
        lambda: headed({"0." * 500_000 + "weight": (2, 2), "0." * 500_000 + "bias": (2,)}),
        "",
    ),
    "numbers of a million steps": (
        lambda: saved(
            state({"0." * 500_000 + f"{k}.weight": tensor("0", 4, (2, 2), (2, 1)) for k in range(2)}), bytes(16)
        ),
        "",
    ),
    "small tensors of large storages": (lambda: alternating(2**22), ""),
    "many layers of large storages": (lambda: deep_lstm(500, 2**22), ""),
    "a layer of a number that is high": (
        lambda: headed({f"{name}_l{k}": (4, 1) for k in (0, 9999) for name in ("weight_ih", "weight_hh")}),
        "unknown",
    ),
}


@pytest.mark.parametrize("form", [pytest.param("torch before 1.6", marks=pytest.mark.slow), "torch whole"])
@pytest.mark.parametrize("name", [*BOUNDED, *(pytest.param(name, marks=pytest.mark.slow) for name in ALIKE)])
def test_a_whole_module_is_walked_within_bounds(name: str, form: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(KINDS[form][name](Random(1)))  # noqa: S311 - no secret
    with pytest.raises(ModelFileError, match=r"4,096 modules of 131,072 attributes, 32 within each other"):
        load(tmp_path / "file")


@cache
def made(name: str) -> bytes:
    return ATTACKS[name][0]()


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, hostile.Worker]]:
    """A process for each loader, warmed up with files that load."""
    folder = tmp_path_factory.mktemp("warm")
    warm = []
    for name in ("torch zip", "torch safetensors"):
        for k, data in enumerate(FORMATS[name].files()):
            (folder / f"{name}{k}").write_bytes(data)
            warm.append(str(folder / f"{name}{k}"))
    with hostile.Worker(LOADERS["load"], warm) as one, hostile.Worker(LOADERS["read"], warm) as other:
        yield {"load": one, "read": other}


@pytest.mark.parametrize("how", LOADERS)
@pytest.mark.parametrize("name", ATTACKS)
def test_a_trick_ends_in_a_refusal(name: str, how: str, workers: dict[str, hostile.Worker], tmp_path: Path) -> None:
    words, path = ATTACKS[name][1], tmp_path / "file"
    size = path.write_bytes(made(name))
    found = workers[how].load(str(path))
    assert hostile.verdict(*found, size=size) == ""
    if how == "load":
        assert found[0] == ("refused" if words else "loaded"), found
        assert words in found[1]

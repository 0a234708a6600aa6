"""The reader of HDF5 against h5py, on files of every kind that h5py can write; what it does not read it refuses."""

import io
import re
import time
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minirnn import ModelFileError
from minirnn.formats.containers.hdf5 import Dataset, File, Group

h5py: Any = pytest.importorskip("h5py", reason="h5py is not installed, which the reader is held against")

pytestmark = pytest.mark.extras

VERSIONS = ["earliest", "v108", "v110", "latest"]


def pair(name: str) -> Any:
    return name if name in ("earliest", "latest") else (name, name)


def text_of(value: Any) -> Any:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def assert_same(theirs: Any, ours: Any, where: str) -> None:
    """One value: an array, a number or text."""
    if isinstance(theirs, h5py.Empty):
        assert np.shape(ours) == (0,), where
        return
    a, b = np.asarray(theirs), np.asarray(ours)
    assert a.shape == b.shape, where
    if a.dtype.kind in "SO":
        assert [text_of(x) for x in a.ravel()] == list(b.ravel()), where
    else:
        if not a.ndim:  # a scalar of h5py's is in the machine's byte order
            b = b.astype(b.dtype.newbyteorder("="))
        assert a.dtype == b.dtype, where
        assert a.tobytes() == b.tobytes(), where


def compare(theirs: Any, ours: Any, where: str = "") -> None:
    """A group or a dataset, and all in it."""
    assert set(theirs.attrs) == set(ours.attrs), where
    for name, value in theirs.attrs.items():
        assert_same(value, ours.attrs[name], f"{where}@{name}")
    if isinstance(theirs, h5py.Group):
        assert isinstance(ours, Group), where
        assert sorted(theirs) == sorted(ours), where
        for name in theirs:
            compare(theirs[name], ours[name], f"{where}/{name}")
    else:
        assert isinstance(ours, Dataset), where
        empty = theirs.shape is None
        assert ours.shape == ((0,) if empty else theirs.shape), where
        assert_same(h5py.Empty("f4") if empty else theirs[()], ours.read(), where)
        assert ours.nbytes == ours.read().nbytes or ours.dtype == object, where


def check(data: io.BytesIO) -> None:
    with h5py.File(io.BytesIO(data.getvalue()), "r") as theirs, File(data, "a file") as ours:
        compare(theirs, ours)


# ---------------------------------------------------------------------- whatever h5py writes

numbers = st.sampled_from(["<f2", "<f4", "<f8", ">f2", ">f4", ">f8", "i1", "u1", "<i2", ">i4", "<i8", ">u8", "?"])
shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6)
letters = st.characters(exclude_characters="/\0", exclude_categories=["Cs"])
names = st.one_of(st.text(letters, min_size=1, max_size=12), st.integers(1, 3000).map("n".__mul__)).filter(
    lambda name: name != "."
)
words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
values = st.one_of(
    st.tuples(numbers, shapes).flatmap(lambda a: hnp.arrays(*a)),
    words,
    st.lists(words, min_size=1, max_size=9).map(lambda x: np.array(x, object)),  # text of any length
    st.lists(st.binary(min_size=1, max_size=20).filter(lambda b: b.isalnum()), min_size=1).map(np.array),  # fixed
    st.just(h5py.Empty("f4")),
)


@st.composite
def options(draw: st.DrawFn, shape: tuple[int, ...]) -> dict[str, Any]:
    """How a dataset is laid out."""
    if not shape or 0 in shape or draw(st.booleans()):
        return {}
    found: dict[str, Any] = {"chunks": tuple(draw(st.integers(1, n)) for n in shape)}
    if draw(st.booleans()):
        found |= {"compression": "gzip", "compression_opts": draw(st.integers(0, 9))}
    return found | {"shuffle": draw(st.booleans())}


def fill(data: st.DataObject, group: Any, depth: int, *, chunks: bool) -> None:
    for name, value in data.draw(st.dictionaries(names, values, max_size=3)).items():
        group.attrs[name] = value
    for name in data.draw(st.lists(names, max_size=4, unique=True)):
        if depth and data.draw(st.booleans()):
            fill(data, group.create_group(name, track_order=data.draw(st.booleans())), depth - 1, chunks=chunks)
            continue
        value = data.draw(values)
        shape = value.shape if isinstance(value, np.ndarray) and value.dtype.kind not in "OS" else ()
        how = data.draw(options(shape)) if chunks else {}
        made = group.create_dataset(name, data=value, **how)
        for key, attribute in data.draw(st.dictionaries(names, values, max_size=2)).items():
            made.attrs[key] = attribute


@given(st.data())
def test_whatever_h5py_writes_is_read(data: st.DataObject) -> None:
    file = io.BytesIO()
    version = data.draw(st.sampled_from(VERSIONS))
    with h5py.File(file, "w", libver=pair(version), track_order=data.draw(st.booleans())) as h:
        fill(data, h, 2, chunks=version in ("earliest", "v108"))
    check(file)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("n", [0, 1, 8, 9, 100, 2500])
def test_any_number_of_links(n: int, ordered: bool, version: str) -> None:  # a B-tree's levels, a heap's rows
    file, rng = io.BytesIO(), np.random.default_rng(n)
    with h5py.File(file, "w", libver=pair(version), track_order=ordered) as h:
        for k in range(n):
            h.attrs.create(f"unused {k}", k) if k < 20 else None
            h[f"{k} {'x' * rng.integers(60)}"] = np.float32(k)
    check(file)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("n", [1, 9, 60, 1500])
def test_any_number_of_attributes(n: int, version: str) -> None:
    file, rng = io.BytesIO(), np.random.default_rng(n)
    with h5py.File(file, "w", libver=pair(version)) as h:
        group = h.create_group("g")
        for k in range(n):
            group.attrs[f"a{k}"] = rng.normal(size=rng.integers(1, 50)) if k % 2 else f"text {k}" * 5
    check(file)


def test_attributes_longer_than_a_header_can_hold() -> None:
    file = io.BytesIO()
    with h5py.File(file, "w", libver="latest") as h:
        h.attrs["long"] = np.arange(30_000.0)
        h.attrs["text"] = "é" * 100_000
        h.attrs["names"] = np.array([b"layer_%d" % k for k in range(9000)])
    check(file)


def test_chunks_that_were_never_written_hold_the_fill_value() -> None:
    file = io.BytesIO()
    with h5py.File(file, "w") as h:
        a = h.create_dataset("a", (7, 5), ">f4", chunks=(3, 2), fillvalue=-1.5, maxshape=(None, 5))
        a[3:5, 1] = 2
        a.resize((11, 5))
        h.create_dataset("b", (3,), "i2", fillvalue=7)
        h.create_dataset("c", (3,), "f8")
        h.create_dataset("d", (4, 4), "f4", chunks=(2, 4), compression="gzip", shuffle=True)
        h.create_dataset("e", (0, 4), "f4", chunks=(2, 4), maxshape=(None, 4))
    check(file)


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_one_chunk_of_the_latest_kind(compression: str | None) -> None:
    file = io.BytesIO()
    with h5py.File(file, "w", libver="latest") as h:
        h.create_dataset("a", data=np.arange(12.0).reshape(3, 4), chunks=(3, 4), compression=compression)
    check(file)


def test_compact_data_bfloat16_and_a_file_read_by_its_path(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as h:
        how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        how.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((5,))
        h5py.h5d.create(h.id, b"compact", h5py.h5t.IEEE_F32BE, space, how).write(
            h5py.h5s.ALL, h5py.h5s.ALL, np.arange(5, dtype="<f4")
        )
        h["raw"] = np.arange(4, dtype="u2").view("V2")
    with File(tmp_path / "a.h5") as ours:
        np.testing.assert_array_equal(ours["compact"].read(), np.arange(5))  # type: ignore[union-attr] # a dataset
        assert ours["raw"].read().view("u2").tolist() == [0, 1, 2, 3]  # type: ignore[union-attr]
        assert len(ours) == 2
        assert "raw" in ours
        assert "raw/x" not in ours
        with pytest.raises(KeyError, match="nothing"):
            ours["nothing"]


# ---------------------------------------------------------------------- what is refused


def read(data: bytes, path: str, attribute: str = "") -> Any:
    with File(io.BytesIO(data), "a file") as file:
        found = file[path]
        assert isinstance(found, Dataset)
        return found.attrs[attribute] if attribute else found.read()


def refusal(data: bytes, path: str = "a", *, attribute: str = "") -> str:
    with pytest.raises(ModelFileError) as caught:
        read(data, path, attribute)
    assert str(caught.value).startswith("a file: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def written(version: str = "earliest", **how: Any) -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w", libver=pair(version)) as h:
        h.create_dataset("a", **how)
    return file.getvalue()


ROWS = np.arange(12.0).reshape(3, 4)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"data": np.zeros(2, [("x", "f4")])}, "compounds are not supported"),
        ({"data": ROWS, "chunks": (1, 2), "fletcher32": True}, "filter 3"),
        ({"data": ROWS, "chunks": (1, 2), "compression": "lzf"}, "filter 32000"),
        ({"data": ROWS, "chunks": (1, 2), "version": "latest"}, "indexed as by libver"),
        ({"data": np.zeros(3, np.complex64)}, "compounds are not supported|must be of a class"),
        ({"data": np.zeros(3, np.longdouble)}, "one of IEEE 754"),
        ({"shape": (3,), "dtype": h5py.vlen_dtype(np.dtype("f4"))}, "lists are not supported"),
        ({"shape": (3,), "dtype": h5py.ref_dtype}, "references are not supported"),
        ({"shape": (3,), "dtype": "f4", "external": [("elsewhere.bin", 0, 12)]}, "elsewhere"),
        ({"shape": (2**40,), "dtype": "f4"}, "more than a file of"),
        ({"shape": (2**30,), "dtype": "f4", "chunks": (2**20,), "compression": "gzip"}, "more than a file of"),
    ],
)
def test_what_is_not_supported_is_refused(how: dict[str, Any], words: str) -> None:
    assert re.search(words, refusal(written(**how)))


def test_links_to_elsewhere_are_refused_where_they_are_followed() -> None:
    for version in VERSIONS:
        file = io.BytesIO()
        with h5py.File(file, "w", libver=pair(version)) as h:
            h["x"] = 1.0
            h["a"] = h5py.SoftLink("/x")
            h["b"] = h5py.ExternalLink("/etc/passwd", "/x")
        for path in ("a", "b"):
            assert "a link to elsewhere" in refusal(file.getvalue(), path)
        with File(file, "a file") as ours:
            assert sorted(ours) == ["a", "b", "x"]


def test_a_shared_type_is_refused() -> None:
    file = io.BytesIO()
    with h5py.File(file, "w") as h:
        h["t"] = np.dtype("f4")
        h.create_dataset("a", (3,), h["t"])
        h.create_dataset("b", (3,), "f4").attrs.create("x", 1.0, dtype=h["t"])
    assert "shared" in refusal(file.getvalue())
    assert "shared" in refusal(file.getvalue(), "b", attribute="x")


def test_what_is_no_hdf5_file_is_refused(tmp_path: Path) -> None:
    whole = written(data=ROWS)
    for data in (b"", b"\x89HDF", b"PK\3\4" + bytes(50), whole[:-1], whole[:200], bytes(8) + whole):
        with pytest.raises(ModelFileError, match=r"^a file: "):
            File(io.BytesIO(data), "a file")
    with pytest.raises(FileNotFoundError):
        File(tmp_path / "nothing.h5")


def test_a_tree_that_leads_to_itself_ends() -> None:
    file = io.BytesIO()
    with h5py.File(file, "w") as h:
        for k in range(400):
            h[f"{k:03}"] = 1.0
    data = bytearray(file.getvalue())
    first = data.index(b"TREE")
    assert data[first + 5] == 1  # a level above the leaves
    data[first + 32 : first + 40] = first.to_bytes(8, "little")  # its first child is itself
    with pytest.raises(ModelFileError, match=r"one node twice|a level below"):
        File(io.BytesIO(bytes(data)), "a file")


def test_a_chunk_that_expands_beyond_its_size_is_not_expanded() -> None:
    file = io.BytesIO()
    with h5py.File(file, "w") as h:
        a = h.create_dataset("a", (20_000,), "f4", chunks=(20_000,), compression="gzip")
        a.id.write_direct_chunk((0,), zlib.compress(bytes(50_000_000)))
    tracemalloc.start()
    try:
        assert "it has more" in refusal(file.getvalue())
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


# ---------------------------------------------------------------------- damaged files


def everything(version: str) -> bytes:
    """A small file with every structure of its kind."""
    file = io.BytesIO()
    with h5py.File(file, "w", libver=pair(version), track_order=version == "v110") as h:
        h.attrs["text"] = "some text"
        h.attrs["names"] = np.array([b"one", b"three"])
        g = h.create_group("g", track_order=True)
        for k in range(12):
            g[f"{k}"] = np.arange(k, dtype="f4")
            g.attrs[f"{k}"] = k
        h["b"] = np.array([True, False])
        h["t"] = np.array(["one", "two"], object)
        how = {"chunks": (2, 2), "compression": "gzip", "shuffle": True} if version in ("earliest", "v108") else {}
        h.create_dataset("c", data=ROWS, **how)
    return file.getvalue()


def walk(node: Any) -> None:
    for name in node.attrs:
        node.attrs[name]
    if isinstance(node, Dataset):
        node.read()
        return
    for name in node:
        walk(node[name])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_damaged_file_is_read_or_refused_in_time(version: str) -> None:
    whole, rng = np.frombuffer(everything(version), np.uint8), np.random.default_rng(len(version))
    refused = 0
    for _ in range(400):
        data = whole.copy()
        for _ in range(rng.choice([1, 1, 2, 8])):
            data[rng.integers(len(data))] = rng.choice([0, 1, 255, int(rng.integers(256))])
        if rng.random() < 0.1:
            data = data[: rng.integers(len(data))]
        start = time.perf_counter()
        try:
            with File(io.BytesIO(data.tobytes()), "a file") as file:
                walk(file)
        except ModelFileError:
            refused += 1
        assert time.perf_counter() - start < 5
    assert refused > 20

"""TensorFlow's checkpoints: named tensors in ``NAME.index`` and ``NAME.data-00000-of-00001``, and the graph of objects.

The index is a table as LevelDB writes them (table_format.md): blocks of keys in order, each key without what it has in
common with the one before, and at the end an index of the blocks.  A value says where a tensor lies in the data
(tensor_bundle.proto).  The tensor ``_CHECKPOINTABLE_OBJECT_GRAPH`` is a message of its own: which object has which
others, by local names, and under which key a variable is stored (trackable_object_graph.proto).
"""

import io
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minirnn.core.files import CUT_OFF, ModelFileError
from minirnn.formats.containers.protobuf import Message, Reader, Schema

MAGIC = bytes.fromhex("57fb808b247547db")  # with which a table ends
FOOTER = 48  # bytes
TRAILER = 5  # bytes behind a block: how it is compressed, and a checksum
LARGEST_INDEX = 2**24  # bytes
LARGEST_GRAPH = 2**26
MOST_TENSORS = 2**15
MOST_OBJECTS = 2**16
GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"

DTYPES = {1: "<f4", 2: "<f8", 14: "V2", 19: "<f2"}  # of floating point, by their numbers in types.proto
STRING = 7

HEADER = Schema("BundleHeaderProto", {1: ("shards", "int", False), 2: ("endianness", "int", False)})
DIMENSION = Schema("Dim", {1: ("size", "int", False)})
SHAPE = Schema("TensorShapeProto", {2: ("dims", DIMENSION, True)})
ENTRY = Schema(
    "BundleEntryProto",
    {
        1: ("dtype", "int", False),
        2: ("shape", SHAPE, False),
        3: ("shard", "int", False),
        4: ("offset", "int", False),
        5: ("size", "int", False),
        7: ("slices", "bytes", True),
    },
)
CHILD = Schema("ObjectReference", {1: ("node", "int", False), 2: ("name", "text", False)})
ATTRIBUTE = Schema("SerializedTensor", {1: ("name", "text", False), 3: ("key", "text", False)})
OBJECT = Schema("TrackableObject", {1: ("children", CHILD, True), 2: ("attributes", ATTRIBUTE, True)})
OBJECTS = Schema("TrackableObjectGraph", {1: ("nodes", OBJECT, True)})


class TrackedObject(NamedTuple):
    """An object: others by their local names, as places in the list of all, and the keys of its own tensors."""

    children: dict[str, int]
    keys: list[str]


class StoredTensor:
    """A tensor in the data: ``shape`` and ``dtype``, and ``read()`` for its values; bfloat16 as two bytes."""

    def __init__(self, bundle: "Bundle", name: str, entry: Message) -> None:
        number = entry.get("dtype", 0)
        if number not in DTYPES:
            raise bundle.fault(f"{name!r:.120} must be of floating point; its dtype has number {number}")
        self.bundle, self.name, self.dtype = bundle, name, np.dtype(DTYPES[number])
        self.shape = tuple(dim.get("size", 0) for dim in entry.get("shape", {}).get("dims", ()))
        self.nbytes = self.stored = entry.get("size", 0)
        if min(self.shape, default=0) < 0 or prod(self.shape) * self.dtype.itemsize != self.nbytes:
            raise bundle.fault(f"{name!r:.120} of shape {self.shape!s:.80} must not have {self.nbytes:,} bytes")
        self._entry = entry

    def claim(self) -> None:
        """Raise, before memory is taken, unless the tensor lies within the data."""
        self.bundle.place(self._entry, self.name)

    def read(self) -> NDArray[Any]:
        """The array."""
        return np.frombuffer(self.bundle.bytes_of(self._entry, self.name), self.dtype).reshape(self.shape)


class Bundle:
    """The tensors of a checkpoint, by name; ``prefix`` is the path of its files without their endings."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        index = prefix.with_name(f"{prefix.name}.index")
        try:
            with index.open("rb") as file:
                length = file.seek(0, io.SEEK_END)
                if not FOOTER <= length <= LARGEST_INDEX:
                    raise ModelFileError(f"{index} must have {FOOTER} to {LARGEST_INDEX:,} bytes; it has {length:,}")
                file.seek(0)
                self._data = file.read(length)
        except OSError as error:
            raise ModelFileError(f"{index} cannot be read: {error}") from None
        self.index, self._reader = index, Reader(self._data)
        if not self._data.endswith(MAGIC):
            raise self.fault(f"must end as a table of TensorFlow's does; {CUT_OFF}")
        self.entries = dict(self._entries())
        header = self.entries.pop("", {})
        self.shards = header.get("shards", 1)
        if header.get("endianness", 0) != 0:
            raise self.fault("numbers must have their lowest byte first; these have their highest")

    def fault(self, text: str) -> ModelFileError:
        """The error to raise for a fault in the files."""
        return ModelFileError(f"{self.index}: {text}")

    def tensor(self, key: str) -> StoredTensor:
        """A tensor of numbers by its key."""
        if key not in self.entries:
            raise self.fault(f"there must be a tensor {key!r:.120}; there is none")
        return StoredTensor(self, key, self.entries[key])

    def tensors(self) -> Iterator[StoredTensor]:
        """Those of floating point."""
        for key, entry in self.entries.items():
            if entry.get("dtype", 0) in DTYPES:
                yield StoredTensor(self, key, entry)

    @property
    def size(self) -> int:
        """Bytes of all data."""
        return sum(path.stat().st_size for path in map(self._shard, range(self.shards)) if path.is_file())

    # ------------------------------------------------------------------ data

    def place(self, entry: Message, name: str) -> tuple[Path, int, int]:
        """The file in which a tensor lies, its first byte and how many it has; ModelFileError where it does not."""
        path, offset, size = self._shard(entry.get("shard", 0)), entry.get("offset", 0), entry.get("size", 0)
        if entry.get("slices"):
            raise self.fault(f"{name!r:.120} must be stored whole; it is stored in slices")
        there = path.stat().st_size if path.is_file() else 0
        if min(offset, size) < 0 or offset + size > there:
            raise self.fault(f"{name!r:.120} must lie within the {there:,} bytes of {path.name}; {CUT_OFF}")
        return path, offset, size

    def bytes_of(self, entry: Message, name: str) -> bytes:
        """The bytes of a tensor."""
        path, offset, size = self.place(entry, name)
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def _shard(self, number: int) -> Path:
        return self.prefix.with_name(f"{self.prefix.name}.data-{number:05d}-of-{self.shards:05d}")

    # ------------------------------------------------------------------ the table

    def _entries(self) -> Iterator[tuple[str, Message]]:
        footer = len(self._data) - FOOTER
        _, at = self._handle(footer, len(self._data))
        (first, end), _ = self._handle(at, len(self._data))
        count = 0
        for _, start, stop in self._block(first, end):
            (inner, inner_end), _ = self._handle(start, stop)
            for key, value, value_end in self._block(inner, inner_end):
                count += 1
                if count > MOST_TENSORS:
                    raise self.fault(f"there may be {MOST_TENSORS:,} tensors; there are more")
                schema = ENTRY if key else HEADER
                yield key.decode("utf-8", "surrogateescape"), self._reader.message(value, value_end, schema)

    def _handle(self, at: int, end: int) -> tuple[tuple[int, int], int]:
        """Where a block begins and ends, and where these words end."""
        offset, at = self._reader.varint(at, end)
        size, at = self._reader.varint(at, end)
        if offset + size + TRAILER > len(self._data) - FOOTER or size < 4:
            raise self.fault(f"a block must lie within the table; one has {size:,} bytes from {offset:,}")
        if self._data[offset + size] != 0:
            raise self.fault("blocks must not be compressed; one is")
        return (offset, offset + size), at

    def _block(self, first: int, end: int) -> Iterator[tuple[bytes, int, int]]:
        """The keys of a block, and where the value of each begins and ends."""
        restarts = int.from_bytes(self._data[end - 4 : end], "little")
        end -= 4 + 4 * restarts
        key, at = b"", first
        while at < end:
            self._reader.spend()
            shared, at = self._reader.varint(at, end)
            own, at = self._reader.varint(at, end)
            size, at = self._reader.varint(at, end)
            if shared > len(key) or at + own + size > end or shared + own > FOOTER * 100:
                raise self.fault("a key and its value must lie within their block; they go on")
            key = key[:shared] + self._data[at : at + own]
            at += own + size
            yield key, at - size, at

    # ------------------------------------------------------------------ objects

    def objects(self) -> list[TrackedObject]:
        """The objects whose variables these are; the first has all others."""
        entry = self.entries.get(GRAPH, {})
        if entry.get("dtype") != STRING or entry.get("shape", {}).get("dims"):
            raise self.fault("there must be a graph of objects; there is none")
        if entry.get("size", 0) > LARGEST_GRAPH:
            raise self.fault(f"the graph of objects may have {LARGEST_GRAPH:,} bytes; it has {entry['size']:,}")
        data = self.bytes_of(entry, GRAPH)
        reader = Reader(data)
        size, at = reader.varint(0, len(data))
        at += 4  # a checksum of that number
        if at + size != len(data):
            raise self.fault(f"the graph of objects must have {size:,} bytes; it has {len(data) - at:,}")
        nodes = reader.message(at, len(data), OBJECTS).get("nodes", [])
        made = []
        for node in nodes:
            children = {child.get("name", ""): child.get("node", 0) for child in node.get("children", ())}
            if not all(0 <= child < len(nodes) for child in children.values()):
                raise self.fault("an object must have others that are there; one has not")
            made.append(TrackedObject(children, [one.get("key", "") for one in node.get("attributes", ())]))
        return made

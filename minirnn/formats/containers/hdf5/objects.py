"""Groups, datasets and their attributes by name: the objects that ``File`` gives."""

import io
import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, Self

import numpy as np

from minirnn.core.files import CUT_OFF
from minirnn.formats.containers.hdf5 import headers
from minirnn.formats.containers.hdf5.headers import Header
from minirnn.formats.containers.hdf5.heaps import FractalHeap, LocalHeap
from minirnn.formats.containers.hdf5.source import Array, Cursor, Source, decoded
from minirnn.formats.containers.hdf5.storage import Storage
from minirnn.formats.containers.hdf5.trees import new_records, old_entries
from minirnn.formats.containers.hdf5.types import as_array, read_shape, read_type

SIGNATURE = b"\x89HDF\r\n\x1a\n"
DEEPEST = 64  # groups within groups; one may be linked to within itself


class Attributes(Mapping[str, Any]):
    """An object's attributes by name.  Text is ``str``, in arrays of objects; everything else is NumPy's."""

    def __init__(self, header: Header) -> None:
        self._source = header.source
        self._pieces: dict[str, tuple[bytes, bytes, bytes]] = {}  # type, shape and data, not looked into
        for message in header.all(headers.ATTRIBUTE):
            if message.shared:
                raise self._source.fault("an attribute must stand with its object; this one is shared")
            self._add(message.data)
        info = header.find(headers.ATTRIBUTE_INFO)
        if info is not None:
            for data in _dense(info, 2, tree=8, hash_size=0):
                self._add(data)

    def _add(self, data: bytes) -> None:
        at = Cursor(self._source, data, "an attribute")
        version, flags = at.version(1, 2, 3), at.uint()
        sizes = at.uint(2), at.uint(2), at.uint(2)
        at.take(1 if version == 3 else 0)
        if version > 1 and flags & 3:
            raise self._source.fault("an attribute must have a type of its own; a shared one is not supported")
        parts = []
        for size in sizes:
            parts.append(at.take(size))
            at.take(-size % 8 if version == 1 else 0)
        self._pieces[decoded(parts[0])] = (parts[1], parts[2], at.take(at.left))

    def __getitem__(self, name: str) -> Any:
        what = f"attribute {name!r:.60}"
        kind, space, stored = self._pieces[name]
        element, shape = read_type(Cursor(self._source, kind, what)), read_shape(Cursor(self._source, space, what))
        size = prod(shape) * element.dtype.itemsize
        if size > len(stored):
            raise self._source.fault(f"{what} must have {size:,} bytes; it has {len(stored):,}")
        array = as_array(self._source, np.frombuffer(stored, np.uint8)[:size].copy(), element, shape)
        return array if shape else array[()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._pieces)

    def __len__(self) -> int:
        return len(self._pieces)


class StoredObject:
    """A group or a dataset; ``name`` is the path to it."""

    def __init__(self, header: Header, name: str) -> None:
        self.header, self.source, self.name = header, header.source, name

    @cached_property
    def attrs(self) -> Attributes:
        """The attributes by name."""
        return Attributes(self.header)


class Dataset(StoredObject):
    """An array in the file: ``shape``, and ``read()`` for its values.

    ``nbytes`` is its size in memory, ``stored`` the least number of bytes that the file must have to hold it.
    """

    def __init__(self, header: Header, name: str) -> None:
        super().__init__(header, name)
        self._type = read_type(header.need(headers.DATATYPE))
        self.shape = read_shape(header.need(headers.DATASPACE))
        self._storage = Storage(header, self.shape, self._type.dtype.itemsize)
        self.nbytes = self._storage.nbytes
        self.stored = -(-self.nbytes // self._storage.expansion)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The array's dtype; ``object`` for text, which is read as ``str``."""
        if self._type.text:
            return np.dtype(object)
        return np.dtype(bool) if self._type.boolean else self._type.dtype

    def claim(self) -> None:
        """Raise, before memory is taken, if the array is more than the file is worth; ``read`` does it otherwise."""
        self._storage.claim()

    def read(self) -> Array:
        """The array; one of ``str`` objects for text."""
        return as_array(self.source, self._storage.read(), self._type, self.shape)


class Group(StoredObject, Mapping[str, "Group | Dataset"]):
    """Groups and datasets by name, and by path: ``group["a/b"]``.

    A name that is not there is a KeyError; a link that leads out of the tree of groups is refused.
    """

    def __init__(self, header: Header, name: str = "") -> None:
        super().__init__(header, name)
        self.links = _links(header)

    def __iter__(self) -> Iterator[str]:
        return iter(self.links)

    def __len__(self) -> int:
        return len(self.links)

    def __getitem__(self, path: str) -> "Group | Dataset":
        node: Group | Dataset = self
        for part in path.split("/"):
            if not isinstance(node, Group) or part not in node.links:
                raise KeyError(path)
            address = node.links[part]
            where = f"{node.name}/{part}"
            if address is None:
                raise self.source.fault(f"{where:.200} must be a group or a dataset; it is a link to elsewhere")
            if where.count("/") > DEEPEST:
                raise self.source.fault(f"groups must be nested at most {DEEPEST} deep; {where:.80} goes on")
            node = _node(self.source, address, where)
        return node


class File(Group):
    """The root group of a file, by its path, or of an open one with a ``name`` for errors; ``with`` closes it.

    ``packed`` is the size of the compressed file that it came from: a bomb within a bomb is worth no more than that.
    """

    def __init__(
        self, file: str | os.PathLike[str] | io.BufferedIOBase, name: object = None, packed: int | None = None
    ) -> None:
        self._file = Path(file).open("rb") if isinstance(file, (str, os.PathLike)) else file  # noqa: SIM115 - closed by __exit__
        try:
            source = Source(self._file, file if name is None else name, packed)
            super().__init__(Header(source, _root(source)))
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._file.close()


def _node(source: Source, address: int, name: str) -> Group | Dataset:
    header = Header(source, address)
    return Dataset(header, name) if header.all(headers.LAYOUT) else Group(header, name)


def _root(source: Source) -> int:
    """The address of the root group's header, from the superblock."""
    what = "an HDF5 file"
    version = source.read(0, 9, what, SIGNATURE).version(0, 1, 2, 3)
    sizes, at = (13, 24 + 4 * version) if version < 2 else (9, 12)
    source.offsets, source.lengths = source.read(sizes, 2, what).take(2)
    if source.offsets not in (4, 8) or source.lengths not in (4, 8):
        raise source.fault("an HDF5 file must have addresses and lengths of 4 or 8 bytes")
    rest = source.read(at, 6 * source.offsets, what)
    base = rest.place()
    rest.address()  # free space, or the superblock's extension
    end = rest.place()
    if base or end > source.size:
        words = f"an HDF5 file must begin at its first byte and be whole: {end:,} bytes from {base:,}"
        raise source.fault(f"{words}; {CUT_OFF}")
    if version < 2:
        rest.address()  # a driver's block
        rest.address()  # the root's name
    return rest.place()


def _links(header: Header) -> dict[str, int | None]:
    """A group's members: the address of each one's header, None for a link to elsewhere."""
    source = header.source
    table = header.find(headers.SYMBOL_TABLE)
    if table is not None:
        return dict(_symbols(source, table.place(), LocalHeap(source, table.place())))
    messages = [message.data for message in header.all(headers.LINK)]
    info = header.find(headers.LINK_INFO)
    if info is None:
        raise source.fault("an object must be a group or a dataset; one is neither")
    messages += _dense(info, 8, tree=5, hash_size=4)
    return dict(_link(Cursor(source, data, "a link")) for data in messages)


def _dense(info: Cursor, largest_index: int, *, tree: int, hash_size: int) -> Iterator[bytes]:
    """The messages of an object with many, in a fractal heap; a B-tree's records are a name's hash and a heap ID."""
    info.version(0)
    info.take(largest_index if info.uint() & 1 else 0)
    heap, index = info.address(), info.address()
    if heap is not None and index is not None:
        objects = FractalHeap(info.source, heap)
        for record in new_records(info.source, index, tree):
            record.take(hash_size)
            yield objects.get(record.take(objects.id_length))


def _symbols(source: Source, tree: int, heap: LocalHeap) -> Iterator[tuple[str, int | None]]:
    """The entries of a symbol table."""
    for _, address in old_entries(source, tree, 0, source.lengths):
        head = source.read(address, 8, "a symbol table's node", b"SNOD", (1,))
        head.take(1)
        n, size = head.uint(2), 2 * source.offsets + 24
        entries = source.read(address + 8, n * size, "a symbol table's node")
        for _ in range(n):
            entry = Cursor(source, entries.take(size), "a symbol table's entry")
            name, place = heap.name(entry.uint(source.offsets)), entry.address()
            yield name, None if entry.uint(4) == 2 else place


def _link(at: Cursor) -> tuple[str, int | None]:
    """A link message: its name, and where it leads."""
    at.version(1)
    flags = at.uint()
    kind = at.uint() if flags & 8 else 0
    at.take((8 if flags & 4 else 0) + (1 if flags & 16 else 0))  # its place in the order, its letters' code
    name = decoded(at.take(at.uint(1 << (flags & 3))))
    return name, at.place() if kind == 0 else None

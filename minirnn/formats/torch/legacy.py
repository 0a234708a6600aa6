"""Files of ``torch.save`` before version 1.6, which it still writes with ``_use_new_zipfile_serialization=False``.

Five pickles one after another: a magic number, the version of the format, facts about the machine, the content, the
keys of its storages in order.  Then comes each storage: how many numbers it has, in eight bytes, and these, little end
first.
"""

import struct
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from minirnn.core.files import CUT_OFF, ModelFileError
from minirnn.formats.containers import pickle as pickles
from minirnn.formats.containers.pickle import Foreign, UnreadableError
from minirnn.formats.opening import LEGACY_MAGIC, MOST_TENSORS
from minirnn.formats.torch.choosing import chosen
from minirnn.formats.torch.pickled import KNOWN, Storage, storage_type, stored
from minirnn.formats.torch.stored import LARGEST_SIZE, StoredTensors

VERSION = 1001
LARGEST_HEAD = 2**9  # bytes of the pickles of a file that is one storage
OTHERS = {  # bytes of a number in storages whose tensors are not read, but lie between others
    "ComplexFloatStorage": 8,
    "ComplexDoubleStorage": 16,
    "QInt8Storage": 1,
    "QUInt8Storage": 1,
    "QInt32Storage": 4,
}


def read(file: BufferedReader, length: int, path: Path, part: str | None) -> StoredTensors:
    """The state dict in such a file of ``length`` bytes, opened at its first; ModelFileError if there is none."""
    data = file.read(min(length, pickles.LARGEST_PICKLE))  # the storages may lie behind that
    content, places = _content(file, data, length, f"{path}, of torch before 1.6")

    def fetch(storage: Storage) -> bytes:
        file.seek(places[storage.entry][0])
        return file.read(storage.length * storage.itemsize)

    return stored(chosen(content, str(path), part), str(path), length, fetch)


def storage_in(data: bytes, where: str) -> tuple[Storage, int]:
    """The one storage that such a file, ``data``, is, and where its numbers begin; ModelFileError for another file."""
    content, places = _content(BytesIO(data), data[:LARGEST_HEAD], len(data), where)
    if type(content) is not Storage:
        raise ModelFileError(f"{where} must hold one storage of numbers that are read")
    return content, places[content.entry][0]


def _content(file: BinaryIO, data: bytes, length: int, where: str) -> tuple[Any, dict[str, tuple[int, int]]]:
    """What such a file holds, whose pickles are in ``data``, and where the numbers of each storage lie."""
    sizes: dict[str, int] = {}  # of each storage by its key, the bytes of a number
    known: dict[str, Storage] = {}

    def persistent(key: Any) -> Any:
        """A class that is defined in a file of its own, or a storage."""
        if type(key) is tuple and len(key) == 4 and key[0] == "module" and type(key[1]) is Foreign:
            return key[1]  # what follows is its source
        kind = storage_type(key, 6)
        name, count, view = key[2], key[4], key[5]
        if type(name) is not str or type(count) is not int or not 0 <= count <= LARGEST_SIZE or view is not None:
            raise UnreadableError("a storage must have a key, a number of entries, and be no part of another")
        if isinstance(kind, Foreign):
            if kind.name not in OTHERS:
                raise UnreadableError(f"the storages of a {kind!r} are not read")
            sizes[name] = OTHERS[kind.name]
            return kind
        storage = Storage(name, kind.dtype, count)
        if known.setdefault(name, storage) != storage:
            raise UnreadableError(f"storage {name!r:.40} is there in two sizes")
        sizes[name] = storage.itemsize
        return storage

    def unexpected(_: Any) -> Any:
        raise UnreadableError("a persistent id stands where none belongs")

    at = 0
    heads = []
    for _ in range(3):
        value, at = pickles.read_from(data, at, where, KNOWN, unexpected)
        heads.append(value)
    if heads[0] != LEGACY_MAGIC or heads[1] != VERSION:
        raise ModelFileError(f"{where}: the version of the format must be {VERSION}; it is {pickles.shown(heads[1])}")
    content, at = pickles.read_from(data, at, where, KNOWN, persistent)
    keys, at = pickles.read_from(data, at, where, KNOWN, unexpected)
    places = _places(file, length, where, keys, at, sizes)
    for name, storage in known.items():
        if places.get(name, (0, -1))[1] != storage.length:
            raise ModelFileError(f"{where}: storage {name!r:.40} must have {storage.length:,} numbers where they lie")

    return content, places


def _places(
    file: BinaryIO, length: int, where: str, keys: Any, at: int, sizes: dict[str, int]
) -> dict[str, tuple[int, int]]:
    """Where the numbers of each storage begin, and how many they are; ModelFileError unless all lie in the file."""
    if type(keys) is not list or len(keys) > MOST_TENSORS or not all(type(key) is str for key in keys):
        raise ModelFileError(f"{where}: the keys of storages must be a list of at most {MOST_TENSORS:,} strings")
    places: dict[str, tuple[int, int]] = {}
    for key in keys:
        if key not in sizes or key in places:
            raise ModelFileError(f"{where}: storage {key!r:.40} must belong to a tensor, and be there once")
        file.seek(at)
        head = file.read(8)
        count = struct.unpack("<q", head)[0] if len(head) == 8 else -1
        start, at = at + 8, at + 8 + count * sizes[key]
        if count < 0 or at > length:
            raise ModelFileError(f"{where}: storage {key!r:.40} does not lie in the file; {CUT_OFF}")
        places[key] = (start, count)
    return places

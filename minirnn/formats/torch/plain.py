"""Pickles of a module or a state dict that ``torch.save`` did not write: those of ``pickle.dump(model, file)``.

A storage stands in such a pickle as a call of ``torch.storage._load_from_bytes``, whose argument is a file of torch
before 1.6 that holds this storage and nothing else.  joblib writes the same where it does not compress.
"""

import re
from io import BufferedReader
from pathlib import Path
from typing import Any

from minirnn.core.files import ModelFileError
from minirnn.formats.containers import pickle as pickles
from minirnn.formats.containers.pickle import KnownFunction, UnreadableError
from minirnn.formats.torch import legacy
from minirnn.formats.torch.choosing import chosen
from minirnn.formats.torch.pickled import KNOWN, Storage, stored
from minirnn.formats.torch.stored import StoredTensors

LARGEST_PICKLE = 2**28  # bytes, in which all numbers are
MOST_STORAGES = 2**12  # each of which has pickles of its own, of at most LARGEST_HEAD bytes
PICKLE = b"\x80"


def is_plain(head: bytes) -> bool:
    """Whether a file that begins so is a pickle that names torch, and no file of ``torch.save``."""
    return head.startswith(PICKLE) and re.search(rb"torch[.\n]", head) is not None


def read(file: BufferedReader, length: int, path: Path, part: str | None) -> StoredTensors:
    """The state dict in a pickle of ``length`` bytes, opened at its first; ModelFileError if there is none."""
    if length > LARGEST_PICKLE:
        raise ModelFileError(f"{path}: a pickle of a model may have {LARGEST_PICKLE:,} bytes; it has {length:,}")
    held: dict[str, tuple[bytes, int]] = {}  # the bytes that each storage is in, and where its numbers begin
    made: dict[int, Storage] = {}  # by the id of those bytes, which a pickle may refer to again

    def storage(arguments: tuple[Any, ...]) -> Storage:
        """The storage in a string of bytes, by its place among the others."""
        if len(arguments) != 1 or type(arguments[0]) is not bytes:
            raise UnreadableError("a storage must be made of bytes")
        data, name = arguments[0], str(len(made))
        if id(data) not in made:
            if len(made) == MOST_STORAGES:
                raise UnreadableError(f"the pickle may have {MOST_STORAGES:,} storages")
            one, start = legacy.storage_in(data, f"{path}, storage {name}")
            held[name] = data, start
            made[id(data)] = one._replace(entry=name)
        return made[id(data)]

    def fetch(storage: Storage) -> bytes:
        data, start = held[storage.entry]
        return data[start : start + storage.length * storage.itemsize]

    def unexpected(_: Any) -> Any:
        raise UnreadableError("a persistent id stands where none belongs")

    known = {**KNOWN, "torch.storage._load_from_bytes": KnownFunction(storage)}
    content = pickles.read(file.read(length), str(path), known, unexpected, LARGEST_PICKLE)
    return stored(chosen(content, str(path), part), str(path), length, fetch)

"""Checkpoints of torch's form and pickles of others, pickled by hand."""

import struct
from typing import Any, TypeAlias

import numpy as np
from mutations import zipped
from numpy.typing import NDArray

from minirnn import GRU
from minirnn.formats import torch as torch_files
from minirnn.formats.torch import writing as torch_write

Array: TypeAlias = NDArray[Any]

# the pickles of a file of torch before 1.6 before that of its content
MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}."


def text(words: str) -> bytes:
    return b"X" + struct.pack("<I", len(words.encode())) + words.encode()


def checkpoint_of(models: dict[str, GRU]) -> bytes:
    """A file with the state dicts of several models, by name."""
    pickled, storages = b"\x80\x02}", list[bytes]()
    for name, model in models.items():
        arrays = torch_files.arrays_of(model)
        places = {id(a): len(storages) + k for k, a in enumerate(arrays.values())}
        state = torch_write._pickled(arrays, places).removeprefix(b"\x80\x02").removesuffix(b".")
        pickled += text(name) + state + b"s"
        storages += [a.tobytes() for a in arrays.values()]
    return zipped([("a/data.pkl", pickled + b"."), *((f"a/data/{k}", data) for k, data in enumerate(storages))])


def storage(numbers: Array, *, count: int | None = None, kind: bytes = b"Float") -> bytes:
    """A call of ``_load_from_bytes`` with a file of torch before 1.6 that is one storage."""
    size = numbers.size if count is None else count
    words = text("storage") + b"ctorch\n" + kind + b"Storage\n" + text("0") + text("cpu")
    key = words + b"J" + struct.pack("<i", size) + b"N"
    file = MAGIC + b"\x80\x02(" + key + b"tQ.\x80\x02]" + text("0") + b"a." + struct.pack("<q", numbers.size)
    file += numbers.astype("<f8" if kind == b"ComplexFloat" else "<f4").tobytes()
    return b"ctorch.storage\n_load_from_bytes\nB" + struct.pack("<I", len(file)) + file + b"\x85R"


def tensor(stored: bytes, shape: tuple[int, ...]) -> bytes:
    """A call of ``_rebuild_tensor_v2`` with the storage that ``stored`` makes."""
    strides = np.cumprod((1, *shape[:0:-1]))[::-1]
    words = [b"(" + b"".join(b"J" + struct.pack("<i", n) for n in sizes) + b"t" for sizes in (shape, strides)]
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + stored + b"K\x00" + b"".join(words) + b"\x89}tR"


def dictionary(tensors: dict[str, bytes]) -> bytes:
    return b"\x80\x04}" + b"".join(text(name) + value + b"s" for name, value in tensors.items()) + b"."


def called(module: str, function: str, *values: bytes) -> bytes:
    """A pickle that calls a function with strings of bytes, as Keras 2.12 makes it."""
    return f"\x80\x04c{module}\n{function}\n".encode("latin-1") + arguments(*values) + b"R."


def arguments(*values: bytes) -> bytes:
    return b"(" + b"".join(b"B" + struct.pack("<I", len(value)) + value for value in values) + b"t"

"""Checkpoints of torch's form, pickled by hand."""

import struct

from mutations import zipped

from minirnn import GRU
from minirnn.formats import torch as torch_files
from minirnn.formats.torch import writing as torch_write


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

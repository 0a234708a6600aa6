"""Small valid files of every format that minirnn reads, made here; ``hostile.py`` spoils them.

A format is one function: decorated, it is known, by its name and by the loader that its files are for.
"""

import base64
import json
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import keras_stored
import numpy as np
import onnx_structures
import structures
import torch_attacks  # noqa: F401 - adds its kinds to those of structures
import torch_objects
import torch_structures  # noqa: F401 - the same
from mutations import unzipped, zipped
from pickled import called, dictionary, storage
from pickled import tensor as tensor_of
from torch_checkpoints import CHECKPOINTS, LIGHTNING

from minirnn import GRU, LSTM, RNN, Bidirectional, Dropout, Embedding, Last, Layer, Linear, Recurrent, Sequential, save
from minirnn.formats import torch as torch_files
from minirnn.language.model import LanguageModel
from minirnn.language.text import UNKNOWN, Vocabulary
from minirnn.layers.activations import Function
from minirnn.recurrent.variants import LSTMVariant


class Format(NamedTuple):
    """``files`` makes the corpus; ``loader`` is what loads one of them, ``"module:function"``.

    ``structure`` draws a file whose bytes are right, and whose structure is hostile; one file in ``every`` is such.
    """

    files: Callable[[], list[bytes]]
    loader: str
    structure: Callable[[Random], bytes] | None = None
    every: int = 4


FORMATS: dict[str, Format] = {}

Files = Callable[[], list[bytes]]


def corpus(
    name: str, loader: str = "minirnn:load", structure: Callable[[Random], bytes] | None = None, every: int = 4
) -> Callable[[Files], Files]:
    """Make a function the corpus of a format."""

    def known(files: Files) -> Files:
        FORMATS[name] = Format(files, loader, structure, every)
        return files

    return known


def ready(model: Layer, dtype: str = "float32", seed: int = 0) -> Layer:
    """``model`` with every weight drawn."""
    model.init(seed, dtype=dtype, overwrite=True)
    rng = np.random.default_rng(seed)
    for w in model.named_weights().values():
        w[...] = rng.normal(0, 0.5, w.shape)
    return model


def written(write: Callable[[Any, Path], Any], model: Any, suffix: str = "") -> bytes:
    """What ``write(model, path)`` writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model{suffix}"
        write(model, path)
        return path.read_bytes()


@corpus("native", structure=structures.drawn("native"), every=50)
def native() -> list[bytes]:
    embedding = Embedding(5, 4)
    models: list[Layer | LanguageModel] = [
        ready(Sequential(Embedding(5, 3), GRU(3, 4, 2, dropout=0.3), Dropout(0.2), Linear(4, 5))),
        ready(Sequential(Bidirectional(LSTM(3, 2), GRU(3, 2)), Last(), Linear(4, 2, bias=False)), "float64"),
        ready(Sequential(embedding, RNN(4, 4, nonlinearity="relu"), Linear(4, 5, tie=embedding))).freeze("1"),
        ready(GRU(3, 4, reset="before", bidirectional=True, trainable_state=True)),
        ready(LSTM(3, 4, 2, trainable_state=True, proj_size=2)),
        ready(Recurrent(LSTMVariant(Function("hard_sigmoid"), clip=0.5, peepholes=True), 3, 4, 2, bidirectional=True)),
        LanguageModel.build(Vocabulary([UNKNOWN, "a", "天"]), hidden_size=3, embedding_size=2).init(1),
    ]
    return [written(save, model) for model in models]


def torch_models() -> list[Layer]:
    embedding = Embedding(6, 4)
    return [
        ready(Sequential(Embedding(5, 3), GRU(3, 4, 2, bidirectional=True), Linear(8, 5))),
        ready(LSTM(3, 4), "float64"),
        ready(LSTM(3, 4, 2, bidirectional=True, proj_size=2)),
        ready(Sequential(embedding, RNN(4, 4), Linear(4, 6, tie=embedding))),
    ]


@corpus("torch zip", structure=structures.drawn("torch zip"), every=50)
def torch_zip() -> list[bytes]:
    files = [written(torch_files.save, model, ".pt") for model in torch_models()]
    entries = dict(unzipped(files[0]))
    state = entries["archive/data.pkl"].removeprefix(b"\x80\x02").removesuffix(b".")
    checkpoint = b"".join([
        b"\x80\x02}q\x00(X\x05\x00\x00\x00epochK\x03X\x10\x00\x00\x00model_state_dict",
        state,
        b"}X\x09\x00\x00\x00_metadata}sb",  # as torch has it, an attribute
        b"X\x06\x00\x00\x00configq\x01}(X\x02\x00\x00\x00lrG?\xb9\x99\x99\x99\x99\x99\x9a",  # 0.1
        b"X\x01\x00\x00\x00a]q\x02(K\x01\x88NeX\x01\x00\x00\x00bK\x01M\x00\x02J\x00\x00\x01\x00\x87h\x02\x86uu.",
    ])  # fmt: skip
    whole = list((entries | {"archive/data.pkl": checkpoint}).items())
    return [*files, zipped(whole), zipped(whole, zipfile.ZIP_DEFLATED), *_of_torch()]


def _of_torch() -> list[bytes]:
    """Files of torch's own, where it is installed: with end records of 64 bits, and much beside a state dict."""
    try:
        import torch
    except ImportError:
        return []
    torch.manual_seed(0)
    net = torch.nn.GRU(3, 4, bidirectional=True)
    net(torch.zeros(2, 1, 3))[0].sum().backward()
    optimizer = torch.optim.Adam(net.parameters())
    optimizer.step()
    flat = torch.nn.utils.parameters_to_vector(net.parameters()).detach()
    views, at = {}, 0
    for name, tensor in net.state_dict().items():
        views[name], at = flat[at : at + tensor.numel()].view(tensor.shape), at + tensor.numel()
    checkpoint = {"state_dict": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "args": {"lr": 0.1}}
    return [written(torch.save, made) for made in (net.half().state_dict(), views, checkpoint)]


@corpus("torch safetensors", structure=structures.drawn("torch safetensors"), every=50)
def torch_safetensors() -> list[bytes]:
    files = [written(torch_files.save, model, ".safetensors") for model in torch_models()]
    return [*files, *(_halved(data) for data in files[:1])]


def saved_whole() -> list[Any]:
    """What may be saved where a state dict would do: modules, alone and in checkpoints, with parts that would run."""
    return [
        torch_objects.tagger(),
        torch_objects.lstm(3, 4, batch_first=True),
        {"epoch": 3, "model": torch_objects.tagger(dropout=0.2), "args": torch_objects.Made("argparse Namespace", {})},
        {
            "state_dict": torch_objects.state_of(torch_objects.tagger()),
            "on_load": torch_objects.Call("os system", "true"),
        },
        torch_objects.around(),
        torch_objects.module("a Net", {}, {"fc": torch_objects.linear(3, 2), "act": torch_objects.Call("a b", 1)}),
    ]


@corpus("torch whole", structure=structures.drawn("torch whole"), every=20)
def torch_whole() -> list[bytes]:
    return [torch_objects.in_zip(one) for one in saved_whole()]


@corpus("torch before 1.6", structure=structures.drawn("torch before 1.6"), every=20)
def torch_before() -> list[bytes]:
    return [torch_objects.before_1_6(one) for one in saved_whole()]


def in_both(checkpoints: dict[str, Any]) -> list[bytes]:
    return [write(one) for one in checkpoints.values() for write in (torch_objects.in_zip, torch_objects.before_1_6)]


@corpus("torch trainers", structure=structures.drawn("torch trainers"), every=20)
def torch_trainers() -> list[bytes]:
    return in_both(CHECKPOINTS)


@corpus("torch lightning", structure=structures.drawn("torch lightning"), every=20)
def torch_lightning() -> list[bytes]:
    return in_both(LIGHTNING)


def programs() -> dict[str, dict[str, Any]]:
    """Programs of torch's, each with an input and what torch makes of it."""
    text = Path(__file__).with_name("torch_programs.json").read_text(encoding="utf-8")
    return {
        name: one | {"file": zlib.decompress(base64.b64decode(one["file"]))} for name, one in json.loads(text).items()
    }


@corpus("torch script", structure=structures.drawn("torch script"), every=20)
def torch_script() -> list[bytes]:
    return [one["file"] for name, one in programs().items() if not name.startswith("exported")]


@corpus("torch export", structure=structures.drawn("torch export"), every=20)
def torch_export() -> list[bytes]:
    files = [one["file"] for name, one in programs().items() if name.startswith("exported")]
    state = torch_objects.in_zip(torch_objects.state_of(torch_objects.linear(3, 2)))
    old = [("serialized_exported_program.json", b"{}"), ("serialized_state_dict.pt", state)]  # until torch 2.6
    return [*files, zipped(old)]


@corpus("torch arrays", "torch_stored:read_arrays")
def torch_arrays() -> list[bytes]:
    """Both, for every tensor in them."""
    return torch_zip() + torch_safetensors()


def _halved(data: bytes) -> bytes:
    """A safetensors file of float32 in bfloat16, its upper half."""
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    for name, entry in header.items():
        if name != "__metadata__":
            entry["dtype"], entry["data_offsets"] = "BF16", [offset // 2 for offset in entry["data_offsets"]]
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + np.frombuffer(data[8 + size :], "<u2")[1::2].tobytes()


def stored(name: str) -> list[dict[str, Any]]:
    """What stands in a file beside this one, with the ``file`` of each unpacked."""
    found = json.loads(Path(__file__).with_name(name).read_text(encoding="utf-8")).values()
    return [one | {"file": zlib.decompress(base64.b64decode(one["file"]))} for one in found]


def of_keras(ending: str, *, whole: bool = True) -> list[bytes]:
    """What Keras 2 and 3 wrote: whole models, or weights alone."""
    found = keras_stored.stored().values()
    return [one.file for one in found if one.ending == ending and (one.config is None) is whole]


@corpus("torch pickles")
def torch_pickles() -> list[bytes]:
    """State dicts in pickles that torch did not write, whose storages are files."""
    found = []
    for model in (LSTM(12, 16), Sequential(Embedding(30, 16), GRU(16, 12), Linear(12, 9))):  # mostly weights
        arrays = torch_files.arrays_of(ready(model))
        found.append(dictionary({name: tensor_of(storage(array), array.shape) for name, array in arrays.items()}))
    return found


@corpus("keras zip", structure=structures.drawn("keras zip"), every=50)
def keras_zip() -> list[bytes]:
    """Zips with HDF5 in them."""
    return of_keras(".keras")


@corpus("keras h5", structure=structures.drawn("keras h5"), every=50)
def keras_h5() -> list[bytes]:
    """HDF5 with the model's description in it, in old layouts and new ones, compressed and not."""
    return of_keras(".h5")


@corpus("keras pickles")
def keras_pickles() -> list[bytes]:
    """Pickles with such zips in them."""
    return [called("keras.saving.pickle_utils", "load", file) for file in of_keras(".keras")]


@corpus("keras weights", "keras_stored:load_weights")
def keras_weights() -> list[bytes]:
    return of_keras(".weights.h5", whole=False)


@corpus("keras old weights", "keras_stored:load_old_weights")
def keras_old_weights() -> list[bytes]:
    return of_keras(".h5", whole=False)


@corpus("onnx", structure=onnx_structures.structure)
def onnx_files() -> list[bytes]:
    """Graphs of every operator, recurrent nodes, chains of layers, what torch and minirnn write."""
    return [one["file"] for one in stored("onnx_files.json")]

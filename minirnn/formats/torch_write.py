"""A model's weights under torch's names and in its layouts, and a ``.pt`` file of them, made without torch."""

import struct
import zipfile
from collections.abc import Iterator, Sequence
from typing import IO

import numpy as np

from minirnn.cells import GRUCell, LSTMCell, ProjectedLSTMCell, ReluCell, TanhCell
from minirnn.core.backend import Array
from minirnn.core.layer import Layer
from minirnn.core.module import brief
from minirnn.language.model import LanguageModel
from minirnn.layers.compose import Bidirectional, Sequential
from minirnn.layers.feedforward import Activation, Dropout, Embedding, Last, Linear
from minirnn.recurrent.direction import Direction
from minirnn.recurrent.networks import Recurrent
from minirnn.recurrent.zoneout import GOES_ON

CELLS = (TanhCell, ReluCell, GRUCell, LSTMCell)
PLAIN = (Activation, Dropout, Last)  # without weights: what stands in their place is written in a module's forward
STORAGES = {"float64": "Double", "float32": "Float", "float16": "Half"}
ALIGNMENT = 64  # bytes


def arrays_of(model: Layer | LanguageModel, names: Sequence[str] | None = None) -> dict[str, Array]:
    """The weights as ``formats.torch.arrays_of`` describes them."""
    network = model.network if isinstance(model, LanguageModel) else model
    if not isinstance(network, Layer):
        raise TypeError(f"expected a model made of layers or a LanguageModel; got {type(network).__name__}")
    parameters = network.bound
    network.check_whole("writing torch's names")
    if parameters.quantized:
        raise ValueError(
            f"torch's modules have no place for weights quantised to {parameters.quantized}: write the original"
        )
    if parameters.dtype.name not in STORAGES:
        raise ValueError(f"torch's modules have floating-point weights; got {parameters.dtype.name}")
    if names is None:
        return dict(_named(network, "", {}))
    parts = network.layers if type(network) is Sequential else (network,)
    layers = [layer for layer in parts if any(one.specs() or one.partners() for one in layer.walk())]
    if isinstance(names, str) or len(names) != len(layers) or len(set(names)) != len(layers) or not all(names):
        raise ValueError(
            f"names must be {len(layers)} different names, one for each layer that has weights; got {names!r:.80}"
        )
    known: dict[int, Array] = {}
    return {name: a for layer, path in zip(layers, names, strict=True) for name, a in _named(layer, f"{path}.", known)}


def dropped(model: Layer | LanguageModel) -> list[str]:
    """What the model computes with and a state dict has no place for, layer by layer, in a few words each."""
    network = model.network if isinstance(model, LanguageModel) else model
    words = []
    for layer in network.walk():
        place = f" (layer {layer.prefix.removesuffix('.')})" if getattr(layer, "prefix", "") else ""
        if type(layer) in PLAIN:
            words.append(f"{brief(layer)}{place}")
        elif isinstance(layer, (Recurrent, Embedding)):
            options = {name: layer.config().get(name) for name in ("nonlinearity", "dropout", "weight_dropout", "mask")}
            words += [
                f"{type(layer).__name__}'s {name}={value!r}{place}"
                for name, value in options.items()
                if value not in (None, "tanh") and (value or name == "mask")
            ]
    return words


def _named(layer: Layer, path: str, known: dict[int, Array]) -> Iterator[tuple[str, Array]]:
    """The arrays of one layer; ``known`` has the matrices of embeddings, which may be tied."""
    host = layer.bound.backend.host
    if type(layer) is Sequential:
        for k, child in enumerate(layer.layers):
            yield from _named(child, f"{path}{k}.", known)
    elif type(layer) is Embedding:
        known[id(layer)] = host(layer.weight("W")).copy()
        yield f"{path}weight", known[id(layer)]
    elif type(layer) is Linear:
        W = known[id(layer.tie)] if layer.tie else host(layer.weight("W")).T.copy()
        yield f"{path}weight", W
        if layer.bias:
            yield f"{path}bias", host(layer.weight("b")).copy()
    elif isinstance(layer, Recurrent) and _has_words(layer):
        bias = _has_bias(layer)
        for name, direction in zip(layer.names, layer.directions, strict=True):
            end = f"_l{name.removesuffix('.reverse')}{'_reverse' if direction.reverse else ''}"
            yield from _direction(direction, path, end, bias=bias)
    elif type(layer) is Bidirectional and _is_one_module(layer):
        bias = _has_bias(layer)
        for part, end in zip(layer.children().values(), ("_l0", "_l0_reverse"), strict=True):
            assert isinstance(part, Recurrent)
            yield from _direction(part.directions[0], path, end, bias=bias)
    elif type(layer) not in PLAIN:
        zoned = any(getattr(one, "zoneout", 0) for one in layer.walk())
        raise ValueError(f"torch has no module like {brief(layer)}{f': {GOES_ON}' if zoned else ''}")


def _has_words(layer: Recurrent) -> bool:
    """Whether torch has a module that computes the same."""
    known = isinstance(layer.cell, ProjectedLSTMCell) or any(layer.cell is cell for cell in CELLS)
    return known and not layer.trainable_state and not layer.zoneout


def _is_one_module(layer: Bidirectional) -> bool:
    """Whether the two layers are the directions of a module: of its first layer, since the second reads both."""
    ahead, back = layer.children().values()
    if layer.merge != "concat" or not (isinstance(ahead, Recurrent) and isinstance(back, Recurrent)):
        return False
    alike = ahead.cell == back.cell and ahead.hidden_size == back.hidden_size
    return alike and all(_has_words(one) and len(one.directions) == 1 for one in (ahead, back))


def _has_bias(layer: Layer) -> bool:
    """Whether the module has biases: those that are 0 and frozen stand for ``bias=False``."""
    names = [name for name in layer.all_specs() if name.rpartition(".")[2] in ("b", "bn")]
    weights, frozen = layer.named_weights(), layer.bound.frozen
    return not all(layer.prefix + name in frozen and not weights[name].any() for name in names)


def _direction(direction: Direction, path: str, end: str, *, bias: bool) -> Iterator[tuple[str, Array]]:
    """One direction of one layer; its bias becomes torch's first, and the second is 0 but for the GRU's candidate."""
    w = {name: direction.bound.backend.host(direction.weight(name)) for name in direction.specs()}
    yield f"{path}weight_ih{end}", w["W"].T.copy()
    yield f"{path}weight_hh{end}", w["U"].T.copy()
    if bias:
        second = np.zeros_like(w["b"])
        if "bn" in w:
            second[-len(w["bn"]) :] = w["bn"]
        yield f"{path}bias_ih{end}", w["b"].copy()
        yield f"{path}bias_hh{end}", second
    if "P" in w:
        yield f"{path}weight_hr{end}", w["P"].T.copy()


# ---------------------------------------------------------------------- the file


def write(arrays: dict[str, Array], file: IO[bytes]) -> None:
    """A ``.pt`` of these arrays as ``torch.save`` would lay it out; the same arrays give the same bytes.

    Arrays that are one object share a storage, as tied parameters do.
    """
    storages = list({id(a): a for a in arrays.values()}.values())
    places = {id(a): k for k, a in enumerate(storages)}
    with zipfile.ZipFile(file, "w") as archive:

        def add(name: str, content: bytes | memoryview) -> None:
            entry = zipfile.ZipInfo(f"archive/{name}")  # its time is 1980's: a file's bytes depend on nothing else
            long = len(content) * 1.05 > zipfile.ZIP64_LIMIT  # when zipfile puts 20 bytes before those below
            start = file.tell() + 30 + len(entry.filename) + 4 + (20 if long else 0)
            padding = -start % ALIGNMENT
            entry.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding  # as torch pads
            archive.writestr(entry, content)

        add("data.pkl", _pickled(arrays, places))
        add("byteorder", b"little")
        for k, a in enumerate(storages):
            add(f"data/{k}", a.astype(a.dtype.newbyteorder("<"), copy=False).data.cast("B"))
        add("version", b"3\n")


def _pickled(arrays: dict[str, Array], places: dict[int, int]) -> bytes:
    """An OrderedDict of tensors as a pickle of protocol 2, instruction by instruction."""
    out = [b"\x80\x02", b"ccollections\nOrderedDict\n", b")R", b"("]
    for name, a in arrays.items():
        strides = [stride // a.itemsize for stride in a.strides]
        kind = f"ctorch\n{STORAGES[a.dtype.name]}Storage\n".encode()
        key = b"(" + _text("storage") + kind + _text(str(places[id(a)])) + _text("cpu") + _integer(a.size) + b"tQ"
        sizes = b"(" + b"".join(map(_integer, a.shape)) + b"t" + b"(" + b"".join(map(_integer, strides)) + b"t"
        hooks = b"\x89" + b"ccollections\nOrderedDict\n)R"  # no gradient required, no hooks
        out += [_text(name), b"ctorch._utils\n_rebuild_tensor_v2\n", b"(", key, _integer(0), sizes, hooks, b"tR"]
    return b"".join([*out, b"u."])


def _text(text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def _integer(n: int) -> bytes:
    """In as many bytes as it takes: torch reads no other integers beyond 31 bits."""
    if n < 2**31:
        return b"J" + struct.pack("<i", n)
    data = n.to_bytes(n.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data

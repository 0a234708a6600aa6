"""A model's weights under torch's names and in its layouts, and a ``.pt`` file of them, made without torch."""

import os
import struct
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from minirnn.cells import GRUCell, LSTMCell, ProjectedLSTMCell, ReluCell, TanhCell
from minirnn.core.backend import Array
from minirnn.core.files import atomic_write, warn
from minirnn.core.layer import Layer
from minirnn.core.module import brief
from minirnn.formats.models import check_chain, check_finite, has_bias, network_of
from minirnn.formats.torch import attending
from minirnn.language.model import LanguageModel
from minirnn.layers.attention import MultiHeadAttention
from minirnn.layers.compose import Bidirectional, Sequential
from minirnn.layers.convolution import Conv1d
from minirnn.layers.feedforward import Activation, Dropout, Embedding, Last, Linear, PReLU
from minirnn.layers.normalisation import BatchNorm1d, LayerNorm
from minirnn.layers.pooling import AvgPool1d, Flatten, GlobalAvgPool1d, GlobalMaxPool1d, MaxPool1d
from minirnn.recurrent.direction import Direction
from minirnn.recurrent.networks import Recurrent
from minirnn.recurrent.zoneout import GOES_ON

CELLS = (TanhCell, ReluCell, GRUCell, LSTMCell)
PLAIN = (  # without weights: what stands in their place is written in a module's forward
    *(Activation, Dropout, Last),
    *(MaxPool1d, AvgPool1d, GlobalMaxPool1d, GlobalAvgPool1d, Flatten),
)
STORAGES = {"float64": "Double", "float32": "Float", "float16": "Half"}
ALIGNMENT = 64  # bytes
ENDINGS = (".pt", ".pth", ".safetensors")
MOST_SHOWN = 8  # layers in a warning


def arrays_of(model: Layer | LanguageModel, *, names: Sequence[str] | None = None) -> dict[str, Array]:
    """The weights under torch's names and in its layouts, as NumPy arrays of their own.

    Names are those of the module itself for one layer, and for a Sequential those of an nn.Sequential,
    ``"1.weight_ih_l0"``; ``names=("embedding", "gru", "fc")``, one for each layer with weights, are those of a module's
    attributes.  ``b`` becomes bias_ih, and bias_hh is 0 but for a GRU's ``bn``; biases that are 0 and frozen are left
    out, as of a module with ``bias=False``.  A tied weight is one array under two names.  A ModelFileWarning names what
    a state dict has no place for: activations, ``Last``, dropout, a relu in an RNN.

    Raises ValueError, which names the layer, where torch has no such module: a GRU with ``reset="before"``, trainable
    initial states, cells of your own, a Bidirectional of layers that are not two directions of one module.
    """
    network = network_of(model, "expected")
    check_chain(network, "A state dict")
    parameters = network.bound
    network.check_whole("writing torch's names")
    if parameters.quantized:
        raise ValueError(
            f"torch's modules have no place for weights quantised to {parameters.quantized}: write the original"
        )
    if parameters.dtype.name not in STORAGES:
        raise ValueError(f"torch's modules have floating-point weights; got {parameters.dtype.name}")
    arrays = dict(_named(network, "", {})) if names is None else _renamed(network, names)
    lost = dropped(network)
    if lost:
        shown = ", ".join(lost[:MOST_SHOWN]) + (" ..." if len(lost) > MOST_SHOWN else "")
        warn(f"a state dict has weights and nothing else: without {shown}, which the module in torch has to have", lost)
    return arrays


def to_torch(model: Layer | LanguageModel, *, names: Sequence[str] | None = None) -> dict[str, Any]:
    """The weights as ``arrays_of`` names them, as torch tensors: ``module.load_state_dict(to_torch(model))``.

    Needs torch, which minirnn does not install; ``save`` writes a file that torch reads elsewhere.  Warns as
    ``arrays_of`` does.
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"to_torch needs torch, which is not installed here ({error}); "
            "minirnn.formats.torch.save(model, 'a.pt') does without: torch.load('a.pt') reads that file where torch is"
        ) from error
    arrays = arrays_of(model, names=names)
    tensors = {id(a): torch.from_numpy(a) for a in arrays.values()}  # a tied weight is one tensor
    return {name: tensors[id(a)] for name, a in arrays.items()}


def save(model: Layer | LanguageModel, path: str | os.PathLike[str], *, names: Sequence[str] | None = None) -> None:
    """Write the weights as ``arrays_of`` names them, for torch: whole or not at all.

    ``.pt`` and ``.pth`` are for ``torch.load(path, weights_only=True)``, ``.safetensors`` for
    ``safetensors.torch.load_file(path)``.  The same weights give the same bytes.  Warns as ``arrays_of`` does.
    """
    ending = Path(path).suffix
    if ending not in ENDINGS:
        raise ValueError(f"the file's name must end in {', '.join(ENDINGS)}; got {os.fspath(path)!r}")
    arrays = arrays_of(model, names=names)
    check_finite((f"weight {name}", a) for name, a in arrays.items())
    with atomic_write(path) as file:
        if ending == ".safetensors":
            from safetensors.numpy import save as to_bytes

            file.write(to_bytes(arrays, metadata={"format": "pt"}))
        else:
            write(arrays, file)


def _renamed(network: Layer, names: Sequence[str]) -> dict[str, Array]:
    """The arrays, of each layer with weights under a name of the caller's."""
    parts = network.layers if type(network) is Sequential else (network,)
    layers = [layer for layer in parts if any(one.specs() or one.partners() for one in layer.walk())]
    if isinstance(names, str) or len(names) != len(layers) or len(set(names)) != len(layers) or not all(names):
        raise ValueError(
            f"names must be {len(layers)} different names, one for each layer that has weights; got {names!r:.80}"
        )
    known: dict[int, Array] = {}
    return {name: a for layer, path in zip(layers, names, strict=True) for name, a in _named(layer, f"{path}.", known)}


def dropped(network: Layer) -> list[str]:
    """Parts of the model that a state dict has no place for, layer by layer, in a few words each."""
    words = []
    for layer in network.walk():
        place = f" (layer {layer.prefix.removesuffix('.')})" if getattr(layer, "prefix", "") else ""
        if type(layer) in PLAIN:
            words.append(f"{brief(layer)}{place}")
        elif isinstance(layer, (LayerNorm, BatchNorm1d, Conv1d)):
            usual = {"eps": 1e-5, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}
            own = {name: layer.config().get(name, value) for name, value in usual.items()}
            odd = (name for name, value in own.items() if value != usual[name])
            words += [f"{type(layer).__name__}'s {name}={own[name]!r}{place}" for name in odd]
        elif isinstance(layer, MultiHeadAttention):
            words.append(f"{type(layer).__name__}'s num_heads={layer.num_heads}{place}")
            words += [f"{type(layer).__name__}'s causal=True{place}"] if layer.causal else []
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
    elif isinstance(layer, (LayerNorm, BatchNorm1d, PReLU, Conv1d)):
        yield from _around(layer, path)
    elif isinstance(layer, MultiHeadAttention) and attending.has_words(layer):
        yield from attending.arrays_of(layer, path)
    elif isinstance(layer, Recurrent) and _has_words(layer):
        bias = has_bias(layer)
        for name, direction in zip(layer.names, layer.directions, strict=True):
            end = f"_l{name.removesuffix('.reverse')}{'_reverse' if direction.reverse else ''}"
            yield from _direction(direction, path, end, bias=bias)
    elif type(layer) is Bidirectional and _is_one_module(layer):
        bias = has_bias(layer)
        for part, end in zip(layer.children().values(), ("_l0", "_l0_reverse"), strict=True):
            assert isinstance(part, Recurrent)
            yield from _direction(part.directions[0], path, end, bias=bias)
    elif type(layer) not in PLAIN:
        zoned = any(getattr(one, "zoneout", 0) for one in layer.walk())
        raise ValueError(f"torch has no module like {brief(layer)}{f': {GOES_ON}' if zoned else ''}")


def _around(layer: LayerNorm | BatchNorm1d | PReLU | Conv1d, path: str) -> Iterator[tuple[str, Array]]:
    """The arrays of a norm, a convolution or a PReLU; a norm that has a bias has a gain in torch as well."""
    w = {name: layer.bound.backend.host(layer.weight(name)) for name in layer.specs()}
    if isinstance(layer, Conv1d):
        w["W"] = w["W"].reshape(layer.kernel_size, -1, layer.out_channels).transpose(2, 1, 0)
    elif isinstance(layer, LayerNorm) and layer.bias and not layer.gain:
        w = {"g": np.ones_like(w["b"]), **w}
    names = {"W": "weight", "g": "weight", "a": "weight", "b": "bias", "mean": "running_mean", "var": "running_var"}
    for name, array in w.items():
        yield f"{path}{names[name]}", array.copy(order="C")


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

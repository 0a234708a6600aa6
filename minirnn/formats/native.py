"""minirnn's own file: a safetensors file of the named weights, whose metadata describes the network in JSON."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, TypeAlias

import numpy as np

from minirnn.core.backend import BFLOAT16, Array, get_backend, get_dtype
from minirnn.core.bfloat16 import widened
from minirnn.core.files import ModelFileError, atomic_write
from minirnn.core.layer import Layer
from minirnn.core.module import brief
from minirnn.core.protocol import name_of
from minirnn.formats.filling import filled
from minirnn.formats.models import check_finite, network_of
from minirnn.formats.opening import LARGEST_HEADER, MOST_TENSORS, parsed, safetensors_in, tensors_of
from minirnn.inference.quantize import STORED, restored, stored, stored_as
from minirnn.language.model import LanguageModel
from minirnn.language.text import Vocabulary
from minirnn.layers.attention import Attention, MultiHeadAttention
from minirnn.layers.compose import Bidirectional, Sequential
from minirnn.layers.convolution import Conv1d
from minirnn.layers.feedforward import Activation, Dropout, Embedding, Last, Linear, Masking, PReLU, Reverse
from minirnn.layers.graph import LayerGraph
from minirnn.layers.joining import Combine, Concatenate, Dot
from minirnn.layers.normalisation import BatchNorm1d, LayerNorm
from minirnn.layers.pooling import AvgPool1d, Flatten, GlobalAvgPool1d, GlobalMaxPool1d, MaxPool1d
from minirnn.layers.reshaping import Exchange, Repeat, Reshape
from minirnn.layers.wiring import Call, Entry
from minirnn.more_cells import NAMED
from minirnn.recurrent.networks import GRU, LSTM, RNN, Recurrent
from minirnn.recurrent.variants import VARIANTS

KINDS: dict[str, type[Layer]] = {
    c.__name__: c
    for c in (
        *(RNN, GRU, LSTM, Recurrent, Linear, Embedding, Activation, PReLU, Dropout, Masking, Reverse, Last),
        *(LayerNorm, BatchNorm1d, Conv1d, MaxPool1d, AvgPool1d, GlobalMaxPool1d, GlobalAvgPool1d, Flatten),
        *(Combine, Concatenate, Dot, Exchange, Repeat, Reshape, Attention, MultiHeadAttention),
    )
}
DTYPES = {"F32": "float32", "F64": "float64"}
ALL_DTYPES = DTYPES | {"F16": "float16", "BF16": "bfloat16", "I8": "int8"}  # of a quantised model too
Kinds: TypeAlias = dict[str, type[Layer]]
MADE_OF_LAYERS = ("Sequential", "Bidirectional", "LayerGraph")
PLAIN = (int, float, str, NoneType)  # what an argument of a layer of one's own may be
VERSION = 1
LARGEST = 2**40  # no size in a description may exceed it
MOST_LAYERS = 10_000  # in a description, those made of layers included
DEEPEST = 32  # layers within layers
DESCRIPTION = "the description of the network"  # in errors
FLAGS = (  # arguments that are true or false
    *("bidirectional", "bias", "count_padding"),
    *("gain", "locked", "over_steps", "trainable_state"),
    *("causal", "normalize", "scale"),
)


def save(model: Layer | LanguageModel, path: str | os.PathLike[str], *, own: Sequence[type[Layer]] = ()) -> None:
    """Write a model to ``path`` (``.safetensors`` by custom), whole or not at all.

    An existing file is replaced at the last moment; if anything fails it stays as it was.  A layer of your own is
    described by its class's name and ``arguments``, which must be numbers, strings, flags or None; its class stands in
    ``own``, here and for ``load``.  Cells of your own and complex weights are not described by the format: ValueError
    says so before anything is written.
    """
    from safetensors.numpy import save as to_bytes  # 10 ms that most programs do not need

    network = network_of(model, "save takes")
    parameters = network.bound
    network.check_whole("save")
    if parameters.dtype.name not in DTYPES.values():
        raise ValueError(
            f"a model file holds float32 or float64 weights; got {parameters.dtype.name}: model.to(dtype=...) first"
        )
    about: dict[str, Any] = {
        "version": VERSION,
        "network": _described(network, kinds_with(own)),
        "dtype": parameters.dtype.name,
        "seed": parameters.seed,
        "calls": parameters.calls,
        "frozen": sorted(parameters.frozen),
    }
    if parameters.quantized:
        about["quantized"] = parameters.quantized
    if parameters.compute:
        about["compute"] = parameters.compute
    if isinstance(model, LanguageModel):
        about |= {"task": model.task, "vocabulary": "".join(model.vocab.symbols)}
    weights = stored(parameters, network.all_specs())
    tensors = {name: np.ascontiguousarray(parameters.backend.host(w)) for name, w in weights.items()}
    check_finite((f"weight {name}", w) for name, w in tensors.items())
    layers = sum(1 for _ in network.walk())
    if layers > MOST_LAYERS:
        raise ValueError(f"a model file may describe {MOST_LAYERS:,} layers; this model has {layers:,}")
    description = json.dumps(about)
    parsed(description, DESCRIPTION)  # what is too large to be read is not written
    data = to_bytes(tensors, metadata={"minirnn": description})
    if parameters.quantized == "bf16":
        data = _as_bfloat16(data)
    header = int.from_bytes(data[:8], "little")
    if header > LARGEST_HEADER or len(tensors) > MOST_TENSORS:
        raise ValueError(
            f"a model file may have {MOST_TENSORS:,} weights, named and described in {LARGEST_HEADER:,} bytes; "
            f"these are {len(tensors):,} in {header:,}"
        )
    with atomic_write(path) as file:
        file.write(data)


def load(
    path: Path, *, backend: str = "auto", dtype: Any = None, own: Sequence[type[Layer]] = ()
) -> Layer | LanguageModel:
    """Read what ``save`` wrote: a LanguageModel where a vocabulary was saved, else the layer.

    ``dtype`` None keeps the file's; ``own`` are the classes of layers of your own.  Raises
    ModelFileError for anything that is not a sound model file.
    """
    kinds = kinds_with(own)
    with safetensors_in(path) as (file, size):
        about = _metadata(path, file.metadata())
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - safe_open is no mapping
        tensors = {name: (tuple(s.get_shape()), s.get_dtype()) for name, s in slices.items()}
        network, vocab = _build(path, about, len(tensors), kinds)
        _check(path, network, tensors, about)
        if "quantized" in about:
            _quantized(path, network, tensors_of(path, file, size), about["quantized"], backend, dtype)
        else:
            same = dtype is None or np.dtype(dtype).name == about["dtype"]
            compute, dtype = about.get("compute") if same else None, about["dtype"] if dtype is None else dtype
            filled(network, file.get_tensor, path, backend=backend, dtype=dtype, compute=compute)
        parameters = network.bound
        parameters.seed, parameters.calls = about["seed"], about["calls"]
        parameters.frozen = set(about["frozen"])
        return network if vocab is None else LanguageModel(network, vocab, about["task"])


def _as_bfloat16(data: bytes) -> bytes:
    """A safetensors file in which uint16 are a bfloat16's bits, with a header that says so: NumPy has no such dtype."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    for name, tensor in header.items():
        if name != "__metadata__" and tensor["dtype"] == "U16":
            tensor["dtype"] = "BF16"
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def kinds_with(own: Sequence[type[Layer]]) -> Kinds:
    """The kinds of layers that a file may name: minirnn's, and these."""
    kinds = dict(KINDS)
    for kind in own:
        if not (isinstance(kind, type) and issubclass(kind, Layer)):
            raise ValueError(f"own must list classes of layers; got {kind!r:.60}")
        if kind.__name__ in kinds or kind.__name__ in MADE_OF_LAYERS:
            raise ValueError(f"own has two layers named {kind.__name__}, or one that is named as one of minirnn's")
        kinds[kind.__name__] = kind
    return kinds


def _described(layer: Layer, kinds: Kinds, depth: int = 0) -> dict[str, Any]:
    """A layer as JSON: its kind and arguments, or the layers it is made of; ``depth`` says within how many it is."""
    kind = type(layer).__name__
    if depth > DEEPEST:
        raise ValueError(f"a model file may have layers within layers {DEEPEST} deep; this model is deeper")
    if type(layer) is Sequential:
        return {"kind": kind, "layers": [_described(child, kinds, depth + 1) for child in layer.layers]}
    if type(layer) is Bidirectional:
        parts = {name: _described(child, kinds, depth + 1) for name, child in layer.children().items()}
        return {"kind": kind, "merge": layer.merge} | parts
    if type(layer) is LayerGraph:
        return {
            "kind": kind,
            "entries": [list(entry) for entry in layer.entries],
            "layers": {name: _described(child, kinds, depth + 1) for name, child in layer.layers.items()},
            "calls": [[list(part) if isinstance(part, tuple) else part for part in call] for call in layer.calls],
            "outputs": layer.outputs,
        }
    if kinds.get(kind) is not type(layer):
        raise ValueError(
            f"a model file cannot describe {brief(layer)}: its kind is not one of minirnn's own, "
            f"and not in own=[...], where a layer of yours is named"
        )
    config = layer.config()
    if kind not in KINDS:
        for name, value in config.items():
            if not isinstance(value, PLAIN):
                raise ValueError(
                    f"a model file cannot describe {brief(layer)}: {name} must be a number, a string, a flag or None; "
                    f"got {type(value).__name__}"
                )
    if config.get("tie") is not None:
        config["tie"] = config["tie"].prefix
    if "cell" in config:
        cell: Any = config["cell"]
        name = name_of(cell)
        if (NAMED | VARIANTS).get(name) not in (cell, type(cell)):
            raise ValueError(
                f"a model file cannot describe {brief(layer)}: its cell is not one of "
                f"{', '.join([*NAMED, *VARIANTS])}, and not in an RNN, GRU or LSTM"
            )
        config["cell"] = {"kind": name} | ({} if isinstance(cell, type) else cell.config())
    return {"kind": kind, **config}


def _metadata(path: Path, metadata: dict[str, str] | None) -> dict[str, Any]:
    if not metadata or "minirnn" not in metadata:
        raise ModelFileError(f"{path} is a safetensors file, but not of minirnn: its metadata has no entry 'minirnn'")
    try:
        about = parsed(metadata["minirnn"], DESCRIPTION)
    except ValueError as error:
        raise ModelFileError(f"{path}: {error}") from None
    actual = about.get("version") if isinstance(about, dict) else about
    if not isinstance(about, dict) or type(actual) is not int or actual != VERSION:
        raise ModelFileError(f"{path} must be of format version {VERSION}; it is of {actual!r:.40}")
    return about


def _build(path: Path, about: dict[str, Any], weights: int, kinds: Kinds) -> tuple[Layer, Vocabulary | None]:
    """The network that ``about`` describes, without weights yet, and the vocabulary if there is one."""
    try:
        network = _Builder(weights, kinds).layer(about["network"])
        for name in ("seed", "calls"):
            if type(about[name]) is not int or not 0 <= about[name] < 2**64:
                raise ValueError(f"{name} must be an integer from 0 to 2**64 - 1; got {about[name]!r:.30}")
        if about["dtype"] not in DTYPES.values():
            raise ValueError(f"dtype must be one of {', '.join(DTYPES.values())}; got {about['dtype']!r:.30}")
        if about.get("quantized", "int8") not in STORED or ("quantized" in about and about["dtype"] != "float32"):
            raise ValueError(f"quantized must be one of {', '.join(STORED)}; got {about['quantized']!r:.30}")
        rounds = about.get("compute", BFLOAT16) == BFLOAT16 and about["dtype"] == "float32" and "quantized" not in about
        if "compute" in about and not rounds:
            raise ValueError(f"compute must be {BFLOAT16}, of a float32 model; got {about['compute']!r:.30}")
        if not isinstance(about["frozen"], list):
            raise ValueError(f"frozen must be a list of names; got {about['frozen']!r:.30}")
        if not set(about["frozen"]) <= set(network.all_specs()):
            raise ValueError("frozen names no weight of the network")
        if "vocabulary" not in about:
            return network, None
        vocab = Vocabulary(about["vocabulary"])
        LanguageModel(network, vocab, about["task"])  # for its checks
        return network, vocab
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())
        raise ModelFileError(f"{path}: the description of the network is not valid: {words:.300}") from None


class _Builder:
    """Builds layers from their description, without weights.

    A recurrent layer of n layers has at least n weights, so no more are built than ``weights`` are stored.  ``built``
    has the layers by prefix, for ties.
    """

    def __init__(self, weights: int, kinds: Kinds) -> None:
        self.weights, self.layers, self.kinds = weights, MOST_LAYERS, kinds
        self.built: dict[str, Layer] = {}

    def layer(self, about: Any, prefix: str = "", depth: int = 0) -> Layer:
        """One layer and what it holds, ``depth`` layers within the whole."""
        self.layers -= 1
        if self.layers < 0 or depth > DEEPEST:
            raise ValueError(f"at most {MOST_LAYERS:,} layers can be described, within each other {DEEPEST} deep")
        arguments = dict(about)
        kind = arguments.pop("kind")
        if kind == "Sequential":
            inner = [self.layer(child, f"{prefix}{k}.", depth + 1) for k, child in enumerate(arguments["layers"])]
            return Sequential(*inner)
        if kind == "Bidirectional":
            ahead, back = (
                self.layer(arguments[name], f"{prefix}{name}.", depth + 1) for name in ("forward", "reverse")
            )
            return Bidirectional(ahead, back, arguments.get("merge", "concat"))  # absent from the oldest files
        if kind == "LayerGraph":
            parts = {
                name: self.layer(child, f"{prefix}{name}.", depth + 1) for name, child in arguments["layers"].items()
            }
            entries, calls = [Entry(*one) for one in arguments["entries"]], [Call(*one) for one in arguments["calls"]]
            self.layers -= len(calls)
            if self.layers < 0:
                raise ValueError(f"at most {MOST_LAYERS:,} layers can be called")
            return LayerGraph(entries, parts, calls, dict(arguments["outputs"]))
        if kind not in self.kinds:
            raise ValueError(f"kind must be a layer of minirnn's, or of yours that own=[...] names; got {kind!r:.40}")
        if kind not in KINDS:
            return self._own(self.kinds[kind], arguments)
        self._check(arguments)
        if arguments.get("tie") is not None:
            if arguments["tie"] not in self.built:
                raise ValueError(f"tie {arguments['tie']!r:.30} names no layer before it")
            arguments["tie"] = self.built[arguments["tie"]]
        if kind == "Recurrent":
            cell = dict(arguments["cell"])
            name = cell.pop("kind")
            if name not in VARIANTS and (name not in NAMED or cell):
                known = ", ".join([*NAMED, *VARIANTS])
                raise ValueError(f"a cell's kind must be one of {known}; got {name!r:.40} {cell or ''!r:.40}")
            arguments["cell"] = VARIANTS[name].of(cell) if name in VARIANTS else NAMED[name]
        layer = self.built[prefix] = KINDS[kind](**arguments)
        return layer

    def _own(self, kind: type[Layer], arguments: dict[str, Any]) -> Layer:
        """A layer of one's own: what its constructor gets is plain, and it alone knows what it means."""
        for name, value in arguments.items():
            if not isinstance(value, PLAIN):
                raise ValueError(f"{name} must be a number, a string, a flag or None; got {type(value).__name__}")
            if isinstance(value, int) and value > LARGEST:
                raise ValueError(f"a size above {LARGEST} is described")
        return kind(**arguments)

    def _check(self, arguments: dict[str, Any]) -> None:
        """Raise ValueError unless flags are flags, no size is absurd, and no more layers than weights are described."""
        for name, value in arguments.items():
            if isinstance(value, bool) is not (name in FLAGS):
                raise ValueError(f"{name} must {'' if name in FLAGS else 'not '}be true or false; got {value!r:.30}")
            if isinstance(value, int) and value > LARGEST:
                raise ValueError(f"a size above {LARGEST} is described")
        self.weights -= arguments.get("num_layers", 0)
        if not self.weights >= 0:
            raise ValueError("more layers are described than there are weights stored")


def _quantized(path: Path, network: Layer, values: Callable[[str], Array], kind: str, backend: str, dtype: Any) -> None:
    """Give ``network`` the weights of a quantised model."""
    chosen = get_backend(backend, dtype)
    if get_dtype(chosen, dtype or "float32") != np.float32:
        raise ValueError(f"{path} holds a quantised model, which computes in float32; it cannot become {dtype}")
    if chosen.on_device:
        raise ValueError(f"{path} holds a quantised model, which runs on the host; got backend {chosen.name}")

    def checked(name: str) -> Array:
        array = values(name)
        if not np.isfinite(widened(array) if array.dtype == np.uint16 else array).all():
            raise ModelFileError(f"{path}: weight {name} must be finite; it holds NaN or infinity")
        if array.dtype == np.int8 and (array == -128).any():  # the kernels' sums have no room for it
            raise ModelFileError(f"{path}: weight {name} must be from -127 to 127; it holds -128")
        return array

    network.bind(restored(network.all_specs(), checked, kind, chosen))


def _check(path: Path, network: Layer, tensors: dict[str, tuple[tuple[int, ...], str]], about: dict[str, Any]) -> None:
    """Raise ModelFileError unless the names, shapes and dtypes stored are those that the network needs."""
    specs = network.all_specs()
    if "quantized" in about:
        expected = stored_as(specs, about["quantized"])
    else:
        expected = {name: (spec.shape, about["dtype"]) for name, spec in specs.items()}
    for name in sorted(expected.keys() | tensors.keys()):
        (shape, dtype), (actual, kind) = expected.get(name, (None, "")), tensors.get(name, (None, ""))
        if shape is None or shape != actual:
            wanted = "not be there" if shape is None else f"have shape {shape}"
            stored = "it is missing" if actual is None else f"it has {actual!s:.100}"
            raise ModelFileError(f"{path}: weight {name:.100} must {wanted}; {stored}")
        if ALL_DTYPES.get(kind) != dtype:
            raise ModelFileError(f"{path}: weight {name:.100} must be {dtype}; got {kind}")

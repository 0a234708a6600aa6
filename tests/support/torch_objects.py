"""Files of torch's of every kind, written by hand: whole modules, the format before 1.6, programs.

``Pickled`` writes the instructions that torch's own pickles have, and keeps the storages that they name.
"""

import json
import struct
from typing import Any

import numpy as np
from mutations import zipped
from numpy.typing import NDArray

Array = NDArray[Any]

RECURRENT = "torch.nn.modules.rnn"
LINEAR = "torch.nn.modules.linear Linear"
EMBEDDING = "torch.nn.modules.sparse Embedding"
SEQUENTIAL = "torch.nn.modules.container Sequential"
RELU = "torch.nn.modules.activation ReLU"
MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."


class Call:
    """``function(*arguments)`` in a pickle; ``state`` is what the object is given then."""

    def __init__(self, function: str, *arguments: Any, state: Any = None) -> None:
        self.function, self.arguments, self.state = function, arguments, state


class Made:
    """An object of a class, made without arguments, with these attributes."""

    def __init__(self, cls: str, attributes: Any) -> None:
        self.cls, self.attributes = cls, attributes


class Raw:
    """Instructions as they are."""

    def __init__(self, code: bytes) -> None:
        self.code = code


def module(cls: str, parameters: dict[str, Any], modules: dict[str, Any], **attributes: Any) -> Made:
    """A module of Python's, as torch.save pickles it."""
    state = {"training": False, "_parameters": parameters, "_buffers": {}, "_non_persistent_buffers_set": Raw(b"\x8f")}
    return Made(cls, state | {"_backward_hooks": {}, "_modules": modules} | attributes)


class Pickled:
    """A pickle of a value, ``code``, and its storages by key; ``legacy`` as torch before 1.6 had them."""

    def __init__(self, value: Any, *, legacy: bool = False) -> None:
        self.legacy, self.storages = legacy, dict[str, Array]()
        self.code = b"\x80\x02" + self.of(value) + b"."

    def of(self, value: Any) -> bytes:
        """The instructions that make a value."""
        if isinstance(value, np.ndarray):
            return self.tensor(value)
        if isinstance(value, Raw):
            return value.code
        if isinstance(value, Call):
            made = named(value.function) + self.of(tuple(value.arguments)) + b"R"
            return made if value.state is None else made + self.of(value.state) + b"b"
        if isinstance(value, Made):
            return named(value.cls) + b")\x81" + self.of(value.attributes) + b"b"
        if isinstance(value, dict):
            return b"}(" + b"".join(self.of(key) + self.of(one) for key, one in value.items()) + b"u"
        if isinstance(value, list):
            return b"](" + b"".join(map(self.of, value)) + b"e"
        if isinstance(value, tuple):
            return b"(" + b"".join(map(self.of, value)) + b"t"
        return scalar(value)

    def tensor(self, array: Array) -> bytes:
        """A Parameter of that array; one array is one storage wherever it is."""
        key = next((key for key, one in self.storages.items() if one is array), str(len(self.storages)))
        self.storages[key] = array
        kind = {"float32": "Float", "float64": "Double", "int64": "Long"}[array.dtype.name]
        identity = b"(" + b"".join([
            scalar("storage"), named(f"torch {kind}Storage"), scalar(key), scalar("cpu"), scalar(array.size),
            b"N" if self.legacy else b"",
        ]) + b"tQ"  # fmt: skip
        strides = tuple(stride // array.itemsize for stride in array.strides)
        arguments = b"(" + identity + scalar(0) + self.of(array.shape) + self.of(strides) + b"\x89}t"
        return named("torch._utils _rebuild_tensor_v2") + arguments + b"R"


def named(words: str) -> bytes:
    """A class or a function, of a module and a name."""
    return b"c" + words.replace(" ", "\n").encode() + b"\n"


def scalar(value: Any) -> bytes:
    """The instruction that makes one value."""
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, int):
        data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        return b"\x8a" + bytes([len(data)]) + data
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    data = str(value).encode()
    return b"X" + struct.pack("<I", len(data)) + data


def in_zip(value: Any, **entries: bytes) -> bytes:
    """A ``.pt`` that holds this value; two underscores stand for a dot in the names of more entries."""
    pickled = Pickled(value)
    storages = [(f"a/data/{key}", array.tobytes()) for key, array in pickled.storages.items()]
    more = [(f"a/{name.replace('__', '.')}", content) for name, content in entries.items()]
    return zipped([("a/data.pkl", pickled.code), *storages, *more])


def before_1_6(value: Any) -> bytes:
    """A file of the older format that holds this value."""
    pickled = Pickled(value, legacy=True)
    facts = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    heads = [MAGIC, Pickled(1001).code, Pickled(facts).code, pickled.code, Pickled(list(pickled.storages)).code]
    return b"".join([*heads, *(struct.pack("<q", a.size) + a.tobytes() for a in pickled.storages.values())])


def drawn(shape: tuple[int, ...], seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).normal(0, 0.5, shape).astype(np.float32)


def lstm(D: int, H: int, **attributes: Any) -> Made:
    """An nn.LSTM of one layer in one direction."""
    shapes = {"weight_ih_l0": (4 * H, D), "weight_hh_l0": (4 * H, H), "bias_ih_l0": (4 * H,), "bias_hh_l0": (4 * H,)}
    about = {"mode": "LSTM", "input_size": D, "hidden_size": H, "num_layers": 1, "bias": True, "batch_first": False}
    about |= {"dropout": 0.0, "bidirectional": False, "proj_size": 0}
    weights = {name: drawn(shape, 1) for name, shape in shapes.items()}
    return module(f"{RECURRENT} LSTM", weights, {}, **about | attributes)


def linear(D: int, H: int) -> Made:
    return module(LINEAR, {"weight": drawn((H, D), 2), "bias": drawn((H,), 3)}, {}, in_features=D, out_features=H)


def tagger(**attributes: Any) -> Made:
    """A module of a user's class: Embedding, LSTM, and an nn.Sequential of a Linear, a ReLU and a Linear."""
    embedding = module(EMBEDDING, {"weight": drawn((5, 3))}, {}, num_embeddings=5, embedding_dim=3)
    head = module(SEQUENTIAL, {}, {"0": linear(4, 4), "1": module(RELU, {}, {}, inplace=False), "2": linear(4, 2)})
    return module("__main__ Tagger", {}, {"emb": embedding, "lstm": lstm(3, 4, **attributes), "head": head})


def around() -> Made:
    """A convolution, a norm and a pool, and an LSTM behind them, in an nn.Sequential."""
    about: dict[str, Any] = {"kernel_size": (2,), "stride": (1,), "padding": (1,), "dilation": (1,), "groups": 1}
    weights = {"weight": drawn((4, 3, 2)), "bias": drawn((4,))}
    norm = module("torch.nn.modules.normalization LayerNorm", {"weight": drawn((4,)), "bias": drawn((4,), 1)}, {})
    pool = {"kernel_size": 2, "stride": 2, "padding": 0, "dilation": 1, "ceil_mode": False, "return_indices": False}
    modules = {
        "0": module("torch.nn.modules.conv Conv1d", weights, {}, padding_mode="zeros", **about),
        "1": Made(norm.cls, norm.attributes | {"eps": 1e-6}),
        "2": module("torch.nn.modules.pooling MaxPool1d", {}, {}, **pool),
        "3": lstm(4, 3),
    }
    return module(SEQUENTIAL, {}, modules)


def state_of(made: Made, path: str = "") -> dict[str, Array]:
    """The state dict of a module."""
    state: dict[str, Array] = {f"{path}{name}": a for name, a in made.attributes["_parameters"].items()}
    for name, one in made.attributes["_modules"].items():
        state |= state_of(one, f"{path}{name}.")
    return state


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()

"""Named tensors of torch's files, without torch: what a ``.pt`` or a foreign ``.safetensors`` holds, read one by one.

A ``.pt`` that ``torch.save`` wrote since version 1.6 is a zip: ``data.pkl``, a pickle in which a tensor is a call of
``torch._utils._rebuild_tensor_v2(storage, offset, size, stride, ...)``, and one entry of bytes for each storage.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.files import ModelFileError
from minirnn.formats import opening
from minirnn.formats.containers import pickle as pickles
from minirnn.formats.containers.pickle import Foreign, KnownFunction, UnreadableError
from minirnn.formats.containers.zip import Archive
from minirnn.formats.filling import widened
from minirnn.formats.opening import MOST_TENSORS

USUAL = ("state_dict", "model_state_dict", "model", "model_state", "state", "net", "network", "module", "weights")
LARGEST_SIZE = 2**40
LONGEST_NAME = 100  # of a dictionary within a file, or of a storage
MOST_PLACES = 10_000  # dictionaries at one depth that are looked through
DEEPEST = 4  # dictionaries within dictionaries that are looked through for the one with tensors


class Dtype(NamedTuple):
    """``form`` is how the numbers lie in a file, ``name`` NumPy's and torch's, ``storage`` that of torch's storages."""

    form: str
    name: str
    storage: str


DTYPES = {  # by the names of a safetensors header
    "F64": Dtype("f8", "float64", "Double"),
    "F32": Dtype("f4", "float32", "Float"),
    "F16": Dtype("f2", "float16", "Half"),
    "BF16": Dtype("u2", "bfloat16", "BFloat16"),  # the upper half of a float32, which NumPy lacks
    "I64": Dtype("i8", "int64", "Long"),
    "I32": Dtype("i4", "int32", "Int"),
    "I16": Dtype("i2", "int16", "Short"),
    "I8": Dtype("i1", "int8", "Char"),
    "U8": Dtype("u1", "uint8", "Byte"),
    "BOOL": Dtype("?", "bool", "Bool"),
}


class Named(NamedTuple):
    """A tensor that can be read: ``dtype`` is a key of DTYPES; equal ``identity`` means the same numbers in memory."""

    shape: tuple[int, ...]
    dtype: str
    identity: Hashable


@dataclass
class StoredTensors:
    """Named tensors of one state dict, and ``fetch`` to read one.

    ``where`` is what errors begin with, ``ordered`` whether the names stand in the order in which a module has them,
    ``part`` under which name of a larger file they are, ``others`` what stands among them that is no tensor, in words,
    ``rivals`` the names of other state dicts in the file that might have been meant.
    """

    where: str
    tensors: dict[str, Named]
    fetch: Callable[[str], Array]
    ordered: bool
    part: str = ""
    others: dict[str, str] = field(default_factory=dict)
    rivals: tuple[str, ...] = ()


@contextmanager
def state_dict_in(path: str | os.PathLike[str], part: str | None = None) -> Iterator[StoredTensors]:
    """The state dict in a file, or the one that ``part`` names where there are several; ModelFileError if none."""
    path = Path(path)
    with opening.opened(path) as (file, head, length):
        if head.startswith(opening.ZIP):
            yield _of_zip(Archive(file, path), part)
            return
        if part is not None:
            raise ModelFileError(f"{path} is no zip file of torch: it has no part {part!r:.60}")
        if head[8:9] != b"{" or opening.as_text(head[:8]) is not None:
            raise ModelFileError(f"{path} {opening.what(head, length)}")
        with _safetensors(path) as source:
            yield source


# ---------------------------------------------------------------------- safetensors


@contextmanager
def _safetensors(path: Path) -> Iterator[StoredTensors]:
    with opening.safetensors_in(path) as (file, size):
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - safe_open is no mapping
        tensors = {name: Named(tuple(s.get_shape()), s.get_dtype(), name) for name, s in slices.items()}
        for name, tensor in tensors.items():
            if too_large(tensor.shape):
                raise ModelFileError(f"{path}: tensor {name!r:.60} of sizes {tensor.shape!s:.100} is too large")
        header: dict[str, Any] = {}
        if any(tensor.dtype == "BF16" for tensor in tensors.values()):
            with path.open("rb") as stored:
                header = json.loads(stored.read(8 + size)[8:])  # which has been checked

        def fetch(name: str) -> Array:
            shape, dtype, _ = tensors[name]
            if dtype == "BF16":  # which NumPy lacks, and so safetensors' own reading
                raw = np.fromfile(path, "<u2", prod(shape), offset=8 + size + header[name]["data_offsets"][0])
                return widened(raw).reshape(shape)
            array: Array = file.get_tensor(name)
            return array

        yield StoredTensors(str(path), tensors, fetch, ordered=False)


def too_large(shape: tuple[int, ...]) -> bool:
    """Whether NumPy may have no array of this shape, though it be one of no numbers."""
    return prod(n or 1 for n in shape) > LARGEST_SIZE


# ---------------------------------------------------------------------- zip


class _Storage(NamedTuple):
    """``length`` numbers in an entry of the zip."""

    entry: str
    dtype: str
    length: int


class _Tensor(NamedTuple):
    """A view of a storage: entry ``[i, j]`` is at ``offset + i strides[0] + j strides[1]``."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Type(NamedTuple):
    """A class of storages, by the dtype of its numbers."""

    dtype: str


def _of_zip(archive: Archive, part: str | None) -> StoredTensors:
    pickled = [name for name in archive.entries if name.count("/") == 1 and name.endswith("/data.pkl")]
    root = pickled[0][: -len("data.pkl")] if pickled else ""
    if any(name.startswith(f"{root}code/") for name in archive.entries) and f"{root}constants.pkl" in archive.entries:
        raise ModelFileError(f"{archive.path} {opening.TORCHSCRIPT}")
    if len(pickled) != 1:
        raise ModelFileError(f"{archive.path} {opening.what_zip(archive.entries)}")
    order = archive.read(f"{root}byteorder") if f"{root}byteorder" in archive.entries else b"little"
    if order not in (b"little", b"big"):
        raise ModelFileError(f"{archive.path}: byteorder must be little or big; it is {order!r:.40}")
    if archive.entries[pickled[0]].file_size > pickles.LARGEST_PICKLE:
        raise ModelFileError(f"{archive.path}: data.pkl may have {pickles.LARGEST_PICKLE:,} bytes")
    where = f"{archive.path}, data.pkl"
    content = pickles.read(archive.read(pickled[0]), where, KNOWN, lambda key: _storage(archive, f"{root}data/", key))
    taken, state, rivals = _chosen(content, str(archive.path), part)
    where = f"{archive.path}{f', part {taken!r:.60}' if taken else ''}"
    views = {name: value for name, value in state.items() if isinstance(value, _Tensor)}
    if len(views) > MOST_TENSORS:
        raise ModelFileError(f"{where} may have {MOST_TENSORS:,} tensors; it has {len(views):,}")
    stored = sum(entry.file_size for entry in archive.entries.values())
    wanted = sum(prod(view.shape) * np.dtype(DTYPES[view.storage.dtype].form).itemsize for view in views.values())
    if wanted > 2 * stored:  # a weight may be there twice, where it is tied
        raise ModelFileError(f"{where}: its tensors overlap: they are {wanted:,} bytes of {stored:,} stored")
    storages: dict[str, bytes] = {}  # storages of which some tensors are still to be read
    left = Counter(view.storage.entry for view in views.values())

    def fetch(name: str) -> Array:
        view, entry = views[name], views[name].storage.entry
        data = storages[entry] if entry in storages else archive.read(entry)
        left[entry] -= 1
        storages[entry] = data
        if left[entry] <= 0:
            del storages[entry]
        return _array(view, data, "<" if order == b"little" else ">")

    tensors = {name: Named(view.shape, view.storage.dtype, view) for name, view in views.items()}
    others = {
        name: pickles.described(value) for name, value in state.items() if name not in views and value is not None
    }
    return StoredTensors(where, tensors, fetch, ordered=True, part=taken, others=others, rivals=rivals)


def _array(view: _Tensor, data: bytes, order: str) -> Array:
    dtype = np.dtype(order + DTYPES[view.storage.dtype].form)
    strides = [stride * dtype.itemsize for stride in view.strides]
    if 0 in view.shape:
        raw: Array = np.empty(view.shape, dtype)
    else:
        raw = np.ndarray(view.shape, dtype, data, view.offset * dtype.itemsize, strides)
    raw = raw.astype(dtype.newbyteorder("="), copy=False)
    return widened(raw) if view.storage.dtype == "BF16" else raw


def _storage(archive: Archive, folder: str, key: Any) -> _Storage | Foreign:
    """The storage of a persistent id ``("storage", class, entry, device, count)``."""
    if type(key) is tuple and len(key) == 5 and type(key[1]) is Foreign:
        return key[1]  # numbers of a dtype that is not read, complex for example: so is a tensor of them
    if type(key) is not tuple or len(key) != 5 or key[0] != "storage" or type(key[1]) is not _Type:
        raise UnreadableError("a persistent id must be that of a storage")
    name, count = key[2], key[4]
    if type(name) is not str or len(name) > LONGEST_NAME or f"{folder}{name}" not in archive.entries:
        raise UnreadableError(f"storage {pickles.shown(name)} is not in the file")
    size, itemsize = archive.entries[f"{folder}{name}"].file_size, np.dtype(DTYPES[key[1].dtype].form).itemsize
    if type(count) is not int or count * itemsize != size:
        raise UnreadableError(
            f"storage {name!r:.40} must be {pickles.shown(count)} numbers of {itemsize} bytes; it has {size:,}"
        )
    return _Storage(f"{folder}{name}", key[1].dtype, count)


def _rebuilt(arguments: tuple[Any, ...]) -> _Tensor:
    """``_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)``, checked against the storage."""
    if len(arguments) < 4 or type(arguments[0]) is not _Storage:
        raise UnreadableError("a tensor must be made of a storage, an offset, sizes and strides")
    storage, offset, shape, strides = arguments[:4]
    if type(shape) is not tuple or type(strides) is not tuple or len(shape) != len(strides) or len(shape) > 16:
        raise UnreadableError("a tensor's sizes and strides must be two tuples of one length")
    if not all(type(n) is int and 0 <= n <= LARGEST_SIZE for n in (offset, *shape, *strides)):
        raise UnreadableError("a tensor's offset, sizes and strides must be integers from 0 to 2**40")
    if too_large(shape):
        raise UnreadableError(f"a tensor of sizes {shape} is too large")
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if 0 not in shape and (last >= storage.length or prod(shape) > storage.length):
        raise UnreadableError(f"a tensor of sizes {shape} from {offset} on does not fit {storage.length:,} numbers")
    return _Tensor(storage, offset, shape, strides)


def _first(arguments: tuple[Any, ...]) -> Any:
    """A Parameter is the tensor that it wraps, a Size the tuple."""
    if not arguments or type(arguments[0]) not in (_Tensor, tuple):
        raise UnreadableError("a Parameter must wrap a tensor, a Size a tuple")
    return arguments[0]


def _dictionary(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    if arguments:
        raise UnreadableError("an OrderedDict must be filled entry by entry")
    return {}


def _set(arguments: tuple[Any, ...]) -> set[Any]:
    if len(arguments) != 1 or type(arguments[0]) is not list:
        raise UnreadableError("a set must be made of a list")
    return set()


def _bytes(arguments: tuple[Any, ...]) -> bytes:
    """Bytes as protocol 2 has them: a string, to be encoded as latin-1."""
    if len(arguments) != 2 or type(arguments[0]) is not str or arguments[1] not in ("latin1", "latin-1"):
        raise UnreadableError("bytes must be a string in latin-1")
    return arguments[0].encode("latin-1", "replace")


def _device(arguments: tuple[Any, ...]) -> str:
    if not all(type(one) in (str, int) for one in arguments):
        raise UnreadableError("a device must be a name and a number")
    return ":".join(f"{one!s:.40}" for one in arguments[:2])


KNOWN: dict[str, Any] = {
    "collections.OrderedDict": KnownFunction(_dictionary),
    "torch._utils._rebuild_tensor_v2": KnownFunction(_rebuilt),
    "torch._utils._rebuild_parameter": KnownFunction(_first),
    "torch._utils._rebuild_parameter_with_state": KnownFunction(_first),
    "torch.Size": KnownFunction(_first),
    "torch.device": KnownFunction(_device),
    "_codecs.encode": KnownFunction(_bytes),
    **{f"{module}.set": KnownFunction(_set) for module in ("builtins", "__builtin__")},
    **{f"torch.{dtype.storage}Storage": _Type(key) for key, dtype in DTYPES.items()},
    **{f"torch.{dtype.name}": f"torch.{dtype.name}" for dtype in DTYPES.values()},
}


# ---------------------------------------------------------------------- which dictionary


def _chosen(content: Any, where: str, part: str | None) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    """Where the state dict is in what was pickled, ``""`` for all of it, the state dict, and where others are.

    Without ``part`` it is the one under a usual name, else all of it, else the only one there is.
    """
    states = _states(content)
    if part is not None:
        if part not in states:
            raise ModelFileError(f"{where} has no part {part!r:.60} with tensors; it has {_list(states)}")
        return part, states[part], ()
    usual = [name for name in USUAL if name in states]
    choices = usual[:1] or [name for name in states if not name] or list(states)
    if len(choices) != 1:
        advice = ": name one, part=..." if states else _objects(content)
        raise ModelFileError(f"{where} must hold a state dict; it holds {_list(states)}{advice}")
    rivals = [
        name
        for name, state in states.items()
        if name not in ("", choices[0])
        and any(type(value) is _Tensor and len(value.shape) > 1 for value in state.values())
    ]
    return choices[0], states[choices[0]], tuple(rivals[:20])


def _states(content: Any) -> dict[str, dict[str, Any]]:
    """All dictionaries that hold tensors by name, by their own dotted names.

    One may stand in many places, of which only the first is looked into.
    """
    states: dict[str, dict[str, Any]] = {}
    seen: dict[int, bool] = {}  # whether it holds some
    level = [("", content)] if type(content) is dict else []
    for _ in range(DEEPEST):
        below: list[tuple[str, Any]] = []
        for path, one in level:
            if id(one) not in seen:
                named = all(type(name) is str for name in one)
                seen[id(one)] = named and any(type(value) is _Tensor for value in one.values())
                inner = (
                    (f"{path}.{name}" if path else name, value)
                    for name, value in one.items()
                    if named and len(name) <= LONGEST_NAME and type(value) is dict
                )
                below += islice(inner, MOST_PLACES - len(below))
            if seen[id(one)]:
                states[path] = one
        level = below
    return states


def _objects(content: Any) -> str:
    """Which objects may hold the tensors that were looked for, and what can be done about it."""
    if type(content) is Foreign:
        words = f"but an object of class {content!r}: a whole model, as torch.save(model, path) writes it"
    else:
        entries = content.items() if type(content) is dict else ()
        objects = [f"{pickles.shown(name)} of class {value!r}" for name, value in entries if type(value) is Foreign]
        if not objects:
            return ""
        words = f"but {', '.join(objects[:3])}"
    return (
        f", {words}. Of objects nothing is read. Whoever has torch and that class can write the weights alone: "
        "torch.save(model.state_dict(), path)"
    )


def _list(names: dict[str, Any]) -> str:
    words = [repr(name)[:60] if name else "tensors" for name in list(names)[:10]]
    return ", ".join(words) + (" ..." if len(names) > 10 else "") if words else "no tensors by name"

"""Tensors in a pickle of torch's: views of storages, whose numbers lie beside the pickle.

A tensor is a call of ``torch._utils._rebuild_tensor_v2(storage, offset, size, stride, ...)``, a storage a persistent
id.  ``KNOWN`` is the table of what such pickles name; ``stored`` makes named tensors of what was found in one.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from math import prod
from typing import Any, NamedTuple

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.bfloat16 import widened
from minirnn.core.files import ModelFileError
from minirnn.formats.containers import pickle as pickles
from minirnn.formats.containers.pickle import Foreign, KnownFunction, UnreadableError
from minirnn.formats.opening import MOST_TENSORS
from minirnn.formats.torch.outline import Outline
from minirnn.formats.torch.stored import DTYPES, LARGEST_SIZE, Named, StoredTensors, too_large

LONGEST_NAME = 100  # of a storage


class Storage(NamedTuple):
    """``length`` numbers under the name ``entry``: of an entry of a zip, or a key of the format before that."""

    entry: str
    dtype: str
    length: int

    @property
    def itemsize(self) -> int:
        """Bytes of one number."""
        return np.dtype(DTYPES[self.dtype].form).itemsize


class View(NamedTuple):
    """A tensor in a storage: entry ``[i, j]`` is at ``offset + i strides[0] + j strides[1]``."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Choice(NamedTuple):
    """A state dict, its dotted name in the file, those of others there, and what the file says of its modules."""

    part: str
    state: Mapping[Any, Any]
    rivals: tuple[str, ...] = ()
    outline: Outline | None = None


class Odd(NamedTuple):
    """What stands in the place of a tensor and is none, in words."""

    words: str


class StorageType(NamedTuple):
    """A class of storages, by the dtype of its numbers."""

    dtype: str


def stored(choice: Choice, path: str, held: int, read: Callable[[Storage], bytes], order: str = "<") -> StoredTensors:
    """The tensors of a state dict, by name: ``held`` bytes are stored in all, ``read`` gives those of one storage.

    ``order`` is that of the bytes of a number, "<" or ">".  Raises ModelFileError, which begins with ``path``, for
    tensors that are more than is stored.
    """
    where = f"{path}{f', part {choice.part!r:.60}' if choice.part else ''}"
    views = {name: value for name, value in choice.state.items() if type(value) is View}
    if len(views) > MOST_TENSORS:
        raise ModelFileError(f"{where} may have {MOST_TENSORS:,} tensors; it has {len(views):,}")
    wanted = sum(prod(view.shape) * view.storage.itemsize for view in views.values())
    if wanted > 2 * held:  # a weight may be there twice, where it is tied
        raise ModelFileError(f"{where}: its tensors overlap: they are {wanted:,} bytes of {held:,} stored")
    storages: dict[str, bytes] = {}  # storages of which some tensors are still to be read
    left = Counter(view.storage.entry for view in views.values())

    def fetch(name: str) -> Array:
        view, entry = views[name], views[name].storage.entry
        data = storages[entry] if entry in storages else read(view.storage)
        left[entry] -= 1
        storages[entry] = data
        if left[entry] <= 0:
            del storages[entry]
        return array_of(view, data, order)

    tensors = {name: Named(view.shape, view.storage.dtype, view) for name, view in views.items()}
    others = {
        name: value.words if type(value) is Odd else pickles.described(value)
        for name, value in choice.state.items()
        if name not in views and value is not None
    }
    return StoredTensors(
        where,
        tensors,
        fetch,
        ordered=True,
        part=choice.part,
        others=others,
        rivals=choice.rivals,
        outline=choice.outline,
    )


def array_of(view: View, data: bytes, order: str) -> Array:
    """The array of a view of ``data``, whose numbers lie in that order of bytes, "<" or ">"."""
    dtype = np.dtype(order + DTYPES[view.storage.dtype].form)
    strides = [stride * dtype.itemsize for stride in view.strides]
    if 0 in view.shape:
        raw: Array = np.empty(view.shape, dtype)
    else:
        raw = np.ndarray(view.shape, dtype, data, view.offset * dtype.itemsize, strides)
    raw = raw.astype(dtype.newbyteorder("="), copy=False)
    return widened(raw) if view.storage.dtype == "BF16" else raw


def storage_type(key: Any, length: int) -> StorageType | Foreign:
    """The class in a persistent id ``("storage", class, name, device, count, ...)`` of that length, checked as far.

    It is a Foreign where its numbers are of a dtype that is not read, complex for example: so is a tensor of them.
    """
    if type(key) is tuple and len(key) == length:
        if type(key[1]) is Foreign:
            return key[1]
        if key[0] == "storage" and type(key[1]) is StorageType:
            if type(key[2]) is str and len(key[2]) <= LONGEST_NAME:
                return key[1]
            raise UnreadableError(f"storage {pickles.shown(key[2])} is not in the file")
    raise UnreadableError("a persistent id must be that of a storage")


def rebuilt(arguments: tuple[Any, ...]) -> View:
    """``_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)``, checked against the storage."""
    if len(arguments) < 4 or type(arguments[0]) is not Storage:
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
    return View(storage, offset, shape, strides)


def _first(arguments: tuple[Any, ...]) -> Any:
    """A Parameter is the tensor that it wraps, a Size the tuple."""
    if not arguments or type(arguments[0]) not in (View, tuple):
        raise UnreadableError("a Parameter must wrap a tensor, a Size a tuple")
    return arguments[0]


def _dictionary(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    """An OrderedDict is filled entry by entry, or in Python 2 made of a list of pairs.

    It has as many entries as the list: the machine counts those, which bounds how often a list is gone over.
    """
    pairs = arguments[0] if len(arguments) == 1 else []
    if len(arguments) > 1 or type(pairs) is not list:
        raise UnreadableError("an OrderedDict must be made of nothing or of a list")
    sound = all(type(pair) in (list, tuple) and len(pair) == 2 and pickles.is_key(pair[0]) for pair in pairs)
    if not sound or len({pair[0] for pair in pairs}) < len(pairs):
        raise UnreadableError("an OrderedDict must be made of pairs of a name, each there once, and a value")
    return dict(pairs)


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
    "torch._utils._rebuild_tensor_v2": KnownFunction(rebuilt),
    "torch._utils._rebuild_tensor": KnownFunction(rebuilt),  # of torch 0.3
    "torch._utils._rebuild_parameter": KnownFunction(_first),
    "torch._utils._rebuild_parameter_with_state": KnownFunction(_first),
    "torch.nn.parameter.Parameter": KnownFunction(_first),  # of torch 0.1 to 0.3
    "torch.Size": KnownFunction(_first),
    "torch.device": KnownFunction(_device),
    "_codecs.encode": KnownFunction(_bytes),
    **{f"{module}.set": KnownFunction(_set) for module in ("builtins", "__builtin__")},
    **{f"torch.{dtype.storage}Storage": StorageType(key) for key, dtype in DTYPES.items()},
    **{f"torch.{dtype.name}": f"torch.{dtype.name}" for dtype in DTYPES.values()},
}

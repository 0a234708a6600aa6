"""TensorProto as an array, checked before memory is taken."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.bfloat16 import widened
from minirnn.core.files import ModelFileError
from minirnn.formats.containers.protobuf import Message, varint_count, varints
from minirnn.formats.onnx.reading.external import ModelFolder
from minirnn.formats.onnx.structure import BFLOAT16, DTYPES, FLOAT16, check_shape, dtype_of, short

EXTERNAL = 1  # a data_location
FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "raw_data", "string_data")
# the field that holds a type where raw_data does not, and the dtype of numbers there
TYPED = {1: ("float_data", "<f4"), 7: ("int64_data", "<i8"), 11: ("double_data", "<f8")}
TYPED |= {12: ("uint64_data", "<u4"), 13: ("uint64_data", "<u8")}
STORED = {2: "<u1", 3: "<i1", 4: "<u2", 5: "<i2", 6: "<i4", 9: "<u1", 10: "<u2", 16: "<u2"}
TYPED |= {code: ("int32_data", dtype) for code, dtype in STORED.items()}


class Room:
    """How many bytes the arrays of one file may take that are not views of it."""

    def __init__(self, size: int) -> None:
        self.size, self.taken = size, 0

    def take(self, what: str, size: int) -> None:
        """Count an array before it is made."""
        self.taken += size
        if self.taken > self.size:
            raise ModelFileError(f"{what} must be stored in raw_data, as many numbers are; they take too few bytes")


def array_of(tensor: Message, room: Room | None = None, folder: ModelFolder | None = None) -> Array:
    """The array that a TensorProto holds, which cannot be written; a view of the file where nothing is converted.

    Numbers in another file are read from the model's ``folder``.  Raises ModelFileError where the parts do not agree.
    """
    name = f"tensor {short(tensor.get('name', ''))}"
    dtype = dtype_of(tensor.get("data_type", 0), name)
    shape = tuple(tensor.get("dims", ()))
    check_shape(name, shape)
    filled = [field for field in FIELDS if len(tensor.get(field, b""))]
    code = tensor["data_type"]
    field, stored = TYPED[code]
    if len(filled) > 1 or any(other not in (field, "raw_data") for other in filled):
        raise ModelFileError(f"{name} of {dtype} must be stored in {field} or raw_data; it is in {', '.join(filled)}")
    size, runs = math.prod(shape), list[Array]()
    if tensor.get("data_location", 0):
        if filled or tensor["data_location"] != EXTERNAL:
            raise ModelFileError(f"{name} must be in this file or in another one; its parts disagree")
        folder = folder or ModelFolder(None)
        before, needed = folder.taken, size * np.dtype(stored).itemsize
        tensor, filled = {"raw_data": folder.read(name, tensor, needed)}, ["raw_data"]
        if room:
            room.size += 2 * (folder.taken - before)
    if filled == ["raw_data"]:
        itemtype = np.dtype(stored)
        held, rest = divmod(len(tensor["raw_data"]), itemtype.itemsize)
        values = None if rest else np.frombuffer(tensor["raw_data"], itemtype)
    elif filled and field in ("float_data", "double_data"):
        runs = [np.frombuffer(run, stored) for run in tensor[field]]
        held, rest, values = sum(map(len, runs)), 0, runs[0] if len(runs) == 1 else None
    else:
        held, rest, values = varint_count(tensor.get(field, [])), 0, None
    if rest or held != size:
        wrong = f"{len(tensor['raw_data']):,} bytes" if filled == ["raw_data"] else f"{held:,}"
        raise ModelFileError(f"{name} of shape {shape} must hold {size:,} numbers; it holds {wrong}")
    if room and (values is None or values.dtype != dtype or not values.flags.aligned):
        room.take(name, size * dtype.itemsize)
    if values is None and field in ("float_data", "double_data"):
        values = np.concatenate([np.empty(0, stored), *runs])
    elif values is None:
        values = narrowed(tensor.get(field, []), size, np.dtype(stored))
    values = converted(values, code).reshape(shape)
    if not values.flags.aligned:  # where it lies in the file: it would be copied at each use
        values = values.copy()
    values.flags.writeable = False
    return values


def narrowed(views: Sequence[bytearray | memoryview], size: int, dtype: np.dtype[Any]) -> Array:
    """Integers that are stored in as few bytes as each needs, in ``dtype``."""
    out, start = np.empty(size, dtype), 0
    for part in varints(views):
        out[start : start + len(part)] = part.astype(dtype)
        start += len(part)
    return out


def converted(values: Array, code: int) -> Array:
    """The stored values of an element type, in the dtype that stands for it."""
    if code == FLOAT16:
        return values.view("<f2").astype(np.float32)
    if code == BFLOAT16:
        return widened(values)
    return values.astype(DTYPES[code], copy=False)

"""The numbers in an ONNX file: element types, and TensorProto as an array that was checked before memory was taken."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.files import ModelFileError
from minirnn.formats.onnx.external import Folder
from minirnn.formats.onnx.wire import Message, varint_count, varints

LARGEST_DIM = 2**40  # entries along one axis
MOST_AXES = 32

EXTERNAL = 1  # a data_location
FLOAT, FLOAT16, DOUBLE, BFLOAT16, INT64 = 1, 10, 11, 16, 7
# what is computed with: float16 and bfloat16 are widened to float32, which holds all of their numbers
DTYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float32",
    11: "float64",
    12: "uint32",
    13: "uint64",
    16: "float32",
}
NAMES = {
    0: "none",
    8: "string",
    14: "complex64",
    15: "complex128",
    17: "float8e4m3fn",
    18: "float8e4m3fnuz",
    19: "float8e5m2",
    20: "float8e5m2fnuz",
    21: "uint4",
    22: "int4",
    23: "float4e2m1",
}
FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "raw_data", "string_data")
# the field that holds a type where raw_data does not, and the dtype of numbers there
TYPED = {1: ("float_data", "<f4"), 7: ("int64_data", "<i8"), 11: ("double_data", "<f8")}
TYPED |= {12: ("uint64_data", "<u4"), 13: ("uint64_data", "<u8")}
STORED = {2: "<u1", 3: "<i1", 4: "<u2", 5: "<i2", 6: "<i4", 9: "<u1", 10: "<u2", 16: "<u2"}
TYPED |= {code: ("int32_data", dtype) for code, dtype in STORED.items()}


def short(text: str) -> str:
    """A name of the file for a sentence: quoted, in one line, and no longer than a line."""
    return repr(text) if len(text) <= 60 else f"{text[:57]!r}..."


def dtype_of(code: int) -> np.dtype[Any]:
    """The dtype that stands for an element type."""
    if code not in DTYPES:
        named = NAMES.get(code, f"number {code}")
        raise ModelFileError(f"element types must be floats of 16 to 64 bits, integers or bool; got {named}")
    return np.dtype(DTYPES[code])


class Room:
    """How many bytes the arrays of one file may take that are not views of it."""

    def __init__(self, size: int) -> None:
        self.size, self.taken = size, 0

    def take(self, what: str, size: int) -> None:
        """Count an array before it is made."""
        self.taken += size
        if self.taken > self.size:
            raise ModelFileError(f"{what} must be stored in raw_data, as many numbers are; they take too few bytes")


def array_of(tensor: Message, room: Room | None = None, folder: Folder | None = None) -> Array:
    """The array that a TensorProto holds, which cannot be written; a view of the file where nothing is converted.

    Numbers in another file are read from the model's ``folder``.  Raises ModelFileError where the parts do not agree.
    """
    name = f"tensor {short(tensor.get('name', ''))}"
    try:
        dtype = dtype_of(tensor.get("data_type", 0))
    except ModelFileError as error:
        raise ModelFileError(f"{name}: {error}") from None
    shape = tuple(tensor.get("dims", ()))
    check_shape(name, shape)
    given = [field for field in FIELDS if len(tensor.get(field, b""))]
    code = tensor["data_type"]
    field, stored = TYPED[code]
    if len(given) > 1 or any(other not in (field, "raw_data") for other in given):
        raise ModelFileError(f"{name} of {dtype} must be stored in {field} or raw_data; it is in {', '.join(given)}")
    size, runs = math.prod(shape), list[Array]()
    if tensor.get("data_location", 0):
        if given or tensor["data_location"] != EXTERNAL:
            raise ModelFileError(f"{name} must be in this file or in another one; its parts disagree")
        folder = folder or Folder(None)
        before, needed = folder.taken, size * np.dtype(stored).itemsize
        tensor, given = {"raw_data": folder.read(name, tensor, needed)}, ["raw_data"]
        if room:
            room.size += 2 * (folder.taken - before)
    if given == ["raw_data"]:
        found = np.dtype(stored)
        held, rest = divmod(len(tensor["raw_data"]), found.itemsize)
        values = None if rest else np.frombuffer(tensor["raw_data"], found)
    elif given and field in ("float_data", "double_data"):
        runs = [np.frombuffer(run, stored) for run in tensor[field]]
        held, rest, values = sum(map(len, runs)), 0, runs[0] if len(runs) == 1 else None
    else:
        held, rest, values = varint_count(tensor.get(field, [])), 0, None
    if rest or held != size:
        wrong = f"{len(tensor['raw_data']):,} bytes" if given == ["raw_data"] else f"{held:,}"
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


def check_shape(what: str, shape: tuple[int, ...]) -> None:
    """Raise ModelFileError for a shape that no array has."""
    if len(shape) > MOST_AXES:
        raise ModelFileError(f"{what} must have at most {MOST_AXES} axes; it has {len(shape)}")
    if any(not 0 <= n <= LARGEST_DIM for n in shape) or math.prod(n for n in shape if n) > LARGEST_DIM:
        raise ModelFileError(f"{what} must have a size from 0 to {LARGEST_DIM:,} along each axis; it has {shape}")


def narrowed(views: Sequence[bytearray | memoryview], size: int, dtype: np.dtype[Any]) -> Array:
    """Integers that are stored in as few bytes as each needs, in ``dtype``."""
    out, start = np.empty(size, dtype), 0
    for part in varints(views):
        out[start : start + len(part)] = part.astype(dtype)
        start += len(part)
    return out


def converted(values: Array, code: int) -> Array:
    """What is stored for an element type, in the dtype that stands for it."""
    if code == FLOAT16:
        return values.view("<f2").astype(np.float32)
    if code == BFLOAT16:  # the upper half of a float32
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(DTYPES[code], copy=False)

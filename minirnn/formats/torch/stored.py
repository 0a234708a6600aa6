"""Named tensors as readers hand them on: shapes and dtypes at once, the numbers one by one when they are asked for."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from math import prod
from typing import NamedTuple

from minirnn.core.backend import Array
from minirnn.formats.torch.outline import Outline

LARGEST_SIZE = 2**40


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
    ``rivals`` the names of other state dicts in the file that might have been meant, ``outline`` what else the file
    says of the modules that compute with them, if anything.
    """

    where: str
    tensors: dict[str, Named]
    fetch: Callable[[str], Array]
    ordered: bool
    part: str = ""
    others: dict[str, str] = field(default_factory=dict)
    rivals: tuple[str, ...] = ()
    outline: Outline | None = None


def too_large(shape: tuple[int, ...]) -> bool:
    """Whether NumPy may have no array of this shape, though it be one of no numbers."""
    return prod(n or 1 for n in shape) > LARGEST_SIZE

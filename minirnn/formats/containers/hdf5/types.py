"""Types and shapes of datasets and attributes, and the arrays that their bytes become."""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from minirnn.formats.containers.hdf5.heaps import global_heap
from minirnn.formats.containers.hdf5.source import Array, Cursor, Source, decoded

_REFUSED = {2: "times", 4: "bit fields", 6: "compounds", 7: "references", 10: "arrays"}
# (size, where the exponent begins, its bits, the mantissa's bits, the exponent's bias)
_FLOATS = {(2, 10, 5, 10, 15), (4, 23, 8, 23, 127), (8, 52, 11, 52, 1023)}


@dataclass(frozen=True)
class Type:
    """An element: ``dtype`` is how NumPy reads its bytes; ``text`` says that they are text, or where text is kept."""

    dtype: np.dtype[Any]
    text: str = ""  # "fixed", "variable"
    padding: bytes = b""  # what a fixed text ends with, to be taken off
    boolean: bool = False


def read_type(at: Cursor) -> Type:
    """A datatype message, or one within an attribute."""
    source, first = at.source, at.uint()
    kind, version, bits, size = first & 15, first >> 4, at.uint(3), at.uint(4)
    if version not in (1, 2, 3, 4, 5) or kind > 11:
        raise source.fault(f"a datatype must be of a class and version that are known; got {kind} and {version}")
    if not 0 < size < 2**31:
        raise source.fault(f"a datatype must have from 1 to {2**31 - 1:,} bytes; it has {size:,}")
    order = ">" if bits & 1 else "<"
    if kind == 0:
        if size not in (1, 2, 4, 8) or at.uint(2) != 0 or at.uint(2) != 8 * size:
            raise source.fault("an integer must have 1, 2, 4 or 8 whole bytes")
        return Type(np.dtype(f"{order}{'i' if bits & 8 else 'u'}{size}"))
    if kind == 1:
        at.take(4)  # where the bits begin, and how many
        exponent, width, mantissa, digits, bias = at.uint(), at.uint(), at.uint(), at.uint(), at.uint(4)
        if bits & 64 or mantissa or (size, exponent, width, digits, bias) not in _FLOATS:
            raise source.fault("a floating point number must be one of IEEE 754, of 2, 4 or 8 bytes")
        return Type(np.dtype(f"{order}f{size}"))
    if kind == 3:
        if bits & 15 > 2:
            raise source.fault(f"a text's padding must be of kind 0, 1 or 2; it is of {bits & 15}")
        return Type(np.dtype(f"V{size}"), "fixed", b" " if bits & 15 == 2 else b"\0")
    if kind == 5:
        return Type(np.dtype(f"V{size}"))
    if kind == 8:
        return _enumerated(at, bits & 0xFFFF, size, version)
    if kind == 9 and bits & 15 == 1:
        if size != 8 + source.offsets:
            raise source.fault(f"a text of any length must be kept by {8 + source.offsets} bytes; it has {size}")
        return Type(np.dtype(f"V{size}"), "variable")
    raise source.fault(f"{_REFUSED.get(kind, 'lists')} are not supported: the type must be a number, text or a boolean")


def _enumerated(at: Cursor, members: int, size: int, version: int) -> Type:
    """An enumeration: a boolean as h5py writes them, else the integers behind the names."""
    if at.data[at.at : at.at + 1] and at.data[at.at] & 15:
        raise at.source.fault("an enumeration must be one of integers")
    base = read_type(at)
    if base.dtype.itemsize != size:
        raise at.source.fault("an enumeration must have the size of its integers")
    names = []
    for _ in range(members):
        n = at.data.find(b"\0", at.at) + 1 - at.at
        if n < 1:
            raise at.source.fault("an enumeration's name must end within it")
        names.append(at.take(n if version > 2 else -(-n // 8) * 8)[: n - 1])
    return Type(base.dtype, boolean=names == [b"FALSE", b"TRUE"])


def read_shape(at: Cursor) -> tuple[int, ...]:
    """A dataspace: () for a scalar, (0,) where there is nothing."""
    version, rank, flags = at.version(1, 2), at.uint(), at.uint()
    kind = at.uint()  # in version 2: scalar, simple, null
    if version == 1:
        at.take(4)
    elif kind > 2 or (kind != 1 and rank):
        raise at.source.fault(f"a dataspace must be a scalar, simple or empty; it is of kind {kind} and rank {rank}")
    if rank > 32 or flags & 2:
        raise at.source.fault(f"a dataspace must have at most 32 dimensions, in their order; it has {rank}")
    shape = tuple(at.length() for _ in range(rank))
    if prod(max(n, 1) for n in shape) >= 2**48:
        raise at.source.fault(f"a dataspace must be of a size that there is memory for; got {shape}")
    return (0,) if version == 2 and kind == 2 else shape


def as_array(source: Source, data: Array, element: Type, shape: tuple[int, ...]) -> Array:
    """Bytes as an array: numbers, booleans, or ``str`` in one of objects."""
    if not element.text:
        array: Array = data.view(element.dtype).reshape(shape)
        return array != 0 if element.boolean else array
    size = element.dtype.itemsize
    pieces = [data[k : k + size].tobytes() for k in range(0, len(data), size)]
    source.spend(64 * len(pieces))
    out = np.empty(len(pieces), object)
    out[:] = (
        _strings_in_heaps(source, pieces)
        if element.text == "variable"
        else [decoded(p.rstrip(element.padding)) for p in pieces]
    )
    return out.reshape(shape)


def _strings_in_heaps(source: Source, pieces: list[bytes]) -> list[str]:
    """The texts that these elements say the place of."""
    heaps: dict[int, dict[int, bytes]] = {}
    texts: list[str] = []
    for piece in pieces:
        element = Cursor(source, piece, "a text's place")
        length, address, number = element.uint(4), element.address(), element.uint(4)
        if not length or not address:
            texts.append("")
            continue
        if address not in heaps:
            heaps[address] = global_heap(source, address)
        if number not in heaps[address]:
            raise source.fault(f"a global heap must have what is kept in it; object {number} is missing")
        data = heaps[address][number]
        if length > len(data):
            raise source.fault(f"a text of {length:,} bytes must be kept whole; {len(data):,} are there")
        source.spend(length)
        texts.append(decoded(data[:length]))
    return texts

"""Protocol Buffers as they lie in a file (protobuf.dev, "Encoding").

A message is a row of fields, each a number, the kind of its encoding, and a value; what the number means is in a
schema, which is the caller's.  A file may describe far more than it holds: millions of empty messages in two
bytes each, integers of one byte that become eight.  So this reader counts what it makes and stops, keeps weights as
views of the file, and needs no package.
"""

import struct
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from minirnn.core.files import CUT_OFF, ModelFileError

MOST_FIELDS = 1 << 17  # of a file; a field becomes some 150 bytes
MOST_TEXT = 1 << 23  # bytes of all texts together: a character may become four bytes
LONG_HEADER = 8  # bytes of a field's number and size: who writes them longer than they are spends twice
SHORT_RUN = 64  # bytes of numbers that are copied behind those before them, and not kept as a view
CHUNK = 1 << 18  # bytes of integers that are decoded at once

Message: TypeAlias = dict[str, Any]
Field: TypeAlias = tuple[str, Any, bool]


class Schema(NamedTuple):
    """The fields of a message: by number, a name, a kind, and whether it may come more than once.

    Kinds are ``int`` (64 bits, signed), ``float``, ``text``, ``bytes`` (a view of the file), another schema, a
    function that returns one (the value is then a function that reads the message), and for numbers side by side
    ``floats``, ``doubles`` and ``varints``: a list of what lies in the file, as views where they are long.
    """

    name: str
    fields: dict[int, Field]


NUMBERS = ("floats", "doubles", "varints")
VARINT, FIXED64, DELIMITED, FIXED32 = 0, 1, 2, 5


class Reader:
    """The messages of one file, within what it may take altogether."""

    def __init__(self, data: bytes) -> None:
        self.data, self.view, self.left, self.text_left = data, memoryview(data), MOST_FIELDS, MOST_TEXT

    def message(self, start: int, end: int, schema: Schema) -> Message:
        """The message from ``start`` to ``end``."""
        message: Message = {}
        position, known = start, schema.fields
        while position < end:
            self.spend()
            begun, value = position, 0
            tag, position = self.varint(position, end)
            encoding, number = tag & 7, tag >> 3
            if encoding == VARINT:
                value, position = self.varint(position, end)
                first = last = position
            elif encoding == DELIMITED:
                size, first = self.varint(position, end)
                position = last = first + size
            elif encoding in (FIXED32, FIXED64):
                first = position
                position = last = first + (4 if encoding == FIXED32 else 8)
            else:
                raise ModelFileError(f"byte {position} must begin a field of {schema.name}; its encoding is {encoding}")
            if first - begun > LONG_HEADER:
                self.spend()
            if last > end:
                words = f"a {schema.name} must end at byte {end}, where what holds it ends; it goes on"
                raise ModelFileError(f"{words}: {CUT_OFF}")
            if number not in known:
                continue  # of a later version of the format, or of no use here
            name, kind, repeated = known[number]
            made = self.value(known[number], encoding, value, first, last, f"{schema.name}.{name}")
            if not repeated:
                if name in message and (isinstance(kind, Schema) or callable(kind)):
                    raise ModelFileError(f"{schema.name}.{name} must come once; it comes twice")
                message[name] = made
            elif kind in NUMBERS:
                joined(message.setdefault(name, []), made, kind)
            elif isinstance(made, list):
                message.setdefault(name, []).extend(made)
            else:
                message.setdefault(name, []).append(made)
        return message

    def value(self, field: Field, encoding: int, value: int, first: int, last: int, name: str) -> Any:
        """A field's value; a list where several were stored side by side."""
        _, kind, repeated = field
        if encoding == DELIMITED:
            if isinstance(kind, Schema):
                return self.message(first, last, kind)
            if callable(kind):
                return partial(self.message, first, last, kind())
            if kind in ("bytes", "varints"):
                return self.view[first:last]
            if kind == "text":
                return self.text(first, last, name)
            if kind in ("floats", "doubles"):
                return self.numbers(kind, first, last, name)
            if kind == "float" and repeated:  # packed
                numbers = np.frombuffer(self.numbers("floats", first, last, name), "<f4")
                self.spend(len(numbers))
                return numbers.tolist()
            if kind == "int" and repeated:  # packed too
                packed = [self.view[first:last]]
                self.spend(varint_count(packed))
                return [int(v) for part in varints(packed) for v in part]
        elif encoding == VARINT and kind == "int":
            return value - (1 << 64) if value >> 63 else value
        elif encoding == VARINT and kind == "varints":
            return memoryview(encoded(value))
        elif encoding == FIXED32 and kind == "float":
            return float(struct.unpack_from("<f", self.data, first)[0])
        elif (encoding, kind) in ((FIXED32, "floats"), (FIXED64, "doubles")):
            return self.numbers(kind, first, last, name)
        raise ModelFileError(f"{name} must not have encoding {encoding}")

    def varint(self, position: int, end: int) -> tuple[int, int]:
        """An integer of 7 bits a byte, lowest first, and where it ends."""
        value = shift = 0
        while position < end and shift < 70:
            byte = self.data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & (1 << 64) - 1, position
            shift += 7
        raise ModelFileError(f"an integer must end before byte {position}; it goes on")

    def spend(self, count: int = 1) -> None:
        """Count fields, or numbers that become objects as fields do."""
        self.left -= count
        if self.left < 0:
            raise ModelFileError(f"the file must have at most {MOST_FIELDS:,} fields; it has more")

    def numbers(self, kind: str, first: int, last: int, name: str) -> memoryview:
        """Floats or doubles as they lie in the file."""
        size = 4 if kind == "floats" else 8
        if (last - first) % size:
            raise ModelFileError(f"{name} must hold whole numbers of {size} bytes; it has {last - first}")
        return self.view[first:last]

    def text(self, first: int, last: int, name: str) -> str:
        """UTF-8."""
        self.text_left -= last - first
        if self.text_left < 0:
            raise ModelFileError(f"all texts of a file must take at most {MOST_TEXT:,} bytes together; they take more")
        try:
            return str(self.view[first:last], "utf-8")
        except UnicodeDecodeError:
            raise ModelFileError(f"{name} must be text in UTF-8; it is not") from None


def joined(runs: list[Any], run: memoryview, kind: str) -> None:
    """Add numbers to those before them: numbers that come one by one are to take no object each."""
    if len(run) > SHORT_RUN or (kind == "varints" and (not run or run[-1] > 0x7F)):  # the last one ends elsewhere
        runs.append(run)
        return
    if not runs or not isinstance(runs[-1], bytearray):
        runs.append(bytearray())
    runs[-1] += run


def encoded(value: int) -> bytes:
    """``value`` as it lies in a file."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def varint_count(views: Sequence[bytearray | memoryview]) -> int:
    """How many integers ``views`` hold."""
    return sum(int(np.count_nonzero(np.frombuffer(view, np.uint8) < 0x80)) for view in views)


def varints(views: Sequence[bytearray | memoryview]) -> Iterator[NDArray[np.int64]]:
    """The integers, signed and of 64 bits, in stretches: each is one that ends somewhere in the next CHUNK bytes."""
    for view in views:
        raw, start = np.frombuffer(view, np.uint8), 0
        while start < len(raw):
            part = raw[start : start + CHUNK]
            ends = np.flatnonzero(part < 0x80)
            if not len(ends):
                raise ModelFileError("an integer must end within ten bytes; it goes on")
            part = part[: ends[-1] + 1]
            starts = np.concatenate(([0], ends[:-1] + 1))
            place = np.arange(len(part)) - np.repeat(starts, ends - starts + 1)
            if place.max() > 9:
                raise ModelFileError("an integer must end within ten bytes; it goes on")
            bits = (part & 0x7F).astype(np.uint64) << (7 * place).astype(np.uint64)
            yield np.add.reduceat(bits, starts).view(np.int64)
            start += len(part)

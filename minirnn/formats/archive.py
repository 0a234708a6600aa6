"""A zip file as entries by name, every number in it held against the file before anything is read.

The formats of torch and Keras are zips.  Of the many things that a zip may be, an ``Archive`` takes the plain ones:
entries stored or deflated, whose sizes add up to less than a limit, each in a place of its own, each under one name in
both of its headers (the format's own description: PKWARE's APPNOTE 6.3.10).
"""

import os
import struct
import zlib
from typing import IO, Any, NamedTuple

from minirnn.core.files import CUT_OFF, LARGEST_FILE, ModelFileError

MOST_ENTRIES = 20_000
LARGEST_DIRECTORY = 2**23  # bytes of the list of entries
RATIO = 100  # deflated entries may hold this many times the file's bytes, all together: weights hardly shrink
SLACK = 2**20  # and this much beside, for short texts that shrink more

_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _DESCRIPTOR = 1, 8  # flags
_END, _END64, _LOCATOR64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_ENTRY, _LOCAL = b"PK\x01\x02", b"PK\x03\x04"


class Entry(NamedTuple):
    """One entry: ``size`` bytes of content in ``packed`` bytes of the file from ``start`` on."""

    name: str
    method: int
    crc: int
    packed: int
    size: int
    start: int


class Archive:
    """The entries of a zip file that was opened for reading; ``path`` is what errors begin with.

    ``entries`` is filled when the archive is made: from then on every entry is known to lie within the file, apart from
    all others.  Raises ModelFileError for what is not such a file.

    Where every entry's checksum is 0, none was computed (``torch.serialization.set_crc32_options(False)``), and none is
    compared.
    """

    def __init__(self, file: IO[bytes], path: str | os.PathLike[str]) -> None:
        self.file, self.path = file, path
        self.length = file.seek(0, os.SEEK_END)
        count, size, start = self._directory()
        self.entries = {entry.name: entry for entry in self._listed(self._bytes(start, size), count)}
        if len(self.entries) < count:
            raise self._damaged("two entries have one name")
        self._place(start)
        declared = sum(entry.size for entry in self.entries.values())
        if declared > min(LARGEST_FILE, RATIO * self.length + SLACK):
            raise self._damaged(f"{declared:,} bytes are declared in a file of {self.length:,}")
        self.unchecked = not any(entry.crc for entry in self.entries.values())

    @classmethod
    def begins(cls, head: bytes) -> bool:
        """Whether a file that begins with ``head`` says that it is a zip."""
        return head.startswith((_LOCAL, _END))

    def read(self, name: str) -> bytes:
        """The content of an entry, its length and its checksum compared."""
        if name not in self.entries:
            raise self._damaged(f"there is no entry {name!r:.100}")
        entry = self.entries[name]
        content = self._bytes(entry.start, entry.packed)
        if entry.method == _DEFLATED:
            content = self._inflated(entry, content)
        if not self.unchecked and zlib.crc32(content) != entry.crc:
            raise self._damaged(f"entry {name!r:.100} is not what was written: its checksum differs")
        return content

    def _inflated(self, entry: Entry, packed: bytes) -> bytes:
        machine = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            content = machine.decompress(packed, entry.size + 1)  # no further than one byte past what was declared
        except zlib.error as error:
            raise self._damaged(f"entry {entry.name!r:.100} cannot be inflated: {error}") from None
        if len(content) != entry.size or not machine.eof:
            raise self._damaged(f"entry {entry.name!r:.100} must inflate to {entry.size:,} bytes, and does not")
        return content

    def _directory(self) -> tuple[int, int, int]:
        """Number of entries, and size and start of their list, which must end where the end record begins."""
        tail_start = max(0, self.length - 22 - 0xFFFF)  # the end record, 22 bytes, and the longest comment
        tail = self._bytes(tail_start, self.length - tail_start)
        at = tail.rfind(_END)
        while at >= 0 and (at + 22 > len(tail) or at + 22 + _number(tail, "<H", at + 20) != len(tail)):
            at = tail.rfind(_END, 0, at)
        if at < 0:
            raise self._damaged(f"the list of its entries is missing, at its end; {CUT_OFF}")
        disk, first_disk, here, count, size, start = struct.unpack_from("<HHHHII", tail, at + 4)
        end = tail_start + at
        if tail[max(0, at - 20) : at].startswith(_LOCATOR64):
            disk, place, disks = struct.unpack_from("<IQI", tail, at - 16)
            end -= 20
            if place + 56 > end:
                raise self._damaged("its end record of 64 bits is not where it is said to be")
            record = self._bytes(place, 56)
            if record[:4] != _END64 or disks > 1 or place + 12 + _number(record, "<Q", 4) != end:
                raise self._damaged("its end record of 64 bits is not one")
            short = (disk, first_disk, here, count, size, start)
            disk, first_disk, here, count, size, start = long = struct.unpack_from("<IIQQQQ", record, 16)
            for a, b, full in zip(short, long, (0xFFFF,) * 4 + (0xFFFFFFFF,) * 2, strict=True):
                if a not in (b, full):
                    raise self._damaged("its two end records differ")
            end = place
        if disk or first_disk or here != count:
            raise self._damaged("it is one of several parts")
        if start + size != end:
            raise self._damaged("the list of its entries is not where it is said to be")
        if count > MOST_ENTRIES or size > LARGEST_DIRECTORY:
            raise self._damaged(f"it may have {MOST_ENTRIES:,} entries; it has {count:,} in {size:,} bytes")
        return count, size, start

    def _listed(self, listed: bytes, count: int) -> list[Entry]:
        """The entries as the list at the end has them; ``start`` is still that of the local header."""
        entries, at = [], 0
        for _ in range(count):
            if listed[at : at + 4] != _ENTRY or at + 46 > len(listed):
                raise self._damaged("the list of its entries is broken")
            flags, method = struct.unpack_from("<HH", listed, at + 8)
            crc, packed, size = struct.unpack_from("<III", listed, at + 16)
            name_size, extra_size, comment_size, disk = struct.unpack_from("<HHHH", listed, at + 28)
            start, at = _number(listed, "<I", at + 42), at + 46
            extra_at, end = at + name_size, at + name_size + extra_size + comment_size
            if end > len(listed):
                raise self._damaged("the list of its entries is broken")
            try:
                name = listed[at:extra_at].decode()
            except UnicodeDecodeError:
                raise self._damaged(f"the name of an entry must be UTF-8; it is {listed[at:extra_at]!r:.100}") from None
            size, packed, start = self._long(listed[extra_at : extra_at + extra_size], [size, packed, start], name)
            if flags & _ENCRYPTED or disk:
                raise self._damaged(f"entry {name!r:.100} is encrypted or elsewhere")
            if method not in (_STORED, _DEFLATED):
                raise self._damaged(f"entry {name!r:.100} is packed by method {method}; 0 and 8 can be read")
            if method == _STORED and packed != size:
                raise self._damaged(f"entry {name!r:.100} is stored as it is in two sizes, {packed:,} and {size:,}")
            entries.append(Entry(name, method, crc, packed, size, start))
            at = end
        if at != len(listed):
            raise self._damaged("the list of its entries is broken")
        return entries

    def _long(self, extra: bytes, numbers: list[int], name: str) -> list[int]:
        """``numbers`` with those that are too long for 32 bits taken from the field of 64 bits."""
        if 0xFFFFFFFF not in numbers:
            return numbers
        at = 0
        while at + 4 <= len(extra):
            kind, size = struct.unpack_from("<HH", extra, at)
            at += 4
            wanted = [k for k, number in enumerate(numbers) if number == 0xFFFFFFFF]
            if kind == 1 and min(size, len(extra) - at) >= 8 * len(wanted):
                for k, number in zip(wanted, struct.unpack_from(f"<{len(wanted)}Q", extra, at), strict=True):
                    numbers[k] = number
                return numbers
            at += size
        raise self._damaged(f"entry {name!r:.100} has no field of 64 bits for its sizes")

    def _place(self, limit: int) -> None:
        """Find each entry's content behind its local header, and see that no two share a byte."""
        free = 0  # what lies before it is taken
        for entry in sorted(self.entries.values(), key=lambda entry: entry.start):
            if not free <= entry.start <= limit - 30:
                raise self._damaged(f"entry {entry.name!r:.100} lies outside the file or over another")
            header = self._bytes(entry.start, 30)
            flags, method = struct.unpack_from("<HH", header, 6)
            packed, size, name_size, extra_size = struct.unpack_from("<IIHH", header, 18)
            start = entry.start + 30 + name_size + extra_size
            free = start + entry.packed
            if free > limit:
                raise self._damaged(f"entry {entry.name!r:.100} lies outside the file or over another")
            agree = header[:4] == _LOCAL and method == entry.method and not flags & _ENCRYPTED
            if not flags & _DESCRIPTOR:  # else these numbers follow the content, and the list's are all there is
                agree &= packed in (entry.packed, 0xFFFFFFFF) and size in (entry.size, 0xFFFFFFFF)
                agree &= _number(header, "<I", 14) == entry.crc
            if not agree or self._bytes(entry.start + 30, name_size) != entry.name.encode():
                raise self._damaged(f"entry {entry.name!r:.100} and its header differ")
            self.entries[entry.name] = entry._replace(start=start)

    def _bytes(self, start: int, count: int) -> bytes:
        self.file.seek(start)
        found = self.file.read(count)
        if len(found) != count:
            raise self._damaged(f"{count:,} bytes are missing at {start:,}")
        return found

    def _damaged(self, words: str) -> ModelFileError:
        return ModelFileError(f"{self.path} is not a whole zip file: {words}")


def _number(data: bytes, form: str, at: int) -> Any:
    return struct.unpack_from(form, data, at)[0]

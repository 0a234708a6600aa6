"""A zip file as entries by name: the standard library's ``zipfile``, within bounds.

The formats of torch and Keras are zips.  ``zipfile`` reads the list of entries whole before it can be looked at, lets
entries share their bytes, and takes every method of compression.  So that list is bounded while it is read, and an
``Archive`` takes plain zips alone: entries stored or deflated, whose sizes add up to less than a limit, each in a place
of its own and under a name of its own.
"""

import os
import struct
import zlib
from collections.abc import Callable
from io import BufferedIOBase
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from minirnn.core.files import CUT_OFF, LARGEST_FILE, ModelFileError

LARGEST_DIRECTORY = 2**22  # bytes of the list of entries, each of which takes 46 at least there, and 600 in memory
RATIO = 100  # deflated entries may hold this many times the file's bytes, all together: weights hardly shrink
SLACK = 2**20  # and this much beside, for short texts that shrink more
# what ``zipfile`` raises for a file that is damaged or made to be
FAULTS = (BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, OverflowError, struct.error, zlib.error)

_HEADER = 30  # bytes of an entry's own header, before its name
_ENCRYPTED = 1  # a flag


class Archive:
    """The entries of a zip file that was opened for reading; ``path`` is what errors begin with.

    ``entries`` is filled when the archive is made: from then on every entry is known to lie within the file, apart from
    all others.  Raises ModelFileError for what is not such a file.

    Where every entry's checksum is 0, none was computed (``torch.serialization.set_crc32_options(False)``), and none is
    compared.
    """

    def __init__(self, file: BufferedIOBase, path: str | os.PathLike[str]) -> None:
        self.file, self.path = file, path
        self.length = file.seek(0, os.SEEK_END)
        bounded = _Bounded(file, self._damaged)
        try:
            self._zip = ZipFile(bounded)
        except ModelFileError:
            raise
        except FAULTS as error:
            raise self._damaged(f"{error!s:.200}; {CUT_OFF}") from None
        bounded.most = self.length
        infos = self._zip.infolist()
        self.entries = {info.filename: info for info in infos}
        if len(self.entries) < len(infos):
            raise self._damaged("two entries have one name")
        declared = sum(info.file_size for info in infos)
        if declared > min(LARGEST_FILE, RATIO * self.length + SLACK):
            raise self._damaged(f"{declared:,} bytes are declared in a file of {self.length:,}")
        self._check_places(infos)
        if not any(info.CRC for info in infos):
            for info in infos:
                del info.CRC  # zipfile compares what is there

    def read(self, name: str) -> bytes:
        """The content of an entry, its length and its checksum compared."""
        if name not in self.entries:
            raise self._damaged(f"there is no entry {name!r:.100}")
        info = self.entries[name]
        try:
            content = self._zip.read(info)
        except FAULTS as error:
            raise self._damaged(f"entry {name!r:.100} cannot be read: {error!s:.200}") from None
        if len(content) != info.file_size:
            raise self._damaged(f"entry {name!r:.100} must hold {info.file_size:,} bytes; it holds {len(content):,}")
        return content

    def _check_places(self, infos: list[ZipInfo]) -> None:
        """Raise unless each entry is a plain one and no two share a byte."""
        free = 0  # what lies before it is taken
        for info in sorted(infos, key=lambda info: info.header_offset):
            if info.flag_bits & _ENCRYPTED or info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
                raise self._damaged(f"entry {info.filename!r:.100} must be stored or deflated, and not encrypted")
            if info.header_offset < free or (free := self._end_of(info)) > self._zip.start_dir:
                raise self._damaged(f"entry {info.filename!r:.100} lies outside the file or over another")

    def _end_of(self, info: ZipInfo) -> int:
        """Where an entry ends: behind its own header, which has the lengths of a name and more, and its content."""
        if info.header_offset > self.length - _HEADER:
            return self.length + 1
        self.file.seek(info.header_offset)
        name, extra = struct.unpack_from("<HH", self.file.read(_HEADER), 26)
        return info.header_offset + _HEADER + int(name) + int(extra) + info.compress_size

    def _damaged(self, words: str) -> ModelFileError:
        return ModelFileError(f"{self.path} is not a whole zip file: {words}")


class _Bounded:
    """A file of which at most ``most`` bytes are read at once; ``fault`` makes the error for more."""

    def __init__(self, file: BufferedIOBase, fault: Callable[[str], ModelFileError]) -> None:
        self.file, self.most, self.fault = file, LARGEST_DIRECTORY, fault

    def read(self, size: int = -1) -> bytes:
        if size > self.most:
            raise self.fault(f"the list of its entries may have {self.most:,} bytes; it has {size:,}")
        return self.file.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

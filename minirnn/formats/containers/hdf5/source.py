"""A file's bytes: every read is checked against its size, and numbers are taken one after another."""

import io
import os
from typing import Any, TypeAlias

from numpy.typing import NDArray

from minirnn.core.files import ModelFileError

Array: TypeAlias = NDArray[Any]

BUDGET = 2**26  # what all structures read from one file may cost together, in bytes
PIECE = 256  # what reading one costs beside its bytes
RATIO = 100  # chunks may expand to this many times the file's bytes, all together: weights hardly shrink
SLACK = 2**20  # and this many bytes beside, as may what was never written


class Source:
    """An open file.  ``offsets`` and ``lengths`` are how many bytes an address and a length have in it.

    ``packed`` is its size within the compressed file that it came from, None if it came from none.
    """

    offsets = lengths = 8

    def __init__(self, file: io.BufferedIOBase, name: object, packed: int | None = None) -> None:
        self.file, self.name = file, name
        self.size = file.seek(0, os.SEEK_END)
        self._left = BUDGET
        worth = self.size if packed is None else min(packed, self.size)
        self._expansion, self._unwritten = RATIO * worth + SLACK, worth + SLACK

    def fault(self, text: str) -> ModelFileError:
        """The error to raise for a fault in the file."""
        return ModelFileError(f"{self.name}: {text}")

    def spend(self, cost: int) -> None:
        """Take ``cost`` from the budget, which ends walks through files made to be endless."""
        self._left -= cost
        if self._left < 0:
            raise self.fault("an HDF5 file's structures must be small beside its data; these go on and on")

    def expand(self, size: int) -> None:
        """Allow chunks to be expanded to ``size`` bytes, or raise where that is more than the file is worth."""
        self._expansion -= size
        if self._expansion < 0:
            raise self.fault(
                f"compressed chunks must not expand to more than {RATIO} times the file's {self.size:,} bytes"
            )

    def make_up(self, size: int) -> None:
        """Allow ``size`` bytes that were never written, or raise where that is more than the file is worth."""
        self._unwritten -= size
        if self._unwritten < 0:
            raise self.fault(f"arrays must be written; more than the file's {self.size:,} bytes of them are not there")

    def check(self, address: int, length: int, what: str) -> None:
        """Raise unless ``length`` bytes from ``address`` lie within the file."""
        if address + length > self.size:
            raise self.fault(
                f"{what} must lie within the file's {self.size:,} bytes; it has {length:,} from {address:,}"
            )

    def read(
        self, address: int | None, length: int, what: str, signature: bytes = b"", versions: tuple[int, ...] = ()
    ) -> "Cursor":
        """A piece of structure; its signature and its version, if it has them, are compared and passed over."""
        if address is None:
            raise self.fault(f"{what} must have an address; it has none")
        self.check(address, length, what)
        self.spend(PIECE + length)
        self.file.seek(address)
        cursor = Cursor(self, self.file.read(length), what)
        actual = cursor.take(len(signature))
        if actual != signature:
            raise self.fault(f"{what} must begin with {signature!r}; it begins with {actual!r}")
        if versions:
            cursor.version(*versions)
        return cursor

    def fill(self, out: Array, address: int, what: str) -> None:
        """Read ``out`` (of bytes) from ``address``."""
        self.check(address, out.size, what)
        self.file.seek(address)
        if out.size and self.file.readinto(out.data) != out.size:
            raise self.fault(f"{what} could not be read whole")


class Cursor:
    """Bytes, and how far they have been read."""

    def __init__(self, source: Source, data: bytes, what: str) -> None:
        self.source, self.data, self.what, self.at = source, data, what, 0

    @property
    def left(self) -> int:
        """How many bytes are left."""
        return len(self.data) - self.at

    def take(self, n: int) -> bytes:
        """The next n bytes."""
        if n > self.left:
            raise self.source.fault(f"{self.what} ends early: {n:,} more bytes were expected; {self.left:,} are left")
        self.at += n
        return self.data[self.at - n : self.at]

    def uint(self, n: int = 1) -> int:
        """The next n bytes as an unsigned integer, lowest first."""
        return int.from_bytes(self.take(n), "little")

    def length(self) -> int:
        """The next length."""
        return self.uint(self.source.lengths)

    def address(self) -> int | None:
        """The next address, None for the one that means nowhere."""
        n = self.source.offsets
        value = self.uint(n)
        return None if value == 256**n - 1 else value

    def place(self) -> int:
        """The next address, which must be one."""
        address = self.address()
        if address is None:
            raise self.source.fault(f"{self.what} must have an address; it has none")
        return address

    def version(self, *known: int) -> int:
        """The next byte, which must be a version that is known."""
        actual = self.uint()
        if actual not in known:
            raise self.source.fault(
                f"{self.what} must be of version {' or '.join(map(str, known))}; it is of version {actual}"
            )
        return actual


def decoded(data: bytes) -> str:
    """Text up to the first zero byte; a byte that is not UTF-8 becomes a surrogate."""
    return data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")

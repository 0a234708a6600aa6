"""Where a dataset's bytes lie: with its header, in one piece, in chunks, or nowhere as long as none was written."""

from math import prod

import numpy as np

from minirnn.formats.containers.hdf5.chunks import EXPANSION, Chunks
from minirnn.formats.containers.hdf5.headers import EXTERNAL, FILL, LAYOUT, OLD_FILL, Header
from minirnn.formats.containers.hdf5.source import Array


class Storage:
    """The bytes of a dataset of this shape, with elements of ``size`` bytes.

    ``expansion`` is how many of its ``nbytes`` one byte of the file can at most stand for.
    """

    def __init__(self, header: Header, shape: tuple[int, ...], size: int) -> None:
        self.source, self.shape, self.size, self.nbytes = header.source, shape, size, prod(shape) * size
        if header.find(EXTERNAL):
            raise self.source.fault("a dataset must be in its own file; this one is elsewhere")
        at = header.need(LAYOUT)
        version, kind = at.version(3, 4, 5), at.uint()
        self.compact: bytes | None = None
        self.address: int | None = None
        self.chunks: Chunks | None = None
        if kind == 0:
            self.compact = at.take(at.uint(2))
        elif kind == 1:
            self.address = at.address()
        elif kind == 2:
            self.chunks = Chunks(header, at, version, shape, size)
        else:
            raise self.source.fault(f"a dataset must be compact, contiguous or chunked; its layout is of class {kind}")
        self.fill = _fill(header, size)
        self.apart = self.compact is None and self.address is None  # in chunks, or not written
        deflated = self.chunks is None or self.chunks.deflated or self.chunks.tree is None
        self.expansion = EXPANSION if self.apart and deflated else 1
        if self.nbytes > self.expansion * self.source.size:
            raise self.source.fault(
                f"a dataset of {self.nbytes:,} bytes is more than a file of {self.source.size:,} can hold"
            )
        self._claimed = False

    def claim(self) -> None:
        """Raise unless the array is stored, or is no more than the file is worth beside that; nothing is read yet.

        What is taken from the file's allowance is taken once, however often the array is read.
        """
        if not self._claimed and self.apart:
            self.source.make_up(self.nbytes - (self.chunks.claim() if self.chunks else 0))
        self._claimed = True

    def read(self) -> Array:
        """All bytes, row by row."""
        self.claim()
        out = np.empty(self.nbytes, np.uint8)
        if self.compact is not None:
            if len(self.compact) < self.nbytes:
                raise self.source.fault(f"a dataset must have {self.nbytes:,} bytes; {len(self.compact):,} are here")
            out[:] = np.frombuffer(self.compact, np.uint8)[: self.nbytes]
        elif self.address is not None:
            self.source.fill(out, self.address, "a dataset")
        else:
            out.reshape(-1, self.size)[...] = np.frombuffer(self.fill, np.uint8)
            if self.chunks is not None:
                self.chunks.read(out.reshape(*self.shape, self.size))
        return out


def _fill(header: Header, size: int) -> bytes:
    """The element that stands where nothing was written."""
    at, defined = header.find(FILL), True
    if at is None:
        at = header.find(OLD_FILL)
    elif (version := at.version(1, 2, 3)) == 3:
        defined = bool(at.uint() & 32)
    else:
        at.take(2)  # when space is taken, and filled
        defined = bool(at.uint()) or version == 1
    value = at.take(at.uint(4)) if at and defined else b""
    if len(value) not in (0, size):
        raise header.source.fault(f"a fill value must have an element's {size} bytes; it has {len(value)}")
    return value or bytes(size)

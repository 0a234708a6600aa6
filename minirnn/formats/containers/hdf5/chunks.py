"""Datasets in chunks, which may be compressed."""

import zlib
from collections.abc import Iterator
from math import prod
from typing import NamedTuple

import numpy as np

from minirnn.formats.containers.hdf5.headers import FILTERS, Header
from minirnn.formats.containers.hdf5.source import Array, Cursor, Source
from minirnn.formats.containers.hdf5.trees import old_entries

DEFLATE, SHUFFLE = 1, 2
EXPANSION = 1032  # to how many bytes deflate can expand one
LARGEST_SMALL = 2**20  # bytes that chunks may have whatever their dataset has: h5py makes them before it grows
CHUNK = 1500  # what a chunk costs beside its bytes


class Place(NamedTuple):
    """A chunk: where it belongs in the dataset, where and in how many bytes it is stored; bits of filters left out."""

    offset: tuple[int, ...]
    address: int
    stored: int
    left_out: int


class Chunks:
    """The chunks of a dataset of this shape, with elements of ``size`` bytes."""

    def __init__(self, header: Header, at: Cursor, version: int, shape: tuple[int, ...], size: int) -> None:
        self.source, self.shape, self.size = header.source, shape, size
        self.filters = _filters(header, size)
        self.deflated = DEFLATE in self.filters
        self.only: tuple[int, int] | None = None  # stored size and filters left out of the one chunk, if it is known
        if version == 3:
            rank, self.tree = at.uint(), at.address()
            self._dimensions([at.uint(4) for _ in range(rank)])
        else:
            flags, rank, width = at.uint(), at.uint(), at.uint()
            self._dimensions([at.uint(width) for _ in range(rank)])
            index = at.uint()
            if index != 1:
                raise self.source.fault(f'chunks indexed as by libver="latest" (kind {index}) are not supported')
            self.only = (at.length(), at.uint(4)) if flags & 2 else (self.nbytes, 0)
            self.tree = at.address()

    def _dimensions(self, dims: list[int]) -> None:
        self.chunk = tuple(dims[:-1])
        if len(self.chunk) != len(self.shape) or not all(dims) or dims[-1] != self.size:
            raise self.source.fault(
                f"chunks must have their dataset's dimensions, {self.shape} of {self.size} bytes; got {dims}"
            )
        self.nbytes, self.places = prod(dims), []  # type: int, list[Place]
        whole = self.size * prod(-(-n // c) * c for n, c in zip(self.shape, self.chunk, strict=True))
        if whole > 4 * self.size * prod(self.shape) + LARGEST_SMALL:
            raise self.source.fault(f"chunks must be no larger than their dataset, {self.shape}; they are {self.chunk}")

    def claim(self) -> int:
        """Find the chunks, have what they expand to allowed, and return how many bytes of the dataset they hold."""
        self.places = list(self._places())
        if self.deflated:
            self.source.expand(len(self.places) * self.nbytes)
        return self.size * sum(
            prod(min(c, n - o) for o, c, n in zip(place.offset, self.chunk, self.shape, strict=True))
            for place in self.places
        )

    def read(self, out: Array) -> None:
        """Put every chunk that was written in its place in ``out``, which has the bytes of an element last."""
        for offset, address, stored, left_out in self.places:
            block = tuple(slice(o, o + n) for o, n in zip(offset, self.chunk, strict=True))
            place = out[block]
            data = self._data(address, stored, left_out).reshape(*self.chunk, self.size)
            place[...] = data[tuple(slice(n) for n in place.shape)]

    def _places(self) -> Iterator[Place]:
        """The chunks that were written and are within the dataset."""
        if self.tree is None or 0 in self.shape:
            return
        if self.only is not None:
            yield Place((0,) * len(self.chunk), self.tree, *self.only)
            return
        seen: set[int] = set()  # numbers, since a file can hold many tuples of one hash
        total = 0
        for key, address in old_entries(self.source, self.tree, 1, 16 + 8 * len(self.chunk)):
            self.source.spend(CHUNK)
            stored, left_out = key.uint(4), key.uint(4)
            offset = tuple(key.uint(8) for _ in self.chunk)
            if not all(o < n for o, n in zip(offset, self.shape, strict=True)):
                continue
            number = 0
            for o, n in zip(offset, self.shape, strict=True):
                number = number * n + o
            if number in seen or any(o % c for o, c in zip(offset, self.chunk, strict=True)):
                raise self.source.fault(f"chunks must stand side by side; one is at {offset}")
            seen.add(number)
            total += stored
            if total > self.source.size:
                raise self.source.fault("a dataset's chunks must not be more than the file")
            yield Place(offset, address, stored, left_out)

    def _data(self, address: int, stored: int, left_out: int) -> Array:
        """The bytes of one chunk, its filters undone."""
        self.source.check(address, stored, "a chunk")
        data = np.empty(stored, np.uint8)
        self.source.fill(data, address, "a chunk")
        for k, kind in reversed(list(enumerate(self.filters))):
            if not left_out >> k & 1:
                if kind == DEFLATE:
                    data = _inflated(self.source, data, self.nbytes)
                elif data.size == self.nbytes:
                    data = data.reshape(self.size, -1).T.ravel()
        if data.size != self.nbytes:
            raise self.source.fault(f"a chunk must have {self.nbytes:,} bytes; it has {data.size:,}")
        return data


def _filters(header: Header, size: int) -> list[int]:
    """The filters that chunks went through when they were written, in that order."""
    at = header.find(FILTERS)
    if at is None:
        return []
    version, n = at.version(1, 2), at.uint()
    at.take(6 if version == 1 else 0)
    filters: list[int] = []
    for _ in range(n):
        kind = at.uint(2)
        name = at.uint(2) if version == 1 or kind >= 256 else 0
        at.take(2)
        values = at.uint(2)
        at.take(-(-name // 8) * 8 if version == 1 else name)
        numbers = [at.uint(4) for _ in range(values)]
        at.take(4 if version == 1 and values % 2 else 0)
        if kind not in (DEFLATE, SHUFFLE) or kind in filters:
            raise header.source.fault(f"chunks must be filtered by gzip and shuffle only, each once; got filter {kind}")
        if kind == SHUFFLE and numbers != [size]:
            raise header.source.fault(f"a shuffle must be one of elements of {size} bytes; got {numbers}")
        filters.append(kind)
    return filters


def _inflated(source: Source, data: Array, wanted: int) -> Array:
    """The inflated bytes, of which there must be as many as wanted."""
    inflate = zlib.decompressobj()
    try:
        out = inflate.decompress(data.data, wanted + 1)
    except zlib.error as error:
        raise source.fault(f"a chunk must be compressed by gzip; {error}") from None
    if len(out) != wanted:
        raise source.fault(f"a chunk must have {wanted:,} bytes; it has {'more' if len(out) > wanted else 'fewer'}")
    return np.frombuffer(out, np.uint8)

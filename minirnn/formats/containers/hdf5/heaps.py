"""Where names, text and dense groups are kept: local, global and fractal heaps."""

from minirnn.formats.containers.hdf5.source import Cursor, Source, decoded
from minirnn.formats.containers.hdf5.trees import new_records

LONGEST_NAME = 2**16


class LocalHeap:
    """The names of one group with a symbol table."""

    def __init__(self, source: Source, address: int) -> None:
        self.source = source
        head = source.read(address, 8 + 2 * source.lengths + source.offsets, "a local heap", b"HEAP", (0,))
        head.take(3)
        size = head.length()
        head.length()  # its free list
        self.data = source.read(head.address(), size, "a local heap's data").data

    def name(self, offset: int) -> str:
        """The name that begins at ``offset``."""
        end = self.data.find(b"\0", offset, offset + LONGEST_NAME)
        if end < 0:
            raise self.source.fault("a name in a local heap must end within it")
        self.source.spend(end - offset)
        return decoded(self.data[offset:end])


def global_heap(source: Source, address: int) -> dict[int, bytes]:
    """The objects of a global heap, of any length, by their numbers."""
    head = source.read(address, 8 + source.lengths, "a global heap", b"GCOL", (1,))
    head.take(3)
    size = max(head.length() - len(head.data), 0)
    body = source.read(address + len(head.data), size, "a global heap")
    objects: dict[int, bytes] = {}
    while body.left >= 8 + source.lengths:
        source.spend(64)
        number = body.uint(2)
        if number == 0:  # the rest is free
            break
        body.take(6)
        objects[number] = body.take(body.length())
        body.take(min(-body.at % 8, body.left))  # the next begins at a multiple of 8
    return objects


class FractalHeap:
    """Objects of any length by an ID that says where each lies, in blocks whose sizes double row by row."""

    def __init__(self, source: Source, address: int) -> None:
        O, L = source.offsets, source.lengths
        head = source.read(address, 22 + 3 * O + 12 * L, "a fractal heap", b"FRHP", (0,))
        self.source, self.address = source, address
        self.id_length, filters = head.uint(2), head.uint(2)
        head.take(1)
        largest = head.uint(4)
        head.take(L)
        self.huge = head.address()
        head.take(O + 9 * L)  # free space, and what there is of each kind
        self.width, self.start, self.most, bits = head.uint(2), head.length(), head.length(), head.uint(2)
        head.take(2)
        self.root, self.rows = head.address(), head.uint(2)
        if filters:
            raise source.fault("a fractal heap must not be filtered")
        for number in (self.width, self.start, self.most):
            if number == 0 or number & (number - 1):
                raise source.fault(f"a fractal heap's sizes must be powers of two; got {number}")
        if self.most < self.start or bits > 64 or self.rows > 64 + 1:
            raise source.fault("a fractal heap's sizes must fit each other")
        self.offset_bytes = (bits + 7) // 8
        bound = (self.most.bit_length() + 6) // 8
        self.length_bytes = min(bound, (max(largest, 1).bit_length() - 1) // 8 + 1)
        self.direct_rows = self.most.bit_length() - self.start.bit_length() + 2

    def get(self, identity: bytes) -> bytes:
        """The object of this ID."""
        where = Cursor(self.source, identity, "a fractal heap's ID")
        first = where.uint()
        if first >> 6:
            raise self.source.fault(f"a fractal heap's ID must be of version 0; it is of version {first >> 6}")
        kind = first >> 4 & 3
        if kind == 0:
            return self._managed(where.uint(self.offset_bytes), where.uint(self.length_bytes))
        if kind == 1:
            return self._huge(where.uint(min(where.left, self.source.lengths)))
        if kind == 2:
            return where.take((first & 15) + 1)
        raise self.source.fault("a fractal heap's ID must be of type 0, 1 or 2; it is of type 3")

    def _managed(self, offset: int, length: int) -> bytes:
        block, base, size, rows = self.root, 0, self.start, self.rows
        while rows:
            within, row = offset - base, 0
            size = self.start
            while within >= size * self.width:
                within -= size * self.width
                row += 1
                size = self.start << max(row - 1, 0)
                if row >= rows:
                    raise self.source.fault("a fractal heap's object must lie within its blocks")
            column = within // size
            base = offset - within + column * size
            block = self._child(block, row * self.width + column)
            rows = 0  # of the next block, if it leads to others itself
            if row >= self.direct_rows:
                rows = max(size.bit_length() - (self.start * self.width).bit_length() + 1, 0)
        what = "a fractal heap's block"
        if block is None or offset - base + length > size:
            raise self.source.fault("a fractal heap's object must lie within a block")
        self.source.read(block, 4, what, b"FHDB")
        return self.source.read(block + offset - base, length, what).data

    def _child(self, block: int | None, k: int) -> int | None:
        what = "a fractal heap's indirect block"
        self.source.read(block, 4, what, b"FHIB")
        at = (block or 0) + 5 + self.source.offsets + self.offset_bytes + k * self.source.offsets
        return self.source.read(at, self.source.offsets, what).address()

    def _huge(self, number: int) -> bytes:
        if self.huge is None:
            raise self.source.fault("a fractal heap must have what is kept in it; it has no huge objects")
        for record in new_records(self.source, self.huge, 1):
            address, length = record.address(), record.length()
            if record.length() == number:
                return self.source.read(address, length, "a fractal heap's huge object").data
        raise self.source.fault(f"a fractal heap must have what is kept in it; huge object {number} is missing")

"""Object headers: the list of messages that every group and dataset begins with."""

from collections.abc import Iterator
from typing import NamedTuple

from minirnn.formats.containers.hdf5.source import Cursor, Source

DATASPACE, LINK_INFO, DATATYPE, OLD_FILL, FILL, LINK, EXTERNAL, LAYOUT = 1, 2, 3, 4, 5, 6, 7, 8
FILTERS, ATTRIBUTE, CONTINUATION, SYMBOL_TABLE, ATTRIBUTE_INFO = 0xB, 0xC, 0x10, 0x11, 0x15
_NAMES = {DATASPACE: "dataspace", DATATYPE: "datatype", LAYOUT: "data layout", FILTERS: "filter pipeline"}


class Message(NamedTuple):
    """One message; a shared one holds only where the real one is."""

    kind: int
    shared: bool
    data: bytes


class Header:
    """All messages of the object at ``address``, the blocks that continue it included."""

    def __init__(self, source: Source, address: int) -> None:
        self.source = source
        self.messages: list[Message] = []
        start = source.read(address, 4, "an object header")
        new = start.data == b"OHDR"
        first = self._new(address) if new else self._old(address)
        blocks, total = [first], first.left
        for block in blocks:
            for message in self._messages(block, new=new):
                if message.kind == CONTINUATION:
                    more = self._continued(message, new=new)
                    total += more.left
                    if total > source.size:
                        raise source.fault("an object header continues without end")
                    blocks.append(more)
                else:
                    self.messages.append(message)

    def all(self, kind: int) -> list[Message]:
        """The messages of a kind."""
        return [message for message in self.messages if message.kind == kind]

    def find(self, kind: int) -> Cursor | None:
        """The data of the one message of a kind, None where there is none."""
        messages = self.all(kind)
        if not messages:
            return None
        what = f"a {_NAMES.get(kind, f'message of kind {kind}')}"
        if messages[0].shared:
            raise self.source.fault(f"{what} must stand with its object; this one is shared, which is not supported")
        return Cursor(self.source, messages[0].data, what)

    def need(self, kind: int) -> Cursor:
        """The data of the one message of a kind, which must be there."""
        cursor = self.find(kind)
        if cursor is None:
            raise self.source.fault(f"an object header must have a {_NAMES.get(kind, f'message of kind {kind}')}")
        return cursor

    def _old(self, address: int) -> Cursor:
        start = self.source.read(address, 16, "an object header", versions=(1,))
        start.take(7)  # reserved, how many messages, how many links
        return self.source.read(address + 16, start.uint(4), "an object header")

    def _new(self, address: int) -> Cursor:
        self.flags = self.source.read(address, 6, "an object header", b"OHDR", (2,)).uint()
        skipped = (16 if self.flags & 0x20 else 0) + (4 if self.flags & 0x10 else 0)  # times, attribute limits
        width = 1 << (self.flags & 3)
        at = address + 6 + skipped
        size = self.source.read(at, width, "an object header").uint(width)
        return self.source.read(at + width, size, "an object header")

    def _continued(self, message: Message, *, new: bool) -> Cursor:
        where = Cursor(self.source, message.data, "an object header's continuation")
        block = self.source.read(where.place(), where.length(), where.what, b"OCHK" if new else b"")
        if new:
            block.data = block.data[: max(len(block.data) - 4, block.at)]  # without the checksum
        return block

    def _messages(self, block: Cursor, *, new: bool) -> Iterator[Message]:
        ordered = new and self.flags & 4
        head = (6 if ordered else 4) if new else 8
        while block.left >= head:
            self.source.spend(64)
            if new:
                kind, size, flags = block.uint(), block.uint(2), block.uint()
                block.take(2 if ordered else 0)
            else:
                kind, size, flags = block.uint(2), block.uint(2), block.uint()
                block.take(3)
            yield Message(kind, bool(flags & 2), block.take(size))

"""B-trees of both versions, walked from end to end: files read here are small beside the searching they could save."""

from collections.abc import Iterator

from minirnn.formats.containers.hdf5.source import Cursor, Source

DEEPEST = 32  # levels; a tree has at least two children a node


def old_entries(source: Source, address: int, kind: int, key: int) -> Iterator[tuple[Cursor, int]]:
    """The leaves of a tree of version 1: each entry's key (of ``key`` bytes) and the address that it is for."""
    seen: set[int] = set()

    def node(address: int, level: int | None) -> Iterator[tuple[Cursor, int]]:
        if address in seen:
            raise source.fault("a B-tree must not lead to one node twice")
        seen.add(address)
        head = source.read(address, 8 + 2 * source.offsets, "a B-tree's node", b"TREE")
        stored, depth, n = head.uint(), head.uint(), head.uint(2)
        if stored != kind or depth > DEEPEST or level not in (None, depth):
            raise source.fault(f"a B-tree's node must be of type {kind}, each a level below the one that leads to it")
        body = source.read(address + len(head.data), n * (key + source.offsets), "a B-tree's node")
        for _ in range(n):
            entry = Cursor(source, body.take(key), "a B-tree's key")
            child = body.place()
            if depth:
                yield from node(child, depth - 1)
            else:
                yield entry, child

    yield from node(address, None)


def new_records(source: Source, address: int, kind: int) -> Iterator[Cursor]:
    """The records of a tree of version 2."""
    what = "a B-tree's header"
    head = source.read(address, 22 + source.offsets + source.lengths, what, b"BTHD", (0,))
    stored, size, record, depth = head.uint(), head.uint(4), head.uint(2), head.uint(2)
    head.take(2)  # when to split and merge
    root, n = head.address(), head.uint(2)
    if stored != kind or record == 0 or depth > DEEPEST:
        raise source.fault(f"{what} must be of type {kind} with records and at most {DEEPEST} levels")
    if root is None:
        return
    counts = [(size - 10) // record]  # records that fit a node, by its height; and in the tree under it
    widths = [0]  # bytes that count the latter in a pointer to it; a pointer to a leaf does without
    totals = list(counts)
    if counts[0] < 1:
        raise source.fault(f"{what} must have nodes that hold a record; they have {size:,} bytes")
    narrow = _bytes(counts[0])
    for height in range(1, depth + 1):
        pointer = source.offsets + narrow + widths[height - 1]
        counts.append((size - 10 - pointer) // (record + pointer))
        totals.append((counts[height] + 1) * totals[height - 1] + counts[height])
        widths.append(_bytes(max(totals[height], 1)))
    seen: set[int] = set()

    def node(address: int, n: int, height: int) -> Iterator[Cursor]:
        if address in seen:
            raise source.fault("a B-tree must not lead to one node twice")
        seen.add(address)
        body = source.read(address, size, "a B-tree's node", b"BTIN" if height else b"BTLF", (0,))
        body.take(1)
        records = [Cursor(source, body.take(record), "a B-tree's record") for _ in range(n)]
        source.spend(64 * n)
        yield from records
        if height:
            for _ in range(n + 1):
                child, held = body.place(), body.uint(narrow)
                body.take(widths[height - 1])
                yield from node(child, held, height - 1)

    yield from node(root, n, depth)


def _bytes(n: int) -> int:
    """How many bytes the numbers up to n take."""
    return (n.bit_length() - 1) // 8 + 1

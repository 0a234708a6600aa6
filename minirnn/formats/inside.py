"""A look into a file that is no model, or none that is opened: what can be said of its content without trusting it."""

import pickletools
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from itertools import islice
from pathlib import Path

from minirnn.core.files import ModelFileError
from minirnn.formats.containers.zip import Archive
from minirnn.formats.opening import ZIP, as_text, opened

MOST_ENTRIES = 20  # of a zip
MOST_CLASSES = 20  # that a pickle names
MOST_INSTRUCTIONS = 10_000  # of a pickle, that are looked at
LARGEST_LOOK = 2**20  # bytes that are read
MOST_LINES = 3  # of a text
WIDTH = 100  # letters of a line


def inside(path: Path) -> list[str]:
    """Lines about what is in a file: the entries of a zip, the classes that a pickle names, how a text begins.

    Nothing in it is run.  A file that is damaged gives few lines, or none.
    """
    lines: list[str] = []
    with suppress(ModelFileError), opened(path) as (file, head, length):
        lines.append(f"{path}: not opened, {length:,} bytes")
        text = as_text(head)
        if head.startswith(ZIP):
            archive = Archive(file, path)
            lines += _zipped(archive)
        elif head.startswith(b"\x80"):
            lines += _pickled(file.read(LARGEST_LOOK))
        elif text is not None:
            lines += [f"  {line[:WIDTH]}" for line in text.splitlines()[:MOST_LINES]]
        else:
            lines.append(f"  begins with {head[:16].hex(' ')}")
    return lines


def _zipped(archive: Archive) -> Iterator[str]:
    names = list(archive.entries)
    for name in names[:MOST_ENTRIES]:
        yield f"  {name[:WIDTH]!a}  {archive.entries[name].file_size:,} bytes"
    if len(names) > MOST_ENTRIES:
        yield f"  and {len(names) - MOST_ENTRIES:,} more entries"
    for name in names[:MOST_ENTRIES]:
        if name.endswith(".pkl") and archive.entries[name].file_size <= LARGEST_LOOK:
            with suppress(ModelFileError):
                yield from _pickled(archive.read(name))


def _pickled(data: bytes) -> Iterator[str]:
    """The classes and functions that a pickle names, by whichever of its two instructions."""
    named: dict[str, None] = {}
    words: list[str] = []
    with suppress(ValueError):  # where it ends too early, or is none
        for code, argument, _ in islice(pickletools.genops(BytesIO(data)), MOST_INSTRUCTIONS):
            if code.name == "GLOBAL":
                named[str(argument).replace(" ", ".")] = None
            elif code.name == "STACK_GLOBAL" and len(words) > 1:
                named[".".join(words[-2:])] = None
            elif isinstance(argument, str) and "UNICODE" in code.name:
                words.append(argument[:WIDTH])
    for name in islice(named, MOST_CLASSES):
        yield f"  names {name[:WIDTH]!a}, which is not called"
    if len(named) > MOST_CLASSES:
        yield f"  and {len(named) - MOST_CLASSES:,} more names"

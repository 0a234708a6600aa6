"""Tensors that lie in a file beside the model: what the standard calls external data, and torch's exporter writes.

A model names such a file, so a hostile one may name any: a password file, a pipe, a device.  Only a plain file in the
model's own folder is opened, by a name that is no path, and never through a link.
"""

import os
import re
import stat
from pathlib import Path

from minirnn.core.files import LARGEST_FILE, ModelFileError
from minirnn.formats.containers.protobuf import Message
from minirnn.formats.onnx.structure import short

LONGEST_NUMBER = 19  # digits
DRIVE = re.compile(r"[A-Za-z]:")


class ModelFolder:
    """Where a model lies, None for one that is no file; ``taken`` is how many bytes were read from files beside it."""

    def __init__(self, path: Path | None) -> None:
        self.path, self.taken = path, 0
        self._parts: dict[tuple[str, int, int], memoryview] = {}
        self._held: dict[str, int] = {}  # how many bytes of a file were read

    def read(self, what: str, tensor: Message, size: int) -> memoryview:
        """The ``size`` bytes of a tensor, whose entries say where they are: the same memory for the same place.

        Raises ModelFileError unless the file has them, before memory is taken.  Of one file no more is read than it
        holds, however many tensors say that they are in it.
        """
        entries = {entry.get("key", ""): entry.get("value", "") for entry in tensor.get("external_data", ())}
        name = _name(what, entries.get("location", ""))
        if self.path is None:
            raise ModelFileError(
                f"{what} is in another file, {name!r}: give the path of the model, beside which that file lies"
            )
        offset = _number(what, entries, "offset", 0)
        length = _number(what, entries, "length", size)
        if length != size:
            raise ModelFileError(f"{what} must take {size:,} bytes in {name!r}; its length there is {length:,}")
        place = name, offset, size
        if place not in self._parts:
            self._parts[place] = self._part(what, name, offset, size)
        return self._parts[place]

    def _part(self, what: str, name: str, offset: int, size: int) -> memoryview:
        assert self.path is not None
        path = self.path / name
        try:
            check_plain(what, name, path.lstat())
            # it may have become another since: a link is not followed, and a pipe is not waited for
            flags = [getattr(os, flag, 0) for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")]
            with os.fdopen(os.open(path, os.O_RDONLY | sum(flags)), "rb") as file:
                about = os.fstat(file.fileno())
                check_plain(what, name, about)
                end, holds = offset + size, about.st_size
                if end > holds:
                    raise ModelFileError(
                        f"{what} ends at byte {end:,} of {name!r}, which must have them; it has {holds:,}"
                    )
                if self._held.get(name, 0) + size > holds or self.taken + size > LARGEST_FILE:
                    raise ModelFileError(
                        f"tensors must not overlap in {name!r}; with {what} they take more than it holds"
                    )
                file.seek(offset)
                data = file.read(size)
                if len(data) < size:
                    raise ModelFileError(f"{what} must have {size:,} bytes in {name!r}; the file was cut short")
        except FileNotFoundError:
            raise ModelFileError(f"{what} is in {name!r}, which must lie beside the model; it is not there") from None
        except OSError as error:
            raise ModelFileError(f"{what} is in {name!r}, which cannot be read: {error.strerror}") from None
        self._held[name] = self._held.get(name, 0) + size
        self.taken += size
        return memoryview(data)


def check_plain(what: str, name: str, about: os.stat_result) -> None:
    """Raise ModelFileError for what is no file: a link, whatever it leads to, a pipe, a device, a directory."""
    if not stat.S_ISREG(about.st_mode):
        kind = "a link" if stat.S_ISLNK(about.st_mode) else "a directory" if stat.S_ISDIR(about.st_mode) else "no file"
        raise ModelFileError(f"{what} must be in a plain file beside the model; {name!r} is {kind}")


def _name(what: str, location: str) -> str:
    """The name of a file in the model's folder, or ModelFileError for anything that leads elsewhere."""
    name = location.removeprefix("./")
    elsewhere = "/" in name or "\\" in name or "\0" in name or DRIVE.match(name) or (os.name == "nt" and ":" in name)
    if elsewhere or name in ("", ".", ".."):
        raise ModelFileError(
            f"{what} must be in a file of the model's own folder, given by its name; got {short(location)}"
        )
    return name


def _number(what: str, entries: dict[str, str], key: str, default: int) -> int:
    text = entries.get(key, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER):
        raise ModelFileError(f"{what} must have a whole number for its {key}; got {text[:40]!r}")
    return int(text)

"""The common part of all model files: the error for a bad one, the warning, writing whole or not at all."""

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeAlias

Json: TypeAlias = dict[str, Any]  # an object of JSON

CUT_OFF = "a download that was cut off looks like this"
LARGEST_FILE = 2**34  # bytes that a file may hold or, compressed, declare: more is refused before memory is taken


class ModelFileError(ValueError):
    """A file that is not a model of minirnn, or a damaged one; the message says what was expected and what came."""


class ModelFileWarning(UserWarning):
    """A model file says less than its model computes: what was assumed of one that was loaded, what one written lacks.

    ``details`` has what the message lists, one by one, ``advice`` what settles it.
    """

    def __init__(self, message: str, details: Sequence[str] = (), advice: str = "") -> None:
        super().__init__(message)
        self.details, self.advice = tuple(details), advice


def warn(message: str, details: Sequence[str], advice: str = "") -> None:
    """Warn the caller of minirnn, at whose line the warning is shown, however many calls lie between."""
    frame, level = sys._getframe(1), 2  # noqa: SLF001 - the warnings module itself goes this way
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == __name__.partition(".")[0]:
        frame, level = frame.f_back, level + 1
    warnings.warn(ModelFileWarning(message, details, advice), stacklevel=level)


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a file for writing that takes ``path``'s name only when all of it is on the disk."""
    path = Path(os.path.realpath(path))  # through a link, to what it names
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is not a file that can be replaced")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no directory {path.parent} to write {path.name} in")
    temporary = path.with_name(f".{os.urandom(8).hex()}.part")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if hasattr(os, "O_DIRECTORY"):  # so that the new name survives a power cut too; Windows has no such call
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

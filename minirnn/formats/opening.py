"""``minirnn.load``: the one way to open a model file, of whatever format; the content decides, never the name."""

import os
from pathlib import Path
from typing import Any

from minirnn.backend import get_backend
from minirnn.base import Layer
from minirnn.formats import native
from minirnn.formats.files import LARGEST_FILE, ModelFileError
from minirnn.lm import LanguageModel


def load(path: str | os.PathLike[str], *, backend: str = "auto", dtype: Any = None) -> Layer | LanguageModel:
    """Open a model file.

    ``dtype`` None keeps the file's.  Raises ModelFileError for anything that is not a sound model file,
    FileNotFoundError where there is none.
    """
    path = Path(path)
    get_backend(backend)  # refused before the file is read
    if not path.is_file():
        raise FileNotFoundError(f"no model file at {path}{': it is a directory' if path.is_dir() else ''}")
    if path.stat().st_size > LARGEST_FILE:
        raise ModelFileError(f"{path} must hold at most {LARGEST_FILE:,} bytes; it holds {path.stat().st_size:,}")
    return native.load(path, backend=backend, dtype=dtype)

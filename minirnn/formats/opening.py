"""``minirnn.load``: the one way to open a model file, of whatever format; the content decides, never the name."""

import os
from importlib import import_module
from pathlib import Path
from typing import Any

from minirnn.core.backend import get_backend
from minirnn.core.files import LARGEST_FILE, ModelFileError
from minirnn.core.layer import Layer
from minirnn.formats import unknown
from minirnn.formats.archive import Archive
from minirnn.formats.limits import check_header

FORMATS = {  # the room that reads each
    "native": "minirnn.formats.native",
    "torch": "minirnn.formats.torch",
    "keras": "minirnn.formats.keras",
    "onnx": "minirnn.formats.onnx",
}
ONNX_FIELDS = b"\x08\x12\x3a\x42"  # with one of which a ModelProto begins: there is no other sign


def load(
    path: str | os.PathLike[str],
    *,
    backend: str = "auto",
    dtype: Any = None,
    batch_first: bool = False,
    **about: Any,
) -> Any:
    """Open a model that minirnn, torch or Keras saved, or that is in ONNX: whichever ``path`` holds.

    minirnn's own file gives what was saved, a LanguageModel where there is a vocabulary, else the layer.  A state dict
    of torch's (``.pt``, ``.safetensors``) and Keras' files give layers, an ONNX graph gives layers where it is a plain
    chain of them, else a ``minirnn.formats.onnx.Graph``, which can be run and no more.  In layers time comes first,
    x (T, B, features), whatever it was where the model was trained.

    With ``batch_first`` the layers take and return (B, T, features) unless a call says ``batch_first=False``: as in
    Keras, and in torch where the module had ``batch_first=True``, which a state dict does not tell.  It is about calls,
    and is not saved with the model; states, streams and what ``to_onnx`` writes are as without.

    ``dtype`` None keeps the file's.  What a file does not say, ``about`` can: ``nonlinearity="relu"`` of an nn.RNN,
    ``prefix="encoder"`` for a part of a state dict, ``modules=["lstm", "head.0", "relu", "head.2"]`` for what computes
    after what, ``config=`` the architecture where Keras saved weights alone; see ``load`` in each format's room.
    Where a state dict leaves open what its model computes, a ModelFileWarning tells what was assumed.

    Raises ModelFileError for anything that is not a sound model file, FileNotFoundError where there is none,
    ImportError where the format needs a package that is not installed.  Nothing in a file is executed.
    """
    path = Path(path)
    get_backend(backend)  # refused before the file is read
    unknown.check_is_file(path)
    if path.stat().st_size > LARGEST_FILE:
        raise ModelFileError(f"{path} must hold at most {LARGEST_FILE:,} bytes; it holds {path.stat().st_size:,}")
    model = import_module(FORMATS[format_of(path)]).load(path, backend=backend, dtype=dtype, **about)
    if batch_first:
        if not isinstance(model, Layer):
            raise ValueError(
                f"batch_first=True is for layers; {path} holds a {type(model).__name__}, which has an order of its own"
            )
        model.batch_first = True
    return model


def format_of(path: Path) -> str:
    """The format of a file, by its content: a key of ``FORMATS``, or ModelFileError."""
    try:
        with path.open("rb") as file:
            head = file.read(unknown.LONGEST_HEAD)
            if Archive.begins(head):
                return "keras" if "config.json" in Archive(file, path).entries else "torch"
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error}") from None
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "keras"
    text = unknown.as_text(head) is not None
    if head[8:9] == b"{" and not text:  # after its own length in 8 bytes: the header of a safetensors file
        return "native" if _is_native(path) else "torch"
    if head.startswith(b"\x80"):
        return "torch"  # a pickle, which it explains
    if head[:1] and head[0] in ONNX_FIELDS and not text:
        return "onnx"
    raise ModelFileError(f"{path} {unknown.what(head, path.stat().st_size)}")


def _is_native(path: Path) -> bool:
    """Whether a safetensors file describes a network; one that cannot be read is left to the native room to explain."""
    from safetensors import SafetensorError, safe_open

    check_header(path)
    try:
        with safe_open(path, framework="numpy") as file:
            return "minirnn" in (file.metadata() or {})
    except (SafetensorError, OSError):
        return True

"""``minirnn.load``: the one way to load a model file, of whatever format."""

import os
from importlib import import_module
from pathlib import Path
from typing import Any

from minirnn.core.backend import get_backend
from minirnn.core.layer import Layer
from minirnn.formats.opening import FORMATS, check_is_file, format_of


def load(
    path: str | os.PathLike[str],
    *,
    backend: str = "auto",
    dtype: Any = None,
    batch_first: bool | None = None,
    **about: Any,
) -> Any:
    """Open a model that minirnn, torch or Keras saved, or that is in ONNX: whichever ``path`` holds.

    ``path`` is a file, or the directory that is a SavedModel of Keras 2.

    minirnn's own file gives what was saved, a LanguageModel where there is a vocabulary, else the layer.  torch's files
    (``.pt``, ``.safetensors``) and Keras' give layers, a Functional model that is no chain a ``LayerGraph``, an ONNX
    graph gives layers where it is a plain chain of them, else a ``minirnn.formats.onnx.Graph``, which can be run and no
    more.  In layers time comes first, x (T, B, features), whatever it was where the model was trained.

    With ``batch_first`` the layers take and return (B, T, features) unless a call says ``batch_first=False``: as in
    Keras, and in torch where the module had ``batch_first=True``.  None is what the file says of that, which a whole
    module of torch's does and a state dict does not: there it is False.  It is about calls, and is not saved with the
    model; states, streams and what ``to_onnx`` writes are as without.

    ``dtype`` None keeps the file's.  What a file does not say, ``about`` can: ``nonlinearity="relu"`` of an nn.RNN,
    ``prefix="encoder"`` for a part of a state dict, ``modules=["lstm", "head.0", "relu", "head.2"]`` for what computes
    after what, ``layers="lstm, head.0, relu, head.2"`` the same in a string, or a function that makes the model of the
    arrays, ``config=`` the architecture where Keras saved weights alone,
    ``own=[RMSNorm]`` the classes of layers of your own in minirnn's own file; see ``load`` in each format's room.
    Where a state dict or Keras' weights alone leave open what computes with them, a ModelFileWarning tells what was
    assumed.

    Raises ModelFileError for anything that is not a sound model file, FileNotFoundError where there is none,
    ImportError where the format needs a package that is not installed.  Nothing in a file is executed.
    """
    path = Path(path)
    get_backend(backend)  # refused before the file is read
    check_is_file(path)
    model = import_module(FORMATS[format_of(path)]).load(path, backend=backend, dtype=dtype, **about)
    if batch_first is not None:
        if batch_first and not isinstance(model, Layer):
            raise ValueError(
                f"batch_first=True is for layers; {path} holds a {type(model).__name__}, which has an order of its own"
            )
        if isinstance(model, Layer):
            model.batch_first = batch_first
    return model

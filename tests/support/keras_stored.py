"""The models in ``keras_files.json``: a file of each that Keras 2 or 3 saved, an input, and what Keras made of it."""

import base64
import json
import zlib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from minirnn.formats.keras import load

Array: TypeAlias = NDArray[Any]


class Stored(NamedTuple):
    """``config`` is what ``to_json`` says of a model if the file holds weights alone; x and y have the batch first."""

    file: bytes
    ending: str
    config: dict[str, Any] | None
    x: Array
    y: Array


def unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))


def _array(about: dict[str, Any]) -> Array:
    return np.frombuffer(unpacked(about["data"]), about["dtype"]).reshape(about["shape"])


@cache
def stored() -> dict[str, Stored]:
    entries = json.loads(Path(__file__).with_name("keras_files.json").read_text(encoding="utf-8"))
    return {
        name: Stored(unpacked(one["file"]), one["ending"], one["config"], _array(one["x"]), _array(one["y"]))
        for name, one in entries.items()
    }


def load_weights(path: Path) -> Any:
    """The one model whose ``.weights.h5`` is stored; loaders for ``hostile.py``."""
    return load(path, config=stored()["Keras 3, .weights.h5"].config)


def load_old_weights(path: Path) -> Any:
    """The one whose weights Keras 2 saved as ``.h5``."""
    return load(path, config=stored()["Keras 2, weights in .h5"].config)

"""Layers of one's own in minirnn's own file: stored where the program names their classes, else refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minirnn import GRU, Layer, ModelFileError, Result, Sequential, Spec, load, save
from minirnn.core.layer import check_size


class Scaled(Layer):
    """A layer of one's own: y = weight · g, with arguments of several kinds."""

    arguments = ("size", "name", "centred", "about")
    timeless = True

    def __init__(self, size: int, name: str = "", *, centred: bool = False, about: Any = None) -> None:
        self.input_size = self.output_size = self.size = check_size("size", size)
        self.name, self.centred, self.about = name, centred, about

    def specs(self) -> dict[str, Spec]:
        return {"g": Spec((self.size,), "unit", self.size)}

    def apply(self, x: Any, state: Any, run: Any) -> Result:
        return Result(x * self.weight("g"), None, lambda dy, dstate: (dy, dstate), {})


class Other(Scaled):
    """Another, which is not in the model."""


def test_layers_of_ones_own_are_stored_where_they_are_named(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    model = Sequential(GRU(2, 3), Scaled(3, "σ", centred=True)).init(seed=1)
    save(model, path, own=[Scaled])
    loaded = load(path, own=[Scaled])
    assert np.array_equal(loaded.weights, model.weights)
    assert loaded[1].config() == {"size": 3, "name": "σ", "centred": True, "about": None}
    with pytest.raises(ModelFileError, match=r"or of yours that own=\[...\] names; got 'Scaled'"):
        load(path)


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ([], r"cannot describe Scaled\(.*not in own="),
        ([Other], "cannot describe Scaled"),
        ([Scaled], "about must be a number, a string, a flag or None; got tuple"),
        ([3], "own must list classes of layers; got 3"),
        ([Scaled, Scaled], "two layers named Scaled"),
        ([type("GRU", (Scaled,), {})], "two layers named GRU, or one that is named as one of minirnn's"),
        ([type("Sequential", (Scaled,), {})], "two layers named Sequential"),
    ],
)
def test_layers_of_ones_own_that_cannot_be_stored_are_refused(own: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        save(Scaled(3, about=(1, 2)).init(), tmp_path / "m.safetensors", own=own)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": 2**41}, "a size above"),
        ({"size": -1}, "size must be an integer of at least 1"),
        ({"size": [1]}, "size must be a number, a string, a flag or None; got list"),
        ({"other": 1}, "TypeError"),
        ({"size": 4}, "weight g must have shape"),
    ],
)
def test_a_spoilt_description_of_a_layer_of_ones_own_is_refused(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "m.safetensors"
    save(Scaled(3).init(), path, own=[Scaled])
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    about = json.loads(header["__metadata__"]["minirnn"])
    about["network"].update(change)
    header["__metadata__"]["minirnn"] = json.dumps(about)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])
    with pytest.raises(ModelFileError, match=words):
        load(path, own=[Scaled])

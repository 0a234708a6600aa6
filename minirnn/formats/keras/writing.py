"""Models written for Keras 2 and 3: ``.keras`` and ``.weights.h5``, and the older ``.h5``."""

import io
import json
import os
import zipfile
from typing import IO, Any

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.files import atomic_write
from minirnn.core.layer import Layer
from minirnn.formats.keras.describing import Described, described, serialized
from minirnn.formats.keras.graph import below, numbered
from minirnn.formats.keras.reading import WEIGHTS
from minirnn.formats.models import check_chain, check_finite, network_of
from minirnn.language.model import LanguageModel

ENDINGS = (".keras", ".weights.h5", ".h5", ".hdf5")
VERSIONS = {2: "2.15.0", 3: "3.0.0"}  # of Keras, that are said to have written a file
PLACES = "layers"  # where the weights of a model's layers are


def save(model: Layer | LanguageModel, path: str | os.PathLike[str], *, version: int = 3) -> None:
    """Write a model for Keras, whole or not at all; the name says how.

    ``.keras`` and the older ``.h5`` are for ``keras.models.load_model``; ``.weights.h5`` has the weights alone, for
    ``load_weights`` of a model like that of ``configuration(model)``.  The same model gives the same bytes.

    It becomes a Sequential: x (B, T, features), or integers (B, T) for one that begins with an Embedding, and y with
    the batch first as well; without any layer over time, x is (B, features).  A recurrent layer that minirnn feeds with
    indices, as in a LanguageModel, reads the one-hot vectors that they stand for.  Each layer of a stack is a layer
    of Keras, with its dropout behind it; ``Last`` and ``Reverse`` become ``return_sequences`` and ``go_backwards``;
    biases that are 0 and frozen are left out; a tied matrix is stored twice.  A layer of Keras does not train if all of
    its weights are frozen here.

    ``version=2`` is for Keras 2 from 2.14 on (``tf_keras``), whose ``hard_sigmoid`` is another function.  A function of
    a cell for which Keras has no name, as leaky_relu of another slope, is a layer in it: Keras opens that since 3.10.

    Raises ValueError, which names the layer, for what Keras has no words for: trainable initial states, peepholes and
    other options of a cell, cells and layers of your own, a ``Last`` that follows no recurrent layer ...; for a
    quantised model; for weights that are neither float32 nor float64, or not finite.  ImportError without h5py.
    """
    name = os.fspath(path)
    if not name.endswith(ENDINGS):
        raise ValueError(f"the file's name must end in {', '.join(ENDINGS)}; got {name!r}")
    layers = _layers(model, version)
    for layer in layers:
        for part in layer.parts:
            check_finite((f"{word} of {layer.name}", array) for word, array in part.arrays.items())
    about = _configuration(layers, version)
    whole = _hdf5(layers, None if name.endswith((".keras", ".weights.h5")) else about)
    with atomic_write(path) as file:
        if name.endswith(".keras"):
            _zip(file, about, whole)
        else:
            file.write(whole)


def configuration(model: Layer | LanguageModel, *, version: int = 3) -> dict[str, Any]:
    """The ``to_json()`` of the model that ``save`` writes, as a dictionary.

    ``keras.models.model_from_json(json.dumps(configuration(model)))`` is that model, without its weights, and
    ``minirnn.load("model.weights.h5", config=configuration(model))`` reads a file of weights alone.  Raises ValueError
    as ``save`` does.
    """
    return _configuration(_layers(model, version), version)


def _layers(model: Layer | LanguageModel, version: int) -> list[Described]:
    if version not in VERSIONS:
        raise ValueError(f"version must be that of Keras, 2 or 3; got {version!r:.60}")
    network = network_of(model, "Keras' files hold")
    check_chain(network, "A file of Keras")
    parameters = network.bound
    network.check_whole("save")
    if parameters.quantized:
        raise ValueError(f"Keras cannot express a model quantised to {parameters.quantized}: save the original")
    if parameters.dtype.name not in ("float32", "float64"):
        raise ValueError(
            f"Keras' files are written in float32 or float64; got {parameters.dtype.name}: model.to(dtype=...) first"
        )
    return described(network, version)


def _configuration(layers: list[Described], version: int) -> dict[str, Any]:
    listed = [serialized(layer.kind, layer.config) for layer in layers]
    about = {"name": "sequential", "trainable": True, "layers": listed}
    return serialized("Sequential", about, "keras") | {"keras_version": VERSIONS[version]}


def _zip(file: IO[bytes], about: dict[str, Any], weights: bytes) -> None:
    """A ``.keras`` file: the entries' time is 1980's, so that a file's bytes depend on nothing but the model."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in (
            ("metadata.json", json.dumps({"keras_version": about["keras_version"]}).encode()),
            ("config.json", json.dumps(about).encode()),
            (WEIGHTS, weights),
        ):
            archive.writestr(zipfile.ZipInfo(name), content)


def _hdf5(layers: list[Described], about: dict[str, Any] | None) -> bytes:
    """The weights by their places; where a configuration goes with them, ``about``, by their layers' names."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError("Keras' files are written by h5py: pip install 'minirnn[keras]'") from error
    data = io.BytesIO()
    with h5py.File(data, "w") as root:
        if about is None:
            _by_place(root, layers)
        else:
            _by_name(root, layers, about)
    return data.getvalue()


def _by_place(root: Any, layers: list[Described]) -> None:
    """The arrays where Keras looks for them, whatever the layers are called: ``layers/lstm_1/cell/vars/0``."""
    for name in (PLACES, "vars"):  # the model's own are none, but Keras 2 looks for them
        root.create_group(name)
    for layer, place in zip(layers, numbered([layer.kind for layer in layers]), strict=True):
        for part in layer.parts:
            for k, array in enumerate(part.arrays.values()):
                root.create_dataset(below(PLACES, place, part.place, "vars", str(k)), data=_plain(array))


def _by_name(root: Any, layers: list[Described], about: dict[str, Any]) -> None:
    """A whole model in the older form: the configuration, and for each layer a group with a list of its weights."""
    group = root.create_group("model_weights")
    root.attrs["model_config"] = json.dumps(about)
    root.attrs["keras_version"] = group.attrs["keras_version"] = about["keras_version"]
    weighty = [layer for layer in layers if layer.parts]
    group.attrs["layer_names"] = [layer.name.encode() for layer in weighty]
    for layer in weighty:
        arrays = {
            below(layer.name, part.place, name): array for part in layer.parts for name, array in part.arrays.items()
        }
        own = group.create_group(layer.name)
        own.attrs["weight_names"] = [path.encode() for path in arrays]
        for path, array in arrays.items():
            own.create_dataset(path, data=_plain(array))


def _plain(array: Array) -> Array:
    """In the byte order and the layout that every reader takes."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))

"""Opening a file of Keras: its configuration, its weights, and the network that both make."""

import io
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minirnn.core.backend import Array, get_backend, get_dtype
from minirnn.core.files import LARGEST_FILE, ModelFileError, warn
from minirnn.core.layer import Layer
from minirnn.formats.containers.hdf5 import SIGNATURE, File, Group
from minirnn.formats.containers.packed import LARGEST_PICKLE, files_in, is_packed
from minirnn.formats.containers.zip import Archive
from minirnn.formats.filling import filled
from minirnn.formats.keras.assembling import assembled
from minirnn.formats.keras.assuming import assumed
from minirnn.formats.keras.functional import Graph, functional
from minirnn.formats.keras.graph import LayerNode, NoChainError, chain, input_shape
from minirnn.formats.keras.layers import OF_GRAPHS, Builder, Version, joined, needs
from minirnn.formats.keras.saved_model import SavedModel
from minirnn.formats.keras.stores import Store, StoreByName, StoreByPlace, Stored, arrays_in, is_bfloat16
from minirnn.formats.keras.weights import Placed
from minirnn.formats.opening import LARGEST_JSON, ZIP, opened, parsed
from minirnn.layers.feedforward import Activation

WEIGHTS = "model.weights.h5"  # in a .keras file
CONFIG = "the configuration"  # in errors

Config = str | os.PathLike[str] | Mapping[str, Any]


class Contents(NamedTuple):
    """A file's weights, and the model's configuration and the version of Keras where it has those.

    ``arrays`` gives all that are in it, ``size`` is its number of bytes.
    """

    arrays: Callable[[], Iterable[Stored]]
    size: int
    store: Store
    config: Any
    version: Any  # a text, if the file is sound


def load(
    path: str | os.PathLike[str], *, backend: str = "auto", dtype: Any = None, config: Config | None = None
) -> Layer:
    """The network in a file that Keras saved, with its weights: a Sequential, or the one layer that it has.

    A Functional model that is no chain is a LayerGraph.

    ``.keras``, the ``.h5`` of ``model.save`` and a SavedModel, which is a directory, say what the model is.  A file of
    weights alone (``.weights.h5``, or the ``.h5`` of Keras 2's ``save_weights``) does not: ``config`` is then what
    ``model.to_json()`` returns, as text, as the dictionary it stands for, or as the path of a file that holds it.  It
    may be written by hand, with less: ``{"class_name": "Sequential", "config": [{"class_name": "LSTM", "config":
    {"units": 50}}]}``; what it does not say is taken for Keras' default, at the version of Keras that the file names.
    Without ``config`` the older ``.h5`` is taken for a chain where its list of layers may be one, and a
    ModelFileWarning tells what was assumed.

    ``dtype`` None is float64 if a weight is, else float32.  Raises ModelFileError for anything that is not a sound
    file, or not such a model; nothing in a file is executed.
    """
    path = Path(path)
    chosen = get_backend(backend, dtype)
    if dtype is not None:
        get_dtype(chosen, dtype)  # refused before the file is read
    described = None if config is None else _described_by(config)
    try:
        with _opened(path) as contents:
            if contents.config is None and described is None:
                return _assuming(contents, path, backend, dtype)
            model = contents.config if described is None else described
            return network(model, contents, path, backend, dtype)
    except ModelFileError:
        raise
    except ValueError as error:
        raise ModelFileError(f"{path}: {' '.join(str(error).split()):.600}") from None


def _assuming(contents: Contents, path: Path, backend: str, dtype: Any) -> Layer:
    """The network of weights alone, if they may be of a chain, with a warning; ValueError where they are of none."""
    try:
        chain = assumed(contents.store)
        model = network(chain.config, contents, path, backend, dtype)
    except ModelFileError:
        raise
    except ValueError as error:
        raise ValueError(
            "the file holds weights alone, which do not say what computes with them: pass config=, what "
            f"model.to_json() returns; no chain is assumed, since {error}"
        ) from None
    shown = "; ".join(f"({k}) {words}" for k, words in enumerate(chain.words, start=1))
    warn(f"{path}: the file holds weights alone. Assumed: {shown}. {chain.advice}", chain.words, chain.advice)
    return model


def contents(path: str | os.PathLike[str]) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of every array in a file of Keras, by its path there, without reading it."""
    with _opened(Path(path)) as contents:
        return {
            array.name.lstrip("/"): (array.shape, "bfloat16" if is_bfloat16(array) else array.dtype.name)
            for array in contents.arrays()
        }


def network(model: Any, contents: Contents, path: Path, backend: str, dtype: Any) -> Layer:
    """The network that a configuration describes, with its weights; ValueError where ``contents`` do not fit."""
    nodes, graph = _read(model)
    version = _version(contents.version, model)
    wanted = [need for node in nodes for need in needs(node)]
    datasets = contents.store.find(wanted)
    _claim(contents.size, [dataset for arrays in datasets for dataset in arrays])
    stored = {(id(need.node), need.part): arrays for need, arrays in zip(wanted, datasets, strict=True)}
    shape = input_shape(model)
    timed = len(shape) != 1 or (bool(nodes) and nodes[0].kind == "Embedding")
    builder = Builder(version, lambda node, part: stored[id(node), part], shape, timed=timed)
    if graph:
        whole = assembled(graph, builder)
    else:
        placed = [one for node in nodes for one in builder.build(node)]
        whole = joined(placed or [Placed(Activation("linear"))])  # of noise alone, which does nothing in inference
    specs = whole.layer.all_specs()
    if dtype is None:
        dtype = "float64" if any(d.dtype.itemsize == 8 for arrays in datasets for d in arrays) else "float32"

    def value(name: str) -> Array:
        source = whole.sources.get(name)
        return np.zeros(specs[name].shape, np.float32) if source is None else source()  # a bias that there is not

    filled(whole.layer, value, path, backend=backend, dtype=dtype)
    whole.layer.bound.frozen = whole.frozen
    return whole.layer


def _read(model: Any) -> tuple[list[LayerNode], Graph | None]:
    """The layers of a model, each once, and where they are no chain the calls of them."""
    with suppress(NoChainError):  # the graph says what is wrong with it, if anything is
        nodes = chain(model)
        if not any(node.kind in OF_GRAPHS for node in nodes):
            return nodes, None
    graph = functional(model)
    called = {id(call.node): call.node for call in graph.calls if call.node.kind != "InputLayer"}
    return list(called.values()), graph


def _claim(size: int, datasets: list[Stored]) -> None:
    """Claim the memory of all arrays; ValueError where they are more together than the file can hold."""
    total = sum(dataset.stored for dataset in datasets)
    if total > size or sum(dataset.nbytes for dataset in datasets) > LARGEST_FILE:
        raise ValueError(f"the weights must be no more than the file holds, {size:,} bytes")
    for dataset in datasets:
        dataset.claim()


def _version(stored: Any, model: Mapping[str, Any]) -> Version:
    """The version of Keras that made a model, as the file or the configuration says, else by what it has names for."""
    text = next((said for said in (stored, model.get("keras_version")) if isinstance(said, str) and said), "")
    number = re.match(r"(\d{1,4})\.(\d{1,4})", text)
    if number:
        major, minor = int(number[1]), int(number[2])
        if major < 2:
            raise ValueError(f"the file must be of Keras 2 or 3; it is of {text:.20}")
        return Version(min(major, 3), (major, minor), text.endswith("-tf"))
    words = json.dumps(model)
    if any(f'"{word}"' in words for word in ("batch_input_shape", "time_major", "implementation")):
        return Version(2)
    return Version(3 if any(f'"{word}"' in words for word in ("batch_shape", "DTypePolicy")) else None)


# ---------------------------------------------------------------------- what is in a file


@contextmanager
def _opened(path: Path) -> Iterator[Contents]:
    if path.is_dir():
        saved = SavedModel(path)
        yield Contents(saved.bundle.tensors, saved.bundle.size, saved, saved.config, saved.version)
        return
    with opened(path) as (file, head, length):
        whole = io.BytesIO(_unpacked(file, length)) if is_packed(head) else file
        begins = whole.read(len(SIGNATURE))
        if begins == SIGNATURE:
            with File(whole, path) as root:
                yield _of_hdf5(root)
        elif begins.startswith(ZIP):
            with _of_zip(Archive(whole, path)) as contents:
                yield contents
        else:
            raise ValueError(f"a file of Keras must be HDF5 or a zip; it begins with {begins!r}")


@contextmanager
def _of_zip(archive: Archive) -> Iterator[Contents]:
    """What is in a ``.keras`` file."""
    metadata = parsed(_entry(archive, "metadata.json"), CONFIG) if "metadata.json" in archive.entries else {}
    version = metadata.get("keras_version") if isinstance(metadata, Mapping) else None
    config = parsed(_entry(archive, "config.json"), CONFIG)
    if WEIGHTS not in archive.entries:
        raise ValueError(f"a .keras file must have its weights in {WEIGHTS}; it has none there")
    with File(io.BytesIO(archive.read(WEIGHTS)), f"{archive.path}, {WEIGHTS}", archive.length) as root:
        yield _weights(root, StoreByPlace(root), config, version)


def _weights(root: File, store: Store, config: Any, version: Any) -> Contents:
    """What is in a file of HDF5."""
    return Contents(lambda: arrays_in(root), root.source.size, store, config, version)


def _unpacked(file: BufferedReader, length: int) -> bytes:
    """The file within a pickle of ``length`` bytes."""
    if length > LARGEST_PICKLE:
        raise ValueError(f"a pickle of a model may have {LARGEST_PICKLE:,} bytes; it has {length:,}")
    files = files_in(file.read(length))
    if len(files) != 1:
        raise ValueError(f"a pickle must hold one model of Keras; it holds {len(files)}")
    return files[0]


def _of_hdf5(root: File) -> Contents:
    version = root.attrs.get("keras_version")
    if "model_weights" in root:
        weights = root["model_weights"]
        text = root.attrs.get("model_config")
        if not isinstance(weights, Group) or not isinstance(text, str):
            raise ValueError("a model saved as HDF5 must have its configuration in model_config; it is not there")
        return _weights(root, StoreByName(weights), parsed(text.encode("utf-8", "surrogateescape"), CONFIG), version)
    if "layer_names" in root.attrs or "layer_names0" in root.attrs:
        return _weights(root, StoreByName(root), None, version)
    if StoreByPlace.holds(root):
        return _weights(root, StoreByPlace(root), None, version)
    raise ValueError("the file is HDF5, but not one of Keras: it has neither layers nor layer_names")


def _entry(archive: Archive, name: str) -> bytes:
    if name not in archive.entries:
        raise ValueError(f"a .keras file must have a {name}; it has none")
    if archive.entries[name].file_size > LARGEST_JSON:
        raise ValueError(f"{name} must have at most {LARGEST_JSON:,} bytes; it has {archive.entries[name].file_size:,}")
    return archive.read(name)


def _described_by(config: Config) -> Any:
    """The caller's description of the model, as plain JSON."""
    if isinstance(config, Mapping):
        try:
            return parsed(json.dumps(config).encode(), CONFIG)
        except (TypeError, RecursionError) as error:
            raise ValueError(f"config must be what model.to_json() returns; {error!s:.100}") from None
    if isinstance(config, str) and config.lstrip().startswith("{"):
        return parsed(config.encode("utf-8", "surrogateescape"), CONFIG)
    if not isinstance(config, (str, os.PathLike)):
        raise TypeError(f"config must be a path, JSON or a dictionary; got {type(config).__name__}")
    with Path(config).open("rb") as file:
        return parsed(file.read(LARGEST_JSON + 1), CONFIG)

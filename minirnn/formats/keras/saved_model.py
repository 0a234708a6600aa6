"""The SavedModel of Keras 2: a directory with the configuration of each layer, and a checkpoint with their weights.

``saved_model.pb`` has the computation as TensorFlow's graph, which is not read: ``keras_metadata.pb``, which TensorFlow
writes since 2.5, has what ``model.to_json()`` returns, and for each layer its path among the model's objects.  The
checkpoint has those paths too, and behind each the layer's variables in Keras' order.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from minirnn.core.files import ModelFileError
from minirnn.formats.containers.bundle import Bundle, StoredTensor, TrackedObject
from minirnn.formats.containers.protobuf import Reader, Schema
from minirnn.formats.keras.graph import DEEPEST, MODELS, layer_nodes
from minirnn.formats.keras.stores import Need
from minirnn.formats.opening import SAVED_MODEL, opened, parsed

VARIABLES = "variables"
LARGEST = 2**24  # bytes of the metadata
ROOT = "root"

SAVED_OBJECT = Schema("SavedObject", {3: ("path", "text", False), 5: ("metadata", "text", False)})
SAVED_METADATA = Schema("SavedMetadata", {1: ("nodes", SAVED_OBJECT, True)})


class SavedModel:
    """A directory: ``config`` and ``version`` of the model, and a store of its weights."""

    def __init__(self, path: Path) -> None:
        metadata = path / SAVED_MODEL
        with opened(metadata) as (file, _, length):
            if length > LARGEST:
                raise ModelFileError(f"{metadata} may have {LARGEST:,} bytes; it has {length:,}")
            data = file.read(length)
        nodes = Reader(data).message(0, len(data), SAVED_METADATA).get("nodes", ())
        self._described = {node.get("path", ""): node.get("metadata", "") for node in nodes}
        self._within: dict[str, list[str]] = {}  # the paths of layers, by that of the model which they are in
        for one in self._described:
            before, _, last = one.rpartition(".")
            if last.startswith("layer"):
                self._within.setdefault(before, []).append(one)
        root = self._layer(ROOT)
        self.config = {"class_name": root.get("class_name"), "config": root.get("config")}
        self.version = root.get("keras_version")
        self.bundle = Bundle(path / VARIABLES / VARIABLES)
        self.objects = self.bundle.objects()
        self.places: dict[str, TrackedObject] = {}

    def find(self, needs: list[Need]) -> list[list[StoredTensor]]:
        """The arrays of each need, in its order; ValueError where they are not as many."""
        if not self.places:
            kind, config = self.config["class_name"], self.config["config"]
            self.places = dict(self._placed(str(kind), config, "layers", ROOT, 0))
        weights: list[list[StoredTensor]] = []
        left: dict[str, list[str]] = {}
        for need in needs:
            path = need.node.path
            if path not in left:
                left[path] = self._variables(path)
            own, left[path] = left[path][: need.arrays], left[path][need.arrays :]
            if len(own) != need.arrays:
                raise need.node.settings.fault(f"must have {need.arrays} weights; {len(own)} are stored")
            weights.append([self.bundle.tensor(key) for key in own])
        for need in needs:
            if left[need.node.path]:
                raise need.node.settings.fault(f"must have all its weights read; {len(left[need.node.path])} are more")
        return weights

    def _layer(self, path: str) -> Mapping[str, Any]:
        """What the metadata say of an object."""
        text = self._described.get(path)
        if text is None:
            raise ValueError(f"{SAVED_MODEL} must describe {path!r:.60}; it does not")
        try:
            values = _listed(parsed(text.encode(), f"{path:.60} in {SAVED_MODEL}"))
        except RecursionError:
            raise ValueError(f"{path!r:.60} in {SAVED_MODEL} must not be nested so deep") from None
        if not isinstance(values, Mapping):
            raise ValueError(f"{path!r:.60} in {SAVED_MODEL} must be an object of JSON")
        return values

    def _placed(self, kind: str, config: Any, place: str, path: str, depth: int) -> Iterator[tuple[str, TrackedObject]]:
        """Each layer's object, by the place that its configuration gives it."""
        if depth > DEEPEST:
            raise ValueError(f"models must be nested at most {DEEPEST} deep")
        named = {str(self._layer(one).get("name")): one for one in self._within.get(path, ())}
        _, _, nodes = layer_nodes(kind, config, place, None, trainable=True)
        for node in nodes:
            if node.name not in named:
                continue  # an input, which is described nowhere in some versions
            yield node.path, self._object(named[node.name])
            if node.kind in MODELS:
                inner = f"{node.path}/layers"
                yield from self._placed(node.kind, node.settings.values, inner, named[node.name], depth + 1)

    def _object(self, path: str) -> TrackedObject:
        """The object at the end of a path."""
        one = self.objects[0]
        for name in path.split(".")[1:]:
            if name not in one.children:
                raise ValueError(f"the checkpoint must have the object {path!r:.60}; it has not")
            one = self.objects[one.children[name]]
        return one

    def _variables(self, place: str) -> list[str]:
        """The keys of a layer's variables, in Keras' order."""
        one = self.places.get(place)
        if one is None or "variables" not in one.children:
            raise ValueError(f"the checkpoint must have the variables of {place!r:.60}; it has not")
        variables = self.objects[one.children["variables"]].children
        keys = []
        for k in range(len(variables)):
            if str(k) not in variables or len(self.objects[variables[str(k)]].keys) != 1:
                raise ValueError(f"the variables of {place!r:.60} must be a list of single tensors; they are not")
            keys += self.objects[variables[str(k)]].keys
        return keys


def _listed(value: Any) -> Any:
    """A value of JSON with tuples, as TensorFlow writes them, as lists."""
    if isinstance(value, list):
        return [_listed(one) for one in value]
    if not isinstance(value, dict):
        return value
    if value.get("class_name") == "__tuple__" and isinstance(value.get("items"), list):
        return _listed(value["items"])
    return {name: _listed(one) for name, one in value.items()}

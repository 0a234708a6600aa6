"""The weights of each layer in a file: by places that follow from the classes, or by the layers' names."""

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.bfloat16 import widened
from minirnn.formats.containers.hdf5 import Dataset, Group
from minirnn.formats.keras.graph import LayerNode, below

OLD_ROOT = "_layer_checkpoint_dependencies"  # what Keras 2.12 and 2.13 call "layers"
ROOTS = ("layers", OLD_ROOT)

_NUMBERED = re.compile(r"(?<=layers/)([^/]+)_([1-9][0-9]{0,3})(?![^/])")  # a layer that is not the first of its class


class Stored(Protocol):
    """An array in a file: of HDF5, or of TensorFlow's checkpoint."""

    name: str
    shape: tuple[int, ...]
    nbytes: int  # in memory
    stored: int  # at least, in the file

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the numbers."""

    def claim(self) -> None:
        """Raise, before memory is taken, if the array is more than the file is worth."""

    def read(self) -> Array:
        """The numbers."""


class Store(Protocol):
    """The weights of each layer in a file."""

    def find(self, needs: list["Need"]) -> Sequence[Sequence[Stored]]:
        """The arrays of each need, in its order; ValueError where they are not as many."""


class Need(NamedTuple):
    """A group of so many arrays that a layer keeps together, at ``part`` below the layer's own path."""

    node: LayerNode
    part: str
    arrays: int

    @property
    def place(self) -> str:
        """Where Keras 3 keeps them."""
        return below(self.node.path, self.part)


class StoreByPlace:
    """Keras 3's, and of Keras 2.12 to 2.15 that of ``.keras``: ``layers/lstm_1/cell/vars/0``.

    Those of Keras 2 join the groups' names as the system joins paths.  In what comes from Windows, backslashes make
    one name of ``layers``, ``lstm_1`` and ``cell``: a group of the root, with ``vars`` in it.

    Keras 2.12 lists a layer that has weights twice, and numbers both: a second LSTM is ``lstm_2``, a third ``lstm_4``.
    """

    def __init__(self, root: Group) -> None:
        self.root = root
        self.names = {name.replace("\\", "/"): name for name in root}  # as they are, by how they are everywhere else

    @classmethod
    def holds(cls, root: Group) -> bool:
        """Whether weights are kept in this way."""
        return any(name.replace("\\", "/").split("/")[0] in ROOTS for name in root)

    def find(self, needs: list[Need]) -> list[list[Dataset]]:
        """The arrays of each need, in its order; ValueError where they are not as many, or one belongs to none."""
        places = [need.place for need in needs]
        if not any(name.split("/")[0] == "layers" for name in self.names):
            places = _old(places)
            if not all(self._path(place) in self.root for place in places):
                places = _old(_doubled([need.place for need in needs]))
        datasets = [self._one(need, place) for need, place in zip(needs, places, strict=True)]
        used = {dataset.name for arrays in datasets for dataset in arrays}
        for place in self.names:
            for array in arrays_in(self.root.get(self.names[place])) if place.split("/")[0] in ROOTS else ():
                if array.name not in used and "/seed_generator/" not in array.name:
                    raise ValueError(f"every weight in the file must belong to a layer; {array.name:.120} does not")
        return datasets

    def _path(self, place: str) -> str:
        """Where the arrays of a place are, in the file's own words."""
        return f"{self.names.get(place, place)}/vars"

    def _one(self, need: Need, place: str) -> list[Dataset]:
        path = self._path(place)
        group = self.root.get(path)
        there = len(group) if isinstance(group, Group) else 0
        if there != need.arrays:
            raise need.node.settings.fault(f"must have {need.arrays} weights at {place}/vars; {there} are there")
        return [_dataset(self.root, f"{path}/{k}") for k in range(need.arrays)]


def _old(places: list[str]) -> list[str]:
    """These places in the words of Keras 2.12."""
    return ["/".join(OLD_ROOT if part == "layers" else part for part in place.split("/")) for place in places]


def _doubled(places: list[str]) -> list[str]:
    """These places, all of which have weights, as they are numbered where such layers count twice."""
    weighted = {place[:end] for place in places for end in (*_ends(place), len(place))}

    def renumbered(match: re.Match[str]) -> str:
        kind, number = match[1], int(match[2])
        before = [kind, *(f"{kind}_{n}" for n in range(1, number))]  # of its class, in the same model
        parent = match.string[: match.start()]
        return f"{kind}_{number + sum(parent + one in weighted for one in before)}"

    return [_NUMBERED.sub(renumbered, place) for place in places]


def _ends(place: str) -> list[int]:
    """Where the parts of a place end."""
    return [k for k, letter in enumerate(place) if letter == "/"]


def arrays_in(node: Group | Dataset | None) -> Iterator[Dataset]:
    """All arrays in a group."""
    if isinstance(node, Dataset):
        yield node
    elif node is not None:
        for name in node:
            yield from arrays_in(node[name])


class StoreByName:
    """The older ``.h5``: for each layer of the outermost model a group, with a list of the weights in it."""

    def __init__(self, root: Group) -> None:
        self.root = root
        names = texts(root, "layer_names")
        self.weights = {
            name: [f"{name}/{weight}" for weight in texts(_group(root, name), "weight_names")] for name in names
        }

    def shapes(self) -> dict[str, list[tuple[str, tuple[int, ...]]]]:
        """The path and shape of each array, by layers in their order."""
        return {
            name: [(path, _dataset(self.root, path).shape) for path in paths] for name, paths in self.weights.items()
        }

    def find(self, needs: list[Need]) -> list[list[Dataset]]:
        """The arrays of each need, in its order; ValueError where they are not as many."""
        owners = list(dict.fromkeys(need.node.owner for need in needs if need.arrays))
        stored = [name for name, weights in self.weights.items() if weights]
        if len(owners) != len(stored):
            raise ValueError(
                f"the file must have weights of {len(owners)} layers, {_some(owners)}; it has those of {_some(stored)}"
            )
        if set(owners) == set(stored):
            stored = owners  # else, as Keras has it, by their order
        datasets: list[list[Dataset]] = [[] for _ in needs]
        for owner, name in zip(owners, stored, strict=True):
            # in a model within a model, those of layers that were frozen are stored last
            own = [k for k, need in enumerate(needs) if need.node.owner == owner]
            own.sort(key=lambda k: not needs[k].node.trainable)
            total, there = sum(needs[k].arrays for k in own), len(self.weights[name])
            if there != total:
                raise needs[own[0]].node.settings.fault(f"must have {total} weights; {there} are stored")
            weights = iter(self.weights[name])
            for k in own:
                datasets[k] = [_dataset(self.root, path) for path in islice(weights, needs[k].arrays)]
        return datasets


def texts(group: Group, name: str) -> list[str]:
    """A list of names kept as an attribute, or where that would be too long as several: name0, name1 ..."""
    if name in group.attrs:
        return _texts(group.attrs[name])
    names: list[str] = []
    k = 0
    while f"{name}{k}" in group.attrs:
        names += _texts(group.attrs[f"{name}{k}"])
        k += 1
    if not k:
        raise ValueError(f"{group.name or 'the file'} must have a list of {name}; it has none")
    return names


def _texts(value: Any) -> list[str]:
    array = np.asarray(value)
    if array.size == 0:  # stored as numbers, for want of a word to go by
        return []
    if array.dtype != object:
        raise ValueError(f"names must be text; they are {array.dtype}")
    return [str(text) for text in array.ravel()]


def _group(root: Group, name: str) -> Group:
    stored = root.get(name)
    if not isinstance(stored, Group):
        raise ValueError(f"{name!r:.60} must be a group of weights; it is not there")
    return stored


def _dataset(root: Group, path: str) -> Dataset:
    stored = root.get(path)
    if not isinstance(stored, Dataset):
        raise ValueError(f"{path!r:.120} must be an array; it is not there")
    if stored.dtype.kind != "f" and not is_bfloat16(stored):
        raise ValueError(f"{path!r:.120} must hold floating point numbers; it holds {stored.dtype}")
    return stored


def is_bfloat16(dataset: Stored) -> bool:
    """Whether numbers are stored as the upper half of a float32, for which HDF5 has no name but two bytes."""
    return dataset.dtype == np.dtype("V2")


def values(dataset: Stored) -> Array:
    """The numbers of a dataset, bfloat16 widened to float32."""
    array = dataset.read()
    array = array.astype(np.float32) if array.dtype.itemsize == 2 and array.dtype.kind == "f" else array
    return widened(array.view(np.uint16)) if is_bfloat16(dataset) else array


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "none"

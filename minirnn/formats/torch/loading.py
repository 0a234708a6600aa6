"""Layers and arrays from torch's files and state dicts."""

import os
from collections.abc import Mapping
from typing import Any, Unpack

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.layer import Layer
from minirnn.formats.torch.network import StateDictOptions, check, network
from minirnn.formats.torch.reading import DTYPES, Named, StoredTensors, state_dict_in


class StateDict(dict[str, Array]):
    """Arrays by name, as ``read`` returns them.

    ``part`` is the dotted name in the file of the dictionary that they are from, ``""`` where they are the file;
    ``ordered`` says whether they stand in the order of the module's definition, which safetensors files do not keep.
    """

    part: str = ""
    ordered: bool = True


def load(path: str | os.PathLike[str], *, part: str | None = None, **options: Unpack[StateDictOptions]) -> Layer:
    """The network in a file of torch's: one module as the layer it is, several as a Sequential, weights in place.

    Modules are taken in the order of the file if their widths fit one after another, else, and always from a
    safetensors file, whose order is the alphabet's, in the one order in which they do; those whose names differ by
    numbers alone by these.  ``prefix="decoder"`` takes what is under one path, ``part`` one of several state dicts in a
    file.  A matrix without a bias at the beginning is an Embedding if its widths fit; ``kinds={"input": "Linear"}``
    says that it is not.  ``nonlinearity`` is that of every RNN.

    ``modules`` states the whole computation: the modules to take, in their order, and what has no weights between
    them.  That is an activation by its name (those of ``minirnn.Function``), ``"last"`` (``y[-1]``), ``"final"`` (the
    last layer's final states h, of both directions joined), or a layer of minirnn without weights:
    ``modules=["embedding", "lstm", "final", "head.0", "relu", "head.2"]``, ``[..., Activation("elu", 0.5), ...]``.  A
    module of the file that has such a name comes first.

    Without ``modules``, a ModelFileWarning tells what was assumed, where a file gives reason to doubt it: numbers
    missing in an nn.Sequential; a Linear directly before another module, which no activation would make pointless;
    parts that look like two networks; an order that other widths' orders compete with, or that only widths suggest;
    a Linear after both directions of a module, whose final states do not stand at one step of y; several state dicts
    in the file.

    ``dtype`` None is float64 if a weight is, else float32.  Raises ModelFileError for anything that is not a sound
    file, or not such a chain, in which case it lists the modules; ValueError for ``modules`` that make no sense.  No
    code in a file is run.
    """
    check(options)
    with state_dict_in(path, part) as source:
        return network(source, **options)


def read(path: str | os.PathLike[str], *, part: str | None = None) -> StateDict:
    """The named arrays in a ``.pt``, ``.pth`` or ``.safetensors`` file, in their own dtypes; bfloat16 as float32.

    Of a ``.pt`` that holds more than a state dict, the part under a usual name (``"state_dict"``,
    ``"model_state_dict"``, ``"model"`` ...) is taken, or the only one with tensors, or the one that ``part`` names.
    Raises ModelFileError as ``load`` does.
    """
    with state_dict_in(path, part) as source:
        arrays = StateDict({name: np.array(source.fetch(name), order="C") for name in source.tensors})
        arrays.part, arrays.ordered = source.part, source.ordered
        return arrays


def contents(path: str | os.PathLike[str], *, part: str | None = None) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of what ``read`` would return, by name, without reading it."""
    with state_dict_in(path, part) as source:
        return {
            name: (tensor.shape, DTYPES[tensor.dtype].name if tensor.dtype in DTYPES else tensor.dtype)
            for name, tensor in source.tensors.items()
        }


def from_state_dict(arrays: Mapping[str, Any], **options: Unpack[StateDictOptions]) -> Layer:
    """The network of a state dict in memory: of ``read(path)``, or of ``module.state_dict()`` on a machine with torch.

    Options and errors are those of ``load``.  Arrays that are views of the same numbers become tied weights.
    """
    check(options)
    held = {name: np.asarray(array) for name, array in arrays.items()}
    words = {np.dtype(form): word for word, (form, _, _) in DTYPES.items() if word != "BF16"}
    tensors = {
        name: Named(a.shape, words.get(a.dtype, a.dtype.name), (a.ctypes.data, a.shape, a.strides))
        for name, a in held.items()
    }
    source = StoredTensors("the state dict", tensors, held.__getitem__, ordered=getattr(arrays, "ordered", True))
    return network(source, **options)

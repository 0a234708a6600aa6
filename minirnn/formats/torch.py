"""torch's weights in and out, without torch: ``.pt`` and ``.safetensors`` files of state dicts, and arrays.

A state dict holds weights by name.  It does not say what computes with them: dropout, activations and reshaping between
modules, ``batch_first``, an RNN's ``nonlinearity`` and whether a Linear reads every step or the last one stand in the
module's Python code.  What is loaded here is the chain of the modules that have weights, over (T, B, features): its
output at the last step is that of a module that reads the last step alone.

These modules are known by their names and shapes: nn.RNN, nn.GRU and nn.LSTM of any depth and direction, with biases
or without, an LSTM with ``proj_size``; nn.RNNCell, nn.GRUCell and nn.LSTMCell; nn.Embedding, which can only be the
first; nn.Linear.  torch has two biases where one is enough: their sum becomes ``b``, but for the GRU's candidate, whose
second stays apart as ``bn``.  Of a module with ``bias=False`` the biases are 0 and frozen.  float16 and bfloat16 become
float32.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.files import atomic_write, warn
from minirnn.core.layer import Layer
from minirnn.formats import torch_read, torch_write
from minirnn.formats.torch_assumed import notes
from minirnn.formats.torch_chain import network
from minirnn.formats.torch_modules import is_plain
from minirnn.formats.torch_read import Named, Source
from minirnn.language.model import LanguageModel

__all__ = ["StateDict", "arrays_of", "contents", "from_state_dict", "load", "notes", "read", "save", "to_torch"]

ENDINGS = (".pt", ".pth", ".safetensors")
MOST_SHOWN = 8  # layers in a warning


class StateDict(dict[str, Array]):
    """Arrays by name, as ``read`` returns them.

    ``part`` is the dotted name in the file of the dictionary that they are from, ``""`` where they are the file;
    ``ordered`` says whether they stand in the order of the module's definition, which safetensors files do not keep.
    """

    part: str = ""
    ordered: bool = True


def load(
    path: str | os.PathLike[str],
    *,
    backend: str = "auto",
    dtype: Any = None,
    nonlinearity: str = "tanh",
    part: str | None = None,
    prefix: str = "",
    modules: Sequence[str | Layer] | None = None,
    kinds: Mapping[str, str] | None = None,
) -> Layer:
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
    _check(nonlinearity, modules)
    with torch_read.opened(path, part) as source:
        return network(
            source,
            nonlinearity=nonlinearity,
            prefix=prefix,
            modules=modules,
            kinds=kinds,
            backend=backend,
            dtype=dtype,
        )


def read(path: str | os.PathLike[str], *, part: str | None = None) -> StateDict:
    """The named arrays in a ``.pt``, ``.pth`` or ``.safetensors`` file, in their own dtypes; bfloat16 as float32.

    Of a ``.pt`` that holds more than a state dict, the part under a usual name (``"state_dict"``,
    ``"model_state_dict"``, ``"model"`` ...) is taken, or the only one with tensors, or the one that ``part`` names.
    Raises ModelFileError as ``load`` does.
    """
    with torch_read.opened(path, part) as source:
        arrays = StateDict({name: np.array(source.fetch(name), order="C") for name in source.tensors})
        arrays.part, arrays.ordered = source.part, source.ordered
        return arrays


def contents(path: str | os.PathLike[str], *, part: str | None = None) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of what ``read`` would return, by name, without reading it."""
    with torch_read.opened(path, part) as source:
        return {name: (tensor.shape, _word(tensor.dtype)) for name, tensor in source.tensors.items()}


def from_state_dict(
    arrays: Mapping[str, Any],
    *,
    backend: str = "auto",
    dtype: Any = None,
    nonlinearity: str = "tanh",
    prefix: str = "",
    modules: Sequence[str | Layer] | None = None,
    kinds: Mapping[str, str] | None = None,
) -> Layer:
    """The network of a state dict in memory: of ``read(path)``, or of ``module.state_dict()`` on a machine with torch.

    Arguments and errors are those of ``load``.  Arrays that are views of the same numbers become tied weights.
    """
    _check(nonlinearity, modules)
    held = {name: np.asarray(array) for name, array in arrays.items()}
    words = {np.dtype(form): word for word, form in torch_read.DTYPES.items() if word != "BF16"}
    tensors = {
        name: Named(a.shape, words.get(a.dtype, a.dtype.name), (a.ctypes.data, a.shape, a.strides))
        for name, a in held.items()
    }
    source = Source("the state dict", tensors, held.__getitem__, ordered=getattr(arrays, "ordered", True))
    return network(
        source,
        nonlinearity=nonlinearity,
        prefix=prefix,
        modules=modules,
        kinds=kinds,
        backend=backend,
        dtype=dtype,
    )


def arrays_of(model: Layer | LanguageModel, *, names: Sequence[str] | None = None) -> dict[str, Array]:
    """The weights under torch's names and in its layouts, as NumPy arrays of their own.

    Names are those of the module itself for one layer, and for a Sequential those of an nn.Sequential,
    ``"1.weight_ih_l0"``; ``names=("embedding", "gru", "fc")``, one for each layer with weights, are those of a module's
    attributes.  ``b`` becomes bias_ih, and bias_hh is 0 but for a GRU's ``bn``; biases that are 0 and frozen are left
    out, as of a module with ``bias=False``.  A tied weight is one array under two names.  A ModelFileWarning names what
    a state dict has no place for: activations, ``Last``, dropout, a relu in an RNN.

    Raises ValueError, which names the layer, where torch has no such module: a GRU with ``reset="before"``, trainable
    initial states, cells of your own, a Bidirectional of layers that are not two directions of one module.
    """
    arrays = torch_write.arrays_of(model, names)
    lost = torch_write.dropped(model)
    if lost:
        shown = ", ".join(lost[:MOST_SHOWN]) + (" ..." if len(lost) > MOST_SHOWN else "")
        warn(f"a state dict has weights and nothing else: without {shown}, which the module in torch has to have", lost)
    return arrays


def to_torch(model: Layer | LanguageModel, *, names: Sequence[str] | None = None) -> dict[str, Any]:
    """The weights as ``arrays_of`` names them, as torch tensors: ``module.load_state_dict(to_torch(model))``.

    Needs torch, which minirnn does not install; ``save`` writes a file that torch reads elsewhere.  Warns as
    ``arrays_of`` does.
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"to_torch needs torch, which is not installed here ({error}); "
            "minirnn.formats.torch.save(model, 'a.pt') does without: torch.load('a.pt') reads that file where torch is"
        ) from error
    arrays = arrays_of(model, names=names)
    tensors = {id(a): torch.from_numpy(a) for a in arrays.values()}  # a tied weight is one tensor
    return {name: tensors[id(a)] for name, a in arrays.items()}


def save(model: Layer | LanguageModel, path: str | os.PathLike[str], *, names: Sequence[str] | None = None) -> None:
    """Write the weights as ``arrays_of`` names them, for torch: whole or not at all.

    ``.pt`` and ``.pth`` are for ``torch.load(path, weights_only=True)``, ``.safetensors`` for
    ``safetensors.torch.load_file(path)``.  The same weights give the same bytes.  Warns as ``arrays_of`` does.
    """
    ending = Path(path).suffix
    if ending not in ENDINGS:
        raise ValueError(f"the file's name must end in {', '.join(ENDINGS)}; got {os.fspath(path)!r}")
    arrays = arrays_of(model, names=names)
    for name, a in arrays.items():
        if not np.isfinite(a).all():
            raise ValueError(f"weight {name} is not finite: a diverged model is not saved")
    if ending == ".safetensors":
        from safetensors.numpy import save as to_bytes

        data = to_bytes(arrays, metadata={"format": "pt"})
        with atomic_write(path) as file:
            file.write(data)
    else:
        with atomic_write(path) as file:
            torch_write.write(arrays, file)


def _word(dtype: str) -> str:
    """NumPy's name of a dtype of safetensors, which has some that NumPy lacks."""
    if dtype == "BF16":  # of which only the bits are known there
        return "bfloat16"
    known = torch_read.DTYPES.get(dtype)
    return np.dtype(known).name if known else dtype


def _check(nonlinearity: str, modules: Sequence[str | Layer] | None) -> None:
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"nonlinearity must be tanh or relu; got {nonlinearity!r}")
    if modules is None:
        return
    names = [] if isinstance(modules, str) else [entry for entry in modules if isinstance(entry, str)]
    repeated = len({*names}) < len([name for name in names if not is_plain(name)]) + len({*filter(is_plain, names)})
    sound = all(isinstance(entry, (str, Layer)) for entry in modules)
    if not names or not sound or repeated:
        raise ValueError(f"modules must be the paths of different modules; got {modules!r:.80}")

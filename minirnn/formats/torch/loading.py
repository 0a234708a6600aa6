"""Layers and arrays from torch's files and state dicts."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, Unpack

import numpy as np

from minirnn.core.backend import Array, get_backend
from minirnn.core.layer import Layer
from minirnn.formats.torch import assumptions, entries
from minirnn.formats.torch.network import StateDictOptions, check, network
from minirnn.formats.torch.outline import Outline
from minirnn.formats.torch.reading import state_dict_in
from minirnn.formats.torch.stored import DTYPES, Named, StoredTensors


class StateDict(dict[str, Array]):
    """Arrays by name, as ``read`` returns them.

    ``part`` is the dotted name in the file of the dictionary that they are from, ``""`` where they are the file;
    ``ordered`` says whether they stand in the order of the module's definition, which safetensors files do not keep.
    """

    part: str = ""
    ordered: bool = True


Description: TypeAlias = str | Callable[[StateDict], Layer]


def load(
    path: str | os.PathLike[str],
    *,
    part: str | None = None,
    layers: Description | None = None,
    **options: Unpack[StateDictOptions],
) -> Layer:
    """The network in a file of torch's: one module as the layer it is, several as a Sequential, weights in place.

    Modules are taken in the order of the file if their widths fit one after another, else, and always from a
    safetensors file, whose order is the alphabet's, in the one order in which they do; those whose names differ by
    numbers alone by these.  ``prefix="decoder"`` takes what is under one path, ``part`` one of several state dicts in a
    file.  A matrix without a bias at the beginning is an Embedding if its widths fit; ``kinds={"input": "Linear"}``
    says that it is not.  ``nonlinearity`` is that of every RNN, whatever the file says.

    ``modules`` states the whole computation: the modules to take, in their order, and what has no weights between
    them.  That is an activation by its name (those of ``minirnn.Function``), ``"last"`` (``y[-1]``), ``"final"`` (the
    last layer's final states h, of both directions joined), or a layer of minirnn without weights:
    ``modules=["embedding", "lstm", "final", "head.0", "relu", "head.2"]``, ``[..., Activation("elu", 0.5), ...]``.  A
    module of the file that has such a name comes first.  An entry may have literals as arguments: of a module what its
    weights do not show, ``"conv1(padding=1)"``, ``"attention(num_heads=4)"``, ``"rnn(nonlinearity='relu')"``, of an
    activation or a layer its numbers, ``"elu(0.5)"``, ``"MaxPool1d(2)"``.

    ``layers`` is another way to state it: the same in one string, ``"embedding, lstm, final, head.0, relu, head.2"``,
    or a function that makes the model of the arrays, as ``read`` returns them.  That may be any model of minirnn's with
    weights of its own, made of parts (``from_state_dict``) or layer by layer; beside it goes no other option but
    ``part``, ``backend`` and ``dtype``.

    Without ``modules``, a ModelFileWarning tells what was assumed, where a file gives reason to doubt it: numbers
    missing in an nn.Sequential; a Linear directly before another module, which no activation would make pointless;
    parts that look like two networks; an order that other widths' orders compete with, or that only widths suggest;
    a Linear after both directions of a module, whose final states do not stand at one step of y; several state dicts
    in the file.

    A whole module says more than a state dict, and what it says counts: hyperparameters of recurrent modules,
    activations and Dropout among its modules, what follows what in an nn.Sequential.  In ``modules``, those of its
    modules that have no weights may be named too.  Where all its recurrent modules have ``batch_first=True``, so has
    what is returned.

    A program, of ``torch.jit.save`` or ``torch.export.save``, states the whole computation where all of it is layers: a
    chain, or a ``LayerGraph``, whose outputs have the names of the layers that give them.  ``batch_first`` is that of
    the program's inputs.  Where it does more, a ModelFileWarning says what, and its weights are those of a state dict.

    Names that all matrices are under and that trainers give, ``model.``, ``module.``, may be left out of ``modules``,
    ``kinds`` and ``prefix``.

    ``dtype`` None is float64 if a weight is, else float32.  Raises ModelFileError for anything that is not a sound
    file, or not such a chain, in which case it lists the modules; ValueError for ``modules`` that make no sense.  No
    code in a file is run.
    """
    if callable(layers):
        return _made(path, part, layers, **options)
    if layers is not None:
        if not isinstance(layers, str) or options.get("modules") is not None:
            raise ValueError(
                "layers must be a string of modules, 'lstm, relu, fc', or a function of the arrays, and stand without "
                f"modules; got {layers!r:.80}"
            )
        options["modules"] = entries.split(layers)
    check(options)
    with state_dict_in(path, part) as source:
        return network(source, **options)


def _made(
    path: str | os.PathLike[str],
    part: str | None,
    make: Callable[[StateDict], Layer],
    *,
    backend: str = "auto",
    dtype: Any = None,
    **others: Any,
) -> Layer:
    """What the caller's function makes of the arrays in a file, on that backend and in that dtype."""
    unused = [name for name, value in others.items() if value is not None]
    if unused:
        raise ValueError(f"{', '.join(unused)} cannot be given beside a function, which makes the model by itself")
    model = make(read(path, part=part))
    if not isinstance(model, Layer) or model.parameters is None:
        raise TypeError(f"layers must be a function that returns a layer with its weights; it returned {model!r:.80}")
    chosen = get_backend(backend)
    same = chosen == model.bound.backend and dtype in (None, model.bound.dtype.name)
    return model if same else model.to(backend=chosen.name, dtype=dtype)


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


def notes(model: Layer, path: str | os.PathLike[str], *, part: str | None = None, prefix: str = "") -> list[str]:
    """Remarks on what the file that ``model`` is from does not tell about it."""
    with state_dict_in(path, part) as source:
        start = f"{prefix.removesuffix('.')}." if prefix else ""
        return assumptions.notes(model, (source.outline or Outline()).under(start))


def merged_biases(
    path: str | os.PathLike[str], *, part: str | None = None, prefix: str = "", modules: Sequence[Any] | None = None
) -> list[str]:
    """The recurrent modules of a file, by path, whose two biases are both other than 0: minirnn keeps their sum.

    A GRU's candidate keeps them apart.  ``prefix`` and ``modules`` are those of ``load``; all modules without.
    """
    with state_dict_in(path, part) as source:
        merged: dict[str, None] = {}
        for name in source.tensors:
            module, _, leaf = name.rpartition(".")
            named = modules is None or any(f".{module}".endswith(f".{entry}") for entry in modules)
            other, matrix = (name.replace("bias_hh", word) for word in ("bias_ih", "weight_hh"))
            if not leaf.startswith("bias_hh") or not named or f".{prefix}" not in f".{module}":
                continue
            if {other, matrix} <= source.tensors.keys() and source.tensors[matrix].shape[1:]:
                rows, H = source.tensors[matrix].shape[:2]
                apart = 2 * H if rows == 3 * H else rows  # from there on, a GRU has both
                if all(np.asarray(source.fetch(one)).ravel()[:apart].any() for one in (name, other)):
                    merged[module] = None
        return list(merged)


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

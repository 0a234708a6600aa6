"""``to_torch``, ``to_keras`` and ``to_onnx``: models for other frameworks, whose rooms are imported when needed."""

import os
from collections.abc import Sequence
from typing import Any

from minirnn.core.layer import Layer
from minirnn.language.model import LanguageModel


def to_torch(model: Layer | LanguageModel, *, names: Sequence[str] | None = None) -> dict[str, Any]:
    """The weights as torch tensors by torch's names: ``module.load_state_dict(minirnn.to_torch(model))``, strictly.

    Names are those of the module for one layer, for a Sequential those of an nn.Sequential, ``"1.weight_ih_l0"``;
    ``names=("embedding", "gru", "fc")``, one for each layer with weights, are those of a module's attributes.  Tensors
    are copies, in the model's dtype; a tied weight is one tensor under two names.  A ModelFileWarning names what a
    state dict has no place for: activations, ``Last``, dropout.

    Needs torch; ``minirnn.formats.torch.save`` writes a file for it where there is none.  Raises ValueError, which
    names the layer, where torch has no such module.
    """
    from minirnn.formats import torch

    return torch.to_torch(model, names=names)


def to_keras(
    model: Layer | LanguageModel, path: str | os.PathLike[str] | None = None, *, version: int = 3
) -> dict[str, Any]:
    """The model as ``to_json()`` describes it in Keras, and in a file at ``path`` if that is given.

    ``.keras`` and ``.h5`` hold the whole of it, ``.weights.h5`` the weights alone, for which what is returned makes the
    model: ``keras.models.model_from_json(json.dumps(...))``, then ``load_weights``.  ``version`` is that of Keras, 2 or
    3; ``minirnn.formats.keras.save`` tells what becomes of each layer.

    A file needs the extra ``keras``, and is written whole or not at all.  Raises ValueError, which names the layer, for
    what Keras has no words for.
    """
    from minirnn.formats import keras

    about = keras.configuration(model, version=version)
    if path is not None:
        keras.save(model, path, version=version)
    return about


def to_onnx(
    model: Layer | LanguageModel,
    path: str | os.PathLike[str] | None = None,
    *,
    states: bool = False,
    lengths: bool = False,
    integers: bool | None = None,
) -> Any:
    """The model as an ``onnx.ModelProto`` of opset 13, and in a file at ``path`` if that is given, whole or not at all.

    The graph takes ``x`` (T, B, features), or int64 (T, B) where the model takes indices, and gives ``y`` and the
    final states, for any number of steps and rows.  With ``lengths`` it takes how many steps of each row are valid,
    with ``states`` initial states too; ``integers`` says that a recurrent layer is to take indices.
    ``minirnn.formats.onnx.writing`` tells names and shapes.

    Needs the extra ``onnx``.  Raises ValueError for what ONNX has no words for: a cell or a layer of your own.
    """
    from minirnn.formats.onnx import writing

    made = writing.to_onnx(model, states=states, lengths=lengths, integers=integers)
    if path is not None:
        writing.write(made, path)
    return made

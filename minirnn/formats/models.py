"""Checks of a model before it is written, for every format."""

from collections.abc import Iterable
from typing import Any, TypeGuard

import numpy as np

from minirnn.cells import GRUBeforeCell, GRUCell, LSTMCell, ReluCell, TanhCell
from minirnn.core.backend import Array
from minirnn.core.layer import Layer
from minirnn.core.module import Weighted
from minirnn.language.model import LanguageModel
from minirnn.layers.activations import Function
from minirnn.layers.graph import LayerGraph
from minirnn.recurrent.networks import GRU, LSTM, RNN, Recurrent
from minirnn.recurrent.variants import GRUVariant, LSTMVariant, RNNVariant

STANDARD = (  # the cells without options as variants
    (TanhCell, RNNVariant()),
    (ReluCell, RNNVariant(Function("relu"))),
    (GRUCell, GRUVariant()),
    (GRUBeforeCell, GRUVariant(reset="before")),
    (LSTMCell, LSTMVariant()),
)


def network_of(model: Layer | LanguageModel, begins: str) -> Layer:
    """The layers of a model with weights of its own; TypeError, which ``begins`` so, for anything else."""
    network = model.network if isinstance(model, LanguageModel) else model
    if not isinstance(network, Layer):
        raise TypeError(f"{begins} a model made of layers or a LanguageModel; got {type(network).__name__}")
    return network


def check_chain(network: Layer, form: str) -> None:
    """Raise ValueError, which names the ``form``, for a model in which layers do not each read the one before."""
    if any(isinstance(layer, LayerGraph) for layer in network.walk()):
        raise ValueError(f"{form} is written of layers one after another; this model has a LayerGraph: minirnn.save it")


def check_finite(arrays: Iterable[tuple[str, Array]]) -> None:
    """Raise ValueError, which names the weight, where one is not finite."""
    for name, array in arrays:
        if not np.isfinite(array).all():
            raise ValueError(f"{name} is not finite: a diverged model is not saved")


def is_recurrent(layer: Layer | None) -> TypeGuard[Recurrent]:
    """Whether a layer is one of minirnn's own recurrent kinds, over whatever cell."""
    return type(layer) in (Recurrent, RNN, GRU, LSTM)


def as_variant(cell: Any) -> Any:
    """A cell without options as the variant that computes the same; any other as it is."""
    return next((variant for known, variant in STANDARD if cell is known), cell)


def has_bias(layer: Weighted) -> bool:
    """Whether a recurrent layer counts as one with biases: those that are 0 and frozen stand for ``bias=False``."""
    weights, frozen = layer.named_weights(), layer.bound.frozen
    biases = [name for name in weights if name.rpartition(".")[2] in ("b", "bn")]
    return not all(layer.prefix + name in frozen and not weights[name].any() for name in biases)

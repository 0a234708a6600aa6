"""minirnn: recurrent networks whose every gradient is derived by hand.

Layers (``RNN``, ``GRU``, ``LSTM``, ...), losses and optimisers are here; ``minirnn.language`` has the character
language model, ``minirnn.testing`` what proves a gradient, ``minirnn.cells`` the equations.
"""

from minirnn.core import interrupts as _interrupts  # isort: skip # noqa: F401 - first: Ctrl-C ends the rest quietly
from importlib import import_module
from typing import TYPE_CHECKING

from minirnn import _moved
from minirnn.core.backend import Backend
from minirnn.core.backward import Backward
from minirnn.core.files import ModelFileError, ModelFileWarning
from minirnn.core.layer import Layer
from minirnn.core.lengths import length_mask, pad
from minirnn.core.stream import Stream
from minirnn.core.version import VERSION
from minirnn.formats.load import load
from minirnn.kernels.cpu.threads import get_num_threads, set_num_threads
from minirnn.layers.activations import Function
from minirnn.layers.attention import Attention, MultiHeadAttention
from minirnn.layers.compose import Bidirectional, Sequential
from minirnn.layers.convolution import Conv1d
from minirnn.layers.ctc import ctc_loss
from minirnn.layers.ctc_decoding import ctc_beam, ctc_greedy
from minirnn.layers.feedforward import Activation, Dropout, Embedding, Last, Linear, Masking, PReLU, Reverse
from minirnn.layers.graph import LayerGraph
from minirnn.layers.joining import Combine, Concatenate, Dot
from minirnn.layers.losses import cross_entropy, mse
from minirnn.layers.normalisation import BatchNorm1d, LayerNorm
from minirnn.layers.pooling import AvgPool1d, Flatten, GlobalAvgPool1d, GlobalMaxPool1d, MaxPool1d
from minirnn.layers.reshaping import Exchange, Repeat, Reshape
from minirnn.layers.wiring import Call, Entry
from minirnn.optim import (
    SGD,
    Adam,
    AdamW,
    NonFiniteGradientError,
    RMSProp,
    clip_grad_norm,
    clip_grad_value,
    grad_norm,
)
from minirnn.recurrent.networks import GRU, LSTM, RNN, Recurrent

if TYPE_CHECKING:  # a checker sees them here; the first who asks for one imports it (``LATER``)
    from minirnn.formats.export import to_keras, to_onnx, to_torch
    from minirnn.formats.native import save
    from minirnn.inference.streams import stream_many
    from minirnn.language.model import LanguageModel
    from minirnn.language.text import Text
    from minirnn.recurrent.variants import GRUVariant, LSTMVariant, RNNVariant

__version__ = VERSION
_moved.install()

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "SGD",
    "Activation",
    "Adam",
    "AdamW",
    "Attention",
    "AvgPool1d",
    "Backend",
    "Backward",
    "BatchNorm1d",
    "Bidirectional",
    "Call",
    "Combine",
    "Concatenate",
    "Conv1d",
    "Dot",
    "Dropout",
    "Embedding",
    "Entry",
    "Exchange",
    "Flatten",
    "Function",
    "GRUVariant",
    "GlobalAvgPool1d",
    "GlobalMaxPool1d",
    "LSTMVariant",
    "LanguageModel",
    "Last",
    "Layer",
    "LayerGraph",
    "LayerNorm",
    "Linear",
    "Masking",
    "MaxPool1d",
    "ModelFileError",
    "ModelFileWarning",
    "MultiHeadAttention",
    "NonFiniteGradientError",
    "PReLU",
    "RMSProp",
    "RNNVariant",
    "Recurrent",
    "Repeat",
    "Reshape",
    "Reverse",
    "Sequential",
    "Stream",
    "Text",
    "clip_grad_norm",
    "clip_grad_value",
    "cross_entropy",
    "ctc_beam",
    "ctc_greedy",
    "ctc_loss",
    "get_num_threads",
    "grad_norm",
    "length_mask",
    "load",
    "mse",
    "pad",
    "save",
    "set_num_threads",
    "stream_many",
    "to_keras",
    "to_onnx",
    "to_torch",
]

LATER = {  # names that many programs never use, and where they are: importing all takes a fifth longer
    "GRUVariant": "recurrent.variants",
    "LSTMVariant": "recurrent.variants",
    "LanguageModel": "language.model",
    "RNNVariant": "recurrent.variants",
    "Text": "language.text",
    "save": "formats.native",
    "stream_many": "inference.streams",
    "to_keras": "formats.export",
    "to_onnx": "formats.export",
    "to_torch": "formats.export",
}

if not TYPE_CHECKING:  # a type checker shall say so where a name is missing

    def __getattr__(name: str) -> object:
        """A name of ``LATER``, or a module by the name that it had as an attribute: ``minirnn.text``."""
        if name in LATER:
            value = globals()[name] = getattr(import_module(f"minirnn.{LATER[name]}"), name)
            return value
        if _moved.current(f"minirnn.{name}") is None:
            raise AttributeError(f"module 'minirnn' has no attribute {name!r}")
        return import_module(f"minirnn.{name}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *LATER})

"""minirnn: recurrent networks whose every gradient is derived by hand.

Layers (``RNN``, ``GRU``, ``LSTM``, ...), losses and optimisers are here; ``minirnn.language`` has the character
language model, ``minirnn.testing`` what proves a gradient, ``minirnn.cells`` the equations.

A name is imported when it is first asked for, so that ``minirnn.testing`` can be had without layers and kernels.
"""

from minirnn.core import interrupts as _interrupts  # isort: skip # noqa: F401 - first: Ctrl-C ends the rest quietly
from typing import TYPE_CHECKING

from minirnn import _moved
from minirnn.core.lazy import lazy
from minirnn.core.version import VERSION

if TYPE_CHECKING:  # what a type checker sees; ``PLACES`` says the same to Python
    from minirnn.core.backend import Backend
    from minirnn.core.backward import Backward
    from minirnn.core.files import ModelFileError, ModelFileWarning
    from minirnn.core.layer import Layer
    from minirnn.core.lengths import length_mask, pad
    from minirnn.core.parameters import Spec
    from minirnn.core.run import Result, Run
    from minirnn.core.stream import Stream
    from minirnn.formats.export import to_keras, to_onnx, to_torch
    from minirnn.formats.load import load
    from minirnn.formats.native import save
    from minirnn.inference.streams import stream_many
    from minirnn.kernels.cpu.threads import get_num_threads, set_num_threads
    from minirnn.language.model import LanguageModel
    from minirnn.language.text import Text
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
    "Result",
    "Reverse",
    "Run",
    "Sequential",
    "Spec",
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

PLACES = {
    "GRU": "recurrent.networks",
    "LSTM": "recurrent.networks",
    "RNN": "recurrent.networks",
    "SGD": "optim",
    "Activation": "layers.feedforward",
    "Adam": "optim",
    "AdamW": "optim",
    "Attention": "layers.attention",
    "AvgPool1d": "layers.pooling",
    "Backend": "core.backend",
    "Backward": "core.backward",
    "BatchNorm1d": "layers.normalisation",
    "Bidirectional": "layers.compose",
    "Call": "layers.wiring",
    "Combine": "layers.joining",
    "Concatenate": "layers.joining",
    "Conv1d": "layers.convolution",
    "Dot": "layers.joining",
    "Dropout": "layers.feedforward",
    "Embedding": "layers.feedforward",
    "Entry": "layers.wiring",
    "Exchange": "layers.reshaping",
    "Flatten": "layers.pooling",
    "Function": "layers.activations",
    "GRUVariant": "recurrent.variants",
    "GlobalAvgPool1d": "layers.pooling",
    "GlobalMaxPool1d": "layers.pooling",
    "LSTMVariant": "recurrent.variants",
    "LanguageModel": "language.model",
    "Last": "layers.feedforward",
    "Layer": "core.layer",
    "LayerGraph": "layers.graph",
    "LayerNorm": "layers.normalisation",
    "Linear": "layers.feedforward",
    "Masking": "layers.feedforward",
    "MaxPool1d": "layers.pooling",
    "ModelFileError": "core.files",
    "ModelFileWarning": "core.files",
    "MultiHeadAttention": "layers.attention",
    "NonFiniteGradientError": "optim",
    "PReLU": "layers.feedforward",
    "RMSProp": "optim",
    "RNNVariant": "recurrent.variants",
    "Recurrent": "recurrent.networks",
    "Repeat": "layers.reshaping",
    "Reshape": "layers.reshaping",
    "Result": "core.run",
    "Reverse": "layers.feedforward",
    "Run": "core.run",
    "Sequential": "layers.compose",
    "Spec": "core.parameters",
    "Stream": "core.stream",
    "Text": "language.text",
    "clip_grad_norm": "optim",
    "clip_grad_value": "optim",
    "cross_entropy": "layers.losses",
    "ctc_beam": "layers.ctc_decoding",
    "ctc_greedy": "layers.ctc_decoding",
    "ctc_loss": "layers.ctc",
    "get_num_threads": "kernels.cpu.threads",
    "grad_norm": "optim",
    "length_mask": "core.lengths",
    "load": "formats.load",
    "mse": "layers.losses",
    "pad": "core.lengths",
    "save": "formats.native",
    "set_num_threads": "kernels.cpu.threads",
    "stream_many": "inference.streams",
    "to_keras": "formats.export",
    "to_onnx": "formats.export",
    "to_torch": "formats.export",
}
ROOMS = (
    "cells",
    "core",
    "explain",
    "formats",
    "inference",
    "kernels",
    "language",
    "layers",
    "more_cells",
    "optim",
    "recurrent",
    "scan",
    "testing",
    "training",
)

if not TYPE_CHECKING:  # a type checker shall say so where a name is missing
    __getattr__, __dir__ = lazy(__name__, PLACES, {*ROOMS, *_moved.MOVED})

"""minirnn: recurrent networks whose every gradient is derived by hand.

Layers (``RNN``, ``GRU``, ``LSTM``, ...), losses and optimisers are here; ``minirnn.text`` and ``minirnn.lm`` have the
character language model, ``minirnn.testing`` what proves a gradient, ``minirnn.cells`` the equations.
"""

from minirnn import interrupts as _interrupts  # isort: skip # noqa: F401 - first: Ctrl-C ends the rest quietly
from minirnn.activations import Function
from minirnn.backend import Backend
from minirnn.base import Backward, Layer
from minirnn.compose import Bidirectional, Sequential
from minirnn.formats.exporting import to_keras, to_onnx, to_torch
from minirnn.formats.files import ModelFileError, ModelFileWarning
from minirnn.formats.native import save
from minirnn.formats.opening import load
from minirnn.kernels.cpu.threads import get_num_threads, set_num_threads
from minirnn.layers import Activation, Dropout, Embedding, Last, Linear, Masking, Reverse
from minirnn.lm import LanguageModel
from minirnn.losses import cross_entropy, mse
from minirnn.optim import SGD, Adam, AdamW, NonFiniteGradientError, RMSProp, clip_grad_norm, clip_grad_value, grad_norm
from minirnn.padding import length_mask, pad
from minirnn.recurrent import GRU, LSTM, RNN, Recurrent
from minirnn.stream import Stream, stream_many
from minirnn.text import Text
from minirnn.variants import GRUVariant, LSTMVariant, RNNVariant

__version__ = "0.1.0"

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "SGD",
    "Activation",
    "Adam",
    "AdamW",
    "Backend",
    "Backward",
    "Bidirectional",
    "Dropout",
    "Embedding",
    "Function",
    "GRUVariant",
    "LSTMVariant",
    "LanguageModel",
    "Last",
    "Layer",
    "Linear",
    "Masking",
    "ModelFileError",
    "ModelFileWarning",
    "NonFiniteGradientError",
    "RMSProp",
    "RNNVariant",
    "Recurrent",
    "Reverse",
    "Sequential",
    "Stream",
    "Text",
    "clip_grad_norm",
    "clip_grad_value",
    "cross_entropy",
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

"""Recurrent layers, and the passes that run a cell over time: by its plain equations, by Numba and on a GPU."""

from minirnn.recurrent.networks import GRU, LSTM, RNN, Recurrent
from minirnn.recurrent.variants import GRUVariant, LSTMVariant, RNNVariant

__all__ = ["GRU", "LSTM", "RNN", "GRUVariant", "LSTMVariant", "RNNVariant", "Recurrent"]

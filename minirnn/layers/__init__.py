"""Layers without a recurrence, what puts layers together, and losses.

    feedforward.py  Linear, Embedding, Activation, Masking, Reverse, Dropout, Last
    activations.py  the functions of activation layers and of other people's cells
    compose.py      Sequential, Bidirectional
    losses.py       cross-entropy, mean squared error

Each layer has its transpose beside it.
"""

from minirnn.layers.compose import Bidirectional, Sequential
from minirnn.layers.feedforward import Activation, Dropout, Embedding, Last, Linear, Masking, Reverse

__all__ = [
    "Activation",
    "Bidirectional",
    "Dropout",
    "Embedding",
    "Last",
    "Linear",
    "Masking",
    "Reverse",
    "Sequential",
]

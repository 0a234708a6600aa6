"""Layers without a recurrence, what puts layers together, and losses."""

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

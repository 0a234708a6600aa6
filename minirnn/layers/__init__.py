"""Layers without a recurrence, what puts layers together, and losses.

    feedforward.py    Linear, Embedding, Activation, PReLU, Masking, Reverse, Dropout, Last
    normalisation.py  LayerNorm, BatchNorm1d
    convolution.py    Conv1d
    pooling.py        MaxPool1d, AvgPool1d, GlobalMaxPool1d, GlobalAvgPool1d, Flatten
    windows.py        the windows of steps that convolution and pooling read
    activations.py    the functions of activation layers and of other people's cells
    compose.py        Sequential, Bidirectional
    graph.py          LayerGraph: branches, several inputs and outputs
    wiring.py         what it is made of, and whether that fits
    joining.py        Combine, Concatenate, Dot: what reads several values of a graph
    attention.py      Attention, MultiHeadAttention: steps that read the steps of another value
    reshaping.py      Repeat, Exchange, Reshape: what moves numbers between steps and features
    losses.py         cross-entropy, mean squared error
    ctc.py            connectionist temporal classification: a loss over labels without their places in time
    ctc_decoding.py   labels from the logits of that: greedy, and by beam search

Each layer has its transpose beside it.
"""

from minirnn.layers.attention import Attention, MultiHeadAttention
from minirnn.layers.compose import Bidirectional, Sequential
from minirnn.layers.convolution import Conv1d
from minirnn.layers.feedforward import Activation, Dropout, Embedding, Last, Linear, Masking, PReLU, Reverse
from minirnn.layers.graph import LayerGraph
from minirnn.layers.joining import Combine, Concatenate, Dot
from minirnn.layers.normalisation import BatchNorm1d, LayerNorm
from minirnn.layers.pooling import AvgPool1d, Flatten, GlobalAvgPool1d, GlobalMaxPool1d, MaxPool1d
from minirnn.layers.reshaping import Exchange, Repeat, Reshape
from minirnn.layers.wiring import Call, Entry

__all__ = [
    "Activation",
    "Attention",
    "AvgPool1d",
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
    "GlobalAvgPool1d",
    "GlobalMaxPool1d",
    "Last",
    "LayerGraph",
    "LayerNorm",
    "Linear",
    "Masking",
    "MaxPool1d",
    "MultiHeadAttention",
    "PReLU",
    "Repeat",
    "Reshape",
    "Reverse",
    "Sequential",
]

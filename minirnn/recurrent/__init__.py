"""Recurrent layers, and the passes that run a cell over time.

    networks.py        RNN, GRU, LSTM, Recurrent: depth and both directions
    direction.py       one layer in one direction: its weights, its initial state, and the choice of its pass
    weights.py         the weights of a direction as a pass uses them: values, gradients, addresses, x W + b

    passes.py          the base of all passes: what each is handed, and the order of steps
    plain.py           by the plain equations, of any cell on any backend
    fused.py           by compiled kernels
    cuda.py            by kernels on a GPU
    checkpointing.py   gradient checkpointing: another pass for each segment of steps
    weight_dropout.py  weights with a randomly masked copy of U

    fast_call.py       inference on little input
    zoneout.py         units that stay as they were for a step
    masks.py           steps that are skipped
    variants.py        cells with other functions, clips and peepholes, for models that others trained

The equations are in ``cells.py``, the loops over time in ``scan.py``.
"""

from minirnn.recurrent.networks import GRU, LSTM, RNN, Recurrent
from minirnn.recurrent.variants import GRUVariant, LSTMVariant, RNNVariant

__all__ = ["GRU", "LSTM", "RNN", "GRUVariant", "LSTMVariant", "RNNVariant", "Recurrent"]

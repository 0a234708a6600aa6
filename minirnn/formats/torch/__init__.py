"""torch's weights in and out, without torch: files of state dicts and of whole modules, and arrays.

A state dict holds weights by name.  It does not say what computes with them: dropout, activations and reshaping between
modules, ``batch_first``, an RNN's ``nonlinearity`` and whether a Linear reads every step or the last one stand in the
module's Python code.  What is loaded here is the chain of the modules that have weights, over (T, B, features): its
output at the last step is that of a module that reads the last step alone.

A whole module (``torch.save(model, path)``) has classes and hyperparameters too, and the order within an nn.Sequential.
It is read as data: no class in it is imported or made.  So are programs, of TorchScript and of torch.export: where
all of their code or graph is layers, it says all that is computed, be it a chain or a ``LayerGraph``.

These modules are known by their names and shapes: nn.RNN, nn.GRU and nn.LSTM of any depth and direction, with biases
or without, an LSTM with ``proj_size``; nn.RNNCell, nn.GRUCell and nn.LSTMCell; nn.Embedding, which can only be the
first; nn.Linear; nn.LayerNorm and nn.BatchNorm1d, with torch's eps; nn.PReLU, with kinds= where it has several slopes.
Of a whole module nn.Conv1d too, whose stride and padding no state dict has, pooling over time, and every eps: torch's
(B, D, T) for them is (T, B, D) here.  Of a whole module or a program nn.MultiheadAttention, whose number of heads no
state dict has, where one sequence reads itself.

torch has two biases where one is enough: their sum becomes ``b``, but for the GRU's candidate, whose second stays apart
as ``bn``.  Of a module with ``bias=False`` the biases are 0 and frozen.  float16 and bfloat16 become float32.
"""

from minirnn.formats.torch.loading import (
    StateDict,
    contents,
    from_state_dict,
    load,
    merged_biases,
    notes,
    read,
)
from minirnn.formats.torch.writing import arrays_of, save, to_torch

__all__ = [
    "StateDict",
    "arrays_of",
    "contents",
    "from_state_dict",
    "load",
    "merged_biases",
    "notes",
    "read",
    "save",
    "to_torch",
]

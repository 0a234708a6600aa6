"""torch's weights in and out, without torch: ``.pt`` and ``.safetensors`` files of state dicts, and arrays.

A state dict holds weights by name.  It does not say what computes with them: dropout, activations and reshaping between
modules, ``batch_first``, an RNN's ``nonlinearity`` and whether a Linear reads every step or the last one stand in the
module's Python code.  What is loaded here is the chain of the modules that have weights, over (T, B, features): its
output at the last step is that of a module that reads the last step alone.

These modules are known by their names and shapes: nn.RNN, nn.GRU and nn.LSTM of any depth and direction, with biases
or without, an LSTM with ``proj_size``; nn.RNNCell, nn.GRUCell and nn.LSTMCell; nn.Embedding, which can only be the
first; nn.Linear.  torch has two biases where one is enough: their sum becomes ``b``, but for the GRU's candidate, whose
second stays apart as ``bn``.  Of a module with ``bias=False`` the biases are 0 and frozen.  float16 and bfloat16 become
float32.
"""

from minirnn.formats.torch.assumptions import notes
from minirnn.formats.torch.loading import StateDict, contents, from_state_dict, load, read
from minirnn.formats.torch.writing import arrays_of, save, to_torch

__all__ = ["StateDict", "arrays_of", "contents", "from_state_dict", "load", "notes", "read", "save", "to_torch"]

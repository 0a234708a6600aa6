"""Keras' models in and out, without Keras: ``.keras``, ``.weights.h5`` and the older ``.h5``.

``load`` reads what Keras 2 and 3 saved.

A model must be a chain: a Sequential, or a Functional model in which every layer reads the one before, with models of
that kind within it.  Its layers may be

- ``Embedding`` (``mask_zero`` too), ``Masking``, ``Dense``, ``TimeDistributed`` of what works on single steps,
- ``SimpleRNN``, ``GRU``, ``LSTM``, and ``RNN`` of their cells or of a stack of them, and of Keras 2 ``CuDNNGRU`` and
  ``CuDNNLSTM``; ``Bidirectional`` of these, its outputs joined in any way but ``merge_mode=None``,
- ``Activation``, ``ReLU``, ``LeakyReLU``, ``ELU``, ``Softmax``, ``ThresholdedReLU``,
- ``Dropout``, ``SpatialDropout1D``, which is ``Dropout(locked=True)``, and other noise, which has no effect in
  inference and does not stay in the network.

Anything else is an error that names the layer.

Numbers are the same; their order is not.  Keras has the batch first, minirnn time: ``y, state = model(x)`` takes x
(T, B, features), or integers (T, B) for an Embedding, and y (T, B, features) is Keras' with its first two axes
exchanged, or (B, features); with ``minirnn.load(..., batch_first=True)`` both are as in Keras.  Steps that a mask has
skipped, with padding on any side and gaps, are skipped as in Keras.  A layer that returns its state always does here,
in ``state``, and one that was ``stateful`` is given it by its caller.

``hard_sigmoid`` is what it was in the Keras that wrote the file.  A layer that was frozen (``trainable=False``) is
frozen here; so are the biases, all 0, of one that has none.

``save`` writes a model for Keras 3, and needs h5py (``pip install 'minirnn[keras]'``), which reading does not.
"""

from minirnn.formats.keras.reading import contents, load
from minirnn.formats.keras.writing import configuration, save

__all__ = ["configuration", "contents", "load", "save"]

"""Keras' models in and out, without Keras: ``.keras``, ``.weights.h5``, the older ``.h5`` and SavedModels of Keras 2.

``load`` reads what Keras 2 and 3 saved, and what ``pickle.dump`` made of a model of theirs, without running the pickle.

A chain, a Sequential or a Functional model in which every layer reads the one before, becomes layers one after another;
any other Functional model a ``LayerGraph``, with models within it, layers and models that are called several times, and
states that a recurrent layer hands to another.  Layers may be

- ``Embedding`` (``mask_zero`` too), ``Masking``, ``Dense``, ``TimeDistributed`` of what works on single steps,
- ``SimpleRNN``, ``GRU``, ``LSTM``, and ``RNN`` of their cells or of a stack of them, and of Keras 2 ``CuDNNGRU`` and
  ``CuDNNLSTM``; ``Bidirectional`` of these, its outputs joined in any way but ``merge_mode=None``,
- ``Conv1D``, ``MaxPooling1D`` and ``AveragePooling1D``, ``GlobalMaxPooling1D``, ``GlobalAveragePooling1D``,
  ``Flatten``, none of them under a mask but the global average; ``Flatten`` and padding "same" with strides where the
  input says how many steps it has,
- ``LayerNormalization`` and ``BatchNormalization`` of the features,
- ``Activation``, ``ReLU``, ``LeakyReLU``, ``PReLU`` (``shared_axes=[1]``), ``ELU``, ``Softmax``, ``ThresholdedReLU``,
- in a graph ``Add``, ``Subtract``, ``Multiply``, ``Average``, ``Maximum``, ``Minimum``, ``Concatenate``, ``Dot``,
  ``RepeatVector``, ``Reshape``, ``Permute((2, 1))``, ``Softmax(axis=1)``, ``Attention``, ``AdditiveAttention``,
  ``MultiHeadAttention``; under a mask sums and ``Concatenate``, where all that is joined has one mask, and attention,
  with heads where the query has none; of ``Dot(normalize=True)`` the smallest norm is that of Keras 3, 1e-7 (with
  TensorFlow, Keras 2 had 1e-6),
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

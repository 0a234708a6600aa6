"""Writes ``keras_files.json``: small models that Keras 2 and 3 saved, with an input and what Keras made of it.

They are what is tested where neither is installed.  Run once in an environment with ``keras``, ``torch`` and ``h5py``,
and once in one with ``tf_keras`` and ``tensorflow-cpu`` (where Keras 2 lives on); each writes its own part.
"""

import base64
import io
import json
import os
import tempfile
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import h5py
import numpy as np

os.environ |= {"KERAS_BACKEND": "torch", "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
FILE = Path(__file__).with_name("keras_files.json")
rng = np.random.default_rng(0)


def packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 9)).decode()


def array(a: Any) -> dict[str, Any]:
    a = np.asarray(a)
    return {"dtype": a.dtype.str, "shape": a.shape, "data": packed(a.tobytes())}


def drawn(model: Any) -> Any:
    model.set_weights([rng.normal(0, 0.6, w.shape).astype(w.dtype) for w in model.get_weights()])
    return model


def entry(model: Any, x: Any, ending: str, *, alone: bool = False) -> dict[str, Any]:
    """A model saved: whole, or its weights ``alone``, when the configuration stands beside them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model{ending}"
        (model.save_weights if alone else model.save)(str(path))
        y = model(x, training=False)
        y = y.detach().numpy() if hasattr(y, "detach") else y.numpy()
        config = json.loads(model.to_json()) if alone else None
        return {"ending": ending, "file": packed(path.read_bytes()), "config": config, "x": array(x), "y": array(y)}


def relaid(one: dict[str, Any], version: str, pieces: int) -> dict[str, Any]:
    """The same file of HDF5 as its library lays it out for ``version``, arrays compressed, in ``pieces`` or whole."""
    data = io.BytesIO()
    with (
        h5py.File(io.BytesIO(zlib.decompress(base64.b64decode(one["file"])))) as old,
        h5py.File(data, "w", libver=version, track_order=True) as new,
    ):

        def copy(name: str, found: Any) -> None:
            if isinstance(found, h5py.Dataset):
                chunks = tuple(-(-n // pieces) for n in found.shape)
                made = new.create_dataset(name, data=found[()], chunks=chunks, compression="gzip", shuffle=True)
            else:
                made = new.create_group(name, track_order=True)
            for key, value in found.attrs.items():
                made.attrs[key] = value

        for key, value in old.attrs.items():
            new.attrs[key] = value
        for k in range(12):  # more than stand in a header: from here on they are in a heap
            new.attrs[f"note {k}"] = k
        old.visititems(copy)
    return one | {"file": packed(data.getvalue())}


def indices(n: int, *shape: int) -> Any:
    """Indices with gaps, 0 for a step to be skipped."""
    return np.where(rng.random(shape) < 0.3, 0, rng.integers(0, n, shape))


def keras_3() -> dict[str, Any]:
    import keras
    from keras import layers as L  # noqa: N812 - as Keras writes it

    floats = rng.normal(size=(3, 5, 2)).astype(np.float32)
    floats[:, 0] = floats[1, 2:4] = floats[2] = -1
    words = [L.Input((None,)), L.Embedding(6, 3, mask_zero=True), L.Dropout(0.2)]
    words += [L.Bidirectional(L.GRU(2, return_sequences=True)), L.LSTM(3), L.Dense(4, activation="softmax")]
    given = L.Input((5, 2))
    y = L.GRU(3, reset_after=False, recurrent_activation="hard_sigmoid", return_sequences=True)(L.Masking(-1.0)(given))
    y = keras.Sequential([L.LSTM(2, activation="softsign", go_backwards=True), L.LeakyReLU(0.1), L.Dense(2)])(y)
    masked = keras.Model(given, y)
    stack = L.RNN([L.LSTMCell(2), L.GRUCell(3), L.SimpleRNNCell(2, activation="relu")], return_sequences=True)
    both = L.Bidirectional(L.SimpleRNN(2, use_bias=False, return_sequences=True), merge_mode="mul")
    stacked = keras.Sequential([L.Input((None, 2)), stack, both, L.TimeDistributed(L.Dense(3, activation="gelu"))])
    ahead = L.GRU(3, reset_after=False, activation="elu", return_sequences=True)
    back = L.GRU(3, recurrent_activation="hard_sigmoid", return_sequences=True, go_backwards=True)
    more = [L.Input((None, 2)), L.LSTM(3, go_backwards=True, return_sequences=True), L.Activation("hard_sigmoid")]
    more += [L.Bidirectional(ahead, backward_layer=back, merge_mode="sum"), L.GRU(2, use_bias=False), L.ReLU(6.0)]
    found = {
        "Keras 3, .keras": entry(drawn(keras.Sequential(words)), indices(6, 3, 5), ".keras"),
        "Keras 3, .weights.h5": entry(drawn(masked), floats, ".weights.h5", alone=True),
        "Keras 3, .h5": entry(drawn(stacked), floats, ".h5"),
        "Keras 3, more in .keras": entry(drawn(keras.Sequential(more)), floats, ".keras"),
    }
    for version, pieces in (("earliest", 2), ("latest", 1)):
        found[f"Keras 3, .h5, {version}"] = relaid(found["Keras 3, .h5"], version, pieces)
    return found


def graphs() -> dict[str, Any]:
    """Functional models of Keras 3 that are no chains: every way in which a layer may read others."""
    import keras
    from keras import layers as L  # noqa: N812 - as Keras writes it

    given = L.Input((4, 2))
    inner = L.Input((4, 2))
    twice = keras.Model(inner, [L.Add()([inner, L.Dense(2, activation="tanh")(inner)]), L.Dense(3)(inner)])
    a, b = twice(given)
    c, d = twice(a)
    h, last = L.GRU(3, return_sequences=True, return_state=True)(L.Subtract()([b, d]))
    decoded = L.LSTM(3, return_sequences=True)(L.RepeatVector(4)(last), initial_state=[last, L.Dense(3)(last)])
    read = L.Attention(use_scale=True)([decoded, h], use_causal_mask=True)
    heads = L.MultiHeadAttention(2, 2)(decoded, c, h)
    scores = L.Softmax(axis=1)(L.Dense(1)(L.Concatenate()([read, heads, L.AdditiveAttention()([decoded, h])])))
    pooled = L.Flatten()(L.Dot(axes=1)([scores, L.Maximum()([read, L.Permute((2, 1))(L.Reshape((3, 4))(heads))])]))
    many = keras.Model(given, L.Multiply()([pooled, last]))
    tokens = L.Input((None,))
    e = L.Embedding(6, 3, mask_zero=True)(tokens)
    h = L.LSTM(3, return_sequences=True)(e)
    masked = keras.Model(tokens, L.Bidirectional(L.GRU(2))(L.Concatenate()([L.Add()([e, h]), L.Average()([h, e])])))
    floats, numbers = np.random.default_rng(1).normal(size=(3, 4, 2)).astype(np.float32), indices(6, 3, 5)
    return {
        "Keras 3, a graph in .keras": entry(drawn(many), floats, ".keras"),
        "Keras 3, a graph in .h5": entry(drawn(many), floats, ".h5"),
        "Keras 3, a masked graph in .keras": entry(drawn(masked), numbers, ".keras"),
    }


def keras_2() -> dict[str, Any]:
    import tf_keras as keras
    from tf_keras.src.layers.rnn.cudnn_gru import CuDNNGRU
    from tf_keras.src.layers.rnn.cudnn_lstm import CuDNNLSTM

    L = keras.layers
    floats = rng.normal(size=(3, 5, 2)).astype(np.float32)
    floats[:, 0] = floats[1, 2:4] = floats[2] = 0
    stack = [L.Input((None, 2)), L.RNN([L.LSTMCell(2), L.GRUCell(3)], return_sequences=True)]
    stack += [L.Bidirectional(L.LSTM(2, recurrent_activation="hard_sigmoid"), merge_mode="ave"), L.ELU(), L.Dense(2)]
    words = [L.Embedding(6, 3, mask_zero=True), L.LSTM(3, recurrent_activation="hard_sigmoid", return_sequences=True)]
    words += [L.Bidirectional(L.SimpleRNN(2, activation="relu", use_bias=False, return_sequences=True))]
    words += [L.TimeDistributed(L.Dense(3, activation="tanh"))]
    given = L.Input((None, 2))
    y = L.GRU(3, reset_after=False, return_sequences=True)(L.Masking()(given))
    functional = keras.Model(given, L.Dense(2)(L.GRU(2, reset_after=True)(y)))
    sequential = keras.Sequential([L.InputLayer((None,)), *words])
    found = {
        "Keras 2, .keras": entry(drawn(keras.Sequential(stack)), floats, ".keras"),
        "Keras 2, .h5": entry(drawn(sequential), indices(6, 3, 5), ".h5"),
        "Keras 2, weights in .h5": entry(drawn(functional), floats, ".h5", alone=True),
    }
    # layers of cuDNN cannot be run without a GPU: Keras 2 itself converts their weights for its plain ones
    cudnn = drawn(keras.Sequential([L.InputLayer((None, 2)), CuDNNLSTM(3, return_sequences=True), CuDNNGRU(2)]))
    layers = [L.LSTM(3, return_sequences=True), L.GRU(2, reset_after=True)]
    plain = keras.Sequential([L.InputLayer((None, 2)), *layers])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.h5"
        cudnn.save(str(path))
        with h5py.File(path) as file:
            weights = file["model_weights"]
            plain_names = [layer.name for layer in plain.layers]
            with h5py.File(Path(folder) / "plain.h5", "w") as other:
                for name, own in zip([layer.name for layer in cudnn.layers], plain_names, strict=True):
                    weights.copy(name, other, own)
                other.attrs["layer_names"] = [name.encode() for name in plain_names]
                other.attrs["keras_version"], other.attrs["backend"] = b"2.19.0", b"tensorflow"
        plain.load_weights(str(Path(folder) / "plain.h5"))
        found["Keras 2, cuDNN"] = entry(plain, floats, ".h5") | {"file": packed(path.read_bytes())}
        path = path.with_suffix(".keras")
        cudnn.save(str(path))
        found["Keras 2, cuDNN in .keras"] = found["Keras 2, cuDNN"] | {
            "ending": ".keras",
            "file": packed(path.read_bytes()),
        }
    return found


if __name__ == "__main__":
    stored = json.loads(FILE.read_text()) if FILE.exists() else {}
    stored |= keras_2() if find_spec("tf_keras") else keras_3() | graphs()
    FILE.write_text(json.dumps(stored, indent=0) + "\n")
    for name, one in stored.items():
        print(f"{name}: {len(zlib.decompress(base64.b64decode(one['file']))):,} bytes")

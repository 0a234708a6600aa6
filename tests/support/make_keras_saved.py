"""Writes ``keras_saved.json``: small SavedModels of Keras 2 without their graphs, an input, and what Keras made of it.

Run in an environment with ``tensorflow-cpu<2.16``, whose Keras is the last that writes them.
"""

import base64
import json
import os
import tempfile
import zlib
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

os.environ |= {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
FILE = Path(__file__).with_name("keras_saved.json")
FILES = ("keras_metadata.pb", "variables/variables.index", "variables/variables.data-00000-of-00001")
rng = np.random.default_rng(0)


def packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 9)).decode()


def array(a: Any) -> dict[str, Any]:
    return {"dtype": a.dtype.str, "shape": a.shape, "data": packed(a.tobytes())}


def entry(model: Any, x: Any) -> dict[str, Any]:
    model.set_weights([rng.uniform(0.1, 0.6, w.shape).astype(w.dtype) for w in model.get_weights()])
    with tempfile.TemporaryDirectory() as folder:
        model.save(folder)
        files = {name: packed((Path(folder) / name).read_bytes()) for name in FILES}
    return {"files": files, "x": array(x), "y": array(model(x, training=False).numpy())}


def saved() -> dict[str, Any]:
    tf = import_module("tensorflow")
    keras, L = tf.keras, tf.keras.layers
    words = [L.Embedding(6, 3, mask_zero=True), L.Bidirectional(L.LSTM(2, return_sequences=True)), L.Dropout(0.5)]
    words += [L.GRU(2, recurrent_activation="hard_sigmoid"), L.Dense(2, activation="softmax")]
    chain = keras.Sequential([L.Input((None,)), *words])
    chain.compile("adam", "mse")
    chain.fit(np.ones((1, 3)), np.ones((1, 2)), verbose=0)  # the optimiser's numbers are stored beside
    given = L.Input((4, 2))
    y = L.LSTM(3, return_sequences=True, name="one")(given)
    inner = keras.Sequential([L.BatchNormalization(), L.TimeDistributed(L.Dense(2)), L.SimpleRNN(2)], name="inner")
    inner.layers[1].trainable = False
    y = L.Concatenate()([inner(y), L.LSTM(2, name="two")(y)])
    graph = keras.Model(given, L.Dense(1)(y))
    return {
        "a chain": entry(chain, np.array([[1, 2, 3, 0], [4, 5, 0, 0]])),
        "a graph": entry(graph, rng.normal(size=(2, 4, 2)).astype(np.float32)),
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(saved(), indent=0) + "\n")
    print(f"{FILE.stat().st_size:,} bytes")

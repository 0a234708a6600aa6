"""Models drawn for Keras 2 or 3 to compute with and to save: what minirnn loads is held against them."""

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from minirnn import load

Array: TypeAlias = NDArray[Any]

FUNCTIONS = ["linear", "tanh", "sigmoid", "relu", "elu", "selu", "softsign", "softplus", "swish", "gelu", "exponential"]
FUNCTIONS += ["hard_sigmoid", "softmax", "mish"]
KERAS_3 = ["relu6", "leaky_relu", "log_softmax", "silu"]
GATES = ["sigmoid", "hard_sigmoid", "hard_sigmoid", "softplus", "tanh"]
BOUNDED = ["tanh", "sigmoid", "softsign", "hard_sigmoid", "relu", "elu", None, "softmax"]
FORMATS = [".keras", ".weights.h5", ".h5"]

size = st.integers(1, 4)


class Models:
    """Draws of models of ``keras``, the module, version 2 or 3."""

    def __init__(self, keras: Any, version: int) -> None:
        self.keras, self.L, self.version = keras, keras.layers, version
        self.functions = FUNCTIONS + (KERAS_3 if version == 3 else [])

    def recurrent(self, draw: st.DrawFn, *, sequences: bool, backwards: bool = False, **more: Any) -> Any:
        """A recurrent layer of any kind."""
        kind = draw(st.sampled_from(["SimpleRNN", "GRU", "LSTM", "LSTM", "GRU", "RNN", "stack"]))
        time = {"return_sequences": sequences, "go_backwards": backwards, **more}
        if kind == "RNN":
            return self.L.RNN(self.cell(draw), **time)
        if kind == "stack":
            return self.L.RNN([self.cell(draw) for _ in range(draw(st.integers(1, 3)))], **time)
        return getattr(self.L, kind)(**self.cell_options(draw, kind), **time)

    def cell(self, draw: st.DrawFn) -> Any:
        kind = draw(st.sampled_from(["SimpleRNN", "GRU", "LSTM"]))
        return getattr(self.L, f"{kind}Cell")(**self.cell_options(draw, kind))

    def cell_options(self, draw: st.DrawFn, kind: str) -> dict[str, Any]:
        found: dict[str, Any] = {"units": draw(size), "use_bias": draw(st.integers(0, 3)) > 0}
        if draw(st.booleans()):
            found["activation"] = draw(st.sampled_from(BOUNDED))
            if kind != "SimpleRNN":
                found["recurrent_activation"] = draw(st.sampled_from(GATES))
        if kind == "GRU":
            found["reset_after"] = draw(st.booleans())
        if draw(st.integers(0, 3)) == 0:
            found["dropout"] = 0.3
        return found

    def bidirectional(self, draw: st.DrawFn, *, sequences: bool) -> Any:
        """Both directions of a layer, or of two that differ."""
        merge = draw(st.sampled_from(["concat", "concat", "sum", "mul", "ave"]))
        ahead = self.recurrent(draw, sequences=sequences)
        if draw(st.integers(0, 3)):
            return self.L.Bidirectional(ahead, merge_mode=merge)
        back = type(ahead).from_config(ahead.get_config() | {"go_backwards": True, "name": "back"})
        return self.L.Bidirectional(ahead, merge_mode=merge, backward_layer=back)

    def stepwise(self, draw: st.DrawFn, *, masked: bool) -> Any:
        """A layer without recurrence."""
        L = self.L
        kind = draw(st.sampled_from(["dense", "dense", "activation", "layer", "noise", "distributed"]))
        if kind == "dense":
            return self.dense(draw)
        if kind == "activation":
            return L.Activation(draw(st.sampled_from(self.functions)))
        if kind == "distributed":
            return L.TimeDistributed(self.dense(draw))
        if kind == "noise":
            return draw(
                st.sampled_from([L.Dropout(0.4), L.SpatialDropout1D(0.3), L.GaussianNoise(0.5), L.GaussianDropout(0.2)])
            ).__class__(0.3)
        slope = {"negative_slope": 0.2} if self.version == 3 else {"alpha": 0.2}
        choices = [L.ReLU(), L.ReLU(6.0), L.ReLU(negative_slope=0.1), L.LeakyReLU(), L.LeakyReLU(**slope), L.ELU(0.7)]
        choices += [] if masked else [L.Softmax()]
        chosen = choices[draw(st.integers(0, len(choices) - 1))]
        return chosen

    def dense(self, draw: st.DrawFn) -> Any:
        return self.L.Dense(draw(size), activation=draw(st.sampled_from(self.functions)), use_bias=draw(st.booleans()))

    def layers(self, draw: st.DrawFn) -> tuple[list[Any], Array, bool]:
        """A chain of layers, and an input to it; whether that is of integers."""
        T, B, integers = draw(st.integers(1, 5)), draw(st.integers(1, 3)), draw(st.booleans())
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        masked = draw(st.booleans())
        skip = rng.random((B, T)) < draw(st.sampled_from([0.0, 0.3, 0.8]))
        layers: list[Any] = []
        x: Array
        if integers:
            n = draw(st.integers(2, 6))
            x = np.where(skip, 0, rng.integers(0, n, (B, T)))
            layers.append(self.L.Embedding(n, draw(size), mask_zero=masked))
        else:
            x = rng.normal(size=(B, T, draw(size))).astype(np.float32)
            if masked:
                value = draw(st.sampled_from([0.0, -1.0]))
                x[skip] = value
                layers.append(self.L.Masking(value))
        sequences = misaligned = False
        for k in reversed(range(draw(st.integers(0, 3)))):
            if draw(st.integers(0, 3)) == 0:
                layers.append(self.stepwise(draw, masked=masked))
                continue
            sequences = k > 0 or draw(st.booleans())
            if draw(st.integers(0, 2)) == 0:
                layers.append(self.bidirectional(draw, sequences=sequences))
            else:
                # Keras leaves the mask as it was behind a layer that goes backwards: that is refused
                backwards = draw(st.integers(0, 3)) == 0 and not (masked and k > 0)
                layers.append(self.recurrent(draw, sequences=sequences, backwards=backwards))
            masked &= sequences
            if not sequences:
                break
        else:
            sequences = True
        if draw(st.booleans()) or not layers:
            layers.append(self.dense(draw))
        del misaligned
        return layers, x, integers

    def model(self, draw: st.DrawFn) -> tuple[Any, Array]:
        """A model with random weights, and an input to it."""
        layers, x, integers = self.layers(draw)
        made = self.composed(draw, layers, self.L.Input(x.shape[1:] if draw(st.booleans()) else (None, *x.shape[2:])))
        made(x)
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        made.set_weights([rng.normal(0, 0.6, w.shape).astype(w.dtype) for w in made.get_weights()])
        return made, x

    def composed(self, draw: st.DrawFn, layers: list[Any], given: Any) -> Any:
        """The layers as a model of any form."""
        Sequential = self.keras.Sequential
        form = draw(st.sampled_from(["sequential", "functional", "nested", "nested functional"]))
        if form == "sequential":
            return Sequential([given, *layers])
        if form == "nested" and len(layers) > 1:
            k = draw(st.integers(1, len(layers) - 1))
            return Sequential([given, *layers[:k], Sequential(layers[k:])])
        y = given
        if form == "nested functional" and len(layers) > 1:
            k = draw(st.integers(1, len(layers) - 1))
            for layer in layers[:k]:
                y = layer(y)
            inner = self.L.Input(tuple(y.shape[1:]))
            z = inner
            for layer in layers[k:]:
                z = layer(z)
            return self.keras.Model(given, self.keras.Model(inner, z)(y))
        for layer in layers:
            y = layer(y)
        return self.keras.Model(given, y)

    def saved(self, model: Any, folder: Path, ending: str) -> tuple[Path, Any]:
        """The model in a file, and the configuration to be given with it."""
        path = folder / f"model{ending}"
        if ending == ".weights.h5":
            model.save_weights(str(path))
            return path, model.to_json()
        model.save(str(path))
        return path, None


def check(model: Any, x: Array, path: Path, config: Any) -> None:
    """What is loaded from ``path`` computes what ``model`` does."""
    theirs = np.asarray(model(x, training=False).detach() if hasattr(model(x), "detach") else model(x, training=False))
    ours = load(path, config=config) if config is not None else load(path)
    y, _ = ours(x.swapaxes(0, 1))
    y = y.swapaxes(0, 1) if theirs.ndim == 3 else y
    assert y.shape == theirs.shape
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, theirs, rtol=0, atol=2e-6 * max(1, float(np.abs(theirs).max(initial=0))))

"""Models drawn for Keras 2 or 3 to compute with and to save: what minirnn loads is held against them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from minirnn import load

Array: TypeAlias = NDArray[Any]
Draw: TypeAlias = Callable[..., Any]  # of Hypothesis

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

    def recurrent(self, draw: Draw, *, sequences: bool, backwards: bool = False, **more: Any) -> Any:
        """A recurrent layer of any kind."""
        kind = draw(st.sampled_from(["SimpleRNN", "GRU", "LSTM", "LSTM", "GRU", "RNN", "stack"]))
        time = {"return_sequences": sequences, "go_backwards": backwards, **more}
        if kind == "RNN":
            return self.L.RNN(self.cell(draw), **time)
        if kind == "stack":
            cells = [self.cell(draw) for _ in range(draw(st.integers(1, 3)))]
            if [type(cell) for cell in cells] == [self.L.LSTMCell]:  # Keras 3 itself fails on this one with a mask
                cells.append(self.cell(draw))
            return self.L.RNN(cells, **time)
        return getattr(self.L, kind)(**self.cell_options(draw, kind), **time)

    def cell(self, draw: Draw) -> Any:
        kind = draw(st.sampled_from(["SimpleRNN", "GRU", "LSTM"]))
        return getattr(self.L, f"{kind}Cell")(**self.cell_options(draw, kind))

    def cell_options(self, draw: Draw, kind: str) -> dict[str, Any]:
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

    def bidirectional(self, draw: Draw, *, sequences: bool) -> Any:
        """Both directions of a layer, or of two that differ."""
        merge = draw(st.sampled_from(["concat", "concat", "sum", "mul", "ave"]))
        ahead = self.recurrent(draw, sequences=sequences)
        if draw(st.integers(0, 3)):
            return self.L.Bidirectional(ahead, merge_mode=merge)
        if hasattr(ahead, "units") and draw(st.booleans()):
            back = self.L.LSTM(ahead.units, return_sequences=sequences, go_backwards=True)
        else:
            back = type(ahead).from_config(ahead.get_config() | {"go_backwards": True, "name": "back"})
        return self.L.Bidirectional(ahead, merge_mode=merge, backward_layer=back)

    def stepwise(self, draw: Draw, *, masked: bool) -> Any:
        """A layer without recurrence."""
        L = self.L
        kind = draw(st.sampled_from(["dense", "dense", "activation", "layer", "noise", "distributed", "around"]))
        if kind == "dense":
            return self.dense(draw)
        if kind == "activation":
            return L.Activation(draw(st.sampled_from(self.functions)))
        if kind == "distributed":
            return L.TimeDistributed(self.dense(draw) if draw(st.booleans()) else L.LayerNormalization())
        if kind == "around":
            return self.around(draw, masked=masked)
        if kind == "noise":
            kinds = ["Dropout", "SpatialDropout1D", "GaussianNoise", "GaussianDropout"]
            return getattr(L, draw(st.sampled_from(kinds)))(0.3)
        slope = {"negative_slope": 0.2} if self.version == 3 else {"alpha": 0.2}
        choices = [L.ReLU(), L.ReLU(6.0), L.ReLU(negative_slope=0.1), L.LeakyReLU(), L.LeakyReLU(**slope), L.ELU(0.7)]
        choices += [] if masked else [L.Softmax()]
        return choices[draw(st.integers(0, len(choices) - 1))]

    def around(self, draw: Draw, *, masked: bool) -> Any:
        """A norm, or where no mask is handed on a convolution or a pool, which need no more steps than one."""
        L, has = self.L, {"scale": draw(st.booleans()), "center": draw(st.booleans())}
        choices = [L.LayerNormalization(**has), L.BatchNormalization(epsilon=0.1, **has), L.PReLU(shared_axes=[1])]
        choices.append(L.PReLU(shared_axes=[1, 2]))
        if not masked:
            kernel, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 2))
            more = {"padding": "causal", "strides": draw(st.integers(1, 2))} if dilation == 1 else {"padding": "same"}
            choices.append(L.Conv1D(draw(size), kernel, dilation_rate=dilation, activation="tanh", **more))
            choices += [L.MaxPooling1D(kernel, 1, "same"), L.AveragePooling1D(kernel, 1, "same")]
        return choices[draw(st.integers(0, len(choices) - 1))]

    def dense(self, draw: Draw) -> Any:
        return self.L.Dense(draw(size), activation=draw(st.sampled_from(self.functions)), use_bias=draw(st.booleans()))

    def layers(self, draw: Draw) -> tuple[list[Any], Array]:
        """A chain of layers, and an input to it."""
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
            pools = [] if masked else [self.L.GlobalAveragePooling1D(), self.L.GlobalMaxPooling1D()]
            layers += draw(st.sampled_from([[], [], *([pool] for pool in pools)]))
        if draw(st.booleans()) or not layers:
            layers.append(self.dense(draw))
        return layers, x

    def model(self, draw: Draw) -> tuple[Any, Array]:
        """A model with random weights, and an input to it."""
        layers, x = self.layers(draw)
        made = self.composed(draw, layers, self.L.Input(x.shape[1:] if draw(st.booleans()) else (None, *x.shape[2:])))
        made(x)
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        drawn = [rng.normal(0, 0.6, w.shape).astype(w.dtype) for w in made.get_weights()]
        names = [w.name for w in made.weights]
        made.set_weights([abs(w) + 0.1 if "variance" in n else w for w, n in zip(drawn, names, strict=True)])
        return made, x

    def composed(self, draw: Draw, layers: list[Any], given: Any) -> Any:
        """The layers as a model of any form, some of them perhaps as one within it."""
        inner = draw(st.sampled_from([None, None, "Sequential", "Functional"]))
        functional = draw(st.booleans())
        first = draw(st.integers(0, len(layers) - 1))
        last = draw(st.integers(first + 1, len(layers)))
        if inner == "Sequential" and (functional or first):
            layers = [*layers[:first], self.keras.Sequential(layers[first:last]), *layers[last:]]
        if not functional:
            return self.keras.Sequential([given, *layers])
        y = given
        for k, layer in enumerate(layers):
            if inner == "Functional" and k == first:
                z = start = self.L.Input(tuple(y.shape[1:]))
                for one in layers[first:last]:
                    z = one(z)
                y = self.keras.Model(start, z)(y)
            elif inner != "Functional" or not first < k < last:
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


def computed(model: Any, x: Array) -> Array:
    """What Keras makes of x, the batch first."""
    y = model(x, training=False)
    return y.detach().numpy() if hasattr(y, "detach") else np.asarray(y)


def check(model: Any, x: Array, path: Path, config: Any) -> None:
    """What is loaded from ``path`` computes what ``model`` does."""
    theirs = computed(model, x)
    ours = load(path) if config is None else load(path, config=config)
    y, _ = ours(x.swapaxes(0, 1) if x.ndim == 3 or x.dtype.kind == "i" else x)
    y = y.swapaxes(0, 1) if theirs.ndim == 3 else y
    assert y.shape == theirs.shape
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, theirs, rtol=0, atol=2e-6 * max(1, float(np.abs(theirs).max(initial=0))))

"""Networks drawn of whatever Keras has words for."""

from contextlib import suppress
from typing import Any, TypeAlias

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from minirnn import GRU, LSTM, RNN, Bidirectional, Dropout, Embedding, Last, Layer, Linear, Recurrent, Sequential
from minirnn.layers import AvgPool1d, BatchNorm1d, Conv1d, GlobalAvgPool1d, GlobalMaxPool1d, LayerNorm, MaxPool1d, PReLU
from minirnn.layers.activations import Function
from minirnn.layers.feedforward import Activation, Masking, Reverse
from minirnn.recurrent.variants import GRUVariant, LSTMVariant, RNNVariant

Array: TypeAlias = NDArray[Any]

BOUNDED = [Function(name) for name in ("tanh", "sigmoid", "softsign", "softmax")]
HARD = {2: Function("hard_sigmoid", 0.2, 0.5), 3: Function("hard_sigmoid", 1 / 6, 0.5)}  # of Keras 2 and 3
FUNCTIONS = [Function(name) for name in ("relu", "relu6", "selu", "softplus", "silu", "gelu", "mish", "linear")]
FUNCTIONS += [Function("elu"), Function("elu", 0.5), Function("leaky_relu", 0.1), Function("leaky_relu", 0.2)]
FUNCTIONS += [Function("thresholded_relu", 0.3), Function("exponential")]
size = st.integers(1, 4)


def ready(model: Layer, seed: int = 0, dtype: str = "float32") -> Layer:
    """``model`` with every weight drawn, at the scale of an initialisation."""
    model.init(seed, dtype=dtype, overwrite=True)
    rng = np.random.default_rng(seed)
    for name, w in model.named_weights().items():
        w[...] = rng.random(w.shape) + 0.1 if name.endswith("var") else rng.normal(0, 0.5, w.shape)
    return model


def model_needs(model: Layer) -> int:
    """The smallest number of steps that it takes."""
    for T in range(1, 8):
        with suppress(ValueError):
            model.check_steps(T)
            return T
    raise AssertionError(f"it needs more steps than are drawn: {model.describe()}")


def input_for(model: Layer, rng: np.random.Generator) -> Array:
    """Features of a few rows, some steps of them 0, indices, or features without time."""
    T, B = int(rng.integers(model_needs(model), 8)), int(rng.integers(1, 4))
    if not model.floats:
        return np.where(rng.random((T, B)) < 0.3, 0, rng.integers(0, model.input_size or 1, (T, B)))
    x = rng.normal(size=(T, B, model.input_size or 3))
    x[rng.random((T, B)) < 0.3] = 0
    return (x[0] if model.timeless else x).astype(model.bound.dtype)


@st.composite
def recurrent(draw: st.DrawFn, D: int, H: int | None, version: int, *, two_ways: bool | None = None) -> Recurrent:
    """A recurrent layer of any cell that Keras has, of any depth and direction."""
    H, kind = H or draw(size), draw(st.sampled_from(["rnn", "gru", "lstm", "variant"]))
    options: dict[str, Any] = {"num_layers": draw(st.sampled_from([1, 1, 2]))}
    options["bidirectional"] = draw(st.booleans()) if two_ways is None else two_ways
    if two_ways is None and draw(st.booleans()):
        options |= {"dropout": 0.3, "locked": draw(st.booleans())}
    if kind == "rnn":
        return RNN(D, H, nonlinearity=draw(st.sampled_from(["tanh", "relu"])), **options)
    if kind == "gru":
        return GRU(D, H, reset=draw(st.sampled_from(["after", "before"])), **options)
    if kind == "lstm":
        return LSTM(D, H, **options)
    bounded = [*BOUNDED, HARD[version]]
    odd = [*bounded, *(f for f in FUNCTIONS if f.name in ("relu6", "elu", "leaky_relu", "thresholded_relu"))]
    reset, function = draw(st.sampled_from(["after", "before"])), draw(st.sampled_from(odd))
    gate = draw(st.sampled_from(bounded))
    cells = [RNNVariant(function), GRUVariant(gate, function, reset), LSTMVariant(gate, function, function)]
    return Recurrent(draw(st.sampled_from(cells)), D, H, **options)


@st.composite
def pairs(draw: st.DrawFn, D: int, version: int) -> Bidirectional:
    """Two layers over one input, alike or not, which may both reduce the steps to one."""
    H, merge = draw(size), draw(st.sampled_from(["concat", "sum", "mul", "ave"]))
    first = draw(recurrent(D, None, version, two_ways=False))
    deep: list[Layer] = [first, draw(recurrent(first.hidden_size, H, version, two_ways=False))]
    ways: list[Layer] = [draw(recurrent(D, H, version, two_ways=False)), Sequential(*deep)]
    ways = draw(st.sampled_from([[ways[0], None], ways, ways[::-1]]))
    if draw(st.booleans()):
        ways = [way and Sequential(way, Last()) for way in ways]
    return Bidirectional(ways[0], ways[1], merge)


@st.composite
def around(draw: st.DrawFn, D: int, *, timed: bool, masked: bool) -> Layer:
    """A norm, a convolution or a pool that Keras has too."""
    choices: list[Layer] = [LayerNorm(D, 0.01, gain=draw(st.booleans()), bias=draw(st.booleans())), BatchNorm1d(D)]
    choices.append(PReLU(draw(st.sampled_from([1, D]))))
    if timed and not masked:
        kernel, dilation, groups = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.sampled_from([1, D]))
        paddings: list[Any] = [0, "same", "causal"]
        padding, bias = draw(st.sampled_from(paddings)), draw(st.booleans())
        more = {"padding": padding, "dilation": dilation, "groups": groups, "bias": bias}
        choices.append(Conv1d(D, 2 * groups, kernel, **more))
        choices.append(draw(st.sampled_from([MaxPool1d(2, 1), MaxPool1d(3, 1, "same"), AvgPool1d(2, 1)])))
        choices.append(AvgPool1d(draw(st.integers(2, 3)), 1, "same", count_padding=False))
    return draw(st.sampled_from(choices))


@st.composite
def networks(draw: st.DrawFn, version: int = 3) -> Layer:
    """A network of layers in any order that Keras 2 or 3 can express."""
    D = draw(size)
    layers: list[Layer] = []
    embedding = Embedding(5, D, draw(st.sampled_from([None, 0]))) if draw(st.booleans()) else None
    if embedding:
        layers.append(embedding)
    elif draw(st.booleans()):
        layers.append(Masking(0.0))
    masked = any(layer.masks for layer in layers)
    timed = True
    for _ in range(draw(st.integers(0, 3))):
        if draw(st.integers(0, 3)) == 0:
            layers.append(draw(around(D, timed=timed, masked=masked)))
        elif not timed or draw(st.integers(0, 2)) == 0:
            three = [Function("log_softmax")] if version == 3 else []
            f = draw(st.sampled_from([*BOUNDED, HARD[version], *FUNCTIONS, *three]))
            plain = [
                Linear(D, 3, bias=draw(st.booleans())),
                Dropout(0.3, locked=draw(st.booleans())),
                Activation(**f.config()),
            ]
            layers.append(draw(st.sampled_from(plain)))
        elif draw(st.integers(0, 2)) == 0:
            pair = draw(pairs(D, version))
            layers.append(pair)
            if pair.keeps_time and pair.merge == "concat" and draw(st.booleans()):
                layers.append(Last(bidirectional=True))
        else:
            layer = draw(recurrent(D, None, version))
            ends, alone = draw(st.booleans()), not layer.bidirectional and layer.num_layers == 1
            backwards = not layer.bidirectional and (not masked or (alone and ends)) and draw(st.booleans())
            layers += [Reverse()] if backwards else []
            layers.append(Sequential(layer) if draw(st.integers(0, 3)) == 0 else layer)
            layers += [Dropout(0.3)] if draw(st.integers(0, 3)) == 0 else []
            layers += [Last(bidirectional=layer.bidirectional)] if ends else []
        D = next((one.output_size for one in reversed(layers) if one.output_size), D)
        timed = all(one.keeps_time for one in layers)
    if timed and not masked and draw(st.integers(0, 4)) == 0:  # of a row that is all masked Keras' mean is NaN
        layers.append(draw(st.sampled_from([GlobalAvgPool1d(), GlobalMaxPool1d()])))
    if not layers or draw(st.booleans()):
        tied = embedding if embedding and embedding.embedding_dim == D else None
        layers.append(Linear(D, 5 if tied else 2, bias=draw(st.booleans()), tie=tied))
    return layers[0] if len(layers) == 1 else Sequential(*layers)

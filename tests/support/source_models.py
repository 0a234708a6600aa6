"""Models for files of source, drawn by a number, and what NumPy computes of them in float32."""

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minirnn import GRU, LSTM, RNN, Activation, Embedding, Last, Layer, Linear, Sequential
from minirnn.core.run import Result
from minirnn.formats.sources.planning import exact
from minirnn.layers import (
    AvgPool1d,
    BatchNorm1d,
    Bidirectional,
    Conv1d,
    Flatten,
    GlobalAvgPool1d,
    GlobalMaxPool1d,
    LayerNorm,
    MaxPool1d,
    PReLU,
    Reverse,
)
from minirnn.layers.activations import NAMES, Function
from minirnn.layers.graph import LayerGraph
from minirnn.layers.joining import Combine, Concatenate
from minirnn.layers.wiring import Call, Entry
from minirnn.more_cells import NAMED
from minirnn.recurrent.networks import Recurrent
from minirnn.recurrent.variants import GRUVariant, LSTMVariant, RNNVariant

Array = NDArray[Any]


TOLERANCE = 2e-6
WITH_EVERY_CALL = (
    "tanh",
    "exponential",
    "elu",
    "softplus",
    "log_softmax",
    "relu",
    "gelu",
)  # tanh, exp, expm1, log1p, log


class Case(NamedTuple):
    """A model, rows that it reads, how many steps its file takes at most, None where it says so itself; and the model
    that was quantised.
    """

    model: Any
    x: Array
    steps: int | None = None
    whole: Any = None


def computed(model: Any, x: Array) -> Array:
    """y (T, features) of one row."""
    y, _ = model(x[:, None], batch_first=False)
    return (y[None] if y.ndim == 2 else y)[:, 0]  # type: ignore[no-any-return]


def expected(case: Case) -> Array:
    """y (T, features) by NumPy in float32, of products that round nothing they read."""
    return computed(exact(case.model), case.x)


def tolerance(case: Case) -> float:
    """How far another order of additions may lead: 2e-6, or as far as float32 is from float64, where that is more."""
    precise = (case.whole or case.model).to(backend="numpy", dtype="float64")
    for name, weight in precise.named_weights().items():
        stored = case.model.named_weights()[name]
        weight[...] = stored.dense() if hasattr(stored, "dense") else stored
    x = case.x if case.x.dtype.kind in "iu" else case.x.astype(np.float64)
    return max(TOLERANCE, 4 * float(np.abs(expected(case) - computed(precise, x)).max()))


def rows(model: Layer, T: int, seed: int = 0) -> Array:
    """T steps of x, of indices where the model reads nothing else."""
    draw = np.random.default_rng(seed)
    width = model.input_size or 0
    return draw.integers(0, width, T) if not model.floats else draw.standard_normal((T, width)).astype(np.float32)


RECURRENT: dict[str, Callable[..., Layer]] = {
    "rnn": RNN,
    "relu": lambda D, H, *n, **o: RNN(D, H, *n, nonlinearity="relu", **o),
    "gru": GRU,
    "gru before": lambda D, H, *n, **o: GRU(D, H, *n, reset="before", **o),
    "lstm": LSTM,
    "projected": lambda D, H, *n, **o: LSTM(D, H, *n, proj_size=H // 2, **o),
    **{name: lambda D, H, *n, cell=cell, **o: Recurrent(cell, D, H, *n, **o) for name, cell in NAMED.items()},
    "variant rnn": lambda D, H, *n, **o: Recurrent(RNNVariant(Function("softplus"), 2.0), D, H, *n, **o),
    "variant gru": lambda D, H, *n, **o: Recurrent(
        GRUVariant(Function("hard_sigmoid"), Function("elu")), D, H, *n, **o
    ),
    "variant gru before": lambda D, H, *n, **o: Recurrent(GRUVariant(reset="before", clip=0.5), D, H, *n, **o),
    "variant lstm": lambda D, H, *n, **o: Recurrent(
        LSTMVariant(candidate=Function("softsign"), clip=3.0, coupled=True, peepholes=True), D, H, *n, **o
    ),
    "variant peepholes": lambda D, H, *n, **o: Recurrent(LSTMVariant(peepholes=True), D, H, *n, **o),
}
SMOOTH = [name for name in NAMES if name not in ("exponential", "affine", "thresholded_relu")]


def drawn(seed: int) -> Case:
    """A model of any cells, depth and direction, with layers around, in float32 or int8."""
    draw = random.Random(seed)  # noqa: S311 - models are drawn, no keys

    def norm(D: int) -> Layer:
        kinds: list[Callable[[], Layer]] = [
            lambda: LayerNorm(D, bias=draw.random() < 0.5),
            lambda: BatchNorm1d(D),
            lambda: PReLU(draw.choice([1, D])),
            lambda: Activation(draw.choice(SMOOTH)),
        ]
        return draw.choice(kinds)()

    def recurrence(D: int) -> Layer:
        names = list(RECURRENT)
        options: dict[str, Any] = {"bidirectional": whole and draw.random() < 0.5}
        options["zoneout"] = draw.choice([0.0, 0.0, 0.1])
        options["trainable_state"] = draw.random() < 0.3
        return RECURRENT[draw.choice(names)](D, draw.choice([1, 3, 8, 17, 33]), draw.choice([1, 1, 2, 3]), **options)

    whole = draw.random() < 0.5
    D, T = draw.choice([1, 4, 9]), draw.randint(6, 30)
    layers: list[Layer] = []
    if draw.random() < 0.3:
        D = draw.choice([2, 7])
        layers.append(Embedding(11, D))
    if draw.random() < 0.4:
        N, kernel = draw.choice([2, 6]), draw.randint(1, 4)
        groups = 2 if D % 2 == 0 and draw.random() < 0.5 else 1
        padding: Any = draw.choice(["causal", "same", 0]) if whole else "causal"
        stride = draw.choice([1, 2]) if whole and padding != "same" else 1
        layers.append(
            Conv1d(
                D, N, kernel, stride, padding=padding, dilation=draw.choice([1, 2]) if kernel < 3 else 1, groups=groups
            )
        )
        D = N
        if whole and draw.random() < 0.5:
            layers.append(draw.choice([MaxPool1d(2, 1), AvgPool1d(2, 2, 1, count_padding=draw.random() < 0.5)]))
        layers += [norm(D)] if draw.random() < 0.5 else []
    for _ in range(draw.choice([1, 1, 2])):
        layers.append(recurrence(D))
        D = layers[-1].output_size or 0
        layers += [norm(D)] if draw.random() < 0.4 else []
    if whole and draw.random() < 0.4:
        inner: Layer = Sequential(GRU(D, 5), norm(5)) if draw.random() < 0.5 else LSTM(D, 4)
        merge = draw.choice(["concat", "sum", "mul", "ave"])
        layers.append(Bidirectional(inner, merge=merge))
        D = layers[-1].output_size or 0
    if whole and draw.random() < 0.3:
        layers.append(Reverse())
    end = draw.random()
    if end < 0.4:
        choice = draw.choice([Last(), GlobalMaxPool1d(), GlobalAvgPool1d(), Last(bidirectional=True)])
        layers.append(choice if whole and D % 2 == 0 else Last())
    layers.append(Linear(D, 3, bias=draw.random() < 0.8))
    layers += [Activation("softmax")] if draw.random() < 0.3 else []
    model = Sequential(*layers).init(seed, backend="numpy")
    scattered(model, seed)
    x = rows(model, T, seed)
    narrow = model.quantize("int8") if draw.random() < 0.4 else model
    return Case(narrow, x, 40 if not_stepwise(model) else None, model)


def scattered(model: Layer, seed: int) -> None:
    """Weights of norms and other per-unit ones that differ from what they begin at; variances stay above 0."""
    draw = np.random.default_rng(seed)
    for name, weight in model.named_weights().items():
        if weight.ndim == 1:
            weight[...] += draw.uniform(0.0 if name.endswith("var") else -0.3, 0.3, weight.shape).astype(weight.dtype)


def not_stepwise(model: Layer) -> bool:
    """Whether a model needs whole sequences."""
    return (
        model.reads_ahead
        or model.changes_steps
        or any(isinstance(layer, Reverse) for layer in model.walk())
        or any(isinstance(layer, Last) and layer.bidirectional for layer in model.walk())
    )


class Magnitude(Layer):
    """A layer of a reader's own: the size of complex numbers, real parts first."""

    timeless = True

    def __init__(self, size: int) -> None:
        self.input_size, self.output_size = 2 * size, size

    def apply(self, x: Any, state: Any, run: Any) -> Result:
        a, b = np.split(x, 2, axis=-1)
        return Result(np.sqrt(a * a + b * b), None, lambda *_: (None, None), {})


def branched(*, bidirectional: bool) -> Case:
    """Residual sums, products and values side by side."""
    layers = {
        "gru": GRU(3, 3),
        "sum": Combine(),
        "gate": Sequential(Linear(3, 3), Activation("sigmoid")),
        "product": Combine("product"),
        "lstm": LSTM(3, 4, bidirectional=bidirectional),
        "beside": Concatenate(),
        "last": Last(),
        "mean": Combine("mean"),
        "first": Linear(3, 2),
        "second": Linear(11 if bidirectional else 7, 2),
        "lasts": Last(),
    }
    calls = [("gru", "x"), ("sum", "x", "gru"), ("gate", "x"), ("product", "sum", "gate", "x"), ("lstm", "product")]
    calls += [("beside", "lstm", "x"), ("last", "beside"), ("second", "last"), ("lasts", "sum"), ("first", "lasts")]
    calls += [("mean", "first", "second")]
    made = [Call(name, name, reads) for name, *reads in calls]
    model = LayerGraph([Entry("x", 3)], layers, made, ["mean"]).init(4, backend="numpy")
    return Case(model, rows(model, 9))


def at_limits(function: str) -> Case:
    """A function of ``Activation`` at NaN, infinities, zeros and where it or exp overflows or vanishes."""
    model = Sequential(Linear(1, 1), Activation(function)).init(0, backend="numpy")
    model.named_weights()["0.W"][...] = 1
    model.named_weights()["0.b"][...] = 0
    special = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-30, -1e-8, 3e38, -3e38, 88.0, -88.0, -104.0, 17.0, -0.3, 5.9]
    return Case(model, np.array(special, np.float32)[:, None])


def flat() -> Case:
    """Layers that need a number of steps."""
    model = Sequential(Conv1d(4, 6, 3), Flatten(7, 6), Linear(42, 3)).init(0, backend="numpy")
    return Case(model, rows(model, 9))

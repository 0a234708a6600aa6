"""Every gradient by complex step, by central differences and by the adjoint identity."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from tiers import either

from minirnn import (
    GRU,
    LSTM,
    RNN,
    Activation,
    AvgPool1d,
    Bidirectional,
    Conv1d,
    Dropout,
    Embedding,
    Flatten,
    GlobalAvgPool1d,
    GlobalMaxPool1d,
    Last,
    LayerNorm,
    Linear,
    MaxPool1d,
    PReLU,
    Recurrent,
    Reverse,
    Sequential,
    cross_entropy,
)
from minirnn.cells import LSTMCell, TanhCell, sigmoid
from minirnn.core.backend import Array
from minirnn.core.layer import Layer
from minirnn.testing import GradientError, check_adjoint, check_gradients, hessian_vector_product
from minirnn.testing.strategies import Case, Chain, cases, chains

RNG = np.random.default_rng(7)
FLOATS = RNG.normal(size=(4, 3, 2))
INDICES = RNG.integers(0, 5, (4, 3))


@given(either())
def test_every_recurrent_layer_by_complex_step(case: Case) -> None:
    check_gradients(case.model, case.x, case.state, lengths=case.lengths, methods=("complex step",))


@settings(max_examples=10)
@given(either(largest=3, num_layers=2))
def test_every_recurrent_layer_by_central_differences(case: Case) -> None:
    check_gradients(case.model, case.x, case.state, lengths=case.lengths, methods=("difference",), entries=20)


@given(either(largest=12))
def test_adjoint_identity_at_larger_shapes(case: Case) -> None:
    check_adjoint(case.model, case.x, case.state, lengths=case.lengths, tolerance=1e-12)


@given(chains())
def test_layers_around_a_recurrence_by_complex_step(case: Chain) -> None:
    check_gradients(case.model, case.x, case.state, lengths=case.lengths, methods=("complex step",))


@pytest.mark.slow
@settings(max_examples=10)
@given(chains(largest=3))
def test_layers_around_a_recurrence_by_central_differences(case: Chain) -> None:
    check_gradients(case.model, case.x, case.state, lengths=case.lengths, methods=("difference",), entries=20)


@given(chains(largest=8))
def test_adjoint_identity_of_layers_around_a_recurrence(case: Chain) -> None:
    check_adjoint(case.model, case.x, case.state, lengths=case.lengths, tolerance=1e-12)


def tied() -> Layer:
    embedding = Embedding(5, 3)
    return Sequential(embedding, GRU(2 + 1, 3), Linear(3, 5, tie=embedding))


MODELS: dict[str, tuple[Callable[[], Layer], Array]] = {
    "linear": (lambda: Linear(2, 3), FLOATS),
    "linear without bias": (lambda: Linear(2, 3, bias=False), FLOATS),
    "embedding": (lambda: Embedding(5, 3), INDICES),
    "dropout": (lambda: Dropout(0.4), FLOATS),
    "locked dropout": (lambda: Dropout(0.4, locked=True), FLOATS),
    "last": (Last, FLOATS),
    "last, both ends": (lambda: Last(bidirectional=True), FLOATS),
    "many to one": (lambda: Sequential(LSTM(2, 2, bidirectional=True), Last(bidirectional=True), Linear(4, 2)), FLOATS),
    "language model": (lambda: Sequential(Embedding(5, 2), LSTM(2, 3, 2, dropout=0.3), Linear(3, 5)), INDICES),
    "locked language model": (
        lambda: Sequential(
            *(Embedding(5, 3), Dropout(0.3, locked=True), LSTM(3, 3, 2, dropout=0.3, locked=True)),
            *(Dropout(0.4, locked=True), Linear(3, 5)),
        ),
        INDICES,
    ),
    "regularised": (
        lambda: Sequential(
            LSTM(2, 3, 2, bidirectional=True, dropout=0.3, locked=True, weight_dropout=0.3, zoneout=(0.2, 0.5)),
            GRU(6, 2, weight_dropout=0.4, zoneout=0.3, trainable_state=True),
        ),
        FLOATS,
    ),
    "one-hot": (lambda: Sequential(GRU(5, 3, trainable_state=True), Dropout(0.2), Linear(3, 5)), INDICES),
    "tied": (tied, INDICES),
    "bidirectional of a stack": (lambda: Bidirectional(Sequential(RNN(2, 3), Linear(3, 2))), FLOATS),
    "functions": (
        lambda: Sequential(Linear(2, 3), Activation("gelu"), GRU(3, 3), Activation("scaled_tanh", 1.7, 0.6), Last()),
        FLOATS,
    ),
    "softmax": (lambda: Sequential(RNN(2, 3), Activation("softmax")), FLOATS),
    "function of an input": (lambda: Activation("mish"), FLOATS),
    "reverse": (lambda: Sequential(Reverse(), LSTM(2, 3), Reverse(), GRU(3, 2)), FLOATS),
    "sum of two": (lambda: Bidirectional(GRU(2, 3), LSTM(2, 3), merge="sum"), FLOATS),
    "product of two": (lambda: Bidirectional(GRU(2, 3), Linear(2, 3), merge="mul"), FLOATS),
    "mean of two": (lambda: Bidirectional(RNN(2, 2), Linear(2, 2), merge="ave"), FLOATS),
    "ends of two": (
        lambda: Sequential(Bidirectional(Sequential(LSTM(2, 3), Last(), Linear(3, 4))), Linear(8, 2)),
        FLOATS,
    ),
    "product of two ends": (lambda: Bidirectional(Sequential(GRU(2, 3), Last()), merge="mul"), FLOATS),
    "layer norm": (lambda: Sequential(LayerNorm(2), GRU(2, 3), LayerNorm(3, bias=False), Linear(3, 2)), FLOATS),
    "trained slopes": (lambda: Sequential(PReLU(), RNN(2, 3), PReLU(3)), FLOATS),
    "convolution": (lambda: Sequential(Conv1d(2, 4, 3, 2, padding=1, groups=2), LSTM(4, 2)), FLOATS),
    "causal convolution": (lambda: Conv1d(2, 3, 2, padding="causal", dilation=2, bias=False), FLOATS),
    "largest of a window": (lambda: Sequential(MaxPool1d(2, 1, padding=(0, 1)), GRU(2, 3)), FLOATS),
    "mean of a window": (lambda: AvgPool1d(2, 2, padding=1), FLOATS),
    "mean of what there is": (lambda: AvgPool1d(3, 1, "same", count_padding=False), FLOATS),
    "largest of all": (lambda: Sequential(LSTM(2, 3, bidirectional=True), GlobalMaxPool1d(), Linear(6, 2)), FLOATS),
    "mean of all": (lambda: Sequential(GRU(2, 3), GlobalAvgPool1d()), FLOATS),
    "nested": (
        lambda: Sequential(Sequential(GRU(2, 2, reset="before")), Bidirectional(LSTM(2, 2), LSTM(2, 2))),
        FLOATS,
    ),
}


@pytest.mark.parametrize("lengths", [None, (4, 0, 2)], ids=["whole", "lengths"])
@pytest.mark.parametrize("name", MODELS)
def test_every_composition(name: str, lengths: Any) -> None:
    make, x = MODELS[name]
    model = make().init(3, dtype="float64")
    report = check_gradients(model, x, lengths=lengths)
    assert report.error("complex step") < 1e-13
    y, _, backward = model.forward(x, lengths=lengths)
    backward(np.ones_like(y), keep=True)
    once = {name: g.copy() for name, g in model.named_grads().items()}
    backward(np.ones_like(y))
    for name, g in model.named_grads().items():  # gradients add up
        np.testing.assert_allclose(g, 2 * once[name], rtol=1e-13, atol=1e-14, err_msg=name)
    check_adjoint(model, x, lengths=lengths, tolerance=1e-13)


def test_flattened_steps() -> None:
    model = Sequential(GRU(2, 3), Flatten(4, 3), Linear(12, 2)).init(3, dtype="float64")
    assert check_gradients(model, FLOATS).error("complex step") < 1e-13
    check_adjoint(model, FLOATS, tolerance=1e-13)


def test_a_float32_model_is_checked_at_its_own_weights() -> None:
    model = GRU(2, 3).init(0)
    assert check_gradients(model, FLOATS.astype(np.float32)).ok
    assert model.weights.dtype == np.float32
    assert not model.grads.any()


def test_hessian_vector_product_agrees_with_differences_of_gradients() -> None:
    model = Sequential(Embedding(5, 2), LSTM(2, 3), Linear(3, 5)).init(1, dtype="float64")
    targets = RNG.integers(0, 5, INDICES.shape)
    vector = RNG.normal(size=model.weights.shape)

    def loss(y: Array) -> tuple[Any, Array]:
        return cross_entropy(y, targets)

    def gradient(epsilon: float) -> Array:
        moved = model.to()
        moved.weights += epsilon * vector
        y, _, backward = moved.forward(INDICES)
        backward(loss(y)[1])
        return moved.grads

    product = hessian_vector_product(model, INDICES, vector, loss)
    np.testing.assert_allclose(product, (gradient(1e-5) - gradient(-1e-5)) / 2e-5, atol=1e-8)


def test_hessian_is_symmetric_to_rounding() -> None:
    model = GRU(2, 3, bidirectional=True).init(1, dtype="float64")
    u, v = RNG.normal(size=(2, model.weights.size))

    def loss(y: Array) -> tuple[Any, Array]:
        return (y**3).sum() / 3, y**2

    Hu, Hv = (hessian_vector_product(model, FLOATS, d, loss, lengths=[4, 2, 0]) for d in (u, v))
    np.testing.assert_allclose(u @ Hv, v @ Hu, rtol=1e-12)
    with pytest.raises(ValueError, match="vector must have the shape"):
        hessian_vector_product(model, FLOATS, u[:-1], loss)


class _Reset:
    """First stage of ``Peeping``: r = σ(p + q + bias inside q + w h), a = r h."""

    gates = ("r",)
    recurrent_bias = ("r",)
    units = ("w",)
    saves = ("r", "h")

    @staticmethod
    def step(p: Array, q: Array, state: tuple[Array, ...], w: Array) -> Any:
        (h,) = state
        r = sigmoid(p + q + w * h)
        return (r * h, h), (r, h)

    @staticmethod
    def unstep(dstate: tuple[Array, ...], saved: tuple[Array, ...], w: Array) -> Any:
        da, dh = dstate
        r, h = saved
        d = da * h * r * (1 - r)
        return d, d, (dh + da * r + d * w,), d * h


class _Mix:
    """Second stage: h' = tanh(p + q) + v (1 - u) h, with two per-unit weights and a bias inside q."""

    gates = ("n",)
    recurrent_bias = ("n",)
    units = ("v", "u")
    saves = ("n", "h")

    @staticmethod
    def step(p: Array, q: Array, state: tuple[Array, ...], v: Array, u: Array) -> Any:
        _, h = state
        n = np.tanh(p + q)
        return (n + v * (1 - u) * h,), (n, h)

    @staticmethod
    def unstep(dstate: tuple[Array, ...], saved: tuple[Array, ...], v: Array, u: Array) -> Any:
        (dh1,) = dstate
        n, h = saved
        da = dh1 * (1 - n * n)
        return da, da, (None, dh1 * v * (1 - u)), dh1 * (1 - u) * h, -dh1 * v * h


class Peeping:
    """A cell with all that the protocol allows: two stages, per-unit weights and recurrent biases in both."""

    state = ("h",)
    stages = (_Reset, _Mix)


@given(cases([Peeping]))
def test_a_cell_with_stages_units_and_recurrent_biases(case: Case) -> None:
    names = set(case.model.named_weights())
    assert {"0.br", "0.bn", "0.w", "0.v", "0.u"} <= names
    check_gradients(case.model, case.x, case.state, lengths=case.lengths, methods=("complex step",))


class Wavering(TanhCell):
    """A right cell that returns dp and dq as one array or as two, by turns."""

    calls = 0

    @staticmethod
    def unstep(dstate: tuple[Array, ...], saved: tuple[Array, ...]) -> tuple[Any, ...]:
        Wavering.calls += 1
        dp, _, rest = TanhCell.unstep(dstate, saved)
        return dp, dp.copy() if Wavering.calls % 3 else dp, rest


def test_a_cell_may_return_one_array_for_dp_and_dq_or_two() -> None:
    check_gradients(Recurrent(Wavering, 2, 3).init(0, backend="numpy"), FLOATS)


class Forgetful(LSTMCell):
    """An LSTM whose direct path is half of what it should be."""

    @staticmethod
    def unstep(dstate: tuple[Array, ...], saved: tuple[Array, ...]) -> tuple[Any, ...]:
        dp, dq, (dh, dc) = LSTMCell.unstep(dstate, saved)
        return dp, dq, (dh, dc / 2)


class Silent(LSTMCell):
    """An LSTM whose gradient is not a number."""

    @staticmethod
    def unstep(dstate: tuple[Array, ...], saved: tuple[Array, ...]) -> tuple[Any, ...]:
        dp, dq, rest = LSTMCell.unstep(dstate, saved)
        return dp * np.nan, dq, rest


@pytest.mark.parametrize("cell", [Forgetful, Silent])
def test_a_wrong_cell_is_found_by_every_method(cell: Any) -> None:
    layer = Recurrent(cell, 2, 2).init(0, dtype="float64", backend="numpy")
    for method in ("complex step", "difference"):
        with pytest.raises(GradientError, match="WRONG"):
            check_gradients(layer, FLOATS, methods=(method,))
    with pytest.raises(GradientError, match="differ by"):
        check_adjoint(layer, FLOATS)
    report = check_gradients(layer, FLOATS, raises=False)
    assert not report.ok
    assert "worst entries" in str(report)
    row = next(r for r in report.rows if not r.ok)
    (index, gradient, derivative), *_ = row.worst
    assert len(index) == len(row.shape)
    assert not abs(gradient - derivative) <= row.tolerance


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ValueError, match="methods must be of complex step, difference"):
        check_gradients(Linear(2, 2).init(), FLOATS, methods=("autograd",))

"""What backward reads again, x and the weights: written in between, it is an error and not a wrong gradient."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minirnn import GRU, LSTM, RNN, Activation, Embedding, Layer, Linear, Recurrent, Sequential
from minirnn.cells import GRUBeforeCell
from minirnn.core import unchanged
from minirnn.core.backend import Array

X_CHANGED = r"^x was changed in place between forward and backward, which reads it again: .* give forward a copy of x$"
rng = np.random.default_rng(0)
MODELS: dict[str, Callable[[], Layer]] = {
    "rnn": lambda: RNN(5, 4),
    "gru": lambda: GRU(5, 4, num_layers=2, bidirectional=True),
    "lstm": lambda: LSTM(5, 4, trainable_state=True),
    "own cell": lambda: Recurrent(GRUBeforeCell, 5, 4),
    "linear": lambda: Linear(5, 4),
    "activation": lambda: Activation("relu"),
    "network": lambda: Sequential(Linear(5, 3), GRU(3, 4), Linear(4, 2)),
}


def floats(*shape: int) -> Array:
    return rng.normal(size=shape)


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("shape", [(1, 1, 5), (9, 1, 5), (1, 7, 5), (40, 6, 5)])
def test_a_buffer_of_x_that_is_used_again_is_noticed(make: Callable[[], Layer], shape: tuple[int, ...]) -> None:
    model, x, before = make().init(backend="numpy", dtype="float64"), floats(*shape), None
    y, _, backward = model.forward(x)
    before = x.copy()
    x[...] = floats(*shape)
    with pytest.raises(RuntimeError, match=X_CHANGED):
        backward(np.ones_like(y))
    assert not model.grads.any()
    x[...] = before  # as if nothing had been
    backward(np.ones_like(y))
    found = model.grads.copy()
    model.zero_grads()
    _, _, backward = model.forward(before)
    backward(np.ones_like(y))
    assert (model.grads == found).all()


@pytest.mark.parametrize("shape", [(1, 1), (35, 32), (200, 3), (1, 50)])
def test_a_buffer_of_indices_that_is_used_again_is_noticed(shape: tuple[int, int]) -> None:
    model, x = Sequential(Embedding(30, 3), GRU(3, 4)).init(backend="numpy"), rng.integers(0, 29, shape)
    y, _, backward = model.forward(x)
    x += 1
    with pytest.raises(RuntimeError, match=X_CHANGED):
        backward(np.ones_like(y))


def test_one_hot_rows_are_seen_whole() -> None:
    """Of vectors of zeros with a one each, single entries would mostly be zeros before and after."""
    model, x = GRU(1000, 4).init(backend="numpy"), np.zeros((6, 2, 1000), "float32")
    x[:, :, 123] = 1
    y, _, backward = model.forward(x)
    x[...] = np.roll(x, 1, axis=2)
    with pytest.raises(RuntimeError, match=X_CHANGED):
        backward(np.ones_like(y))


@pytest.mark.parametrize("where", [0, -1])
def test_the_first_and_the_last_step_are_looked_at(where: int) -> None:
    for T in range(1, 5):
        model, x = GRU(5, 4).init(backend="numpy", dtype="float64"), floats(T, 3, 5)
        y, _, backward = model.forward(x)
        x[where] += 1
        with pytest.raises(RuntimeError, match=X_CHANGED):
            backward(np.ones_like(y))


def network() -> Sequential:
    embedding = Embedding(30, 6)
    return Sequential(embedding, GRU(6, 6, num_layers=2), Linear(6, 30, tie=embedding)).init(
        backend="numpy", dtype="float64"
    )


def test_any_weight_that_is_written_by_hand_is_named() -> None:
    x = rng.integers(0, 30, (7, 3))
    for name in network().named_weights():
        model = network()
        y, _, backward = model.forward(x)
        w = model.named_weights()[name]
        before = w.copy()
        w += 0.01
        with pytest.raises(RuntimeError, match=rf"^{name} was written between forward and backward, which reads the"):
            backward(np.ones_like(y))
        assert not model.grads.any()
        w[...] = before
        backward(np.ones_like(y))


def test_a_step_by_hand_is_noticed() -> None:
    model, x = network(), rng.integers(0, 30, (7, 3))
    for _ in range(2):
        y, _, backward = model.forward(x)
        backward(y)
        y, _, backward = model.forward(x)
        model.weights -= 0.1 * model.grads
        with pytest.raises(RuntimeError, match=r"^0\.W, 1\.0\.W, .* were written between forward and backward"):
            backward(y)


def test_of_a_part_its_own_weights_and_those_it_is_tied_to_count() -> None:
    model = network()
    h = floats(7, 3, 6)
    y, _, backward = model[2].forward(h)
    model.named_weights()["1.0.W"] = 0
    backward(y)
    y, _, backward = model[2].forward(h)
    model.named_weights()["0.W"] = 0
    with pytest.raises(RuntimeError, match=r"^0\.W was written"):
        backward(y)


# ---------------------------------------------------------------------- all entries, where they are asked for


@pytest.mark.parametrize("value", ["1", "yes"])
def test_with_the_environment_variable_every_entry_counts(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIRNN_CHECK_INPUTS", value)
    model, x = Sequential(GRU(3, 20), Linear(20, 2)).init(backend="numpy", dtype="float64"), floats(7, 5, 3)
    y, _, backward = model.forward(x)
    for place in np.ndindex(x.shape):
        x[place] += 1e-9
        with pytest.raises(RuntimeError, match=X_CHANGED):
            backward(np.ones_like(y), keep=True)
        x[place] -= 1e-9
    names = list(model.named_weights())
    for name, w in model.named_weights().items():
        for place in list(np.ndindex(w.shape))[:: 1 + w.size // 20]:
            before, w[place] = w[place], w[place] + 1e-9
            with pytest.raises(RuntimeError, match=rf"^{name} was written"):
                backward(np.ones_like(y), keep=True)
            w[place] = before
    assert names == ["0.0.W", "0.0.U", "0.0.b", "0.0.bn", "1.W", "1.b"]
    backward(np.ones_like(y))


@pytest.mark.parametrize("value", ["", "0", None])
def test_without_it_some_entries_do(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if value is None:
        monkeypatch.delenv("MINIRNN_CHECK_INPUTS", raising=False)
    else:
        monkeypatch.setenv("MINIRNN_CHECK_INPUTS", value)
    model, x = GRU(3, 20).init(backend="numpy"), np.zeros((7, 5, 3), "float32")
    assert not model.bound.checks_all
    y, _, backward = model.forward(x)
    x[3, 2] = 1  # a step between those that are compared
    backward(np.ones_like(y))


def test_a_copy_and_an_unpickled_model_ask_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    model = GRU(3, 4).init(backend="numpy")
    monkeypatch.setenv("MINIRNN_CHECK_INPUTS", "1")
    assert (model.bound.checks_all, model.to().bound.checks_all) == (False, True)


# ---------------------------------------------------------------------- what is no error


def test_inference_remembers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = GRU(3, 4).init(backend="numpy"), np.zeros((7, 5, 3), "float32")
    monkeypatch.setattr(unchanged, "sample", None)
    model(x)
    with pytest.raises(TypeError):
        model.forward(x)


@pytest.mark.parametrize("make", [lambda: LSTM(5, 4, num_layers=2), lambda: Recurrent(GRUBeforeCell, 5, 4)])
@pytest.mark.parametrize("every", [None, 2])
def test_a_state_may_be_written(make: Callable[[], Layer], every: int | None) -> None:
    def gradients(*, write: bool) -> list[Array]:
        model, x = make().init(backend="numpy", dtype="float64"), np.ones((7, 3, 5))
        state: Any = model(x)[1]
        y, _, backward = model.forward(x, state, checkpoint_every=every)
        for a in state if isinstance(state, tuple) else (state,):
            a[...] = 7 if write else a
        dx, dstate = backward(np.ones_like(y))
        return [model.grads, np.asarray(dx), *(dstate if isinstance(dstate, tuple) else (dstate,))]

    assert all((a == b).all() for a, b in zip(gradients(write=True), gradients(write=False), strict=True))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_a_numeric_derivative_leaves_behind_is_rounding(dtype: str) -> None:
    model, x = GRU(5, 4).init(backend="numpy", dtype=dtype), floats(7, 3, 5).astype(dtype)
    y, _, backward = model.forward(x)
    for a in (x, model.weights):
        for e in (1e-2, 1e-3):
            a[...] += e
            a[...] -= e
    backward(np.ones_like(y))


def test_nan_is_what_it_was() -> None:
    model, x = GRU(5, 4).init(backend="numpy"), np.full((7, 3, 5), np.nan, "float32")
    x[0], x[1] = np.inf, -np.inf
    model.weights[3] = np.nan
    with np.errstate(invalid="ignore"):
        y, _, backward = model.forward(x)
        x[2] = -x[2]  # another NaN
        backward(np.ones_like(y))
        y, _, backward = model.forward(x)
    x[0] = 1
    with pytest.raises(RuntimeError, match=X_CHANGED):
        backward(np.ones_like(y))


def test_lists_and_views_are_as_any_x() -> None:
    model, x = GRU(5, 4).init(backend="numpy", dtype="float64"), floats(6, 14, 5)
    for view in (x[::2, ::-3], x.transpose(1, 0, 2), x.tolist(), x[:0], x[:, :0]):
        if len(view):
            y, _, backward = model.forward(view)
            backward(np.ones_like(y))


def test_a_y_that_backward_needs_cannot_be_written() -> None:
    """As in ``p -= onehot``, which would leave the gradient of another p."""
    for name in ("tanh", "sigmoid", "elu", "selu", "exponential", "softmax", "log_softmax"):
        model, x = Sequential(Linear(5, 4), Activation(name)).init(backend="numpy"), floats(7, 3, 5).astype("float32")
        p, _, backward = model.forward(x)
        with pytest.raises(ValueError, match="read-only"):
            p -= 1
        backward(p)
        assert model(x)[0].flags.writeable


@pytest.mark.parametrize("name", ["relu", "gelu", "softplus", "silu", "softsign", "linear", "hard_sigmoid"])
def test_a_y_that_it_does_not_need_may_be(name: str) -> None:
    model, x = Sequential(Linear(5, 4), Activation(name)).init(backend="numpy", dtype="float64"), floats(7, 3, 5)
    y, _, backward = model.forward(x)
    backward(np.ones_like(y))
    wanted = model.grads.copy()
    model.zero_grads()
    y, _, backward = model.forward(x)
    y[...] = 5
    backward(np.ones_like(y))
    assert (model.grads == wanted).all()

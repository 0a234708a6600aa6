"""Layers at their edges: states, lengths, copies, freezing, dropout, and what a reader sees."""

import copy
import pickle
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirnn import (
    GRU,
    LSTM,
    RNN,
    Bidirectional,
    Dropout,
    Embedding,
    Last,
    Linear,
    Recurrent,
    Sequential,
    cross_entropy,
)
from minirnn.cells import GRUCell
from minirnn.core.backend import NUMPY, get_backend
from minirnn.core.noise import keep_mask

RNG = np.random.default_rng(3)
X = RNG.normal(size=(4, 3, 2))
BACKEND = get_backend("auto").name


def lm() -> Sequential:
    return Sequential(Embedding(5, 2), GRU(2, 3, 2, dropout=0.5), Linear(3, 5)).init(0, dtype="float64")


def test_states_have_torchs_shape() -> None:
    y, (h, c) = LSTM(2, 5, 3, bidirectional=True).init()(X.astype("f4"))
    assert y.shape == (4, 3, 10)
    assert h.shape == c.shape == (6, 3, 5)
    np.testing.assert_array_equal(h[4], y[-1, :, :5])  # last layer, forward: the last step
    np.testing.assert_array_equal(h[5], y[0, :, 5:])  # last layer, reverse: the first


def test_a_sequential_state_has_one_entry_a_layer() -> None:
    model = lm()
    x = RNG.integers(0, 5, (4, 3))
    _, state = model(x)
    assert [type(s) for s in state] == [type(None), np.ndarray, type(None)]
    np.testing.assert_array_equal(model(x, state)[0], model(x, (None, state[1], None))[0])


@pytest.mark.parametrize("kind", [RNN, GRU, LSTM])
def test_one_step_one_unit_and_no_rows(kind: Any) -> None:
    model = kind(1, 1, 2, bidirectional=True).init(0, dtype="float64")
    y, state, backward = model.forward(np.ones((1, 1, 1)))
    dx, _ = backward(np.ones_like(y), state)
    assert dx is not None
    assert dx.shape == (1, 1, 1)
    model.zero_grads()
    y, state, backward = model.forward(np.ones((3, 0, 1)), lengths=[])
    dx, dstate = backward(y, state)
    assert y.shape == (3, 0, 2)
    assert dx is not None
    assert dx.shape == (3, 0, 1)
    assert np.shape(dstate) == np.shape(state)
    assert not model.grads.any()
    assert model(np.zeros((3, 0), int))[0].shape == (3, 0, 2)


def test_what_backward_needs_of_y_cannot_be_written() -> None:
    y, _, _ = GRU(2, 3).init(dtype="float64").forward(X)
    with pytest.raises(ValueError, match="read-only"):
        y *= 0


def test_what_forward_saved_is_read_by_name_until_backward_releases_it() -> None:
    model = Sequential(LSTM(2, 3, bidirectional=True), Linear(6, 2)).init(0, dtype="float64")
    y, _, backward = model.forward(X)
    gates = backward.saved
    assert {"0.0.i", "0.0.f", "0.0.g", "0.0.o", "0.0.c", "0.0.m", "0.0.reverse.i", "1.x"} <= gates.keys()
    assert gates["0.0.i"].shape == (4, 3, 3)
    np.testing.assert_allclose(gates["0.0.o"] * gates["0.0.m"], gates["1.x"][:, :, :3])  # equation (7)
    backward(y)
    with pytest.raises(RuntimeError, match="released"):
        _ = backward.saved
    with pytest.raises(RuntimeError, match="keep=True"):
        backward(y)


def test_memory_is_released_by_backward_and_never_taken_by_inference() -> None:
    model = LSTM(8, 64).init(0, backend="numpy")
    x = np.zeros((50, 16, 8), "f4")
    needed = 50 * 16 * 64 * 4 * 6  # six saved quantities of every step
    tracemalloc.start()
    try:
        y, _, backward = model.forward(x)
        held = tracemalloc.get_traced_memory()[0]
        backward(y)
        released = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        model(x)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert held > needed
    assert released < needed / 4
    assert peak < needed


def test_what_is_saved_of_a_reverse_direction_is_in_the_order_of_x() -> None:
    model = GRU(2, 3, bidirectional=True).init(0, dtype="float64")
    y, _, backward = model.forward(X, lengths=[4, 2, 3])
    z, n, h = (backward.saved[f"0.reverse.{name}"] for name in "znh")
    state = (1 - z) * n + z * h  # equation (5), at each step of x
    for b, length in enumerate([4, 2, 3]):
        np.testing.assert_allclose(state[:length, b], y[:length, b, 3:], rtol=1e-14)


def test_the_bidirectional_combinator_saves_in_the_order_of_x_too() -> None:
    pair = Bidirectional(GRU(2, 3)).init(0, dtype="float64")
    y, _, backward = pair.forward(X, lengths=[4, 2, 3])
    z, n, h = (backward.saved[f"reverse.0.{name}"] for name in "znh")
    for b, length in enumerate([4, 2, 3]):
        np.testing.assert_allclose(((1 - z) * n + z * h)[:length, b], y[:length, b, 3:], rtol=1e-14)


def test_the_callers_arrays_are_apart_from_what_a_pass_returns_and_keeps() -> None:
    for training in (True, False):
        dropout, x = Dropout(0.0).init(dtype="float64"), X.copy()
        y = dropout.forward(x)[0] if training else dropout(x)[0]
        y[...] = 0
        np.testing.assert_array_equal(x, X)
    y, _, backward = dropout.forward(x)
    dy = np.ones_like(y)
    dx, _ = backward(dy)
    assert dx is not None
    dx[...] = 5
    assert (dy == 1).all()
    lstm, state = LSTM(2, 3).init(0, dtype="float64"), (np.full((1, 3, 3), 0.3), np.full((1, 3, 3), 0.4))
    y, _, backward = lstm.forward(X, state)
    expected = backward(np.ones_like(y), keep=True)[0]
    for part in state:
        part[...] = 9
    np.testing.assert_array_equal(backward(np.ones_like(y))[0], expected)


def test_inference_equals_training_without_dropout_and_draws_no_mask() -> None:
    model = lm()
    x = RNG.integers(0, 5, (4, 3))
    calls = model.bound.calls
    y = model(x)[0]
    assert model.bound.calls == calls
    twin = Sequential(Embedding(5, 2), GRU(2, 3, 2), Linear(3, 5)).init(0, dtype="float64")
    np.testing.assert_array_equal(twin.forward(x)[0], y)


# ---------------------------------------------------------------------- weights


def test_flat_vectors_and_views_are_one_memory_with_gaps_at_zero() -> None:
    model = lm()
    assert set(model.named_weights()) == {
        "0.W",
        *(f"1.{k}.{name}" for k in (0, 1) for name in ("W", "U", "b", "bn")),
        "2.W",
        "2.b",
    }
    model.named_weights()["1.0.U"][0, 0] = 42
    assert (model.weights == 42).sum() == 1
    used = sum(w.size for w in model.named_weights().values())
    assert used == model.bound.count < model.weights.size
    model.weights[...] = 1
    assert sum(w.sum() for w in model.named_weights().values()) == used
    assert all(w.ctypes.data % 64 == 0 for w in model.named_weights().values())
    model.weights -= 1  # in place: the vectors never move
    assert not model.named_weights()["2.b"].any()


def test_gates_are_views_under_the_chapters_names() -> None:
    model = Sequential(GRU(2, 3), LSTM(3, 3)).init(0)
    gates = model.named_weights(gates=True)
    assert {"0.0.W_xr", "0.0.W_xz", "0.0.W_xh", "0.0.W_hz", "0.0.b_z", "0.0.bn", "1.0.W_xc", "1.0.b_f"} <= gates.keys()
    assert "0.0.W" not in gates
    gates["0.0.b_z"][...] = 7
    np.testing.assert_array_equal(model.named_weights()["0.0.b"][3:6], 7)
    model.named_weights()["0.0.b_z"] = 8  # found though not listed, and assigned in place
    model.named_weights()["1.0.b"] = np.arange(12)
    np.testing.assert_array_equal(gates["0.0.b_z"], 8)
    np.testing.assert_array_equal(gates["1.0.b_c"], [6, 7, 8])
    with pytest.raises(KeyError, match=r"0\.0\.b_q is not one of 0\.0\.W"):
        model.named_weights()["0.0.b_q"] = 1
    assert gates.keys() == model.named_grads(gates=True).keys()
    assert sum(w.size for w in gates.values()) == model.bound.count


def test_a_layer_of_a_model_has_its_part_of_the_vectors() -> None:
    model = lm()
    part = model[1]
    assert set(part.named_weights()) == {f"{k}.{name}" for k in (0, 1) for name in ("W", "U", "b", "bn")}
    part.weights[...] = 0
    assert not model.named_weights()["1.1.U"].any()
    assert model.named_weights()["0.W"].all()
    assert model.named_weights()["2.W"].all()


def test_parts_and_directions_have_their_own_names_only() -> None:
    layer = GRU(2, 3, bidirectional=True).init(0, dtype="float64")
    ahead, back = layer.directions
    assert list(ahead.named_weights()) == list(back.named_weights()) == ["W", "U", "b", "bn"]
    ahead.weights[...] = 0
    assert not layer.named_weights()["0.W"].any()
    assert layer.named_weights()["0.reverse.W"].all()
    back.zero_grads()


def test_a_second_init_draws_into_the_same_vectors() -> None:
    model = lm()
    views, before = model.named_weights(), model.weights.copy()
    y, _, backward = model.forward(np.zeros((4, 3), int))
    model.init(1, dtype="float64")
    assert not np.array_equal(model.weights, before)
    np.testing.assert_array_equal(views["2.b"], model.named_weights()["2.b"])
    with pytest.raises(RuntimeError, match="weights have changed"):
        backward(y)
    model.init(0, dtype="float64")
    np.testing.assert_array_equal(model.weights, before)
    y, _, backward = model.forward(np.zeros((4, 3), int))
    model.init(0, dtype="float32")  # other vectors: what is pending on the old ones is an error too
    with pytest.raises(RuntimeError, match="weights have changed"):
        backward(y)


def test_a_layer_belongs_to_one_model() -> None:
    first = Sequential(GRU(3, 4), Linear(4, 2)).init(0)
    with pytest.raises(ValueError, match="part of a larger one"):
        first[1].init(5)
    part = Linear(3, 3)
    with pytest.raises(ValueError, match="in two places"):
        Sequential(Sequential(part), part).init(0)
    encoder = GRU(3, 4)
    one, other = Sequential(encoder, Linear(4, 2)), Sequential(encoder, Linear(4, 7))
    one.init(0)
    with pytest.raises(ValueError, match=r"GRU\(3, 4\) is part of another model already"):
        other.init(0)


def test_gaps_stay_zero_when_the_flat_vectors_are_assigned() -> None:
    model = lm()
    model.weights = np.ones(model.weights.shape)
    model.grads = np.ones(model.weights.shape)
    assert model.weights.sum() == model.grads.sum() == model.bound.count


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), lambda m: m.to()])  # noqa: S301 - our own bytes
def test_a_copy_is_whole_and_apart(clone: Any) -> None:
    model = lm().freeze("0")
    x = RNG.integers(0, 5, (4, 3))
    model.forward(x)  # whatever it has prepared for such an x is its own
    twin = clone(model)
    np.testing.assert_array_equal(twin(x)[0], model(x)[0])
    twin.named_weights()["2.b"][...] += 1
    assert not np.array_equal(twin(x)[0], model(x)[0])
    assert twin.bound.frozen == {"0.W"}
    assert all(w.ctypes.data % 64 == 0 for w in twin.named_weights().values())
    y, _, backward = twin.forward(x)
    backward(y)
    assert twin.grads.any()
    assert not model.grads.any()


def test_to_another_dtype_and_back() -> None:
    model = lm()
    assert model.to(dtype="float32").weights.dtype == np.float32
    np.testing.assert_array_equal(
        model.to(backend="numpy", dtype="complex128").to(dtype="float64").weights, model.weights
    )
    huge = model.to()
    huge.weights[0] = 1e300
    with pytest.raises(ValueError, match="too large for float32"):
        huge.to(dtype="float32")
    strange = model.to(backend="numpy", dtype="complex128")
    strange.weights[0] += 1j
    with pytest.raises(ValueError, match="imaginary"):
        strange.to(dtype="float64")


def test_schemes() -> None:
    model = Sequential(LSTM(30, 40), Linear(40, 30))
    torchs = model.init(0, dtype="float64").named_weights()
    for name, width in (("0.0.W", 40), ("0.0.U", 40), ("0.0.b", 40), ("1.W", 40), ("1.b", 40)):
        assert 0.9 * width**-0.5 < abs(torchs[name]).max() <= width**-0.5
    chapter = model.init(0, scheme="normal", dtype="float64").named_weights()
    np.testing.assert_allclose([chapter[n].std() for n in ("0.0.W", "0.0.U", "1.W")], 0.01, rtol=0.1)
    assert not chapter["0.0.b"].any()
    assert not chapter["1.b"].any()
    orthogonal = model.init(0, scheme="orthogonal", dtype="float64").named_weights(gates=True)
    for gate in "ifco":
        U = orthogonal[f"0.0.W_h{gate}"]
        np.testing.assert_allclose(U.T @ U, np.eye(40), atol=1e-12)
        bound = (6 / 70) ** 0.5
        assert 0.9 * bound < abs(orthogonal[f"0.0.W_x{gate}"]).max() <= bound


def test_schemes_of_a_projection() -> None:
    model = LSTM(30, 40, proj_size=25)
    torchs = model.init(0, dtype="float64").named_weights()
    for w in torchs.values():
        assert 0.9 * 40**-0.5 < abs(w).max() <= 40**-0.5
    orthogonal = model.init(0, scheme="orthogonal", dtype="float64").named_weights(gates=True)
    for gate in "ifco":
        U = orthogonal[f"0.W_h{gate}"]
        np.testing.assert_allclose(U @ U.T, np.eye(25), atol=1e-12)
    np.testing.assert_allclose(orthogonal["0.P"].T @ orthogonal["0.P"], np.eye(25), atol=1e-12)


def test_a_projection_has_torchs_shapes() -> None:
    model = LSTM(3, 5, 2, bidirectional=True, trainable_state=True, proj_size=2).init(0, backend="numba")
    shapes = {name: w.shape for name, w in model.named_weights().items()}
    assert model.output_size == 4
    assert shapes["0.W"] == (3, 20)
    assert shapes["1.reverse.W"] == (4, 20)
    assert shapes["1.reverse.U"] == (2, 20)
    assert shapes["1.reverse.P"] == (5, 2)
    assert (shapes["0.h0"], shapes["0.c0"]) == ((2,), (5,))
    y, (h, c) = model(np.zeros((7, 3, 3), "f4"))
    assert (y.shape, h.shape, c.shape) == ((7, 3, 4), (4, 3, 2), (4, 3, 5))
    words = repr(model).splitlines()
    assert words[0] == "LSTM(3, 5, num_layers=2, bidirectional=True, trainable_state=True, proj_size=2)"
    assert not any("no kernel" in line for line in words)
    assert "proj_size" not in repr(LSTM(3, 5, proj_size=0))


def test_a_projection_that_only_picks_units_is_an_lstm_of_which_those_are_fed_back() -> None:
    """An LSTM whose U reads units 1 and 3 alone is one projected to these two."""
    whole = LSTM(3, 4).init(0, backend="numpy", dtype="float64")
    whole.named_weights()["0.U"][[0, 2]] = 0
    some = LSTM(3, 4, proj_size=2).init(0, backend="numpy", dtype="float64")
    some.named_weights()["0.P"] = np.eye(4)[:, [1, 3]]
    for name in ("W", "b"):
        some.named_weights()[f"0.{name}"] = whole.named_weights()[f"0.{name}"]
    some.named_weights()["0.U"] = whole.named_weights()["0.U"][[1, 3]]
    x = np.random.default_rng(0).normal(size=(6, 2, 3))
    (y, (_, c)), (z, (_, d)) = whole(x), some(x)
    np.testing.assert_allclose(z, y[:, :, [1, 3]], rtol=1e-13)
    np.testing.assert_allclose(d, c, rtol=1e-13)


def test_frozen_weights_stay_and_an_unknown_name_is_refused() -> None:
    model = lm().freeze("1", "0.W")
    assert len(model.bound.frozen) == 9
    assert not Sequential(GRU(2, 3), Linear(3, 2)).init(0).freeze().unfreeze("1").bound.frozen & {"1.W", "1.b"}
    model.unfreeze("1.0")
    assert model.bound.frozen == {"0.W", *(f"1.1.{name}" for name in ("W", "U", "b", "bn"))}
    with pytest.raises(ValueError, match=r"no weight or layer is called '1\.2'"):
        model.freeze("1.2")


def test_trainable_initial_state_starts_at_zero_and_learns() -> None:
    model = GRU(2, 3, trainable_state=True).init(0, dtype="float64")
    np.testing.assert_array_equal(model(X)[0], GRU(2, 3).init(0, dtype="float64")(X)[0])
    y, _, backward = model.forward(X)
    _, dstate = backward(np.ones_like(y))
    np.testing.assert_allclose(model.named_grads()["0.h0"], dstate[0].sum(0))
    y, state, backward = model.forward(X, np.zeros((1, 3, 3)))
    model.zero_grads()
    backward(np.ones_like(y), state)
    assert not model.named_grads()["0.h0"].any()  # a state was given: h0 had no part


def test_tied_weights_stand_once_and_collect_both_gradients() -> None:
    embedding = Embedding(5, 3)
    model = Sequential(embedding, RNN(3, 3), Linear(3, 5, tie=embedding)).init(0, dtype="float64")
    assert list(model.named_weights()) == ["0.W", "1.0.W", "1.0.U", "1.0.b", "2.b"]
    apart = Sequential(Embedding(5, 3), RNN(3, 3), Linear(3, 5)).init(0, dtype="float64")
    for name, w in apart.named_weights().items():
        w[...] = model.named_weights()["0.W"].T if name == "2.W" else model.named_weights()[name]
    x, targets = RNG.integers(0, 5, (2, 4, 3))
    for m in (model, apart):
        y, _, backward = m.forward(x)
        backward(cross_entropy(y, targets)[1])
    both = apart.named_grads()
    np.testing.assert_allclose(model.named_grads()["0.W"], both["0.W"] + both["2.W"].T, rtol=1e-12)
    assert model.to()[2].tie is not embedding  # type: ignore[attr-defined] # a Linear


# ---------------------------------------------------------------------- dropout


@given(st.integers(0, 2**64 - 1), st.integers(0, 100), st.floats(0.05, 0.95))
def test_dropout_keeps_with_the_right_probability(seed: int, call: int, p: float) -> None:
    n = 40 * 20 * 50
    share = keep_mask(NUMPY, seed, "1.0", call, (40, 20, 50), p).mean()
    assert abs(share - (1 - p)) < 5 * (p * (1 - p) / n) ** 0.5


def test_dropout_masks_depend_on_seed_place_and_pass_but_not_on_the_shape_around_them() -> None:
    shape = (4, 6, 5)
    mask = keep_mask(NUMPY, 1, "1.0", 2, shape, 0.5)
    np.testing.assert_array_equal(keep_mask(NUMPY, 1, "1.0", 2, (3, 2, 4), 0.5), mask[:3, :2, :4])
    for other in ((2, "1.0", 2), (1, "1.1", 2), (1, "1.0", 3)):
        assert (keep_mask(NUMPY, *other, shape, 0.5) != mask).mean() > 0.3
    # no correlation between neighbours along any axis
    large = keep_mask(NUMPY, 1, "1.0", 2, (60, 60, 60), 0.5) * 2.0 - 1
    for axis in range(3):
        shifted = np.roll(large, 1, axis)
        assert abs((large * shifted).mean()) < 5 / large.size**0.5


def test_dropout_scales_selects_and_changes_from_pass_to_pass() -> None:
    model = Dropout(0.25).init(0, dtype="float64")
    x = np.full((50, 10, 20), 3.0)
    y, _, backward = model.forward(x)
    assert set(np.unique(y)) == {0.0, 4.0}
    dx, _ = backward(np.ones_like(y))
    np.testing.assert_array_equal(dx, y / 3)
    assert not np.array_equal(model.forward(x)[0], y)
    model.bound.calls = 0
    np.testing.assert_array_equal(model.forward(x)[0], y)
    np.testing.assert_array_equal(model(x)[0], x)


def test_dropout_acts_between_layers_only() -> None:
    deep = GRU(2, 3, 2, dropout=0.9).init(0, dtype="float64")
    y, _, backward = deep.forward(X)
    assert [n for n in backward.saved if "dropout" in n] == ["0.dropout.mask"]
    assert y.all()


# ---------------------------------------------------------------------- many to one


def test_last_takes_each_rows_last_valid_step() -> None:
    model = Last().init(dtype="float64")
    y, _ = model(X, lengths=[4, 0, 2])
    np.testing.assert_array_equal(y, [X[3, 0], [0, 0], X[1, 2]])
    both, _ = Last(bidirectional=True).init(dtype="float64")(X, lengths=[4, 0, 2])
    np.testing.assert_array_equal(both, [[X[3, 0, 0], X[0, 0, 1]], [0, 0], [X[1, 2, 0], X[0, 2, 1]]])


def test_last_of_both_directions_is_the_final_state() -> None:
    layer = LSTM(2, 3, bidirectional=True).init(0, dtype="float64")
    model = Sequential(layer, Last(bidirectional=True)).init(0, dtype="float64")
    y, (state, _) = model(X, lengths=[4, 1, 2])
    np.testing.assert_array_equal(y, np.concatenate([state[0][0], state[0][1]], axis=-1))


# ---------------------------------------------------------------------- what a reader sees


def test_repr_shows_layers_shapes_and_counts() -> None:
    text = repr(lm())
    for part in (
        "Sequential(",
        "(1): GRU(2, 3, num_layers=2, dropout=0.5)",
        "1.0.U",
        "(3, 9)",
        "float64",
        f"backend {BACKEND}",
    ):
        assert part in text
    assert f"{lm().bound.count:,} parameters" in text
    assert repr(Bidirectional(RNN(2, 3, nonlinearity="relu"))).count("nonlinearity='relu'") == 2
    assert repr(Linear(2, 3)).splitlines() == [
        "Linear(2, 3)",
        "  W  (2, 3)  6",
        "  b  (3,)    3",
        "  9 parameters, not allocated yet: init()",
    ]
    assert Linear(2, 3, tie=Embedding(3, 2).init()).describe() == "Linear(2, 3, tie=Embedding(3, 2))"
    assert Recurrent(GRUCell, 2, 3, dropout=0.5).describe() == "Recurrent(GRUCell, 2, 3, dropout=0.5)"

"""Masks with gaps: each row is that row without its skipped steps, forward and backward; Keras says the same."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiers import DRAWN

from minirnn import (
    GRU,
    LSTM,
    RNN,
    Activation,
    Bidirectional,
    Dropout,
    Embedding,
    Last,
    Layer,
    Linear,
    Masking,
    Recurrent,
    Reverse,
    Sequential,
)
from minirnn.core.backend import BACKENDS, Array
from minirnn.recurrent.variants import LSTMVariant
from minirnn.testing import check_adjoint, check_gradients
from minirnn.testing.strategies import layers, lengths, states

RNG = np.random.default_rng(11)
SKIP = np.array(  # steps by rows: a gap, gaps at both ends, none, all, a start only, an end only
    [
        [0, 1, 0, 1, 1, 0],
        [1, 0, 0, 1, 1, 0],
        [1, 1, 0, 1, 0, 0],
        [0, 0, 0, 1, 0, 1],
        [0, 1, 0, 1, 0, 1],
    ],
    bool,
)
FLOATS = np.where(SKIP[:, :, None], 0.0, RNG.normal(size=(5, 6, 2)))
INDICES = np.where(SKIP, 0, RNG.integers(1, 5, (5, 6)))
HOST = [name for name, backend in BACKENDS.items() if not backend.on_device]


def alone(layer: Layer, x: Array, skip: Array, state: Any, *, zero: bool) -> tuple[Array, list[Any]]:
    """y and final states of ``layer``, each row run by itself without its skipped steps."""
    T, B = skip.shape
    y, finals = np.zeros((T, B, layer.output_size or 0)), []
    for b in range(B):
        valid, row = np.flatnonzero(~skip[:, b]), slice(b, b + 1)
        start = (
            None if state is None else tuple(a[:, row] for a in state) if isinstance(state, tuple) else state[:, row]
        )
        if not valid.size:
            finals.append(start)
            continue
        own, final = layer(x[valid][:, row], start)
        finals.append(final)
        for t in range(T):
            before = np.flatnonzero(valid <= t)
            if before.size and not (zero and skip[t, b]):
                y[t, b] = own[before[-1], 0]
    return y, finals


@st.composite
def masked(draw: st.DrawFn, cells: Any = DRAWN) -> tuple[Recurrent, Array, Array, Any, Any]:
    """A layer, x, where its steps are skipped, a state and lengths."""
    layer = draw(layers(cells, dropout=False, backend="auto"))
    T, B = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    skip = rng.random((T, B)) < draw(st.sampled_from([0.2, 0.5, 0.9]))
    x = np.where(skip[:, :, None], 0.0, rng.normal(size=(T, B, layer.input_size or 1)))
    state, valid = draw(st.none() | states(layer, B)), draw(st.none() | lengths(T, B))
    return layer, x, skip, state, valid


@pytest.mark.parametrize("backend", HOST)
@given(case=masked([*DRAWN, LSTMVariant(peepholes=True)]))
def test_a_row_under_a_mask_is_that_row_without_the_skipped_steps(backend: str, case: Any) -> None:
    layer, x, skip, state, valid = case
    model = Sequential(Masking(), layer.to(backend=backend, dtype="float64"))
    past = np.zeros_like(skip) if valid is None else np.arange(len(x))[:, None] >= valid
    expected, finals = alone(layer, x, skip | past, state, zero=layer.bidirectional)
    y, (_, final) = model(x, (None, state), lengths=valid)
    np.testing.assert_allclose(y, np.where(past[:, :, None], 0, expected), rtol=1e-11, atol=1e-12)
    for b, one in enumerate(finals):
        for a, e in zip(parts(final), parts(one), strict=one is not None):  # None: it is the initial state
            np.testing.assert_allclose(a[:, b], a[:, b] * 0 if e is None else e[:, 0], rtol=1e-11, atol=1e-12)
    if not model.bound.inference_only:
        trained, _, _ = model.forward(x, (None, state), lengths=valid)
        np.testing.assert_array_equal(trained, y)


def parts(state: Any) -> tuple[Any, ...]:
    return state if isinstance(state, tuple) else (state,)


@given(masked())
def test_gradients_under_a_mask_by_complex_step(case: Any) -> None:
    layer, x, _, state, valid = case
    model = Sequential(Masking(), layer)
    start = None if state is None else (None, state)
    if "ReluCell" not in repr(layer.cell):  # whose kinks masked x, all zeros, may meet
        check_gradients(model, x, start, lengths=valid, methods=("complex step",))
        check_adjoint(model, x, start, lengths=valid, tolerance=1e-12)


MODELS: dict[str, Callable[[], Layer]] = {
    "one direction": lambda: Sequential(Embedding(5, 3, mask=0), LSTM(3, 2), Linear(2, 2)),
    "deep": lambda: Sequential(Embedding(5, 3, mask=0), GRU(3, 3, 2, dropout=0.3), LSTM(3, 2)),
    "both directions": lambda: Sequential(Embedding(5, 3, mask=0), LSTM(3, 2, 2, bidirectional=True), GRU(4, 2)),
    "many to one": lambda: Sequential(Embedding(5, 3, mask=0), GRU(3, 2), Last(), Linear(2, 2), Activation("softmax")),
    "many to one, both ends": lambda: Sequential(
        Embedding(5, 3, mask=0), GRU(3, 2, bidirectional=True), Last(bidirectional=True), Linear(4, 2)
    ),
    "a pair": lambda: Sequential(Embedding(5, 3, mask=0), Bidirectional(GRU(3, 2), LSTM(3, 2), "mul"), LSTM(2, 2)),
    "a pair's ends": lambda: Sequential(
        Embedding(5, 3, mask=0), Bidirectional(Sequential(LSTM(3, 2), Last()), merge="ave"), Linear(2, 2)
    ),
    "backwards": lambda: Sequential(Embedding(5, 3, mask=0), Reverse(), LSTM(3, 2), GRU(2, 2), Last()),
    "nested": lambda: Sequential(Sequential(Embedding(5, 3, mask=0), Dropout(0.2)), Sequential(RNN(3, 2)), Last()),
    "in a pair": lambda: Bidirectional(Sequential(Embedding(5, 3, mask=0), LSTM(3, 2)), merge="sum"),
    "functions": lambda: Sequential(Embedding(5, 3, mask=0), Activation("gelu"), LSTM(3, 3), Activation("silu")),
}


@pytest.mark.parametrize("valid", [None, [5, 3, 0, 4, 2, 5]], ids=["whole", "lengths"])
@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_every_composition_under_a_mask(name: str, valid: Any) -> None:
    model = MODELS[name]().init(3, dtype="float64")
    check_gradients(model, INDICES, lengths=valid)
    check_adjoint(model, INDICES, lengths=valid, tolerance=1e-13)
    for backend in HOST:
        other = model.to(backend=backend)
        for a, b in zip(
            (other(INDICES, lengths=valid)[0], other.forward(INDICES, lengths=valid)[0]),
            (model(INDICES, lengths=valid)[0], model.to().forward(INDICES, lengths=valid)[0]),
            strict=True,
        ):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def test_what_stands_at_a_skipped_step_is_never_used() -> None:
    for make in (lambda: LSTM(2, 3, 2), lambda: Bidirectional(GRU(2, 3)), lambda: Sequential(Reverse(), RNN(2, 3))):
        model = Sequential(Masking(7.5), make(), Linear(make().output_size or 0, 2), Last()).init(0, dtype="float64")
        x = np.where(SKIP[:, :, None], 7.5, FLOATS)
        y, _, backward = model.forward(x)
        dx, _ = backward(np.ones_like(y))
        assert dx is not None
        assert not dx[SKIP].any()
        assert dx[~SKIP].all()
        assert not y[3].any()  # a row of which nothing counts


def test_masking_marks_whole_steps_only() -> None:
    x = FLOATS.copy()
    x[0, 2] = [0.0, 1.0]  # not all features
    model = Sequential(Masking(), RNN(2, 3)).init(0, dtype="float64")
    y, _ = model(x)
    np.testing.assert_array_equal(y[2, 1], y[1, 1])
    assert (y[0, 2] != 0).all()
    np.testing.assert_array_equal(Masking(3.0).init(dtype="float64")(np.full((2, 1, 2), 3.0))[0], np.zeros((2, 1, 2)))


def test_two_masks_and_lengths_add_up() -> None:
    x = RNG.normal(size=(4, 1, 2))
    x[1], x[2] = 5.0, 6.0
    model = Sequential(Masking(5.0), Masking(6.0), GRU(2, 3)).init(0, dtype="float64")
    y, _ = model(x, lengths=[3])
    first, _ = model(x[:1])
    np.testing.assert_allclose(y[:3, 0], [first[0, 0]] * 3, rtol=1e-13)  # one product of four rows, not of one
    assert not y[3].any()


def test_a_pair_of_layers_is_a_layer_of_both_directions_under_a_mask() -> None:
    for valid in (None, [5, 3, 0, 4, 2, 5]):
        pair = Sequential(Masking(), Bidirectional(LSTM(2, 3))).init(1, dtype="float64")
        layer = Sequential(Masking(), LSTM(2, 3, bidirectional=True)).init(2, dtype="float64")
        for name in layer.named_weights():
            source = "reverse.0." if ".reverse." in name else "forward.0."
            layer.named_weights()[name] = pair.named_weights()["1." + source + name.rpartition(".")[2]]
        np.testing.assert_allclose(pair(FLOATS, lengths=valid)[0], layer(FLOATS, lengths=valid)[0], rtol=1e-13)
        y, _ = pair(FLOATS, lengths=valid)
        assert not y[SKIP].any()


def test_reversed_twice_is_as_it_was_and_once_is_the_other_direction() -> None:
    lstm = LSTM(2, 3, bidirectional=True).init(0, dtype="float64")
    there_and_back = Sequential(Masking(), Reverse(), LSTM(2, 3), Reverse()).init(0, dtype="float64")
    for name, w in lstm.directions[1].named_weights().items():
        there_and_back.named_weights()[f"2.0.{name}"] = w
    whole = Sequential(Masking(), lstm.to()).init(0, dtype="float64")
    for name, w in lstm.named_weights().items():
        whole.named_weights()[f"1.{name}"] = w
    for valid in (None, [5, 3, 0, 4, 2, 5]):
        y, z = there_and_back(FLOATS, lengths=valid)[0], whole(FLOATS, lengths=valid)[0]
        skipped = SKIP | (np.arange(5)[:, None] >= (valid or [5] * 6))
        np.testing.assert_allclose(y[~skipped], z[~skipped][:, 3:], rtol=1e-13)
        twice = Sequential(Reverse(), Reverse()).init(dtype="float64")
        past = np.arange(5)[:, None] >= (valid or [5] * 6)
        np.testing.assert_array_equal(twice(FLOATS, lengths=valid)[0], np.where(past[:, :, None], 0, FLOATS))
    y, _ = Reverse().init(dtype="float64")(FLOATS, lengths=[5, 3, 0, 4, 2, 5])
    np.testing.assert_array_equal(y[:3, 1], FLOATS[2::-1, 1])


def test_what_is_saved_stands_at_its_own_step() -> None:
    model = Sequential(Masking(), LSTM(2, 3)).init(0, dtype="float64")
    y, _, backward = model.forward(FLOATS)
    o, m = backward.saved["1.0.o"], backward.saved["1.0.m"]
    np.testing.assert_allclose((o * m)[~SKIP], y[~SKIP], rtol=1e-14)
    assert not o[SKIP].any()


def test_a_mask_whose_index_is_none_is_refused() -> None:
    for mask in (5, -1, True, 0.0, "0"):
        with pytest.raises(ValueError, match="mask must be an index from 0 to 4, or None; got"):
            Embedding(5, 2, mask=mask)  # type: ignore[arg-type] # the point
    for value in (float("nan"), "0", True):
        with pytest.raises(ValueError, match="value must be a finite number; got"):
            Masking(value)  # type: ignore[arg-type] # the point


# ---------------------------------------------------------------------- Keras


def keras() -> Any:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    return pytest.importorskip("keras", reason="Keras is not installed: comparisons with it are left out")


def drawn(model: Layer, theirs: Any, rng: np.random.Generator) -> None:
    """Give ours and theirs the same weights; of an LSTM and a vanilla network they are laid out alike."""
    for name, weight in zip(model.named_weights(), theirs.weights, strict=True):
        values = rng.normal(0, 0.6, weight.shape).astype("f4")
        model.named_weights()[name] = values
        weight.assign(values)


def in_keras(name: str) -> tuple[Layer, Callable[[Any], list[Any]], bool]:
    """One of ours, its layers in Keras, and whether x are indices."""
    match name:
        case "lstm":
            return Sequential(Masking(), LSTM(2, 3)), lambda K: [K.Masking(), K.LSTM(3, return_sequences=True)], False
        case "two":
            return (
                Sequential(Embedding(5, 4, mask=0), LSTM(4, 3), RNN(3, 2), Last()),
                lambda K: [K.Embedding(5, 4, mask_zero=True), K.LSTM(3, return_sequences=True), K.SimpleRNN(2)],
                True,
            )
        case "backwards":
            return (
                Sequential(Masking(), Reverse(), LSTM(2, 3)),
                lambda K: [K.Masking(), K.LSTM(3, return_sequences=True, go_backwards=True)],
                False,
            )
        case "ends":
            return (
                Sequential(Masking(), Bidirectional(Sequential(LSTM(2, 3), Last()), merge="mul")),
                lambda K: [K.Masking(), K.Bidirectional(K.LSTM(3), merge_mode="mul")],
                False,
            )
    return (
        Sequential(Masking(), Bidirectional(LSTM(2, 3), merge=name), LSTM(6 if name == "concat" else 3, 2)),
        lambda K: [
            K.Masking(),
            K.Bidirectional(K.LSTM(3, return_sequences=True), merge_mode=name),
            K.LSTM(2, return_sequences=True),
        ],
        False,
    )


@pytest.mark.extras
@pytest.mark.parametrize("name", ["lstm", "two", "backwards", "ends", "concat", "sum", "mul", "ave"])
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # between Keras, torch and NumPy
def test_masks_are_those_of_keras(name: str) -> None:
    library = keras()
    model, make, indices = in_keras(name)
    theirs = library.Sequential(make(library.layers))
    x = INDICES.T if indices else FLOATS.astype("f4").transpose(1, 0, 2)  # Keras has the batch first
    theirs(x)
    drawn(model.init(0), theirs, np.random.default_rng(0))
    expected = library.ops.convert_to_numpy(theirs(x))
    y, _ = model(INDICES if indices else FLOATS.astype("f4"))
    y = y if y.ndim == 2 else y.transpose(1, 0, 2)
    assert np.abs(y - expected).max() <= 2e-6

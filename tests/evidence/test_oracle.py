"""Outputs and final states against scalar loops written from the papers: what a gradient check cannot see."""

from typing import Any

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle_inputs import NAMES, close, initial, parts, weights_of
from tiers import either

from minirnn import GRU, LSTM, RNN, Bidirectional, Sequential, cross_entropy
from minirnn.core.backend import Array
from minirnn.core.protocol import name_of
from minirnn.testing.strategies import CELLS, cases


@given(either(dropout=False))
def test_every_layer_agrees_with_the_oracle(case: Any) -> None:
    layer, x, B = case.model, case.x, case.x.shape[1]
    for name, weight in layer.named_weights().items():
        if name.endswith("0"):
            weight[...] += 0.3  # a trainable initial state that is not zero
    features = np.eye(layer.input_size)[x] if x.dtype.kind == "i" else x
    lengths = None if case.lengths is None else case.lengths.tolist()
    y, state = layer(x, case.state, lengths=case.lengths)
    expected, final = oracle.run(
        NAMES[name_of(layer.cell)], features.tolist(), weights_of(layer), initial(layer, case.state, B), lengths
    )
    close(y, expected)
    trained, trained_state, _ = layer.forward(x, case.state, lengths=case.lengths)
    np.testing.assert_array_equal(trained, y)
    for actual, wanted, same in zip(parts(state), final, parts(trained_state), strict=True):
        close(actual, wanted)
        np.testing.assert_array_equal(same, actual)


@pytest.mark.parametrize("cell", CELLS, ids=name_of)
@given(data=st.data())
def test_each_cell_agrees_with_the_oracle(cell: Any, data: st.DataObject) -> None:
    case, name = data.draw(cases([cell], dropout=False, indices=False)), name_of(cell)
    expected, _ = oracle.run(
        NAMES[name],
        case.x.tolist(),
        weights_of(case.model),
        initial(case.model, case.state, case.x.shape[1]),
        None if case.lengths is None else case.lengths.tolist(),
    )
    close(case.model(case.x, case.state, lengths=case.lengths)[0], expected)


@pytest.mark.parametrize("lengths", [None, [3, 0, 5]])
def test_bidirectional_combinator_is_a_bidirectional_layer(lengths: Any) -> None:
    pair = Bidirectional(LSTM(2, 3)).init(1, dtype="float64")
    layer = LSTM(2, 3, bidirectional=True).init(2, dtype="float64")
    for name, w in layer.named_weights().items():
        source = "reverse.0." if ".reverse." in name else "forward.0."
        w[...] = pair.named_weights()[source + name.rpartition(".")[2]]
    x = np.random.default_rng(0).normal(size=(5, 3, 2))
    y, (h, c) = layer(x, lengths=lengths)
    z, ((ha, ca), (hb, cb)) = pair(x, lengths=lengths)
    np.testing.assert_allclose(z, y, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(np.concatenate([ha, hb]), h, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(np.concatenate([ca, cb]), c, rtol=1e-14, atol=1e-15)


def test_stacking_layers_is_one_deep_layer() -> None:
    deep = GRU(2, 3, num_layers=2).init(1, dtype="float64")
    stack = Sequential(GRU(2, 3), GRU(3, 3)).init(2, dtype="float64")
    for k in (0, 1):
        for name in ("W", "U", "b", "bn"):
            stack.named_weights()[f"{k}.0.{name}"][...] = deep.named_weights()[f"{k}.{name}"]
    x = np.random.default_rng(0).normal(size=(5, 3, 2))
    np.testing.assert_allclose(stack(x)[0], deep(x)[0], rtol=1e-14)


def test_gates_are_named_as_in_the_chapter() -> None:
    """The chapter's GRU from scratch and its LSTM, written with its names, from the per-gate views."""

    def sigmoid(a: Array) -> Array:
        out: Array = 1 / (1 + np.exp(-a))
        return out

    x = np.random.default_rng(0).normal(size=(4, 2, 3))
    gru = GRU(3, 5, reset="before").init(1, dtype="float64")
    w = {name.removeprefix("0."): a for name, a in gru.named_weights(gates=True).items()}
    H = np.zeros((2, 5))
    for X in x:
        Z = sigmoid(X @ w["W_xz"] + H @ w["W_hz"] + w["b_z"])
        R = sigmoid(X @ w["W_xr"] + H @ w["W_hr"] + w["b_r"])
        H_tilde = np.tanh(X @ w["W_xh"] + (R * H) @ w["W_hh"] + w["b_h"])
        H = Z * H + (1 - Z) * H_tilde
    np.testing.assert_allclose(gru(x)[1][0], H, rtol=1e-12)

    lstm = LSTM(3, 5).init(1, dtype="float64")
    w = {name.removeprefix("0."): a for name, a in lstm.named_weights(gates=True).items()}
    H, C = np.zeros((2, 5)), np.zeros((2, 5))
    for X in x:
        I, F, O = (sigmoid(X @ w[f"W_x{k}"] + H @ w[f"W_h{k}"] + w[f"b_{k}"]) for k in "ifo")
        C = F * C + I * np.tanh(X @ w["W_xc"] + H @ w["W_hc"] + w["b_c"])
        H = O * np.tanh(C)
    np.testing.assert_allclose(lstm(x)[1][0][0], H, rtol=1e-12)
    np.testing.assert_allclose(lstm(x)[1][1][0], C, rtol=1e-12)

    rnn = RNN(3, 5).init(1, dtype="float64")
    w = {name.removeprefix("0."): a for name, a in rnn.named_weights(gates=True).items()}
    H = np.zeros((2, 5))
    for X in x:
        H = np.tanh(X @ w["W_xh"] + H @ w["W_hh"] + w["b_h"])
    np.testing.assert_allclose(rnn(x)[1][0], H, rtol=1e-12)


def test_the_concise_gru_is_reset_after_with_bn_zero_and_frozen() -> None:
    gru = GRU(3, 5).init(1, dtype="float64").freeze("0.bn")
    gru.named_weights()["0.bn"][...] = 0
    x = np.random.default_rng(0).normal(size=(4, 2, 3))
    layers = [[{n: w.tolist() for n, w in gru.directions[0].named_weights().items()}]]
    expected, _ = oracle.run("gru_after", x.tolist(), layers, None)
    close(gru(x)[0], expected)


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_cross_entropy_agrees_with_the_oracle(seed: int, masked: bool) -> None:
    rng = np.random.default_rng(seed)
    logits, targets = rng.normal(0, 3, (3, 2, 4)), rng.integers(0, 4, (3, 2))
    mask = rng.random((3, 2)) < 0.5 if masked else None
    if mask is not None:
        mask[0, 0] = True
    loss, _ = cross_entropy(logits, targets, mask)
    expected = oracle.cross_entropy(logits.tolist(), targets.tolist(), None if mask is None else mask.tolist())
    np.testing.assert_allclose(loss, expected, rtol=1e-13)

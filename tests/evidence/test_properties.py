"""What holds of every recurrent layer, and of layers around one, whatever their equations say."""

from typing import Any

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from tiers import any_model, either

from minirnn import GRU, LSTM, Bidirectional, Recurrent, Sequential
from minirnn.cells import GRUBeforeCell, GRUCell, LSTMCell, ProjectedLSTMCell, ReluCell, TanhCell
from minirnn.core.backend import Array
from minirnn.testing.strategies import Case, Chain, chains, layers

SMOOTH = (TanhCell, GRUCell, GRUBeforeCell, LSTMCell, ProjectedLSTMCell(2))
seeds = st.integers(0, 2**32 - 1)


def close(actual: Any, expected: Any) -> None:
    """Equal to rounding, for states of any structure."""
    if isinstance(expected, tuple):
        for a, e in zip(actual, expected, strict=True):
            close(a, e)
    elif expected is None:
        assert actual is None
    else:
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-11)


def mapped(f: Any, state: Any) -> Any:
    return tuple(mapped(f, a) for a in state) if isinstance(state, tuple) else None if state is None else f(state)


def past(case: Case | Chain, lengths: Any, T: int) -> Any:
    """(T', B) True where y, of ``T`` steps of x, is past the end of a row."""
    return np.arange(case.model.check_steps(T))[:, None] >= case.model.output_lengths(lengths)


@given(either(dropout=False, indices=False), seeds)
def test_causality(case: Case, seed: int) -> None:
    """The forward half of y[t] does not see x after t; the reverse half does not see x before t (of one layer)."""
    layer, x = case.model, case.x
    assume(layer.num_layers == 1 or not layer.bidirectional)
    t = seed % len(x)
    later, earlier = x.copy(), x.copy()
    later[t + 1 :] += 1
    earlier[:t] += 1
    H = layer.directions[0].output_size
    y = layer(x, case.state, lengths=case.lengths)[0]
    np.testing.assert_array_equal(layer(later, case.state, lengths=case.lengths)[0][: t + 1, :, :H], y[: t + 1, :, :H])
    np.testing.assert_array_equal(layer(earlier, case.state, lengths=case.lengths)[0][t:, :, H:], y[t:, :, H:])
    if layer.cell is not ReluCell and layer.bidirectional and t > 0 and case.lengths is None:
        assert not np.array_equal(layer(earlier, case.state)[0][t:, :, :H], y[t:, :, :H])  # the forward half does


@given(layers(SMOOTH, num_layers=1, bidirectional=False, dropout=False, backend="auto"), seeds)
def test_time_reversal(layer: Recurrent, seed: int) -> None:
    """A Bidirectional pair, its children swapped and its input reversed, gives y reversed with its halves swapped."""
    D, H = layer.input_size or 1, layer.hidden_size
    pair = Bidirectional(
        Recurrent(layer.cell, D, H, trainable_state=True), Recurrent(layer.cell, D, H, trainable_state=True)
    ).init(seed, dtype="float64")
    swapped = pair.to()
    for name, w in swapped.named_weights().items():
        side, _, rest = name.partition(".")
        w[...] = pair.named_weights()[f"{'reverse' if side == 'forward' else 'forward'}.{rest}"]
    x = np.random.default_rng(seed).normal(size=(5, 3, D))
    y, _ = pair(x)
    z, _ = swapped(x[::-1])
    close(z[::-1], np.concatenate(np.split(y, 2, axis=-1)[::-1], axis=-1))


@given(any_model(dropout=False), seeds)
def test_rows_of_a_batch_do_not_see_each_other(case: Case | Chain, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(case.x.shape[1])
    lengths = None if case.lengths is None else case.lengths[order]
    y, final, backward = case.model.forward(case.x, case.state, lengths=case.lengths)
    z, end, back = case.model.forward(case.x[:, order], mapped(lambda a: a[:, order], case.state), lengths=lengths)
    close(z, y[..., order, :])
    close(end, mapped(lambda a: a[:, order], final))
    dy = np.random.default_rng(seed).normal(size=y.shape)
    dx, dstate = backward(dy)
    dz, dend = back(dy[..., order, :])
    close(dz, None if dx is None else dx[:, order])
    close(dend, mapped(lambda a: a[:, order], dstate))


@given(either(dropout=False, bidirectional=False) | chains(dropout=False, causal=True), seeds)
def test_in_chunks_as_in_one(case: Case | Chain, seed: int) -> None:
    """Carrying the state forward and its gradient back, chunk by chunk, is exact backpropagation through time."""
    model, x = case.model, case.x
    assume(len(x) > 1)
    cut = 1 + seed % (len(x) - 1)
    rng = np.random.default_rng(seed)
    y, final, backward = model.forward(x, case.state)
    dy, dfinal = rng.normal(size=y.shape), mapped(lambda a: rng.normal(size=a.shape), final)
    model.zero_grads()
    dx, dstate = backward(dy, dfinal)
    whole = model.grads.copy()
    model.zero_grads()
    y1, middle, back1 = model.forward(x[:cut], case.state)
    y2, end, back2 = model.forward(x[cut:], middle)
    close(np.concatenate([y1, y2]), y)
    close(end, final)
    dx2, dmiddle = back2(dy[cut:], dfinal)
    dx1, dinitial = back1(dy[:cut], dmiddle)
    close(dinitial, dstate)
    close(model.grads, whole)
    if dx is not None and dx1 is not None and dx2 is not None:
        close(np.concatenate([dx1, dx2]), dx)


@given(any_model(), seeds)
def test_backward_is_linear_in_its_cotangents(case: Case | Chain, seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, final, backward = case.model.forward(case.x, case.state, lengths=case.lengths)
    draws = [(rng.normal(size=y.shape), mapped(lambda a: rng.normal(size=a.shape), final)) for _ in range(2)]
    results: list[tuple[Array, Any, Array]] = []
    both = (2 * draws[0][0] - draws[1][0], _combine(draws[0][1], draws[1][1]))
    for dy, dfinal in [*draws, both]:
        case.model.zero_grads()
        dx, dstate = backward(dy, dfinal, keep=True)
        results.append((case.model.grads.copy(), dstate, np.zeros(1) if dx is None else dx))
    for part in (0, 2):
        close(results[2][part], 2 * results[0][part] - results[1][part])
    close(results[2][1], _combine(results[0][1], results[1][1]))


def _combine(a: Any, b: Any) -> Any:
    if isinstance(a, tuple):
        return tuple(_combine(p, q) for p, q in zip(a, b, strict=True))
    return None if a is None else 2 * a - b


@given(any_model(), seeds)
def test_gradients_accumulate_and_two_kept_backwards_give_twice_the_gradient(case: Case | Chain, seed: int) -> None:
    y, _, backward = case.model.forward(case.x, case.state, lengths=case.lengths)
    dy = np.random.default_rng(seed).normal(size=y.shape)
    case.model.zero_grads()
    backward(dy, keep=True)
    once = case.model.grads.copy()
    backward(dy)
    close(case.model.grads, 2 * once)


@given(any_model(dropout=False), seeds)
def test_pending_backwards_do_not_disturb_each_other(case: Case | Chain, seed: int) -> None:
    """Two forwards before either backward, on different inputs, run backward in the order of their forwards."""
    model, rng = case.model, np.random.default_rng(seed)
    other = rng.permuted(case.x, axis=1)
    y, _, first = model.forward(case.x, case.state, lengths=case.lengths)
    z, _, second = model.forward(other, case.state)
    dy = rng.normal(size=y.shape)
    model.zero_grads()
    dx1, _ = first(dy)
    one = model.grads.copy()
    dx2, _ = second(dy)
    for x, lengths, kept, dx in ((case.x, case.lengths, one, dx1), (other, None, model.grads - one, dx2)):
        alone = model.to()
        _, _, backward = alone.forward(x, case.state, lengths=lengths)
        close(backward(dy)[0], dx)
        close(kept, alone.grads)
    assert z.shape == y.shape


@given(any_model(dropout=False, indices=False), seeds)
def test_padding_changes_nothing(case: Case | Chain, seed: int) -> None:
    """NaN past the lengths, in x and in dy, more steps of it, and neither y nor any gradient knows; y is 0 there."""
    model, x, lengths = case.model, case.x, case.lengths
    assume(lengths is not None)
    assert lengths is not None  # for the type checker
    rng, (T, B, D) = np.random.default_rng(seed), x.shape
    ended, timed = np.arange(T)[:, None] >= lengths, model.keeps_time
    y, final, backward = model.forward(x, case.state, lengths=lengths)
    if timed:
        assert not y[past(case, lengths, T)].any()
    dy = rng.normal(size=y.shape)
    model.zero_grads()
    dx, dstate = backward(dy)
    kept = model.grads.copy()
    assert dx is not None
    assert not dx[ended].any()
    holed = np.concatenate([np.where(ended[:, :, None], np.nan, x), np.full((2, B, D), np.nan)])
    z, end, back = model.forward(holed, case.state, lengths=lengths)
    close(end, final)
    model.zero_grads()
    if timed:
        close(z[: len(y)], y)
        assert not z[len(y) :].any()
        dholed = np.full(z.shape, np.nan)
        dholed[: len(y)] = np.where(past(case, lengths, T)[:, :, None], np.nan, dy)
    else:
        close(z, y)
        dholed = dy
    dz, dend = back(dholed)
    assert dz is not None
    close(dz[:T], dx)
    close(dend, dstate)
    close(model.grads, kept)


@given(any_model(dropout=False), seeds)
def test_each_row_with_a_length_is_that_row_alone(case: Case | Chain, seed: int) -> None:
    assume(case.lengths is not None)
    assert case.lengths is not None  # for the type checker
    y, final = case.model(case.x, case.state, lengths=case.lengths)
    b = seed % case.x.shape[1]
    n = int(case.lengths[b])
    row = slice(b, b + 1)
    state = mapped(lambda a: a[:, row], case.state)
    if n and case.model.output_lengths(n):
        alone, end = case.model(case.x[:n, row], state)
        close(y[: len(alone), row] if case.model.keeps_time else y[row], alone)
        close(mapped(lambda a: a[:, row], final), end)
    elif state is not None and not n:
        close(mapped(lambda a: a[:, row], final), state)


@given(st.sampled_from([LSTM, GRU]), st.sampled_from([1e2, 1e4]))
def test_saturation_is_silent_and_finite(kind: Any, scale: float) -> None:
    model = Sequential(kind(3, 4, 2, bidirectional=True)).init(0)
    model.weights *= np.float32(scale)
    x = np.random.default_rng(0).normal(0, scale, (6, 2, 3)).astype(np.float32)
    y, _, backward = model.forward(x)
    backward(np.ones_like(y))
    assert np.isfinite(y).all()
    assert np.isfinite(model.grads).all()


@given(either(dropout=False, indices=True))
def test_an_index_is_a_one_hot_vector(case: Case) -> None:
    assume(case.x.dtype.kind == "i")
    model, hot = case.model, np.eye(case.model.input_size or 1)[case.x]
    y, final, backward = model.forward(case.x, case.state, lengths=case.lengths)
    z, end, back = model.forward(hot, case.state, lengths=case.lengths)
    close(z, y)
    close(end, final)
    dy = np.random.default_rng(0).normal(size=y.shape)
    model.zero_grads()
    assert backward(dy)[0] is None
    kept = model.grads.copy()
    model.zero_grads()
    back(dy)
    close(model.grads, kept)

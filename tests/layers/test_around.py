"""Layers around a recurrence: against scalar loops, with lengths, in chunks, and what they refuse."""

from typing import Any

import layer_oracle as oracle
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirnn import (
    GRU,
    LSTM,
    AvgPool1d,
    BatchNorm1d,
    Bidirectional,
    Conv1d,
    Embedding,
    Flatten,
    GlobalAvgPool1d,
    GlobalMaxPool1d,
    Last,
    LayerNorm,
    Linear,
    Masking,
    MaxPool1d,
    PReLU,
    Sequential,
    length_mask,
)
from minirnn.core.backend import Array
from minirnn.core.layer import Layer
from minirnn.testing.strategies import arrays, lengths, neighbours

X = np.random.default_rng(4).normal(size=(7, 3, 4))
LENGTHS = [7, 0, 4]


def drawn(model: Layer, seed: int = 0) -> Any:
    """``model`` with every weight drawn, variances above 0."""
    model.init(seed, dtype="float64", backend="numpy")
    rng = np.random.default_rng(seed)
    for name, weight in model.named_weights().items():
        weight[...] = rng.random(weight.shape) + 0.1 if name.endswith("var") else rng.normal(size=weight.shape)
    return model


def expected_of(layer: Any, x: Array) -> Any:
    """What the oracle makes of one row (T, D)."""
    w = {name: weight.tolist() for name, weight in layer.named_weights().items()}
    row = x.tolist()
    if isinstance(layer, LayerNorm):
        D = layer.num_features
        return oracle.layer_norm(row, layer.eps, w.get("g", [1.0] * D), w.get("b", [0.0] * D))
    if isinstance(layer, BatchNorm1d):
        return oracle.batch_norm(row, layer.eps, w["g"], w["b"], w["mean"], w["var"])
    if isinstance(layer, PReLU):
        return oracle.prelu(row, w["a"])
    windows = oracle.places(len(row), layer.kernel_size, layer.stride, layer.dilation, layer.left, layer.right)
    if isinstance(layer, Conv1d):
        W = layer.named_weights()["W"].reshape(layer.kernel_size, -1, layer.out_channels)
        bias = w.get("b", [0.0] * layer.out_channels)
        return oracle.conv1d(row, windows, W.transpose(2, 1, 0).tolist(), bias, layer.groups)
    if isinstance(layer, MaxPool1d):
        return oracle.max_pool(row, windows)
    return oracle.avg_pool(row, windows, count_padding=layer.count_padding)


ORACLE = (LayerNorm, PReLU, Conv1d, MaxPool1d, AvgPool1d)


@given(data=st.data())
def test_every_layer_agrees_with_the_oracle(data: st.DataObject) -> None:
    layer = data.draw(neighbours(data.draw(st.integers(1, 4))).filter(lambda one: isinstance(one, ORACLE)))
    model, T, B = drawn(layer), data.draw(st.integers(5, 9)), data.draw(st.integers(1, 3))
    x = data.draw(arrays((T, B, layer.input_size or 3)))
    valid = data.draw(lengths(T, B))
    y, _ = model(x, lengths=valid)
    for b, n in enumerate(valid):
        wanted = np.array(expected_of(layer, x[:n, b])).reshape(-1, y.shape[2])
        assert len(wanted) == layer.output_lengths(int(n)) == layer.output_lengths(valid)[b]
        np.testing.assert_allclose(y[: len(wanted), b], wanted, rtol=1e-12, atol=1e-12)
        assert not y[len(wanted) :, b].any()


def test_batch_norm_agrees_with_the_oracle() -> None:
    model = drawn(BatchNorm1d(4, 0.01))
    y, _ = model(X)
    for b in range(3):
        np.testing.assert_allclose(y[:, b], expected_of(model, X[:, b]), rtol=1e-13)
    np.testing.assert_array_equal(model(X[2])[0], y[2])  # of one step


def test_batch_norm_is_for_inference() -> None:
    model = Sequential(Conv1d(4, 4, 3), BatchNorm1d(4), GRU(4, 2)).init(dtype="float64")
    with pytest.raises(
        ValueError, match=r"BatchNorm1d\(4\) is for inference only.*it has the statistics of a training"
    ):
        model.forward(X)
    assert model.bound.calls == 0
    fresh = BatchNorm1d(4, eps=1e-12).init(dtype="float64")
    np.testing.assert_allclose(fresh(X)[0], X, rtol=1e-11)  # mean 0, variance 1, gain 1, bias 0
    with pytest.raises(ValueError, match="inference only"):
        fresh.apply(X, None, fresh._admit(X, None, None, training=False)[2]).pull(X, None)


def test_pooling_over_all_steps_is_over_those_that_count() -> None:
    for layer, reduced in ((GlobalMaxPool1d(), np.max), (GlobalAvgPool1d(), np.mean)):
        y, _ = layer.init(dtype="float64")(np.where(X > 9, 0, X - 5), lengths=LENGTHS)  # all below the padding's 0
        for b, n in enumerate(LENGTHS):
            np.testing.assert_allclose(y[b], reduced(X[:n, b] - 5, axis=0) if n else 0, rtol=1e-13)
        masked = np.where(np.arange(7)[:, None, None] % 2 == 1, 0.5, X - 5)
        y, _ = Sequential(Masking(0.5), layer).init(dtype="float64")(masked)
        np.testing.assert_allclose(y, reduced(X[::2] - 5, axis=0), rtol=1e-13)


def test_of_equal_steps_the_first_gets_the_gradient() -> None:
    x = np.ones((4, 1, 1))
    for layer, wanted in ((GlobalMaxPool1d(), [1, 0, 0, 0]), (MaxPool1d(2), [1, 0, 1, 0])):
        y, _, backward = layer.init(dtype="float64").forward(x)
        dx, _ = backward(np.ones_like(y))
        np.testing.assert_array_equal(np.ravel(dx), wanted)  # type: ignore[arg-type] # x is floats


def test_nan_is_passed_on() -> None:
    x = X.copy()
    x[3, 1, 2] = np.nan
    for layer in (GlobalMaxPool1d(), GlobalAvgPool1d(), MaxPool1d(7), AvgPool1d(7), PReLU(), LayerNorm(4)):
        y, _ = layer.init(dtype="float64")(x)
        assert np.isnan(y.reshape(-1, 3, 4)[:, 1, 2]).any()
        assert not np.isnan(y.reshape(-1, 3, 4)[:, [0, 2]]).any()


def test_flatten_puts_steps_one_after_another() -> None:
    y, _ = Flatten(7, 4).init(dtype="float64")(X)
    np.testing.assert_array_equal(y, np.concatenate(list(X), axis=-1))


# ---------------------------------------------------------------------- lengths


def test_a_stride_changes_lengths_for_the_layers_after_it() -> None:
    model = drawn(Sequential(Conv1d(4, 3, 3, 2, padding=1), MaxPool1d(2), LSTM(3, 2), Linear(2, 2)))
    np.testing.assert_array_equal(model.output_lengths(np.array(LENGTHS)), [2, 0, 1])
    y, (_, _, (h, _), _) = model(X, lengths=LENGTHS)
    assert y.shape == (2, 3, 2)
    np.testing.assert_array_equal(model.forward(X, lengths=LENGTHS)[0], y)
    alone, (_, _, (end, _), _) = model(X[:4, 2:])
    np.testing.assert_allclose(y[:1, 2:], alone, rtol=1e-13)
    np.testing.assert_allclose(h[:, 2:], end, rtol=1e-13, atol=1e-16)  # products of other sizes, summed otherwise
    assert not h[:, 1].any()  # a row that has read nothing
    mask = length_mask(model.output_lengths(np.array(LENGTHS)), len(y))
    assert not y[~mask].any()
    assert y[mask].all()


def test_what_a_layer_before_makes_of_padding_is_not_read() -> None:
    for layer in (Conv1d(4, 3, 3, padding="same"), AvgPool1d(3, 1, "same"), MaxPool1d(3, 1, "same")):
        model = drawn(Sequential(Linear(4, 4), layer))  # whose bias is in the padding too
        y, _ = model(X, lengths=LENGTHS)
        np.testing.assert_allclose(y[:4, 2:], model(X[:4, 2:])[0], rtol=1e-13)


def test_means_count_padding_or_not() -> None:
    ones = np.ones((4, 1, 1))
    for count, wanted in ((True, [2 / 3, 1, 1, 2 / 3]), (False, [1, 1, 1, 1])):
        y, _ = AvgPool1d(3, 1, "same", count_padding=count).init(dtype="float64")(ones)
        np.testing.assert_allclose(y[:, 0, 0], wanted, rtol=1e-15)


def test_what_is_saved_of_layers_after_a_stride_ends_where_their_rows_do() -> None:
    model = drawn(Sequential(AvgPool1d(2), GRU(4, 2)))
    y, _, backward = model.forward(X, lengths=LENGTHS)
    z = backward.saved["1.0.z"]
    assert z.shape[:2] == y.shape[:2] == (3, 3)
    assert not z[:, 1].any()
    assert not z[2:, 2].any()
    assert z[:, 0].all()


def test_global_pooling_after_a_stride_counts_the_steps_that_are_left() -> None:
    model = Sequential(AvgPool1d(2), GlobalAvgPool1d()).init(dtype="float64")
    y, _ = model(X, lengths=LENGTHS)
    np.testing.assert_allclose(y[0], X[:6, 0].mean(0), rtol=1e-13)
    np.testing.assert_allclose(y[2], X[:4, 2].mean(0), rtol=1e-13)


# ---------------------------------------------------------------------- state


def test_a_causal_convolution_carries_the_steps_before_it() -> None:
    model = drawn(Conv1d(4, 3, 3, padding="causal", dilation=2))
    y, state = model(X)
    np.testing.assert_array_equal(state, X[3:])
    first, middle = model(X[:2])  # fewer steps than it remembers
    rest, end = model(X[2:], middle)
    np.testing.assert_allclose(np.concatenate([first, rest]), y, rtol=1e-13)
    np.testing.assert_array_equal(end, state)
    _, ended = model(X, lengths=LENGTHS)
    np.testing.assert_array_equal(ended[:, 2], X[:4, 2])
    assert not ended[:, 1].any()
    _, final = model(X, state, lengths=[0, 0, 0])
    np.testing.assert_array_equal(final, state)
    state[...] = 9  # its own memory
    np.testing.assert_array_equal(model(X)[0], y)


def test_other_convolutions_have_no_state() -> None:
    for layer in (Conv1d(4, 3, 3), Conv1d(4, 3, 3, 2, padding="causal"), Conv1d(4, 3, 1, padding="causal")):
        _, state = layer.init(dtype="float64")(X)
        assert state is None
        with pytest.raises(ValueError, match="Conv1d has no state: expected None"):
            layer(X, np.zeros((2, 3, 4)))


# ---------------------------------------------------------------------- what is refused

MASKED = r"layer 1, .*, reads steps beside each other: it cannot go without those that a layer before it masks"
REFUSED: dict[str, tuple[Any, str]] = {
    "stride": (lambda: Conv1d(2, 3, 3, 2, padding="same"), "padding 'same' needs stride 1: with stride 2"),
    "word": (lambda: Conv1d(2, 3, 3, padding="valid"), "two of them .left, right., 'same' or 'causal'; got 'valid'"),
    "pool": (lambda: MaxPool1d(3, padding="causal"), r"two of them \(left, right\), or 'same'; got 'causal'"),
    "three": (lambda: MaxPool1d(3, padding=[1, 1, 1]), r"padding must be .*; got \[1, 1, 1\]"),
    "wide": (lambda: MaxPool1d(3, padding=3), "padding may be at most 2 steps, so that every window has a step of x"),
    "below 0": (lambda: Conv1d(2, 3, 3, padding=(0, -1)), "padding must be an integer of at least 0; got -1"),
    "groups": (lambda: Conv1d(4, 3, 3, groups=2), "groups must divide in_channels and out_channels, 4 and 3; got 2"),
    "kernel": (lambda: AvgPool1d(0), "kernel_size must be an integer of at least 1; got 0"),
    "eps": (lambda: LayerNorm(3, 0.0), "eps must be above 0; got 0.0"),
    "no number": (lambda: BatchNorm1d(3, float("nan")), "eps must be a finite number; got nan"),
    "mask": (lambda: Sequential(Embedding(3, 2, mask=0), Conv1d(2, 3, 2)), MASKED),
    "nested mask": (lambda: Sequential(Masking(), Sequential(GRU(2, 3), MaxPool1d(2))), MASKED),
    "mask in a pair": (lambda: Sequential(Masking(), Bidirectional(Conv1d(2, 3, 1))), MASKED),
    "mask, flattened": (lambda: Sequential(Masking(), Flatten(3, 2)), MASKED),
    "pair": (
        lambda: Bidirectional(Sequential(AvgPool1d(2), GRU(2, 3))),
        "Bidirectional expects layers that keep the number of steps; Sequential.* does not",
    ),
    "reduced": (lambda: Sequential(GlobalMaxPool1d(), Conv1d(2, 3, 2)), "layer 1, .*, needs steps"),
    "width": (lambda: Sequential(Conv1d(2, 3, 2), LayerNorm(2)), "expects 2 features; those before it give 3"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_built_is_refused(name: str) -> None:
    make, words = REFUSED[name]
    with pytest.raises(ValueError, match=words):
        make()


def test_a_mask_ends_with_the_steps() -> None:
    model = Sequential(Masking(), GRU(4, 3), Last(), LayerNorm(3), Linear(3, 2)).init(dtype="float64")
    assert model(X)[0].shape == (3, 2)
    inner = Sequential(Bidirectional(Sequential(Masking(), GRU(4, 3))), MaxPool1d(2)).init(dtype="float64")
    assert inner(X)[0].shape == (3, 3, 6)  # the mask was that of the pair


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Conv1d(4, 3, 3, dilation=4), "Conv1d.4, 3, 3, dilation=4. needs at least 9 steps; got 7"),
        (Sequential(MaxPool1d(4), GRU(4, 3), AvgPool1d(2)), r"AvgPool1d\(2, stride=2\) needs at least 2 steps; got 1"),
        (Bidirectional(Conv1d(4, 3, 9, padding=4), GRU(4, 3)), None),
        (Flatten(6, 4), r"Flatten\(6, 4\) takes 6 steps; got 7"),
    ],
)
def test_another_number_of_steps_is_refused_before_anything_is_changed(model: Layer, words: str | None) -> None:
    model.init(dtype="float64")
    if words is None:
        assert model(X)[0].shape == (7, 3, 6)
        return
    for call in (model, model.forward):
        with pytest.raises(ValueError, match=words):
            call(X)
    assert model.bound.calls == 0


def test_flattened_rows_have_one_length() -> None:
    model = Sequential(GRU(4, 3), Flatten(7, 3)).init(dtype="float64")
    with pytest.raises(ValueError, match="takes rows of one length, without lengths"):
        model(X, lengths=LENGTHS)


def test_a_state_of_another_shape_is_refused() -> None:
    model = Conv1d(4, 3, 3, padding="causal").init(dtype="float64")
    with pytest.raises(
        ValueError, match=r"shape \(dilation \* \(kernel_size - 1\), B, in\) = \(2, 3, 4\); got \(2, 4\)"
    ):
        model(X, np.zeros((2, 4)))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Sequential(Conv1d(4, 3, 3, padding="same"), GRU(3, 2)), "reads forward only"),
        (Sequential(GRU(4, 2), GlobalAvgPool1d()), "reads forward only"),
        (Conv1d(4, 3, 3, 2, padding="causal"), "a stream has one y for each x; got .*, which changes the number"),
    ],
)
def test_what_does_not_stream_is_refused(model: Layer, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        model.init(dtype="float64").stream()

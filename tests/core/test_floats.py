"""Arrays of any float type are taken in the model's dtype, wherever a model takes floats."""

from typing import Any

import numpy as np
import pytest

from minirnn import GRU, LSTM, RNN, Activation, Linear, Sequential, cross_entropy, mse, stream_many

RNG = np.random.default_rng(11)
KINDS = [np.float16, np.float32, np.float64, np.longdouble, np.dtype(">f4"), np.dtype(">f8")]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda k: np.dtype(k).str.strip("|") + np.dtype(k).name)
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def coarse(*shape: int) -> Any:
    """Numbers with so few digits that every float type holds them."""
    return RNG.integers(-8, 9, shape) / 8.0


def leaves(tree: Any) -> list[Any]:
    return [a for part in tree for a in leaves(part)] if isinstance(tree, tuple) else [] if tree is None else [tree]


@every_kind
@every_dtype
@pytest.mark.parametrize("make", [lambda: GRU(3, 4), lambda: LSTM(3, 4, 2, bidirectional=True), lambda: Linear(3, 4)])
def test_the_results_are_those_of_the_same_numbers_in_the_models_dtype(make: Any, kind: Any, dtype: str) -> None:
    model = make().init(0, backend="numpy", dtype=dtype)
    x = coarse(5, 2, 3)
    y, final = model(x.astype(dtype))
    dy = coarse(*y.shape)
    state = None if final is None else tuple(coarse(*a.shape) for a in leaves(final))

    def put(tree: Any, as_kind: Any) -> Any:
        if tree is None:
            return None
        arrays = tuple(a.astype(as_kind) for a in tree)
        return arrays if len(arrays) > 1 else arrays[0]

    found = []
    for as_kind in (dtype, kind):
        model.zero_grads()
        inferred = model(x.astype(as_kind), put(state, as_kind))
        y, end, backward = model.forward(x.astype(as_kind), put(state, as_kind), lengths=[5, 3])
        dx, dstate = backward(dy.astype(as_kind), put(state, as_kind))
        found.append([*leaves(inferred), y, *leaves(end), dx, *leaves(dstate), model.grads.copy()])
    for wanted, got in zip(*found, strict=True):
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, wanted)


@every_kind
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_streams_take_them_too(kind: Any, backend: str) -> None:
    model = Sequential(RNN(3, 4), Linear(4, 2)).init(0, backend=backend)
    x, h = coarse(6, 2, 3), coarse(1, 2, 4)
    one, other = model.stream(2), model.stream(2)
    one.state, other.state = (h.astype("f4"), None), (h.astype(kind), None)
    for step in x:
        np.testing.assert_array_equal(other(step.astype(kind)), one(step.astype("f4")))
    a, b = model.stream(), model.stream()
    together = stream_many([a, b], x[0].astype(kind))
    np.testing.assert_array_equal(together, model.stream(2)(x[0].astype("f4")))


@every_kind
def test_quantised_models_and_losses_take_them_too(kind: Any) -> None:
    model = Sequential(LSTM(3, 4), Activation("relu"), Linear(4, 2)).init(0, backend="numpy")
    x = coarse(6, 2, 3)
    small = model.quantize("int8")
    np.testing.assert_array_equal(small(x.astype(kind))[0], small(x.astype("f4"))[0])

    y = model(x.astype("f4"))[0]
    target, mask = coarse(6, 2, 2), np.eye(6, 2)
    for words in ((), (mask.astype(kind),)):
        (loss, dy), (wanted, dwanted) = mse(y, target.astype(kind), *words), mse(y, target.astype("f4"), *words)
        assert dy.dtype == np.float32
        np.testing.assert_allclose(loss, wanted, rtol=1e-6)
        np.testing.assert_allclose(dy, dwanted, rtol=1e-6, atol=1e-7)
    one, other = (cross_entropy(y, np.zeros((6, 2), int), m)[1] for m in (mask.astype(kind), mask.astype(bool)))
    np.testing.assert_array_equal(one, other)


def test_the_dtype_of_the_model_costs_no_copy() -> None:
    model = Sequential(Activation("linear"), Activation("linear")).init(0, backend="numpy", dtype="float64")
    x = coarse(3, 2, 4)
    seen = []

    class Looking(Activation):
        def apply(self, x: Any, state: Any, run: Any) -> Any:
            seen.append(x)
            return super().apply(x, state, run)

    looking = Looking("tanh").init(0, backend="numpy", dtype="float64")
    for call in (looking, looking.forward):
        call(x)
        assert seen[-1] is x
    np.testing.assert_array_equal(model(x)[0], x)


@every_dtype
def test_what_would_lose_more_than_digits_is_refused(dtype: str) -> None:
    model = GRU(3, 4).init(0, backend="numpy", dtype=dtype)
    linear, x = Linear(3, 4).init(0, backend="numpy", dtype=dtype), coarse(5, 2, 3)
    stream = model.stream(2)
    large = np.full((5, 2, 3), np.longdouble("1e4000") if dtype == "float64" else 1e300)
    for bad, why in (
        (x * 1j, "got complex128"),
        (x > 0, "got bool"),
        (x.astype(str), "got <U"),
        (x.astype("O"), "got object"),
        (large, f"too large for {dtype}"),
    ):
        for call in (model, model.forward, linear, lambda a: stream(a[0])):
            with pytest.raises(ValueError, match=rf"^x (must be {dtype}, the model's dtype|has numbers).*{why}"):
                call(bad)
        with pytest.raises(ValueError, match=rf"^dy .*{why}"):
            linear.forward(x)[2](np.concatenate([bad, bad], axis=2)[:, :, :4])
        with pytest.raises(ValueError, match=rf"^state h .*{why}"):
            model(x, bad[None, 0, :, [0, 0, 0, 0]].reshape(1, 2, 4))
    for integers in (x.astype(int), x.astype(np.uint8)):
        with pytest.raises(ValueError, match=r"got u?int"):
            linear(integers)
        with pytest.raises(ValueError, match="of integers"):
            model(integers)
    assert model.bound.calls == 0
    with pytest.raises(ValueError, match="target has numbers that are too large"):
        mse(linear(x)[0], np.full((5, 2, 4), large[0, 0, 0]))


def test_padding_may_hold_numbers_too_large_for_the_dtype() -> None:
    model = GRU(3, 4).init(0, backend="numpy")
    x, dy = coarse(5, 2, 3), coarse(5, 2, 4)
    wanted, _, backward = model.forward(x, lengths=[5, 2])
    dwanted, _ = backward(dy)
    x[2:, 1], dy[2:, 1] = 1e300, -1e300
    y, _, backward = model.forward(x, lengths=[5, 2])
    np.testing.assert_array_equal(y, wanted)
    np.testing.assert_array_equal(backward(dy)[0], dwanted)
    large = np.where(np.arange(5)[:, None, None] < 2, 0.5, 1e300) * np.ones((5, 2, 4))
    loss, _ = mse(wanted, large, np.arange(5)[:, None] * np.ones(2) < 2)
    np.testing.assert_allclose(loss, ((wanted[:2] - 0.5) ** 2).mean(), rtol=1e-6)


def test_infinities_and_nan_stay_what_they_are() -> None:
    linear = Linear(1, 1).init(0, backend="numpy")
    linear.weights = np.ones(linear.weights.shape)
    x = np.array([[[np.inf]], [[-np.inf]], [[np.nan]], [[1.0]]])
    np.testing.assert_array_equal(linear(x)[0], np.array([[[np.inf]], [[-np.inf]], [[np.nan]], [[2.0]]], "f4"))

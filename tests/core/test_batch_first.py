"""``batch_first=True``: (B, T, ...) in and out, in calls and by default; and what errors say of the order of axes."""

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minirnn
from minirnn import (
    GRU,
    LSTM,
    RNN,
    Activation,
    Bidirectional,
    Dropout,
    Embedding,
    Last,
    Linear,
    Masking,
    Sequential,
    cross_entropy,
    mse,
)
from minirnn.core.tree import arrays_in
from minirnn.language.model import LanguageModel
from minirnn.language.text import Vocabulary

RNG = np.random.default_rng(17)
X = RNG.normal(size=(5, 3, 2)).astype("f4")  # 5 steps, 3 rows


def turned(a: Any) -> Any:
    return a.swapaxes(0, 1)


MODELS: dict[str, Any] = {
    "rnn": lambda: RNN(2, 4, 2, dropout=0.5),
    "gru": lambda: GRU(2, 4, bidirectional=True),
    "lstm": lambda: LSTM(2, 4),
    "linear": lambda: Linear(2, 4),
    "dropout": lambda: Dropout(0.0),
    "chain": lambda: Sequential(Masking(), GRU(2, 4), Dropout(0.5), Linear(4, 2), Activation("softmax")),
    "one answer": lambda: Sequential(LSTM(2, 4), Last(), Linear(4, 2)),
    "both": lambda: Bidirectional(Sequential(GRU(2, 3), Last())),
    "indices": lambda: Sequential(Embedding(6, 2), GRU(2, 3)),
    "one-hot": lambda: GRU(6, 3),
}


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("name", MODELS)
def test_a_call_with_the_batch_first_is_the_other_one_turned(name: str, backend: str) -> None:
    if backend == "numba" and name not in ("gru", "chain"):
        backend = "numpy"
    model = MODELS[name]().init(0, backend=backend)
    x = RNG.integers(0, 6, (5, 3)) if name in ("indices", "one-hot") else X
    same = np.asarray if name in ("one answer", "both") else turned
    for lengths in (None, [5, 0, 3]):
        y, state = model(x, lengths=lengths)
        z, other = model(turned(x), lengths=lengths, batch_first=True)
        np.testing.assert_array_equal(z, same(y))
        model.bound.calls = 0
        y, final, backward = model.forward(x, state, lengths=lengths)
        grads = []
        model.bound.calls = 0  # the same masks of dropout
        z, end, back = model.forward(turned(x), other, lengths=lengths, batch_first=True)
        np.testing.assert_array_equal(z, same(y))
        dy, saved = RNG.normal(size=y.shape).astype("f4"), back.saved
        for key, values in backward.saved.items():  # by step, whatever the order of x
            np.testing.assert_array_equal(saved[key], values)
        for run, cotangent in ((backward, dy), (back, same(dy))):
            model.zero_grads()
            grads.append((*run(cotangent, final), model.grads.copy()))
        (dx, dstate, flat), (dz, dother, same_flat) = grads
        np.testing.assert_array_equal(flat, same_flat)
        if dx is None:
            assert dz is None
        else:
            np.testing.assert_array_equal(dz, turned(dx))
        for a, b in ((state, other), (final, end), (dstate, dother)):
            for one, two in zip(arrays_in(a), arrays_in(b), strict=True):
                np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_loaded_model_keeps_to_it_and_is_told_otherwise_by_the_call(backend: str, tmp_path: Path) -> None:
    first = GRU(2, 4).init(0, backend=backend)
    first.weights = RNG.normal(size=first.weights.shape) * 0.3
    minirnn.save(first, tmp_path / "gru.safetensors")
    y, _ = first(X)
    model = minirnn.load(tmp_path / "gru.safetensors", backend=backend, batch_first=True)
    assert model.batch_first
    for same in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model)), model.to()):  # noqa: S301 - our own bytes
        for _ in range(2):
            np.testing.assert_allclose(same(turned(X))[0], turned(y), rtol=1e-6)
            np.testing.assert_allclose(same(X, batch_first=False)[0], y, rtol=1e-6)
            np.testing.assert_allclose(same.forward(turned(X))[0], turned(y), rtol=1e-6)
    np.testing.assert_allclose(model.quantize("f16")(turned(X))[0], turned(y), rtol=0, atol=1e-2)

    first(X.copy())  # a call for which everything is prepared
    first.batch_first = True
    np.testing.assert_allclose(first(turned(X).copy())[0], turned(y), rtol=1e-6)
    first.batch_first = False
    np.testing.assert_allclose(first(X)[0], y, rtol=1e-6)

    stream = model.stream(3)
    np.testing.assert_allclose([stream(x) for x in X], y, rtol=1e-5, atol=1e-6)
    minirnn.save(model, tmp_path / "again.safetensors")
    assert not minirnn.load(tmp_path / "again.safetensors").batch_first


def test_a_stream_without_kernels_has_no_axis_of_time() -> None:
    model = Sequential(GRU(2, 4, reset="before"), Activation("tanh")).init(0, backend="numpy")
    y, _ = model(X)
    model.batch_first = True
    stream = model.stream(3)
    np.testing.assert_allclose([stream(x) for x in X], y, rtol=1e-5, atol=1e-6)


def test_models_made_of_one_have_the_batch_first_too() -> None:
    gru = GRU(2, 4).init(0, backend="numpy")
    wanted = np.tanh(gru(X)[0])
    gru.batch_first = True
    for model in (Sequential(gru, Activation("tanh")), Sequential(Sequential(gru), Activation("tanh"))):
        np.testing.assert_allclose(model(turned(X))[0], turned(wanted), rtol=1e-6)
    assert Sequential(gru, Linear(4, 2)).init(0).batch_first
    assert not Sequential(GRU(2, 4), Linear(4, 2)).init(0).batch_first
    with pytest.raises(ValueError, match="batch_first is set for a whole model"):
        model[0].batch_first = False


@given(st.integers(1, 4), st.integers(0, 3), st.booleans(), st.data())
def test_time_and_batch_are_only_exchanged(T: int, B: int, integers: bool, data: Any) -> None:
    model = Sequential(GRU(3, 2, bidirectional=data.draw(st.booleans())), Dropout(0.2)).init(1, backend="numpy")
    x: Any = RNG.integers(0, 3, (T, B)) if integers else RNG.normal(size=(T, B, 3)).astype("f4")
    lengths = data.draw(st.none() | st.lists(st.integers(0, T), min_size=B, max_size=B))
    np.testing.assert_array_equal(
        model(turned(x), lengths=lengths, batch_first=True)[0], turned(model(x, lengths=lengths)[0])
    )
    if x.size:
        np.testing.assert_array_equal(model(turned(x).tolist(), batch_first=True)[0], turned(model(x)[0]))


def test_what_time_does_not_touch_stays() -> None:
    linear = Linear(2, 4).init(0, backend="numpy")
    np.testing.assert_array_equal(linear(X[0], batch_first=True)[0], linear(X[0])[0])
    y, _, backward = linear.forward(X[0], batch_first=True)
    dx, _ = backward(y)
    assert dx is not None
    np.testing.assert_allclose(dx, y @ linear.named_weights()["W"].T, rtol=1e-6)
    z, _ = Dropout(0.5).init()(X, batch_first=True)
    z[...] = 0
    assert X.any()


def test_errors_say_which_order_was_read() -> None:
    model = GRU(2, 4).init(0, backend="numpy")
    with pytest.raises(ValueError, match=r"x of shape \(T, B, 2\).*time first; batch_first=True takes \(B, T, 2\)"):
        model(np.zeros((3, 2, 5)))
    with pytest.raises(ValueError, match=r"x of shape \(B, T, 2\) or integers \(B, T\); got shape \(3, 2, 5\)$"):
        model(np.zeros((3, 2, 5)), batch_first=True)
    with pytest.raises(ValueError, match=r"expects integers of shape \(B, T\)"):
        model(np.zeros((3, 2, 5), int), batch_first=True)
    hint = r"x was read time first, as 3 steps of 5 rows: did you mean batch_first=True\?"
    with pytest.raises(ValueError, match=rf"lengths must be 5 integers.*{hint}"):
        model(turned(X), lengths=[1, 2, 3])
    with pytest.raises(ValueError, match=rf"state h must have shape.*{hint}"):
        model(turned(X), np.zeros((1, 3, 4)))
    with pytest.raises(ValueError, match=r"batch first, as 3 steps of 5 rows: did you mean batch_first=False\?"):
        model(X, lengths=[1, 2, 3], batch_first=True)
    for lengths, state in (([1, 2], None), (None, np.zeros((1, 2, 4))), (None, np.zeros((1, 3, 5)))):
        with pytest.raises(ValueError, match=r"must (be|have)") as raised:
            model(turned(X), state, lengths=lengths)
        assert "did you mean" not in str(raised.value)
    y, _, backward = model.forward(X)
    with pytest.raises(ValueError, match=r"shape of y, \(5, 3, 4\); got \(3, 5, 4\): time and batch are exchanged"):
        backward(turned(y))
    with pytest.raises(ValueError, match=r"got \(5, 2, 4\)$"):
        backward(y[:, :2])
    with pytest.raises(
        ValueError, match=r"targets must have shape \(5, 3\).*got \(3, 5\): time and batch are exchanged"
    ):
        cross_entropy(y, np.zeros((3, 5), int))
    with pytest.raises(ValueError, match=r"shape of y, .*got \(3, 5, 4\): time and batch are exchanged"):
        mse(y, turned(y))


def test_what_has_its_own_order_refuses_it(tmp_path: Path) -> None:
    vocab = Vocabulary.of("abc")
    lm = LanguageModel.build(vocab, hidden_size=4).init(0, backend="numpy")
    minirnn.save(lm, tmp_path / "lm.safetensors")
    with pytest.raises(ValueError, match=r"batch_first=True is for layers; .* holds a LanguageModel"):
        minirnn.load(tmp_path / "lm.safetensors", batch_first=True)
    network = lm.network.to()
    network.batch_first = True
    with pytest.raises(ValueError, match="feeds its network time first"):
        LanguageModel(network, vocab)

"""Layers that have weights, joined into a new model: what it computes, keeps, and can be used for."""

import copy
import gc
import pickle
import weakref
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
    SGD,
    Activation,
    Adam,
    Bidirectional,
    Dropout,
    Embedding,
    Last,
    Layer,
    Linear,
    Sequential,
    cross_entropy,
)
from minirnn.core.tree import arrays_in
from minirnn.language.model import LanguageModel
from minirnn.language.text import Vocabulary

RNG = np.random.default_rng(5)
X = RNG.normal(size=(6, 2, 3)).astype("f4")


def trained(*, dtype: str = "float32") -> Sequential:
    """A model after a few steps, so that no ``init`` could give its weights back."""
    model = Sequential(LSTM(3, 4), Linear(4, 5), GRU(5, 3), Linear(3, 2)).init(7, backend="numpy", dtype=dtype)
    adam = Adam(model, lr=0.05)
    for _ in range(3):
        y, _, backward = model.forward(X.astype(dtype))
        backward(y - 1)
        adam.step()
    return model


def by_layers(layers: Any, x: Any) -> Any:
    """The same by calling one layer after another."""
    for layer in layers:
        x, _ = layer(x)
    return x


# ---------------------------------------------------------------------- what it computes


PARTS: list[Any] = [
    lambda n: LSTM(n, 3),
    lambda n: GRU(n, 2, 2, trainable_state=True),
    lambda n: Linear(n, 4),
    lambda _: Activation("tanh"),
    lambda _: Dropout(0.3),
    lambda n: Bidirectional(RNN(n, 2), GRU(n, 2)),
    lambda n: Sequential(Linear(n, 3), RNN(3, 3)),
]


@given(st.lists(st.sampled_from(range(len(PARTS))), min_size=1, max_size=5), st.data())
def test_any_split_joined_again_computes_the_same_to_the_bit(kinds: list[int], data: Any) -> None:
    layers: list[Layer] = []
    width = 3
    for kind in kinds:
        layers.append(PARTS[kind](width))
        width = layers[-1].output_size or width
    whole = Sequential(*layers).init(data.draw(st.integers(0, 2**32 - 1)), backend="numpy")
    whole.weights = RNG.normal(size=whole.weights.shape).astype("f4")  # initial states too
    cuts = sorted(data.draw(st.lists(st.integers(0, len(layers)), max_size=3)))
    pieces = [whole.layers[a:b] for a, b in zip([0, *cuts], [*cuts, len(layers)], strict=True)]
    nested = data.draw(st.booleans())
    parts = [Sequential(*piece) for piece in pieces if piece] if nested else list(whole.layers)
    again = Sequential(*parts)
    for model in (whole, again):
        model.zero_grads()
    (y, final, backward), (z, other, back) = whole.forward(X), again.forward(X)
    if not any(isinstance(layer, Dropout) for layer in layers):  # whose masks go by the layer's name
        np.testing.assert_array_equal(y, z)
        for got, wanted in zip(back(z), backward(y), strict=True):
            flat = [list(arrays_in(tree)) for tree in (got, wanted)]
            assert len(flat[0]) == len(flat[1])
            for a, b in zip(*flat, strict=True):
                np.testing.assert_array_equal(a, b)
        for a, b in zip(again.named_grads().values(), whole.named_grads().values(), strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(whole(X)[0], again(X)[0])
    np.testing.assert_array_equal(by_layers(whole.layers, X), again(X)[0])
    assert len(list(arrays_in(final))) == len(list(arrays_in(other)))


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_joined_model_computes_the_same_on_every_backend(backend: str) -> None:
    model = trained().to(backend=backend)
    again = Sequential(*model.layers[:2], Sequential(*model.layers[2:]))
    assert again.bound.backend.name == backend
    np.testing.assert_array_equal(again(X)[0], model(X)[0])
    np.testing.assert_array_equal(again.forward(X)[0], model.forward(X)[0])
    stream = again.stream(2)
    np.testing.assert_allclose([stream(x) for x in X], model(X)[0], rtol=1e-5, atol=1e-6)


def test_both_directions_are_copies_of_one_layer_with_weights() -> None:
    gru = trained()[2]
    x = RNG.normal(size=(4, 2, 5)).astype("f4")
    both = Bidirectional(gru)
    wanted = np.concatenate([gru(x)[0], gru(x[::-1])[0][::-1]], axis=-1)
    np.testing.assert_array_equal(both(x)[0], wanted)
    assert set(both.named_weights()) == {
        f"{way}.0.{w}" for way in ("forward", "reverse") for w in ("W", "U", "b", "bn")
    }
    other = GRU(5, 3).init(3, backend="numpy")
    mixed = Bidirectional(gru, other)
    np.testing.assert_array_equal(mixed(x)[0], np.concatenate([gru(x)[0], other(x[::-1])[0][::-1]], axis=-1))


# ---------------------------------------------------------------------- whose the weights are


def test_what_the_layers_come_from_goes_on_as_it_was() -> None:
    model = trained()
    before, y = model.weights.copy(), model(X)[0]
    pending, _, backward = model.forward(X)
    sgd, stream = SGD(model, lr=0.1), model.stream()
    net = Sequential(*model.layers[:2], Activation("relu"), model[2])
    assert not np.shares_memory(net.weights, model.weights)
    assert all(net[k] is not layer for k, layer in enumerate(model.layers[:2]))

    out, _, back = net.forward(X)
    back(out)
    SGD(net, lr=0.5).step()
    np.testing.assert_array_equal(model.weights, before)
    np.testing.assert_array_equal(model(X)[0], y)
    np.testing.assert_array_equal(stream(X[0, :1]), model.stream()(X[0, :1]))
    assert not model.grads.any()

    moved = net.weights.copy()
    backward(pending)  # which was pending when its layers were joined
    sgd.step()
    assert not np.array_equal(model.weights, before)
    np.testing.assert_array_equal(net.weights, moved)


def test_a_layer_may_go_into_any_number_of_models() -> None:
    model = trained()
    one, other = Sequential(model[0], Linear(4, 2)).init(0), Sequential(model[0], Linear(4, 7)).init(0)
    for net in (one, other):
        for name, w in model[0].named_weights().items():
            np.testing.assert_array_equal(net.named_weights()[f"0.{name}"], w)
    with pytest.raises(ValueError, match=r"LSTM\(3, 4\) in two places; each needs .*copy.deepcopy makes one"):
        Sequential(model[0], Linear(4, 3).init(0), model[0])
    two = Sequential(trained()[2], Linear(3, 5).init(0, backend="numpy"), copy.deepcopy(trained()[2]))
    np.testing.assert_array_equal(two.named_weights()["2.0.W"], two.named_weights()["0.0.W"])


def test_a_part_is_copied_on_its_own() -> None:
    model = trained().freeze("2.0.U")
    for kind in ("float32", "float64"):
        part = model[2].to(dtype=kind)
        assert part.prefix == ""
        assert part.bound.frozen == {"0.U"}
        assert part.weights.dtype == kind
        np.testing.assert_array_equal(part.weights, model[2].weights)
        assert not np.shares_memory(part.weights, model.weights)
    with pytest.raises(ValueError, match=r"part of a larger one \(its to\(\) is a copy on its own\)"):
        model[2].stream()
    x = RNG.normal(size=(4, 1, 5)).astype("f4")
    stream = model[2].to().stream()
    np.testing.assert_allclose([stream(step) for step in x], model[2](x)[0], rtol=1e-6, atol=1e-6)


# ---------------------------------------------------------------------- uses


def test_a_joined_model_is_used_like_any_other(tmp_path: Path) -> None:
    model = trained()
    net = Sequential(*model.layers[:3], Activation("relu"), model[3])
    y = net(X)[0]
    minirnn.save(net, tmp_path / "net.safetensors")
    loaded = minirnn.load(tmp_path / "net.safetensors", backend="numpy")
    np.testing.assert_array_equal(loaded(X)[0], y)
    assert repr(net).splitlines()[-1] == f"  {net.bound.count} parameters, float32, backend numpy"
    assert repr(loaded) == repr(net)
    np.testing.assert_array_equal(net.to(dtype="float64").weights, net.weights)
    stream = net.stream(2)
    np.testing.assert_allclose([stream(x) for x in X], y, rtol=1e-5, atol=1e-6)
    small = net.quantize("int8")
    np.testing.assert_allclose(small(X)[0], y, rtol=0, atol=0.1)
    for clone in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):  # noqa: S301 - our own bytes
        np.testing.assert_array_equal(clone(X)[0], y)
    for optimiser in (SGD(net, lr=0.1, momentum=0.9), Adam(net)):
        out, _, backward = net.forward(X)
        backward(out)
        before = net.weights.copy()
        optimiser.step()
        assert not np.array_equal(net.weights, before)


def test_frozen_parts_stay_frozen_and_initial_states_go_along() -> None:
    gru = GRU(3, 4, trainable_state=True).init(0, backend="numpy")
    gru.named_weights()["0.h0"] = [1, 2, 3, 4]
    gru.freeze("0.U")
    net = Sequential(gru, Linear(4, 2).init(1, backend="numpy").freeze())
    assert net.bound.frozen == {"0.0.U", "1.W", "1.b"}
    np.testing.assert_array_equal(net.named_weights()["0.0.h0"], [1, 2, 3, 4])
    before = net.weights.copy()
    y, _, backward = net.forward(X)
    backward(y)
    SGD(net, lr=1).step()
    changed = {name for name, w in net.named_weights().items() if not np.array_equal(w, net.bound.view(before, name))}
    assert changed == {"0.0.W", "0.0.b", "0.0.bn", "0.0.h0"}
    fresh = Sequential(gru, Linear(4, 2)).init(0)
    assert fresh.bound.frozen == {"0.0.U"}


def test_tied_weights_stay_tied() -> None:
    embedding = Embedding(5, 3)
    model = Sequential(embedding, RNN(3, 3), Linear(3, 5, tie=embedding)).init(0, backend="numpy", dtype="float64")
    model.weights = RNG.normal(size=model.weights.shape)
    net = Sequential(model[0], Dropout(0.0), model[1], Activation("tanh"), model[2])
    x, targets = RNG.integers(0, 5, (2, 4, 3))
    W, b = model.named_weights()["0.W"], model.named_weights()["2.b"]
    wanted = np.tanh(by_layers(model.layers[:2], x)) @ W.T + b
    y, _, backward = net.forward(x)
    np.testing.assert_allclose(y, wanted, rtol=1e-12)
    backward(cross_entropy(y, targets)[1])
    SGD(net, lr=0.1).step()
    assert list(net.named_weights()) == ["0.W", "2.0.W", "2.0.U", "2.0.b", "4.b"]
    assert net[4].tie is net[0]  # type: ignore[attr-defined] # a Linear
    assert model[2].tie is embedding  # type: ignore[attr-defined] # a Linear

    new = Sequential(model[0], GRU(3, 3), Linear(3, 5, tie=model[0])).init(1)  # type: ignore[arg-type] # an Embedding
    assert new[2].tie is new[0]  # type: ignore[attr-defined] # a Linear
    np.testing.assert_array_equal(new.named_weights()["0.W"], W)
    new.forward(x)[2](np.ones((4, 3, 5)))
    with pytest.raises(
        ValueError, match=r"Linear\(3, 5, tie=.*uses the weights of Embedding\(5, 3\), which Sequential"
    ):
        Sequential(GRU(3, 3), model[2])
    with pytest.raises(ValueError, match=r"needs Embedding\(5, 3\) to be part"):
        model[2].to()


def test_quantised_layers_are_joined_with_their_kind_alone(tmp_path: Path) -> None:
    model = trained()
    for kind in ("int8", "f16", "bf16"):
        small = model.quantize(kind)
        net = Sequential(*small.layers, Activation("softmax"))
        e = np.exp(small(X)[0].astype("f8"))
        np.testing.assert_allclose(net(X)[0], e / e.sum(-1, keepdims=True), rtol=1e-5)
        assert net.bound.quantized == kind
        minirnn.save(net, tmp_path / "net.safetensors")
        np.testing.assert_array_equal(minirnn.load(tmp_path / "net.safetensors", backend="numpy")(X)[0], net(X)[0])
        assert net.bound.nbytes == small.bound.nbytes
        with pytest.raises(ValueError, match=r"weights of one dtype on one backend; got .*quantise the whole"):
            Sequential(*small.layers[:2], *model.layers[2:])
        with pytest.raises(ValueError, match=r"Linear\(2, 2\) has no weights yet, and other layers are quantised"):
            Sequential(*small.layers, Linear(2, 2))
        with pytest.raises(ValueError, match="init would lose weights"):
            net.init(0)


def test_layers_of_two_dtypes_or_backends_are_refused() -> None:
    model = trained()
    other = Linear(2, 2).init(0, backend="numpy", dtype="float64")
    with pytest.raises(ValueError, match=r"float32 on backend numpy \(LSTM\(3, 4\)\) and float64 on backend numpy"):
        Sequential(*model.layers, other)
    again = Sequential(*model.layers, other.to(dtype="float32"))
    np.testing.assert_allclose(again(X)[0], other(model(X)[0].astype("f8"))[0], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="float32 on backend numba"):
        Sequential(*model.layers, Linear(2, 2).init(0, backend="numba"))
    with pytest.raises(ValueError, match="Bidirectional joins weights of one dtype"):
        Bidirectional(model[0], LSTM(3, 4).init(0, backend="numpy", dtype="float64"))
    empty = Sequential(*model.layers, Activation("relu").init(dtype="float64"))  # which has no weights to differ in
    np.testing.assert_array_equal(empty(X)[0], np.maximum(model(X)[0], 0))


# ---------------------------------------------------------------------- init


def test_init_draws_what_is_missing_and_keeps_the_rest() -> None:
    model = trained(dtype="float64")
    net = Sequential(model[0], Dropout(0.2), Sequential(Linear(4, 3), Activation("relu")), Linear(3, 2))
    assert repr(net).splitlines()[-1] == "  151 parameters, not all allocated yet: init() draws those that are missing"
    with pytest.raises(RuntimeError, match=r"Linear\(4, 3\).* has no weights yet: call init\(\).* keep them"):
        net(X)
    SGD(model, lr=0.1).step()
    before = model[0].weights.copy()
    model.weights[...] = 0  # which reaches no copy
    net.init(3)
    assert net.bound.dtype == np.float64
    assert net.bound.backend.name == "numpy"
    np.testing.assert_array_equal(net[0].weights, before)
    drawn = Sequential(LSTM(3, 4), Linear(4, 3), Linear(3, 2)).init(3, backend="numpy", dtype="float64").named_weights()
    for name, there in (("2.0.W", "1.W"), ("2.0.b", "1.b"), ("3.W", "2.W"), ("3.b", "2.b")):
        np.testing.assert_array_equal(net.named_weights()[name], drawn[there])
    with pytest.raises(ValueError, match=r"init would lose .*\(0\.0\.W and 2 more\); nothing was changed"):
        net.init(4)
    np.testing.assert_array_equal(net[0].weights, before)
    single = Sequential(Sequential(net[0], Linear(4, 2)), Linear(2, 2)).init(0, dtype="float32")
    np.testing.assert_array_equal(single[0][0].weights, before.astype("f4"))  # type: ignore[index] # a Sequential


def lose(model: Any, how: str, path: Path) -> Any:
    """A model whose weights are worth something."""
    if how == "a step":
        y, _, backward = model.forward(X)
        backward(y)
        SGD(model, lr=1e-3).step()
    elif how == "load":
        minirnn.save(model, path / "model.safetensors")
        return minirnn.load(path / "model.safetensors", backend="numpy")
    elif how == "the flat vector":
        model.weights = model.weights + 0.5
    elif how == "one entry of a view":
        model.named_weights()["1.W"][1, 0] += 0.01
    elif how == "a name":
        model.named_weights()["1.b"] = 0
    elif how == "join":
        model.named_weights()["0.0.U"][0, 0] = 5
        return Sequential(*model.layers, Activation("tanh"))
    elif how == "a copy":
        return pickle.loads(pickle.dumps(lose(model, "a step", path).to()))  # noqa: S301 - our own bytes
    return model


@pytest.mark.parametrize(
    "how", ["a step", "load", "the flat vector", "one entry of a view", "a name", "join", "a copy"]
)
def test_init_loses_nothing_unless_it_is_to(how: str, tmp_path: Path) -> None:
    model = lose(Sequential(GRU(3, 4), Linear(4, 2)).init(0, backend="numpy"), how, tmp_path)
    before, updates = model.weights.copy(), model.bound.updates
    for words in ({}, {"seed": 1}, {"dtype": "float64"}, {"scheme": "normal"}):
        with pytest.raises(ValueError, match=r"init would lose weights that were loaded, trained or written \("):
            model.init(**words)
    np.testing.assert_array_equal(model.weights, before)
    assert model.bound.updates == updates
    model.init(0, backend="numpy", overwrite=True)
    fresh = Sequential(GRU(3, 4), Linear(4, 2)).init(0, backend="numpy")
    for a, b in zip(model.named_weights().values(), fresh.named_weights().values(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("scheme", ["uniform", "normal", "orthogonal"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_init_drew_may_be_drawn_again(scheme: Any, dtype: str) -> None:
    def layers() -> list[Layer]:
        return [Embedding(4, 3), LSTM(3, 4, 2, proj_size=2, trainable_state=True), Linear(2, 2)]

    model = Sequential(*layers()).init(0, scheme=scheme, backend="numpy", dtype=dtype)
    first = model.weights.copy()
    model.forward(np.zeros((2, 1), int))[2](np.ones((2, 1, 2), dtype))
    assert not np.array_equal(model.init(1, scheme=scheme, backend="numpy", dtype=dtype).weights, first)
    np.testing.assert_array_equal(model.init(0, scheme=scheme, backend="numpy", dtype=dtype).weights, first)
    other = "float64" if dtype == "float32" else "float32"
    model.to(dtype=other).to(dtype=dtype).init(2)
    copy.deepcopy(model).init(2)
    joined = Sequential(*(layer.init(5, scheme=scheme, dtype=dtype) for layer in layers()), Activation("tanh"))
    joined.init(1)
    part = Sequential(*model.layers[1:])
    part.init(1)
    part.named_weights()["1.b"] = 7
    with pytest.raises(ValueError, match=r"\(1\.b\)"):
        part.init(1)


def test_a_language_model_keeps_its_weights_too(tmp_path: Path) -> None:
    vocab = Vocabulary.of("abc")
    lm = LanguageModel.build(vocab, hidden_size=4).init(0, backend="numpy").init(1, backend="numpy")
    minirnn.save(lm, tmp_path / "lm.safetensors")
    loaded = minirnn.load(tmp_path / "lm.safetensors", backend="numpy")
    with pytest.raises(ValueError, match="init would lose weights"):
        loaded.init(2)
    loaded.init(2, backend="numpy", overwrite=True)
    np.testing.assert_array_equal(
        loaded.network.weights, LanguageModel.build(vocab, hidden_size=4).init(2, backend="numpy").network.weights
    )


def test_a_composite_of_ones_own_takes_in_layers_with_weights() -> None:
    class Residual(Layer):
        def __init__(self, inner: Layer) -> None:
            self.inner, self.input_size, self.output_size = inner, inner.input_size, inner.output_size

        def children(self) -> dict[str, Layer]:
            return {"inner": self.inner}

        def apply(self, x: Any, state: Any, run: Any) -> Any:
            result = self.inner.apply(x, state, run)
            return result._replace(y=result.y + x)

    gru = GRU(3, 3).init(0, backend="numpy", scheme="orthogonal")
    gru.weights *= 2
    wanted = gru(X)[0] + X
    net = Sequential(Residual(gru), Last())
    np.testing.assert_array_equal(net(X)[0], wanted[-1])
    alone = Residual(gru)
    with pytest.raises(RuntimeError, match="has no weights yet: call init"):
        alone(X)
    np.testing.assert_array_equal(alone.init(9)(X)[0], wanted)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_copy_does_not_hold_the_memory_of_the_model_that_it_was_made_of(backend: str) -> None:
    model = Sequential(GRU(3, 4), Linear(4, 2)).init(0, backend=backend)
    model[0](X)  # prepares a call
    old = weakref.ref(model.bound)
    net, part = Sequential(model[0], Activation("tanh")), model[0].to()
    wanted = np.tanh(model[0](X)[0])
    del model
    gc.collect()
    assert old() is None
    np.testing.assert_array_equal(net(X)[0], wanted)
    np.testing.assert_array_equal(np.tanh(part(X)[0]), wanted)

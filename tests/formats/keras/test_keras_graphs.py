"""Keras' Functional models that are no chains: what is loaded computes what Keras does, and what is refused."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from minirnn import LayerGraph, ModelFileError, load, save

Array: TypeAlias = NDArray[Any]

os.environ.setdefault("KERAS_BACKEND", "torch")
keras: Any = pytest.importorskip("keras", reason="Keras is not installed, which what is loaded is held against")
pytest.importorskip("torch", reason="Keras computes with torch here, which is not installed")

from keras_models import FORMATS, Models  # noqa: E402 - once it is known that there is a Keras

pytest.importorskip("h5py")
models, L = Models(keras, 3), keras.layers
pytestmark = [
    pytest.mark.extras,
    # Keras' own
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:keras"),
]
MADE: dict[str, Callable[[], Any]] = {}


def model(function: Callable[[], Any]) -> Callable[[], Any]:
    """Mark a function that makes a model."""
    MADE[function.__name__] = function
    return function


@model
def residual() -> Any:
    x = L.Input((5, 3), name="x")
    y = L.Add()([x, L.GRU(3, return_sequences=True)(x)])
    return keras.Model(x, L.Dense(2, activation="relu")(y))


@model
def two_inputs() -> Any:
    a, b = L.Input((5, 3), name="a"), L.Input((4,), name="b")
    h, d = L.LSTM(3)(a), L.Dense(3, activation="tanh")(b)
    return keras.Model([a, b], L.Dense(1, activation="sigmoid")(L.Concatenate()([h, d, L.Multiply()([h, d])])))


@model
def two_outputs() -> Any:
    a = L.Input((None, 3))
    h = L.Bidirectional(L.LSTM(3, return_sequences=True))(a)
    return keras.Model(a, [L.Dense(2, name="tags")(h), L.Dense(1, name="score")(L.GlobalMaxPooling1D()(h))])


@model
def twins() -> Any:
    a, b = L.Input((6,), dtype="int32", name="a"), L.Input((6,), dtype="int32", name="b")
    e = keras.Sequential([L.Embedding(9, 4, mask_zero=True), L.LSTM(3)])
    return keras.Model([a, b], L.Dense(1)(L.Concatenate()([e(a), e(b), L.Subtract()([e(a), e(b)])])))


@model
def twins_scored_by_a_product() -> Any:
    a, b, e = L.Input((6, 3)), L.Input((6, 3)), L.LSTM(3)
    return keras.Model([a, b], L.Dot(axes=1)([e(a), e(b)]))


@model
def twins_scored_by_a_cosine() -> Any:
    a, b, e = L.Input((6, 3)), L.Input((6, 3)), L.LSTM(3)
    return keras.Model([a, b], [L.Dot(axes=-1, normalize=True)([e(a), e(b)]), L.dot([a, b], 1, normalize=True)])


@model
def encoder_and_decoder() -> Any:
    a, b = L.Input((None, 3), name="enc"), L.Input((None, 2), name="dec")
    _, h, c = L.LSTM(4, return_state=True)(a)
    y, *_ = L.LSTM(4, return_state=True, return_sequences=True)(b, initial_state=[h, c])
    return keras.Model([a, b], L.Dense(2, activation="softmax")(y))


@model
def encoder_of_both_directions() -> Any:
    a, b = L.Input((None, 3), name="enc"), L.Input((None, 2), name="dec")
    _, fh, fc, bh, bc = L.Bidirectional(L.LSTM(2, return_state=True))(a)
    h, c = L.Concatenate()([fh, bh]), L.Concatenate()([fc, bc])
    y = L.LSTM(4, return_sequences=True)(b, initial_state=[h, c])
    y = L.Bidirectional(L.GRU(2, return_sequences=True))(y, initial_state=[fh, bh])
    return keras.Model([a, b], [L.Dense(2)(y), h])


@model
def autoencoder() -> Any:
    layers = [L.LSTM(4), L.RepeatVector(5), L.LSTM(4, return_sequences=True), L.TimeDistributed(L.Dense(3))]
    return keras.Sequential([L.Input((5, 3)), *layers])


@model
def one_mask_on_several_ways() -> Any:
    a = L.Input((None,), dtype="int32", name="tok")
    e = L.Embedding(5, 3, mask_zero=True)(a)
    h = L.LSTM(3, return_sequences=True)(e)
    s = L.Add()([e, h])
    return keras.Model(a, L.GRU(2)(L.Concatenate()([e, s, L.Average()([h, s])])))


@model
def one_mask_of_two_embeddings() -> Any:
    a = L.Input((6,), dtype="int32", name="tok")
    both = [L.Embedding(5, 3, mask_zero=True)(a), L.Embedding(7, 2, mask_zero=True)(a)]
    h = L.LSTM(3, return_sequences=True)(L.Concatenate()(both))
    return keras.Model(a, L.Bidirectional(L.GRU(2, return_sequences=True))(h))


@model
def a_layer_called_twice() -> Any:
    a, d = L.Input((None, 3)), L.Dense(3, activation="tanh")
    return keras.Model(a, L.GRU(2)(d(d(a))))


@model
def a_category_beside_a_sequence() -> Any:
    a, b = L.Input((5, 3), name="a"), L.Input((1,), dtype="int32", name="b")
    return keras.Model([a, b], L.Dense(1)(L.Add()([L.Flatten()(L.Embedding(7, 4)(b)), L.GRU(4)(a)])))


@model
def scores_of_steps() -> Any:
    a = L.Input((5, 3))
    h = L.GRU(4, return_sequences=True)(a)
    d = L.GRU(4, return_sequences=True)(h)
    c = L.Dot(axes=[2, 1])([L.Activation("softmax")(L.Dot(axes=[2, 2])([d, h])), h])
    return keras.Model(a, L.TimeDistributed(L.Dense(2))(L.Concatenate()([c, d])))


@model
def cosines_of_steps() -> Any:
    a = L.Input((5, 3))
    h = L.GRU(4, return_sequences=True)(a)
    scores = L.Dot(axes=2, normalize=True)([L.GRU(4, return_sequences=True)(h), h])
    return keras.Model(a, L.Concatenate()([L.Dot(axes=[2, 1], normalize=True)([scores, h]), scores]))


@model
def pooled_by_scores() -> Any:
    a = L.Input((5, 3))
    h = L.LSTM(4, return_sequences=True)(a)
    w = L.Softmax(axis=1)(L.Dense(1, activation="tanh")(h))
    return keras.Model(a, L.Dense(1)(L.Flatten()(L.Dot(axes=1)([w, h]))))


@model
def weighed_steps() -> Any:
    a = L.Input((5, 3))
    h = L.LSTM(4, return_sequences=True)(a)
    w = L.Permute((2, 1))(L.Dense(5, activation="softmax")(L.Permute((2, 1))(h)))
    return keras.Model(a, L.Dense(1)(L.Flatten()(L.Multiply()([h, w]))))


@model
def weighed_by_what_is_repeated() -> Any:
    a = L.Input((5, 3))
    h = L.LSTM(4, return_sequences=True)(a)
    w = L.Permute((2, 1))(L.RepeatVector(4)(L.Activation("softmax")(L.Flatten()(L.Dense(1)(h)))))
    return keras.Model(a, L.GlobalAveragePooling1D()(L.Multiply()([h, w])))


@model
def numbers_as_steps() -> Any:
    a = L.Input((15,))
    layers = [L.Reshape((-1, 3)), L.GRU(2, return_sequences=True), L.Flatten(), L.Dense(4), L.Reshape((2, 2))]
    return keras.Sequential([a, *layers, L.Reshape((4,))])


@model
def windows_of_several_widths() -> Any:
    a = L.Input((8, 3))
    pooled = [L.GlobalMaxPooling1D()(L.Conv1D(2, k, activation="relu")(a)) for k in (2, 3, 4)]
    wide = L.Concatenate()([L.Conv1D(2, k, padding="same")(a) for k in (2, 3, 4)])
    z = L.BatchNormalization()(L.Conv1D(6, 1)(wide))
    return keras.Model(a, L.Dense(2)(L.Concatenate()([*pooled, L.LSTM(2)(L.Average()([z, wide]))])))


@model
def a_model_called_twice() -> Any:
    i = L.Input((5, 3))
    h = L.GRU(3, return_sequences=True)(i)
    inner = keras.Model(i, [L.Add()([i, h]), h])
    a = L.Input((5, 3))
    p, q = inner(a)
    r, s = inner(p)
    return keras.Model(a, [L.Maximum()([r, q]), L.Minimum()([s, p])])


@model
def sums_without_layers() -> Any:
    a = L.Input((5, 3))
    h = L.GRU(3, return_sequences=True)(a)
    return keras.Model(a, (a + h) * h - a)


@model
def the_same_at_every_step() -> Any:
    a = L.Input((5, 3))
    return keras.Model(a, L.Add()([a, L.GRU(3)(a)]))


@model
def steps_one_after_another() -> Any:
    a, b = L.Input((5, 3)), L.Input((2, 3))
    return keras.Model([a, b], L.GRU(3)(L.Concatenate(axis=1)([a, b])))


@model
def outputs_that_are_one() -> Any:
    a = L.Input((5, 3))
    h = L.GRU(3)(a)
    return keras.Model(a, [a, h, h])


def attended(layer: Any, masked: bool = False, **more: Any) -> Any:
    """A decoder whose steps read an encoder's."""
    if masked:
        a, b = L.Input((5,), dtype="int32", name="a"), L.Input((4,), dtype="int32", name="b")
        x, z = L.Embedding(9, 3, mask_zero=True)(a), L.Embedding(9, 3, mask_zero=True)(b)
    else:
        a, b = L.Input((5, 3), name="a"), L.Input((4, 3), name="b")
        x, z = a, b
    h, d = L.LSTM(4, return_sequences=True)(x), L.GRU(4, return_sequences=True)(z)
    heads = isinstance(layer, L.MultiHeadAttention)
    c = layer(d, h, **more) if heads else layer([d, h], **more)
    return keras.Model([a, b], [L.Dense(2)(L.GRU(3)(c)) if masked else L.Dense(2)(L.Concatenate()([d, c])), c])


ATTENTION: dict[str, Callable[[], Any]] = {
    "dot": lambda: attended(L.Attention()),
    "dot, scaled, causal": lambda: attended(L.Attention(use_scale=True), use_causal_mask=True),
    "concat": lambda: attended(L.Attention(use_scale=True, score_mode="concat")),
    "concat, not scaled": lambda: attended(L.Attention(score_mode="concat", dropout=0.2)),
    "additive": lambda: attended(L.AdditiveAttention()),
    "additive, not scaled": lambda: attended(L.AdditiveAttention(use_scale=False)),
    "under masks": lambda: attended(L.Attention(), masked=True),
    "additive, under masks, causal": lambda: attended(L.AdditiveAttention(), masked=True, use_causal_mask=True),
    "heads": lambda: attended(L.MultiHeadAttention(2, 3)),
    "heads of other sizes": lambda: attended(L.MultiHeadAttention(3, 2, value_dim=5, output_shape=7)),
    "heads without biases, causal": lambda: attended(
        L.MultiHeadAttention(2, 3, use_bias=False, dropout=0.1), use_causal_mask=True
    ),
}
MADE |= {f"attention, {name}": make for name, make in ATTENTION.items()}


@model
def a_sequence_that_reads_itself() -> Any:
    a = L.Input((None, 4))
    h = L.LayerNormalization()(L.Add()([a, L.MultiHeadAttention(2, 2)(a, a)]))
    q = L.Bidirectional(L.GRU(2, return_sequences=True))(h)
    return keras.Model(a, L.GlobalAveragePooling1D()(L.Attention()([q, h, L.Dense(4)(q)])))


def with_weights(made: Any, seed: int = 0) -> Any:
    """The model with every weight drawn, variances above 0."""
    rng = np.random.default_rng(seed)
    drawn = [rng.normal(0, 0.6, w.shape).astype(w.dtype) for w in made.get_weights()]
    names = [w.name for w in made.weights]
    made.set_weights([abs(w) + 0.1 if "variance" in n else w for w, n in zip(drawn, names, strict=True)])
    return made


def inputs_of(made: Any, seed: int = 1) -> list[Array]:
    """An input for each of the model's, the batch first; indices from 0 on."""
    rng = np.random.default_rng(seed)
    arrays = []
    for one in made.inputs:
        shape = [3, *(5 if n is None else n for n in one.shape[1:])]
        integers = "int" in str(one.dtype)
        arrays.append(rng.integers(0, 5, shape) if integers else rng.normal(size=shape).astype(np.float32))
    return arrays


def check(made: Any, path: Path, config: Any) -> LayerGraph:
    """What is loaded computes what Keras does; the graph."""
    xs = inputs_of(made)
    theirs = made(xs if len(xs) > 1 else xs[0], training=False)
    theirs = list(theirs) if isinstance(theirs, (list, tuple)) else [theirs]
    graph = load(path, batch_first=True) if config is None else load(path, config=config, batch_first=True)
    assert isinstance(graph, LayerGraph)
    assert [entry.name for entry in graph.entries] == [one._keras_history.operation.name for one in made.inputs]
    inputs = {entry.name: x for entry, x in zip(graph.entries, xs, strict=True)}
    outputs, _ = graph.run(inputs)
    for y, wanted in zip(outputs.values(), theirs, strict=True):
        np.testing.assert_allclose(y, wanted.detach().numpy(), rtol=0, atol=2e-6)
    if graph.one_way:
        np.testing.assert_array_equal(graph(xs[0])[0], next(iter(outputs.values())))
    return graph


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("name", MADE)
def test_a_graph_gives_the_same_numbers(tmp_path: Path, name: str, ending: str) -> None:
    keras.utils.clear_session(free_memory=False)
    made = with_weights(MADE[name]())
    path, config = models.saved(made, tmp_path, ending)
    graph = check(made, path, config)
    save(graph, tmp_path / "ours.safetensors")
    again = load(tmp_path / "ours.safetensors")
    assert again.describe() == graph.describe()


def test_a_cosine_of_what_is_0_or_nearly(tmp_path: Path) -> None:
    keras.utils.clear_session(free_memory=False)
    a, b = L.Input((3,), name="a"), L.Input((3,), name="b")
    made = keras.Model([a, b], L.Dot(axes=1, normalize=True)([a, b]))
    x = np.array([[0, 0, 0], [3e-8, 0, 4e-8], [6e-7, 8e-7, 0], [1, -2, 3]], np.float32)
    z = np.ones((4, 3), np.float32)
    graph = load(models.saved(made, tmp_path, ".keras")[0])
    y = graph.run({"a": x, "b": z})[0][next(iter(graph.outputs))]
    assert not y[0].any()
    assert y[1:].all()
    np.testing.assert_allclose(y, made([x, z]).detach().numpy(), rtol=1e-6)


def test_layers_keep_their_names_and_outputs_theirs(tmp_path: Path) -> None:
    keras.utils.clear_session(free_memory=False)
    made = with_weights(two_outputs())
    made.layers[1].trainable = False
    graph = check(made, *models.saved(made, tmp_path, ".keras"))
    assert list(graph.outputs) == ["tags", "score"]
    assert {name.split(".")[0] for name in graph.named_weights()} == {"bidirectional", "tags", "score"}
    assert {name.split(".")[0] for name in graph.bound.frozen} == {"bidirectional"}


def test_calls_as_keras_2_writes_them(tmp_path: Path) -> None:
    """Lists of ``[layer, call, output, settings]``, the initial state beside x or in the settings."""
    made = with_weights(encoder_and_decoder())
    path, text = models.saved(made, tmp_path, ".weights.h5")
    for beside in (True, False):
        about = json.loads(text)
        for layer in about["config"]["layers"]:
            for k, call in enumerate(layer["inbound_nodes"]):
                args = [one["config"]["keras_history"] for one in call["args"]]
                state = call["kwargs"].get("initial_state") or []
                state = [one["config"]["keras_history"] for one in state]
                if beside:
                    layer["inbound_nodes"][k] = [[*one, {}] for one in [*args, *state]]
                else:
                    layer["inbound_nodes"][k] = [[*args[0], {"initial_state": state} if state else {}]]
        check(made, path, json.dumps(about))


# ---------------------------------------------------------------------- what is refused


def several_masks() -> Any:
    a, b = L.Input((4,), dtype="int32"), L.Input((4,), dtype="int32")
    e = [L.Embedding(5, 3, mask_zero=True)(x) for x in (a, b)]
    return keras.Model([a, b], L.LSTM(2)(L.Add()(e)))


def a_mask_on_one_side() -> Any:
    a = L.Input((4,), dtype="int32")
    e = L.Embedding(5, 3, mask_zero=True)(a)
    return keras.Model(a, L.LSTM(2)(L.Multiply()([e, e])))


def a_mask_of_its_own() -> Any:
    a = L.Input((4, 3))
    b = L.LSTM(2)(a, mask=keras.ops.any(keras.ops.not_equal(a, 3.0), axis=-1))
    return keras.Model(a, [b, L.GRU(2)(a)])


def an_operation() -> Any:
    a = L.Input((4, 3))
    return keras.Model(a, L.Add()([a, keras.ops.sin(a)]))


def a_number() -> Any:
    a = L.Input((4, 3))
    return keras.Model(a, L.Add()([a, a + 1.0]))


def no_merging() -> Any:
    a = L.Input((4, 3))
    return keras.Model(a, L.Bidirectional(L.LSTM(2), merge_mode=None)(a))


def a_picture() -> Any:
    a, b = L.Input((4, 3, 2)), L.Input((4, 3))
    return keras.Model([a, b], [L.Dense(2)(a), L.Dense(2)(b)])


def a_state_of_several_cells() -> Any:
    a = L.Input((4, 3))
    y, *states = L.RNN([L.GRUCell(2), L.GRUCell(2)], return_state=True)(a)
    return keras.Model(a, [y, states[1]])


def heads_under_a_mask() -> Any:
    a = L.Input((4,), dtype="int32")
    e = L.Embedding(5, 4, mask_zero=True)(a)
    return keras.Model(a, L.MultiHeadAttention(2, 3)(e, e))


def a_mask_for_attention() -> Any:
    a, m = L.Input((4, 3)), L.Input((4, 4))
    return keras.Model([a, m], L.MultiHeadAttention(2, 3)(a, a, attention_mask=m))


def scores_as_an_output() -> Any:
    a = L.Input((4, 3))
    y, scores = L.Attention()([a, a], return_attention_scores=True)
    return keras.Model(a, [y, scores])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (several_masks, "Add .*: under a mask, or under several|a mask that several layers make"),
        (a_mask_on_one_side, "Multiply .*: under a mask"),
        (a_mask_of_its_own, "LSTM .*: is called with a mask of its own"),
        (an_operation, "Sin"),
        (a_number, "Add .*: is called with 1.0, which is not supported"),
        (no_merging, "merge_mode=None is not supported"),
        (a_picture, r"InputLayer .*: must be of shape \(steps, features\) or \(features,\)"),
        (a_state_of_several_cells, "output 2 of a layer is read"),
        (heads_under_a_mask, "MultiHeadAttention .*: of a query under a mask is not supported"),
        (a_mask_for_attention, "MultiHeadAttention .*: is called with attention_mask="),
        (scores_as_an_output, "Attention .*: is called with return_attention_scores=True"),
    ],
)
def test_what_is_not_supported_is_named(tmp_path: Path, make: Any, words: str) -> None:
    keras.utils.clear_session(free_memory=False)
    path, _ = models.saved(make(), tmp_path, ".keras")
    with pytest.raises(ModelFileError) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert re.search(words, str(caught.value))

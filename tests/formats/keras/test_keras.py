"""Files of Keras 3: what is loaded computes what Keras does, for layers, wrappers and forms in every combination."""

import json
import os
import re
import zipfile
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from minirnn import ModelFileError, load
from minirnn.formats.keras import load as load_keras

Array: TypeAlias = NDArray[Any]

os.environ.setdefault("KERAS_BACKEND", "torch")
keras: Any = pytest.importorskip("keras", reason="Keras is not installed, which what is loaded is held against")
pytest.importorskip("torch", reason="Keras computes with torch here, which is not installed")

from keras_models import FORMATS, Models, check  # noqa: E402 - once it is known that there is a Keras

h5py: Any = pytest.importorskip("h5py")
models, L = Models(keras, 3), keras.layers
pytestmark = [
    pytest.mark.extras,
    # Keras' own
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:keras"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keras")


@given(st.data(), st.sampled_from(FORMATS))
def test_a_model_of_any_layers_gives_the_same_numbers(folder: Path, data: st.DataObject, ending: str) -> None:
    keras.utils.clear_session(free_memory=False)
    model, x = models.model(data.draw)
    check(model, x, *models.saved(model, folder, ending))


# ---------------------------------------------------------------------- what the draws above do not reach


def random_weights(model: Any, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(0, 0.6, w.shape).astype(w.dtype) for w in model.get_weights()])
    return model


def sequence(*shape: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


every_format = pytest.mark.parametrize("ending", FORMATS)


@every_format
def test_frozen_layers_keep_their_weights_apart_and_stay_frozen(tmp_path: Path, ending: str) -> None:
    inner = keras.Sequential([L.Input((None, 3)), L.LSTM(2, return_sequences=True), L.GRU(2), L.Dense(3)])
    model = random_weights(keras.Sequential([L.Input((None, 3)), L.LSTM(3, return_sequences=True), inner]))
    inner.layers[0].trainable = False  # the older format then has its weights last
    x = sequence(2, 4, 3)
    path, config = models.saved(model, tmp_path, ending)
    check(model, x, path, config)
    assert load(path, config=config).bound.frozen == {"1.0.W", "1.0.U", "1.0.b"}


@every_format
def test_biases_that_a_layer_does_not_have_are_zero_and_frozen(tmp_path: Path, ending: str) -> None:
    both = L.Bidirectional(L.GRU(2, use_bias=False, return_sequences=True))
    model = random_weights(keras.Sequential([L.Input((None, 3)), both, L.LSTM(2)]))
    path, config = models.saved(model, tmp_path, ending)
    loaded = load(path, config=config)
    assert loaded.bound.frozen == {"0.0.b", "0.0.bn", "0.0.reverse.b", "0.0.reverse.bn"}
    assert not loaded.named_weights()["0.0.b"].any()


def test_hard_sigmoid_is_that_of_keras_3(tmp_path: Path) -> None:
    model = keras.Sequential([L.Input((3,)), L.Activation("hard_sigmoid"), L.Dense(3)])
    model.set_weights([np.eye(3), np.zeros(3)])
    a = sequence(50, 3) * 4
    y, _ = load(models.saved(model, tmp_path, ".keras")[0])(a)
    np.testing.assert_allclose(y, np.clip(a + 3, 0, 6) / 6, atol=1e-6)


@pytest.mark.parametrize("functional", [True, False])
@every_format
def test_layers_around_a_recurrence(tmp_path: Path, ending: str, functional: bool) -> None:
    """Flatten too, which needs a number of steps, and strides that change it."""
    layers = [
        L.Conv1D(4, 3, strides=2, groups=1, activation="relu"),
        L.BatchNormalization(),
        L.MaxPooling1D(2, strides=1),
        L.GRU(3, return_sequences=True),
        L.AveragePooling1D(2),
        L.LayerNormalization(),
        L.Flatten(),
        L.BatchNormalization(scale=False),
        L.PReLU(),
        L.Flatten(),
        L.Dense(2),
    ]
    entry = L.Input((10, 3))
    y = entry
    for layer in layers if functional else ():
        y = layer(y)
    model = keras.Model(entry, y) if functional else keras.Sequential([entry, *layers])
    rng = np.random.default_rng(0)
    model.set_weights([rng.random(w.shape).astype(w.dtype) for w in model.get_weights()])  # variances too
    check(model, sequence(3, 10, 3), *models.saved(model, tmp_path, ending))


def test_a_mean_of_the_steps_that_a_mask_leaves(tmp_path: Path) -> None:
    layers = [L.Masking(), L.LayerNormalization(), L.GRU(3, return_sequences=True), L.GlobalAveragePooling1D()]
    model = random_weights(keras.Sequential([L.Input((None, 3)), *layers, L.Dense(2)]))
    x = sequence(3, 6, 3)
    x[0, 2:4] = x[1, 5:] = x[2, :3] = 0
    check(model, x, *models.saved(model, tmp_path, ".keras"))


def test_a_variance_below_zero_is_refused(tmp_path: Path) -> None:
    model = keras.Sequential([L.Input((None, 3)), L.LSTM(2), L.BatchNormalization()])
    model.layers[-1].set_weights([np.ones(2), np.zeros(2), np.zeros(2), np.array([1, -1.0])])
    assert "weight 2.var, a variance, must not be below 0; it holds -1" in refusal(model, (), tmp_path)


@pytest.mark.parametrize("policy", ["float64", "mixed_float16", "float16", "bfloat16"])
@every_format
def test_weights_of_any_width(tmp_path: Path, ending: str, policy: str) -> None:
    try:
        keras.config.set_dtype_policy(policy)
        gru = L.GRU(2, recurrent_initializer="glorot_uniform")  # torch has no orthogonal one of 16 bits
        model = random_weights(keras.Sequential([L.Input((None, 3)), gru, L.Dense(2)]))
        path, config = models.saved(model, tmp_path, ending)
    finally:
        keras.config.set_dtype_policy("float32")
    loaded = load(path, config=config)
    assert loaded.bound.dtype == ("float64" if policy == "float64" else "float32")
    assert load(path, config=config, dtype="float64").bound.dtype == "float64"
    expected = np.asarray(model.get_weights()[-2]).astype(np.float64)
    np.testing.assert_array_equal(loaded.named_weights()["2.W"], expected)


def test_a_layer_may_return_its_state_if_no_other_reads_it(tmp_path: Path) -> None:
    given = L.Input((None, 3))
    y, *_ = L.LSTM(2, return_state=True, return_sequences=True, stateful=False)(given)
    y, *_ = L.Bidirectional(L.GRU(2, return_state=True))(y)
    model = random_weights(keras.Model(given, y))
    check(model, sequence(2, 4, 3), *models.saved(model, tmp_path, ".keras"))


def test_a_model_that_does_nothing_in_inference(tmp_path: Path) -> None:
    model = keras.Sequential([L.Input((None, 3)), L.GaussianNoise(0.1), L.Activation("linear")])
    check(model, sequence(2, 4, 3), *models.saved(model, tmp_path, ".keras"))


def test_a_configuration_may_be_text_a_dictionary_a_file_or_written_by_hand(tmp_path: Path) -> None:
    model = random_weights(keras.Sequential([L.Input((None, 3)), L.LSTM(2, return_sequences=True), L.Dense(2)]))
    x = sequence(2, 4, 3)
    path, text = models.saved(model, tmp_path, ".weights.h5")
    (tmp_path / "config.json").write_text(text)
    short = {
        "class_name": "Sequential",
        "config": [
            {"class_name": "LSTM", "config": {"units": 2, "return_sequences": True}},
            {"class_name": "Dense", "config": {"units": 2}},
        ],
    }
    for config in (text, json.loads(text), tmp_path / "config.json", str(tmp_path / "config.json"), short):
        check(model, x, path, config)
    for wrong, words in (
        ("{", "must be JSON"),
        ({"class_name": "Sequential", "config": object()}, "what model.to_json"),
        ({"class_name": "Sequential"}, "must have a list of"),
        ([], "config must be a path"),
        ({"class_name": "Sequential", "config": short["config"][:1]}, "layers/dense/vars/[01] does not"),
    ):
        with pytest.raises((ValueError, TypeError), match=words):
            load(path, config=wrong)
    with pytest.raises(ModelFileError, match="pass config="):
        load(path)


def test_names_that_are_too_long_for_one_attribute(tmp_path: Path) -> None:
    layers = [L.Dense(2, name=f"{k:03}{'x' * 2000}") for k in range(40)]
    model = random_weights(keras.Sequential([L.Input((3,)), *layers]))
    path, _ = models.saved(model, tmp_path, ".h5")
    with h5py.File(path) as file:
        assert "layer_names1" in file["model_weights"].attrs
    check(model, sequence(2, 3), path, None)


def test_the_places_of_keras_2_13(tmp_path: Path) -> None:
    model = random_weights(keras.Sequential([L.Input((None, 3)), keras.Sequential([L.LSTM(2)]), L.Dense(2)]))
    path, text = models.saved(model, tmp_path, ".weights.h5")
    with h5py.File(path, "a") as file:
        file.move("layers/sequential/layers", "layers/sequential/_layer_checkpoint_dependencies")
        file.move("layers", "_layer_checkpoint_dependencies")
    check(model, sequence(2, 4, 3), path, text)


def test_keras_2_12_numbers_a_layer_with_weights_twice(tmp_path: Path) -> None:
    inner = keras.Sequential([L.LSTM(2, return_sequences=True), L.Dropout(0.5), L.LSTM(3, return_sequences=True)])
    layers = [L.Dense(3), L.LSTM(4, return_sequences=True), inner, L.LSTM(2), L.Dense(3), L.Dense(2)]
    model = random_weights(keras.Sequential([L.Input((None, 3)), *layers]))
    path, text = models.saved(model, tmp_path, ".weights.h5")
    with h5py.File(path, "a") as file:
        for old, new in (("dense_2", "dense_4"), ("dense_1", "dense_2"), ("lstm_1", "lstm_2")):
            file.move(f"layers/{old}", f"layers/{new}")
        file.move("layers/sequential/layers/lstm_1", "layers/sequential/layers/lstm_2")
        file.move("layers/sequential/layers", "layers/sequential/_layer_checkpoint_dependencies")
        file.move("layers", "_layer_checkpoint_dependencies")
    check(model, sequence(2, 4, 3), path, text)


# ---------------------------------------------------------------------- what is refused


def refusal(layers: list[Any] | Any, shape: tuple[int | None, ...], folder: Path) -> str:
    model = keras.Sequential([L.Input(shape), *layers]) if isinstance(layers, list) else layers
    path, _ = models.saved(model, folder, ".keras")
    with pytest.raises(ModelFileError) as caught:
        load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)[len(str(path)) :]


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (lambda: [L.SeparableConv1D(2, 2, name="c1")], "SeparableConv1D 'c1': is not supported"),
        (lambda: [L.Conv1D(2, 2, data_format="channels_first")], "Conv1D .*: data_format must be 'channels_last'"),
        (lambda: [L.GlobalMaxPooling1D(keepdims=True)], "keepdims=True is not supported"),
        (lambda: [L.LayerNormalization(axis=1)], "axis=1 is not supported: only features"),
        (lambda: [L.LayerNormalization(axis=[1, 2])], r"axis=\[1, 2\] is not supported"),
        (lambda: [L.PReLU()], r"one slope for each feature or for all \(shared_axes=\[1\]\); it has \(4, 3\)"),
        (lambda: [L.Masking(), L.Conv1D(2, 2)], "Conv1D .*: under a mask is not supported: Keras would read"),
        (lambda: [L.Masking(), L.GlobalMaxPooling1D()], "GlobalMaxPooling1D .*: under a mask"),
        (lambda: [L.TimeDistributed(L.RepeatVector(2))], "RepeatVector at every step"),
        (lambda: [L.LSTM(2, activation=keras.ops.sin)], "activation"),
        (lambda: [L.Dense(2, activation="celu")], "activation 'celu'"),
        (lambda: [L.ReLU(3.0)], "max_value=3.0"),
        (lambda: [L.Softmax(axis=1)], "axis=1 is not supported"),
        (lambda: [L.Masking(), L.Softmax()], "under a mask"),
        (lambda: [L.Masking(), L.LSTM(2, return_sequences=True), L.Masking()], "a second mask"),
        (lambda: [L.Masking(), L.LSTM(2, zero_output_for_mask=True)], "zero_output_for_mask"),
        (
            lambda: [L.Masking(), L.GRU(2, go_backwards=True, return_sequences=True), L.LSTM(2)],
            "after a layer that goes backwards",
        ),
        (lambda: [L.Bidirectional(L.LSTM(2, go_backwards=True), backward_layer=L.LSTM(2))], "read forwards"),
    ],
)
def test_a_layer_that_is_not_supported_is_named(tmp_path: Path, layers: Any, words: str) -> None:
    assert re.search(words, refusal(layers(), (4, 3), tmp_path))


@pytest.mark.parametrize("kind", ["Conv1D", "MaxPooling1D", "AveragePooling1D"])
def test_padding_with_a_stride_needs_the_number_of_steps(tmp_path: Path, kind: str) -> None:
    def layer(size: int, stride: int) -> Any:
        more = {"filters": 2, "kernel_size": size} if kind == "Conv1D" else {"pool_size": size}
        return getattr(L, kind)(strides=stride, padding="same", **more)

    assert re.search(f"{kind} .*: padding 'same' needs stride 1", refusal([layer(3, 2)], (None, 3), tmp_path))
    cases = [(3, 2, 7), (5, 2, 9), (1, 2, 5)]  # as many on either side
    if kind != "AveragePooling1D":  # where Keras on torch counts what it repeats at an edge, and on TensorFlow does not
        cases += [(3, 2, 8), (4, 3, 7), (2, 3, 8), (5, 4, 4)]
    for size, stride, steps in cases:
        model = keras.Sequential([L.Input((steps, 3)), layer(size, stride), L.LSTM(2)])
        check(random_weights(model), sequence(2, steps, 3), *models.saved(model, tmp_path, ".keras"))


def refused() -> dict[str, Any]:
    """Functional models that no graph of layers is read from."""
    a = L.Input((None, 3))
    dense = L.Dense(3)
    return {
        "a mask of its own": keras.Model(a, L.LSTM(2)(a, mask=keras.ops.any(keras.ops.not_equal(a, 3.0), axis=-1))),
        "an operation": keras.Model(a, keras.ops.sin(dense(a))),
        "no merging": keras.Model(a, L.Bidirectional(L.LSTM(2), merge_mode=None)(a)),
    }


WORDS = {
    "a mask of its own": "a mask of its own",
    "an operation": "Sin",
    "no merging": "merge_mode",
}


@pytest.mark.parametrize("name", WORDS)
def test_a_functional_model_that_is_not_supported_is_refused(tmp_path: Path, name: str) -> None:
    assert re.search(WORDS[name], refusal(refused()[name], (), tmp_path))


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    model = keras.Sequential([L.Input((None, 3)), L.GRU(2, return_sequences=True), L.Dense(2)])
    path, text = models.saved(model, tmp_path, ".weights.h5")
    for old, new, words in (
        ('"units": 2, "activation": "tanh"', '"units": 3, "activation": "tanh"', "GRU.*must have weights of shape"),
        ('"reset_after": true', '"reset_after": false', "must have weights of shape"),
        ('"use_bias": true', '"use_bias": false', "must have 2 weights"),
        ('"units": 2', '"units": 99999999999', "must have weights of shape"),
        ('"units": 2', '"units": -1', "units must be an integer"),
        ('"units": 2', '"units": true', "units must be an integer"),
        ('"return_sequences": true', '"return_sequences": 7', "return_sequences must be true or false"),
    ):
        assert old in text
        with pytest.raises(ModelFileError, match=words):
            load(path, config=text.replace(old, new, 1))
    with h5py.File(path, "a") as file:
        file["layers/dense/vars/0"][0, 0] = np.nan
    with pytest.raises(ModelFileError, match="must be finite"):
        load(path, config=text)
    with h5py.File(path, "a") as file:
        del file["layers/dense/vars/0"]
        file["layers/dense/vars/0"] = np.zeros((2, 2), np.int32)
    with pytest.raises(ModelFileError, match="floating point"):
        load(path, config=text)


def test_zips_that_are_no_models_are_refused(tmp_path: Path) -> None:
    model = keras.Sequential([L.Input((None, 3)), L.GRU(2)])
    path, _ = models.saved(model, tmp_path, ".keras")
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    for change, words in (
        ({"config.json": None}, "config.json"),
        ({"config.json": b"["}, "must be JSON"),
        ({"config.json": b"[" * 100_000}, "must be JSON"),
        ({"config.json": b"[]"}, "must be that of a Sequential"),
        ({"config.json": b" " * 3_000_000}, "at most 2,097,152 bytes"),
        ({"model.weights.h5": None}, "must have its weights"),
        ({"model.weights.h5": b"\x89HDF"}, "model.weights.h5"),
        ({"metadata.json": b'{"keras_version": "1.2.2"}'}, "Keras 2 or 3"),
    ):
        with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
            for name, content in (parts | change).items():
                if content is not None:
                    archive.writestr(name, content)
        with pytest.raises(ModelFileError, match=words):
            load_keras(tmp_path / "other.keras")

"""Quantised models: what is stored, what is multiplied, what is lost, and what is refused."""

import copy
import json
import pickle
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load as read_tensors
from safetensors.numpy import save as write_tensors

from minirnn import (
    GRU,
    LSTM,
    RNN,
    Adam,
    Bidirectional,
    Embedding,
    Last,
    Layer,
    Linear,
    ModelFileError,
    Sequential,
    get_num_threads,
    load,
    save,
    set_num_threads,
)
from minirnn.core.backend import get_backend
from minirnn.core.bfloat16 import rounded
from minirnn.inference.blocks import BlockedMatrix, quantized
from minirnn.language.model import LanguageModel
from minirnn.language.text import Text

Array: TypeAlias = NDArray[Any]
BACKENDS = ("numpy", "numba")
KINDS = ("f16", "bf16", "int8")
every_backend = pytest.mark.parametrize("backend", BACKENDS)
every_kind = pytest.mark.parametrize("kind", KINDS)


def matrix_of(K: int, N: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(K, N)).astype(np.float32)


def ready(model: Layer, backend: str = "auto") -> Layer:
    model.init(0, backend=backend, overwrite=True)
    rng = np.random.default_rng(1)
    for w in model.named_weights().values():
        w[...] = rng.normal(size=w.shape) * 0.3
    return model


def tied() -> Sequential:
    embedding = Embedding(40, 33)
    return Sequential(embedding, GRU(33, 33), Linear(33, 40, tie=embedding))


MODELS: dict[str, Callable[[], Layer]] = {
    "whole": lambda: Sequential(Embedding(40, 20), GRU(20, 45, 2), Linear(45, 40)),
    "one-hot": lambda: Sequential(LSTM(40, 45, 2), Linear(45, 40)),
    "both directions": lambda: Sequential(RNN(40, 20, bidirectional=True), Linear(40, 7)),
    "composed": lambda: Bidirectional(LSTM(40, 5)),
    "reset before": lambda: GRU(40, 9, reset="before"),
    "projected": lambda: LSTM(40, 70, 2, bidirectional=True, proj_size=33),
    "tied": tied,
    "last": lambda: Sequential(LSTM(40, 5, trainable_state=True), Last(), Linear(5, 2)),
}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS.keys())


# ---------------------------------------------------------------------- one matrix


@given(K=st.integers(1, 80), N=st.integers(1, 110), transposed=st.booleans(), seed=st.integers(0, 99))
def test_int8_is_off_by_half_a_scale_at_most(K: int, N: int, *, transposed: bool, seed: int) -> None:
    W = matrix_of(K, N, seed)
    matrix = BlockedMatrix.of(W, "int8", transposed=transposed)
    largest = np.abs(W).max(axis=1 if transposed else 0, keepdims=True)
    assert matrix.shape == W.shape
    assert (np.abs(matrix.dense() - W) <= largest / 127 * (0.5 + 1e-5)).all()
    assert np.abs(matrix.values()).max() == 127  # the largest is exact: nothing is clipped


@given(K=st.integers(1, 80), N=st.integers(1, 110), transposed=st.booleans())
def test_f16_is_the_nearest_float16_and_full_is_all_of_it(K: int, N: int, *, transposed: bool) -> None:
    W = matrix_of(K, N)
    np.testing.assert_array_equal(BlockedMatrix.of(W, "f16", transposed=transposed).dense(), W.astype(np.float16))
    np.testing.assert_array_equal(BlockedMatrix.of(W, "full", transposed=transposed).dense(), W)


def test_a_column_of_zeros_stays_one() -> None:
    W = matrix_of(6, 3)
    W[:, 1] = 0
    q, scale = quantized(W)
    assert scale[1] == 0
    assert (q[:, 1] == 0).all()
    assert (BlockedMatrix.of(W, "int8").dense()[:, 1] == 0).all()


@given(
    K=st.integers(1, 140),
    N=st.integers(1, 140),
    rows=st.integers(0, 70),
    cut=st.tuples(st.integers(0, 140), st.integers(0, 140)),
    kind=st.sampled_from(["full", "f16", "int8"]),
    backend=st.sampled_from(BACKENDS),
    seed=st.integers(0, 99),
)
def test_it_stands_where_its_array_would(
    K: int, N: int, rows: int, cut: tuple[int, int], kind: str, backend: str, seed: int
) -> None:
    W, rng = matrix_of(K, N, seed), np.random.default_rng(seed)
    low, high = sorted(min(c, N) for c in cut)
    a = (rng.normal(size=(rows, K)) * 10.0 ** rng.integers(-3, 3, (rows, 1))).astype(np.float32)
    M = BlockedMatrix.of(W, kind, backend=get_backend(backend))
    D = M.dense()
    fine = kind != "int8"
    assert_product(a @ M, a, D, exact=fine)
    assert_product(a @ M[:, low:high], a, D[:, low:high], exact=fine)
    index = rng.integers(0, K, (3, 2))
    np.testing.assert_array_equal(M[index], D[index])
    np.testing.assert_array_equal(M[:, low:high].dense(), D[:, low:high])
    np.testing.assert_array_equal(M.T.dense(), D.T)
    E = BlockedMatrix.of(W, kind, transposed=True, backend=get_backend(backend))
    np.testing.assert_array_equal(E[index], E.dense()[index])
    b = rng.normal(size=(rows, N)).astype(np.float32)
    assert_product(b @ E.T, b, E.dense().T, exact=fine)


def assert_product(found: Array, a: Array, D: Array, *, exact: bool) -> None:
    """``found`` is a @ D to rounding; not exact, each number of ``a`` may be off by half of an int8's step."""
    step = 0.0 if exact else np.abs(a).max(axis=1, keepdims=True, initial=0) / 127
    allowed = step / 2 * np.abs(D).sum(0) + 1e-5 * (np.abs(a) @ np.abs(D)) + 1e-30
    assert found.shape == (len(a), D.shape[1])
    assert found.dtype == np.float32
    assert (np.abs(found - a @ D) <= allowed).all()


def test_sums_of_int8_products_have_room_at_the_largest_sizes() -> None:
    for K in (255, 256, 1000, 5001):
        W, a = np.ones((K, 40), np.float32), np.ones((2, K), np.float32)
        W[:, 1], a[1] = -1, -1
        M = BlockedMatrix.of(W, "int8", backend=get_backend("numba"))
        np.testing.assert_allclose(a @ M, a @ W, rtol=1e-6)


def test_a_product_with_a_transposed_matrix_is_refused() -> None:
    with pytest.raises(ValueError, match="transposed BlockedMatrix"):
        np.ones((1, 5), np.float32) @ BlockedMatrix.of(matrix_of(5, 4), "int8").T


# ---------------------------------------------------------------------- whole models


@every_model
@every_backend
@every_kind
def test_a_quantised_model_computes_with_its_rounded_weights(
    make: Callable[[], Layer], backend: str, kind: str
) -> None:
    model = ready(make(), backend)
    small = model.quantize(kind)
    rounds = kind == "bf16"
    exact = model.to(backend="numpy", compute="bfloat16") if rounds else model.to(dtype="float64", backend="numpy")
    for name, w in small.named_weights().items():
        exact.named_weights()[name] = w.dense() if isinstance(w, BlockedMatrix) else w
    x = np.random.default_rng(0).integers(0, 40, (6, 3))
    for lengths in (None, [6, 0, 2]):
        y, _ = small(x, lengths=lengths)
        wanted, _ = exact(x, lengths=lengths)
        bound = 5e-6
        if rounds:  # a number in the middle between two bfloat16 may fall to either side
            assert np.median(np.abs(y - wanted)) <= bound
            bound = 2.0**-6
        if kind == "int8":  # what a matrix multiplies is rounded too, to 1/254 of a row's largest number
            assert np.median(np.abs(y - wanted)) <= 2.0**-7 * max(1.0, np.abs(wanted).max())
            bound = 2.0**-3
        np.testing.assert_allclose(y, wanted, rtol=0, atol=bound * max(1.0, np.abs(wanted).max()))


@every_kind
def test_bytes_are_a_quarter_and_half(kind: str, tmp_path: Path) -> None:
    model = ready(Sequential(Embedding(96, 64), GRU(64, 256), Linear(256, 96)))
    small = model.quantize(kind)
    part = {"int8": 0.25, "f16": 0.5, "bf16": 0.5}[kind]
    assert part < small.bound.nbytes / model.bound.nbytes < part * 1.08
    assert small.bound.count == model.bound.count
    save(model, tmp_path / "model")
    save(small, tmp_path / "small")
    assert (tmp_path / "small").stat().st_size / (tmp_path / "model").stat().st_size < part * 1.08


@every_kind
def test_a_language_model_loses_little(kind: str) -> None:
    text = Text.from_string("the quick brown fox jumps over the lazy dog. " * 60)
    lm = LanguageModel.build(text.vocab, cell="lstm", hidden_size=64, embedding_size=16).init(0)
    adam, state = Adam(lm.network, lr=0.01, clip=1.0), None
    for x, y in text.batches(batch_size=8, num_steps=20):
        _, state, backward = lm.forward(x, y, state)
        backward()
        adam.step()
    small = lm.quantize(kind)
    assert isinstance(small, LanguageModel)
    assert small.perplexity(text) == pytest.approx(lm.perplexity(text), rel=0.01)
    assert len("".join(small.generate("the ", 20, seed=0))) == 20


@every_kind
def test_the_same_bits_for_any_number_of_threads(kind: str) -> None:
    model, before, seen = ready(MODELS["one-hot"](), "numba").quantize(kind), get_num_threads(), []
    x = np.random.default_rng(0).normal(size=(8, 70, 40)).astype(np.float32)
    try:
        for n in (1, 2, 3):
            set_num_threads(n)
            seen.append(model(x)[0])
    finally:
        set_num_threads(before)
    for other in seen[1:]:
        np.testing.assert_array_equal(other, seen[0])


@every_kind
def test_copies_compute_the_same(kind: str) -> None:
    small = ready(MODELS["whole"](), "numba").quantize(kind)
    x = np.random.default_rng(0).integers(0, 40, (4, 2))
    y, _ = small(x)
    for other in (copy.deepcopy(small), pickle.loads(pickle.dumps(small)), small.to()):  # noqa: S301 - written here
        np.testing.assert_array_equal(other(x)[0], y)
        assert other.bound.quantized == kind
    np.testing.assert_allclose(small.to(backend="numpy")(x)[0], y, atol=3e-4)


# ---------------------------------------------------------------------- what it is not for


@every_kind
def test_what_a_quantised_model_cannot_do_is_said(kind: str) -> None:
    small = ready(MODELS["whole"]()).quantize(kind)
    x = np.zeros((2, 1), int)
    for act, words in (
        (lambda: small.forward(x), f"a model quantised to {kind} is for inference"),
        (lambda: small.weights, "has no flat vector of weights"),
        (lambda: small.grads, "has no flat vector of weights"),
        (lambda: Adam(small), "has no flat vector of weights"),
        (lambda: small.quantize(kind), f"quantised already, to {kind}"),
        (lambda: small.to(dtype="float64"), "computes in float32; it cannot become float64"),
        (lambda: small.named_weights(gates=True), "are not cut into gates"),
    ):
        with pytest.raises(ValueError, match=words):
            act()
    assert f"{kind}, backend" in repr(small)


def test_what_cannot_be_quantised_is_said() -> None:
    model = ready(MODELS["whole"](), "numpy")
    with pytest.raises(ValueError, match="quantize takes one of f16, bf16, int8; got 'int4'"):
        model.quantize("int4")
    with pytest.raises(ValueError, match="quantize takes a whole model"):
        model.children()["1"].quantize("int8")
    model.named_weights()["1.0.U"][0, 0] = 1e6
    with pytest.raises(ValueError, match=r"a weight of 1\.0\.U is too large for float16"):
        model.quantize("f16")
    model.named_weights()["2.W"][0, 0] = np.nan
    with pytest.raises(ValueError, match=r"weight 2\.W is not finite"):
        model.quantize("int8")
    with pytest.raises(ValueError, match="float32 or float64; got complex128"):
        model.to(dtype="complex128").quantize("int8")


# ---------------------------------------------------------------------- files


@every_model
@every_kind
def test_a_quantised_model_comes_back_bit_for_bit(make: Callable[[], Layer], kind: str, tmp_path: Path) -> None:
    small = ready(make()).quantize(kind)
    save(small, tmp_path / "small")
    found: Any = load(tmp_path / "small")
    assert found.describe() == small.describe()
    x = np.random.default_rng(0).integers(0, 40, (4, 2))
    np.testing.assert_array_equal(found(x)[0], small(x)[0])
    save(found, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "small").read_bytes()


def change_int8(tensors: dict[str, Array], about: dict[str, Any]) -> None:
    tensors["0.W"][0, 0] = -128


def change_scale(tensors: dict[str, Array], about: dict[str, Any]) -> None:
    tensors["0.W.scale"][0] = np.nan


def change_missing(tensors: dict[str, Array], about: dict[str, Any]) -> None:
    del tensors["0.U.scale"]


def change_dtype(tensors: dict[str, Array], about: dict[str, Any]) -> None:
    tensors["0.U"] = tensors["0.U"].astype(np.float32)


def change_kind(tensors: dict[str, Array], about: dict[str, Any]) -> None:
    about["quantized"] = "int4"


def change_computing(tensors: dict[str, Array], about: dict[str, Any]) -> None:
    about["dtype"] = "float64"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (change_int8, "weight 0.W must be from -127 to 127; it holds -128"),
        (change_scale, "weight 0.W.scale must be finite"),
        (change_missing, r"weight 0.U.scale must have shape \(12,\); it is missing"),
        (change_dtype, "weight 0.U must be int8; got F32"),
        (change_kind, "quantized must be one of f16, bf16, int8; got 'int4'"),
        (change_computing, "quantized must be one of"),
    ],
)
def test_a_quantised_file_that_is_not_sound_is_refused(change: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "small"
    save(ready(LSTM(4, 3)).quantize("int8"), path)
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    about = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["minirnn"])
    tensors = {name: a.copy() for name, a in read_tensors(content).items()}
    change(tensors, about)
    path.write_bytes(write_tensors(tensors, metadata={"minirnn": json.dumps(about)}))
    with pytest.raises(ModelFileError, match=words):
        load(path)


def test_bfloat16_is_bfloat16_in_a_file(tmp_path: Path) -> None:
    """Under the name that other programs know it by, in half of the bytes, finite or refused."""
    path, small = tmp_path / "small", ready(LSTM(4, 3)).quantize("bf16")
    save(small, path)
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    assert {name: tensor["dtype"] for name, tensor in header.items() if name != "__metadata__"} == {
        "0.W": "BF16",
        "0.U": "BF16",
        "0.b": "F32",
    }
    W: Any = small.named_weights()["0.W"]
    assert np.array_equal(W.dense(), rounded(ready(LSTM(4, 3)).named_weights()["0.W"]))
    start = 8 + size + header["0.W"]["data_offsets"][0]
    np.testing.assert_array_equal(np.frombuffer(content, "<u2", 48, start), W.values().reshape(-1))
    path.write_bytes(content[:start] + b"\x80\x7f" + content[start + 2 :])  # infinity
    with pytest.raises(ModelFileError, match=r"weight 0\.W must be finite"):
        load(path)
    path.write_bytes(content[:8] + content[8 : 8 + size].replace(b'"BF16"', b'"U16" ') + content[8 + size :])
    with pytest.raises(ModelFileError, match=r"weight 0\.. must be bfloat16; got U16"):
        load(path)


@pytest.mark.extras
def test_bfloat16_is_not_written_as_onnx(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ONNX is not written in bf16"):
        import_module("minirnn.formats.onnx.writing.model").save(
            ready(LSTM(4, 3)).quantize("bf16"), tmp_path / "model.onnx"
        )


def test_what_is_too_large_for_bfloat16_is_refused() -> None:
    model = ready(LSTM(4, 3))
    model.named_weights()["0.U"][0, 0] = 3.4e38
    with pytest.raises(ValueError, match=r"a weight of 0\.U is too large for bfloat16"):
        model.quantize("bf16")


def test_a_quantised_file_does_not_become_float64(tmp_path: Path) -> None:
    save(ready(LSTM(4, 3)).quantize("f16"), tmp_path / "small")
    with pytest.raises(ValueError, match="computes in float32; it cannot become float64"):
        load(tmp_path / "small", dtype="float64")

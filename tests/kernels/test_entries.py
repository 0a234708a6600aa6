"""Entries of packed matrices, bit for bit: what each kind's products are, in the order in which they are added.

A sum of float32 depends on its order, so a kernel that gives a model's bits has read every entry, and each in its turn.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from entry_models import chain, fours, fused, nearest, pairs
from fences import fences, kernels
from hypothesis import given
from hypothesis import strategies as st

from minirnn import GRU, LSTM, RNN, Embedding, Linear, Sequential
from minirnn.core.backend import Array, get_backend
from minirnn.inference.blocks import BlockedMatrix
from minirnn.kernels.cpu.threads import get_num_threads, set_num_threads
from minirnn.recurrent.fused import CHUNK

runtime: Any = kernels("runtime")
vectors: Any = kernels("vectors")
bfloat16: Any = kernels("bfloat16")
NUMBA = get_backend("numba")
FLOAT32 = np.dtype("float32")
seeds = st.integers(0, 2**32 - 1)
rows_of = st.integers(1, 20) | st.sampled_from([63, 64, 65, 130])
sizes = st.integers(1, 70) | st.sampled_from([96, 129])
SIZES = [(1, 1, 1), (1, 33, 70), (2, 64, 200), (3, 7, 129), (4, 65, 97), (9, 130, 31), (70, 5, 33)]  # rows, K, N


pytestmark = pytest.mark.skipif(
    not (vectors.AARCH64 or "fma" in vectors.FEATURES), reason="without a fused multiply-add sums round twice"
)


def drawn(rng: np.random.Generator, *shape: int, transposed: bool = False) -> Array:
    a: Array = rng.normal(size=shape[::-1] if transposed else shape).astype(FLOAT32)
    return a.T if transposed else a


def full(start: Array | float, a: Array, b: Array) -> Array:
    return chain(np.asarray(start, np.float32), a, b)


def halves(start: Array | float, a: Array, b: Array) -> Array:
    return chain(np.asarray(start, np.float32), a, b.astype(np.float16).astype(np.float32))


MODELS: dict[str, Callable[[Array | float, Array, Array], Array]] = {
    "full": full,
    "f16": halves,
    "bf16": pairs,
    "int8": fours,
}
every_kind = pytest.mark.parametrize("kind", MODELS)
narrow_kinds = pytest.mark.parametrize("kind", ["bf16", "int8"])


# ---------------------------------------------------------------------- the models


@given(seed=seeds, scale=st.integers(-60, 60))
def test_the_model_of_a_fused_multiply_add_rounds_once(seed: int, scale: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = drawn(rng, 50), drawn(rng, 50)
    c = np.ldexp(drawn(rng, 50), scale)
    c[:10] = -(a * b)[:10]  # what is left is the product's own rounding
    ulp = Fraction(2) ** -24
    for x, y, z, found in zip(a, b, c, fused(a, b, c), strict=True):
        exact = Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))
        assert abs(Fraction(float(found)) - exact) <= ulp * abs(exact)
        for other in (np.nextafter(found, np.float32(np.inf)), np.nextafter(found, np.float32(-np.inf))):
            assert abs(Fraction(float(found)) - exact) <= abs(Fraction(float(other)) - exact)


def test_a_fused_multiply_add_in_the_middle_of_two_numbers() -> None:
    """float64 alone would round 1 + 2^-24 + 2^-60 to the middle, and then to even."""
    half, little = np.float32(2.0**-12), np.float32(2.0**-12 * (1 + 2.0**-20))
    for a, wanted in ((half, 1.0), (little, 1 + 2.0**-23)):
        assert fused(np.array(a), np.array(half), np.array(np.float32(1))) == np.float32(wanted)
    tiny = np.array([np.float32(2.0**-30)])
    sums = fused(tiny, tiny, np.array([np.float32(1 + 2.0**-23)]))
    assert sums[0] == np.float32(1 + 2.0**-23)


def test_the_order_of_a_pair_can_be_told() -> None:
    """1 is lost beside 2^24, and 1 + 1 is not."""
    a, one = np.array([[1.0, 2.0**24]], FLOAT32), np.ones((2, 1), FLOAT32)
    second_first, first_first = pairs(1.0, a, one), chain(np.ones(1, FLOAT32), a, one)
    assert second_first[0, 0] == 2.0**24
    assert first_first[0, 0] == 2.0**24 + 2
    np.testing.assert_array_equal(runtime.linear(a, one, np.ones(1, FLOAT32), "bf16"), second_first)
    np.testing.assert_array_equal(runtime.linear(a, one, np.ones(1, FLOAT32), "full"), first_first)


# ---------------------------------------------------------------------- products


@pytest.mark.parametrize("kind", ["full", "bf16"])
@pytest.mark.parametrize("transposed", [False, True], ids=["W", "W transposed"])
@given(rows=rows_of, K=sizes, N=sizes, bias=st.booleans(), seed=seeds)
def test_a_linear_layer_adds_one_product_after_the_other(
    transposed: bool, kind: str, rows: int, K: int, N: int, bias: bool, seed: int
) -> None:
    """Forward and backward: the gradients of rows and weights are such sums, too."""
    rng, product = np.random.default_rng(seed), MODELS[kind]
    x, W = drawn(rng, rows, K), drawn(rng, K, N, transposed=transposed)
    dy, dW = drawn(rng, rows, N), drawn(rng, K, N, transposed=transposed)
    b, before = drawn(rng, N) if bias else None, dW.copy()
    with fences():
        y = runtime.linear(x, W, b, kind)
        dx = runtime.linear_backward(x, W, dy, dW, None, kind)
    np.testing.assert_array_equal(y, product(0.0 if b is None else b, x, W))
    np.testing.assert_array_equal(dx, product(0.0, dy, W.T))
    np.testing.assert_array_equal(dW, product(before, x.T, dy))


@pytest.mark.parametrize("rows", [511, 513, 1025])
def test_a_gradient_of_many_rows_is_one_sum(rows: int) -> None:
    """Rows are taken block by block; none ends in the middle of a pair but the last."""
    rng = np.random.default_rng(rows)
    x, dy, dW = drawn(rng, rows, 9), drawn(rng, rows, 35), drawn(rng, 9, 35)
    for kind in ("full", "bf16"):
        found = dW.copy()
        runtime.linear_backward(x, np.zeros_like(dW), dy, found, None, kind)
        np.testing.assert_array_equal(found, MODELS[kind](dW, x.T, dy))


@every_kind
@given(rows=rows_of, K=sizes, N=sizes, seed=seeds)
def test_a_product_with_a_matrix_in_blocks(kind: str, rows: int, K: int, N: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, W = drawn(rng, rows, K), drawn(rng, K, N)
    M = BlockedMatrix.of(W, kind, backend=NUMBA)
    with fences():
        found = a @ M
    wanted = MODELS[kind](0.0, a, W)
    np.testing.assert_array_equal(found, wanted)
    low, high = sorted(rng.integers(0, N + 1, 2))
    np.testing.assert_array_equal(a @ M[:, low:high], wanted[:, low:high])


@every_kind
def test_few_rows_take_several_panels_at_once(kind: str) -> None:
    """As many groups of panels as there can be, and panels that are left."""
    rng = np.random.default_rng(0)
    for rows in (1, 2, 3, 4):
        for N in (128, 200, 256, 420):
            a, W = drawn(rng, rows, 7), drawn(rng, 7, N)
            wanted = MODELS[kind](0.0, a, W)
            np.testing.assert_array_equal(a @ BlockedMatrix.of(W, kind, backend=NUMBA), wanted)


@pytest.mark.usefixtures("eager")
@every_kind
def test_the_bits_depend_on_neither_threads_nor_other_rows(kind: str) -> None:
    rng, before = np.random.default_rng(0), get_num_threads()
    for rows, K, N in ((1, 70, 200), (2, 70, 45), (37, 131, 45)):
        a = drawn(rng, rows, K) * np.float32(10) ** np.arange(rows, dtype=FLOAT32)[:, None]
        M, seen = BlockedMatrix.of(drawn(rng, K, N), kind, backend=NUMBA), []
        try:
            for count in (1, 2, 3):
                set_num_threads(count)
                seen.append(a @ M)
        finally:
            set_num_threads(before)
        np.testing.assert_array_equal(seen[1], seen[0])
        np.testing.assert_array_equal(seen[2], seen[0])
        for k in range(rows):
            np.testing.assert_array_equal((a[k : k + 1] @ M)[0], seen[0][k])


def test_numbers_below_the_least_normal_one() -> None:
    """The instruction takes 0 for them and for such sums; widened, they count."""
    small = np.array([[2.0**-127], [2.0**-126], [2.0**-100]], FLOAT32)
    for factor in (2.0**100, 2.0**-26, 2.0**-30):
        exact = small.astype(np.float64)[:, 0] * factor
        if bfloat16.HAS_BFLOAT16:
            exact = np.where((small[:, 0] < 2.0**-126) | (exact < 2.0**-126), 0, exact)
        y = runtime.linear(small, np.full((1, 3), factor, FLOAT32), None, "bf16")
        np.testing.assert_array_equal(y, np.tile(exact.astype(FLOAT32)[:, None], (1, 3)))


@every_kind
def test_products_in_fewer_bits_leave_others_alone(kind: str) -> None:
    """Memory that one kind has worked in goes to the next: float32's bits are what they were, as are the weights."""
    rng = np.random.default_rng(0)
    model = Sequential(GRU(33, 40, 2), Linear(40, 5)).init(0, backend="numba")
    x, weights = drawn(rng, 6, 3, 33), model.weights.copy()

    def every() -> list[Array]:
        model.zero_grads()
        y, _, backward = model.forward(x)
        dx, _ = backward(np.cos(y))
        assert dx is not None
        stream = model.stream(3)
        return [y, dx, model.grads.copy(), model(x)[0], *[np.array(stream(x_t)) for x_t in x]]

    before = every()
    if kind != "full":
        model.quantize(kind)(x)
        model.quantize(kind).stream(3)(x[0])
    other = model.to(compute="bfloat16")
    y, _, backward = other.forward(x)
    backward(np.cos(y))
    for a, b in zip(before, every(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(model.weights, weights)


# ---------------------------------------------------------------------- one row


@every_kind
@pytest.mark.parametrize("transposed", [False, True])
def test_a_row_that_is_picked_is_the_row(transposed: bool, kind: str) -> None:
    for K, N in ((1, 1), (5, 33), (6, 31), (7, 64), (40, 70)):
        W = drawn(np.random.default_rng(K), K, N)
        M = BlockedMatrix.of(W, kind, transposed=transposed, backend=NUMBA)
        for index in (np.arange(K), np.array([[K - 1, 0], [0, K // 2]])):
            np.testing.assert_array_equal(M[index], M.dense()[index])


@every_kind
def test_an_index_picks_its_dense_row(kind: str) -> None:
    """In a pass, of W, to which the bias is added; in a stream, of W, and of an Embedding."""
    for D, H in ((1, 1), (5, 33), (6, 16), (7, 70)):
        plain = RNN(D, H, nonlinearity="relu").init(D, backend="numba")
        plain.named_weights()["0.b"][...] = drawn(np.random.default_rng(0), H)
        model, indices = plain if kind == "full" else plain.quantize(kind), np.arange(D)[:, None]
        W: Any = model.named_weights()["0.W"]
        rows, b = W if kind == "full" else W.dense(), model.named_weights()["0.b"]
        first = np.maximum(rows + b, 0)  # of a state of zeros
        np.testing.assert_array_equal(model(indices.T)[0][0], first)
        np.testing.assert_array_equal(model.stream(D)(indices[:, 0]), first)
        embedding = Embedding(D, H).init(D, backend="numba")
        table = embedding if kind == "full" else embedding.quantize(kind)
        stored: Any = table.weight("W")
        wanted = stored if kind == "full" else stored.dense()
        np.testing.assert_array_equal(table.stream(D)(indices[:, 0]), wanted)
        np.testing.assert_array_equal(table(indices.T)[0][0], wanted)


# ---------------------------------------------------------------------- passes and streams


def relu_pass(kind: str, model: RNN, x: Array) -> Array:
    """One direction's y of relu, x (T, B, D): a product with W from the bias on, and one with U from there."""
    weights, product = model.named_weights(), MODELS[kind]
    h, out = np.zeros((x.shape[1], model.hidden_size), FLOAT32), []
    for x_t in x:
        h = np.maximum(product(product(weights["0.b"], x_t, weights["0.W"]), h, weights["0.U"]), np.float32(0))
        out.append(h)
    return np.array(out)


def relu(D: int, H: int, rng: np.random.Generator) -> RNN:
    model = RNN(D, H, nonlinearity="relu").init(0, backend="numba")
    for w in model.named_weights().values():
        w[...] = rng.normal(size=w.shape) * 0.4
    return model


@every_kind
@pytest.mark.parametrize(("B", "D", "H"), SIZES)
def test_a_pass_and_a_stream_of_relu(B: int, D: int, H: int, kind: str) -> None:
    rng = np.random.default_rng(H)
    model, x = relu(D, H, rng), drawn(rng, 5, B, D)
    wanted = relu_pass(kind, model, x)
    small = model if kind == "full" else model.quantize(kind)
    np.testing.assert_array_equal(small(x)[0], wanted)
    with fences():  # with lengths a call is no short one, which has memory of its own
        np.testing.assert_array_equal(small(x, lengths=[5] * B)[0], wanted)
    stream = small.stream(B)
    for x_t, y_t in zip(x, wanted, strict=True):
        np.testing.assert_array_equal(stream(x_t), y_t)
    if kind == "bf16":  # training multiplies with the same entries, packed for each pass
        np.testing.assert_array_equal(model.to(compute="bfloat16").forward(x)[0], wanted)


@narrow_kinds
def test_one_step_and_many_are_the_same_sums(kind: str) -> None:
    """Single rows and steps, for which full weights are read as they are; narrow ones never are."""
    rng = np.random.default_rng(0)
    model = relu(64, 96, rng)
    small, x = model.quantize(kind), drawn(rng, 30, 1, 64)
    wanted = relu_pass(kind, model, x)
    np.testing.assert_array_equal(small(x)[0], wanted)
    state: Any = None
    for x_t, y_t in zip(x, wanted, strict=True):
        y, state = small(x_t[None], state)
        np.testing.assert_array_equal(y[0], y_t)


@narrow_kinds
def test_a_pass_of_several_chunks(kind: str) -> None:
    """Products with W are computed for some steps at a time, as many as fit into a cache."""
    rng = np.random.default_rng(0)
    model, x = relu(9, 130, rng), drawn(rng, 40, 16, 9)
    assert x.shape[0] * x.shape[1] * 130 > CHUNK
    model.weights[...] *= 0.3
    np.testing.assert_array_equal(model.quantize(kind)(x)[0], relu_pass(kind, model, x))


@pytest.mark.usefixtures("eager")
@narrow_kinds
@pytest.mark.parametrize(("B", "H", "R"), [(1, 100, 33), (7, 100, 33), (1, 128, 96)])
def test_passes_and_streams_have_the_same_bits_on_any_number_of_threads(B: int, H: int, R: int, kind: str) -> None:
    """Threads share rows; of a few rows of whole panels the units."""
    rng, before, seen = np.random.default_rng(0), get_num_threads(), []
    model = Sequential(GRU(70, H, bidirectional=True), LSTM(2 * H, 128, proj_size=R), Linear(R, 9))
    small = model.init(0, backend="numba").quantize(kind)
    one_way = Sequential(GRU(70, H, reset="before"), LSTM(H, 45)).init(1, backend="numba").quantize(kind)
    x, indices = drawn(rng, 4, B, 70), rng.integers(0, 70, (4, B))
    try:
        for count in (1, 2, 3):
            set_num_threads(count)
            stream = one_way.stream(B)
            seen.append([small(x)[0], small(indices)[0], one_way(x)[0], *[np.array(stream(x_t)) for x_t in x]])
    finally:
        set_num_threads(before)
    for other in seen[1:]:
        for a, b in zip(seen[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_models_of_kinds_differ() -> None:
    """So that what passes with one of them would fail with another."""
    rng = np.random.default_rng(0)
    a, W = drawn(rng, 5, 40), drawn(rng, 40, 9)
    results = [product(0.0, a, W) for product in MODELS.values()]
    results.append(chain(np.zeros(1, FLOAT32), nearest(a), nearest(W)))
    for k, one in enumerate(results):
        for other in results[:k]:
            assert (one != other).any()

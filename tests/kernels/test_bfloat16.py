"""Kernels that multiply numbers rounded to bfloat16: what they pack, and their products.

Whole numbers of which no sum leaves float32's 24 bits are multiplied exactly, in whatever order they are added: there
kernels must say, bit for bit, what the rounding says.  Elsewhere the bound is that of a chain of so many additions.
"""

from typing import Any

import numba
import numpy as np
import pytest
from fences import fences, kernels
from hypothesis import given
from hypothesis import strategies as st
from rounding import nearest

from minirnn.core.backend import Array, get_backend
from minirnn.core.bfloat16 import stored
from minirnn.inference.blocks import BlockedMatrix
from minirnn.kernels.cpu.threads import get_num_threads, set_num_threads

compiling: Any = kernels("compiling")
memory: Any = kernels("memory")
bfloat16: Any = kernels("bfloat16")
entries: Any = kernels("entries")
packing: Any = kernels("packing")
runtime: Any = kernels("runtime")
FLOAT32 = np.dtype("float32")
seeds = st.integers(0, 2**32 - 1)


_pairs_at = entries.entries_at("bf16")


def _lay_out(like: Any, b: Any, ldb: Any, k: Any, n: Any, transposed: Any, out: Any) -> None:
    source, target = memory.numbers(b, like), _pairs_at(out, like)
    for part in range(2):  # as two threads would
        if transposed:
            packing.pack_transposed(source, ldb, k, n, target, packing.lines_of(target, k), part, 2)
        else:
            packing.pack(source, ldb, k, n, target, part, 2)


_packer: Any = numba.njit(**compiling.OPTIONS)(_lay_out)


def as_kernels_store(a: Array) -> Array:
    """``stored``; the instruction for it takes 0 for numbers below 2**-126."""
    bits: Array = stored(a)
    return np.where(np.abs(a) < 2.0**-126, bits & 0x8000, bits) if bfloat16.HAS_BFLOAT16 else bits


@pytest.mark.parametrize("transposed", [False, True])
def test_packed_numbers_are_rounded_to_nearest_and_nan_stays_nan(transposed: bool) -> None:
    """Pairs of neighbours in k, the even row's number in the lower half; 0 past the last row and column."""
    width, rng = runtime.panel_width(FLOAT32), np.random.default_rng(0)
    with compiling.calling([packing.pack, packing.pack_transposed], FLOAT32, "bf16"):
        _packer.compile((numba.float32, *[numba.intp] * 6))
    for k in (1, 2, 7, 8, 17, 33, 64, 65):
        for n in (1, 5, 15, 16, 17, 33, 70):
            bits = rng.integers(0, 2**32, (n, k) if transposed else (k, n), dtype=np.uint32)
            bits[0, 0] = 0x007FFFFF  # below 2**-126, and rounded to it
            b, panels, lines = bits.view(np.float32), -(-n // width), -(-k // 2)
            out = np.full(panels * lines * width + width, 7, np.uint32)
            _packer(np.float32(0), b.ctypes.data, b.shape[1], k, n, int(transposed), out.ctypes.data)
            pairs = out[:-width].reshape(panels, lines, width).transpose(1, 0, 2).reshape(lines, -1)
            packed = np.stack([pairs & 0xFFFF, pairs >> 16], axis=1).reshape(2 * lines, -1)
            np.testing.assert_array_equal(packed[:k, :n], as_kernels_store(b.T if transposed else b))
            assert (packed[k:] == 0).all()
            assert (packed[:, n:] == 0).all()
            assert (out[-width:] == 7).all()


# ---------------------------------------------------------------------- Linear


def drawn(rng: np.random.Generator, *shape: int, whole: bool = False, transposed: bool = False) -> Array:
    """Numbers of which rounding changes most; ``whole`` ones, up to 1,000, whose products add up exactly."""
    shape = shape[::-1] if transposed else shape
    a: Array = rng.integers(-1000, 1001, shape) if whole else rng.normal(size=shape)
    a = a.astype(FLOAT32)
    return a.T if transposed else a


def assert_product(y: Array, a: Array, b: Array, start: Array | float, *, exact: bool) -> None:
    """y = start + a @ b of rounded numbers; bounds as in ``test_products``."""
    a, b = nearest(a), nearest(b)
    bound = 0.0 if exact else 2 * (a.shape[1] + 2) * 2.0**-23 * (np.abs(a) @ np.abs(b) + np.abs(start))
    assert (np.abs(y - (a @ b + start)) <= bound).all()


def assert_linear(rows: int, K: int, N: int, seed: int, *, transposed: bool, bias: bool, whole: bool) -> None:
    rng = np.random.default_rng(seed)
    x, W = drawn(rng, rows, K, whole=whole), drawn(rng, K, N, whole=whole, transposed=transposed)
    dy, dW = drawn(rng, rows, N, whole=whole), drawn(rng, K, N, whole=whole, transposed=transposed)
    b, db = (drawn(rng, N, whole=whole), drawn(rng, N, whole=whole)) if bias else (None, None)
    before = dW.copy(), None if db is None else db.copy()
    assert_product(runtime.linear(x, W, b, "bf16"), x, W, 0.0 if b is None else b, exact=whole)
    assert_product(runtime.linear_backward(x, W, dy, dW, db, "bf16"), dy, W.T, 0.0, exact=whole)
    assert_product(dW, x.T, dy, before[0], exact=whole)
    if db is not None and before[1] is not None:  # a sum, not a product: nothing is rounded to 8 bits
        bound = 0.0 if whole else rows * 2.0**-22 * (np.abs(dy).sum(0) + np.abs(before[1]))
        assert (np.abs(db - (dy.astype(float).sum(0) + before[1])) <= bound).all()


@pytest.mark.parametrize("transposed", [False, True], ids=["W", "W transposed"])
@given(
    rows=st.integers(1, 20) | st.sampled_from([63, 64, 65, 255, 256, 257]),
    K=st.integers(1, 70) | st.sampled_from([96, 200]),
    N=st.integers(1, 70) | st.sampled_from([96, 200]),
    bias=st.booleans(),
    whole=st.booleans(),
    seed=seeds,
)
def test_linear_multiplies_rounded_numbers(
    transposed: bool, rows: int, K: int, N: int, bias: bool, whole: bool, seed: int
) -> None:
    whole = whole and max(rows, K, N) <= 16  # so many squares of 1,000 have 24 bits
    with fences():
        assert_linear(rows, K, N, seed, transposed=transposed, bias=bias, whole=whole)


@given(rows=st.integers(1, 9), K=st.integers(1, 300), N=st.integers(1, 40), scale=st.integers(-30, 30), seed=seeds)
def test_a_product_is_as_near_to_the_exact_one_as_the_guide_says(
    rows: int, K: int, N: int, scale: int, seed: int
) -> None:
    """|error| <= (2 u + u² + K 2^-23) Σ |a| |b|, with u = 2^-8, of numbers as they were before they were rounded."""
    rng, u = np.random.default_rng(seed), 2.0**-8
    x, W = np.ldexp(drawn(rng, rows, K), scale), drawn(rng, K, N)
    y, exact = runtime.linear(x, W, None, "bf16"), x.astype(float) @ W
    bound = (2 * u + u * u + K * 2.0**-23) * (np.abs(x).astype(float) @ np.abs(W))
    assert (np.abs(y - exact) <= bound).all()


def test_rounding_is_to_nearest_and_to_even() -> None:
    """257 and 259 lie in the middle between two bfloat16, and go to 256 and to 260."""
    x = np.array([[257.0, 259.0, 258.9, 257.1]], FLOAT32)
    one = np.eye(4, dtype=FLOAT32)
    for a, b in ((x, one), (one, np.diag(x[0]))):
        y = runtime.linear(a, b, None, "bf16")
        np.testing.assert_array_equal(y.sum(0), [256, 260, 258, 258])
    for columns in (1, 3, 8, 9, 16):  # which a gradient packs one by one, or together
        many, dW = np.tile(x[:, :1], (1, columns)), np.zeros((columns, 1), FLOAT32)
        for value, wanted in zip(x[0], (256, 260, 258, 258), strict=True):
            many[...], dW[...] = value, 0
            runtime.linear_backward(many, np.zeros_like(dW), np.ones((1, 1), FLOAT32), dW, None, "bf16")
            np.testing.assert_array_equal(dW, np.full_like(dW, wanted))


def test_a_number_next_to_the_least_normal_one_is_rounded_alike_wherever_it_stands() -> None:
    """2**-126 when it is rounded, or 0, as the instruction says: not the one in some columns, and 0 in others."""
    next_to = np.nextafter(np.float32(2.0**-126), np.float32(0))
    for columns in (1, 7, 8, 9, 16):
        x, dW = np.full((1, columns), next_to), np.zeros((columns, 1), FLOAT32)
        runtime.linear_backward(x, np.zeros_like(dW), np.full((1, 1), 2.0**100, FLOAT32), dW, None, "bf16")
        np.testing.assert_array_equal(dW, np.full_like(dW, 0 if bfloat16.HAS_BFLOAT16 else 2.0**-26))


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_pass(odd: float) -> None:
    for rows, K, N in ((1, 3, 5), (9, 17, 33)):
        x, W = np.ones((rows, K), FLOAT32), np.ones((K, N), FLOAT32)
        x[0, K - 1] = odd
        y = runtime.linear(x, W, None, "bf16")
        np.testing.assert_array_equal(y[0], np.full(N, odd))
        np.testing.assert_array_equal(y[1:], K)
        x[0, K - 1], W[K - 1, 0] = 1, odd
        y = runtime.linear(x, W, None, "bf16")
        np.testing.assert_array_equal(y[:, 0], np.full(rows, odd))
        np.testing.assert_array_equal(y[:, 1:], K)


def test_nan_of_a_few_bits_stays_nan() -> None:
    """One whose upper half is that of infinity; as part of every matrix, packed in every way."""
    odd = np.array([0x7F800001, 0xFF800001, 0x7FFFFFFF], np.uint32).view(FLOAT32)
    for nan in odd:
        for K, N in ((1, 1), (3, 33), (8, 8), (9, 16)):
            one, x, W = np.ones((1, K), FLOAT32), np.full((1, K), nan), np.full((K, N), nan)
            for a, b in ((x, np.ones_like(W)), (one, W), (one, np.full((N, K), nan).T)):
                assert np.isnan(runtime.linear(a, b, None, "bf16")).all()
            dW = np.zeros((K, N), FLOAT32)
            dx = runtime.linear_backward(x, W, np.ones((1, N), FLOAT32), dW, None, "bf16")
            assert np.isnan(dW).all()
            assert np.isnan(dx).all()


@pytest.mark.usefixtures("eager")
def test_the_bits_depend_on_neither_threads_nor_other_rows() -> None:
    rng, before, seen = np.random.default_rng(0), get_num_threads(), []
    x, W, dy = drawn(rng, 37, 70), drawn(rng, 70, 45), drawn(rng, 37, 45)
    try:
        for count in (1, 2, 3):
            set_num_threads(count)
            dW, db = np.zeros_like(W), np.zeros(45, FLOAT32)
            dx = runtime.linear_backward(x, W, dy, dW, db, "bf16")
            seen.append((runtime.linear(x, W, None, "bf16"), dx, dW, db))
    finally:
        set_num_threads(before)
    for other in seen[1:]:
        for a, b in zip(seen[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
    for k in range(37):
        np.testing.assert_array_equal(runtime.linear(x[k : k + 1], W, None, "bf16")[0], seen[0][0][k])


# ---------------------------------------------------------------------- matrices in blocks


@given(rows=st.integers(1, 9), K=st.integers(1, 70), N=st.integers(1, 70), fused=st.booleans(), seed=seeds)
def test_a_matrix_in_blocks_multiplies_rounded_numbers(rows: int, K: int, N: int, fused: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, W = drawn(rng, rows, K), drawn(rng, K, N)
    M = BlockedMatrix.of(W, "bf16", backend=get_backend("numba" if fused else "numpy"))
    assert M.kind == "bf16"
    assert M.nbytes == -(-N // M.width) * M.width * -(-K // 2) * 4
    np.testing.assert_array_equal(M.dense(), nearest(W))
    assert_product(a @ M, a, W, 0.0, exact=False)
    index = rng.integers(0, K, (2, 3))
    np.testing.assert_array_equal(M[index], nearest(W)[index])
    np.testing.assert_array_equal(M.T.dense(), nearest(W).T)

"""Kernels entry by entry, where rows are as long as some vectors, or one number more or less.

An average over random numbers hides what one missing vector does: a softmax does not depend on what it is shifted by.
So here one entry at a time stands out, and a loop that leaves it out gives another result altogether.
"""

from importlib import import_module
from typing import Any

import numpy as np
import pytest

from minirnn import Recurrent
from minirnn.cells import GRUCell, LSTMCell, ReluCell, TanhCell
from minirnn.core.backend import get_backend
from minirnn.inference.blocks import BlockedMatrix

runtime, updates, vectors = (import_module(f"minirnn.kernels.cpu.{n}") for n in ("runtime", "updates", "vectors"))
DTYPES = ("float32", "float64")


def lengths(dtype: str) -> list[int]:
    """1, 2, and multiples of a vector's numbers, with their neighbours."""
    width = vectors.VECTOR_BYTES // np.dtype(dtype).itemsize
    return sorted({1, 2, *(k * width + d for k in (1, 2, 3, 5) for d in (-1, 0, 1) if k * width + d)})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("low", "high"), [(0.0, 1000.0), (-2000.0, -1000.0)])
def test_cross_entropy_sees_every_logit(dtype: str, low: float, high: float) -> None:
    """exp of ±1,000 is out of every range: a maximum, a sum or a gradient without that logit shows it."""
    nothing = 2 * float(np.finfo(dtype).tiny)  # exp ends there
    for V in lengths(dtype):
        logits = np.full((V, V), low, dtype)
        np.fill_diagonal(logits, high)
        own = np.arange(V)
        losses, dlogits = runtime.cross_entropy(logits, own, 1.0)
        assert (losses == 0).all()
        assert (np.abs(dlogits) <= nothing).all()
        other = (own + 1) % V
        losses, dlogits = runtime.cross_entropy(logits, other, 1.0)
        assert (losses == (1000 if V > 1 else 0)).all()
        np.testing.assert_allclose(dlogits, np.eye(V) - np.eye(V)[other], rtol=0, atol=nothing)


@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy_shares_evenly_between_equal_logits(dtype: str) -> None:
    for V in lengths(dtype):
        losses, dlogits = runtime.cross_entropy(np.full((2, V), 3, dtype), np.array([0, V - 1]), 1.0)
        np.testing.assert_allclose(losses, np.log(V), rtol=4 * float(np.finfo(dtype).eps), atol=0)
        wanted = np.full((2, V), 1 / V) - np.eye(V)[[0, V - 1]]
        np.testing.assert_allclose(dlogits, wanted, rtol=0, atol=4 * float(np.finfo(dtype).eps))


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_entry_counts_in_the_norm(dtype: str) -> None:
    width, block = vectors.VECTOR_BYTES // np.dtype(dtype).itemsize, updates.BLOCK
    for n in [*lengths(dtype), *(k * block + d for k in (1, 2) for d in (-width, -1, 0, 1, width))]:
        edges = {k * block + d for k in range(3) for d in (-width - 1, -width, -1, 0, 1, width - 1, width)} | {
            n - 1 - d for d in (0, 1, width - 1, width)
        }
        for k in sorted(k for k in edges if 0 <= k < n) if n > 100 else range(n):
            g, w = np.zeros(n, dtype), np.ones(n, dtype)
            g[k] = 3
            assert runtime.norm(g) == 3
            assert runtime.clipped_descend(w, g, 1.0, 1.5) == 3
            assert not g.any()
            assert w[k] == -0.5
            assert np.count_nonzero(w == 1) == n - 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_entry_is_updated_once(dtype: str) -> None:
    for n in lengths(dtype):
        w, g = np.arange(n, dtype=dtype), np.full(n, 2, dtype)
        runtime.descend(w, g, 0.5)
        np.testing.assert_array_equal(w, np.arange(n) - 1)
        assert not g.any()
        w, g, m, v = (np.full(n, value, dtype) for value in (1, 2, 0, 0))
        numbers = {"scale": 0.5, "decay": 0.0, "shrink": 1.0, "beta1": 0.5, "beta2": 0.75}
        runtime.adam(w, g, m, v, **numbers, rate=4.0, correction=4.0, eps=1.0)
        for found, wanted in ((w, 0), (g, 0), (m, 0.5), (v, 0.25)):  # 1 - 4 · 0.5 / (√(4 · 0.25) + 1)
            np.testing.assert_array_equal(found, np.full(n, wanted))


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_entry_of_a_row_is_added_once(dtype: str) -> None:
    for n in lengths(dtype):
        out = np.zeros((3, n), dtype)
        runtime.add_rows(out, np.array([2, 0, 2]), np.arange(1, 3 * n + 1, dtype=dtype).reshape(3, n))
        first, second, third = np.arange(1, 3 * n + 1).reshape(3, n)
        np.testing.assert_array_equal(out, [second, np.zeros(n), first + third])


@pytest.mark.parametrize("turned", [False, True], ids=["W", "W transposed"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_entry_of_a_linear_product_counts(dtype: str, turned: bool) -> None:
    """Whole numbers, so that all is exact: the rows of a unit matrix pick out one entry each."""
    for n in lengths(dtype):
        for other in (1, 5, 33):
            W = np.arange(1, n * other + 1, dtype=dtype).reshape(n, other) % 97
            W = np.ascontiguousarray(W.T).T if turned else W
            x, b = np.eye(n, dtype=dtype), np.arange(other, dtype=dtype)
            np.testing.assert_array_equal(runtime.linear(x, W, b), W + b)
            dW = np.zeros_like(W)
            db, dy = np.zeros(other, dtype), np.eye(n, other, dtype=dtype)
            np.testing.assert_array_equal(runtime.linear_backward(x, W, dy, dW, db), dy @ W.T)
            np.testing.assert_array_equal(dW, dy)
            np.testing.assert_array_equal(db, dy.sum(0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", [TanhCell, ReluCell, GRUCell, LSTMCell])
def test_every_unit_is_computed_and_sends_back(cell: Any, dtype: str) -> None:
    for H in lengths(dtype):
        model = Recurrent(cell, 3, H, bidirectional=True).init(seed=H, backend="numba", dtype=dtype)
        plain = model.to(backend="numpy", dtype="float64")
        rng = np.random.default_rng(H)
        for x in (rng.normal(size=(3, 2, 3)).astype(dtype), rng.integers(0, 3, (3, 2))):
            found = []
            for one in (model, plain):
                kind = one.weights.dtype
                y, _, backward = one.forward(x if x.dtype.kind == "i" else x.astype(kind))
                backward(np.cos(np.arange(y.size)).reshape(y.shape).astype(kind))
                found.append((y, one.grads))
            for a, b in zip(*found, strict=True):
                np.testing.assert_allclose(a, b, rtol=0, atol=3e2 * float(np.finfo(dtype).eps) * max(1, abs(b).max()))


# ---------------------------------------------------------------------- matrices in fewer bits

KINDS = ("full", "f16", "bf16", "int8")


@pytest.mark.parametrize("kind", KINDS)
def test_every_entry_of_a_row_counts_in_a_product_with_a_blocked_matrix(kind: str) -> None:
    """A row's largest entry is all of the row: without it there would be no factor for int8."""
    for K in lengths("float32"):
        for N in (1, 31, 32, 33, 64, 65):
            W = np.random.default_rng(K).normal(size=(K, N)).astype("float32")
            M = BlockedMatrix.of(W, kind, backend=get_backend("numba"))
            for value in (1.0, -(2.0**21)):
                a = np.diag(np.full(K, value, "float32"))
                np.testing.assert_allclose(a @ M, value * M.dense(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_every_entry_of_a_row_of_equal_ones_counts(kind: str) -> None:
    """Whole numbers, of which int8 rounds none: each entry is as large as the largest, and adds its own."""
    for K in lengths("float32"):
        W = 2.0 ** (np.arange(K) % 7)[:, None] * np.array([[1.0, -1.0, 0.0]], "float32")
        W[0] = 127, -127, 127  # a scale of 1
        M = BlockedMatrix.of(W.astype("float32"), kind, backend=get_backend("numba"))
        signs = np.where(np.arange(K) % 3, 1.0, -1.0).astype("float32")
        a = np.stack([signs, -signs, np.ones_like(signs)]) * np.float32(127)
        np.testing.assert_array_equal(a @ M, a @ W)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_no_entry_that_is_not_finite_is_hidden_by_int8(odd: float) -> None:
    for K in lengths("float32"):
        M = BlockedMatrix.of(np.ones((K, 3), "float32"), "int8", backend=get_backend("numba"))
        a = np.ones((K + 1, K), "float32")
        np.fill_diagonal(a, odd)
        found = a @ M
        assert np.isnan(found[:K]).all()
        np.testing.assert_allclose(found[K], K, rtol=1e-6)

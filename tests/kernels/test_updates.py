"""Norms, clipping and the optimisers' steps by kernels, against plain formulas.

Where arithmetic has a provable bound, or is exact, the tolerance is that; else it follows from dtype and shape as in
``test_conformance``.
"""

from itertools import product
from typing import Any

import numpy as np
import pytest
from fences import kernels
from hypothesis import strategies as st

import minirnn
from minirnn import GRU, SGD, Linear, NonFiniteGradientError, grad_norm
from minirnn.cells import GRUCell, LSTMCell, TanhCell

runtime: Any = kernels("runtime")
DTYPES = ("float32", "float64")
SMOOTH = (TanhCell, GRUCell, LSTMCell)
SIZES = (1, 2, 7, 15, 16, 17, 31, 32, 33, 48, 100)  # beside and on the borders of vectors and panels of every width
seeds = st.integers(0, 2**32 - 1)


BORDERS = (1, 7, 15, 16, 17, 63, 64, 65, 4095, 4096, 4097, 8192, 12289)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_norm_of_any_size_is_right(dtype: str) -> None:
    rng, eps = np.random.default_rng(0), float(np.finfo(dtype).eps)
    for n in BORDERS:
        raw = np.full(n + 2, np.nan, dtype)  # one number more or less would show
        g = raw[1:-1]
        g[...] = rng.normal(size=n)
        assert runtime.norm(g) == pytest.approx(float(np.linalg.norm(g.astype(float))), rel=300 * eps)
        g[...] = 3
        assert runtime.norm(g) == pytest.approx(3 * n**0.5, rel=1e-15)  # whole numbers: exact


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1.0, 1e-12, 1e-25, 1e-37, 1e12, 1e18, 1e25, 1e37])
def test_grad_norm_survives_squares_that_leave_the_dtype(dtype: str, size: float) -> None:
    model = Linear(70, 60).init(0, backend="numba", dtype=dtype)
    g = (size * np.random.default_rng(0).uniform(0.5, 1, model.grads.shape)).astype(dtype)
    model.grads = g
    exact = float(np.linalg.norm(model.grads.astype(np.longdouble)))
    assert grad_norm(model) == pytest.approx(exact, rel=1e-5 if dtype == "float32" else 1e-12)
    if dtype == "float32" and not 1e-15 < size < 1e15:
        assert runtime.norm(model.grads) is None
    model.freeze("b")
    exact = float(np.linalg.norm(model.named_grads()["W"].astype(np.longdouble)))
    assert grad_norm(model) == pytest.approx(exact, rel=1e-5 if dtype == "float32" else 1e-12)


def test_grad_norm_finds_what_is_not_finite_and_nothing_where_there_is_nothing() -> None:
    model = Linear(70, 60).init(0, backend="numba")
    assert grad_norm(model) == 0
    for value in (np.nan, np.inf, -np.inf):
        model.zero_grads()
        model.named_grads()["b"][59] = value
        with pytest.raises(NonFiniteGradientError, match="the gradient of b is not finite: 1 of 60 entries"):
            grad_norm(model)
    model.freeze("b")
    assert grad_norm(model) == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_descend_is_the_formula_and_touches_nothing_else(dtype: str) -> None:
    rng, eps = np.random.default_rng(0), float(np.finfo(dtype).eps)
    for n in BORDERS:
        raw = rng.normal(size=(2, n + 2)).astype(dtype)
        before, rate = raw.astype(float), float(np.dtype(dtype).type(0.3))
        runtime.descend(*raw[:, 1:-1], 0.3)
        w, step = before[0, 1:-1], rate * before[1, 1:-1]
        assert (np.abs(raw[0, 1:-1] - (w - step)) <= eps * (np.abs(w) + 2 * np.abs(step))).all()
        assert not raw[1, 1:-1].any()
        np.testing.assert_array_equal(raw[:, [0, -1]], before[:, [0, -1]])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_clipped_descent_is_the_formula_and_touches_nothing_else(dtype: str) -> None:
    rng, eps = np.random.default_rng(0), float(np.finfo(dtype).eps)
    for n, clip in product(BORDERS, (0.0, 0.5, 1e9)):
        raw = rng.normal(size=(2, n + 2)).astype(dtype)
        before = raw.astype(float)
        w, g = before[:, 1:-1]
        norm = runtime.clipped_descend(*raw[:, 1:-1], 0.3, clip)
        assert norm == pytest.approx(float(np.linalg.norm(g)), rel=300 * eps)
        step = 0.3 * (clip / np.linalg.norm(g) if 0 < clip < np.linalg.norm(g) else 1.0) * g
        assert (np.abs(raw[0, 1:-1] - (w - step)) <= 300 * eps * (np.abs(w) + np.abs(step))).all()
        assert not raw[1, 1:-1].any()
        np.testing.assert_array_equal(raw[:, [0, -1]], before[:, [0, -1]])
    for odd in (np.nan, np.inf, 1e-30, 3e18):  # not finite, or its square leaves the range of float32
        raw[:] = 1
        raw[1] = odd
        assert runtime.clipped_descend(*raw[:, 1:-1], 0.3, 1.0) is None
        assert (raw[0] == 1).all()
        np.testing.assert_array_equal(raw[1], np.full(n + 2, odd, dtype))


def test_a_clipped_descent_gives_the_same_bits_for_any_number_of_threads() -> None:
    rng, n = np.random.default_rng(0), 300_001
    start, found = rng.normal(size=(2, n)).astype("float32"), []
    before = minirnn.get_num_threads()
    try:
        for threads in (1, 2, 3):
            minirnn.set_num_threads(threads)
            w, g = start.copy()
            found.append((runtime.clipped_descend(w, g, 0.3, 1.0), w))
    finally:
        minirnn.set_num_threads(before)
    for norm, w in found[1:]:
        assert norm == found[0][0]
        np.testing.assert_array_equal(w, found[0][1])


@pytest.mark.parametrize("decoupled", [False, True], ids=["Adam", "AdamW"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_adam_is_the_formula_and_touches_nothing_else(dtype: str, decoupled: bool) -> None:
    rng, eps = np.random.default_rng(0), float(np.finfo(dtype).eps)
    scale, beta1, beta2, rate, correction, tiny = 0.7, 0.9, 0.99, 0.01, 1.5, 1e-8
    decay, shrink = (0.0, 0.95) if decoupled else (0.1, 1.0)
    for n in BORDERS:
        raw = rng.normal(size=(4, n + 2)).astype(dtype)
        raw[3] **= 2  # v
        before = raw.astype(float)
        w, g, m, v = raw[:, 1:-1]
        runtime.adam(
            w,
            g,
            m,
            v,
            scale=scale,
            decay=decay,
            shrink=shrink,
            beta1=beta1,
            beta2=beta2,
            rate=rate,
            correction=correction,
            eps=tiny,
        )
        w0, g0, m0, v0 = before[:, 1:-1]
        gradient, most = g0 * scale + decay * w0, np.abs(g0 * scale) + np.abs(decay * w0)
        m1, v1 = beta1 * m0 + (1 - beta1) * gradient, beta2 * v0 + (1 - beta2) * gradient**2
        root = np.sqrt(v1 * correction) + tiny
        for found, exact, bound in (
            (m, m1, np.abs(m0) + most),
            (v, v1, v0 + most**2),
            (w, w0 * shrink - rate * m1 / root, np.abs(w0) + rate * (np.abs(m0) + most) / root * (v0 + most**2) / v1),
        ):
            assert (np.abs(found - exact) <= 8 * eps * bound).all()
        assert not g.any()
        np.testing.assert_array_equal(raw[:, [0, -1]], before[:, [0, -1]])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_step_of_each_compiled_optimiser_is_that_of_numpy(dtype: str) -> None:
    rng = np.random.default_rng(0)
    for make in (
        lambda model: SGD(model, 0.1, clip=0.5),
        lambda model: minirnn.Adam(model, 0.1, clip=0.5, weight_decay=0.1),
        lambda model: minirnn.AdamW(model, 0.1, weight_decay=0.1),
    ):
        model = GRU(5, 7).init(0, backend="numba", dtype=dtype).freeze("0.b")
        plain = model.to(backend="numpy", dtype="float64")
        one, other = make(model), make(plain)
        for _ in range(3):
            gradient = rng.normal(size=model.grads.shape).astype(dtype)
            model.grads, plain.grads = gradient, gradient
            model.bound.clear_gaps()
            plain.bound.clear_gaps()
            assert one.step() == pytest.approx(other.step(), rel=1e-5)
        np.testing.assert_allclose(model.weights, plain.weights, atol=1e-5 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_add_rows_is_a_loop_over_the_rows_bit_for_bit(dtype: str) -> None:
    rng = np.random.default_rng(0)
    for N in (1, 7, 15, 16, 17, 33, 100):
        for count in (1, 2, 50):
            out, rows = rng.normal(size=(5, N)).astype(dtype), rng.normal(size=(count, N)).astype(dtype)
            index, expected = rng.integers(0, 5, count), out.copy()
            np.add.at(expected, index, rows)  # one after another
            runtime.add_rows(out, index.astype("int16"), np.asfortranarray(rows))
            np.testing.assert_array_equal(out, expected)

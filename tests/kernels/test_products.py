"""Packed matrices and products, against plain formulas.

Where arithmetic has a provable bound, or is exact, the tolerance is that; else it follows from dtype and shape as in
``test_conformance``.
"""

from typing import Any

import numba
import numpy as np
import pytest
from fences import fences, kernels
from hypothesis import given
from hypothesis import strategies as st

from minirnn import Linear
from minirnn.cells import GRUCell, LSTMCell, TanhCell
from minirnn.core.backend import Array

compiling: Any = kernels("compiling")
memory: Any = kernels("memory")
packing: Any = kernels("packing")
runtime: Any = kernels("runtime")
DTYPES = ("float32", "float64")
SMOOTH = (TanhCell, GRUCell, LSTMCell)
SIZES = (1, 2, 7, 15, 16, 17, 31, 32, 33, 48, 100)  # beside and on the borders of vectors and panels of every width
seeds = st.integers(0, 2**32 - 1)


# ---------------------------------------------------------------------- packed matrices


def _lay_out(like: Any, b: Any, ldb: Any, k: Any, n: Any, depth: Any, turned: Any, out: Any) -> None:
    source, target = memory.numbers(b, like), memory.numbers(out, like)
    for part in range(2):  # as two threads would
        if turned:
            packing.pack_transposed(source, ldb, k, n, target, depth, part, 2)
        else:
            packing.pack(source, ldb, k, n, target, part, 2)


_packer: Any = numba.njit(**compiling.OPTIONS)(_lay_out)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("turned", [False, True])
def test_a_packed_matrix_is_panel_after_panel_with_zeros_at_the_end(turned: bool, dtype: str) -> None:
    width, kind = runtime.panel_width(np.dtype(dtype)), np.dtype(dtype)
    with compiling.calling([packing.pack, packing.pack_transposed], kind):
        _packer.compile((numba.from_dtype(kind), *[numba.intp] * 7))
    for k in (1, 2, 7, 15, 16, 17, 33):
        for n in (1, 5, 15, 16, 17, 31, 32, 33, 70):
            depth, panels = k + (3 if turned else 0), -(-n // width)
            whole = np.full((n, k + 2) if turned else (k, n + 2), np.nan, dtype)  # what is beside must not be read
            b = whole[:, :-2]
            b[...] = np.arange(1, b.size + 1).reshape(b.shape)
            out = np.full(panels * depth * width + width, -1, dtype)
            _packer(out.dtype.type(0), whole.ctypes.data, whole.shape[1], k, n, depth, int(turned), out.ctypes.data)
            found = out[:-width].reshape(panels, depth, width)
            wanted = np.zeros((k, panels * width), dtype)
            wanted[:, :n] = b.T if turned else b
            np.testing.assert_array_equal(found[:, :k].transpose(1, 0, 2).reshape(k, -1), wanted)
            assert (found[:, k:] == -1).all()
            assert (out[-width:] == -1).all()


# ---------------------------------------------------------------------- products


def matrix(rng: np.random.Generator, shape: tuple[int, ...], dtype: str, *, turned: bool = False) -> Array:
    """Normal numbers; ``turned``: the transpose of a contiguous array."""
    drawn: Array = rng.normal(size=shape[::-1] if turned else shape).astype(dtype)
    return drawn.T if turned else drawn


def assert_product(found: Array, a: Array, b: Array, start: Array | float = 0.0) -> None:
    """found = start + a @ b, as exactly as a chain of so many roundings can promise (Higham 2002, section 3.1)."""
    eps, k = float(np.finfo(found.dtype).eps), a.shape[-1]
    a, b, start = a.astype(float), b.astype(float), np.asarray(start, float)
    bound = 2 * (k + 2) * eps * (np.abs(a) @ np.abs(b) + np.abs(start)) + np.finfo(found.dtype).tiny
    assert (np.abs(found - (a @ b + start)) <= bound).all()


def assert_linear(rows: int, K: int, N: int, dtype: str, seed: int, *, turned: bool, bias: bool) -> None:
    rng = np.random.default_rng(seed)
    x, W = matrix(rng, (rows, K), dtype), matrix(rng, (K, N), dtype, turned=turned)
    b = matrix(rng, (N,), dtype) if bias else None
    dy, dW = matrix(rng, (rows, N), dtype), matrix(rng, (K, N), dtype, turned=turned)
    db = matrix(rng, (N,), dtype) if bias else None
    before = dW.copy(), None if db is None else db.copy()
    assert_product(runtime.linear(x, W, b), x, W, 0.0 if b is None else b)
    assert_product(runtime.linear_backward(x, W, dy, dW, db), dy, W.T)
    assert_product(dW, x.T, dy, before[0])
    if db is not None:
        assert before[1] is not None
        assert_product(db, np.ones((1, rows), dtype), dy, before[1])


@pytest.mark.parametrize("turned", [False, True], ids=["W", "W transposed"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_linear_is_right_for_every_remainder(dtype: str, turned: bool) -> None:
    with fences():
        for rows in range(1, 21):
            for N in range(1, 71):
                assert_linear(rows, 1 + (5 * rows + 3 * N) % 70, N, dtype, N, turned=turned, bias=N % 3 > 0)


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    rows=st.integers(1, 20) | st.sampled_from([255, 256, 257, 300]),
    K=st.integers(1, 70) | st.sampled_from([64, 96, 128, 200]),
    N=st.integers(1, 70) | st.sampled_from([64, 96, 128, 200]),
    turned=st.booleans(),
    bias=st.booleans(),
    seed=seeds,
)
def test_linear_is_right_for_shapes_drawn_at_will(
    dtype: str, rows: int, K: int, N: int, turned: bool, bias: bool, seed: int
) -> None:
    with fences():
        assert_linear(rows, K, N, dtype, seed, turned=turned, bias=bias)


@pytest.mark.parametrize("dtype", DTYPES)
def test_linear_of_whole_numbers_is_exact_and_adds_to_what_was_there(dtype: str) -> None:
    rng = np.random.default_rng(0)
    x, W, dy = (rng.integers(-9, 10, shape).astype(dtype) for shape in ((13, 37), (37, 53), (13, 53)))
    dW, db = np.zeros_like(W), np.zeros(53, dtype)
    for times in (1, 2, 3):
        dx = runtime.linear_backward(x, W, dy, dW, db)
        np.testing.assert_array_equal(dx, dy @ W.T)
        np.testing.assert_array_equal(dW, times * (x.T @ dy))
        np.testing.assert_array_equal(db, times * dy.sum(0))


def test_linear_takes_x_of_any_layout_and_any_number_of_axes() -> None:
    rng = np.random.default_rng(0)
    layer = Linear(5, 6).init(0, backend="numba")
    x = rng.normal(size=(3, 5, 4)).astype("float32").swapaxes(1, 2)
    y, _, backward = layer.forward(x)
    z, _, other = layer.forward(x.copy())
    dy = rng.normal(size=(6, 4, 3)).astype("float32").T
    np.testing.assert_array_equal(y, z)
    np.testing.assert_array_equal(backward(dy)[0], other(dy.copy())[0])
    np.testing.assert_array_equal(layer(x[0])[0], y[0])
    assert layer(x[:, :0])[0].shape == (3, 0, 6)  # no rows
    assert not x.flags.c_contiguous

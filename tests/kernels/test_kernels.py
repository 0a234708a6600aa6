"""The compiled kernels, one by one: against exact values, plain formulas and the numpy backend in float64.

Where arithmetic has a provable bound, or is exact, the tolerance is that; else it follows from dtype and shape as in
``test_conformance``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import product
from math import prod
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minirnn
from minirnn import GRU, LSTM, RNN, SGD, Linear, NonFiniteGradientError, Recurrent, cross_entropy, grad_norm
from minirnn.cells import GRUCell, LSTMCell, ReluCell, TanhCell
from minirnn.core.backend import NUMBA, NUMPY, Array, maker
from minirnn.recurrent import fused
from minirnn.testing.strategies import Case


def kernels(name: str) -> Any:
    """A module of kernels/cpu, whose functions have no types."""
    return import_module(f"minirnn.kernels.cpu.{name}")


NAMES = "activations compiling dispatch leases memory packing runtime tiles updates vectors"
activations, compiling, dispatch, leases, memory, packing, runtime, tiles, updates, vectors = map(
    kernels, NAMES.split()
)

DTYPES = ("float32", "float64")
SMOOTH = (TanhCell, GRUCell, LSTMCell)
SIZES = (1, 2, 7, 15, 16, 17, 31, 32, 33, 48, 100)  # beside and on the borders of vectors and panels of every width
seeds = st.integers(0, 2**32 - 1)


class Room:
    """A vector in the place of a lease."""

    def __init__(self, vector: Array) -> None:
        self.vector, self.start = vector, vector.ctypes.data

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        assert dtype == self.vector.dtype
        return self.vector.reshape(shape)


class Fenced:
    """Arrays full of NaN between fences: what is read before it is written shows, and so does a write beside."""

    fence = -77.0

    def __init__(self) -> None:
        self.made: list[tuple[Array, slice]] = []

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        size, room = prod(shape), 64 // dtype.itemsize
        raw = np.full(size + 3 * room, self.fence, dtype)
        start = room + -raw.ctypes.data % 64 // dtype.itemsize
        inside = slice(start, start + size)
        raw[inside] = np.nan
        self.made.append((raw, inside))
        return raw[inside].reshape(shape)

    def room(self, size: int, dtype: np.dtype[Any]) -> Any:
        return Room(self.empty((size,), dtype))

    def assert_whole(self) -> None:
        assert self.made
        for raw, inside in self.made:
            assert (raw[: inside.start] == self.fence).all()
            assert (raw[inside.stop :] == self.fence).all()


@contextmanager
def fences() -> Iterator[None]:
    """Everything that kernels borrow in here stands between fences, which are looked at in the end."""
    fenced = Fenced()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime.LEASES, "empty", fenced.empty)
        patch.setattr(runtime.LEASES, "room", fenced.room)
        yield
    fenced.assert_whole()


# ---------------------------------------------------------------------- activations


def _drive(like: Any, n: Any, x: Any, out: Any) -> None:
    source, target = memory.numbers(x, like), memory.numbers(out, like)
    width = memory.lanes(source)
    for j in range(0, n, width):
        count = min(width, n - j)
        a = memory.load(source, j, count)
        memory.store(activations.tanh(a), target, j, count)
        memory.store(0.5 * activations.tanh_of_half(a) + 0.5, target, n + j, count)
        memory.store(activations.exp(a), target, 2 * n + j, count)
        memory.store(activations.whole_exp(a), target, 3 * n + j, count)


_driver: Any = numba.njit(**compiling.OPTIONS)(_drive)
EXP_LIMIT = {"float32": 87.0, "float64": 708.0}  # beyond ± which exp stays what it is there, as it says


def activated(x: Array) -> Array:
    """tanh, sigmoid, exp and the whole exp of x, (4, n), by the vector code."""
    out = np.full((4, x.size), 7.0, x.dtype)
    _driver(x.dtype.type(0), x.size, x.ctypes.data, out.ctypes.data)
    return out


def ulps(actual: Array, exact: Array) -> Array:
    """Errors in units of the last place of the exact value, in the dtype of what was found."""
    rounded = exact.astype(actual.dtype)
    found: Array = np.abs(actual - exact) / np.spacing(np.abs(rounded)).astype(np.longdouble)
    return found


def assert_activations_are_right(x: Array) -> None:
    tanh, sigmoid, exp, whole = activated(x)
    nan, info, limit = np.isnan(x), np.finfo(x.dtype), EXP_LIMIT[x.dtype.name]
    for found in (tanh, sigmoid, exp, whole):
        assert (np.isnan(found) == nan).all()
    long = x[~nan].astype(np.longdouble)
    tanh, sigmoid, exp, whole = (found[~nan] for found in (tanh, sigmoid, exp, whole))
    assert ulps(tanh, np.tanh(long)).max(initial=0) <= 4
    with np.errstate(over="ignore", under="ignore"):
        assert np.abs(sigmoid - 1 / (1 + np.exp(-long))).max(initial=0) <= 4 * info.eps / 2
        far = np.exp(long)
    assert ulps(exp, np.exp(np.clip(long, -limit, limit))).max(initial=0) <= 4
    least, most = np.longdouble(info.tiny), np.longdouble(info.max)
    inside = (far > 2 * least) & (far < most / 2)
    assert ulps(whole[inside], far[inside]).max(initial=0) <= 8
    assert (whole[far < least / 2] <= info.tiny).all()
    assert np.isinf(whole[far > 2 * most]).all()
    assert (np.abs(tanh) <= 1).all()
    assert ((sigmoid >= 0) & (sigmoid <= 1)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_activations_are_exact_to_4_ulp_on_dense_grids(dtype: str) -> None:
    smallest, far = np.finfo(dtype).smallest_subnormal, 1.1 * EXP_LIMIT[dtype]
    steps = np.geomspace(float(smallest), 1.0, 100_001)
    grids = (np.linspace(-far, far, 200_001), np.linspace(-3, 3, 200_001), steps, -steps)
    assert_activations_are_right(np.concatenate(grids).astype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
def test_activations_are_exact_to_4_ulp_wherever_one_looks(dtype: str, data: st.DataObject) -> None:
    anything = st.floats(width=32) if dtype == "float32" else st.floats()
    x = data.draw(st.lists(anything | st.floats(-20, 20, width=32), min_size=1, max_size=40))
    assert_activations_are_right(np.array(x, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_activations_have_the_right_values_at_0_and_at_the_ends(dtype: str) -> None:
    tanh, sigmoid, exp, whole = activated(np.array([0, np.inf, -np.inf, np.nan], dtype))
    np.testing.assert_array_equal(whole, [1, np.inf, 0, np.nan])
    assert tanh[:3].tolist() == [0, 1, -1]
    assert sigmoid[:3].tolist() == [0.5, 1, 0]
    assert exp[0] == 1
    assert exp[2] <= np.finfo(dtype).tiny * 1.5  # nothing, beside a sum of which another term is 1
    assert np.isnan([tanh[3], sigmoid[3], exp[3]]).all()


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


# ---------------------------------------------------------------------- cross entropy


@pytest.mark.parametrize("V", [1, 2, 15, 16, 17, 28, 1027])
@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy_agrees_with_numpy(dtype: str, V: int) -> None:
    rng, eps = np.random.default_rng(V), float(np.finfo(dtype).eps)
    for rows in (1, 2, 7, 64):
        for scale in (0.01, 1.0, 30.0):
            logits = (scale * rng.normal(size=(rows, V))).astype(dtype)
            targets = rng.integers(0, V, rows)
            with fences():
                losses, dlogits = runtime.cross_entropy(logits, targets, 1 / rows)
            shifted = logits.astype(np.longdouble) - logits.max(1, keepdims=True)
            y = np.exp(shifted) / np.exp(shifted).sum(1, keepdims=True)
            exact = np.log(np.exp(shifted).sum(1)) - shifted[np.arange(rows), targets]
            one_hot = np.eye(V)[targets]
            tolerance = 4 * eps * (2 + V**0.5 + np.abs(shifted))  # a difference's rounding is relative to its size
            assert (np.abs(losses - exact) <= tolerance.max(1)).all()
            assert (
                np.abs(dlogits - (y - one_hot) / rows) <= tolerance * (y + one_hot) / rows + 1.5 * np.finfo(dtype).tiny
            ).all()
            loss, gradient = cross_entropy(logits.astype("float64"), targets)
            assert abs(float(losses.sum()) / rows - float(loss)) <= tolerance.max()
            assert np.abs(dlogits - gradient).max() <= tolerance.max() / rows


@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy_of_lent_logits_runs_the_kernel_and_agrees(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called, compiled = [], runtime.cross_entropy

    def watched(*arguments: Any) -> Any:
        called.append(1)
        return compiled(*arguments)

    monkeypatch.setattr(runtime, "cross_entropy", watched)
    rng, V = np.random.default_rng(0), 28
    x, eps = rng.normal(size=(30, 40, 5)).astype(dtype), float(np.finfo(dtype).eps)
    logits, _ = Linear(5, V).init(0, backend="numba", dtype=dtype)(x)
    assert logits.nbytes >= leases.SMALL
    assert maker(logits) is NUMBA
    targets = rng.integers(0, V, (30, 40))
    loss, dlogits = cross_entropy(logits, targets)
    assert called == [1]
    plain, gradient = cross_entropy(logits.copy(), targets)  # nobody lent the copy
    assert called == [1]
    assert maker(logits.copy()) is NUMPY
    assert loss.dtype == dlogits.dtype == dtype
    assert dlogits.shape == logits.shape
    assert abs(loss - plain) <= 50 * eps * plain
    assert np.abs(dlogits - gradient).max() <= 20 * eps / targets.size
    for view, goals in ((logits[::-1], targets[::-1]), (logits[:, ::2], targets[:, ::2]), (logits[3], targets[3])):
        loss, dlogits = cross_entropy(view, goals)
        plain, gradient = cross_entropy(view.copy(), goals)
        assert abs(loss - plain) <= 50 * eps * plain
        assert np.abs(dlogits - gradient).max() <= 20 * eps / goals.size


def test_cross_entropy_of_lent_logits_takes_masks() -> None:
    rng, V = np.random.default_rng(0), 28
    logits, _ = Linear(5, V).init(0, backend="numba")(rng.normal(size=(30, 40, 5)).astype("float32"))
    assert maker(logits) is NUMBA
    targets, mask = rng.integers(0, V, (30, 40)), rng.random((30, 40)) < 0.5
    logits[~mask], targets[~mask] = np.nan, -1
    loss, dlogits = cross_entropy(logits, targets, mask)
    alone, gradient = cross_entropy(logits[mask].astype(float), targets[mask])
    assert loss == pytest.approx(alone, rel=1e-5)
    np.testing.assert_allclose(dlogits[mask], gradient, rtol=0, atol=1e-6 / mask.sum())
    assert not dlogits[~mask].any()


@pytest.mark.parametrize("V", [1, 15, 16, 28, 100])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_nan_among_logits_makes_its_row_nan_and_no_other(dtype: str, V: int) -> None:
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(5, V)).astype(dtype), rng.integers(0, V, 5)
    clean = runtime.cross_entropy(logits, targets, 0.2)
    for place in range(V):
        spoilt = logits.copy()
        spoilt[place % 5, place] = np.nan
        others = np.arange(5) != place % 5
        for found, wanted in zip(runtime.cross_entropy(spoilt, targets, 0.2), clean, strict=True):
            assert np.isnan(found[~others]).all()
            np.testing.assert_array_equal(found[others], wanted[others])


@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy_of_huge_and_of_impossible_logits_is_that_of_numpy(dtype: str) -> None:
    largest, nothing = np.finfo(dtype).max / 4, 1.5 * float(np.finfo(dtype).tiny)
    for V in (3, 16, 40):
        logits = np.full((4, V), -1e4, dtype)
        logits[0, 1] = 1e4  # certain, and right
        logits[1, :2] = 1e4  # two equal ones
        logits[2], logits[2, 2] = -largest, largest  # certain, and wrong
        logits[3], logits[3, 0] = -np.inf, 3.0  # only one possible
        losses, dlogits = runtime.cross_entropy(logits, np.array([1, 0, 0, 0]), 1.0)
        expected = np.zeros((4, V))
        expected[1, :2], expected[2, [0, 2]] = [-0.5, 0.5], [-1, 1]
        assert losses[[0, 3]].tolist() == [0, 0]
        assert losses[1] == pytest.approx(np.log(2), rel=1e-6)
        assert losses[2] == 2 * largest
        np.testing.assert_allclose(dlogits, expected, rtol=0, atol=nothing)
        np.testing.assert_array_equal(dlogits[expected != 0], expected[expected != 0])
        with np.errstate(under="ignore"):
            plain, gradient = cross_entropy(logits, [1, 0, 0, 0])
        assert plain == pytest.approx(losses.sum() / 4)
        np.testing.assert_array_equal(gradient, expected / 4)


# ---------------------------------------------------------------------- optimisers

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


# ---------------------------------------------------------------------- layers


def leaves(state: Any) -> list[Array]:
    return [] if state is None else list(state) if isinstance(state, tuple) else [state]


def rebuilt(parts: list[Array]) -> Any:
    return tuple(parts) if len(parts) > 1 else parts[0]


def as_type(a: Any, dtype: str) -> Any:
    """Arrays of floats, or tuples of them, in another dtype; integers and None as they are."""
    if isinstance(a, tuple):
        return tuple(as_type(part, dtype) for part in a)
    return a if a is None or a.dtype.kind in "iu" else a.astype(dtype)


def everything(case: Case, dy: Array | None, dstate: Any) -> dict[str, Array]:
    """All that a forward, what it saves, and a backward give, by name."""
    model, dtype = case.model, case.model.weights.dtype.name
    x, state = as_type(case.x, dtype), as_type(case.state, dtype)
    y, final, backward = model.forward(x, state, lengths=case.lengths)
    found = {"y": y, **{f"final {k}": a for k, a in enumerate(leaves(final))}}
    found |= {f"saved {name}": a.copy() for name, a in backward.saved.items()}
    dx, dinitial = backward(None if dy is None else dy.astype(dtype), as_type(dstate, dtype))
    found |= {f"d{name}": g for name, g in model.named_grads().items()}
    found |= {f"dstate {k}": a for k, a in enumerate(leaves(dinitial))}
    return found if dx is None else found | {"dx": dx}


def in_float64(case: Case) -> Case:
    """The same numbers, exactly, on the numpy backend."""
    return Case(case.model.to(backend="numpy", dtype="float64"), case.x, case.state, case.lengths)


@st.composite
def numba_cases(draw: st.DrawFn, cell: Any, dtype: str) -> Case:
    T, B, D, H = draw(st.integers(1, 6)), draw(st.integers(1, 9)), *(draw(st.sampled_from(SIZES)) for _ in "DH")
    model = Recurrent(
        cell, D, H, draw(st.integers(1, 2)), bidirectional=draw(st.booleans()), trainable_state=draw(st.booleans())
    )
    model.init(draw(st.integers(0, 99)), backend="numba", dtype=dtype)
    model.weights *= draw(st.sampled_from([1.0, 2.0]))
    rng = np.random.default_rng(draw(seeds))
    x = rng.integers(0, D, (T, B)) if draw(st.booleans()) else rng.normal(size=(T, B, D)).astype(dtype)
    parts = [rng.normal(size=(len(model.directions), B, H)).astype(dtype) for _ in cell.state]
    lengths = draw(st.none() | st.lists(st.integers(0, T), min_size=B, max_size=B).map(np.array))
    return Case(model, x, rebuilt(parts) if draw(st.booleans()) else None, lengths)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", SMOOTH)
@given(data=st.data())
def test_layers_agree_with_numpy_in_float64(cell: Any, dtype: str, data: st.DataObject) -> None:
    """Outputs, states, all that is saved and every gradient; the work in pieces of any size."""
    case = data.draw(numba_cases(cell, dtype))
    (T, B), (D, H) = case.x.shape[:2], (case.model.input_size or 0, case.model.hidden_size)
    rng = np.random.default_rng(data.draw(seeds))
    shape, width = (len(case.model.directions), B, H), case.model.output_size or 0
    dstate = rebuilt([rng.normal(size=shape).astype(dtype) for _ in cell.state]) if data.draw(st.booleans()) else None
    dy = rng.normal(size=(T, B, width)).astype(dtype) if data.draw(st.booleans()) else None
    with pytest.MonkeyPatch.context() as patch, fences():
        patch.setattr(fused, "ROWS", data.draw(st.sampled_from([1, 2 * B, fused.ROWS])))
        patch.setattr(fused, "CHUNK", data.draw(st.sampled_from([1, 4 * B * H, 12 * B * H, fused.CHUNK])))
        found = everything(case, dy, dstate)
        y, final = case.model(as_type(case.x, dtype), as_type(case.state, dtype), lengths=case.lengths)
    wanted = everything(in_float64(case), dy, dstate)
    assert found.keys() == wanted.keys()
    tolerance = 60 * float(np.finfo(dtype).eps) * (T * (D + H)) ** 0.5
    for name, exact in wanted.items():
        scale = max(1.0, float(np.abs(exact).max(initial=0)))
        assert found[name].shape == exact.shape, name
        assert found[name].dtype == dtype, name
        assert np.abs(found[name] - exact).max(initial=0) <= tolerance * scale, name  # NaN fails
    np.testing.assert_array_equal(y, found["y"])  # inference
    for k, a in enumerate(leaves(final)):
        np.testing.assert_array_equal(a, found[f"final {k}"])


CROWDED = (  # rows of x, y or of the gates' gradients that are a multiple of 4096 bytes apart, in float32 or float64
    RNN(1024, 16),
    RNN(3, 1024),
    RNN(5, 512, bidirectional=True),
    GRU(512, 256),
    LSTM(7, 256, bidirectional=True),
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layer", CROWDED, ids=lambda layer: layer.describe())
def test_layers_whose_rows_crowd_a_cache_set_agree_with_numpy_in_float64(
    layer: Recurrent, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels copy such rows apart; with as few rows as need no copy, and with more than are copied at once."""
    for module in (dispatch, runtime):
        monkeypatch.setattr(module, "TOGETHER", np.inf)  # all rows to one thread
    model, rng = layer.init(0, backend="numba", dtype=dtype), np.random.default_rng(0)
    D, H, width = model.input_size or 0, model.hidden_size, model.output_size or 0
    for T, B in ((2, 1), (3, 4), (2, 67)):
        x, dy = (rng.normal(size=(T, B, n)).astype(dtype) for n in (D, width))
        model.zero_grads()
        case = Case(model, x, None, None)
        with fences():
            found = everything(case, dy, None)
            few = everything(Case(model, x[:, -1:], None, None), dy[:, -1:], None)
        model.zero_grads()
        wanted, tolerance = everything(in_float64(case), dy, None), 60 * np.finfo(dtype).eps * (T * (D + H)) ** 0.5
        for name, exact in wanted.items():
            if name[1:] not in model.named_weights():  # its gradient has been added to twice
                assert np.abs(found[name] - exact).max() <= tolerance * max(1.0, float(np.abs(exact).max())), name
        for name in ("y", "dx", "final 0", "dstate 0"):
            np.testing.assert_array_equal(few[name], found[name][:, -1:], err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
def test_relu_layers_of_whole_numbers_are_exact(dtype: str, data: st.DataObject) -> None:
    """No sum needs rounding, so that relu's kink is met exactly, and results must be equal to the bit."""
    case = data.draw(numba_cases(ReluCell, dtype))
    rng = np.random.default_rng(data.draw(seeds))
    for name, w in case.model.named_weights().items():
        w[...] = rng.integers(-1, 2, w.shape)
        if name.endswith("U"):  # states turned and moved, which do not grow
            w[...] = np.eye(len(w))[rng.permutation(len(w))] * rng.choice([-1, 1], len(w))
    (T, B), width = case.x.shape[:2], case.model.output_size or 0
    shape = (len(case.model.directions), B, case.model.hidden_size)
    x = case.x if case.x.dtype.kind == "i" else rng.integers(-1, 2, case.x.shape).astype(dtype)
    state, dstate = (rng.integers(-2, 3, shape).astype(dtype) for _ in range(2))
    dy = rng.integers(-1, 2, (T, B, width)).astype(dtype)
    case = Case(case.model, x, None if case.state is None else state, case.lengths)
    with fences():
        found = everything(case, dy, dstate)
    for name, exact in everything(in_float64(case), dy, dstate).items():
        assert np.abs(exact).max(initial=0) < 2**24, name
        np.testing.assert_array_equal(found[name], exact, err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", [*SMOOTH, ReluCell])
@given(data=st.data())
def test_a_row_has_the_same_bits_whatever_rows_are_beside_it(cell: Any, dtype: str, data: st.DataObject) -> None:
    """Any choice of rows, in any order: outputs, states and their gradients, in training and in inference."""
    case = data.draw(numba_cases(cell, dtype))
    model, x, (T, B) = case.model, as_type(case.x, dtype), case.x.shape[:2]
    rows = data.draw(st.lists(st.integers(0, B - 1), min_size=1, max_size=2 * B))
    dy = np.random.default_rng(0).normal(size=(T, B, model.output_size or 0)).astype(dtype)
    few = case.lengths if case.lengths is None else case.lengths[rows]
    some = rebuilt([a[:, rows] for a in leaves(case.state)]) if leaves(case.state) else None
    y, final, backward = model.forward(x, case.state, lengths=case.lengths)
    z, end, other = model.forward(x[:, rows], some, lengths=few)
    dx, dstate = backward(dy)
    dz, dend = other(dy[:, rows])
    alone, last = model(np.ascontiguousarray(x[:, rows]), some, lengths=few)
    np.testing.assert_array_equal(z, y[:, rows])
    np.testing.assert_array_equal(alone, y[:, rows])
    for whole, parts in ((final, (end, last)), (dstate, (dend,))):
        for part in parts:
            for a, b in zip(leaves(part), leaves(whole), strict=True):
                np.testing.assert_array_equal(a, b[:, rows])
    if dx is not None and dz is not None:
        np.testing.assert_array_equal(dz, dx[:, rows])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", [*SMOOTH, ReluCell])
def test_nan_in_a_row_makes_that_row_nan_and_changes_no_bit_of_the_others(cell: Any, dtype: str) -> None:
    rng, (T, B, D, H) = np.random.default_rng(0), (4, 9, 17, 33)
    model = Recurrent(cell, D, H).init(0, backend="numba", dtype=dtype)
    x, dy = (rng.normal(size=(T, B, n)).astype(dtype) for n in (D, H))

    def run(x: Array) -> tuple[list[Array], list[Array]]:
        y, final, backward = model.forward(x)
        dx, dstate = backward(dy)
        assert dx is not None
        z, end = model(x)
        return [y, dx, z], [*leaves(final), *leaves(dstate), *leaves(end)]

    clean = run(x)
    for row in range(B):
        spoilt = x.copy()
        spoilt[1, row, row % D] = np.nan
        (y, dx, z), states = run(spoilt)
        for a in (y, z):
            assert np.isnan(a[1:, row]).all()
            np.testing.assert_array_equal(a[0, row], clean[0][0][0, row])  # before the NaN came
        others = np.arange(B) != row
        for a, b in zip([y, dx, z, *states], [*clean[0], *clean[1]], strict=True):
            np.testing.assert_array_equal(a[:, others], b[:, others])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", [*SMOOTH, ReluCell])
def test_a_pass_from_no_state_has_the_bits_of_one_from_zeros(cell: Any, dtype: str) -> None:
    """Without a state the first step's products with U are left out, forward and in the gradient of U."""
    rng = np.random.default_rng(0)
    for T, B, D, H in ((1, 1, 3, 5), (1, 9, 3, 40), (3, 1, 4, 128), (7, 11, 5, 33)):
        model = Recurrent(cell, D, H, 2, bidirectional=True).init(0, backend="numba", dtype=dtype)
        x, dy = (rng.normal(size=(T, B, n)).astype(dtype) for n in (D, 2 * H))
        zeros = model(x)[1]
        for part in leaves(zeros):
            part[...] = 0
        found = []
        for state in (None, zeros):
            model.zero_grads()
            y, final, backward = model.forward(x, state)
            dx, dstate = backward(dy)
            z, end = model(x, state)
            found.append([y, dx, z, model.grads.copy(), *leaves(final), *leaves(dstate), *leaves(end)])
        for a, b in zip(*found, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("model", [RNN(3, 4), GRU(3, 4, 2, bidirectional=True), LSTM(3, 4, bidirectional=True)])
def test_no_rows_at_all_give_empty_results(model: Recurrent) -> None:
    model.init(0, backend="numba")
    x = np.zeros((5, 0, 3), "float32")
    y, final, backward = model.forward(x)
    dx, _ = backward(y)
    assert dx is not None
    assert y.shape == model(x)[0].shape == (5, 0, model.output_size)
    assert dx.shape == x.shape
    assert not model.grads.any()
    assert all(a.shape == (len(model.directions), 0, 4) for a in leaves(final))

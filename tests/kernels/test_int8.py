"""Products of int8: rows and columns as integers, their sums within int32, and whole models of every cell.

Sums of integers are exact in every order, so that products of the kernels and of NumPy have the same bits.  Where they
are added to something the kernels round once and NumPy twice, and functions differ in their last bits.  A number that
is rounded to int8 may so fall to the other side: that is one step, 1/127 of its row's largest, and happens to few.
"""

from functools import partial
from typing import Any

import numpy as np
import pytest
from entry_models import column_integers, fours, row_integers
from hypothesis import given
from hypothesis import strategies as st
from own_cell import PeepholeLSTM
from staged_cells import Biased, Reduced, Staged, ThreeStates

from minirnn import GRU, LSTM, RNN, Recurrent, Sequential
from minirnn.cells import GRUBeforeCell, GRUCell, LSTMCell, ProjectedLSTMCell, ReluCell, TanhCell
from minirnn.core.backend import Array, get_backend
from minirnn.core.protocol import name_of
from minirnn.core.tree import arrays_in
from minirnn.inference.blocks import BlockedMatrix, quantized_rows
from minirnn.more_cells import NAMED

FLOAT32 = np.dtype("float32")
BACKENDS = ("numpy", "numba")
every_backend = pytest.mark.parametrize("backend", BACKENDS)
seeds = st.integers(0, 2**32 - 1)
INT32 = 2**31 - 1


def drawn(rng: np.random.Generator, *shape: int) -> Array:
    array: Array = rng.normal(size=shape).astype(FLOAT32)
    return array


def times(a: Array, W: Array, backend: str) -> Array:
    product: Array = a @ BlockedMatrix.of(W, "int8", backend=get_backend(backend))
    return product


# ---------------------------------------------------------------------- one product


@every_backend
@given(
    rows=st.integers(1, 20) | st.sampled_from([63, 64, 65, 130]),
    K=st.integers(1, 70) | st.sampled_from([127, 128, 129, 257]),
    N=st.integers(1, 70) | st.sampled_from([96, 129]),
    scale=st.integers(-60, 60),
    seed=seeds,
)
def test_a_product_is_that_of_integers(backend: str, rows: int, K: int, N: int, scale: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, W = np.ldexp(drawn(rng, rows, K), scale), np.ldexp(drawn(rng, K, N), rng.integers(-9, 9, N))
    W[:, rng.random(N) < 0.1] = 0
    a[rng.random(rows) < 0.1] = 0
    np.testing.assert_array_equal(times(a, W, backend), fours(0.0, a, W))


@given(rows=st.integers(1, 9), K=st.integers(1, 300), seed=seeds)
def test_rows_become_integers(rows: int, K: int, seed: int) -> None:
    """By the matrix that shows them: a unit matrix has scales of 1/127, and 127 where it has 1."""
    a = drawn(np.random.default_rng(seed), rows, K)
    q, factors = row_integers(a)
    found, others = quantized_rows(a)
    np.testing.assert_array_equal(found, q)
    np.testing.assert_array_equal(others, factors)
    shown = times(a, np.eye(K, dtype=FLOAT32) * 127, "numba")
    np.testing.assert_array_equal(shown, (127 * q).astype(FLOAT32) * factors)


@every_backend
def test_rounding_is_to_nearest_and_to_even(backend: str) -> None:
    row = np.array([[127, 0.5, 1.5, 2.5, -0.5, -1.5, 2.51, 2.49, -126.5, 126.5, 0.75, -0.75]], FLOAT32)
    wanted = [127, 0, 2, 2, 0, -2, 3, 2, -126, 126, 1, -1]
    unit = np.eye(row.size, dtype=FLOAT32) * 127
    np.testing.assert_array_equal(times(row, unit, backend), [[127.0 * n for n in wanted]])


@every_backend
def test_each_row_has_its_factor_and_each_column_its_scale(backend: str) -> None:
    """Powers of two, whose units are exact: a factor or scale of another one shows everywhere."""
    for rows, K, N in ((1, 3, 5), (2, 8, 33), (5, 9, 70), (13, 31, 100), (70, 4, 64)):
        a = np.full((rows, K), 127, FLOAT32) * 2.0 ** (np.arange(rows) % 40)[:, None]
        W = np.full((K, N), 127, FLOAT32) * 2.0 ** -(np.arange(N) % 50)
        W[1::2] *= -1
        a, W = a.astype(FLOAT32), W.astype(FLOAT32)
        wanted = 127.0 * 127.0 * (K % 2) * np.outer(2.0 ** (np.arange(rows) % 40), 2.0 ** -(np.arange(N) % 50))
        np.testing.assert_array_equal(times(a, W, backend), wanted)


EXTREMES = [1, 3, 4, 255, 4096, 65_535, 65_536, 133_144, 133_145, 200_000]


@pytest.mark.parametrize(
    ("backend", "K"), [*(("numba", K) for K in EXTREMES), *(("numpy", K) for K in (4, 65_536, 200_000))]
)
def test_sums_at_the_extremes_stay_within_int32(backend: str, K: int) -> None:
    """All weights 127 or -127, all activations the largest of either sign, or of both by turns."""
    signs = np.where(np.arange(K) % 2, -1, 1).astype(FLOAT32)
    ones = np.ones(K, FLOAT32)
    W = np.stack([ones, -ones, signs, ones], axis=1)
    W[K // 2 :, 3] = -1
    a = np.stack([ones, -ones, signs, ones])
    a[3, : K // 2] = -1
    (q, factors), (columns, _) = row_integers(a), column_integers(W)
    largest = 127 if K <= INT32 // 127**2 else INT32 // (127 * K)
    assert (np.abs(q) == largest).all()
    assert (np.abs(columns) == 127).all()
    assert np.abs(q @ columns).max() == K * 127 * largest <= INT32
    found = times(a, W, backend)
    np.testing.assert_array_equal(found, fours(0.0, a, W))
    np.testing.assert_allclose(found, a @ W, rtol=2.0**-21, atol=0)
    assert (factors == 1 / np.float32(largest)).all()


def test_a_row_too_long_for_127_loses_no_more_than_its_factor_says() -> None:
    """84 for 127: half a step is 1/168 of the row's largest number."""
    rng, K = np.random.default_rng(0), 200_000
    a, W = drawn(rng, 2, K), drawn(rng, K, 3)
    found = times(a, W, "numba")
    np.testing.assert_array_equal(found, fours(0.0, a, W))
    step = np.abs(a).max(axis=1, keepdims=True) / 84
    W8 = BlockedMatrix.of(W, "int8").dense().astype(float)
    assert (np.abs(found - a.astype(float) @ W8) <= step / 2 * np.abs(W8).sum(0) * (1 + 1e-6)).all()


@every_backend
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_shows_it_and_spoils_no_other(backend: str, odd: float) -> None:
    rng = np.random.default_rng(0)
    for rows, K, N in ((1, 1, 1), (2, 3, 5), (5, 16, 32), (9, 17, 33), (70, 130, 7)):
        a, W = drawn(rng, rows, K), drawn(rng, K, N)
        wanted = times(a, W, backend)
        for place in {0, K // 2, K - 1}:
            spoilt = a.copy()
            spoilt[rows // 2, place] = odd
            found = times(spoilt, W, backend)
            assert np.isnan(found[rows // 2]).all()
            others = np.arange(rows) != rows // 2
            np.testing.assert_array_equal(found[others], wanted[others])


@every_backend
def test_rows_of_zeros_and_of_next_to_nothing_are_zeros(backend: str) -> None:
    a = np.zeros((4, 7), FLOAT32)
    a[1], a[2, 3], a[3] = 1e-31, -1e-35, 1e-33
    np.testing.assert_array_equal(times(a, np.ones((7, 5), FLOAT32), backend), np.zeros((4, 5)))


@every_backend
def test_rows_of_the_least_numbers_are_zeros_without_a_warning(backend: str) -> None:
    """127 over them is not finite."""
    for least in (1e-38, 1e-45):
        np.testing.assert_array_equal(times(np.full((2, 7), least, FLOAT32), np.ones((7, 5), FLOAT32), backend), 0)


@every_backend
def test_rows_whose_sum_leaves_float32_are_finite(backend: str) -> None:
    """A row is looked at number by number."""
    a, W = np.full((2, 8), 3e38, FLOAT32), np.full((8, 3), 1e-3, FLOAT32)
    np.testing.assert_array_equal(times(a, W, backend), fours(0.0, a, W))
    np.testing.assert_allclose(times(a, W, backend), a.astype(float) @ W, rtol=1e-6)


def test_both_backends_agree_from_which_number_on_a_row_counts() -> None:
    """1e-30 lies between two float32."""
    for least in (np.float32(1e-30), np.nextafter(np.float32(1e-30), np.float32(0))):
        a = np.array([[least, 0]], FLOAT32)
        one, other = (times(a, np.ones((2, 1), FLOAT32), backend) for backend in BACKENDS)
        np.testing.assert_array_equal(one, other)


@every_backend
@given(rows=st.integers(2, 70), K=st.integers(1, 140), N=st.integers(1, 140), seed=seeds)
def test_a_row_does_not_depend_on_its_batch(backend: str, rows: int, K: int, N: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = drawn(rng, rows, K) * (10.0 ** rng.integers(-9, 9, (rows, 1))).astype(FLOAT32)
    M = BlockedMatrix.of(drawn(rng, K, N), "int8", backend=get_backend(backend))
    whole, some = a @ M, np.sort(rng.choice(rows, rng.integers(1, rows), replace=False))
    np.testing.assert_array_equal(a[some] @ M, whole[some])


def test_both_backends_store_the_same_numbers() -> None:
    """In blocks of their own widths: a model may go from one to the other."""
    rng = np.random.default_rng(0)
    for K, N in ((1, 1), (5, 33), (130, 70)):
        W = drawn(rng, K, N)
        numpy, numba = (BlockedMatrix.of(W, "int8", backend=get_backend(name)) for name in BACKENDS)
        for M in (numpy, numba, numpy.on(numba.backend), numba.on(numpy.backend)):
            np.testing.assert_array_equal(M.values(), column_integers(W)[0])
            np.testing.assert_array_equal(M.scale, column_integers(W)[1])
            ends = M.blocks[:, -1].view(np.int32)[..., 0].reshape(-1)
            np.testing.assert_array_equal(ends[:N], -128 * M.values().sum(0, dtype=int))
            assert (ends[N:] == 0).all()


# ---------------------------------------------------------------------- models of every cell


def ready(layer: Any, seed: int, backend: str = "numba") -> Any:
    layer.init(0, backend=backend, overwrite=True)
    rng = np.random.default_rng(seed)
    for w in layer.named_weights().values():
        w[...] = rng.uniform(-0.6, 0.6, w.shape)
    return layer


def farthest(small: Any, x: Array, lengths: Any, rng: np.random.Generator) -> tuple[float, float]:
    """How far the outputs and final states of both backends are apart, from drawn initial states; and the largest."""
    _, state = small(x)
    first = tuple(drawn(rng, *s.shape) / 2 for s in arrays_in(state))
    options = {"lengths": lengths}
    found, wanted = (
        list(arrays_in(model(x, first if len(first) > 1 else first[0], **options)))
        for model in (small, small.to(backend="numpy"))
    )
    sizes = [float(np.abs(b).max()) for b in wanted]
    apart = [float(np.abs(a - b).max()) / max(1.0, size) for a, b, size in zip(found, wanted, sizes, strict=True)]
    return max(apart), max(sizes)


def assert_alike(make: Any, x_of: Any, lengths: Any = None, *, steps: int = 4) -> None:
    """Most weights and inputs round alike on both backends: there they agree to float32's precision.

    One that falls to the other side moves a sum by a step of its row, 1/127, times a weight, at most 0.6 here.  Some
    such ``steps`` are allowed, since what follows of one goes on to the next step.
    """
    results, tries = [], 6
    for seed in range(tries):
        small, rng = ready(make(), seed).quantize("int8"), np.random.default_rng(seed)
        results.append(farthest(small, x_of(rng), lengths, rng))
    apart, sizes = zip(*results, strict=True)
    assert max(sizes) > 0.05
    assert max(apart) <= steps * 0.6 / 127
    assert sum(one < 2e-5 for one in apart) >= tries * 2 // 3


CELLS: list[Any] = [GRUCell, LSTMCell, TanhCell, ReluCell, GRUBeforeCell, ProjectedLSTMCell(4), ProjectedLSTMCell(43)]
OWN: list[Any] = [PeepholeLSTM, ThreeStates, Staged, Reduced, Biased]
SLOW = ("GRUBeforeCell", "ProjectedLSTMCell", "PeepholeLSTMCell", "LayerNormLSTMCell", "Staged", "Reduced")
EVERY_CELL = [
    *CELLS[:2],
    *(
        pytest.param(one, marks=pytest.mark.slow if name_of(one) in SLOW else pytest.mark.long)
        for one in [*CELLS[2:], *NAMED.values(), *OWN]
    ),
]


@pytest.mark.parametrize("cell", EVERY_CELL, ids=name_of)
def test_every_cell_is_the_same_on_both_backends(cell: Any) -> None:
    steps = 40 if "Norm" in name_of(cell) or cell is Biased else 4  # a norm divides by what is small
    for T, B, D, H in ((1, 1, 3, 5), (4, 3, 7, 37), (3, 13, 18, 32)):
        one = partial(Recurrent, cell, D, H)
        assert_alike(one, lambda rng, shape=(T, B, D): drawn(rng, *shape), steps=steps)
    many = partial(Recurrent, cell, 5, 17, num_layers=2, bidirectional=True)
    assert_alike(many, lambda rng: drawn(rng, 4, 3, 5), [4, 0, 2], steps=steps)
    assert_alike(many, lambda rng: rng.integers(0, 5, (4, 3)), steps=steps)


ZONED: dict[str, Any] = {
    "gru": lambda: GRU(5, 17, 2, zoneout=0.3),
    "lstm": lambda: LSTM(5, 17, zoneout=(0.2, 0.5)),
    "gru before": lambda: GRU(5, 17, reset="before", zoneout=0.3),
    "projected": lambda: Recurrent(ProjectedLSTMCell(6), 5, 17, zoneout=(0.2, 0.4)),
}


@pytest.mark.slow
@pytest.mark.parametrize("make", ZONED.values(), ids=ZONED)
def test_zoneout_is_the_same_on_both_backends(make: Any) -> None:
    assert_alike(make, lambda rng: drawn(rng, 5, 4, 5))
    assert_alike(make, lambda rng: drawn(rng, 5, 4, 5), [5, 0, 2, 3])


def test_lengths_leave_the_rest_of_a_batch_alone() -> None:
    """Rows of the same length have the bits of a batch of their own."""
    rng, small = np.random.default_rng(0), ready(GRU(9, 40, 2, bidirectional=True), 0).quantize("int8")
    x, lengths = drawn(rng, 6, 5, 9), [6, 2, 0, 6, 2]
    y, h = small(x, lengths=lengths)
    for length in (6, 2):
        rows = [k for k, n in enumerate(lengths) if n == length]
        z, other = small(x[:length, rows])
        np.testing.assert_array_equal(y[:length, rows], z)
        np.testing.assert_array_equal(h[:, rows], other)


# ---------------------------------------------------------------------- streams


STREAMED: dict[str, Any] = {
    "lstm": lambda: LSTM(17, 50, 2),
    "rnn": lambda: RNN(17, 70),
    "lstm and rnn": lambda: Sequential(LSTM(17, 33), RNN(33, 20)),
    "peepholes": lambda: Recurrent(NAMED["PeepholeLSTMCell"], 17, 33),
    "zoned": lambda: LSTM(17, 33, zoneout=(0.2, 0.5)),
}


@pytest.mark.parametrize("kind", ["int8", "bf16"])
@pytest.mark.parametrize("make", STREAMED.values(), ids=STREAMED)
def test_a_stream_has_the_bits_of_the_whole_sequence(make: Any, kind: str) -> None:
    """Where h U is added to x W: not where a cell keeps both apart, or computes in stages."""
    rng, small = np.random.default_rng(0), ready(make(), 0).quantize(kind)
    for B in (1, 2, 3, 7, 70):
        for sequence in (drawn(rng, 5, B, 17), rng.integers(0, 17, (5, B))):
            y, stream = small(sequence)[0], small.stream(B)
            for x_t, y_t in zip(sequence, y, strict=True):
                np.testing.assert_array_equal(stream(x_t), y_t)


APART: dict[str, Any] = {
    "gru": lambda: GRU(17, 50, 2),
    "gru before": lambda: GRU(17, 50, reset="before"),
    "projected": lambda: LSTM(17, 50, proj_size=33),
    "layer-normalised": lambda: Recurrent(NAMED["LayerNormGRUCell"], 17, 33),
    "staged": lambda: Recurrent(Staged, 17, 33),
}


@pytest.mark.slow
@pytest.mark.parametrize("make", APART.values(), ids=APART)
def test_a_stream_of_products_apart_is_as_near_as_rounding_allows(make: Any) -> None:
    """A stream adds h U and x W, a pass begins the one with the other: the same integers, and another last bit."""
    rng, near, tries = np.random.default_rng(0), 0, 6
    for seed in range(tries):
        small, x, worst = ready(make(), seed).quantize("int8"), drawn(rng, 5, 3, 17), 0.0
        y, stream = small(x)[0], small.stream(3)
        for x_t, y_t in zip(x, y, strict=True):
            worst = max(worst, float(np.abs(stream(x_t) - y_t).max()))
        assert worst <= 4 * 0.6 / 127
        near += worst < 2e-5
    assert near >= tries * 2 // 3

"""Recurrent layers whose products round to bfloat16: against float64 with the same roundings, and against themselves.

Of whole numbers whose sums have at most 24 bits all but the rounding is exact, so that kernels and the plain equations
must agree with float64 bit for bit, however they add.  Other numbers may lie so near to the middle between two bfloat16
that float32 and float64 fall to different sides: that changes a result by 2^-8 of one of its terms, and happens to few.
"""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rounding import EPS, both_passes, nearest
from tiers import mostly_slow

from minirnn import GRU, LSTM, RNN, Conv1d, Recurrent, get_num_threads, set_num_threads
from minirnn.cells import GRUBeforeCell, GRUCell, LSTMCell, ProjectedLSTMCell, ReluCell, TanhCell
from minirnn.core.backend import Array
from minirnn.core.protocol import multiplies, name_of, stages_of, widths_of
from minirnn.more_cells import NAMED

BACKENDS = ("numpy", "numba")
BITS = 2.0**24  # whole numbers below it are float32's
every_backend = pytest.mark.parametrize("backend", BACKENDS)
CELLS: list[Any] = [GRUCell, LSTMCell, TanhCell, ReluCell, GRUBeforeCell, ProjectedLSTMCell(4), *NAMED.values()]
SLOW = ("GRUBeforeCell", "ProjectedLSTMCell", "LayerNormLSTMCell", "SRUCell")  # one of each kind of kernel
EVERY_CELL = [
    *CELLS[:2],
    *(pytest.param(one, marks=pytest.mark.slow if name_of(one) in SLOW else pytest.mark.long) for one in CELLS[2:]),
]


def rounding(layer: Any, backend: str = "numba") -> Any:
    return layer.init(1, backend=backend, compute="bfloat16")


def drawn(rng: np.random.Generator, *shape: int) -> Array:
    array: Array = rng.normal(size=shape).astype(np.float32)
    return array


def passes(layer: Recurrent, x: Array, state: tuple[Array, ...], dy: Array) -> dict[str, Array]:
    """What ``rounding.both_passes`` returns, of the layer itself."""
    layer.zero_grads()
    first = tuple(s[None] for s in state)
    y, _, backward = layer.forward(x, first if len(first) > 1 else first[0])
    dx, dstate = backward(dy)
    dstates = dstate if isinstance(dstate, tuple) else (dstate,)
    gradients = {f"d{name.removeprefix('0.')}": g.copy() for name, g in layer.named_grads().items()}
    assert dx is not None
    return {"y": y, "dx": dx, **{f"dstate {k}": d[0] for k, d in enumerate(dstates)}, **gradients}


# ---------------------------------------------------------------------- exact


@every_backend
@given(
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 40), st.integers(1, 70)),
    seed=st.integers(0, 2**32 - 1),
)
def test_whole_numbers_are_rounded_and_multiplied_exactly(
    backend: str, sizes: tuple[int, int, int, int], seed: int
) -> None:
    (T, B, D, H), rng = sizes, np.random.default_rng(seed)
    layer = rounding(RNN(D, H, nonlinearity="relu"), backend)
    weights = layer.named_weights()
    for name, rows in (("0.W", D), ("0.U", H)):  # one number a column, of more bits than are multiplied
        weights[name][...] = 0
        weights[name][rng.integers(0, rows, H), np.arange(H)] = rng.choice([-1, 1, 3, 259], H, p=[0.3, 0.4, 0.2, 0.1])
    weights["0.b"][...] = rng.integers(-2, 3, H)
    x, h0, dy = (rng.integers(-300, 301, shape).astype(np.float32) for shape in ((T, B, D), (B, H), (T, B, H)))
    expected, result = both_passes(layer, x, (h0,), dy), passes(layer, x, (h0,), dy)
    for name, wanted in expected.items():
        if all(np.abs(a).max() < BITS for a in (expected["y"], expected["dx"], wanted)):
            np.testing.assert_array_equal(result[name], wanted, err_msg=name)
        else:
            np.testing.assert_allclose(result[name], wanted, rtol=0, atol=2 * EPS * np.abs(wanted).max(), err_msg=name)


# ---------------------------------------------------------------------- every cell


def agrees(layer: Recurrent, sizes: tuple[int, int], seed: int) -> bool:
    """Whether all that a layer computes is what float64 does with the same roundings, to float32's precision.

    At most it is off by what one number on the wrong side of a middle may do.
    """
    (T, B), D, H, rng = sizes, layer.input_size or 0, layer.hidden_size, np.random.default_rng(seed)
    for w in layer.named_weights().values():
        w[...] = rng.uniform(-0.6, 0.6, w.shape)
    widths = widths_of(layer.cell, H)
    x, dy, state = drawn(rng, T, B, D), drawn(rng, T, B, widths[0]), tuple(drawn(rng, B, n) / 2 for n in widths)
    expected, result = both_passes(layer, x, state, dy), passes(layer, x, state, dy)
    assert result.keys() == expected.keys()
    worst = 0.0
    for name, wanted in expected.items():
        scale = max(1.0, float(np.abs(wanted).max()))
        worst = max(worst, float(np.abs(result[name] - wanted).max()) / scale)
        assert np.abs(result[name] - wanted).max() <= 8 * EPS * scale, name
    return worst < 2e-5


@pytest.mark.parametrize("cell", EVERY_CELL, ids=name_of)
@every_backend
def test_every_cell_multiplies_rounded_numbers(cell: Any, backend: str) -> None:
    layer = rounding(Recurrent(cell, 3, 5), backend)
    assert sum(agrees(layer, (3, 2), seed) for seed in range(6)) >= 4
    plain = layer.to(compute="float32")
    if multiplies(stages_of(cell)[0]):
        assert not any(agrees(plain, (3, 2), seed) for seed in range(3))  # so that the bound tells


@pytest.mark.parametrize("H", [16, 33, 64])
@pytest.mark.parametrize("cell", mostly_slow([GRUCell, ProjectedLSTMCell(17)], shown=1), ids=name_of)
def test_gates_apart_and_stages_of_whole_and_broken_panels(cell: Any, H: int) -> None:
    layer = rounding(Recurrent(cell, 18, H))
    agrees(layer, (2, 13), H)
    assert sum(agrees(layer, (1, 1), seed) for seed in range(6)) >= 4


# ---------------------------------------------------------------------- threads, rows, lengths, segments, streams


def everything(layer: Any, x: Array, **options: Any) -> list[Array]:
    """y, dx and the gradients of the weights."""
    layer.zero_grads()
    y, _, backward = layer.forward(x, **options)
    dx, _ = backward(np.cos(np.arange(y.size, dtype=np.float32)).reshape(y.shape))
    return [np.array(y), *([] if dx is None else [np.array(dx)]), layer.grads.copy()]


@pytest.mark.parametrize("B", [1, 7])
def test_the_bits_do_not_depend_on_threads(B: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TOGETHER": -1, "WAKING": -1, "MEETING": -1, "PATIENCE": 1_000_000}.items():
        monkeypatch.setattr(f"minirnn.kernels.cpu.dispatch.{name}", value)
    layer, before, seen = rounding(GRU(70, 64, 2, bidirectional=True)), get_num_threads(), []
    x = drawn(np.random.default_rng(0), 5, B, 70)
    try:
        for count in (1, 2, 3):
            set_num_threads(count)
            seen.append([*everything(layer, x), layer(x)[0]])
    finally:
        set_num_threads(before)
    for other in seen[1:]:
        for a, b in zip(seen[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_row_does_not_depend_on_its_batch_nor_on_what_is_past_its_end() -> None:
    layer, rng = rounding(LSTM(9, 24, bidirectional=True)), np.random.default_rng(0)
    x, lengths = drawn(rng, 6, 11, 9), rng.integers(1, 7, 11)
    y, _, backward = layer.forward(x, lengths=lengths)
    dx, _ = backward(np.ones_like(y))
    assert dx is not None
    for k, length in enumerate(lengths):
        alone, _, back = layer.forward(x[:length, k : k + 1])
        np.testing.assert_array_equal(y[:length, k : k + 1], alone)
        np.testing.assert_array_equal(dx[:length, k : k + 1], back(np.ones_like(alone))[0])


@every_backend
def test_segments_and_chunks_are_the_whole(backend: str) -> None:
    layer, x = rounding(GRU(9, 24, 2), backend), drawn(np.random.default_rng(0), 12, 3, 9)
    whole = everything(layer, x)
    segments = everything(layer, x, checkpoint_every=5)
    y, state = layer(x[:7])
    chunks = np.concatenate([y, layer(x[7:], state)[0]])
    for a, b in zip([*whole, layer(x)[0]], [*segments, chunks], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=EPS * max(1.0, np.abs(a).max()))
    if backend == "numba":  # a BLAS adds in an order that depends on the number of rows
        np.testing.assert_array_equal(whole[0], segments[0])
        np.testing.assert_array_equal(chunks, layer(x)[0])


@every_backend
def test_indices_are_one_hot_vectors(backend: str) -> None:
    layer, index = rounding(LSTM(20, 17), backend), np.random.default_rng(0).integers(0, 20, (5, 3))
    y, *_, gradients = everything(layer, index)
    wanted, _, same = everything(layer, np.eye(20, dtype=np.float32)[index])
    np.testing.assert_array_equal(y, wanted)
    np.testing.assert_allclose(gradients, same, rtol=0, atol=1e-6 * np.abs(same).max())


@pytest.mark.slow
@every_backend
@pytest.mark.parametrize("indices", [False, True])
def test_a_stream_computes_what_the_model_does(backend: str, indices: bool) -> None:
    layer, rng = rounding(LSTM(20, 33, 2, proj_size=9), backend), np.random.default_rng(0)
    x = rng.integers(0, 20, (9, 2)) if indices else drawn(rng, 9, 2, 20)
    stream, (y, _) = layer.stream(2), layer(x)
    steps = np.stack([stream(x_t).copy() for x_t in x])
    np.testing.assert_allclose(steps, y, rtol=0, atol=EPS)
    assert (np.abs(steps - y) < 1e-6).mean() > 0.5
    assert (np.abs(steps - layer.to(compute="float32")(x)[0]) > 1e-6).mean() > 0.5


@pytest.mark.slow
def test_weight_dropout_and_zoneout_are_those_of_the_plain_equations() -> None:
    plain = rounding(LSTM(6, 16, weight_dropout=0.3, zoneout=0.2), "numpy")
    x, twin = drawn(np.random.default_rng(0), 4, 3, 6), plain.to(backend="numba")
    for a, b in zip(everything(plain, x), everything(twin, x), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=EPS * max(1.0, np.abs(a).max()))


@every_backend
def test_a_convolution_multiplies_rounded_numbers(backend: str) -> None:
    layer, rng = rounding(Conv1d(3, 4, 2, bias=False), backend), np.random.default_rng(0)
    x = drawn(rng, 5, 1, 3)
    y, _, backward = layer.forward(x)
    dy = drawn(rng, *y.shape)
    dx, _ = backward(dy)
    assert dx is not None
    X, rows, W = nearest(np.concatenate([x[:-1, 0], x[1:, 0]], axis=1)), nearest(dy[:, 0]), nearest(layer.weight("W"))
    np.testing.assert_allclose(y[:, 0], X @ W, rtol=0, atol=1e-5)
    np.testing.assert_allclose(layer.grad("W"), X.T @ rows, rtol=0, atol=1e-5)
    np.testing.assert_allclose(dx[:1, 0], (rows @ W.T)[:1, :3], rtol=0, atol=1e-5)


def test_nan_and_infinity_pass() -> None:
    for odd in (np.nan, np.inf):
        layer, x = rounding(RNN(3, 20, nonlinearity="relu")), np.ones((3, 2, 3), np.float32)
        layer.weights[...] = 0.5
        x[1, 0, 2] = odd
        y, _ = layer(x)
        assert np.isfinite(y[0]).all()
        assert np.isfinite(y[:, 1]).all()
        np.testing.assert_array_equal(y[1:, 0], np.full((2, 20), odd))

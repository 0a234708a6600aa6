"""Memory that kernels lend: it comes back when nobody refers to it, and is never lent twice at a time."""

import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from same_bits import assert_same_bits, drawn, gru, one_pass

from minirnn import (
    GRU,
    LSTM,
    RNN,
    Recurrent,
)
from minirnn.core.backend import NUMBA, NUMPY, Array, maker

# modules of kernels/cpu, whose functions have no types
leases, pool, runtime = (import_module(f"minirnn.kernels.cpu.{name}") for name in ("leases", "pool", "runtime"))


def overlap(a: Array, b: Array) -> bool:
    return bool(np.shares_memory(a, b)) or bool(np.may_share_memory(a, b))


def idle(pool: Any) -> int:
    """Bytes that a pool keeps and nobody uses."""
    assert pool._idle == sum(block.size for blocks in pool._free.values() for block in blocks)
    return int(pool._idle + sum(block.size for block in pool._returned))


def test_lent_arrays_are_as_any_others_and_start_on_a_cache_line() -> None:
    pool = leases.Leases()
    for shape in ((300, 301), (0, 7), (3,), (1 << 16,), (11, 13, 700)):
        for dtype in (np.dtype("f4"), np.dtype("f8")):
            a = pool.empty(shape, dtype)
            a[...] = 1
            assert a.shape == shape
            assert a.dtype == dtype
            assert a.flags.carray
            lent = a.nbytes >= leases.SMALL
            assert maker(a) is (NUMBA if lent else NUMPY)
            assert not lent or a.ctypes.data % leases.ALIGNMENT == 0
            assert maker(a.copy()) is NUMPY


def test_memory_comes_back_when_the_last_view_is_gone_and_not_before() -> None:
    pool, dtype = leases.Leases(), np.dtype("f4")
    views: tuple[Callable[[Array], Any], ...] = (
        lambda a: a,
        lambda a: a[5:6, ::7],
        lambda a: a.T.reshape(300, 100)[::-1],
        lambda a: a.view("i4")[0],
        lambda a: np.asarray(a)[..., None],
        lambda a: a.data,
        lambda a: a.data[3:],
        lambda a: np.frombuffer(a.reshape(-1).data, "u1", 1000, 8),
        lambda a: a.flat,
        lambda a: [np.broadcast_to(a[0], (9, 300))],
        lambda a: a.__array_interface__ and (lambda: a),
    )
    for view in views:
        a = pool.empty((100, 300), dtype)
        a[...] = 5
        place, borrowed = a.ctypes.data, view(a)
        del a
        others = [pool.empty((100, 300), dtype) for _ in range(3)]
        for other in others:
            assert abs(other.ctypes.data - place) >= 100 * 300 * 4
            other[...] = 6
        del borrowed, other
        again = [pool.empty((100, 300), dtype) for _ in range(3)]
        assert place in {one.ctypes.data for one in again}
        del others, again


@given(st.lists(st.tuples(st.sampled_from([1, 1.1, 1.3, 2, 5, 9]), st.integers(0, 9)), max_size=60))
def test_no_two_living_arrays_overlap_and_idle_memory_is_bounded(steps: list[tuple[float, int]]) -> None:
    """Any sequence of borrowing and letting go: contents stay, and not much more lies idle than was on loan at once."""
    pool, living, most, lent, kept = leases.Leases(), [], 0, {}, None
    for number, (size, drop) in enumerate(steps):
        a = pool.empty((int(size * (1 << 14)),), np.dtype("f8"))
        a[...] = number
        living.append((number, a[1:] if number % 2 else a))
        lent[number] = int(1.25 * (a.nbytes + 64))
        most = max(most, sum(lent.values()))
        assert pool._idle <= leases.SPARE * most
        del a
        if drop < len(living):
            lent.pop(living.pop(drop)[0])
        for value, kept in living:
            assert (kept == value).all()
    del kept
    starts = sorted((kept.ctypes.data, kept.nbytes) for _, kept in living)
    for (start, size), (following, _) in pairwise(starts):
        assert start + size <= following
    living.clear()
    assert idle(pool) <= (1 + leases.SPARE) * most
    if steps:
        last = pool.empty((1 << 14,), np.dtype("f8"))
        assert idle(pool) <= leases.SPARE * most, len(last)


def test_shapes_that_never_come_again_do_not_fill_the_memory() -> None:
    pool, rng = leases.Leases(), np.random.default_rng(0)
    tracemalloc.start()
    try:
        largest = 0
        for _ in range(300):
            sizes = rng.integers(1 << 14, 1 << 17, 3)
            arrays = [pool.empty((int(size),), np.dtype("f8")) for size in sizes]
            largest = max(largest, int(sizes.sum()) * 8)
            del arrays
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert largest / 2 < held <= 2.5 * largest  # it does see the memory, and there is no more of it


def test_training_does_not_hold_more_and_more_memory() -> None:
    model, held = gru(), []
    for seed in range(12):
        one_pass(model, *drawn(seed, T=20 + seed % 3))
        held.append(idle(leases.LEASES) + leases.LEASES._lent)
    assert len(set(held[6:])) <= 3  # one for each shape at most
    assert max(held[6:]) <= max(held[:6])


@pytest.mark.parametrize("layer", [RNN(64, 64), GRU(48, 96, 2, bidirectional=True), LSTM(300, 100)])
def test_training_takes_no_new_memory_after_its_first_steps(layer: Recurrent, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = leases.Leases()
    monkeypatch.setattr(runtime, "LEASES", pool)
    model, rng = layer.init(0, backend="numba"), np.random.default_rng(0)
    x, dy = (rng.normal(size=(40, 16, n or 0)).astype("f4") for n in (layer.input_size, layer.output_size))
    take, lent = pool._take, []

    def note(size: int) -> Any:
        lent.append(take(size))
        return lent[-1]

    monkeypatch.setattr(pool, "_take", note)
    for step in range(6):
        y, _, backward = model.forward(x)
        dx, _ = backward(dy)
        if step == 2:
            known, lent[:] = {id(block.memory) for block in lent}, []
    assert {id(block.memory) for block in lent} <= known
    assert len(known) > 2
    assert y is not None
    assert dx is not None


def test_arrays_that_someone_holds_are_left_alone_by_later_passes() -> None:
    model, (x, dy) = gru(), drawn(1)
    y, _, backward = model.forward(x)
    saved = backward.saved
    dx, _ = backward(dy, keep=True)
    z, _ = model(x)
    assert dx is not None
    assert maker(y) is NUMBA
    views = [y[::3, 1:, ::2], dx[1:], z.swapaxes(0, 2), y.reshape(-1)[7:], *saved.values()]
    copies = [a.copy() for a in views]
    del y, dx, z, saved, backward
    for seed in range(20):
        one_pass(model, *drawn(seed))
        model(drawn(seed)[0])
    assert_same_bits(views, copies)


def test_lending_from_many_threads_hands_nothing_out_twice() -> None:
    pool = leases.Leases()

    def borrow(number: int) -> bool:
        rng, good, living = np.random.default_rng(number), True, []
        for k in range(60):
            a = pool.empty((int(rng.integers(1, 4)) << 14,), np.dtype("f8"))
            a[...] = 1000 * number + k
            living.append((1000 * number + k, a))
            if len(living) > 3:
                value, a = living.pop(int(rng.integers(0, 4)))
                good &= bool((a == value).all())
        return good

    with ThreadPoolExecutor(4) as executor:
        assert all(executor.map(borrow, range(8)))
    pool.idle()  # which counts what came back
    assert pool._lent == 0

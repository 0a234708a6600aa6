"""The numba backend's threads: that they cannot be seen in a result."""

import _thread
import multiprocessing
import os
import re
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from math import prod
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from same_bits import assert_same_bits, drawn, gru, leaves, one_pass
from tiers import marked_but

from minirnn import (
    GRU,
    LSTM,
    RNN,
    SGD,
    Adam,
    Embedding,
    Linear,
    Recurrent,
    Sequential,
    cross_entropy,
    get_num_threads,
    grad_norm,
    set_num_threads,
)
from minirnn.core.backend import NUMBA, Array, maker

# modules of kernels/cpu, whose functions have no types
compiling, dispatch, leases, pool, runtime, team, threads, updates = (
    import_module(f"minirnn.kernels.cpu.{name}")
    for name in ("compiling", "dispatch", "leases", "pool", "runtime", "team", "threads", "updates")
)


@pytest.fixture(autouse=True)
def _as_many_threads_as_before() -> Iterator[None]:
    before = get_num_threads()
    yield
    set_num_threads(before)


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """How many threads kernels have had."""
    seen: set[int] = set()
    plain = dispatch.take

    def take(work: float, most: int) -> tuple[int, int, int]:
        taken: tuple[int, int, int] = plain(work, most)
        seen.add(taken[1])
        return taken

    for module in (dispatch, runtime):
        monkeypatch.setattr(module, "take", take)
    return seen


# ---------------------------------------------------------------------- any number of threads

LAYERS = (  # of some, threads can take units where there are fewer rows than threads
    RNN(17, 160),
    RNN(17, 40, nonlinearity="relu", bidirectional=True),
    GRU(17, 96, bidirectional=True),
    GRU(33, 31, 2),
    LSTM(17, 160),
    LSTM(33, 31, 2, bidirectional=True),
    LSTM(5, 256),
)


@pytest.mark.parametrize("B", marked_but([1, 3], [1, 2, 3, 7], "slow"))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.describe())
def test_layers_give_the_same_bits_on_any_number_of_threads(
    layer: Recurrent, dtype: str, B: int, eager: None, counts: set[int]
) -> None:
    rng, T = np.random.default_rng(B), 4
    D, width = layer.input_size or 0, layer.output_size or 0
    x, dy = (rng.normal(size=(T, B, n)).astype(dtype) for n in (D, width))
    indices, lengths = rng.integers(0, D, (T, B)), rng.integers(0, T + 1, B)
    wanted: list[Array] = []
    for n in (1, 2, 3, 5):
        set_num_threads(n)
        counts.clear()
        model = layer.to() if layer.parameters else layer.init(0, backend="numba")
        model = model.to(dtype=dtype)
        found = one_pass(model, x, dy) + one_pass(model, indices, dy) + one_pass(model, x, dy, lengths=lengths)
        y, final = model(indices, lengths=lengths)
        found += [model.grads, y, *leaves(final)]
        assert counts == {n}
        wanted = wanted or found
        assert_same_bits(found, wanted)
    assert all(np.isfinite(a).all() for a in wanted)
    assert np.any(wanted[-2 - len(layer.cell.state)])  # gradients there are


@pytest.mark.parametrize("B", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layer", [RNN(17, 160), GRU(33, 96), GRU(64, 31), LSTM(5, 256)], ids=lambda m: m.describe())
def test_step_by_step_has_the_bits_of_all_steps_at_once(layer: Recurrent, dtype: str, B: int, eager: None) -> None:
    """Every other step reads the weights in the opposite order; threads share rows or units."""
    x = np.random.default_rng(B).normal(size=(5, B, layer.input_size or 0)).astype(dtype)
    model = layer.init(0, backend="numba", dtype=dtype)
    set_num_threads(1)
    y, final = model(x)
    for n in (1, 2, 3):
        set_num_threads(n)
        state, found = None, []
        for t in range(len(x)):
            one, state = model(x[t : t + 1], state)
            found.append(one)
        assert_same_bits([np.concatenate(found), *leaves(state)], [y, *leaves(final)])


@pytest.mark.parametrize(
    "make", [lambda m: SGD(m, 0.5, clip=0.1), lambda m: Adam(m, 0.01, clip=0.1)], ids=["SGD", "Adam"]
)
def test_training_gives_the_same_bits_on_any_number_of_threads(make: Any, eager: None, counts: set[int]) -> None:
    """Embedding, Linear, tied or not, cross entropy, clipping and the optimisers' steps, three times over."""
    rng, (T, B, V) = np.random.default_rng(0), (9, 7, 301)
    x, targets = rng.integers(0, V, (2, T, B))
    wanted: list[Array] = []
    for n in (1, 2, 3, 5):
        set_num_threads(n)
        counts.clear()
        for tied in (False, True):
            embedding = Embedding(V, 19)
            head = Linear(19, V, tie=embedding, bias=False) if tied else Linear(19, V)
            model = Sequential(embedding, LSTM(19, 19), Linear(19, 19), head).init(0, backend="numba")
            optimiser, found = make(model), []
            for _ in range(3):
                logits, _, backward = model.forward(x)
                assert maker(logits) is NUMBA  # so that cross entropy is compiled, too
                loss, dlogits = cross_entropy(logits, targets)
                backward(dlogits)
                found += [logits, np.array(loss), dlogits, model.grads.copy()]
                found += [np.array(grad_norm(model)), np.array(optimiser.step()), model.weights.copy()]
            assert float(found[-6]) < float(found[1])  # it learns
            if n == 1:
                wanted += found
            else:
                half = slice(len(found), None) if tied else slice(None, len(found))
                assert_same_bits(found, wanted[half])
        assert counts == {n}


def test_work_that_is_large_enough_goes_to_threads_and_little_does_not(counts: set[int]) -> None:
    set_num_threads(2)
    layer = Linear(300, 300).init(0, backend="numba")
    layer(np.ones((1, 300), "float32"))
    assert counts == {1}
    counts.clear()
    layer(np.ones((1000, 300), "float32"))
    assert counts == {2}
    assert any(thread.name == "minirnn" and thread.daemon for thread in threading.enumerate())


@pytest.mark.parametrize("n", [0, -1, True, 1.5, "2", None])
def test_a_number_of_threads_that_is_none_is_refused_in_a_sentence(n: Any) -> None:
    before = get_num_threads()
    message = f"the number of threads must be an integer of at least 1; got {n!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        set_num_threads(n)
    assert get_num_threads() == before
    set_num_threads(np.int64(3))  # type: ignore[arg-type]
    assert get_num_threads() == 3


def test_the_environment_chooses_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("MINIRNN_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    alone = threads.chosen_number()
    assert 1 <= alone <= (os.cpu_count() or 1)
    for k, name in reversed(list(enumerate(names))):  # the first of them counts
        monkeypatch.setenv(name, str(7 + k))
        assert threads.chosen_number() == 7 + k
    for odd in ("0", "-1", "many", ""):
        monkeypatch.setenv(names[0], odd)
        assert threads.chosen_number() == 8


def test_the_number_of_threads_may_change_at_any_moment(eager: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread sets it just when a pass has asked for its memory: the pass must not use more than it has."""
    model, (x, dy) = gru(), drawn()
    wanted = one_pass(model, x, dy)
    monkeypatch.setattr(dispatch, "PATIENCE", 0)
    room, made = 1 << 18, []

    def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        set_num_threads(get_num_threads() + 1)
        raw = np.full(prod(shape) + room, -77, dtype)
        made.append(raw[prod(shape) :])
        return raw[: prod(shape)].reshape(shape)

    def lease(size: int, dtype: np.dtype[Any]) -> Any:
        vector = empty((size,), dtype)
        return SimpleNamespace(start=vector.ctypes.data, array=lambda shape, _: vector.reshape(shape))

    monkeypatch.setattr(runtime.LEASES, "empty", empty)
    monkeypatch.setattr(runtime.LEASES, "room", lease)
    set_num_threads(1)
    y, final, backward = model.forward(x)
    dx, dstate = backward(dy)
    assert dx is not None
    assert get_num_threads() > 3
    assert all((after == -77).all() for after in made)
    assert_same_bits([y, final, dstate, dx], wanted)


# ---------------------------------------------------------------------- what happens in the pool


def descent(n: int = 1000) -> tuple[Array, Any, Any]:
    """Ones, the address of a kernel that makes them 0, and its arguments: their address, and what must live on."""
    w, g = np.ones(n, "float32"), np.ones(n, "float32")
    arguments = np.array(updates.Update(n, w.ctypes.data, g.ctypes.data, runtime.bits(1.0)))
    return w, updates.descend[w.dtype], (arguments, g)


def test_threads_are_called_that_are_there_and_others_are_not_waited_for() -> None:
    set_num_threads(4)
    empty = pool.Pool()
    w, function, arguments = descent()
    assert team.lead(empty._place, function, arguments[0].ctypes.data, 4, 1000) == 1  # nobody has ever been woken
    assert not w.any()


def test_a_worker_sleeps_when_there_is_nothing_to_do_and_is_woken_again() -> None:
    set_num_threads(3)
    own = pool.Pool()
    for _ in range(3):
        came = 0
        for _ in range(100):  # if the machine is busy, a worker may be asleep again before it is asked to work
            w, function, arguments = descent()
            box, most = own.take(3)
            assert (box != 0, most) == (True, 3)
            came = team.lead(box, function, arguments[0].ctypes.data, most, 1_000_000)
            own.leave(box)
            assert not w.any()
            if came == 3:
                break
        assert came == 3
        before = time.process_time(), time.perf_counter()
        while own._states[:2].any():
            time.sleep(0.01)
            assert time.perf_counter() < before[1] + 10
        time.sleep(0.2)
    assert time.process_time() - before[0] < 0.15  # asleep, threads take no time


def test_a_system_without_more_threads_gives_the_same_bits(
    eager: None, counts: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, (x, dy) = gru(), drawn()
    set_num_threads(1)
    wanted = one_pass(model, x, dy)
    set_num_threads(4)
    own, start = pool.Pool(), threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if len(own._alarms) == 1:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(dispatch, "POOL", own)
    for module in (dispatch, runtime):
        monkeypatch.setattr(module, "leave", own.leave)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    counts.clear()
    assert_same_bits(one_pass(model, x, dy), wanted)
    assert counts == {2}


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt, in a job that a shell runs in the background too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_waits_until_all_threads_have_ended(eager: None, counts: set[int], interruptible: None) -> None:
    """Ctrl-C: memory that other threads still write to must not be freed yet, and nothing stays behind."""
    set_num_threads(2)
    model, (x, dy) = gru(), drawn()
    wanted = one_pass(model, x, dy)
    w, g = np.ones((2, 1 << 24), "float32")
    raised = 0
    for k in range(10):
        timer = threading.Timer(0.02 + 0.003 * k, _thread.interrupt_main)
        try:
            timer.start()
            end = time.perf_counter() + 20
            while time.perf_counter() < end:
                runtime.descend(w, g, 0.0)
        except KeyboardInterrupt:
            raised += 1
        found = w.copy()
        w[:] = 1
        assert (found == 1).all()
    assert raised == 10
    assert not dispatch.POOL._busy.locked()
    assert_same_bits(one_pass(model, x, dy), wanted)
    assert counts == {2}


def test_a_call_while_the_pool_is_busy_runs_alone(eager: None, counts: set[int]) -> None:
    set_num_threads(3)
    model, (x, dy) = gru(), drawn()
    wanted = one_pass(model, x, dy)
    box, _, _ = dispatch.take(1e9, 3)
    counts.clear()
    assert_same_bits(one_pass(model, x, dy), wanted)
    dispatch.leave(box)
    assert counts == {1}
    assert_same_bits(one_pass(model, x, dy), wanted)
    assert counts == {1, 3}


# ---------------------------------------------------------------------- many callers


def test_models_in_threads_of_their_own_give_the_bits_they_give_alone(eager: None, counts: set[int]) -> None:
    set_num_threads(2)
    jobs: list[Callable[[], list[Array]]] = []
    for seed, layer in enumerate((GRU(9, 64), LSTM(9, 64), RNN(9, 64), GRU(9, 64, 2))):
        model = layer.init(seed, backend="numba")

        def job(model: Recurrent = model, seed: int = seed) -> list[Array]:
            model.zero_grads()
            found = one_pass(model, *drawn(seed))
            y, final = model(drawn(seed, B=3)[0])  # the short way
            return [*found, model.grads.copy(), y, *leaves(final)]

        jobs.append(job)
    alone = [job() for job in jobs]
    with ThreadPoolExecutor(4) as executor:
        for _ in range(3):
            every = list(executor.map(lambda job: [job() for _ in range(8)], jobs))
            for found, wanted in zip(every, alone, strict=True):
                for one in found:
                    assert_same_bits(one, wanted)
    assert counts == {1, 2}  # the pool was taken by one while others went alone


def test_inference_on_one_model_from_many_threads_gives_the_same_bits(eager: None) -> None:
    set_num_threads(2)
    model = Sequential(GRU(9, 64, bidirectional=True), Linear(128, 5)).init(0, backend="numba")
    inputs = [drawn(T, T, B)[0] for T in (1, 2, 3) for B in (1, 2, 3)] + [drawn(0)[0]] * 2  # more shapes than are kept
    alone = [model(x)[0] for x in inputs]
    with ThreadPoolExecutor(4) as executor:
        every = executor.map(lambda k: model(inputs[k % 11])[0], range(11 * 30))
        for found, wanted in zip(every, alone * 30, strict=True):
            np.testing.assert_array_equal(found, wanted)


# ---------------------------------------------------------------------- passes that wait for one another


def test_two_forwards_before_either_backward_are_as_one_after_the_other() -> None:
    model, (x1, dy1), (x2, dy2) = gru(), drawn(1), drawn(2)
    wanted = [one_pass(model, x1, dy1), one_pass(model, x2, dy2)]
    grads = model.grads.copy()
    for order in ((0, 1), (1, 0)):
        model.zero_grads()
        passes = [model.forward(x1), model.forward(x2)]
        for k in order:
            y, final, backward = passes[k]
            dx, dstate = backward((dy1, dy2)[k])
            assert dx is not None
            assert_same_bits([y, final, dstate, dx], wanted[k])
        np.testing.assert_allclose(model.grads, grads, atol=1e-3 * float(np.abs(grads).max()))
    passes = [model.forward(x1), model.forward(x2)]
    model.zero_grads()
    for (_, _, backward), dy in zip(passes, (dy1, dy2), strict=True):
        backward(dy)
    np.testing.assert_array_equal(model.grads, grads)


@given(st.permutations([*range(5)] * 2), st.lists(st.booleans(), min_size=5, max_size=5))
def test_passes_in_any_order_give_the_bits_they_give_alone(order: list[int], held: list[bool]) -> None:
    """Forwards and backwards of five passes, shuffled; of some y is let go of before the backward."""
    model = gru()
    given = [drawn(seed, T=12 + seed) for seed in range(5)]
    pending: dict[int, Any] = {}
    outputs: dict[int, tuple[Array, Array]] = {}
    for k in order:
        x, dy = given[k]
        if k not in pending:
            y, _, backward = model.forward(x)
            pending[k] = backward
            if held[k]:
                outputs[k] = y[1:, ::2], y.copy()[1:, ::2]
        else:
            dx, dstate = pending[k](dy)
            assert_same_bits([dstate, dx], one_pass(gru(), x, dy)[-2:])
    for view, copy in outputs.values():
        np.testing.assert_array_equal(view, copy)


def test_a_generator_that_keeps_a_backward_is_not_disturbed_by_other_passes() -> None:
    model, (x, dy) = gru(), drawn(1)
    wanted = one_pass(model, x, dy)

    def steps() -> Iterator[Array]:
        y, final, backward = model.forward(x)
        yield y
        dx, dstate = backward(dy)
        assert dx is not None
        assert_same_bits([y, final, dstate, dx], wanted)
        yield dx

    one, other = steps(), steps()
    for generator in (one, other):
        np.testing.assert_array_equal(next(generator), wanted[0])
        for seed in range(5):
            one_pass(model, *drawn(seed))
            model(drawn(seed)[0])
    np.testing.assert_array_equal(next(other), wanted[-1])
    np.testing.assert_array_equal(next(one), wanted[-1])


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.describe())
def test_backward_twice_gives_twice_the_gradients(layer: Recurrent) -> None:
    model, rng = layer.to() if layer.parameters else layer.init(0, backend="numba"), np.random.default_rng(0)
    x, dy = (rng.normal(size=(20, 32, n or 0)).astype("float32") for n in (model.input_size, model.output_size))
    model.zero_grads()
    _, _, backward = model.forward(x)
    first = backward(dy, keep=True)
    once = model.grads.copy()
    second = backward(dy)
    assert_same_bits([first[0], *leaves(first[1])], [second[0], *leaves(second[1])])  # type: ignore[list-item]
    np.testing.assert_allclose(model.grads, 2 * once, atol=1e-5 * float(np.abs(once).max()))
    assert once.any()


# ---------------------------------------------------------------------- forked children


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
def test_a_forked_child_works_with_threads_of_its_own(eager: None, counts: set[int]) -> None:
    set_num_threads(2)
    model, (x, dy) = gru(), drawn()
    wanted = one_pass(model, x, dy)
    assert counts == {2}  # threads that the child will not have
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def child() -> None:
        counts.clear()
        found = one_pass(model, x, dy)
        sender.send((found, sorted(counts), len(dispatch.POOL._alarms)))

    process = context.Process(target=child)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on: fork beside threads
        process.start()
    try:
        assert receiver.poll(20), "the child hangs"
        found, ran, workers = receiver.recv()
    finally:
        process.join(2)
        process.kill()
    assert_same_bits(found, wanted)
    assert ran == [2]
    assert workers == 1
    assert process.exitcode == 0
    assert_same_bits(one_pass(model, x, dy), wanted)  # nor has the parent lost any

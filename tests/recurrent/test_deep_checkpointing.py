"""Gradient checkpointing of several layers at once: the bits of each by itself, without the y of those inside."""

import gc
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from minirnn import GRU, LSTM, RNN, Recurrent
from minirnn.cells import GRUCell, LSTMCell, TanhCell
from minirnn.core.protocol import multiplies, stages_of
from minirnn.core.run import Result, Run
from minirnn.core.tree import arrays_in, rebuilt
from minirnn.kernels.cpu import leases, runtime
from minirnn.more_cells import MinGRUCell, SRUCell
from minirnn.recurrent.direction import Direction
from minirnn.testing.strategies import CELLS

Array: TypeAlias = NDArray[Any]
COMPILED = (GRUCell, LSTMCell, MinGRUCell)  # few: the kernels of all would be compiled for minutes


def passes(
    model: Recurrent, x: Array, every: int | None, *, state: Any, lengths: Any, cotangents: str
) -> tuple[list[Array], dict[str, Array]]:
    """y, the final state and all gradients of a forward pass and two backward passes; and what was saved."""
    model.zero_grads()
    model.bound.calls = 0
    y, final, backward = model.forward(x, state, lengths=lengths, checkpoint_every=every)
    rng = np.random.default_rng(5)
    dy = None if cotangents == "state" else rng.normal(size=y.shape).astype(y.dtype)
    dfinal = None if cotangents == "y" else rebuilt(final, lambda a: rng.normal(size=a.shape).astype(a.dtype))
    saved = backward.saved
    before = y.copy()
    dx, dstate = backward(dy, dfinal, keep=True)
    np.testing.assert_array_equal(y, before)
    backward(dy, dfinal)
    gradients = [*([] if dx is None else [dx]), *arrays_in(dstate), model.grads.copy()]
    return [y, *arrays_in(final), *gradients], saved


@contextmanager
def layer_by_layer() -> Iterator[None]:
    """Each layer has checkpoints of its own, and the next one reads a y of all steps."""
    whole, alone, asked = Recurrent.apply, Direction.apply, list[int]()

    def network(self: Recurrent, x: Array, state: Any, run: Run) -> Result:
        asked.append(run.every)
        return whole(self, x, state, run._replace(every=0))

    def layer(self: Direction, x: Array, state: Any, run: Run, out: Array | None = None) -> Result:
        return alone(self, x, state, run._replace(every=asked[-1]), out)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recurrent, "apply", network)
        patch.setattr(Direction, "apply", layer)
        yield


@st.composite
def networks(draw: Any, backend: str) -> Recurrent:
    cell = draw(st.sampled_from(CELLS if backend == "numpy" else COMPILED))
    noise = st.sampled_from([0.4, 0.0])
    options = {
        "dropout": draw(noise),
        "locked": draw(st.booleans()),
        "zoneout": draw(noise) if backend == "numpy" else 0.0,
        "trainable_state": draw(st.booleans()),
    }
    if multiplies(stages_of(cell)[0]):
        options["weight_dropout"] = draw(noise)
    dtype = draw(st.sampled_from(["float32", "float64"]))
    return Recurrent(cell, draw(st.integers(1, 4)), 4, draw(st.integers(2, 4)), **options).init(
        draw(st.integers(0, 9)), backend=backend, dtype=dtype
    )


def check_bits(data: Any, backend: str) -> None:
    model = data.draw(networks(backend))
    T, B = data.draw(st.integers(2, 40)), data.draw(st.integers(1, 3))
    every = data.draw(st.integers(1, T + 1))
    rng = np.random.default_rng(3)
    one_hot = data.draw(st.booleans())
    x = rng.integers(0, model.input_size, (T, B)) if one_hot else rng.normal(size=(T, B, model.input_size))
    given_state = data.draw(st.booleans())
    states = tuple(rng.normal(size=shape).astype(model.bound.dtype) for shape in model.state_shapes(B))
    options = {
        "state": None if not given_state else states if len(states) > 1 else states[0],
        "lengths": data.draw(st.none() | st.lists(st.integers(0, T), min_size=B, max_size=B)),
        "cotangents": data.draw(st.sampled_from(["y", "state", "both"])),
    }
    x = x if one_hot else x.astype(model.bound.dtype)
    arrays, saved = passes(model, x, every, **options)
    with layer_by_layer():
        wanted, named = passes(model, x, every, **options)
    for a, b in zip(arrays, wanted, strict=True):
        np.testing.assert_array_equal(a, b)
    assert saved.keys() == named.keys()
    for name, b in named.items():
        np.testing.assert_array_equal(saved[name], b, err_msg=name)


@given(data=st.data())
def test_layers_at_once_give_the_bits_of_each_by_itself(data: Any) -> None:
    check_bits(data, "numpy")


@pytest.mark.slow
@given(data=st.data())
def test_kernels_give_the_same_bits(data: Any) -> None:
    check_bits(data, "numba")


def held_and_peak(model: Recurrent, x: Array, every: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Bytes that forward leaves for backward, without y; and the most that both passes had, without y and dx."""
    pool = leases.Leases()
    monkeypatch.setattr(runtime, "LEASES", pool)
    dy = np.ones((*x.shape[:2], model.output_size), x.dtype)
    gc.collect()
    tracemalloc.start()
    y, _, backward = model.forward(x, checkpoint_every=every)
    gc.collect()
    left = tracemalloc.get_traced_memory()[0] - pool.idle() - y.nbytes
    dx, _ = backward(dy)
    assert dx is not None
    peak = tracemalloc.get_traced_memory()[1] - y.nbytes - dx.nbytes
    tracemalloc.stop()
    return left, peak


@pytest.mark.parametrize(
    ("cell", "backend", "T"),
    [
        (GRUCell, "numba", 8192),
        pytest.param(TanhCell, "numpy", 2048, marks=pytest.mark.slow),
        pytest.param(MinGRUCell, "numba", 16384, marks=pytest.mark.slow),
        *(pytest.param(cell, "numba", 16384, marks=pytest.mark.long) for cell in (LSTMCell, SRUCell)),
    ],
)
def test_no_y_of_a_layer_inside_is_kept(cell: Any, backend: str, T: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three of four layers' y would be three arrays of T steps; all that is there comes to less than one."""
    model = Recurrent(cell, 64, 64, 4, dropout=0.2).init(0, backend=backend)
    x = np.random.default_rng(0).normal(size=(T, 1, 64)).astype("float32")
    held_and_peak(model, x[:600], 64, monkeypatch)  # what is made once
    left, peak = held_and_peak(model, x, 64, monkeypatch)
    assert left < x.nbytes
    assert peak < x.nbytes


@pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=pytest.mark.slow)])
def test_chunks_with_their_states_carried_there_and_back_are_the_whole(backend: str) -> None:
    model, rng = LSTM(2, 3, 3).init(0, backend=backend, dtype="float64"), np.random.default_rng(0)
    x, dy = rng.normal(size=(30, 2, 2)), rng.normal(size=(30, 2, 3))
    y, final, backward = model.forward(x)
    dx, dstart = backward(dy, tuple(np.ones_like(a) for a in final))
    wanted = [y, *final, dx, *dstart, model.grads.copy()]
    model.zero_grads()
    state, ys, backs = None, [], []
    for t in (0, 10, 20):
        part, state, back = model.forward(x[t : t + 10], state, checkpoint_every=4)
        ys.append(part)
        backs.append(back)
    assert state is not None
    dstate, dxs = tuple(np.ones_like(a) for a in state), list[Any]()
    for t, back in zip((20, 10, 0), reversed(backs), strict=True):
        dpart, dstate = back(dy[t : t + 10], dstate)
        dxs.insert(0, dpart)
    actual = [np.concatenate(ys), *state, np.concatenate(dxs), *dstate, model.grads]
    for a, b in zip(actual, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_layers_inside_are_computed_again_a_segment_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a segment first the layers below the last, then from the last to the first what each one's backward needs."""
    from minirnn.scan import Scan

    model, order = GRU(2, 3, 2).init(backend="numpy"), list[str]()
    layers = {model.named_weights()[f"{k}.U"].ctypes.data: k for k in range(2)}
    forward, backward = Scan.forward, Scan.backward

    def ahead(self: Any, P: Any, *rest: Any, **options: Any) -> Any:
        order.append(f"{layers[self.U[0].ctypes.data]}{' saved' if options['save'] else ''}")
        return forward(self, P, *rest, **options)

    def back(self: Any, *rest: Any) -> Any:
        order.append(f"{layers[self.U[0].ctypes.data]} back")
        return backward(self, *rest)

    monkeypatch.setattr(Scan, "forward", ahead)
    monkeypatch.setattr(Scan, "backward", back)
    y, _, pull = model.forward(np.zeros((4, 1, 2), "f4"), checkpoint_every=2)
    assert order == ["0", "1", "0", "1"]
    pull(np.ones_like(y))
    assert order[4:] == ["0", "1 saved", "1 back", "0 saved", "0 back"] * 2


def test_both_directions_read_a_whole_y() -> None:
    """The reverse direction begins at the end of the layer before: that y cannot be computed again in segments."""
    model = RNN(2, 3, 2, bidirectional=True).init(0, backend="numpy", dtype="float64")
    x = np.random.default_rng(0).normal(size=(9, 2, 2))
    y, _, backward = model.forward(x)
    dx, _ = backward(np.ones_like(y))
    again, _, backward = model.forward(x, checkpoint_every=2)
    dx_again, _ = backward(np.ones_like(y))
    assert dx is not None
    assert dx_again is not None
    np.testing.assert_allclose(again, y, rtol=1e-12)
    np.testing.assert_allclose(dx_again, dx, rtol=1e-12)


@pytest.mark.parametrize("backend", ["cupy", pytest.param("cuda", marks=pytest.mark.slow)])
def test_the_same_bits_on_a_device(device: ModuleType, backend: str) -> None:
    model = GRU(3, 5, 3, dropout=0.4, zoneout=0.3).init(1, backend=backend)
    x = np.random.default_rng(0).normal(size=(11, 3, 3))

    def arrays() -> list[Array]:
        model.zero_grads()
        model.bound.calls = 0
        y, final, backward = model.forward(x, lengths=(11, 3, 0), checkpoint_every=4)
        dx, dstate = backward(y, final)
        assert dx is not None
        return [model.bound.backend.host(a) for a in (y, final, dx, dstate, model.grads)]

    actual = arrays()
    with layer_by_layer():
        wanted = arrays()
    for a, b in zip(actual, wanted, strict=True):
        np.testing.assert_array_equal(a, b)

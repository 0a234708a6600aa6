"""Memory for time: the same y, gradients and saved quantities, whatever is computed again."""

import copy
import gc
import tracemalloc
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiers import marked_but

from minirnn import GRU, LSTM, RNN, Bidirectional, Embedding, Last, Layer, Linear, Masking, Sequential
from minirnn.core.backend import get_backend
from minirnn.core.layer import check_every
from minirnn.core.tree import arrays_in, rebuilt
from minirnn.kernels.cpu import leases, runtime

Array: TypeAlias = NDArray[Any]
BACKENDS = ("numpy", "numba")
RNG = np.random.default_rng(0)

MODELS: dict[str, Callable[[], Layer]] = {
    "rnn": lambda: RNN(3, 4),
    "relu": lambda: RNN(3, 4, nonlinearity="relu"),
    "gru": lambda: GRU(3, 5, 2, dropout=0.4),
    "locked": lambda: GRU(3, 5, 2, dropout=0.4, locked=True),
    "weights dropped": lambda: LSTM(3, 5, 2, bidirectional=True, weight_dropout=0.4),
    "zoned": lambda: LSTM(3, 4, 2, bidirectional=True, zoneout=(0.3, 0.6)),
    "gru before": lambda: GRU(3, 4, reset="before"),
    "lstm": lambda: LSTM(3, 17, 2, bidirectional=True, dropout=0.2),
    "trainable state": lambda: LSTM(3, 4, bidirectional=True, trainable_state=True),
    "projected": lambda: LSTM(3, 5, 2, bidirectional=True, trainable_state=True, proj_size=2),
    "one of each": lambda: Sequential(Bidirectional(LSTM(3, 4), GRU(3, 4)), RNN(8, 5), Linear(5, 2)),
    "last": lambda: Sequential(GRU(3, 4, bidirectional=True), Last(bidirectional=True), Linear(8, 2)),
    "masked": lambda: Sequential(Masking(), LSTM(3, 4, bidirectional=True)),
    "indices": lambda: Sequential(Embedding(6, 3), LSTM(3, 4)),
    "one-hot": lambda: GRU(6, 4, bidirectional=True),
}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS.keys())
every_backend = pytest.mark.parametrize("backend", BACKENDS)


def drawn(model: Layer, T: int, B: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    if not model.floats or (isinstance(model, GRU) and model.input_size == 6):
        return rng.integers(0, 6, (T, B))
    x = rng.normal(size=(T, B, 3)).astype(model.bound.dtype)
    x[rng.random((T, B)) < 0.2] = 0  # what Masking skips
    return x


def everything(
    model: Layer, x: Array, every: Any, *, given_state: bool, lengths: Any, cotangents: str
) -> tuple[list[Array], dict[str, Array]]:
    """y, the final state, and all gradients, of one forward and backward; and what was saved."""
    model.zero_grads()
    model.bound.calls = 0
    B, dtype = x.shape[1], model.bound.dtype
    _, state = model(x, lengths=lengths)
    rng = np.random.default_rng(9)
    start = rebuilt(state, lambda a: rng.normal(size=a.shape).astype(dtype)) if given_state else None
    y, final, backward = model.forward(x, start, lengths=lengths, checkpoint_every=every)
    dy = None if cotangents == "state" else rng.normal(size=y.shape).astype(dtype)
    dstate = None if cotangents == "y" else rebuilt(final, lambda a: rng.normal(size=a.shape).astype(dtype))
    saved = backward.saved
    before = y.copy()
    dx, dstart = backward(dy, dstate, keep=True)
    np.testing.assert_array_equal(y, before)  # which is read, and by some kernels written again, to the same bits
    backward(dy, dstate)
    assert B == x.shape[1]
    parts = [y, *arrays_in(final), *([] if dx is None else [dx]), *arrays_in(dstart), model.grads.copy()]
    return parts, saved


@every_model
@every_backend
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("lengths", [None, (11, 3, 0)], ids=["whole", "lengths"])
def test_what_is_computed_again_is_the_same(make: Callable[[], Layer], backend: str, dtype: str, lengths: Any) -> None:
    model = make().init(1, backend=backend, dtype=dtype)
    x = drawn(model, 11, 3, 2)
    options: dict[str, Any] = {"given_state": True, "lengths": lengths, "cotangents": "both"}
    wanted, saved = everything(model, x, None, **options)
    atol = 1e-12 if dtype == "float64" else 2e-6
    for every in (1, 4, "sqrt"):
        found, again = everything(model, x, every, **options)
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=atol, atol=atol)
        assert again.keys() == saved.keys()
        for name, b in saved.items():
            np.testing.assert_allclose(again[name], b, rtol=atol, atol=atol, err_msg=name)


@given(
    name=st.sampled_from(list(MODELS)),
    T=st.integers(1, 30),
    B=st.integers(0, 5),
    every=st.integers(1, 31) | st.just("sqrt"),
    lengths=st.none() | st.lists(st.integers(0, 30), min_size=5, max_size=5),
    given_state=st.booleans(),
    cotangents=st.sampled_from(["y", "state", "both"]),
    backend=st.sampled_from(BACKENDS),
)
def test_any_sizes(
    name: str, T: int, B: int, every: Any, lengths: Any, *, given_state: bool, cotangents: str, backend: str
) -> None:
    model = MODELS[name]().init(1, backend=backend, dtype="float64")
    x = drawn(model, T, B, 3)
    ends = None if lengths is None else [min(T, n) for n in lengths[:B]]
    options: dict[str, Any] = {"given_state": given_state, "lengths": ends, "cotangents": cotangents}
    wanted, _ = everything(model, x, None, **options)
    found, _ = everything(model, x, every, **options)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@every_backend
@pytest.mark.parametrize("cell", marked_but([GRU], [RNN, GRU, LSTM], "long", lambda cell: cell.__name__))
@pytest.mark.parametrize(("T", "B"), [(1024, 1), pytest.param(4096, 1, marks=pytest.mark.long)])
def test_what_is_kept_is_a_tenth_at_most(
    cell: Any, backend: str, T: int, B: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = cell(8, 64).init(0, backend=backend)
    x = RNG.normal(size=(T, B, 8)).astype("float32")

    def held(every: Any) -> int:
        """Bytes that forward leaves for backward, x and y not counted."""
        pool = leases.Leases()
        monkeypatch.setattr(runtime, "LEASES", pool)
        gc.collect()
        tracemalloc.start()
        y, _, _backward = model.forward(x, checkpoint_every=every)
        gc.collect()
        found: int = tracemalloc.get_traced_memory()[0] - pool.idle() - y.nbytes
        tracemalloc.stop()
        return found

    held(None)  # plans are made once
    whole, kept = held(None), held("sqrt")
    if cell is RNN and backend == "numba":  # whose kernel needs y alone
        assert kept < 100_000
    else:
        assert whole > len(x) * B * 4 * 64
        assert kept <= whole / 10


def test_steps_between_kept_states() -> None:
    assert [check_every(every, 4096) for every in ("sqrt", 7, 3)] == [256, 7, 3]
    assert [check_every("sqrt", T) for T in (1, 2, 4, 5, 9, 10)] == [4, 8, 8, 12, 12, 16]
    for every in (0, -1, 1.5, "root", True, [3]):
        with pytest.raises(ValueError, match="checkpoint_every must be a number of steps, or 'sqrt'; got"):
            GRU(2, 3).init().forward(np.zeros((4, 1, 2), "f4"), checkpoint_every=every)  # type: ignore[arg-type]


def test_forward_is_computed_once_until_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment at a time: the second forward of a segment comes when backward has done with the one after it."""
    model, seen = GRU(2, 3).init(backend="numpy"), list[str]()
    from minirnn.scan import Scan

    forward, backward = Scan.forward, Scan.backward

    def ahead(self: Any, P: Any, *rest: Any, **options: Any) -> Any:
        seen.append(f"forward {len(P)}{' again' if options['save'] else ''}")
        return forward(self, P, *rest, **options)

    def back(self: Any, *rest: Any) -> Any:
        seen.append("backward")
        return backward(self, *rest)

    monkeypatch.setattr(Scan, "forward", ahead)
    monkeypatch.setattr(Scan, "backward", back)
    y, _, pull = model.forward(np.zeros((5, 1, 2), "f4"), checkpoint_every=2)
    assert seen == ["forward 2", "forward 2", "forward 1"]
    pull(copy.copy(y))
    assert seen[3:] == ["forward 1 again", "backward", "forward 2 again", "backward", "forward 2 again", "backward"]


def test_a_given_state_may_be_written_to_afterwards() -> None:
    model = LSTM(2, 3).init(backend=get_backend("auto").name)
    x, h, c = RNG.normal(size=(6, 1, 2)), RNG.normal(size=(1, 1, 3)), RNG.normal(size=(1, 1, 3))
    x, h, c = (a.astype("f4") for a in (x, h, c))
    y, _, backward = model.forward(x, (h, c), checkpoint_every=2)
    wanted, _ = backward(np.ones_like(y), keep=True)
    h[...] = c[...] = 99
    found, _ = backward(np.ones_like(y))
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("backend", ["cupy", "cuda"])
@pytest.mark.parametrize("name", ["rnn", "relu", "gru", "lstm", "projected"])
@pytest.mark.parametrize("lengths", [None, (11, 3, 0)], ids=["whole", "lengths"])
def test_the_same_on_a_device(device: ModuleType, backend: str, name: str, lengths: Any) -> None:
    """The stand-in runs the kernels' own sources; on NumPy the same network is what they are held against."""
    wanted, found = (
        {every: _gradients(MODELS[name]().init(1, backend=where, dtype="float64"), every, lengths) for every in everies}
        for where, everies in (("numpy", [None]), (backend, [None, 4]))
    )
    for every, grads in found.items():
        for a, b in zip(grads, wanted[None], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10, err_msg=str(every))


def _gradients(model: Layer, every: int | None, lengths: Any) -> list[Array]:
    backend, rng = model.bound.backend, np.random.default_rng(4)
    model.bound.calls = 0
    y, _, backward = model.forward(rng.normal(size=(11, 3, 3)), lengths=lengths, checkpoint_every=every)
    dx, _ = backward(rng.normal(size=y.shape))
    assert dx is not None
    return [backend.host(a) for a in (y, dx, model.grads)]


def test_a_short_last_segment_is_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its turn comes first, and it is a sixteenth of all: kernels keep it, for one backward."""
    from minirnn.recurrent.fused import FusedPass

    model, runs, forward = GRU(2, 3).init(backend="numba"), list[bool](), FusedPass.forward

    def ahead(self: Any, *rest: Any, **options: Any) -> Any:
        runs.append(self.run.saves)
        return forward(self, *rest, **options)

    monkeypatch.setattr(FusedPass, "forward", ahead)
    y, _, backward = model.forward(np.zeros((32, 1, 2), "f4"), checkpoint_every=2)
    assert runs == [False] * 15 + [True]
    backward(np.ones_like(y), keep=True)
    assert runs[16:] == [True] * 15
    backward(np.ones_like(y))
    assert runs[31:] == [True] * 16

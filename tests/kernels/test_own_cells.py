"""Kernels of cells that a reader writes: the plain equations' numbers, however they are called."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba", reason="Numba is not installed: pip install 'minirnn[fast]'")

from own_cell import PeepholeLSTM
from places import ROOT
from tiers import marked_but

from minirnn import GRU, LSTM, RNN, Recurrent, set_num_threads
from minirnn.core.backend import Array
from minirnn.core.tracing import facts_of
from minirnn.core.tree import arrays_in
from minirnn.kernels.cpu import scans
from minirnn.testing.own import cell_from


class ThreeStates:
    """A cell of three states, with a kink, exp and a limit: all that kernels have."""

    state = ("h", "c", "d")
    gates = ("a", "b")
    units = ("w",)
    saves = ("c", "d", "e", "b", "p", "w1")

    @staticmethod
    def step(p: Any, q: Any, state: Any, w: Any) -> Any:
        h, c, d = state
        p, b = np.split(p + q, 2, axis=-1)
        e = np.exp(-np.clip(p * p, -1, 3))
        w1 = w * d
        c1 = 0.5 * c * e + np.where(b <= 0, 0.25 * b, b)
        d1 = 0.5 * d + w1 * c
        return (np.sqrt(c1 * c1 + 1) - d1 + 0 * h, c1, d1), (c, d, e, b, p, w1)

    @staticmethod
    def unstep(dstate: Any, saved: Any, w: Any) -> Any:
        dh1, dc1, dd1 = dstate
        c, d, e, b, p, w1 = saved
        c1 = 0.5 * c * e + np.where(b <= 0, 0.25 * b, b)
        dd1 = dd1 - dh1
        dc1 = dc1 + dh1 * c1 / np.sqrt(c1 * c1 + 1)
        db = np.where(b <= 0, 0.25 * dc1, dc1)
        dp = np.where(p * p <= 3, -2 * p * e * 0.5 * c * dc1, 0 * p)
        da = np.concatenate([dp, db], axis=-1)
        return da, da, (0 * dh1, 0.5 * e * dc1 + w1 * dd1, 0.5 * dd1 + w * c * dd1), d * c * dd1


MinimalGated = cell_from(f"{ROOT}/examples/exercises/solutions/3_minimal_gated.py:MinimalGated")
CELLS = {"PeepholeLSTM": PeepholeLSTM, "ThreeStates": ThreeStates, "MinimalGated": MinimalGated}
RUNS = [(name, dtype) for name in CELLS for dtype in ("float32", "float64")]
SHAPES = [(1, 1, 1, 1), (5, 3, 4, 19), (4, 9, 16, 32)]  # T, B, D, H


def passed(model: Recurrent, x: Array, lengths: Any, every: Any = None) -> list[Array]:
    """One pass: outputs, final states, gradients of input, initial states and weights, and what was saved."""
    y, final, backward = model.forward(x, lengths=lengths, checkpoint_every=every)
    model.zero_grads()
    back = backward(np.cos(y))
    return [y, *arrays_in(final), *arrays_in(back), model.grads.copy()]


@pytest.mark.parametrize(
    ("name", "dtype"),
    [pytest.param(*one, marks=[] if one == ("PeepholeLSTM", "float64") else pytest.mark.slow) for one in RUNS],
)
def test_a_cell_of_ones_own_has_kernels(name: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    tolerance = 1e-12 if dtype == "float64" else 2e-5
    for T, B, D, H in SHAPES:
        x = rng.normal(size=(T, B, D)).astype(dtype)
        for options in ({}, {"num_layers": 2, "bidirectional": True}):
            plain = Recurrent(CELLS[name], D, H, **options).init(1, backend="numpy", dtype=dtype)  # type: ignore[arg-type]
            fast = plain.to(backend="numba")
            assert "no kernel" not in repr(fast)
            for lengths in (None, rng.integers(0, T + 1, B)):
                wanted = passed(plain, x, lengths)
                for every in (None, 2):
                    for a, b in zip(passed(fast, x, lengths, every), wanted, strict=True):
                        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1.0, np.abs(b).max()))
            np.testing.assert_allclose(fast(x)[0], plain(x)[0], rtol=tolerance, atol=tolerance)
        if name == "PeepholeLSTM":
            network = Recurrent(CELLS[name], D, H).init(1, backend="numba", dtype=dtype)
            y, stream = network(x)[0], network.stream(B)
            for t in range(T):
                np.testing.assert_allclose(stream(x[t]), y[t], rtol=tolerance, atol=tolerance)


def test_the_bits_of_an_own_cell_do_not_depend_on_threads() -> None:
    x = np.random.default_rng(0).normal(size=(40, 33, 24))
    found = []
    for threads in (1, 2, 3):
        set_num_threads(threads)
        model = Recurrent(PeepholeLSTM, 24, 96).init(0, backend="numba", dtype="float64")
        found.append(b"".join(np.ascontiguousarray(a).tobytes() for a in passed(model, x, None)))
    assert found[0] == found[1] == found[2]


ZONED: dict[str, tuple[Any, Any]] = {
    "gru": (GRU, 0.3),
    "lstm": (LSTM, (0.2, 0.5)),
    "lstm, c alone": (LSTM, (0.0, 0.4)),
    "rnn": (RNN, 0.3),
}


@pytest.mark.parametrize("name", marked_but(["lstm"], ZONED, "slow"))
def test_zoneout_has_kernels(name: str) -> None:
    make, zoneout = ZONED[name]
    rng = np.random.default_rng(0)
    for T, B, D, H in SHAPES:
        x = rng.normal(size=(T, B, D))
        for options in ({}, {"num_layers": 2, "bidirectional": True}):
            plain = make(D, H, zoneout=zoneout, **options).init(1, backend="numpy", dtype="float64")
            fast = plain.to(backend="numba")
            assert "no kernel" not in repr(fast)
            for lengths in (None, rng.integers(0, T + 1, B)):
                for every in (None, 2):
                    found, wanted = (passed(model, x, lengths, every) for model in (fast, plain))
                    for a, b in zip(found, wanted, strict=True):
                        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)
                for a, b in zip(arrays_in(fast(x, lengths=lengths)), arrays_in(plain(x, lengths=lengths)), strict=True):
                    np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)
            saved, wanted = (model.forward(x)[2].saved for model in (fast, plain))
            for key in wanted:
                if "zoneout" in key:
                    np.testing.assert_array_equal(saved[key], wanted[key])
                    assert saved[key].dtype == bool
        network = make(D, H, zoneout=zoneout).init(1, backend="numba", dtype="float64")
        y, stream = network(x)[0], network.stream(B)
        for t in range(T):
            np.testing.assert_allclose(stream(x[t]), y[t], rtol=1e-11, atol=1e-12)


def test_a_short_call_holds_what_its_arguments_point_to() -> None:
    """The zeros that stand for a bias: memory of their size is taken again, and filled, between two calls."""
    x = np.random.default_rng(0).normal(size=(2, 1, 4)).astype("float32")
    model = Recurrent(MinimalGated, 4, 19).init(0, backend="numba")
    wanted = model(x)[0]
    others = [np.full(19, np.nan, "float32") for _ in range(200)]
    np.testing.assert_array_equal(model(x)[0], wanted)
    assert len(others) == 200


def test_threads_that_ask_for_one_cell_get_one_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    facts, meeting, made = facts_of(PeepholeLSTM), Barrier(2), list[Any]()
    assert facts is not None
    monkeypatch.setattr(scans, "FORWARD", {})

    def make(_: Any) -> object:
        meeting.wait(20)  # both threads have seen that there is none
        made.append(object())
        return made[-1]

    monkeypatch.setattr(scans, "make_forward", make)
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(scans.forward_of, [facts, facts])
    assert one is other
    assert len(made) == 2

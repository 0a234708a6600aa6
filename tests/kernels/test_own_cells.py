"""Kernels of cells that a reader writes: the plain equations' numbers, however they are called."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba", reason="Numba is not installed: pip install 'minirnn[fast]'")

from own_cell import PeepholeLSTM
from places import ROOT
from staged_cells import Biased, Reduced, Staged, ThreeStates
from tiers import marked_but

from minirnn import GRU, LSTM, RNN, Recurrent, set_num_threads
from minirnn.cells import GRUBeforeCell, ProjectedLSTMCell
from minirnn.core.backend import Array
from minirnn.core.protocol import name_of
from minirnn.core.tracing import facts_of
from minirnn.core.tree import arrays_in
from minirnn.inference.blocks import BlockedMatrix
from minirnn.kernels.cpu import stages
from minirnn.more_cells import NAMED, LayerNormLSTMCell, MinGRUCell
from minirnn.testing.own import cell_from

MinimalGated = cell_from(f"{ROOT}/examples/exercises/solutions/3_minimal_gated.py:MinimalGated")
CELLS = {
    "PeepholeLSTM": PeepholeLSTM,
    "ThreeStates": ThreeStates,
    "MinimalGated": MinimalGated,
    "Staged": Staged,
    "Reduced": Reduced,
    "Biased": Biased,
}
BUILT_IN: dict[str, Any] = {
    "gru before": GRUBeforeCell,
    "projected": ProjectedLSTMCell(8),
    "projected to more": ProjectedLSTMCell(43),
    **NAMED,
}
RUNS = [(name, dtype) for name in [*CELLS, *BUILT_IN] for dtype in ("float32", "float64")]
SHOWN = ("Staged", "float64")  # of the others float32 stands for both: each is a compilation of half a minute


def tier(run: tuple[str, str]) -> Any:
    if run == SHOWN:
        return []
    # those of the package stand in the conformance of every cell too
    slow = run[1] == "float32" and run[0] in (*CELLS, "projected to more", "MinGRUCell", "LayerNormLSTMCell")
    return pytest.mark.slow if slow else pytest.mark.long


SHAPES = [(1, 1, 1, 1), (5, 3, 4, 37), (40, 9, 16, 32)]  # T, B, D, H; the last takes several chunks


def passed(model: Recurrent, x: Array, lengths: Any, every: Any = None) -> list[Array]:
    """One pass: outputs, final states, gradients of input, initial states and weights, and what was saved."""
    y, final, backward = model.forward(x, lengths=lengths, checkpoint_every=every)
    model.zero_grads()
    back = backward(np.cos(y))
    return [y, *arrays_in(final), *arrays_in(back), model.grads.copy()]


@pytest.mark.parametrize(
    ("name", "dtype"),
    [pytest.param(*run, marks=tier(run)) for run in RUNS],
)
def test_a_cell_of_ones_own_has_kernels(name: str, dtype: str) -> None:
    cell = (CELLS | BUILT_IN)[name]
    rng = np.random.default_rng(0)
    tolerance = (
        1e-12 if dtype == "float64" else 5e-4 if "LayerNorm" in name else 2e-5
    )  # a norm divides by what is small
    for T, B, D, H in SHAPES:
        x = rng.normal(size=(T, B, D)).astype(dtype)
        for options in ({}, {"num_layers": 2, "bidirectional": True}):
            plain = Recurrent(cell, D, H, **options).init(1, backend="numpy", dtype=dtype)  # type: ignore[arg-type]
            fast = plain.to(backend="numba")
            assert "no kernel" not in repr(fast)
            for lengths in (None, rng.integers(0, T + 1, B)):
                wanted = passed(plain, x, lengths)
                for every in (None, 2):
                    for a, b in zip(passed(fast, x, lengths, every), wanted, strict=True):
                        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1.0, np.abs(b).max()))
            np.testing.assert_allclose(fast(x)[0], plain(x)[0], rtol=tolerance, atol=tolerance)
        network = Recurrent(cell, D, H, 2).init(1, backend="numba", dtype=dtype)
        streamed(network, network, x, tolerance)
        if dtype == "float32":
            for kind in ("int8", "f16"):
                narrow = network.quantize(kind)
                streamed(narrow, narrow.to(backend="numpy"), x, 2e-2 if kind == "int8" else 2e-4)


def streamed(network: Any, other: Any, x: Array, tolerance: float) -> None:
    """A network's stream computes what another of the same weights does, and by kernels."""
    (y, final), stream = other(x), network.stream(x.shape[1])
    assert stream.snapshot.program.whole
    for t in range(len(x)):
        np.testing.assert_allclose(stream(x[t]), y[t], rtol=tolerance, atol=tolerance)
    for a, b in zip(arrays_in(stream.state), arrays_in(final), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.slow
def test_what_ended_rows_leave_is_zeros() -> None:
    """A row that has ended has no operand for a second product: what memory held before is not multiplied."""
    x = np.random.default_rng(0).normal(size=(6, 2, 8))
    model = Recurrent(GRUBeforeCell, 8, 32).init(0, backend="numba", dtype="float64")
    spoilt = Recurrent(GRUBeforeCell, 8, 32).init(0, backend="numba", dtype="float64")
    spoilt.weights[...] = np.nan
    wanted = passed(model.to(backend="numpy"), x, [6, 1])
    for _ in range(3):  # the same memory, which holds NaN now
        passed(spoilt, x, None)
        for a, b in zip(passed(model, x, [6, 1]), wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_columns_of_a_quantised_matrix_keep_their_scales() -> None:
    matrix = BlockedMatrix.of(np.outer(np.ones(5), np.arange(1.0, 71)).astype("float32"), "int8")
    part = matrix[:, 33:70].copied()
    assert part.whole
    np.testing.assert_array_equal(part.dense(), matrix.dense()[:, 33:70])
    x = np.ones((1, 5), "float32")
    np.testing.assert_allclose(x @ part, (x @ matrix)[:, 33:70], rtol=1e-6)


@pytest.mark.parametrize(
    "cell",
    [
        Staged,
        pytest.param(LayerNormLSTMCell, marks=pytest.mark.slow),
        *(pytest.param(cell, marks=pytest.mark.long) for cell in (PeepholeLSTM, ProjectedLSTMCell(32), MinGRUCell)),
    ],
    ids=name_of,
)
@pytest.mark.parametrize("B", [1, 33])  # threads share units, or rows
def test_the_bits_of_an_own_cell_do_not_depend_on_threads(cell: Any, B: int, eager: None) -> None:
    x = np.random.default_rng(0).normal(size=(40, B, 24))
    found = []
    for threads in (1, 2, 3):
        set_num_threads(threads)
        model = Recurrent(cell, 24, 96).init(0, backend="numba", dtype="float64")
        found.append(b"".join(np.ascontiguousarray(a).tobytes() for a in passed(model, x, None)))
    assert found[0] == found[1] == found[2]


ZONED: dict[str, tuple[Any, Any]] = {
    "gru": (GRU, 0.3),
    "lstm": (LSTM, (0.2, 0.5)),
    "lstm, c alone": (LSTM, (0.0, 0.4)),
    "rnn": (RNN, 0.3),
    "gru before": (partial(GRU, reset="before"), 0.3),
    "projected": (partial(Recurrent, ProjectedLSTMCell(5)), (0.2, 0.4)),
    "projected to more": (partial(Recurrent, ProjectedLSTMCell(43)), (0.2, 0.0)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", marked_but(["lstm, c alone", "gru before", "projected to more"], ZONED, "long"))
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


@pytest.mark.slow
def test_a_short_call_holds_what_its_arguments_point_to() -> None:
    """The zeros that stand for a bias: memory of their size is taken again, and filled, between two calls."""
    x = np.random.default_rng(0).normal(size=(2, 1, 4)).astype("float32")
    model = Recurrent(MinimalGated, 4, 19).init(0, backend="numba")
    wanted = model(x)[0]
    others = [np.full(19, np.nan, "float32") for _ in range(200)]
    np.testing.assert_array_equal(model(x)[0], wanted)
    assert len(others) == 200


def test_threads_that_ask_for_one_cell_get_one_routine(monkeypatch: pytest.MonkeyPatch) -> None:
    facts, meeting, made = facts_of(PeepholeLSTM), Barrier(2), list[Any]()
    assert facts is not None
    monkeypatch.setattr(stages, "ROUTINES", {})

    def make(_: Any, k: int) -> object:
        meeting.wait(20)  # both threads have seen that there is none
        made.append(object())
        return made[-1]

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(stages.routine_of, [facts, facts], [0, 0], [make, make])
    assert one is other
    assert len(made) == 2

"""Each unstep is the transposed Jacobian of its step, by complex step on the cell alone: no scan, no products."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirnn import Recurrent
from minirnn.cells import GRUBeforeCell, GRUCell, LSTMCell, ProjectedLSTMCell, ReluCell, TanhCell, join, sigmoid, split
from minirnn.core.backend import Array
from minirnn.core.protocol import matrix_of, multiplies, name_of, stages_of, units_of
from minirnn.more_cells import NAMED, exact_sigmoid

EPS = 1e-30
B, H = 2, 3
CELLS = [
    *(TanhCell, ReluCell, GRUCell, GRUBeforeCell, LSTMCell, ProjectedLSTMCell(H)),
    *NAMED.values(),
]
STAGES = [(cell, k) for cell in CELLS for k in range(len(stages_of(cell)))]


def state_size(cell: Any, k: int) -> int:
    """How many arrays flow into stage k."""
    return 3 if cell is GRUBeforeCell and k else len(cell.state)


def widths(stage: Any) -> tuple[int, int]:
    """How wide p and q are."""
    gates = len(stage.gates) * H
    return (0, H) if matrix_of(stage) else (gates, gates * multiplies(stage))


@pytest.mark.parametrize(("cell", "k"), STAGES, ids=lambda v: getattr(v, "__name__", str(v)))
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([0.1, 1.0, 5.0]))
def test_unstep_is_the_transposed_jacobian_of_step(cell: Any, k: int, seed: int, scale: float) -> None:
    stage = stages_of(cell)[k]
    rng = np.random.default_rng(seed)
    p, q = (rng.normal(0, scale, (B, width)) for width in widths(stage))
    flow, units = tuple(rng.normal(0, scale, (state_size(cell, k), B, H))), rng.normal(size=(len(units_of(stage)), H))
    out, saved = stage.step(p, q, flow, *units)
    dout = tuple(rng.normal(size=a.shape) for a in out)
    dp, dq, dflow, *dunits = stage.unstep(dout, saved, *units)
    inputs, zeros = [p, q, *flow, *units], np.zeros((B, H))
    gradients = [p if dp is None else dp, q if dq is None else dq, *(zeros if d is None else d for d in dflow)]
    gradients += [d.sum(0) for d in dunits]
    assert (dp is None, dq is None) == (p.size == 0, q.size == 0)
    for i, a in enumerate(inputs):
        derivative = np.zeros(a.shape)
        for at in np.ndindex(a.shape):
            moved = [b.astype(complex) for b in inputs]
            moved[i][at] += 1j * EPS
            result, _ = stage.step(moved[0], moved[1], tuple(moved[2 : 2 + len(flow)]), *moved[2 + len(flow) :])
            derivative[at] = sum((d * r).sum().imag for d, r in zip(dout, result, strict=True)) / EPS
        np.testing.assert_allclose(gradients[i], derivative, rtol=1e-12, atol=1e-12 * scale, err_msg=f"input {i}")


@pytest.mark.parametrize(("cell", "k"), STAGES, ids=lambda v: getattr(v, "__name__", str(v)))
def test_saturated_gates_give_finite_numbers_without_warnings(cell: Any, k: int) -> None:
    stage = stages_of(cell)[k]
    largest = 1e15 if "LayerNorm" in name_of(cell) else 1e30  # a variance is a square
    for size in (1e3, largest, -largest):
        p, q = (np.full((B, width), value, np.float32) for width, value in zip(widths(stage), (size, 0), strict=True))
        flow = tuple(np.ones((state_size(cell, k), B, H), np.float32))
        units = np.ones((len(units_of(stage)), H), np.float32)
        out, saved = stage.step(p, q, flow, *units)
        back = stage.unstep(tuple(map(np.ones_like, out)), saved, *units)
        arrays: list[Array] = [*out, *(a for a in back[:2] if a is not None)]
        assert all(a.dtype == np.float32 and np.isfinite(a).all() for a in arrays)


@pytest.mark.parametrize(("cell", "k"), STAGES, ids=lambda v: getattr(v, "__name__", str(v)))
def test_nan_is_passed_on(cell: Any, k: int) -> None:
    stage = stages_of(cell)[k]
    p, q = (np.full((B, width), np.nan) for width in widths(stage))
    out, _ = stage.step(p, q, tuple(np.ones((state_size(cell, k), B, H))), *np.ones((len(units_of(stage)), H)))
    assert np.isnan(out[0]).any() or np.isnan(out[1]).all()


def test_names_match_what_is_saved() -> None:
    for cell, k in STAGES:
        stage = stages_of(cell)[k]
        p, q = (np.zeros((B, width)) for width in widths(stage))
        _, saved = stage.step(p, q, tuple(np.ones((state_size(cell, k), B, H))), *np.ones((len(units_of(stage)), H)))
        assert len(saved) == len(stage.saves)


@given(st.floats(-1e6, 1e6))
def test_sigmoid_is_the_logistic_function(a: float) -> None:
    expected = 1 / (1 + np.exp(-a)) if a > 0 else np.exp(a) / (1 + np.exp(a))
    np.testing.assert_allclose(sigmoid(np.array(a)), expected, rtol=1e-12, atol=1e-16)


def test_exact_sigmoid_is_right_where_it_is_small() -> None:
    a = np.linspace(-700, 700, 1001)
    expected = [1 / (1 + math.exp(-b)) if b > 0 else math.exp(b) / (1 + math.exp(b)) for b in a]
    np.testing.assert_allclose(exact_sigmoid(a), expected, rtol=1e-14)


@given(st.integers(1, 4), st.integers(1, 5))
def test_join_undoes_split(gates: int, width: int) -> None:
    a = np.arange(2.0 * gates * width).reshape(2, -1)
    np.testing.assert_array_equal(join(*split(a, gates)), a)


def _own(returned: str, saves: tuple[str, ...] = ("h1",)) -> Any:
    """A vanilla cell whose ``unstep`` returns what the expression says."""

    class Own:
        state = ("h",)
        gates = ("h",)

        @staticmethod
        def step(p: Any, q: Any, state: Any) -> Any:
            h1 = np.tanh(p + q)
            return (h1,), (h1,)

        @staticmethod
        def unstep(dstate: Any, saved: Any) -> Any:
            (dh1,), (h1,) = dstate, saved
            return eval(returned, {"da": dh1 * (1 - h1 * h1), "dh1": dh1, "np": np})  # noqa: S307 - of this test

    Own.saves = saves  # type: ignore[attr-defined]
    return Own


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ("None", "unstep returns nothing: it must return dp, dq, a tuple"),
        ("(da, da)", "unstep must return 3 values, dp, dq, a tuple with a gradient for each state; got 2"),
        ("(da, da, (None,), da)", "unstep must return 3 values, .*; got 4"),
        ("da", "unstep must return 3 values, .*; got 1"),
        ("(None, da, (None,))", "unstep returns None for dp, which must be an array with the shape of p, "),
        ("(da, None, (None,))", "unstep returns None for dq, which must be an array with the shape of p, "),
        ("(da.T, da, (None,))", "the shape of p, .*; dp has .*, transposed"),
        ("(da, da.T, (None,))", "the shape of p, .*; dq has .*, transposed"),
        ("(da, da, None)", "a tuple of 1, a gradient for each state; got no tuple"),
        ("(da, da, (None, None))", "a tuple of 1, a gradient for each state; got 2"),
        ("(da, ..., (None,))", "what it returns is still ..., and not filled in yet"),
        ("(da, ad, (None,))", "unstep, line .*name 'ad' is not defined"),
    ],
)
def test_what_unstep_may_not_return_is_said(returned: str, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        Recurrent(_own(returned), 2, 3)


def test_a_number_of_saved_arrays_that_saves_does_not_name_is_said() -> None:
    with pytest.raises(TypeError, match="step saves 1 arrays, and saves names 2"):
        Recurrent(_own("(da, da, (None,))", saves=("h1", "h")), 2, 3)


def test_what_unstep_must_return_is_accepted() -> None:
    Recurrent(_own("(da, da, (None,))"), 2, 3)

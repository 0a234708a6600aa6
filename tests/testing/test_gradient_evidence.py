"""What a check of gradients costs, and that it neither misses a wrong one nor calls a right one wrong."""

from typing import Any

import numpy as np
import pytest

from minirnn import GRU, LSTM, RNN, LayerNorm, Linear, Recurrent, Sequential
from minirnn.cells import TanhCell
from minirnn.core.backend import Array
from minirnn.testing import GradientError, check_adjoint, check_gradients
from minirnn.testing.own import examine

RNG = np.random.default_rng(11)


@pytest.mark.parametrize("size", [1, 5])
def test_a_right_model_takes_as_many_forward_passes_at_any_size(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = LSTM(size, size, 2, bidirectional=True).init(0, backend="numpy", dtype="float64")
    passes = 0
    forward = LSTM.forward

    def counted(self: LSTM, *args: Any, **kwargs: Any) -> Any:
        nonlocal passes
        passes += 1
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(LSTM, "forward", counted)
    report = check_gradients(layer, RNG.normal(size=(3, 2, size)))
    assert {row.method for row in report.rows} == {"complex step", "difference"}
    assert 4 <= passes <= 6


class Slipped(TanhCell):
    """A cell whose gradient is wrong in one unit of one row, by little."""

    @staticmethod
    def unstep(dstate: tuple[Array, ...], saved: tuple[Array, ...]) -> tuple[Any, ...]:
        dp, _, rest = TanhCell.unstep(dstate, saved)
        dp = dp.copy()
        dp[0, 1] += 1e-7
        return dp, dp, rest


def test_one_entry_that_is_wrong_by_little_is_found_and_named() -> None:
    layer = Recurrent(Slipped, 2, 3).init(0, backend="numpy", dtype="float64")
    x = RNG.normal(size=(1, 2, 2))
    report = check_gradients(layer, x, raises=False)
    wrong = {row.name: row for row in report.rows if not row.ok}
    assert {"0.W", "0.b", "x"} <= wrong.keys()
    assert {index for index, _, _ in wrong["0.b"].worst} == {(1,)}
    assert wrong["0.W"].worst[0][0][1] == 1
    with pytest.raises(GradientError, match=r"through .* by complex step, worst entries"):
        check_gradients(layer, x)


def test_all_entries_or_a_number_of_them_are_tried_on_request() -> None:
    layer = GRU(2, 3).init(0, backend="numpy", dtype="float64")
    x = RNG.normal(size=(3, 2, 2))
    whole = check_gradients(layer, x, entries="all")
    along = check_gradients(layer, x)
    assert whole.ok
    assert len({row.error for row in whole.rows if row.method == "complex step"}) > 3  # of each array its own
    assert len({row.error for row in along.rows if row.method == "complex step"}) <= 3  # one of each scalar
    assert [(row.name, row.cotangents) for row in whole.rows] == [(row.name, row.cotangents) for row in along.rows]
    for a, b in zip(whole.rows, along.rows, strict=True):
        np.testing.assert_allclose(a.scale, b.scale, rtol=1e-5)
    for entries in (0, -1, "every"):
        with pytest.raises(ValueError, match="entries must be None"):
            check_gradients(layer, x, entries=entries)  # type: ignore[arg-type]


class Stepped(TanhCell):
    """h' = max(p + q, 0), by a function that complex numbers do not pass through."""

    saves = ("a",)

    @staticmethod
    def step(p: Array, q: Array, _: tuple[Array, ...]) -> Any:
        a = p + q
        return (a * np.heaviside(a, 0.5),), (a,)

    @staticmethod
    def unstep(dstate: tuple[Array, ...], saved: tuple[Array, ...]) -> tuple[Any, ...]:
        da = dstate[0] * np.heaviside(saved[0], 0.5)
        return da, da, (None,)


@pytest.mark.parametrize("beyond", [1e-5, 1e-6, 1e-7, 1e-9])
@pytest.mark.parametrize("stepped", [False, True], ids=["holomorphic", "differences alone"])
@pytest.mark.parametrize("entries", [None, "all"])
def test_a_right_gradient_next_to_a_kink_is_not_called_wrong(beyond: float, stepped: bool, entries: Any) -> None:
    layer: Recurrent = Recurrent(Stepped, 2, 3) if stepped else RNN(2, 3, nonlinearity="relu")
    layer.init(0, backend="numpy", dtype="float64")
    x = RNG.normal(size=(1, 2, 2))
    state = np.zeros((1, 2, 3))
    weights = layer.named_weights()
    weights["0.b"][...] = beyond - x[0, 0] @ weights["0.W"]  # all units of the first row
    report = check_gradients(layer, x, state, entries=entries)
    assert report.holomorphic != stepped


class Overflowing(TanhCell):
    """h' = exp(h + p + q), which is not finite after a few steps."""

    saves = ("h1",)

    @staticmethod
    def step(p: Array, q: Array, state: tuple[Array, ...]) -> Any:
        h1 = np.exp(3 + state[0] + p + q)
        return (h1,), (h1,)

    @staticmethod
    def unstep(dstate: tuple[Array, ...], saved: tuple[Array, ...]) -> tuple[Any, ...]:
        da = dstate[0] * saved[0]
        return da, da, (da,)


class Halved(Overflowing):
    """The same with a wrong gradient."""

    @staticmethod
    def unstep(dstate: tuple[Array, ...], saved: tuple[Array, ...]) -> tuple[Any, ...]:
        dp, dq, (dh,) = Overflowing.unstep(dstate, saved)
        return dp, dq, (dh / 2,)


def test_a_cell_that_overflows_is_judged_where_it_is_finite() -> None:
    layer = Recurrent(Overflowing, 2, 3).init(0, backend="numpy", dtype="float64")
    with pytest.raises(ValueError, match="values are not finite"):
        check_gradients(layer, RNG.normal(size=(6, 2, 2)))
    verdict = examine(Overflowing, examples=30)
    assert verdict.ok
    assert any("values are not finite in" in note for note in verdict.notes)
    assert not examine(Halved, examples=30).ok


class Standard(TanhCell):
    """h' = (a - mean) / (std + 0.1) of the row: of a single unit, std is 0 and its derivative 0 / 0."""

    saves = ("a",)

    @staticmethod
    def step(p: Array, q: Array, _: tuple[Array, ...]) -> Any:
        a = p + q
        return ((a - a.mean(-1, keepdims=True)) / (a.std(-1, keepdims=True) + 0.1),), (a,)

    @staticmethod
    def unstep(dstate: tuple[Array, ...], saved: tuple[Array, ...]) -> tuple[Any, ...]:
        (dh1,), (a,) = dstate, saved
        centred, s = a - a.mean(-1, keepdims=True), a.std(-1, keepdims=True)
        da = (dh1 - dh1.mean(-1, keepdims=True)) / (s + 0.1)
        da = da - centred * (dh1 * centred).mean(-1, keepdims=True) / (s * (s + 0.1) ** 2)
        return da, da, (None,)


def test_a_gradient_that_one_unit_alone_has_not_is_a_note() -> None:
    verdict = examine(Standard, examples=30)
    assert verdict.ok, verdict
    assert any(note.startswith("with one unit only, the gradient is not a number") for note in verdict.notes)


def test_a_norm_of_equal_numbers_is_judged_where_it_bends() -> None:
    """A norm of a norm, of zeros: central differences are right with steps far smaller than elsewhere."""
    model = Sequential(LayerNorm(4), Linear(4, 4, bias=False), LayerNorm(4)).init(0, dtype="float64", backend="numpy")
    off = check_adjoint(model, np.zeros((3, 2, 4)), tolerance=1e-12)
    assert off > 0  # or differences were asked, and could not tell

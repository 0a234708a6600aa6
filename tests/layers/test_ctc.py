"""Connectionist temporal classification: losses against all paths, one by one, gradients against complex steps."""

import itertools
import math
import sys
from typing import Any

import numpy as np
import pytest
import strict_cupy
from ctc_paths import Array, drawn, labellings, needed
from hypothesis import given
from hypothesis import strategies as st

from minirnn import ctc_loss, pad
from minirnn.core.backend import CUPY, NUMBA, maker

STEP = 1e-30
seeds = st.integers(0, 2**32 - 1)
scales = st.sampled_from([0.1, 1.0, 10.0])


def complex_step(loss: Any, at: Array) -> Array:
    """The derivative of ``loss`` by each entry of ``at``, without subtraction."""
    gradient = np.zeros(at.shape)
    for place in np.ndindex(at.shape):
        moved = at.astype(complex)
        moved[place] += STEP * 1j
        gradient[place] = loss(moved).imag / STEP
    return gradient


# ---------------------------------------------------------------------- the loss


@given(st.integers(0, 5), st.integers(1, 4), st.booleans(), scales, seeds)
def test_the_loss_is_that_of_all_paths(T: int, C: int, last: bool, scale: float, seed: int) -> None:
    rng, blank = np.random.default_rng(seed), C - 1 if last else 0
    logits, targets, lengths = drawn(rng, T, 4, C, blank, scale)
    losses, _ = ctc_loss(logits, targets, lengths, blank=blank, reduction="none")
    for b, target in enumerate(targets):
        p = labellings(logits[: lengths[b], b], blank)[tuple(target)]
        assert losses[b] == pytest.approx(-math.log(p), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("T", [3, 5])
def test_every_target_of_three_labels_has_its_paths(T: int) -> None:
    """Repeats of all kinds among them: aa, aab, aba, aaa."""
    logits = np.random.default_rng(0).normal(size=(T, 1, 3))
    targets = [list(t) for n in range(4) for t in itertools.product((0, 2), repeat=n)]
    losses, _ = ctc_loss(logits.repeat(len(targets), 1), targets, blank=1, reduction="none", impossible="inf")
    p = labellings(logits[:, 0], 1)
    np.testing.assert_allclose(np.exp(-losses), [p.get(tuple(target), 0) for target in targets], rtol=1e-12)


@given(st.integers(1, 3), st.integers(2, 3), seeds)
def test_the_probabilities_of_all_labellings_sum_to_1(T: int, C: int, seed: int) -> None:
    logits = np.random.default_rng(seed).normal(size=(T, 1, C))
    targets = [list(t) for n in range(T + 1) for t in itertools.product(range(1, C), repeat=n)]
    losses, _ = ctc_loss(np.repeat(logits, len(targets), 1), targets, reduction="none", impossible="inf")
    assert np.exp(-losses).sum() == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@given(st.integers(1, 6), st.integers(1, 4), st.booleans(), scales, seeds)
def test_the_gradient_is_the_derivative(reduction: Any, T: int, C: int, last: bool, scale: float, seed: int) -> None:
    rng, blank = np.random.default_rng(seed), C - 1 if last else 0
    logits, targets, lengths = drawn(rng, T, 3, C, blank, scale)

    def loss(z: Array) -> Any:
        return ctc_loss(z, targets, lengths, blank=blank, reduction=reduction)[0]

    _, dlogits = ctc_loss(logits, targets, lengths, blank=blank, reduction=reduction)
    np.testing.assert_allclose(dlogits, complex_step(loss, logits), rtol=1e-10, atol=1e-12)


@given(st.integers(1, 5), st.integers(2, 4), seeds)
def test_the_second_derivative_is_symmetric(T: int, C: int, seed: int) -> None:
    """The gradient of complex logits is right too, as Hessian-vector products need it."""
    rng = np.random.default_rng(seed)
    logits, targets, lengths = drawn(rng, T, 1, C, 0)
    u, v = rng.normal(size=(2, *logits.shape))
    moved = [ctc_loss(logits + STEP * 1j * d, targets, lengths)[1].imag / STEP for d in (u, v)]
    assert (moved[0] * v).sum() == pytest.approx((moved[1] * u).sum(), rel=1e-10, abs=1e-12)


def test_the_gradient_is_the_derivative_by_differences() -> None:
    """As a second opinion, of the values alone; each row's gradient is that of its own loss."""
    rng, delta = np.random.default_rng(0), 1e-5
    logits, targets = rng.normal(size=(6, 2, 4)), [[1, 1, 3], [2]]
    _, dlogits = ctc_loss(logits, targets, [5, 6], reduction="none")
    for place in np.ndindex(logits.shape):
        up, down = logits.copy(), logits.copy()
        up[place] += delta
        down[place] -= delta
        ends = [ctc_loss(z, targets, [5, 6], reduction="none")[0][place[1]] for z in (up, down)]
        assert dlogits[place] == pytest.approx((ends[0] - ends[1]) / (2 * delta), abs=1e-9)


@given(st.integers(1, 8), st.integers(1, 5), st.integers(2, 6), seeds)
def test_a_batch_is_its_rows_alone_and_padding_is_not_read(T: int, B: int, C: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, targets, lengths = drawn(rng, T, B, C, 0)
    padded, sizes = pad([np.array(t, int) for t in targets], value=-1)
    for b, length in enumerate(lengths):
        logits[length:, b] = rng.choice([np.nan, np.inf, -np.inf], logits[length:, b].shape)
    wholes = {r: ctc_loss(logits, padded.T, lengths, sizes, reduction=r) for r in ("mean", "sum", "none")}
    rows = []
    for b, length in enumerate(lengths):
        alone, dalone = ctc_loss(logits[:length, b : b + 1], [targets[b]], reduction="sum")
        rows.append(float(alone))
        shares = {"mean": B * max(1, len(targets[b])), "sum": 1, "none": 1}
        for reduction, (_, dlogits) in wholes.items():
            np.testing.assert_allclose(dlogits[:length, b], dalone[:, 0] / shares[reduction], rtol=1e-12, atol=1e-14)
            assert not dlogits[length:, b].any()
    np.testing.assert_allclose(wholes["none"][0], rows, rtol=1e-12, atol=1e-13)
    assert wholes["sum"][0] == pytest.approx(sum(rows), rel=1e-12, abs=1e-13)
    means = [row / max(1, len(target)) for row, target in zip(rows, targets, strict=True)]
    assert wholes["mean"][0] == pytest.approx(sum(means) / B, rel=1e-12, abs=1e-13)


@given(st.integers(1, 6), st.integers(2, 5), st.floats(-1e6, 1e6), seeds)
def test_nothing_changes_when_all_logits_of_a_step_move(T: int, C: int, shift: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, targets, lengths = drawn(rng, T, 3, C, 0)
    moved = logits + shift * rng.normal(size=(T, 3, 1))
    for a, b in zip(ctc_loss(logits, targets, lengths), ctc_loss(moved, targets, lengths), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-7)  # logits of 1e6 have 10 digits left


@given(st.integers(1, 6), st.integers(2, 5), seeds)
def test_labels_may_be_numbered_in_any_order(T: int, C: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, targets, lengths = drawn(rng, T, 3, C, 0)
    order = rng.permutation(C)
    renumbered = np.empty_like(logits)
    renumbered[..., order] = logits
    loss, dlogits = ctc_loss(logits, targets, lengths)
    again, dagain = ctc_loss(renumbered, [order[t].tolist() for t in targets], lengths, blank=int(order[0]))
    assert again == pytest.approx(loss, rel=1e-12, abs=1e-13)
    np.testing.assert_allclose(dagain[..., order], dlogits, rtol=1e-10, atol=1e-13)


@given(st.integers(1, 6), st.integers(2, 5), seeds)
def test_time_may_be_reversed(T: int, C: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, targets, _ = drawn(rng, T, 1, C, 0)
    loss, dlogits = ctc_loss(logits, targets)
    again, dagain = ctc_loss(logits[::-1], [targets[0][::-1]])
    assert again == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(dagain[::-1], dlogits, rtol=1e-10, atol=1e-13)


def test_a_long_float32_sequence_keeps_its_digits() -> None:
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(0, 3, (1000, 2, 20)), rng.integers(1, 20, (2, 100))
    loss, dlogits = ctc_loss(logits, targets, reduction="none")
    narrow, dnarrow = ctc_loss(logits.astype(np.float32), targets, reduction="none")
    np.testing.assert_allclose(narrow, loss, rtol=2e-7)
    np.testing.assert_allclose(dnarrow, dlogits, atol=2e-4)
    assert abs(dlogits.sum(axis=2)).max() < 1e-12


def test_a_row_keeps_its_digits_beside_one_of_more_labels() -> None:
    logits = np.random.default_rng(0).normal(size=(600, 2, 3)).astype(np.float32)
    logits[:, 0, 1:] -= 4  # so that the blank is everywhere, and the longer row's states would be full
    losses, dlogits = ctc_loss(logits, [[1], [1, 2] * 100], reduction="none")
    alone, dalone = ctc_loss(logits[:, :1], [[1]], reduction="none")
    np.testing.assert_allclose(losses[:1], alone, rtol=1e-6)
    np.testing.assert_allclose(dlogits[:, :1], dalone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_logits_give_an_exact_loss_and_gradient(dtype: str) -> None:
    logits = np.array([[[1e4, -1e4, 0]], [[1e4, 1e4, -1e4]]], dtype)
    loss, dlogits = ctc_loss(logits, [[1]])
    assert loss == pytest.approx(math.log(2), rel=1e-6)  # the blank, and then the blank or the label
    np.testing.assert_allclose(dlogits[:, 0], np.array([[0, 0, 0], [0.5, -0.5, 0]]), atol=1e-7)
    far = np.array([[[3e38, -3e38]]], np.float32)  # 6e38 is beyond float32
    assert float(ctc_loss(far, [[]])[0]) == 0
    loss, dlogits = ctc_loss(far, [[1]])
    assert float(loss) == np.inf  # and its gradient is none the worse for it
    assert dlogits.tolist() == [[[1, -1]]]


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_the_dtype_stays_and_the_arguments_are_left_alone(dtype: str) -> None:
    rng = np.random.default_rng(0)
    logits, targets, lengths, sizes = rng.normal(size=(5, 2, 3)), np.array([[1, 1], [2, 0]]), [5, 3], [2, 1]
    logits = logits.astype(dtype)
    before = logits.copy(), targets.copy()
    for reduction in ("mean", "sum", "none"):
        loss, dlogits = ctc_loss(logits, targets, lengths, sizes, reduction=reduction)
        assert loss.dtype == dlogits.dtype == dtype
        assert loss.shape == ((2,) if reduction == "none" else ())
        assert dlogits.shape == logits.shape
    assert np.array_equal(before[0], logits)
    assert np.array_equal(before[1], targets)


def test_a_weight_that_has_diverged_shows() -> None:
    loss, dlogits = ctc_loss(np.full((3, 1, 3), np.nan), [[1]])
    assert np.isnan(loss)
    assert np.isnan(dlogits).all()


def test_log_probabilities_may_stand_for_logits() -> None:
    logits, targets = np.random.default_rng(0).normal(size=(5, 2, 3)), [[1, 1], [2]]
    log_y = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    assert ctc_loss(log_y, targets)[0] == pytest.approx(ctc_loss(logits, targets)[0], rel=1e-13)


def test_logits_of_a_layer_with_kernels_have_the_same_loss() -> None:
    pytest.importorskip("numba", reason="Numba is not installed: pip install 'minirnn[fast]'")
    logits, targets, lengths = drawn(np.random.default_rng(0), 60, 8, 20, 0)
    lent = NUMBA.empty(logits.shape, logits.dtype)
    lent[...] = logits
    assert maker(lent) is NUMBA
    for a, b in zip(ctc_loss(lent, targets, lengths), ctc_loss(logits, targets, lengths), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-15)


# ---------------------------------------------------------------------- targets that do not fit, and other edges


@pytest.mark.parametrize("target", [[1, 2, 1], [1, 1]], ids=str)
def test_a_target_that_has_too_few_steps(target: list[int]) -> None:
    rng = np.random.default_rng(0)
    logits, targets, lengths = rng.normal(size=(4, 2, 3)), [target, [2]], [needed(target) - 1, 4]
    with pytest.raises(ValueError, match=f"row 0 needs 3 steps for its target.*; got {lengths[0]}"):
        ctc_loss(logits, targets, lengths)
    losses, dlogits = ctc_loss(logits, targets, lengths, reduction="none", impossible="inf")
    other, dother = ctc_loss(logits[:, 1:], [[2]], reduction="none")
    assert losses[0] == np.inf
    assert losses[1] == pytest.approx(other[0])
    assert not dlogits[:, 0].any()
    np.testing.assert_allclose(dlogits[:, 1:], dother, rtol=1e-12)
    losses, dlogits = ctc_loss(logits, targets, lengths, reduction="none", impossible="zero")
    assert losses[0] == 0
    assert not dlogits[:, 0].any()
    assert ctc_loss(logits, targets, lengths, impossible="inf")[0] == np.inf
    assert ctc_loss(logits, targets, lengths, impossible="zero")[0] == pytest.approx(other[0] / 2)
    assert np.isfinite(ctc_loss(logits, targets, [needed(target), 4])[0])  # one step more


def test_logits_of_minus_infinity_rule_labels_out() -> None:
    logits = np.zeros((2, 2, 3))
    logits[..., 1] = -np.inf
    losses, dlogits = ctc_loss(logits, [[1], [2]], reduction="none")
    assert losses[0] == np.inf
    assert losses[1] == pytest.approx(-math.log(3 / 4))
    assert not dlogits[:, 0].any()
    assert ctc_loss(logits, [[1], [2]], reduction="none", impossible="zero")[0][0] == 0


def test_no_steps_and_no_labels() -> None:
    loss, dlogits = ctc_loss(np.zeros((0, 2, 3)), [[], []])
    assert loss == 0
    assert dlogits.shape == (0, 2, 3)
    loss, dlogits = ctc_loss(np.zeros((2, 2, 1)), [[], []], [2, 0])  # the blank alone
    assert loss == 0
    assert not dlogits.any()
    loss, _ = ctc_loss(np.zeros((2, 1, 3)), np.zeros((1, 0), int))
    assert loss == pytest.approx(2 * math.log(3))


@pytest.mark.parametrize(
    ("targets", "options", "words"),
    [
        ([[1], [2], [1]], {}, r"targets must be 2 sequences, one for each row of logits \(4, 2, 3\); got 3"),
        ([[1]] * 4, {}, "got 4: time and batch are exchanged"),
        ([[1], [3]], {}, "targets must be from 0 to 2; got 3"),
        ([[1], [-1]], {}, "targets must be from 0 to 2; got -1"),
        ([[1], [2, 0]], {}, "targets must not hold the blank, 0; got one in row 1"),
        ([[1], [2]], {"blank": 2}, "targets must not hold the blank, 2; got one in row 1"),
        ([[1.0], [2]], {}, r"targets\[0\] must be integers with 1 axis; got float64 of shape \(1,\)"),
        ([[True], [2]], {}, r"targets\[0\] must be integers with 1 axis; got bool"),
        (np.zeros(2, int), {}, r"targets must be integers with 2 axes; got int64 of shape \(2,\)"),
        (np.ones((2, 1)), {}, r"targets must be integers with 2 axes; got float64 of shape \(2, 1\)"),
        ([[1], [2, 1]], {"target_lengths": [1, 2]}, "targets must be one rectangular array of integers; got ragged"),
        (np.ones((2, 1), int), {"target_lengths": [1]}, "target_lengths must be 2 integers, one a row; got 1"),
        (np.ones((2, 1), int), {"target_lengths": [1, 2]}, "target_lengths must be from 0 to 1.*; got 2"),
        (np.ones((2, 1), int), {"target_lengths": [-1, 1]}, "target_lengths must be from 0 to 1.*; got -1"),
        ([[1], [2]], {"lengths": [5, 4]}, "lengths must be from 0 to 4, the number of steps; got 5"),
        ([[1], [2]], {"lengths": [4]}, "lengths must be 2 integers, one a row"),
        ([[1], [2]], {"blank": 3}, "blank must be an integer from 0 to 2, one of the classes; got 3"),
        ([[1], [2]], {"blank": -1}, "blank must be an integer from 0 to 2, one of the classes; got -1"),
        ([[1], [2]], {"reduction": "average"}, "reduction must be one of mean, sum, none; got 'average'"),
        ([[1], [2]], {"impossible": True}, "impossible must be one of error, inf, zero; got True"),
    ],
)
def test_ctc_loss_refuses_what_does_not_fit(targets: Any, options: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ctc_loss(np.zeros((4, 2, 3)), targets, **options)


def test_no_rows_have_no_loss() -> None:
    with pytest.raises(ValueError, match="ctc_loss expects at least one row; got none"):
        ctc_loss(np.zeros((4, 0, 3)), [])


def test_a_device_computes_what_numpy_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", strict_cupy)
    monkeypatch.setitem(CUPY.__dict__, "xp", strict_cupy)
    logits, targets, lengths = drawn(np.random.default_rng(0), 7, 4, 5, 0)
    there: Any = strict_cupy.asarray(logits)
    dlogits: Any
    for reduction in ("mean", "none"):
        waits = strict_cupy.waits
        loss, dlogits = ctc_loss(there, targets, lengths, reduction=reduction, impossible="zero")
        assert strict_cupy.waits == waits
        expected, dexpected = ctc_loss(logits, targets, lengths, reduction=reduction)
        np.testing.assert_allclose(strict_cupy.asnumpy(loss), expected, rtol=1e-13)
        np.testing.assert_allclose(strict_cupy.asnumpy(dlogits), dexpected, rtol=1e-12, atol=1e-15)
    with pytest.raises(TypeError, match="targets and target_lengths must be on the host"):
        ctc_loss(logits, strict_cupy.asarray(np.ones((4, 1), int)))

"""Losses: values against scalar loops, gradients against derivatives by complex step."""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from minirnn import cross_entropy, mse

Array: TypeAlias = NDArray[Any]
Loss: TypeAlias = Callable[[Array], tuple[Any, Array]]

STEP = 1e-30
leading = st.sampled_from([(), (1,), (4,), (3, 2), (2, 1, 3)])
seeds = st.integers(0, 2**32 - 1)
scales = st.sampled_from([0.1, 1.0, 10.0, 100.0])


def some_true(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """A mask with at least one True."""
    mask = rng.random(shape or 1) < 0.6
    mask.flat[0] = True
    return mask.reshape(shape)


def complex_step(loss: Loss, at: Array) -> Array:
    """The derivative of ``loss`` by each entry of ``at``, without subtraction."""
    gradient = np.zeros(at.shape)
    for place in np.ndindex(at.shape):
        moved = at.astype(complex)
        moved[place] += STEP * 1j
        gradient[place] = loss(moved)[0].imag / STEP
    return gradient


def mean_surprise(logits: list[list[float]], targets: list[int]) -> float:
    """-log softmax(logits)[target], averaged, one number at a time."""
    total = 0.0
    for row, target in zip(logits, targets, strict=True):
        largest = max(row)
        total += largest + math.log(math.fsum(math.exp(v - largest) for v in row)) - row[target]
    return total / len(targets)


# ---------------------------------------------------------------------- cross entropy


@given(leading, st.integers(1, 5), st.booleans(), scales, seeds)
def test_cross_entropy_and_its_gradient_are_those_of_the_definition(
    shape: tuple[int, ...], V: int, masked: bool, scale: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    logits, targets = rng.normal(0, scale, (*shape, V)), rng.integers(0, V, shape)
    mask = some_true(rng, shape) if masked else None
    loss, dlogits = cross_entropy(logits, targets, mask)
    counted = np.ones(shape, bool) if mask is None else mask
    assert loss == pytest.approx(mean_surprise(logits[counted].tolist(), targets[counted].tolist()), rel=1e-12)
    expected = complex_step(lambda z: cross_entropy(z, targets, mask), logits)
    np.testing.assert_allclose(dlogits, expected, rtol=1e-12, atol=1e-15)


@given(st.integers(1, 5), st.floats(-1e6, 1e6), seeds)
def test_cross_entropy_does_not_change_when_all_logits_move(V: int, shift: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, targets = rng.normal(size=(3, V)), rng.integers(0, V, 3)
    for a, b in zip(cross_entropy(logits, targets), cross_entropy(logits + shift, targets), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-8)  # logits + 1e6 have 10 digits left


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_logits_give_an_exact_loss_and_gradient(dtype: str) -> None:
    logits = np.array([[1e4, -1e4, 0], [1e4, 1e4, -1e4]], dtype)
    loss, dlogits = cross_entropy(logits, [1, 0])
    assert loss == pytest.approx((2e4 + math.log(2)) / 2, rel=1e-7)
    assert dlogits.tolist() == [[0.5, -0.5, 0], [-0.25, 0.25, 0]]


def test_masked_positions_may_hold_anything_and_get_no_gradient() -> None:
    logits = np.array([[1.0, 2.0], [np.nan, np.inf], [0.5, 0.5], [-np.inf, np.nan]])
    mask = np.array([True, False, True, False])
    loss, dlogits = cross_entropy(logits, [0, -1, 1, 99], mask)
    plain, expected = cross_entropy(logits[mask], [0, 1])
    assert loss == plain
    assert np.array_equal(dlogits[mask], expected)
    assert not dlogits[~mask].any()


@pytest.mark.parametrize(
    ("targets", "mask", "words"),
    [
        ([0, 3], None, "targets must be from 0 to 2; got 3"),
        ([-1, 0], None, "targets must be from 0 to 2; got -1"),
        ([0, 3], [True, True], "targets must be from 0 to 2; got 3"),
        ([0.0, 1.0], None, "targets must be integers; got float64"),
        ([True, False], None, "targets must be integers; got bool"),
        ([0, 1, 2], None, r"targets must have shape \(2,\).* got \(3,\)"),
        ([[1, 0, 0], [0, 1, 0]], None, r"targets must have shape \(2,\).* got \(2, 3\)"),
        ([0, 1], [2, 0], r"mask must be booleans, or 0 and 1, of shape \(2,\); got int64"),
        ([0, 1], [True], r"mask must be booleans, or 0 and 1, of shape \(2,\); got bool of \(1,\)"),
        ([0, 1], [False, False], "at least one position that counts; got none"),
    ],
)
def test_cross_entropy_refuses_what_it_cannot_count(targets: Any, mask: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        cross_entropy(np.zeros((2, 3)), np.array(targets), mask)


def test_no_positions_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one position that counts"):
        cross_entropy(np.zeros((0, 3)), np.zeros(0, int))
    with pytest.raises(ValueError, match="at least one entry that counts"):
        mse(np.zeros((0, 3)), np.zeros((0, 3)))


# ---------------------------------------------------------------------- mean squared error


@given(leading, st.integers(1, 3), st.integers(0, 3), scales, seeds)
def test_mse_and_its_gradient_are_those_of_the_definition(
    shape: tuple[int, ...], features: int, mask_axes: int, scale: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    y, target = rng.normal(0, scale, (2, *shape, features))
    mask = some_true(rng, y.shape[: min(mask_axes, y.ndim)]) if mask_axes else None
    counted = np.ones(y.shape, bool) if mask is None else np.zeros(y.shape, bool)
    if mask is not None:
        counted[mask] = True
    loss, dy = mse(y, target, mask)
    squares = [(a - b) ** 2 for a, b in zip(y[counted].tolist(), target[counted].tolist(), strict=True)]
    assert loss == pytest.approx(math.fsum(squares) / len(squares), rel=1e-12)
    expected = complex_step(lambda z: mse(z, target, mask), y)
    np.testing.assert_allclose(dy, expected, rtol=1e-12, atol=1e-15)


def test_mse_does_not_look_at_masked_entries() -> None:
    y, target = np.array([[1.0, 2.0], [np.nan, 0.0]]), np.array([[0.0, 0.0], [0.0, np.nan]])
    loss, dy = mse(y, target, [True, False])
    assert loss == 2.5
    assert dy.tolist() == [[1, 2], [0, 0]]


@pytest.mark.parametrize(
    ("target", "mask", "words"),
    [
        (np.zeros(2), None, r"target must have the shape of y, \(3, 2\); got \(2,\)"),  # would broadcast
        (np.zeros((3, 1)), None, r"target must have the shape of y"),
        (np.zeros((3, 2)), np.full(3, 0.5), r"mask must be booleans, or 0 and 1, of shape \(3,\); got float64"),
        (np.zeros((3, 2)), np.ones(2, bool), r"mask must be booleans, or 0 and 1, of shape \(3,\); got bool of \(2,\)"),
        (np.zeros((3, 2)), np.zeros(3, bool), "at least one entry that counts; got none"),
    ],
)
def test_mse_refuses_what_does_not_fit(target: Array, mask: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        mse(np.zeros((3, 2)), target, mask)


def test_mse_does_not_round_differences_to_integers() -> None:
    try:
        loss, _ = mse(np.array([1, 2]), np.array([1.5, 2.0]))
    except (TypeError, ValueError):
        return  # refusing integers is as good
    assert loss == 0.125


def test_a_mask_may_be_zeros_and_ones() -> None:
    logits, targets = np.random.default_rng(0).normal(size=(3, 4)), [0, 1, 2]
    for mask in ([1, 0, 1], [1.0, 0.0, 1.0]):
        assert cross_entropy(logits, targets, mask)[0] == cross_entropy(logits, targets, [True, False, True])[0]
        assert mse(logits, logits + 1, mask)[0] == pytest.approx(1)


# ---------------------------------------------------------------------- both


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mask", [None, np.array([True, False])])
def test_the_dtype_stays_and_the_arguments_are_left_alone(dtype: str, mask: Array | None) -> None:
    y, targets, goal = np.array([[1, 2], [3, 5]], dtype), np.array([0, 1]), np.ones((2, 2))  # goal: always float64
    before = [a.copy() for a in (y, targets, goal)]
    for loss, gradient in (cross_entropy(y, targets, mask), mse(y, goal, mask)):
        assert loss.dtype == gradient.dtype == dtype
        assert gradient.shape == y.shape
    assert all(np.array_equal(a, b) for a, b in zip((y, targets, goal), before, strict=True))


@pytest.mark.parametrize("loss", [cross_entropy, mse])
def test_a_list_in_place_of_an_array_is_refused(loss: Any) -> None:
    with pytest.raises(TypeError, match="must be an array; got list"):
        loss([[0.0, 1.0]], [1])


@pytest.mark.parametrize("mask", [None, [True, True]])
def test_logits_further_apart_than_their_dtype_reaches_are_certain_without_a_warning(mask: Any) -> None:
    logits = np.array([[3e38, -3e38], [-3e38, 3e38]], np.float32)  # 6e38 is beyond float32
    loss, dlogits = cross_entropy(logits, [0, 1], mask)
    assert float(loss) == 0
    assert not dlogits.any()
    loss, dlogits = cross_entropy(logits, [1, 1], mask)
    assert float(loss) == np.inf
    np.testing.assert_array_equal(dlogits, [[0.5, -0.5], [0, 0]])

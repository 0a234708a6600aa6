"""Rounding to bfloat16 in NumPy, and matrices that round."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rounding import nearest

from minirnn.core.backend import Array
from minirnn.core.bfloat16 import RoundedMatrix, rounded, stored, widened

ODD = np.array([0.0, -0.0, np.inf, -np.inf, 1e-40, 9.2e-41, 2.0**-149, 257.0, 258.0, 259.0, -259.0], np.float32)


def every_upper_half() -> Array:
    """Every bfloat16 there is, NaN and infinities among them."""
    return widened(np.arange(2**16, dtype=np.uint16))


def test_a_bfloat16_stays_as_it_is() -> None:
    every = every_upper_half()
    numbers = ~np.isnan(every)
    np.testing.assert_array_equal(stored(every)[numbers], np.arange(2**16)[numbers])
    np.testing.assert_array_equal(rounded(every), every)


def test_between_two_neighbours_the_nearer_one_is_taken_and_of_both_the_even_one() -> None:
    """All numbers of one sign: below the middle, at it and above it."""
    low = np.arange(0x7F80, dtype=np.uint32)  # all but the last end below infinity
    for rest, up in ((0x0001, 0), (0x7FFF, 0), (0x8000, low & 1), (0x8001, 1), (0xFFFF, 1)):
        for sign in (0, 0x8000):
            a = ((low | sign) << 16 | rest).astype(np.uint32).view(np.float32)
            np.testing.assert_array_equal(stored(a), (low | sign) + up)


@pytest.mark.parametrize("bits", [0x7F800001, 0xFF800001, 0x7F80FFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FC00000])
def test_nan_stays_nan(bits: int) -> None:
    assert np.isnan(rounded(np.array([bits], np.uint32).view(np.float32))).all()


def test_what_is_larger_than_the_largest_is_infinity() -> None:
    a = np.array([0x7F7F7FFF, 0x7F7F8000, 0xFF7FFFFF, 0x7F800000], np.uint32).view(np.float32)
    np.testing.assert_array_equal(rounded(a), [(2 - 2.0**-7) * 2.0**127, np.inf, -np.inf, np.inf])


@given(seed=st.integers(0, 2**32 - 1), scale=st.integers(-100, 100))
def test_rounding_is_off_by_half_a_unit_of_the_eighth_bit_at_most(seed: int, scale: int) -> None:
    a = np.ldexp(np.random.default_rng(seed).normal(size=(7, 9)), scale).astype(np.float32)
    np.testing.assert_array_equal(rounded(a), nearest(a))
    assert (np.abs(rounded(a) - a) <= 2.0**-8 * np.abs(a)).all()
    np.testing.assert_array_equal(rounded(a.T), rounded(a).T)
    np.testing.assert_array_equal(rounded(a[:, ::2]), rounded(a)[:, ::2])
    assert rounded(a[:0]).shape == (0, 9)


@pytest.mark.extras
def test_it_is_what_ml_dtypes_says() -> None:
    ml_dtypes: Any = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed, which has bfloat16")
    bits = np.random.default_rng(0).integers(0, 2**32, 100_000, dtype=np.uint32)
    a = np.concatenate([bits.view(np.float32), ODD])
    with np.errstate(over="ignore", invalid="ignore"):
        np.testing.assert_array_equal(rounded(a), a.astype(ml_dtypes.bfloat16).astype(np.float32))


def test_a_matrix_that_rounds_stands_where_its_array_would() -> None:
    rng = np.random.default_rng(0)
    W, a, index = rng.normal(size=(5, 6)).astype("f4"), rng.normal(size=(3, 5)).astype("f4"), rng.integers(0, 5, (2, 2))
    M, R = RoundedMatrix(W), rounded(W)
    assert (M.shape, M.dtype, len(M)) == (W.shape, W.dtype, len(W))
    np.testing.assert_array_equal(a @ M, rounded(a) @ R)
    np.testing.assert_array_equal(a @ M[:, 1:4], rounded(a) @ R[:, 1:4])
    np.testing.assert_array_equal((a @ M) @ M.T, rounded(rounded(a) @ R) @ R.T)
    np.testing.assert_array_equal(M[index], R[index])

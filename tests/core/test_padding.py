"""Sequences of several lengths in one array, and the mask that tells them from the padding."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirnn import length_mask, pad

lengths_drawn = st.lists(st.integers(0, 6), min_size=1, max_size=5)


@given(lengths_drawn, st.sampled_from([(), (3,), (2, 1)]), st.sampled_from(["float32", "float64", "int64", "bool"]))
def test_padding_cut_off_again_gives_the_sequences(lengths: list[int], shape: tuple[int, ...], dtype: str) -> None:
    rng = np.random.default_rng(0)
    sequences = [rng.integers(0, 2, (n, *shape)).astype(dtype) for n in lengths]
    x, found = pad(sequences, value=1)
    assert x.shape == (max(lengths), len(lengths), *shape)
    assert x.dtype == dtype
    assert found.dtype.kind == "i"
    assert found.tolist() == lengths
    for b, sequence in enumerate(sequences):
        assert np.array_equal(x[: lengths[b], b], sequence)
        assert (x[lengths[b] :, b] == 1).all()


def test_the_padding_is_0_unless_a_value_is_given() -> None:
    assert pad([[1, 2], [3]])[0].tolist() == [[1, 3], [2, 0]]
    assert pad([[1, 2], [3]], value=-1)[0].tolist() == [[1, 3], [2, -1]]
    assert np.isnan(pad([[1.0, 2.0], [3.0]], value=np.nan)[0][1, 1])


def test_an_empty_list_beside_integers_leaves_them_integers() -> None:
    x, lengths = pad([[], [1, 2]])
    assert x.dtype.kind == "i"
    assert (x.tolist(), lengths.tolist()) == ([[0, 1], [0, 2]], [0, 2])


@pytest.mark.parametrize(
    ("sequences", "words"),
    [
        ([], "at least one sequence; got none"),
        ([1, 2], r"got \(\), and \(\) in place 0"),
        ([np.zeros((2, 3)), np.zeros((2, 3)), np.zeros((1, 4))], r"got \(2, 3\), and \(1, 4\) in place 2"),
        ([np.zeros((2, 3)), np.zeros(2)], r"got \(2, 3\), and \(2,\) in place 1"),
    ],
)
def test_sequences_that_do_not_fit_side_by_side_are_refused(sequences: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        pad(sequences)


@pytest.mark.parametrize("value", [-0.5, float("nan")])
def test_a_padding_value_that_the_dtype_cannot_hold_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="value"):  # not made 0, or an integer of 19 digits
        pad([[1, 2], [3]], value=value)


@pytest.mark.parametrize(
    ("sequences", "value"),
    [
        ([[[1, 2]], [[3, 4], [5, 6]]], [7, 8]),
        ([np.zeros(1, "u1"), np.zeros(2, "u1")], 300),
        ([[True], [False, True]], 0.5),
    ],
)
def test_a_value_that_is_no_number_of_the_dtype_is_refused(sequences: Any, value: Any) -> None:
    with pytest.raises(ValueError, match="value must be one number that fits"):
        pad(sequences, value=value)


@pytest.mark.parametrize("lengths", [[5, 9], [1.5], [-1]])
def test_a_mask_of_impossible_lengths_is_refused(lengths: Any) -> None:
    with pytest.raises(ValueError, match="lengths must be"):
        length_mask(lengths, 3)


@given(lengths_drawn, st.integers(0, 7))
def test_the_mask_is_true_within_each_row_only(lengths: list[int], more: int) -> None:
    num_steps = max(lengths) + more
    mask = length_mask(np.array(lengths), num_steps)
    assert mask.dtype == bool
    assert mask.tolist() == [[t < n for n in lengths] for t in range(num_steps)]


@given(lengths_drawn)
def test_the_mask_of_padded_sequences_marks_what_was_there(lengths: list[int]) -> None:
    x, found = pad([np.ones(n) for n in lengths])
    assert np.array_equal(length_mask(found, len(x)), x == 1)
    assert np.array_equal(length_mask(lengths, len(x)), x == 1)

"""Labels from logits: searches against all paths, one by one, and a recogniser that learns to read."""

import itertools
import math
import sys
from typing import Any

import numpy as np
import pytest
import strict_cupy
from ctc_paths import Array, Labelling, collapsed, labellings
from hypothesis import given
from hypothesis import strategies as st

from minirnn import GRU, Adam, Linear, Sequential, ctc_beam, ctc_greedy, ctc_loss, pad
from minirnn.core.backend import CUPY

seeds = st.integers(0, 2**32 - 1)
scales = st.sampled_from([0.1, 1.0, 10.0])

# ---------------------------------------------------------------------- searches


@given(st.integers(0, 5), st.integers(1, 4), st.booleans(), scales, seeds)
def test_a_wide_beam_finds_every_labelling(T: int, C: int, last: bool, scale: float, seed: int) -> None:
    rng, blank = np.random.default_rng(seed), C - 1 if last else 0
    logits, lengths = rng.normal(0, scale, (T, 2, C)), [T, T // 2]
    for b, found in enumerate(ctc_beam(logits, lengths, width=10_000, blank=blank)):
        expected = labellings(logits[: lengths[b], b], blank)
        assert {tuple(labels) for labels, _ in found} == set(expected)
        log_p = [p for _, p in found]
        assert log_p == sorted(log_p, reverse=True)
        for labels, p in found:
            assert p == pytest.approx(math.log(expected[tuple(labels)]), rel=1e-11, abs=1e-11)


@given(st.integers(1, 12), st.integers(2, 5), st.integers(1, 6), scales, seeds)
def test_a_narrow_beam_counts_no_path_twice(T: int, C: int, width: int, scale: float, seed: int) -> None:
    logits = np.random.default_rng(seed).normal(0, scale, (T, 1, C))
    (found,) = ctc_beam(logits, width=width)
    assert 1 <= len(found) <= width
    assert len({tuple(labels) for labels, _ in found}) == len(found)
    for labels, p in found:
        assert p <= -ctc_loss(logits, [labels])[0] + 1e-9


@given(st.integers(0, 5), st.integers(1, 4), st.booleans(), seeds)
def test_greedy_takes_the_likeliest_path(T: int, C: int, last: bool, seed: int) -> None:
    rng, blank = np.random.default_rng(seed), C - 1 if last else 0
    logits, lengths = rng.normal(size=(T, 2, C)), [T, T // 2]
    logits[T // 2 :, 1] = np.nan
    for b, labels in enumerate(ctc_greedy(logits, lengths, blank=blank)):
        row = logits[: lengths[b], b]
        paths = itertools.product(range(C), repeat=lengths[b])
        best = max(paths, key=lambda path: sum(y[k] for y, k in zip(row, path, strict=True)))
        assert labels == list(collapsed(best, blank))


def test_all_paths_together_may_be_another_labelling_than_the_likeliest_path() -> None:
    """The blank twice is the likeliest path, of 0.36; the label has three paths, of 0.64."""
    logits = np.log([[[0.6, 0.4]], [[0.6, 0.4]]])
    assert ctc_greedy(logits) == [[]]
    ((labels, p), (nothing, q)) = ctc_beam(logits)[0]
    assert (labels, nothing) == ([1], [])
    assert p == pytest.approx(math.log(0.64))
    assert q == pytest.approx(math.log(0.36))


def test_repeats_need_a_blank_between() -> None:
    path = [1, 1, 0, 1, 2, 2, 0, 0]
    logits = np.full((8, 1, 3), -20.0)
    logits[np.arange(8), 0, path] = 20
    assert ctc_greedy(logits) == [[1, 1, 2]]
    assert ctc_beam(logits, width=1)[0][0][0] == [1, 1, 2]
    assert ctc_loss(logits, [[1, 1, 2]])[0] < 1e-12


def test_a_language_model_weighs_in_once_a_label() -> None:
    rng = np.random.default_rng(0)
    logits, table = rng.normal(size=(4, 1, 3)), rng.normal(size=(3, 3))

    def score(prefix: Labelling, k: int) -> float:
        return float(table[prefix[-1] if prefix else 0, k])

    expected = labellings(logits[:, 0], 0)
    (found,) = ctc_beam(logits, width=1000, score=score)
    for labels, p in found:
        weighed = sum(score(tuple(labels[:i]), k) for i, k in enumerate(labels))
        assert p == pytest.approx(math.log(expected[tuple(labels)]) + weighed)

    def only_2(_: Labelling, k: int) -> float:
        return 0.0 if k == 2 else -math.inf

    only = ctc_beam(logits, width=1000, score=only_2)[0]
    assert {k for labels, _ in only for k in labels} == {2}
    logits[..., [0, 2]] = -np.inf  # no blank, and no 2: nothing is left
    assert ctc_beam(logits, score=only_2) == [[]]


@pytest.mark.parametrize("decode", [ctc_greedy, ctc_beam])
def test_a_model_that_has_diverged_has_no_labels(decode: Any) -> None:
    logits = np.zeros((3, 2, 3))
    logits[2, 1, 1] = np.nan
    with pytest.raises(ArithmeticError, match="logits are not finite"):
        decode(logits)
    assert len(decode(logits, [3, 2])) == 2
    with pytest.raises(ValueError, match="blank must be an integer from 0 to 2, one of the classes; got 3"):
        decode(logits, blank=3)
    with pytest.raises(ValueError, match="lengths must be from 0 to 3"):
        decode(logits, [4, 1])


def test_a_beam_of_no_width_is_refused() -> None:
    with pytest.raises(ValueError, match="width must be an integer of at least 1; got 0"):
        ctc_beam(np.zeros((3, 2, 3)), width=0)


@pytest.mark.parametrize("function", [lambda z: ctc_loss(z, [[1]]), ctc_greedy, ctc_beam])
def test_logits_that_are_none_are_refused(function: Any) -> None:
    with pytest.raises(
        ValueError, match=r"logits must be \(T, B, C\): steps, rows, at least one class; got shape \(4, 3\)"
    ):
        function(np.zeros((4, 3)))
    with pytest.raises(ValueError, match=r"logits must be \(T, B, C\).*; got shape \(4, 1, 0\)"):
        function(np.zeros((4, 1, 0)))
    with pytest.raises(ValueError, match="logits must be floats; got int64"):
        function(np.zeros((4, 1, 3), int))
    with pytest.raises(TypeError, match="logits must be an array; got list"):
        function([[[0.0, 1.0]]])


def test_no_rows_have_no_labels() -> None:
    assert [ctc_greedy(np.zeros((4, 0, 3))), ctc_beam(np.zeros((4, 0, 3)))] == [[], []]


def test_logits_on_a_device_have_the_same_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", strict_cupy)
    monkeypatch.setitem(CUPY.__dict__, "xp", strict_cupy)
    logits, lengths = np.random.default_rng(0).normal(size=(7, 4, 5)), [7, 0, 3, 5]
    there: Any = strict_cupy.asarray(logits)
    assert ctc_greedy(there, lengths) == ctc_greedy(logits, lengths)
    assert ctc_beam(there, lengths) == ctc_beam(logits, lengths)


# ---------------------------------------------------------------------- learning


def spoken(rng: np.random.Generator, patterns: Array) -> tuple[Array, list[int]]:
    """A few words, each a run of noisy copies of its pattern, of no fixed length, with silence between."""
    words = rng.integers(1, len(patterns), rng.integers(1, 5)).tolist()
    runs = [patterns[[word] * rng.integers(2, 5) + [0] * rng.integers(1, 3)] for word in words]
    sounds = np.concatenate(runs)
    return (sounds + rng.normal(0, 0.2, sounds.shape)).astype("float32"), words


def test_a_small_recogniser_learns_to_read_without_a_mistake() -> None:
    rng = np.random.default_rng(0)
    patterns = rng.normal(size=(5, 6))
    patterns[0] = 0
    model = Sequential(GRU(6, 16, bidirectional=True), Linear(32, 5)).init(seed=0, backend="numpy")
    adam = Adam(model, lr=0.02, clip=5.0)
    for _ in range(150):
        sounds, words = zip(*(spoken(rng, patterns) for _ in range(16)), strict=True)
        x, lengths = pad(sounds)
        logits, _, backward = model.forward(x, lengths=lengths)
        _, dlogits = ctc_loss(logits, list(words), lengths)
        backward(dlogits)
        adam.step()
    sounds, words = zip(*(spoken(rng, patterns) for _ in range(50)), strict=True)
    x, lengths = pad(sounds)
    logits, _ = model(x, lengths=lengths)
    assert ctc_greedy(logits, lengths) == list(words)
    assert [best[0][0] for best in ctc_beam(logits, lengths, width=4)] == list(words)

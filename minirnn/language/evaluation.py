"""How well a language model predicts a text: read whole, or estimated from a fixed sample with its standard error."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.layer import Layer, check_size
from minirnn.language.text import Text, TextError, Vocabulary
from minirnn.layers.losses import cross_entropy

MASK_RATE = 0.15  # of characters masked while learning to fill (Devlin et al. 2019, arXiv 1810.04805, section 3.1)
WINDOW = 256  # steps that one inference pass computes at a time
PIECE = 2048  # characters of each piece of a sample
SAMPLE = 256 * PIECE  # characters of the sample that ``minirnn`` takes of a text that is longer


class Predictor(Protocol):
    """A model that can be evaluated: a ``LanguageModel``."""

    @property
    def network(self) -> Layer: ...
    @property
    def vocab(self) -> Vocabulary: ...
    @property
    def task(self) -> str: ...


@dataclass(frozen=True)
class Evaluation:
    """The mean ``loss`` in nats a character, over ``characters`` of the text, and its ``standard_error``.

    That is 0.0 where the whole text was read.
    """

    loss: float
    standard_error: float
    characters: int

    @property
    def perplexity(self) -> float:
        """exp of the loss."""
        with np.errstate(over="ignore"):
            return float(np.exp(self.loss))

    @property
    def margin(self) -> float:
        """The standard error of the perplexity, to first order."""
        return self.perplexity * self.standard_error if self.standard_error else 0.0


@dataclass(frozen=True, eq=False)
class Rows:
    """Stretches read side by side: from ``starts`` (B,) ``lengths`` characters, the first ``skip`` not counted."""

    starts: Array
    lengths: Array
    skip: Array


def evaluate(
    lm: Predictor,
    text: Text,
    *,
    most: int | None = None,
    batch_size: int = 32,
    progress: Callable[[float], object] = lambda _: None,
) -> Evaluation:
    """Read ``text``, or a sample of about ``most`` characters where it is longer than that.

    The whole text is read as ``batch_size`` rows, each from the zero state.  A sample has a piece of 2,048 characters
    from each of as many equal stretches of the text, always the same one; before a piece, 256 characters are read that
    do not count.  The standard error is that of pieces drawn at random.

    To fill, characters masked at random (always the same ones) are to be restored, given the rest of their window.
    ``progress`` is told how much is done, up to 1.
    """
    if not isinstance(text, Text):
        raise TypeError(f"perplexity takes a Text; got {type(text).__name__}")
    if text.vocab != lm.vocab:
        raise ValueError("the text must be in the model's vocabulary: Text.from_string(..., vocab=lm.vocab)")
    check_size("batch_size", batch_size)
    if len(text) < 2:
        raise TextError(f"perplexity takes a text of at least 2 characters; got {len(text)}")
    if most is not None and most < 2 * PIECE:
        raise ValueError(f"a sample has at least two pieces, {2 * PIECE} characters; got {most}")
    whole = most is None or len(text) - 1 <= most
    batches = [_all(text, batch_size)] if whole else _sample(lm, text, most or 0, batch_size)
    windows = sum(-(-int(rows.lengths.max()) // WINDOW) for rows in batches)
    done, rng = count(1), np.random.default_rng(0)
    sums: list[Array] = []
    counted: list[Array] = []

    def tick() -> None:
        progress(min(1.0, next(done) / windows))

    with np.errstate(over="ignore", invalid="ignore"):  # a diverged model has perplexity inf or NaN
        for rows in batches:
            losses, counts = _read(lm, text, rows, rng, tick, apart=not whole)
            if not counts.any():  # a text so short that nothing was masked, or padding only
                losses, counts = _read(lm, text, rows, rng, tick, apart=not whole, force=True)
            sums.append(losses)
            counted.append(counts)
        total, n = np.concatenate(sums), np.concatenate(counted)
        loss = float(total.sum() / n.sum())
        if whole:
            return Evaluation(loss, 0.0, int(n.sum()))
        # of a ratio of sums over pieces, drawn without replacement (Cochran 1977, Sampling Techniques, section 6.4)
        left = total - loss * n
        share = min(1.0, n.sum() / (len(text) - 1)) if lm.task == "next" else 0.0
        variance = (1 - share) * (left @ left) / (len(n) - 1) * len(n) / n.sum() ** 2
        return Evaluation(loss, float(np.sqrt(variance)), int(n.sum()))


def _all(text: Text, batch_size: int) -> Rows:
    """The whole text, cut into rows of about the same length."""
    rows = min(batch_size, len(text) - 1)
    cuts = np.linspace(0, len(text) - 1, rows + 1).astype(int)
    return Rows(cuts[:-1], np.diff(cuts), np.zeros(rows, int))


def _sample(lm: Predictor, text: Text, most: int, batch_size: int) -> list[Rows]:
    """Pieces of the text, one from each of as many stretches, ``batch_size`` of them read side by side."""
    pieces = most // PIECE
    cuts = np.linspace(0, len(text) - 1, pieces + 1).astype(int)
    begins = cuts[:-1] + np.random.default_rng(1).integers(0, np.diff(cuts) - PIECE + 1)
    before = np.minimum(begins, WINDOW if lm.task == "next" else 0)
    starts, lengths = begins - before, before + PIECE
    parts = [slice(k, k + batch_size) for k in range(0, pieces, batch_size)]
    return [Rows(starts[part], lengths[part], before[part]) for part in parts]


def _read(
    lm: Predictor,
    text: Text,
    rows: Rows,
    rng: "np.random.Generator",
    tick: Callable[[], None],
    *,
    apart: bool,
    force: bool = False,
) -> tuple[Array, Array]:
    """Sums of losses and how many they are of: for each row where ``apart``, else for all together.

    With ``force`` a first character is masked whatever ``rng`` says.
    """
    groups = [slice(b, b + 1) for b in range(len(rows.starts))] if apart else [slice(None)]
    totals: list[Any] = [0.0] * len(groups)
    counted = np.zeros(len(groups), int)
    state = None
    for t in range(0, int(rows.lengths.max()), WINDOW):
        step = np.arange(t, min(t + WINDOW, int(rows.lengths.max())))[:, None]
        valid = step < rows.lengths
        place = np.where(valid, rows.starts + step, 0)
        x, y = (np.where(valid, text.indices[place + k], 0).astype(np.int64) for k in (0, 1))
        counts = valid & (step >= rows.skip)
        if lm.task == "fill":
            hidden = rng.random(x.shape) < MASK_RATE
            hidden[0, 0] |= force and t == 0
            x, y, state = np.where(hidden, len(lm.vocab), x), x, None
            counts &= hidden
        logits, state = lm.network(x, state, lengths=np.clip(rows.lengths - t, 0, len(x)))
        logits = logits.astype(np.result_type(logits.dtype, np.float32), copy=False)  # float16 sums badly
        for k, part in enumerate(groups):
            n = int(counts[:, part].sum())
            if n:
                loss, _ = cross_entropy(logits[:, part], y[:, part], counts[:, part])
                totals[k] = totals[k] + loss.astype("float64") * n  # on a GPU it stays there
                counted[k] += n
        tick()
    return np.array([float(total) for total in totals]), counted

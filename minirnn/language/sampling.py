"""Choosing the next symbol from its logits: greedy, temperature, top-k, top-p."""

import numpy as np

from minirnn.core.backend import Array, namespace
from minirnn.core.layer import check_size
from minirnn.core.run import State
from minirnn.core.tree import rebuilt


def log_softmax(logits: Array) -> Array:
    """log softmax over the last axis, float64."""
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    out: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return out


def distribution(
    logits: Array, *, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Array:
    """Probabilities (V,) to draw from.

    ``temperature`` divides the logits; 0 puts everything on the largest.  ``top_k`` keeps the k likeliest symbols;
    ``top_p`` then keeps the fewest whose probabilities sum to at least p (Holtzman et al. 2020, arXiv 1904.09751).
    """
    logits = np.asarray(logits, np.float64)
    largest = logits.max()
    if not np.isfinite(largest):  # -inf elsewhere is a symbol ruled out
        raise ArithmeticError("the model's logits are not finite: its weights have diverged")
    V = logits.shape[-1]
    if temperature == 0:
        p: Array = np.zeros(V)
        p[int(np.argmax(logits))] = 1
        return p
    with np.errstate(over="ignore"):  # near temperature 0 all but the largest become -inf, as they should
        log_p = log_softmax((logits - largest) / temperature)
    order = np.argsort(-log_p, kind="stable")
    keep = V if top_k is None else min(top_k, V)
    p = np.zeros(V)
    p[order[:keep]] = np.exp(log_p[order[:keep]])
    p /= p.sum()
    if top_p is not None:
        before = np.cumsum(p[order]) - p[order]
        p[order[before >= top_p]] = 0
        p /= p.sum()
    return p


def check_sampling(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Raise ValueError for what ``distribution`` cannot use."""
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature must be a number of at least 0; got {temperature}")
    if top_k is not None:
        check_size("top_k", top_k)
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1; got {top_p}")


def take_rows(state: State, rows: Array) -> State:
    """A state with batch rows chosen by index, whatever its structure; the batch is the second axis of each array."""
    return rebuilt(state, lambda a: a[:, namespace(a).asarray(rows)])

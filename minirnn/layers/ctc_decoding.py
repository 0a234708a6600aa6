"""Labels from the logits of connectionist temporal classification: the likeliest path, and prefix beam search."""

from collections.abc import Callable
from typing import Any

import numpy as np

from minirnn.core.backend import Array, maker
from minirnn.core.layer import check_size
from minirnn.core.lengths import check_lengths
from minirnn.layers.ctc import check_classes
from minirnn.layers.losses import namespace_of

Labelling = tuple[int, ...]
Score = Callable[[Labelling, int], float]


def ctc_greedy(logits: Array, lengths: Any = None, *, blank: int = 0) -> list[list[int]]:
    """The labels of each row's likeliest path: the largest logit of every step, without repeats and blanks.

    ``logits`` (T, B, C) and ``lengths`` are those of ``ctc_loss``.  Other paths may add up to a likelier labelling,
    which ``ctc_beam`` looks for.  Raises ArithmeticError where a step's largest logit is not finite.
    """
    steps = _steps(logits, lengths, blank)
    best, highest = (maker(logits).host(a) for a in (logits.real.argmax(axis=2), logits.real.max(axis=2)))
    labels = []
    for b, T in enumerate(steps):
        _check_finite(highest[:T, b])
        path = best[:T, b]
        starts = np.append(True, path[1:] != path[:-1])[:T]  # where a run of equals begins
        labels.append(path[starts & (path != blank)].tolist())
    return labels


def ctc_beam(
    logits: Array, lengths: Any = None, *, width: int = 10, blank: int = 0, score: Score | None = None
) -> list[list[tuple[list[int], float]]]:
    """Prefix beam search: for each row up to ``width`` labellings with their log-probabilities, best first.

    After t steps, p(l) of a prefix l is the probability of all paths that are l: those that end with the blank, b(l),
    and those that end with its last label, n(l).  With y the softmax of a step, k a label, and lk the prefix l and k,

        b'(l) = (b(l) + n(l)) y(blank)                                     (1)
        n'(l) = n(l) y(last of l)                                          (2)
        n'(lk) += (b(l) + n(l) if k is not the last of l, else b(l)) y(k)  (3)

    and the ``width`` likeliest prefixes go on (Hannun et al. 2014, arXiv 1408.2873).  Where none was left out, the
    first labelling is the likeliest there is, and its log p is -``ctc_loss``; else log p is a lower bound of that.

    ``logits`` (T, B, C) and ``lengths`` are those of ``ctc_loss``; all is computed in float64.  ``score(l, k)``, if it
    is given, is what a language model adds to log p where l, a tuple, becomes lk; -inf forbids it.  It is called at
    each step for all prefixes that go on and all labels, and the log-probabilities that are returned include it.
    Raises ArithmeticError where a step's largest logit is not finite.
    """
    steps = _steps(logits, lengths, blank)
    width, rows = check_size("width", width), maker(logits).host(logits).real.astype(np.float64)
    return [_searched(rows[:T, b], width, blank, score) for b, T in enumerate(steps)]


def _searched(logits: Array, width: int, blank: int, score: Score | None) -> list[tuple[list[int], float]]:
    """The labellings of one row, (T, C)."""
    _check_finite(logits.max(axis=1))
    prefixes: list[Labelling] = [()]
    log_b, log_n = np.zeros(1), np.full(1, -np.inf)
    with np.errstate(divide="ignore"):  # log 0 is -inf
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_y = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    for y in log_y:
        place = {prefix: i for i, prefix in enumerate(prefixes)}
        W, both = len(prefixes), np.logaddexp(log_b, log_n)
        last = np.array([prefix[-1] if prefix else blank for prefix in prefixes])
        longer = both[:, None] + y  # (W, C)
        longer[np.arange(W), last] = log_b + y[last]  # (3)
        if score is not None:
            longer += [[0.0 if k == blank else score(prefix, k) for k in range(len(y))] for prefix in prefixes]
        longer[:, blank] = -np.inf
        stay_b, stay_n = both + y[blank], log_n + y[last]  # (1) (2)
        for j, prefix in enumerate(prefixes):
            i = place.get(prefix[:-1]) if prefix else None
            if i is not None:  # a prefix that another becomes
                stay_n[j] = np.logaddexp(stay_n[j], longer[i, prefix[-1]])  # (3)
                longer[i, prefix[-1]] = -np.inf
        chosen = _likeliest(np.append(np.logaddexp(stay_b, stay_n), longer), width)
        if not chosen.size:  # score and logits of -inf have ruled out everything
            return []
        parents, labels = np.divmod(chosen - W, len(y))
        log_b = np.array([stay_b[c] if c < W else -np.inf for c in chosen])
        log_n = np.array([stay_n[c] if c < W else longer.flat[c - W] for c in chosen])
        prefixes = [
            prefixes[c] if c < W else (*prefixes[i], int(k)) for c, i, k in zip(chosen, parents, labels, strict=True)
        ]
    log_p = np.logaddexp(log_b, log_n).tolist()
    return [(list(prefix), p) for prefix, p in zip(prefixes, log_p, strict=True)]


def _likeliest(log_p: Array, count: int) -> Array:
    """The places of the ``count`` largest numbers, in order, without those that are -inf."""
    places = np.arange(len(log_p))
    if count < len(log_p):
        places = np.sort(np.argpartition(-log_p, count - 1)[:count])
    places = places[log_p[places] > -np.inf]
    ordered: Array = places[np.argsort(-log_p[places], kind="stable")]
    return ordered


def _steps(logits: Array, lengths: Any, blank: int) -> list[int]:
    """The number of steps of each row."""
    namespace_of("logits", logits)
    T, B, _ = check_classes(logits, blank)
    steps: list[int] = (np.full(B, T) if lengths is None else check_lengths(lengths, T, B)).tolist()
    return steps


def _check_finite(highest: Array) -> None:
    if not np.isfinite(highest).all():  # -inf elsewhere is a label ruled out
        raise ArithmeticError("the model's logits are not finite: its weights have diverged")

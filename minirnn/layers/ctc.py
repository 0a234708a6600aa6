"""Connectionist temporal classification: a loss over labels in their order, without their places in time."""

from typing import Any, Literal

import numpy as np

from minirnn.core.backend import Array, check_indices, maker, on_host
from minirnn.core.lengths import check_lengths
from minirnn.layers.losses import namespace_of

REDUCTIONS = ("mean", "sum", "none")
IMPOSSIBLE = ("error", "inf", "zero")
PAST = 2  # columns of -inf beside the states, so that s - 1 and s - 2, or s + 1 and s + 2, are columns at every s


def ctc_loss(
    logits: Array,
    targets: Any,
    lengths: Any = None,
    target_lengths: Any = None,
    *,
    blank: int = 0,
    reduction: Literal["mean", "sum", "none"] = "mean",
    impossible: Literal["error", "inf", "zero"] = "error",
) -> tuple[Any, Array]:
    """-log of the probability that labels are read in this order, and its gradient (Graves et al. 2006, ICML).

    ``logits`` are (T, B, C), the C classes being labels and the blank.  ``lengths`` (B) says how many steps each row
    has, all T where it is None; what stands past them is never read, and its gradient is 0.  ``targets`` are B
    sequences of integers, or an array (B, S) of which ``target_lengths`` (B) says how much counts.  A target may be
    empty, and never holds the blank.  Targets and lengths are on the host, wherever the logits are.

    A path is a class for each step.  Without its repeats, and then without its blanks, it is a labelling: a-ab and
    -aa-abb are both aab, if - is the blank.  The loss is of all paths that are the target.  With l the target, a blank
    before, between and after its labels, L = 2 S + 1 entries, and x the logits of one row,

        y[t] = softmax(x[t])                                                                          (1)
        α[0](s) = 1 at s = 0, else 0                                                                  (2)
        α[t+1](s) = y[t](l(s)) (α[t](s) + α[t](s-1) + α[t](s-2) if l(s) is neither blank nor l(s-2))  (3)
        p = α[T](L-1) + α[T](L-2)                                                                     (4)
        loss = -log p                                                                                 (5)

    α[t](s) is the probability of all ways to have read l up to s in t steps.  (3) and (4) are linear in α.
    So β[t](s) = ∂p/∂α[t](s) follows from the last step to the first, where l(s+2) may be reached from l(s) as
    above:

        β[T](s) = 1 at s = L-1 and s = L-2, else 0                                                    (4)
        β[t](s) = Σ y[t](l(r)) β[t+1](r) over r = s, s+1, and s+2 where it may be reached             (3)

    By (3), y[t](k) is a factor of α[t+1](s) wherever l(s) = k.  Hence ∂p/∂log y[t](k) is the sum of α[t+1](s) β[t+1](s)
    over those s.  Over all s that is p, at each t.  The softmax sends back dx[k] = dlog y[k] - y[k] Σ dlog y, thus

        γ[t](s) = α[t+1](s) β[t+1](s) / Σ α[t+1] β[t+1]                                               (6)
        dlogits[t](k) = y[t](k) - Σ γ[t](s) over s with l(s) = k                                      (7)

    All of α and β are logarithms, and each step's are shifted so that the largest is 0: they stay small, and so keep
    their digits, over thousands of steps.  (6) needs no shift back.

    ``reduction`` has torch's words and meanings: "mean" divides each row's loss by its target's length (at least 1)
    and takes the mean over rows, "sum" adds rows up, "none" returns losses (B), and each row the gradient of its own.
    torch's function takes log-probabilities; they may be given here as logits, since their softmax is y.

    A row needs a step a label, and one more between two that are equal.  Where it has fewer, ``impossible`` decides:
    "error" is a ValueError before anything is computed, "inf" an infinite loss, "zero" (torch's ``zero_infinity``) a
    loss of 0; the row's gradient is then 0.  "error" and "inf" give the same to a row that logits of -inf rule out.

    The loss and ``dlogits`` (T, B, C) have the logits' dtype, of floats or complex numbers; both are computed in double
    precision.  ValueError and TypeError
    say what else does not fit.
    """
    xp = namespace_of("logits", logits)
    T, B, C = check_classes(logits, blank)
    _check_word("reduction", reduction, REDUCTIONS)
    _check_word("impossible", impossible, IMPOSSIBLE)
    if B == 0:
        raise ValueError("ctc_loss expects at least one row; got none")
    steps = np.full(B, T) if lengths is None else check_lengths(lengths, T, B)
    labels, sizes = _padded(targets, target_lengths, logits.shape, blank)
    if impossible == "error":
        _check_possible(labels, sizes, steps)
    extended, inside, reached, final = _states(labels, sizes, blank)

    dtype, logits = logits.dtype, logits.astype(np.result_type(logits.dtype, np.float64))
    floats, zero, never = logits.real.dtype, logits.dtype.type(0), logits.dtype.type(-np.inf)
    barred, end = (xp.asarray(np.where(a, 0, -np.inf).astype(floats)) for a in (reached, final))
    live, rows, last, columns = (xp.asarray(a) for a in (np.arange(T)[:, None] < steps, np.arange(B), steps, 2 * sizes))
    x = xp.where(live[:, :, None], logits, zero)  # what does not count may be NaN
    with np.errstate(over="ignore", divide="ignore"):  # further apart than the dtype reaches: -inf; log 0 is -inf
        shifted = x - x.real.max(axis=2, keepdims=True)
        y = xp.exp(shifted)
        total = y.sum(axis=2, keepdims=True)
        y /= total  # (1)
        log_y = xp.take_along_axis(shifted, xp.asarray(extended)[None], 2) - xp.log(total)
        log_y = xp.where(xp.asarray(inside), log_y, never)  # (T, B, L)
        log_a, shifts = _forward(xp, log_y, barred)
        ends = _log_sum(xp, *(log_a[last, rows, columns + k] for k in (PAST, PAST - 1)))
        shifted_by = xp.where(live, shifts, floats.type(0)).sum(axis=0)
        losses = -(ends + shifted_by)  # (4) (5)
        _backward(xp, log_a, log_y, barred, end, last)

    log_ab = log_a[1:, :, PAST:]
    gamma = xp.exp(log_ab - _largest(xp, log_ab))
    total = gamma.sum(axis=2, keepdims=True)
    gamma /= xp.where(total == 0, logits.dtype.type(1), total)  # (6)
    taken = xp.zeros((B * C, T), logits.dtype)
    places = xp.asarray((np.arange(B)[:, None] * C + extended).ravel())
    maker(logits).add_rows(taken, places, gamma.reshape(T, extended.size).T)
    dlogits = y - taken.T.reshape(T, B, C)  # (7)

    possible = losses.real != np.inf
    if impossible == "zero":
        losses = xp.where(possible, losses, zero)
    dlogits = xp.where((live & possible)[:, :, None], dlogits, zero)
    if reduction == "mean":
        share = xp.asarray(1 / (B * np.maximum(1, sizes)))
        losses, dlogits = losses * share, dlogits * share[:, None]
    loss = losses if reduction == "none" else losses.sum()
    with np.errstate(over="ignore"):  # a loss that the dtype cannot hold is inf
        return loss.astype(dtype), dlogits.astype(dtype)


def _forward(xp: Any, log_y: Array, barred: Array) -> tuple[Array, Array]:
    """log α (T + 1, B, 2 + L), of which two columns stand before s = 0, and what was subtracted from each step's."""
    T, B, L = log_y.shape
    log_a = xp.full((T + 1, B, PAST + L), -np.inf, log_y.dtype)
    log_a[0, :, PAST] = 0  # (2)
    shifts = xp.zeros((T, B), log_y.real.dtype)
    for t in range(T):
        a = log_a[t]
        a = _log_sum(xp, a[:, 2:], a[:, 1:-1], a[:, :-2] + barred) + log_y[t]  # (3)
        shift = _largest(xp, a)
        log_a[t + 1, :, PAST:] = a - shift
        shifts[t] = shift[:, 0]
    return log_a, shifts


def _backward(xp: Any, log_a: Array, log_y: Array, barred: Array, end: Array, last: Array) -> None:
    """Add log β to log α, but for a number a step and row.  ``end`` is a row's log β at its ``last`` step."""
    T, B, L = log_y.shape
    ahead = xp.full((B, L + PAST), -np.inf, log_y.dtype)
    skips = xp.full((B, L), -np.inf, barred.dtype)
    skips[:, :-2] = barred[:, 2:]
    log_b = end
    for t in reversed(range(T)):
        log_b = xp.where((last == t + 1)[:, None], end, log_b)  # (4)
        log_a[t + 1, :, PAST:] += log_b
        ahead[:, :L] = log_b + log_y[t]
        b = _log_sum(xp, ahead[:, :-2], ahead[:, 1:-1], ahead[:, 2:] + skips)  # (3)
        log_b = b - _largest(xp, b)


def _log_sum(xp: Any, *terms: Array) -> Array:
    """log Σ exp of its arguments, of which all may be -inf; shifted by the largest real part."""
    largest = terms[0].real
    for term in terms[1:]:
        largest = xp.maximum(largest, term.real)
    largest = _finite(xp, largest)
    total = xp.exp(terms[0] - largest)
    for term in terms[1:]:
        total += xp.exp(term - largest)
    logs: Array = xp.log(total) + largest
    return logs


def _largest(xp: Any, a: Array) -> Array:
    """The largest real part over the last axis, which is kept, and 0 where that is -inf."""
    return _finite(xp, a.real.max(axis=-1, keepdims=True))


def _finite(xp: Any, a: Array) -> Array:
    """Real numbers with 0 in place of -inf, from which -inf cannot be subtracted."""
    finite: Array = xp.where(a == -np.inf, a.dtype.type(0), a)
    return finite


def _states(labels: Array, sizes: Array, blank: int) -> tuple[Array, Array, Array, Array]:
    """Arrays (B, L): l, whether s is in l, whether s is reached from s - 2, and whether a path may end at s."""
    B, S = labels.shape
    extended = np.full((B, 2 * S + 1), blank)
    extended[:, 1::2] = labels
    reached = np.zeros(extended.shape, bool)
    reached[:, 3::2] = labels[:, 1:] != labels[:, :-1]
    s, L = np.arange(2 * S + 1), 2 * sizes[:, None] + 1
    return extended, s < L, reached, (s < L) & (s >= L - 2)


def _padded(targets: Any, sizes: Any, shape: tuple[int, ...], blank: int) -> tuple[Array, Array]:
    """Labels (B, S), blanks after each row's end, and how many each row has, (B)."""
    T, B, C = shape
    if not (on_host(targets) and on_host(sizes)):
        raise TypeError("targets and target_lengths must be on the host, where they are checked; got one on a device")
    if sizes is None and isinstance(targets, (list, tuple)):
        sequences = [_integers(f"targets[{b}]", target, 1) for b, target in enumerate(targets)]
        sizes = np.array([len(target) for target in sequences], np.int64)
        labels = np.full((len(sequences), max(sizes, default=0)), blank)
        for b, target in enumerate(sequences):
            labels[b, : len(target)] = target
    else:
        labels = _integers("targets", targets, 2)
    if len(labels) != B:
        also = ": time and batch are exchanged" if len(labels) == T else ""
        raise ValueError(f"targets must be {B} sequences, one for each row of logits {shape}; got {len(labels)}{also}")
    S = labels.shape[1]
    sizes = np.full(B, S) if sizes is None else _integers("target_lengths", sizes, 1)
    if sizes.shape != (B,):
        raise ValueError(f"target_lengths must be {B} integers, one a row; got {len(sizes)}")
    if sizes.min() < 0 or sizes.max() > S:
        wrong = int(sizes.min() if sizes.min() < 0 else sizes.max())
        raise ValueError(f"target_lengths must be from 0 to {S}, the width of targets; got {wrong}")
    counts = np.arange(S) < sizes[:, None]
    check_indices("targets", labels[counts], C)
    holding = ((labels == blank) & counts).any(axis=1)
    if holding.any():
        raise ValueError(f"targets must not hold the blank, {blank}; got one in row {int(holding.argmax())}")
    return np.where(counts, labels, blank).astype(np.int64), sizes.astype(np.int64)


def _integers(what: str, values: Any, ndim: int) -> Array:
    try:
        array: Array = np.asarray(values)
    except ValueError:
        raise ValueError(f"{what} must be one rectangular array of integers; got ragged nested lists") from None
    if array.size == 0 and not hasattr(values, "dtype"):
        array = array.astype(np.int64)  # of an empty list NumPy makes floats
    if array.dtype.kind not in "iu" or array.ndim != ndim:
        axes = "1 axis" if ndim == 1 else f"{ndim} axes"
        raise ValueError(f"{what} must be integers with {axes}; got {array.dtype} of shape {array.shape}")
    return array


def check_classes(logits: Array, blank: int) -> tuple[int, int, int]:
    """The sizes T, B and C of logits, of which ``blank`` is a class."""
    if logits.ndim != 3 or logits.shape[2] == 0:
        raise ValueError(f"logits must be (T, B, C): steps, rows, at least one class; got shape {logits.shape}")
    T, B, C = logits.shape
    if isinstance(blank, bool) or not isinstance(blank, (int, np.integer)) or not 0 <= blank < C:
        raise ValueError(f"blank must be an integer from 0 to {C - 1}, one of the classes; got {blank!r}")
    return T, B, C


def _check_word(what: str, word: str, words: tuple[str, ...]) -> None:
    if word not in words:
        raise ValueError(f"{what} must be one of {', '.join(words)}; got {word!r}")


def _check_possible(labels: Array, sizes: Array, steps: Array) -> None:
    equal = (labels[:, 1:] == labels[:, :-1]) & (np.arange(1, labels.shape[1]) < sizes[:, None])
    needed = sizes + equal.sum(axis=1)
    if (steps < needed).any():
        b = int((steps < needed).argmax())
        raise ValueError(
            f"row {b} needs {needed[b]} steps for its target, one a label and one between two that are equal; "
            f"got {steps[b]} (impossible='inf' or 'zero' computes the other rows)"
        )

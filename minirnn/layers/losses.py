"""Losses: each returns the loss, a scalar, and its gradient with respect to its first argument."""

from typing import Any

import numpy as np

from minirnn.core.backend import Array, check_indices, converted, maker, namespace, on_host, takes
from minirnn.core.edge import exchanged


def cross_entropy(logits: Array, targets: Any, mask: Any = None, *, total: int | None = None) -> tuple[Any, Array]:
    """Mean of -log softmax(logits)[target], and its gradient.

    ``logits`` (..., V), ``targets`` (...) integers from 0 to V - 1, ``mask`` (...) booleans, True where the loss
    counts: elsewhere the target may be anything and the gradient is 0.  With y = softmax(logits) and N positions that
    count, or N = ``total`` where these logits are some of a larger batch's,

        loss = -1/N Σ log y[target]           (1)
        dlogits = (y - onehot(target)) / N    (2)

    The softmax is shifted by the largest logit's real part, so that neither large nor complex logits disturb it.
    """
    xp = namespace_of("logits", logits)
    V, looked_at = logits.shape[-1], on_host(targets) and on_host(mask)
    lib = np if looked_at else xp  # what is on a device stays there, unchecked: to look at it would be to wait for it
    targets = _integers(lib, targets)
    _check_shape("targets must have shape {}, logits' without the last", targets, logits.shape[:-1])
    counts = None if mask is None else _mask(lib, mask, targets.shape)
    count: Any = targets.size if counts is None else counts.sum()
    N = count if total is None else total
    if counts is not None:
        targets = lib.where(counts, targets, 0)
    if looked_at:
        if N == 0:
            raise ValueError("cross_entropy expects at least one position that counts; got none")
        check_indices("targets", targets, V)
        targets, counts = xp.asarray(targets), None if counts is None else xp.asarray(counts)
        N = int(N)
    flat = logits.reshape(-1, V)
    fused = maker(logits).fused("cross_entropy") if counts is None and flat.flags.c_contiguous else None
    if fused:
        losses, dlogits = fused(flat, xp.ascontiguousarray(targets.reshape(-1), xp.int64), 1 / N)
        return losses.sum() / N, dlogits.reshape(logits.shape)
    if counts is not None:  # what does not count may be NaN
        flat = xp.where(counts.reshape(-1, 1), flat, flat.dtype.type(0))
    place = (xp.arange(len(flat)), targets.reshape(-1))
    with np.errstate(over="ignore"):  # further apart than the dtype reaches: -inf, whose exp is 0
        shifted = flat - flat.real.max(axis=1, keepdims=True)
    dlogits = xp.exp(shifted)
    sums = dlogits.sum(axis=1, keepdims=True)
    losses = xp.log(sums[:, 0]) - shifted[place]  # (1)
    dlogits /= sums
    dlogits[place] -= 1  # (2)
    dlogits /= N
    if counts is not None:
        zero = dlogits.dtype.type(0)
        losses = xp.where(counts.reshape(-1), losses, zero)
        dlogits = xp.where(counts.reshape(-1, 1), dlogits, zero)
    return (losses.sum() / N).astype(losses.dtype), dlogits.reshape(logits.shape)  # N may be an array


def mse(y: Array, target: Any, mask: Any = None) -> tuple[Any, Array]:
    """Mean of (y - target)² over all entries, and its gradient 2 (y - target) / N.

    ``target`` has y's shape.  ``mask`` (y's leading axes, booleans): True where the entries count; elsewhere the
    gradient is 0.
    """
    xp = namespace_of("y", y)
    target = xp.asarray(target)
    _check_shape("target must have the shape of y, {}", target, y.shape)
    if not np.can_cast(target.dtype, y.dtype, "same_kind"):
        raise ValueError(f"target must be real numbers, as y is; got {target.dtype}")
    difference = y - target
    N = y.size
    if mask is not None:
        ndim = mask.ndim if hasattr(mask, "ndim") else np.ndim(mask)
        lib = np if on_host(mask) else xp
        counts = _mask(lib, mask, y.shape[:ndim])
        counts = counts.reshape(counts.shape + (1,) * (y.ndim - ndim))
        N = counts.sum() * (y.size // max(1, counts.size))
        N, counts = int(N) if lib is np else N, xp.asarray(counts)
        difference = xp.where(counts, difference, difference.dtype.type(0))
    if isinstance(N, int) and N == 0:
        raise ValueError("mse expects at least one entry that counts; got none")
    difference = converted("target", difference, y.dtype)
    loss, dy = (difference * difference).sum() / N, difference * (2 / N)
    return loss.astype(y.dtype), dy.astype(y.dtype, copy=False)  # N may be an array


def _check_shape(words: str, a: Array, shape: tuple[int, ...]) -> None:
    if a.shape != shape:
        also = ": time and batch are exchanged (a call with batch_first=True gives y with the batch first)"
        also = also if exchanged(a.shape) == shape else ""
        raise ValueError(f"{words.format(shape)}; got {a.shape}{also}")


def namespace_of(what: str, a: Any) -> Any:
    """The library that ``a``, an array of real or complex numbers, belongs to, as the array itself says."""
    if on_host(a) and not isinstance(a, (np.ndarray, np.generic)):
        raise TypeError(f"{what} must be an array; got {type(a).__name__}")
    if a.dtype.kind not in "fc":
        raise ValueError(f"{what} must be floats; got {a.dtype}")
    return namespace(a)


def _integers(xp: Any, targets: Any) -> Array:
    try:
        array: Array = xp.asarray(targets)
    except ValueError:
        raise ValueError("targets must be one rectangular array of integers; got ragged nested lists") from None
    if array.dtype.kind not in "iu":
        raise ValueError(f"targets must be integers; got {array.dtype}")
    return array


def _mask(xp: Any, mask: Any, shape: tuple[int, ...]) -> Array:
    array: Array = np.asarray(mask) if on_host(mask) else mask
    numbers = array.dtype.kind in "iu" or takes(np.dtype(np.float64), array.dtype)
    if numbers and (not on_host(array) or bool(((array == 0) | (array == 1)).all())):
        array = array.astype(bool)  # numbers on a device are taken as they are: 0 is False
    if array.dtype.kind != "b" or array.shape != shape:
        raise ValueError(f"mask must be booleans, or 0 and 1, of shape {shape}; got {array.dtype} of {array.shape}")
    admitted: Array = xp.asarray(array)
    return admitted

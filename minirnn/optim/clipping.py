"""The norm of a model's gradients, and clipping: a few lines each, over the flat vector of gradients."""

from math import isfinite
from typing import Any

from minirnn.core.layer import Layer
from minirnn.optim.checks import above_0
from minirnn.optim.on_device import NonFiniteGradientError, Norm, decide


def check_still_whole(model: Layer) -> None:
    """Raise ValueError where a model has lost a layer to another, or has become part of one, since it was checked."""
    if model.prefix or model.bound.parted:
        model.check_whole("the gradients' norm")


def grad_norm(model: Layer) -> float:
    """The Euclidean norm of all gradients that are not frozen, as one vector.

    Raises NonFiniteGradientError where it is not finite.  Scaled by the largest entry, so that no square overflows; on
    a GPU, for which it waits, squares are added in float64.
    """
    check_still_whole(model)
    backend, parts = model.bound.backend, [model.grads[s] for s in model.bound.trainable()]
    xp, fused = backend.xp, backend.fused("norm")
    if backend.on_device:
        norm = float(decide(backend, parts, 0.0, 1, xp.zeros((), "int64"))[0])
        if not isfinite(norm):
            raise NonFiniteGradientError(_blame(model))
        return norm
    if fused:
        norms = [fused(g) for g in parts]
        if None not in norms:
            return float(sum(norm**2 for norm in norms) ** 0.5)
    peaks = [float(xp.abs(g).max()) for g in parts]
    if not all(isfinite(peak) for peak in peaks):
        raise NonFiniteGradientError(_blame(model))
    largest = max(peaks, default=0.0)
    if largest == 0:
        return 0.0
    squares = sum(float(xp.linalg.norm(g / largest)) ** 2 for g in parts)
    return float(largest * squares**0.5)


def clip_grad_norm(model: Layer, max_norm: float) -> Any:
    """Scale all gradients so that their global norm is at most ``max_norm``; returns the norm they had.

    On a GPU it stays there: ``float(norm)`` waits for it, and raises NonFiniteGradientError where it is not finite.

    (Pascanu, Mikolov and Bengio 2013, arXiv 1211.5063, algorithm 1.)
    """
    max_norm = above_0("max_norm", max_norm)
    backend, parameters = model.bound.backend, model.bound
    if backend.on_device:
        check_still_whole(model)
        parts = [model.grads[s] for s in parameters.trainable()]
        first = backend.xp.zeros((), "int64")
        norm_on_device, scale = decide(backend, parts, max_norm, 1, first)
        for s in parameters.trainable():
            model.grads[s] *= backend.xp.where(scale < 0, 1, scale).astype(parameters.dtype)
        return Norm(norm_on_device, first)
    with parameters.changing:
        norm = grad_norm(model)
        if norm > max_norm:
            for s in model.bound.trainable():
                model.grads[s] *= max_norm / norm
        return norm


def clip_grad_value(model: Layer, clip_value: float) -> None:
    """Limit every entry of the gradients to ±``clip_value``.  Raises NonFiniteGradientError as ``grad_norm`` does; on a
    GPU, where it does not wait, NaN stays NaN and the optimiser's step is skipped.
    """
    clip_value = above_0("clip_value", clip_value)
    with model.bound.changing:
        if not model.bound.backend.on_device:
            grad_norm(model)
        for s in model.bound.trainable():
            g = model.grads[s]
            model.bound.backend.xp.clip(g, -clip_value, clip_value, out=g)


def _blame(model: Layer) -> str:
    xp, frozen = model.bound.backend.xp, model.bound.frozen
    for name, g in model.named_grads().items():
        bad = g.size - int(xp.isfinite(g).sum())
        if bad and name not in frozen:
            first = next(str(v) for v in g.ravel().tolist() if not isfinite(abs(v)))
            return (
                f"the gradient of {name} is not finite: {bad} of {g.size} entries, the first {first}; "
                f"this step has changed nothing; a smaller lr or clip may help"
            )
    raise AssertionError("grad_norm found a non-finite gradient and named_grads has none")

"""Clipping and optimisers: a few lines each, over the flat vectors of weights and gradients."""

from collections.abc import Callable
from math import isfinite
from numbers import Integral, Real
from typing import Any, TypeAlias

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.layer import Layer
from minirnn.optim.on_device import NonFiniteGradientError as NonFiniteGradientError
from minirnn.optim.on_device import Norm, decide
from minirnn.optim.schedules import constant

Schedule: TypeAlias = Callable[[int], float]


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
    max_norm = _above_0("max_norm", max_norm)
    backend, parameters = model.bound.backend, model.bound
    if backend.on_device:
        check_still_whole(model)
        parts = [model.grads[s] for s in parameters.trainable()]
        first = backend.xp.zeros((), "int64")
        found, scale = decide(backend, parts, max_norm, 1, first)
        for s in parameters.trainable():
            model.grads[s] *= backend.xp.where(scale < 0, 1, scale).astype(parameters.dtype)
        return Norm(found, first)
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
    clip_value = _above_0("clip_value", clip_value)
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


class Optimizer:
    """What all optimisers share: a schedule, clipping, and a step over everything that is not frozen.

    ``lr`` is a number or a schedule (see ``minirnn.optim.schedules``): a function of the number of steps taken, from 0.
    ``clip`` limits the gradients' global norm, ``clip_value`` their entries (first, where both are given).
    """

    buffers: tuple[str, ...] = ()

    def __init__(
        self,
        model: Layer,
        lr: float | Schedule,
        *,
        weight_decay: float = 0.0,
        clip: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        if not isinstance(model, Layer):
            hint = " (a LanguageModel's is lm.network)" if hasattr(model, "network") else ""
            raise TypeError(f"an optimiser takes a model made of layers; got {type(model).__name__}{hint}")
        model.check_whole("an optimiser")
        self.model = model
        self.schedule: Schedule = lr if callable(lr) else constant(_at_least_0("lr", lr))
        self.weight_decay = _at_least_0("weight_decay", weight_decay)
        self.clip = None if clip is None else _above_0("clip", clip)
        self.clip_value = None if clip_value is None else _above_0("clip_value", clip_value)
        self.steps = 0
        self.factor = 1.0  # what the schedule's rate is multiplied by
        xp = model.bound.backend.xp
        self.state: dict[str, Array] = {name: xp.zeros_like(model.weights) for name in self.buffers}
        self._first = xp.zeros((), "int64") if model.bound.backend.on_device else None  # step that was skipped, or 0

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return _at_least_0("lr", self.schedule(self.steps) * self.factor)

    def state_dict(self) -> dict[str, Any]:
        """A copy of what a later step depends on beside the weights: ``steps``, ``factor`` and the buffers by name."""
        host = self.model.bound.backend.host
        buffers = {name: np.array(host(a)) for name, a in self.state.items()}
        return {"steps": self.steps, "factor": self.factor, **buffers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what ``state_dict`` of an optimiser of the same kind, for a model of the same sizes, returned."""
        if set(state) != {"steps", "factor", *self.buffers}:
            raise ValueError(
                f"the state of {type(self).__name__} is steps, factor{''.join(f', {name}' for name in self.buffers)}; "
                f"got {', '.join(state)}"
            )
        for name in self.buffers:
            wanted, found = self.state[name], state[name]
            if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
                raise ValueError(
                    f"{name} must be {wanted.dtype} of shape {wanted.shape}; got {found.dtype} of shape {found.shape}"
                )
        steps, factor = state["steps"], _at_least_0("factor", state["factor"])
        if not isinstance(steps, Integral) or steps < 0:
            raise ValueError(f"steps must be an integer of at least 0; got {steps!r}")
        for name in self.buffers:
            self.state[name][...] = self.model.bound.backend.xp.asarray(state[name])
        self.steps, self.factor = int(steps), factor

    def step(self) -> Any:
        """Clip, update the weights, zero the gradients; returns the gradients' norm before clipping by norm.

        Raises NonFiniteGradientError, with weights and gradients unchanged, where a gradient is not finite.

        On a GPU nothing is waited for: a step whose gradients are not finite is skipped there, and the error comes when
        the norm returned, or that of a later step, is read by ``float(norm)``.

        A backward pass in another thread is waited for; one that comes after the step, of a forward pass before its
        end, is an error.
        """
        with self.model.bound.changing:
            return self._step()

    def _step(self) -> Any:
        model, lr = self.model, self.lr
        if self._first is not None:
            return self._step_on_device(lr, self._first)
        known = self._whole_step(lr)
        if known is not None:
            self.steps += 1
            model.bound.updates += 1
            return known
        norm = grad_norm(model)
        if self.clip_value is not None:
            clip_grad_value(model, self.clip_value)
            norm = grad_norm(model)
        scale = self.clip / norm if self.clip is not None and norm > self.clip else 1.0
        self.steps += 1
        clean = not model.bound.frozen
        for s in model.bound.trainable():
            w, g, state = model.weights[s], model.grads[s], {name: a[s] for name, a in self.state.items()}
            if not self._fused_update(w, g, lr, scale, state):
                g *= scale
                self._update(w, g, lr, state)
                clean = False
        if not clean:
            model.zero_grads()
        model.bound.updates += 1
        return norm

    def _step_on_device(self, lr: float, first: Array) -> Norm:
        """``step`` without waiting for the device: whether the gradients are finite decides there."""
        model, backend = self.model, self.model.bound.backend
        check_still_whole(model)
        xp, stretches = backend.xp, list(model.bound.trainable())
        parts = [model.grads[s] for s in stretches]
        if self.clip_value is not None:
            for g in parts:
                xp.clip(g, -self.clip_value, self.clip_value, out=g)
        self.steps += 1
        norm, scale = decide(backend, parts, self.clip or 0.0, self.steps, first)
        clean = not model.bound.frozen
        for s, g in zip(stretches, parts, strict=True):
            w, state = model.weights[s], {name: a[s] for name, a in self.state.items()}
            if not self._fused_update(w, g, lr, scale, state):
                taken, changed = scale >= 0, (w, *state.values())
                before = [a.copy() for a in changed]
                self._update(w, xp.where(taken, g * scale.astype(g.dtype), g.dtype.type(0)), lr, state)
                for a, old in zip(changed, before, strict=True):
                    a[...] = xp.where(taken, a, old)
                clean = False
        if not clean:
            model.zero_grads()
        model.bound.updates += 1
        return Norm(norm, first)

    def _whole_step(self, lr: float) -> float | None:
        """The gradients' norm after a step that one compiled twin has taken whole, or None: nothing has changed."""
        return None

    def _update(self, w: Array, g: Array, lr: float, state: dict[str, Array]) -> None:
        raise NotImplementedError(f"{type(self).__name__} does not define _update")

    def _fused_update(self, w: Array, g: Array, lr: float, scale: Any, state: dict[str, Array]) -> bool:
        """``_update`` with ``scale`` times ``g``, then 0 into ``g``, by a compiled twin; False where there is none."""
        return False


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum and weight decay as torch has them.

    g ← g + weight_decay w
    v ← momentum v + g                    if momentum is above 0, and then
    g ← v, or g + momentum v with ``nesterov=True`` (Sutskever et al. 2013)
    w ← w - lr g
    """

    def __init__(
        self, model: Layer, lr: float | Schedule, *, momentum: float = 0.0, nesterov: bool = False, **options: Any
    ) -> None:
        self.momentum, self.nesterov = _below_1("momentum", momentum), nesterov
        if nesterov and momentum == 0:
            raise ValueError("nesterov needs a momentum above 0; got 0")
        self.buffers = ("v",) if momentum else ()
        super().__init__(model, lr, **options)

    def _update(self, w: Array, g: Array, lr: float, state: dict[str, Array]) -> None:
        if self.weight_decay:
            g = g + self.weight_decay * w
        if self.momentum:
            v = state["v"]
            v *= self.momentum
            v += g
            g = g + self.momentum * v if self.nesterov else v
        w -= lr * g

    def _whole_step(self, lr: float) -> float | None:
        bound = self.model.bound
        fused = bound.backend.fused("clipped_descend")
        if not fused or self.momentum or self.weight_decay or self.clip_value is not None or bound.frozen:
            return None
        check_still_whole(self.model)
        norm: float | None = fused(bound.weights, bound.grads, lr, self.clip or 0.0)
        return norm

    def _fused_update(self, w: Array, g: Array, lr: float, scale: Any, state: dict[str, Array]) -> bool:
        descend = None if self.momentum or self.weight_decay else self.model.bound.backend.fused("descend")
        if descend:
            descend(w, g, lr, scale)
        return bool(descend)


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, arXiv 1412.6980, algorithm 1).

        m ← β1 m + (1 - β1) g;   v ← β2 v + (1 - β2) g²
        w ← w - lr (m / (1 - β1ᵗ)) / (√(v / (1 - β2ᵗ)) + eps)

    ``weight_decay`` is added to the gradient here; ``AdamW`` takes it from the weights.
    """

    buffers = ("m", "v")
    decoupled = False

    def __init__(
        self,
        model: Layer,
        lr: float | Schedule = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        **options: Any,
    ) -> None:
        beta1, beta2 = betas
        self.beta1, self.beta2 = _below_1("betas[0]", beta1), _below_1("betas[1]", beta2)
        super().__init__(model, lr, **options)
        self.eps = _check_eps(model, eps)

    def _update(self, w: Array, g: Array, lr: float, state: dict[str, Array]) -> None:
        m, v = state["m"], state["v"]
        if self.weight_decay and self.decoupled:
            w *= 1 - lr * self.weight_decay
        elif self.weight_decay:
            g = g + self.weight_decay * w
        m *= self.beta1
        m += (1 - self.beta1) * g
        v *= self.beta2
        v += (1 - self.beta2) * g * g
        root = (v / (1 - self.beta2**self.steps)) ** 0.5
        root += self.eps
        w -= (lr / (1 - self.beta1**self.steps)) * m / root

    def _fused_update(self, w: Array, g: Array, lr: float, scale: Any, state: dict[str, Array]) -> bool:
        adam = self.model.bound.backend.fused("adam")
        if adam:
            decay, shrink = (0.0, 1 - lr * self.weight_decay) if self.decoupled else (self.weight_decay, 1.0)
            rate, correction = lr / (1 - self.beta1**self.steps), 1 / (1 - self.beta2**self.steps)
            adam(
                w,
                g,
                state["m"],
                state["v"],
                scale=scale,
                decay=decay,
                shrink=shrink,
                beta1=self.beta1,
                beta2=self.beta2,
                rate=rate,
                correction=correction,
                eps=self.eps,
            )
        return bool(adam)


class AdamW(Adam):
    """Adam after w ← (1 - lr weight_decay) w (Loshchilov and Hutter 2019, arXiv 1711.05101, algorithm 2)."""

    decoupled = True

    def __init__(
        self, model: Layer, lr: float | Schedule = 1e-3, *, weight_decay: float = 1e-2, **options: Any
    ) -> None:
        super().__init__(model, lr, weight_decay=weight_decay, **options)


class RMSProp(Optimizer):
    """v ← alpha v + (1 - alpha) g²;  w ← w - lr g / (√v + eps)  (Tieleman and Hinton 2012, lecture 6e)."""

    buffers = ("v",)

    def __init__(
        self, model: Layer, lr: float | Schedule = 1e-2, *, alpha: float = 0.99, eps: float = 1e-8, **options: Any
    ) -> None:
        super().__init__(model, lr, **options)
        self.alpha, self.eps = _below_1("alpha", alpha), _check_eps(model, eps)

    def _update(self, w: Array, g: Array, lr: float, state: dict[str, Array]) -> None:
        if self.weight_decay:
            g = g + self.weight_decay * w
        v = state["v"]
        v *= self.alpha
        v += (1 - self.alpha) * g * g
        w -= lr * g / (v**0.5 + self.eps)


def _at_least_0(what: str, value: float) -> float:
    if not isinstance(value, Real) or not 0 <= value < float("inf"):
        raise ValueError(f"{what} must be a number of at least 0; got {value!r}")
    return float(value)


def _above_0(what: str, value: float) -> float:
    if not isinstance(value, Real) or not 0 < value < float("inf"):
        raise ValueError(f"{what} must be a number above 0; got {value!r}")
    return float(value)


def _check_eps(model: Layer, eps: float) -> float:
    """``eps`` above 0 in the model's dtype too: it keeps 0 / 0 from weights whose gradient has always been 0."""
    smallest = float(np.finfo(model.bound.dtype).tiny)
    if _above_0("eps", eps) < smallest:
        raise ValueError(f"eps must be a number above {smallest:.1e} in {model.bound.dtype.name}; got {eps!r}")
    return float(eps)


def _below_1(what: str, value: float) -> float:
    if not isinstance(value, Real) or not 0 <= value < 1:
        raise ValueError(f"{what} must be a number from 0 up to, not including, 1; got {value!r}")
    return float(value)

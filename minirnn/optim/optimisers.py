"""Optimisers: a few lines each, over the flat vectors of weights and gradients."""

from collections.abc import Callable
from typing import Any, TypeAlias, TypedDict, Unpack

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.layer import Layer, check_size
from minirnn.optim.checks import above_0, at_least_0, below_1
from minirnn.optim.clipping import check_still_whole, clip_grad_value, grad_norm
from minirnn.optim.on_device import Norm, decide
from minirnn.optim.schedules import constant

Schedule: TypeAlias = Callable[[int], float]


class Options(TypedDict, total=False):
    """The options of every optimiser, by keyword."""

    weight_decay: float
    clip: float | None
    clip_value: float | None


class Optimizer:
    """The base of all optimisers: a schedule, clipping, and a step over everything that is not frozen.

    ``lr`` is a number or a schedule (see ``minirnn.optim.schedules``): a function of the number of steps taken, from 0.
    ``clip`` limits the gradients' global norm, ``clip_value`` their entries (first, where both are set).
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
        self.schedule: Schedule = lr if callable(lr) else constant(at_least_0("lr", lr))
        self.weight_decay = at_least_0("weight_decay", weight_decay)
        self.clip = None if clip is None else above_0("clip", clip)
        self.clip_value = None if clip_value is None else above_0("clip_value", clip_value)
        self.steps = 0
        self.factor = 1.0  # what the schedule's rate is multiplied by
        xp = model.bound.backend.xp
        self.state: dict[str, Array] = {name: xp.zeros_like(model.weights) for name in self.buffers}
        self._first = xp.zeros((), "int64") if model.bound.backend.on_device else None  # step that was skipped, or 0

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return at_least_0("lr", self.schedule(self.steps) * self.factor)

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
            own, loaded = self.state[name], state[name]
            if (loaded.shape, loaded.dtype) != (own.shape, own.dtype):
                raise ValueError(
                    f"{name} must be {own.dtype} of shape {own.shape}; got {loaded.dtype} of shape {loaded.shape}"
                )
        steps, factor = check_size("steps", state["steps"], 0), at_least_0("factor", state["factor"])
        for name in self.buffers:
            self.state[name][...] = self.model.bound.backend.xp.asarray(state[name])
        self.steps, self.factor = steps, factor

    def step(self) -> Any:
        """Clip, update the weights, zero the gradients; returns the gradients' norm before clipping by norm.

        Raises NonFiniteGradientError, with weights and gradients unchanged, where a gradient is not finite.

        On a GPU nothing is waited for: a step whose gradients are not finite is skipped there, and the error comes when
        the norm returned, or that of a later step, is read by ``float(norm)``.

        The step waits for a backward pass that runs in another thread.  It is an error to start the backward pass of an
        earlier forward pass after the step.
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

    def _fused_update(self, w: Array, g: Array, lr: float, scale: float | Array, state: dict[str, Array]) -> bool:
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
        self,
        model: Layer,
        lr: float | Schedule,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        **options: Unpack[Options],
    ) -> None:
        self.momentum, self.nesterov = below_1("momentum", momentum), nesterov
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

    def _fused_update(self, w: Array, g: Array, lr: float, scale: float | Array, state: dict[str, Array]) -> bool:
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
        **options: Unpack[Options],
    ) -> None:
        beta1, beta2 = betas
        self.beta1, self.beta2 = below_1("betas[0]", beta1), below_1("betas[1]", beta2)
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

    def _fused_update(self, w: Array, g: Array, lr: float, scale: float | Array, state: dict[str, Array]) -> bool:
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
        self,
        model: Layer,
        lr: float | Schedule = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        clip: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        super().__init__(model, lr, betas=betas, eps=eps, weight_decay=weight_decay, clip=clip, clip_value=clip_value)


class RMSProp(Optimizer):
    """v ← alpha v + (1 - alpha) g²;  w ← w - lr g / (√v + eps)  (Tieleman and Hinton 2012, lecture 6e)."""

    buffers = ("v",)

    def __init__(
        self,
        model: Layer,
        lr: float | Schedule = 1e-2,
        *,
        alpha: float = 0.99,
        eps: float = 1e-8,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(model, lr, **options)
        self.alpha, self.eps = below_1("alpha", alpha), _check_eps(model, eps)

    def _update(self, w: Array, g: Array, lr: float, state: dict[str, Array]) -> None:
        if self.weight_decay:
            g = g + self.weight_decay * w
        v = state["v"]
        v *= self.alpha
        v += (1 - self.alpha) * g * g
        w -= lr * g / (v**0.5 + self.eps)


def _check_eps(model: Layer, eps: float) -> float:
    """``eps`` above 0 in the model's dtype too: it keeps 0 / 0 from weights whose gradient has always been 0."""
    smallest = float(np.finfo(model.bound.dtype).tiny)
    if above_0("eps", eps) < smallest:
        raise ValueError(f"eps must be a number above {smallest:.1e} in {model.bound.dtype.name}; got {eps!r}")
    return float(eps)

"""Optimisers, gradient clipping and learning rate schedules."""

from minirnn.optim.clipping import clip_grad_norm, clip_grad_value, grad_norm
from minirnn.optim.on_device import NonFiniteGradientError
from minirnn.optim.optimisers import SGD, Adam, AdamW, Optimizer, RMSProp
from minirnn.optim.schedules import constant, cosine, step_decay

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "NonFiniteGradientError",
    "Optimizer",
    "RMSProp",
    "clip_grad_norm",
    "clip_grad_value",
    "constant",
    "cosine",
    "grad_norm",
    "step_decay",
]

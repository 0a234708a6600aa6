"""A step of a vanilla RNN in the signatures of CS231n, and a sequence of them.  One line of the backward pass is wrong.

minirnn grade examples/courses/rnn_layers_with_a_mistake.py
"""

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def rnn_step_forward(x: Array, prev_h: Array, Wx: Array, Wh: Array, b: Array) -> tuple[Array, Any]:
    next_h = np.tanh(x @ Wx + prev_h @ Wh + b)
    return next_h, (x, prev_h, Wx, Wh, next_h)


def rnn_step_backward(dnext_h: Array, cache: Any) -> tuple[Array, ...]:
    x, prev_h, Wx, Wh, next_h = cache  # noqa: RUF059 - it is what the mistake leaves out
    da = dnext_h * (1 - next_h**2)
    return da @ Wx.T, da @ Wh.T, x.T @ da, next_h.T @ da, da.sum(axis=0)


def rnn_forward(x: Array, h0: Array, Wx: Array, Wh: Array, b: Array) -> tuple[Array, Any]:
    h, caches, states = h0, [], []
    for t in range(x.shape[1]):
        h, cache = rnn_step_forward(x[:, t], h, Wx, Wh, b)
        states.append(h)
        caches.append(cache)
    return np.stack(states, axis=1), caches


def rnn_backward(dh: Array, caches: Any) -> tuple[Array, ...]:
    dprev_h = np.zeros_like(dh[:, 0])
    dx: list[Array] = []
    sums: list[Any] = [0.0, 0.0, 0.0]
    for t in reversed(range(dh.shape[1])):
        dx_t, dprev_h, *weights = rnn_step_backward(dh[:, t] + dprev_h, caches[t])
        dx.append(dx_t)
        sums = [total + one for total, one in zip(sums, weights, strict=True)]
    return np.stack(dx[::-1], axis=1), dprev_h, *sums

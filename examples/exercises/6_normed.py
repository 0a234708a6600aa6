"""Exercise 6: a gated unit with layer normalisation (Ba et al. 2016, arXiv 1607.06450).

    minirnn check examples/exercises/6_normed.py:Normed

    z  = σ(p_z + q_z)                     (1)
    a  = p_n + q_n                        (2)
    μ  = mean(a),  v = mean((a - μ)²)     (3)  over the units of a row
    x  = (a - μ) / √(v + ε)               (4)
    n  = tanh(x)                          (5)
    h' = (1 - z) n + z h                  (6)

Hint: with s = √(v + ε), every x depends on every a: once directly, once through μ and once through v.  Collected,

    da = (dx - mean(dx) - x mean(dx x)) / s

which you should find by yourself before you believe it.
"""

from typing import Any

import numpy as np


def sigmoid(a: Any) -> Any:
    return 0.5 * np.tanh(0.5 * a) + 0.5


EPSILON = 1e-5


class Normed:
    """A candidate that is normalised before it is squashed."""

    state = ("h",)
    gates = ("z", "n")
    saves = ("z", "n", "x", "s", "h")

    @staticmethod
    def step(p: Any, q: Any, state: Any) -> Any:
        (h,) = state
        a_z, a = np.split(p + q, 2, axis=-1)  # (2)
        z = sigmoid(a_z)  # (1)
        centred = a - a.mean(axis=-1, keepdims=True)  # (3)
        s = ((centred * centred).mean(axis=-1, keepdims=True) + EPSILON) ** 0.5
        x = centred / s  # (4)
        n = np.tanh(x)  # (5)
        return ((1 - z) * n + z * h,), (z, n, x, s + 0 * x, h)  # (6); s once for each unit

    @staticmethod
    def unstep(dstate: Any, saved: Any) -> Any:
        (dh1,) = dstate
        z, n, x, s, h = saved
        da_z = ...  # (6) (1)
        dx = ...  # (6) (5)
        da = ...  # (4) (3)
        dh = ...  # (6)
        da = np.concatenate([da_z, da], -1)
        return da, da, (dh,)

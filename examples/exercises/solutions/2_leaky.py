"""Solution of exercise 2: a leaky cell, whose units forget at a pace of their own.

minirnn check examples/exercises/solutions/2_leaky.py:Leaky

n  = tanh(p + q)                      (1)
s  = σ(w)                             (2)  w: a weight of each unit
h' = s h + (1 - s) n                  (3)
"""

from typing import Any

import numpy as np


def sigmoid(a: Any) -> Any:
    return 0.5 * np.tanh(0.5 * a) + 0.5


class Leaky:
    """Each unit keeps the share s of what it was."""

    state = ("h",)
    gates = ("n",)
    units = ("w",)
    saves = ("n", "h")

    @staticmethod
    def step(p: Any, q: Any, state: Any, w: Any) -> Any:
        (h,) = state
        n, s = np.tanh(p + q), sigmoid(w)  # (1) (2)
        return (s * h + (1 - s) * n,), (n, h)  # (3)

    @staticmethod
    def unstep(dstate: Any, saved: Any, w: Any) -> Any:
        (dh1,) = dstate
        n, h = saved
        s = sigmoid(w)
        da = dh1 * (1 - s) * (1 - n * n)  # (3) (1)
        dh = dh1 * s  # (3): the direct path
        dw = dh1 * (h - n) * s * (1 - s)  # (3) (2)
        return da, da, (dh,), dw

"""Exercise 2: a leaky cell, whose units forget at a pace of their own.

    minirnn check examples/exercises/2_leaky.py:Leaky

    n  = tanh(p + q)                      (1)
    s  = σ(w)                             (2)  w: a weight of each unit
    h' = s h + (1 - s) n                  (3)

Hint: h is used by (3) and by the product; the product is not yours.  s is used twice in (3), with opposite signs, so
dw collects both; σ' = σ (1 - σ).  dw has the shape of h, (B, H): one gradient a row, which minirnn sums.
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
        da = ...  # (3) (1)
        dh = ...  # (3): the direct path
        dw = ...  # (3) (2)
        return da, da, (dh,), dw

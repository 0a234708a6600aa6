"""Exercise 3: the minimal gated unit (Zhou et al. 2016, arXiv 1603.09420), its gate after the product.

    minirnn check examples/exercises/3_minimal_gated.py:MinimalGated

    f  = σ(p_f + q_f)                     (1)
    n  = tanh(p_n + f q_n)                (2)
    h' = (1 - f) h + f n                  (3)

Hint: f is used by (2) and twice by (3), so df is a sum of what both send back.  In (2) q_n comes multiplied by f, so
dp_n and dq_n differ.
"""

from typing import Any

import numpy as np


def sigmoid(a: Any) -> Any:
    return 0.5 * np.tanh(0.5 * a) + 0.5


class MinimalGated:
    """One gate that forgets, resets and updates."""

    state = ("h",)
    gates = ("f", "n")
    saves = ("f", "n", "u", "h")

    @staticmethod
    def step(p: Any, q: Any, state: Any) -> Any:
        (h,) = state
        (p_f, p_n), (q_f, u) = np.split(p, 2, axis=-1), np.split(q, 2, axis=-1)  # u: q_n
        f = sigmoid(p_f + q_f)  # (1)
        n = np.tanh(p_n + f * u)  # (2)
        return ((1 - f) * h + f * n,), (f, n, u, h)  # (3)

    @staticmethod
    def unstep(dstate: Any, saved: Any) -> Any:
        (dh1,) = dstate
        f, n, u, h = saved
        da_n = ...  # (3) (2)
        df = ...  # (3) and (2)
        da_f = ...  # (1)
        du = ...  # (2)
        dh = ...  # (3)
        return np.concatenate([da_f, da_n], -1), np.concatenate([da_f, du], -1), (dh,)

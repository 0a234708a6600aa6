"""Exercise 5: an LSTM with one gate for what comes in and what stays, which sees the cell.

    minirnn check examples/exercises/5_coupled.py:Coupled

    f  = σ(p_f + q_f + w c)               (1)  w: a peephole, a weight of each unit
    g  = tanh(p_g + q_g)                  (2)
    o  = σ(p_o + q_o)                     (3)
    c' = f c + (1 - f) g                  (4)  what is forgotten makes room for g
    h' = o tanh(c')                       (5)

Hint: f is used twice in (4).  c is used by (4) and, through the peephole, by (1): dc is a sum.  dw is (B, H),
as in exercise 2: minirnn sums over the rows.
"""

from typing import Any

import numpy as np


def sigmoid(a: Any) -> Any:
    return 0.5 * np.tanh(0.5 * a) + 0.5


class Coupled:
    """An LSTM whose input gate is 1 - f."""

    state = ("h", "c")
    gates = ("f", "g", "o")
    units = ("w",)
    saves = ("f", "g", "o", "c", "m")

    @staticmethod
    def step(p: Any, q: Any, state: Any, w: Any) -> Any:
        _, c = state
        a_f, a_g, a_o = np.split(p + q, 3, axis=-1)
        f, g, o = sigmoid(a_f + w * c), np.tanh(a_g), sigmoid(a_o)  # (1) (2) (3)
        c1 = f * c + (1 - f) * g  # (4)
        m = np.tanh(c1)
        return (o * m, c1), (f, g, o, c, m)  # (5)

    @staticmethod
    def unstep(dstate: Any, saved: Any, w: Any) -> Any:
        dh1, dc1 = dstate
        f, g, o, c, m = saved
        da_o = ...  # (5) (3)
        dc1 = ...  # the next step's, and (5)
        da_f = ...  # (4) (1)
        da_g = ...  # (4) (2)
        dc = ...  # (4) and (1)
        dw = ...  # (1)
        da = np.concatenate([da_f, da_g, da_o], -1)
        return da, da, (None, dc), dw

"""Exercise 4: long short-term memory.

    minirnn check examples/exercises/4_lstm.py:LSTM

    i, f, o = σ(p + q), g = tanh(p + q)   (1)  each with its own columns
    c' = f c + i g                        (2)
    h' = o tanh(c')                       (3)

Hint: c' has two readers, (3) and the next step, which sends dc'.  Add what (3) sends before you go through (2).
"""

from typing import Any

import numpy as np


def sigmoid(a: Any) -> Any:
    return 0.5 * np.tanh(0.5 * a) + 0.5


class LSTM:
    """A state c that is only added to and scaled, and a state h that shows some of it."""

    state = ("h", "c")
    gates = ("i", "f", "g", "o")
    saves = ("i", "f", "g", "o", "c", "m")

    @staticmethod
    def step(p: Any, q: Any, state: Any) -> Any:
        _, c = state
        a_i, a_f, a_g, a_o = np.split(p + q, 4, axis=-1)
        i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)  # (1)
        c1 = f * c + i * g  # (2)
        m = np.tanh(c1)
        return (o * m, c1), (i, f, g, o, c, m)  # (3)

    @staticmethod
    def unstep(dstate: Any, saved: Any) -> Any:
        dh1, dc1 = dstate
        i, f, g, o, c, m = saved
        da_o = ...  # (3) (1)
        dc1 = ...  # the next step's, and (3)
        da_i = ...  # (2) (1)
        da_f = ...  # (2) (1)
        da_g = ...  # (2) (1)
        dc = ...  # (2)
        da = np.concatenate([da_i, da_f, da_g, da_o], -1)
        return da, da, (None, dc)

"""Solution of exercise 4: long short-term memory.

minirnn check examples/exercises/solutions/4_lstm.py:LSTM

i, f, o = σ(p + q), g = tanh(p + q)   (1)  each with its own columns
c' = f c + i g                        (2)
h' = o tanh(c')                       (3)
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
        da_o = dh1 * m * o * (1 - o)  # (3) (1)
        dc1 = dc1 + dh1 * o * (1 - m * m)  # the next step's, and (3)
        da_i = dc1 * g * i * (1 - i)  # (2) (1)
        da_f = dc1 * c * f * (1 - f)  # (2) (1)
        da_g = dc1 * i * (1 - g * g)  # (2) (1)
        dc = dc1 * f  # (2)
        da = np.concatenate([da_i, da_f, da_g, da_o], -1)
        return da, da, (None, dc)

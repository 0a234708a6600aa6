"""Solution of exercise 4: the first LSTM (Hochreiter and Schmidhuber 1997), which does not forget.

minirnn check examples/exercises/solutions/4_first_lstm.py:FirstLSTM

i, o = σ(p + q), g = tanh(p + q)      (1)  each with its own columns
c' = c + i g                          (2)  what is in stays in
h' = o tanh(c')                       (3)
"""

from typing import Any

import numpy as np


def sigmoid(a: Any) -> Any:
    return 0.5 * np.tanh(0.5 * a) + 0.5


class FirstLSTM:
    """A state c that is only added to, and a state h that shows some of it."""

    state = ("h", "c")
    gates = ("i", "g", "o")
    saves = ("i", "g", "o", "m")

    @staticmethod
    def step(p: Any, q: Any, state: Any) -> Any:
        _, c = state
        a_i, a_g, a_o = np.split(p + q, 3, axis=-1)
        i, g, o = sigmoid(a_i), np.tanh(a_g), sigmoid(a_o)  # (1)
        c1 = c + i * g  # (2)
        m = np.tanh(c1)
        return (o * m, c1), (i, g, o, m)  # (3)

    @staticmethod
    def unstep(dstate: Any, saved: Any) -> Any:
        dh1, dc1 = dstate
        i, g, o, m = saved
        da_o = dh1 * m * o * (1 - o)  # (3) (1)
        dc1 = dc1 + dh1 * o * (1 - m * m)  # the next step's, and (3)
        da_i = dc1 * g * i * (1 - i)  # (2) (1)
        da_g = dc1 * i * (1 - g * g)  # (2) (1)
        dc = dc1  # (2): as it came
        da = np.concatenate([da_i, da_g, da_o], -1)
        return da, da, (None, dc)

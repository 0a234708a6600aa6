"""Exercise 1: the vanilla cell.

    minirnn check examples/exercises/1_vanilla.py:Vanilla

    a  = p + q                            (1)
    h' = tanh(a)                          (2)

Hint: tanh' = 1 - tanh², and tanh(a) has a name already.
"""

from typing import Any

import numpy as np


class Vanilla:
    """A state that is squashed at every step."""

    state = ("h",)
    gates = ("h",)
    saves = ("h1",)

    @staticmethod
    def step(p: Any, q: Any, state: Any) -> Any:
        h1 = np.tanh(p + q)  # (1) (2)
        return (h1,), (h1,)

    @staticmethod
    def unstep(dstate: Any, saved: Any) -> Any:
        (dh1,) = dstate
        (h1,) = saved
        da = ...  # (2)
        return da, da, (None,)  # (1): nothing but the product leads to h

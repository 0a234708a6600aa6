"""Exercise 1: the cell of Elman's network (1990, Cognitive Science 14).

    minirnn check examples/exercises/1_elman.py:Elman

    a  = p + q                            (1)
    h' = σ(a)                             (2)

Hint: σ' = σ (1 - σ), and σ(a) has a name already.
"""

from typing import Any

import numpy as np


def sigmoid(a: Any) -> Any:
    return 0.5 * np.tanh(0.5 * a) + 0.5


class Elman:
    """A state that is squashed at every step, to between 0 and 1."""

    state = ("h",)
    gates = ("h",)
    saves = ("h1",)

    @staticmethod
    def step(p: Any, q: Any, state: Any) -> Any:
        h1 = sigmoid(p + q)  # (1) (2)
        return (h1,), (h1,)

    @staticmethod
    def unstep(dstate: Any, saved: Any) -> Any:
        (dh1,) = dstate
        (h1,) = saved
        da = ...  # (2)
        return da, da, (None,)  # (1): nothing but the product leads to h

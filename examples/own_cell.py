"""A cell of one's own, derived and proven: an LSTM with peepholes that puts its cell out as it is.

    python examples/own_cell.py

Nothing of minirnn has to be imported to write a cell.  ``Recurrent`` unrolls it in any depth and direction, and the
checks that prove minirnn's own cells prove it, or say where the derivation went wrong.
"""

from typing import Any

import numpy as np

from minirnn import Recurrent
from minirnn.testing import GradientError, check_adjoint, check_gradients


def sigmoid(a: Any) -> Any:
    return 0.5 * np.tanh(0.5 * a) + 0.5


class PeepholeLSTM:
    """Gates that see the cell, which no function squashes on its way out (Gers, Schraudolph and Schmidhuber 2002).

    w_i, w_f and w_o are per-unit weights.

        i  = σ(p_i + q_i + w_i c)             (1)
        f  = σ(p_f + q_f + w_f c)             (2)
        g  = tanh(p_g + q_g)                  (3)
        c' = f c + i g                        (4)
        o  = σ(p_o + q_o + w_o c')            (5)  sees the new cell
        h' = o c'                             (6)

    Transposed:

        do  = dh' c',  da_o = do o (1 - o)    (6) (5)
        dc' = dc' + dh' o + da_o w_o          (6) (5)  c' is used by the next step, by (6) and by (5)
        dw_o = da_o c'                        (5)
        di = dc' g,  da_i = di i (1 - i)      (4) (1)
        df = dc' c,  da_f = df f (1 - f)      (4) (2)
        dg = dc' i,  da_g = dg (1 - g²)       (4) (3)
        dc = dc' f + da_i w_i + da_f w_f      (4) (1) (2)
        dw_i = da_i c,  dw_f = da_f c         (1) (2)
    """

    state = ("h", "c")
    gates = ("i", "f", "g", "o")
    units = ("w_i", "w_f", "w_o")
    saves = ("i", "f", "g", "o", "c", "c1")

    @staticmethod
    def step(p: Any, q: Any, state: Any, w_i: Any, w_f: Any, w_o: Any) -> Any:
        _, c = state
        a_i, a_f, a_g, a_o = np.split(p + q, 4, axis=-1)
        i = sigmoid(a_i + w_i * c)  # (1)
        f = sigmoid(a_f + w_f * c)  # (2)
        g = np.tanh(a_g)  # (3)
        c1 = f * c + i * g  # (4)
        o = sigmoid(a_o + w_o * c1)  # (5)
        return (o * c1, c1), (i, f, g, o, c, c1)  # (6)

    @staticmethod
    def unstep(dstate: Any, saved: Any, w_i: Any, w_f: Any, w_o: Any) -> Any:
        dh1, dc1 = dstate
        i, f, g, o, c, c1 = saved
        da_o = dh1 * c1 * o * (1 - o)  # (6) (5)
        dc1 = dc1 + dh1 * o + da_o * w_o  # (6) (5)
        da_i = dc1 * g * i * (1 - i)  # (4) (1)
        da_f = dc1 * c * f * (1 - f)  # (4) (2)
        da_g = dc1 * i * (1 - g * g)  # (4) (3)
        dc = dc1 * f + da_i * w_i + da_f * w_f  # (4) (1) (2)
        da = np.concatenate([da_i, da_f, da_g, da_o], axis=-1)
        return da, da, (None, dc), da_i * c, da_f * c, da_o * c1


class Forgotten(PeepholeLSTM):
    """The same with a term forgotten: that (5) uses the new cell too."""

    @staticmethod
    def unstep(dstate: Any, saved: Any, w_i: Any, w_f: Any, w_o: Any) -> Any:
        return PeepholeLSTM.unstep(dstate, saved, w_i, w_f, w_o * 0)


def prove(examples: int = 20) -> None:
    """Any depth, direction, lengths, states: every gradient by complex step, and the adjoint identity."""
    rng = np.random.default_rng(0)
    for seed in range(examples):
        T, B, D, H = (int(n) for n in rng.integers(1, 4, size=4))
        layers, both = 1 + seed % 2, seed % 4 > 1
        model = Recurrent(PeepholeLSTM, D, H, num_layers=layers, bidirectional=both)
        model.init(seed, dtype="float64", backend="numpy")  # the equations: nothing is compiled
        x, lengths = rng.normal(size=(T, B, D)), rng.integers(0, T + 1, size=B)
        h, c = rng.normal(size=(2, layers * (1 + both), B, H))
        check_gradients(model, x, (h, c), lengths=lengths, methods=("complex step",))
        check_adjoint(model, x, (h, c), lengths=lengths)


if __name__ == "__main__":
    prove()
    layer = Recurrent(PeepholeLSTM, 2, 3).init(seed=0, dtype="float64", backend="numpy")
    x = np.random.default_rng(0).normal(size=(4, 2, 2))
    print(check_gradients(layer, x))
    print("\nand with one term of the derivation forgotten:\n")
    wrong = Recurrent(Forgotten, 2, 3).init(seed=0, dtype="float64", backend="numpy")
    try:
        check_gradients(wrong, x, methods=("complex step",))
    except GradientError as error:
        print(error)
    else:
        raise SystemExit("the fault was not found")

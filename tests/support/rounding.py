"""Products of numbers rounded to bfloat16, in float64: what those of ``compute="bfloat16"`` are held against.

The rounding is arithmetic on mantissas, not on bits, and the scan is ``minirnn.scan``'s, with matrices that round.
"""

from typing import Any

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.protocol import block_of, matrix_of, multiplies, recurrent_bias_of, units_of
from minirnn.recurrent.networks import Recurrent
from minirnn.scan import Scan

EPS = 2.0**-8  # half the distance from 1 to the next bfloat16: the largest relative error of rounding to one


def nearest(a: Array) -> Array:
    """The nearest numbers with 8 bits of mantissa, ties to even; finite ones in bfloat16's normal range."""
    mantissa, exponent = np.frexp(a.astype(np.float64))
    rounded: Array = np.ldexp(np.rint(mantissa * 256) / 256, exponent)
    return rounded


class RoundingMatrix:
    """``a @ M`` of rounded numbers, added in float64."""

    __array_ufunc__ = None

    def __init__(self, values: Array) -> None:
        self.values, self.shape, self.dtype = values, values.shape, np.dtype(np.float64)

    @property
    def T(self) -> "RoundingMatrix":
        return RoundingMatrix(self.values.T)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: Any) -> "RoundingMatrix":
        return RoundingMatrix(self.values[index])

    def __rmatmul__(self, a: Array) -> Array:
        product: Array = nearest(a) @ nearest(self.values)
        return product


def both_passes(layer: Recurrent, x: Array, state: tuple[Array, ...], dy: Array) -> dict[str, Array]:
    """One direction's forward and backward pass: y, dx, the gradients of initial states and, by name, of weights."""
    (one,) = layer.directions
    H, cell = one.hidden_size, one.cell
    stored = {name: np.array(w, np.float64) for name, w in layer.named_weights().items()}
    weights: Any = {name.removeprefix("0."): RoundingMatrix(w) if w.ndim == 2 else w for name, w in stored.items()}
    X = x.astype(np.float64).reshape(-1, x.shape[2])
    P = (X @ weights["W"] + weights["b"]).reshape(*x.shape[:2], -1)
    scan = Scan(cell, H, weights, np)
    h, _ = scan.forward(P, tuple(s.astype(np.float64) for s in state), None, save=True)
    zeros = tuple(np.zeros(s.shape) for s in state)
    dP, dQ, dunits, dstate = scan.backward(dy.astype(np.float64), zeros, None)
    rows = dP.reshape(-1, dP.shape[2])
    found = {"y": h[1:], "dx": (rows @ weights["W"].T).reshape(x.shape)}
    found |= {f"dstate {k}": d for k, d in enumerate(dstate)}
    found |= {"dW": nearest(X).T @ nearest(rows), "db": rows.sum(0)}
    for k, stage in enumerate(scan.stages):
        found |= {f"d{name}": d for name, d in zip(units_of(stage), dunits[k], strict=True)}
        if not multiplies(stage):
            continue
        A, drows = (a.reshape(-1, a.shape[-1]) for a in (scan.A[k], dQ[k]))
        gradient = nearest(A).T @ nearest(drows)
        if matrix_of(stage):
            found[f"d{matrix_of(stage)}"] = gradient
        else:
            found.setdefault("dU", np.zeros((len(gradient), rows.shape[1])))[:, scan.columns[k]] = gradient
        found |= {f"db{gate}": drows[:, block_of(stage, gate, H)].sum(0) for gate in recurrent_bias_of(stage)}
    return found

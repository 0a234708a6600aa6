"""Weight dropout: a pass with another U than the model's, of which some entries are 0.

The kernels are told where U and its gradient lie, the plain scan asks its layer for both; so a pass over a copy of the
layer that has a U of its own is all there is to it, and whatever computes a pass computes this one.
"""

import copy
from collections.abc import Callable
from typing import Any

from minirnn.core.backend import Array
from minirnn.core.layer import Reader, Run
from minirnn.core.noise import kept
from minirnn.core.protocol import Arrays
from minirnn.recurrent.checkpointing import Pass


class ThinnedPass:
    """A pass in which entries of U are dropped (Merity et al. 2018, arXiv 1708.02182, section 2; DropConnect).

        V = M U / (1 - p)                     (1)  entry by entry; M is 1 with probability 1 - p, else 0

    and V (R, G·H) stands in the scan where U did.  M is one for all steps and rows: V is a matrix like any other, whose
    gradient dV is summed over steps and rows as that of U is.  Transposed:

        dU = M dV / (1 - p)                   (1)

    On average V is U, which inference uses.  ``make`` makes the pass of a layer.
    """

    def __init__(self, layer: Any, run: Run, make: Callable[[Any], Pass]) -> None:
        self.layer, self.xp, backend = layer, run.parameters.backend.xp, run.parameters.backend
        U, p = layer.weight("U"), layer.weight_dropout
        self.scale = 1 / (1 - p)
        self.M = kept(self.xp, run.parameters.seed, f"{layer.prefix}U", run.call, (1, *U.shape), p)[0]
        V, self.dV = (backend.zeros(U.size, U.dtype).reshape(U.shape) for _ in range(2))
        V[...] = self._masked(U)  # (1)
        thinned = copy.copy(layer)
        thinned.instead = {"U": (V, self.dV)}
        self.inner = make(thinned)

    def forward(self, x: Array, state: Arrays, out: Array | None) -> tuple[Array, Arrays]:
        """y, in ``out`` if that is given, and the final state."""
        return self.inner.forward(x, state, out)

    def backward(self, dy: Array | None, dstate: Arrays) -> tuple[Array | None, Arrays]:
        """The gradients of x, None for integers, and of the initial state; adds those of the weights."""
        self.dV[...] = 0
        found = self.inner.backward(dy, dstate)
        self.layer.add("U", self._masked(self.dV))  # (1)
        return found

    def named(self) -> dict[str, Reader]:
        """Readers of what was saved, in the order of x's steps, and of M."""
        return {**self.inner.named(), "weight_dropout.mask": lambda: self.M}

    def _masked(self, a: Array) -> Array:
        found: Array = self.xp.where(self.M, a * self.scale, a.dtype.type(0))
        return found

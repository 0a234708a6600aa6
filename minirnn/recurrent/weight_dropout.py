"""Weight dropout: weights with a randomly masked copy of U.

Every pass takes its weights, their gradients and their addresses from a ``Weights``; so a pass of any kind, or one for
each segment of steps, runs with a U that is its own.
"""

from minirnn.core.backend import Array
from minirnn.core.noise import keep_mask
from minirnn.core.run import Run, Saved
from minirnn.recurrent.weights import ReplacedWeights, Weights


class DroppedWeights(ReplacedWeights):
    """Weights with entries of U dropped (Merity et al. 2018, arXiv 1708.02182, section 2; DropConnect).

        V = M U / (1 - p)                     (1)  entry by entry; M is 1 with probability 1 - p, else 0

    and V (R, G·H) stands in the scan where U did.  M is one for all steps and rows: V is a matrix like any other, whose
    gradient dV is summed over steps and rows as that of U is.  Transposed:

        dU = M dV / (1 - p)                   (1)

    On average V is U, which inference uses.  dV is the sum over the segments of gradient checkpointing too: (1) comes
    once, when the backward pass has been through all of them.
    """

    def __init__(self, weights: Weights, run: Run, p: float) -> None:
        backend, U = run.parameters.backend, weights.array("U")
        self.xp, self.scale = backend.xp, 1 / (1 - p)
        self.M = keep_mask(backend, run.parameters.seed, f"{weights.prefix}U", run.call, (1, *U.shape), p)[0]
        V, self.dV = (backend.zeros(U.size, U.dtype).reshape(U.shape) for _ in range(2))
        V[...] = self._masked(U)  # (1)
        super().__init__(weights, {"U": (V, self.dV)})
        self.undropped = weights

    def settle(self) -> None:
        self.undropped.add("U", self._masked(self.dV))  # (1)
        self.dV[...] = 0

    def named(self) -> Saved:
        return {"weight_dropout.mask": lambda: self.M}

    def _masked(self, a: Array) -> Array:
        masked: Array = self.xp.where(self.M, a * self.scale, a.dtype.type(0))
        return masked

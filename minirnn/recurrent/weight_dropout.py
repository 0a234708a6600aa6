"""Weight dropout: run a pass with a randomly masked copy of U.

Every pass takes its weights, their gradients and their addresses from a ``Weights``; so this one makes another pass,
of any kind, with a U that is its own.
"""

from collections.abc import Callable

from minirnn.core.backend import Array
from minirnn.core.noise import keep_mask
from minirnn.core.protocol import Arrays
from minirnn.core.run import Reader, Run
from minirnn.recurrent.passes import Pass, Recurrence
from minirnn.recurrent.weights import ReplacedWeights, Weights


class WeightDropoutPass(Pass):
    """A pass in which entries of U are dropped (Merity et al. 2018, arXiv 1708.02182, section 2; DropConnect).

        V = M U / (1 - p)                     (1)  entry by entry; M is 1 with probability 1 - p, else 0

    and V (R, G·H) stands in the scan where U did.  M is one for all steps and rows: V is a matrix like any other, whose
    gradient dV is summed over steps and rows as that of U is.  Transposed:

        dU = M dV / (1 - p)                   (1)

    On average V is U, which inference uses.  ``make`` makes the pass that uses V; it reverses what is to be reversed.
    """

    def __init__(
        self, recurrence: Recurrence, weights: Weights, run: Run, p: float, make: Callable[[Weights], Pass]
    ) -> None:
        super().__init__(recurrence, weights, run, reverse=False)
        backend, U = run.parameters.backend, weights["U"]
        self.xp, self.scale = backend.xp, 1 / (1 - p)
        self.M = keep_mask(backend, run.parameters.seed, f"{weights.prefix}U", run.call, (1, *U.shape), p)[0]
        V, self.dV = (backend.zeros(U.size, U.dtype).reshape(U.shape) for _ in range(2))
        V[...] = self._masked(U)  # (1)
        self.inner = make(ReplacedWeights(weights, {"U": (V, self.dV)}))

    def _forward(self, x: Array, state: Arrays, out: Array | None, *, known: bool) -> tuple[Array, Arrays]:
        return self.inner.forward(x, state, out, known=known)

    def _backward(self, dy: Array | None, dstate: Arrays) -> tuple[Array | None, Arrays]:
        self.dV[...] = 0
        gradients = self.inner.backward(dy, dstate)
        self.weights.add("U", self._masked(self.dV))  # (1)
        return gradients

    def _named(self) -> dict[str, Reader]:
        return {**self.inner.named(), "weight_dropout.mask": lambda: self.M}

    def _masked(self, a: Array) -> Array:
        masked: Array = self.xp.where(self.M, a * self.scale, a.dtype.type(0))
        return masked

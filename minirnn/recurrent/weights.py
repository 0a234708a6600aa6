"""The weights of one direction, as a pass uses them: by name, each with its gradient and both their addresses.

Passes without a kernel for it share the product x W + b and its transpose, which are methods here.
"""

from collections.abc import Mapping
from typing import Any

from minirnn.core.backend import Array
from minirnn.core.bfloat16 import rounded
from minirnn.core.parameters import Parameters
from minirnn.core.run import Saved


class Weights:
    """A direction's part of the model's weights, whose names there begin with ``prefix``: ``weights["U"]``."""

    def __init__(self, parameters: Parameters, prefix: str) -> None:
        self.parameters, self.prefix = parameters, prefix

    def __getitem__(self, name: str) -> Any:
        """A weight as products take it: a matrix may round what it is multiplied with."""
        return self.parameters.operand(self.array(name))

    def array(self, name: str) -> Array:
        """A weight as it is stored."""
        weight: Array = self.parameters.view(self.parameters.weights, self.prefix + name)
        return weight

    def grad(self, name: str) -> Array:
        """The gradient of a weight, to be added to in place."""
        gradient: Array = self.parameters.view(self.parameters.grads, self.prefix + name)
        return gradient

    def add(self, name: str, gradient: Array) -> None:
        """Add to the gradient of a weight."""
        total = self.grad(name)
        total += gradient

    def addresses(self, name: str) -> tuple[int, int]:
        """Where a weight and its gradient lie in memory."""
        return self.parameters.addresses(self.prefix + name)

    def settle(self) -> None:
        """End a backward pass: add to the model's gradients what was summed elsewhere, which here is nothing."""

    def named(self) -> Saved:
        """Readers of what was drawn for one pass, by name."""
        return {}

    def product(self, x: Array) -> Array:
        """P = x W + b at all steps, (T, B, G·H); integers x stand for one-hot vectors."""
        W, b = self["W"], self["b"]
        P: Array = W[x] if x.dtype.kind in "iu" else (x.reshape(-1, x.shape[2]) @ W).reshape(*x.shape[:2], b.size)
        P += b
        return P

    def product_backward(self, x: Array, dP: Array) -> Array | None:
        """The transpose of ``product``: adds to dW and db, and returns dx, None for integers."""
        p, rows = self.parameters, dP.reshape(-1, dP.shape[2])
        self.add("b", rows.sum(0))
        if x.dtype.kind in "iu":
            p.backend.add_rows(self.grad("W"), x.reshape(-1), rounded(rows) if p.compute else rows)
            return None
        self.add("W", p.product(x.reshape(-1, x.shape[2]).T, rows))
        dx: Array = (rows @ self["W"].T).reshape(x.shape)
        return dx


class ReplacedWeights(Weights):
    """The same, but some of them replaced for one pass: ``others`` has a weight and a gradient by name."""

    def __init__(self, weights: Weights, others: Mapping[str, tuple[Array, Array]]) -> None:
        super().__init__(weights.parameters, weights.prefix)
        self.others = others

    def array(self, name: str) -> Array:
        return self.others[name][0] if name in self.others else super().array(name)

    def grad(self, name: str) -> Array:
        return self.others[name][1] if name in self.others else super().grad(name)

    def addresses(self, name: str) -> tuple[int, int]:
        if name not in self.others:
            return super().addresses(name)
        address = self.parameters.backend.address
        weight, gradient = self.others[name]
        return address(weight), address(gradient)

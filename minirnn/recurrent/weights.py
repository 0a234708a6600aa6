"""The weights of one direction, as a pass uses them: by name, each with its gradient and both their addresses."""

from collections.abc import Mapping

from minirnn.core.backend import Array
from minirnn.core.parameters import Parameters


class Weights:
    """A direction's part of the model's weights, whose names there begin with ``prefix``: ``weights["U"]``."""

    def __init__(self, parameters: Parameters, prefix: str) -> None:
        self.parameters, self.prefix = parameters, prefix

    def __getitem__(self, name: str) -> Array:
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


class ReplacedWeights(Weights):
    """The same, but some of them replaced for one pass: ``others`` has a weight and a gradient by name."""

    def __init__(self, weights: Weights, others: Mapping[str, tuple[Array, Array]]) -> None:
        super().__init__(weights.parameters, weights.prefix)
        self.others = others

    def __getitem__(self, name: str) -> Array:
        return self.others[name][0] if name in self.others else super().__getitem__(name)

    def grad(self, name: str) -> Array:
        return self.others[name][1] if name in self.others else super().grad(name)

    def addresses(self, name: str) -> tuple[int, int]:
        if name not in self.others:
            return super().addresses(name)
        address = self.parameters.backend.address
        weight, gradient = self.others[name]
        return address(weight), address(gradient)

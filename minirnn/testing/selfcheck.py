"""The gradient check of every recurrent layer there is: what ``minirnn check`` runs."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minirnn.recurrent.networks import GRU, LSTM, RNN, Recurrent
from minirnn.testing.adjoint import check_adjoint
from minirnn.testing.gradients import check_gradients, kink_distance

METHODS = ("complex step", "difference", "adjoint")
KINK = 1e-3  # relu's inputs are kept this far from 0
T, B, D, H = 3, 3, 2, 2
KINDS: dict[str, tuple[type[Recurrent], dict[str, Any]]] = {
    "RNN tanh": (RNN, {"nonlinearity": "tanh"}),
    "RNN relu": (RNN, {"nonlinearity": "relu"}),
    "GRU reset after": (GRU, {"reset": "after"}),
    "GRU reset before": (GRU, {"reset": "before"}),
    "LSTM": (LSTM, {}),
    "LSTM projected": (LSTM, {"proj_size": 1}),
    "GRU weight dropout": (GRU, {"weight_dropout": 0.3, "locked": True}),
    "LSTM zoneout": (LSTM, {"zoneout": (0.3, 0.5)}),
}


@dataclass(frozen=True)
class Result:
    """One layer's largest errors by complex step, by central differences, and of the adjoint identity."""

    cell: str
    num_layers: int
    bidirectional: bool
    lengths: bool
    complex_step: float
    difference: float
    adjoint: float
    ok: bool

    def record(self) -> dict[str, str | int | float]:
        """The result for JSON."""
        return asdict(self)

    def words(self) -> tuple[str, ...]:
        """The result as a line of a table."""
        errors = (f"{e:.1e}" for e in (self.complex_step, self.difference, self.adjoint))
        directions, lengths = str(1 + self.bidirectional), "yes" if self.lengths else "no"
        return (self.cell, str(self.num_layers), directions, lengths, *errors)


def check_everything(max_layers: int = 3, seed: int = 0, backend: str = "auto") -> Iterator[Result]:
    """Every cell in every depth up to ``max_layers``, in one and both directions, with and without lengths.

    The backward pass of ``backend`` against every entry of every array by complex step, through the plain equations,
    and a dozen of each by central differences of its own forward pass.  Dropout acts between layers, its masks frozen.
    """
    for cell, depth, bidirectional, with_lengths in product(
        KINDS, range(1, max_layers + 1), (False, True), (False, True)
    ):
        kind, options = KINDS[cell]
        layer = kind(D, H, depth, bidirectional=bidirectional, dropout=0.3 if depth > 1 else 0.0, **options)
        layer.init(seed, backend=backend, dtype="float64")
        yield check_layer(cell, layer, np.array([2, T, 0]) if with_lengths else None, seed)


def check_layer(cell: str, layer: Recurrent, lengths: ArrayLike | None, seed: int) -> Result:
    """One layer on random input, relu's kinks avoided."""
    rng = np.random.default_rng(seed)
    state = None
    for _ in range(1000):
        x = rng.normal(size=(T, B, D))
        arrays = tuple(rng.normal(0, 0.5, shape) for shape in layer.state_shapes(B))
        state = arrays if len(arrays) > 1 else arrays[0]
        if kink_distance(layer, x, state, lengths=lengths) >= KINK:
            break
    exact = check_gradients(
        layer, x, state, lengths=lengths, seed=seed, methods=("complex step",), entries="all", raises=False
    )
    near = check_gradients(
        layer, x, state, lengths=lengths, seed=seed, methods=("difference",), entries=12, raises=False
    )
    adjoint = check_adjoint(layer, x, state, lengths=lengths, seed=seed, tolerance=float("inf"))
    return Result(
        cell=cell,
        num_layers=layer.num_layers,
        bidirectional=layer.bidirectional,
        lengths=lengths is not None,
        complex_step=exact.error("complex step"),
        difference=near.error("difference"),
        adjoint=adjoint,
        ok=exact.ok and near.ok and adjoint <= 1e-10,
    )

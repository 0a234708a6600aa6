"""Passes of the numba backend that are compared bit for bit."""

from typing import Any

import numpy as np

from minirnn import (
    GRU,
    Layer,
)
from minirnn.core.backend import Array


def leaves(state: Any) -> list[Array]:
    return [] if state is None else list(state) if isinstance(state, tuple) else [state]


def one_pass(model: Layer, x: Array, dy: Array, **options: Any) -> list[Array]:
    """y, final states, dx and the initial states' gradients of a pass that adds to the gradients."""
    y, final, backward = model.forward(x, **options)
    dx, dstate = backward(dy)
    return [y, *leaves(final), *leaves(dstate)] + ([] if dx is None else [dx])


def assert_same_bits(actual: list[Array], wanted: list[Array]) -> None:
    for k, (a, b) in enumerate(zip(actual, wanted, strict=True)):
        np.testing.assert_array_equal(a, b, err_msg=f"array {k}")  # equality of -0 and 0 is the only one beside bits


def gru(dtype: str = "float32") -> GRU:
    """One whose outputs and saved gates, for the x of ``drawn``, are large enough to be lent."""
    return GRU(9, 64).init(0, backend="numba", dtype=dtype)


def drawn(seed: int = 0, T: int = 20, B: int = 32) -> tuple[Array, Array]:
    """x and dy for ``gru``."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(T, B, 9)).astype("float32"), rng.normal(size=(T, B, 64)).astype("float32")

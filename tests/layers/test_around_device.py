"""Layers around a recurrence on arrays that are no NumPy's: CuPy's stand-in, which refuses what CuPy refuses."""

import sys
from typing import Any

import numpy as np
import pytest
import strict_cupy

from minirnn import Sequential
from minirnn.core.backend import CUPY
from minirnn.core.layer import Layer
from minirnn.layers import (
    Activation,
    AvgPool1d,
    BatchNorm1d,
    Conv1d,
    GlobalAvgPool1d,
    GlobalMaxPool1d,
    LayerNorm,
    Linear,
    MaxPool1d,
    PReLU,
)

MODELS: dict[str, Layer] = {
    "over time": Sequential(
        *(Conv1d(4, 6, 3, 2, padding=1, groups=2), PReLU(6), LayerNorm(6), MaxPool1d(2, 1, (1, 0)), Linear(6, 4)),
        *(AvgPool1d(2, 1, (0, 1), count_padding=False), AvgPool1d(2), Activation("hard_swish")),
    ),
    "causal": Conv1d(4, 3, 3, padding="causal"),
    "largest": GlobalMaxPool1d(),
    "mean": GlobalAvgPool1d(),
}


@pytest.mark.parametrize("lengths", [None, [8, 0, 5]], ids=["whole", "lengths"])
@pytest.mark.parametrize("name", MODELS)
def test_a_device_computes_what_numpy_does(name: str, lengths: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", strict_cupy)
    monkeypatch.setitem(CUPY.__dict__, "xp", strict_cupy)
    ours = MODELS[name].init(0, dtype="float64", backend="numpy", overwrite=True)
    theirs = ours.to(backend="cupy")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 3, 4))
    y, final, backward = ours.forward(x, lengths=lengths)
    z, end, back = theirs.forward(strict_cupy.asarray(x), lengths=lengths)
    dy = rng.normal(size=y.shape)
    dx, _ = backward(dy)
    dz, _ = back(strict_cupy.asarray(dy))
    inferred, _ = theirs(strict_cupy.asarray(x), lengths=lengths)
    pairs = [(z, y), (dz, dx), (inferred, y), (theirs.grads, ours.grads), *([(end, final)] if name == "causal" else [])]
    for actual, wanted in pairs:
        np.testing.assert_allclose(strict_cupy.asnumpy(actual), wanted, rtol=1e-13, atol=1e-14)


def test_inference_only_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", strict_cupy)
    monkeypatch.setitem(CUPY.__dict__, "xp", strict_cupy)
    ours = BatchNorm1d(4).init(0, dtype="float64", backend="numpy")
    x = np.random.default_rng(0).normal(size=(8, 3, 4))
    y: Any = ours.to(backend="cupy")(strict_cupy.asarray(x))[0]
    np.testing.assert_allclose(strict_cupy.asnumpy(y), ours(x)[0], rtol=1e-13)

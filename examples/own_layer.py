"""A layer of one's own, in a dozen lines, and what it then has: RMSNorm between recurrent layers.

    python examples/own_layer.py

minirnn has a LayerNorm, and not this one, which leaves out its mean and its bias.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from minirnn import GRU, Adam, Layer, Linear, Result, Run, Sequential, Spec, load, mse, save
from minirnn.testing import GradientError, check_adjoint, check_gradients


class RMSNorm(Layer):
    """Each step and row divided by the root of its mean square (Zhang and Sennrich 2019, arXiv 1910.07467, equation 4).

        r = 1 / √(mean(x²) + ε)        (1)
        n = x r                        (2)
        y = g n                        (3)

    Transposed:

        dg = Σ dy n                    (3)  over steps and rows
        dn = dy g                      (3)
        dx = r (dn - n mean(dn n))     (2) (1)  since dr = -r³ x dx / D
    """

    timeless = True  # takes (B, D) as well as (T, B, D)
    arguments = ("num_features", "eps")

    def __init__(self, num_features: int, eps: float = 1e-6) -> None:
        self.num_features = self.input_size = self.output_size = num_features
        self.eps = eps

    def specs(self) -> dict[str, Spec]:
        return {"g": Spec((self.num_features,), "unit", self.num_features, start=1.0)}

    def apply(self, x: Any, state: Any, run: Run) -> Result:
        r = ((x * x).mean(-1, keepdims=True) + self.eps) ** -0.5  # (1)
        n = x * r  # (2)

        def pull(dy: Any, dstate: Any) -> Any:
            if dy is None:
                return None, None
            self.grad("g")[...] += (dy * n).reshape(-1, self.num_features).sum(axis=0)  # (3)
            dn = dy * self.weight("g")  # (3)
            return r * (dn - n * (dn * n).mean(-1, keepdims=True)), None  # (2) (1)

        return Result(self.weight("g") * n, None, pull, {"n": lambda: n})  # (3)


class Forgotten(RMSNorm):
    """The same, whose backward pass forgets that r depends on x."""

    def apply(self, x: Any, state: Any, run: Run) -> Result:
        result = super().apply(x, state, run)
        r = ((x * x).mean(-1, keepdims=True) + self.eps) ** -0.5

        def pull(dy: Any, dstate: Any) -> Any:
            result.pull(dy, dstate)
            return None if dy is None else r * dy * self.weight("g"), None

        return result._replace(pull=pull)


def network() -> Sequential:
    return Sequential(GRU(3, 5), RMSNorm(5), GRU(5, 5), RMSNorm(5), Linear(5, 3))


def prove() -> None:
    """Every gradient by complex step, within a model; the adjoint identity; rows of several lengths."""
    rng = np.random.default_rng(0)
    model, x = network().init(seed=0, dtype="float64", backend="numpy"), rng.normal(size=(4, 3, 3))
    model.named_weights()["1.g"] += rng.normal(size=5)  # at 1, a factor that is missing would not show
    check_gradients(model, x, lengths=[4, 0, 2])
    check_adjoint(model, x)


def train(steps: int = 200) -> tuple[Sequential, list[float]]:
    """The model learns to repeat the step before."""
    x = np.random.default_rng(0).normal(size=(12, 8, 3)).astype("float32")
    model = network().init(seed=0)
    optimizer, losses = Adam(model, 0.01), []
    for _ in range(steps):
        y, _, backward = model.forward(x)
        loss, dy = mse(y[1:], x[:-1])
        backward(np.concatenate([np.zeros_like(dy[:1]), dy]))
        optimizer.step()
        losses.append(float(loss))
    return model, losses


if __name__ == "__main__":
    prove()
    model, losses = train()
    print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}")
    x = np.random.default_rng(1).normal(size=(6, 2, 3)).astype("float32")
    whole, _ = model(x)
    stream = model.stream(batch_size=2)
    assert all(np.allclose(stream(step), y, atol=1e-5) for step, y in zip(x, whole, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save(model, path, own=[RMSNorm])
        assert np.array_equal(load(path, own=[RMSNorm])(x)[0], whole)
    try:
        check_gradients(Forgotten(3).init(dtype="float64"), x, methods=("complex step",))
    except GradientError as error:
        print(error)
    else:
        raise SystemExit("the fault was not found")

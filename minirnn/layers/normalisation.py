"""Layers that normalise features: LayerNorm by those of one step, BatchNorm1d by statistics from training."""

from minirnn.core.backend import Array
from minirnn.core.layer import Layer, check_size
from minirnn.core.parameters import Spec
from minirnn.core.run import Result, Run, State
from minirnn.layers.activations import check_finite
from minirnn.more_cells import mean, scale, unnormalised


def check_epsilon(eps: float) -> float:
    """``eps`` as a float above 0; ValueError otherwise."""
    if check_finite("eps", eps) <= 0:
        raise ValueError(f"eps must be above 0; got {eps!r}")
    return float(eps)


class LayerNorm(Layer):
    """Each step and row normalised over its D features (Ba, Kiros and Hinton 2016, arXiv 1607.06450, equation 4).

        r = 1 / √(var(x) + ε)                 (1)
        n = (x - mean(x)) r                   (2)
        y = g n + b                           (3)

    Transposed, from the last to the first; ``minirnn.more_cells`` derives the way back through a norm:

        dg = Σ dy n,  db = Σ dy               (3)  sums over steps and rows
        dn = dy g                             (3)
        dx = r (dn - mean(dn) - n mean(dn n)) (2) (1)

    x is (T, B, D) or (B, D).  Weights: the gain ``g (D)``, 1 at first, and ``b (D)``, 0 at first, unless ``gain`` or
    ``bias`` is False.  ``eps`` is torch's; Keras has 1e-3.
    """

    timeless = True
    arguments = ("num_features", "eps", "gain", "bias")

    def __init__(self, num_features: int, eps: float = 1e-5, *, gain: bool = True, bias: bool = True) -> None:
        self.num_features = self.input_size = self.output_size = check_size("num_features", num_features)
        self.eps, self.gain, self.bias = check_epsilon(eps), bool(gain), bool(bias)

    def specs(self) -> dict[str, Spec]:
        D = self.num_features
        return ({"g": Spec((D,), "unit", D, start=1.0)} if self.gain else {}) | (
            {"b": Spec((D,), "bias", D, start=0.0)} if self.bias else {}
        )

    def apply(self, x: Array, state: State, run: Run) -> Result:
        over = tuple(range(x.ndim - 1))
        r = scale(x, self.eps)  # (1)
        n = (x - mean(x)) * r  # (2)
        y = n * self.weight("g") if self.gain else n  # (3)
        y = y + self.weight("b") if self.bias else y

        def pull(dy: Array | None, dstate: State) -> tuple[Array | None, State]:
            if dy is None:
                return None, None
            if self.gain:
                self.grad("g")[...] += (dy * n).sum(axis=over)  # (3)
            if self.bias:
                self.grad("b")[...] += dy.sum(axis=over)
            dn = dy * self.weight("g") if self.gain else dy
            return unnormalised(dn, n, r), None  # (2) (1)

        return Result(y, None, pull, {"x": lambda: x, "n": lambda: n})


class BatchNorm1d(Layer):
    """y = g (x - mean) / √(var + ε) + b, feature by feature, with the statistics that a training has left.

    It is for inference: the statistics of a batch (Ioffe and Szegedy 2015, arXiv 1502.03167), by which it is trained,
    mix rows and padding with each other.  Weights ``g``, ``b``, ``mean`` and ``var``, all (D); x is (T, B, D) or
    (B, D).
    """

    timeless = True
    arguments = ("num_features", "eps")
    inference_only = "it has the statistics of a training that is over, and none of its batch"

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        self.num_features = self.input_size = self.output_size = check_size("num_features", num_features)
        self.eps = check_epsilon(eps)

    def specs(self) -> dict[str, Spec]:
        D, starts = self.num_features, {"g": 1.0, "b": 0.0, "mean": 0.0}
        specs = {name: Spec((D,), "unit", D, start=start) for name, start in starts.items()}
        return specs | {"var": Spec((D,), "variance", D, start=1.0)}

    def apply(self, x: Array, state: State, run: Run) -> Result:
        scale = self.weight("g") / (self.weight("var") + self.eps) ** 0.5
        y = (x - self.weight("mean")) * scale + self.weight("b")

        def pull(dy: Array | None, dstate: State) -> tuple[Array | None, State]:
            raise ValueError(self.bound.inference_only[self.prefix])

        return Result(y, None, pull, {})

"""Activation functions of one Python float, written from their definitions."""

import math
from collections.abc import Callable


def mish(a: float) -> float:
    return a * math.tanh(math.log1p(math.exp(a)))


# written from the definitions, for |a| up to 30; constants other than the defaults
SCALAR: dict[str, tuple[tuple[float, ...], Callable[[float], float]]] = {
    "linear": ((), lambda a: a),
    "tanh": ((), math.tanh),
    "sigmoid": ((), lambda a: 1 / (1 + math.exp(-a))),
    "relu": ((), lambda a: max(a, 0.0)),
    "relu6": ((), lambda a: min(max(a, 0.0), 6.0)),
    "hard_sigmoid": ((1 / 6, 0.4), lambda a: min(max(a / 6 + 0.4, 0.0), 1.0)),
    "affine": ((-0.7, 0.3), lambda a: -0.7 * a + 0.3),
    "leaky_relu": ((0.2,), lambda a: a if a > 0 else 0.2 * a),
    "thresholded_relu": ((0.4,), lambda a: a if a > 0.4 else 0.0),
    "scaled_tanh": ((1.7159, 2 / 3), lambda a: 1.7159 * math.tanh(2 * a / 3)),
    "elu": ((0.7,), lambda a: a if a > 0 else 0.7 * (math.exp(a) - 1)),
    "selu": ((), lambda a: 1.0507009873554805 * (a if a > 0 else 1.6732632423543772 * (math.exp(a) - 1))),
    "softsign": ((), lambda a: a / (1 + abs(a))),
    "softplus": ((), lambda a: math.log1p(math.exp(a))),
    "silu": ((), lambda a: a / (1 + math.exp(-a))),
    "hard_swish": ((), lambda a: a * min(max(a + 3, 0.0), 6.0) / 6),
    "gelu": ((), lambda a: a * math.erfc(-a / math.sqrt(2)) / 2),
    "gelu_tanh": ((), lambda a: a / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (a + 0.044715 * a**3)))),
    "exponential": ((), math.exp),
    "mish": ((), mish),
}

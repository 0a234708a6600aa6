"""Every ``Function`` of ``minirnn.layers.activations`` in operators of ONNX.

In float32 by the operator that is called as the function is, where there is one; in float64, for which onnxruntime has
few of those, and for the functions that have none of their own, by arithmetic.
"""

import math
from collections.abc import Callable

from minirnn.formats.onnx.structure import FUNCTIONS
from minirnn.formats.onnx.writing.emitter import Emitter
from minirnn.layers.activations import Function

OPERATORS = {ours: kind for kind, ours in FUNCTIONS.items()} | {"linear": "Identity", "selu": "Selu"}
del OPERATORS["mish"], OPERATORS["hard_swish"]  # of later opsets
LAST_AXIS = ("softmax", "log_softmax")
DOUBLE = ("linear", "tanh", "sigmoid", "relu", "exponential")  # onnxruntime has the others in float32 only


def apply(e: Emitter, function: Function, a: str) -> str:
    """The function's value at ``a``."""
    name = function.name
    if name in LAST_AXIS:
        return e(OPERATORS[name], a, axis=-1)
    if name in OPERATORS and (name in DOUBLE or not e.double):
        return e(OPERATORS[name], a, **dict(zip(("alpha", "beta"), function.constants, strict=False)))
    return RULES[name](e, a, *function.constants)


def clip(e: Emitter, a: str, low: float, high: float) -> str:
    """min(max(a, low), high)."""
    return e("Clip", a, e.number(low), e.number(high))


def affine(e: Emitter, a: str, alpha: float, beta: float) -> str:
    """alpha a + beta."""
    return e("Add", e("Mul", a, e.number(alpha)), e.number(beta))


def below(e: Emitter, a: str, bound: float, low: str, high: str) -> str:
    """``low`` where a <= bound, else ``high``."""
    return e("Where", e("LessOrEqual", a, e.number(bound)), low, high)


def softplus(e: Emitter, a: str) -> str:
    """log(1 + exp(a)), without overflow."""
    if not e.double:
        return e("Softplus", a)
    rest = e("Log", e("Add", e.number(1), e("Exp", e("Neg", e("Abs", a)))))
    return e("Add", e("Relu", a), rest)


def elu(e: Emitter, a: str, alpha: float) -> str:
    """alpha (exp(a) - 1) below 0, a above."""
    low = e("Sub", e("Exp", e("Min", a, e.number(0))), e.number(1))
    return below(e, a, 0, e("Mul", low, e.number(alpha)), a)


def gelu(e: Emitter, a: str) -> str:
    """a Φ(a) = a (1 + erf(a / √2)) / 2; onnxruntime has no Erf in float64."""
    erf = e("Erf", e("Mul", a, e.number(0.5**0.5)))
    return e("Mul", e("Mul", a, e.number(0.5)), e("Add", erf, e.number(1)))


def gelu_tanh(e: Emitter, a: str) -> str:
    """Its usual approximation, a (1 + tanh(√(2/π) (a + 0.044715 a³))) / 2."""
    cube = e("Mul", e("Mul", a, a), a)
    inner = e("Mul", e("Add", a, e("Mul", cube, e.number(0.044715))), e.number(math.sqrt(2 / math.pi)))
    return e("Mul", e("Mul", a, e.number(0.5)), e("Add", e("Tanh", inner), e.number(1)))


SELU = 1.6732632423543772, 1.0507009873554805  # Klambauer et al. 2017, arXiv 1706.02515

RULES: dict[str, Callable[..., str]] = {
    "affine": affine,
    "relu6": lambda e, a: clip(e, a, 0, 6),
    "hard_sigmoid": lambda e, a, alpha, beta: clip(e, affine(e, a, alpha, beta), 0, 1),
    "leaky_relu": lambda e, a, alpha: below(e, a, 0, e("Mul", a, e.number(alpha)), a),
    "thresholded_relu": lambda e, a, alpha: below(e, a, alpha, e.number(0), a),
    "scaled_tanh": lambda e, a, alpha, beta: e("Mul", e("Tanh", e("Mul", a, e.number(beta))), e.number(alpha)),
    "elu": elu,
    "selu": lambda e, a: e("Mul", elu(e, a, SELU[0]), e.number(SELU[1])),
    "softsign": lambda e, a: e("Div", a, e("Add", e("Abs", a), e.number(1))),
    "softplus": softplus,
    "silu": lambda e, a: e("Mul", a, e("Sigmoid", a)),
    "hard_swish": lambda e, a: e("Mul", a, clip(e, affine(e, a, 1 / 6, 0.5), 0, 1)),
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "mish": lambda e, a: e("Mul", a, e("Tanh", softplus(e, a))),
}

"""Functions that act on numbers one by one, and what each sends back: those that models of others name.

A ``Function`` is a name with its constants.  ``y = f(a)`` is its value and ``da = f.slope(a, y, dy)`` its transpose.
Both stay silent where an argument is so large that a limit is reached, pass NaN on, keep the dtype, and are
holomorphic away from kinks (branches on the real part), so that complex steps go through.  At a kink the slope is
torch's: 0 where one side is flat.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from minirnn.cells import sigmoid
from minirnn.core.protocol import Array


class _Rule(NamedTuple):
    """``value(a, *constants)``, ``slope(a, y, dy, *constants)``, and the constants' defaults: alpha, then beta."""

    value: Callable[..., Array]
    slope: Callable[..., Array]
    defaults: tuple[float, ...] = ()


@dataclass(frozen=True, repr=False)
class Function:
    """An elementwise function by name; softmax and log_softmax run over the last axis.

    ``linear`` a, ``tanh``, ``sigmoid``, ``exponential`` e^a, ``relu`` max(a, 0), ``relu6`` min(max(a, 0), 6),
    ``leaky_relu`` alpha a below 0, ``thresholded_relu`` a above alpha, else 0, ``hard_sigmoid`` clip(alpha a + beta, 0,
    1), ``affine`` alpha a + beta, ``scaled_tanh`` alpha tanh(beta a), ``elu`` alpha (e^a - 1) below 0, ``selu``
    (Klambauer et al. 2017, arXiv 1706.02515), ``softsign`` a / (1 + |a|), ``softplus`` log(1 + e^a), ``silu`` a σ(a),
    ``hard_swish`` a clip(a / 6 + 1/2, 0, 1) (Howard et al. 2019, arXiv 1905.02244), ``gelu`` a Φ(a) with the normal
    distribution's Φ, ``gelu_tanh`` its usual approximation (Hendrycks and Gimpel 2016, arXiv 1606.08415), ``mish``
    a tanh(softplus(a)), ``softmax``, ``log_softmax``.

    Constants that are not given have ONNX's defaults: hard_sigmoid 0.2 and 0.5 (Keras 3 has 1/6), affine 1 and 0,
    leaky_relu 0.01, thresholded_relu 1, scaled_tanh 1 and 1, elu 1.  A constant that a function does not have, or that
    is no finite number, is a ValueError; so is an unknown name.
    """

    name: str
    alpha: float | None = None
    beta: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or self.name not in _RULES:
            raise ValueError(f"a function's name must be one of {', '.join(_RULES)}; got {self.name!r:.60}")
        defaults = _RULES[self.name].defaults
        for k, word in enumerate(("alpha", "beta")):
            value = getattr(self, word)
            if value is not None and k >= len(defaults):
                raise ValueError(f"{self.name} has no {word}; got {value!r:.60}")
            if k < len(defaults):
                object.__setattr__(self, word, check_finite(word, defaults[k] if value is None else value))

    @property
    def constants(self) -> tuple[float, ...]:
        """Alpha and beta, as many as the function has."""
        return tuple(value for value in (self.alpha, self.beta) if value is not None)

    def __call__(self, a: Array) -> Array:
        """y = f(a), in a's shape and dtype."""
        with np.errstate(over="ignore"):  # an infinity here is either the value or leads to a finite limit
            return _RULES[self.name].value(a, *self.constants)

    @property
    def slope_reads_value(self) -> bool:
        """Whether ``slope`` needs y, and not only a."""
        return self.name in _READS_VALUE

    def slope(self, a: Array, y: Array, dy: Array) -> Array:
        """The gradient of ``a``, where ``y = f(a)`` has the gradient ``dy``."""
        with np.errstate(over="ignore"):
            return _RULES[self.name].slope(a, y, dy, *self.constants)

    def config(self) -> dict[str, Any]:
        """The function as JSON: ``Function(**config)`` is the same."""
        return {"name": self.name, **dict(zip(("alpha", "beta"), self.constants, strict=False))}

    def __repr__(self) -> str:
        constants = zip(("alpha", "beta"), self.constants, _RULES[self.name].defaults, strict=False)
        words = [f"{word}={value!r}" for word, value, default in constants if value != default]
        return f"Function({', '.join([repr(self.name), *words])})"


def check_finite(word: str, value: Any) -> float:
    """``value`` as a float; ValueError unless it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise ValueError(f"{word} must be a finite number; got {value!r:.60}")
    return float(value)


# ---------------------------------------------------------------------- what the rules are made of


def _below(a: Array, bound: float, low: Any, high: Any) -> Array:
    """``low`` where a <= bound, else ``high``, which is where NaN goes."""
    cast = a.dtype.type
    out: Array = np.where(a.real <= bound, *(cast(v) if isinstance(v, (int, float)) else v for v in (low, high)))
    return out


def _above(a: Array, bound: float, low: Any, high: Any) -> Array:
    """``high`` where a >= bound, else ``low``, which is where NaN goes."""
    return _below(-a, -bound, high, low)


def _size(a: Array) -> Array:
    """|a|, holomorphic on either side of 0."""
    return _below(a, 0, -a, a)


def _logistic(a: Array) -> Array:
    """σ(a) with all its digits far below 0 too, where ``cells.sigmoid`` has as many as matter beside 1."""
    e = np.exp(-_size(a))
    out: Array = _below(a, 0, e, 1) / (1 + e)
    return out


def _softplus(a: Array) -> Array:
    out: Array = _below(a, 0, 0, a) + np.log1p(np.exp(-_size(a)))
    return out


_STEP = 0.5  # of the midpoint rule below: its error is about exp(-(π / 0.5)²), 1e-17
_NODES = tuple(((n + 0.5) * _STEP) ** 2 for n in range(13))  # the next one's weight is below 1e-19


def _upper(a: Array) -> Array:
    """1 - Φ(a) = erfc(x) / 2 of the standard normal distribution for a >= 0, where x = a / √2.

    The midpoint rule on erfc(x) = 2 x exp(-x²) / π ∫ exp(-s²) / (s² + x²) ds, s from 0 to ∞, which converges
    exponentially once the pole at s = i x is accounted for (Matta and Reichel 1971, Mathematics of Computation 25).
    """
    x = a * 0.5**0.5
    total = sum(math.exp(-node) / (node + x * x) for node in _NODES)
    pole = _above(x, math.pi / _STEP, 1 / (1 + np.exp(x * (2 * math.pi / _STEP))), 0)
    out: Array = (_STEP / math.pi) * x * np.exp(-x * x) * total + pole
    return out


_FAR = 40.0  # from here on Φ is 0 or 1 to all digits


def _normal(a: Array) -> Array:
    """Φ(a), the standard normal distribution function."""
    upper = _upper(_above(_size(a), _FAR, _size(a), _FAR))
    return _below(a, 0, upper, 1 - upper)


def erf(a: Array) -> Array:
    """The error function, 2 Φ(√2 a) - 1, to the last digits beside 1."""
    out: Array = 2 * _normal(a * 2**0.5) - 1
    return out


_BEND, _CUBIC = (2 / math.pi) ** 0.5, 0.044715


def _gelu_slope(a: Array, y: Array, dy: Array) -> Array:
    near = _above(_size(a), _FAR, a, 0)
    out: Array = dy * (_normal(a) + near * np.exp(-0.5 * near * near) / (2 * math.pi) ** 0.5)
    return out


def _gelu_tanh(a: Array) -> tuple[Array, Array]:
    """a within ±40, and t there: gelu_tanh is a (1 + t) / 2."""
    near = _below(a, -_FAR, -_FAR, _above(a, _FAR, a, _FAR))
    return near, np.tanh(_BEND * (near + _CUBIC * near * near * near))


def _gelu_tanh_slope(a: Array, y: Array, dy: Array) -> Array:
    near, t = _gelu_tanh(a)
    out: Array = dy * 0.5 * (1 + t + near * (1 - t * t) * _BEND * (1 + 3 * _CUBIC * near * near))
    return out


def _mish_slope(a: Array, y: Array, dy: Array) -> Array:
    t = np.tanh(_softplus(a))
    out: Array = dy * (t + a * (1 - t * t) * _logistic(a))
    return out


def _scaled_tanh_slope(a: Array, y: Array, dy: Array, alpha: float, beta: float) -> Array:
    t = np.tanh(beta * a)
    out: Array = dy * (alpha * beta) * (1 - t * t)
    return out


def _silu_slope(a: Array, y: Array, dy: Array) -> Array:
    s = _logistic(a)
    out: Array = dy * (s + a * s * (1 - s))
    return out


def _softsign_slope(a: Array, y: Array, dy: Array) -> Array:
    r = 1 / (1 + _size(a))
    out: Array = dy * r * r
    return out


def _shifted(a: Array) -> Array:
    """``a`` less its largest entry along the last axis, so that no exponential is above 1."""
    out: Array = a - a.real.max(axis=-1, keepdims=True)
    return out


def _softmax(a: Array) -> Array:
    e = np.exp(_shifted(a))
    out: Array = e / e.sum(axis=-1, keepdims=True)
    return out


def _log_softmax(a: Array) -> Array:
    shifted = _shifted(a)
    out: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return out


def _clip(a: Array, low: float, high: float) -> Array:
    return _below(a, low, low, _above(a, high, a, high))


def _inside(a: Array, low: float, high: float, dy: Array) -> Array:
    return _below(a, low, 0, _above(a, high, dy, 0))


_ELU, _SELU = 1.6732632423543772, 1.0507009873554805  # Klambauer et al., to all digits of float64

_READS_VALUE = ("tanh", "sigmoid", "elu", "selu", "exponential", "softmax", "log_softmax")

_RULES: dict[str, _Rule] = {
    "linear": _Rule(lambda a: a, lambda a, y, dy: dy),
    "tanh": _Rule(np.tanh, lambda a, y, dy: dy * (1 - y * y)),
    "sigmoid": _Rule(sigmoid, lambda a, y, dy: dy * y * (1 - y)),
    "relu": _Rule(lambda a: _below(a, 0, 0, a), lambda a, y, dy: _below(a, 0, 0, dy)),
    "relu6": _Rule(lambda a: _clip(a, 0, 6), lambda a, y, dy: _inside(a, 0, 6, dy)),
    "hard_sigmoid": _Rule(
        lambda a, alpha, beta: _clip(alpha * a + beta, 0, 1),
        lambda a, y, dy, alpha, beta: _inside(alpha * a + beta, 0, 1, alpha * dy),
        (0.2, 0.5),
    ),
    "affine": _Rule(lambda a, alpha, beta: alpha * a + beta, lambda a, y, dy, alpha, beta: alpha * dy, (1.0, 0.0)),
    "leaky_relu": _Rule(
        lambda a, alpha: _below(a, 0, alpha * a, a), lambda a, y, dy, alpha: _below(a, 0, alpha * dy, dy), (0.01,)
    ),
    "thresholded_relu": _Rule(
        lambda a, alpha: _below(a, alpha, 0, a), lambda a, y, dy, alpha: _below(a, alpha, 0, dy), (1.0,)
    ),
    "scaled_tanh": _Rule(lambda a, alpha, beta: alpha * np.tanh(beta * a), _scaled_tanh_slope, (1.0, 1.0)),
    "elu": _Rule(
        lambda a, alpha: _below(a, 0, alpha * np.expm1(_below(a, 0, a, 0)), a),
        lambda a, y, dy, alpha: _below(a, 0, dy * (y + alpha), dy),
        (1.0,),
    ),
    "selu": _Rule(
        lambda a: _SELU * _below(a, 0, _ELU * np.expm1(_below(a, 0, a, 0)), a),
        lambda a, y, dy: _below(a, 0, dy * (y + _SELU * _ELU), _SELU * dy),
    ),
    "softsign": _Rule(lambda a: a / (1 + _size(a)), _softsign_slope),
    "softplus": _Rule(_softplus, lambda a, y, dy: dy * _logistic(a)),
    "silu": _Rule(lambda a: a * _logistic(a), _silu_slope),
    "gelu": _Rule(lambda a: a * _normal(a), _gelu_slope),
    "gelu_tanh": _Rule(lambda a: 0.5 * a * (1 + _gelu_tanh(a)[1]), _gelu_tanh_slope),
    "hard_swish": _Rule(
        lambda a: a * _clip(a / 6 + 0.5, 0, 1),
        lambda a, y, dy: _below(a, -3, 0, _above(a, 3, dy * (a / 3 + 0.5), dy)),
    ),
    "exponential": _Rule(np.exp, lambda a, y, dy: dy * y),
    "mish": _Rule(lambda a: a * np.tanh(_softplus(a)), _mish_slope),
    "softmax": _Rule(_softmax, lambda a, y, dy: y * (dy - (dy * y).sum(axis=-1, keepdims=True))),
    "log_softmax": _Rule(_log_softmax, lambda a, y, dy: dy - np.exp(y) * dy.sum(axis=-1, keepdims=True)),
}

NAMES = tuple(_RULES)

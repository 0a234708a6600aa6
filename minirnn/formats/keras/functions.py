"""Keras' activations, by name or as a layer, as Functions."""

from collections.abc import Mapping
from math import isclose
from typing import Any

from minirnn.formats.keras.settings import Settings
from minirnn.layers.activations import Function

LINEAR = Function("linear")
_PLAIN = {
    **{name: name for name in ("linear", "tanh", "sigmoid", "relu", "relu6", "elu", "selu", "softsign", "softplus")},
    **{name: name for name in ("silu", "gelu", "exponential", "mish", "softmax", "log_softmax")},
    "swish": "silu",
    "hard_silu": "hard_swish",
    "hard_swish": "hard_swish",
}
_NAMES = {name: name for name in _PLAIN.values() if name != "elu"}
_NAMES |= {"hard_swish": "hard_silu"}
_NAMES_IN_2, _NOT_IN_2 = {"silu": "swish"}, ("relu6", "log_softmax", "hard_swish")
LEAK = 0.2  # of leaky_relu by its name
LAYERS = ("Activation", "ReLU", "LeakyReLU", "ELU", "Softmax", "ThresholdedReLU")  # layers that are a function alone


def function(value: Any, settings: Settings, keras: int | None) -> Function:
    """The function that ``value`` stands for in the ``settings`` of a layer: a name, None, or a layer.

    ``keras`` is the version of Keras, 2 or 3, that the model was made with, None where that is unknown: hard_sigmoid is
    clip(0.2 a + 0.5, 0, 1) in the one and relu6(a + 3) / 6 in the other.
    """
    if isinstance(value, Mapping):
        kind, inner = value.get("class_name"), value.get("config")
        if kind == "function" or isinstance(inner, str):
            value = inner
        elif isinstance(kind, str) and kind in LAYERS:
            return function_of_layer(kind, Settings(kind, settings.title, inner), keras)
    if value is None:
        return LINEAR
    if not isinstance(value, str):
        raise settings.fault(f"an activation must be one that Keras has a name for; got {value!r:.60}")
    if value in _PLAIN:
        return Function(_PLAIN[value])
    if value == "leaky_relu":
        return Function("leaky_relu", LEAK)
    if value == "hard_sigmoid":
        if keras is None:
            raise settings.fault("hard_sigmoid is one function in Keras 2 and another in 3: config needs keras_version")
        return Function("hard_sigmoid", 0.2 if keras < 3 else 1 / 6, 0.5)
    raise settings.fault(f"activation {value!r:.60} is not supported")


def function_of_layer(kind: str, settings: Settings, keras: int | None) -> Function:
    """The function that one of ``LAYERS`` is."""
    if kind == "Activation":
        return function(settings.values.get("activation"), settings, keras)
    if kind == "LeakyReLU":
        return Function(
            "leaky_relu", settings.number("negative_slope" if settings.has("negative_slope") else "alpha", 0.3)
        )
    if kind == "ELU":
        return Function("elu", settings.number("alpha", 1.0))
    if kind == "ThresholdedReLU":
        return Function("thresholded_relu", settings.number("theta", 1.0))
    if kind == "Softmax":
        settings.refuse("axis", -1, [-1])
        return Function("softmax")
    top = settings.number("max_value", 0.0) if settings.has("max_value") else None
    slope = settings.number("negative_slope", 0.0) if settings.has("negative_slope") else 0.0
    threshold = settings.number("threshold", 0.0) if settings.has("threshold") else 0.0
    if (slope, threshold) == (0, 0) and top in (None, 6):
        return Function("relu" if top is None else "relu6")
    if top is None and threshold == 0:
        return Function("leaky_relu", slope)
    if top is None and slope == 0:
        return Function("thresholded_relu", threshold)
    raise settings.fault(
        f"a ReLU with max_value={top}, negative_slope={slope} and threshold={threshold} is not supported"
    )


def spelled(f: Function, version: int) -> str | tuple[str, dict[str, Any]]:
    """A function in Keras 2 or 3: its name, else the layer that it is and that layer's settings.

    ValueError where it has neither.
    """
    if f.name in _NAMES and (version == 3 or f.name not in _NOT_IN_2):
        return _NAMES[f.name] if version == 3 else _NAMES_IN_2.get(f.name, f.name)
    if f.name == "hard_sigmoid" and f.beta == 0.5:
        slopes = {2: (0.2, "clip(0.2 a + 0.5, 0, 1)"), 3: (1 / 6, "clip(a / 6 + 0.5, 0, 1)")}
        if isclose(f.constants[0], slopes[version][0], rel_tol=1e-7):  # it may have been a float32
            return "hard_sigmoid"
        if isclose(f.constants[0], slopes[5 - version][0], rel_tol=1e-7):
            raise ValueError(f"hard_sigmoid is {slopes[version][1]} in Keras {version}; this is Keras {5 - version}'s")
    if f.name == "elu":
        return "elu" if f.alpha == 1 else ("ELU", {"alpha": f.alpha})
    if f.name == "relu6":
        return "ReLU", {"max_value": 6.0}
    if f.name == "leaky_relu":
        if version == 3 and f.alpha == LEAK:
            return "leaky_relu"
        return "LeakyReLU", {"negative_slope" if version == 3 else "alpha": f.alpha}
    if f.name == "thresholded_relu" and f.constants[0] >= 0:
        return "ReLU", {"threshold": f.alpha}
    raise ValueError(f"it has no {f!r}")

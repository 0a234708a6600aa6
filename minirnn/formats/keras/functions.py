"""Keras' activations, by name or as a layer, as Functions."""

from collections.abc import Mapping
from typing import Any

from minirnn.activations import Function
from minirnn.formats.keras.settings import Settings

LINEAR = Function("linear")
_PLAIN = {
    **{name: name for name in ("linear", "tanh", "sigmoid", "relu", "relu6", "elu", "selu", "softsign", "softplus")},
    **{name: name for name in ("silu", "gelu", "exponential", "mish", "softmax", "log_softmax")},
    "swish": "silu",
}
_NAMES = {name: name for name in _PLAIN.values() if name != "elu"}
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
        return Function("leaky_relu", 0.2)
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


def spelled(f: Function) -> str | tuple[str, dict[str, Any]]:
    """What Keras 3 calls a function: its name, else the layer that it is and that layer's settings.

    ValueError where it has neither.
    """
    if f.name in _NAMES:
        return _NAMES[f.name]
    if f == Function("hard_sigmoid", 1 / 6, 0.5):
        return "hard_sigmoid"
    if f.name == "elu":
        return "elu" if f.alpha == 1 else ("ELU", {"alpha": f.alpha})
    if f.name == "leaky_relu":
        return "LeakyReLU", {"negative_slope": f.alpha}
    if f.name == "thresholded_relu" and f.constants[0] >= 0:
        return "ReLU", {"threshold": f.alpha}
    if f == Function("hard_sigmoid", 0.2, 0.5):
        raise ValueError("hard_sigmoid is clip(a / 6 + 0.5, 0, 1) in Keras 3; clip(0.2 a + 0.5, 0, 1) was Keras 2's")
    raise ValueError(f"it has no {f!r}")

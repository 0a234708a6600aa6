"""Keras' layers around a recurrence and minirnn's, each from the other: convolution, pooling, norms, PReLU."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.layer import Layer
from minirnn.formats.keras.settings import Settings
from minirnn.formats.keras.stores import Stored, values
from minirnn.formats.keras.weights import Getter, Placed, expect, plain
from minirnn.layers.convolution import Conv1d
from minirnn.layers.feedforward import PReLU
from minirnn.layers.normalisation import BatchNorm1d, LayerNorm
from minirnn.layers.pooling import AvgPool1d, GlobalAvgPool1d, GlobalMaxPool1d, MaxPool1d
from minirnn.layers.windows import Padding, Windowed

POOLS = ("MaxPooling1D", "AveragePooling1D")
OF_ALL = {"GlobalMaxPooling1D": GlobalMaxPool1d, "GlobalAveragePooling1D": GlobalAvgPool1d}
NORMS = ("LayerNormalization", "BatchNormalization")
BY_STEP = (*NORMS, "PReLU")
AROUND = (*BY_STEP, "Conv1D", *POOLS, *OF_ALL)
MIXING = (  # with which Keras forgets a mask, and reads what it covers
    *("Conv1D", "GlobalMaxPooling1D", "Flatten"),
    *POOLS,
)
EPSILON = 1e-3  # Keras' default


def stored_arrays(kind: str, settings: Settings) -> int:
    """How many arrays one of ``AROUND`` has in a file."""
    if kind == "Conv1D":
        return 2 if settings.flag("use_bias", default=True) else 1
    if kind in NORMS:
        own = sum(settings.flag(name, default=True) for name in ("scale", "center"))
        return own + (2 if kind == "BatchNormalization" else 0)
    return 1 if kind == "PReLU" else 0


def placed(
    kind: str, settings: Settings, stored: Sequence[Stored], steps: int | None, width: int | None, rank: int
) -> Placed:
    """One of ``AROUND`` with its weights, for so many steps and features, None where not known, of ``rank`` axes."""
    if settings.values.get("data_format") not in (None, "channels_last"):
        raise settings.fault("data_format must be 'channels_last': features come last here")
    if kind == "Conv1D":
        return _convolution(settings, stored, steps)
    if kind in POOLS:
        return Placed(_pool(kind, settings, steps))
    if kind in OF_ALL:
        settings.refuse("keepdims")
        return Placed(OF_ALL[kind]())
    if kind == "PReLU":
        return _prelu(settings, stored[0])
    return _norm(kind, settings, stored, width, rank)


def _convolution(settings: Settings, stored: Sequence[Stored], steps: int | None) -> Placed:
    kernel, filters, groups = settings.one("kernel_size"), settings.size("filters"), settings.one("groups", 1)
    shape = stored[0].shape
    if len(shape) != 3 or shape[1] < 1:
        raise settings.fault(f"must have a kernel of shape ({kernel}, in / groups, {filters}); it has {shape}")
    expect(settings, stored[0], (kernel, shape[1], filters))
    stride, dilation, bias = settings.one("strides", 1), settings.one("dilation_rate", 1), len(stored) == 2
    padding = _padding(settings, (kernel - 1) * dilation + 1, stride, steps, also="causal")
    layer = made(
        settings,
        lambda: Conv1d(
            *(shape[1] * groups, filters, kernel, stride),
            padding=padding,
            dilation=dilation,
            groups=groups,
            bias=bias,
        ),
    )
    sources: dict[str, Getter] = {"W": lambda: values(stored[0]).reshape(-1, filters)}
    if bias:
        expect(settings, stored[1], (filters,))
        sources["b"] = plain(stored[1])
    return Placed(layer, sources)


def _pool(kind: str, settings: Settings, steps: int | None) -> Layer:
    size = settings.one("pool_size", 2)
    stride = settings.one("strides", size)
    padding = _padding(settings, size, stride, steps)
    if kind == "MaxPooling1D":
        return made(settings, lambda: MaxPool1d(size, stride, padding))
    return made(settings, lambda: AvgPool1d(size, stride, padding, count_padding=padding == 0))


def _padding(settings: Settings, size: int, stride: int, steps: int | None, also: str = "same") -> Padding:
    """Keras' word for padding as a layer's here; with windows of one step there is none.

    "same" with a stride depends on the number of steps, and is that for as many as the model's input has.
    """
    word = settings.values.get("padding", "valid")
    if word not in ("valid", "same", also):
        raise settings.fault(f"padding={word!r:.40} is not supported")
    if word == "same" and stride > 1 and size > 1 and steps is not None:
        added = max(0, (-(-steps // stride) - 1) * stride + size - steps)
        return added // 2, added - added // 2
    return 0 if word == "valid" or size == 1 else str(word)


def made(settings: Settings, make: Callable[[], Layer]) -> Layer:
    """The layer, or the error that it raises, of the layer that ``settings`` are of."""
    try:
        return make()
    except ValueError as error:
        raise settings.fault(str(error)) from None


def _prelu(settings: Settings, stored: Stored) -> Placed:
    shape = stored.shape
    if not shape or shape[-1] < 1 or any(n != 1 for n in shape[:-1]):
        raise settings.fault(f"must have one slope for each feature or for all (shared_axes=[1]); it has {shape}")
    return Placed(PReLU(shape[-1], start=0.0), {"a": lambda: values(stored).reshape(-1)})


def _norm(kind: str, settings: Settings, stored: Sequence[Stored], width: int | None, rank: int) -> Placed:
    """gamma and beta, as far as they are there, and of BatchNormalization the mean and the variance."""
    settings.refuse("rms_scaling")
    settings.refuse("renorm")
    axis: Any = settings.values.get("axis", -1)
    axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    if isinstance(axis, bool) or axis not in (-1, rank - 1):
        raise settings.fault(f"axis={axis!r:.40} is not supported: only features are normalised, the last axis")
    D, epsilon = stored[0].shape[-1] if stored and stored[0].shape else width, settings.number("epsilon", EPSILON)
    if D is None:
        raise settings.fault("has no weights to tell the number of features by")
    for dataset in stored:
        expect(settings, dataset, (D,))
    gain, bias = settings.flag("scale", default=True), settings.flag("center", default=True)
    names = [name for name, there in (("g", gain), ("b", bias)) if there]
    if kind == "LayerNormalization":
        layer = made(settings, lambda: LayerNorm(D, epsilon, gain=gain, bias=bias))
        return Placed(layer, {name: plain(dataset) for name, dataset in zip(names, stored, strict=True)})
    sources = {name: plain(dataset) for name, dataset in zip([*names, "mean", "var"], stored, strict=True)}
    if not gain:
        sources["g"] = lambda: np.ones(D, np.float32)
    return Placed(made(settings, lambda: BatchNorm1d(D, epsilon)), sources)


# ---------------------------------------------------------------------- minirnn's layers in Keras' words


class Words(NamedTuple):
    """A layer of Keras: its class, what its configuration says beside its name, and its arrays."""

    kind: str
    config: dict[str, Any]
    arrays: dict[str, Array]


def words(layer: Layer, host: Callable[[Array], Array], *, timed: bool) -> Words | None:
    """A layer in Keras' words, None where it is none of those here; ValueError where Keras has no words for it."""
    w = {name: host(layer.weight(name)) for name in layer.specs()}
    if isinstance(layer, (LayerNorm, BatchNorm1d)):
        config: dict[str, Any] = {"axis": -1, "epsilon": layer.eps, "scale": "g" in w, "center": "b" in w}
        names = {"g": "gamma", "b": "beta", "mean": "moving_mean", "var": "moving_variance"}
        return Words(NORMS[isinstance(layer, BatchNorm1d)], config, {names[name]: a for name, a in w.items()})
    if isinstance(layer, PReLU):
        shared = ([1] if timed else []) + ([2 if timed else 1] if layer.num_parameters == 1 else [])
        shape = ((1,) if timed else ()) + w["a"].shape
        return Words("PReLU", {"shared_axes": shared or None}, {"alpha": w["a"].reshape(shape)})
    if isinstance(layer, Conv1d):
        config = {"filters": layer.out_channels, "kernel_size": [layer.kernel_size], "strides": [layer.stride]}
        config |= {"padding": _word(layer), "dilation_rate": [layer.dilation], "groups": layer.groups}
        kernel = w["W"].reshape(layer.kernel_size, -1, layer.out_channels)
        arrays = {"kernel": kernel} | ({"bias": w["b"]} if layer.bias else {})
        return Words("Conv1D", config | {"use_bias": layer.bias}, arrays)
    if isinstance(layer, (MaxPool1d, AvgPool1d)):
        config = {"pool_size": [layer.kernel_size], "strides": [layer.stride], "padding": _word(layer)}
        if isinstance(layer, AvgPool1d) and config["padding"] == "same" and layer.count_padding:
            raise ValueError("its means do not count padding")
        return Words(POOLS[isinstance(layer, AvgPool1d)], config, {})
    kinds = [kind for kind, own in OF_ALL.items() if type(layer) is own]
    return Words(kinds[0], {}, {}) if kinds else None


def _word(layer: Windowed) -> str:
    """Keras' word for a layer's padding."""
    if layer.left == layer.right == 0:
        return "valid"
    if layer.padding not in ("same", "causal"):
        raise ValueError("its padding is 'valid', 'same' or 'causal', and no number of steps")
    return str(layer.padding)

"""Pooling over time among torch's modules without weights, from their attributes."""

from collections.abc import Mapping
from typing import Any

from minirnn.core.layer import Layer
from minirnn.formats.containers.pickle import shown
from minirnn.layers.pooling import AvgPool1d, GlobalAvgPool1d, GlobalMaxPool1d, MaxPool1d

LARGEST = 2**12  # steps of a window, a stride, a padding: what a layer makes is as large
POOLS = ("MaxPool1d", "AvgPool1d")
OF_ALL = {"AdaptiveMaxPool1d": GlobalMaxPool1d, "AdaptiveAvgPool1d": GlobalAvgPool1d}


def pool(name: str, attributes: Mapping[Any, Any]) -> Layer | None:
    """The layer that an object of this class of torch.nn is, None for any other; ValueError where there is none."""
    if name in OF_ALL:
        if one(attributes, "output_size", 1) != 1:
            raise ValueError(f"output_size must be 1; it is {shown(attributes['output_size'])}")
        return OF_ALL[name]()
    if name not in POOLS:
        return None
    for word, harmless in (("ceil_mode", False), ("dilation", 1), ("return_indices", False)):
        if one(attributes, word, harmless) != harmless:
            raise ValueError(f"{word} must be {harmless}; it is {shown(attributes[word])}")
    size = one(attributes, "kernel_size", 0)
    stride, padding = one(attributes, "stride", size), one(attributes, "padding", 0)
    if name == "MaxPool1d":
        return MaxPool1d(size, stride, padding)
    return AvgPool1d(size, stride, padding, count_padding=bool(attributes.get("count_include_pad", True)))


def one(attributes: Mapping[Any, Any], word: str, default: int) -> int:
    """A number, which torch may have as a tuple of one, or None for the default; ValueError for anything else."""
    value = attributes.get(word, default)
    value = value[0] if type(value) is tuple and len(value) == 1 else default if value is None else value
    if type(value) not in (int, bool) or not 0 <= value <= LARGEST:
        raise ValueError(f"{word} must be a number from 0 to {LARGEST:,}; it is {shown(value)}")
    return int(value)

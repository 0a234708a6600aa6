"""Weights that torch.nn.utils.weight_norm keeps as two tensors, a length and a direction, as the one that they make.

    w = g v / ‖v‖                                                                                       (1)

with one norm for each number in g (Salimans & Kingma, Weight Normalization, 2016).  Older torch names them ``weight_g``
and ``weight_v``, newer ``parametrizations.weight.original0`` and ``original1``.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from minirnn.core.backend import Array
from minirnn.formats.torch.stored import Named, StoredTensors

PARAMETRIZED = "parametrizations"


def joined(source: StoredTensors) -> StoredTensors:
    """The same tensors, each such pair as the weight that it makes, in the place of its length."""
    pairs = {length: pair for length in source.tensors if (pair := _pair(source, length))}
    if not pairs:
        return source
    within = {direction for _, direction in pairs.values()}
    tensors: dict[str, Named] = {}
    reads: dict[str, Callable[[], Array]] = {}
    for name, tensor in source.tensors.items():
        if name in pairs:
            whole, direction = pairs[name]
            stored = source.tensors[direction]
            tensors[whole] = stored._replace(identity=("weight_norm", tensor.identity, stored.identity))
            reads[whole] = _reading(source, name, direction)
        elif name not in within:
            tensors[name] = tensor
    return replace(source, tensors=tensors, fetch=lambda name: reads[name]() if name in reads else source.fetch(name))


def _pair(source: StoredTensors, length: str) -> tuple[str, str] | None:
    """The name of the weight and of the direction of a pair, by the name of its length; None where there is no pair."""
    before, _, last = length.rpartition(".")
    if last == "original0":
        module, _, weight = before.rpartition(".")
        owner, _, word = module.rpartition(".")
        if word != PARAMETRIZED:
            return None
        whole, direction = f"{owner}.{weight}" if owner else weight, f"{before}.original1"
    elif last.startswith("weight") and last.endswith("_g"):
        whole, direction = length[:-2], f"{length[:-2]}_v"
    else:
        return None
    if direction not in source.tensors or whole in source.tensors:
        return None
    g, v = source.tensors[length].shape, source.tensors[direction].shape
    fits = len(g) == len(v) and all(one in (1, other) for one, other in zip(g, v, strict=True))
    return (whole, direction) if fits or g == () else None


def _reading(source: StoredTensors, length: str, direction: str) -> Callable[[], Array]:
    def read() -> Array:
        g, v = source.fetch(length), source.fetch(direction)
        wide = v.astype(np.float64)
        axes = tuple(k for k, n in enumerate(g.shape or (1,) * v.ndim) if n == 1)
        norm = np.sqrt((wide * wide).sum(axis=axes, keepdims=True))
        weight: Array = (g * wide / norm).astype(v.dtype)  # (1)
        return weight

    return read

"""Weights in a graph, in an operator's layout and in the bits that the model stores them in.

Those of a quantised model take as few bytes in the file: float16 is widened where it is used, int8 widened and
multiplied with its scales.  Runtimes work that out once, when they read the file.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.module import Weighted
from minirnn.formats.onnx.writing.emitter import Emitter
from minirnn.inference.blocks import BlockedMatrix

Fetch: TypeAlias = Callable[[Weighted, str], Array]  # a layer's weight of that name


def weight(e: Emitter, layer: Weighted, name: str) -> str:
    """A layer's weight as it is."""
    return laid_out(e, name, lambda fetch: fetch(layer, name))


def laid_out(e: Emitter, name: str, layout: Callable[[Fetch], Array]) -> str:
    """The weight that ``layout`` makes of those that it fetches, by moving numbers.

    Of matrices in int8 it is made twice, of the numbers and of their scales, which are one line of the matrix or one
    column.
    """
    values = layout(_numbers)
    if values.dtype == np.int8:
        numbers, scales = e.weight(name, values), e.weight(f"{name}.scale", layout(_scales))
        return e("Mul", e("Cast", numbers, to=e.kind), scales)
    stored = e.weight(name, values)
    return e("Cast", stored, to=e.kind) if values.dtype != e.dtype else stored


def _numbers(layer: Weighted, name: str) -> Array:
    matrix = layer.weight(name)
    return matrix.values() if isinstance(matrix, BlockedMatrix) else layer.bound.backend.host(matrix)


def _scales(layer: Weighted, name: str) -> Array:
    matrix: BlockedMatrix = layer.weight(name)
    assert matrix.scale is not None
    return matrix.scale[:, None] if matrix.transposed else matrix.scale[None]

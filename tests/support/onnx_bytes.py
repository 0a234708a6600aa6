"""Models of ONNX written byte by byte, with no package: for files that none would write."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from mutations import Field, message
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

FLOAT, INT64 = 1, 7
KINDS = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "bool": 9, "float16": 10, "float64": 11}


def text(number: int, *words: str) -> list[Field]:
    """A field of text for each word."""
    return [(number, 2, word.encode("utf-8", "surrogateescape")) for word in words]


def within(number: int, *parts: list[Field]) -> list[Field]:
    """A field that holds a message, for each."""
    return [(number, 2, message(part)) for part in parts]


def tensor(name: str, values: Any, *, dims: Sequence[int] | None = None) -> list[Field]:
    """A TensorProto of an array, in raw bytes; ``dims`` may say something else than the array's shape."""
    a = np.asarray(values)
    sizes: list[Field] = [(1, 0, n % 2**64) for n in (a.shape if dims is None else dims)]
    return [*sizes, (2, 0, KINDS[a.dtype.name]), *text(8, name), (9, 2, a.tobytes())]


def attribute(name: str, value: Any) -> list[Field]:
    """An AttributeProto of a number, text, a tensor (fields), a graph (bytes), or a list of numbers."""
    head = text(1, name)
    match value:
        case float():
            return [*head, (2, 5, np.float32(value).tobytes()), (20, 0, 1)]
        case int():
            return [*head, (3, 0, value % 2**64), (20, 0, 2)]
        case str():
            return [*head, *text(4, value), (20, 0, 3)]
        case bytes():
            return [*head, (6, 2, value), (20, 0, 5)]
        case [(_, _, _), *_]:
            return [*head, *within(5, value), (20, 0, 4)]
        case [float(), *_]:
            return [*head, *((7, 5, np.float32(v).tobytes()) for v in value), (20, 0, 6)]
    return [*head, *((8, 0, v % 2**64) for v in value), (20, 0, 7)]


def node(op: str, inputs: str, outputs: str, **attributes: Any) -> list[Field]:
    """A NodeProto; names are separated by spaces, "-" for one that is left out."""
    names = [[word.replace("-", "") for word in words.split()] for words in (inputs, outputs)]
    made = [*text(1, *names[0]), *text(2, *names[1]), *text(4, op)]
    return made + within(5, *(attribute(name, value) for name, value in attributes.items()))


def port(name: str, shape: Sequence[int | str] | None, kind: int = FLOAT) -> list[Field]:
    """A ValueInfoProto."""
    about: list[Field] = [(1, 0, kind)]
    if shape is not None:
        dims: list[list[Field]] = [[(1, 0, n)] if isinstance(n, int) else text(2, n) for n in shape]
        about += within(2, within(1, *dims)) if dims else [(2, 2, b"")]
    return text(1, name) + within(2, within(1, about))


def graph(
    nodes: Sequence[list[Field]],
    inputs: Sequence[list[Field]] = (),
    outputs: Sequence[list[Field]] = (),
    tensors: Sequence[list[Field]] = (),
) -> list[Field]:
    """A GraphProto."""
    return within(1, *nodes) + text(2, "g") + within(5, *tensors) + within(11, *inputs) + within(12, *outputs)


def model(
    nodes: Sequence[list[Field]],
    inputs: Sequence[list[Field]] = (),
    outputs: Sequence[list[Field]] = (),
    tensors: Sequence[list[Field]] = (),
    *,
    opset: int = 17,
) -> bytes:
    """The bytes of a ModelProto."""
    return message([(1, 0, 8), *within(7, graph(nodes, inputs, outputs, tensors)), *within(8, [(2, 0, opset)])])

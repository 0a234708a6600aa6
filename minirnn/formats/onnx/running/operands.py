"""Validation of operator inputs."""

from collections.abc import Callable
from typing import Any

from minirnn.core.backend import Array
from minirnn.core.files import ModelFileError
from minirnn.formats.onnx.running.perform import Operands
from minirnn.formats.onnx.structure import MOST_AXES, Node


def one_dtype(*arrays: Array | None) -> None:
    """Raise ModelFileError unless all have the same dtype."""
    dtypes = {str(a.dtype) for a in arrays if a is not None}
    if len(dtypes) > 1:
        raise ModelFileError(f"operands must have one dtype; they have {', '.join(sorted(dtypes))}")


def of_kind(array: Array, kinds: str) -> Array:
    """``array``, or ModelFileError where its dtype is of another kind: f floats, i and u integers, b bool."""
    if array.dtype.kind not in kinds:
        words = {"f": "floats", "i": "integers", "u": "integers", "b": "bool"}
        raise ModelFileError(
            f"operands must be {' or '.join(dict.fromkeys(words[k] for k in kinds))}; got {array.dtype}"
        )
    return array


def axis_of(axis: int, ndim: int) -> int:
    """``axis`` counted from the front."""
    if not -ndim <= axis < ndim:
        raise ModelFileError(f"an axis must be from {-ndim} to {ndim - 1}; got {axis}")
    return axis % ndim


def whole(array: Array | None, most: int = MOST_AXES) -> list[int]:
    """A list of integers that a graph computes, at most ``most`` of them: it becomes Python's own numbers."""
    if array is None or array.dtype.kind not in "iu" or array.ndim > 1:
        got = "none" if array is None else f"{array.dtype} of shape {array.shape}"
        raise ModelFileError(f"a list of integers is expected; got {got}")
    check_count(array.size, most)
    return [int(v) for v in array.reshape(-1)]


def check_count(count: int, most: int) -> None:
    """Raise ModelFileError for a list that is longer than any use of it."""
    if count > most:
        raise ModelFileError(f"a list of at most {most} integers is expected; got {count:,}")


def listed(
    node: Node, name: str, since: int, place: int = 1, *, most: int = MOST_AXES
) -> Callable[[Operands], list[int] | None]:
    """A list that was an attribute before an operator set, and is an input from then on: a number for each axis."""
    if node.opset < since:
        fixed = node.values(name, int)
        check_count(len(fixed or ()), most)
        if len(node.inputs) > place:
            raise ModelFileError(f"{name} must be an attribute before opset {since}; there is an input for it")
        return lambda _: fixed
    return lambda operands: None if len(operands) <= place or operands[place] is None else whole(operands[place], most)


def optional(operands: Operands, place: int) -> Array | None:
    """An input that may be left out."""
    return operands[place] if len(operands) > place else None


def scalar(array: Array) -> Any:
    """The one number of an array."""
    if array.size != 1:
        raise ModelFileError(f"one number is expected; got shape {array.shape}")
    return array.reshape(())[()]

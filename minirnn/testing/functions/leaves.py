"""Arguments and results as what they are made of: arrays of floats, by name, in tuples, lists, dicts and dataclasses.

Everything else (integers, booleans, strings, generators, objects) is handed on as it is.  Arrays of other libraries are
read into NumPy's and made again in their own: those that know their namespace (``__array_namespace__``), as the array
API standard has it, and torch's tensors, whose namespace is torch.
"""

import copy
import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from minirnn.core.arrays import Array as Array

Path: TypeAlias = tuple[Any, ...]


class Leaf(NamedTuple):
    """An array of floats in a nested value: its name for a reader, where it is, and its numbers."""

    name: str
    path: Path
    array: Array


def leaves_of(value: Any, name: str, path: Path = ()) -> Iterator[Leaf]:
    """The arrays of floats in ``value``, in order; a Python float is an array without axes."""
    array = floats_in(value)
    if array is not None:
        yield Leaf(name, path, array)
    for key, part, word in parts_of(value):
        yield from leaves_of(part, name + word, (*path, key))


def floats_in(value: Any) -> Array | None:
    """``value`` as an array of float64 or complex128, or None where it is no array of floats."""
    if isinstance(value, (bool, int, str, bytes, type(None))) or not is_number(value):
        return None
    array = np.asarray(value.detach() if is_tensor(value) else value)
    if array.dtype.kind not in "fc":
        return None
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def numbers_in(value: Any) -> Array | None:
    """A gradient as floats, whatever kind of numbers it came in; None where it is none."""
    if isinstance(value, (bool, int, np.integer)):
        return np.asarray(float(value))
    if isinstance(value, np.ndarray) and value.dtype.kind in "iub":
        return value.astype(float)
    array = floats_in(value)
    return None if array is None else array.real


def unshared(value: Any) -> Any:
    """The same with arrays of its own, where it is an array of NumPy's, or a list, tuple or dict."""
    if isinstance(value, np.ndarray):
        return value.copy()
    if type(value) in (list, tuple):
        return type(value)(unshared(part) for part in value)
    if type(value) is dict:
        return {key: unshared(part) for key, part in value.items()}
    return value


def is_number(value: Any) -> bool:
    """Whether ``value`` is an array, of NumPy's or another library's, or a single number."""
    if isinstance(value, (np.ndarray, np.number, float, complex)):
        return True
    return hasattr(type(value), "__array_namespace__") or is_tensor(value)


def is_tensor(value: Any) -> bool:
    """Whether ``value`` is a tensor of torch, which is not imported for the question."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def parts_of(value: Any) -> Iterator[tuple[Any, Any, str]]:
    """The key, the value and the words of every part of a container."""
    if isinstance(value, (tuple, list)):
        names = getattr(value, "_fields", None)
        for k, part in enumerate(value):
            yield k, part, f".{names[k]}" if names else f"[{k}]"
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield key, part, f"[{key!r}]"
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield field.name, getattr(value, field.name), f".{field.name}"


def with_arrays(value: Any, make: Callable[[Path], Array | None], path: Path = ()) -> Any:
    """A copy of ``value`` with ``make(path)`` in place of each array of floats; None keeps its numbers."""
    array = floats_in(value)
    if array is not None:
        new = make(path)
        return like(value, array if new is None else new)
    if isinstance(value, (tuple, list)):
        parts = [with_arrays(part, make, (*path, k)) for k, part in enumerate(value)]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if isinstance(value, Mapping):
        return {key: with_arrays(part, make, (*path, key)) for key, part in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        new_one = copy.copy(value)
        for field in dataclasses.fields(value):
            part = with_arrays(getattr(value, field.name), make, (*path, field.name))
            object.__setattr__(new_one, field.name, part)  # a frozen one too
        return new_one
    return value if callable(value) else copy.deepcopy(value)


def like(value: Any, array: Array) -> Any:
    """``array`` as the kind of thing that ``value`` is."""
    if isinstance(value, np.ndarray):
        return np.array(array)
    if isinstance(value, (np.number, float, complex)):
        return array[()]
    namespace = sys.modules["torch"] if is_tensor(value) else value.__array_namespace__()
    return namespace.asarray(np.array(array))


def inner(a: Array, b: Array) -> Any:
    """The sum of the products of all entries."""
    return (a * b).sum() if a.size else 0.0

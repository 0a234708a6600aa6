"""The parameters of an object with ``forward`` and ``backward``: attributes that have a gradient beside them.

A gradient is known by its name: ``dW``, ``W_grad``, ``grad_W`` or ``gW`` beside ``W``; the same key of ``grads`` beside
``params``; ``.grad`` beside ``.data`` or ``.value``.  Only what a forward pass leaves as it was is a parameter: an x
that is kept for the backward pass has a dx too.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from minirnn.testing.functions.leaves import Array, Path, floats_in, like

FORMS = ("d{}", "d_{}", "{}_grad", "grad_{}", "g{}", "grad{}", "{}grad", "{}_gradient", "{}_d", "delta_{}")
PAIRED = ("params", "parameters", "weights", "values", "theta", "p"), ("grads", "gradients", "grad", "dparams", "g")
DEPTH = 4


class Parameter(NamedTuple):
    """Where a parameter is in an object, and where its gradient is."""

    name: str
    path: Path
    gradient: Path

    def value(self, one: Any) -> Array:
        """The numbers of the parameter."""
        array = floats_in(_get(one, self.path))
        assert array is not None
        return array

    def set(self, one: Any, array: Array) -> None:
        """Give the parameter other numbers."""
        _put(one, self.path, like(_get(one, self.path), array))

    def gradient_in(self, one: Any) -> Any:
        """What the gradient's place holds; None where there is none."""
        try:
            return _get(one, self.gradient)
        except (AttributeError, KeyError, IndexError, TypeError):
            return None


def parameters_of(one: Any, trial: Callable[[Any], None]) -> list[Parameter]:
    """The parameters of an object; ``trial`` runs both passes of a copy, which may make its gradients' places."""
    ran = copy.deepcopy(one)
    trial(ran)
    found = [p for p in _pairs(ran, (), 0) if floats_in(_maybe(one, p.path)) is not None]
    moved = copy.deepcopy(one)
    for p in found:
        p.set(moved, p.value(moved) + 1e-3)
    before = [p.value(moved) for p in found]
    trial(moved)
    return [p for p, was in zip(found, before, strict=True) if np.array_equal(p.value(moved), was)]


def zeroed(one: Any, parameters: list[Parameter]) -> None:
    """Set to zero what is in the gradients' places."""
    for parameter in parameters:
        old = parameter.gradient_in(one)
        array = floats_in(old)
        if array is not None:
            _put(one, parameter.gradient, like(old, np.zeros_like(array)))


def _pairs(value: Any, path: Path, depth: int) -> Iterator[Parameter]:
    """Parameters with their gradients in an object, its attributes, and what these consist of."""
    parts = dict(_inside(value))
    names = {str(key): key for key in parts}
    for name, key in names.items():
        if floats_in(parts[key]) is None:
            if depth < DEPTH:
                yield from _pairs(parts[key], (*path, key), depth + 1)
            continue
        for form in FORMS:
            other = names.get(form.format(name))
            if other is not None:
                yield Parameter(_words((*path, key)), (*path, key), (*path, other))
                break
    for first in ("data", "value"):
        if first in names and "grad" in names and floats_in(parts[first]) is not None:
            yield Parameter(_words(path), (*path, first), (*path, "grad"))
    for first in PAIRED[0]:
        for second in PAIRED[1]:
            if first in names and second in names:
                yield from _beside(parts, path, first, second)


def _beside(parts: dict[Any, Any], path: Path, first: str, second: str) -> Iterator[Parameter]:
    """Parameters in one container with gradients of the same keys in another."""
    theirs = {str(key): key for key, _ in _inside(parts[second])}
    for key, value in _inside(parts[first]):
        for form in ("{}", *FORMS):
            other = theirs.get(form.format(key))
            if other is not None and floats_in(value) is not None:
                yield Parameter(_words((*path, first, key)), (*path, first, key), (*path, second, other))
                break


def _inside(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, (list, tuple)):
        yield from enumerate(value)
    elif hasattr(value, "__dict__") and (hasattr(value, "forward") or not callable(value)):
        yield from vars(value).items()


def _get(value: Any, path: Path) -> Any:
    for key in path:
        value = value[key] if isinstance(value, (Mapping, list, tuple)) else getattr(value, key)
    return value


def _maybe(value: Any, path: Path) -> Any:
    try:
        return _get(value, path)
    except (AttributeError, KeyError, IndexError, TypeError):
        return None


def _put(value: Any, path: Path, new: Any) -> None:
    *way, last = path
    place = _get(value, tuple(way))
    if isinstance(place, (dict, list)):
        place[last] = new
    else:
        setattr(place, last, new)


def _words(path: Path) -> str:
    """A path as a reader writes it after "self": ``layers[0].W``."""
    words = ""
    for key in path:
        words += f"[{key!r}]" if not isinstance(key, str) else f".{key}"
    return words.lstrip(".") or "parameter"

"""Which gradient that a backward pass returned belongs to which argument.

A tuple has them in the order of the arguments: of all, or of those with floats in them, or of the first of these.  A
dict has them by name: ``dx``, ``x``, ``x_grad`` or ``grad_x`` for ``x``, and for the entries of a dict of weights.
Within an argument that is a container, the gradient is put together as that is.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from minirnn.testing.functions.calls import Function
from minirnn.testing.functions.leaves import Path, floats_in, leaves_of, parts_of
from minirnn.testing.functions.parameters import FORMS

NAMES = ("{}", *FORMS)


def gradients_of(function: Function, returned: Any, rest: Any, wrt: Sequence[str] | None) -> dict[Path, Any]:
    """What was returned for each leaf, by its path; leaves of which nothing was said are not in it.

    ``rest`` is an object after its backward pass.  ValueError where what came cannot be the gradients.
    """
    found: dict[Path, Any] = {one.path: one.gradient_in(rest) for one in function.parameters}
    if returned is None and not function.accumulators:
        if not function.parameters:
            raise ValueError("backward must return gradients; got None")
        return found
    for k, gradient in _by_argument(function, returned, wrt):
        found |= {(k, *path): part for path, part in _within(function.args[k], gradient, (), function.names[k])}
    return found


def _by_argument(function: Function, returned: Any, wrt: Sequence[str] | None) -> Iterator[tuple[int, Any]]:
    """The number of an argument and its gradient."""
    args, names = function.args, function.names
    whole = [k for k, value in enumerate(args) if next(leaves_of(value, ""), None) is not None]
    arrays = [k for k in whole if not isinstance(args[k], float)] or whole
    if function.accumulators:
        yield from zip(function.accumulators, returned, strict=True)
        return
    if wrt is not None:
        places = [names.index(name) for name in wrt]
        parts = returned if isinstance(returned, (tuple, list)) and len(places) > 1 else (returned,)
        if len(parts) != len(places):
            raise ValueError(f"backward must return {len(places)} gradients, as wrt says; got {len(parts)}")
        yield from zip(places, parts, strict=True)
        return
    if isinstance(returned, Mapping):
        yield from _by_name(function, returned, whole)
        return
    if len(arrays) == 1 and _mirrors(returned, args[arrays[0]]):
        yield arrays[0], returned
        return
    if not isinstance(returned, (tuple, list)) or hasattr(returned, "_fields"):
        yield arrays[0], returned
        return
    for places in (list(range(len(args))), arrays, whole):
        if len(returned) == len(places):
            yield from zip(places, returned, strict=True)
            return
    if len(returned) > len(args):
        raise ValueError(f"backward must return at most {len(args)} gradients, one an argument; got {len(returned)}")
    yield from zip(arrays, returned, strict=False)


def _by_name(function: Function, returned: Mapping[Any, Any], whole: Sequence[int]) -> Iterator[tuple[int, Any]]:
    """Gradients from a dict: of arguments, and of the entries of arguments that are containers."""
    keys, some = {str(key): key for key in returned}, False
    for k in whole:
        key = next(
            (keys[form.format(function.names[k])] for form in NAMES if form.format(function.names[k]) in keys), None
        )
        if key is not None:
            some = True
            yield k, returned[key]
        elif floats_in(function.args[k]) is None:
            parts = {
                part: returned[theirs] for part, _, _ in parts_of(function.args[k]) if (theirs := _named(keys, part))
            }
            if parts:
                some = True
                yield k, parts
    if not some:
        raise ValueError(
            f"backward returned gradients by the names {', '.join(map(str, returned))}, of which none is that of an "
            f"argument: {', '.join(function.names)}"
        )


def _named(keys: Mapping[str, Any], part: Any) -> Any:
    return next((keys[form.format(part)] for form in NAMES if form.format(part) in keys), None)


def _mirrors(gradient: Any, value: Any) -> bool:
    """Whether a gradient is put together as a container is."""
    if isinstance(value, (tuple, list)):
        return isinstance(gradient, (tuple, list)) and len(gradient) == len(value) and len(value) > 1
    return dataclasses.is_dataclass(value) and type(gradient) is type(value)


def _within(value: Any, gradient: Any, path: Path, name: str) -> Iterator[tuple[Path, Any]]:
    """The gradient of each leaf of an argument."""
    if floats_in(value) is not None:
        if gradient is not None:
            yield path, gradient
        return
    parts = {str(key): part for key, part, _ in parts_of(gradient)}
    for key, part, word in parts_of(value):
        if next(leaves_of(part, ""), None) is None:
            continue
        known = next((form.format(key) for form in NAMES if form.format(key) in parts), None)
        if known is not None:
            yield from _within(part, parts[known], (*path, key), name + word)

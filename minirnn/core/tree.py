"""States as what they are made of: arrays in nested tuples, with None for a layer that has none."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from minirnn.core.backend import Array


def arrays_in(state: Any) -> Iterator[Array]:
    """The arrays of a state, in order."""
    if isinstance(state, (tuple, list)):
        for part in state:
            yield from arrays_in(part)
    elif state is not None:
        yield state


def rebuilt(state: Any, make: Callable[[Array], Array]) -> Any:
    """A state put together as ``state`` is, of what ``make`` gives for each of its arrays."""
    if isinstance(state, (tuple, list)):
        return tuple(rebuilt(part, make) for part in state)
    return None if state is None else make(state)


def outline(state: Any) -> Any:
    """How a state is put together, as JSON: lists for tuples, 0 for an array, None for none."""
    if isinstance(state, (tuple, list)):
        return [outline(part) for part in state]
    return None if state is None else 0


def filled_in(form: Any, arrays: Sequence[Array]) -> Any:
    """``arrays`` put together as a state, or the ``outline`` of one, is; ValueError where they are not as many."""
    places = sum(1 for _ in arrays_in(form))
    if places != len(arrays):
        raise ValueError(f"a state must have as many arrays as it has places, {places}; got {len(arrays)}")
    left = iter(arrays)
    return rebuilt(form, lambda _: next(left))

"""What running a graph may take: memory and time, counted before they are taken.

A few bytes of a graph can ask for any amount of either.  What an honest graph asks for goes with its input: results
with the input's size, times a width; time with the input's size, times the weights or the steps of a recurrence.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from minirnn.backend import Array
from minirnn.formats.files import ModelFileError

ROOM = 40 << 20  # bytes that results may take, whatever goes in
TIME = 200_000_000  # nanoseconds that a run may take, whatever goes in
CALL = 10_000  # nanoseconds around one node
STEP = 40_000  # around one step of a recurrence in one direction
DEEPEST = 6_000_000  # of one step of all recurrences: more are not counted when time is given
PRODUCTS = 4  # that are done in a nanosecond


class TooMuchError(ModelFileError):
    """More than the meter allows."""


class Meter:
    """What is left of the bytes that results may take at a time, and of the time, None where there is no end to it."""

    def __init__(self, room: int, time: int | None) -> None:
        self.limit = self.room = room
        self.time = time
        self._live: dict[int, list[int]] = {}  # by the memory's owner: how many results use it, its bytes

    @classmethod
    def running(cls, weights: int, inputs: int, step: int, room: int | None = None) -> "Meter":
        """For a run of a graph with so many bytes of weights on so many of inputs.

        ``step`` is the time around one step of all its recurrences.  Who says how much ``room`` there is trusts the
        graph, and is not hurried.
        """
        if room is not None:
            return cls(room, None)
        return cls(ROOM + 2 * weights + 4096 * inputs, TIME + inputs * (min(step, DEEPEST) + 4 * weights + 4096))

    def claim(self, shape: Sequence[int], itemsize: int, *, ns: float = 2, copies: int = 1) -> None:
        """Raise TooMuchError unless an array can be made; called before it is.

        ``ns`` is the time for each entry; ``copies`` is how many arrays of that size are there while it is made.
        """
        count = math.prod(shape)
        if count * itemsize * copies > self.room:
            raise TooMuchError(
                f"results must take at most {self.limit:,} bytes together; one of shape {short_shape(shape)} would "
                "take more (limit=... allows more)"
            )
        self.spend(count * ns)

    def spend(self, ns: float) -> None:
        """Count time that is about to pass."""
        if self.time is None:
            return
        self.time -= math.ceil(ns)
        if self.time < 0:
            raise TooMuchError("the graph takes longer than goes with its weights and this input (limit=... allows it)")

    def hold(self, array: Array, given: Iterable[Any] = ()) -> None:
        """Count a result that is kept from now on; one in the memory of what was ``given`` takes no more."""
        key = id(owner(array))
        if key in self._live:
            self._live[key][0] += 1
        elif not any(a is not None and id(owner(a)) == key for a in given):
            size = getattr(owner(array), "nbytes", array.nbytes)
            self._live[key] = [1, size]
            self.room -= size
            if self.room < 0:
                raise TooMuchError(
                    f"results must take at most {self.limit:,} bytes together; they take more (limit=... allows more)"
                )

    def release(self, array: Array) -> None:
        """Count a result that nothing needs any more."""
        key = id(owner(array))
        if key in self._live:
            self._live[key][0] -= 1
            if not self._live[key][0]:
                self.room += self._live.pop(key)[1]


def owner(array: Array) -> Any:
    """The array whose memory this one uses."""
    return array if array.base is None else array.base


def short_shape(shape: Sequence[int]) -> str:
    """A shape for a sentence."""
    return str(tuple(shape)) if len(shape) <= 32 else f"of {len(shape)} axes"

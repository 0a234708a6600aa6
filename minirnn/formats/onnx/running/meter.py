"""The memory and time that running a graph may take, counted before they are taken.

A few bytes of a graph can ask for any amount of either.  What an honest graph asks for goes with its input: results
with the input's size, times a width; time with the input's size, times the weights or the steps of a recurrence.

This is the one place where costs are counted.  An operator claims the arrays that it makes and counts those that it
walks, by their shapes, before it calls NumPy.  An axis of size 0 counts as one entry: the array is empty, but its sum
over that axis is not, and a loop over the other axes goes on.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from numpy.lib.array_utils import byte_bounds

from minirnn.core.backend import Array
from minirnn.core.files import ModelFileError

ROOM = 40 << 20  # bytes that results may take, whatever goes in
LEAST = 8 << 20  # bytes that results may take, whatever was computed when the file was read
TIME = 200_000_000  # nanoseconds that a run may take, whatever goes in
CALL = 10_000  # nanoseconds around one node, or one step of a Scan
NAME = 5_000  # for each value that a node reads or makes, or a step of a Scan hands on
STEP = 40_000  # around one step of a recurrence in one direction
DEEPEST = 6_000_000  # of one step of all recurrences: more are not counted when time is given
PRODUCTS = 4  # that are done in a nanosecond


class TooMuchError(ModelFileError):
    """More than the meter allows."""


class Meter:
    """The bytes that results may still take at a time, and the time left, None where there is no limit."""

    def __init__(self, room: int, time: int | None) -> None:
        self.limit = self.room = room
        self.time = time
        self._live: dict[int, list[int]] = {}  # by the memory's owner: how many results use it, its bytes

    @classmethod
    def running(cls, size: int, constants: int, inputs: int, step: int, room: int | None = None) -> "Meter":
        """For a run on so many bytes of inputs, of a graph from a file of ``size`` bytes.

        Its ``constants`` may take twice that, where float16 was widened; what they take beyond it was computed when the
        file was read, and is not there again for results.
        ``step`` is the time around one step of all its recurrences.  Who says how much ``room`` there is trusts the
        graph, and is not hurried.
        """
        if room is not None:
            return cls(room, None)
        wide = max(size, min(constants, 2 * size))
        left = max(LEAST, ROOM + 2 * wide - max(0, constants - wide))
        return cls(left + 4096 * inputs, TIME + inputs * (min(step, DEEPEST) + min(size, constants) // 4 + 4096))

    def claim(self, shape: Sequence[int], itemsize: int, *, ns: float = 4, copies: int = 1) -> None:
        """Raise TooMuchError unless an array can be made; called before it is.

        ``ns`` is the time for each entry; ``copies`` is how many arrays of that size are there while it is made.
        """
        count = extent(shape)
        if count * itemsize * copies > self.room:
            raise TooMuchError(
                f"results must take at most {self.limit:,} bytes together; one of shape {short_shape(shape)} would "
                "take more (limit=... allows more)"
            )
        self.spend(count * ns)

    def walk(self, shape: Sequence[int], ns: float = 4) -> None:
        """Count the time for reading every entry of an array, before it is read."""
        self.spend(extent(shape) * ns)

    def spend(self, ns: float) -> None:
        """Count time that is about to pass."""
        if self.time is None:
            return
        self.time -= math.ceil(ns)
        if self.time < 0:
            raise TooMuchError("the graph takes longer than goes with its weights and this input (limit=... allows it)")

    def hold(self, array: Array, operands: Iterable[Any] = ()) -> None:
        """Count a result that is kept from now on; one in the memory of ``operands`` takes no more."""
        key = id(owner(array))
        if key in self._live:
            self._live[key][0] += 1
        elif not any(a is not None and id(owner(a)) == key for a in operands):
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


def extent(shape: Sequence[int]) -> int:
    """How many entries of a shape are counted: an axis of size 0 is counted as one of size 1."""
    return math.prod(max(1, n) for n in shape)


def memory_of(arrays: Iterable[Array]) -> int:
    """The bytes of memory in which these arrays lie; what several share is counted once."""
    total = end = 0
    for first, last in sorted(byte_bounds(a) for a in arrays if a.size):
        total += max(0, last - max(first, end))
        end = max(end, last)
    return total


def owner(array: Array) -> Any:
    """The array whose memory this one uses."""
    return array if array.base is None else array.base


def short_shape(shape: Sequence[int]) -> str:
    """A shape for a sentence."""
    return str(tuple(shape)) if len(shape) <= 32 else f"of {len(shape)} axes"

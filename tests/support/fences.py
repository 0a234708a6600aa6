"""Memory for kernels between fences, and the modules of kernels, whose functions have no types."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from math import prod
from typing import Any

import numpy as np
import pytest

from minirnn.core.backend import Array


def kernels(name: str) -> Any:
    """A module of kernels/cpu, whose functions have no types."""
    return import_module(f"minirnn.kernels.cpu.{name}")


runtime: Any = kernels("runtime")


class Room:
    """A vector in the place of a lease."""

    def __init__(self, vector: Array) -> None:
        self.vector, self.start = vector, vector.ctypes.data

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        assert dtype == self.vector.dtype
        return self.vector.reshape(shape)


class Fenced:
    """Arrays full of NaN between fences: what is read before it is written shows, and so does a write beside."""

    fence = -77.0

    def __init__(self) -> None:
        self.made: list[tuple[Array, slice]] = []

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        size, room = prod(shape), 64 // dtype.itemsize
        raw = np.full(size + 3 * room, self.fence, dtype)
        start = room + -raw.ctypes.data % 64 // dtype.itemsize
        inside = slice(start, start + size)
        raw[inside] = np.nan
        self.made.append((raw, inside))
        return raw[inside].reshape(shape)

    def room(self, size: int, dtype: np.dtype[Any]) -> Any:
        return Room(self.empty((size,), dtype))

    def assert_whole(self) -> None:
        assert self.made
        for raw, inside in self.made:
            assert (raw[: inside.start] == self.fence).all()
            assert (raw[inside.stop :] == self.fence).all()


@contextmanager
def fences() -> Iterator[None]:
    """Everything that kernels borrow in here stands between fences, which are looked at in the end."""
    fenced = Fenced()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime.LEASES, "empty", fenced.empty)
        patch.setattr(runtime.LEASES, "room", fenced.room)
        yield
    fenced.assert_whole()

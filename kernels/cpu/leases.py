"""Memory that is used again: large arrays on loan from a pool, returned when nothing refers to them.

A fresh array of some megabytes costs its page faults every time it is made.  Here every array carries its lease as
NumPy base; views share it.  When the last of them is gone, and only then, the memory goes back to the pool.  So a pass
forward keeps what it borrowed until its pass backward is released, whatever other passes do meanwhile.
"""

import os
import threading
from collections import deque
from math import prod
from typing import Any

import numpy as np

SMALL = 1 << 16  # bytes; below it malloc is as fast
SLACK = 1.25  # a block may be so much larger than what it is lent for
ALIGNMENT = 64


class Lease:
    """The base of an array on loan: gives its block back when the array and all its views are gone."""

    __slots__ = ("__array_interface__", "_block", "_returned")
    backend = "numba"  # whose array this is: what is computed from it alone can be computed there too

    def __init__(self, block: Any, shape: tuple[int, ...], dtype: Any, returned: deque[Any]) -> None:
        self._block, self._returned = block, returned
        start = block.__array_interface__["data"][0]
        self.__array_interface__ = {
            "data": (start + -start % ALIGNMENT, False),
            "shape": shape,
            "typestr": dtype.str,
            "version": 3,
        }

    def __del__(self) -> None:
        self._returned.append(self._block)


class Leases:
    """A pool of memory blocks.  When a block is lent, what lies idle is cut to the most that was on loan at once."""

    def __init__(self) -> None:
        self._free: list[Any] = []  # the longest idle first
        self._returned: deque[Any] = (
            deque()
        )  # filled by __del__, at any moment and in any thread: appending needs no lock
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)
        self._lent = self._most = 0  # bytes

    def _renew(self) -> None:
        """A forked child must not wait for a thread that it does not have."""
        self._lock = threading.Lock()

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """An uninitialised array that starts on a cache line."""
        size = prod(shape) * dtype.itemsize
        if size < SMALL:
            return np.empty(shape, dtype)
        with self._lock:
            block = self._take(size + ALIGNMENT)
        return np.asarray(Lease(block, shape, dtype, self._returned))

    def _take(self, size: int) -> Any:
        while self._returned:
            block = self._returned.popleft()
            self._lent -= block.nbytes
            self._free.append(block)
        fitting = [block for block in self._free if size <= block.nbytes <= SLACK * size]
        block = min(fitting, key=lambda block: block.nbytes, default=None)
        if block is None:
            block = np.empty(size, np.uint8)
        else:
            self._free = [other for other in self._free if other is not block]
        self._lent += block.nbytes
        self._most = max(self._most, self._lent)
        while sum(block.nbytes for block in self._free) + self._lent > self._most + size:
            self._free.pop(0)
        return block


LEASES = Leases()

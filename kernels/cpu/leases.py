"""Memory that is used again: large arrays on loan from a pool, returned when nothing refers to them.

A fresh array of some megabytes costs its page faults every time it is made.  Here memory is a ``Lease``, and an array
in it carries the lease as NumPy base; views share it.  When the last of them is gone, and only then, the memory goes
back to the pool.  So a forward pass keeps what it borrowed until its backward pass is released, whatever other passes
do meanwhile.
"""

import os
import threading
from collections import deque
from math import prod
from typing import NamedTuple

import numpy as np

from minirnn.kernels.cpu.passes import Array, Dtype

SMALL = 1 << 16  # bytes; below it malloc is as fast
GRAIN = 8  # sizes of blocks between a power of two and the next: a block is at most 1 / GRAIN larger than asked for
SPARE = 1.5  # forward and backward passes need blocks of different sizes at different times; all are kept
ALIGNMENT = 64


class Block(NamedTuple):
    """So many bytes from an address on, which ``memory`` owns."""

    size: int
    start: int
    memory: Array


class Lease:
    """Memory on loan, from ``start`` on: returned when this and all arrays in it are gone."""

    __slots__ = ("__array_interface__", "_block", "_returned", "start")
    backend = "numba"  # whose arrays these are: what is computed from them alone can be computed there too

    def __init__(self, block: Block, returned: deque[Block]) -> None:
        self._block, self._returned, self.start = block, returned, block.start

    def array(self, shape: tuple[int, ...], dtype: Dtype) -> Array:
        """An array in this memory, from its start on."""
        self.__array_interface__ = {"data": (self.start, False), "shape": shape, "typestr": dtype.str, "version": 3}
        return np.asarray(self)

    def __del__(self) -> None:
        self._returned.append(self._block)


class Leases:
    """A pool of memory blocks: never more, with the last one lent, than ``SPARE`` times the most on loan at once."""

    def __init__(self) -> None:
        self._free: dict[int, list[Block]] = {}  # by size; the size that has been idle longest first
        self._returned: deque[Block] = deque()  # by __del__, at any moment and in any thread: appending needs no lock
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)
        self._idle = self._lent = self._most = 0  # bytes

    def _renew(self) -> None:
        """A forked child must not wait for a thread that it does not have."""
        self._lock = threading.Lock()

    def empty(self, shape: tuple[int, ...], dtype: Dtype) -> Array:
        """An uninitialised array; one that is not small starts on a cache line."""
        size = prod(shape)
        if size * dtype.itemsize < SMALL:
            return np.empty(shape, dtype)
        return self.room(size, dtype).array(shape, dtype)

    def room(self, size: int, dtype: Dtype) -> Lease:
        """Memory for so many entries, which starts on a cache line."""
        size = max(size * dtype.itemsize, ALIGNMENT)
        step = (1 << size.bit_length() - 1) // GRAIN
        size = -(-size // step) * step
        with self._lock:
            block = self._last(size) or self._take(size)
        return Lease(block, self._returned)

    def idle(self) -> int:
        """Bytes that nobody has on loan."""
        with self._lock:
            self._take_back()
            return self._idle

    def _last(self, size: int) -> Block | None:
        """The block that came back last, if it is of this size: lent once more, nothing has to be counted."""
        if not self._returned:
            return None
        block = self._returned.pop()
        if block.size == size:
            return block
        self._returned.append(block)
        return None

    def _take_back(self) -> None:
        while self._returned:
            block = self._returned.popleft()
            size = block.size
            blocks = self._free.pop(size, [])
            blocks.append(block)
            self._free[size] = blocks
            self._lent -= size
            self._idle += size

    def _take(self, size: int) -> Block:
        self._take_back()
        blocks = self._free.get(size)
        if blocks:
            block = blocks.pop()
            self._idle -= size
            if not blocks:
                del self._free[size]
        else:
            memory = np.empty(size + ALIGNMENT, np.uint8)
            start: int = memory.__array_interface__["data"][0]
            block = Block(size, start + -start % ALIGNMENT, memory)
        self._lent += size
        if self._lent > self._most:
            self._most = self._lent
        while self._idle + self._lent > SPARE * self._most + size:
            longest = next(iter(self._free))
            self._idle -= self._free[longest].pop(0).size
            if not self._free[longest]:
                del self._free[longest]
        return block


LEASES = Leases()

"""In the place of CuPy: kernels of CUDA sources run on the processor, as they are or with a fault, on fenced arrays."""

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import on_cpu
import strict_cupy

from minirnn.core.backend import Array
from minirnn.kernels.cuda.launch import Source

MARGIN = 64  # entries around every array


class Processor:
    """Something to launch kernels on; ``old`` is replaced by ``new`` in what it is given to compile."""

    def __init__(self, old: str = "", new: str = "") -> None:
        self.old, self.new = old, new

    def __getattr__(self, name: str) -> Any:
        return getattr(strict_cupy, name)

    def RawModule(self, *, code: str, options: tuple[str, ...], name_expressions: tuple[str, ...]) -> "Module":
        return Module(code.replace(self.old, self.new) if self.old else code, sound=not self.old)


class Module:
    """A source that was compiled."""

    def __init__(self, code: str, *, sound: bool = True) -> None:
        self.source, self.sound = Source.of("", code), sound

    def get_function(self, name: str) -> Callable[..., None]:
        flags = ["-DSERIAL"] * ("__syncthreads" not in self.source.code) + ["-O0"] * (not self.sound)
        run = on_cpu.function(self.source, name, flags)

        def kernel(grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
            packed = [ctypes.create_string_buffer(strict_cupy._packed(a)) for a in arguments]
            run(grid[0], block[0], (ctypes.c_void_p * len(packed))(*map(ctypes.addressof, packed)))

        return kernel


SOUND = Processor()


class Fenced:
    """A copy of ``a`` (rows, columns), rows ``apart`` entries apart, in memory that is a fence everywhere else."""

    def __init__(self, a: Array, apart: int | None = None) -> None:
        a = np.atleast_2d(a)
        rows, columns = a.shape
        self.apart = columns if apart is None else apart
        fence = np.nan if a.dtype.kind == "f" else np.iinfo(a.dtype).min
        self._fences = np.full(2 * MARGIN + rows * self.apart, fence, a.dtype)
        self.memory, self.shape = self._fences.copy(), a.shape
        self.inside[...] = a
        self.before = a.copy()

    def within(self, memory: Array) -> Array:
        item = memory.itemsize
        return np.lib.stride_tricks.as_strided(memory[MARGIN:], self.shape, (self.apart * item, item))

    @property
    def inside(self) -> Array:
        return self.within(self.memory)

    @property
    def address(self) -> int:
        return int(self.inside.__array_interface__["data"][0])

    def assert_fences(self) -> None:
        outside = self.memory.copy()
        self.within(outside)[...] = self.within(self._fences)
        assert outside.tobytes() == self._fences.tobytes()

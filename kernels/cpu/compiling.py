"""How kernels are compiled: four decorators.

``inline`` is for the small functions that kernels are made of, ``long`` for the long ones, ``kernel`` for what threads
run together, ``entry`` for what Python calls.  All leave Python's lock alone, divide as NumPy does, and may fuse a
multiplication with an addition; nothing else about floats is given up, so that a diverged model shows its NaN.
What is compiled is stored on disk (``cache.py``).
"""

import threading
from collections.abc import Callable
from typing import Any, TypeAlias

from numba import njit, types

from minirnn.kernels.cpu.cache import KernelCache
from minirnn.kernels.cpu.cache import sources as sources
from minirnn.kernels.cpu.passes import Dtype

Function: TypeAlias = Callable[..., Any]
Dispatcher: TypeAlias = Any  # a function that Numba compiles
OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract"}, "nogil": True}
INNER = OPTIONS | {"no_cpython_wrapper": True}  # never called from Python


def named(function: Function, name: str) -> Function:
    """Give a function a name that no other function here has.

    Numba's symbol for a compiled function is its name and the number of functions that this process compiled before it.
    Two functions of one name, from files that two processes wrote, may meet under one symbol, and a third that calls
    one of them then finds the other.
    """
    function.__name__ = function.__qualname__ = name.replace("-", "_")
    return function


def inline(function: Function) -> Dispatcher:
    """Compile into the caller."""
    return njit(forceinline=True, **INNER)(function)


def inline_as(name: str) -> Function:
    """``inline`` for one of several functions that are made alike."""
    return lambda function: inline(named(function, name))


def long(function: Function) -> Dispatcher:
    """Compile once, to be called by kernels: for what is long and called from several places.

    It says that it is not ``forceinline``, or it would be what its first caller is.
    """
    return njit(forceinline=False, **INNER)(function)


def entry(name: str) -> Function:
    """Compile for Python to call, and keep the result on disk under ``name``."""

    def decorate(function: Function) -> Dispatcher:
        dispatcher = njit(**OPTIONS)(named(function, name))
        dispatcher._cache = KernelCache(name)  # noqa: SLF001 - Numba has no public way to keep code elsewhere
        return dispatcher

    return decorate


class Kernel:
    """A function ``(like, arguments, part, parts, sync)`` that threads run together, one address for each dtype.

    ``like`` is a number of the dtype, ``arguments`` the address of a block of them (``passes.py``), ``sync`` the
    address of the counter for its barriers.  ``kernel[dtype]`` is the address of the compiled function of the other
    four, which a thread can call without Python.
    """

    def __init__(self, name: str, function: Function) -> None:
        self.name, self.inner = name, long(named(function, name))
        self.addresses: dict[Dtype, int] = {}
        self.compiled: dict[Dtype, Dispatcher] = {}
        self.compiling = threading.Lock()

    def __getitem__(self, dtype: Dtype) -> int:
        """The address of the compiled function for a NumPy dtype."""
        if dtype not in self.addresses:
            with self.compiling:  # of two threads one compiles: a second function would replace the first, and free it
                if dtype not in self.addresses:
                    self.compiled[dtype] = compiled = self.compile(dtype)
                    (result,) = compiled.overloads.values()
                    self.addresses[dtype] = result.library.get_pointer_to_function(
                        result.fndesc.llvm_cfunc_wrapper_name
                    )
        return self.addresses[dtype]

    def compile(self, dtype: Dtype) -> Dispatcher:
        """Numba's dispatcher for one dtype, compiled or read from disk."""
        inner, like = self.inner, dtype.type(0)

        def run(arguments, part, parts, sync):  # type: ignore[no-untyped-def]  # Numba infers them
            inner(like, arguments, part, parts, sync)

        dispatcher = entry(f"{self.name}-{dtype}")(run)
        dispatcher.compile(types.void(*[types.int64] * 4))
        return dispatcher


def kernel(name: str) -> Callable[[Function], Kernel]:
    """Make a function a ``Kernel``."""
    return lambda function: Kernel(name, function)

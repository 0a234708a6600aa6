"""How kernels are compiled: five decorators, and routines.

``inline`` is for the small functions that kernels are made of, ``long`` for the long ones, ``shared`` for what is too
long to be compiled with every kernel, ``kernel`` for what threads run together, ``entry`` for what Python calls.  A
``Routine`` is what a kernel calls by its address, since each cell has its own.
All leave Python's lock alone, divide as NumPy does, and may fuse a
multiplication with an addition; nothing else about floats is given up, so that a diverged model shows its NaN.
What is compiled is stored on disk (``cache.py``).
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from inspect import Parameter, Signature, signature
from typing import Any, TypeAlias

import llvmlite.binding as llvm
from numba import njit, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic
from numba.np.numpy_support import as_dtype, from_dtype

from minirnn.kernels.cpu.cache import KernelCache
from minirnn.kernels.cpu.cache import sources as sources
from minirnn.kernels.cpu.entries import kind_of, left_of, pointer_to
from minirnn.kernels.cpu.passes import Dtype

Function: TypeAlias = Callable[..., Any]
Dispatcher: TypeAlias = Any  # a function that Numba compiles
Kinds: TypeAlias = Callable[[Any], tuple[Any, ...]]  # Numba's types of a routine's arguments, by that of numbers
OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract"}, "nogil": True}
INNER = OPTIONS | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}  # called by what Numba compiles alone


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


class Shared:
    """A function that is compiled once for each dtype, however many kernels call it; ``shared`` makes one.

    A kernel holds the name of the compiled function, which the linker must know before it sees the kernel: so whatever
    calls a shared function names it among its ``calls``.
    """

    def __init__(
        self,
        function: Function,
        pointers: Sequence[str],
        panels: Sequence[str],
        left: Sequence[str],
        calls: Sequence[Function],
    ) -> None:
        self.name, self.function, self.calls = function.__name__.replace("_", "-"), function, calls
        self.parameters = tuple(signature(function).parameters)
        self.pointers, self.panels, self.left = pointers, panels, left
        self.compiled: dict[tuple[Dtype, str], Dispatcher] = {}  # by dtype, and the kind of entries that panels have
        self.compiling = threading.Lock()

    def name_for(self, dtype: Dtype, kind: str) -> str:
        """The name of one of the compiled functions."""
        return "-".join([self.name, *([] if kind == "full" else [kind]), str(dtype)])

    def types_of(self, numbers: Any, kind: str = "full") -> Any:
        """Numba's types of the arguments, where pointers are to such ``numbers``, and to entries of a kind."""
        kinds = dict.fromkeys(self.pointers, types.CPointer(numbers))
        kinds |= dict.fromkeys(self.panels, pointer_to(kind, numbers))
        kinds |= dict.fromkeys(self.left, left_of(kind, numbers))
        return types.void(*(kinds.get(name, types.intp) for name in self.parameters))

    def kind_for(self, arguments: Sequence[Any]) -> str:
        """The kind of entries that panels have in a call with arguments of these types."""
        kinds = dict(zip(self.parameters, arguments, strict=True))
        return kind_of(kinds[self.panels[0]]) if self.panels else "full"

    def ready(self, dtype: Dtype, kind: str = "full") -> None:
        """Compile the function for a NumPy dtype, or read it from disk, unless it is there."""
        key = dtype, kind if self.panels else "full"
        if key in self.compiled:
            return
        with self.compiling, calling(self.calls, dtype, kind):
            if key in self.compiled:
                return
            name = self.name_for(*key)
            dispatcher = njit(**INNER)(named(self.function, self.name))
            dispatcher._cache = KernelCache(name)  # noqa: SLF001 - as for ``entry``
            dispatcher.compile(self.types_of(from_dtype(dtype), key[1]))
            (result,) = dispatcher.overloads.values()
            place = result.library.get_pointer_to_function(result.fndesc.llvm_func_name)
            llvm.add_symbol(f"minirnn-{name}", place)
            self.compiled[key] = dispatcher

    def call(self, context: Any, builder: Any, sig: Any, args: Any) -> Any:
        """The code of a call, as one function of Numba's calls another; none raises."""
        kind = context.call_conv.get_function_type(types.void, sig.args)
        name = self.name_for(as_dtype(numbers_of(sig.args)), self.kind_for(sig.args))
        function = cgutils.get_or_insert_function(builder.module, kind, f"minirnn-{name}")
        context.call_conv.call_function(builder, function, types.void, sig.args, args)
        return context.get_dummy_value()


SHARED: dict[Function, Shared] = {}
COMPILING = threading.local()  # ``calls``: what that which this thread compiles may call


@contextmanager
def calling(calls: Sequence[Function], dtype: Dtype, kind: str = "full") -> Iterator[None]:
    """Make shared functions ready for what is compiled or read from disk meanwhile."""
    for one in calls:
        SHARED[one].ready(dtype, kind)
    before, COMPILING.calls = getattr(COMPILING, "calls", ()), calls
    try:
        yield
    finally:
        COMPILING.calls = before


def numbers_of(arguments: Sequence[Any]) -> Any:
    """Numba's type of the numbers that the arguments of a shared function point to."""
    pointed = [kind.dtype for kind in arguments if isinstance(kind, types.CPointer)]
    return next(kind for kind in pointed if isinstance(kind, types.Float))


def shared(
    *pointers: str, panels: Sequence[str] = (), left: Sequence[str] = (), calls: Sequence[Function] = ()
) -> Callable[[Function], Function]:
    """Compile for kernels to call, once for each dtype: for what is too long to be compiled with every kernel.

    ``pointers`` are the arguments that are pointers to numbers of the dtype, ``panels`` those to entries of one kind,
    which the caller has, ``left`` to those of rows that are multiplied with them (``entries.py``); all others are
    integers.
    """

    def decorate(function: Function) -> Function:
        one = Shared(function, pointers, panels, left, calls)

        def typed(typingctx: Any, *args: Any) -> Any:
            if call not in COMPILING.calls:
                raise TypingError(f"{one.name} is called, and not among the ``calls`` of what is compiled")
            return one.types_of(numbers_of(args), one.kind_for(args)), one.call

        parameters = signature(function).parameters.values()
        typed.__signature__ = Signature([Parameter("typingctx", Parameter.POSITIONAL_OR_KEYWORD), *parameters])  # type: ignore[attr-defined]
        typed.__name__ = function.__name__
        call: Function = intrinsic(typed)
        SHARED[call] = one
        return call

    return decorate


KERNEL = (types.int64,) * 4  # arguments, part, parts, sync


class Addressed(ABC):
    """A function that is compiled once for each dtype, when its address is first asked for: ``one[dtype]``."""

    def __init__(self, name: str, function: Function) -> None:
        self.name, self.function = name, function
        self.addresses: dict[Dtype, int] = {}
        self.compiled: dict[Dtype, Dispatcher] = {}
        self.compiling = threading.Lock()

    def __getitem__(self, dtype: Dtype) -> int:
        """The address of the compiled function for a NumPy dtype, for ``caller``."""
        if dtype not in self.addresses:
            with self.compiling:  # of two threads one compiles: a second function would replace the first, and free it
                if dtype not in self.addresses:
                    self.compiled[dtype] = compiled = self.compile(dtype)
                    (result,) = compiled.overloads.values()
                    place = result.library.get_pointer_to_function(result.fndesc.llvm_func_name)
                    self.addresses[dtype] = place
        return self.addresses[dtype]

    @abstractmethod
    def compile(self, dtype: Dtype) -> Dispatcher:
        """Numba's dispatcher for one dtype, compiled or read from disk."""

    def compiled_for(self, dtype: Dtype, *kinds: Any) -> Dispatcher:
        """The same for arguments of these types."""
        name = f"{self.name}-{dtype}"
        dispatcher = njit(**INNER)(named(self.function, name))
        dispatcher._cache = KernelCache(name)  # noqa: SLF001 - as for ``entry``
        dispatcher.compile(types.void(*kinds))
        return dispatcher


class Kernel(Addressed):
    """A function ``(like, arguments, part, parts, sync)`` that threads run together, one address for each dtype.

    ``like`` is a number of the dtype, which the compiled function has in place of an argument, ``arguments`` the
    address of a block of them (``passes.py``), ``sync`` the address of the counter for its barriers.  A thread calls
    ``kernel[dtype]`` without Python.  What it calls takes panels with entries of its kind.
    """

    def __init__(self, name: str, function: Function, calls: Sequence[Function] = (), kind: str = "full") -> None:
        super().__init__(name if kind == "full" else f"{name}-{kind}", function)
        self.calls, self.kind = calls, kind

    def compile(self, dtype: Dtype) -> Dispatcher:
        with calling(self.calls, dtype, self.kind):
            return self.compiled_for(dtype, types.Omitted(dtype.type(0)), *KERNEL)


class Routine(Addressed):
    """A function that kernels call by its address, so that they need not be compiled for each.

    ``kinds`` are Numba's types of its arguments, for numbers of a type.
    """

    def __init__(self, name: str, function: Function, kinds: Kinds) -> None:
        super().__init__(name, function)
        self.kinds = kinds

    def compile(self, dtype: Dtype) -> Dispatcher:
        return self.compiled_for(dtype, *self.kinds(from_dtype(dtype)))


def caller(kinds: Kinds) -> Function:
    """An intrinsic that calls a function by its address, with its arguments in a tuple: those of a ``Routine`` of such
    ``kinds``, of which the first are pointers to numbers, or of a ``Kernel``.
    """

    def typed(typingctx: Any, address: Any, arguments: Any) -> Any:
        first = arguments[0]
        kinds_taken = kinds(first.dtype.dtype if isinstance(first, types.NamedUniTuple) else None)

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            kind = context.call_conv.get_function_type(types.void, kinds_taken)
            function = builder.inttoptr(args[0], kind.as_pointer())
            values = cgutils.unpack_tuple(builder, args[1], len(kinds_taken))
            context.call_conv.call_function(builder, function, types.void, kinds_taken, values)
            return context.get_dummy_value()

        return types.void(types.intp, types.Tuple(kinds_taken)), codegen

    call: Function = intrinsic(typed)
    return call


def kernel(name: str, calls: Sequence[Function] = (), kind: str = "full") -> Callable[[Function], Kernel]:
    """Make a function a ``Kernel`` for entries of a kind, which calls these shared functions."""
    return lambda function: Kernel(name, function, calls, kind)

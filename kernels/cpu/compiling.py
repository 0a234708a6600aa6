"""How kernels are compiled: four decorators, and where compiled kernels are kept.

``inline`` is for the small functions that kernels are made of, ``long`` for the long ones, ``kernel`` for what threads
run together, ``entry`` for what Python calls.  All leave Python's lock alone, divide as NumPy does, and may fuse a
multiplication with an addition; nothing else about floats is given up, so that a diverged model shows its NaN.

A compiled kernel is kept on disk under a name that depends on the text of *every* file in this folder, on the versions
of Python, Numba and llvmlite, on the processor and on the argument types: an edit anywhere makes a new name, and
nothing stale is ever found.  (``cache=True`` of Numba's looks at the file of the kernel alone.)  A file is read only
if its checksum is right and written whole or not at all; where none can be read or written, kernels are compiled anew.
"""

import hashlib
import os
import pickle
import secrets
import sys
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba import njit, types
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract"}, "nogil": True}
INNER = OPTIONS | {"no_cpython_wrapper": True}  # never called from Python


def named(function: Any, name: str) -> Any:
    """Give a function a name that no other function here has.

    Numba's symbol for a compiled function is its name and the number of functions that this process compiled before it.
    Two functions of one name, from files that two processes wrote, may meet under one symbol, and a third that calls
    one of them then finds the other.
    """
    function.__name__ = function.__qualname__ = name.replace("-", "_")
    return function


def inline(function: Any) -> Any:
    """Compile into the caller."""
    return njit(forceinline=True, **INNER)(function)


def inline_as(name: str) -> Any:
    """``inline`` for one of several functions that are made alike."""
    return lambda function: inline(named(function, name))


def long(function: Any) -> Any:
    """Compile once, to be called by kernels: for what is long and called from several places.

    It says that it is not ``forceinline``, or it would be what its first caller is.
    """
    return njit(forceinline=False, **INNER)(function)


def entry(name: str) -> Any:
    """Compile for Python to call, and keep the result on disk under ``name``."""

    def decorate(function: Any) -> Any:
        dispatcher = njit(**OPTIONS)(named(function, name))
        dispatcher._cache = KernelCache(name)  # noqa: SLF001 - Numba has no public way to keep code elsewhere
        return dispatcher

    return decorate


class Kernel:
    """A function ``(like, told, part, parts, sync)`` that threads run together, one address for each dtype.

    ``like`` is a number of the dtype, ``told`` the address of the sizes and addresses that it works on, ``sync`` that
    of the counter for its barriers.  ``kernel[dtype]`` is the address of the compiled function of the other four, which
    a thread can call without Python.
    """

    def __init__(self, name: str, function: Any) -> None:
        self.name, self.inner = name, long(named(function, name))
        self.found: dict[Any, int] = {}
        self.compiled: dict[Any, Any] = {}

    def __getitem__(self, dtype: Any) -> int:
        """The address of the compiled function for a NumPy dtype."""
        if dtype not in self.found:
            self.compiled[dtype] = compiled = self.compile(dtype)
            (result,) = compiled.overloads.values()
            self.found[dtype] = result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name)
        return self.found[dtype]

    def compile(self, dtype: Any) -> Any:
        """Numba's dispatcher for one dtype, compiled or read from disk."""
        inner, like = self.inner, dtype.type(0)

        def run(told, part, parts, sync):  # type: ignore[no-untyped-def]  # Numba infers them
            inner(like, told, part, parts, sync)

        dispatcher = entry(f"{self.name}-{dtype}")(run)
        dispatcher.compile(types.void(*[types.int64] * 4))
        return dispatcher


def kernel(name: str) -> Any:
    """Make a function a ``Kernel``."""
    return lambda function: Kernel(name, function)


@cache
def sources() -> str:
    """A digest of everything that compiled code depends on, processor and argument types apart."""
    digest = hashlib.sha256(repr((sys.version, numba.__version__, llvmlite.__version__)).encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def cache_folder() -> Path:
    """Where compiled kernels are kept: ``MINIRNN_CACHE_DIR``, or the user's folder for such files."""
    chosen = os.environ.get("MINIRNN_CACHE_DIR")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "~/AppData/Local")
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = Path(os.path.expanduser(base))  # noqa: PTH111 - Path.expanduser raises where there is no home
    return (home if home.is_absolute() else Path(os.devnull)) / "minirnn"  # without a home nothing is kept


class KernelCache(_Cache):
    """The files of one kernel: what a dispatcher of Numba's asks for compiled code, and gives it to."""

    def __init__(self, name: str) -> None:
        self.name, self.hits = name, 0

    @property
    def cache_path(self) -> str:
        return str(cache_folder())

    def enable(self) -> None:
        """Nothing to do: whether a file can be used is found out when it is needed."""

    def disable(self) -> None:
        """Nothing to do."""

    def flush(self) -> None:
        """Nothing to do: there is no index."""

    def file(self, sig: Any, codegen: Any) -> Path:
        """The file for one signature and processor."""
        key = hashlib.sha256(repr((sources(), self.name, sig, codegen.magic_tuple())).encode()).hexdigest()
        return cache_folder() / f"{self.name}-{key[:32]}.kernel"

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        target_context.refresh()
        try:
            checksum, data = split(self.file(sig, target_context.codegen()).read_bytes())
        except OSError:
            return None
        if hashlib.sha256(data).digest() != checksum:
            return None
        rebuild = CompileResult._rebuild  # noqa: SLF001 - what Numba's own cache calls
        found = rebuild(target_context, *pickle.loads(data))  # noqa: S301 - this program wrote it
        self.hits += 1
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        file, content = self.file(sig, data.codegen), dumps(data._reduce())  # noqa: SLF001 - as above
        temporary = file.with_name(f".{secrets.token_hex(8)}.part")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(hashlib.sha256(content).digest() + content)
            temporary.replace(file)
        except OSError:  # a full disk, a home that cannot be written: the next process compiles again
            try_to_remove(temporary)


def split(content: bytes) -> tuple[bytes, bytes]:
    """A file's checksum and the rest."""
    return content[:32], content[32:]


def try_to_remove(path: Path) -> None:
    """Remove what was left half-written, where that is allowed."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return

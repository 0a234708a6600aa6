"""Compiled kernels on disk: how a file is named, what is stored in it, and when it is believed.

A file belongs to one kernel, one signature, one processor and one release: its ``key`` says which, and holds a digest
of the code of *every* module in this package, and of those beside it, which decide what a kernel computes.  The file's
name is made from the key, and the file contains the whole key, so a file under another's name is not used.
(``cache=True`` of Numba's looks at the file of the kernel alone.)  A file is written whole or not at all.  Whatever
cannot be read, or turns out not to be what the key says, is compiled anew; where nothing can be stored, a warning says
so once.
"""

import hashlib
import os
import pickle
import pkgutil
import secrets
import sys
import warnings
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import CodeType
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

PACKAGE = __name__.rpartition(".")[0]
CHECKSUM = 32  # bytes at a file's start: SHA-256 of all that follows
ANEW = "every process compiles them anew, which takes 10 seconds"
LENGTH = 8  # bytes after it: the length of the key, which comes next, and then the compiled code


@cache
def sources() -> str | None:
    """The digest of the code that kernels are made by, when it was first asked for."""
    return digest_of(PACKAGE)


def digest_of(package: str) -> str | None:
    """A digest of the name and code of every module in a package and beside it, or None where some cannot be read."""
    names = {f"{package}.{module.name}" for module in pkgutil.iter_modules(sys.modules[package].__path__)}
    if not names.issuperset(name for name in list(sys.modules) if name.startswith(f"{package}.")):
        return None  # an importer that cannot list its modules
    parent = package.rpartition(".")[0]
    path = sys.modules[parent].__path__ if parent else []
    beside = {f"{parent}.{module.name}" for module in pkgutil.iter_modules(path) if not module.ispkg}
    digest = hashlib.sha256()
    for name in [package, *sorted(names), *sorted(beside)]:
        code = read_code(name)
        if code is None:
            return None
        digest.update(f"{name.removeprefix(package)} {len(code)} ".encode() + code)
    return digest.hexdigest()


def read_code(name: str) -> bytes | None:
    """A module's source, or its bytecode where it was installed without (frozen, stripped, in a zip), or None."""
    try:
        spec = find_spec(name)
        loader: Any = spec and spec.loader
        source = loader.get_source(name)
        if source is not None:
            return bytes(source.encode())
        code = loader.get_code(name)
    except (AttributeError, ImportError, OSError, SyntaxError, ValueError):
        return None
    return repr(described(code)).encode() if isinstance(code, CodeType) else None


def described(constant: Any) -> Any:
    """A code object, with all code in it, as plain values that do not depend on where its file was."""
    if isinstance(constant, CodeType):
        code = constant
        return (
            (code.co_name, code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags),
            (code.co_code, code.co_exceptiontable),
            (code.co_names, code.co_varnames, code.co_cellvars, code.co_freevars),
            described(code.co_consts),
        )
    if isinstance(constant, frozenset):
        return "frozenset", sorted(repr(described(one)) for one in constant)
    return tuple(described(one) for one in constant) if isinstance(constant, tuple) else constant


def versions() -> tuple[str | None, ...]:
    """The versions that compiled code depends on beside its sources, processor and argument types."""
    release = getattr(sys.modules[PACKAGE.partition(".")[0]], "__version__", None)
    return release, sys.version, np.__version__, numba.__version__, llvmlite.__version__


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

    def key(self, sig: Any, codegen: Any) -> bytes:
        """What a file holds: everything that its compiled code depends on."""
        return repr((self.name, sig, codegen.magic_tuple(), versions(), sources())).encode()

    def file(self, key: bytes) -> Path:
        """The file for one key."""
        return cache_folder() / f"{self.name}-{hashlib.sha256(key).hexdigest()[:32]}.kernel"

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        target_context.refresh()
        if sources() is None:
            return None
        key = self.key(sig, target_context.codegen())
        try:
            code = unwrapped(self.file(key).read_bytes(), key)
        except OSError:
            return None
        if code is None:
            return None
        rebuild = CompileResult._rebuild  # noqa: SLF001 - what Numba's own cache calls
        try:
            result = rebuild(target_context, *pickle.loads(code))  # noqa: S301 - this program wrote it
        except Exception:  # noqa: BLE001 - pickle and Numba raise many things where the file's writer was at fault
            return None
        self.hits += 1
        return result

    def save_overload(self, sig: Any, data: Any) -> None:
        folder, current = cache_folder(), digest_of(PACKAGE)
        if current is None:
            warn_once(f"compiled kernels are not stored, since the code of {PACKAGE} cannot be read: {ANEW}")
        if current is None or current != sources():
            return  # an update has replaced files since this process read them: what it compiled may be of either
        key, code = self.key(sig, data.codegen), dumps(data._reduce())  # noqa: SLF001 - as above
        file, temporary = self.file(key), folder / f".{secrets.token_hex(8)}.part"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(wrapped(code, key))
            temporary.replace(file)
        except OSError as error:  # a full disk, a home that cannot be written
            try_to_remove(temporary)
            warn_once(
                f"compiled kernels cannot be stored in {folder} ({error.strerror or error}): {ANEW}; "
                f"set the environment variable MINIRNN_CACHE_DIR to a folder that can be written"
            )


def wrapped(code: bytes, key: bytes) -> bytes:
    """A file's content."""
    rest = len(key).to_bytes(LENGTH, "little") + key + code
    return hashlib.sha256(rest).digest() + rest


def unwrapped(content: bytes, key: bytes) -> bytes | None:
    """The compiled code in a file's content, or None where the file is damaged or has another key."""
    checksum, rest = content[:CHECKSUM], content[CHECKSUM:]
    start = LENGTH + len(key)
    if rest[:start] != len(key).to_bytes(LENGTH, "little") + key or hashlib.sha256(rest).digest() != checksum:
        return None
    return rest[start:]


@cache
def warn_once(text: str) -> None:
    """Say once in a process what slows every process down."""
    warnings.warn(text, RuntimeWarning, stacklevel=2)


def try_to_remove(path: Path) -> None:
    """Remove what was left half-written, where that is allowed."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return

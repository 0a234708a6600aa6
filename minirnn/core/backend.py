"""Where a model's numbers live and what computes them: a frozen value, chosen once, in ``model.init``."""

import os
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from minirnn.core.arrays import Array as Array
from minirnn.kernels.cpu.passes import address

Dtype: TypeAlias = np.dtype[Any]

ONE_HOT = 1 << 24  # entries of the one-hot vectors that are made at once
BFLOAT16 = "bfloat16"
ROUNDING = ("numpy", "numba")  # backends that have products of numbers rounded to it
ALIGNMENT = 64  # bytes: one cache line, and the widest vector register


@dataclass(frozen=True)
class Backend:
    """A name and an array namespace.

    ``numpy`` runs the equations of ``cells.py`` as they are written, in float32, float64 and complex128 (the last for
    derivatives by complex step).
    """

    name: str
    library: str  # the module that makes its arrays
    dtypes: tuple[str, ...]
    on_device = False  # whether arrays are out of the host's reach: to read a number, it must wait for them

    @cached_property
    def xp(self) -> ModuleType:
        """The array namespace."""
        return import_module(self.library)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles of a model name its backend; a module cannot be copied."""
        return get_backend, (self.name,)

    def zeros(self, size: int, dtype: Dtype) -> Array:
        """A flat vector of zeros that begins on a cache line."""
        room = ALIGNMENT // dtype.itemsize
        raw: Array = self.xp.zeros(size + room, dtype)
        start = -raw.ctypes.data % ALIGNMENT // dtype.itemsize
        return raw[start : start + size]

    def address(self, a: Array) -> int:
        """Where an array's first entry lies in memory."""
        return address(a)

    def host(self, a: Array) -> Array:
        """The array as NumPy's, copied from the device if it is there."""
        return np.asarray(a)

    def locked(self, a: Array) -> Array:
        """A view of ``a`` that cannot be written, where the library has such views."""
        view = a[...]
        view.flags.writeable = False
        return view

    def empty(self, shape: tuple[int, ...], dtype: Dtype) -> Array:
        """An array with no values yet."""
        a: Array = self.xp.empty(shape, dtype)
        return a

    def fused(self, name: str) -> Any:
        """The compiled twin of a function of the layers, losses or optimisers, or None: the plain lines are to run."""
        return None

    def scans(self) -> ModuleType | None:
        """The module that runs cells with kernels (``minirnn.kernels.facts``) faster than the plain scan, or None."""
        return None

    def add_rows(self, out: Array, index: Array, rows: Array) -> None:
        """``out[index[k]] += rows[k]`` for every k, repeated indices adding up, in an order that is always the same.

        ``out`` is (V, N), ``index`` (K,) of integers, ``rows`` (K, N).  Sorting the rows and adding each run costs a
        fraction of ``np.add.at``.
        """
        if index.size == 0:
            return
        add_rows = self.fused("add_rows")
        if add_rows:
            add_rows(out, index, rows)
            return
        order = self.xp.argsort(index, kind="stable")
        ordered = index[order]
        starts = self.xp.flatnonzero(self.xp.concatenate(([True], ordered[1:] != ordered[:-1])))
        out[ordered[starts]] += self.xp.add.reduceat(rows[order], starts, axis=0)


class NumbaBackend(Backend):
    """NumPy arrays, and compiled kernels (``minirnn.kernels.cpu``) for the cells that have some."""

    @cached_property
    def _runtime(self) -> ModuleType:
        try:
            from minirnn.kernels.cpu import runtime
        except ImportError as error:
            raise ImportError(f"backend numba needs Numba: pip install 'minirnn[fast]' ({error})") from error
        return runtime

    def empty(self, shape: tuple[int, ...], dtype: Dtype) -> Array:
        a: Array = self._runtime.LEASES.empty(shape, dtype)
        return a

    def fused(self, name: str) -> Any:
        return getattr(self._runtime, name)

    def scans(self) -> ModuleType | None:
        return self._runtime


class CupyBackend(Backend):
    """CuPy arrays on a GPU, and the plain equations: every line of them is a kernel of CuPy's or a product of cuBLAS.

    Nothing here waits for the device.
    """

    on_device = True

    def zeros(self, size: int, dtype: Dtype) -> Array:
        a: Array = self.xp.zeros(size, dtype)  # CuPy's memory begins on 512 bytes
        return a

    def address(self, a: Any) -> int:
        return int(a.data.ptr)

    def host(self, a: Any) -> Array:
        return np.asarray(self.xp.asnumpy(a))

    def locked(self, a: Array) -> Array:
        """``a`` as it is: CuPy has no arrays that cannot be written."""
        return a

    def add_rows(self, out: Array, index: Array, rows: Array) -> None:
        """By products with the rows' one-hot vectors, which add up in one order; atomic additions would not."""
        V, chunk = len(out), max(1, ONE_HOT // max(1, len(out)))
        # int64, since a small dtype may not count to V; wrapped around as in W[x]
        symbols, index = self.xp.arange(V, dtype="int64"), index.astype("int64") % V
        for k in range(0, len(index), chunk):
            marks = (symbols[:, None] == index[None, k : k + chunk]).astype(rows.dtype)
            out += marks @ rows[k : k + chunk]


class CudaBackend(CupyBackend):
    """CuPy arrays, and kernels (``minirnn.kernels.cuda``) for the cells that have some, SGD and Adam.

    Weights and states may be stored in float16, for inference: products and cells compute in float32.
    """

    @cached_property
    def kernels(self) -> ModuleType:
        """The module that launches them."""
        return import_module("minirnn.kernels.cuda.emitting")

    def fused(self, name: str) -> Any:
        return getattr(import_module("minirnn.kernels.cuda.updates"), name, None)

    def scans(self) -> ModuleType | None:
        return self.kernels


NUMPY = Backend("numpy", "numpy", ("float32", "float64", "complex128"))
NUMBA = NumbaBackend("numba", "numpy", ("float32", "float64"))
CUPY = CupyBackend("cupy", "cupy", ("float32", "float64"))
CUDA = CudaBackend("cuda", "cupy", ("float16", "float32", "float64"))

BACKENDS = {"numpy": NUMPY, "numba": NUMBA, "cupy": CUPY, "cuda": CUDA}


def get_backend(name: str, dtype: DTypeLike | None = None) -> Backend:
    """The backend called ``name``.

    ``"auto"`` is what the environment variable ``MINIRNN_BACKEND`` names, else the fastest that this installation has
    and that computes in ``dtype``.  A backend asked for by name is that backend or an error: nothing falls back
    silently.
    """
    if name == "auto":
        name = os.environ.get("MINIRNN_BACKEND", name)
    if name == "auto":
        unfit = _name(dtype) in NUMPY.dtypes and _name(dtype) not in NUMBA.dtypes
        return NUMBA if find_spec("numba") and not unfit else NUMPY
    if name not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(['auto', *BACKENDS])}; got {name!r}")
    if name == "numba" and not find_spec("numba"):
        raise ImportError("backend numba needs Numba, which is not installed: pip install 'minirnn[fast]'")
    if BACKENDS[name].on_device:
        check_device(name)
    return BACKENDS[name]


def check_device(name: str) -> None:
    """Raise ImportError without CuPy and RuntimeError without a device that it can use."""
    if not find_spec("cupy"):
        raise ImportError(f"backend {name} needs CuPy, which is not installed: pip install 'minirnn[cuda13]'")
    count = devices()
    if isinstance(count, str):
        raise RuntimeError(
            f"backend {name} needs a CUDA device; CuPy {import_module('cupy').__version__} found none: {count}"
        )


def devices() -> int | str:
    """How many devices CuPy can use, or what it said."""
    runtime = import_module("cupy").cuda.runtime
    try:
        return int(runtime.getDeviceCount()) or "there are 0"
    except runtime.CUDARuntimeError as error:
        return str(error)


def maker(a: Array) -> Backend:
    """The backend that lent an array its memory, as the array itself says; numpy for any other of the host's."""
    if not isinstance(a, np.ndarray):
        return CUPY
    base: Any = a
    while isinstance(base, np.ndarray):
        base = base.base
    return BACKENDS.get(getattr(base, "backend", ""), NUMPY)


def on_host(a: object) -> bool:
    """Whether a number, list or array can be looked at without waiting for a device."""
    return not hasattr(a, "__cuda_array_interface__")


def namespace(a: object) -> ModuleType:
    """The library that an array belongs to."""
    return np if on_host(a) else CUPY.xp


def check_indices(what: str, index: Array, n: int) -> None:
    """Raise ValueError unless every integer in ``index``, an array of NumPy's, is from 0 to n - 1."""
    unsigned = index.view(index.dtype.str.replace("i", "u"))  # where those below 0 are large: one look finds both
    if index.size and int(unsigned.max()) >= n:
        low, high = int(index.min()), int(index.max())
        raise ValueError(f"{what} must be from 0 to {n - 1}; got {low if low < 0 else high}")


def takes(dtype: Dtype, other: Dtype) -> bool:
    """Whether arrays of dtype ``other`` may become ``dtype``: floats of any width, and complex ones if it is complex.

    Integers are no floats: where a layer takes indices, they mean those.
    """
    real = other.kind == "f" or (other.kind == "V" and "float" in other.name)  # bfloat16, which NumPy does not know
    return real or other.kind == dtype.kind == "c"


def converted(what: str, array: Array, dtype: Dtype) -> Array:
    """An array of floats in ``dtype``; ValueError where a number is too large for it, unless it is on a device."""
    try:
        with np.errstate(over="raise"):
            return array.astype(dtype, copy=False)
    except FloatingPointError:
        raise ValueError(f"{what} has numbers that are too large for {dtype.name}, the model's dtype") from None


def get_dtype(backend: Backend, dtype: DTypeLike) -> Dtype:
    """``dtype`` (a name, a type or a dtype) as a dtype that ``backend`` computes in."""
    name = _name(dtype)
    if name not in backend.dtypes:
        raise ValueError(f"dtype on backend {backend.name} must be one of {', '.join(backend.dtypes)}; got {dtype!r}")
    return np.dtype(name)


def get_compute(backend: Backend, dtype: Dtype, compute: DTypeLike | None) -> str | None:
    """The dtype that products round their numbers to, ``"bfloat16"``, or None where they are in ``dtype`` itself."""
    if compute is None or _name(compute) == dtype.name:
        return None
    if compute != BFLOAT16:
        raise ValueError(f"compute must be {BFLOAT16} or the model's dtype, {dtype.name}; got {compute!r:.40}")
    if dtype.name != "float32":
        raise ValueError(f"compute={BFLOAT16!r} is for models in float32; got {dtype.name}")
    if backend.name not in ROUNDING:
        raise ValueError(
            f"compute={BFLOAT16!r} runs on backend {' or '.join(ROUNDING)}; got {backend.name}, "
            f"which has compute='float32' alone"
        )
    return BFLOAT16


def _name(dtype: DTypeLike | None) -> str:
    """The name of a dtype, or "" for what is none."""
    try:
        return str(np.dtype(dtype))
    except TypeError:
        return ""

"""Where a model's numbers live and what computes them: a frozen value, chosen once, in ``model.init``."""

from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

ALIGNMENT = 64  # bytes: one cache line, and the widest vector register


@dataclass(frozen=True)
class Backend:
    """A name and an array namespace.

    ``numpy`` runs the equations of ``cells.py`` as they are written, in float32, float64 and complex128 (the last for
    derivatives by complex step).
    """

    name: str
    xp: ModuleType
    dtypes: tuple[str, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles of a model name its backend; a module cannot be copied."""
        return get_backend, (self.name,)

    def zeros(self, size: int, dtype: np.dtype[Any]) -> Array:
        """A flat vector of zeros that begins on a cache line."""
        room = ALIGNMENT // dtype.itemsize
        raw: Array = self.xp.zeros(size + room, dtype)
        start = -raw.ctypes.data % ALIGNMENT // dtype.itemsize
        return raw[start : start + size]

    def locked(self, a: Array) -> Array:
        """A view of ``a`` that cannot be written, where the library has such views."""
        view = a[...]
        view.flags.writeable = False
        return view

    def add_rows(self, out: Array, index: Array, rows: Array) -> None:
        """``out[index[k]] += rows[k]`` for every k, repeated indices adding up, in an order that is always the same.

        ``out`` is (V, N), ``index`` (K,) of integers, ``rows`` (K, N).  Sorting the rows and adding each run costs a
        fraction of ``np.add.at``.
        """
        if index.size == 0:
            return
        order = self.xp.argsort(index, kind="stable")
        ordered = index[order]
        starts = self.xp.flatnonzero(self.xp.concatenate(([True], ordered[1:] != ordered[:-1])))
        out[ordered[starts]] += self.xp.add.reduceat(rows[order], starts, axis=0)


NUMPY = Backend("numpy", np, ("float32", "float64", "complex128"))

BACKENDS = {"numpy": NUMPY}


def get_backend(name: str) -> Backend:
    """The backend called ``name``; ``"auto"`` is the fastest that this installation has.

    A backend asked for by name is that backend or an error: nothing falls back silently.
    """
    if name == "auto":
        return NUMPY
    if name not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(['auto', *BACKENDS])}; got {name!r}")
    return BACKENDS[name]


def get_dtype(backend: Backend, dtype: Any) -> np.dtype[Any]:
    """``dtype`` (a name, a type or a dtype) as a dtype that ``backend`` computes in."""
    chosen: np.dtype[Any] | None
    try:
        chosen = np.dtype(dtype)
    except TypeError:
        chosen = None
    if chosen is None or chosen.name not in backend.dtypes:
        raise ValueError(f"dtype on backend {backend.name} must be one of {', '.join(backend.dtypes)}; got {dtype!r}")
    return chosen

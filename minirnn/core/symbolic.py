"""Arrays whose entries are no numbers of NumPy's: a stand-in that runs a cell, the scan and a layer as they are.

What an entry is, an ``Algebra`` says: exact numbers prove a derivation (``minirnn.testing.proof``), operations that are
written down become kernels (``minirnn.core.tracing``).
"""

from collections.abc import Iterator, Sequence
from functools import partial, reduce
from types import ModuleType
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from minirnn.core.backend import Array

SHAPING = {  # NumPy's functions that move entries and compute nothing
    *("array_split", "atleast_2d", "broadcast_to", "concatenate", "copy", "expand_dims", "flip", "hsplit", "hstack"),
    *("moveaxis", "ravel", "repeat", "reshape", "roll", "split", "squeeze", "stack", "swapaxes", "take_along_axis"),
    *("tile", "transpose", "vstack", "where"),
}
FOLDS = {"sum": "add", "max": "maximum", "min": "minimum"}  # what does the same to two
REDUCTIONS = {function: name for name, function in FOLDS.items()}
FILLED = {"empty_like": 0.0, "zeros_like": 0.0, "ones_like": 1.0}
FLOAT = np.dtype("float64")
Value: TypeAlias = Any  # an array or a number, of NumPy's or of this module: who computes with it sees no difference
Axis: TypeAlias = int | tuple[int, ...] | None


class SymbolicError(ValueError):
    """What a function does is more than symbols can follow; the words go on from "it"."""


class Algebra(Protocol):
    """The entries of an array, and how to compute with them."""

    def lift(self, x: Value, /) -> Value:
        """A number as an entry."""

    def apply(self, name: str, /, *operands: Value) -> Value:
        """NumPy's function ``name`` of entries."""

    def reduce(self, name: str, entries: Sequence[Value], /) -> Value:
        """The ``sum``, ``mean``, ``max`` or ``min`` of entries, or what another function of two makes of all."""


def folded(algebra: Algebra, name: str, entries: Sequence[Value]) -> Value:
    """``Algebra.reduce`` by what two entries at a time come to."""
    if name == "mean":
        return algebra.apply("divide", folded(algebra, "sum", entries), algebra.lift(len(entries)))
    return reduce(partial(algebra.apply, FOLDS.get(name, name)), entries)


class Symbolic(NDArrayOperatorsMixin):
    """An array of any shape over an ``algebra``; it says of itself that it is float64."""

    dtype = FLOAT

    def __init__(self, entries: Value, algebra: Algebra) -> None:
        self.algebra, self.entries = algebra, np.asarray(entries, object)

    @classmethod
    def of(cls, value: Value, algebra: Algebra) -> "Symbolic":
        """``value``, as it is or as an array of constants."""
        return value if isinstance(value, cls) else cls(np.frompyfunc(algebra.lift, 1, 1)(np.asarray(value)), algebra)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.entries.shape

    @property
    def ndim(self) -> int:
        return self.entries.ndim

    @property
    def size(self) -> int:
        return self.entries.size

    @property
    def real(self) -> "Symbolic":
        return self

    @property
    def T(self) -> "Symbolic":
        return Symbolic(self.entries.T, self.algebra)

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Value]:
        return (self[k] for k in range(len(self)))

    def __getitem__(self, key: Value) -> "Symbolic":
        return Symbolic(self.entries[key], self.algebra)

    def __setitem__(self, key: Value, value: Value) -> None:
        self.entries[key] = self._raw(value)

    def __getattr__(self, name: str) -> Value:
        if name.startswith("_"):  # what NumPy asks for
            raise AttributeError(name)
        raise SymbolicError(f"uses .{name} of an array, which symbols do not know")

    def __bool__(self) -> bool:
        raise SymbolicError("branches on a value, with if, and, or or not: np.where does not")

    def __float__(self) -> float:
        raise SymbolicError("makes a number of Python's out of a value")

    def clip(self, low: Value = None, high: Value = None) -> Value:
        return np.clip(self, low, high)

    def copy(self) -> "Symbolic":
        return Symbolic(self.entries.copy(), self.algebra)

    def astype(self, dtype: Value, **_: Value) -> "Symbolic":
        if np.dtype(dtype) != FLOAT:
            raise SymbolicError(f"converts to {np.dtype(dtype)}")
        return self

    def reshape(self, *shape: Value) -> "Symbolic":
        return Symbolic(self.entries.reshape(*shape), self.algebra)

    def swapaxes(self, a: int, b: int) -> "Symbolic":
        return Symbolic(self.entries.swapaxes(a, b), self.algebra)

    def sum(self, axis: Axis = None, *, keepdims: bool = False) -> "Symbolic":
        return self._reduced("sum", axis, keepdims=keepdims)

    def mean(self, axis: Axis = None, *, keepdims: bool = False) -> "Symbolic":
        return self._reduced("mean", axis, keepdims=keepdims)

    def max(self, axis: Axis = None, *, keepdims: bool = False) -> "Symbolic":
        return self._reduced("max", axis, keepdims=keepdims)

    def min(self, axis: Axis = None, *, keepdims: bool = False) -> "Symbolic":
        return self._reduced("min", axis, keepdims=keepdims)

    def var(self, axis: Axis = None, *, keepdims: bool = False) -> "Symbolic":
        off: Value = self - self.mean(axis, keepdims=True)
        variance: Symbolic = (off * off).mean(axis, keepdims=keepdims)
        return variance

    def std(self, axis: Axis = None, *, keepdims: bool = False) -> "Symbolic":
        root: Value = np.sqrt(self.var(axis, keepdims=keepdims))
        return root  # type: ignore[no-any-return]  # of ours

    def _reduced(self, name: str, axis: Axis, *, keepdims: bool) -> "Symbolic":
        axes = range(self.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        across = sorted({k % self.ndim for k in axes})
        beside = [k for k in range(self.ndim) if k not in across]
        rows = self.entries.transpose(beside + across).reshape([*(self.shape[k] for k in beside), -1])
        out = np.empty(rows.shape[:-1], object)
        for index in np.ndindex(out.shape):
            row = list(rows[index])
            out[index] = self.algebra.reduce(name, row) if row else self.algebra.lift(0.0)
        shape = [1 if k in across else n for k, n in enumerate(self.shape)]
        return Symbolic(out.reshape(shape) if keepdims else out, self.algebra)

    def _raw(self, value: Value) -> Array:
        """Entries, of whatever came."""
        return Symbolic.of(value, self.algebra).entries

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Value, out: Value = None, **options: Value
    ) -> Value:
        if method == "reduce":
            array, axis = inputs[0], options.get("axis", 0)
            name = REDUCTIONS.get(ufunc.__name__, ufunc.__name__)
            return array._reduced(name, axis, keepdims=options.get("keepdims", False))  # noqa: SLF001 - one of ours
        raw = [self._raw(value) for value in inputs[:1]] + list(inputs[1:])
        if method == "reduceat" and ufunc is np.add:
            entries = ufunc.reduceat(raw[0], *raw[1:], **options)
        elif method != "__call__" or options:
            raise SymbolicError(f"uses np.{ufunc.__name__}.{method} with {', '.join(options)}")
        elif ufunc is np.matmul:
            entries = self._raw(inputs[0]) @ self._raw(inputs[1])
        else:
            function = np.frompyfunc(partial(self.algebra.apply, ufunc.__name__), ufunc.nin, 1)
            entries = np.asarray(function(*map(self._raw, inputs)))
            if all(isinstance(entry, bool) for entry in entries.flat) and entries.size:
                return entries.astype(bool)
        if out is None:
            return Symbolic(entries, self.algebra)
        out[0][...] = Symbolic(entries, self.algebra)
        return out[0]

    def __array_function__(
        self, function: Value, _: Value, arguments: tuple[Value, ...], options: dict[str, Value]
    ) -> Value:
        name = function.__name__
        if name in FILLED:
            return full(arguments[0].shape, FILLED[name], self.algebra)
        if name == "full_like":
            return full(arguments[0].shape, arguments[1], self.algebra)
        if name in ("sum", "mean", "var", "std"):
            return getattr(arguments[0], name)(*arguments[1:], **options)
        if name in ("max", "min", "amax", "amin"):
            return getattr(arguments[0], name[-3:])(*arguments[1:], **options)
        if name == "clip":
            low, high = (*arguments[1:], None, None)[:2]
            clipped = arguments[0] if low is None else np.maximum(arguments[0], low)
            return clipped if high is None else np.minimum(clipped, high)
        if name == "where" and isinstance(arguments[0], Symbolic):
            choose = np.frompyfunc(partial(self.algebra.apply, "where"), 3, 1)
            return Symbolic(choose(*map(self._raw, arguments)), self.algebra)
        if name not in SHAPING:
            raise SymbolicError(f"uses np.{name}, which symbols do not know")
        result = function(*(self._entries(a) for a in arguments), **options)
        if isinstance(result, (list, tuple)):
            return [Symbolic(part, self.algebra) for part in result]
        return Symbolic(np.frompyfunc(self.algebra.lift, 1, 1)(result), self.algebra)

    def _entries(self, value: Value) -> Value:
        if isinstance(value, (list, tuple)) and any(isinstance(part, Symbolic) for part in value):
            return [self._raw(part) for part in value]
        return value.entries if isinstance(value, Symbolic) else value


def full(shape: tuple[int, ...], value: Value, algebra: Algebra) -> Value:
    """A ``Symbolic`` of one constant; to those who use it an array like any other."""
    entries = np.empty(shape, object)
    entries[...] = algebra.lift(value)
    return Symbolic(entries, algebra)


class Namespace(ModuleType):
    """NumPy, but arrays of floats that it makes are ``Symbolic``."""

    def __init__(self, algebra: Algebra) -> None:
        super().__init__("symbolic")
        self._algebra = algebra

    def __getattr__(self, name: str) -> Value:
        return getattr(np, name)

    def empty(self, shape: Value, dtype: Value = FLOAT) -> Value:
        return self.zeros(shape, dtype)

    def zeros(self, shape: Value, dtype: Value = FLOAT) -> Value:
        if np.dtype(dtype).kind != "f":
            return np.zeros(shape, dtype)
        return full(shape if isinstance(shape, tuple) else (shape,), 0.0, self._algebra)

    def array(self, a: Value, *arguments: Value, **options: Value) -> Value:
        return a.copy() if isinstance(a, Symbolic) else np.array(a, *arguments, **options)

    def asarray(self, a: Value, *arguments: Value, **options: Value) -> Value:
        return a if isinstance(a, Symbolic) else np.asarray(a, *arguments, **options)

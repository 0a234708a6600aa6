"""A stand-in for CuPy that is as strict: arrays on no device, which refuse what CuPy's refuse.

What it keeps of CuPy, and tests rely on: no conversion to NumPy but by ``asnumpy`` (nor by ``np.asarray``, an operator
or an assignment), arguments of kernels packed by the type of the value, reductions that stay arrays.  Whatever reads a
value on the host is counted in ``waits``.  Kernels run as ``on_cpu.py`` builds them.
"""

import ctypes
import threading
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import on_cpu

from minirnn.kernels.cuda.launch import Source

__version__ = "strict"
waits = 0  # times that the host had to wait for the device
stream = threading.Lock()  # kernels run one after another, whichever of the host's threads launch them
NAMES = """
    abs absolute add arange argsort array asarray ascontiguousarray bitwise_and bitwise_or bitwise_xor broadcast_to clip
    concatenate cumsum divide empty equal exp expm1 full greater greater_equal invert isfinite isinf isnan
    left_shift less less_equal log log1p logical_and logical_not logical_or matmul maximum minimum multiply negative
    not_equal power right_shift split sqrt square stack subtract take_along_axis tanh true_divide where zeros zeros_like
"""
offered = NAMES.split()  # functions of CuPy's that minirnn may use; a test holds them against the real package
uint64, float64, float32, int64 = np.uint64, np.float64, np.float32, np.int64


def _wait() -> None:
    global waits  # noqa: PLW0603 - the module is the device
    waits += 1


def _inner(value: Any) -> Any:
    """What a function of NumPy's may see of an argument."""
    if isinstance(value, ndarray):
        return value._a
    if isinstance(value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(value, (tuple, list)):
        return type(value)(_inner(v) for v in value)
    return value


def _outer(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return ndarray(np.asarray(value))
    if isinstance(value, (tuple, list)):
        return type(value)(_outer(v) for v in value)
    return value


def _index(key: Any) -> Any:
    if isinstance(key, tuple):
        return tuple(_index(k) for k in key)
    if isinstance(key, (np.ndarray, list)):
        raise IndexError(f"Unsupported type {type(key)}")
    return _inner(key)


class ndarray:  # noqa: N801 - CuPy's name
    """An array that only this module's functions can look into."""

    def __init__(self, a: np.ndarray[Any, Any]) -> None:
        self._a = a

    # ------------------------------------------------------------------ what an array says of itself

    shape = property(lambda self: self._a.shape)
    dtype = property(lambda self: self._a.dtype)
    ndim = property(lambda self: self._a.ndim)
    size = property(lambda self: self._a.size)
    strides = property(lambda self: self._a.strides)
    itemsize = property(lambda self: self._a.itemsize)
    nbytes = property(lambda self: self._a.nbytes)
    T = property(lambda self: ndarray(self._a.T))
    real = property(lambda self: ndarray(self._a.real))
    imag = property(lambda self: ndarray(self._a.imag))
    data = property(lambda self: SimpleNamespace(ptr=self._a.__array_interface__["data"][0]))

    @property
    def flags(self) -> Any:
        return SimpleNamespace(c_contiguous=self._a.flags.c_contiguous, f_contiguous=self._a.flags.f_contiguous)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {**self._a.__array_interface__, "version": 3}

    def __array__(self, *arguments: Any, **options: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct one.")

    def __len__(self) -> int:
        return len(self._a)

    # ------------------------------------------------------------------ reading a value is waiting for it

    def get(self) -> np.ndarray[Any, Any]:
        _wait()
        return self._a.copy()

    def item(self) -> Any:
        _wait()
        return self._a.item()

    def tolist(self) -> Any:
        _wait()
        return self._a.tolist()

    def __float__(self) -> float:
        _wait()
        return float(self._a)

    def __int__(self) -> int:
        _wait()
        return int(self._a)

    def __bool__(self) -> bool:
        _wait()
        return bool(self._a)

    # ------------------------------------------------------------------ everything else stays there

    def __getitem__(self, key: Any) -> "ndarray":
        key = key if isinstance(key, tuple) else (key,)
        if not any(k is ... for k in key):
            key = (*key, ...)  # so that a single entry is a view, too
        return ndarray(self._a[_index(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(value, np.ndarray) and value.ndim:
            raise ValueError("non-scalar numpy.ndarray cannot be used for setitem")
        self._a[_index(key)] = value if np.isscalar(value) else _inner(value)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        if method != "__call__" or ufunc.__name__ not in offered:
            return NotImplemented
        result = ufunc(*(_inner(i) for i in inputs), out=_inner(out), **options)
        return _outer(result) if out is None else out[0]

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        if function.__name__ not in offered:
            return NotImplemented
        return _outer(function(*map(_inner, arguments), **{k: _inner(v) for k, v in options.items()}))

    def __deepcopy__(self, memo: Any) -> "ndarray":
        return ndarray(self._a.copy())

    def __iter__(self) -> Any:
        return (self[k] for k in range(len(self)))


def _method(name: str) -> Any:
    def method(self: ndarray, *arguments: Any, **options: Any) -> Any:
        return _outer(getattr(self._a, name)(*map(_inner, arguments), **{k: _inner(v) for k, v in options.items()}))

    return method


for _name in (
    "astype",
    "reshape",
    "sum",
    "copy",
    "view",
    "ravel",
    "max",
    "min",
    "any",
    "all",
    "fill",
    "mean",
    "argmax",
):
    setattr(ndarray, _name, _method(_name))
OPERATORS = """
    add sub mul truediv floordiv mod pow matmul radd rsub rmul rtruediv rpow rmatmul and or xor rand ror rxor lshift
    rshift iadd isub imul itruediv iand ior ixor neg invert lt le gt ge eq ne abs
"""
for _name in OPERATORS.split():

    def _operator(self: ndarray, *other: Any, _name: str = f"__{_name}__") -> Any:
        result = getattr(self._a, _name)(*map(_inner, other))
        if result is NotImplemented:
            return result
        if _name[2] == "i" and _name != "__invert__":
            return self
        return _outer(result)

    setattr(ndarray, f"__{_name}__", _operator)


def __getattr__(name: str) -> Any:
    if name not in offered:
        raise AttributeError(f"module 'cupy' has no attribute {name!r} that minirnn may use")
    made = name in ("asarray", "array", "ascontiguousarray")  # these copy from the host

    def function(*arguments: Any, **options: Any) -> Any:
        inner = (lambda v: v._a if isinstance(v, ndarray) else v) if made else _inner
        return _outer(getattr(np, name)(*map(inner, arguments), **{k: _inner(v) for k, v in options.items()}))

    def into(*arguments: Any, out: Any = None, **options: Any) -> Any:
        result = function(*arguments, **options, **({} if out is None else {"out": out}))
        return result if out is None else out

    return into


def asnumpy(a: ndarray) -> np.ndarray[Any, Any]:
    """A copy on the host."""
    return a.get()


class CUDARuntimeError(RuntimeError):
    """What CuPy raises when the driver refuses."""


class Device:
    """One of the devices, of which there are as many as ``cuda.runtime`` says; ``taken``: those that were chosen."""

    taken: ClassVar[list[int]] = []

    def __init__(self, device: int = 0) -> None:
        assert 0 <= device < cuda.runtime.getDeviceCount()
        self.id = device

    def use(self) -> None:
        Device.taken.append(self.id)

    def synchronize(self) -> None:
        _wait()


cuda = SimpleNamespace(
    Device=Device,
    runtime=SimpleNamespace(getDeviceCount=lambda: 1, CUDARuntimeError=CUDARuntimeError),
)


class RawModule:
    """Kernels of a source of ``minirnn.kernels.cuda``, on the processor."""

    def __init__(self, *, code: str, options: tuple[str, ...], name_expressions: tuple[str, ...]) -> None:
        self._source, self._names = Source.of("", code), name_expressions

    def get_function(self, name: str) -> Any:
        assert name in self._names
        flags = () if "__syncthreads" in self._source.code else ("-DSERIAL",)
        run = on_cpu.function(self._source, name, flags)

        def kernel(grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
            assert 0 < grid[0] < 2**31
            assert 0 < block[0] <= 1024
            packed = [ctypes.create_string_buffer(_packed(a)) for a in arguments]
            with stream:
                run(grid[0], block[0], (ctypes.c_void_p * len(packed))(*map(ctypes.addressof, packed)))

        return kernel


def _packed(value: Any) -> bytes:
    """An argument's bytes: a Python number takes 8, whatever the kernel declares."""
    if isinstance(value, np.generic):
        return value.tobytes()
    if isinstance(value, ndarray):
        return np.uint64(value.data.ptr).tobytes()
    if isinstance(value, bool):
        return np.bool_(value).tobytes()
    return (np.float64(value) if isinstance(value, float) else np.int64(value)).tobytes()

"""The real CuPy, without a device: what minirnn uses of it exists and takes the keywords that it is given, and what the
stand-in of ``strict_cupy.py`` offers is no more than that.

An array here is CuPy's own over the host's memory.  All that needs no device works on it; the rest fails, but only
where CuPy turns to the driver, when names, keywords and types have been accepted.
"""

import ast
import json
import operator
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import strict_cupy

import minirnn
from minirnn import cross_entropy, mse
from minirnn.core.backend import CUPY
from minirnn.kernels.cuda import launch
from minirnn.language.sampling import take_rows

cupy: Any = pytest.importorskip("cupy", reason="CuPy is not installed: pip install 'minirnn[cuda13]'")

pytestmark = pytest.mark.extras

PACKAGE = Path(minirnn.__file__).parent
ROOMS = (".", "core", "layers", "recurrent", "optim", "inference", "language", "training", "formats", "formats/torch")
SOURCES = sorted({path for room in ROOMS for path in (PACKAGE / room).glob("*.py")} | {*launch.FOLDER.glob("*.py")})


def devices() -> int:
    try:
        return int(cupy.cuda.runtime.getDeviceCount())
    except cupy.cuda.runtime.CUDARuntimeError:
        return 0


no_device = pytest.mark.skipif(devices() > 0, reason="there is a device: test_device.py says more")

# ---------------------------------------------------------------------- names and keywords


class Use(NamedTuple):
    """A call in minirnn's sources: where, what, how many positional arguments, keywords, and whether that is all."""

    where: str
    name: str
    positional: int
    keywords: tuple[str, ...]
    whole: bool


def dotted(node: ast.expr) -> str:
    """``a.b.c`` of an expression, "" for what is none."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value) or '_'}.{node.attr}"
    return "_"


def namespaced(name: str) -> str:
    """What a dotted name is within CuPy, or "": ``self.backend.xp.linalg.norm`` is ``linalg.norm``."""
    found = re.fullmatch(r"(?:[\w.]+\.)?(?:xp|cupy)\.([\w.]+)", name)
    return found[1] if found else ""


TREES = {path: ast.parse(path.read_text()) for path in SOURCES}


def uses(select: Callable[[str], str]) -> list[Use]:
    found = []
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            name = select(dotted(node.func)) if isinstance(node, ast.Call) else ""
            if name and isinstance(node, ast.Call):
                keywords = tuple(k.arg for k in node.keywords if k.arg)
                whole = len(keywords) == len(node.keywords) and not any(isinstance(a, ast.Starred) for a in node.args)
                found.append(Use(f"{path.name}:{node.lineno}", name, len(node.args), keywords, whole))
    return found


def method(name: str) -> str:
    """The name of an array's method that is called on something other than a library, or ""."""
    owner, _, last = name.rpartition(".")
    return last if last in METHODS and owner not in ("np", "") and not namespaced(name) else ""


METHODS = ("astype", "reshape", "sum", "copy", "view", "ravel", "max", "min", "any", "all", "mean")
FUNCTIONS = uses(namespaced)
CALLED = uses(method)


def written(described: Any) -> Signature:
    """The signature that a docstring begins with: what Cython's functions and CuPy's ufuncs have instead of one."""
    head = re.match(r"\s*[\w.]+\((.*?)\)(?:\s*->.*)?$", described.__doc__, re.DOTALL | re.MULTILINE)
    assert head is not None, described.__doc__
    parts = [part.strip().lstrip("\\") for part in head[1].replace("\\*", "*").split(",")]
    parts = [re.sub(r"^(?:str|tuple|bool|int|Py_ssize_t) ", "", part) for part in parts]  # Cython's types
    found: list[Parameter] = []
    kind: Any = Parameter.POSITIONAL_OR_KEYWORD
    for part in parts:
        if part == "*":
            kind = Parameter.KEYWORD_ONLY
        elif part == "/":
            found = [p.replace(kind=Parameter.POSITIONAL_ONLY) for p in found]
        elif part.startswith("**"):
            found.append(Parameter(part[2:], Parameter.VAR_KEYWORD))
        elif part.startswith("*"):
            found.append(Parameter(part[1:], Parameter.VAR_POSITIONAL))
            kind = Parameter.KEYWORD_ONLY
        else:
            name, _, default = part.partition("=")
            found.append(Parameter(name, kind, default=default or Parameter.empty))
    return Signature(found)


def bind(found: Signature, use: Use) -> None:
    """Raise TypeError where a call does not fit."""
    arguments = [None] * (use.positional + (next(iter(found.parameters)) == "self"))
    (found.bind if use.whole else found.bind_partial)(*arguments, **dict.fromkeys(use.keywords))


def signature_of(called: Any) -> Signature:
    try:
        return signature(called)
    except (TypeError, ValueError):
        return written(called)


def test_all_that_may_be_used_exists() -> None:
    assert [name for name in strict_cupy.offered if not hasattr(cupy, name)] == []


def test_all_that_is_used_exists_and_takes_its_keywords() -> None:
    assert {use.name for use in FUNCTIONS} >= {"zeros", "where", "matmul", "array", "asnumpy"}  # it does find them
    for use in FUNCTIONS:
        called = operator.attrgetter(use.name)(cupy)  # AttributeError: CuPy has none
        if not (isinstance(called, type) and issubclass(called, np.generic)):  # NumPy's own types
            try:
                bind(signature_of(called), use)
            except TypeError as error:
                pytest.fail(f"{use}: {error}")


def test_methods_of_arrays_take_their_keywords() -> None:
    assert any(use.keywords for use in CALLED)
    for use in CALLED:
        found = written(getattr(cupy.ndarray, use.name))
        if use.name in ("reshape", "view"):  # Cython's reshape(self, *shape, order='C'); view(self, dtype=None, ...)
            assert set(use.keywords) <= {"order", "dtype"}, use
            continue
        try:
            bind(found, use)
        except TypeError as error:
            pytest.fail(f"{use}: {error}")


def test_functions_of_numpy_that_cells_call_on_arrays_are_cupys_too() -> None:
    """They arrive through ``__array_ufunc__`` and ``__array_function__``."""
    names = {
        node.func.attr
        for node in ast.walk(TREES[PACKAGE / "cells.py"])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and dotted(node.func.value) == "np"
    }
    assert names >= {"tanh", "where", "concatenate"}
    for name in names:
        assert hasattr(cupy, name), name
        assert name in strict_cupy.offered, name


@pytest.mark.parametrize(
    "use",
    [
        Use("", "clip", 3, ("into",), whole=True),
        Use("", "zeros", 0, ("shape", "dtypes"), whole=True),
        Use("", "add", 2, ("outs",), whole=True),
        Use("", "take_along_axis", 2, (), whole=True),
        Use("", "tanh", 2, ("where",), whole=True),
    ],
)
def test_a_keyword_that_cupy_does_not_have_is_seen(use: Use) -> None:
    with pytest.raises(TypeError):
        bind(signature_of(getattr(cupy, use.name)), use)


# ---------------------------------------------------------------------- arrays

KEEP = np.zeros(4096)


def array(*shape: int, dtype: str = "float64") -> Any:
    """CuPy's array over the host's memory: nothing may compute on it where there is a device."""
    memory = cupy.cuda.UnownedMemory(KEEP.ctypes.data, KEEP.nbytes, KEEP, 0)
    return cupy.ndarray(shape, dtype, memptr=cupy.cuda.MemoryPointer(memory, 0))


def strict(*shape: int, dtype: str = "float64") -> Any:
    size = int(np.prod(shape))
    return strict_cupy.ndarray(KEEP.view(dtype)[:size].reshape(shape))


PUBLIC = [name for name in vars(strict_cupy.ndarray) if name not in vars(type("", (), {})) or name == "__init__"]


@pytest.mark.parametrize("name", PUBLIC)
def test_what_the_stand_ins_array_has_cupys_has(name: str) -> None:
    assert hasattr(cupy.ndarray, name)


VIEWS: dict[str, Callable[[Any], Any]] = {
    "whole": lambda a: a,
    "[1]": lambda a: a[1],
    "[1:]": lambda a: a[1:],
    "[:, 1:3]": lambda a: a[:, 1:3],
    "[:, ::2]": lambda a: a[:, ::2],
    "[..., -1]": lambda a: a[..., -1],
    "[None]": lambda a: a[None],
    "[2, 1, 3]": lambda a: a[2, 1, 3],
    "[:0]": lambda a: a[:0],
    "T": lambda a: a.T,
    "reshape": lambda a: a.reshape(-1, 5),
    "reshape of one number": lambda a: a[1:2].reshape(20),
    "ravel": lambda a: a.ravel(),
    "real": lambda a: a.real,
    "view": lambda a: a.view("float32"),
    "[...]": lambda a: a[...],
}


@pytest.mark.parametrize("view", VIEWS)
def test_views_lie_where_the_stand_ins_lie(view: str) -> None:
    found = []
    for make in (array, strict):
        a = VIEWS[view](make(3, 4, 5))
        what = a.shape, a.dtype, a.ndim, a.size, a.itemsize, a.nbytes
        flags = a.flags.c_contiguous, a.flags.f_contiguous
        found.append((what, flags, a.strides if a.size else (), a.data.ptr - KEEP.ctypes.data if a.size else 0))
    assert found[0] == found[1]


def test_launch_takes_the_address_of_an_array_and_holds_it_against_the_declaration() -> None:
    a = array(3, 4, 5)
    assert launch._address("step", "G", "double", a[1]) == KEEP.ctypes.data + 20 * 8
    for wrong in (a[:, 1:3], a.T, a.view("float32"), a.view("int64")):
        with pytest.raises(TypeError, match="as a contiguous array of float64"):
            launch._address("step", "G", "double", wrong)


REFUSED: dict[str, Callable[[Any], Any]] = {
    "np.asarray": np.asarray,
    "a[:] = NumPy's": lambda a: operator.setitem(a, slice(None), np.ones((3, 4))),
    "a[0] = NumPy's": lambda a: operator.setitem(a, 0, np.ones(4)),
    "as an index": lambda a: operator.index(a.view("int64")[0, 0]),
    "item of many": lambda a: a.item(),
    "len of a number": lambda a: len(a[0, 0]),
    "its namespace": lambda a: a.__array_namespace__(),
    "where of the host's": lambda a: a.ctypes,
    "whether it can be written": lambda a: a.flags.writeable,
    "too many indices": lambda a: a[0, 0, 0],
    "another size": lambda a: a.reshape(5),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cupy_refuses_the_stand_in_refuses(what: str) -> None:
    with pytest.raises((TypeError, ValueError, AttributeError, IndexError)) as real:
        REFUSED[what](array(3, 4))
    with pytest.raises(real.type):
        REFUSED[what](strict(3, 4))


a, w, s, m, k = array(3, 4), array(4, 12), array(), array(3, 4, dtype="bool"), array(3, dtype="int64")
CALLS: dict[str, Callable[[], Any]] = {
    "a.sum(axis=1, keepdims=True)": lambda: a.sum(axis=1, keepdims=True),
    "a.sum((0, 1))": lambda: a.sum((0, 1)),
    "a.real.max(axis=1, keepdims=True)": lambda: a.real.max(axis=1, keepdims=True),
    "a.astype('float32', copy=False)": lambda: a.astype("float32", copy=False),
    "where of a scalar": lambda: cupy.where(m, a, a.dtype.type(0)),
    "where of numbers": lambda: cupy.where(s < 0, 1, s),
    "clip": lambda: cupy.clip(a, -1.0, 1.0, out=a),
    "concatenate": lambda: cupy.concatenate((a[1:], a[None][0])),
    "take_along_axis": lambda: cupy.take_along_axis(a, k[:, None], 0),
    "broadcast_to": lambda: cupy.broadcast_to(m[:1], m.shape).copy(),
    "array": lambda: cupy.array(a, dtype="float64", order="C"),
    "asarray": lambda: cupy.asarray(np.ones(3)),
    "zeros": lambda: cupy.zeros((), "int64"),
    "full": lambda: cupy.full((3,), 2, "float64"),
    "arange": lambda: cupy.arange(3, dtype=k.dtype),
    "stack": lambda: cupy.stack([a, a]),
    "np.tanh": lambda: np.tanh(a),
    "np.where": lambda: np.where(a.real, a.dtype.type(0), a),
    "np.concatenate": lambda: np.concatenate((a, a), axis=-1),
    "a row by indices": lambda: w[k],
    "entries by indices": lambda: a[k, k],
    "to entries by indices": lambda: operator.setitem(a, (k, k), s),
    "to all": lambda: operator.setitem(a, ..., 1.0),
    "from all": lambda: operator.setitem(a, ..., a.astype("float32")),
    "to the host": lambda: cupy.asnumpy(a),
    "a + a": lambda: a + a,
    "2 / a": lambda: 2 / a,
    "a ** 0.5": lambda: a**0.5,
    "m | m": lambda: m | m,
    "float": lambda: float(s),
    "int": lambda: int(s),
    "bool": lambda: bool(s),
    "tolist": a.tolist,
    "cross_entropy": lambda: cross_entropy(a, np.zeros(3, int)),
    "cross_entropy with a mask": lambda: cross_entropy(a, k, np.ones(3, bool)),
    "mse": lambda: mse(a, a),
    "take_rows": lambda: take_rows(a, np.array([1, 0])),
    "matmul": lambda: cupy.matmul(a, w, out=w[:3]),
    "@": lambda: a @ w,
}


@no_device
@pytest.mark.parametrize("call", CALLS)
def test_a_call_fails_only_for_lack_of_a_device(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", cupy)  # other tests of this process may have put the stand-in there
    monkeypatch.setitem(CUPY.__dict__, "xp", cupy)
    product = (ImportError,) if call in ("matmul", "@") else ()  # cuBLAS may not be installed
    with pytest.raises((cupy.cuda.runtime.CUDARuntimeError, *product)) as caught:
        CALLS[call]()
    assert re.search("cudaError|cublas", str(caught.value))


# ---------------------------------------------------------------------- modules, devices


def test_modules_and_devices_are_asked_as_cupy_has_them() -> None:
    use = Use("", "RawModule", 0, ("code", "options", "name_expressions"), whole=True)
    bind(written(cupy.RawModule), use)
    cupy.RawModule(code="", options=launch.OPTIONS, name_expressions=("f",))
    with pytest.raises(TypeError):
        cupy.RawModule(code="", options=launch.OPTIONS, name_expression=("f",))
    bind(written(cupy.RawModule.get_function), Use("", "get_function", 1, (), whole=True))
    for name in ("getDeviceCount", "getDeviceProperties", "CUDARuntimeError"):
        assert hasattr(cupy.cuda.runtime, name)
    assert set(vars(strict_cupy.cuda.runtime)) <= set(dir(cupy.cuda.runtime))
    assert issubclass(cupy.cuda.runtime.CUDARuntimeError, RuntimeError)


def test_faults_of_compiler_and_driver_are_told_by_their_modules() -> None:
    """``launch`` names the kernel where the error's type comes from CuPy."""
    driver = import_module("cupy_backends.cuda.api.driver")
    for error in (cupy.cuda.compiler.CompileException, driver.CUDADriverError, cupy.cuda.runtime.CUDARuntimeError):
        assert error.__module__.partition(".")[0] in ("cupy", "cupy_backends")


PROGRAM = """
import json, sys
import minirnn
found = {"early": "cupy" in sys.modules}
for backend in ("cupy", "cuda"):
    try:
        minirnn.GRU(2, 3).init(backend=backend)
    except RuntimeError as error:
        found[backend] = str(error)
print(json.dumps(found))
"""


def output(tmp_path: Path, *command: str) -> dict[str, Any]:
    """What a fresh interpreter printed, in which a warning is an error."""
    environment = {**os.environ, "CUPY_CACHE_DIR": str(tmp_path)}
    environment.pop("MINIRNN_BACKEND", None)
    done = subprocess.run(
        [sys.executable, "-W", "error", *command], capture_output=True, text=True, env=environment, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@no_device
def test_without_a_device_a_sentence_says_so(tmp_path: Path) -> None:
    found = output(tmp_path, "-c", PROGRAM)
    assert not found["early"]  # minirnn is imported without CuPy
    for backend in ("cupy", "cuda"):
        wanted = rf"backend {backend} needs a CUDA device; CuPy {re.escape(cupy.__version__)} found none: \S.*"
        assert re.fullmatch(wanted, found[backend])


def test_info_names_cupy_and_the_devices(tmp_path: Path) -> None:
    record = output(tmp_path, "-m", "minirnn", "info", "--json")
    assert record["cupy"] == cupy.__version__
    if devices():
        assert len(record["devices"]) == devices()
    else:
        assert re.fullmatch(r"no CUDA device: \S.*", record["devices"])

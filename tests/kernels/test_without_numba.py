"""What runs where Numba is missing, broken or not asked for."""

import os
from pathlib import Path

import pytest
from interpreters import PACKAGE, python

from minirnn import (
    GRU,
)
from minirnn.core.backend import NUMBA, NUMPY, get_backend


def test_importing_minirnn_and_running_on_numpy_imports_no_numba() -> None:
    code = """
import json, sys
import minirnn
first = [name for name in sys.modules if name.split(".")[0] in ("numba", "llvmlite")]
model = minirnn.GRU(2, 3).init(backend="numpy")
y, _, backward = model.forward([[[1.0, 2.0]]])
backward(y)
model(y[..., :2])
minirnn.set_num_threads(2)
minirnn.SGD(model, 0.1).step()
print(json.dumps([first, [name for name in sys.modules if name.split(".")[0] in ("numba", "llvmlite")]]))
"""
    assert python(code) == [[], []]


WITHOUT_NUMBA = """
import json, sys

class Hiding:
    "A finder of modules that does not find Numba."
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, *arguments):
        return None if name.split(".")[0] in ("numba", "llvmlite") else self.finder.find_spec(name, *arguments)

sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
import minirnn
from minirnn.core.backend import get_backend

def attempt(call):
    try:
        return call()
    except ImportError as error:
        return str(error)

plain = minirnn.LSTM(2, 3).init(backend="numpy")
y, _, backward = plain.forward([[[1.0, 2.0]]])
backward(y)
calls = (
    lambda: minirnn.GRU(2, 3).init(backend="numba").bound.backend.name,
    lambda: plain.to(backend="numba").bound.backend.name,
    lambda: get_backend("auto").name,
    lambda: minirnn.GRU(2, 3).init().bound.backend.name,
)
print(json.dumps([attempt(call) for call in calls]))
"""


def test_without_numba_its_backend_says_what_to_install_and_auto_is_numpy() -> None:
    message = "backend numba needs Numba, which is not installed: pip install 'minirnn[fast]'"
    assert python(WITHOUT_NUMBA, without=("MINIRNN_BACKEND",)) == [message, message, "numpy", "numpy"]
    assert python(WITHOUT_NUMBA, MINIRNN_BACKEND="numba") == [message] * 4  # asked for by name: nothing falls back


def test_a_numba_that_cannot_be_imported_is_named_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "numba").mkdir()
    (tmp_path / "numba" / "__init__.py").write_text("raise ImportError('Numba needs NumPy 2.0 or less')")
    code = """
import json, minirnn
try:
    minirnn.GRU(2, 3).init(backend="numba").forward([[[1.0, 2.0]]])
except ImportError as error:
    print(json.dumps(str(error)))
"""
    message = "backend numba needs Numba: pip install 'minirnn[fast]' (Numba needs NumPy 2.0 or less)"
    assert python(code, PYTHONPATH=os.pathsep.join([str(tmp_path), str(PACKAGE.parent)])) == message


def test_the_environment_chooses_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINIRNN_BACKEND", raising=False)
    assert get_backend("auto") is NUMBA
    assert get_backend("auto", "complex128") is NUMPY  # which numba has no kernels for
    for name, backend in (("numpy", NUMPY), ("numba", NUMBA), ("auto", NUMBA)):
        monkeypatch.setenv("MINIRNN_BACKEND", name)
        assert get_backend("auto") is backend
        assert GRU(2, 3).init().bound.backend is backend
    monkeypatch.setenv("MINIRNN_BACKEND", "numpy")
    assert get_backend("numba") is NUMBA  # what is asked for by name is not what the environment says
    monkeypatch.setenv("MINIRNN_BACKEND", "fastest")
    with pytest.raises(ValueError, match=r"^backend must be one of auto, numpy, numba, cupy, cuda; got 'fastest'$"):
        GRU(2, 3).init()

"""Names of the package are imported when they are first asked for, and a type checker sees all of them."""

import ast
import importlib
import pickle
from pathlib import Path
from typing import assert_type

import numpy as np
import pytest
from interpreters import python

import minirnn
import minirnn.testing
from minirnn.recurrent.networks import GRU
from minirnn.testing.proof import Proof

ROOT = Path(__file__).resolve().parents[2]
OF_CORE = {"arrays", "interrupts", "lazy", "version"}
LOADED = """
import json, sys
import numpy
before = set(sys.modules)
{}
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def loaded(line: str) -> set[str]:
    """The modules that a line imports beside NumPy's, in a new interpreter."""
    return set(python(LOADED.format(line)))


def ours(names: set[str]) -> set[str]:
    return {name.removeprefix("minirnn.") for name in names if name.startswith("minirnn.")}


@pytest.mark.parametrize(
    "line",
    [
        "import minirnn.testing",
        "from minirnn.testing import check",
        "from minirnn.testing import check; check(lambda x: x**2, lambda dy, x: 2 * x * dy, numpy.ones(3))",
        "from minirnn.testing import check; check(lambda x: x**2, lambda dy, x: x * dy, numpy.ones(3), raises=False)",
    ],
)
def test_functions_are_checked_without_the_rest(line: str) -> None:
    names = loaded(line)
    mine = ours(names) - {"_moved", "core", "testing", "testing.differences", "testing.report", "testing.functions"}
    assert "testing.functions.checking" in mine
    assert {name for name in mine if not name.startswith("testing.functions.")} == {f"core.{name}" for name in OF_CORE}
    assert not {name.partition(".")[0] for name in names} & {"numba", "click", "rich", "safetensors", "hypothesis"}


def test_importing_minirnn_imports_no_layers() -> None:
    assert ours(loaded("import minirnn")) == {"_moved", "core", *(f"core.{name}" for name in OF_CORE - {"arrays"})}


def test_a_name_brings_what_it_needs() -> None:
    names = ours(loaded("import minirnn; minirnn.GRU"))
    assert "recurrent.networks" in names
    assert not {name for name in names if name.startswith(("testing", "training", "language", "cli"))}


@pytest.mark.parametrize("package", ["minirnn", "minirnn.testing"])
def test_the_places_are_those_that_a_type_checker_reads(package: str) -> None:
    module = importlib.import_module(package)
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    (typed,) = (n for n in tree.body if isinstance(n, ast.If) and getattr(n.test, "id", "") == "TYPE_CHECKING")
    read = {a.name: str(n.module) for n in typed.body if isinstance(n, ast.ImportFrom) for a in n.names}
    assert read == {name: f"{package}.{place}" for name, place in module.PLACES.items()}
    assert set(module.PLACES) <= set(module.__all__)


@pytest.mark.parametrize("package", ["minirnn", "minirnn.testing"])
def test_a_star_gives_every_public_name(package: str) -> None:
    code = f"""
import json
namespace = {{}}
exec("from {package} import *", namespace)
import {package} as package
print(json.dumps(sorted(set(package.__all__) - set(namespace)) + sorted(set(package.__all__) - set(dir(package)))))
"""
    assert python(code) == []


def test_rooms_are_attributes_of_the_package() -> None:
    code = """
import json, minirnn
print(json.dumps([getattr(minirnn, room).__name__ for room in minirnn.ROOMS]))
"""
    assert python(code) == [f"minirnn.{room}" for room in minirnn.ROOMS]


def test_a_model_is_unpickled_where_nothing_was_imported() -> None:
    model = minirnn.GRU(2, 3).init(seed=0)
    code = (
        f"import json, pickle; print(json.dumps(pickle.loads({pickle.dumps(model)!r}).named_weights()['0.b'].tolist()))"
    )
    assert np.array_equal(python(code), model.named_weights()["0.b"])


def test_a_type_checker_sees_what_is_lazy() -> None:
    """mypy checks these; at run time they say that each is the thing itself."""
    assert_type(minirnn.GRU, type[GRU])
    assert_type(minirnn.GRU(2, 3).init(), GRU)
    assert_type(minirnn.testing.Proof, type[Proof])
    assert minirnn.GRU is GRU
    assert minirnn.testing.Proof is Proof
    with pytest.raises(AttributeError, match=r"module 'minirnn.testing' has no attribute 'nothing'"):
        _ = minirnn.testing.nothing  # type: ignore[attr-defined]  # and mypy says so too

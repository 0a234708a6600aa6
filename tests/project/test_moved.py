"""Old names of modules: each is the module of today, the same object, however it is imported."""

import importlib

import pytest
from interpreters import python

import minirnn
from minirnn._moved import MOVED, current


@pytest.mark.parametrize("old", MOVED)
def test_an_old_name_is_the_module_of_today(old: str) -> None:
    today = importlib.import_module(f"minirnn.{MOVED[old]}")
    assert importlib.import_module(f"minirnn.{old}") is today
    package, _, name = f"minirnn.{old}".rpartition(".")
    namespace: dict[str, object] = {}
    exec(f"from {package} import {name} as module", namespace)  # noqa: S102 - as a user writes it
    assert namespace["module"] is today


def test_modules_of_a_package_that_moved_are_reached_by_its_old_name() -> None:
    app = importlib.import_module("minirnn.cli.app")
    assert importlib.import_module("minirnn.commands.app") is app


@pytest.mark.parametrize("first", ["minirnn.text", "minirnn.language.text"])
def test_the_order_of_imports_does_not_matter(first: str) -> None:
    code = f"""
import json
import {first}
import minirnn.text
import minirnn.language.text
from minirnn.text import Text
from minirnn.language.text import Text as today
print(json.dumps([Text is today, minirnn.text is minirnn.language.text]))
"""
    assert python(code) == [True, True]


def test_what_was_pickled_under_an_old_name_is_found() -> None:
    code = """
import json, pickle
print(json.dumps(pickle.loads(b"cminirnn.text\\nText\\n.").__module__))
"""
    assert python(code) == "minirnn.language.text"


def test_what_never_was_is_no_module() -> None:
    assert current("minirnn.nothing") is None
    assert current("numpy.text") is None
    with pytest.raises(ModuleNotFoundError, match="nothing"):
        importlib.import_module("minirnn.nothing")
    with pytest.raises(AttributeError, match="nothing"):
        _ = minirnn.nothing  # type: ignore[attr-defined]


def test_a_module_that_moved_does_not_take_the_place_of_a_function() -> None:
    """``minirnn.explain.trace`` is the function, whether or not its module is imported by the old name."""
    code = """
import json
import minirnn.explain.trace
from minirnn.explain.trace import Walk
from minirnn.explain import Walk as today, trace
print(json.dumps([callable(trace), minirnn.explain.trace is trace, Walk is today]))
"""
    assert python(code) == [True, True, True]

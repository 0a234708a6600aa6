"""What a chapter shows of the code, found in the code: none of this needs Sphinx, nor do the tests of it."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from minirnn import cells
from minirnn.core.protocol import stages_of
from minirnn.explain import Equation, equations_of

ROOT = Path(__file__).resolve().parent.parent.parent


def find(wanted: str, text: str) -> int:
    """The line, from 1, where the lines of ``wanted`` stand in ``text``, however far indented; ValueError otherwise."""
    body, lines = wanted.strip("\n").split("\n"), text.splitlines()
    for k in range(len(lines) - len(body) + 1):
        if textwrap.dedent("\n".join(lines[k : k + len(body)])).split("\n") == body:
            return k + 1
    raise ValueError(f"these {len(body)} lines must be there, word for word: {body[0]!r} ...")


def quoted(target: str, body: str) -> int:
    """The line where ``body`` stands in a file of the repository."""
    return find(body, (ROOT / target).read_text(encoding="utf-8"))


def equations_in(name: str, body: str) -> tuple[list[Equation], str]:
    """The equations of ``body``, which are all of one half of a cell's derivation, and the method that they derive."""
    cell = getattr(cells, name)
    for backward, method in ((False, "step"), (True, "unstep")):
        lines = [line for line in equations_of(cell) if line.backward is backward]
        if len(lines) == len(body.strip().splitlines()) and all(line.text in body for line in lines):
            find(body, inspect.cleandoc(cell.__doc__))
            return lines, method
    raise ValueError(f"these must be all equations of {name}'s step, or of its transpose, as its docstring has them")


def code_of(name: str, method: str) -> tuple[list[tuple[list[int], str]], int]:
    """The lines of a cell's method that cite an equation, with those numbers, and where the method begins."""
    stages = stages_of(getattr(cells, name))
    functions = [getattr(stage, method) for stage in (stages if method == "step" else stages[::-1])]
    lines = [line for function in functions for line in cited(inspect.getsource(function))]
    return lines, inspect.getsourcelines(functions[0])[1]


def cited(source: str) -> Iterator[tuple[list[int], str]]:
    """The lines of code whose comments say which equations they are, with those numbers."""
    for line in source.splitlines():
        code, _, comment = line.partition("  # ")
        numbers = [int(n) for n in re.findall(r"\((\d+)\)", comment)]
        if numbers and code.strip():
            yield numbers, line.strip()


def shown(number: int, code: list[tuple[list[int], str]]) -> list[str]:
    """The lines beside an equation: those that cite it first, or else those that cite it at all."""
    first = [line for numbers, line in code if numbers[0] == number]
    return first or [line for numbers, line in code if number in numbers]


def is_python(text: str) -> bool:
    """Whether lines are code, not a docstring's."""
    try:
        ast.parse(textwrap.dedent(text))
    except SyntaxError:
        return False
    return True

"""The numbered equations of a cell, as they stand in its docstring: the one place where they are stated.

A line of a derivation is ``dc' = dc' + dm (1 - m²)    (6)  and words``: what is computed, its formula, and the numbers
of the equations that it is, or whose transpose it is.  What comes before the word "Transposed" is the forward pass.
"""

import inspect
import re
from dataclasses import dataclass
from typing import Any

from minirnn.core.protocol import stages_of

LINE = re.compile(r"^(?P<text>[^\s(].*?)\s+(?P<numbers>\(\d+\)(?: \(\d+\))*)(?:\s+(?P<remark>.*))?$")
NAME = re.compile(r"^[A-Za-z]\w*['’]?$")
PRIME = str.maketrans({"'": "1", "’": "1"})


@dataclass(frozen=True)
class Equation:
    """A line of a derivation.

    ``names`` are what it computes, as the code has them: ``dc1`` for dc'; of ``dp_z = dq_z = ...`` both.
    """

    text: str
    numbers: tuple[int, ...]
    names: tuple[str, ...]
    backward: bool
    remark: str = ""


def equations_of(cell: Any) -> tuple[Equation, ...]:
    """All lines of a cell's derivation, forward and then backward; those of a stage that is a cell itself included.

    Empty where the docstring has no numbered lines.
    """
    own = _parsed(cell)
    known = {number for line in own for number in line.numbers}
    borrowed: list[Equation] = []
    for stage in stages_of(cell):
        if stage is not cell and getattr(stage, "state", None):
            borrowed += [line for line in _parsed(stage) if not known.intersection(line.numbers)]
    ahead = sorted((line for line in (*own, *borrowed) if not line.backward), key=lambda line: line.numbers[0])
    back = [line for line in (*own, *borrowed) if line.backward]
    return (*ahead, *back)


def numbers_in(text: str) -> tuple[int, ...]:
    """Those of the equations that a text cites, (1) (2), in its order."""
    return tuple(int(n) for n in re.findall(r"\((\d+)\)", text))


def _parsed(cell: Any) -> list[Equation]:
    documented = cell if isinstance(cell, type) else type(cell)
    equations: list[Equation] = []
    backward = False
    for line in (inspect.getdoc(documented) or "").splitlines():
        stripped = line.strip()
        if stripped.startswith("Transposed"):
            backward = True
        match = LINE.match(stripped) if line.startswith("    ") else None
        if match is None or "=" not in match["text"]:
            continue
        numbers, remark = numbers_in(match["numbers"]), match["remark"] or ""
        parts = re.split(r",\s{2,}", match["text"])
        equations += [Equation(text, numbers, _names(text), backward, remark) for text in parts]
    return equations


def _names(text: str) -> tuple[str, ...]:
    """The names left of the last "=": of ``dp = dq = da`` two."""
    left = [part.strip() for part in text.split("=")[:-1]]
    return tuple(name.translate(PRIME) for name in left if NAME.match(name))

"""TorchScript's code taken apart as text: the classes of a file, their constants, and the lines of their methods.

Code is text in a subset of Python's syntax, one statement a line.  ``following`` looks into the lines.
"""

import re
from typing import Any, NamedTuple

from minirnn.core.files import ModelFileError

LARGEST_FILE = 2**20  # bytes of the code of one file
WORDS: dict[str, Any] = {"None": None, "True": True, "False": False}

_CLASS = re.compile(r"class (\w+)\(")
_CONSTANT = re.compile(r"  (\w+) : Final\[.*?\] = (.+)")


class Body(NamedTuple):
    """A method's arguments with their defaults, the first of which is the module, and its lines."""

    parameters: dict[str, str]
    lines: list[str]


class ClassCode(NamedTuple):
    """Constants and methods of a class."""

    constants: dict[str, Any]
    methods: dict[str, Body]


def number(token: str) -> int | float:
    """A number of the code, which has digits and dots alone; ValueError where it is none."""
    return int(token) if token.isdigit() and len(token) < 20 else float(token)


def parsed(text: str) -> dict[str, ClassCode]:
    """The classes of a file; lines of a method that stand further in than its first are those of a branch."""
    classes: dict[str, ClassCode] = {}
    methods: dict[str, Body] = {}
    constants: dict[str, Any] = {}
    body: list[str] | None = None
    lines = iter(text.split("\n"))
    for line in lines:
        header = _CLASS.match(line)
        if header:
            methods, constants, body = {}, {}, None
            classes[header[1]] = ClassCode(constants, methods)
        elif line.startswith("  def "):
            head = [line]
            while not head[-1].endswith(":"):
                more = next(lines, None)
                if more is None:
                    break
                head.append(more.strip())
            name, _, parameters = "".join(head).removeprefix("  def ").partition("(")
            body = []
            methods[name] = Body(_parameters(parameters), body)
        elif line.startswith("    ") and body is not None:
            body.append(line[4:])
        elif line.startswith("def "):  # a function beside the classes
            body, methods, constants = None, {}, {}
        else:
            constant = _CONSTANT.fullmatch(line)
            if constant:
                constants[constant[1]] = _constant(constant[2])
    return classes


def _parameters(text: str) -> dict[str, str]:
    """Names of arguments, and their defaults as text."""
    names: dict[str, str] = {}
    depth, start = 0, 0
    for at, sign in enumerate(text):
        depth += (sign in "([") - (sign in ")]")
        if (sign == "," and depth == 0) or depth < 0:
            name, _, rest = text[start:at].partition(":")
            names[name.strip()] = rest.rpartition("=")[2] if "=" in rest else ""
            start = at + 1
        if depth < 0:
            break
    return names


def _constant(text: str) -> Any:
    """A constant of a class: None, a flag, a string or a number; other text as it is."""
    if text in WORDS:
        return WORDS[text]
    if text.startswith('"'):
        return text.strip('"')
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    return sign * number(digits) if re.fullmatch(r"\d[\d.]*(?:[eE][-+]?\d+)?", digits) else text


def text_of(data: bytes, what: str) -> str:
    """The text of a file of code; ModelFileError where it is none."""
    if len(data) > LARGEST_FILE:
        raise ModelFileError(f"{what} may have {LARGEST_FILE:,} bytes; it has {len(data):,}")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ModelFileError(f"{what} must be text in UTF-8") from None

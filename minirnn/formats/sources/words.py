"""Words and numbers in a file of another language: what is written by people or by a model file is made harmless."""

import re
from pathlib import Path

import numpy as np

from minirnn.core.backend import Array

PLAIN = re.compile(r"[^0-9A-Za-z _.,:;()\[\]{}=+/'#%@|~^-]")  # all else may end a comment or a string somewhere
RESERVED = {  # words that no name of a file may be, in one of the languages or in their libraries
    *(
        "auto",
        "break",
        "case",
        "char",
        "const",
        "continue",
        "default",
        "do",
        "double",
        "else",
        "enum",
        "extern",
        "float",
    ),
    *("for", "goto", "if", "inline", "int", "long", "register", "restrict", "return", "short", "signed", "sizeof"),
    *("static", "struct", "switch", "typedef", "union", "unsigned", "void", "volatile", "while", "main", "std"),
}


def harmless(words: str, most: int = 200) -> str:
    """``words`` on one line, everything that has a meaning in a comment or a string replaced by an underscore."""
    line = PLAIN.sub("_", " ".join(words.split()))
    line = line.replace("//", "/_")
    return line if len(line) <= most else f"{line[: most - 3]}..."


def stem_of(path: Path) -> str:
    """The prefix of all names in a file: the name of the file, as a name in any language."""
    stem = re.sub(r"[^0-9A-Za-z]+", "_", path.stem).strip("_").lower() or "model"
    if stem[0].isdigit() or stem in RESERVED:
        stem = f"model_{stem}"
    return stem[:40]


def spelt(value: float) -> str:
    """A number of float32 by the fewest digits that are that number and no other."""
    return str(np.float32(value))


def in_lines(numbers: Array, suffix: str = "", width: int = 112) -> list[str]:
    """All numbers of an array, in lines."""
    lines, line = list[str](), ""
    for number in numbers.ravel():
        word = f"{number}{suffix},"
        if len(line) + len(word) + 1 > width:
            lines.append(line)
            line = ""
        line = f"{line} {word}" if line else word
    return [*lines, line] if line else lines

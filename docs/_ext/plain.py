"""Docstrings that are plain text, as reStructuredText: what is laid out in them is shown as it is laid out."""

import re
from itertools import groupby
from typing import Any

from quoting import is_python
from sphinx.application import Sphinx

ARRAY = re.compile(r"~?(numpy\.)?ndarray\[tuple\[~?(typing\.)?Any, \.\.\.\], ~?(numpy\.)?dtype\[~?(typing\.)?Any\]\]")


def paragraphs(lines: list[str]) -> list[list[str]]:
    """Runs of lines between empty ones."""
    found: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return [paragraph for paragraph in found if paragraph]


def laid_out(paragraph: list[str]) -> bool:
    """Whether a paragraph is an example, a table or equations: some of it is indented."""
    return any(line.startswith(" ") for line in paragraph)


def escaped(line: str) -> str:
    """A line of prose; between its ````code```` and its *emphasis* nothing is markup."""
    parts = re.split(r"(``.+?``|(?<![\w*])\*\w[\w -]*\*(?![\w*]))", line)
    return "".join(p if k % 2 else re.sub(r"([*|\\`]|(?<=\w)_(?!\w))", r"\\\1", p) for k, p in enumerate(parts))


def as_rst(lines: list[str]) -> list[str]:
    """A docstring's lines; paragraphs that are laid out follow as they are, as one block."""
    out: list[str] = []
    for block, run in groupby(paragraphs(lines), laid_out):
        if block:
            text = [line.replace("``", "") for paragraph in run for line in [*paragraph, ""]]
            language = "python" if is_python("\n".join(text)) else "none"
            out += [f".. code-block:: {language}", "", *(f"    {line}".rstrip() for line in text)]
        else:
            for paragraph in run:
                text = [escaped(line) for line in paragraph]
                out += [*text[:-1], re.sub(r"::$", ":", text[-1]), ""]
    return out


def docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """A docstring on its way into the book."""
    lines[:] = as_rst(lines)


def signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, given: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """A signature in which an array of any shape and dtype is an Array, as in the code."""
    return ARRAY.sub("Array", given) if given else given, ARRAY.sub("Array", returned) if returned else returned


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", docstring)
    app.connect("autodoc-process-signature", signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

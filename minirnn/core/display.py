"""What a notebook shows: tables, pages in frames of their own, and outputs that are updated.

The HTML asks for nothing from anywhere, and what comes from a user is put into it as text.
"""

import sys
from collections.abc import Iterable, Sequence
from html import escape
from importlib import import_module
from typing import Any

STYLED = (
    'style="text-align:left;vertical-align:top;padding:.1em 1em .1em 0;white-space:pre-line;'
    'font-variant-numeric:tabular-nums"'
)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str = "", below: Iterable[str] = ()) -> str:
    """A table of plain text, and lines below it."""
    first = f"<caption {STYLED}>{escape(caption)}</caption>" if caption else ""
    named = "".join(f'<th scope="col" {STYLED}>{escape(word)}</th>' for word in head)
    body = "".join(f"<tr>{''.join(f'<td {STYLED}>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>{first}<thead><tr>{named}</tr></thead><tbody>{body}</tbody></table>{lines(below)}"


def lines(of: Iterable[str]) -> str:
    """Lines of plain text, indented as they are."""
    return "".join(f'<div style="white-space:pre-wrap">{escape(line)}</div>' for line in of)


def frame(page: str, title: str, height: int) -> str:
    """A whole page in a frame: it may run its own scripts, and reaches nothing of the notebook around it."""
    return (
        f'<iframe sandbox="allow-scripts" title="{escape(title)}" srcdoc="{escape(page)}" '
        f'style="width:100%;height:{height}px;border:1px solid #8888"></iframe>'
    )


def bar(share: float, words: str) -> str:
    """A bar of progress, filled to ``share`` of it, with words beside it."""
    known = f'value="{min(1.0, max(0.0, share)):.4f}" ' if share == share else ""  # NaN: nobody knows how far it is
    return f'<progress {known}max="1" aria-label="progress" style="width:16em"></progress> {escape(words)}'


def in_notebook() -> Any:
    """IPython's ``display`` where this runs in a notebook, and None elsewhere; it imports nothing for it."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return import_module("IPython.display").display if hasattr(shell, "kernel") else None

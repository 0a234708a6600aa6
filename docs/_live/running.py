"""The cells of a page, run as one program by the browser's Python; the page is told what they show.

A message to the page is JSON: ``{"kind": "text", "stream": "stdout", "text": ...}`` for what is written,
``{"kind": "output", "key": 1, "html": ...}`` (or ``"text"``) for what is shown, and again with that key where it is
updated.  It needs nothing but Python's own library, and runs in any Python.
"""

import ast
import io
import json
import linecache
import pprint
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from types import ModuleType
from typing import Any

WIDTH = 80  # of a value without a form of its own, in characters


class Written(io.TextIOBase):
    """A stream that passes on what is written to it."""

    def __init__(self, send: Callable[..., None], stream: str) -> None:
        self._send, self._stream = send, stream

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if text:
            self._send("text", stream=self._stream, text=text)
        return len(text)


class Shown:
    """An output on the page, which can be updated: what a notebook's ``display(..., display_id=True)`` returns."""

    def __init__(self, send: Callable[..., None], key: int) -> None:
        self._send, self._key = send, key

    def update(self, value: Any) -> None:
        """Show this instead, in its HTML where it has one."""
        as_html = getattr(value, "_repr_html_", None)
        form = {"html": as_html()} if as_html else {"text": pprint.pformat(value, width=WIDTH, sort_dicts=False)}
        self._send("output", key=self._key, **form)


class Cells:
    """Runs cells in one namespace; ``post`` takes each message to the page."""

    def __init__(self, post: Callable[[str], object]) -> None:
        self._post, self._outputs = post, 0
        self._names: dict[str, Any] = {"__name__": "__main__"}

    def run(self, name: str, source: str) -> bool:
        """Run one cell and show the value of its last line; False where it fails, which is shown as well."""
        lines = source.splitlines(keepends=True)
        linecache.cache[name] = (len(source), None, lines, name)  # for tracebacks, and inspect
        with redirect_stdout(Written(self._send, "stdout")), redirect_stderr(Written(self._send, "stderr")):
            try:
                value = self._value(name, source)
                if value is not None:
                    self.display(value)
            except BaseException as error:  # noqa: BLE001 - a reader's code raises what it will, SystemExit too
                trace = error.__traceback__
                while trace and trace.tb_frame.f_code.co_filename == __file__:
                    trace = trace.tb_next  # the reader's code begins there
                report = traceback.format_exception(error.with_traceback(trace))
                self._send("text", stream="error", text="".join(report))
                return False
        return True

    def display(self, value: Any, display_id: bool = False) -> Shown | None:  # noqa: FBT001, FBT002 - a notebook's
        """Show a value; with ``display_id`` an output is returned that can be updated."""
        self._outputs += 1
        shown = Shown(self._send, self._outputs)
        shown.update(value)
        return shown if display_id else None

    def as_notebook(self) -> None:
        """Make this what a program finds that asks whether it runs in a notebook, as ``with_progress`` does."""
        notebook, display = ModuleType("IPython"), ModuleType("IPython.display")
        vars(notebook).update(get_ipython=lambda: self, display=display)
        vars(display).update(display=self.display)
        sys.modules |= {"IPython": notebook, "IPython.display": display}

    @property
    def kernel(self) -> "Cells":
        """What runs the cells: a notebook's shell has one."""
        return self

    def _value(self, name: str, source: str) -> Any:
        tree, last = compile(source, name, "exec", ast.PyCF_ONLY_AST), None
        assert isinstance(tree, ast.Module)
        if tree.body and isinstance(end := tree.body[-1], ast.Expr):
            tree.body.pop()
            last = ast.Expression(end.value)
        exec(compile(tree, name, "exec"), self._names)  # noqa: S102 - the reader's own code, in the reader's browser
        return eval(compile(last, name, "eval"), self._names) if last else None  # noqa: S307 - the same

    def _send(self, kind: str, **message: Any) -> None:
        self._post(json.dumps({"kind": kind, **message}))

"""The assignments of a function while it runs, one by one, with the equation numbers in the comments beside them.

The function runs as it is written, under a trace function of Python's (``sys.settrace``), so a cell need not know.
"""

import ast
import inspect
import io
import sys
import textwrap
import tokenize
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import CodeType, FrameType
from typing import NamedTuple

from minirnn.explain.engine.equations import numbers_in


class Statement(NamedTuple):
    """An assignment: its lines, the names that it assigns, the numbers in the comment beside it, and its source."""

    first: int
    last: int
    names: tuple[str, ...]
    numbers: tuple[int, ...]
    source: str


Note = Callable[[str, Statement, object], None]


@contextmanager
def watching(function: Callable[..., object], note: Note) -> Iterator[None]:
    """While this lasts, ``note`` is called for every name that ``function`` assigns, when the statement is done.

    A function of the same name that it calls is followed too: a step may be made of another cell's.
    """
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:  # compiled: there is nothing to watch
        yield
        return

    def called(frame: FrameType, _event: str, _argument: object) -> "_Watch | None":
        return _Watch(frame.f_code, note) if frame.f_code.co_name == code.co_name else None

    before = sys.gettrace()
    sys.settrace(called)
    try:
        yield
    finally:
        sys.settrace(before)


class _Watch:
    """One call: a statement is noted when the next one begins, or the call returns."""

    def __init__(self, code: CodeType, note: Note) -> None:
        self.statements, self.note = statements(code), note
        self.pending: Statement | None = None

    def __call__(self, frame: FrameType, event: str, _argument: object) -> "_Watch | None":
        line = frame.f_lineno
        if event == "line" and self.pending is not None and self.pending.first < line <= self.pending.last:
            return self  # a statement of several lines
        if event in ("line", "return") and self.pending is not None:
            for name in self.pending.names:
                if name in frame.f_locals:
                    self.note(name, self.pending, frame.f_locals[name])
            self.pending = None
        if event == "line":
            self.pending = self.statements.get(line)
        return self


@cache
def statements(code: CodeType) -> dict[int, Statement]:
    """The assignments of a function by their first line; none where its source is not to be had.

    Taking an argument apart (``dh1, dc1 = dstate``) is not one of them.
    """
    try:
        source = textwrap.dedent(inspect.getsource(code))
        tree = ast.parse(source)
    except (OSError, SyntaxError):
        return {}
    comments = {
        token.start[0]: token.string
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    by_line, shift = {}, code.co_firstlineno - 1
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign)) or node.value is None:
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = tuple(n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name))
        if isinstance(targets[0], ast.Tuple) and isinstance(node.value, ast.Name):
            continue
        last = node.end_lineno or node.lineno
        comment = " ".join(comments.get(line, "") for line in range(node.lineno, last + 1))
        by_line[node.lineno + shift] = Statement(
            node.lineno + shift, last + shift, names, numbers_in(comment), ast.get_source_segment(source, node) or ""
        )
    return by_line

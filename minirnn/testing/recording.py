"""One call of ``step`` or ``unstep``, recorded: every operation on arrays, its line, and the names of what came of it.

The arguments are arrays of a subclass that notes what is done to them, and hands on an array of the same kind.  The
record can be computed again with other arguments, or with another value in the middle of it, so that each line of a
cell can be looked at alone.  What is done behind the subclass's back (``float``, ``np.asarray``, loops over elements)
is constant in the record; ``Tape.faithful`` says whether the record gives what the function gave.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any, ClassVar, TypeAlias

import numpy as np

from minirnn.core.backend import Array

Value: TypeAlias = Any  # what a cell's code handles: an array, a number, None, a tuple or list of these
Function: TypeAlias = Callable[..., Value]
Overrides: TypeAlias = dict[int, Value]  # of some nodes of a record
TraceFunction: TypeAlias = Callable[[FrameType, str, Any], Any]  # as sys.settrace has it


@dataclass(frozen=True)
class Ref:
    """The place of a recorded value among the arguments of an operation."""

    node: int


@dataclass
class Operation:
    """One operation: ``function(*args, **kwargs)``, where a ``Ref`` stands for the value of an earlier one."""

    label: str  # "add", "sum", "saved"
    function: Function | None  # None for an argument of the recorded function
    args: Value
    kwargs: dict[str, Value]
    value: Value
    line: int  # in the recorded function
    inner: int  # in the innermost function of its file
    refs: tuple[int, ...]


@dataclass(frozen=True)
class Binding:
    """That a local variable got a value, at a line; ``node`` is -1 where the value is not recorded."""

    name: str
    line: int
    node: int
    value: Value


@dataclass
class Tape:
    """All operations in order, what names were bound to, what the function returned, and its arguments' nodes."""

    nodes: list[Operation] = field(default_factory=list)
    bindings: list[Binding] = field(default_factory=list)
    leaves: dict[int, int] = field(default_factory=dict)  # of an argument, by number: its node
    changed: list[tuple[int, int]] = field(default_factory=list)  # an argument that was changed in place, and the line
    returned: Value = None  # as it was, with a Ref for every recorded array
    line: int = 0  # of the return
    faithful: bool = True
    file: str = ""

    def add(
        self, label: str, function: Function, args: Value, kwargs: dict[str, Value], lines: tuple[int, int]
    ) -> Value:
        """Do it, and note it down."""
        plain, named = _mapped(args, _plain), _mapped(kwargs, _plain)
        value = function(*plain, **named)
        refs: list[int] = []
        noted = _mapped(args, lambda a: _ref(a, refs))
        named_refs = _mapped(kwargs, lambda a: _ref(a, refs))
        self.nodes.append(Operation(label, function, noted, named_refs, value, *lines, tuple(refs)))
        return self._wrapped(value, len(self.nodes) - 1)

    def leaf(self, label: str, value: Array) -> "Recorded":
        """An argument of the function."""
        self.nodes.append(Operation(label, None, (), {}, value, 0, 0, ()))
        return self._array(value, len(self.nodes) - 1)

    def _wrapped(self, value: Value, node: int) -> Value:
        if isinstance(value, (list, tuple)):
            return type(value)(self._one_of(value, k, node) for k in range(len(value)))
        return self._array(value, node) if isinstance(value, (np.ndarray, np.number, np.bool_)) else value

    def _one_of(self, values: Value, k: int, node: int) -> Value:
        """The k-th of what an operation with several results gave."""
        whole = self.nodes[node]
        self.nodes.append(Operation("part", _part, (Ref(node), k), {}, values[k], whole.line, whole.inner, (node,)))
        return self._array(values[k], len(self.nodes) - 1)

    def _array(self, value: Value, node: int) -> "Recorded":
        array = np.asarray(value).view(Recorded)
        array._tape, array._node = self, node  # noqa: SLF001 - its own class
        return array

    def run(self, overrides: Overrides) -> list[Value]:
        """The values of all nodes, with some of them replaced; only what depends on those is computed again."""
        values = [node.value for node in self.nodes]
        moved: set[int] = set()
        for k, node in enumerate(self.nodes):
            if k in overrides:
                values[k] = overrides[k]
                moved.add(k)
            elif node.function is not None and not moved.isdisjoint(node.refs):
                values[k] = node.function(*_filled(node.args, values), **_filled(node.kwargs, values))
                moved.add(k)
        return values

    def result(self, values: list[Value]) -> Value:
        """The function's result where the nodes have these values."""
        return _filled(self.returned, values)


class Recorded(np.ndarray[Any, np.dtype[Any]]):
    """An array that notes what is done to it."""

    _tape: Tape | None = None
    _node: int = -1
    _through: ClassVar[str] = ""

    def __array_finalize__(self, obj: object) -> None:
        self._tape, self._node = None, -1

    def __array_ufunc__(self, ufunc: Value, method: str, *inputs: Value, out: Value = None, **kwargs: Value) -> Value:
        tape = _tape_of((inputs, kwargs, out))
        function = getattr(ufunc, method)
        if tape is None or method == "at":
            plain = _mapped(kwargs, _plain) | ({} if out is None else {"out": _mapped(out, _plain)})
            if method == "at" and tape:
                tape.faithful = False
            return function(*_mapped(inputs, _plain), **plain)
        label = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        result = tape.add(label, function, inputs, kwargs, _line(tape))
        if out is None:
            return result
        target = out[0]
        np.asarray(target)[...] = np.asarray(result)
        _written(target, result, tape)
        return target

    def __array_function__(self, func: Value, types: Value, args: Value, kwargs: Value) -> Value:
        tape = _tape_of((args, kwargs))
        if tape is None:
            return func(*_mapped(args, _plain), **_mapped(kwargs, _plain))
        if func in (np.copyto, np.put, np.place, np.putmask):
            tape.faithful = False
        return tape.add(getattr(func, "__name__", "?"), func, args, kwargs, _line(tape))

    def __getitem__(self, index: Value) -> Value:
        if self._tape is None:
            return np.asarray(self)[_mapped(index, _plain)]
        return self._tape.add("part", lambda a, i: a[i], (self, index), {}, _line(self._tape))

    def __setitem__(self, index: Value, value: Value) -> None:
        tape = self._tape or _tape_of((value,))
        np.asarray(self)[_mapped(index, _plain)] = _mapped(value, _plain)
        if tape is not None:
            old: Value = self
            _written(self, tape.add("write", _with, (old, index, value), {}, _line(tape)), tape)


def _with(a: Array, index: Value, value: Value) -> Array:
    copied = np.array(a)
    copied[index] = value
    return copied


def _method(name: str) -> Value:
    def call(self: Value, *args: Value, **kwargs: Value) -> Value:
        if self._tape is None:
            return getattr(np.asarray(self), name)(*_mapped(args, _plain), **_mapped(kwargs, _plain))
        return self._tape.add(
            name, lambda a, *b, **c: getattr(np.asarray(a), name)(*b, **c), (self, *args), kwargs, _line(self._tape)
        )

    return call


def _property(name: str) -> Value:
    def read(self: Value) -> Value:
        if self._tape is None:
            return getattr(np.asarray(self), name)
        return self._tape.add(name, lambda a: getattr(np.asarray(a), name), (self,), {}, _line(self._tape))

    return property(read)


METHODS = (  # noqa: SIM905 - a list of thirty strings is no easier to read
    "sum mean var std prod max min argmax argmin clip round cumsum cumprod reshape transpose ravel flatten squeeze "
    "swapaxes repeat take astype copy conj conjugate dot sort argsort diagonal trace any all"
).split(" ")
for _name in METHODS:
    setattr(Recorded, _name, _method(_name))
for _name in ("T", "mT", "real", "imag"):
    setattr(Recorded, _name, _property(_name))


def record(
    function: Function, arguments: Value, labels: list[str], begun: Callable[[Tape], None] = lambda _: None
) -> Tape:
    """Call ``function`` with ``arguments`` (arrays, or tuples of them), and return the record of it.

    The arguments' arrays are numbered and labelled in their order.  ``begun`` is called with the tape before it runs.
    Whatever the function raises passes through.
    """
    tape = Tape()
    begun(tape)
    names = iter(labels)
    leaves: list[tuple[Recorded, Array]] = []

    def leaf(a: Value) -> Value:
        if not isinstance(a, np.ndarray):
            return a
        tape.leaves[len(leaves)] = len(tape.nodes)
        wrapped = tape.leaf(next(names), np.array(a))
        leaves.append((wrapped, np.array(a)))
        return wrapped

    recorded = _mapped(tuple(arguments), leaf)
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    tape.file = code.co_filename if code else ""
    returned = _traced(function, recorded, code, tape, leaves)
    tape.returned = _mapped(returned, lambda a: _ref(a, []))
    again = tape.result([node.value for node in tape.nodes])
    tape.faithful &= _same(again, _mapped(returned, _plain))
    return tape


def _traced(
    function: Function, arguments: Value, code: CodeType | None, tape: Tape, leaves: list[tuple[Recorded, Array]]
) -> Value:
    """Call it, and note the values of its local variables after each line."""
    seen: dict[str, int] = {}
    intact = set(range(len(leaves)))
    at = 0

    def lines(frame: FrameType, event: str, _: object) -> TraceFunction | None:
        nonlocal at
        for name, value in frame.f_locals.items():
            if seen.get(name) != id(value) or isinstance(value, Recorded):
                node = value._node if isinstance(value, Recorded) else -1  # noqa: SLF001 - its own class
                last = next((b for b in reversed(tape.bindings) if b.name == name), None)
                if last is None or last.node != node or (node < 0 and last.value is not value):
                    tape.bindings.append(Binding(name, at, node, _plain(value)))
                seen[name] = id(value)
        for k in list(intact):
            if not np.array_equal(np.asarray(leaves[k][0]), leaves[k][1], equal_nan=True):
                tape.changed.append((k, at))
                intact.discard(k)
        at = frame.f_lineno
        if event == "return":
            tape.line = at
        return lines

    def calls(frame: FrameType, event: str, _: object) -> TraceFunction | None:
        return lines if frame.f_code is code and event == "call" else None

    before = sys.gettrace()
    if code is not None:
        sys.settrace(calls)
    try:
        return function(*arguments)
    finally:
        sys.settrace(before)


def _line(tape: Tape) -> tuple[int, int]:
    """The line of the outermost and of the innermost function of the recorded one's file that are being run."""
    frame, lines = sys._getframe(2), []  # noqa: SLF001 - who calls is the only way to know the line
    while frame is not None:
        if frame.f_code.co_filename == tape.file:
            lines.append(frame.f_lineno)
        frame = frame.f_back  # type: ignore[assignment]
    return (lines[-1], lines[0]) if lines else (0, 0)


def _part(parts: Value, k: int) -> Value:
    return parts[k]


def _mapped(value: Value, make: Callable[[Value], Value]) -> Value:
    """``value``, with ``make`` of everything in its tuples, lists, dicts and slices."""
    if type(value) in (tuple, list):
        return type(value)(_mapped(part, make) for part in value)
    if isinstance(value, tuple):
        return make(value)
    if type(value) is dict:
        return {key: _mapped(part, make) for key, part in value.items()}
    return make(value)


def _plain(value: Value) -> Value:
    return (
        value.view(np.ndarray)[()]
        if isinstance(value, Recorded) and not value.ndim
        else (value.view(np.ndarray) if isinstance(value, Recorded) else value)
    )


def _ref(value: Value, refs: list[int]) -> Value:
    if not isinstance(value, Recorded):
        return value
    if value._node < 0:  # noqa: SLF001 - its own class
        return np.array(value)
    refs.append(value._node)  # noqa: SLF001 - its own class
    return Ref(value._node)  # noqa: SLF001 - its own class


def _filled(value: Value, values: list[Value]) -> Value:
    return _mapped(value, lambda a: values[a.node] if isinstance(a, Ref) else a)


def _tape_of(value: Value) -> Tape | None:
    tapes: list[Tape] = []

    def look(a: Value) -> None:
        if isinstance(a, Recorded) and a._tape is not None:  # noqa: SLF001 - its own class
            tapes.append(a._tape)  # noqa: SLF001 - its own class

    _mapped(value, look)
    return tapes[0] if tapes else None


def _written(target: Value, result: Value, tape: Tape) -> None:
    """``target`` was changed in place: from here on it is what was written."""
    if isinstance(target, Recorded) and isinstance(result, Recorded):
        if target.base is not None and target._node >= 0 and tape.nodes[target._node].label.startswith("part"):  # noqa: SLF001
            tape.faithful = False  # a view: what it is a view of was changed too
        target._tape, target._node = tape, result._node  # noqa: SLF001 - its own class
    else:
        tape.faithful = False


def _same(a: Value, b: Value) -> bool:
    if isinstance(a, (tuple, list)):
        return isinstance(b, (tuple, list)) and len(a) == len(b) and all(map(_same, a, b))
    if a is None or b is None or not isinstance(a, (np.ndarray, np.number, float, int)):
        return a is b or (not isinstance(a, np.ndarray) and not isinstance(b, np.ndarray))
    return np.shape(a) == np.shape(b) and bool(np.allclose(a, b, rtol=1e-10, atol=1e-12, equal_nan=True))

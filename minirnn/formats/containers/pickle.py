"""A pickle read as data: nothing is imported, nothing is called but what the reader's table has.

A pickle is a program for a stack machine, and Python's own machine can be made to call anything, to set attributes of
what it has, and to ask for memory by the number.  This one knows the instructions that describe data (protocols 2 to 5,
as ``torch.save`` writes them) and counts the bytes that it holds, since few instructions can make many: a string
that is there once can be encoded a thousand times.

Keys of dictionaries are what a state dict and an optimiser's have, strings and small integers; entries with others are
skipped.  Of tuples a file can hold any number with the same hash, each of which a dictionary compares with all others,
and of tuples nested by reference a hash takes time exponential in the bytes of the pickle.  Strings are hashed with a
secret of the process.  Sets, which no weights are read from, are empty here.

A checkpoint may hold objects of any class beside its tensors: an ``argparse.Namespace``, paths, dates, a whole module.
The machine goes over the instructions that would make one and leaves a ``Foreign`` in its place: the name of its class,
and the dictionary of its attributes where the pickle has one.  No ``__setstate__``, no descriptor and no ``__reduce__``
can have a say in that, for there is no class.
"""

import struct
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from minirnn.core.files import ModelFileError

LARGEST_PICKLE = 2**24  # bytes
MOST_STEPS = 2**19  # instructions, so that time is bounded: half a second
MOST_PARTS = 2**17  # tuples, lists, dictionaries and calls
MOST_HELD = 3 * 2**24  # bytes of objects that are made, beside the pickle's own
ENTRY, SLOT, MARK = 110, 9, 40  # bytes that an entry of a dictionary, one of a list, and a mark take
LARGEST_KEY = 2**32
LONGEST_NAME = 200  # letters of a name that is looked for in the table

_SCALARS = (str, int, float, bool, bytes, type(None))


class KnownFunction(NamedTuple):
    """A function of the table, which the pickle may call; ``call`` gets the tuple of arguments."""

    call: Callable[[tuple[Any, ...]], Any]


class Foreign:
    """Stands for a class that the table does not have, for its objects, and for whatever is made from those.

    It has the two names that the pickle has for the class, and as ``state`` the attributes of an object, None where the
    pickle sets none by name.  What the class would be called with, and what its objects would contain, is dropped.
    """

    __slots__ = ("module", "name", "state")

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name
        self.state: dict[Any, Any] | None = None

    def another(self) -> "Foreign":
        """An object of the class that this is, or is made of, without attributes yet."""
        return Foreign(self.module, self.name)

    def __repr__(self) -> str:
        return repr(f"{self.module[:60]}.{self.name[:60]}")[:124]


_DATA = (*_SCALARS, tuple, list, dict, set, Foreign)  # what the machine makes; all else is made by the table


class UnreadableError(ValueError):
    """Raised by a table's functions for arguments that make no sense; the machine says where."""


def read(
    data: bytes, where: str, known: Mapping[str, Any], persistent: Callable[[Any], Any], most: int = LARGEST_PICKLE
) -> Any:
    """The object that the pickle ``data`` describes; what follows it is left alone, and ``read_from`` reads on there.

    ``known`` has for a global name (``"collections.OrderedDict"``) a ``KnownFunction``, or a value to take in its
    place; every other name becomes a ``Foreign``.  ``persistent`` is what a persistent id stands for, ``most`` how many
    bytes the pickle may have.

    Raises ModelFileError, which begins with ``where``, for whatever is not a sound pickle of this kind.
    """
    return read_from(data, 0, where, known, persistent, most)[0]


def read_from(
    data: bytes,
    start: int,
    where: str,
    known: Mapping[str, Any],
    persistent: Callable[[Any], Any],
    most: int = LARGEST_PICKLE,
) -> tuple[Any, int]:
    """The same for a pickle that begins at ``start``, and where it ends."""
    if len(data) > most:
        raise ModelFileError(f"{where} may have {most:,} bytes; it has {len(data):,}")
    machine = _Machine(data, start, known, persistent)
    try:
        return machine.run(), machine.at
    except UnreadableError as error:
        raise ModelFileError(f"{where}: {error}") from None


class _Machine:
    def __init__(self, data: bytes, start: int, known: Mapping[str, Any], persistent: Callable[[Any], Any]) -> None:
        self.data, self.at, self.known, self.persistent = data, start, known, persistent
        self.parts = self.held = 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        for _ in range(MOST_STEPS):
            code = self.take(1)
            if code == b".":
                return self.pop()
            step = _STEPS.get(code)
            if step is None:
                raise UnreadableError(f"instruction {code!r} of a pickle does not describe data")
            step(self)
        raise UnreadableError(f"the pickle has more than {MOST_STEPS:,} instructions")

    # ------------------------------------------------------------------ the program, the stack, the budget

    def take(self, count: int) -> bytes:
        start, self.at = self.at, self.at + count
        if self.at > len(self.data):
            raise UnreadableError("the pickle ends too early")
        return self.data[start : self.at]

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> str:
        end = self.data.find(b"\n", self.at, self.at + 1000)
        if end < 0:
            raise UnreadableError("the name of a global must end within 1000 bytes")
        return self.text(self.take(end + 1 - self.at)[:-1])

    def text(self, data: bytes) -> str:
        try:
            return data.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise UnreadableError(f"a string must be UTF-8; it is {data!r:.60}") from None

    def hold(self, size: int) -> None:
        """Count bytes that something takes, whether it is dropped later or not."""
        self.held += size
        if self.held > MOST_HELD + len(self.data):
            raise UnreadableError(f"the pickle makes more than {MOST_HELD:,} bytes of objects")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def made(self, value: Any) -> None:
        """Push what was made anew."""
        self.hold(sys.getsizeof(value))
        self.stack.append(value)

    def part(self, value: Any) -> None:
        """Push a container or what a function returned."""
        self.parts += 1
        if self.parts > MOST_PARTS:
            raise UnreadableError(f"the pickle has more than {MOST_PARTS:,} parts")
        self.made(value)

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise UnreadableError("the pickle takes what is not there")
        return self.stack.pop()

    def pop_many(self, count: int) -> tuple[Any, ...]:
        return tuple(reversed([self.pop() for _ in range(count)]))

    def pop_mark(self) -> list[Any]:
        if not self.marks:
            raise UnreadableError("the pickle takes what is not there")
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def taken(self, kind: type, what: str) -> Any:
        """The top of the stack, which must be of this kind or a Foreign."""
        value = self.pop()
        if type(value) not in (kind, Foreign):
            raise UnreadableError(f"the pickle {what} {type(value).__name__}")
        return value

    def top(self, kind: type, what: str) -> Any:
        """The same, where it stays there."""
        value = self.taken(kind, what)
        self.stack.append(value)
        return value

    # ------------------------------------------------------------------ the instructions that take some doing

    def protocol(self) -> None:
        version = self.take(1)[0]
        if not 2 <= version <= 5:
            raise UnreadableError(f"the pickle must be of protocol 2 to 5; it is of {version}")

    def integer(self) -> None:
        self.made(int.from_bytes(self.take(self.take(1)[0]), "little", signed=True))

    def long_integer(self) -> None:
        """One of more than 255 bytes: no size is that long, and to show it would take long."""
        self.take(self.number("<I"))
        self.part(Foreign("builtins", "int"))

    def put(self, index: int) -> None:
        value = self.pop()
        self.hold(ENTRY)
        self.memo[index] = value
        self.stack.append(value)

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise UnreadableError(f"the pickle refers to part {index}, which it has not made")
        self.push(self.memo[index])

    def mark(self) -> None:
        self.hold(MARK)
        self.marks.append(len(self.stack))

    def extend(self, values: list[Any]) -> None:
        target = self.top(list, "appends to a")
        if type(target) is list:
            self.hold(SLOT * len(values))
            target.extend(values)

    def items(self, values: list[Any]) -> None:
        target = self.top(dict, "sets entries of a")
        if len(values) % 2:
            raise UnreadableError("the pickle sets a key without its value")
        if type(target) is Foreign:
            return
        self.hold(ENTRY * (len(values) // 2))
        for key, value in zip(values[::2], values[1::2], strict=True):
            if is_key(key):
                target[key] = value
            elif type(value) not in _DATA:
                raise UnreadableError(f"the key of a tensor must be a string; it is {described(key)}")

    def add(self) -> None:
        self.pop_mark()
        self.top(set, "adds to a")

    def frozen_set(self) -> None:
        self.pop_mark()
        self.part(set())

    def named(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise UnreadableError("the name of a global must be a string")
        whole = f"{module}.{name}" if len(module) + len(name) <= LONGEST_NAME else ""  # longer than all in the table
        if whole in self.known:
            self.push(self.known[whole])
        else:
            self.part(Foreign(module, name))

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        if type(function) not in (KnownFunction, Foreign) or type(arguments) is not tuple:
            raise UnreadableError(f"the pickle calls a {type(function).__name__}")
        # A function of a foreign object would not know what to do with it, a Parameter around one for example.
        first = next((one for one in (function, *arguments[:8]) if type(one) is Foreign), None)
        if first is None:
            self.part(function.call(arguments))
        else:
            self.part(first.another())

    def make(self, count: int) -> None:
        """An object of a class, which is on the stack below ``count`` values that the class would get.

        A class of the table, torch.Size for one, is a function there, and ``reduce`` calls it.
        """
        if count == 1 and len(self.stack) > 1 and type(self.stack[-2]) is KnownFunction:
            self.reduce()
            return
        self.pop_many(count)
        self.part(self.taken(Foreign, "makes an object of a").another())

    def build(self) -> None:
        """Attributes of an object are kept, of a dictionary (a state dict has ``_metadata``) left out.

        So are those of what the table made: a Parameter had them before torch 0.4.
        """
        state = self.pop()
        if self.stack and type(self.stack[-1]) not in (*_DATA, KnownFunction):
            return
        target = self.top(dict, "sets the state of a")
        if type(target) is Foreign:
            attributes = state[0] if type(state) is tuple and len(state) == 2 else state  # the other are its slots'
            if type(attributes) is dict:
                target.state = attributes
        elif type(state) is not dict:
            raise UnreadableError(f"the pickle sets the state of a dictionary to a {type(state).__name__}")

    def frame(self) -> None:
        if self.number("<Q") > len(self.data) - self.at:
            raise UnreadableError("the pickle ends too early")


def shown(value: Any) -> str:
    """``value`` in an error, in a few letters; of what may be nested by reference only its kind."""
    return repr(value)[:40] if type(value) in _SCALARS else type(value).__name__


def described(value: Any) -> str:
    """The kind of ``value`` in an error."""
    return f"an object of class {value!r}" if type(value) is Foreign else f"a {type(value).__name__}"


def is_key(key: Any) -> bool:
    """Whether ``key`` is one of a state dict or an optimiser's: a string or a small integer."""
    return type(key) is str or (type(key) is int and abs(key) < LARGEST_KEY)


_STEPS: dict[bytes, Callable[[_Machine], object]] = {
    b"\x80": _Machine.protocol,
    b"\x95": _Machine.frame,
    # scalars
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(value=True),
    b"\x89": lambda m: m.push(value=False),
    b"K": lambda m: m.push(m.take(1)[0]),
    b"M": lambda m: m.made(m.number("<H")),
    b"J": lambda m: m.made(m.number("<i")),
    b"\x8a": _Machine.integer,
    b"\x8b": _Machine.long_integer,
    b"G": lambda m: m.made(m.number(">d")),
    b"X": lambda m: m.made(m.text(m.take(m.number("<I")))),
    b"\x8c": lambda m: m.made(m.text(m.take(m.take(1)[0]))),
    b"\x8d": lambda m: m.made(m.text(m.take(m.number("<Q")))),
    b"T": lambda m: m.made(m.text(m.take(m.number("<I")))),  # a string of Python 2
    b"U": lambda m: m.made(m.text(m.take(m.take(1)[0]))),
    b"B": lambda m: m.made(m.take(m.number("<I"))),
    b"C": lambda m: m.made(m.take(m.take(1)[0])),
    b"\x8e": lambda m: m.made(m.take(m.number("<Q"))),
    b"\x96": lambda m: m.made(m.take(m.number("<Q"))),  # a bytearray, which nobody changes here
    # containers
    b"(": _Machine.mark,
    b")": lambda m: m.push(()),
    b"\x85": lambda m: m.part(m.pop_many(1)),
    b"\x86": lambda m: m.part(m.pop_many(2)),
    b"\x87": lambda m: m.part(m.pop_many(3)),
    b"t": lambda m: m.part(tuple(m.pop_mark())),
    b"]": lambda m: m.part([]),
    b"a": lambda m: m.extend([m.pop()]),
    b"e": lambda m: m.extend(m.pop_mark()),
    b"}": lambda m: m.part({}),
    b"s": lambda m: m.items(list(m.pop_many(2))),
    b"u": lambda m: m.items(m.pop_mark()),
    b"\x8f": lambda m: m.part(set()),
    b"\x90": _Machine.add,
    b"\x91": _Machine.frozen_set,
    # what was there before
    b"0": _Machine.pop,
    b"1": _Machine.pop_mark,
    b"q": lambda m: m.put(m.take(1)[0]),
    b"r": lambda m: m.put(m.number("<I")),
    b"\x94": lambda m: m.put(len(m.memo)),
    b"h": lambda m: m.get(m.take(1)[0]),
    b"j": lambda m: m.get(m.number("<I")),
    # what the table knows
    b"c": lambda m: m.named(m.line(), m.line()),
    b"\x93": lambda m: m.named(*m.pop_many(2)),
    b"R": _Machine.reduce,
    b"\x81": lambda m: m.make(1),
    b"\x92": lambda m: m.make(2),
    b"b": _Machine.build,
    b"Q": lambda m: m.part(m.persistent(m.pop())),
}

"""What a file in another language computes, said once for all of them: arrays, functions of one step, and their order.

A ``Plan`` is made of a model (``planning.py``) and written by an emitter for each language.  Everything in it is one
row, in float32, and every array has a fixed size.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from minirnn.core.backend import Array
from minirnn.formats.sources.equations import Equations, Value
from minirnn.kernels.facts import Place


@dataclass(frozen=True, eq=False)
class Weight:
    """A constant array: float32 (N,) or (K, N), or int8 (K, N) with a ``scale``, one number a column.

    With ``by_row`` the scale has one number a row.
    """

    name: str
    values: Array
    scale: "Weight | None" = None
    by_row: bool = False


class Slot(NamedTuple):
    """Where numbers lie: an array of a kind, and the first of them.

    Kinds: "x" and "y", what a function reads and writes; "index", its integer; "state"; "local", within a function;
    "weight".
    """

    kind: str
    array: str
    first: int = 0


class Fill(NamedTuple):
    """target[:size] = source[:size], or 0."""

    target: Slot
    source: Slot | None
    size: int


class Product(NamedTuple):
    """target[:N] += source[:rows] @ W[first : first + rows], of a weight (K, N)."""

    target: Slot
    source: Slot
    weight: Weight
    first: int
    rows: int


class Pick(NamedTuple):
    """target[:N] += W[index]."""

    target: Slot
    weight: Weight


class Compute(NamedTuple):
    """Equations over ``width`` units; ``loads`` and ``stores`` say where their places are."""

    equations: Equations
    width: int
    loads: Mapping[Place, Slot]
    stores: Mapping[Place, Slot]

    def moves(self, place: Place, value: Value) -> bool:
        """Whether a value that is stored does not lie there already."""
        return value[0] != "load" or self.loads[value[1]] != self.stores[place]


class Shift(NamedTuple):
    """A window of steps moves on: the oldest ``width`` numbers go, and source[:width] comes last of ``size``."""

    target: Slot
    source: Slot
    width: int
    size: int


Statement: TypeAlias = Fill | Product | Pick | Compute | Shift


@dataclass
class Function:
    """One step of a layer: it reads a row ``x``, or an index, and the state, and writes a row ``y``."""

    name: str
    about: str
    inputs: int
    outputs: int
    index: bool = False  # it reads an index
    pair: bool = False  # it reads a second row of as many numbers, "x2"
    locals: dict[str, int] = field(default_factory=dict)
    statements: list[Statement] = field(default_factory=list)

    def local(self, name: str, size: int) -> Slot:
        """A new array within the function."""
        self.locals[name] = size
        return Slot("local", name)

    @property
    def stateful(self) -> bool:
        """Whether it reads or writes a state."""
        return any(slot.kind == "state" for one in self.statements for slot in slots_of(one))


def slots_of(one: Statement) -> list[Slot]:
    """All places that a statement reads or writes."""
    if isinstance(one, Compute):
        places = one.equations.places
        return [*(slot for place, slot in one.loads.items() if place in places), *one.stores.values()]
    return [part for part in one if isinstance(part, Slot)]


@dataclass(eq=False)
class Rows:
    """An array of steps: what a call reads ("x"), what it returns ("y"), or one of the call's own."""

    name: str
    width: int
    steps: int  # the most that it can have
    count: str  # the name of how many it has
    index: bool = False  # of integers, one a step


class Each(NamedTuple):
    """target[t][first:] = function(source[t]) for every t, from the last to the first with ``reverse``."""

    function: Function
    source: Rows
    target: Rows
    first: int = 0
    reverse: bool = False
    second: Rows | None = None


class Reversed(NamedTuple):
    """target[t] = source[T - 1 - t]."""

    source: Rows
    target: Rows


class Windows(NamedTuple):
    """target[t] is made of the steps source[stride t - left + dilation k]; those outside of source are left out.

    ``kind``: "convolution", the sum of their products with W, whose rows are K times (in / groups), one weight for each
    group, beginning at ``bias``; "largest"; "mean" over the kernel's size, or over the steps that are there ("mean of
    some").
    """

    kind: str
    source: Rows
    target: Rows
    kernel: int
    stride: int
    left: int
    right: int
    dilation: int = 1
    weights: tuple[Weight, ...] = ()
    bias: Weight | None = None


class Whole(NamedTuple):
    """One step of all: "last", "largest", "mean", "flat"; "ends", half of the last step and the other of the first."""

    kind: str
    source: Rows
    target: Rows


Operation: TypeAlias = Each | Reversed | Windows | Whole


@dataclass(frozen=True, eq=False)
class State:
    """A part of the state: what it begins as, zeros where that is None."""

    name: str
    size: int
    initial: Weight | None = None


class Wire(NamedTuple):
    """A function within a step: the rows that it reads, and where in a row of some ``width`` its y begins."""

    function: Function
    sources: list[str]
    target: str
    width: int
    first: int


@dataclass
class Plan:
    """A whole model.

    A model that answers step by step (``stepwise``) computes any number of steps, a step at a time; any other computes
    at most ``steps`` at once, in arrays of its own (``rows``).
    """

    about: list[str]  # what stands at the top of the file
    inputs: int
    outputs: int
    index: bool  # x is integers
    stepwise: bool
    one: bool  # y is one step, whatever x has
    steps: int
    least: int  # steps that a call needs
    functions: list[Function] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    rows: list[Rows] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    weights: list[Weight] = field(default_factory=list)
    symbols: tuple[int, ...] = ()  # code points of the vocabulary
    task: str = ""
    sample: tuple[Array, Array] | None = None  # x and y of the self-test

    def wires(self) -> list["Wire"]:
        """One step of a model that answers step by step: its functions, and the rows that they read and write."""
        same: dict[str, str] = {}  # the last step is the one that has just been computed
        wires = []
        for one in self.operations:
            if isinstance(one, Each):
                sources = [same.get(rows.name, rows.name) for rows in (one.source, one.second) if rows]
                wires.append(Wire(one.function, sources, one.target.name, one.target.width, one.first))
            else:
                same[one.target.name] = same.get(one.source.name, one.source.name)
        return wires

    def read(self) -> set[str]:
        """The names of the weights that something here reads."""
        names = {one.initial.name for one in self.states if one.initial}
        weights = [one.weight for f in self.functions for one in f.statements if isinstance(one, (Product, Pick))]
        for step in self.operations:
            if isinstance(step, Windows):
                weights += [*step.weights, *([step.bias] if step.bias else [])]
        for f in self.functions:
            names |= {slot.array for one in f.statements for slot in slots_of(one) if slot.kind == "weight"}
        names |= {one.name for one in weights}
        return names | {one.scale.name for one in weights if one.scale}

    def calls(self) -> set[str]:
        """The functions of numbers that the equations use."""
        computed = [one for f in self.functions for one in f.statements if isinstance(one, Compute)]
        return {name for one in computed for name in one.equations.calls}

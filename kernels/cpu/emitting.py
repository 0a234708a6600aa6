"""A cell's equations on vectors, written from its operations as ``minirnn.core.tracing`` has seen them.

``step`` replaces the arguments of the gates by what the cell saves; ``unstep`` writes the gradients of those arguments.
Both treat the units from j on, a vector of them, of one row; ``n`` is None for a full vector, else how many lanes
count.  All is loaded before anything is stored, since a state may be replaced in its place.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from minirnn.kernels.cpu import activations, memory, vectors
from minirnn.kernels.cpu.compiling import Function, inline_as
from minirnn.kernels.facts import COMPARISONS, CellFacts, Operation, Place, Program


class Row(NamedTuple):
    """Pointers to the first unit of one row of one step."""

    G: Any  # the first gate's argument, then what is saved; gates H apart
    u: Any  # h U_n + bn, the part of the last gate's argument that is kept apart
    h: Any  # the first state before the step
    h1: Any  # and after it
    c: Any  # the other states before the step
    c1: Any  # and after it
    a: Any  # what later stages' products read
    m: Any  # what else is saved
    z: Any  # zones of states that stay as they were
    w: Any  # per-unit weights


class Back(NamedTuple):
    """The same of the backward pass."""

    dy: Any  # what the layer above sends to h1
    dh: Any  # what the step after sends, replaced by what this one sends back *directly*: a product is added later
    dc: Any
    f: Any  # what goes from stage to stage
    dP: Any  # noqa: N815 - as in the equations; gradients of the gates' arguments, H apart, and of what else is summed over time


class Lines(NamedTuple):
    """How many entries lie between arrays of one kind."""

    H: int  # gates
    c: int
    c1: int
    saved: int  # "a" and "m"
    z: int
    w: int
    d: int  # "dc" and "f"


STEP, UNSTEP = "j, n, row, lines", "j, n, row, back, lines"
LINES = {"gates": ("row.G", "H"), "w": ("row.w", "w"), "dc": ("back.dc", "d"), "f": ("back.f", "d")}
BINARY = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}
CALLS = {"tanh": "tanh", "exp": "whole_exp", "sqrt": "square_root", "maximum": "at_least", "minimum": "at_most"}
NAMES: dict[str, Any] = {
    name: getattr(place, name)
    for place, names in (
        (memory, ("load", "store")),
        (activations, ("tanh", "tanh_of_half", "whole_exp")),
        (vectors, ("at_least", "at_most", "square_root", *(f"where_{name}" for name in COMPARISONS))),
    )
    for name in names
}


def entry(array: str, k: int, line: str) -> str:
    """The place of an array's units in Python: the k-th of several arrays ``line`` entries apart."""
    return f"{array}, {f'{k} * lines.{line} + ' if k else ''}j, n"


def placed(facts: CellFacts, place: Place) -> str:
    """A place as the code of a step or its transpose names it."""
    array, k, before = place
    if array in LINES:
        name, line = LINES[array]
        return entry(name, k, line)
    if array in ("y", "dh"):
        return entry("back.dh" if array == "dh" else "row.h" if before else "row.h1", 0, "")
    if array == "dp":  # a gate that is kept apart comes first, so that all that is multiplied with U lies side by side
        return entry("back.dP", (k + 1) % facts.gates if facts.apart else k, "H")
    if array == "dq":
        return entry("back.dP", facts.gates + (0 if facts.apart else len(facts.units)), "H")
    if array == "dw":
        return entry("back.dP", facts.gates + facts.apart + k, "H")
    kind = array[0]
    k = facts.arrays(kind).index(array)
    if kind == "c":
        return entry("row.c", k, "c") if before else entry("row.c1", k, "c1")
    return entry(f"row.{kind}", k, "z" if kind == "z" else "saved")


def written(program: Program, place: int) -> str:
    """One operation, of the names of those before it."""
    name, operands = program.operations[place]
    if name == "number":
        return repr(operands[0])
    a = [f"t{k}" for k in operands]
    if name in BINARY:
        return f"{a[0]} {BINARY[name]} {a[1]}"
    if name == "negative":
        return f"-1.0 * {a[0]}"
    if name == "tanh":  # of a half it is what the vectors' tanh begins with
        inner = program.operations[operands[0]]
        halves = [k for k in inner.operands if inner.name == "multiply" and program.operations[k] == HALF]
        if halves:
            (other,) = [k for k in inner.operands if k != halves[0]] or halves
            return f"tanh_of_half(t{other})"
    if name == "where":
        comparison = program.operations[operands[0]]
        return f"where_{comparison.name}({', '.join(f't{k}' for k in (*comparison.operands, *operands[1:]))})"
    return f"{CALLS[name]}({', '.join(a)})"


HALF = Operation("number", (0.5,))


def lines_of(facts: CellFacts, program: Program) -> Iterator[str]:
    """The body of a function of Python's that does a program."""
    for k, (name, operands) in enumerate(program.operations):
        if name in COMPARISONS:
            continue  # a part of ``where``
        if name != "load":
            yield f"t{k} = {written(program, k)}"
        elif operands[0].array == "dh":
            yield f"t{k} = load(back.dh, j, n) + load(back.dy, j, n)"
        else:
            yield f"t{k} = load({placed(facts, operands[0])})"
    for place, end in program.results:
        if end is None or program.operations[end] != ("load", (place,)):  # it is not there already
            array, where = placed(facts, place).split(", ", 1)
            yield f"store({0.0 if end is None else f't{end}'}, {array}, {where})"
    if not program.results:
        yield "pass"


def function(name: str, arguments: str, lines: Iterator[str]) -> Function:
    """A function of Python's with that body, to be compiled into kernels."""
    text = f"def {name}({arguments}):\n" + "".join(f"    {line}\n" for line in lines)
    space = dict(NAMES)
    exec(compile(text, f"<{name}>", "exec"), space)  # noqa: S102 - made of the operations above alone
    made: Function = space[name]
    return made


def step_of(facts: CellFacts, k: int, *, narrow: bool = False) -> Any:
    """The step of stage k of a cell, or of its part that is as wide as h."""
    one = facts.stages[k]
    body = lines_of(facts, one.narrow_step if narrow else one.step)
    return inline_as(f"step-{facts.key}-{k}-{narrow}")(function("step", STEP, body))


def unstep_of(facts: CellFacts, k: int, *, narrow: bool = False) -> Any:
    """The transpose of that."""
    one = facts.stages[k]
    body = lines_of(facts, one.narrow_unstep if narrow else one.unstep)
    return inline_as(f"unstep-{facts.key}-{k}-{narrow}")(function("unstep", UNSTEP, body))

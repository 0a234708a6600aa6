"""A cell's equations on vectors, written from its operations as ``minirnn.core.tracing`` has seen them.

``step`` replaces the arguments of the gates by what the cell saves; ``unstep`` writes the gradients of those arguments.
Both treat the units of one row from ``left`` up to ``right``, a vector of them at a time, the units from j on; ``n`` is
None for a full vector, else how many lanes count.  Of a vector all is loaded before anything is stored, since a state
may be replaced in its place.  A program that adds up a row's units is done in several phases (``kernels/phases.py``),
and is given whole rows; what is one number a row has the same in every lane.
"""

import re
from collections.abc import Container, Iterable, Iterator
from typing import Any, NamedTuple

from minirnn.kernels.cpu import activations, memory, vectors
from minirnn.kernels.cpu.compiling import inline_as
from minirnn.kernels.facts import BINARY, COMPARISONS, REDUCTIONS, CellFacts, Operation, Place, Program
from minirnn.kernels.phases import Phase, phases_of


class Row(NamedTuple):
    """Pointers to the first unit of one row of one step."""

    G: Any  # the first gate's argument, then what is saved; gates H apart
    u: Any  # products with U of the last gates that are kept apart, H apart: h U_n + bn
    h: Any  # the first state before the step
    h1: Any  # and after it
    c: Any  # the other states before the step
    c1: Any  # and after it
    a: Any  # what later stages' products read
    m: Any  # what else is saved
    s: Any  # and of that, one number a row
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
    s: int
    z: int
    w: int
    d: int  # "dc" and "f"


STEP, UNSTEP = "row, lines", "row, back, lines"
LINES = {
    "gates": ("row.G", "H"),
    "u": ("row.u", "H"),
    "w": ("row.w", "w"),
    "dc": ("back.dc", "d"),
    "f": ("back.f", "d"),
}
CALLS = {"tanh": "tanh", "exp": "whole_exp", "sqrt": "square_root", "maximum": "at_least", "minimum": "at_most"}
SUMS = {  # of each reduction: what it begins with, how a vector is added to it, and how its lanes are in the end
    "sum": ("0.0", "{} + {}", "total"),
    "mean": ("0.0", "{} + {}", "total"),
    "max": ("-INFINITE", "maximum({}, {})", "topmost"),
    "min": ("INFINITE", "minimum({}, {})", "lowest"),
}
NAMES: dict[str, Any] = {"INFINITE": float("inf")} | {
    name: getattr(place, name)
    for place, names in (
        (memory, ("get", "lanes", "load", "put", "spread", "store")),
        (activations, ("tanh", "tanh_of_half", "whole_exp")),
        (vectors, ("at_least", "at_most", "first", "first_lanes", "maximum", "minimum", "square_root")),
        (vectors, [fold for _, _, fold in SUMS.values()]),
        (vectors, [f"where_{name}" for name in COMPARISONS]),
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
    if array == "dp":  # gates that are kept apart come first, so that all that is multiplied with U lies side by side
        return entry("back.dP", (k + facts.apart) % facts.gates, "H")
    if array == "dq":
        return entry("back.dP", facts.gates + (k if facts.apart else len(facts.units)), "H")
    if array == "dw":
        return entry("back.dP", facts.gates + facts.apart + k, "H")
    kind = array[0]
    k = facts.arrays(kind).index(array)
    if kind == "c":
        return entry("row.c", k, "c") if before else entry("row.c1", k, "c1")
    return entry(f"row.{kind}", k, "z" if kind == "z" else "saved")


def number_of_row(facts: CellFacts, place: Place) -> str:
    """The place of a number of a row."""
    return f"row.s, {facts.arrays('s').index(place.array)} * lines.s"


def written(program: Program, place: int, there: Container[int] = ()) -> str:
    """One operation, of the names of those before it; some are ``there`` without what leads to them."""
    name, operands = program.operations[place]
    if name == "number":
        return repr(operands[0])
    if name in REDUCTIONS:
        whole = f"spread(row.G, {SUMS[name][2]}(a{place}))"
        return f"{whole} / right" if name == "mean" else whole
    a = [f"t{k}" for k in operands]
    if name in BINARY:
        return f"{a[0]} {BINARY[name]} {a[1]}"
    if name == "negative":
        return f"-1.0 * {a[0]}"
    if name == "tanh":  # of a half it is what the vectors' tanh begins with
        inner = program.operations[operands[0]]
        halves = [k for k in inner.operands if inner.name == "multiply" and program.operations[k] == HALF]
        if halves and operands[0] not in there:
            (other,) = [k for k in inner.operands if k != halves[0]] or halves
            return f"tanh_of_half(t{other})"
    if name == "where":
        comparison = program.operations[operands[0]]
        return f"where_{comparison.name}({', '.join(f't{k}' for k in (*comparison.operands, *operands[1:]))})"
    return f"{CALLS[name]}({', '.join(a)})"


HALF = Operation("number", (0.5,))


def loaded(facts: CellFacts, place: Place) -> str:
    """What lies at a place; the gradient of h is what came from the next step and what came from above."""
    if place.array == "dh":
        return "load(back.dh, j, n) + load(back.dy, j, n)"
    if place.array[0] == "s":
        return f"spread(row.G, get({number_of_row(facts, place)}))"
    return f"load({placed(facts, place)})"


def stored(facts: CellFacts, place: Place, value: str) -> str:
    """The line that puts a value at a place."""
    if place.array[0] == "s":
        return f"put(first({value}), {number_of_row(facts, place)})"
    array, where = placed(facts, place).split(", ", 1)
    return f"store({value}, {array}, {where})"


def computing(facts: CellFacts, program: Program, operations: Iterable[int], phase: Phase) -> Iterator[str]:
    """Lines that compute some operations; those that an earlier phase has stored are loaded."""
    for k in operations:
        name, operands = program.operations[k]
        if k in phase.loads:
            yield f"t{k} = load({placed(facts, phase.loads[k])})"
        elif name == "load":
            yield f"t{k} = {loaded(facts, operands[0])}"
        elif name not in COMPARISONS:  # which are a part of ``where``
            yield f"t{k} = {written(program, k, phase.loads)}"


def storing(facts: CellFacts, program: Program, results: Iterable[tuple[Place, int | None]]) -> Iterator[str]:
    """Lines that store results where they are not there already."""
    for place, end in results:
        if end is None or program.operations[end] != ("load", (place,)):
            yield stored(facts, place, "0.0" if end is None else f"t{end}")


class Scope:
    """Lines of one function, numbers that they name written out before them; ``free`` are names of other functions'."""

    def __init__(self, program: Program, lines: Iterable[str]) -> None:
        text = list(lines)
        named = {int(k) for line in text for k in re.findall(r"\bt(\d+)\b", line)}
        made = {int(line[1:].split(" ", 1)[0]) for line in text if line.startswith("t")}
        numbers = sorted(k for k in named - made if program.operations[k].name == "number")
        self.lines = [f"t{k} = {written(program, k)}" for k in numbers] + text
        self.free = [f"t{k}" for k in sorted(named - made - {*numbers})]


def texts_of(facts: CellFacts, program: Program, arguments: str) -> Iterator[str]:
    """The functions that do a program: one for each phase, and ``run``, which goes over a row's units with each."""
    run: list[str] = []
    for k, phase in enumerate(phases_of(program)):
        rows = [*computing(facts, program, phase.rows, phase), *storing(facts, program, phase.row_results)]
        run += Scope(program, rows).lines
        adding = [added_to(program, n) for n in phase.sums]
        inside = Scope(
            program, [*computing(facts, program, phase.units, phase), *storing(facts, program, phase.results), *adding]
        )
        if not phase.results and not adding:
            continue
        added = ", ".join(f"a{n}" for n in phase.sums)
        run += [f"a{n} = spread(row.G, {SUMS[program.operations[n].name][0]})" for n in phase.sums]
        names = ", ".join([arguments, *inside.free, *([added] if added else [])])
        ahead = f"{added} = " if added else ""
        run += [
            "for j in range(left, whole, width):",
            f"    {ahead}phase{k}(j, None, {names})",
            "if whole < right:",
            f"    {ahead}phase{k}(whole, right - whole, {names})",
        ]
        yield function_text(f"phase{k}", f"j, n, {names}", [*inside.lines, *([f"return {added}"] if added else [])])
    head = ["width = lanes(row.G)", "whole = left + (right - left) // width * width"]
    yield function_text("run", f"left, right, {arguments}", [*head, *run])


def added_to(program: Program, n: int) -> str:
    """The line that adds a vector to sum ``n``, of the units that are there."""
    name, operands = program.operations[n]
    begins, combined, _ = SUMS[name]
    return f"a{n} = {combined.format(f'a{n}', f'first_lanes(t{operands[0]}, n, {begins})')}"


def function_text(name: str, arguments: str, lines: Iterable[str]) -> str:
    """A function in Python."""
    return f"def {name}({arguments}):\n" + "".join(f"    {line}\n" for line in lines)


def compiled(facts: CellFacts, program: Program, arguments: str, name: str) -> Any:
    """A program as a function of a row's units, ``run(left, right, *arguments)``, to be compiled into a routine."""
    space = dict(NAMES)
    for text in texts_of(facts, program, arguments):
        made = text[4 : text.index("(")]
        exec(compile(text, f"<{name}>", "exec"), space)  # noqa: S102 - made of the operations above alone
        space[made] = inline_as(f"{name}-{made}")(space[made])
    return space["run"]


def step_of(facts: CellFacts, k: int, *, narrow: bool = False) -> Any:
    """The step of stage k of a cell, or of its part that is as wide as h: ``run(left, right, row, lines)``."""
    one = facts.stages[k]
    program = one.narrow_step if narrow else one.step
    return compiled(facts, program, STEP, f"step-{facts.key}-{k}-{narrow}")


def unstep_of(facts: CellFacts, k: int, *, narrow: bool = False) -> Any:
    """The transpose of that: ``run(left, right, row, back, lines)``."""
    one = facts.stages[k]
    program = one.narrow_unstep if narrow else one.unstep
    return compiled(facts, program, UNSTEP, f"unstep-{facts.key}-{k}-{narrow}")

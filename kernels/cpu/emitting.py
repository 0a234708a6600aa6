"""A cell's equations on vectors, written from its operations as ``minirnn.core.tracing`` has seen them.

``step`` replaces the arguments of the gates, which stand in ``G``, by what the cell saves; ``unstep`` writes the
gradients of those arguments to ``dP``.  Both treat the units from j on, a vector of them, of one row; ``n`` is None for
a full vector, else how many lanes count.  Every pointer is to the row's first unit: ``G`` and ``dP`` to its first
gate, gates H apart.

    u       h U_n + bn, the part of the last gate's argument that is kept apart
    h, h1   the first state before and after the step
    c, c1   the other states before and after: of several, each ``line_c`` and ``line`` entries after the one before
    m       what else is saved, arrays ``line`` apart
    w       per-unit weights, ``line_w`` apart;  z the zones of states that stay as they were, ``line`` apart
    dy      what the layer above sends to h1;  dh and dc (states ``line_d`` apart) what the step after sends, replaced
            by what this one sends back *directly*: the product with U is added later

All is loaded before anything is stored, since a state may be replaced in its place.
"""

from collections.abc import Iterator
from typing import Any

from minirnn.kernels.cpu import activations, memory, vectors
from minirnn.kernels.cpu.compiling import Function, inline_as
from minirnn.kernels.facts import COMPARISONS, CellFacts, Operation, Program, Saved

STEP = "G, u, h, c, h1, c1, m, w, z, H, j, n, line_c, line, line_w"
UNSTEP = "G, u, h, h1, c, c1, m, w, z, dy, dh, dc, dP, H, j, n, line_c, line, line_w, line_d"
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


def at(array: str, k: int, line: str) -> str:
    """The place of an array's units in Python: the k-th of several arrays ``line`` entries apart."""
    return f"{array}, j, n" if k == 0 else f"{array}, {k} * {line} + j, n"


def place_of(facts: CellFacts, one: Saved, *, before: str, after: str) -> str:
    """Where a saved quantity lies: ``before`` and ``after`` are the names of the first state's pointers."""
    if one.array == "gates":
        return at("G", one.gate, "H")
    if one.array == "y":
        return at(before if one.before else after, 0, "")
    if one.array == "u":
        return at("u", 0, "")
    kind = one.array[0]
    k = facts.arrays(kind).index(one.array)
    return at(kind, k, "line_c") if one.before else at("c1" if kind == "c" else kind, k, "line")


def sources(facts: CellFacts, *, backward: bool) -> dict[tuple[str, int], str]:
    """Where each input of a program is loaded from."""
    places = {("gate", k): at("G", k, "H") for k in range(facts.gates)}
    places["apart", 0] = at("u", 0, "")
    places |= {("state", k): at("c", k - 1, "line_c") if k else at("h", 0, "") for k in range(facts.states)}
    places |= {("unit", k): at("w", k, "line_w") for k in range(len(facts.units))}
    places |= {("zone", k): at("z", k, "line") for k in range(len(facts.arrays("z")))}
    if backward:
        places |= {("dstate", k): at("dc", k - 1, "line_d") for k in range(1, facts.states)}
        for k, one in enumerate(facts.saved.values()):
            places["saved", k] = place_of(facts, one, before="h", after="h1")
    return places


def targets(facts: CellFacts, kind: str, k: int) -> str:
    """Where a result of a program is stored; nowhere, "", if it lies there already."""
    apart = facts.apart
    if kind == "state":
        return at("c1", k - 1, "line") if k else at("h1", 0, "")
    if kind == "dstate":
        return at("dc", k - 1, "line_d") if k else at("dh", 0, "")
    if kind == "dp":  # a gate that is kept apart comes first, so that all that is multiplied with U lies side by side
        return at("dP", (k + 1) % facts.gates if apart else k, "H")
    if kind == "dq":
        return at("dP", facts.gates, "H")
    if kind == "dunit":
        return at("dP", facts.gates + apart + k, "H")
    one = list(facts.saved.values())[k]
    return place_of(facts, one, before="", after="") if one.array == "gates" or one.array[0] == "m" else ""


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


def lines_of(facts: CellFacts, program: Program, *, backward: bool) -> Iterator[str]:
    """The body of a function of Python's that does a program."""
    loads, first = sources(facts, backward=backward), "t0"
    for k, (name, operands) in enumerate(program.operations):
        if name in COMPARISONS:
            continue  # a part of ``where``
        if name == "dstate" and operands == (0,):
            yield f"t{k} = load(dh, j, n) + load(dy, j, n)"
        elif (name, *operands) in loads:
            yield f"t{k} = load({loads[name, operands[0]]})"
        else:
            yield f"t{k} = {written(program, k)}"
            continue
        first = f"t{k}"
    done = set()
    for kind, k, end in program.results:
        place = targets(facts, kind, k)
        name, operands = program.operations[end] if end is not None else ("", ())
        there = loads.get((name, *operands)) == place  # what was loaded from there
        if place and not there and place not in done:
            done.add(place)
            array, where = place.split(", ", 1)
            yield f"store({f't{end}' if end is not None else f'0 * {first}'}, {array}, {where})"


def function(name: str, arguments: str, lines: Iterator[str]) -> Function:
    """A function of Python's with that body, to be compiled into kernels."""
    text = f"def {name}({arguments}):\n" + "".join(f"    {line}\n" for line in lines)
    space = dict(NAMES)
    exec(compile(text, f"<{name}>", "exec"), space)  # noqa: S102 - made of the operations above alone
    made: Function = space[name]
    return made


def step_of(facts: CellFacts) -> Any:
    """The step of a cell."""
    return inline_as(f"step-{facts.key}")(function("step", STEP, lines_of(facts, facts.step, backward=False)))


def unstep_of(facts: CellFacts) -> Any:
    """The transpose of a cell's step."""
    return inline_as(f"unstep-{facts.key}")(function("unstep", UNSTEP, lines_of(facts, facts.unstep, backward=True)))

"""The row-wise proof: ``unstep`` is the transpose of ``step``, at exact numbers.

With v a random direction of everything that ``step`` reads, and d random gradients of the states after it,

    ⟨d, step's derivative along v⟩  =  ⟨unstep(d), v⟩

for all numbers, if and only if every gradient is right: a wrong one shows, whichever it is.  One equation thus decides
a stage; only where it fails are the gates looked at one by one.  Kinks divide the numbers into cases, each of which is
looked at at a point of its own.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from minirnn.core.protocol import matrix_of, multiplies, name_of, stages_of, units_of
from minirnn.core.symbolic import Symbolic, Value
from minirnn.testing.precision import AnyCell
from minirnn.testing.proof.exact import P, Point

UNITS = 3
PATIENCE, MOST = 24, 400  # points without a new case after which all are thought to be seen; points altogether


@dataclass(frozen=True)
class Place:
    """A stage of a cell as ``step`` and ``unstep`` see it: names and widths of what they read and return."""

    stage: Value  # a Stage, which is run on other arrays than its types say
    before: dict[str, int]  # the states, or what the stage before puts out
    after: dict[str, int]
    product: int  # the width of q
    hidden_size: int

    @property
    def name(self) -> str:
        return name_of(self.stage)

    def of(self, hidden_size: int) -> "Place":
        """The same with another H."""
        H = self.hidden_size

        def other(width: int) -> int:
            return width // H * hidden_size + width % H

        before = {name: other(width) for name, width in self.before.items()}
        after = {name: other(width) for name, width in self.after.items()}
        return Place(self.stage, before, after, other(self.product), hidden_size)


@dataclass
class Wrong:
    """A gradient that differs: of which quantity, in which stage, and at which point."""

    place: Place
    gradient: str  # "dp of i", "dc"
    seed: int
    terms: str = ""


@dataclass
class Transposed:
    """The result for one stage: how many cases there are, what is wrong, and log10 of the probability of an error."""

    place: Place
    cases: int
    wrong: list[Wrong]
    error: float


def array(point: Point, *shape: int, moves: bool = True) -> Value:
    """Random inputs: a ``Symbolic``, to those who use it an array like any other."""
    entries = np.empty(shape, object)
    for index in np.ndindex(*shape):
        entries[index] = point.number(moves=moves)
    return Symbolic(entries, point)


def paired(pairs: Iterable[tuple[Value, Symbolic]]) -> int:
    """The sum of ⟨a, tangent of b⟩ modulo P; None stands for zeros."""
    total = 0
    for a, b in pairs:
        if a is None:
            continue
        for x, y in zip(np.broadcast_to(Symbolic.of(a, b.algebra).entries, b.shape).flat, b.entries.flat, strict=True):
            if y.tangent is not None:
                total += x.value.value * y.tangent.value
    return total % P


def equal(a: Symbolic, b: Symbolic) -> bool:
    """Whether two arrays are equal, entry by entry."""
    return all(x.value.value == y.value.value for x, y in zip(a.entries.flat, b.entries.flat, strict=True))


def places_of(cell: AnyCell, H: int = UNITS) -> Iterator[Place]:
    """The stages of a cell in order; what stands between two of them is named after the first state that it becomes."""
    R = H + 1 if hasattr(cell, "output_size") else H
    stages, before = stages_of(cell), dict(zip(cell.state, (R, *(H for _ in cell.state[1:])), strict=True))
    for stage in stages:
        product = R if matrix_of(stage) else len(stage.gates) * H * multiplies(stage)
        last = stage is stages[-1]
        inputs = Inputs(Place(stage, before, {}, product, H), Point(0))
        out = inputs.stepped()[0]
        names = cell.state if last else [f"out{k}" for k in range(len(out))]
        after = {name: a.shape[1] for name, a in zip(names, out, strict=True)}
        yield Place(stage, before, after, product, H)
        before = after


class Inputs:
    """Everything that ``step`` reads, at one point; of ``moving`` names only what is named moves, or all for ()."""

    def __init__(self, place: Place, point: Point, moving: tuple[str, ...] = ()) -> None:
        H = self.H = place.hidden_size

        def made(name: str, *shape: int) -> Value:
            return array(point, *shape, moves=not moving or name in moving)

        def gates(of: str, width: int) -> Value:
            if not place.stage.gates or matrix_of(place.stage) or not width:
                return made(f"d{of}", 1, width)
            joined: Value = np.concatenate([made(f"d{of} of {gate}", 1, H) for gate in place.stage.gates], axis=-1)
            return joined

        self.place, self.point = place, point
        self.p = gates("p", len(place.stage.gates) * H) if place.stage.gates else array(point, 1, 0)
        self.q = gates("q", place.product)
        self.states = tuple(made(f"d{name}", 1, width) for name, width in place.before.items())
        self.units = [made(f"d{name}", H) for name in units_of(place.stage)]

    def stepped(self) -> tuple[Value, Value]:
        out, saved = self.place.stage.step(self.p, self.q, self.states, *self.units)
        return tuple(Symbolic.of(a, self.point) for a in out), saved

    def holds(self) -> bool:
        """Whether the equation above does, along this direction."""
        out, saved = self.stepped()
        dout = tuple(array(self.point, *a.shape, moves=False) for a in out)
        dp, dq, dstates, *dunits = self.place.stage.unstep(dout, saved, *self.units)
        rows = [d.sum(0) for d in dunits]  # over the batch, which has one row
        returned = [*zip((dp, dq), (self.p, self.q), strict=True), *zip(dstates, self.states, strict=True)]
        return paired(zip(dout, out, strict=True)) == paired([*returned, *zip(rows, self.units, strict=True)])


def gradients_of(place: Place) -> list[str]:
    """The names of all that ``unstep`` returns."""
    sides = "pq" if multiplies(place.stage) else "p"
    gates = [f"d{of} of {gate}" for of in sides for gate in place.stage.gates] if place.stage.gates else ["dq"]
    return [*gates, *(f"d{name}" for name in place.before), *(f"d{name}" for name in units_of(place.stage))]


def transposed(place: Place, seed: int) -> Transposed:
    """Whether ``unstep`` is the transpose of ``step``, in every case that points come to."""
    cases: set[tuple[bool, ...]] = set()
    wrong: dict[str, Wrong] = {}
    error, since = -np.inf, 0
    for k in range(MOST):
        inputs = Inputs(place, Point(seed + k))
        holds, case = inputs.holds(), tuple(inputs.point.decisions)
        error, since = max(error, inputs.point.error()), 0 if case not in cases else since + 1
        if case not in cases and not holds:
            for name in gradients_of(place):
                if name not in wrong and not Inputs(place, Point(seed + k), (name,)).holds():
                    wrong[name] = Wrong(place, name, seed + k)
        cases.add(case)
        if not case or since >= PATIENCE:
            break
    return Transposed(place, len(cases), list(wrong.values()), float(error))

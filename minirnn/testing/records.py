"""Both functions of a stage, recorded at the same numbers, and what each value of ``unstep`` should be."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TypeAlias

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.protocol import units_of
from minirnn.testing.point import STEP, Point
from minirnn.testing.recording import Function, Operation, Overrides, Ref, Tape, Value, record
from minirnn.testing.rewriting import Fill, with_copies

ROWS = 12  # enough for no two formulas to agree by chance
LOOSE = 1e-5
Piece: TypeAlias = tuple[Value, slice | None]  # what is returned as one item, and which of its columns


@dataclass
class Target:
    """A value of ``unstep`` that should be something: by its name, or as what it is returned."""

    node: int
    name: str
    line: int
    by_name: Array | None
    by_use: Array | None
    gate: str


class Records:
    """Both functions of a stage, recorded; ``usable`` is False where the records do not tell the whole story."""

    def __init__(self, point: Point, holed: Callable[[Fill], Function] | None = None) -> None:
        self.point, self.n = point, len(point.out)
        self.rows = min(ROWS, len(point.p))
        first = slice(0, self.rows)
        inputs = (point.p[first], point.q[first], tuple(a[first] for a in point.flow), *point.units)
        labels = ["p", "q", *point.before, *units_of(point.stage)]
        self.step = record(point.stage.step, inputs, labels)
        self.true = [self._blocks(item.true) for item in point.items]
        self.usable = self.step.faithful
        self.pieces: list[Piece] = []  # ``returned``, once findings are asked for
        self.misplaced: set[int] = set()  # items that are wrong, whatever a line computes
        self.truths = self._truths() if self.usable else {}
        self.saved = tuple(np.tile(np.asarray(a)[first], (self.n, 1)) for a in point.saved)
        self.douts = [
            np.concatenate([d[first] if j == k else 0 * d[first] for j in range(self.n)])
            for k, d in enumerate(point.douts)
        ]
        labels = [*(f"d{name}'" for name in point.after), *point.stage.saves, *units_of(point.stage)]
        arguments = (tuple(self.douts), self.saved, *point.units)
        unstep = holed(self._hole) if holed else with_copies(point.stage.unstep, arguments)
        self.unstep = record(unstep, arguments, labels, self._begun)
        self.usable &= self.unstep.faithful

    def _begun(self, tape: Tape) -> None:
        self.tape = tape

    def _hole(self, name: str, _: int) -> Value:
        """The right value of a variable that is not filled in, as far as its name tells; else nothing is known."""
        truth = self.truth_of(name)
        return self.tape.leaf(name, np.full(self.douts[0].shape, np.nan) if truth is None else truth)

    def filled(self) -> list[str]:
        """The local variables whose lines are right."""
        nodes = self.unstep.nodes
        return [
            target.name
            for target in self.targets()
            if target.by_name is not None
            and nodes[target.node].function is not None
            and nodes[target.node].label not in ("concatenate", "hstack")
            and self.equal(np.asarray(nodes[target.node].value), target.by_name)
        ]

    @cached_property
    def carries(self) -> set[int]:
        """The nodes that depend on what comes back."""
        return self.moved(*list(self.unstep.leaves.values())[: self.n])

    def _blocks(self, a: Array) -> Array:
        """(states, rows, width) as the recorded ``unstep`` has it: (states · rows, width)."""
        return a[:, : self.rows].reshape(self.n * self.rows, -1)

    # -- what is true

    def gradient(self, node: int) -> Array:
        """Of a value of ``step``: Σ dout ∂out/∂value, for each of the states after alone."""
        value = np.asarray(self.step.nodes[node].value, float)
        value = np.broadcast_to(value, (self.rows, value.shape[-1])) if value.ndim < 2 else value
        gradient = np.zeros((self.n, *value.shape))
        for j in range(value.shape[1]):
            towards = np.zeros(value.shape)
            towards[:, j] = 1
            if self.point.exact:
                change = [o.imag / STEP for o in self._outputs(node, value + 1j * STEP * towards)]
            else:
                ahead, behind = (self._outputs(node, value + h * towards) for h in (1e-5, -1e-5))
                change = [(a - b) / 2e-5 for a, b in zip(ahead, behind, strict=True)]
            for k, d in enumerate(self.point.douts):
                gradient[k, :, j] = (change[k] * d[: self.rows]).sum(1)
        return gradient.reshape(self.n * self.rows, -1)

    def _outputs(self, node: int, value: Array) -> list[Array]:
        with np.errstate(all="ignore"):
            out, _ = self.step.result(self.step.run({node: value}))
        return [np.asarray(a) for a in out]

    def _truths(self) -> dict[str, Array]:
        """The gradient of every named quantity of ``step``, by the quantity's name."""
        nodes = {b.name: b.node for b in self.step.bindings if b.node >= 0}
        out, saved = self.step.returned
        named = list(zip(self.point.stage.saves, saved, strict=True))
        for name, a in zip(self.point.after, out, strict=True):
            named += [(f"{name}{mark}", a) for mark in ("'", "1", "_new", "_next", "n")]
        for name, a in named:
            if isinstance(a, Ref):
                nodes.setdefault(name, a.node)
        truths: dict[str, Array] = {}
        cache: dict[int, Array] = {}
        for name, node in nodes.items():
            value = self.step.nodes[node].value
            if np.ndim(value) in (1, 2) and np.asarray(value).dtype.kind == "f":
                if node not in cache:
                    cache[node] = self.gradient(node)
                truths[name] = cache[node]
        for item, true in zip(self.point.items, self.true, strict=True):
            side, _, gate = item.name.partition(" of ")
            if gate:
                truths.setdefault(f"{side[1:]}_{gate}", true)
                truths.setdefault(f"a_{gate}", true)
                if len(self.point.stage.gates) == 1:
                    truths.setdefault("a", true)
        for k, side in enumerate("pq"):
            truths.setdefault(side, self._blocks(self.point.true[k]))
        truths.setdefault("a", truths["p"])
        return truths

    def truth_of(self, name: str) -> Array | None:
        """The right value of a local variable of ``unstep``, by its name."""
        for prefix in ("d_", "grad_", "delta_", "d"):
            if name.startswith(prefix) and name[len(prefix) :] in self.truths:
                return self.truths[name[len(prefix) :]]
        return None

    # -- what is looked at

    def returned(self) -> list[Piece]:
        """For each item of the point, what is returned as it, and which columns of that."""
        dp, dq, dstate, *dunits = self.unstep.returned
        parts: list[Piece] = []
        direct = iter(dstate)
        for item in self.point.items:
            side, _, gate = item.name.partition(" of ")
            if gate:
                gates, width = self.point.stage.gates or ("h",), item.true.shape[2]
                parts.append(self._piece({"dp": dp, "dq": dq}[side], gates.index(gate) * width, width))
            elif "direct path" in item.name:
                parts.append((next(direct), None))
            else:
                parts.append((dunits[units_of(self.point.stage).index(item.gate)], None))
        return self._apart(parts)

    def _apart(self, parts: list[Piece]) -> list[Piece]:
        """The same, where one value is returned as several that should differ: each is given a node of its own."""
        uses: dict[int, list[Array]] = {}
        for (part, columns), true in zip(parts, self.true, strict=True):
            if isinstance(part, Ref) and columns is None:
                uses.setdefault(part.node, []).append(true)
        leaves = set(self.unstep.leaves.values())
        apart: list[Piece] = []
        for (part, columns), true in zip(parts, self.true, strict=True):
            if not isinstance(part, Ref) or columns is not None:
                apart.append((part, columns))
                continue
            alike = all(self.equal(true, other) for other in uses[part.node])
            value = np.asarray(self.unstep.nodes[part.node].value)
            if alike and part.node in self.carries and (part.node not in leaves):
                apart.append((part, columns))
                continue
            line = self.unstep.line
            for b in self.unstep.bindings:
                truth = self.truth_of(b.name)
                if b.node == part.node and b.line and truth is not None and self.equal(truth, true):
                    line = b.line
            wide = value.shape == true.shape[1:] and part.node not in self.carries
            make: Function = partial(_widened, shape=true.shape) if wide else np.array
            self.unstep.nodes.append(Operation("copy", make, (part,), {}, make(value), line, line, (part.node,)))
            apart.append((Ref(len(self.unstep.nodes) - 1), None))
        return apart

    def _piece(self, whole: Value, start: int, width: int) -> Piece:
        """The operand of a concatenation that has these columns, or the columns."""
        if isinstance(whole, Ref):
            node = self.unstep.nodes[whole.node]
            if node.label in ("concatenate", "hstack") and isinstance(node.args[0], (tuple, list)):
                at = 0
                for part in node.args[0]:
                    value = self.unstep.nodes[part.node].value if isinstance(part, Ref) else part
                    n = np.shape(value)[-1] if np.ndim(value) else 1
                    if (at, n) == (start, width):
                        return part, None
                    at += n
            if np.shape(node.value)[-1:] == (width,) and not start:
                return whole, None
        return whole, slice(start, start + width)

    def wrong_items(self, overrides: Overrides) -> set[tuple[int, int]]:
        """Which items are wrong, for which of the states after, where some values are replaced."""
        with np.errstate(all="ignore"):
            values = self.unstep.run(overrides)
        wrong = set()
        for k, ((part, columns), true) in enumerate(zip(self.pieces, self.true, strict=True)):
            if k in self.misplaced:
                continue
            said = values[part.node] if isinstance(part, Ref) else part
            said = np.zeros(true.shape) if said is None else np.asarray(said, float)
            said = said[..., columns] if columns is not None else said
            fits = said.shape == true.shape
            for j in range(self.n):
                rows = slice(j * self.rows, (j + 1) * self.rows)
                size = max(1e-4, float(np.abs(true).max(initial=0.0)))
                if not fits or not np.abs(said[rows] - true[rows]).max(initial=0.0) <= self.tolerance * size:
                    wrong.add((k, j))
        return wrong

    @property
    def tolerance(self) -> float:
        return max(1e-7, self.point.tolerance) if self.point.exact else max(LOOSE, self.point.tolerance)

    def targets(self) -> list[Target]:
        """Values that should be something, in the order in which they are computed."""
        last = {b.name: b.node for b in self.unstep.bindings if b.node >= 0}
        leaves_in_order = list(self.unstep.leaves.values())
        leaves = set(leaves_in_order)
        targets: dict[int, Target] = {}
        for b in self.unstep.bindings:
            if b.node < 0 or not b.line or last[b.name] != b.node or b.node in targets:
                continue
            node = self.unstep.nodes[b.node]
            truth = self.truth_of(b.name)
            if b.node in leaves and (b.node not in leaves_in_order[: self.n] or truth is None):
                continue
            targets[b.node] = Target(b.node, b.name, node.line or b.line, truth, None, self.gate_of(b.name))
        for (part, columns), item, true in zip(self.pieces, self.point.items, self.true, strict=True):
            if not isinstance(part, Ref) or columns is not None or part.node in leaves:
                continue
            name = item.name.partition(",")[0].replace(" of ", "_")
            node = self.unstep.nodes[part.node]
            target = targets.setdefault(part.node, Target(part.node, name, node.line, None, None, item.gate))
            if target.by_use is None:
                target.by_use = true
                target.gate = item.gate
        return [targets[k] for k in sorted(targets)]

    def gate_of(self, name: str) -> str:
        """The gate, state or weight that a variable is about, by its name; "" where that says nothing."""
        bare = re.sub(r"^(d_|grad_|delta_|d)", "", name)
        places = (*self.point.stage.gates, *units_of(self.point.stage))
        for candidate in (bare, bare.partition("_")[2]):
            if candidate in places:
                return candidate
        for state in self.point.after:
            if re.fullmatch(rf"{re.escape(state)}('|1|_new|_next|n)?", bare):
                return state
        return ""

    # -- comparing

    def equal(self, a: Array, b: Array) -> bool:
        """Whether two arrays are, up to the tolerance."""
        size = max(1e-4, float(np.abs(b).max(initial=0.0)))
        return a.shape == b.shape and bool(np.abs(a - b).max(initial=0.0) <= self.tolerance * size)

    def moved(self, *nodes: int) -> set[int]:
        """The nodes of ``unstep`` that depend on some of them, and these."""
        reached = set(nodes)
        for k, one in enumerate(self.unstep.nodes):
            if not reached.isdisjoint(one.refs):
                reached.add(k)
        return reached


def _widened(a: Value, shape: tuple[int, ...]) -> Array:
    return np.broadcast_to(a, shape).copy()

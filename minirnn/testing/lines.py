"""The lines of an ``unstep``, one by one: what each computes, what it should, and how they differ.

``step`` and ``unstep`` are recorded at the same numbers.  Every local variable of ``step`` then has a true gradient,
and the variable of ``unstep`` that is called after it (``dm`` after ``m``, ``da_f`` after the argument of gate f)
should be that; what ``unstep`` returns should be what it is returned as.  A line is looked at with everything before it
put right, so that a mistake is found where it was made, and another one further down is found as well.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.protocol import units_of
from minirnn.testing.expressions import FORMS, SWAPPED, TERM, UNKNOWN, Change, Line, Quantity
from minirnn.testing.point import STEP, Point
from minirnn.testing.recording import Node, Ref, Tape, record
from minirnn.testing.rewriting import with_copies

ROWS = 12  # enough for no two formulas to agree by chance
LOOSE = 1e-5


@dataclass(frozen=True)
class Wrong:
    """A line that is wrong: what it assigns, of which gate, and by which change it would be right."""

    gate: str
    name: str
    change: Change
    items: tuple[int, ...]  # of the point, that are put right by it


@dataclass
class _Target:
    """A value of ``unstep`` that should be something: by its name, or as what it is returned."""

    node: int
    name: str
    line: int
    by_name: Array | None
    by_use: Array | None
    gate: str


class Lines:
    """Both functions of a stage, recorded; ``usable`` is False where the records do not tell the whole story."""

    def __init__(self, point: Point, holed: Callable[[Callable[[str, int], Any]], Any] | None = None) -> None:
        self.point, self.n = point, len(point.out)
        self.rows = min(ROWS, len(point.p))
        first = slice(0, self.rows)
        inputs = (point.p[first], point.q[first], tuple(a[first] for a in point.flow), *point.units)
        labels = ["p", "q", *point.before, *units_of(point.stage)]
        self.step = record(point.stage.step, inputs, labels)
        self.true = [self._blocks(item.true) for item in point.items]
        self.usable = self.step.faithful
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

    def _hole(self, name: str, _: int) -> Any:
        """What a variable that is not filled in should be, as far as its name says that; else nothing is known."""
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
            and self._equal(np.asarray(nodes[target.node].value), target.by_name)
        ]

    @cached_property
    def carries(self) -> set[int]:
        """The nodes that depend on what comes back."""
        return self._moved(*list(self.unstep.leaves.values())[: self.n])

    def _blocks(self, a: Array) -> Array:
        """(states, rows, width) as the recorded ``unstep`` has it: (states · rows, width)."""
        return a[:, : self.rows].reshape(self.n * self.rows, -1)

    # -- what is true

    def gradient(self, node: int) -> Array:
        """Of a value of ``step``: Σ dout ∂out/∂value, for each of the states after alone."""
        value = np.asarray(self.step.nodes[node].value, float)
        value = np.broadcast_to(value, (self.rows, value.shape[-1])) if value.ndim < 2 else value
        found = np.zeros((self.n, *value.shape))
        for j in range(value.shape[1]):
            towards = np.zeros(value.shape)
            towards[:, j] = 1
            if self.point.exact:
                change = [o.imag / STEP for o in self._outputs(node, value + 1j * STEP * towards)]
            else:
                ahead, behind = (self._outputs(node, value + h * towards) for h in (1e-5, -1e-5))
                change = [(a - b) / 2e-5 for a, b in zip(ahead, behind, strict=True)]
            for k, d in enumerate(self.point.douts):
                found[k, :, j] = (change[k] * d[: self.rows]).sum(1)
        return found.reshape(self.n * self.rows, -1)

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
        """What a local variable of ``unstep`` should be, by its name."""
        for prefix in ("d_", "grad_", "delta_", "d"):
            if name.startswith(prefix) and name[len(prefix) :] in self.truths:
                return self.truths[name[len(prefix) :]]
        return None

    # -- what is looked at

    def returned(self) -> list[tuple[Any, slice | None]]:
        """For each item of the point, what is returned as it, and which columns of that."""
        dp, dq, dstate, *dunits = self.unstep.returned
        parts: list[tuple[Any, slice | None]] = []
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

    def _apart(self, parts: list[tuple[Any, slice | None]]) -> list[tuple[Any, slice | None]]:
        """The same, where one value is returned as several that should differ: each is given a node of its own."""
        uses: dict[int, list[Array]] = {}
        for (part, columns), true in zip(parts, self.true, strict=True):
            if isinstance(part, Ref) and columns is None:
                uses.setdefault(part.node, []).append(true)
        leaves = set(self.unstep.leaves.values())
        found: list[tuple[Any, slice | None]] = []
        for (part, columns), true in zip(parts, self.true, strict=True):
            if not isinstance(part, Ref) or columns is not None:
                found.append((part, columns))
                continue
            alike = all(self._equal(true, other) for other in uses[part.node])
            value = np.asarray(self.unstep.nodes[part.node].value)
            if alike and part.node in self.carries and (part.node not in leaves):
                found.append((part, columns))
                continue
            line = self.unstep.line
            for b in self.unstep.bindings:
                truth = self.truth_of(b.name)
                if b.node == part.node and b.line and truth is not None and self._equal(truth, true):
                    line = b.line
            wide = value.shape == true.shape[1:] and part.node not in self.carries
            make: Any = partial(_widened, shape=true.shape) if wide else np.array
            self.unstep.nodes.append(Node("copy", make, (part,), {}, make(value), line, line, (part.node,)))
            found.append((Ref(len(self.unstep.nodes) - 1), None))
        return found

    def _piece(self, whole: Any, start: int, width: int) -> tuple[Any, slice | None]:
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

    def wrong_items(self, overrides: dict[int, Any]) -> set[tuple[int, int]]:
        """Which items are wrong, for which of the states after, where some values are replaced."""
        with np.errstate(all="ignore"):
            values = self.unstep.run(overrides)
        found = set()
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
                    found.add((k, j))
        return found

    @property
    def tolerance(self) -> float:
        return max(1e-7, self.point.tolerance) if self.point.exact else max(LOOSE, self.point.tolerance)

    def targets(self) -> list[_Target]:
        """Values that should be something, in the order in which they are computed."""
        last = {b.name: b.node for b in self.unstep.bindings if b.node >= 0}
        leaves_in_order = list(self.unstep.leaves.values())
        leaves = set(leaves_in_order)
        found: dict[int, _Target] = {}
        for b in self.unstep.bindings:
            if b.node < 0 or not b.line or last[b.name] != b.node or b.node in found:
                continue
            node = self.unstep.nodes[b.node]
            truth = self.truth_of(b.name)
            if b.node in leaves and (b.node not in leaves_in_order[: self.n] or truth is None):
                continue
            found[b.node] = _Target(b.node, b.name, node.line or b.line, truth, None, self._gate_of(b.name))
        for (part, columns), item, true in zip(self.pieces, self.point.items, self.true, strict=True):
            if not isinstance(part, Ref) or columns is not None or part.node in leaves:
                continue
            name = item.name.partition(",")[0].replace(" of ", "_")
            node = self.unstep.nodes[part.node]
            target = found.setdefault(part.node, _Target(part.node, name, node.line, None, None, item.gate))
            if target.by_use is None:
                target.by_use = true
                target.gate = item.gate
        return [found[k] for k in sorted(found)]

    def _gate_of(self, name: str) -> str:
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

    # -- what is wrong

    def findings(self) -> tuple[list[Wrong], set[int]]:
        """The lines that are wrong, in the order of the code, and the items that they do not explain."""
        self.pieces = self.returned()
        overrides: dict[int, Any] = {}
        wrong = self.wrong_items(overrides)
        found: list[Wrong] = []
        if wrong:
            for one, moved in self._unpacked():
                after = self.wrong_items(overrides | moved)
                if after < wrong:
                    found.append(replace(one, items=tuple(sorted({k for k, _ in wrong - after}))))
                    overrides, wrong = overrides | moved, after
        places = list(self._misplaced(overrides, wrong))
        self.misplaced = {k for one in places for k in one.items}
        wrong = {(k, j) for k, j in wrong if k not in self.misplaced}
        found += places
        for target in self.targets():
            if not wrong:
                break
            for truth, changes in self._judged(target, overrides, wrong):
                after = self.wrong_items(overrides | {target.node: truth})
                mended = tuple(sorted({k for k, _ in wrong - after}))
                gate = target.gate or self._reached(target.node, wrong)
                for change in changes:
                    at = change if change.line else replace(change, line=target.line)
                    found.append(Wrong(gate, target.name, at, mended))
                overrides[target.node], wrong = truth, after
                break
        if wrong:  # what was hidden by a wrong line
            places = list(self._misplaced(overrides, wrong))
            found += places
        found.sort(key=lambda one: one.change.line)
        return found, {k for k, _ in wrong} - {k for one in found for k in one.items}

    def _unpacked(self) -> Iterator[tuple[Wrong, dict[int, Any]]]:
        """What was handed over is unpacked in another order than it has."""
        leaves = list(self.unstep.leaves.values())
        groups = [
            (leaves[: self.n], [f"d{name}" for name in self.point.after], "dstate", "order"),
            (leaves[self.n : self.n + len(self.saved)], list(self.point.stage.saves), "saved", SWAPPED),
        ]
        for nodes, names, whole, pattern in groups:
            places: dict[int, int] = {}
            line, said = 0, {}
            for b in self.unstep.bindings:
                if b.node in nodes and b.line:
                    bare = f"d{self._gate_of(b.name)}" if whole == "dstate" else b.name
                    if bare in names and b.node not in places:
                        places[b.node] = nodes[names.index(bare)]
                        line, said[b.node] = b.line, b.name
            moved = {node: self.unstep.nodes[place].value for node, place in places.items() if node != place}
            if moved:
                first = min(moved)
                order = ", ".join(f"{name}'" if whole == "dstate" else name for name in names)
                words = f"{said[first]} is not what its name says: {whole} is ({order})"
                gate = (self.point.after if whole == "dstate" else names)[nodes.index(first)]
                yield Wrong(gate, said[first], Change(1.0, pattern, words, line), ()), moved

    def _misplaced(self, overrides: dict[int, Any], wrong: set[tuple[int, int]]) -> Iterator[Wrong]:
        """What is right but returned in the wrong place, None where there is a path, a path where None belongs."""
        values, line = self.unstep.run(overrides), self.unstep.line
        items = sorted({k for k, _ in wrong})
        said = {k: self._said(k, values) for k in range(len(self.pieces))}
        done: set[int] = set()
        for k in items:
            item, true = self.point.items[k], self.true[k]
            if k in done:
                continue
            kind = "direct path" if "direct path" in item.name else item.name.partition(" of ")[0]
            group_of = self._kind(item.name)
            same = [
                j
                for j, other in enumerate(self.point.items)
                if j != k and self._kind(other.name) == group_of and self.true[j].shape == true.shape
            ]
            places = [j for j in same if said[k] is not None and self._equal(said[k], self.true[j]) and j in items]
            twins = [j for j in items if j != k and self.point.items[j].gate == item.gate and said[j] is said[k]]
            if places and np.abs(self.true[places[0]]).max() > 0:
                other = self.point.items[places[0]]
                if kind in ("dp", "dq"):
                    words, pattern = f"the gradient of {other.gate} is returned in the place of {item.gate}", SWAPPED
                    whole = self.unstep.returned[("dp", "dq").index(kind)]
                    at = self.unstep.nodes[whole.node].line if isinstance(whole, Ref) else line
                else:
                    words = f"d{other.gate} is returned in the place of d{item.gate}: the order is wrong"
                    pattern, at = "order", line
                group = {k, *places, *twins}
                for j in items:  # dp and dq have the same order
                    if self.point.items[j].gate in {item.gate, other.gate} and self._kind(self.point.items[j].name) in (
                        ("dp", "dq") if kind in ("dp", "dq") else (self._kind(item.name),)
                    ):
                        group.add(j)
                done |= group
                yield Wrong(item.gate, item.name, Change(1.0, pattern, words, at or line), tuple(sorted(group)))
            elif self.pieces[k][0] is None and np.abs(true).max() > 0:
                done.add(k)
                terms = self._path(item.gate, true)
                words = f"None is returned as the direct path of {item.gate}, and {terms} must be sent back here"
                yield Wrong(item.gate, item.name, Change(1.0, TERM, words, line), (k,))
            elif kind == "direct path" and self.pieces[k][0] is not None and not np.abs(true).max() > 0:
                done.add(k)
                words = (
                    f"None belongs here: no equation uses {item.gate} directly, and what reaches it through the "
                    "product is added by minirnn"
                )
                yield Wrong(item.gate, item.name, Change(1.0, "direct path", words, line), (k,))

    @staticmethod
    def _kind(name: str) -> str:
        return name.partition(" of ")[0] if " of " in name else "returned"

    def _said(self, k: int, values: list[Any]) -> Any:
        part, columns = self.pieces[k]
        said = values[part.node] if isinstance(part, Ref) else part
        return said if said is None or columns is None else np.asarray(said)[..., columns]

    def _path(self, gate: str, true: Array) -> str:
        """What a direct path should be, in words, where that is short."""
        for name, d in zip(self.point.after, self.douts, strict=True):
            if d.shape == true.shape:
                if self._equal(d, true):
                    return f"d{name}'"
                for q in self._quantities([]):
                    if self._equal(d * q.value, true):
                        return f"d{name}' {q.words}"
        return f"d{gate}"

    def _judged(
        self, target: _Target, overrides: dict[int, Any], wrong: set[tuple[int, int]]
    ) -> Iterator[tuple[Array, list[Change]]]:
        """What the target should be and how it differs from that, if it does: the least far-fetched first."""
        with np.errstate(all="ignore"):
            values = self.unstep.run(overrides)
        value = np.asarray(values[target.node])
        truths = [t for t in (target.by_name, target.by_use) if t is not None]
        if not truths or any(self._equal(value, t) for t in truths):
            return
        line = self._line(values, target, overrides)
        choices = []
        for truth in truths:
            shaped = np.broadcast_to(truth, value.shape) if value.shape == truth.shape else truth
            after = self.wrong_items(overrides | {target.node: shaped})
            if after - wrong:
                continue  # it is not what its name says
            with np.errstate(all="ignore"):
                change = line.explain(target.node, shaped)
                changes = [change] if change else line.two_terms(target.node, shaped)
                changes = changes or line.explain_twice(target.node, shaped)
            leaf = self.unstep.nodes[target.node].function is None
            if not wrong - after and (leaf or not changes or not self._all_wrong(target.node, overrides, wrong)):
                continue
            unknown = Change(50.0, UNKNOWN, "it differs, by none of the usual patterns", target.line)
            choices.append((changes or [unknown], shaped))
        for changes, truth in sorted(choices, key=lambda one: sum(change.cost for change in one[0])):
            yield truth, changes

    def _equal(self, a: Array, b: Array) -> bool:
        size = max(1e-4, float(np.abs(b).max(initial=0.0)))
        return a.shape == b.shape and bool(np.abs(a - b).max(initial=0.0) <= self.tolerance * size)

    def _all_wrong(self, node: int, overrides: dict[int, Any], wrong: set[tuple[int, int]]) -> bool:
        """Whether all that a value reaches is wrong: then more than this one line may be."""
        reached = self._moved(node)
        items = {k for k, (part, _) in enumerate(self.pieces) if isinstance(part, Ref) and part.node in reached}
        return bool(items) and items <= {k for k, _ in wrong}

    def _moved(self, *nodes: int) -> set[int]:
        reached = set(nodes)
        for k, one in enumerate(self.unstep.nodes):
            if not reached.isdisjoint(one.refs):
                reached.add(k)
        return reached

    def _reached(self, node: int, wrong: set[tuple[int, int]]) -> str:
        """The gate whose gradient is wrong and hangs from a value; a state where that is all that hangs from it."""
        reached = self._moved(node)
        gates = []
        for k, (part, _) in enumerate(self.pieces):
            if isinstance(part, Ref) and part.node in reached and any(k == i for i, _ in wrong):
                gates.append(self.point.items[k].gate)
        unique = list(dict.fromkeys(gates))
        if len(unique) > 1:
            for k, state in enumerate(self.point.after):
                if set(unique) == {i.gate for i in self.point.items if np.abs(i.true[k]).max() > 0}:
                    return state
        return unique[0] if unique else ""

    def _line(self, values: list[Any], target: _Target, overrides: dict[int, Any]) -> Line:
        """What formulas before the target may be made of."""
        tape, carries = self.unstep, self._moved(*list(self.unstep.leaves.values())[: self.n])
        names = {node: tape.nodes[node].label for node in tape.leaves.values()}
        sources: list[tuple[str, Array]] = []
        local: list[tuple[str, Any]] = []
        final = {b.name: b.node for b in tape.bindings if b.node >= 0}
        for b in tape.bindings:
            if b.node < 0 or b.node >= target.node:
                continue
            judged = b.node in overrides or b.node in tape.leaves.values() or self.truth_of(b.name) is not None
            if b.node in tape.leaves.values() or (judged and final[b.name] == b.node):
                names[b.node] = b.name
            value = np.asarray(values[b.node])
            if b.node not in carries and value.dtype.kind == "f":
                names[b.node] = b.name
                local.append((b.name, value))
            elif b.node in carries and value.shape == self.douts[0].shape and b.node in names:
                sources.append((b.name, value))
        sources = [*dict(sources).items()] or [("what comes back", self.douts[0])]
        itself = [truth for truth in (target.by_name, target.by_use) if truth is not None]
        sources += self._gradients(sources, itself)
        if any(node.label in ("sum", "mean", "add.reduce", "var") for node in self.step.nodes):
            sources += self._means(sources, values)
        gates, pairs = self.point.stage.gates, self.pairs()
        return Line(tape, values, names, self._quantities(local), sources, gates, pairs, self.tolerance, carries)

    def _gradients(self, sources: list[tuple[str, Array]], itself: list[Array]) -> list[tuple[str, Array]]:
        """True gradients that are not among the local variables yet."""
        have = [*(a for _, a in sources), *itself]
        found: list[tuple[str, Array]] = []
        for name, true in self.truths.items():
            if true.shape == have[0].shape and not any(self._equal(true, a) for a in have):
                found.append((f"d{name}", true))
                have.append(true)
        return found

    def _means(self, sources: list[tuple[str, Array]], values: list[Any]) -> list[tuple[str, Array]]:
        """Means over the units of gradients, and of gradients times what was saved."""
        found = []
        leaves = list(self.unstep.leaves.values())[self.n : self.n + len(self.saved)]
        kept = [(self.unstep.nodes[node].label, np.asarray(values[node])) for node in leaves]
        for name, e in sources[:8]:
            found.append((f"mean({name})", np.broadcast_to(e.mean(-1, keepdims=True), e.shape)))
            found += [
                (f"mean({name} {other})", np.broadcast_to((e * a).mean(-1, keepdims=True), e.shape))
                for other, a in kept
                if a.shape == e.shape
            ]
        return found

    def pairs(self) -> set[tuple[str, str]]:
        """Names of one quantity before the step and after it."""
        found = set(self.point.pairs)
        for state in self.point.before:
            found |= {(state, f"{state}{mark}") for mark in ("'", "1", "_new", "_next")}
            found.add((f"tanh({state})", "m"))
        for old, new in self.point.pairs:
            found |= {(old, new)}
        return found

    def _quantities(self, local: list[tuple[str, Any]]) -> list[Quantity]:
        """Everything a factor may be, simple things first, each once."""
        shape = self.douts[0].shape

        def whole(a: Any) -> Array | None:
            a = np.asarray(a, float)
            if a.ndim == 2 and a.shape[0] == self.rows:
                a = np.tile(a, (self.n, 1))
            return np.broadcast_to(a, shape) if a.shape in (shape, shape[1:], (shape[0], 1)) else None

        named: list[tuple[str, Any, float]] = [(name, a, 0.0) for name, a in local]
        names = dict(zip(self.point.stage.saves, self.saved, strict=True))
        named += [(name, a, 0.0) for name, a in names.items()]
        named += [(name, w, 0.0) for name, w in zip(units_of(self.point.stage), self.point.units, strict=True)]
        for state, a in zip(self.point.before, self.point.flow, strict=True):
            named += [(state, a[: self.rows], 0.1), (f"tanh({state})", np.tanh(a[: self.rows]), 0.9)]
        for state, a in zip(self.point.after, self.point.out, strict=True):
            named += [(f"{state}'", a[: self.rows], 0.8), (f"tanh({state}')", np.tanh(a[: self.rows]), 0.9)]
        for name, w in zip(units_of(self.point.stage), self.point.units, strict=True):
            named.append((f"σ({name})", 0.5 * np.tanh(0.5 * w) + 0.5, 0.2))
        named += [(b.name, b.value, 0.2) for b in self.step.bindings if b.node >= 0]
        found: list[Quantity] = []
        seen: set[tuple[float, ...]] = set()

        def learn(words: str, value: Array, of: str, form: str, cost: float) -> None:
            key = tuple(float(f"{a:.8e}") for a in value.ravel()[:4]) if np.isfinite(value).all() else ()
            if key and key not in seen:
                found.append(Quantity(words, value, of, form, cost))
                seen.add(key)

        learn("1", np.ones(shape), "1", "{}", 0.6)
        bases = []
        for name, a, cost in named:
            value = whole(a)
            if value is not None and np.asarray(a).dtype.kind == "f":
                before = len(found)
                learn(name, value, name, "{}", cost)
                bases += found[before:]
        for form, (make, cost) in FORMS.items():
            for base in bases:
                learn(form.format(base.words), make(base.value), base.of, form, base.cost + cost)
        for base in bases:
            with np.errstate(all="ignore"):
                learn(f"1 / {base.words}", 1 / base.value, base.of, "1 / {}", base.cost + 1.8)
        simple = [base for base in bases if base.cost < 0.5]
        for a in simple:
            for b in simple:
                if a is not b:
                    learn(f"({a.words} - {b.words})", a.value - b.value, a.of, "-", 1.0 + a.cost + b.cost)
        for words, value in self._partials(whole):
            learn(words, value, words, "{}", 1.5)
        return found

    def _partials(self, whole: Any) -> Iterator[tuple[str, Array]]:
        """The derivative of each operation of ``step`` by each of its operands, where units do not mix."""
        tape = self.step
        names = {b.node: b.name for b in tape.bindings if b.node >= 0}
        for node, name in names.items():
            for other, by in names.items():
                if other >= node or np.shape(tape.nodes[node].value) != np.shape(tape.nodes[other].value):
                    continue
                stop = {k: tape.nodes[k].value for k in names if other < k < node}
                base = np.asarray(tape.nodes[other].value)
                if base.dtype.kind != "f" or not self.point.exact:
                    continue
                with np.errstate(all="ignore"):
                    moved = np.asarray(tape.run(stop | {other: base + 1j * STEP})[node])
                if np.iscomplexobj(moved) and np.abs(moved.imag).max() > 0:
                    value = whole(moved.imag / STEP)
                    if value is not None:
                        yield f"the derivative of {name} by {by}", value


def _widened(a: Any, shape: tuple[int, ...]) -> Array:
    return np.broadcast_to(a, shape).copy()

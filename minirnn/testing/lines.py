"""The lines of an ``unstep``, one by one: what each computes, what it should compute, and how the two differ.

``step`` and ``unstep`` are recorded at the same numbers.  Every local variable of ``step`` then has a true gradient,
and the variable of ``unstep`` that is called after it (``dm`` after ``m``, ``da_f`` after the argument of gate f)
should be that; what ``unstep`` returns should be what it is returned as.  A line is looked at with everything before it
put right, so that a mistake is found where it was made, and another one further down is found as well.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from minirnn.core.backend import Array
from minirnn.testing.changes import SWAPPED, TERM, UNKNOWN, Change
from minirnn.testing.quantities import expressions_of, quantities
from minirnn.testing.recording import Overrides, Ref, Value
from minirnn.testing.records import Records, Target


@dataclass(frozen=True)
class Wrong:
    """A line that is wrong: what it assigns, of which gate, and by which change it would be right."""

    gate: str
    name: str
    change: Change
    items: tuple[int, ...]  # of the point, that are put right by it


class Lines(Records):
    """The lines of a recorded ``unstep`` that are wrong."""

    def findings(self) -> tuple[list[Wrong], set[int]]:
        """The lines that are wrong, in the order of the code, and the items that they do not explain."""
        self.pieces = self.returned()
        overrides: Overrides = {}
        wrong = self.wrong_items(overrides)
        lines: list[Wrong] = []
        if wrong:
            for one, moved in self._unpacked():
                after = self.wrong_items(overrides | moved)
                if after < wrong:
                    lines.append(replace(one, items=tuple(sorted({k for k, _ in wrong - after}))))
                    overrides, wrong = overrides | moved, after
        places = list(self._misplaced(overrides, wrong))
        self.misplaced = {k for one in places for k in one.items}
        wrong = {(k, j) for k, j in wrong if k not in self.misplaced}
        lines += places
        for target in self.targets():
            if not wrong:
                break
            for truth, changes in self._judged(target, overrides, wrong):
                after = self.wrong_items(overrides | {target.node: truth})
                mended = tuple(sorted({k for k, _ in wrong - after}))
                gate = target.gate or self._reached(target.node, wrong)
                for change in changes:
                    at = change if change.line else replace(change, line=target.line)
                    lines.append(Wrong(gate, target.name, at, mended))
                overrides[target.node], wrong = truth, after
                break
        if wrong:  # what was hidden by a wrong line
            places = list(self._misplaced(overrides, wrong))
            lines += places
        lines.sort(key=lambda one: one.change.line)
        return lines, {k for k, _ in wrong} - {k for one in lines for k in one.items}

    def _unpacked(self) -> Iterator[tuple[Wrong, Overrides]]:
        """Arguments that are unpacked in the wrong order."""
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
                    bare = f"d{self.gate_of(b.name)}" if whole == "dstate" else b.name
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

    def _misplaced(self, overrides: Overrides, wrong: set[tuple[int, int]]) -> Iterator[Wrong]:
        """Gradients returned in the wrong place, None in place of a gradient, or a gradient in place of None."""
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
            places = [j for j in same if said[k] is not None and self.equal(said[k], self.true[j]) and j in items]
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
                words = f"None is returned as the direct gradient of {item.gate}: return {terms}"
                yield Wrong(item.gate, item.name, Change(1.0, TERM, words, line), (k,))
            elif kind == "direct path" and self.pieces[k][0] is not None and not np.abs(true).max() > 0:
                done.add(k)
                words = (
                    f"return None here: no equation uses {item.gate} directly, and minirnn adds the gradient that "
                    "passes through the product"
                )
                yield Wrong(item.gate, item.name, Change(1.0, "direct path", words, line), (k,))

    @staticmethod
    def _kind(name: str) -> str:
        return name.partition(" of ")[0] if " of " in name else "returned"

    def _said(self, k: int, values: list[Value]) -> Value:
        part, columns = self.pieces[k]
        said = values[part.node] if isinstance(part, Ref) else part
        return said if said is None or columns is None else np.asarray(said)[..., columns]

    def _path(self, gate: str, true: Array) -> str:
        """The right direct path in words, where that is short."""
        for name, d in zip(self.point.after, self.douts, strict=True):
            if d.shape == true.shape:
                if self.equal(d, true):
                    return f"d{name}'"
                for q in quantities(self, []):
                    if self.equal(d * q.value, true):
                        return f"d{name}' {q.words}"
        return f"d{gate}"

    def _judged(
        self, target: Target, overrides: Overrides, wrong: set[tuple[int, int]]
    ) -> Iterator[tuple[Array, list[Change]]]:
        """The right value of the target and how it differs from that, if it does: the least far-fetched first."""
        with np.errstate(all="ignore"):
            values = self.unstep.run(overrides)
        value = np.asarray(values[target.node])
        truths = [t for t in (target.by_name, target.by_use) if t is not None]
        if not truths or any(self.equal(value, t) for t in truths):
            return
        line = expressions_of(self, values, target, overrides)
        possible = []
        for truth in truths:
            shaped = np.broadcast_to(truth, value.shape) if value.shape == truth.shape else truth
            after = self.wrong_items(overrides | {target.node: shaped})
            if not after - wrong:  # it is what its name says
                possible.append((shaped, after))
        with np.errstate(all="ignore"):
            single = [line.explain(target.node, shaped) for shaped, _ in possible]
            explained = [[change] if change else [] for change in single]
            if not any(explained):  # this takes longer
                explained = [
                    line.two_terms(target.node, shaped) or line.explain_twice(target.node, shaped)
                    for shaped, _ in possible
                ]
        choices = []
        for (shaped, after), changes in zip(possible, explained, strict=True):
            leaf = self.unstep.nodes[target.node].function is None
            if not wrong - after and (leaf or not changes or not self._all_wrong(target.node, overrides, wrong)):
                continue
            unknown = Change(50.0, UNKNOWN, "it differs, by none of the usual patterns", target.line)
            choices.append((changes or [unknown], shaped))
        for changes, truth in sorted(choices, key=lambda one: sum(change.cost for change in one[0])):
            yield truth, changes

    def _all_wrong(self, node: int, overrides: Overrides, wrong: set[tuple[int, int]]) -> bool:
        """Whether all that a value reaches is wrong: then more than this one line may be."""
        reached = self.moved(node)
        items = {k for k, (part, _) in enumerate(self.pieces) if isinstance(part, Ref) and part.node in reached}
        return bool(items) and items <= {k for k, _ in wrong}

    def _reached(self, node: int, wrong: set[tuple[int, int]]) -> str:
        """The gate whose gradient is wrong and hangs from a value; a state where that is all that hangs from it."""
        reached = self.moved(node)
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

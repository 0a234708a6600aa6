"""Where a cell's transpose is wrong, and by what pattern.

``check_gradients`` says that a gradient is wrong; this says which line to look at.  It needs no layer and no time: a
cell's ``unstep`` must be the transposed Jacobian of its ``step``, row by row, and that Jacobian is known exactly, by
complex steps through ``step`` alone.  So each gate's dp and dq, each state's direct path and each per-unit weight is
held against its derivative, and where they differ, the difference against what is usually to blame::

    sign                      the derivative, negated
    two gates swapped         the derivative of another gate, or with the other gate's value in it
    previous step             with the state before the step where the state after it belongs, or the other way round
    factor                    the derivative times a number, or with a factor left out, added or mistaken
    missing term              the derivative without one of the terms of its sum, or with one too many

What reaches a gate from one state after the step is looked at apart from what comes from another: ``dh'`` may be
handled rightly and ``dc'`` not.
"""

import linecache
import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from itertools import permutations
from types import SimpleNamespace

import numpy as np

from minirnn.core.protocol import matrix_of, name_of, stages_of, units_of, widths_of
from minirnn.testing.changes import UNKNOWN
from minirnn.testing.lines import Lines, Wrong
from minirnn.testing.patterns import pattern_of
from minirnn.testing.point import ROWS, UNITS, Item, Point, equal
from minirnn.testing.precision import AnyCell, precision_of
from minirnn.testing.unfilled import holes_in, without_unstep

UNFILLED = "not filled in"  # the pattern of a line that is ``...``


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: at which ``gate`` (or state, or per-unit weight), in which gradients, by what pattern.

    ``words`` is the sentence for a reader; ``error`` the largest difference, ``gradient`` and ``derivative`` there.
    ``line`` is the number of the line of ``unstep`` that is wrong, 0 where that is not known, and ``source`` its text.
    """

    gate: str
    where: tuple[str, ...]
    pattern: str
    words: str
    error: float
    gradient: float
    derivative: float
    line: int = 0
    source: str = ""

    @property
    def place(self) -> str:
        """Where to look: ``at z, line 12``; of a line that is not filled in, its number."""
        if self.pattern == UNFILLED:
            return f"line {self.line}"
        return f"at {self.gate}, line {self.line}" if self.line else f"at {self.gate}"

    def __str__(self) -> str:
        where = ", ".join(self.where[:4]) + (f" and {len(self.where) - 4} more" if len(self.where) > 4 else "")
        example = f"; for example {self.gradient:+.4g} where the derivative is {self.derivative:+.4g}"
        return f"{where}: {self.words} ({self.pattern}{example if self.error else ''})"


@dataclass(frozen=True)
class Part:
    """What a wrong gradient gets from one state after the step, the ``state``-th; its pattern is not known yet."""

    item: Item
    state: int
    finding: Finding


def diagnose(cell: AnyCell, *, seed: int = 0) -> list[Finding]:
    """The faults of ``cell``'s transpose; an empty list where there are none.

    TypeError where ``cell`` has no ``unstep``.
    """
    findings: list[Finding] = []
    for point in points_of(cell, seed):
        each = _parts(point)
        lines = _lines(point)
        findings += _changed(point, lines)
        if each and lines is not None and lines.usable:
            wrong, rest = lines.findings()
            clear = [one for one in wrong if one.change.pattern != UNKNOWN]
            named = [_finding(one, each, point, lines.unstep.file) for one in clear]
            named = _merged(named, lambda one: (one.gate, one.pattern, one.words, one.line))
            findings += _of_one_line(named, point)
            unclear = {k: one for one in wrong if one.change.pattern == UNKNOWN for k in one.items}
            left = [point.items[k] for k in rest | set(unclear)]
            each = [part for part in each if any(part.item is one for one in left)]
            places = {part.item.gate: one for part in each for k, one in unclear.items() if part.item is point.items[k]}
            whole = _grouped(_upstream([_explained(part, point) for part in each], point), point)
            findings += [_placed(finding, places.get(finding.gate), lines.unstep.file) for finding in whole]
            each = []
        findings += _grouped(_upstream([_explained(part, point) for part in each], point), point)
    return findings


def _lines(point: Point) -> Lines | None:
    """The lines of a stage's ``unstep``; None where it cannot be recorded."""
    try:
        with np.errstate(all="ignore"):
            return Lines(point)
    except Exception:  # noqa: BLE001 - what a reader's code does with an array of another class is not known
        return None


def _finding(wrong: Wrong, each: list[Part], point: Point, file: str) -> Finding:
    """A line that is wrong, with the largest difference that comes of it."""
    mended = [point.items[k] for k in wrong.items]
    of = [part.finding for part in each if any(part.item is one for one in mended)] or [part.finding for part in each]
    worst = max(of, key=lambda f: np.nan_to_num(f.error, nan=np.inf))
    where = tuple(dict.fromkeys(name for f in of for name in f.where))
    line, change = wrong.change.line, wrong.change
    source = linecache.getline(file, line).strip() if line else ""
    gate = wrong.gate or worst.gate
    return replace(worst, gate=gate, where=where, pattern=change.pattern, words=change.words, line=line, source=source)


def _of_one_line(findings: list[Finding], point: Point) -> list[Finding]:
    """The same, where what one line does wrong to all that hangs from a state is said once."""
    result: list[Finding] = []
    for one in findings:
        alike = [f for f in findings if (f.line, f.pattern, f.words) == (one.line, one.pattern, one.words)]
        cause = _cause("", {f.gate for f in alike}, point) if len(alike) > 1 else ""
        (whole,) = _merged(alike, lambda _: None) if cause else (one,)
        if not cause or alike[0] is one:
            result.append(replace(whole, gate=cause or one.gate))
    return result


def _placed(finding: Finding, line: Wrong | None, file: str) -> Finding:
    """A finding about a gate, with the line that is wrong where only that is known."""
    if line is None or not line.change.line:
        return finding
    return replace(finding, line=line.change.line, source=linecache.getline(file, line.change.line).strip())


def _changed(point: Point, lines: Lines | None) -> list[Finding]:
    """Arrays that ``step`` or ``unstep`` change in place, though they are not theirs."""
    findings = []
    for function, tape in () if lines is None else (("step", lines.step), ("unstep", lines.unstep)):
        for number, line in tape.changed:
            label = tape.nodes[tape.leaves[number]].label
            names = [b.name for b in tape.bindings if b.node == tape.leaves[number]]
            name = names[0] if names else label
            source = linecache.getline(tape.file, line).strip()
            words = (
                f"{function} changes {name} in place, an array that is not its own and is used again: "
                f"write {name} = {name} + ..., not {name} += ..."
            )
            gate = re.sub(r"^d|'$", "", label)
            findings.append(Finding(gate, (name,), "changed in place", words, 0.0, 0.0, 0.0, line, source))
    return findings


def unfilled(cell: AnyCell, *, seed: int = 0) -> tuple[list[Finding], list[str]]:
    """Findings of an ``unstep`` with lines that are ``...``: those lines, and what is wrong in others.

    Also the names of the variables that are right already.  Nothing of either where nothing is ``...``.
    """
    stages = stages_of(cell)
    holes = [holes_in(getattr(stage, "unstep", None)) for stage in stages]
    if not any(missing for missing, _ in holes):
        return [], []
    findings: list[Finding] = []
    right: list[str] = []
    bare = SimpleNamespace(state=cell.state, stages=tuple(without_unstep(stage) for stage in stages))
    if hasattr(cell, "output_size"):
        bare.output_size = cell.output_size
    for point, (missing, made) in zip(points_of(bare, seed), holes, strict=True):
        for hole in missing:
            words = f"unstep: {hole.name} is not filled in yet"
            gate = re.sub(r"^d(a_)?", "", hole.name)
            findings.append(
                Finding(gate, (hole.name,), UNFILLED, words, 0.0, 0.0, 0.0, hole.line, f"{hole.name} = ...")
            )
        with np.errstate(all="ignore"):
            lines = Lines(point, made)
            wrong, _ = lines.findings()
        each = _parts(point)
        blanks = {hole.name for hole in missing}
        for one in wrong:
            if each and one.name not in blanks:
                finding = _finding(one, each, point, lines.unstep.file)
                findings.append(replace(finding, error=0.0))
        wrongs = {one.name for one in wrong}
        right += [name for name in lines.filled() if name not in wrongs | blanks]
    return findings, right


def points_of(cell: AnyCell, seed: int = 0) -> list[Point]:
    """Each stage of ``cell`` with numbers where its Jacobian is taken; TypeError where it has no ``unstep``."""
    rng, widths = np.random.default_rng(seed), widths_of(cell, UNITS)
    flow = tuple(rng.normal(0, 0.8, (ROWS, n)) for n in widths)
    points, precision = [], precision_of(cell)
    for stage in stages_of(cell):
        if not hasattr(stage, "unstep"):
            raise TypeError(f"{name_of(stage)} has no unstep: there is no gradient to look at")
        p = rng.normal(0, 0.8, (ROWS, len(stage.gates) * UNITS))
        q = rng.normal(0, 0.8, (ROWS, widths[0] if matrix_of(stage) else p.shape[1]))
        units = [rng.normal(0, 0.8, UNITS) for _ in units_of(stage)]
        points.append(Point(stage, cell.state, p, q, flow, units, rng=rng, precision=precision))
        flow, _ = stage.step(p, q, flow, *units)
    return points


def _parts(point: Point) -> list[Part]:
    """The gradients that are wrong, for each state after the step that they are wrong about."""
    parts = []
    for item in point.items:
        for k, (g, d) in enumerate(zip(item.said, item.true, strict=True)):
            if equal(g, d, point.tolerance):
                continue
            at = np.unravel_index(np.argmax(np.where(np.isfinite(g), np.abs(g - d), np.inf)), g.shape)
            error, gradient, derivative = float(np.abs(g - d)[at]), float(g[at]), float(d[at])
            parts.append(Part(item, k, Finding(item.gate, (item.name,), UNKNOWN, "", error, gradient, derivative)))
    return parts


def _explained(part: Part, point: Point) -> Finding:
    """The same with its pattern, which takes a second where there are many quantities."""
    item, k = part.item, part.state
    pattern, words = pattern_of(item.said[k], item.true[k], item, k, point)
    through = f", in what d{point.after[k]}' sends" if len(point.out) > 1 else ""
    return replace(part.finding, pattern=pattern, words=words + through)


def _upstream(findings: list[Finding], point: Point) -> list[Finding]:
    """The same, but one about a state in place of those that have their fault from it.

    In an LSTM h' reaches i, f, g and c through c' alone.  What an item says and should say of dh', divided by how it
    hangs from c', is then a gradient of c': of one value for all of them, where the fault is in c' itself.
    """
    result = findings
    for (k, sent), (j, state) in permutations(enumerate(point.after), 2):
        said, true = point.through(k, j)
        alike = len(said) > 1 and all(equal(a, said[0], point.tolerance) for a in said)
        if not alike or equal(said[0], true[0], point.tolerance):
            continue
        item = Item(state, f"d{state}'", said[:1], true[:1])
        pattern, words = pattern_of(said[0], true[0], item, k, point)
        through = f", in what d{sent}' sends"
        hanging = {item.gate for item in point.hanging(k, j)}
        theirs = [f for f in result if f.gate in hanging and f.words.endswith(through)]
        if pattern != "unknown" and theirs:
            (whole,) = _merged(theirs, lambda _: None)
            whole = replace(whole, gate=state, pattern=pattern, words=f"in d{state}': {words}{through}")
            result = [whole, *(f for f in result if f not in theirs)]
    return result


def _grouped(findings: list[Finding], point: Point) -> list[Finding]:
    """Findings that have one cause as one: about dp and dq, about all states after, about all that follows from it."""
    merged = _merged(findings, lambda one: (one.gate, one.pattern, one.words))
    if len(point.after) > 1:
        merged = _through_all(merged, point)
    together: dict[tuple[str, str], list[Finding]] = {}
    for one in merged:
        together.setdefault((one.pattern, one.words), []).append(one)
    result = []
    for (pattern, words), same in together.items():
        cause = "" if pattern == "two gates swapped" or len(same) == 1 else _cause(words, {f.gate for f in same}, point)
        if cause:
            (whole,) = _merged(same, lambda _: None)
            result.append(replace(whole, gate=cause))
        else:
            result += same
    return result


def _merged(findings: list[Finding], key: Callable[[Finding], Hashable]) -> list[Finding]:
    """Those of one key as one, in the order of their first."""
    merged: dict[Hashable, Finding] = {}
    for one in findings:
        old = merged.get(key(one))
        merged[key(one)] = one if old is None else replace(old, where=tuple(dict.fromkeys((*old.where, *one.where))))
    return list(merged.values())


def _through_all(findings: list[Finding], point: Point) -> list[Finding]:
    """A fault of all that reaches a gradient, said once and not for each state."""

    def plain(one: Finding) -> str:
        return one.words.partition(", in what d")[0]

    result = []
    for one in findings:
        alike = [f for f in findings if (f.gate, f.pattern, plain(f)) == (one.gate, one.pattern, plain(one))]
        reach = sum(
            any(np.abs(i.true[k]).max() > 0 for i in point.items if i.gate == one.gate) for k in range(len(point.after))
        )
        result.append(replace(one, words=plain(one)) if len(alike) == reach > 1 else one)
    return _merged(result, lambda one: (one.gate, one.pattern, one.words))


def _cause(words: str, gates: set[str], point: Point) -> str:
    """Where to look for what is wrong alike in several gates: a gate that is named, or the state they all hang from."""
    named: list[str] = [gate for gate in point.stage.gates if gate in gates and re.search(rf"\b{gate}\b", words)]
    if len(named) == 1:
        return named[0]
    for k, state in enumerate(point.after):
        if gates == {item.gate for item in point.items if np.abs(item.true[k]).max() > 0}:
            return state
    return ""

"""Which line of a function is wrong, where it is known what it must say: small edits, until one makes it say that.

What makes wrong results right, and spoils none that is right, here and at another point, is what an author would do.
Edits of those lines are tried first that could be to blame for all that is wrong, or for most of it.
"""

import ast
import re
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from functools import partial
from itertools import chain
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from minirnn.testing.functions.blame import NEAR, Answer, Make, Suspect, suspects_of
from minirnn.testing.functions.edits import FREE, NUMBER, far, likely
from minirnn.testing.functions.faults import SWAPPED, UNKNOWN
from minirnn.testing.functions.lacking import lacking
from minirnn.testing.functions.leaves import numbers_in
from minirnn.testing.functions.memory import little_more
from minirnn.testing.functions.missing import in_loops, instead, missing
from minirnn.testing.functions.places import Edit, Place, nodes_in, statements_of
from minirnn.testing.functions.source import Code, code_of, compiled, plain, rebuilt
from minirnn.testing.functions.swaps import between_lines
from minirnn.testing.functions.vocabulary import Vocabulary

MOST = 3  # mistakes in one function
HALF = 0.5
CHANCE = 0.1  # of the entries
NEARLY = 0.8  # of what the likeliest line could make right: rounding hides some
FIRST = 0.75  # of the time for the point that has everything, where there are others at which less is wrong
RETURNED = 0.4  # by which an edit of what is returned is less likely than of what was computed before
ALIKE = 0.6  # by which an edit is likelier that makes a line what other lines are
NAME = re.compile(r"[A-Za-z_][A-Za-z_.]*|'[^']*'")
UNSEEN = -1.0  # how many results an edit could make right, where that is not known
CHEAP = 2  # tiers of edits after which one is taken that mends a part
LATEST = ContextVar("LATEST", default=np.inf)  # when the searches of several functions must end, but for
LEAST = 0.5  # seconds that each of them has
SECONDS = 3.3  # of processor time, for one function

# what a function, or an edited one in its place, says at a point: the first has everything, the second is another one
# at which an edit must hold, and the others have an argument that is 0
Point: TypeAlias = Callable[[int, Make | None], Sequence[Answer]]
Tries: TypeAlias = list[tuple[Edit, Suspect | None]]
Wrong: TypeAlias = frozenset[tuple[str, int]]


class Mend(NamedTuple):
    """The line of the file that is wrong, its text, the pattern of the mistake, and a sentence."""

    line: int
    source: str
    pattern: str
    words: str
    make: Make  # makes the function without the mistake
    names: frozenset[str]  # of which entries are right then, and were not
    whole: bool  # whether all is right then


class Choice(NamedTuple):
    """An edit, what it makes right, and how many entries are wrong then."""

    edit: Edit
    number: float
    names: frozenset[str]
    left: int
    cost: float


def mend(
    function: Any, point: Point, points: int = 2, extra: Sequence[str] = (), seconds: float = SECONDS
) -> list[Mend]:
    """The likeliest edits of ``function`` with which it is right at all points: several for several mistakes.

    Each but the last makes some entries right and spoils none.  Where no edit does, a line is named of which another
    value would.  ``extra`` are operands that an edit may use.
    """
    code = code_of(function)
    if code is None:
        return []
    now = time.process_time()
    deadline = min(now + seconds, max(LATEST.get(), now + LEAST))
    search = _Search(code, plain(function), point, points, extra, deadline)
    found: list[Mend] = []
    while len(found) < MOST:
        with warnings.catch_warnings(), np.errstate(all="ignore"), little_more():
            warnings.simplefilter("ignore")
            best = search.best()
        if best is None:
            if not found:
                found += search.blamed()
            break
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            edit = search.apply(best)
            left = search.wrong(0) or search.wrong(1)
        at = min(edit.line, len(code.lines))  # a line that is missing may be the one after the last
        line = code.first + at - 1
        source = code.lines[at - 1].strip() if at else ""
        words = edit.words.replace(NUMBER, f"{best.number:.6g}")
        found.append(Mend(line, source, edit.pattern, words, search.make(), best.names, not left))
        if not left:
            break
    return found


class _Search:
    """The search for edits of one function."""

    def __init__(
        self, code: Code, original: Any, point: Point, points: int, extra: Sequence[str], deadline: float
    ) -> None:
        self.code, self.original, self.point, self.points = code, original, point, points
        self.extra, self.deadline, self.number = extra, deadline, 0.0
        self.suspects: list[Suspect] = []
        self.count = 0  # of entries that are wrong

    def make(self, number: float = 0.0) -> Make:
        """What makes the function as its tree is now."""
        program, found = compiled(self.code), {FREE: number or self.number}
        return lambda original: rebuilt(program, original, found)

    def wrong(self, at: int, make: Make | None = None) -> Wrong | None:
        """The entries that are wrong at a point, by the tree as it is now; None where it raises."""
        try:
            compared = self.point(at, make or self.make())
            return frozenset((one.name, k) for one in compared for k in _unequal(one)) if compared else None
        except Exception:  # noqa: BLE001 - an edit may do anything but mend
            return None

    def apply(self, best: Choice) -> Edit:
        """Put an edit in, or a line that is missing where that does the same; which of the two it was."""
        self.number = best.number or self.number
        other = instead(best.edit, self.code.tree)
        undo = best.edit.apply()
        if other is None:
            return best.edit
        left = self.wrong(0)
        undo()
        undo = other.apply()
        if self.wrong(0) == left:
            return other
        undo()
        best.edit.apply()
        return best.edit

    def best(self) -> Choice | None:
        """The edit that mends all, or that mends most of what is wrong."""
        before: dict[int, Wrong | None] = {at: self.wrong(at) for at in (0, 1)}
        others = range(2, self.points)
        suspects: list[Suspect] = []
        for at in (0, *others):
            now = time.process_time()
            share = (HALF if at else FIRST) if at < self.points - 1 and others else 1.0
            end = now + share * max(0.0, self.deadline - now)
            if at:
                before[at] = self.wrong(at) if now < self.deadline else None
                if not before[at]:
                    continue
            self.count = len(before[at] or ())
            self.suspects = suspects_of(
                self.code, self.original, partial(self.point, at), HALF * (end - now) if at else end - now
            )
            suspects = suspects or self.suspects
            best = self._best_at(at, before, end)
            if best is not None:
                return best
        self.suspects = suspects
        return None

    def _best_at(self, at: int, before: dict[int, Wrong | None], end: float) -> Choice | None:
        """The best edit of the likeliest lines that have one, by what is wrong at a point."""
        best: Choice | None = None
        for k, tries in enumerate(self._tiers()):
            for edit, suspect in tries:
                if time.process_time() > end:
                    return best
                likely = edit.cost - ALIKE * (suspect is not None)  # of others none is tried that costs more
                if best is not None and not best.left and likely >= best.cost:
                    continue
                choice = self._tried(edit, suspect, at, before)
                if choice is not None and (best is None or choice[-2:] < best[-2:]):
                    best = choice
            if best is not None and (k >= CHEAP or not best.left):
                return best
        return best

    def blamed(self) -> list[Mend]:
        """The line that could make most right, where no edit does."""
        likely = [one for one in self.suspects if one.mends]
        likely = [one for one in likely if not isinstance(one.value.node, ast.Name)] or likely  # which computes nothing
        if not likely:
            return []
        one = min(likely, key=lambda one: (-(one.mends or 0), one.entries, -one.value.node.lineno))
        line = one.value.node.lineno
        words = "another value of this line, or a line missing after it, would make it right, by no usual pattern"
        source = self.code.lines[line - 1].strip()
        return [Mend(self.code.first + line - 1, source, UNKNOWN, words, self.make(), frozenset(), whole=False)]

    # ------------------------------------------------------------------ one edit

    def _tried(self, edit: Edit, suspect: Suspect | None, at: int, before: dict[int, Wrong | None]) -> Choice | None:
        """What an edit makes right; None where it makes nothing right, or spoils something."""
        undo = edit.apply()
        try:
            number = 0.0
            if edit.free:
                number = self._number(suspect) or 0.0
                if not number:
                    return None
            elif suspect is not None and not suspect.is_met():
                return None
            make = self._made(number)
            mended = None if make is None else self._mended(make, at, before)
            if mended is None:
                return None
            likely = ALIKE * self._is_likely(edit) - RETURNED * self._is_returned(edit)
            return Choice(edit, number, mended[1], mended[0], edit.cost - likely)
        finally:
            undo()

    def _made(self, number: float) -> Make | None:
        try:
            return self.make(number)
        except (SyntaxError, ValueError, TypeError, RecursionError):  # an edit may be no program
            return None

    def _is_returned(self, edit: Edit) -> bool:
        """Whether an edit is of a return statement, and not of the order of what is returned."""
        lines = {place.node.lineno for place in statements_of(self.code.tree) if isinstance(place.node, ast.Return)}
        return edit.line in lines and edit.pattern != SWAPPED

    def _is_likely(self, edit: Edit) -> bool:
        """Whether an edited statement, but for names, is what another one is; or was a name alone before."""
        if any(
            isinstance(node, ast.Assign) and isinstance(new, ast.BinOp) and isinstance(new.left, ast.Name)
            for node, _, new in edit.nodes
        ):
            return True
        nodes = {id(node) for node, _, _ in edit.nodes}
        forms: list[str] = []
        edited: list[str] = []
        for place in statements_of(self.code.tree):
            own = any(id(node) in nodes for node in nodes_in(place))
            (edited if own else forms).append(form_of(place.node))
        return any(form and form in forms for form in edited)

    def _number(self, suspect: Suspect | None) -> float | None:
        """The number with which an edit gives what is needed, on which that depends as a straight line does."""
        if suspect is None or suspect.needed is None or suspect.space is None or suspect.certain is None:
            return None
        with_0, with_1 = (suspect.computes(suspect.space | {FREE: number}) for number in (0.0, 1.0))
        if with_0 is None or with_1 is None:
            return None
        slope, rest = (with_1 - with_0)[suspect.certain], (suspect.needed - with_0)[suspect.certain]
        size = float(slope @ slope)
        number = float(slope @ rest) / size if size else 0.0
        near = np.abs(number * slope - rest) <= NEAR * max(1e-9, float(np.abs(suspect.needed).max(initial=0.0)))
        return number if number and abs(number - 1) > NEAR and bool(near.all()) and slope.size > 1 else None

    def _mended(self, make: Make, at: int, before: dict[int, Wrong | None]) -> tuple[int, frozenset[str]] | None:
        """How many entries are wrong still by an edited function; None where it mends none."""
        old, new = before[at], self.wrong(at, make)
        if new is None or (new and (old is None or not new < old)):
            return None
        others = (0, 1) if at else (1,)
        left = [new, *(self.wrong(k, make) for k in others)]
        for now, then in zip(left[1:], (before[k] for k in others), strict=True):
            if now is None or (then is not None and not now <= then):
                return None
        if not at and (_names(old) - _names(new)) & _names(left[1]):
            return None  # it is right here by chance
        changed = (old or frozenset()) - new
        whole = {name for name, _ in changed} - _names(new)
        if new and not whole and len(changed) < CHANCE * len(old or ()):
            return None  # some numbers are right by chance
        return sum(len(one or ()) for one in left), frozenset(whole or {name for name, _ in changed})

    # ------------------------------------------------------------------ which edits, in which order

    def _tiers(self) -> Iterator[Tries]:
        """Edits in the order in which they are tried: of lines that could be to blame for most, of the rest, of others.

        Beside an edit is the value that it must give, where that is known: whether it does is soon seen.
        """
        tree = self.code.tree
        known = Vocabulary.of(tree, [*self.extra, *_kept_in_dicts(self.suspects)])
        most = max(1.0, NEARLY * max((one.mends or 0 for one in self.suspects), default=0))
        near = [*self._tries(lambda place: likely(place, known), most)]
        for one in self.suspects:
            near += [(one.mends or 0, edit, one) for edit in lacking(one, known.operands)]
        handed_on = [(most, edit, None) for edit in in_loops(tree, known.operands, updated=False)]
        yield _sorted([*handed_on, *(one for one in near if one[0] >= most)])
        lines = chain(between_lines(tree), missing(tree, known), in_loops(tree, known.operands, updated=True))
        yield _sorted([*((UNSEEN, edit, None) for edit in lines), *(one for one in near if one[0] == UNSEEN)])
        many = [*self._tries(lambda place: far(place, known), most)]
        yield _sorted([*(one for one in near if 0 < one[0] < most), *(one for one in many if one[0] > 0)])
        yield _sorted(one for one in many if one[0] == UNSEEN)

    def _tries(
        self, edits: Callable[[Place], Iterable[Edit]], most: float
    ) -> Iterator[tuple[float, Edit, Suspect | None]]:
        """The edits of all lines: how many results each could make right, and the value that it is of."""
        for place in statements_of(self.code.tree):
            own = [one for one in self.suspects if one.value.statement is place.node]
            inside = [(_ids(one.value.node), one) for one in own]
            of_line = most if any((one.mends or 0) >= most for one in own) else UNSEEN
            for edit in edits(place):
                of = next((one for ids, one in inside if _is_of(edit, one, ids)), None)
                yield of_line if of is None else UNSEEN if of.mends is None else of.mends, edit, of


def _sorted(tries: Iterable[tuple[float, Edit, Suspect | None]]) -> Tries:
    return sorted(((edit, suspect) for _, edit, suspect in tries), key=lambda one: one[0].cost)


def _kept_in_dicts(suspects: Sequence[Suspect]) -> Iterator[str]:
    """The arrays in a function's dicts: the one that it should use may be in none of its lines."""
    spaces = [one.space for one in suspects if one.space is not None and one.needed is not None]
    for name, value in chain.from_iterable(space.items() for space in spaces):
        if isinstance(value, dict) and not name.startswith("_"):
            yield from (f"{name}[{key!r}]" for key, one in value.items() if isinstance(one, np.ndarray))


def _names(wrong: Wrong | None) -> set[str]:
    return {name for name, _ in wrong or ()}


def form_of(statement: ast.AST) -> str:
    """A statement without its names and numbers, as far as it is one line."""
    if not isinstance(statement, (ast.Assign, ast.AugAssign)):
        return ""
    return NAME.sub("_", f"{type(statement).__name__} {ast.unparse(statement.value)}")


def _ids(node: ast.AST) -> set[int]:
    return {id(one) for one in ast.walk(node)}


def _is_of(edit: Edit, suspect: Suspect, ids: set[int]) -> bool:
    """Whether an edit changes the expression of a value, and nothing else."""
    return all(id(node) in ids or _puts(node, name, new, suspect) for node, name, new in edit.nodes)


def _puts(node: Any, name: str, new: Any, suspect: Suspect) -> bool:
    """Whether a change puts another expression in the place of a value."""
    value = suspect.value
    if node is not value.parent or name != value.field:
        return False
    if value.at is None:
        return True
    before = getattr(node, name)
    return len(new) == len(before) and all(
        a is b for k, (a, b) in enumerate(zip(new, before, strict=True)) if k != value.at
    )


def _unequal(one: Answer) -> Iterable[int]:
    """Which entries are not what they must be."""
    said = numbers_in(one.said)
    if said is None or said.shape != one.right.shape:
        return range(max(1, one.right.size))
    off = np.nan_to_num(np.abs(said - one.right), nan=np.inf).ravel()
    return np.flatnonzero(off > NEAR * max(float(np.abs(one.right).max(initial=0.0)), 1e-9)).tolist()

"""Which line of a function is wrong, where it is known what it must say: small edits, until one makes it say that.

What makes wrong results right, and spoils none that is right, here and at another point, is what an author would do.
Edits of those lines are tried first that could be to blame for all that is wrong, or for most of it.
"""

import ast
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from functools import partial
from itertools import chain, islice
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from minirnn.testing.functions.blame import NEAR, Answer, Make, Suspect, suspects_of
from minirnn.testing.functions.derivatives import frozen
from minirnn.testing.functions.edits import FREE, NUMBER, far, likely
from minirnn.testing.functions.faults import SWAPPED, UNKNOWN
from minirnn.testing.functions.lacking import lacking
from minirnn.testing.functions.leaves import numbers_in
from minirnn.testing.functions.memory import little_more
from minirnn.testing.functions.missing import in_loops, instead, missing
from minirnn.testing.functions.places import Edit, Place, form_of, nodes_in, statements_of
from minirnn.testing.functions.source import Code, code_of, compiled, plain, rebuilt
from minirnn.testing.functions.swaps import backwards, between_lines
from minirnn.testing.functions.vocabulary import Vocabulary

MOST = 3  # mistakes in one function
HALF = 0.5
CHANCE = 0.1  # of the entries
NEARLY = 0.8  # of what the likeliest line could make right: rounding hides some
NEAR_ONES, FAR_ONES = 0.5, 0.2  # of the time: what is likely where all is wrong, what is not; between: other points
RETURNED = 0.4  # by which an edit of what is returned is less likely than of what was computed before
ALIKE = 0.6  # by which an edit is likelier that makes a line what other lines are
UNSEEN = -1.0  # how many results an edit could make right, where that is not known
CHEAP = 2  # the last tier of likely edits, after which one is taken that mends a part
SURE = 1.0  # an edit that costs less is held against no others
LOOPS = 2  # whose order is turned round to see whether it hides another mistake
LATEST = ContextVar("LATEST", default=np.inf)  # when the searches of several functions must end, but for
LEAST = 0.5  # seconds that each of them has
SECONDS = 3.3  # of processor time, for one function

# what a function, or an edited one in its place, says at a point: the first has everything, the second is another one
# at which an edit must hold, and the others have an argument that is 0
Point: TypeAlias = Callable[[int, Make | None], Sequence[Answer]]
Tries: TypeAlias = list[tuple[Edit, Suspect | None]]
Edits: TypeAlias = list[tuple[ast.AST, list[Edit]]]  # those of each statement
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
    now = _now()
    deadline = min(now + seconds, max(LATEST.get(), now + LEAST))
    search = _Search(code, plain(function), point, points, extra, deadline)
    found: list[Mend] = []
    while len(found) < MOST:
        with warnings.catch_warnings(), np.errstate(all="ignore"), little_more(), frozen():
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
        """The edit that mends all, or that mends most of what is wrong.

        What is likely is tried first, where everything is wrong, then where less is; what is far-fetched comes last.
        """
        before: dict[int, Wrong | None] = {at: self.wrong(at) for at in (0, 1)}
        others = range(2, self.points)
        self.suspects = self._suspects_at(0, self.deadline - _now())
        known = Vocabulary.of(self.code.tree, [*self.extra, *_kept_in_dicts(self.suspects)])
        near = self._edits(likely, known)
        tiers = self._tiers(known, near, self.suspects)
        end = self.deadline if not others else _now() + NEAR_ONES * max(0.0, self.deadline - _now())
        best = self._best_of(islice(tiers, CHEAP + 1), 0, before, end) or self._in_other_order()
        for at in others if best is None else ():
            now = _now()
            before[at] = self.wrong(at) if now < self.deadline else None
            if best is None and before[at]:
                share = (1 - FAR_ONES) * (self.deadline - now) / (self.points - at)
                suspects = self._suspects_at(at, HALF * share)
                best = self._best_of(islice(self._tiers(known, near, suspects), CHEAP + 1), at, before, now + share)
        return best or (self._best_of(tiers, 0, before, self.deadline) if _now() < self.deadline else None)

    def _suspects_at(self, at: int, seconds: float) -> list[Suspect]:
        return suspects_of(self.code, self.original, partial(self.point, at), seconds)

    def _in_other_order(self) -> Choice | None:
        """That a loop takes its steps the wrong way round, where another edit mends all after that."""
        loops = [place.node for place in statements_of(self.code.tree) if isinstance(place.node, ast.For)]
        counted = [loop for loop in loops if isinstance(loop.iter, ast.Call)]  # of rows as they come nobody chooses one
        for loop in counted[:LOOPS]:
            cost, pattern, words, steps = backwards(loop.iter)
            edit = Edit(cost, pattern, words, loop.lineno, ((loop, "iter", steps),))
            undo = edit.apply()
            before: dict[int, Wrong | None] = {at: self.wrong(at) for at in (0, 1)}
            rest = HALF * max(0.0, self.deadline - _now())
            best = None
            if before[0] and rest:
                suspects = self._suspects_at(0, HALF * rest)
                known = Vocabulary.of(self.code.tree, [*self.extra, *_kept_in_dicts(suspects)])
                several = islice(self._tiers(known, self._edits(likely, known), suspects), CHEAP)
                best = self._best_of(several, 0, before, _now() + HALF * rest)
            undo()
            if best is not None and not best.left:
                return Choice(edit, 0.0, frozenset(), len(before[0] or ()), cost)
        return None

    def _best_of(self, several: Iterable[Tries], at: int, before: dict[int, Wrong | None], end: float) -> Choice | None:
        """The best edit of the first tier that has one, by what is wrong at a point.

        One that mends a part, or is far-fetched, is held against those of the next tiers that are nearer.
        """
        best: Choice | None = None
        at_first = False  # whether it is of a line that could be to blame
        for k, tries in enumerate(several):
            for edit, suspect in tries:
                if _now() > end:
                    return best
                likely = edit.cost - ALIKE * (suspect is not None)  # of others none is tried that costs more
                if best is not None and (at_first or not best.left) and likely >= best.cost:
                    continue
                choice = self._tried(edit, suspect, at, before)
                if choice is not None and (best is None or choice[-2:] < best[-2:]):
                    best = choice
            if best is not None and (k >= CHEAP if best.left else best.cost < SURE):
                return best
            at_first = best is not None and k == CHEAP - 1
        return best

    def blamed(self) -> list[Mend]:
        """The line that could make most right, where no edit does."""
        likely = [one for one in self.suspects if one.mends]
        computed = [one for one in likely if not isinstance(one.value.node, ast.Name)]  # which computes nothing
        likely = [one for one in computed if not isinstance(one.value.statement, ast.Return)] or computed or likely
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
            likely = ALIKE * self._is_likely(edit) - self._is_returned(edit)
            return Choice(edit, number, mended[1], mended[0], edit.cost - likely)
        finally:
            undo()

    def _made(self, number: float) -> Make | None:
        try:
            return self.make(number)
        except (SyntaxError, ValueError, TypeError, RecursionError):  # an edit may be no program
            return None

    def _is_returned(self, edit: Edit) -> float:
        """How much less likely an edit is, as one of a return statement; more where it is of the order there."""
        lines = {place.node.lineno for place in statements_of(self.code.tree) if isinstance(place.node, ast.Return)}
        return (-0.05 if edit.pattern == SWAPPED else RETURNED) if edit.line in lines else 0.0

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

    def _tiers(self, known: Vocabulary, near: Edits, suspects: Sequence[Suspect]) -> Iterator[Tries]:
        """Edits in the order in which they are tried: of lines that could be to blame for most, or for some, of others.

        Beside an edit is the value that it must give, where that is known: whether it does is soon seen.
        """
        tree = self.code.tree
        most = max(1.0, NEARLY * max((one.mends or 0 for one in suspects), default=0))
        tries = [*self._tries(near, suspects, most)]
        for one in suspects:
            tries += [(one.mends or 0, edit, one) for edit in lacking(one, [*known.operands, *known.parts])]
        handed_on = [(most, edit, None) for edit in in_loops(tree, known.operands, updated=False)]
        yield _sorted([*handed_on, *(one for one in tries if one[0] >= most)])
        yield _sorted(one for one in tries if 0 < one[0] < most)
        lines = chain(between_lines(tree), missing(tree, known), in_loops(tree, known.operands, updated=True))
        yield _sorted([*((UNSEEN, edit, None) for edit in lines), *(one for one in tries if one[0] == UNSEEN)])
        many = [*self._tries(self._edits(far, known), suspects, most)]
        yield _sorted(one for one in many if one[0] > 0)
        yield _sorted(one for one in many if one[0] == UNSEEN)

    def _edits(self, edits: Callable[[Place, Vocabulary], Iterable[Edit]], known: Vocabulary) -> Edits:
        """The edits of all lines, as long as there is time."""
        places = statements_of(self.code.tree)
        return [(place.node, list(edits(place, known))) for place in places if _now() < self.deadline]

    @staticmethod
    def _tries(edits: Edits, suspects: Sequence[Suspect], most: float) -> Iterator[tuple[float, Edit, Suspect | None]]:
        """Edits with how many results each could make right, and with the value that it is of."""
        for statement, several in edits:
            own = [one for one in suspects if one.value.statement is statement]
            owners = {id(node): one for one in own for node in ast.walk(one.value.node)}
            of_line = most if any((one.mends or 0) >= most for one in own) else UNSEEN
            for edit in several:
                of = _owner(edit, own, owners)
                yield of_line if of is None else UNSEEN if of.mends is None else of.mends, edit, of


def _sorted(tries: Iterable[tuple[float, Edit, Suspect | None]]) -> Tries:
    return sorted(((edit, suspect) for _, edit, suspect in tries), key=lambda one: one[0].cost)


def _now() -> float:
    return time.process_time()


def _kept_in_dicts(suspects: Sequence[Suspect]) -> Iterator[str]:
    """The arrays in a function's dicts: the one that it should use may be in none of its lines."""
    spaces = [one.space for one in suspects if one.space is not None and one.needed is not None]
    for name, value in chain.from_iterable(space.items() for space in spaces):
        if isinstance(value, dict) and not name.startswith("_"):
            yield from (f"{name}[{key!r}]" for key, one in value.items() if isinstance(one, np.ndarray))


def _names(wrong: Wrong | None) -> set[str]:
    return {name for name, _ in wrong or ()}


def _owner(edit: Edit, own: Sequence[Suspect], owners: dict[int, Suspect]) -> Suspect | None:
    """The value whose expression an edit changes, and nothing else; ``owners`` are those of nodes within one."""
    found = [
        owners.get(id(node)) or next((one for one in own if _puts(node, name, new, one)), None)
        for node, name, new in edit.nodes
    ]
    return found[0] if all(one is found[0] for one in found) else None


def _puts(node: Any, name: str, new: Any, suspect: Suspect) -> bool:
    """Whether a change puts another expression in the place of a value."""
    value = suspect.value
    if node is not value.parent or name != value.field:
        return False
    if value.at is None:
        return True
    before = getattr(node, name)
    return len(new) == len(before) and all(new[k] is before[k] for k in range(len(new)) if k != value.at)


def _unequal(one: Answer) -> Iterable[int]:
    """Which entries are not what they must be."""
    said = numbers_in(one.said)
    if said is None or said.shape != one.right.shape:
        return range(max(1, one.right.size))
    off = np.nan_to_num(np.abs(said - one.right), nan=np.inf).ravel()
    return np.flatnonzero(off > NEAR * max(float(np.abs(one.right).max(initial=0.0)), 1e-9)).tolist()

"""One line of ``unstep`` against what it should be: the smallest change to its expression that makes it right.

A line's value v and the value T that it should have are held against each other at the line's last operation, then at
the operands of that: for v = a b, a should be T / b.  At each operation a handful of changes is tried: the sign, a
factor too few, too many or mistaken, a term too few or too many, one quantity for another, a sum taken or not.
"""

import re
import time
from collections.abc import Callable, Iterator

import numpy as np

from minirnn.core.backend import Array
from minirnn.testing.changes import EARLIER, FACTOR, SIGN, SUM, SWAPPED, TERM, Change, Quantity
from minirnn.testing.formulas import Formulas
from minirnn.testing.recording import Ref, Value

SECONDS = 0.7  # of processor time, for two changes of one line
LEAST = 1.0  # what a change costs
CONSTANTS = (0.5, 2.0, 0.25, 4.0, -0.5, -2.0)


class Expressions(Formulas):
    """The expressions of an ``unstep``, and the least change to one that makes its value the one it should have."""

    def explain(self, node: int, target: Array) -> Change | None:
        """The least far-fetched change that makes ``node`` the target; None where none is known."""
        return min(self._changes(node, target, set(), chained=False), key=lambda change: change.cost, default=None)

    def explain_twice(self, node: int, target: Array) -> list[Change]:
        """Two changes of one line: the sign, a factor or a term, and what is wrong beside that; or none."""
        line = self.tape.nodes[node].line
        best: list[Change] = []
        if np.shape(self.values[node]) != target.shape or target.shape != self.shape:
            return []
        tries = [(Change(1.0, SIGN, "the sign is wrong", line), -target)]
        for name, e in self.sources[:6]:
            if e.shape == target.shape:
                tries.append((Change(2.5, TERM, f"the term {name} is missing", line), target - e))
        for q in self.known:
            if q.cost < 0.7 and q.words != "1":
                words = f"the factor {q.words} is missing"
                tries.append((Change(2.0 + q.cost, FACTOR, words, line), self.over(target, q.value)))
        latest = time.process_time() + SECONDS
        for first, rest in sorted(tries, key=lambda one: one[0].cost):
            if time.process_time() > latest or (best and first.cost + LEAST >= sum(c.cost for c in best)):
                break
            second = self.explain(node, rest)
            if second and second.cost < 4 and (not best or first.cost + second.cost < sum(c.cost for c in best)):
                best = [first, second]
        return best

    def two_terms(self, node: int, target: Array) -> list[Change]:
        """Two terms that are missing from a line, each of a gradient and at most one simple factor; or none."""
        if np.shape(self.values[node]) != target.shape or target.shape != self.shape or not np.isfinite(target).all():
            return []
        rest, line = target - np.asarray(self.values[node]), self.tape.nodes[node].line
        simple = [q for q in self.known if q.cost < 0.7 and q.words != "1"]
        terms: list[tuple[float, str, Array]] = []
        for name, e in self.sources:
            if e.shape == rest.shape and np.abs(e).max() > 0:
                terms += [(0.0, name, e), *((q.cost, f"{name} {q.words}", e * q.value) for q in simple)]
        made = np.array([term for _, _, term in terms]).reshape(len(terms), *rest.shape)
        best: list[Change] = []
        for k, n in self.sums(rest, made):
            (cost, words, _), (cost_of_other, other, _) = terms[k], terms[n]
            total = 4.5 + cost + cost_of_other
            if not best or total < best[0].cost:
                best = [Change(total, TERM, f"the terms {words} and {other} are missing", line)]
        return best

    def _changes(self, node: int, target: Array, seen: set[int], *, chained: bool) -> Iterator[Change]:
        """Changes at a node and below it; ``chained`` where it is a factor, and the whole product was looked at."""
        if node in seen or len(seen) > 60:
            return
        seen.add(node)
        one, v = self.tape.nodes[node], np.asarray(self.values[node])
        if v.shape == target.shape and self.equal(v, target):
            return
        yield from self._sums_over(node, target)
        if v.shape != target.shape or v.shape != self.shape:
            return
        if not chained:
            yield from self._factors(node, target)
        if node in self.names and seen != {node}:
            return
        if one.label in ("add", "subtract"):
            yield from self._terms(node, target)
        elif node in self.carries and not chained:
            yield from self._added(node, target, self.text(Ref(node)))
        if one.function is None:
            return
        for place, wanted in self._wanted(node, target):
            argument = one.args[place]
            if not np.isfinite(wanted).any():
                continue
            yield from self._replaced(argument, wanted, one.line)
            if isinstance(argument, Ref) and (argument.node not in self.names):
                product = one.label == "multiply"
                if np.shape(self.values[argument.node]) == np.shape(wanted):
                    yield from self._changes(argument.node, wanted, seen, chained=product)
        if one.label in ("sum", "mean", "add.reduce") and isinstance(one.args[0], Ref):
            yield from self._inside_a_sum(node, target)

    def _wanted(self, node: int, target: Array) -> Iterator[tuple[int, Array]]:
        """The value of each operand for which the node would be the target."""
        one = self.tape.nodes[node]
        if len(one.args) == 2 and one.label in ("multiply", "add", "subtract", "divide", "true_divide"):
            a, b = (np.asarray(self.value(x)) for x in one.args)
            if one.args[0] == one.args[1] and one.label == "multiply":
                return
            ways: dict[str, tuple[Callable[[], Array], Callable[[], Array]]] = {
                "multiply": (lambda: self.over(target, b), lambda: self.over(target, a)),
                "divide": (lambda: target * b, lambda: self.over(a, target)),
                "true_divide": (lambda: target * b, lambda: self.over(a, target)),
                "add": (lambda: target - b, lambda: target - a),
                "subtract": (lambda: target + b, lambda: a - target),
            }
            for place in (0, 1):
                yield place, ways[one.label][place]()
        elif one.label == "negative":
            yield 0, -target
        elif one.label in ("copy", "positive", "astype"):
            yield 0, target

    def _quantity(self, stands: str, of: str, form: str, wanted: Quantity, line: int, cost: float) -> Change:
        """That one quantity stands where another belongs."""
        words = f"{stands} stands where {wanted.words} belongs"
        pattern = FACTOR
        if wanted.form == "{0} (1 - {0})" and of == wanted.of and form in ("{}", "(1 - {})"):
            cost += 1.0  # rather, a factor is missing
        if wanted.form == "-" and of and form == "{}" and self.weak(wanted.words):
            cost += 2.0
        elif (
            wanted.form == "-" and of and form == "{}" and re.search(rf"(?<!\w){re.escape(of)}(?![\w'])", wanted.words)
        ):
            return Change(cost + wanted.cost - 0.8, TERM, f"{words}: a term is missing", line)
        if form == wanted.form and ((of, wanted.of) in self.pairs or (wanted.of, of) in self.pairs):
            pattern = EARLIER
        elif form == wanted.form and {of, wanted.of} <= set(self.gates) and of != wanted.of:
            pattern = SWAPPED
        return Change(cost + wanted.cost, pattern, words, line)

    @staticmethod
    def weak(words: str) -> bool:
        """Whether a difference is of what no equation subtracts: tanh of something, the state after the step."""
        return "tanh(" in words or "'" in words

    def _of(self, value: Value) -> tuple[str, str]:
        """Of which quantity, and in what form, a value is."""
        if np.shape(value) == self.shape:
            equal = [self.known[k] for k in self.matching(np.asarray(value), self.stack)]
            if equal:
                best = min(equal, key=lambda q: q.cost)
                return best.of, best.form
        return "", ""

    def _replaced(self, argument: Value, wanted: Array, line: int) -> Iterator[Change]:
        """Another quantity in the place of an operand that does not depend on what comes back."""
        if isinstance(argument, Ref) and argument.node in self.carries:
            for name, e in self.sources if argument.node in self.names else []:
                if self.equal(e, wanted) and np.abs(e).max() > 0:
                    yield Change(2.5, FACTOR, f"{self.text(argument)} stands where {name} belongs", line)
            if self.shape == np.shape(self.value(argument)):
                for k in self.matching(wanted, np.asarray(self.value(argument)) * self.stack):
                    missing = self.known[k]
                    words = f"in the term {self.text(argument)} the factor {missing.words} is missing"
                    yield Change(2.1 + missing.cost, FACTOR, words, line)
            return
        if not np.any(self.value(argument)):
            return  # all that comes back is lost by it
        of, form = self._of(self.value(argument))
        for k in self.matching(wanted, self.stack):
            yield self._quantity(self.text(argument), of, form, self.known[k], line, 1.5)
        value = np.asarray(self.value(argument), float)
        for name, e in self.sources if value.shape == self.shape else []:
            if self.equal(value * e, wanted) and np.abs(e).max() > 0:
                words = f"{self.text(argument)} does not grow with what comes back: the factor {name} is missing"
                yield Change(2.2, FACTOR, words, line)

    def _factors(self, node: int, target: Array) -> Iterator[Change]:
        """The sign, and factors too few, too many or mistaken."""
        one, v = self.tape.nodes[node], np.asarray(self.values[node])
        line, words = one.line, self.text(Ref(node))
        if self.equal(-v, target):
            yield Change(1.0, SIGN, self._turned(node), line)
        for c in CONSTANTS:
            if self.equal(v * c, target):
                yield Change(1.8, FACTOR, f"it is {1 / c:.4g} times too large", line)
        if node in self.carries or one.function is not None:
            for k in self.matching(target, v * self.stack):
                yield Change(2 + self.known[k].cost, FACTOR, f"the factor {self.known[k].words} is missing", line)
            if node in self.carries:
                yield from self._two_missing(v, target, line)
            for k in self.matching(-target, v * self.stack):
                text = f"the factor {self.known[k].words} is missing, and the sign is wrong"
                yield Change(5 + self.known[k].cost, FACTOR, text, line)
        if node not in self.carries:
            of, form = self._of(v)
            for k in self.matching(target, self.stack):
                yield self._quantity(words, of, form, self.known[k], line, 1.5)
            for name, e in self.sources:
                lost = f"{words} does not grow with what comes back: the factor {name}"
                if self.equal(v * e, target) and np.abs(e).max() > 0:
                    yield Change(2.0, FACTOR, f"{lost} is missing", line)
                for k in (
                    self.matching(target, v * e * self.stack) if e.shape == v.shape and np.abs(e).max() > 0 else []
                ):
                    yield Change(3 + self.known[k].cost, FACTOR, f"{lost} {self.known[k].words} is missing", line)
                for words_of in self._two(v * e, target) if e.shape == v.shape and np.abs(e).max() > 0 else []:
                    yield Change(5.5, FACTOR, f"{lost} {words_of} is missing", line)
        yield from self._in_a_product(node, target)

    def _two(self, v: Array, target: Array) -> Iterator[str]:
        """Two factors, both simple, that make v the target."""
        for q, r in self.products(target, v):
            yield f"{q.words} {r.words}"

    def _two_missing(self, v: Array, target: Array, line: int) -> Iterator[Change]:
        for words in self._two(v, target):
            yield Change(4.5, FACTOR, f"the factor {words} is missing", line)

    def _turned(self, node: int) -> str:
        for factor in self.factors(node):
            inner = self.tape.nodes[factor.node] if isinstance(factor, Ref) and factor.node not in self.names else None
            if inner is not None and inner.label == "subtract":
                a, b = inner.args
                if isinstance(a, Ref) and isinstance(b, Ref):
                    right = f"({self.text(b)} - {self.text(a, 1)})"
                    return f"the sign is wrong: ({self.text(a)} - {self.text(b, 1)}) stands where {right} belongs"
        return "the sign is wrong"

    def _in_a_product(self, node: int, target: Array) -> Iterator[Change]:
        factors = self.factors(node)
        if len(factors) < 2:
            return
        line = self.tape.nodes[node].line
        values = [np.broadcast_to(np.asarray(self.value(f), float), target.shape) for f in factors]

        def without(*places: int) -> Array:
            rest = np.ones(target.shape)
            for k, value in enumerate(values):
                if k not in places:
                    rest = rest * value
            return rest

        def text(*places: int) -> str:
            return " ".join(self.text(factors[k], 2) for k in places)

        for k in range(len(factors)):
            if not values[k].any():
                continue  # all that comes back is lost by it
            rest = without(k)
            if self.equal(rest, target):
                yield Change(2.2, FACTOR, f"the factor {text(k)} is one too many", line)
            if isinstance(factors[k], Ref) and factors[k].node in self.carries:
                for name, e in self.sources if factors[k].node in self.names else []:
                    if self.equal(rest * e, target) and np.abs(e).max() > 0:
                        yield Change(2.5, FACTOR, f"{text(k)} stands where {name} belongs", line)
                continue
            of, form = self._of(values[k])
            for n in self.matching(target, rest * self.stack):
                yield self._quantity(text(k), of, form, self.known[n], line, 2.0)
            for n in self.matching(-target, rest * self.stack):
                change = self._quantity(text(k), of, form, self.known[n], line, 5.0)
                yield Change(change.cost, change.pattern, f"{change.words}, and the sign is wrong", line)
            for j in range(k):
                rest = without(j, k)
                if self.equal(rest, target):
                    yield Change(3.5, FACTOR, f"the factor {text(j, k)} is one too many", line)
                for n in self.matching(target, rest * self.stack):
                    of, form = self._of(values[j] * values[k])
                    yield self._quantity(text(j, k), of, form, self.known[n], line, 2.2)

    def _terms(self, node: int, target: Array) -> Iterator[Change]:
        """A term's sign, a term too many, a term too few."""
        one = self.tape.nodes[node]
        a, b = (np.asarray(self.value(x), float) for x in one.args)
        first, second = (self.text(x, 1) for x in one.args)
        minus = one.label == "subtract"
        other = a + b if minus else a - b
        carries = [isinstance(x, Ref) and x.node in self.carries for x in one.args]
        if self.equal(other, target):
            stands = f"({first} {'-' if minus else '+'} {second})"
            belongs = f"({first} {'+' if minus else '-'} {second})"
            if all(carries):
                yield Change(1.2, SIGN, f"the sign of the term {second} is wrong", one.line)
            else:
                pattern = SIGN if all(isinstance(x, Ref) for x in one.args) else FACTOR
                yield Change(1.2, pattern, f"{stands} stands where {belongs} belongs: a sign is wrong", one.line)
        if not minus and self.equal(b - a, target):
            yield Change(1.2, SIGN, f"the sign of the term {first} is wrong", one.line)
        for x, rest in ((one.args[1], a), (one.args[0], -b if minus else b)):
            if self.equal(np.broadcast_to(rest, target.shape), target):
                yield Change(2.0, TERM, f"the term {self.text(x, 1)} is one too many", one.line)
        yield from self._added(node, target, "")

    def _added(self, node: int, target: Array, _: str) -> Iterator[Change]:
        """A term that is missing from what is said."""
        rest, line = target - np.asarray(self.values[node]), self.tape.nodes[node].line
        if node not in self.carries:
            for k in self.matching(rest, self.stack):
                yield Change(3 + self.known[k].cost, TERM, f"the term {self.known[k].words} is missing", line)
            return
        for name, e in self.sources:
            if not np.abs(e).max() > 0 or e.shape != rest.shape:
                continue
            if self.equal(e, rest):
                yield Change(2.5, TERM, f"the term {name} is missing", line)
            if self.equal(-e, rest):
                yield Change(3.0, TERM, f"the term -{name} is missing, or {name} is one too many", line)
            made = e * self.stack
            for k in self.matching(rest, made):
                yield Change(2.6 + self.known[k].cost, TERM, f"the term {name} {self.known[k].words} is missing", line)
            for k in self.matching(-rest, made):
                yield Change(3 + self.known[k].cost, TERM, f"the term -{name} {self.known[k].words} is missing", line)
            for q, r in self.products(rest, e):
                words = f"the term {name} {q.words} {r.words} is missing"
                yield Change(3.2 + q.cost + r.cost, TERM, words, line)

    def _sums_over(self, node: int, target: Array) -> Iterator[Change]:
        """A sum or mean that was taken and should not have been, or the other way round."""
        one, v = self.tape.nodes[node], np.asarray(self.values[node])
        line, text = one.line, self.text(Ref(node))
        if one.label in ("sum", "mean", "add.reduce", "repeat", "broadcast_to") and isinstance(one.args[0], Ref):
            inner = np.asarray(self.values[one.args[0].node])
            if inner.shape == target.shape and self.equal(inner, target):
                rows = v.ndim < inner.ndim or (v.ndim and v.shape[0] == 1)
                why = (
                    "the rows: return one row for each row of the batch, and minirnn adds them up"
                    if rows
                    else "the units"
                )
                yield Change(1.0, SUM, f"do not sum over {why}", line)
            elif inner.shape == target.shape and v.shape != target.shape:
                for change in self._changes(one.args[0].node, target, set(), chained=False):
                    words = f"{change.words}, and there must be no sum over the rows"
                    yield Change(change.cost + 2, SUM, words, line)
        if v.ndim == 2 and v.shape[0] == target.shape[0]:
            for name, made in (("mean", v.mean(-1, keepdims=True)), ("sum", v.sum(-1, keepdims=True))):
                if self.equal(np.broadcast_to(made, target.shape), np.broadcast_to(target, target.shape)):
                    yield Change(1.5, SUM, f"the {name} over the units of {text} was not taken", line)
        if one.label in ("matmul", "dot") and len(one.args) == 2:
            a, b = (np.asarray(self.value(x)) for x in one.args)
            for left, right, word in ((a, b.T, one.args[1]), (a.T, b, one.args[0])):
                fits = left.ndim == right.ndim == 2 and left.shape[1] == right.shape[0]
                if fits and self.equal(left @ right, target):
                    yield Change(1.0, "transposed product", f"{self.text(word, 2)} must be transposed", line)

    def _inside_a_sum(self, node: int, target: Array) -> Iterator[Change]:
        """A factor too few or mistaken under a sum over the units."""
        one = self.tape.nodes[node]
        inner = one.args[0].node
        value, line = np.asarray(self.values[inner]), one.line
        if value.shape != self.shape:
            return

        def reduced(a: Array) -> Array:
            return np.asarray(one.function(a, *one.args[1:], **one.kwargs))  # type: ignore[misc]

        for q in self.known:
            if self.equal(reduced(value * q.value), target):
                yield Change(2.4 + q.cost, FACTOR, f"the factor {q.words} is missing under the {one.label}", line)
        factors = self.factors(inner)
        for k, factor in enumerate(factors if len(factors) > 1 else []):
            rest = np.ones(self.shape)
            for j, other in enumerate(factors):
                rest = rest * np.asarray(self.value(other)) if j != k else rest
            if self.equal(reduced(rest), target):
                yield Change(2.6, FACTOR, f"the factor {self.text(factor, 2)} is one too many", line)
            for q in self.known:
                if self.equal(reduced(rest * q.value), target):
                    yield self._quantity(self.text(factor, 2), *self._of(self.value(factor)), q, line, 2.4)

"""The expressions of a recorded ``unstep``: compared with what they should be, and read as formulas."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from minirnn.core.backend import Array
from minirnn.testing.changes import Quantity
from minirnn.testing.recording import Ref, Tape, Value


def within(centres: Array, reach: Array, numbers: Array) -> tuple[Array, Array]:
    """All k and n where the n-th number is no farther than ``reach[k]`` from ``centres[k]``; NaN is near nothing."""
    order = np.argsort(numbers)
    begins = np.searchsorted(numbers[order], centres - reach)
    counts = np.searchsorted(numbers[order], centres + reach, "right") - begins
    counts = np.where(np.isfinite(centres), counts, 0)
    k = np.repeat(np.arange(len(centres)), counts)
    return k, order[np.arange(len(k)) - np.repeat(np.cumsum(counts) - counts, counts) + begins[k]]


@dataclass
class Formulas:
    """The tape of an ``unstep``, values of its nodes, where its expressions end, and what they may be made of.

    ``names`` are those of nodes at which an expression ends; ``sources`` gradients by name, of which terms are made.
    """

    tape: Tape
    values: list[Value]
    names: dict[int, str]
    quantities: list[Quantity]
    sources: list[tuple[str, Array]]
    gates: tuple[str, ...]
    pairs: set[tuple[str, str]]
    tolerance: float
    carries: set[int]  # nodes that depend on what comes back

    def __post_init__(self) -> None:
        shape = self.sources[0][1].shape
        self.shape = shape
        self.known = [q for q in self.quantities if q.value.shape == shape]
        self.stack = np.array([q.value for q in self.known]).reshape(len(self.known), *shape)
        self.simple = [q for q in self.known if q.cost < 1.2]
        self.values_of_simple = np.array([q.value.ravel() for q in self.simple]).reshape(len(self.simple), -1)

    # -- comparing

    def equal(self, a: Value, b: Value) -> bool:
        """Whether a and b are equal where both are known; NaN is not known, and infinite is what cannot be."""
        a, b = np.asarray(a), np.asarray(b)
        if a.shape != b.shape or np.isinf(a).any() or np.isinf(b).any():
            return False
        known = ~(np.isnan(a) | np.isnan(b))
        if 4 * known.sum() < a.size or known.sum() < 3:
            return False
        size = np.abs(b[known]).max(initial=0.0)
        return bool(np.abs(a - b)[known].max() <= self.tolerance * max(1e-4, size))

    def matching(self, target: Array, made: Array) -> list[int]:
        """Which of the arrays ``made`` (n, ...) are ``target``."""
        known = np.isfinite(target)
        if target.shape != made.shape[1:] or 4 * known.sum() < target.size or np.isinf(target).any():
            return []
        size = max(1e-4, float(np.abs(target[known]).max(initial=0.0)))
        off = np.abs(made[:, known] - target[known]).max(1, initial=0.0)
        return [int(k) for k in np.flatnonzero(off <= self.tolerance * size)]

    def products(self, target: Array, e: Array) -> Iterator[tuple[Quantity, Quantity]]:
        """Two quantities, both simple, by which ``e`` is ``target``."""
        known = np.flatnonzero(np.isfinite(target))
        if target.shape != e.shape or 4 * len(known) < target.size or np.isinf(target).any():
            return
        e, sought = e.ravel(), target.ravel()
        limit = self.tolerance * max(1e-4, float(np.abs(sought[known]).max(initial=0.0)))
        at = known[np.abs(e[known]).argmax()]  # few products are right there, and only those are computed whole
        first = self.values_of_simple[:, at] * e[at]
        with np.errstate(all="ignore"):
            second, reach = sought[at] / first, limit / np.abs(first)
        k, n = within(second, reach, self.values_of_simple[:, at])
        for one in known:
            right = (
                np.abs(self.values_of_simple[k, one] * self.values_of_simple[n, one] * e[one] - sought[one]) <= limit
            )
            k, n = k[right], n[right]
        yield from ((self.simple[i], self.simple[j]) for i, j in zip(k, n, strict=True) if i <= j)

    def sums(self, target: Array, made: Array) -> Iterator[tuple[int, int]]:
        """Which two of the arrays ``made`` (n, ...) add up to ``target``, whose entries are all known."""
        sought, made = target.ravel(), made.reshape(len(made), -1)
        limit = self.tolerance * max(1e-4, float(np.abs(sought).max(initial=0.0)))
        k, n = within(sought[0] - made[:, 0], np.full(len(made), limit), made[:, 0])
        for one in range(len(sought)):
            right = np.abs(made[k, one] + made[n, one] - sought[one]) <= limit
            k, n = k[right], n[right]
        yield from ((int(i), int(j)) for i, j in zip(k, n, strict=True) if i < j)

    def over(self, a: Value, b: Value) -> Array:
        """a / b; not known where both are 0 or nearly, infinite where only b is 0."""
        a, b = np.broadcast_arrays(np.asarray(a, float), np.asarray(b, float))
        small = np.abs(b) < 1e-3 * np.abs(b).max(initial=1e-300)
        never = (b == 0) & (np.abs(a) > 1e-6 * np.abs(a).max(initial=0.0))
        quotient: Array = np.where(never, np.inf, np.where(small, np.nan, a / np.where(small, 1.0, b)))
        return quotient

    # -- reading

    def value(self, argument: Value) -> Value:
        """An operand's value."""
        return self.values[argument.node] if isinstance(argument, Ref) else argument

    def text(self, argument: Value, inside: int = 0) -> str:
        """An operand as a formula: ``dh1 (1 - h1²)``; ``inside`` 1 in a sum's second place, 2 in a product."""
        if not isinstance(argument, Ref):
            return f"{argument:g}" if isinstance(argument, (int, float)) else "..."
        if argument.node in self.names:
            return self.names[argument.node]
        value = self.values[argument.node]
        for k in self.matching(np.asarray(value), self.stack) if np.shape(value) == self.shape else []:
            if self.known[k].form == "{}":
                return self.known[k].words
        node = self.tape.nodes[argument.node]
        args = node.args
        if node.label == "multiply":
            if args[0] == args[1]:
                return f"{self.text(args[0], 2)}²"
            return " ".join(self.text(a, 2) for a in args)
        if node.label in ("add", "subtract"):
            sign = "+" if node.label == "add" else "-"
            words = f"{self.text(args[0], 0)} {sign} {self.text(args[1], 1 if sign == '-' else 0)}"
            return f"({words})" if inside else words
        if node.label == "negative":
            return f"-{self.text(args[0], 2)}"
        if node.label in ("power", "square"):
            power = args[1] if node.label == "power" else 2
            return f"{self.text(args[0], 2)}" + ("²" if power == 2 else f"^{self.text(power)}")
        if node.label.endswith("divide"):
            return f"{self.text(args[0], 2)} / {self.text(args[1], 2)}"
        if node.label in ("part", "positive", "copy"):
            return self.text(args[0], inside)
        return f"{node.label}({', '.join(self.text(a) for a in args if isinstance(a, Ref))})"

    def factors(self, node: int) -> list[Value]:
        """The factors of a chain of products, in their order."""
        one = self.tape.nodes[node]
        if one.label != "multiply":
            return [Ref(node)]
        factors: list[Value] = []
        for argument in one.args:
            inner = isinstance(argument, Ref) and argument.node not in self.names
            factors += self.factors(argument.node) if inner else [argument]
        return factors

"""A wrong gradient in the cell's own names: which term is missing, which does not belong there.

``step`` and ``unstep`` run once more, on expressions of SymPy's.  Each function that is not polynomial is a symbol with
a known derivative, as in ``exact.py``; where a cell saves it, or saves what it can be computed from, it gets the name
that the cell gave: tanh(c') becomes m, and σ(a) becomes i with the derivative i (1 - i).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import sympy as sp

from minirnn.core.protocol import units_of
from minirnn.core.symbolic import Symbolic, folded
from minirnn.testing.proof.exact import CHOICES, COMPARISONS, UndecidedError, choice, sampled, simplest
from minirnn.testing.proof.stages import Inputs, gradients_of

HALF = sp.Rational(1, 2)
LONG = 60  # operations of a step, beyond which SymPy may take minutes: two normalised products, say
Expression: TypeAlias = Any  # SymPy's, which says no types


@dataclass(frozen=True)
class Term:
    """An expression, and the float that decides comparisons."""

    expression: Expression
    sample: float

    def __add__(self, other: "Term") -> "Term":
        return Term(self.expression + other.expression, self.sample + other.sample)

    def __mul__(self, other: "Term") -> "Term":
        return Term(self.expression * other.expression, self.sample * other.sample)


@dataclass
class Terms:
    """Computation with terms: ``meaning`` has the expression that each symbol stands for which is no input."""

    unknowns: dict[tuple[str, Expression], Expression] = field(default_factory=dict)
    # by symbol: its argument, and the derivative with respect to that
    slopes: dict[Expression, tuple[Expression, Expression]] = field(default_factory=dict)
    # of the saved symbols, in terms of inputs and unknowns
    meaning: dict[Expression, Expression] = field(default_factory=dict)
    operations: int = 0  # that were done

    def lift(self, x: Expression) -> Term:
        if isinstance(x, Term):
            return x
        fraction = simplest(float(x))
        return Term(sp.Rational(fraction.numerator, fraction.denominator), float(x))

    def apply(self, name: str, *operands: Term) -> "Term | bool":
        self.operations += 1
        samples = [a.sample for a in operands]
        if name in COMPARISONS:
            return COMPARISONS[name](*samples)
        if name in CHOICES:
            return choice(self, name, *operands)[0]
        expressions = [a.expression for a in operands]
        if name in RATIONAL:
            made = RATIONAL[name](*expressions)
        elif name in FUNCTIONS:
            made = FUNCTIONS[name](self, *expressions)
        else:
            raise UndecidedError(f"uses np.{name}")
        return Term(made, sampled(name, samples))

    def reduce(self, name: str, entries: Sequence[Term]) -> Term:
        """Their sum, mean, maximum or minimum."""
        whole: Term = folded(self, name, entries)
        return whole

    def unknown(self, name: str, argument: Expression, slope: Callable[[Expression], Expression]) -> Expression:
        """The symbol of a function's value."""
        argument = sp.expand(argument.subs(self.meaning))
        if (name, argument) not in self.unknowns:
            symbol = sp.Symbol(f"{name}({argument})")
            self.unknowns[name, argument] = symbol
            self.slopes[symbol] = argument, slope(symbol)
        return self.unknowns[name, argument]

    def derivative(self, expression: Expression, symbol: Expression) -> Expression:
        """By the chain rule, through the unknowns."""
        total = sp.diff(expression, symbol)
        for unknown in sorted(expression.free_symbols & self.slopes.keys(), key=str):
            argument, slope = self.slopes[unknown]
            total += sp.diff(expression, unknown) * slope * self.derivative(argument, symbol)
        return total


RATIONAL: dict[str, Callable[..., Expression]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "power": lambda a, b: a**b,
    "float_power": lambda a, b: a**b,
    "negative": lambda a: -a,
    "positive": lambda a: a,
    "conjugate": lambda a: a,
    "square": lambda a: a**2,
    "reciprocal": lambda a: 1 / a,
    "sqrt": sp.sqrt,
}
FUNCTIONS: dict[str, Callable[..., Expression]] = {
    "tanh": lambda t, a: t.unknown("tanh", a, lambda y: 1 - y**2),
    "exp": lambda t, a: t.unknown("exp", a, lambda y: y) if not _negated(a) else 1 / t.unknown("exp", -a, lambda y: y),
    "expm1": lambda t, a: t.unknown("exp", a, lambda y: y) - 1,
    "expit": lambda t, a: HALF + HALF * t.unknown("tanh", a / 2, lambda y: 1 - y**2),
    "log": lambda t, a: t.unknown("log", a, lambda _: 1 / a),
    "log1p": lambda t, a: t.unknown("log", 1 + a, lambda _: 1 / (1 + a)),
    "arctan": lambda t, a: t.unknown("arctan", a, lambda _: 1 / (1 + a**2)),
    "sin": lambda t, a: t.unknown("sin", a, lambda _: FUNCTIONS["cos"](t, a)),
    "cos": lambda t, a: t.unknown("cos", a, lambda _: -FUNCTIONS["sin"](t, a)),
}


def _negated(a: Expression) -> bool:
    return bool(sp.expand(a).could_extract_minus_sign())


def expressions(a: Symbolic) -> list[Expression]:
    """The expressions of an array's terms, flat."""
    return [term.expression for term in a.entries.flat]


class Naming:
    """Both functions of a stage, run on terms at the samples of one point."""

    def __init__(self, inputs: Inputs) -> None:
        self.place, self.terms = inputs.place, Terms()
        place = self.place
        gates = [f"_{gate}" for gate in place.stage.gates] or [""]
        self.p = self._symbols([f"p{gate}" for gate in gates], inputs.p)
        self.q = self._symbols([f"q{gate}" for gate in gates], inputs.q)
        self.states = tuple(self._symbols([n], a) for n, a in zip(place.before, inputs.states, strict=True))
        self.units = [self._symbols([n], a) for n, a in zip(units_of(place.stage), inputs.units, strict=True)]
        step, unstep = place.stage.step, place.stage.unstep
        out, saved = step(self.p, self.q, self.states, *self.units)
        if self.terms.operations > LONG:
            raise UndecidedError("has more operations than terms can be named for")
        self.out = [Symbolic.of(a, self.terms) for a in out]
        self.rules: dict[Expression, Expression] = {}
        named = tuple(self._named(n, Symbolic.of(a, self.terms)) for n, a in zip(place.stage.saves, saved, strict=True))
        rng = np.random.default_rng(0)
        self.dout = [
            self._symbols([f"d{name}'"], Symbolic.of(rng.normal(size=a.shape), self.terms))
            for name, a in zip(place.after, self.out, strict=True)
        ]
        dp, dq, dstates, *dunits = unstep(tuple(self.dout), named, *self.units)
        self.returned = [dp, dq, *dstates, *(d.sum(0) for d in dunits)]
        self.read = [self.p, self.q, *self.states, *self.units]

    def _symbols(self, names: list[str], a: Expression) -> Symbolic:
        """An array of symbols, with the samples of ``a``; the names are those of its blocks."""
        entries, flat = np.empty(a.shape, object), list(a.entries.flat)
        width = max(1, len(flat) // len(names))
        for k, entry in enumerate(flat):
            unit = "" if width == 1 else str(k % width + 1)
            entries.flat[k] = Term(sp.Symbol(names[k // width] + unit), entry.sample)
        return Symbolic(entries, self.terms)

    def _named(self, name: str, a: Symbolic) -> Symbolic:
        """A saved array as symbols of that name, and what these tell of the unknowns."""
        named = self._symbols([name], a)
        for symbol, old in zip((t.expression for t in named.entries.flat), a.entries.flat, strict=True):
            self._learn(symbol, old.expression)
        for entry, old in zip(np.ndindex(*a.shape), a.entries.flat, strict=True):
            if old.expression.is_Symbol and not self._unnamed(old.expression):
                named.entries[entry] = old
        return named

    def _unnamed(self, symbol: Expression) -> bool:
        """Whether a symbol is a name that only the proof gave: of a product's part, or of a function."""
        return symbol in self.terms.slopes or symbol in self._products()

    def _products(self) -> set[Expression]:
        return {*expressions(self.p), *expressions(self.q)}

    def _learn(self, symbol: Expression, expression: Expression) -> None:
        """Use a saved name for what it stands for, if that can be told from it."""
        free = [s for s in expression.free_symbols if self._unnamed(s) and s not in self.rules]
        if expression.is_Symbol and not free:
            return
        self.terms.meaning[symbol] = expression.subs(self.terms.meaning)
        linear = [s for s in sorted(free, key=str) if sp.diff(expression, s).is_constant()]
        candidates = linear or (free if len(expression.free_symbols) == 1 else [])
        for s in candidates[:1]:
            solutions = sp.solve(expression - symbol, s)
            if len(solutions) == 1:
                self.rules[s] = solutions[0]

    def differences(self, gradient: str) -> Iterator[str]:
        """Sentences about one gradient, one for each state after the step whose part is wrong."""
        symbol, said = self._part(gradient)
        for a, b in zip(self.dout, self.out, strict=True):
            for d, out in zip(expressions(a), expressions(b), strict=True):
                true, returned = self.terms.derivative(out, symbol), sp.diff(said, d)
                if not self._zero(returned - true):
                    yield sentence(gradient, d, self._shown(returned), self._shown(true))

    def _part(self, gradient: str) -> tuple[Expression, Expression]:
        """The symbol of the first unit of what a gradient is of, and the gradient that ``unstep`` returned for it."""
        names, gates = gradients_of(self.place), max(1, len(self.place.stage.gates))
        for a, returned in zip(self.read, self.returned, strict=True):
            if not a.size:
                continue
            blocks = gates if a is self.p or a is self.q else 1
            if gradient in names[:blocks]:
                k = names.index(gradient) * a.size // blocks
                if returned is None:
                    return expressions(a)[k], sp.Integer(0)
                whole = np.broadcast_to(Symbolic.of(returned, self.terms).entries, a.shape)
                return expressions(a)[k], whole.flat[k].expression
            del names[:blocks]
        raise ValueError(f"{gradient} is none of {gradients_of(self.place)}")

    def _zero(self, e: Expression) -> bool:
        return bool(sp.cancel(sp.together(e.subs(self.terms.meaning))) == 0)

    def _shown(self, e: Expression) -> Expression:
        return sp.factor(sp.together(e.subs(self.rules).subs(self.rules)))


def sentence(gradient: str, d: Expression, returned: Expression, true: Expression) -> str:
    """The fault in the part of a gradient that comes from ``d``, a gradient of a state after the step."""
    if returned == 0:
        return f"{gradient} lacks {text(d * true)}"
    if true == 0:
        return f"{gradient} has {text(d * returned)}, which does not belong there"
    if sp.cancel(returned + true) == 0:
        return f"{gradient} has {text(d * returned)}, whose sign is wrong"
    instead = f"{gradient} has {text(d * returned)} where {text(d * true)} belongs"
    more, fewer = (len(sp.Add.make_args(sp.expand(e))) for e in (returned, true))
    if more < fewer:
        return min(f"{gradient} lacks {text(d * sp.factor(true - returned))}", instead, key=len)
    if more > fewer:
        superfluous = f"{gradient} has {text(d * sp.factor(returned - true))}, which does not belong there"
        return min(superfluous, instead, key=len)
    return instead


def text(e: Expression) -> str:
    """A product as the derivations write it: ``dh' o (1 - m²) f``."""
    number, factors = sp.Integer(1), []
    for factor in sp.Mul.make_args(sp.factor(e)):
        base, power = factor.as_base_exp()
        if factor.is_number:
            number *= factor
        elif base.is_Add and power.is_Integer:
            sign, upright = _upright(base)
            number *= sign**power
            factors.append((upright, power))
        else:
            factors.append((base, power))
    factors = _squares(factors)
    factors.sort(key=lambda each: (not str(each[0]).startswith("d"), each[0].is_Add, str(each[0])))
    up = [_power(base, power) for base, power in factors if power.is_positive is not False]
    down = [_power(base, -power) for base, power in factors if power.is_positive is False]
    sign, number = ("-", -number) if number < 0 else ("", number)
    words = ([str(number)] if number != 1 or not up else []) + up
    return sign + " ".join(words) + "".join(f" / {each}" for each in down)


def _upright(base: Expression) -> tuple[Expression, Expression]:
    """A sum with its first term positive, and the sign for that."""
    first = base.as_ordered_terms()[-1] if any(t.is_number for t in base.args) else base.as_ordered_terms()[0]
    return (sp.Integer(-1), -base) if first.could_extract_minus_sign() else (sp.Integer(1), base)


def _squares(factors: list[tuple[Expression, Expression]]) -> list[tuple[Expression, Expression]]:
    """1 - m² for (1 - m) (1 + m)."""
    left = list(factors)
    for base, power in factors:
        other = next(
            (each for each in left if each[1] == power and base.is_Add and sp.expand(each[0] + base) == 2), None
        )
        if other is not None and (base, power) in left and other != (base, power):
            left.remove((base, power))
            left.remove(other)
            left.append((sp.expand(base * other[0]), power))
    return left


def _power(base: Expression, power: Expression) -> str:
    words = f"({_sum(base)})" if base.is_Add else str(base)
    if power == 1:
        return words
    return (
        f"{words}{str(power).translate(str.maketrans('0123456789', '⁰¹²³⁴⁵⁶⁷⁸⁹'))}"
        if power.is_Integer
        else f"{words}^{power}"
    )


def _sum(e: Expression) -> str:
    numbers_first = sorted(e.as_ordered_terms(), key=lambda t: (not t.is_number, t.could_extract_minus_sign(), str(t)))
    words = text(numbers_first[0])
    for term in numbers_first[1:]:
        words += f" - {text(-term)}" if term.could_extract_minus_sign() else f" + {text(term)}"
    return words


def named(inputs: Inputs, gradient: str) -> str:
    """The faults of one gradient, in the cell's own names."""
    return "; ".join(Naming(inputs).differences(gradient))

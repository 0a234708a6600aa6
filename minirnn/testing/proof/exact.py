"""Exact numbers: whether two computations are equal, without rounding.

An ``Exact`` stands for a rational function of the inputs.  It is held as its value at one random point, modulo the
prime P = 2^521 - 1.  Two functions are taken to be equal where these values are: a polynomial of degree d that is not
zero vanishes at a random point with probability at most d / P (Schwartz 1980, Zippel 1979).  Degrees are counted on the
way, so the verdict comes with the probability that it is wrong.

A function that is not rational is an unknown whose derivative is known: tanh(a) is some t with dt = (1 - t²) da, drawn
at random, once for each a.  What holds for all such unknowns holds for tanh.  A few relations between them are built
in: tanh, sinh, cosh and the logistic function are made of one exponential, with exp(-a) = 1 / exp(a) and
exp(2a) = exp(a)²; sin² + cos² = 1; sqrt(a)² = a where a has a root modulo P.

Each number has a tangent too: its derivative along one random direction, by the rules of calculus alone (forward-mode
differentiation).  And it has a sample, a float, which decides comparisons: a kink is looked at from both sides by
drawing several points.
"""

import math
import random
from collections.abc import Callable, Sequence
from fractions import Fraction
from numbers import Real
from typing import Any, NamedTuple, Protocol, TypeVar

from minirnn.core.symbolic import SymbolicError, folded

P = 2**521 - 1  # a Mersenne prime
DOUBLINGS = 4  # exp(a / 16), ..., exp(16 a) are powers of one unknown
SIMPLE = 10**6  # a float is read as the fraction with a denominator up to this that it is nearest to, if it is


class UndecidedError(SymbolicError):
    """A computation that the proof cannot follow; the message says what it is."""


class Rational(NamedTuple):
    """A rational function at the random point, with the degrees of its numerator and denominator."""

    value: int
    up: int = 0
    down: int = 0

    def __add__(self, other: "Rational") -> "Rational":  # type: ignore[override]  # a sum, not a longer tuple
        up = max(self.up + other.down, other.up + self.down)
        return Rational((self.value + other.value) % P, up, self.down + other.down)

    def __sub__(self, other: "Rational") -> "Rational":
        return self + Rational(-other.value, other.up, other.down)

    def __mul__(self, other: "Rational") -> "Rational":  # type: ignore[override]  # a product, not a longer tuple
        return Rational(self.value * other.value % P, self.up + other.up, self.down + other.down)

    def __truediv__(self, other: "Rational") -> "Rational":
        if other.value == 0:
            raise UndecidedError("divides by what is 0 for all numbers")
        return self * Rational(pow(other.value, -1, P), other.down, other.up)

    def power(self, n: int) -> "Rational":
        if n < 0:
            return ONE / self.power(-n)
        return Rational(pow(self.value, n, P), self.up * n, self.down * n)


ONE, TWO = Rational(1), Rational(2)


class Exact:
    """One number: a rational function, its tangent (None for 0), and a sample; of one ``Point``."""

    __slots__ = ("point", "sample", "tangent", "value")

    def __init__(self, point: "Point", value: Rational, tangent: Rational | None, sample: float) -> None:
        self.point, self.value, self.tangent, self.sample = point, value, tangent, sample
        point.degree = max(point.degree, value.up, value.down)

    def __add__(self, other: "Exact") -> "Exact":
        t, u = self.tangent, other.tangent
        tangent = u if t is None else t if u is None else t + u
        return Exact(self.point, self.value + other.value, tangent, self.sample + other.sample)

    def __mul__(self, other: "Exact") -> "Exact":
        t, u = self.tangent, other.tangent
        left = None if t is None else t * other.value
        right = None if u is None else self.value * u
        tangent = right if left is None else left if right is None else left + right
        return Exact(self.point, self.value * other.value, tangent, self.sample * other.sample)


class Point:
    """One random point: its inputs, and a value of every function for every argument that it is asked for."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - so that a verdict can be had again
        self.scale = self.random.choice((0.3, 1.0, 3.0))  # of samples: both sides of every kink are to be seen
        self.degree = 1
        self.roots: dict[int, int] = {}
        self.drawn: dict[tuple[str, int], int] = {}
        self.decisions: list[bool] = []

    def number(self, *, moves: bool = True) -> Exact:
        """An input; along the random direction it moves, or not."""
        tangent = Rational(self.random.randrange(P)) if moves else None
        return Exact(self, Rational(self.random.randrange(1, P), 1), tangent, self.random.gauss(0, self.scale))

    def lift(self, x: object) -> Exact:
        """A number of Python's or NumPy's as a constant."""
        if isinstance(x, Exact):
            return x
        if not isinstance(x, Real):
            raise UndecidedError(f"computes with {type(x).__name__}, which is no real number")
        value = float(x)
        if not math.isfinite(value):
            raise UndecidedError(f"computes with {value}")
        fraction = simplest(value)
        return Exact(self, Rational(fraction.numerator % P) / Rational(fraction.denominator % P), None, value)

    def error(self) -> float:
        """The decimal logarithm of a bound on the probability that what is equal here differs somewhere."""
        arguments = len(self.roots) + len(self.drawn) + 1
        return math.log10(arguments**2) + math.log10(2 * self.degree) - math.log10(P)

    # ------------------------------------------------------------------ operations

    def apply(self, name: str, *operands: Exact) -> "Exact | bool":
        """NumPy's function ``name`` of these numbers."""
        if name == "add":
            return operands[0] + operands[1]
        if name == "multiply":
            return operands[0] * operands[1]
        if name in COMPARISONS:
            decision = COMPARISONS[name](*(a.sample for a in operands))
            self.decisions.append(decision)
            return decision
        if name in CHOICES:
            chosen, over = choice(self, name, *operands)
            self.decisions.append(over)
            return chosen
        if name in ("power", "float_power"):
            return self._power(*operands)
        if name not in RULES:
            raise UndecidedError(f"uses np.{name}, which the proof does not know")
        values = [a.value for a in operands]
        value, slopes = RULES[name](self, *values)
        tangent: Rational | None = None
        for a, slope in zip(operands, slopes, strict=True):
            if a.tangent is not None and slope is not None:
                part = a.tangent * slope
                tangent = part if tangent is None else tangent + part
        return Exact(self, value, tangent, sampled(name, [a.sample for a in operands]))

    def reduce(self, name: str, entries: Sequence[Exact]) -> Exact:
        """Their sum, mean, maximum or minimum."""
        whole: Exact = folded(self, name, entries)
        return whole

    def _power(self, a: Exact, b: Exact) -> Exact:
        n = b.sample
        if b.tangent is not None or (n not in (0.5, -0.5) and n != int(n)):
            raise UndecidedError("raises to a power that is no whole number, nor 0.5")
        name, n = ("positive", n) if n == int(n) else ("sqrt", 2 * n)
        base = self.apply(name, a)
        assert isinstance(base, Exact)
        value, k = base.value, int(n)
        slope = Rational(k % P) * value.power(k - 1) if k else None
        tangent = None if base.tangent is None or slope is None else base.tangent * slope
        return Exact(self, value.power(k), tangent, sampled("power", [base.sample, float(k)]))

    # ------------------------------------------------------------------ unknowns

    def unknown(self, name: str, argument: Rational) -> Rational:
        """A function's value: drawn when the argument is new."""
        key = (name, argument.value)
        if key not in self.drawn:
            self.drawn[key] = self.random.randrange(1, P)
        return Rational(self.drawn[key], 1)

    def exp(self, a: Rational) -> Rational:
        """The exponential of a, a power of one unknown for all a that differ by a factor ±2^k."""
        if a.value == 0:
            return ONE
        for k in range(-DOUBLINGS, DOUBLINGS + 1):
            base = a.value * pow(2, -k, P) % P
            for root, inverse in ((base, False), (P - base, True)):
                if root in self.roots:
                    value = Rational(self.roots[root], 1).power(2 ** (DOUBLINGS + k))
                    return ONE / value if inverse else value
        self.roots[a.value] = self.random.randrange(1, P)
        return Rational(self.roots[a.value], 1).power(2**DOUBLINGS)

    def sqrt(self, a: Rational) -> Rational:
        """A root of a, the same for the same a; an unknown where a has none modulo P."""
        root = pow(a.value, (P + 1) // 4, P)  # P = 3 modulo 4
        return Rational(root, a.up, a.down) if root * root % P == a.value else self.unknown("sqrt", a)

    def circle(self, a: Rational) -> tuple[Rational, Rational]:
        """sin a and cos a, a random point of the circle."""
        minus = (P - a.value) % P
        odd = minus in (key for name, key in self.drawn if name == "circle")
        u = self.unknown("circle", Rational(minus) if odd else a)
        square = u * u
        sine, cosine = TWO * u / (ONE + square), (ONE - square) / (ONE + square)
        return (Rational(-sine.value % P, sine.up, sine.down) if odd else sine), cosine


def simplest(x: float) -> Fraction:
    """The fraction with a small denominator that rounds to ``x``, as 1/10 does to 0.1; else ``x`` to the last bit."""
    exact = Fraction(x)
    simple = exact.limit_denominator(SIMPLE)
    return simple if float(simple) == x else exact


class Sampled(Protocol):
    """A number that has a sample."""

    @property
    def sample(self) -> float: ...


Entry = TypeVar("Entry", bound=Sampled)


def choice(algebra: Any, name: str, *operands: Entry) -> tuple[Entry, bool]:
    """One of ``CHOICES`` of numbers with samples, and on which side of the kink they are."""
    a, b = operands if len(operands) == 2 else (operands[0], algebra.lift(0))
    over = bool(a.sample > b.sample)
    if name == "sign":
        return algebra.lift(1 if over else -1), over
    if name == "absolute":
        return (a if over else algebra.apply("negative", a)), over
    return (a if over == (name in ("maximum", "fmax")) else b), over


def sampled(name: str, samples: list[float]) -> float:
    """The same function of floats; NaN where that fails: it decides nothing any more."""
    try:
        return SAMPLES[name](*samples)
    except (ArithmeticError, ValueError):
        return math.nan


Rule = Callable[..., tuple[Rational, tuple[Rational | None, ...]]]  # the value, and a derivative for each operand


def _tanh(at: Point, a: Rational) -> tuple[Rational, tuple[Rational]]:
    e = at.exp(TWO * a)
    t = (e - ONE) / (e + ONE)
    return t, (ONE - t * t,)


def _exp(at: Point, a: Rational) -> tuple[Rational, tuple[Rational]]:
    e = at.exp(a)
    return e, (e,)


def _expm1(at: Point, a: Rational) -> tuple[Rational, tuple[Rational]]:
    e = at.exp(a)
    return e - ONE, (e,)


def _hyperbolic(at: Point, a: Rational) -> tuple[Rational, Rational]:
    e = at.exp(a)
    return (e - ONE / e) / TWO, (e + ONE / e) / TWO


def _sinh(at: Point, a: Rational) -> tuple[Rational, tuple[Rational]]:
    s, c = _hyperbolic(at, a)
    return s, (c,)


def _cosh(at: Point, a: Rational) -> tuple[Rational, tuple[Rational]]:
    s, c = _hyperbolic(at, a)
    return c, (s,)


def _expit(at: Point, a: Rational) -> tuple[Rational, tuple[Rational]]:
    e = at.exp(a)
    s = e / (ONE + e)
    return s, (s * (ONE - s),)


def _log(at: Point, a: Rational) -> tuple[Rational, tuple[Rational]]:
    return at.unknown("log", a), (ONE / a,)


def _log1p(at: Point, a: Rational) -> tuple[Rational, tuple[Rational]]:
    return _log(at, ONE + a)


def _logaddexp(at: Point, a: Rational, b: Rational) -> tuple[Rational, tuple[Rational, Rational]]:
    e, f = at.exp(a), at.exp(b)
    return at.unknown("log", e + f), (e / (e + f), f / (e + f))


def _sqrt(at: Point, a: Rational) -> tuple[Rational, tuple[Rational]]:
    root = at.sqrt(a)
    return root, (ONE / (TWO * root),)


def _sin(at: Point, a: Rational) -> tuple[Rational, tuple[Rational]]:
    s, c = at.circle(a)
    return s, (c,)


def _cos(at: Point, a: Rational) -> tuple[Rational, tuple[Rational]]:
    s, c = at.circle(a)
    return c, (Rational(-s.value % P, s.up, s.down),)


def _arctan(at: Point, a: Rational) -> tuple[Rational, tuple[Rational]]:
    return at.unknown("arctan", a), (ONE / (ONE + a * a),)


MINUS = Rational(P - 1)
RULES: dict[str, Rule] = {
    "subtract": lambda _, a, b: (a - b, (ONE, MINUS)),
    "divide": lambda _, a, b: (a / b, (ONE / b, MINUS * a / (b * b))),
    "negative": lambda _, a: (MINUS * a, (MINUS,)),
    "positive": lambda _, a: (a, (ONE,)),
    "conjugate": lambda _, a: (a, (ONE,)),
    "square": lambda _, a: (a * a, (TWO * a,)),
    "reciprocal": lambda _, a: (ONE / a, (MINUS / (a * a),)),
    "tanh": _tanh,
    "exp": _exp,
    "expm1": _expm1,
    "sinh": _sinh,
    "cosh": _cosh,
    "expit": _expit,  # SciPy's
    "log": _log,
    "log1p": _log1p,
    "logaddexp": _logaddexp,
    "sqrt": _sqrt,
    "sin": _sin,
    "cos": _cos,
    "arctan": _arctan,
}
SAMPLES: dict[str, Callable[..., float]] = {
    **{name: getattr(math, name) for name in ("tanh", "exp", "expm1", "sinh", "cosh", "log", "log1p", "sqrt", "sin")},
    "cos": math.cos,
    "add": lambda a, b: a + b,
    "multiply": lambda a, b: a * b,
    "subtract": lambda a, b: a - b,
    "divide": lambda a, b: a / b,
    "power": lambda a, b: a**b,
    "negative": lambda a: -a,
    "positive": lambda a: a,
    "conjugate": lambda a: a,
    "square": lambda a: a * a,
    "reciprocal": lambda a: 1 / a,
    "expit": lambda a: 0.5 + 0.5 * math.tanh(0.5 * a),
    "logaddexp": lambda a, b: max(a, b) + math.log1p(math.exp(-abs(a - b))),
    "arctan": math.atan,
}
COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "less": lambda a, b: a < b,
    "less_equal": lambda a, b: a <= b,
    "greater": lambda a, b: a > b,
    "greater_equal": lambda a, b: a >= b,
    "equal": lambda a, b: a == b,
    "not_equal": lambda a, b: a != b,
}
CHOICES = ("maximum", "minimum", "fmax", "fmin", "absolute", "sign")

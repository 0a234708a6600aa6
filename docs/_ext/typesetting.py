"""The equations of ``minirnn.explain.equations_of``, read: so that they can be computed, and typeset.

    r = σ(p_r + q_r)
    dp_z = dq_z = dz z (1 - z)

Factors that stand side by side are multiplied, ``/`` divides one by the next; ``'`` marks what a step makes, ``d`` the
gradient of what follows it, and ``a where b > 0, else c`` chooses.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

TOKEN = re.compile(r"\s*(?:(?P<number>\d+)|(?P<name>[A-Za-zσε]+(?:_[a-z]+)?'?)|(?P<sign>[-+/()²>,]))")
FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "tanh": np.tanh,
    "σ": lambda a: 1 / (1 + np.exp(-a)),
    "sqrt": np.sqrt,
    "mean": lambda a: np.mean(a, -1, keepdims=True),
    "var": lambda a: np.var(a, -1, keepdims=True),
}
IN_LATEX = {"tanh": r"\tanh", "σ": r"\sigma"} | {name: rf"\operatorname{{{name}}}" for name in ("sqrt", "mean", "var")}
KEYWORDS = ("where", "else")


@dataclass(frozen=True)
class Name:
    """A quantity."""

    name: str


@dataclass(frozen=True)
class Number:
    """An integer."""

    value: int


@dataclass(frozen=True)
class Square:
    """The square of what stands before ²."""

    of: "Term"


@dataclass(frozen=True)
class Product:
    """Two or more factors."""

    factors: tuple["Term", ...]


@dataclass(frozen=True)
class Quotient:
    """One factor divided by another."""

    of: "Term"
    by: "Term"


@dataclass(frozen=True)
class Sum:
    """Summands, each with its sign."""

    parts: tuple[tuple[str, "Term"], ...]


@dataclass(frozen=True)
class Call:
    """A function of one argument."""

    function: str
    argument: "Term"


@dataclass(frozen=True)
class Choice:
    """``yes`` where ``condition`` is above 0, else ``no``."""

    yes: "Term"
    condition: "Term"
    no: "Term"


Term: TypeAlias = Name | Number | Square | Product | Quotient | Sum | Call | Choice


def statement(text: str) -> tuple[tuple[str, ...], Term]:
    """The names that an equation defines, and what they are."""
    *names, right = (part.strip() for part in text.split("="))
    return tuple(names), parsed(right)


def parsed(text: str) -> Term:
    """An expression as a tree; ValueError where it is none."""
    tokens, end = [], 0
    while end < len(text.rstrip()):
        match = TOKEN.match(text, end)
        if match is None:
            raise ValueError(f"{text!r} must be an expression; {text[end:]!r} is none")
        tokens.append((str(match.lastgroup), match[0].strip()))
        end = match.end()
    reader = _Reader(tokens)
    term = reader.choice()
    if reader.ahead()[1]:
        raise ValueError(f"{text!r} must be one expression; {reader.ahead()[1]!r} is left over")
    return term


class _Reader:
    """Reads tokens by recursive descent."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self.tokens = tokens

    def ahead(self) -> tuple[str, str]:
        return self.tokens[0] if self.tokens else ("end", "")

    def take(self, wanted: str = "") -> str:
        found = self.ahead()[1]
        if wanted and found != wanted:
            raise ValueError(f"expected {wanted!r}; got {found!r}")
        self.tokens = self.tokens[1:]
        return found

    def choice(self) -> Term:
        yes = self.sum()
        if self.ahead()[1] != "where":
            return yes
        self.take()
        condition = self.sum()
        for word in (">", "0", ",", "else"):
            self.take(word)
        return Choice(yes, condition, self.sum())

    def sum(self) -> Term:
        parts = [(self.take() if self.ahead()[1] == "-" else "+", self.product())]
        while self.ahead()[1] in ("+", "-"):
            parts.append((self.take(), self.product()))
        return parts[0][1] if len(parts) == 1 and parts[0][0] == "+" else Sum(tuple(parts))

    def product(self) -> Term:
        factors = [self.factor()]
        while (kind := self.ahead()) and (kind[0] in ("name", "number") or kind[1] in ("(", "/")):
            if kind[1] in KEYWORDS:
                break
            if kind[1] == "/":
                self.take()
                factors[-1] = Quotient(factors[-1], self.factor())
            else:
                factors.append(self.factor())
        return factors[0] if len(factors) == 1 else Product(tuple(factors))

    def factor(self) -> Term:
        kind, word = self.ahead()
        self.take()
        term: Term
        if kind == "number":
            term = Number(int(word))
        elif word in FUNCTIONS:
            term = Call(word, self.bracketed())
            if self.ahead()[1] == "²":
                raise ValueError(f"write ({word}(...))² for the square of a function's value")
        elif kind == "name":
            term = Name(word)
        elif word == "(":
            self.tokens = [(kind, word), *self.tokens]
            term = self.bracketed()
        else:
            raise ValueError(f"expected a quantity; got {word!r}")
        if self.ahead()[1] == "²":
            self.take()
            return Square(term)
        return term

    def bracketed(self) -> Term:
        self.take("(")
        inside = self.sum()
        self.take(")")
        return inside


def computed(term: Term, values: Mapping[str, Any]) -> Any:
    """The value of an expression, given those of its names."""
    match term:
        case Name(name):
            return values[name]
        case Number(value):
            return value
        case Square(of):
            return computed(of, values) ** 2
        case Product(factors):
            return np.prod(np.broadcast_arrays(*(computed(f, values) for f in factors)), axis=0)
        case Quotient(of, by):
            return computed(of, values) / computed(by, values)
        case Sum(parts):
            return sum(computed(part, values) * (-1 if sign == "-" else 1) for sign, part in parts)
        case Call(function, argument):
            return FUNCTIONS[function](computed(argument, values))
        case Choice(yes, condition, no):
            return np.where(computed(condition, values).real > 0, computed(yes, values), computed(no, values))


def run(equations: Iterable[str], values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` after the equations, one by one from the first; a name may be given a new value."""
    known = dict(values)
    for text in equations:
        names, right = statement(text)
        known |= dict.fromkeys(names, computed(right, known))
    return known


def latex(term: Term) -> str:
    """An expression as LaTeX."""
    match term:
        case Name(name):
            return name_in_latex(name)
        case Number(value):
            return str(value)
        case Square(of):
            body = latex(of) if isinstance(of, Name) else f"({latex(of)})"
            return f"{{{body}}}^2" if body.endswith("'") else f"{body}^2"
        case Product(factors):
            return r"\,".join(f"({latex(f)})" if isinstance(f, Sum) else latex(f) for f in factors)
        case Quotient(of, by):
            return rf"\frac{{{latex(of)}}}{{{latex(by)}}}"
        case Sum(parts):
            return "".join(_signed(k, sign, part) for k, (sign, part) in enumerate(parts))
        case Call(function, argument):
            return f"{IN_LATEX[function]}({latex(argument)})"
        case Choice(yes, condition, no):
            return rf"{latex(yes)} \text{{ where }} {latex(condition)} > 0 \text{{, else }} {latex(no)}"


def _signed(k: int, sign: str, part: Term) -> str:
    body = f"({latex(part)})" if isinstance(part, Sum) else latex(part)
    return body if k == 0 and sign == "+" else f" {sign} {body}"


def name_in_latex(name: str) -> str:
    """A name as LaTeX, the d of a gradient upright."""
    gradient = len(name.partition("_")[0].rstrip("'")) > 1 and name[0] == "d"
    letter, _, index = (name[1:] if gradient else name).partition("_")
    return (r"\text{d}" if gradient else "") + letter + (f"_{index}" if index else "")


def equation_in_latex(text: str) -> str:
    """A whole equation as LaTeX."""
    names, right = statement(text)
    return " = ".join([*(name_in_latex(name) for name in names), latex(right)])

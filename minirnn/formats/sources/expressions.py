"""Expressions of languages that write them as C does."""

from collections.abc import Callable
from typing import TypeAlias

from minirnn.formats.sources.equations import Value
from minirnn.kernels.facts import BINARY, COMPARISONS, LIMITS, Place

Where: TypeAlias = Callable[[Place], str]  # the number at a place


class Expressions:
    """What C and JavaScript write alike; a language says how it writes a number, a call, and a rounded result."""

    def number(self, number: float) -> str:
        """A float32."""
        raise NotImplementedError(f"{type(self).__name__} does not define number")

    def call(self, function: str, argument: str) -> str:
        """A function, by NumPy's name, of one argument."""
        raise NotImplementedError(f"{type(self).__name__} does not define call")

    def rounded(self, expression: str) -> str:
        """The result of an operation of two numbers, in parentheses, as float32."""
        return expression

    def value(self, value: Value, where: Where) -> str:
        """An expression; ``where`` gives the number at a place."""
        name, *operands = value
        if name == "number":
            text = self.number(operands[0])
            return f"({text})" if text.startswith("-") else text
        if name == "name":
            return str(operands[0])
        if name == "load":
            return where(operands[0])
        a = [self.value(one, where) for one in operands]
        if name in BINARY:
            return self.rounded(f"({a[0]} {BINARY[name]} {a[1]})")
        if name in COMPARISONS:
            return f"{a[0]} {COMPARISONS[name]} {a[1]}"
        if name == "negative":
            return f"(-{a[0]})"
        if name == "where":
            return f"({a[0]} ? {a[1]} : {a[2]})"
        if name in LIMITS:
            return f"({a[0]} {LIMITS[name]} {a[1]} ? {a[1]} : {a[0]})"
        return self.call(name, a[0])

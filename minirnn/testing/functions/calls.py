"""The forms in which people write a forward pass and its backward pass, and how each is called.

====================================  =========================================  ==============================
form                                  forward pass                               backward pass
====================================  =========================================  ==============================
``"vjp"``                             ``f(*args) -> y``                          ``backward(dy, *args)``
``"cache"``                           ``f(*args) -> (y, cache)``                 ``backward(dy, cache)``
``"closure"``                         ``f(*args) -> (y, backward)``              ``backward(dy)``
``"loss"``                            ``f(*args) -> (loss, gradients)``          none
``"object"``                          ``f.forward(*args) -> y``                  ``f.backward(dy)``
====================================  =========================================  ==============================

Several outputs come as several y before the cache, and go back as several dy; a backward pass that takes fewer of them
is held against those.  A backward pass whose arguments have the names of f's gets them by name.
"""

import copy
import inspect
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from minirnn.testing.functions.derivatives import frozen
from minirnn.testing.functions.leaves import Array, Leaf, Path, floats_in, leaves_of, unshared, with_arrays
from minirnn.testing.functions.parameters import Parameter, parameters_of, zeroed

Form: TypeAlias = Literal["vjp", "cache", "closure", "loss", "object"]
Values: TypeAlias = dict[Path, Array]


@dataclass
class Result:
    """What one forward pass gave: its arguments as it left them, its outputs, and what its backward pass needs."""

    arguments: tuple[Any, ...]
    outputs: Any
    rest: Any = None
    leaves: list[Leaf] = field(default_factory=list)

    @property
    def vector(self) -> Array:
        """All outputs that are floats, one after another."""
        return np.concatenate([leaf.array.ravel() for leaf in self.leaves] or [np.zeros(0)])


class Function:
    """A function with its backward pass, at given arguments.

    ``leaves`` are the arrays of floats that it is a function of: of its arguments, and an object's parameters.  A
    ``formula`` returns what f does, and complex numbers pass it: derivatives are those of the formula then.
    """

    def __init__(
        self,
        f: Any,
        backward: Any,
        args: Sequence[Any],
        *,
        form: Form | None = None,
        into: Sequence[str] = (),
        formula: Callable[..., Any] | None = None,
    ) -> None:
        self.formula = formula
        self.f, self.backward, self.args, self.into = f, backward, tuple(args), tuple(into)
        is_object = hasattr(f, "forward") and hasattr(f, "backward")
        call = f.forward if is_object else f
        if not callable(call):
            raise TypeError(f"f must be a function, or an object with forward and backward; got {type(f).__name__}")
        if form is not None and form not in get_args(Form):
            raise ValueError(f"form must be one of {', '.join(get_args(Form))}; got {form!r}")
        self.names = names_of(call, len(self.args))
        self.accumulators = [self.names.index(name) for name in self._known(into)]
        self.form: Form = form or ("object" if is_object and backward is None else "vjp")
        self.start = 0.0  # what accumulators are full of
        self.takes = 0  # of a backward pass that takes a cache: how many dy
        self.by_name: str | None = None
        if form is None and self.form == "vjp":
            self.form = self._form()
        elif self.form == "cache":
            self.takes = max(1, _count(backward)[1] - 1 - len(self.accumulators))
        self.parameters: list[Parameter] = []
        self.leaves = [
            Leaf(leaf.name, (k, *leaf.path), leaf.array)
            for k, (name, value) in enumerate(zip(self.names, self.args, strict=True))
            for leaf in leaves_of(value, name)
        ]
        if self.form == "object":
            self.parameters = parameters_of(f, self._trial_of_object)
            self.leaves += [Leaf(one.name, one.path, one.value(f)) for one in self.parameters]
        if not self.leaves:
            raise ValueError("f must have at least one argument with floats in it; none of these has")

    def _known(self, names: Sequence[str]) -> Sequence[str]:
        for name in names:
            if name not in self.names:
                raise ValueError(f"{name!r} is no argument of f, which has {', '.join(self.names)}")
        return names

    # ------------------------------------------------------------------ one call

    def run(self, values: Values | None = None) -> Result:
        """One forward pass, of copies of the arguments with other numbers in the places that ``values`` names."""
        here = values or {}
        every = with_arrays(self.args, here.get)  # whose paths begin with the argument's number
        arguments: tuple[Any, ...] = tuple(every)
        with frozen():
            if self.form == "object":
                one = copy.deepcopy(self.f)
                for parameter in self.parameters:
                    if parameter.path in here:
                        parameter.set(one, here[parameter.path])
                outputs, rest = one.forward(*arguments), one
            else:
                outputs, rest = self._split(self.f(*arguments))
        result = Result(arguments, outputs, rest)
        result.leaves = list(leaves_of(outputs, "y"))
        return result

    def vector(self, values: Values) -> Array:
        """All outputs that are floats, one after another."""
        if self.formula is None:
            return self.run(values).vector
        if self.form == "object":
            one = copy.copy(self.f)
            for parameter in self.parameters:
                parameter.set(one, values[parameter.path])
            outputs = self.formula(one, *with_arrays(self.args, values.get))
        else:
            outputs = self.formula(*with_arrays(self.args, values.get))[: max(1, self.takes)]
        return np.concatenate([np.ravel(y) for y in outputs])

    def pull(self, result: Result, cotangents: Sequence[Array]) -> Any:
        """What the backward pass returns for these gradients of the outputs, or leaves in accumulators."""
        return self.pull_from(result, self.gradient_of_outputs(result, cotangents))

    def pull_from(self, result: Result, dy: Any) -> Any:
        """``pull`` of gradients that are put together as the outputs are: backward gets these, not copies."""
        dys = dy if isinstance(dy, tuple) and not hasattr(dy, "_fields") else (dy,)
        with frozen():
            if self.form == "loss":
                return result.rest
            if self.form == "closure":
                return result.rest(*dys)
            if self.form == "object":
                zeroed(result.rest, self.parameters)
                return result.rest.backward(*dys)
            extra = tuple(self._room(k) for k in self.accumulators)
            arguments = (result.rest,) if self.form == "cache" else result.arguments
            if self.by_name is not None:
                named = dict(zip(self.names, arguments, strict=True)) | {self.by_name: dy}
                returned = self.backward(**named)
            else:
                returned = self.backward(*dys, *arguments, *extra)
            return extra or returned

    def gradient_of_outputs(self, result: Result, cotangents: Sequence[Array]) -> Any:
        """``cotangents``, one for each output that is an array of floats, put together as the outputs are."""
        left = iter(cotangents)
        return with_arrays(result.outputs, lambda _: next(left))

    def pull_into(self, result: Result, cotangents: Sequence[Array], start: float) -> tuple[Any, ...]:
        """What a backward pass leaves in accumulators that were full of ``start``."""
        self.start = start
        try:
            filled: tuple[Any, ...] = self.pull(result, cotangents)
        finally:
            self.start = 0.0
        return filled

    def _room(self, k: int) -> Any:
        return with_arrays(self.args[k], lambda path: np.full_like(_at(self.args[k], path), self.start))

    def with_backward(self, values: Values, result: Result, make: Callable[[Any], Any]) -> tuple["Function", Result]:
        """The same with another backward pass, which ``make`` makes of this one, and ``result`` as that one sees it."""
        edited, rest = copy.copy(self), result.rest
        if self.form == "loss":
            edited.f = make(self.f)
            return edited, edited.run(values)
        if self.form == "closure":
            rest = make(rest)
        elif self.form == "object":
            rest = copy.deepcopy(rest)
            rest.backward = types.MethodType(make(inspect.unwrap(type(self.f).backward)), rest)
        else:
            edited.backward, rest = make(inspect.unwrap(self.backward)), copy.deepcopy(rest)
        return edited, Result(unshared(result.arguments), result.outputs, rest, result.leaves)

    # ------------------------------------------------------------------ which form

    def _split(self, returned: Any) -> tuple[Any, Any]:
        """The outputs, and what the backward pass needs, of what f returned."""
        if self.form == "vjp":
            return returned, None
        if not isinstance(returned, tuple) or len(returned) < 2:
            raise TypeError(f"f in the form {self.form!r} must return a tuple, outputs first; got {_kind(returned)}")
        if self.form == "loss":
            return returned[0], returned[1] if len(returned) == 2 else returned[1:]
        count = self.takes if self.form == "cache" else len(returned) - 1
        return returned[0] if count == 1 else returned[:count], returned[-1]

    def _form(self) -> Form:
        """The form that f and backward have, by what f returns and how many arguments backward takes."""
        with frozen():
            returned = self.f(*(with_arrays(value, lambda _: None) for value in self.args))
        many = returned if isinstance(returned, tuple) and not hasattr(returned, "_fields") else (returned,)
        if self.backward is None:
            if len(many) >= 2 and callable(many[-1]):
                return "closure"
            first = floats_in(many[0])
            if len(many) >= 2 and first is not None and first.size == 1:
                return "loss"
            raise ValueError("without a backward pass, f must return (y, backward), or a loss and its gradients")
        others = [name for name in _required(self.backward) if name not in self.names]
        if len(others) == len(many) == 1 and set(_required(self.backward)) - set(others) == set(self.names):
            self.by_name = others[0]
            return "vjp"
        least, most = _count(self.backward)
        least, most = least - len(self.accumulators), most - len(self.accumulators)
        whole = len(many) + len(self.args)
        if least <= whole <= most and not (len(many) >= 2 and least < whole):
            return "vjp"
        if len(many) >= 2:
            for takes in (len(many) - 1, *range(len(many) - 2, 0, -1)):
                if least <= takes + 1 <= most:
                    self.takes = takes
                    return "cache"
        into = "" if self.into or least <= whole else "; arrays that it adds gradients to are named by into="
        raise TypeError(
            f"backward must take dy and f's {len(self.args)} arguments, or dy and the cache that f returns last; f "
            f"returned {_kind(returned)}, and backward takes {least if least == most else f'{least} to {most}'}{into}"
        )

    def _trial_of_object(self, one: Any) -> None:
        """A forward and a backward pass of an object."""
        with frozen():
            result = Result((), one.forward(*(with_arrays(value, lambda _: None) for value in self.args)), one)
            result.leaves = list(leaves_of(result.outputs, "y"))
            dy = self.gradient_of_outputs(result, [np.ones_like(leaf.array) for leaf in result.leaves])
            one.backward(*(dy if isinstance(dy, tuple) else (dy,)))


def names_of(f: Callable[..., Any], count: int) -> list[str]:
    """The names of the first ``count`` positional parameters, as far as they are known."""
    try:
        parameters = [
            p
            for p in inspect.signature(f).parameters.values()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
    except (TypeError, ValueError):  # of a function that is not Python's
        parameters = []
    names = [p.name for p in parameters[:count]]
    return names + [f"argument {k}" for k in range(len(names), count)]


def _required(f: Callable[..., Any]) -> list[str]:
    try:
        parameters = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]


def _count(f: Callable[..., Any]) -> tuple[int, int]:
    """How many positional arguments f needs at least, and takes at most."""
    try:
        parameters = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):
        return 1, 99
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return sum(
            p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters
        ), 99
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return sum(p.default is p.empty for p in positional), len(positional)


def _at(value: Any, path: Path) -> Array:
    return next(leaf.array for leaf in leaves_of(value, "") if leaf.path == path)


def _kind(value: Any) -> str:
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return f"{type(value).__name__} of shape {value.shape}" if hasattr(value, "shape") else type(value).__name__

"""What a backward pass may do wrong that no single gradient shows: change its arguments, remember, forget to add."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np

from minirnn.testing.functions.comparing import Check
from minirnn.testing.functions.faults import CHANGED, OVERWRITTEN, STALE, Fault
from minirnn.testing.functions.leaves import Array, leaves_of, numbers_in
from minirnn.testing.functions.matching import gradients_of


def faults_of_calls(check: Check, *, accumulates: bool) -> list[Fault]:
    """The faults that show in what two calls do to their arguments and to one another."""
    return [*_changed(check), *_remembered(check), *_overwritten(check, accumulates=accumulates)]


def _changed(check: Check) -> Iterator[Fault]:
    """Arguments that f or backward wrote to."""
    function = check.function
    judged = {leaf.path for leaf in check.judged}
    result = function.run(check.values)
    for leaf in _leaves(function.names, result.arguments):
        if leaf.path in judged and not _same(leaf.array, check.values[leaf.path]):
            yield Fault(leaf.name, CHANGED, "f writes to it: the caller's array is another one afterwards")
    before = [leaf.array for leaf in _leaves(function.names, result.arguments)]
    cached = copy.deepcopy(list(leaves_of(result.rest, "cache"))) if function.form == "cache" else []
    dys = [dy.copy() for dy in check.dys]
    dy_of_all = function.gradient_of_outputs(result, dys)
    function.pull_from(result, dy_of_all)
    for leaf, dy in zip(leaves_of(dy_of_all, "dy"), check.dys, strict=True):
        if not _same(leaf.array, dy):
            yield Fault(leaf.name, CHANGED, "backward writes to it: the caller's array is another one afterwards")
    for leaf, was in zip(_leaves(function.names, result.arguments), before, strict=True):
        if leaf.path in judged and not _same(leaf.array, was):
            yield Fault(leaf.name, CHANGED, "backward writes to it: the caller's array is another one afterwards")
    for leaf, old in zip(leaves_of(result.rest, "cache") if cached else (), cached, strict=True):
        if not _same(leaf.array, old.array):
            yield Fault(leaf.name, CHANGED, "backward writes to it: a second call would see another cache")
            break


def _remembered(check: Check) -> Iterator[Fault]:
    """A backward pass that depends on what was called since its forward pass."""
    function = check.function
    if function.form == "object":
        return
    result = function.run(check.values)
    rng = np.random.default_rng(5)
    other = {path: a * (1 + 0.1 * rng.random(a.shape)) for path, a in check.values.items()}
    try:
        function.run(other)
    except (ValueError, ArithmeticError):
        return
    late = check.pulled(result, check.dys)
    for leaf in check.judged:
        a, b = (numbers_in(g.get(leaf.path)) for g in (check.gradients, late))
        if a is not None and (b is None or not _same(a, b)):
            yield Fault(leaf.name, STALE, "it is another one where f was called again before backward")
            return
    if function.form in ("cache", "closure"):
        again = check.pulled(result, check.dys)
        for leaf in check.judged:
            a, b = (numbers_in(g.get(leaf.path)) for g in (late, again))
            if a is not None and (b is None or not _same(a, b)):
                yield Fault(leaf.name, STALE, "a second call of backward on the same cache gives another one")
                return


def _overwritten(check: Check, *, accumulates: bool) -> Iterator[Fault]:
    """Accumulators that are assigned to, not added to."""
    function = check.function
    if function.accumulators:
        filled = function.pull_into(function.run(check.values), check.dys, 1.0)
        for k, value in zip(function.accumulators, filled, strict=True):
            for leaf in leaves_of(value, function.names[k]):
                right = numbers_in(check.gradients.get((k, *leaf.path)))
                if right is not None and _same(leaf.array, right) and not _same(leaf.array, right + 1.0):
                    yield Fault(
                        leaf.name, OVERWRITTEN, "what was in the accumulator is lost: a gradient must be added to it"
                    )
    if accumulates and function.form == "object":
        result = function.run(check.values)
        function.pull(result, check.dys)
        dy = function.gradient_of_outputs(result, check.dys)
        function.run(check.values)
        result.rest.forward(*result.arguments)
        result.rest.backward(*(dy if isinstance(dy, tuple) else (dy,)))
        twice = gradients_of(function, None, result.rest, None)
        for one in function.parameters:
            a, b = numbers_in(check.gradients.get(one.path)), numbers_in(twice.get(one.path))
            if a is not None and b is not None and np.abs(a).max(initial=0.0) and not _same(2 * a, b):
                yield Fault(
                    one.name, OVERWRITTEN, "a second backward pass replaces its gradient: it must be added to it"
                )


def _leaves(names: list[str], arguments: Any) -> Iterator[Any]:
    for k, (name, value) in enumerate(zip(names, arguments, strict=True)):
        for leaf in leaves_of(value, name):
            yield leaf._replace(path=(k, *leaf.path))


def _same(a: Array, b: Array) -> bool:
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-9, atol=1e-12, equal_nan=True))

"""CMU 11-785's CTC: a class ``CTC`` of a target's lattice, and ``CTCLoss`` with ``forward`` and ``backward``.

What the course calls logits are probabilities y.  The loss is the mean over the rows of -sum gamma log y, gamma being
the posterior of every extended symbol at every step.  The gradient is -gamma / y, added up for every symbol, and is not
divided by the rows.  Each method is given what the methods before it must return, so that each is judged by itself.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache, partial
from itertools import product
from types import ModuleType
from typing import Any

import numpy as np

from minirnn.testing.courses.exercises import copied
from minirnn.testing.courses.findings import RETURNS, Finding, Result, of_error
from minirnn.testing.courses.limits import TimeUpError, quiet, seconds
from minirnn.testing.courses.outputs import Sizes, Task, hopeless, judge_outputs
from minirnn.testing.functions.blame import Answer
from minirnn.testing.functions.leaves import Array
from minirnn.testing.functions.source import attributes_of

COURSE = "CMU 11-785"
BLANK = 0
METHODS = ("extend_target_with_blank", "get_forward_probs", "get_backward_probs", "get_posterior_probs")
TOLERANCE = 1e-6  # relative: many add a small number to what they divide by
USUAL = (7, 4, 4)  # steps T, labels L, symbols C
USUAL_LOSS = (3, *USUAL)
CREATE = 1.0  # seconds to make an object


# ---------------------------------------------------------------------- what the course asks for


def extended(target: Array) -> tuple[Array, Array]:
    """A target (L,) with blanks around its labels (2L + 1,), and where a blank before a label may be left out."""
    symbols = np.full(2 * len(target) + 1, BLANK)
    symbols[1::2] = target
    skips = np.zeros(len(symbols), dtype=int)
    skips[2:] = (symbols[2:] != BLANK) & (symbols[2:] != symbols[:-2])
    return symbols, skips


def forward_probs(y: Array, symbols: Array, skips: Array) -> Array:
    """Alpha (T, S) of probabilities y (T, C): the sum over all paths that end at a symbol, its own y included."""
    alpha = np.zeros((len(y), len(symbols)))
    alpha[0, :2] = y[0, symbols[:2]]
    for t in range(1, len(y)):
        before = alpha[t - 1]
        reached = before.copy()
        reached[1:] += before[:-1]
        reached[2:] += skips[2:] * before[:-2]
        alpha[t] = reached * y[t, symbols]
    return alpha


def backward_probs(y: Array, symbols: Array, skips: Array) -> Array:
    """Beta (T, S): the sum over all paths from a symbol to the end, its own y left out."""
    beta = np.zeros((len(y), len(symbols)))
    beta[-1, -2:] = 1
    for t in range(len(y) - 2, -1, -1):
        after = beta[t + 1] * y[t + 1, symbols]
        beta[t] = after
        beta[t, :-1] += after[1:]
        beta[t, :-2] += skips[2:] * after[2:]
    return beta


def posterior_probs(alpha: Array, beta: Array) -> Array:
    """Gamma (T, S): the product, divided by its sum over the symbols of a step."""
    both = alpha * beta
    return np.asarray(both / both.sum(axis=1, keepdims=True))


def loss_and_gradient(y: Array, targets: Array, steps: Array, labels: Array) -> tuple[Array, Array]:
    """The loss () of probabilities (T, B, C) and padded targets (B, L), and its gradient (T, B, C)."""
    losses, dy = [], np.zeros(y.shape)
    for b in range(len(targets)):
        here = y[: steps[b], b]
        symbols, skips = extended(targets[b, : labels[b]])
        gamma = posterior_probs(forward_probs(here, symbols, skips), backward_probs(here, symbols, skips))
        losses.append(-(gamma * np.log(here[:, symbols])).sum())
        for s, symbol in enumerate(symbols):
            dy[: steps[b], b, symbol] -= gamma[:, s] / here[:, symbol]
    return np.array(np.mean(losses)), dy


RIGHT: dict[str, Callable[..., Any]] = dict(
    zip(METHODS, (extended, forward_probs, backward_probs, posterior_probs), strict=True)
)


# ---------------------------------------------------------------------- what is drawn


def _target(rng: np.random.Generator, L: int, C: int) -> Array:
    """Labels, of which two in a row are alike where there are three or more."""
    target = rng.integers(1, C, L)
    if L > 2:
        target[0] = 1 + target[1] % (C - 1)
        target[2] = target[1]
    return target


def _probabilities(rng: np.random.Generator, *shape: int) -> Array:
    y = rng.uniform(0.2, 1.0, shape)
    return np.asarray(y / y.sum(axis=-1, keepdims=True))


def _least(target: Array) -> int:
    """How many steps a target takes."""
    return len(target) + int((target[1:] == target[:-1]).sum())


def arguments_of(method: str, sizes: Sizes, point: int) -> tuple[Any, ...]:
    """What a method is called with, self apart: T is more where the target takes more steps."""
    rng = np.random.default_rng([point, *sizes])
    if method in ("forward", "backward"):
        B, T, L, C = sizes
        labels = np.concatenate([[L], rng.integers(1, L + 1, B - 1)])
        targets = np.zeros((B, L), dtype=int)
        for b in range(B):
            targets[b, : labels[b]] = _target(rng, labels[b], C)
        least = [_least(row[:n]) for row, n in zip(targets, labels, strict=True)]
        T = max(T, *least)
        steps = np.array([T, *(rng.integers(n, T + 1) for n in least[1:])])
        return _probabilities(rng, T, B, C), targets, steps, labels
    T, L, C = sizes
    target = _target(rng, L, C)
    if method == METHODS[0]:
        return (target,)
    y = _probabilities(rng, max(T, _least(target)), C)
    symbols, skips = extended(target)
    if method == METHODS[3]:
        return forward_probs(y, symbols, skips), backward_probs(y, symbols, skips)
    return y, symbols, skips


# ---------------------------------------------------------------------- what is judged


def graded(module: ModuleType, file: str, progress: Callable[[str], None]) -> list[Result]:
    """The results of the two classes, where a module defines them."""
    lattice, loss = (_class(module, name, of) for name, of in (("CTC", METHODS), ("CTCLoss", ("forward", "backward"))))
    results: list[Result] = []
    for name in METHODS if lattice else ():
        progress(f"CTC.{name}")
        results.append(_judged(lattice, name, file))
    if loss is None:
        return results
    blamed = next((result.function for result in results if not result.ok), "")
    with _right(lattice if blamed else None):
        progress(loss.__name__)
        ahead = _judged(loss, "forward", file)
        name = "CTCLoss.backward"
        behind = (
            Result(name, COURSE, "not judged", blamed=ahead.function)
            if hopeless(ahead)
            else _judged(loss, "backward", file)
        )
    return [*results, *(replace(one, blamed=one.blamed or blamed) for one in (ahead, behind))]


def _class(module: ModuleType, name: str, methods: Sequence[str]) -> Any:
    found = getattr(module, name, None)
    here = isinstance(found, type) and all(callable(getattr(found, method, None)) for method in methods)
    return found if here else None


@contextmanager
def _right(lattice: Any) -> Iterator[None]:
    """Inside, the methods of a class are right ones."""
    before = {name: getattr(lattice, name) for name in METHODS} if lattice else {}
    for name in before:
        setattr(lattice, name, staticmethod(RIGHT[name]))
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(lattice, name, function)


def _judged(cell: Any, method: str, file: str) -> Result:
    name, function = f"{cell.__name__}.{method}", getattr(cell, method)
    of_loss = method in ("forward", "backward")
    try:
        with seconds(CREATE):
            made = cell()
    except (Exception, TimeUpError) as error:  # noqa: BLE001 - a student's code may raise anything
        return Result(name, COURSE, "wrong", (of_error(error, file, name),))

    @cache
    def right(sizes: Sizes, point: int) -> tuple[tuple[Any, ...], tuple[str, ...]]:
        return _right_of(method, arguments_of(method, sizes, point))

    def call(function: Callable[..., Any], sizes: Sizes, point: int) -> Any:
        given, one = copied(arguments_of(method, sizes, point)), copy.deepcopy(made)
        if method == "backward":
            one.forward(*given)
            return function(one)
        return function(one, *given)

    def answers(returned: Any, sizes: Sizes, point: int) -> Sequence[Answer] | Finding:
        expected, names = right(sizes, point)
        if len(names) > 1 and (not isinstance(returned, (tuple, list)) or len(returned) != len(names)):
            return Finding(name, RETURNS, f"it must return {' and '.join(names)}")
        values = returned if len(names) > 1 else (returned,)
        return [
            Answer(what, np.asarray(y, dtype=float) if _numbers(y) else y, np.asarray(d, dtype=float))
            for what, y, d in zip(names, values, expected, strict=True)
        ]

    extra = ["self.BLANK"]
    if method == "backward":  # what its forward pass keeps
        with suppress(Exception), quiet():
            one = copy.deepcopy(made)
            one.forward(*copied(arguments_of(method, USUAL_LOSS, 0)))
            extra += attributes_of(one)
    usual = USUAL_LOSS if of_loss else USUAL
    every = [s for s in product(*(range(1, 4) for _ in usual)) if s[-1] > 1]
    every.sort(key=lambda sizes: (sum(sizes), sizes))
    words = partial(_words, method)
    return judge_outputs(Task(name, COURSE, file, function, call, answers, usual, every, words, 2, extra, TOLERANCE))[0]


def _numbers(y: Any) -> bool:
    try:
        np.asarray(y, dtype=float)
    except (TypeError, ValueError):
        return False
    return True


def _right_of(method: str, given: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[str, ...]]:
    """What a method must return, and what that is called."""
    if method == "forward":
        return loss_and_gradient(*given)[:1], ("loss",)
    if method == "backward":
        return loss_and_gradient(*given)[1:], ("dY",)
    if method == METHODS[0]:
        return extended(*given), ("extended_symbols", "skip_connect")
    names = dict(zip(METHODS[1:], ("alpha", "beta", "gamma"), strict=True))
    return (RIGHT[method](*given),), (names[method],)


def _words(method: str, sizes: Sizes) -> str:
    given = arguments_of(method, sizes, 0)
    if method == METHODS[0]:
        return f"target {given[0].tolist()}"
    if method == METHODS[3]:
        return f"alpha and beta {given[0].shape}"
    if method in METHODS:
        return f"logits {given[0].shape}, extended_symbols {given[1].tolist()}"
    logits, targets, steps, labels = given
    return f"logits {logits.shape}, target {targets.tolist()}, lengths {steps.tolist()} and {labels.tolist()}"

"""The edits by which ``check`` finds a line: each is a program, leaves nothing behind, and mends what it says."""

from contextlib import suppress
from itertools import chain
from typing import Any

import numpy as np

from minirnn.core.backend import Array
from minirnn.testing import check
from minirnn.testing.functions.calls import Function
from minirnn.testing.functions.comparing import Check
from minirnn.testing.functions.edits import far, likely
from minirnn.testing.functions.faults import TERM
from minirnn.testing.functions.missing import missing
from minirnn.testing.functions.places import statements_of
from minirnn.testing.functions.source import code_of, compiled, rebuilt
from minirnn.testing.functions.vocabulary import Vocabulary

RNG = np.random.default_rng(3)
X, W = RNG.normal(size=(5, 4)), RNG.normal(size=(4, 3))


def carried(dy: Array, x: Array, h0: Array) -> tuple[Array, Array]:
    dx, dh = np.zeros(x.shape), np.zeros(h0.shape)
    for t in reversed(range(len(x))):
        dx[t] = dy[t] + dh
        dh += 0.5 * dx[t]  # the mistake
    return dx, dh


def carry(x: Array, h0: Array) -> Array:
    h, hs = h0, []
    for row in x:
        h = row + 0.5 * h
        hs.append(h)
    return np.array(hs)


def test_what_must_be_assigned_is_named() -> None:
    report = check(carry, carried, X, X[0], raises=False)
    assert {(fault.pattern, fault.source) for fault in report.faults} == {(TERM, "dh += 0.5 * dx[t]  # the mistake")}
    assert "dh must be assigned, not added to" in str(report)


def test_every_edit_is_a_program_or_no_formula() -> None:
    code = code_of(carried)
    assert code is not None
    known, count = Vocabulary.of(code.tree), 0
    lines = [missing(code.tree, known)]
    for place in statements_of(code.tree):
        lines += [likely(place, known), far(place, known)]
    for edit in chain(*lines):
        undo = edit.apply()
        with suppress(SyntaxError, ValueError):  # not TypeError: that is a tree with a part missing
            compiled(code)
        undo()
        count += 1
    assert count > 1000


def test_an_edit_that_writes_to_arrays_changes_none_for_the_next() -> None:
    def writes(dy: Array, x: Array) -> Array:
        x *= 3
        return x * dy

    def closure(x: Array) -> tuple[Array, Any]:
        kept = x.copy()

        def pull(dy: Array) -> Array:
            kept[...] = 3 * kept
            return kept * dy

        return x * x, pull

    point = Check(Function(lambda x: x * x, lambda dy, x: 2 * x * dy, [X]), np.random.default_rng(0), None)
    for _ in range(2):
        np.testing.assert_allclose(point.said_by(lambda _: writes)[0,], 3 * X * point.dys[0])
    pull = closure(X)[1]
    code = code_of(pull)
    assert code is not None
    for _ in range(2):
        np.testing.assert_array_equal(rebuilt(compiled(code), pull, {})(np.ones_like(X)), 3 * X)


def test_an_edit_that_loses_a_gradient_mends_nothing() -> None:
    def layer(w: dict[str, Array], x: Array) -> Array:
        return x @ w["w"]

    def spoilt(dy: Array, w: dict[str, Array], x: Array) -> tuple[Any, Array]:
        return {"w": x.T @ dy + W**2}, dy @ w["w"].T + X**2

    def backward(dy: Array, w: dict[str, Array], x: Array) -> tuple[Any, Array]:
        dw, dx = spoilt(dy, w, x)
        return dw, dx

    report = check(layer, backward, {"w": W}, X, raises=False)
    assert "swapped" not in {fault.pattern for fault in report.faults}


def test_a_line_is_missing_beside_the_only_one() -> None:
    def backward(dy: Array, x: Array, dx: Array) -> None:
        dx[0] += dy[0]

    report = check(lambda x: x[:2].copy(), backward, X, into=["x"], raises=False)
    (fault,) = report.faults
    assert fault.source == "dx[0] += dy[0]"
    assert fault.words.startswith("a line is missing")  # before or after: both are right
    assert fault.words.endswith("dx[1] += dy[1]")


def test_a_penalty_that_is_lost_is_a_missing_term() -> None:
    def loss(theta: Array, x: Array) -> tuple[Any, Array]:
        y = x @ theta
        return (y * y).sum() / 2 + 0.05 * (theta * theta).sum(), x.T @ y

    report = check(loss, W[:, 0], X, wrt=["theta"], raises=False)
    (fault,) = report.faults
    assert fault.pattern == TERM
    assert "0.1 theta" in fault.words
    assert report.remarks == ()  # on x, of which no gradient was asked for

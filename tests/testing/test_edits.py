"""The edits by which ``check`` finds a line: each is a program, leaves nothing behind, and mends what it says."""

from contextlib import suppress
from itertools import chain
from typing import Any

import numpy as np

from minirnn.core.backend import Array
from minirnn.testing import check
from minirnn.testing.functions.calls import Function
from minirnn.testing.functions.comparing import Check
from minirnn.testing.functions.derivatives import frozen
from minirnn.testing.functions.edits import far, likely
from minirnn.testing.functions.explaining import lacks
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


def test_what_one_array_lacks_to_be_another_is_said_in_words() -> None:
    x, y, dy = X[0], X[1], X[2]
    known = [("x", x), ("y", y), ("dy", dy)]

    def words(said: Array, needed: Array, stands: str = "") -> set[str]:
        return {one.words for one in lacks(said, needed, known, lambda text: text == stands)}

    assert "the factor (1 - y) is missing" in words(dy * x, dy * x * (1 - y))
    assert "the term dy * x is missing" in words(y, y + dy * x)
    assert "the term -dy is missing" in words(y, y - dy)
    assert "(1 - y ** 2) belongs where (1 - y) stands" in words(dy * (1 - y), dy * (1 - y**2), "y")
    assert words(y, y + 1e-4 * x * np.exp(dy)) == set()


def test_frozen_numbers_begin_again_within_and_are_put_back_outside() -> None:
    np.random.seed(3)  # noqa: NPY002 - as many people do
    then = np.random.rand()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    with frozen():
        first = np.random.rand()  # noqa: NPY002
        with frozen():
            assert np.random.rand() == first  # noqa: NPY002
    assert np.random.rand() == then  # noqa: NPY002


def test_of_a_large_array_it_is_said_what_a_part_of_it_lacks() -> None:
    big = RNG.normal(size=(60, 60))  # too large for a search, and for all of its derivative
    report = check(lambda x: (x * np.tanh(x), x), lambda dy, x: dy * np.tanh(x), big, raises=False)
    (fault,) = report.faults
    assert (fault.pattern, fault.words) == (TERM, "the term dy * x * (1 - np.tanh(x) ** 2) is missing")


def test_a_loop_in_the_wrong_order_does_not_hide_another_mistake() -> None:
    def backward(dy: Array, x: Array, h0: Array) -> tuple[Array, Array]:
        dx, dh = np.zeros(x.shape), np.zeros(h0.shape)
        for t in range(len(x)):  # the first mistake
            dx[t] = dy[t] - dh  # the second
            dh = 0.5 * dx[t]
        return dx, dh

    report = check(carry, backward, X, X[0], raises=False)
    assert "for t in range(len(x)):  # the first mistake" in {fault.source for fault in report.faults}

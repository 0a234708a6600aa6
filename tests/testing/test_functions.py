"""``check``: right functions pass in every form, every planted mistake is found, and most are named with their line."""

import ast
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import compositions
import hand_written
import hand_written_again  # noqa: F401 - it adds to them
import numpy as np
import pytest
from hand_written import KINDS, MISTAKES, Mistake
from hypothesis import given
from hypothesis import strategies as st

from minirnn.core.backend import Array
from minirnn.testing import FunctionReport, GradientError, check
from minirnn.testing.functions.faults import CHANGED, OVERWRITTEN, STALE
from minirnn.testing.functions.vocabulary import operands_of
from minirnn.testing.strategies import arguments

SHOWN = MISTAKES[::12]
RNG = np.random.default_rng(3)


def affine(x: Array, w: Array, b: Array) -> tuple[Array, Any]:
    return x @ w + b, (x, w)


def affine_backward(dy: Array, cache: Any) -> tuple[Array, Array, Array]:
    x, w = cache
    return dy @ w.T, x.T @ dy, dy.sum(axis=0)


def drawn(*shapes: tuple[int, ...]) -> tuple[Array, ...]:
    return tuple(RNG.normal(size=shape) for shape in shapes)


X, W, B = drawn((5, 4), (4, 3), (3,))

# ---------------------------------------------------------------------- what is right


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_right_passes(kind: str) -> None:
    report = check(*hand_written.called(KINDS[kind]))
    assert report.ok
    assert not report.faults


@given(st.integers(0, 10**6))
def test_right_functions_are_not_called_wrong(seed: int) -> None:
    assert check(*compositions.drawn(seed)).ok


@pytest.mark.parametrize("seeds", [pytest.param(range(500), marks=pytest.mark.slow), range(60)])
def test_none_of_many_right_functions_is_called_wrong(seeds: range) -> None:
    assert [seed for seed in seeds if not check(*compositions.drawn(seed), raises=False).ok] == []


def test_every_form_is_seen() -> None:
    def tanh(x: Array) -> Array:
        return np.tanh(x)

    def by_name(x: Array, d: Array) -> Array:
        dx: Array = d * (1 - np.tanh(x) ** 2)
        return dx

    def closure(x: Array) -> tuple[Array, Any]:
        return x * x, lambda dy: 2 * x * dy

    def loss(x: Array) -> tuple[float, Array]:
        return float((x * x).sum()), 2 * x

    assert check(affine, affine_backward, X, W, B).ok
    assert check(tanh, lambda dy, x: dy * (1 - np.tanh(x) ** 2), X).ok
    assert check(tanh, by_name, X).ok
    assert check(closure, None, X).ok
    assert check(lambda x: ((x * x).sum(), 2 * x), X).ok
    assert not check(lambda x: ((x * x).sum(), x), X, raises=False).ok
    assert check(loss, X.astype("float32")).ok


def test_a_function_may_take_and_give_containers() -> None:
    @dataclass
    class Weights:
        w: Array
        b: Array

    def layers(x: Array, weights: list[dict[str, Array]], top: Weights) -> tuple[dict[str, Array], Any]:
        h = np.tanh(x @ weights[0]["w"])
        return {"y": h @ top.w + top.b, "h": h}, (x, h, weights, top)

    def backward(dy: dict[str, Array], cache: Any) -> tuple[Array, list[dict[str, Array]], Weights]:
        x, h, weights, top = cache
        da = (dy["h"] + dy["y"] @ top.w.T) * (1 - h * h)
        return da @ weights[0]["w"].T, [{"dw": x.T @ da}], Weights(h.T @ dy["y"], dy["y"].sum(axis=0))

    report = check(layers, backward, X, [{"w": W}], Weights(*drawn((3, 2), (2,))))
    assert [row.name for row in report.rows] == ["x", "weights[0]['w']", "top.w", "top.b"]


def test_only_what_has_a_gradient_is_judged_and_the_rest_is_said() -> None:
    def f(x: Array, scale: Array, index: Array) -> Array:
        return x[index] * scale

    def backward(dy: Array, x: Array, scale: Array, index: Array) -> Array:
        dx = np.zeros_like(x)
        np.add.at(dx, index, dy * scale)
        return dx

    report = check(f, backward, X, np.array(2.0) * np.ones(4), np.array([0, 3, 3]))
    assert [row.name for row in report.rows] == ["x"]
    assert report.remarks == ("scale: f depends on it, and no gradient was returned; that was not judged",)
    assert check(lambda a, b: a * b, lambda dy, a, b: dy * a + 0 * b, 2.0, 3.0, wrt=["b"]).ok


def test_a_kink_is_noticed_and_kept_away_from() -> None:
    at_zero = np.array([[0.0, 1.0, -2.0], [0.0, 3.0, 0.0]])
    report = check(lambda x: np.maximum(x, 0), lambda dy, x: dy * (x > 0), at_zero)
    assert report.ok
    assert "kink" in report.remarks[0]
    assert not check(lambda x: np.maximum(x, 0), lambda dy, x: dy * (x > -3), at_zero, raises=False).ok


def test_functions_that_complex_numbers_do_not_pass_are_judged_by_differences() -> None:
    def norm(x: Array) -> Array:
        out = np.zeros(len(x))  # which drops an imaginary part
        for k, row in enumerate(x):
            out[k] = np.sqrt((np.abs(row) ** 2).sum())
        return out

    def backward(dy: Array, x: Array) -> Array:
        return dy[:, None] * x / norm(x)[:, None]

    report = check(norm, backward, X)
    assert not report.holomorphic
    assert {row.method for row in report.rows} == {"difference"}
    assert not check(norm, lambda dy, x: backward(dy, x) * (1 + 1e-5), X, raises=False).ok


def test_what_complex_numbers_pass_wrongly_is_judged_by_differences() -> None:
    report = check(lambda x: (np.abs(x), x), lambda dy, x: dy * np.sign(x), X)
    assert not report.holomorphic


def test_dy_is_not_an_argument_drawn_from_the_same_seed() -> None:
    x = np.random.default_rng(0).normal(size=(5, 3))  # if dy were x, x.T @ dy would be its own transpose
    w = np.random.default_rng(1).normal(size=(3, 3))
    report = check(affine, lambda dy, cache: (dy @ cache[1].T, dy.T @ cache[0], dy.sum(axis=0)), x, w, B, raises=False)
    assert [fault.pattern for fault in report.faults] == ["transposed"]


def test_single_precision_inside_is_no_mistake() -> None:
    def f(x: Array) -> Array:
        return np.tanh(x.astype(np.float32))

    assert check(f, lambda dy, x: dy * (1 - f(x).astype(float) ** 2), X).ok
    assert not check(f, lambda dy, x: dy * (1 - f(x).astype(float)), X, raises=False).ok


def test_randomness_is_frozen() -> None:
    def dropout(x: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        mask = (rng.random(x.shape) > 0.5) * (np.random.rand(*x.shape) > 0.2)  # noqa: NPY002 - as many people write
        return x * mask, mask

    np.random.seed(5)  # noqa: NPY002
    assert check(dropout, lambda dy, mask: dy * mask, X, np.random.default_rng(0)).ok
    drawn_next = np.random.rand()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    assert drawn_next == np.random.rand()  # noqa: NPY002 - nothing was taken from the caller's numbers


def test_the_fast_mode_says_that_something_is_wrong() -> None:
    big = RNG.normal(size=(300, 200))
    assert check(lambda x: (np.tanh(x), x), lambda dy, x: dy * (1 - np.tanh(x) ** 2), big, fast=True).ok
    report = check(lambda x: (np.tanh(x), x), lambda dy, x: dy * (1 - np.tanh(x)), big, fast=True, raises=False)
    assert not report.ok


# ---------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    "mistake",
    [pytest.param(m, id=f"{m.kind}: {m.new}", marks=[] if m in SHOWN else pytest.mark.long) for m in MISTAKES],
)
def test_a_mistake_is_found(mistake: Mistake) -> None:
    assert not check(*hand_written.called(mistake.source), raises=False).ok


def named(mistake: Mistake) -> tuple[bool, bool]:
    """Whether the report says what the mistake is, and in which line."""
    report = check(*hand_written.called(mistake.source), raises=False)
    source = KINDS[mistake.kind]
    line = source[: source.index(mistake.old)].count("\n") + 1
    right = [
        fault.pattern for fault in report.faults if fault.pattern in mistake.patterns and fault.pattern != "unknown"
    ]
    return bool(right), line in [fault.line for fault in report.faults]


@pytest.mark.parametrize(
    "mistakes", [pytest.param(MISTAKES, marks=pytest.mark.long), pytest.param(MISTAKES[5::15], marks=pytest.mark.slow)]
)
def test_most_mistakes_are_named_with_their_line(mistakes: list[Mistake]) -> None:
    said = [named(mistake) for mistake in mistakes]
    assert sum(pattern for pattern, _ in said) >= 0.83 * len(said)
    assert sum(line for _, line in said) >= 0.75 * len(said)


def test_a_report_says_argument_pattern_line_and_entry() -> None:
    def backward(dy: Array, cache: Any) -> tuple[Array, Array, Array]:
        x, w = cache
        return dy @ w.T, x.T @ dy / len(x), dy

    with pytest.raises(GradientError) as caught:
        check(affine, backward, X, W, B)
    text = str(caught.value)
    assert "w: it is divided by 5, the length of axis 0 of x: the gradient of the mean, not of the sum" in text
    assert "b: it has shape (5, 3), its argument (3,): it has to be summed over axis 0" in text
    assert "return dy @ w.T, x.T @ dy / len(x), dy" in text


def test_an_edit_after_which_a_loop_does_not_end_is_given_up() -> None:
    def backward(dy: Array, x: Array) -> Array:
        dx, k = np.zeros(x.shape), 0
        while k < len(x):
            dx[k] = -dy[k]  # the mistake
            k += 1
        return dx

    report = check(lambda x: x.copy(), backward, X, raises=False)
    (fault,) = report.faults
    assert fault.pattern == "sign"
    assert fault.source.endswith("# the mistake")


def test_lines_that_are_no_plain_formulas_are_passed_over() -> None:
    def backward(dy: Array, x: Array) -> Array:
        parts = {"slices": dy[:, ::2], **{str(k): dy[:, k] for k in range(2)}}
        dx = np.zeros(x.shape)
        dx[:, ::2] = parts["slices"]
        dx[..., 1::2] = np.sum(a=[np.zeros((len(x), 2)), dy[:, 1::2]], axis=0) * 3.7
        return dx

    report = check(lambda x: x.copy(), backward, X, raises=False)
    assert [(fault.argument, fault.pattern) for fault in report.faults] == [("x", "factor")]


def test_an_edit_must_hold_at_another_point() -> None:
    def backward(dy: Array, x: Array) -> Array:
        dx: Array = dy * (x + 3)  # at 1, x + 1 in its place would do
        return dx

    report = check(lambda x: x * x, backward, np.ones((3, 2)), raises=False)
    (fault,) = report.faults
    assert (fault.pattern, fault.words) == ("factor", "it is 2 times as large")


def test_lists_and_large_arrays_are_no_parts_of_edits() -> None:
    source = """
        def backward(dy, caches):
            dx, dw, seen, dh = [], 0, {}, 0
            parts = [one for one in caches]
            dx.insert(0, dy)
            return dx, dw
    """
    assert operands_of(ast.parse(textwrap.dedent(source))) == ["dy", "caches", "dw", "dh", "one"]
    big = RNG.normal(size=(60, 60))  # of which two make a product of 13 million
    report = check(lambda x: (np.tanh(x), x), lambda dy, x: dy * (1 - np.tanh(x)), big, raises=False)
    assert [fault.line for fault in report.faults] == [0]


def test_calls_that_touch_what_is_not_theirs_are_found() -> None:
    def patterns(report: FunctionReport) -> set[str]:
        return {fault.pattern for fault in report.faults}

    def in_place(x: Array) -> tuple[Array, Array]:
        x[x < 0] = 0
        return x, x

    assert patterns(check(in_place, lambda dy, x: dy * (x > 0), X, raises=False)) == {CHANGED}

    memory: dict[str, Array] = {}

    def remembering(x: Array) -> tuple[Array, None]:
        memory["x"] = x
        return x * x, None

    assert patterns(check(remembering, lambda dy, _: 2 * dy * memory["x"], X, raises=False)) == {STALE}


def test_accumulators_must_be_added_to() -> None:
    def f(x: Array, w: Array) -> tuple[Array, Any]:
        return x @ w, (x, w)

    def adds(dy: Array, cache: Any, dx: Array, dw: Array) -> None:
        dx += dy @ cache[1].T
        dw += cache[0].T @ dy

    def assigns(dy: Array, cache: Any, dx: Array, dw: Array) -> None:
        dx += dy @ cache[1].T
        dw[...] = cache[0].T @ dy

    assert check(f, adds, X, W, into=["x", "w"]).ok
    report = check(f, assigns, X, W, into=["x", "w"], raises=False)
    assert [(fault.argument, fault.pattern) for fault in report.faults] == [("w", OVERWRITTEN)]


class Layer:
    def __init__(self) -> None:
        self.w = RNG.normal(size=(4, 3))

    def forward(self, x: Array) -> Array:
        self.x = x
        return x @ self.w

    def backward(self, dy: Array) -> Array:
        self.dw = self.x.T @ dy
        return dy @ self.w.T


def test_an_object_may_have_to_accumulate() -> None:
    assert check(Layer(), X).ok
    report = check(Layer(), X, accumulates=True, raises=False)
    assert [fault.pattern for fault in report.faults] == [OVERWRITTEN]


def test_a_second_derivative_is_a_backward_pass_too() -> None:
    def gradient(x: Array) -> Array:  # of Σ x⁴ / 4
        return x**3

    assert check(gradient, lambda v, x: 3 * x * x * v, X).ok
    assert check(gradient, lambda v, x: 2 * x * x * v, X, raises=False).faults


# ---------------------------------------------------------------------- what cannot be judged


def test_what_cannot_be_called_is_said() -> None:
    with pytest.raises(TypeError, match="f must be a function"):
        check(3, None, X)
    with pytest.raises(TypeError, match="backward must take dy and f's 3 arguments, or dy and the cache"):
        check(affine, lambda: None, X, W, B)
    with pytest.raises(TypeError, match="backward takes 3; arrays that it adds gradients to are named by into="):
        check(np.tanh, lambda dy, x, dx: dx.__iadd__(dy * x), X)
    with pytest.raises(ValueError, match="without a backward pass"):
        check(np.tanh, None, X)
    with pytest.raises(ValueError, match="at least one argument with floats"):
        check(lambda k: (k, k), lambda dy, _: dy, 3)
    with pytest.raises(ValueError, match="wrt must name arguments of f"):
        check(affine, affine_backward, X, W, B, wrt=["z"])
    with pytest.raises(ValueError, match="form must be one of"):
        check(affine, affine_backward, X, W, B, form="torch")  # type: ignore[arg-type]
    rng = np.random.default_rng()
    with pytest.raises(ValueError, match="two calls differ"):
        check(lambda x: x * rng.random(), lambda dy, _: dy, X)
    with pytest.raises(ValueError, match="finite"), np.errstate(all="ignore"):
        check(lambda x: x / 0, lambda dy, _: dy, X)
    with pytest.raises(ValueError, match="backward must return gradients; got None"):
        check(lambda x: (x * x, x), lambda _, cache: cache if cache is None else None, X)


# ---------------------------------------------------------------------- in a suite and in a notebook


@given(arguments(x="B D", w="D H", b="H"))
def test_arguments_are_drawn_by_the_names_of_their_axes(arrays: dict[str, Array]) -> None:
    assert list(arrays) == ["x", "w", "b"]
    assert check(affine, affine_backward, *arrays.values()).ok


@given(arguments(table="V D", index="B T < V"))
def test_integers_are_drawn_below_an_axis(arrays: dict[str, Array]) -> None:
    assert arrays["index"].dtype.kind == "i"
    assert arrays["index"].max() < len(arrays["table"])


SUITE = """
import numpy as np
import pytest

def tanh(x):
    return np.tanh(x)

def right(dy, x):
    return dy * (1 - np.tanh(x) ** 2)

def wrong(dy, x):
    return dy * (1 - np.tanh(x))

@pytest.mark.gradients(tanh, right, x="B D")
def test_right(gradients):
    assert gradients.ok, str(gradients)

@pytest.mark.gradients(tanh, wrong, x="B D")
def test_wrong(gradients):
    assert gradients.ok, str(gradients)

@pytest.mark.gradients(tanh, right, x=3)
def test_words(gradients):
    pass

def test_without(gradients):
    pass
"""


@pytest.mark.process
def test_a_marker_makes_a_check_one_line_of_a_suite(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["minirnn.testing.plugin"]\n', encoding="utf-8")
    (tmp_path / "test_own.py").write_text(SUITE, encoding="utf-8")
    run = [sys.executable, "-m", "pytest", "-q", "--strict-markers", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(run, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "1 passed" in done.stdout
    assert "1 failed" in done.stdout
    assert "2 errors" in done.stdout
    assert "x: " in done.stdout  # the report's own words
    assert "x must be described by its axes" in done.stdout
    assert "needs @pytest.mark.gradients" in done.stdout


def test_a_report_is_short_in_a_repr_and_a_table_in_a_notebook() -> None:
    good = check(affine, affine_backward, X, W, B)
    assert repr(good) == "<FunctionReport: 3 rows, ok>"
    bad = check(affine, lambda dy, cache: (dy @ cache[1].T, -cache[0].T @ dy, dy.sum(axis=0)), X, W, B, raises=False)
    assert repr(bad) == "<FunctionReport: 3 rows, wrong: w>"
    assert "WRONG" in bad._repr_html_()
    assert "the sign is wrong" in bad._repr_html_()

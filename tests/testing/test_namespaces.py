"""``check`` on arrays of other libraries: of any that keeps to the array API standard, and torch's tensors."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from minirnn.testing import check

pytestmark = pytest.mark.extras

RNG = np.random.default_rng(0)
X, W, B = RNG.normal(size=(5, 4)), RNG.normal(size=(4, 3)), RNG.normal(size=3)


@pytest.fixture(params=["array_api_strict", "torch"])
def xp(request: pytest.FixtureRequest) -> Any:
    return pytest.importorskip(request.param)


@dataclass
class Weights:
    w: Any
    b: Any


def test_a_right_function_of_nested_arrays_passes(xp: Any) -> None:
    def layer(x: Any, weights: Weights) -> Any:
        assert isinstance(x, type(xp.asarray(X)))
        y = xp.tanh(x @ weights.w + weights.b)
        return y, (x, y, weights)

    def layer_backward(dy: Any, cache: Any) -> Any:
        x, y, weights = cache
        da = dy * (1.0 - y * y)
        return da @ weights.w.T, {"w": x.T @ da, "b": xp.sum(da, axis=0)}

    report = check(layer, layer_backward, xp.asarray(X), Weights(xp.asarray(W), xp.asarray(B)))
    assert report.ok
    assert [row.name for row in report.rows] == ["x", "weights.w", "weights.b"]
    mixes = xp.__name__ != "torch"  # which multiplies no matrix of complex numbers with one of floats
    assert {row.method for row in report.rows} == {"complex step" if mixes else "difference"}


@pytest.mark.parametrize(
    ("pull", "pattern"),
    [
        (lambda xp, dy, x: -dy * xp.cos(x), "sign"),
        (lambda xp, dy, x: dy * xp.cos(x) / 5.0, "mean for the sum"),
        (lambda xp, dy, x: dy * xp.sin(x), "factor"),
    ],
)
def test_a_wrong_one_is_found_with_its_pattern(xp: Any, pull: Any, pattern: str) -> None:
    def backward(dy: Any, x: Any) -> Any:
        return pull(xp, dy, x)

    report = check(xp.sin, backward, xp.asarray(X), form="vjp", raises=False)
    (fault,) = report.faults
    assert fault.pattern == pattern


def test_float32_is_lifted_and_integers_are_handed_on(xp: Any) -> None:
    def rows(table: Any, index: Any) -> Any:
        assert table.dtype in (xp.float64, xp.complex128)
        return xp.stack([table[int(k), :] for k in index])

    def rows_backward(dy: Any, table: Any, index: Any) -> Any:
        out = np.zeros(np.asarray(table).shape)
        np.add.at(out, np.asarray(index), np.asarray(dy))
        return xp.asarray(out)

    index = xp.asarray(np.array([2, 0, 2]))
    assert check(rows, rows_backward, xp.asarray(X.astype("float32")), index).ok


def test_accumulators_are_of_the_arguments_kind(xp: Any) -> None:
    def double(x: Any) -> Any:
        return 2.0 * x

    def double_backward(dy: Any, x: Any, dx: Any) -> None:
        dx += 2.0 * dy

    assert check(double, double_backward, xp.asarray(X), into=["x"]).ok

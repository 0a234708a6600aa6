"""Every function against the same formula on one Python float, every slope against derivatives of the function."""

import copy
import json
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from activation_formulas import SCALAR
from hypothesis import given
from hypothesis import strategies as st

from minirnn.core.backend import Array
from minirnn.layers.activations import _RULES, Function

EPS = 1e-30


ROWS: dict[str, Callable[[list[float]], list[float]]] = {
    "softmax": lambda row: [math.exp(a) / sum(map(math.exp, row)) for a in row],
    "log_softmax": lambda row: [a - math.log(sum(map(math.exp, row))) for a in row],
}
KINKS = {
    "relu": (0.0,),
    "relu6": (0.0, 6.0),
    "hard_sigmoid": (-2.4, 3.6),
    "leaky_relu": (0.0,),
    "thresholded_relu": (0.4,),
    "elu": (0.0,),
    "selu": (0.0,),
    "hard_swish": (-3.0, 3.0),
}
ALL = [Function(name, *SCALAR.get(name, ((), None))[0]) for name in _RULES]
every_function = pytest.mark.parametrize("f", ALL, ids=[f.name for f in ALL])


def test_every_function_is_tested_with_constants_of_its_own() -> None:
    assert SCALAR.keys() | ROWS.keys() == _RULES.keys()
    for f in ALL:
        assert len(f.constants) == len(_RULES[f.name].defaults)
        assert not f.constants or f.constants != _RULES[f.name].defaults


@pytest.mark.parametrize("name", SCALAR)
def test_values_are_those_of_the_formula_on_one_number(name: str) -> None:
    constants, formula = SCALAR[name]
    a = np.concatenate([np.linspace(-30, 30, 1202), np.linspace(-0.01, 0.01, 21)])
    expected = np.array([formula(float(v)) for v in a])
    y = Function(name, *constants)(a)
    np.testing.assert_allclose(y, expected, rtol=2e-14, atol=1e-15)
    close = np.abs(Function(name, *constants)(a.astype("f4")) - expected) <= 1e-6 * np.maximum(1, np.abs(expected))
    steep = name == "exponential"  # whose argument's rounding is multiplied by the argument
    assert close[np.abs(a) < 3 if steep else slice(None)].all()


@pytest.mark.parametrize("name", ROWS)
def test_functions_of_a_row_run_over_the_last_axis(name: str) -> None:
    a = np.random.default_rng(0).normal(0, 3, (2, 3, 5))
    expected = [[ROWS[name](row) for row in block] for block in a.tolist()]
    np.testing.assert_allclose(Function(name)(a), expected, rtol=1e-14, atol=1e-15)


def test_the_tail_of_the_normal_distribution_has_its_digits() -> None:
    a = np.linspace(-36, -1, 400)
    expected = [v * math.erfc(-v / math.sqrt(2)) / 2 for v in a.tolist()]
    np.testing.assert_allclose(Function("gelu")(a), expected, rtol=1e-12)  # an error in a² / 2 grows with it


def far_from_kinks(f: Function, a: Array, distance: float) -> Array:
    """``a``, with what is too near a kink moved away from it."""
    for kink in KINKS.get(f.name, ()):
        a = np.where(np.abs(a - kink) < distance, kink + 2 * distance, a)
    return a


def derivative(f: Function, a: Array, dy: Array, *, exact: bool) -> Array:
    """Of Σ dy f(a) with respect to every entry of a: by complex step, or by central differences."""
    found = np.zeros(a.shape)
    for at in np.ndindex(a.shape):
        if exact:
            moved = a.astype(complex)
            moved[at] += 1j * EPS
            found[at] = (dy * f(moved)).sum().imag / EPS
        else:
            delta, ends = 1e-5, []
            for sign in (1, -1):
                moved = a.copy()
                moved[at] += sign * delta
                ends.append(float((dy * f(moved)).sum()))
            found[at] = (ends[0] - ends[1]) / (2 * delta)
    return found


@every_function
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([0.1, 1.0, 4.0]))
def test_the_slope_is_the_derivative(f: Function, seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    a = far_from_kinks(f, rng.normal(0, scale, (2, 4)), 1e-3)
    dy, before = rng.normal(size=a.shape), a.copy()
    found = f.slope(a, f(a), dy)
    size = max(1.0, float(np.abs(found).max()))
    assert np.abs(found - derivative(f, a, dy, exact=True)).max() <= 1e-13 * size
    assert np.abs(found - derivative(f, a, dy, exact=False)).max() <= 1e-6 * size
    np.testing.assert_array_equal(a, before)


@every_function
def test_the_slope_on_either_side_of_each_kink(f: Function) -> None:
    for kink in KINKS.get(f.name, ()):
        a = np.array([kink - 1e-3, kink + 1e-3])
        sides = f.slope(a, f(a), np.ones(2))
        np.testing.assert_allclose(sides, derivative(f, a, np.ones(2), exact=False), rtol=1e-6, atol=1e-9)
        assert abs(sides[0] - sides[1]) > 0.1
        at = np.array([kink])
        assert min(abs(f.slope(at, f(at), np.ones(1)) - sides)) < 2e-3  # one of the two


@every_function
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_arguments_reach_limits_without_a_warning(f: Function, dtype: str) -> None:
    for size in (1e2, 1e4, 1e19, 1e30, 3e38):
        a = np.array([[size, -size, 0.5, -0.5]], dtype)
        y = f(a)
        da = f.slope(a, y, np.ones_like(a))
        assert y.dtype == da.dtype == dtype
        assert not np.isnan(y).any()
        assert not np.isnan(da).any()
        if f.name not in ("exponential", "log_softmax"):
            assert np.isfinite(y).all()
            assert np.isfinite(da).all()


LIMITS: dict[str, tuple[float, float]] = {"tanh": (-1, 1), "sigmoid": (0, 1)}
LIMITS |= {"silu": (0, 1e4), "hard_swish": (0, 1e4), "gelu": (0, 1e4), "gelu_tanh": (0, 1e4)}
LIMITS |= {"mish": (0, 1e4), "softplus": (0, 1e4), "relu6": (0, 6), "selu": (-1.7580993408473766, 10507.009873554805)}


@pytest.mark.parametrize("name", LIMITS)
def test_limits_are_right(name: str) -> None:
    np.testing.assert_allclose(Function(name)(np.array([-1e4, 1e4])), LIMITS[name], rtol=1e-15)


@every_function
def test_nan_is_passed_on(f: Function) -> None:
    a = np.array([[np.nan, 1.0]])
    assert np.isnan(f(a)[0, 0])
    assert np.isnan(f.slope(a, f(a), np.array([[np.nan, 1.0]]))[0, 0])


def test_float16_stays_float16() -> None:
    for f in ALL:
        a = np.linspace(-4, 4, 9, dtype="f2")[None]
        wanted = f(a.astype("f8"))
        assert f(a).dtype == np.float16
        np.testing.assert_allclose(f(a), wanted, rtol=5e-3, atol=5e-3)


# ---------------------------------------------------------------------- as a value


@every_function
def test_a_function_is_a_value(f: Function) -> None:
    assert f == Function(**json.loads(json.dumps(f.config())))
    assert f == copy.deepcopy(f) == pickle.loads(pickle.dumps(f))  # noqa: S301 - our own bytes
    assert eval(repr(f)) == f  # noqa: S307 - our own words
    assert len({f, Function(**f.config())}) == 1


def test_defaults_are_filled_in() -> None:
    assert Function("hard_sigmoid") == Function("hard_sigmoid", 0.2, 0.5)
    assert Function("elu", 2) == Function("elu", 2.0)
    assert Function("scaled_tanh", beta=2.0).constants == (1.0, 2.0)
    assert repr(Function("scaled_tanh", beta=2)) == "Function('scaled_tanh', beta=2.0)"
    assert Function("tanh").config() == {"name": "tanh"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("swish",), "a function's name must be one of linear, tanh, .*; got 'swish'"),
        ((["tanh"],), "must be one of linear"),
        (("tanh", 1.0), "tanh has no alpha; got 1.0"),
        (("elu", 1.0, 2.0), "elu has no beta; got 2.0"),
        (("elu", "1"), "alpha must be a finite number; got '1'"),
        (("affine", 1.0, float("nan")), "beta must be a finite number; got nan"),
        (("affine", True), "alpha must be a finite number; got True"),
    ],
)
def test_what_is_no_function_is_refused(arguments: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Function(*arguments)

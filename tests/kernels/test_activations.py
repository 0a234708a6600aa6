"""tanh, exp and what is made of them, on vectors, against exact values.

Where arithmetic has a provable bound, or is exact, the tolerance is that; else it follows from dtype and shape as in
``test_conformance``.
"""

from typing import Any

import numba
import numpy as np
import pytest
from fences import kernels
from hypothesis import given
from hypothesis import strategies as st

from minirnn.cells import GRUCell, LSTMCell, TanhCell
from minirnn.core.backend import Array

activations: Any = kernels("activations")
compiling: Any = kernels("compiling")
memory: Any = kernels("memory")
DTYPES = ("float32", "float64")
SMOOTH = (TanhCell, GRUCell, LSTMCell)
SIZES = (1, 2, 7, 15, 16, 17, 31, 32, 33, 48, 100)  # beside and on the borders of vectors and panels of every width
seeds = st.integers(0, 2**32 - 1)


def _drive(like: Any, n: Any, x: Any, out: Any) -> None:
    source, target = memory.numbers(x, like), memory.numbers(out, like)
    width = memory.lanes(source)
    for j in range(0, n, width):
        count = min(width, n - j)
        a = memory.load(source, j, count)
        memory.store(activations.tanh(a), target, j, count)
        memory.store(0.5 * activations.tanh_of_half(a) + 0.5, target, n + j, count)
        memory.store(activations.exp(a), target, 2 * n + j, count)
        memory.store(activations.whole_exp(a), target, 3 * n + j, count)


_driver: Any = numba.njit(**compiling.OPTIONS)(_drive)
EXP_LIMIT = {"float32": 87.0, "float64": 708.0}  # beyond ± which exp stays what it is there, as it says


def activated(x: Array) -> Array:
    """tanh, sigmoid, exp and the whole exp of x, (4, n), by the vector code."""
    out = np.full((4, x.size), 7.0, x.dtype)
    _driver(x.dtype.type(0), x.size, x.ctypes.data, out.ctypes.data)
    return out


def ulps(actual: Array, exact: Array) -> Array:
    """Errors in units of the last place of the exact value, in the dtype of what was found."""
    rounded = exact.astype(actual.dtype)
    found: Array = np.abs(actual - exact) / np.spacing(np.abs(rounded)).astype(np.longdouble)
    return found


def assert_activations_are_right(x: Array) -> None:
    tanh, sigmoid, exp, whole = activated(x)
    nan, info, limit = np.isnan(x), np.finfo(x.dtype), EXP_LIMIT[x.dtype.name]
    for found in (tanh, sigmoid, exp, whole):
        assert (np.isnan(found) == nan).all()
    long = x[~nan].astype(np.longdouble)
    tanh, sigmoid, exp, whole = (found[~nan] for found in (tanh, sigmoid, exp, whole))
    assert ulps(tanh, np.tanh(long)).max(initial=0) <= 4
    with np.errstate(over="ignore", under="ignore"):
        assert np.abs(sigmoid - 1 / (1 + np.exp(-long))).max(initial=0) <= 4 * info.eps / 2
        far = np.exp(long)
    assert ulps(exp, np.exp(np.clip(long, -limit, limit))).max(initial=0) <= 4
    least, most = np.longdouble(info.tiny), np.longdouble(info.max)
    inside = (far > 2 * least) & (far < most / 2)
    assert ulps(whole[inside], far[inside]).max(initial=0) <= 8
    assert (whole[far < least / 2] <= info.tiny).all()
    assert np.isinf(whole[far > 2 * most]).all()
    assert (np.abs(tanh) <= 1).all()
    assert ((sigmoid >= 0) & (sigmoid <= 1)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_activations_are_exact_to_4_ulp_on_dense_grids(dtype: str) -> None:
    smallest, far = np.finfo(dtype).smallest_subnormal, 1.1 * EXP_LIMIT[dtype]
    steps = np.geomspace(float(smallest), 1.0, 100_001)
    grids = (np.linspace(-far, far, 200_001), np.linspace(-3, 3, 200_001), steps, -steps)
    assert_activations_are_right(np.concatenate(grids).astype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
def test_activations_are_exact_to_4_ulp_wherever_one_looks(dtype: str, data: st.DataObject) -> None:
    anything = st.floats(width=32) if dtype == "float32" else st.floats()
    x = data.draw(st.lists(anything | st.floats(-20, 20, width=32), min_size=1, max_size=40))
    assert_activations_are_right(np.array(x, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_activations_have_the_right_values_at_0_and_at_the_ends(dtype: str) -> None:
    tanh, sigmoid, exp, whole = activated(np.array([0, np.inf, -np.inf, np.nan], dtype))
    np.testing.assert_array_equal(whole, [1, np.inf, 0, np.nan])
    assert tanh[:3].tolist() == [0, 1, -1]
    assert sigmoid[:3].tolist() == [0.5, 1, 0]
    assert exp[0] == 1
    assert exp[2] <= np.finfo(dtype).tiny * 1.5  # nothing, beside a sum of which another term is 1
    assert np.isnan([tanh[3], sigmoid[3], exp[3]]).all()

"""Every backend and dtype against the numpy backend in float64: outputs, what is saved, every gradient.

The tolerance follows from dtype and shape: k · eps · √(T · (D + H)), as rounding errors add up in a random walk.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirnn.backend import BACKENDS, Array
from minirnn.testing.strategies import Case, cases

REFERENCE = ("numpy", "float64")
RUNS = [(n, d) for n, backend in BACKENDS.items() for d in backend.dtypes if (n, d) != REFERENCE]
K = 60


def leaves(state: Any) -> Iterator[Array]:
    if isinstance(state, tuple):
        for part in state:
            yield from leaves(part)
    elif state is not None:
        yield state


def everything(case: Case, backend: str, dtype: str, rng: np.random.Generator) -> dict[str, Array]:
    """All that a forward and a backward give, by name, from odd inputs: strided, read-only."""
    model = case.model.to(backend=backend, dtype=dtype)

    def odd(a: Array) -> Array:
        kind = a.dtype if a.dtype.kind == "i" else np.dtype(dtype)
        twice = np.repeat(a.astype(kind), 2, axis=-1)[..., ::2]
        twice.flags.writeable = False
        return twice

    def odd_state(state: Any) -> Any:
        return tuple(odd(a) for a in state) if isinstance(state, tuple) else None if state is None else odd(state)

    y, final, backward = model.forward(odd(case.x), odd_state(case.state), lengths=case.lengths)
    saved = backward.saved
    dy, dfinal = rng.normal(size=y.shape), [rng.normal(size=a.shape) for a in leaves(final)]
    dx, dstate = backward(odd(dy), odd_state(tuple(dfinal) if len(dfinal) > 1 else dfinal[0]))
    found = {"y": y, **{f"final {k}": a for k, a in enumerate(leaves(final))}}
    found |= {f"saved {name}": a for name, a in saved.items()}
    found |= {f"d{name}": g for name, g in model.named_grads().items()}
    found |= {f"dstate {k}": a for k, a in enumerate(leaves(dstate))}
    return found if dx is None else found | {"dx": dx}


@pytest.mark.parametrize(("backend", "dtype"), RUNS, ids="-".join)
@given(case=cases(largest=6), seed=st.integers(0, 2**32 - 1))
def test_backend_agrees_with_numpy_float64(backend: str, dtype: str, case: Case, seed: int) -> None:
    expected = everything(case, *REFERENCE, np.random.default_rng(seed))
    actual = everything(case, backend, dtype, np.random.default_rng(seed))
    T, D, H = len(case.x), case.model.input_size or 1, case.model.output_size or 1
    tolerance = K * float(np.finfo(dtype).eps) * (T * (D + H)) ** 0.5
    assert actual.keys() == expected.keys()
    for name, wanted in expected.items():
        got = actual[name]
        assert got.shape == wanted.shape, name
        assert got.dtype in (np.dtype(dtype), np.dtype(bool)), name
        scale = max(1.0, float(np.abs(wanted).max(initial=0)))
        assert np.abs(got.astype(complex) - wanted).max(initial=0) <= tolerance * scale, name  # NaN fails


@pytest.mark.parametrize(("backend", "dtype"), RUNS, ids="-".join)
@given(case=cases())
def test_inputs_are_not_modified(backend: str, dtype: str, case: Case) -> None:
    model = case.model.to(backend=backend, dtype=dtype)
    x = case.x if case.x.dtype.kind == "i" else case.x.astype(dtype)
    before = x.copy(), model.weights.copy()
    y, _, backward = model.forward(x, lengths=case.lengths)
    dy = np.ones_like(y)
    backward(dy)
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(model.weights, before[1])
    assert (dy == 1).all()


@pytest.mark.parametrize(("backend", "dtype"), RUNS, ids="-".join)
def test_same_seed_gives_the_same_weights_in_every_dtype(backend: str, dtype: str) -> None:
    from minirnn import GRU

    for scheme in ("uniform", "normal", "orthogonal"):
        exact = GRU(3, 4, 2).init(5, scheme=scheme, dtype="float64")
        same = GRU(3, 4, 2).init(5, scheme=scheme, backend=backend, dtype=dtype)
        np.testing.assert_array_equal(same.weights, exact.weights.astype(dtype))

"""What conformance means: a backend and dtype held against the numpy backend in float64.

The tolerance follows from dtype and shape: k · eps · layers · √(T · (D + H)), as rounding errors add up in a random
walk.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from minirnn.core.backend import BACKENDS, Array
from minirnn.core.tree import rebuilt
from minirnn.testing.strategies import Case, Chain

REFERENCE = ("numpy", "float64")
K = 60


def leaves(state: Any) -> Iterator[Array]:
    if isinstance(state, tuple):
        for part in state:
            yield from leaves(part)
    elif state is not None:
        yield state


def everything(case: Case | Chain, backend: str, dtype: str, rng: np.random.Generator) -> dict[str, Array]:
    """All that forward, backward and inference give, by name, from odd inputs: strided, read-only."""
    model = case.model.to(backend=backend, dtype=dtype)

    def odd(a: Array) -> Array:
        kind = a.dtype if a.dtype.kind == "i" else np.dtype(dtype)
        twice = np.repeat(a.astype(kind), 2, axis=-1)[..., ::2]
        twice.flags.writeable = False
        return twice

    def odd_state(state: Any) -> Any:
        return tuple(map(odd_state, state)) if isinstance(state, tuple) else None if state is None else odd(state)

    y, final, backward = model.forward(odd(case.x), odd_state(case.state), lengths=case.lengths)
    saved = backward.saved
    dy, dfinal = rng.normal(size=y.shape), rebuilt(final, lambda a: rng.normal(size=a.shape))
    dx, dstate = backward(odd(dy), odd_state(dfinal))
    found = {"y": y, **{f"final {k}": a for k, a in enumerate(leaves(final))}}
    found |= {f"saved {name}": a for name, a in saved.items()}
    found |= {f"d{name}": g for name, g in model.named_grads().items()}
    found |= {f"dstate {k}": a for k, a in enumerate(leaves(dstate))}
    found |= {} if dx is None else {"dx": dx}
    inferred, end = model(odd(case.x), odd_state(case.state), lengths=case.lengths)
    found |= {"inferred": inferred, **{f"inferred {k}": a for k, a in enumerate(leaves(end))}}
    return {name: BACKENDS[backend].host(a) for name, a in found.items()}


def assert_conforms(case: Case | Chain, backend: str, dtype: str, seed: int) -> None:
    """Everything that a backend computes of a case is what numpy does in float64."""
    expected = everything(case, *REFERENCE, np.random.default_rng(seed))
    actual = everything(case, backend, dtype, np.random.default_rng(seed))
    T, D, H = len(case.x), case.model.input_size or 1, case.model.output_size or 1
    depth = case.model.num_layers if isinstance(case, Case) else 2 * len(case.model)  # a norm divides by what is small
    tolerance = K * float(np.finfo(dtype).eps) * depth * (T * (D + H)) ** 0.5
    assert actual.keys() == expected.keys()
    for name, wanted in expected.items():
        got = actual[name]
        assert got.shape == wanted.shape, name
        assert got.dtype in (np.dtype(dtype), np.dtype(bool)), name
        scale = max(1.0, float(np.abs(wanted).max(initial=0)))
        assert np.abs(got.astype(complex) - wanted).max(initial=0) <= tolerance * scale, name  # NaN fails

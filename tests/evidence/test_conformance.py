"""Every backend of the host, in every dtype, against numpy in float64: outputs, what is saved, every gradient."""

from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest
from conformity import REFERENCE, assert_conforms, leaves
from hypothesis import given
from hypothesis import strategies as st
from tiers import DRAWN

from minirnn import GRU, LSTM, RNN, SGD, Adam, AdamW, Embedding, Linear, Sequential, cross_entropy
from minirnn.core.backend import BACKENDS, Array
from minirnn.testing.strategies import CELLS, Case, Chain, cases, chains

RUNS = [(n, d) for n, b in BACKENDS.items() for d in b.dtypes if not b.on_device and (n, d) != REFERENCE]

SHOWN = [pytest.param(*run, marks=pytest.mark.long if run == ("numba", "float64") else []) for run in RUNS]


@pytest.mark.parametrize(("backend", "dtype"), SHOWN)
@given(case=cases(DRAWN, largest=6, backend="auto"), seed=st.integers(0, 2**32 - 1))
def test_backend_agrees_with_numpy_float64(backend: str, dtype: str, case: Case, seed: int) -> None:
    assert_conforms(case, backend, dtype, seed)


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(run, id="-".join(run), marks=[] if k == 0 else pytest.mark.slow if k < 3 else pytest.mark.long)
        for k, run in enumerate(RUNS)
    ],
)
@given(case=chains(DRAWN, largest=6, backend="auto"), seed=st.integers(0, 2**32 - 1))
def test_layers_around_a_recurrence_agree_with_numpy_float64(run: tuple[str, str], case: Chain, seed: int) -> None:
    assert_conforms(case, *run, seed)


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(run, marks=pytest.mark.slow if run[1] == "float32" else pytest.mark.long, id="-".join(run))
        for run in RUNS
    ],
)
@given(case=cases(CELLS, largest=6, backend="auto"), seed=st.integers(0, 2**32 - 1))
def test_every_cell_agrees_with_numpy_float64(run: tuple[str, str], case: Case, seed: int) -> None:
    assert_conforms(case, *run, seed)


@pytest.mark.parametrize(("backend", "dtype"), SHOWN)
@given(case=cases(DRAWN, backend="auto"))
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


@pytest.mark.parametrize(("backend", "dtype"), RUNS)
def test_same_seed_gives_the_same_weights_in_every_dtype(backend: str, dtype: str) -> None:
    for scheme in ("uniform", "normal", "orthogonal"):
        exact = GRU(3, 4, 2).init(5, scheme=scheme, dtype="float64")
        same = GRU(3, 4, 2).init(5, scheme=scheme, backend=backend, dtype=dtype)
        np.testing.assert_array_equal(same.weights, exact.weights.astype(dtype))


SHAPES = [  # T, B, D, H: one of everything, whole vectors, remainders, a few rows, many
    (1, 1, 1, 1),
    (3, 2, 5, 7),
    (4, 9, 16, 32),
    (2, 13, 33, 17),
    (21, 30, 3, 40),
]


@pytest.mark.parametrize("cell", ["tanh", "relu", "gru", "lstm"])
def test_the_kernels_of_each_cell_by_themselves(cell: str) -> None:
    kinds: dict[str, Any] = {"tanh": RNN, "relu": partial(RNN, nonlinearity="relu"), "gru": GRU, "lstm": LSTM}
    rng = np.random.default_rng(0)
    for (T, B, D, H), bidirectional, with_lengths in product(SHAPES, (False, True), (False, True)):
        exact = kinds[cell](D, H, bidirectional=bidirectional).init(T, backend="numpy", dtype="float64")
        fast = exact.to(backend="numba", dtype="float32")
        exact.weights[...] = fast.weights
        lengths = rng.integers(0, T + 1, B) if with_lengths else None
        index, x = rng.integers(0, D, (T, B)), rng.normal(size=(T, B, D)).astype("f4")
        found, inferred = [], []
        for model in (exact, fast):
            draw, dtype = np.random.default_rng(1), model.weights.dtype
            for given_x in (index, x.astype(dtype)):
                y, final, backward = model.forward(given_x, lengths=lengths)
                saved = backward.saved
                cotangents = [draw.normal(size=a.shape).astype(dtype) for a in (y, *leaves(final))]
                dx, dstate = backward(cotangents[0], tuple(cotangents[1:]) if cell == "lstm" else cotangents[1])
                found.append([y, *leaves(final), *saved.values(), *leaves(dstate), *leaves(dx), model.grads.copy()])
                again, last = model(given_x, lengths=lengths)
                more, _ = model(given_x, last, lengths=lengths)
                inferred.append([again, *leaves(last), more])
        for wanted, got in (*zip(found[:2], found[2:], strict=True), *zip(inferred[:2], inferred[2:], strict=True)):
            for k, (a, b) in enumerate(zip(wanted, got, strict=True)):
                scale = max(1.0, float(np.abs(a).max(initial=0)))
                assert np.abs(a - b).max(initial=0) <= 3e-5 * scale, (T, B, D, H, bidirectional, with_lengths, k)


@pytest.mark.parametrize("optimizer", [SGD, Adam, AdamW])
@pytest.mark.parametrize("tied", [False, True])
def test_a_training_step_around_the_scan(optimizer: Any, tied: bool) -> None:
    """Embedding, Linear, loss, clipping and update; the cell between them has no kernel."""
    V, H = 97, 40  # logits enough to be lent memory, and so to meet the compiled loss
    embedding = Embedding(V, H)
    model = Sequential(embedding, GRU(H, H, reset="before"), Linear(H, V, tie=embedding if tied else None))
    exact = model.init(0, backend="numpy", dtype="float64")
    fast = exact.to(backend="numba", dtype="float32")
    index = np.random.default_rng(0).integers(0, V, (2, 9, 31))  # 9 · 31 rows: more than one block
    found: list[list[Array]] = []
    for model in (exact, fast):
        stepper, arrays = optimizer(model, 0.02, clip=0.5), []
        for _ in range(3):
            logits, _, backward = model.forward(index[0])
            loss, dlogits = cross_entropy(logits, index[1])
            backward(dlogits)
            arrays += [np.array(loss), logits, dlogits, model.grads.copy()]
            arrays += [np.array(stepper.step()), model.weights.copy()]
        found.append(arrays)
    for k, (wanted, got) in enumerate(zip(*found, strict=True)):
        step, what = divmod(k, 6)
        # Adam divides by the root of what may be almost 0: after its first step weights differ by a share of lr
        bound = 1e-5 if optimizer is SGD or (step, what) < (0, 5) else 5e-3
        assert np.abs(wanted - got).max() <= bound * np.abs(wanted).max(), (step, what)

"""Cross-entropy and whole layers by kernels, against the numpy backend in float64.

Where arithmetic has a provable bound, or is exact, the tolerance is that; else it follows from dtype and shape as in
``test_conformance``.
"""

from typing import Any

import numpy as np
import pytest
from fences import fences, kernels
from hypothesis import given
from hypothesis import strategies as st

from minirnn import GRU, LSTM, RNN, Linear, Recurrent, cross_entropy
from minirnn.cells import GRUCell, LSTMCell, ReluCell, TanhCell
from minirnn.core.backend import NUMBA, NUMPY, Array, maker
from minirnn.recurrent import fused
from minirnn.testing.strategies import Case

leases: Any = kernels("leases")
dispatch: Any = kernels("dispatch")
runtime: Any = kernels("runtime")
DTYPES = ("float32", "float64")
SMOOTH = (TanhCell, GRUCell, LSTMCell)
SIZES = (1, 2, 7, 15, 16, 17, 31, 32, 33, 48, 100)  # beside and on the borders of vectors and panels of every width
seeds = st.integers(0, 2**32 - 1)


# ---------------------------------------------------------------------- cross entropy


@pytest.mark.parametrize("V", [1, 2, 15, 16, 17, 28, 1027])
@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy_agrees_with_numpy(dtype: str, V: int) -> None:
    rng, eps = np.random.default_rng(V), float(np.finfo(dtype).eps)
    for rows in (1, 2, 7, 64):
        for scale in (0.01, 1.0, 30.0):
            logits = (scale * rng.normal(size=(rows, V))).astype(dtype)
            targets = rng.integers(0, V, rows)
            with fences():
                losses, dlogits = runtime.cross_entropy(logits, targets, 1 / rows)
            shifted = logits.astype(np.longdouble) - logits.max(1, keepdims=True)
            y = np.exp(shifted) / np.exp(shifted).sum(1, keepdims=True)
            exact = np.log(np.exp(shifted).sum(1)) - shifted[np.arange(rows), targets]
            one_hot = np.eye(V)[targets]
            tolerance = 4 * eps * (2 + V**0.5 + np.abs(shifted))  # a difference's rounding is relative to its size
            assert (np.abs(losses - exact) <= tolerance.max(1)).all()
            assert (
                np.abs(dlogits - (y - one_hot) / rows) <= tolerance * (y + one_hot) / rows + 1.5 * np.finfo(dtype).tiny
            ).all()
            loss, gradient = cross_entropy(logits.astype("float64"), targets)
            assert abs(float(losses.sum()) / rows - float(loss)) <= tolerance.max()
            assert np.abs(dlogits - gradient).max() <= tolerance.max() / rows


@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy_of_lent_logits_runs_the_kernel_and_agrees(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called, compiled = [], runtime.cross_entropy

    def watched(*arguments: Any) -> Any:
        called.append(1)
        return compiled(*arguments)

    monkeypatch.setattr(runtime, "cross_entropy", watched)
    rng, V = np.random.default_rng(0), 28
    x, eps = rng.normal(size=(30, 40, 5)).astype(dtype), float(np.finfo(dtype).eps)
    logits, _ = Linear(5, V).init(0, backend="numba", dtype=dtype)(x)
    assert logits.nbytes >= leases.SMALL
    assert maker(logits) is NUMBA
    targets = rng.integers(0, V, (30, 40))
    loss, dlogits = cross_entropy(logits, targets)
    assert called == [1]
    plain, gradient = cross_entropy(logits.copy(), targets)  # nobody lent the copy
    assert called == [1]
    assert maker(logits.copy()) is NUMPY
    assert loss.dtype == dlogits.dtype == dtype
    assert dlogits.shape == logits.shape
    assert abs(loss - plain) <= 50 * eps * plain
    assert np.abs(dlogits - gradient).max() <= 20 * eps / targets.size
    for view, goals in ((logits[::-1], targets[::-1]), (logits[:, ::2], targets[:, ::2]), (logits[3], targets[3])):
        loss, dlogits = cross_entropy(view, goals)
        plain, gradient = cross_entropy(view.copy(), goals)
        assert abs(loss - plain) <= 50 * eps * plain
        assert np.abs(dlogits - gradient).max() <= 20 * eps / goals.size


def test_cross_entropy_of_lent_logits_takes_masks() -> None:
    rng, V = np.random.default_rng(0), 28
    logits, _ = Linear(5, V).init(0, backend="numba")(rng.normal(size=(30, 40, 5)).astype("float32"))
    assert maker(logits) is NUMBA
    targets, mask = rng.integers(0, V, (30, 40)), rng.random((30, 40)) < 0.5
    logits[~mask], targets[~mask] = np.nan, -1
    loss, dlogits = cross_entropy(logits, targets, mask)
    alone, gradient = cross_entropy(logits[mask].astype(float), targets[mask])
    assert loss == pytest.approx(alone, rel=1e-5)
    np.testing.assert_allclose(dlogits[mask], gradient, rtol=0, atol=1e-6 / mask.sum())
    assert not dlogits[~mask].any()


@pytest.mark.parametrize("V", [1, 15, 16, 28, 100])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_nan_among_logits_makes_its_row_nan_and_no_other(dtype: str, V: int) -> None:
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(5, V)).astype(dtype), rng.integers(0, V, 5)
    clean = runtime.cross_entropy(logits, targets, 0.2)
    for place in range(V):
        spoilt = logits.copy()
        spoilt[place % 5, place] = np.nan
        others = np.arange(5) != place % 5
        for found, wanted in zip(runtime.cross_entropy(spoilt, targets, 0.2), clean, strict=True):
            assert np.isnan(found[~others]).all()
            np.testing.assert_array_equal(found[others], wanted[others])


@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy_of_huge_and_of_impossible_logits_is_that_of_numpy(dtype: str) -> None:
    largest, nothing = np.finfo(dtype).max / 4, 1.5 * float(np.finfo(dtype).tiny)
    for V in (3, 16, 40):
        logits = np.full((4, V), -1e4, dtype)
        logits[0, 1] = 1e4  # certain, and right
        logits[1, :2] = 1e4  # two equal ones
        logits[2], logits[2, 2] = -largest, largest  # certain, and wrong
        logits[3], logits[3, 0] = -np.inf, 3.0  # only one possible
        losses, dlogits = runtime.cross_entropy(logits, np.array([1, 0, 0, 0]), 1.0)
        expected = np.zeros((4, V))
        expected[1, :2], expected[2, [0, 2]] = [-0.5, 0.5], [-1, 1]
        assert losses[[0, 3]].tolist() == [0, 0]
        assert losses[1] == pytest.approx(np.log(2), rel=1e-6)
        assert losses[2] == 2 * largest
        np.testing.assert_allclose(dlogits, expected, rtol=0, atol=nothing)
        np.testing.assert_array_equal(dlogits[expected != 0], expected[expected != 0])
        with np.errstate(under="ignore"):
            plain, gradient = cross_entropy(logits, [1, 0, 0, 0])
        assert plain == pytest.approx(losses.sum() / 4)
        np.testing.assert_array_equal(gradient, expected / 4)


# ---------------------------------------------------------------------- layers


def leaves(state: Any) -> list[Array]:
    return [] if state is None else list(state) if isinstance(state, tuple) else [state]


def rebuilt(parts: list[Array]) -> Any:
    return tuple(parts) if len(parts) > 1 else parts[0]


def as_type(a: Any, dtype: str) -> Any:
    """Arrays of floats, or tuples of them, in another dtype; integers and None as they are."""
    if isinstance(a, tuple):
        return tuple(as_type(part, dtype) for part in a)
    return a if a is None or a.dtype.kind in "iu" else a.astype(dtype)


def everything(case: Case, dy: Array | None, dstate: Any) -> dict[str, Array]:
    """All that a forward, what it saves, and a backward give, by name."""
    model, dtype = case.model, case.model.weights.dtype.name
    x, state = as_type(case.x, dtype), as_type(case.state, dtype)
    y, final, backward = model.forward(x, state, lengths=case.lengths)
    found = {"y": y, **{f"final {k}": a for k, a in enumerate(leaves(final))}}
    found |= {f"saved {name}": a.copy() for name, a in backward.saved.items()}
    dx, dinitial = backward(None if dy is None else dy.astype(dtype), as_type(dstate, dtype))
    found |= {f"d{name}": g for name, g in model.named_grads().items()}
    found |= {f"dstate {k}": a for k, a in enumerate(leaves(dinitial))}
    return found if dx is None else found | {"dx": dx}


def in_float64(case: Case) -> Case:
    """The same numbers, exactly, on the numpy backend."""
    return Case(case.model.to(backend="numpy", dtype="float64"), case.x, case.state, case.lengths)


@st.composite
def numba_cases(draw: st.DrawFn, cell: Any, dtype: str) -> Case:
    T, B, D, H = draw(st.integers(1, 6)), draw(st.integers(1, 9)), *(draw(st.sampled_from(SIZES)) for _ in "DH")
    model = Recurrent(
        cell, D, H, draw(st.integers(1, 2)), bidirectional=draw(st.booleans()), trainable_state=draw(st.booleans())
    )
    model.init(draw(st.integers(0, 99)), backend="numba", dtype=dtype)
    model.weights *= draw(st.sampled_from([1.0, 2.0]))
    rng = np.random.default_rng(draw(seeds))
    x = rng.integers(0, D, (T, B)) if draw(st.booleans()) else rng.normal(size=(T, B, D)).astype(dtype)
    parts = [rng.normal(size=(len(model.directions), B, H)).astype(dtype) for _ in cell.state]
    lengths = draw(st.none() | st.lists(st.integers(0, T), min_size=B, max_size=B).map(np.array))
    return Case(model, x, rebuilt(parts) if draw(st.booleans()) else None, lengths)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", SMOOTH)
@given(data=st.data())
def test_layers_agree_with_numpy_in_float64(cell: Any, dtype: str, data: st.DataObject) -> None:
    """Outputs, states, all that is saved and every gradient; the work in pieces of any size."""
    case = data.draw(numba_cases(cell, dtype))
    (T, B), (D, H) = case.x.shape[:2], (case.model.input_size or 0, case.model.hidden_size)
    rng = np.random.default_rng(data.draw(seeds))
    shape, width = (len(case.model.directions), B, H), case.model.output_size or 0
    dstate = rebuilt([rng.normal(size=shape).astype(dtype) for _ in cell.state]) if data.draw(st.booleans()) else None
    dy = rng.normal(size=(T, B, width)).astype(dtype) if data.draw(st.booleans()) else None
    with pytest.MonkeyPatch.context() as patch, fences():
        patch.setattr(fused, "ROWS", data.draw(st.sampled_from([1, 2 * B, fused.ROWS])))
        patch.setattr(fused, "CHUNK", data.draw(st.sampled_from([1, 4 * B * H, 12 * B * H, fused.CHUNK])))
        found = everything(case, dy, dstate)
        y, final = case.model(as_type(case.x, dtype), as_type(case.state, dtype), lengths=case.lengths)
    wanted = everything(in_float64(case), dy, dstate)
    assert found.keys() == wanted.keys()
    tolerance = 60 * float(np.finfo(dtype).eps) * (T * (D + H)) ** 0.5
    for name, exact in wanted.items():
        scale = max(1.0, float(np.abs(exact).max(initial=0)))
        assert found[name].shape == exact.shape, name
        assert found[name].dtype == dtype, name
        assert np.abs(found[name] - exact).max(initial=0) <= tolerance * scale, name  # NaN fails
    np.testing.assert_array_equal(y, found["y"])  # inference
    for k, a in enumerate(leaves(final)):
        np.testing.assert_array_equal(a, found[f"final {k}"])


CROWDED = (  # rows of x, y or of the gates' gradients that are a multiple of 4096 bytes apart, in float32 or float64
    RNN(1024, 16),
    RNN(3, 1024),
    RNN(5, 512, bidirectional=True),
    GRU(512, 256),
    LSTM(7, 256, bidirectional=True),
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layer", CROWDED, ids=lambda layer: layer.describe())
def test_layers_whose_rows_crowd_a_cache_set_agree_with_numpy_in_float64(
    layer: Recurrent, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels copy such rows apart; with as few rows as need no copy, and with more than are copied at once."""
    for module in (dispatch, runtime):
        monkeypatch.setattr(module, "TOGETHER", np.inf)  # all rows to one thread
    model, rng = layer.init(0, backend="numba", dtype=dtype), np.random.default_rng(0)
    D, H, width = model.input_size or 0, model.hidden_size, model.output_size or 0
    for T, B in ((2, 1), (3, 4), (2, 67)):
        x, dy = (rng.normal(size=(T, B, n)).astype(dtype) for n in (D, width))
        model.zero_grads()
        case = Case(model, x, None, None)
        with fences():
            found = everything(case, dy, None)
            few = everything(Case(model, x[:, -1:], None, None), dy[:, -1:], None)
        model.zero_grads()
        wanted, tolerance = everything(in_float64(case), dy, None), 60 * np.finfo(dtype).eps * (T * (D + H)) ** 0.5
        for name, exact in wanted.items():
            if name[1:] not in model.named_weights():  # its gradient has been added to twice
                assert np.abs(found[name] - exact).max() <= tolerance * max(1.0, float(np.abs(exact).max())), name
        for name in ("y", "dx", "final 0", "dstate 0"):
            np.testing.assert_array_equal(few[name], found[name][:, -1:], err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
def test_relu_layers_of_whole_numbers_are_exact(dtype: str, data: st.DataObject) -> None:
    """No sum needs rounding, so that relu's kink is met exactly, and results must be equal to the bit."""
    case = data.draw(numba_cases(ReluCell, dtype))
    rng = np.random.default_rng(data.draw(seeds))
    for name, w in case.model.named_weights().items():
        w[...] = rng.integers(-1, 2, w.shape)
        if name.endswith("U"):  # states turned and moved, which do not grow
            w[...] = np.eye(len(w))[rng.permutation(len(w))] * rng.choice([-1, 1], len(w))
    (T, B), width = case.x.shape[:2], case.model.output_size or 0
    shape = (len(case.model.directions), B, case.model.hidden_size)
    x = case.x if case.x.dtype.kind == "i" else rng.integers(-1, 2, case.x.shape).astype(dtype)
    state, dstate = (rng.integers(-2, 3, shape).astype(dtype) for _ in range(2))
    dy = rng.integers(-1, 2, (T, B, width)).astype(dtype)
    case = Case(case.model, x, None if case.state is None else state, case.lengths)
    with fences():
        found = everything(case, dy, dstate)
    for name, exact in everything(in_float64(case), dy, dstate).items():
        assert np.abs(exact).max(initial=0) < 2**24, name
        np.testing.assert_array_equal(found[name], exact, err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", [*SMOOTH, ReluCell])
@given(data=st.data())
def test_a_row_has_the_same_bits_whatever_rows_are_beside_it(cell: Any, dtype: str, data: st.DataObject) -> None:
    """Any choice of rows, in any order: outputs, states and their gradients, in training and in inference."""
    case = data.draw(numba_cases(cell, dtype))
    model, x, (T, B) = case.model, as_type(case.x, dtype), case.x.shape[:2]
    rows = data.draw(st.lists(st.integers(0, B - 1), min_size=1, max_size=2 * B))
    dy = np.random.default_rng(0).normal(size=(T, B, model.output_size or 0)).astype(dtype)
    few = case.lengths if case.lengths is None else case.lengths[rows]
    some = rebuilt([a[:, rows] for a in leaves(case.state)]) if leaves(case.state) else None
    y, final, backward = model.forward(x, case.state, lengths=case.lengths)
    z, end, other = model.forward(x[:, rows], some, lengths=few)
    dx, dstate = backward(dy)
    dz, dend = other(dy[:, rows])
    alone, last = model(np.ascontiguousarray(x[:, rows]), some, lengths=few)
    np.testing.assert_array_equal(z, y[:, rows])
    np.testing.assert_array_equal(alone, y[:, rows])
    for whole, parts in ((final, (end, last)), (dstate, (dend,))):
        for part in parts:
            for a, b in zip(leaves(part), leaves(whole), strict=True):
                np.testing.assert_array_equal(a, b[:, rows])
    if dx is not None and dz is not None:
        np.testing.assert_array_equal(dz, dx[:, rows])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", [*SMOOTH, ReluCell])
def test_nan_in_a_row_makes_that_row_nan_and_changes_no_bit_of_the_others(cell: Any, dtype: str) -> None:
    rng, (T, B, D, H) = np.random.default_rng(0), (4, 9, 17, 33)
    model = Recurrent(cell, D, H).init(0, backend="numba", dtype=dtype)
    x, dy = (rng.normal(size=(T, B, n)).astype(dtype) for n in (D, H))

    def run(x: Array) -> tuple[list[Array], list[Array]]:
        y, final, backward = model.forward(x)
        dx, dstate = backward(dy)
        assert dx is not None
        z, end = model(x)
        return [y, dx, z], [*leaves(final), *leaves(dstate), *leaves(end)]

    clean = run(x)
    for row in range(B):
        spoilt = x.copy()
        spoilt[1, row, row % D] = np.nan
        (y, dx, z), states = run(spoilt)
        for a in (y, z):
            assert np.isnan(a[1:, row]).all()
            np.testing.assert_array_equal(a[0, row], clean[0][0][0, row])  # before the NaN came
        others = np.arange(B) != row
        for a, b in zip([y, dx, z, *states], [*clean[0], *clean[1]], strict=True):
            np.testing.assert_array_equal(a[:, others], b[:, others])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", [*SMOOTH, ReluCell])
def test_a_pass_from_no_state_has_the_bits_of_one_from_zeros(cell: Any, dtype: str) -> None:
    """Without a state the first step's products with U are left out, forward and in the gradient of U."""
    rng = np.random.default_rng(0)
    for T, B, D, H in ((1, 1, 3, 5), (1, 9, 3, 40), (3, 1, 4, 128), (7, 11, 5, 33)):
        model = Recurrent(cell, D, H, 2, bidirectional=True).init(0, backend="numba", dtype=dtype)
        x, dy = (rng.normal(size=(T, B, n)).astype(dtype) for n in (D, 2 * H))
        zeros = model(x)[1]
        for part in leaves(zeros):
            part[...] = 0
        found = []
        for state in (None, zeros):
            model.zero_grads()
            y, final, backward = model.forward(x, state)
            dx, dstate = backward(dy)
            z, end = model(x, state)
            found.append([y, dx, z, model.grads.copy(), *leaves(final), *leaves(dstate), *leaves(end)])
        for a, b in zip(*found, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("model", [RNN(3, 4), GRU(3, 4, 2, bidirectional=True), LSTM(3, 4, bidirectional=True)])
def test_no_rows_at_all_give_empty_results(model: Recurrent) -> None:
    model.init(0, backend="numba")
    x = np.zeros((5, 0, 3), "float32")
    y, final, backward = model.forward(x)
    dx, _ = backward(y)
    assert dx is not None
    assert y.shape == model(x)[0].shape == (5, 0, model.output_size)
    assert dx.shape == x.shape
    assert not model.grads.any()
    assert all(a.shape == (len(model.directions), 0, 4) for a in leaves(final))

"""What training adds at random: where masks come from, what they do once given, and what they do on average."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle_inputs import NAMES, close, initial, parts, weights_of
from tiers import either, mostly_slow

from minirnn import GRU, LSTM, RNN, Dropout, Embedding, Layer, Linear, ModelFileWarning, Sequential, load
from minirnn.cells import TanhCell
from minirnn.core.backend import BACKENDS, NUMPY, Array
from minirnn.core.noise import keep_mask
from minirnn.core.protocol import name_of
from minirnn.core.tree import arrays_in
from minirnn.formats import torch as torch_files
from minirnn.recurrent.networks import Recurrent

RNG = np.random.default_rng(5)
HOST = [name for name, backend in BACKENDS.items() if not backend.on_device]
PASSES = 1500  # of which a mean is taken


def noise_of(layer: Recurrent, saved: dict[str, Array]) -> oracle.Noise:
    """The masks of one pass, as the oracle takes them."""
    n, outputs = layer.num_directions, list[Any]()
    for k in range(layer.num_layers):
        mask = saved.get(f"{k}.dropout.mask")
        outputs.append(None if mask is None else (mask / (1 - layer.dropout)).tolist())
    recurrent, zoned = list[list[Any]](), list[list[Any]]()
    for k in range(layer.num_layers):
        names = layer.names[k * n : (k + 1) * n]
        masks = [saved.get(f"{name}.weight_dropout.mask") for name in names]
        recurrent.append([None if M is None else (M / (1 - layer.weight_dropout)).tolist() for M in masks])
        zoned.append([zones_of(layer, saved, name) for name in names])
    return oracle.Noise(outputs, recurrent, zoned)


def zones_of(layer: Recurrent, saved: dict[str, Array], name: str) -> tuple[Any, ...] | None:
    """Of a direction's states, where each stayed as it was; None where none ever does."""
    found = [saved.get(f"{name}.zoneout.{state}") for state in layer.cell.state]
    like = next((a for a in found if a is not None), None)
    if like is None:
        return None
    widths = [width for _, _, width in layer.state_shapes(1)]
    zero = [np.zeros((*like.shape[:2], width)) for width in widths]
    return tuple((z if a is None else a * 1.0).tolist() for a, z in zip(found, zero, strict=True))


@given(either())
def test_a_pass_with_its_masks_given_agrees_with_the_oracle(case: Any) -> None:
    layer, x = case.model, case.x
    features = np.eye(layer.input_size)[x] if x.dtype.kind == "i" else x
    lengths = None if case.lengths is None else case.lengths.tolist()
    y, state, backward = layer.forward(x, case.state, lengths=case.lengths)
    expected, final = oracle.run(
        NAMES[name_of(layer.cell)],
        features.tolist(),
        weights_of(layer),
        initial(layer, case.state, x.shape[1]),
        lengths,
        noise=noise_of(layer, backward.saved),
    )
    close(y, expected)
    for actual, wanted in zip(parts(state), final, strict=True):
        close(actual, wanted)


# ---------------------------------------------------------------------- where masks come from

NOISY: dict[str, Callable[[], Layer]] = {
    "dropout": lambda: Sequential(Dropout(0.4), Linear(3, 2)),
    "weights": lambda: LSTM(3, 4, 2, bidirectional=True, weight_dropout=0.5),
    "zoned": lambda: LSTM(3, 4, 2, bidirectional=True, zoneout=(0.5, 0.3)),
    "locked": lambda: Sequential(Dropout(0.4, locked=True), GRU(3, 4, 2, dropout=0.5, locked=True)),
}


@pytest.mark.parametrize("make", NOISY.values(), ids=NOISY.keys())
def test_a_row_has_the_same_masks_in_a_batch_of_any_size(make: Callable[[], Layer]) -> None:
    model, x = make().init(2, dtype="float64"), RNG.normal(size=(5, 4, 3))
    found = []
    for rows in (4, 3, 1):
        model.bound.calls = 7
        y, _, backward = model.forward(x[:, :rows])
        masks = {name: a for name, a in backward.saved.items() if name.endswith("mask") or "zoneout" in name}
        dx, _ = backward(np.ones_like(y))
        assert dx is not None
        found.append((y, dx, masks))
    y, dx, masks = found[0]
    assert masks
    model.bound.calls = 7
    z, _, backward = model.forward(x[:, 2:3], first_row=2)  # a row alone, as a rank may have it
    np.testing.assert_allclose(z, y[:, 2:3], rtol=1e-12)
    np.testing.assert_allclose(backward(np.ones_like(z))[0], dx[:, 2:3], rtol=1e-12)  # type: ignore[arg-type]
    for z, dz, others in found[1:]:
        n = z.shape[1]
        np.testing.assert_allclose(z, y[:, :n], rtol=1e-12)
        np.testing.assert_allclose(dz, dx[:, :n], rtol=1e-12)
        for name, mask in others.items():
            wanted = masks[name] if "weight" in name else masks[name][:, :n]
            np.testing.assert_array_equal(mask, wanted, err_msg=name)


@pytest.mark.parametrize("backend", HOST)
def test_rows_that_are_computed_apart_add_up_to_their_batch(backend: str) -> None:
    """As ranks do it: each its rows, with the same U thinned alike, and the gradients summed."""
    noise: dict[str, Any] = {"dropout": 0.5, "locked": True, "weight_dropout": 0.4}
    model = Sequential(
        Dropout(0.3),
        GRU(3, 4, 2, bidirectional=True, **noise),
        LSTM(8, 3, zoneout=(0.3, 0.6)),
        Dropout(0.2, locked=True),
        Linear(3, 2),
    ).init(2, backend=backend, dtype="float64")
    x, dy, found = RNG.normal(size=(6, 5, 3)), RNG.normal(size=(6, 5, 2)), list[Any]()
    for shares in ([slice(0, 5)], [slice(0, 2), slice(2, 5)], [slice(b, b + 1) for b in range(5)]):
        model.zero_grads()
        ys = []
        for rows in shares:
            model.bound.calls = 4
            y, _, backward = model.forward(x[:, rows], lengths=np.array([6, 2, 4, 0, 5])[rows], first_row=rows.start)
            backward(dy[:, rows])
            ys.append(y)
        found.append((np.concatenate(ys, axis=1), model.grads.copy()))
    for y, grads in found[1:]:
        np.testing.assert_allclose(y, found[0][0], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(grads, found[0][1], rtol=1e-11, atol=1e-13)


def test_rows_have_the_masks_of_their_batch_wherever_they_are() -> None:
    whole = keep_mask(NUMPY, 1, "1.0", 2, (4, 6, 5), 0.5)
    np.testing.assert_array_equal(keep_mask(NUMPY, 1, "1.0", 2, (4, 2, 5), 0.5, 3), whole[:, 3:5])
    for T in (1, 4):
        model = Dropout(0.5, locked=T == 1).init(0, dtype="float64")
        x = np.ones((4, 6, 3))
        y, _, _ = model.forward(x)
        run = model._admit(x[:, 4:], None, None, training=True)[2]._replace(call=0, first_row=4)
        np.testing.assert_array_equal(model.apply(x[:, 4:], None, run).y, y[:, 4:])


@given(st.integers(0, 2**64 - 1), st.integers(1, 6), st.integers(1, 5))
def test_a_locked_mask_is_one_for_all_steps(seed: int, T: int, B: int) -> None:
    model, x = Dropout(0.4, locked=True).init(seed, dtype="float64"), RNG.normal(size=(T, B, 30))
    y, _, backward = model.forward(x)
    mask, dy = backward.saved["mask"], RNG.normal(size=y.shape)
    assert mask.shape == x.shape
    assert (mask == mask[0]).all()
    np.testing.assert_array_equal(y, np.where(mask, x * (1 / 0.6), 0))
    dx, _ = backward(dy)
    np.testing.assert_array_equal(dx, np.where(mask, dy * (1 / 0.6), 0))
    assert B == 1 or not (mask[0, 0] == mask[0, 1]).all()
    assert not np.array_equal(model.forward(x)[2].saved["mask"], mask)
    model.bound.calls = 0
    np.testing.assert_array_equal(model.forward(x[0])[0], y[0])  # without time
    np.testing.assert_array_equal(model(x)[0], x)


def test_layers_of_one_recurrent_layer_are_locked_by_masks_of_their_own() -> None:
    layer = LSTM(3, 40, 3, bidirectional=True, dropout=0.5, locked=True).init(1)
    saved = layer.forward(np.zeros((6, 2, 3), "f4"), lengths=[6, 4])[2].saved
    first, second = (saved[f"{k}.dropout.mask"] for k in (0, 1))
    assert first.shape == second.shape == (6, 2, 80)
    assert not np.array_equal(first[0], second[0])
    for mask in (first, second):
        assert (mask[:, 0] == mask[0, 0]).all()
        assert (mask[:4, 1] == mask[0, 1]).all()
        assert not mask[4:, 1].any()
        assert 0.3 < mask[0].mean() < 0.7


# ---------------------------------------------------------------------- what they do on average


def assert_mean(samples: Array, expected: Array) -> None:
    """The mean over the first axis is the expected one, within five times its standard error in any entry."""
    error = samples.std(axis=0, ddof=1) / len(samples) ** 0.5
    assert (error > 0).any()  # there is noise
    assert (np.abs(samples.mean(axis=0) - expected) <= 5 * error + 1e-12).all()


@pytest.mark.parametrize("locked", [False, True])
def test_dropout_into_a_linear_layer_is_on_average_what_inference_says(locked: bool) -> None:
    model = Sequential(Dropout(0.3, locked=locked), Linear(6, 3)).init(0, dtype="float64")
    x = RNG.normal(size=(3, 2, 6))
    assert_mean(np.stack([model.forward(x)[0] for _ in range(PASSES)]), model(x)[0])


def test_a_language_models_first_layer_sees_each_symbol_alike_within_a_row() -> None:
    """An embedding under locked dropout: the same features of it are missing at every step."""
    model = Sequential(Embedding(4, 50), Dropout(0.5, locked=True)).init(0, dtype="float64")
    y, _, _ = model.forward(np.array([[0], [1], [0], [3]]))
    zero = y == 0
    assert (zero == zero[0]).all()
    assert 0.2 < zero.mean() < 0.8


# ---------------------------------------------------------------------- weights


@pytest.mark.parametrize("backend", HOST)
@pytest.mark.parametrize(
    "kind", mostly_slow([LSTM, RNN, GRU, partial(LSTM, proj_size=2), partial(GRU, reset="before")])
)
def test_weight_dropout_is_the_same_layer_with_fewer_weights(kind: Any, backend: str) -> None:
    """A layer without noise that has the thinned U gives the same, and the masked and scaled gradient of U."""
    p, x = 0.4, RNG.normal(size=(5, 3, 2))
    noisy = kind(2, 4, bidirectional=True, weight_dropout=p).init(3, backend=backend, dtype="float64")
    plain = kind(2, 4, bidirectional=True).init(3, backend=backend, dtype="float64")
    before = noisy.weights.copy()
    y, final, backward = noisy.forward(x, lengths=[5, 2, 0])
    masks = {name: backward.saved[f"{name}.weight_dropout.mask"] for name in ("0", "0.reverse")}
    for name, M in masks.items():
        plain.named_weights()[f"{name}.U"] *= M / (1 - p)
    z, last, back = plain.forward(x, lengths=[5, 2, 0])
    np.testing.assert_allclose(y, z, rtol=1e-13)
    dy = RNG.normal(size=y.shape)
    dx, dstate = backward(dy, final, keep=True)
    backward(dy, final)  # adds once more
    dz, dlast = back(dy, last)
    assert dx is not None
    np.testing.assert_allclose(dx, dz, rtol=1e-12)
    for a, b in zip(arrays_in(dstate), arrays_in(dlast), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    for name, g in noisy.named_grads().items():
        M = masks.get(name.removesuffix(".U"))
        wanted = plain.named_grads()[name] * (1 if M is None else M / (1 - p))
        np.testing.assert_allclose(g, 2 * wanted, rtol=1e-12, atol=1e-14, err_msg=name)
    np.testing.assert_array_equal(noisy.weights, before)
    plain.init(3, backend=backend, dtype="float64", overwrite=True)
    np.testing.assert_array_equal(noisy(x)[0], plain(x)[0])


def test_every_u_has_a_mask_of_its_own_in_every_pass() -> None:
    layer, x = GRU(4, 8, 2, bidirectional=True, weight_dropout=0.5).init(0), np.zeros((2, 1, 4), "f4")
    masks = [a for _ in range(2) for name, a in layer.forward(x)[2].saved.items() if "weight_dropout" in name]
    assert [M.shape for M in masks] == [(8, 24)] * 8
    assert all((a != b).mean() > 0.3 for i, a in enumerate(masks) for b in masks[:i])


def test_dropped_weights_are_on_average_the_weights() -> None:
    layer, x = RNN(3, 4, weight_dropout=0.3).init(0, dtype="float64"), np.zeros((1, 1, 3))
    U, seen = layer.named_weights()["0.U"], []
    for _ in range(PASSES):
        M = layer.forward(x)[2].saved["0.weight_dropout.mask"]
        seen.append(np.where(M, U / 0.7, 0))
    assert_mean(np.stack(seen), U)


@pytest.mark.parametrize("backend", HOST)
@pytest.mark.parametrize("kind", [RNN, GRU, LSTM])
def test_passes_that_are_pending_each_keep_their_own_weights(kind: Any, backend: str) -> None:
    layer = kind(2, 3, weight_dropout=0.5).init(0, backend=backend, dtype="float64")
    x, found = RNG.normal(size=(4, 2, 2)), list[Any]()
    for y, _, backward in reversed([layer.forward(x) for _ in range(3)]):
        layer.zero_grads()
        found.append((y, backward(y)[0], layer.grads.copy()))
    for call, (y, dx, grads) in enumerate(reversed(found)):
        layer.bound.calls = call
        alone, _, backward = layer.forward(x)
        np.testing.assert_array_equal(alone, y)
        layer.zero_grads()
        np.testing.assert_array_equal(backward(alone)[0], dx)
        np.testing.assert_array_equal(layer.grads, grads)
    assert not np.array_equal(found[0][0], found[1][0])


# ---------------------------------------------------------------------- states


@given(either(dropout=False), st.sampled_from([0.3, (0.2, 0.7)]), st.data())
def test_zoneout_in_inference_is_what_the_oracle_says(case: Any, share: Any, data: st.DataObject) -> None:
    """Every state is mixed with the one before in the proportion of its probability, in training's place of masks."""
    plain, (T, B) = case.model, case.x.shape[:2]
    states = len(plain.cell.state)
    share = share if states == 2 or not isinstance(share, tuple) else share[0]
    layer = Recurrent(**{**plain.config(), "zoneout": share}).init(dtype="float64", backend=plain.bound.backend.name)
    layer.weights = plain.weights
    features = np.eye(layer.input_size or 0)[case.x] if case.x.dtype.kind == "i" else case.x
    shares = share if isinstance(share, tuple) else (share,) * states
    cubes = tuple(np.full((T, B, n), p).tolist() for p, (_, _, n) in zip(shares, layer.state_shapes(B), strict=True))
    n, depth = layer.num_directions, layer.num_layers
    noise = oracle.Noise([None] * depth, [[None] * n] * depth, [[cubes] * n] * depth)
    lengths = None if case.lengths is None else case.lengths.tolist()
    start = initial(layer, case.state, B)
    expected, final = oracle.run(
        NAMES[name_of(layer.cell)], features.tolist(), weights_of(layer), start, lengths, noise=noise
    )
    backend = data.draw(st.sampled_from(HOST))
    y, state = layer.to(backend=backend)(case.x, case.state, lengths=case.lengths)
    close(y, expected)
    for actual, wanted in zip(parts(state), final, strict=True):
        close(actual, wanted)


@pytest.mark.parametrize("backend", HOST)
@pytest.mark.parametrize("lengths", [None, [6, 3, 0]])
def test_a_unit_in_a_zone_is_what_it_was(backend: str, lengths: Any) -> None:
    layer = LSTM(2, 30, bidirectional=True, zoneout=(0.5, 0.2)).init(1, backend=backend, dtype="float64")
    x = RNG.normal(size=(6, 3, 2))
    y, (h, c), backward = layer.forward(x, lengths=lengths)
    saved = backward.saved
    past = np.arange(6)[:, None] >= (lengths or [6, 6, 6])
    zone, cell_zone = saved["0.zoneout.h"], saved["0.zoneout.c"]
    assert not zone[past].any()
    assert 0.35 < zone[~past].mean() < 0.65
    assert 0.1 < cell_zone[~past].mean() < 0.3
    assert not np.array_equal(zone, saved["0.reverse.zoneout.h"])
    before = np.concatenate([np.zeros((1, 3, 30)), y[:-1, :, :30]])
    np.testing.assert_array_equal(y[:, :, :30][zone], before[zone])
    fresh = saved["0.o"] * saved["0.m"]  # of the cell's own new c, whatever became of that
    np.testing.assert_allclose(y[:, :, :30][~zone & ~past[:, :, None]], fresh[~zone & ~past[:, :, None]], rtol=1e-14)
    for b, n in enumerate(lengths or [6, 6, 6]):
        np.testing.assert_array_equal(h[0, b], y[n - 1, b, :30] if n else 0 * h[0, b])
        new = saved["0.f"][n - 1, b] * saved["0.c"][n - 1, b] + saved["0.i"][n - 1, b] * saved["0.g"][n - 1, b]
        last = np.where(cell_zone[n - 1, b], saved["0.c"][n - 1, b], new)
        # kernels round f c + i g once, not twice: where the terms cancel, that is an ulp of theirs
        np.testing.assert_allclose(c[0, b], last if n else 0 * new, rtol=1e-14, atol=1e-15)


def test_every_state_of_every_direction_has_zones_of_its_own() -> None:
    layer, x = LSTM(2, 60, 2, bidirectional=True, zoneout=0.5).init(0), np.zeros((1, 1, 2), "f4")
    zones = [a for _ in range(2) for name, a in layer.forward(x)[2].saved.items() if "zoneout" in name]
    assert [zone.shape for zone in zones] == [(1, 1, 60)] * 16
    assert all((a != b).mean() > 0.2 for i, a in enumerate(zones) for b in zones[:i])


def test_a_zoned_state_is_on_average_what_inference_says() -> None:
    """Of one step, whose new state no mask has changed before."""
    layer, x = LSTM(3, 4, zoneout=(0.3, 0.6)).init(0, dtype="float64"), RNG.normal(size=(1, 2, 3))
    state = tuple(RNG.normal(size=(1, 2, 4)) for _ in range(2))
    seen = [layer.forward(x, state)[1] for _ in range(PASSES)]
    for k, expected in enumerate(layer(x, state)[1]):
        assert_mean(np.stack([final[k] for final in seen]), expected)


@given(either(indices=False), st.integers(0, 2**32 - 1))
def test_padding_changes_nothing_with_masks_frozen(case: Any, seed: int) -> None:
    model, x, rng = case.model, case.x, np.random.default_rng(seed)
    T, B, D = x.shape
    lengths = np.full(B, T) if case.lengths is None else case.lengths
    found = []
    for more in (0, 2):
        model.bound.calls = 3
        y, final, backward = model.forward(np.concatenate([x, np.full((more, B, D), np.nan)]), lengths=lengths)
        found.append((y[:T], *arrays_in(final)))
        if not more:
            dy = rng.normal(size=y.shape)
        model.zero_grads()
        dx, dstate = backward(np.concatenate([dy, np.full((more, *dy.shape[1:]), np.nan)]))
        assert dx is not None
        found[-1] += (dx[:T], *arrays_in(dstate), model.grads.copy())
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@given(
    shape=st.tuples(*[st.integers(0, 40)] * 3),
    seed=st.integers(0, 2**64 - 1),
    p=st.floats(0, 0.999),
    firsts=st.tuples(*[st.integers(0, 2**33)] * 2),
)
def test_compiled_masks_are_those_of_numpy(shape: Any, seed: int, p: float, firsts: Any) -> None:
    pytest.importorskip("numba", reason="Numba is not installed: pip install 'minirnn[fast]'")
    row, step = firsts
    found, wanted = (
        keep_mask(BACKENDS[name], seed, "0.zoneout.h", 3, shape, p, row, step) for name in ("numba", "numpy")
    )
    assert found.dtype == bool
    np.testing.assert_array_equal(found, wanted)


class Sine(TanhCell):
    """A cell of a function that kernels do not have."""

    @staticmethod
    def step(p: Any, q: Any, _: Any) -> Any:
        h1 = np.sin(p + q)
        return (h1,), (h1,)


def test_zoneout_has_kernels_where_its_cell_has_and_says_so_where_not() -> None:
    layer = Sequential(
        GRU(2, 3, zoneout=0.1),
        LSTM(3, 2, zoneout=(0.0, 0.2)),
        GRU(2, 2, zoneout=(0.0,)),
        GRU(2, 2, reset="before", zoneout=0.2),
        Recurrent(Sine, 2, 2, zoneout=0.2),
    ).init(backend="numba")
    words = repr(layer).splitlines()
    assert words[1:4] == ["  (0): GRU(2, 3, zoneout=0.1)", "  (1): LSTM(3, 2, zoneout=(0.0, 0.2))", "  (2): GRU(2, 2)"]
    assert [line for line in words if "kernel" in line] == [
        "  Sine with zoneout has no kernel on backend numba: it runs by its plain equations"
    ]
    assert "zoneout" not in repr(layer.to(backend="numpy")).splitlines()[-1]


def test_what_acts_in_training_alone_is_nothing_elsewhere(tmp_path: Path) -> None:
    """Inference, a stream, fewer bits and torch's file are those of the layer without noise."""
    noise: dict[str, Any] = {"dropout": 0.5, "locked": True, "weight_dropout": 0.5}
    noisy, plain = (GRU(3, 4, 2, **options).init(4) for options in (noise, {}))
    x = RNG.normal(size=(5, 2, 3)).astype("f4")
    np.testing.assert_array_equal(noisy(x)[0], plain(x)[0])
    np.testing.assert_array_equal(noisy.quantize("int8")(x)[0], plain.quantize("int8")(x)[0])
    np.testing.assert_array_equal(noisy.stream(2)(x[0]), plain.stream(2)(x[0]))
    with pytest.warns(ModelFileWarning, match="without GRU's dropout=0.5, GRU's weight_dropout=0.5"):
        torch_files.save(noisy, tmp_path / "a.pt")
    torch_files.save(plain, tmp_path / "b.pt")
    assert (load(tmp_path / "a.pt")(x)[0] == load(tmp_path / "b.pt")(x)[0]).all()
    with pytest.raises(ValueError, match=r"torch has no module like .*: its zoneout goes on in inference"):
        torch_files.save(GRU(3, 4, zoneout=0.1).init(), tmp_path / "c.pt")
    zoned = GRU(3, 4, zoneout=0.5).init(4)
    np.testing.assert_allclose(zoned.quantize("f16")(x)[0], zoned(x)[0], atol=2e-3)

"""Clipping, optimisers and schedules: formulas against scalar loops, and what must stay as it was."""

import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from minirnn import (
    GRU,
    SGD,
    Adam,
    AdamW,
    Layer,
    Linear,
    NonFiniteGradientError,
    RMSProp,
    Sequential,
    clip_grad_norm,
    clip_grad_value,
    grad_norm,
    mse,
)
from minirnn.optim.optimisers import Optimizer
from minirnn.optim.schedules import constant, cosine, step_decay

Array: TypeAlias = NDArray[Any]
Make: TypeAlias = Callable[[Layer], Optimizer]

OPTIMIZERS: dict[str, Make] = {
    "sgd": lambda m: SGD(m, 0.1, weight_decay=0.1),
    "momentum": lambda m: SGD(m, 0.1, momentum=0.9, weight_decay=0.1, clip=1.0),
    "nesterov": lambda m: SGD(m, 0.1, momentum=0.9, nesterov=True),
    "adam": lambda m: Adam(m, 0.1, weight_decay=0.1, clip_value=0.5),
    "adamw": lambda m: AdamW(m, 0.1, weight_decay=0.1, clip=1.0, clip_value=0.5),
    "rmsprop": lambda m: RMSProp(m, 0.1, weight_decay=0.1),
}
every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())


def two_layers(dtype: str = "float64") -> Sequential:
    """Weights of 6, 2, 2 and 1 entries, so that each has an alignment gap after it."""
    return Sequential(Linear(3, 2), Linear(2, 1)).init(0, dtype=dtype)


def draw_grads(model: Layer, seed: int = 0, scale: float = 1.0) -> None:
    rng = np.random.default_rng(seed)
    for g in model.named_grads().values():
        g[...] = rng.normal(size=g.shape) * scale


def gaps(model: Layer) -> Array:
    """True where the flat vectors belong to no weight."""
    marks = np.ones(model.weights.shape, bool)
    for name in model.named_weights():
        model.bound.view(marks, name)[...] = False
    assert marks.any()
    return marks


def everything(optimizer: Optimizer) -> list[Array]:
    """Copies of all that a step may change."""
    model = optimizer.model
    numbers = np.array([optimizer.steps, model.bound.updates])
    return [a.copy() for a in (model.weights, model.grads, numbers, *optimizer.state.values())]


# ---------------------------------------------------------------------- clipping


@given(st.sampled_from(["float32", "float64"]), st.integers(-30, 30), st.integers(-3, 3), st.integers(0, 99))
def test_clipping_scales_to_the_norm_asked_for_or_changes_nothing(
    dtype: str, magnitude: int, log_norm: int, seed: int
) -> None:
    model, max_norm = two_layers(dtype), 10.0**log_norm
    draw_grads(model, seed, 10.0**magnitude)
    before = model.grads.astype(float)
    norm = clip_grad_norm(model, max_norm)
    true_norm = float(np.linalg.norm(before))  # in float64 1e30 squared is nothing special
    assert norm == pytest.approx(true_norm, rel=1e-5)
    if norm <= max_norm:
        assert np.array_equal(model.grads, before)
    else:
        assert grad_norm(model) == pytest.approx(max_norm, rel=1e-5)
        np.testing.assert_allclose(model.grads, before * (max_norm / true_norm), rtol=1e-5)  # same direction


@given(st.integers(0, 99), st.sampled_from([0.1, 1.0, 100.0]))
def test_an_optimizer_clips_values_first_and_then_the_norm(seed: int, clip: float) -> None:
    model = two_layers()
    draw_grads(model, seed, 3.0)
    g, w = model.grads.copy(), model.weights.copy()
    g = np.clip(g, -0.5, 0.5)
    norm = SGD(model, 1.0, clip=clip, clip_value=0.5).step()
    assert norm == pytest.approx(np.linalg.norm(g), rel=1e-12)
    np.testing.assert_allclose(w - model.weights, g * min(1, clip / norm), atol=1e-14)


def test_clipping_by_value_limits_every_entry_and_leaves_the_smaller_ones() -> None:
    model = two_layers()
    draw_grads(model, scale=2.0)
    before = model.grads.copy()
    clip_grad_value(model, 0.7)
    assert model.grads.tolist() == [max(-0.7, min(0.7, g)) for g in before.tolist()]


def test_zero_gradients_have_norm_0_and_stay() -> None:
    model = two_layers()
    assert clip_grad_norm(model, 1e-3) == 0
    assert not model.grads.any()


@pytest.mark.parametrize("limit", [-1.0, float("nan")])
@pytest.mark.parametrize("clip", [clip_grad_norm, clip_grad_value])
def test_a_limit_that_is_none_is_refused_before_it_turns_gradients_around(clip: Any, limit: float) -> None:
    model = two_layers()
    draw_grads(model)
    before = model.grads.copy()
    with pytest.raises(ValueError, match=r"norm|value"):
        clip(model, limit)
    assert np.array_equal(model.grads, before)


# ---------------------------------------------------------------------- gradients that are not finite


@every_optimizer
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_is_named_and_nothing_changes(make: Make, bad: float) -> None:
    model = two_layers()
    optimizer = make(model)
    draw_grads(model)
    optimizer.step()
    draw_grads(model)
    model.named_grads()["1.W"][1, 0] = bad
    before = everything(optimizer)
    with pytest.raises(NonFiniteGradientError, match=rf"gradient of 1\.W is not finite: 1 of 2 entries, .* {bad};"):
        optimizer.step()
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(everything(optimizer), before, strict=True))


@pytest.mark.parametrize("clip", [clip_grad_norm, clip_grad_value])
def test_clipping_a_gradient_that_is_not_finite_changes_nothing_either(clip: Any) -> None:
    model = two_layers("float32")
    draw_grads(model)
    model.named_grads()["0.b"][0] = np.inf
    before = model.grads.copy()
    with pytest.raises(NonFiniteGradientError, match=r"gradient of 0\.b is not finite"):
        clip(model, 0.1)
    assert np.array_equal(model.grads, before)


# ---------------------------------------------------------------------- frozen weights


@every_optimizer
@pytest.mark.parametrize("frozen", [("0.W",), ("0.b", "1.W"), ("1",), ("0", "1")])
def test_frozen_weights_take_no_part_even_if_their_gradient_is_nan(make: Make, frozen: tuple[str, ...]) -> None:
    model, other = two_layers(), two_layers()
    model.freeze(*frozen)
    held = {name for name in model.named_weights() if any(name == f or name.startswith(f"{f}.") for f in frozen)}
    first = {name: w.copy() for name, w in model.named_weights().items()}
    optimizer, same = make(model), make(other)
    for seed in range(3):
        draw_grads(model, seed)
        draw_grads(other, seed)
        for name in held:
            model.named_grads()[name][...] = np.nan
            other.named_grads()[name][...] = 0  # adds nothing to the norm
        assert optimizer.step() == pytest.approx(same.step(), rel=1e-14, abs=0)
        assert not model.grads.any()
    for name, w in model.named_weights().items():
        if name in held:
            assert np.array_equal(w, first[name]), name
        else:
            assert not np.array_equal(w, first[name]), name
            np.testing.assert_allclose(w, other.named_weights()[name], rtol=1e-13)


def test_weights_unfrozen_again_are_trained_again() -> None:
    model = two_layers().freeze("0")
    model.unfreeze("0.b")
    before = {name: w.copy() for name, w in model.named_weights().items()}
    draw_grads(model)
    SGD(model, 0.1).step()
    changed = {name for name, w in model.named_weights().items() if not np.array_equal(w, before[name])}
    assert changed == {"0.b", "1.W", "1.b"}


# ---------------------------------------------------------------------- formulas, one number at a time


def sgd(w: float, gs: list[float], lr: float, decay: float, momentum: float, *, nesterov: bool) -> Iterator[float]:
    v = 0.0
    for gradient in gs:
        g = gradient + decay * w
        v = momentum * v + g
        w -= lr * (g + momentum * v if nesterov else v)
        yield w


def adam(w: float, gs: list[float], lr: float, decay: float, eps: float, *, decoupled: bool) -> Iterator[float]:
    m = v = 0.0
    for t, gradient in enumerate(gs, start=1):
        g = gradient if decoupled else gradient + decay * w
        w -= lr * decay * w if decoupled else 0
        m = 0.8 * m + 0.2 * g
        v = 0.95 * v + 0.05 * g**2
        w -= lr * (m / (1 - 0.8**t)) / (math.sqrt(v / (1 - 0.95**t)) + eps)
        yield w


def rmsprop(w: float, gs: list[float], lr: float, decay: float, eps: float) -> Iterator[float]:
    v = 0.0
    for gradient in gs:
        g = gradient + decay * w
        v = 0.9 * v + 0.1 * g**2
        w -= lr * g / (math.sqrt(v) + eps)
        yield w


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize(
    ("make", "scalar"),
    [
        (lambda m, **o: SGD(m, 0.1, **o), lambda w, gs, d: sgd(w, gs, 0.1, d, 0.0, nesterov=False)),
        (lambda m, **o: SGD(m, 0.1, momentum=0.7, **o), lambda w, gs, d: sgd(w, gs, 0.1, d, 0.7, nesterov=False)),
        (
            lambda m, **o: SGD(m, 0.1, momentum=0.7, nesterov=True, **o),
            lambda w, gs, d: sgd(w, gs, 0.1, d, 0.7, nesterov=True),
        ),
        (
            lambda m, **o: Adam(m, 0.1, betas=(0.8, 0.95), eps=0.01, **o),
            lambda w, gs, d: adam(w, gs, 0.1, d, 0.01, decoupled=False),
        ),
        (
            lambda m, **o: AdamW(m, 0.1, betas=(0.8, 0.95), eps=0.01, **o),
            lambda w, gs, d: adam(w, gs, 0.1, d, 0.01, decoupled=True),
        ),
        (lambda m, **o: RMSProp(m, 0.1, alpha=0.9, eps=0.01, **o), lambda w, gs, d: rmsprop(w, gs, 0.1, d, 0.01)),
    ],
    ids=["sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop"],
)
def test_each_weight_moves_as_the_formula_says(make: Any, scalar: Any, decay: float) -> None:
    model, T = two_layers(), 4
    optimizer, rng = make(model, weight_decay=decay), np.random.default_rng(1)
    names = list(model.named_weights())
    gs = {name: rng.normal(size=(T, *model.named_weights()[name].shape)) for name in names}
    paths = {
        (name, place): scalar(float(w[place]), gs[name][:, *place].tolist(), decay)
        for name, w in model.named_weights().items()
        for place in np.ndindex(w.shape)
    }
    for t in range(T):
        for name, g in model.named_grads().items():
            g[...] = gs[name][t]
        optimizer.step()
        assert not model.grads.any()
        for (name, place), path in paths.items():
            assert model.named_weights()[name][place] == pytest.approx(next(path), rel=1e-12), (name, place, t)


@every_optimizer
def test_alignment_gaps_stay_0_over_many_steps_of_training(make: Make) -> None:
    model = Sequential(GRU(2, 3), Linear(3, 1)).init(0, dtype="float32")
    unused, rng = gaps(model), np.random.default_rng(0)
    optimizer = make(model)
    for _ in range(30):
        y, _, backward = model.forward(rng.normal(size=(2, 3, 2)).astype("float32"))
        backward(mse(y, np.ones(y.shape))[1])
        optimizer.step()
    for flat in (model.weights, *optimizer.state.values()):
        assert not flat[unused].any()
        assert flat[~unused].all()  # everything else was reached


def test_a_step_returns_the_norm_before_clipping() -> None:
    model = two_layers()
    draw_grads(model)
    norm = float(np.linalg.norm(model.grads))
    assert SGD(model, 0.1, clip=norm / 2).step() == pytest.approx(norm, rel=1e-14)


@every_optimizer
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_weights_keep_their_place_and_dtype(make: Make, dtype: str) -> None:
    model = two_layers(dtype)
    flat, view = model.weights, model.named_weights()["0.W"]
    draw_grads(model)
    make(model).step()
    assert model.weights is flat
    assert model.weights.dtype == dtype
    assert np.shares_memory(view, flat)
    assert np.array_equal(view, model.named_weights()["0.W"])


# ---------------------------------------------------------------------- schedules


def test_the_learning_rate_is_read_from_the_schedule_at_every_step() -> None:
    model = two_layers()
    optimizer = SGD(model, lambda step: 10.0**-step)
    for step in range(4):
        assert optimizer.lr == 10.0**-step
        before = model.weights.copy()
        model.grads[...] = 1
        optimizer.step()
        np.testing.assert_allclose(before - model.weights, 10.0**-step, rtol=1e-10)


def test_a_step_that_fails_does_not_move_the_schedule_on() -> None:
    model = two_layers()
    optimizer = SGD(model, lambda step: 10.0**-step)
    model.grads[0] = np.nan
    with pytest.raises(NonFiniteGradientError):
        optimizer.step()
    assert optimizer.lr == 1


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (constant(0.3), {0: 0.3, 1: 0.3, 10**9: 0.3}),
        (step_decay(0.8, 3, 0.5), {0: 0.8, 2: 0.8, 3: 0.4, 5: 0.4, 6: 0.2, 9: 0.1}),
        (step_decay(1.0, 1), {0: 1.0, 1: 0.1, 2: 0.01}),
        (cosine(1.0, 100), {0: 1.0, 25: 0.5 + 0.125**0.5, 50: 0.5, 100: 0.0, 101: 0.0, 10**6: 0.0}),
        (
            cosine(1.0, 110, warmup=10, floor=0.2),
            {0: 0.1, 1: 0.2, 8: 0.9, 9: 1.0, 10: 1.0, 60: 0.6, 110: 0.2, 111: 0.2},
        ),
        (cosine(0.5, 3, warmup=1), {0: 0.5, 1: 0.5, 2: 0.25, 3: 0.0}),
    ],
)
def test_schedules_have_their_values_at_the_points_that_matter(
    schedule: Callable[[int], float], values: dict[int, float]
) -> None:
    assert {step: schedule(step) for step in values} == pytest.approx(values, rel=1e-12, abs=1e-15)


@given(st.integers(0, 20), st.integers(1, 50), st.floats(0, 0.5))
def test_a_cosine_rises_to_its_peak_and_falls_to_its_floor(warmup: int, rest: int, floor: float) -> None:
    at = cosine(1.0, warmup + rest, warmup=warmup, floor=floor)
    rise, fall = [at(k) for k in range(warmup + 1)], [at(k) for k in range(warmup, warmup + rest + 3)]
    assert rise == sorted(rise)
    assert fall == sorted(fall, reverse=True)
    assert (rise[-1], fall[-1]) == pytest.approx((1.0, floor))


# ---------------------------------------------------------------------- what is refused

REFUSED: list[tuple[Callable[[Layer], Any], str]] = [
    (lambda m: SGD(m, -0.1), "lr must be a number of at least 0; got -0.1"),
    (lambda m: SGD(m, float("nan")), "lr must be a number of at least 0; got nan"),
    (lambda m: Adam(m, float("inf")), "lr must be a number of at least 0; got inf"),
    (lambda m: SGD(m, "0.1"), "lr must be a number of at least 0; got '0.1'"),  # type: ignore[arg-type]
    (lambda m: SGD(m, 0.1, weight_decay=-1), "weight_decay must be a number of at least 0; got -1"),
    (lambda m: SGD(m, 0.1, clip=0), "clip must be a number above 0; got 0"),
    (lambda m: SGD(m, 0.1, clip=float("nan")), "clip must be a number above 0; got nan"),
    (lambda m: Adam(m, clip_value=-2), "clip_value must be a number above 0; got -2"),
    (lambda m: SGD(m, 0.1, momentum=1), "momentum must be a number from 0 up to, not including, 1; got 1"),
    (lambda m: SGD(m, 0.1, nesterov=True), "nesterov needs a momentum above 0; got 0"),
    (lambda m: Adam(m, betas=(1.0, 0.9)), r"betas\[0\] must be a number from 0 up to, not including, 1; got 1.0"),
    (lambda m: Adam(m, betas=(0.9, -0.1)), r"betas\[1\] must be a number from 0 up to, not including, 1; got -0.1"),
    (lambda m: AdamW(m, weight_decay=-0.5), "weight_decay must be a number of at least 0; got -0.5"),
    (lambda m: RMSProp(m, alpha=2), "alpha must be a number from 0 up to, not including, 1; got 2"),
    (lambda m: RMSProp(m, eps=-1e-8), "eps must be a number above 0; got -1e-08"),
    (lambda m: Adam(m.to(dtype="float32"), eps=1e-60), "eps must be a number above 1.2e-38 in float32; got 1e-60"),
    (lambda m: Adam(m, betas=(0.9,)), "not enough values"),  # type: ignore[arg-type] # the point
    (lambda m: SGD(m, lambda _: float("nan")).step(), "lr must be a number of at least 0; got nan"),
    (lambda m: Adam(m, eps=0), "eps must be .*; got 0"),  # 0 / 0 wherever a gradient has always been 0
    (lambda m: RMSProp(m, eps=0), "eps must be .*; got 0"),
    (lambda m: SGD(m[0], 0.1), "takes a whole model; .* is part of a larger one"),  # type: ignore[index]
]


@pytest.mark.parametrize(("make", "words"), REFUSED)
def test_hyperparameters_that_make_no_sense_are_refused_in_a_sentence(make: Callable[[Layer], Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make(two_layers())


def test_schedules_that_make_no_sense_are_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="every must be at least 1 step; got 0"):
        step_decay(0.1, 0)
    for steps, warmup in ((10, 10), (10, -1), (0, 0)):
        with pytest.raises(ValueError, match=f"warmup must be from 0 to below steps = {steps}; got {warmup}"):
            cosine(0.1, steps, warmup=warmup)


@pytest.mark.parametrize("number", [np.float32(0.125), np.float64(0.125), np.int64(1)])
def test_numpys_numbers_are_numbers_too(number: Any) -> None:
    model = two_layers()
    before = model.weights.copy()
    model.grads[...] = 1
    SGD(model, number).step()
    assert np.array_equal(model.weights, before - float(number))


def test_a_model_without_weights_yet_is_refused() -> None:
    with pytest.raises(RuntimeError, match="has no weights yet: call init"):
        SGD(Linear(2, 2), 0.1)


def test_backward_after_a_step_is_an_error_until_forward_ran_again() -> None:
    model = two_layers()
    optimizer, x, dy = SGD(model, 0.1), np.ones((2, 3)), np.ones((2, 1))
    _, _, early = model.forward(x)
    _, _, late = model.forward(x)
    early(dy)
    optimizer.step()
    with pytest.raises(
        RuntimeError, match="weights have changed since this forward: call backward before the optimiser's step"
    ):
        late(dy)
    assert not model.grads.any()
    model.forward(x)[2](dy)
    assert model.grads.any()

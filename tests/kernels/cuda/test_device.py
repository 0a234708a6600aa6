"""The backends of a GPU, whole: the same numbers as numpy's, and nothing that waits for the device.

Each test runs over a stand-in for CuPy, which counts what waits, and again, marked ``gpu``, on a real device.
"""

import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import on_cpu
import pytest
from conformity import assert_conforms
from hypothesis import given
from hypothesis import strategies as st
from staged_cells import Staged
from tiers import marked_but

import minirnn
from minirnn import (
    GRU,
    LSTM,
    RNN,
    SGD,
    Activation,
    Adam,
    AdamW,
    Bidirectional,
    Dropout,
    Embedding,
    Function,
    GRUVariant,
    Last,
    Linear,
    LSTMVariant,
    Masking,
    Recurrent,
    Reverse,
    RMSProp,
    RNNVariant,
    Sequential,
    cross_entropy,
    mse,
)
from minirnn.cells import GRUCell, ProjectedLSTMCell
from minirnn.core.backend import BACKENDS
from minirnn.language.model import LanguageModel
from minirnn.language.text import Text
from minirnn.layers import activations
from minirnn.more_cells import NAMED
from minirnn.optim import NonFiniteGradientError, clip_grad_norm, clip_grad_value, grad_norm
from minirnn.testing.strategies import Case, cases
from minirnn.training.loop import train

ON_DEVICE = [name for name, backend in BACKENDS.items() if backend.on_device]
RUNS = [(name, dtype) for name in ON_DEVICE for dtype in BACKENDS[name].dtypes if dtype != "float16"]
ROOT = Path(__file__).parents[3]
VERSE = "the rain in spain stays mainly in the plain; " * 30


@pytest.mark.parametrize(("backend", "dtype"), RUNS)
@given(case=cases([GRUCell], largest=6, backend="auto"), seed=st.integers(0, 2**32 - 1))
def test_backend_agrees_with_numpy_float64(device: ModuleType, backend: str, dtype: str, case: Case, seed: int) -> None:
    assert_conforms(case, backend, dtype, seed)


@pytest.mark.slow  # each cell is compiled, with zoneout once more
@pytest.mark.parametrize(("backend", "dtype"), RUNS)
@given(case=cases(largest=6, backend="auto"), seed=st.integers(0, 2**32 - 1))
def test_every_cell_agrees_with_numpy_float64(
    device: ModuleType, backend: str, dtype: str, case: Case, seed: int
) -> None:
    assert_conforms(case, backend, dtype, seed)


STAGED: dict[Any, Any] = {
    "gru before": partial(GRU, reset="before"),
    "projected": lambda D, H, **options: Recurrent(ProjectedLSTMCell(5), D, H, **options),
    "zoneout": partial(LSTM, zoneout=(0.2, 0.4)),
    "zoneout of a projected": partial(Recurrent, ProjectedLSTMCell(5), zoneout=(0.2, 0.4)),
    "three states": partial(Recurrent, Staged),
    **{name: partial(Recurrent, cell) for name, cell in NAMED.items()},
}
SHAPES = [(1, 1, 1, 1), (3, 2, 5, 7), (4, 9, 16, 32), (2, 3, 33, 257), (5, 0, 3, 4)]  # T, B, D, H


@pytest.mark.parametrize("backend", ON_DEVICE)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("make", [RNN, GRU, LSTM, *marked_but([], STAGED, "slow")])
def test_cells_in_several_sizes(device: ModuleType, make: Any, bidirectional: bool, backend: str) -> None:
    rng = np.random.default_rng(0)
    for T, B, D, H in SHAPES:
        for lengths in (None, rng.integers(0, T + 1, B)):
            case = Case(
                STAGED.get(make, make)(D, H, bidirectional=bidirectional).init(T, backend="numpy", dtype="float64"),
                rng.normal(size=(T, B, D)),
                None,
                lengths,
            )
            assert_conforms(case, backend, "float32", T)


def network(V: int = 19) -> Sequential:
    embedding = Embedding(V, 8)
    return Sequential(embedding, GRU(8, 8, 2, dropout=0.2), Dropout(0.1), LSTM(8, 8), Linear(8, V, tie=embedding))


FUNCTIONS = [name for name in activations._RULES if name != "exponential"]


def foreign() -> dict[str, Sequential]:
    """What models of others are made of beside cells: masks, functions, merges."""
    pair = Bidirectional(LSTM(4, 3), GRU(4, 3), merge="mul")
    ends = Bidirectional(Sequential(GRU(3, 3), Last()), merge="ave")
    functions = [layer for name in FUNCTIONS for layer in (Linear(4, 4), Activation(name))]
    return {
        "masks": Sequential(Embedding(5, 4, mask=0), LSTM(4, 4, 2), pair, Reverse(), RNN(3, 3, bidirectional=True)),
        "ends": Sequential(Embedding(5, 3, mask=2), ends, Linear(3, 2)),
        "last": Sequential(Embedding(5, 3, mask=2), GRU(3, 2, bidirectional=True), Last(bidirectional=True)),
        "functions": Sequential(Embedding(5, 4), *functions),
    }


@pytest.mark.parametrize("backend", ON_DEVICE)
@pytest.mark.parametrize("name", foreign())
@pytest.mark.parametrize("lengths", [None, [6, 3, 0, 6, 1]], ids=["whole", "lengths"])
def test_masks_and_functions_give_the_numbers_of_numpy(
    device: ModuleType, name: str, backend: str, lengths: Any
) -> None:
    rng, found = np.random.default_rng(0), []
    x, exact = rng.integers(0, 5, (6, 5)), foreign()[name].init(0, backend="numpy", dtype="float64")
    for model in (exact, exact.to(backend=backend)):
        host, begun = model.bound.backend.host, waits(device)
        y, _, backward = model.forward(x, lengths=lengths)
        backward(y * 1.0)
        again, _ = model(x, lengths=lengths)
        assert waits(device) == begun
        found.append([host(a) for a in (y, again, model.grads, *backward_saved(model, x, lengths))])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-12)


def backward_saved(model: Sequential, x: Any, lengths: Any) -> list[Any]:
    _, _, backward = model.forward(x, lengths=lengths)
    return list(backward.saved.values())


VARIANTS: list[Any] = [
    RNNVariant(Function("relu6"), clip=2.0),
    GRUVariant(Function("hard_sigmoid"), Function("softsign")),
    GRUVariant(reset="before", clip=0.5),
    LSTMVariant(Function("hard_sigmoid"), Function("gelu"), Function("softsign"), 1.0, coupled=True, peepholes=True),
]


@pytest.mark.parametrize("backend", ON_DEVICE)
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: type(v).__name__)
def test_cells_with_options_give_the_numbers_of_numpy(device: ModuleType, variant: Any, backend: str) -> None:
    exact = Sequential(Masking(), Recurrent(variant, 3, 4, 2, bidirectional=True)).init(0, backend="numpy")
    x = np.random.default_rng(0).normal(size=(5, 3, 3)).astype("f4") * np.array([1, 0, 1, 1, 0], "f4")[:, None, None]
    there = exact.to(backend=backend)
    y, _ = there(x, lengths=[5, 2, 0])
    np.testing.assert_allclose(there.bound.backend.host(y), exact(x, lengths=[5, 2, 0])[0], atol=2e-6)
    with pytest.raises(ValueError, match="is for inference only"):
        there.forward(x)


def waits(device: Any) -> int:
    """How often the host has waited; only the stand-in knows."""
    return int(getattr(device, "waits", 0))


OPTIMIZERS: list[Any] = [
    lambda model: SGD(model, 0.3, clip=0.05),
    lambda model: SGD(model, 0.1, momentum=0.9, weight_decay=0.01),
    lambda model: Adam(model, 0.01, clip=1.0, clip_value=0.01),
    lambda model: AdamW(model, 0.01),
    lambda model: RMSProp(model, 0.01, clip=0.1),
]


@pytest.mark.parametrize("backend", ON_DEVICE)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_steps_give_the_numbers_of_numpy_and_wait_for_nothing(
    device: ModuleType, optimizer: Any, backend: str
) -> None:
    rng = np.random.default_rng(0)
    x, targets, mask = rng.integers(0, 19, (6, 5)), rng.integers(0, 19, (6, 5)), rng.random((6, 5)) < 0.8
    exact = network().init(0, backend="numpy", dtype="float64").freeze("1.0.b")
    there, found = exact.to(backend=backend), []
    for model in (exact, there):
        stepper, numbers = optimizer(model), []
        for k in range(4):
            begun = waits(device)
            logits, _, backward = model.forward(x, lengths=[6, 5, 6, 0, 2] if k == 2 else None)
            loss, dlogits = cross_entropy(logits, targets, mask if k % 2 else None)
            backward(dlogits)
            norm = stepper.step()
            assert waits(device) == begun
            numbers += [loss, norm]
        found.append([*map(float, numbers), *model.bound.backend.host(model.weights)])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("backend", ON_DEVICE)
def test_a_step_that_is_not_finite_is_skipped_and_told_of_when_a_norm_is_read(device: ModuleType, backend: str) -> None:
    for make in OPTIMIZERS:
        model = Linear(3, 2).init(0, backend=backend)
        stepper, host = make(model), model.bound.backend.host
        for bad in (float("nan"), float("inf")):
            model.grads[...] = 0.5
            good = stepper.step()
            before = host(model.weights), {name: host(a) for name, a in stepper.state.items()}
            assert float(good) > 0
            model.grads[...] = 0.5
            model.named_grads()["b"][1:] = bad
            step, begun = stepper.steps + 1, waits(device)
            skipped, later = stepper.step(), None
            assert waits(device) == begun
            if bad > 0 and stepper.clip_value:  # infinity is cut off, NaN is not
                assert float(skipped) > 0
                continue
            np.testing.assert_array_equal(host(model.weights), before[0])
            for name, a in stepper.state.items():
                np.testing.assert_array_equal(host(a), before[1][name])
            assert not host(model.grads).any()
            model.grads[...] = 0.5
            later = stepper.step()
            assert (host(model.weights) != before[0]).any()
            with pytest.raises(NonFiniteGradientError, match=f"step {step} are not finite: it was skipped") as caught:
                float(later)
            assert caught.value.step == step
            assert float(later) > 0  # it was told once


@pytest.mark.parametrize("backend", ON_DEVICE)
def test_clipping_by_hand_stays_on_the_device(device: ModuleType, backend: str) -> None:
    model = Linear(3, 2).init(0, backend=backend)
    model.grads[...] = 2.0
    whole, begun = model.bound.backend.host(model.grads), waits(device)
    assert grad_norm(model) == pytest.approx(float(np.linalg.norm(whole)), rel=1e-6)
    begun = waits(device)
    norm = clip_grad_norm(model, 1.0)
    assert waits(device) == begun
    assert float(norm) == pytest.approx(float(np.linalg.norm(whole)), rel=1e-6)
    assert float(np.linalg.norm(model.bound.backend.host(model.grads))) == pytest.approx(1.0, rel=1e-6)
    model.grads[...] = np.inf
    with pytest.raises(NonFiniteGradientError):
        float(clip_grad_norm(model, 1.0))
    begun = waits(device)
    clip_grad_value(model, 0.25)
    assert waits(device) == begun
    assert (model.bound.backend.host(model.grads) == 0.25).all()
    model.named_grads()["b"][1:] = np.nan
    with pytest.raises(NonFiniteGradientError, match="the gradient of b is not finite: 1 of 2 entries, the first nan"):
        grad_norm(model)


def test_float16_is_stored_for_inference_and_refused_for_training(device: ModuleType) -> None:
    text, rng = Text.from_string(VERSE), np.random.default_rng(0)
    for cell in ("rnn", "gru", "lstm"):
        lm = LanguageModel.build(text.vocab, cell=cell, hidden_size=12, num_layers=2, embedding_size=7)
        lm.init(0, backend="cuda", dtype="float32")
        for _ in train(lm, text, SGD(lm.network, 1.0, clip=1.0), batch_size=4, num_steps=11, steps=5):
            pass
        half = LanguageModel(lm.network.to(dtype="float16"), text.vocab)
        x, host = rng.integers(0, len(text.vocab), (9, 3)), half.network.bound.backend.host
        (y, state), (z, _) = half.network(x, lengths=[9, 0, 4]), lm.network(x, lengths=[9, 0, 4])
        assert y.dtype == np.float16
        np.testing.assert_allclose(host(y).astype(float), host(z), atol=0.02)
        assert half.network(x, state)[0].shape == y.shape
        assert half.perplexity(text) == pytest.approx(lm.perplexity(text), rel=0.01)
        assert len("".join(half.generate("the ", 9, seed=0))) == 9
        with pytest.raises(
            ValueError, match=r"^float16 is for inference, model\(x\); a training forward takes float32"
        ):
            half.network.forward(x)


@pytest.mark.parametrize("backend", ON_DEVICE)
@pytest.mark.parametrize("task", marked_but(["next"], ["next", "fill"], "slow"))
def test_a_language_model_trains_writes_and_is_saved(
    device: ModuleType, task: str, backend: str, tmp_path: Any
) -> None:
    text, losses, lms = Text.from_string(VERSE), [], []
    for name, dtype in (("numpy", "float64"), (backend, "float64")):
        lm = LanguageModel.build(text.vocab, task=task, cell="lstm", hidden_size=12, dropout=0.1)
        lm.init(0, backend=name, dtype=dtype)
        steps = train(lm, text, SGD(lm.network, 1.0, clip=1.0), batch_size=4, num_steps=11, steps=12)
        losses.append([float(step.loss) for step in steps])
        lms.append(lm)
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-9)
    exact, there = lms
    assert there.perplexity(text) == pytest.approx(exact.perplexity(text), rel=1e-9)
    if task == "next":
        assert list(there.generate("the ", 20, seed=0)) == list(exact.generate("the ", 20, seed=0))
        assert [t for t, _ in there.beam("the ", 8)] == [t for t, _ in exact.beam("the ", 8)]
    else:
        assert there.fill("the r__n") == exact.fill("the r__n")
    minirnn.save(there, tmp_path / "there.safetensors")
    again = minirnn.load(tmp_path / "there.safetensors", backend=backend)
    assert isinstance(again, LanguageModel)
    host = again.network.bound.backend.host
    np.testing.assert_array_equal(host(again.network.weights), host(there.network.weights))


@pytest.mark.parametrize("backend", ON_DEVICE)
def test_training_waits_only_where_a_number_is_read(device: ModuleType, backend: str) -> None:
    text = Text.from_string(VERSE)
    lm = LanguageModel.build(text.vocab, cell="gru", hidden_size=8).init(0, backend=backend)
    steps = train(lm, text, SGD(lm.network, 1.0, clip=1.0), batch_size=4, num_steps=11, steps=8)
    next(steps)
    begun = waits(device)
    seen = [next(steps) for _ in range(6)]
    assert waits(device) == begun
    assert all(float(step.loss) > 0 for step in seen)


@pytest.mark.parametrize("backend", ON_DEVICE)
def test_arrays_of_the_host_are_still_checked(device: ModuleType, backend: str) -> None:
    model = Sequential(Embedding(3, 2), Linear(2, 3)).init(0, backend=backend)
    with pytest.raises(ValueError, match="indices must be from 0 to 2; got 3"):
        model.forward(np.array([[3]]))
    logits, _, _ = model.forward(np.array([[1, 2]]))
    with pytest.raises(ValueError, match="targets must be from 0 to 2; got -1"):
        cross_entropy(logits, np.array([[0, -1]]))
    with pytest.raises(ValueError, match="at least one position"):
        cross_entropy(logits, np.array([[0, 1]]), np.zeros((1, 2), bool))
    loss, dy = mse(logits, np.zeros((1, 2, 3)), np.array([[True, False]]))
    assert float(loss) > 0
    assert dy.shape == logits.shape


@pytest.mark.slow
@pytest.mark.parametrize("backend", ON_DEVICE)
@pytest.mark.parametrize("kind", ["training", "inference"])
def test_the_benchmark_times_what_agrees(device: ModuleType, kind: str, backend: str) -> None:
    from benchmarks.agreement import bound, compare
    from benchmarks.cases import Case as Timed
    from benchmarks.gpu import ours, traffic
    from benchmarks.inputs import draw
    from benchmarks.peers import REFERENCE, build

    for cell in ("rnn", "gru", "lstm"):
        case = Timed(kind, cell, 5, 3, 4, 6, 2, bidirectional=True)
        arrays = draw(case)
        job = ours(backend, case, arrays)
        wanted = build(REFERENCE, 1).prepare(case, arrays).outputs()
        assert compare(job.outputs(), wanted)[0] <= bound(case)
        job.call()
        assert traffic(case) > 4 * arrays["x"].size


def test_the_benchmark_says_what_it_lacks_where_there_is_no_device() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert re.fullmatch(r"benchmarks\.gpu: backend cuda needs (CuPy|a CUDA device)[^\n]*\n", done.stderr)


def test_a_launch_is_held_against_the_declaration(device: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    from minirnn.kernels.cuda import launch

    updates = on_cpu.sources()["updates"]
    w, g, scale = (device.zeros(n, t) for n, t in ((4, "float32"), (4, "float32"), ((), "float64")))
    good = {"w": w, "g": g, "n": 4, "rate": 1, "scale": scale}

    def run(**changes: Any) -> None:
        launch.launch(device, updates, "descend", launch.types_of(np.dtype("float32")), 1, 32, **good | changes)

    run()
    for changes, words in (
        ({"g": device.zeros(4, "float64")}, "takes g as a contiguous array of float32; got float64"),
        (
            {"w": device.zeros(8, "float32")[::2]},
            r"takes w as a contiguous array of float32; got float32, strides \(8,\)",
        ),
        ({"step": 3}, "kernel descend takes w, g, n, rate, scale; got w, g, n, rate, scale, step"),
    ):
        with pytest.raises(TypeError, match=words):
            run(**changes)

    class IllegalAddressError(Exception):
        """As from CuPy."""

    def refuse(*_: Any) -> None:
        raise IllegalAddressError("cudaErrorIllegalAddress")

    IllegalAddressError.__module__ = "cupy_backends.cuda.api.runtime"
    monkeypatch.setattr(launch, "compiled", lambda *_: refuse)
    with pytest.raises(RuntimeError, match=r"^the CUDA kernel descend could not be run: cudaErrorIllegalAddress$"):
        run()


@pytest.mark.parametrize("device", ["strict"], indirect=True)
def test_backends_of_a_gpu_say_what_they_lack(device: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> int:
        raise device.CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")

    for count, words in ((none, "cudaErrorNoDevice: no CUDA-capable device is detected"), (lambda: 0, "there are 0")):
        monkeypatch.setattr(device.cuda.runtime, "getDeviceCount", count)
        for name in ON_DEVICE:
            with pytest.raises(
                RuntimeError, match=f"^backend {name} needs a CUDA device; CuPy strict found none: {words}$"
            ):
                GRU(2, 3).init(backend=name)
    monkeypatch.setattr("minirnn.core.backend.find_spec", lambda _: None)
    for name in ON_DEVICE:
        with pytest.raises(
            ImportError, match=f"^backend {name} needs CuPy, which is not installed: pip install 'minirnn"
        ):
            GRU(2, 3).init(backend=name)


@pytest.mark.parametrize("backend", ON_DEVICE)
def test_weights_are_written_by_name_from_the_host(device: ModuleType, backend: str) -> None:
    model = GRU(2, 3).init(0, backend=backend)
    model.named_weights()["0.b"] = np.arange(9, dtype="float32")
    model.named_weights()["0.b_z"] = 7.0
    host = model.bound.backend.host
    np.testing.assert_array_equal(host(model.named_weights()["0.b"]), [0, 1, 2, 7, 7, 7, 6, 7, 8])
    model.weights = np.ones(model.weights.size, "float32")
    assert (host(model.named_weights()["0.U"]) == 1).all()
    assert model.named_weights(gates=True)["0.W_xz"].shape == (2, 3)


ON_GPU = pytest.mark.parametrize("device", [pytest.param("cupy", marks=pytest.mark.gpu)], indirect=True)


@pytest.mark.slow
@ON_GPU
@pytest.mark.parametrize("backend", ON_DEVICE)
def test_a_long_run_in_float32_learns(device: ModuleType, backend: str) -> None:
    text = Text.from_string(VERSE)
    lm = LanguageModel.build(text.vocab, cell="gru", hidden_size=64).init(0, backend=backend, dtype="float32")
    run = train(lm, text, Adam(lm.network, 0.01, clip=1.0), batch_size=16, num_steps=20, steps=200)
    losses = [float(step.loss) for step in run]
    assert np.mean(losses[-10:]) < 0.5 * losses[0]


@ON_GPU
def test_arrays_are_cupys_and_the_kernels_are_the_sources(device: Any) -> None:
    from minirnn.kernels.cuda import launch

    model = LSTM(3, 4).init(0, backend="cuda")
    assert type(model.weights) is device.ndarray
    launch.compiled.cache_clear()
    y, _, backward = model.forward(np.ones((2, 3, 3), "float32"))
    backward(device.zeros_like(y))
    SGD(model, 0.1).step()
    assert launch.compiled.cache_info().currsize == 5  # step, unstep, squares, verdict, descend


@ON_GPU
@pytest.mark.parametrize("backend", ON_DEVICE)
def test_no_sum_depends_on_who_came_first(device: ModuleType, backend: str) -> None:
    rng = np.random.default_rng(0)
    x, targets = rng.integers(0, 19, (35, 32)), rng.integers(0, 19, (35, 32))
    model, found = network().init(0, backend=backend), []
    for _ in range(2):
        model.init(0, backend=backend, overwrite=True)
        stepper = SGD(model, 0.3, clip=0.05)
        for _ in range(3):
            logits, _, backward = model.forward(x)
            backward(cross_entropy(logits, targets)[1])
            stepper.step()
        found.append(model.bound.backend.host(model.weights))
    np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.parametrize("backend", ON_DEVICE)
def test_masks_and_indices_on_the_device(device: Any, backend: str) -> None:
    rng, V = np.random.default_rng(0), 300
    exact = Sequential(Embedding(V, 8), Linear(8, V)).init(0, backend="numpy", dtype="float64")
    there = exact.to(backend=backend, dtype="float32")
    x, targets, mask = rng.integers(0, 256, (6, 5)), rng.integers(0, V, (6, 5)), rng.random((6, 5)) < 0.5
    found = []
    for model, send in ((exact, np.asarray), (there, device.asarray)):
        numbers: list[Any] = []
        for marks in (mask, mask.astype("float32")):
            begun = waits(device)
            logits, _, backward = model.forward(send(x.astype("uint8")))  # which cannot count to V
            loss, dlogits = cross_entropy(logits, send(targets), send(marks))
            backward(dlogits)
            logits, _, backward = model.forward(send(x.astype("uint8")))
            error, derror = mse(logits, send(np.zeros(logits.shape, logits.dtype)), send(marks))
            backward(derror)
            assert waits(device) == begun
            assert {loss.dtype, dlogits.dtype, error.dtype, derror.dtype} == {model.weights.dtype}
            numbers += [float(loss), float(error)]
        found.append([*numbers, *model.bound.backend.host(model.grads)])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-6)
    with pytest.raises(TypeError, match="lengths must be on the host"):
        there.forward(x, lengths=device.asarray(np.ones(5, int)))


@pytest.mark.parametrize("backend", ["numpy", "numba", *ON_DEVICE])
def test_indices_past_a_rows_length_may_be_anything(device: ModuleType, backend: str) -> None:
    model = GRU(3, 4).init(0, backend=backend)
    x = np.array([[1, 2], [-1, 0], [99, 2]])
    y, _ = model(x, lengths=[1, 3])
    z, _ = model(np.array([[1, 2], [0, 0], [0, 2]]), lengths=[1, 3])
    np.testing.assert_array_equal(model.bound.backend.host(y), model.bound.backend.host(z))
    with pytest.raises(ValueError, match="indices must be from 0 to 2; got -1"):
        model(x, lengths=[3, 1])


def test_a_model_without_weights_takes_a_step(device: ModuleType) -> None:
    model = Dropout(0.5).init(0, backend="cuda")
    assert float(SGD(model, 1.0).step()) == 0

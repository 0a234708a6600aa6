"""Streams: step by step what the whole sequence gives, whatever the layers, the backend and the dtype."""

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from minirnn import (
    GRU,
    LSTM,
    RNN,
    Activation,
    BatchNorm1d,
    Bidirectional,
    Conv1d,
    Dropout,
    Embedding,
    Last,
    Layer,
    LayerNorm,
    Linear,
    Masking,
    ModelFileError,
    PReLU,
    Reverse,
    Sequential,
    Stream,
    get_num_threads,
    save,
    set_num_threads,
    stream_many,
)

Array: TypeAlias = NDArray[Any]
BACKENDS = ("numpy", "numba")


def tied() -> Sequential:
    embedding = Embedding(11, 6)
    return Sequential(embedding, LSTM(6, 6), Linear(6, 11, tie=embedding, bias=False))


MODELS: dict[str, Callable[[], Layer]] = {
    "rnn": lambda: RNN(5, 33),
    "relu": lambda: RNN(5, 3, nonlinearity="relu"),
    "gru": lambda: GRU(7, 45, 2),
    "gru before": lambda: GRU(3, 4, reset="before"),
    "lstm": lambda: LSTM(40, 37, 3, dropout=0.5),
    "trainable state": lambda: LSTM(3, 4, trainable_state=True),
    "projected": lambda: Sequential(LSTM(3, 6, 2, proj_size=4), LSTM(4, 5, trainable_state=True, proj_size=2)),
    "whole": lambda: Sequential(Embedding(11, 6), GRU(6, 40), Dropout(0.1), Linear(40, 11)),
    "nested": lambda: Sequential(Sequential(LSTM(4, 5), Linear(5, 6)), GRU(6, 7)),
    "tied": tied,
    "activation": lambda: Sequential(GRU(5, 6), Linear(6, 4), Activation("softmax")),
    "zoned": lambda: Sequential(GRU(5, 6, 2, zoneout=0.3), LSTM(6, 4, zoneout=(0.1, 0.5))),
    "no recurrence": lambda: Linear(5, 6),
    "causal": lambda: Sequential(
        *(Conv1d(5, 6, 3, padding="causal", dilation=2, groups=1), LayerNorm(6), PReLU(6)),
        *(GRU(6, 4), BatchNorm1d(4), Conv1d(4, 4, 2, padding="causal", groups=2), Linear(4, 3)),
    ),
}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS.keys())
every_backend = pytest.mark.parametrize("backend", BACKENDS)


def ready(make: Callable[[], Layer], backend: str = "auto", dtype: str = "float32") -> Layer:
    model = make().init(0, backend=backend, dtype=dtype)
    rng = np.random.default_rng(1)
    for name, w in model.named_weights().items():
        w[...] = rng.random(w.shape) if name.endswith("var") else rng.normal(size=w.shape) * 0.3
    return model


def steps_for(model: Layer, T: int, B: int, seed: int = 0, *, integers: bool = False) -> Array:
    rng = np.random.default_rng(seed)
    if integers or not model.floats:
        return rng.integers(0, model.input_size or 1, (T, B))
    return rng.normal(size=(T, B, model.input_size or 1)).astype(model.bound.dtype)


def arrays(state: Any) -> Iterator[Array]:
    if isinstance(state, tuple):
        for part in state:
            yield from arrays(part)
    elif state is not None:
        yield state


def assert_close(found: Any, wanted: Any, dtype: str) -> None:
    atol = 5e-6 if dtype == "float32" else 1e-13
    for a, b in zip(arrays(found), arrays(wanted), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)


# ---------------------------------------------------------------------- the same numbers


COMPILED = ("rnn", "gru", "lstm", "tied", "no recurrence")  # kernels of the others are compiled for this alone


@pytest.mark.parametrize(
    ("make", "backend"),
    [
        pytest.param(
            make,
            backend,
            id=f"{backend}-{name}",
            marks=pytest.mark.slow if backend == "numba" and name not in COMPILED else [],
        )
        for name, make in MODELS.items()
        for backend in BACKENDS
    ],
)
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        (None, "float32"),
        pytest.param(None, "float64", marks=pytest.mark.slow),
        pytest.param("f16", "float32", marks=pytest.mark.slow),
    ],
)
def test_a_stream_says_what_the_whole_sequence_says(
    make: Callable[[], Layer], backend: str, dtype: str, kind: str | None
) -> None:
    model = ready(make, backend, dtype)
    model = model.quantize(kind) if kind else model
    x = steps_for(model, 6, 3)
    y, final = model(x)
    stream = model.stream(3)
    assert_close(np.stack([stream(x_t) for x_t in x]), y, dtype)
    assert_close(stream.state, final if isinstance(final, tuple) else (final,), dtype)


@given(
    cell=st.sampled_from([RNN, GRU, LSTM]),
    sizes=st.lists(st.integers(1, 70), min_size=2, max_size=3),
    B=st.integers(1, 9),
    integers=st.booleans(),
    backend=st.sampled_from(BACKENDS),
    seed=st.integers(0, 99),
)
def test_any_sizes(cell: Any, sizes: list[int], B: int, *, integers: bool, backend: str, seed: int) -> None:
    layers = [cell(a, b) for a, b in pairwise(sizes)]
    model = ready(lambda: Sequential(*layers, Linear(sizes[-1], 3)), backend)
    x = steps_for(model, 3, B, seed, integers=integers)
    y, final = model(x)
    stream = model.stream(B)
    assert_close(np.stack([stream(x_t) for x_t in x]), y, "float32")
    assert_close(stream.state, final, "float32")


@every_backend
def test_a_classifier_answers_after_every_step(backend: str) -> None:
    model = ready(lambda: Sequential(GRU(4, 5), Last(), Linear(5, 2)), backend)
    x, stream = steps_for(model, 4, 2), model.stream(2)
    for t in range(4):
        assert_close(stream(x[t]), model(x[: t + 1])[0], "float32")


@pytest.mark.parametrize("kind", [None, "f16", "bf16", "int8"])
@pytest.mark.parametrize("make", [MODELS["lstm"], MODELS["gru"], MODELS["whole"]])
def test_the_same_bits_for_any_number_of_threads(make: Callable[[], Layer], kind: str | None) -> None:
    model, before, seen = ready(make, "numba"), get_num_threads(), []
    model = model.quantize(kind) if kind else model
    x = steps_for(model, 5, 300)  # rows enough to be worth more than one thread
    try:
        for n in (1, 2, 3):
            set_num_threads(n)
            stream = model.stream(300)
            seen.append(np.stack([stream(x_t) for x_t in x]))
    finally:
        set_num_threads(before)
    for other in seen[1:]:
        np.testing.assert_array_equal(other, seen[0])


@every_backend
@pytest.mark.parametrize("kind", [None, "f16", "bf16", "int8"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_not_hidden(backend: str, kind: str | None, bad: float) -> None:
    model = ready(lambda: Linear(70, 3), backend)
    model = model.quantize(kind) if kind else model
    for place in (0, 33, 69):
        x = np.ones((1, 70), np.float32)
        x[0, place] = bad
        with np.errstate(invalid="ignore"):
            assert not np.isfinite(model.stream()(x)).any()


# ---------------------------------------------------------------------- a step costs no memory


@pytest.mark.parametrize("make", [MODELS["lstm"], MODELS["gru"], MODELS["rnn"], MODELS["whole"]])
@pytest.mark.parametrize("kind", [None, "f16", "bf16", "int8"])
def test_a_step_into_out_allocates_nothing(make: Callable[[], Layer], kind: str | None) -> None:
    model = ready(make, "numba")
    model = model.quantize(kind) if kind else model
    x, stream = steps_for(model, 1, 2)[0], model.stream(2)
    out = np.empty((2, model.output_size or 0), np.float32)
    assert stream(x, out=out) is out
    gc.collect()
    tracemalloc.start()
    for _ in range(50):
        stream(x, out=out)
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    for _ in range(50):
        stream(x, out=out)
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 300  # Python's own numbers come and go
    assert peak - before < 1500


@every_backend
def test_one_output_is_not_the_next_ones_memory(backend: str) -> None:
    model = ready(MODELS["lstm"], backend)
    x, stream = steps_for(model, 2, 1), model.stream()
    first = stream(x[0])
    kept = first.copy()
    stream(x[1])
    np.testing.assert_array_equal(first, kept)


# ---------------------------------------------------------------------- a state of one's own


@every_backend
def test_a_stream_is_a_snapshot(backend: str) -> None:
    model = ready(MODELS["whole"], backend)
    x, stream = steps_for(model, 2, 1), model.stream()
    wanted = list(model(x)[0])
    model.weights[...] = 0
    for x_t, y in zip(x, wanted, strict=True):
        assert_close(stream(x_t), y, "float32")
    assert (model.stream()(x[0]) == 0).all()  # made after the change


@every_backend
def test_streams_of_the_same_weights_share_them(backend: str) -> None:
    model = ready(MODELS["lstm"], backend)
    one, two = model.stream(), model.stream(3)
    assert one.snapshot is two.snapshot is one.fork().snapshot
    model.weights[0] += 1
    assert model.stream().snapshot is not one.snapshot


@every_backend
def test_forks_go_their_own_ways(backend: str) -> None:
    model = ready(MODELS["gru"], backend)
    x, stream = steps_for(model, 4, 2), model.stream(2)
    stream(x[0])
    fork = stream.fork()
    a, b = stream(x[1]), fork(x[2])
    assert_close(a, model(x[[0, 1]])[0][1], "float32")
    assert_close(b, model(x[[0, 2]])[0][1], "float32")
    assert_close(stream(x[3]), model(x[[0, 1, 3]])[0][2], "float32")


@every_model
@every_backend
def test_a_state_can_be_taken_and_given_back(make: Callable[[], Layer], backend: str, tmp_path: Path) -> None:
    model = ready(make, backend)
    x, stream = steps_for(model, 5, 2), model.stream(2)
    for x_t in x[:3]:
        stream(x_t)
    state = stream.state
    stream.save(tmp_path / "state")
    rest = [stream(x_t) for x_t in x[3:]]
    for put_back in (lambda s: setattr(s, "state", state), lambda s: s.restore(tmp_path / "state")):
        other = model.stream(2)
        put_back(other)
        for x_t, y in zip(x[3:], rest, strict=True):
            np.testing.assert_array_equal(other(x_t), y)
    assert_close(model(x[3:], state)[0], np.stack(rest), "float32")  # it is what the model takes
    stream.reset()
    assert_close(stream(x[0]), model(x[:1])[0][0], "float32")


@every_backend
def test_a_state_that_was_taken_is_a_copy(backend: str) -> None:
    model = ready(MODELS["lstm"], backend)
    x, stream = steps_for(model, 2, 1), model.stream()
    stream(x[0])
    for a in arrays(stream.state):
        a[...] = 99
    assert_close(stream(x[1]), model(x)[0][1], "float32")


@every_backend
def test_a_state_of_another_shape_is_refused_and_nothing_changed(backend: str, tmp_path: Path) -> None:
    model = ready(MODELS["lstm"], backend)
    x, stream, other = steps_for(model, 2, 1), model.stream(), model.stream(2)
    stream(x[0])
    before = stream.state
    with pytest.raises(ValueError, match=r"a state of this stream is 2 arrays float32 of shapes \[\(3, 1, 37\)"):
        stream.state = other.state
    with pytest.raises(ValueError, match="got none"):
        stream.state = None
    other.save(tmp_path / "two")
    save(model, tmp_path / "model")
    (tmp_path / "text").write_text("no state")
    for name, words in (("two", "must hold arrays"), ("model", "another file"), ("text", "cannot be read")):
        with pytest.raises(ModelFileError, match=words):
            stream.restore(tmp_path / name)
    with pytest.raises(ModelFileError, match="cannot be read"):
        stream.restore(tmp_path / "nowhere")
    ready(MODELS["lstm"], backend, "float64").stream().save(tmp_path / "wide")
    with pytest.raises(ModelFileError, match="must hold float32 numbers; got float64"):
        stream.restore(tmp_path / "wide")
    for a, b in zip(arrays(stream.state), arrays(before), strict=True):
        np.testing.assert_array_equal(a, b)


# ---------------------------------------------------------------------- many at once


@every_model
@every_backend
def test_many_streams_as_one_batch_say_what_each_says(make: Callable[[], Layer], backend: str) -> None:
    model = ready(make, backend)
    sizes = (1, 2, 1)
    x = steps_for(model, 6, 4)
    streams, alone = [model.stream(n) for n in sizes], [model.stream(n) for n in sizes]
    cuts = [slice(0, 1), slice(1, 3), slice(3, 4)]
    streams[1](x[5, cuts[1]])  # it has read something that the others have not
    alone[1](x[5, cuts[1]])
    for x_t in x[:3]:
        y = stream_many(streams, x_t)
        for stream, part in zip(alone, cuts, strict=True):
            assert_close(y[part], stream(x_t[part]), "float32")
    for one, two in zip(streams, alone, strict=True):
        assert_close(one.state, two.state, "float32")


def test_many_streams_in_another_order_and_number() -> None:
    model = ready(MODELS["lstm"])
    x = steps_for(model, 3, 3)
    a, b, c = (model.stream() for _ in range(3))
    stream_many([a, b, c], x[0])
    out = np.empty((2, 37), np.float32)
    assert stream_many([c, a], x[1, :2], out=out) is out
    assert_close(out[0], model(np.stack([x[0, 2], x[1, 0]])[:, None])[0][1, 0], "float32")
    assert_close(out[1], model(np.stack([x[0, 0], x[1, 1]])[:, None])[0][1, 0], "float32")
    assert_close(b(x[2, 1:2]), model(np.stack([x[0, 1], x[2, 1]])[:, None])[0][1], "float32")


def test_streams_that_cannot_run_together_are_refused() -> None:
    model = ready(MODELS["rnn"])
    one = model.stream()
    with pytest.raises(TypeError, match="at least one"):
        stream_many([], np.zeros((0, 5), np.float32))
    with pytest.raises(ValueError, match="one is there twice"):
        stream_many([one, one], np.zeros((2, 5), np.float32))
    model.weights[...] *= 2
    with pytest.raises(ValueError, match="of one model with the same weights"):
        stream_many([one, model.stream()], np.zeros((2, 5), np.float32))
    with pytest.raises(ValueError, match=r"expects x of shape \(2, 5\)"):
        stream_many([one, one.fork()], np.zeros((3, 5), np.float32))
    assert all((a == 0).all() for a in arrays(one.state))


# ---------------------------------------------------------------------- the edge


def stream_of(name: str, backend: str = "numba", B: int = 1) -> Stream:
    return ready(MODELS[name], backend).stream(B)


@every_backend
def test_input_that_needs_converting_is_taken_as_the_model_takes_it(backend: str) -> None:
    one, two = stream_of("rnn", backend, 2), stream_of("rnn", backend, 2)
    x = np.random.default_rng(0).normal(size=(2, 10)).astype(np.float32)[:, ::2]
    wanted = one(np.ascontiguousarray(x))
    np.testing.assert_array_equal(two(x), wanted)  # strided
    other_ways: tuple[Any, ...] = (x.tolist(), x.astype(np.float16))
    for given_ in other_ways:
        one.reset()
        two.reset()
        np.testing.assert_array_equal(two(given_), one(np.array(given_, np.float32)))
    locked = np.ascontiguousarray(x)
    locked.flags.writeable = False
    one.reset()
    two.reset()
    np.testing.assert_array_equal(two(locked), one(np.array(locked)))
    letters = stream_of("whole", backend)
    y = letters(np.array([3]))
    for index in (3, [3], np.int8(3), np.array([3], np.uint16)):
        letters.reset()
        np.testing.assert_array_equal(letters(index), y)


@every_backend
@pytest.mark.parametrize(
    ("name", "x", "words"),
    [
        ("rnn", np.zeros((1, 4), np.float32), r"expects x of shape \(1, 5\) or integers \(1,\); got shape \(1, 4\)"),
        ("rnn", np.zeros((2, 5), np.float32), r"expects x of shape \(1, 5\)"),
        ("rnn", np.zeros((1, 1, 5), np.float32), r"expects x of shape \(1, 5\)"),
        ("rnn", np.full((1, 5), 1e300), "x has numbers that are too large for float32"),
        ("rnn", np.zeros((1, 5), bool), "x must be float32, .* got bool"),
        ("rnn", np.zeros((1, 5), complex), "x must be float32"),
        ("rnn", np.array([5]), "indices must be from 0 to 4; got 5"),
        ("rnn", np.array([-1]), "indices must be from 0 to 4; got -1"),
        ("rnn", np.array([1, 2]), r"expects integers of shape \(1,\); got shape \(2,\)"),
        ("rnn", [["a"] * 5], "x must be float32"),
        ("whole", np.zeros((1, 11), np.float32), r"expects integers of shape \(1,\); got float32 of shape \(1, 11\)"),
        ("whole", 11, "indices must be from 0 to 10; got 11"),
        ("no recurrence", np.zeros((1, 5), np.int64), "x must be float32"),
    ],
)
def test_bad_input_is_one_sentence_and_changes_nothing(backend: str, name: str, x: Any, words: str) -> None:
    stream = stream_of(name, backend)
    with pytest.raises(ValueError, match=words):
        stream(x)
    assert all((a == 0).all() for a in arrays(stream.state))


@every_backend
def test_a_wrong_out_is_refused(backend: str) -> None:
    stream, x = stream_of("rnn", backend), np.zeros((1, 5), np.float32)
    locked = np.zeros((1, 33), np.float32)
    locked.flags.writeable = False
    wide = np.zeros((1, 66), np.float32)[:, ::2]
    for out in (np.zeros((1, 32), np.float32), np.zeros((1, 33)), wide, locked, [0.0] * 33):
        with pytest.raises(ValueError, match=r"out must be a C-contiguous array of shape \(1, 33\) and dtype float32"):
            stream(x, out=out)  # type: ignore[arg-type]  # the wrong kind, on purpose
    assert all((a == 0).all() for a in arrays(stream.state))


@pytest.mark.parametrize(
    "make",
    [
        lambda: GRU(3, 4, bidirectional=True),
        lambda: Sequential(Bidirectional(RNN(3, 4)), Linear(8, 2)),
        lambda: Sequential(Reverse(), RNN(3, 4)),
    ],
)
def test_a_network_that_reads_backward_cannot_stream(make: Callable[[], Layer]) -> None:
    with pytest.raises(ValueError, match="a stream takes a network that reads forward only; got "):
        ready(make).stream()


def test_what_else_cannot_stream() -> None:
    model = Sequential(GRU(3, 4), Linear(4, 2)).init()
    with pytest.raises(ValueError, match="stream takes a whole model"):
        model[0].stream()
    with pytest.raises(ValueError, match="batch_size must be an integer of at least 1; got 0"):
        model.stream(0)
    for masked in (Sequential(Masking(), GRU(3, 4)), Sequential(Embedding(5, 3, mask=0), GRU(3, 4))):
        with pytest.raises(ValueError, match="a stream skips no steps: give it those that count"):
            masked.init().stream()
    with pytest.raises(ValueError, match="knows how many features"):
        Sequential(Dropout(0.1)).init().stream()

"""Runs that stop and go on: the same bits, whatever ended them; and what a full disk, a bad file or a NaN leaves."""

import json
import math
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from killing import killed, newest, same
from safetensors.numpy import load_file

import minirnn
from minirnn import SGD, Adam, AdamW, ModelFileError, NonFiniteGradientError, RMSProp, Sequential
from minirnn.cli.app import main
from minirnn.cli.options import interval
from minirnn.core.tree import arrays_in, filled_in, outline
from minirnn.language.evaluation import Evaluation
from minirnn.language.model import LanguageModel
from minirnn.language.text import Text
from minirnn.training.checkpoints import Folder, read, to_bytes
from minirnn.training.keeper import Keeper
from minirnn.training.loop import Step, Training, train
from minirnn.training.metrics import Record, read_lines

TEXT = "the quick brown fox jumps over the lazy dog. " * 60
CORPUS = Text.from_string("she sells sea shells\nby the sea shore" * 3)
SMALL = ["--hidden-size", "12", "--embedding-size", "6", "--batch-size", "4", "--num-steps", "10"]
OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda model: SGD(model, 0.5, momentum=0.9, clip=1.0),
    "adam": lambda model: Adam(model, 0.01),
    "adamw": lambda model: AdamW(model, 0.01),
    "rmsprop": lambda model: RMSProp(model, 0.01),
}


def invoke(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def begun(
    *, task: str = "next", cell: str = "lstm", optimizer: str = "adam", backend: str = "auto", **options: Any
) -> Training:
    lm = LanguageModel.build(CORPUS.vocab, task=task, cell=cell, hidden_size=5, num_layers=2, dropout=0.3)
    lm.init(backend=backend)
    made = OPTIMIZERS[optimizer](lm.network)
    return train(lm, CORPUS, made, **({"batch_size": 3, "num_steps": 5, "steps": 40, "seed": 3} | options))


def facts(steps: list[Step]) -> list[Any]:
    """What steps say but for their time."""
    return [(s.step, s.epoch, s.loss, float(s.norm), s.lr, s.tokens, s.skipped) for s in steps]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


# ---------------------------------------------------------------------- the state of a training


@given(
    stop=st.integers(0, 30),
    task=st.sampled_from(["next", "fill"]),
    cell=st.sampled_from(["rnn", "gru", "lstm"]),
    optimizer=st.sampled_from(list(OPTIMIZERS)),
    sampling=st.sampled_from(["sequential", "random"]),
    stride=st.sampled_from([None, 2]),
    backend=st.sampled_from(["numpy", "numba"]),
)
def test_what_goes_on_ends_as_what_never_stopped(
    stop: int, task: str, cell: str, optimizer: str, sampling: str, stride: int | None, backend: str
) -> None:
    options: dict[str, Any] = {"task": task, "cell": cell, "optimizer": optimizer, "sampling": sampling}
    options["backend"], options["stride"] = backend, None if sampling == "random" else stride
    whole, first, second = (begun(**options) for _ in range(3))
    wanted = facts(list(whole))
    found = facts(list(islice(first, stop)))
    more, (kept, _) = {"seen": 1}, _through_a_file(first)
    assert more
    second.restore(kept)
    assert second.elapsed >= first.elapsed - 1
    found += facts(list(second))
    assert found == wanted
    assert np.array_equal(whole.lm.network.weights, second.lm.network.weights)


def _through_a_file(training: Training) -> Any:
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        file.write(to_bytes(training.state(), {"seen": 1}))
        file.flush()
        return read(Path(file.name))


def test_a_state_is_a_copy() -> None:
    training = begun()
    list(islice(training, 3))
    state = training.state()
    before = {name: a.copy() for name, a in state.arrays.items()}
    list(training)
    assert all(np.array_equal(a, before[name]) for name, a in state.arrays.items())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"optimizer": "sgd"}, "the state is of Adam"),
        ({"cell": "gru"}, "state"),
        ({"batch_size": 2}, "state"),
    ],
)
def test_a_state_of_another_training_is_refused_and_nothing_changed(change: dict[str, Any], words: str) -> None:
    training, other = begun(), begun(**change)
    list(islice(training, 3))
    list(islice(other, 2))
    before = other.lm.network.weights.copy()
    with pytest.raises((ValueError, TypeError), match=words):
        other.restore(training.state())
    assert np.array_equal(other.lm.network.weights, before)
    assert other.done == 2


def test_weights_of_another_size_are_refused() -> None:
    training, lm = begun(steps=0), LanguageModel.build(CORPUS.vocab, hidden_size=4).init()
    other = train(lm, CORPUS, Adam(lm.network), batch_size=3, num_steps=5, steps=3, seed=3)
    with pytest.raises(ValueError, match="the weights must be float32 of shape"):
        other.restore(training.state())


@given(st.recursive(st.none() | st.just(0), lambda parts: st.lists(parts, max_size=3), max_leaves=8))
def test_a_state_is_its_outline_and_its_arrays(form: Any) -> None:
    count = iter(range(99))
    state = _with_arrays(form, count)
    arrays = list(arrays_in(state))
    again = filled_in(json.loads(json.dumps(outline(state))), arrays)
    assert outline(again) == outline(state)
    assert all(a is b for a, b in zip(arrays_in(again), arrays, strict=True))
    with pytest.raises(ValueError, match="as many arrays"):
        filled_in(outline(state), [*arrays, np.zeros(1)])
    if arrays:
        with pytest.raises(ValueError, match="as many arrays"):
            filled_in(outline(state), arrays[1:])


def _with_arrays(form: Any, count: Any) -> Any:
    if isinstance(form, list):
        return tuple(_with_arrays(part, count) for part in form)
    return None if form is None else np.full(1, next(count))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizers_state_is_all_that_it_knows(name: str) -> None:
    one, other = (OPTIMIZERS[name](begun().lm.network) for _ in range(2))
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(4, *one.model.grads.shape)).astype(np.float32)
    for g in gradients[:2]:
        one.model.grads[...] = g
        one.step()
    one.factor = 0.5
    other.load_state_dict(one.state_dict())
    other.model.weights[...] = one.model.weights
    for g in gradients[2:]:
        for optimizer in (one, other):
            optimizer.model.grads[...] = g
            optimizer.step()
    assert np.array_equal(one.model.weights, other.model.weights)
    assert (other.steps, other.lr) == (4, one.lr)


def test_an_optimizers_state_of_another_kind_is_refused() -> None:
    adam, sgd = (OPTIMIZERS[name](begun().lm.network) for name in ("adam", "sgd"))
    with pytest.raises(ValueError, match="the state of SGD is steps, factor, v; got steps, factor, m, v"):
        sgd.load_state_dict(adam.state_dict())
    for name, value in (("m", np.zeros(3)), ("steps", -1), ("factor", float("nan"))):
        with pytest.raises(ValueError, match=name):
            adam.load_state_dict(adam.state_dict() | {name: value})
    assert adam.steps == 0


# ---------------------------------------------------------------------- windows that overlap


def test_overlapping_windows_send_errors_back_further_than_they_count_them() -> None:
    """Against the definition: from a state, errors of the last ``stride`` targets, back through ``num_steps``."""
    lm = LanguageModel.build(CORPUS.vocab, hidden_size=4).init(dtype="float64", backend="numpy")
    x, y = next(CORPUS.batches(2, 6))
    _, state = lm.network(x[:3])
    loss, carried, backward = lm.forward(x, y, state, stride=2)
    backward()
    logits, _, whole = lm.network.forward(x, state)
    counts = np.zeros(x.shape, bool)
    counts[-2:] = True
    wanted, dlogits = minirnn.cross_entropy(logits, y, counts)
    found = lm.network.grads.copy()
    lm.network.zero_grads()
    whole(dlogits)
    assert float(loss) == pytest.approx(float(wanted), rel=1e-12)
    np.testing.assert_allclose(found, lm.network.grads, rtol=0, atol=1e-14)
    _, middle = lm.network(x[:2], state)
    for a, b in zip(arrays_in(carried), arrays_in(middle), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-14)
    first, _, _ = lm.forward(x, y, None, stride=2)  # nothing came before: all of it counts
    logits, _ = lm.network(x)
    assert float(first) == pytest.approx(float(minirnn.cross_entropy(logits, y)[0]), rel=1e-12)


@pytest.mark.parametrize("stride", [1, 2, 5])
def test_overlapping_windows_begin_so_many_characters_on(stride: int) -> None:
    batches = list(CORPUS.batches(3, 5, stride=stride))
    assert len(batches) == CORPUS.num_batches(3, 5, stride=stride)
    for (x, y), (next_x, _) in pairwise(batches):
        np.testing.assert_array_equal(x[stride:], next_x[: 5 - stride])
        np.testing.assert_array_equal(x[1:], y[:-1])
    later = list(CORPUS.batches(3, 5, stride=stride, start=2))
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(later, batches[2:], strict=True))


def test_a_stride_that_cannot_be_is_refused() -> None:
    for stride in (0, 6, 1.5):
        with pytest.raises(ValueError, match="stride must be an integer from 1 to num_steps = 5"):
            CORPUS.batches(3, 5, stride=stride)  # type: ignore[arg-type]  # one is no integer
    with pytest.raises(ValueError, match="needs sequential sampling"):
        CORPUS.batches(3, 5, stride=2, sampling="random")


# ---------------------------------------------------------------------- gradients that are not finite


def poisoned(training: Training, steps: set[int]) -> Training:
    """``training``, whose gradients hold NaN at those steps."""
    step = training.optimizer.step
    taken = iter(range(1, 10**6))

    def spoilt() -> Any:
        if next(taken) in steps:
            training.lm.network.named_grads()["0.0.U"][0, 0] = np.nan
        return step()

    training.optimizer.step = spoilt  # type: ignore[method-assign]  # a fault, planted
    return training


def test_a_step_that_is_not_finite_stops_training_and_changes_nothing() -> None:
    training = poisoned(begun(), {4})
    list(islice(training, 3))
    before = training.lm.network.weights.copy()
    with pytest.raises(NonFiniteGradientError, match=r"the gradient of 0\.0\.U is not finite: 1 of"):
        next(training)
    assert np.array_equal(training.lm.network.weights, before)
    assert training.done == 3


@pytest.mark.parametrize(("how", "rate"), [("skip", 0.01), ("halve-lr", 0.0025)])
def test_a_step_that_is_not_finite_is_skipped_if_asked(how: str, rate: float) -> None:
    training = poisoned(begun(on_nonfinite=how, steps=8), {4, 6})
    steps, weights = [], []
    for step in training:
        steps.append(step)
        weights.append(training.lm.network.weights.copy())
    assert [s.step for s in steps] == list(range(1, 9))
    assert [bool(s.skipped) for s in steps] == [False, False, False, True, False, True, False, False]
    assert "the gradient of 0.0.U is not finite" in steps[3].skipped
    assert np.isnan(float(steps[3].norm))
    assert np.array_equal(weights[2], weights[3])
    assert not np.array_equal(weights[3], weights[4])
    assert training.optimizer.lr == rate
    assert steps[-1].lr == rate
    assert training.optimizer.steps == 6


def test_a_model_that_does_not_come_back_stops_after_all() -> None:
    training = poisoned(begun(on_nonfinite="skip"), set(range(3, 99)))
    with pytest.raises(NonFiniteGradientError, match="so were those of the 19 steps before"):
        list(training)
    assert training.done == 2 + 19
    training = begun(on_nonfinite="skip", optimizer="sgd")
    list(islice(training, 2))
    training.lm.network.named_weights()["2.b"] = np.inf
    with pytest.raises(NonFiniteGradientError, match="the weights are not finite either"):
        list(training)


def test_what_to_do_about_it_must_be_known() -> None:
    with pytest.raises(ValueError, match="on_nonfinite must be one of stop, skip, halve-lr; got 'hope'"):
        begun(on_nonfinite="hope")


# ---------------------------------------------------------------------- checkpoints


def kept(tmp_path: Path, steps: int = 10, every: int = 2, **options: Any) -> tuple[Keeper, list[str]]:
    """A run of ``steps`` that was kept; and what was reported."""
    folder, said = Folder(tmp_path / "run", keep=3), list[str]()
    folder.path.mkdir(exist_ok=True)
    training = begun(steps=steps)
    record = Record(folder.path, 1)
    record.begin({}, 0)
    keeper = Keeper(training, folder, record, CORPUS, said.append, steps=every, **options)
    for step in training:
        if keeper(step):
            break
    return keeper, said


def test_the_last_checkpoints_stay_and_the_best_model(tmp_path: Path) -> None:
    keeper, said = kept(tmp_path)
    assert not said
    assert keeper.folder.steps() == [10, 8, 6]
    assert keeper.saved == 10
    assert not list(keeper.folder.path.glob(".*.part"))
    lines = read_lines(keeper.folder.path / "metrics.jsonl")
    found = {line["step"]: line["validation_perplexity"] for line in lines if "validation_perplexity" in line}
    assert sorted(found) == [2, 4, 6, 8, 10]
    assert (keeper.best_step, keeper.best) == min((step, p) for step, p in found.items() if p == min(found.values()))
    best = minirnn.load(keeper.folder.best)
    assert best.perplexity(CORPUS) == pytest.approx(keeper.best)


def test_patience_ends_a_run_that_gets_no_better(tmp_path: Path) -> None:
    found = iter([5.0, 4.0, 4.5, 4.0, 4.1, 3.0])
    examine = lambda *_: Evaluation(math.log(next(found)), 0.0, 1)  # noqa: E731 - what each evaluation finds
    keeper, _ = kept(tmp_path, steps=40, patience=3, examine=examine)
    assert keeper.training.done == 10
    assert keeper.best == pytest.approx(4.0)
    assert (keeper.best_step, keeper.worse) == (4, 3)
    _, more = read(keeper.folder.at(10))
    again = Keeper(begun(), keeper.folder, keeper.record, CORPUS, print, patience=3)
    again.go_on(more)
    assert (again.best, again.best_step, again.worse) == (keeper.best, 4, 3)


@pytest.mark.parametrize("seconds", [1e-9, 3600.0])
def test_checkpoints_by_the_clock(seconds: float, tmp_path: Path) -> None:
    keeper, _ = kept(tmp_path, steps=4, every=10**6, seconds=seconds)
    assert keeper.folder.steps() == ([4, 3, 2] if seconds < 1 else [])


@pytest.mark.parametrize("spoil", ["cut", "flip", "other", "empty"])
def test_a_corrupt_newest_checkpoint_is_reported_and_the_one_before_taken(spoil: str, tmp_path: Path) -> None:
    keeper, _ = kept(tmp_path)
    path = keeper.folder.at(10)
    data = bytearray(path.read_bytes())
    if spoil == "flip":
        data[-5] ^= 1  # one bit of a weight: only a checksum can tell
    other = keeper.folder.best.read_bytes()
    path.write_bytes({"cut": bytes(data[:-9]), "flip": bytes(data), "other": other, "empty": b""}[spoil])
    said: list[str] = []
    found = keeper.folder.newest(said.append)
    assert found
    assert found[0].about["step"] == 8
    (sentence,) = said
    assert str(path) in sentence
    assert "the one before is taken" in sentence
    with pytest.raises(ModelFileError):
        read(path)


@pytest.mark.parametrize("keep", [1, 2])
def test_a_damaged_checkpoint_does_not_crowd_out_sound_ones(keep: int, tmp_path: Path) -> None:
    keeper, _ = kept(tmp_path)
    folder = Folder(keeper.folder.path, keep)
    folder.at(10).write_bytes(b"damaged")
    found = folder.newest(print)
    assert found
    again = begun()
    again.restore(found[0])  # of step 8
    next(again)
    folder.write(again.state(), {})
    assert folder.steps() == [10, *[9, 8][:keep]]
    found = folder.newest(print)
    assert found
    assert found[0].about["step"] == 9


def test_a_checkpoint_whose_description_was_changed_is_damaged(tmp_path: Path) -> None:
    keeper, _ = kept(tmp_path)
    path = keeper.folder.at(10)
    path.write_bytes(path.read_bytes().replace(b'\\"batch\\": ', b'\\"bAtch\\": '))
    with pytest.raises(ModelFileError, match="checksum"):
        read(path)


def test_a_diverged_model_is_not_kept(tmp_path: Path) -> None:
    keeper, _ = kept(tmp_path)
    keeper.training.lm.network.named_weights()["2.b"] = np.nan
    with pytest.raises(ValueError, match="weights must be finite to be kept"):
        keeper.keep()
    assert keeper.folder.steps() == [10, 8, 6]


def test_two_processes_do_not_train_in_one_directory(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "run")
    with folder.locked(), pytest.raises(BlockingIOError, match="another process trains in"), folder.locked():
        pass
    with folder.locked():
        pass


def test_what_a_killed_write_left_is_swept_away(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "run")
    folder.path.mkdir()
    (folder.path / ".0123456789abcdef.part").write_bytes(b"half a checkpoint")
    with folder.locked():
        assert [path.name for path in folder.path.iterdir()] == [".lock"]


def test_a_run_is_kept_in_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="a run is kept in a directory"):
        Folder(tmp_path / "file")


# ---------------------------------------------------------------------- the command line


@pytest.mark.parametrize(
    ("times", "seed"),
    [(1, 2), pytest.param(5, 0, marks=pytest.mark.process), pytest.param(50, 1, marks=pytest.mark.long)],
)
def test_a_run_killed_at_random_instants_ends_in_the_same_bits(times: int, seed: int, tmp_path: Path) -> None:
    outcome = killed(times, seed, tmp_path)
    assert outcome.kills == times
    assert max(outcome.resumed) > 0
    assert outcome.same


def test_resume_with_nothing_to_resume_says_so_and_starts(text: Path, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "m.safetensors"
    result = invoke("train", text, *SMALL, "--steps", 4, "--checkpoint", run, "--resume", "--out", out)
    assert result.exit_code == 0, result.stderr
    assert f"nothing to resume in {run}: starting afresh" in result.stderr
    assert out.exists()
    assert Folder(run).steps() == [4]


def test_a_run_goes_on_by_the_options_that_it_began_with(text: Path, tmp_path: Path) -> None:
    run, whole, parts = tmp_path / "run", tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    options = [*SMALL, "--cell", "lstm", "--schedule", "constant", "--seed", 5]
    options += ["--dropout", 0.2, "--locked", "--weight-dropout", 0.3, "--zoneout", "0.1,0.3"]
    invoke("train", text, *options, "--steps", 30, "--out", whole)
    first = invoke("train", text, *options, "--steps", 17, "--out", parts, "--checkpoint", run, "--every", 5)
    assert first.exit_code == 0, first.stderr
    second = invoke("train", "--checkpoint", run, "--resume", "--steps", 30, "--json")
    assert second.exit_code == 0, second.stderr
    assert "going on after step 17" in second.stderr
    record = json.loads(second.stdout)
    assert (record["steps"], record["file"]) == (30, str(parts))
    assert same(whole, parts)
    assert Folder(run).steps()[0] == 30
    steps = [line["step"] for line in read_lines(run / "metrics.jsonl") if "loss" in line]
    assert steps == [1, 10, 20, 30]
    third = invoke("train", "--checkpoint", run, "--resume")  # which has ended: nothing is left to do
    assert third.exit_code == 0, third.stderr
    assert same(whole, parts)


def test_a_directory_with_a_run_is_not_begun_again(text: Path, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "m.safetensors"
    common = ("train", text, *SMALL, "--checkpoint", run, "--out", out)
    assert invoke(*common, "--steps", 3).exit_code == 0
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    for more, words in (
        (["--steps", 3], "holds a run already: --resume goes on with it"),
        (["--resume", "--hidden-size", 99], "--hidden-size must be 12, as the run began; got 99"),
        (["--resume", "--cell", "lstm"], "--cell must be gru, as the run began; got lstm"),
    ):
        result = invoke(*common, *more)
        assert result.exit_code == 2
        assert words in result.stderr
    text.write_text(TEXT + "more", encoding="utf-8")
    result = invoke(*common, "--resume", "--steps", 5)
    assert "the text is not what the run in" in result.stderr
    text.unlink()
    result = invoke("train", "--checkpoint", run, "--resume", "--steps", 5)
    assert (result.exit_code, "No such file" in result.stderr) == (2, True)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    text.write_text(TEXT, encoding="utf-8")
    assert invoke("train", "--checkpoint", run, "--resume", "--steps", 5).exit_code == 0


def test_what_needs_a_directory_says_so(text: Path) -> None:
    for option in (["--resume"], ["--patience", 2]):
        result = invoke("train", text, *SMALL, *option)
        assert result.exit_code == 2
        assert f"{option[0]} needs --checkpoint DIR" in result.stderr


@pytest.mark.parametrize(
    ("words", "found"), [("7", (7, None)), ("90s", (None, 90.0)), ("1.5m", (None, 90.0)), ("2h", (None, 7200.0))]
)
def test_intervals(words: str, found: Any) -> None:
    assert interval(words) == found


@pytest.mark.parametrize("words", ["0", "0s", "-3", "3d", "s", "1.5", ""])
def test_what_is_no_interval(words: str) -> None:
    with pytest.raises(ValueError, match="--every must be a number of steps, or a time"):
        interval(words)


def started(*arguments: Any, **options: Any) -> "subprocess.Popen[str]":
    words = [sys.executable, "-c", "import sys; from minirnn.cli.app import main; main()", *map(str, arguments)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_after_its_step_and_it_can_go_on(number: int, text: Path, tmp_path: Path) -> None:
    run, out, whole = tmp_path / "run", tmp_path / "m.safetensors", tmp_path / "whole.safetensors"
    common = ["train", text, *SMALL, "--schedule", "constant", "--out", out, "--checkpoint", run, "--every", 100]
    with started(*common, "--steps", 10**6) as process:
        while not newest(run) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(number)
        said, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number, errors
    stopped = newest(run)
    assert f"stopped; saved {out}; {run} has the run up to step {stopped}: --resume goes on from there" in said
    assert ("validation perplexity" in said) == (number == signal.SIGINT)  # who sent the other is waiting
    assert out.exists()
    steps = stopped + 50
    assert invoke("train", "--checkpoint", run, "--resume", "--steps", steps).exit_code == 0
    assert invoke("train", text, *SMALL, "--schedule", "constant", "--out", whole, "--steps", steps).exit_code == 0
    assert same(whole, out)


def test_a_full_disk_stops_nothing_and_loses_nothing(text: Path, tmp_path: Path) -> None:
    """Files may not grow beyond what the first checkpoint took, as if there were no more room."""
    run, out = tmp_path / "run", tmp_path / "m.safetensors"
    common = ["train", text, *SMALL, "--schedule", "constant", "--out", out, "--checkpoint", run]
    assert invoke(*common, "--steps", 20, "--every", 20).exit_code == 0
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.suffix in (".checkpoint", ".safetensors")}

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))

    with started("train", "--checkpoint", run, "--resume", "--steps", 40, "--every", 10, preexec_fn=no_room) as process:
        _, errors = process.communicate(timeout=60)
    errors = errors.replace("\n", " ")
    assert process.returncode == 2, errors
    assert "the checkpoint of step 20 stands, and training goes on" in errors
    assert f"{out} could not be written" in errors
    assert f"{run} has the run up to step 20: --resume goes on from there" in errors
    after = {path.name: path.read_bytes() for path in run.iterdir() if path.suffix in (".checkpoint", ".safetensors")}
    assert after == before
    assert out.exists()
    whole = tmp_path / "whole.safetensors"
    assert invoke("train", "--checkpoint", run, "--resume", "--steps", 40).exit_code == 0
    assert invoke("train", text, *SMALL, "--schedule", "constant", "--out", whole, "--steps", 40).exit_code == 0
    assert same(whole, out)


def test_a_nan_stops_a_run_and_its_last_checkpoint_is_good(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, out = tmp_path / "run", tmp_path / "m.safetensors"
    common = ["train", text, *SMALL, "--out", out, "--checkpoint", run, "--every", 5, "--steps", 20]
    with monkeypatch.context() as patch:
        taken, forward = iter(range(1, 10**6)), LanguageModel.forward

        def spoilt(lm: LanguageModel, *arguments: Any, **options: Any) -> Any:
            loss, state, backward = forward(lm, *arguments, **options)

            def run_backward() -> None:
                backward()
                if next(taken) == 13:
                    lm.network.named_grads()["1.0.U"][2, 3] = np.nan

            return loss, state, run_backward

        patch.setattr(LanguageModel, "forward", spoilt)
        result = invoke(*common)
    sentence = result.stderr.replace("\n", " ")
    assert result.exit_code == 2
    assert "step 13: the gradient of 1.0.U is not finite: 1 of" in sentence
    assert f"{run} has the run up to step 10: --resume goes on from there" in sentence
    assert Folder(run).steps() == [10, 5]
    assert invoke("train", "--checkpoint", run, "--resume").exit_code == 0
    whole = tmp_path / "whole.safetensors"
    assert invoke("train", text, *SMALL, "--out", whole, "--steps", 20).exit_code == 0
    assert same(whole, out)


def test_skipped_steps_are_told_of_and_recorded(text: Path, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "m.safetensors"
    options = ["--cell", "rnn", "--optimizer", "sgd", "--lr", 1e38, "--clip", 0, "--on-nonfinite", "halve-lr"]
    result = invoke("train", text, *SMALL, *options, "--steps", 50, "--out", out, "--checkpoint", run)
    assert result.exit_code == 2  # the first step took the weights where no gradient is finite
    assert re_skipped(result.stderr) == [
        line["step"] for line in read_lines(run / "metrics.jsonl") if "skipped" in line
    ]


def re_skipped(text: str) -> list[int]:
    """The steps that are said to have been skipped."""
    import re

    return [int(step) for step in re.findall(r"step (\d+) was skipped: the gradient of", text.replace("\n", " "))]


def test_the_record_says_what_was_asked_for_and_what_came_of_it(text: Path, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "m.safetensors"
    invoke("train", text, *SMALL, "--clip", 0.1, "--steps", 25, "--log-every", 5, "--checkpoint", run, "--out", out)
    about = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert about["options"]["hidden_size"] == 12
    assert about["options"]["files"] == [str(text)]
    assert about["versions"]["numpy"] == np.__version__
    assert {"started", "git", "machine", "text", "backend", "command"} <= set(about)
    lines = read_lines(run / "metrics.jsonl")
    steps = [line for line in lines if "loss" in line]
    assert [line["step"] for line in steps] == [1, 5, 10, 15, 20, 25]
    for line in steps:
        assert line["clipped_norm"] == min(0.1, line["grad_norm"])
        assert line["lr"] > 0
        assert line["tokens_per_second"] > 0
    assert lines[-1].keys() == {"step", "validation_perplexity"}


def test_a_line_cut_off_by_a_kill_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.9}\n{"step": 3, "lo')
    record = Record(tmp_path, 1)
    record.begin({}, 1)
    assert read_lines(path) == [{"step": 1, "loss": 2.0}]
    record.add({"step": 2, "loss": float("nan")})
    assert read_lines(path)[-1] == {"step": 2, "loss": None}


def test_weights_kept_on_disk_are_those_of_the_model(tmp_path: Path) -> None:
    keeper, _ = kept(tmp_path)
    arrays = load_file(keeper.folder.at(10))
    assert np.array_equal(arrays["weights"], keeper.training.lm.network.weights)
    assert isinstance(keeper.training.lm.network, Sequential)
    assert keeper.folder.at(10).stat().st_size < 100_000

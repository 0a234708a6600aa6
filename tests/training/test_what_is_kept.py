"""What a run keeps that nothing else would show: counters, clocks, the state after a skipped step, whole checksums."""

import json
import math
import struct
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import pytest

from minirnn import SGD, ModelFileError, NonFiniteGradientError
from minirnn.cli.options import DEFAULT_STEPS, TrainOptions
from minirnn.cli.resuming import as_begun
from minirnn.cli.terminal import Outcome
from minirnn.cli.training import train_command
from minirnn.language.evaluation import Evaluation
from minirnn.language.model import LanguageModel
from minirnn.language.text import Text
from minirnn.training.checkpoints import Folder, read, to_bytes
from minirnn.training.keeper import Keeper
from minirnn.training.loop import Step, Training, count_steps, train
from minirnn.training.metrics import Record, read_lines

CORPUS = Text.from_string("she sells sea shells\nby the sea shore" * 3)


def begun(**options: Any) -> Training:
    lm = LanguageModel.build(CORPUS.vocab, hidden_size=4).init(backend="numpy")
    return train(lm, CORPUS, SGD(lm.network, 0.1), **({"batch_size": 3, "num_steps": 5, "steps": 60} | options))


def poisoned(training: Training, steps: set[int]) -> list[Any]:
    """Have the gradients of those steps hold NaN; what is returned collects the state that each step begins from."""
    states, forward = list[Any](), training.lm.forward

    def spoilt(x: Any, y: Any, state: Any = None, **options: Any) -> Any:
        states.append(state)
        loss, state, backward = forward(x, y, state, **options)

        def run_backward() -> None:
            backward()
            if len(states) in steps:
                training.lm.network.grads[0] = np.nan

        return loss, state, run_backward

    training.lm.forward = spoilt  # type: ignore[method-assign]  # a fault, planted
    return states


# ---------------------------------------------------------------------- steps that are skipped


def test_after_a_skipped_step_the_state_begins_anew() -> None:
    """What led to a gradient that is not finite may be in the state."""
    training = begun(on_nonfinite="skip")
    states = poisoned(training, {3})
    steps = list(islice(training, 5))
    assert [bool(step.skipped) for step in steps] == [False, False, True, False, False]
    assert {step.epoch for step in steps} == {0}
    assert [state is None for state in states] == [True, False, False, True, False]


def test_only_skips_in_a_row_end_a_run() -> None:
    """Every other step skipped, 25 of them; then 19 in a row, one that is not, 19 more, and 20."""
    training = begun(on_nonfinite="skip")
    poisoned(training, set(range(2, 51, 2)))
    assert sum(bool(step.skipped) for step in islice(training, 50)) == 25
    training = begun(on_nonfinite="skip", steps=99)
    poisoned(training, {*range(2, 21), *range(22, 41), *range(42, 99)})
    with pytest.raises(NonFiniteGradientError, match="so were those of the 19 steps before"):
        list(training)
    assert training.done == 60


def test_skips_in_a_row_are_counted_across_a_pause() -> None:
    first, second = begun(on_nonfinite="skip"), begun(on_nonfinite="skip")
    poisoned(first, set(range(3, 99)))
    list(islice(first, 12))  # ten of them skipped
    second.restore(first.state())
    poisoned(second, set(range(1, 99)))
    with pytest.raises(NonFiniteGradientError, match="so were those of the 19 steps before"):
        list(second)
    assert second.done == 12 + 9


def test_what_was_half_done_is_not_part_of_what_goes_on() -> None:
    """Gradients that a training had gathered before it was given another one's state."""
    first, second, calm = begun(), begun(), begun()
    list(islice(first, 3))
    second.lm.network.grads[...] = 1
    for training in (second, calm):
        training.restore(first.state())
        next(training)
    assert np.array_equal(second.lm.network.weights, calm.lm.network.weights)


def test_a_restored_model_is_another_version_to_whoever_packed_its_weights() -> None:
    training = begun()
    updates = training.lm.network.bound.updates
    training.restore(begun().state())
    assert training.lm.network.bound.updates > updates


@pytest.mark.parametrize("stride", [None, 2])
def test_the_steps_of_overlapping_windows_are_known_beforehand(stride: int | None) -> None:
    steps = list(begun(steps=None, epochs=2, stride=stride))
    assert len(steps) == count_steps(CORPUS, 3, 5, 2, stride=stride)


# ---------------------------------------------------------------------- checkpoints


def rewritten(data: bytes, change: Any) -> bytes:
    """A safetensors file whose header was changed, its tensors as they were."""
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data[8 + size :]


def renamed(header: dict[str, Any]) -> None:
    header["weightz"] = header.pop("weights")


def reshaped(header: dict[str, Any]) -> None:
    header["weights"]["shape"] = [1, *header["weights"]["shape"]]


def retyped(header: dict[str, Any]) -> None:
    header["weights"]["dtype"] = "I32"


@pytest.mark.parametrize("change", [renamed, reshaped, retyped])
def test_the_same_bytes_by_another_name_shape_or_dtype_are_another_checkpoint(change: Any, tmp_path: Path) -> None:
    path = tmp_path / "step-00000001.checkpoint"
    data = to_bytes(begun().state(), {})
    path.write_bytes(rewritten(data, lambda _: None))
    read(path)  # a header that only was written anew is not damage
    path.write_bytes(rewritten(data, change))
    with pytest.raises(ModelFileError, match="its checksum is not that of what it holds"):
        read(path)


def test_a_checkpoint_of_a_later_version_or_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "step-00000001.checkpoint"
    with monkeypatch.context() as patch:
        patch.setattr("minirnn.training.checkpoints.VERSION", 2)
        path.write_bytes(to_bytes(begun().state(), {}))
    with pytest.raises(ModelFileError, match="must be of version 1; it is of 2"):
        read(path)
    path.write_bytes(to_bytes(begun().state(), {}))
    monkeypatch.setattr("minirnn.training.checkpoints.LARGEST_FILE", 100)
    with pytest.raises(ModelFileError, match="must hold at most 100 bytes"):
        read(path)


# ---------------------------------------------------------------------- what keeps a run


def keeper_in(folder: Path, training: Training, **options: Any) -> Keeper:
    folder.mkdir()
    record = Record(folder, 1)
    record.begin({}, 0)
    return Keeper(training, Folder(folder), record, CORPUS, print, **options)


def test_the_clock_begins_anew_with_each_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("minirnn.training.keeper.time", SimpleNamespace(perf_counter=lambda: clock.now))
    training = begun(steps=9)
    keeper = keeper_in(tmp_path / "run", training, seconds=3.0)
    for step in training:
        clock.now += 1
        keeper(step)
    assert keeper.folder.steps() == [9, 6, 3]


def test_a_step_that_is_evaluated_twice_counts_once_as_the_best(tmp_path: Path) -> None:
    training = begun()
    next(training)
    keeper = keeper_in(tmp_path / "run", training, examine=lambda *_: Evaluation(1.0, 0.0, 1))
    keeper.evaluate()
    keeper.evaluate()
    assert (keeper.best_step, keeper.worse) == (1, 0)
    next(training)
    keeper.evaluate()
    assert (keeper.best_step, keeper.worse) == (1, 1)


def test_what_goes_on_knows_its_last_checkpoint(tmp_path: Path) -> None:
    training = begun()
    list(islice(training, 4))
    keeper = keeper_in(tmp_path / "run", training)
    keeper.keep()
    state, more = read(keeper.folder.at(4))
    again = Keeper(begun(), keeper.folder, keeper.record, CORPUS, print)
    again.training.restore(state)
    again.go_on(more)
    assert again.saved == 4
    assert again.up_to_date()


def test_the_record_has_the_speed_since_its_last_line(tmp_path: Path) -> None:
    record = Record(tmp_path, 2)
    record.begin({}, 10, 5.0)  # goes on after step 10 and five seconds
    for k, (tokens, seconds) in enumerate([(30, 6.0), (50, 7.0), (10, 7.5), (10, 8.0)], start=11):
        record.step(Step(k, 0, 1.0, 1.0, 0.1, tokens, seconds), None)
    speeds = {line["step"]: line["tokens_per_second"] for line in read_lines(tmp_path / "metrics.jsonl")}
    assert speeds == {12: 80 / 2, 14: 20 / 1}


# ---------------------------------------------------------------------- what the command line makes of it


def options_of(*words: str) -> tuple[click.Context, TrainOptions]:
    ctx = train_command.make_context("train", list(words))
    return ctx, TrainOptions.parsed(**{name: value for name, value in ctx.params.items() if name != "files"})


def test_a_limit_on_the_command_line_takes_the_place_of_all_that_the_run_began_with() -> None:
    _, first = options_of("--checkpoint", "run", "--steps", "7", "--epochs", "3")
    written = json.loads(json.dumps(first.recorded(())))
    ctx, now = options_of("--checkpoint", "run", "--resume", "--time", "9")
    _, merged = as_begun(ctx, (), now, written)
    assert [merged.epochs, merged.steps, merged.seconds] == [None, None, 9.0]
    ctx, now = options_of("--checkpoint", "run", "--resume")
    _, merged = as_begun(ctx, (), now, written)
    assert [merged.epochs, merged.steps, merged.seconds] == [3, 7, None]


def test_the_first_of_two_limits_is_what_is_planned() -> None:
    def planned(*words: str) -> int | None:
        _, options = options_of("--batch-size", "3", "--num-steps", "5", *words)
        return options.planned_steps(CORPUS)

    assert planned("--steps", "2", "--epochs", "1") == 2
    assert planned("--steps", "999", "--epochs", "1") == count_steps(CORPUS, 3, 5, 1)
    assert planned("--time", "5") is None
    assert planned() == DEFAULT_STEPS


@pytest.mark.parametrize(("planned", "warmup"), [(5, 0), (100, 10), (1000, 50)])
def test_a_planned_run_warms_up_over_a_tenth_of_it_and_at_most_50_steps(planned: int, warmup: int) -> None:
    _, options = options_of("--lr", "0.5")
    optimizer = options.make_optimizer(begun().lm, planned)
    rates = []
    for optimizer.steps in range(planned):
        rates.append(optimizer.lr)
    assert rates[:warmup] == pytest.approx([0.5 * (k + 1) / warmup for k in range(warmup)])
    assert rates[warmup] == pytest.approx(0.5)
    assert all(b < a for a, b in zip(rates[warmup:], rates[warmup + 1 :], strict=False))


def test_what_is_shown_of_a_run_is_of_this_process_and_of_steps_that_were_taken() -> None:
    run = Outcome(before=10.0)
    run.add(Step(101, 0, 4.0, 1.0, 0.1, 30, 11.0))
    run.add(Step(102, 0, float("nan"), float("nan"), 0.1, 30, 12.0, "not finite"))
    run.add(Step(103, 0, 2.0, 1.0, 0.1, 30, 14.0))
    assert run.rate == 60 / 4  # 60 characters in the 4 seconds since the run went on
    assert run.loss == pytest.approx(0.98 * 4 + 0.02 * 2)
    fresh = Outcome()
    for k, loss in enumerate([4.0, 2.0, 0.0], start=1):
        fresh.add(Step(k, 0, loss, 1.0, 0.1, 30, float(k)))
    assert fresh.loss == pytest.approx(2.0)  # the mean, until there are 50
    assert Outcome(loss=1e9).perplexity == math.inf  # without a warning


def test_a_time_limit_ends_a_run_when_it_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("minirnn.training.loop.time", SimpleNamespace(perf_counter=lambda: clock.now))
    steps = 0
    for _ in begun(steps=None, seconds=3.0):
        steps, clock.now = steps + 1, clock.now + 1
    assert steps == 3

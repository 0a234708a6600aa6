"""The training loop: what it carries, when it stops, what it reports, and what it refuses."""

import math
from itertools import count, islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from minirnn import Adam, NonFiniteGradientError
from minirnn.language.model import LanguageModel
from minirnn.language.text import Text
from minirnn.training.loop import Step, count_steps, train

Array: TypeAlias = NDArray[Any]

SENTENCE = "she sells sea shells\nby the sea shore"
CHINESE = "天地玄黃，宇宙洪荒。日月盈昃，辰宿列張。"
CORPUS = Text.from_string(SENTENCE * 3)


def trained(seed: int = 0, text: Text = CORPUS, **options: Any) -> tuple[LanguageModel, list[Step]]:
    build = {name: options.pop(name) for name in ("task", "dropout", "num_layers") if name in options}
    lm = LanguageModel.build(text.vocab, hidden_size=6, **build).init()
    optimizer = Adam(lm.network, 0.01)
    return lm, list(train(lm, text, optimizer, seed=seed, **({"batch_size": 3, "num_steps": 5} | options)))


def spied(
    sampling: str, monkeypatch: pytest.MonkeyPatch, task: str = "next"
) -> tuple[list[Any], list[Any], list[Step]]:
    """The states given to lm.forward, the states it returned, and the steps, over two epochs."""
    lm = LanguageModel.build(CORPUS.vocab, hidden_size=4, cell="lstm", task=task).init()
    given_states, returned = [], []
    forward = lm.forward

    def spy(x: Array, y: Array, state: Any = None, **options: Any) -> Any:
        result = forward(x, y, state, **options)
        given_states.append(state)
        returned.append(result[1])
        return result

    monkeypatch.setattr(lm, "forward", spy)
    options: dict[str, Any] = {"batch_size": 2, "num_steps": 7, "sampling": sampling, "epochs": 2}
    return given_states, returned, list(train(lm, CORPUS, Adam(lm.network), **options))


def test_sequential_training_carries_the_state_within_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    states, returned, steps = spied("sequential", monkeypatch)
    assert {step.epoch for step in steps} == {0, 1}
    for k, step in enumerate(steps):
        if k == 0 or step.epoch != steps[k - 1].epoch:
            assert states[k] is None
        else:
            assert states[k] is returned[k - 1]
            assert any(array.any() for array in states[k][0])  # h and c of the LSTM


def test_random_training_starts_every_window_from_the_initial_state(monkeypatch: pytest.MonkeyPatch) -> None:
    states, _, steps = spied("random", monkeypatch)
    assert len(steps) > 10
    assert states == [None] * len(steps)


def test_training_stops_at_whichever_limit_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = count()  # one second a look
    monkeypatch.setattr("minirnn.training.loop.time", SimpleNamespace(perf_counter=lambda: float(next(clock))))
    assert [s.step for s in trained(steps=5)[1]] == [1, 2, 3, 4, 5]
    assert len(trained(steps=5, epochs=100, seconds=1e9)[1]) == 5
    assert {s.epoch for s in trained(epochs=3, steps=10**6)[1]} == {0, 1, 2}
    timed = trained(seconds=10, epochs=100)[1]
    assert 0 < timed[-1].seconds <= 11
    assert len(timed) == 5  # two looks a step
    assert trained(steps=0)[1] == trained(epochs=0)[1] == trained(seconds=0)[1] == []


@pytest.mark.parametrize("sampling", ["sequential", "random"])
def test_each_epoch_cuts_the_text_at_its_own_place(sampling: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[Any] = []
    batches = Text.batches

    def spy(text: Text, *sizes: int, **options: Any) -> Any:
        seeds.append(options["seed"])
        return batches(text, *sizes, **options)

    monkeypatch.setattr(Text, "batches", spy)
    trained(seed=1, epochs=4, sampling=sampling)
    trained(seed=2, epochs=4, sampling=sampling)
    assert len(set(seeds)) == 8


def test_each_step_reports_what_it_did() -> None:
    lm = LanguageModel.build(CORPUS.vocab, hidden_size=6).init(dtype="float64")
    lm.network.weights[...] = 0
    weights = lm.network.weights.copy()
    step = next(train(lm, CORPUS, Adam(lm.network), batch_size=3, num_steps=5, steps=2))
    assert (step.step, step.epoch, step.tokens) == (1, 0, 15)
    assert step.loss == pytest.approx(math.log(len(CORPUS.vocab)), rel=1e-12)
    assert step.norm > 0
    assert step.seconds > 0
    assert not np.array_equal(lm.network.weights, weights)  # already updated when the step is seen
    assert not lm.network.grads.any()


@pytest.mark.parametrize("options", [{}, {"sampling": "random"}, {"task": "fill"}, {"num_layers": 2, "dropout": 0.3}])
def test_the_same_seed_gives_the_same_weights_bit_for_bit(options: dict[str, Any]) -> None:
    first, again, other = (trained(seed, steps=12, **options)[0].network.weights for seed in (7, 7, 8))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_training_and_looking_at_the_model_in_between_do_not_disturb_each_other() -> None:
    plain, _ = trained(num_layers=2, dropout=0.3, steps=6)
    lm = LanguageModel.build(CORPUS.vocab, hidden_size=6, num_layers=2, dropout=0.3).init()
    for _ in train(lm, CORPUS, Adam(lm.network, 0.01), batch_size=3, num_steps=5, steps=6):
        lm.perplexity(CORPUS)
        list(lm.generate("s", 3, seed=0))
    assert np.array_equal(lm.network.weights, plain.network.weights)


@pytest.mark.parametrize("sampling", ["sequential", "random"])
def test_the_steps_of_some_epochs_are_known_beforehand(sampling: str) -> None:
    _, steps = trained(seed=3, epochs=4, sampling=sampling)
    assert len(steps) == count_steps(CORPUS, 3, 5, 4, seed=3)


@pytest.mark.parametrize("limit", [{"epochs": -1}, {"steps": -1}, {"steps": 1.5}, {"seconds": float("nan")}])
def test_a_limit_that_would_never_be_reached_is_refused(limit: dict[str, Any]) -> None:
    lm = LanguageModel.build(CORPUS.vocab, hidden_size=2).init()
    with pytest.raises(ValueError, match=r"epochs|steps|seconds"):
        list(islice(train(lm, CORPUS, Adam(lm.network), batch_size=3, num_steps=5, **limit), 30))


@pytest.mark.parametrize("lr", [1e38, 1e39])
def test_a_diverging_run_ends_in_an_error_that_names_a_weight(lr: float) -> None:
    lm = LanguageModel.build(CORPUS.vocab, hidden_size=4).init()
    with pytest.raises(NonFiniteGradientError, match=r"the gradient of \S+ is not finite"):
        list(train(lm, CORPUS, Adam(lm.network, lr), batch_size=3, num_steps=5, steps=5))


def test_training_without_a_limit_is_refused_at_once() -> None:
    lm = LanguageModel.build(CORPUS.vocab, hidden_size=2).init()
    with pytest.raises(ValueError, match="a limit: epochs, steps or seconds; got none"):
        train(lm, CORPUS, Adam(lm.network))


def test_training_on_a_text_in_another_vocabulary_is_refused() -> None:
    lm = LanguageModel.build(CORPUS.vocab, hidden_size=2).init()
    with pytest.raises(ValueError, match="vocabulary"):  # its indices mean other characters
        list(train(lm, Text.from_string("abc" * 90), Adam(lm.network), steps=1, batch_size=3, num_steps=5))


def test_training_with_another_models_optimizer_is_refused() -> None:
    lm, other = (LanguageModel.build(CORPUS.vocab, hidden_size=2).init() for _ in range(2))
    with pytest.raises(ValueError, match="optimi"):  # the weights of lm would never move
        list(train(lm, CORPUS, Adam(other.network), steps=1, batch_size=3, num_steps=5))


def test_chinese_works_from_file_to_text(tmp_path: Path) -> None:
    path = tmp_path / "千字文.txt"
    path.write_text(CHINESE * 6, encoding="utf-8")
    lm, steps = trained(text=Text.read(path), steps=30)
    assert steps[-1].loss < steps[0].loss < 1.1 * math.log(len(lm.vocab))
    writing = "".join(lm.generate("天地", 20, seed=0))
    assert len(writing) == 20
    assert set(writing) <= set(CHINESE)
    assert all(set(text) <= set(CHINESE) for text, _ in lm.beam("宇宙", 4))
    assert lm.perplexity(Text.from_string("日月盈昃", lm.vocab)) > 1

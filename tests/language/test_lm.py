"""The language model: perplexity against a slow computation, writing against search by hand."""

import math
from collections.abc import Callable
from itertools import pairwise, product
from types import SimpleNamespace
from typing import Any, TypeAlias
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from minirnn import GRU, LSTM, Adam, Bidirectional, Last, Linear, Reverse, Sequential, pad, save
from minirnn.language.model import LanguageModel
from minirnn.language.sampling import distribution
from minirnn.language.text import UNKNOWN, Text, TextError, Vocabulary

Array: TypeAlias = NDArray[Any]

SENTENCE = "she sells sea shells\nby the sea shore"
CHINESE = "天地玄黃，宇宙洪荒。日月盈昃，辰宿列張。"
VOCAB = Vocabulary.of("abcd é天\n")
seeds = st.integers(0, 2**32 - 1)


def model(vocab: Vocabulary = VOCAB, seed: int = 1, *, scale: float = 2.0, **options: Any) -> LanguageModel:
    """A small float64 model with weights large enough to have opinions."""
    lm = LanguageModel.build(vocab, **({"hidden_size": 5} | options)).init(seed, dtype="float64")
    lm.network.weights *= scale
    return lm


def log_softmax(logits: Array) -> list[float]:
    values = [float(v) for v in logits]
    largest = max(values)
    total = largest + math.log(math.fsum(math.exp(v - largest) for v in values))
    return [v - total for v in values]


def surprises(lm: LanguageModel, indices: Array) -> list[float]:
    """-log p of every index but the first, the network run one step at a time."""
    state, found = None, []
    for here, following in pairwise(indices.tolist()):
        y, state = lm.network(np.array([[here]]), state)
        found.append(-log_softmax(y[0, 0])[following])
    return found


def next_log_p(lm: LanguageModel, text: str) -> dict[str, float]:
    """log p of every known symbol after ``text``, the unknown one ruled out."""
    y, _ = lm.network(lm.vocab.encode(text)[:, None])
    return dict(zip(lm.vocab.symbols[1:], log_softmax(y[-1, 0, 1:]), strict=True))


def greedy(lm: LanguageModel, text: str, length: int) -> str:
    written = ""
    for _ in range(length):
        log_p = next_log_p(lm, text + written)
        written += max(log_p, key=lambda symbol: log_p[symbol])
    return written


def overfit(lm: LanguageModel, text: Text, steps: int, rows: int = 1) -> LanguageModel:
    """Train on the whole text, ``rows`` times a step."""
    optimizer, rng = Adam(lm.network, 0.02, clip=1.0), np.random.default_rng(0)
    x, y = (np.repeat(part[:, None], rows, axis=1) for part in (text.indices[:-1], text.indices[1:]))
    if lm.task == "fill":
        x = y = np.repeat(text.indices[:, None], rows, axis=1)
    for _ in range(steps):
        _, _, backward = lm.forward(x, y, rng=rng)
        backward()
        optimizer.step()
    return lm


# ---------------------------------------------------------------------- perplexity


@given(st.text("abcd ☃", min_size=2, max_size=40), st.integers(1, 50), st.sampled_from(["next", "fill"]))
def test_with_all_weights_0_the_perplexity_is_the_size_of_the_vocabulary(text: str, rows: int, task: str) -> None:
    lm = model(task=task, scale=0)
    assert lm.perplexity(Text.from_string(text, VOCAB), batch_size=rows) == pytest.approx(len(VOCAB), rel=1e-12)


@given(
    st.integers(1, 5), st.integers(1, 12), st.sampled_from(["rnn", "gru", "lstm"]), st.integers(1, 13), st.data(), seeds
)
def test_perplexity_is_the_mean_over_rows_read_one_character_at_a_time(
    rows: int, length: int, cell: str, window: int, data: st.DataObject, seed: int
) -> None:
    symbols = data.draw(st.text("abcd é天\n☃", min_size=rows * length + 1, max_size=rows * length + 1))
    lm, text = model(seed=seed, cell=cell, num_layers=2, dropout=0.5), Text.from_string(symbols, VOCAB)
    losses = [s for b in range(rows) for s in surprises(lm, text.indices[b * length : (b + 1) * length + 1])]
    with mock.patch("minirnn.language.evaluation.WINDOW", window):
        found = lm.perplexity(text, batch_size=rows)
    assert found == pytest.approx(math.exp(math.fsum(losses) / len(losses)), rel=1e-12)


@given(st.text("abcd é天\n", min_size=30, max_size=60), st.integers(1, 7), st.integers(1, 20), seeds)
def test_perplexity_of_filling_reads_each_row_and_window_by_itself(
    text: str, rows: int, window: int, seed: int
) -> None:
    lm, symbols = model(seed=seed, task="fill"), Text.from_string(text, VOCAB)
    with mock.patch("minirnn.language.evaluation.WINDOW", window):
        found = lm.perplexity(symbols, batch_size=rows)
    cuts = np.linspace(0, len(text) - 1, rows + 1).astype(int)
    plain, _ = pad([symbols.indices[a:b].astype(int) for a, b in pairwise(cuts)])
    masked, _, hidden = model(seed=seed, task="fill")._mask(plain, np.random.default_rng(0))
    losses = []
    for b, length in enumerate((plain != 0).sum(0)):  # 0 is padding here: every symbol is known
        for start in range(0, length, window):
            part = slice(start, min(start + window, length))
            y, _ = lm.network(masked[part, b, None])
            losses += [-log_softmax(y[t, 0])[plain[start + t, b]] for t in np.flatnonzero(hidden[part, b])]
    assert found == pytest.approx(math.exp(math.fsum(losses) / len(losses)), rel=1e-12)


def test_rows_of_different_lengths_count_every_character_once() -> None:
    lm, text = model(), Text.from_string("abcd é天\n", VOCAB)  # 7 predictions in 2 rows
    splits = [surprises(lm, text.indices[: k + 1]) + surprises(lm, text.indices[k:]) for k in (3, 4)]
    assert any(
        lm.perplexity(text, batch_size=2) == pytest.approx(math.exp(sum(losses) / 7), rel=1e-12) for losses in splits
    )


def test_more_rows_than_predictions_make_as_many_rows_as_there_are() -> None:
    lm, text = model(), Text.from_string("abca", VOCAB)
    assert lm.perplexity(text, batch_size=100) == lm.perplexity(text, batch_size=3)


def test_perplexity_is_in_inference_and_leaves_the_model_as_it_was() -> None:
    lm, text = model(num_layers=2, dropout=0.5), Text.from_string(SENTENCE, VOCAB)
    weights = lm.network.weights.copy()
    assert lm.perplexity(text) == lm.perplexity(text)
    assert np.array_equal(lm.network.weights, weights)
    assert not lm.network.grads.any()
    fill = model(task="fill")
    assert fill.perplexity(text) == fill.perplexity(text)


@pytest.mark.parametrize("length", range(2, 12))
def test_the_perplexity_of_filling_asks_for_something_however_short_the_text(length: int) -> None:
    lm = model(task="fill", scale=0)
    assert lm.perplexity(Text.from_string("abcd" * 3, VOCAB).split(1 - length / 12)[0]) == pytest.approx(len(VOCAB))


def test_a_text_perplexity_cannot_read_is_refused() -> None:
    with pytest.raises(ValueError, match="must be in the model's vocabulary"):
        model().perplexity(Text.from_string("abc"))
    with pytest.raises(TextError, match="at least 2 characters; got 1"):
        model().perplexity(Text.from_string("a", VOCAB))


def test_a_perplexity_over_no_rows_is_refused_in_those_words() -> None:
    with pytest.raises(ValueError, match="batch_size must be"):
        model().perplexity(Text.from_string("abc", VOCAB), batch_size=0)


# ---------------------------------------------------------------------- learning


@pytest.mark.parametrize(
    ("cell", "written", "steps"),
    [("gru", SENTENCE, 100), ("lstm", SENTENCE, 120), ("rnn", SENTENCE, 120), ("gru", CHINESE, 60)],
)
def test_a_sentence_is_learnt_by_heart_and_written_down_again(cell: str, written: str, steps: int) -> None:
    text = Text.from_string(written)
    lm = overfit(LanguageModel.build(text.vocab, cell=cell, hidden_size=32).init(), text, steps)
    assert lm.perplexity(text, batch_size=1) < 1.05
    assert "".join(lm.generate(written[0], len(written) - 1, temperature=0)) == written[1:]
    assert lm.beam(written[0], len(written) - 1, width=3)[0][0] == written[1:]


@pytest.mark.parametrize("task", ["next", "fill"])
def test_the_loss_of_a_pass_forward_is_in_nats_a_character(task: str) -> None:
    x = np.zeros((4, 3), int)
    loss, _, _ = model(task=task, scale=0).forward(x, x, rng=np.random.default_rng(0))
    assert loss == pytest.approx(math.log(len(VOCAB)), rel=1e-12)


def test_training_to_fill_hides_some_characters_and_asks_for_those_only(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, x = model(task="fill"), np.random.default_rng(0).integers(0, len(VOCAB), (40, 50))
    network, spy = lm.network, mock.Mock(side_effect=lm.network.forward)
    monkeypatch.setattr(lm, "network", SimpleNamespace(forward=spy))
    loss, _, backward = lm.forward(x, x, rng=np.random.default_rng(1))
    backward()
    read = spy.call_args.args[0]
    hidden = read == len(VOCAB)
    assert 0.12 < hidden.mean() < 0.18
    assert np.array_equal(read[~hidden], x[~hidden])
    y, _ = network(read)
    losses = [-log_softmax(y[t, b])[x[t, b]] for t, b in np.argwhere(hidden)]
    assert loss == pytest.approx(math.fsum(losses) / len(losses), rel=1e-12)
    assert lm.forward(x[:1, :1], x[:1, :1], rng=np.random.default_rng(0))[0] > 0  # hides at least one


def test_tied_weights_are_one_matrix_and_both_uses_are_in_its_gradient() -> None:
    tied = model(embedding_size=5, tied=True)
    loose = model(embedding_size=5)
    assert set(loose.network.named_weights()) - set(tied.network.named_weights()) == {"2.W"}
    for name, w in loose.network.named_weights().items():
        w[...] = tied.network.named_weights()["0.W"].T if name == "2.W" else tied.network.named_weights()[name]
    rng = np.random.default_rng(0)
    for x, y in rng.integers(0, len(VOCAB), (2, 2, 6, 3)):  # two passes, whose gradients add up
        losses = []
        for lm in (tied, loose):
            loss, _, backward = lm.forward(x, y)
            backward()
            losses.append(loss)
        assert losses[0] == pytest.approx(losses[1], rel=1e-14)
    expected = loose.network.named_grads()
    assert expected["0.W"].any()
    assert expected["2.W"].any()
    np.testing.assert_allclose(
        tied.network.named_grads()["0.W"], expected["0.W"] + expected["2.W"].T, rtol=1e-12, atol=1e-15
    )
    np.testing.assert_allclose(tied.network.named_grads()["1.0.U"], expected["1.0.U"], rtol=1e-12, atol=1e-15)


# ---------------------------------------------------------------------- sampling


@st.composite
def logits_drawn(draw: st.DrawFn) -> Array:
    rng, V = np.random.default_rng(draw(seeds)), draw(st.integers(1, 8))
    logits: Array = rng.normal(0, draw(st.sampled_from([0.1, 1.0, 30.0])), V)
    if V > 1 and draw(st.booleans()):
        logits[0] = -np.inf  # as the unknown symbol's are
    return logits


@given(
    logits_drawn(),
    st.floats(1e-3, 1e6),
    st.none() | st.integers(1, 10),
    st.none() | st.floats(0, 1, exclude_min=True),
)
@settings(max_examples=200)
def test_a_distribution_keeps_the_likeliest_in_proportion_and_drops_the_rest(
    logits: Array, temperature: float, top_k: int | None, top_p: float | None
) -> None:
    p = distribution(logits, temperature=temperature, top_k=top_k, top_p=top_p)
    assert p.sum() == pytest.approx(1, abs=1e-12)
    assert (p >= 0).all()
    assert not p[~np.isfinite(logits)].any()
    kept = p > 0
    assert kept.sum() <= (top_k or len(p))
    assert logits[kept].min() >= logits[~kept].max(initial=-np.inf)
    first = int(np.argmax(logits))
    with np.errstate(under="ignore"):
        np.testing.assert_allclose(p[kept] / p[first], np.exp((logits - logits[first])[kept] / temperature), rtol=1e-6)
    if top_p is None and top_k is None:
        assert kept[np.isfinite(logits) & (logits > logits[first] - 700 * temperature)].all()
    if top_p is not None:
        whole = distribution(logits, temperature=temperature, top_k=top_k)
        assert whole[kept].sum() >= top_p - 1e-12
        assert whole[kept].sum() - whole[kept].min() <= top_p + 1e-12  # one fewer would not have been enough


@pytest.mark.parametrize("temperature", [1e-9, 1e-300, 1e-320])
def test_a_temperature_however_small_is_almost_greedy(temperature: float) -> None:
    assert distribution(np.array([1.0, 5.0, 2.0]), temperature=temperature).tolist() == [0, 1, 0]


@given(logits_drawn())
def test_temperature_0_top_k_1_and_a_tiny_top_p_all_take_the_largest(logits: Array) -> None:
    expected = [float(k == np.argmax(logits)) for k in range(len(logits))]
    assert distribution(logits, temperature=0).tolist() == expected
    assert distribution(logits, top_k=1).tolist() == expected
    assert distribution(logits, top_p=1e-9).tolist() == expected


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("logits", [[0, np.nan], [np.nan, np.nan], [np.inf, 0], [-np.inf, -np.inf]])
def test_logits_that_are_not_finite_are_an_error_that_says_so(logits: list[float], temperature: float) -> None:
    with pytest.raises(ArithmeticError, match="logits are not finite"):
        distribution(np.array(logits), temperature=temperature)


# ---------------------------------------------------------------------- generation


@given(seeds, st.text("abcd é天\n☃", min_size=1, max_size=5))
def test_greedy_generation_takes_the_likeliest_known_symbol_each_time(seed: int, prefix: str) -> None:
    lm = model(seed=seed, cell="lstm")
    expected = greedy(lm, prefix, 6)
    for how in ({"temperature": 0}, {"top_k": 1}, {"top_p": 1e-9}, {"temperature": 1e-9}):
        assert "".join(lm.generate(prefix, 6, seed=seed, **how)) == expected, how


def test_sampling_is_reproducible_by_seed() -> None:
    lm = model(scale=0.5)
    texts = ["".join(lm.generate("a", 50, seed=seed)) for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]
    assert "".join(lm.generate("a", 50)) != "".join(lm.generate("a", 50))  # no seed: not the same


def test_symbols_are_drawn_as_often_as_they_are_likely() -> None:
    lm = model(hidden_size=1)
    expected = next_log_p(lm, "a")
    drawn = [next(lm.generate("a", 1, seed=seed)) for seed in range(2000)]
    for symbol, log_p in expected.items():
        p = math.exp(log_p)
        assert abs(drawn.count(symbol) / 2000 - p) < 5 * math.sqrt(p * (1 - p) / 2000), symbol


def test_a_character_is_computed_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = model()
    spy = mock.Mock(side_effect=lm.network)
    monkeypatch.setattr(lm, "network", spy)
    writing = lm.generate("abc", 5, seed=0)
    next(writing)
    assert spy.call_count == 1  # the prefix, in one pass
    for calls in (2, 3, 4, 5):
        next(writing)
        assert spy.call_count == calls
    assert list(writing) == []
    assert spy.call_count == 5  # nothing is computed that nobody reads


def test_the_unknown_symbol_is_never_written() -> None:
    lm, fill = model(scale=0.5), model(scale=0.5, task="fill")
    for each in (lm, fill):
        each.network.named_weights()["1.b"][0] = 50  # by far the likeliest
    for how in ({}, {"temperature": 0}, {"temperature": 1e3}, {"top_k": 1}, {"top_k": 3, "top_p": 0.9}):
        assert UNKNOWN not in "".join(lm.generate(UNKNOWN, 40, seed=0, **how)), how
    assert all(UNKNOWN not in text and log_p > -50 for text, log_p in lm.beam("a", 5, width=1000))
    assert UNKNOWN not in fill.fill("__a__b")


def test_characters_not_in_the_vocabulary_are_read_as_the_unknown_symbol() -> None:
    lm = model()
    assert list(lm.generate("a☃b", 20, seed=3)) == list(lm.generate(f"a{UNKNOWN}b", 20, seed=3))
    assert lm.beam("☃", 3) == lm.beam("🙂", 3)
    assert next_log_p(lm, "☃a") != next_log_p(lm, "aa")  # and not dropped


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": -1}, "temperature must be a number of at least 0; got -1"),
        ({"temperature": float("nan")}, "temperature must be a number of at least 0; got nan"),
        ({"temperature": float("inf")}, "temperature must be a number of at least 0; got inf"),
        ({"top_k": 0}, "top_k must be an integer of at least 1; got 0"),
        ({"top_p": 0}, "top_p must be above 0 and at most 1; got 0"),
        ({"top_p": 1.5}, "top_p must be above 0 and at most 1; got 1.5"),
        ({"length": 0}, "length must be an integer of at least 1; got 0"),
        ({"prefix": ""}, "a prefix needs at least one character; got none"),
    ],
)
def test_what_cannot_be_generated_is_refused_before_the_first_character(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        model().generate(**({"prefix": "a"} | options))


def test_a_diverged_model_writes_nothing_and_says_so() -> None:
    lm = model()
    lm.network.named_weights()["1.W"][0, 1] = np.nan
    for write in (lambda: next(lm.generate("a")), lambda: lm.beam("a", 3)):
        with pytest.raises(ArithmeticError, match="diverged"):
            write()


# ---------------------------------------------------------------------- beam search


def continuations(lm: LanguageModel, prefix: str, length: int) -> list[tuple[str, float]]:
    """Every continuation with its log p, best first, by brute force."""
    found = []
    for symbols in product(lm.vocab.symbols[1:], repeat=length):
        text = "".join(symbols)
        log_p = math.fsum(next_log_p(lm, prefix + text[:k])[symbol] for k, symbol in enumerate(text))
        found.append((text, log_p))
    return sorted(found, key=lambda pair: -pair[1])


@given(seeds, st.integers(1, 3), st.sampled_from(["rnn", "gru", "lstm"]))
def test_a_beam_wide_enough_for_everything_ranks_everything(seed: int, length: int, cell: str) -> None:
    lm = model(Vocabulary.of("abc"), seed, cell=cell, num_layers=2)
    expected = continuations(lm, "ab", length)
    for width in (3**length, 1000):
        found = lm.beam("ab", length, width=width)
        assert [text for text, _ in found] == [text for text, _ in expected]
        assert [p for _, p in found] == pytest.approx([p for _, p in expected], rel=1e-12)
    assert math.fsum(math.exp(p) for _, p in found) == pytest.approx(1, rel=1e-12)


@given(seeds, st.integers(1, 4))
def test_each_beam_has_the_log_p_of_its_steps_and_they_are_distinct_and_in_order(seed: int, width: int) -> None:
    lm = model(seed=seed, cell="lstm")
    beams = lm.beam("é☃", 6, width=width)
    assert len({text for text, _ in beams}) == width
    assert [p for _, p in beams] == sorted((p for _, p in beams), reverse=True)
    for text, log_p in beams:
        steps = [next_log_p(lm, "é☃" + text[:k])[symbol] for k, symbol in enumerate(text)]
        assert log_p == pytest.approx(math.fsum(steps), rel=1e-12)
    if width == 1:
        assert beams[0][0] == greedy(lm, "é☃", 6)


def test_beam_search_refuses_what_it_cannot_search() -> None:
    for options, words in (
        ({"width": 0}, "width must be an integer of at least 1; got 0"),
        ({"length": 0}, "length must be"),
    ):
        with pytest.raises(ValueError, match=words):
            model().beam("a", **options)
    with pytest.raises(ValueError, match="a prefix needs at least one character"):
        model().beam("")


# ---------------------------------------------------------------------- filling


@pytest.fixture(scope="module")
def filler() -> LanguageModel:
    text = Text.from_string(CHINESE)
    return overfit(LanguageModel.build(text.vocab, task="fill", hidden_size=24).init(), text, 100, rows=8)


def test_a_model_that_knows_a_text_restores_any_one_character_and_any_two_neighbours(filler: LanguageModel) -> None:
    for k in range(len(CHINESE)):
        for n in (1, 2):
            if k + n <= len(CHINESE):
                blanked = CHINESE[:k] + "_" * n + CHINESE[k + n :]
                assert filler.fill(blanked) == CHINESE


def test_filling_leaves_everything_but_the_blanks_alone(filler: LanguageModel) -> None:
    assert filler.fill(CHINESE) == CHINESE
    assert filler.fill("no blank 🙂☃") == "no blank 🙂☃"
    restored = filler.fill(f"🙂天_玄黃☃{UNKNOWN}?", blank="?")
    assert restored[:-1] == f"🙂天_玄黃☃{UNKNOWN}"
    assert restored[-1] in CHINESE
    assert len(filler.fill("____")) == 4


@given(seeds)
def test_the_surest_blank_is_filled_first_and_helps_with_the_others(seed: int) -> None:
    lm, text, read = model(seed=seed, task="fill", scale=3), "a__b_天_", []
    network, blanks = lm.network, [k for k, c in enumerate(text) if c == "_"]

    def spy(x: Array) -> Any:
        read.append(x[:, 0].tolist())
        return network(x)

    with mock.patch.object(lm, "network", spy):
        restored = lm.fill(text)
    x = lm.vocab.encode(text)
    x[blanks] = len(VOCAB)
    for seen in read:
        assert seen == x.tolist()
        y, _ = network(x[:, None])
        log_p = {(k, s): v for k in blanks for s, v in enumerate(log_softmax(y[k, 0, 1:]), start=1)}
        place, symbol = max(log_p, key=lambda pair: log_p[pair])
        x[place] = symbol
        blanks.remove(place)
    assert blanks == []
    assert restored == lm.vocab.decode(x)


def test_filling_refuses_what_it_cannot_fill(filler: LanguageModel) -> None:
    for blank in ("", "__"):
        with pytest.raises(ValueError, match="blank must be one character"):
            filler.fill("天_", blank=blank)
    with pytest.raises(ValueError, match="a text to fill needs at least one character"):
        filler.fill("")


def test_each_task_refuses_the_other_ones_job() -> None:
    fill = model(task="fill")
    for write in (lambda: fill.generate("a", 3), lambda: fill.beam("a", 3)):
        with pytest.raises(ValueError, match="takes a model of task next; this one has task fill: use fill"):
            write()
    with pytest.raises(ValueError, match="takes a model of task fill; this one has task next: use generate"):
        model().fill("a_")


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (
            lambda: model(cell="transformer"),
            "cell must be one of rnn, gru, lstm, peephole, .*, lngru; got 'transformer'",
        ),
        (lambda: model(task="guess"), "task must be one of next, fill; got 'guess'"),
        (lambda: model(tied=True), "embedding_size 0, hidden_size 5"),
        (lambda: model(tied=True, embedding_size=5, task="fill"), "tied weights take task next"),
        (lambda: LanguageModel(Sequential(Linear(9, 9)), VOCAB), "takes 9 symbols and gives 9 logits"),
        (lambda: LanguageModel(model(task="fill").network, VOCAB), "takes 9 symbols and gives 9 logits; got 10 and 9"),
    ],
)
def test_networks_that_make_no_language_model_are_refused(build: Callable[[], Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build()


# ---------------------------------------------------------------------- what is refused


def test_infinite_logits_are_refused_by_every_way_of_writing() -> None:
    for task, jobs in (("next", ("generate", "beam")), ("fill", ("fill",))):
        lm = LanguageModel.build(VOCAB, task=task, hidden_size=2).init()
        lm.network.named_weights()["1.b"][1] = np.inf
        for job in jobs:
            with pytest.raises(ArithmeticError, match="logits are not finite"):
                list(getattr(lm, job)("ab_"))


def test_a_network_that_has_seen_the_answer_or_gives_only_one_is_refused() -> None:
    V = len(VOCAB)
    for recurrent in (
        GRU(V, 3, bidirectional=True),
        Bidirectional(GRU(V, 3)),
        Sequential(LSTM(V, 3, bidirectional=True)),
        Sequential(GRU(V, 6), Reverse()),
    ):
        with pytest.raises(ValueError, match="has seen the answer: task='fill'"):
            LanguageModel(Sequential(recurrent, Linear(6, V)), VOCAB)
    with pytest.raises(ValueError, match="one answer a row"):
        LanguageModel(Sequential(GRU(V, 3), Last(), Linear(3, V)), VOCAB)


def test_what_is_no_text_or_vocabulary_is_refused() -> None:
    lm = model()
    for make, words in (
        (lambda: LanguageModel.build(Text.from_string(SENTENCE)), "vocab must be a Vocabulary"),  # type: ignore[arg-type] # the point
        (lambda: lm.perplexity("text"), "takes a Text; got str"),  # type: ignore[arg-type] # the point
        (lambda: lm.generate(5), "a prefix must be a string; got int"),  # type: ignore[arg-type] # the point
        (lambda: Text.from_string(b"abc"), "a text must be a string; got bytes"),  # type: ignore[arg-type] # the point
        (lambda: Text.read(None), "a path or a list of paths; got NoneType"),  # type: ignore[arg-type] # the point
        (lambda: Adam(lm), "takes a model made of layers; got LanguageModel"),  # type: ignore[arg-type] # the point
        (lambda: save({}, "m"), "save takes a model made of layers"),  # type: ignore[arg-type] # the point
    ):
        with pytest.raises(TypeError, match=words):
            make()


def test_a_vocabulary_without_symbols_and_masks_without_a_generator_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one symbol beside the unknown one"):
        LanguageModel.build(Vocabulary.of(UNKNOWN))
    with pytest.raises(ValueError, match="task fill takes rng"):
        LanguageModel.build(VOCAB, task="fill", hidden_size=2).init().forward(
            np.ones((2, 1), int), np.ones((2, 1), int)
        )

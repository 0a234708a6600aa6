"""Characters to indices and back, files to texts, texts to batches that miss and repeat nothing."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from minirnn.language.text import UNKNOWN, Text, TextError, Vocabulary, pydoc_topics

CHINESE = "天地玄黃，宇宙洪荒。"


def distinct(length: int) -> Text:
    """A text whose characters are all different: the k-th (from 0) has index k + 1."""
    return Text.from_string("".join(chr(0x4E00 + k) for k in range(length)))


def cut(text: Text, *args: Any, **kwargs: Any) -> list[tuple[Any, Any]]:
    return list(text.batches(*args, **kwargs))


# ---------------------------------------------------------------------- vocabulary


@given(st.text())
@example(CHINESE)
@example("naïve 🙂👩‍🚀\n\t\0 \U0010ffff")
def test_decoding_gives_back_what_was_encoded(text: str) -> None:
    vocab = Vocabulary.of(text)
    assert vocab.decode(vocab.encode(text)) == text
    assert len(vocab.encode(text)) == len(text)


@given(st.text(), st.text())
@example("ac", "abcd")
@example("天荒", CHINESE)
def test_unknown_symbols_are_index_0_and_shown_as_the_replacement_character(known: str, text: str) -> None:
    vocab = Vocabulary.of(known)
    place = {symbol: k for k, symbol in enumerate(vocab.symbols)}
    assert vocab.encode(text).tolist() == [place.get(c, 0) for c in text]
    assert vocab.decode(vocab.encode(text)) == "".join(c if c in vocab else UNKNOWN for c in text)


@given(st.text())
def test_a_vocabulary_is_the_unknown_symbol_and_the_characters_by_code_point(text: str) -> None:
    vocab = Vocabulary.of(text)
    assert vocab.symbols == (UNKNOWN, *sorted(set(text) - {UNKNOWN}))
    assert vocab == Vocabulary.of(text[::-1])
    assert hash(vocab) == hash(Vocabulary.of(text[::-1]))
    assert vocab != Vocabulary([*vocab.symbols, next(c for c in map(chr, range(1, 9**9)) if c not in vocab)])


@given(st.permutations("abc天🙂"))
def test_a_vocabulary_keeps_the_order_it_is_given(symbols: list[str]) -> None:
    vocab = Vocabulary([UNKNOWN, *symbols])
    assert vocab.encode("".join(symbols)).tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "symbols", [[], "a", [UNKNOWN, "ab"], [UNKNOWN, ""], [UNKNOWN, "a", "a"], [UNKNOWN, UNKNOWN], ["a", UNKNOWN]]
)
def test_symbols_that_are_no_vocabulary_are_refused(symbols: Any) -> None:
    with pytest.raises(ValueError, match="a vocabulary is '\N{REPLACEMENT CHARACTER}' followed by distinct single"):
        Vocabulary(symbols)


# ---------------------------------------------------------------------- files


@given(text=st.text(min_size=1), bom=st.booleans())
@example(text="one\r\ntwo\rthree\n\r\r\n", bom=True)
@example(text=CHINESE, bom=False)
def test_a_file_gives_its_text_with_line_ends_made_newlines_and_without_a_byte_order_mark(
    tmp_path_factory: pytest.TempPathFactory, text: str, bom: bool
) -> None:
    assume(bom or not text.startswith("\ufeff"))
    path = tmp_path_factory.getbasetemp() / "text.txt"
    path.write_bytes(b"\xef\xbb\xbf" * bom + text.encode())
    assert str(Text.read(path)) == text.replace("\r\n", "\n").replace("\r", "\n")


def test_several_files_are_joined_by_blank_lines(tmp_path: Path) -> None:
    contents = {"a.txt": "one", "b.txt": "\ufefftwo\r\n", "c.txt": "天"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content.encode())
    paths = [tmp_path / name for name in contents]
    assert str(Text.read(paths)) == "one\n\ntwo\n\n\n天"
    assert str(Text.read(str(path) for path in paths)) == "one\n\ntwo\n\n\n天"
    assert str(Text.read(str(paths[0]))) == "one"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"abc\xffdef", r"byte 3 \(0xff\)"),
        ("abc天".encode()[:-1], r"byte 3 \(0xe5\)"),
        (b"\xef\xbb\xbfabc\xff", r"byte 6 \(0xff\)"),  # counted in the file, byte order mark included
        ("天".encode("utf-16"), r"byte 0 \(0xff\)"),
        (b"", "empty"),
        (b"\xef\xbb\xbf", "empty"),
    ],
)
def test_a_file_that_holds_no_utf8_text_is_named_with_the_byte(tmp_path: Path, content: bytes, words: str) -> None:
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_bytes(b"good")
    bad.write_bytes(content)
    with pytest.raises(TextError, match=rf"^\S+bad\.txt must .*{words}"):
        Text.read([good, bad])


def test_a_missing_file_and_a_directory_are_named(tmp_path: Path) -> None:
    with pytest.raises(TextError, match=r"^\S+nowhere cannot be read: No such file"):
        Text.read(tmp_path / "nowhere")
    with pytest.raises(TextError, match=r"cannot be read: Is a directory"):
        Text.read(tmp_path)


@pytest.mark.parametrize("read", [lambda: Text.from_string(""), lambda: Text.read([])])
def test_no_text_at_all_is_refused(read: Any) -> None:
    with pytest.raises(TextError, match="at least one character"):
        read()


def test_a_text_in_a_given_vocabulary_has_its_indices() -> None:
    text = Text.from_string("cabx", Vocabulary.of("abc"))
    assert text.indices.tolist() == [3, 1, 2, 0]
    assert (text.vocab_size, len(text), str(text)) == (4, 4, f"cab{UNKNOWN}")


def test_the_built_in_text_is_every_help_topic_by_name_between_blank_lines() -> None:
    from pydoc_data.topics import topics

    text, at = pydoc_topics(), 0
    assert len(text) > 100_000
    for key in sorted(topics):
        assert text.startswith(topics[key], at)
        at += len(topics[key])
        assert text[at : at + 2] in ("\n\n", "")
        at += 2
    assert at == len(text) + 2


# ---------------------------------------------------------------------- splitting


@given(st.integers(2, 300), st.floats(0.01, 0.99))
def test_a_split_holds_out_the_end_of_the_text_and_loses_nothing(length: int, fraction: float) -> None:
    assume(0 < round(length * fraction) < length)
    text = distinct(length)
    first, last = text.split(fraction)
    assert str(first) + str(last) == str(text)
    assert len(last) == round(length * fraction)
    assert first.vocab == last.vocab == text.vocab


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_a_fraction_that_is_none_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match="fraction must be between 0 and 1"):
        distinct(10).split(fraction)


@pytest.mark.parametrize(("length", "fraction"), [(1, 0.5), (4, 0.1), (4, 0.9)])
def test_a_text_too_short_to_split_is_refused(length: int, fraction: float) -> None:
    with pytest.raises(TextError, match=f"a text of {length} characters is too short to hold out"):
        distinct(length).split(fraction)


# ---------------------------------------------------------------------- batches

shapes = {"batch_size": st.integers(1, 4), "num_steps": st.integers(1, 5), "extra": st.integers(0, 40)}
seeds = st.none() | st.integers(0, 99)


@given(**shapes, seed=seeds)
def test_sequential_rows_go_on_across_batches_and_cover_the_text_without_gap_or_repeat(
    batch_size: int, num_steps: int, extra: int, seed: int | None
) -> None:
    text = distinct(batch_size * num_steps + 1 + extra)
    batches = cut(text, batch_size, num_steps, seed=seed)
    assert all(x.shape == y.shape == (num_steps, batch_size) for x, y in batches)
    assert all((y == x + 1).all() for x, y in batches)  # one character on
    rows = np.concatenate([x for x, _ in batches]).T
    assert (np.diff(rows, axis=1) == 1).all()  # within a batch and from batch to batch
    offset = int(rows[0, 0]) - 1
    assert offset < num_steps
    assert seed is not None or offset == 0
    for row, following in pairwise(rows):
        assert 1 <= following[0] - row[-1] <= num_steps  # less than one more step of num_steps left out
    assert (len(text) - 1 - offset) - rows.size < batch_size * num_steps  # no further batch would have fitted


@given(**shapes, seed=seeds)
def test_random_windows_are_whole_and_each_is_read_at_most_once(
    batch_size: int, num_steps: int, extra: int, seed: int | None
) -> None:
    text = distinct(batch_size * num_steps + 1 + extra)
    batches = cut(text, batch_size, num_steps, sampling="random", seed=seed)
    assert all(x.shape == y.shape == (num_steps, batch_size) for x, y in batches)
    assert all((y == x + 1).all() for x, y in batches)
    windows = np.concatenate([x.T for x, _ in batches])
    assert (np.diff(windows, axis=1) == 1).all()
    assert len(np.unique(windows)) == windows.size
    assert (len(text) - 1) - windows.size < (batch_size + 1) * num_steps  # less than a batch and an offset left out


@pytest.mark.parametrize("sampling", ["sequential", "random"])
def test_a_seed_decides_how_an_epoch_cuts_the_text(sampling: str) -> None:
    text = distinct(200)
    epochs = [np.array(cut(text, 3, 10, sampling=sampling, seed=seed)) for seed in range(12)]
    again = np.array(cut(text, 3, 10, sampling=sampling, seed=5))
    assert np.array_equal(epochs[5], again)
    assert len({int(epoch[0, 0].min() - 1) % 10 for epoch in epochs}) > 4  # offsets
    if sampling == "random":
        assert len({tuple(epoch[:, 0, 0].ravel() // 10) for epoch in epochs}) == 12  # orders


def test_random_windows_are_in_random_order() -> None:
    starts = np.concatenate([x[0] for x, _ in cut(distinct(201), 1, 2, sampling="random", seed=0)])
    assert abs(np.corrcoef(starts, np.arange(len(starts)))[0, 1]) < 0.3


@pytest.mark.parametrize("sampling", ["sequential", "random"])
def test_a_text_too_short_for_one_batch_is_refused_at_once_with_the_length_it_takes(sampling: str) -> None:
    assert len(cut(distinct(13), 3, 4, sampling=sampling, seed=1)) == 1
    with pytest.raises(TextError, match=r"12 characters is too short for a batch of 3 rows of 4 steps .* takes 13"):
        distinct(12).batches(3, 4, sampling=sampling)


@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 60), st.none() | st.integers(0, 99))
def test_the_number_of_batches_is_known_beforehand(
    batch_size: int, num_steps: int, more: int, seed: int | None
) -> None:
    text = distinct(batch_size * num_steps + 1 + more)
    for sampling in ("sequential", "random"):
        batches = list(text.batches(batch_size, num_steps, sampling=sampling, seed=seed))
        assert len(batches) == text.num_batches(batch_size, num_steps, seed=seed)


def test_neither_the_text_nor_its_batches_can_be_written() -> None:
    text = distinct(50)
    x, _ = next(text.batches(2, 5))
    for array in (x, text.indices):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_arguments_that_make_no_batches_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="sampling must be sequential or random; got 'shuffled'"):
        distinct(50).batches(2, 3, sampling="shuffled")
    for batch_size, num_steps in ((0, 3), (2, 0), (-1, 3)):
        with pytest.raises(ValueError, match=r"must be an integer of at least 1; got (0|-1)"):
            distinct(50).batches(batch_size, num_steps)

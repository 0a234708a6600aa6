"""Text as numbers: a vocabulary of characters, a corpus, its batches."""

import codecs
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from pathlib import Path
from typing import Any, Self

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.layer import check_size

UNKNOWN = "\N{REPLACEMENT CHARACTER}"  # stands for, and is shown for, any symbol that is not in the vocabulary
PIECE = 2**20  # characters, or bytes of a file, that are looked at together


class TextError(ValueError):
    """A text that cannot be read or is too short for what was asked; the message says which and why."""


class Vocabulary:
    """Characters and their indices; index 0 is the unknown symbol, the rest are sorted by code point."""

    def __init__(self, symbols: Sequence[str]) -> None:
        distinct = len(set(symbols)) == len(symbols) and all(len(s) == 1 for s in symbols)
        if not symbols or symbols[0] != UNKNOWN or not distinct:
            raise ValueError(f"a vocabulary is {UNKNOWN!r} followed by distinct single characters; got {symbols!r:.60}")
        self.symbols = tuple(symbols)
        self._codes = code_points("".join(self.symbols))

    @classmethod
    def of(cls, text: str) -> Self:
        """The vocabulary of all characters in ``text``."""
        return cls([UNKNOWN, *sorted(set(text) - {UNKNOWN})])

    def __len__(self) -> int:
        return len(self.symbols)

    def __repr__(self) -> str:
        return f"Vocabulary of {len(self) - 1} symbols and the unknown one"

    def __contains__(self, symbol: str) -> bool:
        return symbol in self.symbols

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.symbols == other.symbols

    def __hash__(self) -> int:
        return hash(self.symbols)

    def encode(self, text: str) -> Array:
        """Indices (len(text),) of the characters, int64, 0 for those not in the vocabulary."""
        return self.look_up(code_points(text)).astype(np.int64)

    def look_up(self, codes: Array) -> Array:
        """Indices of code points, in the smallest dtype that has them all and one more, the mask's."""
        return self._table.take(codes, mode="clip")  # the last entry is 0: for whatever lies beyond all symbols

    @cached_property
    def _table(self) -> Array:
        """The index of each code point."""
        codes = self._codes[1:]
        table = np.zeros(max(codes.tolist(), default=0) + 2, smallest(len(self)))
        table[codes] = np.arange(1, len(self))
        return table

    def unseen(self, text: str) -> list[str]:
        """The characters of ``text`` that are not in the vocabulary, each once, in the order in which they come."""
        return [symbol for symbol in dict.fromkeys(text) if symbol not in self.symbols[1:]]

    def decode(self, indices: Sequence[int] | Array) -> str:
        """The characters at ``indices``."""
        index = np.asarray(indices) if len(indices) else np.zeros(0, np.int64)
        wrong = index[(index < 0) | (index >= len(self))]
        if wrong.size:
            raise ValueError(f"indices must be from 0 to {len(self) - 1}; got {wrong[0]}")
        return as_string(self._codes[index])


@dataclass(frozen=True, eq=False)
class Text:
    """A corpus: its vocabulary and its characters as ``indices`` (N,), in the smallest dtype that has room for them.

    Batches are int64, so that what is computed with an index does not overflow.
    """

    vocab: Vocabulary
    indices: Array  # cannot be written, and neither can the batches

    def __post_init__(self) -> None:
        indices = np.asarray(self.indices)[...]
        indices.flags.writeable = False
        object.__setattr__(self, "indices", indices)

    @classmethod
    def read(
        cls, paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], vocab: Vocabulary | None = None
    ) -> Self:
        """One or more UTF-8 files, joined by blank lines where there are several, in their own vocabulary or ``vocab``.

        Files are read in pieces: a large one takes the memory of its indices, and twice that while it is read.
        """
        if isinstance(paths, (str, os.PathLike)):
            paths = [paths]
        if not isinstance(paths, Iterable):
            raise TypeError(f"paths must be a path or a list of paths; got {type(paths).__name__}")
        return cls._of(_joined([Path(path) for path in paths]), vocab)

    @classmethod
    def from_string(cls, text: str, vocab: Vocabulary | None = None) -> Self:
        """``text`` in its own vocabulary, or in a given one."""
        check_string("a text", text)
        return cls._of((text[k : k + PIECE] for k in range(0, len(text), PIECE)), vocab)

    @classmethod
    def _of(cls, pieces: Iterable[str], vocab: Vocabulary | None) -> Self:
        if vocab is None:
            vocab, parts = _numbered(pieces)
        else:
            parts = [vocab.look_up(code_points(piece)) for piece in pieces]
        if not sum(map(len, parts)):
            raise TextError("a text needs at least one character; got none")
        return cls(vocab, np.concatenate(parts))

    def __len__(self) -> int:
        return len(self.indices)

    def __str__(self) -> str:
        return self.vocab.decode(self.indices)

    @property
    def vocab_size(self) -> int:
        """Number of symbols, the unknown one included."""
        return len(self.vocab)

    def digest(self) -> str:
        """A short name for the text: another text, another name."""
        from hashlib import blake2b  # here: see Parameters.digest

        total = blake2b(digest_size=16)
        for k in range(0, len(self), PIECE):
            total.update(self.indices[k : k + PIECE].astype("<u4").data)
        total.update(code_points("".join(self.vocab.symbols)).data)
        return total.hexdigest()

    def split(self, fraction: float = 0.1) -> tuple["Text", "Text"]:
        """The text up to its last ``fraction``, and that: what to train on, and what to hold out."""
        if not 0 < fraction < 1:
            raise ValueError(f"fraction must be between 0 and 1; got {fraction}")
        cut = len(self) - round(len(self) * fraction)
        if not 0 < cut < len(self):
            raise TextError(f"a text of {len(self)} characters is too short to hold out {fraction:.0%} of it")
        return Text(self.vocab, self.indices[:cut]), Text(self.vocab, self.indices[cut:])

    def batches(
        self,
        batch_size: int,
        num_steps: int,
        *,
        stride: int | None = None,
        sampling: str = "sequential",
        seed: int | None = None,
        start: int = 0,
    ) -> Iterator[tuple[Array, Array]]:
        """One epoch of pairs ``x, y``, each (num_steps, batch_size) of int64; y is x one character on.

        ``"sequential"``: row b of a batch goes on where row b of the batch before ended, so the state may be carried.
        With a ``stride`` below ``num_steps`` it begins only so many characters on, and the two overlap.
        ``"random"``: windows in random order, so it may not.  With a ``seed``, the first character is drawn from the
        first ``num_steps``, so that epochs with different seeds cut the text differently; and it orders random windows.
        The first ``start`` batches are left out.
        """
        offset = self._offset(batch_size, num_steps, seed)
        if sampling not in ("sequential", "random"):
            raise ValueError(f"sampling must be sequential or random; got {sampling!r}")
        stride = check_stride(stride, num_steps)
        if sampling == "sequential":
            return self._sequential(batch_size, num_steps, stride, offset, start)
        if stride < num_steps:
            raise ValueError(f"stride {stride} needs sequential sampling: random windows do not follow one another")
        rng = np.random.default_rng(None if seed is None else [seed, 1])
        return self._random(batch_size, num_steps, offset, rng, start)

    def num_batches(
        self, batch_size: int, num_steps: int, *, stride: int | None = None, seed: int | None = None
    ) -> int:
        """How many batches ``batches`` yields for these arguments, by either way of sampling."""
        length = (len(self) - 1 - self._offset(batch_size, num_steps, seed)) // batch_size  # of a row
        return (length - num_steps) // check_stride(stride, num_steps) + 1

    def _offset(self, batch_size: int, num_steps: int, seed: int | None) -> int:
        """Where an epoch's first character stands, after a check that there is room for a batch."""
        for name, value in (("batch_size", batch_size), ("num_steps", num_steps)):
            check_size(name, value)
        if len(self) <= batch_size * num_steps:
            raise TextError(
                f"a text of {len(self)} characters is too short for a batch of {batch_size} rows of {num_steps} steps "
                f"and the character after: that takes {batch_size * num_steps + 1}; lower batch_size or num_steps"
            )
        room = len(self) - 1 - batch_size * num_steps
        return 0 if seed is None else int(np.random.default_rng(seed).integers(min(num_steps, room + 1)))

    def _sequential(self, B: int, T: int, stride: int, offset: int, start: int) -> Iterator[tuple[Array, Array]]:
        L = (len(self) - 1 - offset) // B
        x, y = (self.indices[offset + k : offset + k + B * L].reshape(B, L).T for k in (0, 1))
        for t in range(start * stride, L - T + 1, stride):
            yield _batch(x[t : t + T]), _batch(y[t : t + T])

    def _random(
        self, B: int, T: int, offset: int, rng: "np.random.Generator", start: int
    ) -> Iterator[tuple[Array, Array]]:
        starts = offset + T * rng.permutation((len(self) - 1 - offset) // T)
        steps = np.arange(T)[:, None]
        for k in range(start * B, len(starts) - B + 1, B):
            window = starts[k : k + B] + steps
            yield _batch(self.indices[window]), _batch(self.indices[window + 1])


def check_stride(stride: int | None, num_steps: int) -> int:
    """How many characters on each batch begins: ``num_steps`` unless something else was asked for."""
    if stride is None:
        return num_steps
    if not isinstance(stride, Integral) or not 1 <= stride <= num_steps:
        raise ValueError(f"stride must be an integer from 1 to num_steps = {num_steps}; got {stride!r}")
    return int(stride)


def check_string(what: str, text: object) -> None:
    """Raise TypeError unless ``text`` is a string."""
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a string; got {type(text).__name__}")


def pydoc_topics() -> str:
    """The help texts of Python's language reference, in every CPython: what ``minirnn train`` learns unasked."""
    from pydoc_data.topics import topics  # half a megabyte; only this function wants it

    return "\n\n".join(topics[key] for key in sorted(topics))


def smallest(size: int) -> "np.dtype[Any]":
    """The smallest unsigned dtype for indices from 0 to ``size``, that included: to fill, a mask has that index."""
    return np.min_scalar_type(size)


def code_points(text: str) -> Array:
    """The code points (len(text),) of a string, uint32."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def as_string(codes: Array) -> str:
    """The string of these code points."""
    return codes.tobytes().decode("utf-32-le", "surrogatepass")


def _batch(indices: Array) -> Array:
    """A part of a text as it is computed with, which cannot be written either."""
    wide = indices.astype(np.int64, order="C")
    wide.flags.writeable = False
    return wide


def _numbered(pieces: Iterable[str]) -> tuple[Vocabulary, list[Array]]:
    """The vocabulary of a text that comes in pieces, and their indices.

    Characters are numbered as they come, and again, by code point, when all are known: nothing is held but numbers.
    """
    numbers = np.zeros(0x110000, np.uint32)  # of each code point, from 1
    codes = np.zeros(0, np.uint32)  # in the order of their numbers
    parts = []
    for piece in pieces:
        here = code_points(piece)
        new = np.unique(here[numbers[here] == 0])
        numbers[new] = np.arange(len(codes) + 1, len(codes) + len(new) + 1)
        codes = np.concatenate([codes, new])
        parts.append(numbers[here].astype(smallest(len(codes))))
    vocab = Vocabulary.of(as_string(codes))
    final = np.concatenate([np.zeros(1, smallest(len(vocab))), vocab.look_up(codes)])
    for k, part in enumerate(parts):
        parts[k] = final[part]
    return vocab, parts


def _joined(paths: Sequence[Path]) -> Iterator[str]:
    """The texts of files, in pieces, with blank lines between."""
    for k, path in enumerate(paths):
        if k:
            yield "\n\n"
        yield from _read(path)


def _read(path: Path) -> Iterator[str]:
    """The text of a file in pieces, with newlines at the ends of lines, and without a byte order mark."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    read, before, empty, data = 0, 0, True, b"begin"
    try:
        with path.open("rb") as file:
            while data:
                data = file.read(PIECE)
                before = read - len(decoder.getstate()[0])  # where in the file begins what is decoded now
                read += len(data)
                text = decoder.decode(data, final=not data)
                if before == 0:
                    text = text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")  # a byte order mark
                text = newlines.decode(text, final=not data)
                if text:
                    empty = False
                    yield text
    except UnicodeDecodeError as error:
        place = before + error.start
        raise TextError(f"{path} must be UTF-8 text; byte {place} ({error.object[error.start]:#04x}) is not") from None
    except OSError as error:
        raise TextError(f"{path} cannot be read: {error.strerror}") from None
    if empty:
        raise TextError(f"{path} must hold text; it is empty")

"""Text as numbers: a vocabulary of characters, a corpus, its batches."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any, Self

import numpy as np

from minirnn.backend import Array

UNKNOWN = "\N{REPLACEMENT CHARACTER}"  # stands for, and is shown for, any symbol that is not in the vocabulary


class TextError(ValueError):
    """A text that cannot be read or is too short for what was asked; the message says which and why."""


class Vocabulary:
    """Characters and their indices; index 0 is the unknown symbol, the rest are sorted by code point."""

    def __init__(self, symbols: Sequence[str]) -> None:
        if (
            not symbols
            or symbols[0] != UNKNOWN
            or any(len(s) != 1 for s in symbols)
            or len(set(symbols)) < len(symbols)
        ):
            raise ValueError(f"a vocabulary is {UNKNOWN!r} followed by distinct single characters; got {symbols!r:.60}")
        self.symbols = tuple(symbols)
        self._codes = np.array([ord(s) for s in self.symbols])
        self._order = np.argsort(self._codes)

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
        """Indices (len(text),) of the characters, 0 for those not in the vocabulary."""
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.int64)
        place = np.searchsorted(self._codes, codes, sorter=self._order)
        found = self._order[np.minimum(place, len(self) - 1)]
        return np.where(self._codes[found] == codes, found, 0)

    def decode(self, indices: Sequence[int] | Array) -> str:
        """The characters at ``indices``."""
        wrong = [k for k in indices if not 0 <= k < len(self)]
        if wrong:
            raise ValueError(f"indices must be from 0 to {len(self) - 1}; got {wrong[0]}")
        return "".join(self.symbols[k] for k in indices)


@dataclass(frozen=True, eq=False)
class Text:
    """A corpus: its vocabulary and its characters as ``indices`` (N,)."""

    vocab: Vocabulary
    indices: Array  # cannot be written, and neither can the batches, which are views of it

    def __post_init__(self) -> None:
        indices = np.asarray(self.indices)[...]
        indices.flags.writeable = False
        object.__setattr__(self, "indices", indices)

    @classmethod
    def read(cls, paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> Self:
        """One or more UTF-8 files, joined by blank lines where there are several."""
        if isinstance(paths, (str, os.PathLike)):
            paths = [paths]
        if not isinstance(paths, Iterable):
            raise TypeError(f"paths must be a path or a list of paths; got {type(paths).__name__}")
        return cls.from_string("\n\n".join([_read(Path(path)) for path in paths]))

    @classmethod
    def from_string(cls, text: str, vocab: Vocabulary | None = None) -> Self:
        """``text`` in its own vocabulary, or in a given one."""
        check_string("a text", text)
        if not text:
            raise TextError("a text needs at least one character; got none")
        vocab = vocab or Vocabulary.of(text)
        return cls(vocab, vocab.encode(text))

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
        symbols = "".join(self.vocab.symbols).encode("utf-32-le", "surrogatepass")
        return hashlib.blake2b(self.indices.astype("<u4").tobytes() + symbols, digest_size=16).hexdigest()

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
        """One epoch of pairs ``x, y``, each (num_steps, batch_size); y is x one character on.

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
            if not isinstance(value, Integral) or value < 1:
                raise ValueError(f"{name} must be an integer of at least 1; got {value!r}")
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
            yield x[t : t + T], y[t : t + T]

    def _random(
        self, B: int, T: int, offset: int, rng: "np.random.Generator", start: int
    ) -> Iterator[tuple[Array, Array]]:
        starts = offset + T * rng.permutation((len(self) - 1 - offset) // T)
        steps = np.arange(T)[:, None]
        for k in range(start * B, len(starts) - B + 1, B):
            window = starts[k : k + B] + steps
            yield self.indices[window], self.indices[window + 1]


def check_stride(stride: int | None, num_steps: int) -> int:
    """How many characters on each batch begins: ``num_steps`` unless something else was asked for."""
    if stride is None:
        return num_steps
    if not isinstance(stride, Integral) or not 1 <= stride <= num_steps:
        raise ValueError(f"stride must be an integer from 1 to num_steps = {num_steps}; got {stride!r}")
    return int(stride)


def check_string(what: str, text: Any) -> None:
    """Raise TypeError unless ``text`` is a string."""
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a string; got {type(text).__name__}")


def pydoc_topics() -> str:
    """The help texts of Python's language reference, in every CPython: what ``minirnn train`` learns unasked."""
    from pydoc_data.topics import topics  # half a megabyte; only this function wants it

    return "\n\n".join(topics[key] for key in sorted(topics))


def _read(path: Path) -> str:
    try:
        text = path.read_bytes().decode().removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")  # a byte order mark
    except UnicodeDecodeError as error:
        raise TextError(
            f"{path} must be UTF-8 text; byte {error.start} ({error.object[error.start]:#04x}) is not"
        ) from None
    except OSError as error:
        raise TextError(f"{path} cannot be read: {error.strerror}") from None
    if not text:
        raise TextError(f"{path} must hold text; it is empty")
    return text.replace("\r\n", "\n").replace("\r", "\n")

"""What is measured: the cases, their names and how much arithmetic each one is."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

KINDS = ("training", "inference", "stream", "chapter", "long")
CELLS = ("rnn", "gru", "lstm")
GATES = {"rnn": 1, "gru": 3, "lstm": 4}


@dataclass(frozen=True)
class Case:
    """One thing to time, the same for every contestant.

    training    forward and backward: from x (T, B, D) and dy to dx and the gradients of all weights
    inference   forward alone
    stream      one step of one row (T = B = 1), the state carried on from call to call, as in generating text
    chapter     a training step of a language model on tokens (T, B): recurrent layer, Linear(H, vocab), cross-entropy,
                clipping, SGD.  ``embedding`` is the width of an Embedding in front, 0 for one-hot input, D what the
                recurrent layer reads: the embedding's width or ``vocab``
    long        training on many steps, by minirnn alone: with all that backward needs kept, and with a state kept
                every 4 √T steps and the rest computed again
    """

    kind: str
    cell: str
    T: int
    B: int
    D: int
    H: int
    layers: int = 1
    bidirectional: bool = False
    vocab: int | None = None
    embedding: int = 0

    @property
    def label(self) -> str:
        """The case among others of its kind."""
        if self.kind == "stream":
            return f"{self.cell} D{self.D} H{self.H}"
        if self.vocab is not None:
            form = f"E{self.embedding}" if self.embedding else "one-hot"
            return f"{self.cell} T{self.T} B{self.B} V{self.vocab} {form} H{self.H}"
        depth = f" L{self.layers}" if self.layers > 1 else ""
        return f"{self.cell} T{self.T} B{self.B} D{self.D} H{self.H}{depth}{' bi' if self.bidirectional else ''}"

    @property
    def name(self) -> str:
        """The case among all."""
        return f"{self.kind} {self.label}"

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def narrow(self) -> bool:
        """Whether contestants that multiply in fewer bits take part, where they have such a pass."""
        sizes = (self.T, self.B, self.D, self.H)
        return self.kind == "stream" or (self.kind, sizes) in NARROW

    @property
    def one_hot(self) -> bool:
        return self.vocab is not None and not self.embedding

    @property
    def tokens(self) -> int:
        """Steps times rows: what one call works through."""
        return self.T * self.B

    @property
    def flops(self) -> int:
        """Floating-point operations of one call's matrix products; everything else is small beside them.

        A product with a one-hot vector is a look-up and counts nothing.  Backward has two products (the gradient of
        the input and that of the weights) for each one of forward.
        """
        width, steps = 0 if self.one_hot else self.D, self.tokens
        total = 0
        for _ in range(self.layers):
            total += self.directions * 2 * steps * (width + self.H) * GATES[self.cell] * self.H
            width = self.H * self.directions
        if self.vocab is not None:
            total += 2 * steps * width * self.vocab
        return total * (3 if self.kind in ("training", "chapter", "long") else 1)


def chapter(cell: str, vocab: int, embedding: int = 0, T: int = 35, B: int = 32, H: int = 256) -> Case:
    """The job of the chapter on recurrent networks in *Dive into Deep Learning*, in its sizes."""
    return Case("chapter", cell, T, B, embedding or vocab, H, vocab=vocab, embedding=embedding)


TRAINING = [
    (100, 1, 64, 64),
    (35, 32, 32, 32),
    (35, 32, 256, 256),
    (200, 128, 128, 128),
    (35, 32, 1024, 1024),
    (35, 7, 28, 100),  # no size a multiple of a vector
    (50, 32, 28, 100),
    (64, 16, 100, 100),
]
INFERENCE = [
    (1, 1, 64, 64),
    (1, 1, 256, 256),
    (100, 1, 64, 64),
    (100, 1, 256, 256),
    (35, 32, 32, 32),
    (35, 32, 256, 256),
    (200, 128, 128, 128),
    (35, 32, 1024, 1024),
    (35, 7, 28, 100),
]

ONEDNN = [(50, 64, 500, 500), (50, 32, 1760, 1760), (952, 128, 128, 128)]  # which oneDNN measures its own layers by
TINY = (5, 3, 4, 6)

NARROW = {
    *(("training", sizes) for sizes in [*TRAINING, TINY]),
    *(
        ("inference", sizes)
        for sizes in [(100, 1, 256, 256), (35, 32, 256, 256), (200, 128, 128, 128), (35, 32, 1024, 1024), TINY]
    ),
}

GRID = [
    *(Case("training", cell, *sizes) for cell, sizes in product(CELLS, TRAINING + ONEDNN)),
    *(Case("training", cell, 35, 32, 256, 256, 2, bidirectional=True) for cell in CELLS),
    *(Case("inference", cell, *sizes) for cell, sizes in product(CELLS, INFERENCE + ONEDNN)),
    *(Case("stream", cell, 1, 1, H, H) for cell, H in product(CELLS, (64, 256))),
    *(chapter(cell, vocab, embedding) for cell, vocab, embedding in product(("gru", "lstm"), (28, 1027), (0, 256))),
    *(Case("long", cell, 4096, B, 256, 256) for cell, B in product(CELLS, (1, 8))),
]

QUICK = [
    Case("training", "gru", 100, 1, 64, 64),
    Case("training", "rnn", 35, 32, 32, 32),
    Case("training", "gru", 35, 7, 28, 100),
    Case("training", "gru", 35, 32, 256, 256),
    Case("training", "lstm", 35, 32, 256, 256),
    Case("training", "lstm", 35, 32, 256, 256, 2, bidirectional=True),
    Case("inference", "lstm", 1, 1, 64, 64),
    Case("inference", "gru", 100, 1, 64, 64),
    Case("inference", "rnn", 35, 32, 32, 32),
    Case("inference", "lstm", 35, 32, 256, 256),
    Case("stream", "lstm", 1, 1, 256, 256),
    chapter("gru", 28),
    chapter("lstm", 1027),
]

TOY = [
    *(Case("training", cell, *TINY) for cell in CELLS),
    *(Case("training", cell, 4, 2, 3, 5, 2, bidirectional=True) for cell in CELLS),
    *(Case("inference", cell, *TINY) for cell in CELLS),
    *(Case("stream", cell, 1, 1, 6, 6) for cell in CELLS),
    *(Case("long", cell, 20, 2, 4, 6) for cell in CELLS),
    *(
        chapter(cell, 7, embedding, T=4, B=3, H=6)
        for cell, embedding in [("rnn", 0), ("gru", 0), ("lstm", 0), ("gru", 5), ("lstm", 5)]
    ),
]


def select(cases: Iterable[Case], kinds: Iterable[str] = (), cells: Iterable[str] = (), match: str = "") -> list[Case]:
    """Those of ``cases`` that are of one of ``kinds`` and ``cells`` (empty: any) and have ``match`` in their name."""
    kinds, cells = tuple(kinds) or KINDS, tuple(cells) or CELLS
    return [c for c in cases if c.kind in kinds and c.cell in cells and match.lower() in c.name.lower()]

"""The character language model and its jobs: predict the next character, or restore missing ones.

next    a network that reads forward says what comes after each character: perplexity, generation from a prefix.
fill    a network that reads in both directions restores masked characters.  (One that predicts the next character
        must not read backward: it would have seen the answer.)
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Self

import numpy as np

from minirnn.core.backend import Array, maker
from minirnn.core.layer import Layer, check_size
from minirnn.core.parameters import Scheme
from minirnn.core.run import State
from minirnn.language.evaluation import MASK_RATE, Evaluation, evaluate
from minirnn.language.sampling import check_sampling, distribution, log_softmax, take_rows
from minirnn.language.text import Text, Vocabulary, check_string
from minirnn.layers.compose import Sequential
from minirnn.layers.feedforward import Dropout, Embedding, Linear
from minirnn.layers.losses import cross_entropy
from minirnn.more_cells import BY_SHORT_NAME
from minirnn.recurrent.networks import GRU, LSTM, RNN, Recurrent

CELLS: dict[str, Callable[..., Recurrent]] = {
    "rnn": RNN,
    "gru": GRU,
    "lstm": LSTM,
    **{name: partial(Recurrent, cell) for name, cell in BY_SHORT_NAME.items()},
}
TASKS = ("next", "fill")
ALL = slice(None)


class LanguageModel:
    """A vocabulary, a network from indices to logits over it, and what the network was made for.

    ``network`` maps integers (T, B) to (T, B, len(vocab)).  For ``task="fill"`` its inputs have one symbol more than
    the vocabulary, the mask, with index len(vocab).
    """

    def __init__(self, network: Layer, vocab: Vocabulary, task: str = "next") -> None:
        if task not in TASKS:
            raise ValueError(f"task must be one of {', '.join(TASKS)}; got {task!r}")
        check_vocab(vocab)
        if len(vocab) < 2:
            raise ValueError("a language model needs at least one symbol beside the unknown one; got none")
        inputs = len(vocab) + (task == "fill")
        if not network.integers or (network.input_size, network.output_size) != (inputs, len(vocab)):
            raise ValueError(
                f"a network for task {task} takes {inputs} symbols and gives {len(vocab)} logits; "
                f"got {network.input_size} and {network.output_size}"
            )
        if not network.keeps_time:
            raise ValueError("a language model says something at every step; this network ends in one answer a row")
        if network.changes_steps:
            raise ValueError("a language model says something at every step; this network changes the number of steps")
        if task == "next" and network.reads_ahead:
            raise ValueError("task next takes a network that reads forward; this one has seen the answer: task='fill'")
        if network.parameters is not None and network.batch_first:
            raise ValueError("a language model feeds its network time first; this one has batch_first=True")
        self.network, self.vocab, self.task = network, vocab, task

    @classmethod
    def build(
        cls,
        vocab: Vocabulary,
        *,
        task: str = "next",
        cell: str = "gru",
        hidden_size: int = 256,
        num_layers: int = 1,
        embedding_size: int = 0,
        dropout: float = 0.0,
        locked: bool = False,
        weight_dropout: float = 0.0,
        zoneout: float | Sequence[float] = 0.0,
        tied: bool = False,
    ) -> Self:
        """The usual network: an embedding if ``embedding_size`` is above 0 (else one-hot input), recurrence, Linear.

        ``dropout`` acts between recurrent layers and before the Linear, ``locked`` with one mask for all steps,
        ``weight_dropout`` on the recurrent weights, ``zoneout`` on the states.
        ``tied`` shares the embedding's weights with the Linear, which takes embedding_size = hidden_size.
        Call ``init`` next.
        """
        if cell not in CELLS:
            raise ValueError(f"cell must be one of {', '.join(CELLS)}; got {cell!r}")
        if tied and (task != "next" or embedding_size != hidden_size):
            raise ValueError(
                f"tied weights take task next and embedding_size = hidden_size; got task {task}, "
                f"embedding_size {embedding_size}, hidden_size {hidden_size}"
            )
        check_vocab(vocab)
        inputs = len(vocab) + (task == "fill")
        embedding = Embedding(inputs, embedding_size) if embedding_size else None
        recurrent = CELLS[cell](
            embedding_size or inputs,
            hidden_size,
            num_layers,
            bidirectional=task == "fill",
            dropout=dropout,
            locked=locked,
            weight_dropout=weight_dropout,
            zoneout=zoneout,
        )
        layers: list[Layer] = [embedding] if embedding else []
        layers += [recurrent, Dropout(dropout, locked=locked)] if dropout else [recurrent]
        layers.append(Linear(recurrent.output_size or 0, len(vocab), tie=embedding if tied else None))
        return cls(Sequential(*layers), vocab, task)

    def init(
        self,
        seed: int = 0,
        *,
        scheme: Scheme = "uniform",
        backend: str | None = None,
        dtype: Any = None,
        compute: str | None = None,
        overwrite: bool = False,
    ) -> Self:
        """Draw the weights; see ``Layer.init``."""
        self.network.init(seed, scheme=scheme, backend=backend, dtype=dtype, compute=compute, overwrite=overwrite)
        return self

    def quantize(self, kind: str) -> Self:
        """A copy for inference whose matrices take fewer bytes; see ``Layer.quantize``."""
        return type(self)(self.network.quantize(kind), self.vocab, self.task)

    def __repr__(self) -> str:
        return f"{self._named()}\n{self.network!r}"

    def _repr_html_(self) -> str:
        """The first line of ``repr`` and the network's table of layers, for a notebook."""
        return f"<div>{self._named()}</div>{self.network._repr_html_()}"

    def _named(self) -> str:
        return f"LanguageModel of {len(self.vocab) - 1} symbols, task {self.task}"

    # ------------------------------------------------------------------ learning

    def forward(
        self,
        x: Array,
        y: Array,
        state: State = None,
        *,
        rng: "np.random.Generator | None" = None,
        stride: int | None = None,
        rows: slice = ALL,
    ) -> tuple[Any, Any, Callable[[], object]]:
        """One training pass over a batch (T, B): the mean loss in nats, the final state, a function that runs backward.

        For task fill, characters of ``x`` are masked at random by ``rng``, which it takes, and the loss counts those.

        With a ``stride`` below T batches overlap: the state returned is that after ``stride`` steps, and where a state
        is given, of what it has read the loss counts no more than the last ``stride`` steps: those before were in the
        batch before.  So every ``stride`` steps errors go back through T (Williams and Peng 1990, BPTT(h; h')).

        Of the batch only ``rows`` are computed, for which the state is; their losses and gradients are parts of the
        batch's, which other ranks' add up to.
        """
        mask = None
        if self.task == "fill":
            if rng is None:
                raise ValueError("task fill takes rng, a numpy.random.Generator that chooses what to mask; got None")
            x, y, mask = self._mask(x, rng)
            state = None  # a reverse direction has no state to carry on from
        elif stride and stride < len(x) and state is not None:
            mask = np.broadcast_to(np.arange(len(x))[:, None] >= len(x) - stride, x.shape)
        total, first = x.size if mask is None else int(mask.sum()), rows.indices(x.shape[1])[0]
        x, y, mask = x[:, rows], y[:, rows], None if mask is None else mask[:, rows]
        if self.task == "fill" or not stride or stride == len(x):
            logits, state, backward = self.network.forward(x, state, first_row=first)
            loss, dlogits = cross_entropy(logits, y, mask, total=total)
            return loss, state, lambda: backward(dlogits)
        before, state, back_first = self.network.forward(x[:stride], state, first_row=first)
        after, _, back_second = self.network.forward(x[stride:], state, first_row=first)
        xp = self.network.bound.backend.xp
        loss, dlogits = cross_entropy(xp.concatenate([before, after]), y, mask, total=total)

        def backward_of_both() -> None:
            _, dstate = back_second(dlogits[stride:])
            back_first(dlogits[:stride], dstate)

        return loss, state, backward_of_both

    def _mask(self, x: Array, rng: "np.random.Generator") -> tuple[Array, Array, Array]:
        mask = rng.random(x.shape) < MASK_RATE
        if not mask.any():
            mask[rng.integers(len(x)), rng.integers(x.shape[1])] = True
        return np.where(mask, len(self.vocab), x.astype(np.int64)), x, mask

    def perplexity(self, text: Text, *, batch_size: int = 32) -> float:
        """exp of the mean loss a character of the whole text: see ``minirnn.language.evaluation.evaluate``."""
        return self.evaluate(text, batch_size=batch_size).perplexity

    def evaluate(
        self,
        text: Text,
        *,
        most: int | None = None,
        batch_size: int = 32,
        progress: Callable[[float], object] = lambda _: None,
    ) -> Evaluation:
        """The perplexity of a text, or an estimate of it from a fixed sample of about ``most`` characters.

        See ``minirnn.language.evaluation.evaluate``.
        """
        return evaluate(self, text, most=most, batch_size=batch_size, progress=progress)

    # ------------------------------------------------------------------ writing

    def generate(
        self,
        prefix: str,
        length: int = 200,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
    ) -> Iterator[str]:
        """Go on from ``prefix``: an iterator over ``length`` characters, each computed when asked for.

        ``temperature=0`` is greedy; see ``minirnn.language.sampling.distribution``.  The unknown symbol is never
        chosen.
        """
        check_sampling(temperature, top_k, top_p)
        rng = np.random.default_rng(seed)

        def characters(logits: Array, state: State) -> Iterator[str]:
            for left in reversed(range(length)):
                p = distribution(logits, temperature=temperature, top_k=top_k, top_p=top_p)
                symbol = int(rng.choice(len(p), p=p))
                yield self.vocab.symbols[symbol]
                if left:
                    y, state = self.network(np.array([[symbol]]), state)
                    logits = self._known(y[-1])[0]

        return characters(*self._read_prefix(prefix, length))

    def beam(self, prefix: str, length: int = 200, *, width: int = 4) -> list[tuple[str, float]]:
        """Beam search: up to ``width`` continuations of ``length`` characters with their log p, best first."""
        check_size("width", width)
        logits, state = self._read_prefix(prefix, length)
        log_p, scores, texts = log_softmax(logits)[None], np.zeros(1), np.zeros((1, 0), int)
        for left in reversed(range(length)):
            totals = scores[:, None] + log_p  # (beams, V)
            reachable = int(np.isfinite(totals).sum())
            best = np.argsort(-totals, axis=None, kind="stable")[: min(width, reachable)]
            rows, symbols = np.divmod(best, log_p.shape[1])
            scores = totals.ravel()[best]
            texts = np.concatenate([texts[rows], symbols[:, None]], axis=1)
            if left:
                y, state = self.network(symbols[None], take_rows(state, rows))
                log_p = log_softmax(self._known(y[-1]))
        return [(self.vocab.decode(text), float(score)) for text, score in zip(texts, scores, strict=True)]

    def _read_prefix(self, prefix: str, length: int) -> tuple[Array, State]:
        """Logits (V,) of the character after ``prefix``, and the state there."""
        if self.task != "next":
            raise ValueError(f"generation takes a model of task next; this one has task {self.task}: use fill")
        check_string("a prefix", prefix)
        if not prefix:
            raise ValueError("a prefix needs at least one character; got none")
        check_size("length", length)
        y, state = self.network(self.vocab.encode(prefix)[:, None])
        return self._known(y[-1])[0], state

    def _known(self, logits: Array) -> Array:
        """Logits (B, V) with the unknown symbol ruled out."""
        logits = np.array(maker(logits).host(logits))
        if not np.isfinite(logits).all():
            raise ArithmeticError("the model's logits are not finite: its weights have diverged")
        logits[:, 0] = -np.inf
        return logits

    def fill(self, text: str, *, blank: str = "_") -> str:
        """``text`` with every ``blank`` replaced by what fits best; the surest first, to help with the others."""
        if self.task != "fill":
            raise ValueError(f"filling takes a model of task fill; this one has task {self.task}: use generate")
        check_string("a text to fill", text)
        if len(blank) != 1:
            raise ValueError(f"blank must be one character; got {blank!r}")
        if not text:
            raise ValueError("a text to fill needs at least one character; got none")
        x = self.vocab.encode(text)
        holes = np.array([c == blank for c in text])
        x[holes] = len(self.vocab)
        while holes.any():
            y, _ = self.network(x[:, None])
            log_p = log_softmax(self._known(y[:, 0]))
            best = log_p.max(axis=1)
            place = int(np.argmax(np.where(holes, best, -np.inf)))
            x[place], holes[place] = int(np.argmax(log_p[place])), False
        restored = self.vocab.decode(x)
        return "".join(c if c != blank else r for c, r in zip(text, restored, strict=True))


def check_vocab(vocab: object) -> None:
    """Raise TypeError unless ``vocab`` is a Vocabulary: a Text has a length too."""
    if not isinstance(vocab, Vocabulary):
        raise TypeError(f"vocab must be a Vocabulary (text.vocab); got {type(vocab).__name__}")

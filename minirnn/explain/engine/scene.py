"""A scene: a text, a network that reads it, and the one step of training that is looked into."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from numbers import Integral, Real
from typing import Any, Self

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.layer import Layer
from minirnn.explain.engine.trace import Trace, Walk, trace
from minirnn.language.model import LanguageModel
from minirnn.language.sampling import log_softmax
from minirnn.language.text import TextError, Vocabulary, check_string
from minirnn.layers.compose import Sequential
from minirnn.layers.feedforward import Linear
from minirnn.layers.losses import cross_entropy
from minirnn.optim.clipping import clip_grad_norm, grad_norm
from minirnn.recurrent.direction import Direction
from minirnn.recurrent.networks import GRU, LSTM, RNN, Recurrent

CELLS: dict[str, Callable[[int, int], Recurrent]] = {
    "rnn": RNN,
    "relu": lambda D, H: RNN(D, H, nonlinearity="relu"),
    "gru": GRU,
    "gru before": lambda D, H: GRU(D, H, reset="before"),
    "lstm": LSTM,
}
LARGEST_SCALE = 100.0


@dataclass(frozen=True)
class Scene:
    """The subject: a network learns to say the next character at each of ``num_steps`` steps of ``text``.

    The network is a fresh one of the text's own characters, one-hot input, a recurrent layer of ``cell`` and
    ``hidden_size``, a Linear, drawn from ``seed``; or that of ``lm``, a language model, whose cell and size are then
    its own (``Scene.of_model``).  ``scale`` multiplies the recurrent weights U of every layer; ``clip`` is the
    gradients' largest global norm, None for no clipping; ``num_steps`` None takes the whole text.  ``layer`` names the
    recurrent layer that is looked at, as ``trace`` does; "" is the last.

    ValueError, one sentence, for what cannot be shown.
    """

    text: str
    cell: str = "gru"
    hidden_size: int = 8
    seed: int = 0
    scale: float = 1.0
    clip: float | None = 1.0
    num_steps: int | None = None
    lm: LanguageModel | None = None
    layer: str = ""

    @classmethod
    def of_model(cls, lm: LanguageModel, text: str, **words: Any) -> Self:
        """The scene of a trained model that reads ``text``; ``words`` are those of a scene that are not the model's.

        TypeError for what is no language model, ValueError for one that does not predict the next character.
        """
        if not isinstance(lm, LanguageModel):
            raise TypeError(f"a scene takes a LanguageModel; got {type(lm).__name__}")
        if lm.task != "next":
            raise ValueError(f"a scene takes a model of task next; this one has task {lm.task}")
        if lm.network.bound.quantized:
            raise ValueError(f"a model quantised to {lm.network.bound.quantized} has no gradients: take the original")
        inner = [layer for layer in lm.network.walk() if isinstance(layer, Recurrent)]
        if not inner:
            raise ValueError("a scene takes a network with a recurrent layer; this one has none")
        return cls(text, cell=_word_for(inner[-1]), hidden_size=inner[-1].hidden_size, lm=lm, **words)

    def __post_init__(self) -> None:
        check_string("a scene's text", self.text)
        try:
            self.text.encode()
        except UnicodeEncodeError:
            raise TextError("a scene's text must be characters that UTF-8 can write; half of a pair is not") from None
        if len(self.text) < 2:
            raise TextError(
                f"a scene's text needs at least 2 characters, one to read and one to say; got {len(self.text)}"
            )
        if self.lm is None and self.cell not in CELLS:
            raise ValueError(f"cell must be one of {', '.join(CELLS)}; got {self.cell!r:.60}")
        for name, value, least in (("hidden_size", self.hidden_size, 1), ("seed", self.seed, 0)):
            if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}; got {value!r:.60}")
        if not _is_number(self.scale) or abs(self.scale) > LARGEST_SCALE:
            limit = f"{LARGEST_SCALE:g}"
            raise ValueError(f"scale must be a number from -{limit} to {limit}; got {self.scale!r:.60}")
        if self.clip is not None and (not _is_number(self.clip) or self.clip <= 0):
            raise ValueError(f"clip must be a number above 0, or None; got {self.clip!r:.60}")
        if self.num_steps is not None:
            T, most = self.num_steps, len(self.text) - 1
            if isinstance(T, bool) or not isinstance(T, Integral) or not 1 <= T <= most:
                raise ValueError(
                    f"num_steps must be an integer from 1 to {most}, for a text of {most + 1} characters; got {T!r:.60}"
                )

    @property
    def T(self) -> int:
        """Steps."""
        return len(self.text) - 1 if self.num_steps is None else self.num_steps

    @cached_property
    def vocab(self) -> Vocabulary:
        """Of the model, or of the whole text."""
        return Vocabulary.of(self.text) if self.lm is None else self.lm.vocab

    def model(self) -> Layer:
        """The network in float64, U scaled: a new copy each time."""
        network: Layer
        if self.lm is None:
            V = len(self.vocab)
            network = Sequential(CELLS[self.cell](V, self.hidden_size), Linear(self.hidden_size, V))
            network.init(self.seed, backend="numpy", dtype="float64")
        else:
            network = self.lm.network.to(backend="numpy", dtype="float64")
        for layer in network.walk():
            if isinstance(layer, Direction) and "U" in layer.specs():
                U = layer.weight("U")
                U *= self.scale
        return network

    def trace(self) -> "Take":
        """Run it: forward, the loss, backward, the clip.

        ArithmeticError where numbers grow beyond float64.
        """
        indices = self.vocab.encode(self.text[: self.T + 1])[:, None]
        x, targets = indices[:-1], indices[1:]
        with np.errstate(over="ignore", invalid="ignore"):  # looked for below
            model = self.model()
            logits, _, backward = model.forward(x)
            loss, dlogits = cross_entropy(logits, targets)
            traced = trace(self.model(), x, dlogits)
            backward(dlogits)
        if not all(np.isfinite(a).all() for a in (loss, logits, *traced.grads.values())):
            raise ArithmeticError(
                f"the network's numbers grow beyond what float64 holds in {self.T} steps at scale {self.scale:g}; "
                f"take fewer steps or a smaller scale"
            )
        if self.layer and self.layer not in traced.walks:
            raise ValueError(f"layer must be one of {', '.join(traced)}; got {self.layer!r:.60}")
        norm = grad_norm(model)
        if self.clip is not None:
            clip_grad_norm(model, self.clip)
        return Take(
            self, traced, x[:, 0], targets[:, 0], logits[:, 0], float(loss), dlogits[:, 0], norm, grad_norm(model),
            dict(model.named_grads()),
        )  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class Take:
    """One run of a scene.

    ``x`` and ``targets`` (T,) are indices of characters, ``logits`` and ``dlogits`` (T, V); ``loss`` is the mean of
    ``losses`` in nats; ``norm`` that of all gradients as one vector, ``clipped_norm`` and ``clipped``, the gradients by
    name, what it and they are after the clip.  ``trace.grads`` has them before it.
    """

    scene: Scene
    trace: Trace
    x: Array
    targets: Array
    logits: Array
    loss: float
    dlogits: Array
    norm: float
    clipped_norm: float
    clipped: dict[str, Array]

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.walk.words}, loss {self.loss:.4f}, gradient norm {self.norm:.4g}>"

    def _repr_html_(self) -> str:
        """The layer that the scene looks at, unrolled, for a notebook."""
        return self.walk._repr_html_()

    @property
    def walk(self) -> Walk:
        """Through the layer that the scene looks at."""
        return self.trace[self.scene.layer or list(self.trace)[-1]]

    @property
    def probabilities(self) -> Array:
        """softmax(logits), (T, V)."""
        return np.asarray(np.exp(log_softmax(self.logits)))

    @property
    def losses(self) -> Array:
        """-log of the probability of each step's target, (T,)."""
        return -np.take_along_axis(log_softmax(self.logits), self.targets[:, None], axis=1)[:, 0]

    @property
    def read(self) -> str:
        """The characters that are read."""
        return self.scene.vocab.decode(self.x)

    @property
    def wanted(self) -> str:
        """The characters that should be said."""
        return self.scene.vocab.decode(self.targets)

    @property
    def said(self) -> str:
        """The likeliest character at each step."""
        return self.scene.vocab.decode(self.logits.argmax(axis=1))


def _word_for(layer: Recurrent) -> str:
    """The name of a layer's cell in ``CELLS``, or its own."""
    for word, make in CELLS.items():
        if make(1, 1).cell is layer.cell:
            return word
    return getattr(layer.cell, "__name__", type(layer.cell).__name__)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and isfinite(float(value))

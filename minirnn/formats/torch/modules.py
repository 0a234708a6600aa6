"""torch's modules, known by the names and shapes of their tensors, and the layers that they are.

``identified`` looks at the tensors under one path (``weight_ih_l0``, ``weight_hh_l0`` ...) and says which module they
are: a ``RecurrentModule``, a ``MatrixModule`` (Embedding or Linear) or ``Unknown``.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minirnn import layers
from minirnn.core.backend import Array
from minirnn.core.layer import Layer
from minirnn.core.module import brief
from minirnn.formats.torch.outline import Settings
from minirnn.formats.torch.stored import Named
from minirnn.layers.activations import NAMES
from minirnn.layers.feedforward import Activation, Embedding, Last, Linear
from minirnn.recurrent.networks import GRU, LSTM, RNN

Fetch = Callable[[str], Array]  # reads a tensor by the last part of its name
Weights = dict[str, Callable[[], Array]]  # reads them when asked, by the names that a layer has for them

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
_LEAF = re.compile(r"(?:weight|bias)_(?:ih|hh|hr)(?:_l(0|[1-9][0-9]{0,3})(?:_reverse)?)?")


class Built(NamedTuple):
    """A layer that has no weights yet, those that it will have, and which of them training leaves alone."""

    layer: Layer
    weights: Weights
    frozen: tuple[str, ...] = ()


@dataclass(frozen=True)
class Module:
    """A module of torch: the tensors under its ``path`` by the last part of their names."""

    path: str
    tensors: dict[str, Named]
    kinds: tuple[str, ...]  # of layers that it may be

    @property
    def sized(self) -> bool:
        """Whether it takes and gives a number of features of its own, and not any."""
        return True

    def widths(self, kind: str) -> tuple[int, int]:
        """Features that it takes and gives, as that kind of layer; an Embedding takes indices below the first."""
        raise NotImplementedError

    def build(self, kind: str, fetch: Fetch, own: Settings) -> Built:
        """The layer, as that kind; ``own`` has hyperparameters that its weights do not show."""
        raise NotImplementedError

    def describe(self) -> str:
        """A few words for an error that lists the modules."""
        return f"{self.path!r:.60} {' or '.join('{} {} -> {}'.format(kind, *self.widths(kind)) for kind in self.kinds)}"


Link = tuple[Module, str]  # a module, and the kind of layer that it is in its place


class Unknown(Module):
    """A module like no layer here."""

    def describe(self) -> str:
        shown = [f"{name[:40]!r} {tensor.shape}" for name, tensor in list(self.tensors.items())[:3]]
        return f"{self.path!r:.60} unknown, with {', '.join(shown)}{', ...' if len(self.tensors) > 3 else ''}"


def is_field(module: Module) -> bool:
    """Whether these are the scores of a conditional random field, as pytorch-crf and torch's own tutorial name them."""
    shape = module.tensors["transitions"].shape if "transitions" in module.tensors else ()
    ends = {name: tensor.shape for name, tensor in module.tensors.items() if name != "transitions"}
    alone = len(shape) == 2 and shape[0] == shape[1]
    return alone and ends in ({}, {"start_transitions": shape[:1], "end_transitions": shape[:1]})


@dataclass(frozen=True)
class Plain(Module):
    """A layer without weights between modules, in a place that the caller named."""

    layer: Layer

    @property
    def sized(self) -> bool:
        return self.layer.output_size is not None

    def widths(self, kind: str) -> tuple[int, int]:
        return self.layer.input_size or 0, self.layer.output_size or 0

    def build(self, kind: str, fetch: Fetch, own: Settings) -> Built:
        return Built(self.layer, {})

    def describe(self) -> str:
        return self.path


class MatrixModule(Module):
    """nn.Linear, or nn.Embedding: of a matrix alone only its place can tell."""

    def widths(self, kind: str) -> tuple[int, int]:
        rows, columns = self.tensors["weight"].shape
        return (rows, columns) if kind == "Embedding" else (columns, rows)

    def build(self, kind: str, fetch: Fetch, own: Settings) -> Built:
        if kind == "Embedding":
            return Built(Embedding(*self.widths(kind)), {"W": lambda: fetch("weight")})
        weights: Weights = {"W": lambda: fetch("weight").T}
        if "bias" in self.tensors:
            weights["b"] = lambda: fetch("bias")
        return Built(Linear(*self.widths(kind), bias="bias" in self.tensors), weights)


@dataclass(frozen=True)
class RecurrentModule(Module):
    """nn.RNN, nn.GRU or nn.LSTM, or one of their cells, whose names end without a number.

    ``output_size`` is hidden_size, or proj_size where there is a projection.
    """

    input_size: int
    hidden_size: int
    output_size: int
    depth: int
    directions: tuple[str, ...]
    bias: bool
    cell: bool

    def widths(self, kind: str) -> tuple[int, int]:
        return self.input_size, self.output_size * len(self.directions)

    @property
    def proj_size(self) -> int:
        """As torch has it, 0 where there is no projection."""
        return self.output_size if self.output_size != self.hidden_size else 0

    def check(self, own: Settings) -> None:
        """Raise ValueError where hyperparameters that the file has are not those of the weights."""
        actual = Settings(
            kind=self.kinds[0],
            num_layers=self.depth,
            bidirectional=len(self.directions) > 1,
            proj_size=self.proj_size,
            hidden_size=self.hidden_size,
        )
        for word, wanted, value in zip(Settings._fields, own, actual, strict=True):
            if None not in (wanted, value) and word not in ("dropout", "batch_first") and wanted != value:
                raise ValueError(f"{self.path!r:.60} has {word}={wanted!r:.40}, and weights of {word}={value!r}")

    def ends(self) -> list[tuple[int, str, str]]:
        """Each layer and direction, and how the names of its tensors end."""
        return [
            (layer, direction, "" if self.cell else f"_l{layer}{direction}")
            for layer in range(self.depth)
            for direction in self.directions
        ]

    def expected(self) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor that such a module has."""
        H, P, rows = self.hidden_size, self.output_size, GATES[self.kinds[0]] * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {}
        for layer, _, end in self.ends():
            D = self.input_size if layer == 0 else P * len(self.directions)
            shapes |= {f"weight_ih{end}": (rows, D), f"weight_hh{end}": (rows, P)}
            if self.bias:
                shapes |= {f"bias_ih{end}": (rows,), f"bias_hh{end}": (rows,)}
            if P != H:
                shapes[f"weight_hr{end}"] = (P, H)
        return shapes

    def build(self, kind: str, fetch: Fetch, own: Settings) -> Built:
        sizes, bidirectional = (self.input_size, self.hidden_size, self.depth), len(self.directions) > 1
        if kind == "RNN":
            nonlinearity = own.nonlinearity or "tanh"
            layer: Layer = RNN(*sizes, nonlinearity=nonlinearity, bidirectional=bidirectional, dropout=own.dropout)
        elif kind == "GRU":
            layer = GRU(*sizes, bidirectional=bidirectional, dropout=own.dropout)
        else:
            layer = LSTM(*sizes, bidirectional=bidirectional, proj_size=self.proj_size, dropout=own.dropout)
        weights: Weights = {}
        for k, direction, end in self.ends():
            one = self._weights(kind, end, fetch)
            weights |= {f"{k}{'.reverse' if direction else ''}.{name}": get for name, get in one.items()}
        biases = tuple(name for name in weights if name.rpartition(".")[2] in ("b", "bn"))
        return Built(layer, weights, () if self.bias else biases)

    def _weights(self, kind: str, end: str, fetch: Fetch) -> Weights:
        """Those of one layer in one direction.

        torch adds two biases where one is enough, but for the GRU's candidate: the reset gate stands between them.
        """
        apart = 2 * self.hidden_size if kind == "GRU" else None  # from here on the two biases are two

        def bias(part: str) -> Array:
            if not self.bias:
                return np.zeros(GATES[kind] * self.hidden_size, np.float32)
            return fetch(f"bias_{part}{end}").astype(np.float64)  # a sum in fewer digits would lose some

        def joined() -> Array:
            total = bias("ih")
            total[:apart] += bias("hh")[:apart]
            return total

        weights: Weights = {
            "W": lambda: fetch(f"weight_ih{end}").T,
            "U": lambda: fetch(f"weight_hh{end}").T,
            "b": joined,
        }
        if kind == "GRU":
            weights["bn"] = lambda: bias("hh")[apart:]
        if self.output_size != self.hidden_size:
            weights["P"] = lambda: fetch(f"weight_hr{end}").T
        return weights


def is_plain(entry: str) -> bool:
    """Whether ``modules=`` may have this name for a layer without weights."""
    return entry in ("last", "final") or entry in NAMES


def plain(entry: str | Layer, before: Sequence[Module]) -> Plain:
    """The layer that ``entry`` means after these modules: itself anew, or that of an activation or a step by name."""
    if isinstance(entry, Layer):
        if entry.all_specs() or entry.children() or type(entry).__name__ not in vars(layers):
            raise ValueError(f"between modules may stand a layer of minirnn without weights; got {brief(entry)}")
        layer = type(entry)(**entry.config())  # the caller's stays free for another model
    elif entry == "final":
        weighted = [module for module in before if module.tensors]
        if not weighted or not isinstance(weighted[-1], RecurrentModule):
            raise ValueError("in modules, 'final' must follow a recurrent module, whose final states it takes")
        layer = Last(bidirectional=len(weighted[-1].directions) > 1)
    else:
        layer = Last() if entry == "last" else Activation(entry)
    return Plain(brief(layer), {}, (type(layer).__name__,), layer)


def is_weight(name: str) -> bool:
    """Whether a module known here may have a tensor of this name."""
    return name in ("weight", "bias") or _LEAF.fullmatch(name) is not None


def identified(path: str, tensors: dict[str, Named]) -> Module:
    """The module of these tensors; ValueError where a recurrent one misses a tensor or has one of no use."""
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    if all(0 not in shape for shape in shapes.values()):
        if shapes.keys() <= {"weight", "bias"} and len(shapes.get("weight", ())) == 2:
            if "bias" not in shapes:
                return MatrixModule(path, tensors, ("Embedding", "Linear"))
            if shapes["bias"] == shapes["weight"][:1]:
                return MatrixModule(path, tensors, ("Linear",))
        leaves = [_LEAF.fullmatch(name) for name in shapes]
        if all(leaves):
            return _recurrence(path, tensors, [leaf[1] for leaf in leaves if leaf])
    return Unknown(path, tensors, ())


def _recurrence(path: str, tensors: dict[str, Named], layers: list[str | None]) -> Module:
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    end = "" if None in layers else "_l0"
    ih, hh = (shapes.get(f"weight_{part}{end}", ()) for part in ("ih", "hh"))
    if len(ih) != 2 or len(hh) != 2:
        return Unknown(path, tensors, ())
    P = hh[1]
    H = shapes.get(f"weight_hr{end}", (0, P))[-1]
    kind = next((kind for kind, gates in GATES.items() if hh[0] == gates * H), None)
    depth = 1 + max((int(layer) for layer in layers if layer), default=0)
    if kind is None or P > H or (P < H and kind != "LSTM") or depth > len(shapes):
        return Unknown(path, tensors, ())
    module = RecurrentModule(
        path,
        tensors,
        (kind,),
        input_size=ih[1],
        hidden_size=H,
        output_size=P,
        depth=depth,
        directions=("", "_reverse") if f"weight_ih{end}_reverse" in shapes else ("",),
        bias=f"bias_ih{end}" in shapes,
        cell=not end,
    )
    expected = module.expected()
    for name in [*expected, *shapes]:
        if shapes.get(name) != expected.get(name):
            wanted = f"have shape {expected[name]}" if name in expected else "not be there"
            actual = f"it has {shapes[name]}" if name in shapes else "it is missing"
            raise ValueError(f"{name[:60]} of {path!r:.60}, an nn.{kind}, must {wanted}; {actual}")
    return module

"""Keras' layers as minirnn's: the arrays that each needs from the file, and the layers that it becomes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from minirnn.core.layer import Layer
from minirnn.formats.keras import around
from minirnn.formats.keras.attending import ATTENDING, attention_parts
from minirnn.formats.keras.functions import LAYERS as FUNCTIONS
from minirnn.formats.keras.functions import LINEAR, function, function_of_layer
from minirnn.formats.keras.graph import LayerNode, below, numbered
from minirnn.formats.keras.settings import Settings
from minirnn.formats.keras.stores import Need, Stored
from minirnn.formats.keras.weights import Placed, expect, placed_in, plain, recurrent
from minirnn.layers.activations import Function
from minirnn.layers.compose import Bidirectional, Sequential
from minirnn.layers.feedforward import Activation, Dropout, Embedding, Last, Linear, Masking, Reverse
from minirnn.layers.pooling import Flatten
from minirnn.recurrent.networks import GRU, LSTM, RNN, Recurrent
from minirnn.recurrent.variants import GRUVariant, LSTMVariant, RNNVariant

RECURRENT = ("SimpleRNN", "GRU", "LSTM", "CuDNNGRU", "CuDNNLSTM", "RNN")
CELLS = {"SimpleRNNCell": "SimpleRNN", "GRUCell": "GRU", "LSTMCell": "LSTM"}
NOTHING = ("GaussianNoise", "GaussianDropout", "AlphaDropout", "ActivityRegularization")
DROPPING = ("Dropout", "SpatialDropout1D")
STEPWISE = ("Dense", *DROPPING, *FUNCTIONS, *NOTHING, *around.BY_STEP)  # what TimeDistributed may apply to every step
OVER_TIME = tuple(kind for kind in around.AROUND if kind not in around.BY_STEP)
MERGES = {
    "Add": "sum",
    "Subtract": "difference",
    "Multiply": "product",
    "Average": "mean",
    "Maximum": "max",
    "Minimum": "min",
}
MOVES = ("RepeatVector", "Reshape", "Permute")
OF_GRAPHS = (*MERGES, "Concatenate", "Dot", *MOVES, *ATTENDING)  # which stand in a graph of layers alone
KNOWN = (
    *RECURRENT,
    "Bidirectional",
    "Embedding",
    "Masking",
    "TimeDistributed",
    *STEPWISE,
    *OVER_TIME,
    "Flatten",
    *OF_GRAPHS,
)
MOST_CELLS = 100  # one above the other
TANH, SIGMOID, RELU = Function("tanh"), Function("sigmoid"), Function("relu")


@dataclass(frozen=True)
class Version:
    """The Keras that wrote the model: 2 or 3, None where that is unknown, and its number, () where that is."""

    major: int | None
    number: tuple[int, ...] = ()
    of_tensorflow: bool = False  # Keras as part of TensorFlow 1, whose defaults were its own


@dataclass(frozen=True)
class StoredCell:
    """One cell of a recurrent layer: its kind, where its weights are below the layer, whether it is of cuDNN."""

    kind: str
    settings: Settings
    part: str
    cudnn: bool = False

    @property
    def count(self) -> int:
        """How many arrays it has."""
        return 3 if self.settings.flag("use_bias", default=True) else 2


def needs(node: LayerNode) -> list[Need]:
    """The arrays that a layer needs, in the order in which older files have them."""
    return [Need(node, part, count) for part, count in _parts(node.kind, node.settings)]


def _parts(kind: str, settings: Settings) -> Iterator[tuple[str, int]]:
    if kind == "Dense":
        yield "", 2 if settings.flag("use_bias", default=True) else 1
    elif kind == "Embedding":
        yield "", 1
    elif kind in around.AROUND:
        yield from (("", count) for count in [around.stored_arrays(kind, settings)] if count)
    elif kind in RECURRENT:
        for cell in cells(kind, settings):
            yield cell.part, cell.count
    elif kind in ATTENDING:
        yield from attention_parts(kind, settings)
    elif kind == "Bidirectional":
        for way, inner, own in directions(settings):
            for cell in cells(inner, own):
                yield below(way, cell.part), cell.count
    elif kind == "TimeDistributed":
        inner, own = settings.layer("layer")
        if inner not in STEPWISE:
            raise settings.fault(f"{inner:.60} at every step is not supported")
        for part, count in _parts(inner, own):
            yield below("layer", part), count
    elif kind not in KNOWN:
        raise settings.fault(f"is not supported; of layers, {', '.join(KNOWN)} are")


def cells(kind: str, settings: Settings) -> list[StoredCell]:
    """The cells that a recurrent layer runs, one above the other."""
    if kind != "RNN":
        cudnn = kind.startswith("CuDNN")  # which have their weights without a cell
        return [StoredCell(kind.removeprefix("CuDNN"), settings, "" if cudnn else "cell", cudnn)]
    name, own = settings.layer("cell")
    if name != "StackedRNNCells":
        return [_cell(name, own, settings, "cell")]
    listed = own.values.get("cells")
    if not isinstance(listed, list) or not 1 <= len(listed) <= MOST_CELLS:
        raise settings.fault(f"must have a list of 1 to {MOST_CELLS} cells; got {listed!r:.60}")
    inner = [Settings("cell", str(k), {"cell": one}).layer("cell") for k, one in enumerate(listed)]
    places = numbered([name for name, _ in inner])
    return [_cell(name, own, settings, f"cell/cells/{p}") for (name, own), p in zip(inner, places, strict=True)]


def _cell(name: str, own: Settings, layer: Settings, part: str) -> StoredCell:
    if name not in CELLS:
        raise layer.fault(f"cell {name:.60} is not supported; {', '.join(CELLS)} are")
    return StoredCell(CELLS[name], own, part)


def directions(settings: Settings) -> list[tuple[str, str, Settings]]:
    """The two layers of a Bidirectional: the place of each below it, its class and settings."""
    ahead = settings.layer("layer")
    back = settings.layer("backward_layer") if settings.has("backward_layer") else ahead
    for kind, _ in (ahead, back):
        if kind not in RECURRENT:
            raise settings.fault(f"both directions of {kind:.60} are not supported, only of {', '.join(RECURRENT)}")
    return [("forward_layer", *ahead), ("backward_layer", *back)]


class Flow(NamedTuple):
    """What is known of a value that a layer reads; ``reversed_mask`` is one that no longer stands with its steps."""

    steps: int | None
    width: int | None
    timed: bool
    masked: bool = False
    reversed_mask: bool = False


class Builder:
    """Makes minirnn's layers of one model after another; ``masked`` says whether steps may be skipped by now.

    ``steps`` and ``width`` are those of what the next layer reads, as far as they are known, and ``timed`` says whether
    it has steps.
    """

    def __init__(
        self,
        version: Version,
        find: Callable[[LayerNode, str], Sequence[Stored]],
        shape: tuple[int | None, ...] = (),
        *,
        timed: bool = True,
    ) -> None:
        self.version, self.find = version, find
        self.masked = self.mask_reversed = False  # a mask that no longer stands with its steps
        self.steps, self.width, self.timed = (shape[0] if shape else None), (shape[-1] if shape else None), timed

    @property
    def flow(self) -> Flow:
        """What is known of the value that the next layer reads."""
        return Flow(self.steps, self.width, self.timed, self.masked, self.mask_reversed)

    @flow.setter
    def flow(self, flow: Flow) -> None:
        self.steps, self.width, self.timed, self.masked, self.mask_reversed = flow

    def build(self, node: LayerNode) -> list[Placed]:
        """The layers that one of Keras' becomes; there may be none."""
        placed = self._one(node.kind, node, node.settings, "")
        for one in placed:
            if self.timed and self.steps is not None:
                self.steps = one.layer.check_steps(self.steps)
            self.width, self.timed = one.layer.output_size or self.width, self.timed and one.layer.keeps_time
        if not node.trainable:
            for one in placed:
                one.frozen = set(one.layer.all_specs())
        return placed

    def _one(self, kind: str, node: LayerNode, settings: Settings, prefix: str) -> list[Placed]:
        settings.refuse("quantization_config")
        if kind == "Dense":
            return self._dense(node, settings, prefix)
        if kind in FUNCTIONS:
            if kind == "Softmax" and self.masked:
                raise settings.fault("under a mask is not supported: Keras would take the mask for one of features")
            return _applied(function_of_layer(kind, settings, self.version.major))
        if kind in DROPPING:
            rate = settings.number("rate", 0.0)
            simple = 0 < rate < 1 and not settings.has("noise_shape")
            return [Placed(Dropout(rate, locked=kind != "Dropout"))] if simple else []
        if kind == "TimeDistributed":
            inner, own = settings.layer("layer")
            return self._one(inner, node, own, "layer")
        if kind == "Embedding":
            return self._embedding(node, settings)
        if kind == "Masking":
            self._mask(settings)
            return [Placed(Masking(settings.number("mask_value", 0.0)))]
        if self.masked and kind in around.MIXING:
            raise settings.fault("under a mask is not supported: Keras would read the steps that it covers")
        if kind in around.AROUND:
            self.masked &= kind not in around.OF_ALL
            rank = 3 if self.timed and not prefix else 2  # TimeDistributed takes steps one by one
            stored = self.find(node, prefix) if around.stored_arrays(kind, settings) else []
            activation = function(settings.values.get("activation"), settings, self.version.major)
            steps = self.steps if rank == 3 else None
            return [around.placed(kind, settings, stored, steps, self.width, rank), *_applied(activation)]
        if kind == "Flatten":
            return self._flatten(settings)
        if kind in RECURRENT:
            return self._recurrent(node)
        return self._bidirectional(node) if kind == "Bidirectional" else []

    # ------------------------------------------------------------------ layers without recurrence

    def _dense(self, node: LayerNode, settings: Settings, prefix: str) -> list[Placed]:
        stored, units = self.find(node, prefix), settings.size("units")
        inside = stored[0].shape[0] if len(stored[0].shape) == 2 and stored[0].shape[0] else 1
        expect(settings, stored[0], (inside, units))
        if len(stored) == 2:
            expect(settings, stored[1], (units,))
        linear = Linear(inside, units, bias=len(stored) == 2)
        sources = {name: plain(dataset) for name, dataset in zip(("W", "b"), stored, strict=False)}
        activation = function(settings.values.get("activation"), settings, self.version.major)
        return [Placed(linear, sources), *_applied(activation)]

    def _embedding(self, node: LayerNode, settings: Settings) -> list[Placed]:
        (stored,) = self.find(node, "")
        n, d = settings.size("input_dim"), settings.size("output_dim")
        expect(settings, stored, (n, d))
        zero = settings.flag("mask_zero")
        if zero:
            self._mask(settings)
        return [Placed(Embedding(n, d, mask=0 if zero else None), {"W": plain(stored)})]

    def _flatten(self, settings: Settings) -> list[Placed]:
        if not self.timed:
            return []
        if self.steps is None or self.width is None:
            raise settings.fault("needs the number of steps and features, as an InputLayer's batch_shape has them")
        return [Placed(Flatten(self.steps, self.width))]

    def _mask(self, settings: Settings) -> None:
        if self.masked:
            raise settings.fault("a second mask is not supported")
        self.masked = True

    # ------------------------------------------------------------------ recurrent layers

    def _recurrent(self, node: LayerNode) -> list[Placed]:
        settings, masked = node.settings, self.masked
        whole, backwards = self._sequences(settings), settings.flag("go_backwards")
        if masked and settings.flag("zero_output_for_mask"):
            raise settings.fault("zero_output_for_mask is not supported")
        self.mask_reversed = masked and backwards and whole
        placed = [self._scan(node, cell, cell.part) for cell in cells(node.kind, settings)]
        if backwards:
            placed.insert(0, Placed(Reverse()))
        return placed if whole else [*placed, Placed(Last())]

    def _bidirectional(self, node: LayerNode) -> list[Placed]:
        settings = node.settings
        both_ways = directions(settings)
        ahead, back = (own for _, _, own in both_ways)
        if ahead.flag("go_backwards") or (back is not ahead and not back.flag("go_backwards")):
            raise settings.fault("the first direction must read forwards and the second backwards")
        whole = self._sequences(ahead)
        if back.flag("return_sequences") is not whole:
            raise settings.fault("both directions must return sequences, or neither")
        merge = settings.values.get("merge_mode", "concat")
        if merge not in ("concat", "sum", "mul", "ave"):
            raise settings.fault(f"merge_mode={merge!r:.40} is not supported: two outputs are no chain")
        ways = [
            [self._scan(node, cell, below(way, cell.part)) for cell in cells(inner, own)]
            for way, inner, own in both_ways
        ]
        (first, *above), (second, *_) = ways
        alike = type(first.layer) is type(second.layer) and first.layer.config() == second.layer.config()
        if merge == "concat" and alike and not above and len(ways[1]) == 1:
            both = _two_ways(first, second)
            return [both] if whole else [both, Placed(Last(bidirectional=True))]
        one, other = (joined(way if whole else [*way, Placed(Last())]) for way in ways)
        return [placed_in(Bidirectional(one.layer, other.layer, merge), {"forward": one, "reverse": other})]

    def _sequences(self, settings: Settings) -> bool:
        """Whether a recurrent layer gives all steps, with the rest of what it says of time checked."""
        settings.refuse("time_major")
        if self.mask_reversed:
            raise settings.fault("after a layer that goes backwards under a mask, which Keras leaves as it was")
        whole = settings.flag("return_sequences")
        self.masked &= whole
        return whole

    def _scan(self, node: LayerNode, cell: StoredCell, part: str) -> Placed:
        """One cell unrolled in one direction."""
        settings, H, stored = cell.settings, cell.settings.size("units"), self.find(node, part)
        after = cell.kind == "GRU" and self._after(cell, stored)
        D, sources = recurrent(cell.kind, settings, stored, H, after=after)
        activation = TANH if cell.cudnn else self._function(settings, "activation", TANH)
        gate = SIGMOID if cell.kind == "SimpleRNN" or cell.cudnn else self._gate(settings)
        layer: Layer
        if cell.kind == "SimpleRNN":
            word = {TANH: "tanh", RELU: "relu"}.get(activation)
            layer = RNN(D, H, nonlinearity=word) if word else Recurrent(RNNVariant(activation), D, H)
        elif cell.kind == "GRU":
            reset, standard = "after" if after else "before", (gate, activation) == (SIGMOID, TANH)
            layer = GRU(D, H, reset=reset) if standard else Recurrent(GRUVariant(gate, activation, reset), D, H)
        else:
            standard = (gate, activation) == (SIGMOID, TANH)
            layer = LSTM(D, H) if standard else Recurrent(LSTMVariant(gate, activation, activation), D, H)
        still = {name for name in layer.all_specs() if name.startswith("0.b")} if len(stored) == 2 else set()
        return Placed(layer, {f"0.{name}": source for name, source in sources.items()}, still)

    def _function(self, settings: Settings, name: str, default: Function) -> Function:
        """The function of this name; null is the identity, nothing at all is the default."""
        if name not in settings.values:
            return default
        return function(settings.values[name], settings, self.version.major)

    def _gate(self, settings: Settings) -> Function:
        """The gates' function; where nothing is said, what was Keras' default then."""
        early = bool(self.version.number) and self.version.number < (2, 3)
        if early and self.version.of_tensorflow and "recurrent_activation" not in settings.values:
            raise settings.fault("must say its recurrent_activation: tf.keras 1 had two defaults")
        return self._function(settings, "recurrent_activation", Function("hard_sigmoid") if early else SIGMOID)

    def _after(self, cell: StoredCell, stored: Sequence[Stored]) -> bool:
        """Whether a GRU resets after the product; its biases tell where nothing is said."""
        if cell.cudnn or cell.settings.has("reset_after"):
            return cell.cudnn or cell.settings.flag("reset_after", default=True)
        if len(stored) == 3:
            return stored[2].shape != (3 * cell.settings.size("units"),)
        if self.version.major != 3:
            raise cell.settings.fault("must say its reset_after: it has no biases to tell by")
        return True


def _applied(activation: Function) -> list[Placed]:
    """A function as a layer, none where it changes nothing."""
    return [] if activation == LINEAR else [Placed(Activation(**activation.config()))]


def joined(placed: list[Placed]) -> Placed:
    """Several layers as one."""
    if len(placed) == 1:
        return placed[0]
    return placed_in(Sequential(*(one.layer for one in placed)), {str(k): one for k, one in enumerate(placed)})


def _two_ways(ahead: Placed, back: Placed) -> Placed:
    """Two layers of one kind and size, of one direction each, as one of both."""
    config: dict[str, Any] = ahead.layer.config() | {"bidirectional": True}
    both = Placed(type(ahead.layer)(**config), dict(ahead.sources), set(ahead.frozen))
    both.sources |= {name.replace("0.", "0.reverse.", 1): source for name, source in back.sources.items()}
    both.frozen |= {name.replace("0.", "0.reverse.", 1) for name in back.frozen}
    return both

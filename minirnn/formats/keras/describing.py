"""minirnn's layers as Keras': the configuration of each, and the arrays that belong to it."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from minirnn.core.backend import Array
from minirnn.core.layer import Layer
from minirnn.core.module import Weighted, brief
from minirnn.formats.keras.around import words
from minirnn.formats.keras.functions import spelled
from minirnn.formats.keras.graph import MOST, below, numbered
from minirnn.formats.keras.layers import MOST_CELLS
from minirnn.formats.keras.weights import keras_arrays
from minirnn.formats.models import as_variant, has_bias, is_recurrent
from minirnn.layers.activations import Function
from minirnn.layers.compose import Bidirectional, Sequential
from minirnn.layers.feedforward import Activation, Dropout, Embedding, Last, Linear, Masking, Reverse
from minirnn.layers.pooling import Flatten, GlobalMaxPool1d
from minirnn.recurrent.direction import Direction
from minirnn.recurrent.networks import Recurrent
from minirnn.recurrent.variants import GRUVariant, LSTMVariant, RNNVariant
from minirnn.recurrent.zoneout import GOES_ON

Config = dict[str, Any]


class ArrayGroup(NamedTuple):
    """Arrays that stand together, by Keras' names and in its order, at ``place`` below their layer."""

    place: str
    arrays: dict[str, Array]


class Described(NamedTuple):
    """One layer of Keras: its class, its name in the model, its configuration and its weights."""

    kind: str
    name: str
    config: Config
    parts: list[ArrayGroup]


def fault(layer: Layer, words: str) -> ValueError:
    """The error for a layer that Keras has no words for."""
    return ValueError(f"Keras cannot express {brief(layer)}: {words}")


def described(network: Layer, version: int = 3) -> list[Described]:
    """The layers of Keras 2 or 3 that compute what ``network`` does; the first is where x comes in."""
    layers = _settled(_flat(network))
    writer = KerasWriter(network, version)
    steps = _steps(layers)
    for before, layer, after in zip([None, *layers], layers, [*layers[1:], None], strict=False):
        writer.write(layer, before, after)
    if len(writer.made) >= MOST:
        raise ValueError(f"a model of Keras may have {MOST} layers; this one has {len(writer.made) + 1}")
    writer.made.insert(0, ("InputLayer", _entry(layers[0], network, version, steps), []))
    names = numbered([kind for kind, _, _ in writer.made])
    return [
        Described(kind, name, {"name": name, **config}, parts)
        for name, (kind, config, parts) in zip(names, writer.made, strict=True)
    ]


def serialized(kind: str, config: Config, module: str = "keras.layers") -> Config:
    """An object as Keras writes it in a configuration."""
    return {"module": module, "class_name": kind, "config": config, "registered_name": None}


def _flat(layer: Layer) -> Iterator[Layer]:
    if type(layer) is Sequential:
        for child in layer.layers:
            yield from _flat(child)
    else:
        yield layer


def _settled(layers: Iterable[Layer]) -> list[Layer]:
    """The layers with every Last before the dropout that it follows: the last step is dropped as all of them are."""
    ordered: list[Layer] = []
    for layer in layers:
        k = len(ordered)
        while type(layer) is Last and k and type(ordered[k - 1]) is Dropout:
            k -= 1
        ordered.insert(k, layer)
    return ordered


def _steps(layers: list[Layer]) -> int | None:
    """How many steps x must have, which a Flatten says; None for any number."""
    for k, layer in enumerate(layers):
        if type(layer) is Flatten:
            if any(before.changes_steps for before in layers[:k]):
                raise fault(layer, "how many steps x has must follow from it, and a layer before it changes them")
            return layer.num_steps
    return None


def _entry(first: Layer, network: Layer, version: int, steps: int | None) -> Config:
    """The configuration of where x comes in: (B, T) of indices, (B, T, features), or (B, features) without time."""
    shape = [None, *([] if network.timeless else [steps]), *([network.input_size] if first.floats else [])]
    dtype = network.bound.dtype.name if first.floats else "int32"
    return {"batch_shape" if version == 3 else "batch_input_shape": shape, "dtype": dtype}


class KerasWriter:
    """Collects Keras' layers in ``made``: class, configuration without a name, weights.

    ``masked`` and ``mask_reversed`` are what they are in the reader: whether steps may be skipped by now, and whether
    the mask no longer stands with its steps; ``timed``, whether there are steps still.
    """

    def __init__(self, network: Layer, version: int) -> None:
        self.version = version
        self.made: list[tuple[str, Config, list[ArrayGroup]]] = []
        self.parameters = network.bound
        self.host = self.parameters.backend.host
        self.masked = self.mask_reversed = False
        self.timed = not network.timeless

    def write(self, layer: Layer, before: Layer | None, after: Layer | None) -> None:
        """Add what a layer is, between these two."""
        last = after if type(after) is Last else None
        if is_recurrent(layer):
            self.recurrent(layer, last, backwards=type(before) is Reverse)
        elif type(layer) is Bidirectional:
            self.bidirectional(layer, last)
        elif type(layer) is Linear:
            self.linear(layer)
        elif type(layer) is Embedding:
            self.embedding(layer)
        elif type(layer) is Activation:
            self.activation(layer)
        elif type(layer) is Masking:
            self.mask(layer)
            self.add("Masking", {"mask_value": layer.value})
        elif type(layer) is Dropout:
            self.dropout(layer.p, locked=layer.locked)
        elif type(layer) is Reverse:
            if not is_recurrent(after) or after.bidirectional:
                raise fault(layer, "it must stand before a recurrent layer of one direction, which then goes backwards")
        elif type(layer) is Last:
            if not is_recurrent(before) and type(before) is not Bidirectional:
                raise fault(layer, "it must follow a recurrent layer, which then returns its last step")
        elif type(layer) is Flatten:
            self.add("Flatten", {})
            self.timed = False
        else:
            self.around(layer)

    def around(self, layer: Layer) -> None:
        """A convolution, a pool or a norm."""
        if self.masked and type(layer) is GlobalMaxPool1d:
            raise fault(layer, "it forgets a mask, and reads the steps that it covers")
        try:
            own = words(layer, self.host, timed=self.timed)
        except ValueError as error:
            raise fault(layer, str(error)) from None
        if own is None:
            raise fault(layer, "its kind is not one of minirnn's own")
        self.timed &= layer.keeps_time
        self.masked &= layer.keeps_time
        self.add(
            own.kind, own.config, [ArrayGroup("", own.arrays)] if own.arrays else [], [layer] if own.arrays else []
        )

    def add(self, kind: str, config: Config, parts: Sequence[ArrayGroup] = (), layers: Sequence[Weighted] = ()) -> None:
        """Add a layer; it does not train where all weights of ``layers``, which it stands for, are frozen."""
        trains = not layers or not self.parameters.frozen.issuperset(
            name for one in layers for name in one.all_specs(one.prefix)
        )
        self.made.append((kind, {"trainable": trains, "dtype": self.parameters.dtype.name, **config}, list(parts)))

    # ------------------------------------------------------------------ layers without recurrence

    def linear(self, layer: Linear) -> None:
        """A tied matrix is copied: in a chain of Keras' no layer uses another's."""
        W = layer.tie.weight("W").T if layer.tie else layer.weight("W")
        arrays = {"kernel": self.host(W)} | ({"bias": self.host(layer.weight("b"))} if layer.bias else {})
        config = {"units": layer.out_features, "use_bias": layer.bias}
        self.add("Dense", config, [ArrayGroup("", arrays)], [layer, *layer.partners()])

    def embedding(self, layer: Embedding) -> None:
        if layer.mask not in (None, 0):
            raise fault(layer, "of all indices only 0 can be the mask (mask_zero)")
        if layer.masks:
            self.mask(layer)
        config = {"input_dim": layer.num_embeddings, "output_dim": layer.embedding_dim, "mask_zero": layer.masks}
        part = ArrayGroup("", {"embeddings": self.host(layer.weight("W"))})
        self.add("Embedding", config, [part], [layer])

    def activation(self, layer: Activation) -> None:
        spelling = self.spelled(layer, layer.function)
        if isinstance(spelling, str):
            self.add("Activation", {"activation": spelling})
        else:
            self.add(*spelling)

    def dropout(self, rate: float, *, locked: bool) -> None:
        """A layer that drops whole channels in Keras has one mask for all steps, and no ``trainable``."""
        if locked and self.timed:
            self.made.append(("SpatialDropout1D", {"dtype": self.parameters.dtype.name, "rate": rate}, []))
        else:
            self.add("Dropout", {"rate": rate})

    def mask(self, layer: Layer) -> None:
        if self.masked:
            raise fault(layer, "a second mask would take the place of the first")
        self.masked = True

    # ------------------------------------------------------------------ recurrent layers

    def recurrent(self, layer: Recurrent, last: Last | None, *, backwards: bool) -> None:
        """One layer of Keras for each layer, with dropout between."""
        n = layer.num_directions
        if last and last.bidirectional is not layer.bidirectional:
            raise fault(last, f"after {brief(layer)} it must be Last(bidirectional={layer.bidirectional})")
        for k in range(layer.num_layers):
            top, here = k + 1 == layer.num_layers, layer.directions[k * n : (k + 1) * n]
            whole = last is None or not top
            self.over_time(layer, whole=whole, backwards=backwards and k == 0)
            if layer.bidirectional:
                self.both(layer, [here[:1], here[1:]], "concat", whole=whole)
            else:
                kind, config, parts = self.unrolled(layer, here, whole=whole, backwards=backwards and k == 0)
                self.add(kind, config, parts, here)
            if layer.dropout and not top:
                self.dropout(layer.dropout, locked=layer.locked)

    def bidirectional(self, layer: Bidirectional, last: Last | None) -> None:
        """Two layers over the same x; a stack of several in one direction is one layer of Keras with as many cells."""
        whole = layer.keeps_time and last is None
        if last and not (last.bidirectional and layer.merge == "concat"):
            raise fault(last, f"after {brief(layer)} it must stand in both of its parts")
        self.over_time(layer, whole=whole, backwards=False)
        self.both(layer, [self.stack(layer, way) for way in layer.children().values()], layer.merge, whole=whole)

    def stack(self, layer: Bidirectional, way: Layer) -> list[Direction]:
        """The cells that one direction of ``layer`` runs, one above the other."""
        inner = list(_flat(way))
        inner = inner[: len(inner) - (type(inner[-1]) is Last)]
        stacked: list[Direction] = []
        for one in inner:
            if not is_recurrent(one) or one.bidirectional:
                raise fault(layer, "each part must be recurrent layers of one direction")
            if one.dropout and one.num_layers > 1:
                raise fault(layer, "there is no dropout between the cells of one direction")
            stacked += one.directions
        if len(stacked) > MOST_CELLS:
            raise fault(layer, f"a direction may have {MOST_CELLS} cells, one above the other")
        return stacked

    def over_time(self, layer: Layer, *, whole: bool, backwards: bool) -> None:
        """Keep account of the mask, where a layer returns the ``whole`` of its steps or the last."""
        if self.mask_reversed:
            raise fault(layer, "after a layer that goes backwards under a mask, which Keras leaves as it was")
        self.mask_reversed = self.masked and backwards and whole
        self.masked &= whole
        self.timed &= whole

    def both(self, layer: Layer, ways: list[list[Direction]], merge: str, *, whole: bool) -> None:
        """A Bidirectional of Keras, of plain layers, or of an RNN where one direction has a stack of cells."""
        config: Config = {"merge_mode": merge}
        parts: list[ArrayGroup] = []
        for word, way in zip(("forward", "backward"), ways, strict=True):
            name, key = f"{word}_layer", "layer" if word == "forward" else "backward_layer"
            kind, inner, own = self.unrolled(layer, way, whole=whole, backwards=word == "backward")
            config[key] = serialized(kind, {"name": f"{word}_{numbered([kind])[0]}", **inner})
            parts += [ArrayGroup(below(name, part.place), part.arrays) for part in own]
        self.add("Bidirectional", config, parts, [one for way in ways for one in way])

    def unrolled(
        self, layer: Layer, way: list[Direction], *, whole: bool, backwards: bool
    ) -> tuple[str, Config, list[ArrayGroup]]:
        """Cells over time: one as SimpleRNN, GRU or LSTM, several as the RNN of a stack."""
        cells = [self.cell(layer, direction) for direction in way]
        time: Config = {"dtype": self.parameters.dtype.name, "return_sequences": whole, "go_backwards": backwards}
        if len(cells) == 1:
            ((kind, config, arrays),) = cells
            return kind, time | config, [ArrayGroup("cell", arrays)]
        places = numbered([f"{kind}Cell" for kind, _, _ in cells])
        listed = [serialized(f"{kind}Cell", {"dtype": time["dtype"], **config}) for kind, config, _ in cells]
        parts = [ArrayGroup(f"cell/cells/{place}", arrays) for place, (_, _, arrays) in zip(places, cells, strict=True)]
        stacked = serialized("StackedRNNCells", {"dtype": time["dtype"], "cells": listed})
        return "RNN", time | {"cell": stacked}, parts

    def cell(self, layer: Layer, direction: Direction) -> tuple[str, Config, dict[str, Array]]:
        """The cell that computes one step of a direction of ``layer``: its kind, configuration and arrays."""
        if direction.trainable_state:
            raise fault(layer, "it has no trainable initial states, and starts from 0")
        if any(direction.zoneout):
            raise fault(layer, GOES_ON)
        cell = as_variant(direction.cell)
        words = {"units": direction.hidden_size}
        if type(cell) is RNNVariant:
            kind, functions = "SimpleRNN", {"activation": cell.activation}
        elif type(cell) is GRUVariant:
            kind, functions = "GRU", {"activation": cell.candidate, "recurrent_activation": cell.gate}
            words["reset_after"] = cell.reset == "after"
        elif type(cell) is LSTMVariant and not cell.peepholes and not cell.coupled and cell.candidate == cell.output:
            kind, functions = "LSTM", {"activation": cell.candidate, "recurrent_activation": cell.gate}
        else:
            raise fault(layer, "its cell is none of SimpleRNN, GRU and LSTM")
        if cell.clip is not None:
            raise fault(layer, "no cell of its clips the arguments of functions")
        bias = has_bias(direction)
        config: Config = {**words, "use_bias": bias}
        for word, function in functions.items():
            spelling = self.spelled(layer, function)
            config[word] = spelling if isinstance(spelling, str) else serialized(*spelling)
        weights = {name: self.host(direction.weight(name)) for name in direction.specs()}
        return kind, config, keras_arrays(kind, weights, bias=bias, after=bool(words.get("reset_after")))

    def spelled(self, layer: Layer, function: Function) -> str | tuple[str, Config]:
        """The function in Keras' words; ValueError, which names the layer, where it has none."""
        try:
            return spelled(function, self.version)
        except ValueError as error:
            raise fault(layer, str(error)) from None

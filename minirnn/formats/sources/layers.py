"""What each layer computes, as a part of a plan."""

from functools import singledispatch

import numpy as np

from minirnn.core.layer import Layer
from minirnn.core.module import brief
from minirnn.formats.sources.equations import Equations
from minirnn.formats.sources.plan import (
    Compute,
    Each,
    Fill,
    Function,
    Pick,
    Product,
    Rows,
    Shift,
    Slot,
)
from minirnn.formats.sources.planner import Planner
from minirnn.formats.sources.recurrence import step_of
from minirnn.formats.sources.tracing import SECOND, X, Y, combining, holds, layer_equations, merging
from minirnn.layers.compose import Bidirectional, Sequential
from minirnn.layers.convolution import Conv1d
from minirnn.layers.feedforward import Activation, Dropout, Embedding, Last, Linear, PReLU, Reverse
from minirnn.layers.graph import LayerGraph
from minirnn.layers.joining import Combine, Concatenate, Joining
from minirnn.layers.normalisation import BatchNorm1d, LayerNorm
from minirnn.layers.pooling import AvgPool1d, Flatten, GlobalAvgPool1d, GlobalMaxPool1d, MaxPool1d
from minirnn.recurrent.networks import GRU, LSTM, RNN, Recurrent

PAIR = 2


def added(layer: Layer, planner: Planner, source: Rows) -> Rows:
    """Add what this layer computes of ``source``, and return where its output is.

    A kind of a reader's own, though it may be made of another, is known by what it does alone.
    """
    return add(layer, planner, source) if type(layer) in KINDS else own(layer, planner, source)


def own(layer: Layer, planner: Planner, source: Rows) -> Rows:
    """A layer of a reader's own that treats each step alone: its ``apply`` is traced, and held against itself."""
    width = layer.output_size or source.width
    parts, odd = divmod(source.width, width)
    shapes = {spec.shape for spec in layer.specs().values()}
    if source.index or layer.children() or not layer.timeless or odd or not shapes <= {(width,), (1,)}:
        raise ValueError(
            f"{brief(layer):.200} cannot be written as source: it is no layer of minirnn that has a form there, and "
            f"not one of your own that treats each step alone (timeless = True), entry by entry"
        )
    return rowwise(layer, planner, source, width, parts)


def rowwise(layer: Layer, planner: Planner, source: Rows, width: int, parts: int = 1) -> Rows:
    """A layer of equations alone: y is as wide as each part of x."""
    name = planner.place(layer)
    equations, arrays = layer_equations(layer, {one: layer.weight(one) for one in layer.specs()}, parts)
    if type(layer) not in KINDS and not holds(layer, equations, arrays, width, parts):
        raise ValueError(
            f"{brief(layer):.200} cannot be written as source: it computes more than its operations on one row show"
        )
    function = planner.function(name, brief(layer), source.width, width)
    loads = {X._replace(k=k): Slot("x", "x", k * width) for k in range(parts)} | {Y: Slot("y", "y")}
    for place, array in arrays:
        loads[place] = Slot("weight", planner.weight(f"{name}_w{place.k}", np.broadcast_to(array, (width,))).name)
    function.statements.append(Compute(equations, width, loads, {Y: Slot("y", "y")}))
    return planner.each(function, source)


@singledispatch
def add(layer: Layer, planner: Planner, source: Rows) -> Rows:
    """``added`` of a kind of minirnn's own."""
    raise TypeError(f"{brief(layer):.200} is of no kind that has a form")


@add.register
def _(layer: Sequential, planner: Planner, source: Rows) -> Rows:
    for child in layer.layers:
        source = added(child, planner, source)
    return source


@add.register
def _(layer: Bidirectional, planner: Planner, source: Rows) -> Rows:
    ahead = added(layer.ahead, planner, source)
    back = added(layer.back, planner, planner.reversed(source))
    back = planner.reversed(back) if layer.keeps_time else back
    if layer.merge == "concat":
        return beside(planner, planner.place(layer), [ahead, back])
    return paired(planner, f"{planner.place(layer)}_merged", f"merge={layer.merge}", merging(layer.merge), ahead, back)


def paired(planner: Planner, name: str, words: str, equations: Equations, one: Rows, other: Rows) -> Rows:
    """Two outputs in one, entry by entry."""
    function = planner.function(name, words, one.width, one.width)
    function.pair = True
    places = {X: Slot("x", "x"), SECOND: Slot("x2", "x2")}
    function.statements.append(Compute(equations, one.width, places, {Y: Slot("y", "y")}))
    target = planner.array(one.width, one)
    planner.operations.append(Each(function, one, target, second=other))
    return target


def beside(planner: Planner, name: str, parts: list[Rows]) -> Rows:
    """Several outputs side by side."""
    target = planner.array(sum(one.width for one in parts), parts[0])
    first = 0
    for k, one in enumerate(parts):
        function = copying(planner, f"{name}_part{k}", one.width)
        planner.operations.append(Each(function, one, target, first))
        first += one.width
    return target


def copying(planner: Planner, name: str, width: int) -> Function:
    """y = x."""
    function = planner.function(name, "copied", width, width)
    function.statements.append(Fill(Slot("y", "y"), Slot("x", "x"), width))
    return function


@add.register
def _(layer: LayerGraph, planner: Planner, source: Rows) -> Rows:
    values, called = {layer.entries[0].name: source}, set[str]()
    for call in layer.calls:
        if call.initial or call.final or call.layer in called:
            words = "states that are handed on" if call.initial or call.final else "a layer that is called twice"
            raise ValueError(f"{brief(layer):.200} cannot be written as source: it has {words}, {call.layer}")
        called.add(call.layer)
        child, reads = layer.layers[call.layer], [values[name] for name in call.reads]
        if isinstance(child, Joining):
            values[call.name] = joined(child, planner, reads)
        else:
            values[call.name] = added(child, planner, reads[0])
    (output,) = layer.outputs.values()
    return values[output]


def joined(layer: Joining, planner: Planner, reads: list[Rows]) -> Rows:
    """Values of a graph side by side, or combined entry by entry, those of two traced at a time."""
    name, one = planner.place(layer), reads[0]
    alike = all((rows.count, rows.index) == (one.count, False) for rows in reads)
    if type(layer) is Concatenate and not layer.over_steps and alike:
        return beside(planner, name, reads)
    folds = len(reads) == PAIR or (isinstance(layer, Combine) and layer.how in ("sum", "product"))
    if type(layer) is not Combine or not alike or not folds or any(rows.width != one.width for rows in reads):
        raise ValueError(
            f"{brief(layer):.200} cannot be written as source: there values are joined that are alike in steps and "
            f"features, by Concatenate on the features or by Combine"
        )
    equations = combining(layer)
    for k, other in enumerate(reads[1:]):
        one = paired(planner, f"{name}_{k}", brief(layer), equations, one, other)
    return one


@add.register
def _(layer: Recurrent, planner: Planner, source: Rows) -> Rows:
    n = layer.num_directions
    for k in range(layer.num_layers):
        functions = [
            step_of(
                planner,
                layer.directions[k * n + one],
                f"{planner.place(layer)}_{k * n + one}",
                source,
            )
            for one in range(n)
        ]
        if n == 1:
            source = planner.each(functions[0], source)
            continue
        target = planner.array(sum(one.outputs for one in functions), source)
        planner.operations.append(Each(functions[0], source, target))
        planner.operations.append(Each(functions[1], source, target, functions[0].outputs, reverse=True))
        source = target
    return source


@add.register
def _(layer: Linear, planner: Planner, source: Rows) -> Rows:
    name, K, N = planner.place(layer), layer.in_features, layer.out_features
    function = planner.function(name, brief(layer), K, N)
    b = planner.weight(f"{name}_b", layer.weight("b")) if layer.bias else None
    W = planner.weight(f"{name}_W", layer.tie.weight("W").T if layer.tie else layer.weight("W"))
    y = Slot("y", "y")
    function.statements += [Fill(y, Slot("weight", b.name) if b else None, N), Product(y, Slot("x", "x"), W, 0, K)]
    return planner.each(function, source)


@add.register
def _(layer: Embedding, planner: Planner, source: Rows) -> Rows:
    name, N = planner.place(layer), layer.embedding_dim
    function = planner.function(name, brief(layer), layer.num_embeddings, N, index=True)
    W = planner.weight(f"{name}_W", layer.weight("W"))
    function.statements += [Fill(Slot("y", "y"), None, N), Pick(Slot("y", "y"), W)]
    return planner.each(function, source)


@add.register(Activation)
@add.register(PReLU)
@add.register(LayerNorm)
@add.register(BatchNorm1d)
def _(layer: Layer, planner: Planner, source: Rows) -> Rows:
    return rowwise(layer, planner, source, source.width)


@add.register
def _(layer: Dropout, planner: Planner, source: Rows) -> Rows:
    return source


@add.register
def _(layer: Reverse, planner: Planner, source: Rows) -> Rows:
    return planner.reversed(source)


@add.register
def _(layer: Last, planner: Planner, source: Rows) -> Rows:
    return planner.whole("ends" if layer.bidirectional else "last", source, source.width)


@add.register
def _(layer: Conv1d, planner: Planner, source: Rows) -> Rows:
    name, K, groups = planner.place(layer), layer.kernel_size, layer.groups
    D, N = layer.in_channels // groups, layer.out_channels // groups
    b = planner.weight(f"{name}_b", layer.weight("b")) if layer.bias else None
    W = layer.weight("W")
    names = [f"{name}_W{g if groups > 1 else ''}" for g in range(groups)]
    weights = [planner.weight(one, W[:, g * N : (g + 1) * N]) for g, one in enumerate(names)]
    if layer.remembered != layer.reach or layer.right or layer.stride > 1:  # no state continues it
        return planner.windows(layer, "convolution", source, N * groups, weights=tuple(weights), bias=b)
    function = planner.function(name, brief(layer), layer.in_channels, layer.out_channels)
    state = planner.state(f"{name}_steps", layer.reach * layer.in_channels) if layer.reach else None
    y = Slot("y", "y")
    function.statements.append(Fill(y, Slot("weight", b.name) if b else None, N * groups))
    for k in range(K):
        for g, weight in enumerate(weights):
            at = k * layer.dilation * layer.in_channels + g * D
            source_slot = Slot("x", "x", g * D) if state is None or k == K - 1 else state._replace(first=at)
            function.statements.append(Product(y._replace(first=g * N), source_slot, weight, k * D, D))
    if state is not None:
        function.statements.append(Shift(state, Slot("x", "x"), layer.in_channels, layer.reach * layer.in_channels))
    return planner.each(function, source)


@add.register
def _(layer: MaxPool1d, planner: Planner, source: Rows) -> Rows:
    return planner.windows(layer, "largest", source, source.width)


@add.register
def _(layer: AvgPool1d, planner: Planner, source: Rows) -> Rows:
    return planner.windows(layer, "mean" if layer.count_padding else "mean of some", source, source.width)


@add.register
def _(layer: GlobalMaxPool1d, planner: Planner, source: Rows) -> Rows:
    return planner.whole("largest", source, source.width)


@add.register
def _(layer: GlobalAvgPool1d, planner: Planner, source: Rows) -> Rows:
    return planner.whole("mean", source, source.width)


@add.register
def _(layer: Flatten, planner: Planner, source: Rows) -> Rows:
    return planner.whole("flat", source, source.width * layer.num_steps)


KINDS = {*add.registry, RNN, GRU, LSTM} - {object, Layer}  # that are what they are called

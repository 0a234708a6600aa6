"""An ONNX graph as a chain of minirnn's layers, where it is one: then it can be trained, saved, quantised, streamed.

``tracing.py`` finds what the nodes look like, layer by layer; here the layers are made, given the graph's weights, and
held against the graph: both are run on an input drawn at random, and unless all outputs and final states agree the
graph is no chain.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from minirnn.backend import Array, get_backend
from minirnn.base import Layer
from minirnn.compose import Sequential
from minirnn.formats.files import filled
from minirnn.formats.onnx.blocks import Block, blocks_of, ends_of, letters_of, starts_of
from minirnn.formats.onnx.graph import Graph
from minirnn.formats.onnx.reading import read
from minirnn.formats.onnx.ready import placed
from minirnn.formats.onnx.tracing import (
    Encoding,
    Given,
    Lookup,
    NoLayerError,
    Other,
    States,
    Stream,
    Unit,
    source_of,
    trace,
)

TRIED = (5, 3)  # steps and rows of the input on which layers and graph are compared, where the graph leaves them open
MOST_TRIED = 1 << 31  # products that the comparison may take
CLOSE = {"float32": 1e-5, "float64": 1e-11}


def load(path: str | os.PathLike[str], *, backend: str = "auto", dtype: Any = None) -> Layer | Graph:
    """Open an ONNX file: the layer that computes the same, else the ``Graph``, which can be run and no more.

    A layer is found for what goes through ``Gather`` of an embedding or ``OneHot``, RNN, GRU and LSTM with time first,
    products with biases, activations, and the last step, in that order or another.  Initial states that are inputs
    are the layer's state; ``sequence_lens`` are its ``lengths``, and past them its ``y`` is 0.  A graph that has the
    batch first stays a graph, whose inputs are as they were; ``graph.layers()`` gives its layers, with time first.

    ``dtype`` None keeps the file's; a graph has no other.  Raises ModelFileError, as ``read`` does.
    """
    get_backend(backend)
    graph = read(path, backend="numpy")
    try:
        return layers_of(graph, backend=backend, dtype=dtype)
    except NoLayerError as error:
        if dtype is not None:
            raise ValueError(f"dtype must be None for what only runs as a graph; got {dtype!r} ({error})") from None
        return placed(graph, backend)


def layers_of(graph: Graph, *, either_first: bool = False, backend: str = "auto", dtype: Any = None) -> Layer:
    """The layer that computes what ``graph`` does, or ModelFileError, which names the node that has no layer.

    With ``either_first`` the graph's sequences may have the batch first; the layer's have time first in any case.
    """
    graph = placed(graph, "numpy")
    ways = [Chain(graph, batch_first=way) for way in ((False, True) if either_first else (False,))]
    ways.sort(key=lambda way: -way.followed)
    refusals = []
    for way in ways:
        try:
            layer = way.layer(either_first=either_first)
        except NoLayerError as error:
            refusals.append(error)
        else:
            return layer.to(backend=backend, dtype=dtype)
    raise refusals[0]


class Chain:
    """A graph, looked at in one way: time first or the batch first."""

    def __init__(self, graph: Graph, *, batch_first: bool) -> None:
        self.graph, self.batch_first = graph, batch_first
        self.forms = trace(graph, batch_first=batch_first)
        self.followed = sum(isinstance(form, (Stream, States)) for form in self.forms.values())

    def layer(self, *, either_first: bool) -> Layer:
        """The layer, on NumPy and in the graph's dtype, once it was held against the graph."""
        stream = self.stream(("TBF", "BTF", "BF") if either_first else ("TBF", "BF"))
        try:
            blocks = blocks_of(stream.parts)
            network = Sequential(*(b.layer for b in blocks)) if len(blocks) > 1 else blocks[0].layer
        except NoLayerError:
            raise
        except (ValueError, TypeError) as error:  # layers that do not follow one another
            raise NoLayerError(f"the nodes' layers make no chain: {error!s:.200}") from None
        values = {
            f"{k}.{name}" if len(blocks) > 1 else name: value
            for k, block in enumerate(blocks)
            for name, value in block.weights.items()
        }
        dtypes = {str(value.dtype) for value in values.values()} or {"float32"}
        if len(dtypes) > 1 or not dtypes <= CLOSE.keys():
            raise NoLayerError(f"weights must all be float32 or float64; they are {', '.join(sorted(dtypes))}")
        layer = filled(network, values.__getitem__, self.graph.where, backend="numpy", dtype=dtypes.pop())
        self.compare(layer, blocks, stream)
        return layer

    def stream(self, axes: Sequence[str]) -> Stream:
        """What comes out of the chain; everything else that comes out must be its final states."""
        found, states = [], []
        for port in self.graph.outputs:
            form = self.forms.get(port.name, Other())
            if isinstance(form, Stream) and form.axes in axes and form.parts:
                found.append(form)
            elif isinstance(form, States):
                states.append(form)
            else:
                raise NoLayerError(getattr(form, "why", "") or f"output {port} is nothing that a layer gives")
        if len(found) != 1:
            raise NoLayerError(f"a chain of layers has one output; the graph has {len(found)}")
        if not all(row.unit in found[0].parts for form in states for row in form.rows):
            raise NoLayerError("final states must be of the layers that the output went through; they are of others")
        return found[0]

    # ------------------------------------------------------------------ in numbers

    def compare(self, layer: Layer, blocks: list[Block], stream: Stream) -> None:
        """Raise NoLayerError unless layer and graph give the same on one input."""
        rng, dtype = np.random.default_rng(0), layer.bound.dtype
        x = self.drawn(rng, layer, indices=isinstance(stream.parts[0], (Lookup, Encoding)))
        T, B = x.shape[:2] if x.ndim == 3 or x.dtype.kind != "f" else (1, len(x))
        if T * B * layer.weights.size > MOST_TRIED:
            raise NoLayerError("the graph's sizes must be such that layers can be held against it; they are too large")
        units = [unit for block in blocks for unit in block.units]
        lens = {unit.lens for unit in units}
        if len(lens) > 1:
            raise NoLayerError("lengths must be given to all recurrent nodes or to none; they are given to some")
        turned = self.batch_first and (x.ndim == 3 or x.dtype.kind != "f")
        source, feed, lengths = source_of(self.graph), {}, None
        for port in self.graph.inputs:
            form = self.forms[port.name]
            if port is source:
                feed[port.name] = (x.swapaxes(0, 1) if turned else x).astype(port.dtype)
            elif port.name in lens:
                feed[port.name] = lengths = rng.integers(1, T + 1, B).astype(port.dtype)
            elif isinstance(form, Given):
                feed[port.name] = rng.normal(size=self.shape_of(port.name, units, B)).astype(port.dtype)
            else:
                raise NoLayerError(getattr(form, "why", "") or f"input {port} has no place in a chain of layers")
        states = tuple(starts_of(block, feed, B, dtype) for block in blocks)
        try:
            wanted = self.graph.run(feed)
        except ValueError as error:
            raise NoLayerError(f"the graph does not run as its layers would: {error!s:.300}") from None
        y, final = layer(x, states if len(blocks) > 1 else states[0], lengths=lengths)
        ends = dict(ends_of(blocks, final if len(blocks) > 1 else (final,)))
        for port in self.graph.outputs:
            form, expected = self.forms[port.name], wanted[port.name]
            if isinstance(form, States):
                rows = [ends[row.unit][form.kind][row.direction] for row in form.rows]
                found = laid_out(np.stack(rows), form.axes)
            else:
                found = y.swapaxes(0, 1) if form.axes == "BTF" else y
                if lengths is not None and form.axes != "BF":
                    past = np.arange(T)[:, None] >= lengths
                    expected = np.where((past if form.axes == "TBF" else past.T)[:, :, None], 0, expected)
            room = CLOSE[dtype.name] * max(1.0, float(np.abs(expected).max(initial=0)))
            if found.shape != expected.shape or not np.abs(found - expected).max(initial=0) <= room:
                raise NoLayerError(f"output {port} must be what the layers give that its nodes look like; it is not")

    def drawn(self, rng: np.random.Generator, layer: Layer, *, indices: bool) -> Array:
        """An input of the layer, time first, of the sizes that the graph asks for."""
        port = source_of(self.graph)
        asked: list[Any] = list(port.shape or ()) if port else []
        if self.batch_first and (indices or len(asked) == 3):
            asked[:2] = asked[1::-1]
        usual = TRIED if indices else (*TRIED[3 - len(asked) :], layer.input_size or 4)
        shape = tuple(n if isinstance(n, int) else m for n, m in zip(asked, usual, strict=True))
        return (
            rng.integers(0, layer.input_size or 1, shape)
            if indices
            else rng.normal(size=shape).astype(layer.bound.dtype)
        )

    def shape_of(self, name: str, units: list[Unit], B: int) -> tuple[int, ...]:
        """A shape for an input of initial states, as large as the nodes that read it ask for."""
        port = next(port for port in self.graph.inputs if port.name == name)
        shape = [n if isinstance(n, int) else 1 for n in port.shape or ()]
        for unit in units:
            sizes = len(unit.about.directions), B, unit.R.shape[2]
            for form in unit.starts:
                if isinstance(form, Given) and form.name == name:
                    for letter, size in zip(letters_of(unit, form), sizes, strict=True):
                        if letter not in ("n", form.cut):
                            shape[int(letter)] = max(shape[int(letter)], size)
                    if form.cut:
                        shape[int(form.cut)] = max(shape[int(form.cut)], form.stop or form.start + sizes[0])
        return tuple(shape)


def laid_out(states: Array, axes: str) -> Array:
    """Final states, (d, B, H), with their axes in another order; without d, of one direction."""
    if "d" not in axes:
        states = states[0]
    before = "dBH" if "d" in axes else "BH"
    return states.transpose([before.index(letter) for letter in axes])

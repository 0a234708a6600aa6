"""An ONNX graph as a chain of minirnn's layers, where it is one: then it can be trained, saved, quantised, streamed.

First the graph is followed, not run, to see which layers its nodes look like.  ``Transpose`` moves the letters of a
value's axes, ``Squeeze`` takes a d away, ``Reshape`` makes an F of d and H; a layer is found where a node stands on
letters that its layer has.  That may still be wrong, where a shape is computed in ways that are not followed.  So these
layers are made with the graph's weights and compared with the graph: both are run on a random input, and unless all
outputs and final states agree the graph is no chain.
"""

import math
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from minirnn.core.backend import Array, get_backend
from minirnn.core.layer import Layer
from minirnn.core.run import State
from minirnn.formats.filling import filled
from minirnn.formats.onnx.recognising.blocks import LayerBlock, blocks_of, ends_of, letters_of, starts_of
from minirnn.formats.onnx.recognising.forms import (
    MOST_ROWS,
    ChainValue,
    Encoding,
    FinalStates,
    Form,
    InitialState,
    Lengths,
    Lookup,
    NoLayerError,
    Other,
    Unit,
    Zeros,
)
from minirnn.formats.onnx.recognising.layer_rules import LAYERS
from minirnn.formats.onnx.recognising.move_rules import MOVES
from minirnn.formats.onnx.running.meter import PRODUCTS, STEP
from minirnn.formats.onnx.running.operators import placed
from minirnn.formats.onnx.running.program import Program
from minirnn.formats.onnx.structure import Node, Port
from minirnn.layers.compose import Sequential

TRIED = (5, 3)  # steps and rows of the input on which layers and graph are compared, where the graph leaves them open
MOST_STEPS = 1 << 12  # that are looked through for a number that the layers take
MOST_DRAWN = 1 << 20  # numbers that all inputs of the comparison may have together
LONGEST = 400_000_000  # nanoseconds that the comparison may take
AT_ONCE = 16  # products that are done in a nanosecond, where there are so many that they count
CLOSE = {"float32": 1e-5, "float64": 1e-11}

ORDERS = ("TBF", "BTF", "BFT")  # of x's axes, and of y's; the last is that of torch's convolutions
RULES = MOVES | LAYERS  # what comes out of a node: a form, one for each output, or None where no layer does that
STILL_ZEROS = ("Transpose", "Squeeze", "Unsqueeze", "Reshape", "Slice", "Split", "Expand")  # of zeros
MEASURES = ("Shape", "Size")  # nodes that ask for sizes, and compute nothing from what flows
SOURCES = {("f", 3): "TBF", ("f", 2): "BF", ("i", 2): "TB", ("u", 2): "TB"}


def recognised(graph: Program, *, either_first: bool = False) -> Layer:
    """The layer, on NumPy and in the graph's dtype."""
    ways = [Chain(graph, order) for order in (ORDERS if either_first else ORDERS[:1])]
    ways.sort(key=lambda way: -way.followed)
    refusals = []
    for way in ways:
        try:
            return way.layer(either_first=either_first)
        except NoLayerError as error:
            refusals.append(error)
    raise refusals[0]


def moved(layer: Layer, backend: str, dtype: Any) -> Layer:
    """A layer on NumPy moved to where it is asked for."""
    same = get_backend(backend, dtype or layer.bound.dtype) is layer.bound.backend
    return layer if same and dtype in (None, layer.bound.dtype) else layer.to(backend=backend, dtype=dtype)


class Trial(NamedTuple):
    """An input, with states and lengths, as a chain's blocks take it, and what comes out of the graph."""

    x: Array
    states: tuple[State, ...]
    lengths: Array | None
    wanted: dict[str, Array]


class Chain:
    """A graph, looked at in one way: an order of the axes of x, one of ``ORDERS``."""

    def __init__(self, graph: Program, order: str) -> None:
        self.graph, self.order = graph, order
        self.forms = trace(graph, order)
        self.followed = sum(isinstance(form, (ChainValue, FinalStates)) for form in self.forms.values())

    def layer(self, *, either_first: bool) -> Layer:
        """The layer, on NumPy and in the graph's dtype, once it was compared with the graph."""
        stream = self.stream((*ORDERS, "BF") if either_first else ("TBF", "BF"))
        try:
            blocks = blocks_of(stream.parts)
            network = Sequential(*(b.layer for b in blocks)) if len(blocks) > 1 else blocks[0].layer
        except NoLayerError:
            raise
        except (ValueError, TypeError) as error:  # layers that do not follow one another
            raise NoLayerError(f"the nodes' layers make no chain: {error!s:.200}") from None
        dtypes = set[str]().union(*(block.dtypes for block in blocks)) or {"float32"}
        if len(dtypes) > 1 or not dtypes <= CLOSE.keys():
            raise NoLayerError(f"weights must all be float32 or float64; they are {', '.join(sorted(dtypes))}")
        dtype = np.dtype(dtypes.pop())
        trial = self.tried(network, blocks, stream, dtype)  # first: the graph's own layers are gone after it
        layer = filled(network, partial(weight_of, blocks), self.graph.where, backend="numpy", dtype=dtype)
        self.compare(layer, blocks, trial)
        return layer

    def stream(self, axes: Sequence[str]) -> ChainValue:
        """The output of the chain; all other outputs must be its final states."""
        flows, states = [], []
        for port in self.graph.outputs:
            form = self.forms.get(port.name, Other())
            if isinstance(form, ChainValue) and form.axes in axes and form.parts:
                flows.append(form)
            elif isinstance(form, FinalStates):
                states.append(form)
            else:
                raise NoLayerError(getattr(form, "why", "") or f"output {port} is nothing that a layer gives")
        if len(flows) != 1:
            raise NoLayerError(f"a chain of layers has one output; the graph has {len(flows)}")
        if sum(len(form.rows) for form in states) > 2 * MOST_ROWS:  # h, and c
            raise NoLayerError(f"final states must be at most {2 * MOST_ROWS} rows; there are more")
        units = {id(part) for part in flows[0].parts}
        if not all(id(row.unit) in units for form in states for row in form.rows):
            raise NoLayerError("final states must be of the layers that the output went through; they are of others")
        return flows[0]

    # ------------------------------------------------------------------ in numbers

    def tried(self, network: Layer, blocks: list[LayerBlock], stream: ChainValue, dtype: np.dtype[Any]) -> Trial:
        """The graph's output for an input drawn at random."""
        rng, indices = np.random.default_rng(0), isinstance(stream.parts[0], (Lookup, Encoding))
        units = [unit for block in blocks for unit in block.units]
        lens = {unit.lens for unit in units}
        if len(lens) > 1:
            raise NoLayerError("lengths must be given to all recurrent nodes or to none; they are given to some")
        if lens != {None} and lens and network.changes_steps:
            raise NoLayerError("lengths must be those of every layer; a stride changes them, and the graph does not")
        shape = self.input_shape(network, indices=indices)
        T, B = shape[:2] if len(shape) == 3 or indices else (1, shape[0])
        weights = sum(math.prod(spec.shape) for spec in network.all_specs().values())
        steps = T * sum(len(unit.about.directions) for unit in units)
        if 2 * (steps * STEP + T * B * weights / AT_ONCE) > LONGEST:
            raise NoLayerError(f"a graph must be held against its layers; x of shape {shape} is too much for that")
        shapes = self.start_shapes(units, B)
        if sum(map(math.prod, [shape, *shapes.values()])) > MOST_DRAWN:
            raise NoLayerError("a graph must be held against its layers; its inputs are too large for that")
        x = drawn(rng, shape, dtype, network.input_size or 1 if indices else None)
        source, feed, lengths = source_of(self.graph), {}, None
        for port in self.graph.inputs:
            form = self.forms[port.name]
            if port is source:
                timed = x.ndim == (2 if indices else 3)
                feed[port.name] = (reordered(x, self.order) if timed else x).astype(port.dtype)
            elif port.name in lens:
                feed[port.name] = lengths = rng.integers(1, T + 1, B).astype(port.dtype)
            elif port.name in shapes:
                feed[port.name] = drawn(rng, shapes[port.name], port.dtype)
            else:
                raise NoLayerError(getattr(form, "why", "") or f"input {port} has no place in a chain of layers")
        try:
            states = tuple(starts_of(block, feed, B, dtype) for block in blocks)
            time = LONGEST // 2 + steps * STEP + T * B * weights // PRODUCTS + 2 * weights
            return Trial(x, states, lengths, placed(self.graph, "numpy").trial(feed, time))
        except NoLayerError:
            raise
        except (IndexError, ValueError) as error:
            raise NoLayerError(f"the graph does not run as its layers would: {error!s:.300}") from None

    def compare(self, layer: Layer, blocks: list[LayerBlock], trial: Trial) -> None:
        """Raise NoLayerError unless layer and graph give the same."""
        x, states, lengths, wanted = trial
        y, final = layer(x, states if len(blocks) > 1 else states[0], lengths=lengths)
        ends = dict(ends_of(blocks, final if len(blocks) > 1 else (final,)))
        for port in self.graph.outputs:
            form, expected = self.forms[port.name], wanted[port.name]
            if isinstance(form, FinalStates):
                rows = [ends[row.unit][form.kind][row.direction] for row in form.rows]
                actual = laid_out(np.stack(rows), form.axes)
            else:
                actual = reordered(y, form.axes) if y.ndim == 3 else y
                if lengths is not None and form.axes != "BF":
                    past = np.arange(len(x))[:, None] >= lengths
                    expected = np.where(reordered(past[:, :, None], form.axes), 0, expected)
            room = CLOSE[layer.bound.dtype.name] * max(1.0, float(np.abs(expected).max(initial=0)))
            if actual.shape != expected.shape or not np.abs(actual - expected).max(initial=0) <= room:
                raise NoLayerError(f"output {port} must be what the layers give that its nodes look like; it is not")

    def input_shape(self, network: Layer, *, indices: bool) -> tuple[int, ...]:
        """The shape of an input of the layer, time first, of the sizes that the graph asks for."""
        port = source_of(self.graph)
        asked: list[Any] = list(port.shape or ()) if port else []
        if indices or len(asked) == 3:
            asked = [asked[self.order.index(letter)] for letter in "TBF"[: len(asked)]]
        usual = TRIED if indices else (*TRIED[3 - len(asked) :], network.input_size or 4)
        if indices or len(asked) == 3:
            usual = (steps_for(network), *usual[1:])
        return tuple(n if isinstance(n, int) else m for n, m in zip(asked, usual, strict=True))

    def start_shapes(self, units: list[Unit], B: int) -> dict[str, tuple[int, ...]]:
        """Shapes for the inputs of initial states, as large as the nodes that read them ask for."""
        shapes: dict[str, list[int]] = {}
        for unit in units:
            sizes = len(unit.about.directions), B, unit.R.shape[2]
            for form in unit.starts:
                if not isinstance(form, InitialState):
                    continue
                shape = shapes.setdefault(form.name, [n if isinstance(n, int) else 1 for n in form.shape])
                for letter, size in zip(letters_of(unit, form), sizes, strict=True):
                    if letter not in ("n", form.cut):
                        shape[int(letter)] = max(shape[int(letter)], size)
                if form.cut:
                    shape[int(form.cut)] = max(shape[int(form.cut)], form.stop or form.start + sizes[0])
        return {name: tuple(shape) for name, shape in shapes.items()}


def steps_for(network: Layer) -> int:
    """Steps on which a network can be tried, some if any number will do."""

    def sound(T: int) -> bool:
        try:
            return network.check_steps(T) > 0
        except ValueError:
            return False

    return next(filter(sound, (TRIED[0], *range(1, MOST_STEPS))), TRIED[0])


def weight_of(blocks: list[LayerBlock], name: str) -> Array:
    """A weight of the chain, made when it is asked for, so that no more than one of them is there twice."""
    where, _, local = name.rpartition(".")
    block, _, part = where.partition(".") if len(blocks) > 1 else ("0", "", where)
    return blocks[int(block)].weights[part](local)


def drawn(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any], symbols: int | None = None) -> Array:
    """Normally distributed numbers, or indices below ``symbols``."""
    return rng.normal(size=shape).astype(dtype) if symbols is None else rng.integers(0, symbols, shape)


def reordered(a: Array, order: str) -> Array:
    """An array (T, B, F) or (T, B) with its axes in another order."""
    return a.transpose(["TBF".index(letter) for letter in order if letter in "TBF"[: a.ndim]])


def laid_out(states: Array, axes: str) -> Array:
    """Final states, (d, B, H), with their axes in another order; without d, of one direction."""
    if "d" not in axes:
        states = states[0]
    before = "dBH" if "d" in axes else "BH"
    return states.transpose([before.index(letter) for letter in axes])


# ---------------------------------------------------------------------- the graph followed


def source_of(graph: Program) -> Port | None:
    """The input that goes through the chain: the first that can be features or indices."""
    return next((port for port in graph.inputs if (port.dtype.kind, _rank(port)) in SOURCES), None)


def _rank(port: Port) -> int:
    return -1 if port.shape is None else len(port.shape)


def trace(graph: Program, order: str) -> dict[str, Form]:
    """The form of every value of ``graph``, whose sequences have their axes in this order."""
    forms: dict[str, Form] = dict(graph.constants)
    source = source_of(graph)
    for port in graph.inputs:
        rank, kind = _rank(port), port.dtype.kind
        if port is source:
            axes = SOURCES[kind, rank]
            forms[port.name] = ChainValue((), "".join(letter for letter in order if letter in axes))
        elif kind == "f" and rank in (2, 3):
            forms[port.name] = InitialState(port.name, "012"[:rank], port.shape or ())
        else:
            forms[port.name] = Lengths(port.name) if kind in "iu" and rank == 1 else Other(f"input {port} has no place")
    for node in graph.nodes:
        inputs = [forms.get(name, Other()) if name else None for name in node.inputs]
        for name, form in zip(node.outputs, _followed(node, inputs), strict=False):
            forms.setdefault(name, form)  # what is constant is known already
    return forms


def _followed(node: Node, inputs: list[Form]) -> list[Form]:
    """The forms of a node's outputs."""
    blocked = next((form for form in inputs if isinstance(form, Other) and form.why), None)
    outputs = None
    if node.op in STILL_ZEROS and inputs and isinstance(inputs[0], Zeros):
        outputs = inputs[:1] * len(node.outputs)
    elif not blocked and node.op in RULES:
        with suppress(IndexError, ValueError, ZeroDivisionError):  # of axes that are not there: running it says so
            outputs = RULES[node.op](node, inputs)
    if outputs is not None:
        return outputs if isinstance(outputs, list) else [outputs]
    followed = any(isinstance(form, (ChainValue, FinalStates, InitialState, Lengths)) for form in inputs)
    why = blocked or Other(f"{node} does what no layer does there" if followed and node.op not in MEASURES else "")
    return [why] * len(node.outputs)

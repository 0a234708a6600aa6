"""Layers for the parts of a chain, with their weights, and what initial and final states are on both sides."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.layer import Layer
from minirnn.core.run import State
from minirnn.formats.onnx.recognising.forms import (
    Affine,
    Encoding,
    Held,
    InitialState,
    Lookup,
    NoLayerError,
    Part,
    Spread,
    Unit,
)
from minirnn.layers.compose import Bidirectional
from minirnn.layers.feedforward import Embedding, Linear, Reverse

DEEPEST = 1024  # one-hot vectors that become an embedding: its weight has the square of that

Weights: TypeAlias = Callable[[str], Array]


class LayerBlock(NamedTuple):
    """One layer of a chain, and the nodes that it does the work of.

    ``weights`` has for each of the layer's parts what makes a weight in it, by name; ``dtypes`` is what they are in.
    """

    layer: Layer
    weights: Mapping[str, Weights] = {}
    dtypes: Collection[str] = ()
    units: tuple[Unit, ...] = ()


def blocks_of(parts: tuple[Part, ...]) -> list[LayerBlock]:
    """A layer for each part; recurrent nodes that are alike and follow one another are one layer of some depth."""
    groups: list[list[Part]] = []
    for part in parts:
        before = groups[-1][-1] if groups else None
        if isinstance(part, Unit) and isinstance(before, Unit) and alike(before, part):
            groups[-1].append(part)
        else:
            groups.append([part])
    blocks: list[LayerBlock] = []
    for k, (first, *rest) in enumerate(groups):
        if isinstance(first, Encoding):
            follower = groups[k + 1][0] if k + 1 < len(groups) else None
            if not isinstance(follower, Unit) or follower.W.shape[2] != first.depth:
                raise NoLayerError("one-hot vectors must go into a recurrent node of their width; they do not")
            if follower.about.directions == (True,):  # Reverse takes no indices
                depth, dtype = first.depth, follower.W.dtype
                if depth > DEEPEST:
                    raise NoLayerError(
                        f"one-hot vectors that are read in reverse may have {DEEPEST} entries; got {depth}"
                    )
                blocks.append(LayerBlock(Embedding(depth, depth), {"": partial(one_hot, depth, dtype)}, {str(dtype)}))
        elif not isinstance(first, Unit):
            blocks.append(plain(first))
        elif first.about.directions == (True,):
            blocks += [LayerBlock(Reverse()), recurrent((first,)), LayerBlock(Reverse())]
        else:
            blocks.append(recurrent((first, *(unit for unit in rest if isinstance(unit, Unit)))))
    return blocks


def one_hot(depth: int, dtype: np.dtype[Any], name: str) -> Array:
    """The weight of an embedding whose rows are one-hot vectors."""
    return np.eye(depth, dtype=dtype)


def scaled(a: Array, by: float) -> Array:
    """A weight times a number, in its dtype."""
    return a if by == 1 else a * a.dtype.type(by)


def plain(part: Part) -> LayerBlock:
    """A layer without recurrence."""
    if isinstance(part, Lookup):
        return LayerBlock(Embedding(*part.W.shape), {"": {"W": part.W}.__getitem__}, {str(part.W.dtype)})
    if isinstance(part, Affine):
        held = {"W": (part.W, part.alpha)} if part.b is None else {"W": (part.W, part.alpha), "b": (part.b, part.beta)}
        layer = Linear(*part.W.shape, bias=part.b is not None)
        return LayerBlock(layer, {"": lambda name: scaled(*held[name])}, {str(a.dtype) for a, _ in held.values()})
    if isinstance(part, Held):
        return LayerBlock(part.layer, {"": part.make}, part.dtypes)
    assert isinstance(part, Layer)
    return LayerBlock(part)


def alike(one: Unit, other: Unit) -> bool:
    """Whether ``other`` may be the next layer of the one that ``one`` is the last of."""
    about, width = one.about, one.R.shape[2] * len(one.about.directions)
    return (
        about.directions != (True,)
        and len(set(about.functions)) == 1
        and replace(about, hidden_size=None) == replace(other.about, hidden_size=None)
        and one.R.shape == other.R.shape
        and other.W.shape[2] == width
        and (one.P is None) == (other.P is None)
        and trained(one) == trained(other)
    )


def trained(unit: Unit) -> bool:
    """Whether the initial state is among the weights."""
    return any(isinstance(form, Spread) for form in unit.starts)


def recurrent(units: tuple[Unit, ...]) -> LayerBlock:
    """The layer that does the work of some nodes, one after the other."""
    first, about = units[0], units[0].about
    D, H, directions = first.W.shape[2], first.R.shape[2], len(about.directions)
    options: dict[str, Any] = {"peepholes": first.P is not None, "trainable_state": trained(first)}
    paired = len(set(about.functions)) > 1  # a layer has one set of functions
    if paired:
        layer: Layer = Bidirectional(about.layer(0, D, H, **options), about.layer(1, D, H, **options))
    else:
        layer = about.layer(0, D, H, num_layers=len(units), bidirectional=directions == 2, **options)
    makers: dict[str, Weights] = {}
    for j, unit in enumerate(units):
        about.check_weights(unit.W, unit.R, unit.B, unit.P)
        for k in range(directions):
            place = f"{('forward', 'reverse')[k]}.0" if paired else f"{j}{'.reverse' if k else ''}"
            makers[place] = partial(weight_of, unit, k)
    return LayerBlock(layer, makers, {str(first.W.dtype)}, units)


def weight_of(unit: Unit, k: int, name: str) -> Array:
    """A weight of direction ``k``; of initial states those that are in the file, for every row."""
    if name not in ("h0", "c0"):
        return unit.about.weight(name, k, unit.W, unit.R, unit.B, unit.P)
    form, shape = unit.starts[name == "c0"], (len(unit.about.directions), 1, unit.R.shape[2])
    if isinstance(form, InitialState):
        raise NoLayerError(f"{unit.node} must have all of its initial states in the file, or none; it has some")
    value = form.value if isinstance(form, Spread) else np.zeros(shape, unit.W.dtype)
    if value.shape != shape:
        raise NoLayerError(f"{unit.node} must start from one state for every row; it starts from {value.shape}")
    row: Array = value[k, 0]
    return row


# ---------------------------------------------------------------------- initial and final states


def letters_of(unit: Unit, form: InitialState) -> tuple[str, str, str]:
    """Which of an input's axes are directions, rows and units to a node that reads it."""
    d, B, H = (form.axes[k] for k in ((1, 0, 2) if unit.about.batch_first else (0, 1, 2)))
    return d, B, H


def starts_of(block: LayerBlock, feed: dict[str, Array], B: int, dtype: Any) -> State:
    """The layer's initial state, where the graph has ``feed``; None where it starts from what is in the file."""
    if not any(isinstance(form, InitialState) for unit in block.units for form in unit.starts):
        return None
    arrays = []
    for k in range(len(block.units[0].starts)):
        rows = []
        for unit in block.units:
            form, shape = unit.starts[k], (len(unit.about.directions), B, unit.R.shape[2])
            rows.append(part_of(unit, form, feed) if isinstance(form, InitialState) else np.zeros(shape, dtype))
            if rows[-1].shape != shape:
                raise NoLayerError(f"{unit.node} must start from states of shape {shape}; they have {rows[-1].shape}")
        arrays.append(np.concatenate(rows))
    if isinstance(block.layer, Bidirectional):
        return tuple(packed([a[k : k + 1] for a in arrays]) for k in range(2))
    return packed(arrays)


def part_of(unit: Unit, form: InitialState, feed: dict[str, Array]) -> Array:
    """The part of an input that a node starts from: (d, B, H)."""
    letters, array = letters_of(unit, form), feed[form.name]
    left = "012"[: array.ndim]
    if form.cut:
        at = left.index(form.cut)
        array = array[tuple(slice(form.start, form.stop) if k == at else slice(None) for k in range(array.ndim))]
        if form.cut not in letters:
            array, left = array.squeeze(at), left.replace(form.cut, "")
    array = array.transpose([left.index(letter) for letter in letters if letter != "n"])
    return np.expand_dims(array, letters.index("n")) if "n" in letters else array


def ends_of(blocks: list[LayerBlock], finals: tuple[State, ...]) -> Iterator[tuple[Unit, list[Array]]]:
    """Each node's final states, (d, B, H) each."""
    for block, final in zip(blocks, finals, strict=True):
        if not block.units:
            continue
        if isinstance(block.layer, Bidirectional):
            ways = [way if isinstance(way, tuple) else (way,) for way in final]
            yield block.units[0], [np.concatenate(parts) for parts in zip(*ways, strict=True)]
            continue
        arrays, n = final if isinstance(final, tuple) else (final,), len(block.units[0].about.directions)
        for j, unit in enumerate(block.units):
            yield unit, [a[j * n : (j + 1) * n] for a in arrays]


def packed(arrays: list[Array]) -> State:
    """A layer's state: an array, or a tuple of more than one."""
    return tuple(arrays) if len(arrays) > 1 else arrays[0]

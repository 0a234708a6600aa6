"""Layers for the parts of a chain, with their weights, and what initial and final states are on both sides."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from minirnn.backend import Array
from minirnn.base import Layer, State
from minirnn.compose import Bidirectional
from minirnn.formats.onnx.tracing import (
    Applied,
    Dropped,
    Encoding,
    Ended,
    Given,
    Lookup,
    NoLayerError,
    Part,
    Product,
    Spread,
    Unit,
)
from minirnn.layers import Activation, Dropout, Embedding, Last, Linear, Reverse


class Block(NamedTuple):
    """One layer of a chain, its weights by its own names, and the nodes that it does the work of."""

    layer: Layer
    weights: dict[str, Array]
    units: tuple[Unit, ...] = ()


def blocks_of(parts: tuple[Part, ...]) -> list[Block]:
    """A layer for each part; recurrent nodes that are alike and follow one another are one layer of some depth."""
    blocks: list[Block] = []
    for k, part in enumerate(parts):
        if isinstance(part, Encoding):
            follower = parts[k + 1] if k + 1 < len(parts) else None
            if not isinstance(follower, Unit) or follower.W.shape[2] != part.depth:
                raise NoLayerError("one-hot vectors must go into a recurrent node of their width; they do not")
            if follower.about.directions == (True,):  # Reverse takes no indices
                blocks.append(
                    Block(Embedding(part.depth, part.depth), {"W": np.eye(part.depth, dtype=follower.W.dtype)})
                )
        elif not isinstance(part, Unit):
            blocks.append(plain(part))
        elif blocks and blocks[-1].units and alike(blocks[-1].units[-1], part):
            blocks[-1] = recurrent((*blocks[-1].units, part))
        elif part.about.directions == (True,):
            blocks += [Block(Reverse(), {}), recurrent((part,)), Block(Reverse(), {})]
        else:
            blocks.append(recurrent((part,)))
    return blocks


def plain(part: Part) -> Block:
    """A layer without recurrence."""
    if isinstance(part, Lookup):
        return Block(Embedding(*part.W.shape), {"W": part.W})
    if isinstance(part, Product):
        bias = {} if part.b is None else {"b": part.b}
        return Block(Linear(*part.W.shape, bias=bool(bias)), {"W": part.W, **bias})
    if isinstance(part, Applied):
        f = part.function
        return Block(Activation(f.name, f.alpha, f.beta), {})
    if isinstance(part, Dropped):
        return Block(Dropout(part.p), {})
    if isinstance(part, Ended):
        return Block(Last(bidirectional=part.both), {})
    raise NoLayerError(f"{type(part).__name__} must be followed by a recurrent node; it is not")


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


def recurrent(units: tuple[Unit, ...]) -> Block:
    """The layer that does the work of some nodes, one after the other."""
    first, about = units[0], units[0].about
    D, H, directions = first.W.shape[2], first.R.shape[2], len(about.directions)
    options: dict[str, Any] = {"peepholes": first.P is not None, "trainable_state": trained(first)}
    paired = len(set(about.functions)) > 1  # a layer has one set of functions
    if paired:
        layer: Layer = Bidirectional(about.layer(0, D, H, **options), about.layer(1, D, H, **options))
    else:
        layer = about.layer(0, D, H, num_layers=len(units), bidirectional=directions == 2, **options)
    values: dict[str, Array] = {}
    for j, unit in enumerate(units):
        about.check_weights(unit.W, unit.R, unit.B, unit.P)
        for k in range(directions):
            place = f"{('forward', 'reverse')[k]}.0" if paired else f"{j}{'.reverse' if k else ''}"
            weights = about.weights(k, unit.W, unit.R, unit.B, unit.P) | starting(unit, k)
            values |= {f"{place}.{name}": value for name, value in weights.items()}
    return Block(layer, values, units)


def starting(unit: Unit, k: int) -> dict[str, Array]:
    """Initial states that are weights, of direction ``k``."""
    found: dict[str, Array] = {}
    if not trained(unit):
        return found
    directions, H = len(unit.about.directions), unit.R.shape[2]
    for name, form in zip(("h0", "c0"), unit.starts, strict=False):
        if isinstance(form, Given):
            raise NoLayerError(f"{unit.node} must have all of its initial states in the file, or none; it has some")
        value = form.value if isinstance(form, Spread) else np.zeros((directions, 1, H), unit.W.dtype)
        if value.shape != (directions, 1, H):
            raise NoLayerError(f"{unit.node} must start from one state for every row; it starts from {value.shape}")
        found[name] = value[k, 0]
    return found


# ---------------------------------------------------------------------- initial and final states


def letters_of(unit: Unit, form: Given) -> tuple[str, str, str]:
    """Which of an input's axes are directions, rows and units to a node that reads it."""
    d, B, H = (form.axes[k] for k in ((1, 0, 2) if unit.about.batch_first else (0, 1, 2)))
    return d, B, H


def starts_of(block: Block, feed: dict[str, Array], B: int, dtype: Any) -> State:
    """The layer's initial state, where the graph has ``feed``; None where it starts from what is in the file."""
    if not any(isinstance(form, Given) for unit in block.units for form in unit.starts):
        return None
    arrays = []
    for k in range(len(block.units[0].starts)):
        rows = []
        for unit in block.units:
            form, shape = unit.starts[k], (len(unit.about.directions), B, unit.R.shape[2])
            rows.append(part_of(unit, form, feed) if isinstance(form, Given) else np.zeros(shape, dtype))
            if rows[-1].shape != shape:
                raise NoLayerError(f"{unit.node} must start from states of shape {shape}; they have {rows[-1].shape}")
        arrays.append(np.concatenate(rows))
    if isinstance(block.layer, Bidirectional):
        return tuple(packed([a[k : k + 1] for a in arrays]) for k in range(2))
    return packed(arrays)


def part_of(unit: Unit, form: Given, feed: dict[str, Array]) -> Array:
    """What of an input a node starts from: (d, B, H)."""
    letters, array = letters_of(unit, form), feed[form.name]
    left = "012"[: array.ndim]
    if form.cut:
        at = left.index(form.cut)
        array = array[tuple(slice(form.start, form.stop) if k == at else slice(None) for k in range(array.ndim))]
        if form.cut not in letters:
            array, left = array.squeeze(at), left.replace(form.cut, "")
    array = array.transpose([left.index(letter) for letter in letters if letter != "n"])
    return np.expand_dims(array, letters.index("n")) if "n" in letters else array


def ends_of(blocks: list[Block], finals: tuple[State, ...]) -> Iterator[tuple[Unit, list[Array]]]:
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

"""Weights alone as a chain of layers: what their names and shapes say, and what is assumed beyond that.

Only the older ``.h5`` lists layers in their order, those without weights too.  A list with a layer that joins, moves or
changes values is no chain; one of Embedding, recurrent layers, Dense and noise is taken for one.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from minirnn.formats.keras.stores import Store, StoreByName

HARMLESS = (  # what Keras calls layers that compute nothing in inference
    *("input", "input_layer", "dropout", "spatial_dropout1d"),
    *("gaussian_noise", "gaussian_dropout", "alpha_dropout", "activity_regularization"),
)
INPUTS = ("input", "input_layer")
BY_GATES = {1: "SimpleRNN", 3: "GRU", 4: "LSTM"}
MOST_SHOWN = 12  # layers in an example
Stored = Sequence[tuple[str, tuple[int, ...]]]  # names and shapes of a layer's arrays


class Assumed(NamedTuple):
    """A configuration that fits the weights, what it rests on in words, and how to say better."""

    config: dict[str, Any]
    words: list[str]
    advice: str


def assumed(store: Store) -> Assumed:
    """The chain that the weights may be of; ValueError, which ends a sentence, where they are of none."""
    if not isinstance(store, StoreByName):
        raise ValueError("the file does not tell their order")
    layers, inputs = [], 0
    for name, arrays in store.shapes().items():
        if arrays:
            layers.append(_layer(name, arrays))
            continue
        usual = re.sub(r"_[0-9]{1,9}$", "", name)
        inputs += usual in INPUTS
        if usual not in HARMLESS or inputs > 1:
            raise ValueError(f"layer {name!r:.60} may do anything: it has no weights")
    if not layers:
        raise ValueError("there are none")
    kinds = {layer["class_name"] for layer in layers}
    words = ["its layers compute one after another, in the order in which the file lists them"]
    words += ["a Dense has no activation"] if "Dense" in kinds else []
    if kinds - {"Dense", "Embedding"}:
        words += [
            "recurrent layers have Keras' default activations",
            "each of them gives all steps, not the last alone",
        ]
    words += ["no step is masked"]
    config = {"class_name": "Sequential", "config": layers}
    example = f", or such a dictionary by hand: config={json.dumps(config)}" if len(layers) <= MOST_SHOWN else ""
    return Assumed(config, words, f"config= (--config) settles it: what model.to_json() returns{example}")


def _layer(name: str, arrays: Stored) -> dict[str, Any]:
    """The configuration of the layer that has such arrays."""
    words = [re.sub(":[0-9]+$", "", path.rsplit("/", 1)[-1]) for path, _ in arrays]
    shapes, half = [shape for _, shape in arrays], len(arrays) // 2
    ways = ["backward" if "/backward_" in path else "forward" if "/forward_" in path else "" for path, _ in arrays]
    if ways == ["forward"] * half + ["backward"] * half and shapes[:half] == shapes[half:]:
        inner = _layer(name, [(word, shape) for word, shape in zip(words[:half], shapes, strict=False)])
        if inner["class_name"] in BY_GATES.values():
            return {"class_name": "Bidirectional", "config": {"layer": inner}}
    bias = {} if words[-1] == "bias" else {"use_bias": False}
    ranks = [len(shape) for shape in shapes]
    if words == ["embeddings"] and ranks == [2]:
        return {"class_name": "Embedding", "config": {"input_dim": shapes[0][0], "output_dim": shapes[0][1]}}
    if words in (["kernel"], ["kernel", "bias"]) and ranks[0] == 2:
        return {"class_name": "Dense", "config": {"units": shapes[0][1]} | bias}
    if words[:2] == ["kernel", "recurrent_kernel"] and words[2:] in ([], ["bias"]) and ranks[:2] == [2, 2]:
        units, wide = shapes[1]
        kind = BY_GATES.get(wide // units) if units and wide % units == 0 else None
        if kind:
            after = kind == "GRU" and bool(words[2:]) and shapes[2] != (wide,)  # two biases
            reset = {"reset_after": after} if kind == "GRU" and words[2:] else {}
            return {"class_name": kind, "config": {"units": units, "return_sequences": True} | reset | bias}
    shown = ", ".join(f"{word:.30} {shape}" for word, shape in zip(words[:4], shapes, strict=False))
    raise ValueError(f"layer {name!r:.60} is none of Embedding, Dense and recurrent layers: it has {shown}")

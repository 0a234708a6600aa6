"""torch's MultiheadAttention as minirnn's, where it reads one sequence as query, keys and values.

Its three projections of the input are one matrix, ``in_proj_weight`` (3D, D); that of the output is a module within it,
``out_proj``.  Its number of heads is in no state dict: a whole module or a program says it.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar

import numpy as np

from minirnn.core.backend import Array
from minirnn.formats.containers.pickle import shown
from minirnn.formats.torch.pools import one
from minirnn.layers.attention import MultiHeadAttention

Value = TypeVar("Value")

ATTENTION = "MultiheadAttention"
WITHIN = "out_proj"
PARTS = ("query", "key", "value")  # in the order in which one matrix has them


def joined(groups: dict[str, dict[str, Value]]) -> dict[str, dict[str, Value]]:
    """Tensors by their modules' paths, with those of ``out_proj`` among those of the attention that it is within."""
    for path in [path for path, group in groups.items() if "in_proj_weight" in group]:
        inner = groups.pop(f"{path}.{WITHIN}" if path else WITHIN, {})
        groups[path] |= {f"{WITHIN}.{last}": value for last, value in inner.items()}
    return groups


def is_attention(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether tensors of these names and shapes are those of one."""
    D = shapes.get(f"{WITHIN}.weight", (0,))[0]
    plain = {"in_proj_weight": (3 * D, D), f"{WITHIN}.weight": (D, D)}
    return D > 0 and shapes in (plain, plain | {"in_proj_bias": (3 * D,), f"{WITHIN}.bias": (D,)})


def attributes(values: Mapping[Any, Any]) -> dict[str, int]:
    """What it was made with, from its attributes; ValueError for what no layer does."""
    if values.get("add_zero_attn", False) is not False:
        raise ValueError(f"add_zero_attn must be False; it is {shown(values['add_zero_attn'])}")
    return {"num_heads": one(values, "num_heads", 0)} if "num_heads" in values else {}


def attention(
    D: int, num_heads: int, fetch: Callable[[str], Array], *, bias: bool
) -> tuple[MultiHeadAttention, dict[str, Callable[[], Array]]]:
    """The layer and its weights; ValueError where the heads do not divide the features."""
    weights: dict[str, Callable[[], Array]] = {
        "output.W": lambda: fetch(f"{WITHIN}.weight").T,
    }
    for k, part in enumerate(PARTS):
        weights[f"{part}.W"] = partial(lambda rows: fetch("in_proj_weight")[rows].T, slice(k * D, (k + 1) * D))
        if bias:
            weights[f"{part}.b"] = partial(lambda rows: fetch("in_proj_bias")[rows], slice(k * D, (k + 1) * D))
    if bias:
        weights["output.b"] = lambda: fetch(f"{WITHIN}.bias")
    return MultiHeadAttention(D, num_heads, bias=bias), weights


# ---------------------------------------------------------------------- written


def has_words(layer: MultiHeadAttention) -> bool:
    """Whether torch has a module that computes the same."""
    D = layer.output_size
    return (
        layer.sizes_read == [D, D]
        and layer.input_size == layer.num_heads * layer.key_size == D
        and (layer.value_size == layer.key_size)
    )


def arrays_of(layer: MultiHeadAttention, path: str) -> Iterator[tuple[str, Array]]:
    """The layer's arrays under torch's names."""
    host = layer.bound.backend.host
    parts = [layer.parts[part] for part in PARTS]
    yield f"{path}in_proj_weight", np.concatenate([host(part.weight("W")).T for part in parts])
    if layer.bias:
        yield f"{path}in_proj_bias", np.concatenate([host(part.weight("b")) for part in parts])
    yield f"{path}{WITHIN}.weight", host(layer.parts["output"].weight("W")).T.copy()
    if layer.bias:
        yield f"{path}{WITHIN}.bias", host(layer.parts["output"].weight("b")).copy()

"""Keras' attention as minirnn's: the arrays that it has in a file, and the layer."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from minirnn.core.backend import Array
from minirnn.formats.keras.settings import Settings
from minirnn.formats.keras.stores import Stored, values
from minirnn.formats.keras.weights import Getter, Placed, expect
from minirnn.layers.attention import Attention, MultiHeadAttention

ATTENDING = ("Attention", "AdditiveAttention", "MultiHeadAttention")
PARTS = {"query": "query_dense", "key": "key_dense", "value": "value_dense", "output": "output_dense"}  # in this order


def attention_parts(kind: str, settings: Settings) -> Iterator[tuple[str, int]]:
    """Where a layer keeps its arrays, and how many."""
    if kind == "MultiHeadAttention":
        count = 2 if settings.flag("use_bias", default=True) else 1
        yield from ((part, count) for part in PARTS.values())
        return
    count = int(settings.flag("use_scale", default=kind == "AdditiveAttention")) + int(
        _score(kind, settings) == "concat"
    )
    if count:
        yield "", count


def _score(kind: str, settings: Settings) -> str:
    if kind == "AdditiveAttention":
        return "additive"
    score = settings.values.get("score_mode", "dot")
    if score not in ("dot", "concat"):
        raise settings.fault(f"score_mode={score!r:.40} is not supported")
    return str(score)


def attention(
    kind: str,
    settings: Settings,
    widths: Sequence[int | None],
    find: Callable[[str], Sequence[Stored]],
    *,
    causal: bool,
) -> Placed:
    """One of ``ATTENDING`` with its weights; ``widths`` are the features of what it reads, query first."""
    causal = causal or settings.flag("causal")  # of Keras 2, where it was an option of the layer
    if kind == "MultiHeadAttention":
        return _heads(settings, find, causal=causal)
    score, scale = _score(kind, settings), settings.flag("use_scale", default=kind == "AdditiveAttention")
    if widths[0] is None:
        raise settings.fault("needs to know how many features the query has")
    layer = Attention(widths[0], score, scale=scale, causal=causal)
    stored = find("") if scale or score == "concat" else []
    names = ["g"] * scale + ["u"] * (score == "concat")
    sources: dict[str, Getter] = {}
    for name, dataset in zip(names, stored, strict=True):
        expect(settings, dataset, (widths[0],) if name == "g" and score == "additive" else ())
        sources[name] = _flat(dataset)
    return Placed(layer, sources)


def _flat(dataset: Stored) -> Getter:
    return lambda: np.asarray(values(dataset)).reshape(-1)


def _heads(settings: Settings, find: Callable[[str], Sequence[Stored]], *, causal: bool) -> Placed:
    for word in ("use_gate", "sliding_window"):
        settings.refuse(word)
    if settings.values.get("attention_axes") not in (None, [1], 1):
        raise settings.fault("attention_axes must be that of the steps, 1")
    N, H, bias = settings.size("num_heads"), settings.size("key_dim"), settings.flag("use_bias", default=True)
    E = settings.size("value_dim") if settings.has("value_dim") else H
    stored = {name: find(part) for name, part in PARTS.items()}
    sizes = {}
    for name, (kernel, *_) in stored.items():
        if len(kernel.shape) != 3 or min(kernel.shape) < 1:
            raise settings.fault(f"must have kernels of three axes; {name} has {kernel.shape}")
        sizes[name] = kernel.shape[2 if name == "output" else 0]
    shapes = {"query": (sizes["query"], N, H), "key": (sizes["key"], N, H), "value": (sizes["value"], N, E)}
    shapes["output"] = (N, E, sizes["output"])
    sources: dict[str, Getter] = {}
    for name, (kernel, *more) in stored.items():
        expect(settings, kernel, shapes[name])
        rows = N * E if name == "output" else sizes[name]
        sources[f"{name}.W"] = _matrix(kernel, rows)
        if more:
            expect(settings, more[0], shapes[name][2:] if name == "output" else shapes[name][1:])
            sources[f"{name}.b"] = _flat(more[0])
    read = [sizes["value"], sizes["key"]]
    layer = MultiHeadAttention(sizes["query"], N, H, E, sizes["output"], read, bias=bias, causal=causal)
    return Placed(layer, sources)


def _matrix(dataset: Stored, rows: int) -> Getter:
    def whole() -> Array:
        return values(dataset).reshape(rows, -1)

    return whole

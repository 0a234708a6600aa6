"""The weights and inputs of a case: drawn from a seed, so that every process has the same without being sent any."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks.cases import GATES, Case

Array: TypeAlias = NDArray[Any]
Arrays: TypeAlias = dict[str, Array]

STREAM = 16  # inputs of a stream, in turn: one alone would drive the state to a fixed point
BATCHES = 8  # of a language model, in turn: one alone would be learnt by heart
LOSSES = 3  # steps of the chapter's job whose losses have to agree


def draw(case: Case) -> Arrays:
    """Weights by minirnn's names for a recurrent layer, inputs, and cotangents, all float32 or int64.

    Weights are uniform in ±1/√H, as torch initialises them: ``0.W (D, G·H)``, ``0.U (H, G·H)``, ``0.b (G·H)``, of a
    GRU ``0.bn (H)``, ``0.reverse.W``, ``1.W`` ...; the language model's others are ``linear.W``, ``linear.b`` and
    ``embedding.W``.  Inputs and cotangents are normal.

        training, inference   x (T, B, D); training, and long, also dy (T, B, H · directions)
        stream                x (STREAM, 1, 1, D)
        chapter               x, targets (BATCHES, T, B)
    """
    rng = np.random.default_rng(0)
    T, B, D, H = case.T, case.B, case.D, case.H
    arrays: Arrays = {}

    def weight(name: str, *shape: int) -> None:
        arrays[name] = rng.uniform(-(H**-0.5), H**-0.5, shape).astype(np.float32)

    def normal(name: str, *shape: int) -> None:
        arrays[name] = rng.standard_normal(shape, np.float32)

    for prefix, width in directions(case):
        weight(f"{prefix}.W", width, GATES[case.cell] * H)
        weight(f"{prefix}.U", H, GATES[case.cell] * H)
        weight(f"{prefix}.b", GATES[case.cell] * H)
        if case.cell == "gru":
            weight(f"{prefix}.bn", H)
    if case.vocab is not None:
        if case.embedding:
            weight("embedding.W", case.vocab, case.embedding)
        weight("linear.W", H * case.directions, case.vocab)
        weight("linear.b", case.vocab)
        arrays["x"] = rng.integers(0, case.vocab, (BATCHES, T, B))
        arrays["targets"] = rng.integers(0, case.vocab, (BATCHES, T, B))
    elif case.kind == "stream":
        normal("x", STREAM, T, B, D)
    else:
        normal("x", T, B, D)
    if case.kind in ("training", "long"):
        normal("dy", T, B, H * case.directions)
    return arrays


def directions(case: Case) -> list[tuple[str, int]]:
    """Each layer's direction by its name in minirnn (``"0"``, ``"0.reverse"`` ...) and the width it reads."""
    suffixes = ["", ".reverse"][: case.directions]
    widths = [case.D] + [case.H * case.directions] * (case.layers - 1)
    return [(f"{k}{suffix}", width) for k, width in enumerate(widths) for suffix in suffixes]

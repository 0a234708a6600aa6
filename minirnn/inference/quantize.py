"""Models whose matrices are stored in fewer bits: a quarter (int8) or half (f16, bf16) of the bytes, for inference.

Only matrices change: W, U, the weights of Linear and Embedding.  Biases and per-unit weights stay as they are, states
and activations are float32.  What a matrix multiplies is rounded for the product, with bf16 as the matrix is (products
are those of ``compute="bfloat16"``), with int8 to integers with a factor for each row; with f16 it is not.  The layers
are the same; where they would multiply with an array, they multiply with a ``BlockedMatrix``, for which Numba's backend
has kernels.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from minirnn.core.backend import Array, Backend, Dtype
from minirnn.core.parameters import Parameters, Sources, Spec, Views
from minirnn.inference.blocks import KINDS, BlockedMatrix

STORED = tuple(kind for kind in KINDS if kind != "full")
DTYPES = {"f16": "float16", "bf16": "bfloat16", "int8": "int8"}  # of the matrices
LARGEST = {"f16": 65504.0, "bf16": 2.0**128 - 2.0**120}  # the numbers that are not rounded to infinity


class NarrowParameters(Parameters):
    """The weights of a quantised model: a flat vector of what stays as it was, and ``matrices`` by name.

    ``specs`` are those of the whole model, ``quantized`` is the kind of the matrices.
    """

    def __init__(self, specs: dict[str, Spec], matrices: dict[str, BlockedMatrix], kind: str, backend: Backend) -> None:
        super().__init__(
            {name: spec for name, spec in specs.items() if name not in matrices}, backend, np.dtype(np.float32)
        )
        self.specs, self.matrices, self.quantized = specs, matrices, kind

    @property
    def count(self) -> int:
        return sum(prod(spec.shape) for spec in self.specs.values())

    @property
    def nbytes(self) -> int:
        vectors = sum(slot.size for slot in self.slots.values()) * self.dtype.itemsize
        return vectors + sum(matrix.nbytes for matrix in self.matrices.values())

    def view(self, flat: Array, name: str) -> Any:
        return self.matrices[name] if name in self.matrices else super().view(flat, name)

    @property
    def entries(self) -> str:
        return self.quantized or "full"

    def addresses(self, name: str) -> tuple[int, int]:
        return (0, 0) if name in self.matrices else super().addresses(name)

    def named(self, flat: Array, specs: dict[str, Spec], prefix: str, *, gates: bool) -> Views:
        if gates:
            raise ValueError("a quantised model's matrices are not cut into gates; ask for named_weights()")
        return Views(super().named(flat, specs, prefix, gates=False), {})

    def on(self, backend: Backend, dtype: Dtype, compute: str | None) -> Parameters:
        if dtype != self.dtype:
            raise ValueError(f"a quantised model computes in float32; it cannot become {dtype.name}")
        if compute:
            raise ValueError(f"a quantised model has products of its own; compute={compute!r} is for the one before")
        matrices = {name: matrix.on(backend) for name, matrix in self.matrices.items()}
        new = NarrowParameters(self.specs, matrices, self.quantized or "", backend)
        new.weights[...] = self.weights
        return new

    def changed(self) -> list[str]:
        return list(self.specs)

    def _joined(self, specs: dict[str, Spec], sources: Sources) -> Parameters:
        matrices = {}
        for name, (source, there) in sources.items():
            assert isinstance(source, NarrowParameters)  # for the type checker: they are of one kind
            if there in source.matrices:
                matrices[name] = source.matrices[there]  # which nothing writes to
        new = NarrowParameters(specs, matrices, self.quantized or "", self.backend)
        new.take({name: sources[name] for name in new.slots})
        for name in matrices:
            new.inherit(name, *sources[name])
        return new


def narrowed(old: Parameters, specs: dict[str, Spec], kind: str) -> NarrowParameters:
    """The weights of ``old`` with every matrix of ``specs`` stored as ``kind``, one of ``STORED``."""
    if kind not in STORED:
        raise ValueError(f"quantize takes one of {', '.join(STORED)}; got {kind!r}")
    if old.quantized:
        raise ValueError(f"this model is quantised already, to {old.quantized}: quantise the one it was made from")
    if old.backend.on_device or old.dtype not in (np.float32, np.float64):
        raise ValueError(
            f"quantize takes a model on the host in float32 or float64; got {old.dtype.name} on {old.backend.name}"
        )
    matrices = {}
    for name, spec in specs.items():
        if len(spec.shape) == 2:
            values = old.view(old.weights, name)
            if not np.isfinite(values).all():
                raise ValueError(f"weight {name} is not finite: a diverged model is not quantised")
            if kind in LARGEST and values.size and np.abs(values).max() > LARGEST[kind]:
                raise ValueError(f"a weight of {name} is too large for {DTYPES[kind]}; quantise to int8")
            matrices[name] = BlockedMatrix.of(
                values.astype(np.float32, copy=False),
                kind,
                transposed=spec.role == "embedding",
                backend=old.backend,
            )
    new = NarrowParameters(specs, matrices, kind, old.backend)
    for name in new.slots:
        new.view(new.weights, name)[...] = old.view(old.weights, name)
    return new


def restored(specs: dict[str, Spec], values: Callable[[str], Array], kind: str, backend: Backend) -> NarrowParameters:
    """The weights of a quantised model from what was stored of them: ``values(name)``, of int8 also ``name.scale``."""
    matrices = {}
    for name, spec in specs.items():
        if len(spec.shape) == 2:
            scale = np.array(values(f"{name}.scale")) if kind == "int8" else None
            matrices[name] = BlockedMatrix.stored(
                values(name),
                scale,
                transposed=spec.role == "embedding",
                backend=backend,
            )
    new = NarrowParameters(specs, matrices, kind, backend)
    for name in new.slots:
        new.view(new.weights, name)[...] = values(name)
    return new


def stored(parameters: Parameters, specs: dict[str, Spec]) -> dict[str, Array]:
    """The arrays that ``restored`` takes, by name."""
    arrays: dict[str, Array] = {}
    for name in specs:
        weight = parameters.view(parameters.weights, name)
        if isinstance(weight, BlockedMatrix):
            arrays[name] = weight.values()
            if weight.scale is not None:
                arrays[f"{name}.scale"] = weight.scale
        else:
            arrays[name] = weight
    return arrays


def stored_as(specs: dict[str, Spec], kind: str) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of everything that ``stored`` names."""
    kinds = {}
    for name, spec in specs.items():
        matrix = len(spec.shape) == 2
        kinds[name] = (spec.shape, DTYPES[kind] if matrix else "float32")
        if matrix and kind == "int8":
            kinds[f"{name}.scale"] = ((spec.shape[0 if spec.role == "embedding" else 1],), "float32")
    return kinds

"""One flat vector of weights, one of gradients, and a name for every piece of both."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal, get_args

import numpy as np

from minirnn.backend import Array, Backend

Scheme = Literal["uniform", "normal", "orthogonal"]
Role = Literal["input", "recurrent", "bias", "unit", "embedding", "state"]

GRAIN = 16  # entries; every weight starts at a multiple of it, in every dtype, so that flat vectors correspond


@dataclass(frozen=True)
class Spec:
    """What a layer asks for: a weight's shape and what it is, from which each scheme knows how to fill it.

    ``fan`` is the width that torch's uniform initialisation divides by; ``gates`` are the names of the equal column
    blocks that a fused weight consists of, if it has any.
    """

    shape: tuple[int, ...]
    role: Role
    fan: int
    gates: tuple[str, ...] = ()


@dataclass(frozen=True)
class Slot:
    """Where a weight lies in the flat vectors."""

    offset: int
    spec: Spec

    @property
    def size(self) -> int:
        return prod(self.spec.shape)

    @property
    def extent(self) -> slice:
        return slice(self.offset, self.offset + self.size)


def lay_out(specs: dict[str, Spec]) -> dict[str, Slot]:
    """Place each weight after the one before it, aligned to GRAIN entries."""
    slots, offset = {}, 0
    for name, spec in specs.items():
        slots[name] = slot = Slot(offset, spec)
        offset += -(-slot.size // GRAIN) * GRAIN
    return slots


class Parameters:
    """The weights and gradients of a whole model.

    ``weights`` and ``grads`` are flat vectors that never move: optimisers, loading and users write in place.  Views are
    cut from them when asked for, so that copies and pickles of a model keep weights and views together.

    ``calls`` counts the training forwards that drew dropout masks, ``updates`` the optimiser's steps.
    """

    def __init__(self, specs: dict[str, Spec], backend: Backend, dtype: np.dtype[Any], seed: int) -> None:
        self.backend, self.dtype, self.seed = backend, dtype, seed
        self.slots = lay_out(specs)
        size = max((s.offset + -(-s.size // GRAIN) * GRAIN for s in self.slots.values()), default=0)
        self.weights = backend.zeros(size, dtype)
        self.grads = backend.zeros(size, dtype)
        self.frozen: set[str] = set()
        self.calls = 0
        self.updates = 0

    @property
    def count(self) -> int:
        """Number of weights, alignment gaps left out."""
        return sum(slot.size for slot in self.slots.values())

    def view(self, flat: Array, name: str) -> Array:
        """The part of ``flat`` (laid out like ``weights``) that belongs to ``name``, in its shape."""
        slot = self.slots[name]
        return flat[slot.extent].reshape(slot.spec.shape)

    def named(self, flat: Array, prefix: str, *, gates: bool) -> dict[str, Array]:
        """Views of ``flat`` for the names under ``prefix``, which is cut off; fused weights gate by gate if asked."""
        views = {}
        for name, slot in self.slots.items():
            if not name.startswith(prefix):
                continue
            whole, short = self.view(flat, name), name[len(prefix) :]
            if gates and slot.spec.gates:
                width = slot.spec.shape[-1] // len(slot.spec.gates)
                for k, gate in enumerate(slot.spec.gates):
                    path = short.rpartition(".")
                    views[f"{path[0]}{path[1]}{gate}"] = whole[..., k * width : (k + 1) * width]
            else:
                views[short] = whole
        return views

    def freeze(self, names: Sequence[str], *, frozen: bool) -> None:
        """Freeze or unfreeze weights, each named in full or by the layer that holds it (``"1"``, ``"1.0.U"``)."""
        chosen = []
        for name in names:
            found = [known for known in self.slots if known == name or known.startswith(f"{name}.")]
            if not found:
                raise KeyError(f"no weight or layer is called {name!r}; the weights are {', '.join(self.slots)}")
            chosen += found
        self.frozen = self.frozen | set(chosen) if frozen else self.frozen - set(chosen)

    def trainable(self) -> Iterator[slice]:
        """The stretches of the flat vectors that training changes: everything that is not frozen, gaps included."""
        start, end = 0, 0
        for name, slot in self.slots.items():
            if name in self.frozen:
                if start < end:
                    yield slice(start, end)
                start = slot.offset + -(-slot.size // GRAIN) * GRAIN
            end = slot.offset + -(-slot.size // GRAIN) * GRAIN
        if start < end:
            yield slice(start, end)

    def fill(self, scheme: Scheme) -> None:
        """Draw every weight anew from ``seed``, in float64, whatever the dtype."""
        if scheme not in get_args(Scheme):
            raise ValueError(f"scheme must be one of {', '.join(get_args(Scheme))}; got {scheme!r}")
        rng = np.random.default_rng(self.seed)
        for name, slot in self.slots.items():
            values = initial(rng, slot.spec, scheme).astype(self.dtype)
            self.view(self.weights, name)[...] = self.backend.xp.asarray(values)


def initial(rng: "np.random.Generator", spec: Spec, scheme: Scheme) -> Array:
    """Initial values for one weight, float64.

    uniform     torch's: uniform in ±1/√fan for all of a layer's weights and biases; embeddings normal with deviation 1.
    normal      the chapter's: normal with deviation 0.01, biases 0.
    orthogonal  each gate's block of U orthogonal (Saxe et al. 2014, arXiv 1312.6120), each block of W uniform in
                ±√(6 / (fan in + fan out)) (Glorot and Bengio 2010, equation 16), biases 0; embeddings as in torch.

    Trainable initial states and per-unit weights of a cell start as uniform has them under that scheme, else at 0;
    initial states always at 0.
    """
    if spec.role == "state":
        return np.zeros(spec.shape)
    if spec.role == "embedding":
        return rng.normal(0.0, 0.01 if scheme == "normal" else 1.0, spec.shape)
    if scheme == "uniform":
        bound = spec.fan**-0.5
        return rng.uniform(-bound, bound, spec.shape)
    if spec.role in ("bias", "unit"):
        return np.zeros(spec.shape)
    if scheme == "normal":
        return rng.normal(0.0, 0.01, spec.shape)
    rows, columns = spec.shape
    width = columns // max(1, len(spec.gates))
    blocks = []
    for _ in range(columns // width):
        if spec.role == "recurrent":
            q, r = np.linalg.qr(rng.normal(size=(rows, width)))
            blocks.append(q * np.sign(np.diag(r)))  # the signs make the distribution uniform over rotations
        else:
            bound = (6 / (rows + width)) ** 0.5
            blocks.append(rng.uniform(-bound, bound, (rows, width)))
    return np.concatenate(blocks, axis=1)

"""One flat vector of weights, one of gradients, and a name for every piece of both."""

import os
import weakref
from _thread import RLock, allocate_lock  # what threading's locks are; importing threading takes a millisecond
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from minirnn.core.backend import Array, Backend, Dtype, namespace
from minirnn.core.bfloat16 import RoundedMatrix, rounded

Scheme = Literal["uniform", "normal", "orthogonal"]
Role = Literal["input", "recurrent", "bias", "unit", "embedding", "state", "variance"]

PREPARED = 128  # entries that are kept of what was worked out for a model
GRAIN = 16  # entries; every weight starts at a multiple of it, in every dtype, so that flat vectors correspond


@dataclass(frozen=True)
class Spec:
    """A weight as a layer asks for it: its shape and its role, from which each scheme knows how to fill it.

    ``fan`` is the width that torch's uniform initialisation divides by; ``gates`` are the names of the equal column
    blocks that a fused weight consists of, if it has any.  ``start`` is what all entries are at first under every
    scheme; None draws them.
    """

    shape: tuple[int, ...]
    role: Role
    fan: int
    gates: tuple[str, ...] = ()
    start: float | None = None


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

    @property
    def end(self) -> int:
        """Where the next weight starts: at a multiple of GRAIN."""
        return self.offset + -(-self.size // GRAIN) * GRAIN


@dataclass(frozen=True)
class Draw:
    """The draw of one ``init``: it can be repeated, which tells whether weights have changed since."""

    seed: int
    scheme: Scheme
    specs: tuple[tuple[str, Spec], ...]

    def values(self) -> Iterator[tuple[str, Array]]:
        """Every weight's name and initial values, float64."""
        rng = np.random.default_rng(self.seed)
        for name, spec in self.specs:
            yield name, initial(rng, spec, self.scheme)


def lay_out(specs: dict[str, Spec]) -> dict[str, Slot]:
    """Place each weight after the one before it, aligned to GRAIN entries."""
    slots, offset = {}, 0
    for name, spec in specs.items():
        slots[name] = Slot(offset, spec)
        offset = slots[name].end
    return slots


class Views(dict[str, Array]):
    """Views by name; assigning to a name writes into the view.

    A gate's part of a fused weight is there too under the chapter's name, though not listed: ``views["0.W_xz"]``.
    """

    def __init__(self, views: dict[str, Array], parts: dict[str, Array]) -> None:
        super().__init__(views)
        self._parts = parts

    def __missing__(self, name: str) -> Array:
        if name not in self._parts:
            raise KeyError(f"{name} is not one of {', '.join([*self, *self._parts])}")
        return self._parts[name]

    def __setitem__(self, name: str, value: Any) -> None:
        view = self[name]
        view[...] = namespace(view).asarray(value)  # NumPy's may be written to a device's


Sources: TypeAlias = "Mapping[str, tuple[Parameters, str]]"  # by a weight's name: where it is, and its name there


class Parameters:
    """The weights and gradients of a whole model.

    ``weights`` and ``grads`` are flat vectors that never move: optimisers, loading and users write in place.  Views are
    cut from them when asked for, so that copies and pickles of a model keep weights and views together.

    ``seed`` and ``calls``, the number of training forwards so far, determine dropout's masks; ``updates`` counts how
    often an optimiser or ``init`` changed the weights; ``frozen`` names what optimisers leave alone; ``parted`` says
    that a layer has gone to another model since; ``inference_only`` has, by prefix, the layers that cannot be trained;
    ``prepared`` is what a backend works out once for these vectors.  ``changing`` is held by a thread that changes
    weights or gradients, ``checks_all`` says that backward compares all it reads again (``unchanged.py``).
    ``quantized`` names how matrices are stored where that is not in the flat vector (``inference/quantize.py``).
    ``origins`` says which ``Draw`` each weight was drawn by, and its name there; a weight that was loaded has none.
    ``batch_first`` is the order of axes in calls that name none: x (B, T, ...).  ``compute`` is the dtype that products
    round their numbers to, ``"bfloat16"``, or None: they are in ``dtype``.
    """

    quantized: str | None = None
    compute: str | None = None
    batch_first: bool = False

    def __init__(self, specs: dict[str, Spec], backend: Backend, dtype: Dtype, compute: str | None = None) -> None:
        self.backend, self.dtype, self.compute = backend, dtype, compute
        self.slots = lay_out(specs)
        size = max((slot.end for slot in self.slots.values()), default=0)
        self.weights = backend.zeros(size, dtype)
        self.grads = backend.zeros(size, dtype)
        self._locate()
        self.frozen: set[str] = set()
        self.inference_only: dict[str, str] = {}
        self.origins: dict[str, tuple[Draw, str]] = {}
        self.parted = False
        self.seed = self.calls = self.updates = 0

    def __getstate__(self) -> dict[str, Any]:
        """All but the locks and ``prepared``, which holds addresses."""
        here = ("prepared", "changing", "_counting")
        return {name: value for name, value in self.__dict__.items() if name not in here}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy or an unpickled model has aligned vectors too."""
        self.__dict__ = dict(state)
        for name in ("weights", "grads"):
            vector = self.backend.zeros(len(state[name]), self.dtype)
            vector[...] = state[name]
            setattr(self, name, vector)
        self._locate()

    def _locate(self) -> None:
        self._places = tuple(self.backend.address(a) for a in (self.weights, self.grads))
        self.prepared: dict[Any, Any] = {}
        self.checks_all = os.environ.get("MINIRNN_CHECK_INPUTS", "") not in ("", "0")
        self.unlock()
        _ALL.add(self)

    def unlock(self) -> None:
        """New locks: a forked child must not wait for a thread that it does not have."""
        self.changing = RLock()  # a layer's pull may call another backward of the same model
        self._counting = allocate_lock()

    def next_call(self) -> int:
        """The number of a training forward that begins now; no two threads get the same."""
        with self._counting:
            call: int = self.calls
            self.calls = (call + 1) % 2**64  # a file holds no larger one
        return call

    def prepare(self, key: Any, value: Any) -> None:
        """Keep in ``prepared`` what was worked out for ``key``; when there is much of it, it is worked out anew."""
        if len(self.prepared) >= PREPARED:
            self.prepared.clear()
        self.prepared[key] = value

    def addresses(self, name: str) -> tuple[int, int]:
        """Where a weight and its gradient lie in memory."""
        shift = self.slots[name].offset * self.dtype.itemsize
        return self._places[0] + shift, self._places[1] + shift

    def fits(self, specs: dict[str, Spec], backend: Backend, dtype: Dtype, compute: str | None) -> bool:
        """Whether these vectors are laid out for ``specs``, there and in that dtype."""
        here = self.slots, self.backend, self.dtype, self.compute
        return here == (lay_out(specs), backend, dtype, compute)

    @property
    def count(self) -> int:
        """Number of weights, alignment gaps left out."""
        return sum(slot.size for slot in self.slots.values())

    @property
    def nbytes(self) -> int:
        """Bytes of the weights, alignment gaps left out."""
        return self.count * self.dtype.itemsize

    def digest(self) -> bytes:
        """A short name for the weights' values: another value, another name."""
        from hashlib import blake2b  # here: it takes milliseconds, which a first answer need not wait for

        return blake2b(np.ascontiguousarray(self.backend.host(self.weights)).data, digest_size=16).digest()

    def on(self, backend: Backend, dtype: Dtype, compute: str | None) -> "Parameters":
        """The same weights on another backend, in another dtype or with other products, gradients zero."""
        new = Parameters({name: slot.spec for name, slot in self.slots.items()}, backend, dtype, compute)
        new.weights[...] = backend.xp.asarray(cast(self.backend.host(self.weights), dtype))
        new.origins = dict(self.origins)
        return new

    def take(self, sources: Sources) -> None:
        """Copy weights from other parameters: by name, whose they are and their name there; frozen ones stay frozen."""
        for name, (source, there) in sources.items():
            values: Array = source.view(source.weights, there)
            if (source.backend, source.dtype) != (self.backend, self.dtype):
                values = self.backend.xp.asarray(cast(source.backend.host(values), self.dtype))
            self.view(self.weights, name)[...] = values
            self.inherit(name, source, there)

    def gathered(self, specs: dict[str, Spec], sources: Sources) -> "Parameters":
        """New vectors laid out for ``specs``, stored as these are, with a copy of every weight of ``sources``.

        The models that the weights come from go on as they were.  Dropout's masks have the seed of these parameters.
        """
        new = self._joined(specs, sources)
        new.seed, new.batch_first = self.seed, new.batch_first or self.batch_first
        return new

    def _joined(self, specs: dict[str, Spec], sources: Sources) -> "Parameters":
        new = Parameters(specs, self.backend, self.dtype, self.compute)
        new.take(sources)
        return new

    @property
    def entries(self) -> str:
        """The kind of what kernels multiply: ``full`` or ``bf16`` (``kernels/cpu/entries.py``)."""
        return "bf16" if self.compute else "full"

    @property
    def numbers(self) -> str:
        """What weights are stored as, and what products round them to where that is something else."""
        products = f", products in {self.compute}" if self.compute else ""
        return f"{self.quantized or self.dtype.name}{products}"

    @property
    def kind(self) -> str:
        """How and where weights are stored and multiplied, which must be the same for all of a model."""
        return f"{self.numbers} on backend {self.backend.name}"

    def operand(self, weight: Array) -> Any:
        """A weight as products take it: a matrix rounds what it is multiplied with where ``compute`` says so."""
        return RoundedMatrix(weight) if self.compute and weight.ndim == 2 else weight

    def product(self, a: Array, b: Any) -> Array:
        """a @ b of two matrices, both rounded where ``compute`` says so."""
        product: Array = rounded(a) @ rounded(b) if self.compute else a @ b
        return product

    def inherit(self, name: str, source: "Parameters", there: str) -> None:
        """Take over what is known of a weight beside its values."""
        if there in source.frozen:
            self.frozen.add(name)
        if there in source.origins:
            self.origins[name] = source.origins[there]
        self.batch_first = self.batch_first or source.batch_first

    def changed(self) -> list[str]:
        """The weights that are not as ``init`` drew them: loaded, trained, or written by hand."""
        origins: dict[Draw, dict[str, list[str]]] = {}
        for name, (draw, there) in self.origins.items():
            origins.setdefault(draw, {}).setdefault(there, []).append(name)
        # rounding to another dtype and back is no change, nor is what another BLAS makes of an orthogonal matrix
        eps, unchanged = max(float(np.finfo(dtype).eps) for dtype in (self.dtype, np.float32)), set()
        for draw, names in origins.items():
            for there, drawn in draw.values():
                for name in names.get(there, ()):
                    now = self.backend.host(self.view(self.weights, name))
                    if (abs(now - drawn) <= 4 * eps * abs(drawn) + 1e-14).all():
                        unchanged.add(name)
        return [name for name in self.slots if name not in unchanged]

    def view(self, flat: Array, name: str) -> Any:
        """The part of ``flat`` (laid out like ``weights``) that belongs to ``name``, in its shape."""
        slot = self.slots[name]
        return flat[slot.extent].reshape(slot.spec.shape)

    def clear_gaps(self) -> None:
        """Set what lies between the weights to 0, in both vectors."""
        for slot in self.slots.values():
            gap = slice(slot.extent.stop, slot.end)
            self.weights[gap] = self.grads[gap] = 0

    def named(self, flat: Array, specs: dict[str, Spec], prefix: str, *, gates: bool) -> Views:
        """Views of ``flat`` for weights that stand under ``prefix``; fused ones gate by gate if asked."""
        views: dict[str, Array] = {}
        parts: dict[str, Array] = {}
        for name, spec in specs.items():
            whole = self.view(flat, prefix + name)
            path, width = name.rpartition("."), spec.shape[-1] // max(1, len(spec.gates))
            split = {
                f"{path[0]}{path[1]}{g}": whole[..., k * width : (k + 1) * width] for k, g in enumerate(spec.gates)
            }
            if gates and split:
                views |= split
            else:
                views[name] = whole
                parts |= split
        return Views(views, parts)

    def trainable(self) -> Iterator[slice]:
        """The stretches of the flat vectors that training changes: everything that is not frozen, gaps included."""
        start = 0
        for slot in sorted((self.slots[name] for name in self.frozen), key=lambda slot: slot.offset):
            if start < slot.offset:
                yield slice(start, slot.offset)
            start = slot.end
        if start < len(self.weights):
            yield slice(start, len(self.weights))

    def fill(self, seed: int, scheme: Scheme, skipped: Collection[str] = ()) -> None:
        """Draw every weight anew but those ``skipped``, in float64, whatever the dtype; gradients become 0.

        A weight gets the same values whatever is kept beside it.
        """
        if scheme not in get_args(Scheme):
            raise ValueError(f"scheme must be one of {', '.join(get_args(Scheme))}; got {scheme!r}")
        self.seed, self.calls, self.updates = seed, 0, self.updates + 1
        self.grads[...] = 0
        draw = Draw(seed, scheme, tuple((name, slot.spec) for name, slot in self.slots.items()))
        for name, values in draw.values():
            if name not in skipped:
                self.view(self.weights, name)[...] = self.backend.xp.asarray(values.astype(self.dtype))
                self.origins[name] = draw, name


_ALL: "weakref.WeakSet[Parameters]" = weakref.WeakSet()


def _unlock_all() -> None:
    for parameters in list(_ALL):
        parameters.unlock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock_all)


def initial(rng: "np.random.Generator", spec: Spec, scheme: Scheme) -> Array:
    """Initial values for one weight, float64.

    uniform     torch's: uniform in ±1/√fan for all of a layer's weights and biases; embeddings normal with deviation 1.
    normal      the chapter's: normal with deviation 0.01, biases 0.
    orthogonal  each gate's block of U orthogonal (Saxe et al. 2014, arXiv 1312.6120), its rows or columns where it is
                not square, and a projection's columns; each block of W uniform in
                ±√(6 / (fan in + fan out)) (Glorot and Bengio 2010, equation 16), biases 0; embeddings as in torch.

    Per-unit weights of a cell are treated as its biases; trainable initial states start at 0 under every scheme.
    """
    if spec.start is not None:
        return np.full(spec.shape, spec.start)
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
            q, r = np.linalg.qr(rng.normal(size=(max(rows, width), min(rows, width))))
            q *= np.sign(np.diag(r))  # the signs make the distribution uniform over rotations
            blocks.append(q if rows >= width else q.T)
        else:
            bound = (6 / (rows + width)) ** 0.5
            blocks.append(rng.uniform(-bound, bound, (rows, width)))
    return np.concatenate(blocks, axis=1)


def cast(values: Array, dtype: Dtype) -> Array:
    """``values`` in ``dtype``, or ValueError where that would lose more than digits: imaginary parts, finite size."""
    if values.dtype.kind == "c" and dtype.kind != "c":
        if values.imag.any():
            raise ValueError(f"weights with imaginary parts do not fit {dtype.name}")
        values = values.real
    with np.errstate(over="ignore"):  # looked for below
        converted: Array = values.astype(dtype)
    if bool(np.isinf(converted).any()) > bool(np.isinf(values).any()):
        raise ValueError(f"a weight is too large for {dtype.name}")
    return converted

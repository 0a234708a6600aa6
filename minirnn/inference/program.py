"""One step of a model as a program of kernels: weights in blocks, ready for any number of streams."""

from functools import singledispatch
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from minirnn.core.backend import Array, Dtype
from minirnn.core.layer import Layer
from minirnn.inference.blocks import COLUMNS, BlockedMatrix, aligned
from minirnn.kernels.cpu.passes import StepArguments, address
from minirnn.layers.compose import Sequential
from minirnn.layers.feedforward import Dropout, Embedding, Last, Linear
from minirnn.recurrent.direction import Direction
from minirnn.recurrent.networks import Recurrent
from minirnn.recurrent.passes import matrices_of

Weight: TypeAlias = "Array | BlockedMatrix"  # as a model has it, whole or quantised


class Part(NamedTuple):
    """One layer: the address of its kernel, its weights in blocks, its sizes, how many states and units it has."""

    kernel: int
    W: BlockedMatrix
    U: BlockedMatrix | None
    b: Array
    v: Array
    D: int
    H: int
    R: int  # how wide its output is
    states: int = 0
    saved: int = 0  # arrays that a step writes beside gates and states
    rows: int = 0  # numbers that it writes for each row
    cell: int = 0  # the address of what the kernel is told of its cell
    w: Array | None = None  # (units, H)
    later: tuple[BlockedMatrix, ...] = ()  # what later stages multiply with
    z: Array | None = None  # (zoned states, the larger of H and R): how much of each stays as it was


class StepProgram:
    """The kernels of one step of ``model``, layer after layer.

    ``whole`` is False where a layer has no kernel for single steps: then the model must run as it is.  ``stacks``
    numbers the parts whose states a model has in one array.
    """

    def __init__(self, model: Layer) -> None:
        kernels, self.dtype = model.bound.backend.fused("stream_kernels"), model.bound.dtype
        self.kernels: Any = kernels() if kernels else None
        self.backend = model.bound.backend
        self.whole = kernels is not None
        self.parts: list[Part] = []
        self.stacks: list[range] = []
        # products of numbers rounded to bfloat16 are those with matrices that are stored so
        self.kind = "bf16" if model.bound.compute else "full"
        if self.whole:
            add_step(model, self)

    def blocked(self, weight: Weight, *, transposed: bool = False) -> BlockedMatrix:
        """A weight in blocks: as it is where a quantised model has it so, else copied; some columns are copied."""
        if not isinstance(weight, BlockedMatrix):
            kind = "full" if transposed else self.kind
            return BlockedMatrix.of(weight, kind, transposed=transposed, backend=self.backend)
        return weight if weight.whole else weight.copied()


@singledispatch
def add_step(layer: Layer, program: StepProgram) -> None:
    """Add the kernels of one step of this layer; a layer of no kind below has none."""
    program.whole = False


@add_step.register
def _(layer: Sequential, program: StepProgram) -> None:
    for child in layer.layers:
        if program.whole:
            add_step(child, program)


@add_step.register
def _(layer: Recurrent, program: StepProgram) -> None:
    first, one = len(program.parts), layer.directions[0]
    facts = one.recurrence.facts
    if facts is None or one.kernels(layer.bound.backend) is None:
        program.whole = False
        return
    for direction in layer.directions:
        H, R, W = direction.hidden_size, direction.widths[0], program.blocked(direction.weight("W"))
        N = W.shape[1]
        matrices = [program.blocked(matrix) for matrix in matrices_of(facts, H, direction.weight)]
        v = np.zeros(max(N, R), program.dtype)
        if facts.bias:
            v[N - H : N] = direction.weight(facts.bias)
        w = aligned((len(facts.units), H), program.dtype)
        for k, name in enumerate(facts.units):
            w[k] = direction.weight(name)
        part = Part(
            kernel=program.kernels.RECURRENT[W.kind][program.dtype],
            cell=program.kernels.cell_of(facts, program.dtype),
            W=W,
            U=matrices[0] if matrices else None,
            b=_filled_up(direction.weight("b")),
            v=_filled_up(v),
            D=W.shape[0],
            H=H,
            R=R,
            states=facts.states,
            saved=len(facts.arrays("m")),
            rows=len(facts.arrays("s")),
            w=w,
            later=tuple(matrices[1:]),
            z=_shares(direction, program.dtype),
        )
        program.parts.append(part)
    program.stacks.append(range(first, len(program.parts)))


@add_step.register
def _(layer: Linear, program: StepProgram) -> None:
    W = program.blocked(layer.tie.weight("W").T if layer.tie else layer.weight("W"))
    K, N = W.shape
    b = _filled_up(layer.weight("b") if layer.bias else np.zeros(N, program.dtype))
    program.parts.append(Part(program.kernels.LINEAR[W.kind][program.dtype], W, None, b, b, K, N, N))


@add_step.register
def _(layer: Embedding, program: StepProgram) -> None:
    W = program.blocked(layer.weight("W"), transposed=True)
    V, N = W.shape
    none = np.zeros(0, program.dtype)
    program.parts.append(Part(program.kernels.EMBEDDING[W.kind][program.dtype], W, None, none, none, V, N, N))


@add_step.register(Dropout)
@add_step.register(Last)
def _(layer: Layer, program: StepProgram) -> None:
    """Nothing: dropout is off, and the last step is the one that has just been read."""


def _shares(direction: Direction, dtype: Dtype) -> Array:
    """How much of each state with zoneout stays as it was, a row for each."""
    shares = np.array([p for p in direction.zoneout if p], dtype)
    return np.repeat(shares[:, None], max(direction.hidden_size, direction.widths[0]), axis=1)


def _matrices(part: Part) -> list[BlockedMatrix]:
    """What a layer multiplies with."""
    return [part.W, *([part.U] if part.U else []), *part.later]


def _filled_up(vector: Array) -> Array:
    """A copy with zeros up to a whole block."""
    out = aligned((-(-len(vector) // COLUMNS) * COLUMNS,), vector.dtype)
    out[: len(vector)] = vector
    return out


class Space:
    """The memory that the kernels of a program work in for ``B`` rows.

    ``links`` (parts, fields) are their arguments, ``operations`` how many they do a step.  ``states[k]`` are part
    k's: h before and after a step, which change places at every step, then the others.
    """

    def __init__(self, program: StepProgram, B: int) -> None:
        self.run = program.kernels.step
        self.arrays: list[Array] = []  # links hold addresses only
        self.states: list[list[Array]] = []
        sizes = [2.0 * B * sum(matrix.operations for matrix in _matrices(part)) for part in program.parts]
        self.operations = sum(sizes)
        threads = [program.kernels.threads(size) for size in sizes]
        share = program.kernels.spare(max(max(part.D, part.H, part.R) for part in program.parts), 0, program.dtype)
        own = self._held(aligned((max(threads) * share,), program.dtype))

        def rows(n: int) -> Array:
            return aligned((B, n), program.dtype)

        links, below = [], 0
        for part, most in zip(program.parts, threads, strict=True):
            H, R, N, others = part.H, part.R, len(part.b), max(0, part.states - 1)
            states: list[Array] = []
            c = aligned((others, B, H), program.dtype)
            if part.states:
                states = [rows(R), rows(R), *c]
            self.states.append(states)
            self.arrays.append(c)
            h, h1 = map(address, states[:2]) if states else (0, 0)
            y = self._held(rows(R))
            later = [address(matrix.blocks) for matrix in part.later]
            link = StepArguments(
                function=part.kernel,
                cell=part.cell,
                threads=most,
                B=B,
                D=part.D,
                H=H,
                R=R,
                x=below,
                indices=0,
                W=address(part.W.blocks),
                U=address(part.U.blocks) if part.U else 0,
                later=self._held(np.array([later], np.int64)),
                b=address(part.b),
                v=address(part.v),
                h=h,
                c=address(c),
                h1=h1,
                y=y,
                P=self._held(rows(N)),
                Q=self._held(rows(len(part.v))),
                a=self._held(rows(max(1, len(part.later)) * H)),
                m=self._held(rows(max(1, part.saved) * H)),
                s=self._held(rows(max(1, part.rows))),
                w=0 if part.w is None else address(part.w),
                z=0 if part.z is None else address(part.z),
                line_z=max(H, R),
                own=own,
                share=share,
            )
            links.append(link)
            below = y
        self.links = np.array(links, np.int64)

    def step(self, x: Array, integer: bool, out: Array) -> None:  # noqa: FBT001 - once per step
        """Run the program on x, of indices if ``integer``, and fill ``out``; h changes places."""
        self.run(x, integer, out, self.links, self.operations)

    def _held(self, array: Array) -> int:
        """The address of an array that lives as long as this does."""
        self.arrays.append(array)
        return address(array)

"""One step of a model as a program of kernels: weights in blocks, ready for any number of streams."""

from collections.abc import Sequence
from functools import singledispatch
from math import prod
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from minirnn.core.backend import Array, Dtype
from minirnn.core.layer import Layer
from minirnn.inference.blocks import COLUMNS, BlockedMatrix, aligned
from minirnn.kernels.cpu.passes import StepArguments, address
from minirnn.layers.compose import Sequential
from minirnn.layers.feedforward import Dropout, Embedding, Last, Linear
from minirnn.recurrent.networks import Recurrent

Weight: TypeAlias = "Array | BlockedMatrix"  # as a model has it, whole or quantised


class Part(NamedTuple):
    """One layer: the address of its kernel, its weights in blocks, its sizes, how many states it has."""

    kernel: int
    W: BlockedMatrix
    U: BlockedMatrix | None
    b: Array
    v: Array
    D: int
    H: int
    states: int


class StepProgram:
    """The kernels of one step, layer after layer.

    ``add_step`` adds those of each layer by one of the methods below, or says that it has none: then ``whole`` is
    False, and the model must run as it is.  ``stacks`` numbers the parts whose states a model has in one array.
    """

    def __init__(self, kernels: Any, dtype: Dtype) -> None:
        self.kernels, self.dtype, self.whole = kernels, dtype, kernels is not None
        self.parts: list[Part] = []
        self.stacks: list[range] = []

    def stop(self) -> None:
        """A layer has no kernel for single steps."""
        self.whole = False

    def stack(self, layers: Sequence[tuple[str, int, dict[str, Any]]]) -> None:
        """Recurrent layers one on another: of each the cell's name, how many states it has, and its weights."""
        first = len(self.parts)
        for cell, states, weights in layers:
            W, U = _blocked(weights["W"]), _blocked(weights["U"])
            H, N = U.shape
            v = np.zeros(N, self.dtype)
            if "bn" in weights:
                v[-H:] = weights["bn"]
            kernel = self.kernels.RECURRENT[cell, W.kind][self.dtype]
            self.parts.append(Part(kernel, W, U, _filled_up(weights["b"]), _filled_up(v), W.shape[0], H, states))
        self.stacks.append(range(first, len(self.parts)))

    def linear(self, weight: Weight, bias: Array | None) -> None:
        """y = x W + b."""
        W = _blocked(weight)
        K, N = W.shape
        b = _filled_up(np.zeros(N, self.dtype) if bias is None else bias)
        self.parts.append(Part(self.kernels.LINEAR[W.kind][self.dtype], W, None, b, b, K, N, 0))

    def embedding(self, weight: Weight) -> None:
        """y = W[x]."""
        W = _blocked(weight, transposed=True)
        V, N = W.shape
        none = np.zeros(0, self.dtype)
        self.parts.append(Part(self.kernels.EMBEDDING[W.kind][self.dtype], W, None, none, none, V, N, 0))


@singledispatch
def add_step(layer: Layer, program: StepProgram) -> None:
    """Add the kernels of one step of this layer; a layer of no kind below has none."""
    program.stop()


@add_step.register
def _(layer: Sequential, program: StepProgram) -> None:
    for child in layer.layers:
        add_step(child, program)


@add_step.register
def _(layer: Recurrent, program: StepProgram) -> None:
    one = layer.directions[0]
    facts = one.recurrence.facts
    if facts is None or one.kernels(layer.bound.backend) is None:
        program.stop()
    elif program.whole:
        weights = [{name: one.weight(name) for name in one.specs()} for one in layer.directions]
        program.stack([(facts.name, facts.states, named) for named in weights])


@add_step.register
def _(layer: Linear, program: StepProgram) -> None:
    if program.whole:
        weight = layer.tie.weight("W").T if layer.tie else layer.weight("W")
        program.linear(weight, layer.weight("b") if layer.bias else None)


@add_step.register
def _(layer: Embedding, program: StepProgram) -> None:
    if program.whole:
        program.embedding(layer.weight("W"))


@add_step.register(Dropout)
@add_step.register(Last)
def _(layer: Layer, program: StepProgram) -> None:
    """Nothing: dropout is off, and the last step is the one that has just been read."""


def _blocked(weight: Weight, *, transposed: bool = False) -> BlockedMatrix:
    """A weight in blocks: as it is where a quantised model has it so, else copied."""
    return weight if isinstance(weight, BlockedMatrix) else BlockedMatrix.of(weight, "full", transposed=transposed)


def _filled_up(vector: Array) -> Array:
    """A copy with zeros up to a whole block."""
    out = aligned((-(-len(vector) // COLUMNS) * COLUMNS,), vector.dtype)
    out[: len(vector)] = vector
    return out


class Space:
    """What the kernels of a program work in for ``B`` rows.

    ``links`` (parts, fields) are their arguments, ``operations`` how many they do a step.  ``states[k]`` are part
    k's: h before and after a step, which change places at every step, then the others.
    """

    def __init__(self, program: StepProgram, B: int) -> None:
        self.dtype, self.run = program.dtype, program.kernels.step
        self.arrays: list[Array] = []  # links hold addresses only
        self.states: list[list[Array]] = []
        sizes = [
            2.0 * B * (prod(part.W.size) + (prod(part.U.size) if part.U else 0)) for part in program.parts
        ]  # operations
        self.operations = sum(sizes)
        threads = [program.kernels.threads(size) for size in sizes]
        share = program.kernels.narrow_bytes(B, max(max(part.D, part.H) for part in program.parts))
        narrow = self._bytes(max(threads) * share)
        rows, below = [], 0
        for part, most in zip(program.parts, threads, strict=True):
            H, N = part.H, len(part.b)
            states = [self._rows(B, H) for _ in range(part.states + 1)] if part.states else []
            self.states.append(states)
            h, h1, c = [*map(address, states), 0, 0, 0][:3]
            y = address(self._rows(B, H))
            link = StepArguments(
                function=part.kernel,
                threads=most,
                B=B,
                D=part.D,
                H=H,
                x=below,
                indices=0,
                **self._matrix("W", part.W),
                **self._matrix("U", part.U),
                b=address(part.b),
                v=address(part.v),
                h=h,
                c=c,
                h1=h1,
                y=y,
                P=address(self._rows(B, N)),
                Q=address(self._rows(B, N)),
                m=address(self._rows(B, H)),
                narrow=narrow,
                share=share,
            )
            rows.append(link)
            below = y
        self.links = np.array(rows, np.int64)

    def step(self, x: Array, integer: bool, out: Array) -> None:  # noqa: FBT001 - once per step
        """Run the program on x, of indices if ``integer``, and fill ``out``; h changes places."""
        self.run(x, integer, out, self.links, self.operations)

    def _rows(self, B: int, n: int) -> Array:
        self.arrays.append(aligned((B, n), self.dtype))
        return self.arrays[-1]

    def _bytes(self, n: int) -> int:
        self.arrays.append(aligned((n,), np.uint8))
        return address(self.arrays[-1])

    def _matrix(self, name: str, matrix: BlockedMatrix | None) -> dict[str, int]:
        """The kernel arguments of a matrix, or of none."""
        blocks, scale, apart = 0, 0, 0
        if matrix:
            blocks, apart = address(matrix.blocks), matrix.blocks.strides[0]
            if matrix.scale is not None:
                self.arrays.append(_filled_up(matrix.scale))
                scale = address(self.arrays[-1])
        return {name: blocks, f"scale_{name}": scale, f"apart_{name}": apart}

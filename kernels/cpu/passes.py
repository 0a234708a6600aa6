"""Kernel arguments: sizes and addresses, packed in an int64 array, with a name for each.

One compiled kernel then serves arrays of every layout, read-only ones too, and a call costs little.
"""

from ctypes import addressof, c_char
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Dtype: TypeAlias = np.dtype[Any]


def address(a: Array) -> int:
    """Where a NumPy array's first entry lies in memory."""
    if a.size and a.flags.carray:  # a buffer that ctypes takes, in a third of the time
        return addressof(c_char.from_buffer(a))  # type: ignore[arg-type] # that it is a buffer is not in its type
    place: int = a.__array_interface__["data"][0]
    return place


class CellArguments(NamedTuple):
    """What a kernel must know of a cell (``kernels/facts.py``): numbers, and then ``StageArguments`` for each stage."""

    gates: int
    apart: int
    units: int  # how many per-unit weights
    whole_rows: int
    stages: int


class StageArguments(NamedTuple):
    """The same of one stage."""

    first: int
    gates: int
    product: int
    own: int  # 1 where the product is with a matrix of its own
    flow: int  # which of the arrays "f" the gradient of its product's operand is
    routine: int  # the address of its equations


class PassArguments(NamedTuple):
    """Arguments of a pass: sizes, and addresses of C-contiguous arrays (0: there is none).

    Arrays are (T, B, ...) in the order of x's steps.  Where nothing is saved, ``slots`` is 1 and u, c and m hold one
    step, and G holds ``chunk`` steps; else both hold all T.
    """

    cell: int  # ``CellArguments`` of the forward pass
    T: int
    B: int
    D: int
    H: int
    R: int  # how wide h is: H, or another number
    reverse: int
    slots: int
    chunk: int  # steps whose P is computed at once
    x: int  # (T, B, D), or
    indices: int  # (T, B) int64, the place of a one-hot vector's one
    lengths: int  # (B) int64
    W: int  # (D, N), N = gates · H
    U: int  # (R, N)
    matrix: int  # (H, R), what the last stage multiplies with in place of columns of U
    b: int  # (N)
    v: int  # the bias of products that are kept apart, (H) for each; or zeros, as many as there are of these or R
    w: int  # (units, line_w) per-unit weights
    line_w: int
    h0: int  # (B, R)
    c0: int  # (states - 1, B, H)
    rest: int  # 1 where h0 is 0, and the first step's product with U need not be computed
    y: int  # (T, B, Y) from the first of h's columns on
    known: int  # 1 where y is there already: every step's product with U can be computed at once
    Y: int
    G: int  # (T or chunk, B, stride): P, then the gates
    stride: int
    u: int  # (slots, B, apart · H), the products kept apart
    c: int  # (states - 1, slots, B, H), the states beside h
    a: int  # (stages - 1, slots, B, H), what later stages multiply
    m: int  # (.., slots, B, H), what else is saved
    s: int  # (.., slots, B), and of that, one number a row
    z: int  # (.., slots, B, row_z), 1 where a state stays as it was, else 0
    row_z: int  # the larger of H and R; or 0, where one row says of all how much stays
    line_z: int  # entries from one of these arrays to the next
    base: int  # of packed weights, and
    offsets: int  # bytes from there on (int64): to W, each block of U's columns that is multiplied with at once, matrix
    own: int  # for each thread ``share`` entries alone
    share: int
    last: int  # (B, R) for the final h, or 0
    last_first: int  # 1 where a pass of one step reads the weights in the opposite order


class BackwardArguments(NamedTuple):
    """The backward pass's arguments beside ``PassArguments``."""

    cell: int  # ``CellArguments`` of the backward pass
    dy: int  # (T, B, Z) from the first of h's columns on; with 0 steps, one (B, R) of zeros
    Z: int
    dy_steps: int
    dh: int  # (B, R): the final state's gradient; on return, the initial state's
    dc: int  # (states - 1, B, H)
    f: int  # (flows, B, H), what goes from stage to stage
    dP: int  # (chunk, B, wide): N, with gates that are apart first and their dq last (n, r, z, then du); units, and R
    # for a product with ``matrix``
    wide: int  # entries from one row of dP to the next
    chunk: int  # steps whose part of the weights' gradients is added at once
    dx: int  # (T, B, D)
    dW: int
    dU: int
    dmatrix: int
    db: int
    dv: int
    dw: int  # (units, line_w)
    work: int
    share: int  # entries of work for each thread alone, after the packed weights


class StepArguments(NamedTuple):
    """Arguments of one layer of a stream, for one step: sizes, and addresses (0: there is none).

    Matrices are packed (``entries.py``); ``b`` and the rows of P and Q are filled up to whole panels.
    """

    function: int  # the kernel's address
    cell: int  # ``CellArguments`` of the forward pass, or 0
    threads: int
    B: int
    D: int
    H: int  # units; columns of a layer without state
    R: int  # how wide h is: H, or another number
    x: int  # (B, D), or
    indices: int  # (B) int64
    W: int  # (D, N)
    U: int  # (R, N), of a cell with several stages the columns of the first
    later: int  # (stages - 1) addresses: each later stage's columns, or its own matrix
    b: int  # (N)
    v: int  # (N), 0 but for the bias of a product that is kept apart
    h: int  # (B, R)
    c: int  # (states - 1, B, H), replaced
    h1: int  # (B, R) to fill: the next step's h
    y: int  # (B, R) to fill
    P: int  # (B, N) of the gates' arguments, then the gates
    Q: int  # (B, N)
    a: int  # (stages - 1, B, H)
    m: int  # (.., B, H)
    s: int  # (.., B)
    w: int  # (units, H) per-unit weights
    z: int  # (.., line_z), how much of a state stays as it was
    line_z: int
    own: int  # for each thread ``share`` entries alone
    share: int

"""Kernel arguments: sizes and addresses, packed in an int64 array, with a name for each.

One compiled kernel then serves arrays of every layout, read-only ones too, and a call costs little.
"""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Dtype: TypeAlias = np.dtype[Any]


def address(a: Array) -> int:
    """Where a NumPy array's first entry lies in memory."""
    place: int = a.__array_interface__["data"][0]
    return place


class PassArguments(NamedTuple):
    """Arguments of a pass: sizes, and addresses of C-contiguous arrays (0: there is none).

    Arrays are (T, B, ...) in the order of x's steps.  Where nothing is saved, ``slots`` is 1 and u, c and m hold one
    step, and G holds ``chunk`` steps; else both hold all T.
    """

    T: int
    B: int
    D: int
    H: int
    reverse: int
    slots: int
    chunk: int  # steps whose P is computed at once
    x: int  # (T, B, D), or
    indices: int  # (T, B) int64, the place of a one-hot vector's one
    lengths: int  # (B) int64
    W: int  # (D, N), N = gates · H
    U: int  # (H, N)
    b: int  # (N)
    v: int  # (H), the bias of a product that is kept apart, or zeros
    w: int  # (units, line_w) per-unit weights
    line_w: int
    h0: int  # (B, H)
    c0: int  # (states - 1, B, H)
    rest: int  # 1 where h0 is 0, and the first step's product with U need not be computed
    y: int  # (T, B, Y) from the first of h's columns on
    known: int  # 1 where y is there already: every step's product with U can be computed at once
    Y: int
    G: int  # (T or chunk, B, stride): P, then the gates
    stride: int
    u: int  # (slots, B, H), the product kept apart
    c: int  # (states - 1, slots, B, H), the states beside h
    m: int  # (.., slots, B, H), what else is saved
    z: int  # (.., slots, B, H), 1 where a state stays as it was, else 0
    work: int  # for packed weights
    share: int  # entries of work for each thread alone, after the packed weights, or 0
    last: int  # (B, H) for the final h, or 0
    last_first: int  # 1 where a pass of one step reads the weights in the opposite order


class BackwardArguments(NamedTuple):
    """The backward pass's arguments beside ``PassArguments``."""

    dy: int  # (T, B, Z) from the first of h's columns on; with 0 steps, one (B, H) of zeros
    Z: int
    dy_steps: int
    dh: int  # (B, H): the final state's gradient; on return, the initial state's
    dc: int  # (states - 1, B, H)
    dP: int  # (chunk, B, wide): N, or for a cell whose last product is apart N + H (gates n, r, z, then du); then units
    wide: int  # entries from one row of dP to the next
    chunk: int  # steps whose part of the weights' gradients is added at once
    dx: int  # (T, B, D)
    dW: int
    dU: int
    db: int
    dv: int
    dw: int  # (units, line_w)
    work: int
    share: int  # entries of work for each thread alone, after the packed weights


class StepArguments(NamedTuple):
    """Arguments of one layer of a stream, for one step: sizes, and addresses (0: there is none).

    Matrices are in blocks (``blocks.py``); ``b`` and the rows of P and Q are filled up to whole blocks.
    """

    function: int  # the kernel's address
    threads: int
    B: int
    D: int
    H: int  # units; columns of a layer without state
    x: int  # (B, D), or
    indices: int  # (B) int64
    W: int  # (D, N)
    scale_W: int  # (N), of int8
    apart_W: int  # bytes from one block to the next
    U: int  # (H, N)
    scale_U: int
    apart_U: int
    b: int  # (N)
    v: int  # (N), 0 but for the bias of a product that is kept apart
    h: int  # (B, H)
    c: int  # (B, H), replaced
    h1: int  # (B, H) to fill: the next step's h
    y: int  # (B, H) to fill
    P: int  # (B, N) of the gates' arguments, then the gates
    Q: int  # (B, N)
    m: int  # (.., B, H)
    w: int  # (units, H) per-unit weights
    narrow: int  # for rows of x and h as int16, and their factors: ``share`` bytes for each thread
    share: int

"""An independent oracle for layers around a recurrence: scalar loops over nested lists, as ``oracle.py`` has it.

One row of a batch at a time: x is [T][D], and y [T'][D'], or [D'] of what reduces the steps to one.

References:
 [1] Ba, Kiros & Hinton 2016, arXiv:1607.06450, equation 4: layer normalisation.
 [2] Ioffe & Szegedy 2015, arXiv:1502.03167, algorithm 2, line 11: batch normalisation in inference.
 [3] The documentation of torch.nn.Conv1d, MaxPool1d and AvgPool1d.
 [4] He et al. 2015, arXiv:1502.01852, equation 1: PReLU.
"""

from __future__ import annotations

import math
from typing import TypeAlias

Vector: TypeAlias = list[float]
Matrix: TypeAlias = list[list[float]]


def layer_norm(x: Matrix, eps: float, g: Vector, b: Vector) -> Matrix:
    """[1], of each step by itself."""
    y = []
    for row in x:
        mean = math.fsum(row) / len(row)
        variance = math.fsum((v - mean) ** 2 for v in row) / len(row)
        y.append([g[i] * (v - mean) / math.sqrt(variance + eps) + b[i] for i, v in enumerate(row)])
    return y


def batch_norm(x: Matrix, eps: float, g: Vector, b: Vector, mean: Vector, var: Vector) -> Matrix:
    """[2], with the statistics of a training."""
    return [[g[i] * (v - mean[i]) / math.sqrt(var[i] + eps) + b[i] for i, v in enumerate(row)] for row in x]


def prelu(x: Matrix, a: Vector) -> Matrix:
    """[4]; one slope for all features, or one for each."""
    return [[v if v > 0 else a[i % len(a)] * v for i, v in enumerate(row)] for row in x]


def places(T: int, kernel: int, stride: int, dilation: int, left: int, right: int) -> list[list[int]]:
    """The steps of every window that lies within the padded row, those of the padding below 0 or from T on."""
    windows, start = [], -left
    while start + dilation * (kernel - 1) < T + right:
        windows.append([start + dilation * k for k in range(kernel)])
        start += stride
    return windows if T else []


def conv1d(x: Matrix, windows: list[list[int]], weight: list[Matrix], b: Vector, groups: int) -> Matrix:
    """[3]; ``weight`` is torch's, [out][in / groups][kernel]."""
    y = []
    for window in windows:
        row = []
        for o, kernel in enumerate(weight):
            first = o // (len(weight) // groups) * len(kernel)  # the group's first feature
            total = b[o]
            for i, taps in enumerate(kernel):
                for k, t in enumerate(window):
                    if 0 <= t < len(x):
                        total += taps[k] * x[t][first + i]
            row.append(total)
        y.append(row)
    return y


def max_pool(x: Matrix, windows: list[list[int]]) -> Matrix:
    """[3]: padding is never the largest."""
    return [[max(x[t][i] for t in window if 0 <= t < len(x)) for i in range(len(x[0]))] for window in windows]


def avg_pool(x: Matrix, windows: list[list[int]], *, count_padding: bool) -> Matrix:
    """[3]: ``count_include_pad`` is count_padding."""
    y = []
    for window in windows:
        inside = [t for t in window if 0 <= t < len(x)]
        n = len(window) if count_padding else len(inside)
        y.append([math.fsum(x[t][i] for t in inside) / n for i in range(len(x[0]))])
    return y

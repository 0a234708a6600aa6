"""The twin of ``minirnn.core.noise.keep_mask``: hashes of step, row and unit, compared with a number."""

import numpy as np

from minirnn.kernels.cpu.compiling import entry, inline

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
A, B, C, HALF = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(32)


@inline
def mix(z):
    """SplitMix64's output function."""
    z = (z ^ (z >> A)) * FIRST
    z = (z ^ (z >> B)) * SECOND
    return z ^ (z >> C)


@entry("mask")
def mask(out, key, first_step, first_row, limit):
    """Fill ``out`` (T, B, D): True where the upper half of an entry's hash is at least ``limit``."""
    for t in range(out.shape[0]):
        step = mix(key + np.uint64(first_step + t + 1) * GOLDEN)
        for b in range(out.shape[1]):
            row = mix(step + np.uint64(first_row + b + 1) * GOLDEN)
            for d in range(out.shape[2]):
                out[t, b, d] = mix(row + np.uint64(d + 1) * GOLDEN) >> HALF >= limit

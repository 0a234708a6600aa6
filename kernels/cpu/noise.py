"""The twin of ``minirnn.core.noise.keep_mask``, whose constants these are: hashes of step, row and unit."""

import numpy as np

from minirnn.kernels.cpu.compiling import entry, inline

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
BITS_30, BITS_27, BITS_31, BITS_32 = (np.uint64(n) for n in (30, 27, 31, 32))


@inline
def mix(z):
    """SplitMix64's output function."""
    z = (z ^ (z >> BITS_30)) * FIRST
    z = (z ^ (z >> BITS_27)) * SECOND
    return z ^ (z >> BITS_31)


@entry("mask")
def mask(out, key, first_step, first_row, limit):
    """Fill ``out`` (T, B, D): True where the upper half of an entry's hash is at least ``limit``."""
    for t in range(out.shape[0]):
        step = mix(key + np.uint64(first_step + t + 1) * GOLDEN)
        for b in range(out.shape[1]):
            row = mix(step + np.uint64(first_row + b + 1) * GOLDEN)
            for d in range(out.shape[2]):
                out[t, b, d] = mix(row + np.uint64(d + 1) * GOLDEN) >> BITS_32 >= limit

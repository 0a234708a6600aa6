"""The random part of training: masks of every kind of dropout are made here and nowhere else.

A mask is a function of the model's seed, the place in the network, the number of the pass, the step, the row in its
batch and the unit, by a counter-based generator: the same on every backend, for a batch of any size, on every rank that
has some of its rows, and when it is computed again.
"""

import math
import zlib
from numbers import Real

import numpy as np

from minirnn.core.backend import Array, Backend
from minirnn.core.run import Result, Run, State

_GOLDEN = 0x9E3779B97F4A7C15  # 2**64 / the golden ratio: SplitMix64's increment
_WORD = 2**64 - 1
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def drop(x: Array, p: float, site: str, run: Run, *, locked: bool) -> Result:
    """Dropout of ``x`` (T, B, D) or (B, D) at the place called ``site``; the identity in inference or for p = 0.

        y[t] = m[t] x[t] / (1 - p)            (1)  m is 1 with probability 1 - p, else 0

    Transposed:

        dx[t] = m[t] dy[t] / (1 - p)          (1)

    ``locked``: one m (B, D) for all steps, m[t] = m.
    """
    if not run.training or p == 0:
        return Result(x, None, lambda dy, _: (dy, None), {})
    backend, zero, scale = run.parameters.backend, x.dtype.type(0), 1 / (1 - p)
    xp = backend.xp
    T, B, D = x.shape if x.ndim == 3 else (1, *x.shape)
    shape, first_step = (1 if locked else T, B, D), 0 if locked else run.first_step
    mask = keep_mask(backend, run.parameters.seed, site, run.call, shape, p, run.first_row, first_step)
    mask = mask if x.ndim == 3 else mask[0]

    def pull(dy: Array | None, dstate: State) -> tuple[Array | None, State]:
        return None if dy is None else xp.where(mask, dy * scale, zero), None  # (1)

    y = xp.where(mask, x * scale, zero)  # (1)
    return Result(y, None, pull, {"mask": lambda: xp.broadcast_to(mask, x.shape)})


def keep_mask(
    backend: Backend,
    seed: int,
    site: str,
    call: int,
    shape: tuple[int, int, int],
    p: float,
    first_row: int = 0,
    first_step: int = 0,
) -> Array:
    """Which entries of a (T, B, D) array dropout keeps: True with probability 1 - p.

    Its rows are those of a batch from ``first_row`` on, its steps those of a sequence from ``first_step`` on.

    A counter-based generator: entry (t, b, d) hashes (seed, site, call), then t, b and d, each time by SplitMix64's
    output function (Steele, Lea and Flood 2014; constants of Stafford's variant 13), and its upper 32 bits are compared
    with p.  No entry depends on another, so any part of a mask can be computed anywhere, in any order.
    """
    key = seed
    for word in (zlib.crc32(site.encode()), call):
        key = _mixed(key ^ (word * _GOLDEN & _WORD))
    limit, masked = math.floor(p * 2**32), backend.fused("masked")
    if masked:
        compiled: Array = masked(shape, key, first_step, first_row, limit)
        return compiled
    xp = backend.xp
    golden = xp.uint64(_GOLDEN)
    hashed = xp.full((1, 1, 1), np.uint64(key), xp.uint64)
    for axis, (first, n) in enumerate(zip((first_step, first_row, 0), shape, strict=True)):
        index = xp.arange(first + 1, first + n + 1, dtype=xp.uint64).reshape([-1 if k == axis else 1 for k in range(3)])
        hashed = _mix(hashed + index * golden)
    keep: Array = (hashed >> xp.uint64(32)) >= limit
    return keep


def _mix(z: Array) -> Array:
    """SplitMix64's output function on uint64, which wraps around as it should."""
    u = z.dtype.type
    z = z ^ (z >> u(30))
    z *= u(_FIRST)
    z ^= z >> u(27)
    z *= u(_SECOND)
    z ^= z >> u(31)
    return z


def _mixed(z: int) -> int:
    """The same of one number."""
    z = (z ^ (z >> 30)) * _FIRST & _WORD
    z = (z ^ (z >> 27)) * _SECOND & _WORD
    return z ^ (z >> 31)


def check_probability(what: str, p: float) -> float:
    """``p`` as a float with 0 <= p < 1."""
    if isinstance(p, bool) or not isinstance(p, Real) or not 0 <= p < 1:
        raise ValueError(f"{what} must be a number from 0 up to, not including, 1; got {p!r:.60}")
    return float(p)

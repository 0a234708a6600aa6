"""Where the points and lines of the gradient-flow chart stand, from 0 at its foot to 1 at its top, on a log scale."""

from math import ceil, floor, log10

from minirnn.core.backend import Array
from minirnn.core.files import Json

STEPS = ((1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0))  # within a power of ten, the finer where few fit


def chart_of(norms: Array) -> Json:
    """Heights of ``norms`` (T,), None for one that is 0, which a log scale does not have; and lines to read them by."""
    positive = [float(v) for v in norms if v > 0]
    if not positive:
        return {"heights": [None for _ in norms], "ticks": []}
    low, high = log10(min(positive)) - 0.08, log10(max(positive)) + 0.08
    return {
        "heights": [(log10(v) - low) / (high - low) if v > 0 else None for v in norms.tolist()],
        "ticks": [(label, (log10(v) - low) / (high - low)) for label, v in _ticks(low, high)],
    }


def _ticks(low: float, high: float) -> list[tuple[str, float]]:
    """Round numbers between two powers of ten, at most about six."""
    apart = max(1, ceil((high - low) / 6))
    powers = [10.0**k for k in range(ceil(low), floor(high) + 1, apart)]
    for steps in STEPS:
        if len(powers) < 3:
            powers = [
                s * 10.0**k for k in range(floor(low), ceil(high) + 1) for s in steps if low <= log10(s) + k <= high
            ]
    return [(f"{v:g}", v) for v in powers]

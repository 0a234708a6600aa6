"""Who computes the right thing: each contestant's arrays against those of minirnn's plain equations in float64."""

import numpy as np

from benchmarks.cases import Case
from benchmarks.inputs import LOSSES, STREAM, Arrays
from benchmarks.peers import QUANTISED, SUBJECT

EPS = 2.0**-23  # float32
BITS = {"f16": 2.0**-11, "int8": 1 / 254}  # half a step between two weights, of the largest
MARGIN = 2


def bound(case: Case, contestant: str = SUBJECT) -> float:
    """The largest error that passes, relative to the largest entry of the reference's array, or to 1 if that is less.

        MARGIN · eps · layers · √(steps · (D + H) + steps · B)

    A rounding error is eps of what is summed, and k of them, of either sign, come to about √k.  A step sums D + H
    products, ``steps`` steps pass their errors on to the next, a weight's gradient sums over steps · B rows, and each
    layer starts from the errors of the one before.

    Quantised weights, uniform in ±1/√H, are off by half a step of theirs, which takes the place of eps.
    """
    if contestant in QUANTISED:
        return float(MARGIN * BITS[QUANTISED[contestant]] * np.sqrt(STREAM * (case.D + case.H) / (3 * case.H)))
    steps = {"stream": STREAM, "chapter": LOSSES * case.T}.get(case.kind, case.T)
    return float(MARGIN * EPS * case.layers * np.sqrt(steps * (case.D + case.H + case.B)))


def compare(found: Arrays, reference: Arrays) -> tuple[float, str]:
    """The largest relative error over all arrays, and the name of the array it is in; inf for what is not comparable.

    A NaN or an infinity is no agreement, nor is a name or a shape that differs.
    """
    if found.keys() != reference.keys():
        differing = ", ".join(sorted(found.keys() ^ reference.keys()))
        return float("inf"), f"the set of arrays ({differing})"
    worst, where = 0.0, ""
    for name, expected in reference.items():
        if found[name].shape != expected.shape:
            return float("inf"), f"the shape of {name}"
        difference = np.abs(found[name].astype(np.float64) - expected).max(initial=0.0)
        error = float(difference / max(1.0, np.abs(expected).max(initial=0.0)))
        if not np.isfinite(error):
            return float("inf"), name
        if not where or error > worst:
            worst, where = error, name
    return worst, where

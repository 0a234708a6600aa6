"""Who computes the right thing: each contestant's arrays against those of minirnn's plain equations in float64."""

import numpy as np

from benchmarks.cases import Case
from benchmarks.inputs import LOSSES, STREAM, Array, Arrays
from benchmarks.peers import BF16, F16, NARROW, SUBJECT, arithmetic

EPS = 2.0**-23  # float32
UNIT = {F16: 2.0**-11, BF16: 2.0**-8}  # of a number that is rounded to so many bits, the most that it is off by
STEPS = 254  # half steps from 0 to the largest number of 8 bits
REDUCED = ("torch-int8",)  # which keeps a bit of what it multiplies unused, so that two products fit into 16 bits
ADDED = ("torch-autocast",)  # which adds up the steps' gradients of a matrix in bfloat16, but for an LSTM's
SHARED = ("openvino-int8",)  # whose h, and so its y, has the scale of x
USUAL = 1 / 6  # the root mean square of an LSTM's y, with weights and inputs of ``inputs.draw``
MARGIN = 2


def bound(case: Case, contestant: str = SUBJECT) -> float:
    """The error that passes, as ``compare`` measures it.  In float32, relative to an array's largest entry:

        MARGIN · eps · layers · √(steps · (D + H) + steps · B)

    A rounding error is eps of what is summed, and k of them, of either sign, come to about √k.  A step sums D + H
    products, ``steps`` steps pass their errors on to the next, a weight's gradient sums over steps · B rows, and each
    layer starts from the errors of the one before.

    In fewer bits, products are what is rounded, and the error is relative to an array's norm:

        MARGIN · √(layers · passes) · error of a term

    Of K terms of either sign, the sum and the sum of their errors both come to about √K times one: the sum is off by
    the same part as its terms are.  Training has three such passes: forward, and backward's two products.  Where the
    gradients of T steps are added up in few bits, the sum after t of them is √t as large as one and is rounded again:
    in all that is u · √(T / 6) of the whole.  MARGIN is for what a state hands on to the next step, which comes to a
    fourth more or less, and for small arrays.
    """
    if contestant in NARROW:
        squares = error_of_a_term(case, contestant) ** 2
        if case.kind == "training":
            squares = 3 * squares + (UNIT[BF16] ** 2 * case.T / 6 if contestant in ADDED else 0.0)
        return float(MARGIN * np.sqrt(case.layers * squares))
    steps = {"stream": STREAM, "chapter": LOSSES * case.T}.get(case.kind, case.T)
    return float(MARGIN * EPS * case.layers * np.sqrt(steps * (case.D + case.H + case.B)))


def error_of_a_term(case: Case, contestant: str) -> float:
    """What rounding does to a product of a weight and an input or a state: root mean squares, of itself.

    An error that may be anything up to e is e / √3 in the mean.  Bits of a mantissa: e is a unit of the number itself,
    in float16 of the weight, in bfloat16 of the weight, of what it multiplies, and of gates and states where they are
    stored so, which comes to four roundings.
    8 bits: e is half a step of the largest number.  That is √3 of the usual weight, since weights are uniform, and
    √(2 ln n) of the usual one of n normal inputs; states lie closer together, and are counted as inputs are.
    """
    kind = arithmetic(contestant)
    if kind in UNIT:
        return float(UNIT[kind] * np.sqrt((1 if kind == F16 else 4) / 3))
    reach = furthest(case.D * case.B * (STREAM if case.kind == "stream" else case.T))
    weight, value = 1 / STEPS, (2 if contestant in REDUCED else 1) * reach / STEPS / np.sqrt(3)
    state = value / USUAL if contestant in SHARED else 0.0
    return float(np.sqrt(weight**2 + value**2 + state**2))


def furthest(n: int) -> float:
    """About how far the largest of n normal numbers lies from 0, in standard deviations; at least 1."""
    return float(np.sqrt(max(1.0, 2 * np.log(max(n, 1)))))


def compare(results: Arrays, reference: Arrays, contestant: str = SUBJECT) -> tuple[float, str]:
    """The largest error over all arrays, and the name of the array it is in; inf for what is not comparable.

    A NaN or an infinity is no agreement, nor is a name or a shape that differs.
    """
    if results.keys() != reference.keys():
        differing = ", ".join(sorted(results.keys() ^ reference.keys()))
        return float("inf"), f"the set of arrays ({differing})"
    measure = spread if contestant in NARROW else worst
    error, where = 0.0, ""
    for name, expected in reference.items():
        if results[name].shape != expected.shape:
            return float("inf"), f"the shape of {name}"
        with np.errstate(invalid="ignore"):  # inf - inf is NaN, which is no agreement
            one = measure(results[name].astype(np.float64) - expected, expected)
        if not np.isfinite(one):
            return float("inf"), name
        if not where or one > error:
            error, where = one, name
    return error, where


def worst(difference: Array, expected: Array) -> float:
    """The largest difference, relative to the largest entry, or to 1 if that is less."""
    return float(np.abs(difference).max(initial=0.0) / max(1.0, np.abs(expected).max(initial=0.0)))


def spread(difference: Array, expected: Array) -> float:
    """The root mean square of the differences, relative to that of the entries.

    Rounding to a few bits reaches every entry, and a bound for the largest of many errors would leave room for a fault
    in all of them; so the usual one is compared.  One entry alone that is wrong is found by the largest, which may be
    twice as far out as the largest of so many normal numbers.
    """
    if not difference.size:
        return 0.0
    usual = float(np.sqrt(np.mean(difference**2)))
    furthest_out = float(np.abs(difference).max()) / (2 * furthest(difference.size))
    return max(usual, furthest_out) / (float(np.sqrt(np.mean(expected**2))) or 1.0)

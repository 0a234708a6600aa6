"""tanh, tanh of a half, and exp on vectors.

The logistic sigmoid is 0.5 tanh(a / 2) + 0.5, as in ``cells.py``.  All three rest on one reduction: a = n ln 2 + r with
an integer n and |r| ≤ ln 2 / 2, so that exp(a) = 2ⁿ exp(r), and on exp's own series, cut off where the rest is below
half an ulp: after r⁷ in float32, r¹³ in float64.  ``ln 2`` is subtracted in two parts, the first so short that n times
it is exact (Cody and Waite 1980).  NaN goes in and comes out, ±inf gives the limits.
"""

from minirnn.kernels.cpu.compiling import inline
from minirnn.kernels.cpu.vectors import at_least, at_most, is_single, round_and_power

LOG2E = 1.4426950408889634
LN2_HIGH_4, LN2_LOW_4 = 0.693359375, -2.12194440e-4  # 9 bits, and the rest
LN2_HIGH_8, LN2_LOW_8 = 6.93147180369123816490e-01, 1.90821492927058770002e-10  # 32 bits, and the rest


@inline
def expm1_parts(a):
    """(2ⁿ, exp(r) - 1) with a = n ln 2 + r: exp(a) is their product plus the first."""
    if is_single(a):
        n, power = round_and_power(a * LOG2E)
        r = a - n * LN2_HIGH_4 - n * LN2_LOW_4
        s = 1 / 720 + r * (1 / 5040)
    else:
        n, power = round_and_power(a * LOG2E)
        r = a - n * LN2_HIGH_8 - n * LN2_LOW_8
        s = 1 / 479001600 + r * (1 / 6227020800)
        s = 1 / 3628800 + r * (1 / 39916800 + r * s)
        s = 1 / 40320 + r * (1 / 362880 + r * s)
        s = 1 / 720 + r * (1 / 5040 + r * s)
    s = 1 / 24 + r * (1 / 120 + r * s)
    s = 1 / 2 + r * (1 / 6 + r * s)
    return power, r + r * r * s


@inline
def exp(a):
    """The exponential function; beyond ±87 in float32 and ±708 in float64 it stays what it is there."""
    limit = 87.0 if is_single(a) else 708.0
    power, rest = expm1_parts(at_least(at_most(a, limit), -limit))
    return power + power * rest


@inline
def whole_exp(a):
    """The exponential function in all of its range: infinity and 0 where the dtype ends, as NumPy's."""
    root = exp(0.5 * a)
    return root * root


@inline
def tanh_of_half(a):
    """tanh(a / 2) = E / (E + 2) with E = exp(a) - 1, which is as exact near 0 as far from it."""
    limit = 18.4 if is_single(a) else 38.4  # where it has become 1
    power, rest = expm1_parts(at_least(at_most(a, limit), -limit))
    E = power * rest + (power - 1.0)
    return E / (E + 2.0)


@inline
def tanh(a):
    """The hyperbolic tangent."""
    return tanh_of_half(2.0 * a)

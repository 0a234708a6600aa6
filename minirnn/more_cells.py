"""Cells beyond the chapter's, derived as those of ``cells.py``: its docstring says how they are written.

    PeepholeLSTMCell    gates that see the cell state
    CoupledLSTMCell     one gate for what is forgotten and what is written
    IndRNNCell          each unit sees of the state itself alone
    MinGRUCell          gates that see the input alone: the state is a weighted sum
    MinLSTMCell         the same with two gates
    SRUCell             the same with an output that is gated, too

The last four have no product with h (``product = False``): there is no U, ``q`` has no columns, and ``unstep`` returns
None for ``dq``.  All their products are with the input, of all steps at once.
"""

from typing import Any

import numpy as np

from minirnn.cells import join, sigmoid, split
from minirnn.core.protocol import Array, Arrays, Transposed

E = 1e-30  # in float32 a normal number, and so is its inverse


def exact_sigmoid(a: Array) -> Array:
    """σ(a) = 1 / (1 + exp(-a)) = exp(a) / (1 + exp(a)), the one that does not overflow: with e = exp(-|a|).

    ``sigmoid`` has an error of a rounding of 1 everywhere, which is most of σ(a) where that is small.
    """
    e = np.exp(np.where(a.real < 0, a, -a))
    out: Array = np.where(a.real < 0, e, a.dtype.type(1)) / (1 + e)
    return out


class PeepholeLSTMCell:
    """Long short-term memory whose gates see the cell state (Gers and Schmidhuber 2000), by per-unit weights w.

        i  = σ(p_i + q_i + w_i c)             (1)
        f  = σ(p_f + q_f + w_f c)             (2)
        g  = tanh(p_g + q_g)                  (3)
        c' = f c + i g                        (4)
        o  = σ(p_o + q_o + w_o c')            (5)  sees the new one
        m  = tanh(c')                         (6)
        h' = o m                              (7)

    Transposed.  c' is used by (6), by (5), and by the next step, which sent dc':

        do = dh' m                            (7)
        dm = dh' o                            (7)
        dp_o = dq_o = do o (1 - o)            (5)
        dw_o = dp_o c'                        (5)
        dc' = dc' + dm (1 - m²) + dp_o w_o    (6) (5)
        di = dc' g                            (4)
        dg = dc' i                            (4)
        df = dc' c                            (4)
        dp_g = dq_g = dg (1 - g²)             (3)
        dp_f = dq_f = df f (1 - f)            (2)
        dw_f = dp_f c                         (2)
        dp_i = dq_i = di i (1 - i)            (1)
        dw_i = dp_i c                         (1)
        dc = dc' f + dp_f w_f + dp_i w_i      (4) (2) (1)
    """

    state = ("h", "c")
    gates = ("i", "f", "g", "o")
    chapter_gates = ("i", "f", "c", "o")
    units = ("w_i", "w_f", "w_o")
    saves = ("i", "f", "g", "o", "c", "c1", "m")

    @staticmethod
    def step(p: Array, q: Array, state: Arrays, w_i: Array, w_f: Array, w_o: Array) -> tuple[Arrays, Arrays]:
        _, c = state
        a_i, a_f, a_g, a_o = split(p + q, 4)
        i = sigmoid(a_i + w_i * c)  # (1)
        f = sigmoid(a_f + w_f * c)  # (2)
        g = np.tanh(a_g)  # (3)
        c1 = f * c + i * g  # (4)
        o = sigmoid(a_o + w_o * c1)  # (5)
        m = np.tanh(c1)  # (6)
        h1 = o * m  # (7)
        return (h1, c1), (i, f, g, o, c, c1, m)

    @staticmethod
    def unstep(dstate: Arrays, saved: Arrays, w_i: Array, w_f: Array, w_o: Array) -> Transposed:
        dh1, dc1 = dstate
        i, f, g, o, c, c1, m = saved
        do = dh1 * m  # (7)
        dm = dh1 * o  # (7)
        da_o = do * o * (1 - o)  # (5)
        dw_o = da_o * c1  # (5)
        dc1 = dc1 + dm * (1 - m * m) + da_o * w_o  # (6) (5)
        di = dc1 * g  # (4)
        dg = dc1 * i  # (4)
        df = dc1 * c  # (4)
        da_g = dg * (1 - g * g)  # (3)
        da_f = df * f * (1 - f)  # (2)
        dw_f = da_f * c  # (2)
        da_i = di * i * (1 - i)  # (1)
        dw_i = da_i * c  # (1)
        dc = dc1 * f + da_f * w_f + da_i * w_i  # (4) (2) (1)
        da = join(da_i, da_f, da_g, da_o)
        return da, da, (None, dc), dw_i, dw_f, dw_o


class CoupledLSTMCell:
    """Long short-term memory that writes as much as it forgets (Greff et al. 2017, arXiv 1503.04069, their CIFG).

        f  = σ(p_f + q_f)                     (1)
        g  = tanh(p_g + q_g)                  (2)
        o  = σ(p_o + q_o)                     (3)
        c' = f c + (1 - f) g                  (4)
        m  = tanh(c')                         (5)
        h' = o m                              (6)

    Transposed:

        do = dh' m                            (6)
        dm = dh' o                            (6)
        dc' = dc' + dm (1 - m²)               (5)
        df = dc' (c - g)                      (4)
        dg = dc' (1 - f)                      (4)
        dc = dc' f                            (4)
        dp_o = dq_o = do o (1 - o)            (3)
        dp_g = dq_g = dg (1 - g²)             (2)
        dp_f = dq_f = df f (1 - f)            (1)
    """

    state = ("h", "c")
    gates = ("f", "g", "o")
    chapter_gates = ("f", "c", "o")
    saves = ("f", "g", "o", "c", "m")

    @staticmethod
    def step(p: Array, q: Array, state: Arrays) -> tuple[Arrays, Arrays]:
        _, c = state
        a_f, a_g, a_o = split(p + q, 3)
        f = sigmoid(a_f)  # (1)
        g = np.tanh(a_g)  # (2)
        o = sigmoid(a_o)  # (3)
        c1 = f * c + (1 - f) * g  # (4)
        m = np.tanh(c1)  # (5)
        h1 = o * m  # (6)
        return (h1, c1), (f, g, o, c, m)

    @staticmethod
    def unstep(dstate: Arrays, saved: Arrays) -> Transposed:
        dh1, dc1 = dstate
        f, g, o, c, m = saved
        do = dh1 * m  # (6)
        dm = dh1 * o  # (6)
        dc1 = dc1 + dm * (1 - m * m)  # (5)
        df = dc1 * (c - g)  # (4)
        dg = dc1 * (1 - f)  # (4)
        dc = dc1 * f  # (4)
        da_o = do * o * (1 - o)  # (3)
        da_g = dg * (1 - g * g)  # (2)
        da_f = df * f * (1 - f)  # (1)
        da = join(da_f, da_g, da_o)
        return da, da, (None, dc)


class IndRNNCell:
    """Independently recurrent units (Li et al. 2018, arXiv 1803.04831): a per-unit weight w in place of U.

        a  = p + w h                          (1)
        h' = a where a > 0, else 0            (2)

    Transposed; at the kink, a = 0, the derivative is taken as 0:

        da = dh' where a > 0, else 0          (2)
        dp = da                               (1)
        dh = da w                             (1)
        dw = da h                             (1)
    """

    state = ("h",)
    gates = ("h",)
    product = False
    units = ("w",)
    saves = ("a", "h")
    kinks = ("a",)

    @staticmethod
    def step(p: Array, q: Array, state: Arrays, w: Array) -> tuple[Arrays, Arrays]:
        (h,) = state
        a = p + w * h  # (1)
        h1 = np.where(a.real <= 0, a.dtype.type(0), a)  # (2)
        return (h1,), (a, h)

    @staticmethod
    def unstep(dstate: Arrays, saved: Arrays, w: Array) -> Transposed:
        (dh1,) = dstate
        a, h = saved
        da = np.where(a.real <= 0, a.dtype.type(0), dh1)  # (2)
        return da, None, (da * w,), da * h  # (1)


class MinGRUCell:
    """A gated recurrent unit whose gate and candidate see the input alone (Feng et al. 2024, arXiv 2410.01201).

        z  = σ(p_z)                           (1)
        n  = p_n                              (2)
        h' = (1 - z) h + z n                  (3)

    Transposed:

        dz = dh' (n - h)                      (3)
        dn = dh' z                            (3)
        dh = dh' (1 - z)                      (3)  the only path
        dp_n = dn                             (2)
        dp_z = dz z (1 - z)                   (1)

    Here z is the share of the candidate, as in the paper; in ``GRUCell`` it is that of h.
    """

    state = ("h",)
    gates = ("z", "n")
    product = False
    saves = ("z", "n", "h")

    @staticmethod
    def step(p: Array, q: Array, state: Arrays) -> tuple[Arrays, Arrays]:
        (h,) = state
        p_z, n = split(p, 2)  # (2)
        z = sigmoid(p_z)  # (1)
        h1 = (1 - z) * h + z * n  # (3)
        return (h1,), (z, n, h)

    @staticmethod
    def unstep(dstate: Arrays, saved: Arrays) -> Transposed:
        (dh1,) = dstate
        z, n, h = saved
        dz = dh1 * (n - h)  # (3)
        dn = dh1 * z  # (3)
        dh = dh1 * (1 - z)  # (3)
        da_z = dz * z * (1 - z)  # (1)
        return join(da_z, dn), None, (dh,)  # (2)


class MinLSTMCell:
    """Long short-term memory whose gates and candidate see the input alone (Feng et al. 2024, arXiv 2410.01201).

        f  = σ(p_f)                           (1)
        i  = σ(p_i)                           (2)
        n  = p_n                              (3)
        s  = f + i + 2 e                      (4)  with e = 1e-30: where both gates are 0, each has half
        a  = (f + e) / s                      (5)  the share of h; that of n is (i + e) / s = 1 - a
        h' = a h + (1 - a) n                  (6)

    Transposed; a is made of f and of s, which is made of f and i, so that ∂a/∂f = (1 - a) / s and ∂a/∂i = -a / s:

        da = dh' (h - n)                      (6)
        dh = dh' a                            (6)  the only path
        dn = dh' (1 - a)                      (6)
        dp_n = dn                             (3)
        dp_i = -da a (i / s) (1 - i)          (5) (4) (2)
        dp_f = da (1 - a) (f / s) (1 - f)     (5) (4) (1)

    (5) divides by what may be small, so that f and i must be right to all their digits there, too: ``exact_sigmoid``.
    For the same reason the transpose divides what is no larger than s.
    """

    state = ("h",)
    gates = ("f", "i", "n")
    product = False
    saves = ("f", "i", "n", "s", "a", "h")

    @staticmethod
    def step(p: Array, q: Array, state: Arrays) -> tuple[Arrays, Arrays]:
        (h,) = state
        p_f, p_i, n = split(p, 3)  # (3)
        f = exact_sigmoid(p_f)  # (1)
        i = exact_sigmoid(p_i)  # (2)
        s = f + i + 2 * E  # (4)
        a = (f + E) / s  # (5)
        h1 = a * h + (1 - a) * n  # (6)
        return (h1,), (f, i, n, s, a, h)

    @staticmethod
    def unstep(dstate: Arrays, saved: Arrays) -> Transposed:
        (dh1,) = dstate
        f, i, n, s, a, h = saved
        da = dh1 * (h - n)  # (6)
        dh = dh1 * a  # (6)
        dn = dh1 * (1 - a)  # (6)
        da_i = -da * a * (i / s) * (1 - i)  # (5) (4) (2)
        da_f = da * (1 - a) * (f / s) * (1 - f)  # (5) (4) (1)
        return join(da_f, da_i, dn), None, (dh,)  # (3)


class SRUCell:
    """The simple recurrent unit (Lei et al. 2018, arXiv 1709.02755, equations of its version 1, without their tanh).

        g  = p_g                              (1)
        f  = σ(p_f)                           (2)
        r  = σ(p_r)                           (3)
        s  = p_s                              (4)  the highway: in the paper its x, which is as wide as c
        c' = f c + (1 - f) g                  (5)
        h' = r c' + (1 - r) s                 (6)

    Transposed.  c' is used by (6) and by the next step, which sent dc'; nothing reads h:

        dr = dh' (c' - s)                     (6)
        ds = dh' (1 - r)                      (6)
        dc' = dc' + dh' r                     (6)
        df = dc' (c - g)                      (5)
        dg = dc' (1 - f)                      (5)
        dc = dc' f                            (5)  the only path
        dp_s = ds                             (4)
        dp_r = dr r (1 - r)                   (3)
        dp_f = df f (1 - f)                   (2)
        dp_g = dg                             (1)
    """

    state = ("h", "c")
    gates = ("g", "f", "r", "s")
    product = False
    saves = ("g", "f", "r", "s", "c", "c1")

    @staticmethod
    def step(p: Array, q: Array, state: Arrays) -> tuple[Arrays, Arrays]:
        _, c = state
        g, p_f, p_r, s = split(p, 4)  # (1) (4)
        f = sigmoid(p_f)  # (2)
        r = sigmoid(p_r)  # (3)
        c1 = f * c + (1 - f) * g  # (5)
        h1 = r * c1 + (1 - r) * s  # (6)
        return (h1, c1), (g, f, r, s, c, c1)

    @staticmethod
    def unstep(dstate: Arrays, saved: Arrays) -> Transposed:
        dh1, dc1 = dstate
        g, f, r, s, c, c1 = saved
        dr = dh1 * (c1 - s)  # (6)
        ds = dh1 * (1 - r)  # (6)
        dc1 = dc1 + dh1 * r  # (6)
        df = dc1 * (c - g)  # (5)
        dg = dc1 * (1 - f)  # (5)
        dc = dc1 * f  # (5)
        da_r = dr * r * (1 - r)  # (3)
        da_f = df * f * (1 - f)  # (2)
        return join(dg, da_f, da_r, ds), None, (None, dc)  # (1) (4)


NAMED: dict[str, Any] = {  # as model files name them
    cell.__name__: cell for cell in (PeepholeLSTMCell, CoupledLSTMCell, IndRNNCell, MinGRUCell, MinLSTMCell, SRUCell)
}

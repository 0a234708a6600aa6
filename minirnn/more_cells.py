"""Cells beyond the chapter's, derived as those of ``cells.py``: its docstring says how they are written.

    PeepholeLSTMCell    gates that see the cell state
    CoupledLSTMCell     one gate for what is forgotten and what is written
    IndRNNCell          each unit sees of the state itself alone
    MinGRUCell          gates that see the input alone: the state is a weighted sum
    MinLSTMCell         the same with two gates
    SRUCell             the same with an output that is gated, too
    LayerNormLSTMCell   what gates see is normalised, and what of the cell state is put out
    LayerNormGRUCell    the same for the gated recurrent unit

IndRNN, minGRU, minLSTM and SRU have no product with h (``product = False``): there is no U, ``q`` has no columns, and
``unstep`` returns None for ``dq``.  All their products are with the input, of all steps at once.
"""

from typing import Any

import numpy as np

from minirnn.cells import join, sigmoid, split
from minirnn.core.protocol import Array, Arrays, Transposed

E = 1e-30  # in float32 a normal number, and so is its inverse
EPS = 1e-5  # added to a variance


def exact_sigmoid(a: Array) -> Array:
    """σ(a) = 1 / (1 + exp(-a)) = exp(a) / (1 + exp(a)), the one that does not overflow: with e = exp(-|a|).

    ``sigmoid`` has an error of a rounding of 1 everywhere, which is most of σ(a) where that is small.
    """
    e = np.exp(np.where(a.real < 0, a, -a))
    out: Array = np.where(a.real < 0, e, a.dtype.type(1)) / (1 + e)
    return out


def mean(a: Array) -> Array:
    """The mean of each row, (B, 1)."""
    out: Array = a.mean(-1, keepdims=True)
    return out


def scale(a: Array, eps: float = EPS) -> Array:
    """1 / sqrt(var(a) + ε) of each row, (B, 1); var is the mean of the squared distances from the mean."""
    off = a - mean(a)
    out: Array = 1 / np.sqrt(mean(off * off) + eps)
    return out


def unnormalised(dN: Array, N: Array, s: Array) -> Array:
    """da of N = (a - mean(a)) s with s = scale(a).

    Each number moves N directly, by s; through the mean and the variance it moves all of its row, by which dN loses its
    parts along 1 and along N: a change da of a changes s by -s² mean(N da), and so N by -N s mean(N da).
    """
    da: Array = s * (dN - mean(dN) - N * mean(dN * N))
    return da


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


class LayerNormLSTMCell:
    """Long short-term memory with layer normalisation (Ba, Kiros and Hinton 2016, arXiv 1607.06450, supplement).

    Both products are normalised, each over the numbers of all its gates, and so is the cell state that is put out.  Of
    P, Q, a and v, w, e, which are as wide as p, a_k is gate k's part; v and w are gains, e are shifts.

        s_p = 1 / sqrt(var(p) + ε)            (1)
        P  = (p - mean(p)) s_p                (2)
        s_q = 1 / sqrt(var(q) + ε)            (3)
        Q  = (q - mean(q)) s_q                (4)
        a  = v P + w Q + e                    (5)
        i  = σ(a_i)                           (6)
        f  = σ(a_f)                           (7)
        g  = tanh(a_g)                        (8)
        o  = σ(a_o)                           (9)
        c' = f c + i g                        (10)
        s_c = 1 / sqrt(var(c') + ε)           (11)
        C  = (c' - mean(c')) s_c              (12)
        m  = tanh(v_c C + e_c)                (13)
        h' = o m                              (14)

    Transposed; ``unnormalised`` derives the way back through a norm.  c' is used by (11), by (12) and by the next step,
    which sent dc':

        do = dh' m                            (14)
        dm = dh' o                            (14)
        da_c = dm (1 - m²)                    (13)
        dv_c = da_c C                         (13)
        de_c = da_c                           (13)
        dC = da_c v_c                         (13)
        dc' = dc' + s_c (dC - mean(dC) - C mean(dC C))    (12) (11)
        di = dc' g                            (10)
        dg = dc' i                            (10)
        df = dc' c                            (10)
        dc = dc' f                            (10)
        da_o = do o (1 - o)                   (9)
        da_g = dg (1 - g²)                    (8)
        da_f = df f (1 - f)                   (7)
        da_i = di i (1 - i)                   (6)
        dv = da P                             (5)
        dw = da Q                             (5)
        de = da                               (5)
        dP = da v                             (5)
        dQ = da w                             (5)
        dq = s_q (dQ - mean(dQ) - Q mean(dQ Q))    (4) (3)
        dp = s_p (dP - mean(dP) - P mean(dP P))    (2) (1)

    The paper normalises x W and adds b afterwards.  Here p = x W + b is normalised: with b = 0 it is the same.
    """

    state = ("h", "c")
    gates = ("i", "f", "g", "o")
    chapter_gates = ("i", "f", "c", "o")
    units = (*("v_i", "v_f", "v_g", "v_o"), *("w_i", "w_f", "w_g", "w_o"), *("e_i", "e_f", "e_g", "e_o"), "v_c", "e_c")
    initial = tuple((name, float(name[0] != "e")) for name in units)
    saves = (
        *("i", "f", "g", "o", "c", "m", "C", "s_c", "s_p", "s_q"),
        *("P_i", "P_f", "P_g", "P_o", "Q_i", "Q_f", "Q_g", "Q_o"),
    )

    @staticmethod
    def step(p: Array, q: Array, state: Arrays, *units: Array) -> tuple[Arrays, Arrays]:
        _, c = state
        v, w, e, (v_c, e_c) = join(*units[:4]), join(*units[4:8]), join(*units[8:12]), units[12:]
        s_p = scale(p)  # (1)
        P = (p - mean(p)) * s_p  # (2)
        s_q = scale(q)  # (3)
        Q = (q - mean(q)) * s_q  # (4)
        a = v * P + w * Q + e  # (5)
        a_i, a_f, a_g, a_o = split(a, 4)
        i = sigmoid(a_i)  # (6)
        f = sigmoid(a_f)  # (7)
        g = np.tanh(a_g)  # (8)
        o = sigmoid(a_o)  # (9)
        c1 = f * c + i * g  # (10)
        s_c = scale(c1)  # (11)
        C = (c1 - mean(c1)) * s_c  # (12)
        m = np.tanh(v_c * C + e_c)  # (13)
        h1 = o * m  # (14)
        return (h1, c1), (i, f, g, o, c, m, C, s_c, s_p, s_q, *split(P, 4), *split(Q, 4))

    @staticmethod
    def unstep(dstate: Arrays, saved: Arrays, *units: Array) -> Transposed:
        dh1, dc1 = dstate
        i, f, g, o, c, m, C, s_c, s_p, s_q, *normalised = saved
        v, w, v_c = join(*units[:4]), join(*units[4:8]), units[12]
        P, Q = join(*normalised[:4]), join(*normalised[4:])
        do = dh1 * m  # (14)
        dm = dh1 * o  # (14)
        da_c = dm * (1 - m * m)  # (13)
        dv_c = da_c * C  # (13)
        dC = da_c * v_c  # (13)
        dc1 = dc1 + unnormalised(dC, C, s_c)  # (12) (11)
        di = dc1 * g  # (10)
        dg = dc1 * i  # (10)
        df = dc1 * c  # (10)
        dc = dc1 * f  # (10)
        da_o = do * o * (1 - o)  # (9)
        da_g = dg * (1 - g * g)  # (8)
        da_f = df * f * (1 - f)  # (7)
        da_i = di * i * (1 - i)  # (6)
        da = join(da_i, da_f, da_g, da_o)
        dv = da * P  # (5)
        dw = da * Q  # (5)
        de = da  # (5)
        dP = da * v  # (5)
        dQ = da * w  # (5)
        dq = unnormalised(dQ, Q, s_q)  # (4) (3)
        dp = unnormalised(dP, P, s_p)  # (2) (1)
        return dp, dq, (None, dc), *split(dv, 4), *split(dw, 4), *split(de, 4), dv_c, da_c


class LayerNormGRUCell:
    """The gated recurrent unit with layer normalisation (Ba, Kiros and Hinton 2016, arXiv 1607.06450, supplement).

    Both products are normalised, each over the numbers of all its gates.  Of P and Q, which are as wide as p, P_k is
    gate k's part; v and w are gains, e are shifts.

        s_p = 1 / sqrt(var(p) + ε)            (1)
        P  = (p - mean(p)) s_p                (2)
        s_q = 1 / sqrt(var(q) + ε)            (3)
        Q  = (q - mean(q)) s_q                (4)
        r  = σ(v_r P_r + w_r Q_r + e_r)       (5)
        z  = σ(v_z P_z + w_z Q_z + e_z)       (6)
        u  = w_n Q_n + e_u                    (7)
        n  = tanh(v_n P_n + e_n + r u)        (8)
        h' = (1 - z) n + z h                  (9)

    Transposed; ``unnormalised`` derives the way back through a norm.  dP and dQ are their gates' parts side by side:

        dn = dh' (1 - z)                      (9)
        dz = dh' (h - n)                      (9)
        dh = dh' z                            (9)  the direct path
        da_n = dn (1 - n²)                    (8)
        dr = da_n u                           (8)
        du = da_n r                           (8)
        da_z = dz z (1 - z)                   (6)
        da_r = dr r (1 - r)                   (5)
        dv_n = da_n P_n,  de_n = da_n,  dP_n = da_n v_n    (8)
        dw_n = du Q_n,  de_u = du,  dQ_n = du w_n    (7)
        dv_z = da_z P_z,  dw_z = da_z Q_z,  de_z = da_z    (6)
        dP_z = da_z v_z,  dQ_z = da_z w_z     (6)
        dv_r = da_r P_r,  dw_r = da_r Q_r,  de_r = da_r    (5)
        dP_r = da_r v_r,  dQ_r = da_r w_r     (5)
        dq = s_q (dQ - mean(dQ) - Q mean(dQ Q))    (4) (3)
        dp = s_p (dP - mean(dP) - P mean(dP P))    (2) (1)

    In the paper the candidate's part is normalised by itself, z is the other way round, and x W is normalised where it
    is x W + b here.
    """

    state = ("h",)
    gates = ("r", "z", "n")
    chapter_gates = ("r", "z", "h")
    units = (*("v_r", "v_z", "v_n"), *("w_r", "w_z", "w_n"), *("e_r", "e_z", "e_n"), "e_u")
    initial = tuple((name, float(name[0] != "e")) for name in units)
    saves = (*("r", "z", "n", "u", "h", "s_p", "s_q"), *("P_r", "P_z", "P_n", "Q_r", "Q_z", "Q_n"))

    @staticmethod
    def step(p: Array, q: Array, state: Arrays, *units: Array) -> tuple[Arrays, Arrays]:
        (h,) = state
        v_r, v_z, v_n, w_r, w_z, w_n, e_r, e_z, e_n, e_u = units
        s_p = scale(p)  # (1)
        P = (p - mean(p)) * s_p  # (2)
        s_q = scale(q)  # (3)
        Q = (q - mean(q)) * s_q  # (4)
        P_r, P_z, P_n = split(P, 3)
        Q_r, Q_z, Q_n = split(Q, 3)
        r = sigmoid(v_r * P_r + w_r * Q_r + e_r)  # (5)
        z = sigmoid(v_z * P_z + w_z * Q_z + e_z)  # (6)
        u = w_n * Q_n + e_u  # (7)
        n = np.tanh(v_n * P_n + e_n + r * u)  # (8)
        h1 = (1 - z) * n + z * h  # (9)
        return (h1,), (r, z, n, u, h, s_p, s_q, P_r, P_z, P_n, Q_r, Q_z, Q_n)

    @staticmethod
    def unstep(dstate: Arrays, saved: Arrays, *units: Array) -> Transposed:
        (dh1,) = dstate
        r, z, n, u, h, s_p, s_q, P_r, P_z, P_n, Q_r, Q_z, Q_n = saved
        v_r, v_z, v_n, w_r, w_z, w_n, *_ = units
        dn = dh1 * (1 - z)  # (9)
        dz = dh1 * (h - n)  # (9)
        dh = dh1 * z  # (9)
        da_n = dn * (1 - n * n)  # (8)
        dr = da_n * u  # (8)
        du = da_n * r  # (8)
        da_z = dz * z * (1 - z)  # (6)
        da_r = dr * r * (1 - r)  # (5)
        dv_n, dP_n = da_n * P_n, da_n * v_n  # (8)
        dw_n, dQ_n = du * Q_n, du * w_n  # (7)
        dv_z, dw_z, dP_z, dQ_z = da_z * P_z, da_z * Q_z, da_z * v_z, da_z * w_z  # (6)
        dv_r, dw_r, dP_r, dQ_r = da_r * P_r, da_r * Q_r, da_r * v_r, da_r * w_r  # (5)
        dP, dQ = join(dP_r, dP_z, dP_n), join(dQ_r, dQ_z, dQ_n)
        dq = unnormalised(dQ, join(Q_r, Q_z, Q_n), s_q)  # (4) (3)
        dp = unnormalised(dP, join(P_r, P_z, P_n), s_p)  # (2) (1)
        return dp, dq, (dh,), dv_r, dv_z, dv_n, dw_r, dw_z, dw_n, da_r, da_z, da_n, du


BY_SHORT_NAME: dict[str, Any] = {  # as ``minirnn train --cell`` takes them
    "peephole": PeepholeLSTMCell,
    "coupled": CoupledLSTMCell,
    "indrnn": IndRNNCell,
    "mingru": MinGRUCell,
    "minlstm": MinLSTMCell,
    "sru": SRUCell,
    "lnlstm": LayerNormLSTMCell,
    "lngru": LayerNormGRUCell,
}
NAMED: dict[str, Any] = {cell.__name__: cell for cell in BY_SHORT_NAME.values()}  # as model files name them

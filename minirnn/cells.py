"""The equations of every cell and their transposes: the whole of the calculus in minirnn.

A network reads ``x[t]`` and has a state.  A cell needs two products,

    p = x[t] W + b        the input's part, computed for all steps at once
    q = h[t] U            the state's part, computed step by step

and apart from those it treats each row of the batch separately.  So a cell is two functions, written side by side:

    step(p, q, state)       ->  state', saved           the forward equations
    unstep(dstate', saved)  ->  dp, dq, dstate          their transpose, line by line in reverse

``dname`` is the gradient of the loss with respect to ``name``: if the loss moves by dL when ``name`` moves by dname,
an equation y = f(x) turns dy into dx = f'(x) dy, and a quantity used twice collects the sum of what both uses send
back.  The paths through the products (``dh += dq Uᵀ``, ``dx = dp Wᵀ``) and the sums over time (``dU``, ``dW``, ``db``)
are the same for every cell and live in ``scan.py`` and ``recurrent/plain.py``; ``dstate[0]`` is only what reaches
``h`` *directly*, and None where no direct path exists.

The numbers (1), (2), ... in a docstring are those in the code below it.  ``'`` marks the state after the step (``h1``
and ``c1`` in code), ``σ`` the logistic sigmoid, products of equals are elementwise.  Arrays are (B, H) for a state and
(B, G·H) for ``p`` and ``q``, with the G gates side by side in the order of ``gates``, but where a cell says otherwise.

All of it is holomorphic away from relu's kink: no ``abs``, no ``conj``, branches on the real part.  So the equations
run on complex numbers as they stand, and a derivative is the imaginary part of one evaluation (``minirnn.testing``).

Write your own cell as these are written; ``minirnn.core.protocol`` says what is read from it, and nothing needs to be
imported or registered.  ``examples/own_cell.py`` derives and proves one.
"""

from dataclasses import dataclass

import numpy as np

from minirnn.core.protocol import Array, Arrays, Transposed


def sigmoid(a: Array) -> Array:
    """σ(a) = 1 / (1 + exp(-a)), as tanh, which saturates without overflow."""
    out: Array = 0.5 * np.tanh(0.5 * a) + 0.5
    return out


def split(a: Array, n: int) -> Arrays:
    """The n gates of (..., n·H) as views (..., H)."""
    H = a.shape[-1] // n
    return tuple(a[..., k * H : (k + 1) * H] for k in range(n))


def join(*gates: Array) -> Array:
    """The inverse of split."""
    return np.concatenate(gates, axis=-1)


class TanhCell:
    """The vanilla recurrent cell (Elman 1990).

        a  = p + q                            (1)
        h' = tanh(a)                          (2)

    Transposed, with tanh' = 1 - tanh²:

        da = dh' (1 - h'²)                    (2)
        dp = dq = da                          (1)
    """

    state = ("h",)
    gates = ("h",)
    saves = ("h1",)

    @staticmethod
    def step(p: Array, q: Array, state: Arrays) -> tuple[Arrays, Arrays]:
        a = p + q  # (1)
        h1 = np.tanh(a)  # (2)
        return (h1,), (h1,)

    @staticmethod
    def unstep(dstate: Arrays, saved: Arrays) -> Transposed:
        (dh1,) = dstate
        (h1,) = saved
        da = dh1 * (1 - h1 * h1)  # (2)
        return da, da, (None,)  # (1)


class ReluCell:
    """The vanilla cell with a rectifier (Le, Jaitly and Hinton 2015, arXiv 1504.00941).

        a  = p + q                            (1)
        h' = a where a > 0, else 0            (2)

    Transposed; at the kink, a = 0, the derivative is taken as 0:

        da = dh' where a > 0, else 0          (2)
        dp = dq = da                          (1)

    The code tests the opposite, so that a NaN is passed on and not turned into 0.
    """

    state = ("h",)
    gates = ("h",)
    saves = ("a",)
    kinks = ("a",)

    @staticmethod
    def step(p: Array, q: Array, state: Arrays) -> tuple[Arrays, Arrays]:
        a = p + q  # (1)
        h1 = np.where(a.real <= 0, a.dtype.type(0), a)  # (2)
        return (h1,), (a,)

    @staticmethod
    def unstep(dstate: Arrays, saved: Arrays) -> Transposed:
        (dh1,) = dstate
        (a,) = saved
        da = np.where(a.real <= 0, a.dtype.type(0), dh1)  # (2)
        return da, da, (None,)  # (1)


class GRUCell:
    """The gated recurrent unit, reset applied *after* the product: the form of torch and cuDNN.

    (Cho et al. 2014, arXiv 1406.1078, in the variant of its version 1.)  With q = h U, and q_n = h U_n + bn:

        r  = σ(p_r + q_r)                     (1)
        z  = σ(p_z + q_z)                     (2)
        u  = q_n                              (3)
        n  = tanh(p_n + r u)                  (4)
        h' = (1 - z) n + z h                  (5)

    Transposed, with σ' = σ (1 - σ):

        dn = dh' (1 - z)                      (5)
        dz = dh' (h - n)                      (5)
        dh = dh' z                            (5)  the direct path
        dp_n = da_n = dn (1 - n²)             (4)  with a_n = p_n + r u
        dr = da_n u                           (4)
        du = da_n r                           (4)
        dq_n = du                             (3)
        dp_z = dq_z = dz z (1 - z)            (2)
        dp_r = dq_r = dr r (1 - r)            (1)
    """

    state = ("h",)
    gates = ("r", "z", "n")
    chapter_gates = ("r", "z", "h")
    recurrent_bias = ("n",)
    saves = ("r", "z", "n", "u", "h")

    @staticmethod
    def step(p: Array, q: Array, state: Arrays) -> tuple[Arrays, Arrays]:
        (h,) = state
        p_r, p_z, p_n = split(p, 3)
        q_r, q_z, u = split(q, 3)  # (3): the third is q_n
        r = sigmoid(p_r + q_r)  # (1)
        z = sigmoid(p_z + q_z)  # (2)
        n = np.tanh(p_n + r * u)  # (4)
        h1 = (1 - z) * n + z * h  # (5)
        return (h1,), (r, z, n, u, h)

    @staticmethod
    def unstep(dstate: Arrays, saved: Arrays) -> Transposed:
        (dh1,) = dstate
        r, z, n, u, h = saved
        dn = dh1 * (1 - z)  # (5)
        dz = dh1 * (h - n)  # (5)
        dh = dh1 * z  # (5)
        da_n = dn * (1 - n * n)  # (4)
        dr = da_n * u  # (4)
        du = da_n * r  # (4)
        da_z = dz * z * (1 - z)  # (2)
        da_r = dr * r * (1 - r)  # (1)
        return join(da_r, da_z, da_n), join(da_r, da_z, du), (dh,)  # (1) (2) (4), and (3) in dq


class _ResetAndUpdate:
    """First stage of ``GRUBeforeCell``: equations (1) to (3) there, multiplied by U_r and U_z."""

    gates = ("r", "z")
    saves = ("r", "z", "h")

    @staticmethod
    def step(p: Array, q: Array, state: Arrays) -> tuple[Arrays, Arrays]:
        (h,) = state
        r, z = split(sigmoid(p + q), 2)  # (1) (2)
        a = r * h  # (3)
        return (a, z, h), (r, z, h)

    @staticmethod
    def unstep(dstate: Arrays, saved: Arrays) -> Transposed:
        da, dz, dh = dstate  # dh: what (5) sent back to h
        r, z, h = saved
        dr = da * h  # (3)
        dh = dh + da * r  # (3)
        d = join(dr * r * (1 - r), dz * z * (1 - z))  # (1) (2)
        return d, d, (dh,)


class _Candidate:
    """Second stage of ``GRUBeforeCell``: equations (4) and (5) there, multiplied by U_n."""

    gates = ("n",)
    saves = ("n", "z", "h")

    @staticmethod
    def step(p: Array, q: Array, state: Arrays) -> tuple[Arrays, Arrays]:
        _, z, h = state
        n = np.tanh(p + q)  # (4)
        h1 = (1 - z) * n + z * h  # (5)
        return (h1,), (n, z, h)

    @staticmethod
    def unstep(dstate: Arrays, saved: Arrays) -> Transposed:
        (dh1,) = dstate
        n, z, h = saved
        dn = dh1 * (1 - z)  # (5)
        dz = dh1 * (h - n)  # (5)
        dh = dh1 * z  # (5)
        da_n = dn * (1 - n * n)  # (4)
        return da_n, da_n, (None, dz, dh)  # a is used by (4) alone, through the product


class GRUBeforeCell:
    """The gated recurrent unit, reset applied *before* the product: the form of the paper and of the chapter.

    (Cho et al. 2014, arXiv 1406.1078, equations 5 to 8.)  The candidate multiplies ``r h``, not ``h``, so a second
    product stands inside the step, and the cell has two stages:

        r  = σ(p_r + q_r)                     (1)  q_r = h U_r
        z  = σ(p_z + q_z)                     (2)  q_z = h U_z
        a  = r h                              (3)
        n  = tanh(p_n + q_n)                  (4)  q_n = a U_n, the second stage's product
        h' = (1 - z) n + z h                  (5)

    Transposed, the second stage first; between the two, ``da = dq_n U_nᵀ`` comes back through the product:

        dn = dh' (1 - z)                      (5)
        dz = dh' (h - n)                      (5)
        dh = dh' z                            (5)
        dp_n = dq_n = dn (1 - n²)             (4)
        dr = da h                             (3)
        dh = dh + da r                        (3)  h is used by (3) and by (5)
        dp_z = dq_z = dz z (1 - z)            (2)
        dp_r = dq_r = dr r (1 - r)            (1)
    """

    state = ("h",)
    stages = (_ResetAndUpdate, _Candidate)
    chapter_gates = ("r", "z", "h")


class LSTMCell:
    """Long short-term memory (Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000), without peepholes.

        i = σ(p_i + q_i)                      (1)
        f = σ(p_f + q_f)                      (2)
        g = tanh(p_g + q_g)                   (3)
        o = σ(p_o + q_o)                      (4)
        c' = f c + i g                        (5)
        m  = tanh(c')                         (6)
        h' = o m                              (7)

    Transposed.  c' is used by (7), through m, and by the next step, which sent dc':

        do = dh' m                            (7)
        dm = dh' o                            (7)
        dc' = dc' + dm (1 - m²)               (6)
        di = dc' g                            (5)
        dg = dc' i                            (5)
        df = dc' c                            (5)
        dc = dc' f                            (5)  the direct path: no product, no squashing
        dp_o = dq_o = do o (1 - o)            (4)
        dp_g = dq_g = dg (1 - g²)             (3)
        dp_f = dq_f = df f (1 - f)            (2)
        dp_i = dq_i = di i (1 - i)            (1)
    """

    state = ("h", "c")
    gates = ("i", "f", "g", "o")
    chapter_gates = ("i", "f", "c", "o")
    saves = ("i", "f", "g", "o", "c", "m")

    @staticmethod
    def step(p: Array, q: Array, state: Arrays) -> tuple[Arrays, Arrays]:
        _, c = state
        a_i, a_f, a_g, a_o = split(p + q, 4)  # the arguments of (1) to (4)
        i = sigmoid(a_i)  # (1)
        f = sigmoid(a_f)  # (2)
        g = np.tanh(a_g)  # (3)
        o = sigmoid(a_o)  # (4)
        c1 = f * c + i * g  # (5)
        m = np.tanh(c1)  # (6)
        h1 = o * m  # (7)
        return (h1, c1), (i, f, g, o, c, m)

    @staticmethod
    def unstep(dstate: Arrays, saved: Arrays) -> Transposed:
        dh1, dc1 = dstate
        i, f, g, o, c, m = saved
        do = dh1 * m  # (7)
        dm = dh1 * o  # (7)
        dc1 = dc1 + dm * (1 - m * m)  # (6)
        di = dc1 * g  # (5)
        dg = dc1 * i  # (5)
        df = dc1 * c  # (5)
        dc = dc1 * f  # (5)
        da_o = do * o * (1 - o)  # (4)
        da_g = dg * (1 - g * g)  # (3)
        da_f = df * f * (1 - f)  # (2)
        da_i = di * i * (1 - i)  # (1)
        da = join(da_i, da_f, da_g, da_o)  # dp = dq: p and q enter only as their sum
        return da, da, (None, dc)


class _Projection:
    """Second stage of ``ProjectedLSTMCell``: equation (8) there, which is its product and nothing else."""

    gates = ()
    matrix = "P"
    saves = ()

    @staticmethod
    def step(p: Array, q: Array, state: Arrays) -> tuple[Arrays, Arrays]:
        _, c1 = state
        h1 = q  # (8)
        return (h1, c1), ()

    @staticmethod
    def unstep(dstate: Arrays, saved: Arrays) -> Transposed:
        dh1, dc1 = dstate
        dq = dh1  # (8)
        return None, dq, (None, dc1)  # s is used by (8) alone, through the product


@dataclass(frozen=True)
class ProjectedLSTMCell:
    """Long short-term memory whose state h is projected to fewer numbers (Sak et al. 2014, arXiv 1402.1128).

    What an ``LSTMCell`` puts out, here ``s``, is multiplied once more before it becomes the state: c and s are (B, H),
    h is (B, R) with R = ``proj_size``, and U (R, 4·H) is smaller by as much.  So the cell has two stages.  The first is
    an ``LSTMCell`` as it stands, equations (1) to (6) there, and in place of (7):

        s  = o m                              (7)
        h' = q                                (8)  q = s P, the second stage's product, with P (H, R)

    Transposed, the second stage first; between the two, ``ds = dq Pᵀ`` comes back through the product:

        dq = dh'                              (8)  and dc' goes by
        do = ds m                             (7)
        dm = ds o                             (7)
        ...                                        from (6) on as in ``LSTMCell``

    The matrix's gradient is one product over all steps, ``dP += Sᵀ dQ``, as that of U.  torch calls the matrix
    ``weight_hr``, its transpose; the paper's r is this h, and its m this s.
    """

    proj_size: int

    state = ("h", "c")
    stages = (LSTMCell, _Projection)
    chapter_gates = LSTMCell.chapter_gates

    @property
    def output_size(self) -> int:
        """How wide h is."""
        return self.proj_size

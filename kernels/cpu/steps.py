"""The equations of ``cells.py`` on vectors: twins with the same names, the same order and the same numbers.

``step`` replaces the arguments of the gates, which stand in ``G``, by the gates; ``unstep`` writes the gradients of
those arguments to ``dP``.  Both treat the units from j on, a vector of them, of one row; ``n`` is None for a full
vector, else how many lanes count.  Every pointer is to the row's first unit: ``G`` and ``dP`` to its first gate, gates
H apart.

    u       h U_n + bn, the part of the GRU's candidate that the reset gate multiplies
    h, c    the state before the step;  h1, c1 the state after
    m       tanh(c1)
    dy      what the layer above sends to h1;  dh and dc what the step after sends, replaced by what this one sends back
            *directly*: the product with U is added later
"""

from minirnn.kernels.cpu.activations import sigmoid, tanh
from minirnn.kernels.cpu.compiling import inline
from minirnn.kernels.cpu.memory import load, store
from minirnn.kernels.cpu.vectors import where_positive


@inline
def tanh_step(G, u, h, c, h1, c1, m, H, j, n):
    store(tanh(load(G, j, n)), h1, j, n)  # (2)


@inline
def tanh_unstep(G, u, h, h1, c, m, dy, dh, dc, dP, H, j, n):
    dh1, h1 = load(dh, j, n) + load(dy, j, n), load(h1, j, n)
    da = dh1 * (1 - h1 * h1)  # (2)
    store(da, dP, j, n)
    store(0 * da, dh, j, n)


@inline
def relu_step(G, u, h, c, h1, c1, m, H, j, n):
    a = load(G, j, n)
    store(where_positive(a, a), h1, j, n)  # (2)


@inline
def relu_unstep(G, u, h, h1, c, m, dy, dh, dc, dP, H, j, n):
    dh1, a = load(dh, j, n) + load(dy, j, n), load(G, j, n)
    da = where_positive(a, dh1)  # (2)
    store(da, dP, j, n)
    store(0 * da, dh, j, n)


@inline
def gru_step(G, u, h, c, h1, c1, m, H, j, n):
    r = sigmoid(load(G, j, n))  # (1)
    z = sigmoid(load(G, H + j, n))  # (2)
    g = tanh(load(G, 2 * H + j, n) + r * load(u, j, n))  # (4): n in cells.py
    store((1 - z) * g + z * load(h, j, n), h1, j, n)  # (5)
    store(r, G, j, n)
    store(z, G, H + j, n)
    store(g, G, 2 * H + j, n)


@inline
def gru_unstep(G, u, h, h1, c, m, dy, dh, dc, dP, H, j, n):
    dh1 = load(dh, j, n) + load(dy, j, n)
    r, z, g = load(G, j, n), load(G, H + j, n), load(G, 2 * H + j, n)
    dg = dh1 * (1 - z)  # (5)
    dz = dh1 * (load(h, j, n) - g)  # (5)
    store(dh1 * z, dh, j, n)  # (5)
    da_n = dg * (1 - g * g)  # (4)
    dr = da_n * load(u, j, n)  # (4)
    store(da_n, dP, j, n)
    store(dr * r * (1 - r), dP, H + j, n)  # (1)
    store(dz * z * (1 - z), dP, 2 * H + j, n)  # (2)
    store(da_n * r, dP, 3 * H + j, n)  # (4): du, and (3)


@inline
def lstm_step(G, u, h, c, h1, c1, m, H, j, n):
    i = sigmoid(load(G, j, n))  # (1)
    f = sigmoid(load(G, H + j, n))  # (2)
    g = tanh(load(G, 2 * H + j, n))  # (3)
    o = sigmoid(load(G, 3 * H + j, n))  # (4)
    cell = f * load(c, j, n) + i * g  # (5)
    squashed = tanh(cell)  # (6)
    store(i, G, j, n)
    store(f, G, H + j, n)
    store(g, G, 2 * H + j, n)
    store(o, G, 3 * H + j, n)
    store(cell, c1, j, n)
    store(squashed, m, j, n)
    store(o * squashed, h1, j, n)  # (7)


@inline
def lstm_unstep(G, u, h, h1, c, m, dy, dh, dc, dP, H, j, n):
    dh1, m = load(dh, j, n) + load(dy, j, n), load(m, j, n)
    i, f, g, o = load(G, j, n), load(G, H + j, n), load(G, 2 * H + j, n), load(G, 3 * H + j, n)
    do = dh1 * m  # (7)
    dm = dh1 * o  # (7)
    dc1 = load(dc, j, n) + dm * (1 - m * m)  # (6)
    di = dc1 * g  # (5)
    dg = dc1 * i  # (5)
    df = dc1 * load(c, j, n)  # (5)
    store(dc1 * f, dc, j, n)  # (5)
    store(do * o * (1 - o), dP, 3 * H + j, n)  # (4)
    store(dg * (1 - g * g), dP, 2 * H + j, n)  # (3)
    store(df * f * (1 - f), dP, H + j, n)  # (2)
    store(di * i * (1 - i), dP, j, n)  # (1)
    store(0 * do, dh, j, n)

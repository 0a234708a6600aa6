"""What the courses' forward passes compute: plain formulas that share nothing with minirnn's cells.

All of them let complex numbers pass, so that they can be differentiated by complex steps.
"""

from typing import Any

import numpy as np

from minirnn.testing.functions.leaves import Array

Weights = dict[str, Array]


def sigmoid(a: Array) -> Array:
    """1 / (1 + exp(-a)), which does not overflow."""
    return 0.5 + 0.5 * np.tanh(0.5 * a)


def softmax(a: Array, axis: int) -> Array:
    """exp(a) over its sum along an axis."""
    e = np.exp(a - a.real.max(axis=axis, keepdims=True))
    return np.asarray(e / e.sum(axis=axis, keepdims=True))


# ---------------------------------------------------------------------- rows (N, D), weights (D, H)


def rnn_step(x: Array, h: Array, Wx: Array, Wh: Array, b: Array) -> tuple[Array, ...]:
    """h' (N, H) of x (N, D), h (N, H)."""
    return (np.tanh(x @ Wx + h @ Wh + b),)


def rnn(x: Array, h: Array, Wx: Array, Wh: Array, b: Array) -> tuple[Array, ...]:
    """All h' (N, T, H) of x (N, T, D)."""
    steps = []
    for t in range(x.shape[1]):
        (h,) = rnn_step(x[:, t], h, Wx, Wh, b)
        steps.append(h)
    return (np.stack(steps, axis=1),)


def lstm_step(x: Array, h: Array, c: Array, Wx: Array, Wh: Array, b: Array) -> tuple[Array, ...]:
    """h' and c' (N, H); the columns of the weights (D, 4H) are those of the gates i, f, o, g."""
    i, f, o, g = np.split(x @ Wx + h @ Wh + b, 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def lstm(x: Array, h: Array, Wx: Array, Wh: Array, b: Array) -> tuple[Array, ...]:
    """All h' (N, T, H) of x (N, T, D), from c = 0."""
    c, steps = np.zeros(h.shape), []
    for t in range(x.shape[1]):
        h, c = lstm_step(x[:, t], h, c, Wx, Wh, b)
        steps.append(h)
    return (np.stack(steps, axis=1),)


def embedding(x: Array, W: Array) -> tuple[Array, ...]:
    """Row x[n, t] of W (V, D) for each of the indices (N, T)."""
    return (W[x],)


def affine(x: Array, w: Array, b: Array) -> tuple[Array, ...]:
    """(N, T, M) of x (N, T, D), w (D, M), b (M,)."""
    return (np.einsum("ntd,dm->ntm", x, w) + b,)


def softmax_loss(x: Array, y: Array, mask: Array) -> tuple[Any, ...]:
    """The cross-entropy of scores x (N, T, V), summed over the steps in the mask, divided by the rows N."""
    p = softmax(x, 2)
    right = np.take_along_axis(p, y[:, :, None], axis=2)[:, :, 0]
    return (-(mask * np.log(right)).sum() / len(x),)


# ---------------------------------------------------------------------- columns (n, m), weights (n_a, n_x)


def rnn_cell(xt: Array, a: Array, p: Weights) -> tuple[Array, ...]:
    """a' (n_a, m) and the prediction (n_y, m) of xt (n_x, m)."""
    a = np.tanh(p["Wax"] @ xt + p["Waa"] @ a + p["ba"])
    return a, softmax(p["Wya"] @ a + p["by"], 0)


def rnn_cells(x: Array, a: Array, p: Weights) -> tuple[Array, ...]:
    """All a' (n_a, m, T) and predictions (n_y, m, T) of x (n_x, m, T)."""
    steps = []
    for t in range(x.shape[2]):
        a, y = rnn_cell(x[:, :, t], a, p)
        steps.append((a, y))
    return tuple(np.stack(part, axis=2) for part in zip(*steps, strict=True))


def lstm_cell(xt: Array, a: Array, c: Array, p: Weights) -> tuple[Array, ...]:
    """a', c' (n_a, m) and the prediction; the weights see a above xt."""
    both = np.concatenate([a, xt])
    f, i, o = (sigmoid(p["W" + gate] @ both + p["b" + gate]) for gate in "fio")
    c = f * c + i * np.tanh(p["Wc"] @ both + p["bc"])
    a = o * np.tanh(c)
    return a, c, softmax(p["Wy"] @ a + p["by"], 0)


def lstm_cells(x: Array, a: Array, p: Weights) -> tuple[Array, ...]:
    """All a' (n_a, m, T), predictions (n_y, m, T) and c' (n_a, m, T), from c = 0."""
    c, steps = np.zeros(a.shape), []
    for t in range(x.shape[2]):
        a, c, y = lstm_cell(x[:, :, t], a, c, p)
        steps.append((a, y, c))
    return tuple(np.stack(part, axis=2) for part in zip(*steps, strict=True))


# ---------------------------------------------------------------------- vectors and rows, weights (H, D) in an object


def gru_of(cell: Any, x: Array, h: Array) -> tuple[Array, ...]:
    """h' (H,) of x (D,) by an object with Wrx, brx and the others; the reset gate is applied after the product."""
    r = sigmoid(cell.Wrx @ x + cell.brx + cell.Wrh @ h + cell.brh)
    z = sigmoid(cell.Wzx @ x + cell.bzx + cell.Wzh @ h + cell.bzh)
    n = np.tanh(cell.Wnx @ x + cell.bnx + r * (cell.Wnh @ h + cell.bnh))
    return ((1 - z) * n + z * h,)


def rnn_of(cell: Any, x: Array, h: Array) -> tuple[Array, ...]:
    """h' (N, H) of x (N, D) by an object with W_ih, b_ih, W_hh and b_hh."""
    return (np.tanh(x @ cell.W_ih.T + cell.b_ih + h @ cell.W_hh.T + cell.b_hh),)

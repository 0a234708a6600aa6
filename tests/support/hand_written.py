"""Functions with backward passes by hand, as people write them, and single mistakes in them with their pattern.

Each kind is a piece of source: ``arguments(rng)`` draws what ``check`` is called with.  A mistake replaces a piece of
the source, which comes once there, by another.
"""

import linecache
from itertools import count
from typing import Any, NamedTuple

import numpy as np

COUNT = count()
KINDS: dict[str, str] = {}
MISTAKES: list["Mistake"] = []


class Mistake(NamedTuple):
    """``old`` replaced by ``new`` in the source of a kind, and the patterns that say what that is."""

    kind: str
    old: str
    new: str
    patterns: tuple[str, ...]

    @property
    def source(self) -> str:
        source = KINDS[self.kind]
        assert source.count(self.old) == 1, (self.kind, self.old, source.count(self.old))
        return source.replace(self.old, self.new)


def called(source: str, seed: int = 0) -> tuple[Any, ...]:
    """What ``check`` is called with for a kind."""
    space: dict[str, Any] = {"np": np}
    name = f"<kind {next(COUNT)}>"
    linecache.cache[name] = len(source), None, source.splitlines(keepends=True), name
    exec(compile(source, name, "exec"), space)  # noqa: S102 - the source below
    return tuple(space["arguments"](np.random.default_rng(seed)))


def kind(name: str, source: str, *mistakes: tuple[str, str, str]) -> None:
    KINDS[name] = source
    MISTAKES.extend(Mistake(name, old, new, tuple(patterns.split(" | "))) for old, new, patterns in mistakes)


kind(
    "affine",
    """
def forward(x, w, b):
    y = x @ w + b
    return y, (x, w)

def backward(dy, cache):
    x, w = cache
    dx = dy @ w.T
    dw = x.T @ dy
    db = dy.sum(axis=0)
    return dx, dw, db

def arguments(rng):
    return forward, backward, rng.normal(size=(6, 4)), rng.normal(size=(4, 4)), rng.normal(size=4)
""",
    ("dy @ w.T", "-dy @ w.T", "sign"),
    ("dy @ w.T", "dy @ w", "transposed | unknown | factor"),
    ("dy @ w.T", "2 * dy @ w.T", "factor"),
    ("dy @ w.T", "dy @ w.T / len(x)", "mean for the sum"),
    ("dy @ w.T", "(dy @ w.T).mean(axis=0)", "shape | broadcast gradient not summed"),
    ("dy @ w.T", "np.zeros_like(x)", "missing term"),
    ("dy @ w.T", "dy @ w.T + x", "missing term"),
    ("dy @ w.T", "(dy @ w.T) * x", "factor"),
    ("dy @ w.T", "(dy[:, ::-1] @ w.T)", "unknown | transposed"),
    ("x.T @ dy", "-x.T @ dy", "sign"),
    ("x.T @ dy", "dy.T @ x", "transposed"),
    ("x.T @ dy", "x.T @ dy / len(x)", "mean for the sum"),
    ("x.T @ dy", "0.5 * x.T @ dy", "factor"),
    ("x.T @ dy", "x[:-1].T @ dy[:-1]", "missing term"),
    ("x.T @ dy", "x[1:].T @ dy[1:]", "missing term"),
    ("x.T @ dy", "x.T @ dy + w", "missing term"),
    ("x.T @ dy", "(x.T @ dy) * w", "factor"),
    ("x.T @ dy", "x[:, :, None] * dy[:, None]", "broadcast gradient not summed"),
    ("x.T @ dy", "x[1:].T @ dy[:-1]", "previous step | unknown"),
    ("dy.sum(axis=0)", "dy.mean(axis=0)", "mean for the sum"),
    ("dy.sum(axis=0)", "dy", "broadcast gradient not summed"),
    ("dy.sum(axis=0)", "-dy.sum(axis=0)", "sign"),
    ("dy.sum(axis=0)", "dy[0]", "missing term"),
    ("dy.sum(axis=0)", "dy.sum(axis=0, keepdims=True)", "broadcast gradient not summed"),
    ("dy.sum(axis=0)", "dy.sum(axis=0) * 3", "factor"),
    ("dx = dy @ w.T", "dy *= 1.0 + 1e-3; dx = dy @ w.T", "changed in place | factor"),
    ("y = x @ w + b", "x *= 2.0; y = x @ w + b", "changed in place"),
)

kind(
    "softmax",
    """
def forward(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    y = e / e.sum(axis=-1, keepdims=True)
    return y, y

def backward(dy, y):
    s = (dy * y).sum(axis=-1, keepdims=True)
    return y * (dy - s)

def arguments(rng):
    return forward, backward, rng.normal(size=(5, 4))
""",
    ("return y * (dy - s)", "return -y * (dy - s)", "sign"),
    ("return y * (dy - s)", "return y * (dy + s)", "sign"),
    ("return y * (dy - s)", "return y * dy", "missing term"),
    ("return y * (dy - s)", "return -y * s", "missing term"),
    ("return y * (dy - s)", "return dy - s", "factor"),
    ("return y * (dy - s)", "return y * y * (dy - s)", "factor"),
    ("return y * (dy - s)", "return y * (1 - y) * (dy - s)", "factor"),
    ("return y * (dy - s)", "return y * (1 - y) * dy", "missing term | unknown"),
    ("return y * (dy - s)", "return y * (dy - s) / len(y)", "mean for the sum"),
    ("return y * (dy - s)", "return y * (dy - s) / y.shape[1]", "mean for the sum"),
    ("return y * (dy - s)", "return y * (dy - 2 * s)", "factor | missing term"),
    ("return y * (dy - s)", "return y * (dy - s) + y", "missing term"),
    ("return y * (dy - s)", "return y * (dy - s) + dy", "missing term"),
    ("return y * (dy - s)", "return (y * (dy - s)).sum(axis=0)", "shape | broadcast gradient not summed"),
    ("return y * (dy - s)", "return (y * (dy - s)).T", "transposed"),
    ("return y * (dy - s)", "return np.zeros_like(y)", "missing term"),
    ("return y * (dy - s)", "return 2 * y * (dy - s)", "factor"),
    ("(dy * y).sum", "dy.sum", "factor | missing term | unknown"),
    ("(dy * y).sum", "(dy * y).mean", "factor | mean for the sum"),
    ("(dy * y).sum(axis=-1, keepdims=True)", "(dy * y).sum(axis=0, keepdims=True)", "unknown | missing term"),
    ("(dy * y).sum(axis=-1, keepdims=True)", "(dy * y).sum()", "unknown | missing term"),
    (
        "(dy * y).sum(axis=-1, keepdims=True)",
        "(dy * y * y).sum(axis=-1, keepdims=True)",
        "unknown | factor | missing term",
    ),
    ("    s = (dy * y)", "    dy -= (dy * y).sum(axis=-1, keepdims=True); s = 0 * (dy * y)", "changed in place"),
    ("    s = (dy * y)", "    y += 1e-3; s = (dy * y)", "changed in place"),
    (
        "    e = np.exp(x - x.max(axis=-1, keepdims=True))",
        "    x -= x.max(axis=-1, keepdims=True); e = np.exp(x)",
        "changed in place",
    ),
)

kind(
    "layer norm",
    """
def forward(x, gamma, beta):
    centred = x - x.mean(axis=-1, keepdims=True)
    s = np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + 1e-5)
    n = centred / s
    return gamma * n + beta, (n, s, gamma)

def backward(dy, cache):
    n, s, gamma = cache
    dbeta = dy.sum(axis=0)
    dgamma = (dy * n).sum(axis=0)
    dn = dy * gamma
    m1 = dn.mean(axis=-1, keepdims=True)
    m2 = n * (dn * n).mean(axis=-1, keepdims=True)
    dx = (dn - m1 - m2) / s
    return dx, dgamma, dbeta

def arguments(rng):
    return forward, backward, rng.normal(size=(7, 5)), rng.normal(size=5) + 2, rng.normal(size=5)
""",
    ("(dn - m1 - m2) / s", "(dn - m1) / s", "missing term"),
    ("(dn - m1 - m2) / s", "(dn - m2) / s", "missing term"),
    ("(dn - m1 - m2) / s", "dn / s", "missing term | unknown"),
    ("(dn - m1 - m2) / s", "(dn + m1 - m2) / s", "sign"),
    ("(dn - m1 - m2) / s", "(dn - m1 + m2) / s", "sign"),
    ("(dn - m1 - m2) / s", "dn - m1 - m2", "factor"),
    ("(dn - m1 - m2) / s", "(dn - m1 - m2) * s", "factor"),
    ("(dn - m1 - m2) / s", "-(dn - m1 - m2) / s", "sign"),
    ("(dn - m1 - m2) / s", "(dn - m1 - m2) / s / len(n)", "mean for the sum"),
    ("(dn - m1 - m2) / s", "(dn - m1 - m2) / s * 1.5", "factor"),
    ("dn = dy * gamma", "dn = dy", "factor | unknown"),
    ("dbeta = dy.sum(axis=0)", "dbeta = dy", "broadcast gradient not summed"),
    ("dbeta = dy.sum(axis=0)", "dbeta = dy.mean(axis=0)", "mean for the sum"),
    ("dbeta = dy.sum(axis=0)", "dbeta = -dy.sum(axis=0)", "sign"),
    ("dbeta = dy.sum(axis=0)", "dbeta = dy.sum()", "shape"),
    ("dbeta = dy.sum(axis=0)", "dbeta = (dy * n).sum(axis=0)", "factor | unknown"),
    ("dgamma = (dy * n).sum(axis=0)", "dgamma = dy.sum(axis=0)", "factor | unknown"),
    ("dgamma = (dy * n).sum(axis=0)", "dgamma = dy * n", "broadcast gradient not summed"),
    ("dgamma = (dy * n).sum(axis=0)", "dgamma = (dy * n).mean(axis=0)", "mean for the sum"),
    ("dgamma = (dy * n).sum(axis=0)", "dgamma = -(dy * n).sum(axis=0)", "sign"),
    ("dgamma = (dy * n).sum(axis=0)", "dgamma = (dy * n).sum(axis=0) * gamma", "factor"),
    ("dgamma = (dy * n).sum(axis=0)", "dgamma = (dy * n)[0]", "missing term"),
    ("m1 = dn.mean", "m1 = dn.sum", "missing term | factor | unknown"),
    ("m2 = n * (dn * n).mean", "m2 = (dn * n).mean", "factor | missing term | unknown"),
    ("m2 = n * (dn * n).mean", "m2 = n * (dn * n).sum", "factor | missing term | unknown"),
    ("return dx, dgamma, dbeta", "return dx, dbeta, dgamma", "factor | unknown"),
)

kind(
    "batch norm",
    """
def forward(x, gamma, beta):
    mu = x.mean(axis=0)
    centred = x - mu
    s = np.sqrt((centred * centred).mean(axis=0) + 1e-5)
    n = centred / s
    return gamma * n + beta, (n, s, gamma)

def backward(dy, cache):
    n, s, gamma = cache
    N = len(n)
    dbeta = dy.sum(axis=0)
    dgamma = (dy * n).sum(axis=0)
    dn = dy * gamma
    dx = (N * dn - dn.sum(axis=0) - n * (dn * n).sum(axis=0)) / (N * s)
    return {"x": dx, "dgamma": dgamma, "beta_grad": dbeta}

def arguments(rng):
    return forward, backward, rng.normal(size=(7, 4)) * 2, rng.normal(size=4) + 2, rng.normal(size=4)
""",
    ("N * dn - dn.sum(axis=0) - n", "N * dn - n", "missing term"),
    ("N * dn - dn.sum(axis=0) - n", "N * dn + dn.sum(axis=0) - n", "sign"),
    ("N * dn - dn.sum(axis=0) - n", "dn - dn.sum(axis=0) - n", "missing term | factor | unknown"),
    (" - n * (dn * n).sum(axis=0)) / (N", ") / (N", "missing term"),
    (" - n * (dn * n).sum(axis=0)) / (N", " + n * (dn * n).sum(axis=0)) / (N", "sign"),
    (" - n * (dn * n).sum(axis=0)) / (N", " - (dn * n).sum(axis=0)) / (N", "missing term | factor | unknown"),
    (" - n * (dn * n).sum(axis=0)) / (N", " - n * (dn * n).mean(axis=0)) / (N", "missing term | factor"),
    (" - n * (dn * n).sum(axis=0)) / (N", " - 2 * n * (dn * n).sum(axis=0)) / (N", "factor | missing term"),
    ("/ (N * s)", "/ s", "mean for the sum"),
    ("/ (N * s)", "/ N", "factor"),
    ("/ (N * s)", "/ (N * s * s)", "factor"),
    ("/ (N * s)", "* s / N", "factor"),
    ("/ (N * s)", "/ (-N * s)", "sign"),
    ("/ (N * s)", "/ ((N - 1) * s)", "factor"),
    ("dn = dy * gamma", "dn = dy", "factor"),
    ("dn = dy * gamma", "dn = dy * gamma * gamma", "factor"),
    ("dn = dy * gamma", "dn = dy / gamma", "factor"),
    ("dbeta = dy.sum(axis=0)", "dbeta = dy.mean(axis=0)", "mean for the sum"),
    ("dbeta = dy.sum(axis=0)", "dbeta = dy", "broadcast gradient not summed"),
    ("dgamma = (dy * n).sum(axis=0)", "dgamma = (dy * n).mean(axis=0)", "mean for the sum"),
    (
        "dgamma = (dy * n).sum(axis=0)",
        "dgamma = (dn * n).sum(axis=0)" if False else "dgamma = (dy * n * gamma).sum(axis=0)",
        "factor",
    ),
    ("dgamma = (dy * n).sum(axis=0)", "dgamma = (dy * n * s).sum(axis=0)", "factor"),
    ("dgamma = (dy * n).sum(axis=0)", "dgamma = dy * n", "broadcast gradient not summed"),
    ("dgamma = (dy * n).sum(axis=0)", "dgamma = np.zeros(4)", "missing term"),
    ("N = len(n)", "N = 1", "missing term | factor | unknown"),
)

kind(
    "attention",
    """
def forward(q, k, v):
    a = q @ k.T / np.sqrt(q.shape[1])
    e = np.exp(a - a.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    return p @ v, (q, k, v, p)

def backward(dy, cache):
    q, k, v, p = cache
    dv = p.T @ dy
    dp = dy @ v.T
    da = p * (dp - (dp * p).sum(axis=1, keepdims=True))
    da = da / np.sqrt(q.shape[1])
    dq = da @ k
    dk = da.T @ q
    return dq, dk, dv

def arguments(rng):
    return forward, backward, rng.normal(size=(6, 3)), rng.normal(size=(5, 3)), rng.normal(size=(5, 4))
""",
    ("dv = p.T @ dy", "dv = -p.T @ dy", "sign"),
    ("dv = p.T @ dy", "dv = dy.T @ p", "transposed"),
    ("dv = p.T @ dy", "dv = p.T @ dy / 6", "mean for the sum"),
    ("dv = p.T @ dy", "dv = p[1:].T @ dy[1:]", "missing term"),
    ("dv = p.T @ dy", "dv = p.T @ dy * v", "factor"),
    ("dv = p.T @ dy", "dv = v", "unknown | missing term | factor"),
    ("dp = dy @ v.T", "dp = -dy @ v.T", "sign"),
    ("dp = dy @ v.T", "dp = dy @ v.T * p", "unknown | factor"),
    ("dp = dy @ v.T", "dp = 2 * dy @ v.T", "factor"),
    ("p * (dp - (dp * p).sum(axis=1, keepdims=True))", "p * dp", "unknown | missing term"),
    ("p * (dp - (dp * p).sum(axis=1, keepdims=True))", "p * (1 - p) * dp", "unknown | missing term"),
    ("p * (dp - (dp * p).sum(axis=1, keepdims=True))", "dp - (dp * p).sum(axis=1, keepdims=True)", "unknown | factor"),
    (
        "p * (dp - (dp * p).sum(axis=1, keepdims=True))",
        "p * (dp - (dp * p).sum(axis=0, keepdims=True))",
        "unknown | missing term",
    ),
    ("da = da / np.sqrt(q.shape[1])", "da = da", "factor"),
    ("da = da / np.sqrt(q.shape[1])", "da = da / q.shape[1]", "factor"),
    ("da = da / np.sqrt(q.shape[1])", "da = da * np.sqrt(q.shape[1])", "factor | mean for the sum"),
    ("dq = da @ k", "dq = -da @ k", "sign"),
    ("dq = da @ k", "dq = da @ k * q", "factor"),
    ("dq = da @ k", "dq = da[:, 1:] @ k[1:]", "missing term | unknown"),
    ("dq = da @ k", "dq = da @ k / 6", "mean for the sum"),
    ("dk = da.T @ q", "dk = q.T @ da", "transposed"),
    ("dk = da.T @ q", "dk = da.T @ q / 5", "mean for the sum"),
    ("dk = da.T @ q", "dk = da[:-1].T @ q[:-1]", "missing term"),
    ("dk = da.T @ q", "dk = -da.T @ q", "sign"),
    ("dk = da.T @ q", "dk = np.zeros_like(k)", "missing term"),
    ("return dq, dk, dv", "return dq, dk", "missing term"),
)
MISTAKES.pop()  # an argument of which no gradient is returned is remarked on: it may be meant

kind(
    "convolution",
    """
def forward(x, w, b):
    T, D = x.shape
    K = len(w)
    y = np.array([sum(x[t + k] @ w[k] for k in range(K)) + b for t in range(T - K + 1)])
    return y, (x, w)

def backward(dy, cache):
    x, w = cache
    dx, dw = np.zeros(x.shape), np.zeros(w.shape)
    for t in range(len(dy)):
        for k in range(len(w)):
            dx[t + k] += dy[t] @ w[k].T
            dw[k] += np.outer(x[t + k], dy[t])
    return dx, dw, dy.sum(axis=0)

def arguments(rng):
    return forward, backward, rng.normal(size=(9, 2)), rng.normal(size=(3, 2, 4)), rng.normal(size=4)
""",
    ("dx[t + k] += dy", "dx[t + k] = dy", "= for += | missing term"),
    ("dx[t + k] += dy", "dx[t + k] -= dy", "sign"),
    ("dx[t + k] += dy", "dx[t] += dy", "unknown | previous step"),
    ("dx[t + k] += dy", "dx[t + k] += 2 * dy", "factor"),
    ("dx[t + k] += dy[t] @ w[k].T", "dx[t + k] += dy[t] @ w[0].T", "unknown"),
    ("dx[t + k] += dy[t] @ w[k].T", "dx[t + k] += dy[t] @ w[-1 - k].T", "unknown"),
    ("dx[t + k] += dy[t] @ w[k].T", "dx[t + k] += dy[t] @ w[k].T / len(dy)", "mean for the sum"),
    ("dx[t + k] += dy[t] @ w[k].T", "dx[t + k] += dy[t] @ w[k].T * x[t + k]", "factor"),
    ("dw[k] += np", "dw[k] = np", "= for += | missing term"),
    ("dw[k] += np", "dw[k] -= np", "sign"),
    ("dw[k] += np", "dw[-1 - k] += np", "transposed | unknown"),
    ("dw[k] += np.outer(x[t + k], dy[t])", "dw[k] += np.outer(x[t], dy[t])", "previous step | unknown"),
    ("dw[k] += np.outer(x[t + k], dy[t])", "dw[k] += np.outer(x[t + k], dy[t]) / 3", "mean for the sum"),
    ("dw[k] += np.outer(x[t + k], dy[t])", "dw[k] += np.outer(x[t + k], dy[t]) * 2", "factor | mean for the sum"),
    ("dw[k] += np.outer(x[t + k], dy[t])", "dw[k] += np.outer(x[t + k], dy[t]) * w[k]", "factor"),
    ("dw[k] += np.outer(x[t + k], dy[t])", "dw[k] += np.outer(x[t + k], dy[t - 1])", "previous step | unknown"),
    ("for t in range(len(dy)):", "for t in range(len(dy) - 1):", "missing term"),
    ("for t in range(len(dy)):", "for t in range(1, len(dy)):", "missing term"),
    ("for k in range(len(w)):", "for k in range(len(w) - 1):", "missing term | unknown"),
    ("for k in range(len(w)):", "for k in range(1, len(w)):", "missing term | unknown"),
    ("dy.sum(axis=0)", "dy", "broadcast gradient not summed"),
    ("dy.sum(axis=0)", "dy.mean(axis=0)", "mean for the sum"),
    ("dy.sum(axis=0)", "dy[0]", "missing term"),
    ("dy.sum(axis=0)", "dy.sum(axis=1)", "shape"),
    ("dy.sum(axis=0)", "dy.sum(axis=0) / 9", "mean for the sum"),
)

kind(
    "embedding",
    """
def forward(table, index):
    return table[index], (table.shape, index)

def backward(dy, cache):
    shape, index = cache
    dtable = np.zeros(shape)
    np.add.at(dtable, index, dy)
    return dtable

def arguments(rng):
    return forward, backward, rng.normal(size=(6, 3)), np.array([[0, 2, 2], [5, 1, 2], [0, 3, 3]])
""",
    ("np.add.at(dtable, index, dy)", "dtable[index] += dy", "= for +="),
    ("np.add.at(dtable, index, dy)", "dtable[index] = dy", "= for +="),
    ("np.add.at(dtable, index, dy)", "np.add.at(dtable, index, -dy)", "sign"),
    ("np.add.at(dtable, index, dy)", "np.add.at(dtable, index, dy / index.size)", "mean for the sum"),
    ("np.add.at(dtable, index, dy)", "np.add.at(dtable, index, dy / len(index))", "mean for the sum"),
    ("np.add.at(dtable, index, dy)", "np.add.at(dtable, index, 2 * dy)", "factor"),
    ("np.add.at(dtable, index, dy)", "np.add.at(dtable, index[1:], dy[1:])", "missing term"),
    ("np.add.at(dtable, index, dy)", "np.add.at(dtable, index[:, :-1], dy[:, :-1])", "missing term"),
    ("np.add.at(dtable, index, dy)", "np.add.at(dtable, index.T, dy)", "unknown | transposed"),
    ("np.add.at(dtable, index, dy)", "np.add.at(dtable, index[::-1], dy)", "unknown | transposed"),
    ("np.add.at(dtable, index, dy)", "pass", "missing term"),
    ("np.add.at(dtable, index, dy)", "dtable += dy.sum(axis=(0, 1))", "unknown | missing term"),
    ("np.add.at(dtable, index, dy)", "np.add.at(dtable, index - 1, dy)", "unknown | previous step"),
    ("return dtable", "return dtable[1:]", "shape"),
    ("return dtable", "return dtable.T", "transposed"),
    ("return dtable", "return dtable + 1", "missing term"),
    ("return dtable", "return dy", "broadcast gradient not summed | shape"),
    ("return dtable", "dtable[2] = 0; return dtable", "missing term"),
    ("return dtable", "dtable[0] = 0; return dtable", "missing term"),
    (
        "return dtable",
        "return dtable / np.maximum(1, np.bincount(index.ravel(), minlength=6))[:, None]",
        "factor | unknown | = for +=",
    ),
    ("return dtable", "return dtable.mean(axis=1)", "shape"),
    ("return dtable", "return -2 * dtable", "sign"),
    ("return dtable", "return dtable * 0.1", "factor"),
    ("    shape, index = cache", "    shape, index = cache; dy *= 2", "changed in place"),
    (
        "    return table[index], (table.shape, index)",
        "    table -= table.mean(); return table[index], (table.shape, index)",
        "changed in place",
    ),
)

kind(
    "cross entropy",
    """
def loss(x, target, weight):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    rows = np.arange(len(x))
    value = -(weight * np.log(p[rows, target])).mean()
    dx = p.copy()
    dx[rows, target] -= 1
    dx = dx * weight[:, None] / len(x)
    dweight = -np.log(p[rows, target]) / len(x)
    return value, (dx, None, dweight)

def arguments(rng):
    return loss, None, rng.normal(size=(6, 4)), np.array([0, 1, 2, 3, 3, 1]), rng.random(6) + 0.5
""",
    ("dx[rows, target] -= 1", "dx[rows, target] += 1", "sign | missing term | unknown | factor"),
    ("dx[rows, target] -= 1", "pass", "missing term | unknown"),
    ("dx[rows, target] -= 1", "dx[rows, target] = -1", "missing term | = for +="),
    ("dx[rows, target] -= 1", "dx[:, target] -= 1", "missing term | unknown"),
    ("dx[rows, target] -= 1", "dx[rows, target] -= 2", "missing term | factor | unknown"),
    ("dx = p.copy()", "dx = -p", "sign | missing term"),
    ("dx = p.copy()", "dx = p * p", "missing term | unknown | factor"),
    ("dx = p.copy()", "dx = p * (1 - p)", "missing term | unknown | factor"),
    ("dx * weight[:, None] / len(x)", "dx * weight[:, None]", "mean for the sum"),
    ("dx * weight[:, None] / len(x)", "dx / len(x)", "factor"),
    ("dx * weight[:, None] / len(x)", "dx * weight[:, None] / x.size", "mean for the sum"),
    ("dx * weight[:, None] / len(x)", "-dx * weight[:, None] / len(x)", "sign"),
    ("dx * weight[:, None] / len(x)", "dx * weight[:, None] ** 2 / len(x)", "factor"),
    ("dx * weight[:, None] / len(x)", "(dx * weight[:, None] / len(x)).T", "transposed"),
    ("dx * weight[:, None] / len(x)", "dx * weight[:, None] / len(x) * p", "factor"),
    ("dx * weight[:, None] / len(x)", "dx * weight[:, None] / 10", "factor"),
    ("dweight = -np.log(p[rows, target]) / len(x)", "dweight = np.log(p[rows, target]) / len(x)", "sign"),
    ("dweight = -np.log(p[rows, target]) / len(x)", "dweight = -np.log(p[rows, target])", "mean for the sum"),
    ("dweight = -np.log(p[rows, target]) / len(x)", "dweight = -weight * np.log(p[rows, target]) / len(x)", "factor"),
    ("dweight = -np.log(p[rows, target]) / len(x)", "dweight = value", "shape"),
    (
        "dweight = -np.log(p[rows, target]) / len(x)",
        "dweight = -np.log(p) / len(x)",
        "broadcast gradient not summed | shape",
    ),
    ("dweight = -np.log(p[rows, target]) / len(x)", "dweight = 0 * weight", "missing term"),
    ("dweight = -np.log(p[rows, target]) / len(x)", "dweight = -np.log(p[rows, target]) * 2 / len(x)", "factor"),
    (
        "    e = np.exp(x - x.max(axis=1, keepdims=True))",
        "    x -= x.max(axis=1, keepdims=True); e = np.exp(x)",
        "changed in place",
    ),
    ("dx = p.copy()", "dx = e.copy()", "unknown | factor | missing term"),
)

kind(
    "mean square",
    """
def loss(y, target):
    off = y - target
    value = 0.5 * (off ** 2).sum() / len(y)
    return value, off / len(y)

def arguments(rng):
    return loss, None, rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
""",
    ("off / len(y)", "off", "mean for the sum"),
    ("off / len(y)", "2 * off / len(y)", "factor"),
    ("off / len(y)", "-off / len(y)", "sign"),
    ("off / len(y)", "off / off.size", "mean for the sum"),
    ("off / len(y)", "off ** 2 / len(y)", "factor | unknown"),
    ("off / len(y)", "y / len(y)", "missing term | unknown | factor"),
    ("off / len(y)", "(y + target) / len(y)", "sign | missing term"),
    ("off / len(y)", "off.mean(axis=0) / len(y)", "shape"),
    ("off / len(y)", "abs(off) / len(y)", "unknown | sign"),
    ("off / len(y)", "off * y / len(y)", "factor"),
)

STEP = """
def forward(x, h, wx, wh, b):
    h1 = np.tanh(x @ wx + h @ wh + b)
    return h1, (x, h, wx, wh, h1)

def backward(dh1, cache):
    x, h, wx, wh, h1 = cache
    da = dh1 * (1 - h1 ** 2)
    dx = da @ wx.T
    dh = da @ wh.T
    dwx = x.T @ da
    dwh = h.T @ da
    db = da.sum(axis=0)
    return dx, dh, dwx, dwh, db

def arguments(rng):
    sizes = (5, 3), (5, 4), (3, 4), (4, 4), (4,)
    return forward, backward, *(rng.normal(size=size) * 0.7 for size in sizes)
"""
kind(
    "rnn step",
    STEP,
    ("(1 - h1 ** 2)", "(1 + h1 ** 2)", "factor | unknown"),
    ("(1 - h1 ** 2)", "h1 * (1 - h1)", "factor | unknown"),
    ("da = dh1 * (1 - h1 ** 2)", "da = dh1", "factor | unknown"),
    ("dx = da @ wx.T", "dx = da @ wx.T * x", "factor"),
    ("dx = da @ wx.T", "dx = -da @ wx.T", "sign"),
    ("dh = da @ wh.T", "dh = da @ wh", "transposed | unknown"),
    ("dh = da @ wh.T", "dh = dh1 @ wh.T", "unknown | factor"),
    ("dh = da @ wh.T", "dh = da @ wh.T + dh1", "missing term"),
    ("dwx = x.T @ da", "dwx = x.T @ dh1", "factor | unknown"),
    ("dwx = x.T @ da", "dwx = x.T @ da / len(x)", "mean for the sum"),
    ("dwh = h.T @ da", "dwh = h1.T @ da", "previous step | unknown | factor"),
    ("dwh = h.T @ da", "dwh = da.T @ h", "transposed"),
    ("db = da.sum(axis=0)", "db = da", "broadcast gradient not summed"),
    ("db = da.sum(axis=0)", "db = da.mean(axis=0)", "mean for the sum"),
    ("da = dh1 * (1 - h1 ** 2)", "dh1 *= 1 - h1 ** 2; da = dh1", "changed in place"),
)
kind(
    "rnn sequence",
    """
def forward(x, h0, wx, wh, b):
    h, hs = h0, []
    for t in range(len(x)):
        h = np.tanh(x[t] @ wx + h @ wh + b)
        hs.append(h)
    return np.array(hs), (x, h0, wx, wh, np.array(hs))

def backward(dy, cache):
    x, h0, wx, wh, hs = cache
    dx, dwx, dwh, db = np.zeros(x.shape), np.zeros(wx.shape), np.zeros(wh.shape), np.zeros(4)
    dh = np.zeros(h0.shape)
    for t in reversed(range(len(x))):
        da = (dy[t] + dh) * (1 - hs[t] ** 2)
        before = hs[t - 1] if t else h0
        dx[t] = da @ wx.T
        dwx += x[t].T @ da
        dwh += before.T @ da
        db += da.sum(axis=0)
        dh = da @ wh.T
    return dx, dh, dwx, dwh, db

def arguments(rng):
    sizes = (4, 5, 3), (5, 4), (3, 4), (4, 4), (4,)
    return forward, backward, *(rng.normal(size=size) * 0.7 for size in sizes)
""",
    ("(dy[t] + dh)", "dy[t]", "missing term"),
    ("(dy[t] + dh)", "dh + 0 * dy[t]", "missing term"),
    ("(dy[t] + dh)", "(dy[t] - dh)", "sign | unknown"),
    ("(dy[t] + dh)", "(dy[-1] * (t == len(x) - 1) + dh)", "missing term"),
    ("before = hs[t - 1] if t else h0", "before = hs[t]", "previous step | unknown"),
    ("before = hs[t - 1] if t else h0", "before = hs[t - 1]", "previous step | unknown | missing term"),
    ("before = hs[t - 1] if t else h0", "before = hs[t - 1] if t else 0 * h0", "missing term | unknown"),
    ("dwx += x", "dwx = x", "= for += | missing term | unknown"),
    ("dwh += before", "dwh = before", "= for += | missing term | unknown"),
    ("db += da", "db = da", "= for += | missing term | unknown"),
    ("range(len(x))):", "range(1, len(x))):", "missing term | unknown"),
    ("dh = da @ wh.T", "dh = da @ wh", "transposed | unknown"),
    ("dh = da @ wh.T", "dh += da @ wh.T", "missing term | unknown"),
    ("dx[t] = da @ wx.T", "dx[t] = -da @ wx.T", "sign"),
    ("dx[t] = da @ wx.T", "dx[t - 1] = da @ wx.T", "previous step | transposed | unknown"),
    ("dwx += x[t].T @ da", "dwx += x[t].T @ da / len(x)", "mean for the sum"),
)
kind(
    "rnn closure",
    """
memory = {}

def forward(x, h, p):
    a = x @ p["wx"] + h @ p["wh"] + p["b"]
    h1 = np.tanh(a)
    memory["h"] = h
    def backward(dh1):
        da = dh1 * (1 - h1 * h1)
        return da @ p["wx"].T, da @ p["wh"].T, {"wx": x.T @ da, "wh": h.T @ da, "b": da.sum(axis=0)}
    return h1, backward

def arguments(rng):
    p = {"wx": rng.normal(size=(3, 4)), "wh": rng.normal(size=(4, 4)), "b": rng.normal(size=4)}
    return forward, None, rng.normal(size=(5, 3)), rng.normal(size=(5, 4)), p
""",
    ('"wh": h.T @ da', '"wh": memory["h"].T @ da', "stale cache"),
    ('"wh": h.T @ da', '"wh": h1.T @ da', "previous step | unknown | factor"),
    ('"wh": h.T @ da', '"wh": da.T @ h', "transposed"),
    ('"wx": x.T @ da', '"wx": -x.T @ da', "sign"),
    ('"wx": x.T @ da', '"wx": x.T @ dh1', "factor | unknown"),
    ('"b": da.sum(axis=0)', '"b": da', "broadcast gradient not summed"),
    ('"b": da.sum(axis=0)', '"b": da.mean(axis=0)', "mean for the sum"),
    ('da @ p["wh"].T', 'da @ p["wh"]', "transposed | unknown"),
    ('da @ p["wx"].T', '2 * da @ p["wx"].T', "factor"),
    ("da = dh1 * (1 - h1 * h1)", "da = dh1 * (1 - h1)", "factor | unknown"),
    ("da = dh1 * (1 - h1 * h1)", "da = dh1 * (1 - h1 * h1) / len(x)", "mean for the sum"),
    ("da = dh1 * (1 - h1 * h1)", "da = dh1 * (1 - memory['h'] * memory['h'])", "factor | unknown"),
)
kind(
    "rnn object",
    """
class Cell:
    def __init__(self, rng):
        self.wx, self.wh, self.b = rng.normal(size=(3, 4)), rng.normal(size=(4, 4)), rng.normal(size=4)
        self.dwx, self.dwh, self.db = np.zeros((3, 4)), np.zeros((4, 4)), np.zeros(4)

    def forward(self, x, h):
        self.x, self.h = x, h
        self.h1 = np.tanh(x @ self.wx + h @ self.wh + self.b)
        return self.h1

    def backward(self, dh1):
        da = dh1 * (1 - self.h1 ** 2)
        self.dwx += self.x.T @ da
        self.dwh += self.h.T @ da
        self.db += da.sum(axis=0)
        return da @ self.wx.T, da @ self.wh.T

def arguments(rng):
    return Cell(rng), None, rng.normal(size=(5, 3)), rng.normal(size=(5, 4))
""",
    ("self.dwx += self.x.T @ da", "self.dwx -= self.x.T @ da", "sign"),
    ("self.dwx += self.x.T @ da", "self.dwx += self.x.T @ da / 5", "mean for the sum"),
    ("self.dwx += self.x.T @ da", "self.dwx += self.x.T @ dh1", "factor | unknown"),
    ("self.dwh += self.h.T @ da", "self.dwh += self.h1.T @ da", "previous step | unknown | factor"),
    ("self.dwh += self.h.T @ da", "self.dwh += da.T @ self.h", "transposed"),
    ("self.db += da.sum(axis=0)", "self.db = da", "broadcast gradient not summed"),
    ("self.db += da.sum(axis=0)", "self.db += da[0]", "missing term"),
    ("self.db += da.sum(axis=0)", "pass", "missing term"),
    ("return da @ self.wx.T, da @ self.wh.T", "return da @ self.wx.T, da @ self.wh", "transposed | unknown"),
    ("return da @ self.wx.T, da @ self.wh.T", "return -da @ self.wx.T, da @ self.wh.T", "sign"),
    ("return da @ self.wx.T, da @ self.wh.T", "return da @ self.wx.T, dh1 @ self.wh.T", "factor | unknown"),
    ("da = dh1 * (1 - self.h1 ** 2)", "dh1 *= 1 - self.h1 ** 2; da = dh1", "changed in place"),
)

kind(
    "momentum",
    """
def forward(w, g, v, rate):
    v1 = 0.9 * v - rate * g
    return w + v1, v1

def backward(dw1, dv1, w, g, v, rate):
    dv1 = dv1 + dw1
    drate = -(dv1 * g).sum()
    return dw1, -rate * dv1, 0.9 * dv1, drate

def arguments(rng):
    return forward, backward, *(rng.normal(size=(4, 3)) for _ in range(3)), np.array(0.3)
""",
    ("dv1 = dv1 + dw1", "dv1 = dv1 - dw1", "sign"),
    ("dv1 = dv1 + dw1", "dv1 = dw1", "missing term"),
    ("dv1 = dv1 + dw1", "pass", "missing term"),
    ("dv1 = dv1 + dw1", "dv1 = dv1 + 2 * dw1", "factor"),
    ("dv1 = dv1 + dw1", "dv1 += dw1", "changed in place"),
    ("-rate * dv1", "rate * dv1", "sign"),
    ("-rate * dv1", "-dv1", "factor"),
    ("0.9 * dv1", "dv1", "factor"),
    ("0.9 * dv1", "0.9 * dv1 * v", "factor"),
    ("return dw1,", "return dw1 * w,", "factor"),
    ("return dw1,", "return dw1 + dv1,", "missing term"),
    ("drate = -(dv1 * g).sum()", "drate = (dv1 * g).sum()", "sign"),
    ("drate = -(dv1 * g).sum()", "drate = -(dv1 * g).mean()", "mean for the sum"),
    ("drate = -(dv1 * g).sum()", "drate = -(dv1 * g)", "broadcast gradient not summed"),
)

kind(
    "adam",
    """
def forward(w, g, m, s):
    m1 = 0.9 * m + 0.1 * g
    s1 = 0.99 * s + 0.01 * g * g
    r = np.sqrt(s1)
    return w - 0.1 * m1 / r, m1, s1, (g, m1, s1, r)

def backward(dw1, dm1, ds1, cache):
    g, m1, s1, r = cache
    dm1 = dm1 - 0.1 * dw1 / r
    ds1 = ds1 + 0.05 * dw1 * m1 / (r * s1)
    dg = 0.1 * dm1 + 0.02 * g * ds1
    return dw1, dg, 0.9 * dm1, 0.99 * ds1

def arguments(rng):
    return forward, backward, *(rng.normal(size=(4, 3)) for _ in range(3)), rng.random((4, 3)) + 0.5
""",
    ("dm1 = dm1 - 0.1 * dw1 / r", "dm1 = dm1 + 0.1 * dw1 / r", "sign"),
    ("dm1 = dm1 - 0.1 * dw1 / r", "pass", "missing term"),
    ("dm1 = dm1 - 0.1 * dw1 / r", "dm1 = -0.1 * dw1 / r", "missing term | = for +="),
    ("dm1 = dm1 - 0.1 * dw1 / r", "dm1 = dm1 - 0.1 * dw1", "missing term | factor | unknown"),
    ("ds1 = ds1 + 0.05 * dw1 * m1 / (r * s1)", "ds1 = ds1 - 0.05 * dw1 * m1 / (r * s1)", "sign"),
    ("ds1 = ds1 + 0.05 * dw1 * m1 / (r * s1)", "pass", "missing term"),
    ("ds1 = ds1 + 0.05 * dw1 * m1 / (r * s1)", "ds1 = ds1 + 0.1 * dw1 * m1 / (r * s1)", "factor"),
    ("ds1 = ds1 + 0.05 * dw1 * m1 / (r * s1)", "ds1 = ds1 + 0.05 * dw1 / (r * s1)", "factor | unknown"),
    ("ds1 = ds1 + 0.05 * dw1 * m1 / (r * s1)", "ds1 = ds1 + 0.05 * dw1 * m1 / r", "factor | unknown"),
    ("dg = 0.1 * dm1 + 0.02 * g * ds1", "dg = 0.1 * dm1", "missing term"),
    ("dg = 0.1 * dm1 + 0.02 * g * ds1", "dg = 0.02 * g * ds1", "missing term"),
    ("dg = 0.1 * dm1 + 0.02 * g * ds1", "dg = 0.1 * dm1 + 0.02 * ds1", "factor | unknown"),
    ("0.9 * dm1, 0.99", "dm1, 0.99", "factor"),
    ("0.9 * dm1, 0.99", "-0.9 * dm1, 0.99", "sign"),
    ("0.99 * ds1\n", "0.01 * ds1\n", "factor"),
    ("return dw1,", "return -dw1,", "sign"),
)

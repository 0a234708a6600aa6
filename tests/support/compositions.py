"""Random functions with right backward passes: chains of operations whose transposes are known one by one."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minirnn.core.backend import Array

Pull = Callable[[Array], tuple[Array, Array | None]]  # the gradients of the operand and of the operation's weight


class Operation(NamedTuple):
    """``run(x, w)`` gives y and its transpose; ``weight(x)`` the shape of w, None where there is none."""

    name: str
    run: Callable[[Array, Any], tuple[Array, Pull]]
    weight: Callable[[Array], tuple[int, ...] | None] = lambda _: None


def _each(name: str, f: Callable[[Array], Array], slope: Callable[[Array, Array], Array]) -> Operation:
    def run(x: Array, _: Any) -> tuple[Array, Pull]:
        y = f(x)
        return y, lambda dy: (dy * slope(x, y), None)

    return Operation(name, run)


def _affine(x: Array, w: Array) -> tuple[Array, Pull]:
    return x @ w, lambda dy: (dy @ w.T, x.T @ dy)


def _bias(x: Array, b: Array) -> tuple[Array, Pull]:
    return x + b, lambda dy: (dy, dy.sum(axis=0))


def _scale(x: Array, w: Array) -> tuple[Array, Pull]:
    return x * w, lambda dy: (dy * w, (dy * x).sum(axis=1, keepdims=True))


def _softmax(x: Array, _: Any) -> tuple[Array, Pull]:
    e = np.exp(x - x.real.max(axis=1, keepdims=True))
    y = e / e.sum(axis=1, keepdims=True)
    return y, lambda dy: (y * (dy - (dy * y).sum(axis=1, keepdims=True)), None)


def _normed(x: Array, _: Any) -> tuple[Array, Pull]:
    s = np.sqrt(((x - x.mean(axis=1, keepdims=True)) ** 2).mean(axis=1, keepdims=True) + 0.1)
    n = (x - x.mean(axis=1, keepdims=True)) / s

    def pull(dy: Array) -> tuple[Array, None]:
        return (dy - dy.mean(axis=1, keepdims=True) - n * (dy * n).mean(axis=1, keepdims=True)) / s, None

    return n, pull


def _summed(x: Array, _: Any) -> tuple[Array, Pull]:
    return np.cumsum(x, axis=0), lambda dy: (np.cumsum(dy[::-1], axis=0)[::-1], None)


def _turned(x: Array, _: Any) -> tuple[Array, Pull]:
    return x.T, lambda dy: (dy.T, None)


def _reversed(x: Array, _: Any) -> tuple[Array, Pull]:
    return x[::-1], lambda dy: (dy[::-1], None)


def _doubled(x: Array, _: Any) -> tuple[Array, Pull]:
    return np.concatenate([x, x * x], axis=1), lambda dy: (dy[:, : x.shape[1]] + 2 * x * dy[:, x.shape[1] :], None)


def _centred(x: Array, _: Any) -> tuple[Array, Pull]:
    return x - x.mean(axis=0), lambda dy: (dy - dy.mean(axis=0), None)


def _scan(x: Array, u: Array) -> tuple[Array, Pull]:
    h, hs = np.zeros(x.shape[1], x.dtype), []
    for row in x:
        h = np.tanh(row + u * h)
        hs.append(h)

    def pull(dy: Array) -> tuple[Array, Array]:
        dx, du, dh = np.zeros(x.shape), np.zeros(u.shape), np.zeros(x.shape[1])
        for t in reversed(range(len(x))):
            da = (dy[t] + dh) * (1 - hs[t] ** 2)
            dx[t], dh = da, u * da
            du += da * hs[t - 1] if t else 0 * da
        return dx, du

    return np.array(hs), pull


OPERATIONS = (
    _each("tanh", np.tanh, lambda _, y: 1 - y * y),
    _each("sigmoid", lambda x: 0.5 * np.tanh(0.5 * x) + 0.5, lambda _, y: y * (1 - y)),
    _each("relu", lambda x: np.where(x.real > 0, x, 0), lambda x, _: x > 0),
    _each("square", lambda x: x * x, lambda x, _: 2 * x),
    _each("root", lambda x: np.sqrt(1 + x * x), lambda x, y: x / y),
    _each("exp", lambda x: np.exp(-x * x), lambda x, y: -2 * x * y),
    _each("abs", np.abs, lambda x, _: np.sign(x)),  # lets no complex step pass
    _each("clip", lambda x: np.clip(x, -1.5, 1.5), lambda x, _: abs(x) < 1.5),
    _each("sin", np.sin, lambda x, _: np.cos(x)),
    _each("cube", lambda x: x**3 / 3, lambda x, _: x * x),
    _each("leaky", lambda x: np.where(x.real > 0, x, 0.1 * x), lambda x, _: np.where(x > 0, 1, 0.1)),
    Operation("affine", _affine, lambda x: (x.shape[1], 3)),
    Operation("bias", _bias, lambda x: (x.shape[1],)),
    Operation("scale", _scale, lambda x: (x.shape[0], 1)),
    Operation("scan", _scan, lambda x: (x.shape[1],)),
    *(Operation(f.__name__, f) for f in (_softmax, _normed, _summed, _turned, _reversed, _doubled, _centred)),
)


def drawn(seed: int) -> tuple[Any, ...]:
    """What ``check`` is called with: a random chain, in one of the forms."""
    rng = np.random.default_rng([seed, 11])
    x = rng.normal(size=rng.integers(1, 5, 2)) * 10 ** rng.uniform(-2, 1)
    chain, weights, value = [], [], x
    for k in rng.integers(len(OPERATIONS), size=rng.integers(1, 6)):
        operation = OPERATIONS[k]
        shape = operation.weight(value)
        weights.append(None if shape is None else rng.normal(size=shape))
        chain.append(operation)
        value, _ = operation.run(value, weights[-1])
    parameters = [w for w in weights if w is not None]

    def forward(x: Array, p: list[Array]) -> tuple[Array, list[Pull]]:
        left, pulls = iter(p), []
        for operation, w in zip(chain, weights, strict=True):
            x, pull = operation.run(x, None if w is None else next(left))
            pulls.append(pull)
        return x, pulls

    def backward(dy: Array, pulls: list[Pull]) -> tuple[Array, list[Array]]:
        gradients = []
        for pull in reversed(pulls):
            dy, dw = pull(dy)
            if dw is not None:
                gradients.append(dw)
        return dy, gradients[::-1]

    def with_closure(x: Array, p: list[Array]) -> tuple[Array, Callable[[Array], Any]]:
        y, pulls = forward(x, p)
        return y, lambda dy: backward(dy, pulls)

    if seed % 3 == 0:
        return with_closure, None, x, parameters
    if seed % 3 == 1:
        return (lambda x, p: forward(x, p)[0]), (lambda dy, x, p: backward(dy, forward(x, p)[1])), x, parameters
    return forward, backward, x, parameters

"""The operators RNN, GRU and LSTM as scalar loops, from the text of the standard (onnx.ai, opset 22), in Python's
floats; nothing of minirnn is imported.

Clauses that are not equations, and how they are read here:

- "Clipping ... is applied to the input of activations": to every argument of f, g and h, and nowhere else.
- "The values are consumed in the order of activation functions": ``activation_alpha`` and ``activation_beta`` are two
  queues, and a function takes from each as many constants as it has.
- "Couple the input and forget gates if 1": f = 1 - i.
- ``sequence_lens``: a row's steps past its length are not there.  A reverse direction begins at the row's own end, Y is
  0 past it, Y_h and Y_c are what the last valid step left, and of a row without any the initial state.

``Reading`` has what onnxruntime 1.32 takes otherwise, found by trying all of it:

- "Default values are the same as of corresponding ONNX operators", activation_alpha: it has 0 for the constants of
  Affine, ScaledTanh and ThresholdedRelu.  (ThresholdedRelu is an operator, with alpha 1; the others were, in operator
  set 1, Affine with alpha 1 and beta 0.)
- It does not clip the argument of h (github.com/microsoft/onnxruntime/issues/27224).
- Of a row without any step, it has 0 in Y_h and Y_c; of that the text says nothing.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Scalar = Callable[[float], float]


def softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def elu(x: float, alpha: float) -> float:
    return x if x >= 0 else alpha * math.expm1(x)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


# each with the defaults of its constants, alpha and then beta
ACTIVATIONS: dict[str, tuple[Callable[..., float], tuple[float, ...]]] = {
    "Relu": (lambda x: max(0.0, x), ()),
    "Tanh": (math.tanh, ()),
    "Sigmoid": (sigmoid, ()),
    "Affine": (lambda x, alpha, beta: alpha * x + beta, (1.0, 0.0)),
    "LeakyRelu": (lambda x, alpha: x if x >= 0 else alpha * x, (0.01,)),
    "ThresholdedRelu": (lambda x, alpha: x if x >= alpha else 0.0, (1.0,)),
    "ScaledTanh": (lambda x, alpha, beta: alpha * math.tanh(beta * x), (1.0, 1.0)),
    "HardSigmoid": (lambda x, alpha, beta: min(max(alpha * x + beta, 0.0), 1.0), (0.2, 0.5)),
    "Elu": (elu, (1.0,)),
    "Softsign": (lambda x: x / (1 + abs(x)), ()),
    "Softplus": (softplus, ()),
}


@dataclass(frozen=True)
class Reading:
    """What a runtime takes otherwise than the text."""

    zeroed: tuple[str, ...] = ()  # functions whose constants are 0 where none are given
    clips_h: bool = True
    empty_is_initial: bool = True


STANDARD = Reading()
ONNXRUNTIME = Reading(("Affine", "ScaledTanh", "ThresholdedRelu"), clips_h=False, empty_is_initial=False)
DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}


def functions(attributes: dict[str, Any], op: str, directions: int, reading: Reading) -> list[list[Scalar]]:
    """f, g and h of each direction, the clip in them."""
    names = attributes.get("activations", DEFAULTS[op] * directions)
    queues = [iter(attributes.get(f"activation_{word}", [])) for word in ("alpha", "beta")]
    n = len(DEFAULTS[op])

    def one(k: int, name: str) -> Scalar:
        function, defaults = ACTIVATIONS[name]
        clip = math.inf if k % n == 2 and not reading.clips_h else attributes.get("clip", math.inf)
        if name in reading.zeroed:
            defaults = (0.0,) * len(defaults)
        constants = [next(queue, default) for queue, default in zip(queues, defaults, strict=False)]
        return lambda x: function(min(max(x, -clip), clip), *constants)

    made = [one(k, name) for k, name in enumerate(names)]
    return [made[k * n : (k + 1) * n] for k in range(directions)]


def run(op: str, attributes: dict[str, Any], given: dict[str, Array], reading: Reading = STANDARD) -> dict[str, Array]:
    """Y, Y_h and, of an LSTM, Y_c in float64 for a node's attributes and its inputs by name."""
    batch_first = attributes.get("layout", 0) == 1
    X, W, R = (given[name].astype(float) for name in ("X", "W", "R"))
    X = X.transpose(1, 0, 2) if batch_first else X
    (T, B, _), H = X.shape, R.shape[2]
    directions = {"forward": [1], "reverse": [-1], "bidirectional": [1, -1]}[attributes.get("direction", "forward")]
    n = len(directions)
    start = {}
    for name in ("initial_h", "initial_c"):
        state = given.get(name, np.zeros((B, n, H) if batch_first else (n, B, H))).astype(float)
        start[name] = state.transpose(1, 0, 2) if batch_first else state
    lengths = given.get("sequence_lens", np.full(B, T))
    Y, last = np.zeros((T, n, B, H)), {"h": np.zeros((n, B, H)), "c": np.zeros((n, B, H))}
    fs = functions(attributes, op, n, reading)
    for k, sign in enumerate(directions):
        bias = given["B"][k].astype(float) if "B" in given else np.zeros(2 * W.shape[1])
        peep = given["P"][k].astype(float) if "P" in given else np.zeros(3 * H)
        step = {"RNN": rnn, "GRU": gru, "LSTM": lstm}[op](attributes, W[k], R[k], bias, peep, fs[k], H)
        for b in range(B):
            h, c = list(start["initial_h"][k, b]), list(start["initial_c"][k, b])
            for t in list(range(int(lengths[b])))[::sign]:
                h, c = step(list(X[t, b]), h, c)
                Y[t, k, b] = h
            if lengths[b] or reading.empty_is_initial:
                last["h"][k, b], last["c"][k, b] = h, c
    if batch_first:
        Y, last = Y.transpose(2, 0, 1, 3), {name: a.transpose(1, 0, 2) for name, a in last.items()}
    found = {"Y": Y, "Y_h": last["h"]}
    return found | {"Y_c": last["c"]} if op == "LSTM" else found


Step = Callable[[list[float], list[float], list[float]], tuple[list[float], list[float]]]
Maker = Callable[[dict[str, Any], Array, Array, Array, Array, list[Scalar], int], Step]


def dot(row: Array, v: list[float]) -> float:
    return math.fsum(a * b for a, b in zip(row, v, strict=True))


def gates(parts: Array, count: int) -> Iterator[Array]:
    yield from np.split(parts, count)


def rnn(attributes: dict[str, Any], W: Array, R: Array, bias: Array, peep: Array, fs: list[Scalar], H: int) -> Step:
    Wb, Rb = gates(bias, 2)

    def step(x: list[float], h: list[float], c: list[float]) -> tuple[list[float], list[float]]:
        return [fs[0](dot(W[j], x) + dot(R[j], h) + Wb[j] + Rb[j]) for j in range(H)], c

    return step


def gru(attributes: dict[str, Any], W: Array, R: Array, bias: Array, peep: Array, fs: list[Scalar], H: int) -> Step:
    Wz, Wr, Wh = gates(W, 3)
    Rz, Rr, Rh = gates(R, 3)
    Wbz, Wbr, Wbh, Rbz, Rbr, Rbh = gates(bias, 6)
    f, g = fs
    linear = attributes.get("linear_before_reset", 0) != 0

    def step(x: list[float], h: list[float], c: list[float]) -> tuple[list[float], list[float]]:
        z = [f(dot(Wz[j], x) + dot(Rz[j], h) + Wbz[j] + Rbz[j]) for j in range(H)]
        r = [f(dot(Wr[j], x) + dot(Rr[j], h) + Wbr[j] + Rbr[j]) for j in range(H)]
        if linear:
            n = [g(dot(Wh[j], x) + r[j] * (dot(Rh[j], h) + Rbh[j]) + Wbh[j]) for j in range(H)]
        else:
            rh = [a * b for a, b in zip(r, h, strict=True)]
            n = [g(dot(Wh[j], x) + dot(Rh[j], rh) + Rbh[j] + Wbh[j]) for j in range(H)]
        return [(1 - z[j]) * n[j] + z[j] * h[j] for j in range(H)], c

    return step


def lstm(attributes: dict[str, Any], W: Array, R: Array, bias: Array, peep: Array, fs: list[Scalar], H: int) -> Step:
    Wi, Wo, Wf, Wc = gates(W, 4)
    Ri, Ro, Rf, Rc = gates(R, 4)
    Wbi, Wbo, Wbf, Wbc, Rbi, Rbo, Rbf, Rbc = gates(bias, 8)
    Pi, Po, Pf = gates(peep, 3)
    f, g, h_ = fs
    coupled = attributes.get("input_forget", 0) != 0

    def step(x: list[float], h: list[float], c: list[float]) -> tuple[list[float], list[float]]:
        new_h, new_c = [], []
        for j in range(H):
            i = f(dot(Wi[j], x) + dot(Ri[j], h) + Pi[j] * c[j] + Wbi[j] + Rbi[j])
            forget = 1 - i if coupled else f(dot(Wf[j], x) + dot(Rf[j], h) + Pf[j] * c[j] + Wbf[j] + Rbf[j])
            candidate = g(dot(Wc[j], x) + dot(Rc[j], h) + Wbc[j] + Rbc[j])
            cell = forget * c[j] + i * candidate
            o = f(dot(Wo[j], x) + dot(Ro[j], h) + Po[j] * cell + Wbo[j] + Rbo[j])
            new_c.append(cell)
            new_h.append(o * h_(cell))
        return new_h, new_c

    return step

"""The operators RNN, GRU and LSTM, with every attribute, run by minirnn's layers.

(onnx.ai, Operators: RNN, GRU and LSTM, opset 22.)  A node has one or two directions, each of them a layer: RNN, GRU or
LSTM where the configuration is theirs, else ``Recurrent`` over a cell of ``recurrent/variants.py``.  The file's
matrices are (G·H, D) with the gates in an order of their own; two biases stand side by side.

    ONNX                        RNN   i       GRU   z r h       LSTM   i o f c        P   i o f
    here                              h             r z n              i f g o

Past a row's length Y is 0, and Y_h and Y_c are of the last valid step; a reverse direction begins there.  A row of
length 0 keeps its initial state: it has no last step, and the standard says nothing of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from minirnn.cells import split
from minirnn.core.backend import Array, get_backend
from minirnn.core.files import ModelFileError
from minirnn.core.layer import Layer
from minirnn.core.parameters import Parameters
from minirnn.formats.onnx.running.indexing import check_lengths, reversed_steps
from minirnn.formats.onnx.running.meter import PRODUCTS, STEP, Meter
from minirnn.formats.onnx.running.operands import one_dtype, optional
from minirnn.formats.onnx.running.perform import Operands, Operation
from minirnn.formats.onnx.structure import ACTIVATIONS, Node
from minirnn.layers.activations import Function
from minirnn.recurrent.networks import GRU, LSTM, RNN, Recurrent
from minirnn.recurrent.variants import GRUVariant, LSTMVariant, RNNVariant

FUNCTIONS = {name.lower(): ours for name, ours in ACTIVATIONS.items()}  # files spell them in either case
DEFAULTS = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}
PEEPHOLES = ("p_i", "p_o", "p_f")
CHOICES = {"activations", "activation_alpha", "activation_beta"}
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
TANH = Function("tanh")
PLAIN: dict[Any, Callable[..., Layer]] = {  # layers for the cells without options
    RNNVariant(): RNN,
    RNNVariant(Function("relu")): partial(RNN, nonlinearity="relu"),
    GRUVariant(): GRU,
    GRUVariant(reset="before"): partial(GRU, reset="before"),
    LSTMVariant(): LSTM,
}
BUILT = 1_000_000  # nanoseconds that it takes to make a layer


@dataclass(frozen=True)
class RecurrentNode:
    """A node's attributes; ``functions`` has those of each direction."""

    op: str
    directions: tuple[bool, ...]  # True: reverse
    functions: tuple[tuple[Function, ...], ...]
    hidden_size: int | None
    clip: float | None
    batch_first: bool  # layout 1
    reset_after: bool
    coupled: bool

    @classmethod
    def of(cls, node: Node) -> "RecurrentNode":
        """Read from a node; ModelFileError for what the standard does not have."""
        direction = node.attribute("direction", str, "forward")
        if direction not in DIRECTIONS:
            raise ModelFileError(f"direction must be one of {', '.join(DIRECTIONS)}; got {direction!r:.40}")
        clip = node.attribute("clip", float)
        if clip is not None and not 0 < clip < np.inf:
            raise ModelFileError(f"clip must be a number above 0; got {clip}")
        layout = node.attribute("layout", int, 0) if node.opset >= 14 else 0
        if layout not in (0, 1):
            raise ModelFileError(f"layout must be 0 or 1; got {layout}")
        return cls(
            node.op,
            DIRECTIONS[direction],
            functions(node, len(DIRECTIONS[direction])),
            node.attribute("hidden_size", int),
            clip,
            layout == 1,
            node.op == "GRU" and node.flag("linear_before_reset"),
            node.op == "LSTM" and node.flag("input_forget"),
        )

    # ------------------------------------------------------------------ the layer of a direction

    def layer(self, k: int, input_size: int, hidden_size: int, *, peepholes: bool, **options: Any) -> Layer:
        """The layer that computes as direction ``k`` does, read forward, without weights yet."""
        f, g, h = (*self.functions[k], TANH, TANH)[:3]
        reset = "after" if self.reset_after else "before"
        cell: RNNVariant | GRUVariant | LSTMVariant
        if self.op == "RNN":
            cell = RNNVariant(f, self.clip)
        elif self.op == "GRU":
            cell = GRUVariant(f, g, reset, self.clip)
        else:
            cell = LSTMVariant(f, g, h, self.clip, self.coupled, peepholes)
        return PLAIN.get(cell, partial(Recurrent, cell))(input_size, hidden_size, **options)

    def weight(self, name: str, k: int, W: Array, R: Array, B: Array | None, P: Array | None) -> Array:
        """The weight of direction ``k`` that a layer has under that name."""
        order = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 3, 1) if self.coupled else (0, 2, 3, 1)}[self.op]
        count, H = GATES[self.op], R.shape[2]

        def ordered(a: Array) -> Array:
            return np.concatenate([a[g * H : (g + 1) * H] for g in order])

        if name in ("W", "U"):
            matrix: Array = ordered((W if name == "W" else R)[k]).T
            return matrix
        if P is not None and name in PEEPHOLES:
            return split(P[k], 3)[PEEPHOLES.index(name)]
        outer, inner = (np.zeros((2, count * H), W.dtype)) if B is None else B[k].reshape(2, count * H)
        if name == "bn":
            inside: Array = inner[2 * H :]
            return inside
        if self.reset_after:  # the candidate's recurrent bias stands inside the product with r
            inner = np.concatenate([inner[: 2 * H], np.zeros(H, W.dtype)])
        return ordered(outer + inner)

    def check_weights(self, W: Array, R: Array, B: Array | None, P: Array | None) -> None:
        """Raise ModelFileError unless these are a node's weights, of one float dtype."""
        n, count = len(self.directions), GATES[self.op]
        if W.dtype.kind != "f":
            raise ModelFileError(f"W must hold floats; it is {W.dtype}")
        one_dtype(W, R, B, P)
        H = R.shape[2] if R.ndim == 3 else 0
        if H < 1 or self.hidden_size not in (None, H):
            wanted = "hidden_size" if self.hidden_size is None else self.hidden_size
            raise ModelFileError(f"R must have shape ({n}, {count} * hidden_size, {wanted}); it has {R.shape}")
        D = W.shape[2] if W.ndim == 3 else 0
        expected = {"W": (n, count * H, max(1, D)), "R": (n, count * H, H), "B": (n, 2 * count * H), "P": (n, 3 * H)}
        for name, array in (("W", W), ("R", R), ("B", B), ("P", P)):
            if array is not None and array.shape != expected[name]:
                raise ModelFileError(f"{name} must have shape {expected[name]}; it has {array.shape}")

    def layers(self, W: Array, R: Array, B: Array | None, P: Array | None, backend: str) -> list[Layer]:
        """A layer for each direction, with these weights."""
        self.check_weights(W, R, B, P)
        made = []
        for k in range(len(self.directions)):
            layer = self.layer(k, W.shape[2], R.shape[2], peepholes=P is not None)
            layer.bind(Parameters(layer.all_specs(), get_backend(backend, W.dtype), W.dtype))
            views = layer.named_weights()
            for name in views:
                views[name] = self.weight(name.removeprefix("0."), k, W, R, B, P)
            made.append(layer)
        return made


def functions(node: Node, directions: int) -> tuple[tuple[Function, ...], ...]:
    """Each direction's activation functions.

    ``activation_alpha`` and ``activation_beta`` are "consumed in the order of activation functions": each function that
    has such a constant takes the next one, and has its default where none is left.
    """
    defaults = DEFAULTS[node.op]
    if not CHOICES & node.attributes.keys():
        return (tuple(Function(FUNCTIONS[name.lower()]) for name in defaults),) * directions
    names = node.values("activations", str)
    if names is None:
        names = list(defaults) * directions
    if len(names) != len(defaults) * directions:
        raise ModelFileError(f"activations must be {len(defaults) * directions} functions; got {len(names)}")
    constants = {word: iter(node.values(f"activation_{word}", float) or ()) for word in ("alpha", "beta")}
    made = []
    for name in names:
        known = FUNCTIONS.get(name.lower())
        if known is None:
            raise ModelFileError(f"activations must be of {', '.join(FUNCTIONS)}; got {name!r:.40}")
        f = Function(known)
        made.append(Function(known, *(next(constants[w], v) for w, v in zip(constants, f.constants, strict=False))))
    n = len(defaults)
    return tuple(tuple(made[k * n : (k + 1) * n]) for k in range(directions))


def recurrence(node: Node) -> Operation:
    """Prepare the node.  Its layers are made on the first run, and reused if the weights are in the file."""
    about = RecurrentNode.of(node)
    W, R, B, P = (optional(node.constants, k) for k in (1, 2, 3, 7))
    fixed = all(node.constants[k] is not None for k in (1, 2, 3, 7) if k < node.declared and node.inputs[k])
    if fixed and W is not None and R is not None:
        about.check_weights(W, R, B, P)
    built: list[Layer] = []

    def run(meter: Meter, operands: Operands) -> Sequence[Array]:
        X, W, R, B, lens, h0, c0, P = (*operands, *[None] * 8)[:8]
        one_dtype(X, W, R, B, h0, c0, P)
        if built:
            layers = built
        else:
            meter.spend(BUILT * len(about.directions))
            meter.claim((W.size + R.size,), W.itemsize, copies=2)
            layers = about.layers(W, R, B, P, node.backend)
            built.extend(layers if fixed else ())
        return unrolled(about, layers, meter, X, lens, [h0, c0] if node.op == "LSTM" else [h0])

    return run


def unrolled(
    about: RecurrentNode, layers: list[Layer], meter: Meter, X: Array, lens: Array | None, initial: list[Array | None]
) -> list[Array]:
    """Y, Y_h, and of an LSTM Y_c."""
    n, D, H = len(layers), layers[0].input_size or 0, layers[0].output_size or 0
    if X.ndim != 3 or X.shape[2] != D:
        raise ModelFileError(f"X must have three axes, the last of size {D}; it has shape {X.shape}")
    X = X.swapaxes(0, 1) if about.batch_first else X
    (T, B), wanted = X.shape[:2], (X.shape[1], n, H) if about.batch_first else (n, X.shape[1], H)
    width = GATES[about.op] * H
    meter.claim((T, B, 2 * (n * H + D + width + H)), X.itemsize, ns=20)  # Y, and what is there on the way
    starts = [
        np.zeros((n, B, H), X.dtype) if a is None else a.swapaxes(0, 1) if about.batch_first else a for a in initial
    ]
    for name, a in zip(("initial_h", "initial_c"), initial, strict=False):
        if a is not None and a.shape != wanted:
            raise ModelFileError(f"{name} must have shape {wanted}; it has {a.shape}")
    if lens is not None:
        check_lengths(lens, B, T)
        lens = None if (lens == T).all() else lens
    meter.spend(n * T * (STEP + max(1, B) * width * (D + H) / PRODUCTS))
    ys, finals = [], []
    for k, (layer, reverse) in enumerate(zip(layers, about.directions, strict=True)):
        x = reversed_steps(X, lens) if reverse else X
        state = None if all(a is None for a in initial) else tuple(a[k][None] for a in starts)
        y, final = layer(x, state if state is None or len(state) > 1 else state[0], lengths=lens)
        ys.append(reversed_steps(y, lens) if reverse else y)
        finals.append(final if len(initial) > 1 else (final,))
    y = ys[0][:, None] if n == 1 else np.stack(ys, axis=1)
    states = [parts[0] if n == 1 else np.concatenate(parts) for parts in zip(*finals, strict=True)]
    if about.batch_first:
        return [y.transpose(2, 0, 1, 3), *(s.swapaxes(0, 1) for s in states)]
    return [y, *states]

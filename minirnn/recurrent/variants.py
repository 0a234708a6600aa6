"""Cells with options, for models that others trained: other functions, clipped arguments, peepholes, coupled gates.

They compute what ONNX's operators RNN, GRU and LSTM say (the specification of opset 22), written as in ``cells.py``.
They are instances that go where a cell goes::

    Recurrent(LSTMVariant(gate=Function("hard_sigmoid"), peepholes=True), input_size, hidden_size)

and have no ``unstep``: such a layer is for inference only.  Where all options are at their defaults the equations are
those of ``TanhCell``, ``GRUCell``, ``GRUBeforeCell`` and ``LSTMCell``, to the last bit, and RNN, GRU and LSTM are the
better choice: they train.

In the equations ⟨a⟩ is a, or with ``clip`` what is nearest to it in [-clip, clip]: the specification has "applied to
the input of activations", so the argument of every function is clipped, and nothing else.  onnxruntime does not clip
that of the LSTM's third function, its cell (github.com/microsoft/onnxruntime/issues/27224).
"""

from dataclasses import dataclass, fields
from numbers import Real
from typing import Any, Self

import numpy as np

from minirnn.cells import split
from minirnn.core.protocol import Array, Arrays
from minirnn.layers.activations import Function

SIGMOID, TANH = Function("sigmoid"), Function("tanh")


class _Variant:
    """The base of the three: a dataclass of functions, a clip, and options."""

    clip: float | None

    def config(self) -> dict[str, Any]:
        """The cell as JSON, by the names of its arguments."""
        return {name: value.config() if isinstance(value, Function) else value for name, value in self.__dict__.items()}

    @classmethod
    def of(cls, config: dict[str, Any]) -> Self:
        """The cell of which ``config()`` gave this; TypeError or ValueError for what describes none."""
        functions = {one.name for one in fields(cls) if one.type is Function}  # type: ignore[arg-type]  # cls is one of the three
        return cls(**{name: Function(**value) if name in functions else value for name, value in config.items()})

    def __repr__(self) -> str:
        """The constructor's call, arguments at their defaults left out."""
        words = [f"{name}={value!r}" for name, value in self.__dict__.items() if value != getattr(type(self), name)]
        return f"{type(self).__name__}({', '.join(words)})"

    def _check(self, *functions: str) -> None:
        for word in functions:
            value = getattr(self, word)
            if not isinstance(value, Function):
                raise ValueError(f"{word} must be a Function, as in Function('tanh'); got {value!r:.60}")
        clip = self.clip
        if clip is not None:
            if isinstance(clip, bool) or not isinstance(clip, Real) or not 0 < float(clip) < float("inf"):
                raise ValueError(f"clip must be a number above 0, or None; got {clip!r:.60}")
            object.__setattr__(self, "clip", float(clip))


@dataclass(frozen=True, repr=False)
class RNNVariant(_Variant):
    """The vanilla cell with any function f, ``activation``.

    a  = p + q                            (1)
    h' = f(⟨a⟩)                           (2)
    """

    activation: Function = TANH
    clip: float | None = None

    state = ("h",)
    gates = ("h",)

    def __post_init__(self) -> None:
        self._check("activation")

    def step(self, p: Array, q: Array, state: Arrays) -> tuple[Arrays, Arrays]:
        h1 = self.activation(clipped(p + q, self.clip))  # (1) (2)
        return (h1,), ()


@dataclass(frozen=True, repr=False)
class GRUVariant(_Variant):
    """The gated recurrent unit with any functions: f, ``gate``, and g, ``candidate``.

    With ``reset="after"``, where q_n = h U_n + bn (ONNX's linear_before_reset=1):

        r  = f(⟨p_r + q_r⟩)                   (1)
        z  = f(⟨p_z + q_z⟩)                   (2)
        n  = g(⟨p_n + r q_n⟩)                 (3)
        h' = (1 - z) n + z h                  (4)

    With ``reset="before"``, where a second product stands inside the step, q_n = (r h) U_n, and in place of (3):

        n  = g(⟨p_n + q_n⟩)                   (5)
    """

    gate: Function = SIGMOID
    candidate: Function = TANH
    reset: str = "after"
    clip: float | None = None

    state = ("h",)
    chapter_gates = ("r", "z", "h")

    def __post_init__(self) -> None:
        self._check("gate", "candidate")
        if self.reset not in ("after", "before"):
            raise ValueError(f"reset must be one of after, before; got {self.reset!r:.60}")

    @property
    def stages(self) -> tuple[Any, ...]:
        """One stage, or two with a product between."""
        return (_ResetAfter(self),) if self.reset == "after" else (_ResetAndUpdate(self), _Candidate(self))


@dataclass(frozen=True)
class _ResetAfter:
    """The only stage of ``GRUVariant(reset="after")``."""

    cell: GRUVariant

    gates = ("r", "z", "n")
    recurrent_bias = ("n",)

    def step(self, p: Array, q: Array, state: Arrays) -> tuple[Arrays, Arrays]:
        (h,), f, g, clip = state, self.cell.gate, self.cell.candidate, self.cell.clip
        p_r, p_z, p_n = split(p, 3)
        q_r, q_z, q_n = split(q, 3)
        r = f(clipped(p_r + q_r, clip))  # (1)
        z = f(clipped(p_z + q_z, clip))  # (2)
        n = g(clipped(p_n + r * q_n, clip))  # (3)
        h1 = (1 - z) * n + z * h  # (4)
        return (h1,), ()


@dataclass(frozen=True)
class _ResetAndUpdate:
    """First stage of ``GRUVariant(reset="before")``: r h, which U_n multiplies next."""

    cell: GRUVariant

    gates = ("r", "z")

    def step(self, p: Array, q: Array, state: Arrays) -> tuple[Arrays, Arrays]:
        (h,), f, clip = state, self.cell.gate, self.cell.clip
        a_r, a_z = split(p + q, 2)
        r = f(clipped(a_r, clip))  # (1)
        z = f(clipped(a_z, clip))  # (2)
        return (r * h, z, h), ()


@dataclass(frozen=True)
class _Candidate:
    """Second stage of ``GRUVariant(reset="before")``."""

    cell: GRUVariant

    gates = ("n",)

    def step(self, p: Array, q: Array, state: Arrays) -> tuple[Arrays, Arrays]:
        _, z, h = state
        n = self.cell.candidate(clipped(p + q, self.cell.clip))  # (5)
        h1 = (1 - z) * n + z * h  # (4)
        return (h1,), ()


@dataclass(frozen=True, repr=False)
class LSTMVariant(_Variant):
    """Long short-term memory with any functions: f, ``gate``, g, ``candidate``, and h, ``output``.

        i  = f(⟨p_i + q_i + w_i c⟩)           (1)
        f  = f(⟨p_f + q_f + w_f c⟩)           (2)
        g  = g(⟨p_g + q_g⟩)                   (3)
        c' = f c + i g                        (4)
        o  = f(⟨p_o + q_o + w_o c'⟩)          (5)  sees the new cell
        h' = o h(⟨c'⟩)                        (6)

    ``peepholes`` brings the terms in w, per-unit weights (Gers and Schmidhuber 2000) that are called ``p_i``, ``p_f``
    and ``p_o`` among the layer's weights; ONNX's P holds them in the order i o f.

    ``coupled`` has no forget gate of its own, and in place of (2) (ONNX's input_forget):

        f  = 1 - i                            (7)

    Its gates are i, g and o: W is (D, 3H), U (H, 3H), b (3H), and with peepholes there is no ``p_f``.  What ONNX stores
    for the forget gate is not used.
    """

    gate: Function = SIGMOID
    candidate: Function = TANH
    output: Function = TANH
    clip: float | None = None
    coupled: bool = False
    peepholes: bool = False

    state = ("h", "c")

    def __post_init__(self) -> None:
        self._check("gate", "candidate", "output")
        for word in ("coupled", "peepholes"):
            if not isinstance(getattr(self, word), bool):
                raise ValueError(f"{word} must be True or False; got {getattr(self, word)!r:.60}")

    @property
    def gates(self) -> tuple[str, ...]:
        """The blocks of p and q, in order."""
        return ("i", "g", "o") if self.coupled else ("i", "f", "g", "o")

    @property
    def chapter_gates(self) -> tuple[str, ...]:
        """The chapter's letters for them."""
        return ("i", "c", "o") if self.coupled else ("i", "f", "c", "o")

    @property
    def units(self) -> tuple[str, ...]:
        """The peepholes' names."""
        return tuple(f"p_{gate}" for gate in self.gates if gate != "g") if self.peepholes else ()

    def step(self, p: Array, q: Array, state: Arrays, *units: Array) -> tuple[Arrays, Arrays]:
        _, c = state
        a = dict(zip(self.gates, split(p + q, len(self.gates)), strict=True))
        if self.peepholes:
            w = dict(zip(self.units, units, strict=True))
            a["i"] = a["i"] + w["p_i"] * c
            if not self.coupled:
                a["f"] = a["f"] + w["p_f"] * c
        i = self.gate(clipped(a["i"], self.clip))  # (1)
        f = 1 - i if self.coupled else self.gate(clipped(a["f"], self.clip))  # (7) (2)
        g = self.candidate(clipped(a["g"], self.clip))  # (3)
        c1 = f * c + i * g  # (4)
        if self.peepholes:
            a["o"] = a["o"] + w["p_o"] * c1
        o = self.gate(clipped(a["o"], self.clip))  # (5)
        h1 = o * self.output(clipped(c1, self.clip))  # (6)
        return (h1, c1), ()


VARIANTS: dict[str, type[RNNVariant] | type[GRUVariant] | type[LSTMVariant]] = {
    cell.__name__: cell for cell in (RNNVariant, GRUVariant, LSTMVariant)
}


def clipped(a: Array, clip: float | None) -> Array:
    """⟨a⟩."""
    return a if clip is None else np.clip(a, -clip, clip)

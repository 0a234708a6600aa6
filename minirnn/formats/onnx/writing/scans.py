"""Cells that ONNX has no operator for, as a Scan: the equations of one step are the body of a loop over time.

So are written an LSTM with a projection, zoneout, functions that the operators have no name for, and everything in
float64, for which onnxruntime has no RNN, GRU or LSTM.  The equations are those of
``minirnn.recurrent.variants``, with the weights as minirnn has them.
"""

from typing import Any

from onnx import GraphProto, TensorProto, helper

from minirnn.formats.onnx.writing import functions
from minirnn.formats.onnx.writing.emitter import Emitter
from minirnn.formats.onnx.writing.steps import Steps
from minirnn.formats.onnx.writing.weights import laid_out, weight
from minirnn.layers.activations import Function
from minirnn.recurrent.direction import Direction
from minirnn.recurrent.variants import GRUVariant, RNNVariant


def run(
    e: Emitter, cell: Any, direction: Direction, x: str, state: list[str], steps: Steps, *, reverse: bool
) -> tuple[str, list[str]]:
    """A Scan over x (T, B, D), or integers (T, B), from ``state``, (B, H) each: y (T, B, H) and the final state.

    Past a row's length the state is carried over, so there y holds the last valid one.  In reverse the loop runs from
    the last step to the first, and the state stays as it was before a row's own end: nothing has to be reversed.
    """
    with e.within(f"{e.scope}reverse." if direction.reverse else e.scope):
        over = [_inputs(e, direction, x)]
        if steps.lengths:
            over.append(steps.past_features)
        body, count = _body(e, cell, direction, carried=bool(steps.lengths)), len(over)
        *finals, y = e.many(
            "Scan",
            [*state, *over],
            len(state) + 1,
            body=body,
            num_scan_inputs=count,
            scan_input_directions=[int(reverse)] * count,
            scan_output_directions=[int(reverse)],
        )
    return y, finals


def _inputs(e: Emitter, direction: Direction, x: str) -> str:
    """P = X W + b for all steps; an index picks its row of W."""
    W = weight(e, direction, "W")
    P = e("Gather", W, x) if x in e.indices else e("MatMul", x, W)
    return e("Add", P, weight(e, direction, "b"))


def _body(outer: Emitter, cell: Any, direction: Direction, *, carried: bool) -> GraphProto:
    """The graph of one step: the state, p and perhaps whether to carry over -> the next state, and h for y."""
    e = outer.inner()
    state = [e.name(f"{e.scope}{name}") for name in cell.state]
    p = e.name(f"{e.scope}p")
    sizes = direction.widths
    inputs = [e.port(name, ["B", width]) for name, width in zip(state, sizes, strict=True)]
    inputs.append(e.port(p, ["B", len(direction.gates) * direction.hidden_size]))
    after = _Equations(outer, e, cell, direction).step(p, state)
    for k, share in enumerate(direction.zoneout):  # of each state that stays as it was
        if share:
            parts = e("Mul", state[k], e.number(share)), e("Mul", after[k], e.number(1 - share))
            after[k] = e("Add", *parts)
    if carried:
        carry = e.name(f"{e.scope}carry")
        inputs.append(e.port(carry, ["B", 1], TensorProto.BOOL))
        after = [e("Where", carry, old, new) for old, new in zip(state, after, strict=True)]
    after.append(e("Identity", after[0]))  # an output of its own, stacked over the steps
    outputs = [e.port(name, ["B", width]) for name, width in zip(after, [*sizes, sizes[0]], strict=True)]
    return helper.make_graph(e.nodes, e.name(f"{e.scope}step"), inputs, outputs)


# ---------------------------------------------------------------------- the equations


class _Equations:
    """The step of each kind of cell: from p (B, G·H) and the state to the next state.

    ``outer`` emits what is around the loop: the weights, so that nothing is done to them at every step.
    """

    def __init__(self, outer: Emitter, e: Emitter, cell: Any, direction: Direction) -> None:
        self.outer, self.e, self.cell, self.layer = outer, e, cell, direction

    def step(self, p: str, state: list[str]) -> list[str]:
        """The step of ``cell``."""
        if isinstance(self.cell, RNNVariant):
            return self.rnn(p, *state)
        if isinstance(self.cell, GRUVariant):
            return self.gru(p, *state)
        return self.lstm(p, *state)

    def rnn(self, p: str, h: str) -> list[str]:
        return [self.squashed(self.cell.activation, self.sum(p, self.product(h, "U")))]

    def gru(self, p: str, h: str) -> list[str]:
        e, H, after = self.e, self.layer.hidden_size, self.cell.reset == "after"
        p_r, p_z, p_n = self.gates(p, 3)
        if after:
            q_r, q_z, q_n = self.gates(self.product(h, "U"), 3)
        else:
            U_rz = laid_out(self.outer, "U_rz", lambda fetch: fetch(self.layer, "U")[:, : 2 * H])
            U_n = laid_out(self.outer, "U_n", lambda fetch: fetch(self.layer, "U")[:, 2 * H :])
            q_r, q_z = self.gates(e("MatMul", h, U_rz), 2)
        r = self.squashed(self.cell.gate, self.sum(p_r, q_r))
        z = self.squashed(self.cell.gate, self.sum(p_z, q_z))
        if after:
            u = e("Mul", r, self.sum(q_n, weight(self.outer, self.layer, "bn")))
        else:
            u = e("MatMul", e("Mul", r, h), U_n)
        n = self.squashed(self.cell.candidate, self.sum(p_n, u))
        return [self.sum(e("Mul", e("Sub", e.number(1), z), n), e("Mul", z, h))]

    def lstm(self, p: str, h: str, c: str) -> list[str]:
        e, cell, names = self.e, self.cell, self.layer.gates
        a = dict(zip(names, self.gates(self.sum(p, self.product(h, "U")), len(names)), strict=True))
        if cell.peepholes:
            for gate in ("i",) if cell.coupled else ("i", "f"):
                a[gate] = self.peep(a[gate], gate, c)
        i = self.squashed(cell.gate, a["i"])
        f = e("Sub", e.number(1), i) if cell.coupled else self.squashed(cell.gate, a["f"])
        g = self.squashed(cell.candidate, a["g"])
        c1 = self.sum(e("Mul", f, c), e("Mul", i, g))
        if cell.peepholes:
            a["o"] = self.peep(a["o"], "o", c1)
        o = self.squashed(cell.gate, a["o"])
        h1 = e("Mul", o, self.squashed(cell.output, c1))
        return [self.product(h1, "P") if "P" in self.layer.specs() else h1, c1]

    # ------------------------------------------------------------------ what they consist of

    def sum(self, a: str, b: str) -> str:
        return self.e("Add", a, b)

    def product(self, a: str, name: str) -> str:
        return self.e("MatMul", a, weight(self.outer, self.layer, name))

    def gates(self, a: str, count: int) -> list[str]:
        """The parts of (B, count·H)."""
        return self.e.many("Split", [a, self.e.integers(*[self.layer.hidden_size] * count)], count, axis=-1)

    def squashed(self, function: Function, a: str) -> str:
        """``function`` of ``a``, which the cell may clip before."""
        if self.cell.clip is not None:
            a = functions.clip(self.e, a, -self.cell.clip, self.cell.clip)
        return functions.apply(self.e, function, a)

    def peep(self, a: str, gate: str, c: str) -> str:
        """a + w c, where w is the gate's peephole."""
        return self.sum(a, self.e("Mul", weight(self.outer, self.layer, f"p_{gate}"), c))

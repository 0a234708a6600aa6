"""The lines that a page goes through: a cell's derivation, and around it the products, the loss and the clip.

A cell's own lines, (1), (2) and so on, are read from its docstring, and the loss's, (L1) and (L2), from that of
``cross_entropy``.  What is stated here is what surrounds every cell, for one step and one row:

    (a)  p = x W + b                  transposed    dW += xᵀ dp,  db += dp
    (b)  q = h U                      transposed    dh = dq Uᵀ + direct,  dU += hᵀ dq
    (c)  logits = h' W_y + b_y        transposed    dy = dlogits W_yᵀ,  dh' = dh + dy
         ŷ = softmax(logits)                        W_y and b_y are those of the Linear above
    (d)  the clip                     g = min(1, c / norm) g

Where other layers are above, (c) says only that they make the logits of h', and send dy back.
"""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.protocol import Stage, matrix_of, multiplies, recurrent_bias_of, stages_of
from minirnn.explain.engine.equations import LINE, Equation
from minirnn.explain.engine.scene import Take
from minirnn.explain.engine.spelling import spelled, visible
from minirnn.explain.engine.trace import Walk
from minirnn.layers.compose import Sequential
from minirnn.layers.feedforward import Linear
from minirnn.layers.losses import cross_entropy


@dataclass(frozen=True, eq=False)
class Row:
    """Numbers of a line: ``values`` (T, n), or (1, n) where there is no step.

    ``name`` is the quantity's in a trace, ``text`` the derivation's; ``labels`` say what the n are, where they are not
    units; ``at`` is the only entry of ``values`` that is shown, ``note`` words beside it; ``plain`` text is no formula.
    """

    name: str
    text: str
    values: Array
    labels: tuple[str, ...] = ()
    at: int | None = None
    note: str = ""
    plain: bool = False


@dataclass(frozen=True, eq=False)
class Line:
    """One line: in which phase it is computed, its number, its formula, and its numbers.

    ``adds`` names the weight to whose gradient it adds; ``code`` says that the formula is Python.
    """

    phase: str
    label: str
    text: str
    rows: tuple[Row, ...] = ()
    remark: str = ""
    adds: str = ""
    code: bool = False


def lines_of(take: Take) -> list[Line]:
    """All lines, in the order in which they are computed."""
    return [*_forward(take), *_loss(take), *_backward(take), _clip(take)]


def _row(walk: Walk, name: str, text: str = "", note: str = "", key: str = "") -> Row:
    return Row(name, text or spelled(name), walk[key or name][:, 0], note=note)


def _own(walk: Walk, equation: Equation) -> Line:
    """A line of the cell's derivation."""
    rows = tuple(Row(name, spelled(name), values[:, 0]) for name, values in walk.line(equation).items())
    label = " ".join(f"({n})" for n in equation.numbers)
    phase = "backward" if equation.backward else "forward"
    return Line(phase, label, equation.text, rows, equation.remark, code=not equation.numbers)


def _stage_of(walk: Walk, equation: Equation, otherwise: int) -> int:
    """The stage of a cell in whose code a line stands."""
    for event in walk.events:
        if event.backward == equation.backward and set(event.numbers) & set(equation.numbers):
            return event.stage
    return otherwise


def _gates(walk: Walk, stage: Stage, kind: str) -> tuple[Row, ...]:
    """A product gate by gate; whole where the cell has one gate, or the stage a matrix of its own."""
    if matrix_of(stage):
        return (_row(walk, f"{kind}_{matrix_of(stage)}", kind),)
    if sum(len(one.gates) for one in stages_of(walk.cell)) == 1:
        return (_row(walk, kind),)
    return tuple(_row(walk, f"{kind}_{gate}") for gate in stage.gates)


def _input_of(walk: Walk, k: int) -> str:
    """The name of what stage ``k`` multiplies."""
    values = walk[f"input.{k}"]
    for event in walk.events:
        if not event.backward and event.stage < k and np.array_equal(walk[event.name], values):
            return event.name
    return "a"


def _inner(walk: Walk, k: int) -> tuple[str, str, str, str]:
    """Of a later stage: what it multiplies, with what, the product, and that matrix's transpose's name."""
    stage = stages_of(walk.cell)[k]
    own = matrix_of(stage)
    index = "" if own else f"_{''.join(stage.gates)}"
    return _input_of(walk, k), own or f"U{index}", f"q{index}", f"{own}ᵀ" if own else f"U{index}ᵀ"


def _forward(take: Take) -> Iterator[Line]:
    walk = take.walk
    stages = stages_of(walk.cell)
    wide = [row for stage in stages if stage.gates for row in _gates(walk, stage, "p")]
    onehot = walk["x"].dtype.kind in "iu"
    yield Line("forward", "(a)", "p = x W + b", tuple(wide), "x picks the row of its character" if onehot else "")
    states = tuple(_row(walk, name, note="before the step") for name in walk.cell.state)
    biased = [f"q_{gate} has b_{gate} added" for gate in recurrent_bias_of(stages[0])]
    if multiplies(stages[0]):
        yield Line("forward", "(b)", "q = h U", (*states, *_gates(walk, stages[0], "q")), ", ".join(biased))
    else:
        yield Line("forward", "(b)", "q has no columns", states, "this cell has no U")
    k = 0
    for equation in walk.equations:
        if equation.backward:
            continue
        while k < _stage_of(walk, equation, k):
            k += 1
            factor, matrix, made, _ = _inner(walk, k)
            yield Line("forward", "(b)", f"{made} = {factor} {matrix}", _gates(walk, stages[k], "q"))
        yield _own(walk, equation)
    output = _output_of(take)
    if output:
        bias = " + b_y" if output.bias else ""
        remark = f"W_y{' and b_y are' if bias else ' is'} the output layer's"
        yield Line("forward", "(c)", f"logits = h' W_y{bias}", (_by_character(take, "logits", take.logits),), remark)
    said = Row("probabilities", "ŷ", *_of_characters(take, take.probabilities))
    above = "" if output else "the logits are what the layers above make of h'"
    yield Line("forward", "(c)", "ŷ = softmax(logits)", (said,), above)


def _output_of(take: Take) -> Linear | None:
    """The Linear that makes the logits of h' itself, if that is what stands above the layer that is looked at."""
    network, walk = take.scene.model(), take.walk
    layer = network[-1] if isinstance(network, Sequential) else None
    if not isinstance(layer, Linear):
        return None
    W = layer.tie.weight("W").T if layer.tie else layer.weight("W")
    h, dy = walk["h1"][:, 0], walk["dy"][:, 0]
    if h.shape[1] != len(W):
        return None
    logits = h @ W + (layer.weight("b") if layer.bias else 0)
    same = np.allclose(logits, take.logits, rtol=1e-9, atol=1e-12) and np.allclose(
        dy, take.dlogits @ W.T, rtol=1e-9, atol=1e-12
    )
    return layer if same else None


def _characters(take: Take) -> list[int]:
    """Those that are read, asked for or said; of a large vocabulary not all are shown."""
    return sorted({*take.x.tolist(), *take.targets.tolist(), *take.logits.argmax(axis=1).tolist()})


def _of_characters(take: Take, values: Array) -> tuple[Array, tuple[str, ...]]:
    """Of (T, V) the columns of the characters that are shown, and these."""
    shown = _characters(take)
    return values[:, shown], tuple(visible(take.scene.vocab.symbols[c]) for c in shown)


def _by_character(take: Take, name: str, values: Array) -> Row:
    return Row(name, name, *_of_characters(take, values))


def _loss(take: Take) -> Iterator[Line]:
    """The lines of ``cross_entropy``'s docstring."""
    dlogits, columns = _of_characters(take, take.dlogits)
    targets = tuple(map(visible, take.wanted))
    total = Row("loss", "loss", np.array([[take.loss]]), ("mean",))
    rows: dict[int, tuple[Row, ...]] = {
        1: (Row("losses", "log ŷ", -take.losses[None], targets, note="of each step's target"), total),
        2: tuple(Row("dlogits", f"t = {t}", dlogits, columns, at=t, plain=True) for t in range(take.scene.T)),
    }
    remarks = {1: "y is ŷ, N the number of steps", 2: ""}
    for line in (inspect.getdoc(cross_entropy) or "").splitlines():
        match = LINE.match(line.strip())
        if match and "=" in match["text"]:
            number = int(match["numbers"].strip("()"))
            yield Line("loss", f"(L{number})", match["text"], rows.get(number, ()), remarks.get(number, ""))


def _next(take: Take, name: str) -> Row:
    """The gradient of a state from the next step; 0 after the last."""
    walk = take.walk
    order, gradient = list(walk.order), walk[f"d{name}"][:, 0]
    values = np.zeros_like(gradient)
    values[order[1:]] = gradient[order[:-1]]
    return Row(f"next.d{name}", f"d{name}", values, note="of the step after")


def _backward(take: Take) -> Iterator[Line]:
    walk = take.walk
    stages = stages_of(walk.cell)
    first, *others = walk.cell.state
    sent = (_by_character(take, "dlogits", take.dlogits), _row(walk, "dy"))
    if _output_of(take):
        yield Line("backward", "(c)", "dy = dlogits W_yᵀ", sent, "what the loss says of this step alone")
    else:
        yield Line("backward", "(c)", "dy = dlogits ∂logits/∂h'", sent, "through the layers above")
    rows = [_next(take, first), _row(walk, "dy"), _row(walk, f"d{first}1")]
    rows += [Row(f"next.d{n}", f"d{n}'", _next(take, n).values, note=f"d{n} of the step after") for n in others]
    yield Line("backward", "(c)", f"d{first}' = d{first} + dy", tuple(rows))
    k = len(stages) - 1
    for equation in walk.equations:
        if not equation.backward:
            continue
        while k > _stage_of(walk, equation, k):
            factor, _, made, transposed = _inner(walk, k)
            row = _row(walk, f"d{factor}", key=f"back.{k}")
            yield Line("backward", "(b)", f"d{factor} = d{made} {transposed}", (row,))
            k -= 1
        yield _own(walk, equation)
    direct = f"direct.{first}" in walk
    through = ["dq Uᵀ"] if multiplies(stages[0]) else []
    text = f"d{first} = {' + '.join([*through, *(['direct'] if direct else [])]) or '0'}"
    remark = f"direct is the d{first} above" if direct else ""
    yield Line("backward", "(b)", text, (_row(walk, f"d{first}", note="for the step before"),), remark)
    for name in walk.weights:
        label, text = _added(stages, walk, name)
        yield Line("backward", label, text, adds=name)


def _added(stages: Sequence[Stage], walk: Walk, name: str) -> tuple[str, str]:
    """Each step's contribution to a weight's gradient."""
    if name in ("W", "b"):
        return "(a)", {"W": "dW += xᵀ dp", "b": "db += dp"}[name]
    for k, stage in enumerate(stages):
        if matrix_of(stage) == name:
            return "(b)", f"d{name} += {_input_of(walk, k)}ᵀ dq"
        for gate in recurrent_bias_of(stage):
            if name == f"b{gate}":
                return "(b)", f"db_{gate} += dq_{gate}"
    if name != "U":
        return "", f"d{name} += d{name} of this step"
    later = [f", of {''.join(s.gates)} {_input_of(walk, k)}ᵀ dq" for k, s in enumerate(stages) if k and s.gates]
    return "(b)", f"dU += hᵀ dq{''.join(later)}"


def _clip(take: Take) -> Line:
    clip = take.scene.clip
    rows = [Row("norm", "norm", np.array([[take.norm]]), ("before",), note="of all gradients as one vector")]
    if clip is not None:
        rows += [
            Row("clip", "c", np.array([[clip]]), ("limit",)),
            Row("clipped_norm", "norm", np.array([[take.clipped_norm]]), ("after",)),
        ]
    for name, gradient in take.trace.grads.items():
        both = [[float(np.linalg.norm(gradient)), float(np.linalg.norm(take.clipped[name]))]]
        rows.append(Row(f"norm.{name}", name, np.array(both), ("before", "after"), plain=True))
    remark = "there is no limit: nothing is clipped" if clip is None else "g is every gradient"
    return Line("clip", "(d)", "g = min(1, c / norm) g", tuple(rows), remark)

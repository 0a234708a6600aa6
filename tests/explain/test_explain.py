"""A trace is what the model computes: its sums are gradients, its numbers derivatives, its lines the equations."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray
from typesetting import computed, parsed

from minirnn import GRU, LSTM, RNN, Embedding, Layer, Linear, Masking, Recurrent, Sequential
from minirnn.cells import GRUBeforeCell, GRUCell, LSTMCell, ProjectedLSTMCell, ReluCell, TanhCell
from minirnn.core.protocol import block_of, multiplies, stages_of, units_of
from minirnn.core.tree import rebuilt
from minirnn.explain import Walk, equations_of, trace
from minirnn.more_cells import EPS, NAMED, E, SRUCell
from minirnn.recurrent.direction import Direction
from minirnn.recurrent.passes import Recurrence
from minirnn.recurrent.plain import PlainPass
from minirnn.recurrent.weights import Weights
from minirnn.scan import flip
from minirnn.testing.own import cell_from

Array: TypeAlias = NDArray[Any]
STEP = 1e-30
PeepholeLSTM = cell_from(f"{Path(__file__).parents[2]}/examples/own_cell.py:PeepholeLSTM")

MODELS: dict[str, Callable[[], Layer]] = {
    "rnn": lambda: RNN(3, 4),
    "relu": lambda: RNN(3, 4, nonlinearity="relu"),
    "gru": lambda: GRU(3, 4, 2, bidirectional=True),
    "gru before": lambda: GRU(3, 4, bidirectional=True, reset="before"),
    "lstm": lambda: LSTM(3, 4, 2, bidirectional=True, trainable_state=True),
    "projected": lambda: LSTM(3, 5, bidirectional=True, proj_size=2),
    "peepholes": lambda: Recurrent(PeepholeLSTM, 3, 4, bidirectional=True),
    "no product": lambda: Recurrent(SRUCell, 3, 4, 2, bidirectional=True),
    "network": lambda: Sequential(Embedding(5, 3), GRU(3, 4), LSTM(4, 3), Linear(3, 5)),
    "one-hot": lambda: GRU(5, 4),
    "masked": lambda: Sequential(Masking(), LSTM(3, 4, bidirectional=True)),
    "noisy": lambda: LSTM(3, 4, 2, bidirectional=True, dropout=0.4, weight_dropout=0.3),
    "zoned": lambda: LSTM(3, 4, 2, zoneout=(0.3, 0.5)),
}
SMOOTH = [name for name in MODELS if name not in ("relu", "masked")]  # and where nudges need not be gathered
LENGTHS = [None, (6, 2, 0)]
lengths_or_none = pytest.mark.parametrize("lengths", LENGTHS, ids=["whole", "lengths"])


def drawn(name: str) -> tuple[Layer, Array, Array, Any, Any]:
    """A model, its input and state, and cotangents of its output and of the final state."""
    model, rng = MODELS[name]().init(1, dtype="float64", backend="numpy"), np.random.default_rng(2)
    if name in ("network", "one-hot"):
        x: Array = rng.integers(0, 5, (6, 3))
    else:
        x = rng.normal(size=(6, 3, 3))
        x[2, 1] = 0  # what Masking skips
    y, state = model(x)
    start = rebuilt(state, lambda a: rng.normal(size=a.shape))
    return model, x, rng.normal(size=y.shape), start, rebuilt(state, lambda a: rng.normal(size=a.shape))


@pytest.mark.parametrize("name", MODELS)
@lengths_or_none
def test_running_sums_end_in_the_gradients(name: str, lengths: Any) -> None:
    model, x, dy, state, dstate = drawn(name)
    model.grads = np.full(model.grads.shape, 7.0)
    before, calls = model.grads.copy(), model.bound.calls
    found = trace(model, x, dy, state, dstate, lengths=lengths)
    np.testing.assert_array_equal(model.grads, before)
    assert model.bound.calls == calls  # the model itself has done nothing
    model.zero_grads()
    y, final, backward = model.forward(x, state, lengths=lengths)
    dx, dinitial = backward(dy, dstate)
    np.testing.assert_array_equal(found.y, y)
    for a, b in zip(_arrays(found.state, found.dx, found.dstate), _arrays(final, dx, dinitial), strict=True):
        np.testing.assert_array_equal(a, b)
    for weight, gradient in model.named_grads().items():
        np.testing.assert_array_equal(found.grads[weight], gradient)
    for name_, walk in found.walks.items():
        weights = {w.removeprefix(f"{name_}."): g for w, g in model.named_grads().items() if w.startswith(f"{name_}.")}
        weights = {w: g for w, g in weights.items() if "." not in w and w not in ("h0", "c0")}
        assert {"W", "b"} <= weights.keys()
        assert ("U" in weights) is (name != "no product")
        for weight, gradient in weights.items():
            sums, parts = walk.sums(weight), walk.parts(weight)
            np.testing.assert_allclose(sums[walk.order[-1]], gradient, rtol=0, atol=1e-13)
            np.testing.assert_allclose(sums[walk.order[0]], parts[walk.order[0]], rtol=0, atol=1e-13)
            assert len(sums) == len(x)


def _arrays(*states: Any) -> list[Array]:
    found: list[Array] = []
    for state in states:
        if isinstance(state, tuple):
            found += _arrays(*state)
        elif state is not None:
            found.append(state)
    return found


# ---------------------------------------------------------------------- derivatives


class NudgedPass(PlainPass):
    """A pass in which one quantity of a stage is moved a little at every step, along ``nudge`` (T, B, ...)."""

    def __init__(
        self, one: Recurrence, weights: Weights, run: Any, *, reverse: bool, stage: int, name: str, nudge: Array
    ) -> None:
        super().__init__(one, weights, run, reverse=reverse)
        stages, moved = list(self.scan.stages), flip(nudge, run) if reverse else nudge
        self.count = -1
        own: Any = stages[stage]
        inner = own.step if name in ("p", "q", "before") else nudged(own.step, name, lambda: moved[self.count])

        def step(p: Array, q: Array, state: Any, *units: Array) -> Any:
            self.count += 1
            if name == "p":
                p = p + moved[self.count]
            elif name == "q":
                q = q + moved[self.count]
            elif name == "before":
                q, state = q + moved[self.count] @ self.scan.U[stage], (state[0] + moved[self.count], *state[1:])
            return inner(p, q, state, *units)

        stages[stage] = _Replaced(own, step)
        self.scan.stages = tuple(stages)


class _Replaced:
    def __init__(self, own: Any, step: Any) -> None:
        self.own, self.step = own, step

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)


def nudged(step: Any, name: str, nudge: Callable[[], Array]) -> Any:
    """``step`` with ``name`` moved where it was last assigned."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(step)))
    function = tree.body[0]
    assert isinstance(function, ast.FunctionDef)
    function.decorator_list = []
    places = [
        i
        for i, node in enumerate(function.body)
        if isinstance(node, ast.Assign)
        and any(isinstance(n, ast.Name) and n.id == name for t in node.targets for n in ast.walk(t))
    ]
    function.body.insert(places[-1] + 1, ast.parse(f"{name} = {name} + _nudge()").body[0])
    for node in ast.walk(function):
        if isinstance(node, ast.arg):
            node.annotation = None
    function.returns = None
    space = {**step.__globals__, "_nudge": nudge}
    exec(compile(ast.fix_missing_locations(tree), "<nudged>", "exec"), space)  # noqa: S102 - a cell of this project
    return space[function.name]


def derivative(drawn_: Any, lengths: Any, where: str, **nudge: Any) -> float:
    """Of the loss along a nudge, by a complex step through forward."""
    model, x, dy, state, dstate = drawn_
    copied = model.to(dtype="complex128")
    (direction,) = (one for one in copied.walk() if isinstance(one, Direction) and one.prefix == f"{where}.")
    direction.plain_pass = partial(NudgedPass, direction.recurrence, **nudge)  # type: ignore[method-assign]
    given = x if x.dtype.kind == "i" else x.astype(complex)
    y, final, _ = copied.forward(given, rebuilt(state, lambda a: a.astype(complex)), lengths=lengths)
    loss = (y * dy).sum() + sum((a * d).sum() for a, d in zip(_arrays(final), _arrays(dstate), strict=True))
    return float(loss.imag / STEP)


def quantities(walk: Walk, cell: Any, H: int) -> list[tuple[str, int, str, Any]]:
    """Each gradient of a walk that a nudge can show: its name; and the stage, what is nudged there, which columns."""
    found: list[tuple[str, int, str, Any]] = []
    for k, stage in enumerate(stages_of(cell)):
        for gate in stage.gates:
            found += [(f"d{kind}_{gate}", k, kind, block_of(stage, gate, H)) for kind in "pq"[: 1 + multiplies(stage)]]
    for event in walk.events:
        inner = event.name == "h1" and event.stage + 1 < len(stages_of(cell))  # what the next stage multiplies
        if not event.backward and f"d{event.name}" in walk and event.name not in ("p", "q") and not inner:
            found.append((f"d{event.name}", event.stage, event.name, slice(None)))
    return [*found, ("dh", 0, "before", slice(None))]


@pytest.mark.parametrize(
    ("name", "lengths"), [(name, n) for name in SMOOTH for n in LENGTHS if not (n and name == "zoned")]
)
def test_every_gradient_is_the_derivative_by_complex_step(name: str, lengths: Any) -> None:
    """Of each quantity that has a gradient, moved at all steps of all rows at once, in one layer and direction.

    With zoneout only what passes through a step: a unit that is carried over does not.
    """
    case, rng = drawn(name), np.random.default_rng(5)
    model, x, dy, state, dstate = case
    found = trace(model, x, dy, state, dstate, lengths=lengths)
    seen = set()
    for where, walk in found.walks.items():
        H = walk["p"].shape[-1] // sum(len(stage.gates) for stage in stages_of(walk.cell))
        for gradient, k, moved, columns in quantities(walk, walk.cell, H):
            if name == "zoned" and gradient in ("dh", "dh1", "dc1"):
                continue
            d = walk[gradient]
            u = rng.normal(size=d.shape)
            if lengths:
                u *= (np.arange(len(x))[:, None] < np.array(lengths))[:, :, None]
            nudge: Array = np.zeros((*d.shape[:2], _width(walk, k, moved, d)), complex)
            nudge[:, :, columns] = u * STEP * 1j
            wanted = derivative(case, lengths, where, stage=k, name=moved, nudge=nudge)
            np.testing.assert_allclose((d * u).sum(), wanted, rtol=1e-10, atol=1e-11, err_msg=f"{where} {gradient}")
            seen.add(gradient)
    assert len(seen) >= 4


def _width(walk: Walk, k: int, moved: str, d: Array) -> int:
    gates, width = len(stages_of(walk.cell)[k].gates), int(d.shape[-1])
    return gates * width if moved in ("p", "q") and gates else width


@pytest.mark.parametrize("name", ["rnn", "gru before", "lstm", "projected", "peepholes", "no product"])
def test_jacobians_are_derivatives_of_the_step(name: str) -> None:
    model, x, dy, state, dstate = drawn(name)
    walk = trace(model, x, dy, state, dstate)["0"]
    J, t, row = walk["jacobian"], 3, 1
    one = next(layer for layer in model.to(dtype="complex128").walk() if isinstance(layer, Direction))
    states = [walk[s][t, row] for s in walk.cell.state]
    n = J.shape[-1]
    for j in range(n):
        moved = np.concatenate(states).astype(complex)
        moved[j] += STEP * 1j
        parts = np.split(moved[None], np.cumsum([len(s) for s in states])[:-1], axis=1)
        alone = SimpleNamespace(parameters=one.bound, training=False, past=None, flipped=None, saves=False, every=0)
        passed = PlainPass(one.recurrence, Weights(one.bound, one.prefix), alone, reverse=False)  # type: ignore[arg-type]
        _, after = passed.forward(x[t : t + 1, row : row + 1].astype(complex), tuple(parts), None)
        np.testing.assert_allclose(J[t, row, :, j], np.concatenate(after, axis=1)[0].imag / STEP, rtol=0, atol=1e-13)
    np.testing.assert_allclose(walk.singular_values[t, row], np.linalg.svd(J[t, row])[1])
    np.testing.assert_allclose(walk.norms, np.linalg.norm(walk["dh1"], axis=-1))


# ---------------------------------------------------------------------- equations

CELLS: dict[str, Any] = {
    "TanhCell": TanhCell,
    "ReluCell": ReluCell,
    "GRUCell": GRUCell,
    "GRUBeforeCell": GRUBeforeCell,
    "LSTMCell": LSTMCell,
    "ProjectedLSTMCell": ProjectedLSTMCell(2),
    **NAMED,
}


@pytest.mark.parametrize("name", CELLS)
def test_every_line_of_a_derivation_is_what_the_code_computes(name: str) -> None:
    """The docstring's formulas, read and computed, in their order, from what the lines before them gave."""
    model, rng = Recurrent(CELLS[name], 3, 4).init(3, dtype="float64", backend="numpy"), np.random.default_rng(4)
    x = rng.normal(size=(5, 2, 3))
    y, final = model(x)
    dstate = rebuilt(final, lambda a: rng.normal(size=a.shape))
    walk = trace(model, x, rng.normal(size=y.shape), None, dstate)["0"]
    known: dict[str, Any] = {name: walk[name] for name in walk.names if name[:2] in ("p_", "q_") or name in ("p", "q")}
    known |= {s: walk[s] for s in walk.cell.state}
    weights = model.named_weights()
    known |= {unit: weights[f"0.{unit}"] for unit in units_of(CELLS[name])}
    known |= {"e": E, "ε": EPS}
    for letter in {unit[0] for unit in units_of(CELLS[name])}:  # gates' parts side by side
        names = [f"{letter}_{gate}" for gate in getattr(CELLS[name], "gates", ())]
        if names and set(names) <= set(known):
            known[letter] = np.concatenate([known[part] for part in names])
    if name == "ProjectedLSTMCell":
        known["q"] = walk["q_P"]
    forward = [line for line in walk.equations if not line.backward]
    backward = [line for line in walk.equations if line.backward]
    assert {n for line in forward for n in line.numbers} == set(
        range(1, max(n for line in forward for n in line.numbers) + 1)
    )
    assert {n for line in backward for n in line.numbers} == {n for line in forward for n in line.numbers}
    for line in forward:
        _holds(line, walk, known)
    known["dh1"] = walk["dh1"]
    if "c" in walk.cell.state:
        known["dc1"] = np.concatenate([walk["dc"][1:], dstate[1]])
    if name == "GRUBeforeCell":
        known["da"] = walk["dq_n"] @ weights["0.U"][:, 8:].T
    if name == "ProjectedLSTMCell":
        known["ds"] = walk["dq_P"] @ weights["0.P"].T
    for line in backward:
        _holds(line, walk, known)


def _holds(line: Any, walk: Walk, known: dict[str, Any]) -> None:
    found, formula = walk.line(line), line.text.split("=")[-1].strip()
    assert set(found) == set(line.names), f"{line.text} {line.numbers}: the code has no such line"
    split = set(walk.names) - {name for line in walk.equations for name in line.names} - set(known)  # or joined again
    there = known | {name: walk[name] for name in split if name != "jacobian"}
    wanted = computed(parsed(formula), {name.replace("1", "'"): value for name, value in there.items()})
    for value in found.values():
        np.testing.assert_allclose(value, wanted, rtol=1e-12, atol=1e-14, err_msg=f"{line.text} {line.numbers}")
    known |= found


def test_a_formula_that_the_code_does_not_compute_is_found() -> None:
    class Wrong(TanhCell):
        """A cell with a slip in its derivation.

        a  = p + q                            (1)
        h' = tanh(a)                          (2)

            a  = p + q                        (1)
            h' = tanh(a)                      (2)

        Transposed:

            da = dh' (1 + h'²)                (2)
        """

    model = Recurrent(Wrong, 3, 4).init(3, dtype="float64", backend="numpy")
    walk = trace(model, np.ones((2, 1, 3)), np.ones((2, 1, 4)))["0"]
    line = next(line for line in walk.equations if line.backward)
    with pytest.raises(AssertionError):
        _holds(line, walk, {"dh1": walk["dh1"], "h1": walk["h1"]})


def test_lines_of_a_derivation_are_read_with_all_their_numbers() -> None:
    lines = equations_of(PeepholeLSTM)
    assert [line.numbers for line in lines if "dc1" in line.names] == [(6, 5)]
    assert [line.text for line in lines if "da_o" in line.names] == ["da_o = do o (1 - o)"]
    (both,) = (line for line in equations_of(GRUCell) if "dp_z" in line.names)
    assert both.names == ("dp_z", "dq_z")
    assert both.backward
    assert [line.remark for line in lines if line.names == ("o",)] == ["sees the new cell"]


class Bare:
    """A cell whose docstring numbers nothing."""

    state, gates, saves = ("h",), ("h",), ("h1",)

    @staticmethod
    def step(p: Array, q: Array, state: Any) -> Any:
        h1 = np.tanh(
            p + q  # (1)
        )
        return (h1,), (h1,)

    @staticmethod
    def unstep(dstate: Any, saved: Any) -> Any:
        (dh1,), (h1,) = dstate, saved
        slope = 1 - h1 * h1
        slope = dh1 * slope  # (1)
        return slope, slope, (None,)


def test_a_cell_without_a_derivation_is_shown_by_its_code() -> None:
    model = Recurrent(Bare, 3, 4).init(3, dtype="float64", backend="numpy")
    walk = trace(model, np.ones((2, 1, 3)), np.ones((2, 1, 4)))["0"]
    assert [line.text.split("=")[0].strip() for line in walk.equations] == [
        "h1",
        "(dh1,), (h1,)",
        "(dh1,), (h1,)",
        "slope",
        "slope",
    ]
    last = walk.line(walk.equations[-1])["slope"]
    np.testing.assert_array_equal(last, walk["dp"])
    first = next(e for e in walk.events if e.name == "slope" and e.nth == 0)
    np.testing.assert_allclose(walk[f"line.{walk.events.index(first)}"], 1 - walk["h1"] ** 2)


# ---------------------------------------------------------------------- edges


def test_a_float32_model_on_kernels_is_traced_in_float64() -> None:
    model = GRU(3, 8).init(0)
    x = np.random.default_rng(0).normal(size=(5, 2, 3)).astype("float32")
    y, _, backward = model.forward(x)
    backward(np.ones_like(y))
    found = trace(model, x, np.ones_like(y))
    assert found["0"]["z"].dtype == np.float64
    np.testing.assert_allclose(found.y, y, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.grads["0.U"], model.named_grads()["0.U"], rtol=1e-4, atol=1e-5)
    assert trace(model, x, np.ones_like(y), dtype="float32")["0"]["dh1"].dtype == np.float32


def test_what_is_not_there_is_named_in_one_sentence() -> None:
    model = GRU(3, 4).init(0)
    x = np.zeros((2, 1, 3), "float32")
    found = trace(model, x, np.zeros((2, 1, 4), "float32"))
    assert list(found) == ["0"]
    assert len(found) == 1
    with pytest.raises(KeyError, match="no recurrent layer is called '1'; there are '0'"):
        found["1"]
    with pytest.raises(KeyError, match="'0' has no 'c'; it has "):
        found["0"]["c"]
    with pytest.raises(KeyError, match="'0' has no weight 'P'; it has W, U, b, bn"):
        found["0"].sums("P")
    with pytest.raises(ValueError, match="there is no recurrent layer to trace in Linear"):
        trace(Linear(3, 4).init(), x)
    with pytest.raises(ValueError, match="dy must have the shape of y"):
        trace(model, x, np.zeros((2, 1, 3), "float32"))
    assert set(found["0"].at(1)) >= {"r", "z", "n", "dh1", "dp_r", "x"}
    assert "jacobian" not in found["0"].at(1)

"""What a cell does to one unit, seen by running it on symbols; and what kernels cannot compute, refused in words."""

from typing import Any

import numpy as np
import pytest
from own_cell import PeepholeLSTM
from places import ROOT
from staged_cells import Biased, Reduced

from minirnn.cells import GRUBeforeCell, GRUCell, LSTMCell, ProjectedLSTMCell, ReluCell, TanhCell, join, sigmoid, split
from minirnn.core.graph import run
from minirnn.core.protocol import name_of, stages_of
from minirnn.core.symbolic import SymbolicError
from minirnn.core.tracing import facts_of, traced
from minirnn.kernels.facts import Operation, Place, Program, state_place
from minirnn.kernels.phases import phases_of
from minirnn.more_cells import LayerNormGRUCell, LayerNormLSTMCell
from minirnn.testing.own import cell_from

CELLS = [TanhCell, ReluCell, GRUCell, LSTMCell, PeepholeLSTM]
STAGED = [GRUBeforeCell, ProjectedLSTMCell(4)]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.__name__)
def test_the_operations_of_a_cell_give_its_numbers(cell: Any) -> None:
    facts, rng = traced(cell), np.random.default_rng(0)
    B, H = 4, 7
    p, q = rng.normal(size=(2, B, facts.gates * H))
    state, dstate = rng.normal(size=(2, facts.states, B, H))
    w = rng.normal(size=(len(facts.units), H))
    after, saved = cell.step(p, q, tuple(state), *w)
    sums = list(np.split(p + q, facts.gates, axis=1))
    (one,) = facts.stages
    if facts.bias:
        sums[-1] = p[:, -H:]
    memory = {Place("gates", k): a for k, a in enumerate(sums)} | {Place("u"): q[:, -H:]}
    memory |= {Place("w", k): a for k, a in enumerate(w)}
    memory |= {state_place(k, before=True): a for k, a in enumerate(state)}
    run(one.step, memory)
    for k, a in enumerate(after):
        np.testing.assert_allclose(memory[state_place(k, before=False)], a, rtol=1e-14)
    for place, a in zip(one.saved, saved, strict=True):
        np.testing.assert_allclose(memory[place], a, rtol=1e-14)
    dp, dq, dbefore, *dw = cell.unstep(tuple(dstate), saved, *w)
    places = [Place("dh"), *(Place("dc", k) for k in range(facts.states - 1))]
    memory |= dict(zip(places, dstate, strict=True))
    run(one.unstep, memory)
    gradients = [memory[Place("dp", k)] for k in range(facts.gates)]
    np.testing.assert_allclose(np.concatenate(gradients, axis=1), dp, rtol=1e-13)
    if facts.bias:
        np.testing.assert_allclose(memory[Place("dq")], dq[:, -H:], rtol=1e-13)
    for place, d in zip(places, dbefore, strict=True):
        np.testing.assert_allclose(memory[place], 0.0 if d is None else d, rtol=1e-13)
    assert len(dw) == len(facts.units)
    for k, d in enumerate(dw):
        np.testing.assert_allclose(memory[Place("dw", k)], d, rtol=1e-13)


def test_what_goes_from_stage_to_stage_has_a_place() -> None:
    reset, candidate = traced(GRUBeforeCell).stages
    assert (reset.operand, candidate.operand) == (Place("y", before=True), Place("a"))
    assert reset.saved == (Place("gates", 0), Place("gates", 1), Place("y", before=True))
    assert candidate.saved == (Place("gates", 2), Place("gates", 1), Place("y", before=True))  # z and h as they are
    assert [place for place, _ in candidate.step.results] == [Place("y"), Place("gates", 2)]


def test_a_state_that_no_later_stage_reads_goes_where_it_belongs_at_once() -> None:
    lstm, projection = traced(ProjectedLSTMCell(4)).stages
    assert Place("c") in [place for place, _ in lstm.step.results]
    assert projection.step.results == ()
    assert [place for place, _ in projection.narrow_unstep.results] == [Place("dq")]


@pytest.mark.parametrize("cell", STAGED, ids=name_of)
def test_stages_that_are_spoilt_are_seen_through(cell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each stage's functions are held against what was written down of them, the products between them drawn."""
    for stage in stages_of(cell):
        right = stage.unstep

        def wrong(dstate: Any, saved: Any, right: Any = right) -> Any:
            dp, dq, direct = right(dstate, saved)
            return dp, dq * (1 + 1e-6 * (dq.shape[0] == 3)), direct  # but of two rows of symbols

        with monkeypatch.context() as patch:
            patch.setattr(stage, "unstep", staticmethod(wrong))
            with pytest.raises(SymbolicError, match=r"computes more than|another gradient to p"):
                traced(cell)


def test_what_is_saved_needs_no_place_where_a_state_or_a_gate_has_one() -> None:
    assert traced(TanhCell).saved == {"h1": Place("y")}
    assert traced(TanhCell).in_place
    gru, lstm = traced(GRUCell), traced(LSTMCell)
    assert gru.saved == {
        **{name: Place("gates", k) for k, name in enumerate("rzn")},
        "u": Place("u"),
        "h": Place("y", 0, True),
    }
    assert gru.beside == ("u",)
    assert lstm.saved["c"] == Place("c", before=True)
    assert lstm.beside == ("c", "m")
    assert traced(PeepholeLSTM).saved["c1"] == Place("c")


def test_a_product_is_kept_apart_where_the_cell_needs_it_alone() -> None:
    gated = traced(cell_from(f"{ROOT}/examples/exercises/solutions/3_minimal_gated.py:MinimalGated"))
    assert (gated.apart, gated.bias, gated.beside) == (True, "", ("u",))
    assert (traced(GRUCell).apart, traced(GRUCell).bias) == (True, "bn")
    assert not traced(LSTMCell).apart


def test_a_result_waits_where_a_later_phase_reads_what_it_replaces() -> None:
    gate, other = Place("gates", 0), Place("m")
    operations = (
        Operation("load", (gate,)),
        Operation("tanh", (0,)),
        Operation("mean", (0,)),
        Operation("subtract", (0, 2)),
    )
    for replaced, waits in ((gate, True), (other, False)):
        first, last = phases_of(Program(operations, ((replaced, 1), (Place("m2"), 3))))
        assert (replaced, 1) in (last if waits else first).results
        assert (first.sums, last.sums) == ((2,), ())
    before, after = (state_place(0, before=before) for before in (True, False))  # which may be one memory
    operations = (Operation("load", (before,)), *operations[1:])
    first, last = phases_of(Program(operations, ((after, 1), (Place("m2"), 3))))
    assert (after, 1) in last.results


def test_equal_operations_are_one() -> None:
    step = traced(LSTMCell).stages[0].step.operations
    assert len(set(step)) == len(step)


def test_kernels_are_named_by_what_they_compute() -> None:
    class Other(TanhCell):
        """The same."""

    assert traced(Other).key.partition("-")[2] == traced(TanhCell).key.partition("-")[2]
    assert traced(ReluCell).key.partition("-")[2] != traced(TanhCell).key.partition("-")[2]


def cell(step: Any = None, unstep: Any = None, **attributes: Any) -> Any:
    """``TanhCell`` with another step or unstep."""
    methods = {name: staticmethod(f) for name, f in (("step", step), ("unstep", unstep)) if f}
    return type("Odd", (TanhCell,), methods | attributes)


def of_h1(f: Any) -> Any:
    """A step that returns a function of p + q."""

    def step(p: Any, q: Any, _: Any) -> Any:
        h1 = f(p + q)
        return (h1,), (h1,)

    return step


def of_two(first: Any) -> Any:
    """A cell of two gates: the product of their sums, of which the first is made by a function."""

    def step(p: Any, q: Any, _: Any) -> Any:
        (p1, p2), (q1, q2) = split(p, 2), split(q, 2)
        a, b = first(p1, q1), p2 + q2
        return (a * b,), (a, b)

    def unstep(dstate: Any, saved: Any) -> Any:
        (dh1,), (a, b) = dstate, saved
        dp = join(dh1 * b, dh1 * a)
        return dp, dp, (None,)

    return cell(step, unstep, gates=("a", "b"), saves=("a", "b"))


def of_gates(f: Any) -> Any:
    """A cell of two gates, whose first is a function of both."""

    def step(p: Any, q: Any, _: Any) -> Any:
        h1 = f(p + q)[:, : p.shape[1] // 2]
        return (h1,), (h1,)

    return cell(step, gates=("a", "b"))


REFUSED: dict[str, tuple[Any, str]] = {
    "reversed units": (cell(of_h1(lambda a: np.tanh(a[:, ::-1]))), "does not treat every row and unit alike"),
    "neighbours": (cell(of_h1(lambda a: a + a[:, ::-1])), "computes with several units at once"),
    "the batch's mean": (cell(of_h1(lambda a: a - a.mean(0))), "computes with several rows at once"),
    "the mean of some units": (
        of_gates(lambda a: a - a[:, 1:3].mean(-1, keepdims=True)),
        "takes a sum or mean of something else than all units",
    ),
    "the largest of all gates": (of_gates(lambda a: a - a.max(-1, keepdims=True)), "takes the maximum of two values"),
    "the sum of all numbers": (cell(of_h1(lambda a: a - a.sum())), "computes with several rows at once"),
    "a branch": (cell(of_h1(lambda a: a if a[0, 0] > 0 else -a)), "branches on a value"),
    "a function that kernels lack": (cell(of_h1(np.sin)), "uses np.sin, which kernels do not have"),
    "two values' maximum": (cell(of_h1(lambda a: np.maximum(a, 2 * a))), "takes the maximum of two values"),
    "numbers drawn": (cell(of_h1(lambda a: a * np.random.default_rng().normal())), "computes more than"),
    "the width": (cell(of_h1(lambda a: a / a.shape[1])), "computes more than"),
    "infinity": (cell(of_h1(lambda a: a * np.inf)), "computes with inf"),
    "two widths": (cell(output_size=3), "has an output_size, and not a second stage that is the product"),
    "a matrix between": (
        cell(stages=(TanhCell, *ProjectedLSTMCell.stages[1:], TanhCell)),
        "has a matrix of its own in another stage than the last",
    ),
}


@pytest.mark.parametrize(
    ("odd", "apart"),
    [
        (cell_from(f"{ROOT}/examples/exercises/solutions/3_minimal_gated.py:MinimalGated"), 1),
        (Reduced, 1),  # of one gate
        (of_two(lambda p, q: 2 * p + q), 2),  # the first of two: so the second as well
        (LayerNormLSTMCell, 4),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_of_gates_from_the_first_on_whose_product_is_needed_alone_it_is_kept_apart(odd: Any, apart: int) -> None:
    facts = traced(odd)
    assert (facts.apart, facts.bias, len(facts.arrays("u"))) == (apart, "", apart)


def test_biases_of_products_are_weights_of_units_but_for_the_last_gates() -> None:
    assert traced(Biased).units == ("ba", "w", "be")
    assert traced(cell(of_h1(np.tanh), recurrent_bias=("h",))).bias == "bh"
    assert traced(GRUCell).units == ()


def test_what_is_one_number_a_row_has_a_place_of_its_own() -> None:
    facts = traced(LayerNormGRUCell)
    assert [facts.saved[name] for name in ("s_p", "s_q")] == [Place("s"), Place("s2")]
    assert facts.whole_rows
    assert not traced(GRUCell).whole_rows


def test_a_program_is_done_in_as_many_ways_over_the_units_as_it_has_sums_of_sums() -> None:
    (stage,) = traced(LayerNormLSTMCell).stages
    step, unstep = phases_of(stage.step), phases_of(stage.unstep)
    assert [len(phase.sums) for phase in step] == [8, 8, 1, 1, 0]  # means, variances; those of c'
    assert [len(phase.units) > 0 for phase in step] == [True] * 5
    assert len(unstep) == 3
    places = [place for phase in step for place, _ in (*phase.results, *phase.row_results)]
    assert len(places) == len(set(places)) == len(traced(LayerNormLSTMCell).saved) + 1  # c is there, h' and c' are not


@pytest.mark.parametrize("name", REFUSED)
def test_what_kernels_cannot_compute_is_refused_in_words(name: str) -> None:
    odd, words = REFUSED[name]
    with pytest.raises(SymbolicError, match=words):
        traced(odd)
    assert facts_of(odd) is None


def test_functions_that_kernels_have_under_another_name() -> None:
    def f(a: Any) -> Any:
        return np.abs(a) + np.square(a) - a**2 + np.clip(a, -1, 0.5) + 1 / np.exp(a) + np.where(a > 0, a, 0.0)

    names = {one.name for one in traced(cell(of_h1(f))).stages[0].step.operations}
    assert names <= {
        "number",
        "load",
        "less",
        "greater",
        "negative",
        "where",
        "multiply",
        "add",
        "subtract",
        "divide",
        "exp",
        "maximum",
        "minimum",
    }


def test_facts_are_found_once_and_anew_where_a_function_was_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    before = facts_of(GRUCell)
    assert facts_of(GRUCell) is before
    monkeypatch.setattr(GRUCell, "unstep", staticmethod(lambda d, s: _half(GRUCell, d, s)))
    after = facts_of(GRUCell)
    assert after is not None
    assert before is not None
    assert after.key != before.key


_RIGHT = GRUCell.unstep


def _half(_: Any, dstate: Any, saved: Any) -> Any:
    dp, dq, (dh,) = _RIGHT(dstate, saved)
    return dp, dq, (dh * 0.5,)


def test_a_cell_written_with_the_helpers_of_cells_is_traced() -> None:
    def step(p: Any, q: Any, state: Any) -> Any:
        f, a = split(p + q, 2)
        f, n = sigmoid(f), np.tanh(a)
        return ((1 - f) * state[0] + f * n,), (f, n, state[0])

    def unstep(dstate: Any, saved: Any) -> Any:
        f, n, h = saved
        d = join(dstate[0] * (n - h) * f * (1 - f), dstate[0] * f * (1 - n * n))
        return d, d, (dstate[0] * (1 - f),)

    facts = traced(cell(step, unstep, gates=("f", "n"), saves=("f", "n", "h")))
    assert facts.saved == {"f": Place("gates", 0), "n": Place("gates", 1), "h": Place("y", before=True)}

"""The proof: of every cell there is, over time, and that it refutes what is wrong and nothing that is right."""

import ast
import inspect
import random
import textwrap
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from faults import FAULTS
from faults.fault import Fault
from places import ROOT
from students import planted_in
from tiers import marked_but, mostly_slow

from minirnn import cells
from minirnn.core.protocol import name_of, stages_of, units_of
from minirnn.layers import compose
from minirnn.more_cells import NAMED
from minirnn.recurrent import direction, networks, passes, plain
from minirnn.testing import ProofError, UndecidedError, prove
from minirnn.testing.own import cell_from
from minirnn.testing.proof import CELLS
from minirnn.testing.proof.bptt import holds, over_time
from minirnn.testing.proof.stages import places_of, transposed

SOLUTIONS = sorted((ROOT / "examples/exercises/solutions").glob("*.py"))
OTHERS = [ROOT / "examples/own_cell.py", *SOLUTIONS]
NAMES = ["PeepholeLSTM", "Elman", "Leaky", "MinimalGated", "FirstLSTM", "Coupled", "Normed"]
CONSISTENT = "consistently"  # a step that is another function, with its own right transpose: the oracle sees that


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_every_cell_is_proved(cell: Any) -> None:
    proof = prove(cell, num_steps=5, hidden_size=2)
    assert proof.error < -100
    assert "proved for all real numbers" in str(proof)


@pytest.mark.parametrize(("path", "name"), list(zip(OTHERS, NAMES, strict=True)), ids=NAMES)
def test_every_cell_of_the_examples_is_proved(path: Any, name: str) -> None:
    assert prove(cell_from(f"{path}:{name}"), num_steps=3, hidden_size=2).ok


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_every_cell_is_proved_over_more_steps(cell: Any) -> None:
    assert prove(cell, seed=1).ok


def planted(fault: Fault) -> ModuleType:
    """A module of the package with a fault in it."""
    source = (ROOT / "minirnn" / fault.file).read_text(encoding="utf-8")
    for old, new in fault.changes:
        source = source.replace(old, new)
    module = ModuleType("planted")
    exec(compile(source, fault.file, "exec"), module.__dict__)  # noqa: S102 - the package's own
    return module


def in_file(file: str) -> list[str]:
    return [name for name, fault in FAULTS.items() if fault.file == file]


OF_TIME = in_file("scan.py") + in_file("recurrent/plain.py")
SHOWN = (
    "off by one in dy",
    "direct path dropped",
    "reverse direction does not reverse",
    "dU: = for +=",
    "bidirectional: a mask not turned with the rows",
)


OF_CELLS = in_file("cells.py") + in_file("more_cells.py")


@pytest.mark.parametrize("name", marked_but(OF_CELLS[::6], OF_CELLS, "slow"))
def test_faults_of_the_cells_are_refuted(name: str) -> None:
    module = planted(FAULTS[name])
    every = [getattr(module, name_of(cell)) for cell in CELLS if module.__dict__.get(name_of(cell), cell) is not cell]
    every = [cell(3) if name_of(cell) == "ProjectedLSTMCell" else cell for cell in every]
    wrong = [place for cell in every for place in places_of(cell) if transposed(place, 0).wrong]
    assert bool(wrong) is (CONSISTENT not in name)


def mechanical() -> list[Any]:
    """Every usual mistake in every line of the transposes of the cells beyond the chapter's."""
    source = (ROOT / "minirnn/more_cells.py").read_text(encoding="utf-8")
    return [fault for name in NAMED for fault in planted_in(source, name)]


@pytest.mark.parametrize("count", [pytest.param(12, marks=pytest.mark.slow), pytest.param(60, marks=pytest.mark.long)])
def test_mechanical_faults_are_refuted_and_nearly_all_by_the_term_or_the_line(count: int, tmp_path: Path) -> None:
    faults = mechanical()
    chosen = [faults[k * len(faults) // count] for k in range(count)]
    refuted = named = 0
    for k, fault in enumerate(chosen):
        path = tmp_path / f"fault_{k}.py"
        path.write_text(fault.source, encoding="utf-8")
        proof = prove(cell_from(f"{path}:{fault.cell}"), num_steps=1, hidden_size=1, raises=False)
        refuted += not proof.ok
        unnamed = any(not wrong.terms for stage in proof.stages for wrong in stage.wrong)
        named += any(f"line {fault.lines[0]}, " in line for line in proof.lines) if unnamed else not proof.ok
    assert refuted == count
    assert named >= count * 11 // 12


@pytest.mark.parametrize(
    "name",
    marked_but(SHOWN, OF_TIME, "slow"),
)
def test_faults_of_time_are_refuted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = planted(FAULTS[name])
    if FAULTS[name].file == "scan.py":
        monkeypatch.setattr(plain, "Scan", module.Scan)
        monkeypatch.setattr(passes, "flip", module.flip)
        monkeypatch.setattr(compose, "flip", module.flip)
        monkeypatch.setattr(compose, "reversed_run", module.reversed_run)
    else:
        monkeypatch.setattr(direction, "PlainPass", module.PlainPass)
    every = (cells.GRUCell, cells.ProjectedLSTMCell(3), cell_from(f"{OTHERS[0]}:PeepholeLSTM"))
    assert not all(holds(cell, 5, 2, seed=0) for cell in every)


IN_SEGMENTS = tuple(
    f"segments: {words}"
    for words in (
        "a layer inside begins with the first one's states",
        "dropout between layers sends all back",
        "all from the first state",
        "each with the masks of the first",
        "lengths forgotten",
        "states' gradients stop",
        "without noise at first",
    )
)


@pytest.mark.parametrize("name", marked_but(IN_SEGMENTS[:1], IN_SEGMENTS, "slow"))
def test_faults_of_gradient_checkpointing_are_refuted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert FAULTS[name].file == "recurrent/checkpointing.py"
    module = planted(FAULTS[name])
    for user in (direction, networks):
        monkeypatch.setattr(user, "CheckpointedPass", module.CheckpointedPass)
    assert not holds(cells.LSTMCell, 5, 2, seed=0)


# ---------------------------------------------------------------------- rewritings


class Rewriting(ast.NodeTransformer):
    """Changes of expressions: right ones, or one that may be wrong."""

    def __init__(self, seed: int, *, right: bool) -> None:
        self.random, self.right, self.left = random.Random(seed), right, 1  # noqa: S311 - a seed of a test

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if self.random.random() > (0.5 if self.right else 0.15) or not (self.right or self.left):
            return node
        if self.right:
            return self.rewritten(node)
        self.left -= 1
        return self.random.choice((node.left, node.right, ast.BinOp(node.left, other(node.op), node.right)))

    def rewritten(self, node: ast.BinOp) -> ast.AST:
        a, b, op = node.left, node.right, node.op
        if isinstance(op, ast.Add):
            return ast.BinOp(b, op, a)
        if isinstance(op, ast.Sub):
            return ast.BinOp(ast.UnaryOp(ast.USub(), b), ast.Add(), a)
        if isinstance(op, ast.Mult) and isinstance(b, ast.BinOp) and isinstance(b.op, (ast.Add, ast.Sub)):
            return ast.BinOp(ast.BinOp(a, op, b.left), b.op, ast.BinOp(a, op, b.right))
        return ast.BinOp(b, op, a) if isinstance(op, ast.Mult) else node


def other(op: ast.operator) -> ast.operator:
    return ast.Mult() if isinstance(op, ast.Add) else ast.Add()


def rewritten(stage: Any, seed: int, *, right: bool) -> Any:
    """The stage with another ``unstep``."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(stage.unstep)))
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.decorator_list = []
    changed = ast.fix_missing_locations(Rewriting(seed, right=right).visit(tree))
    scope = dict(inspect.getmodule(stage).__dict__)
    exec(compile(changed, "rewritten", "exec"), scope)  # noqa: S102 - the package's own
    return type(stage.__name__, (stage,), {"unstep": staticmethod(scope["unstep"])})


STAGES = [place for cell in CELLS for place in places_of(cell)]


@pytest.mark.parametrize("seed", mostly_slow(range(20), 3))
def test_what_is_right_is_not_refused(seed: int) -> None:
    for place in STAGES:
        stage = rewritten(place.stage, seed, right=True)
        assert not transposed(replace(place, stage=stage), seed).wrong


@pytest.mark.parametrize("seed", mostly_slow(range(20), 2))
def test_what_computes_another_function_is_refuted(seed: int) -> None:
    """Whether it is another is decided at numbers, by the ``unstep`` that all other evidence holds."""
    for place in STAGES:
        stage, rng = rewritten(place.stage, seed, right=False), np.random.default_rng(seed)
        p, q = rng.normal(size=(1, len(place.stage.gates) * 3)), rng.normal(size=(1, place.product))
        units = rng.normal(size=(len(units_of(stage)), 3))
        out, saved = place.stage.step(p, q, tuple(rng.normal(size=(1, n)) for n in place.before.values()), *units)
        dout = tuple(rng.normal(size=a.shape) for a in out)
        try:
            a, b = (s.unstep(dout, saved, *units) for s in (place.stage, stage))
        except ValueError:  # what is left has no shape that could be joined
            continue
        same = all(
            np.allclose(0 if x is None else x, 0 if y is None else y, rtol=1e-9, atol=1e-12)
            for x, y in zip((a[0], a[1], *a[2], *a[3:]), (b[0], b[1], *b[2], *b[3:]), strict=True)
        )
        assert bool(transposed(replace(place, stage=stage), seed).wrong) is not same


# ---------------------------------------------------------------------- what it says


class Forgets(cells.LSTMCell):
    @staticmethod
    def unstep(dstate: Any, saved: Any) -> Any:
        dp, dq, _ = cells.LSTMCell.unstep(dstate, saved)
        return dp, dq, (None, dstate[1] * saved[1])  # dc without what comes through m


@pytest.mark.extras
def test_a_failure_names_the_missing_term() -> None:
    pytest.importorskip("sympy", reason="SymPy is not installed: pip install 'minirnn[prove]'")
    with pytest.raises(ProofError, match=r"dc lacks dh' f o \(1 - m²\)"):
        prove(Forgets)


def test_a_failure_names_the_gradient() -> None:
    with pytest.raises(ProofError, match="dc"):
        prove(Forgets)


class Capped(cells.TanhCell):
    """h' = a up to 4: few numbers come to the kink."""

    saves = ("a",)

    @staticmethod
    def step(p: Any, q: Any, state: Any) -> Any:
        a = p + q
        return (np.minimum(a, 4.0),), (a,)

    @staticmethod
    def unstep(dstate: Any, saved: Any) -> Any:
        (dh1,) = dstate
        da = np.where(saved[0] > 4.0, 0.0, dh1)
        return da, da, (None,)


class Uncapped(Capped):
    @staticmethod
    def unstep(dstate: Any, saved: Any) -> Any:
        return dstate[0], dstate[0], (None,)


def test_kinks_are_looked_at_from_every_side() -> None:
    assert prove(Capped, num_steps=3, hidden_size=2).stages[0].cases > 1
    with pytest.raises(ProofError):
        prove(Uncapped, num_steps=3, hidden_size=2)


class Otherwise(cells.TanhCell):
    """The logistic function by exp, its derivative by tanh; exp(2a) in one, exp(a)² in the other."""

    saves = ("a",)

    @staticmethod
    def step(p: Any, q: Any, state: Any) -> Any:
        a = p + q
        return (1 / (1 + np.exp(-a)) + np.exp(2 * a) + np.sin(a) + np.sqrt(1 + a * a) + np.log1p(np.exp(a)),), (a,)

    @staticmethod
    def unstep(dstate: Any, saved: Any) -> Any:
        (dh1,), (a,) = dstate, saved
        s, e = cells.sigmoid(a), np.exp(a)
        da = dh1 * (s * (1 - s) + 2 * e * e + np.cos(-a) + a / (1 + a**2) ** 0.5 + s)
        return da, da, (None,)


def test_relations_between_functions() -> None:
    place = next(places_of(Otherwise))
    assert not transposed(place, 0).wrong


@pytest.mark.parametrize("training", [True, False])
def test_an_output_that_has_no_gradient_is_compared(monkeypatch: pytest.MonkeyPatch, *, training: bool) -> None:
    class Shifted(plain.PlainPass):
        def _forward(self, *arguments: Any, **options: Any) -> Any:
            y, final = super()._forward(*arguments, **options)
            return y + (1.0 if self.run.training is training else 0.0), final

    monkeypatch.setattr(direction, "PlainPass", Shifted)
    word = "y" if training else "y in inference"
    assert any(word in result.wrong for result in over_time(cells.TanhCell, 2, 2, seed=0))


class Unknown(cells.TanhCell):
    @staticmethod
    def step(p: Any, q: Any, state: Any) -> Any:
        h1 = np.cbrt(p + q)
        return (h1,), (h1,)


def test_what_cannot_be_followed_is_said() -> None:
    with pytest.raises(UndecidedError, match=r"Unknown cannot be proved: it uses np\.cbrt,"):
        prove(Unknown)


def test_stages_have_names() -> None:
    assert [place.name for place in places_of(cells.GRUBeforeCell)] == [
        name_of(stage) for stage in stages_of(cells.GRUBeforeCell)
    ]

"""Models as Python that imports NumPy alone: the numbers of the model itself."""

import ast
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_cell import PeepholeLSTM
from source_models import (
    RECURRENT,
    TOLERANCE,
    Array,
    Case,
    Magnitude,
    at_limits,
    branched,
    drawn,
    expected,
    flat,
    rows,
    scattered,
    tolerance,
)
from staged_cells import ThreeStates

from minirnn import GRU, LSTM, Embedding, Linear, Sequential
from minirnn.formats import sources
from minirnn.language.model import LanguageModel
from minirnn.language.text import Vocabulary
from minirnn.layers import Bidirectional, Reverse
from minirnn.layers.activations import NAMES
from minirnn.layers.graph import LayerGraph
from minirnn.layers.wiring import Call, Entry
from minirnn.recurrent.networks import Recurrent


def module(case: Case, folder: Path) -> dict[str, Any]:
    path = folder / "network.py"
    sources.save(case.model, path, steps=case.steps)
    return runpy.run_path(str(path))


def answer(case: Case, folder: Path) -> Array:
    names = module(case, folder)
    y: Array = names["run"](names["State"](), case.x)
    assert y.dtype == np.float32
    return y


@pytest.mark.parametrize("name", RECURRENT)
def test_every_cell_gives_its_own_numbers(name: str, tmp_path: Path) -> None:
    model = RECURRENT[name](5, 19, 2).init(1, backend="numpy")
    scattered(model, 1)
    case = Case(model, rows(model, 25))
    np.testing.assert_allclose(answer(case, tmp_path), expected(case), rtol=TOLERANCE, atol=tolerance(case))


def test_directions_depth_and_mixed_states(tmp_path: Path) -> None:
    model = LSTM(4, 6, 2, bidirectional=True, zoneout=(0.3, 0.1), trainable_state=True).init(2, backend="numpy")
    scattered(model, 2)
    case = Case(model, rows(model, 12))
    np.testing.assert_allclose(answer(case, tmp_path), expected(case), rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("cell", [PeepholeLSTM, ThreeStates])
def test_a_readers_own_cell_goes_too(cell: Any, tmp_path: Path) -> None:
    model = Recurrent(cell, 3, 6).init(0, backend="numpy")
    case = Case(model, rows(model, 9))
    np.testing.assert_allclose(answer(case, tmp_path), expected(case), rtol=TOLERANCE, atol=TOLERANCE)


def test_a_readers_own_layer_goes_where_it_treats_each_step_alone(tmp_path: Path) -> None:
    model = Sequential(GRU(3, 8), Magnitude(4), Linear(4, 2)).init(0, backend="numpy")
    case = Case(model, rows(model, 9))
    np.testing.assert_allclose(answer(case, tmp_path), expected(case), rtol=TOLERANCE, atol=TOLERANCE)


def test_names_of_a_file_that_are_alike_here_are_kept_apart(tmp_path: Path) -> None:
    layers = {"a-b": GRU(3, 3), "a_b": GRU(3, 3), "a": Linear(3, 3), "*/": Linear(3, 2)}
    calls = [Call("h", "a-b", ["x"]), Call("k", "a_b", ["h"]), Call("l", "a", ["k"]), Call("y", "*/", ["l"])]
    model = LayerGraph([Entry("x", 3)], layers, calls, ["y"]).init(0, backend="numpy")
    case = Case(model, rows(model, 9))
    np.testing.assert_allclose(answer(case, tmp_path), expected(case), rtol=TOLERANCE, atol=TOLERANCE)


def test_indices_may_be_reversed(tmp_path: Path) -> None:
    model = Sequential(Bidirectional(Sequential(Embedding(7, 4), GRU(4, 3))), Reverse()).init(0, backend="numpy")
    case = Case(model, np.arange(6))
    np.testing.assert_allclose(answer(case, tmp_path), expected(case), rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_branches_meet_again(bidirectional: bool, tmp_path: Path) -> None:
    case = branched(bidirectional=bidirectional)
    np.testing.assert_allclose(answer(case, tmp_path), expected(case), rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("seed", range(20))
def test_drawn_models_give_their_own_numbers(seed: int, tmp_path: Path) -> None:
    case = drawn(seed)
    np.testing.assert_allclose(answer(case, tmp_path), expected(case), rtol=0, atol=tolerance(case))


def test_steps_that_must_be_so_many(tmp_path: Path) -> None:
    case = flat()
    names = module(case, tmp_path)
    np.testing.assert_allclose(names["run"](names["State"](), case.x), expected(case), rtol=0, atol=TOLERANCE)
    with pytest.raises(ValueError, match="at least 9 steps; got 8"):
        names["run"](names["State"](), case.x[:8])


@pytest.mark.parametrize("name", NAMES)
def test_functions_at_their_limits(name: str, tmp_path: Path) -> None:
    case = at_limits(name)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(answer(case, tmp_path), expected(case), rtol=TOLERANCE, atol=TOLERANCE)


def test_it_imports_numpy_alone_and_tests_itself(tmp_path: Path) -> None:
    case = Case(
        Sequential(Embedding(9, 4), LSTM(4, 5), Linear(5, 2)).init(0, backend="numpy").quantize("int8"), np.arange(9)
    )
    path = tmp_path / "network.py"
    sources.save(case.model, path)
    imports = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert [ast.unparse(one) for one in imports] == ["import numpy as np"]
    command = [sys.executable, "-W", "error", path.name]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout.partition(",")[0]) == (0, "the numbers of minirnn")
    path.write_text(path.read_text().replace("expected = np.array([", "expected = 1 + np.array(["))
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 1


def test_products_are_of_float32_whatever_the_model_rounds_them_to(tmp_path: Path) -> None:
    model = Sequential(LSTM(8, 16), Linear(16, 3)).init(0, backend="numpy", compute="bfloat16")
    case = Case(model, rows(model, 9))
    whole = Case(model.to(dtype="float64").to(dtype="float32"), case.x)
    np.testing.assert_allclose(answer(case, tmp_path), expected(whole), rtol=TOLERANCE, atol=TOLERANCE)
    with pytest.raises(SystemExit, match="False"):
        runpy.run_path(str(tmp_path / "network.py"), run_name="__main__")


def test_equations_have_the_names_of_the_cell(tmp_path: Path) -> None:
    path = tmp_path / "network.py"
    sources.save(LSTM(3, 4).init(0, backend="numpy"), path)
    text = path.read_text()
    assert "    i = 0.5 * tanh(0.5 * p[0:4]) + 0.5\n" in text
    assert "    g = tanh(p[8:12])\n" in text
    sources.save(GRU(3, 4).init(0, backend="numpy"), path)
    assert "    n = tanh(p[8:12] + r * q)\n" in path.read_text()


def test_a_hostile_vocabulary_stays_a_table_of_numbers(tmp_path: Path) -> None:
    vocab = Vocabulary(["\N{REPLACEMENT CHARACTER}", *"\"'\\*/?<\n\r\t\0\x1b\u2028\u2029\x7f\xa0é語😀\ud800`$&%{}"])
    names = module(Case(LanguageModel.build(vocab, hidden_size=8).init(0, backend="numpy"), np.arange(3)), tmp_path)
    assert (tmp_path / "network.py").read_bytes().isascii()
    assert names["decode"](range(len(vocab))) == "".join(vocab.symbols)
    assert names["encode"]("語Z\n") == vocab.encode("語Z\n").tolist()


def test_it_writes_what_the_model_writes(tmp_path: Path) -> None:
    vocab = Vocabulary(["\N{REPLACEMENT CHARACTER}", *"abcdef"])
    model = LanguageModel.build(vocab, hidden_size=16).init(3, backend="numpy")
    names = module(Case(model, np.arange(3)), tmp_path)
    assert names["write"]("abc", 30, temperature=0) == "abc" + "".join(model.generate("abc", 30, temperature=0))

"""Models as JavaScript: the numbers of NumPy in Node, and the bits of the C file."""

import json
import subprocess
from pathlib import Path
from typing import Any

import compilers
import numpy as np
import pytest
import source_models
from source_models import (
    RECURRENT,
    TOLERANCE,
    Array,
    Case,
    at_limits,
    branched,
    drawn,
    expected,
    flat,
    rows,
    scattered,
    tolerance,
)

from minirnn import LSTM, Activation, Embedding, Linear, Sequential
from minirnn.formats import sources
from minirnn.language.model import LanguageModel
from minirnn.language.text import Vocabulary

pytestmark = pytest.mark.extras  # Node

RUN = """\
import * as model from "./network.mjs";
import { readFileSync } from "node:fs";
const numbers = JSON.parse(readFileSync(0, "utf8"), (_, v) => ({ nan: NaN, inf: Infinity, "-inf": -Infinity })[v] ?? v);
const x = model.INDEX ? numbers : Float32Array.from(numbers);
const y = model.run(model.state(), x);
process.stdout.write(JSON.stringify([model.selfTest(), Buffer.from(y.buffer).toString("hex"), model.outputs]));
"""


def node(folder: Path, program: str, text: str = "") -> Any:
    (folder / "program.mjs").write_text(program, encoding="utf-8")
    command = [compilers.needed("node"), "program.mjs"]
    result = subprocess.run(command, cwd=folder, input=text, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


def answer(case: Case, folder: Path) -> Array:
    sources.save(case.model, folder / "network.js", steps=case.steps)
    (folder / "network.js").rename(folder / "network.mjs")
    index = case.x.dtype.kind in "iu"
    program = RUN.replace("model.INDEX", str(index).lower())
    plain = [v if np.isfinite(v) else str(v) for v in case.x.ravel().tolist()]
    same, numbers, outputs = json.loads(node(folder, program, json.dumps(plain)))
    assert same
    return np.frombuffer(bytes.fromhex(numbers), np.float32).reshape(-1, outputs)


@pytest.mark.parametrize("name", RECURRENT)
def test_every_cell_gives_numpys_numbers(name: str, tmp_path: Path) -> None:
    model = RECURRENT[name](5, 19, 2).init(1, backend="numpy")
    scattered(model, 1)
    case = Case(model, rows(model, 25))
    np.testing.assert_allclose(answer(case, tmp_path), expected(case), rtol=TOLERANCE, atol=tolerance(case))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_branches_meet_again(bidirectional: bool, tmp_path: Path) -> None:
    case = branched(bidirectional=bidirectional)
    np.testing.assert_allclose(answer(case, tmp_path), expected(case), rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("seed", range(20, 40))
def test_drawn_models_give_numpys_numbers(seed: int, tmp_path: Path) -> None:
    case = drawn(seed)
    np.testing.assert_allclose(answer(case, tmp_path), expected(case), rtol=0, atol=tolerance(case))


def test_it_has_the_bits_of_the_c_file(tmp_path: Path) -> None:
    model = Sequential(Embedding(30, 12), LSTM(12, 70), LSTM(70, 9, proj_size=3), Linear(3, 4), Activation("softmax"))
    for k, network in enumerate((model.init(0, backend="numpy"), model.quantize("int8"))):
        folder = tmp_path / str(k)
        folder.mkdir()
        case = Case(network, np.arange(30))
        sources.save(case.model, folder / "network.c")
        program = compilers.compiled(folder / "network.c", flags=("-O2", "-ffp-contract=off"))
        (y,) = compilers.run(program, case.x)
        assert y is not None
        assert y.tobytes() == answer(case, folder).tobytes()


def test_steps_that_must_be_so_many(tmp_path: Path) -> None:
    case = flat()
    np.testing.assert_allclose(answer(case, tmp_path), expected(case), rtol=0, atol=TOLERANCE)
    program = """
    import { run, state } from "./network.mjs";
    try { run(state(), new Float32Array(8 * 4)); } catch (error) { console.log(error.name); }
    """
    assert node(tmp_path, program) == "RangeError\n"


@pytest.mark.parametrize("name", source_models.WITH_EVERY_CALL)
def test_functions_at_their_limits(name: str, tmp_path: Path) -> None:
    case = at_limits(name)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(answer(case, tmp_path), expected(case), rtol=TOLERANCE, atol=TOLERANCE)


def test_the_self_test_fails_on_another_number(tmp_path: Path) -> None:
    answer(Case(LSTM(3, 4).init(0, backend="numpy"), rows(LSTM(3, 4), 3)), tmp_path)
    path = tmp_path / "network.mjs"
    path.write_text(path.read_text().replace("expected = Float32Array.of(", "expected = Float32Array.of(1 + "))
    assert node(tmp_path, 'import { selfTest } from "./network.mjs"; console.log(selfTest());') == "false\n"


HOSTILE = "\"'\\*/?<\n\r\t\0\x1b\u2028\u2029\x7f\xa0é語😀`$&%{}"


def test_a_hostile_vocabulary_stays_a_table_of_numbers(tmp_path: Path) -> None:
    vocab = Vocabulary(["\N{REPLACEMENT CHARACTER}", *HOSTILE])
    answer(Case(LanguageModel.build(vocab, hidden_size=8).init(0, backend="numpy"), np.arange(3)), tmp_path)
    assert (tmp_path / "network.mjs").read_bytes().isascii()
    program = """
    import { decode, encode, symbols } from "./network.mjs";
    process.stdout.write(JSON.stringify([decode(symbols.keys()), encode("語Z\\n"), symbols.length]));
    """
    text, indices, count = json.loads(node(tmp_path, program))
    assert (text, indices, count) == ("".join(vocab.symbols), vocab.encode("語Z\n").tolist(), len(vocab))


def test_it_writes_what_the_model_writes(tmp_path: Path) -> None:
    vocab = Vocabulary(["\N{REPLACEMENT CHARACTER}", *"abcdef"])
    model = LanguageModel.build(vocab, hidden_size=16).init(3, backend="numpy")
    answer(Case(model, np.arange(3)), tmp_path)
    program = 'import { write } from "./network.mjs"; console.log([...write("abc", 30, 0)].join(""));'
    assert node(tmp_path, program).strip() == "".join(model.generate("abc", 30, temperature=0))
    program = 'import { write } from "./network.mjs"; console.log([...write("abc", 300, 9)].join(""));'
    assert set(node(tmp_path, program).strip()) == set("abcdef")

"""Models as C99: the numbers of NumPy, by gcc with every warning an error and with sanitizers."""

import subprocess
from pathlib import Path
from typing import Any

import compilers
import numpy as np
import pytest
import source_models
from own_cell import PeepholeLSTM
from source_models import RECURRENT, TOLERANCE, Case, branched, drawn, expected, flat, rows, tolerance
from staged_cells import ThreeStates
from tiers import marked_but

from minirnn import GRU, LSTM, Embedding, Linear, Sequential
from minirnn.formats import sources
from minirnn.inference.quantize import STORED
from minirnn.language.model import LanguageModel
from minirnn.language.text import Vocabulary
from minirnn.layers import Bidirectional, Reverse
from minirnn.recurrent.networks import Recurrent

pytestmark = pytest.mark.extras  # gcc

CLEAN = ("-O1", *compilers.SANITIZERS)


def written(case: Case, folder: Path, name: str = "network") -> Path:
    path = folder / f"{name}.c"
    sources.save(case.model, path, steps=case.steps)
    return path


def close(y: Any, wanted: Any, within: float = TOLERANCE) -> None:
    assert y is not None
    np.testing.assert_allclose(y, wanted, rtol=within, atol=within)


@pytest.mark.parametrize("name", RECURRENT)
def test_every_cell_gives_numpys_numbers(name: str, tmp_path: Path) -> None:
    model = RECURRENT[name](5, 19, 2).init(1, backend="numpy")
    source_models.scattered(model, 1)
    case = Case(model, rows(model, 25))
    path = written(case, tmp_path)
    (y,) = compilers.run(compilers.compiled(path, flags=CLEAN), case.x)
    close(y, expected(case))


@pytest.mark.parametrize("cell", [PeepholeLSTM, ThreeStates])
def test_a_readers_own_cell_goes_too(cell: Any, tmp_path: Path) -> None:
    model = Recurrent(cell, 3, 6).init(0, backend="numpy")
    case = Case(model, rows(model, 9))
    (y,) = compilers.run(compilers.compiled(written(case, tmp_path), flags=CLEAN), case.x)
    close(y, expected(case))


def test_indices_may_be_reversed(tmp_path: Path) -> None:
    model = Sequential(Bidirectional(Sequential(Embedding(7, 4), GRU(4, 3))), Reverse()).init(0, backend="numpy")
    case = Case(model, np.arange(6))
    (y,) = compilers.run(compilers.compiled(written(case, tmp_path), flags=CLEAN), case.x)
    close(y, expected(case))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_branches_meet_again(bidirectional: bool, tmp_path: Path) -> None:
    case = branched(bidirectional=bidirectional)
    (y,) = compilers.run(compilers.compiled(written(case, tmp_path), flags=CLEAN), case.x)
    close(y, expected(case))


@pytest.mark.parametrize("seed", marked_but(range(4), range(8), "long"))
def test_drawn_models_give_numpys_numbers(seed: int, tmp_path: Path) -> None:
    case = drawn(seed)
    path = written(case, tmp_path)
    (y,) = compilers.run(compilers.compiled(path, flags=CLEAN), case.x)
    close(y, expected(case), tolerance(case))
    test = compilers.compiled(path, flags=CLEAN, test=True)
    assert subprocess.run([test], check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize("name", source_models.WITH_EVERY_CALL)
def test_functions_at_their_limits(name: str, tmp_path: Path) -> None:
    case = source_models.at_limits(name)
    path = tmp_path / "network.c"
    sources.save(case.model, path)
    (y,) = compilers.run(compilers.compiled(path, flags=CLEAN), case.x)
    with np.errstate(all="ignore"):
        wanted = expected(case)
    close(y, wanted)


@pytest.mark.parametrize("kind", STORED)
def test_a_quantised_model_gives_its_own_numbers(kind: str, tmp_path: Path) -> None:
    whole = Sequential(Embedding(30, 12), LSTM(12, 70, bidirectional=False), GRU(70, 9, 2), Linear(9, 4))
    case = Case(whole.init(0, backend="numpy").quantize(kind), np.arange(30))
    path = written(case, tmp_path)
    (y,) = compilers.run(compilers.compiled(path), case.x)
    close(y, expected(case))
    assert subprocess.run([compilers.compiled(path, test=True)], check=False, capture_output=True).returncode == 0
    assert ("int8_t" in path.read_text()) == (kind == "int8")


def test_a_sequence_may_come_in_pieces_and_step_by_step(tmp_path: Path) -> None:
    case = Case(LSTM(3, 5).init(0, backend="numpy"), rows(LSTM(3, 5), 12))
    program = compilers.compiled(written(case, tmp_path))
    whole = compilers.run(program, case.x)
    parts = compilers.run(program, case.x[:5], case.x[5:6], case.x[6:])
    joined = [np.concatenate([part for part in one if part is not None]) for one in (whole, parts)]
    assert np.array_equal(joined[0], joined[1])


def test_other_numbers_of_steps_are_refused(tmp_path: Path) -> None:
    case = flat()
    program = compilers.compiled(written(case, tmp_path), flags=CLEAN)
    y, short, long = compilers.run(program, case.x, case.x[:8], np.repeat(case.x, 2, axis=0))
    close(y, expected(case))
    assert short is None
    assert long is None


def test_products_and_equations_are_loops_over_vectors(tmp_path: Path) -> None:
    """What is not vectorised is several times slower: gcc says of which loops it is."""
    path = written(Case(LSTM(16, 16).init(0, backend="numpy"), rows(LSTM(16, 16), 1)), tmp_path)
    command = [compilers.needed("gcc"), "-std=c99", "-O3", "-c", path.name, "-fopt-info-vec-optimized"]
    notes = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stderr
    lines = path.read_text().splitlines()
    places = {int(note.split(":")[1]) for note in notes.splitlines() if "loop vectorized" in note}
    vectorised = "\n".join("\n".join(lines[line - 1 : line + 2]) for line in places)
    assert "network_tanh" in vectorised
    assert "a * W[j] + b * W[N + j]" in vectorised


HOSTILE = "\"'\\*/?<\n\r\t\0\x1b\u2028\u2029\x7f\xa0é語😀\ud800`$&%"


def test_a_vocabulary_stays_a_table_of_numbers(tmp_path: Path) -> None:
    vocab = Vocabulary(["\N{REPLACEMENT CHARACTER}", *HOSTILE])
    model = LanguageModel.build(vocab, hidden_size=8).init(0, backend="numpy")
    path = tmp_path / "text.c"
    sources.save(model, path)
    assert path.read_bytes().isascii()
    program = """\
#include "text.h"
#include <stdio.h>
int main(void) {
    char utf8[4];
    uint32_t seed = 7;
    float y[TEXT_OUTPUTS] = {0.0f, 1.0f, 9.0f};
    for (int k = 0; k < TEXT_SYMBOLS; k++) {
        if (text_encode(text_symbols[k]) != k) return 1;
        fwrite(utf8, 1, (size_t)text_decode(k, utf8), stdout);
    }
    if (text_encode(1000000) != 0 || text_draw(y, 0.0f, &seed) != 2 || text_draw(y, 0.01f, &seed) != 2) return 2;
    return 0;
}
"""
    (tmp_path / "main.c").write_text(program)
    command = [compilers.needed("gcc"), *compilers.WARNINGS, *CLEAN, "main.c", "text.c", "-o", "main", "-lm"]
    subprocess.run(command, cwd=tmp_path, check=True)
    out = subprocess.run([tmp_path / "main"], check=True, capture_output=True).stdout
    assert out.decode("utf-8", "surrogatepass") == "".join(vocab.symbols)


def test_the_self_test_fails_on_another_weight(tmp_path: Path) -> None:
    path = written(Case(GRU(3, 4).init(0, backend="numpy"), rows(GRU(3, 4), 2)), tmp_path)
    text = path.read_text()
    first = text.index("_U[") if "_U[" in text else text.index("_W[")
    at = text.index("{", first)
    end = text.index(",", at)
    path.write_text(f"{text[: at + 1]} 7.5f{text[end:]}")
    assert subprocess.run([compilers.compiled(path, test=True)], check=False, capture_output=True).returncode == 1

"""What a notebook shows: short words, HTML that is well formed, asks for nothing, and has users' text as text."""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from minirnn import (
    GRU,
    LSTM,
    SGD,
    Bidirectional,
    Embedding,
    LanguageModel,
    Linear,
    MultiHeadAttention,
    Sequential,
    Text,
)
from minirnn.cells import GRUCell
from minirnn.core.display import bar, frame, in_notebook, lines, table
from minirnn.explain import trace
from minirnn.explain.engine.scene import Scene
from minirnn.explain.page import Page
from minirnn.testing import check, check_gradients, prove
from minirnn.testing.courses.grading import grade
from minirnn.testing.own import cell_from, examine
from minirnn.training import Step, train
from minirnn.training.progress import MOST_POINTS, Progress, with_progress

ROOT = Path(__file__).resolve().parents[2]
EMPTY = {"rect", "polyline", "input", "br", "img"}
ASKING = re.compile(r"(?:src|href|action|poster|data)\s*=|url\(|@import|<link|<script|<img", re.IGNORECASE)


class Nested(HTMLParser):
    """The elements of some HTML, each closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.open += [tag] * (tag not in EMPTY)

    def handle_endtag(self, tag: str) -> None:
        if tag not in EMPTY:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def cells(self) -> list[str]:
        return [data.strip() for data in self.text if data.strip()]


def shown(one: Any) -> Nested:
    """What a notebook shows, which asks for nothing outside of a frame of its own."""
    html: str = one._repr_html_()
    assert not ASKING.search(re.sub(r' srcdoc="[^"]*"', "", html))
    return Nested(html)


def lm() -> LanguageModel:
    return LanguageModel.build(Text.from_string("abcab" * 40).vocab, hidden_size=5).init()


def test_a_model_is_a_table_of_its_layers() -> None:
    network = Sequential(Embedding(5, 4), Sequential(GRU(4, 6, num_layers=2), Linear(6, 3)), Linear(3, 2)).init()
    cells = shown(network).cells()
    for name, layer, size in (
        ("0", "Embedding(5, 4)", "20"),
        ("1.1", "Linear(6, 3)", "21"),
        ("2", "Linear(3, 2)", "8"),
    ):
        assert cells[cells.index(layer) - 1] == name
        assert cells[cells.index(layer) + 2] == size
    assert "0.W (4, 18)\n0.U (6, 18)\n0.b (18,)\n0.bn (6,)\n1.W (6, 18)\n1.U (6, 18)\n1.b (18,)\n1.bn (6,)" in cells
    total = sum(weight.size for _, weight in network.named_weights().items())
    assert cells[-1].startswith(f"{total:,} parameters, float32")
    assert repr(network).splitlines()[-1].strip() == cells[-1]


@pytest.mark.parametrize(
    "layer",
    [LSTM(2, 3), MultiHeadAttention(4, 2), Bidirectional(GRU(2, 3), GRU(2, 3))],
    ids=lambda one: type(one).__name__,
)
def test_no_weight_is_left_out_of_the_table(layer: Any) -> None:
    said = shown(layer).cells()
    assert sum(int(cell.replace(",", "")) for cell in said if re.fullmatch(r"[\d,]+", cell) and int(cell) > 1) == sum(
        np.prod(spec.shape) for spec in layer.all_specs().values()
    )
    assert said[-1].endswith("not allocated yet: init()")


def test_a_language_model_says_what_it_is_for() -> None:
    assert shown(lm()).cells()[0] == "LanguageModel of 3 symbols, task next"


def test_text_of_users_stays_text() -> None:
    attack = "</td></table><script>alert(1)</script>\"'&"
    for html in (table([attack], [[attack]], caption=attack, below=[attack]), lines([attack]), bar(0.5, attack)):
        assert attack in "".join(Nested(html).text)
        assert "<script" not in html
    found = Nested(frame(f"<p>{attack}</p>", attack, 100)).found
    assert found == [("iframe", {**found[0][1], "srcdoc": f"<p>{attack}</p>", "title": attack})]
    assert "<script" not in table(["a"], [[repr(trace(GRU(1, 1).init(), np.ones((1, 1, 1))))]])


def test_a_page_has_a_frame_that_reaches_nothing_around_it(tmp_path: Path) -> None:
    page = Page(Scene("hello <b>", hidden_size=2))
    (name, found), *more = shown(page).found
    assert (name, more, found["sandbox"]) == ("iframe", [], "allow-scripts")
    assert found["srcdoc"] == page.html
    page.write(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == page.html
    assert repr(page) == "<Page: gru 2, 8 steps>"


def test_a_trace_is_drawn_unrolled() -> None:
    rng = np.random.default_rng(0)
    found = trace(LSTM(2, 3, bidirectional=True).init(), rng.normal(size=(5, 2, 2)), rng.normal(size=(5, 2, 6)))
    assert (
        repr(found)
        == "<Trace: '0' LSTMCell 3, 5 steps of 2 rows, '0.reverse' LSTMCell 3, 5 steps of 2 rows, in reverse>"
    )
    drawn = shown(found)
    assert sum(tag == "svg" for tag, _ in drawn.found) == 2
    assert sum(tag == "rect" for tag, _ in drawn.found) == 2 * 5 * (2 * 3 + 2)  # units of h and dh, a frame, a bar
    walk = found["0"]
    fills = [dict(a)["fill"] or "" for tag, a in shown(walk).found if tag == "rect"]
    value = walk["h1"][0, 0, 1]
    largest = np.abs(walk["h1"][:, 0]).max()
    colour = "27,138,75" if value > 0 else "138,63,176"
    assert fills[1] == f"rgba({colour},{abs(value) / largest:.2f})"
    assert f"t = 0: ‖h‖ = {np.linalg.norm(walk['h1'][0, 0]):.4g}, ‖∂L/∂h‖ = {walk.norms[0, 0]:.4g}" in drawn.cells()
    assert repr(Scene("hello").trace()).startswith("<Take: GRUCell 8, 4 steps of 1 row, loss ")


def test_what_is_too_large_to_be_drawn_is_cut_and_said() -> None:
    said = shown(trace(GRU(1, 40).init(), np.ones((70, 2, 1)))).cells()[0]
    assert said.endswith("; shown: first 64 of 70 steps, first 1 of 2 rows, first 32 of 40 units")
    assert shown(trace(GRU(1, 2).init(), np.ones((2, 0, 1)))).cells()[0].endswith("2 steps of 0 rows")


def test_numbers_that_are_not_finite_are_drawn_as_such() -> None:
    layer = GRU(1, 2).init()
    with np.errstate(all="ignore"):
        found = trace(layer, np.ones((2, 1, 1)), np.full((2, 1, 2), np.nan))
        fills = [attributes.get("fill") for tag, attributes in shown(found).found if tag == "rect"]
    assert fills.count("#8885") == 4


def test_verdicts_and_proofs_are_short_and_in_words() -> None:
    good = examine(GRUCell, examples=3)
    assert repr(good) == "<Verdict: GRUCell, right>"
    assert str(good).startswith("GRUCell: unstep is the transpose of step, and every gradient")
    assert "largest error by complex step" in str(good)
    assert shown(good).cells() == [line.strip() for line in str(good).splitlines()]
    blank = examine(cell_from(str(ROOT / "examples/exercises/1_elman.py:Elman")))
    said = shown(blank).cells()
    assert said[0] == "Elman: some lines are not filled in yet"
    for finding in blank.findings:
        assert said[said.index(finding.source) - 1] == f"line {finding.line}"
    proof = prove(GRUCell, num_steps=2, hidden_size=1)
    assert repr(proof) == "<Proof: GRUCell, proved>"
    assert shown(proof).cells()[0] == str(proof).splitlines()[0]


def test_reports_and_grades_are_tables() -> None:
    report = check_gradients(GRU(2, 3).init(dtype="float64"), np.ones((2, 1, 2)))
    assert shown(report).cells()[7:] == [cell for row in report.rows for cell in (*row.cells, "right")]
    wrong = check(lambda x: 2 * x, lambda dy, _: -2 * dy, np.ones(2), raises=False)
    assert "WRONG" in shown(wrong).cells()
    assert repr(wrong).startswith("<FunctionReport: 1 rows, wrong: ")
    found = grade(ROOT / "examples/courses/rnn_layers_with_a_mistake.py")
    assert re.fullmatch(r"<Grade: .*mistake.py, \d of \d right>", repr(found))
    assert sum(tag == "tr" for tag, _ in shown(found).found) == 1 + len(found.results)


# ---------------------------------------------------------------------- training


def training(steps: int = 3) -> Any:
    text = Text.from_string("abcab" * 40)
    model = LanguageModel.build(text.vocab, hidden_size=5).init()
    return train(model, text, SGD(model.network, lr=0.5), steps=steps, epochs=9, batch_size=4, num_steps=5)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What an output has been, one after the other, in what looks like a notebook."""
    seen: list[str] = []

    def display(one: Any, *, display_id: bool) -> Any:
        assert display_id
        assert not seen, "one output is enough"
        seen.append(one._repr_html_())
        return SimpleNamespace(update=lambda again: seen.append(again._repr_html_()))

    shell = SimpleNamespace(kernel=None)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    return seen


def test_a_training_says_how_far_it_is() -> None:
    run = training()
    assert (run.planned, repr(run)) == (3, "<Training: step 0 of 3, epoch 0, SGD>")
    next(run)
    assert shown(run).cells()[0] == "Training: step 1 of 3, epoch 0"


def test_a_notebook_has_one_output_that_is_updated(notebook: list[str]) -> None:
    steps = list(with_progress(training(), every=0.0))
    assert [step.step for step in steps] == [1, 2, 3]
    assert len(notebook) == 1 + 3 + 1
    done = [dict(Nested(html).found[1][1])["value"] for html in notebook]
    assert done == ["0.0000", "0.3333", "0.6667", "1.0000", "1.0000"]
    assert f"step 3/3  loss {sum(step.loss for step in steps) / 3:.3f}" in notebook[-1]
    assert "polyline" in notebook[-1]


def test_whoever_stops_a_training_sees_where_it_stopped(notebook: list[str]) -> None:
    for step in with_progress(training(), every=1e9):
        if step.step == 2:
            break
    assert "step 2/3" in notebook[-1]


def test_elsewhere_one_line_is_written_and_on_a_terminal_it_is_written_over(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert in_notebook() is None
    list(with_progress(training(), every=0.0))
    said = capsys.readouterr().err
    assert said.startswith("step 3/3  loss ")
    assert said.count("\n") == 1
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    list(with_progress(training(), every=0.0))
    said = capsys.readouterr().err
    assert said.count("\r") == 4
    assert said.endswith("\n")


def test_a_curve_keeps_few_points_of_the_whole() -> None:
    progress = Progress(planned=1000)
    for k in range(1, 1001):
        progress.add(Step(k, 0, 1000.0 - k, 1.0, 0.1, 1, float(k)))
        progress.note()
    assert MOST_POINTS / 2 <= len(progress.curve) <= MOST_POINTS
    assert progress.curve == sorted(progress.curve, reverse=True)
    assert progress.curve[0] == 999.0
    assert progress.curve[-1] < 100

"""The book: its equations are the code's, its figures can be drawn, its reference is complete."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import check_links
import numpy as np
import pytest
import quoting
import typesetting

import minirnn.explain
import minirnn.testing
from minirnn import cells
from minirnn.core.protocol import stages_of
from minirnn.explain import equations_of

DOCS = Path(__file__).resolve().parents[2] / "docs"
CHAPTERS = sorted((DOCS / "book").glob("*.md"))
PAGES = sorted(DOCS.rglob("*.md"))
DERIVED = ("TanhCell", "ReluCell", "GRUCell", "GRUBeforeCell", "LSTMCell")
FENCED = re.compile(r"^```(\S+)(?: +(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
every_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)


def fenced(path: Path) -> list[tuple[str, str, str]]:
    """The fenced blocks of a page: language or directive, argument, lines."""
    return FENCED.findall(path.read_text(encoding="utf-8"))


# ---------------------------------------------------------------------- the equations are the code's


def values_of(rng: np.random.Generator, names: list[str]) -> dict[str, Any]:
    return {name: rng.normal(size=(2, 3)) + 1j * rng.normal(size=(2, 3)) for name in names}


def gathered(prefix: str, stage: Any, values: dict[str, Any]) -> Any:
    """A stage's p or q, or their gradients, from the names that a docstring has for their gates."""
    return values[prefix] if prefix in values else np.concatenate([values[f"{prefix}_{g}"] for g in stage.gates], -1)


@pytest.mark.parametrize("name", DERIVED)
def test_the_equations_are_what_the_code_computes(name: str) -> None:
    """Both halves of a docstring, evaluated on complex numbers, beside what step and unstep return for them."""
    cell, rng = getattr(cells, name), np.random.default_rng(0)
    lines = equations_of(cell)
    forward, backward = ([line.text for line in lines if line.backward is half] for half in (False, True))
    gates = [gate for stage in stages_of(cell) for gate in stage.gates]
    inputs = ["p", "q"] if len(gates) == 1 else [f"{letter}_{gate}" for gate in gates for letter in "pq"]
    values = typesetting.run(forward, values_of(rng, [*inputs, *cell.state]))
    flow, saved = tuple(values[s] for s in cell.state), []
    for stage in stages_of(cell):
        flow, kept = stage.step(gathered("p", stage, values), gathered("q", stage, values), flow)
        saved.append(kept)
    for state, got in zip(cell.state, flow, strict=True):
        np.testing.assert_allclose(got, values[f"{state}'"], rtol=1e-12)

    values |= values_of(rng, [f"d{s}'" for s in cell.state] + ["da"] * (len(stages_of(cell)) > 1))
    found = typesetting.run(backward, values)
    flow = tuple(values[f"d{s}'"] for s in cell.state)
    for k, stage in reversed(list(enumerate(stages_of(cell)))):
        dp, dq, flow = stage.unstep(flow, saved[k])
        np.testing.assert_allclose(dp, gathered("dp", stage, found), rtol=1e-12)
        dq_ = {**found, **{f"dq_{g}": found.get(f"dq_{g}", found.get(f"dp_{g}")) for g in stage.gates}}
        np.testing.assert_allclose(dq, gathered("dq", stage, dq_), rtol=1e-12)
        if k:
            flow = (values["da"], *flow[1:])  # through the second stage's product
    for state, direct in zip(cell.state, flow, strict=True):
        assert (direct is None) is (f"d{state}" not in found)
        if direct is not None:
            np.testing.assert_allclose(direct, found[f"d{state}"], rtol=1e-12)


@pytest.mark.parametrize("name", DERIVED)
def test_every_equation_has_its_number_in_the_code(name: str) -> None:
    for backward, method in ((False, "step"), (True, "unstep")):
        code, _ = quoting.code_of(name, method)
        numbers = {line.numbers[0] for line in equations_of(getattr(cells, name)) if line.backward is backward}
        assert numbers == {number for cited, _ in code for number in cited}
        assert all(quoting.shown(number, code) for number in numbers)


def test_what_is_no_equation_is_refused() -> None:
    for text in ("p +", "(p", "p ~ q", "p q)", "", "a where b"):
        with pytest.raises(ValueError, match=r"must be|expected"):
            typesetting.parsed(text)


# ---------------------------------------------------------------------- what a chapter shows


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(DOCS)))
def test_what_a_page_shows_of_the_code_is_there(page: Path) -> None:
    for kind, argument, body in fenced(page):
        if kind == "{equations}":
            assert quoting.equations_in(argument, body)
        elif kind == "{quoted}":
            assert quoting.quoted(argument, body) > 0


def test_what_is_not_in_the_code_is_not_shown() -> None:
    with pytest.raises(ValueError, match="all equations of TanhCell"):
        quoting.equations_in("TanhCell", "h' = tanh(p)    (2)\n")
    with pytest.raises(ValueError, match="word for word"):
        quoting.quoted("minirnn/scan.py", "dh = dq[t] U + direct\n")


@every_chapter
def test_a_chapter_proves_what_it_says(chapter: Path) -> None:
    """By code that ``docs/check_commands.py`` runs."""
    assert any("assert " in body for kind, _, body in fenced(chapter) if kind == "python")


# ---------------------------------------------------------------------- figures


def shown_figures() -> set[str]:
    text = "\n".join(path.read_text(encoding="utf-8") for path in CHAPTERS)
    return {Path(found).stem for found in re.findall(r"!\[[^\]]{20,}\]\((figures/[^)]+\.svg)\)", text)}


def test_every_figure_is_small_and_names_nothing_outside() -> None:
    figures = sorted((DOCS / "book/figures").glob("*.svg"))
    assert {path.stem for path in figures} == shown_figures()
    for path in figures:
        text = path.read_text(encoding="utf-8")
        assert path.stat().st_size < 80_000, path
        assert set(re.findall(r"https?://[^\"'\s]+", text)) <= {
            "http://www.w3.org/1999/xlink",
            "http://www.w3.org/2000/svg",
        }


@pytest.mark.extras
def test_the_script_draws_every_figure(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="figures are drawn by matplotlib: pip install 'minirnn[plot]'")
    import figures

    for path in figures.draw(tmp_path):
        drawn, kept = (ET.parse(folder / path.name).getroot() for folder in (tmp_path, DOCS / "book/figures"))  # noqa: S314
        words = [
            ["".join(text.itertext()) for text in tree.iter() if text.tag.endswith("}text")] for tree in (drawn, kept)
        ]
        assert words[0] == words[1], path.name  # the same labels: a drawing's numbers are not compared
    assert {path.stem for path in tmp_path.glob("*.svg")} == shown_figures()


# ---------------------------------------------------------------------- the reference, and links


def test_every_public_name_is_in_the_reference() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in (DOCS / "reference").glob("*.md"))
    for module in (minirnn, minirnn.testing, minirnn.explain):
        name = re.escape(module.__name__)
        described = re.findall(rf"^\.\. auto(?:class|function|exception):: {name}\.(\w+)$", text, re.MULTILINE)
        assert sorted(described) == sorted(module.__all__)


def test_a_built_book_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "style.css").write_text("a { color: red }", encoding="utf-8")
    (tmp_path / "one.html").write_text(
        '<link href="style.css"><h1 id="top">1</h1><a href="two.html#there">2</a><a href="https://arxiv.org/">3</a>',
        encoding="utf-8",
    )
    (tmp_path / "two.html").write_text(
        '<p id="there"><a href="one.html#top">1</a><a href="#">2</a></p>', encoding="utf-8"
    )
    assert check_links.main(tmp_path) == 0
    assert "2 pages, 4 links, 0 faults" in capsys.readouterr().out

    (tmp_path / "three.html").write_text(
        '<script src="https://cdn.example.org/a.js"></script><img src="//example.org/a.png"><img src="gone.png">'
        '<a href="one.html#gone">1</a><a href="none.html">2</a><a href="http://example.org">3</a><a href="https://x">4</a>',
        encoding="utf-8",
    )
    (tmp_path / "style.css").write_text("@font-face { src: url(https://fonts.example.org/a.woff2) }", encoding="utf-8")
    assert check_links.main(tmp_path) == 1
    out = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("three.html") for line in out) == 7
    assert "style.css fetches https://fonts.example.org/a.woff2 from elsewhere" in out


def test_a_folder_without_pages_is_no_book(tmp_path: Path) -> None:
    assert check_links.main(tmp_path) == 1

"""The site on whose pages Python runs: how it is made, what is refused, and how cells run and show themselves.

``docs/look_at_site.py`` runs it in Chromium.
"""

import hashlib
import json
import sys
import urllib.error
import zipfile
from pathlib import Path
from typing import Any

import make_site
import pytest
import running

from minirnn import RNN, Adam, LanguageModel, Text
from minirnn.training import train, with_progress

DOCS = Path(__file__).resolve().parents[2] / "docs"
MANY = (name.removesuffix(".html") for name in make_site.PAGES)
FOUND = [path for name in MANY for path in sorted(DOCS.glob(f"{name}.md"))]
PAGE = "<html><head><title>A page</title></head><body></body></html>"


class Telling:
    """Cells, and what they tell the page."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.cells = running.Cells(lambda message: self.told.append(json.loads(message)))

    def run(self, source: str, *, good: bool = True) -> list[dict[str, Any]]:
        """What one cell tells."""
        self.told.clear()
        assert self.cells.run("cell 1", source) is good
        return list(self.told)

    def written(self, source: str, *, good: bool = True) -> str:
        return "".join(message["text"] for message in self.run(source, good=good))


# ---------------------------------------------------------------------- cells


def test_cells_are_one_program_whose_last_values_are_shown() -> None:
    page = Telling()
    assert page.run("x = 6") == []
    assert page.run("print(x)\nx + 1\n# the end") == [
        {"kind": "text", "stream": "stdout", "text": "6"},
        {"kind": "text", "stream": "stdout", "text": "\n"},
        {"kind": "output", "key": 1, "text": "7"},
    ]
    assert page.run("import sys; print('no', end='', file=sys.stderr)") == [
        {"kind": "text", "stream": "stderr", "text": "no"}
    ]
    assert page.run("# nothing") == page.run("None") == []


def test_a_value_is_shown_in_its_html() -> None:
    page = Telling()
    (message,) = page.run("from minirnn import RNN\nRNN(2, 3)")
    assert message["html"] == RNN(2, 3)._repr_html_()


def test_a_mistake_is_shown_from_the_readers_line_on() -> None:
    page = Telling()
    page.run("def f():\n    return 1 / 0")
    text = page.written("f()", good=False)
    assert text.startswith("Traceback")
    assert text.count('File "') == 2
    assert text.rstrip().endswith("ZeroDivisionError: division by zero")
    for source, error in (("f(", "SyntaxError"), ("raise SystemExit(2)", "SystemExit: 2"), ("  x", "IndentationError")):
        text = page.written(source, good=False)
        assert error in text
        assert running.__file__ not in text
    assert page.run("f.__name__")[0]["text"] == "'f'"


def test_the_source_of_what_a_cell_defines_is_there() -> None:
    source = "def f():\n    return 7\n"
    assert Telling().written(f"{source}import inspect\nprint(inspect.getsource(f), end='')") == source


def test_progress_is_one_output_that_is_updated(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IPython", "IPython.display"):
        monkeypatch.setitem(sys.modules, name, None)
    page = Telling()
    page.cells.as_notebook()
    text = Text.from_string("to be or not to be " * 80)
    lm = LanguageModel.build(text.vocab, hidden_size=4).init(seed=0, backend="numpy")
    for _ in with_progress(train(lm, text, Adam(lm.network), steps=3), every=0):
        pass
    assert len(page.told) > 3
    assert {message["key"] for message in page.told} == {1}
    assert "step 3/3" in page.told[-1]["html"]


# ---------------------------------------------------------------------- the site


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A built book, a wheel, and two places that have Pyodide's files between them, all small."""
    book, places, wheel = tmp_path / "book", [tmp_path / "here", tmp_path / "there"], tmp_path / "minirnn.whl"
    for name in (
        "index.html",
        "notebooks/1_one.html",
        "book/1_two.html",
        "functions.html",
        "explain.html",
        "disputes.html",
    ):
        (book / name).parent.mkdir(parents=True, exist_ok=True)
        (book / name).write_text(PAGE, encoding="utf-8")
    files = {name: name.encode() for name in make_site.FILES}
    monkeypatch.setattr(make_site, "FILES", {name: hashlib.sha256(data).hexdigest() for name, data in files.items()})
    for place in places:
        place.mkdir()
    for k, (name, data) in enumerate(files.items()):
        (places[k % 2] / name).write_bytes(data)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("minirnn/__init__.py", "")
    return {"book": book, "site": tmp_path / "site", "places": list(map(str, places)), "wheel": wheel}


def test_a_site_carries_all_that_its_pages_ask_for(given: dict[str, Any]) -> None:
    for _ in range(2):  # it may be made again
        pages = make_site.make(**given)
    live = given["site"] / "_static/live"
    assert {path.name for path in (live / "pyodide").iterdir()} == {*make_site.FILES, "NOTICE.txt"}
    with zipfile.ZipFile(live / "minirnn.zip") as archive:
        assert {"minirnn/__init__.py", "pydoc_data/topics.py", "running.py"} <= set(archive.namelist())
    assert len(pages) == 5
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for name in ("page.js", "live.css"):
            (start,) = (part.rpartition('"')[2] for part in text.split(f"_static/live/{name}")[:-1])
            assert (page.parent / start / "_static/live" / name).is_file()
    assert (given["site"] / "index.html").read_text(encoding="utf-8") == PAGE


def test_a_file_that_is_not_pyodides_is_refused(given: dict[str, Any]) -> None:
    path = Path(given["places"][1]) / make_site.NUMPY
    path.write_bytes(b"spoilt")
    with pytest.raises(make_site.SiteError, match=f"{make_site.NUMPY} in .*there must have the SHA-256 .*; it has"):
        make_site.make(**given)
    path.unlink()
    with pytest.raises(make_site.SiteError, match=f"{make_site.NUMPY} must be in one of .*; it is in none"):
        make_site.make(**given)
    assert not given["site"].exists()


@pytest.mark.parametrize(("code", "words"), [(404, "it is in none"), (500, "HTTP Error 500"), (None, "timed out")])
def test_an_address_that_has_not_the_file_is_named(
    code: int | None, words: str, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(address: str, timeout: float) -> Any:
        assert address == f"https://example.org/{make_site.NUMPY}"
        raise urllib.error.HTTPError(address, code, "no", {}, None) if code else TimeoutError("timed out")  # type: ignore[arg-type] # no headers

    (Path(given["places"][1]) / make_site.NUMPY).unlink()
    monkeypatch.setattr(make_site, "urlopen", refused)
    with pytest.raises(make_site.SiteError, match=f"{make_site.NUMPY} must be in one of .*{words}"):
        make_site.make(**{**given, "places": [*given["places"], "https://example.org/"]})


def test_only_a_site_is_overwritten(given: dict[str, Any]) -> None:
    given["site"].mkdir()
    (given["site"] / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(make_site.SiteError, match="it is something else"):
        make_site.make(**given)
    assert [path.name for path in given["site"].iterdir()] == ["thesis.txt"]
    with pytest.raises(make_site.SiteError, match="outside of the book"):
        make_site.make(**{**given, "site": given["book"] / "site"})


def test_what_is_no_wheel_is_refused(given: dict[str, Any]) -> None:
    for path in (given["wheel"].with_name("gone.whl"), given["book"] / "index.html"):
        with pytest.raises(make_site.SiteError, match=f"{path.name} must be a wheel of minirnn"):
            make_site.make(**{**given, "wheel": path})
    assert not given["site"].exists()


def test_what_is_no_book_is_refused(given: dict[str, Any]) -> None:
    (given["book"] / "functions.html").write_text("words", encoding="utf-8")
    with pytest.raises(make_site.SiteError, match="it has no head"):
        make_site.make(**given)
    (given["book"] / "functions.html").unlink()
    with pytest.raises(make_site.SiteError, match=r"it has no functions\.html"):
        make_site.make(**given)
    assert not given["site"].exists()


def test_all_notebooks_and_chapters_are_among_the_pages() -> None:
    assert {*DOCS.glob("notebooks/[0-9]*.md"), *DOCS.glob("book/*.md")} <= set(FOUND)
    assert all("python\n" in path.read_text(encoding="utf-8") for path in FOUND)

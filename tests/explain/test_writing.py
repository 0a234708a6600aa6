"""A trained model in explain's page: when it is there, and that it writes what ``generate`` writes."""

import base64
import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from browser import Tab, chromium
from tiers import marked_but

from minirnn import GRU, Embedding, Linear, Recurrent, Sequential
from minirnn.cells import TanhCell
from minirnn.core.backend import Array
from minirnn.explain.engine.scene import Scene
from minirnn.explain.page import page_of, policy, write_page
from minirnn.explain.page.serve import Server
from minirnn.explain.page.story import tell
from minirnn.explain.page.writing import MOST_CHARACTERS, writer_of
from minirnn.formats import sources
from minirnn.language.model import LanguageModel
from minirnn.language.text import UNKNOWN, Vocabulary

TEXT = "to be or né 😀 to<b>"
VOCAB = Vocabulary.of(TEXT.replace("r", "") + "\n&\"'\u2028xyz")  # r is a character that it has never seen
SIZES = {"wide": (1400, 1000), "low": (1400, 600), "narrow": (360, 740)}
LOOKS = [(size, scheme) for size in SIZES for scheme in ("light", "dark")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


def drawn(cell: str = "gru", **words: Any) -> LanguageModel:
    """A model whose weights are large, so that it writes more than one character."""
    model = LanguageModel.build(VOCAB, cell=cell, **({"hidden_size": 12} | words)).init(1, backend="numpy")
    rng = np.random.default_rng(1)
    for weight in model.network.named_weights().values():
        weight[...] = rng.normal(0, 2, weight.shape)
    return model


def built(*layers: Any, dtype: str = "float32") -> LanguageModel:
    network = Sequential(*layers, Linear(6, len(VOCAB))).init(2, backend="numpy", dtype=dtype)
    return LanguageModel(network, VOCAB)


class Branching(TanhCell):
    """A cell that symbols cannot follow: it looks at its numbers."""

    @staticmethod
    def step(p: Array, q: Array, state: Any) -> Any:
        return TanhCell.step(p if np.abs(p).max() >= 0 else -p, q, state)


ABSENT: dict[str, Callable[[], LanguageModel]] = {
    "float64": lambda: built(GRU(len(VOCAB), 6), dtype="float64"),
    "a mask": lambda: built(Embedding(len(VOCAB), 3, mask=1), GRU(3, 6)),
    "a cell that symbols cannot follow": lambda: built(Recurrent(Branching, len(VOCAB), 6)),
    "many weights": lambda: drawn(embedding_size=3_000),
}


@pytest.mark.parametrize("name", ["a fresh network", *ABSENT])
def test_a_model_that_a_page_cannot_carry_is_not_in_it(name: str, tmp_path: Path) -> None:
    scene = Scene.of_model(ABSENT[name](), TEXT) if name in ABSENT else Scene(TEXT, hidden_size=3)
    write_page(tmp_path / "page.html", scene)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page == page_of(tell(scene))
    assert re.findall(r"<script[^>]*>", page) == ['<script type="application/json" id="story">', "<script>"]
    assert 'id="writing"' not in page


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm", "peephole"])
def test_a_page_has_the_module_that_convert_writes(cell: str, tmp_path: Path) -> None:
    lm = drawn(cell, embedding_size=5, num_layers=2)
    sources.save(lm, tmp_path / "model.js")
    write_page(tmp_path / "page.html", Scene.of_model(lm, TEXT, scale=2.0))
    module = (tmp_path / "model.js").read_text(encoding="utf-8")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count(f'<script type="module">\n{module}document.dispatchEvent(') == 1
    assert len(re.findall(r"</script", page)) == 3
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")


def test_its_policy_lets_this_module_run_and_nothing_else() -> None:
    writer = writer_of(Scene.of_model(drawn(), TEXT))
    digest = base64.b64encode(hashlib.sha256(writer.encode()).digest()).decode()
    for served in (False, True):
        rules, usual = policy(served=served, writer=writer), policy(served=served)
        assert rules.replace(f" 'sha256-{digest}'", "") == usual
        assert rules != usual
        assert f'<script type="module">{writer}</script>' in page_of(tell(Scene(TEXT)), served=served, writer=writer)


def test_a_page_grows_by_no_more_than_is_allowed() -> None:
    small, large = drawn(embedding_size=1_400), drawn(embedding_size=1_440)
    assert 0.9 * MOST_CHARACTERS < len(writer_of(Scene.of_model(small, TEXT))) <= MOST_CHARACTERS + 200
    assert writer_of(Scene.of_model(large, TEXT)) == ""


# ---------------------------------------------------------------------- in Chromium


def write(tab: Tab, count: int, temperature: float = 0) -> str:
    """Let the page write, and return the whole text."""
    if tab.page.locator("#writing details").get_attribute("open") is None:
        tab.page.click("#writing summary")
    tab.page.locator("#writing [name=temperature]").fill(str(temperature))
    tab.page.locator("#writing [name=count]").fill(str(count))
    tab.page.get_by_role("button", name="Write").click()
    return shown(tab)


def shown(tab: Tab) -> str:
    tab.page.wait_for_selector("#text[aria-busy=false]")
    found: str = tab.page.locator("#text").text_content()
    return found


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_it_writes_what_generate_writes_from_what_was_read(cell: str, browser: Any, tmp_path: Path) -> None:
    lm = drawn(cell)
    write_page(tmp_path / "page.html", Scene.of_model(lm, TEXT, scale=1.5))
    tab = Tab(browser, f"{(tmp_path / 'page.html').as_uri()}#forward-0-1")
    T, texts = len(TEXT) - 1, set()
    for moment, read in (("forward-0-1", 1), ("forward-12-2", 13), ("loss-1", T), ("backward-3-4", T), ("clip-1", T)):
        tab.page.goto(f"{tab.address.partition('#')[0]}#{moment}")
        said, text = tab.said(), write(tab, 80)
        assert text == TEXT[:read] + "".join(lm.generate(TEXT[:read], 80, temperature=0))
        assert len(set(text[read:])) > 2
        assert tab.said() == said
        texts.add(text)
    assert len(texts) == 3
    drawn_text = write(tab, 300, 1.5)
    assert len(drawn_text) == T + 300
    assert set(drawn_text[T:]) <= set(lm.vocab.symbols) - {UNKNOWN}
    assert drawn_text != write(tab, 300, 1.5)
    tab.close()


def test_the_keyboard_alone_will_do(browser: Any, tmp_path: Path) -> None:
    lm = drawn()
    write_page(tmp_path / "page.html", Scene.of_model(lm, TEXT))
    tab = Tab(browser, f"{(tmp_path / 'page.html').as_uri()}#forward-3-1")
    reached = "document.activeElement.name || document.activeElement.id || document.activeElement.tagName"

    def go(name: str) -> None:
        for _ in range(12):
            tab.press("Tab")
            if tab.page.evaluate(reached) == name:
                return
        raise AssertionError(f"{name} was not reached")

    said = tab.said()
    go("SUMMARY")
    tab.press(" ")
    go("temperature")
    tab.press("Home")
    assert tab.page.locator("#writing output").text_content() == "0"
    go("count")
    tab.press("Enter")
    assert shown(tab) == TEXT[:4] + "".join(lm.generate(TEXT[:4], 200, temperature=0))
    go("BUTTON")
    tab.press(" ")
    assert len(shown(tab)) == 204
    go("text")  # which scrolls
    assert tab.said() == said  # the keys were those of the fields
    tab.press("PageDown")
    assert tab.said() != said
    tab.close()


@pytest.mark.parametrize("look", marked_but([("narrow", "dark")], LOOKS, "long", "-".join))
def test_axe_finds_nothing_in_it(look: tuple[str, str], browser: Any, tmp_path: Path) -> None:
    size, scheme = look
    width, height = SIZES[size]
    write_page(tmp_path / "page.html", Scene.of_model(drawn(), TEXT))
    tab = Tab(browser, f"{(tmp_path / 'page.html').as_uri()}#forward-2-1", width, height, color_scheme=scheme)
    assert tab.violations() == []
    assert len(write(tab, 1_000)) == 1_003
    assert tab.violations() == []
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.page.evaluate("document.querySelector('#text').clientHeight") < 120
    tab.close()


def test_a_served_page_writes_on_from_the_text_as_it_is_now(browser: Any) -> None:
    lm = drawn()
    with Server(Scene.of_model(lm, TEXT)) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            tab = Tab(browser, server.address)
            assert write(tab, 40) == "t" + "".join(lm.generate("t", 40, temperature=0))
            tab.page.locator("#controls [name=text]").fill("né to be")
            tab.page.wait_for_function("() => document.querySelectorAll('.step').length === 7")
            assert write(tab, 40) == "n" + "".join(lm.generate("n", 40, temperature=0))
            tab.close()
        finally:
            server.shutdown()
            thread.join()


def test_a_browser_that_computes_other_numbers_is_not_let_write(browser: Any, tmp_path: Path) -> None:
    scene, path = Scene.of_model(drawn(), TEXT), tmp_path / "page.html"
    other = writer_of(scene).replace("f(e / f(e + 2))", "f(e / f(e + 3))")
    path.write_text(page_of(tell(scene), writer=other), encoding="utf-8")
    tab = Tab(browser, path.as_uri())
    tab.page.click("#writing summary")
    assert tab.page.locator("#text").text_content().startswith("This browser computes other numbers than minirnn")
    assert tab.count("#writing form") == 0
    tab.close()

"""Displays in a browser: drawn as they should be, each frame by itself, nothing asked for, nothing complained about."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Tab, chromium

from minirnn import GRU, SGD, LanguageModel, Text
from minirnn.explain import trace
from minirnn.explain.engine.scene import Scene
from minirnn.explain.page import Page
from minirnn.testing import check_gradients
from minirnn.training import train
from minirnn.training.progress import Progress


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


def opened(browser: Any, folder: Path, *shown: Any) -> Tab:
    """A page that has what a notebook would show, one below the other."""
    outputs = "".join(f"<div class=output>{one._repr_html_()}</div>" for one in shown)
    path = folder / "notebook.html"
    path.write_text(
        f'<!doctype html><html lang="en"><title>Outputs</title><main><h1>Outputs</h1>{outputs}', encoding="utf-8"
    )
    return Tab(browser, path.as_uri())


def test_the_page_of_explain_runs_in_its_frame_and_reaches_nothing_around_it(browser: Any, tmp_path: Path) -> None:
    tab = opened(
        browser, tmp_path, Page(Scene("hello", hidden_size=3)), Page(Scene("world", cell="lstm", hidden_size=2))
    )
    first, second = (frame for frame in tab.page.frames if frame != tab.page.main_frame)
    for frame in (first, second):
        assert frame.locator("#said").inner_text().startswith("Forward, step 1 of 4")
        frame.locator("#on").click()
        assert "equation (b)" in frame.locator("#said").inner_text()
    for _ in range(3):
        first.locator("#step-on").click()
    first.locator("#last").click()
    tab.page.wait_for_timeout(300)  # a page with an address of its own notes its moment in it after 200 ms
    assert first.locator("#said").inner_text().startswith("The clip")
    assert second.locator("#said").inner_text().startswith("Forward, step 1")
    assert first.evaluate("window.origin") == "null"
    assert (
        first.evaluate("(() => { try { return parent.document.title; } catch { return 'refused'; } })()") == "refused"
    )
    tab.close()


def test_tables_and_pictures_are_as_large_as_they_say_and_can_be_read_aloud(browser: Any, tmp_path: Path) -> None:
    layer = GRU(2, 6, bidirectional=True).init(dtype="float64")
    x = np.random.default_rng(0).normal(size=(5, 1, 2))
    text = Text.from_string("abcab" * 40)
    lm = LanguageModel.build(text.vocab, hidden_size=5).init()
    run = train(lm, text, SGD(lm.network, lr=0.5), steps=3, batch_size=4, num_steps=5)
    progress = Progress(planned=3)
    for step in run:
        progress.add(step)
        progress.note()
    shown = (layer, lm, check_gradients(layer, x), trace(layer, x, np.ones((5, 1, 12))), run, progress)
    tab = opened(browser, tmp_path, *shown)
    heights = tab.page.evaluate(
        "[...document.querySelectorAll('.output')].map((e) => e.getBoundingClientRect().height)"
    )
    assert len(heights) == len(shown)
    assert min(heights) > 15
    boxes = tab.page.evaluate("[...document.querySelectorAll('svg rect')].map((e) => e.getBoundingClientRect().width)")
    assert len(boxes) == 2 * 5 * (2 * 6 + 2)
    assert {round(width) for width in boxes} == {13, 26}
    assert tab.page.evaluate("document.querySelector('progress').position") == 1
    assert tab.violations() == []
    tab.close()

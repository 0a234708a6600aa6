"""A page that writes text, and modules, in Chromium: without a request, the numbers of NumPy."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Tab, chromium
from click.testing import CliRunner
from source_models import drawn, expected, tolerance

from minirnn import GRU, Sequential
from minirnn.cli import main
from minirnn.formats import sources
from minirnn.language.model import LanguageModel
from minirnn.language.text import Vocabulary

LETTERS = "\n !'(),-.0123456789:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz<>&\"\\`${}*/\u2028é😀"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


def writer(hidden_size: int, embedding_size: int) -> LanguageModel:
    """As large as what ``minirnn train`` makes."""
    vocab = Vocabulary(["\N{REPLACEMENT CHARACTER}", *LETTERS])
    build = LanguageModel.build(vocab, hidden_size=hidden_size, embedding_size=embedding_size)
    return build.init(3, backend="numpy")


def quantized(model: LanguageModel) -> LanguageModel:
    return LanguageModel(model.network.quantize("int8"), model.vocab, model.task)


def test_a_page_is_for_character_models_alone(tmp_path: Path) -> None:
    network = Sequential(GRU(3, 4)).init(0, backend="numpy")
    filler = LanguageModel.build(Vocabulary(["\N{REPLACEMENT CHARACTER}", "a"]), task="fill", hidden_size=4)
    for model in (network, filler.init(0, backend="numpy")):
        with pytest.raises(ValueError, match="a page writes text: it takes a character model for the task next"):
            sources.save(model, tmp_path / "a.html")
    assert list(tmp_path.iterdir()) == []


def test_a_page_is_one_small_file_whose_script_nothing_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    sources.save(quantized(writer(256, 64)), path)
    assert path.stat().st_size < 400_000
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"</?script[^>]*>", text) == ['<script type="module">', "</script>"]
    assert "<!--" not in text
    assert "http" not in text.replace("http-equiv", "")


def test_what_train_makes_writes_in_a_page_of_less_than_400_kb(browser: Any, tmp_path: Path) -> None:
    """The sizes and the text that ``minirnn train`` takes where nothing is said."""
    model, page = tmp_path / "model.safetensors", tmp_path / "model.html"
    for arguments in (["train", "--steps", "2", "--out", model], ["convert", model, page, "--quantize", "int8"]):
        result = CliRunner().invoke(main, list(map(str, arguments)))
        assert result.exit_code == 0, result.output
    assert page.stat().st_size < 400_000
    tab = Tab(browser, page.as_uri())
    tab.page.wait_for_selector("body[data-done=true]", timeout=60_000)
    assert tab.page.locator("#test").inner_text() == "Self-test: the numbers of minirnn."
    assert len(tab.page.locator("#text").text_content()) == len("The ") + 400
    assert tab.requests == [page.as_uri()]
    tab.close()  # which finds complaints


def test_a_page_writes_what_the_model_writes_and_asks_for_nothing(browser: Any, tmp_path: Path) -> None:
    model, path = quantized(writer(64, 16)), tmp_path / "a.html"
    sources.save(model, path)
    tab = Tab(browser, path.as_uri())
    tab.page.wait_for_selector("body[data-done=true]", timeout=60_000)
    assert tab.page.locator("#test").inner_text() == "Self-test: the numbers of minirnn."
    assert len(tab.page.locator("#text").text_content()) >= 400
    tab.page.locator("#prompt").fill("Say ")
    tab.page.locator("#length").fill("60")
    tab.page.locator("#temperature").fill("0")
    tab.page.evaluate("delete document.body.dataset.done")
    tab.page.locator("button").click()
    tab.page.wait_for_selector("body[data-done=true]", timeout=60_000)
    plain = LanguageModel(model.network.to(backend="numpy"), model.vocab)
    assert tab.page.locator("#text").text_content() == "Say " + "".join(plain.generate("Say ", 60, temperature=0))
    assert tab.violations() == []
    tab.close()


@pytest.mark.parametrize("seed", range(60, 66))
def test_modules_give_numpys_numbers_in_chromium(browser: Any, seed: int, tmp_path: Path) -> None:
    case, path = drawn(seed), tmp_path / "network.js"
    sources.save(case.model, path, steps=case.steps)
    x = json.dumps(case.x.ravel().tolist())
    made = x if case.x.dtype.kind in "iu" else f"Float32Array.from({x})"
    script = f"{path.read_text(encoding='utf-8')}\nwindow.answer = [selfTest(), [...run(state(), {made})]];"
    page = tmp_path / "page.html"
    page.write_text(f'<meta charset="utf-8"><link rel="icon" href="data:,"><script type="module">{script}</script>')
    tab = Tab(browser, page.as_uri())
    same, y = tab.page.wait_for_function("window.answer").json_value()
    assert same
    np.testing.assert_allclose(np.reshape(y, expected(case).shape), expected(case), rtol=0, atol=tolerance(case))
    tab.close()

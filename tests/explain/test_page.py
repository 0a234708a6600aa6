"""Explain's page in a browser: every number at every moment is the trace's, and everyone can use it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Number, Tab, check_text, chromium
from page_oracle import Oracle, check_moment, check_order
from tiers import marked_but

from minirnn.explain.engine.scene import CELLS, Scene
from minirnn.explain.page import page_of
from minirnn.explain.page.story import tell

TEXT = "abcabd"
T = len(TEXT) - 1
SIZES = {"wide": (1400, 1000), "low": (1400, 600), "narrow": (360, 740)}
LOOKS = [(size, scheme) for size in SIZES for scheme in ("light", "dark")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


def written(path: Path, story: dict[str, Any]) -> str:
    path.write_text(page_of(story), encoding="utf-8")
    return path.as_uri()


def scene_of(cell: str = "gru", **words: Any) -> Scene:
    usual: dict[str, Any] = {"text": TEXT, "hidden_size": 3, "seed": 5, "scale": 1.2, "clip": 0.1}
    return Scene(**usual | words, cell=cell)


# ---------------------------------------------------------------------- numbers


@pytest.mark.parametrize("cell", marked_but(["gru before"], CELLS, "long"))
def test_every_number_at_every_moment_is_the_traces(cell: str, browser: Any, tmp_path: Path) -> None:
    """Forward by the right arrow to the last moment, and back by the left one."""
    scene = scene_of(cell)
    oracle, tab = Oracle(scene.trace()), Tab(browser, written(tmp_path / "page.html", tell(scene)))
    tab.page.click("summary")  # the table of the steps
    tab.press("Home")
    ahead: list[tuple[str, list[Number]]] = []
    while not ahead or ahead[-1][0] != tab.said():
        ahead.append((tab.said(), tab.numbers()))
        oracle.check(ahead[-1][1])
        tab.press("ArrowRight")
    back: list[tuple[str, list[Number]]] = []
    while not back or back[-1][0] != tab.said():
        back.append((tab.said(), tab.numbers()))
        tab.press("ArrowLeft")
    assert back[::-1] == ahead
    check_order(oracle, [said for said, _ in ahead])
    for said, numbers in ahead:
        check_moment(oracle, said, numbers)
    tab.close()


def test_a_number_in_anothers_place_is_seen(browser: Any, tmp_path: Path) -> None:
    """The check above fails when two numbers of the story are swapped, or one is shown wrongly."""
    scene = scene_of()
    oracle = Oracle(scene.trace())
    for key in ("da_n", "p_r", "next.dh"):
        story = tell(scene)
        values = story["values"][key]
        values[2][0], values[2][1] = values[2][1], values[2][0]
        tab = Tab(browser, f"{written(tmp_path / 'page.html', story)}#backward-2-9")
        with pytest.raises(AssertionError):
            oracle.check(tab.numbers())
        tab.close()
    story = tell(scene)
    story["sums"][1]["frames"][2][0][1] *= 1 + 1e-9
    tab = Tab(browser, f"{written(tmp_path / 'page.html', story)}#backward-1-9")
    tab.page.get_by_role("radio", name="r").check()
    with pytest.raises(AssertionError):
        oracle.check(tab.numbers())
    tab.close()
    for text in ("0.123", "1.3e-4", "1.20e-4"):
        with pytest.raises(AssertionError):
            check_text(Number("", {}, -0.00012, text))


def test_every_gate_shows_its_own_columns(browser: Any, tmp_path: Path) -> None:
    scene = scene_of("lstm")
    oracle, tab = Oracle(scene.trace()), Tab(browser, f"{written(tmp_path / 'page.html', tell(scene))}#clip-1")
    for k, gate in enumerate("ifgo"):
        tab.page.get_by_role("radio", name=gate).check()
        numbers = tab.numbers()
        oracle.check(numbers)
        assert {int(n.of["column"]) // 3 for n in numbers if "weight" in n.of} == {k}
    tab.close()


def test_numbers_of_any_size_are_written_so_that_they_can_be_read(browser: Any, tmp_path: Path) -> None:
    values = [
        0.0,
        -0.0,
        1e-300,
        -1e300,
        999.4999,
        999.96,
        1000.0,
        9.995,
        0.0995,
        0.09951,
        -0.001,
        0.00099999,
        1 / 3,
        1.0,
    ]
    story = tell(scene_of(hidden_size=len(values)))
    story["values"]["p_r"][0] = values
    tab = Tab(browser, written(tmp_path / "page.html", story))
    shown = [n for n in tab.numbers() if n.of.get("name") == "p_r"]
    assert [n.value for n in shown] == values
    for number in shown:
        check_text(number)
        assert len(number.text) <= 9, number
    tab.close()


# ---------------------------------------------------------------------- moving


def test_whole_steps_ends_buttons_and_addresses(browser: Any, tmp_path: Path) -> None:
    address = written(tmp_path / "page.html", tell(scene_of("rnn")))
    tab = Tab(browser, address)
    assert tab.said() == "Forward, step 1 of 5 (t = 0), equation (a): p = x W + b"
    tab.press("ArrowRight")
    for key, step in (("PageDown", 2), ("Shift+ArrowRight", 3), ("PageUp", 2), ("Shift+ArrowLeft", 1)):
        tab.press(key)
        assert tab.said() == f"Forward, step {step} of 5 (t = {step - 1}), equation (b): q = h U"
    for _ in range(5):
        tab.press("PageDown")
    assert tab.said().startswith("The loss, equation (L1)")
    tab.press("PageDown")
    assert tab.said() == "Backward, step 5 of 5 (t = 4), equation (c): dy = dlogits W_yᵀ"
    tab.press("End")
    assert tab.said().startswith("The clip")
    assert tab.page.get_attribute("#on", "aria-disabled") == "true"
    tab.press("Home")
    for name, said in (
        ("One moment on", "Forward, step 1 of 5 (t = 0), equation (b): q = h U"),
        ("One time step on", "Forward, step 2 of 5 (t = 1), equation (b): q = h U"),
        ("One moment back", "Forward, step 2 of 5 (t = 1), equation (a): p = x W + b"),
        ("One time step back", "Forward, step 1 of 5 (t = 0), equation (a): p = x W + b"),
        ("Last moment", "The clip, equation (d): g = min(1, c / norm) g"),
        ("First moment", "Forward, step 1 of 5 (t = 0), equation (a): p = x W + b"),
    ):
        tab.page.get_by_role("button", name=name, exact=True).click()
        assert tab.said() == said
    tab.page.locator(".step").nth(3).click()
    assert tab.said() == "Forward, step 4 of 5 (t = 3), equation (a): p = x W + b"
    tab.page.locator(".line.backward").nth(2).click()
    assert tab.said() == "Backward, step 4 of 5 (t = 3), equation (2): da = dh' (1 - h'²)"
    tab.page.wait_for_url("**#backward-3-3")
    tab.page.reload()
    assert tab.said() == "Backward, step 4 of 5 (t = 3), equation (2): da = dh' (1 - h'²)"
    for wrong in ("#backward-99-99", "#nowhere", "#forward--1", "#loss"):
        tab.page.goto(address + wrong)
        assert re.match(r"(Forward|Backward|The loss)", tab.said())
    tab.close()


def test_space_plays_and_pauses(browser: Any, tmp_path: Path) -> None:
    tab = Tab(browser, written(tmp_path / "page.html", tell(scene_of("rnn"))))
    tab.press(" ")
    assert tab.page.get_by_role("button", name="Pause").is_visible()
    tab.page.wait_for_function("() => document.querySelector('#moment').value >= 2")
    tab.press(" ")
    at = tab.page.input_value("#moment")
    tab.page.wait_for_timeout(1200)
    assert tab.page.input_value("#moment") == at
    tab.page.focus("#moment")
    tab.press("ArrowRight")
    assert int(tab.page.input_value("#moment")) == int(at) + 1
    assert tab.page.get_attribute("#moment", "aria-valuetext") == tab.said()
    tab.close()


def test_the_drawing_follows(browser: Any, tmp_path: Path) -> None:
    """How many arrows are lit, which step is marked, and a chart whose points stand as high as they should."""
    story = tell(scene_of())
    lines, take = story["lines"], scene_of().trace()
    tab = Tab(browser, written(tmp_path / "page.html", story))
    state = [line["text"].startswith("h' =") for line in lines].index(True)
    arrives = [line["text"] for line in lines].index("dh' = dh + dy")
    for k, (line, t, *_) in enumerate(story["moments"]):
        phase = lines[line]["phase"]
        now = tab.page.evaluate("[...document.querySelectorAll('.step')].findIndex((g) => g.matches('.now'))")
        known = tab.count(".point.known")
        states = tab.count(".step:has(rect.unit[class*='p']), .step:has(rect.unit[class*='m'])")
        assert now == t, k
        assert known == {"forward": 0, "loss": 0, "backward": T - t - (line < arrives), "clip": T}[phase]
        assert states == (t + (line >= state) if phase == "forward" else T)
        assert tab.count(".cursor-line") == (t >= 0)
        tab.press("ArrowRight")
    heights = [
        float(y) for y in tab.page.evaluate("[...document.querySelectorAll('.point')].map((c) => c.getAttribute('cy'))")
    ]
    assert np.argsort(heights).tolist() == np.argsort(-take.walk.norms[:, 0]).tolist()
    tab.close()


ONE_LINE = """
() => [...document.querySelectorAll(".rows .row .cells, .units .cells")].map((row) => {
  const cells = [...row.children], tops = new Set(cells.map((cell) => Math.round(cell.getBoundingClientRect().top)));
  const cut = cells.filter((cell) => cell.scrollWidth > cell.clientWidth);
  return {units: cells.length, lines: tops.size, cut: cut.length};
})
"""


@pytest.mark.parametrize("width", [721, 900, 1179, 1180, 1280, 1366, 1920])
def test_units_stay_under_their_headings(width: int, browser: Any, tmp_path: Path) -> None:
    """Eight units are one line of numbers, at every width that has columns, and no number is cut."""
    story = tell(Scene("hello, hidden state", clip=0.25, num_steps=16))
    tab = Tab(browser, f"{written(tmp_path / 'page.html', story)}#backward-2-12", width, 800)
    rows = [row for row in tab.page.evaluate(ONE_LINE) if row["units"] == 8]
    assert len(rows) > 20
    assert {row["lines"] for row in rows} == {1}
    assert sum(row["cut"] for row in rows) == 0
    tab.close()


def test_the_legends_say_what_every_mark_is(browser: Any, tmp_path: Path) -> None:
    tab = Tab(browser, f"{written(tmp_path / 'page.html', tell(scene_of()))}#backward-2-3")
    words = " ".join(tab.page.locator(".legend").all_inner_texts())
    for mark in ("forward", "backward", "h left", "right", "above 0", "below 0", "computed by now", "still to come"):
        assert mark in words, words
    style = "(mark) => getComputedStyle(document.querySelector(`.legend ${mark}`), '::before').backgroundColor"
    wanted = "(name) => { document.body.style.color = `var(${name})`; return getComputedStyle(document.body).color; }"
    for mark, name in ((".above", "--plus"), (".below", "--minus"), (".known", "--back")):
        assert tab.page.evaluate(style, mark) == tab.page.evaluate(wanted, name)
    tab.close()


# ---------------------------------------------------------------------- for everyone


@pytest.mark.parametrize("look", marked_but([("wide", "light")], LOOKS, "long", "-".join))
def test_axe_finds_nothing(look: tuple[str, str], browser: Any, tmp_path: Path) -> None:
    size, scheme = look
    width, height = SIZES[size]
    address = written(tmp_path / "page.html", tell(Scene("the cat sat", hidden_size=4, scale=2.0)))
    tab = Tab(browser, address, width, height, color_scheme=scheme)
    tab.page.click("summary")
    for moment in ("#forward-4-7", "#loss-2", "#backward-8-12", "#clip-1"):
        tab.page.goto(address + moment)
        tab.page.wait_for_timeout(200)  # colours that are on their way
        assert tab.violations() == [], moment
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
    tab.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_written_can_be_read(scheme: str, browser: Any, tmp_path: Path) -> None:
    """The contrast of every text with what is behind it, by WCAG's formula: 4.5 at least."""
    story = tell(Scene("the cat sat on th", scale=2.0))
    tab = Tab(browser, f"{written(tmp_path / 'page.html', story)}#backward-2-12", color_scheme=scheme)
    tab.page.wait_for_timeout(300)
    found = tab.page.evaluate(CONTRASTS)
    assert len(found) > 300
    low = [one for one in found if one["ratio"] < 4.5]
    assert not low, low[:5]
    tab.close()


CONTRASTS = """
() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
  const rgb = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const color = rgb(getComputedStyle(e).backgroundColor);
      if (color[3] === 255) return color;
    }
    return [255, 255, 255];
  };
  const written = (e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
  return [...document.querySelectorAll("body *")]
    .filter((e) => e.checkVisibility() && written(e) && !e.closest(".hidden, svg, [aria-disabled=true]"))
    .map((e) => {
      const [high, low] = [light(rgb(getComputedStyle(e).color)), light(behind(e))].sort((a, b) => b - a);
      return {text: e.textContent, ratio: (high + 0.05) / (low + 0.05)};
    });
}
"""


def test_less_motion_is_respected(browser: Any, tmp_path: Path) -> None:
    address = written(tmp_path / "page.html", tell(scene_of()))
    for motion, seconds in (("no-preference", 0.15), ("reduce", 0)):
        tab = Tab(browser, address, reduced_motion=motion)
        found = tab.page.evaluate("parseFloat(getComputedStyle(document.querySelector('.line')).transitionDuration)")
        assert found == seconds
        tab.close()


def test_the_keyboard_reaches_everything_and_is_left_to_fields_that_need_it(browser: Any, tmp_path: Path) -> None:
    tab = Tab(browser, written(tmp_path / "page.html", tell(scene_of())))
    reached = []
    for _ in range(30):
        tab.press("Tab")
        reached.append(
            tab.page.evaluate(
                "document.activeElement.id || document.activeElement.name || document.activeElement.tagName"
            )
        )
    for name in ("network", "derivation", "SUMMARY", "gate", "first", "back", "play", "on", "last", "moment"):
        assert name in reached, reached
    tab.page.focus("#play")
    tab.press(" ")
    assert tab.page.get_by_role("button", name="Pause").is_visible()  # the button's own key, once
    tab.press(" ")
    tab.page.focus("#gates input:checked")
    before = tab.said()
    tab.press("ArrowLeft")  # chooses a gate
    assert tab.said() == before
    assert tab.page.input_value("#gates input:checked") == "z"
    tab.close()


@pytest.mark.parametrize("text", ["a</script><b>&\u2028\n\t é", "😀😀x", "\u202eabc<!--", "\"'`${1}"])
def test_any_text_is_only_text(text: str, browser: Any, tmp_path: Path) -> None:
    scene = scene_of(text=text)
    tab = Tab(browser, written(tmp_path / "page.html", tell(scene)))
    assert tab.page.evaluate("document.querySelectorAll('script').length") == 2
    assert tab.page.evaluate("JSON.parse(document.querySelector('#story').textContent).controls.text") == text
    while not tab.said().startswith("The clip"):
        tab.press("PageDown")
    assert tab.count(".step") == len(text) - 1
    tab.close()


def test_the_largest_page_is_still_one_that_can_be_used(browser: Any, tmp_path: Path) -> None:
    text = "".join(chr(33 + k) for k in range(65))
    address = written(tmp_path / "page.html", tell(Scene(text, cell="lstm", hidden_size=32)))
    tab = Tab(browser, address)
    took = tab.page.evaluate(
        """() => { const begun = performance.now();
          for (let k = 0; k < 20; k++) document.dispatchEvent(new KeyboardEvent("keydown", {key: "PageDown"}));
          document.body.offsetHeight; return (performance.now() - begun) / 20; }"""
    )
    assert took < 1000  # milliseconds a moment: 16 and 24 on two cores that had other work
    assert json.loads(tab.page.evaluate("JSON.stringify(document.querySelectorAll('.step').length)")) == 64
    tab.close()

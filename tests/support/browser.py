"""Chromium for tests of explain's page: what a page asked for and complained about, and the numbers on it.

Without Chromium or its driver a test is skipped, or where MINIRNN_BROWSER=required says so, fails.
"""

import importlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any, NamedTuple

import pytest

HOW = "pip install 'minirnn[browser]' and apt-get install chromium"
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
PARTS = re.compile(r"(−?)(\d+)(?:\.(\d+))?(?:e(-?\d+))?")
READ = """
() => JSON.stringify([...document.querySelectorAll("[data-value]")]
  .filter((e) => e.checkVisibility())
  .map((e) => ({...e.dataset, text: e.textContent, line: e.closest(".line")?.querySelector(".math").ariaLabel})))
"""


def missing(reason: str) -> None:
    """Skip the test, or fail it where a browser must be there."""
    if os.environ.get("MINIRNN_BROWSER") == "required":
        pytest.fail(f"{reason}: {HOW}", pytrace=False)
    pytest.skip(f"{reason}: {HOW}")


@contextmanager
def chromium() -> Iterator[Any]:
    """The machine's own Chromium, headless, with nothing remembered from before."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        missing("Chromium is not installed")
    try:
        driver = importlib.import_module("playwright.sync_api")
        importlib.import_module("axe_playwright_python")
    except ImportError:
        missing("playwright and axe are not installed")
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


class Number(NamedTuple):
    """One number on a page: what it is of, its value in full, and its text."""

    line: str
    of: dict[str, str]
    value: float
    text: str


class Tab:
    """A page that is watched: whatever it asks for or complains about is kept."""

    def __init__(self, browser: Any, address: str, width: int = 1400, height: int = 1000, **how: Any) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": height}, **how)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.address = address
        self.page.goto(address)

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)

    def said(self) -> str:
        """Where one is, in the words for a screen reader."""
        found: str = self.page.evaluate(
            """() => [...document.querySelector("#said").childNodes]
                .filter((e) => e.ariaHidden !== "true").map((e) => e.textContent).join("")"""
        )
        return found

    def numbers(self) -> list[Number]:
        """All that can be seen."""
        found = []
        for one in json.loads(self.page.evaluate(READ)):
            value, text, line = float(one.pop("value")), one.pop("text"), one.pop("line", None)
            found.append(Number(line or "", one, value, text))
        return found

    def count(self, selector: str) -> int:
        found: int = self.page.locator(selector).count()
        return found

    def violations(self) -> list[str]:
        """What axe-core finds, rule by rule."""
        self.page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{v['id']}: {v['help']}: {', '.join(str(node['target']) for node in v['nodes'][:4])}"
            for v in found["violations"]
        ]

    def close(self) -> None:
        """Nothing but the page itself may have been asked for, and nothing may have been complained about."""
        self.page.close()
        origin = self.address.partition("#")[0]
        beyond = [url for url in self.requests if not url.startswith(origin)]
        assert not beyond, f"the page asked for {beyond}"
        assert not self.complaints, self.complaints


def check_text(number: Number) -> None:
    """What is shown is the number, rounded to the digits that are shown, of which two at least count."""
    match = PARTS.fullmatch(number.text)
    assert match, f"{number.text!r} is no number"
    sign, whole, fraction, exponent = match.groups(default="")
    if number.value == 0:
        assert number.text == "0", number
        return
    unit = 10.0 ** (int(exponent or 0) - len(fraction))
    shown = float(f"{'-' if sign else ''}{whole}.{fraction or 0}e{exponent or 0}")
    assert abs(shown - number.value) <= unit / 2 * (1 + 1e-9), number
    assert len((whole + fraction).lstrip("0")) >= 2, number

"""Look at the notebooks' pages of a built book in the machine's own Chromium (extra ``browser``).

    python docs/look_at_notebooks.py build/docs [--picture docs/notebooks/outputs.png]

Each page must show what its cells put out, ask for nothing but the book's own files, and complain about nothing.  The
picture, which needs Pillow too (extra ``plot``), is one of them as a reader sees it.
"""

import argparse
import io
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

PICTURED = "2_bptt"
PATIENCE = 300_000  # milliseconds, on a machine that does much else
SCROLL = "document.querySelector('.cell_output:has(svg)').scrollIntoView({behavior: 'instant'})"
SHOWN = {  # on which page what must be seen, and how often at least
    "1_networks": {"table": 3, "progress": 2, "svg polyline": 2},
    "2_bptt": {"svg rect": 60, "iframe[srcdoc]": 1, "table": 1},
    "3_own_cell": {"table": 2},
    "4_gates": {"svg rect": 60},
    "5_torch": {"table": 1, "progress": 1, "svg polyline": 1},
    "6_check": {"table": 4},
}


def faults_of(browser: Any, book: Path, name: str) -> Iterator[str]:
    """What is wrong with a page, in sentences."""
    found, requests = list[str](), list[str]()
    page = browser.new_page(viewport={"width": 1200, "height": 1000})
    page.set_default_timeout(PATIENCE)
    page.on("console", lambda message: found.append(f"{name} says in the console: {message.text}"))
    page.on("pageerror", lambda error: found.append(f"{name} fails: {error}"))
    page.on("request", lambda request: requests.append(request.url))
    page.goto((book / "notebooks" / f"{name}.html").as_uri())
    for selector, least in SHOWN[name].items():
        count = page.locator(f".cell_output >> {selector}").count()
        if count < least:
            found.append(f"{name} must show {least} of {selector!r} at least; it shows {count}")
    for frame in page.frames[1:]:
        frame.locator("#on").click()
        said = frame.locator("#said").inner_text()
        if "Forward, step 1" not in said:
            found.append(f"the frame in {name} must be at step 1; it is at {said!r}")
    if page.locator(".cell_output .stderr, .cell_output .traceback").count():
        found.append(f"{name} shows an error or a warning")
    page.close()
    beyond = [url for url in requests if not url.startswith((book.as_uri(), "data:"))]
    yield from [*found, *(f"{name} asks for {url}" for url in beyond)]


def take_picture(browser: Any, book: Path, out: Path) -> None:
    """The outputs of one notebook: a trace, and the page in its frame."""
    from PIL import Image

    page = browser.new_page(viewport={"width": 1200, "height": 1180}, color_scheme="light")
    page.set_default_timeout(PATIENCE)
    page.goto((book / "notebooks" / f"{PICTURED}.html").as_uri())
    page.frames[1].locator("#step-on").click()
    page.add_style_tag(content=".back-to-top { display: none; }")  # it stands before what is to be seen
    page.evaluate(SCROLL)
    page.wait_for_timeout(400)  # for colours that change slowly
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(out, optimize=True)
    page.close()


@contextmanager
def chromium() -> Iterator[Any]:
    """The machine's own Chromium, headless."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        raise SystemExit("to look at pages takes Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def main(arguments: list[str]) -> int:
    """Print what is wrong; 1 where anything is."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("book", type=Path)
    parser.add_argument("--picture", type=Path)
    chosen = parser.parse_args(arguments)
    book = chosen.book.resolve()
    written = {page.stem for page in (book / "notebooks").glob("[0-9]*.html")}
    faults = [f"{book}/notebooks must have {', '.join(SHOWN)}; it has {sorted(written)}"] * (written != set(SHOWN))
    with chromium() as browser:
        for name in sorted(written & set(SHOWN)):
            faults += faults_of(browser, book, name)
        if chosen.picture and not faults:
            take_picture(browser, book, chosen.picture)
    print(*faults, f"{len(written)} notebooks looked at, {len(faults)} faults", sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

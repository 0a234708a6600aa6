"""Run pages of a site in the machine's own Chromium (extra ``browser``), as a reader would.

    python docs/look_at_site.py build/site [PAGE ...] [--all]

All cells of each page must run, a notebook's must show what its page in the book shows, and no page may ask for
anything but the site's own files, or complain.  On the last page a cell is changed as well, one fails, and one is
stopped.  With ``--all`` every page on which Python runs is run: minutes, where the two that are run else take one.
"""

import argparse
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from look_at_notebooks import PATIENCE, SHOWN, chromium
from make_site import pages_of

QUICK = ("book/7_depth.html", "notebooks/2_bptt.html")
ENDED = "() => /has run|failed|ended|stopped/.test(document.querySelector('.live-status').textContent)"


class Quiet(SimpleHTTPRequestHandler):
    """A server of files that does not write down every request, and has no icon, which a browser asks for by itself."""

    def do_GET(self) -> None:
        if self.path == "/favicon.ico":
            self.send_response(204)
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the library
        pass


@contextmanager
def served(site: Path) -> Iterator[str]:
    """The site's address, while this machine serves it to itself."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def ended(page: Any) -> str:
    """What the page says once nothing runs any more."""
    page.wait_for_function(ENDED)
    said: str = page.locator(".live-status").inner_text()
    return said


def faults_of(page: Any, name: str) -> Iterator[str]:
    """What is wrong with a page whose cells are all run, in sentences."""
    cells = page.locator(".live-cell").count()
    page.get_by_role("button", name="Run all cells").click()
    said = ended(page)
    if not cells or said != f"cell {cells} has run":
        yield f"{name} must run {cells} cells, one at least; it says {said!r}"
    for text in page.locator("[data-stream=error], [data-stream=stderr]").all_inner_texts():
        yield f"{name} shows an error or a warning: {text}"
    for selector, least in SHOWN.get(Path(name).stem, {}).items():
        count = page.locator(f".live-output >> {selector}").count()
        if count < least:
            yield f"{name} must show {least} of {selector!r} at least; it shows {count}"


def changes(page: Any) -> Iterator[str]:
    """What is wrong when a reader changes the last cell, mistakes included, in sentences."""
    cell, output = page.locator(".live-cell pre").last, page.locator(".live-output").last
    for source, kept, shown in (
        ("import numpy as np\nprint('six', np.arange(4).sum())\n{'six': 6}", "has run", "six 6 {'six': 6}"),
        ("def f():\n    return 1 / 0\nf()", "failed", "return 1 / 0"),
        ("f(", "failed", "SyntaxError"),
        ("f.__name__", "has run", "'f'"),
    ):
        cell.fill(source)
        cell.press("Shift+Enter")
        said, text = ended(page), " ".join(output.inner_text().split())
        if not said.endswith(kept) or shown not in text:
            yield f"{source!r} must show {shown!r} and say {kept!r}; it shows {text!r} and says {said!r}"
    cell.fill("while True:\n    pass")
    cell.press("Shift+Enter")
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Run cell 2", exact=True).click(click_count=2)  # twice is once
    if (said := ended(page)) != "cell 2 has run":
        yield f"after a stop two cells must run; the page says {said!r}"


def look(browser: Any, address: str, name: str, *, change: bool) -> list[str]:
    """Open a page, and say what is wrong with it and what it asks for beyond the site, in sentences."""
    found, requests = list[str](), list[str]()
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.on("console", lambda message: found.append(f"{name} says in the console: {message.text}"))
    page.on("pageerror", lambda error: found.append(f"{name} fails: {error}"))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(address + name)
    found += faults_of(page, name)
    if change:
        found += changes(page)
    page.close()
    if f"{address}_static/live/worker.js" not in requests:
        found.append(f"{name} must load Python; it asks for {requests}")
    return found + [f"{name} asks for {url}" for url in requests if not url.startswith((address, "data:", "blob:"))]


def main(arguments: list[str]) -> int:
    """Print what is wrong; 1 where anything is."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("site", type=Path)
    parser.add_argument("pages", nargs="*", help=f"[default: {' '.join(QUICK)}]")
    parser.add_argument("--all", action="store_true")
    chosen = parser.parse_args(arguments)
    every = [page.relative_to(chosen.site).as_posix() for page in pages_of(chosen.site)]
    names, faults = every if chosen.all else chosen.pages or QUICK, list[str]()
    with served(chosen.site) as address, chromium() as browser:
        for name in names:
            faults += look(browser, address, name, change=name == names[-1])
    print(*faults, f"{len(names)} pages run, {len(faults)} faults", sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

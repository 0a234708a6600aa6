"""Check a built book: every link and anchor inside it leads somewhere, and no page fetches anything from elsewhere.

python docs/check_links.py build/docs

Links that lead out of the book are not followed, since this makes no request to anywhere: they are checked for their
form, https and a host, and listed, for a reader to try.
"""

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

FETCHED = {
    "script": "src",
    "link": "href",
    "img": "src",
    "source": "src",
    "iframe": "src",
    "object": "data",
    "use": "href",
}
STYLE = re.compile(r"""(?:url\(|@import)\s*["']?\s*((?:https?:)?//[^"')\s]+)""")


class Page(HTMLParser):
    """What a page links to, what it fetches, and the anchors that it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = STYLE.findall(text)
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called by the parser for each element."""
        found = dict(attrs)
        self.anchors |= {value for key in ("id", "name") if (value := found.get(key))}
        if tag in FETCHED and (target := found.get(FETCHED[tag])):
            self.fetched.append(target)
        if tag == "a" and (target := found.get("href")):
            self.links.append(target)


def outside(target: str) -> bool:
    """Whether a target is not among the book's files."""
    return bool(urlsplit(target).scheme or urlsplit(target).netloc)


def faults(book: Path) -> Iterator[str]:
    """A sentence for everything that is wrong in a built book."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(book.rglob("*.html"))}
    for path, page in pages.items():
        name = path.relative_to(book)
        for target in page.fetched:
            if outside(target) and not target.startswith("data:"):
                yield f"{name} fetches {target} from elsewhere"
        for target in {*page.links, *page.fetched}:
            if outside(target):
                parts = urlsplit(target)
                if target in page.links and (parts.scheme != "https" or "." not in parts.netloc or " " in target):
                    yield f"{name}: {target} must be a link by https to a host"
                continue
            parts = urlsplit(target)
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not there.is_file():
                yield f"{name}: {target} leads to no file"
            elif parts.fragment and there in pages and unquote(parts.fragment) not in pages[there].anchors:
                yield f"{name}: {target} leads to no place in {there.relative_to(book)}"
    for path in book.rglob("*.css"):
        for target in STYLE.findall(path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(book)} fetches {target} from elsewhere"


def main(book: Path) -> int:
    """Print what is wrong, or what has been checked."""
    pages = [Page(path.read_text(encoding="utf-8")) for path in sorted(book.rglob("*.html"))]
    if not pages:
        print(f"{book} must be a built book; it has no pages")
        return 1
    found = list(faults(book))
    print(*found, sep="\n", end="\n" if found else "")
    links = [target for page in pages for target in page.links]
    leaving = sorted({target for target in links if outside(target)})
    print(f"{len(pages)} pages, {len(links)} links, {len(found)} faults; not followed, since they lead out:")
    print(*(f"  {target}" for target in leaving), sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))

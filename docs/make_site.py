"""Make a site of a built book, on whose pages Python runs in the reader's browser.

    python docs/make_site.py build/docs build/site [--pyodide PLACE]... [--wheel dist/minirnn-0.1.0-py3-none-any.whl]

The cells of PAGES need only NumPy: there each can be run and changed.  The site is static files.  It carries Pyodide,
which is CPython and NumPy as WebAssembly, and minirnn's wheel, so its pages ask for nothing but its own files.
Pyodide's files are taken from the places that are named, folders or https addresses, and what is not there from
Pyodide's own; wherever a file comes from, its SHA-256 must be the one below.
"""

import argparse
import hashlib
import pydoc_data
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from check_commands import built

LIVE = Path(__file__).resolve().parent / "_live"
PAGES = ("notebooks/[1-6]_*.html", "book/*.html", "functions.html", "explain.html", "disputes.html")
PYODIDE = "https://cdn.jsdelivr.net/pyodide/v0.29.0/full/"
NUMPY = "numpy-2.2.5-cp313-cp313-pyodide_2025_0_wasm32.whl"
FILES = {  # of Pyodide 0.29.0
    "pyodide.mjs": "31afa960fdf68333de6f3f0513bad154495c8fc635a66b7e58ab9cf356a76501",
    "pyodide.asm.js": "f1e70077bd701757b2798fc57f540fe39cf23d36ee5cd7c1a9b3a6f35cf500a7",
    "pyodide.asm.wasm": "615172c6b2f5efe53e41d0201a98eb37c1f3aa7675d11cb06b6079b3a6b2bef5",
    "pyodide-lock.json": "701557726114e9a968d2088153414b2f126b8631aa734ed98eaf1797d4e4d087",
    "python_stdlib.zip": "e389fbdc394a00d31ff0624386c9e3e52e04727130ac73597a99c477afe4f1ca",
    NUMPY: "2ca46b70661caea8f9f8089d22495c7a24c120fc5881e68934ac3a04d3fc8a02",
}
LARGEST = 20_000_000  # bytes of one of them
NOTICE = """\
The files in this folder are those of Pyodide 0.29.0, unchanged: https://github.com/pyodide/pyodide has their source.
Pyodide is under the Mozilla Public License 2.0, CPython in it under the PSF License, NumPy in its wheel under the BSD
3-Clause License.
"""


class SiteError(Exception):
    """A site cannot be made of what was given; the message says why."""


def pages_of(book: Path) -> list[Path]:
    """The pages on which Python runs, in a built book; SiteError where it has not all of them."""
    matches = {pattern: sorted(book.glob(pattern)) for pattern in PAGES}
    missing = [pattern for pattern, pages in matches.items() if not pages]
    if missing:
        raise SiteError(f"{book} must be a built book, with {', '.join(PAGES)}; it has no {', '.join(missing)}")
    return [page for pages in matches.values() for page in pages]


def content(place: str, name: str) -> bytes | None:
    """A file of Pyodide's in a place, None where it is not there; of any one that is too large only the beginning."""
    if place.startswith("https://"):
        try:
            with urlopen(f"{place.rstrip('/')}/{name}", timeout=60) as answer:  # noqa: S310 - it is https
                data: bytes = answer.read(LARGEST + 1)
        except (OSError, HTTPException) as error:
            if isinstance(error, HTTPError) and error.code == 404:
                return None
            raise SiteError(f"{name} must be in one of the places; {place}: {error}") from error
        return data
    path = Path(place) / name
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return file.read(LARGEST + 1)


def pyodide(places: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Pyodide's files, each from the first place that has it; SiteError for one that is not what it should be."""
    for name, digest in FILES.items():
        for place in places:
            data = content(place, name)
            if data is not None:
                break
        else:
            raise SiteError(f"{name} must be in one of {', '.join(places)}; it is in none")
        actual = hashlib.sha256(data).hexdigest()
        if actual != digest:
            raise SiteError(f"{name} in {place} must have the SHA-256 {digest}; it has {actual}")
        yield name, data


def write_archive(path: Path, wheel: Path) -> None:
    """What Python needs beside Pyodide: minirnn, the text that every other Python carries, and what runs the cells."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, zipfile.ZipFile(wheel) as package:
        for name in package.namelist():
            archive.writestr(name, package.read(name))
        for file in sorted(Path(pydoc_data.__path__[0]).glob("*.py")):
            archive.write(file, f"pydoc_data/{file.name}")
        archive.write(LIVE / "running.py", "running.py")


def enliven(page: Path, root: Path, size: int) -> None:
    """Add the script and the style to a page's head."""
    live = "../" * (len(page.relative_to(root).parts) - 1) + "_static/live"
    added = (
        f'<link rel="stylesheet" href="{live}/live.css">'
        f'<script defer src="{live}/page.js" data-size="{size / 1e6:.0f} MB"></script>'
    )
    head, end, rest = page.read_text(encoding="utf-8").partition("</head>")
    if not end:
        raise SiteError(f"{page} must be a page of HTML; it has no head")
    page.write_text(head + added + end + rest, encoding="utf-8")


def make(book: Path, site: Path, places: Sequence[str], wheel: Path) -> list[Path]:
    """Write the site, and return its pages on which Python runs; SiteError, and nothing written, where it cannot be."""
    pages = pages_of(book)
    if site.resolve().is_relative_to(book.resolve()):
        raise SiteError(f"the site must lie outside of the book; {site} is inside {book}")
    if site.exists() and not (site / "_static/live/page.js").is_file():
        raise SiteError(f"{site} must be a site that this has made, or not be there; it is something else")
    if not zipfile.is_zipfile(wheel):
        raise SiteError(f"{wheel} must be a wheel of minirnn; it is none")
    files = dict(pyodide(places))
    site.resolve().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=site.resolve().parent, prefix=f"{site.name}.") as folder:
        made = Path(folder) / "site"
        shutil.copytree(book, made)
        live = made / "_static/live"
        (live / "pyodide").mkdir(parents=True)
        for name in ("page.js", "worker.js", "live.css"):
            shutil.copy(LIVE / name, live)
        for name, data in files.items():
            (live / "pyodide" / name).write_bytes(data)
        (live / "pyodide/NOTICE.txt").write_text(NOTICE, encoding="utf-8")
        write_archive(live / "minirnn.zip", wheel)
        size = sum(map(len, files.values())) + (live / "minirnn.zip").stat().st_size
        for page in pages:
            enliven(made / page.relative_to(book), made, size)
        if site.exists():
            shutil.rmtree(site)
        made.rename(site)
    return [site / page.relative_to(book) for page in pages]


def main(arguments: list[str]) -> int:
    """Make the site; 1 where it cannot be made."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("book", type=Path)
    parser.add_argument("site", type=Path)
    parser.add_argument("--pyodide", action="append", default=[], metavar="PLACE", help=f"before {PYODIDE}")
    parser.add_argument("--wheel", type=Path, help="of minirnn  [default: it is built]")
    chosen = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory() as folder:
            wheel = chosen.wheel or built(folder)
            pages = make(chosen.book, chosen.site, [*chosen.pyodide, PYODIDE], wheel)
    except SiteError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{chosen.site}: Python runs on {len(pages)} pages; python -m http.server --directory {chosen.site}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

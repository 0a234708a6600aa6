"""The repository's files as pages: a link from a page to a file, or a folder, leads to it in the built book too."""

import inspect
import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments.lexers import get_lexer_for_filename
from pygments.util import ClassNotFound
from quoting import ROOT
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

DOCS = ROOT / "docs"
PAGES = "code"  # where these pages are
HIDDEN = ("__pycache__", ".")


def page_of(target: str) -> str:
    """The page of a file or folder, named relative to the root."""
    return f"{PAGES}/{target}"


def link(target: str, line: int, *inside: nodes.Node) -> addnodes.pending_xref:
    """A link to a file of the repository, at a line if that is above 0."""
    return addnodes.pending_xref("", *inside, reftype="repository", reftarget=target, line=line, refwarn=True)


class Links(SphinxTransform):
    """Markdown's links to files that are no pages of the book."""

    default_priority = 500

    def apply(self, **kwargs: Any) -> None:
        """Replace each by a link that ``resolve`` knows."""
        for node in [
            *self.document.findall(addnodes.download_reference),
            *self.document.findall(addnodes.pending_xref),
        ]:
            if node.get("reftype") != "myst" or node.get("refdomain"):
                continue
            folder = Path(self.env.doc2path(self.env.docname)).parent
            path = Path(os.path.normpath(folder / node["reftarget"].partition("#")[0]))
            code = path.suffix == ".py" or not path.is_relative_to(DOCS)  # what else is in docs is downloaded as it is
            if path.exists() and path.is_relative_to(ROOT) and code:
                node.replace_self(link(path.relative_to(ROOT).as_posix(), 0, *node.children))


class Sources(SphinxTransform):
    """What a docstring describes leads to its code."""

    default_priority = 510

    def apply(self, **kwargs: Any) -> None:
        """Add a link to each signature."""
        for node in self.document.findall(addnodes.desc_signature):
            found = place_of(node["module"], node["fullname"]) if node.get("fullname") else None
            if found:
                node.append(link(*found, nodes.inline("", "[source]", classes=["source"])))


def place_of(module: str, name: str) -> tuple[str, int] | None:
    """The file and line of a class or function; None for what has none, as a constant."""
    found: Any = import_module(module)
    for part in name.split("."):
        found = inspect.getattr_static(found, part, None) or getattr(found, part)
    found = getattr(found, "fget", None) or getattr(found, "__func__", found)  # a property's, a class method's
    found = inspect.unwrap(found)
    if not (inspect.isclass(found) or inspect.isfunction(found)):
        return None
    try:
        line = inspect.getsourcelines(found)[1]
    except OSError:  # a decorator made it, as a dataclass' methods
        return None
    return Path(str(inspect.getsourcefile(found))).resolve().relative_to(ROOT).as_posix(), line


def resolve(app: Sphinx, env: Any, node: addnodes.pending_xref, inside: nodes.Element) -> nodes.reference | None:
    """A link to the page of a file, which is thereby wanted."""
    if node.get("reftype") != "repository" or not (ROOT / node["reftarget"]).exists():
        return None
    env.repository_files.add(node["reftarget"])
    uri = app.builder.get_relative_uri(env.docname, page_of(node["reftarget"]))
    return nodes.reference(
        "", "", *node.children, refuri=uri + (f"#L-{node['line']}" if node["line"] else ""), internal=True
    )


def begin(app: Sphinx) -> None:
    """Nothing is wanted so far."""
    env: Any = app.env
    env.repository_files = set()


def pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Every file that is linked to, and every folder with all that it holds."""
    env: Any = app.env
    wanted: set[str] = set(env.repository_files)
    for folder in [target for target in wanted if (ROOT / target).is_dir()]:
        wanted |= {path.relative_to(ROOT).as_posix() for path in inside_of(ROOT / folder)}
    for target in sorted(wanted):
        body = listing(app, target) if (ROOT / target).is_dir() else coloured(app, target)
        yield (
            page_of(target),
            {"title": target, "body": f'<div class="file"><h1>{target}</h1>{body}</div>'},
            "page.html",
        )


def inside_of(folder: Path) -> list[Path]:
    """Files below a folder, and folders."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if not any(part.startswith(HIDDEN) for part in path.relative_to(folder).parts)
    ]


def listing(app: Sphinx, target: str) -> str:
    """A folder's page."""
    items = []
    for path in sorted((ROOT / target).iterdir()):
        name = path.relative_to(ROOT).as_posix()
        if not path.name.startswith(HIDDEN):
            uri = app.builder.get_relative_uri(page_of(target), page_of(name))
            items.append(f'<li><a href="{uri}"><code>{path.name}{"/" if path.is_dir() else ""}</code></a></li>')
    return f"<ul>{''.join(items)}</ul>"


def coloured(app: Sphinx, target: str) -> str:
    """A file's page; its lines are anchors, ``#L-12``."""
    text = (ROOT / target).read_text(encoding="utf-8", errors="replace")
    try:
        language = get_lexer_for_filename(target).aliases[0]
    except ClassNotFound:
        language = "none"
    builder: Any = app.builder
    html: str = builder.highlighter.highlight_block(text, language, force=True, linenos="inline", lineanchors="L")
    return html


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_transform(Links)
    app.add_transform(Sources)
    app.connect("builder-inited", begin)
    app.connect("missing-reference", resolve)
    app.connect("html-collect-pages", pages)
    return {"parallel_read_safe": False, "parallel_write_safe": False}

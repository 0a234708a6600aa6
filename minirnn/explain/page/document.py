"""A story as one HTML file that needs nothing else: its style, its script and its numbers are inside.

The script shows what Python computed.  A trained model may be inside too (``writing.py``), and computes what it writes.
What comes from a user stands in the file as JSON, which no browser runs, and is put on the page as text.  The page's
policy lets nothing else run, and no request leave.
"""

import hashlib
import json
import os
from base64 import b64encode
from functools import cache
from html import escape
from importlib.resources import files
from string import Template

from minirnn.core.display import frame
from minirnn.core.files import Json, atomic_write
from minirnn.explain.engine.scene import CELLS, Scene
from minirnn.explain.page.story import tell
from minirnn.explain.page.writing import writer_of

SCRIPTS = ("numbers.js", "drawing.js", "controls.js", "writing.js", "page.js")
POLICY = "default-src 'none'; style-src {style}; script-src {script}; base-uri 'none'; form-action 'none'"


class Page:
    """The page of a scene, which shows itself in a notebook; ``html`` is the whole of it.

    ValueError, one sentence, for a scene that it cannot show.
    """

    height = 860  # of its frame in a notebook, in pixels

    def __init__(self, scene: Scene) -> None:
        self.scene, self.html = scene, page_of(tell(scene), writer=writer_of(scene))

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write it, whole or not at all."""
        with atomic_write(path) as file:
            file.write(self.html.encode())

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.scene.cell} {self.scene.hidden_size}, {self.scene.T} steps>"

    def _repr_html_(self) -> str:
        """The page in a frame of its own, for a notebook."""
        return frame(self.html, f"minirnn: {self.scene.cell}, through time and back", self.height)


def write_page(path: str | os.PathLike[str], scene: Scene) -> Page:
    """Write the page of a scene, and return it."""
    page = Page(scene)
    page.write(path)
    return page


def page_of(story: Json, *, served: bool = False, writer: str = "") -> str:
    """The page of a story; ``served``, with controls that ask the server it came from.

    ``writer`` is the script of a trained model that writes on, and "" for none.
    """
    template, style, script, form = _assets()
    text = dict(story.get("scene", ())).get("text", "")
    return template.substitute(
        policy=policy(served=served, writer=writer),
        title=escape(f"minirnn: through “{text}” and back" if text else "minirnn: through time and back"),
        style=style,
        script=script,
        cells="".join(f"<option>{escape(word)}</option>" for word in CELLS),
        story=as_script_data(story | {"served": served}),
        writing=form if writer else "",
        writer=f'<script type="module">{writer}</script>\n' if writer else "",
    )


def policy(*, served: bool, writer: str = "") -> str:
    """The page's content security policy: its own style and scripts; when served, requests to its server."""
    _, style, script, _ = _assets()
    scripts = " ".join(_hash(one) for one in (script, writer) if one)
    rules = POLICY.format(style=_hash(style), script=scripts)
    return f"{rules}; connect-src 'self'" if served else rules


def as_script_data(value: object) -> str:
    """JSON that stands between script tags and cannot end them, whatever text is in it."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


@cache
def _assets() -> tuple[Template, str, str, str]:
    folder = files("minirnn.explain.page") / "assets"
    page, form, style, *scripts = (
        (folder / name).read_text(encoding="utf-8") for name in ("page.html", "writing.html", "page.css", *SCRIPTS)
    )
    return Template(page), f"\n{style}", "\n".join(['\n"use strict";', "{", *scripts, "}", ""]), form


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

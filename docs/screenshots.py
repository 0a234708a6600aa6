"""Take the pictures of explain's page in the machine's own Chromium (extras ``browser`` and ``plot``, for Pillow).

python docs/screenshots.py
"""

import io
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from minirnn.explain.engine.scene import Scene
from minirnn.explain.page import write_page

HERE = Path(__file__).resolve().parent
HELLO = Scene("hello, hidden state", clip=0.25, num_steps=16)
LOUD = Scene("hello, hidden state", cell="relu", scale=3.0, num_steps=16)
SHOTS: dict[
    str, tuple[Scene, str, tuple[int, int], Any]
] = {  # the scene, the moment, width and height, the reader's colours
    "explain-forward": (HELLO, "forward-6-7", (1400, 920), "light"),
    "explain-backward": (HELLO, "backward-9-13", (1400, 920), "dark"),
    "explain-exploding": (LOUD, "backward-2-6", (1400, 920), "light"),
    "explain-narrow": (HELLO, "backward-9-5", (390, 760), "light"),
}


def main() -> None:
    """One picture after the other."""
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    if browser_path is None:
        raise SystemExit("screenshots need Chromium: apt-get install chromium")
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        for name, (scene, moment, (width, height), scheme) in SHOTS.items():
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            path = Path(folder) / f"{name}.html"
            write_page(path, scene)
            page.goto(f"{path.as_uri()}#{moment}")
            page.wait_for_timeout(400)  # for colours that change slowly
            if width < 640:
                page.evaluate("document.querySelector('.line[aria-current]').scrollIntoView({block: 'center'})")
            picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            few = picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
            few.save(HERE / f"{name}.png", optimize=True)
            page.close()
        browser.close()


if __name__ == "__main__":
    main()

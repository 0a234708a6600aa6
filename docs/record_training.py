"""Draw ``training.svg``: what ``minirnn train`` shows in a terminal, recorded from a real run.

python docs/record_training.py
"""

import io
import re
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.terminal_theme import MONOKAI

from minirnn.cli import app as cli
from minirnn.cli import shared, terminal, training

HERE = Path(__file__).resolve().parent


class Folding(Console):
    """A console that breaks long lines at its width, as a terminal does."""

    def print(self, *objects: Any, **options: Any) -> None:
        options.pop("soft_wrap", None)
        super().print(*objects, overflow="fold", **options)


if __name__ == "__main__":
    # not a terminal: the progress bar is printed once, as it ends
    terminal.console = Folding(record=True, width=96, file=io.StringIO(), highlight=False)
    vars(training)["output"] = terminal.console
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / shared.OUT
        cli.main(["train", "--out", str(out)], standalone_mode=False)
    svg = terminal.console.export_svg(title="minirnn train", theme=MONOKAI)
    svg = re.sub(r"@font-face\s*{.*?}", "", svg, flags=re.DOTALL)  # no request to anywhere: the reader's own monospace
    svg = svg.replace("Fira Code", "ui-monospace, Menlo, Consolas, DejaVu Sans Mono").replace(f"{folder}/", "")
    (HERE / "training.svg").write_text(svg, encoding="utf-8")

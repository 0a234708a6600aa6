"""Old names of modules, which keep working: ``minirnn.text`` is ``minirnn.language.text``.

A finder answers ``import minirnn.text`` and ``from minirnn.text import Text`` with the module of today; it is the same
object under both names.
"""

import importlib
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

MOVED = {
    "activations": "layers.activations",
    "backend": "core.backend",
    "base": "core.layer",
    "checkpoint": "training.checkpoints",
    "commands": "cli",
    "compose": "layers.compose",
    "evaluation": "language.evaluation",
    "explain.chart": "explain.page.chart",
    "explain.equations": "explain.engine.equations",
    "explain.lines": "explain.engine.lines",
    "explain.recording": "explain.engine.recording",
    "explain.scene": "explain.engine.scene",
    "explain.serve": "explain.page.serve",
    "explain.story": "explain.page.story",
    "explain.sums": "explain.page.sums",
    "explain.typeset": "explain.page.typeset",
    "explain.watching": "explain.engine.watching",
    "formats.files": "core.files",
    "keeping": "training.keeper",
    "lm": "language.model",
    "losses": "layers.losses",
    "padding": "core.lengths",
    "parameters": "core.parameters",
    "plotting": "training.plots",
    "protocol": "core.protocol",
    "quantize": "inference.quantize",
    "ranks": "training.ranks",
    "record": "training.metrics",
    "schedules": "optim.schedules",
    "stream": "inference.streams",
    "text": "language.text",
    "train": "training.loop",
    "variants": "recurrent.variants",
}
ROOT = "minirnn."


def current(name: str) -> str | None:
    """Today's name of a module that is asked for by its old one, or None."""
    if not name.startswith(ROOT):
        return None
    old = name.removeprefix(ROOT)
    for start, new in MOVED.items():
        if old == start or old.startswith(f"{start}."):
            return f"{ROOT}{new}{old.removeprefix(start)}"
    return None


class _Alias:
    """A finder and a loader, without their base classes: ``importlib.abc`` would load twenty modules more."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not current(fullname):
            return None
        return importlib.machinery.ModuleSpec(fullname, self)  # type: ignore[arg-type]  # a loader by its methods

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """Let Python make an empty module, which ``exec_module`` replaces."""

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = importlib.import_module(current(module.__name__) or "")


def install() -> None:
    """Let old names be imported; ahead of the other finders, which would load a module of a moved package twice."""
    sys.meta_path.insert(0, _Alias())

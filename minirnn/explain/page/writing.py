"""A trained model inside its page, which writes on from what has been read.

It is the module that ``minirnn.formats.sources.save`` writes to ``model.js``, letter for letter, and one line that
hands its functions to the page's own script (``assets/writing.js``).
"""

from minirnn.explain.engine.scene import Scene
from minirnn.formats.sources import as_module

MOST_CHARACTERS = 400_000  # of a module: its weights are float32 there, at five characters each
HANDED = 'document.dispatchEvent(new CustomEvent("model", { detail: { write, selfTest } }));'


def writer_of(scene: Scene) -> str:
    """The script by which the page of a scene writes; "" for a fresh network, and a model that no page can carry.

    The model is the scene's as it was trained: ``scale`` is not in it.  A page carries no masks, no float64, no cells
    that symbols cannot follow, and no more than ``MOST_CHARACTERS``.
    """
    if scene.lm is None:
        return ""
    try:
        module = as_module(scene.lm)
    except ValueError:
        return ""
    return f"\n{module}{HANDED}\n" if len(module) <= MOST_CHARACTERS else ""

"""A model as one file in the language of the place where it must run: C99, JavaScript,
Python.

    plan.py         what such a file computes, whatever its language
    planning.py     a model becomes a plan
    layers.py       layer by layer
    planner.py      the parts of a plan, as layers add them
    recurrence.py   one step of a recurrent layer
    tracing.py      the equations of cells and layers, run on symbols
    equations.py    traced operations as assignments
    expressions.py  and as expressions that C and JavaScript write alike
    c.py            the plan as C99: the files
    c_code.py       and the functions in them
    c_library.py    and what does not depend on the plan
    javascript.py   the plan as JavaScript
    javascript_library.py  and what does not depend on the plan
    page.py         a page that writes text by that
    python.py       the plan as Python
    python_library.py  and what does not depend on the plan
    words.py        names and words that are harmless in every language

Everything that differs between cells comes from their own equations, so a cell of a reader's own goes where those of
minirnn go.  What cannot be carried is refused with one sentence before a file is written.
"""

import os
from hashlib import sha256
from pathlib import Path

from minirnn.core.files import atomic_write
from minirnn.core.layer import Layer
from minirnn.core.version import VERSION
from minirnn.formats.sources import c, javascript, page, python
from minirnn.formats.sources.plan import Plan
from minirnn.formats.sources.planning import planned
from minirnn.formats.sources.words import harmless, stem_of
from minirnn.language.model import LanguageModel

EMITTERS = {".js": javascript, ".mjs": javascript, ".py": python, ".html": page}
SUFFIXES = (".c", *EMITTERS)
MOST_LINES = 40  # of a model's description


def save(
    model: Layer | LanguageModel,
    path: str | os.PathLike[str],
    *,
    steps: int | None = None,
    origin: str | os.PathLike[str] | None = None,
) -> None:
    """Write a model to ``path`` as a file in the language of its suffix.

    ``.c`` is C99, with a header ``.h`` beside it, ``.js`` or ``.mjs`` a module without dependencies, ``.py`` Python
    that imports NumPy alone, ``.html`` a page on which a character model writes.

    ``steps`` is how many steps one call computes at most, of a model that needs whole sequences: 128, or what is
    nearest to that.  ``origin`` is the file that the model comes from; its name and checksum are written at the top.

    Raises ValueError, in one sentence, for what cannot be carried: masks, layers and dtypes that have no form there,
    cells that symbols cannot follow.  Files are written whole or not at all.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"a source file ends in {', '.join(SUFFIXES)}; got {path}")
    plan = _described(model, path, steps, origin)
    if path.suffix == ".c":
        source, header = c.written(plan, stem_of(path))
        beside = path.with_suffix(".h")
        _check_header(beside, header)
        files = [(beside, header), (path, source)]
    else:
        files = [(path, EMITTERS[path.suffix].written(plan))]
    for place, text in files:
        with atomic_write(place) as file:
            file.write(text.encode())


def as_module(model: Layer | LanguageModel) -> str:
    """The ES module that ``save`` writes to ``model.js``, as text, for a page that has one inside.

    Raises ValueError for what cannot be carried, as ``save`` does.
    """
    return javascript.written(_described(model, Path("model.js"), None, None))


def _described(
    model: Layer | LanguageModel, path: Path, steps: int | None, origin: str | os.PathLike[str] | None
) -> Plan:
    """The plan of a model, with what stands at the top of its file."""
    plan = planned(model, steps=steps)
    plan.about = about(model, plan, path, origin)
    return plan


def _check_header(path: Path, header: str) -> None:
    """Raise OSError where the header would replace something else than the header of such a file."""
    begins = header.partition(":")[0].encode()
    if path.exists() and not (path.is_file() and path.read_bytes()[: len(begins)] == begins):
        raise OSError(f"{path} would be the header, and is another file already: choose another name")


def about(model: Layer | LanguageModel, plan: Plan, path: Path, origin: str | os.PathLike[str] | None) -> list[str]:
    """What stands at the top of the file: what it computes, of what, with which checksum."""
    network = model.network if isinstance(model, LanguageModel) else model
    if origin is None:
        checksum = sha256()
        for weight in plan.weights:
            checksum.update(weight.values.tobytes())
        source = f"Its weights, in their order here, have the SHA-256 {checksum.hexdigest()}."
    else:
        name, content = Path(origin).name, Path(origin).read_bytes()
        source = f"Written by minirnn {VERSION} of {harmless(name)}, whose SHA-256 is {sha256(content).hexdigest()}."
    layers = [harmless(line, 160) for line in network.describe().splitlines()]
    if len(layers) > MOST_LINES:
        layers = [*layers[:MOST_LINES], "..."]
    kind = " (matrices int8)" if any(one.scale is not None for one in plan.weights) else ""
    x = "an index" if plan.index else f"{plan.inputs} numbers"
    text = f" It is a character model of {len(plan.symbols)} symbols, for the task {plan.task}." if plan.symbols else ""
    return [
        f"{harmless(path.name)}: a recurrent network, {x} in, {plan.outputs} numbers out a step, float32.{text}",
        f"It has {network.bound.count:,} weights{kind}.",
        source,
        "",
        *layers,
    ]

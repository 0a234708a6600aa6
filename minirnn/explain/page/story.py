"""The page's story: a run of a scene as plain data, moment by moment.

A moment is one line of the derivation at one step.  They come in the order in which they are computed: every line
forward for each step, the loss, every line backward for each step from the last, the clip.  The page draws this and
computes nothing.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.files import Json
from minirnn.explain.engine.lines import Line, Row, lines_of
from minirnn.explain.engine.scene import Scene, Take
from minirnn.explain.engine.spelling import visible
from minirnn.explain.page.chart import chart_of
from minirnn.explain.page.sums import sums_of
from minirnn.explain.page.typeset import pieces, prose
from minirnn.recurrent.direction import Direction

MOST_STEPS, MOST_UNITS = 64, 32
PHASES = ("forward", "loss", "backward", "clip")


def check_drawable(scene: Scene) -> None:
    """ValueError where a scene is larger than a page draws."""
    if scene.T > MOST_STEPS:
        raise ValueError(
            f"a page draws at most {MOST_STEPS} steps; this text has {scene.T}: take a shorter one, or num_steps"
        )
    if scene.hidden_size > MOST_UNITS:
        raise ValueError(f"a page draws at most {MOST_UNITS} units; this network has {scene.hidden_size}")


def tell(scene: Scene) -> Json:
    """The story of a scene, as JSON has it.

    ``lines`` are those of the derivation; ``values`` has the numbers of their rows, (T, n) or (1, n); ``sums`` are the
    weight gradients as they grow, and ``moments`` what is shown when: a line, a step (-1 where there is none), and for
    each sum how many steps have been added to it, T + 1 being all of them clipped.
    """
    check_drawable(scene)
    take = scene.trace()
    lines, sums = lines_of(take), sums_of(take)
    book = _Book()
    return {
        "scene": described(scene),
        "also": besides(take),
        "controls": controls(scene),
        "T": scene.T,
        "steps": _steps(take),
        "lines": [_line(line, book) for line in lines],
        "values": book.values,
        "peaks": book.peaks,
        "places": _places(lines),
        "strips": [book.key("h1", take.walk["h1"][:, 0]), book.key("dh1", take.walk["dh1"][:, 0])],
        "sums": [one.record() for one in sums],
        "moments": _moments(lines, [one.name for one in sums], list(take.walk.order)),
        "chart": chart_of(take.walk.norms[:, 0]),
        "loss": take.loss,
    }


@dataclass
class _Book:
    """Numbers by a key: a quantity's name, with a mark where that is taken by other numbers."""

    values: dict[str, list[Any]] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)
    _arrays: dict[str, Array] = field(default_factory=dict)

    def key(self, name: str, values: Array) -> str:
        while name in self._arrays and not np.array_equal(self._arrays[name], values):
            name += "*"
        if name not in self._arrays:
            self._arrays[name] = values
            self.values[name] = values.tolist()
            self.peaks[name] = float(np.abs(values).max(initial=0))
        return name


def _line(line: Line, book: _Book) -> Json:
    return {
        "phase": line.phase,
        "label": line.label,
        "text": line.text,
        "math": [("t", line.text)] if line.code else pieces(line.text),
        "remark": prose(line.remark),
        "rows": [_row(row, book) for row in line.rows],
        "adds": line.adds,
    }


def _row(row: Row, book: _Book) -> Json:
    math = [("t", row.text)] if row.plain else pieces(row.text)
    shown = {"name": row.name, "math": math, "key": book.key(row.name, row.values), "plain": row.plain}
    if row.labels:
        shown["labels"] = list(row.labels)
    if row.at is not None:
        shown["at"] = row.at
    if row.note:
        shown["note"] = row.note
    return shown


def _places(lines: list[Line]) -> dict[str, int]:
    """The lines at which a state is there, a character is said, a gradient has arrived, is sent on, and is added."""
    forward = [k for k, line in enumerate(lines) if line.phase == "forward"]
    backward = [k for k, line in enumerate(lines) if line.phase == "backward"]
    return {
        "state": max(k for k in forward[:-1] if any(row.name == "h1" for row in lines[k].rows)),
        "prediction": forward[-1],
        "first": min(k for k in backward if any(row.name == "dh1" for row in lines[k].rows)),
        "sent": max(k for k in backward if any(row.name == "dh" for row in lines[k].rows)),
        "added": backward[-1],
    }


def _moments(lines: list[Line], weights: list[str], order: list[int]) -> list[list[int]]:
    """``[line, step, how far each sum has come ...]`` for every moment."""
    entries: list[list[int]] = []
    done = dict.fromkeys(weights, 0)
    for phase, steps in zip(PHASES, (order[::-1], [-1], order, [-1]), strict=True):
        for t in steps:
            for k, line in enumerate(lines):
                if line.phase != phase:
                    continue
                if line.adds in done:
                    done[line.adds] += 1
                if phase == "clip":
                    done = {name: count + 1 for name, count in done.items()}
                entries.append([k, t, *done.values()])
    return entries


def _steps(take: Take) -> list[Json]:
    y, widest = take.probabilities, take.walk.singular_values[:, 0, 0]
    return [
        {
            "x": visible(take.read[t]),
            "target": visible(take.wanted[t]),
            "said": visible(take.said[t]),
            "p": float(y[t, take.targets[t]]),
            "surest": float(y[t].max()),
            "loss": float(take.losses[t]),
            "norm": float(take.walk.norms[t, 0]),
            "stretch": float(widest[t]),
        }
        for t in range(take.scene.T)
    ]


def described(scene: Scene) -> list[tuple[str, str]]:
    """The parts of the scene, in words."""
    text = scene.text[: scene.T + 1]
    entries = [("text", "".join(visible(c) if c.isspace() and c != " " else c for c in text)), ("cell", scene.cell)]
    entries.append(("hidden size", str(scene.hidden_size)))
    if scene.lm is None:
        entries.append(("seed", str(scene.seed)))
    entries += [("scale of U", f"{scene.scale:g}"), ("clip", "none" if scene.clip is None else f"{scene.clip:g}")]
    return [*entries, ("steps", str(scene.T))]


def besides(take: Take) -> list[tuple[str, str]]:
    """Remarks on a trained model."""
    lm = take.scene.lm
    entries = [] if lm is None else [("weights", "of a trained model")]
    if len(take.trace) > 1:
        entries.append(("layer", f"{take.walk.name} of {', '.join(take.trace)}"))
    for layer in () if lm is None else lm.network.walk():
        if isinstance(layer, Direction) and layer.prefix == f"{take.walk.name}.":
            entries += [("zoneout", "units that are kept pass the equations by")] * any(layer.zoneout)
            entries += [("weight dropout", "U has zeros in places")] * bool(layer.weight_dropout)
    return entries


def controls(scene: Scene) -> dict[str, str]:
    """A scene as the fields of a form; of a trained model, those that may still be chosen."""
    entries = {
        "text": scene.text,
        "num_steps": "" if scene.num_steps is None else str(scene.num_steps),
        "scale": f"{scene.scale:g}",
        "clip": "" if scene.clip is None else f"{scene.clip:g}",
    }
    if scene.lm is None:
        entries |= {"cell": scene.cell, "hidden_size": str(scene.hidden_size), "seed": str(scene.seed)}
    return entries

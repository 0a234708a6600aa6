"""The gradients of a layer's weights as the backward pass adds to them, for a page."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.files import Json
from minirnn.core.protocol import recurrent_bias_of, stages_of
from minirnn.explain.engine.scene import Take
from minirnn.explain.engine.spelling import visible
from minirnn.explain.page.typeset import pieces

MOST_ROWS = 64  # of a matrix that is drawn


@dataclass(frozen=True, eq=False)
class Sum:
    """One weight's gradient after each step of the backward pass.

    ``frames`` (T + 1, rows, columns) has the running sums in the order of the pass and, last, the whole gradient
    clipped.  ``rows`` are labels of those that are shown, ``places`` where in the weight they stand.  With ``single``
    each step adds to one row only, which it names: one-hot input.  Without ``frames`` it is too large to draw.
    """

    name: str
    shape: tuple[int, ...]
    rows: tuple[str, ...]
    places: tuple[int, ...]
    blocks: tuple[tuple[str, int, int], ...]
    frames: Array | None
    single: tuple[int, ...] | None = None

    def record(self) -> Json:
        """As JSON has it: a frame is all its rows, or ``{"row": k, "values": [...]}`` where only that one changed."""
        gate = self.blocks[0][0] if len(self.blocks) == 1 else ""
        record: Json = {
            "name": self.name,
            "math": pieces(f"db_{gate}" if gate else f"d{self.name}"),
            "shape": self.shape,
            "rows": self.rows,
            "places": self.places,
            "blocks": self.blocks,
        }
        if self.frames is None:
            return record | {"frames": None, "peak": 0.0}
        frames: list[Any] = self.frames.tolist()
        if self.single is not None:
            frames[:-1] = [
                {"row": row, "values": frame[row]} for row, frame in zip(self.single, frames[:-1], strict=True)
            ]
        return record | {"frames": frames, "peak": float(np.abs(self.frames).max(initial=0))}


def sums_of(take: Take) -> list[Sum]:
    """One for every weight."""
    return [_sum_of(take, name) for name in take.walk.weights]


def _sum_of(take: Take, name: str) -> Sum:
    walk = take.walk
    running, clipped = walk.sums(name)[list(walk.order)], take.clipped[f"{walk.name}.{name}"]
    shape, x = clipped.shape, walk["x"]
    blocks = _blocks(take, name, shape[-1])
    if len(shape) > 1 and shape[0] > MOST_ROWS and x.dtype.kind not in "iu":
        return Sum(name, shape, (), (), blocks, None)
    frames = np.concatenate([running, clipped[None]]).reshape(len(running) + 1, -1, shape[-1])
    if name == "W" and x.dtype.kind in "iu":
        read = x[list(walk.order), 0].tolist()
        here = sorted(set(read))  # of characters that are not read the gradient is 0
        labels = tuple(visible(take.scene.vocab.symbols[k]) for k in here)
        return Sum(name, shape, labels, tuple(here), blocks, frames[:, here], tuple(map(here.index, read)))
    places = tuple(range(frames.shape[1]))
    labels = tuple(str(k + 1) for k in places) if len(shape) > 1 else ("",)
    return Sum(name, shape, labels, places, blocks, frames)


def _blocks(take: Take, name: str, width: int) -> tuple[tuple[str, int, int], ...]:
    """The parts that belong to each gate: its letter, and from which column to which."""
    stages = stages_of(take.walk.cell)
    gates = [gate for stage in stages for gate in stage.gates]
    biases = [gate for stage in stages for gate in recurrent_bias_of(stage)]
    if name in ("W", "U", "b") and len(gates) > 1:
        H = width // len(gates)
        return tuple((gate, k * H, (k + 1) * H) for k, gate in enumerate(gates))
    own = next((gate for gate in biases if name == f"b{gate}"), "")
    return ((own, 0, width),)

"""Pictures of a trace over time (extra ``plot``: matplotlib).

Each is returned, and shows itself in a notebook; where ``out`` is given, it is written there too.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.layer import Layer
from minirnn.core.protocol import stages_of
from minirnn.explain.engine.trace import Walk, trace
from minirnn.layers.losses import cross_entropy
from minirnn.training.plots import Picture, check_picture, figure_class, finished

FAINTEST = 1e-6  # of the largest gradient: what is smaller is drawn alike
COLUMNS = 64  # characters in a line of coloured text
TICKS = 48  # characters under an axis, at most


class Flow(NamedTuple):
    """How far the gradient of each step's loss reaches back.

    ``norms[s, t]`` is ‖∂L[s]/∂h[t]‖, of the loss of step s alone and the state after step t: 0 where t > s.  ``norm``
    is that of the gradient of all weights, of the mean over all steps' losses.
    """

    norms: Array
    norm: float


def flow_of(network: Layer, x: Array, targets: Array, layer: str | None = None) -> Flow:
    """The flow through a recurrent layer, by its name (None: the last one), of a network that gives logits.

    ``x`` and ``targets`` are indices (T,).  Rows of one batch have each step's loss alone.
    """
    T = len(x)
    network = network.to(backend="numpy", dtype="float64")
    rows = np.repeat(np.asarray(x)[:, None], T, axis=1)
    logits, _ = network(rows)
    _, dmean = cross_entropy(logits[:, :1], np.asarray(targets)[:, None])
    dy: Array = np.zeros_like(logits)
    dy[np.arange(T), np.arange(T)] = T * dmean[:, 0]
    traced = trace(network, rows, dy)
    walk = traced[layer or list(traced)[-1]]
    gradient = sum(float((g**2).sum()) for g in traced.grads.values())
    return Flow(walk.norms.T, float(np.sqrt(gradient)) / T)


def draw_flow(
    flows: Mapping[str, Flow],
    characters: Sequence[str],
    out: str | os.PathLike[str] | None = None,
    *,
    clip: float | None = None,
) -> Picture:
    """Heat maps of the flow, one for each name side by side; below them, with ``clip``, of the clipped gradient.

    A clipped gradient is the same one made shorter: what has vanished on its way stays as faint beside the rest.
    """
    Figure = _figure_class(out)
    from matplotlib.colors import LogNorm  # after figure_class, which says what to install

    rows = 1 if clip is None else 2
    figure = Figure(figsize=(1 + 3.4 * len(flows), 0.4 + 3.4 * rows), layout="constrained")
    axes = figure.subplots(rows, len(flows), squeeze=False, sharex=True, sharey=True)
    largest = max(float(flow.norms.max()) for flow in flows.values())
    faintest = max(FAINTEST * largest, 1e-300)
    colors = LogNorm(faintest, max(largest, 10 * faintest))
    for k, (name, flow) in enumerate(flows.items()):
        shares = [1.0] if clip is None else [1.0, min(1.0, clip / flow.norm) if flow.norm else 1.0]
        for axis, share in zip(axes[:, k], shares, strict=True):
            seen = np.where(np.tri(len(flow.norms), dtype=bool), np.maximum(share * flow.norms, faintest), np.nan)
            image = axis.imshow(seen, norm=colors, cmap="viridis", aspect="auto")
        axes[0, k].set_title(f"{name}, ‖dθ‖ = {flow.norm:.3g}", fontsize=9)
        if clip is not None:
            axes[1, k].set_title(f"clipped at {clip:g}: × {shares[1]:.3g}", fontsize=9)
        _characters(axes[-1, k], characters)
        axes[-1, k].set_xlabel("the state after step t", fontsize=8)
    for axis in axes[:, 0]:
        axis.set_ylabel("the loss of step s", fontsize=8)
    figure.colorbar(image, ax=axes, label="‖∂L[s]/∂h[t]‖")
    return finished(figure, out)


def draw_gates(
    walk: Walk, characters: Sequence[str], out: str | os.PathLike[str] | None = None, *, row: int = 0
) -> Picture:
    """Every gate and state of one row, a heat map of units against steps each.

    Of a sigmoid red is open and blue closed, of the others red is above 0 and blue below.
    """
    Figure = _figure_class(out)
    gates = [
        gate for stage in stages_of(walk.cell) for gate in stage.gates if gate in walk and gate not in walk.cell.state
    ]
    names = [*gates, *(f"{state}1" for state in walk.cell.state)]
    figure = Figure(figsize=(1.5 + 0.16 * max(24, walk.T), 1.4 * len(names)), layout="constrained")
    axes = figure.subplots(len(names), 1, squeeze=False, sharex=True)[:, 0]
    for axis, name in zip(axes, names, strict=True):
        value = walk[name][:, row].T
        most = max(1.0, float(np.abs(value).max()))
        least = 0.0 if most == 1 and value.min() >= 0 else -most
        image = axis.imshow(value, vmin=least, vmax=most, cmap="RdBu_r", aspect="auto", interpolation="nearest")
        axis.set_ylabel(name.replace("1", "'"), rotation=0, labelpad=14)
        axis.set_yticks([])
        figure.colorbar(image, ax=axis, pad=0.01)
    _characters(axes[-1], characters)
    return finished(figure, out)


def draw_text(
    values: Array, characters: Sequence[str], out: str | os.PathLike[str] | None = None, *, title: str = ""
) -> Picture:
    """A text with each character on the colour of a number (T,): red above 0, blue below, by the largest."""
    Figure = _figure_class(out)
    from matplotlib import colormaps

    lines = -(-len(characters) // COLUMNS)
    figure = Figure(figsize=(0.15 * min(COLUMNS, len(characters)) + 0.4, 0.28 * lines + 0.4), layout="constrained")
    axis = figure.subplots()
    axis.set(xlim=(0, min(COLUMNS, len(characters))), ylim=(lines, 0), xticks=[], yticks=[])
    axis.set_title(title, fontsize=9)
    most = float(np.abs(values).max()) or 1.0
    for k, (value, character) in enumerate(zip(values, characters, strict=True)):
        column, line = k % COLUMNS, k // COLUMNS
        color = colormaps["RdBu_r"](0.5 + 0.4 * float(value) / most)
        axis.add_patch(_square(column, line, color))
        shown = character if character.isprintable() else "·"
        axis.text(column + 0.5, line + 0.55, shown, ha="center", va="center", family="monospace", fontsize=9)
    return finished(figure, out)


def _figure_class(out: str | os.PathLike[str] | None) -> Any:
    """matplotlib's figure, after a look at where it is to be written."""
    if out is not None:
        check_picture(out)
    return figure_class()


def _square(column: int, line: int, color: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column, line), 1, 1, facecolor=color, linewidth=0)


def _characters(axis: Any, characters: Sequence[str]) -> None:
    """The text under an axis of steps, as far as there is room for it."""
    apart = -(-len(characters) // TICKS)
    places = range(0, len(characters), apart)
    shown = [characters[k] if characters[k].isprintable() else "·" for k in places]
    axis.set_xticks(list(places), ["␣" if c == " " else c for c in shown], fontsize=7, family="monospace")

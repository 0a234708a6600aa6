"""A trace in the terminal: the equations, forward and then backward, with one step's numbers beside each."""

from collections.abc import Sequence

import numpy as np
from rich.table import Table
from rich.text import Text

from minirnn.backend import Array
from minirnn.explain.trace import Walk

MOST = 8  # numbers of a row that are shown
PRODUCTS = (  # what the scan does around a cell, in the words of scan.py
    (("p", "p = x W + b"), ("q", "q = h U")),
    (("dq", "dq"), ("dp", "dp"), ("dh", "dh = dq Uᵀ + the direct path")),
)


def numbers(row: Array) -> str:
    """Some numbers in a line, or the first of them and how long the whole row is."""
    shown = " ".join(f"{value:+.4f}" if abs(value) >= 5e-5 or value == 0 else f"{value:+.0e}" for value in row[:MOST])
    return shown if len(row) <= MOST else f"{shown} … {len(row)} in all, ‖·‖ = {np.linalg.norm(row):.4g}"


def step_table(walk: Walk, t: int, row: int = 0) -> Table:
    """Every line of the derivation at step t: what it computed in one row of the batch."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", justify="right", style="cyan", no_wrap=True)
    table.add_column("equation", no_wrap=True)
    table.add_column("", style="bold", no_wrap=True)
    table.add_column("numbers")
    ahead, back = PRODUCTS
    for name, text in ahead:
        table.add_row("", text, name, numbers(walk[name][t, row]), style="dim")
    _lines(table, walk, t, row, backward=False)
    table.add_section()
    table.add_row("", "∂L/∂h', of all that follows", "dh'", numbers(walk["dh1"][t, row]), style="dim")
    _lines(table, walk, t, row, backward=True)
    for name, text in back:
        table.add_row("", text, name, numbers(walk[name][t, row]), style="dim")
    return table


def _lines(table: Table, walk: Walk, t: int, row: int, *, backward: bool) -> None:
    for line in walk.equations:
        if line.backward != backward:
            continue
        found = walk.line(line)
        number = " ".join(f"({n})" for n in line.numbers)
        for k, (name, value) in enumerate(found.items()):
            shown = name[:-1] + "'" if name.endswith("1") else name
            table.add_row(number if k == 0 else "", line.text if k == 0 else "", shown, numbers(value[t, row]))
        if not found:
            table.add_row(number, line.text, "", "")


def time_table(walk: Walk, characters: Sequence[str], losses: Sequence[float] | None = None, row: int = 0) -> Table:
    """A line a step: what came in, the loss, ‖h'‖, ‖∂L/∂h'‖, and the extremes of the spectrum of ∂h'/∂h."""
    heads = ["t", "in", *(["loss"] if losses is not None else []), "‖h'‖", "‖∂L/∂h'‖", "", "σ max", "σ min"]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        table.add_column(head, justify="left" if head in ("in", "") else "right", no_wrap=True)
    spectrum, norms = walk.singular_values[:, row], walk.norms[:, row]
    h = np.linalg.norm(walk["h1"][:, row], axis=-1)
    largest = float(norms.max()) or 1.0
    for t in range(walk.T):
        loss = [f"{losses[t]:.3f}"] if losses is not None else []
        bar = "█" * round(16 * float(norms[t]) / largest)
        extremes = (f"{spectrum[t, 0]:.3g}", f"{spectrum[t, -1]:.2g}")
        table.add_row(str(t), repr(characters[t]), *loss, f"{h[t]:.3f}", f"{norms[t]:.3e}", bar, *extremes)
    return table


def coloured(values: Array, characters: Sequence[str]) -> Text:
    """A text with each character on the colour of a number (T,): red above 0, blue below, by the largest."""
    most = float(np.abs(values).max()) or 1.0
    text = Text()
    for value, character in zip(values, characters, strict=True):
        share = float(value) / most
        faint = round(255 * (1 - 0.75 * abs(share)))
        red, blue = (255, faint) if share > 0 else (faint, 255)
        text.append(character, style=f"black on rgb({red},{faint},{blue})")
    return text

"""A trace in the terminal: the equations, forward and then backward, with one step's numbers beside each."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from rich.table import Table
from rich.text import Text

from minirnn.backend import Array
from minirnn.explain.lines import Row, lines_of
from minirnn.explain.scene import Take

MOST = 8  # numbers of a row that are shown


def numbers(row: Array) -> str:
    """Some numbers in a line, or the first of them and how long the whole row is."""
    shown = " ".join(f"{value:+.4f}" if abs(value) >= 5e-5 or value == 0 else f"{value:+.0e}" for value in row[:MOST])
    return shown if len(row) <= MOST else f"{shown} … {len(row)} in all, ‖·‖ = {np.linalg.norm(row):.4g}"


def step_table(take: Take, t: int) -> Table:
    """Every line that is computed at step t, forward, for the loss, and backward, and what it computed."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", justify="right", style="cyan", no_wrap=True)
    table.add_column("equation", no_wrap=True)
    table.add_column("", style="bold", no_wrap=True)
    table.add_column("numbers")
    for phase, lines in groupby(lines_of(take), lambda line: line.phase):
        if phase == "clip":
            break  # it belongs to no step
        table.add_section()
        for line in lines:
            rows = [(row.text, numbers(_of_step(row, t))) for row in line.rows if row.at in (None, t)]
            if line.adds:
                size = float(np.linalg.norm(take.walk.sums(line.adds)[t]))
                rows = [(f"d{line.adds}", f"so far of norm {size:.4g}")]
            for k, (name, shown) in enumerate(rows or [("", "")]):
                table.add_row("" if k else line.label, "" if k else line.text, name, shown)
    return table


def _of_step(row: Row, t: int) -> Array:
    """A row's numbers at step t; of one that has a number for each step, that number."""
    if row.name == "losses":
        return np.asarray(row.values[0, t : t + 1])
    return np.asarray(row.values[t if len(row.values) > 1 else 0])


def time_table(take: Take) -> Table:
    """A line a step: what came in, the loss, ‖h'‖, ‖∂L/∂h'‖, and the extremes of the spectrum of ∂h'/∂h."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("t", "in", "loss", "‖h'‖", "‖∂L/∂h'‖", "", "σ max", "σ min"):
        table.add_column(head, justify="left" if head in ("in", "") else "right", no_wrap=True)
    walk = take.walk
    spectrum, norms = walk.singular_values[:, 0], walk.norms[:, 0]
    h = np.linalg.norm(walk["h1"][:, 0], axis=-1)
    largest = float(norms.max()) or 1.0
    for t, (character, loss) in enumerate(zip(take.read, take.losses, strict=True)):
        bar = "█" * round(16 * float(norms[t]) / largest)
        extremes = (f"{spectrum[t, 0]:.3g}", f"{spectrum[t, -1]:.2g}")
        table.add_row(str(t), repr(character), f"{loss:.3f}", f"{h[t]:.3f}", f"{norms[t]:.3e}", bar, *extremes)
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

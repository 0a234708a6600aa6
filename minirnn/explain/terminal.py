"""A trace in the terminal: the equations, forward and then backward, with one step's numbers beside each."""

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from minirnn.core.backend import Array
from minirnn.explain.engine.lines import Line, Row, lines_of
from minirnn.explain.engine.scene import Take

MOST = 8  # numbers of a row that are shown


def numbers(row: Array) -> str:
    """Some numbers in a line, or the first of them and how long the whole row is."""
    shown = " ".join(f"{value:+.4f}" if abs(value) >= 5e-5 or value == 0 else f"{value:+.0e}" for value in row[:MOST])
    return shown if len(row) <= MOST else f"{shown} … {len(row)} in all, ‖·‖ = {np.linalg.norm(row):.4g}"


def step_table(take: Take, t: int, width: int = 80) -> RenderableType:
    """Every line that is computed at step t, forward, for the loss, and backward, and what it computed.

    Numbers stand beside their equation, or below it where ``width`` columns have no room for three of them.
    """
    phases = [
        [(line, _rows(take, line, t)) for line in lines]
        for phase, lines in groupby(lines_of(take), lambda line: line.phase)
        if phase != "clip"  # it belongs to no step
    ]
    lines = [line for phase in phases for line, _ in phase]
    named = max(len(name) for phase in phases for _, rows in phase for name, _ in rows)
    if max(len(line.label) + len(line.text) for line in lines) + named + 6 + 24 > width:
        return Group(*(part for phase in phases for part in _below(phase, named)))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", justify="right", style="cyan", no_wrap=True)
    table.add_column("equation", no_wrap=True)
    table.add_column("", style="bold", no_wrap=True)
    table.add_column("numbers")
    for phase in phases:
        table.add_section()
        for line, rows in phase:
            for k, (name, shown) in enumerate(rows):
                table.add_row("" if k else line.label, "" if k else line.text, name, shown)
    return table


def _rows(take: Take, line: Line, t: int) -> list[tuple[str, str]]:
    """Names and numbers of what a line computed at step t."""
    if line.adds:
        size = float(np.linalg.norm(take.walk.sums(line.adds)[t]))
        return [(f"d{line.adds}", f"so far of norm {size:.4g}")]
    return [(row.text, numbers(_of_step(row, t))) for row in line.rows if row.at in (None, t)] or [("", "")]


def _below(phase: list[tuple[Line, list[tuple[str, str]]]], named: int) -> Iterator[RenderableType]:
    """The lines of a phase with their numbers below them."""
    for line, rows in phase:
        yield Text.assemble((line.label, "cyan"), "  ", line.text)
        grid = Table.grid(padding=(0, 1, 0, 0))
        grid.add_column(style="bold", no_wrap=True, min_width=named + 2)
        grid.add_column()
        for name, shown in rows:
            if shown:
                grid.add_row(f"  {name}", shown)
        yield grid


def _of_step(row: Row, t: int) -> Array:
    """A row's numbers at step t; of one that has a number for each step, that number."""
    if row.name == "losses":
        return np.asarray(row.values[0, t : t + 1])
    return np.asarray(row.values[t if len(row.values) > 1 else 0])


def time_table(take: Take, width: int = 80) -> Table:
    """A line a step: what came in, the loss, ‖h'‖, ‖∂L/∂h'‖, and the extremes of the spectrum of ∂h'/∂h.

    Of these as many from the left as ``width`` columns have room for; the bar of ‖∂L/∂h'‖ is the first to go.
    """
    walk = take.walk
    spectrum, norms = walk.singular_values[:, 0], walk.norms[:, 0]
    h = np.linalg.norm(walk["h1"][:, 0], axis=-1)
    largest = float(norms.max()) or 1.0
    columns = {
        "t": [str(t) for t in range(len(take.read))],
        "in": [repr(character) for character in take.read],
        "loss": [f"{loss:.3f}" for loss in take.losses],
        "‖h'‖": [f"{size:.3f}" for size in h],
        "‖∂L/∂h'‖": [f"{norm:.3e}" for norm in norms],
        "": ["█" * round(16 * float(norm) / largest) for norm in norms],
        "σ max": [f"{most:.3g}" for most in spectrum[:, 0]],
        "σ min": [f"{least:.2g}" for least in spectrum[:, -1]],
    }

    def wide() -> int:
        return sum(max(len(head), *map(len, cells)) + 2 for head, cells in columns.items()) - 2

    if wide() > width:
        del columns[""]
    while wide() > width and len(columns) > 2:
        columns.popitem()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in columns:
        table.add_column(head, justify="left" if head in ("in", "") else "right", no_wrap=True)
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
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

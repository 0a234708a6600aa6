"""The vanilla RNN, the GRU and the LSTM on tasks that take a long memory, and on one that does not.

    python examples/experiments                                  # adding and copying, T = 100
    python examples/experiments adding --cell gru --length 500
    python examples/experiments adding copying characters --text time_machine.txt --picture experiments.svg

Scores are of fresh sequences, beside those that others published and what is reached without a memory.
docs/experiments.md says more.
"""

import sys
from pathlib import Path
from typing import Any

import click
import picture
from characters import Characters
from learning import BATCH, Memory, Run
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from tasks import CELLS, TASKS

ROW = "| {:4} | {:>4} | {:>8} | {:>9} | {:>9} | {:>7} | {:>7} |".format


@click.command(help=__doc__.partition("\n")[0])
@click.argument("names", nargs=-1, metavar="[adding] [copying] [characters]", type=click.Choice([*TASKS, "characters"]))
@click.option("--cell", "cells", multiple=True, type=click.Choice(list(CELLS)), help="Again for more  [default: all]")
@click.option(
    "--seed", "seeds", multiple=True, type=click.IntRange(0), default=[0], help="Again for more  [default: 0]"
)
@click.option("--length", type=click.IntRange(1), default=100, show_default=True, help="T, of adding and copying.")
@click.option("--tested", type=click.IntRange(1), help="Another length to test at.")
@click.option("--hidden-size", type=click.IntRange(1), help="Units  [default: 64 adding, 96 copying]")
@click.option("--sequences", type=click.IntRange(BATCH), help="To learn from  [default: 16000 adding, 128000 copying]")
@click.option("--lr", type=click.FloatRange(0, min_open=True), help="Its peak  [default: 0.02 adding, 0.01 copying]")
@click.option("--plain-gates", is_flag=True, help="Begin with gates half open, whatever the length.")
@click.option("--text", type=click.Path(path_type=Path), help="The Time Machine, plain text, for characters.")
@click.option("--epochs", type=click.IntRange(1), default=500, show_default=True, help="Of characters.")
@click.option("--backend", type=click.Choice(["auto", "numpy", "numba"]), default="auto", show_default=True)
@click.option("--picture", "path", type=click.Path(path_type=Path), help="Draw it, as SVG, PNG or PDF.")
def main(
    names: tuple[str, ...], cells: tuple[str, ...], seeds: tuple[int, ...], path: Path | None, **options: Any
) -> None:
    experiments = [chosen(name, options) for name in dict.fromkeys(names or TASKS)]
    if path:
        picture.check(path)
    found: list[tuple[Any, list[Run]]] = []
    for experiment in experiments:
        heading(experiment)
        each = [(cell, seed) for cell in dict.fromkeys(cells or CELLS) for seed in dict.fromkeys(seeds)]
        found.append((experiment, [follow(experiment, cell, seed) for cell, seed in each]))
    if path:
        picture.draw(found, path)
        print(f"\nsaved {path}")


def chosen(name: str, options: dict[str, Any]) -> Any:
    """An experiment, with those of the options that it has."""
    if name == "characters":
        if options["text"] is None:
            raise ValueError("characters needs --text FILE, a text to learn")
        return Characters(options["text"], options["epochs"])
    return Memory(
        TASKS[name],
        **{key: options[key] for key in ("length", "sequences", "lr", "tested", "plain_gates", "backend")},
        hidden=options["hidden_size"],
    )


def heading(experiment: Any) -> None:
    """What the rows that follow are."""
    without = "" if experiment.baseline is None else f"; without a memory {experiment.baseline:.4f}"
    print(f"\n{experiment.title}: {experiment.measure}{without}\n")
    print(ROW("cell", "seed", "minirnn", "published", experiment.unit, "reach", "seconds"))
    print(ROW("-" * 4, "-" * 4, "-" * 8, "-" * 9, "-" * 9, "-" * 7, "-" * 7), flush=True)


def follow(experiment: Any, cell: str, seed: int) -> Run:
    """Run an experiment for one network under a progress bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[words]}"), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(f"{experiment.title}, {cell}, seed {seed}", total=1.0, words="")

        def report(done: float, score: float) -> None:
            progress.update(bar, completed=done, words=f"{experiment.measure} {score:.4f}")

        run: Run = experiment.run(cell, seed, report)
    reach = "-" if run.reach is None else f"{run.reach:.0e}"
    words = (f"{run.final:.4f}", experiment.published(cell), f"{run.seen[-1]:,}", reach, f"{run.seconds:.0f}")
    print(ROW(cell, seed, *words), flush=True)
    return run


def run_main() -> None:
    """The command line, with every mistake of a user one sentence."""
    try:
        main(standalone_mode=False)
        return
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        sentence = error.format_message()
    except (ValueError, ArithmeticError, OSError, ImportError) as error:
        sentence = str(error)
    click.echo(f"experiments: {sentence}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    run_main()

"""``python -m benchmarks``: minirnn beside the other libraries that are installed here."""

import json
import sys
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.cases import CELLS, GRID, KINDS, QUICK, TOY, select
from benchmarks.channel import AbsentError, FailedError
from benchmarks.machine import available, describe
from benchmarks.peers import CONTESTANTS, NARROW, SUBJECT
from benchmarks.race import Pace
from benchmarks.report import show
from benchmarks.results import Results
from benchmarks.session import Plan, run

INTERRUPTED = 130  # the exit code that shells give a program ended by Ctrl-C
WIDTH = 200  # columns of the tables where no terminal says how many it has
SIZES = {"full": (GRID, Pace(7)), "quick": (QUICK, Pace(3)), "toy": (TOY, Pace(2, sample=0.002, pause=0.0))}


def writable(context: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
    """A file that can be written when the run is over, which may be an hour from now."""
    if path is not None and not path.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no directory {path.absolute().parent}")
    return path


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--threads", type=click.IntRange(1), multiple=True, help="How many threads; may be repeated.  [1 and 2]")
@click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, help="Only this kind; may be repeated.")
@click.option("--cell", "cells", type=click.Choice(CELLS), multiple=True, help="Only this cell; may be repeated.")
@click.option("--match", default="", help="Only cases with this in their name, for example 'B32 D256'.")
@click.option("--only", type=click.Choice(CONTESTANTS), multiple=True, help="Only this contestant; may be repeated.")
@click.option(
    "--narrow", is_flag=True, help="Only products in bf16 and int8, beside minirnn in float32: minutes with one thread."
)
@click.option("--rounds", type=click.IntRange(1), help="Samples of each contestant.  [7; quick 3; toy 2]")
@click.option("--quick", "size", flag_value="quick", help="A few cases of each kind: minutes.")
@click.option("--toy", "size", flag_value="toy", help="Tiny sizes: seconds; shows that it runs, not how fast.")
@click.option("--full", "size", flag_value="full", default=True, help="All cases: an hour or two.  [the default]")
@click.option(
    "--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), callback=writable, help="Write all of it."
)
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), callback=writable, help="Draw the ratios: a PNG or SVG."
)
def main(
    threads: tuple[int, ...],
    kinds: tuple[str, ...],
    cells: tuple[str, ...],
    match: str,
    only: tuple[str, ...],
    narrow: bool,  # noqa: FBT001 - click passes it by name
    rounds: int | None,
    size: str,
    json_path: Path | None,
    plot: Path | None,
) -> None:
    """Time minirnn beside the other libraries that are installed, after checking that all compute the same.

    Exits 1 if one of them does not, or fails; times never decide.
    """
    cores = len(available())
    if too_many := [n for n in threads if n > cores]:
        said = f"{too_many[0]} threads do not fit this machine's {cores} cores"
        raise click.BadParameter(said, param_hint="--threads")
    threads = tuple(dict.fromkeys(threads)) or tuple(range(1, min(2, cores) + 1))
    chosen, pace = SIZES[size]
    cases = [case for case in select(chosen, kinds, cells, match) if case.narrow or not narrow]
    if not cases:
        raise click.UsageError("no case is of this kind and cell and has this in its name")
    if plot is not None and find_spec("matplotlib") is None:
        raise click.UsageError("--plot needs matplotlib: install the extra bench")
    if rounds is not None:
        pace = Pace(rounds, pace.sample, pace.pause)
    names = only or ((SUBJECT, *NARROW) if narrow else CONTESTANTS)
    results = Results(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=describe(),
        options={"size": size, "contestants": list(names), "threads": list(threads)} | vars(pace),
    )
    code = 0
    try:
        follow(Plan(cases, names, threads, pace, weighed=not narrow), results)
    except (AbsentError, FailedError) as error:  # of the reference: nothing can be compared any more
        click.echo(f"benchmarks: {error}", err=True)
        code = 1
    except KeyboardInterrupt:
        code = INTERRUPTED
    if results.rows and not any(row.standings for row in results.rows):
        code = 2  # nobody was there
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    code = max(code, show(results, console))
    if json_path is not None:
        json_path.write_text(json.dumps(results.as_json(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if plot is not None:
        from benchmarks.picture import draw  # matplotlib, for those who want it

        if not draw(results, plot):
            click.echo("no plot: there is nothing to compare with", err=True)
    sys.exit(code)


def follow(plan: Plan, results: Results) -> None:
    """Run the plan under a progress bar, on stderr."""
    columns = (TextColumn("{task.completed:.0f}/{task.total:.0f}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.description}"), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=len(plan.cases) * len(plan.threads))
        run(plan, results, lambda text: bar.update(task, description=text, completed=len(results.rows)))


if __name__ == "__main__":
    main()

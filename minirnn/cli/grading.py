"""``minirnn grade``: what students of a course hand in."""

import contextlib
import io
import json
import sys
from pathlib import Path

import click

from minirnn.cli.shared import check_writable, one_sentence
from minirnn.cli.terminal import console


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True)
@click.option(
    "--results", type=click.Path(path_type=Path), metavar="FILE", help="Write results.json, as Gradescope reads it."
)
@one_sentence
def grade(file: Path, as_json: bool, results: Path | None) -> None:  # noqa: FBT001 - click passes options by name
    """Check every function in FILE that a course asks for: CS231n, the deep-learning specialisation, CMU 11-785, d2l.

    A backward pass is held against derivatives of the forward pass in FILE, a forward pass against the course's
    formula. Say which gradient is wrong, by what pattern, in which line, and on which smallest input. FILE is run.

    Exit code 1 if a function is wrong, 2 if FILE cannot be graded.
    """
    from minirnn.testing.courses import results as words
    from minirnn.testing.courses.grading import grade as graded

    if results is not None:
        check_writable(results, (file,), "--results")
    try:
        with console.status(f"grading {file}") as status, contextlib.redirect_stdout(io.StringIO()):
            whole = graded(file, progress=lambda name: status.update(f"grading {file}: {name}"))
    except (OSError, ValueError) as error:
        if results is not None:
            words.write(words.ungraded(str(error)), results)
        raise
    if results is not None:
        words.write(words.for_gradescope(whole), results)
    if as_json:
        click.echo(json.dumps(words.record(whole)))
    else:
        width = max(len(result.function) for result in whole.results)
        for result in whole.results:
            click.echo(f"{result.function:{width}}  {result.status}")
            for line in result.lines:
                click.echo(f"    {line}")
        click.echo(whole.words)
    if not whole.ok:
        sys.exit(1)

"""``minirnn train --resume``: what the run in a directory began with, and where it goes on."""

from dataclasses import dataclass, field
from pathlib import Path

import click
from click.core import ParameterSource

from minirnn.cli.options import LIMITS, TrainOptions, spelt
from minirnn.cli.terminal import say
from minirnn.core.files import Json
from minirnn.training.checkpoints import Folder
from minirnn.training.loop import TrainingState
from minirnn.training.metrics import METRICS, RUN, damaged, read_run

# what may be otherwise when a run goes on; all else decides what its steps are
FREE = {*LIMITS, "lr", "clip", "on_nonfinite", "patience", "every", "keep", "log_every", "out", "as_json", "backend"}


@dataclass(frozen=True)
class Saved:
    """A run to go on with: the options and the digest of the text that it began with, and its newest checkpoint.

    Without ``state`` it was ended before its first checkpoint, and goes on from step 0.
    """

    options: Json
    text: str
    state: TrainingState | None = None
    more: Json = field(default_factory=dict)


def check_something_to_resume(ctx: click.Context, files: tuple[Path, ...], folder: Folder) -> None:
    """Raise ValueError where ``--resume`` names no run and nothing to begin: a misspelt directory, for example.

    Called before the directory is made.
    """
    if not files and not _on_command_line(ctx) and not _traces(folder):
        raise ValueError(
            f"nothing to resume in {folder.path}: it holds no run; to begin one there, name its text or its options, "
            "or leave out --resume"
        )


def begin_or_go_on(
    ctx: click.Context, files: tuple[Path, ...], options: TrainOptions, folder: Folder | None
) -> tuple[tuple[Path, ...], TrainOptions, Saved | None]:
    """The files and options of a run, and what it goes on from, if it does.

    Raises ValueError, with nothing changed, where the directory holds a run and it is not clear how it goes on.
    """
    if folder and options.resume:
        saved = _saved(folder)
        if saved:
            return *as_begun(ctx, files, options, saved.options), saved
        say(f"nothing to resume in {folder.path}: starting afresh")
    elif folder and folder.steps():
        raise ValueError(
            f"{folder.path} holds a run already: --resume goes on with it; another --checkpoint begins anew"
        )
    return files, options, None


def _saved(folder: Folder) -> Saved | None:
    """The run in a directory, None where there is none."""
    newest = folder.newest(say)
    if newest:
        state, more = newest
        return Saved(more["options"], more["text"], state, more)
    if folder.steps():
        raise ValueError(
            f"no checkpoint in {folder.path} is sound: bring back one that is, or remove them all, and --resume begins "
            f"again at step 0, as {RUN} says"
        )
    about = read_run(folder.path)
    if about:
        return Saved(about["options"], about["text"])
    if _traces(folder):
        raise ValueError(
            f"{folder.path} holds a run without checkpoint, and without {RUN}, which says how it began: "
            "bring that back to go on, or begin anew in another --checkpoint directory"
        )
    return None


def _traces(folder: Folder) -> bool:
    """Whether a directory holds something of a run."""
    return bool(folder.steps()) or any((folder.path / name).exists() for name in (RUN, METRICS, folder.best.name))


def as_begun(
    ctx: click.Context, files: tuple[Path, ...], options: TrainOptions, begun: Json
) -> tuple[tuple[Path, ...], TrainOptions]:
    """The options of a run that goes on: those that it began with, but for what the command line changes."""
    _check_options(ctx, begun, Path(options.checkpoint or "") / RUN)
    now = _on_command_line(ctx)
    for name in sorted(now - FREE):
        value = getattr(options, name)
        if value != begun.get(name):
            raise ValueError(f"--{spelt(name)} must be {begun.get(name)}, as the run began; got {value}")
    before = dict(begun)
    if now & set(LIMITS):
        before |= dict.fromkeys(LIMITS)
    merged = options.with_recorded({name: value for name, value in before.items() if name not in now})
    return files or tuple(Path(path) for path in begun["files"]), merged


def _on_command_line(ctx: click.Context) -> set[str]:
    """The options that were written on the command line, but for those that say which run is meant."""
    names = {name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    return names - {"files", "checkpoint", "resume"}


def _check_options(ctx: click.Context, begun: Json, path: Path) -> None:
    """Raise ValueError unless every option that a run began with is what the command line would take."""
    if not isinstance(begun.get("files"), list) or not all(isinstance(file, str) for file in begun["files"]):
        raise damaged(path, "files must be a list of paths")
    every = begun.get("every")
    if not (isinstance(every, list) and len(every) == 2 and sum(part is not None for part in every) == 1):
        raise damaged(path, "every must be a number of steps or of seconds")
    if not all(part is None or (isinstance(part, (int, float)) and part > 0) for part in every):
        raise damaged(path, "every must be above 0")
    for param in ctx.command.params:
        name, value = param.name or "", begun.get(param.name or "")
        if value is None or name in ("files", "every"):
            continue
        try:
            taken = param.type.convert(value, param, ctx)
        except (click.BadParameter, TypeError, ValueError):
            taken = None
        if taken is None or value not in (taken, str(taken)):
            raise damaged(path, f"{name} cannot be {value!r:.60}")

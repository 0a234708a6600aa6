"""Shared by all commands: a user's mistake ends in one sentence; options that several have."""

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import click

from minirnn.cli.terminal import say
from minirnn.core import interrupts
from minirnn.core.backend import BACKENDS
from minirnn.core.files import ModelFileWarning

OUT = "minirnn.safetensors"  # what train writes and the others read, by default

model_option = click.option("--model", type=click.Path(path_type=Path), default=OUT, show_default=True)
backend_option = click.option("--backend", type=click.Choice(["auto", *BACKENDS]), default="auto", show_default=True)


class Shares(click.ParamType[float | list[float]]):
    """A number, or several with commas between."""

    name = "P[,P]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | list[float]:
        """The numbers that were written, or a default as it is."""
        if isinstance(value, list):  # as a run's record has it
            return [float(number) for number in value]
        if not isinstance(value, str):
            return float(value)
        try:
            numbers = [float(word) for word in value.split(",")]
        except ValueError:
            self.fail(f"{value!r} is not a number, nor several with commas between", param, ctx)
        return numbers if len(numbers) > 1 else numbers[0]


def one_sentence(command: Callable[..., None]) -> Callable[..., None]:
    """Turn what a user can cause, bad input and missing files, into one sentence and exit code 2."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            with warnings_as_sentences():
                command(*args, **kwargs)
        except Exception as error:
            sentence = sentence_for(error)
            if sentence is None or interrupts.Raised.came:
                raise
            say((sentence, "bold red"))
            sys.exit(2)

    return wrapped


@contextmanager
def warnings_as_sentences() -> Iterator[None]:
    """Show what a model file leaves open in one line, without the place in the code that Python would show."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", ModelFileWarning)
        show = warnings.showwarning

        def shown(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if isinstance(message, ModelFileWarning):
                say((f"minirnn: {message}", "yellow"))
            else:
                show(message, category, *place, **more)

        warnings.showwarning = shown
        yield


def sentence_for(error: BaseException) -> str | None:
    """The message for an error that a user can cause; None for any other."""
    if isinstance(error, BrokenPipeError):
        return None  # click ends quietly when whoever reads the output has gone
    if isinstance(error, MemoryError):
        return f"minirnn: not enough memory: {error}"
    if isinstance(error, (ValueError, ArithmeticError, OSError, ImportError)):
        return f"minirnn: {error}"
    return None


class OneSentence(click.Group):
    """A group whose usage errors are one sentence too: without the usage that click prints above it."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with plain_usage_errors(), interruptible():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with plain_usage_errors(), interruptible():
            return super().invoke(ctx)


@contextmanager
def plain_usage_errors() -> Iterator[None]:
    """Take the context from a usage error, and with it what click would print of it."""
    try:
        yield
    except click.UsageError as error:
        error.ctx = None
        raise


@contextmanager
def interruptible() -> Iterator[None]:
    """End a command that is interrupted in one line and exit code 130, whatever error the interrupt has become."""
    with interrupts.Raised():
        try:
            yield
        except (Exception, KeyboardInterrupt) as error:
            if not isinstance(error, KeyboardInterrupt) and not interrupts.Raised.came:
                raise
            say("minirnn: interrupted")
            sys.exit(interrupts.CODE)


def check_writable(path: Path, files: tuple[Path, ...] = (), what: str = "--out") -> None:
    """Check before the work that the result can be written and replaces nothing that it must not."""
    real = Path(os.path.realpath(path))
    if real.is_dir():
        raise IsADirectoryError(f"{what} must be a file; {path} is a directory")
    if real.exists() and not real.is_file():
        raise OSError(f"{what} must be a file that can be replaced; {path} is not one")
    if not real.parent.is_dir():
        raise FileNotFoundError(f"{what} must be in a directory that exists; {real.parent} does not")
    if any(file.exists() and real.exists() and file.samefile(real) for file in files):
        raise ValueError(f"{what} must not be a file that is read; {path} is")
    if not os.access(real.parent, os.W_OK):
        raise PermissionError(f"{what} must be in a directory that can be written; {real.parent} cannot")
    if not real.exists():  # a name the file system refuses, too long for example, is refused now
        real.touch()
        real.unlink()

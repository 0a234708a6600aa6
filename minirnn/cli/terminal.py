"""Terminal output of training: lines, a progress bar, a sample from the model."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text as Line

from minirnn.language.evaluation import MASK_RATE, SAMPLE, Evaluation
from minirnn.language.model import LanguageModel
from minirnn.language.text import Text
from minirnn.optim.on_device import NonFiniteGradientError
from minirnn.training.loop import Step, Training
from minirnn.training.progress import Progress

REFRESH = 5  # times a second that progress is shown


def plain_if_asked() -> Any:
    """How a console is made: under NO_COLOR without bold and dim too, which rich would keep."""
    return {"highlight": False, "color_system": None if os.environ.get("NO_COLOR") else "auto"}


console = Console(stderr=True, **plain_if_asked())  # what goes on
output = Console(**plain_if_asked())  # what comes out of it


def say(*parts: str | tuple[str, str], to: Console | None = None) -> None:
    """Print a line: strings as they stand, whatever they hold, or pairs of a string and its style."""
    (to or console).print(Line.assemble(*parts), soft_wrap=True)


@dataclass
class Outcome(Progress):
    """The outcome of training: how far it came, and how it ended; ``signal`` is that which ended it, 0 for none."""

    signal: int = 0
    early: bool = False
    error: NonFiniteGradientError | None = None


class Signals:
    """Ctrl-C and SIGTERM, held back until a step has ended; a second one takes effect at once."""

    def __init__(self) -> None:
        self.caught = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # which alone may have handlers
            self._before = {number: signal.signal(number, self._catch) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _catch(self, number: int, _: object) -> None:
        if self.caught:
            raise KeyboardInterrupt
        self.caught = number


_bars: list[Bars] = []  # those that are shown now: one, beneath which others add theirs


@contextmanager
def bars(*, disable: bool = False, transient: bool = False) -> Iterator[Bars]:
    """Progress bars on stderr: new ones, or those that are shown already."""
    if _bars:
        yield _bars[-1]
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[words]}"),
        TimeRemainingColumn(),
    )
    made = Bars(*columns, console=console, refresh_per_second=REFRESH, disable=disable, transient=transient)
    _bars.append(made)
    try:
        with made:
            yield made
    finally:
        _bars.pop()


def evaluated(lm: LanguageModel, text: Text, *, whole: bool) -> Evaluation:
    """The evaluation of a model under a progress bar: on the ``whole`` text, or on a sample of a long one."""
    with bars(disable=not console.is_terminal, transient=True) as progress:
        bar = progress.add_task("evaluating", total=1.0, words="")
        try:
            return lm.evaluate(
                text, most=None if whole else SAMPLE, progress=lambda done: progress.update(bar, completed=done)
            )
        finally:
            progress.remove_task(bar)


def in_words(evaluation: Evaluation, text: Text, what: str, option: str) -> list[str | tuple[str, str]]:
    """A perplexity in words: on how many of ``what``, and how sure it is where that is not all of ``text``."""
    number = (f"{evaluation.perplexity:.3f}", "bold")
    if not evaluation.standard_error:
        return ["perplexity ", number, f" on {len(text):,} {what}"]
    sure = (
        f" ± {evaluation.margin:.3f} (standard error), estimated on {evaluation.characters:,} of {len(text):,} {what}"
    )
    return ["perplexity ", number, f"{sure}; {option} reads all"]


def follow(training: Training, planned: int | None, after: Callable[[Step], bool] = lambda _: False) -> Outcome:
    """Run the training under a progress bar until it ends, is interrupted, diverges, or ``after`` a step says so.

    Called by every rank; a signal that one of them got ends all in the same step.
    """
    ranks = training.ranks
    run = Outcome(before=training.elapsed, planned=planned, seconds=training.seconds)
    with bars(disable=ranks.rank > 0) as shown, Signals() as signals:
        bar = shown.add_task("training", total=1.0, words="")

        def show() -> None:
            words = run.words  # which waits for a GPU, and tells of a step that was skipped
            shown.update(bar, completed=run.share, description=run.place, words=words)

        try:
            for step in training:
                run.add(step)
                run.early = after(step)
                if run.due(1 / REFRESH):
                    show()
                run.signal = ranks.largest(signals.caught)
                if run.signal or run.early:
                    break
            if run.last is not None:
                show()
            shown.update(bar, completed=1.0)
        except KeyboardInterrupt:
            if ranks.size > 1:
                raise  # the others are not where this one is: they cannot go on together
            run.signal = signal.SIGINT
        except NonFiniteGradientError as error:
            if run.last is None:
                raise
            run.error = error if error.step else NonFiniteGradientError(f"step {run.last.step + 1}: {error}")
        run.signal = run.signal or ranks.largest(signals.caught)
    return run


def keep_quiet() -> None:
    """Print nothing from now on; rank 0 prints."""
    console.quiet = output.quiet = True


def show_samples(lm: LanguageModel, held_out: Text, seed: int, to: Console) -> None:
    """Show what the model can do now: a continuation, or a restored stretch of the held-out text."""
    start = held_out.vocab.decode(held_out.indices[:200])
    if lm.task == "next":
        first, *lines = start.splitlines() or [start]  # the first may be the end of one
        prefix = next((line for line in lines if line.strip()), first)[:40] or start[:1]
        sample = "".join(lm.generate(prefix, 200, temperature=0.7, seed=seed))
        say(("sample at temperature 0.7:", "dim"), to=to)
        say((prefix, "bold"), sample, to=to)
        return
    blank = next(c for c in "_•■▢" if c not in start)
    holes = np.random.default_rng(seed).random(len(start)) < MASK_RATE
    holed = "".join(blank if h and not c.isspace() else c for c, h in zip(start, holes, strict=True))
    say(("held-out text with characters missing:", "dim"), to=to)
    say(holed, to=to)
    say(("restored:", "dim"), to=to)
    say(lm.fill(holed, blank=blank), to=to)

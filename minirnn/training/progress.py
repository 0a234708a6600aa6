"""How far a training is, for whoever watches it.

In a notebook ``with_progress`` has one output, which it updates; in a terminal one line; elsewhere it says at the end
how far it came.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minirnn.training.loop import Step, Training

MEMORY = 0.02  # of a new loss in the running mean: it forgets in about 50 steps
MOST_POINTS = 200  # of the curve
WIDTH, HEIGHT = 320, 60  # of the curve, in pixels


@dataclass(repr=False)
class Progress:
    """How far a training is: the ``last`` step, the characters read, and the running mean of the loss.

    ``before`` are the seconds of training before this process; ``planned`` steps and ``seconds`` are its limits, None
    where there is none.
    """

    before: float = 0.0
    planned: int | None = None
    seconds: float | None = None
    last: Step | None = None
    tokens: int = 0
    loss: Any = float("nan")  # on a GPU still there
    curve: list[float] = field(default_factory=list)  # of the running mean, at times that are equally far apart
    _shown: float = 0.0  # when, in seconds of training
    _between: int = 1  # showings from one point of the curve to the next
    _waiting: int = 0

    def add(self, step: Step) -> None:
        """Count a step in."""
        weight = max(MEMORY, 1 / step.step)
        if not step.skipped:
            self.loss = (1 - weight) * self.loss + weight * step.loss if self.tokens else step.loss
            self.tokens += step.tokens
        self.last = step

    def due(self, every: float) -> bool:
        """Whether to show it now: after the first step, and every so many seconds.

        To read a loss may be to wait for it.
        """
        assert self.last is not None
        if self.last.step > 1 and self.last.seconds - self._shown <= every:
            return False
        self._shown = self.last.seconds
        return True

    @property
    def perplexity(self) -> float:
        """exp of the loss."""
        with np.errstate(over="ignore"):
            return float(np.exp(float(self.loss)))

    @property
    def rate(self) -> float:
        """Characters a second."""
        return self.tokens / (self.last.seconds - self.before) if self.last else 0.0

    @property
    def share(self) -> float:
        """How much of it is done, from 0 to 1; 0 where there is no limit that is known."""
        if self.last is None:
            return 0.0
        of_steps = self.last.step / self.planned if self.planned else 0.0
        return min(1.0, max(of_steps, self.last.seconds / self.seconds if self.seconds else 0.0))

    @property
    def place(self) -> str:
        """The step."""
        return f"step {self.last.step if self.last else 0}" + (f"/{self.planned}" if self.planned else "")

    @property
    def words(self) -> str:
        """Loss, perplexity and speed; read on a GPU, they wait for it, and tell of a step that was skipped."""
        if self.last is not None:
            float(self.last.norm)
        return f"loss {float(self.loss):.3f}  perplexity {self.perplexity:.2f}  {self.rate:,.0f} tokens/s"

    def __repr__(self) -> str:
        return f"{self.place}  {self.words}"

    def _repr_html_(self) -> str:
        """A bar, the words, and the loss so far as a curve, for a notebook."""
        from minirnn.core.display import bar  # what is imported for a notebook only

        return f"<div>{bar(self.share, repr(self))}</div>{self._drawn()}"

    def note(self) -> None:
        """Add a point to the curve; where there are too many, every other is dropped."""
        self._waiting += 1
        if self._waiting < self._between:
            return
        self._waiting = 0
        self.curve.append(float(self.loss))
        if len(self.curve) > MOST_POINTS:
            del self.curve[1::2]
            self._between *= 2

    def _drawn(self) -> str:
        losses = np.array(self.curve)
        if len(losses) < 2 or not np.isfinite(losses).all():
            return ""
        low, high = float(losses.min()), float(losses.max())
        x = np.linspace(2, WIDTH - 2, len(losses))
        y = 2 + (HEIGHT - 4) * (high - losses) / (high - low or 1.0)
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
        return (
            f'<svg role="img" aria-label="the loss, from {losses[0]:.3f} to {losses[-1]:.3f}" width="{WIDTH}" '
            f'height="{HEIGHT}"><polyline points="{points}" fill="none" stroke="currentColor"/></svg>'
        )


def with_progress(training: Training, *, every: float = 0.2) -> Iterator[Step]:
    """The steps of a training, and while they are taken, how far it is: shown at most every so many seconds.

    In a notebook one output is updated, on a terminal one line of stderr.  Elsewhere one line is written, at the end.
    """
    progress = Progress(before=training.elapsed, planned=training.planned, seconds=training.seconds)
    show = _shower(progress)
    try:
        for step in training:
            progress.add(step)
            if progress.due(every):
                show("")
            yield step
    finally:
        if progress.last is not None:
            show("\n")


def _shower(progress: Progress) -> Callable[[str], None]:
    """What shows it, where this runs; it is told the end of the line, which the last one has."""
    from minirnn.core.display import in_notebook

    display = in_notebook()
    if display is not None:
        handle = display(progress, display_id=True)

        def update(_end: str) -> None:
            progress.note()
            handle.update(progress)

        return update
    terminal = sys.stderr.isatty()

    def write(end: str) -> None:
        if terminal or end:
            sys.stderr.write(("\r\x1b[K" if terminal else "") + repr(progress) + end)
            sys.stderr.flush()

    return write

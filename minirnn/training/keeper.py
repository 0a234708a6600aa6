"""Keeping a run on disk: checkpoints, the best model, the record, early stopping."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import isfinite

from minirnn.core.files import Json
from minirnn.formats.native import save
from minirnn.language.evaluation import Evaluation
from minirnn.language.model import LanguageModel
from minirnn.language.text import Text
from minirnn.training.checkpoints import Folder
from minirnn.training.loop import Step, Training
from minirnn.training.metrics import Record


@dataclass
class Keeper:
    """Called after each step of ``training``, by every rank; says whether to stop.

    Every so many ``steps`` or ``seconds`` the model is evaluated on ``held_out``, kept as ``best.safetensors`` if it is
    the best so far, and a checkpoint is written, with ``more`` in it.  After ``patience`` evaluations in a row that
    were not better training may stop.  A disk that is full stops nothing: ``report`` gets a sentence, what was written
    stays, and it is tried again when the next checkpoint is due.  Where the directory has vanished, ``report`` is told
    that what it held is lost, and it is made again.

    ``examine`` evaluates: it may show how far it is, or estimate from a sample, always the same one.

    Of several ranks, the first alone writes and evaluates; it sends the results to the others.
    """

    training: Training
    folder: Folder
    record: Record
    held_out: Text
    report: Callable[[str], None]
    steps: int | None = None
    seconds: float | None = None
    patience: int | None = None
    more: Json = field(default_factory=dict)
    examine: Callable[[LanguageModel, Text], Evaluation] = LanguageModel.evaluate
    best: float = float("inf")
    best_step: int = 0
    worse: int = 0  # evaluations since
    saved: int = 0  # the step of the last checkpoint

    def __post_init__(self) -> None:
        self._looked = time.perf_counter()
        self._lost = False  # the directory vanished, which only the first rank can know

    def go_on(self, more: Json) -> None:
        """Go on from what a checkpoint had."""
        self.best = float("inf") if more["best"] is None else more["best"]
        self.best_step, self.worse = more["best_step"], more["worse"]
        self.saved = self.training.done

    def __call__(self, step: Step) -> bool:
        if step.skipped:
            self.report(f"step {step.step} was skipped: {step.skipped}")
        self._try(lambda: self.record.step(step, self.training.optimizer.clip))
        due = self.steps is not None and step.step % self.steps == 0
        if self.seconds is not None:
            due = self.training.ranks.agree(due or time.perf_counter() - self._looked >= self.seconds)
        if due:
            self.evaluate()
            self.keep()
            self._looked = time.perf_counter()
        return self.patience is not None and self.worse >= self.patience

    def evaluate(self) -> None:
        """Find the validation perplexity, and keep the model if it is the best so far."""
        self._look()
        lm, step, ranks = self.training.lm, self.training.done, self.training.ranks
        evaluation = ranks.agree(self.examine(lm, self.held_out) if ranks.rank == 0 else None)
        perplexity, margin = evaluation.perplexity, evaluation.margin
        sure = {"standard_error": margin} if evaluation.standard_error else {}
        self._try(lambda: self.record.add({"step": step, "validation_perplexity": perplexity} | sure))
        if perplexity < self.best and isfinite(perplexity):
            if ranks.agree(self._try(lambda: save(lm, self.folder.best))):
                self.best, self.best_step, self.worse = perplexity, step, 0
        elif step != self.best_step:
            self.worse += 1

    def keep(self) -> None:
        """Write a checkpoint of where training stands."""
        self._look()
        standing = {
            "best": self.best if isfinite(self.best) else None,
            "best_step": self.best_step,
            "worse": self.worse,
        }
        state = self.training.state()
        if self.training.ranks.agree(self._try(lambda: self.folder.write(state, self.more | standing))):
            self.saved = self.training.done

    def up_to_date(self) -> bool:
        """Whether the last checkpoint is of the last step, and still there."""
        self._look()
        return self.saved == self.training.done

    def _look(self) -> None:
        """Forget what was kept where the directory has vanished.  Called by every rank."""
        ranks = self.training.ranks
        if ranks.rank == 0 and self.folder.vanished():
            self._try(self._remake)
        if ranks.agree(self._lost):
            self.saved, self.best, self.best_step = 0, float("inf"), 0
            self._lost = False

    def _remake(self) -> None:
        self._lost = True
        self.report(
            f"step {self.training.done}: {self.folder.path} is gone, and with it all that was kept there; "
            "it is made again, and training goes on"
        )
        self.folder.remake()
        self.record.describe()

    def _try(self, write: Callable[[], object]) -> bool:
        """Whether something could be written, by the first rank; if not, say so."""
        if self.training.ranks.rank:
            return True
        try:
            try:
                write()
            except FileNotFoundError:
                if not self.folder.vanished():
                    raise
                self._remake()
                write()
        except OSError as error:
            step = 0 if self._lost else self.saved
            stands = f"the checkpoint of step {step} stands" if step else "there is no checkpoint yet"
            self.report(f"step {self.training.done}: {error}; {stands}, and training goes on")
            return False
        return True

"""The training loop: an iterator over steps, so that whoever runs it decides what to show and when to stop.

All that a later step depends on can be taken out after any step (``Training.state``) and put back into another
training of the same model on the same text (``Training.restore``), which then goes on as this one would have, to the
last bit.  ``checkpoints.py`` keeps it on a disk.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from minirnn.core.backend import Array, on_host
from minirnn.core.files import Json
from minirnn.core.layer import check_size
from minirnn.core.tree import arrays_in, filled_in, outline, rebuilt
from minirnn.language.model import LanguageModel
from minirnn.language.text import Text, check_stride
from minirnn.optim.on_device import NonFiniteGradientError
from minirnn.optim.optimisers import Optimizer
from minirnn.training.ranks import Ranks

NONFINITE = ("stop", "skip", "halve-lr")  # what to do about a gradient that is not finite
COUNTED = ("steps", "factor")  # of an optimiser's state, beside its buffers
HOPELESS = 20  # steps in a row that were skipped: the model will not come back


@dataclass(frozen=True)
class Step:
    """One training step: its number (from 1) and epoch (from 0), the loss in nats a character, the gradients' norm
    before clipping, the learning rate, the characters it read, and the seconds since training began.

    ``skipped`` says why the step changed nothing, ``""`` for one that did.
    On a GPU ``loss`` and ``norm`` are still there: ``float(...)`` waits for one, so read them when you show them.
    """

    step: int
    epoch: int
    loss: Any
    norm: Any
    lr: float
    tokens: int
    seconds: float
    skipped: str = ""


@dataclass(frozen=True)
class TrainingState:
    """All that a later step depends on: ``arrays`` by name, and the rest, ``about``, as JSON."""

    arrays: dict[str, Array]
    about: Json


def epoch_seed(seed: int, epoch: int) -> int:
    """The seed of one epoch's batches."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


def count_steps(
    text: Text, batch_size: int, num_steps: int, epochs: int, seed: int = 0, *, stride: int | None = None
) -> int:
    """How many steps ``train`` takes for so many epochs."""
    seeds = (epoch_seed(seed, epoch) for epoch in range(epochs))
    return sum(text.num_batches(batch_size, num_steps, stride=stride, seed=one) for one in seeds)


def train(lm: LanguageModel, text: Text, optimizer: Optimizer, **options: Any) -> "Training":
    """``Training(lm, text, optimizer, ...)``: an iterator over steps until the first limit is reached."""
    return Training(lm, text, optimizer, **options)


class Training(Iterator[Step]):
    """Training until the first limit is reached; a ``Step`` after each step, when all weights are consistent.

    Sequential sampling carries the state from batch to batch within an epoch, truncating backpropagation between them;
    with ``stride``, batches overlap and errors go back further than states (see ``LanguageModel.forward``).  Random
    sampling starts each window from the initial state.  Each epoch cuts the text at another offset.

    A gradient that is not finite changes nothing.  ``on_nonfinite="stop"`` raises NonFiniteGradientError, which names
    the weight; ``"skip"`` goes on with the next batch, from the initial state; ``"halve-lr"`` does so at half the
    learning rate, from then on.  After 20 in a row, or where the weights are not finite, it is raised all the same.  On
    a GPU such a step is skipped, and the error comes when a norm is read, at the latest when training ends.

    Several ``ranks`` (see ``minirnn.training.ranks``) train together: each takes the same steps, to which it computes
    its share of the batch's rows.  ``batch_size`` is that of all of them.
    """

    def __init__(
        self,
        lm: LanguageModel,
        text: Text,
        optimizer: Optimizer,
        *,
        batch_size: int = 32,
        num_steps: int = 35,
        stride: int | None = None,
        sampling: str = "sequential",
        epochs: int | None = None,
        steps: int | None = None,
        seconds: float | None = None,
        seed: int = 0,
        on_nonfinite: str = "stop",
        ranks: Ranks | None = None,
    ) -> None:
        if epochs is None and steps is None and seconds is None:
            raise ValueError("train takes a limit: epochs, steps or seconds; got none")
        for name, limit in (("epochs", epochs), ("steps", steps)):
            if limit is not None:
                check_size(name, limit, 0)
        if seconds is not None and not seconds >= 0:
            raise ValueError(f"seconds must be at least 0; got {seconds!r}")
        if text.vocab != lm.vocab:
            raise ValueError("the text must be in the model's vocabulary: Text.from_string(..., vocab=lm.vocab)")
        if optimizer.model is not lm.network:
            raise ValueError("the optimizer must be that of the model trained: its model is another one")
        if on_nonfinite not in NONFINITE:
            raise ValueError(f"on_nonfinite must be one of {', '.join(NONFINITE)}; got {on_nonfinite!r}")
        if on_nonfinite != "stop" and lm.network.bound.backend.on_device:
            raise ValueError(f"on_nonfinite must be stop on a GPU, which skips by itself; got {on_nonfinite!r}")
        self.ranks = ranks or Ranks()
        self._rows = self.ranks.rows(batch_size)
        if self.ranks.size > 1:
            options = (batch_size, num_steps, stride, sampling, epochs, steps, seconds, seed, on_nonfinite)
            self.ranks.check_same("the options of training", options)
            self.ranks.check_same("the backend", lm.network.bound.backend.name)
            self.ranks.check_same("the text", text.digest())
            self.ranks.check_same("the weights", lm.network.bound.digest())
        self.lm, self.text, self.optimizer = lm, text, optimizer
        self.batch_size, self.num_steps, self.stride = batch_size, num_steps, check_stride(stride, num_steps)
        self.sampling, self.seed, self.on_nonfinite = sampling, seed, on_nonfinite
        self.epochs, self.steps, self.seconds = epochs, steps, seconds
        self.done = self.epoch = self.batch = 0  # steps taken; the epoch, and the batch in it, that comes next
        self._carried: Any = None  # the state
        self._masks = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
        self._norm: Any = 0.0  # read in the end: on a GPU that tells of a step that was skipped
        self._skipped = 0  # in a row
        self._begun, self._before = time.perf_counter(), 0.0  # seconds before this process
        self._batches: Iterator[tuple[Array, Array]] | None = self._of_epoch() if epochs != 0 else None

    @property
    def planned(self) -> int | None:
        """How many steps there will be; None where nobody knows, since seconds are the only limit."""
        sizes = self.text, self.batch_size, self.num_steps
        epochs = () if self.epochs is None else (count_steps(*sizes, self.epochs, self.seed, stride=self.stride),)
        return min([*epochs, *(() if self.steps is None else (self.steps,))], default=None)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._where()}, {type(self.optimizer).__name__}>"

    def _where(self) -> str:
        """How far it is."""
        planned = f" of {self.planned:,}" if self.planned is not None else ""
        return f"step {self.done:,}{planned}, epoch {self.epoch}"

    def _repr_html_(self) -> str:
        """How far it is, and its options, for a notebook."""
        from minirnn.core.display import table  # what is imported for a notebook only

        names = ("batch_size", "num_steps", "stride", "sampling", "epochs", "steps", "seconds", "seed")
        options = {"optimizer": type(self.optimizer).__name__, "lr": f"{self.optimizer.lr:g}"}
        options |= {name: str(value) for name in names if (value := getattr(self, name)) is not None}
        return table(("option", "value"), options.items(), caption=f"Training: {self._where()}")

    @property
    def elapsed(self) -> float:
        """Seconds of training so far, those before a ``restore`` included."""
        return self._before + time.perf_counter() - self._begun

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Step:
        batch = None
        while self._batches is not None and batch is None:
            batch = next(self._batches, None)
            if batch is None:
                self.epoch, self.batch, self._carried = self.epoch + 1, 0, None
                self._batches = self._of_epoch() if self.epoch != self.epochs else None
        ended = self.done == self.steps
        if self.seconds is not None:
            ended = ended or self.ranks.agree(self.elapsed >= self.seconds)
        if batch is None or ended:
            self._batches = None
            float(self._norm)
            raise StopIteration
        return self._step(*batch)

    def _of_epoch(self) -> Iterator[tuple[Array, Array]]:
        return self.text.batches(
            self.batch_size,
            self.num_steps,
            stride=self.stride,
            sampling=self.sampling,
            seed=epoch_seed(self.seed, self.epoch),
            start=self.batch,
        )

    def _step(self, x: Array, y: Array) -> Step:
        lr, why = self.optimizer.lr, ""
        state = self._carried if self.sampling == "sequential" else None
        with np.errstate(over="ignore", invalid="ignore"):  # a diverging run ends in step's error, which says more
            loss, state, backward = self.lm.forward(x, y, state, rng=self._masks, stride=self.stride, rows=self._rows)
            backward()
            loss = self.ranks.add_up(self.lm.network.bound, loss)
            try:
                self._norm = self.optimizer.step()
                if self.ranks.size > 1:
                    self._norm = float(self._norm)  # so that on a GPU too all ranks learn of it in the same step
                self._skipped = 0
            except NonFiniteGradientError as error:
                why, state = str(error), None
                self._give_up_or_go_on(error)
        self._carried = state
        self.done, self.batch = self.done + 1, self.batch + 1
        loss = float(loss) if on_host(loss) else loss
        norm = float("nan") if why else self._norm
        return Step(self.done, self.epoch, loss, norm, lr, x.size, self.elapsed, why)

    def _give_up_or_go_on(self, error: NonFiniteGradientError) -> None:
        """After a gradient that is not finite: what ``on_nonfinite`` says."""
        if self.on_nonfinite == "stop":
            raise error
        network = self.lm.network
        if not np.isfinite(network.weights).all():
            raise NonFiniteGradientError(f"{error}; the weights are not finite either: no step can mend them") from None
        self._skipped += 1
        if self._skipped == HOPELESS:
            raise NonFiniteGradientError(f"{error}; so were those of the {HOPELESS - 1} steps before") from None
        network.zero_grads()
        if self.on_nonfinite == "halve-lr":
            self.optimizer.factor /= 2

    # ------------------------------------------------------------------ stopping and going on

    @cached_property
    def _identity(self) -> Json:
        """What decides the next batch, and what products round: a state goes on only where all of it is the same."""
        names = ("batch_size", "num_steps", "stride", "sampling", "seed")
        compute = {"compute": self.lm.network.bound.compute}
        return {"text": self.text.digest()} | {name: getattr(self, name) for name in names} | compute

    def state(self) -> TrainingState:
        """A copy of what a later step depends on, with the recurrent state of the whole batch.

        Called by every rank.  ValueError where ranks have drifted apart.
        """
        p, optimizer = self.lm.network.bound, self.optimizer.state_dict()
        host = p.backend.host
        if self.ranks.size > 1:
            self.ranks.check_same("the weights", p.digest())
        shares = self.ranks.gather([host(a) for a in arrays_in(self._carried)])
        arrays = {"weights": np.array(host(p.weights))}
        arrays |= {f"optimizer.{name}": a for name, a in optimizer.items() if isinstance(a, np.ndarray)}
        arrays |= {f"state.{k}": np.concatenate(share, axis=1) for k, share in enumerate(zip(*shares, strict=True))}
        about = {
            "step": self.done,
            "epoch": self.epoch,
            "batch": self.batch,
            "seconds": self.elapsed,
            "skipped": self._skipped,
            "calls": p.calls,
            "masks": self._masks.bit_generator.state,
            "optimizer": {"kind": type(self.optimizer).__name__} | {name: optimizer[name] for name in COUNTED},
            "state": outline(self._carried),
            "of": self._identity,
        }
        return TrainingState(arrays, about)

    def restore(self, state: TrainingState) -> None:
        """Go on from what ``state`` of a training of the same model, on the same text, returned.

        That may have been on another number of ranks.  ValueError, with nothing changed, where it cannot be.
        """
        arrays, about, p = state.arrays, state.about, self.lm.network.bound
        for name, value in about.get("of", {}).items():
            if value != self._identity.get(name):
                other = "" if name == "text" else f": {name} was {value}, and is {self._identity.get(name)}"
                raise ValueError(f"the state is of a training with another {name.replace('_', ' ')}{other}")
        carried = self._admitted(arrays, about["state"])
        if about["optimizer"]["kind"] != type(self.optimizer).__name__:
            raise ValueError(f"the state is of {about['optimizer']['kind']}; the optimizer is another one")
        weights = arrays["weights"]
        if (weights.shape, weights.dtype) != (p.weights.shape, p.dtype):
            raise ValueError(
                f"the weights must be {p.dtype} of shape {p.weights.shape}; got {weights.dtype} of {weights.shape}"
            )
        masks = np.random.default_rng()
        masks.bit_generator.state = about["masks"]
        buffers = {name.removeprefix("optimizer."): a for name, a in arrays.items() if name.startswith("optimizer.")}
        self.optimizer.load_state_dict({name: about["optimizer"][name] for name in COUNTED} | buffers)
        p.weights[...] = p.backend.xp.asarray(weights)
        p.grads[...] = 0
        p.calls, p.updates = about["calls"], p.updates + 1
        self._masks, self._carried, self._skipped = masks, carried, about["skipped"]
        self.done, self.epoch, self.batch = about["step"], about["epoch"], about["batch"]
        self._begun, self._before = time.perf_counter(), float(about["seconds"])
        self._batches = None if self.epochs is not None and self.epoch >= self.epochs else self._of_epoch()

    def _admitted(self, arrays: dict[str, Array], form: Any) -> Any:
        """The recurrent state of this rank's rows among ``arrays``, checked against the network."""
        p = self.lm.network.bound
        count = sum(name.startswith("state.") for name in arrays)
        state = filled_in(form, [p.backend.xp.asarray(arrays[f"state.{k}"]) for k in range(count)])
        if state is None:
            return None
        return rebuilt(self.lm.network.check_state(state, self.batch_size), lambda a: a[:, self._rows].copy())

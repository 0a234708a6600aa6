"""Options of ``minirnn train``, parsed: one field for each, by the name that the record of a run has for it."""

import re
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from minirnn.core.files import Json
from minirnn.language.model import LanguageModel
from minirnn.language.text import Text, Vocabulary
from minirnn.optim.optimisers import SGD, Adam, AdamW, Optimizer, RMSProp
from minirnn.optim.schedules import constant, cosine
from minirnn.training.loop import Training, count_steps, train
from minirnn.training.ranks import Ranks

OPTIMIZERS: dict[str, type[SGD | Adam | RMSProp]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW, "rmsprop": RMSProp}
DEFAULT_LR = {"sgd": 1.0, "adam": 6e-3, "adamw": 6e-3, "rmsprop": 2e-3}
DEFAULT_STEPS = 1600  # about 45 s on two cores
LIMITS = ("epochs", "steps", "seconds")
SPELT = {"seconds": "time"}  # options whose field has another name
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
FINITE = ("lr", "clip", "seconds", "weight_decay")
Interval = tuple[int | None, float | None]  # so many steps, or so many seconds


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """The options of ``minirnn train``."""

    task: str
    cell: str
    hidden_size: int
    num_layers: int
    embedding_size: int
    dropout: float
    locked: bool
    weight_dropout: float
    zoneout: float | list[float]
    batch_size: int
    num_steps: int
    stride: int | None
    sampling: str | None
    optimizer: str
    lr: float | None
    schedule: str | None
    weight_decay: float | None
    clip: float
    epochs: int | None
    steps: int | None
    seconds: float | None
    held_out: float
    evaluate_all: bool
    seed: int
    backend: str
    dtype: str
    compute: str | None
    on_nonfinite: str
    checkpoint: Path | None
    every: Interval
    keep: int
    resume: bool
    patience: int | None
    log_every: int
    out: Path
    as_json: bool

    @classmethod
    def parsed(cls, *, every: str, **options: Any) -> Self:
        """The options as click has them."""
        return cls(every=interval(every), **options)

    def check_finite(self) -> None:
        """Raise ValueError for an infinite number or NaN, which click takes."""
        for name in FINITE:
            number = getattr(self, name)
            if number is not None and not np.isfinite(number):
                raise ValueError(f"--{spelt(name)} must be a finite number")

    def recorded(self, files: tuple[Path, ...]) -> Json:
        """The record of how a run began; it may go on from another working directory."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        places = {"out": str(self.out.absolute()), "files": [str(path.resolve()) for path in files]}
        return {name: value for name, value in values.items() if name not in ("checkpoint", "resume")} | places

    def with_recorded(self, values: Json) -> Self:
        """These options with some of those that ``recorded`` returned."""
        changed = {name: value for name, value in values.items() if name in {one.name for one in fields(self)}}
        if "out" in changed:
            changed["out"] = Path(changed["out"])
        if "every" in changed:
            steps, seconds = changed["every"]
            changed["every"] = steps, seconds
        return replace(self, **changed)

    @property
    def limits(self) -> Json:
        """When training ends: epochs, steps or seconds, at least one of them."""
        limits = {name: getattr(self, name) for name in LIMITS}
        return limits if any(limits.values()) else limits | {"steps": DEFAULT_STEPS}

    def planned_steps(self, text: Text) -> int | None:
        """How many steps training on ``text`` will take, if a number of steps or epochs says so."""
        limits = self.limits
        known = [limits["steps"]] if limits["steps"] else []
        if limits["epochs"]:
            sizes = self.batch_size, self.num_steps
            known.append(count_steps(text, *sizes, limits["epochs"], self.seed, stride=self.stride))
        return min(known, default=None)

    def model(self, vocab: Vocabulary) -> LanguageModel:
        """A language model with fresh weights."""
        lm = LanguageModel.build(
            vocab,
            task=self.task,
            cell=self.cell,
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            embedding_size=self.embedding_size,
            dropout=self.dropout,
            locked=self.locked,
            weight_dropout=self.weight_dropout,
            zoneout=self.zoneout,
        )
        lm.init(self.seed, backend=self.backend, dtype=self.dtype, compute=self.compute)
        return lm

    def make_optimizer(self, lm: LanguageModel, planned: int | None) -> Optimizer:
        """The optimiser; a cosine needs to know how many steps there will be."""
        lr = self.lr or DEFAULT_LR[self.optimizer]
        kind = self.schedule or ("cosine" if planned and self.optimizer != "sgd" else "constant")
        if kind == "cosine" and not planned:
            raise ValueError("--schedule cosine needs --steps or --epochs: it ends at a known step")
        schedule = cosine(lr, planned, warmup=min(50, planned // 10)) if kind == "cosine" and planned else constant(lr)
        optimizer, clip = OPTIMIZERS[self.optimizer], self.clip or None
        if self.weight_decay is None:
            return optimizer(lm.network, schedule, clip=clip)
        return optimizer(lm.network, schedule, clip=clip, weight_decay=self.weight_decay)

    def training(self, lm: LanguageModel, text: Text, planned: int | None, ranks: Ranks) -> Training:
        """The training of ``lm`` on ``text``."""
        return train(
            lm,
            text,
            self.make_optimizer(lm, planned),
            sampling=self.sampling or ("random" if self.task == "fill" else "sequential"),
            batch_size=self.batch_size,
            num_steps=self.num_steps,
            stride=self.stride,
            seed=self.seed,
            on_nonfinite=self.on_nonfinite,
            ranks=ranks,
            **self.limits,
        )


def interval(words: str) -> Interval:
    """``"500"`` steps, or ``"90s"``, ``"5m"``, ``"2h"`` as seconds: one of the two."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])|([1-9]\d*)", words.strip())
    if not match or (match[1] and float(match[1]) == 0):
        raise ValueError(f"--every must be a number of steps, or a time as in 90s, 5m or 2h; got {words!r}")
    return (int(match[3]), None) if match[3] else (None, float(match[1]) * UNITS[match[2]])


def spelt(name: str) -> str:
    """An option as it is written on the command line, without its dashes."""
    return SPELT.get(name, name).replace("_", "-")

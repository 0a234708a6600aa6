"""How a network learns a task: one recurrent layer, gates that keep what they have read from the first, and Adam."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
from tasks import CELLS, Task

from minirnn import Adam, Sequential
from minirnn.optim import cosine

BATCH, CLIP = 16, 0.1  # rows, and the norm that gradients are clipped to
TESTED = 4_000  # fresh sequences that decide the score
POINTS = 80  # of a curve
Report = Callable[[float, float], Any]  # is told what part is done, and the score of late


@dataclass(frozen=True)
class Run:
    """What came of one network: scores while it learnt, each since the one before it, and the one that counts.

    ``reach`` is what is left of the gradient at the first step, a share of that at the last, where x has a gradient.
    """

    cell: str
    seed: int
    seen: list[int]
    scores: list[float]
    final: float
    seconds: float
    reach: float | None = None


@dataclass(frozen=True)
class Memory:
    """An experiment: a task at some length, with networks of ``hidden`` units that read each of ``sequences`` once.

    ``lr`` is the learning rate's peak, ``tested`` the length that the score is for, if that is another;
    ``plain_gates`` leaves the gates' biases at 0.
    """

    task: Task
    length: int = 100
    hidden: int | None = None  # None: what the task has
    sequences: int | None = None
    lr: float | None = None
    tested: int | None = None
    plain_gates: bool = False
    backend: str = "auto"

    unit = "sequences"

    def __post_init__(self) -> None:
        for length in (self.length, self.tested or self.length):
            self.task.draw(np.random.default_rng(0), length, 1)  # says so if it is too short
        if self.lr is not None and not 0 < self.lr < inf:
            raise ValueError(f"lr must be a finite number above 0; got {self.lr}")

    @property
    def title(self) -> str:
        """What the table and the picture call it."""
        return f"{self.task.name}, T = {self.length}" + (f", tested at {self.tested}" if self.tested else "")

    @property
    def measure(self) -> str:
        """What a score is."""
        return self.task.measure

    @property
    def baseline(self) -> float:
        """The score without a memory."""
        return self.task.baseline(self.tested or self.length)

    def published(self, cell: str) -> str:
        """Others' score."""
        return self.task.published.get(cell, "-") if self.length == (self.tested or self.length) == 100 else "-"

    def run(self, cell: str, seed: int, report: Report) -> Run:
        """Train one network and test it on fresh sequences."""
        began = time.perf_counter()
        model = build(self.task, cell, self.hidden or self.task.hidden, seed, self.backend)
        if not self.plain_gates:
            open_gates(model, cell, len(self.task.draw(np.random.default_rng(0), self.length, 1)[0]), seed)
        steps = -(-(self.sequences or self.task.sequences) // BATCH)
        optimizer = Adam(model, lr=cosine(self.lr or self.task.lr, steps, warmup=min(50, steps // 20)), clip=CLIP)
        losses = learn(model, optimizer, self.task, self.length, np.random.default_rng([seed, 0]), steps)
        seen, scores = curve(losses, steps, self.task.score, report)
        rng = np.random.default_rng([seed, 1])
        return Run(
            cell=cell,
            seed=seed,
            seen=[n * BATCH for n in seen],
            scores=scores,
            final=evaluate(model, self.task, self.tested or self.length, rng),
            reach=reach(model, self.task, self.length, rng),
            seconds=time.perf_counter() - began,
        )


def build(task: Task, cell: str, hidden: int, seed: int, backend: str = "auto") -> Sequential:
    """A network for a task, its recurrent weights orthogonal."""
    network = Sequential(CELLS[cell](task.inputs, hidden), *task.head(hidden))
    return network.init(seed, scheme="orthogonal", backend=backend)


def open_gates(model: Sequential, cell: str, steps: int, seed: int) -> None:
    """Biases with which gates keep a state for up to as long as a sequence is.

    A gate σ(b) keeps a state for about u steps if b = log u; here u is uniform from 1 to steps - 1: chrono
    initialisation (Tallec and Ollivier 2018, arXiv 1804.11188).
    """
    weights = model.named_weights()
    keep = np.log(np.random.default_rng([seed, 2]).uniform(1, max(2, steps - 1), len(weights["0.0.U"])))
    if cell == "gru":
        weights["0.0.b_z"] = keep  # h' = (1 - z) n + z h
    elif cell == "lstm":
        weights["0.0.b_f"] = keep  # c' = f c + i g
        weights["0.0.b_i"] = -keep


def learn(
    model: Sequential, optimizer: Adam, task: Task, length: int, rng: np.random.Generator, steps: int
) -> Iterator[float]:
    """Train on a fresh batch at each step; yields its loss."""
    for _ in range(steps):
        x, target = task.draw(rng, length, BATCH)
        y, _, backward = model.forward(x)
        loss, dy = task.loss(y, target)
        backward(dy)
        optimizer.step()
        yield float(loss)


def evaluate(model: Sequential, task: Task, length: int, rng: np.random.Generator, rows: int = 200) -> float:
    """The score on fresh sequences, ``rows`` at a time."""
    losses = []
    for _ in range(TESTED // rows):
        x, target = task.draw(rng, length, rows)
        losses.append(float(task.loss(model(x)[0], target)[0]))
    return task.score(float(np.mean(losses)))


def reach(model: Sequential, task: Task, length: int, rng: np.random.Generator) -> float | None:
    """The norm of dx at the first step over that at the last, in float64, since float32 has nothing below 1e-45."""
    x, target = task.draw(rng, length, 64)
    if x.dtype.kind == "i":
        return None
    y, _, backward = model.to(backend="numpy", dtype="float64").forward(x.astype("float64"))
    dx, _ = backward(task.loss(y, target)[1])
    assert dx is not None
    first, last = (float(np.linalg.norm(dx[t])) for t in (0, -1))
    return first / last if last else 0.0


def curve(
    losses: Iterable[float], steps: int, score: Callable[[float], float], report: Report
) -> tuple[list[int], list[float]]:
    """Points of a learning curve: numbers of steps, and the score of the mean loss since the point before."""
    seen, scores, since = [], [], []
    for n, loss in enumerate(losses, 1):
        since.append(loss)
        if n * POINTS // steps > (n - 1) * POINTS // steps:
            seen.append(n)
            scores.append(score(float(np.mean(since))))
            since = []
            report(n / steps, scores[-1])
    return seen, scores

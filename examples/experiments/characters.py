"""The chapter's first three networks on characters, which take a short memory, by what ``modern_rnn.py`` has."""

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from learning import POINTS, Report, Run

from minirnn import GRU
from minirnn.training import Step

sys.path.append(str(Path(__file__).resolve().parent.parent))  # where it is
from modern_rnn import NETWORKS, H, V, perplexities, prepare, training

rnn, gru, lstm = NETWORKS[:3]
CHOSEN = {"rnn": rnn, "gru": replace(gru, recurrent=lambda: GRU(V, H)), "lstm": lstm}  # those that have kernels


@dataclass(frozen=True)
class Characters:
    """An experiment: the next character of a text's first 10,000, with states carried and errors sent back 35 steps."""

    path: Path
    epochs: int = 500

    unit = "epochs"
    title = "characters"
    measure = "perplexity"
    baseline = None

    def __post_init__(self) -> None:
        prepare(self.path)  # says so if it cannot be read

    def published(self, cell: str) -> str:
        """The chapter's figures, its own loops' and those of torch's layer."""
        return f"{CHOSEN[cell].from_scratch}, {CHOSEN[cell].concise}"

    def run(self, cell: str, seed: int, report: Report) -> Run:
        """Train one network; the perplexity over its last ten epochs."""
        began, steps = time.perf_counter(), list[Step]()
        for step in training(CHOSEN[cell], prepare(self.path), self.epochs, seed):
            if steps and step.epoch > steps[-1].epoch:
                report(step.epoch / self.epochs, float(np.exp(steps[-1].loss)))
            steps.append(step)
        found = perplexities(steps)
        each = -(-len(found) // POINTS)
        drawn = [n for n in range(1, len(found) + 1) if (len(found) - n) % each == 0]
        return Run(
            cell=cell,
            seed=seed,
            seen=drawn,
            scores=[found[n - 1] for n in drawn],
            final=float(np.mean(found[-10:])),
            seconds=time.perf_counter() - began,
        )

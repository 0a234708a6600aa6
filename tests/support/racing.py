"""What tests of the benchmarks race: contestants that say what they were told to say, and no processes."""

import io
from itertools import count

import numpy as np
from rich.console import Console

from benchmarks.cases import Case
from benchmarks.channel import FailedError
from benchmarks.inputs import Arrays
from benchmarks.peers import UnsupportedError
from benchmarks.race import Pace
from benchmarks.report import show
from benchmarks.results import Results, Row

CASE = Case("training", "gru", 3, 2, 4, 5)
REFERENCE = {"y": np.array([1.0, 2.0]), "dx": np.array([0.5, 4.0])}
PACE = Pace(rounds=3, sample=0.0, pause=0.0)


class Fake:
    """A contestant that says what it was told to say, and when it was asked."""

    def __init__(self, name: str, outputs: Arrays, seconds: float = 1.0, *, fails_in_round: int = 99) -> None:
        self.name, self.outputs, self.seconds, self.fails_in_round = name, outputs, seconds, fails_in_round
        self.turns: list[int] = []
        self.clock = count()

    def prepare(self, case: Case) -> None:
        assert case == CASE

    def check(self) -> Arrays:
        return self.outputs

    def calibrate(self, seconds: float) -> int:
        return 4

    def sample(self, repeats: int) -> float:
        assert repeats == 4
        if len(self.turns) == self.fails_in_round:
            raise FailedError("its process was killed by signal 9")
        self.turns.append(next(self.clock))
        return self.seconds


class Declines(Fake):
    def prepare(self, case: Case) -> None:
        raise UnsupportedError("inference only")


def results_of(*rows: Row) -> Results:
    machine = {"cpu": "a processor", "cores": 2, "python": "3"}
    options = {"contestants": ["minirnn", "minirnn-numpy", "torch", "jax"]}
    return Results("2000-01-01T00:00:00+00:00", machine, options, rows=list(rows))


def shown(results: Results) -> tuple[int, str]:
    out = io.StringIO()
    return show(results, Console(file=out, width=200)), out.getvalue()

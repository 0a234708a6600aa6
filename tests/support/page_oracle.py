"""What every number on explain's page must be, moment by moment: from the trace, and not from the story."""

import re
from math import isclose
from typing import Any

import numpy as np
from browser import Number, check_text

from minirnn.explain.engine.lines import lines_of
from minirnn.explain.engine.scene import Take


class Oracle:
    """What each number must be, from the trace and not from the story."""

    def __init__(self, take: Take) -> None:
        self.take, self.walk, self.T = take, take.walk, take.scene.T
        self.lines = {e.text: self.walk.line(e) for e in self.walk.equations}
        self.texts = [line.text for line in lines_of(take)]
        shown = {*take.x.tolist(), *take.targets.tolist(), *take.logits.argmax(1).tolist()}
        self.characters = sorted(shown)

    def value(self, number: Number) -> float:
        """The value of what a number says that it is of."""
        if "weight" in number.of:
            return self._sum(number.of["weight"], *(int(number.of[k]) for k in ("done", "row", "column")))
        name, t, i = number.of["name"], int(number.of["t"]), int(number.of.get("i", 0))
        if number.line in self.lines:
            return float(self.lines[number.line][name][t, 0, i])
        return self._around(name, t, i) if number.line else self._table(name, t)

    def _sum(self, weight: str, done: int, row: int, column: int) -> float:
        if done == 0:
            return 0.0
        whole = self.take.clipped[f"0.0.{weight}"] if done > self.T else self.walk.sums(weight)[self.T - done]
        return float(whole.reshape(-1, whole.shape[-1])[row, column])

    def _around(self, name: str, t: int, i: int) -> float:
        take = self.take
        if name.startswith("next."):
            return float(self.walk[name.removeprefix("next.")][t + 1, 0, i]) if t + 1 < self.T else 0.0
        if name in ("probabilities", "logits", "dlogits"):
            return float(getattr(take, name)[t, self.characters[i]])
        if name == "losses":
            return float(-take.losses[i])
        if name in ("loss", "norm", "clipped_norm"):
            return float(getattr(take, name))
        if name == "da":  # what comes back between the stages of a cell that has two
            U_n = self.take.scene.model().named_weights()["0.0.U"][:, -3:]
            return float((self.walk["dq_n"][t, 0] @ U_n.T)[i])
        if name == "clip":
            return float(take.scene.clip or 0)
        if name.startswith("norm."):
            part = (take.trace.grads if i == 0 else take.clipped)[name.removeprefix("norm.")]
            return float(np.sqrt((part**2).sum()))
        return float(self.walk[name][t, 0, i])

    def _table(self, name: str, t: int) -> float:
        take = self.take
        return float(
            {
                "p": take.probabilities[t, take.targets[t]],
                "surest": take.probabilities[t].max(),
                "loss": take.losses[t],
                "norm": np.linalg.norm(self.walk["dh1"][t, 0]),
                "stretch": np.linalg.svd(self.walk["jacobian"][t, 0], compute_uv=False)[0],
            }[name]
        )

    def check(self, numbers: list[Number]) -> None:
        """Every number on the page: its value to the last bits, its text to the digits shown."""
        assert numbers
        for number in numbers:
            wanted = self.value(number)
            assert isclose(number.value, wanted, rel_tol=1e-13, abs_tol=1e-300), (number, wanted)
            check_text(number)


def check_order(oracle: Oracle, said: list[str]) -> None:
    """The cell's own lines come in the derivation's order, step by step, and back from the last."""
    forward = [e for e in oracle.walk.equations if not e.backward]
    backward = [e for e in oracle.walk.equations if e.backward]
    wanted = [
        *(
            f"Forward, step {t + 1} of {oracle.T} (t = {t}), equation {said_numbers(e)}: {e.text}"
            for t in range(oracle.T)
            for e in forward
        ),
        *(
            f"Backward, step {t + 1} of {oracle.T} (t = {t}), equation {said_numbers(e)}: {e.text}"
            for t in range(oracle.T)[::-1]
            for e in backward
        ),
    ]
    assert [s for s in said if s in set(wanted)] == wanted
    (loss,) = (k for k, s in enumerate(said) if s.startswith("The loss, equation (L1): loss = "))
    assert {s.split(",")[0] for s in said[:loss]} == {"Forward"}
    assert {s.split(",")[0] for s in said[loss + 2 : -1]} == {"Backward"}
    assert said[-1].startswith("The clip")


ADDING = ("W", "U", "b", "bn")  # in this order, after all else of a step
WHERE = re.compile(r"(Forward|The loss|Backward|The clip)(?:, step (\d+) of \d+ \(t = \d+\))?, equation .*?: (.*)")


def check_moment(oracle: Oracle, said: str, numbers: list[Number]) -> None:
    """The lit line shows its numbers; those of no later line are shown, nor of another step, nor sums not yet added."""
    match = WHERE.fullmatch(said)
    assert match, said
    phase, step, text = match[1], int(match[2] or 0), match[3]
    lit = {n.of["name"] for n in numbers if n.line == text}
    assert lit >= set(oracle.lines.get(text, ())), said
    texts = oracle.texts
    here = texts.index(text) if texts.count(text) == 1 else -1
    assert here >= 0, text
    first = texts.index("dW += xᵀ dp")
    for n in numbers:
        if n.line:
            assert texts.index(n.line) <= here, (said, n)
            assert int(n.of["t"]) == step - 1 or phase in ("The loss", "The clip"), (said, n)
        elif "weight" in n.of:
            adds = ADDING.index(n.of["weight"]) + first
            done = {
                "Forward": 0,
                "The loss": 0,
                "Backward": oracle.T - step + (here >= adds),
                "The clip": oracle.T + 1,
            }[phase]
            assert int(n.of["done"]) == done, (said, n)


def said_numbers(equation: Any) -> str:
    return " ".join(f"({n})" for n in equation.numbers)

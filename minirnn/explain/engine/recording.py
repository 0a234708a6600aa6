"""A pass by the plain equations that keeps everything: what a cell receives, computes line by line, and returns."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.protocol import Arrays, Stage, block_of, matrix_of, multiplies, units_of
from minirnn.core.run import Reader, Run
from minirnn.explain.engine.watching import Note, Statement, watching
from minirnn.recurrent.direction import Direction
from minirnn.recurrent.passes import Pass, Recurrence
from minirnn.recurrent.plain import PlainPass
from minirnn.recurrent.weights import Weights

Find = Callable[["Moment"], Array | None]  # a quantity of one step; None where it has none


class Event(NamedTuple):
    """One assignment in a stage's ``step`` or, ``backward``, in its ``unstep``.

    ``numbers`` are those of its equations; ``nth`` counts the assignments to this name within the call.
    """

    stage: int
    backward: bool
    name: str
    numbers: tuple[int, ...]
    source: str
    nth: int


class Moment:
    """All that happened in one step of the scan."""

    def __init__(self, stages: int) -> None:
        nothing: list[Any] = [()] * stages  # each has one entry a stage
        self.p, self.q, self.before, self.after, self.saved = (nothing[:] for _ in range(5))
        self.dafter, self.dp, self.dq, self.direct, self.dunits = (nothing[:] for _ in range(5))
        self.events: dict[Event, Array] = {}


class RecordedStage:
    """A stage whose calls are written down; all else of it is the stage's own."""

    def __init__(self, stage: Stage, k: int, count: int, moments: list[Moment]) -> None:
        self._stage, self._k, self._count, self._moments = stage, k, count, moments

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stage, name)

    def step(self, p: Array, q: Array, state: Arrays, *units: Array) -> tuple[Arrays, Any]:
        """The stage's own; what it leaves for ``unstep`` is the moment beside it."""
        k = self._k
        if k == 0:
            self._moments.append(Moment(self._count))
        moment = self._moments[-1]
        with watching(self._stage.step, self._note(moment, backward=False)):
            after, saved = self._stage.step(p, q, state, *units)
        moment.p[k], moment.q[k], moment.before[k], moment.after[k], moment.saved[k] = p, q, state, after, saved
        return after, moment

    def unstep(self, dafter: Arrays, moment: Any, *units: Array) -> tuple[Any, ...]:
        """The stage's own."""
        k = self._k
        for event in [e for e in moment.events if e.backward and e.stage == k]:
            del moment.events[event]  # of a backward pass before this one
        with watching(self._stage.unstep, self._note(moment, backward=True)):
            dp, dq, direct, *dunits = self._stage.unstep(dafter, moment.saved[k], *units)
        moment.dafter[k], moment.dp[k], moment.dq[k], moment.direct[k] = dafter, dp, dq, direct
        moment.dunits[k] = tuple(dunits)
        return dp, dq, direct, *dunits

    def _note(self, moment: Moment, *, backward: bool) -> Note:
        seen: dict[str, int] = {}

        def note(name: str, statement: Statement, value: Any) -> None:
            nth = seen[name] = seen.get(name, -1) + 1
            if getattr(value, "ndim", 0):
                moment.events[Event(self._k, backward, name, statement.numbers, statement.source, nth)] = value

        return note


def entry(kind: str, stage: int, *places: object) -> Find:
    """An argument or result of a stage's ``step`` or ``unstep``, or what is at some place in it."""

    def find(moment: Moment) -> Array | None:
        value = getattr(moment, kind)[stage]
        for place in places:
            value = None if value is None else value[place]
        return None if value is None else np.asarray(value)

    return find


def assigned(event: Event) -> Find:
    """The value that was assigned."""
    return lambda moment: moment.events.get(event)


class TracedPass(PlainPass):
    """A ``PlainPass`` that records; ``moments`` are in the order of the scan.

    What ``named`` reads is in the order of x's steps; what belongs to the backward pass is there when that has run.
    """

    def __init__(self, recurrence: Recurrence, weights: Weights, run: Run, *, reverse: bool) -> None:
        super().__init__(recurrence, weights, run, reverse=reverse)
        self.dy: Array | None = None
        self.moments: list[Moment] = []
        self.cell, self.H, self.stages = recurrence.cell, recurrence.hidden_size, self.scan.stages
        recorded: Any = tuple(RecordedStage(s, k, len(self.stages), self.moments) for k, s in enumerate(self.stages))
        self.scan.stages = recorded

    def _forward(self, x: Array, state: Arrays, out: Array | None, *, known: bool) -> tuple[Array, Arrays]:
        y, self.final = super()._forward(x, state, out, known=known)
        return y, self.final

    def _backward(self, dy: Array | None, dstate: Arrays) -> tuple[Array | None, Arrays]:
        self.dy = dy
        gradients = super()._backward(dy, dstate)
        self._add_up(dstate)
        return gradients

    def _add_up(self, dstate: Arrays) -> None:
        """The whole gradient of each state after every step, ``totals``, and before it, ``earlier``."""
        self.totals: list[Arrays] = []
        self.earlier: list[Arrays] = []
        flow, zero = tuple(dstate), self.xp.zeros((), self.xp.result_type(dstate[0]))
        for t in reversed(range(len(self.moments))):
            if self.dy is not None:
                flow = (flow[0] + self.dy[t], *flow[1:])
            self.totals.append(flow)
            moment = self.moments[t]
            back = self.scan.sent_back(0, moment.dq[0], moment.direct[0])
            if self.keep is not None:
                back = tuple(b + self.xp.where(k[t], d, zero) for k, d, b in zip(self.keep, flow, back, strict=True))
            flow = back
            self.earlier.append(flow)
        self.totals.reverse()
        self.earlier.reverse()

    # ------------------------------------------------------------------ reading

    def _named(self) -> dict[str, Reader]:
        there = {n: f for n, f in self._finders().items() if any(f(m) is not None for m in self.moments)}
        readers: dict[str, Reader] = {name: self._stacked(find) for name, find in there.items()}
        readers["x"] = lambda: self.x
        if self.dy is not None:
            readers["dy"] = self._received
        before, after = [m.before[0] for m in self.moments], [*(m.before[0] for m in self.moments[1:]), self.final]
        for i, name in enumerate(self.cell.state):
            for called, states in ((name, before), (f"{name}1", after)):
                readers[called] = self._of(states, i)
            readers[f"d{name}"] = self._of(self.earlier, i)
            if i == 0 or f"d{name}1" not in readers:  # h' may add to what came back to another state: dc' in an LSTM
                readers[f"d{name}1"] = self._of(self.totals, i)
        readers["jacobian"] = self.jacobians
        return readers

    def _of(self, states: list[Arrays], i: int) -> Reader:
        """One of the states at every step."""
        return lambda: self.xp.stack([state[i] for state in states])

    def _received(self) -> Array:
        """The gradient from the layers above, step by step."""
        return np.asarray(self.dy)

    def events(self) -> list[Event]:
        """Every assignment that any step made, in order."""
        return list(dict.fromkeys(event for moment in self.moments for event in moment.events))

    def _finders(self) -> dict[str, Find]:
        """Where a moment has each quantity; of several under one name the last counts."""
        finders: dict[str, Find] = {}
        for i, event in enumerate(self.events()):
            finders[f"line.{i}"] = finders[event.name] = assigned(event)
        wide = [k for k, stage in enumerate(self.stages) if stage.gates]
        kinds = ("p", "q", "dp", "dq") if multiplies(self.stages[0]) else ("p", "dp")
        for kind in kinds:
            finders[kind] = self._joined([entry(kind, k) for k in wide])
        for k, stage in enumerate(self.stages):
            finders[f"input.{k}"], finders[f"output.{k}"] = entry("before", k, 0), entry("dq", k)
            if k:
                finders[f"back.{k}"] = entry("dafter", k - 1, 0)  # what came to the stage before through the product
            for kind in kinds:
                for gate in stage.gates:
                    finders[f"{kind}_{gate}"] = entry(kind, k, (slice(None), block_of(stage, gate, self.H)))
            if matrix_of(stage):
                finders |= {f"{kind}_{matrix_of(stage)}": entry(kind, k) for kind in ("q", "dq")}
            for i, unit in enumerate(units_of(stage)):
                finders[f"d{unit}"] = entry("dunits", k, i)
        for i, name in enumerate(self.cell.state):
            finders[f"direct.{name}"] = entry("direct", 0, i)
        return finders

    def _joined(self, finds: list[Find]) -> Find:
        def find(moment: Moment) -> Array | None:
            parts = [one(moment) for one in finds]
            return None if any(part is None for part in parts) else self.xp.concatenate(parts, axis=-1)

        return find

    def _stacked(self, find: Find) -> Reader:
        """All steps' of a quantity; 0 at a step that has none."""

        def read() -> Array:
            parts = [find(moment) for moment in self.moments]
            none = self.xp.zeros_like(next(part for part in parts if part is not None))
            stacked: Array = self.xp.stack([none if part is None else part for part in parts])
            return stacked

        return read

    def jacobians(self) -> Array:
        """∂(state after)/∂(state before) of every step and row, (T, B, n, n) with all states side by side."""
        xp, widths = self.xp, self.recurrence.widths
        n, (T, B) = sum(widths), self.x.shape[:2]
        jacobians: Array = xp.empty((T, B, n, n), self.run.parameters.dtype)
        ends = np.cumsum((0, *widths))
        eye = xp.eye(n, dtype=jacobians.dtype)
        ones = tuple(eye[:, a:b] for a, b in pairwise(ends))
        for t, moment in enumerate(self.moments):
            for b in range(B):
                keep = None if self.keep is None else [k[t, b] for k in self.keep]
                flow = ones if keep is None else tuple(xp.where(k, 0 * d, d) for k, d in zip(keep, ones, strict=True))
                for k, stage in reversed(list(enumerate(self.stages))):
                    saved: Any = tuple(xp.broadcast_to(a[b], (n, *a.shape[1:])) for a in moment.saved[k])
                    _, dq, direct, *_ = stage.unstep(flow, saved, *self.scan.units[k])
                    flow = self.scan.sent_back(k, dq, direct)
                if keep is not None:
                    flow = tuple(f + xp.where(k, d, 0 * d) for k, d, f in zip(keep, ones, flow, strict=True))
                jacobians[t, b] = xp.concatenate(flow, axis=1)
        return jacobians


class TracedDirection(Direction):
    """``direction`` again, with the same weights; it records its ``passes``."""

    def __init__(self, direction: Direction) -> None:
        super().__init__(
            direction.cell,
            direction.input_size or 0,
            direction.hidden_size,
            reverse=direction.reverse,
            trainable_state=direction.trainable_state,
            weight_dropout=direction.weight_dropout,
            zoneout=direction.zoneout,
        )
        self.bind(direction.bound, direction.prefix)
        self.passes: list[TracedPass] = []

    def plain_pass(self, weights: Weights, run: Run, *, reverse: bool) -> Pass:
        self.passes.append(TracedPass(self.recurrence, weights, run, reverse=reverse))
        return self.passes[-1]

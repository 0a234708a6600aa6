"""Memory for time: a pass that keeps the state only now and then, and computes what lies between again.

    forward     h[0] ....... h[n] ....... h[2n] ....... h[T]     kept: the states at the dots' ends, and y
    backward                                      <---- again forward from h[2n], then backward
                             <--- again from h[n]
                <---- again from h[0]

What backward needs of one segment is there at a time.  With segments that grow as √T so does all the memory (Chen et
al. 2016, arXiv 1604.06174, section 4.1), for less than one forward more: y, which the next layer or the caller holds
anyway, has h of every step, so that no step's product waits for the one before.
"""

import copy
from collections.abc import Callable
from typing import Any, Protocol

from minirnn.core.backend import Array
from minirnn.core.layer import Reader, Run
from minirnn.core.protocol import Arrays
from minirnn.scan import flip, placed, turned

SPARED = 16  # kernels keep all of the last segment, whose turn comes first, where it is at most this part of all steps


class Pass(Protocol):
    """One forward of a direction, and what its backward needs: ``direction.PlainPass`` and its twins."""

    def forward(self, x: Array, state: Arrays, out: Array | None) -> tuple[Array, Arrays]:
        """y, in ``out`` if that is given, and the final state."""

    def backward(self, dy: Array | None, dstate: Arrays) -> tuple[Array | None, Arrays]:
        """The gradients of x, None for integers, and of the initial state; adds those of the weights."""

    def named(self) -> dict[str, Reader]:
        """Readers of what was saved, in the order of x's steps."""


class Segment(Pass, Protocol):
    """A pass that can be told what came of it the first time."""

    def forward(self, x: Array, state: Arrays, out: Array | None, *, known: bool = False) -> tuple[Array, Arrays]:
        """y, in ``out`` if that is given, and the final state; ``known`` says that ``out`` holds y already."""


class SegmentedPass:
    """A pass over segments of ``run.every`` steps, each of which ``make`` makes a pass for."""

    def __init__(self, layer: Any, run: Run, make: Callable[[Any, Run, bool], Segment], *, rest: bool) -> None:
        self.make, self.rest, self.run = make, rest, run
        self.spares = (
            layer.kernels(run.parameters.backend) is not None
        )  # the plain scan has a copy of y, and keeps more
        # without lengths a reverse direction's segments are stretches of x, the last first; with them rows are turned
        self.flipped = layer.reverse and run.past is not None
        self.layer = copy.copy(layer)
        self.layer.reverse = layer.reverse and not self.flipped

    def forward(self, x: Array, state: Arrays, out: Array | None) -> tuple[Array, Arrays]:
        """y, in ``out`` if that is given, and the final state."""
        backend, (T, B) = self.run.parameters.backend, x.shape[:2]
        self.x = x = flip(x, self.run) if self.flipped else x
        y = backend.empty((T, B, state[0].shape[1]), state[0].dtype) if self.flipped or out is None else out
        self.y = None if self.flipped else y  # rows that were turned are held by nobody else
        self.states: list[Arrays] = []
        self.last: Segment | None = None
        stretches = self._stretches()
        for k, stretch in enumerate(stretches):
            self.states.append(tuple(backend.xp.array(s) for s in state))
            spared = self.spares and stretch == stretches[-1] and SPARED * (stretch.stop - stretch.start) <= T
            one = self._pass(k, stretch, again=not spared)
            _, state = one.forward(x[stretch], self.states[k], y[stretch])
            self.last = one if spared else None
        return placed(flip(y, self.run), out) if self.flipped else y, state

    def backward(self, dy: Array | None, dstate: Arrays) -> tuple[Array | None, Arrays]:
        """The gradients of x, None for integers, and of the initial state; adds those of the weights."""
        x, backend = self.x, self.run.parameters.backend
        dy = flip(dy, self.run) if dy is not None and self.flipped else dy
        dx = None if x.dtype.kind in "iu" else backend.empty(x.shape, x.dtype)
        for k, stretch in reversed(list(enumerate(self._stretches()))):
            one, self.last = self.last or self._again(k, stretch), None
            part, dstate = one.backward(None if dy is None else dy[stretch], dstate)
            del one  # before the next one's memory is taken
            if dx is not None:
                dx[stretch] = part
        return (flip(dx, self.run) if self.flipped and dx is not None else dx), dstate

    def named(self) -> dict[str, Reader]:
        """Readers of what would have been saved, in the order of x's steps; each computes all of it again."""
        xp, stretches = self.run.parameters.backend.xp, list(enumerate(self._stretches()))

        def reader(name: str) -> Reader:
            def whole() -> Array:
                parts = [self._again(k, stretch).named()[name]() for k, stretch in stretches]
                joined: Array = xp.concatenate(parts[::-1] if self.layer.reverse else parts)
                return joined

            return turned(whole, self.run) if self.flipped else whole

        return {name: reader(name) for name in self._again(*stretches[0]).named()}

    def _stretches(self) -> list[slice]:
        """The segments' places in x, in the order in which this direction reads them."""
        T, every = len(self.x), self.run.every
        starts = range(0, T, every)
        if self.layer.reverse:
            return [slice(max(0, T - t - every), T - t) for t in starts]
        return [slice(t, min(T, t + every)) for t in starts]

    def _pass(self, k: int, stretch: slice, *, again: bool) -> Segment:
        past = None if self.run.past is None else self.run.past[stretch]
        told = self.run._replace(past=past, flipped=None, first_step=k * self.run.every, again=again)
        return self.make(self.layer, told, self.rest and k == 0)

    def _again(self, k: int, stretch: slice) -> Segment:
        """A segment's pass, forward done, ready for backward."""
        one, y = self._pass(k, stretch, again=False), None if self.y is None else self.y[stretch]
        one.forward(self.x[stretch], self.states[k], y, known=y is not None)
        return one

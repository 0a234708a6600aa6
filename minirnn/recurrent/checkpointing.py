"""Gradient checkpointing: store every n-th state, and compute the rest again for the backward pass.

    forward     h[0] ....... h[n] ....... h[2n] ....... h[T]     stored: the states at the dots' ends, and y
    backward                                      <---- forward again from h[2n], then backward
                             <--- again from h[n]
                <---- again from h[0]

One segment at a time has what its backward pass needs.  With segments that grow as √T so does all the memory (Chen et
al. 2016, arXiv 1604.06174, section 4.1), for less than one more forward pass: y, which the next layer or the caller
holds anyway, has h of every step, so that no step's product waits for the one before.
"""

from collections.abc import Callable
from functools import partial

from minirnn.core.backend import Array
from minirnn.core.protocol import Arrays
from minirnn.core.run import Reader, Run
from minirnn.recurrent.passes import Pass, Recurrence
from minirnn.recurrent.weights import Weights

SPARED = 16  # kernels keep all of the last segment, whose turn comes first, where it is at most this part of all steps


class CheckpointedPass(Pass):
    """A pass over segments of ``run.every`` steps; ``make(weights, run, reverse=..., rest=...)`` makes that of each.

    ``spares`` says that the last segment is computed once where it is short.  Without lengths a reverse direction's
    segments are stretches of x, the last first.
    """

    def __init__(
        self,
        recurrence: Recurrence,
        weights: Weights,
        run: Run,
        make: Callable[..., Pass],
        *,
        reverse: bool,
        rest: bool,
        spares: bool,
    ) -> None:
        super().__init__(recurrence, weights, run, reverse=reverse, rest=rest)
        self.make, self.spares = make, spares

    def _forward(self, x: Array, state: Arrays, out: Array | None, *, known: bool) -> tuple[Array, Arrays]:
        backend, (T, B) = self.run.parameters.backend, x.shape[:2]
        self.x = x
        y = backend.empty((T, B, state[0].shape[1]), state[0].dtype) if out is None else out
        self.y = None if self.flipped else y  # nobody else holds rows that were reversed
        self.states: list[Arrays] = []
        self.last: Pass | None = None
        stretches = self._stretches()
        for k, stretch in enumerate(stretches):
            self.states.append(tuple(backend.xp.array(s) for s in state))
            spared = self.spares and stretch == stretches[-1] and SPARED * (stretch.stop - stretch.start) <= T
            one = self._pass(k, stretch, again=not spared)
            _, state = one.forward(x[stretch], self.states[k], y[stretch])
            self.last = one if spared else None
        return y, state

    def _backward(self, dy: Array | None, dstate: Arrays) -> tuple[Array | None, Arrays]:
        x, backend = self.x, self.run.parameters.backend
        dx = None if x.dtype.kind in "iu" else backend.empty(x.shape, x.dtype)
        for k, stretch in reversed(list(enumerate(self._stretches()))):
            one, self.last = self.last or self._again(k, stretch), None
            part, dstate = one.backward(None if dy is None else dy[stretch], dstate)
            del one  # before the next one's memory is taken
            if dx is not None:
                dx[stretch] = part
        return dx, dstate

    def _named(self) -> dict[str, Reader]:
        """Readers of what would have been saved; each computes all of it again."""
        xp, stretches = self.run.parameters.backend.xp, list(enumerate(self._stretches()))

        def whole(name: str) -> Array:
            parts = [self._again(k, stretch).named()[name]() for k, stretch in stretches]
            joined: Array = xp.concatenate(parts[::-1] if self.reverse else parts)
            return joined

        return {name: partial(whole, name) for name in self._again(*stretches[0]).named()}

    def _stretches(self) -> list[slice]:
        """The segments' places in x, in the order in which this direction reads them."""
        T, every = len(self.x), self.run.every
        starts = range(0, T, every)
        if self.reverse:
            return [slice(max(0, T - t - every), T - t) for t in starts]
        return [slice(t, min(T, t + every)) for t in starts]

    def _pass(self, k: int, stretch: slice, *, again: bool) -> Pass:
        past = None if self.run.past is None else self.run.past[stretch]
        run = self.run._replace(past=past, flipped=None, first_step=k * self.run.every, again=again)
        return self.make(self.weights, run, reverse=self.reverse, rest=self.rest and k == 0)

    def _again(self, k: int, stretch: slice) -> Pass:
        """A segment's pass after its forward pass, ready for the backward pass."""
        one, y = self._pass(k, stretch, again=False), None if self.y is None else self.y[stretch]
        one.forward(self.x[stretch], self.states[k], y, known=y is not None)
        return one

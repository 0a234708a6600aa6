"""Gradient checkpointing: store every n-th state, and compute the rest again for the backward pass.

    forward     h[0] ....... h[n] ....... h[2n] ....... h[T]     stored: the states at the dots' ends, and y
    backward                                      <---- forward again from h[2n], then backward
                             <--- again from h[n]
                <---- again from h[0]

One segment at a time has what its backward pass needs.  With segments that grow as √T so does all the memory (Chen et
al. 2016, arXiv 1604.06174, section 4.1), for less than one more forward pass: y, which the caller or the next layer
holds anyway, has h of every step, so that no step's product waits for the one before.

Layers that all read forward go through a segment together before the next one begins.  Then no layer needs the whole y
of the one before, and only the last layer's is stored.  Of L layers, in each segment:

    forward     y of layer 0, of layer 1 ... of layer L - 2 again, from the stored states, as in the forward pass
    backward    of layer L - 1, of layer L - 2 ... of layer 0: forward again from y as above, then backward

That is less than two more forward passes.  What is saved is one layer's at a time.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

from minirnn.core.backend import Array
from minirnn.core.protocol import Arrays
from minirnn.core.run import Reader, Result, Run, Saved
from minirnn.recurrent.passes import Pass, Recurrence
from minirnn.recurrent.weights import Weights

SPARED = 16  # kernels keep all of the last segment, whose turn comes first, where it is at most this part of all steps


def unchanged(y: Any, run: Run) -> Result:
    """No dropout."""
    return Result(y, None, lambda dy, _: (dy, None), {})


class Level(NamedTuple):
    """One of the layers that are computed together.

    ``make(weights, run, reverse=..., rest=...)`` makes its pass over a segment.  The names of what it saves begin with
    ``name``, and ``drop(y, run)`` is the dropout between it and the next layer.
    """

    recurrence: Recurrence
    weights: Weights
    make: Callable[..., Pass]
    name: str = ""
    drop: Callable[[Any, Run], Result] = unchanged


class Part(NamedTuple):
    """One layer's forward pass over a segment; ``one`` has what its backward pass needs, if that was saved."""

    x: Array
    y: Array | None  # None where nobody holds it
    final: Arrays
    dropped: Result
    one: Pass | None


class CheckpointedPass(Pass):
    """A pass of one layer or more over segments of ``run.every`` steps; states are those of all layers in their order.

    ``spares`` says that the last segment is computed once where it is short.  One layer may be reversed.  Without
    lengths a reverse direction's segments are stretches of x, the last first.
    """

    def __init__(self, levels: Sequence[Level], run: Run, *, reverse: bool, rest: bool, spares: bool) -> None:
        last = levels[-1]
        super().__init__(last.recurrence, last.weights, run, reverse=reverse, rest=rest)
        self.levels, self.spares = levels, spares

    def _forward(self, x: Array, state: Arrays, out: Array | None, *, known: bool) -> tuple[Array, Arrays]:
        backend, (T, B) = self.run.parameters.backend, x.shape[:2]
        self.x = x
        y = backend.empty((T, B, self.recurrence.widths[0]), state[0].dtype) if out is None else out
        self.y: Array | None = y
        self.states: list[list[Arrays]] = []  # before each segment, layer by layer
        self.last: list[Part] | None = None
        states, stretches = by_layer(state, len(self.levels)), self._stretches()
        for k, stretch in enumerate(stretches):
            self.states.append([tuple(backend.xp.array(s) for s in each) for each in states])
            spared = self.spares and stretch == stretches[-1] and SPARED * (stretch.stop - stretch.start) <= T
            parts = self._ahead(k, stretch, save=spared)
            states = [part.final for part in parts]
            self.last = parts if spared else None
        if self.flipped:
            self.y = None  # nobody else holds rows that were reversed
        return y, tuple(chain(*states))

    def _backward(self, dy: Array | None, dstate: Arrays) -> tuple[Array | None, Arrays]:
        x, backend, dstates = self.x, self.run.parameters.backend, by_layer(dstate, len(self.levels))
        dx = None if x.dtype.kind in "iu" else backend.empty(x.shape, x.dtype)
        for k, stretch in reversed(list(enumerate(self._stretches()))):
            parts, self.last = self.last or self._ahead(k, stretch, known=True), None
            flow = None if dy is None else dy[stretch]
            for i in reversed(range(len(parts))):
                part = parts.pop()
                flow, _ = part.dropped.pull(flow, None)
                one = part.one or self._again(i, k, stretch, part)
                flow, dstates[i] = one.backward(flow, dstates[i])
                del one, part  # before the next one's memory is taken
            if dx is not None:
                dx[stretch] = flow
        return dx, tuple(chain(*dstates))

    def _named(self) -> dict[str, Reader]:
        """Readers of what would have been saved; each computes all of it again."""
        xp, stretches = self.run.parameters.backend.xp, list(enumerate(self._stretches()))

        def whole(i: int, name: str) -> Array:
            parts = [self._saved(i, k, stretch)[name]() for k, stretch in stretches]
            joined: Array = xp.concatenate(parts[::-1] if self.reverse else parts)
            return joined

        return {
            level.name + name: partial(whole, i, name)
            for i, level in enumerate(self.levels)
            for name in self._saved(i, *stretches[0])
        }

    def _stretches(self) -> list[slice]:
        """The segments' places in x, in the order in which this direction reads them."""
        T, every = len(self.x), self.run.every
        starts = range(0, T, every)
        if self.reverse:
            return [slice(max(0, T - t - every), T - t) for t in starts]
        return [slice(t, min(T, t + every)) for t in starts]

    def _run(self, k: int, stretch: slice, *, again: bool) -> Run:
        past = None if self.run.past is None else self.run.past[stretch]
        return self.run._replace(past=past, flipped=None, first_step=k * self.run.every, again=again)

    def _pass(self, i: int, k: int, stretch: slice, *, again: bool) -> Pass:
        level, rest = self.levels[i], self.rest and k == 0
        return level.make(level.weights, self._run(k, stretch, again=again), reverse=self.reverse, rest=rest)

    def _ahead(self, k: int, stretch: slice, *, save: bool = False, known: bool = False) -> list[Part]:
        """A segment's forward pass through the layers; with ``known`` the last one's y is there already."""
        x, last, parts = self.x[stretch], len(self.levels) - 1, list[Part]()
        for i, level in enumerate(self.levels):
            y = None if i < last or self.y is None else self.y[stretch]
            one, final = None, tuple[Array, ...]()
            if i < last or not known:
                one = self._pass(i, k, stretch, again=not save)
                y, final = one.forward(x, self.states[k][i], y)
            dropped = level.drop(y, self._run(k, stretch, again=not save))
            parts.append(Part(x, y, final, dropped, one if save else None))
            x = dropped.y
        return parts

    def _again(self, i: int, k: int, stretch: slice, part: Part) -> Pass:
        """A layer's pass over a segment after its forward pass, ready for the backward pass."""
        one = self._pass(i, k, stretch, again=False)
        one.forward(part.x, self.states[k][i], part.y, known=part.y is not None)
        return one

    def _saved(self, i: int, k: int, stretch: slice) -> Saved:
        """Readers of what a layer saves in a segment, its dropout's mask included."""
        part = self._ahead(k, stretch, known=True)[i]
        masks = {f"dropout.{name}": read for name, read in part.dropped.saved.items()}
        return {**self._again(i, k, stretch, part).named(), **masks}


def by_layer(states: Arrays, layers: int) -> list[Arrays]:
    """The states of each layer, of those of all in their order."""
    n = len(states) // layers
    return [states[i : i + n] for i in range(0, len(states), n)]

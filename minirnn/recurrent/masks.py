"""Steps that are skipped, wherever in a row they stand.

A mask may have gaps: ``skip`` (T, B) is True where a row's state is carried over a step as if it were not there.  The
scan knows of one kind, the steps past a row's length.  So a recurrent layer is run on rows without their skipped steps,
gathered to the front, and its output spread out again:

    x        a  -  b  -  -  c         -: skipped
    gathered a  b  c  .  .  .         length 3
    y        A  A  B  B  B  C         a skipped step repeats the output before it, and is 0 before the first
    both directions, A  0  B  0  0  C  where a skipped step would repeat one side's past and the other's future

That is what Keras does with a mask, in a layer and in its Bidirectional.
"""

from minirnn.core.backend import Array
from minirnn.core.layer import Layer, blank, each_step
from minirnn.core.lengths import ends
from minirnn.core.run import Result, Run, State


def skipping(layer: Layer, x: Array, state: State, run: Run, *, zero: bool) -> Result:
    """``layer`` applied to the rows of ``x`` without the steps that ``run`` skips.

    At a skipped step y is 0 if ``zero``, else that of the last step that was not.
    """
    gaps = Gaps(run)
    y, final, pull, saved, _ = layer.apply(gaps.gathered(x), state, gaps.run)

    def pull_through(dy: Array | None, dstate: State) -> tuple[Array | None, State]:
        if dy is not None:
            dy = gaps.gathered(blank(dy, gaps.skip) if zero else gaps.collected(dy))
            dy = blank(dy, gaps.past)
        dx, dinitial = pull(dy, dstate)
        return None if dx is None else gaps.spread(dx, zero=True), dinitial

    spread = each_step(saved, gaps.skip.shape, lambda a: gaps.spread(a, zero=True))
    return Result(gaps.spread(y, zero=zero), final, pull_through, spread)


class Gaps:
    """Places of each row's valid steps.  ``run`` is that of the gathered rows, which end at ``past``."""

    def __init__(self, run: Run) -> None:
        assert run.skip is not None
        self.xp, self.skip = run.parameters.backend.xp, run.skip
        T = len(self.skip)
        t, valid = self.xp.arange(T)[:, None], ~self.skip
        self.order = self.xp.argsort(t + T * self.skip, axis=0)  # valid steps first; no two are alike
        count = self.xp.cumsum(valid.astype("int64"), axis=0)  # of valid steps up to each
        self.before, self.place = count == 0, self.xp.maximum(count - 1, 0)
        self.past, flipped = ends(count[-1], T, self.xp)
        self.run = run._replace(past=self.past, flipped=flipped, skip=None)

    def gathered(self, a: Array) -> Array:
        """Each row's valid steps first, in their order."""
        return self._taken(a, self.order)

    def spread(self, a: Array, *, zero: bool) -> Array:
        """Each step's own entry of a gathered ``a``; at a skipped step 0, or without ``zero`` the one before."""
        return blank(self._taken(a, self.place), self.skip if zero else self.before)

    def collected(self, dy: Array) -> Array:
        """The transpose of repeating: what skipped steps send back is added to the step they repeat."""
        dy = blank(dy, self.before)
        for t in reversed(range(1, len(dy))):
            dy[t - 1] += self.xp.where(self.skip[t][:, None], dy[t], dy.dtype.type(0))
        return dy

    def _taken(self, a: Array, index: Array) -> Array:
        index = index.reshape(index.shape + (1,) * (a.ndim - 2))
        out: Array = self.xp.take_along_axis(a, index, axis=0)
        return out

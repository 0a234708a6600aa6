"""Layers of a ``LayerGraph`` that move numbers between steps and features, or make steps where there are none."""

from collections.abc import Sequence

from minirnn.core.backend import Array
from minirnn.core.layer import check_size
from minirnn.core.run import Run
from minirnn.layers.joining import Joined, Kind, Sizes, WholeSequence

MOST_STEPS = 2**16  # that a value without steps is repeated at


class Repeat(WholeSequence):
    """y[t] = x, at each of ``num_steps`` steps: (B, D) -> (T, B, D), Keras' RepeatVector.

    Transposed: dx = Σ dy[t].
    """

    arguments = ("num_steps",)

    def __init__(self, num_steps: int) -> None:
        self.num_steps = check_size("num_steps", num_steps)
        if self.num_steps > MOST_STEPS:
            raise ValueError(f"num_steps must be at most {MOST_STEPS:,}; got {num_steps:,}")

    def kind(self, kinds: Sequence[Kind]) -> Kind:
        if kinds[0].timed:
            raise ValueError("repeats a value without steps; the one that it reads has some")
        return Kind(kinds[0].features)

    def sizes(self, sizes: Sequence[Sizes]) -> Sizes:
        return Sizes(self.num_steps, sizes[0].features)

    def join(self, xs: Sequence[Array], runs: Sequence[Run]) -> Joined:
        (x,), xp = xs, runs[0].parameters.backend.xp
        y = xp.broadcast_to(x, (self.num_steps, *x.shape)).copy()
        return Joined(y, lambda dy: (None if dy is None else dy.sum(axis=0),), runs[0])


class Exchange(WholeSequence):
    """y[d, b, t] = x[t, b, d]: steps become features and features steps, Keras' Permute((2, 1)).

    Transposed: dx[t, b, d] = dy[d, b, t].
    """

    def kind(self, kinds: Sequence[Kind]) -> Kind:
        if not kinds[0].timed:
            raise ValueError("exchanges steps and features; the value that it reads has no steps")
        return Kind(None)

    def sizes(self, sizes: Sequence[Sizes]) -> Sizes:
        return Sizes(sizes[0].features, sizes[0].steps)

    def join(self, xs: Sequence[Array], runs: Sequence[Run]) -> Joined:
        return Joined(xs[0].transpose(2, 1, 0), lambda dy: (None if dy is None else dy.transpose(2, 1, 0),), runs[0])


class Reshape(WholeSequence):
    """The numbers of a row, step after step, as others: (T, B, D) or (B, D) -> (num_steps, B, features), Keras'.

    ``num_steps`` None makes a value without steps, (B, features).  One of the two may be -1, for as many as are left.
    Transposed: dy in the shape of x.
    """

    arguments = ("num_steps", "num_features")

    def __init__(self, num_steps: int | None, num_features: int) -> None:
        if (num_steps, num_features) == (-1, -1):
            raise ValueError("num_steps or num_features may be -1, for as many as are left; both are")
        self.num_steps = num_steps if num_steps in (None, -1) else check_size("num_steps", num_steps)
        self.num_features = num_features if num_features == -1 else check_size("num_features", num_features)

    def kind(self, kinds: Sequence[Kind]) -> Kind:
        return Kind(None if self.num_features == -1 else self.num_features, self.num_steps is not None)

    def sizes(self, sizes: Sequence[Sizes]) -> Sizes:
        T, D = sizes[0]
        wanted = Sizes(self.num_steps, self.num_features)
        known = abs((self.num_steps or 1) * self.num_features)
        if D is None:
            return Sizes(*(None if n == -1 else n for n in wanted))
        count = (1 if T is None else T) * D
        if count % known or (-1 not in wanted and known != count):
            raise ValueError(f"{self.describe()} needs {known} numbers a row; got {count}")
        return Sizes(*(count // known if n == -1 else n for n in wanted))

    def join(self, xs: Sequence[Array], runs: Sequence[Run]) -> Joined:
        (x,) = xs
        rows = x.swapaxes(0, 1).reshape(x.shape[1], -1) if x.ndim > 2 else x
        B, count = rows.shape
        sizes = self.sizes([Sizes(len(x) if x.ndim > 2 else None, x.shape[-1])])
        T, D = sizes.steps or 1, sizes.features or 1
        y = rows.reshape(B, T, D).swapaxes(0, 1) if self.num_steps is not None else rows.reshape(B, D)

        def pull(dy: Array | None) -> tuple[Array | None]:
            if dy is None:
                return (None,)
            back = dy.swapaxes(0, 1).reshape(B, count) if dy.ndim > 2 else dy.reshape(B, count)
            return (back.reshape(B, *x.shape[::2]).swapaxes(0, 1) if x.ndim > 2 else back,)

        return Joined(y, pull, runs[0])

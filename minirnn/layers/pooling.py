"""Layers that make one step of several: pooling over windows of steps and over all of them, and Flatten."""

from minirnn.core.backend import Array
from minirnn.core.layer import Layer, check_size
from minirnn.core.module import brief
from minirnn.core.run import Result, Run, State
from minirnn.layers.windows import Padding, Windowed


class MaxPool1d(Windowed):
    """The largest step of each window, feature by feature: (T, B, D) -> (T', B, D), torch's with time first.

        y[t] = max over k of x[s t - l + k]   (1)  padding is -∞

    Transposed, with k(t) the first k that is largest:

        dx[s t - l + k(t)] += dy[t]           (1)

    ``stride`` None is ``kernel_size``.  Windows, ``padding`` and what becomes of lengths: ``minirnn.layers.windows``.
    """

    arguments = ("kernel_size", "stride", "padding")

    def __init__(self, kernel_size: int, stride: int | None = None, padding: Padding = 0) -> None:
        super().__init__(kernel_size, kernel_size if stride is None else stride, padding)

    def apply(self, x: Array, state: State, run: Run) -> Result:
        xp, zero = run.parameters.backend.xp, x.dtype.type(0)
        p = self.padded(x, run, fill=float("-inf"))
        windows = xp.stack(self.windows(p))
        first = windows.real.argmax(axis=0)
        y = xp.take_along_axis(windows, first[None], axis=0)[0]  # (1)

        def pull(dy: Array | None, dstate: State) -> tuple[Array | None, State]:
            if dy is None:
                return None, None
            dp = self.gathered(p, (xp.where(first == k, dy, zero) for k in range(self.kernel_size)), run)  # (1)
            return self.within(dp, len(x), run), None

        return self.result(y, None, pull, {}, run)


class AvgPool1d(Windowed):
    """The mean of each window, feature by feature: (T, B, D) -> (T', B, D), torch's with time first.

        y[t] = Σ x[s t - l + k] / n[t]        (1)  sum over k; padding is 0

    Transposed:

        dx[s t - l + k] += dy[t] / n[t]       (1)  for all t and k

    n[t] is the kernel's size K, or, with ``count_padding=False`` as in Keras, how many steps of window t are not
    padding.  Else as ``MaxPool1d``.
    """

    arguments = ("kernel_size", "stride", "padding", "count_padding")

    def __init__(
        self, kernel_size: int, stride: int | None = None, padding: Padding = 0, *, count_padding: bool = True
    ) -> None:
        super().__init__(kernel_size, kernel_size if stride is None else stride, padding)
        self.count_padding = bool(count_padding)

    def apply(self, x: Array, state: State, run: Run) -> Result:
        xp = run.parameters.backend.xp
        p = self.padded(x, run)
        n = x.dtype.type(self.kernel_size)
        if not self.count_padding:
            steps = sum(self.windows(self.padded(xp.full((*x.shape[:2], 1), 1, x.dtype), run)))
            n = xp.where(steps == 0, n, steps)  # windows past a row's end have none
        y = sum(self.windows(p)) / n  # (1)

        def pull(dy: Array | None, dstate: State) -> tuple[Array | None, State]:
            if dy is None:
                return None, None
            dp = self.gathered(p, [dy / n] * self.kernel_size, run)  # (1)
            return self.within(dp, len(x), run), None

        return self.result(y, None, pull, {}, run)


class OverAll(Layer):
    """The base of layers that make one step of all: (T, B, D) -> (B, ...)."""

    keeps_time = False

    @property
    def reads_ahead(self) -> bool:
        return True

    @staticmethod
    def valid(x: Array, run: Run) -> Array:
        """Which steps of x count, (T, B, 1): those of each row's length that no mask skips."""
        skipped = run.parameters.backend.xp.zeros(x.shape[:2], bool) if run.skipped is None else run.skipped
        valid: Array = ~skipped[:, :, None]
        return valid


class GlobalMaxPool1d(OverAll):
    """y[b] = max over t of x[t, b], feature by feature: (T, B, D) -> (B, D), over the steps that are valid.

    Transposed: dx[t, b] = dy[b] at the first t that is largest, else 0.  A row without any step gives 0.
    """

    def apply(self, x: Array, state: State, run: Run) -> Result:
        xp, zero = run.parameters.backend.xp, x.dtype.type(0)
        valid = self.valid(x, run)
        first = xp.where(valid, x.real, x.real.dtype.type("-inf")).argmax(axis=0)
        largest = (xp.arange(len(x))[:, None, None] == first) & valid
        y = xp.where(largest, x, zero).sum(axis=0)

        def pull(dy: Array | None, dstate: State) -> tuple[Array | None, State]:
            return None if dy is None else xp.where(largest, dy, zero), None

        return Result(y, None, pull, {})


class GlobalAvgPool1d(OverAll):
    """y[b] = Σ x[t, b] / n[b] over the n[b] steps that are valid: (T, B, D) -> (B, D).

    Transposed: dx[t, b] = dy[b] / n[b] at valid steps, else 0.  A row without any step gives 0.
    """

    def apply(self, x: Array, state: State, run: Run) -> Result:
        xp, zero, valid = run.parameters.backend.xp, x.dtype.type(0), self.valid(x, run)
        n = xp.maximum(valid.sum(axis=0), 1).astype(x.dtype)  # (B, 1)
        y = xp.where(valid, x, zero).sum(axis=0) / n

        def pull(dy: Array | None, dstate: State) -> tuple[Array | None, State]:
            return None if dy is None else xp.where(valid, dy / n, zero), None

        return Result(y, None, pull, {})


class Flatten(OverAll):
    """y[b] = x[0, b], x[1, b], ..., side by side: (T, B, D) -> (B, T D), for x of ``num_steps`` steps, T.

    The features of the first step come first, as in Keras; torch's Flatten after a convolution has time last, which
    exchanges the lines of the Linear layer after it.  Lengths and masks are refused: every y has T steps.
    """

    arguments = ("num_steps", "num_features")

    def __init__(self, num_steps: int, num_features: int) -> None:
        self.num_steps = check_size("num_steps", num_steps)
        self.num_features = self.input_size = check_size("num_features", num_features)
        self.output_size = num_steps * num_features

    @property
    def skips(self) -> bool:
        return False

    @property
    def takes_lengths(self) -> bool:
        return False

    def check_steps(self, T: int) -> int:
        if self.num_steps != T:
            raise ValueError(f"{brief(self)} takes {self.num_steps} steps; got {T}")
        return T

    def apply(self, x: Array, state: State, run: Run) -> Result:
        T, B, D = x.shape

        def pull(dy: Array | None, dstate: State) -> tuple[Array | None, State]:
            return None if dy is None else dy.reshape(B, T, D).swapaxes(0, 1), None

        return Result(x.swapaxes(0, 1).reshape(B, T * D), None, pull, {})

"""Layers that read windows of steps: convolution and pooling over time.

Window t of a layer has the steps

    s t - l + d k    for k from 0 to K - 1        (1)

with K the kernel's size, s the stride, d the dilation and l the steps of padding on the left.  So a row of L steps has

    ⌊(L + l + r - d (K - 1) - 1) / s⌋ + 1         (2)

of them, r being the padding on the right; a row of none has none.  What is past a row's end is padding as well: a row
with a length is that row alone.
"""

from collections.abc import Iterable
from typing import Any

from minirnn.core.backend import Array
from minirnn.core.layer import Layer, after_steps, blank, check_size
from minirnn.core.module import brief
from minirnn.core.run import Result, Run, State

Padding = int | str | tuple[int, int] | list[int]


class Windowed(Layer):
    """The base of layers whose y[t] is made of window t of x: the numbers of (1) and (2), and the way there and back.

    ``padding`` is a number of steps on either side, a pair of numbers (left, right), or ``"same"``: as many in all as
    keep the number of steps, of an odd number the larger half on the right.
    """

    paddings = "a number of steps, two of them (left, right), or 'same'"  # in errors

    def __init__(self, kernel_size: int, stride: int, padding: Padding, dilation: int = 1) -> None:
        self.kernel_size, self.stride = check_size("kernel_size", kernel_size), check_size("stride", stride)
        self.dilation, self.padding = check_size("dilation", dilation), padding
        self.reach = self.dilation * (self.kernel_size - 1)  # from a window's first step to its last
        self.left, self.right = self._sides(padding)
        if isinstance(padding, (tuple, list)):
            self.padding = self.left if self.left == self.right else (self.left, self.right)

    def _sides(self, padding: Padding) -> tuple[int, int]:
        """Padding on the left and on the right, in steps."""
        if padding == "same":
            if self.stride > 1:
                raise ValueError(
                    f"padding 'same' needs stride 1: with stride {self.stride} where windows begin would depend on "
                    f"the number of steps"
                )
            return self.reach // 2, self.reach - self.reach // 2
        if isinstance(padding, str) or (isinstance(padding, (tuple, list)) and len(padding) != 2):
            raise ValueError(f"padding must be {self.paddings}; got {padding!r:.60}")
        left, right = padding if isinstance(padding, (tuple, list)) else (padding, padding)
        left, right = check_size("padding", left, 0), check_size("padding", right, 0)
        if max(left, right) > self.reach:
            raise ValueError(
                f"padding may be at most {self.reach} steps, so that every window has a step of x; got {padding!r}"
            )
        return left, right

    @property
    def reads_ahead(self) -> bool:
        return self.stride > 1 or self.left < self.reach

    @property
    def changes_steps(self) -> bool:
        return self.stride > 1 or self.left + self.right != self.reach

    @property
    def skips(self) -> bool:
        return False

    def output_lengths(self, lengths: Any) -> Any:
        windows = (lengths + self.left + self.right - self.reach - 1) // self.stride + 1  # (2)
        return windows * (windows > 0) * (lengths > 0)

    def check_steps(self, T: int) -> int:
        windows: int = self.output_lengths(T)
        if windows < 1:
            least = max(1, self.reach + 1 - self.left - self.right)
            raise ValueError(f"{brief(self)} needs at least {least} steps; got {T}")
        return windows

    def padded(self, x: Array, run: Run, fill: float = 0, before: Array | None = None) -> Array:
        """``x`` with ``fill`` before it, or the steps ``before``, and after it, and past the end of each row."""
        xp, value = run.parameters.backend.xp, x.dtype.type(fill)
        if run.past is not None:
            x = xp.where(run.past[:, :, None], value, x)
        parts = [xp.full((n, *x.shape[1:]), value) for n in (self.left, self.right)]
        whole: Array = xp.concatenate([parts[0] if before is None else before, x, parts[1]])
        return whole

    def windows(self, padded: Array) -> list[Array]:
        """Of each k in (1), the steps of all windows, as views."""
        T = (len(padded) - self.reach - 1) // self.stride + 1  # (2)
        starts = [self.dilation * k for k in range(self.kernel_size)]
        return [padded[start : start + self.stride * (T - 1) + 1 : self.stride] for start in starts]

    def gathered(self, padded: Array, dwindows: Iterable[Array], run: Run) -> Array:
        """The transpose of ``windows``: the gradient of ``padded``, from those of each k in (1)."""
        dpadded: Array = run.parameters.backend.xp.zeros_like(padded)
        for own, dwindow in zip(self.windows(dpadded), dwindows, strict=True):
            own[...] += dwindow
        return dpadded

    def within(self, dpadded: Array, T: int, run: Run) -> Array:
        """The transpose of ``padded``: the gradient of x's own T steps."""
        dx = dpadded[self.left : self.left + T]
        return dx if run.past is None else blank(dx, run.past)

    def result(self, y: Array, state: State, pull: Any, saved: Any, run: Run) -> Result:
        """The layer's answer, with the run of the layers after it."""
        after = after_steps(run, self.output_lengths, len(y)) if self.changes_steps else None
        past = (after or run).past
        return Result(y if past is None else blank(y, past), state, pull, saved, after)

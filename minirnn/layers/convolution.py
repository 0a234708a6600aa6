"""Convolution over time."""

from minirnn.core.backend import Array
from minirnn.core.layer import check_size
from minirnn.core.parameters import Spec
from minirnn.core.run import Result, Run, State
from minirnn.layers.windows import Padding, Windowed


class Conv1d(Windowed):
    """Convolution over time: (T, B, in) -> (T', B, out), which is torch's ``Conv1d`` with time first.

        p = x with zeros before and after it  (1)
        a[t] = (p[s t], p[s t + d], ..., p[s t + d (K - 1)])    (2)  the K steps of window t, side by side
        y[t] = a[t] W + b                     (3)

    Transposed:

        dW = Σ a[t]ᵀ dy[t],  db = Σ dy[t]     (3)
        da[t] = dy[t] Wᵀ                      (3)
        dp[s t + d k] += da[t], its part k    (2)  for all t and k
        dx = dp without what was added        (1)

    Weights ``W (K · in / groups, out)``, whose rows are the features of the first step of a window, then those of the
    second, and ``b (out)``.  With ``groups`` above 1, each group of output features reads its own group of input
    features.  The windows, and ``padding`` as a number or "same", are those of ``minirnn.layers.windows``; a stride
    changes the number of steps, and with it ``lengths`` (``output_lengths``).

    ``padding="causal"`` puts d (K - 1) steps before x, so that y[t] reads no step after t.  With stride 1 these steps
    are the layer's state, (d (K - 1), B, in), and the final state is the last of p: a sequence may come in chunks, and
    the layer streams.  The state None is zeros.
    """

    arguments = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "bias")
    paddings = "a number of steps, two of them (left, right), 'same' or 'causal'"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        *,
        padding: Padding = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        self.in_channels = self.input_size = check_size("in_channels", in_channels)
        self.out_channels = self.output_size = check_size("out_channels", out_channels)
        self.groups, self.bias = check_size("groups", groups), bool(bias)
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"groups must divide in_channels and out_channels, {in_channels} and {out_channels}; got {groups}"
            )
        super().__init__(kernel_size, stride, padding, dilation)
        self.remembered = self.reach if padding == "causal" and stride == 1 else 0  # steps of the state

    def _sides(self, padding: Padding) -> tuple[int, int]:
        return (self.reach, 0) if padding == "causal" else super()._sides(padding)

    def specs(self) -> dict[str, Spec]:
        fan = self.kernel_size * self.in_channels // self.groups
        specs = {"W": Spec((fan, self.out_channels), "input", fan)}
        return specs | ({"b": Spec((self.out_channels,), "bias", fan)} if self.bias else {})

    def check_state(self, state: State, batch: int, *, cotangent: bool = False) -> State:
        if state is None or not self.remembered:
            return super().check_state(state, batch, cotangent=cotangent)
        array, shape = self._admit_floats("state", state), (self.remembered, batch, self.in_channels)
        if array.shape != shape:
            raise ValueError(
                f"the state must have shape (dilation * (kernel_size - 1), B, in) = {shape}; got {array.shape}"
            )
        return array

    def apply(self, x: Array, state: State, run: Run) -> Result:
        xp, W, width = run.parameters.backend.xp, self.weight("W"), self.out_channels // self.groups
        product = run.parameters.product
        T, B, D = x.shape
        blocks = [slice(k * width, (k + 1) * width) for k in range(self.groups)]  # of W's columns, for each group
        p = self.padded(x, run, before=state)  # (1)
        parts = (self.check_steps(T), B, self.kernel_size, self.groups, D // self.groups)  # of all windows

        def rows() -> list[Array]:
            """(2): a of each group, (T' B, K · in / groups); made again in backward, since it is K times x."""
            a = xp.stack(self.windows(p), axis=2).reshape(parts)
            return [a[:, :, :, k].reshape(parts[0] * B, W.shape[0]) for k in range(self.groups)]

        y = xp.concatenate([product(a, W[:, block]) for a, block in zip(rows(), blocks, strict=True)], axis=-1)  # (3)
        y = y + self.weight("b") if self.bias else y
        final = last = None
        if self.remembered:  # the last steps of p; of a row with a length, those before its end
            ends = xp.full(B, T) if run.past is None else (~run.past).sum(axis=0)
            last = (xp.arange(self.remembered)[:, None] + ends, xp.arange(B))
            final = p[last]

        def pull(dy: Array | None, dstate: State) -> tuple[Array | None, State]:
            if dy is None:
                dp = xp.zeros_like(p)
            else:
                dy = dy.reshape(parts[0] * B, self.out_channels)
                dW = self.grad("W")
                for a, block in zip(rows(), blocks, strict=True):
                    dW[:, block] += product(a.T, dy[:, block])  # (3)
                if self.bias:
                    self.grad("b")[...] += dy.sum(axis=0)
                da = [product(dy[:, block], W[:, block].T).reshape(*parts[:3], parts[4]) for block in blocks]
                each = (xp.concatenate([part[:, :, k] for part in da], axis=-1) for k in range(self.kernel_size))
                dp = self.gathered(p, each, run)  # (2)
            if last is not None and dstate is not None:
                dp[last] += dstate
            return self.within(dp, T, run), dp[: self.remembered] if self.remembered else None  # (1)

        return self.result(y.reshape(*parts[:2], self.out_channels), final, pull, {"x": lambda: x}, run)

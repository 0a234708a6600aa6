"""The twin of ``direction.PlainPass`` on a GPU, for cells that have kernels: a product and a launch a step.

Gates lie side by side in G (T, B, N), as the products before the scan leave the arguments there and the kernels replace
them; u, c and m are (T, B, H).  Where nothing is saved, u, c and m hold one step.
"""

from typing import Any

from minirnn.core.backend import Array
from minirnn.core.layer import Reader, Run
from minirnn.core.protocol import Arrays
from minirnn.scan import flip, placed, preceding, turned

WARP, BLOCK = 32, 256  # threads of a block: whole warps, up to so many


class CudaPass:
    """One forward of a direction by kernels, and what its backward needs."""

    def __init__(self, layer: Any, run: Run, kernels: Any) -> None:
        self.layer, self.run, self.kernels = layer, run, kernels
        self.backend, self.dtype = run.parameters.backend, run.parameters.dtype
        self.xp = self.backend.xp
        self.cell: str = layer.cell.__name__
        self.types = kernels.types_of(self.dtype, self.cell)
        # a reverse direction's steps are taken last to first; with lengths, each row is turned within its own
        self.flipped = layer.reverse and run.past is not None
        self.reverse = layer.reverse and not self.flipped
        self.lengths = None if run.past is None else (len(run.past) - run.past.sum(0)).astype("int64")
        H = layer.hidden_size
        self.threads = min(BLOCK, -(-H // WARP) * WARP)
        self.tiles = -(-H // self.threads)

    def weight(self, name: str) -> Array:
        """A weight of the layer."""
        found: Array = self.layer.weight(name)
        return found

    def order(self, T: int) -> range:
        """The steps of x in the order in which they are taken."""
        return range(T - 1, -1, -1) if self.reverse else range(T)

    def launch(self, kernel: str, **arguments: Any) -> None:
        """Run a kernel on every unit of every row."""
        if self.B:
            sizes = {"lengths": self.lengths, "H": self.layer.hidden_size, "tiles": self.tiles}
            self.kernels.launch(self.xp, kernel, self.types, self.B * self.tiles, self.threads, **arguments, **sizes)

    def forward(self, x: Array, state: Arrays, out: Array | None, *, known: bool = False) -> tuple[Array, Arrays]:
        """y, in ``out`` if that is given, and the final state; ``known`` says that ``out`` holds y already."""
        layer, xp, dtype, save = self.layer, self.xp, self.dtype, self.run.saves
        (T, B), H = x.shape[:2], layer.hidden_size
        N, self.B = len(layer.gates) * H, B
        self.x = x = flip(x, self.run) if self.flipped else x
        self.state = tuple(xp.array(s, dtype=dtype, order="C") for s in state)
        if x.dtype.kind in "iu":
            self.G = self.weight("W")[x]
        else:
            self.G = (x.reshape(T * B, layer.input_size or 0) @ self.weight("W")).reshape(T, B, N)
        self.G += self.weight("b")
        self.y = y = xp.empty((T, B, H), dtype) if self.flipped or out is None else out
        slots = T if save else 1
        self.u, self.c, self.m = (
            xp.empty((slots, B, H), dtype) if self.cell in cells else None
            for cells in (("GRUCell",), ("LSTMCell",), ("LSTMCell",))
        )
        v = self.weight("bn") if self.cell == "GRUCell" else None
        h, c, U = self.state[0], self.state[-1] if self.c is not None else None, self.weight("U")
        Q = xp.empty((B, N), dtype)
        Qs = (self.before(y, h).reshape(T * B, H) @ U).reshape(T, B, N) if known else None  # all steps' at once
        for t, now in enumerate(self.order(T)):
            slot = now if save else 0
            Q = xp.matmul(h, U, out=Q) if Qs is None else Qs[now]
            c1 = None if self.c is None else self.c[slot]
            self.launch(
                "step",
                G=self.G[now],
                Q=Q,
                v=v,
                **self.rows("h", "ldh", h),
                c=c,
                t=t,
                u=self.part(self.u, slot),
                **self.rows("h1", "ld1", y[now]),
                c1=c1,
                m=self.part(self.m, slot),
            )
            h, c = y[now], c1
        final = (h,) if c is None else (h, c)
        return placed(flip(y, self.run), out) if self.flipped else y, final

    def backward(self, dy: Array | None, dstate: Arrays) -> tuple[Array | None, Arrays]:
        """The gradients of x, None for integers, and of the initial state; adds those of the weights."""
        layer, xp, dtype = self.layer, self.xp, self.dtype
        T, B, N = self.G.shape
        H, U = layer.hidden_size, self.weight("U")
        if dy is not None:
            dy = flip(dy, self.run) if self.flipped else dy
            dy = dy if dy.strides[2] == dtype.itemsize else xp.ascontiguousarray(dy)
        dh, *rest = (xp.array(d, dtype=dtype, order="C") for d in dstate)  # the kernel replaces them
        dc = rest[0] if rest else None
        dP = xp.empty((T, B, N), dtype)
        dQ = xp.empty((T, B, N), dtype) if self.cell == "GRUCell" else dP
        product, back, order = xp.empty((B, H), dtype), None, self.order(T)
        for t in range(T - 1, -1, -1):
            now = order[t]
            before = order[t - 1] if t else None
            self.launch(
                "unstep",
                G=self.G[now],
                u=self.part(self.u, now),
                **self.rows("h", "ldh", self.state[0] if before is None else self.y[before]),
                **self.rows("h1", "ld1", self.y[now]),
                c=self.state[-1] if before is None else self.part(self.c, before),
                m=self.part(self.m, now),
                **self.rows("dy", "ldy", None if dy is None else dy[now]),
                back=back,
                t=t,
                dh=dh,
                dc=dc,
                dp=dP[now],
                dq=dQ[now],
            )
            back = xp.matmul(dQ[now], U.T, out=product)
        dh += product
        self._accumulate(dP, dQ)
        rows = dP.reshape(T * B, N)
        if self.x.dtype.kind in "iu":
            self.backend.add_rows(layer.grad("W"), self.x.reshape(-1), rows)
            return None, (dh, *rest)
        layer.add("W", self.x.reshape(T * B, layer.input_size or 0).T @ rows)
        dx = (rows @ self.weight("W").T).reshape(self.x.shape)
        return flip(dx, self.run) if self.flipped else dx, (dh, *rest)

    def _accumulate(self, dP: Array, dQ: Array) -> None:
        """The gradients of what stands inside the scan: dU = Σ h[t-1]ᵀ dQ[t], where h[-1] is the initial state."""
        T, B, N = dP.shape
        layer, H, order = self.layer, self.layer.hidden_size, self.order(T)
        layer.add("b", dP.reshape(T * B, N).sum(0))
        layer.add("U", self.state[0].T @ dQ[order[0]])
        earlier, later = (slice(1, None), slice(None, -1)) if self.reverse else (slice(None, -1), slice(1, None))
        layer.add("U", self.y[earlier].reshape((T - 1) * B, H).T @ dQ[later].reshape((T - 1) * B, N))
        if self.cell == "GRUCell":
            layer.add("bn", dQ[:, :, 2 * H :].sum((0, 1)))

    def before(self, after: Array, initial: Array) -> Array:
        """The state before each step."""
        return preceding(self.xp, after, initial, reverse=self.reverse)

    @staticmethod
    def part(a: Array | None, k: int) -> Array | None:
        """Step k of what may not be there."""
        return None if a is None else a[k]

    def rows(self, name: str, distance: str, a: Array | None) -> dict[str, int]:
        """The address of (B, H), rows some entries apart, under two names."""
        if a is None or a.size == 0:
            return {name: 0, distance: 0}
        item = self.dtype.itemsize
        if a.dtype != self.dtype or (a.shape[1] > 1 and a.strides[1] != item):
            raise TypeError(f"{name} must have its units side by side; got strides {a.strides} of {a.dtype}")
        return {name: self.backend.address(a), distance: a.strides[0] // item if a.shape[0] > 1 else a.shape[1]}

    def named(self) -> dict[str, Reader]:
        """Readers of what was saved, by the names of ``cells.py``, in the order of x's steps."""
        H, (h0, *more) = self.layer.hidden_size, self.state

        def gate(k: int) -> Reader:
            return lambda: self.G[:, :, k * H : (k + 1) * H]

        found: dict[str, Reader] = {name: gate(k) for k, name in enumerate(self.layer.gates)}
        if self.cell == "TanhCell":
            found = {"h1": lambda: self.y}
        elif self.cell == "ReluCell":
            found = {"a": gate(0)}
        elif self.u is not None:
            u = self.u
            found |= {"u": lambda: u, "h": lambda: self.before(self.y, h0)}
        elif self.c is not None and self.m is not None:
            c, m = self.c, self.m
            found |= {"c": lambda: self.before(c, more[0]), "m": lambda: m}
        return {name: turned(read, self.run) for name, read in found.items()} if self.flipped else found

"""The pass on a GPU, for cells that have kernels: one product and one launch a step.

Gates lie side by side in G (T, B, N), as the products before the scan leave the arguments there and the kernels replace
them; u, c and m are (T, B, H).  Where nothing is saved, u, c and m hold one step.
"""

from typing import Any

from minirnn.core.backend import Array
from minirnn.core.protocol import Arrays
from minirnn.core.run import Run
from minirnn.recurrent.passes import KernelPass, Recurrence
from minirnn.recurrent.weights import Weights

WARP, BLOCK = 32, 256  # threads of a block: whole warps, up to so many


class CudaPass(KernelPass):
    """A pass by kernels that compute one step each, between products of cuBLAS."""

    def __init__(
        self, recurrence: Recurrence, weights: Weights, run: Run, *, reverse: bool, rest: bool = False
    ) -> None:
        super().__init__(recurrence, weights, run, reverse=reverse, rest=rest)
        self.backend, self.xp = run.parameters.backend, run.parameters.backend.xp
        self.types = self.kernels.types_of(self.dtype, self.facts.name)
        self.H = H = recurrence.hidden_size
        self.threads = min(BLOCK, -(-H // WARP) * WARP)
        self.tiles = -(-H // self.threads)

    def order(self, T: int) -> range:
        """The steps of x in the order in which they are taken."""
        return range(T - 1, -1, -1) if self.reverse else range(T)

    def launch(self, kernel: str, **arguments: Any) -> None:
        """Run a kernel on every unit of every row."""
        if self.B:
            sizes = {"lengths": self.lengths, "H": self.H, "tiles": self.tiles}
            self.kernels.launch(self.xp, kernel, self.types, self.B * self.tiles, self.threads, **arguments, **sizes)

    def _forward(self, x: Array, state: Arrays, out: Array | None, *, known: bool) -> tuple[Array, Arrays]:
        weights, xp, dtype, save = self.weights, self.xp, self.dtype, self.run.saves
        (T, B), H = x.shape[:2], self.H
        N, self.B = len(self.recurrence.gates) * H, B
        self.x = x
        self.initial = tuple(xp.array(s, dtype=dtype, order="C") for s in state)
        self.G = weights.product(x)
        self.y = y = xp.empty((T, B, H), dtype) if out is None else out
        slots = T if save else 1
        self.beside = {name: xp.empty((slots, B, H), dtype) for name in self.facts.beside}
        u, c, m = (self.beside.get(name) for name in ("u", "c", "m"))
        v = weights[self.facts.bias] if self.facts.bias else None
        h, c0, U = self.initial[0], self.initial[-1] if c is not None else None, weights["U"]
        Q = xp.empty((B, N), dtype)
        Qs = None
        if known:  # all steps' products at once
            Qs = (self._before(y, h).reshape(T * B, H) @ U).reshape(T, B, N)
        for t, now in enumerate(self.order(T)):
            slot = now if save else 0
            Q = xp.matmul(h, U, out=Q) if Qs is None else Qs[now]
            c1 = self.part(c, slot)
            self.launch(
                "step",
                G=self.G[now],
                Q=Q,
                v=v,
                **self.rows("h", "ldh", h),
                c=c0,
                t=t,
                u=self.part(u, slot),
                **self.rows("h1", "ld1", y[now]),
                c1=c1,
                m=self.part(m, slot),
            )
            h, c0 = y[now], c1
        return y, (h,) if c0 is None else (h, c0)

    def _backward(self, dy: Array | None, dstate: Arrays) -> tuple[Array | None, Arrays]:
        weights, xp, dtype, H = self.weights, self.xp, self.dtype, self.H
        T, B, N = self.G.shape
        U, (u, c, m) = weights["U"], (self.beside.get(name) for name in ("u", "c", "m"))
        if dy is not None:
            dy = dy if dy.strides[2] == dtype.itemsize else xp.ascontiguousarray(dy)
        dh, *rest = (xp.array(d, dtype=dtype, order="C") for d in dstate)  # the kernel replaces them
        dc = rest[0] if rest else None
        dP = xp.empty((T, B, N), dtype)
        dQ = xp.empty((T, B, N), dtype) if self.facts.bias else dP
        product, back, order = xp.empty((B, H), dtype), None, self.order(T)
        for t in range(T - 1, -1, -1):
            now = order[t]
            before = order[t - 1] if t else None
            self.launch(
                "unstep",
                G=self.G[now],
                u=self.part(u, now),
                **self.rows("h", "ldh", self.initial[0] if before is None else self.y[before]),
                **self.rows("h1", "ld1", self.y[now]),
                c=self.initial[-1] if before is None else self.part(c, before),
                m=self.part(m, now),
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
        self._accumulate(dQ)
        return self.weights.product_backward(self.x, dP), (dh, *rest)

    def _accumulate(self, dQ: Array) -> None:
        """The gradients of what stands inside the scan: dU = Σ h[t-1]ᵀ dQ[t], where h[-1] is the initial state."""
        T, B, N = dQ.shape
        weights, H, order = self.weights, self.H, self.order(T)
        weights.add("U", self.initial[0].T @ dQ[order[0]])
        earlier, later = (slice(1, None), slice(None, -1)) if self.reverse else (slice(None, -1), slice(1, None))
        weights.add("U", self.y[earlier].reshape((T - 1) * B, H).T @ dQ[later].reshape((T - 1) * B, N))
        if self.facts.bias:
            weights.add(self.facts.bias, dQ[:, :, N - H :].sum((0, 1)))

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

    def _saved(self, array: str, gate: int) -> Array:
        if array == "y":
            return self.y
        return self.G[:, :, gate * self.H : (gate + 1) * self.H] if array == "gates" else self.beside[array]

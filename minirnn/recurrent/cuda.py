"""The pass on a GPU, for cells that have kernels: for every stage of a step one product and one launch.

Gates lie side by side in G (T, B, N), as the products before the scan leave the arguments there and the kernels replace
them; what else is saved is (T, B, H), or (T, B, 1), arrays of one kind in one.  Where nothing is saved, they hold one
step.
"""

from typing import Any

from minirnn.core.backend import Array
from minirnn.core.protocol import Arrays
from minirnn.core.run import Reader, Run
from minirnn.recurrent.passes import KernelPass, Recurrence, matrices_of
from minirnn.recurrent.weights import Weights
from minirnn.recurrent.zoneout import zones

WARP, BLOCK = 32, 256  # threads of a block: whole warps, up to so many


class CudaPass(KernelPass):
    """A pass by kernels that compute one stage of one step each, between products of cuBLAS."""

    def __init__(
        self, recurrence: Recurrence, weights: Weights, run: Run, *, reverse: bool, rest: bool = False
    ) -> None:
        super().__init__(recurrence, weights, run, reverse=reverse, rest=rest)
        self.backend, self.xp = run.parameters.backend, run.parameters.backend.xp
        self.source = self.kernels.source_of(self.facts)
        self.H, self.R = recurrence.hidden_size, recurrence.widths[0]
        widest = max(self.H, self.R)
        self.threads = min(BLOCK, -(-widest // WARP) * WARP)
        self.tiles = 1 if self.facts.whole_rows else -(-widest // self.threads)

    def order(self, T: int) -> range:
        """The steps of x in the order in which they are taken."""
        return range(T - 1, -1, -1) if self.reverse else range(T)

    def launch(self, kernel: str, stage: int, **arguments: Any) -> None:
        """Run a kernel on every unit of every row."""
        if self.B:
            types = self.kernels.types_of(self.dtype, stage)
            sizes = {"lengths": self.lengths, "H": self.H, "R": self.R, "tiles": self.tiles}
            blocks = self.B * self.tiles
            self.kernels.launch(self.xp, self.source, kernel, types, blocks, self.threads, **arguments, **sizes)

    def _forward(self, x: Array, state: Arrays, out: Array | None, *, known: bool) -> tuple[Array, Arrays]:
        weights, xp, facts, save = self.weights, self.xp, self.facts, self.run.saves
        (T, B), R = x.shape[:2], self.R
        self.x, self.B = x, B
        self.initial = tuple(xp.array(s, dtype=self.dtype, order="C") for s in state)
        self.G = weights.product(x)
        self.y = y = xp.empty((T, B, R), self.dtype) if out is None else out
        self._take(T, B, save=save)
        matrices, h = self._matrices(), self.initial[0]
        Qs = None
        if known and facts.product:  # all steps' products with the first stage's columns at once
            Qs = (self._before(y, h).reshape(T * B, R) @ matrices[0]).reshape(T, B, matrices[0].shape[1])
        for t, now in enumerate(self.order(T)):
            slot, earlier = now if save else 0, self._c(t)
            for k, stage in enumerate(facts.stages):
                Q: Array | None = None
                if stage.product:
                    operand = self.kinds["a"][k - 1, slot] if k else h
                    Q = Qs[now] if Qs is not None and k == 0 else xp.matmul(operand, matrices[k])
                self.launch(
                    "step",
                    k,
                    **self._saved_arguments(slot, t),
                    G=self.G[now],
                    Q=Q,
                    v=weights[facts.bias] if facts.bias else None,
                    **self._earlier(earlier),
                    **self.rows("h", "ldh", h),
                    **self.rows("h1", "ld1", y[now]),
                )
            h = y[now]
        last = self.order(T)[-1] if save else 0
        return y, (h, *(c[last] for c in self.kinds["c"]))

    def _take(self, T: int, B: int, *, save: bool) -> None:
        """Memory for what lies beside the gates, and what it holds before the pass."""
        xp, facts, states = self.xp, self.facts, self.initial[1:]
        self.slots = T if save else 1
        counts = {kind: len(facts.arrays(kind)) for kind in "cams"}
        self.kinds = {
            kind: xp.empty((n, self.slots, B, 1 if kind == "s" else self.H), self.dtype) for kind, n in counts.items()
        }
        self.u = xp.empty((self.slots, B, facts.apart * self.H), self.dtype) if facts.apart else None
        self.c0 = xp.stack(states) if states else None
        drawn = zones(self.recurrence, self.weights.prefix, self.run, T, B)  # in the order of the steps taken
        self.zoned = [zone[::-1] if self.reverse else zone for zone in drawn if zone is not None]
        self.z, widest, shares = None, max(self.H, self.R), [p for p in self.recurrence.zoneout if p]
        if facts.inference and shares:
            self.z = xp.stack([xp.full((1, 1, widest), p, self.dtype) for p in shares])
        elif self.zoned:
            self.z = xp.zeros((len(self.zoned), T, B, widest), self.dtype)
            for k, zone in enumerate(self.zoned):
                self.z[k, :, :, : zone.shape[2]] = zone
        names = facts.units
        self.w = xp.stack([self.weights[name] for name in names]) if names else None

    def _matrices(self) -> list[Array]:
        """What each stage multiplies with, rows side by side."""
        return [self.xp.ascontiguousarray(one) for one in matrices_of(self.facts, self.H, self.weights.__getitem__)]

    def _c(self, t: int) -> Array | None:
        """The states beside h before the t-th step that is taken."""
        if t == 0 or self.c0 is None:
            return self.c0
        c: Array = self.kinds["c"][:, self.order(len(self.G))[t - 1] if self.slots > 1 else 0]
        return c

    def _earlier(self, c: Array | None) -> dict[str, int]:
        """Where the first of those states lies, and how far they lie apart."""
        return {"c": 0 if c is None or c.size == 0 else self.backend.address(c), "line_c": self._line(c)}

    def _saved_arguments(self, slot: int, t: int) -> dict[str, Any]:
        """Addresses of a step's part of all that lies beside the gates, and how far arrays of one kind lie apart."""
        c, a, m, s = (self._address(self.kinds[kind], slot) for kind in "cams")
        now = self.order(len(self.G))[t]
        return {
            "u": None if self.u is None else self.u[slot],
            "c1": c,
            "a": a,
            "m": m,
            "line": self.slots * self.B * self.H,
            "s": s,
            "line_s": self.slots * self.B,
            "z": self._address(self.z, 0 if self.facts.inference else now),
            "row_z": 0 if self.facts.inference else max(self.H, self.R),
            "line_z": self._line(self.z),
            "w": self.w,
            "line_w": self.H,
            "t": t,
        }

    def _address(self, a: Array | None, slot: int) -> int | None:
        """Where step ``slot`` of the first of several arrays lies; None where there are none."""
        if a is None or a.size == 0:
            return None
        place: int = self.backend.address(a[0, slot])
        return place

    @staticmethod
    def _line(a: Array | None) -> int:
        """Entries from one of several arrays to the next."""
        return 0 if a is None else a.strides[0] // a.itemsize

    def _backward(self, dy: Array | None, dstate: Arrays) -> tuple[Array | None, Arrays]:
        weights, xp, dtype, facts, H, R = self.weights, self.xp, self.dtype, self.facts, self.H, self.R
        T, B, N = self.G.shape
        if dy is not None:
            dy = dy if dy.strides[2] == dtype.itemsize else xp.ascontiguousarray(dy)
        dh, *rest = (xp.array(d, dtype=dtype, order="C") for d in dstate)  # the kernel replaces them
        dc = xp.stack(rest) if rest else None
        flows = xp.empty((facts.flows, B, H), dtype)
        dP = xp.empty((T, B, N), dtype)
        dQ = xp.empty((T, B, N if facts.apart else R), dtype) if facts.apart or facts.matrix else None
        dw = xp.empty((T, B, len(facts.units) * H), dtype) if facts.units else None
        matrices, order, back = self._matrices(), self.order(T), None
        for t in range(T - 1, -1, -1):
            now, earlier, through = order[t], self._c(t), None
            before = self.initial[0] if t == 0 else self.y[order[t - 1]]
            for k, stage in reversed(list(enumerate(facts.stages))):
                self.launch(
                    "unstep",
                    k,
                    **self._saved_arguments(now, t),
                    G=self.G[now],
                    **self._earlier(earlier),
                    **self.rows("h", "ldh", before),
                    **self.rows("h1", "ld1", self.y[now]),
                    **self.rows("dy", "ldy", None if dy is None else dy[now]),
                    back=back,
                    through=through,
                    dh=dh,
                    dc=dc,
                    f=flows,
                    line_d=B * H,
                    dp=dP[now],
                    dq=None if dQ is None else dQ[now],
                    dw=None if dw is None else dw[now],
                )
                if stage.product:
                    sent = self._sent(k, dP, dQ)[now] @ matrices[k].T
                    through, back = (sent, back) if k else (None, sent)
        if back is not None:
            dh += back
        self._accumulate(dP, dQ, dw)
        return weights.product_backward(self.x, dP), (dh, *([] if dc is None else dc))

    def _sent(self, k: int, dP: Array, dQ: Array | None) -> Array:
        """The gradients of stage k's product, (T, B, ..)."""
        stage = self.facts.stages[k]
        if dQ is not None and (self.facts.apart or stage.matrix):
            return dQ
        columns: Array = dP[:, :, stage.first * self.H : (stage.first + stage.gates) * self.H]
        return columns

    def _accumulate(self, dP: Array, dQ: Array | None, dw: Array | None) -> None:
        """The gradients of what stands inside the scan; of the first stage dU = Σ h[t-1]ᵀ dQ[t], h[-1] the first h."""
        T, B, _ = dP.shape
        weights, H, facts = self.weights, self.H, self.facts
        for k, name in enumerate(facts.units):
            if dw is not None:
                weights.add(name, dw[:, :, k * H : (k + 1) * H].sum((0, 1)))
        for k, stage in enumerate(facts.stages if facts.product else ()):
            rows = self._sent(k, dP, dQ)
            operand = self.kinds["a"][k - 1] if k else self._before(self.y, self.initial[0])
            gradient = operand.reshape(T * B, operand.shape[2]).T @ rows.reshape(T * B, rows.shape[2])
            if stage.matrix:
                weights.add(stage.matrix, gradient)
            else:
                weights.grad("U")[:, stage.first * H : (stage.first + stage.gates) * H] += gradient
        if facts.bias and dQ is not None:
            weights.add(facts.bias, dQ[:, :, (facts.gates - 1) * H :].sum((0, 1)))

    def rows(self, name: str, distance: str, a: Array | None) -> dict[str, int]:
        """The address of (B, H), rows some entries apart, under two names."""
        if a is None or a.size == 0:
            return {name: 0, distance: 0}
        item = self.dtype.itemsize
        if a.dtype != self.dtype or (a.shape[1] > 1 and a.strides[1] != item):
            raise TypeError(f"{name} must have its units side by side; got strides {a.strides} of {a.dtype}")
        return {name: self.backend.address(a), distance: a.strides[0] // item if a.shape[0] > 1 else a.shape[1]}

    def _named(self) -> dict[str, Reader]:
        names = [name for name, p in zip(self.recurrence.cell.state, self.recurrence.zoneout, strict=True) if p]
        zoned = zip(names, self.zoned, strict=True)
        return super()._named() | {f"zoneout.{name}": self._constant(zone) for name, zone in zoned}

    @staticmethod
    def _constant(a: Array) -> Reader:
        return lambda: a

    def _saved(self, array: str, gate: int) -> Array:
        if array == "y":
            return self.y
        if array == "gates":
            columns: Array = self.G[:, :, gate * self.H : (gate + 1) * self.H]
            return columns
        if array == "u":
            assert self.u is not None  # which the cell saves
            u: Array = self.u[:, :, gate * self.H : (gate + 1) * self.H]
            return u
        kind = array[0]
        saved: Array = self.kinds[kind][self.facts.arrays(kind).index(array)]
        return saved

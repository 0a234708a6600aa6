"""The twin of ``direction.PlainPass`` for cells that the backend has kernels for: arrays and sizes, handed over.

What is saved for backward lies in few arrays, gate beside gate, as the kernels wrote it; ``named`` finds the quantities
of ``cells.py`` in them.
"""

from typing import Any

import numpy as np

from minirnn.backend import Array
from minirnn.base import Reader, Run
from minirnn.kernels.cpu.passes import Back, Pass
from minirnn.protocol import Arrays
from minirnn.scan import flip, turned

CHUNK = 1 << 17  # entries of P that are computed at once: they are still in the second cache when they are used


class FusedPass:
    """One forward of a direction by kernels, and what its backward needs."""

    def __init__(self, layer: Any, run: Run, kernels: Any) -> None:
        self.layer, self.run, self.kernels = layer, run, kernels
        self.backend, self.dtype = run.parameters.backend, run.parameters.dtype
        self.cell = layer.cell
        # kernels read a reverse direction's steps last to first; with lengths, each row is turned within its own
        self.flipped = layer.reverse and run.past is not None
        self.lengths: Array | None = None
        if run.past is not None:
            self.lengths = np.ascontiguousarray(len(run.past) - run.past.sum(0), np.int64)

    def forward(self, x: Array, state: Arrays, out: Array | None) -> tuple[Array, Arrays]:
        """y, in ``out`` if that is given, and the final state."""
        layer, empty, save = self.layer, self.backend.empty, self.run.training
        T, B = x.shape[:2]
        H, N, dtype = layer.hidden_size, len(layer.gates) * layer.hidden_size, self.dtype
        if self.flipped:
            x = flip(x, self.run)
        self.indices = x.dtype.kind in "iu"
        self.x = np.ascontiguousarray(x, np.int64 if self.indices else dtype)
        self.y = empty((T, B, H), dtype) if self.flipped or out is None else out
        self.state = tuple(np.array(s, dtype, order="C") if save else np.ascontiguousarray(s) for s in state)
        slots = T if save else 1
        chunk = min(T, max(1, CHUNK // (B * N)) if B else T)
        is_tanh, is_gru, is_lstm = (self.cell.__name__ == name for name in ("TanhCell", "GRUCell", "LSTMCell"))
        self.G = self.y if is_tanh else empty((T if save else chunk, B, N), dtype)
        self.u = empty((slots, B, H), dtype) if is_gru else None
        self.c, self.m = (empty((slots, B, H), dtype) if is_lstm else None for _ in range(2))
        D, packed, address = layer.input_size or 0, self.kernels.packed, self.kernels.address
        size = packed(D, N, dtype) + (packed(H, N - H, dtype) + packed(H, H, dtype) if is_gru else packed(H, N, dtype))
        work, sync = empty((size,), dtype), np.zeros(1, np.int64)
        self.a = Pass(
            T=T,
            B=B,
            D=D,
            H=H,
            reverse=int(layer.reverse and not self.flipped),
            slots=T if is_tanh else slots,
            chunk=chunk,
            x=0 if self.indices else address(self.x),
            index=address(self.x) if self.indices else 0,
            lengths=0 if self.lengths is None else address(self.lengths),
            W=address(layer.weight("W")),
            U=address(layer.weight("U")),
            b=address(layer.weight("b")),
            v=address(layer.weight("bn")) if is_gru else 0,
            h0=address(self.state[0]),
            c0=address(self.state[1]) if is_lstm else 0,
            y=address(self.y),
            Y=row_stride(self.y),
            G=address(self.G),
            stride=row_stride(self.G),
            u=0 if self.u is None else address(self.u),
            c=0 if self.c is None else address(self.c),
            m=0 if self.m is None else address(self.m),
            work=address(work),
            sync=address(sync),
        )
        if B:
            self.kernels.forward(self.cell.__name__, dtype, self.a, work=2 * T * B * (D + H) * N)
        last = 0 if self.a.reverse else T - 1
        final = (self.y[last],) if self.c is None else (self.y[last], self.c[last % slots])
        if not self.flipped:
            return self.y, final
        y = flip(self.y, self.run)
        if out is None:
            return y, final
        out[...] = y
        return out, final

    def backward(self, dy: Array | None, dstate: Arrays) -> tuple[Array | None, Arrays]:
        """The gradients of x, None for integers, and of the initial state; adds those of the weights."""
        layer, empty, dtype, a = self.layer, self.backend.empty, self.dtype, self.a
        T, B, D, H, N = a.T, a.B, a.D, a.H, len(layer.gates) * a.H
        if dy is None:
            given = np.zeros((1, B, H), dtype)
        else:
            given = evenly_spaced(flip(dy, self.run) if self.flipped else dy)
        back = tuple(np.array(d, dtype, order="C") for d in dstate)  # the kernel replaces them
        dP = empty((T, B, N + H if self.u is not None else N), dtype)
        dx = None if self.indices else empty((T, B, D), dtype)
        packed, address, share = self.kernels.packed, self.kernels.address, self.kernels.share(max(D, H), dtype)
        operations = 4 * T * B * (D + H) * N
        weights = packed(N, H, dtype) + (0 if dx is None else packed(N, D, dtype))
        room = weights + self.kernels.threads(operations) * share
        work, sync = empty((room,), dtype), np.zeros(1, np.int64)
        d = Back(
            dy=address(given),
            Z=row_stride(given),
            dy_steps=0 if dy is None else T,
            dh=address(back[0]),
            dc=address(back[1]) if len(back) > 1 else 0,
            dP=address(dP),
            dx=0 if dx is None else address(dx),
            dW=address(layer.grad("W")),
            dU=address(layer.grad("U")),
            db=address(layer.grad("b")),
            dv=address(layer.grad("bn")) if self.u is not None else 0,
            work=address(work),
            share=share,
        )
        if B:
            self.kernels.backward(self.cell.__name__, dtype, a._replace(sync=address(sync)), d, work=operations)
        return (flip(dx, self.run) if self.flipped and dx is not None else dx), back

    def named(self) -> dict[str, Reader]:
        """Readers of what was saved, by the names of ``cells.py``, in the order of x's steps."""
        H = self.layer.hidden_size
        reverse = bool(self.a.reverse)

        def before(a: Array, initial: Array) -> Array:
            """The state before each step."""
            parts = (a[1:], initial[None]) if reverse else (initial[None], a[:-1])
            return np.concatenate(parts)

        found: dict[str, Reader] = {
            gate: lambda k=k: self.G[:, :, k * H : (k + 1) * H] for k, gate in enumerate(self.layer.gates)
        }
        name = self.cell.__name__
        if name == "TanhCell":
            found = {"h1": lambda: self.y}
        elif name == "ReluCell":
            found = {"a": lambda: self.G}
        elif name == "GRUCell":
            found |= {"u": lambda: self.u, "h": lambda: before(self.y, self.state[0])}
        else:
            found |= {"c": lambda: before(self.c, self.state[1]), "m": lambda: self.m}
        return {key: turned(read, self.run) for key, read in found.items()} if self.flipped else found


def row_stride(a: Array) -> int:
    """Entries from one row to the next in (T, B, H); NumPy gives a stride no meaning along an axis of length 1."""
    T, B, H = a.shape
    return a.strides[1] // a.itemsize if B > 1 else a.strides[0] // a.itemsize if T > 1 else H


def evenly_spaced(a: Array) -> Array:
    """``a`` (T, B, H), or a copy, with each row's numbers side by side and all rows equally far apart."""
    T, B, H = a.shape
    row = row_stride(a)
    even = (H == 1 or a.strides[2] == a.itemsize) and (T == 1 or a.strides[0] == B * row * a.itemsize)
    return a if even and row >= H else np.ascontiguousarray(a)

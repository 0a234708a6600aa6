"""The twin of ``direction.PlainPass`` for cells that the backend has kernels for: sizes and addresses, handed over.

What is saved for backward lies in one stretch of memory, gate beside gate, as the kernels wrote it; ``named`` finds the
quantities of ``cells.py`` in it.
"""

from typing import Any

import numpy as np

from minirnn.backend import Array
from minirnn.base import Reader, Run
from minirnn.kernels.cpu.passes import Back, Pass, address
from minirnn.protocol import Arrays
from minirnn.scan import flip, turned

CHUNK = 1 << 15  # entries of P that are computed at once: they are still in the second cache when they are used
ROWS = 256  # of x, whose part of the weights' gradients is added at once, for the same reason


def steps_at_once(T: int, step: int) -> int:
    """Steps whose P is computed at once, where one has so many entries."""
    return min(T, max(1, CHUNK // max(1, step)))


class FusedPass:
    """One forward of a direction by kernels, and what its backward needs."""

    def __init__(self, layer: Any, run: Run, kernels: Any) -> None:
        self.layer, self.run, self.kernels = layer, run, kernels
        self.backend, self.dtype = run.parameters.backend, run.parameters.dtype
        self.cell: str = layer.cell.__name__
        # kernels read a reverse direction's steps last to first; with lengths, each row is turned within its own
        self.flipped = layer.reverse and run.past is not None
        self.lengths: Array | None = None
        if run.past is not None:
            self.lengths = np.ascontiguousarray(len(run.past) - run.past.sum(0), np.int64)

    def forward(self, x: Array, state: Arrays, out: Array | None) -> tuple[Array, Arrays]:
        """y, in ``out`` if that is given, and the final state."""
        layer, empty, save, dtype = self.layer, self.backend.empty, self.run.training, self.dtype
        packed = self.kernels.packed
        T, B = x.shape[:2]
        D, H, N = layer.input_size, layer.hidden_size, len(layer.gates) * layer.hidden_size
        tanh, gru, lstm = (self.cell == name for name in ("TanhCell", "GRUCell", "LSTMCell"))
        if self.flipped:
            x = flip(x, self.run)
        indices = x.dtype.kind in "iu"
        self.x = np.ascontiguousarray(x, np.int64 if indices else dtype)
        self.y = empty((T, B, H), dtype) if self.flipped or out is None else out
        self.state = tuple(np.array(s, dtype, order="C") if save else np.ascontiguousarray(s) for s in state)
        slots = T if save else 1
        chunk = steps_at_once(T, B * N)
        # one stretch for what is saved: G, then u, or c and m
        self.sizes = (0 if tanh else (T if save else chunk) * B * N, slots * B * H * (gru + 2 * lstm))
        self.memory = empty((sum(self.sizes),), dtype)
        operations = 2 * T * B * (D + H) * N
        Y, item = row_stride(self.y), dtype.itemsize
        share = max(self.kernels.spare(D, D, dtype), self.kernels.spare(H, Y, dtype))
        weights = packed(D, N, dtype) + packed(H, N, dtype) + gru * packed(H, H, dtype)
        threads = self.kernels.threads_over_time(operations, B, 2 * B * H * N)
        work = empty((weights + threads * share,), dtype)
        place, y = address(self.memory), address(self.y)
        beside = place + self.sizes[0] * item
        self.a = Pass(
            T=T,
            B=B,
            D=D,
            H=H,
            reverse=int(layer.reverse and not self.flipped),
            slots=T if tanh else slots,
            chunk=chunk,
            x=0 if indices else address(self.x),
            indices=address(self.x) if indices else 0,
            lengths=0 if self.lengths is None else address(self.lengths),
            W=layer.place("W")[0],
            U=layer.place("U")[0],
            b=layer.place("b")[0],
            v=layer.place("bn")[0] if gru else 0,
            h0=address(self.state[0]),
            c0=address(self.state[1]) if lstm else 0,
            y=y,
            Y=Y,
            G=y if tanh else place,
            stride=Y if tanh else N,
            u=beside if gru else 0,
            c=beside if lstm else 0,
            m=beside + slots * B * H * item if lstm else 0,
            work=address(work),
            share=share,
            last=0,
            turn=0,
        )
        if B:
            self.kernels.forward(self.cell, dtype, self.a, threads, operations)
        last = 0 if self.a.reverse else T - 1
        final = (self.y[last], self._saved(0, slots)[last % slots]) if lstm else (self.y[last],)
        if not self.flipped:
            return self.y, final
        turned_y = flip(self.y, self.run)
        if out is None:
            return turned_y, final
        out[...] = turned_y
        return out, final

    def backward(self, dy: Array | None, dstate: Arrays) -> tuple[Array | None, Arrays]:
        """The gradients of x, None for integers, and of the initial state; adds those of the weights."""
        layer, empty, dtype, a = self.layer, self.backend.empty, self.dtype, self.a
        packed = self.kernels.packed
        T, B, D, H, N = a.T, a.B, a.D, a.H, len(layer.gates) * a.H
        gru = self.cell == "GRUCell"
        given = np.zeros((1, B, H), dtype) if dy is None else flip(dy, self.run) if self.flipped else dy
        given = evenly_spaced(given)
        back = tuple(np.array(d, dtype, order="C") for d in dstate)  # the kernel replaces them
        chunk = min(T, max(1, ROWS // max(1, B)))
        wide = self.kernels.padded(N + gru * H, dtype)
        dP = empty((chunk, B, wide), dtype)
        dx = None if a.indices else empty((T, B, D), dtype)
        operations = 4 * T * B * (D + H) * N
        share = self.kernels.share(max(D, H), dtype)
        weights = packed(N, H, dtype) + (0 if dx is None else packed(N, D, dtype))
        threads = self.kernels.threads_over_time(operations, B, 2 * B * H * N)
        work = empty((weights + threads * share,), dtype)
        d = Back(
            dy=address(given),
            Z=row_stride(given),
            dy_steps=0 if dy is None else T,
            dh=address(back[0]),
            dc=address(back[1]) if len(back) > 1 else 0,
            dP=address(dP),
            wide=wide,
            chunk=chunk,
            dx=0 if dx is None else address(dx),
            dW=layer.place("W")[1],
            dU=layer.place("U")[1],
            db=layer.place("b")[1],
            dv=layer.place("bn")[1] if gru else 0,
            work=address(work),
            share=share,
        )
        if B:
            self.kernels.backward(self.cell, dtype, a, d, threads, operations)
        return (flip(dx, self.run) if self.flipped and dx is not None else dx), back

    def _saved(self, k: int, slots: int) -> Array:
        """The k-th (slots, B, H) array after the gates."""
        B, H = self.a.B, self.a.H
        start = self.sizes[0] + k * slots * B * H
        return self.memory[start : start + slots * B * H].reshape(slots, B, H)

    def named(self) -> dict[str, Reader]:
        """Readers of what was saved, by the names of ``cells.py``, in the order of x's steps."""
        T, B, H, N = self.a.T, self.a.B, self.a.H, len(self.layer.gates) * self.a.H

        def gate(k: int) -> Reader:
            return lambda: self.memory[: T * B * N].reshape(T, B, N)[:, :, k * H : (k + 1) * H]

        def before(read: Reader, initial: Array) -> Reader:
            """The state before each step."""
            if self.a.reverse:
                return lambda: np.concatenate((read()[1:], initial[None]))
            return lambda: np.concatenate((initial[None], read()[:-1]))

        found: dict[str, Reader] = {name: gate(k) for k, name in enumerate(self.layer.gates)}
        if self.cell == "TanhCell":
            found = {"h1": lambda: self.y}
        elif self.cell == "ReluCell":
            found = {"a": gate(0)}
        elif self.cell == "GRUCell":
            found |= {"u": lambda: self._saved(0, T), "h": before(lambda: self.y, self.state[0])}
        else:
            found |= {"c": before(lambda: self._saved(0, T), self.state[1]), "m": lambda: self._saved(1, T)}
        return {name: turned(read, self.run) for name, read in found.items()} if self.flipped else found


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

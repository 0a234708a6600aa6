"""The twin of ``direction.PlainPass`` for cells that the backend has kernels for: sizes and addresses, handed over.

What is saved for backward lies in one stretch of memory, gate beside gate, as the kernels wrote it; ``named`` finds the
quantities of ``cells.py`` in it.
"""

from array import array
from typing import Any

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.layer import Reader, Run
from minirnn.core.protocol import Arrays
from minirnn.kernels.cpu.passes import Back, Pass, address
from minirnn.scan import flip, placed, preceding, turned

CHUNK = 1 << 15  # entries of P that are computed at once: they are still in the second cache when they are used
ROWS = 256  # of x, whose part of the weights' gradients is added at once, for the same reason
NO_PASS, NO_BACK = Pass(*[0] * len(Pass._fields)), Back(*[0] * len(Back._fields))
X, INDICES, LENGTHS, H0, C0, REST, RECURRENT, Y, KNOWN, G, U, C, M, WORK = (
    Pass._fields.index(name)
    for name in ("x", "indices", "lengths", "h0", "c0", "rest", "U", "y", "known", "G", "u", "c", "m", "work")
)
DY, Z, STEPS, DH, DC, DP, DX, D_RECURRENT, BACK_WORK = (
    Back._fields.index(name) for name in ("dy", "Z", "dy_steps", "dh", "dc", "dP", "dx", "dU", "work")
)


class Plan:
    """What all passes of one direction have in common that have the same sizes.

    ``told`` and ``back`` are what kernels are told, a ``Pass`` and a ``Back``; the addresses of arrays that each pass
    has for itself are still 0.  ``row`` is the number of entries from one row of y to the next.
    """

    def __init__(
        self, layer: Any, kernels: Any, T: int, B: int, row: int, *, integers: bool, save: bool, reverse: bool
    ) -> None:
        D, H, N = layer.input_size, layer.hidden_size, len(layer.gates) * layer.hidden_size
        dtype, packed = layer.bound.dtype, kernels.packed
        tanh, gru, lstm = (layer.cell.__name__ == name for name in ("TanhCell", "GRUCell", "LSTMCell"))
        self.T, self.B, self.H, self.N, self.gru, self.lstm, self.save = T, B, H, N, gru, lstm, save
        self.rest: tuple[Array | None, int] = None, 0
        slots, chunk = T if save else 1, min(T, max(1, CHUNK // max(1, B * N)))  # steps of P
        # entries: of the gates, of u, c and m one by one; of packed weights, and what each thread has for itself
        self.gates = 0 if tanh else (T if save else chunk) * B * N
        self.slots, self.beside = slots, slots * B * H
        self.memory = self.gates + (gru + 2 * lstm) * self.beside
        self.packed = packed(D, N, dtype) + packed(H, N, dtype) + gru * packed(H, H, dtype)
        self.share = max(kernels.spare(D, D, dtype), kernels.spare(H, row, dtype))
        # floating-point operations of all steps' products, and of those that stand inside one step
        self.operations, self.step = 2 * T * B * (D + H) * N, 2 * B * H * N
        self.told = array(
            "q",
            NO_PASS._replace(
                T=T,
                B=B,
                D=D,
                H=H,
                reverse=int(reverse),
                slots=T if tanh else slots,
                chunk=chunk,
                W=layer.place("W")[0],
                b=layer.place("b")[0],
                v=layer.place("bn")[0] if gru else 0,
                Y=row,
                stride=row if tanh else N,
                share=self.share,
            ),
        )
        back_chunk, wide = min(T, max(1, ROWS // max(1, B))), kernels.padded(N + gru * H, dtype)
        self.dP = back_chunk * B * wide
        self.packed_back = packed(N, H, dtype) + (0 if integers else packed(N, D, dtype))
        self.share_back = kernels.share(max(D, H), dtype)
        self.back = array(
            "q",
            NO_BACK._replace(
                wide=wide,
                chunk=back_chunk,
                dW=layer.place("W")[1],
                db=layer.place("b")[1],
                dv=layer.place("bn")[1] if gru else 0,
                share=self.share_back,
            ),
        )

    def address(self, state: Array, *, keep: bool) -> int:
        """Where a state lies; what is to be kept, a state of zeros that is used again, is looked at once."""
        known, place = self.rest
        if known is state:
            return place
        place = address(state)
        if keep:
            self.rest = state, place
        return place

    def room(self, threads: int) -> int:
        """Entries that a pass works in; as many forward as backward, where both come, so that one block serves both."""
        ahead: int = self.packed + threads * self.share
        back: int = self.dP + self.packed_back + threads * self.share_back
        return max(ahead, back) if self.save else ahead


def plan_for(layer: Any, kernels: Any, T: int, B: int, row: int, *, integers: bool, save: bool, reverse: bool) -> Plan:
    """The plan for these sizes, made once for the vectors that the layer's weights are in."""
    key = (layer.prefix, T, B, row, integers, save, reverse)
    plan: Plan | None = layer.bound.prepared.get(key)
    if plan is None:
        plan = Plan(layer, kernels, T, B, row, integers=integers, save=save, reverse=reverse)
        layer.bound.prepare(key, plan)
    return plan


class FusedPass:
    """One forward of a direction by kernels, and what its backward needs; with ``rest``, from a state of zeros."""

    def __init__(self, layer: Any, run: Run, kernels: Any, *, rest: bool) -> None:
        self.layer, self.run, self.kernels, self.rest = layer, run, kernels, rest
        self.lend, self.dtype = kernels.LEASES, run.parameters.dtype
        self.cell: str = layer.cell.__name__
        # kernels read a reverse direction's steps last to first; with lengths, each row is turned within its own
        self.flipped = layer.reverse and run.past is not None
        self.reverse = layer.reverse and not self.flipped
        self.lengths: Array | None = None
        if run.past is not None:
            self.lengths = np.ascontiguousarray(len(run.past) - run.past.sum(0), np.int64)

    def forward(self, x: Array, state: Arrays, out: Array | None, *, known: bool = False) -> tuple[Array, Arrays]:
        """y, in ``out`` if that is given, and the final state; ``known`` says that ``out`` holds y already."""
        layer, kernels, lend, save, dtype = self.layer, self.kernels, self.lend, self.run.saves, self.dtype
        (T, B), H = x.shape[:2], layer.hidden_size
        if self.flipped:
            x = flip(x, self.run)
        integers = x.dtype.kind in "iu"
        self.x = np.ascontiguousarray(x, np.int64 if integers else dtype)
        self.y = y = lend.empty((T, B, H), dtype) if self.flipped or out is None else out
        if not self.rest:
            state = tuple(np.array(s, dtype, order="C") if save else np.ascontiguousarray(s) for s in state)
        self.state = state
        self.plan = plan = plan_for(
            layer, kernels, T, B, row_stride(y), integers=integers, save=save, reverse=self.reverse
        )
        threads = kernels.threads_over_time(plan.operations, B, plan.step)
        self.lease, work = lend.room(plan.memory, dtype), lend.room(plan.room(threads), dtype)
        self.told = told = plan.told[:]
        place, item = self.lease.start, dtype.itemsize
        beside = place + plan.gates * item
        told[INDICES if integers else X], told[Y], told[WORK] = address(self.x), address(y), work.start
        told[G], told[H0] = place if plan.gates else told[Y], plan.address(state[0], keep=self.rest)
        told[REST], told[RECURRENT] = self.rest, layer.place("U")[0]
        if self.lengths is not None:
            told[LENGTHS] = address(self.lengths)
        if plan.gru:
            told[U] = beside
        elif plan.lstm:
            told[C0], told[C], told[M] = plan.address(state[1], keep=self.rest), beside, beside + plan.beside * item
        told[KNOWN] = known
        if B and not (known and self.cell == "TanhCell"):  # which saves nothing but y
            kernels.forward(self.cell, dtype, told, threads, plan.operations)
        last = 0 if self.reverse else T - 1
        final = (y[last], self._saved(0)[last % plan.slots]) if plan.lstm else (y[last],)
        return placed(flip(y, self.run), out) if self.flipped else y, final

    def backward(self, dy: Array | None, dstate: Arrays) -> tuple[Array | None, Arrays]:
        """The gradients of x, None for integers, and of the initial state; adds those of the weights."""
        kernels, lend, dtype, plan = self.kernels, self.lend, self.dtype, self.plan
        T, B = plan.T, plan.B
        given = np.zeros((1, B, plan.H), dtype) if dy is None else flip(dy, self.run) if self.flipped else dy
        given = evenly_spaced(given)
        initial = tuple(np.array(d, dtype, order="C") for d in dstate)  # the kernel replaces them
        dx = None if self.x.dtype.kind in "iu" else lend.empty(self.x.shape, dtype)
        operations = 2 * plan.operations
        threads = kernels.threads_over_time(operations, B, plan.step)
        work = lend.room(plan.room(threads), dtype)
        back = plan.back[:]
        back[DY], back[Z], back[STEPS] = address(given), row_stride(given), 0 if dy is None else T
        back[BACK_WORK], back[DH], back[D_RECURRENT] = work.start, address(initial[0]), self.layer.place("U")[1]
        back[DP] = back[BACK_WORK] + (plan.packed_back + threads * plan.share_back) * dtype.itemsize
        if plan.lstm:
            back[DC] = address(initial[1])
        if dx is not None:
            back[DX] = address(dx)
        if B:
            kernels.backward(self.cell, dtype, self.told + back, threads, operations)
        return (flip(dx, self.run) if self.flipped and dx is not None else dx), initial

    @property
    def memory(self) -> Array:
        """What kernels have saved, as one vector."""
        saved: Array = self.lease.array((self.plan.memory,), self.dtype)
        return saved

    def _saved(self, k: int) -> Array:
        """The k-th (slots, B, H) array after the gates."""
        plan = self.plan
        start = plan.gates + k * plan.beside
        return self.memory[start : start + plan.beside].reshape(plan.slots, plan.B, plan.H)

    def named(self) -> dict[str, Reader]:
        """Readers of what was saved, by the names of ``cells.py``, in the order of x's steps."""
        plan = self.plan

        def gate(k: int) -> Reader:
            columns = slice(k * plan.H, (k + 1) * plan.H)
            return lambda: self.memory[: plan.gates].reshape(plan.T, plan.B, plan.N)[:, :, columns]

        def before(read: Reader, initial: Array) -> Reader:
            return lambda: preceding(np, read(), initial, reverse=self.reverse)

        found: dict[str, Reader] = {name: gate(k) for k, name in enumerate(self.layer.gates)}
        if self.cell == "TanhCell":
            found = {"h1": lambda: self.y}
        elif self.cell == "ReluCell":
            found = {"a": gate(0)}
        elif self.cell == "GRUCell":
            found |= {"u": lambda: self._saved(0), "h": before(lambda: self.y, self.state[0])}
        else:
            found |= {"c": before(lambda: self._saved(0), self.state[1]), "m": lambda: self._saved(1)}
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

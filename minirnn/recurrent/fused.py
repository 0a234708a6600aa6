"""The pass by compiled kernels: a forward pass of a direction is one call, handed sizes and addresses.

What is saved for the backward pass lies in one stretch of memory, gate beside gate, as the kernels wrote it.
"""

from array import array
from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from types import ModuleType
from typing import Any

import numpy as np

from minirnn.core.backend import Array, Dtype
from minirnn.core.parameters import GRAIN
from minirnn.core.protocol import Arrays
from minirnn.core.run import Reader
from minirnn.kernels.cpu.passes import BackwardArguments, PassArguments, address
from minirnn.kernels.facts import CellFacts
from minirnn.recurrent.passes import KernelPass, Recurrence
from minirnn.recurrent.weights import Weights
from minirnn.recurrent.zoneout import zones

CHUNK = 1 << 16  # entries of P that are computed at once: they are still in the second cache when they are used
DEEPEST = 4  # numbers in one entry of a packed matrix, at most
ROWS = 256  # of x, whose part of the weights' gradients is added at once, for the same reason
NO_PASS = PassArguments(*[0] * len(PassArguments._fields))
NO_BACK = BackwardArguments(*[0] * len(BackwardArguments._fields))
X, INDICES, LENGTHS, H0, C0, REST, RECURRENT, Y, KNOWN, G, BASE, OWN = (
    PassArguments._fields.index(name)
    for name in ("x", "indices", "lengths", "h0", "c0", "rest", "U", "y", "known", "G", "base", "own")
)
DY, Z, STEPS, DH, DC, F, DP, DX, D_RECURRENT, BACK_WORK = (
    BackwardArguments._fields.index(name) for name in ("dy", "Z", "dy_steps", "dh", "dc", "f", "dP", "dx", "dU", "work")
)


class Plan:
    """The arguments that all passes of one direction and the same sizes share.

    ``arguments`` and ``back`` are ``PassArguments`` and ``BackwardArguments``, in which the addresses of arrays that
    each pass has for itself are still 0.  ``row`` is the number of entries from one row of y to the next.
    """

    def __init__(
        self,
        recurrence: Recurrence,
        facts: CellFacts,
        weights: Weights,
        kernels: ModuleType,
        T: int,
        B: int,
        row: int,
        *,
        integers: bool,
        save: bool,
        reverse: bool,
    ) -> None:
        D, H, R = recurrence.input_size, recurrence.hidden_size, recurrence.widths[0]
        self.zoned = bool(facts.arrays("z") and not facts.inference)  # zones are drawn, one for each step
        save = save or self.zoned
        N, apart, units = len(recurrence.gates) * H, facts.apart, facts.units
        dtype, addresses, kind = weights.parameters.dtype, weights.addresses, weights.parameters.entries
        packed = partial(kernels.packed, kind=kind)
        self.T, self.B, self.H, self.R, self.N, self.save = T, B, H, R, N, save
        self.rest: tuple[Array | None, int] = None, 0
        slots, chunk = T if save else 1, min(T, max(1, CHUNK // max(1, B * N)))  # steps of P
        # entries: of the gates, of each array beside them; of packed weights, and what each thread has for itself
        stride = N if save else kernels.padded(N, dtype)  # of what is saved by name, gates lie side by side
        self.gates = 0 if facts.in_place else (T if save else chunk) * B * stride
        self.slots, self.row_z = slots, max(H, R)
        # in inference zones are one row for each zoned state, which is always the same
        shares = [p for p in recurrence.zoneout if p] if facts.inference else []
        self.shares = np.repeat(np.array(shares, dtype)[:, None], self.row_z, axis=1)
        # where each array beside the gates begins; zones, which come last, have longer rows where h is wider
        beside = [name for name in facts.beside if name[0] != "z" or not facts.inference]
        sizes = [slots * B * {"z": self.row_z, "s": 1}.get(name[0], H) for name in beside]
        *starts, self.memory = accumulate(sizes, initial=self.gates)
        self.beside = dict(zip(beside, starts, strict=True))
        # that of each kind's first, which is the argument of its name
        self.places = [
            (PassArguments._fields.index(name), start) for name, start in self.beside.items() if len(name) == 1
        ]
        self.others = facts.arrays("c")
        # per-unit weights lie one after another, from multiples of ``GRAIN`` on
        self.line_w = -(-H // GRAIN) * GRAIN
        w, dw = addresses(units[0]) if units else (0, 0)
        self.none = np.zeros(max(apart * H, R), dtype)  # for a product with no bias that is not added to gates
        own_matrix = bool(facts.matrix)
        own, down = addresses(facts.matrix) if own_matrix else (0, 0)
        v, dv = addresses(facts.bias) if facts.bias else (address(self.none), 0)
        multiplies = facts.product
        self.stored = bool(weights.parameters.quantized)
        stages = [stage for stage in facts.stages if stage.product and not stage.matrix]
        # columns of U that are multiplied with at once: of each stage, or those that are kept apart from the others
        cuts = [(stage.first * H, (stage.first + stage.gates) * H) for stage in stages]
        cuts = [(0, N - apart * H), (N - apart * H, N)] if apart else cuts
        if self.stored:
            self.held = stored_matrices(weights, facts, cuts)  # addresses lead there
            offsets, self.packed = [matrix.address for matrix in self.held], 0
        else:
            sizes = [0 if integers else packed(D, N, dtype), *(packed(R, right - left, dtype) for left, right in cuts)]
            sizes += [packed(H, R, dtype)] if own_matrix else []
            *offsets, self.packed = accumulate((size * dtype.itemsize for size in sizes), initial=0)
            self.packed //= dtype.itemsize
        self.offsets = np.array([*offsets, 0, 0], np.int64)  # two that a kernel reads where there are not so many
        lines = ((D, D), (R, row), *([(H, H)] if len(facts.stages) > 1 else []))
        # narrow entries are always copies
        self.share = max(kernels.spare(size, line if kind == "full" else 0, dtype) for size, line in lines)
        # operations of all steps' products, and of those that stand inside one step, several at a time for one
        inside, at_once = multiplies * R * N + own_matrix * H * R, kernels.DEPTHS[kind]
        self.operations, self.step = 2 * T * B * (D * N + inside) / at_once, 2 * B * inside / at_once
        self.arguments = array(
            "q",
            NO_PASS._replace(
                T=T,
                B=B,
                D=D,
                H=H,
                R=R,
                reverse=int(reverse),
                slots=T if facts.in_place else slots,
                chunk=chunk,
                W=addresses("W")[0],
                b=addresses("b")[0],
                v=v,
                w=w,
                line_w=self.line_w,
                matrix=own,
                z=address(self.shares),
                row_z=0 if facts.inference else self.row_z,
                line_z=self.row_z if facts.inference else slots * B * self.row_z,
                Y=row,
                stride=row if facts.in_place else stride,
                offsets=address(self.offsets),
                share=self.share,
            ),
        )
        wide = N + (apart + len(units)) * H + own_matrix * R
        back_chunk, width = min(T, max(1, ROWS // max(1, B))), kernels.padded(wide, dtype)
        self.dP, self.f = back_chunk * B * width, facts.flows * B * H
        # entries of several numbers may be left half empty at the end of a stage's columns
        empty = DEEPEST * len(facts.stages)
        self.packed_back = multiplies * packed(N + empty, R, dtype) + own_matrix * packed(R, H, dtype)
        self.packed_back += 0 if integers else packed(N + DEEPEST, D, dtype)
        self.share_back = kernels.share(max(D, H, R), dtype, columns=N, kind=kind)
        self.back = array(
            "q",
            NO_BACK._replace(
                wide=width,
                chunk=back_chunk,
                dW=addresses("W")[1],
                db=addresses("b")[1],
                dv=dv,
                dw=dw,
                dmatrix=down,
                share=self.share_back,
            ),
        )

    def address(self, state: Array, *, keep: bool) -> int:
        """Where a state lies; with ``keep``, a state of zeros that is used again, it is looked at once."""
        known, place = self.rest
        if known is state:
            return place
        place = address(state)
        if keep:
            self.rest = state, place
        return place

    def rooms(self, work: int, item: int) -> tuple[int, int]:
        """Where ``offsets`` begin, and what each thread has for itself, in the memory that a pass works in."""
        return (0 if self.stored else work), work + self.packed * item

    def room(self, threads: int) -> int:
        """Entries that a pass works in; as many forward as backward, where both come, so that one block serves both."""
        ahead: int = self.packed + threads * self.share
        back: int = self.dP + self.f + self.packed_back + threads * self.share_back
        return max(ahead, back) if self.save else ahead


def stored_matrices(weights: Weights, facts: CellFacts, cuts: Sequence[tuple[int, int]]) -> list[Any]:
    """What a quantised model multiplies with: W, columns of U as they are cut, a stage's own matrix; made once."""
    key = "stored", weights.prefix, facts.key
    matrices: list[Any] | None = weights.parameters.prepared.get(key)
    if matrices is None:
        parts: list[Any] = [weights.array("W"), *(weights.array("U")[:, left:right] for left, right in cuts)]
        matrices = [part.apart() for part in [*parts, *([weights.array(facts.matrix)] if facts.matrix else [])]]
        weights.parameters.prepare(key, matrices)
    return matrices


class FusedPass(KernelPass):
    """A pass by one kernel forward and one backward."""

    def _forward(self, x: Array, state: Arrays, out: Array | None, *, known: bool) -> tuple[Array, Arrays]:
        facts, kernels, lend, save, dtype = self.facts, self.kernels, self.kernels.LEASES, self.run.saves, self.dtype
        (T, B), R, weights = x.shape[:2], self.recurrence.widths[0], self.weights
        integers, self.entries = x.dtype.kind in "iu", weights.parameters.entries
        self.x = np.ascontiguousarray(x, np.int64 if integers else dtype)
        self.y = y = lend.empty((T, B, R), dtype) if out is None else out
        if not self.rest:
            state = tuple(np.array(s, dtype, order="C") if save else np.ascontiguousarray(s) for s in state)
        self.initial = state
        self.plan = plan = self._plan(T, B, row_stride(y), integers=integers)
        threads = kernels.threads_over_time(plan.operations, B, plan.step)
        self.lease, work = lend.room(plan.memory, dtype), lend.room(plan.room(threads), dtype)
        self.arguments = arguments = plan.arguments[:]
        start, item = self.lease.start, dtype.itemsize
        arguments[INDICES if integers else X], arguments[Y] = address(self.x), address(y)
        arguments[BASE], arguments[OWN] = plan.rooms(work.start, item)
        arguments[G], arguments[H0] = start if plan.gates else arguments[Y], plan.address(state[0], keep=self.rest)
        arguments[REST] = self.rest
        if facts.product:  # with a U that weight dropout may have put in place of the layer's
            arguments[RECURRENT] = weights.addresses("U")[0]
        if self.lengths is not None:
            arguments[LENGTHS] = address(self.lengths)
        for argument, entry in plan.places:
            arguments[argument] = start + entry * item
        if plan.zoned:
            self._draw_zones(T, B)
        if facts.states > 1:
            self.c0 = state[1] if facts.states == 2 else np.stack(state[1:])
            arguments[C0] = plan.address(self.c0, keep=self.rest and self.c0 is state[1])
        arguments[KNOWN] = known
        if B and not (known and facts.in_place):  # which saves nothing but y
            kernels.forward(facts, dtype, arguments, threads, plan.operations, self.entries, stored=plan.stored)
        last = 0 if self.reverse else T - 1
        others = [self._saved(name, 0)[last % plan.slots] for name in plan.others]
        return y, (y[last], *others)

    def _draw_zones(self, T: int, B: int) -> None:
        """Write where each state stays as it was, in the order of x's steps."""
        drawn = zones(self.recurrence, self.weights.prefix, self.run, T, B)
        for name, zone in zip(self.facts.arrays("z"), (zone for zone in drawn if zone is not None), strict=True):
            self._saved(name, 0)[...] = zone[::-1] if self.reverse else zone

    def _named(self) -> dict[str, Reader]:
        names = [name for name, p in zip(self.recurrence.cell.state, self.recurrence.zoneout, strict=True) if p]
        zoned = zip(names, self.facts.arrays("z"), strict=True)
        return super()._named() | {f"zoneout.{name}": partial(self._zone, array) for name, array in zoned}

    def _zone(self, array: str) -> Array:
        zone: Array = self._saved(array, 0) != 0
        return zone

    def _backward(self, dy: Array | None, dstate: Arrays) -> tuple[Array | None, Arrays]:
        kernels, lend, dtype, plan = self.kernels, self.kernels.LEASES, self.dtype, self.plan
        T, B = plan.T, plan.B
        above = evenly_spaced(np.zeros((1, B, plan.R), dtype) if dy is None else dy)
        # (states, B, H), where h has another width (1, B, R) and the rest: the kernel replaces them
        dh, *others = [_stacked(states, dtype) for states in self._of_one_width(dstate)]
        dx = None if self.x.dtype.kind in "iu" else lend.empty(self.x.shape, dtype)
        operations = 2 * plan.operations
        threads = kernels.threads_over_time(operations, B, plan.step)
        work = lend.room(plan.room(threads), dtype)
        back = plan.back[:]
        back[DY], back[Z], back[STEPS] = address(above), row_stride(above), 0 if dy is None else T
        back[BACK_WORK], back[DH] = work.start, address(dh)
        if self.facts.product:
            back[D_RECURRENT] = self.weights.addresses("U")[1]
        back[DP] = back[BACK_WORK] + (plan.packed_back + threads * plan.share_back) * dtype.itemsize
        back[F] = back[DP] + plan.dP * dtype.itemsize
        back[DC] = address(others[0]) if others else back[DH] + dh[0].nbytes
        if dx is not None:
            back[DX] = address(dx)
        if B:
            arguments = self.arguments + back
            kernels.backward(self.facts, dtype, arguments, threads, operations, self.entries)
        return dx, (*dh, *others[0]) if others else tuple(dh)

    def _of_one_width(self, states: Arrays) -> tuple[Arrays, ...]:
        """Arrays that can lie in one: with a projection h is as wide as its matrix makes it."""
        return (states[:1], states[1:]) if self.facts.matrix else (states,)

    def _plan(self, T: int, B: int, row: int, *, integers: bool) -> Plan:
        """The plan for these sizes, made once for the vectors that the weights are in."""
        weights, save, reverse = self.weights, self.run.saves, self.reverse
        key = weights.prefix, self.facts.key, T, B, row, integers, save, reverse
        plan: Plan | None = weights.parameters.prepared.get(key)
        if plan is None:
            plan = Plan(
                self.recurrence,
                self.facts,
                weights,
                self.kernels,
                T,
                B,
                row,
                integers=integers,
                save=save,
                reverse=reverse,
            )
            weights.parameters.prepare(key, plan)
        return plan

    def _saved(self, array: str, gate: int) -> Array:
        if array == "y":
            return self.y
        plan = self.plan
        memory: Array = self.lease.array((plan.memory,), self.dtype)
        if array == "gates":
            columns = slice(gate * plan.H, (gate + 1) * plan.H)
            return memory[: plan.gates].reshape(plan.T, plan.B, plan.N)[:, :, columns]
        kind, columns = array[0], slice(None)
        width = {"u": self.facts.apart * plan.H, "s": 1, "z": plan.row_z}.get(kind, plan.H)
        if kind == "u":  # side by side, as the gates are
            columns = slice(gate * plan.H, (gate + 1) * plan.H)
        if kind == "z":
            zoned = [n for n, p in zip(self.recurrence.widths, self.recurrence.zoneout, strict=True) if p]
            columns = slice(zoned[self.facts.arrays("z").index(array)])
        start = plan.beside[array]
        return memory[start : start + plan.slots * plan.B * width].reshape(plan.slots, plan.B, width)[:, :, columns]


def _stacked(states: Arrays, dtype: Dtype) -> Array:
    """A copy of states of one shape, one after another."""
    if len(states) == 1:  # looking into a tuple of arrays takes longer
        return np.array(states[0], dtype, order="C")[None]
    return np.array(states, dtype, order="C")


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

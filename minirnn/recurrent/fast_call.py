"""Fast path for small calls, where Python dispatch costs more than the kernel.

A ``ShortCall`` has everything prepared that does not change from call to call.  It takes what needs no conversion and
no message, arrays of the right dtype and shape, and returns None for everything else: ``Layer.__call__`` then converts
it or says what is wrong.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from minirnn.core.backend import Array
from minirnn.core.run import State
from minirnn.kernels.cpu.passes import PassArguments, address
from minirnn.kernels.facts import CellFacts
from minirnn.recurrent.direction import Direction
from minirnn.recurrent.fused import BASE, OWN, RECURRENT, G, Plan
from minirnn.recurrent.weights import Weights

LARGEST = 1 << 19  # entries of all gates at all steps; beyond it ``Layer.__call__`` is as fast
CELL, SHARE = (PassArguments._fields.index(name) for name in ("cell", "share"))
SHAPES = 4  # shapes of input for which workspaces are stored


def prepare(layers: Sequence[Direction], directions: int) -> "ShortCall | None":
    """A ShortCall for layers with weights, one or both ``directions`` each; None without kernels for their cell.

    None too for a model that has the batch first where a call does not say.
    """
    one = layers[0]
    p, facts = one.bound, one.recurrence.facts
    kernels = None if p.backend.on_device or p.batch_first else one.kernels(p.backend)
    if kernels is None or facts is None or facts.states > 2 or one.trainable_state:
        return None
    return ShortCall(layers, directions, kernels, facts)


class ShortCall:
    """``y, state = call(x, state)`` for a recurrent layer, or None for what the fast path does not take."""

    def __init__(self, layers: Sequence[Direction], directions: int, kernels: ModuleType, facts: CellFacts) -> None:
        first = layers[0].recurrence
        self.kernels, self.parameters = kernels, layers[0].bound  # held, since addresses lead there
        self.dtype = self.parameters.dtype
        self.narrow = self.parameters.entries != "full"  # then rows are copied
        kernel = kernels.FORWARD[self.parameters.entries, bool(self.parameters.quantized)]
        self.function, self.cell = kernel[self.dtype], kernels.cell_of(facts, self.dtype)
        self.layers, self.input_size, self.hidden_size = layers, first.input_size, first.hidden_size
        self.output_size = first.widths[0]
        self.gates = len(first.gates) * first.hidden_size
        self.states, self.directions, self.in_place = facts.states, directions, facts.in_place
        self.facts = facts
        inside = self.output_size * (facts.product * self.gates + bool(facts.matrix) * self.hidden_size)
        each, inputs = 2 / kernels.DEPTHS[self.parameters.entries], [one.recurrence.input_size for one in self.layers]
        self.work = each * sum(D * self.gates + inside for D in inputs)  # of a row and step
        self.step = each * inside  # of them, what stands inside the scan
        self.idle: dict[tuple[int, int], list[Workspace]] = {}  # by (T, B); a call takes one for itself

    def __reduce__(self) -> tuple[Any, ...]:
        """None: a copy of the layer, or one from a pickle, has weights elsewhere and prepares its own."""
        return type(None), ()

    def __call__(self, x: object, state: State) -> tuple[Array, State] | None:
        dtype = self.dtype
        if type(x) is not np.ndarray or x.dtype is not dtype or x.ndim != 3 or not x.flags.carray:
            return None
        T, B, D = x.shape
        if D != self.input_size or T * B == 0 or T * B * self.gates > LARGEST:
            return None
        wide, high = (len(self.layers), B, self.output_size), (len(self.layers), B, self.hidden_size)
        initial = state if self.states == 2 or state is None else (state,)
        if initial is not None:
            if type(initial) is not tuple or len(initial) != self.states:
                return None
            for s, shape in zip(initial, (wide, high), strict=False):
                if type(s) is not np.ndarray or s.dtype is not dtype or s.shape != shape or not s.flags.carray:
                    return None
        idle = self.idle.get((T, B))
        if idle is None:
            if len(self.idle) >= SHAPES:
                self.idle.clear()
            idle = self.idle[T, B] = []
        try:
            space = idle.pop()
        except IndexError:
            space = Workspace(self, T, B)
        rest = initial is None
        h0, c0 = space.zeros if initial is None else (initial[0], initial[-1])
        h = np.empty(wide, dtype)
        c = np.empty(high, dtype) if self.states == 2 else h
        work, kernels, y = T * B * self.work, self.kernels, x
        short, box, most, patience = kernels.short, 0, 1, 0
        if work > kernels.TOGETHER:
            most = min(space.threads, kernels.threads_over_time(work, B, B * self.step))
            box, most, patience = kernels.take(work, most)
        try:
            for k, arguments in enumerate(space.arguments):
                side = k % self.directions
                if side == 0:
                    below, y = y, np.empty((T, B, self.directions * self.output_size), dtype)
                columns = side * self.output_size * dtype.itemsize
                short(
                    below,
                    h0,
                    c0,
                    rest,
                    y,
                    columns,
                    h,
                    c,
                    k,
                    self.in_place,
                    arguments,
                    box,
                    self.function,
                    most,
                    patience,
                )
        finally:
            kernels.leave(box)
        idle.append(space)
        return y, ((h, c) if self.states == 2 else h)


class Workspace:
    """Memory that the passes of one call need beside input and output, and the arguments of their kernels."""

    def __init__(self, call: ShortCall, T: int, B: int) -> None:
        row, p = call.directions * call.output_size, call.parameters
        weights = [Weights(p, one.prefix) for one in call.layers]
        plans = [
            Plan(
                one.recurrence,
                call.facts,
                own,
                call.kernels,
                T,
                B,
                row,
                integers=False,
                save=False,
                reverse=one.reverse,
            )
            for one, own in zip(call.layers, weights, strict=True)
        ]
        self.plans = plans  # held: their arguments have addresses of arrays that are theirs
        self.zeros = tuple(np.zeros((len(call.layers), B, n), call.dtype) for n in (call.output_size, call.hidden_size))
        self.threads = call.kernels.get_num_threads()
        shares = self.threads * max(plan.share for plan in plans) if call.narrow else 0  # else no rows are copied apart
        sizes = max(plan.memory for plan in plans), max(plan.packed for plan in plans) + shares
        self.memory = tuple(p.backend.zeros(size, call.dtype) for size in sizes)
        start, work = (address(a) for a in self.memory)
        self.arguments = []
        for own, plan in zip(weights, plans, strict=True):
            arguments = np.array(plan.arguments)
            arguments[CELL], arguments[G] = call.cell, start
            arguments[BASE], arguments[OWN] = plan.rooms(work, call.dtype.itemsize)
            for argument, entry in plan.places:
                arguments[argument] = start + entry * call.dtype.itemsize
            if call.facts.product:
                arguments[RECURRENT] = own.addresses("U")[0]
            arguments[SHARE] = plan.share if call.narrow else 0
            self.arguments.append(arguments)

"""Inference on little input, where the way to the kernel would take longer than the kernel.

A ``ShortCall`` has everything prepared that does not change from call to call.  It takes what needs no conversion and
no message, arrays of the right dtype and shape, and leaves everything else to the usual way, which says what is wrong.
"""

from typing import Any

import numpy as np

from minirnn.core.backend import Array
from minirnn.kernels.cpu.passes import Pass, address
from minirnn.recurrent.fused import RECURRENT, WORK, G, M, Plan, U

LARGEST = 1 << 19  # entries of all gates at all steps; beyond it the usual way is as fast
SHARE = Pass._fields.index("share")
SHAPES = 4  # shapes of input for which workspaces are kept


def prepare(layer: Any) -> "ShortCall | None":
    """A ShortCall for a recurrent layer with weights, or None where its backend has no kernels for its cell.

    None too for a model that has the batch first where a call does not say.
    """
    p = layer.bound
    kernels = None if p.backend.on_device or p.quantized or p.batch_first else layer.directions[0].kernels(p.backend)
    return ShortCall(layer, kernels) if kernels and not layer.trainable_state else None


class ShortCall:
    """``y, state = call(x, state)`` for a recurrent layer, or None for what the usual way must look at."""

    def __init__(self, layer: Any, kernels: Any) -> None:
        self.kernels, self.parameters = kernels, layer.bound  # kept, since addresses lead there
        self.dtype = layer.bound.dtype
        self.function = kernels.FORWARD[layer.cell.__name__][self.dtype]
        self.layers, self.input_size, self.hidden_size = layer.directions, layer.input_size, layer.hidden_size
        self.gates = len(layer.directions[0].gates) * layer.hidden_size
        self.states, self.directions = len(layer.cell.state), layer.num_directions
        self.in_place = layer.cell.__name__ == "TanhCell"
        self.work = 2 * sum((one.input_size + self.hidden_size) * self.gates for one in self.layers)  # a row and step
        self.step = 2 * self.hidden_size * self.gates  # of them, what stands inside the scan
        self.idle: dict[tuple[int, int], list[Workspace]] = {}  # by (T, B); a call takes one for itself

    def __deepcopy__(self, memo: Any) -> None:
        """A copy of the layer has weights elsewhere, and prepares its own."""
        return

    def __reduce__(self) -> tuple[Any, ...]:
        return _nothing, ()

    def __call__(self, x: Any, state: Any) -> tuple[Array, Any] | None:
        dtype = self.dtype
        if type(x) is not np.ndarray or x.dtype is not dtype or x.ndim != 3 or not x.flags.carray:
            return None
        T, B, D = x.shape
        if D != self.input_size or T * B == 0 or T * B * self.gates > LARGEST:
            return None
        shape = (len(self.layers), B, self.hidden_size)
        given = state if self.states == 2 or state is None else (state,)
        if given is not None:
            if type(given) is not tuple or len(given) != self.states:
                return None
            for s in given:
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
        rest = given is None
        h0, c0 = (space.zeros, space.zeros) if given is None else (given[0], given[-1])
        h = np.empty(shape, dtype)
        c = np.empty(shape, dtype) if self.states == 2 else h
        work, kernels, y = T * B * self.work, self.kernels, x
        short, box, most, patience = kernels.short, 0, 1, 0
        if work > kernels.TOGETHER:
            box, most, patience = kernels.take(work, kernels.threads_over_time(work, B, B * self.step))
        try:
            for k, told in enumerate(space.told):
                side = k % self.directions
                if side == 0:
                    below, y = y, np.empty((T, B, self.directions * self.hidden_size), dtype)
                columns = side * self.hidden_size * dtype.itemsize
                short(below, h0, c0, rest, y, columns, h, c, k, self.in_place, told, box, self.function, most, patience)
        finally:
            kernels.leave(box)
        idle.append(space)
        return y, ((h, c) if self.states == 2 else h)


class Workspace:
    """Memory that the passes of one call need beside input and output, and what they are told."""

    def __init__(self, call: ShortCall, T: int, B: int) -> None:
        H, row = call.hidden_size, call.directions * call.hidden_size
        plans = [
            Plan(one, call.kernels, T, B, row, integers=False, save=False, reverse=one.reverse) for one in call.layers
        ]
        self.zeros = np.zeros((len(call.layers), B, H), call.dtype)
        sizes = max(plan.gates for plan in plans), B * H, B * H, max(plan.packed for plan in plans)
        self.memory = tuple(call.parameters.backend.zeros(size, call.dtype) for size in sizes)
        places = [address(a) for a in self.memory]
        self.told = []
        for one, plan in zip(call.layers, plans, strict=True):
            told = np.array(plan.told)
            told[G], told[U], told[M], told[WORK] = places
            told[RECURRENT] = one.place("U")[0]
            told[SHARE] = 0  # no rows are copied apart
            self.told.append(told)


def _nothing() -> None:
    return None

"""The only owner of time: the scan forward, and backpropagation through time.

Written once, over any cell of ``cells.py`` or of your own; the products before and after are in
``recurrent/plain.py`` and ``recurrent/weights.py``:

    before     P = X W + b                                   one product for all steps

    forward    for t = 0 .. T-1:
                   q = h[t] U;   h[t+1], saved[t] = step(P[t], q, h[t])

    backward   for t = T-1 .. 0:
                   dh = dh + dY[t]
                   dP[t], dq[t], direct = unstep(dh, saved[t])
                   dh = dq[t] Uᵀ + direct

    after      dU += H[:-1]ᵀ dQ;   dW += Xᵀ dP;   db += Σ dP;   dX = dP Wᵀ      one product each

``h[0]`` is the initial state, so ``y = h[1:]`` and ``h[:-1]`` are views of one array.  A cell with several stages has
its inner lines run for each stage, forward and then in reverse, with the stage's columns of U or a matrix of its own in
place of U; a stage without a product has no columns of U, and q has none either.  Where ``keep[t]`` is True a state, or
a unit of it, is carried over unchanged, and its gradient bypasses the step: lengths and zoneout come to no more than
that here.

    forward    s[t+1] = where(keep[t], s[t], step's)            for every state s, h among them
    backward   unstep is given where(keep[t], 0, ds);   ds = what comes back from it + where(keep[t], ds, 0)

A reverse direction is the same scan over rows flipped within their length.
"""

from types import ModuleType
from typing import Any, Protocol

from minirnn.core.backend import Array
from minirnn.core.protocol import (
    Arrays,
    Cell,
    block_of,
    matrix_of,
    multiplies,
    recurrent_bias_of,
    stages_of,
    units_of,
    width_of,
)
from minirnn.core.run import Reader, Run


class ByName(Protocol):
    """The weights of one direction: a dictionary, or ``minirnn.recurrent.weights.Weights``."""

    def __getitem__(self, name: str, /) -> Array: ...


class Scan:
    """One cell unrolled over the steps of one direction.

    ``columns[k]`` are the columns of W, U and b that stage k uses, ``U[k]`` what it multiplies with.  ``P`` is
    (T, B, G·H), ``state`` one (B, H) array a state, or (B, width of h) for h; ``keep`` is one (T, B, 1) or (T, B, H) a
    state, or None where all is new.
    """

    def __init__(self, cell: Cell, hidden_size: int, weights: ByName, xp: ModuleType) -> None:
        self.stages, self.xp, self.width = stages_of(cell), xp, 0
        self.U, self.columns, self.units = [], [], []
        self.bias: list[list[tuple[slice, Array]]] = []
        start = 0
        for stage in self.stages:
            stop = start + len(stage.gates) * hidden_size
            self.columns.append(slice(start, stop))
            own = matrix_of(stage)
            if multiplies(stage):
                self.U.append(weights[own] if own else weights["U"][:, start:stop])
            else:
                self.U.append(xp.empty((width_of(cell, hidden_size), 0), weights["W"].dtype))
            self.units.append([weights[name] for name in units_of(stage)])
            self.bias.append(
                [(block_of(stage, gate, hidden_size), weights[f"b{gate}"]) for gate in recurrent_bias_of(stage)]
            )
            start = self.width = stop

    def forward(
        self,
        P: Array,
        state: Arrays,
        keep: Arrays | None,
        share: tuple[float, ...] | None = None,
        y: Array | None = None,
        *,
        save: bool,
    ) -> tuple[Array, Arrays]:
        """All steps; returns h (T+1, B, H) and the final state.  With ``save``, what backward needs is kept here.

        ``share`` is how much of each state stays as it was at every step, in inference.  ``y`` is h[1:] where that is
        known already: then all steps' products with the first stage's U are one.
        """
        (T, B), dtype = P.shape[:2], P.dtype
        h = self.xp.empty((T + 1, *state[0].shape), dtype)
        h[0], Q = state[0], None
        if y is not None:
            h[1:] = y
            Q = (h[:-1].reshape(T * B, h.shape[2]) @ self.U[0]).reshape(T, B, self.U[0].shape[1])
        state = tuple(s.copy() for s in state) if save else state  # the caller may write to the given ones
        self.saved: list[list[Arrays]] = [[] for _ in self.stages]
        # what each stage's U multiplies: for the first, h itself
        self.A = [h[:-1], *(self.xp.empty((T, B, U.shape[0]), dtype) for U in self.U[1:] if save)]
        for t in range(T):
            state = (h[t], *state[1:])
            flow = state
            for k, stage in enumerate(self.stages):
                if k and save:
                    self.A[k][t] = flow[0]
                q = Q[t] if Q is not None and k == 0 else flow[0] @ self.U[k]
                for block, v in self.bias[k]:
                    q[:, block] += v
                flow, saved = stage.step(P[t, :, self.columns[k]], q, flow, *self.units[k])
                if save:
                    self.saved[k].append(saved)
            if share is not None:
                flow = tuple(p * old + (1 - p) * new for p, old, new in zip(share, state, flow, strict=True))
            if keep is not None:
                flow = tuple(self.xp.where(k[t], old, new) for k, old, new in zip(keep, state, flow, strict=True))
            if y is None:
                h[t + 1] = flow[0]
            state = flow
        return h, (h[T], *state[1:])

    def backward(
        self, dy: Array | None, dstate: Arrays, keep: Arrays | None
    ) -> tuple[Array, list[Array], list[list[Array]], Arrays]:
        """All steps in reverse: dP, each stage's dQ and gradients of its units, and the initial state's gradient."""
        (T, B), dtype = self.A[0].shape[:2], dstate[0].dtype
        dP = self.xp.empty((T, B, self.width), dtype)
        apart = [not stage.gates or not multiplies(stage) for stage in self.stages]
        dQ = [
            self.xp.empty((T, B, U.shape[1]), dtype) if alone else dP[:, :, columns]
            for U, columns, alone in zip(self.U, self.columns, apart, strict=True)
        ]
        dunits = [[self.xp.zeros_like(unit) for unit in units] for units in self.units]
        for t in reversed(range(T)):
            if dy is not None:
                dstate = (dstate[0] + dy[t], *dstate[1:])
            flow, zero = dstate, dtype.type(0)
            if keep is not None:
                flow = tuple(self.xp.where(k[t], zero, d) for k, d in zip(keep, flow, strict=True))
            for k, stage in reversed(list(enumerate(self.stages))):
                dp, dq, direct, *dw = stage.unstep(flow, self.saved[k][t], *self.units[k])
                if stage.gates:
                    dP[t, :, self.columns[k]] = dp
                if dq is not dp and not apart[k]:  # so far they were equal: from here on they are kept apart
                    dQ[k], apart[k] = dQ[k].copy(), True
                if apart[k] and dq is not None:
                    dQ[k][t] = dq
                flow = self.sent_back(k, dq, direct)
                for i, part in enumerate(dw):
                    dunits[k][i] += part.sum(0)
            if keep is not None:
                flow = tuple(new + self.xp.where(k[t], d, zero) for k, d, new in zip(keep, dstate, flow, strict=True))
            dstate = flow
        return dP, dQ, dunits, dstate

    def sent_back(self, k: int, dq: Array, direct: tuple[Any, ...]) -> Arrays:
        """The gradient of the state that stage ``k`` read: what comes through its product, and what comes directly."""
        if dq is None:  # there is no product
            rows = next((len(d) for d in direct if d is not None), self.A[k].shape[1])
            none = self.xp.zeros((rows, len(self.U[k])), self.U[k].dtype)
            return (none if direct[0] is None else direct[0], *direct[1:])
        da = dq @ self.U[k].T
        return (da if direct[0] is None else da + direct[0], *direct[1:])

    def named(self) -> dict[str, Reader]:
        """Readers of the saved quantities by name, each stacked over the steps: (T, B, H)."""

        def reader(k: int, i: int) -> Reader:
            saved = self.saved[k]
            return lambda: self.xp.stack([step[i] for step in saved])

        return {name: reader(k, i) for k, stage in enumerate(self.stages) for i, name in enumerate(stage.saves)}


def reversed_run(run: Run) -> Run:
    """The run of rows that were flipped: a mask is flipped with them."""
    return run if run.skip is None else run._replace(skip=flip(run.skip, run))


def flip(a: Array, run: Run) -> Array:
    """``a`` (T, B, ...) with each row's steps reversed within its length."""
    if run.flipped is None:
        return a[::-1]
    index = run.flipped.reshape(run.flipped.shape + (1,) * (a.ndim - 2))
    out: Array = run.parameters.backend.xp.take_along_axis(a, index, axis=0)
    return out

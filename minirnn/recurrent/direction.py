"""One recurrent layer in one direction: its weights, its initial state, and the pass that computes it."""

from types import ModuleType
from typing import Any

from minirnn.core.backend import Array, Backend
from minirnn.core.layer import Layer
from minirnn.core.parameters import Spec
from minirnn.core.protocol import (
    Arrays,
    initial_of,
    matrix_of,
    multiplies,
    name_of,
    recurrent_bias_of,
    stages_of,
    units_of,
    width_of,
    widths_of,
)
from minirnn.core.run import Later, Result, Run, State
from minirnn.core.tracing import facts_of
from minirnn.recurrent.checkpointing import CheckpointedPass, Level
from minirnn.recurrent.cuda import CudaPass
from minirnn.recurrent.fused import FusedPass
from minirnn.recurrent.passes import Pass, Recurrence
from minirnn.recurrent.plain import PlainPass
from minirnn.recurrent.weight_dropout import DroppedWeights
from minirnn.recurrent.weights import Weights

SMALL = 1 << 14  # entries of a state of zeros that serves the next call too


class Direction(Layer):
    """One layer in one direction.  Its state is a tuple of (B, H) arrays, or (B, R) for an h of another width R.

    Weights ``W (D, G·H)``, ``U (R, G·H)`` unless the cell has no product, ``b (G·H)``, ``b<gate> (H)`` for each
    recurrent bias, the cell's per-unit weights (H), a stage's own matrix (H, R), and ``h0`` (R), ``c0`` (H) ... for
    trainable initial states.
    """

    def __init__(
        self,
        cell: Any,
        input_size: int,
        hidden_size: int,
        *,
        reverse: bool,
        trainable_state: bool,
        weight_dropout: float,
        zoneout: tuple[float, ...],
    ) -> None:
        self.cell, self.input_size, self.hidden_size = cell, input_size, hidden_size
        self.widths, self.output_size = widths_of(cell, hidden_size), width_of(cell, hidden_size)
        self.reverse, self.trainable_state = reverse, trainable_state
        self.weight_dropout, self.zoneout = weight_dropout, zoneout
        self.gates = tuple(gate for stage in stages_of(cell) for gate in stage.gates)
        sizes = input_size, hidden_size, self.gates, self.widths
        facts = trained = facts_of(cell)
        if any(zoneout):
            zones = tuple(map(bool, zoneout))
            facts, trained = facts_of(cell, zones, inference=True), facts_of(cell, zones)
        self.recurrence = Recurrence(cell, *sizes, zoneout, facts, trained)

    def specs(self) -> dict[str, Spec]:
        D, H, R, width = self.input_size or 0, self.hidden_size, self.widths[0], len(self.gates) * self.hidden_size
        letters = getattr(self.cell, "chapter_gates", self.gates)
        specs = {
            "W": Spec((D, width), "input", H, tuple(f"W_x{g}" for g in letters)),
            "U": Spec((R, width), "recurrent", H, tuple(f"W_h{g}" for g in letters)),
            "b": Spec((width,), "bias", H, tuple(f"b_{g}" for g in letters)),
        }
        if not multiplies(stages_of(self.cell)[0]):
            del specs["U"]
        for stage in stages_of(self.cell):
            specs |= {f"b{gate}": Spec((H,), "bias", H) for gate in recurrent_bias_of(stage)}
            specs |= {name: Spec((H,), "unit", H, start=initial_of(stage).get(name)) for name in units_of(stage)}
            specs |= {name: Spec((H, R), "recurrent", H) for name in [matrix_of(stage)] if name}
        if self.trainable_state:
            specs |= {f"{name}0": Spec((n,), "state", H) for name, n in zip(self.cell.state, self.widths, strict=True)}
        return specs

    @property
    def reads_ahead(self) -> bool:
        return self.reverse

    def remarks(self) -> list[str]:
        backend = self.bound.backend if self.parameters else None
        if backend is None or backend.name in ("numpy", "cupy") or self.kernels(backend):
            return []
        name = f"{name_of(self.cell)}{' with zoneout' if any(self.zoneout) else ''}"
        return [f"{name} has no kernel on backend {backend.name}: it runs by its plain equations"]

    def kernels(self, backend: Backend) -> ModuleType | None:
        """The module that runs the cell faster than the plain scan does, or None."""
        facts, trained = self.recurrence.facts, self.recurrence.trained
        if facts is None or trained is None:
            return None
        return backend.scans()

    def start(self, state: State, B: int, run: Run) -> Arrays:
        """The state before the first step: the caller's, or where that is None zeros, or the trainable one."""
        if state is not None:
            states: Arrays = state
            return states
        zeros = self.zeros(B, run)
        if not self.trainable_state:
            return zeros
        return tuple(zero + self.weight(f"{name}0") for name, zero in zip(self.cell.state, zeros, strict=True))

    def zeros(self, B: int, run: Run) -> Arrays:
        """A state of zeros, not to be written to: a small one is the same array at every call."""
        p, key = run.parameters, ("zeros", B, self.widths)
        zeros: Arrays | None = p.prepared.get(key)
        if zeros is None:
            of = {n: p.backend.locked(p.backend.xp.zeros((B, n), p.dtype)) for n in set(self.widths)}
            zeros = tuple(of[n] for n in self.widths)
            if B * max(self.widths) <= SMALL and not p.backend.on_device:  # whose arrays can be written
                p.prepare(key, zeros)
        return zeros

    def apply(self, x: Array, state: State, run: Run, out: Array | None = None) -> Result:
        """One pass; y is written to ``out`` (T, B, R) if that is an array, and must not change until backward."""
        B, initial, weights = x.shape[1], state is None, self.weights_of(run)
        one = self.pass_of(weights, run, len(x), rest=initial and not self.trainable_state)
        y, final = one.forward(x, self.start(state, B, run), out)

        def pull(dy: Array | None, dstate: State) -> tuple[Array | None, State]:
            if dy is None and dstate is None:
                return None, self.zeros(B, run)
            dx, dstate = one.backward(dy, self.zeros(B, run) if dstate is None else dstate)
            self.settle(weights, dstate, initial=initial)
            return dx, dstate

        return Result(y, final, pull, Later(lambda: {**one.named(), **weights.named()}) if run.training else {})

    def settle(self, weights: Weights, dstate: Arrays, *, initial: bool) -> None:
        """End a backward pass: add the gradients that come once, whatever there was of segments."""
        weights.settle()
        if initial and self.trainable_state:
            for name, d in zip(self.cell.state, dstate, strict=True):
                weights.add(f"{name}0", d.sum(0))

    def weights_of(self, run: Run) -> Weights:
        """The weights that a pass uses."""
        weights, p = Weights(run.parameters, self.prefix), self.weight_dropout
        return DroppedWeights(weights, run, p) if run.training and p else weights

    def pass_of(self, weights: Weights, run: Run, T: int, *, rest: bool) -> Pass:
        """The pass over T steps that ``run`` asks for; with ``rest``, from a state of zeros."""
        if run.in_segments(T):
            level = Level(self.recurrence, weights, self.simple_pass)
            return CheckpointedPass([level], run, reverse=self.reverse, rest=rest, spares=self.spares(run))
        return self.simple_pass(weights, run, reverse=self.reverse, rest=rest)

    def spares(self, run: Run) -> bool:
        """Whether gradient checkpointing may keep what a short last segment saved: the plain scan's is too much."""
        return self.kernels(run.parameters.backend) is not None

    def simple_pass(self, weights: Weights, run: Run, *, reverse: bool, rest: bool) -> Pass:
        """A pass by whatever computes the cell fastest on the weights' backend."""
        parameters = run.parameters
        if self.kernels(parameters.backend) is None:
            return self.plain_pass(weights, run, reverse=reverse)
        kind = CudaPass if parameters.backend.on_device else FusedPass
        return kind(self.recurrence, weights, run, reverse=reverse, rest=rest)

    def plain_pass(self, weights: Weights, run: Run, *, reverse: bool) -> Pass:
        """A pass by the plain equations; a subclass may make one that is looked into."""
        return PlainPass(self.recurrence, weights, run, reverse=reverse)

"""One recurrent layer in one direction: the products around the scan over time, and the gradients of its weights.

A ``Pass`` is one forward and what its backward needs.  The plain one is here, over any cell and on any backend; where
the backend has a kernel for the cell, ``fused.py`` has its twin, on a GPU ``cudapass.py``.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from minirnn.core.backend import Array, Backend
from minirnn.core.layer import Later, Layer, Reader, Result, Run, State
from minirnn.core.parameters import Spec
from minirnn.core.protocol import (
    Arrays,
    block_of,
    matrix_of,
    name_of,
    recurrent_bias_of,
    stages_of,
    units_of,
    width_of,
    widths_of,
)
from minirnn.recurrent.checkpointing import Pass, Segment, SegmentedPass
from minirnn.recurrent.cuda import CudaPass
from minirnn.recurrent.fused import FusedPass
from minirnn.recurrent.weight_dropout import ThinnedPass
from minirnn.recurrent.zoneout import carried, zones
from minirnn.scan import Scan, flip, placed, turned

SMALL = 1 << 14  # entries of a state of zeros that is kept for the next call


class Direction(Layer):
    """One layer in one direction.  Its state is a tuple of (B, H) arrays, or (B, R) for an h of another width R.

    Weights ``W (D, G·H)``, ``U (R, G·H)``, ``b (G·H)``, ``b<gate> (H)`` for each recurrent bias, the cell's per-unit
    weights (H), a stage's own matrix (H, R), and ``h0`` (R), ``c0`` (H) ... for trainable initial states.

    ``instead`` has weights that one pass uses in place of the model's, each with its gradient; ``plain`` makes a pass
    in place of ``PlainPass``, where it is to be looked into.
    """

    instead: Mapping[str, tuple[Array, Array]] = MappingProxyType({})
    plain: "Callable[[Direction, Run], PlainPass] | None" = None

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

    def specs(self) -> dict[str, Spec]:
        D, H, R, width = self.input_size or 0, self.hidden_size, self.widths[0], len(self.gates) * self.hidden_size
        letters = getattr(self.cell, "chapter_gates", self.gates)
        specs = {
            "W": Spec((D, width), "input", H, tuple(f"W_x{g}" for g in letters)),
            "U": Spec((R, width), "recurrent", H, tuple(f"W_h{g}" for g in letters)),
            "b": Spec((width,), "bias", H, tuple(f"b_{g}" for g in letters)),
        }
        for stage in stages_of(self.cell):
            specs |= {f"b{gate}": Spec((H,), "bias", H) for gate in recurrent_bias_of(stage)}
            specs |= {name: Spec((H,), "unit", H) for name in units_of(stage)}
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

    def kernels(self, backend: Backend) -> Any:
        """What runs the cell faster than the plain scan, or None."""
        return None if any(self.zoneout) else backend.scans(self.cell)

    def initial(self, B: int, run: Run) -> Arrays:
        """The state before the first step when none was given."""
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
        """One pass; y is written to ``out`` (T, B, R) if that is given, and must not change until backward."""
        B, given = x.shape[1], state is not None
        rest = not given and not self.trainable_state
        segmented = run.training and 0 < run.every < len(x)

        def make(layer: Direction) -> Pass:
            return SegmentedPass(layer, run, pass_of, rest=rest) if segmented else pass_of(layer, run, rest)

        one = ThinnedPass(self, run, make) if run.training and self.weight_dropout else make(self)
        y, final = one.forward(x, state if given else self.initial(B, run), out)

        def pull(dy: Array | None, dstate: State) -> tuple[Array | None, State]:
            if dy is None and dstate is None:
                return None, self.zeros(B, run)
            dx, dstate = one.backward(dy, self.zeros(B, run) if dstate is None else dstate)
            if not given and self.trainable_state:
                for name, d in zip(self.cell.state, dstate, strict=True):
                    self.add(f"{name}0", d.sum(0))
            return dx, dstate

        return Result(y, final, pull, Later(one.named) if run.training else {})

    def add(self, name: str, gradient: Array) -> None:
        """Add to the gradient of a weight."""
        total = self.grad(name)
        total += gradient

    def weight(self, name: str) -> Any:
        """The layer's own weight of this local name, or the one that this pass uses in its place."""
        return self.instead[name][0] if name in self.instead else super().weight(name)

    def grad(self, name: str) -> Array:
        """Its gradient."""
        return self.instead[name][1] if name in self.instead else super().grad(name)

    def place(self, name: str) -> tuple[int, int]:
        """Where a weight and its gradient lie in memory."""
        if name in self.instead:
            weight, gradient = self.instead[name]
            return self.bound.backend.address(weight), self.bound.backend.address(gradient)
        return self.bound.addresses(self.prefix + name)

    def turn(self, a: Array, run: Run) -> Array:
        """``a`` (T, B, ...) in this direction's order of steps; turning twice gives ``a`` again."""
        return flip(a, run) if self.reverse else a


def pass_of(layer: Direction, run: Run, rest: bool) -> Segment:  # noqa: FBT001 - made once a pass
    """One forward of a direction, by what computes its cell there; with ``rest``, from a state of zeros."""
    p = run.parameters
    kernels = None if p.quantized else layer.kernels(p.backend)
    if kernels is None:
        return (layer.plain or PlainPass)(layer, run)
    if p.backend.on_device:
        return CudaPass(layer, run, kernels)
    return FusedPass(layer, run, kernels, rest=rest)


class PlainPass:
    """The products before and after a ``Scan`` of any cell."""

    def __init__(self, layer: Direction, run: Run) -> None:
        self.layer, self.run, self.xp = layer, run, run.parameters.backend.xp
        weights = {name: layer.weight(name) for name in layer.specs()}
        self.scan = Scan(layer.cell, layer.hidden_size, weights, self.xp)

    def forward(self, x: Array, state: Arrays, out: Array | None, *, known: bool = False) -> tuple[Array, Arrays]:
        """y, in ``out`` if that is given, and the final state; ``known`` says that ``out`` holds y already."""
        layer, run, (T, B) = self.layer, self.run, x.shape[:2]
        self.x = x = layer.turn(x, run)
        self.zones = zones(layer, run, T, B)
        self.keep = carried(self.zones, run.past, T, self.xp)
        share = layer.zoneout if any(layer.zoneout) and not run.training else None
        if x.dtype.kind in "iu":
            P = layer.weight("W")[x] + layer.weight("b")
        else:
            P = (x.reshape(T * B, layer.input_size or 0) @ layer.weight("W")).reshape(
                T, B, len(layer.gates) * layer.hidden_size
            )
            P += layer.weight("b")
        y = layer.turn(out, run) if known and out is not None else None
        h, final = self.scan.forward(P, state, self.keep, share, y, save=run.saves)
        return placed(layer.turn(h[1:], run), None if known else out), final

    def backward(self, dy: Array | None, dstate: Arrays) -> tuple[Array | None, Arrays]:
        """The gradients of x, None for integers, and of the initial state; adds those of the weights."""
        layer, x = self.layer, self.x
        (T, B), D = x.shape[:2], layer.input_size or 0
        dy = None if dy is None else layer.turn(dy, self.run)
        dP, dQ, dunits, dstate = self.scan.backward(dy, dstate, self.keep)
        rows = dP.reshape(T * B, dP.shape[2])
        self._accumulate(dQ, dunits)
        layer.add("b", rows.sum(0))
        if x.dtype.kind in "iu":
            self.run.parameters.backend.add_rows(layer.grad("W"), x.reshape(-1), rows)
            return None, dstate
        layer.add("W", x.reshape(T * B, D).T @ rows)
        dx = (rows @ layer.weight("W").T).reshape(T, B, D)
        return layer.turn(dx, self.run), dstate

    def _accumulate(self, dQ: list[Array], dunits: list[list[Array]]) -> None:
        """The gradients of what stands inside the scan."""
        layer, scan = self.layer, self.scan
        dU, H = layer.grad("U"), layer.hidden_size
        for k, stage in enumerate(scan.stages):
            A, rows = (a.reshape(-1, a.shape[-1]) for a in (scan.A[k], dQ[k]))
            if matrix_of(stage):
                layer.add(matrix_of(stage), A.T @ rows)
            else:
                dU[:, scan.columns[k]] += A.T @ rows
            for gate in recurrent_bias_of(stage):
                layer.add(f"b{gate}", rows[:, block_of(stage, gate, H)].sum(0))
            for name, d in zip(units_of(stage), dunits[k], strict=True):
                layer.add(name, d)

    def named(self) -> dict[str, Reader]:
        """Readers of what was saved, in the order of x's steps."""
        zoned = zip(self.layer.cell.state, self.zones, strict=True)
        saved = self.scan.named() | {f"zoneout.{name}": reader(zone) for name, zone in zoned if zone is not None}
        return {name: turned(read, self.run) for name, read in saved.items()} if self.layer.reverse else saved


def reader(a: Array) -> Reader:
    """Reads what is there already."""
    return lambda: a

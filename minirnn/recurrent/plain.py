"""The pass by the plain equations: the products before and after a ``Scan``, of any cell and on any backend."""

from functools import partial

from minirnn.core.backend import Array
from minirnn.core.protocol import Arrays, block_of, matrix_of, multiplies, recurrent_bias_of, units_of
from minirnn.core.run import Reader, Run
from minirnn.recurrent.passes import Pass, Recurrence, placed
from minirnn.recurrent.weights import Weights
from minirnn.recurrent.zoneout import carried, zones
from minirnn.scan import Scan


class PlainPass(Pass):
    """``P = X W + b`` for all steps, the scan, and the gradients of all weights: one product each."""

    reads_backwards = False  # a scan knows one direction of time

    def __init__(self, recurrence: Recurrence, weights: Weights, run: Run, *, reverse: bool) -> None:
        super().__init__(recurrence, weights, run, reverse=reverse)
        self.xp = run.parameters.backend.xp
        self.scan = Scan(recurrence.cell, recurrence.hidden_size, weights, self.xp)

    def _forward(self, x: Array, state: Arrays, out: Array | None, *, known: bool) -> tuple[Array, Arrays]:
        weights, run, (T, B), zoneout = self.weights, self.run, x.shape[:2], self.recurrence.zoneout
        self.x = x
        self.zones = zones(self.recurrence, weights.prefix, run, T, B)
        self.keep = carried(self.zones, run.past, T, self.xp)
        share = zoneout if any(zoneout) and not run.training else None
        h, final = self.scan.forward(
            weights.product(x), state, self.keep, share, out if known else None, save=run.saves
        )
        return placed(h[1:], None if known else out), final

    def _backward(self, dy: Array | None, dstate: Arrays) -> tuple[Array | None, Arrays]:
        dP, dQ, dunits, dstate = self.scan.backward(dy, dstate, self.keep)
        self._accumulate(dQ, dunits)
        return self.weights.product_backward(self.x, dP), dstate

    def _accumulate(self, dQ: list[Array], dunits: list[list[Array]]) -> None:
        """The gradients of what stands inside the scan."""
        weights, scan = self.weights, self.scan
        H, product = self.recurrence.hidden_size, weights.parameters.product
        for k, stage in enumerate(scan.stages):
            for name, d in zip(units_of(stage), dunits[k], strict=True):
                weights.add(name, d)
            if not multiplies(stage):
                continue
            A, rows = (a.reshape(-1, a.shape[-1]) for a in (scan.A[k], dQ[k]))
            if matrix_of(stage):
                weights.add(matrix_of(stage), product(A.T, rows))
            else:
                weights.grad("U")[:, scan.columns[k]] += product(A.T, rows)
            for gate in recurrent_bias_of(stage):
                weights.add(f"b{gate}", rows[:, block_of(stage, gate, H)].sum(0))

    def _named(self) -> dict[str, Reader]:
        zoned = zip(self.recurrence.cell.state, self.zones, strict=True)
        return self.scan.named() | {
            f"zoneout.{name}": partial(self.xp.asarray, zone) for name, zone in zoned if zone is not None
        }

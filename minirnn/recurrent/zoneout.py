"""Zoneout: units that stay as they were for a step, chosen anew for every step, row and unit.

It is no part of a cell's equations: the scan carries states over where ``keep`` is True, past a row's length as here.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

from minirnn.core.backend import Array
from minirnn.core.noise import check_probability, keep_mask
from minirnn.core.protocol import Arrays, Cell
from minirnn.core.run import Run
from minirnn.recurrent.passes import Recurrence

GOES_ON = "its zoneout goes on in inference"  # why other formats have no words for a layer


def zones(recurrence: Recurrence, prefix: str, run: Run, T: int, B: int) -> tuple[Array | None, ...]:
    """Where each state of a direction stays as it was, (T, B, H) each, and None for one that never does.

    Zoneout (Krueger et al. 2017, arXiv 1606.01305, section 3): with s each of the states, ŝ what the cell makes
    of it, and a probability p for each,

        s' = D s + (1 - D) ŝ                  (1)  D is 1 with probability p, else 0

    Every ŝ is the cell's own: in an LSTM ĥ is made of ĉ, not of c'.  Transposed, s being used by (1) and by the cell:

        dŝ = (1 - D) ds'                      (1)  which the cell's transpose turns into its part of ds
        ds = ds + D ds'                       (1)

    In inference (1) is what it is on average, p s + (1 - p) ŝ.
    """
    backend, seed = run.parameters.backend, run.parameters.seed
    if not run.training:
        return (None,) * len(recurrence.zoneout)
    return tuple(
        ~keep_mask(backend, seed, f"{prefix}zoneout.{name}", run.call, (T, B, n), p, run.first_row, run.first_step)
        if p
        else None
        for name, n, p in zip(recurrence.cell.state, recurrence.widths, recurrence.zoneout, strict=True)
    )


def carried(zones: tuple[Array | None, ...], past: Array | None, T: int, xp: ModuleType) -> Arrays | None:
    """Where the scan carries each state over, (T, B, 1) or (T, B, H): in its zones, and past a row's length."""
    if past is None and all(zone is None for zone in zones):
        return None
    ended = xp.zeros((T, 1, 1), bool) if past is None else past[:, :, None]
    return tuple(ended if zone is None else zone | ended for zone in zones)


def check_zoneout(cell: Cell, zoneout: float | Sequence[float]) -> tuple[float, ...]:
    """A probability for each state of ``cell``, from one for all of them or one for each."""
    names = tuple(cell.state)
    each: tuple[Any, ...] = tuple(zoneout) if isinstance(zoneout, (tuple, list)) else (zoneout,) * len(names)
    if len(each) != len(names):
        raise ValueError(
            f"zoneout must be a probability, or one for each state ({', '.join(names)}); got {len(each)} of them"
        )
    return tuple(check_probability("zoneout", p) for p in each)

"""What a cell is to the rest of minirnn: the attributes that are read from it, and what is asked of them."""

from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Arrays: TypeAlias = tuple[Array, ...]


class Stage(Protocol):
    """One product ``q = a U + v`` followed by one row-wise pair ``step``/``unstep``.

    ``a`` is the first entry of ``state``: for the first stage of a cell that is ``h``, for a later stage it is
    whatever the stage before put first.  Stages follow one another within a step as steps do in time.

    Three more attributes are read where they exist:

    ``recurrent_bias``  names of the gates whose ``q`` gets a bias of its own, a weight ``b<gate>`` of shape (H,).
    ``units``           names of per-unit weights of shape (H,), peepholes for example.  They are handed to
                        ``step(p, q, state, *units)`` and ``unstep(dstate, saved, *units)``, and ``unstep`` returns a
                        gradient of shape (B, H) for each after ``dstate``: ``dp, dq, dstate, *dunits``.
    ``kinks``           those of ``saves`` at whose 0 the cell is not differentiable; checks keep away from it.

    A stage may do without ``unstep`` and ``saves``; ``step`` then returns () for ``saved``.  A cell of such stages is
    for inference only, and a layer of it refuses a training forward (``minirnn.variants`` has cells of that kind).
    """

    gates: tuple[str, ...]  # the blocks of p and q, each H wide: columns of W, U and b in this order
    saves: tuple[str, ...]  # names of what step leaves for unstep, in the order of the tuple `saved`

    def step(self, p: Array, q: Array, state: Arrays, /, *units: Array) -> tuple[Arrays, Arrays]:
        """Return the next state and ``saved``."""

    def unstep(self, dstate: Arrays, saved: Arrays, /, *units: Array) -> tuple[Any, ...]:
        """Return ``dp, dq, dstate, *dunits``; the first entry of ``dstate`` may be None.

        Where ``dp`` and ``dq`` are equal, returning one array twice spares the sums over time half their work.
        """


class Cell(Protocol):
    """What ``Recurrent`` needs to know: names of the states, and either one stage's attributes or ``stages``.

    A cell with one stage is that stage: it has ``gates``, ``saves``, ``step``, ``unstep`` itself.  A cell with more has
    ``stages`` instead, a tuple of them.  ``chapter_gates`` is optional: the letters that *Dive into Deep Learning*
    gives to the gates, under which the per-gate views of the weights are named (``W_xz``, ``W_hz``, ``b_z``).
    """

    state: tuple[str, ...]  # "h" first: it is what the next layer sees and what U multiplies


def name_of(cell: Any) -> str:
    """What a cell is called in a sentence: a class's name, or that of an instance's class."""
    name: str = getattr(cell, "__name__", type(cell).__name__)
    return name


def stages_of(cell: Any) -> tuple[Stage, ...]:
    """The cell's stages: its ``stages``, or the cell itself where it has only one."""
    stages: tuple[Stage, ...] = getattr(cell, "stages", (cell,))
    return stages


def recurrent_bias_of(stage: Any) -> tuple[str, ...]:
    """Gates whose recurrent product has a bias of its own."""
    gates: tuple[str, ...] = getattr(stage, "recurrent_bias", ())
    return gates


def units_of(stage: Any) -> tuple[str, ...]:
    """Names of the stage's per-unit weights."""
    names: tuple[str, ...] = getattr(stage, "units", ())
    return names


def trains(cell: Any) -> bool:
    """Whether a cell has a transpose; one without is for inference only."""
    return all(hasattr(stage, "unstep") for stage in stages_of(cell))


def block_of(stage: Stage, gate: str, hidden_size: int) -> slice:
    """The columns of a gate within its stage."""
    k = stage.gates.index(gate)
    return slice(k * hidden_size, (k + 1) * hidden_size)


def check_cell(cell: Any, hidden_size: int) -> None:
    """Raise TypeError unless ``cell`` follows the protocol: one step is run on a row of numbers, and its transpose."""
    name = name_of(cell)
    if not getattr(cell, "state", None):
        raise TypeError(f"cell {name} must name its states: state = ('h',)")
    taken, transposed = {"W", "U", "b", *(f"{s}0" for s in cell.state)}, [hasattr(s, "unstep") for s in stages_of(cell)]
    asked = ("gates", "saves", "step", "unstep") if any(transposed) else ("gates", "step")
    for stage in stages_of(cell):
        missing = [a for a in asked if not hasattr(stage, a)]
        if missing:
            *most, last = asked
            raise TypeError(f"cell {name} must have {', '.join(most)} and {last}; missing: {', '.join(missing)}")
        for gate in recurrent_bias_of(stage):
            if gate not in stage.gates:
                raise TypeError(f"cell {name}: recurrent_bias names {gate!r}, not one of the gates {stage.gates}")
        for weight in [*(f"b{gate}" for gate in recurrent_bias_of(stage)), *units_of(stage)]:
            if weight in taken:
                raise TypeError(f"cell {name}: a weight may not be called {weight}, as another one is")
            taken.add(weight)
    try:
        with np.errstate(all="ignore"):
            _try(cell, min(hidden_size, 4))
    except (TypeError, ValueError, IndexError) as error:
        hint = "; write step and unstep as static methods, or pass an instance" if isinstance(cell, type) else ""
        raise TypeError(f"cell {name} does not run on one row of numbers: {error}{hint}") from error


def _try(cell: Any, H: int) -> None:
    """One step of every stage on a row of ones, and one unstep if it has that; ValueError for what does not fit."""
    flow, stages, transposed = tuple(np.ones((1, H)) for _ in cell.state), stages_of(cell), trains(cell)
    for stage in stages:
        p, units = np.ones((1, len(stage.gates) * H)), [np.ones(H) for _ in units_of(stage)]
        out, saved = stage.step(p, p, flow, *units)
        if stage is stages[-1] and [np.shape(a) for a in out] != [(1, H) for _ in cell.state]:
            raise ValueError(f"step must return {len(cell.state)} states of shape (B, H)")
        if not transposed:
            flow = out
            continue
        if len(saved) != len(stage.saves):
            raise ValueError(f"step saves {len(saved)} arrays, and saves names {len(stage.saves)}")
        dp, dq, dflow, *dunits = stage.unstep(tuple(np.ones(np.shape(a)) for a in out), saved, *units)
        if np.shape(dp) != p.shape or np.shape(dq) != p.shape or len(dflow) != len(flow) or len(dunits) != len(units):
            raise ValueError(
                "unstep must return dp and dq with the shape of p, a gradient for each state, then each unit"
            )
        flow = out

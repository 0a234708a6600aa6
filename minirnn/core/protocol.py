"""The protocol of a cell: the attributes that minirnn reads from it, and what is asked of them."""

import inspect
import linecache
from types import FunctionType
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Arrays: TypeAlias = tuple[Array, ...]
Transposed: TypeAlias = tuple[Any, ...]  # dp, dq, a gradient or None for each state, and one for each unit


class Stage(Protocol):
    """One product ``q = a U + v`` followed by one row-wise pair ``step``/``unstep``.

    ``a`` is the first entry of ``state``: for the first stage of a cell that is ``h``, for a later stage it is
    whatever the stage before put first.  Stages follow one another within a step as steps do in time.

    Six more attributes are read where they exist:

    ``recurrent_bias``  names of the gates whose ``q`` gets a bias of its own, a weight ``b<gate>`` of shape (H,).
    ``units``           names of per-unit weights of shape (H,), peepholes for example.  They are handed to
                        ``step(p, q, state, *units)`` and ``unstep(dstate, saved, *units)``, and ``unstep`` returns a
                        gradient of shape (B, H) for each after ``dstate``: ``dp, dq, dstate, *dunits``.
    ``initial``         pairs of a per-unit weight's name and the number that it begins at: gains at 1, for example.
                        Others are drawn as biases are.
    ``matrix``          name of a weight of its own that the product is with, in place of columns of U: a projection of
                        ``a`` (B, H) to the width of ``h``.  Such a stage comes after another, has no gates, a ``p`` of
                        no columns, and None for ``dp``.
    ``product``         False for the only stage of a cell that multiplies no state: there is no U, ``q`` has no
                        columns, and ``unstep`` returns None for ``dq``.
    ``kinks``           those of ``saves`` at whose 0 the cell is not differentiable; checks keep away from it.

    A stage may do without ``unstep`` and ``saves``; ``step`` then returns () for ``saved``.  A cell of such stages is
    for inference only, and a layer of it refuses a training forward (those of ``minirnn.recurrent.variants``).
    """

    gates: tuple[str, ...]  # the blocks of p and q, each H wide: columns of W, U and b in this order
    saves: tuple[str, ...]  # names of what step leaves for unstep, in the order of the tuple `saved`

    def step(self, p: Array, q: Array, state: Arrays, /, *units: Array) -> tuple[Arrays, Arrays]:
        """Return the next state and ``saved``."""

    def unstep(self, dstate: Arrays, saved: Arrays, /, *units: Array) -> Transposed:
        """Return ``dp, dq, dstate, *dunits``; the first entry of ``dstate`` may be None.

        Where ``dp`` and ``dq`` are equal, returning one array twice spares the sums over time half their work.
        """


class Cell(Protocol):
    """A cell as ``Recurrent`` sees it: names of the states, and either one stage's attributes or ``stages``.

    A cell with one stage is that stage: it has ``gates``, ``saves``, ``step``, ``unstep`` itself.  A cell with more has
    ``stages`` instead, a tuple of them.  ``chapter_gates`` is optional: the letters that *Dive into Deep Learning*
    gives to the gates, under which the per-gate views of the weights are named (``W_xz``, ``W_hz``, ``b_z``).
    ``output_size`` is optional too: the width of ``h`` where that is another than ``hidden_size``, the other states'.
    """

    state: tuple[str, ...]  # "h" first: it is what the next layer sees and what U multiplies


def name_of(cell: Any) -> str:
    """The cell's name in a sentence: a class's name, or that of an instance's class."""
    return str(getattr(cell, "__name__", type(cell).__name__))


def stages_of(cell: Any) -> tuple[Stage, ...]:
    """The cell's stages: its ``stages``, or the cell itself where it has only one."""
    return tuple(getattr(cell, "stages", (cell,)))


def recurrent_bias_of(stage: Any) -> tuple[str, ...]:
    """Gates whose recurrent product has a bias of its own."""
    return tuple(getattr(stage, "recurrent_bias", ()))


def units_of(stage: Any) -> tuple[str, ...]:
    """Names of the stage's per-unit weights."""
    return tuple(getattr(stage, "units", ()))


def initial_of(stage: Any) -> dict[str, float]:
    """What the stage's per-unit weights begin at, those that are not drawn."""
    return dict(getattr(stage, "initial", ()))


def matrix_of(stage: Any) -> str:
    """Name of the weight that the stage's product is with, ``""`` where it is some columns of U."""
    return str(getattr(stage, "matrix", ""))


def multiplies(stage: Any) -> bool:
    """Whether the stage has a product of the state."""
    return bool(getattr(stage, "product", True))


def width_of(cell: Any, hidden_size: int) -> int:
    """How wide ``h``, and with it y, is."""
    return int(getattr(cell, "output_size", hidden_size))


def widths_of(cell: Any, hidden_size: int) -> tuple[int, ...]:
    """How wide each of the cell's states is."""
    return (width_of(cell, hidden_size), *(hidden_size for _ in cell.state[1:]))


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
        if not multiplies(stage) and (stages_of(cell) != (stage,) or recurrent_bias_of(stage) or matrix_of(stage)):
            raise TypeError(f"cell {name}: a stage without a product is the only one, with no bias or matrix for it")
        own = [matrix_of(stage)] if matrix_of(stage) else []
        if own and (stage.gates or stage is stages_of(cell)[0]):
            raise TypeError(f"cell {name}: a stage with a matrix, here {own[0]}, has no gates and is not the first")
        for weight in [*own, *(f"b{gate}" for gate in recurrent_bias_of(stage)), *units_of(stage)]:
            if weight in taken:
                raise TypeError(f"cell {name}: a weight may not be called {weight}, as another one is")
            taken.add(weight)
    try:
        with np.errstate(all="ignore"):
            _try(cell, min(hidden_size, 4))
    except Exception as error:  # whatever a reader's code raises
        raise TypeError(f"cell {name} does not run on one row of numbers: {_told(cell, error)}") from error


def _told(cell: Any, error: Exception) -> str:
    """The error in a cell in words: where it came up, and what can be done about it."""
    place, frame = "", error.__traceback__
    while frame is not None:
        code = frame.tb_frame.f_code
        if code.co_name in ("step", "unstep") and code.co_filename != __file__:
            line = linecache.getline(code.co_filename, frame.tb_lineno).strip()
            place = f"{code.co_name}, line {frame.tb_lineno}" + (f", `{line}`" if line else "") + ": "
        frame = frame.tb_next
    words = str(error) if isinstance(error, (TypeError, ValueError)) else f"{type(error).__name__}: {error}"
    if "ellipsis" in words:
        return f"{place}what is still ... is not filled in yet ({words})"
    bound = [
        method
        for stage in stages_of(cell)
        for method in ("step", "unstep")
        if isinstance(stage, type) and isinstance(inspect.getattr_static(stage, method, None), FunctionType)
    ]
    advice = "; write step and unstep as static methods, or pass an instance"
    return place + words + (advice if bound and not place and isinstance(error, TypeError) else "")


def _try(cell: Any, H: int) -> None:
    """One step of every stage on a row of ones, and one unstep if it has that; ValueError for what does not fit."""
    R = H + 1 if hasattr(cell, "output_size") else H  # a width of h that no other array has
    widths, stages, transposed = (R, *(H for _ in cell.state[1:])), stages_of(cell), trains(cell)
    flow = tuple(np.ones((1, n)) for n in widths)
    for stage in stages:
        p, units = np.ones((1, len(stage.gates) * H)), [np.ones(H) for _ in units_of(stage)]
        q = np.ones((1, R)) if matrix_of(stage) else p if multiplies(stage) else np.ones((1, 0))
        if np.shape(flow[0]) != (1, H if matrix_of(stage) else R):
            raise ValueError(f"the product of stage {name_of(stage)} does not fit what the stage before it puts first")
        out, saved = stage.step(p, q, flow, *units)
        if stage is stages[-1] and [np.shape(a) for a in out] != [(1, n) for n in widths]:
            wide = "(B, H)" if R == H else "(B, output_size) for h, (B, H) for others"
            raise ValueError(f"step must return {len(cell.state)} states of shape {wide}")
        if not transposed:
            flow = out
            continue
        if not isinstance(saved, (tuple, list)) or any(a is None for a in saved):
            raise ValueError(f"step must return the next states and a tuple of what it saves; got {saved!r} for that")
        if len(saved) != len(stage.saves):
            raise ValueError(f"step saves {len(saved)} arrays, and saves names {len(stage.saves)}")
        returned = stage.unstep(tuple(np.ones(np.shape(a)) for a in out), saved, *units)
        _check_returned(stage, returned, p, q, len(flow), len(units))
        flow = out


def _check_returned(stage: Any, returned: Any, p: Array, q: Array, states: int, units: int) -> None:
    """Raise ValueError, for the cell's author to read, unless ``unstep`` returned what it must."""
    wanted = "dp, dq, a tuple with a gradient for each state" + "".join(f", d{name}" for name in units_of(stage))
    if returned is None:
        raise ValueError(f"unstep returns nothing: it must return {wanted}")
    if not isinstance(returned, (tuple, list)) or len(returned) != 3 + units:
        count = len(returned) if isinstance(returned, (tuple, list)) else 1
        raise ValueError(f"unstep must return {3 + units} values, {wanted}; got {count}")
    dp, dq, dflow, *dunits = returned
    if any(a is ... for a in (dp, dq, dflow, *dunits)) or (isinstance(dflow, tuple) and any(a is ... for a in dflow)):
        raise ValueError("unstep: what it returns is still ..., and not filled in yet")
    if not isinstance(dflow, (tuple, list)) or len(dflow) != states:
        number = f"{len(dflow)}" if isinstance(dflow, (tuple, list)) else "no tuple"
        raise ValueError(
            f"the third that unstep returns must be a tuple of {states}, a gradient for each state; got {number}"
        )
    for name, a, like in (("dp", dp, p), ("dq", dq, q)):
        if a is None and like.shape[1] == 0:
            continue
        if like.shape[1] == 0:
            kind = "with a matrix" if name == "dp" else "without a product"
            raise ValueError(f"unstep of a stage {kind} must return None for {name}: its {name[1:]} has no columns")
        if a is None:
            raise ValueError(
                f"unstep returns None for {name}, which must be an array with the shape of p, {like.shape}"
            )
        if np.shape(a) != like.shape:
            transposed = ", transposed" if np.shape(a) == like.shape[::-1] and like.shape[0] != like.shape[1] else ""
            raise ValueError(
                f"unstep must return dp and dq with the shape of p, {like.shape}; {name} has {np.shape(a)}{transposed}"
            )

"""What kernels do between two products of a step: a stage's equations on a thread's rows, or its units of all rows.

The kernels are the same for every cell.  What they must know of one is a block of numbers (``CellArguments``), with the
addresses of its routines: those of ``make_rows`` for the forward pass and streams, of ``make_rows_back`` for the
backward pass.
"""

from array import array
from collections.abc import Callable
from typing import NamedTuple

from numba import types

from minirnn.kernels.cpu.compiling import Routine, caller, inline
from minirnn.kernels.cpu.emitting import Back, Lines, Row, step_of, unstep_of
from minirnn.kernels.cpu.memory import at, get, integers, reader
from minirnn.kernels.cpu.packing import panel_width
from minirnn.kernels.cpu.passes import CellArguments, Dtype, StageArguments
from minirnn.kernels.cpu.rows import add_row, begin, clear_row, columns_of, copy_row
from minirnn.kernels.facts import CellFacts


class Strides(NamedTuple):
    """How many entries lie between two rows, H where no other number is here, but 1 of numbers of rows."""

    H: int
    G: int
    u: int
    h: int
    h1: int
    z: int


class Share(NamedTuple):
    """A thread's share of every step: its rows of the batch, its units, and its columns of what is as wide as h.

    Threads take rows of the batch, so that none has to wait for another.  If there are fewer rows than threads, they
    take units, and meet after every product's operand is complete; a cell that needs whole rows leaves some idle.
    """

    first: int
    rows: int
    left: int
    right: int
    left_h: int
    right_h: int
    by_units: int  # 1 or 0


@inline
def share_of(pointer, B, H, R, part, parts, whole_rows):
    """The share of one of ``parts`` threads."""
    width = panel_width(pointer)
    if whole_rows or B >= parts or H % width or H < width * parts:
        first = begin(B, part, parts)
        return Share(first, begin(B, part + 1, parts) - first, 0, H, 0, R, 0)
    left, right = columns_of(pointer, H, part, parts)
    left_h, right_h = columns_of(pointer, R, part, parts)
    return Share(0, B, left, right, left_h, right_h, 1)


@inline
def ended(lengths, row, t):
    """Whether a row's length is at most t; 0 is the address of no lengths."""
    return lengths != 0 and t >= get(integers(lengths), row)


@inline
def moved(row, strides, r):
    """The row that lies ``r`` rows after another one."""
    k = r * strides.H
    return Row(
        at(row.G, r * strides.G),
        at(row.u, r * strides.u),
        at(row.h, r * strides.h),
        at(row.h1, r * strides.h1),
        at(row.c, k),
        at(row.c1, k),
        at(row.a, k),
        at(row.m, k),
        at(row.s, r),
        at(row.z, r * strides.z),
        row.w,
    )


def tuple_of(kind, what):
    """Numba's type of a NamedTuple whose entries are all of one type."""
    return types.NamedUniTuple(what, len(kind._fields), kind)


def kinds(numbers):
    """The types of what a routine of ``make_rows`` takes: the first row, strides, lines, share, lengths, t."""
    sizes = [tuple_of(kind, types.intp) for kind in (Strides, Lines, Share)]
    return tuple_of(Row, types.CPointer(numbers)), *sizes, types.intp, types.intp


def kinds_back(numbers):
    """The types of what one of ``make_rows_back`` takes: the same, and the gradients' first row and strides."""
    row, strides, *others = kinds(numbers)
    return row, tuple_of(Back, types.CPointer(numbers)), strides, types.UniTuple(types.intp, 3), *others


call_rows, call_rows_back = caller(kinds), caller(kinds_back)


def make_rows(facts, k):
    """Stage k for a share's rows: those that have ended keep their states, and leave zeros to later products."""
    run, narrow = step_of(facts, k), bool(facts.stages[k].narrow_step.results)
    run_narrow = step_of(facts, k, narrow=True)
    last, others = k == len(facts.stages) - 1, facts.states - 1

    def treat(start, strides, lines, share, lengths, t):
        count = share.right - share.left
        for r in range(share.rows):
            row = moved(start, strides, r)
            if not ended(lengths, share.first + r, t):
                run(share.left, share.right, row, lines)
                if narrow:
                    run_narrow(share.left_h, share.right_h, row, lines)
            elif last:
                copy_row(at(row.h, share.left_h), at(row.h1, share.left_h), share.right_h - share.left_h)
                for i in range(others):
                    copy_row(at(row.c, i * lines.c + share.left), at(row.c1, i * lines.c1 + share.left), count)
            else:
                clear_row(at(row.a, k * lines.saved + share.left), count)

    return Routine(f"rows-{facts.key}-{k}", treat, kinds)


def make_rows_back(facts, k):
    """The transpose of ``make_rows``: a row that has ended passes its gradient on, and adds nothing to any weight's."""
    stage, last = facts.stages[k], k == len(facts.stages) - 1
    run, run_narrow = unstep_of(facts, k), unstep_of(facts, k, narrow=True)
    narrow, own = bool(stage.narrow_unstep.results), bool(stage.matrix)
    parts = facts.gates + facts.apart + len(facts.units)

    def treat(start, start_back, strides, strides_back, lines, share, lengths, t):
        width_dy, width_dP, width_h = strides_back
        for r in range(share.rows):
            row, at_H = moved(start, strides, r), r * strides.H
            back = Back(
                at(start_back.dy, r * width_dy),
                at(start_back.dh, r * width_h),
                at(start_back.dc, at_H),
                at(start_back.f, at_H),
                at(start_back.dP, r * width_dP),
            )
            if not ended(lengths, share.first + r, t):
                run(share.left, share.right, row, back, lines)
                if narrow:
                    run_narrow(share.left_h, share.right_h, row, back, lines)
            elif last:
                add_row(at(back.dy, share.left_h), at(back.dh, share.left_h), share.right_h - share.left_h)
                for i in range(parts):
                    clear_row(at(back.dP, i * lines.H + share.left), share.right - share.left)
                if own:
                    clear_row(at(back.dP, parts * lines.H + share.left_h), share.right_h - share.left_h)

    return Routine(f"rows-back-{facts.key}-{k}", treat, kinds_back)


read_cell, read_stage = reader(CellArguments), reader(StageArguments)
CELL_BYTES, STAGE_BYTES = 8 * len(CellArguments._fields), 8 * len(StageArguments._fields)


@inline
def stage_of(cell, k):
    """The ``StageArguments`` of stage k, from the address of a cell's block."""
    return read_stage(cell + CELL_BYTES + k * STAGE_BYTES)


# by ``CellFacts.key``, stage and which of the two; by key, dtype and which
ROUTINES: dict[tuple[str, int, Callable[..., Routine]], Routine] = {}
CELLS: dict[tuple[str, Dtype, Callable[..., Routine]], "array[int]"] = {}


def routine_of(facts: CellFacts, k: int, make: Callable[..., Routine]) -> Routine:
    """The routine of stage k, forward or back, of a cell: of two threads that ask, one makes what both use."""
    key = facts.key, k, make
    return ROUTINES.get(key) or ROUTINES.setdefault(key, make(facts, k))


def cell_of(facts: CellFacts, dtype: Dtype, make: Callable[..., Routine] = make_rows) -> int:
    """The address of a cell's block for one dtype, with its routines, compiled if they are not."""
    key = facts.key, dtype, make
    if key not in CELLS:
        whole, stages = int(facts.whole_rows), len(facts.stages)
        block = array("q", CellArguments(facts.gates, facts.apart, len(facts.units), whole, stages))
        for k, stage in enumerate(facts.stages):
            own, routine = int(bool(stage.matrix)), routine_of(facts, k, make)
            block.extend(
                StageArguments(stage.first, stage.gates, int(stage.product), own, stage.back.k, routine[dtype])
            )
        CELLS.setdefault(key, block)  # kept, since addresses lead there
    return CELLS[key].buffer_info()[0]

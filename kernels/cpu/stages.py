"""What kernels do between two products of a step: a stage's equations on a thread's rows, or its units of all rows."""

from typing import NamedTuple

from minirnn.kernels.cpu.compiling import inline, inline_as
from minirnn.kernels.cpu.emitting import Back, Row, step_of, unstep_of
from minirnn.kernels.cpu.memory import at, get, integers
from minirnn.kernels.cpu.packing import panel_width
from minirnn.kernels.cpu.rows import add_row, begin, clear_row, columns_of, copy_row


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
def done(phase, *_):
    """What follows a step's last stage: nothing."""
    return phase


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


def make_step(facts, k):
    """Stage k of a cell for one row: the units from ``left`` on, and those of what is as wide as h."""
    run, narrow = step_of(facts, k), bool(facts.stages[k].narrow_step.results)
    run_narrow = step_of(facts, k, narrow=True)

    @inline_as(f"stage-{facts.key}-{k}")
    def step(row, lines, share):
        run(share.left, share.right, row, lines)
        if narrow:
            run_narrow(share.left_h, share.right_h, row, lines)

    return step


def make_rows(facts, k):
    """Stage k for a share's rows: those that have ended keep their states, and leave zeros to later products."""
    step, last, others = make_step(facts, k), k == len(facts.stages) - 1, facts.states - 1

    @inline_as(f"rows-{facts.key}-{k}")
    def treat(start, strides, lines, share, lengths, t):
        count = share.right - share.left
        for r in range(share.rows):
            row = moved(start, strides, r)
            if not ended(lengths, share.first + r, t):
                step(row, lines, share)
            elif last:
                copy_row(at(row.h, share.left_h), at(row.h1, share.left_h), share.right_h - share.left_h)
                for i in range(others):
                    copy_row(at(row.c, i * lines.c + share.left), at(row.c1, i * lines.c1 + share.left), count)
            else:
                clear_row(at(row.a, k * lines.saved + share.left), count)

    return treat


def make_rows_back(facts, k):
    """The transpose of ``make_rows``: a row that has ended passes its gradient on, and adds nothing to any weight's."""
    stage, last = facts.stages[k], k == len(facts.stages) - 1
    run, run_narrow = unstep_of(facts, k), unstep_of(facts, k, narrow=True)
    narrow, own = bool(stage.narrow_unstep.results), bool(stage.matrix)
    parts = facts.gates + facts.apart + len(facts.units)

    @inline_as(f"rows-back-{facts.key}-{k}")
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

    return treat

"""Rows of numbers, and how threads share rows and columns."""

from minirnn.kernels.cpu.compiling import inline
from minirnn.kernels.cpu.entries import as_stored
from minirnn.kernels.cpu.memory import get, lanes, load, put, store, zero
from minirnn.kernels.cpu.packing import panel_width


@inline
def begin(n, part, parts):
    """Where a thread's share of ``n`` things begins; the next thread's beginning is its end."""
    return n * part // parts


@inline
def copy_row(source, target, n):
    """target = source."""
    width = lanes(source)
    whole = n // width * width
    for j in range(0, whole, width):
        store(load(source, j, None), target, j, None)
    for j in range(whole, n):
        put(get(source, j), target, j)


@inline
def sum_rows_as(stored, one, other, target, n):
    """target = one + other, which is rounded to what ``stored`` points to."""
    width = lanes(one)
    whole = n // width * width
    for j in range(0, whole, width):
        store(load(one, j, None) + as_stored(load(other, j, None), stored), target, j, None)
    for j in range(whole, n):
        put(get(one, j) + as_stored(get(other, j), stored), target, j)


@inline
def sum_rows(one, other, target, n):
    """target = one + other."""
    sum_rows_as(one, one, other, target, n)


@inline
def add_row(source, target, n):
    """target += source."""
    sum_rows(target, source, target, n)


@inline
def clear_row(target, n):
    """target = 0."""
    for j in range(n):
        put(zero(target), target, j)


@inline
def columns_of(pointer, n, part, parts):
    """A thread's columns of ``n``, from and to: whole panels."""
    width = panel_width(pointer)
    panels = (n + width - 1) // width
    return begin(panels, part, parts) * width, min(n, begin(panels, part + 1, parts) * width)
